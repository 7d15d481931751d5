/* Layers whose product and batch norm go in one pass, convolutions that read few values and dense ones: they must
 * give the bits of one after the other; the gradient in one pass sums in another order, and is compared with the
 * reference.
 *
 * Tolerance of gradients: wa_reference_rounding of their terms, times the sum of the terms' absolute values; dz
 * is the device's own, which test_batch_norm.c checks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "network_fixture.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* A first layer's operands on the device. */
struct operands {
    float *x; /* dense */
    cl_mem dev_x, weights, arranged;
};

struct activated {
    cl_mem h, a, inverse;
    struct wa_layout a_layout;
};

static struct operands make_operands(struct wa_fixture *fixture, struct wa_network *network)
{
    const struct wa_model_layer *layer = &network->model.layers[0];
    int batch = network->model.batch;
    size_t floats = wa_operations_arranged_floats(network->operations, false);
    struct operands o = {
        .x = wa_fixture_random(fixture, wa_fixture_layout_count(&layer->input, batch))};
    float *weights = wa_fixture_random(fixture, network->model.parameter_count);
    o.dev_x = wa_fixture_input(fixture, wa_fixture_pack(fixture, &layer->input, batch, o.x),
                               layer->input.floats);
    o.weights = wa_fixture_input(fixture, weights, network->model.parameter_count);
    o.arranged = wa_fixture_output(fixture, floats);
    WA_FIXTURE_CHECK(fixture, wa_operations_arrange(network->operations, o.weights, false,
                                                    o.arranged, &fixture->err));
    return o;
}

static struct activated make_activated(struct wa_fixture *fixture, const struct wa_network *network)
{
    const struct wa_layout *out = &network->model.layers[0].output;
    struct activated r = {
        .a_layout = wa_layout_make(out->channels, out->rows, out->columns, out->lanes, 1, 2)};
    r.h = wa_fixture_output(fixture, out->floats);
    r.a = wa_fixture_output(fixture, r.a_layout.floats);
    r.inverse = wa_fixture_output(fixture, 2 * wa_fixture_layout_count(out, 1));
    return r;
}

static struct activated in_two_passes(struct wa_fixture *fixture, struct wa_network *network,
                                      const struct operands *o)
{
    struct activated r = make_activated(fixture, network);
    WA_FIXTURE_CHECK(fixture, wa_operations_forward(network->operations, 0, o->weights, o->arranged,
                                                    o->dev_x, r.h, &fixture->err));
    WA_FIXTURE_CHECK(fixture, wa_operations_activate(network->operations, 0, o->weights, r.h, true,
                                                     r.a, &r.a_layout, r.inverse, &fixture->err));
    return r;
}

/* `is_one`: it must be one launch where the CPU path's kernels serve. */
static struct activated in_one_pass(struct wa_fixture *fixture, struct wa_network *network,
                                    const struct operands *o, bool keep_h, bool is_one)
{
    struct activated r = make_activated(fixture, network);
    uint64_t before = fixture->engine.launches;
    WA_FIXTURE_CHECK(fixture, wa_operations_forward_activate(
                                  network->operations, 0, o->weights, o->arranged, o->dev_x, r.h,
                                  keep_h, r.a, &r.a_layout, r.inverse, &fixture->err));
    if (fixture->engine.path == WA_PATH_CPU) {
        assert_true((fixture->engine.launches - before == 1) == is_one);
    }
    return r;
}

static void expect_same(struct wa_fixture *fixture, cl_mem a, cl_mem b, size_t floats)
{
    assert_memory_equal(wa_fixture_read(fixture, a, floats), wa_fixture_read(fixture, b, floats),
                        floats * sizeof(float));
    wa_fixture_expect_tail(fixture, a, floats);
}

static struct activated check_forward(struct wa_fixture *fixture, struct wa_network *network,
                                      const struct operands *o, bool is_one)
{
    const struct wa_layout *out = &network->model.layers[0].output;
    struct activated expected = in_two_passes(fixture, network, o);
    for (int keep_h = 0; keep_h < 2; keep_h++) {
        struct activated r = in_one_pass(fixture, network, o, keep_h, is_one);
        expect_same(fixture, r.a, expected.a, r.a_layout.floats);
        size_t positions = wa_fixture_layout_count(out, 1);
        assert_memory_equal(wa_fixture_read(fixture, r.inverse, positions),
                            wa_fixture_read(fixture, expected.inverse, positions),
                            positions * sizeof(float));
        wa_fixture_expect_tail(fixture, r.inverse, 2 * positions);
        if (keep_h) {
            expect_same(fixture, r.h, expected.h, out->floats);
        }
    }
    return expected;
}

