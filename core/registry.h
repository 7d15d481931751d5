/* All plugins that a command can use: searches folders for plugin files, keeps the accepted ones
 * and the reasons why others were refused, and finds plugins by id or by role. Runs no plugin
 * code. */
#ifndef WALIGN_CORE_REGISTRY_H
#define WALIGN_CORE_REGISTRY_H

#include "module.h"

struct wa_registry;

/* A file (or folder) that was not taken. */
struct wa_refusal {
    char *path;
    char *message; /* "<path>: why, and what to do" */
};

/* An empty registry; the caller destroys it. Fails with WA_E_MEMORY. */
WA_MUST_CHECK wa_status wa_registry_create(struct wa_registry **ret_registry, struct wa_error *err);

/* Unloads all plugins; takes NULL. Records and their strings die with the registry, so instances
 * must be gone by then. */
void wa_registry_destroy(struct wa_registry *registry);

/* Takes *.so of `folder`, then of its immediate subfolders, each in sorted order. A file that does
 * not fit becomes a refusal and does not stop the others. An id that an earlier search folder
 * provides hides this folder's; within one folder the later file is refused. A folder that was
 * searched already is left out. Fails with WA_E_USAGE if the folder does not exist or cannot be
 * read. */
WA_MUST_CHECK wa_status wa_registry_add_folder(struct wa_registry *registry, const char *folder,
                                               struct wa_error *err);

/* Takes one file, as a search folder of its own. Fails with WA_E_PLUGIN if it is refused. */
WA_MUST_CHECK wa_status wa_registry_add_file(struct wa_registry *registry, const char *path,
                                             struct wa_error *err);

/* The whole search path: `plugin_paths` (those of --plugin-path), the folders of
 * $WALIGN_PLUGIN_PATH (separated by colons), then wa_registry_add_program_folders of the running
 * program's folder. A folder named by the user must exist: WA_E_USAGE. */
WA_MUST_CHECK wa_status wa_registry_add_default_folders(struct wa_registry *registry,
                                                        const char *const *plugin_paths,
                                                        size_t count, struct wa_error *err);

/* What comes with a program in `program_folder`: in a build tree its "plugins" and "datasets", else
 * the install folder that was set at compile time. None needs to exist. */
WA_MUST_CHECK wa_status wa_registry_add_program_folders(struct wa_registry *registry,
                                                        const char *program_folder,
                                                        struct wa_error *err);

/* The plugin of that kind and id, owned by the registry. Fails with WA_E_USAGE and a message that
 * has the nearest id, the known ones, and what was refused. */
WA_MUST_CHECK wa_status wa_registry_find(const struct wa_registry *registry, wa_kind kind,
                                         const char *id, const struct wa_plugin_record **ret_record,
                                         struct wa_error *err);

/* The first plugin of that kind that declares all bits of `role`, or NULL. */
const struct wa_plugin_record *wa_registry_find_role(const struct wa_registry *registry,
                                                     wa_kind kind, uint64_t role);

/* All plugins, in the order in which they were found; index < count. */
size_t wa_registry_count(const struct wa_registry *registry);
const struct wa_plugin_record *wa_registry_at(const struct wa_registry *registry, size_t index);

/* What was refused, in the order of the search; owned by the registry. */
const struct wa_refusal *wa_registry_refusals(const struct wa_registry *registry,
                                              size_t *ret_count);

#endif
