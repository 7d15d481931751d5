/* The operations on CPUs: kernels and tables of the path, and launches of batch norm and pooling;
 * convolution_cpu.c and weight_gradient_cpu.c have the products. */
#include <stdlib.h>

#include "operations_cpu.h"

#define KERNEL(file, name, is_for_batch)                                                           \
    {                                                                                              \
        file, #name, offsetof(struct wa_path_state, name), is_for_batch                            \
    }
static const struct wa_kernel_entry kernel_entries[] = {
    KERNEL("cpu_convolution.cl", convolution, false),
    KERNEL("cpu_weight_gradient.cl", weight_gradient, false),
    KERNEL("cpu_weight_gradient.cl", weight_gradient_finish, false),
    KERNEL("cpu_batch_norm.cl", batch_norm_forward, true),
    KERNEL("cpu_batch_norm.cl", batch_norm_backward, true),
    KERNEL("cpu_batch_norm.cl", pool, true),
    KERNEL("cpu_load.cl", load_batch_bytes, false),
    KERNEL("cpu_load.cl", load_batch_floats, false),
};
#undef KERNEL
enum { KERNEL_COUNT = sizeof kernel_entries / sizeof *kernel_entries };

/* Of a layer that joins direct feedback, and of kernels/batch_lanes.cl. */
enum { MOST_CLASSES = 16, MOST_POSITION_VECTORS = 16 };

enum { LOAD_VECTORS = 4 }; /* of a row of an image that a work-item loads */

enum { CACHE_SHARE = 4 }; /* the part of the cache that one tensor may take and stay in it */

static const char wide_file[] = "cpu_weight_gradient_wide.cl";

static struct wa_blocking blocking(const struct wa_engine *engine)
{
    return (struct wa_blocking){.lanes = WA_CPU_BLOCK_VECTORS * engine->vector_width,
                                .outputs = engine->output_block,
                                .position = engine->vector_width};
}

/* Whether some layer's gradient takes 1, 2 or 4 vectors of outputs. */
static bool uses_kind(const struct wa_engine *engine, const struct wa_model *model, int kind)
{
    bool is_used = false;
    for (uint32_t l = 0; l < model->layer_count; l++) {
        is_used = is_used || wa_cpu_gradient_out_vectors(engine, &model->layers[l]) == 1 << kind;
    }
    return is_used;
}

static void list_programs(const struct wa_engine *engine, const struct wa_model *model,
                          struct wa_program_list *list)
{
    char options[WA_BATCH_OPTION_BYTES];
    wa_operations_batch_options(model, options);
    wa_operations_add_programs(engine, kernel_entries, KERNEL_COUNT, options, list);
    wa_cpu_shallow_programs(engine, model, options, list);
    wa_cpu_dense_programs(engine, model, options, list);
    wa_cpu_winograd_programs(engine, model, list);
    for (int kind = 0; kind < WA_CPU_OUT_VECTOR_KINDS; kind++) {
        if (uses_kind(engine, model, kind)) {
            wa_cpu_gradient_options(1 << kind, options);
            wa_operations_add_program(engine, wide_file, options, list);
        }
    }
}

static wa_status make_wide_kernels(struct wa_operations *operations, struct wa_error *err)
{
    struct wa_path_state *state = operations->state;
    struct wa_engine *engine = operations->engine;
    wa_status status = WA_OK;
    for (int kind = 0; kind < WA_CPU_OUT_VECTOR_KINDS && status == WA_OK; kind++) {
        if (!uses_kind(engine, operations->model, kind)) {
            continue;
        }
        char options[WA_BATCH_OPTION_BYTES];
        wa_cpu_gradient_options(1 << kind, options);
        status = wa_engine_kernel(engine, wide_file, "weight_gradient_wide", options,
                                  &state->wide_gradient[kind], err);
        if (status == WA_OK) {
            status = wa_engine_kernel(engine, wide_file, "weight_gradient_wide_finish", options,
                                      &state->wide_finish[kind], err);
        }
    }
    return status;
}

