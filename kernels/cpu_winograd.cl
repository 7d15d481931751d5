/* Winograd convolution F(4x4, 3x3) on CPUs: stride 1, one place of zeros around, images whose sides
 * are multiples of four; forward and, with turned weights, backward to the data (Lavin & Gray,
 * arXiv 1509.09308; points 0, 1, -1, 2, -2, infinity). 36 products for 16 outputs instead of 144.
 *
 * Tensors are [channel][row][column][lane]; x has a border, y has none. The lanes of all 4 x 4 tiles of
 * an image plane are numbered through, tile * lanes + lane, and cut into vectors; a vector that crosses
 * from one tile to the next is gathered in pieces of four lanes.
 *
 * A chunk of a few vectors goes through in one piece: its inputs are transformed to
 * v [36][channel][lane], multiplied by u [36][outputs / OUTS][channel][OUTS] to m [36][output][lane], and
 * m is transformed back; all of that stays in L2. v and m are a work-item's own part of `scratch`: few
 * work-items take many chunks each. With many channels v holds a block of them at a time, and m, then of
 * all outputs, collects the products.
 */
#include "winograd_products.cl"

#define POINTS 36
#define PAD WIDTH /* between the planes of v and m, or their stores fall into one set of L1 */
#define OUTPUT_BLOCK (2 * OUTS)

struct winograd {
    int channels, outs;
    int tiles_x, total;       /* tiles in a row; lanes of all tiles of a plane */
    int lanes;                /* of a place */
    int x_row, x_plane;       /* of x, whose place (-1, -1) is its start */
    int y_row, y_plane;
    int channel_block;        /* channels in v */
    int stride;               /* lanes of a chunk: from channel to channel in v, output to output in m */
    int chunks;
};

/* One dimension of the input transform, B^T d. */
#define TRANSFORM_INPUT(d0, d1, d2, d3, d4, d5, r0, r1, r2, r3, r4, r5)                            \
    {                                                                                              \
        vec even = d4 - 4.0f * d2, odd = d3 - 4.0f * d1, wide = d4 - d2, tall = d3 - d1;           \
        r0 = 4.0f * d0 - 5.0f * d2 + d4;                                                           \
        r1 = even + odd;                                                                           \
        r2 = even - odd;                                                                           \
        r3 = wide + 2.0f * tall;                                                                   \
        r4 = wide - 2.0f * tall;                                                                   \
        r5 = 4.0f * d1 - 5.0f * d3 + d5;                                                           \
    }

/* One dimension of the output transform, A^T m. */
#define TRANSFORM_OUTPUT(m0, m1, m2, m3, m4, m5, y0, y1, y2, y3)                                   \
    {                                                                                              \
        vec s1 = m1 + m2, e1 = m1 - m2, s2 = m3 + m4, e2 = m3 - m4;                                \
        y0 = m0 + s1 + s2;                                                                         \
        y1 = e1 + 2.0f * e2;                                                                       \
        y2 = s1 + 4.0f * s2;                                                                       \
        y3 = e1 + 8.0f * e2 + m5;                                                                  \
    }

/* The 6 x 6 inputs of a vector of lanes to 36 points, `step` apart. LOAD(i, j) gives row i, column j.
 * Loop bounds are literal: otherwise the compiler keeps loops and spills the arrays. */
#define INPUT(LOAD)                                                                                \
    vec t[36];                                                                                     \
    UNROLL for (int j = 0; j < 6; j++)                                                             \
    {                                                                                              \
        vec d0 = LOAD(0, j), d1 = LOAD(1, j), d2 = LOAD(2, j), d3 = LOAD(3, j), d4 = LOAD(4, j),   \
            d5 = LOAD(5, j);                                                                       \
        TRANSFORM_INPUT(d0, d1, d2, d3, d4, d5, t[j], t[6 + j], t[12 + j], t[18 + j], t[24 + j],   \
                        t[30 + j])                                                                 \
    }                                                                                              \
    UNROLL for (int i = 0; i < 6; i++)                                                             \
    {                                                                                              \
        vec r0, r1, r2, r3, r4, r5;                                                                \
        TRANSFORM_INPUT(t[i * 6], t[i * 6 + 1], t[i * 6 + 2], t[i * 6 + 3], t[i * 6 + 4],          \
                        t[i * 6 + 5], r0, r1, r2, r3, r4, r5)                                      \
        __global float *w = v + i * 6 * step;                                                      \
        store(r0, w);                                                                              \
        store(r1, w + step);                                                                       \
        store(r2, w + 2 * step);                                                                   \
        store(r3, w + 3 * step);                                                                   \
        store(r4, w + 4 * step);                                                                   \
        store(r5, w + 5 * step);                                                                   \
    }

