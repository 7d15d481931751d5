/* The alignment pair against the reference, angles to the exact gradient, and `walign score`, all
 * through the walign command. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden_run.h"
#include "safetensors.h"
#include "score.h"

/* A small run: 40 items, 2 epochs of 2 steps. */
static const char small[] =
    "{'dataset': {'plugin': 'glyphs', 'height': 8, 'width': 8, 'items': 40, 'validation': 0},"
    " 'architecture': {'plugin': 'cnn', 'width': 4, 'kernels': [3, 3], 'strides': [1, 2]},"
    " 'rule': {'plugin': 'backprop'}, 'batch': 20, 'epochs': 2, 'keep_every': 1}";

static struct wa_safetensors *read_checkpoint(struct wa_tested_program *tested, const char *name)
{
    struct wa_safetensors *file = NULL;
    struct wa_error err = {0};
    if (wa_safetensors_read(wa_data_folder_file(&tested->folder, name), &file, &err) != WA_OK) {
        fail_msg("%s", err.message);
    }
    return file;
}

static const float *tensor(const struct wa_safetensors *file, const char *prefix, const char *name,
                           size_t *ret_count)
{
    char full[128];
    (void)snprintf(full, sizeof full, "%s%s", prefix, name);
    const struct wa_safetensors_entry *entry = wa_safetensors_find(file, full);
    if (!entry) {
        fail_msg("no tensor %s", full);
        return NULL;
    }
    *ret_count = entry->size_bytes / sizeof(float);
    return entry->data;
}

/* ---- The golden pair ------------------------------------------------------------------------- */

static void write_case(struct wa_tested_program *tested, const json_object *golden)
{
    enum { ITEMS = 100, PIXELS = ITEMS * 28 * 28 };
    static unsigned char pixels[PIXELS];
    unsigned char labels[8 * ITEMS] = {0};
    FILE *stream = fopen(wa_golden_path(wa_golden_text(golden, "images")), "rb");
    assert_non_null(stream);
    assert_int_equal(fread(pixels, 1, sizeof pixels, stream), sizeof pixels);
    (void)fclose(stream);
    wa_tested_write_npy(tested, "x.npy", "|u1", "100, 28, 28, 1", pixels, sizeof pixels);
    for (size_t i = 0; i < ITEMS; i++) {
        labels[8 * i] = (unsigned char)wa_golden_at(wa_golden_get(golden, "labels"), i);
    }
    wa_tested_write_npy(tested, "y.npy", "<i8", "100,", labels, sizeof labels);
    wa_tested_write_json(
        tested, "case.json",
        "{'dataset': {'plugin': 'arrays', 'images': 'x.npy', 'labels': 'y.npy', 'classes': 10},"
        " 'architecture': {'plugin': 'cnn', 'width': 16}, 'rule': {'plugin': 'backprop'},"
        " 'optimizer': {'plugin': 'sgd', 'learning_rate': 2}, 'batch': 20, 'epochs': 1,"
        " 'shuffle': false, 'evaluate': [], 'log_steps': true, 'alignment_pair': true}");
}

static void expect_near(const char *name, const char *what, double value, double expected,
                        double tolerance)
{
    if (!(fabs(value - expected) <= tolerance)) {
        fail_msg("%s: %s is %.9g, expected %.9g within %.3g", name, what, value, expected,
                 tolerance);
    }
}

/* The tolerances of the golden SGD cases. */
static void expect_net(const struct wa_safetensors *initial, const struct wa_safetensors *last,
                       const char *prefix, const json_object *golden)
{
    json_object *tensors = (json_object *)(uintptr_t)golden;
    size_t seen = 0;
    json_object_object_foreach(tensors, name, expected)
    {
        size_t count = 0;
        const float *before = tensor(initial, prefix, name, &count);
        const float *after = tensor(last, prefix, name, &count);
        double squares = 0;
        double sum = 0;
        for (size_t i = 0; i < count; i++) {
            double delta = (double)after[i] - (double)before[i];
            squares += delta * delta;
            sum += (double)before[i];
        }
        double norm = wa_golden_number(expected, "delta_norm");
        expect_near(name, "the initial sum", sum, wa_golden_number(expected, "initial_sum"),
                    1e-6 * wa_golden_number(expected, "initial_norm"));
        expect_near(name, "the norm of the update", sqrt(squares), norm, 1e-3 * norm);
        const json_object *indices = wa_golden_get(expected, "sample_index");
        for (size_t i = 0; i < json_object_array_length(indices); i++) {
            size_t at = (size_t)wa_golden_at(indices, i);
            assert_true(at < count);
            expect_near(name, "an update", (double)after[at] - (double)before[at],
                        wa_golden_at(wa_golden_get(expected, "sample_delta"), i), 1e-3 * norm);
        }
        seen++;
    }
    assert_int_equal(seen, 4);
}

