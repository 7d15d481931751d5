/* Learning rules through whole sessions: what follows from their definitions, without numbers made
 * elsewhere (tests/golden has those). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reference_operations.h"
#include "session_fixture.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

static const char *const rules[] = {"backprop", "align-zero", "align-ada", "align-prop",
                                    "fa",       "dfa",        "last-layer"};

/* Steps this long make an update large beside the rounding of the weight that it is added to. */
#define LONG_STEP "{\"learning_rate\": 1024.0}"
static const double long_step = 1024.0;

static struct wa_session_shape tiny_shape(const char *rule, const char *optimizer_options)
{
    return (struct wa_session_shape){
        .rule = rule,
        .rule_options = strcmp(rule, "dfa") == 0 ? "{\"feedback\": \"position\"}" : NULL,
        .optimizer_options = optimizer_options,
        .architecture_options = "{\"width\": 3, \"kernels\": [3, 2], \"strides\": [1, 2]}",
        .batch = 5,
        .rows = 6,
        .columns = 7,
        .channels = 2,
        .classes = 4,
        .element = WA_ELEMENT_U8,
        .seed = 7};
}

static struct wa_session_shape small_shape(const char *rule, const char *optimizer_options)
{
    struct wa_session_shape shape = tiny_shape(rule, optimizer_options);
    shape.architecture_options = "{\"width\": 8, \"kernels\": [3, 3, 3], \"strides\": [1, 2, 1]}";
    shape.batch = 20;
    shape.rows = 12;
    shape.columns = 12;
    return shape;
}

/* Parameters before and after steps of a rule on one batch. */
struct trace {
    struct wa_session_under_test test;
    const struct wa_model *model;
    unsigned char *images;
    uint32_t *labels;
    float *before, *after;
    double loss; /* before the last step */
};

static void run_steps(struct wa_fixture *fixture, const struct wa_session_shape *shape,
                      uint64_t steps, struct trace *ret_trace)
{
    wa_rng_seed(&fixture->rng, WA_FIXTURE_SEED); /* the same images for each rule */
    ret_trace->labels = wa_session_labels(fixture, shape);
    ret_trace->images = wa_session_images(fixture, shape, ret_trace->labels);
    wa_session_open(fixture, shape, &ret_trace->test);
    ret_trace->model = wa_session_model(ret_trace->test.session);
    ret_trace->before = wa_session_parameters(&ret_trace->test);
    ret_trace->loss =
        wa_session_steps(&ret_trace->test, ret_trace->images, ret_trace->labels, 1, steps);
    ret_trace->after = wa_session_parameters(&ret_trace->test);
}

/* ---- Against one another -------------------------------------------------------------------- */

/* Largest difference between two runs' parameters, and the largest update of the first. */
static double largest_difference(const struct trace *a, const struct trace *b, double *ret_update)
{
    double difference = 0.0;
    *ret_update = 0.0;
    for (size_t i = 0; i < a->test.parameter_count; i++) {
        difference = fmax(difference, fabs((double)a->after[i] - (double)b->after[i]));
        *ret_update = fmax(*ret_update, fabs((double)a->after[i] - (double)a->before[i]));
    }
    return difference;
}

/* At step 1 live and frozen weights are equal, so all Align rules are backprop. Tolerance: 1e-5 of
 * the largest update, what sums of a few hundred float32 products may differ by if another order or
 * algorithm serves the frozen net. After more steps the rules part: the test can fail. */
static void test_align_rules_start_as_backprop(void **state)
{
    struct wa_fixture *fixture = *state;
    for (size_t r = 1; r <= 3; r++) {
        for (uint64_t steps = 1; steps <= 3; steps += 2) {
            struct trace backprop;
            struct trace align;
            struct wa_session_shape shape = small_shape("backprop", "{\"learning_rate\": 4.0}");
            run_steps(fixture, &shape, steps, &backprop);
            shape.rule = rules[r];
            run_steps(fixture, &shape, steps, &align);
            assert_memory_equal(backprop.before, align.before,
                                backprop.test.parameter_count * sizeof(float));
            double update = 0.0;
            double difference = largest_difference(&backprop, &align, &update);
            print_message("%s after %d steps: update %.3g, difference %.3g\n", rules[r], (int)steps,
                          update, difference);
            assert_true(steps == 1 ? difference <= 1e-5 * update : difference > 1e-3 * update);
            wa_session_close(&backprop.test);
            wa_session_close(&align.test);
        }
    }
}

