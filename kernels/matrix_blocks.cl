/* Blocks of matrix products, row-major: shared by cpu_matrix.cl and cpu_dense.cl, behind vector.cl.
 *
 * A block of ROWS rows times up to MOST_VECTORS vectors of columns stays in registers while the inner index
 * runs; the vectors run over columns of c. Rows of a are read as they lie; columns of a are packed into local
 * memory by the first product that reads them. The inner index is cut into stretches, so that what is packed, and
 * the part of b that all rows read, stay in L1 and L2; between stretches c holds the sums.
 *
 * Every element of c is one sum in the order of the inner index, or, of a piece, of sums over every WIDTH-th inner
 * index of a stretch; how rows are shared out does not matter.
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
#define PACK_AHEAD 32  /* of its rows, and below of c's: no hardware fetches lines that lie so far apart */
#define ROWS_AHEAD 4
#define PANEL (MOST_VECTORS * WIDTH)

/* Columns past the last whole vector, where they are few: a batch of 100 is six vectors and a piece. Where columns of a
 * are packed, the piece of ROWS rows is one vector, column by column, as the values of rows lie side by side. Where rows
 * of a are read, that would take shuffles in the place of sums: there the lanes of a piece's sums are inner indices, and
 * columns of c that should be equal may differ from those in whole vectors by rounding. */
#define PIECE 4
#if WIDTH == ROWS * PIECE
#define HAS_PIECES 1
#define PIECE_OF_A(A, p) ((*(A const unaligned_piece *)(p)).s0123012301230123)
#define PIECE_OF_B(piece) ((piece).s0000111122223333)
#else
#define HAS_PIECES 0
#define PIECE_OF_A(A, p) ((vec)0.0f)
#define PIECE_OF_B(piece) ((vec)0.0f)
#endif
#define PIECE_LANE(r, i) (((i) * ROWS + (r)) % WIDTH)

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

/* What one inner index adds to s, of the rows at ap; the last vector starts at `last`. 16 registers are the sums,
 * three vectors of b and one value of a: a compiler that sees the four values of a first spills sums. */
#if REGISTERS >= 32
#define MULTIPLY_BLOCK(NUMBER, b, LOAD)                                                                      \
    vec w[ROWS];                                                                                             \
    UNROLL for (int r = 0; r < ROWS; r++) { w[r] = (vec)*ap[r]; }                                            \
    UNROLL for (int q = 0; q < NUMBER; q++)                                                                  \
    {                                                                                                        \
        const vec v = LOAD(b + (q < NUMBER - 1 ? q * WIDTH : last));                                         \
        UNROLL for (int r = 0; r < ROWS; r++) { s[r][q] = fma(w[r], v, s[r][q]); }                           \
    }
#else
#define MULTIPLY_BLOCK(NUMBER, b, LOAD)                                                                      \
    vec v[NUMBER];                                                                                           \
    UNROLL for (int q = 0; q < NUMBER; q++) { v[q] = LOAD(b + (q < NUMBER - 1 ? q * WIDTH : last)); }        \
    UNROLL for (int r = 0; r < ROWS; r++)                                                                    \
    {                                                                                                        \
        const vec w = (vec)*ap[r];                                                                           \
        UNROLL for (int q = 0; q < NUMBER; q++) { s[r][q] = fma(w, v[q], s[r][q]); }                         \
    }
#endif

/* c [ROWS][NUMBER vectors and perhaps a piece] (+)= a b for one stretch of the inner index, times `factor`.
 * In a rows are A_ROW, inner indices A_COLUMN floats apart. BESIDE is done once for each inner index. */
