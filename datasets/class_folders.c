/* Class folders and their images: see class_folders.h. */
#define _DEFAULT_SOURCE /* d_type: a million images need no stat each */
#include "class_folders.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "image.h"

/* ---- One folder ----------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static wa_status add_name(const wa_host *host, struct wa_class_names *names, size_t *capacity,
                          const char *name)
{
    if (names->count == *capacity) {
        size_t wanted = *capacity ? 2 * *capacity : 64;
        size_t bytes = 0;
        char **grown =
            wa_files_mul(wanted, sizeof *grown, &bytes) ? realloc(names->names, bytes) : NULL;
        if (!grown) {
            return wa_files_no_memory(host, bytes, "names of files");
        }
        names->names = grown;
        *capacity = wanted;
    }
    char *copy = strdup(name);
    if (!copy) {
        return wa_files_no_memory(host, strlen(name) + 1, "the name of a file");
    }
    names->names[names->count++] = copy;
    return WA_OK;
}

static bool is_folder(const char *folder, const struct dirent *entry)
{
    if (entry->d_type != DT_UNKNOWN && entry->d_type != DT_LNK) {
        return entry->d_type == DT_DIR;
    }
    struct stat info;
    size_t size = strlen(folder) + strlen(entry->d_name) + 2;
    char *path = malloc(size);
    if (!path) {
        return false; /* what then looks into it reports that */
    }
    (void)snprintf(path, size, "%s/%s", folder, entry->d_name);
    bool is = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    free(path);
    return is;
}

/* The entries of a folder, which must all be folders, or all be none. */
static wa_status list(const wa_host *host, const char *folder, bool wants_folders,
                      struct wa_class_names *ret_names)
{
    DIR *stream = opendir(folder);
    if (!stream) {
        return host->fail(host, errno == ENOENT || errno == ENOTDIR ? WA_E_DATA : WA_E_IO,
                          "%s: cannot be opened: %s; expected a folder of %s", folder,
                          strerror(errno), wants_folders ? "class folders" : "images");
    }
    wa_status status = WA_OK;
    size_t capacity = 0;
    errno = 0;
    for (struct dirent *entry = readdir(stream); entry && status == WA_OK;
         entry = readdir(stream)) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        if (is_folder(folder, entry) != wants_folders) {
            status = host->fail(host, WA_E_DATA, "%s/%s: is %s; expected %s: move it away", folder,
                                entry->d_name, wants_folders ? "no folder" : "a folder",
                                wants_folders ? "folders of images only, one a class"
                                              : "images only within the folder of a class");
        } else {
            status = add_name(host, ret_names, &capacity, entry->d_name);
        }
        errno = 0;
    }
    if (status == WA_OK && errno != 0) {
        status = host->fail(host, WA_E_IO, "%s: cannot be read: %s", folder, strerror(errno));
    }
    (void)closedir(stream);
    if (status == WA_OK && ret_names->count > 0) {
        qsort(ret_names->names, ret_names->count, sizeof *ret_names->names, compare_names);
    }
    return status;
}

wa_status wa_class_folders_list(const wa_host *host, const char *folder,
                                struct wa_class_names *ret_classes)
{
    wa_status status = list(host, folder, true, ret_classes);
    if (status == WA_OK && ret_classes->count == 0) {
        status = host->fail(host, WA_E_DATA,
                            "%s: holds no class folders; expected %s/<class>/<images>, JPEG or PNG",
                            folder, folder);
    }
    return status;
}

void wa_class_folders_finish_names(struct wa_class_names *classes)
{
    for (size_t i = 0; i < classes->count; i++) {
        free(classes->names[i]);
    }
    free(classes->names);
    *classes = (struct wa_class_names){0};
}

/* ---- Images --------------------------------------------------------------------------------- */

