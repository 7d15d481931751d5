/* A network's geometry and parameters: shapes, padding, layouts, parameter offsets. The tables that
 * convolution kernels walk by are made in convolution_tables.c. */
#include "model.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convolution_tables.h"
#include "cutting.h"

enum { MIN_LANES = 16, LANE_MULTIPLE = 4, CHANNEL_MULTIPLE = 8, SEQUENCE_LANES = 16 };

int wa_model_lanes(int batch)
{
    int lanes = wa_round_up(batch, LANE_MULTIPLE);
    return lanes < MIN_LANES ? MIN_LANES : lanes;
}

struct wa_layout wa_layout_make(int channels, int rows, int columns, int lanes, int before,
                                int after)
{
    struct wa_layout layout = {.channels = channels,
                               .rows = rows,
                               .columns = columns,
                               .lanes = lanes,
                               .before = before,
                               .after = after};
    layout.row = (columns + before + after) * lanes;
    layout.plane = (rows + before + after) * layout.row;
    layout.base = before * layout.row + before * lanes;
    int padded = wa_round_up(channels, CHANNEL_MULTIPLE);
    layout.floats = (size_t)padded * (size_t)layout.plane;
    return layout;
}

/* ---- Building ------------------------------------------------------------------------------- */

static wa_status check_layer(const struct wa_model_builder *builder, const struct wa_layer *layer,
                             struct wa_error *err)
{
    if (builder->layer_count == WA_MODEL_MAX_LAYERS) {
        return wa_fail(err, WA_E_USAGE, "more than %d layers", WA_MODEL_MAX_LAYERS);
    }
    if (!layer->name || strlen(layer->name) >= WA_MODEL_NAME) {
        return wa_fail(err, WA_E_PLUGIN, "layer %u has no name, or one over %d bytes",
                       builder->layer_count + 1, WA_MODEL_NAME - 1);
    }
    if (layer->kind != WA_LAYER_CONVOLUTION && layer->kind != WA_LAYER_RECURRENT &&
        layer->kind != WA_LAYER_DENSE) {
        return wa_fail(err, WA_E_UNSUPPORTED, "layer '%s': kind %d is not known to this host",
                       layer->name, (int)layer->kind);
    }
    if (layer->kind != WA_LAYER_CONVOLUTION && (layer->kernel != 1 || layer->stride != 1)) {
        return wa_fail(
            err, WA_E_PLUGIN,
            "layer '%s': kernel %u, stride %u: expected 1 and 1, as it is no convolution",
            layer->name, layer->kernel, layer->stride);
    }
    if (layer->kernel < 1 || layer->kernel > 31 || layer->stride < 1 || layer->stride > 16) {
        return wa_fail(
            err, WA_E_USAGE,
            "layer '%s': kernel %u, stride %u: expected a kernel of 1 to 31 and a stride "
            "of 1 to 16",
            layer->name, layer->kernel, layer->stride);
    }
    if (layer->out_channels < 1 || layer->out_channels > 65536) {
        return wa_fail(err, WA_E_USAGE, "layer '%s': %u outputs, expected 1 to 65536", layer->name,
                       layer->out_channels);
    }
    return WA_OK;
}

/* Names as declared, or made from the layer's. */
static wa_status name_tensors(struct wa_model_builder *builder, uint32_t n,
                              const struct wa_layer *layer, struct wa_error *err)
{
    static const char *const kinds[WA_TENSOR_KINDS] = {"input_weight", "weight", "bias",
                                                       "initial_state"};
    const char *const given[WA_TENSOR_KINDS] = {layer->tensors.input_weight, layer->tensors.weight,
                                                layer->tensors.bias, layer->tensors.initial_state};
    for (int i = 0; i < WA_TENSOR_KINDS; i++) {
        char *name = builder->tensor_names[n][i];
        int length = given[i]
                         ? snprintf(name, WA_MODEL_TENSOR_NAME, "%s", given[i])
                         : snprintf(name, WA_MODEL_TENSOR_NAME, "%s.%s", layer->name, kinds[i]);
        if (length < 1 || length >= WA_MODEL_TENSOR_NAME) {
            return wa_fail(err, WA_E_PLUGIN,
                           "layer '%s': a tensor's name is empty or over %d bytes", layer->name,
                           WA_MODEL_TENSOR_NAME - 1);
        }
    }
    return WA_OK;
}

