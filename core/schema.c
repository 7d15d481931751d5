/* The checker of values against schemas, the checker of schemas, and the words of their messages.
 */
#include "schema.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json_places.h"

enum { SHOWN_BYTES = 80, EXPECTED_BYTES = 400, NAME_BYTES = 64 };

/* ---- Small helpers over json-c -------------------------------------------------------------- */

/* A member, and whether it is there at all: json-c's NULL is also JSON's null. */
static bool get_member(struct json_object *object, const char *key, struct json_object **ret_member)
{
    *ret_member = NULL;
    return json_object_object_get_ex(object, key, ret_member);
}

static bool has_member(struct json_object *object, const char *key)
{
    return json_object_object_get_ex(object, key, NULL);
}

static struct json_object *member_or_null(struct json_object *object, const char *key)
{
    struct json_object *member;
    (void)get_member(object, key, &member);
    return member;
}

static const char *string_of(struct json_object *value)
{
    return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

/* A keyword's strings: one, or an array's elements; NULL past the last. */
static const char *string_at(struct json_object *value, size_t index)
{
    if (json_object_is_type(value, json_type_array)) {
        return index < json_object_array_length(value)
                   ? string_of(json_object_array_get_idx(value, index))
                   : NULL;
    }
    return index == 0 ? string_of(value) : NULL;
}

static bool is_number(struct json_object *value)
{
    return json_object_is_type(value, json_type_int) ||
           json_object_is_type(value, json_type_double);
}

/* -1, 0 or 1; exact where both are integers. */
static int compare_numbers(struct json_object *a, struct json_object *b)
{
    if (json_object_is_type(a, json_type_int) && json_object_is_type(b, json_type_int)) {
        int64_t x = json_object_get_int64(a);
        int64_t y = json_object_get_int64(b);
        return x < y ? -1 : x > y;
    }
    double x = json_object_get_double(a);
    double y = json_object_get_double(b);
    return x < y ? -1 : x > y;
}

/* Equal as JSON values; 1 and 1.0 are. */
static bool is_equal(struct json_object *a, struct json_object *b)
{
    if (is_number(a) && is_number(b)) {
        return compare_numbers(a, b) == 0;
    }
    return json_object_equal(a, b) != 0;
}

/* ---- Words ---------------------------------------------------------------------------------- */

static void append(char *text, size_t size, const char *format, ...) WA_PRINTF(3, 4);

static void append(char *text, size_t size, const char *format, ...)
{
    size_t length = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text + length, size - length, format, arguments);
    va_end(arguments);
}

void wa_schema_show(struct json_object *value, char *ret_text, size_t size)
{
    const char *text = json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN |
                                                                 JSON_C_TO_STRING_NOSLASHESCAPE);
    wa_json_shorten(text ? text : "?", ret_text, size);
}

size_t wa_schema_distance(const char *name, const char *candidate)
{
    size_t rows = strlen(name);
    size_t columns = strlen(candidate);
    size_t longer = rows > columns ? rows : columns;
    if (longer >= NAME_BYTES) {
        return SIZE_MAX;
    }
    /* Row i holds the distances of name[0..i) to each start of the candidate; a swap of neighbours
     * looks two rows back. */
    size_t table[3][NAME_BYTES];
    for (size_t j = 0; j <= columns; j++) {
        table[0][j] = j;
    }
    for (size_t i = 1; i <= rows; i++) {
        size_t *row = table[i % 3];
        const size_t *last = table[(i + 2) % 3];
        const size_t *before = table[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= columns; j++) {
            size_t best = last[j - 1] + (name[i - 1] != candidate[j - 1]);
            best = last[j] + 1 < best ? last[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            bool is_swap = i > 1 && j > 1 && name[i - 1] == candidate[j - 2] &&
                           name[i - 2] == candidate[j - 1];
            row[j] = is_swap && before[j - 2] + 1 < best ? before[j - 2] + 1 : best;
        }
    }
    size_t distance = table[rows % 3][columns];
    return distance <= (longer + 1) / 3 ? distance : SIZE_MAX;
}

struct nearest {
    const char *key;
    size_t distance;
};

static void offer_key(struct nearest *nearest, const char *name, const char *candidate)
{
    size_t distance = wa_schema_distance(name, candidate);
    if (distance < nearest->distance) {
        *nearest = (struct nearest){candidate, distance};
    }
}

static void offer_keys(struct nearest *nearest, const char *name, struct json_object *object)
{
    if (!object) {
        return;
    }
    struct json_object_iterator at = json_object_iter_begin(object);
    struct json_object_iterator end = json_object_iter_end(object);
    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        offer_key(nearest, name, json_object_iter_peek_name(&at));
    }
}

