/* A recurrence on CPUs, a whole sequence in one launch: items are independent through all steps, so a
 * work-item takes some of them from the first step to the last, or back.
 *
 * Vectors run over units, in panels of two; an item is a row. Kept over time are [panel][step][row]
 * [PANEL]: a step's rows lie side by side for the product of the next step, which reads them value by
 * value, and those of all steps for the weight gradient. Rows past the batch fill the last block; what
 * stands there is never read for others. Weights of a panel are [unit read][PANEL].
 *
 * Every sum has one order, whatever the blocks and the number of work-items.
 *
 * Why rows of items and not, as in convolutions, vectors of them: 50 items are 4 vectors of 16 with a
 * quarter of the work thrown away, but 4 blocks of 13 rows; and a step's result lies as the next one and
 * the weight gradient (whose vectors run over units, so that nothing is added up across lanes) read it.
 */
#define PANEL (2 * WIDTH)
#define AHEAD 32 /* units read: weights of large nets come from beyond L2, this step as the next */
#ifndef OUTS
#define OUTS 8
#endif
#ifndef ROWS
#define ROWS 6 /* of a block: ROWS x 2 sums and what they need fit the registers */
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

/* sums[row][2] = sum over units read, in order, of a step's values times a panel of weights. */
INLINE void multiply_rows(__global const float *values, size_t plane,
                          __global const float *restrict panel, int units, vec (*sums)[2])
{
    UNROLL for (int r = 0; r < ROWS; r++) { sums[r][0] = sums[r][1] = (vec)0.0f; }
    for (int k0 = 0; k0 < units; k0 += PANEL) {
        const int filled = min(PANEL, units - k0);
        for (int k = 0; k < filled; k++) {
            const vec w0 = load(panel), w1 = load(panel + WIDTH);
            PREFETCH(panel + AHEAD * PANEL)
            PREFETCH(panel + AHEAD * PANEL + WIDTH)
            panel += PANEL;
            UNROLL for (int r = 0; r < ROWS; r++)
            {
                const vec value = (vec)values[r * PANEL + k];
                sums[r][0] = fma(value, w0, sums[r][0]);
                sums[r][1] = fma(value, w1, sums[r][1]);
            }
        }
        values += plane;
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

/* s_t = relu(x_t W_in input_scale + s_{t-1} W scale + b) for all steps; x is [input][step][lane]. */
KERNEL void sequence_forward(__global const float *restrict arranged,
                             __global const float *restrict weights,
                             __global const float *restrict live, __global const float *restrict x,
                             __global float *states, int state_base, int is_given, int input_base,
                             int bias_base, int inputs, int units, int batch, int lanes, int blocks,
                             int steps, float scale, float input_scale)
{
    const int first = blocks * get_group_id(0) / get_num_groups(0);
    const int end = blocks * (get_group_id(0) + 1) / get_num_groups(0);
    const size_t step = (size_t)blocks * ROWS * PANEL, plane = (steps + 1) * step;
    start(live + state_base, is_given, states, plane, units, batch, first * ROWS, end * ROWS);
    for (int t = 0; t < steps; t++) {
        for (int u0 = 0; u0 < units; u0 += PANEL) {
            for (int b = first; b < end; b++) {
                vec sums[ROWS][2];
                __global float *from = states + t * step + b * ROWS * PANEL;
                multiply_rows(from, plane, arranged + (size_t)u0 * units, units, sums);
                __global float *to = from + step + u0 / PANEL * plane;
                UNROLL for (int q = 0; q < 2; q++)
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
                vec sums[ROWS][2];
                const size_t at = t * step + b * ROWS * PANEL;
                const bool is_carried = has_above && t + 1 < steps;
                multiply_rows(dz + at + step, plane, arranged + (size_t)u0 * units,
                              is_carried ? units : 0, sums);
                const size_t to = at + u0 / PANEL * plane;
                const size_t state = to + u0 / PANEL * step + step;
                UNROLL for (int q = 0; q < 2; q++)
                {
                    const int u = u0 + q * WIDTH;
                    vec above[ROWS];
                    UNROLL for (int r = 0; r < ROWS; r++)
                    {
                        above[r] = sums[r][q] = scale * sums[r][q];
                    }
                    for (int k = 0; k < outs; k++) {
                        const vec w = readout_scale * load_part(readout + readout_base + k * units + u,
                                                                units - u);
                        __global const float *e = error + ((size_t)k * steps + t) * lanes;
                        UNROLL for (int r = 0; r < ROWS; r++)
                        {
                            sums[r][q] = fma(w, (vec)e[min(b * ROWS + r, batch - 1)], sums[r][q]);
                        }
                    }
                    UNROLL for (int r = 0; r < ROWS; r++)
                    {
                        const int place = r * PANEL + q * WIDTH;
                        const vec zero = (vec)0.0f;
                        store(select(zero, sums[r][q], load(states + state + place) > zero),
                              dz + to + place);
                        if (has_other) {
                            store(select(zero, other_has_readout ? sums[r][q] : above[r],
                                         load(other_states + state + place) > zero),
                                  other_dz + to + place);
                        }
                    }
                }
            }
        }
    }
    for (int u0 = 0; has_state_gradient && u0 < units; u0 += PANEL) {
        for (int b = first; b < end; b++) {
            vec sums[ROWS][2];
            multiply_rows(dz + b * ROWS * PANEL, plane, arranged + (size_t)u0 * units, units, sums);
            __global float *to = gradients + state_base + (size_t)b * ROWS * units + u0;
            UNROLL for (int r = 0; r < ROWS; r++)
            {
                if (b * ROWS + r < batch) {
                    store_part(scale * sums[r][0], to + (size_t)r * units, units - u0);
                    store_part(scale * sums[r][1], to + (size_t)r * units + WIDTH,
                               units - u0 - WIDTH);
                }
            }
        }
    }
}

/* ---- Readout ---------------------------------------------------------------------------------- */

/* outputs [output][step][lane] = scale times weights [output][unit] states, one step a work-item. */
KERNEL void sequence_outputs(__global const float *restrict states,
                             __global const float *restrict weights,
                             __global float *restrict outputs, int base, int outs, int units,
                             int batch, int lanes, int blocks, int steps, float scale)
{
    const int t = get_group_id(0);
    const size_t step = (size_t)blocks * ROWS * PANEL, plane = (steps + 1) * step;
    for (int k = 0; k < outs; k++) {
        __global float *to = outputs + ((size_t)k * steps + t) * lanes;
        for (int b = 0; b < blocks; b++) {
            vec sums[ROWS];
            UNROLL for (int r = 0; r < ROWS; r++) { sums[r] = (vec)0.0f; }
            for (int u = 0; u < units; u += WIDTH) {
                const vec w = load_part(weights + base + (size_t)k * units + u, units - u);
                __global const float *s =
                    states + u / PANEL * plane + u % PANEL + (t + 1) * step + b * ROWS * PANEL;
                UNROLL for (int r = 0; r < ROWS; r++)
                {
                    sums[r] = fma(w, load(s + r * PANEL), sums[r]);
                }
            }
            UNROLL for (int r = 0; r < ROWS; r++)
            {
                if (b * ROWS + r < batch) {
                    to[b * ROWS + r] = scale * sum_lanes(sums[r]);
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
    for (int k = bias_base < 0 ? 0 : -1; k < factor_count; k++) {
        vec sums[2] = {(vec)0.0f, (vec)0.0f};
        for (int t = 0; t < steps; t++) {
            __global const float *v = from + t * step;
            vec s[2] = {(vec)0.0f, (vec)0.0f};
            for (int n = 0; n < batch; n++) {
                const vec f = (vec)(k < 0 ? 1.0f : factors[((size_t)k * steps + t) * lanes + n]);
                s[0] = fma(f, load(v), s[0]);
                s[1] = fma(f, load(v + WIDTH), s[1]);
                v += PANEL;
            }
            sums[0] += s[0];
            sums[1] += s[1];
        }
        const float factor = k < 0 ? 1.0f : scale;
        __global float *to = gradients + (k < 0 ? bias_base : base + k * units) + u0;
        store_part(factor * sums[0], to, units - u0);
        store_part(factor * sums[1], to + WIDTH, units - u0 - WIDTH);
    }
}

/* OUTS rows of the gradient, a panel wide: what a stretch of steps adds. */
INLINE void add_stretch(__global const float *restrict s, __global const float *restrict dz,
                        size_t step, int steps, int batch, vec (*sums)[2])
{
    UNROLL for (int i = 0; i < OUTS; i++) { sums[i][0] = sums[i][1] = (vec)0.0f; }
    for (int t = 0; t < steps; t++) {
        for (int n = 0; n < batch * PANEL; n += PANEL) {
            const vec d0 = load(dz + n), d1 = load(dz + n + WIDTH);
            UNROLL for (int i = 0; i < OUTS; i++)
            {
                const vec value = (vec)s[n + i];
                sums[i][0] = fma(value, d0, sums[i][0]);
                sums[i][1] = fma(value, d1, sums[i][1]);
            }
        }
        s += step;
        dz += step;
    }
}

/* gradient [unit read][unit] = scale times the sum over steps and items of s_{t-1} dz_t, in stretches of
 * steps whose dz of a panel stays in L1. A work-item has a tile of row_blocks * OUTS units read and
 * `panels` panels. */
KERNEL void sequence_gradient(__global const float *restrict states, __global const float *restrict dz,
                              __global float *restrict gradients, int base, int units, int batch,
                              int step_rows, int steps, int stretch, int row_blocks, int panels,
                              float scale)
{
    const int row_begin = get_group_id(0) * row_blocks * OUTS;
    const int row_end = min(row_begin + row_blocks * OUTS, units);
    const int u_begin = get_group_id(1) * panels * PANEL;
    const int u_end = min(u_begin + panels * PANEL, units);
    const size_t step = (size_t)step_rows * PANEL;
    for (int t = 0; t < steps; t += stretch) {
        const float factor = t + stretch < steps ? 1.0f : scale;
        for (int u = u_begin; u < u_end; u += PANEL) {
            for (int row = row_begin; row < row_end; row += OUTS) {
                vec sums[OUTS][2];
                add_stretch(states + (row / PANEL * (size_t)(steps + 1) + t) * step + row % PANEL,
                            dz + (u / PANEL * (size_t)steps + t) * step, step,
                            min(stretch, steps - t), batch, sums);
                __global float *to = gradients + base + (size_t)row * units + u;
                UNROLL for (int i = 0; i < OUTS; i++)
                {
                    UNROLL for (int q = 0; q < 2; q++)
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