/* The gradient of weights and biases from dz as activate_backward gives it. */
static void expect_gradients(struct wa_fixture *fixture, struct wa_network *network,
                             const struct operands *o, const double *dz, cl_mem gradients)
{
    const struct wa_model_layer *layer = &network->model.layers[0];
    int batch = network->model.batch;
    size_t channels = (size_t)layer->output.channels;
    size_t places = wa_fixture_layout_count(&layer->output, 1) / channels;
    size_t weights = layer->weight_count;
    double rounding = wa_reference_rounding(places * (size_t)batch);
    double *expected = wa_fixture_allocate(fixture, weights + channels, sizeof *expected);
    double *bounds = wa_fixture_allocate(fixture, weights + channels, sizeof *bounds);
    struct wa_reference_shape shape = wa_network_reference_shape(network, 0);
    double *x = wa_fixture_widen(fixture, o->x, wa_fixture_layout_count(&layer->input, batch));
    wa_reference_weight_gradient(&shape, x, dz, expected, bounds);
    wa_reference_bias_gradient((int)channels, places, batch, dz, expected + weights,
                               bounds + weights);
    for (size_t i = 0; i < weights + channels; i++) {
        double scale = i < weights ? 1.0 : 1.0 / (double)layer->scale;
        expected[i] *= scale;
        bounds[i] *= rounding * scale;
    }
    float *read = wa_fixture_read(fixture, gradients, network->model.parameter_count);
    wa_fixture_compare(fixture, "weight gradient", weights,
                       wa_fixture_widen(fixture, read + layer->weight_offset, weights), expected,
                       bounds);
    wa_fixture_compare(fixture, "bias gradient", channels,
                       wa_fixture_widen(fixture, read + layer->bias_offset, channels),
                       expected + weights, bounds + weights);
    wa_fixture_expect_tail(fixture, gradients, network->model.parameter_count);
}

static void check_gradient(struct wa_fixture *fixture, struct wa_network *network,
                           const struct operands *o, const struct activated *f, bool is_pooled,
                           bool has_own_slope, bool is_one)
{
    const struct wa_model_layer *layer = &network->model.layers[0];
    const struct wa_layout *out = &layer->output;
    int batch = network->model.batch;
    struct wa_layout g_layout =
        is_pooled ? wa_layout_make(out->channels, 1, 1, out->lanes, 0, 0) : *out;
    float *g = wa_fixture_random(fixture, wa_fixture_layout_count(&g_layout, batch));
    float *other = wa_fixture_random(fixture, wa_fixture_layout_count(out, batch));
    struct wa_gradient_source source = {
        .memory = wa_fixture_input(fixture, wa_fixture_pack(fixture, &g_layout, batch, g),
                                   g_layout.floats),
        .is_pooled = is_pooled};
    cl_mem slope_h =
        has_own_slope
            ? f->h
            : wa_fixture_input(fixture, wa_fixture_pack(fixture, out, batch, other), out->floats);
    cl_mem dz = wa_fixture_output(fixture, layer->gradient.floats);
    cl_mem scratch = wa_fixture_output(fixture, layer->gradient.floats);
    cl_mem gradients = wa_fixture_output(fixture, network->model.parameter_count);
    WA_FIXTURE_CHECK(fixture,
                     wa_operations_activate_backward(network->operations, 0, source, f->h, slope_h,
                                                     f->inverse, dz, &fixture->err));
    uint64_t before = fixture->engine.launches;
    const struct wa_passed passed = {.h = f->h, .inverse = f->inverse, .slope = slope_h};
    WA_FIXTURE_CHECK(fixture,
                     wa_operations_activate_gradient(network->operations, 0, source, &passed,
                                                     scratch, o->dev_x, gradients, &fixture->err));
    if (fixture->engine.path == WA_PATH_CPU) { /* what adds the parts up is the second one */
        assert_true((fixture->engine.launches - before == 2) == is_one);
    }
    expect_gradients(fixture, network, o,
                     wa_fixture_take(fixture, "dz", dz, &layer->gradient, batch), gradients);
}

