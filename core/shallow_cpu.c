/* Convolutions that read few values, on CPUs: launches of kernels/cpu_shallow.cl. */
#include "operations_cpu.h"

enum {
    MOST_VALUES = 32, /* input channels times taps; with more, blocks of channels and outputs pay */
    KEPT_VECTORS = 28,     /* of kernels/cpu_shallow.cl */
    KEPT_VECTORS_FEW = 13, /* with 16 registers */
    GRADIENT_VECTORS = 6,  /* beside the dz of two outputs */
    TAPS_IN_GROUP = 3,
    /* work-items that a gradient is cut into at least: of 4 to 128 the number whose order of sums a golden case
     * with a ReLU at its edge agrees with */
    ITEMS = 16
};

static const struct wa_kernel_entry kernel_entries[] = {
    {"cpu_shallow.cl", "shallow_forward", offsetof(struct wa_path_state, shallow_forward), true},
    {"cpu_shallow.cl", "shallow_gradient", offsetof(struct wa_path_state, shallow_gradient), true},
};
enum { KERNEL_COUNT = sizeof kernel_entries / sizeof *kernel_entries };

static int kept_vectors(const struct wa_engine *engine)
{
    return engine->registers >= WA_MANY_REGISTERS ? KEPT_VECTORS : KEPT_VECTORS_FEW;
}

static int vectors_of(const struct wa_engine *engine, const struct wa_model_layer *layer)
{
    return wa_divide_up(layer->output.lanes, engine->vector_width);
}

static int taps_of(const struct wa_model_layer *layer)
{
    return (int)(layer->shape.kernel * layer->shape.kernel);
}

/* Outputs whose dz a work-item holds at a time. */
static int gradients_of(const struct wa_engine *engine, const struct wa_model_layer *layer)
{
    return 2 * vectors_of(engine, layer) + GRADIENT_VECTORS <= kept_vectors(engine) ? 2 : 1;
}

static size_t local_bytes(const struct wa_engine *engine, const struct wa_model_layer *layer)
{
    int groups = wa_divide_up(taps_of(layer), TAPS_IN_GROUP);
    return (size_t)layer->shape.in_channels * (size_t)(groups * TAPS_IN_GROUP) *
           (size_t)gradients_of(engine, layer) * (size_t)engine->vector_width * sizeof(float);
}

bool wa_cpu_shallow_fits(const struct wa_engine *engine, const struct wa_model_layer *layer)
{
    const struct wa_layer *s = &layer->shape;
    return !layer->is_dense && s->normalization == WA_NORMALIZATION_BATCH &&
           (int)s->in_channels * taps_of(layer) <= MOST_VALUES &&
           vectors_of(engine, layer) <= kept_vectors(engine) &&
           local_bytes(engine, layer) <= engine->local_bytes &&
           !wa_cpu_winograd_fits(engine, layer, false) &&
           !wa_cpu_winograd_gradient_fits(engine, layer);
}

static bool is_any_used(const struct wa_engine *engine, const struct wa_model *model)
{
    bool is_used = false;
    for (uint32_t l = 0; l < model->layer_count; l++) {
        is_used = is_used || wa_cpu_shallow_fits(engine, &model->layers[l]);
    }
    return is_used;
}

void wa_cpu_shallow_programs(const struct wa_engine *engine, const struct wa_model *model,
                             const char *batch_options, struct wa_program_list *list)
{
    if (is_any_used(engine, model)) {
        wa_operations_add_programs(engine, kernel_entries, KERNEL_COUNT, batch_options, list);
    }
}

wa_status wa_cpu_shallow_init(struct wa_operations *operations, const char *batch_options,
                              struct wa_error *err)
{
    return is_any_used(operations->engine, operations->model)
               ? wa_operations_make_kernels(operations->engine, kernel_entries, KERNEL_COUNT,
                                            batch_options, operations->state, err)
               : WA_OK;
}

void wa_cpu_shallow_finish(struct wa_operations *operations)
{
    wa_operations_release_kernels(kernel_entries, KERNEL_COUNT, operations->state);
}

/* Ranges of rows that a gradient is cut into: whatever the device, so that sums do not depend on it. */
static int parts_of(const struct wa_engine *engine, const struct wa_model_layer *layer)
{
    int items = wa_divide_up((int)layer->shape.out_channels, gradients_of(engine, layer));
    return wa_clamp(wa_divide_up(ITEMS, items), 1, layer->output.rows);
}

