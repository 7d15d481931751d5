/* The two paths of a recurrence against each other: a training step of each rule at odd sizes, for each
 * width of vectors. And on the CPU path the same bits for any number of compute units, although items
 * are shared out to them in other blocks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "session_fixture.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

enum { STEPS = 9, INPUTS = 2, OUTPUTS = 2, WIDE = 16 };

/* Of the largest change: float32 sums of at most 180 terms, through 9 steps. */
static const double tolerance = 1e-5;

struct net {
    int units, batch;
    const char *rule;
};

/* The parameters after a step at learning rate 1 from random ones, the same whoever computes. */
static float *run(struct wa_fixture *fixture, const struct net *net, float *ret_before,
                  size_t *ret_count)
{
    char architecture[32];
    (void)snprintf(architecture, sizeof architecture, "{\"width\": %d}", net->units);
    const struct wa_session_shape shape = {.rule = net->rule,
                                           .optimizer_options = "{\"learning_rate\": 1.0}",
                                           .architecture = "rnn",
                                           .architecture_options = architecture,
                                           .batch = net->batch,
                                           .rows = STEPS,
                                           .columns = 1,
                                           .channels = INPUTS,
                                           .classes = OUTPUTS,
                                           .element = WA_ELEMENT_F32,
                                           .target_values = STEPS * OUTPUTS,
                                           .seed = 7};
    struct wa_session_under_test test;
    wa_rng_seed(&fixture->rng, WA_FIXTURE_SEED);
    wa_session_open(fixture, &shape, &test);
    float *before = wa_fixture_random(fixture, test.parameter_count);
    wa_session_set_parameters(&test, before);
    const float *items = wa_fixture_random(fixture, (size_t)net->batch * STEPS * INPUTS);
    const float *targets = wa_fixture_random(fixture, (size_t)net->batch * STEPS * OUTPUTS);
    assert_true(isfinite(wa_session_steps(&test, items, targets, 1, 1)) != 0);
    float *after = wa_session_parameters(&test);
    *ret_count = test.parameter_count;
    if (ret_before) {
        memcpy(ret_before, before, test.parameter_count * sizeof *before);
    }
    wa_session_close(&test);
    return after;
}

static void expect_near(const struct net *net, int width, const float *before, const float *actual,
                        const float *expected, size_t count)
{
    double largest = 0;
    double worst = 0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)expected[i] - (double)before[i]));
        double difference = fabs((double)actual[i] - (double)expected[i]);
        worst = difference <= worst ? worst : difference; /* NaN is worst */
    }
    assert_true(largest > 1e-3);
    /* after = before - gradient is rounded too, to 1e-7 of at most 1 */
    if (!(worst <= tolerance * largest + 1e-7)) {
        fail_msg("%s, %d units, batch %d, vectors of %d: off by %g of %g", net->rule, net->units,
                 net->batch, width, worst, largest);
    }
}

static void compare_paths(struct wa_fixture *fixture, const struct net *net, int width)
{
    enum { MOST = 1 << 14 };
    static const cl_uint compute_units[] = {1, 2, 16};
    cl_uint own_units = fixture->device->info.compute_units;
    size_t count = 0;
    float *before = wa_fixture_allocate(fixture, MOST, sizeof *before);
    fixture->engine.path = WA_PATH_GPU;
    const float *expected = run(fixture, net, before, &count);
    assert_true(count <= MOST);
    fixture->engine.path = WA_PATH_CPU;
    wa_engine_use_vectors(&fixture->engine, width);
    const float *first = NULL;
    for (size_t i = 0; i < LENGTH(compute_units); i++) {
        fixture->device->info.compute_units = compute_units[i];
        const float *actual = run(fixture, net, NULL, &count);
        if (!first) {
            expect_near(net, width, before, actual, expected, count);
            first = actual;
        } else if (memcmp(actual, first, count * sizeof *first) != 0) {
            fail_msg("%s, %d units, batch %d, vectors of %d: other bits on %u compute units",
                     net->rule, net->units, net->batch, width, compute_units[i]);
        }
    }
    fixture->device->info.compute_units = own_units;
    wa_fixture_clear(fixture);
}

static void compare_sizes(struct wa_fixture *fixture, int width)
{
    static const struct net nets[] = {
        {1, 1, "backprop"},   {7, 7, "backprop"},   {33, 20, "backprop"}, {65, 20, "align-zero"},
        {33, 7, "align-ada"}, {7, 20, "align-ada"}, {33, 1, "last-layer"}};
    for (size_t i = 0; i < LENGTH(nets); i++) {
        compare_paths(fixture, &nets[i], width);
    }
}

static void test_vectors_of_16(void **state)
{
    compare_sizes(*state, WIDE);
}

static void test_vectors_of_8(void **state)
{
    compare_sizes(*state, 8);
}

static void test_vectors_of_4(void **state)
{
    compare_sizes(*state, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {WA_FIXTURE_TEST(test_vectors_of_16),
                                       WA_FIXTURE_TEST(test_vectors_of_8),
                                       WA_FIXTURE_TEST(test_vectors_of_4)};
    return cmocka_run_group_tests(tests, wa_fixture_setup, wa_fixture_teardown);
}
