/* How a run gets on, for people, on stderr: a bar on a terminal, a line an epoch otherwise. */
#ifndef WALIGN_CORE_PROGRESS_H
#define WALIGN_CORE_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wa_progress_bar {
    bool is_quiet, is_terminal;
    uint64_t epochs, steps_per_epoch, total_steps, batch;
    const char *items; /* what a batch is made of, for people: "images" */
    uint64_t first_step;  /* where this process began */
    double start_seconds, shown_seconds;
};

/* Seconds of a clock that only goes forward. */
double wa_progress_now(void);

void wa_progress_start(struct wa_progress_bar *bar, uint64_t first_step);

/* After some steps: redraws the bar at most a few times a second. An accuracy of NaN is left out. */
void wa_progress_step(struct wa_progress_bar *bar, uint64_t epoch, uint64_t step_in_epoch,
                      uint64_t step, double loss, double accuracy);

/* Ends the epoch with a line: `metrics` is what else there is to say ("validation 83.1 %"). */
void wa_progress_epoch(struct wa_progress_bar *bar, uint64_t epoch, uint64_t step, double loss,
                       double accuracy, const char *metrics, double seconds);

/* Leaves the terminal's line clean. */
void wa_progress_end(struct wa_progress_bar *bar);

/* For other bars: "2 h 05 min"; and a bar of cells for a share from 0 to 1. */
enum { WA_PROGRESS_CELLS = 24 };
void wa_progress_duration(char *text, size_t size, double seconds);
void wa_progress_cells(double share, char ret_cells[WA_PROGRESS_CELLS + 1]);

#endif
