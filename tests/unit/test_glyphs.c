/* Dataset glyphs: equal bytes everywhere, every option, reading from several threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "opened_dataset.h"

extern const wa_plugin_table wa_plugin_entry;

enum { SIDE = 28, ITEM = SIDE * SIDE, OPTIONS = 6 };

struct settings {
    int64_t height, width, channels, classes, items, seed;
};

static const struct settings defaults = {
    .height = SIDE, .width = SIDE, .channels = 1, .classes = 10, .items = 200, .seed = 1};

/* An opened dataset and the options that it points to. */
struct opened {
    struct wa_opened_dataset dataset;
    struct wa_fake_option options[OPTIONS];
};

static void open_with(struct opened *opened, const struct settings *settings)
{
    const struct wa_fake_option options[OPTIONS] = {
        {.name = "height", .type = WA_FAKE_INTEGER, .integer = settings->height},
        {.name = "width", .type = WA_FAKE_INTEGER, .integer = settings->width},
        {.name = "channels", .type = WA_FAKE_INTEGER, .integer = settings->channels},
        {.name = "classes", .type = WA_FAKE_INTEGER, .integer = settings->classes},
        {.name = "items", .type = WA_FAKE_INTEGER, .integer = settings->items},
        {.name = "seed", .type = WA_FAKE_INTEGER, .integer = settings->seed},
    };
    memset(opened, 0, sizeof *opened);
    memcpy(opened->options, options, sizeof options);
    assert_int_equal(wa_opened_dataset_open(&opened->dataset, wa_plugin_entry.plugins[0],
                                            opened->options, OPTIONS, NULL),
                     WA_OK);
}

static uint32_t read_item(const struct opened *opened, wa_part part, uint64_t index,
                          uint8_t *ret_item)
{
    uint32_t label = UINT32_MAX;
    assert_int_equal(wa_opened_dataset_read(&opened->dataset, part, index, ret_item, &label),
                     WA_OK);
    return label;
}

/* FNV-1a of the first items and their labels. */
static uint64_t hash_items(const struct opened *opened, wa_part part, uint64_t count)
{
    const wa_dataset_info *info = &opened->dataset.info;
    size_t size = (size_t)info->height * info->width * info->channels;
    uint8_t *item = malloc(size);
    assert_non_null(item);
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (uint64_t i = 0; i < count; i++) {
        uint32_t label = read_item(opened, part, i, item);
        for (size_t k = 0; k < size; k++) {
            hash = (hash ^ item[k]) * UINT64_C(0x100000001b3);
        }
        hash = (hash ^ label) * UINT64_C(0x100000001b3);
    }
    free(item);
    return hash;
}

static uint64_t hash_with(const struct settings *settings, wa_part part, uint64_t count)
{
    struct opened opened;
    open_with(&opened, settings);
    uint64_t hash = hash_items(&opened, part, count);
    wa_opened_dataset_close(&opened.dataset);
    return hash;
}

static void test_descriptor(void **state)
{
    (void)state;
    assert_int_equal(wa_plugin_entry.count, 1);
    assert_string_equal(wa_plugin_entry.plugins[0]->id, "glyphs");
    assert_int_equal(wa_plugin_entry.plugins[0]->dataset->default_validation, 0);
    wa_plugin_entry.plugins[0]->dataset->close(NULL);
}

static void test_info(void **state)
{
    (void)state;
    struct settings settings = defaults;
    settings.height = 8;
    settings.width = 33;
    settings.channels = 3;
    settings.classes = 12;
    settings.items = 209;
    struct opened opened;
    open_with(&opened, &settings);
    const wa_dataset_info *info = &opened.dataset.info;
    assert_int_equal(info->height, 8);
    assert_int_equal(info->width, 33);
    assert_int_equal(info->channels, 3);
    assert_int_equal(info->classes, 12);
    assert_int_equal(info->element, WA_ELEMENT_U8);
    assert_int_equal(info->target, WA_TARGET_CLASS);
    assert_true(info->target_offset == 0.1F);
    assert_false(info->trains_smaller_last_batch);
    assert_int_equal(info->train_items, 209);
    assert_int_equal(info->validation_items, 0);
    assert_int_equal(info->test_items, 20);
    wa_opened_dataset_close(&opened.dataset);
    settings.items = 9;
    open_with(&opened, &settings);
    assert_int_equal(opened.dataset.info.test_items, 0);
    wa_opened_dataset_close(&opened.dataset);
}

