/* Batch norm per position and channel over the batch axis, ReLU and their gradients, and pooling,
 * on GPUs; what is computed, and of which layouts, is cpu_batch_norm.cl's. Built for one batch
 * size.
 *
 * A team of COLUMNS work-items has one position, its lanes in registers, in pieces of four lanes
 * that lie side by side; a group has ROWS teams, so neighbours read neighbours. Sums over a team go
 * through local memory and are added in order by every work-item of it: one barrier a sum, the same
 * bits every time. Groups are numbered channel by channel; the last of a channel may have teams
 * without a position.
 */
#ifndef BATCH
#define BATCH 100
#define LANES 100
#endif
#ifndef ROWS
#define ROWS 32
#define COLUMNS 8
#endif
#define GROUP (ROWS * COLUMNS)
#define POSITION_PIECES (LANES / 4)
#define EACH ((POSITION_PIECES + COLUMNS - 1) / COLUMNS)
#define INVERSE_BATCH (1.0f / BATCH)
#define UNROLL _Pragma("unroll")
#define INLINE inline __attribute__((always_inline)) /* calls upset Oclgrind */

/* Zero in the lanes from the batch's end on; `piece` is the number of v in its position. */
INLINE float4 in_batch(float4 v, int piece)
{
#if BATCH != LANES
    const int4 lane = (int4)(piece * 4) + (int4)(0, 1, 2, 3);
    v = select(v, (float4)0.0f, lane >= (int4)BATCH);
#endif
    return v;
}

/* max(v, 0), but NaN stays NaN: fmax would hide it. */
float4 rectified(float4 v)
{
    return select(v, (float4)0.0f, v < (float4)0.0f);
}

/* (Oclgrind dies of what sums of components compile to.) */
INLINE float sum_piece(float4 v)
{
    return dot(v, (float4)1.0f);
}

/* Sum of `value` over the work-items of the team; each use has `sums` of its own. */
INLINE float sum_team(float value, __local float *sums)
{
    const uint item = get_local_id(0);
    sums[item] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    __local const float *team = sums + item / COLUMNS * COLUMNS;
    float sum = team[0];
    for (int i = 1; i < COLUMNS; i++) {
        sum += team[i];
    }
    return sum;
}

#define BEGIN                                                                                      \
    const uint item = get_local_id(0);                                                             \
    const int member = item % COLUMNS;                                                             \
    const int groups = (positions + ROWS - 1) / ROWS; /* of a channel */                           \
    const int group = get_group_id(0), c = group / groups;                                         \
    const int position = (group - c * groups) * ROWS + (int)(item / COLUMNS);                      \
    const bool is_used = position < positions;                                                     \
    const int row = position / columns, column = position - row * columns;

#define OWN(i) (is_used && (i)*COLUMNS + member < POSITION_PIECES)

