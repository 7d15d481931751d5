/* An ops table that ends before its last required function. */
#include "fixture.h"

static const wa_rule_ops ops = {.struct_size = offsetof(wa_rule_ops, compute_update),
                                FIXTURE_FUNCTIONS};
static const wa_plugin plugin = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_RULE, .id = "short-ops",
                                 .rule = &ops};
FIXTURE_ENTRY
