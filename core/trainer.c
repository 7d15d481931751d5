/* A training run. */
#include "trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint.h"
#include "files.h"
#include "loader.h"
#include "log.h"
#include "progress.h"
#include "record.h"
#include "run_description.h"
#include "summary.h"

static const double collect_seconds = 0.5; /* between looks at the losses */

struct trainer {
    const struct wa_trainer_request *request;
    struct wa_setup setup;
    struct wa_record *record;
    struct wa_progress progress;
    struct wa_progress_bar bar;
    uint64_t epochs, step_limit, steps_per_epoch;
    bool logs_steps, logs_angles, is_interrupted;
    struct wa_loader *loader;
    double collected_at, epoch_started_at;
    struct wa_session_result results[WA_SESSION_SLOTS];
    struct wa_error *err;
};

/* ---- Results -------------------------------------------------------------------------------- */

static wa_status diverged(struct trainer *t, uint64_t step)
{
    char tensor[96] = "loss";
    struct wa_error ignored = {0};
    if (wa_session_first_bad_tensor(t->setup.session, tensor, sizeof tensor, &ignored) != WA_OK) {
        (void)snprintf(tensor, sizeof tensor, "unknown");
    }
    return wa_fail(
        t->err, WA_E_DIVERGED,
        "diverged in epoch %llu at step %llu: the loss is not finite, first bad tensor: %s; "
        "lower the learning rate (checkpoints of %s are from before)",
        (unsigned long long)(t->progress.epoch + 1), (unsigned long long)step, tensor,
        wa_record_directory(t->record));
}

/* NaN where targets are values: there is nothing to count. */
static double mean_accuracy(const struct trainer *t, double correct, uint64_t batches)
{
    const struct wa_batches *b = &t->setup.batches;
    return b->info.target == WA_TARGET_CLASS ? correct / ((double)batches * b->batch) : (double)NAN;
}

static void add_accuracy(const struct trainer *t, json_object *line, const char *key,
                         double correct, uint64_t batches)
{
    double accuracy = mean_accuracy(t, correct, batches);
    if (!isnan(accuracy)) {
        (void)json_object_object_add(line, key, wa_record_number(accuracy));
    }
}

/* Batches weigh alike: what is right in a smaller one counts as if it were whole. */
static double weighed_correct(const struct trainer *t, const struct wa_session_result *result)
{
    return (double)result->correct * t->setup.batches.batch / result->items;
}

static wa_status log_step(struct trainer *t, uint64_t step, const struct wa_session_result *result)
{
    json_object *line = json_object_new_object();
    if (!line) {
        return wa_fail(t->err, WA_E_MEMORY, "out of memory");
    }
    (void)json_object_object_add(line, "step", json_object_new_int64((int64_t)step));
    (void)json_object_object_add(line, "loss", wa_record_number((double)result->loss));
    add_accuracy(t, line, "accuracy", weighed_correct(t, result), 1);
    wa_status status = wa_record_append_step(t->record, line, t->err);
    (void)json_object_put(line);
    return status;
}

/* Takes the losses of the steps since the last look. */
static wa_status collect_steps(struct trainer *t)
{
    size_t count = 0;
    wa_status status = wa_session_collect(t->setup.session, t->results, &count, t->err);
    uint64_t first = t->progress.step - count + 1;
    for (size_t i = 0; i < count && status == WA_OK; i++) {
        if (!isfinite(t->results[i].loss)) {
            return diverged(t, first + i);
        }
        t->progress.loss_sum += (double)t->results[i].loss;
        t->progress.correct_sum += weighed_correct(t, &t->results[i]);
        if (t->logs_steps) {
            status = log_step(t, first + i, &t->results[i]);
        }
    }
    t->collected_at = wa_progress_now();
    return status;
}

/* ---- An epoch ------------------------------------------------------------------------------- */

static bool is_stopped(const struct trainer *t)
{
    return t->request->stop && *t->request->stop;
}

static bool must_stop(struct trainer *t)
{
    t->is_interrupted = t->is_interrupted || is_stopped(t);
    return t->is_interrupted;
}

static bool is_at_limit(const struct trainer *t)
{
    return t->step_limit && t->progress.step >= t->step_limit;
}

