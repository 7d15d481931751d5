/* Vectors for the CPU kernels: put before each kernels/cpu_*.cl when it is built.
 * WIDTH: floats in a vector (16, 8 or 4), the device's native width.
 * Loads and stores are functions with a vector argument or result, and unaligned by type: PoCL
 * splits vstore16 into four stores, and picks half-width registers for code without such functions.
 */
#ifndef WIDTH
#define WIDTH 16
#endif
#define PIECES (WIDTH / 4) /* a vector is made of pieces of four lanes */

typedef float vec __attribute__((ext_vector_type(WIDTH)));
typedef float unaligned_vec __attribute__((ext_vector_type(WIDTH), aligned(4)));
typedef float unaligned_piece __attribute__((ext_vector_type(4), aligned(4)));

#define INLINE inline __attribute__((always_inline))
#define KERNEL __kernel __attribute__((reqd_work_group_size(1, 1, 1)))
#define UNROLL _Pragma("unroll")
/* Into L2. PoCL's prefetch() does nothing, and clang takes no address of another address space without
 * the cast; compilers by way of SPIR (Intel's, Oclgrind) know OpenCL's function alone. */
#ifdef __SPIR__
#define PREFETCH(p) prefetch(p, WIDTH);
#else
#define PREFETCH(p) __builtin_prefetch((const void *)(size_t)(p), 0, 2);
#endif

INLINE vec load(__global const float *p)
{
    return *(__global const unaligned_vec *)p;
}

INLINE void store(vec v, __global float *p)
{
    *(__global unaligned_vec *)p = v;
}

INLINE vec load_local(__local const float *p)
{
    return *(__local const unaligned_vec *)p;
}

INLINE void store_local(vec v, __local float *p)
{
    *(__local unaligned_vec *)p = v;
}

/* A vector gathered from, or scattered to, PIECES places of four lanes. */
INLINE vec load_pieces(__global const float *p, const int *offset)
{
    vec v;
#if WIDTH == 16
    v.s0123 = *(__global const unaligned_piece *)(p + offset[0]);
    v.s4567 = *(__global const unaligned_piece *)(p + offset[1]);
    v.s89ab = *(__global const unaligned_piece *)(p + offset[2]);
    v.scdef = *(__global const unaligned_piece *)(p + offset[3]);
#elif WIDTH == 8
    v.s0123 = *(__global const unaligned_piece *)(p + offset[0]);
    v.s4567 = *(__global const unaligned_piece *)(p + offset[1]);
#else
    v = *(__global const unaligned_piece *)(p + offset[0]);
#endif
    return v;
}

INLINE void store_pieces(vec v, __global float *p, const int *offset)
{
#if WIDTH == 16
    *(__global unaligned_piece *)(p + offset[0]) = v.s0123;
    *(__global unaligned_piece *)(p + offset[1]) = v.s4567;
    *(__global unaligned_piece *)(p + offset[2]) = v.s89ab;
    *(__global unaligned_piece *)(p + offset[3]) = v.scdef;
#elif WIDTH == 8
    *(__global unaligned_piece *)(p + offset[0]) = v.s0123;
    *(__global unaligned_piece *)(p + offset[1]) = v.s4567;
#else
    *(__global unaligned_piece *)(p + offset[0]) = v;
#endif
}

/* Sum of the lanes, always in the same order. */
INLINE float sum_lanes(vec v)
{
#if WIDTH == 16
    float8 half_sum = v.lo + v.hi;
    float4 s = half_sum.lo + half_sum.hi;
#elif WIDTH == 8
    float4 s = v.lo + v.hi;
#else
    float4 s = v;
#endif
    return (s.x + s.z) + (s.y + s.w);
}

/* 1 in the lanes from `first` up to before `end`, 0 elsewhere. */
INLINE vec lane_mask(int first, int end)
{
    vec m;
    UNROLL for (int i = 0; i < WIDTH; i++)
    {
        m[i] = i >= first && i < end ? 1.0f : 0.0f;
    }
    return m;
}

/* r[i] lane j and r[j] lane i change places, for WIDTH vectors. */
#if WIDTH == 16
#define SWAP8(a, b)                                                                                \
    {                                                                                              \
        vec x = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22,  \
                                        23);                                                       \
        b = __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29,    \
                                    30, 31);                                                       \
        a = x;                                                                                     \
    }
#define SWAP4(a, b)                                                                                \
    {                                                                                              \
        vec x = __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25,    \
                                        26, 27);                                                   \
        b = __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30,  \
                                    31);                                                           \
        a = x;                                                                                     \
    }
#define SWAP2(a, b)                                                                                \
    {                                                                                              \
        vec x = __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13,    \
                                        28, 29);                                                   \
        b = __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30,  \
                                    31);                                                           \
        a = x;                                                                                     \
    }
#define SWAP1(a, b)                                                                                \
    {                                                                                              \
        vec x = __builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28,   \
                                        14, 30);                                                   \
        b = __builtin_shufflevector(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15,   \
                                    31);                                                           \
        a = x;                                                                                     \
    }
INLINE void transpose(vec *r)
{
    UNROLL for (int i = 0; i < 8; i++) { SWAP8(r[i], r[i + 8]) }
    UNROLL for (int i = 0; i < 16; i++)
    {
        if (!(i & 4)) {
            SWAP4(r[i], r[i + 4])
        }
    }
    UNROLL for (int i = 0; i < 16; i++)
    {
        if (!(i & 2)) {
            SWAP2(r[i], r[i + 2])
        }
    }
    UNROLL for (int i = 0; i < 16; i++)
    {
        if (!(i & 1)) {
            SWAP1(r[i], r[i + 1])
        }
    }
}
#else
INLINE void transpose(vec *r)
{
    vec from[WIDTH];
    UNROLL for (int i = 0; i < WIDTH; i++) { from[i] = r[i]; }
    UNROLL for (int i = 0; i < WIDTH; i++)
    {
        UNROLL for (int j = 0; j < WIDTH; j++) { r[i][j] = from[j][i]; }
    }
}
#endif

/* ---- Products of Winograd's algorithm: kernels/cpu_winograd.cl, kernels/cpu_winograd_stride2.cl ---- */

#ifndef OUTS
#define OUTS 8
#endif

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

/* For weight gradients: OUT_VECTORS vectors of outputs and PRODUCT_ROWS channels in registers. */
#ifndef OUT_VECTORS
#define OUT_VECTORS 4
#endif
#define PRODUCT_ROWS (16 / OUT_VECTORS)
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
