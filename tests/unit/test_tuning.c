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
#include "product_tuner.h"
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

static const struct wa_tuning_filter all = {0};

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
    assert_int_equal(wa_tuning_read(path, &all, &tuning, &err), WA_OK); /* not there: nothing */
    assert_int_equal(tuning.count, 0);
    for (size_t i = 0; i < ENTRIES; i++) {
        struct wa_tuning_entry other = {.shape = entries[i].shape};
        assert_int_equal(wa_tuning_put(&tuning, &other, &err), WA_OK);
        assert_int_equal(wa_tuning_put(&tuning, &entries[i], &err), WA_OK); /* in its place */
    }
    assert_int_equal(tuning.count, ENTRIES);
    assert_int_equal(wa_tuning_write(&tuning, &device, path, &err), WA_OK);
    wa_tuning_finish(&tuning);
    assert_int_equal(wa_tuning_read(path, &all, &tuning, &err), WA_OK);
    assert_int_equal(tuning.count, ENTRIES);
    for (size_t i = 0; i < ENTRIES; i++) {
        expect_entry(&tuning.entries[i], &entries[i]);
    }
    wa_tuning_finish(&tuning);
    assert_int_equal(wa_tuning_read(path, &(struct wa_tuning_filter){.lanes = 20}, &tuning, &err),
                     WA_OK); /* of one size of batch */
    assert_int_equal(tuning.count, 1);
    expect_entry(&tuning.entries[0], &entries[2]);
    wa_tuning_finish(&tuning);
    wa_data_folder_remove(&folder);
}

/* ---- Matrix products ------------------------------------------------------------------------- */

static const struct wa_matrix_choice choices[] = {
    {{128, 100, 784, 0, 0}, 100, WA_PATH_GPU, WA_MATRIX_CLBLAST, 1.5},
    {{128, 100, 784, 0, 0}, 100, WA_PATH_CPU, WA_MATRIX_OWN, 2.5},
    {{128, 784, 100, 0, 1}, 100, WA_PATH_GPU, WA_MATRIX_OWN, 3.5},
    {{128, 20, 784, 0, 0}, 20, WA_PATH_GPU, WA_MATRIX_CLBLAST, 4.5},
};
enum { CHOICES = sizeof choices / sizeof *choices };

static void expect_choice(const struct wa_tuning *tuning, const struct wa_matrix_choice *expected)
{
    const struct wa_matrix_choice *c =
        wa_matrix_choices_find(&tuning->matrices, expected->path, &expected->shape);
    assert_non_null(c);
    assert_int_equal(c->library, expected->library);
    assert_int_equal(c->lanes, expected->lanes);
    assert_true(c->ms == expected->ms);
}

static void test_matrix_choices(void **state)
{
    (void)state;
    struct wa_error err = {0};
    struct wa_data_folder folder;
    struct wa_device device = {.info = {.name = "a device", .compute_units = 2}};
    struct wa_tuning tuning = {0};
    char path[PATH_BYTES];
    assert_true(wa_data_folder_create(&folder));
    (void)snprintf(path, sizeof path, "%s/b.json", folder.path);
    wa_matrix_choices_set_parameters(&tuning.matrices, &wa_clblast_sets[1]);
    for (size_t i = 0; i < CHOICES; i++) {
        struct wa_matrix_choice other = choices[i];
        other.ms = 0;
        assert_int_equal(wa_matrix_choices_put(&tuning.matrices, &other, &err), WA_OK);
        assert_int_equal(wa_matrix_choices_put(&tuning.matrices, &choices[i], &err), WA_OK);
    }
    assert_int_equal(wa_tuning_write(&tuning, &device, path, &err), WA_OK);
    wa_tuning_finish(&tuning);
    assert_int_equal(wa_tuning_read(path, &all, &tuning, &err), WA_OK);
    assert_int_equal(tuning.matrices.count, CHOICES);
    assert_ptr_equal(tuning.matrices.parameters, &wa_clblast_sets[1]);
    for (size_t i = 0; i < CHOICES; i++) {
        expect_choice(&tuning, &choices[i]);
    }
    /* the same parameters again keep all, others only what does not depend on them */
    wa_matrix_choices_set_parameters(&tuning.matrices, &wa_clblast_sets[1]);
    assert_int_equal(tuning.matrices.count, CHOICES);
    wa_matrix_choices_set_parameters(&tuning.matrices, NULL);
    assert_int_equal(tuning.matrices.count, 2);
    assert_null(wa_matrix_choices_find(&tuning.matrices, WA_PATH_GPU, &choices[0].shape));
    wa_tuning_finish(&tuning);
    const struct wa_tuning_filter filter = {.lanes = 100, .path = WA_PATH_GPU};
    assert_int_equal(wa_tuning_read(path, &filter, &tuning, &err), WA_OK);
    assert_int_equal(tuning.matrices.count, 2);
    expect_choice(&tuning, &choices[0]);
    expect_choice(&tuning, &choices[2]);
    wa_tuning_finish(&tuning);
    wa_data_folder_remove(&folder);
}

