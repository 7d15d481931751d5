/* `walign train`: a run, its files, --set, where it lies, and that equal runs are equal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command_test.h"
#include "safetensors.h"

static json_object *member(const json_object *object, const char *key)
{
    json_object *value = NULL;
    if (!json_object_object_get_ex(object, key, &value)) {
        fail_msg("no \"%s\"", key);
    }
    return value;
}

/* Line `number`, from 1, of a file of JSON lines; the caller puts it. */
static json_object *read_line(struct wa_tested_program *t, const char *name, int number)
{
    char *text = wa_tested_read(t, name, NULL);
    const char *line = text;
    for (int i = 1; i < number; i++) {
        line = strchr(line, '\n');
        assert_non_null(line);
        line++;
    }
    char *end = strchr(line, '\n');
    assert_non_null(end);
    *end = '\0';
    json_object *object = json_tokener_parse(line);
    assert_non_null(object);
    free(text);
    return object;
}

static size_t count_lines(struct wa_tested_program *t, const char *name)
{
    char *text = wa_tested_read(t, name, NULL);
    size_t lines = 0;
    for (const char *c = text; *c; c++) {
        lines += *c == '\n' ? 1 : 0;
    }
    free(text);
    return lines;
}

static void expect_metrics(struct wa_tested_program *t, const char *name, int epoch, int step)
{
    static const char *const numbers[] = {"train_loss", "train_accuracy", "validation_loss",
                                          "validation_accuracy", "seconds"};
    json_object *line = read_line(t, name, epoch);
    assert_int_equal(json_object_get_int64(member(line, "epoch")), epoch);
    assert_int_equal(json_object_get_int64(member(line, "step")), step);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        assert_true(json_object_is_type(member(line, numbers[i]), json_type_double));
        assert_true(json_object_get_double(member(line, numbers[i])) >= 0);
    }
    (void)json_object_put(line);
}

/* The tensors of a checkpoint by name and shape; what a resume needs lies under "state.". */
static void expect_checkpoint(struct wa_tested_program *t, const char *name)
{
    static const struct wa_safetensors_entry expected[] = {
        {"conv1.weight", WA_SAFETENSORS_F32, 4, {4, 3, 3, 1}, NULL, 0},
        {"conv1.bias", WA_SAFETENSORS_F32, 1, {4}, NULL, 0},
        {"conv2.weight", WA_SAFETENSORS_F32, 4, {4, 3, 3, 4}, NULL, 0},
        {"conv2.bias", WA_SAFETENSORS_F32, 1, {4}, NULL, 0},
        {"readout.weight", WA_SAFETENSORS_F32, 4, {10, 1, 1, 4}, NULL, 0},
        {"readout.bias", WA_SAFETENSORS_F32, 1, {10}, NULL, 0},
    };
    enum { EXPECTED = sizeof expected / sizeof *expected };
    struct wa_safetensors *file = NULL;
    struct wa_error err = {0};
    if (wa_safetensors_read(wa_data_folder_file(&t->folder, name), &file, &err) != WA_OK) {
        fail_msg("%s", err.message);
    }
    for (size_t i = 0; i < EXPECTED; i++) {
        const void *data = NULL;
        assert_int_equal(wa_safetensors_expect(file, &expected[i], &data, &err), WA_OK);
    }
    for (size_t i = 0; i < wa_safetensors_count(file); i++) {
        const char *tensor = wa_safetensors_at(file, i)->name;
        assert_true(i < EXPECTED || strncmp(tensor, "state.", 6) == 0);
    }
    wa_safetensors_destroy(file);
}

static void test_files_of_a_run(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run"), 0);
    assert_string_equal(t->output, "");
    /* not a terminal: a line an epoch */
    wa_tested_expect_part(t->errors, "epoch 1/2");
    wa_tested_expect_part(t->errors, "epoch 2/2");
    assert_null(strchr(t->errors, '\r'));
    assert_int_equal(count_lines(t, "run/metrics.jsonl"), 2);
    expect_metrics(t, "run/metrics.jsonl", 1, 10);
    expect_metrics(t, "run/metrics.jsonl", 2, 20);
    expect_checkpoint(t, "run/checkpoints/epoch-0000.safetensors");
    expect_checkpoint(t, "run/checkpoints/last.safetensors");
    assert_false(wa_tested_has(t, "run/steps.jsonl"));
    assert_false(wa_tested_has(t, "run/lock"));
    assert_false(wa_tested_has(t, "run/checkpoints/epoch-0001.safetensors"));
}

