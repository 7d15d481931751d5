/* What a device can do at most: fused multiply-adds on registers, nothing from memory; and copies.
 * VECTOR: the type that its units work on (float16, float8, float4 or float). 12 chains a work-item
 * hide the latency of the units (two that take five cycles at most) and fit 16 registers. */
#ifndef VECTOR
#define VECTOR float16
#endif
#define CHAINS 12

__kernel void peak(__global float *restrict out, int rounds, float x, float y)
{
    VECTOR c[CHAINS];
    _Pragma("unroll") for (int i = 0; i < CHAINS; i++) { c[i] = (VECTOR)((float)i + get_global_id(0)); }
    const VECTOR a = (VECTOR)x, b = (VECTOR)y;
    for (int r = 0; r < rounds; r++) {
        _Pragma("unroll") for (int i = 0; i < CHAINS; i++) { c[i] = fma(c[i], a, b); }
    }
    VECTOR sum = c[0];
    _Pragma("unroll") for (int i = 1; i < CHAINS; i++) { sum += c[i]; }
    union {
        VECTOR v;
        float f[sizeof(VECTOR) / sizeof(float)];
    } lanes;
    lanes.v = sum;
    float total = 0.0f;
    for (int i = 0; i < (int)(sizeof(VECTOR) / sizeof(float)); i++) {
        total += lanes.f[i];
    }
    out[get_global_id(0)] = total;
}

/* Copies `count` vectors. A work-item takes `chunk` vectors that lie side by side: many where it works
 * alone (CPUs), one where its neighbours take the next ones (GPUs). */
__kernel void copy(__global const VECTOR *restrict from, __global VECTOR *restrict to, int count, int chunk)
{
    const int first = (int)get_global_id(0) * chunk;
    const int end = first + chunk < count ? first + chunk : count;
    for (int i = first; i < end; i++) {
        to[i] = from[i];
    }
}
