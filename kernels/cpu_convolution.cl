/* Direct convolution on CPUs, forward and backward to the data, for any kernel, stride and batch.
 * Tensors are [channel][row][column][lane], lane = item of the batch, with a zero border.
 *
 * Both directions are sums over taps: y[o] at one place = sum over c, t of w[o][c][t] * x[c] at the
 * place + taps[t]. Forward has one job; backward-data of stride s has up to s*s, one for each
 * residue of the row and column (its taps are those of the kernel that reach it).
 *
 * Lanes that lie side by side in x and y alike form a segment (a row at stride 1, else one pixel).
 * A work-item computes BLOCK lanes of a segment for a range of output channels, OUTS channels x 3
 * vectors at a time in registers. What a segment leaves over (in pieces of four lanes) is gathered,
 * BLOCK lanes at a time, into local memory and goes through the same products in the same order.
 */
#ifndef OUTS
#define OUTS 8 /* output channels in registers: OUTS x 3 vectors */
#endif
#define BLOCK (3 * WIDTH)
#define BLOCK_PIECES (3 * PIECES)

struct job {
    int first;            /* work-items of the jobs before */
    int blocks;           /* whole blocks in a segment */
    int rest;             /* pieces that a segment leaves over */
    int rows, columns;    /* segments */
    int x, x_row, x_column;
    int y, y_row, y_column;
    int taps, first_tap;
    int weights;          /* of this job: [o/OUTS][c][tap][OUTS] */
};

#define ACCUMULATE(LOAD)                                                                           \
    for (int t = 0; t < taps_count; t++) {                                                         \
        vec b[3];                                                                                  \
        UNROLL for (int q = 0; q < 3; q++) { b[q] = LOAD; }                                        \
        UNROLL for (int i = 0; i < OUTS; i++)                                                      \
        {                                                                                          \
            vec weight = (vec)ww[i];                                                               \
            UNROLL for (int q = 0; q < 3; q++) { a[i][q] = fma(weight, b[q], a[i][q]); }           \
        }                                                                                          \
        ww += OUTS;                                                                                \
    }

#define BEGIN                                                                                      \
    vec a[OUTS][3];                                                                                \
    __local float *saved = accumulators + (ob - ob_first) * OUTS * BLOCK;                          \
    UNROLL for (int i = 0; i < OUTS; i++)                                                          \
    {                                                                                              \
        UNROLL for (int q = 0; q < 3; q++)                                                         \
        {                                                                                          \
            a[i][q] = c0 == 0 ? (vec)0.0f : load_local(saved + i * BLOCK + q * WIDTH);             \
        }                                                                                          \
    }                                                                                              \
    __global const float *ww = weights + ((size_t)ob * channels + c0) * taps_count * OUTS;

#define SAVE                                                                                       \
    UNROLL for (int i = 0; i < OUTS; i++)                                                          \
    {                                                                                              \
        UNROLL for (int q = 0; q < 3; q++) { store_local(a[i][q], saved + i * BLOCK + q * WIDTH); } \
    }

