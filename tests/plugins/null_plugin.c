/* A list with a NULL plugin. */
#include "fixture.h"

static const wa_plugin *const plugins[] = {NULL};
WA_PLUGIN_ENTRY(plugins, 1)
