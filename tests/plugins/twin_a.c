/* The first of two files with the same id. */
#include "fixture.h"

FIXTURE_OPS
static const wa_plugin plugin = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_RULE, .id = "twin-rule",
                                 .rule = &ops};
FIXTURE_ENTRY
