// plugin.h alone, as a plugin in C++11 includes it: it needs nothing before it, a plugin can be
// written with it, and the entry has the name that the loader looks for.
#include "walign/plugin.h"

static wa_status build(const wa_architecture_host *host)
{
    if (host->in_channels == 0) {
        return host->base->fail(host->base, WA_E_USAGE, "%u channels", host->in_channels);
    }
    wa_layer layer = wa_layer();
    layer.struct_size = sizeof layer;
    layer.name = "readout";
    return host->add_layer(host, &layer);
}

static const wa_architecture_ops ops = {sizeof(wa_architecture_ops), build};
static const wa_plugin plugin = {sizeof(wa_plugin),
                                 WA_KIND_ARCHITECTURE,
                                 "header",
                                 "1.0",
                                 0,
                                 "A plugin in C++.",
                                 "",
                                 nullptr,
                                 nullptr,
                                 &ops,
                                 nullptr,
                                 nullptr};
static const wa_plugin *const plugins[] = {&plugin};
WA_PLUGIN_ENTRY(plugins, 1)

// the same object by its unmangled name
extern "C" const wa_plugin_table entry_by_name __asm__(WA_PLUGIN_ENTRY_NAME);

int main()
{
    return entry_by_name.plugins[0] == &plugin ? 0 : 1;
}
