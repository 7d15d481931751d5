/* How a run gets on. */
#include "progress.h"

#include <math.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

double wa_progress_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void wa_progress_start(struct wa_progress_bar *bar, uint64_t first_step)
{
    bar->first_step = first_step;
    bar->is_terminal = isatty(STDERR_FILENO) == 1;
    bar->start_seconds = wa_progress_now();
}

void wa_progress_duration(char *text, size_t size, double seconds)
{
    unsigned long s = seconds > 0 ? (unsigned long)(seconds + 0.5) : 0;
    if (s >= 3600) {
        (void)snprintf(text, size, "%lu h %02lu min", s / 3600, s / 60 % 60);
    } else if (s >= 60) {
        (void)snprintf(text, size, "%lu min %02lu s", s / 60, s % 60);
    } else {
        (void)snprintf(text, size, "%lu s", s);
    }
}

void wa_progress_cells(double share, char ret_cells[WA_PROGRESS_CELLS + 1])
{
    for (int i = 0; i < WA_PROGRESS_CELLS; i++) {
        ret_cells[i] = i + 1 <= share * WA_PROGRESS_CELLS ? '#' : '.';
    }
    ret_cells[WA_PROGRESS_CELLS] = '\0';
}

/* "  accuracy 83.1 %", or nothing where it is NaN. */
static void write_accuracy(double accuracy, int digits, char *text, size_t size)
{
    text[0] = '\0';
    if (!isnan(accuracy)) {
        (void)snprintf(text, size, "  accuracy %.*f %%", digits, 100.0 * accuracy);
    }
}

/* Items a second and time left, from the steps of this process. */
static void write_rate(const struct wa_progress_bar *bar, uint64_t step, char *text, size_t size)
{
    double seconds = wa_progress_now() - bar->start_seconds;
    uint64_t steps = step - bar->first_step;
    if (steps == 0 || seconds <= 0) {
        text[0] = '\0';
        return;
    }
    char left[32];
    uint64_t rest = bar->total_steps > step ? bar->total_steps - step : 0;
    wa_progress_duration(left, sizeof left, seconds / (double)steps * (double)rest);
    (void)snprintf(text, size, "%.0f %s/s, %s left",
                   (double)steps * (double)bar->batch / seconds, bar->items, left);
}

void wa_progress_step(struct wa_progress_bar *bar, uint64_t epoch, uint64_t step_in_epoch,
                      uint64_t step, double loss, double accuracy)
{
    double now = wa_progress_now();
    if (bar->is_quiet || !bar->is_terminal || now - bar->shown_seconds < 0.2) {
        return;
    }
    bar->shown_seconds = now;
    char cells[WA_PROGRESS_CELLS + 1];
    wa_progress_cells(
        bar->steps_per_epoch ? (double)step_in_epoch / (double)bar->steps_per_epoch : 1, cells);
    char rate[96];
    char share[48];
    write_rate(bar, step, rate, sizeof rate);
    write_accuracy(accuracy, 1, share, sizeof share);
    (void)fprintf(stderr, "\r\033[Kepoch %llu/%llu [%s] step %llu/%llu  loss %.4f%s  %s",
                  (unsigned long long)epoch, (unsigned long long)bar->epochs, cells,
                  (unsigned long long)step_in_epoch, (unsigned long long)bar->steps_per_epoch, loss,
                  share, rate);
    (void)fflush(stderr);
}

void wa_progress_epoch(struct wa_progress_bar *bar, uint64_t epoch, uint64_t step, double loss,
                       double accuracy, const char *metrics, double seconds)
{
    if (bar->is_quiet) {
        return;
    }
    char rate[96];
    char share[48];
    write_rate(bar, step, rate, sizeof rate);
    write_accuracy(accuracy, 2, share, sizeof share);
    (void)fprintf(stderr, "%sepoch %llu/%llu  step %llu  loss %.5f%s%s  %.1f s  %s\n",
                  bar->is_terminal ? "\r\033[K" : "", (unsigned long long)epoch,
                  (unsigned long long)bar->epochs, (unsigned long long)step, loss, share, metrics,
                  seconds, rate);
}

void wa_progress_end(struct wa_progress_bar *bar)
{
    if (!bar->is_quiet && bar->is_terminal) {
        (void)fputs("\r\033[K", stderr);
    }
}
