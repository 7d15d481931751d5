/* Positions that are constant over the batch, as under a black border: through two convolutions with
 * biases that are not 0 they give h == 0 and gradient == 0, bit for bit, on any vectors.
 *
 * Which positions are constant follows from the image: an output place is when all that it sees is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "network_fixture.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

struct framed {
    struct wa_network_shape shape;
    int border;
    float value; /* of the border */
};

static const struct framed cases[] = {
    {{20, 2, 16, 16, {{3, 1, 16}, {3, 1, 17}}, 7, false, false}, 5, 0.37f},
    {{20, 1, 13, 9, {{3, 1, 7}, {3, 2, 33}}, 7, false, false}, 3, 0.0f},
    {{20, 3, 14, 14, {{3, 2, 9}, {3, 1, 7}}, 7, false, false}, 4, 0.37f},
    {{100, 1, 12, 12, {{5, 1, 7}, {2, 2, 8}}, 7, false, false}, 4, 0.1f},
    {{5, 2, 11, 11, {{3, 1, 33}, {3, 1, 7}}, 7, false, false}, 3, 1.0f},
};

/* Network, buffers and masks of one case. */
struct run {
    struct wa_fixture *fixture;
    struct wa_network network;
    cl_mem weights, arranged[2];
    cl_mem h[2], a[2], inverse[2];
    bool *is_constant[3]; /* of the image, then of the layers' outputs: by row and column */
};

/* Images [item][row][column][channel] go through load_batch, which may look for the border. */
static cl_mem load_images(struct run *run, const struct framed *framed)
{
    struct wa_fixture *fixture = run->fixture;
    const struct wa_layout *in = &run->network.model.layers[0].input;
    size_t count = wa_fixture_layout_count(in, run->network.model.batch);
    float *items = wa_fixture_random(fixture, count);
    size_t places = (size_t)in->rows * (size_t)in->columns;
    run->is_constant[0] = wa_fixture_allocate(fixture, places, sizeof(bool));
    for (size_t i = 0; i < count; i++) {
        size_t place = i / (size_t)in->channels % places;
        int row = (int)place / in->columns;
        int column = (int)place % in->columns;
        bool is_border = row < framed->border || row >= in->rows - framed->border ||
                         column < framed->border || column >= in->columns - framed->border;
        run->is_constant[0][place] = is_border;
        items[i] = is_border ? framed->value : items[i];
    }
    float *zeros = wa_fixture_allocate(fixture, in->floats, sizeof *zeros);
    cl_mem x = wa_fixture_input(fixture, zeros, in->floats);
    WA_FIXTURE_CHECK(fixture, wa_operations_load_batch(run->network.operations,
                                                       wa_fixture_input(fixture, items, count),
                                                       WA_ELEMENT_F32, x, &fixture->err));
    return x;
}

static bool sees_only_constants(const struct wa_model_layer *layer, const bool *is_constant,
                                int row, int column)
{
    const struct wa_layer *s = &layer->shape;
    bool is_all = true;
    for (int tap = 0; tap < (int)(s->kernel * s->kernel); tap++) {
        int y = row * (int)s->stride + tap / (int)s->kernel -
                wa_reference_pad_before((int)s->in_height, (int)s->kernel, (int)s->stride);
        int x = column * (int)s->stride + tap % (int)s->kernel -
                wa_reference_pad_before((int)s->in_width, (int)s->kernel, (int)s->stride);
        bool is_inside = y >= 0 && y < (int)s->in_height && x >= 0 && x < (int)s->in_width;
        is_all = is_all && (!is_inside || is_constant[y * (int)s->in_width + x]);
    }
    return is_all;
}

static void mark_outputs(struct run *run, uint32_t l)
{
    const struct wa_layout *out = &run->network.model.layers[l].output;
    size_t places = (size_t)out->rows * (size_t)out->columns;
    size_t count = 0;
    run->is_constant[l + 1] = wa_fixture_allocate(run->fixture, places, sizeof(bool));
    for (size_t p = 0; p < places; p++) {
        bool is_constant = sees_only_constants(&run->network.model.layers[l], run->is_constant[l],
                                               (int)p / out->columns, (int)p % out->columns);
        run->is_constant[l + 1][p] = is_constant;
        count += is_constant;
    }
    assert_true(count > 0 && count < places);
}

/* Zero at the constant positions of all channels, something else at most of the others. */
static void expect_zeros(struct run *run, const char *what, const bool *is_constant,
                         const struct wa_layout *layout, cl_mem buffer)
{
    int batch = run->network.model.batch;
    float *packed = wa_fixture_read(run->fixture, buffer, layout->floats);
    double *values = wa_fixture_unpack(run->fixture, layout, batch, packed);
    size_t places = (size_t)layout->rows * (size_t)layout->columns;
    size_t others = 0;
    for (size_t i = 0; i < wa_fixture_layout_count(layout, batch); i++) {
        bool is_zero = !(values[i] < 0.0) && values[i] <= 0.0;
        bool should_be = is_constant[i / (size_t)batch % places];
        if (should_be && !is_zero) {
            print_error("%s: %s: value %zu is %.9g, expected 0\n", run->fixture->subject, what, i,
                        values[i]);
            fail();
        }
        others += !should_be && !is_zero;
    }
    assert_true(others > 0);
}

