/* A run's config: defaults, --set, places in errors, plugins' options, canonical text, differences.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config.h"
#include "schema.h"

#define MINIMAL                                                                                    \
    "{\"dataset\": {\"plugin\": \"d\"},\n"                                                         \
    " \"architecture\": {\"plugin\": \"a\", \"width\": 16, \"kernels\": [3, 3]},\n"                \
    " \"rule\": {\"plugin\": \"r\"}}"

static struct wa_config *config_of(const char *text, const char *const *sets, size_t set_count)
{
    struct wa_error err = {.status = WA_OK};
    struct wa_config *config = NULL;
    if (wa_config_from_text("dir/run.json", text, strlen(text), sets, set_count, &config, &err) !=
        WA_OK) {
        fail_msg("%s", err.message);
    }
    return config;
}

static void refuse(const char *text, const char *set, const char *message)
{
    struct wa_error err = {.status = WA_OK};
    struct wa_config *config = NULL;
    wa_status status =
        wa_config_from_text("dir/run.json", text, strlen(text), &set, set ? 1 : 0, &config, &err);
    assert_string_equal(err.message, message);
    assert_int_equal(status, WA_E_USAGE);
    assert_int_equal(wa_status_exit_code(status), 2);
    assert_null(config);
}

static void test_defaults(void **state)
{
    (void)state;
    struct wa_config *config = config_of(MINIMAL, NULL, 0);
    assert_string_equal(config->file, "dir/run.json");
    assert_string_equal(config->folder, "dir");
    assert_string_equal(wa_config_get_string(config, "dataset.plugin"), "d");
    assert_false(wa_config_is_given(config, "dataset.train_limit"));
    assert_false(wa_config_is_given(config, "dataset.validation"));
    assert_false(wa_config_is_given(config, "dataset.validation_limit"));
    assert_int_equal(wa_config_get_integer(config, "architecture.kernels[1]"), 3);
    assert_null(wa_config_get(config, "architecture.kernels[2]"));
    assert_string_equal(wa_config_get_string(config, "parameterization"), "ntk");
    assert_true(json_object_is_type(wa_config_get(config, "optimizer"), json_type_object));
    assert_false(wa_config_is_given(config, "optimizer.plugin"));
    assert_int_equal(wa_config_get_integer(config, "batch"), 100);
    assert_true(wa_config_get_number(config, "batch") == 100.0);
    assert_int_equal(wa_config_get_integer(config, "epochs"), 3);
    assert_false(wa_config_is_given(config, "steps"));
    assert_int_equal(wa_config_get_integer(config, "steps"), 0);
    assert_int_equal(wa_config_get_integer(config, "seed"), 99);
    assert_true(wa_config_get_boolean(config, "shuffle"));
    assert_int_equal(wa_config_get_length(config, "evaluate"), 1);
    assert_string_equal(wa_config_get_string(config, "evaluate[0]"), "validation");
    assert_false(wa_config_get_boolean(config, "log_steps"));
    assert_int_equal(wa_config_get_integer(config, "checkpoint_every"), 1);
    assert_true(wa_config_is_given(config, "keep_every"));
    assert_int_equal(wa_config_get_integer(config, "keep_every"), 0);
    assert_string_equal(wa_config_get_string(config, "kernels.path"), "auto");
    assert_string_equal(wa_config_get_string(config, "kernels.convolution"), "auto");
    assert_string_equal(wa_config_get_string(config, "kernels.tuning"), "off");
    assert_false(wa_config_get_boolean(config, "log_angles"));
    assert_false(wa_config_get_boolean(config, "alignment_pair"));
    /* wrong types and paths are harmless */
    assert_null(wa_config_get_string(config, "batch"));
    assert_false(wa_config_get_boolean(config, "batch"));
    assert_int_equal(wa_config_get_length(config, "batch"), 0);
    assert_int_equal(wa_config_get_integer(config, "shuffle"), 0);
    assert_null(wa_config_get(config, "batch.x"));
    assert_null(wa_config_get(config, "kernels..path"));
    wa_config_destroy(config);
    wa_config_destroy(NULL);
}

