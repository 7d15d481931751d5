/* From the arguments of `walign score` to runs: the runs of a sweep at the point that "where" names. */
#include "score_plan.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "files.h"
#include "log.h"
#include "record.h"
#include "schema.h"

enum { SHOWN_BYTES = 100 };

/* Looking for the runs of a sweep. */
struct search {
    const struct wa_score_config *config;
    struct wa_score_group *group;
    struct json_object *seen;       /* {path of "where": the values that runs have there, ...} */
    struct json_object *run_config; /* of the last run looked at */
    struct wa_error reason;         /* why the first run cannot be scored */
    struct wa_error *err;
};

static wa_status out_of_memory(struct wa_error *err)
{
    return wa_fail(err, WA_E_MEMORY, "out of memory for the runs to score");
}

static bool is_run(const char *directory)
{
    char *path = wa_file_join(directory, "run.json");
    bool exists = path && wa_file_exists(path);
    free(path);
    return exists;
}

/* ---- Where ---------------------------------------------------------------------------------- */

static bool follow(struct json_object *from, const struct wa_json_step *step,
                   struct json_object **ret_value)
{
    *ret_value = NULL;
    if (step->is_index) {
        bool is_there = json_object_is_type(from, json_type_array) &&
                        step->index < json_object_array_length(from);
        *ret_value = is_there ? json_object_array_get_idx(from, step->index) : NULL;
        return is_there;
    }
    return json_object_is_type(from, json_type_object) &&
           json_object_object_get_ex(from, step->key, ret_value);
}

/* Whether the path is there. Else *ret_missing is the step that is not, in *ret_value. */
static bool find_value(struct json_object *root, const char *path, struct json_object **ret_value,
                       struct wa_json_step *ret_missing)
{
    struct wa_json_step step;
    const char *cursor = path;
    enum wa_json_path_result result;
    *ret_value = root;
    while ((result = wa_json_path_next(path, &cursor, &step)) == WA_JSON_PATH_STEP) {
        struct json_object *next = NULL;
        if (!follow(*ret_value, &step, &next)) {
            *ret_missing = step;
            return false;
        }
        *ret_value = next;
    }
    return result == WA_JSON_PATH_END;
}

static bool is_number(const struct json_object *value)
{
    return json_object_is_type(value, json_type_int) ||
           json_object_is_type(value, json_type_double);
}

/* 5 and 5.0 are the same learning rate. */
static bool are_equal(struct json_object *a, struct json_object *b)
{
    if (is_number(a) && is_number(b)) {
        double x = json_object_get_double(a);
        double y = json_object_get_double(b);
        return !(x < y) && !(x > y);
    }
    return json_object_equal(a, b) != 0;
}

static bool holds(struct json_object *array, struct json_object *value)
{
    size_t count = array ? json_object_array_length(array) : 0;
    for (size_t i = 0; i < count; i++) {
        if (are_equal(json_object_array_get_idx(array, i), value)) {
            return true;
        }
    }
    return false;
}

/* Remembers what a run has at a path, for the message where no run fits. */
static void note_value(struct search *s, const char *path, struct json_object *value)
{
    struct json_object *values = NULL;
    if (!json_object_object_get_ex(s->seen, path, &values)) {
        values = json_object_new_array();
        (void)json_object_object_add(s->seen, path, values);
    }
    if (values && !holds(values, value)) {
        (void)json_object_array_add(values, json_object_get(value));
    }
}

static bool is_at(struct search *s, struct json_object *config)
{
    bool matches = true;
    if (!s->config->where) {
        return true;
    }
    json_object_object_foreach(s->config->where, path, wanted)
    {
        struct json_object *value = NULL;
        struct wa_json_step ignored;
        if (find_value(config, path, &value, &ignored)) {
            note_value(s, path, value);
        } else {
            value = NULL;
        }
        matches = are_equal(value, wanted) && matches;
    }
    return matches;
}

/* The key of the object that `missing` may be a slip of, or NULL. */
static const char *suggest(struct json_object *object, const char *missing)
{
    const char *nearest = NULL;
    size_t least = SIZE_MAX;
    if (!json_object_is_type(object, json_type_object)) {
        return NULL;
    }
    json_object_object_foreach(object, key, ignored)
    {
        (void)ignored;
        size_t distance = wa_schema_distance(missing, key);
        if (distance < least) {
            least = distance;
            nearest = key;
        }
    }
    return nearest;
}

