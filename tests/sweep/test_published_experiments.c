/* Every file of configs/ runs, small: on drawn images and written image folders of few pixels, and again
 * on the real files of $WALIGN_TEST_DATA (cifar10, kmnist or kmnist-t10k-split, imagenet-sample), in
 * their own shape. Those that are not there are skipped by name. */
#define _XOPEN_SOURCE 700 /* nftw */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/cifar10_files.h"
#include "../support/image_writer.h"
#include "../support/tested_program.h"

enum { CLASSES = 3, TRAIN_EACH = 4, VALIDATION_EACH = 2, WORD = 64, SET_BYTES = 4400 };

/* ---- The experiments ------------------------------------------------------------------------- */

struct sweep {
    const char *file, *rule; /* what of its rules is run; NULL: all */
    size_t runs;
};

static const struct sweep cifar10_sweeps[] = {
    {"cifar10/widths", "[\"fa\",\"dfa\"]", 2},
    {"cifar10/learning-rates", "align-ada", 1},
    {"cifar10/standard-parameterization", "align-zero", 1},
    {"cifar10/small-data", "backprop", 7},
    {"cifar10/align-prop", "align-prop", 1},
    {"cifar10/seeds", "dfa", 2},
    {"cifar10/training-time", "backprop", 2},
    {NULL, NULL, 0},
};
static const struct sweep kmnist_sweeps[] = {
    {"kmnist/widths", "last-layer", 1},
    {"kmnist/learning-rates", "backprop", 1},
    {NULL, NULL, 0},
};
static const struct sweep imagenet_sweeps[] = {{"imagenet/rules", NULL, 5}, {NULL, NULL, 0}};
static const struct sweep add_sweeps[] = {{"add/widths", NULL, 4}, {NULL, NULL, 0}};

/* Single runs: no sweep. */
static const char *const imagenet_run = "imagenet/imagenet-cnn";
static const char *const quickstart = "quickstart";

/* What `walign tune` measures; it is no experiment. */
static const char *const tuned = "tune";

/* Experiments that share a data set, and alignment/<name>-{train,widths,training}.json. */
struct family {
    const char *name;
    const struct sweep *sweeps;
    size_t layers;             /* that are scored */
    const char *learning_rate; /* as few steps bear it */
};

static const struct family cifar10 = {"cifar10", cifar10_sweeps, 8, "0.5"};
static const struct family kmnist = {"kmnist", kmnist_sweeps, 4, "0.5"};
static const struct family imagenet = {"imagenet", imagenet_sweeps, 8, "0.5"};
static const struct family add = {"add", add_sweeps, 2, "0.001"};
static const struct family *const families[] = {&cifar10, &kmnist, &imagenet, &add};
enum { FAMILIES = sizeof families / sizeof *families };

static const char *config_path(const char *file, char path[SET_BYTES])
{
    (void)snprintf(path, SET_BYTES, "%s/configs/%s.json", wa_tested_source(), file);
    return path;
}

/* ---- Sweeps ---------------------------------------------------------------------------------- */

static size_t count_parts(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++) {
        count++;
    }
    return count;
}

/* One step of each run, then an evaluation; `dataset`: --set's argument. */
static void run_sweeps(struct wa_tested_program *tested, const struct family *family,
                       const char *dataset)
{
    char path[SET_BYTES];
    char rate[WORD];
    char rule[WORD];
    (void)snprintf(rate, sizeof rate, "optimizer.learning_rate=%s", family->learning_rate);
    for (const struct sweep *sweep = family->sweeps; sweep->file; sweep++) {
        char lines[WORD];
        bool has_seeds = strstr(sweep->file, "seeds") || strstr(sweep->file, "time");
        (void)snprintf(rule, sizeof rule, sweep->rule ? "rule.plugin=%s" : "epochs=1", sweep->rule);
        (void)snprintf(lines, sizeof lines, "%s/sweep.jsonl", sweep->file);
        if (WA_TESTED_RUN(tested, "sweep", config_path(sweep->file, path), "--out", sweep->file,
                          "--set", dataset, "--set", "dataset.validation_limit=20", "--set", rule,
                          "--set", rate, "--set", "architecture.width=8", "--set", "batch=10",
                          "--set", "epochs=1", "--set", "steps=1", "--set",
                          has_seeds ? "seed=[100,101]" : "seed=99") != 0) {
            fail_msg("%s: %s", sweep->file, tested->errors);
        }
        char *text = wa_tested_read(tested, lines, NULL);
        assert_int_equal(count_parts(text, "\"status\":\"done\""), sweep->runs);
        assert_int_equal(count_parts(text, "\n"), sweep->runs);
        free(text);
    }
}

