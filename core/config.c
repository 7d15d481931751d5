/* Reading, overriding, checking and querying of a run's config; canonical text and differences. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "json_places.h"
#include "schema.h"

enum { SHOWN_BYTES = 100 };

static wa_status out_of_memory(struct wa_error *err)
{
    return wa_fail(err, WA_E_MEMORY, "out of memory for a config");
}

/* ---- Places --------------------------------------------------------------------------------- */

static void write_place(const void *context, const char *path, char *ret_place, size_t size)
{
    const struct wa_config *config = context;
    for (size_t i = config->override_count; i > 0; i--) {
        if (wa_json_path_is_within(path, config->overrides[i - 1].path)) {
            (void)snprintf(ret_place, size, "%s", config->overrides[i - 1].place);
            return;
        }
    }
    struct wa_json_place place;
    bool is_in_file = wa_json_places_find(config->places, path, &place);
    /* A value that is not there was made around one that was set. */
    for (size_t i = config->override_count; i > 0 && !is_in_file; i--) {
        if (wa_json_path_is_within(config->overrides[i - 1].path, path)) {
            (void)snprintf(ret_place, size, "%s", config->overrides[i - 1].place);
            return;
        }
    }
    (void)snprintf(ret_place, size, "%s:%" PRIu32 ":%" PRIu32, config->file, place.line,
                   place.column);
}

void wa_config_place(const struct wa_config *config, const char *path, char *ret_place, size_t size)
{
    write_place(config, path, ret_place, size);
}

wa_status wa_config_fail(const struct wa_config *config, const char *path, struct wa_error *err,
                         const char *format, ...)
{
    char text[WA_MESSAGE_BYTES / 2];
    char place[WA_MESSAGE_BYTES / 4];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    write_place(config, path, place, sizeof place);
    return wa_fail(err, WA_E_USAGE, "%s: %s%s%s", place, path, *path ? ": " : "", text);
}

/* ---- Overrides ------------------------------------------------------------------------------ */

static wa_status refuse_set(const struct wa_config_change *override, struct wa_error *err,
                            const char *text)
{
    return wa_fail(err, WA_E_USAGE, "%s: %s", override->place, text);
}

static bool is_utf8(const char *text)
{
    size_t size = strlen(text);
    while (size > 0) {
        size_t length = wa_json_utf8_length(text, size);
        if (length == 0) {
            return false;
        }
        text += length;
        size -= length;
    }
    return true;
}

/* The path of "path=value" in the form in which messages name it. */
static wa_status read_set_path(struct wa_config_change *override, const char *set,
                               struct wa_error *err)
{
    char path[WA_JSON_PATH_BYTES];
    char shown[SHOWN_BYTES];
    const char *equals = strchr(set, '=');
    *override = (struct wa_config_change){.path = ""};
    wa_json_shorten(set, shown, sizeof shown);
    (void)snprintf(override->place, sizeof override->place, "--set %s", shown);
    if (!is_utf8(set)) {
        return wa_fail(err, WA_E_USAGE, "--set: got bytes that are not UTF-8, expected path=value");
    }
    if (!equals || equals == set || (size_t)(equals - set) >= sizeof path) {
        return refuse_set(override, err, "expected path=value, such as --set epochs=5");
    }
    memcpy(path, set, (size_t)(equals - set));
    path[equals - set] = '\0';
    const char *cursor = path;
    struct wa_json_step step;
    enum wa_json_path_result result;
    size_t steps = 0;
    while ((result = wa_json_path_next(path, &cursor, &step)) == WA_JSON_PATH_STEP) {
        size_t length =
            step.is_index
                ? wa_json_path_add_index(override->path, sizeof override->path, step.index)
                : wa_json_path_add_key(override->path, sizeof override->path, step.key);
        if (++steps > WA_JSON_DEPTH || strlen(override->path) == length) {
            return refuse_set(override, err, "the path is too long, expected at most 32 steps");
        }
    }
    if (result == WA_JSON_PATH_BROKEN) {
        return refuse_set(override, err,
                          "broken path, expected one such as architecture.width or evaluate[0]");
    }
    return WA_OK;
}

/* The value of "path=value": JSON, else the text itself. What begins as an object or an array is meant
 * as one: then it is told what is wrong with it. */
