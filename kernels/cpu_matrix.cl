/* Matrix products on CPUs, row-major: c = alpha op(a) b and c = alpha a b^T; for the latter a panel of columns
 * of b^T is packed into local memory. Blocks, stretches and the order of sums: matrix_blocks.cl.
 */
#include "matrix_blocks.cl"

/* A panel of b^T packed, a as it is. */
#define DEFINE_panel(N)                                                                                      \
    DEFINE_MULTIPLY(panel##N, N, 0, __global, a_row, 1, __local, load_local, NOTHING_BESIDE)
#define CALL_panel(N) CALL_MULTIPLY(panel, N)
EACH_NUMBER(DEFINE_panel)

INLINE void multiply_panel(__global const float *restrict a, int a_row, int rows,
                           __local const float *restrict b, int k, __global float *restrict c, int c_row,
                           int count, int is_first, float factor)
{
    const int b_row = PANEL;
    __local float *packed = 0;
    switch ((count + WIDTH - 1) / WIDTH) {
        EACH_NUMBER(CALL_panel)
    }
}

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

/* to [length][to_row] = the transpose of `count` rows; with fewer than WIDTH the last one repeats. */
INLINE void pack_transpose(__global const float *restrict from, int from_row, int count, int length,
                           __local float *restrict to, int to_row)
{
    if (length < WIDTH) {
        for (int j = 0; j < count; j++) {
            for (int p = 0; p < length; p++) {
                to[p * to_row + j] = from[(size_t)j * from_row + p];
            }
        }
        return;
    }
    for (int j = 0; j < count; j += WIDTH) {
        const int first = max(0, min(j, count - WIDTH));
        for (int p = 0; p < length; p += WIDTH) {
            const int at = min(p, length - WIDTH);
            vec r[WIDTH];
            UNROLL for (int i = 0; i < WIDTH; i++)
            {
                __global const float *row = from + (size_t)min(first + i, count - 1) * from_row + at;
                PREFETCH(row + (size_t)PACK_AHEAD * from_row)
                r[i] = load(row);
            }
            transpose(r);
            UNROLL for (int i = 0; i < WIDTH; i++) { store_local(r[i], to + (at + i) * to_row + first); }
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

/* The sums of rows first to end - 1, each in the order of its elements: WIDTH rows in the lanes of a vector. */
INLINE void sum_rows(__global const float *restrict a, int a_row, int first, int end, int k,
                     __global float *restrict sums)
{
    for (int row = first; row < end; row += WIDTH) {
        vec sum = (vec)0.0f;
        for (int p = 0; p + WIDTH <= k; p += WIDTH) {
            vec r[WIDTH];
            UNROLL for (int i = 0; i < WIDTH; i++)
            {
                r[i] = load(a + (size_t)min(row + i, end - 1) * a_row + p);
            }
            transpose(r);
            UNROLL for (int i = 0; i < WIDTH; i++) { sum += r[i]; }
        }
        for (int i = 0; i < WIDTH && row + i < end; i++) {
            float s = sum[i];
            for (int p = k / WIDTH * WIDTH; p < k; p++) {
                s += a[(size_t)(row + i) * a_row + p];
            }
            sums[row + i] = s;
        }
    }
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
