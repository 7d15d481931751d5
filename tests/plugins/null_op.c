/* A rule without a required function. */
#include "fixture.h"

static const wa_rule_ops ops = {
    .struct_size = sizeof(wa_rule_ops), .create = fixture_create, .destroy = fixture_destroy};
static const wa_plugin plugin = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_RULE, .id = "idle-rule",
                                 .rule = &ops};
FIXTURE_ENTRY
