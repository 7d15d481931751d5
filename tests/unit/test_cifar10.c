/* Dataset cifar10: binary batches, good and broken, in both places where they may lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data_folder.h"
#include "opened_dataset.h"

extern const wa_plugin_table wa_plugin_entry;

enum { PLANE = 1024, ITEM = 3 * PLANE, RECORD = 1 + ITEM, MOST_RECORDS = 3 };

/* A record's pixels tell record, channel and place apart. */
static uint8_t pixel_value(size_t record, size_t channel, size_t place)
{
    return (uint8_t)(record * 31 + channel * 101 + place * 7 + place / 256);
}

/* Writes `size` bytes of the records first, first + 1, ... (label: record % 10). */
static void write_batch(struct wa_data_folder *folder, const char *name, size_t first, size_t size)
{
    uint8_t bytes[MOST_RECORDS * RECORD];
    assert_true(size <= sizeof bytes);
    for (size_t i = 0; i < size; i++) {
        size_t record = first + i / RECORD;
        size_t at = i % RECORD;
        bytes[i] = at == 0 ? (uint8_t)(record % 10)
                           : pixel_value(record, (at - 1) / PLANE, (at - 1) % PLANE);
    }
    assert_true(wa_data_folder_write(folder, name, bytes, size));
}

/* Training batches of 1, 2, 3, 1, 2 records, numbered from 0, and 2 test records from 50. */
static void write_all(struct wa_data_folder *folder, const char *prefix)
{
    static const size_t counts[] = {1, 2, 3, 1, 2};
    size_t first = 0;
    char name[64];
    for (unsigned i = 0; i < 5; i++) {
        (void)snprintf(name, sizeof name, "%sdata_batch_%u.bin", prefix, i + 1);
        write_batch(folder, name, first, counts[i] * RECORD);
        first += counts[i];
    }
    (void)snprintf(name, sizeof name, "%stest_batch.bin", prefix);
    write_batch(folder, name, 50, (size_t)2 * RECORD);
}

static int set_up(void **state)
{
    struct wa_data_folder *folder = malloc(sizeof *folder);
    assert_non_null(folder);
    assert_true(wa_data_folder_create(folder));
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

static void expect_item(const struct wa_opened_dataset *opened, wa_part part, uint64_t index,
                        unsigned record)
{
    uint8_t item[ITEM];
    uint32_t label = 77;
    assert_int_equal(wa_opened_dataset_read(opened, part, index, item, &label), WA_OK);
    assert_int_equal(label, record % 10);
    for (size_t place = 0; place < PLANE; place++) {
        for (size_t channel = 0; channel < 3; channel++) {
            assert_int_equal(item[place * 3 + channel], pixel_value(record, channel, place));
        }
    }
}

static void expect_good(struct wa_data_folder *folder, uint64_t tests)
{
    struct wa_opened_dataset opened;
    assert_int_equal(
        wa_opened_dataset_open(&opened, wa_plugin_entry.plugins[0], NULL, 0, folder->path), WA_OK);
    assert_int_equal(opened.info.train_items, 9);
    assert_int_equal(opened.info.test_items, tests);
    for (unsigned i = 0; i < 9; i++) {
        expect_item(&opened, WA_PART_TRAIN, i, i);
    }
    for (unsigned i = 0; i < tests; i++) {
        expect_item(&opened, WA_PART_TEST, i, 50 + i);
    }
    wa_opened_dataset_close(&opened);
}

static void expect_bad(struct wa_data_folder *folder, const char *name, wa_status status,
                       const char *found, const char *expected)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", folder->path, name);
    wa_opened_dataset_expect_failure(wa_plugin_entry.plugins[0], NULL, 0, folder->path, status,
                                     path, found, expected, NULL);
}

static void test_descriptor(void **state)
{
    (void)state;
    assert_int_equal(wa_plugin_entry.count, 1);
    assert_string_equal(wa_plugin_entry.plugins[0]->id, "cifar10");
    assert_int_equal(wa_plugin_entry.plugins[0]->dataset->default_validation, 5000);
    wa_plugin_entry.plugins[0]->dataset->close(NULL);
}

