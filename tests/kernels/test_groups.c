/* The GPU path in work-groups of other sizes than this device's own: what devices with small groups
 * or little local memory run. Sums of a convolution have one order whatever the tile, so forward
 * passes agree bit for bit; what follows batch norm agrees up to rounding.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "network_fixture.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* What the first layer's operations give; counts of floats. */
struct results {
    size_t z_count, g_count, w_count, pooled_count;
    float *z, *h, *g, *weight_gradient, *pooled;
};

/* From z: h in its place, what is pooled of its activity, and dz of z as the gradient. */
static void run_batch_norm(struct wa_fixture *fixture, struct wa_network *network, cl_mem weights,
                           cl_mem z, cl_mem dz, struct results *r)
{
    struct wa_operations *operations = network->operations;
    const struct wa_layout *out = &network->model.layers[0].output;
    cl_mem inverse = wa_fixture_output(fixture, r->z_count / (size_t)out->lanes);
    cl_mem a = wa_fixture_output(fixture, out->floats);
    cl_mem pooled = wa_fixture_output(fixture, r->pooled_count);
    WA_FIXTURE_CHECK(fixture, wa_operations_activate(operations, 0, weights, z, true, a, out,
                                                     inverse, &fixture->err));
    WA_FIXTURE_CHECK(fixture, wa_operations_pool(operations, 0, a, out, pooled, &fixture->err));
    struct wa_gradient_source source = {.memory = wa_fixture_input(fixture, r->z, r->z_count)};
    WA_FIXTURE_CHECK(fixture, wa_operations_activate_backward(operations, 0, source, z, z, inverse,
                                                              dz, &fixture->err));
    r->h = wa_fixture_read(fixture, z, r->z_count);
    r->pooled = wa_fixture_read(fixture, pooled, r->pooled_count);
}

static void run_convolution(struct wa_fixture *fixture, struct wa_network *network,
                            struct results *r)
{
    struct wa_operations *operations = network->operations;
    const struct wa_model_layer *layer = &network->model.layers[0];
    const struct wa_layout *in = &layer->input;
    float *values = wa_fixture_random(fixture, wa_fixture_layout_count(in, network->model.batch));
    float *packed = wa_fixture_pack(fixture, in, network->model.batch, values);
    cl_mem x = wa_fixture_input(fixture, packed, in->floats);
    size_t parameters = network->model.parameter_count;
    cl_mem weights = wa_fixture_input(fixture, wa_fixture_random(fixture, parameters), parameters);
    cl_mem arranged[2];
    for (int direction = 0; direction < 2; direction++) {
        bool is_backward = direction == 1;
        arranged[direction] =
            wa_fixture_output(fixture, wa_operations_arranged_floats(operations, is_backward));
        WA_FIXTURE_CHECK(fixture, wa_operations_arrange(operations, weights, is_backward,
                                                        arranged[direction], &fixture->err));
    }
    cl_mem z = wa_fixture_output(fixture, layer->output.floats);
    WA_FIXTURE_CHECK(
        fixture, wa_operations_forward(operations, 0, weights, arranged[0], x, z, &fixture->err));
    r->z = wa_fixture_read(fixture, z, r->z_count);
    float *zeros = wa_fixture_allocate(fixture, layer->gradient.floats, sizeof *zeros);
    cl_mem dz = wa_fixture_input(fixture, zeros, layer->gradient.floats); /* its border is zero */
    run_batch_norm(fixture, network, weights, z, dz, r);
    cl_mem g = wa_fixture_output(fixture, in->floats);
    cl_mem gradients = wa_fixture_output(fixture, parameters);
    WA_FIXTURE_CHECK(
        fixture, wa_operations_backward(operations, 0, weights, arranged[1], dz, g, &fixture->err));
    WA_FIXTURE_CHECK(fixture,
                     wa_operations_weight_gradient(operations, 0, x, dz, gradients, &fixture->err));
    r->g = wa_fixture_read(fixture, g, r->g_count);
    r->weight_gradient = wa_fixture_read(fixture, gradients, r->w_count);
}