static void test_same_bits_twice(void **state)
{
    struct wa_fixture *fixture = *state;
    for (size_t r = 0; r < LENGTH(rules); r++) {
        struct wa_session_shape shape = small_shape(rules[r], "{\"learning_rate\": 1.0}");
        struct trace first;
        struct trace second;
        run_steps(fixture, &shape, 3, &first);
        run_steps(fixture, &shape, 3, &second);
        assert_memory_equal(first.after, second.after, first.test.parameter_count * sizeof(float));
        assert_memory_equal(&first.loss, &second.loss, sizeof first.loss);
        assert_true(memcmp(first.before, first.after, first.test.parameter_count * sizeof(float)) !=
                    0);
        wa_session_close(&first.test);
        wa_session_close(&second.test);
    }
}

/* A cache that holds nothing: the first layer's h is made again on the way back, and takes no memory; what batch
 * norm writes goes past the cache. */
static void test_same_bits_whatever_the_cache(void **state)
{
    struct wa_fixture *fixture = *state;
    struct wa_engine *engine = &fixture->engine;
    size_t cache_bytes = engine->cache_bytes;
    for (size_t r = 0; r < LENGTH(rules); r++) {
        struct wa_session_shape shape = small_shape(rules[r], "{\"learning_rate\": 1.0}");
        struct trace kept;
        struct trace remade;
        run_steps(fixture, &shape, 3, &kept);
        uint64_t kept_bytes = engine->bytes;
        engine->cache_bytes = 0;
        run_steps(fixture, &shape, 3, &remade);
        uint64_t remade_bytes = engine->bytes - kept_bytes;
        engine->cache_bytes = cache_bytes;
        assert_memory_equal(kept.after, remade.after, kept.test.parameter_count * sizeof(float));
        assert_memory_equal(&kept.loss, &remade.loss, sizeof kept.loss);
        bool keeps_h = strcmp(rules[r], "last-layer") != 0;
        assert_true((remade_bytes < kept_bytes) == (engine->path == WA_PATH_CPU && keeps_h));
        wa_session_close(&remade.test);
        wa_session_close(&kept.test);
    }
}

static void test_last_layer_keeps_hidden_weights(void **state)
{
    struct wa_session_shape shape = small_shape("last-layer", "{\"learning_rate\": 1.0}");
    struct trace trace;
    run_steps(*state, &shape, 5, &trace);
    const struct wa_model_layer *readout = &trace.model->layers[trace.model->layer_count - 1];
    size_t hidden = readout->weight_offset;
    assert_true(hidden > 0);
    assert_memory_equal(trace.before, trace.after, hidden * sizeof(float));
    for (size_t i = hidden; i < trace.test.parameter_count; i++) {
        assert_true(trace.before[i] < trace.after[i] || trace.before[i] > trace.after[i]);
    }
    wa_session_close(&trace.test);
}

/* ---- Finite differences --------------------------------------------------------------------- */

/* A batch in double, and the net's loss on it by the reference. */
struct loss_problem {
    struct wa_fixture *fixture;
    const struct wa_model *model;
    double *images; /* dense */
    const uint32_t *labels;
};

static struct wa_reference_shape layer_shape(const struct wa_model *model, uint32_t l)
{
    const struct wa_layer *s = &model->layers[l].shape;
    return (struct wa_reference_shape){.batch = model->batch,
                                       .in_channels = (int)s->in_channels,
                                       .in_rows = (int)s->in_height,
                                       .in_columns = (int)s->in_width,
                                       .out_channels = (int)s->out_channels,
                                       .kernel = (int)s->kernel,
                                       .stride = (int)s->stride};
}

/* z = conv(x, W)/sqrt(fan_in) + b of a layer, dense. */
static double *apply_layer(const struct loss_problem *problem, uint32_t l, const double *parameters,
                           const double *x)
{
    const struct wa_model_layer *layer = &problem->model->layers[l];
    struct wa_reference_shape s = layer_shape(problem->model, l);
    size_t count = wa_fixture_layout_count(&layer->output, s.batch);
    double *z = wa_fixture_allocate(problem->fixture, count, sizeof *z);
    wa_reference_forward(&s, parameters + layer->weight_offset, x, z, NULL);
    double root = sqrt((double)s.kernel * s.kernel * s.in_channels);
    for (size_t i = 0; i < count; i++) {
        size_t channel = i / (count / (size_t)s.out_channels);
        z[i] = z[i] / root + parameters[layer->bias_offset + channel];
    }
    return z;
}

