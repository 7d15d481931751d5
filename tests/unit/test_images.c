/* What becomes of an image file: decoding by windows, resizing against PIL's numbers, crops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crop.h"
#include "fake_dataset_host.h"
#include "image.h"
#include "image_writer.h"
#include "resample.h"

/* ---- Resizing ------------------------------------------------------------------------------- */

static int at(const json_object *array, size_t i)
{
    return json_object_get_int(json_object_array_get_idx(array, i));
}

static const json_object *get(const json_object *object, const char *key)
{
    json_object *value = NULL;
    assert_true(json_object_object_get_ex(object, key, &value));
    return value;
}

/* The formula of tests/reference/make_pil_resize.py. */
static uint8_t *make_source(int width, int height)
{
    uint8_t *pixels = malloc((size_t)width * (size_t)height * 3);
    assert_non_null(pixels);
    for (int y = 0, i = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            for (int c = 0; c < 3; c++) {
                pixels[i++] = (uint8_t)((x * x * 3 + y * 29 + x * y * 5 + c * 71) % 256);
            }
        }
    }
    return pixels;
}

static void check_resize(const wa_host *host, const json_object *c)
{
    const json_object *size = get(c, "size");
    const json_object *crop = get(c, "crop");
    const json_object *out = get(c, "out");
    const json_object *part = get(c, "part");
    const json_object *expected = get(c, "pixels");
    uint8_t *source = make_source(at(size, 0), at(size, 1));
    size_t stride = (size_t)at(size, 0) * 3;
    const struct wa_resample r = {
        .pixels = source + (size_t)at(crop, 1) * stride + (size_t)at(crop, 0) * 3,
        .stride = stride,
        .width = at(crop, 2),
        .height = at(crop, 3),
        .right = at(crop, 2),
        .bottom = at(crop, 3),
        .out_width = at(out, 0),
        .out_height = at(out, 1),
        .part_x = at(part, 0),
        .part_y = at(part, 1),
        .part_width = at(part, 2),
        .part_height = at(part, 3)};
    size_t count = json_object_array_length(expected);
    assert_int_equal(count, r.part_width * r.part_height * 3);
    uint8_t *pixels = malloc(count);
    assert_non_null(pixels);
    assert_int_equal(wa_resample_bilinear(host, &r, pixels), WA_OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(pixels[i], at(expected, i)); /* the same arithmetic: no tolerance */
    }
    free(pixels);
    free(source);
}

static void test_resizing_is_pils(void **state)
{
    (void)state;
    char path[4096];
    const char *folder = getenv("WALIGN_TEST_GOLDEN");
    assert_non_null(folder);
    assert_in_range(snprintf(path, sizeof path, "%s/pil-resize.json", folder), 1, sizeof path - 1);
    json_object *golden = json_object_from_file(path);
    assert_non_null(golden);
    struct wa_fake_dataset_host fake;
    wa_fake_dataset_host_init(&fake, NULL, 0, ".");
    const json_object *cases = get(golden, "cases");
    assert_true(json_object_array_length(cases) >= 7);
    for (size_t i = 0; i < json_object_array_length(cases); i++) {
        check_resize(&fake.base, json_object_array_get_idx(cases, i));
    }
    (void)json_object_put(golden);
}

/* ---- Decoding ------------------------------------------------------------------------------- */

static void choose(void *context, int width, int height, struct wa_image_window *ret_window)
{
    const struct wa_image_window *wanted = context;
    *ret_window = *wanted;
    if (wanted->width == 0) {
        *ret_window = (struct wa_image_window){
            .width = width, .height = height, .most_reduction = wanted->most_reduction};
    }
}

static wa_status decode(struct wa_fake_dataset_host *fake, uint8_t *data, size_t size,
                        struct wa_image_window window, struct wa_image *ret_image)
{
    wa_fake_dataset_host_init(fake, NULL, 0, ".");
    const struct wa_files_bytes bytes = {.data = data, .size = size};
    return wa_image_decode(&fake->base, "some/file", &bytes, choose, &window, ret_image);
}

static struct wa_image decode_whole(uint8_t *data, size_t size, int reduction)
{
    struct wa_fake_dataset_host fake;
    struct wa_image image = {0};
    const struct wa_image_window whole = {.most_reduction = reduction};
    if (decode(&fake, data, size, whole, &image) != WA_OK) {
        fail_msg("%s", fake.message);
    }
    return image;
}

/* Every window must hold the very pixels that the whole image has there. */
static void check_windows(uint8_t *data, size_t size, int width, int height, int reduction)
{
    struct wa_image whole = decode_whole(data, size, reduction);
    assert_int_equal(whole.width, (width + reduction - 1) / reduction);
    assert_int_equal(whole.height, (height + reduction - 1) / reduction);
    for (int i = 0; i < 40; i++) {
        struct wa_image_window w = {.x = i * 37 % (width - 1),
                                    .y = i * 53 % (height - 1),
                                    .most_reduction = reduction};
        w.width = 1 + i * 29 % (width - w.x);
        w.height = 1 + i * 31 % (height - w.y);
        struct wa_fake_dataset_host fake;
        struct wa_image part = {0};
        assert_int_equal(decode(&fake, data, size, w, &part), WA_OK);
        for (int y = 0; y < part.height; y++) {
            const uint8_t *expected = whole.pixels +
                                      (size_t)(w.y / reduction + y) * whole.stride +
                                      (size_t)(w.x / reduction) * 3;
            assert_memory_equal(part.pixels + (size_t)y * part.stride, expected,
                                (size_t)part.width * 3);
        }
        free(part.block);
    }
    free(whole.block);
}

