/* The weight gradient of a recurrence on CPUs: gradient [row][column] = scale times the sum over steps
 * and lanes of states [row] dz [column], rows of both contiguous and a multiple of WIDTH long. A
 * work-item has a tile of the gradient and goes over time in chunks that stay in the second cache.
 */
#define TILE 16
#define ROWS 4
#define COLUMNS (OUTS / 2) /* ROWS x COLUMNS sums fill the registers */
#define CHUNK 1024

/* Sums of one chunk, for ROWS x COLUMNS places. */
INLINE void add_chunk(__global const float *a, __global const float *b, int a_row, int b_row,
                      int a_rows, int b_rows, int begin, int end, float *sums)
{
    vec s[ROWS][COLUMNS];
    __global const float *ap[ROWS], *bp[COLUMNS];
    UNROLL for (int i = 0; i < ROWS; i++)
    {
        ap[i] = a + (size_t)min(i, a_rows - 1) * a_row;
        UNROLL for (int j = 0; j < COLUMNS; j++) { s[i][j] = (vec)0.0f; }
    }
    UNROLL for (int j = 0; j < COLUMNS; j++) { bp[j] = b + (size_t)min(j, b_rows - 1) * b_row; }
    for (int p = begin; p < end; p += WIDTH) {
        vec v[COLUMNS];
        UNROLL for (int j = 0; j < COLUMNS; j++) { v[j] = load(bp[j] + p); }
        UNROLL for (int i = 0; i < ROWS; i++)
        {
            vec u = load(ap[i] + p);
            UNROLL for (int j = 0; j < COLUMNS; j++) { s[i][j] = fma(u, v[j], s[i][j]); }
        }
    }
    UNROLL for (int i = 0; i < ROWS; i++)
    {
        UNROLL for (int j = 0; j < COLUMNS; j++) { sums[i * TILE + j] += sum_lanes(s[i][j]); }
    }
}

KERNEL void sequence_gradient(__global const float *restrict states, __global const float *restrict dz,
                              __global float *restrict gradients, int base, int units,
                              int states_row, int dz_row, float scale)
{
    const int row = get_group_id(0) * TILE, rows = min(TILE, units - row);
    const int column = get_group_id(1) * TILE, columns = min(TILE, units - column);
    float sums[TILE * TILE];
    for (int i = 0; i < TILE * TILE; i++) {
        sums[i] = 0.0f;
    }
    for (int begin = 0; begin < dz_row; begin += CHUNK) {
        const int end = min(begin + CHUNK, dz_row);
        for (int i = 0; i < rows; i += ROWS) {
            for (int j = 0; j < columns; j += COLUMNS) {
                add_chunk(states + (size_t)(row + i) * states_row, dz + (size_t)(column + j) * dz_row,
                          states_row, dz_row, rows - i, columns - j, begin, end,
                          sums + i * TILE + j);
            }
        }
    }
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < columns; j++) {
            gradients[base + (size_t)(row + i) * units + column + j] = scale * sums[i * TILE + j];
        }
    }
}
