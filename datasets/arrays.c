/* Dataset "arrays": images and labels from two .npy files (format versions 1 to 3, as NumPy's save
 * writes them). Images [n][height][width][channels] are uint8 or little-endian float32, labels [n]
 * integers of any width. All items are the training part. */
#include "files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_DIMENSIONS = 8,
    PREFIX_BYTES = 8, /* magic and version */
    MOST_CLASSES = 1000000,
    FLOAT_EXPONENT = 0x7f800000 /* all ones: infinite or not a number */
};

static const char options[] =
    "{\"properties\": {"
    "\"images\": {\"type\": \"string\", \"description\": \"a .npy file, uint8 or float32"
    " [n, height, width, channels]; uint8 is scaled by 1/255\"},"
    "\"labels\": {\"type\": \"string\", \"description\": \"a .npy file, integers [n]\"},"
    "\"classes\": {\"type\": [\"integer\", \"null\"], \"minimum\": 1, \"maximum\": 1000000,"
    " \"default\": null, \"description\": \"number of classes; null: largest label + 1\"}},"
    " \"required\": [\"images\", \"labels\"]}";

/* ---- The header: a Python dict of three keys ----------------------------------------------- */

struct header {
    char descr[16]; /* "<f4" */
    bool is_fortran_order;
    uint64_t shape[MAX_DIMENSIONS];
    size_t dimension_count;
    bool has_descr, has_order, has_shape;
};

struct npy {
    const char *path;
    struct wa_files_bytes bytes; /* the whole file */
    struct header header;
    size_t data; /* where the elements start */
};

/* The text of a header; `at` moves on over what was understood. */
struct scan {
    const char *at, *end;
};

static void skip_space(struct scan *scan)
{
    while (scan->at < scan->end && (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t')) {
        scan->at++;
    }
}

static bool take(struct scan *scan, char c)
{
    skip_space(scan);
    if (scan->at < scan->end && *scan->at == c) {
        scan->at++;
        return true;
    }
    return false;
}

static bool take_word(struct scan *scan, const char *word)
{
    size_t length = strlen(word);
    skip_space(scan);
    if ((size_t)(scan->end - scan->at) >= length && memcmp(scan->at, word, length) == 0) {
        scan->at += length;
        return true;
    }
    return false;
}

/* 'text' or "text", without escapes, shorter than `size`. */
static bool take_string(struct scan *scan, char *ret_text, size_t size)
{
    char quote = '\'';
    if (!take(scan, quote)) {
        quote = '"';
        if (!take(scan, quote)) {
            return false;
        }
    }
    const char *end = memchr(scan->at, quote, (size_t)(scan->end - scan->at));
    if (!end || (size_t)(end - scan->at) >= size) {
        return false;
    }
    size_t length = (size_t)(end - scan->at);
    memcpy(ret_text, scan->at, length);
    ret_text[length] = '\0';
    scan->at = end + 1;
    return true;
}

static bool take_number(struct scan *scan, uint64_t *ret_number)
{
    skip_space(scan);
    const char *start = scan->at;
    uint64_t number = 0;
    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9') {
        uint64_t digit = (uint64_t)(*scan->at - '0');
        if (number > (UINT64_MAX - digit) / 10) {
            return false;
        }
        number = number * 10 + digit;
        scan->at++;
    }
    if (scan->at == start) {
        return false;
    }
    (void)take(scan, 'L'); /* Python 2 wrote its long integers so */
    *ret_number = number;
    return true;
}

/* (2, 3) or (2,) or () */
static bool take_shape(struct scan *scan, struct header *header)
{
    if (!take(scan, '(')) {
        return false;
    }
    header->dimension_count = 0;
    while (!take(scan, ')')) {
        if (header->dimension_count == MAX_DIMENSIONS ||
            !take_number(scan, &header->shape[header->dimension_count])) {
            return false;
        }
        header->dimension_count++;
        if (!take(scan, ',')) {
            return take(scan, ')');
        }
    }
    return true;
}

