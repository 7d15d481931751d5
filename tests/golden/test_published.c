/* What the authors' own programs printed on the official CIFAR-10 files (published-runs.json): it
 * fixes what no synthetic case can, the split, the order of the batches and the evaluation. The
 * files are those of $WALIGN_TEST_DATA/cifar10, as .bin or .bin.xz; without them all is skipped.
 *
 * The long runs (450 steps) are cut off after the 40 steps whose losses are known, but for one that
 * goes on to the accuracies at the epoch's end; the short ones (135 steps) all do.
 * $WALIGN_TEST_THOROUGH runs all of them to the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cifar10_files.h"
#include "golden_run.h"

enum { SKIPPED = 77, MOST_CASES = 64, LONG_STEPS = 200 };

static const char whole_case[] = "cifar-w8-n45000-s99-align-zero";

struct published {
    json_object *golden; /* the whole file */
    struct wa_cifar10_files files;
};

/* ---- A case ---------------------------------------------------------------------------------- */

struct published_case {
    const struct published *published;
    json_object *golden;
};

/* The file's tolerances are by lists of rules: "align-zero, align-ada". */
static const json_object *find_tolerance(const struct published_case *c)
{
    json_object *all = wa_golden_get(c->published->golden, "tolerance");
    const char *rule = wa_golden_text(c->golden, "rule");
    size_t length = strlen(rule);
    json_object_object_foreach(all, rules, tolerance)
    {
        for (const char *at = strstr(rules, rule); at; at = strstr(at + 1, rule)) {
            bool starts = at == rules || at[-1] == ' ';
            if (starts && (at[length] == ',' || at[length] == '\0')) {
                return tolerance;
            }
        }
    }
    fail_msg("no tolerance for rule '%s'", rule);
    return NULL;
}

static bool is_cut_off(const json_object *golden)
{
    return wa_golden_number(golden, "steps_in_all") > LONG_STEPS &&
           strcmp(wa_golden_text(golden, "case"), whole_case) != 0 &&
           !getenv("WALIGN_TEST_THOROUGH");
}

/* The member of the case that has this key; null counts too. */
static json_object *member(const struct published_case *c, const char *key)
{
    json_object *value = NULL;
    assert_true(json_object_object_get_ex(c->golden, key, &value));
    return json_object_get(value);
}

static void write_config(const struct published_case *c, struct wa_tested_program *tested)
{
    json_object *config = wa_golden_config(c->golden, wa_golden_text(c->golden, "optimizer"));
    json_object *dataset = json_tokener_parse("{\"plugin\": \"cifar10\"}");
    json_object *architecture =
        json_tokener_parse("{\"plugin\": \"cnn\", \"kernels\": [3, 3, 3, 3, 3, 3, 3], \"strides\": "
                           "[1, 1, 1, 2, 1, 2, 1]}");
    (void)json_object_object_add(dataset, "dir", json_object_new_string(c->published->files.dir));
    static const char *const splits[] = {"validation", "train_limit", "validation_limit"};
    for (size_t i = 0; i < sizeof splits / sizeof *splits; i++) {
        (void)json_object_object_add(dataset, splits[i], member(c, splits[i]));
    }
    (void)json_object_object_add(architecture, "width", member(c, "width"));
    (void)json_object_object_add(config, "dataset", dataset);
    (void)json_object_object_add(config, "architecture", architecture);
    (void)json_object_object_add(config, "epochs", member(c, "epochs"));
    if (is_cut_off(c->golden)) {
        size_t steps = json_object_array_length(wa_golden_get(c->golden, "loss_first_40_steps"));
        (void)json_object_object_add(config, "steps", json_object_new_int64((int64_t)steps));
        (void)json_object_object_add(config, "evaluate", json_object_new_array());
    }
    wa_golden_write_config(tested, "case.json", config);
    (void)json_object_put(config);
}

/* Each line of metrics.jsonl against the accuracies that were printed after that epoch. */
static void expect_accuracies(const struct published_case *c, struct wa_tested_program *tested,
                              double tolerance)
{
    static const char *const keys[] = {"train_accuracy", "validation_accuracy"};
    char *text = wa_tested_read(tested, "run/metrics.jsonl", NULL);
    char *rest = text;
    size_t epochs = 0;
    double last_step = 0;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        json_object *metrics = json_tokener_parse(line);
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
            double value = wa_golden_number(metrics, keys[i]);
            double expected = wa_golden_at(wa_golden_get(c->golden, keys[i]), epochs);
            print_message("%s %.6f, published %.6f\n", keys[i], value, expected);
            if (!(fabs(value - expected) <= tolerance)) {
                fail_msg("epoch %zu: %s is %.6f, expected %.6f within %g", epochs + 1, keys[i],
                         value, expected, tolerance);
            }
        }
        last_step = wa_golden_number(metrics, "step");
        epochs++;
        (void)json_object_put(metrics);
    }
    free(text);
    assert_int_equal(epochs, (int)wa_golden_number(c->golden, "epochs"));
    assert_int_equal((int)last_step, (int)wa_golden_number(c->golden, "steps_in_all"));
}

static void test_case(void **state)
{
    const struct published_case *c = *state;
    const json_object *tolerance = find_tolerance(c);
    void *tested_state = NULL;
    assert_int_equal(wa_tested_set_up(&tested_state), 0);
    struct wa_tested_program *tested = tested_state;
    write_config(c, tested);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "case.json", "--out", "run", "--quiet"), 0);
    wa_golden_expect_losses(tested, "run/steps.jsonl",
                            wa_golden_get(c->golden, "loss_first_40_steps"),
                            wa_golden_number(tolerance, "loss"), true);
    if (is_cut_off(c->golden)) {
        print_message("cut off after these: the accuracies of all %g steps are not compared\n",
                      wa_golden_number(c->golden, "steps_in_all"));
    } else {
        expect_accuracies(c, tested, wa_golden_number(tolerance, "accuracy"));
    }
    assert_int_equal(wa_tested_tear_down(&tested_state), 0);
}

static int run_cases(struct published *p, const char *data)
{
    const json_object *cases = wa_golden_get(p->golden, "cifar10");
    size_t count = json_object_array_length(cases);
    struct CMUnitTest tests[MOST_CASES] = {{0}};
    struct published_case states[MOST_CASES] = {{0}};
    for (size_t i = 0; i < count && i < MOST_CASES; i++) {
        states[i] =
            (struct published_case){.published = p, .golden = json_object_array_get_idx(cases, i)};
        tests[i] = (struct CMUnitTest){.name = wa_golden_text(states[i].golden, "case"),
                                       .test_func = test_case,
                                       .initial_state = &states[i]};
    }
    if (count == 0 || count > MOST_CASES || !wa_cifar10_files_open(data, &p->files)) {
        return 1;
    }
    int failed = _cmocka_run_group_tests("published", tests, count, NULL, NULL);
    return wa_cifar10_files_close(&p->files) ? failed : 1;
}

int main(void)
{
    struct published published = {.golden = NULL};
    const char *data = getenv("WALIGN_TEST_DATA");
    if (!data || !*data) {
        (void)puts("skipped: WALIGN_TEST_DATA does not name a folder with real data sets");
        return SKIPPED;
    }
    if (!wa_cifar10_files_exist(data)) {
        (void)printf(
            "skipped: no CIFAR-10 files in %s/cifar10 (data_batch_1.bin or .bin.xz, ...)\n", data);
        return SKIPPED;
    }
    published.golden = wa_golden_read("published-runs.json");
    int failed = run_cases(&published, data);
    (void)json_object_put(published.golden);
    return failed;
}
