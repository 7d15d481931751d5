/* Search folders, the accepted plugins in search order, and the refusals. */
#include "registry.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config.h"
#include "files.h"
#include "log.h"

#ifndef WA_PLUGIN_DIR
#error "define WA_PLUGIN_DIR as the folder where plugins are installed, e.g. \"/usr/lib/walign\""
#endif

/* A module and the search folder that it came from. */
struct source {
    struct wa_module *module;
    size_t folder;
};

/* A plugin that can be used; what is hidden by another has none. */
struct entry {
    const struct wa_plugin_record *record;
    size_t folder;
};

struct folder {
    char *path;
    dev_t device;
    ino_t inode;
};

struct wa_registry {
    size_t source_count, entry_count, refusal_count, folder_count;
    struct source *sources;
    struct entry *entries;
    struct wa_refusal *refusals;
    struct folder *folders;
};

static wa_status no_memory(struct wa_error *err)
{
    return wa_fail(err, WA_E_MEMORY, "out of memory while plugins are loaded");
}

/* Room for one more element; the array itself stays with the caller when memory runs out. */
static void *grown(void *array, size_t count, size_t element_bytes)
{
    size_t bytes = 0;
    return wa_mul_size(count + 1, element_bytes, &bytes) ? realloc(array, bytes) : NULL;
}

wa_status wa_registry_create(struct wa_registry **ret_registry, struct wa_error *err)
{
    struct wa_registry *registry = calloc(1, sizeof *registry);
    if (!registry) {
        return no_memory(err);
    }
    *ret_registry = registry;
    return WA_OK;
}

void wa_registry_destroy(struct wa_registry *registry)
{
    if (!registry) {
        return;
    }
    for (size_t i = 0; i < registry->source_count; i++) {
        wa_module_close(registry->sources[i].module);
    }
    for (size_t i = 0; i < registry->refusal_count; i++) {
        free(registry->refusals[i].path);
        free(registry->refusals[i].message);
    }
    for (size_t i = 0; i < registry->folder_count; i++) {
        free(registry->folders[i].path);
    }
    free(registry->sources);
    free(registry->entries);
    free(registry->refusals);
    free(registry->folders);
    free(registry);
}

/* ---- Modules -------------------------------------------------------------------------------- */

static wa_status add_refusal(struct wa_registry *registry, const char *path, const char *message,
                             struct wa_error *err)
{
    struct wa_refusal *refusals =
        grown(registry->refusals, registry->refusal_count, sizeof *refusals);
    if (!refusals) {
        return no_memory(err);
    }
    registry->refusals = refusals;
    struct wa_refusal refusal = {.path = strdup(path), .message = strdup(message)};
    if (!refusal.path || !refusal.message) {
        free(refusal.path);
        free(refusal.message);
        return no_memory(err);
    }
    refusals[registry->refusal_count++] = refusal;
    return WA_OK;
}

static const struct entry *look_up(const struct wa_registry *registry, wa_kind kind, const char *id)
{
    for (size_t i = 0; i < registry->entry_count; i++) {
        const wa_plugin *plugin = &registry->entries[i].record->plugin;
        if (plugin->kind == kind && strcmp(plugin->id, id) == 0) {
            return &registry->entries[i];
        }
    }
    return NULL;
}

static wa_status check_ids_are_new(const struct wa_registry *registry,
                                   const struct wa_module *module, size_t folder,
                                   struct wa_error *err)
{
    for (size_t i = 0; i < module->record_count; i++) {
        const wa_plugin *plugin = &module->records[i].plugin;
        const struct entry *earlier = look_up(registry, plugin->kind, plugin->id);
        if (earlier && earlier->folder == folder) {
            return wa_fail(
                err, WA_E_PLUGIN,
                "%s: %s '%s' is already provided by %s, of the same search folder; remove "
                "one of the files or give the plugin another id",
                module->path, wa_module_kind_name(plugin->kind), plugin->id, earlier->record->path);
        }
    }
    return WA_OK;
}

/* Adds what is not hidden; *ret_used tells whether anything was. Ids are known to be new. */
static wa_status add_entries(struct wa_registry *registry, const struct wa_module *module,
                             size_t folder, bool *ret_used, struct wa_error *err)
{
    bool is_used = false;
    for (size_t i = 0; i < module->record_count; i++) {
        const struct wa_plugin_record *record = &module->records[i];
        const struct entry *earlier = look_up(registry, record->plugin.kind, record->plugin.id);
        if (earlier) {
            wa_log(WA_LOG_DEBUG,
                   "%s: %s '%s' is hidden by %s, which comes first in the search path",
                   module->path, wa_module_kind_name(record->plugin.kind), record->plugin.id,
                   earlier->record->path);
            continue;
        }
        struct entry *entries = grown(registry->entries, registry->entry_count, sizeof *entries);
        if (!entries) {
            return no_memory(err);
        }
        registry->entries = entries;
        entries[registry->entry_count++] = (struct entry){.record = record, .folder = folder};
        is_used = true;
    }
    *ret_used = is_used;
    return WA_OK;
}

