/* A recurrence on CPUs, a whole sequence in one launch: items are independent through all steps, so a
 * work-item takes some of them from the first step to the last, or back.
 *
 * Vectors run over units, in panels of VECTORS; an item is a row. Kept over time are [panel][step][row]
 * [PANEL]: a step's rows lie side by side for the product of the next step, which reads them value by
 * value, and those of all steps for the weight gradient. Rows past the batch fill the last block; what
 * stands there is never read for others. Weights of a panel are [unit read][PANEL].
 *
 * Every sum has one order, whatever the blocks and the number of work-items.
 *
 * Why rows of items and not, as in convolutions, vectors of them: 50 items are 4 vectors of 16 with a
 * quarter of the work thrown away, but 2 blocks of 25 rows; and a step's result lies as the next one and
 * the weight gradient (whose vectors run over units, so that nothing is added up across lanes) read it.
 */
#define NEAR 48  /* items ahead, of the weight gradient */
#define AHEAD 32 /* units read: weights come into L1, those of large nets from beyond L2 */
#ifndef OUTS
#define OUTS 8
#endif
#ifndef VECTORS
#define VECTORS 2
#endif
#define PANEL (VECTORS * WIDTH)
#define FACTORS 4 /* of a pass over values */
#define OUT_ROWS (2 * OUTS / VECTORS) /* of a block of the weight gradient */
#ifndef ROWS
#define ROWS 6 /* of a block: ROWS x VECTORS sums and what they need fit the registers */
#endif

/* Into L1; and into L2 to be written, or the stores of a block wait for their lines. */
#ifdef __SPIR__
#define FETCH_NEAR(p) prefetch(p, WIDTH);
#define FETCH_WRITTEN(p) prefetch(p, WIDTH);
#else
#define FETCH_NEAR(p) __builtin_prefetch((const void *)(size_t)(p), 0, 3);
#define FETCH_WRITTEN(p) __builtin_prefetch((const void *)(size_t)(p), 1, 2);
#endif

/* The first `count` values (more than a vector: all) with zeros behind them. */
INLINE vec load_part(__global const float *p, int count)
{
    if (count >= WIDTH) {
        return load(p);
    }
    vec v = (vec)0.0f;
    for (int i = 0; i < count; i++) {
        v[i] = p[i];
    }
    return v;
}

INLINE void store_part(vec v, __global float *p, int count)
{
    if (count >= WIDTH) {
        store(v, p);
        return;
    }
    for (int i = 0; i < count; i++) {
        p[i] = v[i];
    }
}

/* ---- Weights --------------------------------------------------------------------------------- */

/* Panels of w [unit read][unit], or of its transpose; zeros past the last unit. A work-item does
 * `reads` units read (a multiple of WIDTH) of a panel. */
KERNEL void sequence_arrange(__global const float *restrict weights,
                             __global float *restrict arranged, int base, int units,
                             int is_transposed, int reads)
{
    const int u0 = get_group_id(0) * PANEL;
    const int begin = get_group_id(1) * reads, end = min(begin + reads, units);
    __global const float *w = weights + base;
    __global float *panel = arranged + (size_t)u0 * units;
    for (int k0 = begin; k0 < end; k0 += WIDTH) {
        const int filled = min(WIDTH, end - k0);
        for (int u = u0; u < u0 + PANEL; u += WIDTH) {
            vec r[WIDTH];
            if (is_transposed) {
                UNROLL for (int i = 0; i < WIDTH; i++)
                {
                    r[i] = u + i < units ? load_part(w + (size_t)(u + i) * units + k0, units - k0)
                                         : (vec)0.0f;
                }
                transpose(r);
            } else {
                UNROLL for (int i = 0; i < WIDTH; i++)
                {
                    r[i] = load_part(w + (size_t)(k0 + min(i, filled - 1)) * units + u, units - u);
                }
            }
            UNROLL for (int i = 0; i < WIDTH; i++)
            {
                if (i < filled) {
                    store(r[i], panel + (size_t)(k0 + i) * PANEL + u - u0);
                }
            }
        }
    }
}

/* ---- Through time ---------------------------------------------------------------------------- */

