/* Convolution forward, backward to the data and backward to the weights, and dense layers, against
 * the reference at odd sizes.
 *
 * Tolerance: wa_reference_rounding of the number of terms, times the sum of their absolute values,
 * for each value of the output; wa_reference_winograd_bound where Winograd's products may be used.
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
#include "winograd_stride2_bound.h"

/* A layer's operands, dense and on the device, and its outputs. */
struct operands {
    size_t x_count, z_count, w_count;
    float *x, *dz, *weights; /* weights: of the whole set */
    cl_mem dev_x, dev_dz, dev_weights, dev_forward, dev_backward;
};

struct outputs {
    cl_mem z, g, gradients;
};

static cl_mem arrange(struct wa_fixture *fixture, struct wa_network *network, cl_mem weights,
                      bool is_backward)
{
    size_t floats = wa_operations_arranged_floats(network->operations, is_backward);
    cl_mem arranged = wa_fixture_output(fixture, floats);
    WA_FIXTURE_CHECK(fixture, wa_operations_arrange(network->operations, weights, is_backward,
                                                    arranged, &fixture->err));
    wa_fixture_expect_tail(fixture, arranged, floats);
    return arranged;
}

/* Brings x, dz and the weights to the device. */
static void send(struct wa_fixture *fixture, struct wa_network *network, uint32_t l,
                 struct operands *o)
{
    const struct wa_model_layer *layer = &network->model.layers[l];
    int batch = network->model.batch;
    float *x = wa_fixture_pack(fixture, &layer->input, batch, o->x);
    float *dz = wa_fixture_pack(fixture, &layer->gradient, batch, o->dz);
    o->dev_x = wa_fixture_input(fixture, x, layer->input.floats);
    o->dev_dz = wa_fixture_input(fixture, dz, layer->gradient.floats);
    o->dev_weights = wa_fixture_input(fixture, o->weights, network->model.parameter_count);
    o->dev_forward = arrange(fixture, network, o->dev_weights, false);
    o->dev_backward = arrange(fixture, network, o->dev_weights, true);
}

static struct operands make_operands(struct wa_fixture *fixture, const struct wa_network *network,
                                     uint32_t l)
{
    const struct wa_model_layer *layer = &network->model.layers[l];
    int batch = network->model.batch;
    struct operands o = {.x_count = wa_fixture_layout_count(&layer->input, batch),
                         .z_count = wa_fixture_layout_count(&layer->output, batch),
                         .w_count = layer->weight_count};
    o.x = wa_fixture_random(fixture, o.x_count);
    o.dz = wa_fixture_random(fixture, o.z_count);
    o.weights = wa_fixture_random(fixture, network->model.parameter_count);
    return o;
}

/* The gradient at a layer's input lies without a border. */
static struct wa_layout input_gradient_layout(const struct wa_network *network, uint32_t l)
{
    const struct wa_layout *in = &network->model.layers[l].input;
    return wa_layout_make(in->channels, in->rows, in->columns, in->lanes, 0, 0);
}

static struct outputs run(struct wa_fixture *fixture, struct wa_network *network, uint32_t l,
                          const struct operands *o)
{
    struct wa_layout g = input_gradient_layout(network, l);
    struct outputs out = {.z = wa_fixture_output(fixture, network->model.layers[l].output.floats),
                          .g = wa_fixture_output(fixture, g.floats),
                          .gradients = wa_fixture_output(fixture, network->model.parameter_count)};
    struct wa_operations *operations = network->operations;
    WA_FIXTURE_CHECK(fixture, wa_operations_forward(operations, l, o->dev_weights, o->dev_forward,
                                                    o->dev_x, out.z, &fixture->err));
    WA_FIXTURE_CHECK(fixture, wa_operations_backward(operations, l, o->dev_weights, o->dev_backward,
                                                     o->dev_dz, out.g, &fixture->err));
    WA_FIXTURE_CHECK(fixture, wa_operations_weight_gradient(operations, l, o->dev_x, o->dev_dz,
                                                            out.gradients, &fixture->err));
    return out;
}

/* Dense layers scale inside their products, convolutions in batch norm. */
static void scale_and_bound(const struct wa_model_layer *layer, size_t terms, size_t count,
                            double *values, double *magnitudes)
{
    double scale = layer->is_dense ? (double)layer->scale : 1.0;
    for (size_t i = 0; i < count; i++) {
        values[i] *= scale;
        magnitudes[i] *= scale * wa_reference_rounding(terms);
    }
}

