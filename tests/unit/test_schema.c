/* The schema subset: every keyword on values, defaults, suggestions, and faults of schemas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "json_places.h"
#include "schema.h"

static void place_nowhere(const void *context, const char *path, char *ret_place, size_t size)
{
    (void)path;
    (void)snprintf(ret_place, size, "%s", (const char *)context);
}

/* Applies a schema to a text; "" in `message` if the value is to be accepted. The value as it is
 * afterwards is compared with `after` unless that is NULL. */
static void check(const char *schema_text, const char *text, const char *message, const char *after)
{
    struct wa_error err = {.status = WA_OK};
    struct json_object *schema = NULL;
    struct json_object *value = NULL;
    if (wa_schema_parse("s", schema_text, &schema, &err) != WA_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(wa_json_places_parse("x", text, strlen(text), &value, NULL, &err), WA_OK);
    struct wa_schema_where where = {.place = place_nowhere, .context = "here", .path = ""};
    wa_status status = wa_schema_apply(schema, value, &where, &err);
    assert_string_equal(err.message, message);
    assert_int_equal(status, *message ? WA_E_USAGE : WA_OK);
    if (after) {
        assert_string_equal(json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN), after);
    }
    json_object_put(value);
    json_object_put(schema);
}

static void accept(const char *schema, const char *text)
{
    check(schema, text, "", NULL);
}

static void refuse(const char *schema, const char *text, const char *message)
{
    check(schema, text, message, NULL);
}

static void test_types(void **state)
{
    (void)state;
    static const char *const names[] = {"null",   "boolean", "integer", "number",
                                        "string", "array",   "object"};
    static const char *const values[] = {"null", "true", "3", "3.5", "\"3\"", "[3]", "{}"};
    for (size_t i = 0; i < 7; i++) {
        for (size_t j = 0; j < 7; j++) {
            char schema[60];
            (void)snprintf(schema, sizeof schema, "{\"type\": \"%s\"}", names[i]);
            struct wa_error err = {.status = WA_OK};
            struct json_object *parsed = NULL;
            struct json_object *value = NULL;
            assert_int_equal(wa_schema_parse("s", schema, &parsed, &err), WA_OK);
            assert_int_equal(
                wa_json_places_parse("x", values[j], strlen(values[j]), &value, NULL, &err), WA_OK);
            struct wa_schema_where where = {.place = place_nowhere, .context = "", .path = ""};
            bool fits = i == j || (i == 3 && j == 2); /* an integer is a number */
            assert_int_equal(wa_schema_apply(parsed, value, &where, &err),
                             fits ? WA_OK : WA_E_USAGE);
            json_object_put(value);
            json_object_put(parsed);
        }
    }
    refuse("{\"type\": \"integer\"}", "3.0", "here: got 3.0, expected an integer");
    refuse("{\"type\": \"integer\"}", "3e0", "here: got 3e0, expected an integer");
    refuse("{\"type\": \"boolean\"}", "1", "here: got 1, expected true or false");
    accept("{\"type\": [\"integer\", \"null\"]}", "null");
    refuse("{\"type\": [\"integer\", \"null\"], \"minimum\": 1}", "\"a/b\"",
           "here: got \"a/b\", expected an integer of at least 1 or null");
    accept("{}", "17");
    refuse("{\"type\": \"null\"}",
           "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
           "a\"",
           "here: got "
           "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..., "
           "expected null");
}

static void test_ranges(void **state)
{
    (void)state;
    const char *schema = "{\"type\": \"integer\", \"minimum\": 1, \"maximum\": 65536}";
    accept(schema, "1");
    accept(schema, "65536");
    refuse(schema, "0", "here: got 0, expected an integer from 1 to 65536");
    refuse(schema, "-5", "here: got -5, expected an integer from 1 to 65536");
    refuse(schema, "65537", "here: got 65537, expected an integer from 1 to 65536");
    const char *half = "{\"type\": \"number\", \"maximum\": 0.5}";
    accept(half, "0.5");
    accept(half, "0");
    refuse(half, "0.50001", "here: got 0.50001, expected a number of at most 0.5");
    refuse(half, "1", "here: got 1, expected a number of at most 0.5");
    /* neighbours that are one double */
    refuse("{\"maximum\": 9007199254740992}", "9007199254740993",
           "here: got 9007199254740993, expected a value of at most 9007199254740992");
    accept("{\"minimum\": 3}", "\"no number\"");
}