static void test_folder(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"run.json", "."}, {"/run.json", "/"}, {"a/b/run.json", "a/b"}, {"/a/run.json", "/a"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wa_error err = {.status = WA_OK};
        struct wa_config *config = NULL;
        assert_int_equal(
            wa_config_from_text(cases[i][0], MINIMAL, strlen(MINIMAL), NULL, 0, &config, &err),
            WA_OK);
        assert_string_equal(config->folder, cases[i][1]);
        wa_config_destroy(config);
    }
}

static void test_refuses(void **state)
{
    (void)state;
    refuse("{\"dataset\": {\"plugin\": \"d\"}, \"rule\": {\"plugin\": \"r\"}}", NULL,
           "dir/run.json:1:1: \"architecture\" is missing, expected an object");
    refuse("{\"dataset\": {\"plugin\": \"d\"}, \"architecture\": {\"plugin\": \"a\"},\n  \"rule\": "
           "{\"scale\": 1}}",
           NULL, "dir/run.json:2:3: rule: \"plugin\" is missing, expected a string");
    refuse("{\"dataset\": {\"plugin\": 3}}", NULL,
           "dir/run.json:1:14: dataset.plugin: got 3, expected a string");
    refuse("{\n\"epoch\": 3}", NULL,
           "dir/run.json:2:1: epoch: unknown key, did you mean \"epochs\"?");
    refuse("{\"batch\": 0}", NULL,
           "dir/run.json:1:2: batch: got 0, expected an integer from 1 to 65536");
    refuse("{\"batch\": 1.5}", NULL,
           "dir/run.json:1:2: batch: got 1.5, expected an integer from 1 to 65536");
    refuse("{\"epochs\": -1}", NULL,
           "dir/run.json:1:2: epochs: got -1, expected an integer from 1 to 1000000");
    refuse("{\"steps\": 0}", NULL,
           "dir/run.json:1:2: steps: got 0, expected an integer from 1 to 1000000000000 or null");
    refuse("{\"seed\": 4294967296}", NULL,
           "dir/run.json:1:2: seed: got 4294967296, expected an integer from 0 to 4294967295");
    refuse("{\"evaluate\": [\"test\",\n \"tset\"]}", NULL,
           "dir/run.json:2:2: evaluate[1]: got \"tset\", expected \"validation\", \"test\" or "
           "\"train\"");
    refuse("{\"kernels\": {\"path\": \"fpga\"}}", NULL,
           "dir/run.json:1:14: kernels.path: got \"fpga\", expected \"auto\", \"cpu\" or \"gpu\"");
    refuse("{\"kernels\": {\"paths\": \"cpu\"}}", NULL,
           "dir/run.json:1:14: kernels.paths: unknown key, did you mean \"path\"?");
    refuse("{\"dataset\": {\"plugin\": \"d\", \"validation\": -1}}", NULL,
           "dir/run.json:1:29: dataset.validation: got -1, expected an integer from 0 to "
           "1000000000000 or null");
    refuse("[1]", NULL, "dir/run.json:1:1: got [1], expected an object: a config");
    refuse("null", NULL, "dir/run.json:1:1: got null, expected an object: a config");
    refuse("{\"batch\": 1, \"batch\": 2}", NULL,
           "dir/run.json:1:14: the key batch is there twice, first at 1:2; remove one");
    refuse("{\"base\": {}, \"grid\": {}}", NULL,
           "dir/run.json:1:2: base: this is a sweep, expected the config of one run: use `walign "
           "sweep dir/run.json`");
    refuse(MINIMAL, "evaluate=[\"test\",\"train\",\"test\"]",
           "--set evaluate=[\"test\",\"train\",\"test\"]: evaluate[2]: \"test\" is there twice, "
           "expected each at most once");
}

