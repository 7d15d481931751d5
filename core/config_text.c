/* The config as text: canonical JSON for hashes, and what differs between two of them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "json_places.h"

enum { SHOWN_BYTES = 100 };

static wa_status out_of_memory(struct wa_error *err)
{
    return wa_fail(err, WA_E_MEMORY, "out of memory for a config's text");
}

/* ---- Canonical text ------------------------------------------------------------------------- */

static void write_string(FILE *out, const char *text, size_t size)
{
    (void)fputc('"', out);
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') {
            (void)fprintf(out, "\\%c", c);
        } else if (c < ' ') {
            (void)fprintf(out, "\\u%04x", c);
        } else {
            (void)fputc(c, out);
        }
    }
    (void)fputc('"', out);
}

/* The shortest digits that read back as the same number; whole numbers as integers are written. */
static void write_double(FILE *out, double value)
{
    char text[40];
    if (value > -9e15 && value < 9e15 && (double)(int64_t)value == value) {
        (void)fprintf(out, "%" PRId64, (int64_t)value);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    (void)fputs(text, out);
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The keys of an object, sorted; the array is the caller's, NULL if out of memory. */
static const char **sorted_keys(struct json_object *object, size_t *ret_count)
{
    size_t count = (size_t)json_object_object_length(object);
    const char **keys = calloc(count + 1, sizeof *keys);
    if (!keys) {
        return NULL;
    }
    size_t filled = 0;
    struct json_object_iterator at = json_object_iter_begin(object);
    struct json_object_iterator end = json_object_iter_end(object);
    for (; filled < count && !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        keys[filled++] = json_object_iter_peek_name(&at);
    }
    qsort(keys, filled, sizeof *keys, compare_keys);
    *ret_count = filled;
    return keys;
}

static bool write_value(FILE *out, struct json_object *value);

static bool write_object(FILE *out, struct json_object *object)
{
    size_t count;
    const char **keys = sorted_keys(object, &count);
    bool is_written = keys != NULL;
    (void)fputc('{', out);
    for (size_t i = 0; is_written && i < count; i++) {
        struct json_object *member;
        (void)json_object_object_get_ex(object, keys[i], &member);
        (void)fputs(i ? "," : "", out);
        write_string(out, keys[i], strlen(keys[i]));
        (void)fputc(':', out);
        is_written = write_value(out, member);
    }
    (void)fputc('}', out);
    free(keys);
    return is_written;
}

/* False if out of memory. */
static bool write_value(FILE *out, struct json_object *value)
{
    bool is_written = true;
    switch (json_object_get_type(value)) {
    case json_type_null:
        (void)fputs("null", out);
        break;
    case json_type_boolean:
        (void)fputs(json_object_get_boolean(value) ? "true" : "false", out);
        break;
    case json_type_int:
        (void)fprintf(out, "%" PRId64, json_object_get_int64(value));
        break;
    case json_type_double:
        write_double(out, json_object_get_double(value));
        break;
    case json_type_string:
        write_string(out, json_object_get_string(value), (size_t)json_object_get_string_len(value));
        break;
    case json_type_array:
        (void)fputc('[', out);
        for (size_t i = 0; is_written && i < json_object_array_length(value); i++) {
            (void)fputs(i ? "," : "", out);
            is_written = write_value(out, json_object_array_get_idx(value, i));
        }
        (void)fputc(']', out);
        break;
    case json_type_object:
        is_written = write_object(out, value);
        break;
    }
    return is_written;
}

/* Closes a stream made by open_memstream; false, and no text, if something did not fit in memory.
 */
static bool finish_text(FILE *out, bool is_written, char **text)
{
    is_written = !ferror(out) && is_written;
    is_written = fclose(out) == 0 && is_written;
    if (!is_written) {
        free(*text);
        *text = NULL;
    }
    return is_written;
}

char *wa_config_canonical_value(struct json_object *value)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out) {
        (void)finish_text(out, write_value(out, value), &text);
    }
    return text;
}

wa_status wa_config_canonical(const struct wa_config *config, char **ret_text, struct wa_error *err)
{
    char *text = wa_config_canonical_value(config->root);
    if (!text) {
        return out_of_memory(err);
    }
    *ret_text = text;
    return WA_OK;
}

/* ---- Differences ---------------------------------------------------------------------------- */

struct comparison {
    FILE *out;
    const char *const *ignored;
    size_t ignored_count;
    size_t found;
    char path[WA_JSON_PATH_BYTES];
};

static bool is_ignored(const struct comparison *c)
{
    for (size_t i = 0; i < c->ignored_count; i++) {
        if (wa_json_path_is_within(c->path, c->ignored[i])) {
            return true;
        }
    }
    return false;
}

static bool compare_values(struct comparison *c, struct json_object *a, struct json_object *b);

/* The members of `a`, or those that only `b` has. */
static bool compare_members(struct comparison *c, struct json_object *a, struct json_object *b,
                            bool is_only_b)
{
    size_t count;
    const char **keys = sorted_keys(is_only_b ? b : a, &count);
    bool is_done = keys != NULL;
    for (size_t i = 0; is_done && i < count; i++) {
        struct json_object *in_a = NULL;
        struct json_object *in_b = NULL;
        bool is_in_a = json_object_object_get_ex(a, keys[i], &in_a);
        (void)json_object_object_get_ex(b, keys[i], &in_b);
        if (!is_only_b || !is_in_a) {
            size_t length = wa_json_path_add_key(c->path, sizeof c->path, keys[i]);
            is_done = is_ignored(c) || compare_values(c, in_a, in_b);
            c->path[length] = '\0';
        }
    }
    free(keys);
    return is_done;
}

/* False if out of memory. */
static bool compare_values(struct comparison *c, struct json_object *a, struct json_object *b)
{
    if (json_object_is_type(a, json_type_object) && json_object_is_type(b, json_type_object)) {
        return compare_members(c, a, b, false) && compare_members(c, a, b, true);
    }
    char *a_text = wa_config_canonical_value(a);
    char *b_text = wa_config_canonical_value(b);
    bool is_done = a_text && b_text;
    if (is_done && strcmp(a_text, b_text) != 0) {
        char a_shown[SHOWN_BYTES];
        char b_shown[SHOWN_BYTES];
        wa_json_shorten(a_text, a_shown, sizeof a_shown);
        wa_json_shorten(b_text, b_shown, sizeof b_shown);
        (void)fprintf(c->out, "%s%s%s%s -> %s", c->found++ ? ", " : "", c->path,
                      *c->path ? ": " : "", a_shown, b_shown);
    }
    free(a_text);
    free(b_text);
    return is_done;
}

wa_status wa_config_differences(const char *a_text, const char *b_text, const char *const *ignored,
                                size_t ignored_count, char **ret_text, struct wa_error *err)
{
    struct json_object *a = NULL;
    struct json_object *b = NULL;
    wa_status status =
        wa_json_places_parse("the first config", a_text, strlen(a_text), &a, NULL, err);
    if (status == WA_OK) {
        status = wa_json_places_parse("the second config", b_text, strlen(b_text), &b, NULL, err);
    }
    if (status == WA_OK) {
        char *text = NULL;
        size_t size = 0;
        struct comparison c = {.ignored = ignored, .ignored_count = ignored_count};
        c.out = open_memstream(&text, &size);
        if (c.out && finish_text(c.out, compare_values(&c, a, b), &text)) {
            *ret_text = text;
        } else {
            status = out_of_memory(err);
        }
    }
    json_object_put(a);
    json_object_put(b);
    return status;
}
