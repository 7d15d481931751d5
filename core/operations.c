/* The operations, on CPUs' vector kernels. */
#include "operations.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    VECTORS_IN_BLOCK = 3,
    TAPS_IN_GROUP = 3,
    MAX_WALK_LANES = 800,      /* of dz's block of outputs that stays in L1 */
    MIN_WALK_ITEMS = 32,       /* work-items that a weight gradient is cut into at least */
    MAX_WALK_CHANNELS = 16,
    MAX_GATHERED_TAPS = 80,    /* channels times taps gathered at a time */
    MAX_WEIGHT_BYTES = 1 << 20 /* of the weights that one range of outputs reads */
};

static const float batch_norm_epsilon = 1e-6f;

/* kernels/cpu_weight_gradient.cl, struct walk. */
struct walk {
    int32_t rows, segments, length, row_lanes;
    int32_t dz, dz_row, dz_segment;
    int32_t a, a_row, a_segment;
    int32_t visit, parts, taps, groups;
};

/* kernels/step.cl, struct form. */
struct form {
    int32_t first, source, target, rows, columns;
    int32_t source_row, source_column, source_tap, taps, first_tap;
};

struct direction {
    cl_mem jobs, taps;
    int job_count;
    size_t items;
    size_t arranged_offset;
    int outputs_per_item, channel_block;
    size_t accumulator_bytes, gathered_bytes;
};

struct layer_tables {
    struct direction forward, backward;
    cl_mem walk, walk_taps;
    int parts, channel_block;
    size_t sums_bytes;
};

struct arrangement {
    cl_mem forms, taps;
    int form_count;
    size_t items, floats;
};

struct wa_operations {
    struct wa_engine *engine;
    const struct wa_model *model;
    struct wa_matrix matrix;
    struct layer_tables *layers;
    struct arrangement arrangements[2]; /* forward, backward */
    cl_kernel convolution, weight_gradient, weight_gradient_finish;
    cl_kernel batch_norm_forward, batch_norm_backward, pool;
    cl_kernel load_bytes, load_floats, output_error, sum_rows, arrange;
    cl_mem byte_table, partial, bias_partial;
};

struct kernel_name {
    const char *file, *name;
    size_t offset;
    bool is_for_batch;
};

#define KERNEL(file, name, is_for_batch)                                                           \
    {                                                                                              \
        file, #name, offsetof(struct wa_operations, name), is_for_batch                            \
    }
static const struct kernel_name kernel_names[] = {
    KERNEL("cpu_convolution.cl", convolution, false),
    KERNEL("cpu_weight_gradient.cl", weight_gradient, false),
    KERNEL("cpu_weight_gradient.cl", weight_gradient_finish, false),
    KERNEL("cpu_batch_norm.cl", batch_norm_forward, true),
    KERNEL("cpu_batch_norm.cl", batch_norm_backward, true),
    KERNEL("cpu_batch_norm.cl", pool, true),
    KERNEL("step.cl", load_bytes, false),
    KERNEL("step.cl", load_floats, false),
    KERNEL("step.cl", output_error, false),
    KERNEL("step.cl", sum_rows, false),
    {"step.cl", "arrange_weights", offsetof(struct wa_operations, arrange), false},
};
#undef KERNEL
enum { KERNEL_COUNT = sizeof kernel_names / sizeof *kernel_names };

static void batch_options(int batch, char *ret_options, size_t bytes)
{
    (void)snprintf(ret_options, bytes, "-D BATCH=%d -D LANES=%d", batch, wa_model_lanes(batch));
}