static wa_status train_step(struct trainer *t)
{
    struct wa_progress *p = &t->progress;
    const struct wa_batch *batch = NULL;
    wa_status status = wa_loader_next(t->loader, &batch, t->err);
    /* The last batch of an epoch is the one whose angles are told. */
    if (t->logs_angles &&
        (p->step_in_epoch + 1 == t->steps_per_epoch || p->step + 1 == t->step_limit)) {
        wa_session_observe_next(t->setup.session);
    }
    if (status == WA_OK) {
        status = wa_session_train(t->setup.session, batch, p->step + 1, t->err);
    }
    if (status == WA_OK) {
        p->step++;
        p->step_in_epoch++;
    }
    return status;
}

/* Behind the last batch that this epoch trains. */
static uint64_t last_batch(const struct trainer *t)
{
    const struct wa_progress *p = &t->progress;
    uint64_t left = is_at_limit(t) ? 0 : t->steps_per_epoch - p->step_in_epoch;
    if (left > 0 && t->step_limit && t->step_limit - p->step < left) {
        left = t->step_limit - p->step;
    }
    return p->step_in_epoch + left;
}

static wa_status train_epoch(struct trainer *t)
{
    struct wa_progress *p = &t->progress;
    wa_status status = WA_OK;
    uint64_t pending = 0;
    wa_loader_start(t->loader, WA_SET_TRAIN, p->step_in_epoch, last_batch(t));
    while (status == WA_OK && p->step_in_epoch < t->steps_per_epoch && !is_at_limit(t)) {
        if (must_stop(t)) {
            break;
        }
        status = train_step(t);
        pending++;
        bool is_due =
            pending == WA_SESSION_SLOTS || wa_progress_now() - t->collected_at > collect_seconds;
        if (status == WA_OK && is_due) {
            status = collect_steps(t);
            pending = 0;
            wa_progress_step(&t->bar, p->epoch + 1, p->step_in_epoch, p->step,
                             p->loss_sum / (double)p->step_in_epoch,
                             mean_accuracy(t, p->correct_sum, p->step_in_epoch));
        }
    }
    wa_loader_stop(t->loader);
    return status == WA_OK ? collect_steps(t) : status;
}

/* Mean loss and accuracy of a set's batches; nothing where there are none, or at a stop on the way. */
static wa_status evaluate_set(struct trainer *t, enum wa_set set, const char *loss_key,
                              const char *accuracy_key, json_object *line)
{
    struct wa_session *session = t->setup.session;
    uint64_t batches = wa_batches_count(&t->setup.batches, set);
    double loss = 0;
    double correct = 0;
    wa_status status = WA_OK;
    wa_loader_start(t->loader, set, 0, batches);
    for (uint64_t i = 0; i < batches && status == WA_OK && !t->is_interrupted;) {
        uint64_t end = i + WA_SESSION_SLOTS < batches ? i + WA_SESSION_SLOTS : batches;
        for (; i < end && status == WA_OK && !must_stop(t); i++) {
            const struct wa_batch *batch = NULL;
            status = wa_loader_next(t->loader, &batch, t->err);
            if (status == WA_OK) {
                status = wa_session_evaluate(session, batch, t->err);
            }
        }
        size_t count = 0;
        if (status == WA_OK) {
            status = wa_session_collect(session, t->results, &count, t->err);
        }
        for (size_t k = 0; k < count && status == WA_OK; k++) {
            loss += (double)t->results[k].loss;
            correct += weighed_correct(t, &t->results[k]);
        }
    }
    wa_loader_stop(t->loader);
    if (status == WA_OK && batches > 0 && !t->is_interrupted) {
        (void)json_object_object_add(line, loss_key, wa_record_number(loss / (double)batches));
        add_accuracy(t, line, accuracy_key, correct, batches);
        if (!isfinite(loss)) {
            status = diverged(t, t->progress.step);
        }
    }
    return status;
}

static bool is_evaluated(const struct trainer *t, const char *name)
{
    const json_object *wanted = wa_config_get(t->setup.config, "evaluate");
    for (size_t i = 0; i < json_object_array_length(wanted); i++) {
        if (strcmp(json_object_get_string(json_object_array_get_idx(wanted, i)), name) == 0) {
            return true;
        }
    }
    return false;
}

