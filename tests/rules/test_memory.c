/* Device memory is planned: what the plan counts is what a session takes, and a network that is larger
 * than the device is refused with a batch that fits. The devices are of the size that a test says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "setup.h"

enum { PATH_BYTES = 1024, MOST_SETS = 8 };

static const char config_text[] =
    "{\"dataset\": {\"plugin\": \"glyphs\", \"height\": 16, \"width\": 12, \"items\": 400},\n"
    " \"architecture\": {\"plugin\": \"cnn\", \"width\": 8, \"kernels\": [3, 3],\n"
    "                  \"strides\": [1, 2]},\n"
    " \"rule\": {\"plugin\": \"backprop\"}, \"optimizer\": {\"plugin\": \"sgd\"},\n"
    " \"batch\": 96}\n";

/* A setup with an open device; `sets`: up to the first NULL. */
static void open_setup(struct wa_setup *setup, const char *const *sets)
{
    char folders[2][PATH_BYTES];
    const char *const paths[] = {folders[0], folders[1]};
    struct wa_setup_request request = {.plugin_paths = paths, .plugin_path_count = 2};
    struct wa_config *config = NULL;
    struct wa_error err = {0};
    size_t count = 0;
    while (sets[count]) {
        count++;
    }
    (void)snprintf(folders[0], PATH_BYTES, "%s/plugins", getenv("WALIGN_TEST_BUILD"));
    (void)snprintf(folders[1], PATH_BYTES, "%s/datasets", getenv("WALIGN_TEST_BUILD"));
    *setup = (struct wa_setup){0};
    if (wa_config_from_text("net.json", config_text, sizeof config_text - 1, sets, count, &config,
                            &err) != WA_OK ||
        wa_setup_take_config(setup, config, &request, &err) != WA_OK ||
        wa_setup_open(setup, &request, &err) != WA_OK) {
        fail_msg("%s", err.message);
    }
}

static struct wa_memory_plan plan(const struct wa_setup *setup, int batch)
{
    struct wa_memory_plan ret_plan = {0};
    struct wa_error err = {0};
    if (wa_setup_plan_memory(setup, batch, &ret_plan, &err) != WA_OK) {
        fail_msg("%s", err.message);
    }
    return ret_plan;
}

/* ---- What is planned ------------------------------------------------------------------------- */

static void expect_planned(const char *const *sets)
{
    struct wa_setup setup;
    struct wa_error err = {0};
    open_setup(&setup, sets);
    struct wa_memory_plan planned = plan(&setup, setup.batches.batch);
    assert_int_equal(setup.engine.bytes, 0);
    if (wa_setup_make_session(&setup, &err) != WA_OK) {
        fail_msg("%s", err.message);
    }
    if (setup.engine.bytes != planned.bytes || setup.engine.peak_bytes != planned.bytes) {
        fail_msg("%s: planned %llu bytes, took %llu, at most %llu", sets[0] ? sets[0] : "",
                 (unsigned long long)planned.bytes, (unsigned long long)setup.engine.bytes,
                 (unsigned long long)setup.engine.peak_bytes);
    }
    assert_true(planned.largest_bytes > 0 && planned.largest_bytes < planned.bytes);
    wa_setup_finish(&setup);
}

static void test_what_is_planned_is_taken(void **state)
{
    (void)state;
    static const char *const runs[][MOST_SETS] = {
        {NULL},
        {"rule.plugin=align-ada", "optimizer={\"plugin\":\"adam\"}", NULL},
        {"rule.plugin=dfa", "kernels.path=gpu", "optimizer={\"plugin\":\"adam\"}", NULL},
        {"rule.plugin=fa", "architecture.width=64", NULL},
        {"rule.plugin=last-layer", "architecture={\"plugin\":\"mlp\",\"widths\":[20,10]}", NULL},
        {"alignment_pair=true", "log_angles=true", NULL},
        {"dataset={\"plugin\":\"add\"}", "architecture={\"plugin\":\"rnn\",\"width\":16}",
         "rule.plugin=align-ada", "batch=20", NULL},
        {"dataset={\"plugin\":\"add\"}", "architecture={\"plugin\":\"rnn\",\"width\":16}",
         "kernels.path=gpu", "batch=20", NULL},
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        expect_planned(runs[i]);
    }
}

/* Planned bytes of a rule's step with one optimizer and another differ by the state alone. */
static void test_the_optimizer_is_planned(void **state)
{
    (void)state;
    struct wa_setup setups[2];
    open_setup(&setups[0], (const char *const[]){NULL});
    open_setup(&setups[1], (const char *const[]){"optimizer={\"plugin\":\"adam\"}", NULL});
    uint64_t parameters = 8 * 9 + 8 + 8 * 8 * 9 + 8 + 10 * 8 + 10;
    /* an empty buffer takes a float */
    assert_int_equal(plan(&setups[1], 96).bytes - plan(&setups[0], 96).bytes,
                     2 * parameters * sizeof(float) - sizeof(float));
    wa_setup_finish(&setups[0]);
    wa_setup_finish(&setups[1]);
}

/* ---- What does not fit ----------------------------------------------------------------------- */

