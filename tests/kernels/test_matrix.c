/* Matrix products through wa_matrix_product, own kernels and CLBlast alike, against the reference.
 *
 * Tolerance: wa_reference_rounding of the inner size, times the sum of the products' absolute values,
 * and 2^-22 of what alpha adds.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <clblast_c.h>

#include "clblast_parameters.h"
#include "device_fixture.h"
#include "matrix.h"
#include "reference_operations.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

struct product {
    int m, n, k;
    bool a_is_transposed, b_is_transposed;
    float alpha;
    size_t offset; /* of each operand */
    int slack;     /* floats between rows */
};

/* A matrix in rows longer than needed, behind an offset; all that is not the matrix holds NaN, which
 * would show. */
struct operand {
    int rows, columns, row;
    size_t offset, floats;
    float *values;
    cl_mem memory;
};

static struct operand make_operand(struct wa_fixture *fixture, int rows, int columns,
                                   const struct product *p)
{
    struct operand o = {
        .rows = rows, .columns = columns, .row = columns + p->slack, .offset = p->offset};
    o.floats = o.offset + (size_t)o.row * (size_t)rows;
    float *values = wa_fixture_random(fixture, o.floats);
    for (size_t i = 0; i < o.floats; i++) {
        bool is_inside = i >= o.offset && (int)((i - o.offset) % (size_t)o.row) < columns;
        values[i] = is_inside ? values[i] : wa_fixture_pattern();
    }
    o.values = values;
    o.memory = wa_fixture_input(fixture, values, o.floats);
    return o;
}

static double *dense(struct wa_fixture *fixture, const struct operand *o, const float *values)
{
    double *wide = wa_fixture_allocate(fixture, (size_t)o->rows * (size_t)o->columns, sizeof *wide);
    for (int r = 0; r < o->rows; r++) {
        for (int c = 0; c < o->columns; c++) {
            wide[r * o->columns + c] =
                (double)values[o->offset + (size_t)r * (size_t)o->row + (size_t)c];
        }
    }
    return wide;
}

static struct wa_matrix_operand as_operand(const struct operand *o, bool is_transposed)
{
    return (struct wa_matrix_operand){o->memory, o->offset, o->row, is_transposed};
}

static void expect_surroundings(struct wa_fixture *fixture, const struct operand *c,
                                const float *values)
{
    for (size_t i = 0; i < c->floats; i++) {
        bool is_inside = i >= c->offset && (int)((i - c->offset) % (size_t)c->row) < c->columns;
        if (wa_fixture_is_pattern(values[i]) == is_inside) {
            print_error("%s: float %zu is %s\n", fixture->subject, i,
                        is_inside ? "not written" : "outside and was written");
            fail();
        }
    }
}

static void check_product(struct wa_fixture *fixture, struct wa_matrix *matrix,
                          const struct product *p)
{
    (void)snprintf(fixture->subject, sizeof fixture->subject,
                   "%s %d x %d x %d%s%s, alpha %g, offset %zu, slack %d",
                   matrix->library == WA_MATRIX_OWN       ? "own"
                   : matrix->library == WA_MATRIX_CLBLAST ? "CLBlast"
                                                          : "automatic",
                   p->m, p->n, p->k, p->a_is_transposed ? " a^T" : "",
                   p->b_is_transposed ? " b^T" : "", (double)p->alpha, p->offset, p->slack);
    bool at = p->a_is_transposed;
    bool bt = p->b_is_transposed;
    struct operand a = make_operand(fixture, at ? p->k : p->m, at ? p->m : p->k, p);
    struct operand b = make_operand(fixture, bt ? p->n : p->k, bt ? p->k : p->n, p);
    struct operand c = make_operand(fixture, p->m, p->n, p);
    size_t count = (size_t)p->m * (size_t)p->n;
    double *expected = wa_fixture_allocate(fixture, count, sizeof *expected);
    double *bounds = wa_fixture_allocate(fixture, count, sizeof *bounds);
    wa_reference_product(p->m, p->n, p->k, dense(fixture, &a, a.values), at,
                         dense(fixture, &b, b.values), bt, expected, bounds);
    double alpha = (double)p->alpha;
    for (size_t i = 0; i < count; i++) {
        expected[i] = alpha * expected[i];
        bounds[i] = fabs(alpha) * bounds[i] * wa_reference_rounding((size_t)p->k) +
                    0x1p-22 * fabs(expected[i]);
    }
    WA_FIXTURE_CHECK(fixture,
                     wa_matrix_product(matrix, p->m, p->n, p->k, p->alpha, as_operand(&a, at),
                                       as_operand(&b, bt), as_operand(&c, false), &fixture->err));
    float *actual = wa_fixture_read(fixture, c.memory, c.floats);
    wa_fixture_compare(fixture, "c", count, dense(fixture, &c, actual), expected, bounds);
    expect_surroundings(fixture, &c, actual);
    wa_fixture_clear(fixture);
}