static wa_status evaluate(struct trainer *t, json_object *line)
{
    static const struct {
        const char *name, *loss, *accuracy;
        enum wa_set set;
    } sets[] = {
        {"validation", "validation_loss", "validation_accuracy", WA_SET_VALIDATION},
        {"test", "test_loss", "test_accuracy", WA_SET_TEST},
        {"train", "train_eval_loss", "train_eval_accuracy", WA_SET_TRAIN_EVALUATION},
    };
    wa_status status = WA_OK;
    for (size_t s = 0; s < sizeof sets / sizeof *sets && status == WA_OK && !t->is_interrupted;
         s++) {
        if (is_evaluated(t, sets[s].name)) {
            status = evaluate_set(t, sets[s].set, sets[s].loss, sets[s].accuracy, line);
        }
    }
    return status;
}

/* Angles after the epoch's last step. Where that was in the process before a resume, the checkpoint has
 * those between the updates. */
static wa_status measure_angles(struct trainer *t, struct wa_session_angles *ret_angles)
{
    const struct wa_model *model = wa_session_model(t->setup.session);
    struct wa_progress *p = &t->progress;
    if (!t->logs_angles) {
        return WA_OK;
    }
    wa_status status = wa_session_measure_angles(t->setup.session, ret_angles, t->err);
    for (uint32_t l = 0; l < model->layer_count && status == WA_OK; l++) {
        if (p->angle_count > 0) {
            ret_angles[l].update = p->angles[l];
        } else {
            p->angles[l] = ret_angles[l].update;
        }
    }
    p->angle_count = model->layer_count;
    return status;
}

/* "angle_update.<layer>" and "angle_feedback.<layer>", degrees; null where an angle has no value. */
static void add_angles(const struct trainer *t, const struct wa_session_angles *angles,
                       json_object *line)
{
    const struct wa_model *model = wa_session_model(t->setup.session);
    for (uint32_t l = 0; l < model->layer_count && t->logs_angles; l++) {
        char key[64];
        if (angles[l].has_update) {
            (void)snprintf(key, sizeof key, "angle_update.%s", model->layers[l].name);
            (void)json_object_object_add(line, key, wa_record_number(angles[l].update));
        }
        if (angles[l].has_feedback) {
            (void)snprintf(key, sizeof key, "angle_feedback.%s", model->layers[l].name);
            (void)json_object_object_add(line, key, wa_record_number(angles[l].feedback));
        }
    }
}

static void write_summary(const json_object *line, char *text, size_t size)
{
    static const char *const keys[] = {"validation_accuracy", "test_accuracy"};
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_object *value = NULL;
        if (json_object_object_get_ex(line, keys[i], &value)) {
            int n = snprintf(text + used, size - used, "  %.*s %.2f %%", (int)strcspn(keys[i], "_"),
                             keys[i], 100.0 * json_object_get_double(value));
            used += n > 0 ? (size_t)n : 0;
        }
    }
}

/* The line of metrics.jsonl, as far as training goes. */
static json_object *describe_epoch(const struct trainer *t)
{
    const struct wa_progress *p = &t->progress;
    json_object *line = json_object_new_object();
    if (!line) {
        return NULL;
    }
    double loss = p->loss_sum / (double)p->step_in_epoch;
    (void)json_object_object_add(line, "epoch", json_object_new_int64((int64_t)p->epoch + 1));
    (void)json_object_object_add(line, "step", json_object_new_int64((int64_t)p->step));
    (void)json_object_object_add(line, "train_loss", wa_record_number(loss));
    add_accuracy(t, line, "train_accuracy", p->correct_sum, p->step_in_epoch);
    return line;
}

/* The line goes to metrics.jsonl, what people want of it to them. */
static wa_status write_epoch(struct trainer *t, json_object *line)
{
    const struct wa_progress *p = &t->progress;
    double seconds = wa_progress_now() - t->epoch_started_at;
    (void)json_object_object_add(line, "seconds", wa_record_number(round(seconds * 1e4) / 1e4));
    wa_status status = wa_record_append_metrics(t->record, line, t->err);
    char summary[128];
    write_summary(line, summary, sizeof summary);
    wa_progress_epoch(&t->bar, p->epoch + 1, p->step, p->loss_sum / (double)p->step_in_epoch,
                      mean_accuracy(t, p->correct_sum, p->step_in_epoch), summary, seconds);
    return status;
}

