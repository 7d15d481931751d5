/* Winograd convolutions on CPUs: launches of kernels/cpu_winograd.cl and, by way of
 * winograd_stride2_cpu.c, of kernels/cpu_winograd_stride2.cl, and the map of constant places that batch
 * norm needs with them (kernels/constant_map.cl). */
#include <stdlib.h>

#include "operations_cpu.h"

enum {
    POINTS = 36,
    MIN_CHANNELS = 16,          /* below, the transforms cost more than the products save */
    MAX_CHANNEL_BLOCK = 256,    /* channels transformed at a time */
    SCRATCH_BYTES = 700 * 1024, /* of a chunk: it stays in L2 */
    MAX_VECTORS = 6,
    GROUPS_PER_UNIT = 2,
    GRADIENT_SCRATCH_BYTES = 1200 * 1024, /* of a chunk's inputs and gradients */
    GRADIENT_PARTS = 8,
    MIN_GRADIENT_PARTS = 4,
    PARTIAL_BYTES =
        10 << 20, /* of all parts: to add more of them up costs more than it shares out */
    LEAST_GRADIENT_PARTS = 2,  /* where the device has no room for more, */
    PARTIAL_SHARE = 2,         /* nor for less than this part of its largest allocation */
    MIN_GRADIENT_CHANNELS = 32 /* below, transforms and parts cost more than the products save */
};

/* kernels/cpu_winograd.cl, struct winograd. */
struct winograd {
    int32_t channels, outs, tiles_x, total, lanes;
    int32_t x_row, x_plane, y_row, y_plane;
    int32_t channel_block, stride, chunks;
};

/* kernels/constant_map.cl, struct map_layer. */
struct map_layer {
    int32_t from, to, in_rows, in_columns, out_rows, out_columns;
    int32_t kernel_size, stride, pad_row, pad_column;
};

/* Whether the products can be cut into tiles. */
static bool is_tiled(const struct wa_model_layer *layer, bool is_backward)
{
    const struct wa_layer *s = &layer->shape;
    const struct wa_layout *x = is_backward ? &layer->gradient : &layer->input;
    return s->stride == 2
               ? wa_cpu_winograd_stride2_can(layer, is_backward)
               : !layer->is_dense && s->kernel == 3 && s->stride == 1 && s->in_height % 4 == 0 &&
                     s->in_width % 4 == 0 && x->before == 1 && x->after == 1;
}

bool wa_cpu_winograd_fits(const struct wa_engine *engine, const struct wa_model_layer *layer,
                          bool is_backward)
{
    const struct wa_layer *s = &layer->shape;
    bool pays = s->stride == 2 ? wa_cpu_winograd_stride2_pays(layer)
                               : s->in_channels >= MIN_CHANNELS && s->out_channels >= MIN_CHANNELS;
    return is_tiled(layer, is_backward) &&
           wa_tuning_takes_winograd(engine, layer,
                                    is_backward ? WA_PRODUCT_BACKWARD : WA_PRODUCT_FORWARD, pays);
}

size_t wa_cpu_winograd_gradient_part(const struct wa_engine *engine,
                                     const struct wa_model_layer *layer)
{
    int kind = wa_cpu_gradient_kind(engine, layer);
    int outputs = wa_round_up((int)layer->shape.out_channels, engine->vector_width << kind);
    return (size_t)POINTS * layer->shape.in_channels * (size_t)outputs;
}

/* Parts that the device has room for: all of them lie in one buffer. */
static int most_parts(const struct wa_engine *engine, const struct wa_model_layer *layer)
{
    size_t part = wa_cpu_winograd_gradient_part(engine, layer) * sizeof(float);
    size_t parts = (size_t)engine->device->info.allocation_bytes / PARTIAL_SHARE / part;
    return parts < GRADIENT_PARTS ? (int)parts : GRADIENT_PARTS;
}

bool wa_cpu_winograd_gradient_fits(const struct wa_engine *engine,
                                   const struct wa_model_layer *layer)
{
    const struct wa_layer *s = &layer->shape;
    bool pays =
        s->stride == 2
            ? wa_cpu_winograd_stride2_pays(layer) && wa_cpu_winograd_stride2_gradient_pays(layer)
            : s->in_channels >= MIN_GRADIENT_CHANNELS && s->out_channels >= MIN_GRADIENT_CHANNELS;
    return is_tiled(layer, false) && most_parts(engine, layer) >= LEAST_GRADIENT_PARTS &&
           wa_tuning_takes_winograd(engine, layer, WA_PRODUCT_GRADIENT, pays);
}

