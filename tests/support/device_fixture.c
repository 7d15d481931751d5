/* An open device for tests: see device_fixture.h. */
#include "device_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "log.h"

enum { PATTERN_BITS = 0x7fc5a5a5, EXIT_SKIPPED = 77 };

/* ---- The device ----------------------------------------------------------------------------- */

static void start_engine(struct wa_fixture *fixture)
{
    uint64_t bytes = fixture->engine.bytes;
    wa_engine_init(&fixture->engine, fixture->device, fixture->programs,
                   getenv("WALIGN_TEST_PATH"));
    fixture->engine.bytes = bytes;
    wa_rng_seed(&fixture->rng, WA_FIXTURE_SEED);
}

/* PoCL compiles kernels when they are launched and keeps them on disk itself. To fill walign's own
 * cache it would compile the rest of each program too, which tests launch little of: no cache then. */
static wa_status create_programs(struct wa_fixture *fixture)
{
    if (strstr(fixture->device->info.platform_name, "Portable Computing Language")) {
        (void)unsetenv("XDG_CACHE_HOME");
        (void)unsetenv("HOME");
        wa_log_set_level(WA_LOG_ERROR); /* not to be told so */
    }
    wa_status status = wa_programs_create(fixture->device, &fixture->programs, &fixture->err);
    wa_log_set_level(WA_LOG_WARNING);
    return status;
}

int wa_fixture_setup(void **state)
{
    struct wa_fixture *fixture = calloc(1, sizeof *fixture);
    if (!fixture) {
        return -1;
    }
    *state = fixture;
    struct wa_error *err = &fixture->err;
    size_t index = 0;
    wa_status status = wa_device_list_init(&fixture->devices, err);
    if (status == WA_OK) {
        status = wa_device_choose(&fixture->devices, NULL, &index, err);
        if (status == WA_E_NO_DEVICE && getenv("WALIGN_DEVICE")) {
            (void)printf("skipped: %s\n", err->message);
            (void)fflush(stdout);
            wa_device_list_finish(&fixture->devices);
            free(fixture);
            exit(EXIT_SKIPPED);
        }
    }
    if (status == WA_OK) {
        status = wa_device_open(&fixture->devices, index, false, &fixture->device, err);
    }
    if (status == WA_OK) {
        status = create_programs(fixture);
    }
    if (status != WA_OK) {
        (void)fprintf(stderr, "no device to test on: %s\n", err->message);
        return -1;
    }
    start_engine(fixture);
    (void)printf("device %s, %s path, vectors of %d, seed %d\n", fixture->device->info.name,
                 fixture->engine.path == WA_PATH_GPU ? "GPU" : "CPU", fixture->engine.vector_width,
                 WA_FIXTURE_SEED);
    return 0;
}

int wa_fixture_teardown(void **state)
{
    struct wa_fixture *fixture = *state;
    wa_fixture_clear(fixture);
    wa_programs_destroy(fixture->programs);
    wa_device_close(fixture->device);
    wa_device_list_finish(&fixture->devices);
    free(fixture);
    return 0;
}

int wa_fixture_reset(void **state)
{
    struct wa_fixture *fixture = *state;
    fixture->err = (struct wa_error){0};
    start_engine(fixture);
    return 0;
}

void wa_fixture_check(struct wa_fixture *fixture, wa_status status, const char *call,
                      const char *file, int line)
{
    if (status != WA_OK) {
        print_error("%s:%d: %s failed with %s: %s\n", file, line, call, wa_status_name(status),
                    fixture->err.message);
        fail();
    }
}

/* ---- Memory --------------------------------------------------------------------------------- */

/* What a test allocated: memory, or a buffer on the device. */
struct wa_fixture_block {
    struct wa_fixture_block *next;
    void *memory;
    cl_mem buffer;
};