static void test_golden_pair(void **state)
{
    struct wa_tested_program *tested = *state;
    json_object *golden = wa_golden_read("alignment-pair.json");
    write_case(tested, golden);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "case.json", "--out", "run", "--quiet"), 0);
    wa_golden_expect_losses(tested, "run/steps.jsonl", wa_golden_get(golden, "loss"), 1e-4, false);
    struct wa_safetensors *initial =
        read_checkpoint(tested, "run/checkpoints/epoch-0000.safetensors");
    struct wa_safetensors *last = read_checkpoint(tested, "run/checkpoints/last.safetensors");
    expect_net(initial, last, "", wa_golden_get(golden, "normal"));
    expect_net(initial, last, "align.", wa_golden_get(golden, "align"));
    wa_safetensors_destroy(initial);
    wa_safetensors_destroy(last);
    (void)json_object_put(golden);
}

/* ---- Pair and angles beside a run ------------------------------------------------------------ */

/* The first net's weights are, bit for bit, those of a run without companions; also after a resume,
 * which takes up the second net and its optimizer, too. */
static void test_bits(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "small.json", small);
    static const char adam[] = "optimizer.plugin=adam";
    static const char pair[] = "alignment_pair=true";
    assert_int_equal(WA_TESTED_RUN(tested, "train", "small.json", "--set", adam, "--out", "plain"),
                     0);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "small.json", "--set", adam, "--set", pair,
                                   "--set", "log_angles=true", "--out", "all"),
                     0);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "small.json", "--set", adam, "--set", pair,
                                   "--set", "log_angles=true", "--set", "epochs=1", "--out",
                                   "parts"),
                     0);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "small.json", "--set", adam, "--set", pair,
                                   "--set", "log_angles=true", "--resume", "--out", "parts"),
                     0);
    wa_tested_expect_equal(tested, "all/checkpoints/last.safetensors",
                           "parts/checkpoints/last.safetensors");
    wa_tested_expect_equal_metrics(tested, "all/metrics.jsonl", "parts/metrics.jsonl");
    struct wa_safetensors *plain = read_checkpoint(tested, "plain/checkpoints/last.safetensors");
    struct wa_safetensors *all = read_checkpoint(tested, "all/checkpoints/last.safetensors");
    size_t compared = 0;
    for (size_t i = 0; i < wa_safetensors_count(plain); i++) {
        const struct wa_safetensors_entry *entry = wa_safetensors_at(plain, i);
        const struct wa_safetensors_entry *other = wa_safetensors_find(all, entry->name);
        assert_non_null(other);
        assert_int_equal(other->size_bytes, entry->size_bytes);
        assert_memory_equal(other->data, entry->data, entry->size_bytes);
        compared++;
    }
    assert_true(compared > 18); /* weights, biases and two moments of three layers */
    assert_non_null(wa_safetensors_find(all, "state.align.m.conv1.weight"));
    wa_safetensors_destroy(plain);
    wa_safetensors_destroy(all);
}

/* One step of a rule; the line of its metrics. */
static json_object *measure(struct wa_tested_program *tested, const char *rule)
{
    char set[64];
    char out[64];
    char metrics[96];
    (void)snprintf(set, sizeof set, "rule.plugin=%s", rule);
    (void)snprintf(out, sizeof out, "run-%s", rule);
    (void)snprintf(metrics, sizeof metrics, "%s/metrics.jsonl", out);
    wa_tested_write_json(tested, "small.json", small);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "small.json", "--set", set, "--set",
                                   "log_angles=true", "--set", "steps=1", "--out", out),
                     0);
    char *text = wa_tested_read(tested, metrics, NULL);
    json_object *line = json_tokener_parse(text);
    assert_non_null(line);
    free(text);
    return line;
}

/* In the first step the Align rules are the exact gradient up to rounding; dfa's and fa's updates
 * below the readout are not. Layers that are not trained have no update. */
