/* `walign score`: alignment scores of runs and sweeps, as a table and as scores.jsonl. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "log.h"
#include "score_progress.h"
#include "score_record.h"
#include "stop_request.h"

struct scoring {
    const struct wa_command_line *line;
    const volatile sig_atomic_t *stop;
    struct wa_score_progress progress;
    struct wa_score_record record;
    size_t written; /* lines of the record, known ones too */
};

/* ---- The table ------------------------------------------------------------------------------ */

static void print_number(double value)
{
    if (isfinite(value)) {
        (void)printf(" %10.6f", value);
    } else {
        (void)printf(" %10s", "-");
    }
}

static void print_heading(const struct wa_score_group *group)
{
    (void)printf("%-32s %6s %-12s %10s%s\n", "run", "epoch", "layer", "score",
                 group->request.has_control ? "    control" : "");
}

/* Scores may be hours apart: each is shown at once. */
static void print_line(const struct scoring *s, const struct wa_score_run *run, uint64_t epoch,
                       const char *layer, double score, double control)
{
    wa_score_progress_clear(&s->progress);
    (void)printf("%-32s %6llu %-12s", run->name, (unsigned long long)epoch, layer);
    print_number(score);
    if (run->request.has_control) {
        print_number(control);
    }
    (void)printf("\n");
    (void)fflush(stdout);
}

static double number_of(struct json_object *line, const char *key)
{
    struct json_object *value = NULL;
    return json_object_object_get_ex(line, key, &value) && value ? json_object_get_double(value)
                                                                 : (double)NAN;
}

static void print_known(const struct scoring *s, const struct wa_score_run *run, size_t number)
{
    struct json_object *line = s->record.known[s->written];
    print_line(s, run, wa_score_run_epoch(run, number), wa_score_run_layer(run, number)->name,
               number_of(line, "score"), number_of(line, "control"));
}

/* ---- Scores --------------------------------------------------------------------------------- */

static wa_status take_score(void *context, const struct wa_score_line *line, struct wa_error *err)
{
    struct scoring *s = context;
    const struct wa_score_run *run = s->progress.run;
    print_line(s, run, line->epoch, line->layer, line->score, line->control);
    wa_status status = wa_score_record_add(&s->record, run, line, err);
    s->written += status == WA_OK ? 1 : 0;
    wa_score_progress_line(&s->progress);
    return status == WA_OK && *s->stop ? WA_E_INTERRUPTED : status;
}

static wa_status score_run(struct scoring *s, const struct wa_score_run *run, struct wa_error *err)
{
    const struct wa_score_watch watch = {
        .stop = s->stop, .step = wa_score_progress_step, .context = &s->progress};
    size_t first = 0;
    for (; first < wa_score_run_lines(run) && s->written < s->record.known_count; first++) {
        print_known(s, run, first);
        s->written++;
    }
    wa_score_progress_run(&s->progress, run, first);
    return first < wa_score_run_lines(run)
               ? wa_score_run_score(run, first, &watch, take_score, s, err)
               : WA_OK;
}

/* What was scored before it ended stays. */
static wa_status tell_left(const struct scoring *s, wa_status status, struct wa_error *err)
{
    const char *part = s->record.part_path;
    wa_score_progress_clear(&s->progress);
    if (status == WA_E_INTERRUPTED) {
        return wa_fail(
            err, status,
            "stopped; the %zu scores found so far are in %s: go on with the same command "
            "and --resume",
            s->written, part);
    }
    if (s->written > 0) {
        wa_log(WA_LOG_INFO, "the %zu scores found so far are in %s: --resume goes on there",
               s->written, part);
    }
    return status;
}

/* The scores of some groups into one file. */
static wa_status score_groups(struct scoring *s, const struct wa_score_group *groups, size_t count,
                              const char *folder, struct wa_error *err)
{
    wa_status status =
        wa_score_record_open(folder, s->line->resume, groups, count, &s->record, err);
    s->written = 0;
    for (size_t g = 0; g < count && status == WA_OK; g++) {
        print_heading(&groups[g]);
        for (size_t i = 0; i < groups[g].run_count && status == WA_OK; i++) {
            status = score_run(s, &groups[g].runs[i], err);
        }
    }
    if (status != WA_OK) {
        status = tell_left(s, status, err);
    } else {
        status = wa_score_record_commit(&s->record, err);
    }
    if (status == WA_OK) {
        wa_score_progress_clear(&s->progress);
        if (!s->line->quiet) {
            wa_log(WA_LOG_INFO, "scores in %s", s->record.path);
        }
    }
    wa_score_record_close(&s->record);
    return status;
}

wa_status wa_command_score(const struct wa_command_line *line, struct wa_error *err)
{
    struct scoring s = {
        .line = line, .progress = {.is_quiet = line->quiet}, .record = {.lines = {.fd = -1}}};
    struct wa_score_plan plan = {.groups = NULL};
    wa_status status = wa_score_plan_init(line->positional, line->positional_count,
                                          line->setup.sets, line->setup.set_count, &plan, err);
    if (status == WA_OK) {
        s.stop = wa_stop_request_watch();
        wa_score_progress_start(&s.progress, &plan);
    }
    if (status == WA_OK && line->out) {
        status = score_groups(&s, plan.groups, plan.group_count, line->out, err);
    } else {
        /* each argument's scores stay where its runs are */
        for (size_t g = 0; g < plan.group_count && status == WA_OK; g++) {
            status = score_groups(&s, &plan.groups[g], 1, plan.groups[g].folder, err);
        }
    }
    wa_score_plan_finish(&plan);
    return status;
}
