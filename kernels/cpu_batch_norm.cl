/* Batch norm per position and channel over the batch axis, ReLU and their gradients, on CPUs.
 *
 * z and h are [channel][row][column][LANES] without border, a (the activity that other layers read)
 * has a border, whose zeros are never touched. Values of one position stay in registers between one
 * read and one write. The mean is taken relative to the first lane, so that a position that is
 * constant over the batch gives h == 0 exactly, whatever its bias. With `streams` what other kernels read next
 * goes past the caches.
 */
#include "batch_lanes.cl"

/* h = (scale z + bias - mean) / sqrt(var + epsilon), a = max(h, 0); with `normalize` 0 h = scale z +
 * bias. Keeps 1/sqrt(..) in `inverse` for the way back. h may be z. keep_h 0: h is not written. With
 * map_base >= 0, places that `map` marks, from there on [row][column], as constant over the batch give
 * h == 0: there z may hold rounding noise of neighbours (Winograd). */
KERNEL void batch_norm_forward(__global const float *restrict z, __global float *h,
                               __global float *restrict a, __global float *restrict inverse,
                               __global const float *restrict weights,
                               __global const uchar *map, int map_base, int bias_base, float scale,
                               float epsilon, int normalize, int rectify, int keep_h, int streams,
                               int columns, int z_plane, int z_row, int a_base, int a_plane, int a_row)
{
    const int c = get_group_id(0), row = get_group_id(1), rows = get_num_groups(1);
    /* Batch norm takes a constant away again: leaving it out keeps its rounding out of h. */
    const float b = normalize ? 0.0f : weights[bias_base + c];
    for (int column = 0; column < columns; column++) {
        const size_t at = (size_t)c * z_plane + row * z_row + column * LANES;
        const float keep = map_base >= 0 && map[map_base + row * columns + column] ? 0.0f : 1.0f;
        inverse[((size_t)c * rows + row) * columns + column] =
            activate_position(z + at, h + at, a + (size_t)c * a_plane + a_base + row * a_row + column * LANES,
                              keep, scale, b, epsilon, normalize, rectify, keep_h, streams);
    }
}

/* Back through ReLU and batch norm, written with a border for the next product. g has strides of its own: after
 * pooling all positions of a channel share one; or with classes > 0 it is the output error, of which `feedback`
 * [channel][row][column][class] brings each position its own. `bias_partial` gets the sum of dz over each row. */
KERNEL void batch_norm_backward(__global const float *restrict g, __global const float *restrict feedback,
                                __global const float *h,
                                __global const float *slope_h, __global const float *restrict inverse,
                                __global float *restrict dz, __global float *restrict bias_partial,
                                int classes, float g_scale, float scale, int normalize, int rectify, int streams, int columns,
                                int g_plane, int g_row, int g_column, int h_plane, int h_row,
                                int dz_base, int dz_plane, int dz_row)
{
    const int c = get_group_id(0), row = get_group_id(1), rows = get_num_groups(1);
    vec bias_sum = (vec)0.0f;
    for (int column = 0; column < columns; column++) {
        const size_t position = ((size_t)c * rows + row) * columns + column;
        const size_t hi = (size_t)c * h_plane + row * h_row + column * LANES;
        __global const float *gp =
            classes > 0 ? g : g + (size_t)c * g_plane + row * g_row + column * g_column;
        activate_position_backward(gp, g_scale, feedback + position * classes, classes, h + hi, slope_h + hi,
                                   inverse[position] * scale,
                                   dz + (size_t)c * dz_plane + dz_base + row * dz_row + column * LANES,
                                   normalize, rectify, streams, &bias_sum);
    }
    bias_partial[(size_t)c * rows + row] = sum_lanes(bias_sum);
}

#define POOLED (VECTORS < 8 ? VECTORS : 8) /* vectors summed up at a time */

/* pooled[c] = mean of a[c] over rows and columns, for each lane. */
KERNEL void pool(__global const float *restrict a, __global float *restrict pooled, int rows,
                 int columns, int a_base, int a_plane, int a_row)
{
    const int c = get_group_id(0);
    const float share = 1.0f / (rows * columns);
    for (int first = 0; first < VECTORS; first += POOLED) {
        vec sum[POOLED];
        UNROLL for (int i = 0; i < POOLED; i++) { sum[i] = (vec)0.0f; }
        for (int row = 0; row < rows; row++) {
            for (int column = 0; column < columns; column++) {
                __global const float *p =
                    a + (size_t)c * a_plane + a_base + row * a_row + column * LANES;
                UNROLL for (int i = 0; i < POOLED; i++)
                {
                    sum[i] += load(p + START(min(first + i, VECTORS - 1)));
                }
            }
        }
        UNROLL for (int i = 0; i < POOLED; i++)
        {
            store(sum[i] * share, pooled + c * LANES + START(min(first + i, VECTORS - 1)));
        }
    }
}
