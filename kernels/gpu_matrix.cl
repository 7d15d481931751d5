/* Matrix products on GPUs, row-major: c = alpha op(a) op(b), for products too small or too
 * thin for CLBlast to pay (a readout, direct feedback). A group has ROWS x COLUMNS work-items with
 * 2 x 2 values each and walks the inner index in slices through local memory.
 */
#ifndef ROWS
#define ROWS 16
#define COLUMNS 16
#endif
#define GROUP (ROWS * COLUMNS)
#define SLICE 16
#define TILE_M (2 * ROWS)
#define TILE_N (2 * COLUMNS)

/* Element (i, p) of a at i * a_row + p * a_column, (p, j) of b at p * b_row + j * b_column. What
 * lies side by side in memory is read by neighbours. */
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
product(__global const float *restrict a, __global const float *restrict b,
        __global float *restrict c, int m, int n, int k, int a_base, int a_row, int a_column,
        int b_base, int b_row, int b_column, int c_base, int c_row, float alpha)
{
    __local float a_tile[SLICE * (TILE_M + 1)], b_tile[SLICE * (TILE_N + 1)];
    const uint item = get_local_id(0);
    const int row = item / COLUMNS, column = item % COLUMNS;
    const int column_tiles = (n + TILE_N - 1) / TILE_N;
    const int group = get_group_id(0), row_tile = group / column_tiles;
    const int i0 = row_tile * TILE_M, j0 = (group - row_tile * column_tiles) * TILE_N;
    float s00 = 0.0f, s01 = 0.0f, s10 = 0.0f, s11 = 0.0f;
    for (int p0 = 0; p0 < k; p0 += SLICE) {
        for (uint e = item; e < SLICE * TILE_M; e += GROUP) {
            const int p = a_column == 1 ? e % SLICE : e / TILE_M;
            const int i = a_column == 1 ? e / SLICE : e % TILE_M;
            a_tile[p * (TILE_M + 1) + i] =
                p0 + p < k && i0 + i < m
                    ? a[a_base + (size_t)(i0 + i) * a_row + (size_t)(p0 + p) * a_column]
                    : 0.0f;
        }
        for (uint e = item; e < SLICE * TILE_N; e += GROUP) {
            const int p = b_column == 1 ? e / TILE_N : e % SLICE;
            const int j = b_column == 1 ? e % TILE_N : e / SLICE;
            b_tile[p * (TILE_N + 1) + j] =
                p0 + p < k && j0 + j < n
                    ? b[b_base + (size_t)(p0 + p) * b_row + (size_t)(j0 + j) * b_column]
                    : 0.0f;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int p = 0; p < SLICE; p++) {
            const float a0 = a_tile[p * (TILE_M + 1) + row],
                        a1 = a_tile[p * (TILE_M + 1) + ROWS + row];
            const float b0 = b_tile[p * (TILE_N + 1) + column];
            const float b1 = b_tile[p * (TILE_N + 1) + COLUMNS + column];
            s00 = fma(a0, b0, s00);
            s01 = fma(a0, b1, s01);
            s10 = fma(a1, b0, s10);
            s11 = fma(a1, b1, s11);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const float s[4] = {s00, s01, s10, s11};
    for (int q = 0; q < 4; q++) {
        const int i = i0 + row + q / 2 * ROWS, j = j0 + column + q % 2 * COLUMNS;
        if (i < m && j < n) {
            c[c_base + (size_t)i * c_row + j] = alpha * s[q];
        }
    }
}
