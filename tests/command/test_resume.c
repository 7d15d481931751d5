/* Interrupted runs: whatever stopped them, `--resume` ends with the bits of the uninterrupted run;
 * and what a resume refuses. */
#define _GNU_SOURCE /* memmem */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command_test.h"
#include "safetensors.h"

#define LAST "/checkpoints/last.safetensors"

/* ---- Runs that are interrupted --------------------------------------------------------------- */

/* Long enough to be interrupted in the middle of an epoch: steps.jsonl appears after half a second.
 */
static void write_long_config(struct wa_tested_program *t)
{
    wa_tested_write_json(
        t, "long.json",
        "{'dataset': {'plugin': 'glyphs', 'height': 20, 'width': 20, 'items': 6100,\n"
        "             'validation': 100},\n"
        " 'architecture': {'plugin': 'cnn', 'width': 8, 'kernels': [3, 3], 'strides': [1, 2]},\n"
        " 'rule': {'plugin': 'dfa'}, 'optimizer': {'plugin': 'adam', 'learning_rate': 0.001},\n"
        " 'parameterization': 'standard', 'batch': 10, 'epochs': 2, 'log_steps': true}\n");
}

static void expect_equal_runs(struct wa_tested_program *t, const char *a, const char *b)
{
    static const char *const same[] = {LAST, "/checkpoints/epoch-0000.safetensors", "/steps.jsonl"};
    char names[2][96];
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        (void)snprintf(names[0], sizeof names[0], "%s%s", a, same[i]);
        (void)snprintf(names[1], sizeof names[1], "%s%s", b, same[i]);
        if (wa_tested_has(t, names[0]) || wa_tested_has(t, names[1])) {
            wa_tested_expect_equal(t, names[0], names[1]);
        }
    }
    (void)snprintf(names[0], sizeof names[0], "%s/metrics.jsonl", a);
    (void)snprintf(names[1], sizeof names[1], "%s/metrics.jsonl", b);
    wa_tested_expect_equal_metrics(t, names[0], names[1]);
}

/* Steps in the epoch that has begun, as the last checkpoint of the run has it. */
static uint64_t steps_in_epoch(struct wa_tested_program *t, const char *name)
{
    struct wa_safetensors *file = NULL;
    struct wa_error err = {0};
    assert_int_equal(wa_safetensors_read(wa_data_folder_file(&t->folder, name), &file, &err),
                     WA_OK);
    const struct wa_safetensors_entry *progress = wa_safetensors_find(file, "state.progress");
    assert_non_null(progress);
    assert_int_equal(progress->type, WA_SAFETENSORS_U64);
    uint64_t steps = ((const uint64_t *)progress->data)[2];
    wa_safetensors_destroy(file);
    return steps;
}

static void interrupt(struct wa_tested_program *t, const char *out, int number)
{
    char steps[64];
    char last[64];
    (void)snprintf(steps, sizeof steps, "%s/steps.jsonl", out);
    (void)snprintf(last, sizeof last, "%s" LAST, out);
    pid_t process = WA_TESTED_START(t, "train", "long.json", "--out", out, "--quiet");
    wa_tested_await(t, steps);
    /* Twice, as timeout(1) sends it: to the process and to its group. */
    assert_int_equal(kill(process, number), 0);
    wa_tested_sleep_ms(1);
    assert_int_equal(kill(process, number), 0);
    assert_int_equal(wa_tested_wait(t, process), 1);
    WA_TESTED_EXPECT_ERROR(t, "stopped after step ", "--resume", out);
    assert_true(steps_in_epoch(t, last) > 0);
    assert_int_equal(WA_TESTED_RUN(t, "train", "long.json", "--out", out, "--resume"), 0);
    wa_tested_expect_part(t->errors, "resumed after step ");
}

static void test_signals(void **state)
{
    struct wa_tested_program *t = *state;
    write_long_config(t);
    assert_int_equal(WA_TESTED_RUN(t, "train", "long.json", "--out", "whole", "--quiet"), 0);
    interrupt(t, "sigint", SIGINT);
    expect_equal_runs(t, "whole", "sigint");
    interrupt(t, "sigterm", SIGTERM);
    expect_equal_runs(t, "whole", "sigterm");
}

