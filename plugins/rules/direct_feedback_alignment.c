/* Rule "dfa", direct feedback alignment: random B_l carries the output error straight to the activity
 * of each hidden layer; slopes, batch norm and inputs are live. The readout learns by its own
 * gradient and sends nothing down. B_l is drawn right after W_l, none for the readout. */
#include <stdlib.h>
#include <string.h>

#include "walign/plugin.h"

struct direct {
    const wa_rule_host *host;
    wa_feedback *feedback;
    wa_tape *tape;
    wa_delta *output_delta, *delta;
};

static void destroy(void *self)
{
    free(self);
}

static wa_status create(const wa_rule_host *host, void **ret_self)
{
    struct direct *self = calloc(1, sizeof *self);
    if (!self) {
        return host->base->fail(host->base, WA_E_MEMORY, "out of memory");
    }
    self->host = host;
    bool is_pooled = strcmp(host->base->option_string(host->base, "feedback"), "pooled") == 0;
    wa_status status = host->direct_feedback(host, is_pooled, &self->feedback);
    if (status == WA_OK) {
        status = host->tape(host, &self->tape);
    }
    if (status == WA_OK) {
        status = host->delta(host, &self->output_delta);
    }
    if (status == WA_OK) {
        status = host->delta(host, &self->delta);
    }
    if (status != WA_OK) {
        destroy(self);
        return status;
    }
    *ret_self = self;
    return WA_OK;
}

static wa_status draw_layer(void *instance, uint32_t layer)
{
    struct direct *self = instance;
    const wa_rule_host *host = self->host;
    bool is_readout = layer + 1 == host->net->layer_count;
    return is_readout ? WA_OK : host->draw_feedback(host, self->feedback, layer);
}

static wa_status compute_update(void *instance)
{
    struct direct *self = instance;
    const wa_rule_host *host = self->host;
    uint32_t top = host->net->layer_count - 1;
    wa_status status = host->forward(host, host->live, self->tape);
    if (status == WA_OK) {
        status = host->output_error(host, self->tape, self->output_delta);
    }
    for (uint32_t l = host->net->layer_count; l-- > 0 && status == WA_OK;) {
        if (l < top) {
            status = host->feed_back(host, self->feedback, l, self->delta);
        }
        const wa_backward down = {.struct_size = sizeof down,
                                  .layer = l,
                                  .delta = l == top ? self->output_delta : self->delta,
                                  .transport_tape = self->tape,
                                  .gradient_tape = self->tape};
        if (status == WA_OK) {
            status = host->backward(host, &down);
        }
    }
    return status;
}

static const wa_rule_ops ops = {.struct_size = sizeof ops,
                                .needs = WA_SERVICE_DIRECT_FEEDBACK | WA_SERVICE_LAYERWISE_ERROR,
                                .create = create,
                                .destroy = destroy,
                                .compute_update = compute_update,
                                .draw_layer = draw_layer};

static const wa_plugin dfa = {
    .struct_size = sizeof dfa,
    .kind = WA_KIND_RULE,
    .id = "dfa",
    .version = "1.0",
    .summary = "direct feedback alignment: random weights carry the output error to each layer",
    .reference = "Nokland, NeurIPS 2016, arXiv 1609.01596",
    .options = "{\"properties\": {\"feedback\": {\"type\": \"string\", \"enum\": [\"position\", "
               "\"pooled\"], \"default\": \"position\", \"description\": \"one random weight for each "
               "class, row, column and channel, or for each class and channel on the average over "
               "positions\"}}}",
    .rule = &ops,
};

static const wa_plugin *const plugins[] = {&dfa};
WA_PLUGIN_ENTRY(plugins, 1)