static void test_sets(void **state)
{
    (void)state;
    static const char *const sets[] = {
        "epochs=5",
        "architecture.width=32",
        "architecture.kernels[0]=5",
        "architecture.kernels[2]=1",      /* appended */
        "optimizer.schedule.name=cosine", /* made on the way */
        "dataset.dir=a=b",                /* no JSON: a string */
        "rule.note=\"8\"",
        "rule.list=[1, {\"a\": null}]",
        "dataset.train_limit=null",
        "rule.empty=",
        "rule.nan=NaN",
        "rule[\"odd.key\"]=true",
        "architecture.deep={\"x\": 1}",
        "architecture.deep.x=2",
        "epochs=6", /* the last one counts */
    };
    struct wa_config *config = config_of(MINIMAL, sets, sizeof sets / sizeof sets[0]);
    assert_int_equal(wa_config_get_integer(config, "epochs"), 6);
    assert_int_equal(wa_config_get_integer(config, "architecture.width"), 32);
    assert_int_equal(wa_config_get_length(config, "architecture.kernels"), 3);
    assert_int_equal(wa_config_get_integer(config, "architecture.kernels[0]"), 5);
    assert_int_equal(wa_config_get_integer(config, "architecture.kernels[2]"), 1);
    assert_string_equal(wa_config_get_string(config, "optimizer.schedule.name"), "cosine");
    assert_string_equal(wa_config_get_string(config, "dataset.dir"), "a=b");
    assert_string_equal(wa_config_get_string(config, "rule.note"), "8");
    assert_int_equal(wa_config_get_length(config, "rule.list"), 2);
    assert_string_equal(wa_config_get_string(config, "rule.empty"), "");
    assert_string_equal(wa_config_get_string(config, "rule.nan"), "NaN");
    assert_true(wa_config_get_boolean(config, "rule[\"odd.key\"]"));
    assert_int_equal(wa_config_get_integer(config, "architecture.deep.x"), 2);
    assert_false(wa_config_is_given(config, "dataset.train_limit"));

    char place[200];
    wa_config_place(config, "architecture.kernels[2]", place, sizeof place);
    assert_string_equal(place, "--set architecture.kernels[2]=1");
    wa_config_place(config, "architecture.kernels[1]", place, sizeof place);
    assert_string_equal(place, "dir/run.json:2:62");
    wa_config_place(config, "architecture.deep.y", place, sizeof place);
    assert_string_equal(place, "--set architecture.deep={\"x\": 1}");
    wa_config_place(config, "architecture.deep.x", place, sizeof place);
    assert_string_equal(place, "--set architecture.deep.x=2");
    wa_config_place(config, "epochs", place, sizeof place);
    assert_string_equal(place, "--set epochs=6");
    wa_config_place(config, "batch", place, sizeof place); /* a default */
    assert_string_equal(place, "dir/run.json:1:1");
    wa_config_destroy(config);
}

static void test_refuses_sets(void **state)
{
    (void)state;
    refuse(MINIMAL, "epochs=x",
           "--set epochs=x: epochs: got \"x\", expected an integer from 1 to 1000000");
    refuse(MINIMAL, "epochs=99999999999999999999",
           "--set epochs=99999999999999999999: epochs: got \"99999999999999999999\", expected an "
           "integer from 1 to 1000000");
    refuse(MINIMAL, "epoch=1", "--set epoch=1: epoch: unknown key, did you mean \"epochs\"?");
    refuse(MINIMAL, "rules.plugin=r",
           "--set rules.plugin=r: rules: unknown key, did you mean \"rule\"?");
    refuse(MINIMAL, "rule=r", "--set rule=r: rule: got \"r\", expected an object");
    refuse(MINIMAL, "rule={\"x\":1}",
           "--set rule={\"x\":1}: rule: \"plugin\" is missing, expected a string");
    refuse(MINIMAL, "kernels={\"path\":\"auto\",\"convolution\":1}",
           "--set kernels={\"path\":\"auto\",\"convolution\":1}: kernels.convolution: got 1, "
           "expected \"auto\", \"direct\" or \"winograd\"");
    refuse(MINIMAL, "kernels={\"path\":\"cpu\",\"path\":\"gpu\"}",
           "--set kernels={\"path\":\"cpu\",\"path\":\"gpu\"}:1:15: the key path is there twice, "
           "first at 1:2; remove one");
    refuse(MINIMAL, "epochs", "--set epochs: expected path=value, such as --set epochs=5");
    refuse(MINIMAL, "=5", "--set =5: expected path=value, such as --set epochs=5");
    refuse(MINIMAL, "", "--set : expected path=value, such as --set epochs=5");
    refuse(MINIMAL, "a..b=5",
           "--set a..b=5: broken path, expected one such as architecture.width "
           "or evaluate[0]");
    refuse(MINIMAL, "a[x]=5",
           "--set a[x]=5: broken path, expected one such as architecture.width "
           "or evaluate[0]");
    refuse(MINIMAL, "architecture.kernels[3]=5",
           "--set architecture.kernels[3]=5: the index is beyond the array, expected at most its "
           "length");
    refuse(MINIMAL, "architecture[0]=5",
           "--set architecture[0]=5: the index at the end does not lie in an array");
    refuse(MINIMAL, "architecture.kernels.x=5",
           "--set architecture.kernels.x=5: the last key of the path does not lie in an object");
    refuse(MINIMAL, "architecture.width.x=5",
           "--set architecture.width.x=5: the path leads through a value that is neither an object "
           "nor an array");
    refuse(
        MINIMAL, "architecture.kernels[2].x=5",
        "--set architecture.kernels[2].x=5: the path leads through an element that is not there");
    refuse(MINIMAL, "rule.x=\xff", "--set: got bytes that are not UTF-8, expected path=value");
    refuse(MINIMAL, "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a=1",
           "--set a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a=1: the path is "
           "too "
           "long, expected at most 32 steps");
    char *longest = malloc(2000);
    assert_non_null(longest);
    memset(longest, 'a', 1999);
    memcpy(longest + 1990, "=1", 3);
    struct wa_error err = {.status = WA_OK};
    struct wa_config *config = NULL;
    const char *set = longest;
    assert_int_equal(wa_config_from_text("x", MINIMAL, strlen(MINIMAL), &set, 1, &config, &err),
                     WA_E_USAGE);
    assert_non_null(strstr(err.message, "...: expected path=value"));
    free(longest);
}

