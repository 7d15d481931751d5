/* One plugin file: ELF sanity, dlopen, negotiation of versions and sizes, copies of the
 * descriptors. Each check states what the file has and what this walign has. */
#include "module.h"

#include <ctype.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "schema.h"

enum { MAX_PLUGINS_OF_A_FILE = 1024, MAX_ID_LENGTH = 64, MAX_REQUIRED_OPS = 3 };

#define END_OF(type, member) (offsetof(type, member) + sizeof(((const type *)NULL)->member))

/* The fields of minor version 0: later ones may be missing. */
#define MIN_TABLE_BYTES END_OF(wa_plugin_table, plugins)
#define MIN_PLUGIN_BYTES END_OF(wa_plugin, optimizer)

/* A required function of an ops table. */
struct op {
    const char *name;
    size_t offset;
};

/* What core must know to check an ops table without knowing what its functions do. A table may end
 * anywhere after the last required op: what follows is optional and reads as NULL. */
struct kind_layout {
    const char *name;
    size_t slot; /* where wa_plugin points to the ops */
    size_t min_bytes, max_bytes;
    struct op required[MAX_REQUIRED_OPS];
};

static const struct kind_layout layouts[] = {
    [WA_KIND_RULE] = {"rule",
                      offsetof(wa_plugin, rule),
                      END_OF(wa_rule_ops, compute_update),
                      sizeof(wa_rule_ops),
                      {{"create", offsetof(wa_rule_ops, create)},
                       {"destroy", offsetof(wa_rule_ops, destroy)},
                       {"compute_update", offsetof(wa_rule_ops, compute_update)}}},
    [WA_KIND_ARCHITECTURE] = {"architecture",
                              offsetof(wa_plugin, architecture),
                              END_OF(wa_architecture_ops, build),
                              sizeof(wa_architecture_ops),
                              {{"build", offsetof(wa_architecture_ops, build)}}},
    [WA_KIND_DATASET] = {"dataset",
                         offsetof(wa_plugin, dataset),
                         END_OF(wa_dataset_ops, read),
                         sizeof(wa_dataset_ops),
                         {{"open", offsetof(wa_dataset_ops, open)},
                          {"close", offsetof(wa_dataset_ops, close)},
                          {"read", offsetof(wa_dataset_ops, read)}}},
    [WA_KIND_OPTIMIZER] = {"optimizer",
                           offsetof(wa_plugin, optimizer),
                           END_OF(wa_optimizer_ops, apply),
                           sizeof(wa_optimizer_ops),
                           {{"create", offsetof(wa_optimizer_ops, create)},
                            {"destroy", offsetof(wa_optimizer_ops, destroy)},
                            {"apply", offsetof(wa_optimizer_ops, apply)}}},
};

enum { LAYOUT_END = sizeof layouts / sizeof layouts[0] };

static const struct kind_layout *layout_of(wa_kind kind)
{
    unsigned value = (unsigned)kind;
    return value > 0 && value < LAYOUT_END ? &layouts[value] : NULL;
}

const char *wa_module_kind_name(wa_kind kind)
{
    const struct kind_layout *layout = layout_of(kind);
    return layout ? layout->name : NULL;
}

/* ---- The file ------------------------------------------------------------------------------- */

/* The dynamic linker dies of SIGBUS on an ELF file that was cut off, so segments are held against
 * the file's size first. Whatever else is wrong dlopen reports itself. */
