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
/* into L2; the cast is how clang takes an address in another address space */
#define PREFETCH(p) __builtin_prefetch((const void *)(size_t)(p), 0, 2);

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
