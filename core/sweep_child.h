/* One run of a sweep as a process of its own: this program's `train`, so that whatever happens to it
 * happens to this run alone. */
#ifndef WALIGN_CORE_SWEEP_CHILD_H
#define WALIGN_CORE_SWEEP_CHILD_H

#include <sys/types.h>

#include "processors.h"
#include "status.h"

struct wa_sweep_child {
    const char *config;     /* JSON, written to the run's folder */
    const char *paths_from; /* folder that relative paths in it count from */
    const char *directory;  /* the run's folder, made where it is missing */
    size_t device;          /* index */
    size_t units;           /* compute units of a CPU device to use; 0: all */
    struct wa_processors processors; /* to run on; count 0: any */
    const char *const *plugin_paths;
    size_t plugin_path_count;
};

/* Starts `walign train --resume` in a process group of its own, so that a terminal's interrupt
 * reaches it through the sweep alone. It gets SIGTERM when this process dies. What it prints goes to
 * train.log in the run's folder. */
WA_MUST_CHECK wa_status wa_sweep_child_start(const struct wa_sweep_child *child, pid_t *ret_pid,
                                             struct wa_error *err);

/* The message with which a child of that folder ended, from its log; "" if it left none. */
void wa_sweep_child_reason(const char *directory, char *ret_reason, size_t size);

/* Removes a run's folder with all in it. */
void wa_sweep_child_remove(const char *directory);

#endif