/* The very bytes: results of runs on glyphs are compared between machines and years. */
static void test_bytes(void **state)
{
    (void)state;
    assert_true(hash_with(&defaults, WA_PART_TRAIN, 200) == UINT64_C(0x536fcd4a3a0f3782));
    assert_true(hash_with(&defaults, WA_PART_TEST, 20) == UINT64_C(0x50e841aa075b2b9e));
    const struct settings others = {
        .height = 32, .width = 47, .channels = 3, .classes = 110, .items = 300, .seed = 4294967295};
    assert_true(hash_with(&others, WA_PART_TRAIN, 300) == UINT64_C(0x0f7c4b46216a48f6));
}

static void test_streams(void **state)
{
    (void)state;
    uint64_t hash = hash_with(&defaults, WA_PART_TRAIN, 20);
    struct settings settings = defaults;
    settings.items = 20; /* the first items do not depend on how many there are */
    assert_true(hash_with(&settings, WA_PART_TRAIN, 20) == hash);
    settings.seed = 2;
    assert_true(hash_with(&settings, WA_PART_TRAIN, 20) != hash);
    assert_true(hash_with(&defaults, WA_PART_TEST, 20) != hash);
}

/* All classes come up about equally often; half of the drawings are dark on light. */
static void test_classes(void **state)
{
    (void)state;
    struct settings settings = defaults;
    settings.items = 1000;
    struct opened opened;
    open_with(&opened, &settings);
    unsigned counts[10] = {0};
    for (uint64_t i = 0; i < 1000; i++) {
        uint8_t item[ITEM];
        uint32_t label = read_item(&opened, WA_PART_TRAIN, i, item);
        assert_in_range(label, 0, 9);
        counts[label]++;
        uint64_t sum = 0;
        for (size_t k = 0; k < ITEM; k++) {
            sum += item[k];
        }
        assert_int_equal(label >= 5, sum > (uint64_t)ITEM * 127);
    }
    for (size_t i = 0; i < 10; i++) {
        assert_in_range(counts[i], 60, 140);
    }
    wa_opened_dataset_close(&opened.dataset);
}

static void test_most_classes(void **state)
{
    (void)state;
    struct settings settings = defaults;
    settings.classes = 110;
    settings.items = 3000;
    struct opened opened;
    open_with(&opened, &settings);
    bool is_seen[110] = {false};
    unsigned seen = 0;
    for (uint64_t i = 0; i < 3000; i++) {
        uint8_t item[ITEM];
        uint32_t label = read_item(&opened, WA_PART_TRAIN, i, item);
        assert_in_range(label, 0, 109);
        seen += is_seen[label] ? 0 : 1;
        is_seen[label] = true;
    }
    assert_int_equal(seen, 110);
    wa_opened_dataset_close(&opened.dataset);
}

/* Channels show one drawing, each with a noise of its own. */
static void test_channels(void **state)
{
    (void)state;
    struct settings settings = defaults;
    settings.channels = 2;
    settings.items = 10;
    struct opened opened;
    open_with(&opened, &settings);
    for (uint64_t i = 0; i < 10; i++) {
        uint8_t item[2 * ITEM];
        (void)read_item(&opened, WA_PART_TRAIN, i, item);
        size_t differ = 0;
        for (size_t k = 0; k < ITEM; k++) {
            int difference = abs(item[2 * k] - item[2 * k + 1]);
            assert_in_range(difference, 0, 180); /* of contrasts 75, of noises 102 */
            differ += difference != 0 ? 1 : 0;
        }
        assert_true(differ > ITEM / 4);
    }
    wa_opened_dataset_close(&opened.dataset);
}

struct reader {
    const struct opened *opened;
    uint64_t hash;
    pthread_t thread;
};

static void *read_all(void *argument)
{
    struct reader *reader = argument;
    reader->hash = hash_items(reader->opened, WA_PART_TRAIN, 200);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct opened opened;
    open_with(&opened, &defaults);
    uint64_t expected = hash_items(&opened, WA_PART_TRAIN, 200);
    struct reader readers[4];
    for (size_t i = 0; i < 4; i++) {
        readers[i] = (struct reader){.opened = &opened};
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_all, &readers[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
        assert_true(readers[i].hash == expected);
    }
    wa_opened_dataset_close(&opened.dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_descriptor), cmocka_unit_test(test_info),
        cmocka_unit_test(test_bytes),      cmocka_unit_test(test_streams),
        cmocka_unit_test(test_classes),    cmocka_unit_test(test_most_classes),
        cmocka_unit_test(test_channels),   cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
