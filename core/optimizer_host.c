/* The optimizer's side of a session: its one statement becomes a kernel over all trained parameters. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session_private.h"

enum { MAX_SCALARS = WA_UPDATE_MAX_SCALARS, MAX_STATES = 8, SOURCE_BYTES = 8192, CPU_CHUNK = 4096 };

static struct wa_session *session_of(const wa_optimizer_host *host)
{
    const char *table = (const char *)host;
    return (struct wa_session *)(uintptr_t)(table - offsetof(struct wa_session, optimizer.table));
}

static wa_status misuse(struct wa_session *session, const char *call, const char *why)
{
    return wa_fail(session->err, WA_E_PLUGIN, "optimizer '%s' misuses %s: %s",
                   session->spec.optimizer->plugin.id, call, why);
}

static bool is_name(const char *name)
{
    if (!name || !(isalpha((unsigned char)name[0]) || name[0] == '_') || strlen(name) > 31) {
        return false;
    }
    for (const char *c = name; *c; c++) {
        if (!isalnum((unsigned char)*c) && *c != '_') {
            return false;
        }
    }
    return true;
}

struct text {
    char *bytes;
    size_t used;
};

static void append(struct text *text, const char *format, ...) WA_PRINTF(2, 3);
static void append(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text->bytes + text->used, SOURCE_BYTES - text->used, format, arguments);
    va_end(arguments);
    text->used += n > 0 ? (size_t)n : 0;
    text->used = text->used < SOURCE_BYTES ? text->used : SOURCE_BYTES - 1;
}

/* What kernels/update.cl and cpu_dense_update.cl stand behind: a function that updates the parameter at i, and its
 * scalars. */
static void write_source(const wa_update *update, struct text *text)
{
    append(text, "#define UPDATE_STATES %u\n#define UPDATE_SCALARS", update->state_count);
    for (uint32_t i = 0; i < update->scalar_count; i++) {
        append(text, " , float %s", update->scalar_names[i]);
    }
    append(text, "\n#define UPDATE_VALUES");
    for (uint32_t i = 0; i < update->scalar_count; i++) {
        append(text, " , %s", update->scalar_names[i]);
    }
    append(text, "\n"
                 "inline __attribute__((always_inline)) void update_parameter(\n"
                 "    __global float *restrict weights, __global float *restrict state,\n"
                 "    int state_stride, int i, float g UPDATE_SCALARS)\n{\n"
                 "    float w = weights[i];\n");
    for (uint32_t i = 0; i < update->state_count; i++) {
        append(text, "    float %s = state[(size_t)%u * state_stride + i];\n",
               update->state_names[i], i);
    }
    append(text, "    %s\n    weights[i] = w;\n", update->statement);
    for (uint32_t i = 0; i < update->state_count; i++) {
        append(text, "    state[(size_t)%u * state_stride + i] = %s;\n", i, update->state_names[i]);
    }
    append(text, "}\n");
}

static wa_status check_update(struct wa_session *session, const wa_update *update)
{
    if (session->optimizer.state_names) {
        return misuse(session, "set_update", "it may be called once");
    }
    if (!update || !update->statement || strlen(update->statement) > SOURCE_BYTES / 2 ||
        update->state_count > MAX_STATES || update->scalar_count > MAX_SCALARS) {
        return misuse(session, "set_update",
                      "expected a statement, at most 8 states and 8 scalars");
    }
    for (uint32_t i = 0; i < update->state_count; i++) {
        if (!is_name(update->state_names[i])) {
            return misuse(session, "set_update", "a state's name is not a C identifier of 1 to 31");
        }
    }
    for (uint32_t i = 0; i < update->scalar_count; i++) {
        if (!is_name(update->scalar_names[i])) {
            return misuse(session, "set_update",
                          "a scalar's name is not a C identifier of 1 to 31");
        }
    }
    return WA_OK;
}