static bool take_item(struct scan *scan, struct header *header)
{
    char key[16];
    if (!take_string(scan, key, sizeof key) || !take(scan, ':')) {
        return false;
    }
    if (strcmp(key, "descr") == 0 && !header->has_descr) {
        header->has_descr = true;
        return take_string(scan, header->descr, sizeof header->descr);
    }
    if (strcmp(key, "fortran_order") == 0 && !header->has_order) {
        header->has_order = true;
        header->is_fortran_order = take_word(scan, "True");
        return header->is_fortran_order || take_word(scan, "False");
    }
    if (strcmp(key, "shape") == 0 && !header->has_shape) {
        header->has_shape = true;
        return take_shape(scan, header);
    }
    return false;
}

static bool parse_header(struct scan *scan, struct header *ret_header)
{
    struct header header = {.dimension_count = 0};
    if (!take(scan, '{')) {
        return false;
    }
    while (!take(scan, '}')) {
        if (!take_item(scan, &header)) {
            return false;
        }
        if (!take(scan, ',')) {
            if (!take(scan, '}')) {
                return false;
            }
            break;
        }
    }
    skip_space(scan);
    *ret_header = header;
    return scan->at == scan->end && header.has_descr && header.has_order && header.has_shape;
}

/* Up to 200 characters that may go into a message. */
static void quote_text(const char *text, size_t length, char ret_text[201])
{
    size_t used = 0; /* without spaces at the end */
    for (size_t i = 0; i < length && i < 200; i++) {
        bool is_ink = text[i] > ' ' && text[i] <= '~';
        ret_text[i] = is_ink ? text[i] : ' ';
        used = is_ink ? i + 1 : used;
    }
    ret_text[used] = '\0';
}

/* Fills npy->header and npy->data from npy->bytes. */
static wa_status read_header(const wa_host *host, struct npy *npy)
{
    static const uint8_t magic[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};
    const uint8_t *data = npy->bytes.data;
    size_t size = npy->bytes.size;
    if (size < sizeof magic || memcmp(data, magic, sizeof magic) != 0) {
        return host->fail(host, WA_E_DATA, "%s: is no .npy file: it does not start with \\x93NUMPY",
                          npy->path);
    }
    unsigned version = size >= PREFIX_BYTES ? data[6] : 1;
    if (version < 1 || version > 3) {
        return host->fail(host, WA_E_DATA, "%s: .npy format version %u, expected 1, 2 or 3",
                          npy->path, version);
    }
    size_t length_bytes = version == 1 ? 2 : 4;
    size_t start = PREFIX_BYTES + length_bytes;
    size_t length = 0;
    for (size_t i = 0; i < length_bytes && start <= size; i++) {
        length |= (size_t)data[PREFIX_BYTES + i] << (8 * i);
    }
    if (start > size || length > size - start) {
        return host->fail(host, WA_E_DATA,
                          "%s: truncated: holds %zu bytes, expected a header of %zu", npy->path,
                          size, start + length);
    }
    const char *text = (const char *)data + start;
    struct scan scan = {.at = text, .end = text + length};
    if (!parse_header(&scan, &npy->header)) {
        char quoted[201];
        quote_text(text, length, quoted);
        return host->fail(host, WA_E_DATA,
                          "%s: header is %s, expected {'descr': '..', 'fortran_order': False, "
                          "'shape': (..)} with a plain element type",
                          npy->path, quoted);
    }
    npy->data = start + length;
    return WA_OK;
}

/* ---- Checks that images and labels share --------------------------------------------------- */

static void shape_text(const struct header *header, char *ret_text, size_t size)
{
    size_t used = (size_t)snprintf(ret_text, size, "(");
    for (size_t i = 0; i < header->dimension_count && used < size; i++) {
        used += (size_t)snprintf(ret_text + used, size - used, "%s%llu", i == 0 ? "" : ", ",
                                 (unsigned long long)header->shape[i]);
    }
    if (used < size) {
        (void)snprintf(ret_text + used, size - used, ")");
    }
}

