/* Matrix products on CPUs, row-major: c = alpha op(a) b and c = alpha a b^T.
 *
 * A block of ROWS rows times up to MOST_VECTORS vectors of columns stays in registers while the inner index
 * runs; the vectors run over columns of c. What would be read across rows is packed into local memory first:
 * blocks of rows of a, or a panel of columns of b^T. The inner index is cut into stretches of k_block, so that
 * what is packed, and the part of b that all rows read, stay in L1 and L2; between stretches c holds the sums.
 *
 * Every element of c is one sum in the order of the inner index, however the work is cut.
 */
#if REGISTERS >= 32 /* the sums, ROWS values of a, a vector of b */
#define MOST_VECTORS 6
#define EACH_NUMBER(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6)
#else
#define MOST_VECTORS 3
#define EACH_NUMBER(DO) DO(1) DO(2) DO(3)
#endif
#define ROWS 4
#define PACKED_ROWS 16 /* of a: what lies in one cache line where it is used as its transpose */
#define PACK_AHEAD 16  /* rows: no hardware fetches lines that lie so far apart */
#define PANEL (MOST_VECTORS * WIDTH)

/* Columns past the last whole vector, where they are few: a piece of them for ROWS rows is one vector. A batch
 * of 100 is six vectors and a piece. */
#define PIECE 4
#if WIDTH == ROWS * PIECE
#define HAS_PIECES 1
#define EACH_ROW(piece) ((piece).s0000111122223333)
#define EACH_COLUMN(piece) ((piece).s0123012301230123)
#else
#define HAS_PIECES 0
#define EACH_ROW(piece) ((vec)0.0f)
#define EACH_COLUMN(piece) ((vec)0.0f)
#endif

/* The columns of c are cut into blocks of whole vectors, about the same number each and at most MOST_VECTORS.
 * The last of them ends with a piece, or with a vector that repeats columns of the one before. */
INLINE bool ends_with_piece(int n, int has_pieces)
{
    return has_pieces && n % WIDTH > 0 && n % WIDTH <= PIECE;
}

INLINE int column_vectors(int n, int has_pieces)
{
    return n / WIDTH + (n % WIDTH > 0 && !ends_with_piece(n, has_pieces));
}

INLINE int column_blocks(int n, int has_pieces)
{
    return (column_vectors(n, has_pieces) + MOST_VECTORS - 1) / MOST_VECTORS;
}

INLINE int block_start(int block, int blocks, int n, int has_pieces)
{
    return block == blocks ? n : (int)((long)column_vectors(n, has_pieces) * block / blocks) * WIDTH;
}

/* c [ROWS][NUMBER vectors and perhaps a piece] (+)= a b for one stretch of the inner index, times `factor`.
 * In a rows are A_ROW, inner indices A_COLUMN floats apart. */
