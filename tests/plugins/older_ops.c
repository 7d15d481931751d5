/* A rule whose ops table is an older, shorter one: what lies behind it must not be read. */
#include "fixture.h"

static wa_status draw_layer(void *self, uint32_t layer)
{
    (void)self;
    (void)layer;
    abort();
}

static const wa_rule_ops ops = {
    .struct_size = offsetof(wa_rule_ops, draw_layer), FIXTURE_FUNCTIONS, .draw_layer = draw_layer};
static const wa_plugin plugin = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_RULE, .id = "older-rule",
                                 .rule = &ops};
FIXTURE_ENTRY
