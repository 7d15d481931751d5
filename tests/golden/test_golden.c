/* The golden cases: small runs whose losses and updates a reference in float64 computed
 * (tests/reference/make_golden.py). Each goes the way that a user's run goes: images and labels in
 * .npy files, a config, `walign train`, and then steps.jsonl and the checkpoints are compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden_run.h"
#include "safetensors.h"

enum { MOST_CASES = 256 };

/* What float32 may differ by. Adam divides by the gradients' own size, so that tiny gradients'
 * rounding errors become as large as updates: looser there. */
struct tolerance {
    double loss;       /* relative, of each step */
    double delta_norm; /* relative, of each tensor */
    double sample;     /* of single weights, in delta norms; Adam: in the tensor's largest delta */
};
static const struct tolerance sgd_tolerance = {.loss = 1e-4, .delta_norm = 1e-3, .sample = 1e-3};
static const struct tolerance adam_tolerance = {.loss = 1e-3, .delta_norm = 1e-2, .sample = 3e-2};

struct golden_case {
    struct wa_tested_program *tested;
    json_object *golden;
    bool is_adam, is_sequence;
    struct tolerance tolerance;
    struct wa_safetensors *initial, *last;
};

static int set_up(void **state)
{
    struct golden_case *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->golden = wa_golden_read(*state);
    c->is_sequence = strcmp(wa_golden_text(c->golden, "architecture"), "rnn") == 0;
    if (c->is_sequence) {
        /* what these cases take for granted */
        (void)json_object_object_add(c->golden, "optimizer", json_object_new_string("sgd"));
        (void)json_object_object_add(c->golden, "parameterization", json_object_new_string("ntk"));
    }
    c->is_adam = strcmp(wa_golden_text(c->golden, "optimizer"), "adam") == 0;
    c->tolerance = c->is_adam ? adam_tolerance : sgd_tolerance;
    void *tested = NULL;
    assert_int_equal(wa_tested_set_up(&tested), 0);
    c->tested = tested;
    *state = c;
    return 0;
}

static int tear_down(void **state)
{
    struct golden_case *c = *state;
    void *tested = c->tested;
    wa_safetensors_destroy(c->initial);
    wa_safetensors_destroy(c->last);
    (void)json_object_put(c->golden);
    free(c);
    return wa_tested_tear_down(&tested);
}

/* ---- The run --------------------------------------------------------------------------------- */

static void write_images(const struct golden_case *c, size_t items)
{
    const json_object *input = wa_golden_get(c->golden, "input");
    size_t size = items;
    for (size_t i = 0; i < 3; i++) {
        size *= (size_t)wa_golden_at(input, i);
    }
    char *pixels = malloc(size + 1);
    FILE *stream = fopen(wa_golden_path(wa_golden_text(c->golden, "images")), "rb");
    assert_non_null(pixels);
    assert_non_null(stream);
    assert_int_equal(fread(pixels, 1, size + 1, stream), size);
    (void)fclose(stream);
    char shape[64];
    (void)snprintf(shape, sizeof shape, "%zu, %g, %g, %g", items, wa_golden_at(input, 0),
                   wa_golden_at(input, 1), wa_golden_at(input, 2));
    wa_tested_write_npy(c->tested, "x.npy", "|u1", shape, pixels, size);
    free(pixels);
}

static void write_labels(const struct golden_case *c, const json_object *labels, size_t items)
{
    unsigned char *bytes = calloc(items, 8);
    assert_non_null(bytes);
    for (size_t i = 0; i < items; i++) {
        bytes[8 * i] = (unsigned char)wa_golden_at(labels, i); /* little endian */
    }
    char shape[32];
    (void)snprintf(shape, sizeof shape, "%zu,", items);
    wa_tested_write_npy(c->tested, "y.npy", "<i8", shape, bytes, 8 * items);
    free(bytes);
}