/* A recurrence is a network of its own kind: the recurrent layer, and a readout of each step. */
static wa_status check_place(const struct wa_model_builder *builder, const struct wa_layer *layer,
                             const struct wa_layer *below, struct wa_error *err)
{
    bool is_recurrent = layer->kind == WA_LAYER_RECURRENT;
    if (is_recurrent &&
        (below || builder->columns != 1 || layer->normalization != WA_NORMALIZATION_NONE ||
         layer->activation != WA_ACTIVATION_RELU || layer->input != WA_INPUT_AS_IS ||
         layer->join != WA_JOIN_AFTER_ACTIVATION)) {
        return wa_fail(
            err, WA_E_UNSUPPORTED,
            "layer '%s': a recurrent layer has to be the first one, on items one column "
            "wide (here %d: rows are steps), with ReLU, without normalization, joined after "
            "its activation",
            layer->name, builder->columns);
    }
    bool is_above = below && below->kind == WA_LAYER_RECURRENT;
    if ((is_above && (layer->kind != WA_LAYER_DENSE || layer->input != WA_INPUT_AS_IS ||
                      layer->normalization != WA_NORMALIZATION_NONE ||
                      layer->activation != WA_ACTIVATION_NONE)) ||
        (builder->layer_count > 1 && builder->layers[0].kind == WA_LAYER_RECURRENT)) {
        return wa_fail(
            err, WA_E_UNSUPPORTED,
            "layer '%s': above a recurrent layer this host takes one dense readout, as it "
            "is, without normalization and activation",
            layer->name);
    }
    return WA_OK;
}

wa_status wa_model_builder_add(struct wa_model_builder *builder, const struct wa_layer *layer,
                               struct wa_error *err)
{
    uint32_t n = builder->layer_count;
    const struct wa_layer *below = n ? &builder->layers[n - 1] : NULL;
    wa_status status = check_layer(builder, layer, err);
    if (status == WA_OK) {
        status = check_place(builder, layer, below, err);
    }
    if (status == WA_OK) {
        status = name_tensors(builder, n, layer, err);
    }
    if (status != WA_OK) {
        return status;
    }
    struct wa_layer added = *layer;
    added.struct_size = sizeof added;
    (void)snprintf(builder->names[n], WA_MODEL_NAME, "%s", layer->name);
    added.name = builder->names[n];
    uint32_t channels = below ? below->out_channels : (uint32_t)builder->channels;
    uint32_t rows = below ? below->out_height : (uint32_t)builder->rows;
    uint32_t columns = below ? below->out_width : (uint32_t)builder->columns;
    if (layer->input == WA_INPUT_FLATTENED) {
        if (below) {
            return wa_fail(err, WA_E_UNSUPPORTED,
                           "layer '%s': only the images can be flattened, not a layer's output",
                           layer->name);
        }
        channels *= rows * columns;
        rows = columns = 1;
    } else if (layer->input == WA_INPUT_POOLED) {
        rows = columns = 1;
    }
    added.in_channels = channels;
    added.in_height = rows;
    added.in_width = columns;
    added.out_height = (rows + layer->stride - 1) / layer->stride;
    added.out_width = (columns + layer->stride - 1) / layer->stride;
    if (layer->kind == WA_LAYER_DENSE && (rows != 1 || columns != 1) &&
        !(below && below->kind == WA_LAYER_RECURRENT)) {
        return wa_fail(err, WA_E_PLUGIN,
                       "layer '%s': a dense layer reads one place, not %u x %u: expected its input "
                       "flattened or pooled",
                       layer->name, rows, columns);
    }
    builder->layers[n] = added;
    builder->layer_count++;
    return WA_OK;
}

/* ---- Geometry ------------------------------------------------------------------------------- */

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

/* SAME padding: out = ceil(in/stride), the smaller half before. */
static void same_padding(int in, int out, int kernel, int stride, int *ret_before, int *ret_after)
{
    int pad = (out - 1) * stride + kernel - in;
    pad = pad > 0 ? pad : 0;
    *ret_before = pad / 2;
    *ret_after = pad - pad / 2;
}

/* The matrix that reads the input scales by its inputs, the recurrent one by its own. */
static void size_recurrence(struct wa_model_layer *layer, bool is_standard)
{
    size_t out = layer->shape.out_channels;
    layer->input_scale = layer->scale;
    layer->input_draw_divisor = layer->draw_divisor;
    layer->input_count = layer->weight_count;
    double root = sqrt((double)out);
    layer->fan_in = (int)out;
    layer->scale = is_standard ? 1.0f : (float)(1.0 / root);
    layer->draw_divisor = is_standard ? root : 1.0;
    layer->weight_count += out * out;
}

