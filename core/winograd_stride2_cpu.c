/* Winograd convolutions of stride 2 on CPUs: tables and kernels of kernels/cpu_winograd_stride2.cl
 * and cpu_winograd_stride2_gradient.cl;
 * winograd_cpu.c launches them. */
#include "operations_cpu.h"

enum {
    POINTS = 25,
    SIZES = 4,                   /* of tiles: four or three places in each direction */
    MIN_CHANNELS = 32,           /* below, the transforms cost more than the products save */
    MIN_GRADIENT_CHANNELS = 64,  /* likewise */
    MIN_GRADIENT_PLACES = 128,   /* of the smaller image */
    MAX_CHANNEL_BLOCK = 256,     /* channels transformed at a time */
    SCRATCH_BYTES = 1000 * 1024, /* of a chunk: it stays in L2 */
    MAX_VECTORS = 6,
    GROUPS_PER_UNIT = 2
};

/* kernels/winograd_stride2_inputs.cl and cpu_winograd_stride2_gradient.cl: the structs of these names. */
struct tiles {
    int32_t rows, columns, tiles_x, total, x, y, first_chunk, chunks;
};

struct winograd {
    int32_t channels, outs, lanes;
    int32_t x_row, x_plane, y_row, y_plane;
    int32_t channel_block, stride, chunks, is_backward, sizes;
    struct tiles tiles[SIZES];
};

struct winograd_gradient {
    int32_t channels, outs, lanes;
    int32_t x_row, x_plane, dz_row, dz_plane;
    int32_t stride, chunks, parts, sizes;
    struct tiles tiles[SIZES];
};

/* A side of the smaller image in parts of four, then of three. */
struct parts {
    int fours, threes;
};

static bool cut_side(int places, struct parts *ret_parts)
{
    int threes = (4 - places % 4) % 4;
    *ret_parts = (struct parts){.fours = (places - 3 * threes) / 4, .threes = threes};
    return 3 * threes <= places;
}

bool wa_cpu_winograd_stride2_can(const struct wa_model_layer *layer, bool is_backward)
{
    const struct wa_layer *s = &layer->shape;
    struct parts rows;
    struct parts columns;
    return !layer->is_dense && s->kernel == 3 && s->stride == 2 && s->in_height % 2 == 0 &&
           s->in_width % 2 == 0 && layer->pad_row == 0 && layer->pad_column == 0 &&
           cut_side(layer->output.rows, &rows) && cut_side(layer->output.columns, &columns) &&
           (is_backward ? layer->gradient.before >= 1 : layer->input.after >= 1);
}

bool wa_cpu_winograd_stride2_pays(const struct wa_model_layer *layer)
{
    return layer->shape.in_channels >= MIN_CHANNELS && layer->shape.out_channels >= MIN_CHANNELS;
}

bool wa_cpu_winograd_stride2_gradient_pays(const struct wa_model_layer *layer)
{
    const struct wa_layer *s = &layer->shape;
    return s->in_channels >= MIN_GRADIENT_CHANNELS && s->out_channels >= MIN_GRADIENT_CHANNELS &&
           layer->output.rows * layer->output.columns >= MIN_GRADIENT_PLACES;
}

static const char kernel_file[] = "cpu_winograd_stride2.cl";
static const char gradient_file[] = "cpu_winograd_stride2_gradient.cl";

static const struct wa_kernel_entry kernel_entries[] = {
    {kernel_file, "winograd_stride2", offsetof(struct wa_path_state, winograd_stride2), false},
    {kernel_file, "winograd_stride2_weights",
     offsetof(struct wa_path_state, winograd_stride2_weights), false},
};
enum { KERNEL_COUNT = sizeof kernel_entries / sizeof *kernel_entries };

void wa_cpu_winograd_stride2_programs(const struct wa_engine *engine, const struct wa_model *model,
                                      struct wa_program_list *list)
{
    if (wa_cpu_winograd_uses(engine, model, 2)) {
        wa_operations_add_programs(engine, kernel_entries, KERNEL_COUNT, NULL, list);
        wa_cpu_winograd_gradient_programs(engine, model, 2, gradient_file, list);
    }
}

