/* A shared object without the entry. */
#include "fixture.h"

FIXTURE_OPS
static const wa_plugin plugin = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_RULE, .id = "lost-rule",
                                 .rule = &ops};
const wa_plugin *fixture_plugin(void);

const wa_plugin *fixture_plugin(void)
{
    return &plugin;
}