/* sums[row][vector] = sum over units read, in order, of a step's values times a panel of weights. The
 * rows that the caller reads and writes with them lie beyond L2 and come in bit by bit meanwhile. */
CALLED void multiply_rows(__global const float *restrict values, size_t plane,
                          __global const float *restrict panel, int units,
                          __global const float *read, __global const float *also_read,
                          __global const float *written, __global const float *also_written,
                          vec (*ret_sums)[VECTORS])
{
    vec sums[ROWS][VECTORS];
    UNROLL for (int r = 0; r < ROWS; r++)
    {
        UNROLL for (int q = 0; q < VECTORS; q++) { sums[r][q] = (vec)0.0f; }
    }
    for (int k0 = 0; k0 < units; k0 += PANEL) {
        const int filled = min(PANEL, units - k0);
        if (2 * k0 < ROWS * PANEL) {
            UNROLL for (int i = 0; i < 2 * VECTORS; i++)
            {
                FETCH_NEAR(read + 2 * k0 + i * WIDTH)
                FETCH_NEAR(also_read + 2 * k0 + i * WIDTH)
                FETCH_WRITTEN(written + 2 * k0 + i * WIDTH)
                FETCH_WRITTEN(also_written + 2 * k0 + i * WIDTH)
            }
        }
        for (int k = 0; k < filled; k++) {
            vec w[VECTORS];
            UNROLL for (int q = 0; q < VECTORS; q++)
            {
                w[q] = load(panel + q * WIDTH);
                FETCH_NEAR(panel + AHEAD * PANEL + q * WIDTH)
            }
            panel += PANEL;
            UNROLL for (int r = 0; r < ROWS; r++)
            {
                const vec value = (vec)values[r * PANEL + k];
                UNROLL for (int q = 0; q < VECTORS; q++)
                {
                    sums[r][q] = fma(value, w[q], sums[r][q]);
                }
            }
        }
        values += plane;
    }
    UNROLL for (int r = 0; r < ROWS; r++)
    {
        UNROLL for (int q = 0; q < VECTORS; q++) { ret_sums[r][q] = sums[r][q]; }
    }
}

/* s_0 of some rows: kept as [item][unit] (`is_given` 0: zeros), zeros past the batch. */
INLINE void start(__global const float *restrict given, int is_given, __global float *states,
                  size_t plane, int units, int batch, int row_begin, int row_end)
{
    for (int u = 0; u < units; u += WIDTH) {
        __global float *to = states + u / PANEL * plane + u % PANEL;
        for (int n = row_begin; n < row_end; n++) {
            const bool is_there = is_given && n < batch;
            store(is_there ? load_part(given + (size_t)n * units + u, units - u) : (vec)0.0f,
                  to + n * PANEL);
        }
    }
}

/* outputs [output][lane of `apart`] of a block of rows = scale times weights [output][unit] states. */
INLINE void read_out(__global const float *states, size_t plane, __global const float *restrict weights,
                     __global float *restrict outputs, size_t apart, int outs, int units, int rows,
                     float scale)
{
    for (int k = 0; k < outs; k++) {
        vec sums[ROWS];
        UNROLL for (int r = 0; r < ROWS; r++) { sums[r] = (vec)0.0f; }
        for (int u = 0; u < units; u += WIDTH) {
            const vec w = load_part(weights + (size_t)k * units + u, units - u);
            __global const float *s = states + u / PANEL * plane + u % PANEL;
            UNROLL for (int r = 0; r < ROWS; r++) { sums[r] = fma(w, load(s + r * PANEL), sums[r]); }
        }
        UNROLL for (int r = 0; r < ROWS; r++)
        {
            if (r < rows) {
                outputs[k * apart + r] = scale * sum_lanes(sums[r]);
            }
        }
    }
}

/* s_t = relu(x_t W_in input_scale + s_{t-1} W scale + b) for all steps, and what the readout makes
 * of it; x is [input][step][lane], outputs are [output][step][lane]. */
