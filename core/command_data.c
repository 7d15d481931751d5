/* `walign data`: which data sets there are, and fetching those that may be fetched. What they
 * consist of, plugins declare. */
#define _XOPEN_SOURCE 700 /* nftw */
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "download.h"
#include "files.h"
#include "sha256.h"
#include "unpack.h"

/* Files are fetched from $WALIGN_DATA_MIRROR/<id>/<file name> where it is set: for tests, and for
 * machines without another way out. Checksums hold all the same. */
#define MIRROR_VARIABLE "WALIGN_DATA_MIRROR"

/* Folders in which a process unpacks have its number behind that. */
#define UNPACKING ".unpack-"

enum { REMOVE_DESCRIPTORS = 16 };

static wa_status out_of_memory(struct wa_error *err)
{
    return wa_fail(err, WA_E_MEMORY, "out of memory");
}

/* ---- What plugins declare ------------------------------------------------------------------- */

static const wa_dataset_ops *declares_downloads(const wa_plugin *plugin)
{
    const wa_dataset_ops *ops = plugin->kind == WA_KIND_DATASET ? plugin->dataset : NULL;
    size_t end = offsetof(wa_dataset_ops, how_to_get) + sizeof ops->how_to_get;
    return ops && ops->struct_size >= end ? ops : NULL;
}

/* The user's folder where data of that id are looked for first; the caller frees it. */
static wa_status default_folder(const char *id, char **ret_folder, struct wa_error *err)
{
    struct wa_data_places places = {0};
    wa_status status = wa_data_places_list(id, &places, err);
    if (status == WA_OK && places.count < 2) {
        status = wa_fail(err, WA_E_USAGE,
                         "neither WALIGN_DATA nor HOME is set: name a folder with --dir");
    }
    if (status == WA_OK) {
        *ret_folder = places.paths[0];
        places.paths[0] = NULL;
    }
    wa_data_places_free(&places);
    return status;
}

static const char *file_name(const wa_download *download)
{
    const char *slash = strrchr(download->address, '/');
    return slash ? slash + 1 : download->address;
}

static char *place_of(const wa_download *download, const char *folder)
{
    return wa_file_join(folder, download->unpacks_to ? download->unpacks_to : file_name(download));
}

/* What a run takes in place of a download, where that is there; else NULL. The caller frees it. */
static char *find_substitute(const wa_dataset_ops *ops, uint32_t index, const char *folder)
{
    size_t end = offsetof(wa_dataset_ops, download_substitutes) + sizeof ops->download_substitutes;
    bool has_any = ops->struct_size >= end && ops->download_substitutes;
    const char *name = has_any ? ops->download_substitutes[index] : NULL;
    char *path = name ? wa_file_join(folder, name) : NULL;
    if (path && !wa_file_exists(path)) {
        free(path);
        path = NULL;
    }
    return path;
}

static uint32_t count_there(const wa_dataset_ops *ops, const char *folder)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < ops->download_count; i++) {
        char *place = place_of(&ops->downloads[i], folder);
        char *substitute = find_substitute(ops, i, folder);
        count += (place && wa_file_exists(place)) || substitute ? 1 : 0;
        free(place);
        free(substitute);
    }
    return count;
}

/* ---- list ----------------------------------------------------------------------------------- */

static void print_files(const wa_dataset_ops *ops, const char *id, const char *folder)
{
    double bytes = 0;
    for (uint32_t d = 0; d < ops->download_count; d++) {
        bytes += (double)ops->downloads[d].size_bytes;
    }
    uint32_t there = count_there(ops, folder);
    (void)printf("%-16s %7.1f MB  %s: %s\n", id, bytes / 1e6,
                 there == ops->download_count ? "there"
                 : there > 0                  ? "there in part"
                                              : "not there",
                 folder);
}

/* Names the folder that a run would take; where there is none, the first. */
static wa_status list_files(const wa_dataset_ops *ops, const char *id, const char *dir,
                            struct wa_error *err)
{
    struct wa_data_places places = {0};
    wa_status status = dir ? WA_OK : wa_data_places_list(id, &places, err);
    if (status == WA_OK) {
        size_t chosen = wa_data_places_choose(&places);
        print_files(ops, id, dir ? dir : places.paths[chosen < places.count ? chosen : 0]);
    }
    wa_data_places_free(&places);
    return status;
}

