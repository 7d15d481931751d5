/* What walign says about itself: help, version, devices, plugins; and misspelt command lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <string.h>

#include "command_test.h"

static const char *const commands[] = {"train", "sweep", "score",   "data",
                                       "bench", "tune",  "devices", "plugins"};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void test_help(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "--help"), 0);
    assert_string_equal(t->errors, "");
    wa_tested_expect_part(t->output, "Usage: walign");
    for (size_t i = 0; i < COMMANDS; i++) {
        wa_tested_expect_part(t->output, commands[i]);
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        assert_int_equal(WA_TESTED_RUN(t, commands[i], "--help"), 0);
        assert_string_equal(t->errors, "");
        wa_tested_expect_part(t->output, "Usage: walign ");
        wa_tested_expect_part(t->output, commands[i]);
        wa_tested_expect_part(t->output, "--plugin-path");
    }
}

static void test_help_of_train_has_every_option(void **state)
{
    struct wa_tested_program *t = *state;
    static const char *const options[] = {"--set", "--device", "--out", "--resume", "--quiet"};
    assert_int_equal(WA_TESTED_RUN(t, "train", "--help"), 0);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        wa_tested_expect_part(t->output, options[i]);
    }
}

static void test_version(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "--version"), 0);
    assert_int_equal(strncmp(t->output, "walign ", 7), 0);
    assert_true(t->output[7] >= '0' && t->output[7] <= '9');
    assert_int_equal(WA_TESTED_RUN(t, "train", "--version"), 0);
    assert_int_equal(strncmp(t->output, "walign ", 7), 0);
}

static void test_no_command(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, NULL), 2);
    assert_string_equal(t->output, "");
    wa_tested_expect_part(t->errors, "Usage: walign");
}

static void test_unknown_command(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "trian", "tiny.json"), 2);
    WA_TESTED_EXPECT_ERROR(t, "'trian'", "'train'", "walign --help");
    assert_int_equal(WA_TESTED_RUN(t, "cook"), 2);
    WA_TESTED_EXPECT_ERROR(t, "'cook'", "walign --help");
    assert_null(strstr(t->errors, "did you mean"));
}

static void test_unknown_option(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--fast"), 2);
    WA_TESTED_EXPECT_ERROR(t, "'--fast'", "walign train --help");
    assert_int_equal(WA_TESTED_RUN(t, "train", "-x", "tiny.json"), 2);
    WA_TESTED_EXPECT_ERROR(t, "'-x'", "walign train --help");
    /* another command's option, and one without its value */
    assert_int_equal(WA_TESTED_RUN(t, "devices", "--resume"), 2);
    WA_TESTED_EXPECT_ERROR(t, "'--resume'", "walign devices");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--jobs", "3"), 2);
    WA_TESTED_EXPECT_ERROR(t, "has no option '--jobs'");
    assert_int_equal(WA_TESTED_RUN(t, "train", "-fast", "tiny.json"), 2);
    WA_TESTED_EXPECT_ERROR(t, "has no option '-f'");
    assert_int_equal(WA_TESTED_RUN(t, "data", "list", "--dir", ""), 2);
    WA_TESTED_EXPECT_ERROR(t, "--dir", "empty name");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out"), 2);
    WA_TESTED_EXPECT_ERROR(t, "--out", "needs a value");
    assert_false(wa_tested_has(t, "runs"));
}

/* What is at the end of a message says what to do. */
static void test_a_long_message_is_whole(void **state)
{
    struct wa_tested_program *t = *state;
    char name[1400];
    memset(name, 'n', sizeof name);
    for (size_t i = 200; i < sizeof name; i += 200) {
        name[i] = '/';
    }
    name[sizeof name - 1] = '\0';
    assert_int_equal(WA_TESTED_RUN(t, "train", name), 2);
    WA_TESTED_EXPECT_ERROR(t, name, "cannot open: No such file or directory");
}

static void test_wrong_number_of_arguments(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train"), 2);
    WA_TESTED_EXPECT_ERROR(t, "walign train CONFIG");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "tiny.json"), 2);
    WA_TESTED_EXPECT_ERROR(t, "walign train CONFIG");
    assert_int_equal(WA_TESTED_RUN(t, "plugins", "rules"), 2);
    WA_TESTED_EXPECT_ERROR(t, "walign plugins");
}

static json_object *parse(const char *text, enum json_type type)
{
    json_object *object = json_tokener_parse(text);
    assert_non_null(object);
    assert_true(json_object_is_type(object, type));
    return object;
}

static const char *text_of(const json_object *object, const char *key)
{
    json_object *value = NULL;
    assert_true(json_object_object_get_ex(object, key, &value));
    assert_true(json_object_is_type(value, json_type_string));
    return json_object_get_string(value);
}

