/* Training on folders of images as a user does it: smaller last batches, threads, resuming, and folders
 * and files that are not as they should be. Images are made here; where $WALIGN_TEST_DATA names a folder
 * with imagenet-sample, a few steps of the ImageNet network run on that too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image_writer.h"
#include "safetensors.h"
#include "tested_program.h"

enum { CLASSES = 3, TRAIN_EACH = 7, VALIDATION_EACH = 2 };

static void write_image(struct wa_tested_program *tested, const char *part, int label, int i)
{
    uint8_t *data = NULL;
    size_t size = 0;
    char name[64];
    int width = 40 + 5 * label + i;
    if (i % 3 == 2) {
        wa_image_writer_png(width, 36, 3, 8, 0, &data, &size);
    } else {
        wa_image_writer_jpeg(width, 36, i % 2 ? 1 : 3, 22, 0, 0, &data, &size);
    }
    (void)snprintf(name, sizeof name, "data/%s/class%d/image%d.JPEG", part, label, i);
    wa_tested_write(tested, name, data, size);
    free(data);
}

static void make_folders(struct wa_tested_program *tested)
{
    static const char *const parts[] = {"train", "val"};
    struct wa_data_folder *folder = &tested->folder;
    assert_true(wa_data_folder_make(folder, "data"));
    for (int p = 0; p < 2; p++) {
        char name[64];
        (void)snprintf(name, sizeof name, "data/%s", parts[p]);
        assert_true(wa_data_folder_make(folder, name));
        for (int label = 0; label < CLASSES; label++) {
            (void)snprintf(name, sizeof name, "data/%s/class%d", parts[p], label);
            assert_true(wa_data_folder_make(folder, name));
            for (int i = 0; i < (p ? VALIDATION_EACH : TRAIN_EACH); i++) {
                write_image(tested, parts[p], label, i);
            }
        }
    }
    wa_tested_write_json(tested, "c.json",
                         "{'dataset': {'plugin': 'imagefolder', 'dir': 'data', 'size': 16, 'resize': 20},"
                         " 'architecture': {'plugin': 'cnn', 'width': 8, 'kernels': [3, 3],"
                         " 'strides': [2, 1]}, 'rule': {'plugin': 'align-ada'},"
                         " 'batch': 8, 'epochs': 2, 'log_steps': true,"
                         " 'evaluate': ['validation', 'train']}");
}

static int set_up(void **state)
{
    int status = wa_tested_set_up(state);
    if (status == 0) {
        make_folders(*state);
    }
    return status;
}

#define LAST(run) run "/checkpoints/last.safetensors"

/* 21 images make batches of 8, 8 and 5; the 6 of val/ are fewer than a batch. */
static void test_the_smaller_last_batch_counts(void **state)
{
    struct wa_tested_program *tested = *state;
    assert_int_equal(WA_TESTED_RUN(tested, "train", "c.json", "--out", "run", "--quiet"), 0);
    char *steps = wa_tested_read(tested, "run/steps.jsonl", NULL);
    wa_tested_expect_part(steps, "\"step\":6");
    assert_null(strstr(steps, "\"step\":7"));
    free(steps);
    char *metrics = wa_tested_read(tested, "run/metrics.jsonl", NULL);
    wa_tested_expect_part(metrics, "validation_loss");
    wa_tested_expect_part(metrics, "train_eval_loss");
    free(metrics);
}

/* A batch smaller than the config's gives the bits that it gives as the config's own. */
static void test_a_smaller_batch_is_as_good_as_its_own(void **state)
{
    struct wa_tested_program *tested = *state;
    static const char *const rules[] = {"align-ada", "align-zero", "fa", "dfa", "backprop"};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        char rule[64];
        char a[32];
        char b[32];
        (void)snprintf(rule, sizeof rule, "rule.plugin=%s", rules[i]);
        (void)snprintf(a, sizeof a, "a%zu", i);
        (void)snprintf(b, sizeof b, "b%zu", i);
        assert_int_equal(WA_TESTED_RUN(tested, "train", "c.json", "--set", rule, "--set",
                                       "dataset.train_limit=5", "--set", "batch=9", "--set",
                                       "epochs=3", "--out", a, "--quiet"),
                         0);
        assert_int_equal(WA_TESTED_RUN(tested, "train", "c.json", "--set", rule, "--set",
                                       "dataset.train_limit=5", "--set", "batch=5", "--set",
                                       "evaluate=[]", "--set", "epochs=3", "--out", b, "--quiet"),
                         0);
        (void)snprintf(a, sizeof a, "a%zu/steps.jsonl", i);
        (void)snprintf(b, sizeof b, "b%zu/steps.jsonl", i);
        wa_tested_expect_equal(tested, a, b);
    }
    wa_tested_expect_equal(tested, LAST("a0/"), LAST("b0/"));
    wa_tested_expect_equal(tested, LAST("a3/"), LAST("b3/"));
}