/* The signal makes the compiler fail: here, because what it is to read is broken after the signal came. */
static void test_a_signal_while_kernels_are_built(void **state)
{
    struct wa_tested_program *t = *state;
    wa_command_change_kernels(t, "kernels", "no kernel has this name", "");
    char pipe[1024];
    (void)snprintf(pipe, sizeof pipe, "%s",
                   wa_data_folder_file(&t->folder, "kernels/cpu_batch_norm.cl"));
    assert_int_equal(unlink(pipe), 0);
    assert_int_equal(mkfifo(pipe, 0600), 0);
    t->environment[0] = "WALIGN_KERNELS=kernels";
    pid_t process = WA_TESTED_START(t, "train", "tiny.json", "--out", "run", "--set",
                                    "kernels.path=cpu", "--quiet");
    int fd = open(pipe, O_WRONLY); /* waits for the program */
    assert_true(fd >= 0);
    assert_int_equal(kill(process, SIGINT), 0);
    wa_tested_sleep_ms(50);
    assert_int_equal(write(fd, "broken", 6), 6);
    (void)close(fd);
    assert_int_equal(wa_tested_wait(t, process), 1);
    wa_tested_expect_part(t->errors,
                          "walign: stopped while kernels were built; nothing was written");
    assert_null(strstr(t->errors, "failed"));
    assert_false(wa_tested_has(t, "run"));
}

/* The evaluation takes much longer than the ten steps before it, whose lines appear at its start. */
static void test_signal_in_an_evaluation(void **state)
{
    struct wa_tested_program *t = *state;
    wa_tested_write_json(
        t, "long.json",
        "{'dataset': {'plugin': 'glyphs', 'height': 20, 'width': 20, 'items': 20100,\n"
        "             'validation': 20000}, 'evaluate': ['validation', 'train'],\n"
        " 'architecture': {'plugin': 'cnn', 'width': 16, 'kernels': [3, 3], 'strides': [1, 2]},\n"
        " 'rule': {'plugin': 'fa'}, 'log_angles': true, 'batch': 10, 'epochs': 2,\n"
        " 'log_steps': true}\n");
    assert_int_equal(WA_TESTED_RUN(t, "train", "long.json", "--out", "whole", "--quiet"), 0);
    pid_t process = WA_TESTED_START(t, "train", "long.json", "--out", "run", "--quiet");
    wa_tested_await(t, "run/steps.jsonl");
    wa_tested_sleep_ms(50);
    assert_int_equal(kill(process, SIGINT), 0);
    assert_int_equal(wa_tested_wait(t, process), 1);
    WA_TESTED_EXPECT_ERROR(t, "stopped after step 10", "--resume");
    assert_int_equal(steps_in_epoch(t, "run" LAST), 10);
    assert_int_equal(WA_TESTED_RUN(t, "train", "long.json", "--out", "run", "--resume"), 0);
    wa_tested_expect_part(t->errors, "resumed after step 10");
    expect_equal_runs(t, "whole", "run");
}

/* The seed of the times at which processes are killed. */
enum { KILL_SEED = 20260301, KILLS = 15 };

static void test_kill_at_any_time(void **state)
{
    struct wa_tested_program *t = *state;
    static const char *const arguments[] = {"train",    "tiny.json",     "--out",      "killed",
                                            "--resume", "--set",         "epochs=400", "--quiet",
                                            "--set",    "keep_every=50", NULL};
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "whole", "--quiet", "--set",
                                   "epochs=400", "--set", "keep_every=50"),
                     0);
    unsigned seed = KILL_SEED;
    int killed = 0;
    for (int i = 0; i < KILLS; i++) {
        pid_t process = wa_tested_start(t, arguments);
        seed = seed * 1103515245u + 12345u;
        unsigned span_ms = 20 + (seed >> 16) % 300 + 10u * (unsigned)i;
        wa_tested_sleep_ms(span_ms);
        assert_int_equal(kill(process, SIGKILL), 0);
        int result = wa_tested_wait(t, process);
        if (result == 0) {
            break;
        }
        assert_int_equal(result, 128 + SIGKILL);
        killed++;
        if (wa_tested_has(t, "killed" LAST)) {
            struct wa_safetensors *file = NULL;
            struct wa_error err = {0};
            const char *path = wa_data_folder_file(&t->folder, "killed" LAST);
            if (wa_safetensors_read(path, &file, &err) != WA_OK) {
                fail_msg("after kill %d: %s", i, err.message);
            }
            wa_safetensors_destroy(file);
        }
    }
    print_message("killed %d times (seed %d)\n", killed, (int)KILL_SEED);
    assert_true(killed > 0);
    assert_int_equal(wa_tested_run(t, arguments), 0);
    expect_equal_runs(t, "whole", "killed");
    wa_tested_expect_equal(t, "whole/checkpoints/epoch-0350.safetensors",
                           "killed/checkpoints/epoch-0350.safetensors");
}