static const enum wa_matrix_library libraries[] = {WA_MATRIX_OWN, WA_MATRIX_CLBLAST};
static const bool transpositions[][2] = {{false, false}, {true, false}, {false, true}};

static struct wa_matrix open_matrix(struct wa_fixture *fixture, enum wa_matrix_library library)
{
    struct wa_matrix matrix;
    WA_FIXTURE_CHECK(fixture, wa_matrix_init(&matrix, &fixture->engine, library, &fixture->err));
    return matrix;
}

/* Each size in each place; offsets and row lengths in turn. */
static void check_sizes(struct wa_fixture *fixture, enum wa_matrix_library library)
{
    static const int sizes[] = {1, 7, 27, 33, 100, 257};
    struct wa_matrix matrix = open_matrix(fixture, library);
    for (size_t t = 0; t < LENGTH(transpositions); t++) {
        for (size_t i = 0; i < LENGTH(sizes) * LENGTH(sizes); i++) {
            size_t m = i % LENGTH(sizes);
            size_t n = i / LENGTH(sizes);
            const struct product p = {.m = sizes[m],
                                      .n = sizes[n],
                                      .k = sizes[(m + 2 * n + 1) % LENGTH(sizes)],
                                      .a_is_transposed = transpositions[t][0],
                                      .b_is_transposed = transpositions[t][1],
                                      .alpha = i % 2 ? 1.0f : 0.37f,
                                      .offset = i % 4 * 5,
                                      .slack = i % 5 ? 0 : 3};
            check_product(fixture, &matrix, &p);
        }
    }
    wa_matrix_finish(&matrix);
}

static void test_own_kernels(void **state)
{
    check_sizes(*state, WA_MATRIX_OWN);
}

static void test_clblast(void **state)
{
    check_sizes(*state, WA_MATRIX_CLBLAST);
}

static void test_own_kernels_on_other_vectors(void **state)
{
    static const int widths[] = {8, 4};
    struct wa_fixture *fixture = *state;
    for (size_t i = 0; i < LENGTH(widths); i++) {
        wa_engine_use_vectors(&fixture->engine, widths[i]);
        check_sizes(fixture, WA_MATRIX_OWN);
    }
}

/* sums[i] of a's rows, beside the same c as without them, bit for bit. */
static void check_sums(struct wa_fixture *fixture, struct wa_matrix *matrix, int m, int n, int k)
{
    enum { OFFSET = 3 };
    const struct product p = {.m = m, .n = n, .k = k, .slack = 2, .offset = 5};
    (void)snprintf(fixture->subject, sizeof fixture->subject, "%d x %d x %d and sums", m, n, k);
    struct operand a = make_operand(fixture, m, k, &p);
    struct operand b = make_operand(fixture, n, k, &p);
    struct operand c = make_operand(fixture, m, n, &p);
    struct operand plain = make_operand(fixture, m, n, &p);
    struct wa_matrix_sums sums = {wa_fixture_output(fixture, (size_t)m + OFFSET), OFFSET};
    WA_FIXTURE_CHECK(fixture,
                     wa_matrix_product_and_sums(matrix, m, n, k, 0.5f, as_operand(&a, false),
                                                as_operand(&b, true), as_operand(&c, false), sums,
                                                &fixture->err));
    WA_FIXTURE_CHECK(fixture, wa_matrix_product(matrix, m, n, k, 0.5f, as_operand(&a, false),
                                                as_operand(&b, true), as_operand(&plain, false),
                                                &fixture->err));
    const float *both = wa_fixture_read(fixture, c.memory, c.floats);
    expect_surroundings(fixture, &c, both);
    assert_memory_equal(both, wa_fixture_read(fixture, plain.memory, plain.floats),
                        c.floats * sizeof *both);
    double *expected = wa_fixture_allocate(fixture, (size_t)m, sizeof *expected);
    double *bounds = wa_fixture_allocate(fixture, (size_t)m, sizeof *bounds);
    double *actual = wa_fixture_allocate(fixture, (size_t)m, sizeof *actual);
    const float *read = wa_fixture_read(fixture, sums.memory, (size_t)m + OFFSET);
    const double *values = dense(fixture, &a, a.values);
    for (int i = 0; i < m; i++) {
        actual[i] = (double)read[OFFSET + i];
        for (int j = 0; j < k; j++) {
            expected[i] += values[i * k + j];
            bounds[i] += fabs(values[i * k + j]);
        }
        bounds[i] *= wa_reference_rounding((size_t)k);
    }
    for (int i = 0; i < OFFSET; i++) {
        assert_true(wa_fixture_is_pattern(read[i]));
    }
    wa_fixture_expect_tail(fixture, sums.memory, (size_t)m + OFFSET);
    wa_fixture_compare(fixture, "sums", (size_t)m, actual, expected, bounds);
    wa_fixture_clear(fixture);
}

