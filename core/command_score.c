/* `walign score`: alignment scores of runs and sweeps, as a table and as scores.jsonl. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "files.h"
#include "json_places.h"
#include "log.h"
#include "record.h"
#include "schema.h"
#include "score_run.h"

static const char config_schema[] =
    "{\"type\": \"object\", \"required\": [\"sweep\"], \"properties\": {"
    "\"sweep\": {\"type\": \"string\"},"
    "\"epochs\": {\"type\": [\"integer\", \"string\"], \"minimum\": 0, \"default\": \"all\"},"
    "\"estimator\": {\"enum\": [\"exact\", \"noise\"], \"default\": \"exact\"},"
    "\"control\": {\"type\": \"boolean\", \"default\": false},"
    "\"where\": {\"type\": [\"object\", \"null\"], \"additionalProperties\": true, \"default\": "
    "null}"
    "}}";

/* The lines of one scores.jsonl, and which run they are of. */
struct scores {
    const struct wa_command_line *line;
    struct wa_score_request request;
    const char *run;
    char *text;
    size_t used, size;
    bool has_heading;
};

/* ---- Output --------------------------------------------------------------------------------- */

static wa_status append_line(struct scores *s, const char *line, struct wa_error *err)
{
    size_t length = strlen(line);
    if (s->used + length + 1 > s->size) {
        size_t size = 2 * (s->size + length + 1);
        char *text = realloc(s->text, size);
        if (!text) {
            return wa_fail(err, WA_E_MEMORY, "out of memory");
        }
        s->text = text;
        s->size = size;
    }
    memcpy(s->text + s->used, line, length);
    s->text[s->used + length] = '\n';
    s->used += length + 1;
    return WA_OK;
}

static void print_number(double value)
{
    if (isfinite(value)) {
        (void)printf(" %10.6f", value);
    } else {
        (void)printf(" %10s", "-");
    }
}

static wa_status take_score(void *context, const struct wa_score_line *line, struct wa_error *err)
{
    struct scores *s = context;
    if (!s->has_heading) {
        (void)printf("%-32s %6s %-12s %10s%s\n", "run", "epoch", "layer", "score",
                     s->request.has_control ? "    control" : "");
        s->has_heading = true;
    }
    (void)printf("%-32s %6llu %-12s", s->run, (unsigned long long)line->epoch, line->layer);
    print_number(line->score);
    if (s->request.has_control) {
        print_number(line->control);
    }
    (void)printf("\n");
    json_object *object = json_object_new_object();
    if (!object) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    (void)json_object_object_add(object, "run", json_object_new_string(s->run));
    (void)json_object_object_add(object, "epoch", json_object_new_int64((int64_t)line->epoch));
    (void)json_object_object_add(object, "layer", json_object_new_string(line->layer));
    (void)json_object_object_add(object, "score", wa_record_number(line->score));
    if (s->request.has_control) {
        (void)json_object_object_add(object, "control", wa_record_number(line->control));
    }
    (void)json_object_object_add(object, "squared_cosine", wa_record_number(line->squared_cosine));
    (void)json_object_object_add(object, "estimator",
                                 json_object_new_string(s->request.is_noise ? "noise" : "exact"));
    wa_status status =
        append_line(s, json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN), err);
    (void)json_object_put(object);
    return status;
}

/* Without --out each argument's scores stay where its runs are. */
static wa_status write_scores(struct scores *s, const char *folder, struct wa_error *err)
{
    char *path = wa_file_join(folder, "scores.jsonl");
    wa_status status = path ? wa_files_make_folders(folder, 0777, err)
                            : wa_fail(err, WA_E_MEMORY, "out of memory");
    if (status == WA_OK) {
        status = wa_file_write_atomic(path, s->text ? s->text : "", s->used, err);
    }
    if (status == WA_OK) {
        wa_log(WA_LOG_INFO, "scores in %s", path);
    }
    s->used = 0;
    free(path);
    return status;
}

/* ---- A run ---------------------------------------------------------------------------------- */