static void test_run_json(void **state)
{
    struct wa_tested_program *t = *state;
    static const char *const keys[] = {"config",  "config_sha256",    "seed", "device", "versions",
                                       "plugins", "peak_device_bytes"};
    assert_int_equal(
        WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--set", "seed=7", "--quiet"), 0);
    char *text = wa_tested_read(t, "run/run.json", NULL);
    json_object *run = json_tokener_parse(text);
    free(text);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        (void)member(run, keys[i]);
    }
    json_object *config = member(run, "config");
    assert_int_equal(json_object_get_int(member(config, "seed")), 7);
    assert_int_equal(json_object_get_int(member(config, "epochs")), 2);
    assert_string_equal(json_object_get_string(member(member(config, "optimizer"), "plugin")),
                        "sgd");
    assert_string_equal(json_object_get_string(member(config, "parameterization")), "ntk");
    assert_int_equal(json_object_array_length(member(run, "plugins")), 4);
    assert_true(json_object_get_int64(member(run, "peak_device_bytes")) > 0);
    (void)json_object_put(run);
}

static void test_default_directory(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--quiet"), 0);
    assert_true(wa_tested_has(t, "runs/tiny/run.json"));
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--quiet", "--set", "rule.plugin=fa",
                                   "--set", "architecture.width=2"),
                     0);
    assert_true(wa_tested_has(t, "runs/tiny-rule-fa-width-2/run.json"));
}

static void test_quiet(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet"), 0);
    assert_string_equal(t->output, "");
    assert_string_equal(t->errors, "");
}

static void test_paths_count_from_the_config(void **state)
{
    struct wa_tested_program *t = *state;
    assert_true(wa_data_folder_make(&t->folder, "sub"));
    wa_tested_write_json(t, "sub/arrays.json",
                         "{'dataset': {'plugin': 'arrays', 'images': 'x.npy', 'labels': 'y.npy'},"
                         " 'architecture': {'plugin': 'cnn', 'width': 2, 'kernels': [3],"
                         " 'strides': [1]}, 'rule': {'plugin': 'fa'}, 'batch': 2, 'epochs': 1}");
    wa_tested_write_npy(t, "sub/x.npy", "|u1", "2, 2, 2, 1", "\1\2\3\4\5\6\7\10", 8);
    wa_tested_write_npy(t, "sub/y.npy", "|u1", "2,", "\0\1", 2);
    assert_int_equal(WA_TESTED_RUN(t, "train", "sub/arrays.json", "--out", "run", "--quiet"), 0);
    /* classes: the largest label + 1 */
    struct wa_safetensors *file = NULL;
    struct wa_error err = {0};
    const char *path = wa_data_folder_file(&t->folder, "run/checkpoints/last.safetensors");
    assert_int_equal(wa_safetensors_read(path, &file, &err), WA_OK);
    assert_int_equal(wa_safetensors_find(file, "readout.bias")->shape[0], 2);
    wa_safetensors_destroy(file);
}

static void test_log_steps(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", "--set",
                                   "log_steps=true", "--set", "steps=13"),
                     0);
    assert_int_equal(count_lines(t, "run/steps.jsonl"), 13);
    double sum = 0;
    for (int i = 1; i <= 13; i++) {
        json_object *line = read_line(t, "run/steps.jsonl", i);
        assert_int_equal(json_object_get_int64(member(line, "step")), i);
        assert_true(json_object_get_double(member(line, "accuracy")) <= 1);
        sum += i > 10 ? json_object_get_double(member(line, "loss")) : 0;
        (void)json_object_put(line);
    }
    /* the second epoch has three steps; its loss is their mean, each before its update */
    json_object *line = read_line(t, "run/metrics.jsonl", 2);
    assert_int_equal(json_object_get_int64(member(line, "step")), 13);
    double mean = json_object_get_double(member(line, "train_loss"));
    assert_true(mean > 0 && sum / 3 / mean < 1 + 1e-6 && sum / 3 / mean > 1 - 1e-6);
    (void)json_object_put(line);
}

static void test_evaluate(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "all", "--quiet", "--set",
                                   "evaluate=[\"test\", \"train\"]", "--set", "epochs=1"),
                     0);
    json_object *line = read_line(t, "all/metrics.jsonl", 1);
    (void)member(line, "test_loss");
    (void)member(line, "test_accuracy");
    (void)member(line, "train_eval_loss");
    assert_false(json_object_object_get_ex(line, "validation_loss", NULL));
    (void)json_object_put(line);
    /* a set that is empty is skipped */
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "none", "--quiet", "--set",
                                   "dataset.validation=0", "--set", "epochs=1"),
                     0);
    line = read_line(t, "none/metrics.jsonl", 1);
    assert_int_equal(json_object_get_int64(member(line, "step")), 12);
    assert_false(json_object_object_get_ex(line, "validation_loss", NULL));
    (void)json_object_put(line);
}