wa_status wa_cpu_winograd_stride2_init(struct wa_operations *operations, struct wa_error *err)
{
    struct wa_path_state *state = operations->state;
    if (!wa_cpu_winograd_uses(operations->engine, operations->model, 2)) {
        return WA_OK;
    }
    wa_status status = wa_operations_make_kernels(operations->engine, kernel_entries, KERNEL_COUNT,
                                                  NULL, state, err);
    return status == WA_OK ? wa_cpu_winograd_gradient_kernels(
                                 operations, 2, gradient_file, "winograd_stride2_gradient",
                                 state->stride2_gradient, "winograd_stride2_gradient_finish",
                                 state->stride2_finish, err)
                           : status;
}

void wa_cpu_winograd_stride2_finish(struct wa_operations *operations)
{
    wa_operations_release_kernels(kernel_entries, KERNEL_COUNT, operations->state);
    for (int kind = 0; kind < WA_CPU_OUT_VECTOR_KINDS; kind++) {
        wa_cpu_release_kernel(operations->state->stride2_gradient[kind]);
        wa_cpu_release_kernel(operations->state->stride2_finish[kind]);
    }
}

/* ---- Tables --------------------------------------------------------------------------------- */

/* Tiles of one size: `rows` and `columns` places each, so many of them, behind those before. The small
 * image has half the sides of the large one. */
static struct tiles tiles_of(const struct wa_layout *small, int small_start,
                             const struct wa_layout *large, int large_start, bool is_backward,
                             const int sides[2], const int counts[2], const int first[2])
{
    int at_small = small_start + first[0] * small->row + first[1] * small->lanes;
    int at_large = large_start + 2 * first[0] * large->row + 2 * first[1] * large->lanes;
    return (struct tiles){.rows = sides[0],
                          .columns = sides[1],
                          .tiles_x = counts[1],
                          .total = counts[0] * counts[1] * small->lanes,
                          .x = is_backward ? at_small : at_large,
                          .y = is_backward ? at_large : at_small};
}

/* All sizes of tiles that there are; returns how many. */
static int list_tiles(struct tiles *ret_tiles, const struct wa_layout *small, int small_start,
                      const struct wa_layout *large, int large_start, bool is_backward)
{
    int listed = 0;
    struct parts rows;
    struct parts columns;
    (void)cut_side(small->rows, &rows);
    (void)cut_side(small->columns, &columns);
    for (int size = 0; size < SIZES; size++) {
        bool is_low = size >= 2;
        bool is_narrow = size % 2 == 1;
        const int sides[2] = {is_low ? 3 : 4, is_narrow ? 3 : 4};
        const int counts[2] = {is_low ? rows.threes : rows.fours,
                               is_narrow ? columns.threes : columns.fours};
        const int first[2] = {is_low ? 4 * rows.fours : 0, is_narrow ? 4 * columns.fours : 0};
        if (counts[0] > 0 && counts[1] > 0) {
            ret_tiles[listed++] =
                tiles_of(small, small_start, large, large_start, is_backward, sides, counts, first);
        }
    }
    return listed;
}

/* Cuts each size into chunks of at most so many vectors. Returns the vectors of the longest one. */
static int cut_chunks(struct tiles *tiles, int sizes, int width, int vectors, int *ret_chunks)
{
    int most = 0;
    int chunks = 0;
    for (int i = 0; i < sizes; i++) {
        struct tiles *t = &tiles[i];
        int all = wa_divide_up(t->total, width);
        t->first_chunk = chunks;
        t->chunks = wa_divide_up(all, vectors);
        chunks += t->chunks;
        int longest = wa_divide_up(all, t->chunks);
        most = longest > most ? longest : most;
    }
    *ret_chunks = chunks;
    return most;
}

