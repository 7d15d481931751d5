/* Dataset arrays: .npy files of all versions and element types, good and broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data_folder.h"
#include "opened_dataset.h"

extern const wa_plugin_table wa_plugin_entry;

enum { ITEMS = 3, ITEM = 2 * 2 * 1, BUFFER = 1024 };

static const char u8_images[] =
    "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2, 2, 1), }        \n";
static const char f32_images[] =
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2, 2, 1), }\n";
static const char i64_labels[] = "{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }\n";

/* Writes a .npy file: magic, version, header length, header, data. */
static void write_npy(struct wa_data_folder *folder, const char *name, uint8_t version,
                      const char *header, const void *data, size_t size)
{
    uint8_t bytes[BUFFER] = {0x93, 'N', 'U', 'M', 'P', 'Y', version, 0};
    size_t length = strlen(header);
    size_t used = version == 1 ? 10 : 12;
    bytes[8] = (uint8_t)length;
    bytes[9] = (uint8_t)(length >> 8);
    assert_true(used + length + size <= BUFFER);
    memcpy(bytes + used, header, length);
    memcpy(bytes + used + length, data, size);
    assert_true(wa_data_folder_write(folder, name, bytes, used + length + size));
}

static void write_labels(struct wa_data_folder *folder, int64_t a, int64_t b, int64_t c)
{
    uint8_t bytes[24];
    const int64_t values[] = {a, b, c};
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)((uint64_t)values[i / 8] >> (8 * (i % 8)));
    }
    write_npy(folder, "y.npy", 1, i64_labels, bytes, sizeof bytes);
}

static void write_images(struct wa_data_folder *folder, uint8_t version, const char *header)
{
    uint8_t bytes[ITEMS * ITEM];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(20 * i);
    }
    write_npy(folder, "x.npy", version, header, bytes, sizeof bytes);
}

