/* Checkpoints: a session's tensors and how far the run is, in one safetensors file. Nothing in it
 * differs between equal runs. */
#ifndef WALIGN_CORE_CHECKPOINT_H
#define WALIGN_CORE_CHECKPOINT_H

#include "rng.h"
#include "session.h"

/* How far a run is. */
struct wa_progress {
    uint64_t epoch;               /* epochs that are complete */
    uint64_t step;                /* steps in all */
    uint64_t step_in_epoch;       /* of the epoch after the complete ones */
    bool is_finished;             /* nothing is left to do */
    double loss_sum, correct_sum; /* of the steps in that epoch */
    struct wa_rng rng;            /* as it was before that epoch's orders were drawn */
    /* Where all its steps are done and angles are logged: those of the last step, by layer. */
    uint32_t angle_count; /* 0: there are none to keep */
    double angles[WA_MODEL_MAX_LAYERS];
};

WA_MUST_CHECK wa_status wa_checkpoint_write(const char *path, struct wa_session *session,
                                            const struct wa_progress *progress,
                                            struct wa_error *err);

/* Reads a checkpoint back into a session of the same config. A file that is damaged or of another
 * network fails with WA_E_DATA, the session is not to be used then. */
WA_MUST_CHECK wa_status wa_checkpoint_read(const char *path, struct wa_session *session,
                                           struct wa_progress *ret_progress, struct wa_error *err);

#endif