static void test_enum(void **state)
{
    (void)state;
    const char *schema = "{\"enum\": [\"auto\", \"cpu\", 2, null]}";
    accept(schema, "\"cpu\"");
    accept(schema, "2");
    accept(schema, "2.0");
    accept(schema, "null");
    refuse(schema, "\"gpu\"", "here: got \"gpu\", expected \"auto\", \"cpu\", 2 or null");
    refuse(schema, "\"2\"", "here: got \"2\", expected \"auto\", \"cpu\", 2 or null");
}

static void test_items(void **state)
{
    (void)state;
    const char *schema = "{\"type\": \"array\", \"items\": {\"type\": \"array\", \"items\": "
                         "{\"type\": \"integer\", \"minimum\": 0}}}";
    accept(schema, "[]");
    accept(schema, "[[0, 1], []]");
    refuse(schema, "[[0], [1, -1]]", "here: [1][1]: got -1, expected an integer of at least 0");
    refuse(schema, "[[0], 5]", "here: [1]: got 5, expected an array");
}

#define NET                                                                                        \
    "{\"type\": \"object\", \"required\": [\"width\"], \"properties\": {"                          \
    "\"width\": {\"type\": \"integer\", \"minimum\": 1}, \"kernels\": {\"type\": \"array\", "      \
    "\"default\": [3, 3]}, \"deep\": {\"type\": \"object\", \"default\": {}, \"properties\": "     \
    "{\"x\": {\"type\": \"number\", \"default\": 1.50}, \"y\": {\"default\": null}}}, "            \
    "\"free\": {\"type\": \"object\", \"additionalProperties\": true}}}"

static void test_objects(void **state)
{
    (void)state;
    check(NET, "{\"width\": 8}", "",
          "{\"width\":8,\"kernels\":[3,3],\"deep\":{\"x\":1.50,\"y\":null}}");
    check(NET, "{\"deep\": {\"x\": 2}, \"width\": 8, \"kernels\": []}", "",
          "{\"deep\":{\"x\":2,\"y\":null},\"width\":8,\"kernels\":[]}");
    accept(NET, "{\"width\": 8, \"free\": {\"any\": [1], \"thing\": null}}");
    refuse(NET, "{\"kernels\": []}",
           "here: \"width\" is missing, expected an integer of at least 1");
    refuse(NET, "{\"width\": 8, \"deep\": {\"x\": \"1\"}}",
           "here: deep.x: got \"1\", expected a number");
    refuse(NET, "{\"width\": 8, \"deep\": null}", "here: deep: got null, expected an object");
    /* a slip in a required key is named before the key that is missing for it */
    refuse(NET, "{\"widht\": 8}", "here: widht: unknown key, did you mean \"width\"?");
    refuse(NET, "{\"width\": 8, \"deep\": {\"colour\": 1}}",
           "here: deep.colour: unknown key, expected one of \"x\", \"y\"");
    refuse("{\"type\": \"object\"}", "{\"a b\": 1}",
           "here: [\"a b\"]: unknown key, expected none here");
}

/* Defaults are copies: one config cannot change the next. */
static void test_defaults_are_copies(void **state)
{
    (void)state;
    struct wa_error err = {.status = WA_OK};
    struct json_object *schema = NULL;
    assert_int_equal(
        wa_schema_parse("s", "{\"properties\": {\"a\": {\"default\": [1]}}}", &schema, &err),
        WA_OK);
    struct wa_schema_where where = {.place = place_nowhere, .context = "", .path = ""};
    for (int i = 0; i < 2; i++) {
        struct json_object *value = json_object_new_object();
        struct json_object *a = NULL;
        assert_int_equal(wa_schema_apply(schema, value, &where, &err), WA_OK);
        assert_true(json_object_object_get_ex(value, "a", &a));
        assert_int_equal(json_object_array_length(a), 1);
        assert_int_equal(json_object_array_add(a, json_object_new_int(2)), 0);
        json_object_put(value);
    }
    json_object_put(schema);
}

static void test_other_keys_are_suggested(void **state)
{
    (void)state;
    struct wa_error err = {.status = WA_OK};
    struct json_object *schema = NULL;
    struct json_object *others = json_object_new_object();
    struct json_object *value = json_object_new_object();
    assert_int_equal(json_object_object_add(others, "train_limit", NULL), 0);
    assert_int_equal(json_object_object_add(value, "trian_limit", NULL), 0);
    assert_int_equal(wa_schema_parse("s", "{}", &schema, &err), WA_OK);
    struct wa_schema_where where = {
        .place = place_nowhere, .context = "here", .path = "dataset", .other_keys = others};
    assert_int_equal(wa_schema_apply(schema, value, &where, &err), WA_E_USAGE);
    assert_string_equal(err.message,
                        "here: dataset.trian_limit: unknown key, did you mean \"train_limit\"?");
    json_object_put(value);
    json_object_put(others);
    json_object_put(schema);
}