#define LOAD_WHOLE(i, j) load(x + (i) * row + (j) * lanes)
#define LOAD_PIECES(i, j) load_pieces(x + (i) * row + (j) * lanes, offset)

INLINE void input_whole(__global const float *restrict x, int row, int lanes,
                        __global float *restrict v, int step)
{
    INPUT(LOAD_WHOLE)
}

INLINE void input_pieces(__global const float *restrict x, const int *offset, int row, int lanes,
                         __global float *restrict v, int step)
{
    INPUT(LOAD_PIECES)
}

#define OUTPUT(STORE)                                                                              \
    vec t[24];                                                                                     \
    UNROLL for (int j = 0; j < 6; j++)                                                             \
    {                                                                                              \
        vec d0 = load(m + j * step), d1 = load(m + (6 + j) * step), d2 = load(m + (12 + j) * step), \
            d3 = load(m + (18 + j) * step), d4 = load(m + (24 + j) * step),                        \
            d5 = load(m + (30 + j) * step);                                                        \
        TRANSFORM_OUTPUT(d0, d1, d2, d3, d4, d5, t[j], t[6 + j], t[12 + j], t[18 + j])             \
    }                                                                                              \
    UNROLL for (int i = 0; i < 4; i++)                                                             \
    {                                                                                              \
        vec r0, r1, r2, r3;                                                                        \
        TRANSFORM_OUTPUT(t[i * 6], t[i * 6 + 1], t[i * 6 + 2], t[i * 6 + 3], t[i * 6 + 4],         \
                         t[i * 6 + 5], r0, r1, r2, r3)                                             \
        STORE(r0, i, 0);                                                                           \
        STORE(r1, i, 1);                                                                           \
        STORE(r2, i, 2);                                                                           \
        STORE(r3, i, 3);                                                                           \
    }

#define STORE_WHOLE(r, i, j) store(r, y + (i) * row + (j) * lanes)
#define STORE_PIECES(r, i, j) store_pieces(r, y + (i) * row + (j) * lanes, offset)

INLINE void output_whole(__global const float *restrict m, int step, __global float *restrict y,
                         int row, int lanes)
{
    OUTPUT(STORE_WHOLE)
}

INLINE void output_pieces(__global const float *restrict m, int step, __global float *restrict y,
                          const int *offset, int row, int lanes)
{
    OUTPUT(STORE_PIECES)
}

/* Vectors of a chunk and where they lie in x and y. */
struct chunk {
    int first, vectors;
    int is_whole[MAX_VECTORS];
    int x[MAX_VECTORS * PIECES], y[MAX_VECTORS * PIECES];
};

/* x starts at the first of `channels`. Vectors of a channel in turn: they are neighbours in memory. */
INLINE void transform_inputs(const struct winograd *k, const struct chunk *chunk, int channels,
                             __global const float *restrict x, __global float *restrict v, int v_step)
{
    for (int c = 0; c < channels; c++) {
        __global const float *xc = x + (size_t)c * k->x_plane;
        if (c + 1 < channels) {
            prefetch_tiles(xc + k->x_plane, chunk->x, chunk->vectors, 6, 6, k->x_row, k->lanes);
        }
        for (int q = 0; q < chunk->vectors; q++) {
            const int *offset = chunk->x + q * PIECES;
            __global float *to = v + c * k->stride + q * WIDTH;
            if (chunk->is_whole[q]) {
                input_whole(xc + offset[0], k->x_row, k->lanes, to, v_step);
            } else {
                input_pieces(xc, offset, k->x_row, k->lanes, to, v_step);
            }
        }
    }
}