/* Who serves a product: what was asked for, then the tuning, then what is expected. */
static void test_library(void **state)
{
    (void)state;
    struct wa_matrix_choice own[CHOICES];
    memcpy(own, choices, sizeof own);
    const struct wa_tuning tuning = {.matrices = {.entries = own, .count = CHOICES}};
    struct wa_engine engine = {.path = WA_PATH_GPU};
    struct wa_matrix matrix = {.engine = &engine, .library = WA_MATRIX_AUTO};
    const struct wa_matrix_shape large = {512, 512, 512, 0, 0};
    assert_int_equal(wa_matrix_library_of(&matrix, &choices[0].shape), WA_MATRIX_OWN);
    assert_int_equal(wa_matrix_library_of(&matrix, &large), WA_MATRIX_CLBLAST);
    engine.tuning = &tuning;
    assert_int_equal(wa_matrix_library_of(&matrix, &choices[0].shape), WA_MATRIX_CLBLAST);
    assert_int_equal(wa_matrix_library_of(&matrix, &choices[2].shape), WA_MATRIX_OWN);
    assert_int_equal(wa_matrix_library_of(&matrix, &large), WA_MATRIX_CLBLAST); /* not tuned */
    engine.path = WA_PATH_CPU;
    assert_int_equal(wa_matrix_library_of(&matrix, &choices[0].shape), WA_MATRIX_OWN);
    assert_int_equal(wa_matrix_library_of(&matrix, &large), WA_MATRIX_OWN);
    matrix.library = WA_MATRIX_CLBLAST;
    assert_int_equal(wa_matrix_library_of(&matrix, &choices[1].shape), WA_MATRIX_CLBLAST);
}

/* A product whose candidates took so long; 0: not measured. */
static struct wa_measured_product measured(enum wa_matrix_library expected, double own,
                                           double shipped, double set)
{
    const double ms[] = {own, shipped, set};
    struct wa_measured_product p = {.expected = expected};
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++) {
        p.candidates[i] = (struct wa_product_candidate){
            .is_measured = ms[i] > 0, .is_right = ms[i] > 0, .ms = ms[i]};
    }
    return p;
}

static void test_choosing_libraries(void **state)
{
    (void)state;
    struct wa_measured_product products[] = {
        measured(WA_MATRIX_OWN, 10, 5, 4.9),      /* CLBlast, whichever */
        measured(WA_MATRIX_OWN, 10, 9.8, 9.8),    /* not clearly faster */
        measured(WA_MATRIX_CLBLAST, 9.8, 10, 10), /* the same the other way round */
        measured(WA_MATRIX_CLBLAST, 5, 10, 10),
        measured(WA_MATRIX_OWN, 10, 1, 1), /* wrong: see below */
    };
    enum { COUNT = sizeof products / sizeof *products };
    struct wa_product_tuner tuner = {.products = products, .count = COUNT};
    products[4].candidates[WA_PRODUCT_SHIPPED].is_right = false;
    products[4].candidates[WA_PRODUCT_SETS].is_right = false;
    wa_product_tuner_choose(&tuner);
    assert_int_equal(tuner.set, WA_PRODUCT_SHIPPED); /* the set gains too little */
    static const size_t chosen[COUNT] = {WA_PRODUCT_SHIPPED, WA_PRODUCT_OWN, WA_PRODUCT_SHIPPED,
                                         WA_PRODUCT_OWN, WA_PRODUCT_OWN};
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(products[i].chosen, chosen[i]);
    }
    products[1].candidates[WA_PRODUCT_SETS].ms = 1; /* now it does, for all products together */
    wa_product_tuner_choose(&tuner);
    assert_int_equal(tuner.set, WA_PRODUCT_SETS);
    assert_int_equal(products[0].chosen, WA_PRODUCT_SETS);
    assert_int_equal(products[1].chosen, WA_PRODUCT_SETS);
    assert_int_equal(products[4].chosen, WA_PRODUCT_OWN);
}