#define DEFINE_MULTIPLY(NAME, NUMBER, HAS_PIECE, A, A_ROW, A_COLUMN, B, LOAD)                                \
    CALLED void NAME(A const float *restrict a, int a_row, int rows, B const float *restrict b, int b_row,   \
                     int k, __global float *restrict c, int c_row, int count, int is_first, float factor)    \
    {                                                                                                        \
        vec s[ROWS][NUMBER], t = (vec)0.0f;                                                                  \
        A const float *ap[ROWS];                                                                             \
        const int last = HAS_PIECE ? (NUMBER - 1) * WIDTH : count - WIDTH, piece = count - PIECE;            \
        UNROLL for (int r = 0; r < ROWS; r++)                                                                \
        {                                                                                                    \
            ap[r] = a + (size_t)min(r, rows - 1) * A_ROW;                                                    \
            __global const float *from = c + (size_t)min(r, rows - 1) * c_row;                               \
            UNROLL for (int q = 0; q < NUMBER; q++)                                                          \
            {                                                                                                \
                s[r][q] = is_first ? (vec)0.0f : load(from + (q < NUMBER - 1 ? q * WIDTH : last));           \
            }                                                                                                \
            if (HAS_PIECE && !is_first) {                                                                    \
                UNROLL for (int i = 0; i < PIECE; i++) { t[(r * PIECE + i) % WIDTH] = from[piece + i]; }     \
            }                                                                                                \
        }                                                                                                    \
        for (int p = 0; p < k; p++) {                                                                        \
            UNROLL for (int q = 0; q < NUMBER; q++)                                                          \
            {                                                                                                \
                const vec v = LOAD(b + (q < NUMBER - 1 ? q * WIDTH : last));                                 \
                UNROLL for (int r = 0; r < ROWS; r++) { s[r][q] = fma((vec)*ap[r], v, s[r][q]); }            \
            }                                                                                                \
            if (HAS_PIECE) {                                                                                 \
                t = fma(EACH_ROW(*(A const unaligned_piece *)ap[0]),                                         \
                        EACH_COLUMN(*(B const unaligned_piece *)(b + piece)), t);                            \
            }                                                                                                \
            b += b_row;                                                                                      \
            UNROLL for (int r = 0; r < ROWS; r++) { ap[r] += A_COLUMN; }                                     \
        }                                                                                                    \
        UNROLL for (int r = 0; r < ROWS; r++)                                                                \
        {                                                                                                    \
            if (r < rows) {                                                                                  \
                __global float *to = c + (size_t)r * c_row;                                                  \
                UNROLL for (int q = 0; q < NUMBER; q++)                                                      \
                {                                                                                            \
                    store(factor * s[r][q], to + (q < NUMBER - 1 ? q * WIDTH : last));                       \
                }                                                                                            \
                if (HAS_PIECE) {                                                                             \
                    UNROLL for (int i = 0; i < PIECE; i++)                                                   \
                    {                                                                                        \
                        to[piece + i] = factor * t[(r * PIECE + i) % WIDTH];                                 \
                    }                                                                                        \
                }                                                                                            \
            }                                                                                                \
        }                                                                                                    \
    }

#define CALL_MULTIPLY(NAME, NUMBER)                                                                          \
    case NUMBER:                                                                                             \
        NAME##NUMBER(a, a_row, rows, b, b_row, k, c, c_row, count, is_first, factor);                        \
        break;

