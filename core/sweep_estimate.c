/* Work and memory of a run, from the layers that its architecture describes. */
#include "sweep_estimate.h"

#include <stdlib.h>
#include <string.h>

#include "model.h"

/* Besides buffers: program, driver and compiled kernels. */
static const uint64_t process_bytes = (uint64_t)160 << 20;

/* Activities of the live and the frozen net, with their inputs, errors and transformed copies; sets
 * of weights with gradients, arranged copies and the optimizer's state. On the safe side of
 * peak_device_bytes (run.json): rules with one net take about half of this. */
enum { ACTIVITY_COPIES = 5, WEIGHT_COPIES = 8 };

struct wa_sweep_data {
    char *section; /* the config's "dataset" and batch, canonical */
    bool is_open;
    struct wa_error reason; /* why it is not */
    wa_dataset_info info;
    uint64_t train_items, resident_bytes;
};

/* ---- Data ----------------------------------------------------------------------------------- */

static char *data_key(const struct wa_config *config)
{
    struct json_object *pair = json_object_new_array();
    if (!pair) {
        return NULL;
    }
    (void)json_object_array_add(pair, json_object_get(wa_config_get(config, "dataset")));
    (void)json_object_array_add(pair, json_object_get(wa_config_get(config, "batch")));
    char *text = wa_config_canonical_value(pair);
    json_object_put(pair);
    return text;
}

static void look_at_data(struct wa_sweep_data *data, const struct wa_setup *setup)
{
    struct wa_batches batches = {0};
    if (wa_batches_open(&batches, setup->config, setup->plugins[WA_SECTION_DATASET],
                        setup->options[WA_SECTION_DATASET], &data->reason) == WA_OK) {
        const wa_dataset_info *info = &batches.info;
        data->is_open = true;
        data->info = *info;
        data->train_items = batches.train_items;
        data->resident_bytes =
            info->reads_on_demand
                ? 0
                : (info->train_items + info->validation_items + info->test_items) *
                      batches.item_bytes;
    }
    wa_batches_close(&batches);
}

static wa_status find_data(struct wa_sweep_estimator *estimator, const struct wa_setup *setup,
                           const struct wa_sweep_data **ret_data, struct wa_error *err)
{
    char *key = data_key(setup->config);
    struct wa_sweep_data *more = NULL;
    if (!key) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < estimator->count; i++) {
        if (strcmp(estimator->items[i].section, key) == 0) {
            free(key);
            *ret_data = &estimator->items[i];
            return WA_OK;
        }
    }
    more = realloc(estimator->items, (estimator->count + 1) * sizeof *more);
    if (!more) {
        free(key);
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    estimator->items = more;
    struct wa_sweep_data *data = &more[estimator->count++];
    *data = (struct wa_sweep_data){.section = key};
    look_at_data(data, setup);
    *ret_data = data;
    return WA_OK;
}

wa_status wa_sweep_estimator_check_data(const struct wa_sweep_estimator *estimator,
                                        struct wa_error *err)
{
    for (size_t i = 0; i < estimator->count; i++) {
        if (estimator->items[i].is_open) {
            return WA_OK;
        }
    }
    if (estimator->count == 0) {
        return WA_OK;
    }
    *err = estimator->items[0].reason;
    return err->status;
}

void wa_sweep_estimator_finish(struct wa_sweep_estimator *estimator)
{
    for (size_t i = 0; i < estimator->count; i++) {
        free(estimator->items[i].section);
    }
    free(estimator->items);
    *estimator = (struct wa_sweep_estimator){0};
}

/* ---- Layers --------------------------------------------------------------------------------- */

struct sketch {
    wa_architecture_host table;
    struct wa_model_builder builder;
    struct wa_error *err;
};

static wa_status add_layer(const wa_architecture_host *host, const wa_layer *layer)
{
    /* the table is the first member */
    struct sketch *sketch = (struct sketch *)(uintptr_t)host;
    return wa_model_builder_add(&sketch->builder, layer, sketch->err);
}

static void set_services(const wa_architecture_host *host, uint64_t services)
{
    ((struct sketch *)(uintptr_t)host)->builder.services = services;
}