static void append_keys(char *text, size_t size, struct json_object *object)
{
    if (!object) {
        return;
    }
    struct json_object_iterator at = json_object_iter_begin(object);
    struct json_object_iterator end = json_object_iter_end(object);
    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        append(text, size, "%s\"%s\"", *text ? ", " : "", json_object_iter_peek_name(&at));
    }
}

static void append_range(char *text, size_t size, struct json_object *schema)
{
    char low[SHOWN_BYTES];
    char high[SHOWN_BYTES];
    struct json_object *minimum = member_or_null(schema, "minimum");
    struct json_object *maximum = member_or_null(schema, "maximum");
    wa_schema_show(minimum, low, sizeof low);
    wa_schema_show(maximum, high, sizeof high);
    if (minimum && maximum) {
        append(text, size, " from %s to %s", low, high);
    } else if (minimum) {
        append(text, size, " of at least %s", low);
    } else if (maximum) {
        append(text, size, " of at most %s", high);
    }
}

struct type {
    const char *name, *words;
    enum json_type type;
    bool is_numeric;
};

static const struct type types[] = {
    {"null", "null", json_type_null, false},
    {"boolean", "true or false", json_type_boolean, false},
    {"integer", "an integer", json_type_int, true},
    {"number", "a number", json_type_double, true},
    {"string", "a string", json_type_string, false},
    {"array", "an array", json_type_array, false},
    {"object", "an object", json_type_object, false},
};

static const struct type *find_type(const char *name)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(types[i].name, name) == 0) {
            return &types[i];
        }
    }
    return NULL;
}

/* "an integer of at least 1 or null": what the schema wants of a value. */
static void describe(struct json_object *schema, char text[EXPECTED_BYTES])
{
    text[0] = '\0';
    struct json_object *choices = member_or_null(schema, "enum");
    struct json_object *names = member_or_null(schema, "type");
    if (choices) {
        size_t count = json_object_array_length(choices);
        for (size_t i = 0; i < count; i++) {
            char shown[SHOWN_BYTES];
            wa_schema_show(json_object_array_get_idx(choices, i), shown, sizeof shown);
            append(text, EXPECTED_BYTES, "%s%s",
                   i == 0           ? ""
                   : i + 1 == count ? " or "
                                    : ", ",
                   shown);
        }
        return;
    }
    const char *name;
    for (size_t i = 0; (name = string_at(names, i)) != NULL; i++) {
        const struct type *type = find_type(name);
        append(text, EXPECTED_BYTES, "%s%s", i ? " or " : "", type ? type->words : name);
        if (type && type->is_numeric) {
            append_range(text, EXPECTED_BYTES, schema);
        }
    }
    if (!names) {
        append(text, EXPECTED_BYTES, "a value");
        append_range(text, EXPECTED_BYTES, schema);
    }
}

/* ---- Values --------------------------------------------------------------------------------- */

struct checker {
    const struct wa_schema_where *where;
    struct wa_error *err;
    char path[WA_JSON_PATH_BYTES];
};