size_t wa_operations_programs(const struct wa_engine *engine, int batch,
                              struct wa_program_spec ret_specs[WA_OPERATIONS_MAX_PROGRAMS],
                              char buffers[WA_OPERATIONS_MAX_PROGRAMS][WA_OPERATIONS_OPTION_BYTES])
{
    char options[64];
    batch_options(batch, options, sizeof options);
    size_t count = 0;
    const char *last = "";
    for (size_t i = 0; i < KERNEL_COUNT; i++) {
        if (strcmp(kernel_names[i].file, last) != 0) {
            last = kernel_names[i].file;
            ret_specs[count] =
                wa_engine_spec(engine, last, kernel_names[i].is_for_batch ? options : NULL,
                               buffers[count], WA_OPERATIONS_OPTION_BYTES);
            count++;
        }
    }
    ret_specs[count] = wa_engine_spec(engine, "cpu_matrix.cl", NULL, buffers[count],
                                      WA_OPERATIONS_OPTION_BYTES);
    return count + 1;
}

struct wa_blocking wa_operations_blocking(const struct wa_engine *engine)
{
    return (struct wa_blocking){.lanes = VECTORS_IN_BLOCK * engine->vector_width,
                                .outputs = engine->output_block};
}

/* ---- Tables --------------------------------------------------------------------------------- */

static int divide_up(int a, int b)
{
    return (a + b - 1) / b;
}

static int clamp(int value, int low, int high)
{
    return value < low ? low : value > high ? high : value;
}

/* How much of a convolution one work-item does: as many channels at a time as keep the gathered
 * lanes in L1, as many outputs as keep their weights in L2 and the accumulators in local memory. */
static wa_status size_direction(const struct wa_operations *operations,
                                const struct wa_convolution *c, struct direction *d,
                                struct wa_error *err)
{
    const struct wa_engine *engine = operations->engine;
    size_t block_bytes = (size_t)VECTORS_IN_BLOCK * (size_t)engine->vector_width * sizeof(float);
    int most_taps = 1;
    for (int j = 0; j < c->job_count; j++) {
        most_taps = c->jobs[j].taps > most_taps ? c->jobs[j].taps : most_taps;
    }
    int channels = clamp(MAX_GATHERED_TAPS / most_taps, 1, 32);
    if (c->in_channels <= 2 * channels) {
        channels = c->in_channels; /* one round: nothing is kept between rounds */
    }
    int outputs = engine->output_block;
    while (channels > 1 && (size_t)channels * (size_t)most_taps * block_bytes +
                                   (size_t)outputs * block_bytes >
                               engine->local_bytes) {
        channels--;
    }
    size_t gathered = (size_t)channels * (size_t)most_taps * block_bytes;
    if (gathered + (size_t)outputs * block_bytes > engine->local_bytes) {
        return wa_fail(err, WA_E_UNSUPPORTED,
                       "%s has %zu bytes of local memory, a kernel of %d taps needs %zu",
                       engine->device->info.name, engine->local_bytes, most_taps,
                       gathered + (size_t)outputs * block_bytes);
    }
    int output_blocks = divide_up(c->out_channels, outputs);
    int per_item = output_blocks;
    size_t weight_bytes = (size_t)c->in_channels * (size_t)most_taps * (size_t)outputs * sizeof(float);
    per_item = clamp((int)(MAX_WEIGHT_BYTES / weight_bytes), 1, per_item);
    bool is_one_round = channels == c->in_channels;
    if (!is_one_round) {
        size_t room = (engine->local_bytes - gathered) / ((size_t)outputs * block_bytes);
        per_item = clamp((int)room, 1, per_item);
    }
    d->channel_block = channels;
    d->outputs_per_item = per_item;
    d->gathered_bytes = gathered;
    d->accumulator_bytes = (is_one_round ? 1 : (size_t)per_item) * (size_t)outputs * block_bytes;
    return WA_OK;
}