static void test_angles(void **state)
{
    struct wa_tested_program *tested = *state;
    static const char *const layers[] = {"angle_update.conv1", "angle_update.conv2",
                                         "angle_update.readout"};
    json_object *exact = measure(tested, "backprop");
    json_object *zero = measure(tested, "align-zero");
    json_object *ada = measure(tested, "align-ada");
    json_object *fa = measure(tested, "fa");
    json_object *last = measure(tested, "last-layer");
    json_object *none = NULL;
    for (size_t i = 0; i < 3; i++) {
        assert_true(wa_golden_number(exact, layers[i]) <= 0); /* the same bits */
        assert_true(wa_golden_number(zero, layers[i]) < 0.01);
        assert_true(wa_golden_number(ada, layers[i]) < 0.01);
        assert_true(wa_golden_number(fa, layers[i]) > 1 || i == 2);
    }
    assert_true(wa_golden_number(fa, "angle_update.readout") < 0.01);
    assert_true(fabs(wa_golden_number(fa, "angle_feedback.conv2") - 90) < 45);
    assert_true(wa_golden_number(zero, "angle_feedback.conv2") > 0); /* W(0), after one update */
    assert_false(json_object_object_get_ex(exact, "angle_feedback.conv2", &none));
    assert_false(json_object_object_get_ex(fa, "angle_feedback.conv1", &none));
    assert_false(json_object_object_get_ex(last, "angle_update.conv1", &none));
    assert_true(wa_golden_number(last, "angle_update.readout") < 0.01);
    json_object *lines[] = {exact, zero, ada, fa, last};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        (void)json_object_put(lines[i]);
    }
}

/* ---- walign score ---------------------------------------------------------------------------- */

/* A value of line `number` of a file of JSON lines; NAN for null. */
static double line_value(struct wa_tested_program *tested, const char *name, size_t number,
                         const char *key)
{
    char *text = wa_tested_read(tested, name, NULL);
    char *line = text;
    for (size_t i = 0; i < number; i++) {
        line = strchr(line, '\n');
        assert_non_null(line++);
    }
    line[strcspn(line, "\n")] = '\0';
    json_object *object = json_tokener_parse(line);
    json_object *value = NULL;
    assert_true(json_object_object_get_ex(object, key, &value));
    double result = value ? json_object_get_double(value) : (double)NAN;
    (void)json_object_put(object);
    free(text);
    return result;
}

static void test_score(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "small.json", small);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "small.json", "--set", "alignment_pair=true",
                                   "--out", "sweep/width-4"),
                     0);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "small.json", "--set", "alignment_pair=true",
                                   "--set", "architecture.width=6", "--set", "keep_every=0",
                                   "--out", "sweep/width-6"),
                     0);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "small.json", "--out", "sweep/alone"), 0);
    /* epochs 0, 1, 2 with three layers each */
    assert_int_equal(WA_TESTED_RUN(tested, "score", "sweep/width-4"), 0);
    wa_tested_expect_part(tested->output, "readout");
    assert_true(isnan(line_value(tested, "sweep/width-4/scores.jsonl", 2, "score")));
    double last = line_value(tested, "sweep/width-4/scores.jsonl", 8, "score");
    assert_true(last > 0.5 && last < 1.0000001);
    wa_tested_write_json(tested, "score.json",
                         "{'sweep': 'sweep', 'epochs': 2, 'estimator': 'noise', 'control': true,"
                         " 'where': {'architecture.width': 4.0}}");
    assert_int_equal(WA_TESTED_RUN(tested, "score", "score.json", "--out", "scores"), 0);
    expect_near("readout", "noise", line_value(tested, "scores/scores.jsonl", 2, "score"), last,
                0.03);
    double control = line_value(tested, "scores/scores.jsonl", 1, "control");
    assert_true(control < line_value(tested, "scores/scores.jsonl", 1, "score"));
    /* all widths, from the last checkpoint where none was kept; the run without a pair is left out */
    wa_tested_write_json(tested, "score.json", "{'sweep': 'elsewhere/sweep', 'epochs': 2}");
    assert_int_equal(WA_TESTED_RUN(tested, "score", "score.json"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "score.json", "runs/sweep");
    wa_tested_write_json(tested, "score.json", "{'sweep': 'sweep', 'epochs': 2}");
    assert_int_equal(WA_TESTED_RUN(tested, "score", "score.json"), 0);
    wa_tested_expect_part(tested->errors, "sweep/alone");
    wa_tested_expect_part(tested->output, "width-6");
    (void)line_value(tested, "sweep/scores.jsonl", 5, "score");
    /* of a run that cannot be scored whole, nothing is written */
    wa_tested_write(tested, "sweep/width-4/checkpoints/epoch-0002.safetensors", "damaged", 7);
    wa_tested_write(tested, "sweep/alone/run.json", "{", 1);
    wa_tested_write_json(tested, "score.json", "{'sweep': 'sweep'}");
    assert_int_equal(WA_TESTED_RUN(tested, "score", "score.json"), 0);
    wa_tested_expect_part(tested->errors, "sweep/width-4/checkpoints/epoch-0002.safetensors");
    wa_tested_expect_part(tested->errors, "sweep/alone/run.json:1:2: damaged");
    char *lines = wa_tested_read(tested, "sweep/scores.jsonl", NULL);
    wa_tested_expect_part(lines, "width-6");
    assert_null(strstr(lines, "width-4"));
    free(lines);
}

