/* The config of `walign score`: from a file, or the defaults that hold for runs, changed by --set. */
#ifndef WALIGN_CORE_SCORE_CONFIG_H
#define WALIGN_CORE_SCORE_CONFIG_H

#include <json-c/json.h>

#include "score_run.h"

struct wa_json_places;
struct wa_config_change;

struct wa_score_config {
    struct wa_score_request request;
    const char *sweep;         /* a sweep's config or directory; NULL for runs */
    struct json_object *where; /* {path: value, ...}, or NULL */

    /* the rest is private to score_config.c */
    const char *file;
    struct json_object *root;
    struct wa_json_places *places;
    struct wa_config_change *changes;
    size_t change_count;
};

/* `file` NULL: the defaults, of which --set may change what a run has too. Faults are WA_E_USAGE and name
 * their place. wa_score_config_finish takes a zeroed struct, and what a failure leaves. */
WA_MUST_CHECK wa_status wa_score_config_init(const char *file, const char *const *sets,
                                             size_t set_count, struct wa_score_config *ret_config,
                                             struct wa_error *err);
void wa_score_config_finish(struct wa_score_config *config);

/* Where a path of the config comes from: "<file>:<line>:<column>" or "--set ...". */
void wa_score_config_place(const void *config, const char *path, char *ret_place, size_t size);

#endif