static void test_windows_of_jpeg_files(void **state)
{
    (void)state;
    static const struct {
        int components, sampling, is_progressive, is_ycck;
    } kinds[] = {{1, 11, 0, 0}, {3, 11, 0, 0}, {3, 21, 0, 0}, {3, 22, 0, 0},
                 {3, 22, 1, 0}, {4, 11, 0, 0}, {4, 22, 0, 1}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        uint8_t *data = NULL;
        size_t size = 0;
        wa_image_writer_jpeg(149, 101, kinds[k].components, kinds[k].sampling,
                             kinds[k].is_progressive, kinds[k].is_ycck, &data, &size);
        for (int reduction = 1; reduction <= 8; reduction *= 2) {
            check_windows(data, size, 149, 101, reduction);
        }
        free(data);
    }
}

/* The mean difference of an image from what was written, in levels of 255. */
static double mean_difference(const struct wa_image *image, const uint8_t *expected)
{
    double sum = 0;
    for (int y = 0; y < image->height; y++) {
        for (int x = 0; x < 3 * image->width; x++) {
            sum += abs(image->pixels[(size_t)y * image->stride + (size_t)x] - *expected++);
        }
    }
    return sum / (3.0 * image->width * image->height);
}

static void test_grey_becomes_rgb(void **state)
{
    (void)state;
    uint8_t *data = NULL;
    size_t size = 0;
    wa_image_writer_jpeg(64, 48, 1, 11, 0, 0, &data, &size);
    struct wa_image image = decode_whole(data, size, 1);
    for (int x = 0; x < 64; x++) {
        assert_int_equal(image.pixels[3 * x], image.pixels[3 * x + 1]);
        assert_int_equal(image.pixels[3 * x], image.pixels[3 * x + 2]);
    }
    free(image.block);
    free(data);
}

/* Files with an Adobe marker, as the library writes YCCK, hold inverted inks: c k / 255 is left. */
static void test_inks_become_light(void **state)
{
    (void)state;
    uint8_t *data = NULL;
    size_t size = 0;
    wa_image_writer_jpeg(64, 48, 4, 11, 0, 1, &data, &size);
    struct wa_image image = decode_whole(data, size, 1);
    uint8_t *inks = wa_image_writer_picture(64, 48, 4);
    for (size_t i = 0; i < (size_t)64 * 48; i++) {
        for (size_t c = 0; c < 3; c++) {
            inks[3 * i + c] = (uint8_t)(inks[4 * i + c] * inks[4 * i + 3] / 255);
        }
    }
    assert_true(mean_difference(&image, inks) < 4.0); /* what the compression loses */
    free(inks);
    free(image.block);
    free(data);
}

static void test_png_files_are_exact(void **state)
{
    (void)state;
    for (int components = 1; components <= 4; components++) {
        for (int kind = 0; kind < 3; kind++) {
            uint8_t *data = NULL;
            size_t size = 0;
            wa_image_writer_png(41, 30, components, kind == 1 ? 16 : 8, kind == 2, &data, &size);
            struct wa_image image = decode_whole(data, size, 8);
            assert_int_equal(image.reduction, 1);
            uint8_t *written = wa_image_writer_picture(41, 30, components);
            for (size_t i = 0; i < (size_t)41 * 30; i++) {
                for (size_t c = 0; c < 3; c++) {
                    size_t from = components < 3 ? 0 : c;
                    assert_int_equal(image.pixels[3 * i + c],
                                     written[(size_t)components * i + from]);
                }
            }
            free(written);
            check_windows(data, size, 41, 30, 1);
            free(image.block);
            free(data);
        }
    }
}

static void expect_failure(uint8_t *data, size_t size, const char *part)
{
    struct wa_fake_dataset_host fake;
    struct wa_image image = {0};
    assert_int_equal(
        decode(&fake, data, size, (struct wa_image_window){.most_reduction = 1}, &image), WA_E_DATA);
    assert_int_equal(fake.failures, 1);
    assert_non_null(strstr(fake.message, "some/file: "));
    assert_non_null(strstr(fake.message, part));
    assert_null(image.block);
}

