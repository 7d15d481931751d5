/* The operations: what both paths share. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "operations_private.h"

/* kernels/step.cl, struct form. */
struct form {
    int32_t first, source, target, rows, columns;
    int32_t source_row, source_column, source_tap, taps, first_tap;
};

static const struct wa_kernel_entry kernel_entries[] = {
    {"step.cl", "output_error", offsetof(struct wa_operations, output_error), false},
    {"step.cl", "sum_rows", offsetof(struct wa_operations, sum_rows), false},
    {"step.cl", "arrange_weights", offsetof(struct wa_operations, arrange), false},
};
enum { KERNEL_COUNT = sizeof kernel_entries / sizeof *kernel_entries };

static const struct wa_operations_path *path_of(const struct wa_engine *engine)
{
    return engine->path == WA_PATH_GPU ? &wa_operations_gpu_path : &wa_operations_cpu_path;
}

struct wa_blocking wa_operations_blocking(const struct wa_engine *engine)
{
    return path_of(engine)->blocking(engine);
}

/* ---- Kernels -------------------------------------------------------------------------------- */

void wa_operations_batch_options(const struct wa_model *model,
                                 char ret_options[WA_BATCH_OPTION_BYTES])
{
    (void)snprintf(ret_options, WA_BATCH_OPTION_BYTES, "-D BATCH=%d -D LANES=%d", model->batch,
                   model->lanes);
}

void wa_operations_add_program(const struct wa_engine *engine, const char *file,
                               const char *options, struct wa_program_list *list)
{
    if (list->count == WA_OPERATIONS_MAX_PROGRAMS) {
        return; /* it is built when it is asked for */
    }
    list->specs[list->count] = wa_engine_spec(engine, file, options, list->buffers[list->count],
                                              WA_OPERATIONS_OPTION_BYTES);
    list->count++;
}

void wa_operations_add_programs(const struct wa_engine *engine,
                                const struct wa_kernel_entry *entries, size_t count,
                                const char *batch_options, struct wa_program_list *list)
{
    const char *last = "";
    for (size_t i = 0; i < count; i++) {
        if (strcmp(entries[i].file, last) != 0) {
            last = entries[i].file;
            wa_operations_add_program(engine, last, entries[i].is_for_batch ? batch_options : NULL,
                                      list);
        }
    }
}

size_t wa_operations_programs(const struct wa_engine *engine, const struct wa_model *model,
                              struct wa_program_spec ret_specs[WA_OPERATIONS_MAX_PROGRAMS],
                              char buffers[WA_OPERATIONS_MAX_PROGRAMS][WA_OPERATIONS_OPTION_BYTES])
{
    struct wa_program_list list = {.specs = ret_specs, .buffers = buffers};
    path_of(engine)->programs(engine, model, &list);
    wa_operations_add_programs(engine, kernel_entries, KERNEL_COUNT, NULL, &list);
    if (list.count < WA_OPERATIONS_MAX_PROGRAMS) {
        ret_specs[list.count] =
            wa_matrix_program(engine, buffers[list.count], WA_OPERATIONS_OPTION_BYTES);
        list.count++;
    }
    return list.count;
}

wa_status wa_operations_make_kernels(struct wa_engine *engine,
                                     const struct wa_kernel_entry *entries, size_t count,
                                     const char *batch_options, void *base, struct wa_error *err)
{
    wa_status status = WA_OK;
    for (size_t i = 0; i < count && status == WA_OK; i++) {
        cl_kernel *kernel = (cl_kernel *)(void *)((char *)base + entries[i].offset);
        status = wa_engine_kernel(engine, entries[i].file, entries[i].name,
                                  entries[i].is_for_batch ? batch_options : NULL, kernel, err);
    }
    return status;
}

void wa_operations_release_kernels(const struct wa_kernel_entry *entries, size_t count, void *base)
{
    for (size_t i = 0; i < count; i++) {
        cl_kernel kernel = *(cl_kernel *)(void *)((char *)base + entries[i].offset);
        if (kernel) {
            (void)clReleaseKernel(kernel);
        }
    }
}

