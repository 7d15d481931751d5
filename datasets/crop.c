/* Random and central crops: see crop.h. */
#include "crop.h"

#include <math.h>

enum { TRIES = 10 };
static const double least_area = 0.08;
static const double least_aspect = 3.0 / 4.0;
static const double most_aspect = 4.0 / 3.0;

/* ---- Random numbers: splitmix64 on a key of seed, epoch and index --------------------------- */

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t draw(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    return mix(*state);
}

static double draw_uniform(uint64_t *state, double low, double high)
{
    return low + (high - low) * ((double)(draw(state) >> 11) * 0x1p-53);
}

/* 0 .. most; `most` is far below 2^32. */
static int draw_below(uint64_t *state, int most)
{
    return (int)(((draw(state) >> 32) * ((uint64_t)most + 1)) >> 32);
}

/* ---- Crops ---------------------------------------------------------------------------------- */

static struct wa_crop largest_central(int width, int height)
{
    struct wa_crop crop = {.width = width, .height = height};
    double aspect = (double)width / height;
    if (aspect < least_aspect) {
        crop.height = (int)rint(width / least_aspect);
    } else if (aspect > most_aspect) {
        crop.width = (int)rint(height * most_aspect);
    }
    crop.x = (width - crop.width) / 2;
    crop.y = (height - crop.height) / 2;
    return crop;
}

struct wa_crop wa_crop_random(int width, int height, uint32_t seed, uint64_t epoch, uint64_t index)
{
    uint64_t state = mix(mix(mix((uint64_t)seed + 1) + epoch) + index);
    double area = (double)width * height;
    struct wa_crop crop = {.width = 0};
    for (int i = 0; i < TRIES && crop.width == 0; i++) {
        double target = area * draw_uniform(&state, least_area, 1.0);
        double aspect = exp(draw_uniform(&state, log(least_aspect), log(most_aspect)));
        int w = (int)rint(sqrt(target * aspect));
        int h = (int)rint(sqrt(target / aspect));
        if (w > 0 && w <= width && h > 0 && h <= height) {
            crop = (struct wa_crop){.width = w, .height = h};
            crop.y = draw_below(&state, height - h);
            crop.x = draw_below(&state, width - w);
        }
    }
    if (crop.width == 0) {
        crop = largest_central(width, height);
    }
    crop.is_flipped = draw(&state) >> 63 != 0;
    return crop;
}

void wa_crop_scaled_size(int width, int height, int side, int *ret_width, int *ret_height)
{
    int64_t shorter = width < height ? width : height;
    *ret_width = (int)((int64_t)side * width / shorter);
    *ret_height = (int)((int64_t)side * height / shorter);
}

int wa_crop_central_start(int length, int side)
{
    int rest = length - side;
    int half = rest / 2;
    return rest % 2 != 0 && half % 2 != 0 ? half + 1 : half;
}
