/* Lines of scores: written as they come, taken up again. */
#include "score_record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "log.h"
#include "record.h"

enum { MOST_BYTES = 256 << 20 };

static wa_status out_of_memory(struct wa_error *err)
{
    return wa_fail(err, WA_E_MEMORY, "out of memory for scores");
}

static const char *estimator_name(const struct wa_score_request *request)
{
    return request->is_noise ? "noise" : "exact";
}

/* ---- Known lines ---------------------------------------------------------------------------- */

static bool has_text(struct json_object *line, const char *key, const char *text)
{
    struct json_object *value = NULL;
    return json_object_object_get_ex(line, key, &value) &&
           json_object_is_type(value, json_type_string) &&
           strcmp(json_object_get_string(value), text) == 0;
}

static bool is_line_of(struct json_object *line, const struct wa_score_run *run, size_t number)
{
    struct json_object *epoch = NULL;
    return json_object_is_type(line, json_type_object) && has_text(line, "run", run->name) &&
           json_object_object_get_ex(line, "epoch", &epoch) &&
           (uint64_t)json_object_get_int64(epoch) == wa_score_run_epoch(run, number) &&
           has_text(line, "layer", wa_score_run_layer(run, number)->name) &&
           json_object_object_get_ex(line, "score", NULL) &&
           json_object_object_get_ex(line, "control", NULL) == run->request.has_control &&
           has_text(line, "estimator", estimator_name(&run->request));
}

/* Takes the whole lines at *text that are a run's first ones; false where another line follows. */
static bool take_lines(struct wa_score_record *record, const struct wa_score_run *run, char **text)
{
    for (size_t i = 0; i < wa_score_run_lines(run); i++) {
        char *end = strchr(*text, '\n');
        if (!end) {
            return false;
        }
        *end = '\0';
        struct json_object *line = json_tokener_parse(*text);
        *end = '\n';
        if (!is_line_of(line, run, i)) {
            (void)json_object_put(line);
            return false;
        }
        record->known[record->known_count++] = line;
        *text = end + 1;
    }
    return true;
}

/* How many bytes of `text` are known lines. */
static size_t take_known(struct wa_score_record *record, const struct wa_score_group *groups,
                         size_t group_count, char *text)
{
    char *at = text;
    for (size_t g = 0; g < group_count; g++) {
        for (size_t i = 0; i < groups[g].run_count; i++) {
            if (!take_lines(record, &groups[g].runs[i], &at)) {
                return (size_t)(at - text);
            }
        }
    }
    return (size_t)(at - text);
}

static wa_status start(struct wa_score_record *record, bool resume,
                       const struct wa_score_group *groups, size_t group_count,
                       struct wa_error *err)
{
    bool has_part = wa_file_exists(record->part_path);
    const char *old = has_part ? record->part_path : record->path;
    unsigned char *text = NULL;
    size_t size = 0;
    wa_status status = WA_OK;
    if (resume && wa_file_exists(old)) {
        status = wa_file_read_all(old, MOST_BYTES, &text, &size, err);
        size = status == WA_OK ? take_known(record, groups, group_count, (char *)text) : 0;
    } else if (has_part) {
        wa_log(WA_LOG_WARNING,
               "%s: scores that were interrupted, ignoring them: --resume would go on there",
               record->part_path);
    }
    if (status == WA_OK) {
        status = wa_file_write_atomic(record->part_path, text ? (char *)text : "", size, err);
    }
    free(text);
    return status == WA_OK ? wa_line_writer_open(&record->lines, record->part_path, err) : status;
}

/* ---- The file ------------------------------------------------------------------------------- */

wa_status wa_score_record_open(const char *folder, bool resume, const struct wa_score_group *groups,
                               size_t group_count, struct wa_score_record *ret_record,
                               struct wa_error *err)
{
    size_t most = 1;
    for (size_t g = 0; g < group_count; g++) {
        for (size_t i = 0; i < groups[g].run_count; i++) {
            most += wa_score_run_lines(&groups[g].runs[i]);
        }
    }
    *ret_record = (struct wa_score_record){
        .path = wa_file_join(folder, "scores.jsonl"),
        .part_path = wa_file_join(folder, "scores.jsonl" WA_FILE_UNFINISHED),
        .lines = {.fd = -1},
        .known = calloc(most, sizeof *ret_record->known)};
    wa_status status = ret_record->path && ret_record->part_path && ret_record->known
                           ? wa_files_make_folders(folder, 0777, err)
                           : out_of_memory(err);
    if (status == WA_OK) {
        status = start(ret_record, resume, groups, group_count, err);
    }
    /* A directory that cannot be written was a bad choice, before anything was computed. */
    if (status == WA_E_IO) {
        err->status = status = WA_E_USAGE;
    }
    return status;
}

static struct json_object *make_line(const struct wa_score_run *run,
                                     const struct wa_score_line *line)
{
    struct json_object *object = json_object_new_object();
    if (!object) {
        return NULL;
    }
    (void)json_object_object_add(object, "run", json_object_new_string(run->name));
    (void)json_object_object_add(object, "epoch", json_object_new_int64((int64_t)line->epoch));
    (void)json_object_object_add(object, "layer", json_object_new_string(line->layer));
    (void)json_object_object_add(object, "score", wa_record_number(line->score));
    if (run->request.has_control) {
        (void)json_object_object_add(object, "control", wa_record_number(line->control));
    }
    (void)json_object_object_add(object, "squared_cosine", wa_record_number(line->squared_cosine));
    (void)json_object_object_add(object, "estimator",
                                 json_object_new_string(estimator_name(&run->request)));
    return object;
}

wa_status wa_score_record_add(struct wa_score_record *record, const struct wa_score_run *run,
                              const struct wa_score_line *line, struct wa_error *err)
{
    struct json_object *object = make_line(run, line);
    const char *text =
        object ? json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN) : NULL;
    wa_status status = text ? wa_line_writer_write(&record->lines, text, err) : out_of_memory(err);
    (void)json_object_put(object);
    return status;
}

wa_status wa_score_record_commit(struct wa_score_record *record, struct wa_error *err)
{
    wa_status status = wa_line_writer_sync(&record->lines, err);
    if (status == WA_OK && rename(record->part_path, record->path) != 0) {
        status = wa_file_fail(err, WA_E_IO, record->path, "create", errno);
    }
    return status;
}

void wa_score_record_close(struct wa_score_record *record)
{
    wa_line_writer_close(&record->lines);
    for (size_t i = 0; i < record->known_count; i++) {
        (void)json_object_put(record->known[i]);
    }
    free(record->known);
    free(record->path);
    free(record->part_path);
    *record = (struct wa_score_record){.lines = {.fd = -1}};
}
