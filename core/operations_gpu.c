/* The operations on GPUs: launches of the kernels in work-groups, kernels/gpu_*.cl. Sizes are
 * reasoned for a large device (some hundred multiprocessors); none changes a result's order of sums
 * from run to run. */
#include <stdlib.h>
#include <string.h>

#include "operations_private.h"

enum {
    OUT_BLOCK = 8,          /* outputs of a work-item, and of a block of arranged weights */
    PIECE = 4,              /* lanes that are read at once */
    CONVOLUTION_SLICE = 8,  /* kernels/gpu_convolution.cl, SLICE */
    GRADIENT_SLICE = 4,     /* kernels/gpu_weight_gradient.cl, SLICE_PIECES */
    GRADIENT_GROUPS = 1024, /* that a weight gradient is cut into, about */
    MIN_PART_SLICES = 8,    /* of a part of a weight gradient */
    MAX_DEEP = 8,           /* work-items that add up the parts of one weight */
    MAX_EACH = 5, /* pieces of a position that a work-item of batch norm keeps, if it can */
    BATCH_NORM_GROUP = 256
};

/* Tiles by the number of outputs; narrow nets would waste the rows of the largest. */
enum { TILE_KINDS = 4 };
static const struct wa_tile convolution_tiles[TILE_KINDS] = {
    {.rows = 1, .columns = 64, .pieces = 1}, /* to 8 outputs */
    {.rows = 2, .columns = 32, .pieces = 2}, /* to 16 */
    {.rows = 4, .columns = 16, .pieces = 2}, /* to 32 */
    {.rows = 8, .columns = 16, .pieces = 2},
};
static const struct wa_tile gradient_tiles[TILE_KINDS] = {
    {.rows = 1, .columns = 32, .pieces = 1},
    {.rows = 2, .columns = 32, .pieces = 1},
    {.rows = 4, .columns = 16, .pieces = 2},
    {.rows = 8, .columns = 16, .pieces = 2},
};

/* kernels/gpu_weight_gradient.cl, struct walk. */
struct walk {
    int32_t rows, columns, lanes;
    int32_t dz, dz_row;
    int32_t x, x_row, x_column;
    int32_t parts;
};

struct direction {
    cl_mem jobs, sources;
    int job_count;
    int kind; /* of tile */
    size_t place_tiles;
};

struct layer_tables {
    struct direction directions[2]; /* forward, backward */
    cl_mem walk, sources;           /* of the weight gradient */
    int kind, parts;
};

/* Kernels built for one kind of tile; none where no layer uses it. */
enum { GRADIENT, GRADIENT_FINISH, GRADIENT_KERNELS };
struct tiled_kernels {
    struct wa_tile convolution_tile, gradient_tile;
    cl_kernel convolution, gradient[GRADIENT_KERNELS];
};

enum { BATCH_NORM_FORWARD, BATCH_NORM_BACKWARD, POOL, BATCH_NORM_KERNELS };

struct wa_path_state {
    struct layer_tables *layers;
    struct tiled_kernels kinds[TILE_KINDS];
    struct wa_tile batch_norm_tile;
    cl_kernel batch_norm[BATCH_NORM_KERNELS];
    cl_kernel load_batch_bytes, load_batch_floats;
    cl_mem partial, bias_partial;
};

static const struct wa_kernel_entry kernel_entries[] = {
    {"gpu_load.cl", "load_batch_bytes", offsetof(struct wa_path_state, load_batch_bytes), false},
    {"gpu_load.cl", "load_batch_floats", offsetof(struct wa_path_state, load_batch_floats), false},
};
enum { KERNEL_COUNT = sizeof kernel_entries / sizeof *kernel_entries };

static struct wa_blocking blocking(const struct wa_engine *engine)
{
    (void)engine;
    return (struct wa_blocking){.lanes = PIECE, .outputs = OUT_BLOCK, .position = PIECE};
}

/* ---- Kernels -------------------------------------------------------------------------------- */

static int tile_kind(int outputs)
{
    int kind = 0;
    while (kind + 1 < TILE_KINDS && outputs > convolution_tiles[kind].rows * OUT_BLOCK) {
        kind++;
    }
    return kind;
}

