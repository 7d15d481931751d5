/* The directory of a run. Everything in it survives a kill at any time: run.json and checkpoints
 * are whole or absent, files of lines lose at most a torn last line, which a resume drops. */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "log.h"

enum { MAX_RUN_BYTES = 64 << 20, NUMBER_BYTES = 40 };

#define RUN_NAME "run.json"
#define METRICS_NAME "metrics.jsonl"
#define STEPS_NAME "steps.jsonl"
#define CHECKPOINTS_NAME "checkpoints"
#define LAST_NAME "last.safetensors"
#define LOCK_NAME "lock"
#define SWEEP_NAME "sweep.json"

/* A file of lines, each with a growing number under `key`. */
struct lines {
    const char *key;
    char *path;
    int64_t last; /* -1: no line yet */
    struct wa_line_writer writer;
};

struct wa_record {
    char *directory;
    char *lock_path;
    int lock_fd;
    struct lines metrics, steps;
};

static wa_status fail_memory(struct wa_error *err, const char *path)
{
    return wa_fail(err, WA_E_MEMORY, "%s: not enough memory", path);
}

/* ---- JSON that any program can read ---------------------------------------------------------- */

static int print_double(struct json_object *object, struct printbuf *out, int digits)
{
    double value = json_object_get_double(object);
    char text[NUMBER_BYTES];
    if (!isfinite(value)) {
        return printbuf_memappend(out, "null", 4);
    }
    (void)snprintf(text, sizeof text, "%.*g", digits, value);
    char *comma = strchr(text, ','); /* of the user's locale */
    if (comma) {
        *comma = '.';
    }
    int done = printbuf_memappend(out, text, (int)strlen(text));
    if (done >= 0 && !strpbrk(text, ".e")) {
        done = printbuf_memappend(out, ".0", 2); /* stays a float to readers that tell */
    }
    return done;
}

static int print_nine_digits(struct json_object *object, struct printbuf *out, int level, int flags)
{
    (void)level;
    (void)flags;
    return print_double(object, out, 9);
}

