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
#define POINTS 25
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

/* ---- Transforms of one dimension: how many values go in, how many points come out ---- */

#define even4_IN 5
#define even4_POINTS 5
INLINE void even4(const vec *d, vec *r)
{
    vec s = d[3] - d[1];
    r[0] = d[0] - d[2] + 0.5f * s;
    r[1] = d[4] - d[2] - 2.0f * s;
    r[2] = d[1] + 0.5f * (d[2] - d[3]);
    r[3] = 0.5f * (d[2] - d[1]) - (1.0f / 6) * s;
    r[4] = (1.0f / 6) * s;
}

#define even3_IN 4
#define even3_POINTS 4
INLINE void even3(const vec *d, vec *r)
{
    r[0] = d[0] - d[2];
    r[1] = d[3] - d[1];
    r[2] = 0.5f * (d[1] + d[2]);
    r[3] = 0.5f * (d[2] - d[1]);
}

#define odd4_IN 4
#define odd4_POINTS 4
INLINE void odd4(const vec *d, vec *r)
{
    even3(d, r);
}

#define odd3_IN 3
#define odd3_POINTS 3
INLINE void odd3(const vec *d, vec *r)
{
    r[0] = d[0] - d[1];
    r[1] = d[2] - d[1];
    r[2] = d[1];
}

#define copy4_IN 4
#define copy4_POINTS 4
INLINE void copy4(const vec *d, vec *r)
{
    UNROLL for (int i = 0; i < 4; i++) { r[i] = d[i]; }
}

#define copy3_IN 3
#define copy3_POINTS 3
INLINE void copy3(const vec *d, vec *r)
{
    UNROLL for (int i = 0; i < 3; i++) { r[i] = d[i]; }
}

/* Back from points to outputs. */
#define even4_OUT 4
INLINE void even4_back(const vec *m, vec *y)
{
    vec s = m[2] + m[3], e = m[2] - m[3];
    y[0] = m[0] + s + m[4];
    y[1] = e + 2.0f * m[4];
    y[2] = s + 4.0f * m[4];
    y[3] = m[1] + e + 8.0f * m[4];
}

#define even3_OUT 3
INLINE void even3_back(const vec *m, vec *y)
{
    vec s = m[2] + m[3];
    y[0] = m[0] + s;
    y[1] = m[2] - m[3];
    y[2] = m[1] + s;
}

#define copy4_OUT 4
INLINE void copy4_back(const vec *m, vec *y)
{
    copy4(m, y);
}

#define copy3_OUT 3
INLINE void copy3_back(const vec *m, vec *y)
{
    copy3(m, y);
}

/* ---- Two dimensions -------------------------------------------------------------------------- */

