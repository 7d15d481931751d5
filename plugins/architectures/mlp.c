/* Architecture "mlp": dense layers on the flattened image, each with batch norm for each unit (by
 * option) and ReLU, and a dense readout: the convolutional network (cnn.c) on 1 x 1 images. As there,
 * live and frozen nets join before each ReLU but the last one's. */
#include <stdio.h>

#include "walign/plugin.h"

static wa_status build(const wa_architecture_host *host)
{
    const wa_host *base = host->base;
    size_t count = base->option_length(base, "widths");
    bool has_batch_norm = base->option_boolean(base, "batch_norm");
    if (count == 0) {
        return base->fail(base, WA_E_USAGE,
                          "\"widths\" is empty: expected the units of each layer below the readout, at "
                          "least one");
    }
    wa_status status = WA_OK;
    for (size_t i = 0; i < count && status == WA_OK; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "dense%zu", i + 1);
        const wa_layer layer = {
            .struct_size = sizeof layer,
            .name = name,
            .kind = WA_LAYER_DENSE,
            .input = i == 0 ? WA_INPUT_FLATTENED : WA_INPUT_AS_IS,
            .normalization = has_batch_norm ? WA_NORMALIZATION_BATCH : WA_NORMALIZATION_NONE,
            .activation = WA_ACTIVATION_RELU,
            .join = i + 1 < count ? WA_JOIN_BEFORE_ACTIVATION : WA_JOIN_AFTER_ACTIVATION,
            .kernel = 1,
            .stride = 1,
            .out_channels = (uint32_t)base->option_integer_at(base, "widths", i)};
        status = host->add_layer(host, &layer);
    }
    const wa_layer readout = {.struct_size = sizeof readout,
                              .name = "readout",
                              .kind = WA_LAYER_DENSE,
                              .input = WA_INPUT_AS_IS,
                              .normalization = WA_NORMALIZATION_NONE,
                              .activation = WA_ACTIVATION_NONE,
                              .join = WA_JOIN_AFTER_ACTIVATION,
                              .kernel = 1,
                              .stride = 1,
                              .out_channels = host->classes};
    if (status == WA_OK) {
        status = host->add_layer(host, &readout);
    }
    host->set_services(host, WA_SERVICE_TRANSPORT_WEIGHTS | WA_SERVICE_DIRECT_FEEDBACK |
                                 WA_SERVICE_TWO_TAPES | WA_SERVICE_LAYERWISE_ERROR);
    return status;
}

static const wa_architecture_ops ops = {.struct_size = sizeof ops, .build = build};

static const wa_plugin mlp = {
    .struct_size = sizeof mlp,
    .kind = WA_KIND_ARCHITECTURE,
    .id = "mlp",
    .version = "1.0",
    .summary = "dense layers on the flattened image, with batch norm for each unit, and a readout",
    .reference = "",
    .options =
        "{\"properties\": {"
        "\"widths\": {\"type\": \"array\", \"items\": {\"type\": \"integer\", \"minimum\": 1, "
        "\"maximum\": 65536}, \"default\": [256, 256], \"description\": \"units of each layer below "
        "the readout\"}, "
        "\"batch_norm\": {\"type\": \"boolean\", \"default\": true, \"description\": \"whether each "
        "unit is normalized over the batch\"}}}",
    .architecture = &ops,
};

static const wa_plugin *const plugins[] = {&mlp};
WA_PLUGIN_ENTRY(plugins, 1)
