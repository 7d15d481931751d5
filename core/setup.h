/* What every command that runs a network needs, from one config: plugins, dataset, device, session. */
#ifndef WALIGN_CORE_SETUP_H
#define WALIGN_CORE_SETUP_H

#include "batches.h"
#include "registry.h"
#include "session.h"
#include "tuning.h"

struct wa_setup_request {
    const char *config_file;
    const char *paths_from;  /* relative paths count from here; NULL: from the config's folder */
    const char *const *sets; /* --set path=value */
    size_t set_count;
    const char *device; /* --device, or NULL */
    bool profile;
    const char *const *plugin_paths;
    size_t plugin_path_count;
};

enum wa_section {
    WA_SECTION_DATASET,
    WA_SECTION_ARCHITECTURE,
    WA_SECTION_RULE,
    WA_SECTION_OPTIMIZER,
    WA_SECTION_COUNT
};

struct wa_setup {
    struct wa_config *config;
    struct wa_registry *registry;
    const struct wa_plugin_record *plugins[WA_SECTION_COUNT];
    json_object *options[WA_SECTION_COUNT];
    char places[WA_SECTION_COUNT][WA_CONFIG_PLACE_BYTES]; /* of the sections, for messages */
    /* Rules found by role for "alignment_pair" and "log_angles", or NULL; their default options. */
    const struct wa_plugin_record *pair_rule, *observer_rule;
    json_object *pair_options, *observer_options;
    struct wa_batches batches;
    struct wa_device_list devices;
    struct wa_device *device;
    struct wa_programs *programs;
    struct wa_engine engine;
    struct wa_tuning tuning; /* of the device, where the config asks for it */
    struct wa_session *session;
};

/* The part that needs neither data nor a device: config read and checked, plugins found, their options
 * checked. Finish with wa_setup_finish, also after a failure; it takes a zeroed struct. */
WA_MUST_CHECK wa_status wa_setup_config(struct wa_setup *setup,
                                        const struct wa_setup_request *request,
                                        struct wa_error *err);

/* The same with a config that was read already: it is the setup's from now on. */
WA_MUST_CHECK wa_status wa_setup_take_config(struct wa_setup *setup, struct wa_config *config,
                                             const struct wa_setup_request *request,
                                             struct wa_error *err);

/* The part of it that finds and checks one section's plugin; config and registry are there. */
WA_MUST_CHECK wa_status wa_setup_find_plugin(struct wa_setup *setup, enum wa_section section,
                                             struct wa_error *err);

/* Then the device, the dataset and the session: the two functions below. */
WA_MUST_CHECK wa_status wa_setup_run(struct wa_setup *setup, const struct wa_setup_request *request,
                                     struct wa_error *err);

WA_MUST_CHECK wa_status wa_setup_open(struct wa_setup *setup,
                                      const struct wa_setup_request *request, struct wa_error *err);
/* Fails before anything is drawn or allocated where the device has too little memory. */
WA_MUST_CHECK wa_status wa_setup_make_session(struct wa_setup *setup, struct wa_error *err);

/* setup_memory.c: device memory that the session for batches of so many items takes, and whether the
 * device has what the config asks for; the message says how much that is and what would fit. */
WA_MUST_CHECK wa_status wa_setup_plan_memory(const struct wa_setup *setup, int batch,
                                             struct wa_memory_plan *ret_plan, struct wa_error *err);
WA_MUST_CHECK wa_status wa_setup_check_memory(const struct wa_setup *setup, struct wa_error *err);

/* For setup_memory.c: the session with its followers for batches of so many items, and what was tuned
 * for them (nothing, unless the config asks for it). */
WA_MUST_CHECK wa_status wa_setup_create_session(const struct wa_setup *setup,
                                                struct wa_engine *engine, int batch,
                                                struct wa_session **ret_session,
                                                struct wa_error *err);
WA_MUST_CHECK wa_status wa_setup_read_tuning(const struct wa_setup *setup, int batch,
                                             struct wa_tuning *ret_tuning, struct wa_error *err);

void wa_setup_finish(struct wa_setup *setup);

/* "dataset", "architecture", "rule", "optimizer": the config's sections. */
const char *wa_setup_section_name(enum wa_section section);
wa_kind wa_setup_section_kind(enum wa_section section);

#endif
