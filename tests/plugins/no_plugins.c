/* A table of no plugins. */
#include "fixture.h"

FIXTURE_TABLE(sizeof(wa_plugin_table), WA_ABI_MAJOR, WA_ABI_MINOR, 0, NULL)