/* The first layer's way back is not worth a program of its own: no rule needs it. */
static int direction_kind(const struct wa_model *model, uint32_t layer, bool is_backward)
{
    const struct wa_layer *s = &model->layers[layer].shape;
    return tile_kind((int)(is_backward && layer > 0 ? s->in_channels : s->out_channels));
}

static size_t convolution_bytes(const struct wa_tile *tile, int context)
{
    (void)context;
    size_t places = (size_t)tile->columns * (size_t)tile->pieces;
    size_t slice = 2 * (size_t)tile->rows + 1 + places;
    return 2 * CONVOLUTION_SLICE * slice * PIECE * sizeof(float) + places * sizeof(cl_int);
}

static size_t gradient_bytes(const struct wa_tile *tile, int context)
{
    (void)context;
    size_t sources = (size_t)tile->columns * (size_t)tile->pieces;
    size_t slice = 2 * (size_t)tile->rows + 1 + sources + 1;
    return GRADIENT_SLICE * PIECE * slice * PIECE * sizeof(float) +
           sources * PIECE * sizeof(cl_long) + wa_tile_items(tile) * sizeof(float);
}

static size_t batch_norm_bytes(const struct wa_tile *tile, int context)
{
    (void)context;
    return wa_tile_items(tile) * PIECE * sizeof(float) + (size_t)tile->rows * sizeof(float);
}

static struct wa_tiled_kernels convolution_kernels(int kind)
{
    return (struct wa_tiled_kernels){
        .file = "gpu_convolution.cl", .tile = convolution_tiles[kind], .bytes = convolution_bytes};
}

static struct wa_tiled_kernels gradient_kernels(int kind)
{
    return (struct wa_tiled_kernels){
        .file = "gpu_weight_gradient.cl", .tile = gradient_tiles[kind], .bytes = gradient_bytes};
}

/* Rows are teams, a team as large as its work-items need to keep their lanes in registers. */
static struct wa_tiled_kernels batch_norm_kernels(int lanes, const char *options)
{
    int team = 8;
    while (team < BATCH_NORM_GROUP && lanes / PIECE > MAX_EACH * team) {
        team *= 2;
    }
    return (struct wa_tiled_kernels){
        .file = "gpu_batch_norm.cl",
        .options = options,
        .tile = {.rows = BATCH_NORM_GROUP / team, .columns = team, .pieces = 1},
        .bytes = batch_norm_bytes};
}

/* Which kinds of tiles the model uses. */
static void find_kinds(const struct wa_model *model, bool ret_is_used[TILE_KINDS])
{
    memset(ret_is_used, 0, TILE_KINDS * sizeof *ret_is_used);
    for (uint32_t l = 0; l < model->layer_count; l++) {
        if (!model->layers[l].is_dense) {
            ret_is_used[direction_kind(model, l, false)] = true;
            ret_is_used[direction_kind(model, l, true)] = true;
        }
    }
}

static void list_program(const struct wa_engine *engine, struct wa_tiled_kernels tiled,
                         struct wa_program_list *list)
{
    if (list->count < WA_OPERATIONS_MAX_PROGRAMS) {
        list->specs[list->count] =
            wa_tile_spec(engine, tiled, list->buffers[list->count], WA_OPERATIONS_OPTION_BYTES);
        list->count++;
    }
}

static void list_programs(const struct wa_engine *engine, const struct wa_model *model,
                          struct wa_program_list *list)
{
    bool is_used[TILE_KINDS];
    find_kinds(model, is_used);
    for (int kind = 0; kind < TILE_KINDS; kind++) {
        if (is_used[kind]) {
            list_program(engine, convolution_kernels(kind), list);
            list_program(engine, gradient_kernels(kind), list);
        }
    }
    char options[WA_BATCH_OPTION_BYTES];
    wa_operations_batch_options(model, options);
    list_program(engine, batch_norm_kernels(model->lanes, options), list);
    wa_operations_add_programs(engine, kernel_entries, KERNEL_COUNT, options, list);
}