#define DEFINE_MULTIPLY(NAME, NUMBER, HAS_PIECE, A, A_ROW, A_COLUMN, B, LOAD, BESIDE)                        \
    CALLED void NAME(A const float *restrict a, int a_row, int rows, B const float *restrict b, int b_row,   \
                     int k, __global float *restrict c, int c_row, int count, int is_first, float factor,    \
                     __local float *restrict packed)                                                         \
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
                UNROLL for (int i = 0; i < PIECE; i++) { t[PIECE_LANE(r, i)] = from[piece + i]; }            \
            }                                                                                                \
        }                                                                                                    \
        for (int p = 0; p < k; p++) {                                                                        \
            BESIDE                                                                                           \
            MULTIPLY_BLOCK(NUMBER, b, LOAD)                                                                  \
            if (HAS_PIECE) {                                                                                 \
                t = fma(PIECE_OF_A(A, ap[0]), PIECE_OF_B(*(B const unaligned_piece *)(b + piece)), t);       \
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
                        to[piece + i] = factor * t[PIECE_LANE(r, i)];                                        \
                    }                                                                                        \
                }                                                                                            \
            }                                                                                                \
        }                                                                                                    \
    }

#define CALL_MULTIPLY(NAME, NUMBER)                                                                          \
    case NUMBER:                                                                                             \
        NAME##NUMBER(a, a_row, rows, b, b_row, k, c, c_row, count, is_first, factor, packed);                \
        break;

#define NOTHING_BESIDE
#define FETCH_ROWS_AHEAD                                                                                     \
    if (p % WIDTH == 0) {                                                                                    \
        UNROLL for (int r = 0; r < ROWS; r++) { PREFETCH(ap[r] + (size_t)ROWS_AHEAD * a_row) }               \
    }
#define PACK_BESIDE                                                                                          \
    UNROLL for (int r = 0; r < PACKED_ROWS; r += WIDTH) { store_local(load(ap[0] + r), packed + r); }        \
    packed += PACKED_ROWS;                                                                                   \
    PREFETCH(ap[0] + (size_t)PACK_AHEAD * a_row)