static wa_status refuse(const struct checker *c, const char *format, ...) WA_PRINTF(2, 3)
    __attribute__((cold));

static wa_status refuse(const struct checker *c, const char *format, ...)
{
    char text[WA_MESSAGE_BYTES / 2];
    char place[WA_MESSAGE_BYTES / 4];
    char path[100];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    c->where->place(c->where->context, c->path, place, sizeof place);
    wa_json_shorten(c->path, path, sizeof path);
    return wa_fail(c->err, WA_E_USAGE, "%s: %s%s%s", place, path, *path ? ": " : "", text);
}

static wa_status refuse_value(const struct checker *c, struct json_object *schema,
                              struct json_object *value)
{
    char got[SHOWN_BYTES];
    char expected[EXPECTED_BYTES];
    wa_schema_show(value, got, sizeof got);
    describe(schema, expected);
    return refuse(c, "got %s, expected %s", got, expected);
}

static wa_status refuse_key(const struct checker *c, struct json_object *properties,
                            const char *key)
{
    bool is_top = strcmp(c->path, c->where->path) == 0;
    struct json_object *others = is_top ? c->where->other_keys : NULL;
    struct nearest nearest = {NULL, SIZE_MAX};
    struct checker at_key = *c;
    (void)wa_json_path_add_key(at_key.path, sizeof at_key.path, key);
    offer_keys(&nearest, key, properties);
    offer_keys(&nearest, key, others);
    if (nearest.key) {
        return refuse(&at_key, "unknown key, did you mean \"%s\"?", nearest.key);
    }
    char known[EXPECTED_BYTES] = "";
    append_keys(known, sizeof known, properties);
    append_keys(known, sizeof known, others);
    return refuse(&at_key, "unknown key, expected %s%s", *known ? "one of " : "none here", known);
}

static bool has_type(struct json_object *schema, struct json_object *value)
{
    struct json_object *names;
    if (!get_member(schema, "type", &names)) {
        return true;
    }
    enum json_type actual = json_object_get_type(value);
    const char *name;
    for (size_t i = 0; (name = string_at(names, i)) != NULL; i++) {
        const struct type *type = find_type(name);
        bool is_whole_number = actual == json_type_int && type && type->type == json_type_double;
        if (type && (type->type == actual || is_whole_number)) {
            return true;
        }
    }
    return false;
}

static bool is_choice(struct json_object *schema, struct json_object *value)
{
    struct json_object *choices;
    if (!get_member(schema, "enum", &choices)) {
        return true;
    }
    for (size_t i = 0; i < json_object_array_length(choices); i++) {
        if (is_equal(json_object_array_get_idx(choices, i), value)) {
            return true;
        }
    }
    return false;
}

static bool is_in_range(struct json_object *schema, struct json_object *value)
{
    struct json_object *minimum = member_or_null(schema, "minimum");
    struct json_object *maximum = member_or_null(schema, "maximum");
    return !is_number(value) || ((!minimum || compare_numbers(value, minimum) >= 0) &&
                                 (!maximum || compare_numbers(value, maximum) <= 0));
}

static wa_status check_value(struct checker *c, struct json_object *schema,
                             struct json_object *value);

static wa_status check_items(struct checker *c, struct json_object *schema,
                             struct json_object *array)
{
    struct json_object *items = member_or_null(schema, "items");
    wa_status status = WA_OK;
    for (size_t i = 0; items && status == WA_OK && i < json_object_array_length(array); i++) {
        size_t length = wa_json_path_add_index(c->path, sizeof c->path, i);
        status = check_value(c, items, json_object_array_get_idx(array, i));
        c->path[length] = '\0';
    }
    return status;
}

static wa_status check_member(struct checker *c, struct json_object *schema, const char *key,
                              struct json_object *value)
{
    size_t length = wa_json_path_add_key(c->path, sizeof c->path, key);
    wa_status status = check_value(c, schema, value);
    c->path[length] = '\0';
    return status;
}

