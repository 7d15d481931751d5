/* Matrix products on CPUs, row-major: c = alpha op(a) b and c = alpha a b^T; for the latter a panel of columns
 * of b^T is packed into local memory. Blocks, stretches and the order of sums: matrix_blocks.cl, matrix_panels.cl.
 */
#define PANEL_RESULT global
#include "matrix_panels.cl"

/* Fewer columns than a vector has: one element after the other. */
INLINE void multiply_narrow(__global const float *a, size_t a_row, size_t a_column,
                            __global const float *b, size_t b_row, size_t b_column, __global float *c,
                            int c_row, int row_begin, int row_end, int n, int k, float alpha)
{
    for (int i = row_begin; i < row_end; i++) {
        for (int j = 0; j < n; j++) {
            float s = 0.0f;
            for (int p = 0; p < k; p++) {
                s = fma(a[i * a_row + p * a_column], b[p * b_row + j * b_column], s);
            }
            c[(size_t)i * c_row + j] = alpha * s;
        }
    }
}

/* c [m][n] = alpha a [m][k] b [k][n]; `columns` takes k_block x PIECE values of b. */
KERNEL void product(__global const float *restrict a, __global const float *restrict b,
                    __global float *restrict c, int m, int n, int k, int a_base, int a_row, int b_base,
                    int b_row, int c_base, int c_row, float alpha, int k_block,
                    __local float *restrict columns)
{
    const int row_begin = first_row(get_group_id(0), m, ROWS);
    const int row_end = first_row(get_group_id(0) + 1, m, ROWS);
    if (n < WIDTH) {
        multiply_narrow(a + a_base, a_row, 1, b + b_base, b_row, 1, c + c_base, c_row, row_begin, row_end, n,
                        k, alpha);
    } else {
        multiply_all_rows(a + a_base, a_row, b + b_base, b_row, c + c_base, c_row, row_begin, row_end, n, k,
                          alpha, k_block, columns);
    }
}

/* c [m][n] = alpha a^T b, a [k][m], b [k][n]; `packed` takes k_block x PACKED_ROWS values of a. */
KERNEL void product_of_transpose(__global const float *restrict a, __global const float *restrict b,
                                 __global float *restrict c, int m, int n, int k, int a_base, int a_row,
                                 int b_base, int b_row, int c_base, int c_row, float alpha, int k_block,
                                 __local float *restrict packed)
{
    const int row_begin = first_row(get_group_id(0), m, PACKED_ROWS);
    const int row_end = first_row(get_group_id(0) + 1, m, PACKED_ROWS);
    if (n < WIDTH) {
        multiply_narrow(a + a_base, 1, a_row, b + b_base, b_row, 1, c + c_base, c_row, row_begin, row_end, n,
                        k, alpha);
        return;
    }
    multiply_all_columns(a + a_base, a_row, b + b_base, b_row, c + c_base, c_row, row_begin, row_end, n, k, alpha,
                         k_block, packed);
}

/* c [m][n] = alpha a b^T, a [m][k], b [n][k], and with sums_base >= 0 from there on the sums of a's rows. A
 * work-item has a range of rows and a block of columns; `panel` takes k_block x PANEL values of b. */
KERNEL void product_with_transpose(__global const float *restrict a, __global const float *restrict b,
                                   __global float *c, int m, int n, int k, int a_base, int a_row, int b_base,
                                   int b_row, int c_base, int c_row, float alpha, int k_block,
                                   __local float *restrict panel, __global float *sums, int sums_base)
{
    const int row_begin = first_row(get_group_id(0), m, ROWS);
    const int row_end = first_row(get_group_id(0) + 1, m, ROWS), blocks = get_num_groups(1);
    if (sums_base >= 0 && get_group_id(1) == 0) {
        sum_rows(a + a_base, a_row, row_begin, row_end, k, sums + sums_base);
    }
    if (n < WIDTH) {
        multiply_narrow(a + a_base, a_row, 1, b + b_base, 1, b_row, c + c_base, c_row, row_begin, row_end, n,
                        k, alpha);
        return;
    }
    const int column = block_start(get_group_id(1), blocks, n, 0);
    const int count = block_start(get_group_id(1) + 1, blocks, n, 0) - column;
    for (int p = 0; p < k; p += k_block) {
        const int length = min(k_block, k - p);
        pack_transpose(b + b_base + (size_t)column * b_row + p, b_row, count, length, panel, PANEL);
        for (int row = row_begin; row < row_end; row += ROWS) {
            multiply_panel(a + a_base + (size_t)row * a_row + p, a_row, min(ROWS, row_end - row), panel, length,
                           c + c_base + (size_t)row * c_row + column, c_row, count, p == 0,
                           p + length < k ? 1.0f : alpha);
        }
    }
}
