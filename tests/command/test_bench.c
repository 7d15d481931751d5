/* What `walign bench` says of a step's operations: all of the step, and of each what it must do. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "command_test.h"

#define BENCH "bench", "tiny.json", "--steps", "2", "--set", "rule.plugin=backprop"

#define RNN                                                                                        \
    "{'dataset': {'plugin': 'add'}, 'architecture': {'plugin': 'rnn', 'width': 4}, 'batch': 50,"   \
    " 'rule': {'plugin': 'backprop'}}"

/* tiny.json: 10 items of 8 x 8, two convolutions to 4 channels. */
enum { BATCH = 10, PLACES = 64, CHANNELS = 4, TAPS = 9 };

static json_object *member(json_object *object, const char *key)
{
    json_object *value = NULL;
    if (!json_object_object_get_ex(object, key, &value)) {
        fail_msg("there is no \"%s\" in %s", key, json_object_to_json_string(object));
    }
    return value;
}

static double number(json_object *object, const char *key)
{
    json_object *value = member(object, key);
    assert_true(json_object_is_type(value, json_type_double) ||
                json_object_is_type(value, json_type_int));
    return json_object_get_double(value);
}

static json_object *bench_json(struct wa_tested_program *t)
{
    json_object *result = json_tokener_parse(t->output);
    assert_true(json_object_is_type(result, json_type_object));
    return result;
}

static bool is_text(json_object *value, const char *text)
{
    const char *has = json_object_get_string(value);
    return has && text ? strcmp(has, text) == 0 : !has && !text;
}

/* The operation's object, or NULL. */
static json_object *find(json_object *operations, const char *layer, const char *operation)
{
    for (size_t i = 0; i < json_object_array_length(operations); i++) {
        json_object *o = json_object_array_get_idx(operations, i);
        if (is_text(member(o, "layer"), layer) && is_text(member(o, "operation"), operation)) {
            return o;
        }
    }
    return NULL;
}

/* Rates times times give back counts; they are exact but for the rounding of a few doubles. */
static void expect_count(json_object *o, const char *rate, double count)
{
    double got = number(o, rate) * 1e9 * number(o, "ms") * 1e-3;
    if (fabs(got - count) > 1e-9 * count) {
        fail_msg("%s: %g expected, got %g", json_object_to_json_string(o), count, got);
    }
}

static void test_operations(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, BENCH, "--json"), 0);
    json_object *result = bench_json(t);
    json_object *operations = member(result, "operations");
    double flop = 0;
    double launches = 0;
    for (size_t i = 0; i < json_object_array_length(operations); i++) {
        json_object *o = json_object_array_get_idx(operations, i);
        assert_true(number(o, "ms") > 0);
        launches += number(o, "launches");
        if (member(o, "gflops")) {
            flop += number(o, "gflops") * 1e6 * number(o, "ms");
            assert_true(fabs(number(o, "peak_fraction") * number(result, "peak_gflops") /
                                 number(o, "gflops") -
                             1) < 1e-9);
        } else {
            assert_null(member(o, "peak_fraction"));
        }
    }
    /* nothing is missing, nothing is counted twice */
    assert_true(fabs(flop / number(result, "flop_per_step") - 1) < 1e-9);
    assert_int_equal((int)launches, (int)number(result, "launches_per_step"));
    assert_true(number(result, "peak_gbytes_per_second") > 0);
    (void)json_object_put(result);
}

static void test_counts(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, BENCH, "--json", "--set", "kernels.convolution=direct"), 0);
    json_object *result = bench_json(t);
    json_object *operations = member(result, "operations");
    const double floats = sizeof(float);
    const double first = BATCH * PLACES * CHANNELS;
    const double second = first / 4;
    const double flop = 2.0 * BATCH * PLACES * CHANNELS * TAPS;
    const double read =
        BATCH * PLACES + CHANNELS * TAPS; /* by the first layer: images and weights */
    json_object *forward = find(operations, "conv1", "forward, batch norm");
    assert_non_null(forward);
    assert_string_equal(json_object_get_string(member(forward, "algorithm")), "direct");
    expect_count(forward, "gflops", flop);
    /* h and a out */
    expect_count(forward, "gbytes_per_second", floats * (read + 2 * first));
    /* g and h in */
    json_object *backward = find(operations, "conv1", "batch norm, gradient");
    expect_count(backward, "gflops", flop);
    expect_count(backward, "gbytes_per_second", floats * (read + 2 * first));
    /* z in, h and a out */
    expect_count(find(operations, "conv2", "batch norm forward"), "gbytes_per_second",
                 floats * 3 * second);
    /* g, one for all places, and h in, dz out */
    expect_count(find(operations, "conv2", "batch norm backward"), "gbytes_per_second",
                 floats * (2 * second + BATCH * CHANNELS));
    assert_null(member(find(operations, "conv2", "batch norm backward"), "gflops"));
    assert_non_null(find(operations, "conv2", "backward data"));
    assert_null(find(operations, "conv1", "backward data"));
    assert_non_null(find(operations, "readout", "weight gradient"));
    assert_non_null(find(operations, NULL, "update"));
    (void)json_object_put(result);
}