/* Sleeps until the file is longer than `size`. */
static void await_more(struct wa_tested_program *tested, const char *name, size_t size)
{
    size_t now = 0;
    for (int i = 0; i < 6000 && now <= size; i++) {
        wa_tested_sleep_ms(10);
        free(wa_tested_read(tested, name, &now));
    }
    assert_true(now > size);
}

/* Weights of somewhere in the second epoch are not those of the first one's end. */
static void test_score_of_a_stopped_run(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "small.json", small);
    pid_t process = WA_TESTED_START(tested, "train", "small.json", "--set", "alignment_pair=true",
                                    "--set", "keep_every=0", "--set", "dataset.items=100000",
                                    "--set", "log_steps=true", "--out", "runs/s/one");
    size_t size = 0;
    wa_tested_await(tested, "runs/s/one/metrics.jsonl");
    free(wa_tested_read(tested, "runs/s/one/steps.jsonl", &size));
    await_more(tested, "runs/s/one/steps.jsonl", size);
    assert_int_equal(kill(process, SIGINT), 0);
    assert_int_equal(wa_tested_wait(tested, process), 1);
    assert_int_equal(WA_TESTED_RUN(tested, "score", "runs/s/one"), 0);
    char *lines = wa_tested_read(tested, "runs/s/one/scores.jsonl", NULL);
    wa_tested_expect_part(lines, "\"epoch\":0");
    assert_null(strstr(lines, "\"epoch\":1"));
    free(lines);
    wa_tested_write_json(tested, "score.json", "{'sweep': 's.json', 'epochs': 1}");
    assert_int_equal(WA_TESTED_RUN(tested, "score", "score.json"), 2);
    wa_tested_expect_part(tested->errors, "runs/s/one: no checkpoint of epoch 1");
}

/* Sizes of layers come from a file: such an image cannot be what the network saw. */
static void test_score_of_impossible_sizes(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "small.json", small);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "small.json", "--set", "alignment_pair=true",
                                   "--out", "run"),
                     0);
    char *text = wa_tested_read(tested, "run/run.json", NULL);
    json_object *run = json_tokener_parse(text);
    json_object *layers = NULL;
    assert_true(json_object_object_get_ex(run, "layers", &layers));
    json_object *layer = json_object_array_get_idx(layers, 0);
    (void)json_object_object_add(layer, "height", json_object_new_int(1 << 20));
    (void)json_object_object_add(layer, "width", json_object_new_int(1 << 20));
    const char *damaged = json_object_to_json_string(run);
    wa_tested_write(tested, "run/run.json", damaged, strlen(damaged));
    assert_int_equal(WA_TESTED_RUN(tested, "score", "run"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "run/run.json", "layers[0]");
    (void)json_object_put(run);
    free(text);
}

