/* The most that a device can compute and move, measured: what `bench` sets a step's rate against. */
#ifndef WALIGN_CORE_PEAK_H
#define WALIGN_CORE_PEAK_H

#include "engine.h"

/* Rate of fused multiply-adds on registers, both operations counted, in GFLOP/s: the best of a few
 * runs of some 50 ms. Waits for the device. */
WA_MUST_CHECK wa_status wa_peak_measure(struct wa_engine *engine, double *ret_gflops,
                                        struct wa_error *err);

/* Rate at which all units together copy memory that no cache holds, bytes read and bytes written both
 * counted, in GB/s: the best of a few runs. Takes up to half a GB of the device for a moment. */
WA_MUST_CHECK wa_status wa_peak_measure_copy(struct wa_engine *engine,
                                             double *ret_gbytes_per_second, struct wa_error *err);

#endif
