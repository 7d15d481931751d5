/* Reading at once, atomic writing, folders, and files that grow by lines. */
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMPORARY_MARK ".tmp-"

static const char *advice(int code)
{
    switch (code) {
    case ENOSPC:
    case EDQUOT:
        return "; the disk is full: free some space or choose another folder";
    case EACCES:
    case EPERM:
    case EROFS:
        return "; check its permissions or choose another folder";
    case ENOTDIR:
        return "; a part of the path is a file: choose another path";
    case ENAMETOOLONG:
        return "; choose a shorter path";
    case EMFILE:
    case ENFILE:
        return "; raise the limit of open files (ulimit -n)";
    default:
        return "";
    }
}

wa_status wa_file_fail(struct wa_error *err, wa_status status, const char *path, const char *action,
                       int code)
{
    return wa_fail(err, status, "%s: cannot %s: %s%s", path, action, strerror(code), advice(code));
}

static wa_status fail_memory(struct wa_error *err, const char *path)
{
    return wa_fail(err, WA_E_MEMORY, "%s: not enough memory", path);
}

char *wa_file_join(const char *folder, const char *name)
{
    if (!folder || folder[0] == 0 || name[0] == '/') {
        return strdup(name);
    }
    size_t length = strlen(folder);
    size_t size = length + strlen(name) + 2;
    char *path = malloc(size);
    if (path) {
        const char *separator = folder[length - 1] == '/' ? "" : "/";
        (void)snprintf(path, size, "%s%s%s", folder, separator, name);
    }
    return path;
}

bool wa_file_exists(const char *path)
{
    struct stat about;
    return lstat(path, &about) == 0;
}

bool wa_file_is_folder(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

bool wa_file_is_unfinished_in(const char *folder)
{
    static const char suffix[] = WA_FILE_UNFINISHED;
    DIR *entries = opendir(folder);
    bool is_unfinished = false;
    for (const struct dirent *e = entries ? readdir(entries) : NULL; e && !is_unfinished;
         e = readdir(entries)) {
        size_t length = strlen(e->d_name);
        is_unfinished = length >= sizeof suffix &&
                        strcmp(e->d_name + length - (sizeof suffix - 1), suffix) == 0;
    }
    if (entries) {
        (void)closedir(entries);
    }
    return is_unfinished;
}

/* ---- Reading ------------------------------------------------------------------------------- */

struct bytes {
    unsigned char *data;
    size_t size, capacity;
};

/* Room for at least one more byte beside the closing 0. */
static bool make_room(struct bytes *bytes)
{
    if (bytes->capacity - bytes->size > 1) {
        return true;
    }
    size_t capacity;
    if (!wa_mul_size(bytes->capacity, 2, &capacity)) {
        return false;
    }
    unsigned char *data = realloc(bytes->data, capacity);
    if (!data) {
        return false;
    }
    bytes->data = data;
    bytes->capacity = capacity;
    return true;
}

static wa_status read_to_end(int fd, const char *path, size_t max_bytes, struct bytes *bytes,
                             struct wa_error *err)
{
    for (;;) {
        if (!make_room(bytes)) {
            return fail_memory(err, path);
        }
        ssize_t got = read(fd, bytes->data + bytes->size, bytes->capacity - bytes->size - 1);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return wa_file_fail(err, WA_E_IO, path, "read", errno);
        }
        if (got == 0) {
            bytes->data[bytes->size] = 0;
            return WA_OK;
        }
        bytes->size += (size_t)got;
        if (bytes->size > max_bytes) {
            return wa_fail(err, WA_E_DATA,
                           "%s: too large: expected at most %zu bytes; is it the "
                           "right file?",
                           path, max_bytes);
        }
    }
}

