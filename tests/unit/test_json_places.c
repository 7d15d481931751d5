/* The JSON scanner: places, every refusal with its place, and paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "json_places.h"

static void assert_accepts(const char *text)
{
    struct wa_error err = {.status = WA_OK};
    struct json_object *root = NULL;
    if (wa_json_places_parse("x.json", text, strlen(text), &root, NULL, &err) != WA_OK) {
        fail_msg("%s: %s", text, err.message);
    }
    json_object_put(root);
}

static void assert_refuses_bytes(const char *text, size_t size, const char *message)
{
    struct wa_error err = {.status = WA_OK};
    struct json_object *root = NULL;
    assert_int_equal(wa_json_places_parse("x.json", text, size, &root, NULL, &err), WA_E_USAGE);
    assert_string_equal(err.message, message);
    assert_int_equal(err.status, WA_E_USAGE);
}

static void assert_refuses(const char *text, const char *message)
{
    assert_refuses_bytes(text, strlen(text), message);
}

static void test_accepts_json(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "null",
        "true",
        " false ",
        "0",
        "-0",
        "12",
        "-1.5e+3",
        "1E-2",
        "0.25",
        "1e5",
        "\"\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD834\\uDD1E\"",
        "\"\xc3\xa9\xe2\x82\xac\xf0\x9d\x84\x9e\"",
        "[]",
        "{}",
        "[1,2,[3]]",
        "\t{\r\n\"a\" : [ ] ,\"b\":{}}\n",
        "{\"\":1}",
        "\"\x7f\"",
        "[1e-400]",
        "9223372036854775807",
        "-9223372036854775808",
        "{\"a\":{\"a\":1},\"b\":[{\"a\":1}]}",
        "[{\"0\":1},2]",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_accepts(texts[i]);
    }
}

static void test_refuses_structure(void **state)
{
    (void)state;
    assert_refuses("",
                   "x.json:1:1: got the end of the text, expected a value: an object, an array, "
                   "a string in double quotes, a number, true, false or null");
    assert_refuses("{\"a\":1", "x.json:1:7: got the end of the text, expected ',' or '}'");
    assert_refuses("[1 2]", "x.json:1:4: got 2, expected ',' or ']'");
    assert_refuses("[1,\n2,\n]",
                   "x.json:2:2: a comma before ']', expected none after the last element");
    assert_refuses("{\"a\":1,}",
                   "x.json:1:7: a comma before '}', expected none after the last member");
    assert_refuses("{\"a\" 1}", "x.json:1:6: got 1, expected ':' after the key");
    assert_refuses("{a:1}", "x.json:1:2: got a, expected a key in double quotes");
    assert_refuses("{,}", "x.json:1:2: got ',', expected a key in double quotes");
    assert_refuses("{'a':1}", "x.json:1:2: got ', expected a key in double quotes: JSON's strings "
                              "stand in double quotes");
    assert_refuses("{} x", "x.json:1:4: got x, expected nothing more after the JSON value");
    assert_refuses("[]\n]", "x.json:2:1: got ']', expected nothing more after the JSON value");
    assert_refuses("{// a\n}",
                   "x.json:1:2: got a comment, expected a key in double quotes: JSON has "
                   "no comments, remove it");
    assert_refuses("[1 /* a */]", "x.json:1:4: got a comment, expected ',' or ']': JSON has no "
                                  "comments, remove it");
    assert_refuses("{}\n# a", "x.json:2:1: got a comment, expected nothing more after the JSON "
                              "value: JSON has no comments, remove it");
    assert_refuses("\xef\xbb\xbf{}", "x.json:1:1: got a byte order mark, expected a value: an "
                                     "object, an array, a string in double quotes, a number, true, "
                                     "false or null: save it without one");
    assert_refuses("[\xc3\xa9]",
                   "x.json:1:2: got '\xc3\xa9', expected a value: an object, an array, "
                   "a string in double quotes, a number, true, false or null");
    assert_refuses_bytes("[1]\0", 4,
                         "x.json:1:4: got the byte 0x00, expected nothing more after the "
                         "JSON value");
}