static wa_status check_segments(FILE *file, uint64_t file_bytes, const char *path,
                                struct wa_error *err)
{
    ElfW(Ehdr) header;
    if (fread(&header, sizeof header, 1, file) != 1 ||
        memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32) ||
        header.e_phentsize != sizeof(ElfW(Phdr)) || header.e_phoff > file_bytes ||
        fseek(file, (long)header.e_phoff, SEEK_SET) != 0) {
        return WA_OK;
    }
    for (unsigned i = 0; i < header.e_phnum; i++) {
        ElfW(Phdr) segment;
        if (fread(&segment, sizeof segment, 1, file) != 1) {
            return wa_fail(err, WA_E_PLUGIN,
                           "%s: is cut off in its header, at %llu bytes; build or copy it again",
                           path, (unsigned long long)file_bytes);
        }
        if (segment.p_type == PT_LOAD &&
            (segment.p_offset > file_bytes || segment.p_filesz > file_bytes - segment.p_offset)) {
            return wa_fail(
                err, WA_E_PLUGIN,
                "%s: is cut off: it has %llu bytes, but a segment of %llu bytes starts at "
                "%llu; build or copy it again",
                path, (unsigned long long)file_bytes, (unsigned long long)segment.p_filesz,
                (unsigned long long)segment.p_offset);
        }
    }
    return WA_OK;
}

static wa_status check_file(const char *path, struct wa_error *err)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return wa_fail(err, WA_E_PLUGIN, "%s: cannot be loaded: %s", path, strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) {
        return wa_fail(err, WA_E_PLUGIN, "%s: is not a regular file, expected a shared object",
                       path);
    }
    FILE *file = fopen(path, "rbe");
    if (!file) {
        return wa_fail(err, WA_E_PLUGIN, "%s: cannot be opened: %s", path, strerror(errno));
    }
    wa_status status = check_segments(file, (uint64_t)info.st_size, path, err);
    (void)fclose(file);
    return status;
}

/* dlerror's text without the file name that it often starts with: the message has it already. */
static const char *linker_error(const char *path)
{
    const char *text = dlerror();
    if (!text) {
        return "no reason given";
    }
    size_t length = strlen(path);
    if (strncmp(text, path, length) == 0 && strncmp(text + length, ": ", 2) == 0) {
        return text + length + 2;
    }
    return text;
}

static wa_status open_object(const char *path, void **ret_handle, struct wa_error *err)
{
    wa_status status = check_file(path, err);
    if (status != WA_OK) {
        return status;
    }
    /* Without a slash dlopen would search the library path instead of taking the file. */
    char *local = NULL;
    if (!strchr(path, '/')) {
        size_t size = strlen(path) + sizeof "./";
        local = malloc(size);
        if (!local) {
            return wa_fail(err, WA_E_MEMORY, "%s: out of memory", path);
        }
        (void)snprintf(local, size, "./%s", path);
    }
    const char *name = local ? local : path;
    *ret_handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!*ret_handle) {
        status = wa_fail(err, WA_E_PLUGIN, "%s: cannot be loaded: %s", path, linker_error(name));
    }
    free(local);
    return status;
}

/* ---- Versions and sizes --------------------------------------------------------------------- */

/* `what` names the struct; the first field of all of them is their size in bytes. */
static wa_status check_size(const char *path, const char *what, uint32_t size, size_t min_bytes,
                            size_t max_bytes, struct wa_error *err)
{
    if (size < min_bytes) {
        return wa_fail(err, WA_E_PLUGIN,
                       "%s: %s is too short: struct_size is %u, this walign (ABI %u.%u) needs at "
                       "least %zu; set struct_size with sizeof and rebuild the plugin",
                       path, what, size, WA_ABI_MAJOR, WA_ABI_MINOR, min_bytes);
    }
    if (size > max_bytes) {
        return wa_fail(err, WA_E_PLUGIN,
                       "%s: %s is too long: struct_size is %u, but ABI %u.%u of this walign, which "
                       "the file does not claim to exceed, has %zu; rebuild the plugin",
                       path, what, size, WA_ABI_MAJOR, WA_ABI_MINOR, max_bytes);
    }
    return WA_OK;
}

