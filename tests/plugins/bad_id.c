/* A rule whose id is not kebab-case and holds a line feed. */
#include "fixture.h"

FIXTURE_OPS
static const wa_plugin plugin = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_RULE, .id = "Bad_Rule\n",
                                 .rule = &ops};
FIXTURE_ENTRY
