/* A rule whose option schema has a keyword that is not understood. */
#include "fixture.h"

FIXTURE_OPS
static const wa_plugin plugin = {
    FIXTURE_DESCRIPTOR, .kind = WA_KIND_RULE, .id = "wordy-rule", .rule = &ops,
    .options = "{\"properties\": {\"scale\": {\"type\": \"number\", \"multipleOf\": 2}}}"};
FIXTURE_ENTRY
