/* The transforms of inputs for Winograd's algorithm of stride 2, shared by cpu_winograd_stride2.cl, whose
 * first lines say what is computed, and cpu_winograd_stride2_gradient.cl. Behind vector.cl and
 * winograd_products.cl.
 */
#define SIDE 5
#define POINTS (SIDE * SIDE)
#define U_SIDE 6
#define U_ODD 5
#define PAD WIDTH /* between the planes of v and m, or their stores fall into one set of L1 */

/* All tiles of one size. */
struct tiles {
    int rows, columns;  /* outputs of a tile in y forward, places of dz backward: 4 or 3 */
    int tiles_x, total; /* tiles in a row; lanes of all tiles of a plane */
    int x, y;           /* where the first one starts */
    int first_chunk, chunks;
};

struct winograd {
    int channels, outs, lanes;
    int x_row, x_plane, y_row, y_plane;
    int channel_block; /* channels in v */
    int stride;        /* lanes of a chunk: from channel to channel in v, output to output in m */
    int chunks, is_backward, sizes;
    struct tiles tiles[4];
};

/* ---- Transforms of one dimension ------------------------------------------------------------- */

/* Each transform has a number: of inputs to points (even, odd), none (copy), of points back to outputs (back)
 * and of gradients to points (turned), for tiles of four and three outputs. Odd inputs of four outputs go
 * as even ones of three. It takes so many values `from` and gives so many `to`. */
enum {
    even4_kind, even3_kind, odd3_kind, copy4_kind, copy3_kind,
    back4_kind, back3_kind, turned4_kind, turned3_kind
};

enum { even4_from = 5, even4_to = 5 };
INLINE void even4(const vec *d, vec *r)
{
    vec s = d[3] - d[1];
    r[0] = d[0] - d[2] + 0.5f * s;
    r[1] = d[4] - d[2] - 2.0f * s;
    r[2] = d[1] + 0.5f * (d[2] - d[3]);
    r[3] = 0.5f * (d[2] - d[1]) - (1.0f / 6) * s;
    r[4] = (1.0f / 6) * s;
}

enum { even3_from = 4, even3_to = 4 };
INLINE void even3(const vec *d, vec *r)
{
    r[0] = d[0] - d[2];
    r[1] = d[3] - d[1];
    r[2] = 0.5f * (d[1] + d[2]);
    r[3] = 0.5f * (d[2] - d[1]);
}

enum { odd3_from = 3, odd3_to = 3 };
INLINE void odd3(const vec *d, vec *r)
{
    r[0] = d[0] - d[1];
    r[1] = d[2] - d[1];
    r[2] = d[1];
}

enum { copy4_from = 4, copy4_to = 4 };
INLINE void copy4(const vec *d, vec *r)
{
    UNROLL for (int i = 0; i < 4; i++) { r[i] = d[i]; }
}

enum { copy3_from = 3, copy3_to = 3 };
INLINE void copy3(const vec *d, vec *r)
{
    UNROLL for (int i = 0; i < 3; i++) { r[i] = d[i]; }
}

/* Values `step` apart in a row, rows `row` apart, for a vector of lanes. */
struct grid {
    int step, row;
};

