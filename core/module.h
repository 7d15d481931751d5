/* One plugin file: opens the shared object, checks that this walign can serve it and copies its
 * descriptors. Knows nothing of folders, search order or other files (registry.h does).
 *
 * Nothing of the plugin is called: the file exports one constant, which is read with care. What is
 * wrong is refused with a message "<file>: ..." that states both sides' versions or sizes. */
#ifndef WALIGN_CORE_MODULE_H
#define WALIGN_CORE_MODULE_H

#include "status.h"

/* A plugin's descriptor and ops, copied: what the file's older, smaller struct does not have reads
 * as zero. Strings are those of the file and live until the module is closed. */
struct wa_plugin_record {
    wa_plugin plugin; /* its ops pointer points into `ops` below */
    union {
        wa_rule_ops rule;
        wa_architecture_ops architecture;
        wa_dataset_ops dataset;
        wa_optimizer_ops optimizer;
    } ops;
    const char *path; /* the file */
};

struct wa_module {
    char *path;
    void *handle;
    size_t record_count;
    struct wa_plugin_record *records;
};

/* Opens `path` and checks everything in it: a file is taken whole or refused whole. The caller
 * closes *ret_module. Fails with WA_E_PLUGIN (refused) or WA_E_MEMORY. */
WA_MUST_CHECK wa_status wa_module_open(const char *path, struct wa_module **ret_module,
                                       struct wa_error *err);

/* Unloads the file; takes NULL. No record and no string of it may be used any more. */
void wa_module_close(struct wa_module *module);

/* "rule", "architecture", "dataset" or "optimizer"; NULL for another value. */
const char *wa_module_kind_name(wa_kind kind);

#endif
