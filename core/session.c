/* One network in training on one device. */
#include "session.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session_private.h"

/* ---- The network ---------------------------------------------------------------------------- */

struct architecture_host {
    wa_architecture_host table;
    struct wa_model_builder builder;
    struct wa_error *err;
};

static struct architecture_host *architecture_of(const wa_architecture_host *host)
{
    /* the table is the first member */
    return (struct architecture_host *)(uintptr_t)host;
}

static wa_status add_layer(const wa_architecture_host *host, const wa_layer *layer)
{
    struct architecture_host *self = architecture_of(host);
    return wa_model_builder_add(&self->builder, layer, self->err);
}

static void set_services(const wa_architecture_host *host, uint64_t services)
{
    architecture_of(host)->builder.services = services;
}

wa_status wa_session_add_place(struct wa_session *session, const char *place, wa_status status)
{
    if (status == WA_E_USAGE && place) {
        wa_error_prefix(session->err, "%s: ", place);
    }
    return status;
}

static wa_status build_model(struct wa_session *session)
{
    const wa_dataset_info *data = &session->spec.data;
    wa_status status = wa_plugin_host_init(
        &session->architecture_plugin, session->spec.architecture,
        session->spec.architecture_options, session->spec.config_folder, session->err);
    struct architecture_host *host = status == WA_OK ? calloc(1, sizeof *host) : NULL;
    if (!host) {
        return status != WA_OK ? status : wa_fail(session->err, WA_E_MEMORY, "out of memory");
    }
    host->err = session->err;
    host->builder = (struct wa_model_builder){.channels = (int)data->channels,
                                              .rows = (int)data->height,
                                              .columns = (int)data->width,
                                              .classes = (int)data->classes};
    session->architecture = host;
    host->table = (wa_architecture_host){.struct_size = sizeof host->table,
                                         .base = &session->architecture_plugin.host,
                                         .in_channels = data->channels,
                                         .in_height = data->height,
                                         .in_width = data->width,
                                         .classes = data->classes,
                                         .add_layer = add_layer,
                                         .set_services = set_services};
    status =
        wa_plugin_host_check(&session->architecture_plugin, "build",
                             session->spec.architecture->plugin.architecture->build(&host->table));
    if (status == WA_OK) {
        status = wa_session_make_model(session, session->spec.batch);
    }
    return wa_session_add_place(session, session->spec.architecture_place, status);
}

wa_status wa_session_make_model(struct wa_session *session, int batch)
{
    return wa_model_init(&session->model, &session->architecture->builder, batch,
                         session->spec.is_standard, wa_operations_blocking(session->engine),
                         session->err);
}

/* A network and a dataset fit when both speak of one class an item, or of values for each row. */
static wa_status check_targets(struct wa_session *session)
{
    const wa_dataset_info *data = &session->spec.data;
    bool has_values = data->target == WA_TARGET_VALUES;
    if (has_values != session->model.is_sequence) {
        return wa_fail(session->err, WA_E_UNSUPPORTED,
                       "architecture '%s' gives %s, but the dataset's targets are %s: take another "
                       "architecture or dataset",
                       session->spec.architecture->plugin.id,
                       session->model.is_sequence ? "values for each step" : "one class an item",
                       has_values ? "values for each step" : "one class an item");
    }
    if (has_values && (uint64_t)data->height * data->classes != data->target_values) {
        return wa_fail(session->err, WA_E_PLUGIN,
                       "the dataset has %u target values an item, expected %u for each of %u steps",
                       data->target_values, data->classes, data->height);
    }
    if (session->model.is_sequence && session->spec.other_batch_count > 0) {
        return wa_fail(
            session->err, WA_E_UNSUPPORTED,
            "architecture '%s' trains an initial state for each row of a batch, but the "
            "dataset has smaller last batches: take another architecture or a batch size "
            "that divides its sets",
            session->spec.architecture->plugin.id);
    }
    return WA_OK;
}

static const char *missing_service(uint64_t missing)
{
    return missing & WA_SERVICE_TRANSPORT_WEIGHTS ? "transport weights of their own"
           : missing & WA_SERVICE_DIRECT_FEEDBACK ? "direct feedback to hidden layers"
           : missing & WA_SERVICE_TWO_TAPES       ? "transport and gradient from different passes"
           : missing & WA_SERVICE_LAYERWISE_ERROR ? "errors that enter at a hidden layer"
                                                  : "a service that this host does not know";
}

