/* core/score.c and core/score_noise.c: the reference's scores, and what must hold of any score. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "rng.h"
#include "score.h"

struct pair {
    struct wa_score_operator layer;
    double *d, *e;
    double score;
};

static json_object *get(json_object *object, const char *key)
{
    json_object *value = NULL;
    assert_true(json_object_object_get_ex(object, key, &value));
    return value;
}

static int integer_at(json_object *object, const char *key, size_t index)
{
    return json_object_get_int(json_object_array_get_idx(get(object, key), index));
}

static double *numbers(json_object *object, const char *key, size_t count)
{
    json_object *array = get(object, key);
    assert_int_equal(json_object_array_length(array), count);
    double *values = calloc(count, sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < count; i++) {
        values[i] = json_object_get_double(json_object_array_get_idx(array, i));
    }
    return values;
}

static struct pair read_pair(json_object *c)
{
    struct pair pair = {.layer = {.outputs = integer_at(c, "shape", 0),
                                  .kernel = integer_at(c, "shape", 1),
                                  .inputs = integer_at(c, "shape", 3),
                                  .rows = integer_at(c, "input", 0),
                                  .columns = integer_at(c, "input", 1),
                                  .stride = json_object_get_int(get(c, "stride"))},
                        .score = json_object_get_double(get(c, "score"))};
    size_t count = wa_score_operator_size(&pair.layer);
    pair.d = numbers(c, "D", count);
    pair.e = numbers(c, "E", count);
    return pair;
}

static void finish_pair(struct pair *pair)
{
    free(pair->d);
    free(pair->e);
}

static double exact(const struct pair *pair)
{
    double score = 0;
    struct wa_error err = {0};
    assert_int_equal(wa_score_exact(&pair->layer, pair->d, pair->e, NULL, &score, &err), WA_OK);
    return score;
}

static double noise(const struct pair *pair)
{
    double score = 0;
    struct wa_error err = {0};
    assert_int_equal(wa_score_noise(&pair->layer, pair->d, pair->e, 99, NULL, &score, &err), WA_OK);
    return score;
}

static void expect_near(size_t number, double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance)) {
        fail_msg("case %zu: %.12g, expected %.12g within %g", number, value, expected, tolerance);
    }
}

/* Both are in double: what is left is the order of the sums. The noise estimate's tolerance is what
 * 100 batches of 100 are good for. */
static void test_golden(void **state)
{
    (void)state;
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/alignment-score.json", getenv("WALIGN_TEST_GOLDEN"));
    json_object *golden = json_object_from_file(path);
    assert_non_null(golden);
    json_object *cases = get(golden, "cases");
    assert_int_equal(json_object_array_length(cases), 4);
    for (size_t i = 0; i < json_object_array_length(cases); i++) {
        struct pair pair = read_pair(json_object_array_get_idx(cases, i));
        expect_near(i, exact(&pair), pair.score, 1e-6);
        expect_near(i, noise(&pair), pair.score, 0.01);
        finish_pair(&pair);
    }
    (void)json_object_put(golden);
}

static struct pair draw_pair(struct wa_score_operator layer)
{
    struct pair pair = {.layer = layer};
    size_t count = wa_score_operator_size(&layer);
    struct wa_rng rng;
    wa_rng_seed(&rng, 5);
    pair.d = calloc(count, sizeof *pair.d);
    pair.e = calloc(count, sizeof *pair.e);
    assert_true(pair.d && pair.e);
    for (size_t i = 0; i < count; i++) {
        pair.d[i] = wa_rng_normal(&rng);
        pair.e[i] = 0.5 * pair.d[i] + wa_rng_normal(&rng);
    }
    return pair;
}

