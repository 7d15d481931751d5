/* An open device for tests, with an engine on it, buffers that watch what is written, random numbers
 * by a fixed seed, and comparisons that say where and by how much.
 *
 * Device: $WALIGN_DEVICE (exit 77, "skipped", where that matches none), else the default one. Path:
 * $WALIGN_TEST_PATH, "cpu", "gpu" or "auto". Every failure fails the running test.
 */
#ifndef WALIGN_TESTS_DEVICE_FIXTURE_H
#define WALIGN_TESTS_DEVICE_FIXTURE_H

#include "engine.h"
#include "model.h"
#include "rng.h"

enum { WA_FIXTURE_SEED = 20220717, WA_FIXTURE_TAIL = 64 };

struct wa_fixture {
    struct wa_device_list devices;
    struct wa_device *device;
    struct wa_programs *programs;
    struct wa_engine engine;
    struct wa_rng rng;
    struct wa_error err;
    char subject[128];               /* what is being tested, for messages */
    struct wa_fixture_block *blocks; /* what the running test allocated */
};

/* Group set-up and teardown: *state is a struct wa_fixture. Prints device, path and seed. */
int wa_fixture_setup(void **state);
int wa_fixture_teardown(void **state);

/* Set-up of one test: the engine and the random numbers as they were at first. */
int wa_fixture_reset(void **state);

/* Frees all memory and buffers that the functions below gave; teardown of one test. */
void wa_fixture_clear(struct wa_fixture *fixture);
int wa_fixture_clear_test(void **state);

/* A test between the two. */
#define WA_FIXTURE_TEST(test)                                                                      \
    cmocka_unit_test_setup_teardown(test, wa_fixture_reset, wa_fixture_clear_test)

/* The running test fails with the message in fixture->err unless the call returned WA_OK. */
#define WA_FIXTURE_CHECK(fixture, call)                                                            \
    wa_fixture_check((fixture), (call), #call, __FILE__, __LINE__)
void wa_fixture_check(struct wa_fixture *fixture, wa_status status, const char *call,
                      const char *file, int line);

/* Zeros; fails the test where there is no memory. */
void *wa_fixture_allocate(struct wa_fixture *fixture, size_t count, size_t size);

/* Numbers of either sign with absolute values from 1/4 to 1: none is small beside another, so that
 * leaving any of them out of a sum shows. */
float *wa_fixture_random(struct wa_fixture *fixture, size_t count);

/* A value that no operation gives (a NaN of its own): what untouched memory holds. */
float wa_fixture_pattern(void);
bool wa_fixture_is_pattern(float value);

/* A buffer of `floats` and WA_FIXTURE_TAIL more behind it, all holding the pattern. */
cl_mem wa_fixture_output(struct wa_fixture *fixture, size_t floats);
/* A buffer with content. */
cl_mem wa_fixture_input(struct wa_fixture *fixture, const void *values, size_t floats);
/* Copies the first floats of a buffer to new memory. */
float *wa_fixture_read(struct wa_fixture *fixture, cl_mem buffer, size_t floats);
/* Fails unless the `WA_FIXTURE_TAIL` floats behind an output are untouched. */
void wa_fixture_expect_tail(struct wa_fixture *fixture, cl_mem buffer, size_t floats);

size_t wa_fixture_layout_count(const struct wa_layout *layout, int batch);

/* Dense [channel][row][column][item] to and from a layout; border and lanes past the batch are
 * zero. */
float *wa_fixture_pack(struct wa_fixture *fixture, const struct wa_layout *layout, int batch,
                       const float *dense);
double *wa_fixture_unpack(struct wa_fixture *fixture, const struct wa_layout *layout, int batch,
                          const float *packed);
double *wa_fixture_widen(struct wa_fixture *fixture, const float *values, size_t count);

/* Reads a tensor that an operation wrote into an output of layout->floats and checks all that is not
 * an item: lanes past the batch are zero, border, channels past the last and tail are untouched.
 * Returns the items, dense. */
double *wa_fixture_take(struct wa_fixture *fixture, const char *what, cl_mem buffer,
                        const struct wa_layout *layout, int batch);

/* Fails unless |actual - expected| <= bounds everywhere. Where NaN is expected it must be there;
 * where only the bound is NaN anything may be. */
void wa_fixture_compare(struct wa_fixture *fixture, const char *what, size_t count,
                        const double *actual, const double *expected, const double *bounds);

#endif