static void test_refuses_words_and_numbers(void **state)
{
    (void)state;
    static const char *const broken[] = {"True", "nul", "nulls", "+1", ".5", "1.",
                                         "1.e5", "1e",  "1e+",   "-",  "01", "-01",
                                         "0x10", "1a",  "--1",   "- 1"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        struct wa_error err = {.status = WA_OK};
        struct json_object *root = NULL;
        if (wa_json_places_parse("x", broken[i], strlen(broken[i]), &root, NULL, &err) !=
            WA_E_USAGE) {
            fail_msg("%s was accepted", broken[i]);
        }
        assert_memory_equal(err.message, "x:1:", 4);
    }
    static const char *const words[] = {"NaN", "Infinity", "-Infinity", "nan", "-inf"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        char text[40];
        (void)snprintf(text, sizeof text, "{\"a\":\n %s}", words[i]);
        struct wa_error err = {.status = WA_OK};
        struct json_object *root = NULL;
        assert_int_equal(wa_json_places_parse("x.json", text, strlen(text), &root, NULL, &err),
                         WA_E_USAGE);
        assert_ptr_equal(
            strstr(err.message, "x.json:2:2: NaN and Infinity are not JSON, expected a "),
            err.message);
    }
    assert_refuses("[1, 9223372036854775808]",
                   "x.json:1:5: the number 9223372036854775808 is too large, expected one from "
                   "-9223372036854775808 to 9223372036854775807");
    assert_refuses(
        "-99999999999999999999999999999",
        "x.json:1:1: the number -99999999999999999999999999999 is too large, expected one "
        "from -9223372036854775808 to 9223372036854775807");
    assert_refuses("1e400",
                   "x.json:1:1: the number 1e400 is too large, expected one from -1.797e308 "
                   "to 1.797e308");
    assert_refuses("01", "x.json:1:1: a number with a leading 0, expected one without");
}

static void test_refuses_strings(void **state)
{
    (void)state;
    assert_refuses("[\"a", "x.json:1:2: this string does not end, expected '\"'");
    assert_refuses("[\"a\nb\"]",
                   "x.json:1:4: the byte 0x0a in a string, expected '\"' or an escape "
                   "such as \\n");
    assert_refuses("\"\\x\"", "x.json:1:2: unknown escape in a string, expected \\\" \\\\ \\/ \\b "
                              "\\f \\n \\r \\t or \\uXXXX");
    assert_refuses("\"\\", "x.json:1:2: unknown escape in a string, expected \\\" \\\\ \\/ \\b "
                           "\\f \\n \\r \\t or \\uXXXX");
    assert_refuses("\"\\u12g4\"", "x.json:1:2: expected four hexadecimal digits after \\u");
    assert_refuses("\"\\u12", "x.json:1:2: expected four hexadecimal digits after \\u");
    assert_refuses("\"\\u0000\"", "x.json:1:2: \\u0000 is refused, expected a character above it");
    assert_refuses("\"\\ud834x\"",
                   "x.json:1:2: \\ud834 is half of a surrogate pair, expected both halves");
    assert_refuses("\"\\udd1e\"",
                   "x.json:1:2: \\udd1e is half of a surrogate pair, expected both halves");
    static const char *const not_utf8[] = {"\"\xff\"",
                                           "\"\xc3\"",
                                           "\"\xc0\x80\"",
                                           "\"\xe0\x80\x80\"",
                                           "\"\xed\xa0\x80\"",
                                           "\"\xf0\x80\x80\x80\"",
                                           "\"\xf4\x90\x80\x80\"",
                                           "\"\xe2\x82",
                                           "\"\x80\""};
    for (size_t i = 0; i < sizeof not_utf8 / sizeof not_utf8[0]; i++) {
        struct wa_error err = {.status = WA_OK};
        struct json_object *root = NULL;
        assert_int_equal(
            wa_json_places_parse("x.json", not_utf8[i], strlen(not_utf8[i]), &root, NULL, &err),
            WA_E_USAGE);
        assert_non_null(strstr(err.message, "x.json:1:2: the byte 0x"));
        assert_non_null(strstr(err.message, "expected UTF-8"));
    }
}

static void test_finds_duplicate_keys(void **state)
{
    (void)state;
    assert_refuses("{\"a\": 1,\n \"b\": 2, \"a\": 3}",
                   "x.json:2:10: the key a is there twice, first at 1:2; remove one");
    assert_refuses("{\"ab\":1,\"\\u0061b\":2}",
                   "x.json:1:9: the key ab is there twice, first at 1:2; remove one");
    assert_refuses("[{\"x\":{\"\\n\":1,\"\\u000a\":2}}]",
                   "x.json:1:15: the key [\"\\u000a\"] is there twice, first at 1:8; remove one");
    assert_refuses(
        "{\"\\ud834\\udd1e\":1,\"\xf0\x9d\x84\x9e\":2}",
        "x.json:1:19: the key [\"\xf0\x9d\x84\x9e\"] is there twice, first at 1:2; remove "
        "one");
}