static void run_single(struct wa_tested_program *tested, const char *file, const char *dataset)
{
    char path[SET_BYTES];
    assert_int_equal(WA_TESTED_RUN(tested, "train", config_path(file, path), "--out", "single",
                                   "--set", dataset, "--set", "architecture.width=8", "--set",
                                   "batch=10", "--set", "steps=1", "--quiet"),
                     0);
    char *metrics = wa_tested_read(tested, "single/metrics.jsonl", NULL);
    wa_tested_expect_part(metrics, "validation_accuracy");
    free(metrics);
}

/* ---- Alignment ------------------------------------------------------------------------------- */

/* A published config of `walign score`, for the sweep in the folder "pairs" of one epoch. */
static json_object *write_score_config(struct wa_tested_program *tested, const char *file,
                                       const char *estimator, int width)
{
    char path[SET_BYTES];
    json_object *config = json_object_from_file(config_path(file, path));
    json_object *sweep = json_object_object_get(config, "sweep");
    json_object *where = json_object_object_get(config, "where");
    assert_non_null(sweep);
    /* what it names is there beside it */
    char named[2 * SET_BYTES];
    (void)snprintf(named, sizeof named, "%.*s%s", (int)(strrchr(path, '/') + 1 - path), path,
                   json_object_get_string(sweep));
    assert_int_equal(access(named, R_OK), 0);
    (void)json_object_object_add(config, "sweep", json_object_new_string("pairs"));
    if (json_object_is_type(json_object_object_get(config, "epochs"), json_type_int)) {
        (void)json_object_object_add(config, "epochs", json_object_new_int(1));
    }
    if (where) {
        (void)json_object_object_add(where, "architecture.width", json_object_new_int(width));
    }
    assert_string_equal(json_object_get_string(json_object_object_get(config, "estimator")),
                        "noise");
    (void)json_object_object_add(config, "estimator", json_object_new_string(estimator));
    const char *text = json_object_to_json_string(config);
    wa_tested_write(tested, "score.json", text, strlen(text));
    return config;
}

/* scores.jsonl has `lines` lines; scores are null at epoch 0 only, otherwise above 0 and at most 1 but
 * for the noise of the estimate, good to 0.01 at these sizes. */
static void expect_scores(struct wa_tested_program *tested, const char *file, size_t lines,
                          bool has_control)
{
    char *text = wa_tested_read(tested, "scored/scores.jsonl", NULL);
    size_t count = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        json_object *object = json_tokener_parse(line);
        json_object *score = json_object_object_get(object, "score");
        bool is_initial = json_object_get_int(json_object_object_get(object, "epoch")) == 0;
        double value = score ? json_object_get_double(score) : (double)NAN;
        if (is_initial ? !isnan(value) : !(value > 0 && value < 1.05)) {
            fail_msg("%s: a score that cannot be: %s", file, line);
        }
        assert_int_equal(json_object_object_get_ex(object, "control", NULL), has_control);
        (void)json_object_put(object);
        count++;
    }
    if (count != lines) {
        fail_msg("%s: %zu lines, expected %zu", file, count, lines);
    }
    free(text);
}

