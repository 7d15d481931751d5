/* Vectors for the CPU kernels: put before each kernels/cpu_*.cl when it is built.
 * WIDTH: floats in a vector (16, 8 or 4), the device's native width; REGISTERS: vectors that a core holds.
 * Loads and stores are functions with a vector argument or result, and unaligned by type: PoCL
 * splits vstore16 into four stores, and picks half-width registers for code without such functions.
 */
#ifndef WIDTH
#define WIDTH 16
#endif
#ifndef REGISTERS
#define REGISTERS 32
#endif
#define PIECES (WIDTH / 4) /* a vector is made of pieces of four lanes */
/* Of a weight gradient, in registers beside what they meet. */
#define GRADIENT_SUMS (REGISTERS >= 32 ? 16 : 12)

typedef float vec __attribute__((ext_vector_type(WIDTH)));
typedef float unaligned_vec __attribute__((ext_vector_type(WIDTH), aligned(4)));
typedef float unaligned_piece __attribute__((ext_vector_type(4), aligned(4)));

#define INLINE inline __attribute__((always_inline))
#define CALLED __attribute__((noinline))
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

/* Stores past the caches, which the hardware does for whole lines: for tensors that would not stay in them, and
 * would have to be read before they are written. Of v the pieces from lane `first` on; p is aligned to a piece.
 * No fence: launches end with locks or atomics, which order these stores, too (on x86 any locked instruction
 * does); one for each work-item took as long as this saves. */
#if defined(__SPIR__) || !__has_builtin(__builtin_nontemporal_store)
#define STREAM_PIECE(v, p) *(__global piece *)(p) = v;
#else
#define STREAM_PIECE(v, p) __builtin_nontemporal_store(v, (__global piece *)(p));
#endif
typedef float piece __attribute__((ext_vector_type(4)));

INLINE void stream(vec v, __global float *p, int first)
{
#if WIDTH == 4
    STREAM_PIECE(v, p)
#else
    if (first < 4) {
        STREAM_PIECE(v.s0123, p)
    }
    if (first < 8) {
        STREAM_PIECE(v.s4567, p + 4)
    }
#if WIDTH == 16
    if (first < 12) {
        STREAM_PIECE(v.s89ab, p + 8)
    }
    STREAM_PIECE(v.scdef, p + 12)
#endif
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
