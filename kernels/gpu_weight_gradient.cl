/* Weight gradient of a convolution on GPUs: dw[o][t][c] = sum over places and lanes of dz[o] * x[c]
 * at the place + the tap: one product of dz [outputs][lane] and x [tap, channel][lane], whose inner
 * index is every lane of every place. That index is cut into parts, so that there are groups
 * enough; each part's sums go to `partial` and weight_gradient_finish adds them in order: the same
 * bits every time, no atomics.
 *
 * Work-items stand in ROWS x COLUMNS; each has 8 outputs x PIECES x 4 sources (a tap of a channel)
 * in registers. Slices of 16 lanes are read as they lie, in pieces of four lanes side by side, and
 * turned on their way to local memory. Groups of one part follow each other and share what they
 * read in the cache. Reasoned, not measured, as in gpu_convolution.cl.
 */
#ifndef ROWS
#define ROWS 8
#define COLUMNS 16
#define PIECES 2
#endif
#define GROUP (ROWS * COLUMNS)
#define SLICE_PIECES 4
#define TILE_OUTS (8 * ROWS)
#define TILE_SOURCES (4 * COLUMNS * PIECES)
/* rows of local memory, in float4: one more than is used for fewer bank conflicts */
#define DZ_ROW (TILE_OUTS / 4 + 1)
#define X_ROW (TILE_SOURCES / 4 + 1)
#define DZ_EACH ((TILE_OUTS * SLICE_PIECES + GROUP - 1) / GROUP)
#define X_EACH ((TILE_SOURCES * SLICE_PIECES + GROUP - 1) / GROUP)
#define UNROLL _Pragma("unroll")

/* A piece of four lanes of one row into four rows of a tile, at the row's column. */
#define TURN(tile, width, e, piece)                                                                \
    {                                                                                              \
        __local float *corner = (__local float *)tile + (e) % 4 * 4 * (width)*4 + (e) / 4;         \
        corner[0] = (piece).x;                                                                     \
        corner[(width)*4] = (piece).y;                                                             \
        corner[(width)*8] = (piece).z;                                                             \
        corner[(width)*12] = (piece).w;                                                            \
    }

/* Where the places lie: rows of `columns` pixels of `lanes` lanes each, in dz and in x. */
struct walk {
    int rows, columns, lanes;
    int dz, dz_row; /* dz's pixels lie side by side */
    int x, x_row, x_column;
    int parts;
};

/* Of the slice that begins with piece p0: dz's and x's offsets of the piece of work `e`. */
#define LOCATE(p0, e)                                                                              \
    const int piece = (p0) + (int)((e) % SLICE_PIECES);                                            \
    const int pixel = piece / pixel_pieces;                                                        \
    const int pixel_row = pixel / walk.columns;                                                    \
    const int pixel_column = pixel - pixel_row * walk.columns;                                     \
    const int lane = (piece - pixel * pixel_pieces) * 4;

#define FETCH(p0)                                                                                  \
    UNROLL for (int i = 0; i < DZ_EACH; i++)                                                       \
    {                                                                                              \
        const uint e = item + i * GROUP;                                                           \
        LOCATE(p0, e)                                                                              \
        const int o = out0 + e / SLICE_PIECES;                                                     \
        fetched_dz[i] = piece < end && e < TILE_OUTS * SLICE_PIECES && o < outs                    \
                            ? *(__global const float4 *)(dz + (size_t)o * dz_plane + walk.dz +     \
                                                         pixel_row * walk.dz_row +                 \
                                                         pixel_column * walk.lanes + lane)         \
                            : (float4)0.0f;                                                        \
    }                                                                                              \
    UNROLL for (int i = 0; i < X_EACH; i++)                                                        \
    {                                                                                              \
        const uint e = item + i * GROUP;                                                           \
        LOCATE(p0, e)                                                                              \
        fetched_x[i] = piece < end && e < TILE_SOURCES * SLICE_PIECES &&                           \
                               source0 + (int)(e / SLICE_PIECES) < source_count                    \
                           ? *(__global const float4 *)(x + sources[e / SLICE_PIECES] + walk.x +   \
                                                        pixel_row * walk.x_row +                   \
                                                        pixel_column * walk.x_column + lane)       \
                           : (float4)0.0f;                                                         \
    }

