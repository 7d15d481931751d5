/* Independent jobs on the processors of this machine. */
#ifndef WALIGN_CORE_PARALLEL_H
#define WALIGN_CORE_PARALLEL_H

#include "status.h"

/* One job of several; runs in some thread. False: out of memory. */
typedef bool wa_parallel_job(void *context, size_t job);

/* Runs jobs 0 .. count - 1 and waits for all. What a job writes must depend on its number alone:
 * then nothing depends on how many threads there are. WA_E_MEMORY if a job says so. */
WA_MUST_CHECK wa_status wa_parallel_run(wa_parallel_job *run, void *context, size_t count,
                                        struct wa_error *err);

#endif