static struct wa_fixture_block *add_block(struct wa_fixture *fixture)
{
    struct wa_fixture_block *block = calloc(1, sizeof *block);
    assert_non_null(block);
    block->next = fixture->blocks;
    fixture->blocks = block;
    return block;
}

void wa_fixture_clear(struct wa_fixture *fixture)
{
    while (fixture->blocks) {
        struct wa_fixture_block *next = fixture->blocks->next;
        wa_engine_release(&fixture->engine, fixture->blocks->buffer);
        free(fixture->blocks->memory);
        free(fixture->blocks);
        fixture->blocks = next;
    }
}

int wa_fixture_clear_test(void **state)
{
    wa_fixture_clear(*state);
    return 0;
}

void *wa_fixture_allocate(struct wa_fixture *fixture, size_t count, size_t size)
{
    struct wa_fixture_block *block = add_block(fixture);
    block->memory = calloc(count ? count : 1, size);
    assert_non_null(block->memory);
    return block->memory;
}

float wa_fixture_pattern(void)
{
    const uint32_t bits = PATTERN_BITS;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

bool wa_fixture_is_pattern(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits == PATTERN_BITS;
}

float *wa_fixture_random(struct wa_fixture *fixture, size_t count)
{
    float *values = wa_fixture_allocate(fixture, count, sizeof *values);
    for (size_t i = 0; i < count; i++) {
        double value = 1.5 * (wa_rng_double(&fixture->rng) - 0.5);
        values[i] = (float)(value < 0 ? value - 0.25 : value + 0.25);
    }
    return values;
}

cl_mem wa_fixture_output(struct wa_fixture *fixture, size_t floats)
{
    size_t count = floats + WA_FIXTURE_TAIL;
    float *values = wa_fixture_allocate(fixture, count, sizeof *values);
    for (size_t i = 0; i < count; i++) {
        values[i] = wa_fixture_pattern();
    }
    return wa_fixture_input(fixture, values, count);
}

cl_mem wa_fixture_input(struct wa_fixture *fixture, const void *values, size_t floats)
{
    struct wa_fixture_block *block = add_block(fixture);
    WA_FIXTURE_CHECK(fixture,
                     wa_engine_buffer_from(&fixture->engine, values, floats * sizeof(float),
                                           "a buffer of a test", &block->buffer, &fixture->err));
    return block->buffer;
}

float *wa_fixture_read(struct wa_fixture *fixture, cl_mem buffer, size_t floats)
{
    float *values = wa_fixture_allocate(fixture, floats, sizeof *values);
    WA_FIXTURE_CHECK(fixture, wa_engine_read(&fixture->engine, buffer, 0, values,
                                             floats * sizeof *values, &fixture->err));
    return values;
}

void wa_fixture_expect_tail(struct wa_fixture *fixture, cl_mem buffer, size_t floats)
{
    float tail[WA_FIXTURE_TAIL];
    WA_FIXTURE_CHECK(fixture, wa_engine_read(&fixture->engine, buffer, floats * sizeof *tail, tail,
                                             sizeof tail, &fixture->err));
    for (size_t i = 0; i < WA_FIXTURE_TAIL; i++) {
        if (!wa_fixture_is_pattern(tail[i])) {
            print_error("%s: float %zu behind the end was written\n", fixture->subject, i);
            fail();
        }
    }
}

/* ---- Layouts -------------------------------------------------------------------------------- */

size_t wa_fixture_layout_count(const struct wa_layout *layout, int batch)
{
    return (size_t)layout->channels * (size_t)layout->rows * (size_t)layout->columns *
           (size_t)batch;
}

/* Where item 0 of the p-th position lies, positions counted in dense order. */
static size_t place_of(const struct wa_layout *layout, size_t p)
{
    size_t columns = (size_t)layout->columns;
    size_t rows = (size_t)layout->rows;
    return p / columns / rows * (size_t)layout->plane + (size_t)layout->base +
           p / columns % rows * (size_t)layout->row + p % columns * (size_t)layout->lanes;
}

float *wa_fixture_pack(struct wa_fixture *fixture, const struct wa_layout *layout, int batch,
                       const float *dense)
{
    float *packed = wa_fixture_allocate(fixture, layout->floats, sizeof *packed);
    size_t positions = wa_fixture_layout_count(layout, 1);
    for (size_t p = 0; p < positions; p++) {
        memcpy(packed + place_of(layout, p), dense + p * (size_t)batch,
               (size_t)batch * sizeof *dense);
    }
    return packed;
}

double *wa_fixture_unpack(struct wa_fixture *fixture, const struct wa_layout *layout, int batch,
                          const float *packed)
{
    size_t positions = wa_fixture_layout_count(layout, 1);
    double *dense = wa_fixture_allocate(fixture, positions * (size_t)batch, sizeof *dense);
    for (size_t p = 0; p < positions; p++) {
        for (size_t n = 0; n < (size_t)batch; n++) {
            dense[p * (size_t)batch + n] = (double)packed[place_of(layout, p) + n];
        }
    }
    return dense;
}

double *wa_fixture_widen(struct wa_fixture *fixture, const float *values, size_t count)
{
    double *wide = wa_fixture_allocate(fixture, count, sizeof *wide);
    for (size_t i = 0; i < count; i++) {
        wide[i] = (double)values[i];
    }
    return wide;
}

/* Marks what belongs to items in `packed` as seen and counts lanes past the batch that are not 0. */
static size_t mark_items(const struct wa_layout *layout, int batch, float *packed)
{
    size_t wrong = 0;
    size_t positions = wa_fixture_layout_count(layout, 1);
    for (size_t p = 0; p < positions; p++) {
        float *lanes = packed + place_of(layout, p);
        for (int n = 0; n < layout->lanes; n++) {
            /* a position with a NaN may have NaN in all lanes */
            wrong += n >= batch &&
                     (lanes[n] < 0.0f || lanes[n] > 0.0f || wa_fixture_is_pattern(lanes[n]));
            lanes[n] = wa_fixture_pattern();
        }
    }
    return wrong;
}

double *wa_fixture_take(struct wa_fixture *fixture, const char *what, cl_mem buffer,
                        const struct wa_layout *layout, int batch)
{
    float *packed = wa_fixture_read(fixture, buffer, layout->floats);
    double *dense = wa_fixture_unpack(fixture, layout, batch, packed);
    size_t unwritten = 0;
    for (size_t i = 0; i < wa_fixture_layout_count(layout, 1); i++) {
        unwritten += wa_fixture_is_pattern(packed[place_of(layout, i)]);
    }
    size_t not_zero = mark_items(layout, batch, packed);
    size_t touched = 0;
    for (size_t i = 0; i < layout->floats; i++) {
        touched += !wa_fixture_is_pattern(packed[i]);
    }
    if (unwritten || not_zero || touched) {
        print_error(
            "%s: %s: %zu positions were not written, %zu lanes past the batch are not zero, "
            "%zu floats of the border were touched\n",
            fixture->subject, what, unwritten, not_zero, touched);
        fail();
    }
    wa_fixture_expect_tail(fixture, buffer, layout->floats);
    return dense;
}

void wa_fixture_compare(struct wa_fixture *fixture, const char *what, size_t count,
                        const double *actual, const double *expected, const double *bounds)
{
    for (size_t i = 0; i < count; i++) {
        bool is_equal = isnan(expected[i])
                            ? isnan(actual[i]) != 0
                            : isnan(bounds[i]) || fabs(actual[i] - expected[i]) <= bounds[i];
        if (!is_equal) {
            print_error("%s: %s: value %zu of %zu is %.9g, expected %.9g within %.3g\n",
                        fixture->subject, what, i, count, actual[i], expected[i], bounds[i]);
            fail();
        }
    }
}
