/* The Add task through the walign command: the five epochs of published-runs.json, whose losses the
 * authors' programs print, what is reported at the end, rules that the network refuses, resuming. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden_run.h"

/* Relative, of the published losses (float32 on another machine, five epochs). */
static const double published_tolerance = 1e-4;

static const char *const losses[] = {"test_loss", "train_eval_loss"};
enum { LOSSES = sizeof losses / sizeof *losses };

static void write_config(struct wa_tested_program *tested, const json_object *run)
{
    json_object *config = json_tokener_parse(
        "{\"dataset\": {\"plugin\": \"add\"}, \"evaluate\": [\"test\", \"train\"]}");
    static const char *const copied[] = {"batch", "epochs", "seed"};
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++) {
        (void)json_object_object_add(config, copied[i], json_object_get(wa_golden_get(run, copied[i])));
    }
    static const struct {
        const char *name, *plugin, *option; /* plugin NULL: the rule of the run */
    } sections[] = {
        {"architecture", "rnn", "width"}, {"optimizer", "sgd", "learning_rate"}, {"rule", NULL, NULL}};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        json_object *section = json_object_new_object();
        const char *plugin = sections[i].plugin ? sections[i].plugin : wa_golden_text(run, "rule");
        (void)json_object_object_add(section, "plugin", json_object_new_string(plugin));
        if (sections[i].option) {
            (void)json_object_object_add(section, sections[i].option,
                                         json_object_get(wa_golden_get(run, sections[i].option)));
        }
        (void)json_object_object_add(config, sections[i].name, section);
    }
    wa_golden_write_config(tested, "add.json", config);
    (void)json_object_put(config);
}

static void expect_near(const char *what, double value, double expected, double tolerance)
{
    if (!(fabs(value / expected - 1) <= tolerance)) {
        fail_msg("%s: %.9g, expected %.9g within %g", what, value, expected, tolerance);
    }
}

static char *read_of(struct wa_tested_program *tested, const char *directory, const char *file)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s/%s", directory, file);
    return wa_tested_read(tested, name, NULL);
}

static void expect_metrics(struct wa_tested_program *tested, const char *directory,
                           const json_object *run)
{
    char *text = read_of(tested, directory, "metrics.jsonl");
    char *rest = NULL;
    size_t epoch = 0;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        json_object *metrics = json_tokener_parse(line);
        for (size_t i = 0; i < LOSSES; i++) {
            expect_near(losses[i], wa_golden_number(metrics, losses[i]),
                        wa_golden_at(wa_golden_get(run, losses[i]), epoch), published_tolerance);
        }
        /* values have no accuracy */
        assert_null(strstr(line, "accuracy"));
        (void)json_object_put(metrics);
        epoch++;
    }
    assert_int_equal(epoch, json_object_array_length(wa_golden_get(run, "test_loss")));
    free(text);
}

/* summary.json: the lowest losses as the published programs print them, and those of chance, which are
 * sums of exact halves and quarters: 7 digits. */
static void expect_summary(struct wa_tested_program *tested, const char *directory,
                           const json_object *run)
{
    char *text = read_of(tested, directory, "summary.json");
    json_object *summary = json_tokener_parse(text);
    const json_object *lowest = wa_golden_get(summary, "lowest");
    const json_object *chance = wa_golden_get(summary, "chance");
    expect_near("lowest test loss", wa_golden_number(wa_golden_get(lowest, "test_loss"), "value"),
                wa_golden_number(run, "best_test_loss"), published_tolerance);
    expect_near("lowest train loss",
                wa_golden_number(wa_golden_get(lowest, "train_eval_loss"), "value"),
                wa_golden_number(run, "best_train_loss"), published_tolerance);
    assert_int_equal((int)wa_golden_number(wa_golden_get(lowest, "test_loss"), "epoch"), 5);
    json_object *golden = wa_golden_read("add-rnn-n32-backprop-sgd.json");
    expect_near("chance, test", wa_golden_number(chance, "test_loss"),
                wa_golden_number(golden, "chance_test_loss"), 1e-7);
    expect_near("chance, train", wa_golden_number(chance, "train_loss"),
                wa_golden_number(golden, "chance_train_loss"), 1e-7);
    (void)json_object_put(golden);
    (void)json_object_put(summary);
    free(text);
}

