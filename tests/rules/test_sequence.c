/* Backprop through time of the rnn against finite differences of the same network in double: every
 * weight and the initial state of a tiny net, with several inputs and outputs a step. And mlp: a step
 * without batch norm, likewise; with it, the cnn on 1 x 1 images. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device_fixture.h"
#include "registry.h"
#include "session.h"

enum { BATCH = 3, STEPS = 6, INPUTS = 2, UNITS = 5, OUTPUTS = 2, HIDDEN = 7, MOST = 64 };

/* Finite differences in double are good to 1e-8 here; float32 sums of some dozen terms to 1e-6. */
static const double tolerance = 1e-5;

struct net {
    struct wa_fixture *fixture;
    struct wa_registry *registry;
    struct wa_session *session;
    json_object *options[3];
    const struct wa_session_tensor *tensors;
    size_t tensor_count;
};

static void open_net(struct net *net, struct wa_fixture *fixture, const char *architecture,
                     const char *options, const wa_dataset_info *data)
{
    *net = (struct net){.fixture = fixture};
    WA_FIXTURE_CHECK(fixture, wa_registry_create(&net->registry, &fixture->err));
    WA_FIXTURE_CHECK(fixture,
                     wa_registry_add_program_folders(net->registry, getenv("WALIGN_TEST_BUILD"),
                                                     &fixture->err));
    net->options[0] = json_tokener_parse(options);
    net->options[1] = json_object_new_object();
    net->options[2] = json_tokener_parse("{\"learning_rate\": 1.0}");
    struct wa_session_spec spec = {.engine = &fixture->engine,
                                   .architecture_options = net->options[0],
                                   .rule_options = net->options[1],
                                   .optimizer_options = net->options[2],
                                   .data = *data,
                                   .batch = BATCH,
                                   .seed = 5};
    WA_FIXTURE_CHECK(fixture, wa_registry_find(net->registry, WA_KIND_ARCHITECTURE, architecture,
                                               &spec.architecture, &fixture->err));
    WA_FIXTURE_CHECK(fixture, wa_registry_find(net->registry, WA_KIND_RULE, "backprop", &spec.rule,
                                               &fixture->err));
    WA_FIXTURE_CHECK(fixture, wa_registry_find(net->registry, WA_KIND_OPTIMIZER, "sgd",
                                               &spec.optimizer, &fixture->err));
    WA_FIXTURE_CHECK(fixture, wa_session_create(&spec, &net->session, &fixture->err));
    net->tensors = wa_session_tensors(net->session, &net->tensor_count);
}

static void close_net(struct net *net)
{
    wa_session_destroy(net->session);
    wa_registry_destroy(net->registry);
    for (int i = 0; i < 3; i++) {
        (void)json_object_put(net->options[i]);
    }
}

static void read_all(struct net *net, float values[][MOST])
{
    for (size_t i = 0; i < net->tensor_count; i++) {
        assert_true(net->tensors[i].count <= MOST);
        WA_FIXTURE_CHECK(net->fixture, wa_session_read(net->session, &net->tensors[i], values[i],
                                                       &net->fixture->err));
    }
}

/* Random values in all tensors: biases and the initial state are zero as drawn. */
static void randomize(struct net *net, float values[][MOST])
{
    for (size_t i = 0; i < net->tensor_count; i++) {
        const float *random = wa_fixture_random(net->fixture, net->tensors[i].count);
        memcpy(values[i], random, net->tensors[i].count * sizeof *random);
        WA_FIXTURE_CHECK(net->fixture, wa_session_write(net->session, &net->tensors[i], values[i],
                                                        &net->fixture->err));
    }
}

static float train(struct net *net, const void *items, const void *targets)
{
    struct wa_session_result results[WA_SESSION_SLOTS];
    size_t count = 0;
    const struct wa_batch batch = {.count = BATCH, .items = items, .targets = targets};
    WA_FIXTURE_CHECK(net->fixture, wa_session_train(net->session, &batch, 1, &net->fixture->err));
    WA_FIXTURE_CHECK(net->fixture,
                     wa_session_collect(net->session, results, &count, &net->fixture->err));
    assert_int_equal(count, 1);
    return results[0].loss;
}

typedef double loss_function(double values[][MOST], const float *items, const void *targets);