static bool uses_gradient(const struct wa_engine *engine, const struct wa_model *model,
                          uint32_t stride, int kind)
{
    bool is_used = false;
    for (uint32_t l = 0; l < model->layer_count; l++) {
        const struct wa_model_layer *layer = &model->layers[l];
        is_used = is_used ||
                  (layer->shape.stride == stride && wa_cpu_winograd_gradient_fits(engine, layer) &&
                   wa_cpu_gradient_kind(engine, layer) == kind);
    }
    return is_used;
}

bool wa_cpu_winograd_uses(const struct wa_engine *engine, const struct wa_model *model,
                          uint32_t stride)
{
    bool is_used = false;
    for (uint32_t l = 0; l < model->layer_count; l++) {
        const struct wa_model_layer *layer = &model->layers[l];
        is_used = is_used ||
                  (layer->shape.stride == stride && (wa_cpu_winograd_fits(engine, layer, false) ||
                                                     wa_cpu_winograd_fits(engine, layer, true) ||
                                                     wa_cpu_winograd_gradient_fits(engine, layer)));
    }
    return is_used;
}

/* Whether there are maps of constant places to keep. */
static bool is_any_used(const struct wa_engine *engine, const struct wa_model *model)
{
    return wa_cpu_winograd_uses(engine, model, 1) || wa_cpu_winograd_uses(engine, model, 2);
}

static const char winograd_file[] = "cpu_winograd.cl";

static const struct wa_kernel_entry map_entries[] = {
    {"constant_map.cl", "map_image", offsetof(struct wa_path_state, map_image), false},
    {"constant_map.cl", "map_layers", offsetof(struct wa_path_state, map_layers), false},
};

static const struct wa_kernel_entry kernel_entries[] = {
    {winograd_file, "winograd", offsetof(struct wa_path_state, winograd), false},
    {winograd_file, "winograd_weights", offsetof(struct wa_path_state, winograd_weights), false},
};
enum {
    MAP_KERNEL_COUNT = sizeof map_entries / sizeof *map_entries,
    KERNEL_COUNT = sizeof kernel_entries / sizeof *kernel_entries
};

void wa_cpu_winograd_gradient_programs(const struct wa_engine *engine, const struct wa_model *model,
                                       uint32_t stride, const char *file,
                                       struct wa_program_list *list)
{
    for (int kind = 0; kind < WA_CPU_OUT_VECTOR_KINDS; kind++) {
        if (uses_gradient(engine, model, stride, kind)) {
            char options[WA_BATCH_OPTION_BYTES];
            wa_cpu_gradient_options(1 << kind, options);
            wa_operations_add_program(engine, file, options, list);
        }
    }
}

wa_status wa_cpu_winograd_gradient_kernels(struct wa_operations *operations, uint32_t stride,
                                           const char *file, const char *name,
                                           cl_kernel *ret_kernels, const char *finish_name,
                                           cl_kernel *ret_finishes, struct wa_error *err)
{
    struct wa_engine *engine = operations->engine;
    wa_status status = WA_OK;
    for (int kind = 0; kind < WA_CPU_OUT_VECTOR_KINDS && status == WA_OK; kind++) {
        if (!uses_gradient(engine, operations->model, stride, kind)) {
            continue;
        }
        char options[WA_BATCH_OPTION_BYTES];
        wa_cpu_gradient_options(1 << kind, options);
        status = wa_engine_kernel(engine, file, name, options, &ret_kernels[kind], err);
        if (status == WA_OK) {
            status = wa_engine_kernel(engine, file, finish_name, options, &ret_finishes[kind], err);
        }
    }
    return status;
}

