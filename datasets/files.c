/* Files read whole into memory, and items kept there: see files.h. */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool wa_files_mul(size_t a, size_t b, size_t *ret_result)
{
    if (b != 0 && a > SIZE_MAX / b) {
        return false;
    }
    *ret_result = a * b;
    return true;
}

bool wa_files_add(size_t a, size_t b, size_t *ret_result)
{
    if (a > SIZE_MAX - b) {
        return false;
    }
    *ret_result = a + b;
    return true;
}

wa_status wa_files_no_memory(const wa_host *host, size_t bytes, const char *purpose)
{
    return host->fail(host, WA_E_MEMORY, "out of memory: %zu bytes for %s", bytes, purpose);
}

wa_status wa_files_join(const wa_host *host, const char *folder, const char *name,
                        const char *suffix, char **ret_path)
{
    size_t size = strlen(folder) + 1 + strlen(name) + strlen(suffix) + 1;
    char *path = malloc(size);
    if (!path) {
        return wa_files_no_memory(host, size, "a path");
    }
    (void)snprintf(path, size, "%s/%s%s", folder, name, suffix);
    *ret_path = path;
    return WA_OK;
}

bool wa_files_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

static wa_status fail_irregular(const wa_host *host, const char *path)
{
    return host->fail(host, WA_E_DATA, "%s: is no regular file; expected a data file", path);
}

/* Reads what `stream` holds now; a file that changes meanwhile is not worth a guess. */
static wa_status load_stream(const wa_host *host, const char *path, FILE *stream,
                             struct wa_files_bytes *ret_bytes)
{
    struct stat info;
    if (fstat(fileno(stream), &info) != 0) {
        return host->fail(host, WA_E_IO, "%s: cannot be read: %s", path, strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) {
        return fail_irregular(host, path);
    }
    if ((uintmax_t)info.st_size >= SIZE_MAX) {
        return host->fail(host, WA_E_DATA, "%s: too large to be read into memory", path);
    }
    size_t size = (size_t)info.st_size;
    uint8_t *data = malloc(size + 1);
    if (!data) {
        return wa_files_no_memory(host, size + 1, path);
    }
    size_t got = fread(data, 1, size, stream);
    if (got != size) {
        free(data);
        return host->fail(host, WA_E_IO, "%s: only %zu of %zu bytes could be read: %s", path, got,
                          size, ferror(stream) ? strerror(errno) : "the file shrank meanwhile");
    }
    *ret_bytes = (struct wa_files_bytes){.data = data, .size = size};
    return WA_OK;
}

FILE *wa_files_open(const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    FILE *stream = fd >= 0 ? fdopen(fd, "rb") : NULL;
    if (fd >= 0 && !stream) {
        int code = errno;
        (void)close(fd);
        errno = code;
    }
    return stream;
}

wa_status wa_files_load(const wa_host *host, const char *path, struct wa_files_bytes *ret_bytes)
{
    FILE *stream = wa_files_open(path);
    if (!stream) {
        return host->fail(host, WA_E_DATA,
                          "%s: cannot be opened: %s; expected a readable data file", path,
                          strerror(errno));
    }
    wa_status status = load_stream(host, path, stream, ret_bytes);
    (void)fclose(stream);
    return status;
}

struct wa_files_set *wa_files_create_set(const wa_host *host)
{
    struct wa_files_set *set = calloc(1, sizeof *set);
    if (!set) {
        (void)wa_files_no_memory(host, sizeof *set, "a dataset");
        return NULL;
    }
    set->host = host;
    return set;
}

wa_status wa_files_read_item(void *self, const wa_read *read)
{
    const struct wa_files_set *set = self;
    bool is_test = read->part == WA_PART_TEST;
    const struct wa_files_part *part = is_test ? &set->test : &set->train;
    uint64_t count = is_test || read->part == WA_PART_TRAIN ? part->count : 0;
    if (read->index >= count) {
        return set->host->fail(set->host, WA_E_FAILED,
                               "item %llu of part %d was asked for, but that part has %llu items",
                               (unsigned long long)read->index, (int)read->part,
                               (unsigned long long)count);
    }
    size_t index = (size_t)read->index;
    memcpy(read->ret_item, part->items + index * set->item_bytes, set->item_bytes);
    memcpy(read->ret_target, &part->labels[index], sizeof part->labels[index]);
    return WA_OK;
}

static void free_part(struct wa_files_part *part)
{
    free(part->block);
    free(part->labels);
}

void wa_files_close_set(void *self)
{
    struct wa_files_set *set = self;
    if (!set) {
        return;
    }
    free_part(&set->train);
    free_part(&set->test);
    free(set);
}
