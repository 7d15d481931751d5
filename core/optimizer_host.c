/* The optimizer's side of a session: its one statement becomes a kernel over all trained parameters. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session_private.h"

enum { MAX_SCALARS = 8, MAX_STATES = 8, SOURCE_BYTES = 8192, CPU_CHUNK = 4096 };

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

/* One work-item updates `chunk` parameters side by side; on GPUs a chunk is one. Nothing changes once
 * a loss was not finite (kernels/step.cl, output_error). */
static void write_source(const wa_update *update, struct text *text)
{
    append(text, "__kernel void update(__global float *restrict weights,\n"
                 "    __global const float *restrict gradients, __global float *restrict state,\n"
                 "    __global const int *restrict halted, int first, int count, int chunk,\n"
                 "    int state_stride");
    for (uint32_t i = 0; i < update->scalar_count; i++) {
        append(text, ", float %s", update->scalar_names[i]);
    }
    append(text, ")\n{\n"
                 "    if (halted[0]) {\n        return;\n    }\n"
                 "    const int begin = first + (int)get_global_id(0) * chunk;\n"
                 "    const int end = min(begin + chunk, first + count);\n"
                 "    for (int i = begin; i < end; i++) {\n"
                 "        float w = weights[i];\n"
                 "        const float g = gradients[i];\n");
    for (uint32_t i = 0; i < update->state_count; i++) {
        append(text, "        float %s = state[(size_t)%u * state_stride + i];\n",
               update->state_names[i], i);
    }
    append(text, "        %s\n        weights[i] = w;\n", update->statement);
    for (uint32_t i = 0; i < update->state_count; i++) {
        append(text, "        state[(size_t)%u * state_stride + i] = %s;\n", i,
               update->state_names[i]);
    }
    append(text, "    }\n}\n");
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

static wa_status build_kernel(struct wa_session *session, const wa_update *update)
{
    struct text text = {.bytes = calloc(1, SOURCE_BYTES)};
    if (!text.bytes) {
        return wa_fail(session->err, WA_E_MEMORY, "out of memory");
    }
    write_source(update, &text);
    cl_program program = NULL;
    wa_status status =
        wa_programs_get_text(session->engine->programs, session->spec.optimizer->plugin.id,
                             text.bytes, "-cl-std=CL1.2", &program, session->err);
    free(text.bytes);
    if (status == WA_OK) {
        cl_int code = CL_SUCCESS;
        session->optimizer.kernel = clCreateKernel(program, "update", &code);
        status = WA_CL(session->err, code);
    }
    return status;
}

static wa_status set_update(const wa_optimizer_host *host, const wa_update *update)
{
    struct wa_session *session = session_of(host);
    struct optimizer *optimizer = &session->optimizer;
    wa_status status = check_update(session, update);
    if (status == WA_OK && !session->engine->plan) {
        status = build_kernel(session, update);
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

/* One launch for each stretch of trained layers. */
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
            {session->is_trained[l], layer->weight_offset,
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
    return wa_plugin_host_check(&optimizer->host, "apply",
                                optimizer->ops->apply(optimizer->self, step));
}

void wa_optimizer_host_finish(struct wa_session *session)
{
    struct optimizer *optimizer = &session->optimizer;
    if (optimizer->self) {
        optimizer->ops->destroy(optimizer->self);
    }
    if (optimizer->kernel) {
        (void)clReleaseKernel(optimizer->kernel);
    }
    wa_engine_release(session->engine, optimizer->state);
    free(optimizer->state_names);
    wa_plugin_host_finish(&optimizer->host);
}