static size_t square(int a)
{
    return (size_t)a * (size_t)a;
}

/* Winograd's products may serve 3 x 3 kernels of stride 2 on images of even sides. */
static bool may_be_stride2(const struct wa_fixture *fixture, const struct wa_model_layer *layer)
{
    const struct wa_layer *s = &layer->shape;
    return fixture->engine.convolution != WA_CONVOLUTION_DIRECT && s->kernel == 3 &&
           s->stride == 2 && s->in_height % 2 == 0 && s->in_width % 2 == 0 &&
           wa_reference_stride2_can((int)s->out_height) &&
           wa_reference_stride2_can((int)s->out_width);
}

/* And those of stride 1 on images of whole 4 x 4 tiles. */
static bool may_be_winograd(const struct wa_fixture *fixture, const struct wa_model_layer *layer)
{
    const struct wa_layer *s = &layer->shape;
    return fixture->engine.convolution != WA_CONVOLUTION_DIRECT && s->kernel == 3 &&
           s->stride == 1 && s->in_height % 4 == 0 && s->in_width % 4 == 0;
}

static void compare_forward(struct wa_fixture *fixture, struct wa_network *network, uint32_t l,
                            const struct operands *o, const struct outputs *out)
{
    const struct wa_model_layer *layer = &network->model.layers[l];
    struct wa_reference_shape s = wa_network_reference_shape(network, l);
    double *x = wa_fixture_widen(fixture, o->x, o->x_count);
    double *w = wa_fixture_widen(fixture, o->weights + layer->weight_offset, o->w_count);
    double *z = wa_fixture_allocate(fixture, o->z_count, sizeof *z);
    double *bounds = wa_fixture_allocate(fixture, o->z_count, sizeof *bounds);
    wa_reference_forward(&s, w, x, z, bounds);
    scale_and_bound(layer, square(s.kernel) * (size_t)s.in_channels, o->z_count, z, bounds);
    if (may_be_winograd(fixture, layer)) {
        wa_reference_winograd_bound(&s, w, x, false, bounds);
    } else if (may_be_stride2(fixture, layer)) {
        wa_reference_stride2_bound(&s, w, x, false, bounds);
    }
    double *actual = wa_fixture_take(fixture, "z", out->z, &layer->output, s.batch);
    wa_fixture_compare(fixture, "z", o->z_count, actual, z, bounds);
}

static void compare_backward(struct wa_fixture *fixture, struct wa_network *network, uint32_t l,
                             const struct operands *o, const struct outputs *out)
{
    const struct wa_model_layer *layer = &network->model.layers[l];
    struct wa_reference_shape s = wa_network_reference_shape(network, l);
    struct wa_layout g_layout = input_gradient_layout(network, l);
    double *dz = wa_fixture_widen(fixture, o->dz, o->z_count);
    double *w = wa_fixture_widen(fixture, o->weights + layer->weight_offset, o->w_count);
    double *g = wa_fixture_allocate(fixture, o->x_count, sizeof *g);
    double *bounds = wa_fixture_allocate(fixture, o->x_count, sizeof *bounds);
    wa_reference_backward(&s, w, dz, g, bounds);
    size_t taps = square(wa_reference_out_size(s.kernel, s.stride));
    scale_and_bound(layer, taps * (size_t)s.out_channels, o->x_count, g, bounds);
    if (may_be_winograd(fixture, layer)) {
        wa_reference_winograd_bound(&s, w, dz, true, bounds);
    } else if (may_be_stride2(fixture, layer)) {
        wa_reference_stride2_bound(&s, w, dz, true, bounds);
    }
    double *actual = wa_fixture_take(fixture, "g", out->g, &g_layout, s.batch);
    wa_fixture_compare(fixture, "g", o->x_count, actual, g, bounds);
}

