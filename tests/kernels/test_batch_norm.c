/* Batch norm per position with ReLU, its way back, the bias gradient and pooling against the
 * reference; positions that are constant over the batch are in test_constant_positions.c.
 *
 * Tolerances follow the rounding errors through the formulas (forward_bound, backward_bound), with
 * u = 2^-24 and wa_reference_rounding for sums.
 */
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
static const double epsilon = 1e-6;

/* What dense layers scale in their products, convolutions scale here. */
static double own_scale(const struct wa_model_layer *layer)
{
    return layer->is_dense ? 1.0 : (double)layer->scale;
}

/* ---- Forward -------------------------------------------------------------------------------- */

/* Errors of h and 1/sqrt(var + epsilon) at one position of values v. A value is rounded once, the
 * difference to the first one and to the mean are rounded sums; the variance has twice the relative
 * error of its terms; square root and division may have 3 and 2.5 ulp (OpenCL 1.2, 7.4). */
static void forward_bound(int batch, const double *v, const double *h, double inverse,
                          double *ret_h_bounds, double *ret_inverse_bound)
{
    double largest = 0.0;
    double spread = 0.0;
    for (int n = 0; n < batch; n++) {
        largest = fmax(largest, fabs(v[n]));
        spread = fmax(spread, fabs(v[n] - v[0]));
    }
    double sum = wa_reference_rounding((size_t)batch) + 4.0 * unit;
    double error = 2.0 * unit * largest + 2.0 * sum * spread;
    double total = 1.0 / (inverse * inverse);
    double variance = fmax(total - epsilon, 0.0);
    double variance_error = sum * variance + 2.0 * sqrt(variance) * error + error * error;
    double relative = variance_error / (2.0 * total) + 12.0 * unit;
    *ret_inverse_bound = inverse * relative;
    for (int n = 0; n < batch; n++) {
        ret_h_bounds[n] = inverse * error + fabs(h[n]) * (relative + 2.0 * unit);
    }
}

struct forward {
    double *v, *h, *a, *inverse;
    double *h_bounds, *inverse_bounds;
};

static struct forward expect_forward(struct wa_fixture *fixture, const struct wa_network *network,
                                     uint32_t l, const float *z, const float *weights)
{
    const struct wa_model_layer *layer = &network->model.layers[l];
    int batch = network->model.batch;
    size_t positions = wa_fixture_layout_count(&layer->output, 1);
    size_t count = positions * (size_t)batch;
    struct forward f = {.v = wa_fixture_widen(fixture, z, count),
                        .h = wa_fixture_allocate(fixture, count, sizeof(double)),
                        .a = wa_fixture_allocate(fixture, count, sizeof(double)),
                        .inverse = wa_fixture_allocate(fixture, positions, sizeof(double)),
                        .h_bounds = wa_fixture_allocate(fixture, count, sizeof(double)),
                        .inverse_bounds = wa_fixture_allocate(fixture, positions, sizeof(double))};
    for (size_t i = 0; i < count; i++) {
        size_t channel = i / (count / layer->shape.out_channels);
        f.v[i] = f.v[i] * own_scale(layer) + (double)weights[layer->bias_offset + channel];
    }
    bool is_linear = layer->shape.normalization == WA_NORMALIZATION_NONE;
    wa_reference_batch_norm(positions, batch, f.v, epsilon, f.h, f.inverse);
    for (size_t p = 0; p < positions; p++) {
        size_t first = p * (size_t)batch;
        forward_bound(batch, f.v + first, f.h + first, f.inverse[p], f.h_bounds + first,
                      &f.inverse_bounds[p]);
        f.inverse[p] = is_linear ? 1.0 : f.inverse[p];
    }
    for (size_t i = 0; is_linear && i < count; i++) {
        f.h[i] = f.v[i];
        f.h_bounds[i] = 2.0 * unit * fabs(f.v[i]);
    }
    memcpy(f.a, f.h, count * sizeof *f.a);
    if (layer->shape.activation == WA_ACTIVATION_RELU) {
        wa_reference_rectify(count, f.h, f.a);
    }
    return f;
}