/* Evaluates, and reports. A stop in the evaluation leaves no line: a resume evaluates anew. */
static wa_status report_epoch(struct trainer *t)
{
    uint32_t layers = wa_session_model(t->setup.session)->layer_count;
    struct wa_session_angles *angles = calloc(layers, sizeof *angles);
    json_object *line = describe_epoch(t);
    wa_status status =
        angles && line ? measure_angles(t, angles) : wa_fail(t->err, WA_E_MEMORY, "out of memory");
    if (status == WA_OK) {
        status = evaluate(t, line);
    }
    if (status == WA_OK && !t->is_interrupted) {
        add_angles(t, angles, line);
        status = write_epoch(t, line);
    }
    (void)json_object_put(line);
    free(angles);
    return status;
}

/* ---- Checkpoints ---------------------------------------------------------------------------- */

static wa_status write_checkpoint(struct trainer *t, char *path)
{
    wa_status status =
        path ? wa_record_sync(t->record, t->err) : wa_fail(t->err, WA_E_MEMORY, "out of memory");
    if (status == WA_OK) {
        status = wa_checkpoint_write(path, t->setup.session, &t->progress, t->err);
    }
    free(path);
    return status;
}

static wa_status write_last(struct trainer *t)
{
    return write_checkpoint(t, wa_record_last_checkpoint_path(wa_record_directory(t->record)));
}

static wa_status write_epoch_checkpoints(struct trainer *t)
{
    struct wa_progress *p = &t->progress;
    uint64_t keep = (uint64_t)wa_config_get_integer(t->setup.config, "keep_every");
    uint64_t every = (uint64_t)wa_config_get_integer(t->setup.config, "checkpoint_every");
    wa_status status = WA_OK;
    if (keep && p->epoch % keep == 0) {
        status = write_checkpoint(
            t, wa_record_checkpoint_path(wa_record_directory(t->record), p->epoch));
    }
    if (status == WA_OK && (p->is_finished || p->epoch % every == 0)) {
        status = write_last(t);
    }
    return status;
}

/* ---- The run -------------------------------------------------------------------------------- */

static wa_status interrupted(struct trainer *t)
{
    wa_status status = write_last(t);
    if (status != WA_OK) {
        return status;
    }
    return wa_fail(
        t->err, WA_E_INTERRUPTED,
        "stopped after step %llu; a checkpoint is written: go on with the same command and "
        "--resume (run directory %s)",
        (unsigned long long)t->progress.step, wa_record_directory(t->record));
}

static wa_status run_epochs(struct trainer *t)
{
    struct wa_progress *p = &t->progress;
    struct wa_batches *batches = &t->setup.batches;
    wa_status status = WA_OK;
    wa_progress_start(&t->bar, p->step);
    t->collected_at = wa_progress_now();
    while (status == WA_OK && !p->is_finished) {
        t->epoch_started_at = wa_progress_now();
        p->rng = batches->rng;
        batches->epoch = p->epoch;
        wa_batches_begin_epoch(batches);
        status = train_epoch(t);
        if (status == WA_OK && !t->is_interrupted) {
            status = report_epoch(t);
        }
        if (status == WA_OK && t->is_interrupted) {
            return interrupted(t);
        }
        if (status != WA_OK) {
            break;
        }
        /* A run that stops inside an epoch stays there: nothing of it is run twice. */
        p->is_finished = p->epoch + 1 >= t->epochs || is_at_limit(t);
        p->epoch++;
        p->step_in_epoch = 0;
        p->loss_sum = p->correct_sum = 0;
        p->angle_count = 0;
        p->rng = batches->rng;
        status = write_epoch_checkpoints(t);
        if (status == WA_OK && is_stopped(t) && !p->is_finished) {
            return interrupted(t);
        }
    }
    return status;
}

