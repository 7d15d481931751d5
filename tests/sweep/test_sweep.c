/* Expansion of sweeps into runs, their names, --set, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sweep.h"

#define FILE_NAME "sweep-under-test.json"
#define BASE                                                                                       \
    "'base': {'dataset': {'plugin': 'd'}, 'architecture': {'plugin': 'a', 'width': 4},\n"          \
    "         'rule': {'plugin': 'r'}}"

/* Writes the sweep, with ' for ", and reads it. */
static wa_status read_text(const char *text, const char *const *sets, size_t set_count,
                           struct wa_sweep **ret_sweep, struct wa_error *err)
{
    FILE *file = fopen(FILE_NAME, "w");
    assert_non_null(file);
    for (const char *c = text; *c; c++) {
        (void)fputc(*c == '\'' ? '"' : *c, file);
    }
    assert_int_equal(fclose(file), 0);
    wa_status status = wa_sweep_read(FILE_NAME, sets, set_count, ret_sweep, err);
    (void)unlink(FILE_NAME);
    return status;
}

static struct wa_sweep *expect_sweep(const char *text, const char *const *sets, size_t set_count)
{
    struct wa_sweep *sweep = NULL;
    struct wa_error err = {0};
    if (read_text(text, sets, set_count, &sweep, &err) != WA_OK) {
        fail_msg("%s", err.message);
    }
    return sweep;
}

static void expect_names(const struct wa_sweep *sweep, const char *const *names)
{
    size_t count = 0;
    for (; names[count]; count++) {
        assert_true(count < sweep->run_count);
        assert_string_equal(sweep->runs[count].name, names[count]);
    }
    assert_int_equal(sweep->run_count, count);
}
#define EXPECT_NAMES(sweep, ...) expect_names((sweep), (const char *const[]){__VA_ARGS__, NULL})

static void expect_refused(const char *text, const char *set, const char *part)
{
    struct wa_sweep *sweep = NULL;
    struct wa_error err = {0};
    assert_int_equal(read_text(text, &set, set ? 1 : 0, &sweep, &err), WA_E_USAGE);
    if (!strstr(err.message, part)) {
        fail_msg("'%s' is not in: %s", part, err.message);
    }
}

static double number_of(const struct wa_sweep *sweep, size_t run, const char *path)
{
    struct wa_config *config = NULL;
    struct wa_error err = {0};
    assert_int_equal(wa_sweep_config(sweep, &sweep->runs[run], &config, &err), WA_OK);
    double value = wa_config_get_number(config, path);
    wa_config_destroy(config);
    return value;
}

static void test_grid(void **state)
{
    (void)state;
    struct wa_sweep *sweep = expect_sweep(
        "{" BASE ", 'grid': {'rule.plugin': ['x', 'y'], 'batch': [10, 20]}}", NULL, 0);
    EXPECT_NAMES(sweep, "x-batch-10", "x-batch-20", "y-batch-10", "y-batch-20");
    assert_true(number_of(sweep, 2, "batch") == 10);
    assert_true(number_of(sweep, 3, "batch") == 20);
    assert_false(sweep->is_exclusive);
    wa_sweep_destroy(sweep);
}

static void test_an_axis_of_one_value_is_not_named(void **state)
{
    (void)state;
    struct wa_sweep *sweep =
        expect_sweep("{" BASE ", 'grid': {'seed': [1, 2], 'batch': [10]}}", NULL, 0);
    EXPECT_NAMES(sweep, "seed-1", "seed-2");
    wa_sweep_destroy(sweep);
    sweep = expect_sweep("{" BASE ", 'grid': {'batch': [10]}}", NULL, 0);
    EXPECT_NAMES(sweep, "run");
    wa_sweep_destroy(sweep);
}

static void test_runs_and_grid(void **state)
{
    (void)state;
    struct wa_sweep *sweep =
        expect_sweep("{" BASE ", 'runs': [{'dataset.train_limit': 45, 'batch': 45},\n"
                     "{'dataset.train_limit': 90, 'batch': 30}], 'grid': {'seed': [1, 2]}}",
                     NULL, 0);
    EXPECT_NAMES(sweep, "train_limit-45-seed-1", "train_limit-45-seed-2", "train_limit-90-seed-1",
                 "train_limit-90-seed-2");
    assert_true(number_of(sweep, 3, "batch") == 30);
    assert_true(number_of(sweep, 3, "dataset.train_limit") == 90);
    wa_sweep_destroy(sweep);
}