static double reference_loss(const struct loss_problem *problem, const double *parameters)
{
    const struct wa_model *model = problem->model;
    uint32_t top = model->layer_count - 1;
    const double *x = problem->images;
    for (uint32_t l = 0; l < top; l++) {
        const struct wa_layout *out = &model->layers[l].output;
        size_t positions = wa_fixture_layout_count(out, 1);
        double *h = apply_layer(problem, l, parameters, x);
        double *inverse = wa_fixture_allocate(problem->fixture, positions, sizeof *inverse);
        wa_reference_batch_norm(positions, model->batch, h, 1e-6, h, inverse);
        wa_reference_rectify(positions * (size_t)model->batch, h, h);
        x = h;
    }
    const struct wa_layout *last = &model->layers[top - 1].output;
    size_t batch = (size_t)model->batch;
    double *pooled =
        wa_fixture_allocate(problem->fixture, (size_t)last->channels * batch, sizeof *pooled);
    wa_reference_pool(last->channels, (size_t)last->rows * (size_t)last->columns, model->batch, x,
                      pooled);
    double *logits = apply_layer(problem, top, parameters, pooled);
    double *error =
        wa_fixture_allocate(problem->fixture, (size_t)model->classes * batch, sizeof *error);
    int correct = 0;
    return wa_reference_output_error(model->classes, model->batch, logits, problem->labels,
                                     (double)0.1f, error, &correct);
}

static double *dense_images(struct wa_fixture *fixture, const struct wa_session_shape *shape,
                            const unsigned char *images)
{
    size_t places = (size_t)shape->rows * (size_t)shape->columns;
    size_t channels = (size_t)shape->channels;
    size_t batch = (size_t)shape->batch;
    double *dense = wa_fixture_allocate(fixture, places * channels * batch, sizeof *dense);
    for (size_t i = 0; i < places * channels * batch; i++) {
        size_t n = i / (places * channels);
        size_t place = i / channels % places;
        dense[(i % channels * places + place) * batch + n] = (double)((float)images[i] / 255.0f);
    }
    return dense;
}

/* Central differences with a step of 1e-5 in double: truncation is about 1e-10 of the third derivative
 * and rounding 1e-11. Tolerance 1e-5 of the largest derivative in the layer: what float32 leaves of a
 * gradient through two batch norms, whose 1/sqrt(var) is some 10 here (1e-6 is seen). */
static void test_backprop_is_the_gradient(void **state)
{
    struct wa_fixture *fixture = *state;
    struct wa_session_shape shape = tiny_shape("backprop", LONG_STEP);
    struct trace trace;
    run_steps(fixture, &shape, 1, &trace);
    const struct loss_problem problem = {.fixture = fixture,
                                         .model = trace.model,
                                         .images = dense_images(fixture, &shape, trace.images),
                                         .labels = trace.labels};
    size_t count = trace.test.parameter_count;
    double *parameters = wa_fixture_widen(fixture, trace.before, count);
    assert_true(fabs(reference_loss(&problem, parameters) - trace.loss) <= 1e-6 * trace.loss);
    const double step = 1e-5;
    for (uint32_t l = 0; l < trace.model->layer_count; l++) {
        const struct wa_model_layer *layer = &trace.model->layers[l];
        size_t end = layer->bias_offset + layer->shape.out_channels;
        double largest = 0.0;
        double worst = 0.0;
        for (size_t i = layer->weight_offset; i < end; i++) {
            double kept = parameters[i];
            parameters[i] = kept + step;
            double above = reference_loss(&problem, parameters);
            parameters[i] = kept - step;
            double below = reference_loss(&problem, parameters);
            parameters[i] = kept;
            double expected = (above - below) / (2.0 * step);
            double actual = ((double)trace.before[i] - (double)trace.after[i]) / long_step;
            largest = fmax(largest, fabs(expected));
            worst = fmax(worst, fabs(actual - expected));
        }
        print_message("%s: largest derivative %.3g, largest error %.3g\n", layer->name, largest,
                      worst);
        assert_true(largest > 1e-4);
        assert_true(worst <= 1e-5 * largest);
    }
    wa_session_close(&trace.test);
}

/* ---- Learning ------------------------------------------------------------------------------- */

/* Outputs that do not depend on the image have a loss of at least (1/classes)(1 - 1/classes). */
static void expect_loss_falls(struct wa_fixture *fixture, const struct wa_session_shape *shape)
{
    double blind = (1.0 - 1.0 / shape->classes) / shape->classes;
    struct trace trace;
    run_steps(fixture, shape, 1, &trace);
    double last = wa_session_steps(&trace.test, trace.images, trace.labels, 2, 250);
    print_message("%s: loss %.4f, after 250 steps %.4f\n", shape->rule, trace.loss, last);
    assert_true(last < 0.9 * blind && last < 0.9 * trace.loss);
    wa_session_close(&trace.test);
    wa_fixture_clear(fixture);
}