/* "steps" ends a run in the middle of an epoch, a longer "epochs" goes on. */
static void test_more_epochs(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(
        WA_TESTED_RUN(t, "train", "tiny.json", "--out", "whole", "--quiet", "--set", "epochs=5"),
        0);
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet"), 0);
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", "--resume",
                                   "--set", "epochs=5"),
                     0);
    wa_tested_expect_equal(t, "whole" LAST, "run" LAST);
    wa_tested_expect_equal_metrics(t, "whole/metrics.jsonl", "run/metrics.jsonl");
}

static json_object *read_run(struct wa_tested_program *t)
{
    char *text = wa_tested_read(t, "run/run.json", NULL);
    json_object *run = json_tokener_parse(text);
    assert_non_null(run);
    free(text);
    return run;
}

/* A string of an object within an object. */
static const char *text_in(const json_object *object, const char *key, const char *inner)
{
    json_object *value = NULL;
    assert_true(json_object_object_get_ex(object, key, &value));
    if (json_object_is_type(value, json_type_array)) {
        assert_int_equal(json_object_array_length(value), 1);
        value = json_object_array_get_idx(value, 0);
    }
    assert_true(json_object_object_get_ex(value, inner, &value));
    return json_object_get_string(value);
}

/* What a run is made of stays true: it says how long the run is now, and where it went on. */
static void test_description_of_a_resumed_run(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet"), 0);
    json_object *run = read_run(t);
    json_object *device = NULL;
    json_object_object_get_ex(run, "device", &device);
    char *driver = strdup(text_in(run, "device", "driver"));
    char *hash = strdup(json_object_get_string(json_object_object_get(run, "config_sha256")));
    json_object_object_add(device, "driver", json_object_new_string("0.5-older"));
    const char *text = json_object_to_json_string(run);
    wa_tested_write(t, "run/run.json", text, strlen(text));
    (void)json_object_put(run);
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", "--resume",
                                   "--set", "epochs=3"),
                     0);
    wa_tested_expect_part(t->errors, "driver 0.5-older");
    wa_tested_expect_part(t->errors, driver);
    run = read_run(t);
    assert_string_equal(text_in(run, "config", "epochs"), "3");
    assert_string_equal(text_in(run, "device", "driver"), "0.5-older");
    assert_string_equal(text_in(run, "resumed_on", "driver"), driver);
    assert_string_not_equal(json_object_get_string(json_object_object_get(run, "config_sha256")),
                            hash);
    (void)json_object_put(run);
    /* no news: on the same device again */
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", "--resume",
                                   "--set", "epochs=4"),
                     0);
    assert_string_equal(t->errors, "");
    run = read_run(t);
    assert_string_equal(text_in(run, "resumed_on", "driver"), driver);
    (void)json_object_put(run);
    free(driver);
    free(hash);
}

