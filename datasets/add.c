/* Dataset "add", the Add task (Boopathy & Fiete, ICML 2022): random bits x over 100 steps, and at each
 * step the target y_t = .5 + .5 x_{t-2} - .25 x_{t-5}. 300 sequences to train, 100 to test.
 *
 * As published ("published"), the shifted copies of x wrap round in time, and what is set to 0 in them
 * are the first 2 (first 5) sequences, not the first steps. "corrected" has zeros before the start of
 * each sequence and no wrapping. */
#include <stdlib.h>
#include <string.h>

#include "walign/plugin.h"

enum { SEQUENCES = 400, TRAINING = 300, STEPS = 100, NEAR = 2, FAR = 5 };

static const char options[] =
    "{\"properties\": {"
    "\"seed\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 4294967295, \"default\": 99,"
    " \"description\": \"seed of the sequences\"},"
    "\"variant\": {\"type\": \"string\", \"enum\": [\"published\", \"corrected\"],"
    " \"default\": \"published\", \"description\": \"published: shifts wrap round in time and the first"
    " sequences lack them; corrected: zeros before the first step\"}}}";

struct add {
    float inputs[SEQUENCES][STEPS], targets[SEQUENCES][STEPS];
};

/* x shifted by `shift` steps, at one place. */
static float shifted(const struct add *self, bool is_corrected, int sequence, int step, int shift)
{
    bool is_zero = is_corrected ? step < shift : sequence < shift;
    return is_zero ? 0.0F : self->inputs[sequence][(step - shift + STEPS) % STEPS];
}

static void add_close(void *self)
{
    free(self);
}

static wa_status add_open(const wa_dataset_host *host, void **ret_self, wa_dataset_info *ret_info)
{
    const wa_host *base = host->base;
    struct add *self = calloc(1, sizeof *self);
    double *uniform = calloc((size_t)SEQUENCES * STEPS, sizeof *uniform);
    if (!self || !uniform) {
        free(self);
        free(uniform);
        return base->fail(base, WA_E_MEMORY, "out of memory for the sequences");
    }
    bool is_corrected = strcmp(base->option_string(base, "variant"), "corrected") == 0;
    host->draw_uniform(host, (uint32_t)base->option_integer(base, "seed"), uniform,
                       (size_t)SEQUENCES * STEPS);
    for (int i = 0; i < SEQUENCES; i++) {
        for (int t = 0; t < STEPS; t++) {
            self->inputs[i][t] = uniform[i * STEPS + t] > 0.5 ? 1.0F : 0.0F;
        }
        for (int t = 0; t < STEPS; t++) {
            self->targets[i][t] = 0.5F + 0.5F * shifted(self, is_corrected, i, t, NEAR) -
                                  0.25F * shifted(self, is_corrected, i, t, FAR);
        }
    }
    free(uniform);
    ret_info->height = STEPS;
    ret_info->width = 1;
    ret_info->channels = 1;
    ret_info->classes = 1;
    ret_info->target_values = STEPS;
    ret_info->element = WA_ELEMENT_F32;
    ret_info->target = WA_TARGET_VALUES;
    ret_info->target_offset = 0;
    ret_info->trains_smaller_last_batch = false;
    ret_info->train_items = TRAINING;
    ret_info->validation_items = 0;
    ret_info->test_items = SEQUENCES - TRAINING;
    ret_info->shuffles_evaluation = true;
    ret_info->has_chance_output = true;
    ret_info->chance_output = 0.5F;
    *ret_self = self;
    return WA_OK;
}

static wa_status add_read(void *instance, const wa_read *read)
{
    const struct add *self = instance;
    uint64_t i = read->index + (read->part == WA_PART_TEST ? TRAINING : 0);
    memcpy(read->ret_item, self->inputs[i], sizeof self->inputs[i]);
    memcpy(read->ret_target, self->targets[i], sizeof self->targets[i]);
    return WA_OK;
}

static const wa_dataset_ops ops = {.struct_size = sizeof ops,
                                   .default_validation = 0,
                                   .open = add_open,
                                   .close = add_close,
                                   .read = add_read};

static const wa_plugin add = {
    .struct_size = sizeof add,
    .kind = WA_KIND_DATASET,
    .id = "add",
    .version = "1.0.0",
    .summary = "the Add task: sums of the input two and five steps ago; needs no file",
    .reference = "Boopathy & Fiete, ICML 2022, arXiv 2106.08453",
    .options = options,
    .dataset = &ops,
};

static const wa_plugin *const plugins[] = {&add};
WA_PLUGIN_ENTRY(plugins, 1)
