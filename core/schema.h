/* Checks JSON values against a subset of JSON Schema and fills in defaults. Understood: type (a
 * name or an array of them), enum, minimum, maximum, items, required, default, properties,
 * additionalProperties (true or false; false where it is absent, unlike the standard) and, without
 * effect, description, title, $schema. An integer is a JSON number without fraction and exponent.
 */
#ifndef WALIGN_CORE_SCHEMA_H
#define WALIGN_CORE_SCHEMA_H

#include <json-c/json.h>

#include "status.h"

/* What the messages about a checked value need to know. */
struct wa_schema_where {
    /* Writes where `path` stands, such as "file:line:column", or the nearest value around it. */
    void (*place)(const void *context, const char *path, char *ret_place, size_t size);
    const void *context;
    const char *path; /* of the checked value itself; "" for a whole text */
    /* NULL, or an object whose keys are good keys beside the schema's: only for suggestions. */
    struct json_object *other_keys;
};

/* Parses a schema and checks that it is understood: an unknown keyword, a keyword of a wrong type
 * or a default that the schema itself refuses is WA_E_PLUGIN, and the message starts with `name`
 * and the place in `text`. The caller puts *ret_schema. */
WA_MUST_CHECK wa_status wa_schema_parse(const char *name, const char *text,
                                        struct json_object **ret_schema, struct wa_error *err);

/* Checks `value` (NULL is JSON's null) against a schema that wa_schema_parse has accepted, and adds
 * the defaults of absent members to it. WA_E_USAGE with "<place>: <path>: got ..., expected ..." at
 * the first fault, in the order of the text; an unknown key is named with the nearest known one. */
WA_MUST_CHECK wa_status wa_schema_apply(struct json_object *schema, struct json_object *value,
                                        const struct wa_schema_where *where, struct wa_error *err);

/* Letters to add, drop, change or swap with a neighbour to get from `name` to `candidate`, or
 * SIZE_MAX where that is too many for a slip of the hand. */
size_t wa_schema_distance(const char *name, const char *candidate);

/* The JSON text of a value, cut short for a message. */
void wa_schema_show(struct json_object *value, char *ret_text, size_t size);

#endif