/* Two widths for one epoch, then the scores over widths and over epochs. */
static void run_alignment(struct wa_tested_program *tested, const struct family *family,
                          const char *dataset, const char *estimator)
{
    char path[SET_BYTES];
    char file[WORD];
    char rate[WORD];
    (void)snprintf(file, sizeof file, "alignment/%s-train", family->name);
    (void)snprintf(rate, sizeof rate, "optimizer.learning_rate=%s", family->learning_rate);
    if (WA_TESTED_RUN(tested, "sweep", config_path(file, path), "--out", "pairs", "--set", dataset,
                      "--set", "dataset.train_limit=20", "--set", "dataset.validation_limit=10",
                      "--set", rate, "--set", "architecture.width=[2,4]", "--set", "batch=10",
                      "--set", "epochs=1") != 0) {
        fail_msg("%s: %s", file, tested->errors);
    }
    static const char *const kinds[] = {"widths", "training"};
    for (int kind = 0; kind < 2; kind++) {
        bool is_training = kind == 1;
        (void)snprintf(file, sizeof file, "alignment/%s-%s", family->name, kinds[kind]);
        json_object *config = write_score_config(tested, file, estimator, 2);
        assert_int_equal(is_training, json_object_object_get(config, "where") != NULL);
        assert_int_equal(WA_TESTED_RUN(tested, "score", "score.json", "--out", "scored"), 0);
        /* two widths at the last epoch, or one width at two epochs */
        expect_scores(tested, file, 2 * family->layers,
                      json_object_get_boolean(json_object_object_get(config, "control")) != 0);
        (void)json_object_put(config);
    }
}

/* ---- Without files --------------------------------------------------------------------------- */

#define GLYPHS(more) "dataset={\"plugin\":\"glyphs\",\"items\":300,\"validation\":100," more "}"

static void test_cifar10(void **state)
{
    run_sweeps(*state, &cifar10, GLYPHS("\"height\":32,\"width\":32,\"channels\":3"));
}

static void test_kmnist(void **state)
{
    run_sweeps(*state, &kmnist, GLYPHS("\"height\":28"));
}

static void test_add(void **state)
{
    run_sweeps(*state, &add, "dataset.validation=0");
}

static void test_quickstart(void **state)
{
    run_single(*state, quickstart, GLYPHS("\"height\":28"));
}

/* data/{train,val}/<class>/<JPEG and PNG files> in the test's folder; --set's argument for it, with items
 * of so many rows and columns, into set. */
static void make_image_folder(struct wa_tested_program *tested, int size_pixels,
                              char set[SET_BYTES])
{
    static const char *const parts[] = {"train", "val"};
    char name[WORD];
    assert_true(wa_data_folder_make(&tested->folder, "data"));
    for (int part = 0; part < 2; part++) {
        (void)snprintf(name, sizeof name, "data/%s", parts[part]);
        assert_true(wa_data_folder_make(&tested->folder, name));
        for (int label = 0; label < CLASSES; label++) {
            (void)snprintf(name, sizeof name, "data/%s/class%d", parts[part], label);
            assert_true(wa_data_folder_make(&tested->folder, name));
            for (int i = 0; i < (part ? VALIDATION_EACH : TRAIN_EACH); i++) {
                uint8_t *data = NULL;
                size_t size = 0;
                if (i % 2) {
                    wa_image_writer_png(90 + 7 * label, 80 + i, 3, 8, 0, &data, &size);
                } else {
                    wa_image_writer_jpeg(90 + 7 * label, 80 + i, 3, 22, 0, 0, &data, &size);
                }
                (void)snprintf(name, sizeof name, "data/%s/class%d/%d", parts[part], label, i);
                (void)strcat(name, i % 2 ? ".png" : ".JPEG");
                wa_tested_write(tested, name, data, size);
                free(data);
            }
        }
    }
    (void)snprintf(set, SET_BYTES,
                   "dataset={\"plugin\":\"imagefolder\",\"dir\":\"%s/data\",\"size\":%d,"
                   "\"resize\":%d}",
                   tested->folder.path, size_pixels, size_pixels + 2);
}

