/* The lanes of a position, and batch norm over them: shared by cpu_batch_norm.cl, cpu_dense.cl and
 * cpu_shallow.cl, behind vector.cl. Built for one batch size: BATCH items in LANES floats a position (LANES >=
 * BATCH, a multiple of four, at least WIDTH); lanes past the batch are kept zero.
 */
#ifndef BATCH
#define BATCH 100
#define LANES 100
#endif
#define WHOLE (BATCH / WIDTH)     /* vectors whose lanes all count */
#define VECTORS ((LANES + WIDTH - 1) / WIDTH)
#define LAST (LANES - WIDTH)      /* the last vector ends with the position, whatever it overlaps */
#define INVERSE_BATCH (1.0f / BATCH)

/* The values of a position are kept in registers, or read again for each pass where a large batch has
 * more of them than there are registers; then loops stay loops, too. */
#define IN_REGISTERS (VECTORS <= 16)
#if IN_REGISTERS
#define EACH_VECTOR UNROLL for (int i = 0; i < VECTORS; i++)
#else
#define EACH_VECTOR for (int i = 0; i < VECTORS; i++)
#endif

/* Where vector i starts. Vector WHOLE holds the rest of the batch, those behind it only lanes past
 * the batch (of small batches and narrow vectors). */
#define START(i) ((i) * WIDTH < LAST ? (i) * WIDTH : LAST)

/* What vector i adds to a sum, given its fresh lanes. */
#define COUNTED(i, value, fresh)                                                                   \
    ((i) < WHOLE ? (value) : (i) == WHOLE ? (value) * (fresh) : (vec)0.0f)
/* What is kept of it: zero past the batch. */
#define KEPT(i, value, valid)                                                                      \
    ((i) < WHOLE ? (value) : (i) == WHOLE ? (value) * (valid) : (vec)0.0f)

/* The lanes of vector WHOLE that nobody counted before it, and those of the batch. */
INLINE vec fresh_lanes(void)
{
    return lane_mask(WHOLE * WIDTH - START(WHOLE), BATCH - START(WHOLE));
}

INLINE vec valid_lanes(void)
{
    return lane_mask(0, BATCH - START(WHOLE));
}

/* Vector i of a position, to the caches or past them; there without the lanes that the vector before has. */
#define STORE(v, position, i) store(v, (position) + START(i));
#define STREAM(v, position, i) stream(v, (position) + START(i), (i) * WIDTH - START(i));

/* max(v, 0), but NaN stays NaN: fmax would hide it. */
INLINE vec rectified(vec v)
{
    return select(v, (vec)0.0f, v < (vec)0.0f);
}

/* Over values VALUE(i), of which `first` is the first lane's: their mean, relative to it, and 1/sqrt of their
 * variance plus epsilon. A position that is constant over the batch has mean == 0 exactly. */
#define MEASURE(VALUE, first, fresh, epsilon, ret_mean, ret_inverse)                                        \
    {                                                                                                       \
        vec sum = (vec)0.0f, squares = (vec)0.0f;                                                           \
        EACH_VECTOR                                                                                         \
        {                                                                                                   \
            const vec d = VALUE(i) - first;                                                                 \
            sum += COUNTED(i, d, fresh);                                                                    \
        }                                                                                                   \
        ret_mean = sum_lanes(sum) * INVERSE_BATCH;                                                          \
        EACH_VECTOR                                                                                         \
        {                                                                                                   \
            const vec d = (VALUE(i) - first) - ret_mean;                                                    \
            squares += COUNTED(i, d * d, fresh);                                                            \
        }                                                                                                   \
        ret_inverse = 1.0f / sqrt(sum_lanes(squares) * INVERSE_BATCH + epsilon);                            \
    }

/* A gradient where ReLU lets it through, all of it without. */
#define SLOPED(gradient, slope, rectify) (rectify ? select(gradient, (vec)0.0f, slope <= (vec)0.0f) : (gradient))

/* The gradient at a position's output: g times g_scale; or with classes > 0 what `feedback`, the position's
 * weights, brings of the output error g [class][LANES]. */
INLINE void output_gradient(__global const float *restrict g, float g_scale,
                            __global const float *restrict feedback, int classes, vec *ret_gradient)
{
    if (classes == 0) {
        EACH_VECTOR { ret_gradient[i] = load(g + START(i)) * g_scale; }
        return;
    }
    EACH_VECTOR { ret_gradient[i] = (vec)0.0f; }
    for (int k = 0; k < classes; k++) {
        const vec weight = (vec)feedback[k];
        EACH_VECTOR { ret_gradient[i] = fma(weight, load(g + k * LANES + START(i)), ret_gradient[i]); }
    }
}