static wa_status list(const struct wa_registry *registry, const char *dir, struct wa_error *err)
{
    wa_status status = WA_OK;
    for (size_t i = 0; i < wa_registry_count(registry) && status == WA_OK; i++) {
        const wa_plugin *plugin = &wa_registry_at(registry, i)->plugin;
        const wa_dataset_ops *ops = declares_downloads(plugin);
        if (ops && ops->download_count > 0) {
            status = list_files(ops, plugin->id, dir, err);
        } else if (ops && ops->how_to_get) {
            (void)printf("%-16s by hand: `walign data get %s` says how\n", plugin->id, plugin->id);
        }
    }
    return status;
}

/* ---- get ------------------------------------------------------------------------------------ */

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_one, REMOVE_DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
}

/* Of a process that is no more. */
static int is_left_over(const struct dirent *entry)
{
    long pid = 0;
    int end = 0;
    return sscanf(entry->d_name, UNPACKING "%ld%n", &pid, &end) == 1 && end > 0 &&
           entry->d_name[end] == '\0' && pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}

/* Removes what was unpacked half when it was killed. */
static void remove_left_over(const char *folder)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, is_left_over, NULL);
    for (int i = 0; i < count; i++) {
        char *path = wa_file_join(folder, entries[i]->d_name);
        if (path) {
            remove_tree(path);
        }
        free(path);
        free(entries[i]);
    }
    free(entries);
}

/* Unpacks beside the data and moves what the archive is for into place, in one step. */
static wa_status unpack(const wa_download *download, const char *archive, const char *folder,
                        const char *place, struct wa_error *err)
{
    char name[64];
    (void)snprintf(name, sizeof name, UNPACKING "%ld", (long)getpid());
    char *work = wa_file_join(folder, name);
    char *made = work ? wa_file_join(work, download->unpacks_to) : NULL;
    wa_status status = made ? wa_files_make_folders(work, 0777, err) : out_of_memory(err);
    if (status == WA_OK) {
        status = wa_unpack(archive, work, err);
    }
    if (status == WA_OK && !wa_file_exists(made)) {
        status = wa_fail(err, WA_E_DATA, "%s: has no '%s' in it", archive, download->unpacks_to);
    }
    if (status == WA_OK && rename(made, place) != 0) {
        status = wa_file_fail(err, WA_E_IO, place, "create", errno);
    }
    if (work) {
        remove_tree(work);
    }
    if (status == WA_OK) {
        (void)unlink(archive);
    }
    free(made);
    free(work);
    return status;
}

static char *address_of(const wa_download *download, const char *id)
{
    const char *mirror = getenv(MIRROR_VARIABLE);
    char address[4096];
    if (!mirror || !*mirror) {
        return strdup(download->address);
    }
    (void)snprintf(address, sizeof address, "%s/%s/%s", mirror, id, file_name(download));
    return strdup(address);
}

/* Whether the file at `path` has the checksum; what is there and has another one is the user's. */
static wa_status check_existing(const wa_download *download, const char *path, struct wa_error *err)
{
    char hash[WA_SHA256_HEX_BYTES];
    wa_status status = wa_sha256_file(path, hash, err);
    if (status == WA_OK && strcmp(hash, download->sha256) != 0) {
        status = wa_fail(err, WA_E_DATA,
                         "%s is there but is not the official file (SHA-256 %s, expected %s): move "
                         "it away, or choose another folder with --dir",
                         path, hash, download->sha256);
    }
    return status;
}

/* A folder that cannot be made was a bad choice. */
static wa_status make_data_folder(const char *folder, struct wa_error *err)
{
    wa_status status = wa_files_make_folders(folder, 0777, err);
    if (status == WA_E_IO) {
        err->status = status = WA_E_USAGE;
    }
    return status;
}

