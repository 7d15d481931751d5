/* What a recurrence needs beside matrix products on the GPU path (core/sequence.c); its error, loss and
 * sum serve the CPU path too. Scalar code for any device; every sum is one work-item's, so that its
 * order is fixed.
 *
 * Over time a tensor is [unit][step][lane]. States have a step more than the items, the initial state
 * before the first; `now` is one step, [unit][lane], side by side for the next product.
 */

/* target [column][row] = source [row][column], a tile of 16 x 16 a work-item. */
__kernel void sequence_turn(__global const float *restrict source, __global float *restrict target,
                            int base, int size)
{
    const int row = get_global_id(0) * 16, column = get_global_id(1) * 16;
    const int row_end = min(row + 16, size), column_end = min(column + 16, size);
    for (int c = column; c < column_end; c++) {
        for (int r = row; r < row_end; r++) {
            target[(size_t)c * size + r] = source[base + (size_t)r * size + c];
        }
    }
}

/* The initial state, kept as [item][unit] (`is_given` 0: zeros), into step 0 and `now`. */
__kernel void sequence_start(__global const float *restrict weights, __global float *restrict states,
                             __global float *restrict now, int base, int is_given, int batch,
                             int units, int lanes, int plane)
{
    const int lane = get_global_id(0), unit = get_global_id(1);
    if (lane >= lanes || unit >= units) {
        return;
    }
    const float s = is_given && lane < batch ? weights[base + (size_t)lane * units + unit] : 0.0f;
    states[(size_t)unit * plane + lane] = s;
    now[(size_t)unit * lanes + lane] = s;
}

/* s_t = relu(x_t W_in scale + z + b), z the recurrent product; into the states and `now`. Lanes past
 * the batch stay zero. */
__kernel void sequence_activate(__global const float *restrict z, __global const float *restrict x,
                                __global const float *restrict weights,
                                __global float *restrict states, __global float *restrict now,
                                int input_base, int bias_base, int inputs, int units, int batch,
                                int lanes, int step, int steps, float scale)
{
    const int lane = get_global_id(0), unit = get_global_id(1);
    if (lane >= lanes || unit >= units) {
        return;
    }
    float sum = z[(size_t)unit * lanes + lane] + weights[bias_base + unit];
    for (int i = 0; i < inputs; i++) {
        const float w = scale * weights[input_base + (size_t)i * units + unit];
        sum = fma(w, x[((size_t)i * steps + step) * lanes + lane], sum);
    }
    const float s = lane >= batch || sum <= 0.0f ? 0.0f : sum; /* NaN stays NaN */
    now[(size_t)unit * lanes + lane] = s;
    states[((size_t)unit * (steps + 1) + step + 1) * lanes + lane] = s;
}

/* One step of the outputs' error [output][step][lane] = 2 (o - y)/(batch outputs), o = outputs + bias,
 * and its share of the loss: the mean over batch and outputs. Targets are [item][step][output]. */
__kernel void sequence_error(__global const float *restrict outputs,
                             __global const float *restrict targets,
                             __global const float *restrict weights, __global float *restrict error,
                             __global float *restrict losses, int bias_base, int batch, int outs,
                             int lanes, int steps)
{
    const int step = get_global_id(0);
    if (step >= steps) {
        return;
    }
    const float share = 1.0f / ((float)batch * outs);
    float loss = 0.0f;
    for (int k = 0; k < outs; k++) {
        const size_t at = ((size_t)k * steps + step) * lanes;
        for (int n = 0; n < lanes; n++) {
            float e = 0.0f;
            if (n < batch) {
                e = outputs[at + n] + weights[bias_base + k] -
                    targets[((size_t)n * steps + step) * outs + k];
            }
            loss = fma(e, e, loss);
            error[at + n] = 2.0f * share * e;
        }
    }
    losses[step] = share * loss;
}

/* The loss of the batch, the sum over the steps. One that is not finite halts the updates, as in
 * step.cl's output_error. */
__kernel void sequence_loss(__global const float *restrict losses, __global float *restrict results,
                            __global int *restrict halted, int steps, int slot)
{
    if (get_global_id(0) != 0) {
        return;
    }
    float loss = 0.0f;
    for (int t = 0; t < steps; t++) {
        loss += losses[t];
    }
    results[2 * slot] = loss;
    results[2 * slot + 1] = 0.0f;
    if (!isfinite(loss) && halted[0] == 0) {
        halted[0] = 1;
        halted[1] = slot;
    }
}

/* dz of one step: the error that the readout sends down and the one from the step above (`above`,
 * 0: there is none), where the state is not 0; into dz [unit][step][lane] and `now`. */
__kernel void sequence_slope(__global const float *restrict above, __global const float *restrict error,
                             __global const float *restrict weights,
                             __global const float *restrict states, __global float *restrict dz,
                             __global float *restrict now, int has_above, int has_readout,
                             int readout_base, int outs, int units, int lanes, int step, int steps,
                             float scale)
{
    const int lane = get_global_id(0), unit = get_global_id(1);
    if (lane >= lanes || unit >= units) {
        return;
    }
    float d = has_above ? above[(size_t)unit * lanes + lane] : 0.0f;
    for (int k = 0; has_readout && k < outs; k++) {
        const float w = scale * weights[readout_base + (size_t)k * units + unit];
        d = fma(w, error[((size_t)k * steps + step) * lanes + lane], d);
    }
    const float s = states[((size_t)unit * (steps + 1) + step + 1) * lanes + lane];
    d = s > 0.0f ? d : 0.0f;
    now[(size_t)unit * lanes + lane] = d;
    dz[((size_t)unit * steps + step) * lanes + lane] = d;
}

/* gradients [item][unit] of the initial state from the error below the first step, [unit][lane]. */
__kernel void sequence_state_gradient(__global const float *restrict down,
                                      __global float *restrict gradients, int base, int batch,
                                      int units, int lanes)
{
    const int unit = get_global_id(0), item = get_global_id(1);
    if (item >= batch || unit >= units) {
        return;
    }
    gradients[base + (size_t)item * units + unit] = down[(size_t)unit * lanes + item];
}

/* sums[row] = sum over steps and lanes of values [row][step][lane], first within each step. */
__kernel void sequence_sum(__global const float *restrict values, __global float *restrict sums,
                           int base, int rows, int steps, int lanes)
{
    const int row = get_global_id(0);
    if (row >= rows) {
        return;
    }
    float sum = 0.0f;
    for (int t = 0; t < steps; t++) {
        __global const float *p = values + ((size_t)row * steps + t) * lanes;
        float s = 0.0f;
        for (int n = 0; n < lanes; n++) {
            s += p[n];
        }
        sum += s;
    }
    sums[base + row] = sum;
}