static void test_devices(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "devices", "--json"), 0);
    json_object *devices = parse(t->output, json_type_array);
    size_t count = json_object_array_length(devices);
    assert_true(count > 0);
    size_t defaults = 0;
    assert_int_equal(WA_TESTED_RUN(t, "devices"), 0);
    for (size_t i = 0; i < count; i++) {
        const json_object *device = json_object_array_get_idx(devices, i);
        json_object *value = NULL;
        assert_true(json_object_object_get_ex(device, "index", &value));
        assert_int_equal(json_object_get_int64(value), i);
        assert_true(json_object_object_get_ex(device, "default", &value));
        defaults += json_object_get_boolean(value) ? 1 : 0;
        wa_tested_expect_part(t->output, text_of(device, "name"));
        wa_tested_expect_part(t->output, text_of(device, "platform"));
    }
    assert_int_equal(defaults, 1);
    (void)json_object_put(devices);
}

static void test_device_is_chosen(void **state)
{
    struct wa_tested_program *t = *state;
    /* by index, and by a part of the platform's name in another case */
    t->environment[0] = "WALIGN_DEVICE";
    assert_int_equal(WA_TESTED_RUN(t, "devices", "--json"), 0);
    json_object *devices = parse(t->output, json_type_array);
    char platform[256] = "";
    const char *name = text_of(json_object_array_get_idx(devices, 0), "platform");
    for (size_t i = 0; name[i] && i + 1 < sizeof platform; i++) {
        platform[i] = name[i] >= 'a' && name[i] <= 'z' ? (char)(name[i] - 'a' + 'A') : name[i];
    }
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--device", "0", "--out", "a"), 0);
    wa_tested_expect_part(t->errors, "device 0");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--device", platform, "--out", "b"), 0);
    wa_tested_expect_part(t->errors, name);
    (void)json_object_put(devices);
}

static void test_plugins(void **state)
{
    struct wa_tested_program *t = *state;
    static const struct {
        const char *kind, *id;
    } expected[] = {
        {"rule", "backprop"},         {"rule", "align-zero"},  {"rule", "align-ada"},
        {"rule", "align-prop"},       {"rule", "fa"},          {"rule", "dfa"},
        {"rule", "last-layer"},       {"architecture", "cnn"}, {"optimizer", "sgd"},
        {"optimizer", "adam"},        {"dataset", "mnist"},    {"dataset", "kmnist"},
        {"dataset", "fashion-mnist"}, {"dataset", "cifar10"},  {"dataset", "arrays"},
        {"dataset", "glyphs"},        {"dataset", "add"},      {"dataset", "imagefolder"},
        {"architecture", "mlp"},      {"architecture", "rnn"},
    };
    assert_int_equal(WA_TESTED_RUN(t, "plugins", "--json"), 0);
    json_object *root = parse(t->output, json_type_object);
    json_object *plugins = NULL;
    json_object *refused = NULL;
    assert_true(json_object_object_get_ex(root, "plugins", &plugins));
    assert_true(json_object_object_get_ex(root, "refused", &refused));
    assert_int_equal(json_object_array_length(refused), 0);
    assert_int_equal(WA_TESTED_RUN(t, "plugins"), 0);
    for (size_t e = 0; e < sizeof expected / sizeof *expected; e++) {
        size_t found = 0;
        for (size_t i = 0; i < json_object_array_length(plugins); i++) {
            const json_object *plugin = json_object_array_get_idx(plugins, i);
            if (strcmp(text_of(plugin, "kind"), expected[e].kind) == 0 &&
                strcmp(text_of(plugin, "id"), expected[e].id) == 0) {
                found++;
                assert_string_not_equal(text_of(plugin, "summary"), "");
                assert_string_not_equal(text_of(plugin, "file"), "");
                wa_tested_expect_part(t->output, text_of(plugin, "summary"));
            }
        }
        assert_int_equal(found, 1);
        wa_tested_expect_part(t->output, expected[e].id);
    }
    (void)json_object_put(root);
}

/* What core finds without knowing a name, as messages speak of it. */
static void test_roles_are_listed(void **state)
{
    struct wa_tested_program *t = *state;
    static const char *const expected[][2] = {{"backprop", "exact_gradient"},
                                              {"align-zero", "frozen_gradient"},
                                              {"sgd", "default"},
                                              {"fa", ""}};
    assert_int_equal(WA_TESTED_RUN(t, "plugins"), 0);
    wa_tested_expect_part(t->output, "[exact_gradient]\n");
    wa_tested_expect_part(t->output, "[frozen_gradient]\n");
    assert_int_equal(WA_TESTED_RUN(t, "plugins", "--json"), 0);
    json_object *root = parse(t->output, json_type_object);
    json_object *plugins = json_object_object_get(root, "plugins");
    size_t found = 0;
    for (size_t i = 0; i < json_object_array_length(plugins); i++) {
        const json_object *plugin = json_object_array_get_idx(plugins, i);
        const json_object *roles = json_object_object_get(plugin, "roles");
        for (size_t e = 0; e < sizeof expected / sizeof *expected; e++) {
            if (strcmp(text_of(plugin, "id"), expected[e][0]) == 0) {
                found++;
                assert_int_equal(json_object_array_length(roles), *expected[e][1] ? 1 : 0);
                assert_string_equal(
                    *expected[e][1] ? json_object_get_string(json_object_array_get_idx(roles, 0))
                                    : "",
                    expected[e][1]);
            }
        }
    }
    assert_int_equal(found, sizeof expected / sizeof *expected);
    (void)json_object_put(root);
}

