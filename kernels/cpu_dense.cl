/* Dense layers on CPUs: a product with the batch norm and ReLU that follow it, forward and back, in one launch, which
 * small layers take less time for than for starting another. A work-item has whole rows of the product: all items of a
 * channel.
 */
#include "batch_lanes.cl"
#include "matrix_blocks.cl"

/* z = scale W x of W [m][k] at weight_base and x [k][n], rows LANES apart, n at least the batch; and as
 * batch_norm_forward (cpu_batch_norm.cl) h, in z's place, a [m] at a_base, rows a_plane apart, and `inverse`; with
 * keep_h 0 it is not said what z holds. Lanes of z past n are zero. `columns` as multiply_all_rows says. */
KERNEL void dense_forward(__global const float *restrict weights, __global const float *restrict x,
                          __global float *restrict z, __global float *restrict a,
                          __global float *restrict inverse, int m, int n, int k, int weight_base, int bias_base,
                          float scale, int k_block, __local float *restrict columns, float epsilon,
                          int normalize, int rectify, int keep_h, int streams, int a_base, int a_plane)
{
    const int begin = first_row(get_group_id(0), m, ROWS), end = first_row(get_group_id(0) + 1, m, ROWS);
    multiply_all_rows(weights + weight_base, k, x, LANES, z, LANES, begin, end, n, k, scale, k_block,
                      columns);
    for (int c = begin; c < end; c++) {
        __global float *h = z + (size_t)c * LANES;
        /* Batch norm takes a constant away again: leaving it out keeps its rounding out of h. */
        const float b = normalize ? 0.0f : weights[bias_base + c];
        inverse[c] = activate_position(h, h, a + a_base + (size_t)c * a_plane, 1.0f, 1.0f, b, epsilon,
                                       normalize, rectify, keep_h, streams);
    }
}

/* g = scale W^T dz_above of the weights W [k][m] of the layer above, at weight_base, and dz_above [k][n]; and as
 * batch_norm_backward (cpu_batch_norm.cl) dz of this layer's m channels from it, h and slope_h. Rows are LANES apart,
 * of dz, which starts at dz_base, dz_plane. Lanes of g past n are zero. `packed` as multiply_all_columns says. */
KERNEL void dense_backward(__global const float *restrict weights, __global const float *restrict dz_above,
                           __global float *restrict g, __global const float *h, __global const float *slope_h,
                           __global const float *restrict inverse, __global float *restrict dz,
                           __global float *restrict bias_partial, int m, int n, int k, int weight_base,
                           float scale, int k_block, __local float *restrict packed, int normalize, int rectify,
                           int streams, int dz_base, int dz_plane)
{
    const int begin = first_row(get_group_id(0), m, PACKED_ROWS);
    const int end = first_row(get_group_id(0) + 1, m, PACKED_ROWS);
    multiply_all_columns(weights + weight_base, m, dz_above, LANES, g, LANES, begin, end, n, k, scale, k_block,
                         packed);
    for (int c = begin; c < end; c++) {
        const size_t at = (size_t)c * LANES;
        vec bias_sum = (vec)0.0f;
        activate_position_backward(g + at, 1.0f, g, 0, h + at, slope_h + at, inverse[c],
                                   dz + dz_base + (size_t)c * dz_plane, normalize, rectify, streams, &bias_sum);
        bias_partial[c] = sum_lanes(bias_sum);
    }
}
