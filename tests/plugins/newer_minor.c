/* Built for a newer minor version, with a longer table. */
#include "fixture.h"

FIXTURE_OPS
static const wa_plugin plugin = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_RULE, .id = "minor-rule",
                                 .rule = &ops};

static const wa_plugin *const plugins[] = {&plugin};
FIXTURE_TABLE(sizeof(wa_plugin_table) + 8, WA_ABI_MAJOR, WA_ABI_MINOR + 1, 1, plugins)
