/* Data files that are missing, cut off, damaged or do not belong together: named with what was
 * expected, before anything is written. The readers' own tests (tests/unit) go into detail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "command_test.h"

enum { ITEMS = 4, PIXELS = 3 * 3 };

static int set_up(void **state)
{
    int result = wa_tested_set_up(state);
    if (result == 0) {
        wa_tested_write_json(
            *state, "arrays.json",
            "{'dataset': {'plugin': 'arrays', 'images': 'x.npy', 'labels': 'y.npy'},"
            " 'architecture': {'plugin': 'cnn', 'width': 2, 'kernels': [3],"
            " 'strides': [1]}, 'rule': {'plugin': 'fa'}, 'batch': 2, 'epochs': 1}");
    }
    return result;
}

static void write_arrays(struct wa_tested_program *t)
{
    unsigned char pixels[ITEMS * PIXELS];
    for (size_t i = 0; i < sizeof pixels; i++) {
        pixels[i] = (unsigned char)(31 * i);
    }
    wa_tested_write_npy(t, "x.npy", "|u1", "4, 3, 3, 1", pixels, sizeof pixels);
    wa_tested_write_npy(t, "y.npy", "|u1", "4,", "\0\1\2\1", ITEMS);
}

static void expect_refusal(struct wa_tested_program *t, const char *const *texts)
{
    assert_int_equal(WA_TESTED_RUN(t, "train", "arrays.json", "--out", "run"), 2);
    wa_tested_expect_error(t, texts);
    assert_false(wa_tested_has(t, "run"));
}
#define EXPECT_REFUSAL(t, ...) expect_refusal((t), (const char *const[]){__VA_ARGS__, NULL})

static void test_arrays(void **state)
{
    struct wa_tested_program *t = *state;
    write_arrays(t);
    assert_int_equal(WA_TESTED_RUN(t, "train", "arrays.json", "--out", "good", "--quiet"), 0);
    assert_true(wa_data_folder_delete(&t->folder, "x.npy"));
    EXPECT_REFUSAL(t, "x.npy", "No such file");
    write_arrays(t);
    wa_tested_write_npy(t, "y.npy", "|u1", "3,", "\0\1\2", 3);
    EXPECT_REFUSAL(t, "x.npy", "y.npy", "4", "3");
    wa_tested_write_npy(t, "y.npy", "|i1", "4,", "\0\1\377\2", 4);
    EXPECT_REFUSAL(t, "y.npy", "-1");
    wa_tested_write(t, "y.npy", "labels", 6);
    EXPECT_REFUSAL(t, "y.npy");
    write_arrays(t);
    size_t size = 0;
    char *images = wa_tested_read(t, "x.npy", &size);
    wa_tested_write(t, "x.npy", images, size - 7);
    free(images);
    EXPECT_REFUSAL(t, "x.npy", "29", "36");
    wa_tested_write_npy(t, "x.npy", "<f8", "4, 3, 3, 1", "", 0);
    EXPECT_REFUSAL(t, "x.npy", "<f8", "float32");
}

static void test_label_out_of_range(void **state)
{
    struct wa_tested_program *t = *state;
    write_arrays(t);
    assert_int_equal(
        WA_TESTED_RUN(t, "train", "arrays.json", "--out", "run", "--set", "dataset.classes=2"), 2);
    WA_TESTED_EXPECT_ERROR(t, "y.npy", "label", "2");
    assert_false(wa_tested_has(t, "run"));
}

static void test_missing_folder(void **state)
{
    struct wa_tested_program *t = *state;
    static const char *const datasets[] = {"kmnist", "mnist", "fashion-mnist", "cifar10"};
    for (size_t i = 0; i < sizeof datasets / sizeof *datasets; i++) {
        char config[512] = "{'dataset': {'plugin': '";
        strcat(config, datasets[i]);
        strcat(config, "', 'dir': 'nowhere'}, 'architecture': {'plugin': 'cnn'},"
                       " 'rule': {'plugin': 'fa'}}");
        wa_tested_write_json(t, "config.json", config);
        assert_int_equal(WA_TESTED_RUN(t, "train", "config.json", "--out", "run"), 2);
        WA_TESTED_EXPECT_ERROR(t, "nowhere");
        assert_false(wa_tested_has(t, "run"));
    }
}

/* Without "dir" the message says where was looked and what to do. */
static void test_no_folder_found(void **state)
{
    struct wa_tested_program *t = *state;
    wa_tested_write_json(t, "config.json",
                         "{'dataset': {'plugin': 'cifar10'}, 'architecture': {'plugin': 'cnn'},"
                         " 'rule': {'plugin': 'fa'}}");
    t->environment[0] = "WALIGN_DATA=/there/is/none";
    t->environment[1] = "XDG_DATA_HOME=/nor/here";
    assert_int_equal(WA_TESTED_RUN(t, "train", "config.json", "--out", "run"), 2);
    WA_TESTED_EXPECT_ERROR(t, "/there/is/none/cifar10", "/nor/here/walign/cifar10", "dir");
}

/* idx files of 4 items of 2 x 2 pixels. */
static void write_idx(struct wa_tested_program *t, const char *name, bool is_labels, size_t cut)
{
    unsigned char file[32] = {0, 0, 8, is_labels ? 1 : 3, 0, 0, 0, ITEMS, 0, 0, 0, 2, 0, 0, 0, 2};
    size_t size = is_labels ? 8 + ITEMS : 16 + ITEMS * 4;
    memset(file + (is_labels ? 8 : 16), 1, size - (is_labels ? 8 : 16));
    wa_tested_write(t, name, file, size - cut);
}

static void test_idx(void **state)
{
    struct wa_tested_program *t = *state;
    wa_tested_write_json(t, "config.json",
                         "{'dataset': {'plugin': 'kmnist', 'dir': '.', 'validation': 0},"
                         " 'architecture': {'plugin': 'cnn', 'width': 2, 'kernels': [3],"
                         " 'strides': [1]}, 'rule': {'plugin': 'fa'}, 'batch': 2, 'epochs': 1}");
    write_idx(t, "train-images-idx3-ubyte", false, 0);
    write_idx(t, "train-labels-idx1-ubyte", true, 0);
    write_idx(t, "t10k-images-idx3-ubyte", false, 0);
    write_idx(t, "t10k-labels-idx1-ubyte", true, 0);
    assert_int_equal(WA_TESTED_RUN(t, "train", "config.json", "--out", "good", "--quiet"), 0);
    write_idx(t, "train-images-idx3-ubyte", false, 3);
    assert_int_equal(WA_TESTED_RUN(t, "train", "config.json", "--out", "run"), 2);
    WA_TESTED_EXPECT_ERROR(t, "train-images-idx3-ubyte");
    write_idx(t, "train-images-idx3-ubyte", true, 0); /* another magic */
    assert_int_equal(WA_TESTED_RUN(t, "train", "config.json", "--out", "run"), 2);
    WA_TESTED_EXPECT_ERROR(t, "train-images-idx3-ubyte");
    assert_true(wa_data_folder_delete(&t->folder, "train-images-idx3-ubyte"));
    assert_int_equal(WA_TESTED_RUN(t, "train", "config.json", "--out", "run"), 2);
    WA_TESTED_EXPECT_ERROR(t, "train-images-idx3-ubyte");
    assert_false(wa_tested_has(t, "run"));
}

#define DATA_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, wa_tested_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DATA_TEST(test_arrays),
        DATA_TEST(test_label_out_of_range),
        DATA_TEST(test_missing_folder),
        DATA_TEST(test_no_folder_found),
        DATA_TEST(test_idx),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