static void test_sums_of_rows(void **state)
{
    static const int shapes[][3] = {{10, 64, 100}, {37, 300, 52}, {1, 5, 16}, {21, 17, 7}};
    static const int widths[] = {16, 8, 4};
    struct wa_fixture *fixture = *state;
    for (size_t w = 0; w < LENGTH(widths); w++) {
        wa_engine_use_vectors(&fixture->engine, widths[w]);
        struct wa_matrix matrix = open_matrix(fixture, WA_MATRIX_OWN);
        const struct wa_matrix_shape shape = {10, 64, 100, 0, 1};
        const struct wa_matrix_shape other = {10, 64, 100, 0, 0};
        bool is_offered = wa_matrix_sums_rows(&matrix, &shape);
        assert_int_equal(is_offered, fixture->engine.path == WA_PATH_CPU);
        assert_false(wa_matrix_sums_rows(&matrix, &other));
        for (size_t i = 0; i < LENGTH(shapes) && is_offered; i++) {
            check_sums(fixture, &matrix, shapes[i][0], shapes[i][1], shapes[i][2]);
        }
        wa_matrix_finish(&matrix);
    }
}

/* A readout's products: ten classes by a batch in lanes, and its weight gradient. */
static void test_readout_shapes(void **state)
{
    static const struct product products[] = {
        {10, 100, 512, false, false, 0.044f, 12345, 0},
        {512, 100, 10, true, false, 0.044f, 12345, 0},
        {10, 512, 100, false, true, 0.044f, 0, 0},
        {6272, 20, 10, false, false, 1.0f, 0, 0},
    };
    struct wa_fixture *fixture = *state;
    for (size_t l = 0; l < LENGTH(libraries); l++) {
        struct wa_matrix matrix = open_matrix(fixture, libraries[l]);
        for (size_t i = 0; i < LENGTH(products); i++) {
            check_product(fixture, &matrix, &products[i]);
        }
        wa_matrix_finish(&matrix);
    }
}

/* One to four columns past whole vectors, fewer rows than a block has, and inner indices for several stretches that end
 * with less than a vector. */
static void test_last_columns(void **state)
{
    static const struct product products[] = {
        {9, 97, 2100, false, false, 0.5f, 3, 0}, {6, 98, 1100, false, false, 1.0f, 0, 2},
        {4, 99, 1037, false, false, 0.5f, 0, 0}, {3, 20, 1024 + 7, false, false, 1.0f, 5, 1},
        {18, 99, 300, true, false, 0.5f, 0, 0},
    };
    struct wa_fixture *fixture = *state;
    struct wa_matrix matrix = open_matrix(fixture, WA_MATRIX_OWN);
    for (size_t i = 0; i < LENGTH(products); i++) {
        check_product(fixture, &matrix, &products[i]);
    }
    wa_matrix_finish(&matrix);
}

/* What operations use: on the GPU path the second product is large enough for CLBlast. */
static void test_automatic_choice(void **state)
{
    static const struct product products[] = {
        {33, 100, 257, false, false, 1.0f, 0, 0},
        {257, 260, 300, false, true, 0.5f, 7, 0},
    };
    struct wa_fixture *fixture = *state;
    struct wa_matrix matrix = open_matrix(fixture, WA_MATRIX_AUTO);
    for (size_t i = 0; i < LENGTH(products); i++) {
        check_product(fixture, &matrix, &products[i]);
    }
    wa_matrix_finish(&matrix);
}

static void test_same_bits_twice(void **state)
{
    struct wa_fixture *fixture = *state;
    const struct product p = {.m = 33, .n = 100, .k = 257, .alpha = 1.0f, .slack = 3};
    for (size_t l = 0; l < LENGTH(libraries); l++) {
        struct wa_matrix matrix = open_matrix(fixture, libraries[l]);
        struct operand a = make_operand(fixture, p.m, p.k, &p);
        struct operand b = make_operand(fixture, p.k, p.n, &p);
        float *results[2];
        for (int i = 0; i < 2; i++) {
            struct operand c = make_operand(fixture, p.m, p.n, &p);
            WA_FIXTURE_CHECK(fixture,
                             wa_matrix_product(&matrix, p.m, p.n, p.k, 1.0f, as_operand(&a, false),
                                               as_operand(&b, false), as_operand(&c, false),
                                               &fixture->err));
            results[i] = wa_fixture_read(fixture, c.memory, c.floats);
        }
        assert_memory_equal(results[0], results[1],
                            (size_t)p.m * (size_t)(p.n + p.slack) * sizeof(float));
        wa_matrix_finish(&matrix);
    }
}

