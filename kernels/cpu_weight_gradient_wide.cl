/* Weight gradient of a convolution on CPUs, for layers with many output channels:
 * dw[o][t][c] = sum over places and lanes of dz[o] * a[c] at the place + taps[t].
 * Tensors are [channel][row][column][lane] with a border.
 *
 * Vectors run over output channels, so that the sums need no adding up across lanes: a work-item turns
 * a stretch of dz into [lane][output] in local memory and multiplies it by single values of a, ROWS
 * input channels x OUT_VECTORS vectors at a time in registers. Each work-item owns a part of `partial`
 * [part][block of outputs][channel][tap][output]; weight_gradient_wide_finish adds the parts in order.
 */
#ifndef OUT_VECTORS
#define OUT_VECTORS 4
#endif
#ifndef ROWS
#define ROWS (GRADIENT_SUMS / OUT_VECTORS)
#endif
#define OUTPUTS (OUT_VECTORS * WIDTH)

/* How the places of dz are walked: rows of runs (lanes side by side in dz and a: a row at stride 1,
 * else a pixel), each run cut in segments of `length` lanes, the last one longer. */
struct walk {
    int rows, runs, cuts;
    int length, run_lanes;
    int dz, dz_row, dz_run;
    int a, a_row, a_run;
    int visit;                /* segments turned at a time */
    int parts;                /* ranges that the segments are cut into */
    int taps, groups;
};

struct stretch {
    int lanes, dz, a;
};

INLINE void find_stretch(const struct walk *k, int segment, struct stretch *ret)
{
    int run = segment / k->cuts, cut = segment - run * k->cuts;
    int row = run / k->runs, column = run - row * k->runs;
    ret->lanes = cut == k->cuts - 1 ? k->run_lanes - cut * k->length : k->length;
    ret->dz = k->dz + row * k->dz_row + column * k->dz_run + cut * k->length;
    ret->a = k->a + row * k->a_row + column * k->a_run + cut * k->length;
}

/* turned[lane][output] = dz[output][lane] for a block of WIDTH x WIDTH. */
INLINE void turn(__global const float *restrict dz, int dz_plane, int rows,
                 __local float *restrict turned)
{
    vec r[WIDTH];
    UNROLL for (int i = 0; i < WIDTH; i++) { r[i] = load(dz + (size_t)min(i, rows - 1) * dz_plane); }
    transpose(r);
    UNROLL for (int i = 0; i < WIDTH; i++) { store_local(r[i], turned + i * OUTPUTS); }
}

KERNEL void weight_gradient_wide(__global const float *restrict a, __global const float *restrict dz,
                                 __global float *restrict partial,
                                 __global const struct walk *restrict walks,
                                 __global const int *restrict taps, int channels, int outs,
                                 int a_plane, int dz_plane, int channel_range,
                                 __local float *restrict turned)
{
    const struct walk k = *walks;
    const int o0 = get_group_id(0) * OUTPUTS;
    const int c0 = get_group_id(1) * channel_range, c_end = min(c0 + channel_range, channels);
    const int part = get_group_id(2);
    const int total = k.rows * k.runs * k.cuts;
    const int first = (int)((long)total * part / k.parts);
    const int end = (int)((long)total * (part + 1) / k.parts);
    __global float *own = partial + ((size_t)part * get_num_groups(0) + get_group_id(0)) * channels *
                                        k.taps * OUTPUTS;
    for (int visit = first; visit < end; visit += k.visit) {
        const int visit_end = min(visit + k.visit, end);
        int lane = 0;
        for (int segment = visit; segment < visit_end; segment++) {
            struct stretch s;
            find_stretch(&k, segment, &s);
            for (int v = 0; v < OUT_VECTORS; v++) {
                int o = o0 + v * WIDTH;
                __global const float *from = dz + (size_t)min(o, outs - 1) * dz_plane + s.dz;
                int rows = clamp(outs - o, 1, WIDTH);
                for (int l = 0; l < s.lanes; l += WIDTH) {
                    int at = min(l, s.lanes - WIDTH); /* the last block may repeat some lanes */
                    turn(from + at, dz_plane, rows, turned + (lane + at) * OUTPUTS + v * WIDTH);
                }
            }
            lane += s.lanes;
        }
        for (int c = c0; c < c_end; c += ROWS) {
            for (int t = 0; t < k.taps; t++) {
                vec sums[ROWS][OUT_VECTORS];
                __global float *m = own + ((size_t)c * k.taps + t) * OUTPUTS;
                const size_t step = (size_t)k.taps * OUTPUTS; /* to the next channel */
                UNROLL for (int r = 0; r < ROWS; r++)
                {
                    bool is_new = visit == first || c + r >= c_end;
                    UNROLL for (int q = 0; q < OUT_VECTORS; q++)
                    {
                        sums[r][q] = is_new ? (vec)0.0f : load(m + r * step + q * WIDTH);
                    }
                }
                __local const float *d = turned;
                for (int segment = visit; segment < visit_end; segment++) {
                    struct stretch s;
                    find_stretch(&k, segment, &s);
                    __global const float *x[ROWS];
                    UNROLL for (int r = 0; r < ROWS; r++)
                    {
                        x[r] = a + (size_t)min(c + r, c_end - 1) * a_plane + s.a + taps[t];
                    }
                    for (int l = 0; l < s.lanes; l++) {
                        vec b[OUT_VECTORS];
                        UNROLL for (int q = 0; q < OUT_VECTORS; q++) { b[q] = load_local(d + q * WIDTH); }
                        d += OUTPUTS;
                        UNROLL for (int r = 0; r < ROWS; r++)
                        {
                            vec value = (vec)x[r][l];
                            UNROLL for (int q = 0; q < OUT_VECTORS; q++)
                            {
                                sums[r][q] = fma(value, b[q], sums[r][q]);
                            }
                        }
                    }
                }
                UNROLL for (int r = 0; r < ROWS; r++)
                {
                    if (c + r < c_end) {
                        UNROLL for (int q = 0; q < OUT_VECTORS; q++)
                        {
                            store(sums[r][q], m + r * step + q * WIDTH);
                        }
                    }
                }
            }
        }
    }
}

/* gradients[o][t][c] = sum of the parts in order, one work-item a channel and block of outputs; the
 * bias gradient likewise from batch norm's row sums. */
KERNEL void weight_gradient_wide_finish(__global const float *restrict partial,
                                        __global const float *restrict bias_partial,
                                        __global float *restrict gradients, int base, int taps,
                                        int channels, int outs, int parts, int bias_parts,
                                        float bias_scale)
{
    const int c = get_group_id(0), o0 = get_group_id(1) * OUTPUTS;
    const size_t from = ((size_t)get_group_id(1) * channels + c) * taps * OUTPUTS;
    const size_t part = (size_t)get_num_groups(1) * channels * taps * OUTPUTS;
    for (int t = 0; t < taps; t++) {
        for (int q = 0; q < OUTPUTS && o0 + q < outs; q++) {
            float sum = 0.0f;
            for (int p = 0; p < parts; p++) {
                sum += partial[p * part + from + t * OUTPUTS + q];
            }
            gradients[base + ((size_t)(o0 + q) * taps + t) * channels + c] = sum;
        }
    }
    if (c == 0) {
        for (int o = o0; o < min(o0 + OUTPUTS, outs); o++) {
            float sum = 0.0f;
            for (int p = 0; p < bias_parts; p++) {
                sum += bias_partial[(size_t)o * bias_parts + p];
            }
            gradients[base + outs * taps * channels + o] = sum * bias_scale;
        }
    }
}
