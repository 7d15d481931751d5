/* Built for another major version. */
#include "fixture.h"

FIXTURE_OPS
static const wa_plugin plugin = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_RULE, .id = "major-rule",
                                 .rule = &ops};

static const wa_plugin *const plugins[] = {&plugin};
FIXTURE_TABLE(sizeof(wa_plugin_table), WA_ABI_MAJOR + 1, 4, 1, plugins)