static void test_broken_files_are_named(void **state)
{
    (void)state;
    uint8_t *data = NULL;
    size_t size = 0;
    for (int is_progressive = 0; is_progressive < 2; is_progressive++) {
        wa_image_writer_jpeg(149, 101, 3, 22, is_progressive, 0, &data, &size);
        expect_failure(data, size / 2, "");
        expect_failure(data, 30, "");
        free(data);
    }
    wa_image_writer_jpeg(149, 101, 3, 22, 0, 0, &data, &size);
    expect_failure(data, size * 3 / 4, "ends before its image does");
    expect_failure(data, 2, "neither a JPEG nor a PNG");
    /* A missing end mark alone loses nothing. */
    struct wa_image image = decode_whole(data, size - 2, 1);
    free(image.block);
    free(data);
    wa_image_writer_png(41, 30, 3, 8, 0, &data, &size);
    expect_failure(data, size / 2, "PNG file that cannot be decoded");
    data[40] ^= 0xff;
    expect_failure(data, size, "PNG file that cannot be decoded");
    free(data);
    uint8_t text[] = "no image at all";
    expect_failure(text, sizeof text, "neither a JPEG nor a PNG");
    expect_failure(text, 0, "0 bytes");
}

/* A truncated file fails whatever part of it is wanted. */
static void test_truncation_is_noticed_in_any_window(void **state)
{
    (void)state;
    uint8_t *data = NULL;
    size_t size = 0;
    wa_image_writer_jpeg(149, 101, 3, 22, 0, 0, &data, &size);
    struct wa_fake_dataset_host fake;
    struct wa_image image = {0};
    const struct wa_image_window top = {.width = 20, .height = 8, .most_reduction = 1};
    assert_int_equal(decode(&fake, data, size * 3 / 4, top, &image), WA_E_DATA);
    free(data);
}

/* ---- Crops ---------------------------------------------------------------------------------- */

static void test_random_crops(void **state)
{
    (void)state;
    double area = 0;
    int flips = 0;
    enum { COUNT = 20000 };
    for (uint64_t i = 0; i < COUNT; i++) {
        struct wa_crop c = wa_crop_random(500, 375, 99, 1, i);
        assert_true(c.x >= 0 && c.y >= 0 && c.width > 0 && c.height > 0);
        assert_true(c.x + c.width <= 500 && c.y + c.height <= 375);
        double aspect = (double)c.width / c.height;
        assert_true(aspect > 0.74 && aspect < 1.35); /* 3/4 to 4/3, sides rounded */
        area += (double)c.width * c.height / (500.0 * 375.0);
        flips += c.is_flipped;
    }
    /* Large areas fit less often than small ones. torchvision 0.14 has .4352 +- .0015 in as many. */
    assert_true(area / COUNT > 0.429 && area / COUNT < 0.441);
    assert_true(flips > COUNT * 0.48 && flips < COUNT * 0.52); /* 5.6 standard deviations */
}

static void test_crops_depend_on_seed_epoch_and_index(void **state)
{
    (void)state;
    struct wa_crop a = wa_crop_random(500, 375, 1, 2, 3);
    struct wa_crop same = wa_crop_random(500, 375, 1, 2, 3);
    assert_true(a.x == same.x && a.y == same.y && a.width == same.width &&
                a.height == same.height && a.is_flipped == same.is_flipped);
    struct wa_crop others[] = {wa_crop_random(500, 375, 2, 2, 3), wa_crop_random(500, 375, 1, 3, 3),
                               wa_crop_random(500, 375, 1, 2, 4)};
    for (size_t i = 0; i < 3; i++) {
        assert_true(others[i].x != a.x || others[i].width != a.width);
    }
}

static void test_images_that_no_crop_fits(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 100; i++) {
        struct wa_crop wide = wa_crop_random(3000, 3, 99, 1, i);
        assert_true(wide.height >= 1 && wide.height <= 3 && wide.width <= 4);
        struct wa_crop one = wa_crop_random(1, 1, 99, 1, i);
        assert_int_equal(one.width, 1);
        assert_int_equal(one.height, 1);
    }
}

static void test_sizes_of_evaluation(void **state)
{
    (void)state;
    int width = 0;
    int height = 0;
    wa_crop_scaled_size(500, 375, 256, &width, &height);
    assert_int_equal(width, 341);
    assert_int_equal(height, 256);
    wa_crop_scaled_size(206, 294, 256, &width, &height);
    assert_int_equal(width, 256);
    assert_int_equal(height, 365);
    assert_int_equal(wa_crop_central_start(256, 224), 16);
    assert_int_equal(wa_crop_central_start(341, 224), 58); /* 58.5 */
    assert_int_equal(wa_crop_central_start(343, 224), 60); /* 59.5 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resizing_is_pils),
        cmocka_unit_test(test_windows_of_jpeg_files),
        cmocka_unit_test(test_grey_becomes_rgb),
        cmocka_unit_test(test_inks_become_light),
        cmocka_unit_test(test_png_files_are_exact),
        cmocka_unit_test(test_broken_files_are_named),
        cmocka_unit_test(test_truncation_is_noticed_in_any_window),
        cmocka_unit_test(test_random_crops),
        cmocka_unit_test(test_crops_depend_on_seed_epoch_and_index),
        cmocka_unit_test(test_images_that_no_crop_fits),
        cmocka_unit_test(test_sizes_of_evaluation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
