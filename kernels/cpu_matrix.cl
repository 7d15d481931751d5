/* Matrix products on CPUs, row-major: c = alpha op(a) b and c = alpha a b^T.
 *
 * A block of ROWS rows times up to MOST_VECTORS vectors of columns stays in registers while the inner index
 * runs; the vectors run over columns of c. What would be read across rows is packed into local memory
 * first: a block of rows of a that is used as its transpose, a panel of columns of b^T. The inner index is
 * cut into stretches of k_block, so that what is packed, and the part of b that all rows read, stay in L1 and
 * L2; between stretches c holds the sums.
 *
 * Every element of c is one sum in the order of the inner index, however the work is cut.
 */
#ifndef OUTS
#define OUTS 8
#endif
#if OUTS >= 8 /* 32 registers */
#define MOST_VECTORS 7
#define EACH_NUMBER(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#else
#define MOST_VECTORS 3
#define EACH_NUMBER(DO) DO(1) DO(2) DO(3)
#endif
#define ROWS 4
#define PACKED_ROWS 16 /* of a: what lies in one cache line where it is used as its transpose */
#define PACK_AHEAD 16  /* rows: no hardware fetches lines that lie so far apart */
#define PANEL (MOST_VECTORS * WIDTH)

/* c [ROWS][NUMBER vectors] (+)= a b for one stretch of the inner index, times `factor`. The last of `count`
 * columns ends the last vector, which may repeat columns of the one before. */
#define DEFINE_MULTIPLY(NAME, NUMBER, A, B, LOAD)                                                            \
    CALLED void NAME##NUMBER(A const float *restrict a, int a_row, int a_column, int rows,                   \
                             B const float *restrict b, int b_row, int k, __global float *restrict c,        \
                             int c_row, int count, int is_first, float factor)                               \
    {                                                                                                        \
        vec s[ROWS][NUMBER];                                                                                 \
        A const float *ap[ROWS];                                                                             \
        const int last = count - WIDTH;                                                                      \
        UNROLL for (int r = 0; r < ROWS; r++)                                                                \
        {                                                                                                    \
            ap[r] = a + (size_t)min(r, rows - 1) * a_row;                                                    \
            __global const float *from = c + (size_t)min(r, rows - 1) * c_row;                               \
            UNROLL for (int q = 0; q < NUMBER; q++)                                                          \
            {                                                                                                \
                s[r][q] = is_first ? (vec)0.0f : load(from + (q < NUMBER - 1 ? q * WIDTH : last));           \
            }                                                                                                \
        }                                                                                                    \
        for (int p = 0; p < k; p++) {                                                                        \
            UNROLL for (int q = 0; q < NUMBER; q++)                                                          \
            {                                                                                                \
                const vec v = LOAD(b + (q < NUMBER - 1 ? q * WIDTH : last));                                 \
                UNROLL for (int r = 0; r < ROWS; r++) { s[r][q] = fma((vec)*ap[r], v, s[r][q]); }            \
            }                                                                                                \
            b += b_row;                                                                                      \
            UNROLL for (int r = 0; r < ROWS; r++) { ap[r] += a_column; }                                     \
        }                                                                                                    \
        UNROLL for (int r = 0; r < ROWS; r++)                                                                \
        {                                                                                                    \
            if (r < rows) {                                                                                  \
                UNROLL for (int q = 0; q < NUMBER; q++)                                                      \
                {                                                                                            \
                    store(factor * s[r][q], c + (size_t)r * c_row + (q < NUMBER - 1 ? q * WIDTH : last));    \
                }                                                                                            \
            }                                                                                                \
        }                                                                                                    \
    }

/* As many vectors as `count` columns, at least WIDTH of them, fill. */
#define CALL_MULTIPLY(NAME, NUMBER)                                                                          \
    case NUMBER:                                                                                             \
        NAME##NUMBER(a, a_row, a_column, rows, b, b_row, k, c, c_row, count, is_first, factor);              \
        break;