/* The same bits from an h that is made again, and with another net's activity in place of its h as the slope. */
static void check_remaking(struct wa_fixture *fixture, struct wa_network *network,
                           const struct operands *o, bool has_own_slope)
{
    const struct wa_layout *out = &network->model.layers[0].output;
    size_t count = network->model.parameter_count;
    float *g = wa_fixture_random(fixture, wa_fixture_layout_count(out, network->model.batch));
    struct wa_gradient_source source = {
        .memory = wa_fixture_input(fixture, wa_fixture_pack(fixture, out, network->model.batch, g),
                                   out->floats)};
    const struct operands other = make_operands(fixture, network);
    const struct activated f = in_one_pass(fixture, network, o, true, true);
    const struct activated slope = in_one_pass(fixture, network, &other, true, true);
    const struct wa_passed kept = {
        .h = f.h, .inverse = f.inverse, .slope = has_own_slope ? f.h : slope.h};
    const struct wa_passed remade = {.arranged = o->arranged,
                                     .inverse = f.inverse,
                                     .slope = has_own_slope ? NULL : slope.a,
                                     .slope_layout = &slope.a_layout};
    const struct wa_passed *ways[] = {&kept, &remade};
    cl_mem gradients[2];
    for (int i = 0; i < 2; i++) {
        gradients[i] = wa_fixture_output(fixture, count);
        WA_FIXTURE_CHECK(fixture, wa_operations_activate_gradient(network->operations, 0, source,
                                                                  ways[i], NULL, o->dev_x,
                                                                  gradients[i], &fixture->err));
    }
    expect_same(fixture, gradients[1], gradients[0], count);
}

static void check(struct wa_fixture *fixture, const struct wa_network_shape *shape, bool is_one)
{
    struct wa_network network;
    wa_network_open(fixture, shape, &network);
    wa_network_describe(fixture, &network, 0);
    struct operands o = make_operands(fixture, &network);
    struct activated f = check_forward(fixture, &network, &o, is_one);
    for (int variant = 0; variant < 4; variant++) {
        check_gradient(fixture, &network, &o, &f, variant & 1, (variant & 2) != 0, is_one);
    }
    size_t cache_bytes = fixture->engine.cache_bytes;
    assert_false(wa_operations_remakes(network.operations, 0)); /* these are small */
    fixture->engine.cache_bytes = 0;
    if (wa_operations_remakes(network.operations, 0)) {
        check_remaking(fixture, &network, &o, true);
        check_remaking(fixture, &network, &o, false);
    } else {
        assert_false(fixture->engine.path == WA_PATH_CPU && is_one);
    }
    fixture->engine.cache_bytes = cache_bytes;
    wa_network_close(&network);
    wa_fixture_clear(fixture);
}

static const struct wa_network_shape shapes[] = {
    {.batch = 20, .channels = 1, .rows = 7, .columns = 9, .layers = {{3, 1, 7}}, .classes = 3},
    {.batch = 100, .channels = 3, .rows = 8, .columns = 8, .layers = {{3, 1, 33}}, .classes = 3},
    {.batch = 100, .channels = 1, .rows = 6, .columns = 5, .layers = {{5, 2, 8}}, .classes = 3},
    {.batch = 33, .channels = 3, .rows = 9, .columns = 8, .layers = {{3, 4, 1}}, .classes = 3},
    {.batch = 1, .channels = 2, .rows = 4, .columns = 4, .layers = {{1, 1, 9}}, .classes = 3},
    {.batch = 257, .channels = 1, .rows = 3, .columns = 3, .layers = {{2, 2, 10}}, .classes = 3},
};

/* Of 257 items only vectors of 16 are few enough. */
static void test_few_values(void **state)
{
    const struct wa_fixture *fixture = *state;
    for (size_t i = 0; i < LENGTH(shapes); i++) {
        check(*state, &shapes[i], shapes[i].batch <= 100 || fixture->engine.vector_width == 16);
    }
}

/* 36 values: as any other layer. */
static void test_more_values(void **state)
{
    const struct wa_network_shape shape = {
        .batch = 20, .channels = 4, .rows = 5, .columns = 5, .layers = {{3, 1, 6}}, .classes = 3};
    check(*state, &shape, false);
}

