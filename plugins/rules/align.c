/* Rules "align-zero", "align-ada" and "align-prop" of Boopathy & Fiete, ICML 2022 (arXiv 2106.08453).
 * All carry the error through the weights at initialisation W(0). They differ in the pass that gives
 * the slopes of that transport, and in the one that gives the weight gradient its inputs:
 *
 *              slopes of the transport   weight gradient
 *   align-prop live                      live
 *   align-ada  frozen                    live
 *   align-zero frozen                    frozen
 *
 * The frozen net is W(0) with zero biases, run on the same batch; the output error is the live net's.
 */
#include <stdlib.h>

#include "walign/plugin.h"

struct align {
    const wa_rule_host *host;
    wa_weights *frozen;
    wa_tape *live_tape, *frozen_tape; /* frozen_tape NULL: no frozen pass */
    const wa_tape *transport_tape, *gradient_tape;
    wa_delta *delta;
};

static void destroy(void *self)
{
    free(self);
}

static wa_status create(const wa_rule_host *host, bool transport_is_frozen, bool gradient_is_frozen,
                        void **ret_self)
{
    struct align *self = calloc(1, sizeof *self);
    if (!self) {
        return host->base->fail(host->base, WA_E_MEMORY, "out of memory");
    }
    self->host = host;
    wa_status status = host->frozen_weights(host, &self->frozen);
    if (status == WA_OK) {
        status = host->tape(host, &self->live_tape);
    }
    if (status == WA_OK && transport_is_frozen) {
        status = host->tape(host, &self->frozen_tape);
    }
    if (status == WA_OK) {
        status = host->delta(host, &self->delta);
    }
    if (status != WA_OK) {
        destroy(self);
        return status;
    }
    self->transport_tape = transport_is_frozen ? self->frozen_tape : self->live_tape;
    self->gradient_tape = gradient_is_frozen ? self->frozen_tape : self->live_tape;
    *ret_self = self;
    return WA_OK;
}

static wa_status create_zero(const wa_rule_host *host, void **ret_self)
{
    return create(host, true, true, ret_self);
}

static wa_status create_ada(const wa_rule_host *host, void **ret_self)
{
    return create(host, true, false, ret_self);
}

static wa_status create_prop(const wa_rule_host *host, void **ret_self)
{
    return create(host, false, false, ret_self);
}

static wa_status compute_update(void *instance)
{
    struct align *self = instance;
    const wa_rule_host *host = self->host;
    wa_status status = host->forward(host, host->live, self->live_tape);
    if (status == WA_OK && self->frozen_tape) {
        status = host->forward(host, self->frozen, self->frozen_tape);
    }
    if (status == WA_OK) {
        status = host->output_error(host, self->live_tape, self->delta);
    }
    for (uint32_t l = host->net->layer_count; l-- > 0 && status == WA_OK;) {
        const wa_backward down = {.struct_size = sizeof down,
                                  .layer = l,
                                  .delta = self->delta,
                                  .transport_tape = self->transport_tape,
                                  .transport = self->frozen,
                                  .gradient_tape = self->gradient_tape};
        status = host->backward(host, &down);
    }
    return status;
}

static const wa_rule_ops zero_ops = {.struct_size = sizeof zero_ops,
                                     .create = create_zero,
                                     .destroy = destroy,
                                     .compute_update = compute_update};

static const wa_rule_ops ada_ops = {.struct_size = sizeof ada_ops,
                                    .needs = WA_SERVICE_TWO_TAPES,
                                    .create = create_ada,
                                    .destroy = destroy,
                                    .compute_update = compute_update};

static const wa_rule_ops prop_ops = {.struct_size = sizeof prop_ops,
                                     .needs = WA_SERVICE_TRANSPORT_WEIGHTS,
                                     .create = create_prop,
                                     .destroy = destroy,
                                     .compute_update = compute_update};

static const wa_plugin align_zero = {
    .struct_size = sizeof align_zero,
    .kind = WA_KIND_RULE,
    .id = "align-zero",
    .version = "1.0",
    .roles = WA_ROLE_FROZEN_GRADIENT,
    .summary = "gradient of the frozen initial net, driven by the live net's error",
    .reference = "Boopathy & Fiete, ICML 2022, arXiv 2106.08453, section 3",
    .rule = &zero_ops,
};

static const wa_plugin align_ada = {
    .struct_size = sizeof align_ada,
    .kind = WA_KIND_RULE,
    .id = "align-ada",
    .version = "1.0",
    .summary = "error through the frozen initial net, live inputs for the weight gradient",
    .reference = "Boopathy & Fiete, ICML 2022, arXiv 2106.08453, section 3",
    .rule = &ada_ops,
};

static const wa_plugin align_prop = {
    .struct_size = sizeof align_prop,
    .kind = WA_KIND_RULE,
    .id = "align-prop",
    .version = "1.0",
    .summary = "error through the initial weights, all else live",
    .reference = "Boopathy & Fiete, ICML 2022, arXiv 2106.08453, section 3",
    .rule = &prop_ops,
};

static const wa_plugin *const plugins[] = {&align_zero, &align_ada, &align_prop};
WA_PLUGIN_ENTRY(plugins, 3)
