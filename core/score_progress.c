/* How scoring gets on: counted in operations, since layers differ by orders of magnitude. */
#include "score_progress.h"

#include <stdio.h>
#include <unistd.h>

#include "log.h"
#include "progress.h"

enum { DURATION_BYTES = 32 };

/* Half a minute of the noise estimate, or so. */
static const double large_operations = 1e11;

static double run_operations(const struct wa_score_run *run, bool is_noise)
{
    double sum = 0;
    for (size_t i = 0; i < wa_score_run_lines(run); i++) {
        sum += wa_score_run_operations(run, i, is_noise);
    }
    return sum;
}

/* What the lines cost that are estimated by noise. */
struct noise_cost {
    double noise, exact; /* operations; exact: in its place */
    struct wa_score_operator largest;
};

static void add_noise(struct noise_cost *cost, const struct wa_score_run *run)
{
    cost->noise += run_operations(run, true);
    cost->exact += run_operations(run, false);
    for (size_t i = 0; i < run->layer_count; i++) {
        double most = cost->largest.outputs ? wa_score_noise_operations(&cost->largest) : 0;
        if (wa_score_noise_operations(&run->layers[i].shape) > most) {
            cost->largest = run->layers[i].shape;
        }
    }
}

static void tell_cost(const struct noise_cost *cost)
{
    struct wa_error ignored = {0};
    char duration[DURATION_BYTES] = "";
    double seconds = 0;
    if (wa_score_noise_time(&cost->largest, &seconds, &ignored) == WA_OK) {
        seconds *= cost->noise / wa_score_noise_operations(&cost->largest);
        wa_progress_duration(duration, sizeof duration, seconds);
    }
    wa_log(WA_LOG_INFO,
           "the estimator \"noise\" takes %.2g operations here%s%s; \"exact\", the closed form, "
           "%.2g: --set estimator=exact",
           cost->noise, duration[0] ? ", about " : "", duration, cost->exact);
}

void wa_score_progress_start(struct wa_score_progress *progress, const struct wa_score_plan *plan)
{
    struct noise_cost cost = {.noise = 0};
    progress->is_terminal = isatty(STDERR_FILENO) == 1;
    for (size_t g = 0; g < plan->group_count; g++) {
        bool is_noise = plan->groups[g].request.is_noise;
        for (size_t i = 0; i < plan->groups[g].run_count; i++) {
            progress->operations += run_operations(&plan->groups[g].runs[i], is_noise);
            if (is_noise) {
                add_noise(&cost, &plan->groups[g].runs[i]);
            }
        }
    }
    if (!progress->is_quiet && cost.noise >= large_operations) {
        tell_cost(&cost);
    }
    progress->start_seconds = progress->epoch_seconds = wa_progress_now();
}

void wa_score_progress_run(struct wa_score_progress *progress, const struct wa_score_run *run,
                           size_t first)
{
    progress->run = run;
    progress->line = first;
    progress->epoch_seconds = wa_progress_now();
    for (size_t i = 0; i < first; i++) {
        double operations = wa_score_run_operations(run, i, run->request.is_noise);
        progress->known += operations;
        progress->done += operations;
    }
}

static double line_operations(const struct wa_score_progress *progress)
{
    return wa_score_run_operations(progress->run, progress->line, progress->run->request.is_noise);
}

/* Seconds left when `done` operations are; 0 where nothing tells. */
static double seconds_left(const struct wa_score_progress *progress, double done)
{
    double seconds = wa_progress_now() - progress->start_seconds;
    double scored = done - progress->known;
    return scored > 0 ? seconds / scored * (progress->operations - done) : 0;
}

void wa_score_progress_step(void *context, double share)
{
    struct wa_score_progress *progress = context;
    double now = wa_progress_now();
    /* A control is a second score of the same line. */
    double scores = progress->run->request.has_control ? 2 : 1;
    double done = progress->done + line_operations(progress) * share / scores;
    if (progress->is_quiet || !progress->is_terminal || now - progress->shown_seconds < 0.2) {
        return;
    }
    progress->shown_seconds = now;
    char left[DURATION_BYTES];
    char cells[WA_PROGRESS_CELLS + 1];
    double part = progress->operations > 0 ? done / progress->operations : 1;
    wa_progress_duration(left, sizeof left, seconds_left(progress, done));
    wa_progress_cells(part, cells);
    (void)fprintf(stderr, "\r\033[K%s epoch %llu %s [%s] %.1f %%  %s left", progress->run->name,
                  (unsigned long long)wa_score_run_epoch(progress->run, progress->line),
                  wa_score_run_layer(progress->run, progress->line)->name, cells, 100 * part, left);
    (void)fflush(stderr);
}

void wa_score_progress_clear(const struct wa_score_progress *progress)
{
    if (!progress->is_quiet && progress->is_terminal) {
        (void)fputs("\r\033[K", stderr);
        (void)fflush(stderr);
    }
}

static void tell_epoch(const struct wa_score_progress *progress)
{
    char left[DURATION_BYTES];
    wa_progress_duration(left, sizeof left, seconds_left(progress, progress->done));
    (void)fprintf(stderr, "%s epoch %llu: %.1f s  %s left\n", progress->run->name,
                  (unsigned long long)wa_score_run_epoch(progress->run, progress->line),
                  wa_progress_now() - progress->epoch_seconds, left);
}

void wa_score_progress_line(struct wa_score_progress *progress)
{
    progress->done += line_operations(progress);
    if ((progress->line + 1) % progress->run->layer_count == 0) {
        if (!progress->is_quiet && !progress->is_terminal) {
            tell_epoch(progress);
        }
        progress->epoch_seconds = wa_progress_now();
    }
    progress->line++;
}
