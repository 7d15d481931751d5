/* One file that lists a plugin twice. */
#include "fixture.h"

FIXTURE_OPS
static const wa_plugin plugin = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_RULE, .id = "same-rule",
                                 .rule = &ops};

static const wa_plugin *const plugins[] = {&plugin, &plugin};
WA_PLUGIN_ENTRY(plugins, 2)