static void test_table_and_trace(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, BENCH), 0);
    assert_null(strstr(t->output, "batch norm forward"));
    assert_int_equal(WA_TESTED_RUN(t, BENCH, "--operations", "--profile", "trace.json"), 0);
    wa_tested_expect_part(t->output, "GB/s when all units copy");
    wa_tested_expect_part(t->output, "batch norm forward");
    wa_tested_expect_part(t->output, "all together");
    char *trace = wa_tested_read(t, "trace.json", NULL);
    wa_tested_expect_part(trace, "\"layer\": \"conv2\", \"operation\": \"backward data\"");
    free(trace);
}

/* --steps of a net whose step takes far less than a sample: some samples all the same. */
static void test_samples(void **state)
{
    struct wa_tested_program *t = *state;
    static const struct {
        const char *steps;
        int samples;
    } cases[] = {{"20", 5}, {"5", 5}, {"2", 2}, {"1", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(
            WA_TESTED_RUN(t, "bench", "tiny.json", "--steps", cases[i].steps, "--json"), 0);
        json_object *result = bench_json(t);
        json_object *ms = member(result, "ms_per_step");
        double median = number(ms, "median");
        double middle = (number(ms, "min") + number(ms, "max")) / 2;
        assert_true((int)number(ms, "samples") >= cases[i].samples);
        assert_true(median >= number(ms, "min") && median <= number(ms, "max"));
        assert_true(cases[i].samples != 2 || fabs(median - middle) < 1e-9);
        (void)json_object_put(result);
    }
}

static void test_without_batch_norm(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, BENCH, "--json"), 0);
    json_object *plain = bench_json(t);
    assert_false(json_object_object_get_ex(plain, "batch_norm", NULL));
    assert_int_equal(WA_TESTED_RUN(t, BENCH, "--json", "--without-batch-norm"), 0);
    json_object *result = bench_json(t);
    json_object *cost = member(result, "batch_norm");
    double without = number(member(cost, "ms_per_step_without"), "median");
    assert_true(without > 0);
    assert_true(fabs(number(member(result, "ms_per_step"), "median") - without -
                     number(cost, "ms")) < 1e-9);
    /* Forward: z in, h and a out; backward: g (one for all places where it was pooled) and h in, dz out. */
    int first = BATCH * PLACES * CHANNELS;
    int second = first / 4;
    int bytes = (int)sizeof(float) * (6 * first + 5 * second + BATCH * CHANNELS);
    assert_int_equal((int)number(cost, "bytes"), bytes);
    assert_true(fabs(number(cost, "ms_of_copies") * number(result, "peak_gbytes_per_second") -
                     1e-6 * bytes) < 1e-9);
    /* the step that is timed and its operations are whole */
    assert_int_equal((int)number(result, "launches_per_step"),
                     (int)number(plain, "launches_per_step"));
    assert_non_null(find(member(result, "operations"), "conv2", "batch norm forward"));
    (void)json_object_put(plain);
    (void)json_object_put(result);
    wa_tested_write_json(t, "rnn.json", RNN);
    assert_int_equal(WA_TESTED_RUN(t, "bench", "rnn.json", "--without-batch-norm"), 2);
    WA_TESTED_EXPECT_ERROR(t, "--without-batch-norm", "recurrence");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--without-batch-norm"), 2);
}

/* A recurrence's operations are labelled, too: its products have all the arithmetic of a step. */
static void test_recurrence(void **state)
{
    struct wa_tested_program *t = *state;
    wa_tested_write_json(t, "rnn.json", RNN);
    assert_int_equal(WA_TESTED_RUN(t, "bench", "rnn.json", "--steps", "1", "--json"), 0);
    json_object *result = bench_json(t);
    json_object *operations = member(result, "operations");
    double flop = 0;
    for (size_t i = 0; i < json_object_array_length(operations); i++) {
        json_object *o = json_object_array_get_idx(operations, i);
        flop += member(o, "gflops") ? number(o, "gflops") * 1e6 * number(o, "ms") : 0;
    }
    assert_true(fabs(flop / number(result, "flop_per_step") - 1) < 1e-9);
    static const char *const products[] = {"forward", "backward data", "weight gradient"};
    for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
        assert_non_null(member(find(operations, "recurrence", products[i]), "gflops"));
    }
    (void)json_object_put(result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WA_COMMAND_TEST(test_operations),         WA_COMMAND_TEST(test_counts),
        WA_COMMAND_TEST(test_table_and_trace),    WA_COMMAND_TEST(test_samples),
        WA_COMMAND_TEST(test_without_batch_norm), WA_COMMAND_TEST(test_recurrence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
