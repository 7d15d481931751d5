/* Paths that name a value of a JSON text, and texts cut short for messages. */
#include "json_path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static enum wa_json_path_result read_index(const char **cursor, struct wa_json_step *ret_step)
{
    const char *at = *cursor;
    size_t index = 0;
    size_t digits = 0;
    for (; is_digit((unsigned char)*at) && digits < 9; at++, digits++) {
        index = index * 10 + (size_t)(*at - '0');
    }
    if (digits == 0 || *at != ']') {
        return WA_JSON_PATH_BROKEN;
    }
    *cursor = at + 1;
    *ret_step = (struct wa_json_step){.is_index = true, .index = index};
    return WA_JSON_PATH_STEP;
}

/* key"] with \" \\ and \u00XX, as wa_json_path_add_key writes it. */
static enum wa_json_path_result read_quoted_key(const char **cursor, struct wa_json_step *ret_step)
{
    const char *at = *cursor;
    size_t length = 0;
    *ret_step = (struct wa_json_step){.is_index = false};
    while (*at && *at != '"' && length + 1 < sizeof ret_step->key) {
        char digits[5] = "";
        if (*at != '\\') {
            ret_step->key[length++] = *at++;
        } else if (at[1] == '"' || at[1] == '\\') {
            ret_step->key[length++] = at[1];
            at += 2;
        } else if (at[1] == 'u' && strspn(at + 2, "0123456789abcdef") >= 4) {
            memcpy(digits, at + 2, 4);
            unsigned long code = strtoul(digits, NULL, 16);
            if (code == 0 || code >= 0x80) { /* these are never written as an escape */
                return WA_JSON_PATH_BROKEN;
            }
            ret_step->key[length++] = (char)code;
            at += 6;
        } else {
            return WA_JSON_PATH_BROKEN;
        }
    }
    if (at[0] != '"' || at[1] != ']') {
        return WA_JSON_PATH_BROKEN;
    }
    *cursor = at + 2;
    return WA_JSON_PATH_STEP;
}

static enum wa_json_path_result read_plain_key(const char **cursor, struct wa_json_step *ret_step)
{
    size_t length = strcspn(*cursor, ".[]\"");
    if (length == 0 || length >= sizeof ret_step->key) {
        return WA_JSON_PATH_BROKEN;
    }
    *ret_step = (struct wa_json_step){.is_index = false};
    memcpy(ret_step->key, *cursor, length);
    *cursor += length;
    return WA_JSON_PATH_STEP;
}

enum wa_json_path_result wa_json_path_next(const char *path, const char **cursor,
                                           struct wa_json_step *ret_step)
{
    if (**cursor == '\0') {
        return WA_JSON_PATH_END;
    }
    if (**cursor == '[') {
        ++*cursor;
        if (**cursor == '"') {
            ++*cursor;
            return read_quoted_key(cursor, ret_step);
        }
        return read_index(cursor, ret_step);
    }
    if (*cursor != path) {
        if (**cursor != '.') {
            return WA_JSON_PATH_BROKEN;
        }
        ++*cursor;
    }
    return read_plain_key(cursor, ret_step);
}

static bool is_word(int c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
}

static bool is_plain_key(const char *key)
{
    size_t length = 0;
    while (is_word((unsigned char)key[length])) {
        length++;
    }
    return length > 0 && key[length] == '\0';
}

/* Appends text at path[*length] if it fits. */
static bool put(char *path, size_t size, size_t *length, const char *text, size_t text_length)
{
    if (*length + text_length >= size) {
        return false;
    }
    memcpy(path + *length, text, text_length);
    *length += text_length;
    path[*length] = '\0';
    return true;
}

static bool put_quoted(char *path, size_t size, size_t *length, const char *key)
{
    bool fits = put(path, size, length, "[\"", 2);
    for (; fits && *key; key++) {
        unsigned char c = (unsigned char)*key;
        char escape[8];
        if (c == '"' || c == '\\') {
            (void)snprintf(escape, sizeof escape, "\\%c", c);
        } else if (c < ' ' || c == 127) {
            (void)snprintf(escape, sizeof escape, "\\u%04x", c);
        } else {
            (void)snprintf(escape, sizeof escape, "%c", c);
        }
        fits = put(path, size, length, escape, strlen(escape));
    }
    return fits && put(path, size, length, "\"]", 2);
}

size_t wa_json_path_add_key(char *path, size_t size, const char *key)
{
    size_t before = strlen(path);
    size_t length = before;
    bool fits;
    if (is_plain_key(key)) {
        fits = (before == 0 || put(path, size, &length, ".", 1)) &&
               put(path, size, &length, key, strlen(key));
    } else {
        fits = put_quoted(path, size, &length, key);
    }
    if (!fits) {
        path[before] = '\0';
    }
    return before;
}

size_t wa_json_path_add_index(char *path, size_t size, size_t index)
{
    size_t length = strlen(path);
    size_t before = length;
    char text[32];
    (void)snprintf(text, sizeof text, "[%zu]", index);
    (void)put(path, size, &length, text, strlen(text));
    return before;
}

bool wa_json_path_is_within(const char *path, const char *around)
{
    size_t length = strlen(around);
    return strncmp(path, around, length) == 0 && (length == 0 || strchr(".[", path[length]));
}

/* ---- Text ----------------------------------------------------------------------------------- */

size_t wa_json_utf8_length(const char *text, size_t size)
{
    const unsigned char *byte = (const unsigned char *)text;
    if (size == 0) {
        return 0;
    }
    if (byte[0] < 0x80) {
        return 1;
    }
    size_t length = byte[0] >= 0xf0 ? 4 : byte[0] >= 0xe0 ? 3 : 2;
    if (byte[0] < 0xc2 || byte[0] > 0xf4 || length > size) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((byte[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool is_overlong = (byte[0] == 0xe0 && byte[1] < 0xa0) || (byte[0] == 0xf0 && byte[1] < 0x90);
    bool is_surrogate = byte[0] == 0xed && byte[1] >= 0xa0;
    bool is_beyond = byte[0] == 0xf4 && byte[1] >= 0x90;
    return is_overlong || is_surrogate || is_beyond ? 0 : length;
}

void wa_json_shorten(const char *text, char *ret_short, size_t size)
{
    size_t length = strlen(text);
    if (length < size) {
        memcpy(ret_short, text, length + 1);
        return;
    }
    length = size - 4;
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80) {
        length--;
    }
    memcpy(ret_short, text, length);
    memcpy(ret_short + length, "...", 4);
}
