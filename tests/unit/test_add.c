/* Dataset add: the published sequences, and the corrected ones from their definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "opened_dataset.h"
#include "rng.h"

extern const wa_plugin_table wa_plugin_entry;

enum { STEPS = 100, TRAINING = 300, TEST = 100 };

static void draw_uniform(const wa_dataset_host *host, uint32_t seed, double *ret_values, size_t count)
{
    (void)host;
    struct wa_rng rng;
    wa_rng_seed(&rng, seed);
    for (size_t i = 0; i < count; i++) {
        ret_values[i] = wa_rng_double(&rng);
    }
}

/* The fake host has no random numbers, so this opens by itself. */
struct opened {
    struct wa_fake_dataset_host fake;
    const wa_dataset_ops *ops;
    void *self;
    wa_dataset_info info;
};

static void open_variant(struct opened *opened, const struct wa_fake_option options[2])
{
    wa_fake_dataset_host_init(&opened->fake, options, 2, NULL);
    opened->fake.host.draw_uniform = draw_uniform;
    opened->ops = wa_plugin_entry.plugins[0]->dataset;
    opened->info = (wa_dataset_info){.struct_size = sizeof opened->info};
    assert_int_equal(opened->ops->open(&opened->fake.host, &opened->self, &opened->info), WA_OK);
    assert_int_equal(opened->fake.misbehaviors, 0);
}

static void read_item(const struct opened *opened, wa_part part, uint64_t index, float x[STEPS],
                      float y[STEPS])
{
    const wa_read read = {.struct_size = sizeof read,
                          .part = part,
                          .index = index,
                          .ret_item = x,
                          .ret_target = y};
    assert_int_equal(opened->ops->read(opened->self, &read), WA_OK);
}

static const struct wa_fake_option published[2] = {
    {.name = "seed", .type = WA_FAKE_INTEGER, .integer = 99},
    {.name = "variant", .type = WA_FAKE_STRING, .string = "published"}};
static const struct wa_fake_option corrected[2] = {
    {.name = "seed", .type = WA_FAKE_INTEGER, .integer = 99},
    {.name = "variant", .type = WA_FAKE_STRING, .string = "corrected"}};

static void expect_array(const json_object *golden, const char *key, const float values[STEPS])
{
    json_object *array = NULL;
    assert_true(json_object_object_get_ex(golden, key, &array));
    assert_int_equal(json_object_array_length(array), STEPS);
    for (size_t t = 0; t < STEPS; t++) {
        /* halves and quarters: exact */
        assert_true(json_object_get_double(json_object_array_get_idx(array, t)) == (double)values[t]);
    }
}

static void test_published(void **state)
{
    (void)state;
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/add-rnn-n32-backprop-sgd.json",
                   getenv("WALIGN_TEST_GOLDEN"));
    json_object *golden = json_object_from_file(path);
    assert_non_null(golden);
    struct opened opened;
    open_variant(&opened, published);
    const wa_dataset_info *info = &opened.info;
    assert_int_equal(info->train_items, TRAINING);
    assert_int_equal(info->test_items, TEST);
    assert_int_equal(info->validation_items, 0);
    assert_int_equal(info->target_values, STEPS);
    assert_true(info->shuffles_evaluation);
    float x[STEPS];
    float y[STEPS];
    read_item(&opened, WA_PART_TRAIN, 0, x, y);
    expect_array(golden, "first_sequence_inputs", x);
    /* the first sequences lack both shifted copies, the third the far one only */
    for (int t = 0; t < STEPS; t++) {
        assert_true(y[t] == 0.5F);
    }
    read_item(&opened, WA_PART_TRAIN, 2, x, y);
    expect_array(golden, "third_sequence_targets", y);
    opened.ops->close(opened.self);
    (void)json_object_put(golden);
}

/* y_t = .5 + .5 x_{t-2} - .25 x_{t-5}; `wraps`: x_{-1} is the last one, else 0. */
static void expect_sum(const float x[STEPS], const float y[STEPS], bool wraps)
{
    for (int t = 0; t < STEPS; t++) {
        float near = t >= 2 || wraps ? x[(t + STEPS - 2) % STEPS] : 0.0F;
        float far = t >= 5 || wraps ? x[(t + STEPS - 5) % STEPS] : 0.0F;
        assert_true(y[t] == 0.5F + 0.5F * near - 0.25F * far);
    }
}

static void test_corrected(void **state)
{
    (void)state;
    struct opened old;
    struct opened new;
    open_variant(&old, published);
    open_variant(&new, corrected);
    static const struct {
        wa_part part;
        uint64_t count;
    } parts[] = {{WA_PART_TRAIN, TRAINING}, {WA_PART_TEST, TEST}};
    for (int p = 0; p < 2; p++) {
        for (uint64_t i = 0; i < parts[p].count; i++) {
            float x[2][STEPS];
            float y[2][STEPS];
            read_item(&old, parts[p].part, i, x[0], y[0]);
            read_item(&new, parts[p].part, i, x[1], y[1]);
            assert_memory_equal(x[0], x[1], sizeof x[0]);
            expect_sum(x[1], y[1], false);
            if (parts[p].part == WA_PART_TEST || i >= 5) {
                expect_sum(x[0], y[0], true);
            }
        }
    }
    old.ops->close(old.self);
    new.ops->close(new.self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_published),
                                       cmocka_unit_test(test_corrected)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
