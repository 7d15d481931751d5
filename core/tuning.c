/* Choices by shape, and the file that keeps them. */
#include "tuning.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "files.h"
#include "operations.h"
#include "sha256.h"
#include "version.h"

enum { MAX_FILE_BYTES = 1 << 22, MAX_BLOCKING = 1 << 16 };

static const char *const algorithm_names[] = {
    [WA_ALGORITHM_AUTO] = "auto",
    [WA_ALGORITHM_DIRECT] = "direct",
    [WA_ALGORITHM_WINOGRAD] = "winograd",
};
enum { ALGORITHM_COUNT = sizeof algorithm_names / sizeof *algorithm_names };

/* The members of a shape in the file. */
static const struct {
    const char *key;
    size_t offset;
} shape_members[] = {
    {"in_channels", offsetof(struct wa_tuning_shape, in_channels)},
    {"out_channels", offsetof(struct wa_tuning_shape, out_channels)},
    {"kernel", offsetof(struct wa_tuning_shape, kernel)},
    {"stride", offsetof(struct wa_tuning_shape, stride)},
    {"height", offsetof(struct wa_tuning_shape, height)},
    {"width", offsetof(struct wa_tuning_shape, width)},
    {"lanes", offsetof(struct wa_tuning_shape, lanes)},
};
enum { SHAPE_MEMBERS = sizeof shape_members / sizeof *shape_members };

static int *shape_member(struct wa_tuning_shape *shape, size_t member)
{
    return (int *)(void *)((char *)shape + shape_members[member].offset);
}

/* ---- Choices --------------------------------------------------------------------------------- */

struct wa_tuning_shape wa_tuning_shape_of(const struct wa_model_layer *layer)
{
    return (struct wa_tuning_shape){.in_channels = (int)layer->shape.in_channels,
                                    .out_channels = (int)layer->shape.out_channels,
                                    .kernel = (int)layer->shape.kernel,
                                    .stride = (int)layer->shape.stride,
                                    .height = (int)layer->shape.in_height,
                                    .width = (int)layer->shape.in_width,
                                    .lanes = layer->input.lanes};
}

bool wa_tuning_is_same_shape(const struct wa_tuning_shape *a, const struct wa_tuning_shape *b)
{
    return a->in_channels == b->in_channels && a->out_channels == b->out_channels &&
           a->kernel == b->kernel && a->stride == b->stride && a->height == b->height &&
           a->width == b->width && a->lanes == b->lanes;
}

static struct wa_tuning_entry *find(const struct wa_tuning *tuning,
                                    const struct wa_tuning_shape *shape)
{
    for (size_t i = 0; i < tuning->count; i++) {
        if (wa_tuning_is_same_shape(&tuning->entries[i].shape, shape)) {
            return &tuning->entries[i];
        }
    }
    return NULL;
}

struct wa_choice wa_tuning_choose(const struct wa_engine *engine,
                                  const struct wa_model_layer *layer, enum wa_product product)
{
    const struct wa_tuning *tuning = engine->tuning;
    const struct wa_tuning_shape shape = wa_tuning_shape_of(layer);
    const struct wa_tuning_entry *entry = tuning ? find(tuning, &shape) : NULL;
    return tuning && tuning->everywhere ? *tuning->everywhere
           : entry                      ? entry->choices[product]
                                        : (struct wa_choice){0};
}

bool wa_tuning_takes_winograd(const struct wa_engine *engine, const struct wa_model_layer *layer,
                              enum wa_product product, bool is_expected)
{
    if (engine->convolution != WA_CONVOLUTION_AUTO) {
        return engine->convolution == WA_CONVOLUTION_WINOGRAD;
    }
    enum wa_algorithm algorithm = wa_tuning_choose(engine, layer, product).algorithm;
    return algorithm == WA_ALGORITHM_AUTO ? is_expected : algorithm == WA_ALGORITHM_WINOGRAD;
}

void wa_tuning_describe(const char *algorithm, const struct wa_choice *choice,
                        char ret_text[WA_CHOICE_BYTES])
{
    int used = snprintf(ret_text, WA_CHOICE_BYTES, "%.24s", algorithm);
    if (used > 0 && choice->gathered_taps > 0) {
        (void)snprintf(ret_text + used, WA_CHOICE_BYTES - (size_t)used, ", %d taps",
                       choice->gathered_taps);
    } else if (used > 0 && choice->gradient_items > 0) {
        (void)snprintf(ret_text + used, WA_CHOICE_BYTES - (size_t)used, ", %d items",
                       choice->gradient_items);
    }
}

