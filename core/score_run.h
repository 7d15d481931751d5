/* Alignment scores of one run, from its run.json and checkpoints. */
#ifndef WALIGN_CORE_SCORE_RUN_H
#define WALIGN_CORE_SCORE_RUN_H

#include "status.h"

struct wa_score_request {
    int64_t epoch; /* negative: all at whose end a checkpoint was written */
    bool is_noise; /* the published estimate, else exact */
    bool has_control;
};

struct wa_score_line {
    uint64_t epoch;
    const char *layer;
    /* NaN where there is none (epoch 0). `control`: with the trained weights shuffled. */
    double score, control, squared_cosine;
};

/* Called for each epoch and layer, bottom to top; the line is the caller's. */
typedef wa_status wa_score_visitor(void *context, const struct wa_score_line *line,
                                   struct wa_error *err);

/* Scores each layer but those of a single input weight, whose score is 1 by definition. WA_E_USAGE: no
 * run, or one without the pair; WA_E_DATA: a checkpoint is missing or damaged. */
WA_MUST_CHECK wa_status wa_score_run(const char *directory, const struct wa_score_request *request,
                                     wa_score_visitor *visit, void *context, struct wa_error *err);

#endif
