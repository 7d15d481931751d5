/* Fuzz target: config texts and --set values. An input is the text of a config, then, each after a
 * NUL, what stands after a --set; with -DWA_FUZZ_REPLAY it is a program that runs the files given
 * on its command line. Whatever the scanner accepts json-c must accept, with as many values and
 * with places; an accepted config must come back from its canonical text unchanged. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "json_places.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_SETS = 8 };

static void require(bool is_true, const char *what)
{
    if (!is_true) {
        (void)fprintf(stderr, "fuzz_config: %s\n", what);
        abort();
    }
}

/* Counts the values of a tree and looks each of them up. */
static size_t count_values(struct json_object *value, const struct wa_json_places *places,
                           char path[WA_JSON_PATH_BYTES])
{
    size_t count = 1;
    struct wa_json_place place;
    bool may_be_cut = strlen(path) > WA_JSON_PATH_BYTES / 2;
    require(wa_json_places_find(places, path, &place) || may_be_cut, "a value has no place");
    require(place.line > 0 && place.column > 0, "a place is 0");
    if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            size_t length = wa_json_path_add_index(path, WA_JSON_PATH_BYTES, i);
            count += count_values(json_object_array_get_idx(value, i), places, path);
            path[length] = '\0';
        }
    } else if (json_object_is_type(value, json_type_object)) {
        struct json_object_iterator at = json_object_iter_begin(value);
        struct json_object_iterator end = json_object_iter_end(value);
        for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
            const char *key = json_object_iter_peek_name(&at);
            size_t length = wa_json_path_add_key(path, WA_JSON_PATH_BYTES, key);
            if (strlen(key) >= WA_JSON_KEY_BYTES) {
                path[length] = '\0'; /* too long for a path that is read: look its parent up */
            }
            count += count_values(json_object_iter_peek_value(&at), places, path);
            path[length] = '\0';
        }
    }
    return count;
}

static void check_places(const char *text, size_t size)
{
    struct wa_error err = {.status = WA_OK};
    struct json_object *root = NULL;
    struct wa_json_places *places = NULL;
    wa_status status = wa_json_places_parse("fuzz", text, size, &root, &places, &err);
    require(status == WA_OK || status == WA_E_USAGE, err.message);
    require(status == WA_OK || strncmp(err.message, "fuzz:", 5) == 0, "a message has no place");
    if (status == WA_OK) {
        char path[WA_JSON_PATH_BYTES] = "";
        require(count_values(root, places, path) == wa_json_places_count(places),
                "scanner and json-c count different values");
        wa_json_places_destroy(places);
        json_object_put(root);
    }
}

static void check_accepted(struct wa_config *config)
{
    static const char options[] =
        "{\"additionalProperties\": true, \"properties\": {\"width\": {\"type\": \"integer\", "
        "\"minimum\": 1, \"default\": 16}, \"dir\": {\"type\": [\"string\", \"null\"]}}}";
    struct wa_error err = {.status = WA_OK};
    struct json_object *found = NULL;
    wa_status status = wa_config_section_options(config, "architecture", options, &found, &err);
    require(status == WA_OK || status == WA_E_USAGE, err.message);

    char *text = NULL;
    char *again_text = NULL;
    char *differences = NULL;
    struct wa_config *again = NULL;
    require(wa_config_canonical(config, &text, NULL) == WA_OK, "no canonical text");
    err.status = WA_OK;
    if (wa_config_from_text("canonical", text, strlen(text), NULL, 0, &again, &err) == WA_OK) {
        require(wa_config_canonical(again, &again_text, NULL) == WA_OK, "no canonical text");
        require(strcmp(text, again_text) == 0, "canonical text changes when it is read again");
        require(wa_config_differences(text, again_text, NULL, 0, &differences, NULL) == WA_OK,
                "no differences");
        require(*differences == '\0', "equal configs differ");
    } else {
        /* --set may nest deeper than a file. */
        require(strstr(err.message, "nested too deeply") != NULL, err.message);
    }
    free(text);
    free(again_text);
    free(differences);
    wa_config_destroy(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (!text) {
        return 0;
    }
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    check_places(text, size); /* with the NULs in it */

    const char *sets[MAX_SETS];
    size_t set_count = 0;
    size_t at = strlen(text);
    size_t config_size = at;
    for (; at < size && set_count < MAX_SETS; at += strlen(text + at)) {
        at++;
        sets[set_count++] = text + at;
    }
    struct wa_error err = {.status = WA_OK};
    struct wa_config *config = NULL;
    wa_status status =
        wa_config_from_text("fuzz", text, config_size, sets, set_count, &config, &err);
    require(status == WA_OK || status == WA_E_USAGE, err.message);
    if (status == WA_OK) {
        check_accepted(config);
        wa_config_destroy(config);
    }
    free(text);
    return 0;
}

#ifdef WA_FUZZ_REPLAY
static bool replay(const char *path)
{
    const size_t capacity = (size_t)2 * WA_JSON_BYTES;
    FILE *in = fopen(path, "rb");
    uint8_t *data = malloc(capacity);
    bool is_read = in && data;
    if (is_read) {
        size_t size = fread(data, 1, capacity, in);
        is_read = !ferror(in);
        (void)LLVMFuzzerTestOneInput(data, size);
    }
    if (!is_read) {
        (void)fprintf(stderr, "fuzz_config: cannot read %s\n", path);
    }
    if (in) {
        (void)fclose(in);
    }
    free(data);
    return is_read;
}

int main(int argc, char **argv)
{
    bool is_done = true;
    for (int i = 1; i < argc; i++) {
        is_done = replay(argv[i]) && is_done;
    }
    (void)printf("%d inputs replayed\n", argc - 1);
    return is_done && argc > 1 ? 0 : 1;
}
#endif
