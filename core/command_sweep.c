/* `walign sweep`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "run_description.h"
#include "sweep.h"
#include "sweep_scheduler.h"

/* ---- Runs ----------------------------------------------------------------------------------- */

struct preparation {
    const struct wa_command_line *line;
    struct wa_sweep *sweep;
    struct wa_registry *registry;
    struct wa_sweep_estimator estimator;
    struct wa_sweep_job *jobs;
    struct wa_error *err;
};

/* Checks a run's options against its plugins. A mere list needs none: of a kind of which no plugin is
 * there, any id is taken. */
static wa_status check_run(struct preparation *p, struct wa_setup *setup)
{
    for (int s = 0; s < WA_SECTION_COUNT; s++) {
        wa_kind kind = wa_setup_section_kind((enum wa_section)s);
        const uint64_t any_role = 0;
        if (p->line->list && !wa_registry_find_role(p->registry, kind, any_role)) {
            continue;
        }
        wa_status status = wa_setup_find_plugin(setup, (enum wa_section)s, p->err);
        if (status != WA_OK) {
            return status;
        }
    }
    return WA_OK;
}

static wa_status prepare_run(struct preparation *p, size_t index)
{
    const struct wa_sweep_run *run = &p->sweep->runs[index];
    struct wa_sweep_job *job = &p->jobs[index];
    struct wa_setup setup = {.registry = p->registry};
    wa_status status = wa_sweep_config(p->sweep, run, &setup.config, p->err);
    if (status == WA_OK) {
        status = check_run(p, &setup);
    }
    job->name = run->name;
    if (status == WA_OK && !p->line->list) {
        status = wa_config_canonical(setup.config, &job->config, p->err);
    }
    if (status == WA_OK && !p->line->list) {
        status = wa_sweep_estimate(&p->estimator, &setup, &job->cost, p->err);
    }
    wa_config_destroy(setup.config);
    return status;
}

static wa_status prepare(struct preparation *p)
{
    const struct wa_setup_request *request = &p->line->setup;
    wa_status status =
        wa_sweep_read(request->config_file, request->sets, request->set_count, &p->sweep, p->err);
    if (status == WA_OK) {
        status = wa_registry_create(&p->registry, p->err);
    }
    if (status == WA_OK) {
        status = wa_registry_add_default_folders(p->registry, request->plugin_paths,
                                                 request->plugin_path_count, p->err);
    }
    if (status == WA_OK) {
        p->jobs = calloc(p->sweep->run_count, sizeof *p->jobs);
        status = p->jobs ? WA_OK : wa_fail(p->err, WA_E_MEMORY, "out of memory");
    }
    for (size_t i = 0; status == WA_OK && i < p->sweep->run_count; i++) {
        status = prepare_run(p, i);
    }
    /* with --resume a sweep that is done needs no data */
    if (status == WA_OK && !p->line->list && !p->line->resume) {
        status = wa_sweep_estimator_check_data(&p->estimator, p->err);
    }
    return status;
}

static void finish(struct preparation *p)
{
    for (size_t i = 0; p->jobs && i < p->sweep->run_count; i++) {
        free(p->jobs[i].config);
    }
    free(p->jobs);
    wa_sweep_estimator_finish(&p->estimator);
    wa_registry_destroy(p->registry);
    wa_sweep_destroy(p->sweep);
}

/* ---- Devices -------------------------------------------------------------------------------- */

/* The devices of "--devices SEL,...", each once; *ret_chosen is the caller's to free. */
static wa_status choose_devices(const char *selectors, const struct wa_device_list *list,
                                size_t **ret_chosen, size_t *ret_count, struct wa_error *err)
{
    size_t *chosen = calloc(list->count + 1, sizeof *chosen);
    char *text = selectors ? strdup(selectors) : NULL;
    size_t count = 0;
    wa_status status =
        chosen && (text || !selectors) ? WA_OK : wa_fail(err, WA_E_MEMORY, "out of memory");
    char *rest = text;
    do {
        char *selector = rest;
        size_t index = 0;
        if (rest) {
            rest = strchr(rest, ',');
            if (rest) {
                *rest++ = '\0';
            }
        }
        if (status == WA_OK && selector && !*selector) {
            status = wa_fail(err, WA_E_USAGE, "--devices %s: expected selectors and commas between",
                             selectors);
        }
        if (status == WA_OK) {
            status = wa_device_choose(list, selector, &index, err);
        }
        bool is_new = true;
        for (size_t i = 0; i < count; i++) {
            is_new = is_new && chosen[i] != index;
        }
        if (status == WA_OK && is_new) {
            chosen[count++] = index;
        }
    } while (rest && status == WA_OK);
    free(text);
    if (status == WA_OK) {
        *ret_chosen = chosen;
        *ret_count = count;
    } else {
        free(chosen);
    }
    return status;
}