void wa_cpu_winograd_programs(const struct wa_engine *engine, const struct wa_model *model,
                              struct wa_program_list *list)
{
    if (is_any_used(engine, model)) {
        wa_operations_add_programs(engine, map_entries, MAP_KERNEL_COUNT, NULL, list);
    }
    if (wa_cpu_winograd_uses(engine, model, 1)) {
        wa_operations_add_programs(engine, kernel_entries, KERNEL_COUNT, NULL, list);
        wa_cpu_winograd_gradient_programs(engine, model, 1, winograd_file, list);
    }
    wa_cpu_winograd_stride2_programs(engine, model, list);
}

/* The kernels of stride 1. */
static wa_status make_kernels(struct wa_operations *operations, struct wa_error *err)
{
    struct wa_path_state *state = operations->state;
    if (!wa_cpu_winograd_uses(operations->engine, operations->model, 1)) {
        return WA_OK;
    }
    wa_status status = wa_operations_make_kernels(operations->engine, kernel_entries, KERNEL_COUNT,
                                                  NULL, state, err);
    return status == WA_OK
               ? wa_cpu_winograd_gradient_kernels(
                     operations, 1, winograd_file, "winograd_gradient", state->winograd_gradient,
                     "winograd_gradient_finish", state->winograd_finish, err)
               : status;
}

/* ---- Tables --------------------------------------------------------------------------------- */

static const struct wa_convolution *direction_of(const struct wa_model_layer *layer,
                                                 bool is_backward)
{
    return is_backward ? &layer->backward : &layer->forward;
}

static size_t weight_floats(const struct wa_engine *engine,
                            const struct wa_convolution *convolution)
{
    int outs = engine->output_block;
    return (size_t)POINTS * (size_t)(wa_divide_up(convolution->out_channels, outs) * outs) *
           (size_t)convolution->in_channels;
}

size_t wa_cpu_winograd_floats(const struct wa_operations *operations, bool is_backward)
{
    size_t floats = 0;
    for (uint32_t l = 0; l < operations->model->layer_count; l++) {
        const struct wa_model_layer *layer = &operations->model->layers[l];
        if (wa_cpu_winograd_fits(operations->engine, layer, is_backward)) {
            floats += weight_floats(operations->engine, direction_of(layer, is_backward));
        }
    }
    return floats;
}

/* How many vectors a chunk takes so that its transformed inputs and products stay in L2. */
static void size_chunk(const struct wa_engine *engine, int channels, int outs,
                       struct wa_cpu_winograd *w, struct winograd *table)
{
    int width = engine->vector_width;
    int output_block = 2 * engine->output_block;
    table->channel_block = channels < MAX_CHANNEL_BLOCK ? channels : MAX_CHANNEL_BLOCK;
    int kept = table->channel_block >= channels ? output_block : wa_round_up(outs, output_block);
    size_t vector_bytes =
        (size_t)POINTS * (size_t)(table->channel_block + kept) * (size_t)width * sizeof(float);
    /* Two vectors at least: one leaves the units idle. */
    int vectors = wa_clamp((int)(SCRATCH_BYTES / vector_bytes), 2, MAX_VECTORS);
    int all = wa_divide_up(table->total, width);
    table->chunks = wa_divide_up(all, vectors);
    table->stride = wa_divide_up(all, table->chunks) * width;
    w->groups =
        wa_clamp((int)engine->device->info.compute_units * GROUPS_PER_UNIT, 1, table->chunks);
    w->scratch_floats = (size_t)w->groups * POINTS *
                        (size_t)((table->channel_block + kept) * table->stride + 2 * width);
}

static wa_status make_direction(struct wa_operations *operations, uint32_t layer, bool is_backward,
                                struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct wa_convolution *c = direction_of(l, is_backward);
    const struct wa_layout *x = is_backward ? &l->gradient : &l->input;
    struct wa_layout y = wa_layout_make(c->out_channels, x->rows, x->columns, x->lanes, 0, 0);
    struct winograd table = {.channels = c->in_channels,
                             .outs = c->out_channels,
                             .tiles_x = x->columns / 4,
                             .total = x->rows / 4 * (x->columns / 4) * x->lanes,
                             .lanes = x->lanes,
                             .x_row = x->row,
                             .x_plane = x->plane,
                             .y_row = y.row,
                             .y_plane = y.plane};
    struct wa_cpu_winograd *w = &operations->state->layers[layer].winograd[is_backward];
    size_chunk(operations->engine, c->in_channels, c->out_channels, w, &table);
    w->kernel = operations->state->winograd;
    w->weights_kernel = operations->state->winograd_weights;
    return wa_engine_buffer_from(operations->engine, &table, sizeof table, "a table of tiles",
                                 &w->table, err);
}

