/* A folder for a test's data files: see data_folder.h. */
#define _XOPEN_SOURCE 700 /* nftw */
#include "data_folder.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

bool wa_data_folder_create(struct wa_data_folder *ret_folder)
{
    const char *parent = getenv("TMPDIR");
    int length = snprintf(ret_folder->path, sizeof ret_folder->path, "%s/walign-data-XXXXXX",
                          parent && parent[0] ? parent : "/tmp");
    if (length < 0 || (size_t)length >= sizeof ret_folder->path) {
        return false;
    }
    return mkdtemp(ret_folder->path) != NULL;
}

const char *wa_data_folder_file(struct wa_data_folder *folder, const char *name)
{
    (void)snprintf(folder->file, sizeof folder->file, "%s/%s", folder->path, name);
    return folder->file;
}

bool wa_data_folder_make(struct wa_data_folder *folder, const char *name)
{
    return mkdir(wa_data_folder_file(folder, name), 0700) == 0;
}

bool wa_data_folder_write(struct wa_data_folder *folder, const char *name, const void *data,
                          size_t size)
{
    FILE *stream = fopen(wa_data_folder_file(folder, name), "wb");
    if (!stream) {
        return false;
    }
    bool is_written = fwrite(data, 1, size, stream) == size;
    return fclose(stream) == 0 && is_written;
}

bool wa_data_folder_delete(struct wa_data_folder *folder, const char *name)
{
    return unlink(wa_data_folder_file(folder, name)) == 0;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

bool wa_data_folder_remove(const struct wa_data_folder *folder)
{
    return nftw(folder->path, remove_entry, 8, FTW_DEPTH | FTW_PHYS) == 0;
}
