/* From a config to a session. */
#include "setup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "schema.h"

static const struct {
    const char *name;
    wa_kind kind;
} sections[WA_SECTION_COUNT] = {
    [WA_SECTION_DATASET] = {"dataset", WA_KIND_DATASET},
    [WA_SECTION_ARCHITECTURE] = {"architecture", WA_KIND_ARCHITECTURE},
    [WA_SECTION_RULE] = {"rule", WA_KIND_RULE},
    [WA_SECTION_OPTIMIZER] = {"optimizer", WA_KIND_OPTIMIZER},
};

const char *wa_setup_section_name(enum wa_section section)
{
    return sections[section].name;
}

wa_kind wa_setup_section_kind(enum wa_section section)
{
    return sections[section].kind;
}

wa_status wa_setup_find_plugin(struct wa_setup *setup, enum wa_section section,
                               struct wa_error *err)
{
    const char *name = sections[section].name;
    char path[64];
    (void)snprintf(path, sizeof path, "%s.plugin", name);
    if (!wa_config_is_given(setup->config, path)) {
        const struct wa_plugin_record *record =
            wa_registry_find_role(setup->registry, sections[section].kind, WA_ROLE_DEFAULT);
        if (!record) {
            return wa_config_fail(setup->config, path, err,
                                  "is not given and no %s plugin offers itself as default", name);
        }
        wa_status status = wa_config_set_plugin(setup->config, name, record->plugin.id, err);
        if (status != WA_OK) {
            return status;
        }
    }
    wa_config_place(setup->config, name, setup->places[section], sizeof setup->places[section]);
    struct wa_error reason = {0};
    wa_status status = wa_registry_find(setup->registry, sections[section].kind,
                                        wa_config_get_string(setup->config, path),
                                        &setup->plugins[section], &reason);
    if (status != WA_OK) {
        return wa_config_fail(setup->config, path, err, "%s", reason.message);
    }
    return wa_config_section_options(setup->config, name, setup->plugins[section]->plugin.options,
                                     &setup->options[section], err);
}

/* Where a default option stands, for messages: nowhere in the config. */
static void no_place(const void *context, const char *path, char *ret_place, size_t size)
{
    (void)context;
    (void)snprintf(ret_place, size, "default options of %s", path);
}

/* A rule that core needs beside the config's, by its role, with the defaults of its options. */
static wa_status find_role(struct wa_setup *setup, const char *key, uint64_t role,
                           const char *role_name, const struct wa_plugin_record **ret_record,
                           json_object **ret_options, struct wa_error *err)
{
    const struct wa_plugin_record *record =
        wa_registry_find_role(setup->registry, WA_KIND_RULE, role);
    if (!record) {
        return wa_config_fail(setup->config, key, err,
                              "no rule plugin has the role %s: look at `walign plugins`, add its "
                              "folder with --plugin-path",
                              role_name);
    }
    json_object *schema = NULL;
    json_object *options = json_object_new_object();
    wa_status status = options ? WA_OK : wa_fail(err, WA_E_MEMORY, "out of memory");
    if (status == WA_OK && record->plugin.options) {
        const struct wa_schema_where where = {.place = no_place, .path = record->plugin.id};
        status = wa_schema_parse(record->path, record->plugin.options, &schema, err);
        if (status == WA_OK) {
            status = wa_schema_apply(schema, options, &where, err);
        }
        (void)json_object_put(schema);
    }
    if (status != WA_OK) {
        (void)json_object_put(options);
        return status;
    }
    *ret_record = record;
    *ret_options = options;
    return WA_OK;
}

/* "alignment_pair" and "log_angles" want rules of certain roles. */
static wa_status find_followers(struct wa_setup *setup, struct wa_error *err)
{
    const uint64_t roles = setup->plugins[WA_SECTION_RULE]->plugin.roles;
    wa_status status = WA_OK;
    if (wa_config_get_boolean(setup->config, "alignment_pair")) {
        if (!(roles & WA_ROLE_EXACT_GRADIENT)) {
            return wa_config_fail(
                setup->config, "alignment_pair", err,
                "expected a rule with the role exact_gradient, which the config's "
                "rule does not have: `walign plugins --json` lists roles");
        }
        status = find_role(setup, "alignment_pair", WA_ROLE_FROZEN_GRADIENT, "frozen_gradient",
                           &setup->pair_rule, &setup->pair_options, err);
    }
    if (status == WA_OK && wa_config_get_boolean(setup->config, "log_angles")) {
        status = find_role(setup, "log_angles", WA_ROLE_EXACT_GRADIENT, "exact_gradient",
                           &setup->observer_rule, &setup->observer_options, err);
    }
    return status;
}