/* Only the row and the column of a NaN are NaN; c is not read, whatever it holds. */
static void test_nan_comes_through(void **state)
{
    enum { SIZE = 33, COUNT = SIZE * SIZE };
    struct wa_fixture *fixture = *state;
    const struct product p = {.m = SIZE, .n = SIZE, .k = SIZE};
    for (size_t l = 0; l < LENGTH(libraries); l++) {
        struct wa_matrix matrix = open_matrix(fixture, libraries[l]);
        struct operand a = make_operand(fixture, SIZE, SIZE, &p);
        a.values[5 * SIZE + 20] = NAN;
        a.memory = wa_fixture_input(fixture, a.values, a.floats);
        struct operand b = make_operand(fixture, SIZE, SIZE, &p);
        cl_mem c = wa_fixture_output(fixture, COUNT);
        WA_FIXTURE_CHECK(fixture, wa_matrix_product(&matrix, SIZE, SIZE, SIZE, 1.0f,
                                                    as_operand(&a, false), as_operand(&b, false),
                                                    (struct wa_matrix_operand){c, 0, SIZE, false},
                                                    &fixture->err));
        float *values = wa_fixture_read(fixture, c, COUNT);
        for (int i = 0; i < COUNT; i++) {
            assert_true((isnan(values[i]) != 0) == (i / SIZE == 5));
        }
        wa_fixture_expect_tail(fixture, c, COUNT);
        wa_matrix_finish(&matrix);
    }
}

static void test_two_transposed_are_refused(void **state)
{
    struct wa_fixture *fixture = *state;
    for (size_t l = 0; l < LENGTH(libraries); l++) {
        struct wa_matrix matrix = open_matrix(fixture, libraries[l]);
        struct wa_matrix_operand none = {NULL, 0, 1, true};
        fixture->err = (struct wa_error){0};
        assert_int_equal(wa_matrix_product(&matrix, 1, 1, 1, 1.0f, none, none, none, &fixture->err),
                         WA_E_UNSUPPORTED);
        assert_non_null(strstr(fixture->err.message, "transposed"));
        wa_matrix_finish(&matrix);
    }
}

/* CLBlast pads operands to multiples of its parameters' tiles: how much memory it wants for that shows
 * which ones it takes. The last test: there is no way back in this process. */
static void test_parameters_are_taken(void **state)
{
    enum { SIZE = 1003 };
    struct wa_fixture *fixture = *state;
    const struct wa_device *device = fixture->engine.device;
    cl_command_queue queue = device->queue;
    for (size_t s = 0; s < WA_CLBLAST_SETS; s++) {
        const struct wa_clblast_set *set = &wa_clblast_sets[s];
        size_t mwg = 0;
        size_t nwg = 0;
        size_t kwg = 0;
        for (size_t i = 0; i < WA_CLBLAST_PARAMETERS; i++) {
            const char *name = wa_clblast_parameter_names[i];
            mwg = strcmp(name, "MWG") == 0 ? set->values[i] : mwg;
            nwg = strcmp(name, "NWG") == 0 ? set->values[i] : nwg;
            kwg = strcmp(name, "KWG") == 0 ? set->values[i] : kwg;
        }
        WA_FIXTURE_CHECK(fixture, wa_clblast_use(device, set, &fixture->err));
        size_t bytes = 0;
        assert_int_equal(CLBlastSGemmTempBufferSize(CLBlastLayoutRowMajor, CLBlastTransposeNo,
                                                    CLBlastTransposeNo, SIZE, SIZE, SIZE, 0, SIZE,
                                                    0, SIZE, 0, SIZE, &queue, &bytes),
                         CLBlastSuccess);
        size_t m = (SIZE + mwg - 1) / mwg * mwg;
        size_t n = (SIZE + nwg - 1) / nwg * nwg;
        size_t k = (SIZE + kwg - 1) / kwg * kwg;
        print_message("%s: %zu bytes\n", set->name, bytes);
        assert_int_equal(bytes, (m * k + k * n + m * n) * sizeof(float));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WA_FIXTURE_TEST(test_own_kernels),
        WA_FIXTURE_TEST(test_clblast),
        WA_FIXTURE_TEST(test_own_kernels_on_other_vectors),
        WA_FIXTURE_TEST(test_sums_of_rows),
        WA_FIXTURE_TEST(test_readout_shapes),
        WA_FIXTURE_TEST(test_last_columns),
        WA_FIXTURE_TEST(test_automatic_choice),
        WA_FIXTURE_TEST(test_same_bits_twice),
        WA_FIXTURE_TEST(test_nan_comes_through),
        WA_FIXTURE_TEST(test_two_transposed_are_refused),
        WA_FIXTURE_TEST(test_parameters_are_taken),
    };
    return cmocka_run_group_tests(tests, wa_fixture_setup, wa_fixture_teardown);
}