/* The members that are there, in the order of the text. */
static wa_status check_present(struct checker *c, struct json_object *schema,
                               struct json_object *object)
{
    struct json_object *properties = member_or_null(schema, "properties");
    bool may_have_more = json_object_get_boolean(member_or_null(schema, "additionalProperties"));
    wa_status status = WA_OK;
    struct json_object_iterator at = json_object_iter_begin(object);
    struct json_object_iterator end = json_object_iter_end(object);
    for (; status == WA_OK && !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        const char *key = json_object_iter_peek_name(&at);
        struct json_object *member_schema;
        if (get_member(properties, key, &member_schema)) {
            status = check_member(c, member_schema, key, json_object_iter_peek_value(&at));
        } else if (!may_have_more) {
            status = refuse_key(c, properties, key);
        }
    }
    return status;
}

static wa_status check_required(struct checker *c, struct json_object *schema,
                                struct json_object *object)
{
    struct json_object *properties = member_or_null(schema, "properties");
    struct json_object *required = member_or_null(schema, "required");
    const char *key;
    for (size_t i = 0; (key = string_at(required, i)) != NULL; i++) {
        if (!has_member(object, key)) {
            char expected[EXPECTED_BYTES];
            describe(member_or_null(properties, key), expected);
            return refuse(c, "\"%s\" is missing, expected %s", key, expected);
        }
    }
    return WA_OK;
}

static wa_status add_default(struct checker *c, struct json_object *object, const char *key,
                             struct json_object *value)
{
    struct json_object *copy = NULL;
    if (value && json_object_deep_copy(value, &copy, NULL) != 0) {
        return wa_fail(c->err, WA_E_MEMORY, "out of memory for the default of \"%s\"", key);
    }
    if (json_object_object_add(object, key, copy) != 0) {
        json_object_put(copy);
        return wa_fail(c->err, WA_E_MEMORY, "out of memory for the default of \"%s\"", key);
    }
    return WA_OK;
}

static wa_status fill_defaults(struct checker *c, struct json_object *schema,
                               struct json_object *object)
{
    struct json_object *properties = member_or_null(schema, "properties");
    if (!properties) {
        return WA_OK;
    }
    wa_status status = WA_OK;
    struct json_object_iterator at = json_object_iter_begin(properties);
    struct json_object_iterator end = json_object_iter_end(properties);
    for (; status == WA_OK && !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        const char *key = json_object_iter_peek_name(&at);
        struct json_object *member_schema = json_object_iter_peek_value(&at);
        struct json_object *value;
        if (!has_member(object, key) && get_member(member_schema, "default", &value)) {
            status = add_default(c, object, key, value);
            if (status == WA_OK) { /* an object's own defaults */
                status = check_member(c, member_schema, key, member_or_null(object, key));
            }
        }
    }
    return status;
}

static wa_status check_value(struct checker *c, struct json_object *schema,
                             struct json_object *value)
{
    if (!has_type(schema, value) || !is_choice(schema, value) || !is_in_range(schema, value)) {
        return refuse_value(c, schema, value);
    }
    if (json_object_is_type(value, json_type_array)) {
        return check_items(c, schema, value);
    }
    wa_status status = WA_OK;
    if (json_object_is_type(value, json_type_object)) {
        status = check_present(c, schema, value);
        if (status == WA_OK) {
            status = check_required(c, schema, value);
        }
        if (status == WA_OK) {
            status = fill_defaults(c, schema, value);
        }
    }
    return status;
}

wa_status wa_schema_apply(struct json_object *schema, struct json_object *value,
                          const struct wa_schema_where *where, struct wa_error *err)
{
    struct checker c = {.where = where, .err = err};
    (void)snprintf(c.path, sizeof c.path, "%s", where->path);
    return check_value(&c, schema, value);
}

/* ---- Schemas -------------------------------------------------------------------------------- */

