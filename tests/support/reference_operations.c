/* Operations in plain C loops and double: see reference_operations.h. */
#include "reference_operations.h"

#include <math.h>

int wa_reference_out_size(int in, int stride)
{
    return (in + stride - 1) / stride;
}

int wa_reference_pad_before(int in, int kernel, int stride)
{
    int pad = (wa_reference_out_size(in, stride) - 1) * stride + kernel - in;
    return pad > 0 ? pad / 2 : 0;
}

double wa_reference_rounding(size_t terms)
{
    return (8.0 * sqrt((double)terms) + 2.0) * 0x1p-24;
}

/* ---- Convolution ---------------------------------------------------------------------------- */

static void clear(double *values, size_t count)
{
    for (size_t i = 0; values && i < count; i++) {
        values[i] = 0.0;
    }
}

/* One product of the convolution: output place, input place and kernel tap that meet. */
struct meeting {
    size_t z, x, w; /* of item 0; of the weights */
    bool is_inside; /* the input place is one of the image, not of the padding */
};

static bool find_meeting(const struct wa_reference_shape *s, int out, int row, int column, int tap,
                         int in, struct meeting *ret_meeting)
{
    int out_rows = wa_reference_out_size(s->in_rows, s->stride);
    int out_columns = wa_reference_out_size(s->in_columns, s->stride);
    int kh = tap / s->kernel;
    int kw = tap % s->kernel;
    int y = row * s->stride + kh - wa_reference_pad_before(s->in_rows, s->kernel, s->stride);
    int x = column * s->stride + kw - wa_reference_pad_before(s->in_columns, s->kernel, s->stride);
    bool is_inside = y >= 0 && y < s->in_rows && x >= 0 && x < s->in_columns;
    size_t batch = (size_t)s->batch;
    *ret_meeting = (struct meeting){
        .z = ((size_t)(out * out_rows + row) * (size_t)out_columns + (size_t)column) * batch,
        .x = is_inside ? ((size_t)(in * s->in_rows + y) * (size_t)s->in_columns + (size_t)x) * batch
                       : 0,
        .w =
            ((size_t)out * (size_t)(s->kernel * s->kernel) + (size_t)tap) * (size_t)s->in_channels +
            (size_t)in,
        .is_inside = is_inside};
    return is_inside;
}

typedef void visit_meeting(const struct wa_reference_shape *shape, const struct meeting *meeting,
                           const double *left, const double *right, double *ret_sum,
                           double *ret_magnitude);

static void visit_all(const struct wa_reference_shape *s, visit_meeting *visit, const double *left,
                      const double *right, double *ret_sum, double *ret_magnitude)
{
    int out_rows = wa_reference_out_size(s->in_rows, s->stride);
    int out_columns = wa_reference_out_size(s->in_columns, s->stride);
    for (int out = 0; out < s->out_channels; out++) {
        for (int place = 0; place < out_rows * out_columns; place++) {
            for (int tap = 0; tap < s->kernel * s->kernel; tap++) {
                for (int in = 0; in < s->in_channels; in++) {
                    struct meeting meeting;
                    (void)find_meeting(s, out, place / out_columns, place % out_columns, tap, in,
                                       &meeting);
                    visit(s, &meeting, left, right, ret_sum, ret_magnitude);
                }
            }
        }
    }
}

static size_t z_count(const struct wa_reference_shape *s)
{
    return (size_t)s->out_channels * (size_t)wa_reference_out_size(s->in_rows, s->stride) *
           (size_t)wa_reference_out_size(s->in_columns, s->stride) * (size_t)s->batch;
}

static size_t x_count(const struct wa_reference_shape *s)
{
    return (size_t)s->in_channels * (size_t)s->in_rows * (size_t)s->in_columns * (size_t)s->batch;
}

static void add_forward(const struct wa_reference_shape *s, const struct meeting *meeting,
                        const double *w, const double *x, double *ret_z, double *ret_magnitude)
{
    double weight = w[meeting->w];
    for (int n = 0; n < s->batch; n++) {
        double product = weight * (meeting->is_inside ? x[meeting->x + (size_t)n] : 0.0);
        ret_z[meeting->z + (size_t)n] += product;
        if (ret_magnitude) {
            ret_magnitude[meeting->z + (size_t)n] += fabs(product);
        }
    }
}

void wa_reference_forward(const struct wa_reference_shape *shape, const double *w, const double *x,
                          double *ret_z, double *ret_magnitude)
{
    clear(ret_z, z_count(shape));
    clear(ret_magnitude, z_count(shape));
    visit_all(shape, add_forward, w, x, ret_z, ret_magnitude);
}