static wa_status check_versions(const wa_plugin_table *table, const char *path,
                                struct wa_error *err)
{
    /* Size and version are the only fields that every major version shares. */
    if (table->struct_size < END_OF(wa_plugin_table, abi_minor)) {
        return check_size(path, "its plugin table", table->struct_size, MIN_TABLE_BYTES,
                          sizeof *table, err);
    }
    if (table->abi_major != WA_ABI_MAJOR) {
        return wa_fail(err, WA_E_PLUGIN,
                       "%s: was built for plugin ABI %u.%u, this walign has %u.%u, another major "
                       "version; rebuild the plugin with this walign's walign/plugin.h",
                       path, table->abi_major, table->abi_minor, WA_ABI_MAJOR, WA_ABI_MINOR);
    }
    if (table->abi_minor > WA_ABI_MINOR) {
        return wa_fail(err, WA_E_PLUGIN,
                       "%s: was built for plugin ABI %u.%u, newer than this walign's %u.%u; update "
                       "walign or rebuild the plugin with its walign/plugin.h",
                       path, table->abi_major, table->abi_minor, WA_ABI_MAJOR, WA_ABI_MINOR);
    }
    return check_size(path, "its plugin table", table->struct_size, MIN_TABLE_BYTES, sizeof *table,
                      err);
}

/* NULL if the table is refused. */
static const wa_plugin_table *read_table(void *handle, const char *path, struct wa_error *err)
{
    const wa_plugin_table *table = dlsym(handle, WA_PLUGIN_ENTRY_NAME);
    if (!table) {
        (void)wa_fail(err, WA_E_PLUGIN,
                      "%s: is no walign plugin: %s; this walign (ABI %u.%u) needs the symbol "
                      "'" WA_PLUGIN_ENTRY_NAME "', which WA_PLUGIN_ENTRY makes",
                      path, linker_error(path), WA_ABI_MAJOR, WA_ABI_MINOR);
        return NULL;
    }
    if (check_versions(table, path, err) != WA_OK) {
        return NULL;
    }
    if (table->count == 0 || table->count > MAX_PLUGINS_OF_A_FILE) {
        (void)wa_fail(err, WA_E_PLUGIN,
                      "%s: its table counts %u plugins, this walign takes 1 to %d in a file", path,
                      table->count, MAX_PLUGINS_OF_A_FILE);
        return NULL;
    }
    if (!table->plugins) {
        (void)wa_fail(err, WA_E_PLUGIN, "%s: its table counts %u plugins, but the list is NULL",
                      path, table->count);
        return NULL;
    }
    return table;
}

/* ---- One plugin ----------------------------------------------------------------------------- */

static bool is_kebab_case(const char *id)
{
    size_t length = strnlen(id, MAX_ID_LENGTH + 1);
    if (length == 0 || length > MAX_ID_LENGTH || !(id[0] >= 'a' && id[0] <= 'z')) {
        return false;
    }
    for (size_t i = 1; i < length; i++) {
        bool is_word = (id[i] >= 'a' && id[i] <= 'z') || (id[i] >= '0' && id[i] <= '9');
        bool is_single_dash = id[i] == '-' && id[i - 1] != '-' && i + 1 < length;
        if (!is_word && !is_single_dash) {
            return false;
        }
    }
    return true;
}

static wa_status check_id(const char *id, const char *kind_name, const char *path,
                          struct wa_error *err)
{
    if (!id || id[0] == '\0') {
        return wa_fail(err, WA_E_PLUGIN, "%s: %s: its id is %s; every plugin needs one", path,
                       kind_name, id ? "empty" : "NULL");
    }
    if (is_kebab_case(id)) {
        return WA_OK;
    }
    char shown[MAX_ID_LENGTH + 1];
    (void)snprintf(shown, sizeof shown, "%s", id);
    for (char *at = shown; *at; at++) {
        if (!isprint((unsigned char)*at)) {
            *at = '?';
        }
    }
    return wa_fail(
        err, WA_E_PLUGIN,
        "%s: %s '%s': its id is not kebab-case: a small letter, then small letters, digits "
        "and single dashes, at most %d",
        path, kind_name, shown, MAX_ID_LENGTH);
}