/* One phase of a vector of lanes: v [row point][column point], `step` apart. */
#define DEFINE_INPUT(R, C)                                                                         \
    INLINE void input_##R##_##C(__global const float *restrict x, const int *offset, int is_whole, \
                                int row, int column, __global float *restrict v, int step)         \
    {                                                                                              \
        vec t[R##_POINTS][C##_IN];                                                                 \
        UNROLL for (int j = 0; j < C##_IN; j++)                                                    \
        {                                                                                          \
            vec d[R##_IN], r[R##_POINTS];                                                          \
            UNROLL for (int i = 0; i < R##_IN; i++)                                                \
            {                                                                                      \
                __global const float *p = x + i * row + j * column;                                \
                d[i] = is_whole ? load(p) : load_pieces(p, offset);                                \
            }                                                                                      \
            R(d, r);                                                                               \
            UNROLL for (int i = 0; i < R##_POINTS; i++) { t[i][j] = r[i]; }                        \
        }                                                                                          \
        UNROLL for (int i = 0; i < R##_POINTS; i++)                                                \
        {                                                                                          \
            vec r[C##_POINTS];                                                                     \
            C(t[i], r);                                                                            \
            UNROLL for (int j = 0; j < C##_POINTS; j++)                                            \
            {                                                                                      \
                store(r[j], v + (i * C##_POINTS + j) * step);                                      \
            }                                                                                      \
        }                                                                                          \
    }

#define DEFINE_OUTPUT(R, C)                                                                        \
    INLINE void output_##R##_##C(__global const float *restrict m, int step,                       \
                                 __global float *restrict y, const int *offset, int is_whole,      \
                                 int row, int column)                                              \
    {                                                                                              \
        vec t[R##_OUT][C##_POINTS];                                                                \
        UNROLL for (int j = 0; j < C##_POINTS; j++)                                                \
        {                                                                                          \
            vec d[R##_POINTS], r[R##_OUT];                                                         \
            UNROLL for (int i = 0; i < R##_POINTS; i++)                                            \
            {                                                                                      \
                d[i] = load(m + (i * C##_POINTS + j) * step);                                      \
            }                                                                                      \
            R##_back(d, r);                                                                        \
            UNROLL for (int i = 0; i < R##_OUT; i++) { t[i][j] = r[i]; }                           \
        }                                                                                          \
        UNROLL for (int i = 0; i < R##_OUT; i++)                                                   \
        {                                                                                          \
            vec r[C##_OUT];                                                                        \
            C##_back(t[i], r);                                                                     \
            UNROLL for (int j = 0; j < C##_OUT; j++)                                               \
            {                                                                                      \
                __global float *p = y + i * row + j * column;                                      \
                if (is_whole) {                                                                    \
                    store(r[j], p);                                                                \
                } else {                                                                           \
                    store_pieces(r[j], p, offset);                                                 \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

DEFINE_INPUT(even4, even4)
DEFINE_INPUT(even4, odd4)
DEFINE_INPUT(odd4, even4)
DEFINE_INPUT(odd4, odd4)
DEFINE_INPUT(even4, copy4)
DEFINE_INPUT(copy4, even4)
DEFINE_INPUT(copy4, copy4)
DEFINE_OUTPUT(even4, even4)
DEFINE_OUTPUT(even4, copy4)
DEFINE_OUTPUT(copy4, even4)
DEFINE_OUTPUT(copy4, copy4)
#ifdef THREES /* sides that are no multiples of four: tiles of three outputs, too */
DEFINE_INPUT(even4, even3)
DEFINE_INPUT(even4, odd3)
DEFINE_INPUT(odd4, even3)
DEFINE_INPUT(odd4, odd3)
DEFINE_INPUT(even3, even4)
DEFINE_INPUT(even3, odd4)
DEFINE_INPUT(odd3, even4)
DEFINE_INPUT(odd3, odd4)
DEFINE_INPUT(even3, even3)
DEFINE_INPUT(even3, odd3)
DEFINE_INPUT(odd3, even3)
DEFINE_INPUT(odd3, odd3)
DEFINE_INPUT(even4, copy3)
DEFINE_INPUT(copy4, even3)
DEFINE_INPUT(copy4, copy3)
DEFINE_INPUT(even3, copy4)
DEFINE_INPUT(copy3, even4)
DEFINE_INPUT(copy3, copy4)
DEFINE_INPUT(even3, copy3)
DEFINE_INPUT(copy3, even3)
DEFINE_INPUT(copy3, copy3)
DEFINE_OUTPUT(even4, even3)
DEFINE_OUTPUT(even4, copy3)
DEFINE_OUTPUT(copy4, even3)
DEFINE_OUTPUT(copy4, copy3)
DEFINE_OUTPUT(even3, even4)
DEFINE_OUTPUT(even3, copy4)
DEFINE_OUTPUT(copy3, even4)
DEFINE_OUTPUT(copy3, copy4)
DEFINE_OUTPUT(even3, even3)
DEFINE_OUTPUT(even3, copy3)
DEFINE_OUTPUT(copy3, even3)
DEFINE_OUTPUT(copy3, copy3)
#endif

#define IS_ODD_ROW(phase) ((phase) >> 1)
#define IS_ODD_COLUMN(phase) ((phase) & 1)

/* Names a size of tiles and a phase. */
#define SITE(rows, columns, phase) (((rows) - 3) * 8 + ((columns) - 3) * 4 + (phase))

#define INPUT_SITE(ROWS, COLUMNS, PHASE, R, C)                                                     \
    case SITE(ROWS, COLUMNS, PHASE):                                                               \
        for (int c = 0; c < channels; c++) {                                                       \
            input_##R##_##C(x + (size_t)c * plane, offset, is_whole, row, column, v + c * stride,  \
                            step);                                                                 \
        }                                                                                          \
        break;

#define INPUT_SITES(ROWS, COLUMNS, R_EVEN, R_ODD, C_EVEN, C_ODD)                                   \
    INPUT_SITE(ROWS, COLUMNS, 0, R_EVEN, C_EVEN)                                                   \
    INPUT_SITE(ROWS, COLUMNS, 1, R_EVEN, C_ODD)                                                    \
    INPUT_SITE(ROWS, COLUMNS, 2, R_ODD, C_EVEN)                                                    \
    INPUT_SITE(ROWS, COLUMNS, 3, R_ODD, C_ODD)

INLINE void forward_inputs(int site, __global const float *restrict x, const int *offset,
                           int is_whole, int row, int column, int plane, int channels,
                           __global float *restrict v, int stride, int step)
{
    switch (site) {
        INPUT_SITES(4, 4, even4, odd4, even4, odd4)
#ifdef THREES
        INPUT_SITES(4, 3, even4, odd4, even3, odd3)
        INPUT_SITES(3, 4, even3, odd3, even4, odd4)
        INPUT_SITES(3, 3, even3, odd3, even3, odd3)
#endif
    }
}

INLINE void backward_inputs(int site, __global const float *restrict x, const int *offset,
                            int is_whole, int row, int column, int plane, int channels,
                            __global float *restrict v, int stride, int step)
{
    switch (site) {
        INPUT_SITES(4, 4, even4, copy4, even4, copy4)
#ifdef THREES
        INPUT_SITES(4, 3, even4, copy4, even3, copy3)
        INPUT_SITES(3, 4, even3, copy3, even4, copy4)
        INPUT_SITES(3, 3, even3, copy3, even3, copy3)
#endif
    }
}

#define OUTPUT_SITE(ROWS, COLUMNS, PHASE, R, C)                                                    \
    case SITE(ROWS, COLUMNS, PHASE):                                                               \
        for (int o = 0; o < outs; o++) {                                                           \
            output_##R##_##C(m + o * stride, step, y + (size_t)o * plane, offset, is_whole, row,   \
                             column);                                                              \
        }                                                                                          \
        break;

#define OUTPUT_SITES(ROWS, COLUMNS, R_EVEN, R_ODD, C_EVEN, C_ODD)                                  \
    OUTPUT_SITE(ROWS, COLUMNS, 0, R_EVEN, C_EVEN)                                                  \
    OUTPUT_SITE(ROWS, COLUMNS, 1, R_EVEN, C_ODD)                                                   \
    OUTPUT_SITE(ROWS, COLUMNS, 2, R_ODD, C_EVEN)                                                   \
    OUTPUT_SITE(ROWS, COLUMNS, 3, R_ODD, C_ODD)

INLINE void forward_outputs(int site, __global const float *restrict m, int stride, int step,
                            int outs, __global float *restrict y, const int *offset, int is_whole,
                            int row, int column, int plane)
{
    switch (site) {
        OUTPUT_SITE(4, 4, 0, even4, even4)
#ifdef THREES
        OUTPUT_SITE(4, 3, 0, even4, even3)
        OUTPUT_SITE(3, 4, 0, even3, even4)
        OUTPUT_SITE(3, 3, 0, even3, even3)
#endif
    }
}

INLINE void backward_outputs(int site, __global const float *restrict m, int stride, int step,
                             int outs, __global float *restrict y, const int *offset, int is_whole,
                             int row, int column, int plane)
{
    switch (site) {
        OUTPUT_SITES(4, 4, even4, copy4, even4, copy4)
#ifdef THREES
        OUTPUT_SITES(4, 3, even4, copy4, even3, copy3)
        OUTPUT_SITES(3, 4, even3, copy3, even4, copy4)
        OUTPUT_SITES(3, 3, even3, copy3, even3, copy3)
#endif
    }
}

/* ---- A chunk --------------------------------------------------------------------------------- */

struct place {
    int first, vectors, phase;
};

/* Inputs of a block of channels: x starts at the first of them. */
INLINE void transform_inputs(const struct winograd *k, const struct tiles *t, struct place at,
                             int is_backward, __global const float *restrict x, int channels,
                             __global float *restrict v, int v_step)
{
    const int scale = is_backward ? 1 : 2;
    const int tile_row = scale * t->rows * k->x_row, tile_column = scale * t->columns * k->lanes;
    const int site = SITE(t->rows, t->columns, at.phase);
    x += t->x + IS_ODD_ROW(at.phase) * k->x_row + IS_ODD_COLUMN(at.phase) * k->lanes;
    for (int q = 0; q < at.vectors; q++) {
        /* the last vector of all tiles ends with them and may repeat lanes of the one before */
        const int l = min((at.first + q) * WIDTH, t->total - WIDTH);
        int offset[PIECES];
        piece_offsets(l, k->lanes, t->tiles_x, tile_row, tile_column, offset);
        __global float *vq = v + q * WIDTH;
        if (l % k->lanes <= k->lanes - WIDTH) {
            if (is_backward) {
                backward_inputs(site, x + offset[0], offset, 1, k->x_row, k->lanes, k->x_plane,
                                channels, vq, k->stride, v_step);
            } else {
                forward_inputs(site, x + offset[0], offset, 1, 2 * k->x_row, 2 * k->lanes,
                               k->x_plane, channels, vq, k->stride, v_step);
            }
        } else if (is_backward) {
            backward_inputs(site, x, offset, 0, k->x_row, k->lanes, k->x_plane, channels, vq,
                            k->stride, v_step);
        } else {
            forward_inputs(site, x, offset, 0, 2 * k->x_row, 2 * k->lanes, k->x_plane, channels, vq,
                           k->stride, v_step);
        }
    }
}

/* Outputs: y and m start at the first of them. */
INLINE void transform_outputs(const struct winograd *k, const struct tiles *t, struct place at,
                              int is_backward, __global const float *restrict m, int m_step,
                              int outs, __global float *restrict y)
{
    const int scale = is_backward ? 2 : 1;
    const int tile_row = scale * t->rows * k->y_row, tile_column = scale * t->columns * k->lanes;
    const int site = SITE(t->rows, t->columns, is_backward ? at.phase : 0);
    y += t->y;
    if (is_backward) {
        y += IS_ODD_ROW(at.phase) * k->y_row + IS_ODD_COLUMN(at.phase) * k->lanes;
    }
    for (int q = 0; q < at.vectors; q++) {
        const int l = min((at.first + q) * WIDTH, t->total - WIDTH);
        int offset[PIECES];
        piece_offsets(l, k->lanes, t->tiles_x, tile_row, tile_column, offset);
        __global const float *mq = m + q * WIDTH;
        if (l % k->lanes <= k->lanes - WIDTH) {
            if (is_backward) {
                backward_outputs(site, mq, k->stride, m_step, outs, y + offset[0], offset, 1,
                                 2 * k->y_row, 2 * k->lanes, k->y_plane);
            } else {
                forward_outputs(site, mq, k->stride, m_step, outs, y + offset[0], offset, 1,
                                k->y_row, k->lanes, k->y_plane);
            }
        } else if (is_backward) {
            backward_outputs(site, mq, k->stride, m_step, outs, y, offset, 0, 2 * k->y_row,
                             2 * k->lanes, k->y_plane);
        } else {
            forward_outputs(site, mq, k->stride, m_step, outs, y, offset, 0, k->y_row, k->lanes,
                            k->y_plane);
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
    const int rows = t->rows + !is_odd_row, columns = t->columns + !is_odd_column;
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
    __global float *v = scratch + (size_t)group * POINTS * (v_step + m_step);
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
                transform_inputs(&k, &t, at, is_backward, x + (size_t)c0 * k.x_plane, channels, v,
                                 v_step);
                for (int ob = 0; ob < out_blocks; ob++) {
                    const int first = ob * (OUTPUT_BLOCK / OUTS);
                    __global float *mo = m + (keeps_all ? ob * OUTPUT_BLOCK * k.stride : 0);
                    multiply_phase(&k, &t, at, is_backward, v, v_step,
                                   u + ((size_t)first * k.channels + c0) * OUTS, mo, m_step, channels,
                                   min(OUTPUT_BLOCK / OUTS, u_blocks - first),
                                   c0 == 0 && (is_backward || at.phase == 0));
                    if (is_complete) {
                        transform_outputs(&k, &t, at, is_backward, mo, m_step,
                                          min(OUTPUT_BLOCK, k.outs - ob * OUTPUT_BLOCK),
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

#define even4_TURNED 5
INLINE void even4_turned(const vec *y, vec *r)
{
    vec even = y[0] + y[2], odd = y[1] + y[3];
    r[0] = y[0];
    r[1] = y[3];
    r[2] = even + odd;
    r[3] = even - odd;
    r[4] = y[0] + 4.0f * y[2] + 2.0f * y[1] + 8.0f * y[3];
}

#define even3_TURNED 4
INLINE void even3_turned(const vec *y, vec *r)
{
    vec even = y[0] + y[2];
    r[0] = y[0];
    r[1] = y[2];
    r[2] = even + y[1];
    r[3] = even - y[1];
}

/* A tile of dz of a vector of lanes to its points, WIDTH * WIDTH apart. */
#define DEFINE_GRADIENT(R, C)                                                                      \
    INLINE void gradient_##R##_##C(__global const float *restrict dz, const int *offset,           \
                                   int is_whole, int row, int column, __global float *restrict v)  \
    {                                                                                              \
        vec t[R##_TURNED][C##_OUT];                                                                \
        UNROLL for (int j = 0; j < C##_OUT; j++)                                                   \
        {                                                                                          \
            vec d[R##_OUT], r[R##_TURNED];                                                         \
            UNROLL for (int i = 0; i < R##_OUT; i++)                                               \
            {                                                                                      \
                __global const float *p = dz + i * row + j * column;                               \
                d[i] = is_whole ? load(p) : load_pieces(p, offset);                                \
            }                                                                                      \
            R##_turned(d, r);                                                                      \
            UNROLL for (int i = 0; i < R##_TURNED; i++) { t[i][j] = r[i]; }                        \
        }                                                                                          \
        UNROLL for (int i = 0; i < R##_TURNED; i++)                                                \
        {                                                                                          \
            vec r[C##_TURNED];                                                                     \
            C##_turned(t[i], r);                                                                   \
            UNROLL for (int j = 0; j < C##_TURNED; j++)                                            \
            {                                                                                      \
                store(r[j], v + (i * C##_TURNED + j) * WIDTH * WIDTH);                             \
            }                                                                                      \
        }                                                                                          \
    }

DEFINE_GRADIENT(even4, even4)
#ifdef THREES
DEFINE_GRADIENT(even4, even3)
DEFINE_GRADIENT(even3, even4)
DEFINE_GRADIENT(even3, even3)
#endif

#define GRADIENT_SITE(ROWS, COLUMNS, R, C)                                                         \
    case SITE(ROWS, COLUMNS, 0):                                                                   \
        for (int i = 0; i < WIDTH; i++) {                                                          \
            gradient_##R##_##C(dz + (size_t)min(i, outs - 1) * plane, offset, is_whole, row,       \
                               column, tile + i * WIDTH);                                          \
        }                                                                                          \
        break;

/* WIDTH outputs, those past the last one repeat it: tile [point][output][lane]. */
INLINE void gradient_inputs(int site, __global const float *restrict dz, const int *offset,
                            int is_whole, int row, int column, int plane, int outs,
                            __global float *restrict tile)
{
    switch (site) {
        GRADIENT_SITE(4, 4, even4, even4)
#ifdef THREES
        GRADIENT_SITE(4, 3, even4, even3)
        GRADIENT_SITE(3, 4, even3, even4)
        GRADIENT_SITE(3, 3, even3, even3)
#endif
    }
}

/* d [point][lane][output] of a chunk; lanes that the vector before had count as zero. */
INLINE void turn_gradients(const struct winograd_gradient *k, const struct tiles *t, struct place at,
                           __global const float *restrict dz, __global float *restrict tile,
                           __global float *restrict d, int d_row, int d_step)
{
    const int points = (t->rows + 1) * (t->columns + 1);
    for (int q = 0; q < at.vectors; q++) {
        const int begin = (at.first + q) * WIDTH, l = min(begin, t->total - WIDTH);
        const int is_whole = l % k->lanes <= k->lanes - WIDTH;
        int offset[PIECES];
        piece_offsets(l, k->lanes, t->tiles_x, t->rows * k->dz_row, t->columns * k->lanes, offset);
        for (int o = 0; o < d_row; o += WIDTH) {
            __global const float *from = dz + t->y + (size_t)min(o, k->outs - 1) * k->dz_plane;
            const int outs = max(k->outs - o, 1), site = SITE(t->rows, t->columns, 0);
            if (is_whole) {
                gradient_inputs(site, from + offset[0], offset, 1, k->dz_row, k->lanes, k->dz_plane,
                                outs, tile);
            } else {
                gradient_inputs(site, from, offset, 0, k->dz_row, k->lanes, k->dz_plane, outs, tile);
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
    const struct winograd inputs = {.lanes = k.lanes, .x_row = k.x_row, .x_plane = k.x_plane, .stride = k.stride};
    const int part = get_group_id(0);
    const int outputs = (k.outs + PRODUCT_OUTPUTS - 1) / PRODUCT_OUTPUTS * PRODUCT_OUTPUTS;
    const int v_step = k.channels * k.stride + PAD;
    const int d_step = outputs * k.stride + PAD;
    const size_t sums = (size_t)k.channels * outputs;
    __global float *v = scratch + part * ((size_t)POINTS * (v_step + d_step + WIDTH * WIDTH));
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
        turn_gradients(&k, &t, at, dz, tile, d, outputs, d_step);
        for (at.phase = 0; at.phase < 4; at.phase++) {
            const int is_odd_row = IS_ODD_ROW(at.phase), is_odd_column = IS_ODD_COLUMN(at.phase);
            const int rows = t.rows + !is_odd_row, columns = t.columns + !is_odd_column;
            transform_inputs(&inputs, &t, at, 0, x, k.channels, v, v_step);
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
