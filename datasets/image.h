/* Image files to RGB pixels: JPEG by libjpeg-turbo, PNG by libpng, told apart by their first bytes. A
 * caller says which window of an image it wants once its size is known; what lies outside need not be
 * decoded. Every fault of a file is an error that names it. Used by several threads at once. */
#ifndef WALIGN_DATASETS_IMAGE_H
#define WALIGN_DATASETS_IMAGE_H

#include "files.h"

/* A part of an image, in pixels of the whole one, never empty. */
struct wa_image_window {
    int x, y, width, height;
    int most_reduction; /* 1, 2, 4 or 8: the decoder may give it so much smaller in each direction */
};

/* Says what is wanted of an image of width x height. */
typedef void wa_image_chooser(void *context, int width, int height,
                              struct wa_image_window *ret_window);

/* The window, decoded: pixels [row][column][3], rows `stride` bytes apart. Where it is reduced its
 * first pixel is the one that holds the window's corner, and its last one holds the opposite one. */
struct wa_image {
    uint8_t *block; /* from malloc; the holder frees it */
    const uint8_t *pixels;
    size_t stride;
    int width, height;
    int reduction;
    struct wa_image_window window;
};

enum wa_image_format { WA_IMAGE_UNKNOWN = 1, WA_IMAGE_JPEG, WA_IMAGE_PNG };

/* By the first bytes of a file; 8 are enough. */
enum wa_image_format wa_image_sniff(const uint8_t *bytes, size_t size);

/* Decodes the file's bytes. `path` is for messages. Grey, palette, CMYK and YCCK images become RGB,
 * transparency is dropped. Fails with WA_E_DATA: no image, truncated, broken, too large;
 * WA_E_UNSUPPORTED: built without the library of the file's kind; WA_E_MEMORY. */
WA_MUST_CHECK wa_status wa_image_decode(const wa_host *host, const char *path,
                                        const struct wa_files_bytes *bytes,
                                        wa_image_chooser *choose, void *context,
                                        struct wa_image *ret_image);

/* ---- Between image.c and the decoders -------------------------------------------------------- */

/* Fails unless an image of that size may be decoded. */
WA_MUST_CHECK wa_status wa_image_check_size(const wa_host *host, const char *path, uint32_t width,
                                            uint32_t height);

/* image_jpeg.c and image_png.c: as wa_image_decode, for a file of their kind. */
WA_MUST_CHECK wa_status wa_image_jpeg_decode(const wa_host *host, const char *path,
                                             const struct wa_files_bytes *bytes,
                                             wa_image_chooser *choose, void *context,
                                             struct wa_image *ret_image);
WA_MUST_CHECK wa_status wa_image_png_decode(const wa_host *host, const char *path,
                                            const struct wa_files_bytes *bytes,
                                            wa_image_chooser *choose, void *context,
                                            struct wa_image *ret_image);

#endif
