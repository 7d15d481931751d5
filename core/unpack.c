/* Unpacking with libarchive. */
#include "unpack.h"

#if WA_HAS_ARCHIVE

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"

enum { BLOCK_BYTES = 65536 };

/* Of all that is unpacked; a small archive can hold far more. */
static const uint64_t max_bytes = (uint64_t)64 << 30;

static bool leaves_folder(const char *name)
{
    if (name[0] == '/') {
        return true;
    }
    for (const char *part = name; part;) {
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0')) {
            return true;
        }
        part = strchr(part, '/');
        part = part ? part + 1 : NULL;
    }
    return false;
}

static wa_status make_parent(const char *path, struct wa_error *err)
{
    const char *slash = strrchr(path, '/');
    char *parent = strndup(path, (size_t)(slash - path));
    wa_status status = parent ? wa_files_make_folders(parent, 0777, err)
                              : wa_fail(err, WA_E_MEMORY, "out of memory");
    free(parent);
    return status;
}

static wa_status unpack_file(struct archive *archive, const char *archive_path, const char *path,
                             uint64_t *total, struct wa_error *err)
{
    char *block = malloc(BLOCK_BYTES);
    struct wa_file_writer writer = {.fd = -1};
    wa_status status = block ? make_parent(path, err) : wa_fail(err, WA_E_MEMORY, "out of memory");
    if (status == WA_OK) {
        status = wa_file_writer_begin(&writer, path, err);
    }
    la_ssize_t n = 0;
    while (status == WA_OK && (n = archive_read_data(archive, block, BLOCK_BYTES)) > 0) {
        *total += (uint64_t)n;
        status = *total > max_bytes
                     ? wa_fail(err, WA_E_DATA, "%s: unpacks to more than 64 GiB", archive_path)
                     : wa_file_writer_append(&writer, block, (size_t)n, err);
    }
    if (status == WA_OK && n < 0) {
        status = wa_fail(err, WA_E_DATA, "%s: broken archive: %s", archive_path,
                         archive_error_string(archive));
    }
    if (status == WA_OK) {
        status = wa_file_writer_commit(&writer, err);
    } else {
        wa_file_writer_abandon(&writer);
    }
    free(block);
    return status;
}

static wa_status unpack_entry(struct archive *archive, struct archive_entry *entry,
                              const char *archive_path, const char *folder, uint64_t *total,
                              struct wa_error *err)
{
    const char *name = archive_entry_pathname(entry);
    bool is_folder = archive_entry_filetype(entry) == AE_IFDIR;
    bool is_plain = is_folder || archive_entry_filetype(entry) == AE_IFREG;
    if (!name || !*name || leaves_folder(name) || !is_plain || archive_entry_hardlink(entry)) {
        return wa_fail(err, WA_E_DATA, "%s: refused, its entry '%s' %s", archive_path,
                       name ? name : "",
                       name && leaves_folder(name) ? "would leave the folder"
                                                   : "is neither a plain file nor a folder");
    }
    char *path = wa_file_join(folder, name);
    wa_status status = path ? WA_OK : wa_fail(err, WA_E_MEMORY, "out of memory");
    if (status == WA_OK) {
        status = is_folder ? wa_files_make_folders(path, 0777, err)
                           : unpack_file(archive, archive_path, path, total, err);
    }
    free(path);
    return status;
}

wa_status wa_unpack(const char *archive_path, const char *folder, struct wa_error *err)
{
    struct archive *archive = archive_read_new();
    if (!archive) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    (void)archive_read_support_filter_all(archive);
    (void)archive_read_support_format_all(archive);
    uint64_t total = 0;
    struct archive_entry *entry = NULL;
    int code = archive_read_open_filename(archive, archive_path, BLOCK_BYTES);
    wa_status status = WA_OK;
    while (status == WA_OK && code == ARCHIVE_OK &&
           (code = archive_read_next_header(archive, &entry)) == ARCHIVE_OK) {
        status = unpack_entry(archive, entry, archive_path, folder, &total, err);
    }
    if (status == WA_OK && code != ARCHIVE_EOF) {
        status = wa_fail(err, WA_E_DATA, "%s: broken archive: %s", archive_path,
                         archive_error_string(archive));
    }
    (void)archive_read_free(archive);
    return status;
}

wa_status wa_unpack_check(const char *archive_path, const char *folder, struct wa_error *err)
{
    (void)archive_path;
    (void)folder;
    (void)err;
    return WA_OK;
}

#else

wa_status wa_unpack_check(const char *archive_path, const char *folder, struct wa_error *err)
{
    return wa_fail(err, WA_E_UNSUPPORTED,
                   "this walign was built without libarchive: install libarchive-dev and build "
                   "again, or unpack %s into %s yourself",
                   archive_path, folder);
}

wa_status wa_unpack(const char *archive_path, const char *folder, struct wa_error *err)
{
    return wa_unpack_check(archive_path, folder, err);
}

#endif
