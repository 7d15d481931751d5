/* Places the runs of a sweep on devices and looks after their processes. */
#include "sweep_scheduler.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "log.h"
#include "progress.h"
#include "record.h"
#include "sweep_child.h"

/* Runs at once on a device that is not divided, while their memory fits. */
enum { SHARED_AT_ONCE = 4, WARM_UP_STEPS = 20, EXIT_FAILED = 1, EXIT_DIVERGED = 3, SIGNALLED = 128 };

static const double memory_part = 0.9; /* of a device's, for runs */

/* A device cut into equal shares; a run takes as many as its memory needs. */
struct place {
    const struct wa_device_info *info;
    size_t index;
    size_t share_count, free_shares;
    bool *is_taken;       /* by share */
    double budget_bytes;
    size_t units;         /* compute units to share out; 0: the device is not divided */
    struct wa_processors processors;
};

struct worker {
    pid_t pid; /* 0: none */
    struct wa_sweep_job *job;
    struct place *place;
    size_t first_share, shares; /* of the place, consecutive */
    double started_at;
    char *directory;
};

struct scheduler {
    const struct wa_sweep_plan *plan;
    struct place *places;
    struct wa_sweep_job **queue; /* longest first; NULL once started */
    size_t queued;
    struct worker *workers;
    size_t worker_count, running, total, ended;
    int stop_signals;
    bool is_warming_up;
    struct wa_sweep_outcome *outcome;
    struct wa_error *err;
};

static wa_status out_of_memory(struct wa_error *err)
{
    return wa_fail(err, WA_E_MEMORY, "out of memory for the scheduler");
}

/* ---- Signals -------------------------------------------------------------------------------- */

static void watched_signals(sigset_t *ret_set)
{
    (void)sigemptyset(ret_set);
    (void)sigaddset(ret_set, SIGCHLD);
    (void)sigaddset(ret_set, SIGINT);
    (void)sigaddset(ret_set, SIGTERM);
}

void wa_sweep_scheduler_block_signals(void)
{
    sigset_t set;
    watched_signals(&set);
    (void)signal(SIGCHLD, SIG_DFL); /* ignored, ended processes could not be waited for */
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
}

static void pass_on_stop(struct scheduler *s)
{
    s->stop_signals++;
    if (s->stop_signals == 1) {
        wa_log(WA_LOG_INFO, "stopping: %zu runs write their checkpoints", s->running);
    }
    for (size_t i = 0; i < s->worker_count; i++) {
        if (s->workers[i].pid > 0) {
            (void)kill(s->workers[i].pid, SIGINT);
        }
    }
}

/* ---- Places --------------------------------------------------------------------------------- */

static bool is_cpu(const struct wa_device_info *info)
{
    return info->type & CL_DEVICE_TYPE_CPU;
}

/* CPU devices of several drivers are the same processors and memory: each gets its part of them. */
static void share_processors(struct place *place, const struct wa_processors *all,
                             size_t cpu_index, size_t cpu_count)
{
    size_t first = all->count * cpu_index / cpu_count;
    size_t end = all->count * (cpu_index + 1) / cpu_count;
    if (end == first) { /* more devices than processors */
        first = all->count > 0 ? cpu_index % all->count : 0;
        end = all->count > 0 ? first + 1 : 0;
    }
    for (size_t p = first; p < end; p++) {
        place->processors.numbers[place->processors.count++] = all->numbers[p];
    }
    place->units = place->processors.count;
    if (place->units == 0 || place->units > place->info->compute_units) {
        place->units = place->info->compute_units;
    }
    place->budget_bytes /= (double)cpu_count;
}

static void choose_shares(const struct scheduler *s, struct place *place)
{
    const struct wa_sweep_plan *plan = s->plan;
    size_t most = plan->most_at_once ? plan->most_at_once
                  : place->units > 0 ? place->units
                                     : SHARED_AT_ONCE;
    if (plan->is_exclusive) {
        most = 1;
    }
    place->share_count = most < s->total ? most : s->total;
    place->share_count = place->share_count > 0 ? place->share_count : 1;
    place->free_shares = place->share_count;
}