static wa_status make_tables(struct wa_operations *operations, struct wa_error *err)
{
    struct wa_path_state *state = operations->state;
    const struct wa_model *model = operations->model;
    size_t partial = 0;
    size_t bias_partial = 0;
    wa_status status = WA_OK;
    for (uint32_t l = 0; l < model->layer_count && status == WA_OK; l++) {
        const struct wa_model_layer *layer = &model->layers[l];
        struct wa_cpu_layer *tables = &state->layers[l];
        size_t rows = (size_t)layer->output.channels * (size_t)layer->output.rows;
        bias_partial = rows > bias_partial ? rows : bias_partial;
        if (layer->is_dense) {
            continue;
        }
        for (int direction = 0; direction < 2 && status == WA_OK; direction++) {
            status = wa_cpu_direction_init(
                operations, direction ? &layer->backward : &layer->forward,
                wa_operations_arranged_offset(operations, l, direction == 1),
                wa_tuning_choose(operations->engine, layer,
                                 direction ? WA_PRODUCT_BACKWARD : WA_PRODUCT_FORWARD)
                    .gathered_taps,
                &tables->directions[direction], err);
        }
        if (status == WA_OK) {
            status = wa_cpu_gradient_init(operations, layer, &tables->gradient, err);
        }
        size_t floats = tables->winograd_gradient.is_used ? tables->winograd_gradient.partial_floats
                                                          : tables->gradient.partial_floats;
        if (wa_cpu_shallow_fits(operations->engine, layer)) {
            size_t shallow = wa_cpu_shallow_partial_floats(operations->engine, layer);
            floats = shallow > floats ? shallow : floats;
        }
        partial = floats > partial ? floats : partial;
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
    char options[WA_BATCH_OPTION_BYTES];
    wa_operations_batch_options(operations->model, options);
    wa_status status = wa_operations_make_kernels(operations->engine, kernel_entries, KERNEL_COUNT,
                                                  options, state, err);
    if (status == WA_OK) {
        status = wa_cpu_shallow_init(operations, options, err);
    }
    if (status == WA_OK) {
        status = wa_cpu_dense_init(operations, options, err);
    }
    if (status == WA_OK) {
        status = make_wide_kernels(operations, err);
    }
    if (status == WA_OK) {
        status = wa_cpu_winograd_init(operations, err);
    }
    return status == WA_OK ? make_tables(operations, err) : status;
}

static void destroy(struct wa_operations *operations)
{
    struct wa_path_state *state = operations->state;
    struct wa_engine *engine = operations->engine;
    if (!state) {
        return;
    }
    wa_operations_release_kernels(kernel_entries, KERNEL_COUNT, state);
    wa_cpu_shallow_finish(operations);
    wa_cpu_dense_finish(operations);
    wa_cpu_winograd_finish(operations);
    for (int kind = 0; kind < WA_CPU_OUT_VECTOR_KINDS; kind++) {
        wa_cpu_release_kernel(state->wide_gradient[kind]);
        wa_cpu_release_kernel(state->wide_finish[kind]);
    }
    for (uint32_t l = 0; state->layers && l < operations->model->layer_count; l++) {
        struct wa_cpu_layer *tables = &state->layers[l];
        wa_cpu_direction_finish(engine, &tables->directions[0]);
        wa_cpu_direction_finish(engine, &tables->directions[1]);
        wa_cpu_gradient_finish(engine, &tables->gradient);
    }
    wa_engine_release(engine, state->partial);
    wa_engine_release(engine, state->bias_partial);
    free(state->layers);
    free(state);
}

static const char *algorithm(const struct wa_operations *operations, uint32_t layer,
                             enum wa_product product)
{
    const struct wa_cpu_layer *l = &operations->state->layers[layer];
    bool is_winograd = product == WA_PRODUCT_GRADIENT
                           ? l->winograd_gradient.is_used
                           : l->winograd[product == WA_PRODUCT_BACKWARD].is_used;
    return is_winograd ? "winograd" : "direct";
}

static wa_status convolve(struct wa_operations *operations, uint32_t layer, bool is_backward,
                          cl_mem arranged, cl_mem x, cl_mem y, struct wa_error *err)
{
    return operations->state->layers[layer].winograd[is_backward].is_used
               ? wa_cpu_winograd_convolve(operations, layer, is_backward, arranged, x, y, err)
               : wa_cpu_convolve(operations, layer, is_backward, arranged, x, y, err);
}

static wa_status weight_gradient(struct wa_operations *operations, uint32_t layer, cl_mem x,
                                 cl_mem dz, cl_mem gradients, struct wa_error *err)
{
    return operations->state->layers[layer].winograd_gradient.is_used
               ? wa_cpu_winograd_weight_gradient(operations, layer, x, dz, gradients, err)
               : wa_cpu_weight_gradient(operations, layer, x, dz, gradients, err);
}

bool wa_cpu_leaves_cache(const struct wa_engine *engine, const struct wa_layout *layout)
{
    return layout->floats * sizeof(float) > engine->cache_bytes / CACHE_SHARE;
}

static wa_status activate(struct wa_operations *operations, uint32_t layer, cl_mem weights,
                          cl_mem z, bool keep_h, cl_mem a, const struct wa_layout *a_layout,
                          cl_mem inverse, struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct wa_layout *out = &l->output;
    struct wa_range range = {2, {(size_t)out->channels, (size_t)out->rows}, {1, 1}};
    const struct wa_path_state *state = operations->state;
    bool has_map = state->layers[layer].winograd[0].is_used;
    cl_mem map = has_map ? state->map : inverse; /* any buffer where there is none to read */
    int map_base = has_map ? state->layers[layer].map_base : -1;
    /* A dense layer's product has scaled already. */
    double scale = l->is_dense ? 1.0 : (double)l->scale;
    return wa_engine_launch(operations->engine, operations->state->batch_norm_forward, &range, err,
                            "mmmmmmiiffiiiiiiiiii", z, z, a, inverse, weights, map, map_base,
                            (int)l->bias_offset, scale, WA_BATCH_NORM_EPSILON,
                            l->shape.normalization == WA_NORMALIZATION_BATCH,
                            l->shape.activation == WA_ACTIVATION_RELU, (int)keep_h,
                            (int)wa_cpu_leaves_cache(operations->engine, a_layout), out->columns,
                            out->plane, out->row, a_layout->base, a_layout->plane, a_layout->row);
}

struct wa_strides wa_cpu_source_strides(const struct wa_layout *out, bool is_pooled)
{
    return is_pooled
               ? (struct wa_strides){out->lanes, 0, 0, 1.0 / ((double)out->rows * out->columns)}
               : (struct wa_strides){out->plane, out->row, out->lanes, 1.0};
}

/* Few classes cost less to multiply again than a tensor of their products to write and read; a position's
 * lanes must fit the registers (kernels/batch_lanes.cl, IN_REGISTERS). */
static bool joins_feedback(const struct wa_operations *operations)
{
    const struct wa_model *model = operations->model;
    return model->classes <= MOST_CLASSES &&
           wa_divide_up(model->lanes, operations->engine->vector_width) <= MOST_POSITION_VECTORS;
}

static wa_status activate_backward(struct wa_operations *operations, uint32_t layer,
                                   struct wa_gradient_source source, cl_mem h, cl_mem slope_h,
                                   cl_mem inverse, cl_mem dz, struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct wa_layout *out = &l->output;
    const struct wa_layout *to = &l->gradient;
    struct wa_range range = {2, {(size_t)out->channels, (size_t)out->rows}, {1, 1}};
    const struct wa_strides g = wa_cpu_source_strides(out, source.is_pooled);
    /* The next products of a dense layer scale themselves. */
    double scale = l->is_dense ? 1.0 : (double)l->scale;
    return wa_engine_launch(
        operations->engine, operations->state->batch_norm_backward, &range, err,
        "mmmmmmmiffiiiiiiiiiiii", source.memory, source.feedback ? source.feedback : source.memory,
        h, slope_h, inverse, dz, operations->state->bias_partial,
        source.feedback ? operations->model->classes : 0, g.share, scale,
        l->shape.normalization == WA_NORMALIZATION_BATCH, l->shape.activation == WA_ACTIVATION_RELU,
        (int)wa_cpu_leaves_cache(operations->engine, to), out->columns, g.plane, g.row, g.column,
        out->plane, out->row, to->base, to->plane, to->row);
}

static wa_status pool(struct wa_operations *operations, uint32_t layer, cl_mem a,
                      const struct wa_layout *a_layout, cl_mem pooled, struct wa_error *err)
{
    const struct wa_layout *out = &operations->model->layers[layer].output;
    struct wa_range range = {1, {(size_t)out->channels}, {1}};
    return wa_engine_launch(operations->engine, operations->state->pool, &range, err, "mmiiiii", a,
                            pooled, out->rows, out->columns, a_layout->base, a_layout->plane,
                            a_layout->row);
}

static wa_status load_batch(struct wa_operations *operations, const struct wa_items *items,
                            cl_mem x, struct wa_error *err)
{
    const struct wa_engine *engine = operations->engine;
    const struct wa_path_state *state = operations->state;
    int width = engine->vector_width;
    int values = items->columns * items->channels;
    int chunk = width * wa_clamp(values / width, 1, LOAD_VECTORS);
    int chunks = values < chunk ? 1 : values / chunk;
    struct wa_range range = {2, {(size_t)items->rows, (size_t)chunks}, {1, 1}};
    cl_kernel kernel =
        items->element == WA_ELEMENT_U8 ? state->load_batch_bytes : state->load_batch_floats;
    return wa_engine_launch(operations->engine, kernel, &range, err, "mmiiiiiiii", items->memory, x,
                            operations->model->batch, items->columns, items->channels,
                            operations->model->lanes, items->x_base, items->x_plane, items->x_row,
                            chunk);
}

static bool is_shallow(const struct wa_operations *operations, uint32_t layer)
{
    return wa_cpu_shallow_fits(operations->engine, &operations->model->layers[layer]);
}

const struct wa_operations_path wa_operations_cpu_path = {
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
    .joins_feedback = joins_feedback,
    .extra_floats = wa_cpu_winograd_floats,
    .arrange_more = wa_cpu_winograd_arrange,
    .note_images = wa_cpu_winograd_map,
    .is_shallow = is_shallow,
    .shallow_forward = wa_cpu_shallow_forward,
    .shallow_gradient = wa_cpu_shallow_gradient,
    .remakes = wa_cpu_shallow_remakes,
    .joins_dense = wa_cpu_dense_joins,
    .dense_forward = wa_cpu_dense_forward,
    .dense_backward = wa_cpu_dense_backward,
};
