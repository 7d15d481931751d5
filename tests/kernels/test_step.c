/* What a step needs beside layers: loading a batch, the output error, direct feedback. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "network_fixture.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

static const double unit = 0x1p-24;

static const struct wa_network_shape shapes[] = {
    {20, 3, 13, 9, {{3, 1, 7}}, 10, false, false}, {1, 1, 7, 7, {{5, 2, 7}}, 1, false, false},
    {100, 7, 8, 8, {{1, 1, 7}}, 33, false, false}, {20, 33, 1, 1, {{2, 1, 7}}, 7, false, false},
    {20, 3, 7, 5, {{1, 1, 7}}, 257, true, false},
};

/* ---- load_batch ----------------------------------------------------------------------------- */

/* Where item n's value i [row][column][channel] belongs in x; flattened images have each value in a
 * channel of its own. */
static size_t target_of(const struct wa_network *network, size_t i, size_t n)
{
    const struct wa_model_layer *layer = &network->model.layers[0];
    const struct wa_layout *in = &layer->input;
    if (layer->shape.input == WA_INPUT_FLATTENED) {
        return i * (size_t)in->plane + n;
    }
    size_t channels = (size_t)in->channels;
    size_t columns = (size_t)in->columns;
    return i % channels * (size_t)in->plane + (size_t)in->base +
           i / channels / columns * (size_t)in->row + i / channels % columns * (size_t)in->lanes +
           n;
}

/* Bit for bit: bytes become v/255 in float32, floats stay; nothing else is touched. */
static void check_load(struct wa_fixture *fixture, const struct wa_network_shape *shape,
                       wa_element element)
{
    struct wa_network network;
    wa_network_open(fixture, shape, &network);
    size_t values = (size_t)shape->channels * (size_t)shape->rows * (size_t)shape->columns;
    size_t count = values * (size_t)shape->batch;
    size_t floats = network.model.layers[0].input.floats;
    float *items = wa_fixture_random(fixture, count);
    unsigned char *bytes = wa_fixture_allocate(fixture, count + sizeof(float), 1);
    float *expected = wa_fixture_allocate(fixture, floats, sizeof *expected);
    for (size_t i = 0; i < floats; i++) {
        expected[i] = wa_fixture_pattern();
    }
    for (size_t i = 0; i < count; i++) {
        bytes[i] = (unsigned char)(wa_rng_uint32(&fixture->rng) & 255u);
        expected[target_of(&network, i % values, i / values)] =
            element == WA_ELEMENT_U8 ? (float)bytes[i] / 255.0f : items[i];
    }
    cl_mem dev_items =
        element == WA_ELEMENT_U8
            ? wa_fixture_input(fixture, bytes, (count + sizeof(float) - 1) / sizeof(float))
            : wa_fixture_input(fixture, items, count);
    cl_mem x = wa_fixture_output(fixture, floats);
    WA_FIXTURE_CHECK(fixture, wa_operations_load_batch(network.operations, dev_items, element, x,
                                                       &fixture->err));
    assert_memory_equal(wa_fixture_read(fixture, x, floats), expected, floats * sizeof *expected);
    wa_fixture_expect_tail(fixture, x, floats);
    wa_network_close(&network);
    wa_fixture_clear(fixture);
}

/* Rows and batches of fewer values than a vector, of whole vectors and of more, for each width of vectors. */
static void check_loads(struct wa_fixture *fixture, wa_element element)
{
    const int widths[] = {fixture->engine.vector_width, 8, 4};
    for (size_t i = 0; i < LENGTH(shapes) * LENGTH(widths); i++) {
        wa_engine_use_vectors(&fixture->engine, widths[i % LENGTH(widths)]);
        check_load(fixture, &shapes[i / LENGTH(widths)], element);
    }
    wa_engine_use_vectors(&fixture->engine, widths[0]);
}

static void test_load_bytes(void **state)
{
    check_loads(*state, WA_ELEMENT_U8);
}

