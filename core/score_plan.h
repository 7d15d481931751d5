/* What `walign score` will score: the runs that its arguments name, all of them checked. */
#ifndef WALIGN_CORE_SCORE_PLAN_H
#define WALIGN_CORE_SCORE_PLAN_H

#include "score_config.h"

/* Runs of one argument. */
struct wa_score_group {
    char *folder; /* of the run or the sweep, where scores are kept by default */
    struct wa_score_request request;
    struct wa_score_run *runs;
    size_t run_count;
};

struct wa_score_plan {
    struct wa_score_group *groups;
    size_t group_count;
};

/* Plans all arguments, each a run's directory or a config, changed by `sets`. A run of a sweep that
 * cannot be scored is named in the log and left out; where none is left, or a run that was named itself
 * cannot be scored, that is the failure: WA_E_USAGE, WA_E_DATA. wa_score_plan_finish takes a zeroed
 * struct, and what a failure leaves. */
WA_MUST_CHECK wa_status wa_score_plan_init(const char *const *arguments, size_t argument_count,
                                           const char *const *sets, size_t set_count,
                                           struct wa_score_plan *ret_plan, struct wa_error *err);
void wa_score_plan_finish(struct wa_score_plan *plan);

#endif
