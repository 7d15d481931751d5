/* A rule with an empty id. */
#include "fixture.h"

FIXTURE_OPS
static const wa_plugin plugin = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_RULE, .id = "", .rule = &ops};
FIXTURE_ENTRY