static void go_forward(struct run *run, cl_mem x)
{
    struct wa_operations *operations = run->network.operations;
    struct wa_fixture *fixture = run->fixture;
    for (uint32_t l = 0; l < 2; l++) {
        const struct wa_model_layer *layer = &run->network.model.layers[l];
        const struct wa_layout *a = l == 0 ? &run->network.model.layers[1].input : &layer->output;
        float *zeros = wa_fixture_allocate(fixture, a->floats, sizeof *zeros);
        wa_network_describe(fixture, &run->network, l);
        mark_outputs(run, l);
        run->h[l] = wa_fixture_output(fixture, layer->output.floats);
        run->a[l] = wa_fixture_input(fixture, zeros, a->floats);
        run->inverse[l] = wa_fixture_output(fixture, wa_fixture_layout_count(&layer->output, 1));
        WA_FIXTURE_CHECK(fixture,
                         wa_operations_forward(operations, l, run->weights, run->arranged[0],
                                               l ? run->a[0] : x, run->h[l], &fixture->err));
        WA_FIXTURE_CHECK(fixture,
                         wa_operations_activate(operations, l, run->weights, run->h[l], true,
                                                run->a[l], a, run->inverse[l], &fixture->err));
        expect_zeros(run, "h", run->is_constant[l + 1], &layer->output, run->h[l]);
        expect_zeros(run, "a", run->is_constant[l + 1], a, run->a[l]);
    }
}

static void go_back(struct run *run)
{
    struct wa_operations *operations = run->network.operations;
    struct wa_fixture *fixture = run->fixture;
    const struct wa_layout *top = &run->network.model.layers[1].output;
    int batch = run->network.model.batch;
    float *error = wa_fixture_random(fixture, wa_fixture_layout_count(top, batch));
    cl_mem g = wa_fixture_input(fixture, wa_fixture_pack(fixture, top, batch, error), top->floats);
    for (uint32_t l = 2; l-- > 0;) {
        const struct wa_model_layer *layer = &run->network.model.layers[l];
        float *zeros = wa_fixture_allocate(fixture, layer->gradient.floats, sizeof *zeros);
        cl_mem dz = wa_fixture_input(fixture, zeros, layer->gradient.floats);
        wa_network_describe(fixture, &run->network, l);
        WA_FIXTURE_CHECK(fixture, wa_operations_activate_backward(
                                      operations, l, (struct wa_gradient_source){.memory = g},
                                      run->h[l], run->h[l], run->inverse[l], dz, &fixture->err));
        expect_zeros(run, "dz", run->is_constant[l + 1], &layer->gradient, dz);
        struct wa_layout below = wa_layout_make(layer->input.channels, layer->input.rows,
                                                layer->input.columns, layer->input.lanes, 0, 0);
        g = wa_fixture_output(fixture, below.floats);
        WA_FIXTURE_CHECK(fixture, wa_operations_backward(operations, l, run->weights,
                                                         run->arranged[1], dz, g, &fixture->err));
    }
}

static void check_case(struct wa_fixture *fixture, const struct framed *framed)
{
    struct run run = {.fixture = fixture};
    wa_network_open(fixture, &framed->shape, &run.network);
    size_t parameters = run.network.model.parameter_count;
    run.weights = wa_fixture_input(fixture, wa_fixture_random(fixture, parameters), parameters);
    for (int direction = 0; direction < 2; direction++) {
        run.arranged[direction] = wa_fixture_output(
            fixture, wa_operations_arranged_floats(run.network.operations, direction == 1));
        WA_FIXTURE_CHECK(fixture,
                         wa_operations_arrange(run.network.operations, run.weights, direction == 1,
                                               run.arranged[direction], &fixture->err));
    }
    go_forward(&run, load_images(&run, framed));
    go_back(&run);
    wa_network_close(&run.network);
    wa_fixture_clear(fixture);
}

static void test_framed_images(void **state)
{
    for (size_t i = 0; i < LENGTH(cases); i++) {
        check_case(*state, &cases[i]);
    }
}

static void test_framed_images_on_other_vectors(void **state)
{
    static const int widths[] = {8, 4};
    struct wa_fixture *fixture = *state;
    for (size_t w = 0; w < LENGTH(widths); w++) {
        wa_engine_use_vectors(&fixture->engine, widths[w]);
        check_case(fixture, &cases[0]);
        check_case(fixture, &cases[1]);
        check_case(fixture, &cases[4]);
    }
}

static void test_framed_images_by_either_algorithm(void **state)
{
    static const enum wa_convolution_choice choices[] = {WA_CONVOLUTION_DIRECT,
                                                         WA_CONVOLUTION_WINOGRAD};
    struct wa_fixture *fixture = *state;
    const struct framed mixed = {{20, 1, 16, 16, {{3, 2, 7}, {3, 1, 9}}, 7, false, false}, 6, 0.0f};
    for (size_t c = 0; c < LENGTH(choices); c++) {
        fixture->engine.convolution = choices[c];
        check_case(fixture, &cases[0]);
        check_case(fixture, &mixed);
    }
}

/* Channels in several rounds: sums wait in local memory in between. */
static void test_framed_images_with_little_local_memory(void **state)
{
    struct wa_fixture *fixture = *state;
    const struct framed many = {
        {20, 40, 13, 9, {{3, 1, 33}, {3, 2, 7}}, 7, false, false}, 3, 0.37f};
    fixture->engine.local_bytes = 32768;
    check_case(fixture, &many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WA_FIXTURE_TEST(test_framed_images),
        WA_FIXTURE_TEST(test_framed_images_on_other_vectors),
        WA_FIXTURE_TEST(test_framed_images_by_either_algorithm),
        WA_FIXTURE_TEST(test_framed_images_with_little_local_memory),
    };
    return cmocka_run_group_tests(tests, wa_fixture_setup, wa_fixture_teardown);
}