static void test_info(void **state)
{
    struct wa_data_folder *folder = *state;
    write_all(folder, "");
    struct wa_opened_dataset opened;
    assert_int_equal(
        wa_opened_dataset_open(&opened, wa_plugin_entry.plugins[0], NULL, 0, folder->path), WA_OK);
    assert_int_equal(opened.info.height, 32);
    assert_int_equal(opened.info.width, 32);
    assert_int_equal(opened.info.channels, 3);
    assert_int_equal(opened.info.classes, 10);
    assert_int_equal(opened.info.element, WA_ELEMENT_U8);
    assert_int_equal(opened.info.target, WA_TARGET_CLASS);
    assert_true(opened.info.target_offset == 0.1F);
    assert_false(opened.info.trains_smaller_last_batch);
    assert_int_equal(opened.info.validation_items, 0);
    wa_opened_dataset_close(&opened);
}

static void test_folder_itself(void **state)
{
    write_all(*state, "");
    expect_good(*state, 2);
}

static void test_folder_below(void **state)
{
    struct wa_data_folder *folder = *state;
    assert_true(wa_data_folder_make(folder, "cifar-10-batches-bin"));
    write_all(folder, "cifar-10-batches-bin/");
    expect_good(folder, 2);
}

static void test_no_test_batch(void **state)
{
    struct wa_data_folder *folder = *state;
    write_all(folder, "");
    assert_true(wa_data_folder_delete(folder, "test_batch.bin"));
    expect_good(folder, 0);
}

static void test_missing(void **state)
{
    struct wa_data_folder *folder = *state;
    expect_bad(folder, "data_batch_1.bin", WA_E_DATA, "no such file", "cifar-10-batches-bin");
    write_all(folder, "");
    assert_true(wa_data_folder_delete(folder, "data_batch_4.bin"));
    expect_bad(folder, "data_batch_4.bin", WA_E_DATA, "cannot be opened", "No such file");
    wa_opened_dataset_expect_failure(wa_plugin_entry.plugins[0], NULL, 0, NULL, WA_E_DATA,
                                     "no folder", NULL);
}

static void test_sizes(void **state)
{
    static const char expected[] = "expected a whole number of records of 3073 bytes";
    struct wa_data_folder *folder = *state;
    write_all(folder, "");
    write_batch(folder, "data_batch_3.bin", 0, 6145);
    expect_bad(folder, "data_batch_3.bin", WA_E_DATA, "holds 6145 bytes", expected);
    write_batch(folder, "data_batch_3.bin", 0, 6147);
    expect_bad(folder, "data_batch_3.bin", WA_E_DATA, "holds 6147 bytes", expected);
    write_all(folder, "");
    write_batch(folder, "test_batch.bin", 0, 0);
    expect_bad(folder, "test_batch.bin", WA_E_DATA, "holds 0 bytes", expected);
}

static void test_label_out_of_range(void **state)
{
    struct wa_data_folder *folder = *state;
    write_all(folder, "");
    uint8_t records[2 * RECORD] = {0};
    records[RECORD] = 10;
    assert_true(wa_data_folder_write(folder, "data_batch_5.bin", records, sizeof records));
    expect_bad(folder, "data_batch_5.bin", WA_E_DATA, "record 1 has label 10", "expected 0 to 9");
}

static void test_folder_for_file(void **state)
{
    struct wa_data_folder *folder = *state;
    write_all(folder, "");
    assert_true(wa_data_folder_delete(folder, "data_batch_2.bin"));
    assert_true(wa_data_folder_make(folder, "data_batch_2.bin"));
    expect_bad(folder, "data_batch_2.bin", WA_E_DATA, "no regular file", "expected a data file");
}

/* Nobody writes into it: to wait would be for ever. */
static void test_pipe_for_file(void **state)
{
    struct wa_data_folder *folder = *state;
    write_all(folder, "");
    assert_true(wa_data_folder_delete(folder, "data_batch_2.bin"));
    assert_int_equal(mkfifo(wa_data_folder_file(folder, "data_batch_2.bin"), 0600), 0);
    expect_bad(folder, "data_batch_2.bin", WA_E_DATA, "no regular file", "expected a data file");
}

/* Stands for all files that are there and cannot be opened: root may read any other. */
static void test_link_to_itself(void **state)
{
    struct wa_data_folder *folder = *state;
    write_all(folder, "");
    assert_true(wa_data_folder_delete(folder, "data_batch_2.bin"));
    assert_int_equal(symlink("data_batch_2.bin", wa_data_folder_file(folder, "data_batch_2.bin")),
                     0);
    expect_bad(folder, "data_batch_2.bin", WA_E_DATA, "cannot be opened", "expected a readable");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_descriptor),
        cmocka_unit_test_setup_teardown(test_info, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folder_itself, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folder_below, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_test_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_missing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sizes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_label_out_of_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folder_for_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pipe_for_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_link_to_itself, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