static void test_distance(void **state)
{
    (void)state;
    assert_int_equal(wa_schema_distance("width", "width"), 0);
    assert_int_equal(wa_schema_distance("widht", "width"), 1);
    assert_int_equal(wa_schema_distance("epoch", "epochs"), 1);
    assert_int_equal(wa_schema_distance("lerning_rat", "learning_rate"), 2);
    assert_int_equal(wa_schema_distance("abc", "xyz"), SIZE_MAX);
    assert_int_equal(wa_schema_distance("", ""), 0);
    assert_int_equal(wa_schema_distance("", "abc"), SIZE_MAX);
    char name[101];
    memset(name, 'a', 100);
    name[100] = '\0';
    assert_int_equal(wa_schema_distance(name, name), SIZE_MAX); /* too long to be a slip */
    name[63] = '\0';
    assert_int_equal(wa_schema_distance(name, name), 0);
}

static void test_broken_schemas(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"[]", "s:1:1: got [], expected a schema, an object"},
        {"null", "s:1:1: got null, expected a schema, an object"},
        {"{\"type\": ", "s:1:10: got the end of the text, expected a value: an object, an array, a "
                        "string in double quotes, a number, true, false or null"},
        {"{\"properties\": {\"width\":\n {\"minimun\": 1}}}",
         "s:2:3: properties.width.minimun: unknown keyword, did you mean \"minimum\"?"},
        {"{\"items\": {\"pattern\": \"x\"}}",
         "s:1:12: items.pattern: unknown keyword, expected one of \"default\", \"type\", \"enum\", "
         "\"minimum\", \"maximum\", \"items\", \"required\", \"properties\", "
         "\"additionalProperties\", \"description\", \"title\", \"$schema\""},
        {"{\"type\": \"int\"}", "s:1:1: \"type\" has int, expected null, boolean, integer, number, "
                                "string, array or object"},
        {"{\"type\": []}",
         "s:1:1: \"type\" has none or no string, expected null, boolean, integer, "
         "number, string, array or object"},
        {"{\"type\": [\"null\", 3]}", "s:1:1: \"type\" has none or no string, expected null, "
                                      "boolean, integer, number, string, array or object"},
        {"{\"type\": 3}", "s:1:2: type: got 3, expected a type's name or an array of them"},
        {"{\"minimum\": \"1\"}", "s:1:2: minimum: got \"1\", expected a number"},
        {"{\"minimum\": 2, \"maximum\": 1}",
         "s:1:1: \"minimum\" is above \"maximum\", expected it at or below"},
        {"{\"enum\": []}", "s:1:1: \"enum\" is empty, expected at least one value"},
        {"{\"required\": [\"a\"]}", "s:1:1: \"required\" has a, expected names of its properties"},
        {"{\"required\": [1]}",
         "s:1:1: \"required\" has something that is no string, expected names of its properties"},
        {"{\"properties\": {\"a\": 1}}",
         "s:1:17: properties.a: got 1, expected a schema, an object"},
        {"{\"additionalProperties\": {}}",
         "s:1:2: additionalProperties: got {}, expected true or false"},
        {"{\"properties\": {\"a\": {\"type\": \"integer\", \"default\": \"x\"}}}",
         "s:1:42: properties.a.default: got \"x\", expected an integer"},
        {"{\"properties\": {\"a\": {}, \"a\": {}}}",
         "s:1:26: the key a is there twice, first at 1:17; remove one"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wa_error err = {.status = WA_OK};
        struct json_object *schema = NULL;
        assert_int_equal(wa_schema_parse("s", cases[i][0], &schema, &err), WA_E_PLUGIN);
        assert_string_equal(err.message, cases[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_enum),
        cmocka_unit_test(test_items),
        cmocka_unit_test(test_objects),
        cmocka_unit_test(test_defaults_are_copies),
        cmocka_unit_test(test_other_keys_are_suggested),
        cmocka_unit_test(test_distance),
        cmocka_unit_test(test_broken_schemas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