/* h in place of z, the activity in a layout with another border than the layer's own. */
static void check_activate(struct wa_fixture *fixture, struct wa_network *network, uint32_t l,
                           const float *z, bool keep_h)
{
    const struct wa_model_layer *layer = &network->model.layers[l];
    const struct wa_layout *out = &layer->output;
    int batch = network->model.batch;
    size_t positions = wa_fixture_layout_count(out, 1);
    struct wa_layout a_layout =
        wa_layout_make(out->channels, out->rows, out->columns, out->lanes, keep_h ? 1 : 0, 2);
    float *weights = wa_fixture_random(fixture, network->model.parameter_count);
    cl_mem dev_weights = wa_fixture_input(fixture, weights, network->model.parameter_count);
    float *packed = wa_fixture_pack(fixture, out, batch, z);
    cl_mem dev_z = wa_fixture_input(fixture, packed, out->floats);
    cl_mem dev_a = wa_fixture_output(fixture, a_layout.floats);
    cl_mem dev_inverse = wa_fixture_output(fixture, positions);
    WA_FIXTURE_CHECK(fixture,
                     wa_operations_activate(network->operations, l, dev_weights, dev_z, keep_h,
                                            dev_a, &a_layout, dev_inverse, &fixture->err));
    struct forward f = expect_forward(fixture, network, l, z, weights);
    double *a = wa_fixture_take(fixture, "a", dev_a, &a_layout, batch);
    wa_fixture_compare(fixture, "a", positions * (size_t)batch, a, f.a, f.h_bounds);
    float *inverse = wa_fixture_read(fixture, dev_inverse, positions);
    wa_fixture_compare(fixture, "inverse", positions, wa_fixture_widen(fixture, inverse, positions),
                       f.inverse, f.inverse_bounds);
    wa_fixture_expect_tail(fixture, dev_inverse, positions);
    float *h = wa_fixture_read(fixture, dev_z, out->floats);
    if (!keep_h) {
        assert_memory_equal(h, packed, out->floats * sizeof *h);
        return;
    }
    wa_fixture_compare(fixture, "h", positions * (size_t)batch,
                       wa_fixture_unpack(fixture, out, batch, h), f.h, f.h_bounds);
}

/* ---- Backward ------------------------------------------------------------------------------- */

struct backward {
    float *g, *h, *slope_h, *inverse; /* dense */
    bool is_pooled;
};

static struct backward make_backward(struct wa_fixture *fixture, const struct wa_network *network,
                                     uint32_t l, bool is_pooled)
{
    const struct wa_model_layer *layer = &network->model.layers[l];
    size_t positions = wa_fixture_layout_count(&layer->output, 1);
    size_t batch = (size_t)network->model.batch;
    struct backward b = {.g = wa_fixture_random(fixture, positions * batch),
                         .h = wa_fixture_random(fixture, positions * batch),
                         .slope_h = wa_fixture_random(fixture, positions * batch),
                         .inverse = wa_fixture_random(fixture, positions),
                         .is_pooled = is_pooled};
    for (size_t p = 0; p < positions; p++) {
        bool is_linear = layer->shape.normalization == WA_NORMALIZATION_NONE;
        b.inverse[p] = is_linear ? 1.0f : fabsf(b.inverse[p]);
        b.slope_h[p * batch + p % batch] = 0.0f; /* whose slope is 0 */
    }
    return b;
}

/* dz and what rounding may do to it. `b->g` is of one position a channel where it is pooled. */
static void expect_backward(struct wa_fixture *fixture, const struct wa_network *network,
                            uint32_t l, const struct backward *b, double *ret_dz,
                            double *ret_bounds)
{
    const struct wa_model_layer *layer = &network->model.layers[l];
    const struct wa_layout *out = &layer->output;
    size_t positions = wa_fixture_layout_count(out, 1);
    size_t places = positions / (size_t)out->channels;
    size_t batch = (size_t)network->model.batch;
    size_t count = positions * batch;
    double *m = wa_fixture_widen(fixture, b->g, count);
    double *h = wa_fixture_widen(fixture, b->h, count);
    double *slope_h = wa_fixture_widen(fixture, b->slope_h, count);
    double *inverse = wa_fixture_widen(fixture, b->inverse, positions);
    for (size_t p = 0; p < positions; p++) {
        for (size_t n = 0; b->is_pooled && n < batch; n++) {
            m[p * batch + n] = (double)b->g[p / places * batch + n] / (double)places;
        }
        inverse[p] *= own_scale(layer);
    }
    if (layer->shape.activation == WA_ACTIVATION_RELU) {
        wa_reference_rectify_backward(count, m, slope_h, m);
    }
    wa_reference_batch_norm_backward(positions, (int)batch, m, h, inverse, ret_dz);
    bool is_linear = layer->shape.normalization == WA_NORMALIZATION_NONE;
    for (size_t i = 0; i < count; i++) {
        const double *ms = m + i / batch * batch;
        const double *hs = h + i / batch * batch;
        double mean = 0.0;
        double mean_product = 0.0;
        for (size_t n = 0; n < batch && !is_linear; n++) {
            mean += fabs(ms[n]) / (double)batch;
            mean_product += fabs(ms[n] * hs[n]) / (double)batch;
        }
        double means = mean + fabs(h[i]) * mean_product;
        ret_bounds[i] = inverse[i / batch] * ((wa_reference_rounding(batch) + 4.0 * unit) * means +
                                              6.0 * unit * (fabs(m[i]) + means));
        ret_dz[i] = is_linear ? inverse[i / batch] * m[i] : ret_dz[i];
    }
}