static void test_plugin_path_must_exist(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "plugins", "--plugin-path", "nowhere"), 2);
    WA_TESTED_EXPECT_ERROR(t, "nowhere");
    t->environment[0] = "WALIGN_PLUGIN_PATH=/there/is/no/such/folder";
    assert_int_equal(WA_TESTED_RUN(t, "plugins"), 2);
    WA_TESTED_EXPECT_ERROR(t, "/there/is/no/such/folder");
}

static void test_refused_plugin_is_listed(void **state)
{
    struct wa_tested_program *t = *state;
    assert_true(wa_data_folder_make(&t->folder, "mine"));
    wa_tested_write(t, "mine/broken.so", "no shared object", 16);
    assert_int_equal(WA_TESTED_RUN(t, "plugins", "--plugin-path", "mine"), 0);
    wa_tested_expect_part(t->output, "refused");
    wa_tested_expect_part(t->output, "mine/broken.so");
    wa_tested_expect_part(t->output, "align-zero");
}

static void test_output_that_cannot_be_written(void **state)
{
    struct wa_tested_program *t = *state;
    t->file_limit_bytes = 100;
    assert_int_equal(WA_TESTED_RUN(t, "plugins"), 1);
    WA_TESTED_EXPECT_ERROR(t, "standard output");
    assert_int_equal(WA_TESTED_RUN(t, "plugins", "--json"), 1); /* more than a buffer holds */
    WA_TESTED_EXPECT_ERROR(t, "standard output");
}

static void test_bench(void **state)
{
    struct wa_tested_program *t = *state;
    static const char *const numbers[] = {"flop_per_step", "gflops", "peak_gflops",
                                          "peak_fraction"};
    static const char *const times[] = {"median", "min", "max"};
    assert_int_equal(WA_TESTED_RUN(t, "bench", "tiny.json", "--steps", "5", "--json"), 0);
    json_object *bench = parse(t->output, json_type_object);
    json_object *value = NULL;
    assert_true(json_object_object_get_ex(bench, "device", &value));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        assert_true(json_object_object_get_ex(bench, numbers[i], &value));
        assert_true(json_object_get_double(value) > 0);
    }
    json_object *ms = NULL;
    assert_true(json_object_object_get_ex(bench, "ms_per_step", &ms));
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        assert_true(json_object_object_get_ex(ms, times[i], &value));
        assert_true(json_object_get_double(value) > 0);
    }
    (void)json_object_put(bench);
    assert_int_equal(WA_TESTED_RUN(t, "bench", "tiny.json", "--steps", "5"), 0);
    assert_string_not_equal(t->output, "");
    assert_false(wa_tested_has(t, "runs"));
    /* targets that are values instead of labels */
    wa_tested_write_json(t, "add.json",
                         "{'dataset': {'plugin': 'add'}, 'rule': {'plugin': 'backprop'},\n"
                         " 'architecture': {'plugin': 'rnn', 'width': 8}, 'batch': 50}\n");
    assert_int_equal(WA_TESTED_RUN(t, "bench", "add.json", "--steps", "2", "--json"), 0);
    assert_int_equal(WA_TESTED_RUN(t, "bench", "tiny.json", "--steps", "0"), 2);
    WA_TESTED_EXPECT_ERROR(t, "--steps 0");
    assert_int_equal(WA_TESTED_RUN(t, "bench", "tiny.json", "--steps", "many"), 2);
    WA_TESTED_EXPECT_ERROR(t, "--steps many");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WA_COMMAND_TEST(test_help),
        WA_COMMAND_TEST(test_help_of_train_has_every_option),
        WA_COMMAND_TEST(test_version),
        WA_COMMAND_TEST(test_no_command),
        WA_COMMAND_TEST(test_unknown_command),
        WA_COMMAND_TEST(test_unknown_option),
        WA_COMMAND_TEST(test_a_long_message_is_whole),
        WA_COMMAND_TEST(test_wrong_number_of_arguments),
        WA_COMMAND_TEST(test_devices),
        WA_COMMAND_TEST(test_device_is_chosen),
        WA_COMMAND_TEST(test_plugins),
        WA_COMMAND_TEST(test_roles_are_listed),
        WA_COMMAND_TEST(test_plugin_path_must_exist),
        WA_COMMAND_TEST(test_refused_plugin_is_listed),
        WA_COMMAND_TEST(test_output_that_cannot_be_written),
        WA_COMMAND_TEST(test_bench),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