/* The control is RandomState(99).shuffle of the trained weights, layers in order. */
static void test_control(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "small.json", small);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "small.json", "--set", "alignment_pair=true",
                                   "--out", "runs/s/one"),
                     0);
    wa_tested_write_json(tested, "score.json", "{'sweep': 's.json', 'epochs': 0, 'control': true}");
    assert_int_equal(WA_TESTED_RUN(tested, "score", "score.json"), 0);
    /* E is zero at epoch 0 whatever D is; later it is not. */
    assert_true(isnan(line_value(tested, "runs/s/scores.jsonl", 0, "control")));
    wa_tested_write_json(tested, "score.json", "{'sweep': 's.json', 'epochs': 2, 'control': true}");
    assert_int_equal(WA_TESTED_RUN(tested, "score", "score.json"), 0);
    for (size_t i = 0; i < 3; i++) {
        double control = line_value(tested, "runs/s/scores.jsonl", i, "control");
        assert_true(control > 0 && control < 1);
        assert_true(control < line_value(tested, "runs/s/scores.jsonl", i, "score"));
    }
}

/* The orders that numpy 1.24 draws, one after another: r = RandomState(99), then for each count of weights
 * o = arange(count); r.shuffle(o). */
static const unsigned char conv1_order[] = {11, 13, 0, 12, 7, 16, 6, 17, 10,
                                            5,  4,  2, 14, 15, 8, 9, 3,  1};
static const unsigned char conv2_order[] = {29, 26, 11, 30, 1,  13, 16, 21, 19, 35, 34, 10,
                                            6,  22, 3,  18, 24, 33, 9,  17, 32, 4,  14, 5,
                                            28, 15, 7,  27, 25, 20, 31, 8,  12, 0,  2,  23};
static const unsigned char readout_order[] = {2, 0, 3, 4, 1, 5};

struct shuffled_layer {
    const char *weight;
    struct wa_score_operator shape;
    const unsigned char *order;
};

/* The score of D = shuffled W - W(0), flat in the order row, column, input, output, with E as it is. */
static double control_of(const struct shuffled_layer *layer, const struct wa_safetensors *initial,
                         const struct wa_safetensors *last)
{
    enum { MOST = 36 };
    size_t outputs = (size_t)layer->shape.outputs;
    size_t size = wa_score_operator_size(&layer->shape);
    size_t count = 0;
    double d[MOST];
    double e[MOST];
    const float *w0 = tensor(initial, "", layer->weight, &count);
    const float *w = tensor(last, "", layer->weight, &count);
    const float *v0 = tensor(initial, "align.", layer->weight, &count);
    const float *v = tensor(last, "align.", layer->weight, &count);
    assert_int_equal(count, size);
    for (size_t i = 0; i < size; i++) {
        size_t to = i % outputs * (size / outputs) + i / outputs; /* [output][row][column][input] */
        size_t from = layer->order[i] % outputs * (size / outputs) + layer->order[i] / outputs;
        d[to] = (double)w[from] - (double)w0[to];
        e[to] = (double)v[to] - (double)v0[to];
    }
    double score = 0;
    struct wa_error err = {0};
    assert_int_equal(wa_score_exact(&layer->shape, d, e, NULL, &score, &err), WA_OK);
    return score;
}

static void test_control_is_shuffled_as_numpy_does(void **state)
{
    struct wa_tested_program *tested = *state;
    static const struct shuffled_layer layers[] = {
        {"conv1.weight",
         {.outputs = 2, .inputs = 1, .kernel = 3, .stride = 1, .rows = 8, .columns = 8},
         conv1_order},
        {"conv2.weight",
         {.outputs = 2, .inputs = 2, .kernel = 3, .stride = 2, .rows = 8, .columns = 8},
         conv2_order},
        {"readout.weight",
         {.outputs = 3, .inputs = 2, .kernel = 1, .stride = 1, .rows = 1, .columns = 1},
         readout_order},
    };
    enum { LAYERS = sizeof layers / sizeof *layers };
    wa_tested_write_json(tested, "small.json", small);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "small.json", "--set", "alignment_pair=true",
                                   "--set", "architecture.width=2", "--set", "dataset.classes=3",
                                   "--out", "runs/s/one"),
                     0);
    wa_tested_write_json(tested, "score.json",
                         "{'sweep': 's.json', 'epochs': 'all', 'control': true}");
    assert_int_equal(WA_TESTED_RUN(tested, "score", "score.json"), 0);
    struct wa_safetensors *initial =
        read_checkpoint(tested, "runs/s/one/checkpoints/epoch-0000.safetensors");
    static const char *const names[] = {"runs/s/one/checkpoints/epoch-0001.safetensors",
                                        "runs/s/one/checkpoints/epoch-0002.safetensors"};
    for (size_t epoch = 1; epoch <= 2; epoch++) { /* each from the seed on */
        struct wa_safetensors *last = read_checkpoint(tested, names[epoch - 1]);
        for (size_t i = 0; i < LAYERS; i++) {
            double control =
                line_value(tested, "runs/s/scores.jsonl", epoch * LAYERS + i, "control");
            /* as it is printed, with nine digits */
            expect_near(layers[i].weight, "the control", control,
                        control_of(&layers[i], initial, last), 1e-8);
        }
        wa_safetensors_destroy(last);
    }
    wa_safetensors_destroy(initial);
}