KERNEL void convolution(__global const float *restrict x, __global const float *restrict w,
                        __global float *restrict y, __global const struct job *restrict jobs,
                        __global const int *restrict all_taps, int job_count, int channels,
                        int outs, int x_plane, int y_plane, int blocks_per_item, int most_gathered,
                        __local float *restrict accumulators, __local float *restrict gathered)
{
    int item = get_group_id(0);
    int j = 0;
    while (j + 1 < job_count && item >= jobs[j + 1].first) {
        j++;
    }
    struct job job = jobs[j];
    item -= job.first;
    const int taps_count = job.taps;
    __global const int *taps = all_taps + job.first_tap;
    __global const float *weights = w + job.weights;
    const int ob_first = get_group_id(1) * blocks_per_item;
    const int ob_end = min(ob_first + blocks_per_item, (outs + OUTS - 1) / OUTS);
    const int whole = job.blocks * job.rows * job.columns;
    /* Channels a round: as many as fit into `gathered` with all taps. */
    const int channel_block = taps_count ? max(most_gathered / taps_count, 1) : channels;

    if (item < whole) {
        int segment = item / job.blocks;
        int row = segment / job.columns, column = segment - row * job.columns;
        int lane = (item - segment * job.blocks) * BLOCK;
        __global const float *xs = x + job.x + row * job.x_row + column * job.x_column + lane;
        __global float *ys = y + job.y + row * job.y_row + column * job.y_column + lane;
        for (int c0 = 0; c0 < channels; c0 += channel_block) {
            int c_end = min(c0 + channel_block, channels);
            /* The next round's lanes come in from L3 while this round computes. */
            for (int c = c_end; c < min(c_end + channel_block, channels); c++) {
                for (int t = 0; t < taps_count; t++) {
                    __global const float *xc = xs + (size_t)c * x_plane + taps[t];
                    PREFETCH(xc)
                    PREFETCH(xc + WIDTH)
                    PREFETCH(xc + 2 * WIDTH)
                }
            }
            for (int ob = ob_first; ob < ob_end; ob++) {
                BEGIN
                for (int c = c0; c < c_end; c++) {
                    __global const float *xc = xs + (size_t)c * x_plane;
                    ACCUMULATE(load(xc + taps[t] + q * WIDTH))
                }
                if (c_end < channels) {
                    SAVE
                    continue;
                }
                UNROLL for (int i = 0; i < OUTS; i++)
                {
                    if (ob * OUTS + i < outs) {
                        __global float *yo = ys + (size_t)(ob * OUTS + i) * y_plane;
                        UNROLL for (int q = 0; q < 3; q++) { store(a[i][q], yo + q * WIDTH); }
                    }
                }
            }
        }
    } else {
        int x_offset[BLOCK_PIECES], y_offset[BLOCK_PIECES];
        const int last = job.rest * job.rows * job.columns - 1;
        for (int p = 0; p < BLOCK_PIECES; p++) {
            /* past the end: the last piece again, which writes equal values twice */
            int piece = min((item - whole) * BLOCK_PIECES + p, last);
            int segment = piece / job.rest;
            int row = segment / job.columns, column = segment - row * job.columns;
            int lane = job.blocks * BLOCK + (piece - segment * job.rest) * 4;
            x_offset[p] = job.x + row * job.x_row + column * job.x_column + lane;
            y_offset[p] = job.y + row * job.y_row + column * job.y_column + lane;
        }
        for (int c0 = 0; c0 < channels; c0 += channel_block) {
            int c_end = min(c0 + channel_block, channels);
            for (int c = c0; c < c_end; c++) {
                for (int t = 0; t < taps_count; t++) {
                    __global const float *xc = x + (size_t)c * x_plane + taps[t];
                    __local float *g = gathered + ((c - c0) * taps_count + t) * BLOCK;
                    UNROLL for (int q = 0; q < 3; q++)
                    {
                        store_local(load_pieces(xc, x_offset + q * PIECES), g + q * WIDTH);
                    }
                }
            }
            for (int ob = ob_first; ob < ob_end; ob++) {
                BEGIN
                for (int c = c0; c < c_end; c++) {
                    __local const float *g = gathered + (c - c0) * taps_count * BLOCK;
                    ACCUMULATE(load_local(g + t * BLOCK + q * WIDTH))
                }
                if (c_end < channels) {
                    SAVE
                    continue;
                }
                UNROLL for (int i = 0; i < OUTS; i++)
                {
                    if (ob * OUTS + i < outs) {
                        __global float *yo = y + (size_t)(ob * OUTS + i) * y_plane;
                        UNROLL for (int q = 0; q < 3; q++)
                        {
                            store_pieces(a[i][q], yo, y_offset + q * PIECES);
                        }
                    }
                }
            }
        }
    }
}