static void add_backward(const struct wa_reference_shape *s, const struct meeting *meeting,
                         const double *w, const double *dz, double *ret_g, double *ret_magnitude)
{
    double weight = w[meeting->w];
    for (int n = 0; meeting->is_inside && n < s->batch; n++) {
        double product = weight * dz[meeting->z + (size_t)n];
        ret_g[meeting->x + (size_t)n] += product;
        if (ret_magnitude) {
            ret_magnitude[meeting->x + (size_t)n] += fabs(product);
        }
    }
}

void wa_reference_backward(const struct wa_reference_shape *shape, const double *w,
                           const double *dz, double *ret_g, double *ret_magnitude)
{
    clear(ret_g, x_count(shape));
    clear(ret_magnitude, x_count(shape));
    visit_all(shape, add_backward, w, dz, ret_g, ret_magnitude);
}

/* ---- Winograd ------------------------------------------------------------------------------- */

/* Absolute values of the transforms' matrices: B^T [6 x 6], G [6 x 3], A^T [4 x 6]. */
static const double abs_b[36] = {4, 0, 5, 0, 1, 0, 0, 4, 4, 1, 1, 0, 0, 4, 4, 1, 1, 0,
                                 0, 2, 1, 2, 1, 0, 0, 2, 1, 2, 1, 0, 0, 4, 0, 5, 0, 1};
static const double abs_g[18] = {1.0 / 4,  0,        0,       1.0 / 6,  1.0 / 6,  1.0 / 6,
                                 1.0 / 6,  1.0 / 6,  1.0 / 6, 1.0 / 24, 1.0 / 12, 1.0 / 6,
                                 1.0 / 24, 1.0 / 12, 1.0 / 6, 0,        0,        1};
static const double abs_a[24] = {1, 1, 1, 1, 1, 0, 0, 1, 1, 2, 2, 0,
                                 0, 1, 1, 4, 4, 0, 0, 1, 1, 8, 8, 1};

/* Entry (i, k) of a matrix with `columns` columns, or of its transpose. */
static double entry(const double *matrix, int columns, bool is_transposed, int i, int k)
{
    return is_transposed ? matrix[k * columns + i] : matrix[i * columns + k];
}

/* out [rows x rows] = m in [inner x inner] m^T, where m [rows x inner] is the matrix or its
 * transpose. */
static void sandwich(int rows, int inner, const double *matrix, bool is_transposed,
                     const double *in, double *ret_out)
{
    double half[36];
    int columns = is_transposed ? rows : inner;
    for (int i = 0; i < rows * inner; i++) {
        half[i] = 0.0;
        for (int k = 0; k < inner; k++) {
            half[i] +=
                entry(matrix, columns, is_transposed, i / inner, k) * in[k * inner + i % inner];
        }
    }
    for (int i = 0; i < rows * rows; i++) {
        ret_out[i] = 0.0;
        for (int k = 0; k < inner; k++) {
            ret_out[i] +=
                half[i / rows * inner + k] * entry(matrix, columns, is_transposed, i % rows, k);
        }
    }
}

/* |x| of channel c at a place, 0 outside. */
static double value_at(const struct wa_reference_shape *s, const double *x, int c, int row,
                       int column, int n)
{
    bool is_inside = row >= 0 && row < s->in_rows && column >= 0 && column < s->in_columns;
    return is_inside
               ? fabs(x[((size_t)(c * s->in_rows + row) * (size_t)s->in_columns + (size_t)column) *
                            (size_t)s->batch +
                        (size_t)n])
               : 0.0;
}

/* The i-th tile of the images of a batch: row, column and item. */
struct tile {
    int row, column, item;
};

static size_t tile_count(const struct wa_reference_shape *s)
{
    return (size_t)(s->in_rows / 4) * (size_t)(s->in_columns / 4) * (size_t)s->batch;
}

static struct tile tile_at(const struct wa_reference_shape *s, size_t i)
{
    int item = (int)(i % (size_t)s->batch);
    int number = (int)(i / (size_t)s->batch);
    int across = s->in_columns / 4;
    return (struct tile){.row = number / across * 4, .column = number % across * 4, .item = item};
}

/* |B|^T |d| |B| of a tile of a channel, and |A| |dz| |A|^T. */
static void transform_input(const struct wa_reference_shape *s, const double *x, int channel,
                            struct tile tile, double ret_v[36])
{
    double d[36];
    for (int i = 0; i < 36; i++) {
        d[i] = value_at(s, x, channel, tile.row + i / 6 - 1, tile.column + i % 6 - 1, tile.item);
    }
    sandwich(6, 6, abs_b, false, d, ret_v);
}