static void test_load_floats(void **state)
{
    check_loads(*state, WA_ELEMENT_F32);
}

/* ---- output_error --------------------------------------------------------------------------- */

/* Results hold loss and count of each slot. */
enum { SLOTS = 5, SLOT = 3, RESULTS = 2 * SLOTS, LOSS = 2 * SLOT, CORRECT = LOSS + 1 };

struct answer {
    double loss, loss_bound;
    double *error, *error_bounds;
    int correct;
};

/* logits = outputs + bias, both float32: one rounding, then another at the difference to the
 * target; the loss is a sum of squares. Random logits differ by far more than their rounding. */
static struct answer expect_error(struct wa_fixture *fixture, const struct wa_network *network,
                                  const float *outputs, const float *bias, const uint32_t *labels,
                                  float offset)
{
    int classes = network->model.classes;
    int batch = network->model.batch;
    size_t count = (size_t)classes * (size_t)batch;
    double *logits = wa_fixture_widen(fixture, outputs, count);
    struct answer answer = {.error = wa_fixture_allocate(fixture, count, sizeof(double)),
                            .error_bounds = wa_fixture_allocate(fixture, count, sizeof(double))};
    for (size_t i = 0; i < count; i++) {
        logits[i] += (double)bias[i / (size_t)batch];
    }
    answer.loss = wa_reference_output_error(classes, batch, logits, labels, (double)offset,
                                            answer.error, &answer.correct);
    double factor = 2.0 / (double)count;
    for (size_t i = 0; i < count; i++) {
        double e = answer.error[i] / factor;
        double e_bound = unit * (fabs(logits[i]) + 1.0 + fabs(e)) * 2.0;
        answer.error_bounds[i] = factor * e_bound + 4.0 * unit * fabs(answer.error[i]);
        answer.loss_bound += 2.0 * fabs(e) * e_bound / (double)count;
    }
    answer.loss_bound += answer.loss * (wa_reference_rounding(count) + 4.0 * unit);
    return answer;
}

struct error_run {
    struct wa_network network;
    float *outputs, *weights;
    uint32_t *labels;
    cl_mem error, results, halted;
};

static void make_error_run(struct wa_fixture *fixture, const struct wa_network_shape *shape,
                           struct error_run *ret_run)
{
    wa_network_open(fixture, shape, &ret_run->network);
    wa_network_describe(fixture, &ret_run->network, ret_run->network.model.layer_count - 1);
    ret_run->outputs = wa_fixture_random(fixture, (size_t)shape->classes * (size_t)shape->batch);
    ret_run->weights = wa_fixture_random(fixture, ret_run->network.model.parameter_count);
    ret_run->labels = wa_fixture_allocate(fixture, (size_t)shape->batch, sizeof(uint32_t));
    for (int n = 0; n < shape->batch; n++) {
        ret_run->labels[n] = wa_rng_randint(&fixture->rng, (uint32_t)shape->classes);
    }
}

static struct wa_layout output_layout(const struct wa_network *network)
{
    struct wa_layout layout =
        wa_layout_make(network->model.classes, 1, 1, network->model.lanes, 0, 0);
    layout.floats = (size_t)layout.channels * (size_t)layout.lanes;
    return layout;
}

static void start_error(struct wa_fixture *fixture, struct error_run *run, float offset)
{
    const struct wa_model *model = &run->network.model;
    struct wa_layout layout = output_layout(&run->network);
    const cl_int not_halted[2] = {0, -1};
    float *packed = wa_fixture_pack(fixture, &layout, model->batch, run->outputs);
    run->error = wa_fixture_output(fixture, layout.floats);
    run->results = wa_fixture_output(fixture, RESULTS);
    run->halted = wa_fixture_input(fixture, not_halted, 2);
    const struct wa_output_error arguments = {
        .outputs = wa_fixture_input(fixture, packed, layout.floats),
        .labels = wa_fixture_input(fixture, run->labels, (size_t)model->batch),
        .weights = wa_fixture_input(fixture, run->weights, model->parameter_count),
        .error = run->error,
        .results = run->results,
        .halted = run->halted,
        .target_offset = offset,
        .slot = SLOT};
    WA_FIXTURE_CHECK(
        fixture, wa_operations_output_error(run->network.operations, &arguments, &fixture->err));
}

