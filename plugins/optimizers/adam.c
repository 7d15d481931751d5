/* Optimizer "adam" in the form of TensorFlow 1: lr_t = lr sqrt(1 - b2^t)/(1 - b1^t),
 * w -= lr_t m/(sqrt(v) + epsilon) (Kingma & Ba, ICLR 2015, the note before section 2.1). */
#include <math.h>
#include <stdlib.h>

#include "walign/plugin.h"

struct adam {
    const wa_optimizer_host *host;
    double learning_rate, beta1, beta2, epsilon;
};

static void destroy(void *self)
{
    free(self);
}

static wa_status create(const wa_optimizer_host *host, void **ret_self)
{
    static const char *const states[] = {"m", "v"};
    static const char *const scalars[] = {"rate", "beta1", "rest1", "beta2", "rest2", "epsilon"};
    static const wa_update update = {
        .struct_size = sizeof update,
        .statement = "m = beta1 * m + rest1 * g; v = beta2 * v + rest2 * g * g; "
                     "w -= rate * m / (sqrt(v) + epsilon);",
        .state_count = 2,
        .state_names = states,
        .scalar_count = 6,
        .scalar_names = scalars};
    struct adam *self = calloc(1, sizeof *self);
    if (!self) {
        return host->base->fail(host->base, WA_E_MEMORY, "out of memory");
    }
    const wa_host *base = host->base;
    *self = (struct adam){.host = host,
                          .learning_rate = base->option_number(base, "learning_rate"),
                          .beta1 = base->option_number(base, "beta1"),
                          .beta2 = base->option_number(base, "beta2"),
                          .epsilon = base->option_number(base, "epsilon")};
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
    struct adam *self = instance;
    double t = (double)step;
    double rate =
        self->learning_rate * sqrt(1.0 - pow(self->beta2, t)) / (1.0 - pow(self->beta1, t));
    const float scalars[] = {(float)rate,         (float)self->beta1,         (float)(1.0 - self->beta1),
                             (float)self->beta2, (float)(1.0 - self->beta2), (float)self->epsilon};
    return self->host->update(self->host, scalars);
}

static const wa_optimizer_ops ops = {
    .struct_size = sizeof ops, .create = create, .destroy = destroy, .apply = apply};

static const wa_plugin adam = {
    .struct_size = sizeof adam,
    .kind = WA_KIND_OPTIMIZER,
    .id = "adam",
    .version = "1.0",
    .summary = "Adam, in TensorFlow 1's form",
    .reference = "Kingma & Ba, ICLR 2015, arXiv 1412.6980",
    .options = "{\"properties\": {"
               "\"learning_rate\": {\"type\": \"number\", \"minimum\": 0, \"default\": 0.001}, "
               "\"beta1\": {\"type\": \"number\", \"minimum\": 0, \"maximum\": 0.9999999, "
               "\"default\": 0.9}, "
               "\"beta2\": {\"type\": \"number\", \"minimum\": 0, \"maximum\": 0.9999999, "
               "\"default\": 0.999}, "
               "\"epsilon\": {\"type\": \"number\", \"minimum\": 0, \"default\": 1e-8}}}",
    .optimizer = &ops,
};

static const wa_plugin *const plugins[] = {&adam};
WA_PLUGIN_ENTRY(plugins, 1)