/* Takes up the run in the directory, if there is a checkpoint; else it starts at the beginning. */
static wa_status resume(struct trainer *t)
{
    char *path = wa_record_last_checkpoint_path(wa_record_directory(t->record));
    if (!path) {
        return wa_fail(t->err, WA_E_MEMORY, "out of memory");
    }
    wa_status status = WA_OK;
    if (wa_file_exists(path)) {
        status = wa_checkpoint_read(path, t->setup.session, &t->progress, t->err);
        int64_t last = wa_record_last_epoch(t->record);
        if (status == WA_OK && t->progress.epoch > 0 && (int64_t)t->progress.epoch > last) {
            status = wa_fail(t->err, WA_E_DATA,
                             "%s is of epoch %llu, but metrics.jsonl ends before it: lines were "
                             "removed; restore them or start anew with --out",
                             path, (unsigned long long)t->progress.epoch);
        }
        /* The end of a run may have been moved since, either way. */
        t->progress.is_finished =
            (t->progress.is_finished && is_at_limit(t)) ||
            (t->progress.step_in_epoch == 0 && t->progress.epoch >= t->epochs);
        t->setup.batches.rng = t->progress.rng;
    }
    free(path);
    return status;
}

static wa_status open_record(struct trainer *t)
{
    const struct wa_trainer_request *request = t->request;
    char *directory = request->directory ? strdup(request->directory)
                                         : wa_run_description_directory(&request->setup);
    if (!directory) {
        return wa_fail(t->err, WA_E_MEMORY, "out of memory");
    }
    wa_status status = wa_record_open(directory, request->resume, &t->record, t->err);
    free(directory);
    return status;
}

/* The config of the run must be this one; a run that goes on keeps its description true. */
static wa_status resume_described(struct trainer *t)
{
    json_object *run = NULL;
    bool is_changed = false;
    wa_status status = wa_record_read_run(wa_record_directory(t->record), &run, t->err);
    if (status == WA_OK) {
        status = wa_run_description_check(run, &t->setup, t->err);
    }
    if (status == WA_OK) {
        status = resume(t);
    }
    if (status == WA_OK && !t->progress.is_finished) {
        status = wa_run_description_resume(run, &t->setup, &is_changed, t->err);
    }
    if (status == WA_OK && is_changed) {
        status = wa_record_write_run(t->record, run, t->err);
    }
    (void)json_object_put(run);
    return status;
}

/* A new run gets its run.json and first checkpoint. */
static wa_status start_or_resume(struct trainer *t)
{
    const char *directory = wa_record_directory(t->record);
    char *path = wa_file_join(directory, "run.json");
    bool exists = path && wa_file_exists(path);
    free(path);
    if (exists) {
        return resume_described(t);
    }
    json_object *run = NULL;
    wa_status status = wa_run_description_make(&t->setup, &run, t->err);
    if (status == WA_OK) {
        t->progress.rng = t->setup.batches.rng;
        status = write_checkpoint(t, wa_record_checkpoint_path(directory, 0));
    }
    if (status == WA_OK) {
        status = wa_record_write_run(t->record, run, t->err);
    }
    (void)json_object_put(run);
    return status;
}

/* A set that is not empty but too small for a batch would be skipped without a word. */
static void warn_of_small_sets(const struct trainer *t)
{
    const struct wa_batches *b = &t->setup.batches;
    const struct {
        const char *name;
        uint64_t items;
    } sets[] = {{"validation", b->validation_items}, {"test", b->test_items}};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (sets[i].items > 0 && sets[i].items < (uint64_t)b->batch &&
            !b->info.trains_smaller_last_batch && is_evaluated(t, sets[i].name)) {
            wa_log(WA_LOG_WARNING, "the %s set of %llu items holds no whole batch of %d, ignoring",
                   sets[i].name, (unsigned long long)sets[i].items, b->batch);
        }
    }
}

/* Nor is a size that holds out nothing taken without a word. */
static void warn_of_ignored_validation(const struct trainer *t)
{
    const struct wa_batches *b = &t->setup.batches;
    const char *path = "dataset.validation";
    int64_t wanted = wa_config_is_given(t->setup.config, path)
                         ? wa_config_get_integer(t->setup.config, path)
                         : 0;
    if (wanted > 0 && b->info.validation_items > 0) {
        wa_log(WA_LOG_WARNING,
               "%s is %lld, but this dataset has a validation set of its own, of %llu items, "
               "ignoring",
               path, (long long)wanted, (unsigned long long)b->info.validation_items);
    }
}