static const void *pointer_at(const void *structure, size_t offset)
{
    const void *pointer = NULL;
    memcpy(&pointer, (const char *)structure + offset, sizeof pointer);
    return pointer;
}

/* `what` is "<kind> '<id>'" from here on. */
static wa_status check_options(const char *options, const char *what, const char *path,
                               struct wa_error *err)
{
    char name[MAX_ID_LENGTH + 64];
    (void)snprintf(name, sizeof name, "option schema of %s", what);
    struct wa_error cause = {.status = WA_OK};
    json_object *schema = NULL;
    wa_status status = wa_schema_parse(name, options, &schema, &cause);
    if (status != WA_OK) {
        return wa_fail(err, status == WA_E_MEMORY ? status : WA_E_PLUGIN, "%s: %s", path,
                       cause.message);
    }
    json_object *type = NULL;
    bool is_of_object = !json_object_object_get_ex(schema, "type", &type) ||
                        (json_object_is_type(type, json_type_string) &&
                         strcmp(json_object_get_string(type), "object") == 0);
    json_object_put(schema);
    if (!is_of_object) {
        return wa_fail(err, WA_E_PLUGIN,
                       "%s: %s: describes no object; options are an object, so leave its outermost "
                       "\"type\" out or make it \"object\"",
                       path, name);
    }
    return WA_OK;
}

static wa_status check_texts(const wa_plugin *plugin, const char *what, const char *path,
                             struct wa_error *err)
{
    const struct {
        const char *name, *text;
    } texts[] = {{"version", plugin->version},
                 {"summary", plugin->summary},
                 {"reference", plugin->reference}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (!texts[i].text) {
            return wa_fail(err, WA_E_PLUGIN, "%s: %s: its %s is NULL, expected a text or \"\"",
                           path, what, texts[i].name);
        }
    }
    if (!plugin->options) {
        return WA_OK;
    }
    return check_options(plugin->options, what, path, err);
}

static wa_status check_required_ops(const void *ops, const struct kind_layout *layout,
                                    const char *what, const char *path, struct wa_error *err)
{
    for (size_t i = 0; i < MAX_REQUIRED_OPS && layout->required[i].name; i++) {
        void (*function)(void) = NULL;
        memcpy(&function, (const char *)ops + layout->required[i].offset, sizeof function);
        if (!function) {
            return wa_fail(err, WA_E_PLUGIN,
                           "%s: %s: op %s is NULL; this walign (ABI %u.%u) requires it", path, what,
                           layout->required[i].name, WA_ABI_MAJOR, WA_ABI_MINOR);
        }
    }
    return WA_OK;
}

/* Replaces the plugin's ops pointer by one to a zero-filled copy. */
static wa_status copy_ops(struct wa_plugin_record *record, const struct kind_layout *layout,
                          const char *what, struct wa_error *err)
{
    for (unsigned i = 1; i < LAYOUT_END; i++) {
        if (&layouts[i] != layout && pointer_at(&record->plugin, layouts[i].slot)) {
            return wa_fail(err, WA_E_PLUGIN,
                           "%s: %s: has %s ops; only the ops of its own kind may be set",
                           record->path, what, layouts[i].name);
        }
    }
    const void *ops = pointer_at(&record->plugin, layout->slot);
    if (!ops) {
        return wa_fail(err, WA_E_PLUGIN, "%s: %s: its %s ops are NULL", record->path, what,
                       layout->name);
    }
    uint32_t size = 0;
    memcpy(&size, ops, sizeof size);
    char name[MAX_ID_LENGTH + 64];
    (void)snprintf(name, sizeof name, "the ops table of %s", what);
    wa_status status =
        check_size(record->path, name, size, layout->min_bytes, layout->max_bytes, err);
    if (status != WA_OK) {
        return status;
    }
    memcpy(&record->ops, ops, size);
    const void *copy = &record->ops;
    memcpy((char *)&record->plugin + layout->slot, &copy, sizeof copy);
    return check_required_ops(copy, layout, what, record->path, err);
}

