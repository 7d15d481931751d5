/* What the plugin fixtures share: ops that must never run, since loading and listing run no plugin
 * code, and tables with one thing left to the fixture. Every fixture is a shared object of its own;
 * tests/unit/test_registry.c says what must happen to each. */
#ifndef WALIGN_TESTS_PLUGINS_FIXTURE_H
#define WALIGN_TESTS_PLUGINS_FIXTURE_H

#include <stdlib.h>

#include "walign/plugin.h"

static inline wa_status fixture_create(const wa_rule_host *host, void **ret_self)
{
    (void)host;
    (void)ret_self;
    abort();
}

static inline void fixture_destroy(void *self)
{
    (void)self;
    abort();
}

static inline wa_status fixture_compute_update(void *self)
{
    (void)self;
    abort();
}

static inline wa_status fixture_build(const wa_architecture_host *host)
{
    (void)host;
    abort();
}

#define FIXTURE_FUNCTIONS                                                                          \
    .create = fixture_create, .destroy = fixture_destroy, .compute_update = fixture_compute_update

/* A complete ops table named `ops`. */
#define FIXTURE_OPS                                                                                \
    static const wa_rule_ops ops = {.struct_size = sizeof(wa_rule_ops), FIXTURE_FUNCTIONS};

/* What every descriptor has; kind, id, options and ops are the fixture's. */
#define FIXTURE_DESCRIPTOR                                                                         \
    .struct_size = sizeof(wa_plugin), .version = "1.0", .summary = "A test fixture.",              \
    .reference = ""

/* A file with one plugin, named `plugin`. */
#define FIXTURE_ENTRY                                                                              \
    static const wa_plugin *const plugins[] = {&plugin};                                           \
    WA_PLUGIN_ENTRY(plugins, 1)

/* An entry with every field given. */
#define FIXTURE_TABLE(size, major, minor, number, list)                                            \
    extern WA_EXPORT const wa_plugin_table wa_plugin_entry;                                        \
    WA_EXPORT const wa_plugin_table wa_plugin_entry = {(size), (major), (minor), (number), (list)};

#endif