/* Sizes the buffer by what the file says of itself, which for a pipe or /proc is nothing. */
static wa_status read_open_file(int fd, const char *path, size_t max_bytes, struct bytes *bytes,
                                struct wa_error *err)
{
    struct stat about;
    if (fstat(fd, &about) != 0) {
        return wa_file_fail(err, WA_E_IO, path, "read", errno);
    }
    if (S_ISDIR(about.st_mode)) {
        return wa_fail(err, WA_E_DATA, "%s: is a folder, expected a file", path);
    }
    uintmax_t size = about.st_size > 0 ? (uintmax_t)about.st_size : 0;
    if (S_ISREG(about.st_mode) && size > max_bytes) {
        return wa_fail(err, WA_E_DATA,
                       "%s: too large: %ju bytes, expected at most %zu; is it the "
                       "right file?",
                       path, size, max_bytes);
    }
    bytes->capacity = S_ISREG(about.st_mode) && size < SIZE_MAX - 4096 ? (size_t)size + 2 : 4096;
    bytes->data = malloc(bytes->capacity);
    if (!bytes->data) {
        return fail_memory(err, path);
    }
    return read_to_end(fd, path, max_bytes, bytes, err);
}

wa_status wa_file_read_all(const char *path, size_t max_bytes, unsigned char **ret_data,
                           size_t *ret_size, struct wa_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return wa_file_fail(err, WA_E_DATA, path, "open", errno);
    }
    struct bytes bytes = {.data = NULL};
    wa_status status = read_open_file(fd, path, max_bytes, &bytes, err);
    (void)close(fd);
    if (status != WA_OK) {
        free(bytes.data);
        return status;
    }
    *ret_data = bytes.data;
    *ret_size = bytes.size;
    return WA_OK;
}

/* ---- Writing ------------------------------------------------------------------------------- */

/* 0, or the errno of what went wrong. */
static int write_fully(int fd, const void *data, size_t size_bytes)
{
    const char *rest = data;
    while (size_bytes > 0) {
        ssize_t written = write(fd, rest, size_bytes);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return written < 0 ? errno : EIO;
        }
        rest += written;
        size_bytes -= (size_t)written;
    }
    return 0;
}

/* Opens "<path>.tmp-<pid>-<n>", under the first n that nobody uses: another thread, or a killed
 * process that had this number. */
static int open_temporary(const char *path, char **ret_temporary)
{
    size_t size = strlen(path) + sizeof TEMPORARY_MARK + 48;
    char *temporary = malloc(size);
    if (!temporary) {
        errno = ENOMEM;
        return -1;
    }
    int fd = -1;
    for (unsigned n = 0; fd < 0 && n < 10000; n++) {
        (void)snprintf(temporary, size, "%s" TEMPORARY_MARK "%ld-%u", path, (long)getpid(), n);
        fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST) {
            break;
        }
    }
    if (fd < 0) {
        int code = errno;
        free(temporary);
        errno = code;
        return -1;
    }
    *ret_temporary = temporary;
    return fd;
}

wa_status wa_file_writer_begin(struct wa_file_writer *writer, const char *path,
                               struct wa_error *err)
{
    *writer = (struct wa_file_writer){.fd = -1, .path = strdup(path)};
    if (!writer->path) {
        return fail_memory(err, path);
    }
    writer->fd = open_temporary(path, &writer->temporary);
    if (writer->fd < 0) {
        int code = errno;
        wa_file_writer_abandon(writer);
        (void)wa_file_fail(err, WA_E_IO, path, "create", code);
        return WA_E_IO;
    }
    return WA_OK;
}

void wa_file_writer_abandon(struct wa_file_writer *writer)
{
    if (writer->fd >= 0) {
        (void)close(writer->fd);
    }
    if (writer->temporary) {
        (void)unlink(writer->temporary);
    }
    free(writer->temporary);
    free(writer->path);
    *writer = (struct wa_file_writer){.fd = -1};
}

static wa_status fail_writer(struct wa_file_writer *writer, struct wa_error *err, int code)
{
    (void)wa_file_fail(err, WA_E_IO, writer->path, "write", code);
    wa_file_writer_abandon(writer);
    return WA_E_IO;
}

wa_status wa_file_writer_append(struct wa_file_writer *writer, const void *data, size_t size_bytes,
                                struct wa_error *err)
{
    int code = write_fully(writer->fd, data, size_bytes);
    return code == 0 ? WA_OK : fail_writer(writer, err, code);
}

/* Makes a rename last through a power failure. Where a file system has no such thing (EINVAL, and
 * EACCES for a folder that may be written but not read) the data is as safe as it gets there. */
