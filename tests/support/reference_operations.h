/* The operations in plain C loops and double, straight from their definitions, for tests to compare
 * the device with. Knows nothing of core's layouts and tables: tensors are dense arrays
 * [channel][row][column][item], weights [out][kernel row][kernel column][in].
 *
 * Padding is SAME: out = ceil(in/stride), the smaller half of the zeros before. Zeros of the padding
 * are multiplied like any value, so NaN in the other factor comes through. Where a function has
 * `ret_magnitude` (NULL: not wanted) it gets the sum of the absolute values of what was summed:
 * rounding errors are in proportion to it (wa_reference_rounding).
 */
#ifndef WALIGN_TESTS_REFERENCE_OPERATIONS_H
#define WALIGN_TESTS_REFERENCE_OPERATIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wa_reference_shape {
    int batch;
    int in_channels, in_rows, in_columns;
    int out_channels, kernel, stride;
};

int wa_reference_out_size(int in, int stride);
int wa_reference_pad_before(int in, int kernel, int stride);

/* Largest rounding error, relative to the magnitude, of a float32 sum of `terms` products in any
 * order: (8 sqrt(terms) + 2) 2^-24. Single roundings are independent, so the error grows as the root
 * (Higham & Mary, SIAM J. Sci. Comput. 41, 2019, theorem 2.4); beyond 8 roots the chance is below
 * 1e-13. One term left out of n of like size is an error of 1/n, which is more up to n = 10^4. */
double wa_reference_rounding(size_t terms);

/* z[o] = sum over taps and inputs of w x, without scale and bias. */
void wa_reference_forward(const struct wa_reference_shape *shape, const double *w, const double *x,
                          double *ret_z, double *ret_magnitude);

/* Gradient at the input: g = w^T dz. */
void wa_reference_backward(const struct wa_reference_shape *shape, const double *w,
                           const double *dz, double *ret_g, double *ret_magnitude);

/* For 3 x 3, stride 1, sides that are multiples of four: how much rounding F(4 x 4, 3 x 3) Winograd
 * products may show in each output, forward or (`is_backward`) for the gradient at the input. It is
 * |A|^T [sum over channels of |G| |g| |G|^T times |B|^T |d| |B|] |A| (Lavin & Gray, arXiv 1509.09308,
 * section 4.3) times the rounding of that sum and of the three transforms: two passes each, four
 * roundings a pass. */
void wa_reference_winograd_bound(const struct wa_reference_shape *shape, const double *w,
                                 const double *x, bool is_backward, double *ret_bounds);
/* Likewise for the weight gradient, |G|^T [sum over tiles of |B|^T |d| |B| times |A| |dz| |A|^T] |G|. */
void wa_reference_winograd_gradient_bound(const struct wa_reference_shape *shape, const double *x,
                                          const double *dz, double *ret_bounds);

/* Gradient of the weights, and of the biases: sums of dz. */
void wa_reference_weight_gradient(const struct wa_reference_shape *shape, const double *x,
                                  const double *dz, double *ret_dw, double *ret_magnitude);
void wa_reference_bias_gradient(int channels, size_t places, int batch, const double *dz,
                                double *ret_db, double *ret_magnitude);

/* h = (v - mean)/sqrt(var + epsilon), mean and biased variance over the items of each position, and
 * inverse = 1/sqrt(var + epsilon). `positions` counts channels times rows times columns. */
void wa_reference_batch_norm(size_t positions, int batch, const double *v, double epsilon,
                             double *ret_h, double *ret_inverse);

/* dv = inverse (m - mean(m) - h mean(m h)). */
void wa_reference_batch_norm_backward(size_t positions, int batch, const double *m, const double *h,
                                      const double *inverse, double *ret_dv);

/* a = max(h, 0), NaN stays NaN; m = g where h > 0, else 0 (NaN of h: g). */
void wa_reference_rectify(size_t count, const double *h, double *ret_a);
void wa_reference_rectify_backward(size_t count, const double *g, const double *h, double *ret_m);

/* pooled[channel][item] = mean over places. */
void wa_reference_pool(int channels, size_t places, int batch, const double *a, double *ret_pooled);

/* c [m x n] = op(a) [m x k] op(b) [k x n], dense row-major; a transposed factor is stored as its
 * transpose. */
void wa_reference_product(int m, int n, int k, const double *a, bool a_is_transposed,
                          const double *b, bool b_is_transposed, double *ret_c,
                          double *ret_magnitude);

/* Mean over items and classes of (logits - target)^2, target = one-hot - offset; its gradient at the
 * logits [class][item]; how many first largest logits are the label's. Returns the loss. */
double wa_reference_output_error(int classes, int batch, const double *logits,
                                 const uint32_t *labels, double offset, double *ret_error,
                                 int *ret_correct);

#endif