/* partial[part][o][source]; `all_sources` [source]: where in x, counted from a place, it reads. */
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
weight_gradient(__global const float *restrict x, __global const float *restrict dz,
                __global float *restrict partial, __global const struct walk *restrict walks,
                __global const long *restrict all_sources, int source_count, int outs, int dz_plane)
{
    __local float4 dz_tile[SLICE_PIECES * 4 * DZ_ROW];
    __local float4 x_tile[SLICE_PIECES * 4 * X_ROW];
    __local long sources[TILE_SOURCES];
    const struct walk walk = *walks;
    const uint item = get_local_id(0);
    const int row = item / COLUMNS, column = item % COLUMNS;
    const int out_tiles = (outs + TILE_OUTS - 1) / TILE_OUTS;
    const int source_tiles = (source_count + TILE_SOURCES - 1) / TILE_SOURCES;
    const int group = get_group_id(0);
    const int source_tile = group / out_tiles, part = source_tile / source_tiles;
    const int out0 = (group - source_tile * out_tiles) * TILE_OUTS;
    const int source0 = (source_tile - part * source_tiles) * TILE_SOURCES;
    const int pixel_pieces = walk.lanes / 4;
    const int total = walk.rows * walk.columns * pixel_pieces;
    const int slices = (total + SLICE_PIECES - 1) / SLICE_PIECES;
    const int first = (int)((long)slices * part / walk.parts) * SLICE_PIECES;
    const int end = min((int)((long)slices * (part + 1) / walk.parts) * SLICE_PIECES, total);
    for (int s = item; s < TILE_SOURCES; s += GROUP) {
        sources[s] = all_sources[min(source0 + s, source_count - 1)];
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
    float4 fetched_dz[DZ_EACH], fetched_x[X_EACH];
    FETCH(first)
    for (int p0 = first; p0 < end; p0 += SLICE_PIECES) {
        UNROLL for (int i = 0; i < DZ_EACH; i++)
        {
            const uint e = item + i * GROUP;
            if (e < TILE_OUTS * SLICE_PIECES) {
                TURN(dz_tile, DZ_ROW, e, fetched_dz[i])
            }
        }
        UNROLL for (int i = 0; i < X_EACH; i++)
        {
            const uint e = item + i * GROUP;
            if (e < TILE_SOURCES * SLICE_PIECES) {
                TURN(x_tile, X_ROW, e, fetched_x[i])
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        FETCH(p0 + SLICE_PIECES)
        UNROLL for (int k = 0; k < SLICE_PIECES * 4; k++)
        {
            const float4 low = dz_tile[k * DZ_ROW + row * 2];
            const float4 high = dz_tile[k * DZ_ROW + row * 2 + 1];
            UNROLL for (int q = 0; q < PIECES; q++)
            {
                const float4 v = x_tile[k * X_ROW + q * COLUMNS + column];
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
        barrier(CLK_LOCAL_MEM_FENCE);
    }

    UNROLL for (int o = 0; o < 8; o++)
    {
        UNROLL for (int q = 0; q < PIECES; q++)
        {
            const int out = out0 + row * 8 + o;
            const int source = source0 + (q * COLUMNS + column) * 4;
            if (out < outs) {
                __global float *target =
                    partial + ((size_t)part * outs + out) * source_count + source;
                const float v[4] = {sums[o][q].x, sums[o][q].y, sums[o][q].z, sums[o][q].w};
                UNROLL for (int s = 0; s < 4; s++)
                {
                    if (source + s < source_count) {
                        target[s] = v[s];
                    }
                }
            }
        }
    }
}

/* gradient[i] = sum of the parts; after the weights the biases, from batch norm's sums. `deep`
 * work-items share a weight, each with a range of the parts; their sums are added in order. */
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
weight_gradient_finish(__global const float *restrict partial,
                       __global const float *restrict bias_partial,
                       __global float *restrict gradients, int base, int weights, int parts,
                       int outs, int bias_parts, float bias_scale, int deep)
{
    __local float sums[GROUP];
    const uint item = get_local_id(0);
    const uint across = GROUP / deep;
    const uint range = item / across;
    const int i = get_group_id(0) * across + item - range * across;
    const int bias = i - weights;
    float sum = 0.0f;
    if (bias < 0) {
        const int end = parts * ((int)range + 1) / deep;
        for (int p = parts * (int)range / deep; p < end; p++) {
            sum += partial[(size_t)p * weights + i];
        }
    } else if (bias < outs) {
        const int end = bias_parts * ((int)range + 1) / deep;
        for (int p = bias_parts * (int)range / deep; p < end; p++) {
            sum += bias_partial[(size_t)bias * bias_parts + p];
        }
        sum *= bias_scale;
    }
    sums[item] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (range == 0 && bias < outs) {
        for (int r = 1; r < deep; r++) {
            sum += sums[item + r * across];
        }
        gradients[base + i] = sum;
    }
}