struct keyword {
    const char *name;
    enum json_type type, other_type; /* equal where there is but one */
    const char *words;
};

static const struct keyword keywords[] = {
    {"type", json_type_string, json_type_array, "a type's name or an array of them"},
    {"enum", json_type_array, json_type_array, "an array of values"},
    {"minimum", json_type_int, json_type_double, "a number"},
    {"maximum", json_type_int, json_type_double, "a number"},
    {"items", json_type_object, json_type_object, "a schema"},
    {"required", json_type_array, json_type_array, "an array of names of properties"},
    {"properties", json_type_object, json_type_object, "an object of schemas"},
    {"additionalProperties", json_type_boolean, json_type_boolean, "true or false"},
    {"description", json_type_string, json_type_string, "a string"},
    {"title", json_type_string, json_type_string, "a string"},
    {"$schema", json_type_string, json_type_string, "a string"},
};

static wa_status check_keyword(struct checker *c, const char *key, struct json_object *value)
{
    struct nearest nearest = {NULL, SIZE_MAX};
    if (strcmp(key, "default") == 0) {
        return WA_OK; /* any value; see check_default */
    }
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++) {
        const struct keyword *keyword = &keywords[i];
        enum json_type type = json_object_get_type(value);
        if (strcmp(keyword->name, key) == 0) {
            if (type != keyword->type && type != keyword->other_type) {
                char got[SHOWN_BYTES];
                wa_schema_show(value, got, sizeof got);
                return refuse(c, "got %s, expected %s", got, keyword->words);
            }
            return WA_OK;
        }
        offer_key(&nearest, key, keyword->name);
    }
    if (nearest.key) {
        return refuse(c, "unknown keyword, did you mean \"%s\"?", nearest.key);
    }
    char known[EXPECTED_BYTES] = "\"default\"";
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++) {
        append(known, sizeof known, ", \"%s\"", keywords[i].name);
    }
    return refuse(c, "unknown keyword, expected one of %s", known);
}

static wa_status check_keywords(struct checker *c, struct json_object *schema)
{
    wa_status status = WA_OK;
    struct json_object_iterator at = json_object_iter_begin(schema);
    struct json_object_iterator end = json_object_iter_end(schema);
    for (; status == WA_OK && !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        const char *key = json_object_iter_peek_name(&at);
        size_t length = wa_json_path_add_key(c->path, sizeof c->path, key);
        status = check_keyword(c, key, json_object_iter_peek_value(&at));
        c->path[length] = '\0';
    }
    return status;
}

/* The strings of "type" and "required". */
static wa_status check_names(const struct checker *c, struct json_object *schema)
{
    struct json_object *names;
    if (get_member(schema, "type", &names)) {
        size_t i = 0;
        const char *name;
        while ((name = string_at(names, i)) != NULL && find_type(name)) {
            i++;
        }
        bool is_list = json_object_is_type(names, json_type_array);
        if (name || i == 0 || (is_list && i < json_object_array_length(names))) {
            return refuse(c,
                          "\"type\" has %s, expected null, boolean, integer, number, string, "
                          "array or object",
                          name ? name : "none or no string");
        }
    }
    struct json_object *properties = member_or_null(schema, "properties");
    struct json_object *required = member_or_null(schema, "required");
    for (size_t i = 0; required && i < json_object_array_length(required); i++) {
        const char *name = string_at(required, i);
        if (!name || !has_member(properties, name)) {
            return refuse(c, "\"required\" has %s, expected names of its properties",
                          name ? name : "something that is no string");
        }
    }
    return WA_OK;
}

static wa_status check_limits(const struct checker *c, struct json_object *schema)
{
    struct json_object *minimum = member_or_null(schema, "minimum");
    struct json_object *maximum = member_or_null(schema, "maximum");
    struct json_object *choices = member_or_null(schema, "enum");
    if (minimum && maximum && compare_numbers(minimum, maximum) > 0) {
        return refuse(c, "\"minimum\" is above \"maximum\", expected it at or below");
    }
    if (choices && json_object_array_length(choices) == 0) {
        return refuse(c, "\"enum\" is empty, expected at least one value");
    }
    return WA_OK;
}

