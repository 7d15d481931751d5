/* A convolution that reads few values (a network's first layer), with batch norm and ReLU in one pass, on CPUs;
 * and its weight gradient together with the way back through them. Such a layer computes little and moves much:
 * here z and dz never leave the registers, and where the sums are shortest h does not either: the way back makes
 * it again.
 *
 * Tensors and results are those of cpu_convolution.cl and cpu_batch_norm.cl, bit for bit on the way forward. x
 * starts at the place that the first tap of the first output reads; x_row and x_column are strides times its
 * row and lanes.
 */
#include "batch_lanes.cl"

#ifndef OUTS
#define OUTS 8
#endif
#if REGISTERS >= 32 /* vectors in registers beside one that is loaded and what is broadcast */
#define KEPT_VECTORS 28
#else
#define KEPT_VECTORS 13
#endif
#if 4 * VECTORS <= KEPT_VECTORS
#define OUTPUTS 4 /* at a time */
#elif 2 * VECTORS <= KEPT_VECTORS
#define OUTPUTS 2
#else
#define OUTPUTS 1
#endif

/* Products z of one position for NUMBER outputs: x starts at the position's first tap, weights [output / OUTS]
 * [channel][tap][OUTS] at the first output. */
#define DEFINE_PRODUCTS(NAME, NUMBER)                                                                        \
    INLINE void NAME(__global const float *restrict x, __global const float *restrict weights,               \
                     __global const int *restrict taps, int channels, int taps_count, int x_plane,           \
                     vec (*z)[VECTORS])                                                                      \
    {                                                                                                        \
        UNROLL for (int r = 0; r < NUMBER; r++)                                                              \
        {                                                                                                    \
            EACH_VECTOR { z[r][i] = (vec)0.0f; }                                                             \
        }                                                                                                    \
        for (int c = 0; c < channels; c++) {                                                                 \
            for (int t = 0; t < taps_count; t++) {                                                           \
                __global const float *from = x + (size_t)c * x_plane + taps[t];                              \
                EACH_VECTOR                                                                                  \
                {                                                                                            \
                    const vec v = load(from + START(i));                                                     \
                    UNROLL for (int r = 0; r < NUMBER; r++) { z[r][i] = fma((vec)weights[r], v, z[r][i]); }  \
                }                                                                                            \
                weights += OUTS;                                                                             \
            }                                                                                                \
        }                                                                                                    \
    }
DEFINE_PRODUCTS(forward_products, OUTPUTS)

/* h of vector i of a position from its products z; `first` is that of the first lane. */
#define NORMALIZED(i, z, first, mean, inverse, valid) KEPT(i, ((z[i] - first) - mean) * inverse, valid)

/* h and a of one position from its products z. */
INLINE void normalize(vec *z, vec fresh, vec valid, float scale, float epsilon, int rectify, int keep_h,
                      __global float *h, __global float *a, float *ret_mean, float *ret_inverse)
{
    EACH_VECTOR { z[i] *= scale; }
#define VALUE(i) z[i]
    const float first = z[0][0];
    float mean, inverse;
    MEASURE(VALUE, first, fresh, epsilon, mean, inverse)
#undef VALUE
    EACH_VECTOR
    {
        const vec value = NORMALIZED(i, z, first, mean, inverse, valid);
        if (keep_h) {
            store(value, h + START(i));
        }
        store(rectify ? rectified(value) : value, a + START(i));
    }
    *ret_mean = mean;
    *ret_inverse = inverse;
}

/* A row of OUTS output channels. With mean_base > 0 the means of positions go behind the inverses, from there on:
 * shallow_gradient can then do without h. */