static wa_status make_direction(struct wa_operations *operations, const struct wa_convolution *c,
                                size_t arranged_offset, struct direction *d, struct wa_error *err)
{
    struct wa_engine *engine = operations->engine;
    struct wa_blocking blocking = wa_operations_blocking(engine);
    wa_status status = size_direction(operations, c, d, err);
    if (status != WA_OK) {
        return status;
    }
    d->job_count = c->job_count;
    d->arranged_offset = arranged_offset;
    const struct wa_convolution_job *last = &c->jobs[c->job_count - 1];
    int segments = last->rows * last->columns;
    d->items = (size_t)(last->first + last->blocks * segments +
                        divide_up(last->rest * segments, blocking.lanes / 4));
    /* The jobs as the kernel sees them: weights counted from the start of the arranged set. */
    struct wa_convolution_job *jobs = calloc((size_t)c->job_count, sizeof *jobs);
    if (!jobs) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    memcpy(jobs, c->jobs, (size_t)c->job_count * sizeof *jobs);
    for (int j = 0; j < c->job_count; j++) {
        jobs[j].weights += (int32_t)arranged_offset;
    }
    status = wa_engine_buffer_from(engine, jobs, (size_t)c->job_count * sizeof *jobs, "a table of jobs",
                                   &d->jobs, err);
    free(jobs);
    if (status == WA_OK) {
        status = wa_engine_buffer_from(engine, c->taps, (size_t)c->tap_count * sizeof *c->taps,
                                       "a table of taps", &d->taps, err);
    }
    return status;
}

/* Cuts the places of a layer's output into segments that the weight gradient walks. */
static void make_walk(const struct wa_model_layer *layer, struct walk *ret_walk)
{
    const struct wa_layout *x = &layer->input;
    const struct wa_layout *dz = &layer->gradient;
    int lanes = dz->lanes;
    int stride = (int)layer->shape.stride;
    int k = (int)layer->shape.kernel;
    struct walk w = {.rows = dz->rows,
                     .dz = dz->base,
                     .dz_row = dz->row,
                     .a = x->base - layer->pad_row * x->row - layer->pad_column * lanes,
                     .a_row = stride * x->row,
                     .taps = k * k,
                     .groups = divide_up(k * k, TAPS_IN_GROUP)};
    if (stride == 1) {
        w.row_lanes = dz->columns * lanes;
        int cuts = divide_up(w.row_lanes, MAX_WALK_LANES);
        w.length = divide_up(divide_up(w.row_lanes, cuts), 16) * 16;
        w.segments = divide_up(w.row_lanes, w.length);
        w.dz_segment = w.a_segment = w.length;
    } else {
        w.length = lanes;
        w.segments = dz->columns;
        w.row_lanes = dz->columns * lanes;
        w.dz_segment = lanes;
        w.a_segment = stride * lanes;
    }
    w.visit = clamp(MAX_WALK_LANES / w.length, 1, w.rows * w.segments);
    *ret_walk = w;
}

static wa_status make_weight_gradient(struct wa_operations *operations,
                                      const struct wa_model_layer *layer, struct layer_tables *tables,
                                      struct wa_error *err)
{
    struct wa_engine *engine = operations->engine;
    struct walk walk;
    make_walk(layer, &walk);
    size_t sums = (size_t)walk.groups * (size_t)engine->output_block * TAPS_IN_GROUP *
                  (size_t)engine->vector_width * sizeof(float);
    if (sums > engine->local_bytes) {
        return wa_fail(err, WA_E_UNSUPPORTED,
                       "%s has %zu bytes of local memory, a weight gradient of %d taps needs %zu",
                       engine->device->info.name, engine->local_bytes, walk.taps, sums);
    }
    int in_channels = (int)layer->shape.in_channels;
    int fitting = (int)(engine->local_bytes / sums);
    tables->channel_block = clamp(clamp(MAX_WALK_CHANNELS, 1, fitting), 1, in_channels);
    tables->sums_bytes = sums * (size_t)tables->channel_block;
    int items = divide_up((int)layer->shape.out_channels, engine->output_block) *
                divide_up(in_channels, tables->channel_block);
    walk.parts = clamp(divide_up(MIN_WALK_ITEMS, items), 1, walk.rows * walk.segments);
    tables->parts = walk.parts;
    wa_status status = wa_engine_buffer_from(engine, &walk, sizeof walk, "a table of segments",
                                             &tables->walk, err);
    /* Taps in groups of three; a last group that is not full repeats its last tap. */
    int count = walk.groups * TAPS_IN_GROUP;
    int32_t *taps = calloc((size_t)count, sizeof *taps);
    if (!taps) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    for (int t = 0; t < count; t++) {
        taps[t] = layer->forward.taps[clamp(t, 0, walk.taps - 1)];
    }
    if (status == WA_OK) {
        status = wa_engine_buffer_from(engine, taps, (size_t)count * sizeof *taps, "a table of taps",
                                       &tables->walk_taps, err);
    }
    free(taps);
    return status;
}