static char *repeated(const char *head, const char *part, size_t count, const char *tail)
{
    size_t length = strlen(head);
    char *text = malloc(length + strlen(part) * count + strlen(tail) + 1);
    assert_non_null(text);
    memcpy(text, head, length);
    for (size_t i = 0; i < count; i++, length += strlen(part)) {
        memcpy(text + length, part, strlen(part));
    }
    memcpy(text + length, tail, strlen(tail) + 1);
    return text;
}

static void test_limits(void **state)
{
    (void)state;
    char deep[80];
    for (int depth = 31; depth <= 34; depth++) {
        memset(deep, '[', (size_t)depth);
        memset(deep + depth, ']', (size_t)depth);
        deep[2 * depth] = '\0';
        if (depth <= WA_JSON_DEPTH) {
            assert_accepts(deep);
        } else {
            assert_refuses(deep, "x.json:1:33: nested too deeply, expected at most 32 levels");
        }
    }
    char *large = repeated("[", " ", WA_JSON_BYTES - 2, "]");
    assert_accepts(large);
    free(large);
    large = repeated("[", " ", WA_JSON_BYTES - 1, "]");
    assert_refuses(large, "x.json: larger than 1048576 bytes, expected a smaller file");
    free(large);
}

/* Many keys, and a long key above many values: neither time nor memory may explode. */
static void test_large_texts(void **state)
{
    (void)state;
    char *text = malloc(WA_JSON_BYTES);
    assert_non_null(text);
    size_t length = 0;
    text[length++] = '{';
    for (int i = 0; i < 80000; i++) {
        length += (size_t)snprintf(text + length, 32, "%s\"%d\":0", i ? "," : "", i);
    }
    (void)snprintf(text + length, 8, "}");
    struct wa_error err = {.status = WA_OK};
    struct wa_json_places *places = NULL;
    assert_int_equal(wa_json_places_scan("x", text, strlen(text), &places, &err), WA_OK);
    assert_int_equal(wa_json_places_count(places), 80001);
    struct wa_json_place place;
    assert_true(wa_json_places_find(places, "79999", &place));
    assert_int_equal(place.column, length - strlen("\"79999\":0") + 1);
    assert_false(wa_json_places_find(places, "80000", &place));
    wa_json_places_destroy(places);
    free(text);

    char *key = repeated("{\"", "k", 400000, "\":");
    char *whole = repeated(key, "[", 1, "");
    free(key);
    char *values = repeated(whole, "1,", 250000, "1]}");
    free(whole);
    assert_int_equal(wa_json_places_scan("x", values, strlen(values), &places, &err), WA_OK);
    assert_int_equal(wa_json_places_count(places), 250003);
    wa_json_places_destroy(places);
    free(values);
}

static void assert_place(const struct wa_json_places *places, const char *path, bool is_there,
                         uint32_t line, uint32_t column)
{
    struct wa_json_place place = {0, 0};
    assert_int_equal(wa_json_places_find(places, path, &place), is_there);
    if (place.line != line || place.column != column) {
        fail_msg("%s: %u:%u, expected %u:%u", path, place.line, place.column, line, column);
    }
}

static void test_places(void **state)
{
    (void)state;
    const char *text =
        "\n {\"a\": [1,\n   {\"b c\": 2}],\n\"\xc3\xa9\": 0,\t\"d.e\": {\"\\\"]\": []},"
        "\"x\\u0001\": 1}";
    struct wa_error err = {.status = WA_OK};
    struct wa_json_places *places = NULL;
    assert_int_equal(wa_json_places_scan("x", text, strlen(text), &places, &err), WA_OK);
    assert_int_equal(wa_json_places_count(places), 9);
    assert_place(places, "", true, 2, 2);
    assert_place(places, "a", true, 2, 3);
    assert_place(places, "a[0]", true, 2, 9);
    assert_place(places, "a[1]", true, 3, 4);
    assert_place(places, "a[1][\"b c\"]", true, 3, 5);
    assert_place(places, "[\"\xc3\xa9\"]", true, 4, 1);
    assert_place(places, "[\"d.e\"]", true, 4, 10);
    assert_place(places, "[\"d.e\"][\"\\\"]\"]", true, 4, 18);
    assert_place(places, "[\"x\\u0001\"]", true, 4, 29);
    /* the nearest value around what is not there */
    assert_place(places, "z", false, 2, 2);
    assert_place(places, "a[2].x", false, 2, 3);
    assert_place(places, "a[1].x[5]", false, 3, 4);
    assert_place(places, "a.b", false, 2, 3);
    assert_place(places, "[0]", false, 2, 2);
    assert_place(places, "a[", false, 2, 3);
    assert_place(places, "a..b", false, 2, 3);
    wa_json_places_destroy(places);
}

