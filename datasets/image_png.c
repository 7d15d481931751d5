/* PNG files by libpng, always as a whole: they are rare in image folders. */
#include "image.h"

#if WA_WITH_PNG

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

enum { CHANNELS = 3, WHY_BYTES = 128 };

/* Everything lives here, so that nothing is lost when the library jumps out. */
struct job {
    const wa_host *host;
    const char *path;
    const struct wa_files_bytes *bytes;
    size_t used;
    wa_status status; /* a failure that was told already */
    char why[WHY_BYTES];
    png_structp png;
    png_infop info;
    png_uint_32 width, height;
    uint8_t *block;
    png_bytepp rows;
};

static void leave(png_structp png, png_const_charp why)
{
    struct job *job = png_get_error_ptr(png);
    (void)snprintf(job->why, sizeof job->why, "%s", why);
    longjmp(png_jmpbuf(png), 1);
}

static void ignore_warning(png_structp png, png_const_charp why)
{
    (void)png;
    (void)why;
}

static void read_bytes(png_structp png, png_bytep target, size_t size)
{
    struct job *job = png_get_io_ptr(png);
    if (size > job->bytes->size - job->used) {
        png_error(png, "the file ends before its image does");
    }
    memcpy(target, job->bytes->data + job->used, size);
    job->used += size;
}

/* Whatever the file holds becomes 8 bit RGB. */
static void set_transforms(struct job *job)
{
    png_set_expand(job->png);
    png_set_scale_16(job->png);
    png_set_gray_to_rgb(job->png);
    png_set_strip_alpha(job->png);
    (void)png_set_interlace_handling(job->png);
    png_read_update_info(job->png, job->info);
}

static void make_room(struct job *job)
{
    size_t stride = (size_t)job->width * CHANNELS;
    job->block = malloc(stride * job->height);
    job->rows = malloc(job->height * sizeof *job->rows);
    if (!job->block || !job->rows) {
        job->status = wa_files_no_memory(job->host, stride * job->height, job->path);
        png_error(job->png, "out of memory");
    }
    if (png_get_rowbytes(job->png, job->info) != stride) {
        png_error(job->png, "its pixels cannot be brought to RGB");
    }
    for (png_uint_32 y = 0; y < job->height; y++) {
        job->rows[y] = job->block + y * stride;
    }
}

/* Runs until done, or until the library jumps out. */
static bool decode(struct job *job)
{
    if (setjmp(png_jmpbuf(job->png)) != 0) {
        return false;
    }
    png_set_read_fn(job->png, job, read_bytes);
    png_read_info(job->png, job->info);
    job->width = png_get_image_width(job->png, job->info);
    job->height = png_get_image_height(job->png, job->info);
    job->status = wa_image_check_size(job->host, job->path, job->width, job->height);
    if (job->status != WA_OK) {
        return false;
    }
    set_transforms(job);
    make_room(job);
    png_read_image(job->png, job->rows);
    return true;
}

wa_status wa_image_png_decode(const wa_host *host, const char *path,
                              const struct wa_files_bytes *bytes, wa_image_chooser *choose,
                              void *context, struct wa_image *ret_image)
{
    struct job job = {.host = host, .path = path, .bytes = bytes, .status = WA_OK};
    job.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &job, leave, ignore_warning);
    job.info = job.png ? png_create_info_struct(job.png) : NULL;
    if (!job.info) {
        png_destroy_read_struct(&job.png, NULL, NULL);
        return wa_files_no_memory(host, bytes->size, path);
    }
    if (!decode(&job) && job.status == WA_OK) {
        job.status = host->fail(host, WA_E_DATA, "%s: a PNG file that cannot be decoded: %s", path,
                                job.why);
    }
    png_destroy_read_struct(&job.png, &job.info, NULL);
    free(job.rows);
    if (job.status != WA_OK) {
        free(job.block);
        return job.status;
    }
    struct wa_image image = {.block = job.block,
                             .stride = (size_t)job.width * CHANNELS,
                             .reduction = 1};
    choose(context, (int)job.width, (int)job.height, &image.window);
    image.width = image.window.width;
    image.height = image.window.height;
    image.pixels =
        image.block + (size_t)image.window.y * image.stride + (size_t)image.window.x * CHANNELS;
    *ret_image = image;
    return WA_OK;
}

#else

wa_status wa_image_png_decode(const wa_host *host, const char *path,
                              const struct wa_files_bytes *bytes, wa_image_chooser *choose,
                              void *context, struct wa_image *ret_image)
{
    (void)bytes;
    (void)choose;
    (void)context;
    (void)ret_image;
    return host->fail(host, WA_E_UNSUPPORTED,
                      "%s: is a PNG file, but libpng is missing from this build; install it (Debian: "
                      "libpng-dev) and build again with -Dpng=enabled",
                      path);
}

#endif