static wa_status read_set_value(const struct wa_config_change *change, const char *text,
                                struct json_object **ret_value, struct wa_error *err)
{
    struct wa_error reason = {0};
    wa_status status =
        wa_json_places_parse(change->place, text, strlen(text), ret_value, NULL, &reason);
    if (status == WA_OK || status == WA_E_MEMORY) {
        return status == WA_OK ? WA_OK : out_of_memory(err);
    }
    if (*text == '{' || *text == '[') {
        return wa_fail(err, WA_E_USAGE, "%s", reason.message);
    }
    *ret_value = json_object_new_string(text);
    return *ret_value ? WA_OK : out_of_memory(err);
}

/* The value that a step leads to; false if there is none. */
static bool follow(struct json_object *from, const struct wa_json_step *step,
                   struct json_object **ret_value)
{
    *ret_value = NULL;
    if (step->is_index) {
        if (!json_object_is_type(from, json_type_array) ||
            step->index >= json_object_array_length(from)) {
            return false;
        }
        *ret_value = json_object_array_get_idx(from, step->index);
        return true;
    }
    return json_object_is_type(from, json_type_object) &&
           json_object_object_get_ex(from, step->key, ret_value);
}

/* Puts `value` where the step leads, and takes it over if that succeeds. */
static wa_status store(const struct wa_config_change *override, struct json_object *into,
                       const struct wa_json_step *step, struct json_object *value,
                       struct wa_error *err)
{
    if (!step->is_index) {
        if (!json_object_is_type(into, json_type_object)) {
            return refuse_set(override, err, "the last key of the path does not lie in an object");
        }
        return json_object_object_add(into, step->key, value) == 0 ? WA_OK : out_of_memory(err);
    }
    if (!json_object_is_type(into, json_type_array)) {
        return refuse_set(override, err, "the index at the end does not lie in an array");
    }
    if (step->index > json_object_array_length(into)) {
        return refuse_set(override, err,
                          "the index is beyond the array, expected at most its length");
    }
    return json_object_array_put_idx(into, step->index, value) == 0 ? WA_OK : out_of_memory(err);
}

/* The container that a step leads to; a missing member becomes an object. */
static wa_status enter(const struct wa_config_change *override, struct json_object *from,
                       const struct wa_json_step *step, struct json_object **ret_into,
                       struct wa_error *err)
{
    struct json_object *into;
    if (follow(from, step, &into)) {
        if (!json_object_is_type(into, json_type_object) &&
            !json_object_is_type(into, json_type_array)) {
            return refuse_set(override, err,
                              "the path leads through a value that is neither an "
                              "object nor an array");
        }
        *ret_into = into;
        return WA_OK;
    }
    if (step->is_index || !json_object_is_type(from, json_type_object)) {
        return refuse_set(override, err, "the path leads through an element that is not there");
    }
    into = json_object_new_object();
    if (!into || json_object_object_add(from, step->key, into) != 0) {
        json_object_put(into);
        return out_of_memory(err);
    }
    *ret_into = into;
    return WA_OK;
}

static wa_status put_at_path(const struct wa_config_change *override, struct json_object *root,
                             struct json_object *value, struct wa_error *err)
{
    const char *cursor = override->path;
    struct json_object *at = root;
    struct wa_json_step step;
    struct wa_json_step next;
    wa_status status = WA_OK;
    /* The path has been read before: it has a step, and none is broken. */
    if (wa_json_path_next(override->path, &cursor, &step) != WA_JSON_PATH_STEP) {
        return refuse_set(override, err, "the path is empty");
    }
    while (status == WA_OK &&
           wa_json_path_next(override->path, &cursor, &next) == WA_JSON_PATH_STEP) {
        status = enter(override, at, &step, &at, err);
        step = next;
    }
    return status == WA_OK ? store(override, at, &step, value, err) : status;
}

wa_status wa_config_read_set(const char *set, struct wa_config_change *ret_change,
                             struct wa_error *err)
{
    wa_status status = read_set_path(ret_change, set, err);
    return status == WA_OK
               ? read_set_value(ret_change, strchr(set, '=') + 1, &ret_change->value, err)
               : status;
}

wa_status wa_config_put_change(const struct wa_config_change *change, struct json_object *root,
                               struct wa_error *err)
{
    struct json_object *value = NULL;
    /* a copy: completing the config with defaults changes objects */
    if (change->value && json_object_deep_copy(change->value, &value, NULL) != 0) {
        return out_of_memory(err);
    }
    wa_status status = put_at_path(change, root, value, err);
    if (status != WA_OK) {
        json_object_put(value);
    }
    return status;
}

