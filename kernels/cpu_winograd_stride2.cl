/* Winograd convolution 3 x 3 of stride 2 on CPUs, on images with even sides that are padded after their
 * end only; forward and backward to the data. 256 products for 7 x 7 outputs instead of 441, 81 for 4 x 4
 * instead of 144.
 *
 * In one dimension, with e the even and d the odd inputs,
 *   y[r] = e[r] w0 + e[r + 1] w2 + d[r] w1,
 * so e is convolved with two taps and d with one. Tiles have four or three outputs. The points are 0,
 * infinity, 1, -1, 2; a tile of m outputs uses the first m + 1 of them for e, and of these the first m for
 * d. In two dimensions that makes four phases, even or odd in each direction, which on the way forward
 * add up in one set of transformed outputs. The constants' divisors are in the input transform, so the
 * transformed weights are the same for all tiles:
 *   u [6 x 6][outputs / OUTS][channel][OUTS], in each direction w0, w2, w0 + w2, w0 - w2, w0 + 2 w2, w1.
 *
 * Backward, x[2 r] = y[r - 1] w2 + y[r] w0 and x[2 r + 1] = y[r] w1: the same transforms with turned weights,
 * and nothing to transform in an odd direction; each phase gives outputs of its own.
 *
 * A chunk of a few vectors of lanes goes through phase by phase: inputs are transformed to
 * v [point][channel][lane], multiplied by u to m [point][output][lane], and m is transformed back. v and m
 * are a work-item's own part of `scratch` and stay in L2. As in cpu_winograd.cl, a vector that crosses from
 * one tile to the next is gathered in pieces of four lanes.
 */
#define SIDE 5
#define POINTS (SIDE * SIDE)
#define U_SIDE 6
#define U_ODD 5
#define PAD WIDTH /* between the planes of v and m, or their stores fall into one set of L1 */
#define OUTPUT_BLOCK (2 * OUTS)

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
    int chunks, sizes;
    struct tiles tiles[4];
};

/* ---- Transforms of one dimension ------------------------------------------------------------- */

/* Which transform: of inputs to points, of points back to outputs, and of gradients to points. Those of
 * four outputs are even, those of three follow them. `odd` of four is `even` of three. */
enum { EVEN = 0, ODD = 2, COPY = 4, BACK = 6, TURNED = 8 };

#define EVEN4_IN 5
#define EVEN4_OUT 5
INLINE void even4(const vec *d, vec *r)
{
    vec s = d[3] - d[1];
    r[0] = d[0] - d[2] + 0.5f * s;
    r[1] = d[4] - d[2] - 2.0f * s;
    r[2] = d[1] + 0.5f * (d[2] - d[3]);
    r[3] = 0.5f * (d[2] - d[1]) - (1.0f / 6) * s;
    r[4] = (1.0f / 6) * s;
}

#define EVEN3_IN 4
#define EVEN3_OUT 4
INLINE void even3(const vec *d, vec *r)
{
    r[0] = d[0] - d[2];
    r[1] = d[3] - d[1];
    r[2] = 0.5f * (d[1] + d[2]);
    r[3] = 0.5f * (d[2] - d[1]);
}

#define ODD3_IN 3
#define ODD3_OUT 3
INLINE void odd3(const vec *d, vec *r)
{
    r[0] = d[0] - d[1];
    r[1] = d[2] - d[1];
    r[2] = d[1];
}

#define COPY4_IN 4
#define COPY4_OUT 4
INLINE void copy4(const vec *d, vec *r)
{
    UNROLL for (int i = 0; i < 4; i++) { r[i] = d[i]; }
}

#define COPY3_IN 3
#define COPY3_OUT 3
INLINE void copy3(const vec *d, vec *r)
{
    UNROLL for (int i = 0; i < 3; i++) { r[i] = d[i]; }
}

#define BACK4_IN 5
#define BACK4_OUT 4
INLINE void back4(const vec *m, vec *y)
{
    vec s = m[2] + m[3], e = m[2] - m[3];
    y[0] = m[0] + s + m[4];
    y[1] = e + 2.0f * m[4];
    y[2] = s + 4.0f * m[4];
    y[3] = m[1] + e + 8.0f * m[4];
}