static wa_status fail_path(const struct search *s, const char *path, const char *place)
{
    struct wa_json_step missing = {.key = ""};
    struct json_object *around = NULL;
    (void)find_value(s->run_config, path, &around, &missing);
    const char *near = missing.is_index ? NULL : suggest(around, missing.key);
    return wa_fail(s->err, WA_E_USAGE, "%s: where: no run in %s has '%s' in its config%s%s%s",
                   place, s->group->folder, path, near ? ": did you mean \"" : "", near ? near : "",
                   near ? "\"?" : "");
}

/* Runs are there, and none of them is at the point. */
static wa_status fail_where(const struct search *s)
{
    char place[WA_MESSAGE_BYTES / 4];
    char wanted_text[SHOWN_BYTES];
    char seen_text[SHOWN_BYTES];
    json_object_object_foreach(s->config->where, path, wanted)
    {
        char full[WA_JSON_PATH_BYTES] = "where";
        struct json_object *values = NULL;
        (void)wa_json_path_add_key(full, sizeof full, path);
        wa_score_config_place(s->config, full, place, sizeof place);
        if (!json_object_object_get_ex(s->seen, path, &values)) {
            return fail_path(s, path, place);
        }
        if (!holds(values, wanted)) {
            wa_schema_show(wanted, wanted_text, sizeof wanted_text);
            wa_schema_show(values, seen_text, sizeof seen_text);
            return wa_fail(s->err, WA_E_USAGE,
                           "%s: where: no run in %s has '%s' %s: expected one of %s", place,
                           s->group->folder, path, wanted_text, seen_text);
        }
    }
    wa_score_config_place(s->config, "where", place, sizeof place);
    return wa_fail(s->err, WA_E_USAGE, "%s: where: no run in %s has all of these values", place,
                   s->group->folder);
}

/* ---- Runs ----------------------------------------------------------------------------------- */

static wa_status add_run(struct wa_score_group *group, const char *directory, struct wa_error *err)
{
    struct wa_score_run *runs = realloc(group->runs, (group->run_count + 1) * sizeof *runs);
    if (!runs) {
        return out_of_memory(err);
    }
    group->runs = runs;
    struct wa_score_run *run = &runs[group->run_count];
    wa_status status = wa_score_run_init(directory, &group->request, run, err);
    if (status == WA_OK) {
        group->run_count++;
    } else {
        wa_score_run_finish(run);
    }
    return status;
}

/* A run that failed or stopped early is named and left out. */
static wa_status leave_out(struct search *s, const struct wa_error *reason)
{
    if (reason->status != WA_E_DATA && reason->status != WA_E_USAGE) {
        return wa_fail(s->err, reason->status, "%s", reason->message);
    }
    wa_log(WA_LOG_WARNING, "%s, ignoring this run", reason->message);
    if (s->reason.status == WA_OK) {
        s->reason = *reason;
    }
    return WA_OK;
}

static wa_status look_at_run(struct search *s, const char *directory, size_t *ret_looked_at)
{
    struct json_object *run = NULL;
    struct json_object *config = NULL;
    struct wa_error reason = {0};
    if (wa_record_read_run(directory, &run, &reason) != WA_OK) {
        return leave_out(s, &reason);
    }
    (*ret_looked_at)++;
    (void)json_object_object_get_ex(run, "config", &config);
    bool is_wanted = is_at(s, config);
    (void)json_object_put(s->run_config);
    s->run_config = json_object_get(config);
    (void)json_object_put(run);
    if (!is_wanted || add_run(s->group, directory, &reason) == WA_OK) {
        return WA_OK;
    }
    return leave_out(s, &reason);
}

static wa_status fail_empty(const struct search *s, size_t looked_at)
{
    if (s->reason.status != WA_OK) {
        return wa_fail(s->err, s->reason.status, "%s: none of its runs can be scored: %s",
                       s->group->folder, s->reason.message);
    }
    return looked_at ? fail_where(s)
                     : wa_fail(s->err, WA_E_USAGE,
                               "%s: has no runs in it: expected folders with run.json, as `walign "
                               "sweep` makes them",
                               s->group->folder);
}