static wa_status check_services(struct wa_session *session)
{
    const wa_plugin *rule = &session->spec.rule->plugin;
    uint64_t missing = rule->rule->needs & ~session->model.net.services;
    if (missing) {
        return wa_fail(session->err, WA_E_UNSUPPORTED,
                       "rule '%s' cannot train architecture '%s': it needs %s", rule->id,
                       session->spec.architecture->plugin.id, missing_service(missing));
    }
    return WA_OK;
}

/* ---- The rule ------------------------------------------------------------------------------- */

static wa_status create_rule(struct wa_session *session)
{
    wa_status status =
        wa_plugin_host_init(&session->rule_plugin, session->spec.rule, session->spec.rule_options,
                            session->spec.config_folder, session->err);
    if (status != WA_OK) {
        return status;
    }
    wa_rule_host_init(session);
    wa_opencl_extension_init(session);
    session->is_creating = true;
    status = wa_plugin_host_check(
        &session->rule_plugin, "create",
        session->spec.rule->plugin.rule->create(&session->rule_table, &session->rule));
    session->is_creating = false;
    return wa_session_add_place(session, session->spec.rule_place, status);
}

wa_status wa_session_compute_update(struct wa_session *session)
{
    return wa_plugin_host_check(&session->rule_plugin, "compute_update",
                                session->spec.rule->plugin.rule->compute_update(session->rule));
}

/* Runs the rule once with services that only note what it needs. */
static wa_status plan(struct wa_session *session)
{
    session->is_planning = true;
    wa_status status = wa_session_compute_update(session);
    session->is_planning = false;
    const char *id = session->spec.rule->plugin.id;
    if (status == WA_OK && !session->live_tape) {
        status = wa_fail(session->err, WA_E_PLUGIN, "rule '%s' takes no output error", id);
    }
    for (uint32_t l = 0; l < session->model.layer_count && status == WA_OK; l++) {
        if (session->is_trained[l] && !session->has_gradient[l]) {
            status = wa_fail(session->err, WA_E_PLUGIN,
                             "rule '%s' trains layer '%s' but leaves no gradient for it", id,
                             session->model.layers[l].name);
        } else if (session->is_state_trained[l] && !session->has_state_gradient[l]) {
            status =
                wa_fail(session->err, WA_E_PLUGIN,
                        "rule '%s' trains the initial state of layer '%s' but carries no error "
                        "down to it",
                        id, session->model.layers[l].name);
        }
    }
    return status;
}

/* ---- Set-up --------------------------------------------------------------------------------- */

struct buffer {
    cl_mem *memory;
    size_t bytes;
    const char *what;
};

static wa_status allocate_buffers(struct wa_session *session, const struct buffer *buffers,
                                  size_t count)
{
    wa_status status = WA_OK;
    for (size_t i = 0; i < count && status == WA_OK; i++) {
        status = wa_engine_buffer(session->engine, buffers[i].bytes, buffers[i].what,
                                  buffers[i].memory, session->err);
    }
    return status;
}

wa_status wa_session_allocate_batch(struct wa_session *session)
{
    const struct wa_session *leader = session->spec.leader;
    if (leader) { /* a follower reads its leader's batch */
        session->images = leader->images;
        session->items = leader->items;
        session->labels = leader->labels;
        return WA_OK;
    }
    size_t batch = (size_t)session->model.batch;
    const struct buffer buffers[] = {
        {&session->images, session->model.layers[0].input.floats * sizeof(float), "images"},
        {&session->items, batch * session->item_bytes, "a batch of items"},
        {&session->labels, batch * session->target_bytes, "targets"},
    };
    return allocate_buffers(session, buffers, sizeof buffers / sizeof *buffers);
}

static wa_status allocate_steps(struct wa_session *session)
{
    const wa_dataset_info *data = &session->spec.data;
    size_t elements = (size_t)data->height * data->width * data->channels;
    session->item_bytes = elements * (data->element == WA_ELEMENT_U8 ? 1 : sizeof(float));
    session->target_bytes =
        data->target == WA_TARGET_VALUES ? data->target_values * sizeof(float) : sizeof(uint32_t);
    size_t batch = (size_t)session->spec.batch;
    const struct buffer buffers[] = {
        {&session->gradients, session->model.parameter_count * sizeof(float), "gradients"},
        {&session->results, 2 * WA_SESSION_SLOTS * sizeof(float), "results"},
        {&session->halted, 2 * sizeof(cl_int), "a flag"},
    };
    wa_status status = wa_session_allocate_batch(session);
    if (status == WA_OK) {
        status = allocate_buffers(session, buffers, sizeof buffers / sizeof *buffers);
    }
    if (session->engine->plan || session->spec.leader) {
        return status;
    }
    for (size_t i = 0; i < STAGINGS && status == WA_OK; i++) {
        session->stagings[i].bytes = malloc(batch * (session->item_bytes + session->target_bytes));
        if (!session->stagings[i].bytes) {
            status = wa_fail(session->err, WA_E_MEMORY, "out of memory");
        }
    }
    return status;
}

