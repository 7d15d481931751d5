/* The directory of a sweep. */
#include "sweep_record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "json_places.h"

#define SWEEP_NAME "sweep.json"
#define LINES_NAME "sweep.jsonl"
#define LOCK_NAME "sweep.lock"
#define RUN_NAME "run.json" /* of each run */

enum { MAX_FILE_BYTES = 256 << 20 };

static wa_status out_of_memory(struct wa_error *err)
{
    return wa_fail(err, WA_E_MEMORY, "out of memory for the record of a sweep");
}

/* ---- Lock ----------------------------------------------------------------------------------- */

static wa_status lock(struct wa_sweep_record *record, struct wa_error *err)
{
    record->lock_fd = open(record->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (record->lock_fd < 0) {
        return wa_file_fail(err, WA_E_IO, record->lock_path, "create", errno);
    }
    if (flock(record->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        int code = errno;
        return code == EWOULDBLOCK
                   ? wa_fail(err, WA_E_USAGE,
                             "%s: another sweep is running in this directory; wait for it or "
                             "choose another one with --out",
                             record->directory)
                   : wa_file_fail(err, WA_E_IO, record->lock_path, "lock", code);
    }
    return WA_OK;
}

/* ---- sweep.json ----------------------------------------------------------------------------- */

static struct json_object *describe(const char *config_file, const struct wa_sweep_job *jobs,
                                    size_t count)
{
    struct json_object *sweep = json_object_new_object();
    struct json_object *runs = json_object_new_array();
    (void)json_object_object_add(sweep, "config_file", json_object_new_string(config_file));
    for (size_t i = 0; i < count; i++) {
        struct json_object *run = json_object_new_object();
        (void)json_object_object_add(run, "name", json_object_new_string(jobs[i].name));
        (void)json_object_object_add(run, "config", json_tokener_parse(jobs[i].config));
        (void)json_object_array_add(runs, run);
    }
    (void)json_object_object_add(sweep, "runs", runs);
    return sweep;
}

static wa_status read_sweep(const char *path, struct json_object **ret_sweep, struct wa_error *err)
{
    unsigned char *text = NULL;
    size_t size = 0;
    wa_status status = wa_file_read_all(path, MAX_FILE_BYTES, &text, &size, err);
    if (status != WA_OK) {
        return status;
    }
    *ret_sweep = json_tokener_parse((const char *)text);
    free(text);
    return json_object_is_type(*ret_sweep, json_type_object)
               ? WA_OK
               : wa_fail(err, WA_E_DATA, "%s is damaged: start anew with --out", path);
}

static wa_status another_sweep(const char *directory, struct json_object *old, const char *what,
                               struct wa_error *err)
{
    struct json_object *file = NULL;
    (void)json_object_object_get_ex(old, "config_file", &file);
    return wa_fail(err, WA_E_USAGE,
                   "%s holds another sweep, of %s: %s; resume with the same config and --set, or "
                   "choose another directory with --out",
                   directory, file ? json_object_get_string(file) : "an unknown file", what);
}

/* The runs of the directory must be those of `jobs`. */
static wa_status compare(const char *directory, struct json_object *old,
                         const struct wa_sweep_job *jobs, size_t count, struct wa_error *err)
{
    struct json_object *runs = NULL;
    (void)json_object_object_get_ex(old, "runs", &runs);
    char what[WA_MESSAGE_BYTES / 2];
    if (!json_object_is_type(runs, json_type_array) || json_object_array_length(runs) != count) {
        (void)snprintf(
            what, sizeof what, "it has %zu runs, not %zu",
            json_object_is_type(runs, json_type_array) ? json_object_array_length(runs) : 0, count);
        return another_sweep(directory, old, what, err);
    }
    for (size_t i = 0; i < count; i++) {
        struct json_object *name = NULL;
        struct json_object *config = NULL;
        (void)json_object_object_get_ex(json_object_array_get_idx(runs, i), "name", &name);
        (void)json_object_object_get_ex(json_object_array_get_idx(runs, i), "config", &config);
        char *differences = NULL;
        wa_status status = wa_config_differences(config ? json_object_to_json_string(config) : "{}",
                                                 jobs[i].config, NULL, 0, &differences, err);
        if (status == WA_OK && *differences) {
            (void)snprintf(what, sizeof what, "its run %zu differs: %s", i + 1, differences);
            status = another_sweep(directory, old, what, err);
        } else if (status == WA_OK &&
                   (!name || strcmp(json_object_get_string(name), jobs[i].name) != 0)) {
            (void)snprintf(what, sizeof what, "its run %zu is %s, not %s", i + 1,
                           name ? json_object_get_string(name) : "without a name", jobs[i].name);
            status = another_sweep(directory, old, what, err);
        }
        free(differences);
        if (status != WA_OK) {
            return status;
        }
    }
    return WA_OK;
}

/* ---- sweep.jsonl ---------------------------------------------------------------------------- */

static struct wa_sweep_job *find_job(struct wa_sweep_job *jobs, size_t count, const char *name)
{
    for (size_t i = 0; name && i < count; i++) {
        if (strcmp(jobs[i].name, name) == 0) {
            return &jobs[i];
        }
    }
    return NULL;
}

/* A run whose folder was removed is missing, whatever sweep.jsonl says. */
static bool has_run(const char *directory, const char *name)
{
    char *folder = wa_file_join(directory, name);
    char *path = folder ? wa_file_join(folder, RUN_NAME) : NULL;
    bool exists = path && wa_file_exists(path);
    free(path);
    free(folder);
    return exists;
}

/* Whether this line says that its run is settled; then it stays. */
static bool settles(const char *directory, const char *line, struct wa_sweep_job *jobs,
                    size_t count)
{
    struct json_object *object = json_tokener_parse(line);
    struct json_object *name = NULL;
    struct json_object *status = NULL;
    (void)json_object_object_get_ex(object, "name", &name);
    (void)json_object_object_get_ex(object, "status", &status);
    struct wa_sweep_job *job = find_job(jobs, count, json_object_get_string(name));
    const char *text = status ? json_object_get_string(status) : "";
    bool is_new = job && !job->is_settled && has_run(directory, job->name);
    bool is_settled = strcmp(text, "done") == 0 || strcmp(text, "diverged") == 0;
    if (is_new && is_settled) {
        job->is_settled = true;
        job->has_diverged = strcmp(text, "diverged") == 0;
    }
    json_object_put(object);
    return is_new && is_settled;
}

/* Writes the file anew with the lines of settled runs: the others are going to have new ones. */
static wa_status keep_settled(const char *directory, const char *path, struct wa_sweep_job *jobs,
                              size_t count, struct wa_error *err)
{
    unsigned char *text = NULL;
    size_t size = 0;
    if (!wa_file_exists(path)) {
        return WA_OK;
    }
    wa_status status = wa_file_read_all(path, MAX_FILE_BYTES, &text, &size, err);
    size_t kept = 0;
    char *line = (char *)text;
    for (char *end; status == WA_OK && (end = strchr(line, '\n')) != NULL; line = end + 1) {
        size_t length = (size_t)(end - line);
        *end = '\0';
        if (settles(directory, line, jobs, count)) {
            memmove(text + kept, line, length);
            text[kept + length] = '\n';
            kept += length + 1;
        }
    }
    if (status == WA_OK) {
        status = wa_file_write_atomic(path, text, kept, err);
    }
    free(text);
    return status;
}

wa_status wa_sweep_record_append(struct wa_sweep_record *record, struct json_object *line,
                                 struct wa_error *err)
{
    return wa_line_writer_write(&record->lines,
                                json_object_to_json_string_ext(line, JSON_C_TO_STRING_PLAIN), err);
}

struct json_object *wa_sweep_record_last_metrics(const char *run_directory)
{
    char *path = wa_file_join(run_directory, "metrics.jsonl");
    unsigned char *text = NULL;
    size_t size = 0;
    struct json_object *metrics = NULL;
    if (path && wa_file_exists(path) &&
        wa_file_read_all(path, MAX_FILE_BYTES, &text, &size, NULL) == WA_OK) {
        char *end = strrchr((char *)text, '\n');
        if (end) {
            *end = '\0';
            const char *start = strrchr((char *)text, '\n');
            metrics = json_tokener_parse(start ? start + 1 : (const char *)text);
        }
    }
    free(text);
    free(path);
    return metrics;
}

/* ---- Open and close ------------------------------------------------------------------------- */

static wa_status begin(const char *path, const char *config_file, const struct wa_sweep_job *jobs,
                       size_t count, struct wa_error *err)
{
    struct json_object *sweep = describe(config_file, jobs, count);
    const char *text = json_object_to_json_string_ext(sweep, JSON_C_TO_STRING_PLAIN);
    wa_status status =
        text ? wa_file_write_atomic(path, text, strlen(text), err) : out_of_memory(err);
    json_object_put(sweep);
    return status;
}

static wa_status begin_or_resume(struct wa_sweep_record *record, const char *config_file,
                                 struct wa_sweep_job *jobs, size_t count, bool resume,
                                 struct wa_error *err)
{
    char *sweep_path = wa_file_join(record->directory, SWEEP_NAME);
    char *lines_path = wa_file_join(record->directory, LINES_NAME);
    struct json_object *old = NULL;
    wa_status status = sweep_path && lines_path ? WA_OK : out_of_memory(err);
    if (status != WA_OK) {
        goto done;
    }
    if (!wa_file_exists(sweep_path)) {
        status = begin(sweep_path, config_file, jobs, count, err);
    } else if (!resume) {
        status = wa_fail(err, WA_E_USAGE,
                         "%s holds a sweep already: go on with it by --resume, or choose another "
                         "directory with --out",
                         record->directory);
    } else {
        status = read_sweep(sweep_path, &old, err);
        if (status == WA_OK) {
            status = compare(record->directory, old, jobs, count, err);
        }
        if (status == WA_OK) {
            status = keep_settled(record->directory, lines_path, jobs, count, err);
        }
    }
    if (status == WA_OK) {
        status = wa_line_writer_open(&record->lines, lines_path, err);
    }
done:
    json_object_put(old);
    free(sweep_path);
    free(lines_path);
    return status;
}

wa_status wa_sweep_record_open(struct wa_sweep_record *record, const char *directory,
                               const char *config_file, struct wa_sweep_job *jobs, size_t count,
                               bool resume, struct wa_error *err)
{
    *record = (struct wa_sweep_record){.lock_fd = -1, .lines = {.fd = -1}};
    char *run_path = wa_file_join(directory, RUN_NAME);
    record->directory = strdup(directory);
    record->lock_path = wa_file_join(directory, LOCK_NAME);
    wa_status status =
        run_path && record->directory && record->lock_path ? WA_OK : out_of_memory(err);
    if (status == WA_OK && wa_file_exists(run_path)) {
        status = wa_fail(err, WA_E_USAGE,
                         "%s holds a single run, not a sweep: choose another directory with --out",
                         directory);
    }
    free(run_path);
    if (status == WA_OK) {
        status = wa_files_make_folders(directory, 0777, err);
    }
    if (status == WA_OK) {
        status = lock(record, err);
    }
    if (status == WA_OK) {
        status = begin_or_resume(record, config_file, jobs, count, resume, err);
    }
    /* A directory that cannot be written was a bad choice, before anything was computed. */
    if (status == WA_E_IO) {
        status = WA_E_USAGE;
        err->status = status;
    }
    return status;
}

void wa_sweep_record_close(struct wa_sweep_record *record)
{
    if (record->lock_fd >= 0) {
        (void)close(record->lock_fd);
    }
    wa_line_writer_close(&record->lines);
    free(record->directory);
    free(record->lock_path);
    *record = (struct wa_sweep_record){.lock_fd = -1, .lines = {.fd = -1}};
}
