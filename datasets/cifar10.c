/* Dataset "cifar10": the binary version of CIFAR-10. A record is a label byte, then the red, green
 * and blue planes of 32 x 32 pixels; an item is [row][column][channel]. The five training batches
 * are one training part in their order; files may hold any number of records. */
#include "files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CLASSES = 10,
    SIDE = 32,
    CHANNELS = 3,
    PLANE_BYTES = SIDE * SIDE,
    ITEM_BYTES = CHANNELS * PLANE_BYTES,
    RECORD_BYTES = 1 + ITEM_BYTES,
    TRAIN_BATCHES = 5
};

static const char batches_name[] = "cifar-10-batches-bin";

static const char options[] =
    "{\"properties\": {\"dir\": {\"type\": [\"string\", \"null\"], \"default\": null,"
    " \"description\": \"folder of data_batch_1.bin to data_batch_5.bin and test_batch.bin, or of"
    " cifar-10-batches-bin; null: where data of this id is looked for\"}}}";

static void interleave_planes(const uint8_t *planes, uint8_t *ret_item)
{
    for (size_t pixel = 0; pixel < PLANE_BYTES; pixel++) {
        for (size_t channel = 0; channel < CHANNELS; channel++) {
            ret_item[pixel * CHANNELS + channel] = planes[channel * PLANE_BYTES + pixel];
        }
    }
}

static wa_status check_records(const wa_host *host, const char *path,
                               const struct wa_files_bytes *bytes)
{
    if (bytes->size == 0 || bytes->size % RECORD_BYTES != 0) {
        return host->fail(host, WA_E_DATA,
                          "%s: holds %zu bytes, expected a whole number of records of %d bytes "
                          "(30730000 in the official files); fetch the file again",
                          path, bytes->size, RECORD_BYTES);
    }
    for (size_t at = 0; at < bytes->size; at += RECORD_BYTES) {
        if (bytes->data[at] >= CLASSES) {
            return host->fail(host, WA_E_DATA, "%s: record %zu has label %u, expected 0 to %d",
                              path, at / RECORD_BYTES, (unsigned)bytes->data[at], CLASSES - 1);
        }
    }
    return WA_OK;
}

/* Makes room for `count` more items; on failure the part is as before. */
static wa_status grow_part(const wa_host *host, struct wa_files_part *part, size_t count)
{
    size_t total;
    size_t item_bytes;
    size_t label_bytes;
    if (!wa_files_add((size_t)part->count, count, &total) ||
        !wa_files_mul(total, ITEM_BYTES, &item_bytes) ||
        !wa_files_mul(total, sizeof *part->labels, &label_bytes)) {
        return wa_files_no_memory(host, SIZE_MAX, "the images");
    }
    void *block = realloc(part->block, item_bytes);
    if (!block) {
        return wa_files_no_memory(host, item_bytes, "the images");
    }
    part->block = block;
    part->items = block;
    uint32_t *labels = realloc(part->labels, label_bytes);
    if (!labels) {
        return wa_files_no_memory(host, label_bytes, "the labels");
    }
    part->labels = labels;
    return WA_OK;
}

static wa_status append_records(const wa_host *host, const char *path,
                                const struct wa_files_bytes *bytes, struct wa_files_part *part)
{
    wa_status status = check_records(host, path, bytes);
    if (status != WA_OK) {
        return status;
    }
    size_t count = bytes->size / RECORD_BYTES;
    status = grow_part(host, part, count);
    if (status != WA_OK) {
        return status;
    }
    uint8_t *items = (uint8_t *)part->block + (size_t)part->count * ITEM_BYTES;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *record = bytes->data + i * RECORD_BYTES;
        part->labels[part->count + i] = record[0];
        interleave_planes(record + 1, items + i * ITEM_BYTES);
    }
    part->count += count;
    return WA_OK;
}

/* Appends the file's records to the part; a file that is not required may be missing. */
static wa_status append_file(const wa_host *host, const char *dir, const char *name,
                             bool is_required, struct wa_files_part *part)
{
    char *path;
    wa_status status = wa_files_join(host, dir, name, "", &path);
    if (status != WA_OK) {
        return status;
    }
    if (is_required || wa_files_exists(path)) {
        struct wa_files_bytes bytes;
        status = wa_files_load(host, path, &bytes);
        if (status == WA_OK) {
            status = append_records(host, path, &bytes, part);
            free(bytes.data);
        }
    }
    free(path);
    return status;
}

