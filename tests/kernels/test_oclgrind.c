/* Every kernel on tiny shapes, for Oclgrind (data races, uninitialised memory, bounds): whole training
 * steps of each rule on both paths, and what they leave out. Values are not looked at here; that each
 * kernel of kernels/ ran is.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernel_sources.h"
#include "matrix.h"
#include "session_fixture.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* ---- Which kernels ran ---------------------------------------------------------------------- */

enum { MAX_LAUNCHED = 128, NAME_BYTES = 64 };

struct launched {
    const struct wa_engine *engine;
    size_t count;
    struct {
        enum wa_path path;
        char name[NAME_BYTES];
    } kernels[MAX_LAUNCHED];
};

/* `path` 0: on either. */
static bool has_run(const struct launched *launched, int path, const char *name)
{
    for (size_t i = 0; i < launched->count; i++) {
        if ((path == 0 || (int)launched->kernels[i].path == path) &&
            strcmp(launched->kernels[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void note_launch(void *context, const char *kernel, cl_event first, cl_event last)
{
    struct launched *launched = context;
    enum wa_path path = launched->engine->path;
    (void)first;
    (void)last;
    if (!has_run(launched, (int)path, kernel) && launched->count < MAX_LAUNCHED) {
        launched->kernels[launched->count].path = path;
        (void)snprintf(launched->kernels[launched->count].name, NAME_BYTES, "%s", kernel);
        launched->count++;
    }
}

/* The name of the next kernel that a file's text defines; NULL at the end. */
static const char *next_kernel(const char *text, char ret_name[NAME_BYTES])
{
    const char *start = text;
    for (; *start; start++) {
        bool is_line_start = start == text || start[-1] == '\n';
        if (is_line_start &&
            (strncmp(start, "__kernel ", 9) == 0 || strncmp(start, "KERNEL ", 7) == 0)) {
            const char *type = strstr(start, "void");
            const char *name = type ? type + 4 + strspn(type + 4, " \n") : start;
            size_t length = type ? strcspn(name, "(") : 0;
            assert_in_range(length, 1, NAME_BYTES - 1);
            memcpy(ret_name, name, length);
            ret_name[length] = '\0';
            return name + length;
        }
    }
    return NULL;
}

static void expect_all_ran(const struct launched *launched)
{
    size_t missing = 0;
    size_t found = 0;
    for (size_t i = 0; i < wa_kernel_sources_count; i++) {
        const struct wa_kernel_source *source = &wa_kernel_sources[i];
        int path = strncmp(source->name, "cpu_", 4) == 0   ? WA_PATH_CPU
                   : strncmp(source->name, "gpu_", 4) == 0 ? WA_PATH_GPU
                                                           : 0;
        char name[NAME_BYTES];
        for (const char *at = source->text; (at = next_kernel(at, name));) {
            found++;
            if (!has_run(launched, path, name)) {
                print_error("kernel '%s' of %s never ran here\n", name, source->name);
                missing++;
            }
        }
    }
    assert_true(found > 20);
    assert_int_equal(missing, 0);
}

/* ---- Steps ---------------------------------------------------------------------------------- */

static struct wa_session_shape tiny_shape(const char *rule)
{
    return (struct wa_session_shape){
        .rule = rule,
        .rule_options = strcmp(rule, "dfa") == 0 ? "{\"feedback\": \"position\"}" : NULL,
        .optimizer_options = "{\"learning_rate\": 1.0}",
        .architecture_options = "{\"width\": 3, \"kernels\": [3, 2], \"strides\": [1, 2]}",
        .batch = 5,
        .rows = 6,
        .columns = 6,
        .channels = 1,
        .classes = 4,
        .element = WA_ELEMENT_U8,
        .seed = 7};
}

/* Training steps, and after two (the second reads what the first left) an evaluation. */
static void step_on(struct wa_fixture *fixture, const struct wa_session_shape *shape,
                    const void *items, const void *targets, uint64_t steps)
{
    struct wa_session_under_test test;
    size_t count = 0;
    struct wa_session_result results[WA_SESSION_SLOTS];
    const struct wa_batch batch = {.count = shape->batch, .items = items, .targets = targets};
    wa_session_open(fixture, shape, &test);
    assert_true(isfinite(wa_session_steps(&test, items, targets, 1, steps)) != 0);
    if (steps > 1) {
        WA_FIXTURE_CHECK(fixture, wa_session_evaluate(test.session, &batch, &fixture->err));
        WA_FIXTURE_CHECK(fixture, wa_session_collect(test.session, results, &count, &fixture->err));
        assert_true(isfinite(results[0].loss) != 0);
    }
    wa_session_close(&test);
    wa_fixture_clear(fixture);
}

static void step(struct wa_fixture *fixture, const struct wa_session_shape *shape, uint64_t steps)
{
    size_t values = (size_t)shape->rows * (size_t)shape->columns * (size_t)shape->channels *
                    (size_t)shape->batch;
    uint32_t *labels = wa_session_labels(fixture, shape);
    if (shape->element == WA_ELEMENT_U8) {
        step_on(fixture, shape, wa_session_images(fixture, shape, labels), labels, steps);
    } else {
        step_on(fixture, shape, wa_fixture_random(fixture, values), labels, steps);
    }
}

static void step_rules(struct wa_fixture *fixture, const char *const *rules, size_t count)
{
    for (size_t r = 0; r < count; r++) {
        struct wa_session_shape shape = tiny_shape(rules[r]);
        step(fixture, &shape, r == 0 ? 2 : 1);
    }
    struct wa_session_shape pooled = tiny_shape("dfa");
    pooled.rule_options = "{\"feedback\": \"pooled\"}";
    pooled.element = WA_ELEMENT_F32;
    step(fixture, &pooled, 1);
}

static void step_sequences(struct wa_fixture *fixture, const char *const *rules, size_t count)
{
    enum { STEPS = 4, BATCH = 5 };
    for (size_t r = 0; r < count; r++) {
        const struct wa_session_shape shape = {.rule = rules[r],
                                               .optimizer_options = "{\"learning_rate\": 0.001}",
                                               .architecture = "rnn",
                                               .architecture_options = "{\"width\": 5}",
                                               .batch = BATCH,
                                               .rows = STEPS,
                                               .columns = 1,
                                               .channels = 1,
                                               .classes = 1,
                                               .element = WA_ELEMENT_F32,
                                               .target_values = STEPS,
                                               .seed = 7};
        step_on(fixture, &shape, wa_fixture_random(fixture, (size_t)STEPS * BATCH),
                wa_fixture_random(fixture, (size_t)STEPS * BATCH), r == 0 ? 2 : 1);
    }
}

static void step_dense(struct wa_fixture *fixture)
{
    struct wa_session_shape shape = tiny_shape("backprop");
    shape.architecture = "mlp";
    shape.architecture_options = "{\"widths\": [17, 6], \"batch_norm\": true}";
    step(fixture, &shape, 1);
}

static void step_network(struct wa_fixture *fixture, const char *architecture, int side, int batch)
{
    struct wa_session_shape shape = tiny_shape("backprop");
    shape.architecture_options = architecture;
    shape.rows = shape.columns = side;
    shape.batch = batch;
    step(fixture, &shape, 1);
}

/* Networks of one kind of kernel each: 1, 2 and 4 vectors of outputs in weight gradients, on each
 * width of vectors; a batch of 17 has lanes that fill no whole number of the widest vectors. */
static const char width_3[] = "{\"width\": 3, \"kernels\": [3, 3], \"strides\": [1, 1]}";
static const char width_6[] = "{\"width\": 6, \"kernels\": [3, 3], \"strides\": [1, 1]}";
static const char width_13[] = "{\"width\": 13, \"kernels\": [3, 3], \"strides\": [1, 1]}";
static const char halved[] = "{\"width\": 3, \"kernels\": [2, 3], \"strides\": [1, 2]}";
static const char strided[] = "{\"width\": 9, \"kernels\": [5, 3], \"strides\": [2, 2]}";

static void run_cpu_path(struct wa_fixture *fixture)
{
    static const char *const rules[] = {"backprop", "align-zero", "align-ada", "align-prop",
                                        "fa",       "dfa",        "last-layer"};
    static const char *const sequence_rules[] = {"backprop", "align-zero", "align-ada",
                                                 "last-layer"};
    wa_engine_use_vectors(&fixture->engine, 4);
    step_rules(fixture, rules, LENGTH(rules));
    size_t cache_bytes = fixture->engine.cache_bytes;
    fixture->engine.cache_bytes = 0; /* the first layer's h is made again */
    step_rules(fixture, rules, LENGTH(rules));
    fixture->engine.cache_bytes = cache_bytes;
    step_sequences(fixture, sequence_rules, LENGTH(sequence_rules));
    step_dense(fixture);
    step_network(fixture, width_6, 3, 5);
    step_network(fixture, width_13, 3, 5);
    wa_engine_use_vectors(&fixture->engine, 8);
    step_dense(fixture);
    step_network(fixture, strided, 5, 5);
    wa_engine_use_vectors(&fixture->engine, 16);
    step_network(fixture, strided, 5, 17);
    fixture->engine.convolution = WA_CONVOLUTION_WINOGRAD;
    step_network(fixture, width_3, 8, 17);
    step_network(fixture, halved, 14, 5);
    wa_engine_use_vectors(&fixture->engine, 8);
    step_network(fixture, width_3, 4, 5);
    wa_engine_use_vectors(&fixture->engine, 4);
    step_network(fixture, width_3, 4, 5);
    step_network(fixture, width_6, 4, 5);
    step_network(fixture, width_13, 4, 5);
}

/* Rules differ in what the host asks of a path only by direct feedback. */
static void run_gpu_path(struct wa_fixture *fixture)
{
    static const char *const rules[] = {"backprop", "dfa"};
    /* each kind of tile */
    static const char tiles_16[] = "{\"width\": 12, \"kernels\": [3, 2], \"strides\": [1, 2]}";
    static const char tiles_32[] = "{\"width\": 20, \"kernels\": [3, 2], \"strides\": [2, 1]}";
    static const char tiles_64[] = "{\"width\": 33, \"kernels\": [2, 2], \"strides\": [2, 2]}";
    fixture->engine.path = WA_PATH_GPU;
    step_rules(fixture, rules, LENGTH(rules));
    step_sequences(fixture, rules, 1);
    step_network(fixture, tiles_16, 3, 5);
    step_network(fixture, tiles_32, 3, 5);
    step_network(fixture, tiles_64, 3, 5);
}

/* ---- The rest ------------------------------------------------------------------------------- */

static void run_adam(struct wa_fixture *fixture)
{
    struct wa_session_shape shape = tiny_shape("backprop");
    shape.optimizer = "adam";
    shape.optimizer_options =
        "{\"learning_rate\": 0.01, \"beta1\": 0.9, \"beta2\": 0.999, \"epsilon\": 1e-8}";
    step(fixture, &shape, 1);
}

/* 20 columns are whole vectors and a piece of four, 23 end within a vector; of 21 rows 16 are packed beside a
 * product where a is transposed, the others before it. */
static void run_products(struct wa_fixture *fixture, int columns)
{
    enum { M = 21, K = 19, FLOATS = 600 };
    static const bool transpositions[][2] = {{false, false}, {true, false}, {false, true}};
    float *values = wa_fixture_random(fixture, FLOATS);
    struct wa_matrix matrix;
    WA_FIXTURE_CHECK(fixture,
                     wa_matrix_init(&matrix, &fixture->engine, WA_MATRIX_OWN, &fixture->err));
    for (size_t t = 0; t < LENGTH(transpositions); t++) {
        bool at = transpositions[t][0];
        bool bt = transpositions[t][1];
        struct wa_matrix_operand a = {wa_fixture_input(fixture, values, FLOATS), 3, at ? M : K, at};
        struct wa_matrix_operand b = {wa_fixture_input(fixture, values, FLOATS), 5,
                                      bt ? K : columns, bt};
        struct wa_matrix_operand c = {wa_fixture_input(fixture, values, FLOATS), 7, columns + 1,
                                      false};
        WA_FIXTURE_CHECK(fixture,
                         wa_matrix_product(&matrix, M, columns, K, 0.5f, a, b, c, &fixture->err));
        const struct wa_matrix_shape shape = {M, columns, K, at, bt};
        if (wa_matrix_sums_rows(&matrix, &shape)) {
            struct wa_matrix_sums sums = {wa_fixture_output(fixture, M), 0};
            WA_FIXTURE_CHECK(fixture, wa_matrix_product_and_sums(&matrix, M, columns, K, 0.5f, a, b,
                                                                 c, sums, &fixture->err));
        }
    }
    WA_FIXTURE_CHECK(fixture, wa_engine_finish(&fixture->engine, &fixture->err));
    wa_matrix_finish(&matrix);
}

static void run_peak(struct wa_fixture *fixture)
{
    enum { ITEMS = 4, ROUNDS = 2 };
    cl_kernel kernel = NULL;
    struct wa_range range = {1, {ITEMS}, {1}};
    cl_mem out = wa_fixture_output(fixture, ITEMS);
    WA_FIXTURE_CHECK(fixture, wa_engine_kernel(&fixture->engine, "peak.cl", "peak",
                                               "-D VECTOR=float4", &kernel, &fixture->err));
    WA_FIXTURE_CHECK(fixture, wa_engine_launch(&fixture->engine, kernel, &range, &fixture->err,
                                               "miff", out, ROUNDS, 0.999, 1e-3));
    float *values = wa_fixture_read(fixture, out, ITEMS);
    for (int i = 0; i < ITEMS; i++) {
        /* 12 chains of 4 lanes: chain c starts as c + item */
        double expected = 0.0;
        for (int c = 0; c < 12; c++) {
            expected += 4.0 * (((c + i) * 0.999 + 1e-3) * 0.999 + 1e-3);
        }
        assert_true(fabs((double)values[i] - expected) <= 1e-5 * expected);
    }
    wa_fixture_expect_tail(fixture, out, ITEMS);
    (void)clReleaseKernel(kernel);
}

static void run_copy(struct wa_fixture *fixture)
{
    enum { VECTORS = 7, CHUNK = 2, ITEMS = 5, FLOATS = 4 * VECTORS };
    cl_kernel kernel = NULL;
    struct wa_range range = {1, {ITEMS}, {1}}; /* the last has nothing to do, the one before less */
    float *values = wa_fixture_random(fixture, FLOATS);
    cl_mem from = wa_fixture_input(fixture, values, FLOATS);
    cl_mem to = wa_fixture_output(fixture, FLOATS);
    WA_FIXTURE_CHECK(fixture, wa_engine_kernel(&fixture->engine, "peak.cl", "copy",
                                               "-D VECTOR=float4", &kernel, &fixture->err));
    WA_FIXTURE_CHECK(fixture, wa_engine_launch(&fixture->engine, kernel, &range, &fixture->err,
                                               "mmii", from, to, VECTORS, CHUNK));
    assert_memory_equal(wa_fixture_read(fixture, to, FLOATS), values, FLOATS * sizeof(float));
    wa_fixture_expect_tail(fixture, to, FLOATS);
    (void)clReleaseKernel(kernel);
}

static void test_every_kernel(void **state)
{
    struct wa_fixture *fixture = *state;
    struct launched launched = {.engine = &fixture->engine};
    fixture->engine.observer = note_launch;
    fixture->engine.observer_context = &launched;
    fixture->engine.path = WA_PATH_CPU;
    run_cpu_path(fixture);
    run_adam(fixture);
    run_products(fixture, 23);
    wa_engine_use_vectors(&fixture->engine, 16);
    run_products(fixture, 20);
    run_products(fixture, 23);
    run_gpu_path(fixture);
    run_products(fixture, 23);
    run_peak(fixture);
    run_copy(fixture);
    expect_all_ran(&launched);
}

int main(void)
{
    const struct CMUnitTest tests[] = {WA_FIXTURE_TEST(test_every_kernel)};
    return cmocka_run_group_tests(tests, wa_fixture_setup, wa_fixture_teardown);
}