static int sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    char *folder = !slash ? strdup(".") : length == 0 ? strdup("/") : strndup(path, length);
    if (!folder) {
        return ENOMEM;
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int code = fd < 0 || fsync(fd) != 0 ? errno : 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    free(folder);
    return code == EINVAL || code == EACCES || code == ENOTSUP ? 0 : code;
}

wa_status wa_file_writer_commit(struct wa_file_writer *writer, struct wa_error *err)
{
    if (fsync(writer->fd) != 0 && errno != EINVAL) {
        return fail_writer(writer, err, errno);
    }
    int fd = writer->fd;
    writer->fd = -1;
    if (close(fd) != 0) {
        return fail_writer(writer, err, errno);
    }
    if (rename(writer->temporary, writer->path) != 0) {
        return fail_writer(writer, err, errno);
    }
    free(writer->temporary);
    writer->temporary = NULL;
    int code = sync_folder_of(writer->path);
    if (code != 0) {
        return fail_writer(writer, err, code);
    }
    wa_file_writer_abandon(writer);
    return WA_OK;
}

wa_status wa_file_write_atomic(const char *path, const void *data, size_t size_bytes,
                               struct wa_error *err)
{
    struct wa_file_writer writer;
    wa_status status = wa_file_writer_begin(&writer, path, err);
    if (status == WA_OK) {
        status = wa_file_writer_append(&writer, data, size_bytes, err);
    }
    return status == WA_OK ? wa_file_writer_commit(&writer, err) : status;
}

/* ---- Folders ------------------------------------------------------------------------------- */

static wa_status make_folder(const char *path, mode_t mode, struct wa_error *err)
{
    if (mkdir(path, mode) == 0) {
        return WA_OK;
    }
    int code = errno;
    if (wa_file_is_folder(path)) {
        return WA_OK;
    }
    return wa_file_fail(err, WA_E_IO, path, "make this folder", code == EEXIST ? ENOTDIR : code);
}

wa_status wa_files_make_folders(const char *path, mode_t mode, struct wa_error *err)
{
    char *part = strdup(path);
    if (!part) {
        return fail_memory(err, path);
    }
    wa_status status = WA_OK;
    for (char *end = part + 1; *part && *end && status == WA_OK; end++) {
        if (*end == '/' && end[-1] != '/') {
            *end = 0;
            status = make_folder(part, mode, err);
            *end = '/';
        }
    }
    if (status == WA_OK) {
        status = make_folder(path, mode, err);
    }
    free(part);
    return status;
}

/* "<anything>.tmp-<digits>-<digits>" */
static bool is_temporary(const char *name)
{
    const char *mark = strstr(name, TEMPORARY_MARK);
    for (const char *next = mark; next; next = strstr(next + 1, TEMPORARY_MARK)) {
        mark = next;
    }
    if (!mark) {
        return false;
    }
    const char *digits = mark + strlen(TEMPORARY_MARK);
    size_t process = strspn(digits, "0123456789");
    if (process == 0 || digits[process] != '-') {
        return false;
    }
    digits += process + 1;
    size_t number = strspn(digits, "0123456789");
    return number > 0 && digits[number] == 0;
}

void wa_files_remove_temporaries(const char *folder)
{
    DIR *names = opendir(folder);
    if (!names) {
        return;
    }
    for (struct dirent *entry = readdir(names); entry; entry = readdir(names)) {
        if (is_temporary(entry->d_name)) {
            (void)unlinkat(dirfd(names), entry->d_name, 0);
        }
    }
    (void)closedir(names);
}

/* ---- Lines --------------------------------------------------------------------------------- */

wa_status wa_line_writer_open(struct wa_line_writer *writer, const char *path, struct wa_error *err)
{
    *writer = (struct wa_line_writer){.fd = -1, .path = strdup(path)};
    if (!writer->path) {
        return fail_memory(err, path);
    }
    writer->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (writer->fd < 0) {
        int code = errno;
        wa_line_writer_close(writer);
        return wa_file_fail(err, WA_E_IO, path, "open for writing", code);
    }
    return WA_OK;
}