static wa_status apply_changes(struct wa_config *config, const struct wa_config_change *changes,
                               size_t count, struct wa_error *err)
{
    config->overrides = count > 0 ? calloc(count, sizeof *config->overrides) : NULL;
    wa_status status = config->overrides || count == 0 ? WA_OK : out_of_memory(err);
    for (size_t i = 0; i < count && status == WA_OK; i++) {
        config->overrides[i] = changes[i];
        config->overrides[i].value = NULL;
        status = wa_config_put_change(&changes[i], config->root, err);
        config->override_count += status == WA_OK ? 1 : 0;
    }
    return status;
}

/* ---- Reading -------------------------------------------------------------------------------- */

void wa_config_destroy(struct wa_config *config)
{
    if (config) {
        json_object_put(config->root);
        json_object_put(config->schema);
        json_object_put(config->options);
        wa_json_places_destroy(config->places);
        free(config->overrides);
        free(config->file);
        free(config->folder);
        free(config);
    }
}

wa_status wa_config_set_folder(struct wa_config *config, const char *folder, struct wa_error *err)
{
    char *copy = strdup(folder);
    if (!copy) {
        return out_of_memory(err);
    }
    free(config->folder);
    config->folder = copy;
    return WA_OK;
}

static char *folder_of(const char *file)
{
    const char *slash = strrchr(file, '/');
    if (!slash) {
        return strdup(".");
    }
    return slash == file ? strdup("/") : strndup(file, (size_t)(slash - file));
}

/* What else a user may hand to `walign train`. */
static wa_status check_kind(const struct wa_config *config, struct wa_error *err)
{
    static const char *const sweep_keys[] = {"base", "grid", "runs"};
    if (!json_object_is_type(config->root, json_type_object)) {
        char got[SHOWN_BYTES];
        wa_schema_show(config->root, got, sizeof got);
        return wa_config_fail(config, "", err, "got %s, expected an object: a config", got);
    }
    for (size_t i = 0; i < sizeof sweep_keys / sizeof sweep_keys[0]; i++) {
        if (json_object_object_get_ex(config->root, sweep_keys[i], NULL)) {
            return wa_config_fail(config, sweep_keys[i], err,
                                  "this is a sweep, expected the config of one run: use "
                                  "`walign sweep %s`",
                                  config->file);
        }
    }
    return WA_OK;
}

/* The schema has no keyword for this. */
static wa_status check_evaluate(const struct wa_config *config, struct wa_error *err)
{
    struct json_object *parts = wa_config_get(config, "evaluate");
    size_t count = wa_config_get_length(config, "evaluate");
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            struct json_object *part = json_object_array_get_idx(parts, i);
            if (json_object_equal(json_object_array_get_idx(parts, j), part)) {
                char path[WA_JSON_PATH_BYTES] = "evaluate";
                (void)wa_json_path_add_index(path, sizeof path, i);
                return wa_config_fail(config, path, err,
                                      "\"%s\" is there twice, expected each at most once",
                                      json_object_get_string(part));
            }
        }
    }
    return WA_OK;
}

static wa_status resolve(struct wa_config *config, const struct wa_config_change *changes,
                         size_t change_count, struct wa_error *err)
{
    wa_status status = check_kind(config, err);
    if (status == WA_OK) {
        status = apply_changes(config, changes, change_count, err);
    }
    if (status == WA_OK) {
        struct wa_schema_where where = {.place = write_place, .context = config, .path = ""};
        status = wa_schema_apply(config->schema, config->root, &where, err);
    }
    return status == WA_OK ? check_evaluate(config, err) : status;
}

wa_status wa_config_from_changes(const char *file, const char *text, size_t size,
                                 const struct wa_config_change *changes, size_t change_count,
                                 struct wa_config **ret_config, struct wa_error *err)
{
    struct wa_config *config = calloc(1, sizeof *config);
    if (!config) {
        return out_of_memory(err);
    }
    config->file = strdup(file);
    config->folder = folder_of(file);
    config->options = json_object_new_object();
    wa_status status =
        config->file && config->folder && config->options ? WA_OK : out_of_memory(err);
    if (status == WA_OK) {
        status = wa_schema_parse("the core schema", wa_config_schema_text, &config->schema, err);
    }
    if (status == WA_OK) {
        status = wa_json_places_parse(file, text, size, &config->root, &config->places, err);
    }
    if (status == WA_OK) {
        status = resolve(config, changes, change_count, err);
    }
    if (status == WA_OK) {
        *ret_config = config;
    } else {
        wa_config_destroy(config);
    }
    return status;
}

