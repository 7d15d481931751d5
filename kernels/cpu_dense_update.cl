/* The weight gradient of a dense layer and the optimizer's step with it in one launch on CPUs: the gradient is never
 * written, which large layers take longer for than for its sums. What stands before this file: update.cl.
 */
#define PANEL_RESULT local
#include "matrix_panels.cl"

/* The step of the layer's weights [m][n] at weight_base with g = scale dz x^T, of dz [m][k] and x [n][k], rows `lanes`
 * apart, n at least WIDTH, and of its biases at bias_base with the sums of dz's rows, which are written into
 * `gradients`. `panel` takes k x PANEL values of x, `tile` ROWS x PANEL of g. A work-item has a range of rows and a block
 * of columns. Nothing changes once a loss was not finite (step.cl, output_error). */
KERNEL void update_dense(__global const float *restrict dz, __global const float *restrict x,
                         __global float *restrict weights, __global float *restrict gradients,
                         __global float *restrict state, __global const int *restrict halted, int m, int n,
                         int k, int lanes, int weight_base, int bias_base, float scale, int state_stride,
                         __local float *restrict panel, __local float *restrict tile UPDATE_SCALARS)
{
    if (halted[0]) {
        return;
    }
    const int row_begin = first_row(get_group_id(0), m, ROWS);
    const int row_end = first_row(get_group_id(0) + 1, m, ROWS), blocks = get_num_groups(1);
    if (get_group_id(1) == 0) {
        sum_rows(dz, lanes, row_begin, row_end, k, gradients + bias_base);
        for (int i = bias_base + row_begin; i < bias_base + row_end; i++) {
            update_parameter(weights, state, state_stride, i, gradients[i] UPDATE_VALUES);
        }
    }
    const int column = block_start(get_group_id(1), blocks, n, 0);
    const int count = block_start(get_group_id(1) + 1, blocks, n, 0) - column;
    pack_transpose(x + (size_t)column * lanes, lanes, count, k, panel, PANEL);
    for (int row = row_begin; row < row_end; row += ROWS) {
        const int rows = min(ROWS, row_end - row), first = weight_base + row * n + column;
        for (int r = 0; r < rows; r++) {
            for (int j = 0; j < count; j += WIDTH) {
                const int at = first + r * n + j;
                PREFETCH(weights + at)
                UNROLL for (int i = 0; i < UPDATE_STATES; i++) { PREFETCH(state + (size_t)i * state_stride + at) }
            }
        }
        multiply_panel(dz + (size_t)row * lanes, lanes, rows, panel, k, tile, PANEL, count, 1, scale);
        for (int r = 0; r < rows; r++) {
            for (int j = 0; j < count; j++) {
                update_parameter(weights, state, state_stride, first + r * n + j,
                                 tile[r * PANEL + j] UPDATE_VALUES);
            }
        }
    }
}
