/* Direct convolution on GPUs, forward and backward to the data: one product of weights
 * [outputs][channel, tap] and places [channel, tap][lane], whose right side is read from x where it
 * lies, never copied. Jobs and the order of weights are those of cpu_convolution.cl.
 *
 * (Remainders are taken by hand, here and in the other kernels: Oclgrind does not know what x / y
 * beside x % y compiles to.)
 *
 * Work-items stand in ROWS x COLUMNS; each has 8 outputs and PIECES pieces of four lanes in
 * registers. A group walks the inner index in slices through two buffers of local memory: while one
 * is multiplied, what the next holds is on its way. The sum runs in the order of the index whatever
 * the tile. Neighbours read and write neighbouring lanes; groups of the same places and other
 * outputs follow each other, so that they find x in the cache.
 *
 * Reasoned, not measured (no GPU was at hand): 64 outputs x 128 lanes on 128 work-items take some
 * 110 registers and 12 KB, four groups to a multiprocessor, and 4 local reads for 64 multiply-adds.
 */
#ifndef ROWS
#define ROWS 8
#define COLUMNS 16
#define PIECES 2
#endif
#define GROUP (ROWS * COLUMNS)
#define SLICE 8
#define TILE_PIECES (COLUMNS * PIECES)
#define WEIGHT_ROW (2 * ROWS + 1) /* one more than is used: fewer bank conflicts */
#define WEIGHTS_EACH ((16 * ROWS + GROUP - 1) / GROUP)
#define PLACES_EACH (8 * PIECES / ROWS > 0 ? 8 * PIECES / ROWS : 1)
#define UNROLL _Pragma("unroll")

struct job {
    int first;         /* tiles of places in the jobs before */
    int blocks;        /* pieces in a segment */
    int rest;          /* 0 */
    int rows, columns; /* segments */
    int x, x_row, x_column;
    int y, y_row, y_column;
    int taps, first_tap;
    int weights; /* of this job: [o/8][c][tap][8] */
};

/* Of the slice that begins at inner index k0. */
#define FETCH(k0)                                                                                  \
    UNROLL for (int i = 0; i < WEIGHTS_EACH; i++)                                                  \
    {                                                                                              \
        const uint e = item + i * GROUP;                                                           \
        const int block = out_tile * ROWS + (int)(e / 16);                                         \
        fetched_weights[i] =                                                                       \
            e < 16 * ROWS && block < out_blocks && (k0) + (int)(e % 16 / 2) < depth                \
                ? *(__global const float4 *)(w + job.weights + e % 16 * 4 +                        \
                                             ((size_t)block * depth + (k0)) * 8)                   \
                : (float4)0.0f;                                                                    \
    }                                                                                              \
    UNROLL for (int i = 0; i < PLACES_EACH; i++)                                                   \
    {                                                                                              \
        const uint e = item + i * GROUP;                                                           \
        const int k = (k0) + (int)(e / TILE_PIECES);                                               \
        fetched_places[i] =                                                                        \
            e < SLICE * TILE_PIECES && k < depth                                                   \
                ? *(__global const float4 *)(x + sources[k] + places[e % TILE_PIECES])             \
                : (float4)0.0f;                                                                    \
    }

#define KEEP(buffer)                                                                               \
    UNROLL for (int i = 0; i < WEIGHTS_EACH; i++)                                                  \
    {                                                                                              \
        const uint e = item + i * GROUP;                                                           \
        if (e < 16 * ROWS) {                                                                       \
            weight_tiles[buffer][e % 16 / 2 * WEIGHT_ROW + e / 16 * 2 + e % 2] =                   \
                fetched_weights[i];                                                                \
        }                                                                                          \
    }                                                                                              \
    UNROLL for (int i = 0; i < PLACES_EACH; i++)                                                   \
    {                                                                                              \
        const uint e = item + i * GROUP;                                                           \
        if (e < SLICE * TILE_PIECES) {                                                             \
            place_tiles[buffer][e] = fetched_places[i];                                            \
        }                                                                                          \
    }