static wa_status choose_convolution(struct wa_setup *setup, struct wa_error *err)
{
    const char *choice = wa_config_get_string(setup->config, "kernels.convolution");
    setup->engine.convolution = strcmp(choice, "direct") == 0     ? WA_CONVOLUTION_DIRECT
                                : strcmp(choice, "winograd") == 0 ? WA_CONVOLUTION_WINOGRAD
                                                                  : WA_CONVOLUTION_AUTO;
    if (setup->engine.convolution == WA_CONVOLUTION_WINOGRAD && setup->engine.path == WA_PATH_GPU) {
        return wa_config_fail(setup->config, "kernels.convolution", err,
                              "the GPU kernels have no Winograd convolution: expected \"auto\" or "
                              "\"direct\"");
    }
    return WA_OK;
}

wa_status wa_setup_config(struct wa_setup *setup, const struct wa_setup_request *request,
                          struct wa_error *err)
{
    struct wa_config *config = NULL;
    *setup = (struct wa_setup){0};
    wa_status status =
        wa_config_read(request->config_file, request->sets, request->set_count, &config, err);
    return status == WA_OK ? wa_setup_take_config(setup, config, request, err) : status;
}

wa_status wa_setup_take_config(struct wa_setup *setup, struct wa_config *config,
                               const struct wa_setup_request *request, struct wa_error *err)
{
    *setup = (struct wa_setup){.config = config};
    wa_status status =
        request->paths_from ? wa_config_set_folder(config, request->paths_from, err) : WA_OK;
    if (status == WA_OK) {
        status = wa_registry_create(&setup->registry, err);
    }
    if (status == WA_OK) {
        status = wa_registry_add_default_folders(setup->registry, request->plugin_paths,
                                                 request->plugin_path_count, err);
    }
    for (int s = 0; s < WA_SECTION_COUNT && status == WA_OK; s++) {
        status = wa_setup_find_plugin(setup, (enum wa_section)s, err);
    }
    return status == WA_OK ? find_followers(setup, err) : status;
}

static wa_status open_device(struct wa_setup *setup, const struct wa_setup_request *request,
                             struct wa_error *err)
{
    size_t index = 0;
    wa_status status = wa_device_list_init(&setup->devices, err);
    if (status == WA_OK) {
        status = wa_device_choose(&setup->devices, request->device, &index, err);
    }
    if (status == WA_OK) {
        status = wa_device_open(&setup->devices, index, request->profile, &setup->device, err);
    }
    if (status == WA_OK) {
        status = wa_programs_create(setup->device, &setup->programs, err);
    }
    if (status == WA_OK) {
        wa_engine_init(&setup->engine, setup->device, setup->programs,
                       wa_config_get_string(setup->config, "kernels.path"));
        status = choose_convolution(setup, err);
    }
    return status;
}

/* What `walign tune` found for this device and size of batch; other sizes, of smaller last batches, go
 * as without tuning, so that run.json has all that matters. A forced convolution stays as it is without
 * tuning, and GPU kernels have one algorithm for each: there only matrix products are tuned. */
wa_status wa_setup_read_tuning(const struct wa_setup *setup, int batch,
                               struct wa_tuning *ret_tuning, struct wa_error *err)
{
    const struct wa_engine *engine = &setup->engine;
    if (strcmp(wa_config_get_string(setup->config, "kernels.tuning"), "auto") != 0) {
        return WA_OK;
    }
    const struct wa_tuning_filter filter = {.lanes = wa_model_lanes(batch),
                                            .path = engine->path,
                                            .without_layers =
                                                engine->path == WA_PATH_GPU ||
                                                engine->convolution != WA_CONVOLUTION_AUTO};
    char *path = wa_tuning_path(setup->device);
    wa_status status = path ? wa_tuning_read(path, &filter, ret_tuning, err) : WA_OK;
    free(path);
    return status;
}

static wa_status use_tuning(struct wa_setup *setup, struct wa_error *err)
{
    struct wa_engine *engine = &setup->engine;
    if (strcmp(wa_config_get_string(setup->config, "kernels.tuning"), "auto") != 0) {
        return WA_OK;
    }
    wa_status status = wa_setup_read_tuning(setup, setup->batches.batch, &setup->tuning, err);
    const struct wa_matrix_choices *matrices = &setup->tuning.matrices;
    if (status == WA_OK && setup->tuning.count + matrices->count == 0 &&
        engine->convolution == WA_CONVOLUTION_AUTO) {
        wa_log(WA_LOG_WARNING,
               "\"kernels.tuning\" is \"auto\", but nothing was tuned for %s and batches of %d, "
               "ignoring; run `walign tune` with this config",
               setup->device->info.name, setup->batches.batch);
    }
    if (status == WA_OK && matrices->parameters) {
        status = wa_clblast_use(setup->device, matrices->parameters, err);
    }
    engine->tuning = &setup->tuning;
    return status;
}