/* The forms by which a weights set is arranged for one direction, all layers in one launch. */
static wa_status make_arrangement(struct wa_operations *operations, bool is_backward,
                                  struct wa_error *err)
{
    const struct wa_model *model = operations->model;
    struct arrangement *a = &operations->arrangements[is_backward];
    size_t form_count = 0;
    size_t tap_count = 0;
    for (uint32_t l = 0; l < model->layer_count; l++) {
        const struct wa_model_layer *layer = &model->layers[l];
        const struct wa_convolution *c = is_backward ? &layer->backward : &layer->forward;
        form_count += (size_t)c->job_count;
        tap_count += (size_t)c->tap_count;
    }
    struct form *forms = calloc(form_count + 1, sizeof *forms);
    int32_t *taps = calloc(tap_count + 1, sizeof *taps);
    if (!forms || !taps) {
        free(forms);
        free(taps);
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    form_count = tap_count = 0;
    int items = 0;
    int outputs = operations->engine->output_block;
    for (uint32_t l = 0; l < model->layer_count; l++) {
        const struct wa_model_layer *layer = &model->layers[l];
        const struct wa_convolution *c = is_backward ? &layer->backward : &layer->forward;
        int in = (int)layer->shape.in_channels;
        for (int j = 0; j < c->job_count; j++) {
            forms[form_count++] = (struct form){
                .first = items,
                .source = (int32_t)layer->weight_offset,
                .target = (int32_t)a->floats + c->jobs[j].weights,
                .rows = c->out_channels,
                .columns = c->in_channels,
                .source_row = is_backward ? 1 : layer->fan_in,
                .source_column = is_backward ? layer->fan_in : 1,
                .source_tap = in,
                .taps = c->jobs[j].taps,
                .first_tap = (int32_t)tap_count + c->jobs[j].first_tap};
            items += divide_up(c->out_channels, outputs);
        }
        if (c->tap_count > 0) {
            memcpy(taps + tap_count, c->kernel_taps, (size_t)c->tap_count * sizeof *taps);
        }
        tap_count += (size_t)c->tap_count;
        a->floats += c->arranged_floats;
    }
    a->form_count = (int)form_count;
    a->items = (size_t)items;
    wa_status status =
        wa_engine_buffer_from(operations->engine, forms, (form_count + 1) * sizeof *forms,
                              "a table of weight forms", &a->forms, err);
    if (status == WA_OK) {
        status = wa_engine_buffer_from(operations->engine, taps, (tap_count + 1) * sizeof *taps,
                                       "a table of taps", &a->taps, err);
    }
    free(forms);
    free(taps);
    return status;
}

static wa_status make_tables(struct wa_operations *operations, struct wa_error *err)
{
    const struct wa_model *model = operations->model;
    size_t partial = 0;
    size_t bias_partial = 0;
    size_t arranged[2] = {0, 0};
    wa_status status = WA_OK;
    for (uint32_t l = 0; l < model->layer_count && status == WA_OK; l++) {
        const struct wa_model_layer *layer = &model->layers[l];
        struct layer_tables *tables = &operations->layers[l];
        size_t rows = (size_t)layer->output.channels * (size_t)layer->output.rows;
        bias_partial = rows > bias_partial ? rows : bias_partial;
        if (layer->is_dense) {
            continue;
        }
        status = make_direction(operations, &layer->forward, arranged[0], &tables->forward, err);
        if (status == WA_OK) {
            status = make_direction(operations, &layer->backward, arranged[1], &tables->backward, err);
        }
        if (status == WA_OK) {
            status = make_weight_gradient(operations, layer, tables, err);
        }
        arranged[0] += layer->forward.arranged_floats;
        arranged[1] += layer->backward.arranged_floats;
        size_t floats = layer->weight_count * (size_t)tables->parts;
        partial = floats > partial ? floats : partial;
    }
    for (int direction = 0; direction < 2 && status == WA_OK; direction++) {
        status = make_arrangement(operations, direction == 1, err);
    }
    if (status == WA_OK) {
        status = wa_engine_buffer(operations->engine, partial * sizeof(float),
                                  "partial weight gradients", &operations->partial, err);
    }
    if (status == WA_OK) {
        status = wa_engine_buffer(operations->engine, bias_partial * sizeof(float),
                                  "partial bias gradients", &operations->bias_partial, err);
    }
    return status;
}

/* ---- Set-up --------------------------------------------------------------------------------- */

static wa_status make_kernels(struct wa_operations *operations, struct wa_error *err)
{
    char options[64];
    batch_options(operations->model->batch, options, sizeof options);
    wa_status status = WA_OK;
    for (size_t i = 0; i < KERNEL_COUNT && status == WA_OK; i++) {
        cl_kernel *kernel = (cl_kernel *)(void *)((char *)operations + kernel_names[i].offset);
        status = wa_engine_kernel(operations->engine, kernel_names[i].file, kernel_names[i].name,
                                  kernel_names[i].is_for_batch ? options : NULL, kernel, err);
    }
    return status;
}

static wa_status make_byte_table(struct wa_operations *operations, struct wa_error *err)
{
    float table[256];
    for (int v = 0; v < 256; v++) {
        table[v] = (float)v / 255.0f;
    }
    return wa_engine_buffer_from(operations->engine, table, sizeof table, "the table of pixel values",
                                 &operations->byte_table, err);
}

wa_status wa_operations_create(struct wa_engine *engine, const struct wa_model *model,
                               struct wa_operations **ret_operations, struct wa_error *err)
{
    struct wa_operations *operations = calloc(1, sizeof *operations);
    if (!operations) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    operations->engine = engine;
    operations->model = model;
    operations->layers = calloc(model->layer_count, sizeof *operations->layers);
    wa_status status =
        operations->layers ? WA_OK : wa_fail(err, WA_E_MEMORY, "out of memory");
    if (status == WA_OK) {
        status = make_kernels(operations, err);
    }
    if (status == WA_OK) {
        status = wa_matrix_init(&operations->matrix, engine,
                                engine->path == WA_PATH_GPU ? WA_MATRIX_CLBLAST : WA_MATRIX_OWN, err);
    }
    if (status == WA_OK) {
        status = make_tables(operations, err);
    }
    if (status == WA_OK) {
        status = make_byte_table(operations, err);
    }
    if (status != WA_OK) {
        wa_operations_destroy(operations);
        return status;
    }
    *ret_operations = operations;
    return WA_OK;
}

void wa_operations_destroy(struct wa_operations *operations)
{
    if (!operations) {
        return;
    }
    struct wa_engine *engine = operations->engine;
    for (size_t i = 0; i < KERNEL_COUNT; i++) {
        cl_kernel kernel = *(cl_kernel *)(void *)((char *)operations + kernel_names[i].offset);
        if (kernel) {
            (void)clReleaseKernel(kernel);
        }
    }
    for (uint32_t l = 0; operations->layers && l < operations->model->layer_count; l++) {
        struct layer_tables *tables = &operations->layers[l];
        cl_mem buffers[] = {tables->forward.jobs,  tables->forward.taps, tables->backward.jobs,
                            tables->backward.taps, tables->walk,         tables->walk_taps};
        for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
            wa_engine_release(engine, buffers[i]);
        }
    }
    for (int i = 0; i < 2; i++) {
        wa_engine_release(engine, operations->arrangements[i].forms);
        wa_engine_release(engine, operations->arrangements[i].taps);
    }
    wa_engine_release(engine, operations->byte_table);
    wa_engine_release(engine, operations->partial);
    wa_engine_release(engine, operations->bias_partial);
    wa_matrix_finish(&operations->matrix);
    free(operations->layers);
    free(operations);
}

