/* The functions behind wa_host: option getters, fail and log, paths and the data folder. */
#include "plugin_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "log.h"

#define SYSTEM_DATA_FOLDER "/usr/share/datasets"

/* Texts kept until the host is finished, found by name. */
struct wa_kept_text {
    struct wa_kept_text *next;
    char *name;
    char *text; /* may be NULL */
};

static struct wa_plugin_host *self_of(const wa_host *host)
{
    return host->context;
}

static const char *kind_name(const struct wa_plugin_host *self)
{
    return wa_module_kind_name(self->record->plugin.kind);
}

static wa_status no_memory(struct wa_plugin_host *self)
{
    return wa_fail(self->err, WA_E_MEMORY, "%s '%s': out of memory", kind_name(self),
                   self->record->plugin.id);
}

/* ---- Kept texts ----------------------------------------------------------------------------- */

static struct wa_kept_text *find_kept(struct wa_kept_text *list, const char *name)
{
    while (list && strcmp(list->name, name) != 0) {
        list = list->next;
    }
    return list;
}

/* Takes `text` over if it succeeds; NULL when memory runs out. */
static struct wa_kept_text *keep(struct wa_kept_text **list, const char *name, char *text)
{
    struct wa_kept_text *kept = malloc(sizeof *kept);
    char *copy = strdup(name);
    if (!kept || !copy) {
        free(kept);
        free(copy);
        return NULL;
    }
    *kept = (struct wa_kept_text){.next = *list, .name = copy, .text = text};
    *list = kept;
    return kept;
}

static void free_kept(struct wa_kept_text *list)
{
    while (list) {
        struct wa_kept_text *next = list->next;
        free(list->name);
        free(list->text);
        free(list);
        list = next;
    }
}

/* ---- Messages ------------------------------------------------------------------------------- */

/* Messages are one line, whatever the plugin writes. */
static void format_line(char *line, size_t size, const char *format, va_list arguments)
    WA_PRINTF(3, 0);

static void format_line(char *line, size_t size, const char *format, va_list arguments)
{
    if (vsnprintf(line, size, format, arguments) < 0) {
        (void)snprintf(line, size, "%s", format);
    }
    for (char *at = line; *at; at++) {
        if (*at == '\n' || *at == '\r') {
            *at = ' ';
        }
    }
}

