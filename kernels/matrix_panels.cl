/* Products with a transpose, c = a b^T, behind vector.cl: shared by cpu_matrix.cl and cpu_dense_update.cl. A panel of
 * columns of b^T is packed into local memory; c lies in PANEL_RESULT, `global` or `local`, which is defined before.
 */
#include "matrix_blocks.cl"

/* A panel of b^T packed, a as it is. */
#define DEFINE_panel(N)                                                                                      \
    DEFINE_MULTIPLY(panel##N, N, 0, global, a_row, 1, local, PANEL_RESULT, NOTHING_BESIDE)
#define CALL_panel(N) CALL_MULTIPLY(panel, N)
EACH_NUMBER(DEFINE_panel)

INLINE void multiply_panel(__global const float *restrict a, int a_row, int rows,
                           __local const float *restrict b, int k, PANEL_RESULT float *restrict c, int c_row,
                           int count, int is_first, float factor)
{
    const int b_row = PANEL;
    __local float *packed = 0;
    switch ((count + WIDTH - 1) / WIDTH) {
        EACH_NUMBER(CALL_panel)
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
