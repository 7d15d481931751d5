/* Reading and checking the config of `walign score`. */
#include "score_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "files.h"
#include "json_places.h"
#include "schema.h"

#define RUN_PROPERTIES                                                                             \
    "\"epochs\": {\"type\": [\"integer\", \"string\"], \"minimum\": 0, \"default\": \"all\"},"     \
    "\"estimator\": {\"enum\": [\"exact\", \"noise\"], \"default\": \"exact\"},"                   \
    "\"control\": {\"type\": \"boolean\", \"default\": false}"

static const char run_schema[] = "{\"type\": \"object\", \"properties\": {" RUN_PROPERTIES "}}";
static const char sweep_schema[] =
    "{\"type\": \"object\", \"required\": [\"sweep\"], \"properties\": {"
    "\"sweep\": {\"type\": \"string\"}," RUN_PROPERTIES ","
    "\"where\": {\"type\": [\"object\", \"null\"], \"additionalProperties\": true, \"default\": "
    "null}"
    "}}";

void wa_score_config_place(const void *config, const char *path, char *ret_place, size_t size)
{
    const struct wa_score_config *c = config;
    for (size_t i = c->change_count; i > 0; i--) {
        if (wa_json_path_is_within(path, c->changes[i - 1].path)) {
            (void)snprintf(ret_place, size, "%s", c->changes[i - 1].place);
            return;
        }
    }
    struct wa_json_place place = {0};
    (void)wa_json_places_find(c->places, path, &place);
    (void)snprintf(ret_place, size, "%s:%u:%u", c->file ? c->file : "--set", place.line,
                   place.column);
}

/* The file's object, or an empty one. */
static wa_status read_root(struct wa_score_config *c, struct wa_error *err)
{
    unsigned char *text = NULL;
    size_t size = 0;
    wa_status status =
        c->file ? wa_file_read_all(c->file, WA_JSON_BYTES, &text, &size, err) : WA_OK;
    if (status == WA_OK) {
        status = wa_json_places_parse(c->file ? c->file : "--set", c->file ? (char *)text : "{}",
                                      c->file ? size : strlen("{}"), &c->root, &c->places, err);
    }
    free(text);
    return status;
}

static wa_status apply_sets(struct wa_score_config *c, const char *const *sets, size_t set_count,
                            struct wa_error *err)
{
    c->changes = calloc(set_count + 1, sizeof *c->changes);
    wa_status status = c->changes ? WA_OK : wa_fail(err, WA_E_MEMORY, "out of memory");
    for (size_t i = 0; i < set_count && status == WA_OK; i++) {
        status = wa_config_read_set(sets[i], &c->changes[i], err);
        c->change_count += status == WA_OK ? 1 : 0;
        if (status == WA_OK) {
            status = wa_config_put_change(&c->changes[i], c->root, err);
        }
    }
    return status;
}

static wa_status check(const struct wa_score_config *c, struct wa_error *err)
{
    const struct wa_schema_where where = {.place = wa_score_config_place, .context = c, .path = ""};
    struct json_object *schema = NULL;
    wa_status status =
        wa_schema_parse("walign score", c->file ? sweep_schema : run_schema, &schema, err);
    if (status == WA_OK) {
        status = wa_schema_apply(schema, c->root, &where, err);
    }
    (void)json_object_put(schema);
    return status;
}

static wa_status take_values(struct wa_score_config *c, struct wa_error *err)
{
    struct json_object *epochs = json_object_object_get(c->root, "epochs");
    bool is_number = json_object_is_type(epochs, json_type_int);
    if (!is_number && strcmp(json_object_get_string(epochs), "all") != 0) {
        char place[256];
        wa_score_config_place(c, "epochs", place, sizeof place);
        return wa_fail(err, WA_E_USAGE, "%s: epochs: got \"%s\", expected a number or \"all\"",
                       place, json_object_get_string(epochs));
    }
    const char *estimator = json_object_get_string(json_object_object_get(c->root, "estimator"));
    c->request = (struct wa_score_request){
        .epoch = is_number ? json_object_get_int64(epochs) : -1,
        .is_noise = strcmp(estimator, "noise") == 0,
        .has_control = json_object_get_boolean(json_object_object_get(c->root, "control"))};
    c->sweep = c->file ? json_object_get_string(json_object_object_get(c->root, "sweep")) : NULL;
    c->where = json_object_object_get(c->root, "where");
    return WA_OK;
}

wa_status wa_score_config_init(const char *file, const char *const *sets, size_t set_count,
                               struct wa_score_config *ret_config, struct wa_error *err)
{
    *ret_config = (struct wa_score_config){.file = file};
    wa_status status = read_root(ret_config, err);
    if (status == WA_OK && json_object_is_type(ret_config->root, json_type_object)) {
        status = apply_sets(ret_config, sets, set_count, err);
    }
    if (status == WA_OK) {
        status = check(ret_config, err);
    }
    return status == WA_OK ? take_values(ret_config, err) : status;
}

void wa_score_config_finish(struct wa_score_config *config)
{
    for (size_t i = 0; i < config->change_count; i++) {
        (void)json_object_put(config->changes[i].value);
    }
    free(config->changes);
    (void)json_object_put(config->root);
    wa_json_places_destroy(config->places);
    *config = (struct wa_score_config){.file = NULL};
}