/* ---- Operations ----------------------------------------------------------------------------- */

size_t wa_operations_arranged_floats(const struct wa_operations *operations, bool is_backward)
{
    return operations->arrangements[is_backward].floats;
}

wa_status wa_operations_arrange(struct wa_operations *operations, cl_mem weights, bool is_backward,
                                cl_mem arranged, struct wa_error *err)
{
    const struct arrangement *a = &operations->arrangements[is_backward];
    if (a->items == 0) {
        return WA_OK; /* no convolutions */
    }
    struct wa_range range = {1, {a->items}, {0}};
    return wa_engine_launch(operations->engine, operations->arrange, &range, err, "mmmmii", weights,
                            arranged, a->forms, a->taps, a->form_count,
                            operations->engine->output_block);
}

wa_status wa_operations_load_batch(struct wa_operations *operations, cl_mem items,
                                   wa_element element, cl_mem x, struct wa_error *err)
{
    const struct wa_model *model = operations->model;
    const struct wa_model_layer *first = &model->layers[0];
    struct wa_layout in = first->input;
    if (first->shape.input == WA_INPUT_FLATTENED) {
        in.base = 0; /* h, w, c order: what the items have already; channels one by one */
    }
    int rows = first->shape.input == WA_INPUT_FLATTENED ? 1 : model->rows;
    int columns = first->shape.input == WA_INPUT_FLATTENED ? 1 : model->columns;
    int channels = in.channels;
    struct wa_range range = {2, {(size_t)rows, (size_t)channels}, {0}};
    if (element == WA_ELEMENT_U8) {
        return wa_engine_launch(operations->engine, operations->load_bytes, &range, err,
                                "mmmiiiiiiii", items, operations->byte_table, x, model->batch, rows,
                                columns, channels, model->lanes, in.base, in.plane, in.row);
    }
    return wa_engine_launch(operations->engine, operations->load_floats, &range, err, "mmiiiiiiii",
                            items, x, model->batch, rows, columns, channels, model->lanes, in.base,
                            in.plane, in.row);
}