/* Refuses anything but `dimension_count` dimensions, none of them 0 or over 2^32 - 1, in C order;
 * `expected` names them. */
static wa_status check_shape(const wa_host *host, const struct npy *npy, size_t dimension_count,
                             const char *expected)
{
    const struct header *header = &npy->header;
    bool is_good = header->dimension_count == dimension_count;
    for (size_t i = 0; i < header->dimension_count; i++) {
        is_good = is_good && header->shape[i] >= 1 && header->shape[i] <= UINT32_MAX;
    }
    if (!is_good) {
        char text[200];
        shape_text(header, text, sizeof text);
        return host->fail(host, WA_E_DATA, "%s: shape is %s, expected %s", npy->path, text,
                          expected);
    }
    if (header->is_fortran_order) {
        return host->fail(host, WA_E_DATA,
                          "%s: is in Fortran order (fortran_order: True), expected C order; save "
                          "numpy.ascontiguousarray(a)",
                          npy->path);
    }
    return WA_OK;
}

/* Whether the file holds just the elements of its shape. */
static wa_status check_size(const wa_host *host, const struct npy *npy, size_t element_bytes)
{
    const struct header *header = &npy->header;
    size_t expected = element_bytes;
    bool fits = true;
    for (size_t i = 0; i < header->dimension_count; i++) {
        fits = fits && wa_files_mul(expected, (size_t)header->shape[i], &expected);
    }
    size_t found = npy->bytes.size - npy->data;
    if (fits && found == expected) {
        return WA_OK;
    }
    char text[200];
    shape_text(header, text, sizeof text);
    if (!fits) {
        return host->fail(host, WA_E_DATA,
                          "%s: holds %zu bytes of data, expected more than fit into memory for "
                          "shape %s of %s",
                          npy->path, found, text, header->descr);
    }
    return host->fail(host, WA_E_DATA,
                      "%s: holds %zu bytes of data, expected %zu for shape %s of %s", npy->path,
                      found, expected, text, header->descr);
}

/* ---- Images -------------------------------------------------------------------------------- */

/* Turns little-endian floats into the machine's, in place, and refuses what is not finite. */
static wa_status take_floats(const wa_host *host, struct npy *npy)
{
    const uint64_t *shape = npy->header.shape;
    uint8_t *data = npy->bytes.data + npy->data;
    size_t count = (npy->bytes.size - npy->data) / sizeof(uint32_t);
    for (size_t i = 0; i < count; i++) {
        uint8_t *at = data + i * sizeof(uint32_t);
        uint32_t bits =
            (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        if ((bits & FLOAT_EXPONENT) == FLOAT_EXPONENT) {
            return host->fail(host, WA_E_DATA,
                              "%s: element (%llu, %llu, %llu, %llu) is %s, expected finite numbers",
                              npy->path, (unsigned long long)(i / shape[3] / shape[2] / shape[1]),
                              (unsigned long long)(i / shape[3] / shape[2] % shape[1]),
                              (unsigned long long)(i / shape[3] % shape[2]),
                              (unsigned long long)(i % shape[3]),
                              (bits & ~(uint32_t)FLOAT_EXPONENT) << 1 ? "NaN" : "infinite");
        }
        memcpy(at, &bits, sizeof bits);
    }
    return WA_OK;
}

static wa_status check_images(const wa_host *host, struct npy *npy, wa_element *ret_element)
{
    const char *descr = npy->header.descr;
    bool is_float = strcmp(descr, "<f4") == 0;
    if (!is_float && strcmp(descr, "|u1") != 0) {
        return host->fail(host, WA_E_DATA,
                          "%s: element type is '%s', expected '|u1' (uint8) or '<f4' (float32)",
                          npy->path, descr);
    }
    wa_status status = check_shape(host, npy, 4, "(n, height, width, channels), none of them 0");
    if (status == WA_OK) {
        status = check_size(host, npy, is_float ? sizeof(float) : 1);
    }
    if (status == WA_OK && is_float) {
        status = take_floats(host, npy);
    }
    if (status == WA_OK) {
        *ret_element = is_float ? WA_ELEMENT_F32 : WA_ELEMENT_U8;
    }
    return status;
}

/* ---- Labels -------------------------------------------------------------------------------- */

struct integer_type {
    size_t bytes;
    bool is_signed;
};

static bool parse_integer_type(const char *descr, struct integer_type *ret_type)
{
    static const char *const names[] = {"|u1", "<u2", "<u4", "<u8", "|i1", "<i2", "<i4", "<i8"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(descr, names[i]) == 0) {
            *ret_type = (struct integer_type){.bytes = (size_t)1 << (i % 4), .is_signed = i >= 4};
            return true;
        }
    }
    return false;
}