static void expect_halted(struct wa_fixture *fixture, struct error_run *run, cl_int flag,
                          cl_int slot)
{
    cl_int halted[2];
    WA_FIXTURE_CHECK(fixture, wa_engine_read(&fixture->engine, run->halted, 0, halted,
                                             sizeof halted, &fixture->err));
    assert_int_equal(halted[0], flag);
    assert_int_equal(halted[1], slot);
}

static void check_output_error(struct wa_fixture *fixture, const struct wa_network_shape *shape)
{
    const float offset = 0.1f;
    struct error_run run;
    make_error_run(fixture, shape, &run);
    const struct wa_model *model = &run.network.model;
    struct wa_layout layout = output_layout(&run.network);
    start_error(fixture, &run, offset);
    const float *bias = run.weights + model->layers[model->layer_count - 1].bias_offset;
    struct answer answer =
        expect_error(fixture, &run.network, run.outputs, bias, run.labels, offset);
    double *error = wa_fixture_take(fixture, "error", run.error, &layout, model->batch);
    wa_fixture_compare(fixture, "error", (size_t)model->classes * (size_t)model->batch, error,
                       answer.error, answer.error_bounds);
    float *results = wa_fixture_read(fixture, run.results, RESULTS);
    double loss = (double)results[LOSS];
    wa_fixture_compare(fixture, "loss", 1, &loss, &answer.loss, &answer.loss_bound);
    assert_int_equal((int)results[CORRECT], answer.correct);
    for (int i = 0; i < RESULTS; i++) {
        assert_true(wa_fixture_is_pattern(results[i]) == (i / 2 != SLOT));
    }
    expect_halted(fixture, &run, 0, -1);
    wa_network_close(&run.network);
    wa_fixture_clear(fixture);
}

static void test_output_error(void **state)
{
    for (size_t i = 0; i < LENGTH(shapes); i++) {
        check_output_error(*state, &shapes[i]);
    }
}

/* Of equal largest logits the first counts. */
static void test_equal_logits(void **state)
{
    struct wa_fixture *fixture = *state;
    struct error_run run;
    make_error_run(fixture, &shapes[0], &run);
    const struct wa_model *model = &run.network.model;
    size_t count = (size_t)model->classes * (size_t)model->batch;
    memset(run.outputs, 0, count * sizeof *run.outputs);
    memset(run.weights, 0, model->parameter_count * sizeof *run.weights);
    for (int n = 0; n < model->batch; n++) {
        run.labels[n] = n % 2 ? 0u : 5u;
    }
    start_error(fixture, &run, 0.0f);
    assert_int_equal((int)wa_fixture_read(fixture, run.results, RESULTS)[CORRECT],
                     model->batch / 2);
    wa_network_close(&run.network);
}

/* NaN and infinity reach the loss and stop the updates. */
static void test_bad_outputs_halt(void **state)
{
    const float bad[] = {NAN, INFINITY, -INFINITY, FLT_MAX};
    struct wa_fixture *fixture = *state;
    for (size_t i = 0; i < LENGTH(bad); i++) {
        struct error_run run;
        make_error_run(fixture, &shapes[0], &run);
        run.outputs[17] = bad[i];
        start_error(fixture, &run, 0.1f);
        float *results = wa_fixture_read(fixture, run.results, RESULTS);
        assert_false(isfinite(results[LOSS]) != 0);
        expect_halted(fixture, &run, 1, SLOT);
        wa_network_close(&run.network);
        wa_fixture_clear(fixture);
    }
}

/* ---- feed_back ------------------------------------------------------------------------------ */

