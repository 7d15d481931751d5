/* Small matrix products on CPUs, row-major: c = alpha op(a) b + beta c (b not transposed) with
 * vectors over the columns of b, and c = alpha a b^T + beta c with vectors over the inner index.
 * Good for a readout or direct feedback; large square products are CLBlast's.
 */
#ifndef OUTS
#define OUTS 8
#endif
#define BLOCK (3 * WIDTH)

/* c[m][n]: a-element (i, p) at a[i * a_row + p * a_column]; b is [k][n]. Columns that do not
 * fill a vector go one by one. */
KERNEL void product(__global const float *restrict a, __global const float *restrict b,
                    __global float *restrict c, int m, int n, int k, int a_base, int a_row,
                    int a_column, int b_base, int b_row, int c_base, int c_row, float alpha,
                    float beta)
{
    const int row = get_group_id(0) * OUTS, rows = min(OUTS, m - row);
    __global const float *ap[OUTS];
    UNROLL for (int i = 0; i < OUTS; i++)
    {
        ap[i] = a + a_base + (size_t)(row + min(i, rows - 1)) * a_row;
    }
    int column = get_group_id(1) * BLOCK;
    const int column_end = min(column + BLOCK, n);
    for (; column + WIDTH <= column_end; column += WIDTH) {
        vec s[OUTS];
        UNROLL for (int i = 0; i < OUTS; i++) { s[i] = (vec)0.0f; }
        __global const float *bp = b + b_base + column;
        for (int p = 0; p < k; p++) {
            vec v = load(bp + (size_t)p * b_row);
            UNROLL for (int i = 0; i < OUTS; i++) { s[i] = fma((vec)ap[i][(size_t)p * a_column], v, s[i]); }
        }
        for (int i = 0; i < rows; i++) {
            __global float *cp = c + c_base + (size_t)(row + i) * c_row + column;
            vec value = alpha * s[i];
            if (beta != 0.0f) {
                value += beta * load(cp);
            }
            store(value, cp);
        }
    }
    for (; column < column_end; column++) {
        for (int i = 0; i < rows; i++) {
            float s = 0.0f;
            for (int p = 0; p < k; p++) {
                s = fma(ap[i][(size_t)p * a_column], b[b_base + (size_t)p * b_row + column], s);
            }
            __global float *cp = c + c_base + (size_t)(row + i) * c_row + column;
            *cp = alpha * s + (beta != 0.0f ? beta * *cp : 0.0f);
        }
    }
}

/* c[m][n] = alpha * sum over p of a[i][p] b[j][p] + beta c; rows of a and b are contiguous. */
KERNEL void product_transposed(__global const float *restrict a, __global const float *restrict b,
                               __global float *restrict c, int m, int n, int k, int a_base,
                               int a_row, int b_base, int b_row, int c_base, int c_row, float alpha,
                               float beta)
{
    const int i = get_group_id(0);
    const int j0 = get_group_id(1) * OUTS, columns = min(OUTS, n - j0);
    __global const float *ap = a + a_base + (size_t)i * a_row;
    vec s[OUTS];
    float rest[OUTS];
    __global const float *bp[OUTS];
    UNROLL for (int j = 0; j < OUTS; j++)
    {
        s[j] = (vec)0.0f;
        rest[j] = 0.0f;
        bp[j] = b + b_base + (size_t)(j0 + min(j, columns - 1)) * b_row;
    }
    int p = 0;
    for (; p + WIDTH <= k; p += WIDTH) {
        vec v = load(ap + p);
        UNROLL for (int j = 0; j < OUTS; j++) { s[j] = fma(v, load(bp[j] + p), s[j]); }
    }
    for (; p < k; p++) {
        UNROLL for (int j = 0; j < OUTS; j++) { rest[j] = fma(ap[p], bp[j][p], rest[j]); }
    }
    for (int j = 0; j < columns; j++) {
        __global float *cp = c + c_base + (size_t)i * c_row + j0 + j;
        *cp = alpha * (sum_lanes(s[j]) + rest[j]) + (beta != 0.0f ? beta * *cp : 0.0f);
    }
}