/* So does a second rule on the same batches, in the pair and in angles. */
static void test_followers_take_smaller_batches(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write_json(tested, "pair.json",
                         "{'dataset': {'plugin': 'imagefolder', 'dir': 'data', 'size': 16, 'resize': 20,"
                         " 'train_limit': 5}, 'architecture': {'plugin': 'cnn', 'width': 8,"
                         " 'kernels': [3, 3], 'strides': [2, 1]}, 'rule': {'plugin': 'backprop'},"
                         " 'batch': 9, 'epochs': 3, 'evaluate': ['validation'],"
                         " 'alignment_pair': true, 'log_angles': true}");
    assert_int_equal(WA_TESTED_RUN(tested, "train", "pair.json", "--out", "a", "--quiet"), 0);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "pair.json", "--set", "batch=5", "--set",
                                   "evaluate=[]", "--out", "b", "--quiet"),
                     0);
    wa_tested_expect_equal(tested, LAST("a/"), LAST("b/"));
    char *metrics = wa_tested_read(tested, "a/metrics.jsonl", NULL);
    wa_tested_expect_part(metrics, "\"angle_update.conv1\":0.0");
    free(metrics);
    /* whole batches and a smaller one in turn */
    assert_int_equal(WA_TESTED_RUN(tested, "train", "pair.json", "--set", "batch=3", "--out", "c",
                                   "--quiet"),
                     0);
}

