/* Rule "top-layers": backprop that stops early. The topmost `layers` layers learn by the exact
 * gradient, those below keep their random weights. With 1 it is the rule last-layer, with all the
 * layers of the network it is backprop. The worked example of docs/write-a-rule.md. */
#include <stdlib.h>

#include "walign/plugin.h"

struct top_layers {
    const wa_rule_host *host;
    uint32_t lowest; /* layer that learns */
    wa_tape *tape;
    wa_delta *delta;
};

static void destroy(void *self)
{
    free(self);
}

static wa_status create(const wa_rule_host *host, void **ret_self)
{
    uint32_t count = host->net->layer_count;
    int64_t wanted = host->base->option_integer(host->base, "layers");
    if (wanted > count) {
        return host->base->fail(host->base, WA_E_USAGE,
                                "\"layers\" is %lld, but the network has %u: expected 1 to %u",
                                (long long)wanted, count, count);
    }
    struct top_layers *self = calloc(1, sizeof *self);
    if (!self) {
        return host->base->fail(host->base, WA_E_MEMORY, "out of memory");
    }
    self->host = host;
    self->lowest = count - (uint32_t)wanted;
    wa_status status = host->tape(host, &self->tape);
    if (status == WA_OK) {
        status = host->delta(host, &self->delta);
    }
    for (uint32_t l = 0; l < self->lowest && status == WA_OK; l++) {
        status = host->set_trained(host, l, false);
    }
    if (status != WA_OK) {
        destroy(self);
        return status;
    }
    *ret_self = self;
    return WA_OK;
}

static wa_status compute_update(void *instance)
{
    struct top_layers *self = instance;
    const wa_rule_host *host = self->host;
    wa_status status = host->forward(host, host->live, self->tape);
    if (status == WA_OK) {
        status = host->output_error(host, self->tape, self->delta);
    }
    for (uint32_t l = host->net->layer_count; l-- > self->lowest && status == WA_OK;) {
        const wa_backward down = {.struct_size = sizeof down,
                                  .layer = l,
                                  .delta = self->delta,
                                  .transport_tape = self->tape,
                                  .transport = l > self->lowest ? host->live : NULL,
                                  .gradient_tape = self->tape};
        status = host->backward(host, &down);
    }
    return status;
}

static const wa_rule_ops ops = {.struct_size = sizeof ops,
                                .create = create,
                                .destroy = destroy,
                                .compute_update = compute_update};

static const wa_plugin top_layers = {
    .struct_size = sizeof top_layers,
    .kind = WA_KIND_RULE,
    .id = "top-layers",
    .version = "1.0",
    .summary = "backprop through the topmost layers, random features below",
    .reference = "",
    .options = "{\"properties\": {\"layers\": {\"type\": \"integer\", \"minimum\": 1, "
               "\"default\": 2, \"description\": \"layers that learn, the readout included\"}}}",
    .rule = &ops,
};

static const wa_plugin *const plugins[] = {&top_layers};
WA_PLUGIN_ENTRY(plugins, 1)