/* One integer's bits, extended to 64. */
static uint64_t integer_at(const uint8_t *data, size_t index, struct integer_type type)
{
    const uint8_t *bytes = data + index * type.bytes;
    bool is_negative = type.is_signed && (bytes[type.bytes - 1] & 0x80) != 0;
    uint64_t bits = 0;
    for (size_t i = 0; i < sizeof bits; i++) {
        uint8_t byte = is_negative ? 0xff : 0;
        bits |= (uint64_t)(i < type.bytes ? bytes[i] : byte) << (8 * i);
    }
    return bits;
}

static wa_status bad_label(const wa_host *host, const struct npy *npy, size_t index, uint64_t bits,
                           bool is_signed, uint64_t limit)
{
    bool is_negative = is_signed && bits >> 63;
    uint64_t size = is_negative ? 0 - bits : bits;
    return host->fail(host, WA_E_DATA, "%s: label %zu is %s%llu, expected 0 to %llu", npy->path,
                      index, is_negative ? "-" : "", (unsigned long long)size,
                      (unsigned long long)(limit - 1));
}

/* Labels below `limit` into *ret_labels, from malloc; the largest one too. */
static wa_status take_labels(const wa_host *host, const struct npy *npy, struct integer_type type,
                             uint64_t limit, uint32_t **ret_labels, uint32_t *ret_largest)
{
    size_t count = (size_t)npy->header.shape[0];
    size_t bytes;
    uint32_t *labels = wa_files_mul(count, sizeof *labels, &bytes) ? malloc(bytes) : NULL;
    if (!labels) {
        return wa_files_no_memory(host, count, "labels");
    }
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = integer_at(npy->bytes.data + npy->data, i, type);
        if (bits >= limit) { /* a negative one's bits are huge */
            wa_status status = bad_label(host, npy, i, bits, type.is_signed, limit);
            free(labels);
            return status;
        }
        labels[i] = (uint32_t)bits;
        largest = labels[i] > largest ? labels[i] : largest;
    }
    *ret_labels = labels;
    *ret_largest = largest;
    return WA_OK;
}

static wa_status check_labels(const wa_host *host, const struct npy *npy, uint64_t limit,
                              uint32_t **ret_labels, uint32_t *ret_largest)
{
    struct integer_type type;
    if (!parse_integer_type(npy->header.descr, &type)) {
        return host->fail(host, WA_E_DATA,
                          "%s: element type is '%s', expected little-endian integers: '|u1', "
                          "'<i8' or the like",
                          npy->path, npy->header.descr);
    }
    wa_status status = check_shape(host, npy, 1, "(n), not 0");
    if (status == WA_OK) {
        status = check_size(host, npy, type.bytes);
    }
    if (status != WA_OK) {
        return status;
    }
    return take_labels(host, npy, type, limit, ret_labels, ret_largest);
}

/* ---- Dataset ------------------------------------------------------------------------------- */