void wa_tuning_describe_library(enum wa_matrix_library library,
                                const struct wa_clblast_set *parameters,
                                char ret_text[WA_CHOICE_BYTES])
{
    bool is_clblast = library == WA_MATRIX_CLBLAST;
    (void)snprintf(ret_text, WA_CHOICE_BYTES, "%s%s%s", is_clblast ? "clblast" : "matrix product",
                   is_clblast && parameters ? ", " : "",
                   is_clblast && parameters ? parameters->name : "");
}

wa_status wa_tuning_put(struct wa_tuning *tuning, const struct wa_tuning_entry *entry,
                        struct wa_error *err)
{
    struct wa_tuning_entry *place = find(tuning, &entry->shape);
    if (!place) {
        struct wa_tuning_entry *more =
            realloc(tuning->entries, (tuning->count + 1) * sizeof *tuning->entries);
        if (!more) {
            return wa_fail(err, WA_E_MEMORY, "out of memory");
        }
        tuning->entries = more;
        place = &tuning->entries[tuning->count++];
    }
    *place = *entry;
    return WA_OK;
}

void wa_tuning_finish(struct wa_tuning *tuning)
{
    free(tuning->entries);
    wa_matrix_choices_finish(&tuning->matrices);
    *tuning = (struct wa_tuning){0};
}

/* ---- Reading --------------------------------------------------------------------------------- */

static bool read_integer(const json_object *object, const char *key, int least, int most, int *ret)
{
    json_object *value = NULL;
    if (!json_object_object_get_ex(object, key, &value) ||
        !json_object_is_type(value, json_type_int)) {
        return false;
    }
    int64_t number = json_object_get_int64(value);
    *ret = (int)number;
    return number >= least && number <= most;
}

/* Blocking that the file does not mention is the default. */
static bool read_blocking(const json_object *object, const char *key, int *ret)
{
    return !json_object_object_get_ex(object, key, NULL) ||
           read_integer(object, key, 1, MAX_BLOCKING, ret);
}

static bool read_choice(const json_object *object, struct wa_choice *ret_choice, double *ret_ms)
{
    json_object *name = NULL;
    json_object *ms = NULL;
    if (!json_object_object_get_ex(object, "algorithm", &name) ||
        !json_object_object_get_ex(object, "ms", &ms) ||
        !json_object_is_type(name, json_type_string)) {
        return false;
    }
    *ret_ms = json_object_get_double(ms);
    for (int a = 0; a < ALGORITHM_COUNT; a++) {
        if (strcmp(json_object_get_string(name), algorithm_names[a]) == 0) {
            ret_choice->algorithm = (enum wa_algorithm)a;
            return read_blocking(object, "gathered_taps", &ret_choice->gathered_taps) &&
                   read_blocking(object, "gradient_items", &ret_choice->gradient_items);
        }
    }
    return false;
}

static bool read_entry(const json_object *object, struct wa_tuning_entry *ret_entry)
{
    bool is_good = json_object_is_type(object, json_type_object);
    for (size_t m = 0; m < SHAPE_MEMBERS && is_good; m++) {
        is_good = read_integer(object, shape_members[m].key, 1, INT_MAX,
                               shape_member(&ret_entry->shape, m));
    }
    for (int p = 0; p < WA_PRODUCT_COUNT && is_good; p++) {
        json_object *choice = NULL;
        if (json_object_object_get_ex(object, wa_operations_product_name((enum wa_product)p),
                                      &choice)) {
            is_good = read_choice(choice, &ret_entry->choices[p], &ret_entry->ms[p]);
        }
    }
    return is_good;
}

static wa_status read_entries(const char *path, const json_object *root,
                              const struct wa_tuning_filter *filter, struct wa_tuning *tuning,
                              struct wa_error *err)
{
    json_object *shapes = NULL;
    bool is_good = json_object_object_get_ex(root, "shapes", &shapes) &&
                   json_object_is_type(shapes, json_type_array);
    size_t count = is_good ? json_object_array_length(shapes) : 0;
    wa_status status = WA_OK;
    for (size_t i = 0; i < count && is_good && status == WA_OK; i++) {
        struct wa_tuning_entry entry = {0};
        is_good = read_entry(json_object_array_get_idx(shapes, i), &entry);
        if (is_good && !filter->without_layers &&
            (filter->lanes == 0 || entry.shape.lanes == filter->lanes)) {
            status = wa_tuning_put(tuning, &entry, err);
        }
    }
    if (is_good && status == WA_OK) {
        status = wa_matrix_choices_read(root, filter->path, filter->lanes, &tuning->matrices,
                                        &is_good, err);
    }
    if (status != WA_OK) {
        return status;
    }
    return is_good
               ? WA_OK
               : wa_fail(err, WA_E_DATA,
                         "%s: not a tuning file of this version; remove it, and run `walign tune`",
                         path);
}

