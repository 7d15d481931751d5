/* Paths that name a value of a JSON text: architecture.kernels[1], grid["architecture.width"][0] (a
 * key of other characters than letters, digits, '_' and '-' stands in [""]); and texts for
 * messages. */
#ifndef WALIGN_CORE_JSON_PATH_H
#define WALIGN_CORE_JSON_PATH_H

#include "walign/plugin.h"

enum {
    WA_JSON_PATH_BYTES = 512, /* of a path that is written, with its NUL */
    WA_JSON_KEY_BYTES = 256   /* of a key in a path that is read, with its NUL */
};

/* One step of a path: a key, or an index if `is_index`. */
struct wa_json_step {
    bool is_index;
    size_t index;
    char key[WA_JSON_KEY_BYTES];
};

enum wa_json_path_result { WA_JSON_PATH_BROKEN = 1, WA_JSON_PATH_END, WA_JSON_PATH_STEP };

/* Reads the next step of a path. `*cursor` starts at the path's first character and is moved on;
 * `path` is that first character. */
WA_MUST_CHECK enum wa_json_path_result wa_json_path_next(const char *path, const char **cursor,
                                                         struct wa_json_step *ret_step);

/* Appends a step to the path in `path`, of `size` bytes. Returns the length it had, to cut it back
 * to afterwards. Where the step does not fit, the path stays as it is and names the value around.
 */
size_t wa_json_path_add_key(char *path, size_t size, const char *key);
size_t wa_json_path_add_index(char *path, size_t size, size_t index);

/* Whether `path` is `around` or lies in it. */
bool wa_json_path_is_within(const char *path, const char *around);

/* Copies JSON or other text into `ret_short`, of `size` bytes; too long a text is cut between two
 * characters and ends in "...". */
void wa_json_shorten(const char *text, char *ret_short, size_t size);

/* Length of the UTF-8 character at text[0..size), 0 if there is no valid one. */
size_t wa_json_utf8_length(const char *text, size_t size);

#endif