/* Opens a file of the search folder with that index and takes it or fails. */
static wa_status add_module(struct wa_registry *registry, const char *path, size_t folder,
                            struct wa_error *err)
{
    struct source *sources = grown(registry->sources, registry->source_count, sizeof *sources);
    if (!sources) {
        return no_memory(err);
    }
    registry->sources = sources;
    struct wa_module *module = NULL;
    wa_status status = wa_module_open(path, &module, err);
    if (status != WA_OK) {
        return status;
    }
    size_t old_entry_count = registry->entry_count;
    bool is_used = false;
    status = check_ids_are_new(registry, module, folder, err);
    if (status == WA_OK) {
        status = add_entries(registry, module, folder, &is_used, err);
    }
    if (status != WA_OK || !is_used) {
        registry->entry_count = old_entry_count;
        wa_module_close(module);
        return status;
    }
    sources[registry->source_count++] = (struct source){.module = module, .folder = folder};
    return WA_OK;
}

/* ---- Folders -------------------------------------------------------------------------------- */

struct name_list {
    char **names;
    size_t count;
};

static void free_names(struct name_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->names[i]);
    }
    free(list->names);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool append_name(struct name_list *list, const char *name)
{
    char **names = grown(list->names, list->count, sizeof *names);
    if (!names) {
        return false;
    }
    list->names = names;
    names[list->count] = strdup(name);
    return names[list->count] && ++list->count > 0;
}

/* The names in a folder, sorted, without those that start with a dot. `list` starts empty and is
 * the caller's to free, also on failure. Returns 0 or an errno value. */