/* One step of SGD at learning rate 1 against central differences of `loss` for each single value. */
static void expect_gradient(struct net *net, const float *items, const void *targets,
                            loss_function *loss)
{
    enum { TENSORS = 8 };
    float before[TENSORS][MOST] = {{0}};
    float after[TENSORS][MOST] = {{0}};
    double values[TENSORS][MOST] = {{0}};
    assert_true(net->tensor_count <= TENSORS);
    randomize(net, before);
    for (size_t i = 0; i < net->tensor_count; i++) {
        for (size_t k = 0; k < MOST; k++) {
            values[i][k] = (double)before[i][k];
        }
    }
    double expected_loss = loss(values, items, targets);
    double given = (double)train(net, items, targets);
    if (!(fabs(given / expected_loss - 1) <= tolerance)) {
        fail_msg("loss %.9g, expected %.9g", given, expected_loss);
    }
    read_all(net, after);
    const double small = 1e-5;
    for (size_t i = 0; i < net->tensor_count; i++) {
        double largest = 0;
        double worst = 0;
        for (size_t k = 0; k < net->tensors[i].count; k++) {
            double value = values[i][k];
            values[i][k] = value + small;
            double up = loss(values, items, targets);
            values[i][k] = value - small;
            double slope = (up - loss(values, items, targets)) / (2 * small);
            values[i][k] = value;
            double step = (double)before[i][k] - (double)after[i][k];
            largest = fmax(largest, fabs(slope));
            worst = fmax(worst, fabs(step - slope));
        }
        assert_true(largest > 1e-3);
        /* after = before - gradient is rounded too: to 1e-7 of at most 1 */
        if (!(worst <= tolerance * largest + 1e-7)) {
            fail_msg("%s: gradient off by %g of %g", net->tensors[i].name, worst, largest);
        }
    }
}

/* ---- rnn ------------------------------------------------------------------------------------- */

enum { W_IH, W_HH, B_H, STATE, W_HO, B_O };

static double rnn_loss(double v[][MOST], const float *items, const void *targets)
{
    const float *y = targets;
    double loss = 0;
    for (int n = 0; n < BATCH; n++) {
        double s[UNITS];
        memcpy(s, v[STATE] + (size_t)n * UNITS, sizeof s);
        for (int t = 0; t < STEPS; t++) {
            double z[UNITS];
            for (int j = 0; j < UNITS; j++) {
                double in = 0;
                double back = 0;
                for (int i = 0; i < INPUTS; i++) {
                    in += (double)items[(n * STEPS + t) * INPUTS + i] * v[W_IH][i * UNITS + j];
                }
                for (int i = 0; i < UNITS; i++) {
                    back += s[i] * v[W_HH][i * UNITS + j];
                }
                z[j] = in / sqrt(INPUTS) + back / sqrt(UNITS) + v[B_H][j];
            }
            for (int j = 0; j < UNITS; j++) {
                s[j] = z[j] > 0 ? z[j] : 0;
            }
            for (int k = 0; k < OUTPUTS; k++) {
                double o = 0;
                for (int j = 0; j < UNITS; j++) {
                    o += s[j] * v[W_HO][k * UNITS + j];
                }
                double e = o / sqrt(UNITS) + v[B_O][k] - (double)y[(n * STEPS + t) * OUTPUTS + k];
                loss += e * e / (BATCH * OUTPUTS);
            }
        }
    }
    return loss;
}

static void test_rnn(void **state)
{
    struct wa_fixture *fixture = *state;
    const wa_dataset_info data = {.struct_size = sizeof data,
                                  .height = STEPS,
                                  .width = 1,
                                  .channels = INPUTS,
                                  .classes = OUTPUTS,
                                  .target_values = STEPS * OUTPUTS,
                                  .element = WA_ELEMENT_F32,
                                  .target = WA_TARGET_VALUES};
    struct net net;
    open_net(&net, fixture, "rnn", "{\"width\": 5}", &data);
    static const char *const names[] = {"W_ih", "W_hh", "b_h", "init_state", "W_ho", "b_o"};
    assert_int_equal(net.tensor_count, 6);
    for (size_t i = 0; i < net.tensor_count; i++) {
        assert_string_equal(net.tensors[i].name, names[i]);
    }
    for (int repeat = 0; repeat < 3; repeat++) {
        const float *items = wa_fixture_random(fixture, (size_t)BATCH * STEPS * INPUTS);
        const float *targets = wa_fixture_random(fixture, (size_t)BATCH * STEPS * OUTPUTS);
        expect_gradient(&net, items, targets, rnn_loss);
    }
    close_net(&net);
}