/* After one step both nets of a recurrence have changed alike, later no more. W_ih has one input: it is
 * left out. With one output, W_ho's score is the squared cosine. */
static void test_score_of_a_recurrence(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "add.json",
                         "{'dataset': {'plugin': 'add'}, 'architecture': {'plugin': 'rnn', 'width': 16},"
                         " 'rule': {'plugin': 'backprop'}, 'batch': 50, 'keep_every': 1,"
                         " 'optimizer': {'plugin': 'sgd', 'learning_rate': 0.001},"
                         " 'evaluate': ['test'], 'alignment_pair': true}");
    assert_int_equal(WA_TESTED_RUN(tested, "train", "add.json", "--set", "steps=1", "--out", "one"), 0);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "add.json", "--set", "epochs=2", "--out", "two"), 0);
    assert_int_equal(WA_TESTED_RUN(tested, "score", "one", "two"), 0);
    static const char *const scores[] = {"one/scores.jsonl", "two/scores.jsonl"};
    for (size_t layer = 0; layer < 2; layer++) {
        assert_true(isnan(line_value(tested, scores[1], layer, "score")));
        /* 1 but for the rounding of float32 weights, 2^-24 of values a hundred times their change */
        assert_true(fabs(line_value(tested, scores[0], 2 + layer, "score") - 1) < 1e-4);
        double last = line_value(tested, scores[1], 4 + layer, "score");
        assert_true(last > 0.5 && last < 0.9999);
    }
    assert_true(fabs(line_value(tested, scores[1], 5, "score") -
                     line_value(tested, scores[1], 5, "squared_cosine")) < 1e-8);
    char *text = wa_tested_read(tested, scores[1], NULL);
    wa_tested_expect_part(text, "recurrence");
    wa_tested_expect_part(text, "readout");
    free(text);
}

/* ---- Refusals -------------------------------------------------------------------------------- */

static void test_refusals(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "small.json", small);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "small.json", "--set", "alignment_pair=true",
                                   "--set", "rule.plugin=fa", "--out", "run"),
                     2);
    WA_TESTED_EXPECT_ERROR(tested, "alignment_pair", "exact_gradient");
    assert_null(strstr(tested->errors, "backprop"));
    assert_false(wa_tested_has(tested, "run"));
    assert_int_equal(WA_TESTED_RUN(tested, "score", "."), 2);
    WA_TESTED_EXPECT_ERROR(tested, "run.json");
    assert_int_equal(WA_TESTED_RUN(tested, "train", "small.json", "--out", "run", "--quiet"), 0);
    assert_int_equal(WA_TESTED_RUN(tested, "score", "run"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "alignment_pair");
    static const struct {
        const char *config, *part;
    } cases[] = {
        {"{'epochs': 3}", "sweep"},
        {"{'sweep': 's', 'epochs': 'some'}", "score.json:1:16: epochs"},
        {"{'sweep': 's', 'estimater': 'exact'}", "estimator"},
        {"{'sweep': 's', 'where': 3}", "where"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wa_tested_write_json(tested, "score.json", cases[i].config);
        assert_int_equal(WA_TESTED_RUN(tested, "score", "score.json"), 2);
        WA_TESTED_EXPECT_ERROR(tested, "score.json", cases[i].part);
    }
}

#define TEST(function)                                                                             \
    cmocka_unit_test_setup_teardown(function, wa_tested_set_up, wa_tested_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_golden_pair),
        TEST(test_bits),
        TEST(test_angles),
        TEST(test_score),
        TEST(test_score_of_a_stopped_run),
        TEST(test_score_of_impossible_sizes),
        TEST(test_control),
        TEST(test_control_is_shuffled_as_numpy_does),
        TEST(test_score_of_a_recurrence),
        TEST(test_refusals),
    };
    return cmocka_run_group_tests_name("alignment", tests, NULL, NULL);
}
