/* The most that a device can compute, measured: what `bench` sets a step's rate against. */
#ifndef WALIGN_CORE_PEAK_H
#define WALIGN_CORE_PEAK_H

#include "engine.h"

/* Rate of fused multiply-adds on registers, both operations counted, in GFLOP/s: the best of a few
 * runs of some 50 ms. Waits for the device. */
WA_MUST_CHECK wa_status wa_peak_measure(struct wa_engine *engine, double *ret_gflops,
                                        struct wa_error *err);

#endif