static void test_checkpoints_that_are_kept(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", "--set",
                                   "epochs=4", "--set", "keep_every=2"),
                     0);
    assert_true(wa_tested_has(t, "run/checkpoints/epoch-0000.safetensors"));
    assert_false(wa_tested_has(t, "run/checkpoints/epoch-0001.safetensors"));
    assert_true(wa_tested_has(t, "run/checkpoints/epoch-0002.safetensors"));
    assert_false(wa_tested_has(t, "run/checkpoints/epoch-0003.safetensors"));
    assert_true(wa_tested_has(t, "run/checkpoints/epoch-0004.safetensors"));
    expect_checkpoint(t, "run/checkpoints/epoch-0002.safetensors");
}

static void test_limits(void **state)
{
    struct wa_tested_program *t = *state;
    /* 120 items, 20 held out: a limit above what is there means all of it */
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "few", "--quiet", "--set",
                                   "dataset.train_limit=35", "--set", "epochs=1"),
                     0);
    json_object *line = read_line(t, "few/metrics.jsonl", 1);
    assert_int_equal(json_object_get_int64(member(line, "step")), 3);
    (void)json_object_put(line);
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "more", "--quiet", "--set",
                                   "dataset.train_limit=1000", "--set",
                                   "dataset.validation_limit=1000"),
                     0);
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "all", "--quiet"), 0);
    wa_tested_expect_equal(t, "more/checkpoints/last.safetensors",
                           "all/checkpoints/last.safetensors");
    wa_tested_expect_equal_metrics(t, "more/metrics.jsonl", "all/metrics.jsonl");
}

static void test_equal_runs_are_equal(void **state)
{
    struct wa_tested_program *t = *state;
    static const char *const rules[] = {"align-zero", "align-ada", "align-prop", "backprop",
                                        "dfa",        "fa",        "last-layer"};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        char set[64];
        char runs[2][32];
        char checkpoints[2][96];
        (void)snprintf(set, sizeof set, "rule.plugin=%s", rules[i]);
        for (int r = 0; r < 2; r++) {
            (void)snprintf(runs[r], sizeof runs[r], "%c-%s", 'a' + r, rules[i]);
            (void)snprintf(checkpoints[r], sizeof checkpoints[r], "%s/checkpoints/last.safetensors",
                           runs[r]);
            assert_int_equal(
                WA_TESTED_RUN(t, "train", "tiny.json", "--out", runs[r], "--set", set, "--quiet"),
                0);
        }
        wa_tested_expect_equal(t, checkpoints[0], checkpoints[1]);
    }
    wa_tested_expect_equal(t, "a-fa/checkpoints/epoch-0000.safetensors",
                           "b-fa/checkpoints/epoch-0000.safetensors");
    wa_tested_expect_equal_metrics(t, "a-fa/metrics.jsonl", "b-fa/metrics.jsonl");
}

static void test_seed_makes_another_run(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "a", "--quiet"), 0);
    assert_int_equal(
        WA_TESTED_RUN(t, "train", "tiny.json", "--out", "b", "--quiet", "--set", "seed=98"), 0);
    size_t size = 0;
    size_t other_size = 0;
    char *a = wa_tested_read(t, "a/checkpoints/last.safetensors", &size);
    char *b = wa_tested_read(t, "b/checkpoints/last.safetensors", &other_size);
    assert_int_equal(size, other_size);
    assert_memory_not_equal(a, b, size);
    free(a);
    free(b);
}

static void test_directory_that_holds_a_run(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet"), 0);
    char *before = wa_tested_read(t, "run/metrics.jsonl", NULL);
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet"), 2);
    WA_TESTED_EXPECT_ERROR(t, "run: ", "--resume", "--out");
    char *after = wa_tested_read(t, "run/metrics.jsonl", NULL);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WA_COMMAND_TEST(test_files_of_a_run),
        WA_COMMAND_TEST(test_run_json),
        WA_COMMAND_TEST(test_default_directory),
        WA_COMMAND_TEST(test_quiet),
        WA_COMMAND_TEST(test_paths_count_from_the_config),
        WA_COMMAND_TEST(test_log_steps),
        WA_COMMAND_TEST(test_evaluate),
        WA_COMMAND_TEST(test_checkpoints_that_are_kept),
        WA_COMMAND_TEST(test_limits),
        WA_COMMAND_TEST(test_equal_runs_are_equal),
        WA_COMMAND_TEST(test_seed_makes_another_run),
        WA_COMMAND_TEST(test_directory_that_holds_a_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