/* An end that is behind a stopped run already is reached: no further epoch is trained. */
static void test_fewer_epochs(void **state)
{
    struct wa_tested_program *t = *state;
    pid_t process = WA_TESTED_START(t, "train", "tiny.json", "--out", "run", "--quiet", "--set",
                                    "epochs=1000000");
    wa_tested_await(t, "run" LAST);
    assert_int_equal(kill(process, SIGKILL), 0);
    assert_int_equal(wa_tested_wait(t, process), 128 + SIGKILL);
    size_t size = 0;
    char *last = wa_tested_read(t, "run" LAST, &size);
    wa_tested_write(t, "before", last, size);
    free(last);
    assert_int_equal(
        WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--resume", "--set", "epochs=1"), 0);
    wa_tested_expect_part(t->errors, "nothing to do");
    wa_tested_expect_equal(t, "run" LAST, "before");
}

static void test_sparse_checkpoints(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(
        WA_TESTED_RUN(t, "train", "tiny.json", "--out", "whole", "--quiet", "--set", "epochs=5"),
        0);
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", "--set",
                                   "epochs=5", "--set", "checkpoint_every=100"),
                     0);
    wa_tested_expect_equal(t, "whole" LAST, "run" LAST);
    /* as if killed in epoch 5, before the first checkpoint: lines are there and must stay */
    char *before = wa_tested_read(t, "run/metrics.jsonl", NULL);
    char *cut = strstr(before, "{\"epoch\":4");
    assert_non_null(cut);
    wa_tested_write(t, "run/metrics.jsonl", before, (size_t)(cut - before));
    assert_true(wa_data_folder_delete(&t->folder, "run" LAST));
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", "--resume",
                                   "--set", "epochs=5", "--set", "checkpoint_every=100"),
                     0);
    wa_tested_expect_equal(t, "whole" LAST, "run" LAST);
    wa_tested_expect_equal_metrics(t, "whole/metrics.jsonl", "run/metrics.jsonl");
    char *after = wa_tested_read(t, "run/metrics.jsonl", NULL);
    assert_memory_equal(before, after, (size_t)(cut - before));
    free(before);
    free(after);
}

/* ---- Nothing to go on from, or nothing to do ------------------------------------------------ */

static void test_finished_run(void **state)
{
    struct wa_tested_program *t = *state;
    static const char *const names[] = {"run.json", "metrics.jsonl", "checkpoints/last.safetensors",
                                        "checkpoints/epoch-0000.safetensors"};
    enum { NAMES = sizeof names / sizeof *names };
    char *before[NAMES];
    size_t sizes[NAMES];
    char name[96];
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet"), 0);
    for (size_t i = 0; i < NAMES; i++) {
        (void)snprintf(name, sizeof name, "run/%s", names[i]);
        before[i] = wa_tested_read(t, name, &sizes[i]);
    }
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--resume"), 0);
    wa_tested_expect_part(t->errors, "nothing to do");
    for (size_t i = 0; i < NAMES; i++) {
        size_t size = 0;
        (void)snprintf(name, sizeof name, "run/%s", names[i]);
        char *after = wa_tested_read(t, name, &size);
        assert_int_equal(size, sizes[i]);
        assert_memory_equal(before[i], after, size);
        free(before[i]);
        free(after);
    }
}

static void test_resume_of_nothing_starts(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "new", "--quiet", "--resume"),
                     0);
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet"), 0);
    expect_equal_runs(t, "run", "new");
}

static void test_torn_line_is_dropped(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet"), 0);
    assert_int_equal(
        WA_TESTED_RUN(t, "train", "tiny.json", "--out", "whole", "--quiet", "--set", "epochs=3"),
        0);
    size_t size = 0;
    char *metrics = wa_tested_read(t, "run/metrics.jsonl", &size);
    char *torn = malloc(size + 32);
    assert_non_null(torn);
    memcpy(torn, metrics, size);
    memcpy(torn + size, "{\"epoch\":3,\"st", 14);
    wa_tested_write(t, "run/metrics.jsonl", torn, size + 14);
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", "--resume",
                                   "--set", "epochs=3"),
                     0);
    wa_tested_expect_equal_metrics(t, "whole/metrics.jsonl", "run/metrics.jsonl");
    char *after = wa_tested_read(t, "run/metrics.jsonl", NULL);
    assert_memory_equal(metrics, after, size);
    free(metrics);
    free(torn);
    free(after);
}

/* ---- Refusals -------------------------------------------------------------------------------- */