/* Rows of a packed, b as it is. */
#define DEFINE_packed(NUMBER)                                                                                \
    DEFINE_MULTIPLY(packed##NUMBER, NUMBER, 0, __local, 1, PACKED_ROWS, __global, load)
#define CALL_packed(NUMBER) CALL_MULTIPLY(packed, NUMBER)
EACH_NUMBER(DEFINE_packed)
#if HAS_PIECES
#define DEFINE_pieced(NUMBER)                                                                                \
    DEFINE_MULTIPLY(pieced##NUMBER, NUMBER, 1, __local, 1, PACKED_ROWS, __global, load)
#define CALL_pieced(NUMBER) CALL_MULTIPLY(pieced, NUMBER)
EACH_NUMBER(DEFINE_pieced)
#endif

INLINE void multiply_packed(__local const float *restrict a, int rows, __global const float *restrict b,
                            int b_row, int k, __global float *restrict c, int c_row, int count,
                            int is_first, float factor)
{
    const int a_row = 1;
#if HAS_PIECES
    if (ends_with_piece(count, 1)) {
        switch (count / WIDTH) {
            EACH_NUMBER(CALL_pieced)
        }
        return;
    }
#endif
    switch ((count + WIDTH - 1) / WIDTH) {
        EACH_NUMBER(CALL_packed)
    }
}

/* A panel of b^T packed, a as it is. */
#define DEFINE_panel(NUMBER)                                                                                 \
    DEFINE_MULTIPLY(panel##NUMBER, NUMBER, 0, __global, a_row, 1, __local, load_local)
#define CALL_panel(NUMBER) CALL_MULTIPLY(panel, NUMBER)
EACH_NUMBER(DEFINE_panel)

INLINE void multiply_panel(__global const float *restrict a, int a_row, int rows,
                           __local const float *restrict b, int k, __global float *restrict c, int c_row,
                           int count, int is_first, float factor)
{
    const int b_row = PANEL;
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

/* Which rows a work-item has, in blocks of `block` rows. */
INLINE int first_row(int group, int m, int block)
{
    const int blocks = (m + block - 1) / block;
    return min(m, block * (int)((long)blocks * group / get_num_groups(0)));
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

/* The same rows by columns, of a matrix that is read as its transpose. */
INLINE void pack_rows(__global const float *restrict from, int from_row, int count, int length,
                      __local float *restrict to)
{
    for (int i = 0; i < length; i++) {
        PREFETCH(from + (size_t)PACK_AHEAD * from_row)
        if (count == PACKED_ROWS) {
            UNROLL for (int r = 0; r < PACKED_ROWS; r += WIDTH) { store_local(load(from + r), to + r); }
        } else {
            for (int r = 0; r < count; r++) {
                to[r] = from[r];
            }
        }
        from += from_row;
        to += PACKED_ROWS;
    }
}

/* Rows of c from packed ones of a, for one stretch of the inner index. */
INLINE void multiply_rows(__local const float *restrict packed, int rows, __global const float *restrict b,
                          int b_row, int length, __global float *restrict c, int c_row, int n, int is_first,
                          float factor)
{
    const int blocks = column_blocks(n, HAS_PIECES);
    for (int row = 0; row < rows; row += ROWS) {
        for (int block = 0; block < blocks; block++) {
            const int column = block_start(block, blocks, n, HAS_PIECES);
            multiply_packed(packed + row, min(ROWS, rows - row), b + column, b_row, length,
                            c + (size_t)row * c_row + column, c_row,
                            block_start(block + 1, blocks, n, HAS_PIECES) - column, is_first, factor);
        }
    }
}

/* c [m][n] = alpha a [m][k] b [k][n]; `packed` takes k_block x PACKED_ROWS values of a. */
KERNEL void product(__global const float *restrict a, __global const float *restrict b,
                    __global float *restrict c, int m, int n, int k, int a_base, int a_row, int b_base,
                    int b_row, int c_base, int c_row, float alpha, int k_block, __local float *restrict packed)
{
    const int row_begin = first_row(get_group_id(0), m, PACKED_ROWS);
    const int row_end = first_row(get_group_id(0) + 1, m, PACKED_ROWS);
    if (n < WIDTH) {
        multiply_narrow(a + a_base, a_row, 1, b + b_base, b_row, 1, c + c_base, c_row, row_begin, row_end, n,
                        k, alpha);
        return;
    }
    for (int p = 0; p < k; p += k_block) {
        const int length = min(k_block, k - p);
        for (int row = row_begin; row < row_end; row += PACKED_ROWS) {
            const int rows = min(PACKED_ROWS, row_end - row);
            pack_transpose(a + a_base + (size_t)row * a_row + p, a_row, rows, length, packed, PACKED_ROWS);
            multiply_rows(packed, rows, b + b_base + (size_t)p * b_row, b_row, length,
                          c + c_base + (size_t)row * c_row, c_row, n, p == 0, p + length < k ? 1.0f : alpha);
        }
    }
}

/* c [m][n] = alpha a^T b, a [k][m], b [k][n]; `packed` as above. */
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
    for (int p = 0; p < k; p += k_block) {
        const int length = min(k_block, k - p);
        for (int row = row_begin; row < row_end; row += PACKED_ROWS) {
            const int rows = min(PACKED_ROWS, row_end - row);
            pack_rows(a + a_base + (size_t)p * a_row + row, a_row, rows, length, packed);
            multiply_rows(packed, rows, b + b_base + (size_t)p * b_row, b_row, length,
                          c + c_base + (size_t)row * c_row, c_row, n, p == 0, p + length < k ? 1.0f : alpha);
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
