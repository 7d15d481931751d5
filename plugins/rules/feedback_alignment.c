/* Rule "fa", feedback alignment: the error goes down through random weights B, of the shapes and
 * scaling of the live ones and fixed at the start; all else is live. B_l is drawn right after W_l. */
#include <stdlib.h>

#include "walign/plugin.h"

struct feedback_alignment {
    const wa_rule_host *host;
    wa_weights *feedback;
    wa_tape *tape;
    wa_delta *delta;
};

static void destroy(void *self)
{
    free(self);
}

static wa_status create(const wa_rule_host *host, void **ret_self)
{
    struct feedback_alignment *self = calloc(1, sizeof *self);
    if (!self) {
        return host->base->fail(host->base, WA_E_MEMORY, "out of memory");
    }
    self->host = host;
    wa_status status = host->feedback_weights(host, &self->feedback);
    if (status == WA_OK) {
        status = host->tape(host, &self->tape);
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
    struct feedback_alignment *self = instance;
    return self->host->draw_normal(self->host, self->feedback, layer);
}

static wa_status compute_update(void *instance)
{
    struct feedback_alignment *self = instance;
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
                                  .transport = self->feedback,
                                  .gradient_tape = self->tape};
        status = host->backward(host, &down);
    }
    return status;
}

static const wa_rule_ops ops = {.struct_size = sizeof ops,
                                .needs = WA_SERVICE_TRANSPORT_WEIGHTS,
                                .create = create,
                                .destroy = destroy,
                                .compute_update = compute_update,
                                .draw_layer = draw_layer};

static const wa_plugin fa = {
    .struct_size = sizeof fa,
    .kind = WA_KIND_RULE,
    .id = "fa",
    .version = "1.0",
    .summary = "feedback alignment: the error goes back through fixed random weights",
    .reference = "Lillicrap et al., Nature Communications 7:13276, 2016",
    .rule = &ops,
};

static const wa_plugin *const plugins[] = {&fa};
WA_PLUGIN_ENTRY(plugins, 1)