static wa_status make_tiled(struct wa_engine *engine, int kind, struct tiled_kernels *kernels,
                            struct wa_error *err)
{
    static const char *const convolution_name = "convolution";
    static const char *const gradient_names[] = {"weight_gradient", "weight_gradient_finish"};
    struct wa_tiled_kernels convolution = convolution_kernels(kind);
    struct wa_tiled_kernels gradient = gradient_kernels(kind);
    wa_status status =
        wa_tile_kernels(engine, &convolution, &convolution_name, 1, &kernels->convolution, err);
    if (status == WA_OK) {
        status = wa_tile_kernels(engine, &gradient, gradient_names, GRADIENT_KERNELS,
                                 kernels->gradient, err);
    }
    kernels->convolution_tile = convolution.tile;
    kernels->gradient_tile = gradient.tile;
    return status;
}

static wa_status make_kernels(struct wa_operations *operations, struct wa_error *err)
{
    static const char *const batch_norm_names[] = {"batch_norm_forward", "batch_norm_backward",
                                                   "pool"};
    struct wa_path_state *state = operations->state;
    const struct wa_model *model = operations->model;
    char options[WA_BATCH_OPTION_BYTES];
    wa_operations_batch_options(model, options);
    struct wa_tiled_kernels batch_norm = batch_norm_kernels(model->lanes, options);
    wa_status status = wa_tile_kernels(operations->engine, &batch_norm, batch_norm_names,
                                       BATCH_NORM_KERNELS, state->batch_norm, err);
    state->batch_norm_tile = batch_norm.tile;
    if (status == WA_OK) {
        status = wa_operations_make_kernels(operations->engine, kernel_entries, KERNEL_COUNT,
                                            options, state, err);
    }
    bool is_used[TILE_KINDS];
    find_kinds(model, is_used);
    for (int kind = 0; kind < TILE_KINDS && status == WA_OK; kind++) {
        if (is_used[kind]) {
            status = make_tiled(operations->engine, kind, &state->kinds[kind], err);
        }
    }
    return status;
}

/* ---- Tables --------------------------------------------------------------------------------- */

/* Where in x the values of each (channel, tap) lie, counted from a place: channels of a job
 * outside, as arranged weights have it, or taps outside, as a weights set has it. */
static wa_status upload_sources(struct wa_engine *engine, const struct wa_convolution *c,
                                bool taps_outside, cl_mem *ret_sources, struct wa_error *err)
{
    size_t count = (size_t)c->in_channels * (size_t)c->tap_count;
    cl_long *sources = calloc(count + 1, sizeof *sources);
    if (!sources) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    cl_long *next = sources;
    for (int j = 0; j < c->job_count; j++) {
        int taps = c->jobs[j].taps;
        for (int i = 0; i < taps * c->in_channels; i++) {
            int channel = taps_outside ? i % c->in_channels : i / taps;
            int tap = taps_outside ? i / c->in_channels : i % taps;
            *next++ = (cl_long)channel * c->x_plane + c->taps[c->jobs[j].first_tap + tap];
        }
    }
    wa_status status = wa_engine_buffer_from(engine, sources, (count + 1) * sizeof *sources,
                                             "a table of sources", ret_sources, err);
    free(sources);
    return status;
}

static wa_status make_direction(struct wa_operations *operations, uint32_t layer, bool is_backward,
                                struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct wa_convolution *c = is_backward ? &l->backward : &l->forward;
    struct wa_path_state *state = operations->state;
    struct direction *d = &state->layers[layer].directions[is_backward];
    d->kind = direction_kind(operations->model, layer, is_backward);
    d->job_count = c->job_count;
    const struct wa_tile *tile = &state->kinds[d->kind].convolution_tile;
    size_t bytes = (size_t)c->job_count * sizeof *c->jobs;
    struct wa_convolution_job *jobs = malloc(bytes);
    if (!jobs) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    memcpy(jobs, c->jobs, bytes);
    int first = 0;
    for (int j = 0; j < c->job_count; j++) {
        jobs[j].weights += (int32_t)wa_operations_arranged_offset(operations, layer, is_backward);
        jobs[j].first = first;
        first += wa_divide_up(jobs[j].rows * jobs[j].columns * jobs[j].blocks,
                              tile->columns * tile->pieces);
    }
    d->place_tiles = (size_t)first;
    wa_status status =
        wa_engine_buffer_from(operations->engine, jobs, bytes, "a table of jobs", &d->jobs, err);
    free(jobs);
    return status == WA_OK ? upload_sources(operations->engine, c, false, &d->sources, err)
                           : status;
}