/* Means of GRADIENT(i) and of its product with NORMAL(i), which is h. */
#define MEASURE_GRADIENT(GRADIENT, NORMAL, fresh, ret_mean, ret_mean_product)                               \
    {                                                                                                       \
        vec sum = (vec)0.0f, products = (vec)0.0f;                                                          \
        EACH_VECTOR                                                                                         \
        {                                                                                                   \
            const vec counted = COUNTED(i, GRADIENT(i), fresh);                                             \
            sum += counted;                                                                                 \
            products = fma(counted, NORMAL(i), products);                                                   \
        }                                                                                                   \
        ret_mean = sum_lanes(sum) * INVERSE_BATCH;                                                          \
        ret_mean_product = sum_lanes(products) * INVERSE_BATCH;                                             \
    }

/* h = (v - mean) / sqrt(var + epsilon) of v = scale keep z + b, or with `normalize` 0 v itself, and a = max(h, 0) or
 * h. With `streams` a goes past the caches; with keep_h 0 h is not written. h may be z. Returns 1 / sqrt(..). */
INLINE float activate_position(__global const float *z, __global float *h, __global float *restrict a,
                               float keep, float scale, float b, float epsilon, int normalize, int rectify,
                               int keep_h, int streams)
{
    const vec fresh = fresh_lanes(), valid = valid_lanes();
#define INPUT(i) fma(load(z + START(i)) * keep, (vec)scale, (vec)b)
#if IN_REGISTERS
    vec v[VECTORS];
    EACH_VECTOR { v[i] = INPUT(i); }
#define VALUE(i) v[i]
#else
#define VALUE(i) INPUT(i)
#endif
    float r = 1.0f, mean = 0.0f, first = 0.0f;
    if (normalize) {
        first = fma(z[0] * keep, scale, b);
        MEASURE(VALUE, first, fresh, epsilon, mean, r)
    }
    /* h may be z: the last vector overlaps the one before and is read before that is written. */
    const vec last = VALUE(VECTORS - 1);
#define NORMALIZE(STORE)                                                                                     \
    EACH_VECTOR                                                                                              \
    {                                                                                                        \
        const vec d = ((i < VECTORS - 1 ? VALUE(i) : last) - first) - mean;                                  \
        const vec value = KEPT(i, d * r, valid);                                                             \
        if (keep_h) {                                                                                        \
            store(value, h + START(i));                                                                      \
        }                                                                                                    \
        STORE(rectify ? rectified(value) : value, a, i)                                                      \
    }
    if (streams) {
        NORMALIZE(STREAM)
    } else {
        NORMALIZE(STORE)
    }
#undef NORMALIZE
#undef INPUT
#undef VALUE
    return r;
}

/* Back through ReLU and batch norm: dz = r (m - mean(m) - h mean(m h)) with m = g where slope_h > 0 and 0 elsewhere,
 * or r m with `normalize` 0; g as output_gradient takes it (feedback: IN_REGISTERS only), slope_h may be h. With
 * `streams` dz goes past the caches. Adds the lanes of dz to *bias_sum. */
INLINE void activate_position_backward(__global const float *restrict g, float g_scale,
                                       __global const float *restrict feedback, int classes,
                                       __global const float *h, __global const float *slope_h, float r,
                                       __global float *restrict dz, int normalize, int rectify, int streams,
                                       vec *bias_sum)
{
    const vec fresh = fresh_lanes(), valid = valid_lanes();
#if IN_REGISTERS
    vec m[VECTORS], v[VECTORS];
    output_gradient(g, g_scale, feedback, classes, m);
    EACH_VECTOR
    {
        v[i] = load(h + START(i));
        m[i] = SLOPED(m[i], load(slope_h + START(i)), rectify);
    }
#define GRADIENT(i) m[i]
#define NORMAL(i) v[i]
#else
#define GRADIENT(i) SLOPED(load(g + START(i)) * g_scale, load(slope_h + START(i)), rectify)
#define NORMAL(i) load(h + START(i))
#endif
    float mean = 0.0f, mean_product = 0.0f;
    if (normalize) {
        MEASURE_GRADIENT(GRADIENT, NORMAL, fresh, mean, mean_product)
    }
#define NORMALIZE(STORE)                                                                                     \
    EACH_VECTOR                                                                                              \
    {                                                                                                        \
        const vec value = KEPT(i, (GRADIENT(i) - mean - NORMAL(i) * mean_product) * r, valid);               \
        *bias_sum += COUNTED(i, value, fresh);                                                               \
        STORE(value, dz, i)                                                                                  \
    }
    if (streams) {
        NORMALIZE(STREAM)
    } else {
        NORMALIZE(STORE)
    }
#undef NORMALIZE
#undef GRADIENT
#undef NORMAL
}