static wa_status allocate(struct wa_session *session)
{
    wa_status status = wa_rule_host_allocate(session);
    if (status == WA_OK) {
        status = allocate_steps(session);
    }
    return status == WA_OK ? wa_session_sizes_allocate(session) : status;
}

static void prebuild(struct wa_session *session)
{
    struct wa_program_spec specs[WA_OPERATIONS_MAX_PROGRAMS];
    char options[WA_OPERATIONS_MAX_PROGRAMS][WA_OPERATIONS_OPTION_BYTES];
    size_t count = wa_operations_programs(session->engine, &session->model, specs, options);
    wa_programs_prebuild(session->engine->programs, specs, count);
}

wa_status wa_session_make_operations(struct wa_session *session)
{
    if (!session->engine->plan) {
        prebuild(session);
    }
    return wa_operations_create(session->engine, &session->model, &session->operations,
                                session->err);
}

static wa_status build_session(struct wa_session *session)
{
    uint64_t before = session->engine->bytes;
    wa_status status = build_model(session);
    if (status == WA_OK) {
        status = check_services(session);
    }
    if (status == WA_OK) {
        status = check_targets(session);
    }
    if (status != WA_OK) {
        return status;
    }
    uint32_t layers = session->model.layer_count;
    session->is_trained = calloc(layers, sizeof *session->is_trained);
    session->is_state_trained = calloc(layers, sizeof *session->is_state_trained);
    session->has_gradient = calloc(layers, sizeof *session->has_gradient);
    session->has_state_gradient = calloc(layers, sizeof *session->has_state_gradient);
    session->needs_dz = calloc(layers, sizeof *session->needs_dz);
    session->dz = calloc(layers, sizeof(cl_mem));
    session->transports = calloc(layers, sizeof *session->transports);
    if (!session->is_trained || !session->is_state_trained || !session->has_gradient ||
        !session->has_state_gradient || !session->needs_dz || !session->dz ||
        !session->transports) {
        return wa_fail(session->err, WA_E_MEMORY, "out of memory");
    }
    for (uint32_t l = 0; l < layers; l++) {
        session->is_trained[l] = true;
        session->is_state_trained[l] = session->model.layers[l].state_count > 0;
    }
    status = create_rule(session);
    if (status == WA_OK) {
        status = wa_rule_host_draw(session);
    }
    if (status == WA_OK) {
        status = plan(session);
    }
    if (status == WA_OK) {
        status = wa_session_make_operations(session);
    }
    if (status == WA_OK) {
        status = wa_session_sizes_create(session);
    }
    if (status == WA_OK) {
        status = allocate(session);
    }
    if (status == WA_OK && !session->spec.is_observer) {
        status = wa_optimizer_host_create(session);
    }
    if (status == WA_OK && !session->spec.is_observer) {
        status = wa_parameters_list(session);
    }
    session->planned_bytes = session->engine->bytes - before;
    return status;
}

wa_status wa_session_create(const struct wa_session_spec *spec, struct wa_session **ret_session,
                            struct wa_error *err)
{
    struct wa_session *session = calloc(1, sizeof *session);
    if (!session) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    session->spec = *spec;
    session->engine = spec->engine;
    session->err = err;
    wa_status status = build_session(session);
    if (status != WA_OK) {
        wa_session_destroy(session);
        return status;
    }
    session->err = NULL;
    *ret_session = session;
    return WA_OK;
}

