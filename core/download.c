/* Fetching a file over HTTP with libcurl. */
#include "download.h"

#if WA_HAS_CURL

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "progress.h"
#include "sha256.h"

enum { HTTP_BAD_RANGE = 416, MAX_REDIRECTS = 5, CONNECT_SECONDS = 30, STALLED_SECONDS = 60 };

struct transfer {
    const struct wa_download_request *request;
    char *part_path;
    int fd;
    uint64_t size_bytes; /* of the part */
    int write_error;     /* an errno */
    bool is_too_large;
    bool is_terminal; /* where a bar is shown */
    uint64_t first_byte;
    double start_seconds, shown_seconds;
    struct wa_error *err;
};

/* What was there before it was resumed tells nothing of the time left. */
static void show_progress(struct transfer *t)
{
    double now = wa_progress_now();
    if (!t->is_terminal || now - t->shown_seconds < 0.2) {
        return;
    }
    t->shown_seconds = now;
    char left[32];
    char cells[WA_PROGRESS_CELLS + 1];
    double total = (double)t->request->size_bytes;
    double done = (double)t->size_bytes;
    double fetched = done - (double)t->first_byte;
    wa_progress_duration(left, sizeof left,
                         fetched > 0 ? (now - t->start_seconds) / fetched * (total - done) : 0);
    wa_progress_cells(done / total, cells);
    (void)fprintf(stderr, "\r\033[K[%s] %.1f/%.1f MB  %s left", cells, done / 1e6, total / 1e6,
                  left);
    (void)fflush(stderr);
}

static void start_progress(struct transfer *t)
{
    t->is_terminal = isatty(STDERR_FILENO) == 1;
    t->first_byte = t->size_bytes;
    t->start_seconds = wa_progress_now();
}

static void end_progress(const struct transfer *t)
{
    if (t->is_terminal) {
        (void)fputs("\r\033[K", stderr);
    }
}

static size_t take(char *data, size_t size, size_t count, void *context)
{
    struct transfer *t = context;
    size_t bytes = size * count;
    if (t->size_bytes + bytes > t->request->size_bytes) {
        t->is_too_large = true;
        return 0;
    }
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(t->fd, data + done, bytes - done);
        if (n < 0 && errno != EINTR) {
            t->write_error = errno;
            return 0;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    t->size_bytes += bytes;
    show_progress(t);
    return bytes;
}

static void set_options(CURL *curl, struct transfer *t, char *message)
{
    (void)curl_easy_setopt(curl, CURLOPT_URL, t->request->address);
#if LIBCURL_VERSION_NUM >= 0x075500
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
#else
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
    (void)curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    (void)curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)MAX_REDIRECTS);
    (void)curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    (void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)STALLED_SECONDS);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, message);
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "walign");
    if (t->size_bytes > 0) {
        (void)curl_easy_setopt(curl, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)t->size_bytes);
    }
}

/* One request for what is missing. *ret_retry: the server cannot resume, start over. */
static wa_status request_rest(struct transfer *t, bool *ret_retry)
{
    char message[CURL_ERROR_SIZE] = "";
    long http_code = 0;
    CURL *curl = curl_easy_init();
    if (!curl) {
        return wa_fail(t->err, WA_E_FAILED, "libcurl cannot be started");
    }
    bool was_resumed = t->size_bytes > 0;
    set_options(curl, t, message);
    start_progress(t);
    CURLcode code = curl_easy_perform(curl);
    end_progress(t);
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &http_code);
    curl_easy_cleanup(curl);
    if (code == CURLE_OK) {
        return WA_OK;
    }
    if (was_resumed && (code == CURLE_RANGE_ERROR || http_code == HTTP_BAD_RANGE)) {
        *ret_retry = true;
        return WA_OK;
    }
    if (t->write_error) {
        return wa_file_fail(t->err, WA_E_IO, t->part_path, "write", t->write_error);
    }
    if (t->is_too_large) {
        (void)unlink(t->part_path);
        return wa_fail(t->err, WA_E_DATA,
                       "%s sends more than the %" PRIu64 " bytes of the official file; nothing was "
                       "kept",
                       t->request->address, t->request->size_bytes);
    }
    return wa_fail(t->err, WA_E_IO, "%s: %s; run the command again to go on from byte %" PRIu64,
                   t->request->address, message[0] ? message : curl_easy_strerror(code),
                   t->size_bytes);
}

