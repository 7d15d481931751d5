/* run.json. */
#include "run_description.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "module.h"
#include "operations.h"
#include "sha256.h"
#include "version.h"

static void add_text(json_object *object, const char *key, const char *value)
{
    (void)json_object_object_add(object, key, json_object_new_string(value ? value : ""));
}

static void add_count(json_object *object, const char *key, uint64_t value)
{
    (void)json_object_object_add(object, key, json_object_new_int64((int64_t)value));
}

static json_object *describe_device(const struct wa_setup *setup)
{
    const struct wa_device_info *info = &setup->device->info;
    json_object *device = json_object_new_object();
    add_count(device, "index", setup->device->index);
    add_text(device, "name", info->name);
    add_text(device, "type", wa_device_type_name(info->type));
    add_text(device, "platform", info->platform_name);
    add_text(device, "platform_version", info->platform_version);
    add_text(device, "vendor", info->vendor);
    add_text(device, "driver", info->driver);
    add_text(device, "opencl", info->version);
    add_count(device, "compute_units", info->compute_units);
    add_count(device, "global_bytes", info->global_bytes);
    add_count(device, "allocation_bytes", info->allocation_bytes);
    add_count(device, "local_bytes", info->local_bytes);
    return device;
}

static wa_status describe_plugins(const struct wa_setup *setup, json_object *plugins,
                                  struct wa_error *err)
{
    for (int s = 0; s < WA_SECTION_COUNT; s++) {
        const struct wa_plugin_record *record = setup->plugins[s];
        char hash[WA_SHA256_HEX_BYTES];
        wa_status status = wa_sha256_file(record->path, hash, err);
        if (status != WA_OK) {
            return status;
        }
        json_object *plugin = json_object_new_object();
        add_text(plugin, "kind", wa_module_kind_name(record->plugin.kind));
        add_text(plugin, "id", record->plugin.id);
        add_text(plugin, "version", record->plugin.version);
        add_text(plugin, "file", record->path);
        add_text(plugin, "sha256", hash);
        (void)json_object_array_add(plugins, plugin);
    }
    return WA_OK;
}

static json_object *describe_data(const struct wa_setup *setup)
{
    const struct wa_batches *b = &setup->batches;
    json_object *data = json_object_new_object();
    add_count(data, "height", b->info.height);
    add_count(data, "width", b->info.width);
    add_count(data, "channels", b->info.channels);
    add_count(data, "classes", b->info.classes);
    add_count(data, "train_items", b->train_items);
    add_count(data, "validation_items", b->validation_items);
    add_count(data, "test_items", b->test_items);
    return data;
}

/* Each layer as a linear operator, with the tensor of a checkpoint that holds its weights: all that
 * `walign score` needs, so that it reads neither data nor plugins. */
static json_object *describe_layers(const struct wa_setup *setup)
{
    const struct wa_model *model = wa_session_model(setup->session);
    json_object *layers = json_object_new_array();
    for (uint32_t l = 0; l < model->layer_count; l++) {
        const struct wa_layer *s = &model->layers[l].shape;
        bool is_recurrent = s->kind == WA_LAYER_RECURRENT;
        json_object *layer = json_object_new_object();
        add_text(layer, "name", model->layers[l].name);
        add_text(layer, "weight", model->layers[l].tensor_names[WA_TENSOR_WEIGHT]);
        add_count(layer, "outputs", s->out_channels);
        add_count(layer, "inputs", is_recurrent ? s->out_channels : s->in_channels);
        add_count(layer, "kernel", is_recurrent ? 1 : s->kernel);
        add_count(layer, "stride", is_recurrent ? 1 : s->stride);
        add_count(layer, "height", model->is_sequence ? 1 : s->in_height); /* at each step */
        add_count(layer, "width", model->is_sequence ? 1 : s->in_width);
        if (is_recurrent) { /* s W_hh */
            (void)json_object_object_add(layer, "inputs_first", json_object_new_boolean(true));
        }
        (void)json_object_array_add(layers, layer);
    }
    return layers;
}