/* Tables of one direction of all layers; their weights lie behind the arranged ones. */
static wa_status make_directions(struct wa_operations *operations, bool is_backward,
                                 size_t *most_scratch, struct wa_error *err)
{
    size_t offset = operations->arrangements[is_backward].floats;
    wa_status status = WA_OK;
    for (uint32_t l = 0; l < operations->model->layer_count && status == WA_OK; l++) {
        const struct wa_model_layer *layer = &operations->model->layers[l];
        if (!wa_cpu_winograd_fits(operations->engine, layer, is_backward)) {
            continue;
        }
        struct wa_cpu_winograd *w = &operations->state->layers[l].winograd[is_backward];
        w->is_used = true;
        w->weight_offset = offset;
        offset += weight_floats(operations->engine, direction_of(layer, is_backward));
        status = layer->shape.stride == 2
                     ? wa_cpu_winograd_stride2_table(operations, l, is_backward, err)
                     : make_direction(operations, l, is_backward, err);
        *most_scratch = w->scratch_floats > *most_scratch ? w->scratch_floats : *most_scratch;
    }
    return status;
}

/* kernels/cpu_winograd.cl, struct winograd_gradient. */
struct winograd_gradient {
    int32_t channels, outs, tiles_x, total, lanes;
    int32_t x_row, x_plane, dz_base, dz_row, dz_plane;
    int32_t stride, chunks, parts;
};

int wa_cpu_winograd_gradient_vectors(size_t vector_bytes)
{
    return wa_clamp((int)(GRADIENT_SCRATCH_BYTES / vector_bytes), 2, MAX_VECTORS);
}

int wa_cpu_winograd_gradient_parts(const struct wa_engine *engine,
                                   const struct wa_model_layer *layer, int chunks)
{
    size_t part = wa_cpu_winograd_gradient_part(engine, layer) * sizeof(float);
    int parts = wa_clamp((int)(PARTIAL_BYTES / part), MIN_GRADIENT_PARTS, GRADIENT_PARTS);
    int most = most_parts(engine, layer);
    return wa_clamp(parts < most ? parts : most, 1, chunks);
}

static wa_status make_gradient(struct wa_operations *operations, uint32_t layer,
                               struct wa_error *err)
{
    const struct wa_engine *engine = operations->engine;
    const struct wa_model_layer *l = &operations->model->layers[layer];
    struct wa_cpu_winograd_gradient *w = &operations->state->layers[layer].winograd_gradient;
    const struct wa_layout *x = &l->input;
    const struct wa_layout *dz = &l->gradient;
    int width = engine->vector_width;
    w->kernel = operations->state->winograd_gradient[w->kind];
    w->finish = operations->state->winograd_finish[w->kind];
    int outputs = wa_round_up((int)l->shape.out_channels, width << w->kind);
    int channels = (int)l->shape.in_channels;
    struct winograd_gradient table = {.channels = channels,
                                      .outs = (int)l->shape.out_channels,
                                      .tiles_x = x->columns / 4,
                                      .total = x->rows / 4 * (x->columns / 4) * x->lanes,
                                      .lanes = x->lanes,
                                      .x_row = x->row,
                                      .x_plane = x->plane,
                                      .dz_base = dz->base,
                                      .dz_row = dz->row,
                                      .dz_plane = dz->plane};
    size_t vector_bytes =
        (size_t)POINTS * (size_t)(channels + outputs) * (size_t)width * sizeof(float);
    int vectors = wa_cpu_winograd_gradient_vectors(vector_bytes);
    int all = wa_divide_up(table.total, width);
    table.chunks = wa_divide_up(all, vectors);
    table.stride = wa_divide_up(all, table.chunks) * width;
    w->parts = wa_cpu_winograd_gradient_parts(engine, l, table.chunks);
    table.parts = w->parts;
    w->partial_floats = wa_cpu_winograd_gradient_part(engine, l) * (size_t)w->parts;
    w->scratch_floats = (size_t)w->parts * POINTS *
                        (size_t)((channels + outputs) * table.stride + 2 * width + width * width);
    return wa_engine_buffer_from(operations->engine, &table, sizeof table, "a table of tiles",
                                 &w->table, err);
}