/* The readout's product with the way back of the layer below in one launch, with its own slope and another net's. */
static void check_dense_backward(struct wa_fixture *fixture, struct wa_network *network,
                                 const struct operands *o, const struct activated *f)
{
    enum { FIRST, READOUT };
    struct wa_operations *operations = network->operations;
    const struct wa_model_layer *layers = network->model.layers;
    const struct wa_layout *out = &layers[FIRST].output;
    const struct wa_layout *to = &layers[FIRST].gradient;
    const struct wa_layout *top = &layers[READOUT].output;
    int batch = network->model.batch;
    float *error = wa_fixture_random(fixture, wa_fixture_layout_count(top, batch));
    float *other = wa_fixture_random(fixture, wa_fixture_layout_count(out, batch));
    cl_mem dz_above =
        wa_fixture_input(fixture, wa_fixture_pack(fixture, top, batch, error), top->floats);
    cl_mem slopes[] = {
        f->h, wa_fixture_input(fixture, wa_fixture_pack(fixture, out, batch, other), out->floats)};
    assert_int_equal(wa_operations_joins_backward(operations, READOUT),
                     fixture->engine.path == WA_PATH_CPU);
    assert_false(wa_operations_joins_backward(operations, FIRST)); /* nothing is below it */
    for (size_t i = 0; i < LENGTH(slopes) && fixture->engine.path == WA_PATH_CPU; i++) {
        cl_mem dz[] = {wa_fixture_output(fixture, to->floats),
                       wa_fixture_output(fixture, to->floats)};
        struct wa_gradient_source source = {.memory = wa_fixture_output(fixture, out->floats)};
        WA_FIXTURE_CHECK(fixture, wa_operations_backward(operations, READOUT, o->weights, NULL,
                                                         dz_above, source.memory, &fixture->err));
        WA_FIXTURE_CHECK(fixture,
                         wa_operations_activate_backward(operations, FIRST, source, f->h, slopes[i],
                                                         f->inverse, dz[0], &fixture->err));
        const struct wa_gradient_source joined = {.memory = wa_fixture_output(fixture, out->floats),
                                                  .weights_above = o->weights,
                                                  .dz_above = dz_above};
        uint64_t before = fixture->engine.launches;
        WA_FIXTURE_CHECK(fixture,
                         wa_operations_activate_backward(operations, FIRST, joined, f->h, slopes[i],
                                                         f->inverse, dz[1], &fixture->err));
        assert_int_equal(fixture->engine.launches - before, 1);
        expect_same(fixture, joined.memory, source.memory, out->floats);
        expect_same(fixture, dz[1], dz[0], to->floats);
    }
}

/* Rows and lanes that fill no whole block or vector, a lone row, more than a stretch of the inner index, no batch
 * norm. */
static void test_dense(void **state)
{
    static const struct wa_network_shape dense[] = {
        {.batch = 100, .channels = 1, .rows = 7, .columns = 9, .layers = {{1, 1, 33}}},
        {.batch = 20, .channels = 3, .rows = 3, .columns = 3, .layers = {{1, 1, 1}}},
        {.batch = 37, .channels = 1, .rows = 36, .columns = 36, .layers = {{1, 1, 21}}},
        {.batch = 257, .channels = 1, .rows = 5, .columns = 5, .layers = {{1, 1, 6}}},
        {.batch = 1, .channels = 1, .rows = 4, .columns = 4, .layers = {{1, 1, 8}}},
        {.batch = 50,
         .channels = 1,
         .rows = 4,
         .columns = 4,
         .layers = {{1, 1, 9}},
         .is_linear = true},
    };
    struct wa_fixture *fixture = *state;
    const int widths[] = {fixture->engine.vector_width, 8, 4};
    for (size_t i = 0; i < LENGTH(dense) * LENGTH(widths); i++) {
        wa_engine_use_vectors(&fixture->engine, widths[i % LENGTH(widths)]);
        struct wa_network_shape shape = dense[i / LENGTH(widths)];
        struct wa_network network;
        shape.classes = 3 + (int)(i % 2) * 300; /* and more than a stretch of the inner index */
        shape.is_flattened = true;
        wa_network_open(fixture, &shape, &network);
        wa_network_describe(fixture, &network, 0);
        struct operands o = make_operands(fixture, &network);
        struct activated f = check_forward(fixture, &network, &o, true);
        check_dense_backward(fixture, &network, &o, &f);
        wa_network_close(&network);
        wa_fixture_clear(fixture);
    }
    wa_engine_use_vectors(&fixture->engine, widths[0]);
}

/* With fewer registers, and lanes that do not fit them. */
static void test_other_vectors(void **state)
{
    struct wa_fixture *fixture = *state;
    int width = fixture->engine.vector_width;
    wa_engine_use_vectors(&fixture->engine, 8);
    check(fixture, &shapes[0], true);
    check(fixture, &shapes[1], true);
    check(fixture, &shapes[5], false);
    wa_engine_use_vectors(&fixture->engine, 4);
    check(fixture, &shapes[0], true);
    wa_engine_use_vectors(&fixture->engine, width);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WA_FIXTURE_TEST(test_few_values),
        WA_FIXTURE_TEST(test_more_values),
        WA_FIXTURE_TEST(test_dense),
        WA_FIXTURE_TEST(test_other_vectors),
    };
    return cmocka_run_group_tests(tests, wa_fixture_setup, wa_fixture_teardown);
}