static void add_convolutions(const struct wa_setup *setup, json_object *products)
{
    const struct wa_model *model = wa_session_model(setup->session);
    for (uint32_t l = 0; l < model->layer_count && !model->is_sequence; l++) {
        const struct wa_model_layer *layer = &model->layers[l];
        json_object *o = json_object_new_object();
        for (int p = 0; p < WA_PRODUCT_COUNT && !layer->is_dense; p++) {
            enum wa_product product = (enum wa_product)p;
            struct wa_choice choice = wa_tuning_choose(&setup->engine, layer, product);
            char text[WA_CHOICE_BYTES];
            wa_tuning_describe(wa_session_algorithm(setup->session, l, product), &choice, text);
            add_text(o, wa_operations_product_name(product), text);
        }
        (void)json_object_object_add(products, layer->name, o);
    }
}

static wa_status add_matrix_products(const struct wa_setup *setup, json_object *products,
                                     struct wa_error *err)
{
    struct wa_session_product *list = NULL;
    size_t count = 0;
    wa_status status = wa_session_products(setup->session, &list, &count, err);
    for (size_t i = 0; i < count; i++) {
        json_object *o = NULL;
        char text[WA_CHOICE_BYTES];
        if (!json_object_object_get_ex(products, list[i].layer->name, &o)) {
            o = json_object_new_object();
            (void)json_object_object_add(products, list[i].layer->name, o);
        }
        wa_tuning_describe_library(list[i].library, setup->tuning.matrices.parameters, text);
        add_text(o, list[i].operation, text);
    }
    free(list);
    return status;
}

/* What computes each product, by layer. Different algorithms give different last bits. */
static wa_status describe_products(const struct wa_setup *setup, json_object **ret_products,
                                   struct wa_error *err)
{
    json_object *products = json_object_new_object();
    add_convolutions(setup, products);
    wa_status status = add_matrix_products(setup, products, err);
    if (status != WA_OK) {
        (void)json_object_put(products);
        return status;
    }
    *ret_products = products;
    return WA_OK;
}

static void add_config(json_object *run, const char *canonical)
{
    char hash[WA_SHA256_HEX_BYTES];
    wa_sha256_hex(canonical, strlen(canonical), hash);
    (void)json_object_object_add(run, "config", json_tokener_parse(canonical));
    add_text(run, "config_sha256", hash);
}

wa_status wa_run_description_make(const struct wa_setup *setup, json_object **ret_run,
                                  struct wa_error *err)
{
    char *canonical = NULL;
    wa_status status = wa_config_canonical(setup->config, &canonical, err);
    if (status != WA_OK) {
        return status;
    }
    json_object *run = json_object_new_object();
    json_object *versions = json_object_new_object();
    json_object *plugins = json_object_new_array();
    add_text(run, "config_file", setup->config->file);
    add_config(run, canonical);
    add_count(run, "seed", setup->batches.seed);
    (void)json_object_object_add(run, "device", describe_device(setup));
    add_text(run, "kernel_path", setup->engine.path == WA_PATH_GPU ? "gpu" : "cpu");
    add_text(versions, "walign", WA_VERSION);
    add_text(versions, "git", WA_GIT);
    add_text(versions, "clblast", WA_CLBLAST_VERSION);
    add_text(versions, "json_c", json_c_version());
    (void)json_object_object_add(run, "versions", versions);
    (void)json_object_object_add(run, "data", describe_data(setup));
    status = describe_plugins(setup, plugins, err);
    (void)json_object_object_add(run, "plugins", plugins);
    (void)json_object_object_add(run, "layers", describe_layers(setup));
    json_object *products = NULL;
    if (status == WA_OK) {
        status = describe_products(setup, &products, err);
    }
    (void)json_object_object_add(run, "products", products);
    add_count(run, "parameters", wa_session_model(setup->session)->parameter_count);
    add_count(run, "peak_device_bytes", setup->engine.peak_bytes);
    free(canonical);
    if (status != WA_OK) {
        (void)json_object_put(run);
        return status;
    }
    *ret_run = run;
    return WA_OK;
}