static void test_imagenet(void **state)
{
    struct wa_tested_program *tested = *state;
    char dataset[SET_BYTES];
    make_image_folder(tested, 64, dataset);
    run_sweeps(tested, &imagenet, dataset);
    run_single(tested, imagenet_run, dataset);
}

/* The published estimate walks every pixel 10^4 times: these are the fewest that the nets can have. */
static void test_alignment_cifar10(void **state)
{
    run_alignment(*state, &cifar10, GLYPHS("\"height\":8,\"width\":8,\"channels\":3"), "noise");
}

static void test_alignment_kmnist(void **state)
{
    run_alignment(*state, &kmnist, GLYPHS("\"height\":8,\"width\":8"), "noise");
}

static void test_alignment_add(void **state)
{
    run_alignment(*state, &add, "dataset.validation=0", "noise");
}

static void test_alignment_imagenet(void **state)
{
    char dataset[SET_BYTES];
    make_image_folder(*state, 16, dataset);
    run_alignment(*state, &imagenet, dataset, "noise");
}

/* ---- On real files --------------------------------------------------------------------------- */

/* $WALIGN_TEST_DATA/<name>, which has `file` in it; NULL where it has not. */
static const char *find_data(const char *name, const char *file, char path[SET_BYTES])
{
    const char *data = getenv("WALIGN_TEST_DATA");
    char found[SET_BYTES + WORD];
    if (!data || !*data) {
        return NULL;
    }
    (void)snprintf(path, SET_BYTES, "%.4000s/%s", data, name);
    (void)snprintf(found, sizeof found, "%s/%s", path, file);
    return access(found, R_OK) == 0 ? path : NULL;
}

static void skip_without(const char *what)
{
    const char *data = getenv("WALIGN_TEST_DATA");
    print_message("skipped: %s: %s%s\n", what,
                  data && *data ? "not in " : "WALIGN_TEST_DATA names no folder of real data",
                  data && *data ? data : "");
    skip();
}

/* The exact scores: at full size the published estimate takes minutes. */
static void run_on(struct wa_tested_program *tested, const struct family *family, const char *dir)
{
    char set[SET_BYTES + WORD];
    (void)snprintf(set, sizeof set, "dataset.dir=%s", dir);
    run_sweeps(tested, family, set);
    run_alignment(tested, family, set, "exact");
}

/* What is unpacked goes even when the test fails. */
struct unpacked_test {
    void *tested;
    struct wa_cifar10_files files;
    bool has_files;
};

static int set_up_unpacked(void **state)
{
    struct unpacked_test *test = calloc(1, sizeof *test);
    const char *data = getenv("WALIGN_TEST_DATA");
    assert_non_null(test);
    *state = test;
    test->has_files =
        data && *data && wa_cifar10_files_exist(data) && wa_cifar10_files_open(data, &test->files);
    return wa_tested_set_up(&test->tested);
}

static int tear_down_unpacked(void **state)
{
    struct unpacked_test *test = *state;
    bool is_removed = !test->has_files || wa_cifar10_files_close(&test->files);
    int status = wa_tested_tear_down(&test->tested);
    free(test);
    return is_removed ? status : -1;
}

static void test_cifar10_on_real_images(void **state)
{
    struct unpacked_test *test = *state;
    if (!test->has_files) {
        skip_without("the CIFAR-10 experiments on cifar10/data_batch_1.bin[.xz], ...");
    }
    run_on(test->tested, &cifar10, test->files.dir);
}

static void test_kmnist_on_real_images(void **state)
{
    char path[SET_BYTES];
    static const char file[] = "train-images-idx3-ubyte.gz";
    const char *dir = find_data("kmnist", file, path);
    if (!dir) {
        dir = find_data("kmnist-t10k-split", file, path);
    }
    if (!dir) {
        skip_without("the KMNIST experiments on kmnist/ or kmnist-t10k-split/ with train images");
    }
    run_on(*state, &kmnist, dir);
}