wa_status wa_config_from_text(const char *file, const char *text, size_t size,
                              const char *const *sets, size_t set_count,
                              struct wa_config **ret_config, struct wa_error *err)
{
    struct wa_config_change *changes = calloc(set_count + 1, sizeof *changes);
    wa_status status = changes ? WA_OK : out_of_memory(err);
    for (size_t i = 0; i < set_count && status == WA_OK; i++) {
        status = wa_config_read_set(sets[i], &changes[i], err);
    }
    if (status == WA_OK) {
        status = wa_config_from_changes(file, text, size, changes, set_count, ret_config, err);
    }
    for (size_t i = 0; changes && i < set_count; i++) {
        json_object_put(changes[i].value);
    }
    free(changes);
    return status;
}

wa_status wa_config_read(const char *file, const char *const *sets, size_t set_count,
                         struct wa_config **ret_config, struct wa_error *err)
{
    unsigned char *data = NULL;
    size_t size = 0;
    wa_status status = wa_file_read_all(file, WA_JSON_BYTES, &data, &size, err);
    if (status == WA_OK) {
        status =
            wa_config_from_text(file, (const char *)data, size, sets, set_count, ret_config, err);
        free(data);
    }
    return status;
}

/* ---- Plugins' options ----------------------------------------------------------------------- */

/* The core schema's own keys of a section, an object; NULL where the core knows no such section. */
static struct json_object *core_keys(const struct wa_config *config, const char *section)
{
    struct json_object *at = NULL;
    (void)json_object_object_get_ex(config->schema, "properties", &at);
    (void)json_object_object_get_ex(at, section, &at);
    (void)json_object_object_get_ex(at, "properties", &at);
    return at;
}

/* Adds another owner of `value` to an object. */
static bool share(struct json_object *object, const char *key, struct json_object *value)
{
    if (json_object_object_add(object, key, json_object_get(value)) == 0) {
        return true;
    }
    json_object_put(value);
    return false;
}

/* Shares with `into` all members of `from` that `except` (may be NULL) does not have. */
static bool share_members(struct json_object *into, struct json_object *from,
                          struct json_object *except)
{
    struct json_object_iterator at = json_object_iter_begin(from);
    struct json_object_iterator end = json_object_iter_end(from);
    bool is_done = true;
    for (; is_done && !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        const char *key = json_object_iter_peek_name(&at);
        if (!json_object_object_get_ex(except, key, NULL)) {
            is_done = share(into, key, json_object_iter_peek_value(&at));
        }
    }
    return is_done;
}

/* An option must not have the name of one of the core's own keys. */
static wa_status check_declared(struct json_object *declared, struct json_object *core,
                                const char *section, struct wa_error *err)
{
    struct json_object_iterator at = json_object_iter_begin(declared);
    struct json_object_iterator end = json_object_iter_end(declared);
    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        const char *key = json_object_iter_peek_name(&at);
        if (json_object_object_get_ex(core, key, NULL)) {
            return wa_fail(err, WA_E_PLUGIN,
                           "the option schema of the %s declares \"%s\", expected a name that the "
                           "core does not use itself",
                           section, key);
        }
    }
    return WA_OK;
}

/* Adds null for each declared option that is absent. */
static wa_status add_absent(struct json_object *options, struct json_object *declared,
                            struct wa_error *err)
{
    struct json_object_iterator at = json_object_iter_begin(declared);
    struct json_object_iterator end = json_object_iter_end(declared);
    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        const char *key = json_object_iter_peek_name(&at);
        if (!json_object_object_get_ex(options, key, NULL) &&
            json_object_object_add(options, key, NULL) != 0) {
            return out_of_memory(err);
        }
    }
    return WA_OK;
}