static void test_read(void **state)
{
    (void)state;
    char file[] = "test-config-XXXXXX";
    int fd = mkstemp(file);
    assert_true(fd >= 0);
    FILE *out = fdopen(fd, "w");
    assert_non_null(out);
    assert_int_equal(fputs(MINIMAL, out) < 0, 0);
    assert_int_equal(fclose(out), 0);
    struct wa_error err = {.status = WA_OK};
    struct wa_config *config = NULL;
    const char *set = "batch=7";
    assert_int_equal(wa_config_read(file, &set, 1, &config, &err), WA_OK);
    assert_int_equal(wa_config_get_integer(config, "batch"), 7);
    assert_string_equal(config->folder, ".");
    wa_config_destroy(config);
    assert_int_equal(remove(file), 0);

    config = NULL;
    wa_status status = wa_config_read("no/such.json", NULL, 0, &config, &err);
    assert_int_equal(wa_status_exit_code(status), 2);
    assert_non_null(strstr(err.message, "no/such.json"));
    assert_null(config);
    err.status = WA_OK;
    status = wa_config_read(".", NULL, 0, &config, &err);
    assert_int_equal(wa_status_exit_code(status), 2);
    assert_null(config);
}

#define OPTIONS                                                                                    \
    "{\"properties\": {\"width\": {\"type\": \"integer\", \"minimum\": 1, \"default\": 16},"       \
    "\"kernels\": {\"type\": \"array\", \"items\": {\"type\": \"integer\"}},"                      \
    "\"norm\": {\"type\": \"boolean\", \"default\": true}, \"dir\": {\"type\": \"string\"}},"      \
    "\"required\": [\"kernels\"]}"

static void test_section_options(void **state)
{
    (void)state;
    struct wa_config *config = config_of(MINIMAL, NULL, 0);
    struct wa_error err = {.status = WA_OK};
    for (int i = 0; i < 2; i++) { /* a second call gives the same */
        struct json_object *options = NULL;
        assert_int_equal(wa_config_section_options(config, "architecture", OPTIONS, &options, &err),
                         WA_OK);
        assert_string_equal(json_object_to_json_string_ext(options, JSON_C_TO_STRING_PLAIN),
                            "{\"width\":16,\"kernels\":[3,3],\"norm\":true,\"dir\":null}");
    }
    assert_true(wa_config_get_boolean(config, "architecture.norm"));
    assert_string_equal(json_object_to_json_string_ext(wa_config_get(config, "architecture"),
                                                       JSON_C_TO_STRING_PLAIN),
                        "{\"plugin\":\"a\",\"width\":16,\"kernels\":[3,3],\"norm\":true}");
    struct json_object *options = NULL;
    assert_int_equal(wa_config_section_options(config, "rule", NULL, &options, &err), WA_OK);
    assert_int_equal(json_object_object_length(options), 0);
    assert_int_equal(wa_config_section_options(config, "optimizer", NULL, &options, &err), WA_OK);
    assert_int_equal(wa_config_section_options(config, "nothing", NULL, &options, &err),
                     WA_E_FAILED);
    wa_config_destroy(config);
}