/* y and m start at the first of `outs`. */
INLINE void transform_outputs(const struct winograd *k, const struct chunk *chunk, int outs,
                              __global const float *restrict m, int m_step, __global float *restrict y)
{
    for (int o = 0; o < outs; o++) {
        __global float *yo = y + (size_t)o * k->y_plane;
        if (o + 1 < outs) {
            prefetch_tiles(yo + k->y_plane, chunk->y, chunk->vectors, 4, 4, k->y_row, k->lanes);
        }
        for (int q = 0; q < chunk->vectors; q++) {
            const int *offset = chunk->y + q * PIECES;
            __global const float *from = m + o * k->stride + q * WIDTH;
            if (chunk->is_whole[q]) {
                output_whole(from, m_step, yo + offset[0], k->y_row, k->lanes);
            } else {
                output_pieces(from, m_step, yo, offset, k->y_row, k->lanes);
            }
        }
    }
}

KERNEL void winograd(__global const float *restrict x, __global const float *restrict u,
                     __global float *restrict y, __global const struct winograd *restrict all,
                     __global float *restrict scratch, int u_base)
{
    const struct winograd k = *all;
    const int group = get_group_id(0), groups = get_num_groups(0);
    const int all_vectors = (k.total + WIDTH - 1) / WIDTH;
    const int is_one_block = k.channel_block >= k.channels;
    const int out_blocks = (k.outs + OUTPUT_BLOCK - 1) / OUTPUT_BLOCK;
    const int v_step = k.channel_block * k.stride + PAD;
    const int m_step = (is_one_block ? 1 : out_blocks) * OUTPUT_BLOCK * k.stride + PAD;
    __global float *v = scratch + (size_t)group * POINTS * (v_step + m_step);
    __global float *m = v + (size_t)POINTS * v_step;
    const int u_blocks = (k.outs + OUTS - 1) / OUTS;

    for (int number = group; number < k.chunks; number += groups) {
        struct chunk chunk;
        chunk.first = (int)((long)number * all_vectors / k.chunks);
        chunk.vectors = (int)((long)(number + 1) * all_vectors / k.chunks) - chunk.first;
        find_vectors(chunk.first, chunk.vectors, k.total, k.lanes, k.tiles_x, 4 * k.x_row, 4 * k.lanes,
                     chunk.x, chunk.is_whole);
        find_vectors(chunk.first, chunk.vectors, k.total, k.lanes, k.tiles_x, 4 * k.y_row, 4 * k.lanes,
                     chunk.y, chunk.is_whole);
        for (int c0 = 0; c0 < k.channels; c0 += k.channel_block) {
            const int channels = min(k.channel_block, k.channels - c0);
            transform_inputs(&k, &chunk, channels, x + (size_t)c0 * k.x_plane, v, v_step);
            for (int ob = 0; ob < out_blocks; ob++) {
                const int first = ob * (OUTPUT_BLOCK / OUTS);
                __global float *mo = m + (is_one_block ? 0 : ob * OUTPUT_BLOCK * k.stride);
                for (int p = 0; p < POINTS; p++) {
                    __global const float *up =
                        u + u_base + (((size_t)p * u_blocks + first) * k.channels + c0) * OUTS;
                    multiply_point(v + (size_t)p * v_step, up, mo + (size_t)p * m_step, k.stride, channels,
                                   k.channels, min(OUTPUT_BLOCK / OUTS, u_blocks - first), chunk.vectors,
                                   c0 == 0);
                }
                if (c0 + channels >= k.channels) {
                    transform_outputs(&k, &chunk, min(OUTPUT_BLOCK, k.outs - ob * OUTPUT_BLOCK), mo, m_step,
                                      y + (size_t)ob * OUTPUT_BLOCK * k.y_plane);
                }
            }
        }
    }
}