static wa_status check_options(struct wa_config *config, const char *section,
                               struct json_object *schema, struct json_object *options,
                               struct wa_error *err)
{
    struct json_object *keys = core_keys(config, section);
    struct json_object *values = wa_config_get(config, section);
    struct wa_schema_where where = {
        .place = write_place, .context = config, .path = section, .other_keys = keys};
    if (!json_object_is_type(values, json_type_object)) {
        return wa_fail(err, WA_E_FAILED, "the config has no section \"%s\"", section);
    }
    struct json_object *declared;
    bool has_declared = json_object_object_get_ex(schema, "properties", &declared);
    wa_status status = has_declared ? check_declared(declared, keys, section, err) : WA_OK;
    if (status == WA_OK && !share_members(options, values, keys)) {
        status = out_of_memory(err);
    }
    if (status == WA_OK) {
        status = wa_schema_apply(schema, options, &where, err);
    }
    if (status == WA_OK && !share_members(values, options, values)) {
        status = out_of_memory(err);
    }
    return status == WA_OK && has_declared ? add_absent(options, declared, err) : status;
}

wa_status wa_config_section_options(struct wa_config *config, const char *section,
                                    const char *schema_text, struct json_object **ret_options,
                                    struct wa_error *err)
{
    struct json_object *schema;
    char name[SHOWN_BYTES];
    (void)snprintf(name, sizeof name, "the option schema of the %s", section);
    wa_status status = wa_schema_parse(name, schema_text ? schema_text : "{}", &schema, err);
    if (status != WA_OK) {
        return status;
    }
    struct json_object *options = json_object_new_object();
    status = options ? check_options(config, section, schema, options, err) : out_of_memory(err);
    json_object_put(schema);
    if (status == WA_OK && json_object_object_add(config->options, section, options) != 0) {
        status = out_of_memory(err);
    }
    if (status == WA_OK) {
        *ret_options = options;
    } else {
        json_object_put(options);
    }
    return status;
}

wa_status wa_config_set_plugin(struct wa_config *config, const char *section, const char *id,
                               struct wa_error *err)
{
    struct json_object *settings = wa_config_get(config, section);
    if (!json_object_is_type(settings, json_type_object)) {
        return wa_fail(err, WA_E_FAILED, "the config has no section \"%s\"", section);
    }
    struct json_object *name = json_object_new_string(id);
    if (!name || json_object_object_add(settings, "plugin", name) != 0) {
        json_object_put(name);
        return out_of_memory(err);
    }
    return WA_OK;
}

/* ---- Getters -------------------------------------------------------------------------------- */

struct json_object *wa_config_get(const struct wa_config *config, const char *path)
{
    struct json_object *at = config->root;
    const char *cursor = path;
    struct wa_json_step step;
    enum wa_json_path_result result;
    while ((result = wa_json_path_next(path, &cursor, &step)) == WA_JSON_PATH_STEP) {
        if (!follow(at, &step, &at)) {
            return NULL;
        }
    }
    return result == WA_JSON_PATH_END ? at : NULL;
}

bool wa_config_is_given(const struct wa_config *config, const char *path)
{
    return wa_config_get(config, path) != NULL;
}

int64_t wa_config_get_integer(const struct wa_config *config, const char *path)
{
    struct json_object *value = wa_config_get(config, path);
    return json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : 0;
}

double wa_config_get_number(const struct wa_config *config, const char *path)
{
    struct json_object *value = wa_config_get(config, path);
    bool is_number =
        json_object_is_type(value, json_type_int) || json_object_is_type(value, json_type_double);
    return is_number ? json_object_get_double(value) : 0.0;
}

bool wa_config_get_boolean(const struct wa_config *config, const char *path)
{
    struct json_object *value = wa_config_get(config, path);
    return json_object_is_type(value, json_type_boolean) && json_object_get_boolean(value);
}

const char *wa_config_get_string(const struct wa_config *config, const char *path)
{
    struct json_object *value = wa_config_get(config, path);
    return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

size_t wa_config_get_length(const struct wa_config *config, const char *path)
{
    struct json_object *value = wa_config_get(config, path);
    return json_object_is_type(value, json_type_array) ? json_object_array_length(value) : 0;
}

const char *wa_config_suggest(const char *name, const char *const *candidates, size_t count)
{
    const char *nearest = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        size_t distance = wa_schema_distance(name, candidates[i]);
        if (distance < least) {
            least = distance;
            nearest = candidates[i];
        }
    }
    return nearest;
}
