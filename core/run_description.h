/* run.json: what a run is made of, so that it can be repeated and told from others. */
#ifndef WALIGN_CORE_RUN_DESCRIPTION_H
#define WALIGN_CORE_RUN_DESCRIPTION_H

#include "setup.h"

/* The object for run.json; the caller puts it. */
WA_MUST_CHECK wa_status wa_run_description_make(const struct wa_setup *setup, json_object **ret_run,
                                                struct wa_error *err);

/* Compares the config in an earlier run.json with this one; WA_E_USAGE with what differs, but for
 * keys that only say how long to run. */
WA_MUST_CHECK wa_status wa_run_description_check(const json_object *run,
                                                 const struct wa_setup *setup,
                                                 struct wa_error *err);

/* Brings an earlier run.json up to what a resume goes on with: the config, and under "resumed_on" a
 * device or driver other than the last one, of which it warns. *ret_is_changed: it is to be written. */
WA_MUST_CHECK wa_status wa_run_description_resume(json_object *run, const struct wa_setup *setup,
                                                  bool *ret_is_changed, struct wa_error *err);

/* "runs/<config name>" with what --set varies; the caller frees it, NULL when out of memory. */
char *wa_run_description_directory(const struct wa_setup_request *request);

#endif