static bool was_tuned(const json_object *run)
{
    json_object *config = NULL;
    json_object *kernels = NULL;
    json_object *tuning = NULL;
    return json_object_object_get_ex(run, "config", &config) &&
           json_object_object_get_ex(config, "kernels", &kernels) &&
           json_object_object_get_ex(kernels, "tuning", &tuning) &&
           strcmp(json_object_get_string(tuning), "auto") == 0;
}

/* A tuned run goes on as it was tuned when it began, or not at all: its last bits would differ. */
static wa_status check_products(const json_object *run, const struct wa_setup *setup,
                                struct wa_error *err)
{
    json_object *then = NULL;
    bool is_tuned = strcmp(wa_config_get_string(setup->config, "kernels.tuning"), "auto") == 0;
    if ((!is_tuned && !was_tuned(run)) || !json_object_object_get_ex(run, "products", &then)) {
        return WA_OK;
    }
    json_object *now = NULL;
    char *differences = NULL;
    wa_status status = describe_products(setup, &now, err);
    if (status == WA_OK) {
        status = wa_config_differences(json_object_to_json_string(then),
                                       json_object_to_json_string(now), NULL, 0, &differences, err);
    }
    if (status == WA_OK && *differences) {
        status =
            wa_fail(err, WA_E_USAGE,
                    "the tuning differs from that of the run to be resumed: %s; resume it with the "
                    "device and the tuning that it began with, or start another run with --out",
                    differences);
    }
    (void)json_object_put(now);
    free(differences);
    return status;
}

wa_status wa_run_description_check(const json_object *run, const struct wa_setup *setup,
                                   struct wa_error *err)
{
    /* A longer run continues a shorter one; how often is written changes nothing that is computed; and
     * of tuning only what comes out of it counts. */
    static const char *const ignored[] = {"epochs", "checkpoint_every", "keep_every",
                                          "kernels.tuning"};
    json_object *config = NULL;
    if (!json_object_object_get_ex(run, "config", &config)) {
        return wa_fail(err, WA_E_DATA, "run.json has no \"config\": the run cannot be resumed");
    }
    char *now = NULL;
    char *differences = NULL;
    wa_status status = wa_config_canonical(setup->config, &now, err);
    if (status == WA_OK) {
        status = wa_config_differences(json_object_to_json_string(config), now, ignored,
                                       sizeof ignored / sizeof *ignored, &differences, err);
    }
    if (status == WA_OK && *differences) {
        status =
            wa_fail(err, WA_E_USAGE,
                    "the config differs from that of the run to be resumed: %s; resume with the "
                    "same config, or start another run with --out",
                    differences);
    }
    free(now);
    free(differences);
    return status == WA_OK ? check_products(run, setup, err) : status;
}

/* ---- A resume --------------------------------------------------------------------------------- */

/* The device that the run was on last. */
static json_object *last_device(const json_object *run)
{
    json_object *device = NULL;
    json_object *later = NULL;
    (void)json_object_object_get_ex(run, "device", &device);
    if (json_object_object_get_ex(run, "resumed_on", &later) &&
        json_object_is_type(later, json_type_array) && json_object_array_length(later) > 0) {
        device = json_object_array_get_idx(later, json_object_array_length(later) - 1);
    }
    return device;
}

static const char *text_of(const json_object *object, const char *key)
{
    json_object *value = NULL;
    const char *text =
        json_object_object_get_ex(object, key, &value) ? json_object_get_string(value) : NULL;
    return text ? text : "?";
}

