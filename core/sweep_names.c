/* Names of a sweep's runs: what varies, in the order of the file, such as
 * "align-zero-learning_rate-5-width-8". The value of a "plugin" key speaks for itself, any other
 * stands behind its key. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sweep.h"

enum { NAME_BYTES = 200 }; /* a folder's name may have 255 */

/* A path that the runs differ in. */
struct varying {
    const char *path;
    bool is_axis;
    size_t axis;
};

struct naming {
    struct wa_sweep *sweep;
    struct varying *items;
    size_t count;
};

static wa_status out_of_memory(struct wa_error *err)
{
    return wa_fail(err, WA_E_MEMORY, "out of memory for the names of runs");
}

/* ---- What varies ---------------------------------------------------------------------------- */

static struct json_object *entry_value(const struct wa_sweep *sweep, size_t entry, const char *path)
{
    struct json_object *value = NULL;
    (void)json_object_object_get_ex(json_object_array_get_idx(sweep->entries, entry), path, &value);
    return value;
}

static bool is_listed(const struct naming *naming, const char *path)
{
    for (size_t i = 0; i < naming->count; i++) {
        if (strcmp(naming->items[i].path, path) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether `path` tells two entries apart that the paths listed so far do not. */
static bool tells_apart(const struct naming *naming, const char *path)
{
    const struct wa_sweep *sweep = naming->sweep;
    for (size_t a = 0; a < sweep->entry_count; a++) {
        for (size_t b = 0; b < a; b++) {
            bool is_same = true;
            for (size_t i = 0; i < naming->count && is_same; i++) {
                const char *listed = naming->items[i].path;
                is_same = json_object_equal(entry_value(sweep, a, listed),
                                            entry_value(sweep, b, listed));
            }
            if (is_same &&
                !json_object_equal(entry_value(sweep, a, path), entry_value(sweep, b, path))) {
                return true;
            }
        }
    }
    return false;
}

static void list_entry_paths(struct naming *naming)
{
    const struct wa_sweep *sweep = naming->sweep;
    for (size_t e = 0; sweep->entries && e < sweep->entry_count; e++) {
        json_object_object_foreach(json_object_array_get_idx(sweep->entries, e), key, value)
        {
            (void)value;
            if (!is_listed(naming, key) && tells_apart(naming, key)) {
                naming->items[naming->count++] = (struct varying){.path = key};
            }
        }
    }
}

static wa_status list_varying(struct naming *naming, struct wa_error *err)
{
    const struct wa_sweep *sweep = naming->sweep;
    size_t most = sweep->axis_count;
    for (size_t e = 0; sweep->entries && e < sweep->entry_count; e++) {
        most += (size_t)json_object_object_length(json_object_array_get_idx(sweep->entries, e));
    }
    naming->items = calloc(most + 1, sizeof *naming->items);
    if (!naming->items) {
        return out_of_memory(err);
    }
    list_entry_paths(naming);
    for (size_t a = 0; a < sweep->axis_count; a++) {
        if (json_object_array_length(sweep->axes[a].values) > 1) {
            naming->items[naming->count++] =
                (struct varying){.path = sweep->axes[a].path, .is_axis = true, .axis = a};
        }
    }
    return WA_OK;
}

/* ---- Text ----------------------------------------------------------------------------------- */

/* Appends what a folder's name may hold of `text`; other characters become single underscores. */
static void append(char *name, const char *text)
{
    size_t used = strlen(name);
    for (const char *c = text; *c && used + 1 < NAME_BYTES; c++) {
        bool is_plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                        (*c >= '0' && *c <= '9') || *c == '.' || *c == '-' || *c == '_';
        if (is_plain) {
            name[used++] = *c;
        } else if (used > 0 && name[used - 1] != '_' && name[used - 1] != '-' && c[1]) {
            name[used++] = '_';
        }
    }
    name[used] = '\0';
}

static const char *last_key(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

/* The last key, or the whole path where another one ends alike. */
static const char *label(const struct naming *naming, const char *path)
{
    const char *key = last_key(path);
    for (size_t i = 0; i < naming->count; i++) {
        const char *other = naming->items[i].path;
        if (strcmp(other, path) != 0 && strcmp(last_key(other), key) == 0) {
            return path;
        }
    }
    return key;
}

static wa_status append_value(const struct naming *naming, const struct varying *item,
                              struct json_object *value, char *name, struct wa_error *err)
{
    char *text = json_object_is_type(value, json_type_string)
                     ? strdup(json_object_get_string(value))
                     : wa_config_canonical_value(value);
    if (!text) {
        return out_of_memory(err);
    }
    bool is_plain_plugin = strcmp(last_key(item->path), "plugin") == 0;
    if (*name) {
        append(name, "-");
    }
    if (!is_plain_plugin) {
        append(name, label(naming, item->path));
        append(name, "-");
    }
    append(name, text);
    free(text);
    return WA_OK;
}

static wa_status write_name(const struct naming *naming, const struct wa_sweep_run *run, char *name,
                            struct wa_error *err)
{
    const struct wa_sweep *sweep = naming->sweep;
    struct wa_config *config = NULL;
    wa_status status = wa_sweep_config(sweep, run, &config, err);
    name[0] = '\0';
    for (size_t i = 0; i < naming->count && status == WA_OK; i++) {
        const struct varying *item = &naming->items[i];
        struct json_object *value = item->is_axis
                                        ? wa_sweep_axis_value(sweep, run->index, item->axis)
                                        : wa_config_get(config, item->path);
        status = append_value(naming, item, value, name, err);
    }
    wa_config_destroy(config);
    if (!*name || *name == '.' || *name == '-') {
        char rest[NAME_BYTES];
        (void)snprintf(rest, sizeof rest, "%s", name);
        (void)snprintf(name, NAME_BYTES, "run%.*s", NAME_BYTES - 4, rest);
    }
    return status;
}

static bool is_taken(const struct wa_sweep *sweep, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(sweep->runs[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

wa_status wa_sweep_name_runs(struct wa_sweep *sweep, struct wa_error *err)
{
    struct naming naming = {.sweep = sweep};
    wa_status status = list_varying(&naming, err);
    for (size_t i = 0; i < sweep->run_count && status == WA_OK; i++) {
        char name[NAME_BYTES];
        char unique[NAME_BYTES + 24];
        status = write_name(&naming, &sweep->runs[i], name, err);
        (void)snprintf(unique, sizeof unique, "%s", name);
        /* values that differ only in characters that a name cannot hold */
        for (size_t n = 2; status == WA_OK && is_taken(sweep, i, unique); n++) {
            (void)snprintf(unique, sizeof unique, "%s-%zu", name, n);
        }
        if (status == WA_OK) {
            sweep->runs[i].name = strdup(unique);
            status = sweep->runs[i].name ? WA_OK : out_of_memory(err);
        }
    }
    free(naming.items);
    return status;
}