/* How many vectors a chunk takes so that its transformed inputs and products stay in L2. */
static void size_chunks(const struct wa_engine *engine, bool is_backward, struct winograd *table,
                        struct wa_cpu_winograd *w)
{
    int width = engine->vector_width;
    int output_block = 2 * engine->output_block;
    table->channel_block =
        table->channels < MAX_CHANNEL_BLOCK ? table->channels : MAX_CHANNEL_BLOCK;
    bool keeps_all = !is_backward || table->channel_block < table->channels;
    int kept = keeps_all ? wa_round_up(table->outs, output_block) : output_block;
    size_t vector_bytes =
        (size_t)POINTS * (size_t)(table->channel_block + kept) * (size_t)width * sizeof(float);
    int vectors = wa_clamp((int)(SCRATCH_BYTES / vector_bytes), 2, MAX_VECTORS);
    table->stride = cut_chunks(table->tiles, table->sizes, width, vectors, &table->chunks) * width;
    w->groups =
        wa_clamp((int)engine->device->info.compute_units * GROUPS_PER_UNIT, 1, table->chunks);
    w->scratch_floats = (size_t)w->groups * POINTS *
                        (size_t)((table->channel_block + kept) * table->stride + 3 * width);
}

wa_status wa_cpu_winograd_stride2_table(struct wa_operations *operations, uint32_t layer,
                                        bool is_backward, struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    struct wa_cpu_winograd *w = &operations->state->layers[layer].winograd[is_backward];
    const struct wa_convolution *c = is_backward ? &l->backward : &l->forward;
    const struct wa_layout *x = is_backward ? &l->gradient : &l->input;
    /* What is written has no border. */
    struct wa_layout y = is_backward ? wa_layout_make(c->out_channels, l->input.rows,
                                                      l->input.columns, x->lanes, 0, 0)
                                     : l->output;
    struct winograd table = {.channels = c->in_channels,
                             .outs = c->out_channels,
                             .lanes = x->lanes,
                             .is_backward = is_backward,
                             .x_row = x->row,
                             .x_plane = x->plane,
                             .y_row = y.row,
                             .y_plane = y.plane};
    if (is_backward) {
        /* from the place (-1, -1) of dz on */
        table.sizes = list_tiles(table.tiles, x, x->base - x->row - x->lanes, &y, 0, true);
    } else {
        table.sizes = list_tiles(table.tiles, &y, 0, x, x->base, false);
    }
    size_chunks(operations->engine, is_backward, &table, w);
    w->kernel = operations->state->winograd_stride2;
    w->weights_kernel = operations->state->winograd_stride2_weights;
    return wa_engine_buffer_from(operations->engine, &table, sizeof table, "a table of tiles",
                                 &w->table, err);
}

wa_status wa_cpu_winograd_stride2_gradient_table(struct wa_operations *operations, uint32_t layer,
                                                 struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    struct wa_cpu_winograd_gradient *w = &operations->state->layers[layer].winograd_gradient;
    const struct wa_layout *x = &l->input;
    const struct wa_layout *dz = &l->gradient;
    int width = operations->engine->vector_width;
    int channels = (int)l->shape.in_channels;
    int outputs = wa_round_up((int)l->shape.out_channels, width << w->kind);
    struct winograd_gradient table = {.channels = channels,
                                      .outs = (int)l->shape.out_channels,
                                      .lanes = x->lanes,
                                      .x_row = x->row,
                                      .x_plane = x->plane,
                                      .dz_row = dz->row,
                                      .dz_plane = dz->plane};
    table.sizes = list_tiles(table.tiles, dz, dz->base, x, x->base, false);
    size_t vector_bytes =
        (size_t)POINTS * (size_t)(channels + outputs) * (size_t)width * sizeof(float);
    int vectors = wa_cpu_winograd_gradient_vectors(vector_bytes);
    table.stride = cut_chunks(table.tiles, table.sizes, width, vectors, &table.chunks) * width;
    table.parts = w->parts = wa_cpu_winograd_gradient_parts(operations->engine, l, table.chunks);
    w->partial_floats = wa_cpu_winograd_gradient_part(operations->engine, l) * (size_t)w->parts;
    w->scratch_floats = (size_t)w->parts * POINTS *
                        (size_t)((channels + outputs) * table.stride + 3 * width + width * width);
    w->kernel = operations->state->stride2_gradient[w->kind];
    w->finish = operations->state->stride2_finish[w->kind];
    return wa_engine_buffer_from(operations->engine, &table, sizeof table, "a table of tiles",
                                 &w->table, err);
}