static void transform_gradient(const struct wa_reference_shape *s, const double *dz, int channel,
                               struct tile tile, double ret_u[36])
{
    double d[16];
    for (int i = 0; i < 16; i++) {
        d[i] = value_at(s, dz, channel, tile.row + i / 4, tile.column + i % 4, tile.item);
    }
    sandwich(6, 4, abs_a, true, d, ret_u);
}

/* The weights |w| from a channel of the sum to an output, taps turned by half on the way back. */
static void kernel_of(const struct wa_reference_shape *s, const double *w, int output, int channel,
                      bool is_backward, double ret_g[9])
{
    for (int tap = 0; tap < 9; tap++) {
        int out = is_backward ? channel : output;
        int in = is_backward ? output : channel;
        int from = is_backward ? 8 - tap : tap;
        ret_g[tap] = fabs(w[(size_t)(out * 9 + from) * (size_t)s->in_channels + (size_t)in]);
    }
}

/* One tile of one item for one output. */
static void bound_tile(const struct wa_reference_shape *s, const double *w, const double *x,
                       bool is_backward, int output, struct tile tile, double ret_y[16])
{
    int channels = is_backward ? s->out_channels : s->in_channels;
    double products[36] = {0};
    for (int c = 0; c < channels; c++) {
        double g[9];
        double u[36];
        double v[36];
        kernel_of(s, w, output, c, is_backward, g);
        sandwich(6, 3, abs_g, false, g, u);
        transform_input(s, x, c, tile, v);
        for (int i = 0; i < 36; i++) {
            products[i] += u[i] * v[i];
        }
    }
    sandwich(4, 6, abs_a, false, products, ret_y);
    for (int i = 0; i < 16; i++) {
        ret_y[i] *= wa_reference_rounding((size_t)channels) + 24.0 * 0x1p-24;
    }
}

void wa_reference_winograd_bound(const struct wa_reference_shape *shape, const double *w,
                                 const double *x, bool is_backward, double *ret_bounds)
{
    int outputs = is_backward ? shape->in_channels : shape->out_channels;
    for (int o = 0; o < outputs; o++) {
        for (size_t t = 0; t < tile_count(shape); t++) {
            struct tile tile = tile_at(shape, t);
            double y[16];
            bound_tile(shape, w, x, is_backward, o, tile, y);
            for (int i = 0; i < 16; i++) {
                int place = (o * shape->in_rows + tile.row + i / 4) * shape->in_columns +
                            tile.column + i % 4;
                ret_bounds[(size_t)place * (size_t)shape->batch + (size_t)tile.item] = y[i];
            }
        }
    }
}

void wa_reference_winograd_gradient_bound(const struct wa_reference_shape *shape, const double *x,
                                          const double *dz, double *ret_bounds)
{
    size_t tiles = tile_count(shape);
    for (int pair = 0; pair < shape->out_channels * shape->in_channels; pair++) {
        int out = pair / shape->in_channels;
        int in = pair % shape->in_channels;
        double products[36] = {0};
        double bounds[9];
        for (size_t t = 0; t < tiles; t++) {
            double u[36];
            double v[36];
            transform_input(shape, x, in, tile_at(shape, t), v);
            transform_gradient(shape, dz, out, tile_at(shape, t), u);
            for (int i = 0; i < 36; i++) {
                products[i] += u[i] * v[i];
            }
        }
        sandwich(3, 6, abs_g, true, products, bounds);
        for (int tap = 0; tap < 9; tap++) {
            ret_bounds[(size_t)(out * 9 + tap) * (size_t)shape->in_channels + (size_t)in] =
                bounds[tap] * (wa_reference_rounding(tiles) + 24.0 * 0x1p-24);
        }
    }
}

/* ---- Weight gradient ------------------------------------------------------------------------ */

static void add_weight_gradient(const struct wa_reference_shape *s, const struct meeting *meeting,
                                const double *x, const double *dz, double *ret_dw,
                                double *ret_magnitude)
{
    double sum = 0.0;
    double magnitude = 0.0;
    for (int n = 0; n < s->batch; n++) {
        double product =
            dz[meeting->z + (size_t)n] * (meeting->is_inside ? x[meeting->x + (size_t)n] : 0.0);
        sum += product;
        magnitude += fabs(product);
    }
    ret_dw[meeting->w] += sum;
    if (ret_magnitude) {
        ret_magnitude[meeting->w] += magnitude;
    }
}

void wa_reference_weight_gradient(const struct wa_reference_shape *shape, const double *x,
                                  const double *dz, double *ret_dw, double *ret_magnitude)
{
    size_t count = (size_t)shape->out_channels * (size_t)(shape->kernel * shape->kernel) *
                   (size_t)shape->in_channels;
    clear(ret_dw, count);
    clear(ret_magnitude, count);
    visit_all(shape, add_weight_gradient, x, dz, ret_dw, ret_magnitude);
}