static wa_status make_gradients(struct wa_operations *operations, size_t *most_scratch,
                                struct wa_error *err)
{
    wa_status status = WA_OK;
    for (uint32_t l = 0; l < operations->model->layer_count && status == WA_OK; l++) {
        const struct wa_model_layer *layer = &operations->model->layers[l];
        if (!wa_cpu_winograd_gradient_fits(operations->engine, layer)) {
            continue;
        }
        struct wa_cpu_winograd_gradient *w = &operations->state->layers[l].winograd_gradient;
        w->is_used = true;
        w->kind = wa_cpu_gradient_kind(operations->engine, layer);
        status = layer->shape.stride == 2
                     ? wa_cpu_winograd_stride2_gradient_table(operations, l, err)
                     : make_gradient(operations, l, err);
        *most_scratch = w->scratch_floats > *most_scratch ? w->scratch_floats : *most_scratch;
    }
    return status;
}

/* Maps of the images and of the convolutions on them, one behind the other. */
static wa_status make_maps(struct wa_operations *operations, struct wa_error *err)
{
    const struct wa_model *model = operations->model;
    struct wa_path_state *state = operations->state;
    struct map_layer *layers = calloc(model->layer_count, sizeof *layers);
    if (!layers) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    int from = 0;
    int places = model->rows * model->columns;
    for (uint32_t l = 0; l < model->layer_count && !model->layers[l].is_dense; l++) {
        const struct wa_model_layer *layer = &model->layers[l];
        layers[l] = (struct map_layer){.from = from,
                                       .to = places,
                                       .in_rows = layer->input.rows,
                                       .in_columns = layer->input.columns,
                                       .out_rows = layer->output.rows,
                                       .out_columns = layer->output.columns,
                                       .kernel_size = (int32_t)layer->shape.kernel,
                                       .stride = (int32_t)layer->shape.stride,
                                       .pad_row = layer->pad_row,
                                       .pad_column = layer->pad_column};
        state->layers[l].map_base = places;
        from = places;
        places += layer->output.rows * layer->output.columns;
        state->map_count++;
    }
    wa_status status =
        wa_engine_buffer_from(operations->engine, layers, model->layer_count * sizeof *layers,
                              "a table of maps", &state->map_table, err);
    free(layers);
    return status == WA_OK ? wa_engine_buffer(operations->engine, (size_t)places,
                                              "maps of constant places", &state->map, err)
                           : status;
}

wa_status wa_cpu_winograd_init(struct wa_operations *operations, struct wa_error *err)
{
    struct wa_path_state *state = operations->state;
    if (!is_any_used(operations->engine, operations->model)) {
        return WA_OK;
    }
    size_t scratch = 0;
    wa_status status = wa_operations_make_kernels(operations->engine, map_entries, MAP_KERNEL_COUNT,
                                                  NULL, state, err);
    if (status == WA_OK) {
        status = make_kernels(operations, err);
    }
    if (status == WA_OK) {
        status = wa_cpu_winograd_stride2_init(operations, err);
    }
    for (int direction = 0; direction < 2 && status == WA_OK; direction++) {
        status = make_directions(operations, direction == 1, &scratch, err);
    }
    if (status == WA_OK) {
        status = make_gradients(operations, &scratch, err);
    }
    if (status == WA_OK) {
        status = wa_engine_buffer(operations->engine, scratch * sizeof(float), "transformed tiles",
                                  &state->scratch, err);
    }
    return status == WA_OK ? make_maps(operations, err) : status;
}

