/* An open dataset, its splits and the order of its batches. */
#include "batches.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static wa_status data_dir(const wa_dataset_host *host, const char **ret_dir)
{
    /* the base host's context is the plugin host that it is part of */
    return wa_plugin_host_data_dir(host->base->context, ret_dir);
}

static void draw_uniform(const wa_dataset_host *host, uint32_t seed, double *ret_values,
                         size_t count)
{
    (void)host;
    struct wa_rng rng;
    wa_rng_seed(&rng, seed);
    for (size_t i = 0; i < count; i++) {
        ret_values[i] = wa_rng_double(&rng);
    }
}

static uint64_t limited(const struct wa_config *config, const char *path, uint64_t items)
{
    if (!wa_config_is_given(config, path)) {
        return items;
    }
    uint64_t limit = (uint64_t)wa_config_get_integer(config, path);
    return limit < items ? limit : items;
}

static wa_status check_info(const struct wa_batches *b, const struct wa_plugin_record *record,
                            struct wa_error *err)
{
    const wa_dataset_info *i = &b->info;
    const char *id = record->plugin.id;
    if (i->height < 1 || i->width < 1 || i->channels < 1 || i->classes < 1 ||
        (i->element != WA_ELEMENT_U8 && i->element != WA_ELEMENT_F32)) {
        return wa_fail(
            err, WA_E_PLUGIN,
            "dataset '%s' opened with items of %u x %u x %u, %u classes and element kind "
            "%d",
            id, i->height, i->width, i->channels, i->classes, (int)i->element);
    }
    if ((i->target != WA_TARGET_CLASS && i->target != WA_TARGET_VALUES) ||
        (i->target == WA_TARGET_VALUES && i->target_values < 1)) {
        return wa_fail(err, WA_E_PLUGIN, "dataset '%s' opened with targets of kind %d, %u values",
                       id, (int)i->target, i->target_values);
    }

    uint64_t most = i->train_items > i->test_items ? i->train_items : i->test_items;
    if (most > UINT32_MAX || i->validation_items > UINT32_MAX) {
        return wa_fail(err, WA_E_UNSUPPORTED, "dataset '%s' has more than 2^32 items in a part",
                       id);
    }
    return WA_OK;
}

static wa_status cut_splits(struct wa_batches *b, const struct wa_config *config,
                            struct wa_error *err)
{
    const wa_dataset_info *info = &b->info;
    uint64_t held_out = b->ops->default_validation;
    if (wa_config_is_given(config, "dataset.validation")) {
        held_out = (uint64_t)wa_config_get_integer(config, "dataset.validation");
    }
    b->test_items = info->test_items;
    if (info->validation_items > 0) {
        b->validation_part = WA_PART_VALIDATION;
        b->validation_items = info->validation_items;
        held_out = 0;
    } else {
        b->validation_part = WA_PART_TRAIN;
        b->validation_items = held_out;
    }
    if (held_out >= info->train_items) {
        return wa_config_fail(
            config, "dataset.validation", err,
            "%llu items are to be held out of %llu: expected fewer, so that some are "
            "left to train on",
            (unsigned long long)held_out, (unsigned long long)info->train_items);
    }
    b->train_first = held_out;
    b->train_items = limited(config, "dataset.train_limit", info->train_items - held_out);
    b->validation_items = limited(config, "dataset.validation_limit", b->validation_items);
    if (b->train_items < (uint64_t)b->batch && !info->trains_smaller_last_batch) {
        return wa_config_fail(
            config, "batch", err,
            "a batch of %d is larger than the training set of %llu items: expected at "
            "most %llu",
            b->batch, (unsigned long long)b->train_items, (unsigned long long)b->train_items);
    }
    return WA_OK;
}

/* The numbers below `items`; NULL when out of memory. The caller frees it. */
static uint32_t *make_order(uint64_t items)
{
    uint32_t *order = calloc(items + 1, sizeof *order);
    for (uint32_t i = 0; order && i < items; i++) {
        order[i] = i;
    }
    return order;
}