void wa_session_destroy(struct wa_session *session)
{
    if (!session) {
        return;
    }
    struct wa_engine *engine = session->engine;
    (void)clFinish(engine->device->queue); /* what failed has been reported */
    wa_session_destroy(session->pair);
    wa_session_destroy(session->observer);
    if (session->rule) {
        session->spec.rule->plugin.rule->destroy(session->rule);
    }
    wa_optimizer_host_finish(session);
    wa_session_sizes_finish(session);
    wa_rule_host_finish(session);
    cl_mem buffers[] = {session->images,    session->items,   session->labels,
                        session->gradients, session->results, session->halted};
    const size_t first = session->spec.leader ? 3 : 0; /* a follower's batch is its leader's */
    for (size_t i = first; i < sizeof buffers / sizeof *buffers; i++) {
        wa_engine_release(engine, buffers[i]);
    }
    for (size_t i = 0; i < STAGINGS; i++) {
        free(session->stagings[i].bytes);
        if (session->stagings[i].done) {
            (void)clReleaseEvent(session->stagings[i].done);
        }
    }
    wa_operations_destroy(session->operations);
    wa_model_finish(&session->model);
    free(session->architecture);
    wa_plugin_host_finish(&session->rule_plugin);
    wa_plugin_host_finish(&session->architecture_plugin);
    free(session->is_trained);
    free(session->is_state_trained);
    free(session->has_gradient);
    free(session->has_state_gradient);
    free(session->needs_dz);
    free(session->dz);
    free((void *)session->transports);
    free(session->tensors);
    free(session);
}

/* ---- Steps ---------------------------------------------------------------------------------- */

/* Later calls report into this call's error. */
void wa_session_set_error(struct wa_session *session, struct wa_error *err)
{
    session->err = err;
    wa_plugin_host_set_error(&session->rule_plugin, err);
    wa_plugin_host_set_error(&session->optimizer.host, err);
}

/* Copies the batch into a staging area and enqueues its way to the device. There are a few areas, so
 * that this waits only when the device is that many steps behind. */
static wa_status upload(struct wa_session *session, const struct wa_batch *batch)
{
    struct staging *staging = &session->stagings[session->next_staging];
    session->next_staging = (session->next_staging + 1) % STAGINGS;
    wa_status status = WA_OK;
    if (staging->done) {
        status = WA_CL(session->err, clWaitForEvents(1, &staging->done));
        (void)clReleaseEvent(staging->done);
        staging->done = NULL;
    }
    size_t item_bytes = (size_t)batch->count * session->item_bytes;
    size_t target_bytes = (size_t)batch->count * session->target_bytes;
    memcpy(staging->bytes, batch->items, item_bytes);
    memcpy(staging->bytes + item_bytes, batch->targets, target_bytes);
    cl_command_queue queue = session->engine->device->queue;
    if (status == WA_OK) {
        status =
            WA_CL(session->err, clEnqueueWriteBuffer(queue, session->items, CL_FALSE, 0, item_bytes,
                                                     staging->bytes, 0, NULL, NULL));
    }
    if (status == WA_OK) {
        status = WA_CL(session->err,
                       clEnqueueWriteBuffer(queue, session->labels, CL_FALSE, 0, target_bytes,
                                            staging->bytes + item_bytes, 0, NULL, &staging->done));
    }
    if (status == WA_OK) {
        status =
            wa_operations_load_batch(session->operations, session->items,
                                     session->spec.data.element, session->images, session->err);
    }
    return status;
}

static wa_status check_slot(struct wa_session *session)
{
    return session->slot < WA_SESSION_SLOTS
               ? WA_OK
               : wa_fail(session->err, WA_E_FAILED, "results of %d steps were not collected",
                         session->slot);
}

static wa_status train(struct wa_session *session, const struct wa_batch *batch, uint64_t step)
{
    struct wa_error *err = session->err;
    int slot = session->slot;
    wa_status status = upload(session, batch);
    if (status == WA_OK) {
        status = wa_session_compute_update(session);
    }
    if (status == WA_OK && session->slot != slot + 1) {
        status = wa_fail(err, WA_E_PLUGIN, "rule '%s' took %d output errors in a step, expected 1",
                         session->spec.rule->plugin.id, session->slot - slot);
    }
    if (status == WA_OK) {
        status = wa_session_follow(session, step);
    }
    if (status == WA_OK) {
        status = wa_optimizer_host_apply(session, step);
    }
    return status == WA_OK ? WA_CL(err, clFlush(session->engine->device->queue)) : status;
}

wa_status wa_session_train(struct wa_session *session, const struct wa_batch *batch, uint64_t step,
                           struct wa_error *err)
{
    wa_session_set_error(session, err);
    uint64_t launches = session->engine->launches;
    int size = -1;
    wa_status status = check_slot(session);
    if (status == WA_OK) {
        status = wa_session_sizes_find(session, batch->count, true, &size);
    }
    if (status == WA_OK) {
        wa_session_sizes_swap(session, size);
        status = train(session, batch, step);
        wa_session_sizes_swap(session, size);
    }
    session->step_launches = session->engine->launches - launches;
    wa_session_set_error(session, NULL);
    return status;
}