static wa_status make_places(struct scheduler *s)
{
    const struct wa_sweep_plan *plan = s->plan;
    struct wa_processors *all = calloc(1, sizeof *all);
    s->places = calloc(plan->chosen_count, sizeof *s->places);
    if (!s->places || !all) {
        free(all);
        return out_of_memory(s->err);
    }
    wa_processors_allowed(all);
    size_t cpu_count = 0;
    for (size_t i = 0; i < plan->chosen_count; i++) {
        cpu_count += is_cpu(&plan->devices->items[plan->chosen[i]]) ? 1 : 0;
    }
    size_t cpu_index = 0;
    wa_status status = WA_OK;
    for (size_t i = 0; i < plan->chosen_count && status == WA_OK; i++) {
        struct place *place = &s->places[i];
        place->index = plan->chosen[i];
        place->info = &plan->devices->items[place->index];
        place->budget_bytes = memory_part * (double)place->info->global_bytes;
        if (is_cpu(place->info)) {
            share_processors(place, all, cpu_index++, cpu_count);
        }
        choose_shares(s, place);
        if (cpu_count <= 1 && place->share_count == 1) {
            place->units = 0; /* the whole device, as `walign train` takes it */
            place->processors.count = 0;
        }
        place->is_taken = calloc(place->share_count, sizeof *place->is_taken);
        status = place->is_taken ? WA_OK : out_of_memory(s->err);
        s->worker_count += place->share_count;
    }
    free(all);
    return status;
}

static size_t shares_needed(const struct place *place, const struct wa_sweep_job *job)
{
    double share = place->budget_bytes / (double)place->share_count;
    double needed = share > 0 ? ceil((double)job->cost.bytes / share) : 1;
    return needed < 1                             ? 1
           : needed > (double)place->share_count ? place->share_count
                                                  : (size_t)needed;
}

/* The first of so many consecutive free shares; share_count if there are none. */
static size_t find_shares(const struct place *place, size_t shares)
{
    size_t found = 0;
    for (size_t i = 0; i < place->share_count; i++) {
        found = place->is_taken[i] ? 0 : found + 1;
        if (found == shares) {
            return i + 1 - shares;
        }
    }
    return place->share_count;
}

static void take_shares(struct worker *worker, bool is_taken)
{
    for (size_t i = 0; i < worker->shares; i++) {
        worker->place->is_taken[worker->first_share + i] = is_taken;
    }
}

/* ---- Starting ------------------------------------------------------------------------------- */

static int compare_work(const void *a, const void *b)
{
    const struct wa_sweep_job *x = *(struct wa_sweep_job *const *)a;
    const struct wa_sweep_job *y = *(struct wa_sweep_job *const *)b;
    return x->cost.work != y->cost.work ? (x->cost.work < y->cost.work ? 1 : -1)
           : x < y                      ? -1
                                        : x > y;
}

static wa_status make_queue(struct scheduler *s)
{
    s->queue = calloc(s->plan->job_count + 1, sizeof *s->queue);
    if (!s->queue) {
        return out_of_memory(s->err);
    }
    for (size_t i = 0; i < s->plan->job_count; i++) {
        if (!s->plan->jobs[i].is_settled) {
            s->queue[s->queued++] = &s->plan->jobs[i];
        }
    }
    qsort(s->queue, s->queued, sizeof(struct wa_sweep_job *), compare_work);
    s->total = s->queued;
    return WA_OK;
}

/* Whether a run that this place has no memory for would fit elsewhere. */
static bool belongs_elsewhere(const struct scheduler *s, const struct place *place,
                              const struct wa_sweep_job *job)
{
    bool fits_elsewhere = false;
    for (size_t i = 0; i < s->plan->chosen_count; i++) {
        fits_elsewhere = fits_elsewhere || (double)job->cost.bytes <= s->places[i].budget_bytes;
    }
    return fits_elsewhere && (double)job->cost.bytes > place->budget_bytes;
}

static struct worker *idle_worker(struct scheduler *s)
{
    for (size_t i = 0; i < s->worker_count; i++) {
        if (s->workers[i].pid == 0) {
            return &s->workers[i];
        }
    }
    return NULL;
}

static wa_status start_run(struct scheduler *s, struct worker *worker, const char *name,
                           const char *config)
{
    struct place *place = worker->place;
    struct wa_sweep_child child = {.config = config,
                                   .paths_from = s->plan->paths_from,
                                   .device = place->index,
                                   .plugin_paths = s->plan->plugin_paths,
                                   .plugin_path_count = s->plan->plugin_path_count};
    size_t end = worker->first_share + worker->shares;
    if (place->units > 0) {
        size_t units = place->units * worker->shares / place->share_count;
        child.units = units > 0 ? units : 1;
        size_t count = place->processors.count;
        size_t first = count * worker->first_share / place->share_count;
        size_t last = count * end / place->share_count;
        for (size_t i = first; i < (last > first ? last : first + 1) && count > 0; i++) {
            child.processors.numbers[child.processors.count++] = place->processors.numbers[i];
        }
    }
    worker->directory = wa_file_join(s->plan->record->directory, name);
    if (!worker->directory) {
        return out_of_memory(s->err);
    }
    child.directory = worker->directory;
    worker->started_at = wa_progress_now();
    wa_status status = wa_sweep_child_start(&child, &worker->pid, s->err);
    if (status == WA_OK) {
        take_shares(worker, true);
        s->running++;
    } else {
        free(worker->directory);
        *worker = (struct worker){0};
    }
    return status;
}

