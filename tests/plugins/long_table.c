/* A table longer than its own version has. */
#include "fixture.h"

FIXTURE_OPS
static const wa_plugin plugin = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_RULE, .id = "long-rule",
                                 .rule = &ops};

static const wa_plugin *const plugins[] = {&plugin};
FIXTURE_TABLE(sizeof(wa_plugin_table) + 8, WA_ABI_MAJOR, WA_ABI_MINOR, 1, plugins)