/* What this build cannot do is said before anything is fetched or made. */
static wa_status fetch_file(const wa_download *download, const struct wa_download_request *request,
                            const char *folder, const char *place, struct wa_error *err)
{
    bool has_file = wa_file_exists(request->path);
    wa_status status = has_file ? WA_OK : wa_download_check(request, err);
    if (status == WA_OK && download->unpacks_to) {
        status = wa_unpack_check(has_file ? request->path : request->address, folder, err);
    }
    if (status == WA_OK && has_file) {
        status = check_existing(download, request->path, err);
    }
    if (status == WA_OK) {
        status = make_data_folder(folder, err);
    }
    if (status == WA_OK && !has_file) {
        (void)fprintf(stderr, "fetching %s (%.1f MB)\n", request->address,
                      (double)request->size_bytes / 1e6);
        status = wa_download_fetch(request, err);
    }
    if (status == WA_OK && download->unpacks_to) {
        status = unpack(download, request->path, folder, place, err);
    }
    return status;
}

static wa_status get_file(const wa_dataset_ops *ops, uint32_t index, const char *id,
                          const char *folder, struct wa_error *err)
{
    const wa_download *download = &ops->downloads[index];
    char *substitute = find_substitute(ops, index, folder);
    char *place = place_of(download, folder);
    char *path = wa_file_join(folder, file_name(download));
    char *address = address_of(download, id);
    wa_status status = place && path && address ? WA_OK : out_of_memory(err);
    if (status == WA_OK && wa_file_exists(place)) {
        /* what was unpacked has no checksum */
        status = download->unpacks_to ? WA_OK : check_existing(download, place, err);
        if (status == WA_OK) {
            (void)fprintf(stderr, "%s is there\n", place);
        }
    } else if (status == WA_OK && substitute) {
        (void)fprintf(stderr, "%s is there\n", substitute);
    } else if (status == WA_OK) {
        const struct wa_download_request request = {.address = address,
                                                    .path = path,
                                                    .size_bytes = download->size_bytes,
                                                    .sha256 = download->sha256};
        status = fetch_file(download, &request, folder, place, err);
    }
    free(substitute);
    free(place);
    free(path);
    free(address);
    return status;
}

static wa_status get(const struct wa_registry *registry, const char *id, const char *dir,
                     struct wa_error *err)
{
    const struct wa_plugin_record *record = NULL;
    wa_status status = wa_registry_find(registry, WA_KIND_DATASET, id, &record, err);
    if (status != WA_OK) {
        return status;
    }
    const wa_dataset_ops *ops = declares_downloads(&record->plugin);
    if (!ops || ops->download_count == 0) {
        return wa_fail(err, WA_E_UNSUPPORTED, "'%s' cannot be fetched%s%s", id,
                       ops && ops->how_to_get ? ": "
                                              : ": it needs no files from elsewhere, or takes "
                                                "your own",
                       ops && ops->how_to_get ? ops->how_to_get : "");
    }
    char *folder = dir ? strdup(dir) : NULL;
    if (!dir) {
        status = default_folder(id, &folder, err);
    } else if (!folder) {
        status = out_of_memory(err);
    }
    if (status == WA_OK) {
        remove_left_over(folder);
    }
    for (uint32_t i = 0; i < ops->download_count && status == WA_OK; i++) {
        status = get_file(ops, i, id, folder, err);
    }
    if (status == WA_OK) {
        (void)printf("%s\n", folder);
    }
    free(folder);
    return status;
}

/* ---- The command ---------------------------------------------------------------------------- */

wa_status wa_command_data(const struct wa_command_line *line, struct wa_error *err)
{
    const char *word = line->positional[0];
    bool is_list = strcmp(word, "list") == 0 && line->positional_count == 1;
    bool is_get = strcmp(word, "get") == 0 && line->positional_count == 2;
    if (!is_list && !is_get) {
        return wa_fail(err, WA_E_USAGE,
                       "expected: walign data list, or walign data get NAME [--dir DIR]");
    }
    struct wa_registry *registry = NULL;
    wa_status status = wa_registry_create(&registry, err);
    if (status == WA_OK) {
        status = wa_registry_add_default_folders(registry, line->setup.plugin_paths,
                                                 line->setup.plugin_path_count, err);
    }
    if (status == WA_OK) {
        status = is_list ? list(registry, line->dir, err)
                         : get(registry, line->positional[1], line->dir, err);
    }
    wa_registry_destroy(registry);
    return status;
}