/* h may be z. */
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
batch_norm_forward(__global const float *z, __global float *h, __global float *restrict a,
                   __global float *restrict inverse, __global const float *restrict weights,
                   int bias_base, float scale, float epsilon, int normalize, int rectify,
                   int keep_h, int positions, int columns, int z_plane, int a_base, int a_plane,
                   int a_row)
{
    __local float firsts[ROWS], sums[GROUP], square_sums[GROUP];
    BEGIN
    /* Batch norm takes a constant away again: leaving it out keeps its rounding out of h. */
    const float b = normalize ? 0.0f : weights[bias_base + c];
    const size_t at = (size_t)c * z_plane + (size_t)position * LANES;
    float4 v[EACH];
    UNROLL for (int i = 0; i < EACH; i++)
    {
        v[i] =
            OWN(i) ? *(__global const float4 *)(z + at + (i * COLUMNS + member) * 4) : (float4)0.0f;
        v[i] = fma(v[i], (float4)scale, (float4)b);
    }
    float r = 1.0f;
    if (normalize) {
        /* relative to the first lane: a constant position gives exactly zero */
        if (member == 0) {
            firsts[item / COLUMNS] = v[0].x;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        const float first = firsts[item / COLUMNS];
        float4 sum = (float4)0.0f;
        UNROLL for (int i = 0; i < EACH; i++)
        {
            v[i] -= first;
            sum += OWN(i) ? in_batch(v[i], i * COLUMNS + member) : (float4)0.0f;
        }
        const float mean = sum_team(sum_piece(sum), sums) * INVERSE_BATCH;
        float4 squares = (float4)0.0f;
        UNROLL for (int i = 0; i < EACH; i++)
        {
            v[i] -= mean;
            squares += OWN(i) ? in_batch(v[i] * v[i], i * COLUMNS + member) : (float4)0.0f;
        }
        r = 1.0f / sqrt(sum_team(sum_piece(squares), square_sums) * INVERSE_BATCH + epsilon);
    }
    __global float *target = a + (size_t)c * a_plane + a_base + row * a_row + column * LANES;
    UNROLL for (int i = 0; i < EACH; i++)
    {
        if (OWN(i)) {
            const int piece = i * COLUMNS + member;
            const float4 value = in_batch(v[i] * r, piece);
            if (keep_h) {
                *(__global float4 *)(h + at + piece * 4) = value;
            }
            *(__global float4 *)(target + piece * 4) = rectify ? rectified(value) : value;
        }
    }
    if (is_used && member == 0) {
        inverse[(size_t)c * positions + position] = r;
    }
}

/* bias_partial [channel][group of the channel] gets the sums of dz. slope_h may be h. */
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
batch_norm_backward(__global const float *restrict g, __global const float *h,
                    __global const float *slope_h, __global const float *restrict inverse,
                    __global float *restrict dz, __global float *restrict bias_partial,
                    float g_scale, float scale, int normalize, int rectify, int positions,
                    int columns, int g_plane, int g_row, int g_column, int h_plane, int dz_base,
                    int dz_plane, int dz_row)
{
    __local float sums[GROUP], product_sums[GROUP], bias_sums[GROUP];
    BEGIN
    __global const float *gp = g + (size_t)c * g_plane + row * g_row + column * g_column;
    const size_t at = (size_t)c * h_plane + (size_t)position * LANES;
    float4 m[EACH], v[EACH];
    float4 sum = (float4)0.0f, products = (float4)0.0f;
    UNROLL for (int i = 0; i < EACH; i++)
    {
        m[i] = v[i] = (float4)0.0f;
        if (OWN(i)) {
            const int piece = i * COLUMNS + member;
            const float4 slope = *(__global const float4 *)(slope_h + at + piece * 4);
            v[i] = *(__global const float4 *)(h + at + piece * 4);
            m[i] = *(__global const float4 *)(gp + piece * 4) * g_scale;
            m[i] = rectify ? select(m[i], (float4)0.0f, slope <= (float4)0.0f) : m[i];
            m[i] = in_batch(m[i], piece);
        }
        sum += m[i];
        products = fma(m[i], v[i], products);
    }
    float mean = 0.0f, mean_product = 0.0f;
    if (normalize) {
        mean = sum_team(sum_piece(sum), sums) * INVERSE_BATCH;
        mean_product = sum_team(sum_piece(products), product_sums) * INVERSE_BATCH;
    }
    const float r = is_used ? inverse[(size_t)c * positions + position] * scale : 0.0f;
    __global float *target = dz + (size_t)c * dz_plane + dz_base + row * dz_row + column * LANES;
    float4 bias_sum = (float4)0.0f;
    UNROLL for (int i = 0; i < EACH; i++)
    {
        if (OWN(i)) {
            const int piece = i * COLUMNS + member;
            const float4 value = in_batch((m[i] - mean - v[i] * mean_product) * r, piece);
            bias_sum += value;
            *(__global float4 *)(target + piece * 4) = value;
        }
    }
    /* first over teams, then over groups of ROWS */
    const float team_sum = sum_team(sum_piece(bias_sum), bias_sums);
    if (member == 0) {
        product_sums[item / COLUMNS] = team_sum;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item == 0) {
        float all = product_sums[0];
        for (int i = 1; i < ROWS; i++) {
            all += product_sums[i];
        }
        bias_partial[group] = all;
    }
}

/* pooled[c] = mean of a[c] over positions, for each lane. A group has COLUMNS pieces of lanes of a
 * channel; each row of it every ROWSth position. */
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
pool(__global const float *restrict a, __global float *restrict pooled, int positions, int columns,
     int a_base, int a_plane, int a_row)
{
    __local float4 sums[GROUP];
    const uint item = get_local_id(0);
    const int groups = (POSITION_PIECES + COLUMNS - 1) / COLUMNS;
    const int group = get_group_id(0), c = group / groups;
    const int piece = (group - c * groups) * COLUMNS + (int)(item % COLUMNS);
    float4 sum = (float4)0.0f;
    if (piece < POSITION_PIECES) {
        for (int p = item / COLUMNS; p < positions; p += ROWS) {
            const int row = p / columns, column = p - row * columns;
            sum += *(__global const float4 *)(a + (size_t)c * a_plane + a_base + row * a_row +
                                              column * LANES + piece * 4);
        }
    }
    sums[item] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < COLUMNS && piece < POSITION_PIECES) {
        for (int i = 1; i < ROWS; i++) {
            sum += sums[item + i * COLUMNS];
        }
        *(__global float4 *)(pooled + (size_t)c * LANES + piece * 4) = sum * (1.0f / positions);
    }
}
