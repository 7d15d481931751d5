/* Alignment scores of one run, from its run.json and checkpoints: first what will be scored, checked;
 * then the scores. */
#ifndef WALIGN_CORE_SCORE_RUN_H
#define WALIGN_CORE_SCORE_RUN_H

#include "score.h"

struct json_object;

struct wa_score_request {
    int64_t epoch; /* negative: all at whose end a checkpoint was written */
    bool is_noise; /* the published estimate, else exact */
    bool has_control;
};

/* A layer as run.json describes it. */
struct wa_score_layer {
    const char *name, *weight;
    struct wa_score_operator shape;
    bool has_inputs_first; /* the tensor is [inputs][outputs] */
};

struct wa_score_checkpoint {
    uint64_t epoch;
    char *path;
};

/* Its lines are those of the checkpoints, oldest first, each with the layers, bottom to top. Left out
 * are layers of a single input weight, whose score is 1 by definition. */
struct wa_score_run {
    char *directory;
    const char *name; /* the last part of it */
    struct wa_score_request request;
    struct json_object *description;
    struct wa_score_layer *layers;
    size_t layer_count;
    struct wa_score_checkpoint *checkpoints;
    size_t checkpoint_count;
};

struct wa_score_line {
    uint64_t epoch;
    const char *layer;
    /* NaN where there is none (epoch 0). `control`: with the trained weights shuffled. */
    double score, control, squared_cosine;
};

/* Called for each line; it is the caller's. */
typedef wa_status wa_score_visitor(void *context, const struct wa_score_line *line,
                                   struct wa_error *err);

/* Reads run.json and all checkpoints that the request asks for, so that scoring them does not end half
 * way. WA_E_USAGE: no run, or one without the pair; WA_E_DATA: a checkpoint is missing or damaged.
 * wa_score_run_finish takes a zeroed struct, and what a failure leaves. */
WA_MUST_CHECK wa_status wa_score_run_init(const char *directory,
                                          const struct wa_score_request *request,
                                          struct wa_score_run *ret_run, struct wa_error *err);
void wa_score_run_finish(struct wa_score_run *run);

size_t wa_score_run_lines(const struct wa_score_run *run);
uint64_t wa_score_run_epoch(const struct wa_score_run *run, size_t line);
const struct wa_score_layer *wa_score_run_layer(const struct wa_score_run *run, size_t line);

/* What a line costs with an estimator, control included; none at epoch 0, where nothing has changed. */
double wa_score_run_operations(const struct wa_score_run *run, size_t line, bool is_noise);

/* Scores the lines from `first` on; lines before it are known already. WA_E_INTERRUPTED: see
 * wa_score_watch. */
WA_MUST_CHECK wa_status wa_score_run_score(const struct wa_score_run *run, size_t first,
                                           const struct wa_score_watch *watch,
                                           wa_score_visitor *visit, void *context,
                                           struct wa_error *err);

#endif