static void check_bias(struct wa_fixture *fixture, struct wa_network *network, uint32_t l,
                       cl_mem dev_dz, const double *dz)
{
    const struct wa_model_layer *layer = &network->model.layers[l];
    int channels = layer->output.channels;
    size_t places = wa_fixture_layout_count(&layer->output, 1) / (size_t)channels;
    float *x = wa_fixture_allocate(fixture, layer->input.floats, sizeof *x);
    cl_mem dev_x = wa_fixture_input(fixture, x, layer->input.floats);
    cl_mem gradients = wa_fixture_output(fixture, network->model.parameter_count);
    WA_FIXTURE_CHECK(fixture, wa_operations_weight_gradient(network->operations, l, dev_x, dev_dz,
                                                            gradients, &fixture->err));
    double *expected = wa_fixture_allocate(fixture, (size_t)channels, sizeof *expected);
    double *bounds = wa_fixture_allocate(fixture, (size_t)channels, sizeof *bounds);
    wa_reference_bias_gradient(channels, places, network->model.batch, dz, expected, bounds);
    for (int c = 0; c < channels; c++) {
        expected[c] /= own_scale(layer);
        bounds[c] *=
            wa_reference_rounding(places * (size_t)network->model.batch) / own_scale(layer);
    }
    float *read = wa_fixture_read(fixture, gradients, network->model.parameter_count);
    wa_fixture_compare(fixture, "bias gradient", (size_t)channels,
                       wa_fixture_widen(fixture, read + layer->bias_offset, (size_t)channels),
                       expected, bounds);
}

static cl_mem send(struct wa_fixture *fixture, const struct wa_layout *layout, int batch,
                   const float *dense)
{
    return wa_fixture_input(fixture, wa_fixture_pack(fixture, layout, batch, dense),
                            layout->floats);
}

static void check_activate_backward(struct wa_fixture *fixture, struct wa_network *network,
                                    uint32_t l, const struct backward *b)
{
    const struct wa_model_layer *layer = &network->model.layers[l];
    const struct wa_layout *out = &layer->output;
    int batch = network->model.batch;
    size_t count = wa_fixture_layout_count(out, batch);
    struct wa_layout pooled = wa_layout_make(out->channels, 1, 1, out->lanes, 0, 0);
    struct wa_gradient_source source = {
        .memory = send(fixture, b->is_pooled ? &pooled : out, batch, b->g),
        .is_pooled = b->is_pooled};
    cl_mem h = send(fixture, out, batch, b->h);
    cl_mem slope_h = b->slope_h == b->h ? h : send(fixture, out, batch, b->slope_h);
    cl_mem inverse = wa_fixture_input(fixture, b->inverse, wa_fixture_layout_count(out, 1));
    cl_mem dev_dz = wa_fixture_output(fixture, layer->gradient.floats);
    WA_FIXTURE_CHECK(fixture,
                     wa_operations_activate_backward(network->operations, l, source, h, slope_h,
                                                     inverse, dev_dz, &fixture->err));
    double *expected = wa_fixture_allocate(fixture, count, sizeof *expected);
    double *bounds = wa_fixture_allocate(fixture, count, sizeof *bounds);
    expect_backward(fixture, network, l, b, expected, bounds);
    double *dz = wa_fixture_take(fixture, "dz", dev_dz, &layer->gradient, batch);
    wa_fixture_compare(fixture, "dz", count, dz, expected, bounds);
    /* the next product reads zeros around */
    float *values = wa_fixture_allocate(fixture, count, sizeof *values);
    for (size_t i = 0; i < count; i++) {
        values[i] = (float)dz[i];
    }
    check_bias(fixture, network, l, send(fixture, &layer->gradient, batch, values), dz);
}