size_t wa_cpu_shallow_partial_floats(const struct wa_engine *engine,
                                     const struct wa_model_layer *layer)
{
    return layer->weight_count * (size_t)parts_of(engine, layer);
}

/* An h that leaves the cache before the way back costs more to write and read than to sum up again. */
bool wa_cpu_shallow_remakes(const struct wa_operations *operations, uint32_t layer)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    return wa_cpu_shallow_fits(operations->engine, l) &&
           wa_cpu_leaves_cache(operations->engine, &l->output);
}

/* Where the means of positions start behind their inverses; 0: there are none. */
static int mean_base(const struct wa_operations *operations, uint32_t layer)
{
    const struct wa_layout *out = &operations->model->layers[layer].output;
    return wa_cpu_shallow_remakes(operations, layer) ? out->channels * out->rows * out->columns : 0;
}

/* Where the first output's first tap reads. */
static int input_base(const struct wa_model_layer *layer)
{
    const struct wa_layout *x = &layer->input;
    return x->base - layer->pad_row * x->row - layer->pad_column * x->lanes;
}

wa_status wa_cpu_shallow_forward(struct wa_operations *operations, uint32_t layer, cl_mem arranged,
                                 cl_mem x, cl_mem h, bool keep_h, cl_mem a,
                                 const struct wa_layout *a_layout, cl_mem inverse,
                                 struct wa_error *err)
{
    struct wa_engine *engine = operations->engine;
    const struct wa_path_state *state = operations->state;
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct wa_layout *out = &l->output;
    int stride = (int)l->shape.stride;
    struct wa_range range = {
        2, {(size_t)wa_divide_up(out->channels, engine->output_block), (size_t)out->rows}, {1, 1}};
    return wa_engine_launch(
        engine, state->shallow_forward, &range, err, "mmmmmmiiiiffiiiiiiiiiiiii", x, arranged,
        h ? h : a, a, inverse, state->layers[layer].gradient.taps,
        (int)wa_operations_arranged_offset(operations, layer, false), (int)l->shape.in_channels,
        taps_of(l), out->channels, (double)l->scale, WA_BATCH_NORM_EPSILON,
        (int)(l->shape.activation == WA_ACTIVATION_RELU), (int)keep_h, mean_base(operations, layer),
        out->columns, input_base(l), l->input.plane, stride * l->input.row, stride * l->input.lanes,
        out->plane, out->row, a_layout->base, a_layout->plane, a_layout->row);
}

wa_status wa_cpu_shallow_gradient(struct wa_operations *operations, uint32_t layer,
                                  struct wa_gradient_source source, const struct wa_passed *passed,
                                  cl_mem x, cl_mem gradients, struct wa_error *err)
{
    struct wa_engine *engine = operations->engine;
    const struct wa_path_state *state = operations->state;
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct wa_layout *out = &l->output;
    const struct wa_layout *slope = passed->h ? out : passed->slope_layout;
    const struct wa_strides g = wa_cpu_source_strides(out, source.is_pooled);
    bool own_slope = passed->slope == passed->h;
    int stride = (int)l->shape.stride;
    int parts = parts_of(engine, l);
    struct wa_range range = {
        2, {(size_t)wa_divide_up(out->channels, gradients_of(engine, l)), (size_t)parts}, {1, 1}};
    /* What is not there is not read: another buffer stands for it. */
    wa_status status = wa_engine_launch(
        engine, state->shallow_gradient, &range, err, "mmmmmmmmmmiffiiiiiiiiiiiiiiiiiiiiil",
        source.memory, source.feedback ? source.feedback : source.memory, passed->h ? passed->h : x,
        own_slope ? x : passed->slope, passed->inverse, x, passed->h ? x : passed->arranged,
        state->partial, state->bias_partial, state->layers[layer].gradient.taps,
        source.feedback ? operations->model->classes : 0, (double)g.share, (double)l->scale,
        (int)(l->shape.activation == WA_ACTIVATION_RELU), (int)own_slope,
        passed->h ? 0 : mean_base(operations, layer),
        (int)wa_operations_arranged_offset(operations, layer, false), (int)l->shape.in_channels,
        taps_of(l), out->channels, out->rows, out->columns, g.plane, g.row, g.column, out->plane,
        out->row, own_slope ? 0 : slope->base, own_slope ? 0 : slope->plane,
        own_slope ? 0 : slope->row, input_base(l), l->input.plane, stride * l->input.row,
        stride * l->input.lanes, local_bytes(engine, l));
    return status == WA_OK ? wa_cpu_gradient_add_parts(operations, l, parts, gradients, err)
                           : status;
}