#define PASS(T, LOAD, STORE)                                                                       \
    case T##_kind:                                                                                 \
        for (int n = 0; n < rows; n++) {                                                           \
            vec d[T##_from], r[T##_to];                                                            \
            UNROLL for (int i = 0; i < T##_from; i++)                                              \
            {                                                                                      \
                d[i] = LOAD(from + n * from_grid.row + i * from_grid.step);                        \
            }                                                                                      \
            T(d, r);                                                                               \
            UNROLL for (int i = 0; i < T##_to; i++)                                                \
            {                                                                                      \
                STORE(r[i], to + n * to_grid.row + i * to_grid.step);                              \
            }                                                                                      \
        }                                                                                          \
        break;

/* One dimension of `rows` rows. All transforms are called, not inlined: else the compiler takes a minute. */
#define DEFINE_PASS(NAME, KINDS, LOAD, STORE)                                                      \
    CALLED void NAME(int kind, __global const float *restrict from, struct grid from_grid,         \
                     __global float *restrict to, struct grid to_grid, int rows,                   \
                     const int *offset)                                                            \
    {                                                                                              \
        switch (kind) {                                                                            \
            KINDS(LOAD, STORE)                                                                     \
        }                                                                                          \
    }
#define INPUTS(LOAD, STORE)                                                                        \
    PASS(even4, LOAD, STORE)                                                                       \
    PASS(even3, LOAD, STORE)                                                                       \
    PASS(odd3, LOAD, STORE)                                                                        \
    PASS(copy4, LOAD, STORE)                                                                       \
    PASS(copy3, LOAD, STORE)
#define LOAD_PIECES(p) load_pieces(p, offset)
DEFINE_PASS(pass_inputs, INPUTS, load, store)
DEFINE_PASS(pass_input_pieces, INPUTS, LOAD_PIECES, store)

/* Both dimensions in one piece, for a vector of lanes that lies in one tile. */
#define DEFINE_BOTH(R, C)                                                                          \
    CALLED void R##_##C(__global const float *restrict from, int from_row, int from_column,        \
                        __global float *restrict to, int to_row, int to_column)                    \
    {                                                                                              \
        vec t[R##_to][C##_from];                                                                   \
        UNROLL for (int j = 0; j < C##_from; j++)                                                  \
        {                                                                                          \
            vec d[R##_from], r[R##_to];                                                            \
            UNROLL for (int i = 0; i < R##_from; i++)                                              \
            {                                                                                      \
                d[i] = load(from + i * from_row + j * from_column);                                \
            }                                                                                      \
            R(d, r);                                                                               \
            UNROLL for (int i = 0; i < R##_to; i++) { t[i][j] = r[i]; }                            \
        }                                                                                          \
        UNROLL for (int i = 0; i < R##_to; i++)                                                    \
        {                                                                                          \
            vec r[C##_to];                                                                         \
            C(t[i], r);                                                                            \
            UNROLL for (int j = 0; j < C##_to; j++)                                                \
            {                                                                                      \
                store(r[j], to + i * to_row + j * to_column);                                      \
            }                                                                                      \
        }                                                                                          \
    }
#define PAIR(row_kind, column_kind) ((row_kind)*16 + (column_kind))
#define CASE(R, C)                                                                                 \
    case PAIR(R##_kind, C##_kind):                                                                 \
        R##_##C(from, from_row, from_column, to, to_row, to_column);                               \
        break;
#define COPY_PAIRS(DO) DO(copy4, copy4) DO(copy4, copy3) DO(copy3, copy4) DO(copy3, copy3)
COPY_PAIRS(DEFINE_BOTH)

/* The functions of a list of pairs, and NAME, which picks one of them or of COPY_PAIRS. */
#define DEFINE_PAIRS(NAME, PAIRS)                                                                  \
    PAIRS(DEFINE_BOTH)                                                                             \
    INLINE void NAME(int pair, __global const float *restrict from, int from_row, int from_column, \
                     __global float *restrict to, int to_row, int to_column)                       \
    {                                                                                              \
        switch (pair) {                                                                            \
            PAIRS(CASE)                                                                            \
            COPY_PAIRS(CASE)                                                                       \
        }                                                                                          \
    }

#define INPUT_PAIRS(DO)                                                                            \
    DO(even4, even4) DO(even4, even3) DO(even4, odd3)                                              \
    DO(even3, even4) DO(even3, even3) DO(even3, odd3)                                              \
    DO(odd3, even4) DO(odd3, even3) DO(odd3, odd3)                                                 \
    DO(even4, copy4) DO(even4, copy3) DO(even3, copy4) DO(even3, copy3)                            \
    DO(copy4, even4) DO(copy4, even3) DO(copy3, even4) DO(copy3, even3)
DEFINE_PAIRS(both_inputs, INPUT_PAIRS)

/* A tensor's tile to points, or points to a tile. A vector that lies in two tiles goes in two passes, by way
 * of `middle`. The first pass goes over columns, whose values are rows apart. */
struct transform {
    int row_kind, column_kind;
    int columns; /* that go into the first pass */
    int rows;    /* that go into the second one */
};

#define DEFINE_FROM_TENSOR(NAME, BOTH, PASS, PASS_PIECES)                                          \
    INLINE void NAME(struct transform t, __global const float *restrict x, const int *offset,      \
                     int is_whole, int row, int column, __global float *restrict middle,           \
                     __global float *restrict v, int step, int columns)                            \
    {                                                                                              \
        const struct grid source = {row, column}, straight = {SIDE * WIDTH, WIDTH};                \
        const struct grid turned = {WIDTH, SIDE * WIDTH}, target = {step, columns * step};         \
        if (is_whole) {                                                                            \
            BOTH(PAIR(t.row_kind, t.column_kind), x + offset[0], row, column, v, columns * step,   \
                 step);                                                                            \
        } else {                                                                                   \
            PASS_PIECES(t.row_kind, x, source, middle, straight, t.columns, offset);               \
            PASS(t.column_kind, middle, turned, v, target, t.rows, offset);                        \
        }                                                                                          \
    }
DEFINE_FROM_TENSOR(from_inputs, both_inputs, pass_inputs, pass_input_pieces)

#define IS_ODD_ROW(phase) ((phase) >> 1)
#define IS_ODD_COLUMN(phase) ((phase) & 1)

/* ---- A chunk --------------------------------------------------------------------------------- */

struct place {
    int first, vectors, phase;
};

/* Points of a phase in one direction. */
INLINE int points_of(int places, int is_odd)
{
    return is_odd ? places : places + 1;
}

/* The transform of the inputs in one direction: `places` of a tile, in an odd phase or not. */
INLINE int input_kind(int places, int is_odd, int is_backward)
{
    const int is_four = places == 4;
    if (is_odd && is_backward) {
        return is_four ? copy4_kind : copy3_kind;
    }
    return is_four ? (is_odd ? even3_kind : even4_kind) : (is_odd ? odd3_kind : even3_kind);
}

/* Inputs of a block of channels: x starts at the first of them. */
INLINE void transform_inputs(const struct winograd *k, const struct tiles *t, struct place at,
                             int is_backward, __global const float *restrict x, int channels,
                             __global float *restrict middle, __global float *restrict v, int v_step)
{
    const int is_odd_row = IS_ODD_ROW(at.phase), is_odd_column = IS_ODD_COLUMN(at.phase);
    const int scale = is_backward ? 1 : 2;
    const int columns = points_of(t->columns, is_odd_column);
    const struct transform transform = {.row_kind = input_kind(t->rows, is_odd_row, is_backward),
                                        .column_kind = input_kind(t->columns, is_odd_column, is_backward),
                                        .columns = columns,
                                        .rows = points_of(t->rows, is_odd_row)};
    x += t->x + is_odd_row * k->x_row + is_odd_column * k->lanes;
    int offsets[MAX_VECTORS * PIECES], is_whole[MAX_VECTORS];
    find_vectors(at.first, at.vectors, t->total, k->lanes, t->tiles_x, scale * t->rows * k->x_row,
                 scale * t->columns * k->lanes, offsets, is_whole);
    for (int c = 0; c < channels; c++) {
        if (c + 1 < channels) {
            prefetch_tiles(x + (size_t)(c + 1) * k->x_plane, offsets, at.vectors, transform.rows, columns,
                           scale * k->x_row, scale * k->lanes);
        }
        for (int q = 0; q < at.vectors; q++) { /* neighbours in memory */
            from_inputs(transform, x + (size_t)c * k->x_plane, offsets + q * PIECES, is_whole[q],
                        scale * k->x_row, scale * k->lanes, middle, v + c * k->stride + q * WIDTH,
                        v_step, columns);
        }
    }
}
