/* A rule whose option schema does not describe an object. */
#include "fixture.h"

FIXTURE_OPS
static const wa_plugin plugin = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_RULE, .id = "flat-rule",
                                 .rule = &ops, .options = "{\"type\": \"integer\"}"};
FIXTURE_ENTRY
