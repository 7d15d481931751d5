/* Optimizer "sgd": w -= learning_rate g. */
#include <stdlib.h>

#include "walign/plugin.h"

struct sgd {
    const wa_optimizer_host *host;
    float learning_rate;
};

static void destroy(void *self)
{
    free(self);
}

static wa_status create(const wa_optimizer_host *host, void **ret_self)
{
    static const char *const scalars[] = {"learning_rate"};
    static const wa_update update = {.struct_size = sizeof update,
                                     .statement = "w -= learning_rate * g;",
                                     .scalar_count = 1,
                                     .scalar_names = scalars};
    struct sgd *self = calloc(1, sizeof *self);
    if (!self) {
        return host->base->fail(host->base, WA_E_MEMORY, "out of memory");
    }
    self->host = host;
    self->learning_rate = (float)host->base->option_number(host->base, "learning_rate");
    wa_status status = host->set_update(host, &update);
    if (status != WA_OK) {
        destroy(self);
        return status;
    }
    *ret_self = self;
    return WA_OK;
}

static wa_status apply(void *instance, uint64_t step)
{
    struct sgd *self = instance;
    (void)step;
    return self->host->update(self->host, &self->learning_rate);
}

static const wa_optimizer_ops ops = {
    .struct_size = sizeof ops, .create = create, .destroy = destroy, .apply = apply};

static const wa_plugin sgd = {
    .struct_size = sizeof sgd,
    .kind = WA_KIND_OPTIMIZER,
    .id = "sgd",
    .version = "1.0",
    .roles = WA_ROLE_DEFAULT,
    .summary = "stochastic gradient descent without momentum",
    .reference = "",
    .options = "{\"properties\": {\"learning_rate\": {\"type\": \"number\", \"minimum\": 0, "
               "\"default\": 1.0}}}",
    .optimizer = &ops,
};

static const wa_plugin *const plugins[] = {&sgd};
WA_PLUGIN_ENTRY(plugins, 1)
