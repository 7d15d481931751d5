/* A table whose list is missing. */
#include "fixture.h"

FIXTURE_TABLE(sizeof(wa_plugin_table), WA_ABI_MAJOR, WA_ABI_MINOR, 2, NULL)
