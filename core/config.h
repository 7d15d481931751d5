/* The config of a run: read from JSON, changed by --set, checked against the core schema and the
 * option schemas of plugins, completed with defaults. Knows no plugin: sections name them, core
 * finds them. configs/schema.json says which keys there are. */
#ifndef WALIGN_CORE_CONFIG_H
#define WALIGN_CORE_CONFIG_H

#include <json-c/json.h>

#include "json_path.h"
#include "status.h"

struct wa_json_places;

enum { WA_CONFIG_PLACE_BYTES = 512 };

/* A value put into a config from outside its text: by --set, or by a sweep. */
struct wa_config_change {
    char path[WA_JSON_PATH_BYTES];
    char place[WA_CONFIG_PLACE_BYTES]; /* where it comes from, for messages */
    struct json_object *value;
};

/* A config that the core schema accepts. To be read by everyone, changed only by the functions
 * here. */
struct wa_config {
    struct json_object *root; /* resolved: with all defaults that are known so far */
    char *file;               /* as it was given */
    char *folder;             /* of the file: relative paths count from it */

    struct json_object *schema;  /* the core schema */
    struct json_object *options; /* {"<section>": {a plugin's options}} */
    struct wa_json_places *places;
    struct wa_config_change *overrides; /* without their values */
    size_t override_count;
};

/* configs/schema.json as a string; the build makes it. */
extern const char wa_config_schema_text[];

/* Reads a config file and applies `sets`, each "path=value" (what stands after --set): the value is
 * JSON, or else a string; members that are missing are made, an index may append one element. Every
 * fault of the config is WA_E_USAGE and names its place: "<file>:<line>:<column>", or "--set
 * path=value" for a value that was set. An unreadable file fails as wa_file_read_all says. The
 * caller destroys *ret_config. */
WA_MUST_CHECK wa_status wa_config_read(const char *file, const char *const *sets, size_t set_count,
                                       struct wa_config **ret_config, struct wa_error *err);

/* The same from text[0..size), with text[size] == '\0'; `file` is for messages and for the folder.
 */
WA_MUST_CHECK wa_status wa_config_from_text(const char *file, const char *text, size_t size,
                                            const char *const *sets, size_t set_count,
                                            struct wa_config **ret_config, struct wa_error *err);
void wa_config_destroy(struct wa_config *config); /* takes NULL */

/* The same with changes, which are copied. */
WA_MUST_CHECK wa_status wa_config_from_changes(const char *file, const char *text, size_t size,
                                               const struct wa_config_change *changes,
                                               size_t change_count, struct wa_config **ret_config,
                                               struct wa_error *err);

/* Reads "path=value" (what stands after --set) into a change whose value is the caller's to put. */
WA_MUST_CHECK wa_status wa_config_read_set(const char *set, struct wa_config_change *ret_change,
                                           struct wa_error *err);

/* Puts a copy of a change's value where its path leads in `root`, an object; members that are missing
 * are made, an index may append one element. */
WA_MUST_CHECK wa_status wa_config_put_change(const struct wa_config_change *change,
                                             struct json_object *root, struct wa_error *err);

/* JSON text that is equal for equal values, see wa_config_canonical; the caller frees it, NULL when
 * out of memory. */
char *wa_config_canonical_value(struct json_object *value);

/* Checks what a section holds beyond the core schema's keys against the option schema of its plugin
 * (NULL: the plugin has no options) and fills defaults into the section. *ret_options, the config's
 * own, then has every option that the schema declares; one that was not given and has no default is
 * null. WA_E_USAGE for the config's faults, WA_E_PLUGIN for the schema's. */
WA_MUST_CHECK wa_status wa_config_section_options(struct wa_config *config, const char *section,
                                                  const char *schema_text,
                                                  struct json_object **ret_options,
                                                  struct wa_error *err);

/* From now on relative paths count from `folder`. */
WA_MUST_CHECK wa_status wa_config_set_folder(struct wa_config *config, const char *folder,
                                             struct wa_error *err);

/* Names the plugin of a section that names none. */
WA_MUST_CHECK wa_status wa_config_set_plugin(struct wa_config *config, const char *section,
                                             const char *id, struct wa_error *err);

/* The value at a path ("kernels.path", "evaluate[0]"), the config's own; NULL if absent or null. */
struct json_object *wa_config_get(const struct wa_config *config, const char *path);
/* Neither absent nor null. */
bool wa_config_is_given(const struct wa_config *config, const char *path);
/* 0, false or NULL where the value is absent, null or of another type. */
int64_t wa_config_get_integer(const struct wa_config *config, const char *path);
double wa_config_get_number(const struct wa_config *config, const char *path);
bool wa_config_get_boolean(const struct wa_config *config, const char *path);
const char *wa_config_get_string(const struct wa_config *config, const char *path);
size_t wa_config_get_length(const struct wa_config *config, const char *path); /* of an array */

/* Where a path, or the nearest value around it, comes from: "<file>:<line>:<column>" or "--set
 * ...". */
void wa_config_place(const struct wa_config *config, const char *path, char *ret_place,
                     size_t size);

/* Records "<place of path>: <path>: <message>" as WA_E_USAGE: for faults found later. */
wa_status wa_config_fail(const struct wa_config *config, const char *path, struct wa_error *err,
                         const char *format, ...) WA_PRINTF(4, 5) __attribute__((cold));

/* The resolved config as JSON text that is equal for equal configs: keys sorted, no spaces, 1.0
 * as 1. The caller frees *ret_text. */
WA_MUST_CHECK wa_status wa_config_canonical(const struct wa_config *config, char **ret_text,
                                            struct wa_error *err);

/* Lists the paths at which two JSON texts differ, with both values: "batch: 100 -> 50, rule.plugin:
 * ...". Paths in or below one of `ignored` are left out; null and absent are the same. The caller
 * frees *ret_text, "" if nothing differs. */
WA_MUST_CHECK wa_status wa_config_differences(const char *a_text, const char *b_text,
                                              const char *const *ignored, size_t ignored_count,
                                              char **ret_text, struct wa_error *err);

/* The candidate that `name` may be a slip of, or NULL. */
const char *wa_config_suggest(const char *name, const char *const *candidates, size_t count);

#endif
