/* `walign sweep` as users run it: lists of the published experiments, and small sweeps on glyphs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "../support/tested_program.h"

#define BASE                                                                                       \
    "'base': {'dataset': {'plugin': 'glyphs', 'items': 600, 'validation': 100},\n"                 \
    " 'architecture': {'plugin': 'cnn', 'width': 8, 'kernels': [3], 'strides': [2]},\n"            \
    " 'rule': {'plugin': 'backprop'}, 'batch': 50, 'epochs': 1}"
#define FOUR                                                                                       \
    "{" BASE ", 'grid': {'rule.plugin': ['backprop', 'align-zero'], 'architecture.width': [8, "    \
    "16]}}"

static size_t count_lines(const char *text)
{
    size_t lines = 0;
    for (; *text; text++) {
        lines += *text == '\n' ? 1 : 0;
    }
    return lines;
}

static size_t count_parts(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++) {
        count++;
    }
    return count;
}

/* sweep.jsonl has so many lines, and so many of them this status. */
static void expect_lines(struct wa_tested_program *tested, const char *name, size_t lines,
                         const char *status, size_t with_status)
{
    char part[64];
    (void)snprintf(part, sizeof part, "\"status\":\"%s\"", status);
    char *text = wa_tested_read(tested, name, NULL);
    assert_int_equal(count_lines(text), lines);
    assert_int_equal(count_parts(text, part), with_status);
    free(text);
}

static void test_lists_of_the_published_experiments(void **state)
{
    struct wa_tested_program *tested = *state;
    static const struct {
        const char *file;
        size_t runs;
    } sweeps[] = {
        {"cifar10/widths", 126},
        {"cifar10/learning-rates", 108},
        {"cifar10/standard-parameterization", 210},
        {"cifar10/small-data", 735},
        {"cifar10/align-prop", 21},
        {"cifar10/seeds", 75},
        {"cifar10/training-time", 315},
        {"kmnist/widths", 126},
        {"kmnist/learning-rates", 108},
        {"imagenet/rules", 5},
        {"add/widths", 40},
        {"alignment/cifar10-train", 7},
        {"alignment/kmnist-train", 7},
        {"alignment/add-train", 10},
        {"alignment/imagenet-train", 1},
    };
    const char *source = getenv("WALIGN_TEST_SOURCE");
    assert_non_null(source);
    tested->environment[0] = "WALIGN_DEVICE=no such device";
    for (size_t i = 0; i < sizeof sweeps / sizeof *sweeps; i++) {
        char path[1024];
        (void)snprintf(path, sizeof path, "%s/configs/%s.json", source, sweeps[i].file);
        assert_int_equal(WA_TESTED_RUN(tested, "sweep", path, "--list"), 0);
        if (count_lines(tested->output) != sweeps[i].runs) {
            fail_msg("%s: %zu runs, expected %zu", path, count_lines(tested->output),
                     sweeps[i].runs);
        }
        assert_string_equal(tested->errors, "");
    }
}

/* A list needs neither data nor a device, nor plugins; but where plugins are there, ids are theirs. */
static void test_list_of_unknown_plugins(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "slip.json",
                         "{" BASE ", 'grid': {'rule.plugin': ['backprop', 'align-zreo']}}");
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "slip.json", "--list"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "slip.json:", "no rule has the id 'align-zreo'",
                           "did you mean 'align-zero'?");
    assert_string_equal(tested->output, "");
}

static void test_four_runs_two_at_once(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "four.json", FOUR);
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "four.json", "--jobs", "2"), 0);
    expect_lines(tested, "runs/four/sweep.jsonl", 4, "done", 4);
    /* a run on a part of the device is the run on the whole device */
    assert_int_equal(WA_TESTED_RUN(tested, "train", "runs/four/align-zero-width-16/config.json",
                                   "--out", "alone", "--quiet"),
                     0);
    wa_tested_expect_equal(tested, "alone/checkpoints/last.safetensors",
                           "runs/four/align-zero-width-16/checkpoints/last.safetensors");
    wa_tested_expect_equal_metrics(tested, "alone/metrics.jsonl",
                                   "runs/four/align-zero-width-16/metrics.jsonl");
    /* the same directory again: refused, nothing left, another sweep */
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "four.json"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "runs/four", "--resume");
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "four.json", "--resume"), 0);
    expect_lines(tested, "runs/four/sweep.jsonl", 4, "done", 4);
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "four.json", "--resume", "--out", "runs/four",
                                   "--set", "epochs=2"),
                     2);
    WA_TESTED_EXPECT_ERROR(tested, "another sweep", "epochs: 1 -> 2");
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "four.json", "--out", "alone"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "a single run");
    /* nor is a run put among those of a sweep, with --resume or without */
    static const char *const run = "runs/four/align-zero-width-16/config.json";
    assert_int_equal(WA_TESTED_RUN(tested, "train", run, "--out", "runs/four"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "runs/four", "sweep.json", "--out");
    assert_int_equal(WA_TESTED_RUN(tested, "train", run, "--out", "runs/four", "--resume"), 2);
    assert_false(wa_tested_has(tested, "runs/four/run.json"));
}

