/* Direct feedback that a layer's way back computes as it goes: the same bits as where it is multiplied out
 * first. What the two have in common is tested elsewhere (test_matrix.c, test_batch_norm.c, test_shallow.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "device_fixture.h"
#include "network_fixture.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* What the way back through a layer reads, on the device. */
struct operands {
    cl_mem feedback, error, h, slope_h, inverse, x;
};

static cl_mem random_layout(struct wa_fixture *fixture, const struct wa_layout *layout, int batch)
{
    float *dense = wa_fixture_random(fixture, wa_fixture_layout_count(layout, batch));
    return wa_fixture_input(fixture, wa_fixture_pack(fixture, layout, batch, dense),
                            layout->floats);
}

static struct operands make_operands(struct wa_fixture *fixture, const struct wa_network *network,
                                     uint32_t l)
{
    const struct wa_model *model = &network->model;
    const struct wa_layout *out = &model->layers[l].output;
    size_t positions = wa_fixture_layout_count(out, 1);
    size_t weights = positions * (size_t)model->classes;
    struct wa_layout error = wa_layout_make(model->classes, 1, 1, model->lanes, 0, 0);
    return (struct operands){
        .feedback = wa_fixture_input(fixture, wa_fixture_random(fixture, weights), weights),
        .error = random_layout(fixture, &error, model->batch),
        .h = random_layout(fixture, out, model->batch),
        .slope_h = random_layout(fixture, out, model->batch),
        .inverse = wa_fixture_input(fixture, wa_fixture_random(fixture, positions), positions),
        .x = random_layout(fixture, &model->layers[l].input, model->batch)};
}

static const float *way_back(struct wa_fixture *fixture, const struct wa_network *network,
                             uint32_t l, struct wa_gradient_source source, const struct operands *o)
{
    size_t floats = network->model.layers[l].gradient.floats;
    cl_mem dz = wa_fixture_output(fixture, floats);
    WA_FIXTURE_CHECK(fixture,
                     wa_operations_activate_backward(network->operations, l, source, o->h,
                                                     o->slope_h, o->inverse, dz, &fixture->err));
    return wa_fixture_read(fixture, dz, floats);
}

static const float *gradient(struct wa_fixture *fixture, const struct wa_network *network,
                             uint32_t l, struct wa_gradient_source source, const struct operands *o)
{
    size_t count = network->model.parameter_count;
    cl_mem dz = wa_fixture_input(
        fixture,
        wa_fixture_allocate(fixture, network->model.layers[l].gradient.floats, sizeof(float)),
        network->model.layers[l].gradient.floats);
    cl_mem gradients = wa_fixture_output(fixture, count);
    const struct wa_passed passed = {.h = o->h, .inverse = o->inverse, .slope = o->slope_h};
    WA_FIXTURE_CHECK(fixture,
                     wa_operations_activate_gradient(network->operations, l, source, &passed, dz,
                                                     o->x, gradients, &fixture->err));
    return wa_fixture_read(fixture, gradients, count);
}

static void check_layer(struct wa_fixture *fixture, const struct wa_network *network, uint32_t l)
{
    const struct wa_layout *out = &network->model.layers[l].output;
    struct operands o = make_operands(fixture, network, l);
    struct wa_gradient_source first = {.memory = wa_fixture_output(fixture, out->floats)};
    WA_FIXTURE_CHECK(fixture, wa_operations_feed_back(network->operations, l, o.feedback,
                                                      (int)wa_fixture_layout_count(out, 1), o.error,
                                                      first.memory, &fixture->err));
    struct wa_gradient_source joined = {.memory = o.error, .feedback = o.feedback};
    assert_memory_equal(way_back(fixture, network, l, first, &o),
                        way_back(fixture, network, l, joined, &o),
                        network->model.layers[l].gradient.floats * sizeof(float));
    assert_memory_equal(gradient(fixture, network, l, first, &o),
                        gradient(fixture, network, l, joined, &o),
                        network->model.parameter_count * sizeof(float));
}

/* A first layer in one pass, others in two, places that no vector fills, one or two outputs at a time. */
static const struct wa_network_shape shapes[] = {
    {100, 1, 6, 7, {{3, 1, 7}, {3, 2, 9}}, 10, false, false},
    {20, 3, 5, 4, {{3, 2, 8}, {2, 1, 33}}, 3, false, false},
    {7, 5, 1, 1, {{1, 1, 33}, {1, 1, 7}}, 16, true, false},
    {1, 2, 3, 3, {{2, 1, 1}}, 1, false, false},
};

static void test_same_bits_as_multiplied_out(void **state)
{
    static const int widths[] = {16, 8, 4};
    struct wa_fixture *fixture = *state;
    for (size_t w = 0; w < LENGTH(widths); w++) {
        wa_engine_use_vectors(&fixture->engine, widths[w]);
        for (size_t i = 0; i < LENGTH(shapes); i++) {
            struct wa_network network;
            wa_network_open(fixture, &shapes[i], &network);
            int joined = 0;
            for (uint32_t l = 0; l + 1 < network.model.layer_count; l++) {
                if (wa_operations_joins_feedback(network.operations)) {
                    check_layer(fixture, &network, l);
                    joined++;
                }
            }
            /* four floats at a time, a batch of 100 has more vectors than registers */
            bool is_expected = fixture->engine.path == WA_PATH_CPU &&
                               network.model.lanes <= 16 * fixture->engine.vector_width;
            assert_int_equal(joined, is_expected ? (int)network.model.layer_count - 1 : 0);
            wa_network_close(&network);
            wa_fixture_clear(fixture);
        }
    }
}

static void test_many_classes_are_multiplied_out(void **state)
{
    const struct wa_network_shape shape = {20, 1, 3, 3, {{2, 1, 4}}, 17, false, false};
    struct wa_network network;
    wa_network_open(*state, &shape, &network);
    assert_false(wa_operations_joins_feedback(network.operations));
    wa_network_close(&network);
}

/* Where bench leaves activations out, there is nothing to join. */
static void test_without_activations(void **state)
{
    struct wa_fixture *fixture = *state;
    struct wa_network network;
    wa_network_open(fixture, &shapes[0], &network);
    fixture->engine.omits_activations = true;
    assert_false(wa_operations_joins_feedback(network.operations));
    fixture->engine.omits_activations = false;
    wa_network_close(&network);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WA_FIXTURE_TEST(test_same_bits_as_multiplied_out),
        WA_FIXTURE_TEST(test_many_classes_are_multiplied_out),
        WA_FIXTURE_TEST(test_without_activations),
    };
    return cmocka_run_group_tests(tests, wa_fixture_setup, wa_fixture_teardown);
}
