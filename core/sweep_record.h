/* The directory of a sweep: sweep.json (its runs and their configs), sweep.jsonl (a line for each
 * run that ended), sweep.lock, and a folder for each run. */
#ifndef WALIGN_CORE_SWEEP_RECORD_H
#define WALIGN_CORE_SWEEP_RECORD_H

#include "files.h"
#include "sweep_estimate.h"

struct json_object;

/* A run as it is started. */
struct wa_sweep_job {
    const char *name;  /* of its folder, the sweep's */
    char *config;      /* canonical JSON, with the defaults of core and plugins */
    struct wa_sweep_cost cost;
    bool is_settled;   /* nothing is left to do: it is done, or diverged, which it would again */
    bool has_diverged; /* it is settled that way */
};

struct wa_sweep_record {
    char *directory;
    char *lock_path;
    int lock_fd; /* -1: not open */
    struct wa_line_writer lines;
};

/* Makes the directory where it is missing, locks it and writes sweep.json. A directory that holds a
 * sweep is refused without `resume`; with it, the runs must be those of `jobs`, their is_settled is
 * filled in, and sweep.jsonl keeps the lines of these alone. WA_E_USAGE: the directory is in use,
 * cannot be written, or holds another sweep or a single run. Close with wa_sweep_record_close, also after a failure. */
WA_MUST_CHECK wa_status wa_sweep_record_open(struct wa_sweep_record *record, const char *directory,
                                             const char *config_file, struct wa_sweep_job *jobs,
                                             size_t count, bool resume, struct wa_error *err);
void wa_sweep_record_close(struct wa_sweep_record *record);

/* Appends a line to sweep.jsonl, in one write. */
WA_MUST_CHECK wa_status wa_sweep_record_append(struct wa_sweep_record *record,
                                               struct json_object *line, struct wa_error *err);

/* The last whole line of a run's metrics.jsonl, the caller's to put; NULL if there is none. */
struct json_object *wa_sweep_record_last_metrics(const char *run_directory);

#endif
