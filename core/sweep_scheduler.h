/* Runs the jobs of a sweep: the longest first, on several devices, several at once on each while
 * their memory fits. CPU devices are shared out: each run gets its part of the processors. */
#ifndef WALIGN_CORE_SWEEP_SCHEDULER_H
#define WALIGN_CORE_SWEEP_SCHEDULER_H

#include "device.h"
#include "sweep_record.h"

struct wa_sweep_plan {
    struct wa_sweep_job *jobs; /* settled ones are left out */
    size_t job_count;
    const struct wa_device_list *devices;
    const size_t *chosen; /* indices of the devices to use, no two the same */
    size_t chosen_count;
    size_t most_at_once;  /* on each device; 0: what fits */
    /* One run at a time on the whole of one device, after a warm-up run that leaves no line. */
    bool is_exclusive;
    const char *paths_from;
    const char *const *plugin_paths;
    size_t plugin_path_count;
    struct wa_sweep_record *record;
};

struct wa_sweep_outcome {
    size_t done, diverged, failed, left; /* left: not started, or stopped */
    char first_failed[WA_MESSAGE_BYTES / 4]; /* "<name>: <reason>" */
};

/* Blocks the signals that the scheduler waits for; call it before any thread is made. */
void wa_sweep_scheduler_block_signals(void);

/* Runs until all jobs ended. SIGINT and SIGTERM are passed on, so that runs write checkpoints, and
 * nothing more is started; a second one ends the runs at once. Failed runs are no failure here but
 * lines of the record; fails when these cannot be written or no process can be started. */
WA_MUST_CHECK wa_status wa_sweep_scheduler_run(const struct wa_sweep_plan *plan,
                                               struct wa_sweep_outcome *ret_outcome,
                                               struct wa_error *err);

#endif
