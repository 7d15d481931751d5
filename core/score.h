/* Alignment score of a layer: how alike two changes D and E of its weights act on inputs,
 *
 *     tr(D^T D E^T E) / (|D^T D| |E^T E|) = |D E^T|^2 / (|D D^T| |E E^T|)   (Frobenius norms)
 *
 * of the whole linear operators, a convolution's with its borders and strides (Boopathy & Fiete, ICML
 * 2022). 1: the same up to a factor and a rotation of the outputs; with one output it is the squared
 * cosine. Knows no files; score_run.h takes D and E from checkpoints.
 */
#ifndef WALIGN_CORE_SCORE_H
#define WALIGN_CORE_SCORE_H

#include <signal.h>

#include "status.h"

/* Looks on while a score is computed, which may take hours. */
struct wa_score_watch {
    /* Once it is set, the score ends as WA_E_INTERRUPTED, without a message: what is lost by that, and how
     * to go on, the caller knows. NULL: never. */
    const volatile sig_atomic_t *stop;
    /* Called now and then with the share of the score that is done; NULL: not. */
    void (*step)(void *context, double share);
    void *context;
};

/* A layer as a linear operator; SAME padding. Weights are [outputs][kernel][kernel][inputs]. A dense
 * layer has kernel, stride, rows and columns 1. */
struct wa_score_operator {
    int outputs, inputs, kernel, stride;
    int rows, columns; /* of its input */
};

/* Weights of an operator. */
size_t wa_score_operator_size(const struct wa_score_operator *layer);

/* The score without noise, from the cross-correlations of the kernels: for k x k kernels at stride 1,
 * (2k-1)^2 offsets of two outputs and k^4 products of [outputs x inputs] matrices for D E^T, half of
 * that for each of D D^T and E E^T: 4 k^4 outputs^2 inputs operations in double, whatever the size of
 * the images; a larger stride needs fewer. NaN where D or E is zero (0/0, as at epoch 0).
 * At 512 channels, 3 x 3, stride 1 on 32 x 32 pixels that is 4.3e10; the noise estimate takes 1.9e14.
 * WA_E_INTERRUPTED: see wa_score_watch; `watch` may be NULL. */
WA_MUST_CHECK wa_status wa_score_exact(const struct wa_score_operator *layer, const double *d,
                                       const double *e, const struct wa_score_watch *watch,
                                       double *ret_score, struct wa_error *err);
double wa_score_exact_operations(const struct wa_score_operator *layer);

/* The score as published: from 100 batches of 100 Gaussian inputs n, u = D^T D n and v = E^T E n, each
 * divided by its mean absolute value over the batch, mean <u,v>/sqrt(mean <u,u> mean <v,v>). The inputs
 * are RandomState(seed)'s normals in the order batch, item, row, column, channel. Costs 8 x 10^4 x
 * k^2 inputs outputs operations for each output position. NaN where no batch has a number.
 * WA_E_INTERRUPTED as above. */
WA_MUST_CHECK wa_status wa_score_noise(const struct wa_score_operator *layer, const double *d,
                                       const double *e, uint32_t seed,
                                       const struct wa_score_watch *watch, double *ret_score,
                                       struct wa_error *err);
double wa_score_noise_operations(const struct wa_score_operator *layer);

/* About how long it takes here: measured on an item for each processor. */
WA_MUST_CHECK wa_status wa_score_noise_time(const struct wa_score_operator *layer,
                                            double *ret_seconds, struct wa_error *err);

/* Rows or columns of an operator's SAME padding: output places, and zeros before the first input. */
struct wa_score_axis {
    int inputs, outputs, before, kernel, stride;
};
struct wa_score_axis wa_score_axis_make(const struct wa_score_operator *layer, int inputs);

/* For both estimators: whether to stop; telling what share is done. */
bool wa_score_is_stopped(const struct wa_score_watch *watch);
WA_MUST_CHECK wa_status wa_score_step(const struct wa_score_watch *watch, double share);

#endif