static wa_status evaluate(struct wa_session *session, const struct wa_batch *batch)
{
    wa_status status = upload(session, batch);
    if (status == WA_OK) {
        status = wa_rule_host_forward(session, session->live, session->live_tape);
    }
    if (status == WA_OK) {
        status = wa_rule_host_output_error(session, session->live_tape, session->error_delta);
    }
    return status == WA_OK ? WA_CL(session->err, clFlush(session->engine->device->queue)) : status;
}

wa_status wa_session_evaluate(struct wa_session *session, const struct wa_batch *batch,
                              struct wa_error *err)
{
    wa_session_set_error(session, err);
    int size = -1;
    wa_status status = check_slot(session);
    if (status == WA_OK) {
        status = wa_session_sizes_find(session, batch->count, false, &size);
    }
    if (status == WA_OK) {
        wa_session_sizes_swap(session, size);
        status = evaluate(session, batch);
        wa_session_sizes_swap(session, size);
    }
    wa_session_set_error(session, NULL);
    return status;
}

wa_status wa_session_collect(struct wa_session *session,
                             struct wa_session_result ret_results[WA_SESSION_SLOTS],
                             size_t *ret_count, struct wa_error *err)
{
    size_t count = (size_t)session->slot;
    float values[2 * WA_SESSION_SLOTS];
    session->slot = 0;
    *ret_count = count;
    if (count == 0) {
        return wa_engine_finish(session->engine, err);
    }
    wa_status status = wa_engine_read(session->engine, session->results, 0, values,
                                      2 * count * sizeof *values, err);
    for (size_t i = 0; i < count && status == WA_OK; i++) {
        ret_results[i].loss = values[2 * i];
        ret_results[i].correct = values[2 * i + 1];
        ret_results[i].items = session->slot_items[i];
    }
    return status;
}

/* ---- What went wrong ------------------------------------------------------------------------ */

static wa_status is_buffer_bad(struct wa_session *session, cl_mem memory, size_t offset,
                               size_t count, bool *ret_is_bad, struct wa_error *err)
{
    enum { CHUNK = 1 << 16 };
    float *values = malloc(CHUNK * sizeof *values);
    if (!values) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    wa_status status = WA_OK;
    *ret_is_bad = false;
    for (size_t i = 0; i < count && status == WA_OK && !*ret_is_bad; i += CHUNK) {
        size_t n = count - i < CHUNK ? count - i : CHUNK;
        status = wa_engine_read(session->engine, memory, (offset + i) * sizeof *values, values,
                                n * sizeof *values, err);
        for (size_t k = 0; k < n && status == WA_OK; k++) {
            *ret_is_bad = *ret_is_bad || !isfinite(values[k]);
        }
    }
    free(values);
    return status;
}

wa_status wa_session_first_bad_tensor(struct wa_session *session, char *ret_name, size_t bytes,
                                      struct wa_error *err)
{
    bool is_bad = false;
    wa_status status = WA_OK;
    size_t parameters = session->parameter_tensor_count;
    for (size_t i = 0; i < parameters && status == WA_OK; i++) {
        const struct wa_session_tensor *t = &session->tensors[i];
        status = is_buffer_bad(session, t->memory, t->offset, t->count, &is_bad, err);
        if (is_bad) {
            (void)snprintf(ret_name, bytes, "%s", t->name);
            return status;
        }
    }
    for (uint32_t l = 0; l < session->model.layer_count && status == WA_OK; l++) {
        const struct tape_layer *t = &session->live_tape->layers[l];
        cl_mem memory = t->a ? t->a : t->h;
        size_t size = 0;
        (void)clGetMemObjectInfo(memory, CL_MEM_SIZE, sizeof size, &size, NULL);
        status = is_buffer_bad(session, memory, 0, size / sizeof(float), &is_bad, err);
        if (is_bad) {
            (void)snprintf(ret_name, bytes, "output of %s", session->model.layers[l].name);
            return status;
        }
    }
    (void)snprintf(ret_name, bytes, "loss");
    return status;
}

const struct wa_model *wa_session_model(const struct wa_session *session)
{
    return &session->model;
}

const char *wa_session_algorithm(const struct wa_session *session, uint32_t layer,
                                 enum wa_product product)
{
    return wa_operations_algorithm(session->operations, layer, product);
}

uint64_t wa_session_planned_bytes(const struct wa_session *session)
{
    return session->planned_bytes;
}

uint64_t wa_session_step_launches(const struct wa_session *session)
{
    return session->step_launches;
}
