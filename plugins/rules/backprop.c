/* Rule "backprop": the exact gradient. Live weights carry the error, the live pass gives slopes and
 * inputs. Role exact_gradient: what other rules' updates are compared with. */
#include <stdlib.h>

#include "walign/plugin.h"

struct backprop {
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
    struct backprop *self = calloc(1, sizeof *self);
    if (!self) {
        return host->base->fail(host->base, WA_E_MEMORY, "out of memory");
    }
    self->host = host;
    wa_status status = host->tape(host, &self->tape);
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

static wa_status compute_update(void *instance)
{
    struct backprop *self = instance;
    const wa_rule_host *host = self->host;
    wa_status status = host->forward(host, host->live, self->tape);
    if (status == WA_OK) {
        status = host->output_error(host, self->tape, self->delta);
    }
    for (uint32_t l = host->net->layer_count; l-- > 0 && status == WA_OK;) {
        const wa_backward down = {.struct_size = sizeof down,
                                  .layer = l,
                                  .delta = self->delta,
                                  .transport_tape = self->tape,
                                  .transport = host->live,
                                  .gradient_tape = self->tape};
        status = host->backward(host, &down);
    }
    return status;
}

static const wa_rule_ops ops = {.struct_size = sizeof ops,
                                .create = create,
                                .destroy = destroy,
                                .compute_update = compute_update};

static const wa_plugin backprop = {
    .struct_size = sizeof backprop,
    .kind = WA_KIND_RULE,
    .id = "backprop",
    .version = "1.0",
    .roles = WA_ROLE_EXACT_GRADIENT,
    .summary = "gradient descent: the error goes back through the live weights",
    .reference = "Rumelhart, Hinton & Williams, Nature 323, 1986",
    .rule = &ops,
};

static const wa_plugin *const plugins[] = {&backprop};
WA_PLUGIN_ENTRY(plugins, 1)
