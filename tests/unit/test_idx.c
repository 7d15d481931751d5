/* Datasets mnist, kmnist, fashion-mnist: idx files, plain and gzipped, good and broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "data_folder.h"
#include "opened_dataset.h"

extern const wa_plugin_table wa_plugin_entry;

enum { TRAIN = 4, TEST = 2, HEIGHT = 3, WIDTH = 5, ITEM = HEIGHT * WIDTH, BUFFER = 512 };

static const char train_images[] = "train-images-idx3-ubyte";
static const char train_labels[] = "train-labels-idx1-ubyte";
static const char test_images[] = "t10k-images-idx3-ubyte";
static const char test_labels[] = "t10k-labels-idx1-ubyte";

/* A file under construction. */
struct text {
    uint8_t bytes[BUFFER];
    size_t size;
};

static void add_big_endian(struct text *text, uint32_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8) {
        text->bytes[text->size++] = (uint8_t)(value >> shift);
    }
}

/* Images whose byte i is start + i, `count` of them. */
static struct text make_images(uint32_t count, uint8_t start)
{
    struct text text = {.size = 0};
    add_big_endian(&text, 0x803);
    add_big_endian(&text, count);
    add_big_endian(&text, HEIGHT);
    add_big_endian(&text, WIDTH);
    for (uint32_t i = 0; i < count * ITEM; i++) {
        text.bytes[text.size++] = (uint8_t)(start + i);
    }
    return text;
}

/* Labels 9, 8, 7, ... */
static struct text make_labels(uint32_t count)
{
    struct text text = {.size = 0};
    add_big_endian(&text, 0x801);
    add_big_endian(&text, count);
    for (uint32_t i = 0; i < count; i++) {
        text.bytes[text.size++] = (uint8_t)(9 - i);
    }
    return text;
}

static struct text gzip(const struct text *text)
{
    struct text plain = *text; /* zlib's input is not const */
    struct text packed = {.size = 0};
    z_stream stream = {.next_in = plain.bytes,
                       .avail_in = (uInt)text->size,
                       .next_out = packed.bytes,
                       .avail_out = BUFFER};
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    packed.size = BUFFER - stream.avail_out;
    assert_int_equal(deflateEnd(&stream), Z_OK);
    return packed;
}

static void put(struct wa_data_folder *folder, const char *name, const struct text *text)
{
    assert_true(wa_data_folder_write(folder, name, text->bytes, text->size));
}

/* All four files, plain and good. */
static int set_up(void **state)
{
    struct wa_data_folder *folder = malloc(sizeof *folder);
    assert_non_null(folder);
    assert_true(wa_data_folder_create(folder));
    struct text text = make_images(TRAIN, 0);
    put(folder, train_images, &text);
    text = make_labels(TRAIN);
    put(folder, train_labels, &text);
    text = make_images(TEST, 100);
    put(folder, test_images, &text);
    text = make_labels(TEST);
    put(folder, test_labels, &text);
    *state = folder;
    return 0;
}

static int tear_down(void **state)
{
    struct wa_data_folder *folder = *state;
    assert_true(wa_data_folder_remove(folder));
    free(folder);
    return 0;
}

/* Opening fails with WA_E_DATA and a message that names the file and has both texts. */
static void expect_bad(struct wa_data_folder *folder, const char *name, const char *found,
                       const char *expected)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", folder->path, name);
    wa_opened_dataset_expect_failure(wa_plugin_entry.plugins[0], NULL, 0, folder->path, WA_E_DATA,
                                     path, found, expected, NULL);
}

static void expect_good(struct wa_data_folder *folder, uint64_t tests)
{
    struct wa_opened_dataset opened;
    wa_status status =
        wa_opened_dataset_open(&opened, wa_plugin_entry.plugins[0], NULL, 0, folder->path);
    if (status != WA_OK) {
        print_error("%s\n", opened.fake.message);
    }
    assert_int_equal(status, WA_OK);
    assert_int_equal(opened.info.train_items, TRAIN);
    assert_int_equal(opened.info.test_items, tests);
    for (uint64_t i = 0; i < TRAIN + tests; i++) {
        uint8_t item[ITEM];
        uint32_t label = 77;
        uint64_t index = i < TRAIN ? i : i - TRAIN;
        assert_int_equal(wa_opened_dataset_read(&opened, i < TRAIN ? WA_PART_TRAIN : WA_PART_TEST,
                                                index, item, &label),
                         WA_OK);
        assert_int_equal(label, 9 - index);
        for (uint64_t k = 0; k < ITEM; k++) {
            assert_int_equal(item[k], (i < TRAIN ? 0 : 100) + index * ITEM + k);
        }
    }
    wa_opened_dataset_close(&opened);
}