KERNEL void sequence_forward(__global const float *restrict arranged,
                             __global const float *restrict weights,
                             __global const float *restrict live, __global const float *restrict x,
                             __global float *states, __global float *restrict outputs,
                             int state_base, int is_given, int input_base, int bias_base,
                             int readout_base, int inputs, int outs, int units, int batch, int lanes,
                             int blocks, int steps, float scale, float input_scale,
                             float readout_scale)
{
    const int first = blocks * get_group_id(0) / get_num_groups(0);
    const int end = blocks * (get_group_id(0) + 1) / get_num_groups(0);
    const size_t step = (size_t)blocks * ROWS * PANEL, plane = (steps + 1) * step;
    start(live + state_base, is_given, states, plane, units, batch, first * ROWS, end * ROWS);
    for (int t = 0; t < steps; t++) {
        for (int u0 = 0; u0 < units; u0 += PANEL) {
            for (int b = first; b < end; b++) {
                vec sums[ROWS][VECTORS];
                __global float *from = states + t * step + b * ROWS * PANEL;
                __global float *to = from + step + u0 / PANEL * plane;
                multiply_rows(from, plane, arranged + (size_t)u0 * units, units, from, from, to, to,
                              sums);
                UNROLL for (int q = 0; q < VECTORS; q++)
                {
                    const int u = u0 + q * WIDTH;
                    const vec bias = load_part(weights + bias_base + u, units - u);
                    UNROLL for (int r = 0; r < ROWS; r++)
                    {
                        sums[r][q] = scale * sums[r][q] + bias;
                    }
                    for (int i = 0; i < inputs; i++) {
                        const vec w =
                            input_scale * load_part(weights + input_base + i * units + u, units - u);
                        __global const float *input = x + ((size_t)i * steps + t) * lanes;
                        UNROLL for (int r = 0; r < ROWS; r++)
                        {
                            sums[r][q] =
                                fma(w, (vec)input[min(b * ROWS + r, batch - 1)], sums[r][q]);
                        }
                    }
                    UNROLL for (int r = 0; r < ROWS; r++)
                    {
                        /* NaN stays NaN */
                        store(select(sums[r][q], (vec)0.0f, sums[r][q] <= (vec)0.0f),
                              to + r * PANEL + q * WIDTH);
                    }
                }
            }
        }
        for (int b = first; b < end; b++) {
            read_out(states + (t + 1) * step + b * ROWS * PANEL, plane, weights + readout_base,
                     outputs + t * lanes + b * ROWS, (size_t)steps * lanes, outs, units,
                     batch - b * ROWS, readout_scale);
        }
    }
}

/* dz of all steps, from the last to the first: the error that the readout sends down and, where
 * `has_above`, the one from the step above, where the state is not 0. Another net that is joined to
 * this one at each state (`has_other`) takes the same with slopes of its own; of the readout's error
 * only if that joins them too. Below the first step stands the gradient of s_0, [item][unit]. Errors are
 * [output][step][lane]. */