static void test_published_runs(void **state)
{
    struct wa_tested_program *tested = *state;
    json_object *published = wa_golden_read("published-runs.json");
    const json_object *runs = wa_golden_get(published, "add");
    assert_int_equal(json_object_array_length(runs), 4);
    for (size_t i = 0; i < json_object_array_length(runs); i++) {
        const json_object *run = json_object_array_get_idx(runs, i);
        print_message("%s\n", wa_golden_text(run, "case"));
        char directory[32];
        (void)snprintf(directory, sizeof directory, "run%zu", i);
        write_config(tested, run);
        assert_int_equal(WA_TESTED_RUN(tested, "train", "add.json", "--out", directory), 0);
        wa_tested_expect_part(tested->errors, "lowest losses: ");
        wa_tested_expect_part(tested->errors, "by chance: train 9.3585, test 9.3119");
        expect_metrics(tested, directory, run);
        expect_summary(tested, directory, run);
    }
    (void)json_object_put(published);
}

#define BASE                                                                                       \
    "{'dataset': {'plugin': 'add'}, 'architecture': {'plugin': 'rnn', 'width': 8}, "               \
    "'optimizer': {'plugin': 'sgd', 'learning_rate': 0.001}, 'batch': 50, 'epochs': 3, "           \
    "'rule': {'plugin': 'backprop'}, 'evaluate': ['test']}"

static void test_refused_rules(void **state)
{
    struct wa_tested_program *tested = *state;
    static const struct {
        const char *set, *missing;
    } rules[] = {{"rule.plugin=fa", "transport weights of their own"},
                 {"rule.plugin=align-prop", "transport weights of their own"},
                 {"rule.plugin=dfa", "direct feedback to hidden layers"}};
    wa_tested_write_json(tested, "add.json", BASE);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        assert_int_equal(WA_TESTED_RUN(tested, "train", "add.json", "--set", rules[i].set, "--out",
                                       "refused"),
                         2);
        WA_TESTED_EXPECT_ERROR(tested, "architecture 'rnn'", strchr(rules[i].set, '=') + 1,
                               rules[i].missing);
        assert_false(wa_tested_has(tested, "refused"));
    }
}

/* Networks and datasets that do not fit. */
static void test_refused_data(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "add.json", BASE);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "add.json", "--set", "dataset.plugin=glyphs",
                                   "--out", "refused"),
                     2);
    WA_TESTED_EXPECT_ERROR(tested, "one column wide");
    wa_tested_write_json(tested, "mlp.json",
                         "{'dataset': {'plugin': 'add'}, 'architecture': {'plugin': 'mlp'}, "
                         "'rule': {'plugin': 'backprop'}, 'batch': 50}");
    assert_int_equal(WA_TESTED_RUN(tested, "train", "mlp.json", "--out", "refused"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "'mlp'", "values for each step");
    assert_false(wa_tested_has(tested, "refused"));
}

/* s_0, the optimizer's state and the orders of evaluation go on where they stopped. */
static void test_resume(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "add.json", BASE);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "add.json", "--set", "optimizer.plugin=adam",
                                   "--out", "whole"),
                     0);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "add.json", "--set", "optimizer.plugin=adam",
                                   "--set", "epochs=2", "--out", "parts"),
                     0);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "add.json", "--set", "optimizer.plugin=adam",
                                   "--resume", "--out", "parts"),
                     0);
    wa_tested_expect_equal(tested, "whole/checkpoints/last.safetensors",
                           "parts/checkpoints/last.safetensors");
    wa_tested_expect_equal_metrics(tested, "whole/metrics.jsonl", "parts/metrics.jsonl");
    wa_tested_expect_equal(tested, "whole/summary.json", "parts/summary.json");
}

/* Evaluated or not, the orders are drawn: training goes the same way. */
static void test_evaluation_changes_nothing(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "add.json", BASE);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "add.json", "--out", "with"), 0);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "add.json", "--set", "evaluate=[]", "--out",
                                   "without"),
                     0);
    wa_tested_expect_equal(tested, "with/checkpoints/last.safetensors",
                           "without/checkpoints/last.safetensors");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_published_runs, wa_tested_set_up, wa_tested_tear_down),
        cmocka_unit_test_setup_teardown(test_refused_rules, wa_tested_set_up, wa_tested_tear_down),
        cmocka_unit_test_setup_teardown(test_refused_data, wa_tested_set_up, wa_tested_tear_down),
        cmocka_unit_test_setup_teardown(test_resume, wa_tested_set_up, wa_tested_tear_down),
        cmocka_unit_test_setup_teardown(test_evaluation_changes_nothing, wa_tested_set_up,
                                        wa_tested_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