/* Starts what fits on a place. The run at the head of the queue is waited for: were smaller ones to
 * pass it, the longest would come last. */
static wa_status fill_place(struct scheduler *s, struct place *place)
{
    wa_status status = WA_OK;
    for (size_t q = 0; q < s->queued && status == WA_OK;) {
        struct wa_sweep_job *job = s->queue[q];
        if (belongs_elsewhere(s, place, job)) {
            q++;
            continue;
        }
        size_t shares = shares_needed(place, job);
        size_t first = find_shares(place, shares);
        struct worker *worker = first < place->share_count ? idle_worker(s) : NULL;
        if (!worker) {
            break;
        }
        *worker =
            (struct worker){.job = job, .place = place, .first_share = first, .shares = shares};
        status = start_run(s, worker, job->name, job->config);
        s->queued--;
        memmove(&s->queue[q], &s->queue[q + 1], (s->queued - q) * sizeof(struct wa_sweep_job *));
    }
    return status;
}

/* ---- Ending --------------------------------------------------------------------------------- */

enum run_end { END_DONE, END_DIVERGED, END_FAILED, END_KILLED, END_INTERRUPTED };

static const char *end_text(enum run_end end)
{
    switch (end) {
    case END_DONE:
        return "done";
    case END_DIVERGED:
        return "diverged";
    case END_KILLED:
        return "killed";
    case END_INTERRUPTED:
        return "interrupted";
    default:
        return "failed";
    }
}

static enum run_end judge(const struct scheduler *s, const struct worker *worker, int wait_status,
                          int *ret_exit_code, char *reason, size_t size)
{
    wa_sweep_child_reason(worker->directory, reason, size);
    if (WIFSIGNALED(wait_status)) {
        int number = WTERMSIG(wait_status);
        *ret_exit_code = SIGNALLED + number;
        (void)snprintf(reason, size, "ended by signal %d (%s)", number, strsignal(number));
        return s->stop_signals > 0 ? END_INTERRUPTED : END_KILLED;
    }
    *ret_exit_code = WEXITSTATUS(wait_status);
    if (*ret_exit_code == 0) {
        reason[0] = '\0'; /* a warning at most */
        return END_DONE;
    }
    if (!reason[0]) {
        (void)snprintf(reason, size, "exit status %d without a message; see its train.log",
                       *ret_exit_code);
    }
    return *ret_exit_code == EXIT_DIVERGED                        ? END_DIVERGED
           : s->stop_signals > 0 && *ret_exit_code == EXIT_FAILED ? END_INTERRUPTED
                                                                  : END_FAILED;
}

static wa_status write_line(struct scheduler *s, const struct worker *worker, enum run_end end,
                            int exit_code, const char *reason, double seconds)
{
    const struct wa_device_info *info = worker->place->info;
    struct json_object *line = json_object_new_object();
    char device[2 * WA_DEVICE_TEXT + 32];
    (void)snprintf(device, sizeof device, "%zu: %s (%s)", worker->place->index, info->name,
                   info->platform_name);
    (void)json_object_object_add(line, "name", json_object_new_string(worker->job->name));
    (void)json_object_object_add(line, "status", json_object_new_string(end_text(end)));
    (void)json_object_object_add(line, "exit_code", json_object_new_int(exit_code));
    (void)json_object_object_add(line, "reason",
                                 *reason ? json_object_new_string(reason) : NULL);
    (void)json_object_object_add(line, "device", json_object_new_string(device));
    (void)json_object_object_add(line, "seconds", wa_record_number(round(seconds * 1e3) / 1e3));
    (void)json_object_object_add(line, "metrics", wa_sweep_record_last_metrics(worker->directory));
    wa_status status = wa_sweep_record_append(s->plan->record, line, s->err);
    json_object_put(line);
    return status;
}

static void count_end(struct scheduler *s, const struct worker *worker, enum run_end end,
                      const char *reason)
{
    struct wa_sweep_outcome *outcome = s->outcome;
    s->ended++;
    switch (end) {
    case END_DONE:
        outcome->done++;
        break;
    case END_DIVERGED:
        outcome->diverged++;
        break;
    case END_INTERRUPTED:
        outcome->left++;
        break;
    default:
        if (outcome->failed++ == 0) {
            (void)snprintf(outcome->first_failed, sizeof outcome->first_failed, "%s: %s",
                           worker->job->name, reason);
        }
        break;
    }
}

