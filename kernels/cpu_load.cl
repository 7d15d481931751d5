/* Loading a batch on CPUs: items, each a list of values, become tensors whose lanes are items. Squares of vectors,
 * one of each item, are turned in registers.
 */
#include "pixels.cl"

typedef uchar bytes __attribute__((ext_vector_type(WIDTH)));
typedef uchar unaligned_bytes __attribute__((ext_vector_type(WIDTH), aligned(1)));

DEFINE_PIXEL(pixel, float)
DEFINE_PIXEL(pixels, vec)

INLINE vec load_pixels(__global const uchar *p)
{
    return pixels(__builtin_convertvector((bytes)*(__global const unaligned_bytes *)p, vec));
}

INLINE float load_pixel(__global const uchar *p)
{
    return pixel(*p);
}

INLINE float load_one(__global const float *p)
{
    return *p;
}

/* Where value i of an image's row [column][channel] belongs. (The remainder is taken by hand: Oclgrind does not know
 * what x / y beside x % y compiles to.) */
INLINE __global float *place_of(int i, __global float *x, int channels, int x_plane, int lanes)
{
    const int column = i / channels;
    return x + (size_t)(i - column * channels) * x_plane + (size_t)column * lanes;
}

/* `items` [item][row][column][channel] into x [channel][row][column][lane] with a border. A work-item takes `chunk`
 * values of a row, the last one what is left, too; lanes past the batch stay zero. */
#define LOAD_ITEMS(LOAD, LOAD_ONE)                                                                           \
    const int row = get_group_id(0), values = columns * channels;                                            \
    const size_t item_size = (size_t)get_num_groups(0) * values;                                             \
    int first = get_group_id(1) * chunk;                                                                     \
    const int end = get_group_id(1) + 1 < get_num_groups(1) ? first + chunk : values;                        \
    x += x_base + (size_t)row * x_row;                                                                       \
    items += (size_t)row * values;                                                                           \
    if (end - first < WIDTH || batch < WIDTH) {                                                              \
        for (; first < end; first++) {                                                                       \
            __global float *to = place_of(first, x, channels, x_plane, lanes);                               \
            for (int n = 0; n < batch; n++) {                                                                \
                to[n] = LOAD_ONE(items + n * item_size + first);                                             \
            }                                                                                                \
        }                                                                                                    \
        return;                                                                                              \
    }                                                                                                        \
    /* the last square of either direction ends with the values: some of it was done before */               \
    for (; first < end; first += WIDTH) {                                                                    \
        const int from = min(first, end - WIDTH);                                                            \
        __global float *to[WIDTH];                                                                           \
        UNROLL for (int i = 0; i < WIDTH; i++) { to[i] = place_of(from + i, x, channels, x_plane, lanes); }  \
        for (int item = 0; item < batch; item += WIDTH) {                                                    \
            const int n = min(item, batch - WIDTH);                                                          \
            vec r[WIDTH];                                                                                    \
            UNROLL for (int i = 0; i < WIDTH; i++) { r[i] = LOAD(items + (n + i) * item_size + from); }      \
            transpose(r);                                                                                    \
            UNROLL for (int i = 0; i < WIDTH; i++) { store(r[i], to[i] + n); }                               \
        }                                                                                                    \
    }

KERNEL void load_batch_bytes(__global const uchar *restrict items, __global float *restrict x, int batch,
                             int columns, int channels, int lanes, int x_base, int x_plane, int x_row,
                             int chunk)
{
    LOAD_ITEMS(load_pixels, load_pixel)
}

KERNEL void load_batch_floats(__global const float *restrict items, __global float *restrict x, int batch,
                              int columns, int channels, int lanes, int x_base, int x_plane, int x_row,
                              int chunk)
{
    LOAD_ITEMS(load, load_one)
}
