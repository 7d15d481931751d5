/* A rule without ops. */
#include "fixture.h"

static const wa_plugin plugin = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_RULE, .id = "hollow-rule"};
FIXTURE_ENTRY
