/* A plugin of a kind that does not exist. */
#include "fixture.h"

FIXTURE_OPS
static const wa_plugin plugin = {FIXTURE_DESCRIPTOR, .kind = (wa_kind)99, .id = "strange-thing",
                                 .rule = &ops};
FIXTURE_ENTRY
