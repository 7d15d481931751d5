/* JPEG and PNG files for tests, made with the libraries themselves. */
#ifndef WALIGN_TESTS_IMAGE_WRITER_H
#define WALIGN_TESTS_IMAGE_WRITER_H

#include <stddef.h>
#include <stdint.h>

/* A picture of smooth colours with some edges, [height][width][components]; the caller frees it. */
uint8_t *wa_image_writer_picture(int width, int height, int components);

/* components: 1 grey, 3 colour, 4 inks (YCCK where `is_ycck`); `sampling`: luma samples for each of
 * colour, across and down, as 22 for 4:2:0. The caller frees *ret_data. */
void wa_image_writer_jpeg(int width, int height, int components, int sampling, int is_progressive,
                          int is_ycck, uint8_t **ret_data, size_t *ret_size);

/* components: 1 grey, 2 with alpha, 3, 4 with alpha; bits 8 or 16. */
void wa_image_writer_png(int width, int height, int components, int bits, int is_interlaced,
                         uint8_t **ret_data, size_t *ret_size);

#endif