KERNEL void shallow_forward(__global const float *restrict x, __global const float *restrict weights,
                            __global float *restrict h, __global float *restrict a,
                            __global float *restrict inverse, __global const int *restrict taps,
                            int weight_base, int channels, int taps_count, int outs, float scale,
                            float epsilon, int rectify, int keep_h, int mean_base, int columns, int x_base,
                            int x_plane, int x_row, int x_column, int h_plane, int h_row, int a_base,
                            int a_plane, int a_row)
{
    const int first = get_group_id(0) * OUTS, row = get_group_id(1), rows = get_num_groups(1);
    const vec fresh = fresh_lanes(), valid = valid_lanes();
    const size_t block = (size_t)get_group_id(0) * channels * taps_count * OUTS;
    for (int o = 0; o < OUTS && first + o < outs; o += OUTPUTS) {
        for (int column = 0; column < columns; column++) {
            __global const float *xp = x + x_base + row * x_row + column * x_column;
            vec z[OUTPUTS][VECTORS];
            forward_products(xp, weights + weight_base + block + o, taps, channels, taps_count, x_plane, z);
            UNROLL for (int r = 0; r < OUTPUTS; r++)
            {
                const size_t output = first + o + r;
                if (output < outs) {
                    const size_t position = (output * rows + row) * columns + column;
                    float mean, own_inverse;
                    normalize(z[r], fresh, valid, scale, epsilon, rectify, keep_h,
                              h + output * h_plane + row * h_row + column * LANES,
                              a + output * a_plane + a_base + row * a_row + column * LANES, &mean,
                              &own_inverse);
                    inverse[position] = own_inverse;
                    if (mean_base > 0) {
                        inverse[mean_base + position] = mean;
                    }
                }
            }
        }
    }
}

/* ---- Backward --------------------------------------------------------------------------------- */

#if 2 * VECTORS + 8 <= KEPT_VECTORS + 2
#define GRADIENTS 2 /* outputs at a time: their dz, and the sums of three taps */
#else
#define GRADIENTS 1
#endif

DEFINE_PRODUCTS(backward_products, GRADIENTS)

/* h of one position as shallow_forward had it, for GRADIENTS outputs. */
INLINE void remake(__global const float *restrict x, __global const float *restrict weights,
                   __global const int *restrict taps, int channels, int taps_count, int x_plane, float scale,
                   const float *mean, const float *inverse, vec valid, vec (*h)[VECTORS])
{
    backward_products(x, weights, taps, channels, taps_count, x_plane, h);
    UNROLL for (int r = 0; r < GRADIENTS; r++)
    {
        EACH_VECTOR { h[r][i] *= scale; }
        const float first = h[r][0][0];
        EACH_VECTOR { h[r][i] = NORMALIZED(i, h[r], first, mean[r], inverse[r], valid); }
    }
}

/* dz of one position, each lane in one vector only, from its gradient where ReLU lets it through; returns the
 * sum of its vectors. */
INLINE vec position_gradient(const vec *h, vec fresh, float r, vec *dz)
{
    vec sum = (vec)0.0f;
    float mean, mean_product;
#define GRADIENT(i) dz[i]
#define NORMAL(i) h[i]
    MEASURE_GRADIENT(GRADIENT, NORMAL, fresh, mean, mean_product)
#undef GRADIENT
#undef NORMAL
    EACH_VECTOR
    {
        dz[i] = COUNTED(i, (dz[i] - mean - h[i] * mean_product) * r, fresh);
        sum += dz[i];
    }
    return sum;
}

/* Adds the products of one position's dz with what each tap reads to `sums`. */
INLINE void add_products(__global const float *restrict x, __global const int *restrict taps, int channels,
                         int groups, int x_plane, vec (*dz)[VECTORS], __local float *restrict sums)
{
    for (int c = 0; c < channels; c++) {
        for (int t = 0; t < groups * 3; t += 3) {
            __global const float *from = x + (size_t)c * x_plane;
            const int tap0 = taps[t], tap1 = taps[t + 1], tap2 = taps[t + 2];
            vec s[GRADIENTS][3];
            UNROLL for (int r = 0; r < GRADIENTS * 3; r++) { s[r / 3][r % 3] = (vec)0.0f; }
            EACH_VECTOR
            {
                const vec b0 = load(from + tap0 + START(i)), b1 = load(from + tap1 + START(i)),
                          b2 = load(from + tap2 + START(i));
                UNROLL for (int r = 0; r < GRADIENTS; r++)
                {
                    s[r][0] = fma(dz[r][i], b0, s[r][0]);
                    s[r][1] = fma(dz[r][i], b1, s[r][1]);
                    s[r][2] = fma(dz[r][i], b2, s[r][2]);
                }
            }
            UNROLL for (int r = 0; r < GRADIENTS * 3; r++)
            {
                store_local(load_local(sums + r * WIDTH) + s[r / 3][r % 3], sums + r * WIDTH);
            }
            sums += GRADIENTS * 3 * WIDTH;
        }
    }
}