/* Two for each multiply-add of the direct algorithm: every pass over a layer has as many. */
static void count_flop(struct wa_operations *operations, const struct wa_model_layer *l)
{
    operations->engine->flop += 2ull * (uint64_t)operations->model->batch * l->weight_count *
                                (uint64_t)l->output.rows * (uint64_t)l->output.columns;
}

static wa_status convolve(struct wa_operations *operations, const struct wa_model_layer *l,
                          const struct wa_convolution *c, const struct direction *d, cl_mem arranged, cl_mem x,
                          cl_mem y, struct wa_error *err)
{
    int output_blocks = divide_up(c->out_channels, operations->engine->output_block);
    count_flop(operations, l);
    struct wa_range range = {
        2, {d->items, (size_t)divide_up(output_blocks, d->outputs_per_item)}, {1, 1}};
    return wa_engine_launch(operations->engine, operations->convolution, &range, err, "mmmmmiiiiiiill",
                            x, arranged, y, d->jobs, d->taps, d->job_count, c->in_channels,
                            c->out_channels, c->x_plane, c->y_plane, d->outputs_per_item,
                            d->channel_block, d->accumulator_bytes, d->gathered_bytes);
}

wa_status wa_operations_forward(struct wa_operations *operations, uint32_t layer, cl_mem weights,
                                cl_mem arranged, cl_mem x, cl_mem z, struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    if (!l->is_dense) {
        return convolve(operations, l, &l->forward, &operations->layers[layer].forward, arranged, x, z,
                        err);
    }
    int lanes = operations->model->lanes;
    count_flop(operations, l);
    return wa_matrix_product(
        &operations->matrix, (int)l->shape.out_channels, lanes, (int)l->shape.in_channels, l->scale,
        (struct wa_matrix_operand){weights, l->weight_offset, (int)l->shape.in_channels, false},
        (struct wa_matrix_operand){x, 0, lanes, false}, 0.0f,
        (struct wa_matrix_operand){z, 0, lanes, false}, err);
}