static wa_status open_part(struct transfer *t)
{
    struct stat info;
    t->fd = open(t->part_path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (t->fd < 0) {
        /* a folder that cannot be written to was a bad choice */
        return wa_file_fail(t->err, WA_E_USAGE, t->part_path, "create", errno);
    }
    if (flock(t->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        return wa_fail(t->err, WA_E_USAGE, "%s: another process is fetching this file",
                       t->part_path);
    }
    if (fstat(t->fd, &info) != 0) {
        return wa_file_fail(t->err, WA_E_IO, t->part_path, "look at", errno);
    }
    t->size_bytes = (uint64_t)info.st_size;
    if (t->size_bytes > t->request->size_bytes) {
        t->size_bytes = 0;
        return ftruncate(t->fd, 0) == 0
                   ? WA_OK
                   : wa_file_fail(t->err, WA_E_IO, t->part_path, "shorten", errno);
    }
    return WA_OK;
}

static wa_status transfer_all(struct transfer *t)
{
    bool is_retry = false;
    wa_status status = t->size_bytes < t->request->size_bytes ? request_rest(t, &is_retry) : WA_OK;
    if (status == WA_OK && is_retry) {
        t->size_bytes = 0;
        t->is_too_large = false;
        bool ignored = false;
        status = ftruncate(t->fd, 0) == 0
                     ? request_rest(t, &ignored)
                     : wa_file_fail(t->err, WA_E_IO, t->part_path, "shorten", errno);
    }
    return status;
}

/* A file that is not the expected one is removed: going on with it would never end well. */
static wa_status check_and_place(struct transfer *t)
{
    const struct wa_download_request *r = t->request;
    char hash[WA_SHA256_HEX_BYTES];
    if (fsync(t->fd) != 0) {
        return wa_file_fail(t->err, WA_E_IO, t->part_path, "write", errno);
    }
    wa_status status = wa_sha256_file(t->part_path, hash, t->err);
    if (status != WA_OK) {
        return status;
    }
    if (t->size_bytes != r->size_bytes || strcmp(hash, r->sha256) != 0) {
        (void)unlink(t->part_path);
        return wa_fail(t->err, WA_E_DATA,
                       "%s is not the official file: %" PRIu64 " bytes with SHA-256 %s, expected "
                       "%" PRIu64 " and %s; nothing was kept",
                       r->address, t->size_bytes, hash, r->size_bytes, r->sha256);
    }
    return rename(t->part_path, r->path) == 0
               ? WA_OK
               : wa_file_fail(t->err, WA_E_IO, r->path, "create", errno);
}

wa_status wa_download_fetch(const struct wa_download_request *request, struct wa_error *err)
{
    struct transfer t = {.request = request, .fd = -1, .err = err};
    size_t length = strlen(request->path) + sizeof WA_FILE_UNFINISHED;
    t.part_path = malloc(length);
    wa_status status = t.part_path ? WA_OK : wa_fail(err, WA_E_MEMORY, "out of memory");
    if (status == WA_OK) {
        (void)snprintf(t.part_path, length, "%s" WA_FILE_UNFINISHED, request->path);
        status = open_part(&t);
    }
    if (status == WA_OK) {
        status = transfer_all(&t);
    }
    if (status == WA_OK) {
        status = check_and_place(&t);
    }
    if (t.fd >= 0) {
        (void)close(t.fd);
    }
    free(t.part_path);
    return status;
}

wa_status wa_download_check(const struct wa_download_request *request, struct wa_error *err)
{
    (void)request;
    (void)err;
    return WA_OK;
}

#else

wa_status wa_download_check(const struct wa_download_request *request, struct wa_error *err)
{
    return wa_fail(err, WA_E_UNSUPPORTED,
                   "this walign was built without libcurl: install libcurl4-openssl-dev and build "
                   "again, or put %s at %s yourself",
                   request->address, request->path);
}

wa_status wa_download_fetch(const struct wa_download_request *request, struct wa_error *err)
{
    return wa_download_check(request, err);
}

#endif
