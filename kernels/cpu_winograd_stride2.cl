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
#include "winograd_products.cl"
#include "winograd_stride2_inputs.cl"

#define OUTPUT_BLOCK (2 * OUTS)

/* ---- Outputs --------------------------------------------------------------------------------- */

enum { back4_from = 5, back4_to = 4 };
INLINE void back4(const vec *m, vec *y)
{
    vec s = m[2] + m[3], e = m[2] - m[3];
    y[0] = m[0] + s + m[4];
    y[1] = e + 2.0f * m[4];
    y[2] = s + 4.0f * m[4];
    y[3] = m[1] + e + 8.0f * m[4];
}

enum { back3_from = 4, back3_to = 3 };
INLINE void back3(const vec *m, vec *y)
{
    vec s = m[2] + m[3];
    y[0] = m[0] + s;
    y[1] = m[2] - m[3];
    y[2] = m[1] + s;
}

#define OUTPUTS(LOAD, STORE)                                                                       \
    PASS(back4, LOAD, STORE)                                                                       \
    PASS(back3, LOAD, STORE)                                                                       \
    PASS(copy4, LOAD, STORE)                                                                       \
    PASS(copy3, LOAD, STORE)
#define STORE_PIECES(v, p) store_pieces(v, p, offset)
DEFINE_PASS(pass_outputs, OUTPUTS, load, store)
DEFINE_PASS(pass_output_pieces, OUTPUTS, load, STORE_PIECES)

#define OUTPUT_PAIRS(DO)                                                                           \
    DO(back4, back4) DO(back4, back3) DO(back3, back4) DO(back3, back3)                            \
    DO(back4, copy4) DO(back4, copy3) DO(back3, copy4) DO(back3, copy3)                            \
    DO(copy4, back4) DO(copy4, back3) DO(copy3, back4) DO(copy3, back3)
DEFINE_PAIRS(both_outputs, OUTPUT_PAIRS)

INLINE void to_tensor(struct transform t, __global const float *restrict m, int step, int columns,
                      __global float *restrict middle, __global float *restrict y, const int *offset,
                      int is_whole, int row, int column)
{
    const struct grid source = {columns * step, step}, straight = {SIDE * WIDTH, WIDTH};
    const struct grid turned = {WIDTH, SIDE * WIDTH}, target = {column, row};
    if (is_whole) {
        both_outputs(PAIR(t.row_kind, t.column_kind), m, columns * step, step, y + offset[0], row, column);
    } else {
        pass_outputs(t.row_kind, m, source, middle, straight, t.columns, offset);
        pass_output_pieces(t.column_kind, middle, turned, y, target, t.rows, offset);
    }
}

INLINE int output_kind(int places, int is_odd)
{
    return places == 4 ? (is_odd ? copy4_kind : back4_kind) : (is_odd ? copy3_kind : back3_kind);
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
    const struct transform transform = {.row_kind = output_kind(t->rows, is_odd_row),
                                        .column_kind = output_kind(t->columns, is_odd_column),
                                        .columns = columns,
                                        .rows = t->rows};
    y += t->y + is_odd_row * k->y_row + is_odd_column * k->lanes;
    int offsets[MAX_VECTORS * PIECES], is_whole[MAX_VECTORS];
    find_vectors(at.first, at.vectors, t->total, k->lanes, t->tiles_x, scale * t->rows * k->y_row,
                 scale * t->columns * k->lanes, offsets, is_whole);
    for (int o = 0; o < outs; o++) {
        if (o + 1 < outs) {
            prefetch_tiles(y + (size_t)(o + 1) * k->y_plane, offsets, at.vectors, t->rows, t->columns,
                           scale * k->y_row, scale * k->lanes);
        }
        for (int q = 0; q < at.vectors; q++) {
            to_tensor(transform, m + o * k->stride + q * WIDTH, m_step, columns, middle,
                      y + (size_t)o * k->y_plane, offsets + q * PIECES, is_whole[q],
                      scale * k->y_row, scale * k->lanes);
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
KERNEL void winograd_stride2(__global const float *restrict x, __global const float *restrict u,
                             __global float *restrict y, __global const struct winograd *restrict all,
                             __global float *restrict scratch, int u_base)
{
    const struct winograd k = *all;
    const int is_backward = k.is_backward;
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
                                   u + u_base + ((size_t)first * k.channels + c0) * OUTS, mo, m_step, channels,
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

INLINE void transform_weights(vec w0, vec w1, vec w2, vec *r)
{
    r[0] = w0;
    r[1] = w2;
    r[2] = w0 + w2;
    r[3] = w0 - w2;
    r[4] = w0 + 2.0f * w2;
    r[5] = w1;
}

/* How many taps are in the phase of one, on the way back. */
INLINE int backward_taps(int row, int column)
{
    return (2 - (row == 1)) * (2 - (column == 1));
}

/* Where the direct kernels have a tap of the way back: they sum the four phases up one after the other, so
 * the taps 0 2 6 8, then 1 7, then 3 5, then 4 of all blocks of outputs lie together. In units of OUTS. */
INLINE size_t backward_tap(int row, int column, int ob, int blocks, int channels, int c)
{
    const int is_odd_row = row == 1, is_odd_column = column == 1;
    const int columns = 2 - is_odd_column, taps = backward_taps(row, column);
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
    for (int c = 0; c < channels; c += CHANNELS) {
        const int count = min(CHANNELS, channels - c);
        vec t[U_SIDE][3];
        UNROLL for (int j = 0; j < 3; j++)
        {
            vec g[3], r[U_SIDE];
            UNROLL for (int i = 0; i < 3; i++)
            {
                const size_t tap = is_turned ? backward_tap(2 - i, 2 - j, ob, u_blocks, channels, c)
                                             : ((size_t)ob * channels + c) * 9 + i * 3 + j;
                const size_t next = is_turned ? backward_taps(2 - i, 2 - j) : 9;
                g[i] = load_weights(arranged + from_base + tap * OUTS, (count - 1) * next * OUTS);
            }
            transform_weights(g[0], g[1], g[2], r);
            UNROLL for (int i = 0; i < U_SIDE; i++) { t[i][j] = r[i]; }
        }
        UNROLL for (int i = 0; i < U_SIDE; i++)
        {
            vec r[U_SIDE];
            transform_weights(t[i][0], t[i][1], t[i][2], r);
            UNROLL for (int j = 0; j < U_SIDE; j++)
            {
                store_weights(
                    r[j], u + u_base + (((size_t)(i * U_SIDE + j) * u_blocks + ob) * channels + c) * OUTS,
                    count);
            }
        }
    }
}