/* ---- Pooling -------------------------------------------------------------------------------- */

static void check_pool(struct wa_fixture *fixture, struct wa_network *network, uint32_t l)
{
    const struct wa_layout *out = &network->model.layers[l].output;
    int batch = network->model.batch;
    size_t channels = (size_t)out->channels;
    size_t places = wa_fixture_layout_count(out, 1) / channels;
    struct wa_layout a_layout =
        wa_layout_make(out->channels, out->rows, out->columns, out->lanes, 1, 0);
    struct wa_layout pooled = wa_layout_make(out->channels, 1, 1, out->lanes, 0, 0);
    pooled.floats = channels * (size_t)out->lanes; /* no more is owned */
    float *a = wa_fixture_random(fixture, channels * places * (size_t)batch);
    cl_mem dev_pooled = wa_fixture_output(fixture, pooled.floats);
    WA_FIXTURE_CHECK(fixture,
                     wa_operations_pool(network->operations, l, send(fixture, &a_layout, batch, a),
                                        &a_layout, dev_pooled, &fixture->err));
    size_t count = channels * (size_t)batch;
    double *wide = wa_fixture_widen(fixture, a, count * places);
    double *expected = wa_fixture_allocate(fixture, count, sizeof *expected);
    double *bounds = wa_fixture_allocate(fixture, count, sizeof *bounds);
    wa_reference_pool(out->channels, places, batch, wide, expected);
    for (size_t i = 0; i < count; i++) {
        bounds[i] = wa_reference_rounding(places) + 2.0 * unit; /* |a| <= 1 */
    }
    wa_fixture_compare(fixture, "pooled", count,
                       wa_fixture_take(fixture, "pooled", dev_pooled, &pooled, batch), expected,
                       bounds);
}

/* ---- Tests ---------------------------------------------------------------------------------- */

static void check_shape(struct wa_fixture *fixture, const struct wa_network_shape *shape)
{
    struct wa_network network;
    wa_network_open(fixture, shape, &network);
    for (uint32_t l = 0; l + 1 < network.model.layer_count; l++) {
        wa_network_describe(fixture, &network, l);
        const struct wa_layout *out = &network.model.layers[l].output;
        float *z = wa_fixture_random(fixture, wa_fixture_layout_count(out, shape->batch));
        check_activate(fixture, &network, l, z, true);
        check_activate(fixture, &network, l, z, false);
        struct backward two_nets = make_backward(fixture, &network, l, false);
        check_activate_backward(fixture, &network, l, &two_nets);
        struct backward pooled = make_backward(fixture, &network, l, true);
        pooled.h = pooled.slope_h;
        check_activate_backward(fixture, &network, l, &pooled);
        check_pool(fixture, &network, l);
    }
    wa_network_close(&network);
    wa_fixture_clear(fixture);
}

static const struct wa_network_shape shapes[] = {
    {1, 2, 7, 7, {{3, 1, 7}, {3, 2, 1}}, 7, false, false},
    {20, 1, 13, 9, {{2, 1, 33}, {3, 4, 7}, {1, 2, 33}}, 7, false, false},
    {100, 1, 8, 8, {{3, 1, 7}, {5, 2, 33}}, 1, false, false},
    {20, 7, 1, 1, {{2, 1, 257}}, 7, false, false},
    {20, 7, 3, 3, {{1, 1, 33}, {1, 1, 7}}, 7, true, false},
    {3, 1, 5, 2, {{3, 1, 7}}, 7, false, true},
};

static void test_odd_sizes(void **state)
{
    for (size_t i = 0; i < LENGTH(shapes); i++) {
        check_shape(*state, &shapes[i]);
    }
}

/* Where the batch ends within vectors, where lanes past the batch fill vectors of their own, and where
 * a batch has more vectors than there are registers. */