/* y = W x of a unit input, by the definition of a SAME convolution. */
static double entry(const struct wa_score_operator *o, const double *w, int out, int p, int q,
                    int in, int r, int c)
{
    struct wa_score_axis rows = wa_score_axis_make(o, o->rows);
    struct wa_score_axis columns = wa_score_axis_make(o, o->columns);
    int tr = r - p * o->stride + rows.before;
    int tc = c - q * o->stride + columns.before;
    bool is_tap = tr >= 0 && tr < o->kernel && tc >= 0 && tc < o->kernel;
    return is_tap ? w[((out * o->kernel + tr) * o->kernel + tc) * o->inputs + in] : 0.0;
}

/* |A B^T|^2 of the dense operators. */
static double dense_norm(const struct wa_score_operator *o, const double *a, const double *b)
{
    int height = (o->rows + o->stride - 1) / o->stride;
    int width = (o->columns + o->stride - 1) / o->stride;
    int outputs = o->outputs * height * width;
    int inputs = o->inputs * o->rows * o->columns;
    double sum = 0;
    for (int i = 0; i < outputs; i++) {
        for (int j = 0; j < outputs; j++) {
            double product = 0;
            for (int x = 0; x < inputs; x++) {
                int in = x % o->inputs;
                int r = x / o->inputs / o->columns;
                int c = x / o->inputs % o->columns;
                product += entry(o, a, i % o->outputs, i / o->outputs / width,
                                 i / o->outputs % width, in, r, c) *
                           entry(o, b, j % o->outputs, j / o->outputs / width,
                                 j / o->outputs % width, in, r, c);
            }
            sum += product * product;
        }
    }
    return sum;
}

/* Images that are not square, smaller than the kernel, cut by a stride; outputs beyond a tile. */
static void test_shapes(void **state)
{
    (void)state;
    static const struct wa_score_operator shapes[] = {
        {.outputs = 3, .inputs = 2, .kernel = 3, .stride = 1, .rows = 5, .columns = 3},
        {.outputs = 2, .inputs = 3, .kernel = 3, .stride = 2, .rows = 7, .columns = 4},
        {.outputs = 2, .inputs = 1, .kernel = 5, .stride = 1, .rows = 2, .columns = 4},
        {.outputs = 2, .inputs = 2, .kernel = 5, .stride = 2, .rows = 6, .columns = 5},
        {.outputs = 2, .inputs = 2, .kernel = 3, .stride = 4, .rows = 9, .columns = 8},
        {.outputs = 37, .inputs = 5, .kernel = 1, .stride = 1, .rows = 1, .columns = 1},
        {.outputs = 1, .inputs = 9, .kernel = 1, .stride = 1, .rows = 1, .columns = 1},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct pair pair = draw_pair(shapes[i]);
        double de = dense_norm(&pair.layer, pair.d, pair.e);
        double dd = dense_norm(&pair.layer, pair.d, pair.d);
        double ee = dense_norm(&pair.layer, pair.e, pair.e);
        expect_near(i, exact(&pair), de / sqrt(dd * ee), 1e-12);
        finish_pair(&pair);
    }
}

static void test_bounds(void **state)
{
    (void)state;
    struct pair pair = draw_pair((struct wa_score_operator){
        .outputs = 4, .inputs = 3, .kernel = 3, .stride = 1, .rows = 6, .columns = 6});
    size_t count = wa_score_operator_size(&pair.layer);
    double before = exact(&pair);
    assert_true(before > 0 && before < 1);
    for (size_t i = 0; i < count; i++) {
        pair.e[i] = -1e-6 * pair.d[i];
    }
    expect_near(0, exact(&pair), 1.0, 1e-12);
    expect_near(1, noise(&pair), 1.0, 1e-5);
    for (size_t i = 0; i < count; i++) {
        pair.d[i] = 0;
    }
    assert_true(isnan(exact(&pair)));
    assert_true(isnan(noise(&pair)));
    finish_pair(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_shapes),
                                       cmocka_unit_test(test_bounds)};
    return cmocka_run_group_tests_name("score", tests, NULL, NULL);
}
