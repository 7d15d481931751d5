/* A rule that has an architecture's ops as well. */
#include "fixture.h"

FIXTURE_OPS
static const wa_architecture_ops other_ops = {.struct_size = sizeof(wa_architecture_ops),
                                              .build = fixture_build};
static const wa_plugin plugin = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_RULE, .id = "double-rule",
                                 .rule = &ops, .architecture = &other_ops};
FIXTURE_ENTRY