static void compare_gradient(struct wa_fixture *fixture, struct wa_network *network, uint32_t l,
                             const struct operands *o, const struct outputs *out)
{
    const struct wa_model_layer *layer = &network->model.layers[l];
    struct wa_reference_shape s = wa_network_reference_shape(network, l);
    size_t parameters = network->model.parameter_count;
    double *x = wa_fixture_widen(fixture, o->x, o->x_count);
    double *dz = wa_fixture_widen(fixture, o->dz, o->z_count);
    double *dw = wa_fixture_allocate(fixture, o->w_count, sizeof *dw);
    double *bounds = wa_fixture_allocate(fixture, o->w_count, sizeof *bounds);
    wa_reference_weight_gradient(&s, x, dz, dw, bounds);
    size_t terms = wa_fixture_layout_count(&layer->output, s.batch) / (size_t)s.out_channels;
    scale_and_bound(layer, terms, o->w_count, dw, bounds);
    if (may_be_winograd(fixture, layer)) {
        wa_reference_winograd_gradient_bound(&s, x, dz, bounds);
    } else if (may_be_stride2(fixture, layer)) {
        wa_reference_stride2_gradient_bound(&s, x, dz, bounds);
    }
    float *gradients = wa_fixture_read(fixture, out->gradients, parameters);
    double *actual = wa_fixture_widen(fixture, gradients + layer->weight_offset, o->w_count);
    wa_fixture_compare(fixture, "weight gradient", o->w_count, actual, dw, bounds);
    size_t end = layer->bias_offset + layer->shape.out_channels;
    for (size_t i = 0; i < parameters; i++) {
        bool is_own = i >= layer->weight_offset && i < end;
        if (wa_fixture_is_pattern(gradients[i]) == is_own) {
            print_error("gradient %zu of %zu: %s\n", i, parameters,
                        is_own ? "not written" : "of another layer, written");
            fail();
        }
    }
    wa_fixture_expect_tail(fixture, out->gradients, parameters);
}

static void check_layer(struct wa_fixture *fixture, struct wa_network *network, uint32_t l,
                        struct operands *o)
{
    wa_network_describe(fixture, network, l);
    send(fixture, network, l, o);
    struct outputs out = run(fixture, network, l, o);
    compare_forward(fixture, network, l, o, &out);
    compare_backward(fixture, network, l, o, &out);
    compare_gradient(fixture, network, l, o, &out);
}

static void check_shape(struct wa_fixture *fixture, const struct wa_network_shape *shape)
{
    struct wa_network network;
    wa_network_open(fixture, shape, &network);
    for (uint32_t l = 0; l < network.model.layer_count; l++) {
        struct operands o = make_operands(fixture, &network, l);
        check_layer(fixture, &network, l, &o);
    }
    wa_network_close(&network);
    wa_fixture_clear(fixture);
}

/* ---- Sizes ---------------------------------------------------------------------------------- */

static const int image_sizes[][2] = {{1, 1}, {7, 7}, {8, 8}, {13, 9}};
static const int kernels[] = {1, 2, 3, 5};
static const int strides[] = {1, 2, 4};
/* channels, outputs, batch: all are met with every kernel in turn */
static const int sizes[][3] = {{1, 7, 20},   {7, 33, 1},   {33, 7, 20}, {7, 1, 100},
                               {33, 33, 20}, {1, 33, 100}, {33, 1, 1}};

#define LENGTH(array) (sizeof(array) / sizeof *(array))

static void test_odd_sizes(void **state)
{
    size_t turn = 0;
    for (size_t k = 0; k < LENGTH(kernels); k++) {
        for (size_t s = 0; s < LENGTH(strides); s++) {
            for (size_t i = 0; i < LENGTH(image_sizes); i++) {
                const int *size = sizes[turn++ % LENGTH(sizes)];
                const struct wa_network_shape shape = {
                    .batch = size[2],
                    .channels = size[0],
                    .rows = image_sizes[i][0],
                    .columns = image_sizes[i][1],
                    .layers = {{kernels[k], strides[s], size[1]}},
                    .classes = 7};
                check_shape(*state, &shape);
            }
        }
    }
}

static void test_many_channels(void **state)
{
    static const struct wa_network_shape shapes[] = {
        {20, 257, 8, 8, {{3, 1, 7}}, 7, false, false},
        {20, 7, 13, 9, {{3, 2, 257}}, 7, false, false},
        {1, 257, 7, 7, {{3, 2, 257}}, 33, false, false},
        {1, 257, 7, 7, {{1, 1, 33}}, 1, false, false},
        {20, 257, 1, 1, {{2, 1, 33}}, 257, false, false},
    };
    for (size_t i = 0; i < LENGTH(shapes); i++) {
        check_shape(*state, &shapes[i]);
    }
}