static void test_loss_falls_with_every_rule(void **state)
{
    for (size_t r = 0; r < LENGTH(rules); r++) {
        struct wa_session_shape shape = small_shape(rules[r], "{\"learning_rate\": 2.0}");
        expect_loss_falls(*state, &shape);
    }
    struct wa_session_shape pooled = small_shape("dfa", "{\"learning_rate\": 2.0}");
    pooled.rule_options = "{\"feedback\": \"pooled\"}";
    expect_loss_falls(*state, &pooled);
}

static void test_loss_falls_with_adam(void **state)
{
    struct wa_session_shape shape = small_shape(
        "backprop",
        "{\"learning_rate\": 0.01, \"beta1\": 0.9, \"beta2\": 0.999, \"epsilon\": 1e-8}");
    shape.optimizer = "adam";
    shape.is_standard = true;
    expect_loss_falls(*state, &shape);
}

static void test_evaluation_changes_nothing(void **state)
{
    struct wa_fixture *fixture = *state;
    struct wa_session_shape shape = small_shape("align-ada", "{\"learning_rate\": 1.0}");
    struct trace trace;
    run_steps(fixture, &shape, 2, &trace);
    struct wa_session_result results[WA_SESSION_SLOTS];
    size_t count = 0;
    const struct wa_batch batch = {
        .count = shape.batch, .items = trace.images, .targets = trace.labels};
    WA_FIXTURE_CHECK(fixture, wa_session_evaluate(trace.test.session, &batch, &fixture->err));
    WA_FIXTURE_CHECK(fixture,
                     wa_session_collect(trace.test.session, results, &count, &fixture->err));
    assert_int_equal(count, 1);
    assert_memory_equal(wa_session_parameters(&trace.test), trace.after,
                        trace.test.parameter_count * sizeof(float));
    /* the loss of the same batch before the next step */
    double next = wa_session_steps(&trace.test, trace.images, trace.labels, 3, 3);
    assert_true((double)results[0].loss >= next && (double)results[0].loss <= next);
    wa_session_close(&trace.test);
}

/* A NaN in the images reaches the loss; nothing is updated from there on. */
/* Steps without activations, as bench times them, leave no trace once what was kept is put back. */
static void test_steps_that_are_put_back(void **state)
{
    struct wa_fixture *fixture = *state;
    struct wa_session_shape shape = small_shape(
        "align-ada",
        "{\"learning_rate\": 0.01, \"beta1\": 0.9, \"beta2\": 0.999, \"epsilon\": 1e-8}");
    shape.optimizer = "adam";
    struct trace plain;
    struct trace other;
    float *kept = NULL;
    run_steps(fixture, &shape, 4, &plain);
    run_steps(fixture, &shape, 2, &other);
    WA_FIXTURE_CHECK(fixture, wa_session_keep(other.test.session, &kept, &fixture->err));
    fixture->engine.omits_activations = true;
    (void)wa_session_steps(&other.test, other.images, other.labels, 3, 6);
    fixture->engine.omits_activations = false;
    float *changed = wa_session_parameters(&other.test);
    assert_memory_not_equal(changed, other.after, plain.test.parameter_count * sizeof *changed);
    WA_FIXTURE_CHECK(fixture, wa_session_put_back(other.test.session, kept, &fixture->err));
    free(kept);
    (void)wa_session_steps(&other.test, other.images, other.labels, 3, 4);
    float *after = wa_session_parameters(&other.test);
    assert_memory_equal(after, plain.after, plain.test.parameter_count * sizeof *after);
    wa_session_close(&plain.test);
    wa_session_close(&other.test);
}