/* The batch that the refusal names. */
static int refuse(struct wa_setup *setup)
{
    static const char start[] = "the largest batch that fits is ";
    struct wa_error err = {0};
    assert_int_equal(wa_setup_make_session(setup, &err), WA_E_USAGE);
    assert_null(setup->session);
    assert_int_equal(setup->engine.peak_bytes, 0); /* nothing was made */
    const char *at = strstr(err.message, start);
    if (!at || strncmp(err.message, "net.json:5:2: batch: ", 21) != 0) {
        fail_msg("%s", err.message);
    }
    return (int)strtol(at + sizeof start - 1, NULL, 10);
}

/* On a device of this size the config is refused, and runs with the batch that is named then. */
static void expect_a_fitting_batch(const char *const *sets, uint64_t total, uint64_t piece)
{
    struct wa_setup setup;
    struct wa_error err = {0};
    const char *more_sets[MOST_SETS + 1] = {NULL};
    char set[32];
    size_t count = 0;
    open_setup(&setup, sets);
    setup.device->info.global_bytes = total;
    setup.device->info.allocation_bytes = piece;
    int batch = refuse(&setup);
    assert_in_range(batch, 1, 95);
    struct wa_memory_plan larger = plan(&setup, batch + 4);
    assert_true(larger.bytes > total || larger.largest_bytes > piece);
    wa_setup_finish(&setup);
    for (; sets[count]; count++) {
        more_sets[count] = sets[count];
    }
    (void)snprintf(set, sizeof set, "batch=%d", batch);
    more_sets[count] = set;
    open_setup(&setup, more_sets);
    setup.device->info.global_bytes = total;
    setup.device->info.allocation_bytes = piece;
    if (wa_setup_make_session(&setup, &err) != WA_OK) {
        fail_msg("with the batch of %d that was named: %s", batch, err.message);
    }
    assert_true(setup.engine.peak_bytes <= total);
    wa_setup_finish(&setup);
}

static void test_the_named_batch_fits(void **state)
{
    (void)state;
    static const char *const runs[][MOST_SETS] = {
        {NULL},
        {"rule.plugin=align-ada", "optimizer={\"plugin\":\"adam\"}", "architecture.width=32", NULL},
        {"kernels.path=gpu", NULL},
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        struct wa_setup setup;
        open_setup(&setup, runs[i]);
        struct wa_memory_plan whole = plan(&setup, 96);
        wa_setup_finish(&setup);
        expect_a_fitting_batch(runs[i], whole.bytes - 1, whole.largest_bytes);
        expect_a_fitting_batch(runs[i], whole.bytes * 2 / 3, whole.largest_bytes);
        expect_a_fitting_batch(runs[i], whole.bytes, whole.largest_bytes / 2);
    }
}

static void test_nothing_fits(void **state)
{
    (void)state;
    struct wa_setup setup;
    struct wa_error err = {0};
    open_setup(&setup, (const char *const[]){NULL});
    setup.device->info.global_bytes = plan(&setup, 1).bytes / 2;
    assert_int_equal(wa_setup_make_session(&setup, &err), WA_E_USAGE);
    assert_non_null(strstr(err.message, "not even a batch of 1 fits, it takes 2.00 times what"));
    assert_non_null(strstr(err.message, "lower the width"));
    wa_setup_finish(&setup);
}

/* ---- Winograd's weight gradients -------------------------------------------------------------- */

static const char *gradient_algorithm(uint64_t piece, uint64_t *ret_bytes)
{
    struct wa_setup setup;
    struct wa_error err = {0};
    open_setup(&setup, (const char *const[]){"architecture.width=128", "dataset.height=16",
                                             "dataset.width=16", "batch=20", "kernels.path=cpu",
                                             "architecture.strides=[1,1]", NULL});
    setup.device->info.allocation_bytes = piece ? piece : setup.device->info.allocation_bytes;
    if (wa_setup_make_session(&setup, &err) != WA_OK) {
        fail_msg("%s", err.message);
    }
    const char *algorithm = wa_session_algorithm(setup.session, 1, WA_PRODUCT_GRADIENT);
    *ret_bytes = setup.engine.peak_bytes;
    wa_setup_finish(&setup);
    return algorithm;
}

/* A part is 36 x 128 x 128 floats. A device with room for few has few, with less the direct sum. */
static void test_parts_that_fit(void **state)
{
    (void)state;
    const uint64_t part = (uint64_t)36 * 128 * 128 * sizeof(float);
    uint64_t whole = 0;
    uint64_t few = 0;
    uint64_t none = 0;
    assert_string_equal(gradient_algorithm(0, &whole), "winograd");
    assert_string_equal(gradient_algorithm(6 * part, &few), "winograd");
    assert_string_equal(gradient_algorithm(4 * part - 4, &none), "direct");
    assert_true(few < whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_planned_is_taken),
        cmocka_unit_test(test_the_optimizer_is_planned),
        cmocka_unit_test(test_the_named_batch_fits),
        cmocka_unit_test(test_nothing_fits),
        cmocka_unit_test(test_parts_that_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
