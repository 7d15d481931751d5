/* How scoring gets on, for people, on stderr: what it will cost, a bar on a terminal, a line for each
 * run's epoch otherwise. */
#ifndef WALIGN_CORE_SCORE_PROGRESS_H
#define WALIGN_CORE_SCORE_PROGRESS_H

#include "score_plan.h"

struct wa_score_progress {
    bool is_quiet, is_terminal;
    double operations;  /* of all lines */
    double done, known; /* of them: before the line under way; without being scored here */
    double start_seconds, epoch_seconds, shown_seconds;
    /* the line under way */
    const struct wa_score_run *run;
    size_t line;
};

/* Where "noise" will take long, says what it costs, by the costliest layer, and what "exact" would. */
void wa_score_progress_start(struct wa_score_progress *progress, const struct wa_score_plan *plan);

/* A run's lines from `first` on are next, what is before it is known. */
void wa_score_progress_run(struct wa_score_progress *progress, const struct wa_score_run *run,
                           size_t first);

/* wa_score_watch.step; `progress` is a struct wa_score_progress. */
void wa_score_progress_step(void *progress, double share);

/* Clears the bar, for a line on stdout. */
void wa_score_progress_clear(const struct wa_score_progress *progress);

/* The line under way is scored. */
void wa_score_progress_line(struct wa_score_progress *progress);

#endif