static void test_a_run_that_was_removed_runs_again(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "two.json", "{" BASE ", 'grid': {'seed': [1, 2]}}");
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "two.json"), 0);
    char run[1024];
    char away[1024];
    (void)snprintf(run, sizeof run, "%s/runs/two/seed-2", tested->folder.path);
    (void)snprintf(away, sizeof away, "%s/away", tested->folder.path);
    assert_int_equal(rename(run, away), 0);
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "two.json", "--resume"), 0);
    wa_tested_expect_part(tested->errors, "[1/1] seed-2: done");
    expect_lines(tested, "runs/two/sweep.jsonl", 2, "done", 2);
    assert_true(wa_tested_has(tested, "runs/two/seed-2/metrics.jsonl"));
}

/* Takes the name of the first run out of a sweep.json. */
static void take_name(struct wa_tested_program *tested, const char *file)
{
    char *text = wa_tested_read(tested, file, NULL);
    char *name = strstr(text, "\"name\"");
    assert_non_null(name);
    name[1] = 'N';
    wa_tested_write(tested, file, text, strlen(text));
    free(text);
}

static void test_odd_and_damaged_directories(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "two.json", "{" BASE ", 'grid': {'seed': [1, 2]}}");
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "two.json"), 0);
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "two.json", "--out=-two"), 0);
    expect_lines(tested, "-two/sweep.jsonl", 2, "done", 2);
    take_name(tested, "runs/two/sweep.json");
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "two.json", "--resume"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "another sweep", "its run 1 is without a name, not seed-1");
    wa_tested_write_json(tested, "runs/two/sweep.json", "{");
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "two.json", "--resume"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "runs/two/sweep.json", "damaged", "--out");
}

static void test_failed_and_diverged_runs_are_recorded(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "s.json",
                         "{" BASE ", 'runs': [{'seed': 1}, {'dataset.dir': 'nowhere', "
                         "'dataset.plugin': 'mnist', 'dataset.items': null}]}");
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "s.json"), 2); /* glyphs' option */
    wa_tested_write_json(tested, "s.json",
                         "{" BASE ", 'runs': [{'seed': 1}, {'dataset': {'plugin': 'mnist', 'dir': "
                         "'nowhere'}}, {'optimizer.learning_rate': 1e30}]}");
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "s.json"), 1);
    wa_tested_expect_part(tested->errors, "1 of 3 runs failed");
    char *lines = wa_tested_read(tested, "runs/s/sweep.jsonl", NULL);
    assert_int_equal(count_lines(lines), 3);
    wa_tested_expect_part(lines, "\"status\":\"failed\",\"exit_code\":2");
    wa_tested_expect_part(lines, "nowhere");
    wa_tested_expect_part(lines, "\"status\":\"diverged\",\"exit_code\":3");
    wa_tested_expect_part(lines, "\"status\":\"done\",\"exit_code\":0,\"reason\":null");
    free(lines);
    /* only what failed runs again */
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "s.json", "--resume"), 1);
    wa_tested_expect_part(tested->errors, "[1/1] ");
    expect_lines(tested, "runs/s/sweep.jsonl", 3, "done", 1);
}

static void test_without_any_data(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "two.json", "{" BASE ", 'grid': {'seed': [1, 2]}}");
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "two.json", "--set",
                                   "dataset={\"plugin\": \"mnist\", \"dir\": \"nowhere\"}"),
                     2);
    WA_TESTED_EXPECT_ERROR(tested, "'mnist'", "nowhere");
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "two.json", "--set", "dataset.validation=600"),
                     2);
    WA_TESTED_EXPECT_ERROR(tested, "dataset.validation=600");
    assert_false(wa_tested_has(tested, "runs"));
}

/* The process that has this run's folder. */
static pid_t process_of(struct wa_tested_program *tested, const char *lock)
{
    char *text = wa_tested_read(tested, lock, NULL);
    long number = strtol(text, NULL, 10);
    free(text);
    assert_true(number > 1);
    return (pid_t)number;
}