static int list_folder(const char *path, struct name_list *list)
{
    DIR *folder = opendir(path);
    if (!folder) {
        return errno;
    }
    int error = 0;
    for (;;) {
        errno = 0;
        const struct dirent *item = readdir(folder);
        if (!item) {
            error = errno;
            break;
        }
        if (item->d_name[0] != '.' && !append_name(list, item->d_name)) {
            error = ENOMEM;
            break;
        }
    }
    (void)closedir(folder);
    if (list->count > 0) {
        qsort(list->names, list->count, sizeof *list->names, compare_names);
    }
    return error;
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool ends_in_so(const char *name)
{
    size_t length = strlen(name);
    return length > 3 && strcmp(name + length - 3, ".so") == 0;
}

/* A file that is refused is noted, so that the others still load. */
static wa_status take_file(struct wa_registry *registry, const char *path, size_t folder,
                           struct wa_error *err)
{
    struct wa_error cause = {.status = WA_OK};
    wa_status status = add_module(registry, path, folder, &cause);
    if (status == WA_E_PLUGIN) {
        return add_refusal(registry, path, cause.message, err);
    }
    return status == WA_OK ? WA_OK : wa_fail(err, status, "%s", cause.message);
}

static wa_status take_files(struct wa_registry *registry, const char *path,
                            const struct name_list *list, size_t folder, struct wa_error *err)
{
    wa_status status = WA_OK;
    for (size_t i = 0; i < list->count && status == WA_OK; i++) {
        char *file = wa_file_join(path, list->names[i]);
        if (!file) {
            return no_memory(err);
        }
        if (ends_in_so(file) && !is_folder(file)) {
            status = take_file(registry, file, folder, err);
        }
        free(file);
    }
    return status;
}

static wa_status take_subfolder(struct wa_registry *registry, const char *path, size_t folder,
                                struct wa_error *err)
{
    struct name_list list = {.count = 0};
    wa_status status = WA_OK;
    int error = list_folder(path, &list);
    if (error == ENOMEM) {
        status = no_memory(err);
    } else if (error != 0) {
        char message[WA_MESSAGE_BYTES];
        (void)snprintf(message, sizeof message, "%s: the folder cannot be read: %s", path,
                       strerror(error));
        status = add_refusal(registry, path, message, err);
    } else {
        status = take_files(registry, path, &list, folder, err);
    }
    free_names(&list);
    return status;
}

static wa_status take_subfolders(struct wa_registry *registry, const char *path,
                                 const struct name_list *list, size_t folder, struct wa_error *err)
{
    wa_status status = WA_OK;
    for (size_t i = 0; i < list->count && status == WA_OK; i++) {
        char *subfolder = wa_file_join(path, list->names[i]);
        if (!subfolder) {
            return no_memory(err);
        }
        if (is_folder(subfolder)) {
            status = take_subfolder(registry, subfolder, folder, err);
        }
        free(subfolder);
    }
    return status;
}

/* Notes a search folder; *ret_is_new is false if it was searched under this or another name. */
static wa_status register_folder(struct wa_registry *registry, const char *path,
                                 const struct stat *info, bool *ret_is_new, struct wa_error *err)
{
    for (size_t i = 0; i < registry->folder_count; i++) {
        const struct folder *earlier = &registry->folders[i];
        if (earlier->device == info->st_dev && earlier->inode == info->st_ino) {
            wa_log(WA_LOG_DEBUG, "%s: was searched for plugins already, as %s", path,
                   earlier->path);
            *ret_is_new = false;
            return WA_OK;
        }
    }
    struct folder *folders = grown(registry->folders, registry->folder_count, sizeof *folders);
    char *copy = strdup(path);
    registry->folders = folders ? folders : registry->folders;
    if (!folders || !copy) {
        free(copy);
        return no_memory(err);
    }
    folders[registry->folder_count++] =
        (struct folder){.path = copy, .device = info->st_dev, .inode = info->st_ino};
    *ret_is_new = true;
    return WA_OK;
}

wa_status wa_registry_add_folder(struct wa_registry *registry, const char *folder,
                                 struct wa_error *err)
{
    struct stat info;
    int error = stat(folder, &info) != 0 ? errno : S_ISDIR(info.st_mode) ? 0 : ENOTDIR;
    struct name_list list = {.count = 0};
    if (error == 0) {
        error = list_folder(folder, &list);
    }
    wa_status status = WA_OK;
    bool is_new = false;
    if (error == ENOMEM) {
        status = no_memory(err);
    } else if (error != 0) {
        status = wa_fail(err, WA_E_USAGE,
                         "%s: the plugin folder cannot be read: %s; correct --plugin-path or "
                         "$WALIGN_PLUGIN_PATH",
                         folder, strerror(error));
    } else {
        status = register_folder(registry, folder, &info, &is_new, err);
    }
    if (status == WA_OK && is_new) {
        size_t index = registry->folder_count - 1;
        status = take_files(registry, folder, &list, index, err);
        if (status == WA_OK) {
            status = take_subfolders(registry, folder, &list, index, err);
        }
    }
    free_names(&list);
    return status;
}

wa_status wa_registry_add_file(struct wa_registry *registry, const char *path, struct wa_error *err)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return wa_fail(err, WA_E_USAGE, "%s: the plugin file cannot be read: %s", path,
                       strerror(errno));
    }
    bool is_new = false;
    wa_status status = register_folder(registry, path, &info, &is_new, err);
    if (status != WA_OK || !is_new) {
        return status;
    }
    return add_module(registry, path, registry->folder_count - 1, err);
}

/* ---- The search path ------------------------------------------------------------------------ */

/* Folders separated by colons; empty ones are left out. */
static wa_status add_path_list(struct wa_registry *registry, const char *text, struct wa_error *err)
{
    char *copy = strdup(text);
    if (!copy) {
        return no_memory(err);
    }
    wa_status status = WA_OK;
    for (char *at = copy; at && status == WA_OK;) {
        char *folder = at;
        char *colon = strchr(at, ':');
        if (colon) {
            *colon = '\0';
        }
        at = colon ? colon + 1 : NULL;
        if (folder[0] != '\0') {
            status = wa_registry_add_folder(registry, folder, err);
        }
    }
    free(copy);
    return status;
}

static wa_status add_if_there(struct wa_registry *registry, const char *folder,
                              struct wa_error *err)
{
    return is_folder(folder) ? wa_registry_add_folder(registry, folder, err) : WA_OK;
}

wa_status wa_registry_add_program_folders(struct wa_registry *registry, const char *program_folder,
                                          struct wa_error *err)
{
    char *plugins = wa_file_join(program_folder, "plugins");
    char *datasets = wa_file_join(program_folder, "datasets");
    wa_status status = WA_OK;
    if (!plugins || !datasets) {
        status = no_memory(err);
    } else if (is_folder(plugins)) {
        status = wa_registry_add_folder(registry, plugins, err);
        if (status == WA_OK) {
            status = add_if_there(registry, datasets, err);
        }
    } else {
        status = add_if_there(registry, WA_PLUGIN_DIR, err);
    }
    free(plugins);
    free(datasets);
    return status;
}