#define BACK3_IN 4
#define BACK3_OUT 3
INLINE void back3(const vec *m, vec *y)
{
    vec s = m[2] + m[3];
    y[0] = m[0] + s;
    y[1] = m[2] - m[3];
    y[2] = m[1] + s;
}

#define TURNED4_IN 4
#define TURNED4_OUT 5
INLINE void turned4(const vec *y, vec *r)
{
    vec even = y[0] + y[2], odd = y[1] + y[3];
    r[0] = y[0];
    r[1] = y[3];
    r[2] = even + odd;
    r[3] = even - odd;
    r[4] = y[0] + 4.0f * y[2] + 2.0f * y[1] + 8.0f * y[3];
}

#define TURNED3_IN 3
#define TURNED3_OUT 4
INLINE void turned3(const vec *y, vec *r)
{
    vec even = y[0] + y[2];
    r[0] = y[0];
    r[1] = y[2];
    r[2] = even + y[1];
    r[3] = even - y[1];
}

/* Values `step` apart in a row, rows `row` apart, for a vector of lanes. */
struct grid {
    int step, row;
};

#define PASS(KIND, NAME, T, LOAD, STORE)                                                           \
    case KIND:                                                                                     \
        for (int n = 0; n < rows; n++) {                                                           \
            vec d[T##_IN], r[T##_OUT];                                                             \
            UNROLL for (int i = 0; i < T##_IN; i++)                                                \
            {                                                                                      \
                d[i] = LOAD(from + n * from_grid.row + i * from_grid.step);                        \
            }                                                                                      \
            NAME(d, r);                                                                            \
            UNROLL for (int i = 0; i < T##_OUT; i++)                                               \
            {                                                                                      \
                STORE(r[i], to + n * to_grid.row + i * to_grid.step);                              \
            }                                                                                      \
        }                                                                                          \
        break;

/* One dimension of `rows` rows. The transforms are small functions in loops, not one unrolled piece of code
 * for two dimensions, size and phase each: that took the compiler a minute. */
#define DEFINE_PASS(NAME, KINDS, LOAD, STORE)                                                      \
    INLINE void NAME(int kind, __global const float *restrict from, struct grid from_grid,         \
                     __global float *restrict to, struct grid to_grid, int rows,                   \
                     const int *offset)                                                            \
    {                                                                                              \
        switch (kind) {                                                                            \
            KINDS(LOAD, STORE)                                                                     \
        }                                                                                          \
    }
#define INPUTS(LOAD, STORE)                                                                        \
    PASS(EVEN, even4, EVEN4, LOAD, STORE)                                                          \
    PASS(EVEN + 1, even3, EVEN3, LOAD, STORE)                                                      \
    PASS(ODD, even3, EVEN3, LOAD, STORE)                                                           \
    PASS(ODD + 1, odd3, ODD3, LOAD, STORE)                                                         \
    PASS(COPY, copy4, COPY4, LOAD, STORE)                                                          \
    PASS(COPY + 1, copy3, COPY3, LOAD, STORE)
#define OUTPUTS(LOAD, STORE)                                                                       \
    PASS(BACK, back4, BACK4, LOAD, STORE)                                                          \
    PASS(BACK + 1, back3, BACK3, LOAD, STORE)                                                      \
    PASS(COPY, copy4, COPY4, LOAD, STORE)                                                          \
    PASS(COPY + 1, copy3, COPY3, LOAD, STORE)
#define GRADIENTS(LOAD, STORE)                                                                     \
    PASS(TURNED, turned4, TURNED4, LOAD, STORE)                                                    \
    PASS(TURNED + 1, turned3, TURNED3, LOAD, STORE)
#define LOAD_PIECES(p) load_pieces(p, offset)
#define STORE_PIECES(v, p) store_pieces(v, p, offset)
DEFINE_PASS(pass_inputs, INPUTS, load, store)
DEFINE_PASS(pass_input_pieces, INPUTS, LOAD_PIECES, store)
DEFINE_PASS(pass_outputs, OUTPUTS, load, store)
DEFINE_PASS(pass_output_pieces, OUTPUTS, load, STORE_PIECES)
DEFINE_PASS(pass_gradients, GRADIENTS, load, store)
DEFINE_PASS(pass_gradient_pieces, GRADIENTS, LOAD_PIECES, store)

/* Both dimensions, from a tensor's tiles to points or back; `middle` takes what is in between. The first pass
 * goes over columns, whose values are a tensor's rows apart. */
struct transform {
    int row_kind, column_kind;
    int columns; /* that go into the first pass */
    int rows;    /* that go into the second one */
};

#define DEFINE_FROM_TENSOR(NAME, PASS, PASS_PIECES)                                                \
    INLINE void NAME(struct transform t, __global const float *restrict x, const int *offset,      \
                     int is_whole, int row, int column, __global float *restrict middle,           \
                     __global float *restrict v, int step, int columns)                            \
    {                                                                                              \
        const struct grid source = {row, column}, straight = {SIDE * WIDTH, WIDTH};                \
        const struct grid turned = {WIDTH, SIDE * WIDTH}, target = {step, columns * step};         \
        if (is_whole) {                                                                            \
            PASS(t.row_kind, x + offset[0], source, middle, straight, t.columns, offset);          \
        } else {                                                                                   \
            PASS_PIECES(t.row_kind, x, source, middle, straight, t.columns, offset);               \
        }                                                                                          \
        PASS(t.column_kind, middle, turned, v, target, t.rows, offset);                            \
    }
DEFINE_FROM_TENSOR(from_inputs, pass_inputs, pass_input_pieces)
DEFINE_FROM_TENSOR(from_gradients, pass_gradients, pass_gradient_pieces)

INLINE void to_tensor(struct transform t, __global const float *restrict m, int step, int columns,
                      __global float *restrict middle, __global float *restrict y, const int *offset,
                      int is_whole, int row, int column)
{
    const struct grid source = {columns * step, step}, straight = {SIDE * WIDTH, WIDTH};
    const struct grid turned = {WIDTH, SIDE * WIDTH}, target = {column, row};
    pass_outputs(t.row_kind, m, source, middle, straight, t.columns, offset);
    if (is_whole) {
        pass_outputs(t.column_kind, middle, turned, y + offset[0], target, t.rows, offset);
    } else {
        pass_output_pieces(t.column_kind, middle, turned, y, target, t.rows, offset);
    }
}

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

/* Inputs of a block of channels: x starts at the first of them. */
INLINE void transform_inputs(const struct winograd *k, const struct tiles *t, struct place at,
                             int is_backward, __global const float *restrict x, int channels,
                             __global float *restrict middle, __global float *restrict v, int v_step)
{
    const int is_odd_row = IS_ODD_ROW(at.phase), is_odd_column = IS_ODD_COLUMN(at.phase);
    const int scale = is_backward ? 1 : 2, odd = is_backward ? COPY : ODD;
    const int columns = points_of(t->columns, is_odd_column);
    const struct transform transform = {.row_kind = (is_odd_row ? odd : EVEN) + (t->rows == 3),
                                        .column_kind = (is_odd_column ? odd : EVEN) + (t->columns == 3),
                                        .columns = columns,
                                        .rows = points_of(t->rows, is_odd_row)};
    x += t->x + is_odd_row * k->x_row + is_odd_column * k->lanes;
    for (int q = 0; q < at.vectors; q++) {
        /* the last vector of all tiles ends with them and may repeat lanes of the one before */
        const int l = min((at.first + q) * WIDTH, t->total - WIDTH);
        const int is_whole = l % k->lanes <= k->lanes - WIDTH;
        int offset[PIECES];
        piece_offsets(l, k->lanes, t->tiles_x, scale * t->rows * k->x_row,
                      scale * t->columns * k->lanes, offset);
        for (int c = 0; c < channels; c++) {
            from_inputs(transform, x + (size_t)c * k->x_plane, offset, is_whole, scale * k->x_row,
                        scale * k->lanes, middle, v + c * k->stride + q * WIDTH, v_step, columns);
        }
    }
}

/* Outputs: y and m start at the first of them. */
INLINE void transform_outputs(const struct winograd *k, const struct tiles *t, struct place at,
                              int is_backward, __global const float *restrict m, int m_step, int outs,
                              __global float *restrict middle, __global float *restrict y)
{
    const int scale = is_backward ? 2 : 1;
    const int is_odd_row = is_backward && IS_ODD_ROW(at.phase);
    const int is_odd_column = is_backward && IS_ODD_COLUMN(at.phase);
    const int columns = points_of(t->columns, is_odd_column);
    const struct transform transform = {.row_kind = (is_odd_row ? COPY : BACK) + (t->rows == 3),
                                        .column_kind = (is_odd_column ? COPY : BACK) + (t->columns == 3),
                                        .columns = columns,
                                        .rows = t->rows};
    y += t->y + is_odd_row * k->y_row + is_odd_column * k->lanes;
    for (int q = 0; q < at.vectors; q++) {
        const int l = min((at.first + q) * WIDTH, t->total - WIDTH);
        const int is_whole = l % k->lanes <= k->lanes - WIDTH;
        int offset[PIECES];
        piece_offsets(l, k->lanes, t->tiles_x, scale * t->rows * k->y_row,
                      scale * t->columns * k->lanes, offset);
        for (int o = 0; o < outs; o++) {
            to_tensor(transform, m + o * k->stride + q * WIDTH, m_step, columns, middle,
                      y + (size_t)o * k->y_plane, offset, is_whole, scale * k->y_row, scale * k->lanes);
        }
    }
}

/* Products of one phase for a block of outputs: u starts at the block's first output and the block of
 * channels' first channel. Forward the points of all phases add up. */
INLINE void multiply_phase(const struct winograd *k, const struct tiles *t, struct place at,
                           int is_backward, __global const float *restrict v, int v_step,
                           __global const float *restrict u, __global float *restrict m, int m_step,
                           int channels, int blocks, int is_first)
{
    const int u_plane = (k->outs + OUTS - 1) / OUTS * k->channels * OUTS;
    const int is_odd_row = IS_ODD_ROW(at.phase), is_odd_column = IS_ODD_COLUMN(at.phase);
    const int rows = points_of(t->rows, is_odd_row), columns = points_of(t->columns, is_odd_column);
    const int m_columns = is_backward ? columns : t->columns + 1;
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < columns; j++) {
            const int point = (is_odd_row ? U_ODD : i) * U_SIDE + (is_odd_column ? U_ODD : j);
            multiply_point(v + (i * columns + j) * v_step, u + (size_t)point * u_plane,
                           m + (i * m_columns + j) * m_step, k->stride, channels, k->channels, blocks,
                           at.vectors, is_first);
        }
    }
}

/* m holds all outputs where their sums are not complete after one block of channels of one phase. */
INLINE void convolve(__global const float *restrict x, __global const float *restrict u,
                     __global float *restrict y, __global const struct winograd *restrict all,
                     __global float *restrict scratch, int is_backward)
{
    const struct winograd k = *all;
    const int group = get_group_id(0), groups = get_num_groups(0);
    const int keeps_all = !is_backward || k.channel_block < k.channels;
    const int out_blocks = (k.outs + OUTPUT_BLOCK - 1) / OUTPUT_BLOCK;
    const int u_blocks = (k.outs + OUTS - 1) / OUTS;
    const int v_step = k.channel_block * k.stride + PAD;
    const int m_step = (keeps_all ? out_blocks : 1) * OUTPUT_BLOCK * k.stride + PAD;
    __global float *middle = scratch + (size_t)group * POINTS * (WIDTH + v_step + m_step);
    __global float *v = middle + POINTS * WIDTH;
    __global float *m = v + (size_t)POINTS * v_step;

    for (int chunk = group; chunk < k.chunks; chunk += groups) {
        int size = 0;
        while (size + 1 < k.sizes && chunk >= k.tiles[size + 1].first_chunk) {
            size++;
        }
        const struct tiles t = k.tiles[size];
        const int all_vectors = (t.total + WIDTH - 1) / WIDTH, own = chunk - t.first_chunk;
        struct place at;
        at.first = (int)((long)own * all_vectors / t.chunks);
        at.vectors = (int)((long)(own + 1) * all_vectors / t.chunks) - at.first;
        for (at.phase = 0; at.phase < 4; at.phase++) {
            for (int c0 = 0; c0 < k.channels; c0 += k.channel_block) {
                const int channels = min(k.channel_block, k.channels - c0);
                const int is_complete =
                    (is_backward || at.phase == 3) && c0 + channels >= k.channels;
                transform_inputs(&k, &t, at, is_backward, x + (size_t)c0 * k.x_plane, channels, middle,
                                 v, v_step);
                for (int ob = 0; ob < out_blocks; ob++) {
                    const int first = ob * (OUTPUT_BLOCK / OUTS);
                    __global float *mo = m + (keeps_all ? ob * OUTPUT_BLOCK * k.stride : 0);
                    multiply_phase(&k, &t, at, is_backward, v, v_step,
                                   u + ((size_t)first * k.channels + c0) * OUTS, mo, m_step, channels,
                                   min(OUTPUT_BLOCK / OUTS, u_blocks - first),
                                   c0 == 0 && (is_backward || at.phase == 0));
                    if (is_complete) {
                        transform_outputs(&k, &t, at, is_backward, mo, m_step,
                                          min(OUTPUT_BLOCK, k.outs - ob * OUTPUT_BLOCK), middle,
                                          y + (size_t)ob * OUTPUT_BLOCK * k.y_plane);
                    }
                }
            }
        }
    }
}

KERNEL void winograd_stride2_forward(__global const float *restrict x, __global const float *restrict u,
                                     __global float *restrict y,
                                     __global const struct winograd *restrict all,
                                     __global float *restrict scratch, int u_base)
{
    convolve(x, u + u_base, y, all, scratch, 0);
}

KERNEL void winograd_stride2_backward(__global const float *restrict x,
                                      __global const float *restrict u, __global float *restrict y,
                                      __global const struct winograd *restrict all,
                                      __global float *restrict scratch, int u_base)
{
    convolve(x, u + u_base, y, all, scratch, 1);
}

typedef float outs_vec __attribute__((ext_vector_type(OUTS), aligned(4)));

INLINE void transform_weights(outs_vec w0, outs_vec w1, outs_vec w2, outs_vec *r)
{
    r[0] = w0;
    r[1] = w2;
    r[2] = w0 + w2;
    r[3] = w0 - w2;
    r[4] = w0 + 2.0f * w2;
    r[5] = w1;
}

/* Where the direct kernels have a tap of the way back: they sum the four phases up one after the other, so
 * the taps 0 2 6 8, then 1 7, then 3 5, then 4 of all blocks of outputs lie together. In units of OUTS. */
INLINE size_t backward_tap(int row, int column, int ob, int blocks, int channels, int c)
{
    const int is_odd_row = row == 1, is_odd_column = column == 1;
    const int columns = 2 - is_odd_column, taps = (2 - is_odd_row) * columns;
    const int before = is_odd_row ? (is_odd_column ? 8 : 6) : (is_odd_column ? 4 : 0);
    return (size_t)before * blocks * channels + ((size_t)ob * channels + c) * taps +
           row / 2 * columns + column / 2;
}

/* u from the direct kernels' weights, forward [output / OUTS][channel][tap][OUTS]; on the way back the taps
 * are turned by half. One work-item a block of outputs. */
KERNEL void winograd_stride2_weights(__global const float *restrict arranged,
                                     __global float *restrict u, int from_base, int u_base,
                                     int channels, int is_turned)
{
    const int ob = get_group_id(0), u_blocks = get_num_groups(0);
    for (int c = 0; c < channels; c++) {
        outs_vec t[U_SIDE][3];
        UNROLL for (int j = 0; j < 3; j++)
        {
            outs_vec g[3], r[U_SIDE];
            UNROLL for (int i = 0; i < 3; i++)
            {
                const size_t tap = is_turned ? backward_tap(2 - i, 2 - j, ob, u_blocks, channels, c)
                                             : ((size_t)ob * channels + c) * 9 + i * 3 + j;
                g[i] = *(__global const outs_vec *)(arranged + from_base + tap * OUTS);
            }
            transform_weights(g[0], g[1], g[2], r);
            UNROLL for (int i = 0; i < U_SIDE; i++) { t[i][j] = r[i]; }
        }
        UNROLL for (int i = 0; i < U_SIDE; i++)
        {
            outs_vec r[U_SIDE];
            transform_weights(t[i][0], t[i][1], t[i][2], r);
            UNROLL for (int j = 0; j < U_SIDE; j++)
            {
                *(__global outs_vec *)(u + u_base +
                                       (((size_t)(i * U_SIDE + j) * u_blocks + ob) * channels + c) *
                                           OUTS) = r[j];
            }
        }
    }
}

/* ---- Weight gradient -------------------------------------------------------------------------

 * The same algorithm read backwards: each phase's transformed inputs times the transformed gradients of
 * the tiles, A dz A^T, are summed over tiles and lanes to m [6 x 6][channel][output]; in an odd direction
 * all points end in the one of w1. The transformed dz is turned to [point][lane][output], so that the
 * products run over vectors of outputs. A work-item sums up its part of the chunks in its own place of
 * `partial`; winograd_stride2_gradient_finish adds the parts and transforms back.
 */
#define U_POINTS (U_SIDE * U_SIDE)

struct winograd_gradient {
    int channels, outs, lanes;
    int x_row, x_plane, dz_row, dz_plane;
    int stride, chunks, parts, sizes;
    struct tiles tiles[4]; /* y: of dz */
};

/* d [point][lane][output] of a chunk; lanes that the vector before had count as zero. `tile` takes WIDTH
 * outputs, [point][output][lane]; those past the last one repeat it. */
INLINE void turn_gradients(const struct winograd_gradient *k, const struct tiles *t, struct place at,
                           __global const float *restrict dz, __global float *restrict middle,
                           __global float *restrict tile, __global float *restrict d, int d_row,
                           int d_step)
{
    const struct transform transform = {.row_kind = TURNED + (t->rows == 3),
                                        .column_kind = TURNED + (t->columns == 3),
                                        .columns = t->columns,
                                        .rows = t->rows + 1};
    const int points = (t->rows + 1) * (t->columns + 1);
    for (int q = 0; q < at.vectors; q++) {
        const int begin = (at.first + q) * WIDTH, l = min(begin, t->total - WIDTH);
        const int is_whole = l % k->lanes <= k->lanes - WIDTH;
        int offset[PIECES];
        piece_offsets(l, k->lanes, t->tiles_x, t->rows * k->dz_row, t->columns * k->lanes, offset);
        for (int o = 0; o < d_row; o += WIDTH) {
            for (int i = 0; i < WIDTH; i++) {
                from_gradients(transform, dz + t->y + (size_t)min(o + i, k->outs - 1) * k->dz_plane, offset,
                            is_whole, k->dz_row, k->lanes, middle, tile + i * WIDTH, WIDTH * WIDTH,
                            t->columns + 1);
            }
            for (int p = 0; p < points; p++) {
                vec r[WIDTH];
                UNROLL for (int i = 0; i < WIDTH; i++) { r[i] = load(tile + (p * WIDTH + i) * WIDTH); }
                transpose(r);
                UNROLL for (int i = 0; i < WIDTH; i++)
                {
                    store(i < begin - l ? (vec)0.0f : r[i],
                          d + (size_t)p * d_step + (q * WIDTH + i) * d_row + o);
                }
            }
        }
    }
}

KERNEL void winograd_stride2_gradient(__global const float *restrict x,
                                      __global const float *restrict dz,
                                      __global float *restrict partial,
                                      __global const struct winograd_gradient *restrict all,
                                      __global float *restrict scratch)
{
    const struct winograd_gradient k = *all;
    const struct winograd inputs = {
        .lanes = k.lanes, .x_row = k.x_row, .x_plane = k.x_plane, .stride = k.stride};
    const int part = get_group_id(0);
    const int outputs = (k.outs + PRODUCT_OUTPUTS - 1) / PRODUCT_OUTPUTS * PRODUCT_OUTPUTS;
    const int v_step = k.channels * k.stride + PAD;
    const int d_step = outputs * k.stride + PAD;
    const size_t sums = (size_t)k.channels * outputs;
    __global float *middle = scratch + part * ((size_t)POINTS * (WIDTH + v_step + d_step + WIDTH * WIDTH));
    __global float *v = middle + POINTS * WIDTH;
    __global float *d = v + (size_t)POINTS * v_step;
    __global float *tile = d + (size_t)POINTS * d_step;
    __global float *m = partial + (size_t)part * U_POINTS * sums;
    const int begin = (int)((long)k.chunks * part / k.parts);
    const int end = (int)((long)k.chunks * (part + 1) / k.parts);

    for (size_t i = 0; i < U_POINTS * sums; i += WIDTH) {
        store((vec)0.0f, m + i);
    }
    for (int chunk = begin; chunk < end; chunk++) {
        int size = 0;
        while (size + 1 < k.sizes && chunk >= k.tiles[size + 1].first_chunk) {
            size++;
        }
        const struct tiles t = k.tiles[size];
        const int all_vectors = (t.total + WIDTH - 1) / WIDTH, own = chunk - t.first_chunk;
        struct place at;
        at.first = (int)((long)own * all_vectors / t.chunks);
        at.vectors = (int)((long)(own + 1) * all_vectors / t.chunks) - at.first;
        turn_gradients(&k, &t, at, dz, middle, tile, d, outputs, d_step);
        for (at.phase = 0; at.phase < 4; at.phase++) {
            const int is_odd_row = IS_ODD_ROW(at.phase), is_odd_column = IS_ODD_COLUMN(at.phase);
            const int rows = points_of(t.rows, is_odd_row), columns = points_of(t.columns, is_odd_column);
            transform_inputs(&inputs, &t, at, 0, x, k.channels, middle, v, v_step);
            for (int i = 0; i < rows; i++) {
                for (int j = 0; j < columns; j++) {
                    const int point = (is_odd_row ? U_ODD : i) * U_SIDE + (is_odd_column ? U_ODD : j);
                    add_products(v + (size_t)(i * columns + j) * v_step, k.stride,
                                 d + (size_t)(i * (t.columns + 1) + j) * d_step, outputs,
                                 m + point * sums, k.channels, at.vectors * WIDTH, 0);
                }
            }
        }
    }
}

/* One dimension, from the six sums to three taps. */
INLINE void taps_of_sums(const vec *m, vec *taps)
{
    vec s = m[2] + m[3], e = m[2] - m[3];
    taps[0] = m[0] + s + m[4];
    taps[1] = m[5];
    taps[2] = m[1] + e + 2.0f * m[4];
}

/* gradients[o][tap][c] from the parts, in order; the bias gradient likewise from batch norm's row sums.
 * One work-item an input channel. */
KERNEL void winograd_stride2_gradient_finish(__global const float *restrict partial,
                                             __global const float *restrict bias_partial,
                                             __global float *restrict gradients, int base,
                                             int channels, int outs, int parts, int bias_parts,
                                             float bias_scale)
{
    const int c = get_group_id(0);
    const int outputs = (outs + PRODUCT_OUTPUTS - 1) / PRODUCT_OUTPUTS * PRODUCT_OUTPUTS;
    const size_t sums = (size_t)channels * outputs;
    for (int o = 0; o < outs; o += WIDTH) {
        vec m[U_POINTS], t[3][U_SIDE];
        UNROLL for (int p = 0; p < U_POINTS; p++)
        {
            m[p] = load(partial + p * sums + (size_t)c * outputs + o);
        }
        for (int part = 1; part < parts; part++) {
            __global const float *more = partial + part * U_POINTS * sums + (size_t)c * outputs + o;
            UNROLL for (int p = 0; p < U_POINTS; p++) { m[p] += load(more + p * sums); }
        }
        UNROLL for (int j = 0; j < U_SIDE; j++)
        {
            vec column[U_SIDE], taps[3];
            UNROLL for (int i = 0; i < U_SIDE; i++) { column[i] = m[i * U_SIDE + j]; }
            taps_of_sums(column, taps);
            UNROLL for (int i = 0; i < 3; i++) { t[i][j] = taps[i]; }
        }
        UNROLL for (int i = 0; i < 3; i++)
        {
            vec taps[3];
            taps_of_sums(t[i], taps);
            UNROLL for (int j = 0; j < 3; j++)
            {
                for (int q = 0; q < WIDTH && o + q < outs; q++) {
                    gradients[base + ((size_t)(o + q) * 9 + i * 3 + j) * channels + c] = taps[j][q];
                }
            }
        }
    }
    if (c == 0) {
        finish_bias(bias_partial, gradients + base + outs * 9 * channels, outs, bias_parts, bias_scale);
    }
}