static wa_status build_kernels(struct wa_session *session, const wa_update *update)
{
    struct text text = {.bytes = calloc(1, SOURCE_BYTES)};
    if (!text.bytes) {
        return wa_fail(session->err, WA_E_MEMORY, "out of memory");
    }
    write_source(update, &text);
    wa_status status = wa_engine_kernel_behind(session->engine, text.bytes, "update.cl", "update",
                                               NULL, &session->optimizer.kernel, session->err);
    bool is_any_joined = false;
    for (uint32_t l = 0; l < session->model.layer_count; l++) {
        is_any_joined = is_any_joined || wa_rule_host_defers(session, l);
    }
    if (status == WA_OK && is_any_joined) {
        status = wa_engine_kernel_behind(session->engine, text.bytes, "cpu_dense_update.cl",
                                         "update_dense", NULL, &session->optimizer.dense_kernel,
                                         session->err);
    }
    free(text.bytes);
    return status;
}

static wa_status set_update(const wa_optimizer_host *host, const wa_update *update)
{
    struct wa_session *session = session_of(host);
    struct optimizer *optimizer = &session->optimizer;
    wa_status status = check_update(session, update);
    if (status == WA_OK && !session->engine->plan) {
        status = build_kernels(session, update);
    }
    if (status != WA_OK) {
        return status;
    }
    optimizer->state_count = update->state_count;
    optimizer->scalar_count = update->scalar_count;
    optimizer->state_names = calloc(update->state_count + 1u, sizeof *optimizer->state_names);
    if (!optimizer->state_names) {
        return wa_fail(session->err, WA_E_MEMORY, "out of memory");
    }
    for (uint32_t i = 0; i < update->state_count; i++) {
        (void)snprintf(optimizer->state_names[i], sizeof *optimizer->state_names, "%s",
                       update->state_names[i]);
    }
    return wa_engine_buffer(session->engine,
                            update->state_count * session->model.parameter_count * sizeof(float),
                            "optimizer state", &optimizer->state, session->err);
}

static wa_status launch(struct wa_session *session, size_t first, size_t count,
                        const float *scalars)
{
    struct optimizer *optimizer = &session->optimizer;
    if (count == 0) {
        return WA_OK;
    }
    struct wa_engine *engine = session->engine;
    size_t chunk = engine->path == WA_PATH_CPU ? CPU_CHUNK : 1;
    /* Groups of one: PoCL makes a single group, and a single thread, of fewer than it can take. */
    struct wa_range range = {1, {(count + chunk - 1) / chunk}, {1}};
    if (engine->path == WA_PATH_GPU) {
        /* Whole groups: left to themselves, drivers take a divisor of the count, at worst 1. */
        size_t group = wa_engine_group_limit(engine, optimizer->kernel);
        range = (struct wa_range){1, {(count + group - 1) / group * group}, {group}};
    }
    char types[9 + MAX_SCALARS] = "mmmmiiii";
    float s[MAX_SCALARS] = {0};
    for (uint32_t i = 0; i < optimizer->scalar_count; i++) {
        types[8 + i] = 'f';
        s[i] = scalars[i];
    }
    /* Gradients are read; parameters and the optimizer's state are read and written. */
    const struct wa_work work = {NULL, "update", NULL};
    wa_engine_note_work(engine, &work, 0,
                        (uint64_t)count * sizeof(float) *
                            (3 + 2 * (uint64_t)optimizer->state_count));
    return wa_engine_launch(
        engine, optimizer->kernel, &range, session->err, types, session->trained->memory,
        session->gradients, optimizer->state, session->halted, (int)first, (int)count, (int)chunk,
        (int)session->model.parameter_count, (double)s[0], (double)s[1], (double)s[2], (double)s[3],
        (double)s[4], (double)s[5], (double)s[6], (double)s[7]);
}