KERNEL void sequence_backward(__global const float *restrict arranged,
                              __global const float *restrict readout,
                              __global const float *restrict error,
                              __global const float *restrict states,
                              __global const float *restrict other_states, __global float *dz,
                              __global float *restrict other_dz, __global float *restrict gradients,
                              int has_above, int has_other, int other_has_readout,
                              int has_state_gradient, int readout_base, int state_base, int outs,
                              int units, int batch, int lanes, int blocks, int steps, float scale,
                              float readout_scale)
{
    const int first = blocks * get_group_id(0) / get_num_groups(0);
    const int end = blocks * (get_group_id(0) + 1) / get_num_groups(0);
    const size_t step = (size_t)blocks * ROWS * PANEL, plane = steps * step;
    for (int t = steps - 1; t >= 0; t--) {
        for (int u0 = 0; u0 < units; u0 += PANEL) {
            for (int b = first; b < end; b++) {
                vec sums[ROWS][VECTORS];
                const size_t at = t * step + b * ROWS * PANEL;
                const bool is_carried = has_above && t + 1 < steps;
                const size_t to = at + u0 / PANEL * plane;
                const size_t state = to + u0 / PANEL * step + step;
                multiply_rows(dz + at + step, plane, arranged + (size_t)u0 * units,
                              is_carried ? units : 0, states + state, other_states + state, dz + to,
                              has_other ? other_dz + to : dz + to, sums);
                UNROLL for (int q = 0; q < VECTORS; q++)
                {
                    const int u = u0 + q * WIDTH;
                    const vec zero = (vec)0.0f;
                    vec sum[ROWS];
                    UNROLL for (int r = 0; r < ROWS; r++) { sum[r] = sums[r][q] = scale * sums[r][q]; }
                    for (int k = 0; k < outs; k++) {
                        const vec w = readout_scale * load_part(readout + readout_base + k * units + u,
                                                                units - u);
                        __global const float *e = error + ((size_t)k * steps + t) * lanes;
                        UNROLL for (int r = 0; r < ROWS; r++)
                        {
                            sum[r] = fma(w, (vec)e[min(b * ROWS + r, batch - 1)], sum[r]);
                        }
                    }
                    UNROLL for (int r = 0; r < ROWS; r++)
                    {
                        const int place = r * PANEL + q * WIDTH;
                        store(select(zero, sum[r], load(states + state + place) > zero),
                              dz + to + place);
                    }
                    for (int r = 0; has_other && r < ROWS; r++) {
                        const int place = r * PANEL + q * WIDTH;
                        store(select(zero, other_has_readout ? sum[r] : sums[r][q],
                                     load(other_states + state + place) > zero),
                              other_dz + to + place);
                    }
                }
            }
        }
    }
    for (int u0 = 0; has_state_gradient && u0 < units; u0 += PANEL) {
        for (int b = first; b < end; b++) {
            vec sums[ROWS][VECTORS];
            __global float *to = gradients + state_base + (size_t)b * ROWS * units + u0;
            multiply_rows(dz + b * ROWS * PANEL, plane, arranged + (size_t)u0 * units, units, to, to, to,
                          to, sums);
            UNROLL for (int r = 0; r < ROWS; r++)
            {
                if (b * ROWS + r < batch) {
                    UNROLL for (int q = 0; q < VECTORS; q++)
                    {
                        store_part(scale * sums[r][q], to + (size_t)r * units + q * WIDTH,
                                   units - u0 - q * WIDTH);
                    }
                }
            }
        }
    }
}

/* ---- Weight gradients -------------------------------------------------------------------------- */

/* For a panel: gradient [factor][unit] = scale times the sum over steps and items of factor
 * [factor][step][lane] times value, and (bias_base not negative) that of the values alone; first within
 * each step. Values start at step `first_step` of `kept_steps`. */
KERNEL void sequence_project(__global const float *restrict values,
                             __global const float *restrict factors,
                             __global float *restrict gradients, int base, int bias_base,
                             int factor_count, int units, int batch, int lanes, int step_rows,
                             int steps, int first_step, int kept_steps, float scale)
{
    const int u0 = get_group_id(0) * PANEL;
    const size_t step = (size_t)step_rows * PANEL;
    __global const float *from = values + (get_group_id(0) * (size_t)kept_steps + first_step) * step;
    for (int k0 = bias_base < 0 ? 0 : -1; k0 < factor_count; k0 += FACTORS) {
        vec sums[FACTORS][VECTORS];
        UNROLL for (int i = 0; i < FACTORS * VECTORS; i++)
        {
            sums[i / VECTORS][i % VECTORS] = (vec)0.0f;
        }
        for (int t = 0; t < steps; t++) {
            __global const float *v = from + t * step;
            vec s[FACTORS][VECTORS];
            UNROLL for (int i = 0; i < FACTORS * VECTORS; i++)
            {
                s[i / VECTORS][i % VECTORS] = (vec)0.0f;
            }
            for (int n = 0; n < batch; n++) {
                UNROLL for (int i = 0; i < FACTORS; i++)
                {
                    const int k = min(k0 + i, factor_count - 1);
                    const vec f = (vec)(k < 0 ? 1.0f : factors[((size_t)k * steps + t) * lanes + n]);
                    UNROLL for (int q = 0; q < VECTORS; q++)
                    {
                        s[i][q] = fma(f, load(v + q * WIDTH), s[i][q]);
                    }
                }
                v += PANEL;
            }
            UNROLL for (int i = 0; i < FACTORS * VECTORS; i++)
            {
                sums[i / VECTORS][i % VECTORS] += s[i / VECTORS][i % VECTORS];
            }
        }
        for (int i = 0; i < FACTORS && k0 + i < factor_count; i++) {
            const int k = k0 + i;
            const float factor = k < 0 ? 1.0f : scale;
            __global float *to = gradients + (k < 0 ? bias_base : base + k * units) + u0;
            for (int q = 0; q < VECTORS; q++) {
                store_part(factor * sums[i][q], to + q * WIDTH, units - u0 - q * WIDTH);
            }
        }
    }
}

