/* What a run of a sweep costs: work, to start the longest first, and memory, so that no more run at
 * once than fit. Estimates only: nothing that is computed depends on them. */
#ifndef WALIGN_CORE_SWEEP_ESTIMATE_H
#define WALIGN_CORE_SWEEP_ESTIMATE_H

#include "setup.h"

struct wa_sweep_cost {
    double work;    /* multiplications and additions of the whole run */
    uint64_t bytes; /* of memory while it runs, the data included; 0: unknown */
};

/* Datasets that were opened for their sizes; runs of a sweep mostly share one. */
struct wa_sweep_estimator {
    size_t count;
    struct wa_sweep_data *items;
};

/* The cost of a run whose config and plugins are in `setup`. A run that cannot be estimated costs
 * nothing: it says itself what is wrong, when it is started. Fails with WA_E_MEMORY. */
WA_MUST_CHECK wa_status wa_sweep_estimate(struct wa_sweep_estimator *estimator,
                                          const struct wa_setup *setup,
                                          struct wa_sweep_cost *ret_cost, struct wa_error *err);

/* Fails where the data of no run could be opened, with what the first one's said: then there is
 * nothing to run. */
WA_MUST_CHECK wa_status wa_sweep_estimator_check_data(const struct wa_sweep_estimator *estimator,
                                                      struct wa_error *err);
void wa_sweep_estimator_finish(struct wa_sweep_estimator *estimator);

#endif
