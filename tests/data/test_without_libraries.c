/* A build without libjpeg-turbo, libpng, libcurl and libarchive: what needs one of them names it, leaves
 * nothing half done, and the rest works. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "../support/tested_program.h"

static void test_list(void **state)
{
    struct wa_tested_program *tested = *state;
    assert_int_equal(WA_TESTED_RUN(tested, "data", "list", "--dir", "here"), 0);
    wa_tested_expect_part(tested->output, "mnist");
    wa_tested_expect_part(tested->output, "cifar10");
    wa_tested_expect_part(tested->output, "not there: here");
}

static void test_nothing_is_fetched(void **state)
{
    struct wa_tested_program *tested = *state;
    assert_int_equal(WA_TESTED_RUN(tested, "data", "get", "mnist", "--dir", "got"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "libcurl", "train-images-idx3-ubyte.gz", "got/");
    assert_int_equal(WA_TESTED_RUN(tested, "data", "get", "cifar10", "--dir", "got"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "libcurl", "cifar-10-binary.tar.gz");
    assert_false(wa_tested_has(tested, "got"));
}

/* An archive that was fetched by other means still wants unpacking. */
static void test_nothing_is_unpacked(void **state)
{
    struct wa_tested_program *tested = *state;
    assert_true(wa_data_folder_make(&tested->folder, "got"));
    wa_tested_write(tested, "got/cifar-10-binary.tar.gz", "x", 1);
    assert_int_equal(WA_TESTED_RUN(tested, "data", "get", "cifar10", "--dir", "got"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "libarchive", "got/cifar-10-binary.tar.gz");
}

/* The kind shows in a file's first bytes; nothing here comes to decoding more. */
static void expect_no_training(struct wa_tested_program *tested, const char *image, size_t size,
                               const char *kind, const char *library)
{
    static const char *const folders[] = {"images", "images/train", "images/train/one"};
    if (!wa_tested_has(tested, folders[0])) {
        for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
            assert_true(wa_data_folder_make(&tested->folder, folders[i]));
        }
    }
    wa_tested_write(tested, "images/train/one/a.jpg", image, size);
    wa_tested_write_json(tested, "c.json",
                         "{'dataset': {'plugin': 'imagefolder', 'dir': 'images', 'size': 16},"
                         " 'architecture': {'plugin': 'cnn', 'width': 2, 'kernels': [3],"
                         " 'strides': [2]}, 'rule': {'plugin': 'backprop'}, 'batch': 1,"
                         " 'epochs': 1, 'evaluate': []}");
    assert_int_equal(WA_TESTED_RUN(tested, "train", "c.json", "--quiet", "--out", library), 2);
    WA_TESTED_EXPECT_ERROR(tested, "images/train/one/a.jpg", kind, library, "build again");
}

static void test_images_name_the_library(void **state)
{
    struct wa_tested_program *tested = *state;
    static const char jpeg[] = "\xff\xd8\xff\xe0 and so on";
    static const char png[] = "\x89PNG\r\n\x1a\n and so on";
    expect_no_training(tested, jpeg, sizeof jpeg - 1, "JPEG", "libjpeg-turbo");
    expect_no_training(tested, png, sizeof png - 1, "PNG", "libpng");
}

int main(void)
{
#define TEST(function)                                                                             \
    cmocka_unit_test_setup_teardown(function, wa_tested_set_up, wa_tested_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_list),
        TEST(test_nothing_is_fetched),
        TEST(test_nothing_is_unpacked),
        TEST(test_images_name_the_library),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