static void test_batches_and_vectors(void **state)
{
    static const int cases[][2] = {{16, 5}, {16, 16}, {16, 300}, {8, 1},  {8, 5},
                                   {8, 17}, {4, 1},   {4, 5},    {4, 17}, {4, 100}};
    struct wa_fixture *fixture = *state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        wa_engine_use_vectors(&fixture->engine, cases[i][0]);
        const struct wa_network_shape shape = {cases[i][1], 1, 3, 2, {{2, 1, 7}}, 1, false, false};
        check_shape(fixture, &shape);
    }
}

/* No cache keeps anything: what other kernels read goes past it. */
static void test_stores_past_the_caches(void **state)
{
    static const int widths[] = {16, 8, 4};
    struct wa_fixture *fixture = *state;
    fixture->engine.cache_bytes = 0;
    for (size_t w = 0; w < LENGTH(widths); w++) {
        wa_engine_use_vectors(&fixture->engine, widths[w]);
        for (size_t i = 0; i < 4; i++) {
            check_shape(fixture, &shapes[i]);
        }
    }
}

static void test_nan_comes_through(void **state)
{
    struct wa_fixture *fixture = *state;
    struct wa_network network;
    wa_network_open(fixture, &shapes[1], &network);
    size_t count = wa_fixture_layout_count(&network.model.layers[0].output, shapes[1].batch);
    float *z = wa_fixture_random(fixture, count);
    z[count / 2] = NAN;
    check_activate(fixture, &network, 0, z, true);
    check_activate(fixture, &network, 0, z, false);
    struct backward b = make_backward(fixture, &network, 0, false);
    b.g[count / 3] = NAN;
    b.slope_h[count / 3] = 1.0f;
    b.h[count / 5] = NAN;
    b.slope_h[count / 7] = NAN;
    b.inverse[3] = NAN;
    check_activate_backward(fixture, &network, 0, &b);
    wa_network_close(&network);
}

static void test_infinity_is_not_hidden(void **state)
{
    struct wa_fixture *fixture = *state;
    struct wa_network network;
    wa_network_open(fixture, &shapes[1], &network);
    size_t count = wa_fixture_layout_count(&network.model.layers[0].output, shapes[1].batch);
    float *z = wa_fixture_random(fixture, count);
    z[count / 2] = INFINITY; /* minus the mean, which is infinite too: NaN */
    check_activate(fixture, &network, 0, z, true);
    wa_network_close(&network);
}

static void test_same_bits_twice(void **state)
{
    struct wa_fixture *fixture = *state;
    struct wa_network network;
    wa_network_open(fixture, &shapes[2], &network);
    const struct wa_layout *out = &network.model.layers[0].output;
    const struct wa_layout *in = &network.model.layers[1].input;
    size_t positions = wa_fixture_layout_count(out, 1);
    float *z = wa_fixture_random(fixture, wa_fixture_layout_count(out, 100));
    float *weights = wa_fixture_random(fixture, network.model.parameter_count);
    cl_mem dev_weights = wa_fixture_input(fixture, weights, network.model.parameter_count);
    float *a[2];
    float *inverse[2];
    for (int i = 0; i < 2; i++) {
        cl_mem dev_a = wa_fixture_output(fixture, in->floats);
        cl_mem dev_inverse = wa_fixture_output(fixture, positions);
        WA_FIXTURE_CHECK(fixture, wa_operations_activate(network.operations, 0, dev_weights,
                                                         send(fixture, out, 100, z), true, dev_a,
                                                         in, dev_inverse, &fixture->err));
        a[i] = wa_fixture_read(fixture, dev_a, in->floats);
        inverse[i] = wa_fixture_read(fixture, dev_inverse, positions);
    }
    assert_memory_equal(a[0], a[1], in->floats * sizeof(float));
    assert_memory_equal(inverse[0], inverse[1], positions * sizeof(float));
    wa_network_close(&network);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WA_FIXTURE_TEST(test_odd_sizes),
        WA_FIXTURE_TEST(test_batches_and_vectors),
        WA_FIXTURE_TEST(test_stores_past_the_caches),
        WA_FIXTURE_TEST(test_nan_comes_through),
        WA_FIXTURE_TEST(test_infinity_is_not_hidden),
        WA_FIXTURE_TEST(test_same_bits_twice),
    };
    return cmocka_run_group_tests(tests, wa_fixture_setup, wa_fixture_teardown);
}