static void test_changed_config(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet"), 0);
    char *before = wa_tested_read(t, "run/run.json", NULL);
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--resume", "--quiet",
                                   "--set", "batch=20", "--set", "rule.plugin=fa"),
                     2);
    WA_TESTED_EXPECT_ERROR(t, "batch: 10 -> 20", "rule.plugin", "fa", "--out");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--resume", "--quiet",
                                   "--set", "architecture.width=5"),
                     2);
    WA_TESTED_EXPECT_ERROR(t, "architecture.width: 4 -> 5");
    char *after = wa_tested_read(t, "run/run.json", NULL);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static void test_damaged_checkpoint(void **state)
{
    struct wa_tested_program *t = *state;
    size_t size = 0;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet"), 0);
    char *good = wa_tested_read(t, "run" LAST, &size);
    /* cut off, empty, of other bytes, with another tensor in it, with one bit of a number turned */
    for (int kind = 0; kind < 5; kind++) {
        char *bad = malloc(size);
        assert_non_null(bad);
        memcpy(bad, good, size);
        size_t bad_size = kind == 0 ? size - 5 : kind == 1 ? 0 : size;
        if (kind == 2) {
            memset(bad, 'x', 64);
        } else if (kind == 3) {
            char *name = memmem(bad, size, "conv2.weight", 12);
            assert_non_null(name);
            name[4] = '9';
        } else if (kind == 4) {
            bad[size - 200] ^= 1;
        }
        wa_tested_write(t, "run" LAST, bad, bad_size);
        free(bad);
        assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--resume",
                                       "--quiet", "--set", "epochs=3"),
                         2);
        WA_TESTED_EXPECT_ERROR(t, "run" LAST);
        size_t kept_size = 0;
        free(wa_tested_read(t, "run" LAST, &kept_size));
        assert_int_equal(kept_size, bad_size); /* nothing is lost */
    }
    free(good);
}

static void test_damaged_metrics(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet"), 0);
    wa_tested_write_json(t, "run/metrics.jsonl", "{'epoch':1,'step':10}\nnonsense\n");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--resume", "--quiet"),
                     2);
    WA_TESTED_EXPECT_ERROR(t, "run/metrics.jsonl:2:1");
    /* lines that the checkpoint is further than cannot be made again */
    wa_tested_write_json(t, "run/metrics.jsonl", "{'epoch':1,'step':10,'seconds':1}\n");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--resume", "--quiet"),
                     2);
    WA_TESTED_EXPECT_ERROR(t, "metrics.jsonl", "epoch 2");
}

static void test_damaged_run_json(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet"), 0);
    wa_tested_write(t, "run/run.json", "{", 1);
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--resume", "--quiet"),
                     2);
    WA_TESTED_EXPECT_ERROR(t, "run/run.json");
}

static void test_directory_in_use(void **state)
{
    struct wa_tested_program *t = *state;
    write_long_config(t);
    pid_t process = WA_TESTED_START(t, "train", "long.json", "--out", "run", "--quiet");
    wa_tested_await(t, "run/run.json");
    assert_int_equal(kill(process, SIGSTOP), 0); /* it must not end before the second one looks */
    pid_t second = WA_TESTED_START(t, "train", "long.json", "--out", "run", "--resume", "--quiet");
    int result = wa_tested_wait(t, second);
    assert_int_equal(kill(process, SIGKILL), 0);
    char *errors = strdup(t->errors);
    assert_int_equal(wa_tested_wait(t, process), 128 + SIGKILL);
    assert_int_equal(result, 2);
    char number[32];
    (void)snprintf(number, sizeof number, "process %ld", (long)process);
    wa_tested_expect_part(errors, number);
    free(errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WA_COMMAND_TEST(test_signals),
        WA_COMMAND_TEST(test_a_signal_while_kernels_are_built),
        WA_COMMAND_TEST(test_signal_in_an_evaluation),
        WA_COMMAND_TEST(test_kill_at_any_time),
        WA_COMMAND_TEST(test_more_epochs),
        WA_COMMAND_TEST(test_description_of_a_resumed_run),
        WA_COMMAND_TEST(test_fewer_epochs),
        WA_COMMAND_TEST(test_sparse_checkpoints),
        WA_COMMAND_TEST(test_finished_run),
        WA_COMMAND_TEST(test_resume_of_nothing_starts),
        WA_COMMAND_TEST(test_torn_line_is_dropped),
        WA_COMMAND_TEST(test_changed_config),
        WA_COMMAND_TEST(test_damaged_checkpoint),
        WA_COMMAND_TEST(test_damaged_metrics),
        WA_COMMAND_TEST(test_damaged_run_json),
        WA_COMMAND_TEST(test_directory_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
