/* Weight gradient of the 3 x 3 convolution of stride 2 by Winograd's products on CPUs: the algorithm of
 * cpu_winograd_stride2.cl read backwards.
 *
 * Each phase's transformed inputs times the transformed gradients of the tiles, A dz A^T, are summed over
 * tiles and lanes to m [6 x 6][channel][output]; in an odd direction all points end in the one of w1. The
 * transformed dz is turned to [point][lane][output], so that the products run over vectors of outputs. A
 * work-item sums up its part of the chunks in its own place of `partial`;
 * winograd_stride2_gradient_finish adds the parts and transforms back.
 */
#include "winograd_products.cl"
#include "winograd_stride2_inputs.cl"

#define U_POINTS (U_SIDE * U_SIDE)

struct winograd_gradient {
    int channels, outs, lanes;
    int x_row, x_plane, dz_row, dz_plane;
    int stride, chunks, parts, sizes;
    struct tiles tiles[4]; /* y: of dz */
};

enum { turned4_from = 4, turned4_to = 5 };
INLINE void turned4(const vec *y, vec *r)
{
    vec even = y[0] + y[2], odd = y[1] + y[3];
    r[0] = y[0];
    r[1] = y[3];
    r[2] = even + odd;
    r[3] = even - odd;
    r[4] = y[0] + 4.0f * y[2] + 2.0f * y[1] + 8.0f * y[3];
}

enum { turned3_from = 3, turned3_to = 4 };
INLINE void turned3(const vec *y, vec *r)
{
    vec even = y[0] + y[2];
    r[0] = y[0];
    r[1] = y[2];
    r[2] = even + y[1];
    r[3] = even - y[1];
}

#define GRADIENTS(LOAD, STORE)                                                                     \
    PASS(turned4, LOAD, STORE)                                                                     \
    PASS(turned3, LOAD, STORE)
DEFINE_PASS(pass_gradients, GRADIENTS, load, store)
DEFINE_PASS(pass_gradient_pieces, GRADIENTS, LOAD_PIECES, store)

#define GRADIENT_PAIRS(DO)                                                                         \
    DO(turned4, turned4) DO(turned4, turned3) DO(turned3, turned4) DO(turned3, turned3)
DEFINE_PAIRS(both_gradients, GRADIENT_PAIRS)
DEFINE_FROM_TENSOR(from_gradients, both_gradients, pass_gradients, pass_gradient_pieces)

/* d [point][lane][output] of a chunk; lanes that the vector before had count as zero. `tile` takes WIDTH
 * outputs, [point][output][lane]; those past the last one repeat it. */
INLINE void turn_gradients(const struct winograd_gradient *k, const struct tiles *t, struct place at,
                           __global const float *restrict dz, __global float *restrict middle,
                           __global float *restrict tile, __global float *restrict d, int d_row,
                           int d_step)
{
    const struct transform transform = {.row_kind = t->rows == 4 ? turned4_kind : turned3_kind,
                                        .column_kind = t->columns == 4 ? turned4_kind : turned3_kind,
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