/* x.npy and y.npy, both good; labels 1, 0, 4. */
static int set_up(void **state)
{
    struct wa_data_folder *folder = malloc(sizeof *folder);
    assert_non_null(folder);
    assert_true(wa_data_folder_create(folder));
    write_images(folder, 1, u8_images);
    write_labels(folder, 1, 0, 4);
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

/* The options for a folder; classes < 0: null. */
struct paths {
    char images[512], labels[512];
    struct wa_fake_option options[3];
};

static void set_paths(struct paths *paths, const struct wa_data_folder *folder, int64_t classes)
{
    (void)snprintf(paths->images, sizeof paths->images, "%s/x.npy", folder->path);
    (void)snprintf(paths->labels, sizeof paths->labels, "%s/y.npy", folder->path);
    paths->options[0] =
        (struct wa_fake_option){.name = "images", .type = WA_FAKE_STRING, .string = paths->images};
    paths->options[1] =
        (struct wa_fake_option){.name = "labels", .type = WA_FAKE_STRING, .string = paths->labels};
    paths->options[2] =
        (struct wa_fake_option){.name = "classes",
                                .type = classes < 0 ? WA_FAKE_NULL : WA_FAKE_INTEGER,
                                .integer = classes};
}

static void open_good(struct wa_opened_dataset *opened, struct paths *paths,
                      const struct wa_data_folder *folder, int64_t classes)
{
    set_paths(paths, folder, classes);
    wa_status status =
        wa_opened_dataset_open(opened, wa_plugin_entry.plugins[0], paths->options, 3, NULL);
    if (status != WA_OK) {
        print_error("%s\n", opened->fake.message);
    }
    assert_int_equal(status, WA_OK);
}

static void expect_bad_with(struct wa_data_folder *folder, int64_t classes, const char *name,
                            const char *found, const char *expected)
{
    struct paths paths;
    set_paths(&paths, folder, classes);
    wa_opened_dataset_expect_failure(wa_plugin_entry.plugins[0], paths.options, 3, NULL, WA_E_DATA,
                                     name[0] == 'x' ? paths.images : paths.labels, found, expected,
                                     NULL);
}

static void expect_bad(struct wa_data_folder *folder, const char *name, const char *found,
                       const char *expected)
{
    expect_bad_with(folder, -1, name, found, expected);
}

static void expect_u8_items(const struct wa_data_folder *folder)
{
    static const uint32_t labels[] = {1, 0, 4};
    struct wa_opened_dataset opened;
    struct paths paths;
    open_good(&opened, &paths, folder, -1);
    for (uint64_t i = 0; i < ITEMS; i++) {
        uint8_t item[ITEM];
        uint32_t label = 77;
        assert_int_equal(wa_opened_dataset_read(&opened, WA_PART_TRAIN, i, item, &label), WA_OK);
        assert_int_equal(label, labels[i]);
        for (uint64_t k = 0; k < ITEM; k++) {
            assert_int_equal(item[k], 20 * (i * ITEM + k));
        }
    }
    wa_opened_dataset_close(&opened);
}

static void test_descriptor(void **state)
{
    (void)state;
    assert_int_equal(wa_plugin_entry.count, 1);
    assert_string_equal(wa_plugin_entry.plugins[0]->id, "arrays");
    assert_int_equal(wa_plugin_entry.plugins[0]->dataset->default_validation, 0);
}

static void test_info(void **state)
{
    struct wa_opened_dataset opened;
    struct paths paths;
    open_good(&opened, &paths, *state, -1);
    assert_int_equal(opened.info.height, 2);
    assert_int_equal(opened.info.width, 2);
    assert_int_equal(opened.info.channels, 1);
    assert_int_equal(opened.info.classes, 5);
    assert_int_equal(opened.info.element, WA_ELEMENT_U8);
    assert_int_equal(opened.info.target, WA_TARGET_CLASS);
    assert_true(opened.info.target_offset == 0.1F);
    assert_false(opened.info.trains_smaller_last_batch);
    assert_int_equal(opened.info.train_items, ITEMS);
    assert_int_equal(opened.info.validation_items, 0);
    assert_int_equal(opened.info.test_items, 0);
    wa_opened_dataset_close(&opened);
    open_good(&opened, &paths, *state, 7);
    assert_int_equal(opened.info.classes, 7);
    wa_opened_dataset_close(&opened);
}

static void test_versions(void **state)
{
    for (uint8_t version = 1; version <= 3; version++) {
        write_images(*state, version, u8_images);
        expect_u8_items(*state);
    }
    write_images(*state, 4, u8_images);
    expect_bad(*state, "x", "version 4", "expected 1, 2 or 3");
}

/* Orders, quotes and spaces that other writers use, and Python 2's long integers. */
static void test_header_variants(void **state)
{
    static const char *const headers[] = {
        "{\"shape\":(3L,2L,2L,1L),\"fortran_order\":False,\"descr\":\"|u1\"}",
        "  {  'fortran_order' : False ,\t'descr': '|u1' , 'shape': ( 3 , 2 , 2 , 1 , ) } \n",
    };
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        write_images(*state, 1, headers[i]);
        expect_u8_items(*state);
    }
}

static void test_broken_headers(void **state)
{
    static const char *const headers[] = {
        "",
        "{}",
        "{",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2, 2, 1)",
        "{'descr': '|u1', 'fortran_order': False, }",
        "{'descr': '|u1', 'shape': (3, 2, 2, 1), }",
        "{'fortran_order': False, 'shape': (3, 2, 2, 1), }",
        "{'descr': '|u1', 'fortran_order': 0, 'shape': (3, 2, 2, 1), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2, 2, x), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2, 2, -1), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (3 2, 2, 1), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': 12, }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }",
        "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (3, 2, 2, 1), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2, 2, 1), 'more': 1}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2, 2, 1), } x",
        "{'descr': [('r', '|u1'), ('g', '|u1')], 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '|u1 that goes on and on', 'fortran_order': False, 'shape': (3,), }",
        "{'descr: |u1, fortran_order: False, shape: (3, 2, 2, 1), }",
    };
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        write_images(*state, 1, headers[i]);
        expect_bad(*state, "x", "header is ", "expected {'descr'");
    }
}