/* g and feedback as in batch_norm_backward. With mean_base > 0 h is made again from x and `weights`. ReLU lets
 * through where `slope`, which has strides of its own, is positive; with own_slope where h is. Sums of a part of
 * the rows for GRADIENTS outputs: `partial` [part][output][tap][channel]; `bias_partial`
 * [output][row] gets the sums of dz. Taps come in groups of three, the last one repeated where it is not full;
 * `sums` takes [channel][group][GRADIENTS][3] vectors. */
KERNEL void shallow_gradient(__global const float *restrict g, __global const float *restrict feedback,
                             __global const float *h, __global const float *slope,
                             __global const float *restrict inverse, __global const float *restrict x,
                             __global const float *restrict weights, __global float *restrict partial,
                             __global float *restrict bias_partial, __global const int *restrict taps,
                             int classes, float g_scale, float scale, int rectify, int own_slope,
                             int mean_base, int weight_base, int channels, int taps_count, int outs, int rows,
                             int columns, int g_plane, int g_row, int g_column, int h_plane, int h_row,
                             int slope_base, int slope_plane, int slope_row, int x_base, int x_plane,
                             int x_row, int x_column, __local float *restrict sums)
{
    const int first = get_group_id(0) * GRADIENTS, part = get_group_id(1), parts = get_num_groups(1);
    const int groups = (taps_count + 2) / 3, row_end = rows * (part + 1) / parts;
    const vec fresh = fresh_lanes(), valid = valid_lanes();
    for (int i = 0; i < channels * groups * GRADIENTS * 3; i++) {
        store_local((vec)0.0f, sums + i * WIDTH);
    }
    for (int row = rows * part / parts; row < row_end; row++) {
        vec bias[GRADIENTS];
        UNROLL for (int r = 0; r < GRADIENTS; r++) { bias[r] = (vec)0.0f; }
        for (int column = 0; column < columns; column++) {
            vec dz[GRADIENTS][VECTORS];
            __global const float *xp = x + x_base + row * x_row + column * x_column;
            size_t position[GRADIENTS];
            vec v[GRADIENTS][VECTORS];
            float own_mean[GRADIENTS], own_inverse[GRADIENTS];
            UNROLL for (int r = 0; r < GRADIENTS; r++)
            {
                position[r] = ((size_t)min(first + r, outs - 1) * rows + row) * columns + column;
                own_inverse[r] = inverse[position[r]];
                own_mean[r] = inverse[mean_base + position[r]];
            }
            if (mean_base > 0) {
                remake(xp, weights + weight_base + first / OUTS * channels * taps_count * OUTS + first % OUTS, taps,
                       channels, taps_count, x_plane, scale, own_mean, own_inverse, valid, v);
            }
            UNROLL for (int r = 0; r < GRADIENTS; r++)
            {
                const size_t output = min(first + r, outs - 1);
                if (mean_base == 0) {
                    __global const float *from = h + output * h_plane + row * h_row + column * LANES;
                    EACH_VECTOR { v[r][i] = load(from + START(i)); }
                }
                output_gradient(classes > 0 ? g : g + output * g_plane + row * g_row + column * g_column,
                                g_scale, feedback + position[r] * classes, classes, dz[r]);
                if (own_slope) {
                    EACH_VECTOR { dz[r][i] = SLOPED(dz[r][i], v[r][i], rectify); }
                } else {
                    __global const float *from =
                        slope + slope_base + output * slope_plane + row * slope_row + column * LANES;
                    EACH_VECTOR { dz[r][i] = SLOPED(dz[r][i], load(from + START(i)), rectify); }
                }
                bias[r] += position_gradient(v[r], fresh, own_inverse[r] * scale, dz[r]);
            }
            add_products(xp, taps, channels, groups, x_plane, dz, sums);
        }
        for (int r = 0; r < GRADIENTS && first + r < outs; r++) {
            bias_partial[(size_t)(first + r) * rows + row] = sum_lanes(bias[r]);
        }
    }
    for (int r = 0; r < GRADIENTS && first + r < outs; r++) {
        __global float *to = partial + ((size_t)part * outs + first + r) * taps_count * channels;
        for (int t = 0; t < taps_count; t++) {
            for (int c = 0; c < channels; c++) {
                const int place = ((c * groups + t / 3) * GRADIENTS + r) * 3 + t % 3;
                to[t * channels + c] = sum_lanes(load_local(sums + place * WIDTH));
            }
        }
    }
}
