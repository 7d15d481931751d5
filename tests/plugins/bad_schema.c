/* A rule whose option schema is not JSON. */
#include "fixture.h"

FIXTURE_OPS
static const wa_plugin plugin = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_RULE, .id = "broken-rule",
                                 .rule = &ops, .options = "{\"properties\": {\"scale\": }}"};
FIXTURE_ENTRY