/* A default must be a value that the schema takes. */
static wa_status check_default(const struct checker *c, struct json_object *schema)
{
    struct json_object *value;
    struct json_object *copy = NULL;
    if (!get_member(schema, "default", &value)) {
        return WA_OK;
    }
    if (value && json_object_deep_copy(value, &copy, NULL) != 0) {
        return wa_fail(c->err, WA_E_MEMORY, "out of memory for a schema's default");
    }
    struct checker at_default = *c;
    (void)wa_json_path_add_key(at_default.path, sizeof at_default.path, "default");
    wa_status status = check_value(&at_default, schema, copy);
    json_object_put(copy);
    return status;
}

static wa_status check_schema(struct checker *c, struct json_object *schema);

static wa_status check_properties(struct checker *c, struct json_object *properties)
{
    wa_status status = WA_OK;
    struct json_object_iterator at = json_object_iter_begin(properties);
    struct json_object_iterator end = json_object_iter_end(properties);
    for (; status == WA_OK && !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        size_t length =
            wa_json_path_add_key(c->path, sizeof c->path, json_object_iter_peek_name(&at));
        status = check_schema(c, json_object_iter_peek_value(&at));
        c->path[length] = '\0';
    }
    return status;
}

static wa_status check_schema(struct checker *c, struct json_object *schema)
{
    if (!json_object_is_type(schema, json_type_object)) {
        char got[SHOWN_BYTES];
        wa_schema_show(schema, got, sizeof got);
        return refuse(c, "got %s, expected a schema, an object", got);
    }
    wa_status status = check_keywords(c, schema);
    if (status == WA_OK) {
        status = check_names(c, schema);
    }
    if (status == WA_OK) {
        status = check_limits(c, schema);
    }
    struct json_object *part;
    if (status == WA_OK && get_member(schema, "properties", &part)) {
        size_t length = wa_json_path_add_key(c->path, sizeof c->path, "properties");
        status = check_properties(c, part);
        c->path[length] = '\0';
    }
    if (status == WA_OK && get_member(schema, "items", &part)) {
        size_t length = wa_json_path_add_key(c->path, sizeof c->path, "items");
        status = check_schema(c, part);
        c->path[length] = '\0';
    }
    return status == WA_OK ? check_default(c, schema) : status;
}

struct schema_text {
    const char *name;
    const struct wa_json_places *places;
};

static void place_in_schema(const void *context, const char *path, char *ret_place, size_t size)
{
    const struct schema_text *text = context;
    struct wa_json_place place;
    (void)wa_json_places_find(text->places, path, &place);
    (void)snprintf(ret_place, size, "%s:%" PRIu32 ":%" PRIu32, text->name, place.line,
                   place.column);
}

wa_status wa_schema_parse(const char *name, const char *text, struct json_object **ret_schema,
                          struct wa_error *err)
{
    struct json_object *schema;
    struct wa_json_places *places;
    struct wa_error found = {.status = WA_OK};
    wa_status status = wa_json_places_parse(name, text, strlen(text), &schema, &places, &found);
    if (status == WA_OK) {
        struct schema_text context = {name, places};
        struct wa_schema_where where = {place_in_schema, &context, "", NULL};
        struct checker c = {.where = &where, .err = &found};
        status = check_schema(&c, schema);
        wa_json_places_destroy(places);
        if (status == WA_OK) {
            *ret_schema = schema;
            return WA_OK;
        }
        json_object_put(schema);
    }
    /* Whoever wrote the schema is to blame, not the user. */
    return wa_fail(err, status == WA_E_MEMORY ? status : WA_E_PLUGIN, "%s", found.message);
}