/* One dimension of the weight transform, G g. */
#define TRANSFORM_WEIGHTS(g0, g1, g2, r0, r1, r2, r3, r4, r5)                                      \
    {                                                                                              \
        vec s = g0 + g2, p = (1.0f / 24) * g0 + (1.0f / 6) * g2;                              \
        r0 = 0.25f * g0;                                                                           \
        r1 = (-1.0f / 6) * (s + g1);                                                               \
        r2 = (-1.0f / 6) * (s - g1);                                                               \
        r3 = p + (1.0f / 12) * g1;                                                                 \
        r4 = p - (1.0f / 12) * g1;                                                                 \
        r5 = g2;                                                                                   \
    }

/* u [36][output / OUTS][channel][OUTS] from the direct kernels' [output / OUTS][channel][tap][OUTS]; on
 * the way back the taps are turned by half. One work-item a block of outputs. */
KERNEL void winograd_weights(__global const float *restrict arranged, __global float *restrict u,
                             int from_base, int u_base, int channels, int is_turned)
{
    const int ob = get_group_id(0), u_blocks = get_num_groups(0);
    for (int c = 0; c < channels; c += CHANNELS) {
        __global const float *w = arranged + from_base + ((size_t)ob * channels + c) * 9 * OUTS;
        const int count = min(CHANNELS, channels - c);
        vec g[9], t[18];
        UNROLL for (int k = 0; k < 9; k++)
        {
            g[k] = load_weights(w + (is_turned ? 8 - k : k) * OUTS, (count - 1) * 9 * OUTS);
        }
        UNROLL for (int j = 0; j < 3; j++)
        {
            TRANSFORM_WEIGHTS(g[j], g[3 + j], g[6 + j], t[j], t[3 + j], t[6 + j], t[9 + j], t[12 + j],
                              t[15 + j])
        }
        UNROLL for (int i = 0; i < 6; i++)
        {
            vec r[6];
            TRANSFORM_WEIGHTS(t[i * 3], t[i * 3 + 1], t[i * 3 + 2], r[0], r[1], r[2], r[3], r[4], r[5])
            UNROLL for (int j = 0; j < 6; j++)
            {
                store_weights(r[j], u + u_base + (((size_t)(i * 6 + j) * u_blocks + ob) * channels + c) * OUTS,
                              count);
            }
        }
    }
}

/* ---- Weight gradient -------------------------------------------------------------------------

 * dw = G^T [sum over tiles of (A dz A^T) (B^T a B)] G, the same algorithm read backwards. The transformed
 * dz is turned to [36][lane][output], so that the products run over vectors of outputs. A work-item sums
 * up its part of the chunks in its own place of `partial`, [part][36][channel][output];
 * winograd_gradient_finish adds the parts and transforms back.
 */
struct winograd_gradient {
    int channels, outs;
    int tiles_x, total, lanes;
    int x_row, x_plane;
    int dz_base, dz_row, dz_plane;
    int stride, chunks, parts;
};

/* One dimension of the output transform's transpose, A y. */
#define TRANSFORM_GRADIENT(y0, y1, y2, y3, r0, r1, r2, r3, r4, r5)                                 \
    {                                                                                              \
        vec even = y0 + y2, odd = y1 + y3, wide = y0 + 4.0f * y2, tall = 2.0f * y1 + 8.0f * y3;    \
        r0 = y0;                                                                                   \
        r1 = even + odd;                                                                           \
        r2 = even - odd;                                                                           \
        r3 = wide + tall;                                                                          \
        r4 = wide - tall;                                                                          \
        r5 = y3;                                                                                   \
    }

/* The 4 x 4 gradients of a vector of lanes to 36 points, WIDTH * WIDTH apart. */
#define GRADIENT(LOAD)                                                                             \
    vec t[24];                                                                                     \
    UNROLL for (int j = 0; j < 4; j++)                                                             \
    {                                                                                              \
        vec d0 = LOAD(0, j), d1 = LOAD(1, j), d2 = LOAD(2, j), d3 = LOAD(3, j);                    \
        TRANSFORM_GRADIENT(d0, d1, d2, d3, t[j], t[4 + j], t[8 + j], t[12 + j], t[16 + j],         \
                           t[20 + j])                                                              \
    }                                                                                              \
    UNROLL for (int i = 0; i < 6; i++)                                                             \
    {                                                                                              \
        vec r[6];                                                                                  \
        TRANSFORM_GRADIENT(t[i * 4], t[i * 4 + 1], t[i * 4 + 2], t[i * 4 + 3], r[0], r[1], r[2],   \
                           r[3], r[4], r[5])                                                       \
        UNROLL for (int j = 0; j < 6; j++) { store(r[j], v + (i * 6 + j) * WIDTH * WIDTH); }       \
    }