static wa_status load_npy(const wa_host *host, const char *option, struct npy *ret_npy)
{
    struct npy npy = {.path = host->option_path(host, option)};
    wa_status status = wa_files_load(host, npy.path, &npy.bytes);
    if (status != WA_OK) {
        return status;
    }
    status = read_header(host, &npy);
    if (status != WA_OK) {
        free(npy.bytes.data);
        return status;
    }
    *ret_npy = npy;
    return WA_OK;
}

static wa_status open_labels(struct wa_files_set *set, const struct npy *images,
                             uint32_t *ret_classes)
{
    const wa_host *host = set->host;
    bool has_classes = !host->option_is_null(host, "classes");
    uint64_t limit = has_classes ? (uint64_t)host->option_integer(host, "classes") : MOST_CLASSES;
    struct npy labels;
    wa_status status = load_npy(host, "labels", &labels);
    if (status != WA_OK) {
        return status;
    }
    uint32_t largest = 0;
    status = check_labels(host, &labels, limit, &set->train.labels, &largest);
    if (status == WA_OK && labels.header.shape[0] != images->header.shape[0]) {
        status =
            host->fail(host, WA_E_DATA, "%s: holds %llu labels, expected %llu as %s has images",
                       labels.path, (unsigned long long)labels.header.shape[0],
                       (unsigned long long)images->header.shape[0], images->path);
    }
    free(labels.bytes.data);
    if (status == WA_OK) {
        *ret_classes = has_classes ? (uint32_t)limit : largest + 1;
    }
    return status;
}

/* On success the set owns the images' bytes; on failure the caller still does. */
static wa_status open_set(struct wa_files_set *set, struct npy *images, wa_dataset_info *ret_info)
{
    wa_element element = WA_ELEMENT_U8;
    uint32_t classes = 0;
    wa_status status = check_images(set->host, images, &element);
    if (status == WA_OK) {
        status = open_labels(set, images, &classes);
    }
    if (status != WA_OK) {
        return status;
    }
    const uint64_t *shape = images->header.shape;
    set->train.block = images->bytes.data;
    set->train.items = images->bytes.data + images->data;
    set->train.count = shape[0];
    set->item_bytes = (images->bytes.size - images->data) / (size_t)shape[0];
    ret_info->height = (uint32_t)shape[1];
    ret_info->width = (uint32_t)shape[2];
    ret_info->channels = (uint32_t)shape[3];
    ret_info->classes = classes;
    ret_info->target_values = 0;
    ret_info->element = element;
    ret_info->target = WA_TARGET_CLASS;
    ret_info->target_offset = 0.1F;
    ret_info->trains_smaller_last_batch = false;
    ret_info->train_items = shape[0];
    ret_info->validation_items = 0;
    ret_info->test_items = 0;
    return WA_OK;
}

static wa_status arrays_open(const wa_dataset_host *host, void **ret_self,
                             wa_dataset_info *ret_info)
{
    struct npy images;
    wa_status status = load_npy(host->base, "images", &images);
    if (status != WA_OK) {
        return status;
    }
    struct wa_files_set *set = wa_files_create_set(host->base);
    if (!set) {
        free(images.bytes.data);
        return WA_E_MEMORY;
    }
    status = open_set(set, &images, ret_info);
    if (status != WA_OK) {
        wa_files_close_set(set);
        free(images.bytes.data);
        return status;
    }
    *ret_self = set;
    return WA_OK;
}

static const wa_dataset_ops ops = {
    .struct_size = sizeof ops,
    .default_validation = 0,
    .open = arrays_open,
    .close = wa_files_close_set,
    .read = wa_files_read_item,
};

static const wa_plugin arrays = {
    .struct_size = sizeof arrays,
    .kind = WA_KIND_DATASET,
    .id = "arrays",
    .version = "1.0.0",
    .summary = "images and labels of your own, from two .npy files",
    .reference = "",
    .options = options,
    .dataset = &ops,
};

static const wa_plugin *const plugins[] = {&arrays};
WA_PLUGIN_ENTRY(plugins, 1)