/* Each layer's weights, tables and gradients lie behind another's. */
static void test_layers_of_a_network(void **state)
{
    static const struct wa_network_shape shapes[] = {
        {20, 3, 13, 9, {{3, 1, 7}, {5, 2, 17}, {2, 4, 9}}, 10, false, false},
        {20, 1, 14, 14, {{3, 1, 8}, {3, 2, 8}, {3, 2, 8}}, 10, false, false},
        {20, 2, 9, 13, {{4, 3, 5}, {1, 2, 7}}, 3, false, false},
    };
    for (size_t i = 0; i < LENGTH(shapes); i++) {
        check_shape(*state, &shapes[i]);
    }
}

static void test_dense_layers(void **state)
{
    static const struct wa_network_shape shapes[] = {
        {20, 1, 7, 7, {{1, 1, 33}, {1, 1, 7}}, 10, true, false},
        {1, 3, 5, 4, {{1, 1, 257}}, 7, true, false},
        {100, 7, 1, 1, {{1, 1, 33}}, 1, true, false},
    };
    for (size_t i = 0; i < LENGTH(shapes); i++) {
        check_shape(*state, &shapes[i]);
    }
}

/* ---- Winograd ------------------------------------------------------------------------------- */

static const struct wa_network_shape winograd_shapes[] = {
    {20, 1, 4, 4, {{3, 1, 7}, {3, 1, 1}}, 7, false, false},
    {1, 7, 8, 12, {{3, 1, 33}}, 7, false, false},
    {100, 3, 12, 8, {{3, 1, 17}}, 7, false, false},
    {20, 33, 8, 8, {{3, 1, 33}, {3, 1, 49}}, 7, false, false},
    {20, 7, 8, 8, {{3, 2, 8}, {3, 1, 8}}, 7, false, false},
    {20, 300, 4, 8, {{3, 1, 20}}, 7, false, false}, /* channels in two blocks */
    /* stride 2: tiles of four, of three, of both in each direction, one after the other */
    {20, 7, 8, 16, {{3, 2, 33}}, 7, false, false},
    {1, 33, 6, 12, {{3, 2, 7}}, 7, false, false},
    {100, 3, 14, 28, {{3, 2, 17}, {3, 2, 9}}, 7, false, false},
    {1, 300, 14, 8, {{3, 2, 20}}, 7, false, false},
    {20, 33, 16, 16, {{3, 2, 33}, {3, 2, 33}}, 7, false, false},
};

static void test_winograd(void **state)
{
    static const enum wa_convolution_choice choices[] = {WA_CONVOLUTION_WINOGRAD,
                                                         WA_CONVOLUTION_AUTO};
    struct wa_fixture *fixture = *state;
    for (size_t c = 0; c < LENGTH(choices); c++) {
        fixture->engine.convolution = choices[c];
        for (size_t i = 0; i < LENGTH(winograd_shapes); i++) {
            check_shape(fixture, &winograd_shapes[i]);
        }
    }
}

static void test_winograd_on_other_vectors(void **state)
{
    static const int widths[] = {8, 4};
    struct wa_fixture *fixture = *state;
    fixture->engine.convolution = WA_CONVOLUTION_WINOGRAD;
    for (size_t w = 0; w < LENGTH(widths); w++) {
        wa_engine_use_vectors(&fixture->engine, widths[w]);
        check_shape(fixture, &winograd_shapes[3]);
    }
}

/* ---- Other devices -------------------------------------------------------------------------- */

/* One batch: batch norm is compiled for each. */
static const struct wa_network_shape portable_shapes[] = {
    {20, 33, 8, 8, {{3, 1, 33}}, 7, false, false},
    {20, 33, 13, 9, {{5, 2, 7}}, 7, false, false},
    {20, 1, 13, 9, {{3, 1, 7}, {2, 2, 9}}, 33, false, false},
    {20, 7, 7, 7, {{3, 4, 33}}, 7, false, false},
};

static void test_other_vectors(void **state)
{
    static const int widths[] = {16, 8, 4};
    struct wa_fixture *fixture = *state;
    for (size_t w = 0; w < LENGTH(widths); w++) {
        wa_engine_use_vectors(&fixture->engine, widths[w]);
        for (size_t i = 0; i < LENGTH(portable_shapes); i++) {
            check_shape(fixture, &portable_shapes[i]);
        }
    }
}

