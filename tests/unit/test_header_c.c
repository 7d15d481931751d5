/* plugin.h alone, as a plugin in C11 includes it: it needs nothing before it and a plugin can be
 * written with it. That this compiles is the test. */
#include "walign/plugin.h"

static wa_status build(const wa_architecture_host *host)
{
    if (host->in_channels == 0) {
        return host->base->fail(host->base, WA_E_USAGE, "%u channels", host->in_channels);
    }
    const wa_layer layer = {.struct_size = sizeof layer, .name = "readout"};
    return host->add_layer(host, &layer);
}

static const wa_architecture_ops ops = {.struct_size = sizeof ops, .build = build};
static const wa_plugin plugin = {.struct_size = sizeof plugin,
                                 .kind = WA_KIND_ARCHITECTURE,
                                 .id = "header",
                                 .version = "1.0",
                                 .summary = "A plugin in C.",
                                 .reference = "",
                                 .architecture = &ops};
static const wa_plugin *const plugins[] = {&plugin};
WA_PLUGIN_ENTRY(plugins, 1)

int main(void)
{
    return wa_plugin_entry.plugins[0] == &plugin ? 0 : 1;
}