INLINE void gradient_whole(__global const float *restrict x, int row, int lanes,
                           __global float *restrict v)
{
    GRADIENT(LOAD_WHOLE)
}

INLINE void gradient_pieces(__global const float *restrict x, const int *offset, int row, int lanes,
                            __global float *restrict v)
{
    GRADIENT(LOAD_PIECES)
}

/* d[36][lane][output] of WIDTH outputs and one vector of lanes, the first `repeated` of which were in the
 * vector before and count as zero. The vector at `next` of the same outputs is fetched meanwhile. */
INLINE void turn_gradient(const struct winograd_gradient *k, __global const float *restrict dz, int o0,
                          const int *offset, int is_whole, const int *next, int repeated,
                          __global float *restrict tile, __global float *restrict d, int d_row, int d_step)
{
    for (int i = 0; i < WIDTH; i++) {
        __global const float *from = dz + (size_t)min(o0 + i, k->outs - 1) * k->dz_plane + k->dz_base;
        prefetch_tiles(from, next, 1, 4, 4, k->dz_row, k->lanes);
        if (is_whole) {
            gradient_whole(from + offset[0], k->dz_row, k->lanes, tile + i * WIDTH);
        } else {
            gradient_pieces(from, offset, k->dz_row, k->lanes, tile + i * WIDTH);
        }
    }
    for (int p = 0; p < POINTS; p++) {
        vec r[WIDTH];
        UNROLL for (int i = 0; i < WIDTH; i++) { r[i] = load(tile + (p * WIDTH + i) * WIDTH); }
        transpose(r);
        UNROLL for (int i = 0; i < WIDTH; i++)
        {
            store(i < repeated ? (vec)0.0f : r[i], d + (size_t)p * d_step + i * d_row);
        }
    }
}

KERNEL void winograd_gradient(__global const float *restrict x, __global const float *restrict dz,
                              __global float *restrict partial,
                              __global const struct winograd_gradient *restrict all,
                              __global float *restrict scratch)
{
    const struct winograd_gradient k = *all;
    const int part = get_group_id(0);
    const int all_vectors = (k.total + WIDTH - 1) / WIDTH;
    const int outputs = (k.outs + PRODUCT_OUTPUTS - 1) / PRODUCT_OUTPUTS * PRODUCT_OUTPUTS;
    const int v_step = k.channels * k.stride + PAD;
    const int d_step = outputs * k.stride + PAD;
    const size_t sums = (size_t)k.channels * outputs;
    __global float *v = scratch + part * ((size_t)POINTS * (v_step + d_step + WIDTH * WIDTH));
    __global float *d = v + (size_t)POINTS * v_step;
    __global float *tile = d + (size_t)POINTS * d_step;
    __global float *m = partial + (size_t)part * POINTS * sums;
    const int begin = (int)((long)k.chunks * part / k.parts);
    const int end = (int)((long)k.chunks * (part + 1) / k.parts);

    for (int chunk = begin; chunk < end; chunk++) {
        const int first = (int)((long)chunk * all_vectors / k.chunks);
        const int vectors = (int)((long)(chunk + 1) * all_vectors / k.chunks) - first;
        int offsets[MAX_VECTORS * PIECES], is_whole[MAX_VECTORS];
        find_vectors(first, vectors, k.total, k.lanes, k.tiles_x, 4 * k.x_row, 4 * k.lanes, offsets,
                     is_whole);
        for (int c = 0; c < k.channels; c++) {
            __global const float *xc = x + (size_t)c * k.x_plane;
            if (c + 1 < k.channels) {
                prefetch_tiles(xc + k.x_plane, offsets, vectors, 6, 6, k.x_row, k.lanes);
            }
            for (int q = 0; q < vectors; q++) {
                const int *offset = offsets + q * PIECES;
                __global float *to = v + c * k.stride + q * WIDTH;
                if (is_whole[q]) {
                    input_whole(xc + offset[0], k.x_row, k.lanes, to, v_step);
                } else {
                    input_pieces(xc, offset, k.x_row, k.lanes, to, v_step);
                }
            }
        }
        find_vectors(first, vectors, k.total, k.lanes, k.tiles_x, 4 * k.dz_row, 4 * k.lanes, offsets, is_whole);
        for (int o = 0; o < outputs; o += WIDTH) {
            for (int q = 0; q < vectors; q++) {
                const int at = (first + q) * WIDTH;
                turn_gradient(&k, dz, o, offsets + q * PIECES, is_whole[q],
                              offsets + min(q + 1, vectors - 1) * PIECES, at - min(at, k.total - WIDTH), tile,
                              d + q * WIDTH * outputs + o, outputs, d_step);
            }
        }
        for (int p = 0; p < POINTS; p++) {
            add_products(v + (size_t)p * v_step, k.stride, d + (size_t)p * d_step, outputs,
                         m + p * sums, k.channels, vectors * WIDTH, chunk == begin);
        }
    }
}

