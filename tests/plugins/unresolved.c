/* A rule that calls what nobody provides; linked without -Wl,--no-undefined. */
#include "fixture.h"

void fixture_of_nobody(void);

static wa_status compute_update(void *self)
{
    (void)self;
    fixture_of_nobody();
    return WA_OK;
}

static const wa_rule_ops ops = {.struct_size = sizeof(wa_rule_ops),
                                .create = fixture_create,
                                .destroy = fixture_destroy,
                                .compute_update = compute_update};
static const wa_plugin plugin = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_RULE, .id = "needy-rule",
                                 .rule = &ops};
FIXTURE_ENTRY
