/* What a device can do at most: fused multiply-adds on registers, nothing from memory.
 * VECTOR: the type that its units work on (float16, float8, float4 or float). 24 chains a work-item
 * hide the latency of the units. */
#ifndef VECTOR
#define VECTOR float16
#endif
#define CHAINS 24

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