static void refuse_options(const char *section, const char *schema, const char *set,
                           wa_status status, const char *message)
{
    struct wa_error err = {.status = WA_OK};
    struct wa_config *config = config_of(MINIMAL, &set, set ? 1 : 0);
    struct json_object *options = NULL;
    assert_int_equal(wa_config_section_options(config, section, schema, &options, &err), status);
    assert_string_equal(err.message, message);
    assert_null(options);
    wa_config_destroy(config);
}

static void test_refuses_options(void **state)
{
    (void)state;
    refuse_options(
        "architecture", NULL, NULL, WA_E_USAGE,
        "dir/run.json:2:34: architecture.width: unknown key, expected one of \"plugin\"");
    refuse_options("architecture", OPTIONS, "architecture.with=3", WA_E_USAGE,
                   "--set architecture.with=3: architecture.with: unknown key, did you mean "
                   "\"width\"?");
    refuse_options("architecture", OPTIONS, "architecture.kernels[1]=0.5", WA_E_USAGE,
                   "--set architecture.kernels[1]=0.5: architecture.kernels[1]: got 0.5, expected "
                   "an integer");
    refuse_options("rule", OPTIONS, NULL, WA_E_USAGE,
                   "dir/run.json:3:2: rule: \"kernels\" is missing, expected an array");
    refuse_options("dataset", "{}", "dataset.train_limits=3", WA_E_USAGE,
                   "--set dataset.train_limits=3: dataset.train_limits: unknown key, did you mean "
                   "\"train_limit\"?");
    refuse_options("rule", "{\"porperties\": {}}", NULL, WA_E_PLUGIN,
                   "the option schema of the rule:1:2: porperties: unknown keyword, did you mean "
                   "\"properties\"?");
    refuse_options("dataset", "{\"properties\": {\"validation\": {}}}", NULL, WA_E_PLUGIN,
                   "the option schema of the dataset declares \"validation\", expected a name that "
                   "the core does not use itself");
}

static void test_set_plugin(void **state)
{
    (void)state;
    struct wa_config *config = config_of(MINIMAL, NULL, 0);
    struct wa_error err = {.status = WA_OK};
    assert_int_equal(wa_config_set_plugin(config, "optimizer", "o", &err), WA_OK);
    assert_string_equal(wa_config_get_string(config, "optimizer.plugin"), "o");
    assert_int_equal(wa_config_set_plugin(config, "nothing", "o", &err), WA_E_FAILED);
    wa_config_destroy(config);
}

static void test_fail(void **state)
{
    (void)state;
    struct wa_config *config = config_of(MINIMAL, NULL, 0);
    struct wa_error err = {.status = WA_OK};
    assert_int_equal(wa_config_fail(config, "rule.plugin", &err, "unknown plugin \"%s\"", "r"),
                     WA_E_USAGE);
    assert_string_equal(err.message, "dir/run.json:3:11: rule.plugin: unknown plugin \"r\"");
    wa_config_destroy(config);
}

static void test_canonical(void **state)
{
    (void)state;
    static const char *const sets[] = {"rule.b=[1.0,-0.0,0.1,1e22,1e-7,3,123456789012345678]",
                                       "rule.a=\"q\\\"\\\\\\n\xc3\xa9/\"",
                                       "rule.c={\"y\":{},\"x\":true}"};
    struct wa_error err = {.status = WA_OK};
    struct wa_config *config = config_of(MINIMAL, sets, 3);
    char *text = NULL;
    assert_int_equal(wa_config_canonical(config, &text, &err), WA_OK);
    assert_string_equal(
        text,
        "{\"alignment_pair\":false,\"architecture\":{\"kernels\":[3,3],\"plugin\":\"a\","
        "\"width\":16},\"batch\":100,\"checkpoint_every\":1,\"dataset\":{\"plugin\":\"d\","
        "\"train_limit\":null,\"validation_limit\":null},\"epochs\":3,\"evaluate\":"
        "[\"validation\"],\"keep_every\":0,\"kernels\":{\"convolution\":\"auto\",\"path\":"
        "\"auto\",\"tuning\":\"off\"},\"log_angles\":false,\"log_steps\":false,\"optimizer\":{},"
        "\"parameterization\":\"ntk\",\"rule\":{\"a\":\"q\\\"\\\\\\u000a\xc3\xa9/\",\"b\":[1,0,0.1,"
        "1e+22,1e-07,3,123456789012345678],\"c\":{\"x\":true,\"y\":{}},\"plugin\":\"r\"},"
        "\"seed\":99,\"shuffle\":true,\"steps\":null}");
    struct wa_config *again = config_of(text, NULL, 0);
    char *again_text = NULL;
    assert_int_equal(wa_config_canonical(again, &again_text, &err), WA_OK);
    assert_string_equal(text, again_text);
    free(text);
    free(again_text);
    wa_config_destroy(config);
    wa_config_destroy(again);
}