static wa_status open_batches(struct wa_files_set *set, const char *dir)
{
    for (int i = 1; i <= TRAIN_BATCHES; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "data_batch_%d.bin", i);
        wa_status status = append_file(set->host, dir, name, true, &set->train);
        if (status != WA_OK) {
            return status;
        }
    }
    return append_file(set->host, dir, "test_batch.bin", false, &set->test);
}

/* Whether `dir` holds the first batch. */
static wa_status look_into(const wa_host *host, const char *dir, bool *ret_holds_data)
{
    char *path;
    wa_status status = wa_files_join(host, dir, "data_batch_1.bin", "", &path);
    if (status == WA_OK) {
        *ret_holds_data = wa_files_exists(path);
        free(path);
    }
    return status;
}

static wa_status open_set(struct wa_files_set *set, const char *dir)
{
    const wa_host *host = set->host;
    bool holds_data;
    wa_status status = look_into(host, dir, &holds_data);
    if (status != WA_OK) {
        return status;
    }
    if (holds_data) {
        return open_batches(set, dir);
    }
    char *inner;
    status = wa_files_join(host, dir, batches_name, "", &inner);
    if (status != WA_OK) {
        return status;
    }
    status = look_into(host, inner, &holds_data);
    if (status == WA_OK && !holds_data) {
        status =
            host->fail(host, WA_E_DATA,
                       "%s/data_batch_1.bin: no such file, nor in %s below; set \"dir\" to the "
                       "folder of the binary version of CIFAR-10",
                       dir, batches_name);
    } else if (status == WA_OK) {
        status = open_batches(set, inner);
    }
    free(inner);
    return status;
}

static wa_status cifar10_open(const wa_dataset_host *host, void **ret_self,
                              wa_dataset_info *ret_info)
{
    const char *dir;
    wa_status status = host->data_dir(host, &dir);
    if (status != WA_OK) {
        return status;
    }
    struct wa_files_set *set = wa_files_create_set(host->base);
    if (!set) {
        return WA_E_MEMORY;
    }
    set->item_bytes = ITEM_BYTES;
    status = open_set(set, dir);
    if (status != WA_OK) {
        wa_files_close_set(set);
        return status;
    }
    ret_info->height = SIDE;
    ret_info->width = SIDE;
    ret_info->channels = CHANNELS;
    ret_info->classes = CLASSES;
    ret_info->target_values = 0;
    ret_info->element = WA_ELEMENT_U8;
    ret_info->target = WA_TARGET_CLASS;
    ret_info->target_offset = 0.1F;
    ret_info->trains_smaller_last_batch = false;
    ret_info->train_items = set->train.count;
    ret_info->validation_items = 0;
    ret_info->test_items = set->test.count;
    *ret_self = set;
    return WA_OK;
}

static const wa_download downloads[] = {
    {.struct_size = sizeof downloads[0],
     .address = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
     .size_bytes = 170052171,
     .sha256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
     .unpacks_to = "cifar-10-batches-bin"},
};

/* The files may lie in the folder itself. */
static const char *const substitutes[] = {"data_batch_1.bin"};

static const wa_dataset_ops ops = {
    .struct_size = sizeof ops,
    .default_validation = 5000,
    .open = cifar10_open,
    .close = wa_files_close_set,
    .read = wa_files_read_item,
    .downloads = downloads,
    .download_count = sizeof downloads / sizeof *downloads,
    .download_substitutes = substitutes,
};

static const wa_plugin cifar10 = {
    .struct_size = sizeof cifar10,
    .kind = WA_KIND_DATASET,
    .id = "cifar10",
    .version = "1.0.0",
    .summary = "photographs of 32 x 32 pixels, 10 classes, from the binary version's files",
    .reference = "Krizhevsky, Learning multiple layers of features from tiny images, 2009",
    .options = options,
    .dataset = &ops,
};

static const wa_plugin *const plugins[] = {&cifar10};
WA_PLUGIN_ENTRY(plugins, 1)