static void test_broken_paths(void **state)
{
    (void)state;
    static const char *const paths[] = {
        ".a",        "[",     "[]",     "[x]",           "[-1]",
        "[1",        "[\"a]", "[\"a\"", "[\"\\u0000\"]", "[\"\\u00ff\"]",
        "[\"\\x\"]", "]",     "\"a\"",  "[9999999999]"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        const char *cursor = paths[i];
        struct wa_json_step step;
        if (wa_json_path_next(paths[i], &cursor, &step) != WA_JSON_PATH_BROKEN) {
            fail_msg("%s was read", paths[i]);
        }
    }
    char *key = repeated("", "k", WA_JSON_KEY_BYTES, "");
    const char *cursor = key;
    struct wa_json_step step;
    assert_int_equal(wa_json_path_next(key, &cursor, &step), WA_JSON_PATH_BROKEN);
    free(key);
}

static void test_writes_paths(void **state)
{
    (void)state;
    char path[32] = "";
    assert_int_equal(wa_json_path_add_key(path, sizeof path, "a-b_1"), 0);
    assert_int_equal(wa_json_path_add_index(path, sizeof path, 12), 5);
    assert_int_equal(wa_json_path_add_key(path, sizeof path, "c"), 9);
    assert_string_equal(path, "a-b_1[12].c");
    (void)wa_json_path_add_key(path, sizeof path, "d.\"\n");
    assert_string_equal(path, "a-b_1[12].c[\"d.\\\"\\u000a\"]");
    (void)wa_json_path_add_key(path, sizeof path, "does-not-fit"); /* stays as it is */
    (void)wa_json_path_add_key(path, sizeof path, "does not");
    assert_string_equal(path, "a-b_1[12].c[\"d.\\\"\\u000a\"]");
    assert_true(wa_json_path_is_within("a.b", "a"));
    assert_true(wa_json_path_is_within("a[0]", "a"));
    assert_true(wa_json_path_is_within("a", "a"));
    assert_true(wa_json_path_is_within("a", ""));
    assert_false(wa_json_path_is_within("ab", "a"));
    assert_false(wa_json_path_is_within("a", "a.b"));
}

static void test_shortens(void **state)
{
    (void)state;
    char text[8];
    wa_json_shorten("1234567", text, sizeof text);
    assert_string_equal(text, "1234567");
    wa_json_shorten("12345678", text, sizeof text);
    assert_string_equal(text, "1234...");
    wa_json_shorten("123\xc3\xa9"
                    "5678",
                    text, sizeof text); /* not half a character */
    assert_string_equal(text, "123...");
}

static void test_json_values(void **state)
{
    (void)state;
    const char *text = "{\"a\": [1, 2.5, \"\\u00e9\", null, true]}";
    struct wa_error err = {.status = WA_OK};
    struct json_object *root = NULL;
    struct wa_json_places *places = NULL;
    assert_int_equal(wa_json_places_parse("x", text, strlen(text), &root, &places, &err), WA_OK);
    struct json_object *a = NULL;
    assert_true(json_object_object_get_ex(root, "a", &a));
    assert_int_equal(json_object_array_length(a), 5);
    assert_string_equal(json_object_get_string(json_object_array_get_idx(a, 2)), "\xc3\xa9");
    assert_place(places, "a[4]", true, 1, 32);
    wa_json_places_destroy(places);
    json_object_put(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts_json),
        cmocka_unit_test(test_refuses_structure),
        cmocka_unit_test(test_refuses_words_and_numbers),
        cmocka_unit_test(test_refuses_strings),
        cmocka_unit_test(test_finds_duplicate_keys),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_large_texts),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_broken_paths),
        cmocka_unit_test(test_writes_paths),
        cmocka_unit_test(test_shortens),
        cmocka_unit_test(test_json_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
