/* A training run: epochs of steps, evaluation, metrics, checkpoints, resume. */
#ifndef WALIGN_CORE_TRAINER_H
#define WALIGN_CORE_TRAINER_H

#include <signal.h>

#include "setup.h"

struct wa_trainer_request {
    struct wa_setup_request setup;
    const char *directory;             /* --out, or NULL for runs/<config name>[-<what varies>] */
    bool resume, quiet;
    const volatile sig_atomic_t *stop; /* set by a signal: finish the step, write a checkpoint */
};

/* Runs to the end. WA_E_INTERRUPTED: stopped by *stop, with a checkpoint; WA_E_DIVERGED. */
WA_MUST_CHECK wa_status wa_trainer_run(const struct wa_trainer_request *request,
                                       struct wa_error *err);

#endif
