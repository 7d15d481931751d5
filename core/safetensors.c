/* Writer and reader of safetensors files. The reader trusts nothing in the file. */
#include "safetensors.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files hold numbers as memory does");

enum {
    LENGTH_BYTES = 8,
    MAX_HEADER_BYTES = 100000000, /* the format's own limit */
    SHAPE_TEXT_BYTES = 24 * WA_SAFETENSORS_DIMENSIONS + 8
};

#define METADATA_KEY "__metadata__"

static const char *type_name(enum wa_safetensors_type type)
{
    switch (type) {
    case WA_SAFETENSORS_F32:
        return "F32";
    case WA_SAFETENSORS_F64:
        return "F64";
    case WA_SAFETENSORS_U32:
        return "U32";
    case WA_SAFETENSORS_U64:
        return "U64";
    case WA_SAFETENSORS_I64:
        return "I64";
    }
    return "?";
}

static size_t type_bytes(enum wa_safetensors_type type)
{
    return type == WA_SAFETENSORS_F32 || type == WA_SAFETENSORS_U32 ? 4 : 8;
}

static bool find_type(const char *name, enum wa_safetensors_type *ret_type)
{
    for (int type = WA_SAFETENSORS_F32; type <= WA_SAFETENSORS_I64; type++) {
        if (strcmp(name, type_name((enum wa_safetensors_type)type)) == 0) {
            *ret_type = (enum wa_safetensors_type)type;
            return true;
        }
    }
    return false;
}

/* Bytes of a tensor by its type and shape; false where they cannot be counted. */
static bool count_bytes(const struct wa_safetensors_entry *entry, size_t *ret_bytes)
{
    size_t bytes = type_bytes(entry->type);
    bool is_empty = false;
    for (uint32_t i = 0; i < entry->dimensions; i++) {
        is_empty = is_empty || entry->shape[i] == 0;
        if (entry->shape[i] != 0 &&
            (entry->shape[i] > SIZE_MAX || !wa_mul_size(bytes, (size_t)entry->shape[i], &bytes))) {
            return false;
        }
    }
    *ret_bytes = is_empty ? 0 : bytes;
    return true;
}

/* "F32 [16,3,3,1]" */
static void describe(const struct wa_safetensors_entry *entry, char text[SHAPE_TEXT_BYTES])
{
    size_t used = (size_t)snprintf(text, SHAPE_TEXT_BYTES, "%s [", type_name(entry->type));
    for (uint32_t i = 0; i < entry->dimensions; i++) {
        used += (size_t)snprintf(text + used, SHAPE_TEXT_BYTES - used, "%s%" PRIu64,
                                 i > 0 ? "," : "", entry->shape[i]);
    }
    (void)snprintf(text + used, SHAPE_TEXT_BYTES - used, "]");
}

static wa_status fail_memory(struct wa_error *err, const char *path)
{
    return wa_fail(err, WA_E_MEMORY, "%s: not enough memory for this checkpoint", path);
}

/* ---- Writing ------------------------------------------------------------------------------- */

/* Puts `value` (which this takes over) into `object`; false when out of memory. */
static bool put(struct json_object *object, const char *key, struct json_object *value)
{
    if (value && object && json_object_object_add(object, key, value) == 0) {
        return true;
    }
    json_object_put(value);
    return false;
}

static bool push(struct json_object *array, uint64_t number)
{
    struct json_object *value = json_object_new_uint64(number);
    if (value && array && json_object_array_add(array, value) == 0) {
        return true;
    }
    json_object_put(value);
    return false;
}

static struct json_object *describe_entry(const struct wa_safetensors_entry *entry, uint64_t begin,
                                          uint64_t end)
{
    struct json_object *shape = json_object_new_array();
    bool is_done = true;
    for (uint32_t i = 0; i < entry->dimensions; i++) {
        is_done = is_done && push(shape, entry->shape[i]);
    }
    struct json_object *offsets = json_object_new_array();
    is_done = is_done && push(offsets, begin) && push(offsets, end);
    struct json_object *object = json_object_new_object();
    is_done = put(object, "dtype", json_object_new_string(type_name(entry->type))) && is_done;
    is_done = put(object, "shape", shape) && is_done;
    is_done = put(object, "data_offsets", offsets) && is_done;
    if (!is_done) {
        json_object_put(object);
        return NULL;
    }
    return object;
}