/* One dimension of G^T m. */
#define TRANSFORM_BACK(m0, m1, m2, m3, m4, m5, y0, y1, y2)                                         \
    {                                                                                              \
        vec s1 = m1 + m2, e1 = m2 - m1, s2 = m3 + m4, e2 = m3 - m4;                                \
        y0 = 0.25f * m0 - (1.0f / 6) * s1 + (1.0f / 24) * s2;                                      \
        y1 = (1.0f / 6) * e1 + (1.0f / 12) * e2;                                                   \
        y2 = (1.0f / 6) * (s2 - s1) + m5;                                                          \
    }

/* gradients[o][tap][c] from the parts, in order; the bias gradient likewise from batch norm's row sums.
 * One work-item an input channel. */
KERNEL void winograd_gradient_finish(__global const float *restrict partial,
                                     __global const float *restrict bias_partial,
                                     __global float *restrict gradients, int base, int channels,
                                     int outs, int parts, int bias_parts, float bias_scale)
{
    const int c = get_group_id(0);
    const int outputs = (outs + PRODUCT_OUTPUTS - 1) / PRODUCT_OUTPUTS * PRODUCT_OUTPUTS;
    const size_t sums = (size_t)channels * outputs;
    for (int o = 0; o < outs; o += WIDTH) {
        vec m[36], t[18];
        UNROLL for (int p = 0; p < 36; p++) { m[p] = load(partial + p * sums + (size_t)c * outputs + o); }
        for (int part = 1; part < parts; part++) {
            __global const float *more = partial + part * POINTS * sums + (size_t)c * outputs + o;
            UNROLL for (int p = 0; p < 36; p++) { m[p] += load(more + p * sums); }
        }
        UNROLL for (int j = 0; j < 6; j++)
        {
            TRANSFORM_BACK(m[j], m[6 + j], m[12 + j], m[18 + j], m[24 + j], m[30 + j], t[j], t[6 + j],
                           t[12 + j])
        }
        UNROLL for (int i = 0; i < 3; i++)
        {
            vec y[3];
            TRANSFORM_BACK(t[i * 6], t[i * 6 + 1], t[i * 6 + 2], t[i * 6 + 3], t[i * 6 + 4],
                           t[i * 6 + 5], y[0], y[1], y[2])
            UNROLL for (int j = 0; j < 3; j++)
            {
                for (int q = 0; q < WIDTH && o + q < outs; q++) {
                    gradients[base + ((size_t)(o + q) * 9 + i * 3 + j) * channels + c] = y[j][q];
                }
            }
        }
    }
    if (c == 0) {
        finish_bias(bias_partial, gradients + base + outs * 9 * channels, outs, bias_parts, bias_scale);
    }
}
