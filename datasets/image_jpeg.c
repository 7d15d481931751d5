/* JPEG files by libjpeg-turbo: only the rows and columns of the window are transformed back, reduced
 * where that is allowed. Files that end too early are refused, other damage is decoded as well as the
 * library can, as other readers of image folders do. */
#include "image.h"

#if WA_WITH_JPEG

#include <setjmp.h>
#include <stdio.h> /* jpeglib.h wants FILE */
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h> /* wants jpeglib.h before it */

enum {
    CHANNELS = 3,
    /* Columns decoded beside the window: at the edge of what it decodes the library interpolates
     * colours otherwise than inside. */
    MARGIN = 16,
    MOST_SCANS = 500 /* of a progressive file: more are a bomb */
};

/* Everything lives here, so that nothing is lost when the library jumps out. */
struct job {
    struct jpeg_error_mgr errors; /* first: the library hands back its address */
    struct jpeg_progress_mgr progress;
    struct jpeg_decompress_struct jpeg;
    jmp_buf jump;
    const wa_host *host;
    const char *path;
    const struct wa_files_bytes *bytes;
    wa_image_chooser *choose;
    void *context;
    wa_status status;     /* a failure that was told already */
    bool ran_out, is_cut; /* the file ended; data were missing */
    uint8_t *block, *quads;
    struct wa_image image;
};

static struct job *job_of(j_common_ptr jpeg)
{
    return (struct job *)(void *)jpeg->err;
}

static void leave(j_common_ptr jpeg)
{
    longjmp(job_of(jpeg)->jump, 1);
}

static void note_warning(j_common_ptr jpeg, int level)
{
    struct job *job = job_of(jpeg);
    if (level < 0) {
        job->ran_out = job->ran_out || jpeg->err->msg_code == JWRN_JPEG_EOF;
        job->is_cut = job->is_cut || jpeg->err->msg_code == JWRN_HIT_MARKER;
    }
}

static void count_scans(j_common_ptr jpeg)
{
    struct job *job = job_of(jpeg);
    if (job->jpeg.input_scan_number > MOST_SCANS) {
        job->status = job->host->fail(job->host, WA_E_DATA, "%s: more than %d scans of one image",
                                      job->path, MOST_SCANS);
        leave(jpeg);
    }
}

/* Whether the file ends as it should. Coded data hold no such marker, but what follows the image or
 * a small picture in the head may: then a file that ends early is taken for whole, and noticed when
 * rows that are wanted are missing. */
static bool has_end(const struct wa_files_bytes *bytes)
{
    for (size_t i = bytes->size; i >= 2; i--) {
        if (bytes->data[i - 2] == 0xff && bytes->data[i - 1] == 0xd9) {
            return true;
        }
    }
    return false;
}

static void choose_window(struct job *job)
{
    struct jpeg_decompress_struct *jpeg = &job->jpeg;
    struct wa_image_window *window = &job->image.window;
    job->status = wa_image_check_size(job->host, job->path, jpeg->image_width, jpeg->image_height);
    if (job->status != WA_OK) {
        leave((j_common_ptr)jpeg);
    }
    job->choose(job->context, (int)jpeg->image_width, (int)jpeg->image_height, window);
    bool is_four = jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK;
    jpeg->out_color_space = is_four ? JCS_CMYK : JCS_RGB;
    jpeg->scale_num = 1;
    jpeg->scale_denom = (unsigned)window->most_reduction;
    job->image.reduction = window->most_reduction;
}

/* Inks to light, as common readers do it; files of the usual maker hold them inverted. */
static void mix_inks(const struct job *job, const uint8_t *quads, uint8_t *ret_row, int width)
{
    int flip = job->jpeg.saw_Adobe_marker ? 0xff : 0;
    for (int x = 0; x < width; x++) {
        int light = 255 - (quads[4 * x + 3] ^ flip);
        for (int c = 0; c < CHANNELS; c++) {
            int product = (quads[4 * x + c] ^ flip) * light + 128;
            int value = light - ((product + (product >> 8)) >> 8);
            ret_row[CHANNELS * x + c] = (uint8_t)(value < 0 ? 0 : value);
        }
    }
}

static void read_row(struct job *job, uint8_t *ret_row)
{
    struct jpeg_decompress_struct *jpeg = &job->jpeg;
    JSAMPROW row = job->quads ? job->quads : ret_row;
    while (jpeg_read_scanlines(jpeg, &row, 1) == 0) {
    }
    if (job->quads) {
        mix_inks(job, job->quads, ret_row, (int)jpeg->output_width);
    }
}