static void name_devices(const struct wa_sweep_plan *plan)
{
    for (size_t i = 0; i < plan->chosen_count; i++) {
        const struct wa_device_info *info = &plan->devices->items[plan->chosen[i]];
        (void)fprintf(stderr, "device %zu: %s (%s)\n", plan->chosen[i], info->name,
                      info->platform_name);
    }
}

/* ---- The sweep ------------------------------------------------------------------------------ */

static char *folder_of(const char *file)
{
    const char *slash = strrchr(file, '/');
    size_t length = slash ? (size_t)(slash - file) : 0;
    return slash ? strndup(file, length ? length : 1) : strdup(".");
}

static wa_status conclude(const struct preparation *p, const struct wa_sweep_record *record,
                          struct wa_sweep_outcome *outcome)
{
    for (size_t i = 0; i < p->sweep->run_count; i++) {
        outcome->done += p->jobs[i].is_settled && !p->jobs[i].has_diverged ? 1 : 0;
        outcome->diverged += p->jobs[i].has_diverged ? 1 : 0;
    }
    (void)fprintf(stderr, "%zu runs: %zu done, %zu diverged, %zu failed, %zu left; in %s\n",
                  p->sweep->run_count, outcome->done, outcome->diverged, outcome->failed,
                  outcome->left, record->directory);
    if (outcome->left > 0) {
        return wa_fail(
            p->err, WA_E_INTERRUPTED,
            "stopped with %zu of %zu runs left: go on with the same command and --resume",
            outcome->left, p->sweep->run_count);
    }
    if (outcome->failed > 0) {
        return wa_fail(p->err, WA_E_FAILED,
                       "%zu of %zu runs failed, the first one: %s (see sweep.jsonl and each run's "
                       "train.log in %s)",
                       outcome->failed, p->sweep->run_count, outcome->first_failed,
                       record->directory);
    }
    if (outcome->diverged > 0) {
        return wa_fail(p->err, WA_E_DIVERGED,
                       "%zu of %zu runs diverged, the others are done: see "
                       "sweep.jsonl in %s",
                       outcome->diverged, p->sweep->run_count, record->directory);
    }
    return WA_OK;
}

static wa_status run_sweep(struct preparation *p, struct wa_sweep_plan *plan)
{
    const struct wa_command_line *line = p->line;
    struct wa_sweep_record record = {.lock_fd = -1, .lines = {.fd = -1}};
    struct wa_sweep_outcome outcome = {0};
    char *directory = line->out ? strdup(line->out) : wa_run_description_directory(&line->setup);
    char *folder = folder_of(line->setup.config_file);
    wa_status status = directory && folder ? WA_OK : wa_fail(p->err, WA_E_MEMORY, "out of memory");
    if (status == WA_OK) {
        status = wa_sweep_record_open(&record, directory, p->sweep->file, p->jobs,
                                      p->sweep->run_count, line->resume, p->err);
    }
    if (status == WA_OK) {
        plan->record = &record;
        plan->paths_from = folder;
        name_devices(plan);
        status = wa_sweep_scheduler_run(plan, &outcome, p->err);
    }
    if (status == WA_OK) {
        status = conclude(p, &record, &outcome);
    }
    wa_sweep_record_close(&record);
    free(directory);
    free(folder);
    return status;
}

static wa_status place_and_run(struct preparation *p)
{
    const struct wa_command_line *line = p->line;
    struct wa_device_list devices = {0};
    size_t *chosen = NULL;
    size_t chosen_count = 0;
    wa_status status = wa_device_list_init(&devices, p->err);
    if (status == WA_OK) {
        status = choose_devices(line->devices, &devices, &chosen, &chosen_count, p->err);
    }
    if (status == WA_OK && p->sweep->is_exclusive && chosen_count > 1) {
        status = wa_fail(p->err, WA_E_USAGE,
                         "--devices %s: the sweep is exclusive, its times are of one device: name "
                         "one",
                         line->devices);
    }
    if (status == WA_OK) {
        struct wa_sweep_plan plan = {.jobs = p->jobs,
                                     .job_count = p->sweep->run_count,
                                     .devices = &devices,
                                     .chosen = chosen,
                                     .chosen_count = chosen_count,
                                     .most_at_once = (size_t)line->jobs,
                                     .is_exclusive = p->sweep->is_exclusive,
                                     .plugin_paths = line->setup.plugin_paths,
                                     .plugin_path_count = line->setup.plugin_path_count};
        status = run_sweep(p, &plan);
    }
    free(chosen);
    wa_device_list_finish(&devices);
    return status;
}

wa_status wa_command_sweep(const struct wa_command_line *line, struct wa_error *err)
{
    struct preparation p = {.line = line, .err = err};
    if (!line->list) {
        wa_sweep_scheduler_block_signals();
    }
    wa_status status = prepare(&p);
    if (status == WA_OK && line->list) {
        for (size_t i = 0; i < p.sweep->run_count; i++) {
            (void)printf("%s\n", p.sweep->runs[i].name);
        }
    } else if (status == WA_OK) {
        status = place_and_run(&p);
    }
    finish(&p);
    return status;
}