/* Has the architecture describe its layers. False if it refuses. */
static bool draw_sketch(struct sketch *sketch, const struct wa_setup *setup,
                        const wa_dataset_info *info)
{
    const struct wa_plugin_record *record = setup->plugins[WA_SECTION_ARCHITECTURE];
    struct wa_error reason = {0};
    struct wa_plugin_host plugin = {0};
    if (wa_plugin_host_init(&plugin, record, setup->options[WA_SECTION_ARCHITECTURE],
                            setup->config->folder, &reason) != WA_OK) {
        return false;
    }
    sketch->err = &reason;
    sketch->builder.channels = (int)info->channels;
    sketch->builder.rows = (int)info->height;
    sketch->builder.columns = (int)info->width;
    sketch->builder.classes = (int)info->classes;
    sketch->table = (wa_architecture_host){.struct_size = sizeof sketch->table,
                                           .base = &plugin.host,
                                           .in_channels = info->channels,
                                           .in_height = info->height,
                                           .in_width = info->width,
                                           .classes = info->classes,
                                           .add_layer = add_layer,
                                           .set_services = set_services};
    wa_status status =
        wa_plugin_host_check(&plugin, "build", record->plugin.architecture->build(&sketch->table));
    wa_plugin_host_finish(&plugin);
    return status == WA_OK;
}

/* What a run with a second rule on the same batches does beside its own: see session_follow.c. */
static double follower_count(const struct wa_config *config)
{
    return (wa_config_get_boolean(config, "alignment_pair") ? 1.0 : 0.0) +
           (wa_config_get_boolean(config, "log_angles") ? 1.0 : 0.0);
}

/* Weights by which an output is made. A recurrent layer reads its own outputs of the step before, and
 * its rows are the steps. */
static double fan_in(const struct wa_layer *layer)
{
    double inputs = (double)layer->kernel * layer->kernel * layer->in_channels;
    return layer->kind == WA_LAYER_RECURRENT ? inputs + layer->out_channels : inputs;
}

static struct wa_sweep_cost add_up(const struct sketch *sketch, const struct wa_config *config,
                                   const struct wa_sweep_data *data)
{
    double batch = (double)wa_config_get_integer(config, "batch");
    double nets = 1 + follower_count(config);
    double multiplications = 0;
    double activities = 0;
    double weights = 0;
    for (uint32_t i = 0; i < sketch->builder.layer_count; i++) {
        const struct wa_layer *l = &sketch->builder.layers[i];
        double places = (double)l->out_height * l->out_width;
        multiplications += fan_in(l) * l->out_channels * places;
        activities +=
            places * l->out_channels + (double)l->in_height * l->in_width * l->in_channels;
        weights += fan_in(l) * l->out_channels;
        weights += l->trains_initial_state ? batch * l->out_channels : 0;
    }
    double items = (double)data->train_items * (double)wa_config_get_integer(config, "epochs");
    double limit = (double)wa_config_get_integer(config, "steps") * batch;
    items = limit > 0 && limit < items ? limit : items;
    double lanes = wa_model_lanes((int)batch);
    double bytes =
        sizeof(float) * nets * (ACTIVITY_COPIES * activities * lanes + WEIGHT_COPIES * weights);
    return (struct wa_sweep_cost){.work = 6 * nets * multiplications *
                                          items, /* forward, and both halves of the way back */
                                  .bytes = (uint64_t)bytes + data->resident_bytes + process_bytes};
}

wa_status wa_sweep_estimate(struct wa_sweep_estimator *estimator, const struct wa_setup *setup,
                            struct wa_sweep_cost *ret_cost, struct wa_error *err)
{
    const struct wa_sweep_data *data = NULL;
    struct wa_sweep_cost cost = {0};
    wa_status status = find_data(estimator, setup, &data, err);
    struct sketch *sketch = status == WA_OK ? calloc(1, sizeof *sketch) : NULL;
    if (!sketch) {
        return status != WA_OK ? status : wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    if (data->is_open && draw_sketch(sketch, setup, &data->info)) {
        cost = add_up(sketch, setup->config, data);
    }
    free(sketch);
    *ret_cost = cost;
    return WA_OK;
}