wa_status wa_tuning_read(const char *path, const struct wa_tuning_filter *filter,
                         struct wa_tuning *ret_tuning, struct wa_error *err)
{
    *ret_tuning = (struct wa_tuning){0};
    if (!wa_file_exists(path)) {
        return WA_OK;
    }
    unsigned char *text = NULL;
    size_t size = 0;
    wa_status status = wa_file_read_all(path, MAX_FILE_BYTES, &text, &size, err);
    if (status != WA_OK) {
        return status;
    }
    json_object *root = json_tokener_parse((const char *)text);
    free(text);
    struct wa_tuning tuning = {0};
    status = read_entries(path, root, filter, &tuning, err);
    (void)json_object_put(root);
    if (status != WA_OK) {
        wa_tuning_finish(&tuning);
        return status;
    }
    *ret_tuning = tuning;
    return WA_OK;
}

/* ---- Writing --------------------------------------------------------------------------------- */

static json_object *describe_device(const struct wa_device *device)
{
    const struct wa_device_info *info = &device->info;
    json_object *o = json_object_new_object();
    (void)json_object_object_add(o, "name", json_object_new_string(info->name));
    (void)json_object_object_add(o, "platform", json_object_new_string(info->platform_name));
    (void)json_object_object_add(o, "platform_version",
                                 json_object_new_string(info->platform_version));
    (void)json_object_object_add(o, "driver", json_object_new_string(info->driver));
    (void)json_object_object_add(o, "compute_units",
                                 json_object_new_int64((int64_t)info->compute_units));
    (void)json_object_object_add(o, "walign", json_object_new_string(WA_VERSION));
    return o;
}

char *wa_tuning_path(const struct wa_device *device)
{
    json_object *key = describe_device(device);
    const char *text = json_object_to_json_string_ext(key, JSON_C_TO_STRING_PLAIN);
    char hash[WA_SHA256_HEX_BYTES];
    char name[WA_SHA256_HEX_BYTES + sizeof "tuning/.json"];
    wa_sha256_hex(text, strlen(text), hash);
    (void)json_object_put(key);
    (void)snprintf(name, sizeof name, "tuning/%s.json", hash);
    return wa_file_cache_path(name);
}

static json_object *describe_choice(const struct wa_choice *choice, double ms)
{
    json_object *o = json_object_new_object();
    (void)json_object_object_add(o, "algorithm",
                                 json_object_new_string(algorithm_names[choice->algorithm]));
    if (choice->gathered_taps > 0) {
        (void)json_object_object_add(o, "gathered_taps",
                                     json_object_new_int64(choice->gathered_taps));
    }
    if (choice->gradient_items > 0) {
        (void)json_object_object_add(o, "gradient_items",
                                     json_object_new_int64(choice->gradient_items));
    }
    (void)json_object_object_add(o, "ms", json_object_new_double(ms));
    return o;
}

static json_object *describe_entry(const struct wa_tuning_entry *entry)
{
    struct wa_tuning_shape shape = entry->shape;
    json_object *o = json_object_new_object();
    for (size_t m = 0; m < SHAPE_MEMBERS; m++) {
        (void)json_object_object_add(o, shape_members[m].key,
                                     json_object_new_int64(*shape_member(&shape, m)));
    }
    for (int p = 0; p < WA_PRODUCT_COUNT; p++) {
        if (entry->choices[p].algorithm != WA_ALGORITHM_AUTO) {
            (void)json_object_object_add(o, wa_operations_product_name((enum wa_product)p),
                                         describe_choice(&entry->choices[p], entry->ms[p]));
        }
    }
    return o;
}

wa_status wa_tuning_write(const struct wa_tuning *tuning, const struct wa_device *device,
                          const char *path, struct wa_error *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
    wa_status status = folder ? wa_files_make_folders(folder, 0700, err)
                              : wa_fail(err, WA_E_MEMORY, "out of memory");
    free(folder);
    if (status != WA_OK) {
        return status;
    }
    json_object *root = json_object_new_object();
    json_object *shapes = json_object_new_array();
    (void)json_object_object_add(root, "device", describe_device(device));
    for (size_t i = 0; i < tuning->count; i++) {
        (void)json_object_array_add(shapes, describe_entry(&tuning->entries[i]));
    }
    (void)json_object_object_add(root, "shapes", shapes);
    wa_matrix_choices_write(&tuning->matrices, root);
    const char *text = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY);
    status = wa_file_write_atomic(path, text, strlen(text), err);
    (void)json_object_put(root);
    return status;
}
