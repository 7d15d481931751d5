/* A dense layer's way forward on CPUs: its product, batch norm and ReLU in one launch, which small layers take
 * less time for than for starting another. A work-item has whole rows of the product: all items of a channel.
 */
#include "batch_lanes.cl"
#include "matrix_blocks.cl"

/* z = scale W x of W [m][k] at weight_base and x [k][n], rows LANES apart, n at least the batch; and as
 * batch_norm_forward (cpu_batch_norm.cl) h, in z's place, a [m] at a_base, rows a_plane apart, and `inverse`; with
 * keep_h 0 it is not said what z holds. Lanes of z past n are zero. */
KERNEL void dense_forward(__global const float *restrict weights, __global const float *restrict x,
                          __global float *restrict z, __global float *restrict a,
                          __global float *restrict inverse, int m, int n, int k, int weight_base, int bias_base,
                          float scale, int k_block, float epsilon, int normalize, int rectify, int keep_h,
                          int streams, int a_base, int a_plane)
{
    const int begin = first_row(get_group_id(0), m, ROWS), end = first_row(get_group_id(0) + 1, m, ROWS);
    multiply_all_rows(weights + weight_base, k, x, LANES, z, LANES, begin, end, n, k, scale, k_block);
    for (int c = begin; c < end; c++) {
        __global float *h = z + (size_t)c * LANES;
        /* Batch norm takes a constant away again: leaving it out keeps its rounding out of h. */
        const float b = normalize ? 0.0f : weights[bias_base + c];
        inverse[c] = activate_position(h, h, a + a_base + (size_t)c * a_plane, 1.0f, 1.0f, b, epsilon,
                                       normalize, rectify, keep_h, streams);
    }
}