static void test_threads_change_nothing(void **state)
{
    struct wa_tested_program *tested = *state;
    tested->environment[0] = "WALIGN_LOADER_THREADS=1";
    assert_int_equal(WA_TESTED_RUN(tested, "train", "c.json", "--out", "one", "--quiet"), 0);
    tested->environment[0] = "WALIGN_LOADER_THREADS=7";
    assert_int_equal(WA_TESTED_RUN(tested, "train", "c.json", "--out", "seven", "--quiet"), 0);
    wa_tested_expect_equal(tested, LAST("one"), LAST("seven"));
    wa_tested_expect_equal(tested, "one/steps.jsonl", "seven/steps.jsonl");
    wa_tested_expect_equal_metrics(tested, "one/metrics.jsonl", "seven/metrics.jsonl");
    tested->environment[0] = "WALIGN_LOADER_THREADS=many";
    assert_int_equal(WA_TESTED_RUN(tested, "train", "c.json", "--out", "none", "--quiet"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "WALIGN_LOADER_THREADS", "'many'", "1 to 256");
}

/* Crops go on where they were. */
static void test_resume_continues_the_crops(void **state)
{
    struct wa_tested_program *tested = *state;
    assert_int_equal(WA_TESTED_RUN(tested, "train", "c.json", "--out", "run", "--quiet"), 0);
    assert_int_equal(WA_TESTED_RUN(tested, "train", "c.json", "--set", "epochs=1", "--out", "part",
                                   "--quiet"),
                     0);
    assert_int_equal(
        WA_TESTED_RUN(tested, "train", "c.json", "--out", "part", "--quiet", "--resume"), 0);
    wa_tested_expect_equal(tested, LAST("run"), LAST("part"));
}

/* Steps in the epoch that has begun, as the run's last checkpoint has it. */
static uint64_t steps_in_epoch(struct wa_tested_program *tested, const char *name)
{
    struct wa_safetensors *file = NULL;
    struct wa_error err = {0};
    assert_int_equal(wa_safetensors_read(wa_data_folder_file(&tested->folder, name), &file, &err),
                     WA_OK);
    const struct wa_safetensors_entry *progress = wa_safetensors_find(file, "state.progress");
    assert_non_null(progress);
    uint64_t steps = ((const uint64_t *)progress->data)[2];
    wa_safetensors_destroy(file);
    return steps;
}

/* In the middle of an epoch the loader is ahead of the steps: its items, crops and mirrors are drawn again
 * from where the steps were. One image a step and many of them, so that an epoch takes seconds and
 * steps.jsonl, which appears after half of one, in its middle; "steps" ends in the middle of another one. */
static void test_resume_in_the_middle_of_an_epoch(void **state)
{
    enum { MORE_EACH = 400, QUIET = 8, OUT = 10 }; /* places in arguments */
    struct wa_tested_program *tested = *state;
    static const char *const arguments[] = {
        "train", "c.json",     "--set",   "batch=1", "--set",       "evaluate=[\"validation\"]",
        "--set", "steps=2000", "--quiet", "--out",   "interrupted", NULL};
    const char *whole[sizeof arguments / sizeof *arguments];
    const char *resumed[sizeof arguments / sizeof *arguments];
    memcpy(whole, arguments, sizeof arguments);
    memcpy(resumed, arguments, sizeof arguments);
    whole[OUT] = "whole";
    resumed[QUIET] = "--resume";
    for (int label = 0; label < CLASSES; label++) {
        for (int i = TRAIN_EACH; i < MORE_EACH; i++) {
            write_image(tested, "train", label, i);
        }
    }
    assert_int_equal(wa_tested_run(tested, whole), 0);
    pid_t process = wa_tested_start(tested, arguments);
    wa_tested_await(tested, "interrupted/steps.jsonl");
    assert_int_equal(kill(process, SIGTERM), 0);
    assert_int_equal(wa_tested_wait(tested, process), 1);
    WA_TESTED_EXPECT_ERROR(tested, "stopped after step ", "--resume");
    assert_true(steps_in_epoch(tested, LAST("interrupted")) > 0);
    assert_int_equal(wa_tested_run(tested, resumed), 0);
    wa_tested_expect_part(tested->errors, "resumed after step ");
    wa_tested_expect_equal(tested, LAST("whole"), LAST("interrupted"));
    wa_tested_expect_equal(tested, "whole/steps.jsonl", "interrupted/steps.jsonl");
    wa_tested_expect_equal_metrics(tested, "whole/metrics.jsonl", "interrupted/metrics.jsonl");
}

static void expect_refused(struct wa_tested_program *tested, const char *a, const char *b)
{
    assert_int_equal(WA_TESTED_RUN(tested, "train", "c.json", "--out", "none", "--quiet"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "imagefolder", a, b);
    assert_false(wa_tested_has(tested, "none/run.json"));
}

/* Found when an epoch comes to it: the run has begun. */
static void expect_failed(struct wa_tested_program *tested, const char *a, const char *b)
{
    assert_int_equal(WA_TESTED_RUN(tested, "train", "c.json", "--out", "none", "--quiet"), 1);
    WA_TESTED_EXPECT_ERROR(tested, "imagefolder", a, b);
    assert_true(wa_data_folder_delete(&tested->folder, "none/run.json"));
}

static void test_broken_files_are_named(void **state)
{
    struct wa_tested_program *tested = *state;
    wa_tested_write(tested, "data/train/class1/image1.JPEG", "\xff\xd8\xff junk", 8);
    expect_failed(tested, "class1/image1.JPEG", "cannot be decoded");
    wa_tested_write(tested, "data/train/class1/image1.JPEG", "text", 4);
    expect_failed(tested, "class1/image1.JPEG", "neither a JPEG nor a PNG");
    wa_tested_write(tested, "data/train/class1/notes.txt", "text", 4);
    expect_refused(tested, "class1/notes.txt", "neither a JPEG nor a PNG");
}

/* The first broken item in order is named, whichever thread came to one first. */
static void test_the_first_failure_is_named(void **state)
{
    struct wa_tested_program *tested = *state;
    tested->environment[0] = "WALIGN_LOADER_THREADS=8";
    wa_tested_write(tested, "data/train/class0/image5.JPEG", "text", 4);
    wa_tested_write(tested, "data/train/class1/image0.JPEG", "text", 4);
    wa_tested_write(tested, "data/train/class2/image0.JPEG", "text", 4);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(WA_TESTED_RUN(tested, "train", "c.json", "--set", "shuffle=false", "--out",
                                       "none", "--quiet"),
                         1);
        WA_TESTED_EXPECT_ERROR(tested, "class0/image5.JPEG");
        assert_true(wa_data_folder_delete(&tested->folder, "none/run.json"));
    }
}

static void test_folders_that_are_not_as_expected(void **state)
{
    struct wa_tested_program *tested = *state;
    struct wa_data_folder *folder = &tested->folder;
    assert_true(wa_data_folder_make(folder, "data/train/class9"));
    expect_refused(tested, "train/class9", "without images");
    write_image(tested, "train", 9, 0);
    assert_true(wa_data_folder_make(folder, "data/train/class9/more"));
    expect_refused(tested, "train/class9/more", "is a folder");
    wa_tested_write(tested, "data/train/archive.tar", "x", 1);
    expect_refused(tested, "train/", "move it away");
    assert_true(wa_data_folder_make(folder, "empty"));
    assert_true(wa_data_folder_make(folder, "empty/train"));
    assert_int_equal(WA_TESTED_RUN(tested, "train", "c.json", "--set", "dataset.dir=empty"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "empty/train", "no class folders");
}

static void test_classes_and_sizes(void **state)
{
    struct wa_tested_program *tested = *state;
    assert_int_equal(WA_TESTED_RUN(tested, "train", "c.json", "--quiet", "--out", "held", "--set",
                                   "dataset.validation=3"),
                     0);
    WA_TESTED_EXPECT_ERROR(tested, "dataset.validation is 3", "own, of 6 items, ignoring");
    assert_int_equal(WA_TESTED_RUN(tested, "train", "c.json", "--set", "dataset.classes=2"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "'classes' is 2", "3 class folders");
    assert_int_equal(WA_TESTED_RUN(tested, "train", "c.json", "--set", "dataset.resize=15"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "'resize' is 15", "'size', 16");
    assert_true(wa_data_folder_make(&tested->folder, "data/val/other"));
    expect_refused(tested, "val/other", "no class of the training images");
}

static void test_bench_shows_the_rate_of_decoding(void **state)
{
    struct wa_tested_program *tested = *state;
    assert_int_equal(WA_TESTED_RUN(tested, "bench", "c.json", "--steps", "2", "--json"), 0);
    wa_tested_expect_part(tested->output, "decoded_images_per_second_per_core");
    assert_int_equal(WA_TESTED_RUN(tested, "bench", "c.json", "--steps", "2"), 0);
    wa_tested_expect_part(tested->output, "decoded images/s per core");
}

static void test_the_imagenet_network_on_real_images(void **state)
{
    struct wa_tested_program *tested = *state;
    const char *data = getenv("WALIGN_TEST_DATA");
    const char *source = getenv("WALIGN_TEST_SOURCE");
    char set[4200];
    char config[4200];
    if (!data || !source) {
        print_message("skipped: WALIGN_TEST_DATA does not name a folder with imagenet-sample\n");
        skip();
    }
    (void)snprintf(set, sizeof set, "dataset.dir=%s/imagenet-sample", data);
    (void)snprintf(config, sizeof config, "%s/configs/imagenet/imagenet-cnn.json", source);
    assert_int_equal(WA_TESTED_RUN(tested, "train", config, "--set", set, "--set", "batch=20", "--set",
                                   "architecture.width=8", "--set", "steps=3", "--set",
                                   "dataset.classes=1000", "--out", "run", "--quiet"),
                     0);
    char *metrics = wa_tested_read(tested, "run/metrics.jsonl", NULL);
    wa_tested_expect_part(metrics, "\"step\":3");
    wa_tested_expect_part(metrics, "validation_accuracy");
    free(metrics);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, wa_tested_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_smaller_last_batch_counts),
        TEST(test_a_smaller_batch_is_as_good_as_its_own),
        TEST(test_followers_take_smaller_batches),
        TEST(test_threads_change_nothing),
        TEST(test_resume_continues_the_crops),
        TEST(test_resume_in_the_middle_of_an_epoch),
        TEST(test_broken_files_are_named),
        TEST(test_the_first_failure_is_named),
        TEST(test_folders_that_are_not_as_expected),
        TEST(test_classes_and_sizes),
        TEST(test_bench_shows_the_rate_of_decoding),
        TEST(test_the_imagenet_network_on_real_images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
