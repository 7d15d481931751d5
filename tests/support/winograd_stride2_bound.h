/* How much rounding Winograd's products of stride 2 may show: 3 x 3, even sides, padded after their end,
 * in tiles of four and three outputs (kernels/cpu_winograd_stride2.cl). */
#ifndef WALIGN_TESTS_WINOGRAD_STRIDE2_BOUND_H
#define WALIGN_TESTS_WINOGRAD_STRIDE2_BOUND_H

#include <stdbool.h>

#include "reference_operations.h"

/* Whether a side of so many outputs can be cut into fours and threes. */
bool wa_reference_stride2_can(int outputs);

/* For each output forward, or (`is_backward`) each gradient at the input: the product of the transforms'
 * absolute values, as wa_reference_winograd_bound has it, times the rounding of the sum and of the three
 * transforms: two passes each, four roundings a pass. */
void wa_reference_stride2_bound(const struct wa_reference_shape *shape, const double *w, const double *x,
                                bool is_backward, double *ret_bounds);

/* Likewise for the weight gradient. */
void wa_reference_stride2_gradient_bound(const struct wa_reference_shape *shape, const double *x,
                                         const double *dz, double *ret_bounds);

#endif
