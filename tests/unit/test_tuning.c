/* Tuning files: what is written is read again, by shape; what is damaged is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data_folder.h"
#include "tuning.h"

static const struct wa_tuning_entry entries[] = {
    {.shape = {3, 64, 3, 1, 32, 32, 100},
     .choices = {[WA_PRODUCT_FORWARD] = {.algorithm = WA_ALGORITHM_DIRECT, .gathered_taps = 40},
                 [WA_PRODUCT_GRADIENT] = {.algorithm = WA_ALGORITHM_DIRECT, .gradient_items = 8}},
     .ms = {[WA_PRODUCT_FORWARD] = 1.5, [WA_PRODUCT_GRADIENT] = 2.5}},
    {.shape = {64, 64, 3, 1, 32, 32, 100},
     .choices = {[WA_PRODUCT_FORWARD] = {.algorithm = WA_ALGORITHM_WINOGRAD},
                 [WA_PRODUCT_BACKWARD] = {.algorithm = WA_ALGORITHM_DIRECT},
                 [WA_PRODUCT_GRADIENT] = {.algorithm = WA_ALGORITHM_WINOGRAD}},
     .ms = {3.0, 4.0, 5.0}},
    {.shape = {64, 64, 3, 1, 32, 32, 20},
     .choices = {[WA_PRODUCT_FORWARD] = {.algorithm = WA_ALGORITHM_DIRECT}},
     .ms = {1.0}},
};
enum { ENTRIES = sizeof entries / sizeof *entries, PATH_BYTES = 1024 };

static void expect_entry(const struct wa_tuning_entry *a, const struct wa_tuning_entry *b)
{
    assert_true(wa_tuning_is_same_shape(&a->shape, &b->shape));
    for (int p = 0; p < WA_PRODUCT_COUNT; p++) {
        assert_int_equal(a->choices[p].algorithm, b->choices[p].algorithm);
        assert_int_equal(a->choices[p].gathered_taps, b->choices[p].gathered_taps);
        assert_int_equal(a->choices[p].gradient_items, b->choices[p].gradient_items);
        assert_true(a->ms[p] == b->ms[p]);
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    struct wa_error err = {0};
    struct wa_data_folder folder;
    struct wa_device device = {.info = {.name = "a device", .compute_units = 2}};
    struct wa_tuning tuning = {0};
    char path[PATH_BYTES];
    assert_true(wa_data_folder_create(&folder));
    (void)snprintf(path, sizeof path, "%s/a/b.json", folder.path);
    assert_int_equal(wa_tuning_read(path, 0, &tuning, &err), WA_OK); /* not there: nothing */
    assert_int_equal(tuning.count, 0);
    for (size_t i = 0; i < ENTRIES; i++) {
        struct wa_tuning_entry other = {.shape = entries[i].shape};
        assert_int_equal(wa_tuning_put(&tuning, &other, &err), WA_OK);
        assert_int_equal(wa_tuning_put(&tuning, &entries[i], &err), WA_OK); /* in its place */
    }
    assert_int_equal(tuning.count, ENTRIES);
    assert_int_equal(wa_tuning_write(&tuning, &device, path, &err), WA_OK);
    wa_tuning_finish(&tuning);
    assert_int_equal(wa_tuning_read(path, 0, &tuning, &err), WA_OK);
    assert_int_equal(tuning.count, ENTRIES);
    for (size_t i = 0; i < ENTRIES; i++) {
        expect_entry(&tuning.entries[i], &entries[i]);
    }
    wa_tuning_finish(&tuning);
    assert_int_equal(wa_tuning_read(path, 20, &tuning, &err), WA_OK); /* of one size of batch */
    assert_int_equal(tuning.count, 1);
    expect_entry(&tuning.entries[0], &entries[2]);
    wa_tuning_finish(&tuning);
    wa_data_folder_remove(&folder);
}

#define SHAPE                                                                                      \
    "'in_channels': 1, 'out_channels': 1, 'kernel': 3, 'stride': 1, 'height': 4, 'width': 4, "     \
    "'lanes': 16"

static void test_damaged(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "{'shapes'",
        "{'shapes': [1]}",
        "{'shapes': [{'lanes': 16}]}",
        "{'shapes': [{" SHAPE ", 'stride': 0}]}",
        "{'shapes': [{" SHAPE ", 'forward': 1}]}",
        "{'shapes': [{" SHAPE ", 'forward': {'algorithm': 'magic', 'ms': 1}}]}",
        "{'shapes': [{" SHAPE ", 'forward': {'algorithm': 'direct'}}]}",
        "{'shapes': [{" SHAPE
        ", 'forward': {'algorithm': 'direct', 'ms': 1, 'gathered_taps': -1}}]}",
    };
    struct wa_data_folder folder;
    char path[PATH_BYTES];
    assert_true(wa_data_folder_create(&folder));
    (void)snprintf(path, sizeof path, "%s/tuning.json", folder.path);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct wa_error err = {0};
        struct wa_tuning tuning = {0};
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        for (const char *c = texts[i]; *c; c++) {
            (void)fputc(*c == '\'' ? '"' : *c, file);
        }
        assert_int_equal(fclose(file), 0);
        assert_int_equal(wa_tuning_read(path, 0, &tuning, &err), WA_E_DATA);
        assert_non_null(strstr(err.message, path));
        assert_int_equal(tuning.count, 0);
        assert_null(tuning.entries);
    }
    wa_data_folder_remove(&folder);
}

static void test_choices(void **state)
{
    (void)state;
    struct wa_model_layer layer = {.shape = {.in_channels = 64,
                                             .out_channels = 64,
                                             .kernel = 3,
                                             .stride = 1,
                                             .in_height = 32,
                                             .in_width = 32},
                                   .input = {.lanes = 100}};
    struct wa_tuning_entry own[ENTRIES];
    memcpy(own, entries, sizeof own);
    const struct wa_tuning tuning = {.entries = own, .count = ENTRIES};
    struct wa_engine engine = {.convolution = WA_CONVOLUTION_AUTO};
    for (int expected = 0; expected < 2; expected++) {
        engine.tuning = NULL;
        assert_int_equal(
            wa_tuning_takes_winograd(&engine, &layer, WA_PRODUCT_FORWARD, expected == 1), expected);
        engine.tuning = &tuning;
        assert_true(wa_tuning_takes_winograd(&engine, &layer, WA_PRODUCT_FORWARD, expected == 1));
        assert_false(wa_tuning_takes_winograd(&engine, &layer, WA_PRODUCT_BACKWARD, expected == 1));
        layer.shape.stride = 2; /* not tuned */
        assert_int_equal(
            wa_tuning_takes_winograd(&engine, &layer, WA_PRODUCT_FORWARD, expected == 1), expected);
        layer.shape.stride = 1;
        engine.convolution = WA_CONVOLUTION_DIRECT; /* forced */
        assert_false(wa_tuning_takes_winograd(&engine, &layer, WA_PRODUCT_FORWARD, expected == 1));
        engine.convolution = WA_CONVOLUTION_WINOGRAD;
        assert_true(wa_tuning_takes_winograd(&engine, &layer, WA_PRODUCT_BACKWARD, expected == 1));
        engine.convolution = WA_CONVOLUTION_AUTO;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_choices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