/* `record` is zero-filled, with its path. */
static wa_status read_plugin(const wa_plugin *plugin, uint32_t index,
                             struct wa_plugin_record *record, struct wa_error *err)
{
    char what[MAX_ID_LENGTH + 32];
    (void)snprintf(what, sizeof what, "plugin %u of its table", index + 1);
    if (!plugin) {
        (void)wa_fail(err, WA_E_PLUGIN, "%s: %s is NULL", record->path, what);
        return WA_E_PLUGIN;
    }
    wa_status status =
        check_size(record->path, what, plugin->struct_size, MIN_PLUGIN_BYTES, sizeof *plugin, err);
    if (status != WA_OK) {
        return status;
    }
    memcpy(&record->plugin, plugin, plugin->struct_size);
    const struct kind_layout *layout = layout_of(record->plugin.kind);
    if (!layout) {
        return wa_fail(err, WA_E_PLUGIN,
                       "%s: %s is of unknown kind %u, this walign (ABI %u.%u) knows 1 to %d",
                       record->path, what, (unsigned)record->plugin.kind, WA_ABI_MAJOR,
                       WA_ABI_MINOR, LAYOUT_END - 1);
    }
    status = check_id(record->plugin.id, layout->name, record->path, err);
    if (status != WA_OK) {
        return status;
    }
    (void)snprintf(what, sizeof what, "%s '%s'", layout->name, record->plugin.id);
    status = check_texts(&record->plugin, what, record->path, err);
    return status == WA_OK ? copy_ops(record, layout, what, err) : status;
}

/* ---- The module ----------------------------------------------------------------------------- */

static wa_status check_unlike_earlier(const struct wa_module *module, uint32_t index,
                                      struct wa_error *err)
{
    const wa_plugin *plugin = &module->records[index].plugin;
    for (uint32_t i = 0; i < index; i++) {
        const wa_plugin *earlier = &module->records[i].plugin;
        if (earlier->kind == plugin->kind && strcmp(earlier->id, plugin->id) == 0) {
            return wa_fail(err, WA_E_PLUGIN, "%s: has two plugins of the same id, %s '%s'",
                           module->path, wa_module_kind_name(plugin->kind), plugin->id);
        }
    }
    return WA_OK;
}

static wa_status read_plugins(struct wa_module *module, struct wa_error *err)
{
    const wa_plugin_table *table = read_table(module->handle, module->path, err);
    if (!table) {
        return WA_E_PLUGIN;
    }
    module->records = calloc(table->count, sizeof *module->records);
    if (!module->records) {
        return wa_fail(err, WA_E_MEMORY, "%s: out of memory", module->path);
    }
    module->record_count = table->count;
    wa_status status = WA_OK;
    for (uint32_t i = 0; i < table->count && status == WA_OK; i++) {
        module->records[i].path = module->path;
        status = read_plugin(table->plugins[i], i, &module->records[i], err);
        if (status == WA_OK) {
            status = check_unlike_earlier(module, i, err);
        }
    }
    return status;
}

wa_status wa_module_open(const char *path, struct wa_module **ret_module, struct wa_error *err)
{
    struct wa_module *module = calloc(1, sizeof *module);
    if (!module || !(module->path = strdup(path))) {
        wa_module_close(module);
        return wa_fail(err, WA_E_MEMORY, "%s: out of memory", path);
    }
    wa_status status = open_object(path, &module->handle, err);
    if (status == WA_OK) {
        status = read_plugins(module, err);
    }
    if (status != WA_OK) {
        wa_module_close(module);
        return status;
    }
    *ret_module = module;
    return WA_OK;
}

void wa_module_close(struct wa_module *module)
{
    if (!module) {
        return;
    }
    if (module->handle) {
        (void)dlclose(module->handle);
    }
    free(module->records);
    free(module->path);
    free(module);
}
