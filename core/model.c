/* A network's geometry and parameters: shapes, padding, layouts, parameter offsets. The tables that
 * convolution kernels walk by are made in convolution_tables.c. */
#include "model.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convolution_tables.h"

enum { MIN_LANES = 16, LANE_MULTIPLE = 4, CHANNEL_MULTIPLE = 8 };

int wa_model_lanes(int batch)
{
    int lanes = (batch + LANE_MULTIPLE - 1) / LANE_MULTIPLE * LANE_MULTIPLE;
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
    int padded = (channels + CHANNEL_MULTIPLE - 1) / CHANNEL_MULTIPLE * CHANNEL_MULTIPLE;
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
    if (layer->kind != WA_LAYER_CONVOLUTION) {
        return wa_fail(err, WA_E_UNSUPPORTED, "layer '%s': kind %d is not known to this host",
                       layer->name, (int)layer->kind);
    }
    if (layer->kernel < 1 || layer->kernel > 31 || layer->stride < 1 || layer->stride > 16) {
        return wa_fail(err, WA_E_USAGE,
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

wa_status wa_model_builder_add(struct wa_model_builder *builder, const struct wa_layer *layer,
                               struct wa_error *err)
{
    wa_status status = check_layer(builder, layer, err);
    if (status != WA_OK) {
        return status;
    }
    uint32_t n = builder->layer_count;
    const struct wa_layer *below = n ? &builder->layers[n - 1] : NULL;
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
    layer->is_dense = s->in_height == 1 && s->in_width == 1 && s->kernel == 1;
    /* Offsets inside a channel are int on the device. */
    double plane = ((double)s->in_height + 2.0 * s->kernel) * ((double)s->in_width + 2.0 * s->kernel) *
                   lanes;
    if (plane > INT_MAX / 4 || (double)s->in_channels * s->kernel * s->kernel > INT_MAX / 4) {
        return wa_fail(err, WA_E_USAGE,
                       "layer '%s': an image of %u x %u with batch %d is too large: lower \"batch\"",
                       layer->name, s->in_height, s->in_width, lanes);
    }
    layer->fan_in = (int)(s->kernel * s->kernel * s->in_channels);
    double root = sqrt((double)layer->fan_in);
    layer->scale = is_standard ? 1.0f : (float)(1.0 / root);
    layer->draw_divisor = is_standard ? root : 1.0;
    layer->weight_count = (size_t)layer->fan_in * s->out_channels;
    /* One border width serves rows and columns. */
    layer->input = wa_layout_make((int)s->in_channels, (int)s->in_height, (int)s->in_width, lanes,
                                  max_int(layer->pad_row, layer->pad_column),
                                  max_int(row_after, column_after));
    layer->output = wa_layout_make((int)s->out_channels, (int)s->out_height, (int)s->out_width, lanes,
                                   0, 0);
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
        model->shapes[i] = layer->shape;
        status = layer_sizes(layer, model->lanes, is_standard, err);
        layer->weight_offset = offset;
        offset += layer->weight_count;
        layer->bias_offset = offset;
        offset += layer->shape.out_channels;
        if (offset > INT_MAX / 2) {
            return wa_fail(err, WA_E_USAGE,
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
                             .lanes = wa_model_lanes(batch),
                             .classes = builder->classes,
                             .channels = builder->channels,
                             .rows = builder->rows,
                             .columns = builder->columns};
    const struct wa_layer *top = &builder->layers[builder->layer_count - 1];
    model.layers = calloc(model.layer_count, sizeof *model.layers);
    model.shapes = calloc(model.layer_count, sizeof *model.shapes);
    wa_status status = model.layers && model.shapes ? WA_OK
                                                    : wa_fail(err, WA_E_MEMORY, "out of memory");
    if (status == WA_OK && ((int)top->out_channels != builder->classes || top->out_height != 1 ||
                            top->out_width != 1 || top->kernel != 1)) {
        status = wa_fail(err, WA_E_PLUGIN,
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

void wa_model_finish(struct wa_model *model)
{
    for (uint32_t i = 0; model->layers && i < model->layer_count; i++) {
        wa_convolution_tables_finish(&model->layers[i]);
    }
    free(model->layers);
    free(model->shapes);
    *model = (struct wa_model){0};
}