static wa_status make_orders(struct wa_batches *b, struct wa_error *err)
{
    b->train_order = make_order(b->train_items);
    b->validation_order = make_order(b->validation_items);
    bool is_made = b->train_order && b->validation_order;
    if (b->info.shuffles_evaluation) {
        b->test_order = make_order(b->test_items);
        b->train_evaluation_order = make_order(b->train_items);
        is_made = is_made && b->test_order && b->train_evaluation_order;
    }
    return is_made ? WA_OK
                   : wa_fail(err, WA_E_MEMORY, "out of memory for the order of %llu items",
                             (unsigned long long)b->train_items);
}

wa_status wa_batches_open(struct wa_batches *batches, const struct wa_config *config,
                          const struct wa_plugin_record *record, json_object *options,
                          struct wa_error *err)
{
    *batches = (struct wa_batches){0};
    struct wa_batches *b = batches;
    wa_status status = wa_plugin_host_init(&b->plugin, record, options, config->folder, err);
    if (status != WA_OK) {
        return status;
    }
    b->ops = record->plugin.dataset;
    b->batch = (int)wa_config_get_integer(config, "batch");
    b->is_shuffled = wa_config_get_boolean(config, "shuffle");
    b->seed = (uint32_t)wa_config_get_integer(config, "seed");
    b->info.struct_size = sizeof b->info;
    b->table = (wa_dataset_host){.struct_size = sizeof b->table,
                                 .base = &b->plugin.host,
                                 .data_dir = data_dir,
                                 .draw_uniform = draw_uniform};
    status =
        wa_plugin_host_check(&b->plugin, "open", b->ops->open(&b->table, &b->dataset, &b->info));
    if (status == WA_E_USAGE) { /* a wrong value */
        char place[WA_CONFIG_PLACE_BYTES];
        wa_config_place(config, "dataset", place, sizeof place);
        wa_error_prefix(err, "%s: ", place);
    }
    if (status == WA_OK) {
        status = check_info(b, record, err);
    }
    if (status == WA_OK) {
        status = cut_splits(b, config, err);
    }
    if (status == WA_OK) {
        status = make_orders(b, err);
    }
    if (status != WA_OK) {
        wa_batches_close(b);
        return status;
    }
    size_t elements = (size_t)b->info.height * b->info.width * b->info.channels;
    b->item_bytes = elements * (b->info.element == WA_ELEMENT_U8 ? 1 : sizeof(float));
    b->target_bytes = b->info.target == WA_TARGET_VALUES ? b->info.target_values * sizeof(float)
                                                         : sizeof(uint32_t);
    wa_rng_seed(&b->rng, b->seed);
    return WA_OK;
}

void wa_batches_close(struct wa_batches *batches)
{
    if (batches->dataset) {
        batches->ops->close(batches->dataset);
    }
    free(batches->train_order);
    free(batches->validation_order);
    free(batches->test_order);
    free(batches->train_evaluation_order);
    wa_plugin_host_finish(&batches->plugin);
    *batches = (struct wa_batches){0};
}

void wa_batches_begin_epoch(struct wa_batches *batches)
{
    batches->epoch++;
    if (!batches->is_shuffled) {
        return;
    }
    wa_rng_permutation(&batches->rng, batches->train_order, (uint32_t)batches->train_items);
    if (batches->validation_items > 0) {
        wa_rng_permutation(&batches->rng, batches->validation_order,
                           (uint32_t)batches->validation_items);
    }
    if (batches->info.shuffles_evaluation) {
        wa_rng_permutation(&batches->rng, batches->test_order, (uint32_t)batches->test_items);
        wa_rng_permutation(&batches->rng, batches->train_evaluation_order,
                           (uint32_t)batches->train_items);
    }
}

static uint64_t set_items(const struct wa_batches *b, enum wa_set set)
{
    switch (set) {
    case WA_SET_VALIDATION:
        return b->validation_items;
    case WA_SET_TEST:
        return b->test_items;
    default:
        return b->train_items;
    }
}

uint64_t wa_batches_count(const struct wa_batches *batches, enum wa_set set)
{
    uint64_t whole = set_items(batches, set) / (uint64_t)batches->batch;
    return whole + (wa_batches_rest(batches, set) > 0 ? 1 : 0);
}

