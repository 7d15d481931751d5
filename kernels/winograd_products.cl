/* Products of transformed tiles, and where tiles lie: what the kernels of Winograd's algorithm share
 * (cpu_winograd.cl, cpu_winograd_stride2.cl, cpu_winograd_stride2_gradient.cl). Behind vector.cl.
 */
#ifndef OUTS
#define OUTS 8
#endif
#define MAX_VECTORS 6 /* in a chunk */

/* m[OUTS][NUMBER vectors] (+)= u[channel][OUTS] v[channel][NUMBER vectors] for one point. */
#define DEFINE_MULTIPLY(NAME, NUMBER)                                                              \
    INLINE void NAME(__global const float *restrict v, __global const float *restrict u,           \
                     __global float *restrict m, int stride, int channels, int is_first)           \
    {                                                                                              \
        vec a[OUTS][NUMBER];                                                                       \
        UNROLL for (int r = 0; r < OUTS; r++)                                                      \
        {                                                                                          \
            UNROLL for (int q = 0; q < NUMBER; q++)                                                \
            {                                                                                      \
                a[r][q] = is_first ? (vec)0.0f : load(m + r * stride + q * WIDTH);                 \
            }                                                                                      \
        }                                                                                          \
        for (int c = 0; c < channels; c++) {                                                       \
            vec b[NUMBER];                                                                         \
            UNROLL for (int q = 0; q < NUMBER; q++) { b[q] = load(v + q * WIDTH); }                \
            v += stride;                                                                           \
            UNROLL for (int r = 0; r < OUTS; r++)                                                  \
            {                                                                                      \
                vec w = (vec)u[r];                                                                 \
                UNROLL for (int q = 0; q < NUMBER; q++) { a[r][q] = fma(w, b[q], a[r][q]); }       \
            }                                                                                      \
            u += OUTS;                                                                             \
        }                                                                                          \
        UNROLL for (int r = 0; r < OUTS; r++)                                                      \
        {                                                                                          \
            UNROLL for (int q = 0; q < NUMBER; q++) { store(a[r][q], m + r * stride + q * WIDTH); } \
        }                                                                                          \
    }
DEFINE_MULTIPLY(multiply3, 3)
DEFINE_MULTIPLY(multiply2, 2)
DEFINE_MULTIPLY(multiply1, 1)

/* One point's products for a block of outputs, all vectors of the chunk. */
INLINE void multiply_point(__global const float *restrict v, __global const float *restrict u,
                           __global float *restrict m, int stride, int channels, int all_channels,
                           int blocks, int vectors, int is_first)
{
    int q = 0;
    for (; q + 3 <= vectors && vectors - q != 4; q += 3) {
        for (int o = 0; o < blocks; o++) {
            multiply3(v + q * WIDTH, u + (size_t)o * all_channels * OUTS,
                      m + o * OUTS * stride + q * WIDTH, stride, channels, is_first);
        }
    }
    for (; q + 2 <= vectors; q += 2) {
        for (int o = 0; o < blocks; o++) {
            multiply2(v + q * WIDTH, u + (size_t)o * all_channels * OUTS,
                      m + o * OUTS * stride + q * WIDTH, stride, channels, is_first);
        }
    }
    for (; q < vectors; q++) {
        for (int o = 0; o < blocks; o++) {
            multiply1(v + q * WIDTH, u + (size_t)o * all_channels * OUTS,
                      m + o * OUTS * stride + q * WIDTH, stride, channels, is_first);
        }
    }
}

/* The places of a plane are cut into tiles, and the lanes of all tiles of one size numbered through,
 * tile * lanes + lane. This is where lane l starts, from the first tile on. */
INLINE int tile_offset(int l, int lanes, int tiles_x, int tile_row, int tile_column)
{
    int tile = l / lanes, row = tile / tiles_x;
    return row * tile_row + (tile - row * tiles_x) * tile_column + l - tile * lanes;
}

/* The same for the pieces of a vector that crosses from one tile to the next. */
INLINE void piece_offsets(int l, int lanes, int tiles_x, int tile_row, int tile_column, int *offset)
{
    for (int p = 0; p < PIECES; p++) {
        offset[p] = tile_offset(l + 4 * p, lanes, tiles_x, tile_row, tile_column);
    }
}

/* Where the vectors of a chunk start, PIECES offsets each, and which of them lie in one tile. The last vector
 * of all tiles ends with them and may repeat lanes of the one before. */