static void write_config(const struct golden_case *c)
{
    json_object *config = wa_golden_config(c->golden, wa_golden_text(c->golden, "optimizer"));
    json_object *dataset = json_tokener_parse(
        "{\"plugin\": \"arrays\", \"images\": \"x.npy\", \"labels\": \"y.npy\", \"classes\": 10}");
    json_object *architecture = json_object_new_object();
    (void)json_object_object_add(architecture, "plugin", json_object_new_string("cnn"));
    static const char *const keys[] = {"width", "kernels", "strides"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        (void)json_object_object_add(architecture, keys[i],
                                     json_object_get(wa_golden_get(c->golden, keys[i])));
    }
    (void)json_object_object_add(config, "dataset", dataset);
    (void)json_object_object_add(config, "architecture", architecture);
    (void)json_object_object_add(config, "epochs", json_object_new_int(1));
    (void)json_object_object_add(config, "shuffle", json_object_new_boolean(false));
    (void)json_object_object_add(config, "evaluate", json_object_new_array());
    wa_golden_write_config(c->tested, "case.json", config);
    (void)json_object_put(config);
}

/* Data, their order and the order of the batches are the dataset's and the run's own. */
static void write_sequence_config(const struct golden_case *c)
{
    json_object *config = wa_golden_config(c->golden, "sgd");
    json_object *architecture = json_tokener_parse("{\"plugin\": \"rnn\"}");
    (void)json_object_object_add(architecture, "width",
                                 json_object_get(wa_golden_get(c->golden, "width")));
    (void)json_object_object_add(config, "dataset", json_tokener_parse("{\"plugin\": \"add\"}"));
    (void)json_object_object_add(config, "architecture", architecture);
    (void)json_object_object_add(config, "epochs", json_object_new_int(1));
    (void)json_object_object_add(config, "steps",
                                 json_object_get(wa_golden_get(c->golden, "steps")));
    wa_golden_write_config(c->tested, "case.json", config);
    (void)json_object_put(config);
}

static struct wa_safetensors *read_checkpoint(const struct golden_case *c, const char *name)
{
    struct wa_safetensors *file = NULL;
    struct wa_error err = {0};
    if (wa_safetensors_read(wa_data_folder_file(&c->tested->folder, name), &file, &err) != WA_OK) {
        fail_msg("%s", err.message);
    }
    return file;
}

static void train(struct golden_case *c)
{
    if (c->is_sequence) {
        write_sequence_config(c);
    } else {
        const json_object *labels = wa_golden_get(c->golden, "labels");
        size_t items = json_object_array_length(labels);
        write_images(c, items);
        write_labels(c, labels, items);
        write_config(c);
    }
    assert_int_equal(WA_TESTED_RUN(c->tested, "train", "case.json", "--out", "run", "--quiet"), 0);
    assert_string_equal(c->tested->errors, "");
    c->initial = read_checkpoint(c, "run/checkpoints/epoch-0000.safetensors");
    c->last = read_checkpoint(c, "run/checkpoints/last.safetensors");
}

/* ---- The comparison -------------------------------------------------------------------------- */

static void expect_near(const char *what, const char *tensor, double value, double expected,
                        double tolerance)
{
    if (!(fabs(value - expected) <= tolerance)) {
        fail_msg("%s: %s is %.9g, expected %.9g within %.3g: off by %.3g", tensor, what, value,
                 expected, tolerance, fabs(value - expected));
    }
}

/* The golden draws are float64; what is stored here are the same rounded to float32. */
static void expect_initial(const char *name, const json_object *golden, const float *values,
                           size_t count)
{
    double sum = 0;
    double squares = 0;
    for (size_t i = 0; i < count; i++) {
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
    }
    double norm = wa_golden_number(golden, "initial_norm");
    expect_near("the sum of initial values", name, sum, wa_golden_number(golden, "initial_sum"),
                1e-6 * norm);
    expect_near("the norm of initial values", name, sqrt(squares), norm, 1e-6 * norm);
    const json_object *indices = wa_golden_get(golden, "sample_index");
    const json_object *samples = wa_golden_get(golden, "sample_initial");
    for (size_t i = 0; i < json_object_array_length(indices); i++) {
        size_t at = (size_t)wa_golden_at(indices, i);
        assert_true(at < count);
        double expected = wa_golden_at(samples, i);
        expect_near("an initial value", name, (double)values[at], expected, 1e-7 * fabs(expected));
    }
}