int wa_batches_rest(const struct wa_batches *batches, enum wa_set set)
{
    return batches->info.trains_smaller_last_batch
               ? (int)(set_items(batches, set) % (uint64_t)batches->batch)
               : 0;
}

int wa_batches_size(const struct wa_batches *batches, enum wa_set set, uint64_t index)
{
    uint64_t whole = set_items(batches, set) / (uint64_t)batches->batch;
    return index < whole ? batches->batch : wa_batches_rest(batches, set);
}

/* Where item number i of a set lies: its part of the dataset and the index there. */
static void locate(const struct wa_batches *b, enum wa_set set, uint64_t i, wa_read *read)
{
    switch (set) {
    case WA_SET_TRAIN:
        read->part = WA_PART_TRAIN;
        read->index = b->train_first + b->train_order[i];
        read->epoch = b->epoch;
        break;
    case WA_SET_VALIDATION:
        read->part = b->validation_part;
        read->index = b->validation_order[i];
        break;
    case WA_SET_TEST:
        read->part = WA_PART_TEST;
        read->index = b->test_order ? b->test_order[i] : i;
        break;
    case WA_SET_TRAIN_EVALUATION:
        read->part = WA_PART_TRAIN;
        read->index =
            b->train_first + (b->train_evaluation_order ? b->train_evaluation_order[i] : i);
        break;
    }
}

static wa_status check_label(const struct wa_batches *b, const wa_read *read, struct wa_error *err)
{
    uint32_t label = 0;
    memcpy(&label, read->ret_target, sizeof label);
    return label < b->info.classes
               ? WA_OK
               : wa_fail(err, WA_E_PLUGIN, "dataset gave label %u for item %llu, expected below %u",
                         label, (unsigned long long)read->index, b->info.classes);
}

wa_status wa_batches_read_item(struct wa_batches *batches, enum wa_set set, uint64_t index,
                               int place, void *ret_item, void *ret_target, struct wa_error *err)
{
    struct wa_batches *b = batches;
    wa_read read = {.struct_size = sizeof read,
                    .seed = b->seed,
                    .ret_item = ret_item,
                    .ret_target = ret_target};
    locate(b, set, index * (uint64_t)b->batch + (uint64_t)place, &read);
    wa_status status = wa_plugin_host_check(&b->plugin, "read", b->ops->read(b->dataset, &read));
    if (status == WA_OK && b->info.target == WA_TARGET_CLASS) {
        status = check_label(b, &read, err);
    }
    return status;
}

/* Squared distance of a batch's targets from the chance output: summed over steps, averaged over the
 * batch and the outputs, as the loss is. */
static double chance_loss(const struct wa_batches *b, const float *values, int items)
{
    double sum = 0;
    size_t count = (size_t)items * b->info.target_values;
    for (size_t i = 0; i < count; i++) {
        double e = (double)b->info.chance_output - (double)values[i];
        sum += e * e;
    }
    return sum / ((double)items * b->info.classes);
}

wa_status wa_batches_chance_loss(struct wa_batches *batches, enum wa_set set, double *ret_loss,
                                 struct wa_error *err)
{
    uint64_t count = wa_batches_count(batches, set);
    void *item = malloc(batches->item_bytes);
    char *targets = malloc((size_t)batches->batch * batches->target_bytes);
    wa_status status =
        item && targets ? WA_OK : wa_fail(err, WA_E_MEMORY, "out of memory for a batch");
    double sum = 0;
    wa_plugin_host_set_error(&batches->plugin, err);
    for (uint64_t i = 0; i < count && status == WA_OK; i++) {
        int size = wa_batches_size(batches, set, i);
        for (int n = 0; n < size && status == WA_OK; n++) {
            status = wa_batches_read_item(batches, set, i, n, item,
                                          targets + (size_t)n * batches->target_bytes, err);
        }
        sum += status == WA_OK ? chance_loss(batches, (const float *)(void *)targets, size) : 0;
    }
    free(item);
    free(targets);
    if (status == WA_OK) {
        *ret_loss = count ? sum / (double)count : (double)NAN;
    }
    return status;
}