/* Right results or a clear refusal: never more than the device has (PoCL aborts the process). */
static void test_little_local_memory(void **state)
{
    static const size_t local_bytes[] = {32768, 8192, 0};
    struct wa_fixture *fixture = *state;
    for (size_t b = 0; b < LENGTH(local_bytes); b++) {
        size_t refused = 0;
        fixture->engine.local_bytes = local_bytes[b];
        for (size_t i = 0; i < LENGTH(portable_shapes); i++) {
            struct wa_network network;
            fixture->err = (struct wa_error){0};
            wa_status status = wa_network_try(fixture, &portable_shapes[i], &network);
            if (status != WA_OK) {
                assert_int_equal(status, WA_E_UNSUPPORTED);
                assert_non_null(strstr(fixture->err.message, "local memory"));
                refused++;
                continue;
            }
            wa_network_close(&network);
            check_shape(fixture, &portable_shapes[i]);
        }
        assert_true(local_bytes[b] < 32768 || refused == 0);
        assert_true(local_bytes[b] > 0 || refused == LENGTH(portable_shapes));
    }
}

/* ---- Values --------------------------------------------------------------------------------- */

/* Winograd spreads a NaN over its tiles. */
static void check_nan(struct wa_fixture *fixture, enum wa_convolution_choice convolution)
{
    fixture->engine.convolution = convolution;
    for (size_t i = 0; i < LENGTH(portable_shapes); i++) {
        struct wa_network network;
        wa_network_open(fixture, &portable_shapes[i], &network);
        for (uint32_t l = 0; l < network.model.layer_count; l++) {
            struct operands o = make_operands(fixture, &network, l);
            o.x[wa_rng_randint(&fixture->rng, (uint32_t)o.x_count)] = NAN;
            o.dz[wa_rng_randint(&fixture->rng, (uint32_t)o.z_count)] = NAN;
            check_layer(fixture, &network, l, &o);
        }
        wa_network_close(&network);
        wa_fixture_clear(fixture);
    }
}

static void test_nan_comes_through(void **state)
{
    check_nan(*state, WA_CONVOLUTION_DIRECT);
    check_nan(*state, WA_CONVOLUTION_WINOGRAD);
}

static void expect_same_bits(struct wa_fixture *fixture, cl_mem a, cl_mem b, size_t floats)
{
    assert_memory_equal(wa_fixture_read(fixture, a, floats), wa_fixture_read(fixture, b, floats),
                        floats * sizeof(float));
}

static void test_same_bits_twice(void **state)
{
    struct wa_fixture *fixture = *state;
    for (size_t i = 0; i < LENGTH(portable_shapes); i++) {
        struct wa_network network;
        wa_network_open(fixture, &portable_shapes[i], &network);
        struct operands o = make_operands(fixture, &network, 0);
        send(fixture, &network, 0, &o);
        struct outputs first = run(fixture, &network, 0, &o);
        struct outputs second = run(fixture, &network, 0, &o);
        expect_same_bits(fixture, first.z, second.z, network.model.layers[0].output.floats);
        expect_same_bits(fixture, first.g, second.g, input_gradient_layout(&network, 0).floats);
        expect_same_bits(fixture, first.gradients, second.gradients, network.model.parameter_count);
        wa_network_close(&network);
        wa_fixture_clear(fixture);
    }
}

static int reset_direct(void **state)
{
    struct wa_fixture *fixture = *state;
    (void)wa_fixture_reset(state);
    fixture->engine.convolution = WA_CONVOLUTION_DIRECT;
    return 0;
}

#define DIRECT_TEST(test) cmocka_unit_test_setup_teardown(test, reset_direct, wa_fixture_clear_test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DIRECT_TEST(test_odd_sizes),
        DIRECT_TEST(test_many_channels),
        DIRECT_TEST(test_layers_of_a_network),
        WA_FIXTURE_TEST(test_dense_layers),
        WA_FIXTURE_TEST(test_winograd),
        WA_FIXTURE_TEST(test_winograd_on_other_vectors),
        DIRECT_TEST(test_other_vectors),
        DIRECT_TEST(test_little_local_memory),
        WA_FIXTURE_TEST(test_nan_comes_through),
        WA_FIXTURE_TEST(test_same_bits_twice),
    };
    return cmocka_run_group_tests(tests, wa_fixture_setup, wa_fixture_teardown);
}
