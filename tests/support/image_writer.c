/* JPEG and PNG files for tests: see image_writer.h. */
#include "image_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

static void *need(void *memory)
{
    if (!memory) {
        abort();
    }
    return memory;
}

uint8_t *wa_image_writer_picture(int width, int height, int components)
{
    uint8_t *pixels = need(malloc((size_t)width * (size_t)height * (size_t)components));
    uint8_t *at = pixels;
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            for (int c = 0; c < components; c++) {
                int smooth = 40 + x * 150 / width + (c + 1) * y * 15 / height;
                int edge = (x / 11 + y / 7 + c) % 3 == 0 ? 40 : 0;
                *at++ = (uint8_t)(smooth + edge);
            }
        }
    }
    return pixels;
}

void wa_image_writer_jpeg(int width, int height, int components, int sampling, int is_progressive,
                          int is_ycck, uint8_t **ret_data, size_t *ret_size)
{
    struct jpeg_compress_struct jpeg = {0};
    struct jpeg_error_mgr errors;
    unsigned char *data = NULL;
    unsigned long size = 0;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &data, &size);
    jpeg.image_width = (JDIMENSION)width;
    jpeg.image_height = (JDIMENSION)height;
    jpeg.input_components = components;
    jpeg.in_color_space = components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&jpeg);
    if (is_ycck) {
        jpeg_set_colorspace(&jpeg, JCS_YCCK);
    }
    jpeg_set_quality(&jpeg, 97, TRUE);
    if (components > 1) {
        jpeg.comp_info[0].h_samp_factor = sampling / 10;
        jpeg.comp_info[0].v_samp_factor = sampling % 10;
    }
    if (is_progressive) {
        jpeg_simple_progression(&jpeg);
    }
    jpeg_start_compress(&jpeg, TRUE);
    uint8_t *pixels = wa_image_writer_picture(width, height, components);
    for (int y = 0; y < height; y++) {
        JSAMPROW row = pixels + (size_t)y * (size_t)width * (size_t)components;
        (void)jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    free(pixels);
    *ret_data = data;
    *ret_size = size;
}

struct sink {
    uint8_t *data;
    size_t size;
};

static void write_bytes(png_structp png, png_bytep data, size_t size)
{
    struct sink *sink = png_get_io_ptr(png);
    sink->data = need(realloc(sink->data, sink->size + size));
    memcpy(sink->data + sink->size, data, size);
    sink->size += size;
}

static void flush_nothing(png_structp png)
{
    (void)png;
}

void wa_image_writer_png(int width, int height, int components, int bits, int is_interlaced,
                         uint8_t **ret_data, size_t *ret_size)
{
    static const int types[] = {0, PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA,
                                PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGB_ALPHA};
    struct sink sink = {0};
    png_structp png = need(png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL));
    png_infop info = need(png_create_info_struct(png));
    png_set_write_fn(png, &sink, write_bytes, flush_nothing);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, bits, types[components],
                 is_interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    /* 16 bit values are the bytes twice: v * 257. */
    size_t values = (size_t)width * (size_t)components;
    size_t bytes = values * (size_t)(bits / 8);
    uint8_t *pixels = wa_image_writer_picture(width, height, components);
    uint8_t *block = need(malloc(bytes * (size_t)height));
    png_bytepp rows = need(malloc((size_t)height * sizeof *rows));
    for (int y = 0; y < height; y++) {
        rows[y] = block + bytes * (size_t)y;
        for (size_t i = 0; i < bytes; i++) {
            rows[y][i] = pixels[(size_t)y * values + i / (size_t)(bits / 8)];
        }
    }
    png_write_image(png, rows);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    free(rows);
    free(block);
    free(pixels);
    *ret_data = sink.data;
    *ret_size = sink.size;
}
