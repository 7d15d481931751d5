/* Weight gradient of a convolution on CPUs: dw[o][t][c] = sum over places and lanes of
 * dz[o] * a[c] at the place + taps[t], for any kernel, stride and batch.
 * Tensors are [channel][row][column][lane] with a border.
 *
 * Vectors run over lanes, so nothing is transposed; a work-item takes OUTS output channels,
 * `channel_block` input channels and a range of segments (stretches of lanes that lie side by side
 * in dz and a). It walks a few segments at a time, short enough for dz to stay in L1, and keeps the
 * sums of every (channel, three taps) in local memory between visits. Each work-item writes its own
 * part of `partial`; weight_gradient_finish adds the parts in order.
 */
#ifndef OUTS
#define OUTS 8
#endif
#define SUMS (OUTS * 3 * WIDTH)

/* How the places of dz are walked: rows of runs (lanes side by side in dz and a: a row at stride 1,
 * else a pixel), each run cut in segments of `length` lanes, the last one longer. */
struct walk {
    int rows, runs, cuts;
    int length, run_lanes;
    int dz, dz_row, dz_run;
    int a, a_row, a_run;
    int visit;                /* segments walked at a time */
    int parts;                /* ranges that the segments are cut into */
    int taps, groups;         /* taps; groups of three taps */
};

#define MULTIPLY(MASK)                                                                             \
    {                                                                                              \
        vec b0 = load(as + tap0), b1 = load(as + tap1), b2 = load(as + tap2);                      \
        UNROLL for (int i = 0; i < OUTS; i++)                                                      \
        {                                                                                          \
            vec d = load(zs + (size_t)i * dz_plane) MASK;                                          \
            s[i][0] = fma(d, b0, s[i][0]);                                                         \
            s[i][1] = fma(d, b1, s[i][1]);                                                         \
            s[i][2] = fma(d, b2, s[i][2]);                                                         \
        }                                                                                          \
    }

KERNEL void weight_gradient(__global const float *restrict a, __global const float *restrict dz,
                            __global float *restrict partial,
                            __global const struct walk *restrict walks,
                            __global const int *restrict taps, int channels, int outs, int a_plane,
                            int dz_plane, int channel_block, __local float *restrict sums)
{
    const struct walk k = *walks;
    const int o0 = get_group_id(0) * OUTS;
    const int c0 = get_group_id(1) * channel_block, c_end = min(c0 + channel_block, channels);
    const int part = get_group_id(2);
    const int total = k.rows * k.runs * k.cuts;
    const int first = (int)((long)total * part / k.parts);
    const int end = (int)((long)total * (part + 1) / k.parts);
    const int sums_count = (c_end - c0) * k.groups * OUTS * 3;
    for (int i = 0; i < sums_count; i++) {
        store_local((vec)0.0f, sums + i * WIDTH);
    }
    for (int visit = first; visit < end; visit += k.visit) {
        int visit_end = min(visit + k.visit, end);
        for (int c = c0; c < c_end; c++) {
            for (int g = 0; g < k.groups; g++) {
                int tap0 = taps[g * 3], tap1 = taps[g * 3 + 1], tap2 = taps[g * 3 + 2];
                __local float *saved = sums + ((c - c0) * k.groups + g) * SUMS;
                vec s[OUTS][3];
                UNROLL for (int i = 0; i < OUTS; i++)
                {
                    UNROLL for (int t = 0; t < 3; t++)
                    {
                        s[i][t] = load_local(saved + (i * 3 + t) * WIDTH);
                    }
                }
                for (int segment = visit; segment < visit_end; segment++) {
                    int run = segment / k.cuts, cut = segment - run * k.cuts;
                    int row = run / k.runs, column = run - row * k.runs;
                    int lanes = cut == k.cuts - 1 ? k.run_lanes - cut * k.length : k.length;
                    __global const float *as = a + (size_t)c * a_plane + k.a + row * k.a_row +
                                               column * k.a_run + cut * k.length;
                    __global const float *zs = dz + (size_t)o0 * dz_plane + k.dz + row * k.dz_row +
                                               column * k.dz_run + cut * k.length;
                    int l = 0;
                    for (; l + WIDTH <= lanes; l += WIDTH) {
                        MULTIPLY()
                        as += WIDTH;
                        zs += WIDTH;
                    }
                    if (l < lanes) {
                        /* the last vector of the stretch again, without the lanes already seen */
                        int again = WIDTH - (lanes - l);
                        as -= again;
                        zs -= again;
                        vec mask = lane_mask(again, WIDTH);
                        MULTIPLY(*mask)
                    }
                }
                UNROLL for (int i = 0; i < OUTS; i++)
                {
                    UNROLL for (int t = 0; t < 3; t++)
                    {
                        store_local(s[i][t], saved + (i * 3 + t) * WIDTH);
                    }
                }
            }
        }
    }
    __global float *out = partial + (size_t)part * outs * k.taps * channels;
    for (int c = c0; c < c_end; c++) {
        for (int t = 0; t < k.taps; t++) {
            for (int i = 0; i < OUTS && o0 + i < outs; i++) {
                int place = (((c - c0) * k.groups + t / 3) * OUTS + i) * 3 + t % 3;
                out[((size_t)(o0 + i) * k.taps + t) * channels + c] =
                    sum_lanes(load_local(sums + place * WIDTH));
            }
        }
    }
}

/* gradient[i] = sum of the parts in order; the bias gradient likewise from batch norm's row sums. */
KERNEL void weight_gradient_finish(__global const float *restrict partial,
                                   __global const float *restrict bias_partial,
                                   __global float *restrict gradients, int base, int weights,
                                   int parts, int outs, int bias_parts, float bias_scale)
{
    const int groups = get_num_groups(0), group = get_group_id(0);
    __global float *restrict gradient = gradients + base;
    const int first = (int)((long)weights * group / groups);
    const int end = (int)((long)weights * (group + 1) / groups);
    for (int i = first; i < end; i++) {
        float sum = partial[i];
        for (int p = 1; p < parts; p++) {
            sum += partial[(size_t)p * weights + i];
        }
        gradient[i] = sum;
    }
    if (group == 0) {
        for (int o = 0; o < outs; o++) {
            float sum = 0.0f;
            for (int p = 0; p < bias_parts; p++) {
                sum += bias_partial[(size_t)o * bias_parts + p];
            }
            gradient[weights + o] = sum * bias_scale;
        }
    }
}