wa_status wa_operations_backward(struct wa_operations *operations, uint32_t layer, cl_mem weights,
                                 cl_mem arranged, cl_mem dz, cl_mem g, struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    if (!l->is_dense) {
        return convolve(operations, l, &l->backward, &operations->layers[layer].backward, arranged, dz, g,
                        err);
    }
    int lanes = operations->model->lanes;
    count_flop(operations, l);
    return wa_matrix_product(
        &operations->matrix, (int)l->shape.in_channels, lanes, (int)l->shape.out_channels, l->scale,
        (struct wa_matrix_operand){weights, l->weight_offset, (int)l->shape.in_channels, true},
        (struct wa_matrix_operand){dz, 0, lanes, false}, 0.0f,
        (struct wa_matrix_operand){g, 0, lanes, false}, err);
}

static wa_status dense_gradient(struct wa_operations *operations, const struct wa_model_layer *l,
                                cl_mem x, cl_mem dz, cl_mem gradients, struct wa_error *err)
{
    int lanes = operations->model->lanes;
    int out = (int)l->shape.out_channels;
    wa_status status = wa_matrix_product(
        &operations->matrix, out, (int)l->shape.in_channels, lanes, l->scale,
        (struct wa_matrix_operand){dz, 0, lanes, false},
        (struct wa_matrix_operand){x, 0, lanes, true}, 0.0f,
        (struct wa_matrix_operand){gradients, l->weight_offset, (int)l->shape.in_channels, false},
        err);
    if (status != WA_OK) {
        return status;
    }
    struct wa_range range = {1, {(size_t)out}, {0}};
    return wa_engine_launch(operations->engine, operations->sum_rows, &range, err, "mmiii", dz,
                            gradients, (int)l->bias_offset, out, lanes);
}

wa_status wa_operations_weight_gradient(struct wa_operations *operations, uint32_t layer, cl_mem x,
                                        cl_mem dz, cl_mem gradients, struct wa_error *err)
{
    struct wa_engine *engine = operations->engine;
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct layer_tables *tables = &operations->layers[layer];
    count_flop(operations, l);
    if (l->is_dense) {
        return dense_gradient(operations, l, x, dz, gradients, err);
    }
    int out = (int)l->shape.out_channels;
    int in = (int)l->shape.in_channels;
    struct wa_range range = {3,
                             {(size_t)divide_up(out, engine->output_block),
                              (size_t)divide_up(in, tables->channel_block), (size_t)tables->parts},
                             {1, 1, 1}};
    wa_status status = wa_engine_launch(
        engine, operations->weight_gradient, &range, err, "mmmmmiiiiil", x, dz, operations->partial,
        tables->walk, tables->walk_taps, in, out, l->input.plane, l->gradient.plane,
        tables->channel_block, tables->sums_bytes);
    if (status != WA_OK) {
        return status;
    }
    struct wa_range finish = {1, {(size_t)clamp((int)(l->weight_count / 4096), 1, 64)}, {1}};
    return wa_engine_launch(engine, operations->weight_gradient_finish, &finish, err, "mmmiiiiif",
                            operations->partial, operations->bias_partial, gradients,
                            (int)l->weight_offset, (int)l->weight_count, tables->parts, out,
                            l->output.rows, 1.0 / (double)l->scale);
}

