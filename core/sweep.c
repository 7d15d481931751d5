/* Reading, checking and expanding a sweep. */
#include "sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "json_places.h"
#include "sha256.h"

enum { MAX_RUNS = 100000 };

static wa_status out_of_memory(struct wa_error *err)
{
    return wa_fail(err, WA_E_MEMORY, "out of memory for a sweep");
}

/* ---- Places --------------------------------------------------------------------------------- */

static void place_of(const struct wa_sweep *sweep, const char *path, char *ret_place, size_t size)
{
    struct wa_json_place place;
    (void)wa_json_places_find(sweep->places, path, &place);
    (void)snprintf(ret_place, size, "%s:%u:%u", sweep->file, (unsigned)place.line,
                   (unsigned)place.column);
}

static wa_status refuse(const struct wa_sweep *sweep, const char *path, struct wa_error *err,
                        const char *format, ...) WA_PRINTF(4, 5);

static wa_status refuse(const struct wa_sweep *sweep, const char *path, struct wa_error *err,
                        const char *format, ...)
{
    char text[WA_MESSAGE_BYTES / 2];
    char place[WA_CONFIG_PLACE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    place_of(sweep, path, place, sizeof place);
    return wa_fail(err, WA_E_USAGE, "%s: %s%s%s", place, path, *path ? ": " : "", text);
}

/* The form in which messages and comparisons have a path; false if it is broken. */
static bool normalize_path(const char *text, char *ret_path, size_t size)
{
    const char *cursor = text;
    struct wa_json_step step;
    enum wa_json_path_result result;
    ret_path[0] = '\0';
    while ((result = wa_json_path_next(text, &cursor, &step)) == WA_JSON_PATH_STEP) {
        size_t length = step.is_index ? wa_json_path_add_index(ret_path, size, step.index)
                                      : wa_json_path_add_key(ret_path, size, step.key);
        if (strlen(ret_path) == length) {
            return false;
        }
    }
    return result == WA_JSON_PATH_END && *ret_path;
}

/* ---- The file's own shape ------------------------------------------------------------------- */

static wa_status check_keys(const struct wa_sweep *sweep, struct wa_error *err)
{
    static const char *const keys[] = {"base", "grid", "runs", "exclusive"};
    const size_t count = sizeof keys / sizeof *keys;
    if (!json_object_is_type(sweep->root, json_type_object)) {
        return refuse(sweep, "", err, "expected an object with \"base\" and \"grid\" or \"runs\"");
    }
    if (!json_object_object_get_ex(sweep->root, "base", NULL) &&
        json_object_object_get_ex(sweep->root, "architecture", NULL)) {
        return refuse(sweep, "", err,
                      "this is the config of one run, expected a sweep: use `walign train %s`",
                      sweep->file);
    }
    json_object_object_foreach(sweep->root, key, value)
    {
        (void)value;
        bool is_known = false;
        for (size_t i = 0; i < count; i++) {
            is_known = is_known || strcmp(key, keys[i]) == 0;
        }
        if (!is_known) {
            const char *near = wa_config_suggest(key, keys, count);
            char path[WA_JSON_PATH_BYTES] = "";
            (void)wa_json_path_add_key(path, sizeof path, key);
            return refuse(sweep, path, err,
                          "unknown key; did you mean \"%s\"? A sweep has base, grid, runs and "
                          "exclusive",
                          near ? near : keys[0]);
        }
    }
    return WA_OK;
}

static wa_status check_base(const struct wa_sweep *sweep, struct wa_error *err)
{
    struct json_object *base = NULL;
    if (!json_object_object_get_ex(sweep->root, "base", &base)) {
        return refuse(sweep, "", err, "\"base\" is missing, expected the config that all runs share");
    }
    if (!json_object_is_type(base, json_type_object)) {
        return refuse(sweep, "base", err, "expected an object: the config that all runs share");
    }
    return WA_OK;
}

static wa_status read_exclusive(struct wa_sweep *sweep, struct wa_error *err)
{
    struct json_object *value = NULL;
    if (json_object_object_get_ex(sweep->root, "exclusive", &value)) {
        if (!json_object_is_type(value, json_type_boolean)) {
            return refuse(sweep, "exclusive", err, "expected true or false");
        }
        sweep->is_exclusive = json_object_get_boolean(value);
    }
    return WA_OK;
}

/* Blanks all of the text but the value of "base", so that a config read from it has the places of
 * the file. */
static wa_status keep_base(struct wa_sweep *sweep, struct wa_error *err)
{
    struct wa_json_place place;
    (void)wa_json_places_find(sweep->places, "base", &place);
    const char *at = sweep->text;
    for (uint32_t line = 1; line < place.line; line++) {
        at = strchr(at, '\n') + 1;
    }
    at = strchr(at + place.column, ':'); /* behind the key, which stands in quotes */
    const char *start = at ? strchr(at, '{') : NULL;
    if (!start) {
        return refuse(sweep, "base", err, "expected an object");
    }
    const char *end = start;
    int depth = 0;
    bool is_string = false;
    do {
        if (is_string && *end == '\\') {
            end++;
        } else if (*end == '"') {
            is_string = !is_string;
        } else if (!is_string) {
            depth += *end == '{' ? 1 : *end == '}' ? -1 : 0;
        }
        end++;
    } while (depth > 0);
    for (char *c = sweep->text; *c; c++) {
        if ((c < start || c >= end) && *c != '\n') {
            *c = ' ';
        }
    }
    return WA_OK;
}

/* ---- What varies ---------------------------------------------------------------------------- */

/* No two values of an axis are equal. */
static wa_status check_values(const struct wa_sweep *sweep, const struct wa_sweep_axis *axis,
                              struct wa_error *err)
{
    for (size_t i = 0; i < json_object_array_length(axis->values); i++) {
        struct json_object *value = json_object_array_get_idx(axis->values, i);
        for (size_t j = 0; j < i; j++) {
            if (!json_object_equal(json_object_array_get_idx(axis->values, j), value)) {
                continue;
            }
            const char *text = value ? json_object_to_json_string(value) : "null";
            if (axis->place[0]) {
                return wa_fail(err, WA_E_USAGE, "%s: %.100s is there twice", axis->place, text);
            }
            char path[WA_JSON_PATH_BYTES];
            (void)snprintf(path, sizeof path, "%s", axis->key);
            (void)wa_json_path_add_index(path, sizeof path, i);
            return refuse(sweep, path, err, "%.100s is there twice", text);
        }
    }
    return WA_OK;
}

static wa_status read_axis(struct wa_sweep *sweep, const char *key, struct json_object *values,
                           struct wa_error *err)
{
    struct wa_sweep_axis *axis = &sweep->axes[sweep->axis_count];
    (void)snprintf(axis->key, sizeof axis->key, "grid");
    (void)wa_json_path_add_key(axis->key, sizeof axis->key, key);
    if (!normalize_path(key, axis->path, sizeof axis->path)) {
        return refuse(sweep, axis->key, err,
                      "broken path, expected one such as architecture.width");
    }
    if (!json_object_is_type(values, json_type_array) || json_object_array_length(values) == 0) {
        return refuse(sweep, axis->key, err, "expected an array of at least one value");
    }
    for (size_t i = 0; i < sweep->axis_count; i++) {
        if (strcmp(sweep->axes[i].path, axis->path) == 0) {
            return refuse(sweep, axis->key, err, "this path is in the grid twice");
        }
    }
    axis->values = json_object_get(values);
    sweep->axis_count++;
    return check_values(sweep, axis, err);
}

static wa_status read_grid(struct wa_sweep *sweep, struct wa_error *err)
{
    struct json_object *grid = NULL;
    if (!json_object_object_get_ex(sweep->root, "grid", &grid)) {
        return WA_OK;
    }
    if (!json_object_is_type(grid, json_type_object) || json_object_object_length(grid) == 0) {
        return refuse(sweep, "grid", err,
                      "expected an object of at least one path with an array of values, such as "
                      "{\"architecture.width\": [8, 16]}");
    }
    sweep->axes = calloc((size_t)json_object_object_length(grid), sizeof *sweep->axes);
    if (!sweep->axes) {
        return out_of_memory(err);
    }
    wa_status status = WA_OK;
    json_object_object_foreach(grid, key, values)
    {
        if (status == WA_OK) {
            status = read_axis(sweep, key, values, err);
        }
    }
    return status;
}

static wa_status check_entry(const struct wa_sweep *sweep, size_t index, struct wa_error *err)
{
    struct json_object *entry = json_object_array_get_idx(sweep->entries, index);
    char path[WA_JSON_PATH_BYTES] = "runs";
    char ignored[WA_JSON_PATH_BYTES];
    (void)wa_json_path_add_index(path, sizeof path, index);
    size_t length = strlen(path);
    if (!json_object_is_type(entry, json_type_object)) {
        return refuse(sweep, path, err,
                      "expected an object of paths and values, such as {\"rule.plugin\": \"x\"}");
    }
    for (size_t i = 0; i < index; i++) {
        if (json_object_equal(json_object_array_get_idx(sweep->entries, i), entry)) {
            return refuse(sweep, path, err, "equals runs[%zu]", i);
        }
    }
    json_object_object_foreach(entry, key, value)
    {
        (void)value;
        (void)wa_json_path_add_key(path, sizeof path, key);
        if (!normalize_path(key, ignored, sizeof ignored)) {
            return refuse(sweep, path, err, "broken path, expected one such as architecture.width");
        }
        path[length] = '\0';
    }
    return WA_OK;
}

static wa_status read_entries(struct wa_sweep *sweep, struct wa_error *err)
{
    sweep->entry_count = 1;
    if (!json_object_object_get_ex(sweep->root, "runs", &sweep->entries)) {
        return sweep->axis_count > 0
                   ? WA_OK
                   : refuse(sweep, "", err, "nothing varies: expected \"grid\" or \"runs\"");
    }
    if (!json_object_is_type(sweep->entries, json_type_array) ||
        json_object_array_length(sweep->entries) == 0) {
        return refuse(sweep, "runs", err, "expected an array of at least one object");
    }
    sweep->entry_count = json_object_array_length(sweep->entries);
    wa_status status = WA_OK;
    for (size_t i = 0; i < sweep->entry_count && status == WA_OK; i++) {
        status = check_entry(sweep, i, err);
    }
    return status;
}

/* ---- --set ---------------------------------------------------------------------------------- */

static bool is_array_of_arrays(struct json_object *value)
{
    size_t count = json_object_array_length(value);
    for (size_t i = 0; i < count; i++) {
        if (!json_object_is_type(json_object_array_get_idx(value, i), json_type_array)) {
            return false;
        }
    }
    return count > 0;
}

/* An array gives the axis its values; where the axis's values are arrays themselves, only an array
 * of arrays does. */
static wa_status replace_axis(struct wa_sweep_axis *axis, const struct wa_config_change *set,
                              struct wa_error *err)
{
    bool takes_arrays =
        json_object_is_type(json_object_array_get_idx(axis->values, 0), json_type_array);
    bool is_array = json_object_is_type(set->value, json_type_array);
    struct json_object *values = NULL;
    if (is_array && json_object_array_length(set->value) == 0) {
        return wa_fail(err, WA_E_USAGE, "%s: expected at least one value", set->place);
    }
    if (is_array && (!takes_arrays || is_array_of_arrays(set->value))) {
        values = json_object_get(set->value);
    } else {
        values = json_object_new_array();
        if (!values || json_object_array_add(values, json_object_get(set->value)) != 0) {
            json_object_put(values);
            return out_of_memory(err);
        }
    }
    json_object_put(axis->values);
    axis->values = values;
    (void)snprintf(axis->place, sizeof axis->place, "%s", set->place);
    return WA_OK;
}

static wa_status apply_sets(struct wa_sweep *sweep, const char *const *sets, size_t set_count,
                            struct wa_error *err)
{
    sweep->sets = calloc(set_count + 1, sizeof *sweep->sets);
    wa_status status = sweep->sets ? WA_OK : out_of_memory(err);
    for (size_t i = 0; i < set_count && status == WA_OK; i++) {
        struct wa_config_change *set = &sweep->sets[sweep->set_count];
        status = wa_config_read_set(sets[i], set, err);
        sweep->set_count += status == WA_OK ? 1 : 0;
        for (size_t a = 0; a < sweep->axis_count && status == WA_OK; a++) {
            if (strcmp(sweep->axes[a].path, set->path) == 0) {
                status = replace_axis(&sweep->axes[a], set, err);
                json_object_put(set->value);
                set->value = NULL;
                sweep->set_count--;
                status = status == WA_OK ? check_values(sweep, &sweep->axes[a], err) : status;
                break;
            }
        }
    }
    return status;
}

/* ---- Runs ----------------------------------------------------------------------------------- */

struct json_object *wa_sweep_axis_value(const struct wa_sweep *sweep, size_t index, size_t axis)
{
    for (size_t a = sweep->axis_count; a > axis + 1; a--) {
        index /= json_object_array_length(sweep->axes[a - 1].values);
    }
    struct json_object *values = sweep->axes[axis].values;
    return json_object_array_get_idx(values, index % json_object_array_length(values));
}

static size_t grid_points(const struct wa_sweep *sweep)
{
    size_t points = 1;
    for (size_t a = 0; a < sweep->axis_count && points <= MAX_RUNS; a++) {
        points *= json_object_array_length(sweep->axes[a].values);
    }
    return points;
}

struct json_object *wa_sweep_entry(const struct wa_sweep *sweep, size_t index)
{
    return sweep->entries ? json_object_array_get_idx(sweep->entries, index / grid_points(sweep))
                          : NULL;
}

static void add_entry_changes(const struct wa_sweep *sweep, size_t index,
                              struct wa_config_change *changes, size_t *count)
{
    struct json_object *entry = wa_sweep_entry(sweep, index);
    if (!entry) {
        return;
    }
    json_object_object_foreach(entry, key, value)
    {
        struct wa_config_change *change = &changes[(*count)++];
        char path[WA_JSON_PATH_BYTES] = "runs";
        (void)wa_json_path_add_index(path, sizeof path, index / grid_points(sweep));
        (void)wa_json_path_add_key(path, sizeof path, key);
        (void)normalize_path(key, change->path, sizeof change->path);
        place_of(sweep, path, change->place, sizeof change->place);
        change->value = value;
    }
}

static void add_axis_change(const struct wa_sweep *sweep, size_t index, size_t a,
                            struct wa_config_change *change)
{
    const struct wa_sweep_axis *axis = &sweep->axes[a];
    (void)snprintf(change->path, sizeof change->path, "%s", axis->path);
    if (axis->place[0]) {
        (void)snprintf(change->place, sizeof change->place, "%s", axis->place);
    } else {
        place_of(sweep, axis->key, change->place, sizeof change->place);
    }
    change->value = wa_sweep_axis_value(sweep, index, a);
}

/* The changes of a combination, in order: --set, "runs", the grid, and again those of --set that
 * lie at or in a value that these have set. */
static size_t list_changes(const struct wa_sweep *sweep, size_t index,
                           struct wa_config_change *changes)
{
    size_t count = sweep->set_count;
    memcpy(changes, sweep->sets, count * sizeof *changes);
    add_entry_changes(sweep, index, changes, &count);
    for (size_t a = 0; a < sweep->axis_count; a++) {
        add_axis_change(sweep, index, a, &changes[count++]);
    }
    size_t varied_end = count;
    for (size_t s = 0; s < sweep->set_count; s++) {
        for (size_t i = sweep->set_count; i < varied_end; i++) {
            if (wa_json_path_is_within(sweep->sets[s].path, changes[i].path)) {
                changes[count++] = sweep->sets[s];
                break;
            }
        }
    }
    return count;
}

wa_status wa_sweep_config(const struct wa_sweep *sweep, const struct wa_sweep_run *run,
                          struct wa_config **ret_config, struct wa_error *err)
{
    struct json_object *entry = wa_sweep_entry(sweep, run->index);
    size_t most = 2 * sweep->set_count + sweep->axis_count +
                  (entry ? (size_t)json_object_object_length(entry) : 0);
    struct wa_config_change *changes = calloc(most + 1, sizeof *changes);
    if (!changes) {
        return out_of_memory(err);
    }
    size_t count = list_changes(sweep, run->index, changes);
    wa_status status = wa_config_from_changes(sweep->file, sweep->text, sweep->text_size, changes,
                                              count, ret_config, err);
    free(changes);
    return status;
}

/* A run's config as a hash, to find equal ones. */
static wa_status hash_config(const struct wa_sweep *sweep, const struct wa_sweep_run *run,
                             char ret_hash[WA_SHA256_HEX_BYTES], struct wa_error *err)
{
    struct wa_config *config = NULL;
    char *text = NULL;
    wa_status status = wa_sweep_config(sweep, run, &config, err);
    if (status == WA_OK) {
        status = wa_config_canonical(config, &text, err);
    }
    if (status == WA_OK) {
        wa_sha256_hex(text, strlen(text), ret_hash);
    }
    free(text);
    wa_config_destroy(config);
    return status;
}

/* Resolves every combination, which checks it, and keeps the first of equal ones. */
static wa_status expand(struct wa_sweep *sweep, struct wa_error *err)
{
    size_t points = grid_points(sweep);
    if (points > MAX_RUNS || points * sweep->entry_count > MAX_RUNS) {
        return refuse(sweep, "", err, "more than %d runs", MAX_RUNS);
    }
    size_t count = points * sweep->entry_count;
    sweep->runs = calloc(count, sizeof *sweep->runs);
    char(*hashes)[WA_SHA256_HEX_BYTES] = calloc(count, sizeof *hashes);
    wa_status status = sweep->runs && hashes ? WA_OK : out_of_memory(err);
    for (size_t i = 0; i < count && status == WA_OK; i++) {
        struct wa_sweep_run run = {.index = i};
        status = hash_config(sweep, &run, hashes[sweep->run_count], err);
        bool is_new = true;
        for (size_t j = 0; j < sweep->run_count && status == WA_OK; j++) {
            if (strcmp(hashes[j], hashes[sweep->run_count]) != 0) {
                continue;
            }
            is_new = false;
            if (sweep->set_count == 0) {
                status = refuse(sweep, "", err,
                                "combinations %zu and %zu give the same run: a value of \"runs\" "
                                "and the grid hide each other",
                                sweep->runs[j].index + 1, i + 1);
            }
        }
        if (is_new && status == WA_OK) {
            sweep->runs[sweep->run_count++] = run;
        }
    }
    free(hashes);
    return status;
}

/* ---- A sweep -------------------------------------------------------------------------------- */

static wa_status read_sweep(struct wa_sweep *sweep, const char *const *sets, size_t set_count,
                            struct wa_error *err)
{
    wa_status status = wa_json_places_parse(sweep->file, sweep->text, sweep->text_size,
                                            &sweep->root, &sweep->places, err);
    if (status == WA_OK) {
        status = check_keys(sweep, err);
    }
    if (status == WA_OK) {
        status = check_base(sweep, err);
    }
    if (status == WA_OK) {
        status = read_exclusive(sweep, err);
    }
    if (status == WA_OK) {
        status = read_grid(sweep, err);
    }
    if (status == WA_OK) {
        status = read_entries(sweep, err);
    }
    if (status == WA_OK) {
        status = keep_base(sweep, err);
    }
    if (status == WA_OK) {
        status = apply_sets(sweep, sets, set_count, err);
    }
    if (status == WA_OK) {
        status = expand(sweep, err);
    }
    return status == WA_OK ? wa_sweep_name_runs(sweep, err) : status;
}

wa_status wa_sweep_read(const char *file, const char *const *sets, size_t set_count,
                        struct wa_sweep **ret_sweep, struct wa_error *err)
{
    struct wa_sweep *sweep = calloc(1, sizeof *sweep);
    if (!sweep) {
        return out_of_memory(err);
    }
    unsigned char *text = NULL;
    sweep->file = strdup(file);
    wa_status status = sweep->file
                           ? wa_file_read_all(file, WA_JSON_BYTES, &text, &sweep->text_size, err)
                           : out_of_memory(err);
    sweep->text = (char *)text;
    if (status == WA_OK) {
        status = read_sweep(sweep, sets, set_count, err);
    }
    if (status == WA_OK) {
        *ret_sweep = sweep;
    } else {
        wa_sweep_destroy(sweep);
    }
    return status;
}

void wa_sweep_destroy(struct wa_sweep *sweep)
{
    if (!sweep) {
        return;
    }
    for (size_t i = 0; sweep->runs && i < sweep->run_count; i++) {
        free(sweep->runs[i].name);
    }
    for (size_t i = 0; i < sweep->axis_count; i++) {
        json_object_put(sweep->axes[i].values);
    }
    for (size_t i = 0; i < sweep->set_count; i++) {
        json_object_put(sweep->sets[i].value);
    }
    json_object_put(sweep->root);
    wa_json_places_destroy(sweep->places);
    free(sweep->runs);
    free(sweep->axes);
    free(sweep->sets);
    free(sweep->text);
    free(sweep->file);
    free(sweep);
}
