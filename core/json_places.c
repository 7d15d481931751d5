/* Scanner of JSON text (RFC 8259) that records places. Values become nodes of a tree; one hash
 * table over (parent, key or index) finds duplicate keys and looks paths up, so that no input takes
 * more than linear time and memory. */
#include "json_places.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_KEY UINT32_MAX

struct node {
    uint32_t parent;
    uint32_t key;   /* offset in wa_json_places.keys; NO_KEY for the root and array elements */
    uint32_t index; /* in the array */
    struct wa_json_place place;
};

struct wa_json_places {
    struct node *nodes; /* nodes[0] is the root */
    size_t count, capacity;
    char *keys; /* decoded, each with its NUL */
    size_t key_bytes, key_capacity;
    uint32_t *table;   /* open addressing; 0 is a free slot, as the root is not in it */
    size_t table_size; /* a power of two, at least twice the count */
};

struct scanner {
    const char *name;
    const char *text;
    size_t size, at;
    size_t line_start;
    uint32_t line;
    uint32_t depth;
    struct wa_json_places *places;
    struct wa_error *err;
};

/* ---- The tree ------------------------------------------------------------------------------- */

/* `data` with room for `need` items: itself, a larger copy, or NULL (then `data` stays valid). */
static void *with_room(void *data, size_t *capacity, size_t need, size_t item_bytes)
{
    if (need <= *capacity) {
        return data;
    }
    size_t wanted = need < 32 ? 64 : need + need / 2;
    size_t bytes;
    if (!wa_mul_size(wanted, item_bytes, &bytes)) {
        return NULL;
    }
    void *grown = realloc(data, bytes);
    if (grown) {
        *capacity = wanted;
    }
    return grown;
}

static uint32_t hash_step(uint32_t parent, const char *key, uint32_t index)
{
    uint64_t hash = 14695981039346656037u ^ parent;
    hash *= 1099511628211u;
    if (key) {
        for (; *key; key++) {
            hash = (hash ^ (unsigned char)*key) * 1099511628211u;
        }
    } else {
        hash = (hash ^ 256u ^ ((uint64_t)index << 9)) * 1099511628211u;
    }
    return (uint32_t)(hash ^ (hash >> 32));
}

static const char *key_of(const struct wa_json_places *places, const struct node *node)
{
    return node->key == NO_KEY ? NULL : places->keys + node->key;
}

/* The slot of the table that holds the child, or the free one where it belongs. `key` NULL: an
 * array's element. */
static uint32_t *slot_of(const struct wa_json_places *places, uint32_t parent, const char *key,
                         uint32_t index)
{
    size_t mask = places->table_size - 1;
    size_t slot = hash_step(parent, key, index) & mask;
    for (; places->table[slot]; slot = (slot + 1) & mask) {
        const struct node *node = &places->nodes[places->table[slot]];
        const char *node_key = key_of(places, node);
        if (node->parent == parent && !key == !node_key &&
            (key ? strcmp(key, node_key) == 0 : node->index == index)) {
            break;
        }
    }
    return &places->table[slot];
}

static bool make_table_room(struct wa_json_places *places)
{
    if ((places->count + 1) * 2 <= places->table_size) {
        return true;
    }
    size_t size = places->table_size ? places->table_size * 2 : 128;
    uint32_t *table = calloc(size, sizeof *table);
    if (!table) {
        return false;
    }
    free(places->table);
    places->table = table;
    places->table_size = size;
    for (uint32_t i = 1; i < places->count; i++) {
        const struct node *node = &places->nodes[i];
        *slot_of(places, node->parent, key_of(places, node), node->index) = i;
    }
    return true;
}

/* ---- Messages ------------------------------------------------------------------------------- */

static struct wa_json_place here(const struct scanner *s)
{
    return (struct wa_json_place){s->line, (uint32_t)(s->at - s->line_start + 1)};
}

static wa_status refuse_at(const struct scanner *s, struct wa_json_place place, const char *format,
                           ...) WA_PRINTF(3, 4) __attribute__((cold));

static wa_status refuse_at(const struct scanner *s, struct wa_json_place place, const char *format,
                           ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return wa_fail(s->err, WA_E_USAGE, "%s:%" PRIu32 ":%" PRIu32 ": %s", s->name, place.line,
                   place.column, text);
}

static wa_status out_of_memory(const char *name, struct wa_error *err)
{
    return wa_fail(err, WA_E_MEMORY, "%s: out of memory", name);
}