/* ---- The order of weights ------------------------------------------------------------------- */

size_t wa_operations_arranged_offset(const struct wa_operations *operations, uint32_t layer,
                                     bool is_backward)
{
    size_t offset = 0;
    for (uint32_t l = 0; l < layer; l++) {
        const struct wa_model_layer *below = &operations->model->layers[l];
        offset += is_backward ? below->backward.arranged_floats : below->forward.arranged_floats;
    }
    return offset;
}

/* The forms by which a weights set is arranged for one direction, all layers in one launch. */
static wa_status make_arrangement(struct wa_operations *operations, bool is_backward,
                                  struct wa_error *err)
{
    const struct wa_model *model = operations->model;
    struct wa_arrangement *a = &operations->arrangements[is_backward];
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
    int outputs = wa_operations_blocking(operations->engine).outputs;
    for (uint32_t l = 0; l < model->layer_count; l++) {
        const struct wa_model_layer *layer = &model->layers[l];
        const struct wa_convolution *c = is_backward ? &layer->backward : &layer->forward;
        int in = (int)layer->shape.in_channels;
        for (int j = 0; j < c->job_count; j++) {
            forms[form_count++] =
                (struct form){.first = items,
                              .source = (int32_t)layer->weight_offset,
                              .target = (int32_t)a->floats + c->jobs[j].weights,
                              .rows = c->out_channels,
                              .columns = c->in_channels,
                              .source_row = is_backward ? 1 : layer->fan_in,
                              .source_column = is_backward ? layer->fan_in : 1,
                              .source_tap = in,
                              .taps = c->jobs[j].taps,
                              .first_tap = (int32_t)tap_count + c->jobs[j].first_tap};
            a->columns = c->in_channels > a->columns ? c->in_channels : a->columns;
            items += wa_divide_up(c->out_channels, outputs);
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

/* ---- Set-up --------------------------------------------------------------------------------- */

/* Groups of step.cl's kernels: CPUs get one work-item with much to do, GPUs many with little. */
static void choose_groups(struct wa_operations *operations)
{
    const struct wa_engine *engine = operations->engine;
    operations->group_items = 1;
    if (engine->path == WA_PATH_GPU) {
        cl_kernel kernels[] = {operations->arrange, operations->output_error, operations->sum_rows};
        size_t items = engine->group_items;
        for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
            size_t limit = wa_engine_group_limit(engine, kernels[i]);
            items = limit < items ? limit : items;
        }
        operations->group_items = items;
    }
}

static wa_status make_shared(struct wa_operations *operations, struct wa_error *err)
{
    struct wa_engine *engine = operations->engine;
    wa_status status =
        wa_operations_make_kernels(engine, kernel_entries, KERNEL_COUNT, NULL, operations, err);
    if (status == WA_OK) {
        choose_groups(operations);
        status = wa_matrix_init(&operations->matrix, engine, WA_MATRIX_AUTO, err);
    }
    for (int direction = 0; direction < 2 && status == WA_OK; direction++) {
        status = make_arrangement(operations, direction == 1, err);
    }
    return status;
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
    operations->path = path_of(engine);
    wa_status status = make_shared(operations, err);
    if (status == WA_OK) {
        status = operations->path->create(operations, err);
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
    operations->path->destroy(operations);
    wa_operations_release_kernels(kernel_entries, KERNEL_COUNT, operations);
    for (int i = 0; i < 2; i++) {
        wa_engine_release(engine, operations->arrangements[i].forms);
        wa_engine_release(engine, operations->arrangements[i].taps);
    }
    wa_matrix_finish(&operations->matrix);
    free(operations);
}

/* ---- What an operation takes ---------------------------------------------------------------- */

const char *wa_operations_product_name(enum wa_product product)
{
    static const char *const names[WA_PRODUCT_COUNT] = {[WA_PRODUCT_FORWARD] = "forward",
                                                        [WA_PRODUCT_BACKWARD] = "backward data",
                                                        [WA_PRODUCT_GRADIENT] = "weight gradient"};
    return names[product];
}

struct wa_matrix_shape wa_operations_dense_shape(const struct wa_model *model, uint32_t layer,
                                                 enum wa_product product)
{
    int in = (int)model->layers[layer].shape.in_channels;
    int out = (int)model->layers[layer].shape.out_channels;
    switch (product) {
    case WA_PRODUCT_FORWARD: /* W x */
        return (struct wa_matrix_shape){out, model->product_lanes, in, 0, 0};
    case WA_PRODUCT_BACKWARD: /* W^T dz */
        return (struct wa_matrix_shape){in, model->product_lanes, out, 1, 0};
    default: /* dz x^T */
        return (struct wa_matrix_shape){out, in, model->product_lanes, 0, 1};
    }
}

static const char *dense_algorithm(const struct wa_operations *operations, uint32_t layer,
                                   enum wa_product product)
{
    struct wa_matrix_shape shape = wa_operations_dense_shape(operations->model, layer, product);
    return wa_matrix_library_of(&operations->matrix, &shape) == WA_MATRIX_CLBLAST
               ? "clblast"
               : "matrix product";
}

const char *wa_operations_algorithm(const struct wa_operations *operations, uint32_t layer,
                                    enum wa_product product)
{
    return operations->model->layers[layer].is_dense
               ? dense_algorithm(operations, layer, product)
               : operations->path->algorithm(operations, layer, product);
}

/* Values of a tensor that count: without borders and lanes past the batch. */
static uint64_t values(const struct wa_operations *operations, const struct wa_layout *layout)
{
    return (uint64_t)layout->channels * (uint64_t)layout->rows * (uint64_t)layout->columns *
           (uint64_t)operations->model->batch;
}

/* Two for each multiply-add of the direct algorithm: every product of a layer has as many. */
static uint64_t product_flop(const struct wa_operations *operations, const struct wa_model_layer *l)
{
    return (uint64_t)2 * (uint64_t)operations->model->batch * l->weight_count *
           (uint64_t)l->output.rows * (uint64_t)l->output.columns;
}

/* Each of a product's three tensors is read or written once. */
static void note_product(struct wa_operations *operations, uint32_t layer, enum wa_product product)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct wa_work work = {l->name, wa_operations_product_name(product),
                                 wa_operations_algorithm(operations, layer, product)};
    uint64_t tensors =
        l->weight_count + values(operations, &l->input) + values(operations, &l->output);
    wa_engine_note_work(operations->engine, &work, product_flop(operations, l),
                        tensors * sizeof(float));
}

/* What moves values and computes next to nothing. `layer` NULL: it is of none in particular. */
static void note_pass(struct wa_operations *operations, const struct wa_model_layer *layer,
                      const char *operation, uint64_t floats)
{
    const struct wa_work work = {layer ? layer->name : NULL, operation, NULL};
    wa_engine_note_work(operations->engine, &work, 0, floats * sizeof(float));
}

/* Of normalization and activation, one way. */
static void note_activation(struct wa_operations *operations, uint64_t floats)
{
    operations->engine->activation_traffic += floats * sizeof(float);
}

/* ---- Operations ----------------------------------------------------------------------------- */

struct wa_matrix *wa_operations_matrix(struct wa_operations *operations)
{
    return &operations->matrix;
}

size_t wa_operations_arranged_floats(const struct wa_operations *operations, bool is_backward)
{
    const struct wa_operations_path *path = operations->path;
    return operations->arrangements[is_backward].floats +
           (path->extra_floats ? path->extra_floats(operations, is_backward) : 0);
}

/* A launch of so many work-items; on GPUs in whole groups, so that some have nothing to do. */
static struct wa_range spread(const struct wa_operations *operations, size_t items)
{
    size_t group = operations->group_items;
    if (operations->engine->path == WA_PATH_CPU) {
        return (struct wa_range){1, {items}, {1}};
    }
    return (struct wa_range){1, {(items + group - 1) / group * group}, {group}};
}

wa_status wa_operations_arrange(struct wa_operations *operations, cl_mem weights, bool is_backward,
                                cl_mem arranged, struct wa_error *err)
{
    const struct wa_arrangement *a = &operations->arrangements[is_backward];
    if (a->items == 0) {
        return WA_OK; /* no convolutions */
    }
    uint64_t weights_count = 0;
    for (uint32_t l = 0; l < operations->model->layer_count; l++) {
        const struct wa_model_layer *layer = &operations->model->layers[l];
        weights_count += layer->is_dense ? 0 : layer->weight_count;
    }
    note_pass(operations, NULL, "arrange weights", 2 * weights_count);
    bool is_gpu = operations->engine->path == WA_PATH_GPU;
    int chunks = is_gpu ? a->columns : 1;
    struct wa_range range = spread(operations, a->items * (size_t)chunks);
    wa_status status =
        wa_engine_launch(operations->engine, operations->arrange, &range, err, "mmmmiii", weights,
                         arranged, a->forms, a->taps, a->form_count,
                         wa_operations_blocking(operations->engine).outputs, chunks);
    return status == WA_OK && operations->path->arrange_more
               ? operations->path->arrange_more(operations, is_backward, arranged, err)
               : status;
}

wa_status wa_operations_load_batch(struct wa_operations *operations, cl_mem items,
                                   wa_element element, cl_mem x, struct wa_error *err)
{
    const struct wa_model *model = operations->model;
    const struct wa_model_layer *first = &model->layers[0];
    struct wa_layout in = first->input;
    bool is_flattened = first->shape.input == WA_INPUT_FLATTENED;
    if (is_flattened) { /* h, w, c order: what the items have already; one row of all values */
        in.base = 0;
    }
    const struct wa_items list = {.memory = items,
                                  .element = element,
                                  .rows = is_flattened ? 1 : model->rows,
                                  .columns = is_flattened ? in.channels : model->columns,
                                  .channels = is_flattened ? 1 : in.channels,
                                  .x_base = in.base,
                                  .x_plane = in.plane,
                                  .x_row = in.row};
    uint64_t pixels = (uint64_t)model->batch * (uint64_t)list.rows * (uint64_t)list.columns *
                      (uint64_t)list.channels;
    note_pass(operations, NULL, "load batch",
              pixels + (element == WA_ELEMENT_U8 ? pixels / sizeof(float) : pixels));
    wa_status status = operations->path->load_batch(operations, &list, x, err);
    return status == WA_OK && operations->path->note_images
               ? operations->path->note_images(operations, x, err)
               : status;
}

wa_status wa_operations_forward(struct wa_operations *operations, uint32_t layer, cl_mem weights,
                                cl_mem arranged, cl_mem x, cl_mem z, struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    note_product(operations, layer, WA_PRODUCT_FORWARD);
    if (!l->is_dense) {
        return operations->path->convolve(operations, layer, false, arranged, x, z, err);
    }
    int lanes = operations->model->lanes;
    struct wa_matrix_shape s =
        wa_operations_dense_shape(operations->model, layer, WA_PRODUCT_FORWARD);
    return wa_matrix_product(
        &operations->matrix, s.m, s.n, s.k, l->scale,
        (struct wa_matrix_operand){weights, l->weight_offset, (int)l->shape.in_channels, false},
        (struct wa_matrix_operand){x, 0, lanes, false},
        (struct wa_matrix_operand){z, 0, lanes, false}, err);
}

wa_status wa_operations_backward(struct wa_operations *operations, uint32_t layer, cl_mem weights,
                                 cl_mem arranged, cl_mem dz, cl_mem g, struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    note_product(operations, layer, WA_PRODUCT_BACKWARD);
    if (!l->is_dense) {
        return operations->path->convolve(operations, layer, true, arranged, dz, g, err);
    }
    int lanes = operations->model->lanes;
    struct wa_matrix_shape s =
        wa_operations_dense_shape(operations->model, layer, WA_PRODUCT_BACKWARD);
    return wa_matrix_product(
        &operations->matrix, s.m, s.n, s.k, l->scale,
        (struct wa_matrix_operand){weights, l->weight_offset, (int)l->shape.in_channels, true},
        (struct wa_matrix_operand){dz, 0, lanes, false},
        (struct wa_matrix_operand){g, 0, lanes, false}, err);
}

static wa_status dense_gradient(struct wa_operations *operations, uint32_t layer, cl_mem x,
                                cl_mem dz, cl_mem gradients, struct wa_error *err)
{
    struct wa_matrix *matrix = &operations->matrix;
    const struct wa_model_layer *l = &operations->model->layers[layer];
    int lanes = operations->model->lanes;
    struct wa_matrix_shape s =
        wa_operations_dense_shape(operations->model, layer, WA_PRODUCT_GRADIENT);
    struct wa_matrix_operand a = {dz, 0, lanes, false};
    struct wa_matrix_operand b = {x, 0, lanes, true};
    struct wa_matrix_operand c = {gradients, l->weight_offset, (int)l->shape.in_channels, false};
    if (wa_matrix_sums_rows(matrix, &s)) {
        struct wa_matrix_sums sums = {gradients, l->bias_offset};
        return wa_matrix_product_and_sums(matrix, s.m, s.n, s.k, l->scale, a, b, c, sums, err);
    }
    wa_status status = wa_matrix_product(matrix, s.m, s.n, s.k, l->scale, a, b, c, err);
    if (status != WA_OK) {
        return status;
    }
    size_t group = operations->group_items;
    struct wa_range range = {1, {(size_t)s.m * group}, {group}};
    return wa_engine_launch(operations->engine, operations->sum_rows, &range, err, "mmiil", dz,
                            gradients, (int)l->bias_offset, lanes, group * sizeof(float));
}

wa_status wa_operations_weight_gradient(struct wa_operations *operations, uint32_t layer, cl_mem x,
                                        cl_mem dz, cl_mem gradients, struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    note_product(operations, layer, WA_PRODUCT_GRADIENT);
    return l->is_dense
               ? dense_gradient(operations, layer, x, dz, gradients, err)
               : operations->path->weight_gradient(operations, layer, x, dz, gradients, err);
}

wa_status wa_operations_activate(struct wa_operations *operations, uint32_t layer, cl_mem weights,
                                 cl_mem z, bool keep_h, cl_mem a, const struct wa_layout *a_layout,
                                 cl_mem inverse, struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    bool is_normalized = l->shape.normalization == WA_NORMALIZATION_BATCH;
    if (operations->engine->omits_activations) {
        return WA_OK;
    }
    uint64_t floats = values(operations, &l->output) * (keep_h ? 3 : 2);
    note_pass(operations, l, is_normalized ? "batch norm forward" : "activation forward", floats);
    note_activation(operations, floats);
    return operations->path->activate(operations, layer, weights, z, keep_h, a, a_layout, inverse,
                                      err);
}

/* What of the gradient at a layer's output has to be read, and computed with. */
static uint64_t source_floats(const struct wa_operations *operations,
                              const struct wa_model_layer *l, struct wa_gradient_source source)
{
    uint64_t whole = values(operations, &l->output);
    uint64_t batch = (uint64_t)operations->model->batch;
    uint64_t classes = (uint64_t)operations->model->classes;
    return source.feedback    ? (whole / batch + batch) * classes
           : source.is_pooled ? (uint64_t)l->output.channels * batch
                              : whole;
}

static uint64_t source_flop(const struct wa_operations *operations, const struct wa_model_layer *l,
                            struct wa_gradient_source source)
{
    uint64_t classes = (uint64_t)operations->model->classes;
    return source.feedback ? 2 * classes * values(operations, &l->output) : 0;
}

/* What goes in one pass moves its input and its outputs once, and computes as the product does. */
static void note_joined(struct wa_operations *operations, uint32_t layer, const char *operation,
                        uint64_t outputs, uint64_t more_flop)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct wa_work work = {l->name, operation, l->is_dense ? "matrix product" : "direct"};
    uint64_t tensors = l->weight_count + values(operations, &l->input) + outputs;
    wa_engine_note_work(operations->engine, &work, product_flop(operations, l) + more_flop,
                        tensors * sizeof(float));
}

wa_status wa_operations_activate_backward(struct wa_operations *operations, uint32_t layer,
                                          struct wa_gradient_source source, cl_mem h,
                                          cl_mem slope_h, cl_mem inverse, cl_mem dz,
                                          struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    bool is_normalized = l->shape.normalization == WA_NORMALIZATION_BATCH;
    if (operations->engine->omits_activations) {
        return WA_OK;
    }
    uint64_t output = values(operations, &l->output);
    uint64_t floats = source_floats(operations, l, source) + output * (slope_h == h ? 2 : 3);
    note_activation(operations, floats);
    if (source.weights_above) {
        note_joined(operations, layer + 1,
                    is_normalized ? "backward data, batch norm" : "backward data, activation",
                    values(operations, &l[1].output) + output * (slope_h == h ? 1 : 2), 0);
        return operations->path->dense_backward(operations, layer, source, h, slope_h, inverse, dz,
                                                err);
    }
    const struct wa_work work = {l->name,
                                 source.feedback && is_normalized ? "direct feedback, batch norm"
                                 : source.feedback                ? "direct feedback, activation"
                                 : is_normalized                  ? "batch norm backward"
                                                                  : "activation backward",
                                 NULL};
    wa_engine_note_work(operations->engine, &work, source_flop(operations, l, source),
                        floats * sizeof(float));
    return operations->path->activate_backward(operations, layer, source, h, slope_h, inverse, dz,
                                               err);
}

/* Without activations, as bench may ask for, there is nothing to join. */
static bool is_shallow(const struct wa_operations *operations, uint32_t layer)
{
    return operations->path->is_shallow && !operations->engine->omits_activations &&
           operations->path->is_shallow(operations, layer);
}

static bool joins_dense(const struct wa_operations *operations, uint32_t layer,
                        enum wa_product product)
{
    return operations->path->joins_dense && !operations->engine->omits_activations &&
           operations->path->joins_dense(operations, layer, product);
}

bool wa_operations_joins_backward(const struct wa_operations *operations, uint32_t layer)
{
    return joins_dense(operations, layer, WA_PRODUCT_BACKWARD);
}

wa_status wa_operations_forward_activate(struct wa_operations *operations, uint32_t layer,
                                         cl_mem weights, cl_mem arranged, cl_mem x, cl_mem z,
                                         bool keep_h, cl_mem a, const struct wa_layout *a_layout,
                                         cl_mem inverse, struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    uint64_t output = values(operations, &l->output);
    if (joins_dense(operations, layer, WA_PRODUCT_FORWARD)) {
        bool is_normalized = l->shape.normalization == WA_NORMALIZATION_BATCH;
        note_joined(operations, layer,
                    is_normalized ? "forward, batch norm" : "forward, activation",
                    (keep_h ? 2 : 1) * output, 0);
        note_activation(operations, (keep_h ? 3 : 2) * output);
        return operations->path->dense_forward(operations, layer, weights, x, z, keep_h, a,
                                               a_layout, inverse, err);
    }
    if (is_shallow(operations, layer)) {
        note_joined(operations, layer, "forward, batch norm", (keep_h ? 2 : 1) * output, 0);
        note_activation(operations, (keep_h ? 3 : 2) * output);
        return operations->path->shallow_forward(operations, layer, arranged, x, z, keep_h, a,
                                                 a_layout, inverse, err);
    }
    wa_status status = wa_operations_forward(operations, layer, weights, arranged, x, z, err);
    return status == WA_OK ? wa_operations_activate(operations, layer, weights, z, keep_h, a,
                                                    a_layout, inverse, err)
                           : status;
}

bool wa_operations_remakes(const struct wa_operations *operations, uint32_t layer)
{
    return operations->path->remakes && operations->path->remakes(operations, layer);
}

wa_status wa_operations_activate_gradient(struct wa_operations *operations, uint32_t layer,
                                          struct wa_gradient_source source,
                                          const struct wa_passed *passed, cl_mem dz, cl_mem x,
                                          cl_mem gradients, struct wa_error *err)
{
    if (is_shallow(operations, layer)) {
        const struct wa_model_layer *l = &operations->model->layers[layer];
        uint64_t whole = values(operations, &l->output);
        uint64_t floats = source_floats(operations, l, source) + (passed->h ? whole : 0) +
                          (passed->slope != passed->h ? whole : 0);
        note_joined(operations, layer,
                    source.feedback ? "direct feedback, gradient" : "batch norm, gradient", floats,
                    source_flop(operations, l, source));
        note_activation(operations, floats + whole);
        return operations->path->shallow_gradient(operations, layer, source, passed, x, gradients,
                                                  err);
    }
    wa_status status = wa_operations_activate_backward(operations, layer, source, passed->h,
                                                       passed->slope, passed->inverse, dz, err);
    return status == WA_OK ? wa_operations_weight_gradient(operations, layer, x, dz, gradients, err)
                           : status;
}

wa_status wa_operations_pool(struct wa_operations *operations, uint32_t layer, cl_mem a,
                             const struct wa_layout *a_layout, cl_mem pooled, struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    note_pass(operations, l, "pool",
              values(operations, &l->output) +
                  (uint64_t)l->output.channels * (uint64_t)operations->model->batch);
    return operations->path->pool(operations, layer, a, a_layout, pooled, err);
}

wa_status wa_operations_output_error(struct wa_operations *operations,
                                     const struct wa_output_error *arguments, struct wa_error *err)
{
    const struct wa_model *model = operations->model;
    const struct wa_model_layer *top = &model->layers[model->layer_count - 1];
    size_t group = operations->group_items;
    struct wa_range range = {1, {group}, {group}};
    note_pass(operations, top, "output error", 2 * values(operations, &top->output));
    return wa_engine_launch(operations->engine, operations->output_error, &range, err,
                            "mmmmmmiiiifil", arguments->outputs, arguments->labels,
                            arguments->weights, arguments->error, arguments->results,
                            arguments->halted, model->batch, model->classes, model->lanes,
                            (int)top->bias_offset, (double)arguments->target_offset,
                            arguments->slot, group * 2 * sizeof(float));
}

bool wa_operations_joins_feedback(const struct wa_operations *operations)
{
    return operations->path->joins_feedback && !operations->engine->omits_activations &&
           operations->path->joins_feedback(operations);
}

wa_status wa_operations_feed_back(struct wa_operations *operations, uint32_t layer, cl_mem feedback,
                                  int rows, cl_mem error, cl_mem g, struct wa_error *err)
{
    const struct wa_model *model = operations->model;
    const struct wa_model_layer *layer_fed = &model->layers[layer];
    int lanes = model->lanes;
    const struct wa_work work = {layer_fed->name, "direct feedback", "matrix product"};
    uint64_t batch = (uint64_t)model->batch;
    uint64_t classes = (uint64_t)model->classes;
    uint64_t count = (uint64_t)rows;
    wa_engine_note_work(operations->engine, &work, 2 * batch * count * classes,
                        (count * classes + batch * classes + count * batch) * sizeof(float));
    return wa_matrix_product(&operations->matrix, rows, model->product_lanes, model->classes, 1.0f,
                             (struct wa_matrix_operand){feedback, 0, model->classes, false},
                             (struct wa_matrix_operand){error, 0, lanes, false},
                             (struct wa_matrix_operand){g, 0, lanes, false}, err);
}