static wa_status score_directory(struct scores *s, const char *directory, struct wa_error *err)
{
    char *name = strdup(directory);
    if (!name) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    for (size_t n = strlen(name); n > 1 && name[n - 1] == '/'; n--) {
        name[n - 1] = '\0';
    }
    const char *slash = strrchr(name, '/');
    s->run = slash && slash[1] ? slash + 1 : name;
    wa_status status = wa_score_run(directory, &s->request, take_score, s, err);
    free(name);
    return status;
}

static bool is_run(const char *directory)
{
    char *path = wa_file_join(directory, "run.json");
    bool exists = path && wa_file_exists(path);
    free(path);
    return exists;
}

static wa_status score_run(struct scores *s, const char *directory, struct wa_error *err)
{
    if (!is_run(directory)) {
        return wa_fail(
            err, WA_E_USAGE,
            "%s: expected the directory of a run, with run.json; a sweep is scored through "
            "a config {\"sweep\": \"...\"}",
            directory);
    }
    s->request = (struct wa_score_request){.epoch = -1};
    wa_status status = score_directory(s, directory, err);
    return status == WA_OK && !s->line->out ? write_scores(s, directory, err) : status;
}

/* ---- A sweep -------------------------------------------------------------------------------- */

static json_object *value_at(json_object *root, const char *path)
{
    struct wa_json_step step;
    const char *cursor = path;
    json_object *value = root;
    enum wa_json_path_result result = WA_JSON_PATH_STEP;
    while (value && (result = wa_json_path_next(path, &cursor, &step)) == WA_JSON_PATH_STEP) {
        json_object *next = NULL;
        if (step.is_index && json_object_is_type(value, json_type_array)) {
            next = json_object_array_get_idx(value, step.index);
        } else if (!step.is_index && json_object_is_type(value, json_type_object)) {
            (void)json_object_object_get_ex(value, step.key, &next);
        }
        value = next;
    }
    return result == WA_JSON_PATH_END ? value : NULL;
}

static bool is_number(const json_object *value)
{
    return json_object_is_type(value, json_type_int) ||
           json_object_is_type(value, json_type_double);
}

/* Whether a run lies at the point: 5 and 5.0 are the same learning rate. */
static bool is_at(const char *directory, json_object *where)
{
    json_object *run = NULL;
    json_object *config = NULL;
    struct wa_error reason = {0};
    if (wa_record_read_run(directory, &run, &reason) != WA_OK) {
        wa_log(WA_LOG_WARNING, "%s, ignoring this run", reason.message);
        return false;
    }
    bool matches = json_object_object_get_ex(run, "config", &config);
    if (where) {
        json_object_object_foreach(where, path, wanted)
        {
            json_object *value = matches ? value_at(config, path) : NULL;
            bool is_equal =
                is_number(value) && is_number(wanted)
                    ? !(json_object_get_double(value) < json_object_get_double(wanted)) &&
                          !(json_object_get_double(value) > json_object_get_double(wanted))
                    : json_object_equal(value, wanted) != 0;
            matches = matches && is_equal;
        }
    }
    (void)json_object_put(run);
    return matches;
}

/* A run that failed or stopped early is named and left out; none at all is an error. */
static wa_status score_runs(struct scores *s, const char *folder, json_object *where,
                            struct wa_error *err)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, NULL, alphasort);
    if (count < 0) {
        return wa_fail(err, WA_E_USAGE, "%s: cannot be read", folder);
    }
    size_t scored = 0;
    wa_status status = WA_OK;
    struct wa_error reason = {0};
    for (int i = 0; i < count; i++) {
        char *directory =
            entries[i]->d_name[0] == '.' ? NULL : wa_file_join(folder, entries[i]->d_name);
        if (status == WA_OK && directory && is_run(directory) && is_at(directory, where)) {
            size_t used = s->used;
            reason = (struct wa_error){0};
            status = score_directory(s, directory, &reason);
            scored += status == WA_OK;
            if (status == WA_E_DATA || status == WA_E_USAGE) {
                s->used = used; /* not the lines of some of its epochs */
                wa_log(WA_LOG_WARNING, "%s, ignoring this run", reason.message);
                status = WA_OK;
            }
        }
        free(directory);
        free(entries[i]);
    }
    free(entries);
    if (status != WA_OK) {
        return wa_fail(err, status, "%s", reason.message);
    }
    return scored
               ? WA_OK
               : wa_fail(err, WA_E_USAGE,
                         "%s: no run here can be scored: expected runs with \"alignment_pair\"%s",
                         folder, where ? " at the point that \"where\" names" : "");
}

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

