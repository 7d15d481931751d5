/* A table that ends before its version: that must not be read. */
#include "fixture.h"

FIXTURE_OPS
static const wa_plugin plugin = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_RULE, .id = "tiny-rule",
                                 .rule = &ops};

static const wa_plugin *const plugins[] = {&plugin};
FIXTURE_TABLE(4, 0, 0, 1, plugins)