static wa_status layer_sizes(struct wa_model_layer *layer, int lanes, bool is_standard,
                             struct wa_error *err)
{
    const struct wa_layer *s = &layer->shape;
    int row_after = 0;
    int column_after = 0;
    same_padding((int)s->in_height, (int)s->out_height, (int)s->kernel, (int)s->stride,
                 &layer->pad_row, &row_after);
    same_padding((int)s->in_width, (int)s->out_width, (int)s->kernel, (int)s->stride,
                 &layer->pad_column, &column_after);
    layer->is_dense = s->kind != WA_LAYER_CONVOLUTION ||
                      (s->in_height == 1 && s->in_width == 1 && s->kernel == 1);
    /* Offsets inside a channel are int on the device. */
    double plane =
        ((double)s->in_height + 2.0 * s->kernel) * ((double)s->in_width + 2.0 * s->kernel) * lanes;
    if (plane > INT_MAX / 4 || (double)s->in_channels * s->kernel * s->kernel > INT_MAX / 4) {
        return wa_fail(
            err, WA_E_USAGE,
            "layer '%s': an image of %u x %u with batch %d is too large: lower \"batch\"",
            layer->name, s->in_height, s->in_width, lanes);
    }
    layer->fan_in = (int)(s->kernel * s->kernel * s->in_channels);
    double root = sqrt((double)layer->fan_in);
    layer->scale = is_standard ? 1.0f : (float)(1.0 / root);
    layer->draw_divisor = is_standard ? root : 1.0;
    layer->weight_count = (size_t)layer->fan_in * s->out_channels;
    if (s->kind == WA_LAYER_RECURRENT) {
        size_recurrence(layer, is_standard);
    }
    /* One border width serves rows and columns. */
    layer->input = wa_layout_make((int)s->in_channels, (int)s->in_height, (int)s->in_width, lanes,
                                  max_int(layer->pad_row, layer->pad_column),
                                  max_int(row_after, column_after));
    layer->output =
        wa_layout_make((int)s->out_channels, (int)s->out_height, (int)s->out_width, lanes, 0, 0);
    layer->gradient = layer->output;
    return WA_OK;
}

static wa_status build_layers(struct wa_model *model, const struct wa_model_builder *builder,
                              bool is_standard, struct wa_blocking blocking, struct wa_error *err)
{
    wa_status status = WA_OK;
    size_t offset = 0;
    for (uint32_t i = 0; i < model->layer_count && status == WA_OK; i++) {
        struct wa_model_layer *layer = &model->layers[i];
        layer->shape = builder->layers[i];
        (void)snprintf(layer->name, sizeof layer->name, "%s", builder->names[i]);
        layer->shape.name = layer->name;
        memcpy(layer->tensor_names, builder->tensor_names[i], sizeof layer->tensor_names);
        layer->shape.tensors =
            (struct wa_tensor_names){.input_weight = layer->tensor_names[WA_TENSOR_INPUT_WEIGHT],
                                     .weight = layer->tensor_names[WA_TENSOR_WEIGHT],
                                     .bias = layer->tensor_names[WA_TENSOR_BIAS],
                                     .initial_state = layer->tensor_names[WA_TENSOR_INITIAL_STATE]};
        model->shapes[i] = layer->shape;
        status = layer_sizes(layer, model->lanes, is_standard, err);
        if (model->is_sequence && i > 0) {
            /* what it reads has a step before the first: the initial state */
            layer->input.base += layer->input.row;
            layer->input.plane += layer->input.row;
            layer->input.floats = (size_t)layer->input.channels * (size_t)layer->input.plane;
        }
        layer->weight_offset = offset;
        offset += layer->weight_count;
        layer->bias_offset = offset;
        offset += layer->shape.out_channels;
        layer->state_offset = offset;
        if (layer->shape.kind == WA_LAYER_RECURRENT && layer->shape.trains_initial_state) {
            layer->state_count = (size_t)model->batch * layer->shape.out_channels;
            offset += layer->state_count;
        }
        if (offset > INT_MAX / 2) {
            return wa_fail(
                err, WA_E_USAGE,
                "with layer '%s' the network has %zu parameters, which alone need %.1f GB "
                "of memory: expected at most %d; lower the width",
                layer->name, offset, (double)offset * sizeof(float) / 1e9, INT_MAX / 2);
        }
        if (status == WA_OK && !layer->is_dense) {
            status = wa_convolution_tables_init(layer, model->lanes, blocking, err);
        }
    }
    model->parameter_count = offset;
    return status;
}