/* b as it is, and of a: rows as they lie; columns that are packed on the way; columns that were packed. */
#define DEFINE_rows(N)                                                                                       \
    DEFINE_MULTIPLY(rows##N, N, 0, __global, a_row, 1, __global, load, FETCH_ROWS_AHEAD)
#define DEFINE_columns(N)                                                                                    \
    DEFINE_MULTIPLY(columns##N, N, 0, __global, 1, a_row, __global, load, PACK_BESIDE)
#define DEFINE_packed(N)                                                                                     \
    DEFINE_MULTIPLY(packed##N, N, 0, __local, 1, PACKED_ROWS, __global, load, NOTHING_BESIDE)
#define CALL_rows(N) CALL_MULTIPLY(rows, N)
#define CALL_columns(N) CALL_MULTIPLY(columns, N)
#define CALL_packed(N) CALL_MULTIPLY(packed, N)
EACH_NUMBER(DEFINE_rows)
EACH_NUMBER(DEFINE_columns)
EACH_NUMBER(DEFINE_packed)
#if HAS_PIECES
#define DEFINE_pieced_columns(N)                                                                             \
    DEFINE_MULTIPLY(pieced_columns##N, N, 1, __global, 1, a_row, __global, load, PACK_BESIDE)
#define DEFINE_pieced_packed(N)                                                                              \
    DEFINE_MULTIPLY(pieced_packed##N, N, 1, __local, 1, PACKED_ROWS, __global, load, NOTHING_BESIDE)
#define CALL_pieced_columns(N) CALL_MULTIPLY(pieced_columns, N)
#define CALL_pieced_packed(N) CALL_MULTIPLY(pieced_packed, N)
EACH_NUMBER(DEFINE_pieced_columns)
EACH_NUMBER(DEFINE_pieced_packed)
#define CALL_PIECED(NAME)                                                                                    \
    if (ends_with_piece(count, 1)) {                                                                         \
        switch (count / WIDTH) {                                                                             \
            EACH_NUMBER(CALL_pieced_##NAME)                                                                  \
        }                                                                                                    \
        return;                                                                                              \
    }
#else
#define CALL_PIECED(NAME)
#endif

/* The one that fits a block of `count` columns. */
#define DEFINE_CHOICE(NAME, A, PIECED)                                                                       \
    INLINE void multiply_##NAME(A const float *restrict a, int a_row, int rows,                              \
                                __global const float *restrict b, int b_row, int k,                          \
                                __global float *restrict c, int c_row, int count, int is_first,              \
                                float factor, __local float *restrict packed)                                \
    {                                                                                                        \
        PIECED                                                                                               \
        switch ((count + WIDTH - 1) / WIDTH) {                                                               \
            EACH_NUMBER(CALL_##NAME)                                                                         \
        }                                                                                                    \
    }
DEFINE_CHOICE(rows, __global, )
DEFINE_CHOICE(columns, __global, CALL_PIECED(columns))
DEFINE_CHOICE(packed, __local, CALL_PIECED(packed))

/* Which rows a work-item has, in blocks of `block` rows. */
INLINE int first_row(int group, int m, int block)
{
    const int blocks = (m + block - 1) / block;
    return min(m, block * (int)((long)blocks * group / get_num_groups(0)));
}

/* columns [PIECE][k_block] = the piece of b [length][..] that ends at `end`, as far as whole vectors of inner indices
 * go. */
INLINE void pack_piece(__global const float *restrict end, int b_row, int length,
                       __local float *restrict columns, int k_block)
{
    for (int p = 0; p + WIDTH <= length; p += WIDTH) {
        vec r[WIDTH];
        UNROLL for (int i = 0; i < WIDTH; i++) { r[i] = load(end - WIDTH + (size_t)(p + i) * b_row); }
        transpose(r);
        UNROLL for (int i = 0; i < PIECE; i++)
        {
            store_local(r[WIDTH - PIECE + i], columns + i * k_block + p);
        }
    }
}

/* c [ROWS][the last `count` columns of a piece] (+)= a b for one stretch of the inner index, times `factor`, with
 * inner indices in the lanes of sums; b and c start at the piece, `columns` is what pack_piece made of b. */
CALLED void multiply_piece(__global const float *restrict a, int a_row, int rows,
                           __global const float *restrict b, int b_row, __local const float *restrict columns,
                           int k_block, int k, __global float *restrict c, int c_row, int count, int is_first,
                           float factor)
{
    vec s[ROWS][PIECE];
    __global const float *ap[ROWS];
    UNROLL for (int r = 0; r < ROWS; r++)
    {
        ap[r] = a + (size_t)min(r, rows - 1) * a_row;
        UNROLL for (int i = 0; i < PIECE; i++) { s[r][i] = (vec)0.0f; }
    }
    int p = 0;
    for (; p + WIDTH <= k; p += WIDTH) {
        vec w[ROWS];
        UNROLL for (int r = 0; r < ROWS; r++) { w[r] = load(ap[r] + p); }
        UNROLL for (int i = 0; i < PIECE; i++)
        {
            const vec v = load_local(columns + i * k_block + p);
            UNROLL for (int r = 0; r < ROWS; r++) { s[r][i] = fma(w[r], v, s[r][i]); }
        }
    }
    UNROLL for (int r = 0; r < ROWS; r++)
    {
        UNROLL for (int i = 0; i < PIECE; i++)
        {
            float sum = sum_lanes(s[r][i]);
            for (int rest = p; rest < k; rest++) {
                sum = fma(ap[r][rest], b[(size_t)rest * b_row + i], sum);
            }
            if (r < rows && i >= PIECE - count) {
                __global float *to = c + (size_t)r * c_row + i;
                *to = factor * (is_first ? sum : *to + sum);
            }
        }
    }
}

/* Rows of c from rows of a, at least WIDTH columns; `columns` takes k_block x PIECE values of b. */
INLINE void multiply_all_rows(__global const float *restrict a, int a_row, __global const float *restrict b,
                              int b_row, __global float *restrict c, int c_row, int row_begin, int row_end,
                              int n, int k, float alpha, int k_block, __local float *restrict columns)
{
    const int rest = ends_with_piece(n, HAS_PIECES) ? n % WIDTH : 0;
    const int blocks = column_blocks(n - rest, 0), piece = n - PIECE;
    for (int p = 0; p < k; p += k_block) {
        const int length = min(k_block, k - p);
        const float factor = p + length < k ? 1.0f : alpha;
        if (rest > 0) {
            pack_piece(b + (size_t)p * b_row + n, b_row, length, columns, k_block);
        }
        for (int row = row_begin; row < row_end; row += ROWS) {
            __global const float *from = a + (size_t)row * a_row + p;
            __global float *to = c + (size_t)row * c_row;
            const int rows = min(ROWS, row_end - row);
            for (int block = 0; block < blocks; block++) {
                const int column = block_start(block, blocks, n - rest, 0);
                multiply_rows(from, a_row, rows, b + (size_t)p * b_row + column, b_row, length, to + column,
                              c_row, block_start(block + 1, blocks, n - rest, 0) - column, p == 0, factor, 0);
            }
            if (rest > 0) {
                multiply_piece(from, a_row, rows, b + (size_t)p * b_row + piece, b_row, columns, k_block,
                               length, to + piece, c_row, rest, p == 0, factor);
            }
        }
    }
}

/* Columns first to first + count - 1 of a, for which there is no product that packs whole vectors of them. */
INLINE void pack_columns(__global const float *restrict from, int from_row, int count, int length,
                         __local float *restrict to)
{
    for (int i = 0; i < length; i++) {
        for (int r = 0; r < count; r++) {
            to[r] = from[r];
        }
        from += from_row;
        to += PACKED_ROWS;
    }
}

/* Rows of c from columns of a, at most PACKED_ROWS, for one stretch of the inner index. */
INLINE void multiply_column_block(__global const float *restrict a, int a_row, int rows,
                                  __global const float *restrict b, int b_row, int length,
                                  __global float *restrict c, int c_row, int n, int is_first, float factor,
                                  __local float *restrict packed)
{
    const int blocks = column_blocks(n, HAS_PIECES);
    bool is_packed = rows < PACKED_ROWS;
    if (is_packed) {
        pack_columns(a, a_row, rows, length, packed);
    }
    for (int row = 0; row < rows; row += ROWS) {
        for (int block = 0; block < blocks; block++) {
            const int column = block_start(block, blocks, n, HAS_PIECES);
            const int count = block_start(block + 1, blocks, n, HAS_PIECES) - column;
            __global float *to = c + (size_t)row * c_row + column;
            if (is_packed) {
                multiply_packed(packed + row, PACKED_ROWS, min(ROWS, rows - row), b + column, b_row, length, to,
                                c_row, count, is_first, factor, packed);
            } else {
                multiply_columns(a, a_row, ROWS, b + column, b_row, length, to, c_row, count, is_first, factor,
                                 packed);
                is_packed = true;
            }
        }
    }
}

/* Rows of c from columns of a, at least WIDTH columns of c; `packed` takes k_block x PACKED_ROWS values of a. */
INLINE void multiply_all_columns(__global const float *restrict a, int a_row, __global const float *restrict b,
                                 int b_row, __global float *restrict c, int c_row, int row_begin, int row_end,
                                 int n, int k, float alpha, int k_block, __local float *restrict packed)
{
    for (int p = 0; p < k; p += k_block) {
        const int length = min(k_block, k - p);
        for (int row = row_begin; row < row_end; row += PACKED_ROWS) {
            multiply_column_block(a + (size_t)p * a_row + row, a_row, min(PACKED_ROWS, row_end - row),
                                  b + (size_t)p * b_row, b_row, length, c + (size_t)row * c_row, c_row, n,
                                  p == 0, p + length < k ? 1.0f : alpha, packed);
        }
    }
}
