/* Which places of each layer's output are constant over the batch: those whose whole window below is.
 * At the bottom a place is constant when all items agree there in all channels (black borders). Exact
 * kernels give equal values there by themselves; Winograd's mix in rounding noise of other places.
 */
struct map_layer {
    int from, to;             /* where the maps start: of the layer below, of this one */
    int in_rows, in_columns, out_rows, out_columns;
    int kernel_size, stride, pad_row, pad_column;
};

/* One work-item a row of the image. */
__kernel void map_image(__global const float *restrict x, __global uchar *restrict map, int batch,
                        int rows, int columns, int channels, int lanes, int base, int plane, int row_step)
{
    const int row = get_global_id(0);
    if (row >= rows) {
        return;
    }
    for (int column = 0; column < columns; column++) {
        int is_constant = 1;
        for (int c = 0; c < channels && is_constant; c++) {
            __global const float *p = x + (size_t)c * plane + base + row * row_step + column * lanes;
            for (int n = 1; n < batch && is_constant; n++) {
                is_constant = p[n] == p[0];
            }
        }
        map[row * columns + column] = is_constant;
    }
}

/* All layers above, one work-item: a layer needs the whole map below it. */
__kernel void map_layers(__global uchar *restrict map, __global const struct map_layer *restrict layers,
                         int count)
{
    if (get_global_id(0) != 0) {
        return;
    }
    for (int l = 0; l < count; l++) {
        const struct map_layer k = layers[l];
        int has_any = 0;
        for (int i = 0; i < k.in_rows * k.in_columns && !has_any; i++) {
            has_any = map[k.from + i];
        }
        for (int row = 0; row < k.out_rows; row++) {
            for (int column = 0; column < k.out_columns; column++) {
                int is_constant = has_any;
                for (int t = 0; t < k.kernel_size * k.kernel_size && is_constant; t++) {
                    int tap_row = t / k.kernel_size, tap_column = t - tap_row * k.kernel_size;
                    int y = row * k.stride + tap_row - k.pad_row;
                    int x = column * k.stride + tap_column - k.pad_column;
                    if (y >= 0 && y < k.in_rows && x >= 0 && x < k.in_columns) {
                        is_constant = map[k.from + y * k.in_columns + x];
                    }
                }
                map[k.to + row * k.out_columns + column] = is_constant;
            }
        }
    }
}
