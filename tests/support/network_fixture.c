/* A small network for tests: see network_fixture.h. */
#include "network_fixture.h"

#include <stdio.h>
#include <stdlib.h>

static wa_status add_layers(const struct wa_network_shape *shape, struct wa_model_builder *builder,
                            struct wa_error *err)
{
    wa_status status = WA_OK;
    for (int i = 0; i <= WA_NETWORK_LAYERS && status == WA_OK; i++) {
        bool is_readout = i == WA_NETWORK_LAYERS || shape->layers[i].width == 0;
        char name[16];
        (void)snprintf(name, sizeof name, "layer%d", i + 1);
        const struct wa_layer layer = {
            .struct_size = sizeof layer,
            .name = is_readout ? "readout" : name,
            .kind = WA_LAYER_CONVOLUTION,
            .input = shape->is_flattened ? i == 0 ? WA_INPUT_FLATTENED : WA_INPUT_AS_IS
                     : is_readout        ? WA_INPUT_POOLED
                                         : WA_INPUT_AS_IS,
            .normalization =
                is_readout || shape->is_linear ? WA_NORMALIZATION_NONE : WA_NORMALIZATION_BATCH,
            .activation = is_readout || shape->is_linear ? WA_ACTIVATION_NONE : WA_ACTIVATION_RELU,
            .join = WA_JOIN_AFTER_ACTIVATION,
            .kernel = is_readout ? 1 : (uint32_t)shape->layers[i].kernel,
            .stride = is_readout ? 1 : (uint32_t)shape->layers[i].stride,
            .out_channels = (uint32_t)(is_readout ? shape->classes : shape->layers[i].width)};
        status = wa_model_builder_add(builder, &layer, err);
        if (is_readout) {
            break;
        }
    }
    return status;
}

/* As a session does: what is compiled at all is compiled side by side. */
static void prebuild(struct wa_fixture *fixture, const struct wa_model *model)
{
    struct wa_program_spec specs[WA_OPERATIONS_MAX_PROGRAMS];
    char options[WA_OPERATIONS_MAX_PROGRAMS][WA_OPERATIONS_OPTION_BYTES];
    size_t count = wa_operations_programs(&fixture->engine, model, specs, options);
    wa_programs_prebuild(fixture->programs, specs, count);
}

wa_status wa_network_try(struct wa_fixture *fixture, const struct wa_network_shape *shape,
                         struct wa_network *ret_network)
{
    struct wa_model_builder *builder = wa_fixture_allocate(fixture, 1, sizeof *builder);
    *builder = (struct wa_model_builder){.channels = shape->channels,
                                         .rows = shape->rows,
                                         .columns = shape->columns,
                                         .classes = shape->classes};
    *ret_network = (struct wa_network){0};
    wa_status status = add_layers(shape, builder, &fixture->err);
    if (status == WA_OK) {
        status = wa_model_init(&ret_network->model, builder, shape->batch, false,
                               wa_operations_blocking(&fixture->engine), &fixture->err);
    }
    if (status == WA_OK) {
        prebuild(fixture, &ret_network->model);
        status = wa_operations_create(&fixture->engine, &ret_network->model,
                                      &ret_network->operations, &fixture->err);
    }
    if (status != WA_OK) {
        wa_model_finish(&ret_network->model);
    }
    return status;
}

void wa_network_open(struct wa_fixture *fixture, const struct wa_network_shape *shape,
                     struct wa_network *ret_network)
{
    WA_FIXTURE_CHECK(fixture, wa_network_try(fixture, shape, ret_network));
}

void wa_network_close(struct wa_network *network)
{
    wa_operations_destroy(network->operations);
    network->operations = NULL;
    wa_model_finish(&network->model);
}

struct wa_reference_shape wa_network_reference_shape(const struct wa_network *network,
                                                     uint32_t layer)
{
    const struct wa_layer *s = &network->model.layers[layer].shape;
    return (struct wa_reference_shape){.batch = network->model.batch,
                                       .in_channels = (int)s->in_channels,
                                       .in_rows = (int)s->in_height,
                                       .in_columns = (int)s->in_width,
                                       .out_channels = (int)s->out_channels,
                                       .kernel = (int)s->kernel,
                                       .stride = (int)s->stride};
}

void wa_network_describe(struct wa_fixture *fixture, const struct wa_network *network,
                         uint32_t layer)
{
    struct wa_reference_shape s = wa_network_reference_shape(network, layer);
    (void)snprintf(fixture->subject, sizeof fixture->subject,
                   "%dx%dx%d batch %d, %dx%d/%d to %d, vectors of %d", s.in_channels, s.in_rows,
                   s.in_columns, s.batch, s.kernel, s.kernel, s.stride, s.out_channels,
                   fixture->engine.vector_width);
}