wa_status wa_registry_add_default_folders(struct wa_registry *registry,
                                          const char *const *plugin_paths, size_t count,
                                          struct wa_error *err)
{
    for (size_t i = 0; i < count; i++) {
        wa_status status = wa_registry_add_folder(registry, plugin_paths[i], err);
        if (status != WA_OK) {
            return status;
        }
    }
    const char *variable = getenv("WALIGN_PLUGIN_PATH");
    wa_status status = variable ? add_path_list(registry, variable, err) : WA_OK;
    if (status != WA_OK) {
        return status;
    }
    char *folder = wa_file_program_folder();
    status = folder ? wa_registry_add_program_folders(registry, folder, err)
                    : add_if_there(registry, WA_PLUGIN_DIR, err);
    free(folder);
    return status;
}

/* ---- Finding -------------------------------------------------------------------------------- */

size_t wa_registry_count(const struct wa_registry *registry)
{
    return registry->entry_count;
}

const struct wa_plugin_record *wa_registry_at(const struct wa_registry *registry, size_t index)
{
    return registry->entries[index].record;
}

const struct wa_refusal *wa_registry_refusals(const struct wa_registry *registry, size_t *ret_count)
{
    *ret_count = registry->refusal_count;
    return registry->refusals;
}

const struct wa_plugin_record *wa_registry_find_role(const struct wa_registry *registry,
                                                     wa_kind kind, uint64_t role)
{
    for (size_t i = 0; i < registry->entry_count; i++) {
        const struct wa_plugin_record *record = registry->entries[i].record;
        if (record->plugin.kind == kind && (record->plugin.roles & role) == role) {
            return record;
        }
    }
    return NULL;
}

/* Text that grows in a fixed buffer and is cut off at its end. */
struct text {
    size_t length;
    char bytes[WA_MESSAGE_BYTES];
};

static void append(struct text *text, const char *format, ...) WA_PRINTF(2, 3);

static void append(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t room = sizeof text->bytes - text->length;
    int added = vsnprintf(text->bytes + text->length, room, format, arguments);
    va_end(arguments);
    if (added > 0) {
        text->length += (size_t)added < room ? (size_t)added : room - 1;
    }
}

static void append_known(struct text *text, const char *kind_name, const char *id,
                         const char *const *known, size_t count)
{
    const char *nearest = wa_config_suggest(id, known, count);
    if (nearest) {
        append(text, "; did you mean '%s'?", nearest);
    }
    append(text, "%s Known %ss: ", nearest ? "" : ".", kind_name);
    for (size_t i = 0; i < count; i++) {
        append(text, "%s%s", i > 0 ? ", " : "", known[i]);
    }
}

static void append_searched(struct text *text, const struct wa_registry *registry,
                            const char *kind_name)
{
    append(text, ", as no %s was found in ", kind_name);
    for (size_t i = 0; i < registry->folder_count; i++) {
        append(text, "%s%s", i > 0 ? ", " : "", registry->folders[i].path);
    }
    append(text, "%s; name their folder with --plugin-path",
           registry->folder_count == 0 ? "any folder: none was there to search" : "");
}

/* The failure to find `id`, with all that helps to repair it. */
static wa_status fail_unknown(const struct wa_registry *registry, wa_kind kind, const char *id,
                              struct wa_error *err)
{
    const char **known = calloc(registry->entry_count + 1, sizeof *known);
    if (!known) {
        return no_memory(err);
    }
    size_t count = 0;
    for (size_t i = 0; i < registry->entry_count; i++) {
        const wa_plugin *plugin = &registry->entries[i].record->plugin;
        if (plugin->kind == kind) {
            known[count++] = plugin->id;
        }
    }
    const char *kind_name = wa_module_kind_name(kind);
    kind_name = kind_name ? kind_name : "plugin of an unknown kind";
    struct text text = {.length = 0};
    append(&text, "no %s has the id '%s'", kind_name, id);
    if (count > 0) {
        append_known(&text, kind_name, id, known, count);
    } else {
        append_searched(&text, registry, kind_name);
    }
    for (size_t i = 0; i < registry->refusal_count; i++) {
        append(&text, "%s%s", i == 0 ? ". Refused plugin files: " : "; ",
               registry->refusals[i].message);
    }
    free(known);
    return wa_fail(err, WA_E_USAGE, "%s", text.bytes);
}

wa_status wa_registry_find(const struct wa_registry *registry, wa_kind kind, const char *id,
                           const struct wa_plugin_record **ret_record, struct wa_error *err)
{
    const struct entry *entry = look_up(registry, kind, id);
    if (!entry) {
        return fail_unknown(registry, kind, id, err);
    }
    *ret_record = entry->record;
    return WA_OK;
}
