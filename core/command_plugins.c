/* `walign plugins`: what was found, and what was refused and why. */
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "commands.h"

static const struct role {
    uint64_t bit;
    const char *name;
} roles[] = {{WA_ROLE_EXACT_GRADIENT, "exact_gradient"},
             {WA_ROLE_FROZEN_GRADIENT, "frozen_gradient"},
             {WA_ROLE_DEFAULT, "default"}};

enum { ROLES = sizeof roles / sizeof *roles };

static json_object *list_roles(const wa_plugin *plugin)
{
    json_object *names = json_object_new_array();
    for (size_t i = 0; i < ROLES; i++) {
        if (plugin->roles & roles[i].bit) {
            (void)json_object_array_add(names, json_object_new_string(roles[i].name));
        }
    }
    return names;
}

static json_object *describe(const struct wa_plugin_record *record)
{
    const wa_plugin *p = &record->plugin;
    json_object *o = json_object_new_object();
    const struct {
        const char *key, *value;
    } texts[] = {{"kind", wa_module_kind_name(p->kind)},
                 {"id", p->id},
                 {"version", p->version},
                 {"summary", p->summary},
                 {"reference", p->reference},
                 {"file", record->path}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        (void)json_object_object_add(o, texts[i].key,
                                     json_object_new_string(texts[i].value ? texts[i].value : ""));
    }
    (void)json_object_object_add(o, "roles", list_roles(p));
    (void)json_object_object_add(o, "options", p->options ? json_tokener_parse(p->options) : NULL);
    return o;
}

static void print_json(const struct wa_registry *registry)
{
    json_object *root = json_object_new_object();
    json_object *plugins = json_object_new_array();
    json_object *refused = json_object_new_array();
    for (size_t i = 0; i < wa_registry_count(registry); i++) {
        (void)json_object_array_add(plugins, describe(wa_registry_at(registry, i)));
    }
    size_t count = 0;
    const struct wa_refusal *refusals = wa_registry_refusals(registry, &count);
    for (size_t i = 0; i < count; i++) {
        json_object *o = json_object_new_object();
        (void)json_object_object_add(o, "file", json_object_new_string(refusals[i].path));
        (void)json_object_object_add(o, "reason", json_object_new_string(refusals[i].message));
        (void)json_object_array_add(refused, o);
    }
    (void)json_object_object_add(root, "plugins", plugins);
    (void)json_object_object_add(root, "refused", refused);
    (void)printf("%s\n", json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY));
    (void)json_object_put(root);
}

static void print_kind(const struct wa_registry *registry, wa_kind kind, const char *title)
{
    bool has_any = false;
    (void)printf("%s\n", title);
    for (size_t i = 0; i < wa_registry_count(registry); i++) {
        const struct wa_plugin_record *record = wa_registry_at(registry, i);
        if (record->plugin.kind == kind) {
            has_any = true;
            (void)printf("  %-16s %s", record->plugin.id,
                         record->plugin.summary ? record->plugin.summary : "");
            for (size_t r = 0; r < ROLES; r++) {
                if (record->plugin.roles & roles[r].bit) {
                    (void)printf(" [%s]", roles[r].name);
                }
            }
            (void)printf("\n");
        }
    }
    if (!has_any) {
        (void)printf("  none\n");
    }
}

static void print_text(const struct wa_registry *registry)
{
    print_kind(registry, WA_KIND_RULE, "rules");
    print_kind(registry, WA_KIND_ARCHITECTURE, "architectures");
    print_kind(registry, WA_KIND_DATASET, "datasets");
    print_kind(registry, WA_KIND_OPTIMIZER, "optimizers");
    size_t count = 0;
    const struct wa_refusal *refusals = wa_registry_refusals(registry, &count);
    if (count > 0) {
        (void)printf("refused\n");
    }
    for (size_t i = 0; i < count; i++) {
        (void)printf("  %s\n", refusals[i].message);
    }
}

wa_status wa_command_plugins(const struct wa_command_line *line, struct wa_error *err)
{
    struct wa_registry *registry = NULL;
    wa_status status = wa_registry_create(&registry, err);
    if (status == WA_OK) {
        status = wa_registry_add_default_folders(registry, line->setup.plugin_paths,
                                                 line->setup.plugin_path_count, err);
    }
    if (status == WA_OK && line->json) {
        print_json(registry);
    } else if (status == WA_OK) {
        print_text(registry);
    }
    wa_registry_destroy(registry);
    return status;
}