#define DEFINE_MULTIPLY_ANY(NAME, A, B)                                                                      \
    INLINE void NAME(A const float *restrict a, int a_row, int a_column, int rows,                           \
                     B const float *restrict b, int b_row, int k, __global float *restrict c, int c_row,     \
                     int count, int is_first, float factor)                                                  \
    {                                                                                                        \
        switch ((count + WIDTH - 1) / WIDTH) {                                                               \
            EACH_NUMBER(CALL_##NAME)                                                                         \
        }                                                                                                    \
    }

#define DEFINE_multiply(NUMBER) DEFINE_MULTIPLY(multiply, NUMBER, __global, __global, load)
#define CALL_multiply(NUMBER) CALL_MULTIPLY(multiply, NUMBER)
EACH_NUMBER(DEFINE_multiply)
DEFINE_MULTIPLY_ANY(multiply, __global, __global)

#define DEFINE_multiply_packed(NUMBER) DEFINE_MULTIPLY(multiply_packed, NUMBER, __local, __global, load)
#define CALL_multiply_packed(NUMBER) CALL_MULTIPLY(multiply_packed, NUMBER)
EACH_NUMBER(DEFINE_multiply_packed)
DEFINE_MULTIPLY_ANY(multiply_packed, __local, __global)

#define DEFINE_multiply_panel(NUMBER) DEFINE_MULTIPLY(multiply_panel, NUMBER, __global, __local, load_local)
#define CALL_multiply_panel(NUMBER) CALL_MULTIPLY(multiply_panel, NUMBER)
EACH_NUMBER(DEFINE_multiply_panel)
DEFINE_MULTIPLY_ANY(multiply_panel, __global, __local)

/* The columns of c are cut into blocks of about the same size, none wider than a panel. */
INLINE int column_blocks(int n)
{
    return (n + PANEL - 1) / PANEL;
}

INLINE int block_start(int block, int blocks, int n)
{
    return (int)((long)n * block / blocks);
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

/* Which rows a work-item has, in blocks of `block` rows. */
INLINE int first_row(int group, int m, int block)
{
    const int blocks = (m + block - 1) / block;
    return min(m, block * (int)((long)blocks * group / get_num_groups(0)));
}

/* c [m][n] = alpha a [m][k] b [k][n]. */
KERNEL void product(__global const float *restrict a, __global const float *restrict b,
                    __global float *restrict c, int m, int n, int k, int a_base, int a_row, int b_base,
                    int b_row, int c_base, int c_row, float alpha, int k_block)
{
    const int row_begin = first_row(get_group_id(0), m, ROWS);
    const int row_end = first_row(get_group_id(0) + 1, m, ROWS), blocks = column_blocks(n);
    if (n < WIDTH) {
        multiply_narrow(a + a_base, a_row, 1, b + b_base, b_row, 1, c + c_base, c_row, row_begin, row_end, n,
                        k, alpha);
        return;
    }
    for (int p = 0; p < k; p += k_block) {
        const float factor = p + k_block < k ? 1.0f : alpha;
        for (int row = row_begin; row < row_end; row += ROWS) {
            for (int block = 0; block < blocks; block++) {
                const int column = block_start(block, blocks, n);
                multiply(a + a_base + (size_t)row * a_row + p, a_row, 1, min(ROWS, row_end - row),
                         b + b_base + (size_t)p * b_row + column, b_row, min(k_block, k - p),
                         c + c_base + (size_t)row * c_row + column, c_row,
                         block_start(block + 1, blocks, n) - column, p == 0, factor);
            }
        }
    }
}

/* c [m][n] = alpha a^T b, a [k][m], b [k][n]; `packed` takes k_block x PACKED_ROWS values of a. */
KERNEL void product_of_transpose(__global const float *restrict a, __global const float *restrict b,
                                 __global float *restrict c, int m, int n, int k, int a_base, int a_row,
                                 int b_base, int b_row, int c_base, int c_row, float alpha, int k_block,
                                 __local float *restrict packed)
{
    const int row_begin = first_row(get_group_id(0), m, PACKED_ROWS);
    const int row_end = first_row(get_group_id(0) + 1, m, PACKED_ROWS), blocks = column_blocks(n);
    if (n < WIDTH) {
        multiply_narrow(a + a_base, 1, a_row, b + b_base, b_row, 1, c + c_base, c_row, row_begin, row_end, n,
                        k, alpha);
        return;
    }
    for (int p = 0; p < k; p += k_block) {
        const float factor = p + k_block < k ? 1.0f : alpha;
        const int length = min(k_block, k - p);
        for (int first = row_begin; first < row_end; first += PACKED_ROWS) {
            const int rows = min(PACKED_ROWS, row_end - first);
            for (int i = 0; i < length; i++) {
                __global const float *from = a + a_base + (size_t)(p + i) * a_row + first;
                __local float *to = packed + i * PACKED_ROWS;
                PREFETCH(from + (size_t)PACK_AHEAD * a_row)
                if (rows == PACKED_ROWS) {
                    UNROLL for (int r = 0; r < PACKED_ROWS; r += WIDTH) { store_local(load(from + r), to + r); }
                    continue;
                }
                for (int r = 0; r < rows; r++) {
                    to[r] = from[r];
                }
            }
            for (int row = 0; row < rows; row += ROWS) {
                for (int block = 0; block < blocks; block++) {
                    const int column = block_start(block, blocks, n);
                    multiply_packed(packed + row, 1, PACKED_ROWS, min(ROWS, rows - row),
                                    b + b_base + (size_t)p * b_row + column, b_row, length,
                                    c + c_base + (size_t)(first + row) * c_row + column, c_row,
                                    block_start(block + 1, blocks, n) - column, p == 0, factor);
                }
            }
        }
    }
}

/* panel [length][PANEL] = b^T for `count` rows of b. */
INLINE void pack_panel(__global const float *restrict b, int b_row, int count, int length,
                       __local float *restrict panel)
{
    if (length < WIDTH) {
        for (int j = 0; j < count; j++) {
            for (int p = 0; p < length; p++) {
                panel[p * PANEL + j] = b[(size_t)j * b_row + p];
            }
        }
        return;
    }
    for (int j = 0; j < count; j += WIDTH) {
        const int column = min(j, count - WIDTH);
        for (int p = 0; p < length; p += WIDTH) {
            const int at = min(p, length - WIDTH);
            vec r[WIDTH];
            UNROLL for (int i = 0; i < WIDTH; i++) { r[i] = load(b + (size_t)(column + i) * b_row + at); }
            transpose(r);
            UNROLL for (int i = 0; i < WIDTH; i++) { store_local(r[i], panel + (at + i) * PANEL + column); }
        }
    }
}

/* c [m][n] = alpha a b^T, a [m][k], b [n][k]. A work-item has a range of rows and a block of columns;
 * `panel` takes k_block x PANEL values of b. */
KERNEL void product_with_transpose(__global const float *restrict a, __global const float *restrict b,
                                   __global float *restrict c, int m, int n, int k, int a_base, int a_row,
                                   int b_base, int b_row, int c_base, int c_row, float alpha, int k_block,
                                   __local float *restrict panel)
{
    const int row_begin = first_row(get_group_id(0), m, ROWS);
    const int row_end = first_row(get_group_id(0) + 1, m, ROWS), blocks = get_num_groups(1);
    if (n < WIDTH) {
        multiply_narrow(a + a_base, a_row, 1, b + b_base, 1, b_row, c + c_base, c_row, row_begin, row_end, n,
                        k, alpha);
        return;
    }
    const int column = block_start(get_group_id(1), blocks, n);
    const int count = block_start(get_group_id(1) + 1, blocks, n) - column;
    for (int p = 0; p < k; p += k_block) {
        const float factor = p + k_block < k ? 1.0f : alpha;
        const int length = min(k_block, k - p);
        pack_panel(b + b_base + (size_t)column * b_row + p, b_row, count, length, panel);
        for (int row = row_begin; row < row_end; row += ROWS) {
            multiply_panel(a + a_base + (size_t)row * a_row + p, a_row, 1, min(ROWS, row_end - row), panel,
                           PANEL, length, c + c_base + (size_t)row * c_row + column, c_row, count, p == 0,
                           factor);
        }
    }
}