static void test_truncated_header(void **state)
{
    struct wa_data_folder *folder = *state;
    static const uint8_t start[] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, 118, 0, '{'};
    assert_true(wa_data_folder_write(folder, "x.npy", start, sizeof start));
    expect_bad(folder, "x", "holds 11 bytes", "expected a header of 128");
    assert_true(wa_data_folder_write(folder, "x.npy", start, 9));
    expect_bad(folder, "x", "holds 9 bytes", "expected a header of 10");
    assert_true(wa_data_folder_write(folder, "x.npy", start, 6));
    expect_bad(folder, "x", "holds 6 bytes", "expected a header of 10");
    assert_true(wa_data_folder_write(folder, "x.npy", start, 5));
    expect_bad(folder, "x", "is no .npy file", "NUMPY");
    assert_true(wa_data_folder_write(folder, "x.npy", "P5 2 2 255", 10));
    expect_bad(folder, "x", "is no .npy file", "NUMPY");
}

static void test_missing(void **state)
{
    struct wa_data_folder *folder = *state;
    assert_true(wa_data_folder_delete(folder, "y.npy"));
    expect_bad(folder, "y", "cannot be opened", "No such file");
    assert_true(wa_data_folder_delete(folder, "x.npy"));
    expect_bad(folder, "x", "cannot be opened", "No such file");
}

static void write_floats(struct wa_data_folder *folder, const float *values)
{
    uint8_t bytes[ITEMS * ITEM * 4];
    for (size_t i = 0; i < (size_t)ITEMS * ITEM; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        for (size_t k = 0; k < 4; k++) {
            bytes[4 * i + k] = (uint8_t)(bits >> (8 * k));
        }
    }
    write_npy(folder, "x.npy", 1, f32_images, bytes, sizeof bytes);
}

static void test_floats(void **state)
{
    static const float values[ITEMS * ITEM] = {0.0F,   -1.5F, 1e-40F, 3.4e38F, 0.25F, -0.0F,
                                               100.0F, 7.0F,  8.0F,   9.0F,    10.0F, 11.0F};
    write_floats(*state, values);
    struct wa_opened_dataset opened;
    struct paths paths;
    open_good(&opened, &paths, *state, -1);
    assert_int_equal(opened.info.element, WA_ELEMENT_F32);
    for (uint64_t i = 0; i < ITEMS; i++) {
        float item[ITEM];
        uint32_t label;
        assert_int_equal(wa_opened_dataset_read(&opened, WA_PART_TRAIN, i, item, &label), WA_OK);
        assert_memory_equal(item, values + i * ITEM, sizeof item);
    }
    wa_opened_dataset_close(&opened);
}

static void test_floats_not_finite(void **state)
{
    float values[ITEMS * ITEM] = {0.0F};
    values[7] = NAN;
    write_floats(*state, values);
    expect_bad(*state, "x", "element (1, 1, 1, 0) is NaN", "expected finite");
    values[7] = 0.0F;
    values[9] = -INFINITY;
    write_floats(*state, values);
    expect_bad(*state, "x", "element (2, 0, 1, 0) is infinite", "expected finite");
}

static void test_image_types(void **state)
{
    static const char *const types[] = {"<f8", ">f4", "<i4", "<f2", "|b1", "|i1", "|O"};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        char header[128];
        char found[32];
        (void)snprintf(header, sizeof header,
                       "{'descr': '%s', 'fortran_order': False, 'shape': (3, 2, 2, 1), }",
                       types[i]);
        (void)snprintf(found, sizeof found, "is '%s'", types[i]);
        write_images(*state, 1, header);
        expect_bad(*state, "x", found, "expected '|u1' (uint8) or '<f4' (float32)");
    }
}

static void test_image_shapes(void **state)
{
    static const char *const shapes[] = {"()",           "(12,)",           "(3, 2, 2)",
                                         "(3, 2, 2, 0)", "(3, 1, 2, 2, 1)", "(3, 4294967296, 1, 1)",
                                         "(0, 2, 2, 1)"};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        char header[128];
        char found[64];
        bool has_comma = strcmp(shapes[i], "(12,)") == 0;
        (void)snprintf(header, sizeof header,
                       "{'descr': '|u1', 'fortran_order': False, 'shape': %s, }", shapes[i]);
        (void)snprintf(found, sizeof found, "shape is %s", has_comma ? "(12)" : shapes[i]);
        write_images(*state, 1, header);
        expect_bad(*state, "x", found, "expected (n, height, width, channels)");
    }
    write_images(*state, 1, "{'descr': '|u1', 'fortran_order': True, 'shape': (3, 2, 2, 1), }");
    expect_bad(*state, "x", "Fortran order", "expected C order");
}

