/* What a training step needs beside layers, for any device: the output error, weights put in the order that
 * convolution kernels read. Scalar code, no vectors.
 */

/* Mean over batch and classes of (logits - target)^2, logits = outputs + bias, target = one-hot -
 * offset; its gradient (semantics: Loss); how many largest logits are the label's. One work-group,
 * whose work-items take every group-size-th lane and whose first adds their sums, so that the order
 * is fixed; `sums` has room for two floats each. The loss goes to results[2 * slot], the count to
 * results[2 * slot + 1]. A loss that is not finite sets halted[0] to 1 and halted[1] to the slot:
 * updates stop, so that what went wrong first can still be looked at. */
__kernel void output_error(__global const float *restrict outputs,
                           __global const uint *restrict labels,
                           __global const float *restrict bias, __global float *restrict error,
                           __global float *restrict results,
                           __global int *restrict halted, int batch, int classes, int lanes,
                           int bias_base, float offset, int slot, __local float *restrict sums)
{
    const int item = get_local_id(0), items = get_local_size(0);
    const float factor = 2.0f / ((float)batch * classes);
    float loss = 0.0f, correct = 0.0f;
    for (int n = item; n < lanes; n += items) {
        if (n >= batch) {
            for (int k = 0; k < classes; k++) {
                error[k * lanes + n] = 0.0f;
            }
            continue;
        }
        const int label = labels[n];
        float item_loss = 0.0f, best = -INFINITY;
        int best_class = 0;
        for (int k = 0; k < classes; k++) {
            const float logit = outputs[k * lanes + n] + bias[bias_base + k];
            const float e = logit - ((k == label ? 1.0f : 0.0f) - offset);
            item_loss = fma(e, e, item_loss);
            error[k * lanes + n] = factor * e;
            if (logit > best) {
                best = logit;
                best_class = k;
            }
        }
        loss += item_loss;
        correct += best_class == label ? 1.0f : 0.0f;
    }
    sums[2 * item] = loss;
    sums[2 * item + 1] = correct;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item != 0) {
        return;
    }
    for (int i = 1; i < items; i++) {
        loss += sums[2 * i];
        correct += sums[2 * i + 1];
    }
    loss /= (float)batch * classes;
    results[2 * slot] = loss;
    results[2 * slot + 1] = correct;
    if (!isfinite(loss) && halted[0] == 0) {
        halted[0] = 1;
        halted[1] = slot;
    }
}

/* sums[k] = sum over lanes of values[k], one work-group a row, adding as output_error does. */
__kernel void sum_rows(__global const float *restrict values, __global float *restrict sums,
                       int base, int lanes, __local float *restrict parts)
{
    const int k = get_group_id(0), item = get_local_id(0), items = get_local_size(0);
    float s = 0.0f;
    for (int n = item; n < lanes; n += items) {
        s += values[(size_t)k * lanes + n];
    }
    parts[item] = s;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item == 0) {
        for (int i = 1; i < items; i++) {
            s += parts[i];
        }
        sums[base + k] = s;
    }
}

/* Weights [out][tap][in] to [block of `block` rows][column][tap][row in block], rows past the end
 * zero. Rows are outputs (forward) or inputs (backward to the data). `chunks` work-items a block of
 * one form, each with a range of its columns; `forms` says which layer, which direction and which
 * of the kernel's taps. */
struct form {
    int first;                  /* work-items of the forms before */
    int source, target;         /* offsets in floats */
    int rows, columns;
    int source_row, source_column, source_tap;
    int taps, first_tap;
};

/* Columns first .. end - 1 of a whole block of rows; inlined with `block` constant it is unrolled. */
inline __attribute__((always_inline)) void arrange_whole(__global const float *restrict source,
                                                         __global float *restrict target,
                                                         __global const int *restrict taps,
                                                         const struct form *form, int first, int end,
                                                         int block)
{
    for (int column = first; column < end; column++) {
        for (int t = 0; t < form->taps; t++) {
            __global const float *from = source + (size_t)column * form->source_column +
                                         taps[form->first_tap + t] * form->source_tap;
            for (int i = 0; i < block; i++) {
                target[i] = from[(size_t)i * form->source_row];
            }
            target += block;
        }
    }
}

__kernel void arrange_weights(__global const float *restrict weights,
                              __global float *restrict arranged,
                              __global const struct form *restrict forms,
                              __global const int *restrict taps, int form_count, int block,
                              int chunks)
{
    const int id = get_global_id(0);
    int item = id / chunks;
    const int chunk = id - item * chunks;
    int f = 0;
    while (f + 1 < form_count && item >= forms[f + 1].first) {
        f++;
    }
    const struct form form = forms[f];
    item -= form.first;
    if (item * block >= form.rows) {
        return;
    }
    const int first = (int)((long)form.columns * chunk / chunks);
    const int end = (int)((long)form.columns * (chunk + 1) / chunks);
    __global float *target =
        arranged + form.target + ((size_t)item * form.columns + first) * block * form.taps;
    __global const float *source =
        weights + form.source + (size_t)item * block * form.source_row;
    const int rows = form.rows - item * block;
    if (rows >= block && block == 8) {
        arrange_whole(source, target, taps, &form, first, end, 8);
        return;
    }
    for (int column = first; column < end; column++) {
        for (int t = 0; t < form.taps; t++) {
            __global const float *from = source + (size_t)column * form.source_column +
                                         taps[form.first_tap + t] * form.source_tap;
            for (int i = 0; i < block; i++) {
                *target++ = i < rows ? from[(size_t)i * form.source_row] : 0.0f;
            }
        }
    }
}
