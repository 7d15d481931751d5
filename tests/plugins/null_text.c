/* A rule without a version. */
#include "fixture.h"

FIXTURE_OPS
static const wa_plugin plugin = {.struct_size = sizeof(wa_plugin),
                                 .kind = WA_KIND_RULE,
                                 .id = "ageless-rule",
                                 .summary = "A test fixture.",
                                 .reference = "",
                                 .rule = &ops};
FIXTURE_ENTRY