static void test_image_sizes(void **state)
{
    struct wa_data_folder *folder = *state;
    static const uint8_t bytes[13] = {0};
    write_npy(folder, "x.npy", 1, u8_images, bytes, 11);
    expect_bad(folder, "x", "holds 11 bytes", "expected 12 for shape (3, 2, 2, 1) of |u1");
    write_npy(folder, "x.npy", 1, u8_images, bytes, 13);
    expect_bad(folder, "x", "holds 13 bytes", "expected 12 for shape (3, 2, 2, 1) of |u1");
    write_npy(folder, "x.npy", 1,
              "{'descr': '<f4', 'fortran_order': False, "
              "'shape': (4294967295, 4294967295, 4294967295, 1), }",
              bytes, 12);
    expect_bad(folder, "x", "holds 12 bytes", "more than fit into memory");
}

static void test_label_types(void **state)
{
    static const char *const types[] = {"|u1", "<u2", "<u4", "<u8", "|i1", "<i2", "<i4", "<i8"};
    for (size_t i = 0; i < 8; i++) {
        char header[128];
        uint8_t bytes[24] = {0};
        size_t width = (size_t)1 << (i % 4);
        bytes[0] = 1;
        bytes[2 * width] = 4;
        (void)snprintf(header, sizeof header,
                       "{'descr': '%s', 'fortran_order': False, 'shape': (3,), }", types[i]);
        write_npy(*state, "y.npy", 1, header, bytes, 3 * width);
        expect_u8_items(*state);
    }
}

static void test_bad_label_types(void **state)
{
    static const char *const types[] = {">i8", "<f4", "|b1", "<i16", "<U1"};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        char header[128];
        char found[32];
        (void)snprintf(header, sizeof header,
                       "{'descr': '%s', 'fortran_order': False, 'shape': (3,), }", types[i]);
        (void)snprintf(found, sizeof found, "is '%s'", types[i]);
        write_npy(*state, "y.npy", 1, header, "", 0);
        expect_bad(*state, "y", found, "expected little-endian integers");
    }
    write_npy(*state, "y.npy", 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 1), }",
              "abc", 3);
    expect_bad(*state, "y", "shape is (3, 1)", "expected (n)");
}

static void test_label_range(void **state)
{
    write_labels(*state, 0, 1, -1);
    expect_bad(*state, "y", "label 2 is -1", "expected 0 to 999999");
    write_labels(*state, 0, INT64_MIN, 0);
    expect_bad(*state, "y", "label 1 is -9223372036854775808", "expected 0 to");
    write_labels(*state, 1000000, 1, 0);
    expect_bad(*state, "y", "label 0 is 1000000", "expected 0 to 999999");
    write_labels(*state, 0, 1, 4);
    expect_bad_with(*state, 4, "y", "label 2 is 4", "expected 0 to 3");
    struct wa_opened_dataset opened;
    struct paths paths;
    open_good(&opened, &paths, *state, 5);
    wa_opened_dataset_close(&opened);
    static const uint8_t top[3] = {0, 0x80, 0};
    write_npy(*state, "y.npy", 1, "{'descr': '|i1', 'fortran_order': False, 'shape': (3,), }", top,
              sizeof top);
    expect_bad(*state, "y", "label 1 is -128", "expected 0 to");
    write_npy(*state, "y.npy", 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }", top,
              sizeof top);
    open_good(&opened, &paths, *state, -1);
    assert_int_equal(opened.info.classes, 129);
    wa_opened_dataset_close(&opened);
}

static void test_counts_differ(void **state)
{
    write_npy(*state, "y.npy", 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }",
              "\0\1", 2);
    expect_bad(*state, "y", "holds 2 labels", "expected 3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_descriptor),
        cmocka_unit_test_setup_teardown(test_info, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_versions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_header_variants, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_broken_headers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_truncated_header, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_missing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_floats, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_floats_not_finite, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_image_types, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_image_shapes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_image_sizes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_label_types, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_label_types, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_label_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_counts_differ, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