wa_status wa_line_writer_write(struct wa_line_writer *writer, const char *line,
                               struct wa_error *err)
{
    size_t length = strlen(line);
    if (memchr(line, '\n', length)) {
        return wa_fail(err, WA_E_FAILED, "%s: a line with a line feed in it was to be written",
                       writer->path);
    }
    if (writer->buffer_bytes < length + 1) {
        char *buffer = realloc(writer->buffer, length + 1);
        if (!buffer) {
            return fail_memory(err, writer->path);
        }
        writer->buffer = buffer;
        writer->buffer_bytes = length + 1;
    }
    memcpy(writer->buffer, line, length);
    writer->buffer[length] = '\n';
    off_t before = lseek(writer->fd, 0, SEEK_END);
    int code = write_fully(writer->fd, writer->buffer, length + 1);
    if (code != 0) {
        /* Should that fail too, the torn line is dropped when the run is resumed. */
        (void)!(before >= 0 && ftruncate(writer->fd, before) == 0);
        return wa_file_fail(err, WA_E_IO, writer->path, "write", code);
    }
    return WA_OK;
}

wa_status wa_line_writer_sync(struct wa_line_writer *writer, struct wa_error *err)
{
    /* EINVAL: a pipe or device, which has no disk behind it. */
    if (fsync(writer->fd) != 0 && errno != EINVAL) {
        return wa_file_fail(err, WA_E_IO, writer->path, "write", errno);
    }
    return WA_OK;
}

void wa_line_writer_close(struct wa_line_writer *writer)
{
    if (writer->fd >= 0) {
        (void)close(writer->fd);
    }
    free(writer->path);
    free(writer->buffer);
    *writer = (struct wa_line_writer){.fd = -1};
}

/* Leaves in *ret_kept how many bytes of the file stay. */
static wa_status visit_lines(FILE *file, const char *path, wa_file_line_visitor *visit,
                             void *context, off_t *ret_kept, struct wa_error *err)
{
    char *line = NULL;
    size_t capacity = 0;
    off_t kept = 0;
    wa_status status = WA_OK;
    for (uint64_t number = 1; status == WA_OK; number++) {
        errno = 0;
        ssize_t got = getline(&line, &capacity, file);
        if (got < 0 && !feof(file)) {
            status = errno == ENOMEM ? fail_memory(err, path)
                                     : wa_file_fail(err, WA_E_IO, path, "read", errno);
        }
        if (got <= 0 || line[got - 1] != '\n') {
            break;
        }
        line[got - 1] = 0;
        bool keep = true;
        status = visit(context, line, (size_t)got - 1, number, &keep, err);
        if (!keep) {
            break;
        }
        kept += got;
    }
    free(line);
    *ret_kept = kept;
    return status;
}

static wa_status shorten(int fd, const char *path, off_t size, struct wa_error *err)
{
    struct stat about;
    if (fstat(fd, &about) != 0) {
        return wa_file_fail(err, WA_E_IO, path, "read", errno);
    }
    if (about.st_size != size && (ftruncate(fd, size) != 0 || fsync(fd) != 0)) {
        return wa_file_fail(err, WA_E_IO, path, "shorten", errno);
    }
    return WA_OK;
}

wa_status wa_file_keep_lines(const char *path, wa_file_line_visitor *visit, void *context,
                             struct wa_error *err)
{
    FILE *file = fopen(path, "r+");
    if (!file && errno == ENOENT) {
        return WA_OK;
    }
    if (!file) {
        return wa_file_fail(err, WA_E_IO, path, "open for writing", errno);
    }
    off_t kept = 0;
    wa_status status = visit_lines(file, path, visit, context, &kept, err);
    if (status == WA_OK) {
        status = shorten(fileno(file), path, kept, err);
    }
    (void)fclose(file);
    return status;
}

char *wa_file_cache_path(const char *name)
{
    const char *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    char path[4096];
    int n = cache && *cache == '/' ? snprintf(path, sizeof path, "%s/walign/%s", cache, name)
            : home && *home        ? snprintf(path, sizeof path, "%s/.cache/walign/%s", home, name)
                                   : -1;
    return n > 0 && (size_t)n < sizeof path ? strdup(path) : NULL;
}

char *wa_file_program_folder(void)
{
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(program, '/');
    return slash ? strndup(program, (size_t)(slash - program)) : NULL;
}