static bool is_same_device(const json_object *a, const json_object *b)
{
    static const char *const keys[] = {"name", "platform", "platform_version", "driver"};
    bool is_same = true;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        is_same = is_same && strcmp(text_of(a, keys[i]), text_of(b, keys[i])) == 0;
    }
    return is_same;
}

/* Puts the device behind those that the run was on; false where it is the last one. */
static bool add_device(json_object *run, const struct wa_setup *setup)
{
    json_object *last = last_device(run);
    json_object *now = describe_device(setup);
    json_object *later = NULL;
    if (is_same_device(last, now)) {
        (void)json_object_put(now);
        return false;
    }
    wa_log(
        WA_LOG_WARNING,
        "the run was on %s (%s, driver %s) and goes on on %s (%s, driver %s): its last digits will "
        "differ from those of a run on one device",
        text_of(last, "name"), text_of(last, "platform"), text_of(last, "driver"),
        text_of(now, "name"), text_of(now, "platform"), text_of(now, "driver"));
    if (!json_object_object_get_ex(run, "resumed_on", &later) ||
        !json_object_is_type(later, json_type_array)) {
        later = json_object_new_array();
        (void)json_object_object_add(run, "resumed_on", later);
    }
    (void)json_object_array_add(later, now);
    return true;
}

wa_status wa_run_description_resume(json_object *run, const struct wa_setup *setup,
                                    bool *ret_is_changed, struct wa_error *err)
{
    char *now = NULL;
    char *then = NULL;
    json_object *config = NULL;
    wa_status status = wa_config_canonical(setup->config, &now, err);
    if (status != WA_OK) {
        return status;
    }
    (void)json_object_object_get_ex(run, "config", &config);
    then = wa_config_canonical_value(config);
    bool is_changed = !then || strcmp(then, now) != 0;
    if (is_changed) {
        add_config(run, now);
    }
    *ret_is_changed = add_device(run, setup) || is_changed;
    free(now);
    free(then);
    return WA_OK;
}

/* ---- The default directory ------------------------------------------------------------------ */

static void append(char *text, size_t size, const char *part, size_t length)
{
    size_t used = strlen(text);
    for (size_t i = 0; i < length && used + 1 < size; i++) {
        char c = part[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
        text[used++] = is_plain ? c : '_';
    }
    text[used] = '\0';
}

char *wa_run_description_directory(const struct wa_setup_request *request)
{
    char name[1024] = "";
    const char *file = request->config_file;
    const char *slash = strrchr(file, '/');
    file = slash ? slash + 1 : file;
    const char *dot = strrchr(file, '.');
    append(name, sizeof name, file, dot && dot > file ? (size_t)(dot - file) : strlen(file));
    for (size_t i = 0; i < request->set_count; i++) {
        /* "rule.plugin=fa" varies the rule, "architecture.width=8" the width */
        const char *set = request->sets[i];
        const char *equals = strchr(set, '=');
        if (!equals || strncmp(set, "epochs=", sizeof "epochs=" - 1) == 0) {
            continue; /* more epochs with --resume go on with the same run */
        }
        size_t length = (size_t)(equals - set);
        static const char plugin[] = ".plugin";
        size_t tail = sizeof plugin - 1;
        if (length > tail && strncmp(equals - tail, plugin, tail) == 0) {
            length -= tail;
        }
        const char *start = set;
        for (const char *c = set; c < set + length; c++) {
            start = *c == '.' ? c + 1 : start;
        }
        append(name, sizeof name, "-", 1);
        append(name, sizeof name, start, (size_t)(set + length - start));
        append(name, sizeof name, "-", 1);
        append(name, sizeof name, equals + 1, strlen(equals + 1));
    }
    size_t size = strlen(name) + sizeof "runs/";
    char *directory = malloc(size);
    if (directory) {
        (void)snprintf(directory, size, "runs/%s", name);
    }
    return directory;
}
