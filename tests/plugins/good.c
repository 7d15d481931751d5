/* A rule in perfect order. */
#include "fixture.h"

FIXTURE_OPS
static const wa_plugin plugin = {
    FIXTURE_DESCRIPTOR,
    .kind = WA_KIND_RULE,
    .id = "good-rule",
    .roles = WA_ROLE_EXACT_GRADIENT,
    .options = "{\"properties\": {\"scale\": {\"type\": \"number\", \"default\": 1.5}}}",
    .rule = &ops};
FIXTURE_ENTRY
