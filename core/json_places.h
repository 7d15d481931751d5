/* Where each value of a JSON text stands. json-c parses the values but keeps no places, so a small
 * scanner of the same text records them and refuses, with line and column, whatever is not RFC 8259
 * JSON. */
#ifndef WALIGN_CORE_JSON_PLACES_H
#define WALIGN_CORE_JSON_PLACES_H

#include <json-c/json.h>

#include "json_path.h"
#include "status.h"

enum {
    WA_JSON_DEPTH = 32,          /* arrays and objects inside each other */
    WA_JSON_BYTES = 1024 * 1024, /* of one text */
};

/* Both count from 1; columns count bytes. */
struct wa_json_place {
    uint32_t line, column;
};

struct wa_json_places;

/* Scans text[0..size); text[size] must be '\0'. `name` (a file) starts every message. Refused
 * besides broken JSON, as RFC 8259 allows: duplicate keys, the character U+0000, unpaired
 * surrogates, integers beyond int64_t, numbers beyond double, and more than WA_JSON_DEPTH or
 * WA_JSON_BYTES. Returns WA_E_USAGE for all of these, else WA_E_MEMORY. The caller destroys
 * *ret_places. */
WA_MUST_CHECK wa_status wa_json_places_scan(const char *name, const char *text, size_t size,
                                            struct wa_json_places **ret_places,
                                            struct wa_error *err);
void wa_json_places_destroy(struct wa_json_places *places); /* takes NULL */

/* Scans the text as above, then parses it with json-c. The caller puts *ret_root (NULL is JSON's
 * null) and destroys *ret_places; `ret_places` may be NULL. WA_E_FAILED if json-c refuses what the
 * scanner accepts, which must not happen. */
WA_MUST_CHECK wa_status wa_json_places_parse(const char *name, const char *text, size_t size,
                                             struct json_object **ret_root,
                                             struct wa_json_places **ret_places,
                                             struct wa_error *err);

/* The place of a path ("" is the root): of the key for a member, of the value for an array's
 * element and the root. False if there is no such path: then the place is that of the nearest value
 * around it.
 */
bool wa_json_places_find(const struct wa_json_places *places, const char *path,
                         struct wa_json_place *ret_place);

/* Number of values, the root included. */
size_t wa_json_places_count(const struct wa_json_places *places);

#endif