static int peek(const struct scanner *s)
{
    return s->at < s->size ? (unsigned char)s->text[s->at] : EOF;
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(int c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* What stands at the scanner: a word, a character or the end. */
static void describe(const struct scanner *s, char *ret_text, size_t size)
{
    int c = peek(s);
    size_t length = 0;
    while (length < 20 && s->at + length < s->size &&
           is_word((unsigned char)s->text[s->at + length])) {
        length++;
    }
    if (c == EOF) {
        (void)snprintf(ret_text, size, "the end of the text");
    } else if (length) {
        (void)snprintf(ret_text, size, "%.*s", (int)length, s->text + s->at);
    } else if (c > ' ' && c < 127) {
        (void)snprintf(ret_text, size, "'%c'", c);
    } else if ((length = wa_json_utf8_length(s->text + s->at, s->size - s->at)) > 1) {
        (void)snprintf(ret_text, size, "'%.*s'", (int)length, s->text + s->at);
    } else {
        (void)snprintf(ret_text, size, "the byte 0x%02x", (unsigned)c);
    }
}

static bool starts_with(const struct scanner *s, const char *word)
{
    size_t length = strlen(word);
    return s->size - s->at >= length && memcmp(s->text + s->at, word, length) == 0;
}

static bool starts_not_a_number(const struct scanner *s)
{
    static const char *const words[] = {"NaN", "nan", "NAN",  "Infinity", "-Infinity", "-NaN",
                                        "inf", "Inf", "-inf", "-Inf",     "INF",       "-nan"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (starts_with(s, words[i])) {
            return true;
        }
    }
    return false;
}

/* Something else stands where `expected` should. */
static wa_status unexpected(const struct scanner *s, const char *expected)
{
    char got[64];
    describe(s, got, sizeof got);
    int c = peek(s);
    if (c == '#' || starts_with(s, "//") || starts_with(s, "/*")) {
        return refuse_at(s, here(s), "got a comment, expected %s: JSON has no comments, remove it",
                         expected);
    }
    if (starts_not_a_number(s)) {
        return refuse_at(s, here(s), "NaN and Infinity are not JSON, expected %s", expected);
    }
    if (c == '\'') {
        return refuse_at(s, here(s), "got ', expected %s: JSON's strings stand in double quotes",
                         expected);
    }
    if (starts_with(s, "\xef\xbb\xbf")) {
        return refuse_at(s, here(s), "got a byte order mark, expected %s: save it without one",
                         expected);
    }
    return refuse_at(s, here(s), "got %s, expected %s", got, expected);
}

/* ---- Strings -------------------------------------------------------------------------------- */

static wa_status keep_bytes(struct scanner *s, const char *bytes, size_t count)
{
    struct wa_json_places *places = s->places;
    char *keys = with_room(places->keys, &places->key_capacity, places->key_bytes + count, 1);
    if (!keys) {
        return out_of_memory(s->name, s->err);
    }
    places->keys = keys;
    memcpy(keys + places->key_bytes, bytes, count);
    places->key_bytes += count;
    return WA_OK;
}

/* Writes a code point as UTF-8; returns its length. */
static size_t encode(uint32_t code, char bytes[4])
{
    if (code < 0x80) {
        bytes[0] = (char)code;
        return 1;
    }
    size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--) {
        bytes[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    bytes[0] = (char)((length == 2 ? 0xc0 : length == 3 ? 0xe0 : 0xf0) | code);
    return length;
}

/* The four digits of \uXXXX at text[at..). */
static bool read_hex(const struct scanner *s, size_t at, uint32_t *ret_code)
{
    uint32_t code = 0;
    for (size_t i = at; i < at + 4; i++) {
        int c = i < s->size ? (unsigned char)s->text[i] : EOF;
        uint32_t digit;
        if (is_digit(c)) {
            digit = (uint32_t)(c - '0');
        } else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
            digit = (uint32_t)((c | 0x20) - 'a' + 10);
        } else {
            return false;
        }
        code = code << 4 | digit;
    }
    *ret_code = code;
    return true;
}

/* \uXXXX, or two of them for a surrogate pair; the scanner is at the backslash. */
static wa_status scan_unicode_escape(struct scanner *s, uint32_t *ret_code)
{
    uint32_t code;
    if (!read_hex(s, s->at + 2, &code)) {
        return refuse_at(s, here(s), "expected four hexadecimal digits after \\u");
    }
    if (code == 0) {
        return refuse_at(s, here(s), "\\u0000 is refused, expected a character above it");
    }
    size_t used = 6;
    if (code >= 0xd800 && code <= 0xdfff) {
        uint32_t low = 0;
        bool is_pair = code < 0xdc00 && s->at + 12 <= s->size && s->text[s->at + 6] == '\\' &&
                       s->text[s->at + 7] == 'u' && read_hex(s, s->at + 8, &low) && low >= 0xdc00 &&
                       low <= 0xdfff;
        if (!is_pair) {
            return refuse_at(s, here(s),
                             "\\u%04x is half of a surrogate pair, expected both halves",
                             (unsigned)code);
        }
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        used = 12;
    }
    s->at += used;
    *ret_code = code;
    return WA_OK;
}

static wa_status scan_escape(struct scanner *s, char bytes[4], size_t *ret_length)
{
    static const char names[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    int c = s->at + 1 < s->size ? (unsigned char)s->text[s->at + 1] : EOF;
    if (c == 'u') {
        uint32_t code = 0;
        wa_status status = scan_unicode_escape(s, &code);
        if (status == WA_OK) {
            *ret_length = encode(code, bytes);
        }
        return status;
    }
    const char *name = c > 0 ? strchr(names, c) : NULL;
    if (!name) {
        return refuse_at(
            s, here(s),
            "unknown escape in a string, expected \\\" \\\\ \\/ \\b \\f \\n \\r \\t or "
            "\\uXXXX");
    }
    bytes[0] = values[name - names];
    *ret_length = 1;
    s->at += 2;
    return WA_OK;
}

/* A string, the scanner at its opening quote; a key is kept, decoded. */
static wa_status scan_string(struct scanner *s, bool is_key)
{
    struct wa_json_place start = here(s);
    wa_status status = WA_OK;
    s->at++;
    while (status == WA_OK && peek(s) != '"') {
        char escaped[4];
        const char *bytes = s->text + s->at;
        size_t length = 1;
        int c = peek(s);
        if (c == EOF) {
            return refuse_at(s, start, "this string does not end, expected '\"'");
        }
        if (c < ' ') {
            return refuse_at(s, here(s),
                             "the byte 0x%02x in a string, expected '\"' or an escape such as \\n",
                             (unsigned)c);
        }
        if (c == '\\') {
            bytes = escaped;
            status = scan_escape(s, escaped, &length);
        } else {
            length = wa_json_utf8_length(bytes, s->size - s->at);
            if (length == 0) {
                return refuse_at(s, here(s), "the byte 0x%02x in a string, expected UTF-8",
                                 (unsigned)c);
            }
            s->at += length;
        }
        if (status == WA_OK && is_key) {
            status = keep_bytes(s, bytes, length);
        }
    }
    if (status == WA_OK) {
        s->at++;
        status = is_key ? keep_bytes(s, "", 1) : WA_OK;
    }
    return status;
}

/* ---- Numbers and words ---------------------------------------------------------------------- */

static bool skip_digits(struct scanner *s)
{
    size_t start = s->at;
    while (is_digit(peek(s))) {
        s->at++;
    }
    return s->at > start;
}

static bool is_in_range(const char *number, size_t length, bool is_integer)
{
    if (!is_integer) {
        return !isinf(strtod(number, NULL));
    }
    char digits[24];
    if (length >= sizeof digits) {
        return false;
    }
    memcpy(digits, number, length);
    digits[length] = '\0';
    errno = 0;
    (void)strtoll(digits, NULL, 10);
    return errno == 0;
}

static wa_status scan_number(struct scanner *s)
{
    struct wa_json_place start = here(s);
    const char *number = s->text + s->at;
    bool is_integer = true;
    if (starts_not_a_number(s)) {
        return unexpected(s, "a number");
    }
    if (peek(s) == '-') {
        s->at++;
    }
    if (peek(s) == '0') {
        s->at++;
        if (is_digit(peek(s))) {
            return refuse_at(s, start, "a number with a leading 0, expected one without");
        }
    } else if (!skip_digits(s)) {
        return unexpected(s, "a digit");
    }
    if (peek(s) == '.') {
        is_integer = false;
        s->at++;
        if (!skip_digits(s)) {
            return unexpected(s, "a digit after the decimal point");
        }
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        is_integer = false;
        s->at++;
        if (peek(s) == '+' || peek(s) == '-') {
            s->at++;
        }
        if (!skip_digits(s)) {
            return unexpected(s, "a digit in the exponent");
        }
    }
    size_t length = (size_t)(s->text + s->at - number);
    if (!is_in_range(number, length, is_integer)) {
        return refuse_at(s, start, "the number %.*s%s is too large, expected one from %s",
                         (int)(length < 40 ? length : 40), number, length < 40 ? "" : "...",
                         is_integer ? "-9223372036854775808 to 9223372036854775807"
                                    : "-1.797e308 to 1.797e308");
    }
    return WA_OK;
}

static wa_status scan_word(struct scanner *s)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t length = strlen(words[i]);
        if (starts_with(s, words[i]) &&
            !(s->at + length < s->size && is_word((unsigned char)s->text[s->at + length]))) {
            s->at += length;
            return WA_OK;
        }
    }
    return unexpected(s, "a value: an object, an array, a string in double quotes, a number, true, "
                         "false or null");
}

/* ---- Objects and arrays --------------------------------------------------------------------- */

static void skip_space(struct scanner *s)
{
    for (;; s->at++) {
        int c = peek(s);
        if (c == '\n') {
            s->line++;
            s->line_start = s->at + 1;
        } else if (c != ' ' && c != '\t' && c != '\r') {
            return;
        }
    }
}

/* Adds a child of `parent` and finds a key that is there already. */
static wa_status add_node(struct scanner *s, uint32_t parent, struct node node, uint32_t *ret_node)
{
    struct wa_json_places *places = s->places;
    struct node *nodes =
        with_room(places->nodes, &places->capacity, places->count + 1, sizeof *nodes);
    if (!nodes) {
        return out_of_memory(s->name, s->err);
    }
    places->nodes = nodes;
    if (!make_table_room(places)) {
        return out_of_memory(s->name, s->err);
    }
    uint32_t id = (uint32_t)places->count;
    if (id > 0) {
        const char *key = node.key == NO_KEY ? NULL : places->keys + node.key;
        uint32_t *slot = slot_of(places, parent, key, node.index);
        if (*slot) {
            const struct wa_json_place first = places->nodes[*slot].place;
            char shown[100];
            char path[WA_JSON_PATH_BYTES] = "";
            (void)wa_json_path_add_key(path, sizeof path, key);
            wa_json_shorten(path, shown, sizeof shown);
            return refuse_at(s, node.place,
                             "the key %s is there twice, first at %" PRIu32 ":%" PRIu32
                             "; remove one",
                             shown, first.line, first.column);
        }
        *slot = id;
    }
    node.parent = parent;
    places->nodes[id] = node;
    places->count++;
    *ret_node = id;
    return WA_OK;
}

static wa_status scan_value(struct scanner *s, uint32_t node);

/* One `"key": value`. */
static wa_status scan_member(struct scanner *s, uint32_t object)
{
    if (peek(s) != '"') {
        return unexpected(s, "a key in double quotes");
    }
    struct node node = {.key = (uint32_t)s->places->key_bytes, .place = here(s)};
    uint32_t id = 0;
    wa_status status = scan_string(s, true);
    if (status == WA_OK) {
        status = add_node(s, object, node, &id);
    }
    if (status == WA_OK) {
        skip_space(s);
        if (peek(s) != ':') {
            return unexpected(s, "':' after the key");
        }
        s->at++;
        skip_space(s);
        status = scan_value(s, id);
    }
    return status;
}

static wa_status scan_element(struct scanner *s, uint32_t array, uint32_t index)
{
    struct node node = {.key = NO_KEY, .index = index, .place = here(s)};
    uint32_t id = 0;
    wa_status status = add_node(s, array, node, &id);
    return status == WA_OK ? scan_value(s, id) : status;
}

/* An object or an array, the scanner at its bracket. */
static wa_status scan_container(struct scanner *s, uint32_t node)
{
    bool is_object = peek(s) == '{';
    char close = is_object ? '}' : ']';
    wa_status status = WA_OK;
    s->at++;
    skip_space(s);
    if (peek(s) == close) {
        s->at++;
        return WA_OK;
    }
    for (uint32_t index = 0; status == WA_OK; index++) {
        status = is_object ? scan_member(s, node) : scan_element(s, node, index);
        if (status != WA_OK) {
            break;
        }
        skip_space(s);
        if (peek(s) == close) {
            s->at++;
            break;
        }
        if (peek(s) != ',') {
            return unexpected(s, is_object ? "',' or '}'" : "',' or ']'");
        }
        struct wa_json_place comma = here(s);
        s->at++;
        skip_space(s);
        if (peek(s) == close) {
            return refuse_at(s, comma, "a comma before '%c', expected none after the last %s",
                             close, is_object ? "member" : "element");
        }
    }
    return status;
}

static wa_status scan_value(struct scanner *s, uint32_t node)
{
    int c = peek(s);
    if (c == '{' || c == '[') {
        if (s->depth == WA_JSON_DEPTH) {
            return refuse_at(s, here(s), "nested too deeply, expected at most %d levels",
                             (int)WA_JSON_DEPTH);
        }
        s->depth++;
        wa_status status = scan_container(s, node);
        s->depth--;
        return status;
    }
    if (c == '"') {
        return scan_string(s, false);
    }
    if (c == '-' || is_digit(c)) {
        return scan_number(s);
    }
    return scan_word(s);
}

static wa_status scan_text(struct scanner *s)
{
    if (s->size > WA_JSON_BYTES) {
        return wa_fail(s->err, WA_E_USAGE, "%s: larger than %d bytes, expected a smaller file",
                       s->name, (int)WA_JSON_BYTES);
    }
    skip_space(s);
    struct node root = {.key = NO_KEY, .place = here(s)};
    uint32_t id = 0;
    wa_status status = add_node(s, 0, root, &id);
    if (status == WA_OK) {
        status = scan_value(s, id);
    }
    if (status == WA_OK) {
        skip_space(s);
        if (s->at < s->size) {
            return unexpected(s, "nothing more after the JSON value");
        }
    }
    return status;
}

wa_status wa_json_places_scan(const char *name, const char *text, size_t size,
                              struct wa_json_places **ret_places, struct wa_error *err)
{
    struct wa_json_places *places = calloc(1, sizeof *places);
    if (!places) {
        return out_of_memory(name, err);
    }
    struct scanner s = {
        .name = name, .text = text, .size = size, .line = 1, .places = places, .err = err};
    wa_status status = scan_text(&s);
    if (status == WA_OK) {
        *ret_places = places;
    } else {
        wa_json_places_destroy(places);
    }
    return status;
}

void wa_json_places_destroy(struct wa_json_places *places)
{
    if (places) {
        free(places->nodes);
        free(places->keys);
        free(places->table);
        free(places);
    }
}

wa_status wa_json_places_parse(const char *name, const char *text, size_t size,
                               struct json_object **ret_root, struct wa_json_places **ret_places,
                               struct wa_error *err)
{
    struct wa_json_places *places = NULL;
    wa_status status = wa_json_places_scan(name, text, size, &places, err);
    if (status != WA_OK) {
        return status;
    }
    /* json-c counts scalars as a level too; its own limit must not come first. */
    struct json_tokener *tokener = json_tokener_new_ex(WA_JSON_DEPTH + 4);
    if (!tokener) {
        wa_json_places_destroy(places);
        return out_of_memory(name, err);
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    /* With the NUL, by which json-c knows that a number at the end of the text is complete. */
    struct json_object *root = json_tokener_parse_ex(tokener, text, (int)size + 1);
    enum json_tokener_error error = json_tokener_get_error(tokener);
    if (error != json_tokener_success) {
        status = wa_fail(err, WA_E_FAILED, "%s: json-c refuses the text at byte %zu: %s", name,
                         json_tokener_get_parse_end(tokener), json_tokener_error_desc(error));
        json_object_put(root);
    } else if (!root && text[strspn(text, " \t\r\n")] != 'n') {
        status = out_of_memory(name, err); /* json-c's NULL is null, or this */
    }
    json_tokener_free(tokener);
    if (status != WA_OK || !ret_places) {
        wa_json_places_destroy(places);
    } else {
        *ret_places = places;
    }
    if (status == WA_OK) {
        *ret_root = root;
    }
    return status;
}

/* ---- Look-up -------------------------------------------------------------------------------- */

bool wa_json_places_find(const struct wa_json_places *places, const char *path,
                         struct wa_json_place *ret_place)
{
    uint32_t node = 0;
    const char *cursor = path;
    struct wa_json_step step;
    enum wa_json_path_result result;
    while ((result = wa_json_path_next(path, &cursor, &step)) == WA_JSON_PATH_STEP) {
        uint32_t child = 0;
        if (!step.is_index || step.index < UINT32_MAX) {
            child = *slot_of(places, node, step.is_index ? NULL : step.key, (uint32_t)step.index);
        }
        if (!child) {
            break;
        }
        node = child;
    }
    *ret_place = places->nodes[node].place;
    return result == WA_JSON_PATH_END;
}

size_t wa_json_places_count(const struct wa_json_places *places)
{
    return places->count;
}