/* Sources and outputs in tiles of the weight gradient. */
static int gradient_tiles_of(const struct wa_tile *tile, const struct wa_model_layer *layer)
{
    return wa_divide_up((int)layer->shape.out_channels, tile->rows * OUT_BLOCK) *
           wa_divide_up(layer->fan_in, tile->columns * tile->pieces * PIECE);
}

static wa_status make_gradient(struct wa_operations *operations, uint32_t layer,
                               struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct wa_layout *x = &l->input;
    const struct wa_layout *dz = &l->gradient;
    struct layer_tables *tables = &operations->state->layers[layer];
    int stride = (int)l->shape.stride;
    tables->kind = tile_kind((int)l->shape.out_channels);
    const struct wa_tile *tile = &operations->state->kinds[tables->kind].gradient_tile;
    int slices = wa_divide_up(dz->rows * dz->columns * (dz->lanes / PIECE), GRADIENT_SLICE);
    tables->parts = wa_clamp(wa_divide_up(GRADIENT_GROUPS, gradient_tiles_of(tile, l)), 1,
                             wa_divide_up(slices, MIN_PART_SLICES));
    struct walk walk = {.rows = dz->rows,
                        .columns = dz->columns,
                        .lanes = dz->lanes,
                        .dz = dz->base,
                        .dz_row = dz->row,
                        .x = x->base - l->pad_row * x->row - l->pad_column * x->lanes,
                        .x_row = stride * x->row,
                        .x_column = stride * x->lanes,
                        .parts = tables->parts};
    wa_status status = wa_engine_buffer_from(operations->engine, &walk, sizeof walk,
                                             "a table of places", &tables->walk, err);
    return status == WA_OK
               ? upload_sources(operations->engine, &l->forward, true, &tables->sources, err)
               : status;
}