static bool has_image_name(const char *name)
{
    static const char *const ends[] = {".jpeg", ".jpg", ".png"};
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t end = strlen(ends[i]);
        if (length > end && strcasecmp(name + length - end, ends[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* Files that are named otherwise are looked into: at start, not when an epoch comes to them. */
static wa_status check_image(const wa_host *host, const char *folder, const char *name)
{
    if (has_image_name(name)) {
        return WA_OK;
    }
    char *path = NULL;
    wa_status status = wa_files_join(host, folder, name, "", &path);
    if (status != WA_OK) {
        return status;
    }
    uint8_t head[8];
    FILE *stream = wa_files_open(path);
    size_t size = stream ? fread(head, 1, sizeof head, stream) : 0;
    if (!stream) {
        status = host->fail(host, WA_E_IO, "%s: cannot be opened: %s", path, strerror(errno));
    } else {
        (void)fclose(stream);
    }
    if (status == WA_OK && wa_image_sniff(head, size) == WA_IMAGE_UNKNOWN) {
        status =
            host->fail(host, WA_E_DATA,
                       "%s: is neither a JPEG nor a PNG file, by name or first bytes; expected "
                       "images only within the folder of a class: move it away",
                       path);
    }
    free(path);
    return status;
}

/* Takes the names over. */
static wa_status add_images(const wa_host *host, struct wa_class_images *images,
                            struct wa_class_names *names, uint32_t label)
{
    size_t total = 0;
    size_t bytes = 0;
    if (!wa_files_add((size_t)images->count, names->count, &total) ||
        !wa_files_mul(total, sizeof *images->images, &bytes)) {
        return wa_files_no_memory(host, SIZE_MAX, "the list of images");
    }
    struct wa_class_image *grown = realloc(images->images, bytes);
    if (!grown) {
        return wa_files_no_memory(host, bytes, "the list of images");
    }
    images->images = grown;
    for (size_t i = 0; i < names->count; i++) {
        images->images[images->count++] =
            (struct wa_class_image){.name = names->names[i], .label = label};
    }
    names->count = 0;
    return WA_OK;
}

static wa_status read_class(const wa_host *host, const char *class_name, uint32_t label,
                            struct wa_class_images *images)
{
    char *folder = NULL;
    wa_status status = wa_files_join(host, images->folder, class_name, "", &folder);
    if (status != WA_OK) {
        return status;
    }
    struct wa_class_names names = {0};
    status = list(host, folder, false, &names);
    if (status == WA_OK && names.count == 0) {
        status =
            host->fail(host, WA_E_DATA,
                       "%s: the folder of a class without images; fill it or remove it", folder);
    }
    for (size_t i = 0; i < names.count && status == WA_OK; i++) {
        status = check_image(host, folder, names.names[i]);
    }
    if (status == WA_OK) {
        status = add_images(host, images, &names, label);
    }
    wa_class_folders_finish_names(&names);
    free(folder);
    return status;
}

wa_status wa_class_folders_read(const wa_host *host, const char *folder,
                                const struct wa_class_names *classes,
                                struct wa_class_images *ret_images)
{
    ret_images->folder = strdup(folder);
    if (!ret_images->folder) {
        return wa_files_no_memory(host, strlen(folder) + 1, "a path");
    }
    struct wa_class_names here = {0};
    wa_status status = wa_class_folders_list(host, folder, &here);
    for (size_t i = 0; i < here.count && status == WA_OK; i++) {
        char **found = bsearch(&here.names[i], classes->names, classes->count,
                               sizeof *classes->names, compare_names);
        if (found) {
            status = read_class(host, *found, (uint32_t)(found - classes->names), ret_images);
        } else {
            status = host->fail(host, WA_E_DATA,
                                "%s/%s: is no class of the training images; expected the names of "
                                "their class folders",
                                folder, here.names[i]);
        }
    }
    wa_class_folders_finish_names(&here);
    return status;
}

void wa_class_folders_finish(struct wa_class_images *images)
{
    for (uint64_t i = 0; i < images->count; i++) {
        free(images->images[i].name);
    }
    free(images->images);
    free(images->folder);
    *images = (struct wa_class_images){0};
}

wa_status wa_class_folders_path(const wa_host *host, const struct wa_class_images *images,
                                const struct wa_class_names *classes, uint64_t index,
                                char **ret_path)
{
    const struct wa_class_image *image = &images->images[index];
    const char *class_name = classes->names[image->label];
    size_t size = strlen(images->folder) + strlen(class_name) + strlen(image->name) + 3;
    char *path = malloc(size);
    if (!path) {
        return wa_files_no_memory(host, size, "a path");
    }
    (void)snprintf(path, size, "%s/%s/%s", images->folder, class_name, image->name);
    *ret_path = path;
    return WA_OK;
}
