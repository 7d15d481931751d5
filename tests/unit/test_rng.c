/* The random numbers, bit for bit: against the golden file, and against what NumPy 2.4's
 * RandomState prints for the same calls (the constants below). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"

static void assert_same_bits(double got, double expected)
{
    assert_memory_equal(&got, &expected, sizeof got);
}

static struct json_object *list_of(struct json_object *golden, const char *key, size_t length)
{
    struct json_object *list = json_object_object_get(golden, key);
    assert_int_equal(json_object_array_length(list), length);
    return list;
}

static double number_at(struct json_object *list, size_t index)
{
    return json_object_get_double(json_object_array_get_idx(list, index));
}

static uint32_t integer_at(struct json_object *list, size_t index)
{
    return (uint32_t)json_object_get_int64(json_object_array_get_idx(list, index));
}

static void test_golden_file(void **state)
{
    (void)state;
    const char *folder = getenv("WALIGN_TEST_GOLDEN");
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/numpy-randomstate.json",
                   folder ? folder : "tests/golden");
    struct json_object *golden = json_object_from_file(path);
    assert_non_null(golden);

    struct wa_rng rng;
    wa_rng_seed(&rng, (uint32_t)json_object_get_int(json_object_object_get(golden, "seed")));
    struct json_object *list = list_of(golden, "normal_first_8", 8);
    for (size_t i = 0; i < 8; i++) {
        assert_same_bits(wa_rng_normal(&rng), number_at(list, i));
    }
    uint32_t order[20];
    wa_rng_permutation(&rng, order, 20);
    list = list_of(golden, "then_permutation_20", 20);
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(order[i], integer_at(list, i));
    }
    list = list_of(golden, "then_binomial_1_half_16", 16);
    for (size_t i = 0; i < 16; i++) {
        assert_int_equal(wa_rng_binomial_half(&rng), integer_at(list, i));
    }
    list = list_of(golden, "then_randint_10_12", 12);
    for (size_t i = 0; i < 12; i++) {
        assert_int_equal(wa_rng_randint(&rng, 10), integer_at(list, i));
    }
    list = list_of(golden, "then_uniform_4", 4);
    for (size_t i = 0; i < 4; i++) {
        assert_same_bits(wa_rng_double(&rng), number_at(list, i));
    }
    list = list_of(golden, "then_normal_3", 3);
    for (size_t i = 0; i < 3; i++) {
        assert_same_bits(wa_rng_normal(&rng), number_at(list, i));
    }
    json_object_put(golden);
}

/* The published check of MT19937: the 10,000th number of seed 5489. */
static void test_generator(void **state)
{
    (void)state;
    struct wa_rng rng;
    wa_rng_seed(&rng, 5489);
    uint32_t number = 0;
    for (int i = 0; i < 10000; i++) {
        number = wa_rng_uint32(&rng);
    }
    assert_int_equal(number, 4123659995u);
}

static void test_numpy_sequence(void **state)
{
    (void)state;
    struct wa_rng rng;
    wa_rng_seed(&rng, 5);
    assert_same_bits(wa_rng_normal(&rng), 0x1.c3d1236911f14p-2);
    assert_same_bits(wa_rng_normal(&rng), -0x1.52cfa0066e3e2p-2);
    assert_same_bits(wa_rng_normal(&rng), 0x1.372382a020f64p+1); /* keeps one for the end */

    static const float shuffled[] = {1.0f, 3.0f, 4.0f, 1.5f, 4.5f, 2.5f,
                                     0.5f, 2.0f, 3.5f, 5.0f, 0.0f, 5.5f};
    float values[12];
    for (size_t i = 0; i < 12; i++) {
        values[i] = (float)i * 0.5f;
    }
    wa_rng_shuffle_floats(&rng, values, 12);
    assert_memory_equal(values, shuffled, sizeof values);

    static const uint32_t large[] = {679935691, 476315166, 1177192404, 876837974};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(wa_rng_randint(&rng, 3000000000u), large[i]);
    }
    assert_int_equal(wa_rng_randint(&rng, UINT32_MAX), 1779125885u);
    assert_int_equal(wa_rng_randint(&rng, UINT32_MAX), 511510674u);
    assert_int_equal(wa_rng_randint(&rng, 1), 0); /* draws nothing */
    assert_int_equal(wa_rng_randint(&rng, 0), 0);

    static const uint32_t order5[] = {0, 3, 2, 4, 1};
    uint32_t order[5];
    wa_rng_permutation(&rng, order, 5);
    assert_memory_equal(order, order5, sizeof order5);
    wa_rng_permutation(&rng, order, 1);
    assert_int_equal(order[0], 0);
    wa_rng_permutation(&rng, NULL, 0);
    wa_rng_shuffle_floats(&rng, NULL, 0);

    static const uint32_t coins[] = {0, 1, 0, 0, 1, 1, 1, 1};
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(wa_rng_binomial_half(&rng), coins[i]);
    }
    assert_same_bits(wa_rng_normal(&rng), -0x1.02247070e5970p-2);
    assert_same_bits(wa_rng_double(&rng), 0x1.1f67943d745acp-1);
}