static void expect_delta(const struct golden_case *c, const char *name, const json_object *golden,
                         const float *before, const float *after, size_t count)
{
    double squares = 0;
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        double delta = (double)after[i] - (double)before[i];
        squares += delta * delta;
        largest = fmax(largest, fabs(delta));
    }
    double norm = wa_golden_number(golden, "delta_norm");
    expect_near("the norm of the update", name, sqrt(squares), norm,
                c->tolerance.delta_norm * norm);
    const json_object *indices = wa_golden_get(golden, "sample_index");
    const json_object *samples = wa_golden_get(golden, "sample_delta");
    double allowed = c->tolerance.sample * (c->is_adam ? largest : norm);
    for (size_t i = 0; i < json_object_array_length(indices); i++) {
        size_t at = (size_t)wa_golden_at(indices, i);
        expect_near("an update", name, (double)after[at] - (double)before[at],
                    wa_golden_at(samples, i), allowed);
    }
}

/* Batch norm removes the biases of convolutions: their gradients are 0 but for rounding. */
static bool is_noise(const char *name)
{
    return strncmp(name, "conv", 4) == 0 && strstr(name, ".bias");
}

static void expect_tensor(const struct golden_case *c, const char *name, const json_object *golden)
{
    struct wa_safetensors_entry expected = {.name = name, .type = WA_SAFETENSORS_F32};
    const json_object *shape = wa_golden_get(golden, "shape");
    expected.dimensions = (uint32_t)json_object_array_length(shape);
    size_t count = 1;
    for (size_t d = 0; d < expected.dimensions; d++) {
        expected.shape[d] = (uint64_t)wa_golden_at(shape, d);
        count *= expected.shape[d];
    }
    const void *before = NULL;
    const void *after = NULL;
    struct wa_error err = {0};
    if (wa_safetensors_expect(c->initial, &expected, &before, &err) != WA_OK ||
        wa_safetensors_expect(c->last, &expected, &after, &err) != WA_OK) {
        fail_msg("%s", err.message);
    }
    expect_initial(name, golden, before, count);
    if (!is_noise(name)) {
        expect_delta(c, name, golden, before, after, count);
    }
}

static void test_case(void **state)
{
    struct golden_case *c = *state;
    train(c);
    wa_golden_expect_losses(c->tested, "run/steps.jsonl", wa_golden_get(c->golden, "loss"),
                            c->tolerance.loss, false);
    json_object *parameters = wa_golden_get(c->golden, "parameters");
    size_t weights = 0;
    json_object_object_foreach(parameters, name, golden)
    {
        expect_tensor(c, name, golden);
        weights += is_noise(name) ? 0 : 1;
    }
    assert_true(weights >= 3);
}

/* ---- The list of cases ----------------------------------------------------------------------- */

static int is_case(const struct dirent *entry)
{
    const char *name = entry->d_name;
    return (strstr(name, "-cnn-") || strstr(name, "-rnn-")) &&
           (strstr(name, "-sgd.json") || strstr(name, "-adam.json"));
}

int main(void)
{
    struct CMUnitTest tests[MOST_CASES] = {{0}};
    const char *folder = getenv("WALIGN_TEST_GOLDEN");
    struct dirent **entries = NULL;
    int count = folder ? scandir(folder, &entries, is_case, alphasort) : 0;
    if (count <= 0 || count > MOST_CASES) {
        (void)fprintf(stderr, "test_golden: %d cases in '%s' ($WALIGN_TEST_GOLDEN)\n", count,
                      folder ? folder : "");
        return 1;
    }
    for (int i = 0; i < count; i++) {
        char *file = entries[i]->d_name;
        tests[i] = (struct CMUnitTest){.name = file,
                                       .test_func = test_case,
                                       .setup_func = set_up,
                                       .teardown_func = tear_down,
                                       .initial_state = file};
    }
    int failed = _cmocka_run_group_tests("golden", tests, (size_t)count, NULL, NULL);
    for (int i = 0; i < count; i++) {
        free(entries[i]);
    }
    free(entries);
    return failed;
}