/* OUT_ROWS rows of the gradient, a panel wide: what a stretch of steps adds. */
CALLED void add_stretch(__global const float *restrict s, __global const float *restrict dz,
                        size_t step, int steps, int batch, vec (*ret_sums)[VECTORS])
{
    vec sums[OUT_ROWS][VECTORS];
    UNROLL for (int i = 0; i < OUT_ROWS; i++)
    {
        UNROLL for (int q = 0; q < VECTORS; q++) { sums[i][q] = (vec)0.0f; }
    }
    for (int t = 0; t < steps; t++) {
        for (int n = 0; n < batch * PANEL; n += PANEL) {
            vec d[VECTORS];
            FETCH_NEAR(s + n + NEAR * PANEL)
            UNROLL for (int q = 0; q < VECTORS; q++)
            {
                FETCH_NEAR(dz + n + NEAR * PANEL + q * WIDTH)
                d[q] = load(dz + n + q * WIDTH);
            }
            UNROLL for (int i = 0; i < OUT_ROWS; i++)
            {
                const vec value = (vec)s[n + i];
                UNROLL for (int q = 0; q < VECTORS; q++)
                {
                    sums[i][q] = fma(value, d[q], sums[i][q]);
                }
            }
        }
        s += step;
        dz += step;
    }
    UNROLL for (int i = 0; i < OUT_ROWS; i++)
    {
        UNROLL for (int q = 0; q < VECTORS; q++) { ret_sums[i][q] = sums[i][q]; }
    }
}

/* gradient [unit read][unit] = scale times the sum over steps and items of s_{t-1} dz_t, in stretches of
 * steps whose dz of a panel stays in L1. A work-item has a tile of row_blocks * OUT_ROWS units read and
 * `panels` panels. */
KERNEL void sequence_gradient(__global const float *restrict states, __global const float *restrict dz,
                              __global float *restrict gradients, int base, int units, int batch,
                              int step_rows, int steps, int stretch, int row_blocks, int panels,
                              float scale)
{
    const int row_begin = get_group_id(0) * row_blocks * OUT_ROWS;
    const int row_end = min(row_begin + row_blocks * OUT_ROWS, units);
    const int u_begin = get_group_id(1) * panels * PANEL;
    const int u_end = min(u_begin + panels * PANEL, units);
    const size_t step = (size_t)step_rows * PANEL;
    for (int t = 0; t < steps; t += stretch) {
        const float factor = t + stretch < steps ? 1.0f : scale;
        for (int u = u_begin; u < u_end; u += PANEL) {
            for (int row = row_begin; row < row_end; row += OUT_ROWS) {
                vec sums[OUT_ROWS][VECTORS];
                add_stretch(states + (row / PANEL * (size_t)(steps + 1) + t) * step + row % PANEL,
                            dz + (u / PANEL * (size_t)steps + t) * step, step,
                            min(stretch, steps - t), batch, sums);
                __global float *to = gradients + base + (size_t)row * units + u;
                UNROLL for (int i = 0; i < OUT_ROWS; i++)
                {
                    UNROLL for (int q = 0; q < VECTORS; q++)
                    {
                        const int count = row + i < row_end ? units - u - q * WIDTH : 0;
                        __global float *p = to + (size_t)i * units + q * WIDTH;
                        const vec before = t == 0 ? (vec)0.0f : load_part(p, count);
                        store_part(factor * (before + sums[i][q]), p, count);
                    }
                }
            }
        }
    }
}
