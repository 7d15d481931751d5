/* Whole numbers of blocks, for how work and memory are cut. All values are positive. */
#ifndef WALIGN_CORE_CUTTING_H
#define WALIGN_CORE_CUTTING_H

static inline int wa_divide_up(int a, int b)
{
    return (a + b - 1) / b;
}

static inline int wa_round_up(int value, int multiple)
{
    return wa_divide_up(value, multiple) * multiple;
}

static inline int wa_clamp(int value, int low, int high)
{
    return value < low ? low : value > high ? high : value;
}

#endif