static void assert_differences(const char *a, const char *b, const char *expected)
{
    static const char *const ignored[] = {"epochs", "log"};
    struct wa_error err = {.status = WA_OK};
    char *text = NULL;
    if (wa_config_differences(a, b, ignored, 2, &text, &err) != WA_OK) {
        fail_msg("%s", err.message);
    }
    assert_string_equal(text, expected);
    free(text);
}

static void test_differences(void **state)
{
    (void)state;
    assert_differences("{\"a\": 1, \"b\": [1]}", "{\"b\": [1.0], \"a\": 1.0}", "");
    assert_differences("{\"a\": {\"x\": 1, \"y\": \"s\"}, \"b\": [1, 2]}",
                       "{\"a\": {\"x\": 2, \"y\": \"s\", \"z\": true}, \"b\": [1]}",
                       "a.x: 1 -> 2, a.z: null -> true, b: [1,2] -> [1]");
    assert_differences("{\"only\": 1, \"none\": null}", "{}", "only: 1 -> null");
    assert_differences("{\"epochs\": 1, \"log\": {\"x\": 1}, \"logs\": 1}",
                       "{\"epochs\": 2, \"log\": {\"x\": 2}, \"logs\": 2}", "logs: 1 -> 2");
    assert_differences("{\"o\": {}}", "{\"o\": 5}", "o: {} -> 5");
    assert_differences("1", "2", "1 -> 2");
    struct wa_error err = {.status = WA_OK};
    char *text = NULL;
    assert_int_equal(wa_config_differences("{", "{}", NULL, 0, &text, &err), WA_E_USAGE);
    assert_null(text);
    err.status = WA_OK;
    assert_int_equal(wa_config_differences("{}", "{", NULL, 0, &text, &err), WA_E_USAGE);
    assert_string_equal(err.message,
                        "the second config:1:2: got the end of the text, expected a key "
                        "in double quotes");
    assert_null(text);
}

static void test_suggest(void **state)
{
    (void)state;
    static const char *const names[] = {"alpha-zero", "alpha-ada", "beta", "b"};
    assert_string_equal(wa_config_suggest("alhpa-zero", names, 4), "alpha-zero");
    assert_string_equal(wa_config_suggest("alpha-adam", names, 4), "alpha-ada");
    assert_string_equal(wa_config_suggest("beta", names, 4), "beta");
    assert_null(wa_config_suggest("gamma", names, 4));
    assert_null(wa_config_suggest("beta", names, 0));
}

/* The embedded schema is one that is understood, and it names no default for dataset.validation. */
static void test_core_schema(void **state)
{
    (void)state;
    struct wa_error err = {.status = WA_OK};
    struct json_object *schema = NULL;
    if (wa_schema_parse("schema.json", wa_config_schema_text, &schema, &err) != WA_OK) {
        fail_msg("%s", err.message);
    }
    json_object_put(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_refuses),         cmocka_unit_test(test_sets),
        cmocka_unit_test(test_refuses_sets),    cmocka_unit_test(test_read),
        cmocka_unit_test(test_section_options), cmocka_unit_test(test_refuses_options),
        cmocka_unit_test(test_set_plugin),      cmocka_unit_test(test_fail),
        cmocka_unit_test(test_canonical),       cmocka_unit_test(test_differences),
        cmocka_unit_test(test_suggest),         cmocka_unit_test(test_core_schema),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