static void decode_window(struct job *job)
{
    struct jpeg_decompress_struct *jpeg = &job->jpeg;
    struct wa_image *image = &job->image;
    const struct wa_image_window *w = &image->window;
    int d = image->reduction;
    int left = w->x / d;
    int top = w->y / d;
    image->width = (w->x + w->width + d - 1) / d - left;
    image->height = (w->y + w->height + d - 1) / d - top;
    JDIMENSION first = (JDIMENSION)(left > MARGIN ? left - MARGIN : 0);
    JDIMENSION end = (JDIMENSION)(left + image->width + MARGIN);
    end = end < jpeg->output_width ? end : jpeg->output_width;
    if (end - first < jpeg->output_width) {
        JDIMENSION columns = end - first;
        jpeg_crop_scanline(jpeg, &first, &columns);
    }
    image->stride = (size_t)jpeg->output_width * CHANNELS;
    job->block = malloc(image->stride * ((size_t)image->height + 1)); /* see read_rest */
    bool is_four = jpeg->output_components == 4;
    job->quads = is_four ? malloc((size_t)jpeg->output_width * 4) : NULL;
    if (!job->block || (is_four && !job->quads)) {
        job->status = wa_files_no_memory(job->host, image->stride * (size_t)image->height,
                                         job->path);
        leave((j_common_ptr)jpeg);
    }
    if (top > 0) {
        (void)jpeg_skip_scanlines(jpeg, (JDIMENSION)top);
    }
    for (int y = 0; y < image->height; y++) {
        read_row(job, job->block + (size_t)y * image->stride);
    }
    image->pixels = job->block + ((size_t)left - first) * CHANNELS;
}

/* Whether a file that ends early is whole must not depend on the window: the rows below are looked at
 * too. The last one is read, into the spare row: skipping to the end would look at nothing. */
static void read_rest(struct job *job)
{
    struct jpeg_decompress_struct *jpeg = &job->jpeg;
    JDIMENSION rest = jpeg->output_height - jpeg->output_scanline;
    if (rest > 1) {
        (void)jpeg_skip_scanlines(jpeg, rest - 1);
    }
    if (rest > 0) {
        read_row(job, job->block + (size_t)job->image.height * job->image.stride);
    }
}

/* Runs until done, or until the library jumps out. */
static bool decode(struct job *job)
{
    struct jpeg_decompress_struct *jpeg = &job->jpeg;
    jpeg->err = jpeg_std_error(&job->errors);
    job->errors.error_exit = leave;
    job->errors.emit_message = note_warning;
    if (setjmp(job->jump) != 0) {
        return false;
    }
    jpeg_create_decompress(jpeg);
    job->progress.progress_monitor = count_scans;
    jpeg->progress = &job->progress;
    jpeg_mem_src(jpeg, job->bytes->data, job->bytes->size);
    (void)jpeg_read_header(jpeg, TRUE);
    choose_window(job);
    (void)jpeg_start_decompress(jpeg);
    decode_window(job);
    if (!has_end(job->bytes)) {
        read_rest(job);
    }
    return true;
}

wa_status wa_image_jpeg_decode(const wa_host *host, const char *path,
                               const struct wa_files_bytes *bytes, wa_image_chooser *choose,
                               void *context, struct wa_image *ret_image)
{
    struct job job = {.host = host,
                      .path = path,
                      .bytes = bytes,
                      .choose = choose,
                      .context = context,
                      .status = WA_OK};
    bool is_done = decode(&job);
    char why[JMSG_LENGTH_MAX] = "";
    if (!is_done && job.status == WA_OK) {
        job.errors.format_message((j_common_ptr)&job.jpeg, why);
        job.status = host->fail(host, WA_E_DATA, "%s: a JPEG file that cannot be decoded: %s", path,
                                why);
    } else if (is_done && job.ran_out && job.is_cut) {
        job.status = host->fail(host, WA_E_DATA,
                                "%s: a JPEG file that ends before its image does (%zu bytes); fetch "
                                "it again or remove it",
                                path, bytes->size);
    }
    jpeg_destroy_decompress(&job.jpeg);
    free(job.quads);
    if (job.status != WA_OK) {
        free(job.block);
        return job.status;
    }
    job.image.block = job.block;
    *ret_image = job.image;
    return WA_OK;
}

#else

wa_status wa_image_jpeg_decode(const wa_host *host, const char *path,
                               const struct wa_files_bytes *bytes, wa_image_chooser *choose,
                               void *context, struct wa_image *ret_image)
{
    (void)bytes;
    (void)choose;
    (void)context;
    (void)ret_image;
    return host->fail(host, WA_E_UNSUPPORTED,
                      "%s: is a JPEG file, but libjpeg-turbo is missing from this build; install it "
                      "(Debian: libjpeg62-turbo-dev) and build again with -Djpeg=enabled",
                      path);
}

#endif
