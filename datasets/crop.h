/* Where images are cut: at random for training, in the middle for evaluation, as torchvision's
 * RandomResizedCrop, Resize and CenterCrop do. Random numbers are a function of seed, epoch and index
 * alone: which thread asks, and what was asked before, changes nothing. */
#ifndef WALIGN_DATASETS_CROP_H
#define WALIGN_DATASETS_CROP_H

#include <stdbool.h>
#include <stdint.h>

struct wa_crop {
    int x, y, width, height;
    bool is_flipped; /* left to right, after all else */
};

/* 8 to 100 % of the area, aspect ratio 3/4 to 4/3, log-uniform; after 10 tries that do not fit the
 * largest central crop of such an aspect; flipped with probability 1/2. */
struct wa_crop wa_crop_random(int width, int height, uint32_t seed, uint64_t epoch, uint64_t index);

/* The size of an image whose shorter side becomes `side`. */
void wa_crop_scaled_size(int width, int height, int side, int *ret_width, int *ret_height);

/* Where a square of `side` starts in the middle of `length`; halves round to even numbers. */
int wa_crop_central_start(int length, int side);

#endif