/* A layer's weights and biases by a gradient that was left to this. */
static wa_status launch_dense(struct wa_session *session, uint32_t layer, const float *scalars)
{
    const struct optimizer *optimizer = &session->optimizer;
    const struct wa_dense_update update = {.kernel = optimizer->dense_kernel,
                                           .x = session->deferred[layer].x,
                                           .dz = session->deferred[layer].dz,
                                           .weights = session->trained->memory,
                                           .gradients = session->gradients,
                                           .state = optimizer->state,
                                           .halted = session->halted,
                                           .state_count = optimizer->state_count,
                                           .state_stride = session->model.parameter_count,
                                           .scalars = scalars,
                                           .scalar_count = optimizer->scalar_count};
    return wa_operations_dense_update(session->operations, layer, &update, session->err);
}

/* One launch for each stretch of trained layers whose gradients are there, one for each other layer. */
static wa_status update(const wa_optimizer_host *host, const float *scalars)
{
    struct wa_session *session = session_of(host);
    if (!session->optimizer.kernel || (!scalars && session->optimizer.scalar_count)) {
        return misuse(session, "update", "expected set_update before it, and its scalars");
    }
    const struct wa_model *model = &session->model;
    wa_status status = WA_OK;
    size_t first = 0;
    size_t end = 0; /* the stretch that is not launched yet */
    for (uint32_t l = 0; l < model->layer_count && status == WA_OK; l++) {
        const struct wa_model_layer *layer = &model->layers[l];
        const struct {
            bool is_trained;
            size_t offset, count;
        } parts[] = {
            {session->is_trained[l] && !session->deferred[l].x, layer->weight_offset,
             layer->weight_count + layer->shape.out_channels},
            {session->is_state_trained[l], layer->state_offset, layer->state_count},
        };
        for (size_t i = 0; i < sizeof parts / sizeof *parts && status == WA_OK; i++) {
            if (!parts[i].is_trained) {
                continue;
            }
            if (parts[i].offset != end) {
                status = launch(session, first, end - first, scalars);
                first = parts[i].offset;
            }
            end = parts[i].offset + parts[i].count;
        }
        if (status == WA_OK && session->deferred[l].x) {
            status = launch_dense(session, l, scalars);
        }
    }
    if (status == WA_OK) {
        status = launch(session, first, end - first, scalars);
    }
    session->trained->is_arranged[0] = session->trained->is_arranged[1] = false;
    return status;
}

wa_status wa_optimizer_host_create(struct wa_session *session)
{
    struct optimizer *optimizer = &session->optimizer;
    wa_status status = wa_plugin_host_init(&optimizer->host, session->spec.optimizer,
                                           session->spec.optimizer_options,
                                           session->spec.config_folder, session->err);
    if (status != WA_OK) {
        return status;
    }
    optimizer->ops = session->spec.optimizer->plugin.optimizer;
    optimizer->table = (wa_optimizer_host){.struct_size = sizeof optimizer->table,
                                           .base = &optimizer->host.host,
                                           .set_update = set_update,
                                           .update = update};
    status = wa_plugin_host_check(&optimizer->host, "create",
                                  optimizer->ops->create(&optimizer->table, &optimizer->self));
    if (status == WA_OK && !optimizer->state_names) {
        status = misuse(session, "create", "it did not call set_update");
    }
    return wa_session_add_place(session, session->spec.optimizer_place, status);
}

wa_status wa_optimizer_host_apply(struct wa_session *session, uint64_t step)
{
    struct optimizer *optimizer = &session->optimizer;
    wa_status status = wa_plugin_host_check(&optimizer->host, "apply",
                                            optimizer->ops->apply(optimizer->self, step));
    for (uint32_t l = 0; l < session->model.layer_count; l++) {
        session->deferred[l] = (struct deferred_gradient){0};
    }
    return status;
}

void wa_optimizer_host_finish(struct wa_session *session)
{
    struct optimizer *optimizer = &session->optimizer;
    if (optimizer->self) {
        optimizer->ops->destroy(optimizer->self);
    }
    cl_kernel kernels[] = {optimizer->kernel, optimizer->dense_kernel};
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        if (kernels[i]) {
            (void)clReleaseKernel(kernels[i]);
        }
    }
    wa_engine_release(session->engine, optimizer->state);
    free(optimizer->state_names);
    wa_plugin_host_finish(&optimizer->host);
}
