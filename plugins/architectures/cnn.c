/* Architecture "cnn": convolutions with batch norm per position and ReLU, global average pooling and
 * a dense readout (Boopathy & Fiete, ICML 2022). Live and frozen nets join before each ReLU, and after
 * pooling at the readout: so the last convolution uses its own ReLU' for the weight gradient. */
#include <stdio.h>

#include "walign/plugin.h"

static wa_status build(const wa_architecture_host *host)
{
    const wa_host *base = host->base;
    size_t count = base->option_length(base, "kernels");
    if (base->option_length(base, "strides") != count || count == 0) {
        return base->fail(base, WA_E_USAGE,
                          "\"kernels\" has %zu entries and \"strides\" %zu: expected one of each for "
                          "every layer, at least one",
                          count, base->option_length(base, "strides"));
    }
    wa_status status = WA_OK;
    for (size_t i = 0; i < count && status == WA_OK; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "conv%zu", i + 1);
        const wa_layer layer = {
            .struct_size = sizeof layer,
            .name = name,
            .kind = WA_LAYER_CONVOLUTION,
            .input = WA_INPUT_AS_IS,
            .normalization = WA_NORMALIZATION_BATCH,
            .activation = WA_ACTIVATION_RELU,
            .join = i + 1 < count ? WA_JOIN_BEFORE_ACTIVATION : WA_JOIN_AFTER_ACTIVATION,
            .kernel = (uint32_t)base->option_integer_at(base, "kernels", i),
            .stride = (uint32_t)base->option_integer_at(base, "strides", i),
            .out_channels = (uint32_t)base->option_integer(base, "width")};
        status = host->add_layer(host, &layer);
    }
    const wa_layer readout = {.struct_size = sizeof readout,
                              .name = "readout",
                              .kind = WA_LAYER_CONVOLUTION,
                              .input = WA_INPUT_POOLED,
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

static const wa_plugin cnn = {
    .struct_size = sizeof cnn,
    .kind = WA_KIND_ARCHITECTURE,
    .id = "cnn",
    .version = "1.0",
    .summary = "convolutions with batch norm per position, global average pooling, dense readout",
    .reference = "Boopathy & Fiete, ICML 2022, arXiv 2106.08453",
    .options =
        "{\"properties\": {"
        "\"width\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 65536, \"default\": 16, "
        "\"description\": \"channels of every convolution\"}, "
        "\"kernels\": {\"type\": \"array\", \"items\": {\"type\": \"integer\", \"minimum\": 1, "
        "\"maximum\": 31}, \"default\": [3, 3, 3], \"description\": \"kernel size of each layer\"}, "
        "\"strides\": {\"type\": \"array\", \"items\": {\"type\": \"integer\", \"minimum\": 1, "
        "\"maximum\": 16}, \"default\": [1, 2, 2], \"description\": \"stride of each layer\"}}}",
    .architecture = &ops,
};

static const wa_plugin *const plugins[] = {&cnn};
WA_PLUGIN_ENTRY(plugins, 1)