static void test_imagenet_on_real_images(void **state)
{
    char path[SET_BYTES];
    char set[SET_BYTES + WORD];
    const char *dir = find_data("imagenet-sample", "train", path);
    if (!dir) {
        skip_without("the ImageNet experiments on imagenet-sample/train and val");
    }
    run_on(*state, &imagenet, dir);
    (void)snprintf(set, sizeof set, "dataset.dir=%s", dir);
    run_single(*state, imagenet_run, set);
}

/* Networks of three kinds, each in three widths; tests/command/test_tune.c measures them. */
static void test_tuned_networks(void **state)
{
    struct wa_tested_program *tested = *state;
    char path[SET_BYTES];
    assert_int_equal(WA_TESTED_RUN(tested, "sweep", config_path(tuned, path), "--list"), 0);
    size_t lines = 0;
    for (const char *c = tested->output; *c; c++) {
        lines += *c == '\n';
    }
    assert_int_equal(lines, 9);
}

/* ---- Nothing is left out --------------------------------------------------------------------- */

static bool is_run_here(const char *name)
{
    static const char *const scores[] = {"train", "widths", "training"};
    bool is_known = strcmp(name, "schema") == 0 || strcmp(name, quickstart) == 0 ||
                    strcmp(name, imagenet_run) == 0 || strcmp(name, tuned) == 0;
    for (size_t i = 0; i < FAMILIES; i++) {
        for (const struct sweep *sweep = families[i]->sweeps; sweep->file; sweep++) {
            is_known = is_known || strcmp(name, sweep->file) == 0;
        }
        for (size_t k = 0; k < sizeof scores / sizeof *scores; k++) {
            char file[WORD];
            (void)snprintf(file, sizeof file, "alignment/%s-%s", families[i]->name, scores[k]);
            is_known = is_known || strcmp(name, file) == 0;
        }
    }
    return is_known;
}

static int check_entry(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)where;
    static const char suffix[] = ".json";
    static const char folder[] = "/configs/";
    size_t length = strlen(path);
    if (type != FTW_F || length < sizeof suffix ||
        strcmp(path + length - (sizeof suffix - 1), suffix) != 0) {
        return 0;
    }
    const char *name = NULL; /* after the last "/configs/" */
    for (const char *at = path; (at = strstr(at, folder)) != NULL;) {
        at += sizeof folder - 1;
        name = at;
    }
    char stem[SET_BYTES];
    assert_non_null(name);
    (void)snprintf(stem, sizeof stem, "%.*s", (int)(strlen(name) - (sizeof suffix - 1)), name);
    if (!is_run_here(stem)) {
        fail_msg("%s: no test here runs it", path);
    }
    return 0;
}

static void test_every_config_is_run(void **state)
{
    (void)state;
    char path[SET_BYTES];
    (void)snprintf(path, sizeof path, "%s/configs", wa_tested_source());
    assert_int_equal(nftw(path, check_entry, 8, FTW_PHYS), 0);
}

int main(void)
{
#define TEST(function)                                                                             \
    cmocka_unit_test_setup_teardown(function, wa_tested_set_up, wa_tested_tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_config_is_run),
        TEST(test_cifar10),
        TEST(test_kmnist),
        TEST(test_imagenet),
        TEST(test_add),
        TEST(test_quickstart),
        TEST(test_tuned_networks),
        TEST(test_alignment_cifar10),
        TEST(test_alignment_kmnist),
        TEST(test_alignment_imagenet),
        TEST(test_alignment_add),
        cmocka_unit_test_setup_teardown(test_cifar10_on_real_images, set_up_unpacked,
                                        tear_down_unpacked),
        TEST(test_kmnist_on_real_images),
        TEST(test_imagenet_on_real_images),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