static bool is_evaluated(const struct wa_config *config, const char *set)
{
    const json_object *wanted = wa_config_get(config, "evaluate");
    bool is = false;
    for (size_t i = 0; i < json_object_array_length(wanted); i++) {
        is = is || strcmp(json_object_get_string(json_object_array_get_idx(wanted, i)), set) == 0;
    }
    return is;
}

/* Sizes of smaller last batches; one that is trained comes first and serves evaluation too. */
static void add_other_batches(const struct wa_setup *setup, struct wa_session_spec *spec)
{
    struct wa_batches batches = setup->batches; /* cut into the spec's batches */
    batches.batch = spec->batch;
    const struct {
        enum wa_set set;
        bool is_wanted, is_trained;
    } sets[] = {{WA_SET_TRAIN, true, true},
                {WA_SET_VALIDATION, is_evaluated(setup->config, "validation"), false},
                {WA_SET_TEST, is_evaluated(setup->config, "test"), false}};
    for (size_t s = 0; s < sizeof sets / sizeof *sets; s++) {
        int items = wa_batches_rest(&batches, sets[s].set);
        bool is_there = items == 0 || !sets[s].is_wanted;
        for (size_t i = 0; i < spec->other_batch_count; i++) {
            is_there = is_there || spec->other_batches[i].items == items;
        }
        if (!is_there) {
            spec->other_batches[spec->other_batch_count++] =
                (struct wa_session_batch){.items = items, .is_trained = sets[s].is_trained};
        }
    }
}

wa_status wa_setup_create_session(const struct wa_setup *setup, struct wa_engine *engine, int batch,
                                  struct wa_session **ret_session, struct wa_error *err)
{
    const char *parameterization = wa_config_get_string(setup->config, "parameterization");
    struct wa_session_spec spec = {
        .engine = engine,
        .architecture = setup->plugins[WA_SECTION_ARCHITECTURE],
        .rule = setup->plugins[WA_SECTION_RULE],
        .optimizer = setup->plugins[WA_SECTION_OPTIMIZER],
        .architecture_options = setup->options[WA_SECTION_ARCHITECTURE],
        .rule_options = setup->options[WA_SECTION_RULE],
        .optimizer_options = setup->options[WA_SECTION_OPTIMIZER],
        .config_folder = setup->config->folder,
        .architecture_place = setup->places[WA_SECTION_ARCHITECTURE],
        .rule_place = setup->places[WA_SECTION_RULE],
        .optimizer_place = setup->places[WA_SECTION_OPTIMIZER],
        .data = setup->batches.info,
        .batch = batch,
        .seed = setup->batches.seed,
        .is_standard = strcmp(parameterization, "standard") == 0,
    };
    struct wa_session *session = NULL;
    add_other_batches(setup, &spec);
    wa_status status = wa_session_create(&spec, &session, err);
    if (status == WA_OK && setup->pair_rule) {
        status = wa_session_add_pair(session, setup->pair_rule, setup->pair_options, err);
    }
    if (status == WA_OK && setup->observer_rule) {
        status =
            wa_session_add_observer(session, setup->observer_rule, setup->observer_options, err);
    }
    if (status != WA_OK) {
        wa_session_destroy(session);
        return status;
    }
    *ret_session = session;
    return WA_OK;
}

wa_status wa_setup_open(struct wa_setup *setup, const struct wa_setup_request *request,
                        struct wa_error *err)
{
    wa_status status = open_device(setup, request, err);
    if (status == WA_OK) {
        status = wa_batches_open(&setup->batches, setup->config, setup->plugins[WA_SECTION_DATASET],
                                 setup->options[WA_SECTION_DATASET], err);
    }
    return status == WA_OK ? use_tuning(setup, err) : status;
}

wa_status wa_setup_make_session(struct wa_setup *setup, struct wa_error *err)
{
    wa_status status = wa_setup_check_memory(setup, err);
    return status == WA_OK ? wa_setup_create_session(setup, &setup->engine, setup->batches.batch,
                                                     &setup->session, err)
                           : status;
}

wa_status wa_setup_run(struct wa_setup *setup, const struct wa_setup_request *request,
                       struct wa_error *err)
{
    wa_status status = wa_setup_open(setup, request, err);
    return status == WA_OK ? wa_setup_make_session(setup, err) : status;
}

void wa_setup_finish(struct wa_setup *setup)
{
    wa_session_destroy(setup->session);
    (void)json_object_put(setup->pair_options);
    (void)json_object_put(setup->observer_options);
    wa_tuning_finish(&setup->tuning);
    wa_programs_destroy(setup->programs);
    wa_device_close(setup->device);
    wa_device_list_finish(&setup->devices);
    wa_batches_close(&setup->batches);
    wa_registry_destroy(setup->registry);
    wa_config_destroy(setup->config);
    *setup = (struct wa_setup){0};
}
