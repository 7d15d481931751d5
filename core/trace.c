/* Times of launches. */
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "files.h"

struct launch {
    char kernel[48];
    struct wa_work work;
    uint64_t flop, bytes; /* noted since the launch before */
    cl_event first, last;
};

struct wa_trace {
    struct wa_engine *engine;
    uint64_t flop, bytes; /* of the engine at the last launch */
    struct launch *launches;
    size_t count, capacity;
    bool is_short; /* memory ran out: the trace misses launches */
};

static void observe(void *context, const char *kernel, cl_event first, cl_event last)
{
    struct wa_trace *trace = context;
    const struct wa_engine *engine = trace->engine;
    if (trace->count == trace->capacity) {
        size_t capacity = trace->capacity ? 2 * trace->capacity : 256;
        struct launch *more = realloc(trace->launches, capacity * sizeof *more);
        if (!more) {
            trace->is_short = true;
            return;
        }
        trace->launches = more;
        trace->capacity = capacity;
    }
    struct launch *launch = &trace->launches[trace->count];
    *launch = (struct launch){.work = engine->work,
                              .flop = engine->flop - trace->flop,
                              .bytes = engine->traffic - trace->bytes,
                              .first = first,
                              .last = last};
    (void)snprintf(launch->kernel, sizeof launch->kernel, "%s", kernel);
    trace->flop = engine->flop;
    trace->bytes = engine->traffic;
    if (clRetainEvent(first) == CL_SUCCESS && clRetainEvent(last) == CL_SUCCESS) {
        trace->count++;
    }
}

wa_status wa_trace_begin(struct wa_engine *engine, struct wa_trace **ret_trace, struct wa_error *err)
{
    struct wa_trace *trace = calloc(1, sizeof *trace);
    if (!trace) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    trace->engine = engine;
    trace->flop = engine->flop;
    trace->bytes = engine->traffic;
    engine->observer = observe;
    engine->observer_context = trace;
    *ret_trace = trace;
    return WA_OK;
}

/* When a launch began and ended, in ns of the device's clock. */
static wa_status read_times(const struct launch *launch, cl_ulong *ret_start, cl_ulong *ret_end,
                            struct wa_error *err)
{
    /* A marker ends when all before it has ended. */
    cl_profiling_info began =
        launch->first == launch->last ? CL_PROFILING_COMMAND_START : CL_PROFILING_COMMAND_END;
    wa_status status = WA_CL(
        err, clGetEventProfilingInfo(launch->first, began, sizeof *ret_start, ret_start, NULL));
    return status != WA_OK
               ? status
               : WA_CL(err, clGetEventProfilingInfo(launch->last, CL_PROFILING_COMMAND_END,
                                                    sizeof *ret_end, ret_end, NULL));
}

static wa_status wait_for_all(struct wa_trace *trace, struct wa_error *err)
{
    wa_status status = wa_engine_finish(trace->engine, err);
    return status == WA_OK && trace->is_short
               ? wa_fail(err, WA_E_MEMORY, "out of memory for the trace")
               : status;
}

static void add_text(json_object *object, const char *key, const char *text)
{
    if (text) {
        (void)json_object_object_add(object, key, json_object_new_string(text));
    }
}

static json_object *describe(const struct launch *launch, cl_ulong origin, cl_ulong start, cl_ulong end)
{
    json_object *o = json_object_new_object();
    json_object *arguments = json_object_new_object();
    add_text(o, "name", launch->kernel);
    add_text(o, "ph", "X");
    (void)json_object_object_add(o, "pid", json_object_new_int(1));
    (void)json_object_object_add(o, "tid", json_object_new_int(1));
    (void)json_object_object_add(o, "ts", json_object_new_double((double)(start - origin) / 1e3));
    (void)json_object_object_add(o, "dur", json_object_new_double((double)(end - start) / 1e3));
    add_text(arguments, "layer", launch->work.layer);
    add_text(arguments, "operation", launch->work.operation);
    add_text(arguments, "algorithm", launch->work.algorithm);
    (void)json_object_object_add(o, "args", arguments);
    return o;
}

wa_status wa_trace_write(struct wa_trace *trace, const char *path, struct wa_error *err)
{
    wa_status status = wait_for_all(trace, err);
    json_object *events = json_object_new_array();
    cl_ulong origin = 0;
    for (size_t i = 0; i < trace->count && status == WA_OK; i++) {
        cl_ulong start = 0;
        cl_ulong end = 0;
        status = read_times(&trace->launches[i], &start, &end, err);
        origin = i == 0 ? start : origin;
        (void)json_object_array_add(events, describe(&trace->launches[i], origin, start, end));
    }
    if (status == WA_OK) {
        json_object *root = json_object_new_object();
        (void)json_object_object_add(root, "displayTimeUnit", json_object_new_string("ms"));
        (void)json_object_object_add(root, "traceEvents", json_object_get(events));
        const char *text = json_object_to_json_string(root);
        status = wa_file_write_atomic(path, text, strlen(text), err);
        (void)json_object_put(root);
    }
    (void)json_object_put(events);
    return status;
}

/* ---- By operation --------------------------------------------------------------------------- */

static bool is_same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool is_same_work(const struct wa_work *a, const struct wa_work *b)
{
    return is_same_text(a->layer, b->layer) && is_same_text(a->operation, b->operation) &&
           is_same_text(a->algorithm, b->algorithm);
}

wa_status wa_trace_add_up(struct wa_trace *trace, struct wa_trace_operation **ret_operations,
                          size_t *ret_count, struct wa_error *err)
{
    struct wa_trace_operation *operations = calloc(trace->count + 1, sizeof *operations);
    if (!operations) {
        return wa_fail(err, WA_E_MEMORY, "out of memory for the trace");
    }
    wa_status status = wait_for_all(trace, err);
    size_t count = 0;
    for (size_t i = 0; i < trace->count && status == WA_OK; i++) {
        const struct launch *launch = &trace->launches[i];
        cl_ulong start = 0;
        cl_ulong end = 0;
        status = read_times(launch, &start, &end, err);
        size_t o = 0;
        while (o < count && !is_same_work(&operations[o].work, &launch->work)) {
            o++;
        }
        count = o == count ? count + 1 : count;
        operations[o].work = launch->work;
        operations[o].launches++;
        operations[o].flop += launch->flop;
        operations[o].bytes += launch->bytes;
        operations[o].seconds += 1e-9 * (double)(end - start);
    }
    if (status != WA_OK) {
        free(operations);
        return status;
    }
    *ret_operations = operations;
    *ret_count = count;
    return WA_OK;
}

void wa_trace_end(struct wa_trace *trace)
{
    if (!trace) {
        return;
    }
    trace->engine->observer = NULL;
    for (size_t i = 0; i < trace->count; i++) {
        (void)clReleaseEvent(trace->launches[i].first);
        (void)clReleaseEvent(trace->launches[i].last);
    }
    free(trace->launches);
    free(trace);
}