struct text_place {
    const char *file;
    const struct wa_json_places *places;
};

static void write_place(const void *context, const char *path, char *ret_place, size_t size)
{
    const struct text_place *text = context;
    struct wa_json_place place = {0};
    (void)wa_json_places_find(text->places, path, &place);
    (void)snprintf(ret_place, size, "%s:%u:%u", text->file, place.line, place.column);
}

static wa_status read_config(const char *file, json_object **ret_config, struct wa_error *err)
{
    unsigned char *text = NULL;
    size_t size = 0;
    struct text_place where = {.file = file};
    struct wa_json_places *places = NULL;
    json_object *config = NULL;
    json_object *schema = NULL;
    wa_status status = wa_file_read_all(file, WA_JSON_BYTES, &text, &size, err);
    if (status == WA_OK) {
        status = wa_json_places_parse(file, (const char *)text, size, &config, &places, err);
    }
    if (status == WA_OK) {
        status = wa_schema_parse("walign score", config_schema, &schema, err);
    }
    if (status == WA_OK) {
        where.places = places;
        const struct wa_schema_where context = {
            .place = write_place, .context = &where, .path = ""};
        status = wa_schema_apply(schema, config, &context, err);
    }
    json_object *epochs = NULL;
    if (status == WA_OK && json_object_object_get_ex(config, "epochs", &epochs) &&
        json_object_is_type(epochs, json_type_string) &&
        strcmp(json_object_get_string(epochs), "all") != 0) {
        char place[256];
        write_place(&where, "epochs", place, sizeof place);
        status = wa_fail(err, WA_E_USAGE, "%s: epochs: got \"%s\", expected a number or \"all\"",
                         place, json_object_get_string(epochs));
    }
    if (status == WA_OK) {
        *ret_config = config;
    } else {
        (void)json_object_put(config);
    }
    (void)json_object_put(schema);
    wa_json_places_destroy(places);
    free(text);
    return status;
}

static wa_status score_config(struct scores *s, const char *file, struct wa_error *err)
{
    json_object *config = NULL;
    wa_status status = read_config(file, &config, err);
    if (status != WA_OK) {
        return status;
    }
    json_object *epochs = json_object_object_get(config, "epochs");
    s->request = (struct wa_score_request){
        .epoch = json_object_is_type(epochs, json_type_int) ? json_object_get_int64(epochs) : -1,
        .is_noise = strcmp(json_object_get_string(json_object_object_get(config, "estimator")),
                           "noise") == 0,
        .has_control = json_object_get_boolean(json_object_object_get(config, "control"))};
    const char *sweep = json_object_get_string(json_object_object_get(config, "sweep"));
    char *folder = sweep_folder(file, sweep);
    if (!folder) {
        status = wa_fail(err, WA_E_MEMORY, "out of memory");
    } else if (!wa_file_is_folder(folder)) {
        status =
            wa_fail(err, WA_E_USAGE,
                    "%s: sweep: there is no folder %s: run `walign sweep` with %s first, or name "
                    "the directory that it ran in",
                    file, folder, sweep);
    } else {
        status = score_runs(s, folder, json_object_object_get(config, "where"), err);
    }
    if (status == WA_OK && !s->line->out) {
        status = write_scores(s, folder, err);
    }
    free(folder);
    (void)json_object_put(config);
    return status;
}

wa_status wa_command_score(const struct wa_command_line *line, struct wa_error *err)
{
    struct scores s = {.line = line};
    wa_status status = WA_OK;
    for (size_t i = 0; i < line->positional_count && status == WA_OK; i++) {
        const char *argument = line->positional[i];
        s.has_heading = false;
        status = wa_file_is_folder(argument) ? score_run(&s, argument, err)
                                             : score_config(&s, argument, err);
    }
    if (status == WA_OK && line->out) {
        status = write_scores(&s, line->out, err);
    }
    free(s.text);
    return status;
}