static void test_descriptors(void **state)
{
    static const char *const ids[] = {"mnist", "kmnist", "fashion-mnist"};
    (void)state;
    assert_int_equal(wa_plugin_entry.struct_size, sizeof wa_plugin_entry);
    assert_int_equal(wa_plugin_entry.abi_major, WA_ABI_MAJOR);
    assert_int_equal(wa_plugin_entry.count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        const wa_plugin *plugin = wa_plugin_entry.plugins[i];
        assert_string_equal(plugin->id, ids[i]);
        assert_int_equal(plugin->kind, WA_KIND_DATASET);
        assert_int_equal(plugin->dataset->default_validation, 5000);
        assert_non_null(strstr(plugin->options, "\"dir\""));
    }
}

static void test_info(void **state)
{
    struct wa_data_folder *folder = *state;
    struct wa_opened_dataset opened;
    assert_int_equal(
        wa_opened_dataset_open(&opened, wa_plugin_entry.plugins[2], NULL, 0, folder->path), WA_OK);
    const wa_dataset_info *info = &opened.info;
    assert_int_equal(info->struct_size, sizeof *info);
    assert_int_equal(info->height, HEIGHT);
    assert_int_equal(info->width, WIDTH);
    assert_int_equal(info->channels, 1);
    assert_int_equal(info->classes, 10);
    assert_int_equal(info->element, WA_ELEMENT_U8);
    assert_int_equal(info->target, WA_TARGET_CLASS);
    assert_true(info->target_offset == 0.1F);
    assert_false(info->trains_smaller_last_batch);
    assert_int_equal(info->validation_items, 0);
    wa_opened_dataset_close(&opened);
}

static void test_plain(void **state)
{
    expect_good(*state, TEST);
}

static void test_gzipped(void **state)
{
    struct wa_data_folder *folder = *state;
    struct text text = make_images(TRAIN, 0);
    text = gzip(&text);
    assert_true(wa_data_folder_delete(folder, train_images));
    put(folder, "train-images-idx3-ubyte.gz", &text);
    text = make_labels(TEST);
    text = gzip(&text);
    assert_true(wa_data_folder_delete(folder, test_labels));
    put(folder, "t10k-labels-idx1-ubyte.gz", &text);
    expect_good(folder, TEST);
}

/* gzip files may be several packed one after the other. */
static void test_gzip_members(void **state)
{
    struct wa_data_folder *folder = *state;
    struct text whole = make_images(TRAIN, 0);
    struct text first = whole;
    first.size = 21;
    struct text second = {.size = whole.size - first.size};
    memcpy(second.bytes, whole.bytes + first.size, second.size);
    first = gzip(&first);
    second = gzip(&second);
    memcpy(first.bytes + first.size, second.bytes, second.size);
    first.size += second.size;
    put(folder, train_images, &first);
    expect_good(folder, TEST);
}

static void test_no_test_part(void **state)
{
    struct wa_data_folder *folder = *state;
    assert_true(wa_data_folder_delete(folder, test_images));
    expect_bad(folder, test_images, "no such file", "with or without .gz");
    assert_true(wa_data_folder_delete(folder, test_labels));
    expect_good(folder, 0);
    struct text text = make_images(TEST, 0);
    put(folder, test_images, &text);
    expect_bad(folder, test_labels, "no such file", "with or without .gz");
}

static void test_missing(void **state)
{
    struct wa_data_folder *folder = *state;
    assert_true(wa_data_folder_delete(folder, train_labels));
    expect_bad(folder, train_labels, "no such file", "\"dir\"");
    assert_true(wa_data_folder_delete(folder, train_images));
    expect_bad(folder, train_images, "no such file", "\"dir\"");
    wa_opened_dataset_expect_failure(wa_plugin_entry.plugins[0], NULL, 0, NULL, WA_E_DATA,
                                     "no folder", NULL);
    assert_true(wa_data_folder_make(folder, train_images));
    struct text text = make_labels(TRAIN);
    put(folder, train_labels, &text);
    expect_bad(folder, train_images, "no regular file", "expected a data file");
}

static void test_magic(void **state)
{
    struct wa_data_folder *folder = *state;
    struct text text = make_labels(TRAIN);
    put(folder, train_images, &text);
    expect_bad(folder, train_images, "0x00000801", "0x00000803");
    text = make_images(TRAIN, 0);
    put(folder, train_images, &text);
    put(folder, train_labels, &text);
    expect_bad(folder, train_labels, "0x00000803", "0x00000801");
}

static void test_truncated(void **state)
{
    struct wa_data_folder *folder = *state;
    struct text text = make_images(TRAIN, 0);
    text.size = 15;
    put(folder, train_images, &text);
    expect_bad(folder, train_images, "holds 15 bytes", "header of 16");
    text.size = 0;
    put(folder, train_images, &text);
    expect_bad(folder, train_images, "holds 0 bytes", "header of 16");
    text = make_images(TRAIN, 0);
    text.size--;
    put(folder, train_images, &text);
    expect_bad(folder, train_images, "59 bytes after the header", "4 x 3 x 5 = 60");
    text = gzip(&text);
    put(folder, train_images, &text);
    expect_bad(folder, train_images, "59 bytes after the header", "4 x 3 x 5 = 60");
}

