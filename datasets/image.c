/* Which decoder serves an image file: see image.h. */
#include "image.h"

#include <string.h>

/* Files are small, images need not be: a broken header must not ask for all memory. */
enum { MOST_PIXELS = 1 << 27, LONGEST_SIDE = 65535 };

enum wa_image_format wa_image_sniff(const uint8_t *bytes, size_t size)
{
    static const uint8_t jpeg[] = {0xff, 0xd8, 0xff};
    static const uint8_t png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    if (size >= sizeof jpeg && memcmp(bytes, jpeg, sizeof jpeg) == 0) {
        return WA_IMAGE_JPEG;
    }
    if (size >= sizeof png && memcmp(bytes, png, sizeof png) == 0) {
        return WA_IMAGE_PNG;
    }
    return WA_IMAGE_UNKNOWN;
}

wa_status wa_image_check_size(const wa_host *host, const char *path, uint32_t width, uint32_t height)
{
    if (width == 0 || height == 0 || width > LONGEST_SIDE || height > LONGEST_SIDE ||
        (uint64_t)width * height > MOST_PIXELS) {
        return host->fail(host, WA_E_DATA,
                          "%s: an image of %u x %u pixels; expected sides of 1 to %d and at most %d "
                          "pixels in all",
                          path, (unsigned)width, (unsigned)height, LONGEST_SIDE, MOST_PIXELS);
    }
    return WA_OK;
}

wa_status wa_image_decode(const wa_host *host, const char *path, const struct wa_files_bytes *bytes,
                          wa_image_chooser *choose, void *context, struct wa_image *ret_image)
{
    switch (wa_image_sniff(bytes->data, bytes->size)) {
    case WA_IMAGE_JPEG:
        return wa_image_jpeg_decode(host, path, bytes, choose, context, ret_image);
    case WA_IMAGE_PNG:
        return wa_image_png_decode(host, path, bytes, choose, context, ret_image);
    default:
        return host->fail(host, WA_E_DATA,
                          "%s: is neither a JPEG nor a PNG file by its first bytes (%zu bytes in "
                          "all); remove or replace it",
                          path, bytes->size);
    }
}