static wa_status prepare(struct trainer *t)
{
    const struct wa_config *config = t->setup.config;
    struct wa_batches *b = &t->setup.batches;
    t->epochs = (uint64_t)wa_config_get_integer(config, "epochs");
    t->step_limit = (uint64_t)wa_config_get_integer(config, "steps");
    t->steps_per_epoch = wa_batches_count(b, WA_SET_TRAIN);
    t->logs_angles = wa_config_get_boolean(config, "log_angles");
    t->logs_steps = wa_config_get_boolean(config, "log_steps");
    warn_of_small_sets(t);
    warn_of_ignored_validation(t);
    uint64_t total = t->epochs * t->steps_per_epoch;
    t->bar = (struct wa_progress_bar){
        .is_quiet = t->request->quiet,
        .epochs = t->epochs,
        .steps_per_epoch = t->steps_per_epoch,
        .total_steps = t->step_limit && t->step_limit < total ? t->step_limit : total,
        .batch = (uint64_t)b->batch,
        .items = b->info.target == WA_TARGET_VALUES ? "items" : "images"};
    unsigned threads = 1;
    wa_status status = wa_loader_threads(&threads, t->err);
    return status == WA_OK ? wa_loader_create(b, threads, &t->loader, t->err) : status;
}

/* By now something is computed and written: a fault of the data is bad usage no more. */
static wa_status fail_while_running(struct trainer *t, wa_status status)
{
    if (wa_status_exit_code(status) != wa_status_exit_code(WA_E_USAGE)) {
        return status;
    }
    t->err->status = WA_E_FAILED;
    return WA_E_FAILED;
}

static wa_status run(struct trainer *t)
{
    wa_status status = wa_setup_config(&t->setup, &t->request->setup, t->err);
    if (status == WA_OK) {
        status = wa_setup_run(&t->setup, &t->request->setup, t->err);
    }
    if (status == WA_OK) {
        status = prepare(t);
    }
    if (status == WA_OK) {
        status = open_record(t);
    }
    if (status == WA_OK) {
        status = start_or_resume(t);
    }
    if (status != WA_OK) {
        return status;
    }
    const struct wa_device *device = t->setup.device;
    if (!t->request->quiet) {
        wa_log(WA_LOG_INFO, "%s on device %zu, %s (%s); results in %s",
               t->setup.plugins[WA_SECTION_RULE]->plugin.id, device->index, device->info.name,
               device->info.platform_name, wa_record_directory(t->record));
        if (t->progress.is_finished) {
            wa_log(WA_LOG_INFO, "this run is finished: nothing to do");
        } else if (t->progress.step > 0) {
            wa_log(WA_LOG_INFO, "resumed after step %llu", (unsigned long long)t->progress.step);
        }
    }
    bool was_finished = t->progress.is_finished;
    status = run_epochs(t);
    wa_progress_end(&t->bar);
    if (status == WA_OK && t->setup.batches.info.has_chance_output) {
        status = wa_summary_write(wa_record_directory(t->record), &t->setup.batches,
                                  t->request->quiet || was_finished, t->err);
    }
    return fail_while_running(t, status);
}

/* A signal also ends processes and removes files that the device's compiler works with, so that what failed
 * then has failed by the signal. */
static wa_status tell_interruption(struct trainer *t, wa_status status)
{
    if (status != WA_E_DEVICE || !is_stopped(t)) {
        return status;
    }
    wa_log(WA_LOG_DEBUG, "stopped: %s", t->err->message);
    *t->err = (struct wa_error){.status = WA_OK};
    return t->record ? wa_fail(t->err, WA_E_INTERRUPTED,
                               "stopped while kernels were built: go on with the same command and "
                               "--resume (run directory %s)",
                               wa_record_directory(t->record))
                     : wa_fail(t->err, WA_E_INTERRUPTED,
                               "stopped while kernels were built; nothing was written");
}

wa_status wa_trainer_run(const struct wa_trainer_request *request, struct wa_error *err)
{
    struct trainer *t = calloc(1, sizeof *t);
    if (!t) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    t->request = request;
    t->err = err;
    wa_status status = tell_interruption(t, run(t));
    wa_record_close(t->record);
    wa_loader_destroy(t->loader);
    wa_setup_finish(&t->setup);
    free(t);
    return status;
}