static wa_status end_run(struct scheduler *s, struct worker *worker, int wait_status)
{
    char reason[WA_MESSAGE_BYTES / 2];
    int exit_code = 0;
    double seconds = wa_progress_now() - worker->started_at;
    enum run_end end = judge(s, worker, wait_status, &exit_code, reason, sizeof reason);
    wa_status status = WA_OK;
    s->running--;
    take_shares(worker, false);
    if (!s->is_warming_up) {
        status = write_line(s, worker, end, exit_code, reason, seconds);
        count_end(s, worker, end, reason);
        (void)fprintf(stderr, "[%zu/%zu] %s: %s%s%s, %.1f s, device %zu (%zu running, %zu failed)\n",
                      s->ended, s->total, worker->job->name, end_text(end), *reason ? ": " : "",
                      reason, seconds, worker->place->index, s->running,
                      s->outcome->failed + s->outcome->diverged);
    }
    free(worker->directory);
    *worker = (struct worker){0};
    return status;
}

/* Waits for a signal, then for all children that have ended. */
static wa_status wait_for_ends(struct scheduler *s)
{
    sigset_t set;
    watched_signals(&set);
    int number = sigwaitinfo(&set, NULL);
    if (number == SIGINT || number == SIGTERM) {
        pass_on_stop(s);
    }
    wa_status status = WA_OK;
    for (size_t i = 0; i < s->worker_count; i++) {
        struct worker *worker = &s->workers[i];
        int wait_status = 0;
        if (worker->pid > 0 && waitpid(worker->pid, &wait_status, WNOHANG) == worker->pid) {
            wa_status ended = end_run(s, worker, wait_status);
            status = status == WA_OK ? ended : status;
        }
    }
    return status;
}

/* ---- All of it ------------------------------------------------------------------------------ */

/* The longest run's first steps, so that kernels are compiled and files cached. */
static wa_status warm_up(struct scheduler *s)
{
    struct json_object *config = json_tokener_parse(s->queue[0]->config);
    (void)json_object_object_add(config, "epochs", json_object_new_int(1));
    (void)json_object_object_add(config, "steps", json_object_new_int(WARM_UP_STEPS));
    char *text = wa_config_canonical_value(config);
    json_object_put(config);
    char *directory = wa_file_join(s->plan->record->directory, ".warm-up");
    wa_status status = text && directory ? WA_OK : out_of_memory(s->err);
    if (status == WA_OK) {
        wa_sweep_child_remove(directory);
        s->is_warming_up = true;
        s->workers[0] = (struct worker){
            .job = s->queue[0], .place = &s->places[0], .shares = s->places[0].share_count};
        status = start_run(s, &s->workers[0], ".warm-up", text);
        while (s->running > 0) {
            wa_status waited = wait_for_ends(s);
            status = status == WA_OK ? waited : status;
        }
        s->is_warming_up = false;
        wa_sweep_child_remove(directory);
    }
    free(directory);
    free(text);
    return status;
}

static wa_status run_all(struct scheduler *s)
{
    wa_status status = s->plan->is_exclusive && s->queued > 0 ? warm_up(s) : WA_OK;
    for (;;) {
        for (size_t i = 0; i < s->plan->chosen_count && status == WA_OK && !s->stop_signals; i++) {
            status = fill_place(s, &s->places[i]);
        }
        if (s->running == 0) {
            break;
        }
        if (status != WA_OK && s->stop_signals == 0) {
            pass_on_stop(s); /* what cannot be recorded is not worth running */
        }
        wa_status waited = wait_for_ends(s);
        status = status == WA_OK ? waited : status;
    }
    s->outcome->left += s->queued;
    return status;
}

wa_status wa_sweep_scheduler_run(const struct wa_sweep_plan *plan,
                                 struct wa_sweep_outcome *ret_outcome, struct wa_error *err)
{
    *ret_outcome = (struct wa_sweep_outcome){0};
    struct scheduler s = {.plan = plan, .outcome = ret_outcome, .err = err};
    wa_status status = make_queue(&s);
    if (status == WA_OK) {
        status = make_places(&s);
    }
    if (status == WA_OK) {
        s.workers = calloc(s.worker_count, sizeof *s.workers);
        status = s.workers ? run_all(&s) : out_of_memory(err);
    }
    for (size_t i = 0; s.places && i < plan->chosen_count; i++) {
        free(s.places[i].is_taken);
    }
    free(s.places);
    free(s.queue);
    free(s.workers);
    return status;
}
