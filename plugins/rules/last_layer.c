/* Rule "last-layer": only the readout learns, on the random features below it; and, in networks that
 * train an initial state, that state, by the error that goes down to it through what is not trained. */
#include <stdlib.h>

#include "walign/plugin.h"

struct last_layer {
    const wa_rule_host *host;
    wa_tape *tape;
    wa_delta *delta;
};

static void destroy(void *self)
{
    free(self);
}

static wa_status create(const wa_rule_host *host, void **ret_self)
{
    struct last_layer *self = calloc(1, sizeof *self);
    if (!self) {
        return host->base->fail(host->base, WA_E_MEMORY, "out of memory");
    }
    self->host = host;
    wa_status status = host->tape(host, &self->tape);
    if (status == WA_OK) {
        status = host->delta(host, &self->delta);
    }
    for (uint32_t l = 0; l + 1 < host->net->layer_count && status == WA_OK; l++) {
        status = host->set_trained(host, l, false);
    }
    if (status != WA_OK) {
        destroy(self);
        return status;
    }
    *ret_self = self;
    return WA_OK;
}

/* The readout, or a layer below whose initial state is trained. */
static uint32_t lowest_trained(const wa_net *net)
{
    uint32_t lowest = 0;
    while (lowest + 1 < net->layer_count && !net->layers[lowest].trains_initial_state) {
        lowest++;
    }
    return lowest;
}

static wa_status compute_update(void *instance)
{
    struct last_layer *self = instance;
    const wa_rule_host *host = self->host;
    wa_status status = host->forward(host, host->live, self->tape);
    if (status == WA_OK) {
        status = host->output_error(host, self->tape, self->delta);
    }
    uint32_t top = host->net->layer_count - 1;
    uint32_t lowest = lowest_trained(host->net);
    for (uint32_t l = host->net->layer_count; l-- > lowest && status == WA_OK;) {
        const wa_backward down = {.struct_size = sizeof down,
                                  .layer = l,
                                  .delta = self->delta,
                                  .transport_tape = self->tape,
                                  .transport = lowest < top ? host->live : NULL,
                                  .gradient_tape = l == top ? self->tape : NULL};
        status = host->backward(host, &down);
    }
    return status;
}

static const wa_rule_ops ops = {.struct_size = sizeof ops,
                                .create = create,
                                .destroy = destroy,
                                .compute_update = compute_update};

static const wa_plugin last_layer = {
    .struct_size = sizeof last_layer,
    .kind = WA_KIND_RULE,
    .id = "last-layer",
    .version = "1.0",
    .summary = "trains the readout alone, on random features",
    .reference = "baseline of Boopathy & Fiete, ICML 2022",
    .rule = &ops,
};

static const wa_plugin *const plugins[] = {&last_layer};
WA_PLUGIN_ENTRY(plugins, 1)