static void test_paths_that_end_alike_are_named_in_full(void **state)
{
    (void)state;
    struct wa_sweep *sweep =
        expect_sweep("{" BASE ", 'grid': {'seed': [1, 2], 'dataset.seed': [3, 4]}}", NULL, 0);
    EXPECT_NAMES(sweep, "seed-1-dataset.seed-3", "seed-1-dataset.seed-4", "seed-2-dataset.seed-3",
                 "seed-2-dataset.seed-4");
    wa_sweep_destroy(sweep);
}

static void test_names_fit_a_folder_and_differ(void **state)
{
    (void)state;
    struct wa_sweep *sweep =
        expect_sweep("{" BASE ", 'grid': {'dataset.dir': ['a/b', 'a b', '../c']}}", NULL, 0);
    EXPECT_NAMES(sweep, "dir-a_b", "dir-a_b-2", "dir-.._c");
    wa_sweep_destroy(sweep);
}

static void test_set_replaces_an_axis(void **state)
{
    (void)state;
    static const char text[] = "{" BASE ", 'grid': {'seed': [1, 2, 3], 'batch': [10, 20]}}";
    const char *const sets[] = {"seed=[7,8]", "batch=5", "epochs=9"};
    struct wa_sweep *sweep = expect_sweep(text, sets, 3);
    EXPECT_NAMES(sweep, "seed-7", "seed-8");
    assert_true(number_of(sweep, 1, "seed") == 8);
    assert_true(number_of(sweep, 1, "batch") == 5);
    assert_true(number_of(sweep, 1, "epochs") == 9);
    wa_sweep_destroy(sweep);
}

static void test_set_goes_before_runs_and_merges_equal_ones(void **state)
{
    (void)state;
    static const char text[] = "{" BASE ", 'runs': [{'batch': 10}, {'batch': 20}, {'seed': 3}]}";
    const char *const sets[] = {"batch=5"};
    struct wa_sweep *sweep = expect_sweep(text, sets, 1);
    assert_int_equal(sweep->run_count, 2);
    assert_true(number_of(sweep, 0, "batch") == 5);
    assert_true(number_of(sweep, 1, "seed") == 3);
    wa_sweep_destroy(sweep);
}

static void test_refusals_name_the_place(void **state)
{
    (void)state;
    expect_refused("{" BASE ",\n 'grid': {'bacth': [1, 2]}}", NULL, FILE_NAME ":3:");
    expect_refused("{" BASE ",\n 'grid': {'bacth': [1, 2]}}", NULL, "bacth");
    expect_refused("{" BASE ",\n 'grid': {'batch': [1, 0]}}", NULL, FILE_NAME ":3:");
    expect_refused("{" BASE ",\n 'grid': {'batch': []}}", NULL, "at least one value");
    expect_refused("{" BASE ",\n 'grid': {'batch': 3}}", NULL, "at least one value");
    expect_refused("{" BASE ",\n 'grid': {}}", NULL, "at least one path");
    expect_refused("{" BASE ",\n 'grid': {'batch': [3, 4, 3]}}", NULL, "twice");
    expect_refused("{" BASE ",\n 'grid': {'batch..x': [3]}}", NULL, "broken path");
    expect_refused("{" BASE ",\n 'runs': []}", NULL, "at least one object");
    expect_refused("{" BASE ",\n 'runs': [{}, {}]}", NULL, "equals runs[0]");
    expect_refused("{" BASE ",\n 'runs': [{'batch': 'x'}]}", NULL, FILE_NAME ":3:");
    expect_refused("{" BASE "}", NULL, "nothing varies");
    expect_refused("{" BASE ", 'gird': {'batch': [1]}}", NULL, "did you mean \"grid\"");
    expect_refused("{'grid': {'batch': [1]}}", NULL, "\"base\" is missing");
    expect_refused("{" BASE ", 'exclusive': 1, 'grid': {'batch': [1]}}", NULL, "true or false");
    expect_refused("{'dataset': {}, 'architecture': {}}", NULL, "walign train");
    expect_refused("{" BASE ", 'runs': [{'batch': 1}, {'batch': 2}], 'grid': {'batch': [3]}}", NULL,
                   "the same run");
    expect_refused("{" BASE ", 'grid': {'batch': [3]}}", "batch=[]", "--set batch=[]");
    expect_refused("{" BASE ", 'grid': {'batch': [3]}}", "epocs=3", "--set epocs=3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grid),
        cmocka_unit_test(test_an_axis_of_one_value_is_not_named),
        cmocka_unit_test(test_runs_and_grid),
        cmocka_unit_test(test_paths_that_end_alike_are_named_in_full),
        cmocka_unit_test(test_names_fit_a_folder_and_differ),
        cmocka_unit_test(test_set_replaces_an_axis),
        cmocka_unit_test(test_set_goes_before_runs_and_merges_equal_ones),
        cmocka_unit_test(test_refusals_name_the_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
