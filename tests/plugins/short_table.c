/* A table that ends before its last field. */
#include "fixture.h"

FIXTURE_OPS
static const wa_plugin plugin = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_RULE, .id = "short-rule",
                                 .rule = &ops};

static const wa_plugin *const plugins[] = {&plugin};
FIXTURE_TABLE(offsetof(wa_plugin_table, plugins), WA_ABI_MAJOR, WA_ABI_MINOR, 1, plugins)