wa_status wa_operations_activate(struct wa_operations *operations, uint32_t layer, cl_mem weights,
                                 cl_mem z, bool keep_h, cl_mem a, const struct wa_layout *a_layout,
                                 cl_mem inverse, struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct wa_layout *out = &l->output;
    struct wa_range range = {2, {(size_t)out->channels, (size_t)out->rows}, {1, 1}};
    /* A dense layer's product has scaled already. */
    double scale = l->is_dense ? 1.0 : (double)l->scale;
    return wa_engine_launch(operations->engine, operations->batch_norm_forward, &range, err,
                            "mmmmmiffiiiiiiiii", z, z, a, inverse, weights, (int)l->bias_offset, scale,
                            (double)batch_norm_epsilon,
                            l->shape.normalization == WA_NORMALIZATION_BATCH,
                            l->shape.activation == WA_ACTIVATION_RELU, (int)keep_h, out->columns,
                            out->plane, out->row, a_layout->base, a_layout->plane, a_layout->row);
}

wa_status wa_operations_activate_backward(struct wa_operations *operations, uint32_t layer,
                                          struct wa_gradient_source source, cl_mem h, cl_mem slope_h,
                                          cl_mem inverse, cl_mem dz, struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct wa_layout *out = &l->output;
    const struct wa_layout *to = &l->gradient;
    struct wa_range range = {2, {(size_t)out->channels, (size_t)out->rows}, {1, 1}};
    int plane = source.is_pooled ? out->lanes : out->plane;
    int row = source.is_pooled ? 0 : out->row;
    int column = source.is_pooled ? 0 : out->lanes;
    double share = source.is_pooled ? 1.0 / ((double)out->rows * out->columns) : 1.0;
    /* The next products of a dense layer scale themselves. */
    double scale = l->is_dense ? 1.0 : (double)l->scale;
    return wa_engine_launch(operations->engine, operations->batch_norm_backward, &range, err,
                            "mmmmmmffiiiiiiiiiii", source.memory, h, slope_h, inverse, dz,
                            operations->bias_partial, share, scale,
                            l->shape.normalization == WA_NORMALIZATION_BATCH,
                            l->shape.activation == WA_ACTIVATION_RELU, out->columns, plane, row,
                            column, out->plane, out->row, to->base, to->plane, to->row);
}

wa_status wa_operations_pool(struct wa_operations *operations, uint32_t layer, cl_mem a,
                             const struct wa_layout *a_layout, cl_mem pooled, struct wa_error *err)
{
    const struct wa_layout *out = &operations->model->layers[layer].output;
    struct wa_range range = {1, {(size_t)out->channels}, {1}};
    return wa_engine_launch(operations->engine, operations->pool, &range, err, "mmiiiii", a, pooled,
                            out->rows, out->columns, a_layout->base, a_layout->plane, a_layout->row);
}

wa_status wa_operations_output_error(struct wa_operations *operations,
                                     const struct wa_output_error *arguments, struct wa_error *err)
{
    const struct wa_model *model = operations->model;
    const struct wa_model_layer *top = &model->layers[model->layer_count - 1];
    struct wa_range range = {1, {1}, {1}};
    return wa_engine_launch(operations->engine, operations->output_error, &range, err,
                            "mmmmmmiiiifi", arguments->outputs, arguments->labels,
                            arguments->weights, arguments->error, arguments->results,
                            arguments->halted, model->batch, model->classes, model->lanes,
                            (int)top->bias_offset, (double)arguments->target_offset,
                            arguments->slot);
}

wa_status wa_operations_feed_back(struct wa_operations *operations, cl_mem feedback, int rows,
                                  cl_mem error, cl_mem g, struct wa_error *err)
{
    const struct wa_model *model = operations->model;
    int lanes = model->lanes;
    operations->engine->flop +=
        2ull * (uint64_t)model->batch * (uint64_t)rows * (uint64_t)model->classes;
    return wa_matrix_product(&operations->matrix, rows, lanes, model->classes, 1.0f,
                             (struct wa_matrix_operand){feedback, 0, model->classes, false},
                             (struct wa_matrix_operand){error, 0, lanes, false}, 0.0f,
                             (struct wa_matrix_operand){g, 0, lanes, false}, err);
}
