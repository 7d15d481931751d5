/* A sweep: one config, "base", and what varies: each of "runs" (objects of path: value) combined
 * with each point of "grid" (path: array of values). Here it is read, checked and expanded into
 * named runs; placing and running them is sweep_scheduler.h. Needs neither data nor a device. */
#ifndef WALIGN_CORE_SWEEP_H
#define WALIGN_CORE_SWEEP_H

#include "config.h"

/* One axis of the grid. */
struct wa_sweep_axis {
    char path[WA_JSON_PATH_BYTES];
    char key[WA_JSON_PATH_BYTES];  /* its place in the file: grid["architecture.width"] */
    char place[WA_CONFIG_PLACE_BYTES]; /* of a --set that replaced it; "" otherwise */
    struct json_object *values; /* array of at least one value */
};

/* A run: one of "runs" and a point of the grid. */
struct wa_sweep_run {
    char *name;       /* unique in the sweep, fit for a folder */
    size_t index;     /* of the combination, in the order of the file */
};

struct wa_sweep {
    char *file;
    char *text;       /* the file with spaces in place of all but "base": places stay right */
    size_t text_size;
    struct json_object *root;
    struct wa_json_places *places;
    bool is_exclusive;
    struct json_object *entries; /* "runs", or NULL; part of root */
    size_t entry_count;          /* at least 1 */
    struct wa_sweep_axis *axes;
    size_t axis_count;
    struct wa_config_change *sets; /* those of --set that name no axis */
    size_t set_count;
    struct wa_sweep_run *runs;
    size_t run_count;
};

/* Reads a sweep and expands it. A --set on the path of an axis replaces that axis (an array gives
 * its values, anything else is the one value); any other --set holds for all runs, and goes before
 * what "runs" and the grid say of the same value. Runs that --set makes equal are one run. Every
 * run's config is checked against the core schema; faults are WA_E_USAGE with their place. The
 * caller destroys *ret_sweep. */
WA_MUST_CHECK wa_status wa_sweep_read(const char *file, const char *const *sets, size_t set_count,
                                      struct wa_sweep **ret_sweep, struct wa_error *err);
void wa_sweep_destroy(struct wa_sweep *sweep); /* takes NULL */

/* The config of a run, which the caller destroys. */
WA_MUST_CHECK wa_status wa_sweep_config(const struct wa_sweep *sweep, const struct wa_sweep_run *run,
                                        struct wa_config **ret_config, struct wa_error *err);

/* The value that a run takes on an axis; the sweep's own. */
struct json_object *wa_sweep_axis_value(const struct wa_sweep *sweep, size_t index, size_t axis);
/* The member of "runs" that a combination takes; NULL without "runs". */
struct json_object *wa_sweep_entry(const struct wa_sweep *sweep, size_t index);

/* Names the runs after what varies (sweep_names.c). Fails with WA_E_MEMORY. */
WA_MUST_CHECK wa_status wa_sweep_name_runs(struct wa_sweep *sweep, struct wa_error *err);

#endif
