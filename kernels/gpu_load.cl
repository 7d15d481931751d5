/* Loading a batch on GPUs: a work-item takes one value, and neighbours write side by side. */
#include "pixels.cl"

#define AS_IT_IS(v) (v)
DEFINE_PIXEL(pixel, float)

/* `items` [item][row][column][channel] into x [channel][row][column][lane] with a border; lanes past the batch stay
 * zero. (Remainders are taken by hand: Oclgrind does not know what x / y beside x % y compiles to.) */
#define LOAD_ITEMS(VALUE)                                                                                    \
    const int id = get_global_id(0);                                                                         \
    const int place = id / batch, n = id - place * batch;                                                    \
    const int line = place / columns, column = place - line * columns;                                       \
    const int channel = line / rows, row = line - channel * rows;                                            \
    if (channel < channels) {                                                                                \
        const size_t value = ((size_t)row * columns + column) * channels + channel;                          \
        x[(size_t)channel * x_plane + x_base + row * x_row + column * lanes + n] =                           \
            VALUE(items[(size_t)n * rows * columns * channels + value]);                                     \
    }

__kernel void load_batch_bytes(__global const uchar *restrict items, __global float *restrict x, int batch,
                               int rows, int columns, int channels, int lanes, int x_base, int x_plane,
                               int x_row)
{
    LOAD_ITEMS(pixel)
}

__kernel void load_batch_floats(__global const float *restrict items, __global float *restrict x, int batch,
                                int rows, int columns, int channels, int lanes, int x_base, int x_plane,
                                int x_row)
{
    LOAD_ITEMS(AS_IT_IS)
}