static struct results run(struct wa_fixture *fixture, const struct wa_network_shape *shape)
{
    wa_rng_seed(&fixture->rng, WA_FIXTURE_SEED); /* the same values each time */
    struct wa_network network;
    wa_network_open(fixture, shape, &network);
    const struct wa_model_layer *layer = &network.model.layers[0];
    const struct wa_layout *out = &layer->output;
    struct wa_layout g =
        wa_layout_make(shape->channels, shape->rows, shape->columns, out->lanes, 0, 0);
    struct results r = {.z_count = (size_t)out->channels * (size_t)out->plane,
                        .g_count = (size_t)g.channels * (size_t)g.plane,
                        .w_count = layer->weight_count,
                        .pooled_count = (size_t)out->channels * (size_t)out->lanes};
    run_convolution(fixture, &network, &r);
    wa_network_close(&network);
    return r;
}

/* Within 1e-4 of the largest value: more than rounding, less than any one term of these sums. */
static void expect_close(struct wa_fixture *fixture, const char *what, const float *actual,
                         const float *expected, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)expected[i]));
    }
    assert_true(largest > 0);
    double *bounds = wa_fixture_allocate(fixture, count, sizeof *bounds);
    for (size_t i = 0; i < count; i++) {
        bounds[i] = 1e-4 * largest;
    }
    wa_fixture_compare(fixture, what, count, wa_fixture_widen(fixture, actual, count),
                       wa_fixture_widen(fixture, expected, count), bounds);
}

/* One for each kind of tile, and batches that teams of several sizes share. */
static const struct wa_network_shape shapes[] = {
    {20, 3, 8, 8, {{3, 1, 7}}, 7, false, false},  {7, 9, 7, 5, {{3, 2, 13}}, 7, false, false},
    {33, 5, 6, 9, {{5, 2, 30}}, 7, false, false}, {100, 12, 5, 5, {{3, 1, 70}}, 7, false, false},
    {300, 2, 5, 3, {{2, 4, 9}}, 7, false, false}, /* places that no tap reaches */
};

static void check_limits(struct wa_fixture *fixture, size_t group_items, size_t local_bytes)
{
    struct wa_engine own = fixture->engine;
    for (size_t i = 0; i < LENGTH(shapes); i++) {
        struct results expected = run(fixture, &shapes[i]);
        fixture->engine.group_items = group_items;
        fixture->engine.local_bytes = local_bytes;
        struct results actual = run(fixture, &shapes[i]);
        fixture->engine.group_items = own.group_items;
        fixture->engine.local_bytes = own.local_bytes;
        assert_memory_equal(actual.z, expected.z, expected.z_count * sizeof(float));
        expect_close(fixture, "h", actual.h, expected.h, expected.z_count);
        expect_close(fixture, "pooled", actual.pooled, expected.pooled, expected.pooled_count);
        expect_close(fixture, "g", actual.g, expected.g, expected.g_count);
        expect_close(fixture, "weight gradient", actual.weight_gradient, expected.weight_gradient,
                     expected.w_count);
        wa_fixture_clear(fixture);
    }
}

static void test_small_groups(void **state)
{
    static const size_t group_items[] = {64, 1};
    struct wa_fixture *fixture = *state;
    fixture->engine.path = WA_PATH_GPU;
    for (size_t i = 0; i < LENGTH(group_items); i++) {
        check_limits(fixture, group_items[i], fixture->engine.local_bytes);
    }
}

static void test_little_local_memory(void **state)
{
    static const size_t local_bytes[] = {4096};
    struct wa_fixture *fixture = *state;
    fixture->engine.path = WA_PATH_GPU;
    for (size_t i = 0; i < LENGTH(local_bytes); i++) {
        check_limits(fixture, fixture->engine.group_items, local_bytes[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WA_FIXTURE_TEST(test_small_groups),
        WA_FIXTURE_TEST(test_little_local_memory),
    };
    return cmocka_run_group_tests(tests, wa_fixture_setup, wa_fixture_teardown);
}