static void test_a_killed_run_is_recorded(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "kill.json",
                         "{" BASE ", 'grid': {'seed': [1, 2], 'epochs': [60]}}");
    pid_t process = WA_TESTED_START(tested, "sweep", "kill.json", "--jobs", "1");
    wa_tested_await(tested, "runs/kill/seed-1/metrics.jsonl");
    assert_int_equal(kill(process_of(tested, "runs/kill/seed-1/lock"), SIGKILL), 0);
    assert_int_equal(wa_tested_wait(tested, process), 1);
    wa_tested_expect_part(tested->errors, "1 of 2 runs failed, the first one: seed-1");
    expect_lines(tested, "runs/kill/sweep.jsonl", 2, "killed", 1);
    expect_lines(tested, "runs/kill/sweep.jsonl", 2, "done", 1);
    char *lines = wa_tested_read(tested, "runs/kill/sweep.jsonl", NULL);
    wa_tested_expect_part(lines, "\"exit_code\":137,\"reason\":\"ended by signal 9");
    free(lines);
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "kill.json", "--resume"), 0);
    wa_tested_expect_part(tested->errors, "[1/1] seed-1: done");
    expect_lines(tested, "runs/kill/sweep.jsonl", 2, "done", 2);
}

static void test_the_longest_run_is_first(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(
        tested, "order.json",
        "{" BASE ", 'runs': [{'architecture.width': 4}, {'architecture.width': "
        "16}, {'architecture.width': 8, 'epochs': 9}, {'architecture.width': 8}]}");
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "order.json", "--jobs", "1"), 0);
    wa_tested_expect_part(tested->errors, "[1/4] width-8-epochs-9: done");
    wa_tested_expect_part(tested->errors, "[2/4] width-16-epochs-1: done");
    wa_tested_expect_part(tested->errors, "[3/4] width-8-epochs-1: done");
    wa_tested_expect_part(tested->errors, "[4/4] width-4-epochs-1: done");
}

static void test_interrupt_lock_and_resume(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "long.json",
                         "{" BASE ", 'grid': {'seed': [1, 2, 3], 'epochs': [60]}}");
    pid_t process = WA_TESTED_START(tested, "sweep", "long.json", "--jobs", "1");
    wa_tested_await(tested, "runs/long/seed-1/metrics.jsonl");
    struct wa_tested_program other = *tested;
    other.output = other.errors = NULL;
    assert_int_equal(WA_TESTED_RUN(&other, "sweep", "long.json", "--resume"), 2);
    WA_TESTED_EXPECT_ERROR(&other, "another sweep is running");
    free(other.output);
    free(other.errors);
    assert_int_equal(kill(process, SIGINT), 0);
    assert_int_equal(wa_tested_wait(tested, process), 1);
    expect_lines(tested, "runs/long/sweep.jsonl", 1, "interrupted", 1);
    assert_true(wa_tested_has(tested, "runs/long/seed-1/checkpoints/last.safetensors"));
    assert_false(wa_tested_has(tested, "runs/long/seed-2"));
    pid_t again = WA_TESTED_START(tested, "sweep", "long.json", "--jobs", "1", "--resume");
    wa_tested_await(tested, "runs/long/sweep.jsonl");
    assert_int_equal(wa_tested_wait(tested, again), 0);
    expect_lines(tested, "runs/long/sweep.jsonl", 3, "done", 3);
}

static void test_exclusive(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "times.json",
                         "{'exclusive': true, " BASE ", 'grid': {'seed': [1, 2]}}");
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "times.json", "--jobs", "2"), 0);
    expect_lines(tested, "runs/times/sweep.jsonl", 2, "done", 2);
    assert_false(wa_tested_has(tested, "runs/times/.warm-up"));
    wa_tested_expect_part(tested->errors, "seed-1: done");
    assert_int_equal(count_parts(tested->errors, "(0 running"), 2);
}

static void test_bad_usage(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "four.json", FOUR);
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "four.json", "--jobs", "0"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "--jobs 0");
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "four.json", "--devices", "no such"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "no such");
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "four.json", "--set", "architecture.widht=8"),
                     2);
    WA_TESTED_EXPECT_ERROR(tested, "--set architecture.widht=8");
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "four.json", "--set", "rule.plugin=[\"x\"]"),
                     2);
    WA_TESTED_EXPECT_ERROR(tested, "rule.plugin", "x");
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", "four.json", "--out", "four.json/below"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "four.json: cannot make this folder");
    assert_false(wa_tested_has(tested, "runs"));
}

int main(void)
{
#define TEST(function)                                                                             \
    cmocka_unit_test_setup_teardown(function, wa_tested_set_up, wa_tested_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_lists_of_the_published_experiments),
        TEST(test_list_of_unknown_plugins),
        TEST(test_four_runs_two_at_once),
        TEST(test_a_run_that_was_removed_runs_again),
        TEST(test_odd_and_damaged_directories),
        TEST(test_failed_and_diverged_runs_are_recorded),
        TEST(test_without_any_data),
        TEST(test_a_killed_run_is_recorded),
        TEST(test_the_longest_run_is_first),
        TEST(test_interrupt_lock_and_resume),
        TEST(test_exclusive),
        TEST(test_bad_usage),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