/* Groups of batch norm in a channel: each leaves a sum for the bias. */
static int channel_groups(const struct wa_operations *operations, const struct wa_layout *out)
{
    return wa_divide_up(out->rows * out->columns, operations->state->batch_norm_tile.rows);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static wa_status make_tables(struct wa_operations *operations, struct wa_error *err)
{
    struct wa_path_state *state = operations->state;
    size_t partial = 0;
    size_t bias_partial = 0;
    wa_status status = WA_OK;
    for (uint32_t l = 0; l < operations->model->layer_count && status == WA_OK; l++) {
        const struct wa_model_layer *layer = &operations->model->layers[l];
        bias_partial = larger(bias_partial, (size_t)layer->output.channels *
                                                (size_t)channel_groups(operations, &layer->output));
        if (layer->is_dense) {
            continue;
        }
        for (int direction = 0; direction < 2 && status == WA_OK; direction++) {
            status = make_direction(operations, l, direction == 1, err);
        }
        if (status == WA_OK) {
            status = make_gradient(operations, l, err);
        }
        partial = larger(partial, layer->weight_count * (size_t)state->layers[l].parts);
    }
    if (status == WA_OK) {
        status = wa_engine_buffer(operations->engine, partial * sizeof(float),
                                  "partial weight gradients", &state->partial, err);
    }
    if (status == WA_OK) {
        status = wa_engine_buffer(operations->engine, bias_partial * sizeof(float),
                                  "partial bias gradients", &state->bias_partial, err);
    }
    return status;
}

/* ---- Set-up --------------------------------------------------------------------------------- */

static wa_status create(struct wa_operations *operations, struct wa_error *err)
{
    struct wa_path_state *state = calloc(1, sizeof *state);
    operations->state = state;
    if (state) {
        state->layers = calloc(operations->model->layer_count, sizeof *state->layers);
    }
    if (!state || !state->layers) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    wa_status status = make_kernels(operations, err);
    return status == WA_OK ? make_tables(operations, err) : status;
}

static void release_kernels(cl_kernel *kernels, int count)
{
    for (int i = 0; i < count; i++) {
        if (kernels[i]) {
            (void)clReleaseKernel(kernels[i]);
        }
    }
}

static void destroy(struct wa_operations *operations)
{
    struct wa_path_state *state = operations->state;
    struct wa_engine *engine = operations->engine;
    if (!state) {
        return;
    }
    release_kernels(state->batch_norm, BATCH_NORM_KERNELS);
    wa_operations_release_kernels(kernel_entries, KERNEL_COUNT, state);
    for (int kind = 0; kind < TILE_KINDS; kind++) {
        release_kernels(&state->kinds[kind].convolution, 1);
        release_kernels(state->kinds[kind].gradient, GRADIENT_KERNELS);
    }
    for (uint32_t l = 0; state->layers && l < operations->model->layer_count; l++) {
        struct layer_tables *tables = &state->layers[l];
        for (int direction = 0; direction < 2; direction++) {
            wa_engine_release(engine, tables->directions[direction].jobs);
            wa_engine_release(engine, tables->directions[direction].sources);
        }
        wa_engine_release(engine, tables->walk);
        wa_engine_release(engine, tables->sources);
    }
    wa_engine_release(engine, state->partial);
    wa_engine_release(engine, state->bias_partial);
    free(state->layers);
    free(state);
}

/* ---- Launches ------------------------------------------------------------------------------- */

static wa_status convolve(struct wa_operations *operations, uint32_t layer, bool is_backward,
                          cl_mem arranged, cl_mem x, cl_mem y, struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct wa_convolution *c = is_backward ? &l->backward : &l->forward;
    const struct direction *d = &operations->state->layers[layer].directions[is_backward];
    const struct tiled_kernels *kernels = &operations->state->kinds[d->kind];
    const struct wa_tile *tile = &kernels->convolution_tile;
    size_t out_tiles = (size_t)wa_divide_up(c->out_channels, tile->rows * OUT_BLOCK);
    struct wa_range range = wa_tile_range(tile, out_tiles * d->place_tiles);
    return wa_engine_launch(operations->engine, kernels->convolution, &range, err, "mmmmmiiii", x,
                            arranged, y, d->jobs, d->sources, d->job_count, c->in_channels,
                            c->out_channels, c->y_plane);
}

static wa_status weight_gradient(struct wa_operations *operations, uint32_t layer, cl_mem x,
                                 cl_mem dz, cl_mem gradients, struct wa_error *err)
{
    const struct wa_path_state *state = operations->state;
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct layer_tables *tables = &state->layers[layer];
    const struct tiled_kernels *kernels = &state->kinds[tables->kind];
    const struct wa_tile *tile = &kernels->gradient_tile;
    int out = (int)l->shape.out_channels;
    struct wa_range range =
        wa_tile_range(tile, (size_t)gradient_tiles_of(tile, l) * (size_t)tables->parts);
    wa_status status = wa_engine_launch(operations->engine, kernels->gradient[GRADIENT], &range,
                                        err, "mmmmmiii", x, dz, state->partial, tables->walk,
                                        tables->sources, l->fan_in, out, l->gradient.plane);
    if (status != WA_OK) {
        return status;
    }
    int deep = 1;
    int items = (int)wa_tile_items(tile);
    while (deep < MAX_DEEP && 2 * deep <= items && 4 * deep <= tables->parts) {
        deep *= 2;
    }
    int across = items / deep;
    range = wa_tile_range(tile, (size_t)wa_divide_up((int)l->weight_count + out, across));
    return wa_engine_launch(operations->engine, kernels->gradient[GRADIENT_FINISH], &range, err,
                            "mmmiiiiifi", state->partial, state->bias_partial, gradients,
                            (int)l->weight_offset, (int)l->weight_count, tables->parts, out,
                            channel_groups(operations, &l->output), 1.0 / (double)l->scale, deep);
}

static wa_status activate(struct wa_operations *operations, uint32_t layer, cl_mem weights,
                          cl_mem z, bool keep_h, cl_mem a, const struct wa_layout *a_layout,
                          cl_mem inverse, struct wa_error *err)
{
    const struct wa_path_state *state = operations->state;
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct wa_layout *out = &l->output;
    struct wa_range range = wa_tile_range(
        &state->batch_norm_tile, (size_t)out->channels * (size_t)channel_groups(operations, out));
    /* A dense layer's product has scaled already. */
    double scale = l->is_dense ? 1.0 : (double)l->scale;
    return wa_engine_launch(
        operations->engine, state->batch_norm[BATCH_NORM_FORWARD], &range, err, "mmmmmiffiiiiiiiii",
        z, z, a, inverse, weights, (int)l->bias_offset, scale, WA_BATCH_NORM_EPSILON,
        l->shape.normalization == WA_NORMALIZATION_BATCH, l->shape.activation == WA_ACTIVATION_RELU,
        (int)keep_h, out->rows * out->columns, out->columns, out->plane, a_layout->base,
        a_layout->plane, a_layout->row);
}

static wa_status activate_backward(struct wa_operations *operations, uint32_t layer,
                                   struct wa_gradient_source source, cl_mem h, cl_mem slope_h,
                                   cl_mem inverse, cl_mem dz, struct wa_error *err)
{
    const struct wa_path_state *state = operations->state;
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct wa_layout *out = &l->output;
    const struct wa_layout *to = &l->gradient;
    struct wa_range range = wa_tile_range(
        &state->batch_norm_tile, (size_t)out->channels * (size_t)channel_groups(operations, out));
    int plane = source.is_pooled ? out->lanes : out->plane;
    int row = source.is_pooled ? 0 : out->row;
    int column = source.is_pooled ? 0 : out->lanes;
    double share = source.is_pooled ? 1.0 / ((double)out->rows * out->columns) : 1.0;
    /* The next products of a dense layer scale themselves. */
    double scale = l->is_dense ? 1.0 : (double)l->scale;
    return wa_engine_launch(
        operations->engine, state->batch_norm[BATCH_NORM_BACKWARD], &range, err,
        "mmmmmmffiiiiiiiiiii", source.memory, h, slope_h, inverse, dz, state->bias_partial, share,
        scale, l->shape.normalization == WA_NORMALIZATION_BATCH,
        l->shape.activation == WA_ACTIVATION_RELU, out->rows * out->columns, out->columns, plane,
        row, column, out->plane, to->base, to->plane, to->row);
}

static wa_status pool(struct wa_operations *operations, uint32_t layer, cl_mem a,
                      const struct wa_layout *a_layout, cl_mem pooled, struct wa_error *err)
{
    const struct wa_path_state *state = operations->state;
    const struct wa_layout *out = &operations->model->layers[layer].output;
    int groups = wa_divide_up(out->lanes / PIECE, state->batch_norm_tile.columns);
    struct wa_range range =
        wa_tile_range(&state->batch_norm_tile, (size_t)out->channels * (size_t)groups);
    return wa_engine_launch(operations->engine, state->batch_norm[POOL], &range, err, "mmiiiii", a,
                            pooled, out->rows * out->columns, out->columns, a_layout->base,
                            a_layout->plane, a_layout->row);
}

static wa_status load_batch(struct wa_operations *operations, const struct wa_items *items,
                            cl_mem x, struct wa_error *err)
{
    const struct wa_path_state *state = operations->state;
    const struct wa_model *model = operations->model;
    cl_kernel kernel =
        items->element == WA_ELEMENT_U8 ? state->load_batch_bytes : state->load_batch_floats;
    size_t group = wa_engine_group_limit(operations->engine, kernel);
    size_t count = (size_t)model->batch * (size_t)items->rows * (size_t)items->columns *
                   (size_t)items->channels;
    struct wa_range range = {1, {(count + group - 1) / group * group}, {group}};
    return wa_engine_launch(operations->engine, kernel, &range, err, "mmiiiiiiii", items->memory, x,
                            model->batch, items->rows, items->columns, items->channels,
                            model->lanes, items->x_base, items->x_plane, items->x_row);
}

static const char *algorithm(const struct wa_operations *operations, uint32_t layer,
                             enum wa_product product)
{
    (void)operations;
    (void)layer;
    (void)product;
    return "direct";
}

const struct wa_operations_path wa_operations_gpu_path = {
    .blocking = blocking,
    .programs = list_programs,
    .create = create,
    .destroy = destroy,
    .algorithm = algorithm,
    .convolve = convolve,
    .weight_gradient = weight_gradient,
    .activate = activate,
    .activate_backward = activate_backward,
    .pool = pool,
    .load_batch = load_batch,
};