static bool is_dense_alone(const struct wa_model_builder *builder)
{
    bool is_dense = true;
    for (uint32_t i = 0; i < builder->layer_count; i++) {
        is_dense = is_dense && builder->layers[i].kind == WA_LAYER_DENSE;
    }
    return is_dense;
}

/* Rows of a product that start where vectors do are read a quarter faster. Where a piece is left over from whole
 * vectors, it alone is computed. */
static void choose_lanes(struct wa_model *model, const struct wa_model_builder *builder,
                         struct wa_blocking blocking)
{
    model->lanes = wa_model_lanes(model->batch);
    model->product_lanes = model->lanes;
    if (model->is_sequence) {
        /* its products are as wide as a step's lanes: whole vectors */
        model->lanes = wa_round_up(model->batch, SEQUENCE_LANES);
        model->product_lanes = model->lanes;
    } else if (is_dense_alone(builder)) {
        bool has_piece = model->lanes % blocking.position == LANE_MULTIPLE;
        model->lanes = wa_round_up(model->lanes, blocking.position);
        model->product_lanes = has_piece ? model->product_lanes : model->lanes;
    }
}

wa_status wa_model_init(struct wa_model *ret_model, const struct wa_model_builder *builder,
                        int batch, bool is_standard, struct wa_blocking blocking,
                        struct wa_error *err)
{
    *ret_model = (struct wa_model){0};
    if (builder->layer_count == 0) {
        return wa_fail(err, WA_E_PLUGIN, "the architecture added no layer");
    }
    struct wa_model model = {.layer_count = builder->layer_count,
                             .batch = batch,
                             .classes = builder->classes,
                             .channels = builder->channels,
                             .rows = builder->rows,
                             .columns = builder->columns,
                             .is_sequence = builder->layers[0].kind == WA_LAYER_RECURRENT};
    choose_lanes(&model, builder, blocking);
    const struct wa_layer *top = &builder->layers[builder->layer_count - 1];
    model.layers = calloc(model.layer_count, sizeof *model.layers);
    model.shapes = calloc(model.layer_count, sizeof *model.shapes);
    wa_status status =
        model.layers && model.shapes ? WA_OK : wa_fail(err, WA_E_MEMORY, "out of memory");
    if (status == WA_OK && model.is_sequence && model.layer_count != 2) {
        status = wa_fail(err, WA_E_PLUGIN, "a recurrent layer needs a readout above it");
    }
    uint32_t places = model.is_sequence ? (uint32_t)builder->rows : 1;
    if (status == WA_OK && ((int)top->out_channels != builder->classes ||
                            top->out_height != places || top->out_width != 1 || top->kernel != 1)) {
        status =
            wa_fail(err, WA_E_PLUGIN,
                    "the top layer '%s' gives %u x %u x %u outputs with a kernel of %u, expected "
                    "a dense layer of %d classes",
                    builder->names[builder->layer_count - 1], top->out_height, top->out_width,
                    top->out_channels, top->kernel, builder->classes);
    }
    if (status == WA_OK) {
        status = build_layers(&model, builder, is_standard, blocking, err);
    }
    if (status != WA_OK) {
        wa_model_finish(&model);
        return status;
    }
    model.net = (struct wa_net){.struct_size = sizeof model.net,
                                .layer_count = model.layer_count,
                                .layers = model.shapes,
                                .batch = (uint32_t)batch,
                                .classes = (uint32_t)builder->classes,
                                .services = builder->services};
    *ret_model = model;
    return WA_OK;
}

bool wa_model_find_tensor(const struct wa_model_layer *layer, enum wa_tensor_kind kind,
                          size_t *ret_offset, size_t *ret_count)
{
    const size_t offsets[WA_TENSOR_KINDS] = {layer->weight_offset,
                                             layer->weight_offset + layer->input_count,
                                             layer->bias_offset, layer->state_offset};
    const size_t counts[WA_TENSOR_KINDS] = {layer->input_count,
                                            layer->weight_count - layer->input_count,
                                            layer->shape.out_channels, layer->state_count};
    *ret_offset = offsets[kind];
    *ret_count = counts[kind];
    return counts[kind] > 0;
}

void wa_model_finish(struct wa_model *model)
{
    for (uint32_t i = 0; model->layers && i < model->layer_count; i++) {
        wa_convolution_tables_finish(&model->layers[i]);
    }
    free(model->layers);
    free(model->shapes);
    *model = (struct wa_model){0};
}