static void check_feed_back(struct wa_fixture *fixture, const struct wa_network_shape *shape,
                            int rows)
{
    struct wa_network network;
    wa_network_open(fixture, shape, &network);
    int classes = shape->classes;
    int batch = shape->batch;
    struct wa_layout layout = output_layout(&network);
    struct wa_layout g_layout = wa_layout_make(rows, 1, 1, network.model.lanes, 0, 0);
    g_layout.floats = (size_t)rows * (size_t)g_layout.lanes;
    size_t feedback_count = (size_t)rows * (size_t)classes;
    size_t count = (size_t)rows * (size_t)batch;
    float *feedback = wa_fixture_random(fixture, feedback_count);
    float *error = wa_fixture_random(fixture, (size_t)classes * (size_t)batch);
    cl_mem dev_error =
        wa_fixture_input(fixture, wa_fixture_pack(fixture, &layout, batch, error), layout.floats);
    cl_mem g = wa_fixture_output(fixture, g_layout.floats);
    WA_FIXTURE_CHECK(fixture,
                     wa_operations_feed_back(network.operations, 0,
                                             wa_fixture_input(fixture, feedback, feedback_count),
                                             rows, dev_error, g, &fixture->err));
    double *expected = wa_fixture_allocate(fixture, count, sizeof *expected);
    double *bounds = wa_fixture_allocate(fixture, count, sizeof *bounds);
    wa_reference_product(rows, batch, classes, wa_fixture_widen(fixture, feedback, feedback_count),
                         false, wa_fixture_widen(fixture, error, (size_t)classes * (size_t)batch),
                         false, expected, bounds);
    for (size_t i = 0; i < count; i++) {
        bounds[i] *= wa_reference_rounding((size_t)classes);
    }
    wa_fixture_compare(fixture, "feedback", count,
                       wa_fixture_take(fixture, "feedback", g, &g_layout, batch), expected, bounds);
    wa_network_close(&network);
    wa_fixture_clear(fixture);
}

static void test_feed_back(void **state)
{
    check_feed_back(*state, &shapes[0], 819);
    check_feed_back(*state, &shapes[1], 7);
    check_feed_back(*state, &shapes[2], 448);
    check_feed_back(*state, &shapes[4], 33);
}

/* ---- Programs ------------------------------------------------------------------------------- */

/* What is built side by side at the start is what is used: nothing is compiled afterwards. */
static void test_listed_programs_are_all(void **state)
{
    struct wa_fixture *fixture = *state;
    struct wa_program_spec specs[WA_OPERATIONS_MAX_PROGRAMS];
    char options[WA_OPERATIONS_MAX_PROGRAMS][WA_OPERATIONS_OPTION_BYTES];
    struct wa_network network;
    wa_network_open(fixture, &shapes[2], &network);
    size_t count = wa_operations_programs(&fixture->engine, &network.model, specs, options);
    assert_in_range(count, 1, WA_OPERATIONS_MAX_PROGRAMS);
    size_t before = wa_programs_compiled(fixture->programs);
    wa_programs_prebuild(fixture->programs, specs, count);
    for (size_t i = 0; i < count; i++) {
        cl_program program = NULL;
        WA_FIXTURE_CHECK(fixture,
                         wa_programs_get(fixture->programs, &specs[i], &program, &fixture->err));
        assert_non_null(program);
    }
    assert_int_equal(wa_programs_compiled(fixture->programs), before);
    wa_network_close(&network);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WA_FIXTURE_TEST(test_load_bytes),
        WA_FIXTURE_TEST(test_load_floats),
        WA_FIXTURE_TEST(test_output_error),
        WA_FIXTURE_TEST(test_equal_logits),
        WA_FIXTURE_TEST(test_bad_outputs_halt),
        WA_FIXTURE_TEST(test_feed_back),
        WA_FIXTURE_TEST(test_listed_programs_are_all),
    };
    return cmocka_run_group_tests(tests, wa_fixture_setup, wa_fixture_teardown);
}