INLINE void find_vectors(int first, int vectors, int total, int lanes, int tiles_x, int tile_row,
                         int tile_column, int *offsets, int *is_whole)
{
    for (int q = 0; q < vectors; q++) {
        const int l = min((first + q) * WIDTH, total - WIDTH);
        is_whole[q] = l % lanes <= lanes - WIDTH;
        piece_offsets(l, lanes, tiles_x, tile_row, tile_column, offsets + q * PIECES);
    }
}

/* Fetches the tiles of a chunk's vectors, `rows` x `columns` places each, before they are wanted: of the next
 * channel while this one is transformed. */
INLINE void prefetch_tiles(__global const float *p, const int *offsets, int vectors, int rows, int columns,
                           int row, int column)
{
    for (int q = 0; q < vectors; q++) {
        for (int i = 0; i < rows; i++) {
            for (int j = 0; j < columns; j++) {
                PREFETCH(p + offsets[q * PIECES] + i * row + j * column)
            }
        }
    }
}

/* For weight gradients: OUT_VECTORS vectors of outputs and PRODUCT_ROWS channels in registers. */
#ifndef OUT_VECTORS
#define OUT_VECTORS 4
#endif
#define PRODUCT_ROWS (GRADIENT_SUMS / OUT_VECTORS)
#define PRODUCT_OUTPUTS (OUT_VECTORS * WIDTH)

/* m[channel][output] (+)= v[channel][lane] d[lane][output] for one point. */
INLINE void add_products(__global const float *restrict v, int v_row, __global const float *restrict d,
                         int d_row, __global float *restrict m, int channels, int lanes, int is_first)
{
    for (int o = 0; o < d_row; o += PRODUCT_OUTPUTS) {
        for (int c = 0; c < channels; c += PRODUCT_ROWS) {
            vec sums[PRODUCT_ROWS][OUT_VECTORS];
            __global const float *x[PRODUCT_ROWS];
            UNROLL for (int r = 0; r < PRODUCT_ROWS; r++)
            {
                const int row = min(c + r, channels - 1);
                x[r] = v + row * v_row;
                UNROLL for (int q = 0; q < OUT_VECTORS; q++)
                {
                    sums[r][q] = is_first ? (vec)0.0f : load(m + (size_t)row * d_row + o + q * WIDTH);
                }
            }
            __global const float *dd = d + o;
            for (int l = 0; l < lanes; l++) {
                vec b[OUT_VECTORS];
                UNROLL for (int q = 0; q < OUT_VECTORS; q++) { b[q] = load(dd + q * WIDTH); }
                dd += d_row;
                UNROLL for (int r = 0; r < PRODUCT_ROWS; r++)
                {
                    vec value = (vec)x[r][l];
                    UNROLL for (int q = 0; q < OUT_VECTORS; q++)
                    {
                        sums[r][q] = fma(value, b[q], sums[r][q]);
                    }
                }
            }
            UNROLL for (int r = 0; r < PRODUCT_ROWS; r++)
            {
                if (c + r < channels) {
                    UNROLL for (int q = 0; q < OUT_VECTORS; q++)
                    {
                        store(sums[r][q], m + (size_t)(c + r) * d_row + o + q * WIDTH);
                    }
                }
            }
        }
    }
}

/* The gradients of the biases from the sums of dz's rows, [output][part], in order. */
INLINE void finish_bias(__global const float *restrict bias_partial, __global float *restrict gradients,
                        int outs, int parts, float scale)
{
    for (int o = 0; o < outs; o++) {
        float sum = 0.0f;
        for (int p = 0; p < parts; p++) {
            sum += bias_partial[(size_t)o * parts + p];
        }
        gradients[o] = sum * scale;
    }
}

/* ---- Weights ----------------------------------------------------------------------------------- */

/* Those of OUTS outputs and CHANNELS channels are one vector: stores then fill cache lines, which the points'
 * planes, all in the same sets of L1, push out at once. */
#define CHANNELS (WIDTH / OUTS)
typedef float outs_vec __attribute__((ext_vector_type(OUTS), aligned(4)));

/* From p and, of the second channel, p + next. */
INLINE vec load_weights(__global const float *p, size_t next)
{
#if CHANNELS == 2
    vec v;
    v.lo = *(__global const outs_vec *)p;
    v.hi = *(__global const outs_vec *)(p + next);
    return v;
#else
    return load(p);
#endif
}

/* Of `count` channels. */
INLINE void store_weights(vec v, __global float *p, int count)
{
#if CHANNELS == 2
    if (count < 2) {
        *(__global outs_vec *)p = v.lo;
        return;
    }
#endif
    store(v, p);
}
