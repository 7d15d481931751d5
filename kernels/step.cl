/* What a training step needs beside layers, for any device: loading a batch, the output error,
 * weights put in the order that convolution kernels read. Scalar code, no vectors.
 */

/* Puts `items` [item][row][column][channel] into x [channel][row][column][lane] with a border.
 * Bytes go through `table`, float32's v/255 for each v, so that every device rounds alike. One
 * work-item a row; lanes past the batch stay zero. */
__kernel void load_bytes(__global const uchar *restrict items, __global const float *restrict table,
                         __global float *restrict x, int batch, int rows, int columns, int channels,
                         int lanes, int x_base, int x_plane, int x_row)
{
    const int row = get_global_id(0), channel = get_global_id(1);
    if (row >= rows || channel >= channels) {
        return;
    }
    const int item_size = rows * columns * channels;
    for (int column = 0; column < columns; column++) {
        __global float *p = x + (size_t)channel * x_plane + x_base + row * x_row + column * lanes;
        __global const uchar *v = items + (row * columns + column) * channels + channel;
        for (int n = 0; n < batch; n++) {
            p[n] = table[v[(size_t)n * item_size]];
        }
    }
}

__kernel void load_floats(__global const float *restrict items, __global float *restrict x,
                          int batch, int rows, int columns, int channels, int lanes, int x_base,
                          int x_plane, int x_row)
{
    const int row = get_global_id(0), channel = get_global_id(1);
    if (row >= rows || channel >= channels) {
        return;
    }
    const int item_size = rows * columns * channels;
    for (int column = 0; column < columns; column++) {
        __global float *p = x + (size_t)channel * x_plane + x_base + row * x_row + column * lanes;
        __global const float *v = items + (row * columns + column) * channels + channel;
        for (int n = 0; n < batch; n++) {
            p[n] = v[(size_t)n * item_size];
        }
    }
}

/* Mean over batch and classes of (logits - target)^2, logits = outputs + bias, target = one-hot - offset; its gradient
 * (semantics: Loss); how many largest logits are the label's. One work-item, so that the order of
 * the sums is fixed. The loss goes to results[2 * slot], the count to results[2 * slot + 1]. A loss that is
 * not finite sets halted[0] to 1 and halted[1] to the slot: updates stop, so that what went wrong
 * first can still be looked at. */
__kernel void output_error(__global const float *restrict outputs, __global const uint *restrict labels,
                           __global const float *restrict bias, __global float *restrict error,
                           __global float *restrict results,
                           __global int *restrict halted, int batch, int classes, int lanes, int bias_base,
                           float offset, int slot)
{
    if (get_global_id(0) != 0) {
        return;
    }
    const float factor = 2.0f / ((float)batch * classes);
    float loss = 0.0f, correct = 0.0f;
    for (int n = 0; n < lanes; n++) {
        if (n >= batch) {
            for (int k = 0; k < classes; k++) {
                error[k * lanes + n] = 0.0f;
            }
            continue;
        }
        const int label = labels[n];
        float item = 0.0f, best = -INFINITY;
        int best_class = 0;
        for (int k = 0; k < classes; k++) {
            const float logit = outputs[k * lanes + n] + bias[bias_base + k];
            const float e = logit - ((k == label ? 1.0f : 0.0f) - offset);
            item = fma(e, e, item);
            error[k * lanes + n] = factor * e;
            if (logit > best) {
                best = logit;
                best_class = k;
            }
        }
        loss += item;
        correct += best_class == label ? 1.0f : 0.0f;
    }
    loss /= (float)batch * classes;
    results[2 * slot] = loss;
    results[2 * slot + 1] = correct;
    if (!isfinite(loss) && halted[0] == 0) {
        halted[0] = 1;
        halted[1] = slot;
    }
}

/* sums[k] = sum over lanes of values[k], one work-item a row. */
__kernel void sum_rows(__global const float *restrict values, __global float *restrict sums, int base,
                       int rows, int lanes)
{
    const int k = get_global_id(0);
    if (k >= rows) {
        return;
    }
    float s = 0.0f;
    for (int n = 0; n < lanes; n++) {
        s += values[(size_t)k * lanes + n];
    }
    sums[base + k] = s;
}

/* Weights [out][tap][in] to [block of `block` rows][column][tap][row in block], rows past the end
 * zero. Rows are outputs (forward) or inputs (backward to the data). One work-item a block of one
 * form; `forms` says which layer, which direction and which of the kernel's taps. */
struct form {
    int first;                  /* work-items of the forms before */
    int source, target;         /* offsets in floats */
    int rows, columns;
    int source_row, source_column, source_tap;
    int taps, first_tap;
};

__kernel void arrange_weights(__global const float *restrict weights, __global float *restrict arranged,
                              __global const struct form *restrict forms,
                              __global const int *restrict taps, int form_count, int block)
{
    int item = get_global_id(0);
    int f = 0;
    while (f + 1 < form_count && item >= forms[f + 1].first) {
        f++;
    }
    const struct form form = forms[f];
    item -= form.first;
    if (item * block >= form.rows) {
        return;
    }
    __global float *target = arranged + form.target + (size_t)item * block * form.columns * form.taps;
    for (int column = 0; column < form.columns; column++) {
        for (int t = 0; t < form.taps; t++) {
            __global const float *source = weights + form.source + (size_t)column * form.source_column +
                                           taps[form.first_tap + t] * form.source_tap;
            for (int i = 0; i < block; i++) {
                int row = item * block + i;
                *target++ = row < form.rows ? source[(size_t)row * form.source_row] : 0.0f;
            }
        }
    }
}