void wa_reference_bias_gradient(int channels, size_t places, int batch, const double *dz,
                                double *ret_db, double *ret_magnitude)
{
    size_t count = places * (size_t)batch;
    for (int c = 0; c < channels; c++) {
        ret_db[c] = 0.0;
        ret_magnitude[c] = 0.0;
        for (size_t i = 0; i < count; i++) {
            ret_db[c] += dz[(size_t)c * count + i];
            ret_magnitude[c] += fabs(dz[(size_t)c * count + i]);
        }
    }
}

/* ---- Batch norm, ReLU, pooling -------------------------------------------------------------- */

void wa_reference_batch_norm(size_t positions, int batch, const double *v, double epsilon,
                             double *ret_h, double *ret_inverse)
{
    for (size_t p = 0; p < positions; p++) {
        const double *values = v + p * (size_t)batch;
        double mean = 0.0;
        double variance = 0.0;
        for (int n = 0; n < batch; n++) {
            mean += values[n] / batch;
        }
        for (int n = 0; n < batch; n++) {
            variance += (values[n] - mean) * (values[n] - mean) / batch;
        }
        ret_inverse[p] = 1.0 / sqrt(variance + epsilon);
        for (int n = 0; n < batch; n++) {
            ret_h[p * (size_t)batch + (size_t)n] = (values[n] - mean) * ret_inverse[p];
        }
    }
}

void wa_reference_batch_norm_backward(size_t positions, int batch, const double *m, const double *h,
                                      const double *inverse, double *ret_dv)
{
    for (size_t p = 0; p < positions; p++) {
        size_t first = p * (size_t)batch;
        double mean = 0.0;
        double mean_product = 0.0;
        for (size_t i = first; i < first + (size_t)batch; i++) {
            mean += m[i] / batch;
            mean_product += m[i] * h[i] / batch;
        }
        for (size_t i = first; i < first + (size_t)batch; i++) {
            ret_dv[i] = inverse[p] * (m[i] - mean - h[i] * mean_product);
        }
    }
}

void wa_reference_rectify(size_t count, const double *h, double *ret_a)
{
    for (size_t i = 0; i < count; i++) {
        ret_a[i] = h[i] <= 0.0 ? 0.0 : h[i];
    }
}

void wa_reference_rectify_backward(size_t count, const double *g, const double *h, double *ret_m)
{
    for (size_t i = 0; i < count; i++) {
        ret_m[i] = h[i] <= 0.0 ? 0.0 : g[i];
    }
}

void wa_reference_pool(int channels, size_t places, int batch, const double *a, double *ret_pooled)
{
    for (int c = 0; c < channels; c++) {
        for (int n = 0; n < batch; n++) {
            double sum = 0.0;
            for (size_t p = 0; p < places; p++) {
                sum += a[((size_t)c * places + p) * (size_t)batch + (size_t)n];
            }
            ret_pooled[(size_t)c * (size_t)batch + (size_t)n] = sum / (double)places;
        }
    }
}

/* ---- Products and the output error ---------------------------------------------------------- */

void wa_reference_product(int m, int n, int k, const double *a, bool a_is_transposed,
                          const double *b, bool b_is_transposed, double *ret_c,
                          double *ret_magnitude)
{
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < n; j++) {
            double sum = 0.0;
            double magnitude = 0.0;
            for (int p = 0; p < k; p++) {
                double left = a_is_transposed ? a[p * m + i] : a[i * k + p];
                double right = b_is_transposed ? b[j * k + p] : b[p * n + j];
                sum += left * right;
                magnitude += fabs(left * right);
            }
            ret_c[i * n + j] = sum;
            if (ret_magnitude) {
                ret_magnitude[i * n + j] = magnitude;
            }
        }
    }
}

double wa_reference_output_error(int classes, int batch, const double *logits,
                                 const uint32_t *labels, double offset, double *ret_error,
                                 int *ret_correct)
{
    double loss = 0.0;
    *ret_correct = 0;
    for (int n = 0; n < batch; n++) {
        int best = 0;
        for (int k = 0; k < classes; k++) {
            double target = ((uint32_t)k == labels[n] ? 1.0 : 0.0) - offset;
            double e = logits[k * batch + n] - target;
            loss += e * e;
            ret_error[k * batch + n] = 2.0 * e / ((double)batch * classes);
            best = logits[k * batch + n] > logits[best * batch + n] ? k : best;
        }
        *ret_correct += (uint32_t)best == labels[n];
    }
    return loss / ((double)batch * classes);
}
