/* The wa_host table of one plugin instance: its options, its messages, its paths. What a kind adds
 * (rule host, dataset host ...) is built elsewhere, on top of this. */
#ifndef WALIGN_CORE_PLUGIN_HOST_H
#define WALIGN_CORE_PLUGIN_HOST_H

#include <json-c/json.h>
#include <pthread.h>

#include "module.h"
#include "status.h"

/* Answers get_extension: the table of that name, or NULL. */
typedef const void *wa_plugin_host_extension(void *context, const char *name);

struct wa_kept_text;

/* Lives where it was initialised (the table points back into it) and until the instance is gone. */
struct wa_plugin_host {
    wa_host host; /* what the plugin gets */

    /* the rest is private to plugin_host.c */
    const struct wa_plugin_record *record;
    json_object *options;
    const char *config_folder;
    struct wa_error *err;
    wa_plugin_host_extension *extension;
    void *extension_context;
    pthread_mutex_t lock;          /* a dataset's read may fail in several threads at once */
    struct wa_kept_text *paths;    /* by option */
    struct wa_kept_text *reported; /* options that misbehaviour was logged for */
    char *data_dir;
};

/* `options` is the plugin's JSON object, checked and completed with its defaults, or NULL for
 * none; relative paths in it count from `config_folder`, NULL for the working folder. Both are
 * borrowed, like `record`, until wa_plugin_host_finish. What the plugin says through fail() goes
 * to `err`, as "<kind> '<id>': ...", the first message wins. Fails with WA_E_MEMORY, also into
 * `err`. */
WA_MUST_CHECK wa_status wa_plugin_host_init(struct wa_plugin_host *plugin_host,
                                            const struct wa_plugin_record *record,
                                            json_object *options, const char *config_folder,
                                            struct wa_error *err);

/* Frees what the getters returned; takes a zero-filled struct too. */
void wa_plugin_host_finish(struct wa_plugin_host *plugin_host);

/* From now on fail() writes to `err`: for an instance that outlives the call that created it. */
void wa_plugin_host_set_error(struct wa_plugin_host *plugin_host, struct wa_error *err);

/* From now on get_extension asks `extension`; before, every extension is unknown. */
void wa_plugin_host_set_extension(struct wa_plugin_host *plugin_host,
                                  wa_plugin_host_extension *extension, void *context);

/* Passes on the status that the plugin's function `op` returned. A failure that came without a
 * message gets one, a value that is no wa_status becomes WA_E_PLUGIN. */
WA_MUST_CHECK wa_status wa_plugin_host_check(struct wa_plugin_host *plugin_host, const char *op,
                                             wa_status status);

/* The folder of a dataset's files, as wa_dataset_host.data_dir in plugin.h says: option "dir" if
 * it is not null, else what wa_data_places_choose takes of $WALIGN_DATA/<id>,
 * $XDG_DATA_HOME/walign/<id> (by default ~/.local/share) and /usr/share/datasets/<id>. *ret_dir lives until
 * wa_plugin_host_finish. Fails with WA_E_DATA and a message that names all places. */
WA_MUST_CHECK wa_status wa_plugin_host_data_dir(struct wa_plugin_host *plugin_host,
                                                const char **ret_dir);

/* The folders in which data of an id are looked for, in that order; the system's, which is not the
 * user's to fill, is last. Fails with WA_E_MEMORY; in any case the caller frees them. */
enum { WA_DATA_PLACES_MAX = 3 };
struct wa_data_places {
    size_t count;
    char *paths[WA_DATA_PLACES_MAX];
};
WA_MUST_CHECK wa_status wa_data_places_list(const char *id, struct wa_data_places *ret_places,
                                            struct wa_error *err);
/* Which of them a run takes: the first that exists, but one in which a download is unfinished only
 * where there is no other. places->count if none exists. */
size_t wa_data_places_choose(const struct wa_data_places *places);
void wa_data_places_free(struct wa_data_places *places);

#endif
