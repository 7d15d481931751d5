/* An open dataset, its splits and the order of its batches. */
#include "batches.h"

#include <stdlib.h>

static wa_status data_dir(const wa_dataset_host *host, const char **ret_dir)
{
    /* the base host's context is the plugin host that it is part of */
    return wa_plugin_host_data_dir(host->base->context, ret_dir);
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
        return wa_fail(err, WA_E_PLUGIN,
                       "dataset '%s' opened with items of %u x %u x %u, %u classes and element kind "
                       "%d",
                       id, i->height, i->width, i->channels, i->classes, (int)i->element);
    }
    if (i->target != WA_TARGET_CLASS || i->trains_smaller_last_batch) {
        return wa_fail(err, WA_E_UNSUPPORTED,
                       "dataset '%s' has targets or a last batch that this version cannot train with",
                       id);
    }
    uint64_t most = i->train_items > i->test_items ? i->train_items : i->test_items;
    if (most > UINT32_MAX || i->validation_items > UINT32_MAX) {
        return wa_fail(err, WA_E_UNSUPPORTED, "dataset '%s' has more than 2^32 items in a part", id);
    }
    return WA_OK;
}

static wa_status cut_splits(struct wa_batches *b, const struct wa_config *config, struct wa_error *err)
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
        return wa_config_fail(config, "dataset.validation", err,
                              "%llu items are to be held out of %llu: expected fewer, so that some are "
                              "left to train on",
                              (unsigned long long)held_out, (unsigned long long)info->train_items);
    }
    b->train_first = held_out;
    b->train_items = limited(config, "dataset.train_limit", info->train_items - held_out);
    b->validation_items = limited(config, "dataset.validation_limit", b->validation_items);
    if (b->train_items < (uint64_t)b->batch) {
        return wa_config_fail(config, "batch", err,
                              "a batch of %d is larger than the training set of %llu items: expected at "
                              "most %llu",
                              b->batch, (unsigned long long)b->train_items,
                              (unsigned long long)b->train_items);
    }
    return WA_OK;
}

static wa_status make_orders(struct wa_batches *b, struct wa_error *err)
{
    b->train_order = calloc(b->train_items, sizeof *b->train_order);
    b->validation_order = calloc(b->validation_items + 1, sizeof *b->validation_order);
    if (!b->train_order || !b->validation_order) {
        return wa_fail(err, WA_E_MEMORY, "out of memory for the order of %llu items",
                       (unsigned long long)b->train_items);
    }
    for (uint32_t i = 0; i < b->train_items; i++) {
        b->train_order[i] = i;
    }
    for (uint32_t i = 0; i < b->validation_items; i++) {
        b->validation_order[i] = i;
    }
    return WA_OK;
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
    b->table = (wa_dataset_host){
        .struct_size = sizeof b->table, .base = &b->plugin.host, .data_dir = data_dir};
    status = wa_plugin_host_check(&b->plugin, "open", b->ops->open(&b->table, &b->dataset, &b->info));
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
    return set_items(batches, set) / (uint64_t)batches->batch;
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
        read->index = i;
        break;
    case WA_SET_TRAIN_EVALUATION:
        read->part = WA_PART_TRAIN;
        read->index = b->train_first + i;
        break;
    }
}

wa_status wa_batches_read(struct wa_batches *batches, enum wa_set set, uint64_t index,
                          void *ret_items, uint32_t *ret_labels, struct wa_error *err)
{
    struct wa_batches *b = batches;
    wa_plugin_host_set_error(&b->plugin, err);
    wa_status status = WA_OK;
    for (int n = 0; n < b->batch && status == WA_OK; n++) {
        wa_read read = {.struct_size = sizeof read,
                        .seed = b->seed,
                        .ret_item = (char *)ret_items + (size_t)n * b->item_bytes,
                        .ret_target = &ret_labels[n]};
        locate(b, set, index * (uint64_t)b->batch + (uint64_t)n, &read);
        status = wa_plugin_host_check(&b->plugin, "read", b->ops->read(b->dataset, &read));
        if (status == WA_OK && ret_labels[n] >= b->info.classes) {
            status = wa_fail(err, WA_E_PLUGIN, "dataset gave label %u for item %llu, expected below %u",
                             ret_labels[n], (unsigned long long)read.index, b->info.classes);
        }
    }
    return status;
}