/* The fewest digits that give back the same double: 0.1, not 0.10000000000000001. */
static int print_shortest(struct json_object *object, struct printbuf *out, int level, int flags)
{
    (void)level;
    (void)flags;
    double value = json_object_get_double(object);
    int digits = 15;
    for (; digits < 17; digits++) {
        char text[NUMBER_BYTES];
        (void)snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    return print_double(object, out, digits);
}

struct json_object *wa_record_number(double value)
{
    struct json_object *number = isfinite(value) ? json_object_new_double(value) : NULL;
    if (number) {
        json_object_set_serializer(number, print_nine_digits, NULL, NULL);
    }
    return number;
}

/* Length of the UTF-8 character that starts here; 0: none does. */
static size_t character_bytes(const unsigned char *text, size_t length)
{
    unsigned char first = text[0];
    size_t size = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (first > 0xf4 || size > length) {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool is_overlong = (first == 0xe0 && text[1] < 0xa0) || (first == 0xf0 && text[1] < 0x90);
    bool is_surrogate = first == 0xed && text[1] > 0x9f;
    bool is_too_large = first == 0xf4 && text[1] > 0x8f;
    return is_overlong || is_surrogate || is_too_large ? 0 : size;
}

/* Device names and paths come from outside. False when out of memory. */
static bool make_utf8(struct json_object *string)
{
    static const char replacement[] = "\xef\xbf\xbd";
    const char *text = json_object_get_string(string);
    size_t length = (size_t)json_object_get_string_len(string), size;
    if (!wa_mul_size(length, 3, &size)) {
        return false;
    }
    char *clean = malloc(size + 1);
    if (!clean) {
        return false;
    }
    size_t used = 0, replaced = 0;
    for (size_t i = 0; i < length;) {
        size_t bytes = character_bytes((const unsigned char *)text + i, length - i);
        memcpy(clean + used, bytes ? text + i : replacement, bytes ? bytes : 3);
        used += bytes ? bytes : 3;
        i += bytes ? bytes : 1;
        replaced += bytes ? 0 : 1;
    }
    bool is_done = replaced == 0 ||
                   (used <= INT32_MAX && json_object_set_string_len(string, clean, (int)used) == 1);
    free(clean);
    return is_done;
}

/* Sees to it that `value` and all in it is written as valid JSON. A double that remembers the text
 * it was read from keeps that. */
static bool make_writable(struct json_object *value, json_object_to_json_string_fn *print)
{
    bool is_done = true;
    switch (json_object_get_type(value)) {
    case json_type_double:
        if (!isfinite(json_object_get_double(value)) || !json_object_get_userdata(value)) {
            json_object_set_serializer(value, print, NULL, NULL);
        }
        break;
    case json_type_string:
        is_done = make_utf8(value);
        break;
    case json_type_array:
        for (size_t i = 0; i < json_object_array_length(value) && is_done; i++) {
            is_done = make_writable(json_object_array_get_idx(value, i), print);
        }
        break;
    case json_type_object: {
        json_object_object_foreach(value, key, member)
        {
            (void)key;
            is_done = is_done && make_writable(member, print);
        }
        break;
    }
    default:
        break;
    }
    return is_done;
}

/* ---- Lock ------------------------------------------------------------------------------------ */

static wa_status fail_locked(struct wa_error *err, const char *directory, int fd)
{
    char process[32] = "";
    ssize_t got = pread(fd, process, sizeof process - 1, 0);
    process[got > 0 ? strspn(process, "0123456789") : 0] = 0;
    return wa_fail(
        err, WA_E_USAGE,
        "%s: another walign%s%s%s is writing to this run directory; wait for it or choose "
        "another one with --out",
        directory, process[0] ? ", process " : "", process, process[0] ? "," : "");
}

/* Whether the open file is still the one of that name: its last owner removes it. */
static bool is_same_file(int fd, const char *path)
{
    struct stat opened, named;
    return fstat(fd, &opened) == 0 && stat(path, &named) == 0 && opened.st_dev == named.st_dev &&
           opened.st_ino == named.st_ino;
}

static wa_status lock(struct wa_record *record, struct wa_error *err)
{
    for (;;) {
        int fd = open(record->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0) {
            return wa_file_fail(err, WA_E_IO, record->lock_path, "create", errno);
        }
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            int code = errno;
            if (code == EWOULDBLOCK) {
                wa_status status = fail_locked(err, record->directory, fd);
                (void)close(fd);
                return status;
            }
            wa_log(WA_LOG_WARNING, "%s: cannot lock: %s, ignoring; do not start this run twice",
                   record->lock_path, strerror(code));
        } else if (!is_same_file(fd, record->lock_path)) {
            (void)close(fd);
            continue;
        }
        record->lock_fd = fd;
        char process[32];
        int length = snprintf(process, sizeof process, "%ld\n", (long)getpid());
        /* The number is for the other process's message alone. */
        (void)!(ftruncate(fd, 0) == 0 && write(fd, process, (size_t)length) == length);
        return WA_OK;
    }
}

static void unlock(struct wa_record *record)
{
    if (record->lock_fd >= 0) {
        (void)unlink(record->lock_path);
        (void)close(record->lock_fd);
    }
}

/* ---- Lines ----------------------------------------------------------------------------------- */

/* The whole number under `key`, at least 0; -1 where there is none. */
static int64_t read_key(struct json_object *line, const char *key)
{
    struct json_object *number =
        json_object_is_type(line, json_type_object) ? json_object_object_get(line, key) : NULL;
    int64_t value = json_object_is_type(number, json_type_int) ? json_object_get_int64(number) : -1;
    return value < 0 ? -1 : value;
}

static struct json_object *parse_line(const char *text, size_t length)
{
    struct json_tokener *tokener = length <= INT32_MAX ? json_tokener_new() : NULL;
    if (!tokener) {
        return NULL;
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    struct json_object *line = json_tokener_parse_ex(tokener, text, (int)length);
    bool is_whole = json_tokener_get_error(tokener) == json_tokener_success &&
                    json_tokener_get_parse_end(tokener) == length;
    json_tokener_free(tokener);
    if (!is_whole) {
        json_object_put(line);
        return NULL;
    }
    return line;
}

/* Every whole line stays. One that cannot be ours is not thrown away either: the user decides. */
static wa_status visit_line(void *context, const char *text, size_t length, uint64_t number,
                            bool *ret_keep, struct wa_error *err)
{
    struct lines *lines = context;
    (void)ret_keep;
    struct json_object *line = parse_line(text, length);
    int64_t value = read_key(line, lines->key);
    json_object_put(line);
    if (value <= lines->last) {
        return wa_fail(err, WA_E_DATA,
                       "%s:%" PRIu64 ":1: expected a JSON object with \"%s\", a number that grows "
                       "from line to line; repair this line, or delete it and all after it",
                       lines->path, number, lines->key);
    }
    lines->last = value;
    return WA_OK;
}

static wa_status init_lines(struct lines *lines, const char *directory, const char *name,
                            const char *key, struct wa_error *err)
{
    *lines = (struct lines){
        .key = key,
        .path = wa_file_join(directory, name),
        .last = -1,
        .writer = {.fd = -1},
    };
    return lines->path ? WA_OK : fail_memory(err, directory);
}

static wa_status append_line(struct lines *lines, struct json_object *line, struct wa_error *err)
{
    int64_t number = read_key(line, lines->key);
    if (number < 0) {
        return wa_fail(err, WA_E_FAILED, "%s: a line without \"%s\" was to be written", lines->path,
                       lines->key);
    }
    if (number <= lines->last) {
        return WA_OK;
    }
    wa_status status = WA_OK;
    if (lines->writer.fd < 0) {
        status = wa_line_writer_open(&lines->writer, lines->path, err);
    }
    if (status != WA_OK) {
        return status;
    }
    const char *text = make_writable(line, print_nine_digits)
                           ? json_object_to_json_string_ext(
                                 line, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
                           : NULL;
    if (!text) {
        return fail_memory(err, lines->path);
    }
    status = wa_line_writer_write(&lines->writer, text, err);
    if (status == WA_OK) {
        lines->last = number;
    }
    return status;
}

wa_status wa_record_append_metrics(struct wa_record *record, struct json_object *line,
                                   struct wa_error *err)
{
    return append_line(&record->metrics, line, err);
}

wa_status wa_record_append_step(struct wa_record *record, struct json_object *line,
                                struct wa_error *err)
{
    return append_line(&record->steps, line, err);
}

wa_status wa_record_sync(struct wa_record *record, struct wa_error *err)
{
    struct wa_line_writer *writers[] = {&record->metrics.writer, &record->steps.writer};
    wa_status status = WA_OK;
    for (size_t i = 0; i < 2 && status == WA_OK; i++) {
        if (writers[i]->fd >= 0) {
            status = wa_line_writer_sync(writers[i], err);
        }
    }
    return status;
}

int64_t wa_record_last_epoch(const struct wa_record *record)
{
    return record->metrics.last;
}

int64_t wa_record_last_step(const struct wa_record *record)
{
    return record->steps.last;
}

/* ---- The directory --------------------------------------------------------------------------- */

/* Nothing of an earlier run may be mixed with a new one. */
static wa_status refuse_earlier_run(const char *directory, struct wa_error *err)
{
    static const char *const names[] = {RUN_NAME, METRICS_NAME, STEPS_NAME,
                                        CHECKPOINTS_NAME "/" LAST_NAME};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *path = wa_file_join(directory, names[i]);
        if (!path) {
            return fail_memory(err, directory);
        }
        bool is_there = wa_file_exists(path);
        free(path);
        if (is_there) {
            return wa_fail(err, WA_E_USAGE,
                           "%s: there is a run in this directory already (%s); go on with it by "
                           "--resume, choose another one with --out, or delete it",
                           directory, names[i]);
        }
    }
    return WA_OK;
}

/* A sweep that finds a run in its directory cannot be resumed any more. */
static wa_status refuse_sweep(const char *directory, struct wa_error *err)
{
    char *path = wa_file_join(directory, SWEEP_NAME);
    if (!path) {
        return fail_memory(err, directory);
    }
    bool is_there = wa_file_exists(path);
    free(path);
    return is_there
               ? wa_fail(err, WA_E_USAGE,
                         "%s: there is a sweep in this directory (" SWEEP_NAME "), not a single "
                         "run; choose another one with --out",
                         directory)
               : WA_OK;
}

static wa_status make_checkpoint_folder(const char *directory, struct wa_error *err)
{
    char *folder = wa_file_join(directory, CHECKPOINTS_NAME);
    if (!folder) {
        return fail_memory(err, directory);
    }
    wa_status status = wa_files_make_folders(folder, 0777, err);
    wa_files_remove_temporaries(folder);
    wa_files_remove_temporaries(directory);
    free(folder);
    return status;
}

static wa_status keep_lines(struct wa_record *record, struct wa_error *err)
{
    wa_status status = wa_file_keep_lines(record->metrics.path, visit_line, &record->metrics, err);
    if (status == WA_OK) {
        status = wa_file_keep_lines(record->steps.path, visit_line, &record->steps, err);
    }
    return status;
}

static wa_status open_directory(struct wa_record *record, bool resume, struct wa_error *err)
{
    const char *directory = record->directory;
    wa_status status = init_lines(&record->metrics, directory, METRICS_NAME, "epoch", err);
    if (status == WA_OK) {
        status = init_lines(&record->steps, directory, STEPS_NAME, "step", err);
    }
    if (status == WA_OK) {
        status = refuse_sweep(directory, err); /* before anything is written */
    }
    if (status == WA_OK && !resume) {
        status = refuse_earlier_run(directory, err);
    }
    if (status == WA_OK) {
        status = wa_files_make_folders(directory, 0777, err);
    }
    if (status == WA_OK) {
        status = lock(record, err);
    }
    if (status == WA_OK && !resume) {
        status = refuse_earlier_run(directory, err); /* again, now that nobody else can write */
    }
    if (status == WA_OK) {
        status = make_checkpoint_folder(directory, err);
    }
    return status == WA_OK ? keep_lines(record, err) : status;
}

wa_status wa_record_open(const char *directory, bool resume, struct wa_record **ret_record,
                         struct wa_error *err)
{
    struct wa_record *record = calloc(1, sizeof *record);
    if (!record) {
        return fail_memory(err, directory);
    }
    record->lock_fd = record->metrics.writer.fd = record->steps.writer.fd = -1;
    record->directory = strdup(directory);
    record->lock_path = wa_file_join(directory, LOCK_NAME);
    wa_status status = record->directory && record->lock_path ? open_directory(record, resume, err)
                                                              : fail_memory(err, directory);
    if (status != WA_OK) {
        wa_record_close(record);
        /* A directory that cannot be written was a bad choice, before anything was computed. */
        if (status == WA_E_IO && err) {
            err->status = WA_E_USAGE;
        }
        return status == WA_E_IO ? WA_E_USAGE : status;
    }
    *ret_record = record;
    return WA_OK;
}

void wa_record_close(struct wa_record *record)
{
    if (!record) {
        return;
    }
    wa_line_writer_close(&record->metrics.writer);
    wa_line_writer_close(&record->steps.writer);
    free(record->metrics.path);
    free(record->steps.path);
    unlock(record);
    free(record->lock_path);
    free(record->directory);
    free(record);
}

const char *wa_record_directory(const struct wa_record *record)
{
    return record->directory;
}

/* ---- run.json -------------------------------------------------------------------------------- */

static wa_status write_text(const char *path, const char *text, struct wa_error *err)
{
    struct wa_file_writer writer;
    wa_status status = wa_file_writer_begin(&writer, path, err);
    if (status == WA_OK) {
        status = wa_file_writer_append(&writer, text, strlen(text), err);
    }
    if (status == WA_OK) {
        status = wa_file_writer_append(&writer, "\n", 1, err);
    }
    return status == WA_OK ? wa_file_writer_commit(&writer, err) : status;
}

wa_status wa_record_write_run(struct wa_record *record, struct json_object *run,
                              struct wa_error *err)
{
    char *path = wa_file_join(record->directory, RUN_NAME);
    const char *text = make_writable(run, print_shortest)
                           ? json_object_to_json_string_ext(run, JSON_C_TO_STRING_PRETTY |
                                                                     JSON_C_TO_STRING_SPACED |
                                                                     JSON_C_TO_STRING_NOSLASHESCAPE)
                           : NULL;
    wa_status status =
        path && text ? write_text(path, text, err) : fail_memory(err, record->directory);
    free(path);
    return status;
}

static wa_status parse_run(const char *path, const char *text, size_t length,
                           struct json_object **ret_run, struct wa_error *err)
{
    struct json_tokener *tokener = json_tokener_new();
    if (!tokener) {
        return fail_memory(err, path);
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    struct json_object *run = json_tokener_parse_ex(tokener, text, (int)length);
    enum json_tokener_error problem = json_tokener_get_error(tokener);
    size_t end = json_tokener_get_parse_end(tokener);
    json_tokener_free(tokener);
    if (problem == json_tokener_success && end == length &&
        json_object_is_type(run, json_type_object)) {
        *ret_run = run;
        return WA_OK;
    }
    json_object_put(run);
    unsigned long line = 1, column = 1;
    for (size_t i = 0; i < end && i < length; i++) {
        column = text[i] == '\n' ? 1 : column + 1;
        line += text[i] == '\n';
    }
    return wa_fail(err, WA_E_DATA,
                   "%s:%lu:%lu: damaged record of a run: %s, expected one JSON object; restore "
                   "the file or start the run anew",
                   path, line, column,
                   problem == json_tokener_success    ? "something else"
                   : problem == json_tokener_continue ? "it ends too early"
                                                      : json_tokener_error_desc(problem));
}

wa_status wa_record_read_run(const char *directory, struct json_object **ret_run,
                             struct wa_error *err)
{
    char *path = wa_file_join(directory, RUN_NAME);
    if (!path) {
        return fail_memory(err, directory);
    }
    unsigned char *text = NULL;
    size_t length;
    wa_status status = wa_file_read_all(path, MAX_RUN_BYTES, &text, &length, err);
    if (status == WA_OK) {
        status = parse_run(path, (const char *)text, length, ret_run, err);
    }
    free(text);
    free(path);
    return status;
}

/* ---- Checkpoints ----------------------------------------------------------------------------- */

char *wa_record_checkpoint_path(const char *directory, uint64_t epoch)
{
    char name[64];
    (void)snprintf(name, sizeof name, CHECKPOINTS_NAME "/epoch-%04" PRIu64 ".safetensors", epoch);
    return wa_file_join(directory, name);
}

char *wa_record_last_checkpoint_path(const char *directory)
{
    return wa_file_join(directory, CHECKPOINTS_NAME "/" LAST_NAME);
}