static wa_status add_entry(struct json_object *header, const char *path,
                           const struct wa_safetensors_entry *entry, uint64_t *offset,
                           struct wa_error *err)
{
    size_t bytes;
    if (entry->type < WA_SAFETENSORS_F32 || entry->type > WA_SAFETENSORS_I64 ||
        entry->dimensions > WA_SAFETENSORS_DIMENSIONS || !count_bytes(entry, &bytes) ||
        bytes > INT64_MAX - *offset) {
        return wa_fail(err, WA_E_FAILED, "%s: cannot write '%s': no file holds its type and shape",
                       path, entry->name);
    }
    if (strcmp(entry->name, METADATA_KEY) == 0 ||
        json_object_object_get_ex(header, entry->name, NULL)) {
        return wa_fail(err, WA_E_FAILED, "%s: cannot write '%s': the name is taken", path,
                       entry->name);
    }
    if (!put(header, entry->name, describe_entry(entry, *offset, *offset + bytes))) {
        return fail_memory(err, path);
    }
    *offset += bytes;
    return WA_OK;
}

static wa_status fill_header(struct json_object *header, const char *path,
                             const struct wa_safetensors_entry *entries, size_t entry_count,
                             const struct wa_safetensors_text *metadata, size_t metadata_count,
                             struct wa_error *err)
{
    if (metadata_count > 0) {
        struct json_object *texts = json_object_new_object();
        bool is_done = put(header, METADATA_KEY, texts);
        for (size_t i = 0; i < metadata_count && is_done; i++) {
            is_done = put(texts, metadata[i].key, json_object_new_string(metadata[i].value));
        }
        if (!is_done) {
            return fail_memory(err, path);
        }
    }
    uint64_t offset = 0;
    wa_status status = WA_OK;
    for (size_t i = 0; i < entry_count && status == WA_OK; i++) {
        status = add_entry(header, path, &entries[i], &offset, err);
    }
    return status;
}

static wa_status write_file(const char *path, const char *header, size_t header_bytes,
                            const struct wa_safetensors_entry *entries, size_t entry_count,
                            struct wa_error *err)
{
    static const char spaces[LENGTH_BYTES] = "        ";
    size_t padding = (LENGTH_BYTES - header_bytes % LENGTH_BYTES) % LENGTH_BYTES;
    uint64_t length = header_bytes + padding;
    struct wa_file_writer writer;
    wa_status status = wa_file_writer_begin(&writer, path, err);
    if (status == WA_OK) {
        status = wa_file_writer_append(&writer, &length, sizeof length, err);
    }
    if (status == WA_OK) {
        status = wa_file_writer_append(&writer, header, header_bytes, err);
    }
    if (status == WA_OK) {
        status = wa_file_writer_append(&writer, spaces, padding, err);
    }
    for (size_t i = 0; i < entry_count && status == WA_OK; i++) {
        size_t bytes = 0;
        (void)count_bytes(&entries[i], &bytes); /* was counted for the header */
        status = wa_file_writer_append(&writer, entries[i].data, bytes, err);
    }
    return status == WA_OK ? wa_file_writer_commit(&writer, err) : status;
}

wa_status wa_safetensors_write(const char *path, const struct wa_safetensors_entry *entries,
                               size_t entry_count, const struct wa_safetensors_text *metadata,
                               size_t metadata_count, struct wa_error *err)
{
    struct json_object *header = json_object_new_object();
    if (!header) {
        return fail_memory(err, path);
    }
    wa_status status =
        fill_header(header, path, entries, entry_count, metadata, metadata_count, err);
    if (status == WA_OK) {
        size_t bytes;
        const char *text = json_object_to_json_string_length(
            header, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &bytes);
        status = text ? write_file(path, text, bytes, entries, entry_count, err)
                      : fail_memory(err, path);
    }
    json_object_put(header);
    return status;
}

/* ---- Reading ------------------------------------------------------------------------------- */

struct wa_safetensors {
    char *path;
    unsigned char *data;
    struct json_object *header; /* owns names and metadata */
    size_t entry_count;
    struct wa_safetensors_entry *entries;
    void **copies; /* of each entry, where its data in the file is not aligned; else NULL */
};

static wa_status fail_damaged(const struct wa_safetensors *file, struct wa_error *err,
                              const char *format, ...) WA_PRINTF(3, 4) __attribute__((cold));

