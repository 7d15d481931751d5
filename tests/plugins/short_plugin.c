/* A descriptor that ends before its ops pointers. */
#include "fixture.h"

FIXTURE_OPS
static const wa_plugin plugin = {.struct_size = offsetof(wa_plugin, rule),
                                 .kind = WA_KIND_RULE,
                                 .id = "short-rule",
                                 .version = "1.0",
                                 .summary = "A test fixture.",
                                 .reference = "",
                                 .rule = &ops};
FIXTURE_ENTRY