static void test_nan_stops_updates(void **state)
{
    struct wa_fixture *fixture = *state;
    for (size_t r = 0; r < LENGTH(rules); r++) {
        struct wa_session_shape shape = tiny_shape(rules[r], "{\"learning_rate\": 1.0}");
        shape.element = WA_ELEMENT_F32;
        size_t values = (size_t)shape.rows * (size_t)shape.columns * (size_t)shape.channels *
                        (size_t)shape.batch;
        struct wa_session_under_test test;
        wa_session_open(fixture, &shape, &test);
        uint32_t *labels = wa_session_labels(fixture, &shape);
        float *items = wa_fixture_random(fixture, values);
        assert_true(isfinite(wa_session_steps(&test, items, labels, 1, 1)) != 0);
        float *before = wa_session_parameters(&test);
        float kept = items[values / 2];
        items[values / 2] = NAN;
        assert_true(isnan(wa_session_steps(&test, items, labels, 2, 2)) != 0);
        items[values / 2] = kept;
        (void)wa_session_steps(&test, items, labels, 3, 3);
        assert_memory_equal(wa_session_parameters(&test), before,
                            test.parameter_count * sizeof(float));
        wa_session_close(&test);
    }
}

/* ---- Draw order ----------------------------------------------------------------------------- */

enum feedback { FEEDBACK_NONE, FEEDBACK_WEIGHTS, FEEDBACK_POSITIONS, FEEDBACK_POOLED };

/* Weights as drawn: per layer, bottom to top, W in the order out, kernel row, kernel column, in, then
 * what the rule draws; biases 0. */
static void check_draws(struct wa_fixture *fixture, const struct wa_session_shape *shape,
                        enum feedback feedback)
{
    struct wa_session_under_test test;
    struct wa_rng rng;
    wa_session_open(fixture, shape, &test);
    float *values = wa_session_parameters(&test);
    const struct wa_model *model = wa_session_model(test.session);
    wa_rng_seed(&rng, shape->seed);
    for (uint32_t l = 0; l < model->layer_count; l++) {
        const struct wa_layer *s = &model->layers[l].shape;
        size_t weights = (size_t)s->out_channels * s->kernel * s->kernel * s->in_channels;
        double root = sqrt((double)s->kernel * s->kernel * s->in_channels);
        for (size_t i = 0; i < weights; i++) {
            float expected = (float)(wa_rng_normal(&rng) / (shape->is_standard ? root : 1.0));
            assert_memory_equal(values++, &expected, sizeof expected);
        }
        for (size_t i = 0; i < s->out_channels; i++) {
            const float zero = 0.0f;
            assert_memory_equal(values++, &zero, sizeof zero);
        }
        bool is_readout = l + 1 == model->layer_count;
        size_t places = feedback == FEEDBACK_POOLED ? 1 : (size_t)s->out_height * s->out_width;
        size_t skipped = feedback == FEEDBACK_WEIGHTS ? weights
                         : feedback == FEEDBACK_NONE || is_readout
                             ? 0
                             : (size_t)shape->classes * places * s->out_channels;
        for (size_t i = 0; i < skipped; i++) {
            (void)wa_rng_normal(&rng);
        }
    }
    wa_session_close(&test);
}

static void test_draw_order(void **state)
{
    static const enum feedback feedbacks[LENGTH(rules)] = {
        FEEDBACK_NONE,    FEEDBACK_NONE,      FEEDBACK_NONE, FEEDBACK_NONE,
        FEEDBACK_WEIGHTS, FEEDBACK_POSITIONS, FEEDBACK_NONE};
    for (size_t r = 0; r < LENGTH(rules); r++) {
        struct wa_session_shape shape = tiny_shape(rules[r], "{\"learning_rate\": 1.0}");
        check_draws(*state, &shape, feedbacks[r]);
        shape.is_standard = true;
        shape.seed = 100;
        check_draws(*state, &shape, feedbacks[r]);
    }
    struct wa_session_shape pooled = tiny_shape("dfa", "{\"learning_rate\": 1.0}");
    pooled.rule_options = "{\"feedback\": \"pooled\"}";
    check_draws(*state, &pooled, FEEDBACK_POOLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WA_FIXTURE_TEST(test_align_rules_start_as_backprop),
        WA_FIXTURE_TEST(test_same_bits_twice),
        WA_FIXTURE_TEST(test_same_bits_whatever_the_cache),
        WA_FIXTURE_TEST(test_last_layer_keeps_hidden_weights),
        WA_FIXTURE_TEST(test_backprop_is_the_gradient),
        WA_FIXTURE_TEST(test_loss_falls_with_every_rule),
        WA_FIXTURE_TEST(test_loss_falls_with_adam),
        WA_FIXTURE_TEST(test_evaluation_changes_nothing),
        WA_FIXTURE_TEST(test_steps_that_are_put_back),
        WA_FIXTURE_TEST(test_nan_stops_updates),
        WA_FIXTURE_TEST(test_draw_order),
    };
    return cmocka_run_group_tests(tests, wa_fixture_setup, wa_fixture_teardown);
}
