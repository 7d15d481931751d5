/* Fuzz target: image files. The first byte of an input says which window is wanted and how much it may
 * be reduced; the rest is the file. Checked: decoding fails with one message and leaves its output
 * alone, or every pixel of the window can be read and be resized. With -DWA_FUZZ_REPLAY it is a program
 * that runs the files given on its command line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_dataset_host.h"
#include "image.h"
#include "resample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUT = 16 };

static void require(bool is_true, const char *what)
{
    if (!is_true) {
        (void)fprintf(stderr, "fuzz_image: %s\n", what);
        abort();
    }
}

static void choose(void *context, int width, int height, struct wa_image_window *ret_window)
{
    unsigned kind = *(const uint8_t *)context;
    require(width > 0 && height > 0, "an empty image");
    int x = kind & 4 ? width / 3 : 0;
    int y = kind & 8 ? height / 2 : 0;
    *ret_window = (struct wa_image_window){.x = x,
                                           .y = y,
                                           .width = kind & 16 ? 1 : width - x,
                                           .height = kind & 32 ? 1 : height - y,
                                           .most_reduction = 1 << (kind & 3)};
}

static void use(const struct wa_image *image)
{
    struct wa_fake_dataset_host fake;
    wa_fake_dataset_host_init(&fake, NULL, 0, ".");
    uint8_t pixels[OUT * OUT * 3];
    const struct wa_resample r = {.pixels = image->pixels,
                                  .stride = image->stride,
                                  .width = image->width,
                                  .height = image->height,
                                  .right = image->width,
                                  .bottom = image->height,
                                  .out_width = OUT,
                                  .out_height = OUT,
                                  .part_width = OUT,
                                  .part_height = OUT};
    require(image->width > 0 && image->height > 0, "an empty window");
    require(wa_resample_bilinear(&fake.base, &r, pixels) == WA_OK, "it cannot be resized");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    uint8_t kind = data[0];
    uint8_t *copy = malloc(size); /* of its own, so that reading past its end shows */
    require(copy != NULL, "out of memory");
    memcpy(copy, data + 1, size - 1);
    const struct wa_files_bytes bytes = {.data = copy, .size = size - 1};
    struct wa_fake_dataset_host fake;
    wa_fake_dataset_host_init(&fake, NULL, 0, ".");
    struct wa_image image = {0};
    wa_status status = wa_image_decode(&fake.base, "fuzz", &bytes, choose, &kind, &image);
    if (status == WA_OK) {
        require(fake.failures == 0, "decoded, but with a message");
        use(&image);
        free(image.block);
    } else {
        require(status == WA_E_DATA && fake.failures == 1 && fake.message[0] && !image.block,
                "failed without one message, or has touched its output");
    }
    free(copy);
    return 0;
}

#ifdef WA_FUZZ_REPLAY

static bool replay(const char *path)
{
    enum { MOST_BYTES = 1 << 20 };
    FILE *stream = fopen(path, "rb");
    uint8_t *data = malloc(MOST_BYTES);
    bool is_read = stream && data;
    if (is_read) {
        size_t size = fread(data, 1, MOST_BYTES, stream);
        is_read = !ferror(stream);
        (void)LLVMFuzzerTestOneInput(data, size);
    }
    if (stream) {
        (void)fclose(stream);
    }
    free(data);
    return is_read;
}

int main(int argc, char **argv)
{
    bool is_done = argc > 1;
    for (int i = 1; i < argc; i++) {
        is_done = replay(argv[i]) && is_done;
    }
    (void)printf("%d inputs replayed\n", argc - 1);
    return is_done ? 0 : 1;
}

#endif