static void test_trailing(void **state)
{
    struct wa_data_folder *folder = *state;
    struct text text = make_labels(TRAIN);
    text.bytes[text.size++] = 0;
    put(folder, train_labels, &text);
    expect_bad(folder, train_labels, "bytes after its end", "expected 4 = 4");
    text = gzip(&text);
    put(folder, train_labels, &text);
    expect_bad(folder, train_labels, "bytes after its end", "expected 4 = 4");
}

static void test_dimensions(void **state)
{
    struct wa_data_folder *folder = *state;
    struct text text = make_images(0, 0);
    put(folder, train_images, &text);
    expect_bad(folder, train_images, "is empty", "0 x 3 x 5");
    text.size = 4;
    add_big_endian(&text, UINT32_MAX);
    add_big_endian(&text, UINT32_MAX);
    add_big_endian(&text, UINT32_MAX);
    put(folder, train_images, &text);
    expect_bad(folder, train_images, "4294967295 x 4294967295 x 4294967295", "the file has 16");
    text = gzip(&text);
    put(folder, train_images, &text);
    expect_bad(folder, train_images, "4294967295 x 4294967295 x 4294967295", "(gzipped)");
}

static void test_counts_differ(void **state)
{
    struct wa_data_folder *folder = *state;
    struct text text = make_labels(TRAIN - 1);
    put(folder, train_labels, &text);
    expect_bad(folder, train_labels, "3 labels", "expected 4");
}

static void test_label_out_of_range(void **state)
{
    struct wa_data_folder *folder = *state;
    struct text text = make_labels(TRAIN);
    text.bytes[text.size - 2] = 10;
    put(folder, train_labels, &text);
    expect_bad(folder, train_labels, "label 2 is 10", "expected 0 to 9");
}

static void test_parts_differ(void **state)
{
    struct wa_data_folder *folder = *state;
    struct text text = make_images(TEST, 0);
    text.bytes[11] = WIDTH; /* columns and rows swapped */
    text.bytes[15] = HEIGHT;
    put(folder, test_images, &text);
    wa_opened_dataset_expect_failure(wa_plugin_entry.plugins[0], NULL, 0, folder->path, WA_E_DATA,
                                     folder->path, "5 x 3", "expected 3 x 5", NULL);
}

static void test_broken_gzip(void **state)
{
    struct wa_data_folder *folder = *state;
    struct text good = make_images(TRAIN, 0);
    good = gzip(&good);
    struct text text = good;
    text.bytes[text.size - 5] ^= 1; /* the CRC */
    put(folder, train_images, &text);
    expect_bad(folder, train_images, "incorrect data check", "fetch the file again");
    text = good;
    text.bytes[text.size - 1] ^= 1; /* the length */
    put(folder, train_images, &text);
    expect_bad(folder, train_images, "incorrect length check", "fetch the file again");
    text = good;
    text.bytes[2] = 99; /* the method */
    put(folder, train_images, &text);
    expect_bad(folder, train_images, "broken gzip data", "unknown compression method");
    text = good;
    text.bytes[text.size++] = 'x';
    put(folder, train_images, &text);
    expect_bad(folder, train_images, "bytes after its end", "expected 4 x 3 x 5 = 60");
    for (size_t size = 2; size < good.size; size++) {
        text.size = size;
        put(folder, train_images, &text);
        expect_bad(folder, train_images, "stops in the middle", "fetch the file again");
    }
}

static void test_read_outside(void **state)
{
    struct wa_data_folder *folder = *state;
    struct wa_opened_dataset opened;
    assert_int_equal(
        wa_opened_dataset_open(&opened, wa_plugin_entry.plugins[1], NULL, 0, folder->path), WA_OK);
    uint8_t item[ITEM];
    uint32_t label;
    assert_int_equal(wa_opened_dataset_read(&opened, WA_PART_TRAIN, TRAIN, item, &label),
                     WA_E_FAILED);
    assert_non_null(strstr(opened.fake.message, "item 4 of part 1"));
    assert_int_equal(wa_opened_dataset_read(&opened, WA_PART_TEST, UINT64_MAX, item, &label),
                     WA_E_FAILED);
    assert_int_equal(wa_opened_dataset_read(&opened, WA_PART_VALIDATION, 0, item, &label),
                     WA_E_FAILED);
    wa_opened_dataset_close(&opened);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_descriptors),
        cmocka_unit_test_setup_teardown(test_info, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_plain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_gzipped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_gzip_members, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_test_part, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_missing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_magic, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_truncated, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_trailing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_dimensions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_counts_differ, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_label_out_of_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_parts_differ, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_broken_gzip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_read_outside, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