/* What CLBlast's kernel asks of its parameters (GEMMK 0). */
static void test_parameter_sets(void **state)
{
    (void)state;
    for (size_t s = 0; s < WA_CLBLAST_SETS; s++) {
        const struct wa_clblast_set *set = &wa_clblast_sets[s];
        size_t v[WA_CLBLAST_PARAMETERS];
        memcpy(v, set->values, sizeof v);
        enum {
            GEMMK,
            KREG,
            KWG,
            KWI,
            MDIMA,
            MDIMC,
            MWG,
            NDIMB,
            NDIMC,
            NWG,
            SA,
            SB,
            STRM,
            STRN,
            VWM,
            VWN
        };
        assert_string_equal(wa_clblast_parameter_names[MDIMC], "MDIMC");
        assert_string_equal(wa_clblast_parameter_names[VWN], "VWN");
        assert_int_equal(v[GEMMK], 0);
        assert_int_equal(v[KREG], 1);
        assert_int_equal(v[KWG] % v[KWI], 0);
        assert_int_equal(v[MWG] % (v[MDIMC] * v[VWM]), 0);
        assert_int_equal(v[NWG] % (v[NDIMC] * v[VWN]), 0);
        assert_int_equal(v[MWG] % (v[MDIMA] * v[VWM]), 0);
        assert_int_equal(v[NWG] % (v[NDIMB] * v[VWN]), 0);
        assert_int_equal(v[KWG] % (v[MDIMC] * v[NDIMC] / v[MDIMA]), 0);
        assert_int_equal(v[KWG] % (v[MDIMC] * v[NDIMC] / v[NDIMB]), 0);
        assert_int_equal(v[STRM] + v[STRN], 0);
        size_t local = v[KWG] * (v[SA] * v[MWG] + v[SB] * v[NWG]) * sizeof(float);
        assert_true(local <= 16384); /* half of the least that a GPU has */
        assert_ptr_equal(wa_clblast_find(set->name), set);
    }
    assert_null(wa_clblast_find("no such set"));
}

#define SHAPE                                                                                      \
    "'in_channels': 1, 'out_channels': 1, 'kernel': 3, 'stride': 1, 'height': 4, 'width': 4, "     \
    "'lanes': 16"

#define PRODUCT "'m': 1, 'n': 1, 'k': 1, 'a_transposed': 0, 'b_transposed': 0, 'lanes': 16, 'ms': 1"

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
        "{'shapes': [], 'matrix_products': 1}",
        "{'shapes': [], 'matrix_products': [1]}",
        "{'shapes': [], 'matrix_products': [{" PRODUCT ", 'path': 'cpu', 'library': 'magic'}]}",
        "{'shapes': [], 'matrix_products': [{" PRODUCT ", 'path': 'tpu', 'library': 'own'}]}",
        "{'shapes': [], 'matrix_products': [{" PRODUCT
        ", 'm': 0, 'path': 'cpu', 'library': 'own'}]}",
        "{'shapes': [], 'clblast_parameters': 'no such set'}",
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
        assert_int_equal(wa_tuning_read(path, &all, &tuning, &err), WA_E_DATA);
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
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_choices),        cmocka_unit_test(test_matrix_choices),
        cmocka_unit_test(test_library),        cmocka_unit_test(test_choosing_libraries),
        cmocka_unit_test(test_parameter_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