/* `sources` [job's channel, tap]: where in x, counted from a place, the inner index reads. */
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
convolution(__global const float *restrict x, __global const float *restrict w,
            __global float *restrict y, __global const struct job *restrict jobs,
            __global const long *restrict all_sources, int job_count, int channels, int outs,
            int y_plane)
{
    __local float4 weight_tiles[2][SLICE * WEIGHT_ROW];
    __local float4 place_tiles[2][SLICE * TILE_PIECES];
    __local int places[TILE_PIECES];
    const uint item = get_local_id(0);
    const int row = item / COLUMNS, column = item % COLUMNS;
    const int out_blocks = (outs + 7) / 8;
    const int out_tiles = (out_blocks + ROWS - 1) / ROWS;
    const int group = get_group_id(0);
    int tile = group / out_tiles;
    const int out_tile = group - tile * out_tiles;
    int j = 0;
    while (j + 1 < job_count && tile >= jobs[j + 1].first) {
        j++;
    }
    const struct job job = jobs[j];
    tile -= job.first;
    const int depth = channels * job.taps;
    __global const long *sources = all_sources + (size_t)channels * job.first_tap;
    const int pieces = job.rows * job.columns * job.blocks;
    for (int p = item; p < TILE_PIECES; p += GROUP) {
        /* past the end: the last piece again, which is not stored */
        const int piece = min(tile * TILE_PIECES + p, pieces - 1);
        const int segment = piece / job.blocks, segment_row = segment / job.columns;
        places[p] = job.x + segment_row * job.x_row +
                    (segment - segment_row * job.columns) * job.x_column +
                    (piece - segment * job.blocks) * 4;
    }
    barrier(CLK_LOCAL_MEM_FENCE);

    float4 sums[8][PIECES];
    UNROLL for (int o = 0; o < 8; o++)
    {
        UNROLL for (int q = 0; q < PIECES; q++)
        {
            sums[o][q] = (float4)0.0f;
        }
    }
    float4 fetched_weights[WEIGHTS_EACH], fetched_places[PLACES_EACH];
    FETCH(0)
    KEEP(0)
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int k0 = 0; k0 < depth; k0 += SLICE) {
        const int buffer = k0 / SLICE & 1;
        FETCH(k0 + SLICE)
        UNROLL for (int k = 0; k < SLICE; k++)
        {
            const float4 low = weight_tiles[buffer][k * WEIGHT_ROW + row * 2];
            const float4 high = weight_tiles[buffer][k * WEIGHT_ROW + row * 2 + 1];
            UNROLL for (int q = 0; q < PIECES; q++)
            {
                const float4 v = place_tiles[buffer][k * TILE_PIECES + q * COLUMNS + column];
                sums[0][q] = fma((float4)low.x, v, sums[0][q]);
                sums[1][q] = fma((float4)low.y, v, sums[1][q]);
                sums[2][q] = fma((float4)low.z, v, sums[2][q]);
                sums[3][q] = fma((float4)low.w, v, sums[3][q]);
                sums[4][q] = fma((float4)high.x, v, sums[4][q]);
                sums[5][q] = fma((float4)high.y, v, sums[5][q]);
                sums[6][q] = fma((float4)high.z, v, sums[6][q]);
                sums[7][q] = fma((float4)high.w, v, sums[7][q]);
            }
        }
        KEEP(buffer ^ 1)
        barrier(CLK_LOCAL_MEM_FENCE);
    }

    UNROLL for (int q = 0; q < PIECES; q++)
    {
        const int piece = tile * TILE_PIECES + q * COLUMNS + column;
        if (piece < pieces) {
            const int segment = piece / job.blocks, segment_row = segment / job.columns;
            const int o0 = (out_tile * ROWS + row) * 8;
            __global float *target = y + (size_t)o0 * y_plane + job.y + segment_row * job.y_row +
                                     (segment - segment_row * job.columns) * job.y_column +
                                     (piece - segment * job.blocks) * 4;
            UNROLL for (int o = 0; o < 8; o++)
            {
                if (o0 + o < outs) {
                    *(__global float4 *)(target + (size_t)o * y_plane) = sums[o][q];
                }
            }
        }
    }
}
