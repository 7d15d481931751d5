/* Dense layers on CPUs, product and activation in one launch, forward and back: kernels/cpu_dense.cl. */
#include "operations_cpu.h"

static const struct wa_kernel_entry kernel_entries[] = {
    {"cpu_dense.cl", "dense_forward", offsetof(struct wa_path_state, dense_forward), true},
    {"cpu_dense.cl", "dense_backward", offsetof(struct wa_path_state, dense_backward), true},
};
enum { KERNEL_COUNT = sizeof kernel_entries / sizeof *kernel_entries };

/* The readout has no activation of its own. */
static bool is_any_used(const struct wa_model *model)
{
    return model->layer_count > 1 && model->layers[0].is_dense && !model->is_sequence;
}

void wa_cpu_dense_programs(const struct wa_engine *engine, const struct wa_model *model,
                           const char *batch_options, struct wa_program_list *list)
{
    if (is_any_used(model)) {
        wa_operations_add_programs(engine, kernel_entries, KERNEL_COUNT, batch_options, list);
    }
}

wa_status wa_cpu_dense_init(struct wa_operations *operations, const char *batch_options,
                            struct wa_error *err)
{
    return is_any_used(operations->model)
               ? wa_operations_make_kernels(operations->engine, kernel_entries, KERNEL_COUNT,
                                            batch_options, operations->state, err)
               : WA_OK;
}

void wa_cpu_dense_finish(struct wa_operations *operations)
{
    wa_operations_release_kernels(kernel_entries, KERNEL_COUNT, operations->state);
}

bool wa_cpu_dense_joins(const struct wa_operations *operations, uint32_t layer,
                        enum wa_product product)
{
    const struct wa_model *model = operations->model;
    struct wa_matrix_shape shape = wa_operations_dense_shape(model, layer, product);
    bool has_activation =
        product == WA_PRODUCT_FORWARD ? layer + 1 < model->layer_count : layer > 0;
    return is_any_used(model) && model->layers[layer].is_dense && has_activation &&
           wa_matrix_library_of(&operations->matrix, &shape) == WA_MATRIX_OWN;
}

wa_status wa_cpu_dense_forward(struct wa_operations *operations, uint32_t layer, cl_mem weights,
                               cl_mem x, cl_mem z, bool keep_h, cl_mem a,
                               const struct wa_layout *a_layout, cl_mem inverse,
                               struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    struct wa_matrix_shape s =
        wa_operations_dense_shape(operations->model, layer, WA_PRODUCT_FORWARD);
    struct wa_matrix_cut cut = wa_matrix_cut_rows(operations->engine, s.m, s.n);
    struct wa_range range = {1, {cut.groups[0]}, {1}};
    return wa_engine_launch(
        operations->engine, operations->state->dense_forward, &range, err, "mmmmmiiiiifilfiiiiii",
        weights, x, z, a, inverse, s.m, s.n, s.k, (int)l->weight_offset, (int)l->bias_offset,
        (double)l->scale, cut.k_block, cut.local_bytes, WA_BATCH_NORM_EPSILON,
        l->shape.normalization == WA_NORMALIZATION_BATCH, l->shape.activation == WA_ACTIVATION_RELU,
        (int)keep_h, (int)wa_cpu_leaves_cache(operations->engine, a_layout), a_layout->base,
        a_layout->plane);
}

wa_status wa_cpu_dense_backward(struct wa_operations *operations, uint32_t layer,
                                struct wa_gradient_source source, cl_mem h, cl_mem slope_h,
                                cl_mem inverse, cl_mem dz, struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct wa_model_layer *above = l + 1;
    const struct wa_layout *to = &l->gradient;
    struct wa_matrix_shape s =
        wa_operations_dense_shape(operations->model, layer + 1, WA_PRODUCT_BACKWARD);
    struct wa_matrix_cut cut = wa_matrix_cut_columns(operations->engine, s.m);
    struct wa_range range = {1, {cut.groups[0]}, {1}};
    return wa_engine_launch(
        operations->engine, operations->state->dense_backward, &range, err, "mmmmmmmmiiiifiliiiii",
        source.weights_above, source.dz_above, source.memory, h, slope_h, inverse, dz,
        operations->state->bias_partial, s.m, s.n, s.k, (int)above->weight_offset,
        (double)above->scale, cut.k_block, cut.local_bytes,
        l->shape.normalization == WA_NORMALIZATION_BATCH, l->shape.activation == WA_ACTIVATION_RELU,
        (int)wa_cpu_leaves_cache(operations->engine, to), to->base, to->plane);
}