void wa_cpu_winograd_finish(struct wa_operations *operations)
{
    struct wa_path_state *state = operations->state;
    wa_operations_release_kernels(map_entries, MAP_KERNEL_COUNT, state);
    wa_operations_release_kernels(kernel_entries, KERNEL_COUNT, state);
    wa_cpu_winograd_stride2_finish(operations);
    for (uint32_t l = 0; state->layers && l < operations->model->layer_count; l++) {
        wa_engine_release(operations->engine, state->layers[l].winograd[0].table);
        wa_engine_release(operations->engine, state->layers[l].winograd[1].table);
        wa_engine_release(operations->engine, state->layers[l].winograd_gradient.table);
    }
    for (int kind = 0; kind < WA_CPU_OUT_VECTOR_KINDS; kind++) {
        wa_cpu_release_kernel(state->winograd_gradient[kind]);
        wa_cpu_release_kernel(state->winograd_finish[kind]);
    }
    wa_engine_release(operations->engine, state->scratch);
    wa_engine_release(operations->engine, state->map);
    wa_engine_release(operations->engine, state->map_table);
}

/* ---- Launches ------------------------------------------------------------------------------- */

wa_status wa_cpu_winograd_arrange(struct wa_operations *operations, bool is_backward,
                                  cl_mem arranged, struct wa_error *err)
{
    wa_status status = WA_OK;
    for (uint32_t l = 0; l < operations->model->layer_count && status == WA_OK; l++) {
        const struct wa_cpu_winograd *w = &operations->state->layers[l].winograd[is_backward];
        if (!w->is_used) {
            continue;
        }
        const struct wa_convolution *c = direction_of(&operations->model->layers[l], is_backward);
        int blocks = wa_divide_up(c->out_channels, operations->engine->output_block);
        struct wa_range range = {1, {(size_t)blocks}, {1}};
        status = wa_engine_launch(operations->engine, w->weights_kernel, &range, err, "mmiiii",
                                  arranged, arranged,
                                  (int)wa_operations_arranged_offset(operations, l, is_backward),
                                  (int)w->weight_offset, c->in_channels, (int)is_backward);
    }
    return status;
}

wa_status wa_cpu_winograd_convolve(struct wa_operations *operations, uint32_t layer,
                                   bool is_backward, cl_mem arranged, cl_mem x, cl_mem y,
                                   struct wa_error *err)
{
    const struct wa_cpu_winograd *w = &operations->state->layers[layer].winograd[is_backward];
    struct wa_range range = {1, {(size_t)w->groups}, {1}};
    return wa_engine_launch(operations->engine, w->kernel, &range, err, "mmmmmi", x, arranged, y,
                            w->table, operations->state->scratch, (int)w->weight_offset);
}

wa_status wa_cpu_winograd_map(struct wa_operations *operations, cl_mem images, struct wa_error *err)
{
    const struct wa_model *model = operations->model;
    const struct wa_layout *in = &model->layers[0].input;
    const struct wa_path_state *state = operations->state;
    if (!state->map) {
        return WA_OK;
    }
    struct wa_range rows = {1, {(size_t)model->rows}, {1}};
    struct wa_range one = {1, {1}, {1}};
    wa_status status =
        wa_engine_launch(operations->engine, state->map_image, &rows, err, "mmiiiiiiii", images,
                         state->map, model->batch, model->rows, model->columns, model->channels,
                         model->lanes, in->base, in->plane, in->row);
    return status == WA_OK ? wa_engine_launch(operations->engine, state->map_layers, &one, err,
                                              "mmi", state->map, state->map_table, state->map_count)
                           : status;
}

wa_status wa_cpu_winograd_weight_gradient(struct wa_operations *operations, uint32_t layer,
                                          cl_mem x, cl_mem dz, cl_mem gradients,
                                          struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct wa_path_state *state = operations->state;
    const struct wa_cpu_winograd_gradient *w = &state->layers[layer].winograd_gradient;
    struct wa_range range = {1, {(size_t)w->parts}, {1}};
    wa_status status = wa_engine_launch(operations->engine, w->kernel, &range, err, "mmmmm", x, dz,
                                        state->partial, w->table, state->scratch);
    if (status != WA_OK) {
        return status;
    }
    struct wa_range finish = {1, {l->shape.in_channels}, {1}};
    return wa_engine_launch(operations->engine, w->finish, &finish, err, "mmmiiiiif",
                            state->partial, state->bias_partial, gradients, (int)l->weight_offset,
                            (int)l->shape.in_channels, (int)l->shape.out_channels, w->parts,
                            l->output.rows, 1.0 / (double)l->scale);
}