static wa_status host_fail(const wa_host *host, wa_status status, const char *format, ...)
{
    struct wa_plugin_host *self = self_of(host);
    char line[WA_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    format_line(line, sizeof line, format, arguments);
    va_end(arguments);
    /* a failure must stay one, even if the plugin calls it ok */
    wa_status real = status == WA_OK ? WA_E_PLUGIN : status;
    (void)pthread_mutex_lock(&self->lock);
    (void)wa_fail(self->err, real, "%s '%s': %s", kind_name(self), self->record->plugin.id, line);
    (void)pthread_mutex_unlock(&self->lock);
    return real;
}

static void host_log(const wa_host *host, wa_log_level level, const char *format, ...)
{
    const struct wa_plugin_host *self = self_of(host);
    char line[WA_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    format_line(line, sizeof line, format, arguments);
    va_end(arguments);
    bool is_known = level >= WA_LOG_ERROR && level <= WA_LOG_PLUGIN_MISBEHAVING;
    wa_log(is_known ? level : WA_LOG_INFO, "%s '%s': %s", kind_name(self), self->record->plugin.id,
           line);
}

/* Says once for each option what the plugin does wrong with it. */
static void report(struct wa_plugin_host *self, const char *name, const char *format, ...)
    WA_PRINTF(3, 4);

static void report(struct wa_plugin_host *self, const char *name, const char *format, ...)
{
    (void)pthread_mutex_lock(&self->lock);
    bool is_new = !find_kept(self->reported, name);
    /* without memory the report is merely repeated */
    bool is_kept = is_new && keep(&self->reported, name, NULL);
    (void)pthread_mutex_unlock(&self->lock);
    if (!is_new && !is_kept) {
        return;
    }
    char line[WA_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    format_line(line, sizeof line, format, arguments);
    va_end(arguments);
    wa_log(WA_LOG_PLUGIN_MISBEHAVING, "%s '%s' (%s): %s", kind_name(self), self->record->plugin.id,
           self->record->path, line);
}

/* ---- Options -------------------------------------------------------------------------------- */

/* Whether the option exists; its value, NULL for null, in *ret_value. */
static bool look_up(struct wa_plugin_host *self, const char *name, json_object **ret_value)
{
    const char *shown = name ? name : "(NULL)";
    if (name && self->options && json_object_object_get_ex(self->options, name, ret_value)) {
        return true;
    }
    report(self, shown, "asks for option '%s', which its option schema does not declare", shown);
    return false;
}

static void report_type(struct wa_plugin_host *self, const char *name, json_object *value,
                        const char *wanted)
{
    report(self, name, "asks for option '%s' as %s, but it is of type %s", name, wanted,
           json_type_to_name(json_object_get_type(value)));
}

static bool read_integer(json_object *value, int64_t *ret_integer)
{
    if (!json_object_is_type(value, json_type_int)) {
        return false;
    }
    *ret_integer = json_object_get_int64(value);
    return true;
}

static bool host_option_is_null(const wa_host *host, const char *name)
{
    json_object *value = NULL;
    return look_up(self_of(host), name, &value) && !value;
}

static int64_t host_option_integer(const wa_host *host, const char *name)
{
    json_object *value = NULL;
    int64_t integer = 0;
    if (look_up(self_of(host), name, &value) && !read_integer(value, &integer)) {
        report_type(self_of(host), name, value, "an integer");
    }
    return integer;
}

static double host_option_number(const wa_host *host, const char *name)
{
    json_object *value = NULL;
    if (!look_up(self_of(host), name, &value)) {
        return 0.0;
    }
    if (!json_object_is_type(value, json_type_int) &&
        !json_object_is_type(value, json_type_double)) {
        report_type(self_of(host), name, value, "a number");
        return 0.0;
    }
    return json_object_get_double(value);
}

static bool host_option_boolean(const wa_host *host, const char *name)
{
    json_object *value = NULL;
    if (!look_up(self_of(host), name, &value)) {
        return false;
    }
    if (!json_object_is_type(value, json_type_boolean)) {
        report_type(self_of(host), name, value, "a boolean");
        return false;
    }
    return json_object_get_boolean(value);
}

static const char *host_option_string(const wa_host *host, const char *name)
{
    json_object *value = NULL;
    if (!look_up(self_of(host), name, &value)) {
        return NULL;
    }
    if (!json_object_is_type(value, json_type_string)) {
        report_type(self_of(host), name, value, "a string");
        return NULL;
    }
    return json_object_get_string(value);
}

static size_t host_option_length(const wa_host *host, const char *name)
{
    json_object *value = NULL;
    if (!look_up(self_of(host), name, &value)) {
        return 0;
    }
    if (!json_object_is_type(value, json_type_array)) {
        report_type(self_of(host), name, value, "an array");
        return 0;
    }
    return json_object_array_length(value);
}

static int64_t host_option_integer_at(const wa_host *host, const char *name, size_t index)
{
    struct wa_plugin_host *self = self_of(host);
    json_object *value = NULL;
    int64_t integer = 0;
    if (!look_up(self, name, &value)) {
        return 0;
    }
    if (!json_object_is_type(value, json_type_array)) {
        report_type(self, name, value, "an array");
    } else if (index >= json_object_array_length(value)) {
        report(self, name, "asks for item %zu (from 0) of option '%s', which has %zu", index, name,
               json_object_array_length(value));
    } else if (!read_integer(json_object_array_get_idx(value, index), &integer)) {
        report_type(self, name, json_object_array_get_idx(value, index), "an array of integers");
    }
    return integer;
}

/* ---- Paths ---------------------------------------------------------------------------------- */

static char *resolve(const struct wa_plugin_host *self, const char *path)
{
    bool is_relative = path[0] != '/' && self->config_folder;
    return is_relative ? wa_file_join(self->config_folder, path) : strdup(path);
}

static const char *keep_path(struct wa_plugin_host *self, const char *name, const char *path)
{
    struct wa_kept_text *kept = find_kept(self->paths, name);
    if (!kept) {
        char *resolved = resolve(self, path);
        kept = resolved ? keep(&self->paths, name, resolved) : NULL;
        if (!kept) {
            free(resolved);
            (void)no_memory(self);
            return NULL;
        }
    }
    return kept->text;
}

static const char *host_option_path(const wa_host *host, const char *name)
{
    struct wa_plugin_host *self = self_of(host);
    json_object *value = NULL;
    if (!look_up(self, name, &value) || !value) {
        return NULL;
    }
    if (!json_object_is_type(value, json_type_string)) {
        report_type(self, name, value, "a path");
        return NULL;
    }
    (void)pthread_mutex_lock(&self->lock);
    const char *path = keep_path(self, name, json_object_get_string(value));
    (void)pthread_mutex_unlock(&self->lock);
    return path;
}

static const void *host_get_extension(const wa_host *host, const char *name)
{
    const struct wa_plugin_host *self = self_of(host);
    return self->extension && name ? self->extension(self->extension_context, name) : NULL;
}

/* ---- The host ------------------------------------------------------------------------------- */

wa_status wa_plugin_host_init(struct wa_plugin_host *plugin_host,
                              const struct wa_plugin_record *record, json_object *options,
                              const char *config_folder, struct wa_error *err)
{
    *plugin_host = (struct wa_plugin_host){
        .host = {.struct_size = sizeof(wa_host),
                 .fail = host_fail,
                 .log = host_log,
                 .option_is_null = host_option_is_null,
                 .option_integer = host_option_integer,
                 .option_number = host_option_number,
                 .option_boolean = host_option_boolean,
                 .option_string = host_option_string,
                 .option_path = host_option_path,
                 .option_length = host_option_length,
                 .option_integer_at = host_option_integer_at,
                 .get_extension = host_get_extension},
        .record = record,
        .options = options,
        .config_folder = config_folder,
        .err = err,
    };
    if (pthread_mutex_init(&plugin_host->lock, NULL) != 0) {
        return no_memory(plugin_host);
    }
    plugin_host->host.context = plugin_host;
    return WA_OK;
}

void wa_plugin_host_finish(struct wa_plugin_host *plugin_host)
{
    if (!plugin_host->host.context) {
        return;
    }
    free_kept(plugin_host->paths);
    free_kept(plugin_host->reported);
    free(plugin_host->data_dir);
    (void)pthread_mutex_destroy(&plugin_host->lock);
    *plugin_host = (struct wa_plugin_host){.record = NULL};
}

void wa_plugin_host_set_error(struct wa_plugin_host *plugin_host, struct wa_error *err)
{
    (void)pthread_mutex_lock(&plugin_host->lock);
    plugin_host->err = err;
    (void)pthread_mutex_unlock(&plugin_host->lock);
}

void wa_plugin_host_set_extension(struct wa_plugin_host *plugin_host,
                                  wa_plugin_host_extension *extension, void *context)
{
    plugin_host->extension = extension;
    plugin_host->extension_context = context;
}

static bool is_status(wa_status status)
{
    switch (status) {
#define CASE(value, name, text) case WA_##name:
        WA_STATUS_MAP(CASE)
#undef CASE
        return true;
    }
    return false;
}

wa_status wa_plugin_host_check(struct wa_plugin_host *plugin_host, const char *op, wa_status status)
{
    if (status == WA_OK) {
        return WA_OK;
    }
    wa_status real = is_status(status) ? status : WA_E_PLUGIN;
    (void)pthread_mutex_lock(&plugin_host->lock);
    if (is_status(status)) {
        (void)wa_fail(plugin_host->err, real, "%s '%s': %s failed (%s) and gave no reason",
                      kind_name(plugin_host), plugin_host->record->plugin.id, op,
                      wa_status_text(status));
    } else {
        (void)wa_fail(plugin_host->err, real, "%s '%s': %s returned %u, which is no status",
                      kind_name(plugin_host), plugin_host->record->plugin.id, op, (unsigned)status);
    }
    (void)pthread_mutex_unlock(&plugin_host->lock);
    return real;
}

/* ---- The data folder ------------------------------------------------------------------------ */

/* Appends <folder>/<middle>/<id>, `middle` may be "". */
static bool add_place(struct wa_data_places *places, const char *folder, const char *middle,
                      const char *id)
{
    size_t size = strlen(folder) + strlen(middle) + strlen(id) + sizeof "//";
    char *path = malloc(size);
    if (!path) {
        return false;
    }
    (void)snprintf(path, size, "%s/%s%s%s", folder, middle, middle[0] ? "/" : "", id);
    places->paths[places->count++] = path;
    return true;
}

static bool list_places(struct wa_data_places *places, const char *id)
{
    const char *data = getenv("WALIGN_DATA");
    if (data && data[0] != '\0' && !add_place(places, data, "", id)) {
        return false;
    }
    /* the XDG specification wants a relative value ignored */
    const char *share = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    if (share && share[0] == '/') {
        if (!add_place(places, share, "walign", id)) {
            return false;
        }
    } else if (home && home[0] != '\0' && !add_place(places, home, ".local/share/walign", id)) {
        return false;
    }
    return add_place(places, SYSTEM_DATA_FOLDER, "", id);
}

wa_status wa_data_places_list(const char *id, struct wa_data_places *ret_places,
                              struct wa_error *err)
{
    *ret_places = (struct wa_data_places){0};
    return list_places(ret_places, id)
               ? WA_OK
               : wa_fail(err, WA_E_MEMORY, "out of memory for the folders of data");
}

void wa_data_places_free(struct wa_data_places *places)
{
    for (size_t i = 0; i < places->count; i++) {
        free(places->paths[i]);
    }
    *places = (struct wa_data_places){0};
}

size_t wa_data_places_choose(const struct wa_data_places *places)
{
    size_t unfinished = places->count;
    for (size_t i = 0; i < places->count; i++) {
        if (!wa_file_is_folder(places->paths[i])) {
            continue;
        }
        if (!wa_file_is_unfinished_in(places->paths[i])) {
            return i;
        }
        unfinished = unfinished < places->count ? unfinished : i;
    }
    return unfinished;
}

/* What follows "`walign data get <id>"; NULL where that can do nothing. */
static const char *way_to_get(const wa_plugin *plugin)
{
    const wa_dataset_ops *ops = plugin->kind == WA_KIND_DATASET ? plugin->dataset : NULL;
    size_t end = offsetof(wa_dataset_ops, how_to_get) + sizeof ops->how_to_get;
    if (!ops || ops->struct_size < end) {
        return NULL;
    }
    return ops->download_count > 0 ? "` fetches them; or "
           : ops->how_to_get       ? "` says how to get them; or "
                                   : NULL;
}

static wa_status fail_no_place(struct wa_plugin_host *self, const struct wa_data_places *places)
{
    const wa_plugin *plugin = &self->record->plugin;
    char list[WA_MESSAGE_BYTES / 2] = "";
    size_t length = 0;
    for (size_t i = 0; i < places->count && length < sizeof list; i++) {
        int added = snprintf(list + length, sizeof list - length, "%s%s", i > 0 ? ", " : "",
                             places->paths[i]);
        length += added > 0 ? (size_t)added : 0;
    }
    const char *data = getenv("WALIGN_DATA");
    const char *way = way_to_get(plugin);
    return wa_fail(
        self->err, WA_E_DATA,
        "%s '%s': no folder with its files: none of %s exists%s; %s%s%sput the files into one of "
        "them or name their folder with the option \"dir\" (--set dataset.dir=FOLDER)",
        kind_name(self), plugin->id, list, data && data[0] ? "" : ", and WALIGN_DATA is not set",
        way ? "`walign data get " : "", way ? plugin->id : "", way ? way : "");
}

static wa_status search_places(struct wa_plugin_host *self)
{
    struct wa_data_places places = {0};
    wa_status status = wa_data_places_list(self->record->plugin.id, &places, self->err);
    size_t chosen = wa_data_places_choose(&places);
    if (status == WA_OK && chosen < places.count) {
        self->data_dir = places.paths[chosen];
        places.paths[chosen] = NULL;
    } else if (status == WA_OK) {
        status = fail_no_place(self, &places);
    }
    wa_data_places_free(&places);
    return status;
}

/* The folder that the config names. */
static wa_status take_named_folder(struct wa_plugin_host *self, const char *name)
{
    char *path = resolve(self, name);
    if (!path) {
        return no_memory(self);
    }
    if (!wa_file_is_folder(path)) {
        wa_status status = wa_fail(self->err, WA_E_DATA,
                                   "%s '%s': option 'dir' names %s, which is not a folder; correct "
                                   "it, or set it to null to search the usual places",
                                   kind_name(self), self->record->plugin.id, path);
        free(path);
        return status;
    }
    self->data_dir = path;
    return WA_OK;
}

wa_status wa_plugin_host_data_dir(struct wa_plugin_host *plugin_host, const char **ret_dir)
{
    wa_status status = WA_OK;
    if (!plugin_host->data_dir) {
        json_object *value = NULL;
        bool is_named = plugin_host->options &&
                        json_object_object_get_ex(plugin_host->options, "dir", &value) &&
                        json_object_is_type(value, json_type_string);
        status = is_named ? take_named_folder(plugin_host, json_object_get_string(value))
                          : search_places(plugin_host);
    }
    if (status == WA_OK) {
        *ret_dir = plugin_host->data_dir;
    }
    return status;
}