static wa_status search_runs(struct search *s)
{
    const char *folder = s->group->folder;
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, NULL, alphasort);
    if (count < 0) {
        return wa_fail(s->err, WA_E_USAGE, "%s: cannot be read", folder);
    }
    size_t looked_at = 0;
    wa_status status = WA_OK;
    for (int i = 0; i < count; i++) {
        char *directory =
            entries[i]->d_name[0] == '.' ? NULL : wa_file_join(folder, entries[i]->d_name);
        if (status == WA_OK && directory && is_run(directory)) {
            status = look_at_run(s, directory, &looked_at);
        }
        free(directory);
        free(entries[i]);
    }
    free(entries);
    return status == WA_OK && s->group->run_count == 0 ? fail_empty(s, looked_at) : status;
}

/* ---- Arguments ------------------------------------------------------------------------------ */

/* "sweep" is the directory of a sweep, or a sweep's config: then the directory it runs in by default. */
static char *sweep_folder(const char *config_file, const char *sweep)
{
    const char *slash = strrchr(config_file, '/');
    char *folder = slash ? strndup(config_file, (size_t)(slash - config_file)) : strdup("");
    char *path = folder ? wa_file_join(folder, sweep) : NULL;
    free(folder);
    if (!path || wa_file_is_folder(path)) {
        return path;
    }
    free(path);
    slash = strrchr(sweep, '/');
    const char *name = slash ? slash + 1 : sweep;
    const char *dot = strrchr(name, '.');
    size_t length = dot && dot > name ? (size_t)(dot - name) : strlen(name);
    path = malloc(length + sizeof "runs/");
    if (path) {
        (void)snprintf(path, length + sizeof "runs/", "runs/%.*s", (int)length, name);
    }
    return path;
}

static wa_status add_sweep(struct wa_score_group *group, const struct wa_score_config *config,
                           struct wa_error *err)
{
    group->folder = sweep_folder(config->file, config->sweep);
    struct search search = {
        .config = config, .group = group, .seen = json_object_new_object(), .err = err};
    wa_status status = group->folder && search.seen ? WA_OK : out_of_memory(err);
    if (status == WA_OK && !wa_file_is_folder(group->folder)) {
        status =
            wa_fail(err, WA_E_USAGE,
                    "%s: sweep: there is no folder %s: run `walign sweep` with %s first, or name "
                    "the directory that it ran in",
                    config->file, group->folder, config->sweep);
    }
    if (status == WA_OK) {
        status = search_runs(&search);
    }
    (void)json_object_put(search.seen);
    (void)json_object_put(search.run_config);
    return status;
}

static wa_status add_directory(struct wa_score_group *group, const char *directory,
                               struct wa_error *err)
{
    if (!is_run(directory)) {
        return wa_fail(
            err, WA_E_USAGE,
            "%s: expected the directory of a run, with run.json; a sweep is scored through "
            "a config {\"sweep\": \"...\"}",
            directory);
    }
    group->folder = strdup(directory);
    return group->folder ? add_run(group, directory, err) : out_of_memory(err);
}

static wa_status add_argument(struct wa_score_group *group, const char *argument,
                              const char *const *sets, size_t set_count, struct wa_error *err)
{
    bool is_folder = wa_file_is_folder(argument);
    struct wa_score_config config = {.file = NULL};
    wa_status status =
        wa_score_config_init(is_folder ? NULL : argument, sets, set_count, &config, err);
    group->request = config.request;
    if (status == WA_OK) {
        status = is_folder ? add_directory(group, argument, err) : add_sweep(group, &config, err);
    }
    wa_score_config_finish(&config);
    return status;
}

wa_status wa_score_plan_init(const char *const *arguments, size_t argument_count,
                             const char *const *sets, size_t set_count,
                             struct wa_score_plan *ret_plan, struct wa_error *err)
{
    *ret_plan =
        (struct wa_score_plan){.groups = calloc(argument_count, sizeof(struct wa_score_group))};
    wa_status status = ret_plan->groups ? WA_OK : out_of_memory(err);
    for (size_t i = 0; i < argument_count && status == WA_OK; i++) {
        status = add_argument(&ret_plan->groups[ret_plan->group_count++], arguments[i], sets,
                              set_count, err);
    }
    return status;
}

void wa_score_plan_finish(struct wa_score_plan *plan)
{
    for (size_t g = 0; g < plan->group_count; g++) {
        struct wa_score_group *group = &plan->groups[g];
        for (size_t i = 0; i < group->run_count; i++) {
            wa_score_run_finish(&group->runs[i]);
        }
        free(group->runs);
        free(group->folder);
    }
    free(plan->groups);
    *plan = (struct wa_score_plan){.groups = NULL};
}