static wa_status fail_damaged(const struct wa_safetensors *file, struct wa_error *err,
                              const char *format, ...)
{
    char what[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return wa_fail(err, WA_E_DATA,
                   "%s: damaged checkpoint: %s; use another checkpoint or a copy of this one, or "
                   "delete it and start the run anew",
                   file->path, what);
}

/* Keys in the text, by their colons, which tells whether one was given twice: json-c keeps the last
 * of equal keys without a word. `text` is known to be valid JSON. */
static size_t count_keys(const char *text, size_t length)
{
    size_t keys = 0;
    bool is_in_string = false;
    for (size_t i = 0; i < length; i++) {
        if (is_in_string && text[i] == '\\') {
            i++;
        } else if (text[i] == '"') {
            is_in_string = !is_in_string;
        } else if (!is_in_string && text[i] == ':') {
            keys++;
        }
    }
    return keys;
}

static wa_status parse_header(struct wa_safetensors *file, const char *text, size_t length,
                              struct wa_error *err)
{
    if (length == 0 || text[0] != '{') {
        return fail_damaged(file, err, "its header does not start with '{'");
    }
    struct json_tokener *tokener = json_tokener_new();
    if (!tokener) {
        return fail_memory(err, file->path);
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    file->header = json_tokener_parse_ex(tokener, text, (int)length);
    enum json_tokener_error problem = json_tokener_get_error(tokener);
    size_t end = json_tokener_get_parse_end(tokener);
    json_tokener_free(tokener);
    if (problem != json_tokener_success || end != length) {
        return fail_damaged(file, err, "its header is no JSON: %s at byte %zu",
                            problem == json_tokener_success || problem == json_tokener_continue
                                ? "unexpected end"
                                : json_tokener_error_desc(problem),
                            LENGTH_BYTES + end);
    }
    size_t keys = (size_t)json_object_object_length(file->header);
    json_object_object_foreach(file->header, name, value)
    {
        if (!json_object_is_type(value, json_type_object)) {
            return fail_damaged(file, err, "'%s' in its header is no JSON object", name);
        }
        keys += (size_t)json_object_object_length(value);
    }
    if (keys != count_keys(text, length)) {
        return fail_damaged(file, err, "a name stands twice in its header");
    }
    return WA_OK;
}

static bool read_number(struct json_object *array, size_t index, uint64_t *ret_number)
{
    struct json_object *value = json_object_array_get_idx(array, index);
    if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0) {
        return false;
    }
    *ret_number = json_object_get_uint64(value);
    return true;
}

static wa_status read_shape(const struct wa_safetensors *file, struct json_object *object,
                            struct wa_safetensors_entry *entry, struct wa_error *err)
{
    struct json_object *shape = json_object_object_get(object, "shape");
    if (!json_object_is_type(shape, json_type_array) ||
        json_object_array_length(shape) > WA_SAFETENSORS_DIMENSIONS) {
        return fail_damaged(file, err, "tensor '%s' has no shape of at most %d numbers",
                            entry->name, (int)WA_SAFETENSORS_DIMENSIONS);
    }
    entry->dimensions = (uint32_t)json_object_array_length(shape);
    for (uint32_t i = 0; i < entry->dimensions; i++) {
        if (!read_number(shape, i, &entry->shape[i])) {
            return fail_damaged(file, err, "the shape of tensor '%s' holds what is no count",
                                entry->name);
        }
    }
    return WA_OK;
}

/* `data` is what follows the header. */
static wa_status read_entry(const struct wa_safetensors *file, struct json_object *object,
                            const unsigned char *data, size_t data_bytes,
                            struct wa_safetensors_entry *entry, struct wa_error *err)
{
    struct json_object *type = json_object_object_get(object, "dtype");
    if (!json_object_is_type(type, json_type_string) ||
        !find_type(json_object_get_string(type), &entry->type)) {
        return fail_damaged(file, err,
                            "tensor '%s' has dtype %.40s, expected one of F32 F64 U32 "
                            "U64 I64",
                            entry->name, type ? json_object_get_string(type) : "none");
    }
    wa_status status = read_shape(file, object, entry, err);
    if (status != WA_OK) {
        return status;
    }
    struct json_object *offsets = json_object_object_get(object, "data_offsets");
    uint64_t begin, end;
    if (!json_object_is_type(offsets, json_type_array) || json_object_array_length(offsets) != 2 ||
        !read_number(offsets, 0, &begin) || !read_number(offsets, 1, &end) || begin > end) {
        return fail_damaged(file, err, "tensor '%s' has no data_offsets [begin, end]", entry->name);
    }
    if (end > data_bytes) {
        return fail_damaged(file, err,
                            "the data of tensor '%s' ends at byte %" PRIu64 " of %zu: "
                            "the file was cut short",
                            entry->name, end, data_bytes);
    }
    char text[SHAPE_TEXT_BYTES];
    describe(entry, text);
    if (!count_bytes(entry, &entry->size_bytes) || entry->size_bytes != end - begin) {
        return fail_damaged(file, err, "tensor '%s' is %s, but its data has %" PRIu64 " bytes",
                            entry->name, text, end - begin);
    }
    entry->data = data + begin;
    return WA_OK;
}

static wa_status read_metadata(const struct wa_safetensors *file, struct json_object *metadata,
                               struct wa_error *err)
{
    json_object_object_foreach(metadata, key, value)
    {
        if (!json_object_is_type(value, json_type_string)) {
            return fail_damaged(file, err, "'%s' in its metadata is no text", key);
        }
    }
    return WA_OK;
}

static wa_status read_entries(struct wa_safetensors *file, const unsigned char *data,
                              size_t data_bytes, struct wa_error *err)
{
    size_t count = (size_t)json_object_object_length(file->header);
    file->entries = calloc(count + 1, sizeof *file->entries);
    file->copies = calloc(count + 1, sizeof *file->copies);
    if (!file->entries || !file->copies) {
        return fail_memory(err, file->path);
    }
    wa_status status = WA_OK;
    json_object_object_foreach(file->header, name, object)
    {
        if (strcmp(name, METADATA_KEY) == 0) {
            status = read_metadata(file, object, err);
        } else {
            struct wa_safetensors_entry *entry = &file->entries[file->entry_count++];
            entry->name = name;
            status = read_entry(file, object, data, data_bytes, entry, err);
        }
        if (status != WA_OK) {
            return status;
        }
    }
    return WA_OK;
}

/* By place in the file, and there the empty ones first. */
static int compare_places(const void *a, const void *b)
{
    const struct wa_safetensors_entry *left = *(const struct wa_safetensors_entry *const *)a;
    const struct wa_safetensors_entry *right = *(const struct wa_safetensors_entry *const *)b;
    const unsigned char *x = left->data, *y = right->data;
    if (x != y) {
        return x < y ? -1 : 1;
    }
    return (left->size_bytes > right->size_bytes) - (left->size_bytes < right->size_bytes);
}

/* The tensors must follow one another from the first byte to the last. */
static wa_status check_places(const struct wa_safetensors *file, const unsigned char *data,
                              size_t data_bytes, struct wa_error *err)
{
    const struct wa_safetensors_entry **sorted = malloc((file->entry_count + 1) * sizeof *sorted);
    if (!sorted) {
        return fail_memory(err, file->path);
    }
    for (size_t i = 0; i < file->entry_count; i++) {
        sorted[i] = &file->entries[i];
    }
    qsort(sorted, file->entry_count, sizeof *sorted, compare_places);
    wa_status status = WA_OK;
    const unsigned char *place = data;
    for (size_t i = 0; i < file->entry_count && status == WA_OK; i++) {
        const unsigned char *begin = sorted[i]->data;
        if (begin != place) {
            status = fail_damaged(file, err,
                                  "the data of tensor '%s' begins at byte %td, expected "
                                  "%td",
                                  sorted[i]->name, begin - data, place - data);
        }
        place = begin + sorted[i]->size_bytes;
    }
    if (status == WA_OK && place != data + data_bytes) {
        status = fail_damaged(file, err,
                              "its tensors have %td bytes, but the file has room for "
                              "%zu",
                              place - data, data_bytes);
    }
    free(sorted);
    return status;
}

/* The format does not promise aligned data; our own files have it. */
static wa_status align_entries(struct wa_safetensors *file, struct wa_error *err)
{
    for (size_t i = 0; i < file->entry_count; i++) {
        struct wa_safetensors_entry *entry = &file->entries[i];
        if ((uintptr_t)entry->data % type_bytes(entry->type) == 0) {
            continue;
        }
        file->copies[i] = malloc(entry->size_bytes + 1);
        if (!file->copies[i]) {
            return fail_memory(err, file->path);
        }
        memcpy(file->copies[i], entry->data, entry->size_bytes);
        entry->data = file->copies[i];
    }
    return WA_OK;
}

static wa_status parse(struct wa_safetensors *file, size_t size_bytes, struct wa_error *err)
{
    if (size_bytes < LENGTH_BYTES) {
        return fail_damaged(file, err, "it has %zu bytes, expected at least %d", size_bytes,
                            (int)LENGTH_BYTES);
    }
    uint64_t length;
    memcpy(&length, file->data, sizeof length);
    if (length > size_bytes - LENGTH_BYTES || length > MAX_HEADER_BYTES) {
        return fail_damaged(file, err, "its header claims %" PRIu64 " bytes, but the file has %zu",
                            length, size_bytes);
    }
    const unsigned char *data = file->data + LENGTH_BYTES + length;
    size_t data_bytes = size_bytes - LENGTH_BYTES - (size_t)length;
    wa_status status =
        parse_header(file, (const char *)file->data + LENGTH_BYTES, (size_t)length, err);
    if (status == WA_OK) {
        status = read_entries(file, data, data_bytes, err);
    }
    if (status == WA_OK) {
        status = check_places(file, data, data_bytes, err);
    }
    return status == WA_OK ? align_entries(file, err) : status;
}

wa_status wa_safetensors_parse(const char *path, unsigned char *data, size_t size_bytes,
                               struct wa_safetensors **ret_file, struct wa_error *err)
{
    struct wa_safetensors *file = calloc(1, sizeof *file);
    char *path_copy = strdup(path);
    if (!file || !path_copy) {
        free(file);
        free(path_copy);
        free(data);
        return fail_memory(err, path);
    }
    file->path = path_copy;
    file->data = data;
    wa_status status = parse(file, size_bytes, err);
    if (status != WA_OK) {
        wa_safetensors_destroy(file);
        return status;
    }
    *ret_file = file;
    return WA_OK;
}

wa_status wa_safetensors_read(const char *path, struct wa_safetensors **ret_file,
                              struct wa_error *err)
{
    unsigned char *data;
    size_t size_bytes;
    wa_status status = wa_file_read_all(path, SIZE_MAX, &data, &size_bytes, err);
    return status == WA_OK ? wa_safetensors_parse(path, data, size_bytes, ret_file, err) : status;
}

void wa_safetensors_destroy(struct wa_safetensors *file)
{
    if (!file) {
        return;
    }
    for (size_t i = 0; file->copies && i < file->entry_count; i++) {
        free(file->copies[i]);
    }
    free(file->copies);
    free(file->entries);
    json_object_put(file->header);
    free(file->data);
    free(file->path);
    free(file);
}

/* ---- Looking up ---------------------------------------------------------------------------- */

size_t wa_safetensors_count(const struct wa_safetensors *file)
{
    return file->entry_count;
}

const struct wa_safetensors_entry *wa_safetensors_at(const struct wa_safetensors *file,
                                                     size_t index)
{
    return &file->entries[index];
}

const struct wa_safetensors_entry *wa_safetensors_find(const struct wa_safetensors *file,
                                                       const char *name)
{
    for (size_t i = 0; i < file->entry_count; i++) {
        if (strcmp(file->entries[i].name, name) == 0) {
            return &file->entries[i];
        }
    }
    return NULL;
}

const char *wa_safetensors_metadata(const struct wa_safetensors *file, const char *key)
{
    struct json_object *metadata = json_object_object_get(file->header, METADATA_KEY);
    struct json_object *text = metadata ? json_object_object_get(metadata, key) : NULL;
    return text ? json_object_get_string(text) : NULL;
}

wa_status wa_safetensors_expect(const struct wa_safetensors *file,
                                const struct wa_safetensors_entry *expected, const void **ret_data,
                                struct wa_error *err)
{
    char wanted[SHAPE_TEXT_BYTES], found[SHAPE_TEXT_BYTES];
    describe(expected, wanted);
    const struct wa_safetensors_entry *entry = wa_safetensors_find(file, expected->name);
    if (!entry) {
        return wa_fail(err, WA_E_DATA,
                       "%s: has no tensor '%s', expected %s; is it a checkpoint of this config?",
                       file->path, expected->name, wanted);
    }
    if (entry->type != expected->type || entry->dimensions != expected->dimensions ||
        memcmp(entry->shape, expected->shape, entry->dimensions * sizeof entry->shape[0]) != 0) {
        describe(entry, found);
        return wa_fail(err, WA_E_DATA,
                       "%s: tensor '%s' is %s, expected %s; is it a checkpoint of this config?",
                       file->path, expected->name, found, wanted);
    }
    *ret_data = entry->data;
    return WA_OK;
}
