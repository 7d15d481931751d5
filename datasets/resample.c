/* Bilinear resizing: see resample.h. */
#include "resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHANNELS = 3, PRECISION = 22, HALF = 1 << (PRECISION - 1) };

/* One direction: for each output place the source places it reads and their weights. */
struct filter {
    int count, most_taps;
    int *first, *taps;
    int32_t *weights; /* [count][most_taps] */
};

static void finish_filter(struct filter *filter)
{
    free(filter->first);
    free(filter->taps);
    free(filter->weights);
}

static double triangle(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

/* The weights of one output place at `center`; `shares` is room for them in double. */
static void weigh(struct filter *filter, int place, double center, double widening, int size,
                  double *shares)
{
    int first = (int)(center - widening + 0.5);
    int end = (int)(center + widening + 0.5);
    first = first < 0 ? 0 : first;
    end = end > size ? size : end;
    double sum = 0.0;
    for (int i = first; i < end; i++) {
        shares[i - first] = triangle((i - center + 0.5) * (1.0 / widening));
        sum += shares[i - first];
    }
    int32_t *weights = filter->weights + (size_t)place * (size_t)filter->most_taps;
    for (int i = 0; i < end - first; i++) {
        double share = sum != 0.0 ? shares[i] / sum : shares[i];
        weights[i] = (int32_t)(0.5 + share * (1 << PRECISION));
    }
    filter->first[place] = first;
    filter->taps[place] = end - first;
}

/* Source places `low` to `high` of `size` become `out`; of these, `count` from `begin` on. */
static bool make_filter(struct filter *filter, int size, double low, double high, int out, int begin,
                        int count)
{
    double scale = (high - low) / out;
    double widening = scale < 1.0 ? 1.0 : scale;
    filter->count = count;
    filter->most_taps = (int)ceil(widening) * 2 + 1;
    filter->first = malloc((size_t)count * sizeof *filter->first);
    filter->taps = malloc((size_t)count * sizeof *filter->taps);
    filter->weights =
        malloc((size_t)count * (size_t)filter->most_taps * sizeof *filter->weights);
    double *shares = malloc((size_t)filter->most_taps * sizeof *shares);
    bool is_made = filter->first && filter->taps && filter->weights && shares;
    for (int i = 0; i < count && is_made; i++) {
        weigh(filter, i, low + (begin + i + 0.5) * scale, widening, size, shares);
    }
    free(shares);
    return is_made;
}

static uint8_t to_byte(int32_t sum)
{
    int32_t value = sum >> PRECISION;
    return (uint8_t)(value > 255 ? 255 : value);
}

static void resize_row(const struct filter *columns, const uint8_t *source, uint8_t *ret_row)
{
    for (int x = 0; x < columns->count; x++) {
        const uint8_t *pixel = source + (size_t)columns->first[x] * CHANNELS;
        const int32_t *weight = columns->weights + (size_t)x * (size_t)columns->most_taps;
        int32_t red = HALF;
        int32_t green = HALF;
        int32_t blue = HALF;
        for (int i = 0; i < columns->taps[x]; i++, pixel += CHANNELS) {
            red += pixel[0] * weight[i];
            green += pixel[1] * weight[i];
            blue += pixel[2] * weight[i];
        }
        ret_row[CHANNELS * x] = to_byte(red);
        ret_row[CHANNELS * x + 1] = to_byte(green);
        ret_row[CHANNELS * x + 2] = to_byte(blue);
    }
}

/* One output row from the rows that its taps read; `sums` is room for a row. */
static void mix_rows(const uint8_t *rows, size_t stride, const int32_t *weights, int taps,
                     int32_t *sums, uint8_t *ret_row)
{
    for (size_t x = 0; x < stride; x++) {
        sums[x] = HALF;
    }
    for (int i = 0; i < taps; i++) {
        const uint8_t *row = rows + (size_t)i * stride;
        int32_t weight = weights[i];
        for (size_t x = 0; x < stride; x++) {
            sums[x] += row[x] * weight;
        }
    }
    for (size_t x = 0; x < stride; x++) {
        ret_row[x] = to_byte(sums[x]);
    }
}

/* Rows that any output row reads. */
static void used_rows(const struct filter *rows, int *ret_first, int *ret_end)
{
    int last = rows->count - 1;
    *ret_first = rows->first[0];
    *ret_end = rows->first[last] + rows->taps[last];
}

static bool resize(const struct wa_resample *r, const struct filter *columns,
                   const struct filter *rows, uint8_t *ret_pixels)
{
    int first = 0;
    int end = 0;
    used_rows(rows, &first, &end);
    size_t stride = (size_t)columns->count * CHANNELS;
    uint8_t *narrow = malloc((size_t)(end - first) * stride);
    int32_t *sums = malloc(stride * sizeof *sums);
    bool is_done = narrow && sums;
    for (int y = first; y < end && is_done; y++) {
        resize_row(columns, r->pixels + (size_t)y * r->stride,
                   narrow + (size_t)(y - first) * stride);
    }
    for (int y = 0; y < rows->count && is_done; y++) {
        mix_rows(narrow + (size_t)(rows->first[y] - first) * stride, stride,
                 rows->weights + (size_t)y * (size_t)rows->most_taps, rows->taps[y], sums,
                 ret_pixels + (size_t)y * stride);
    }
    free(narrow);
    free(sums);
    return is_done;
}

wa_status wa_resample_bilinear(const wa_host *host, const struct wa_resample *r, uint8_t *ret_pixels)
{
    struct filter columns = {0};
    struct filter rows = {0};
    bool is_done = make_filter(&columns, r->width, r->left, r->right, r->out_width, r->part_x,
                               r->part_width) &&
                   make_filter(&rows, r->height, r->top, r->bottom, r->out_height, r->part_y,
                               r->part_height) &&
                   resize(r, &columns, &rows, ret_pixels);
    finish_filter(&columns);
    finish_filter(&rows);
    return is_done ? WA_OK
                   : wa_files_no_memory(host, (size_t)r->height * (size_t)r->part_width * CHANNELS,
                                        "a resized image");
}