/* ---- mlp ------------------------------------------------------------------------------------- */

enum { D1, B1, D2, B2 };

/* Items of 2 x 3 x 1, flattened in the order they have. */
static double mlp_loss(double v[][MOST], const float *items, const void *targets)
{
    enum { PIXELS = 6 };
    const uint32_t *labels = targets;
    double loss = 0;
    for (int n = 0; n < BATCH; n++) {
        double h[HIDDEN];
        for (int j = 0; j < HIDDEN; j++) {
            double z = 0;
            for (int i = 0; i < PIXELS; i++) {
                z += (double)items[n * PIXELS + i] * v[D1][j * PIXELS + i];
            }
            z = z / sqrt(PIXELS) + v[B1][j];
            h[j] = z > 0 ? z : 0;
        }
        for (int k = 0; k < OUTPUTS; k++) {
            double o = 0;
            for (int j = 0; j < HIDDEN; j++) {
                o += h[j] * v[D2][k * HIDDEN + j];
            }
            double e = o / sqrt(HIDDEN) + v[B2][k] - ((labels[n] == (uint32_t)k ? 1.0 : 0.0) - 0.125);
            loss += e * e / (BATCH * OUTPUTS);
        }
    }
    return loss;
}

static const uint32_t labels[BATCH] = {1, 0, 1};

static void test_mlp_without_batch_norm(void **state)
{
    struct wa_fixture *fixture = *state;
    const wa_dataset_info data = {.struct_size = sizeof data,
                                  .height = 2,
                                  .width = 3,
                                  .channels = 1,
                                  .classes = OUTPUTS,
                                  .element = WA_ELEMENT_F32,
                                  .target = WA_TARGET_CLASS,
                                  .target_offset = 0.125F};
    struct net net;
    open_net(&net, fixture, "mlp", "{\"widths\": [7], \"batch_norm\": false}", &data);
    assert_int_equal(net.tensor_count, 4);
    assert_string_equal(net.tensors[D1].name, "dense1.weight");
    assert_int_equal(net.tensors[D1].dimensions, 2);
    assert_int_equal(net.tensors[D1].shape[0], HIDDEN);
    assert_int_equal(net.tensors[D1].shape[1], 6);
    assert_string_equal(net.tensors[B2].name, "readout.bias");
    for (int repeat = 0; repeat < 3; repeat++) {
        expect_gradient(&net, wa_fixture_random(fixture, BATCH * 6), labels, mlp_loss);
    }
    close_net(&net);
}

/* The same numbers drawn, the same step: on 1 x 1 images the two are one network. */
static void test_mlp_is_cnn(void **state)
{
    struct wa_fixture *fixture = *state;
    const wa_dataset_info data = {.struct_size = sizeof data,
                                  .height = 1,
                                  .width = 1,
                                  .channels = 6,
                                  .classes = OUTPUTS,
                                  .element = WA_ELEMENT_F32,
                                  .target = WA_TARGET_CLASS,
                                  .target_offset = 0.1F};
    const float *items = wa_fixture_random(fixture, BATCH * 6);
    struct net nets[2];
    float values[2][8][MOST] = {{{0}}};
    float losses[2] = {0};
    open_net(&nets[0], fixture, "mlp", "{\"widths\": [7, 7], \"batch_norm\": true}", &data);
    open_net(&nets[1], fixture, "cnn", "{\"width\": 7, \"kernels\": [1, 1], \"strides\": [1, 1]}",
             &data);
    for (int i = 0; i < 2; i++) {
        losses[i] = train(&nets[i], items, labels);
        read_all(&nets[i], values[i]);
    }
    assert_true(fabs((double)losses[0] / (double)losses[1] - 1) <= 1e-6);
    for (size_t t = 0; t < nets[0].tensor_count; t++) {
        for (size_t k = 0; k < nets[0].tensors[t].count; k++) {
            assert_true(fabs((double)values[0][t][k] - (double)values[1][t][k]) <= tolerance);
        }
    }
    close_net(&nets[0]);
    close_net(&nets[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {WA_FIXTURE_TEST(test_rnn),
                                       WA_FIXTURE_TEST(test_mlp_without_batch_norm),
                                       WA_FIXTURE_TEST(test_mlp_is_cnn)};
    return cmocka_run_group_tests(tests, wa_fixture_setup, wa_fixture_teardown);
}