static void test_large_permutation(void **state)
{
    (void)state;
    enum { N = 55000 };
    struct wa_rng rng;
    wa_rng_seed(&rng, UINT32_MAX);
    uint32_t *order = malloc(N * sizeof *order);
    unsigned char *is_seen = calloc(N, 1);
    assert_non_null(order);
    assert_non_null(is_seen);
    wa_rng_permutation(&rng, order, N);
    static const uint32_t head[] = {46255, 19594, 24630, 2720, 13530, 11417};
    static const uint32_t tail[] = {44103, 16674, 27043};
    assert_memory_equal(order, head, sizeof head);
    assert_memory_equal(order + N - 3, tail, sizeof tail);
    for (size_t i = 0; i < N; i++) {
        assert_true(order[i] < N);
        assert_false(is_seen[order[i]]);
        is_seen[order[i]] = 1;
    }
    free(order);
    free(is_seen);
}

static void test_save_and_load(void **state)
{
    (void)state;
    struct wa_rng rng, other;
    struct wa_error err = {.status = WA_OK};
    uint32_t words[WA_RNG_SAVED_WORDS], again[WA_RNG_SAVED_WORDS];
    wa_rng_seed(&rng, 7);
    wa_rng_seed(&other, 8);
    for (int drawn = 0; drawn < 700; drawn++) {
        (void)wa_rng_normal(&rng); /* with a kept normal every second time */
        wa_rng_save(&rng, words);
        assert_int_equal(wa_rng_load(&other, words, &err), WA_OK);
        wa_rng_save(&other, again);
        assert_memory_equal(words, again, sizeof words);
        struct wa_rng copy = rng;
        assert_same_bits(wa_rng_normal(&other), wa_rng_normal(&copy));
        assert_same_bits(wa_rng_double(&other), wa_rng_double(&copy));
        assert_int_equal(wa_rng_uint32(&other), wa_rng_uint32(&copy));
    }
}

static void test_load_refuses_damage(void **state)
{
    (void)state;
    struct wa_rng rng;
    uint32_t words[WA_RNG_SAVED_WORDS];
    wa_rng_seed(&rng, 7);
    (void)wa_rng_normal(&rng);
    const struct wa_rng before = rng;
    static const struct {
        size_t index;
        uint32_t word;
    } damages[] = {
        {WA_RNG_KEY_WORDS, WA_RNG_KEY_WORDS + 1},
        {WA_RNG_KEY_WORDS, UINT32_MAX},
        {WA_RNG_KEY_WORDS + 1, 2},
        {WA_RNG_KEY_WORDS + 3, 0x7ff00000}, /* Inf or NaN */
    };
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        struct wa_error err = {.status = WA_OK};
        wa_rng_save(&rng, words);
        words[damages[i].index] = damages[i].word;
        assert_int_equal(wa_rng_load(&rng, words, &err), WA_E_DATA);
        assert_int_equal(err.status, WA_E_DATA);
        assert_non_null(strstr(err.message, "damaged state"));
        assert_memory_equal(rng.key, before.key, sizeof before.key);
        assert_int_equal(rng.position, before.position);
        assert_same_bits(rng.kept_normal, before.kept_normal);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_file),    cmocka_unit_test(test_generator),
        cmocka_unit_test(test_numpy_sequence), cmocka_unit_test(test_large_permutation),
        cmocka_unit_test(test_save_and_load),  cmocka_unit_test(test_load_refuses_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
