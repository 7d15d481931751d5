/* Chrome traces. */
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "files.h"

struct launch {
    char kernel[48];
    cl_event event;
};

struct wa_trace {
    struct wa_engine *engine;
    struct launch *launches;
    size_t count, capacity;
    bool is_short; /* memory ran out: the trace misses launches */
};

static void observe(void *context, const char *kernel, cl_event event)
{
    struct wa_trace *trace = context;
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
    (void)snprintf(launch->kernel, sizeof launch->kernel, "%s", kernel);
    launch->event = event;
    if (clRetainEvent(event) == CL_SUCCESS) {
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
    engine->observer = observe;
    engine->observer_context = trace;
    *ret_trace = trace;
    return WA_OK;
}

static json_object *describe(const struct launch *launch, cl_ulong origin, cl_ulong start, cl_ulong end)
{
    json_object *o = json_object_new_object();
    (void)json_object_object_add(o, "name", json_object_new_string(launch->kernel));
    (void)json_object_object_add(o, "ph", json_object_new_string("X"));
    (void)json_object_object_add(o, "pid", json_object_new_int(1));
    (void)json_object_object_add(o, "tid", json_object_new_int(1));
    (void)json_object_object_add(o, "ts", json_object_new_double((double)(start - origin) / 1e3));
    (void)json_object_object_add(o, "dur", json_object_new_double((double)(end - start) / 1e3));
    return o;
}

wa_status wa_trace_write(struct wa_trace *trace, const char *path, struct wa_error *err)
{
    wa_status status = wa_engine_finish(trace->engine, err);
    json_object *events = json_object_new_array();
    cl_ulong origin = 0;
    for (size_t i = 0; i < trace->count && status == WA_OK; i++) {
        cl_ulong start = 0;
        cl_ulong end = 0;
        status = WA_CL(err, clGetEventProfilingInfo(trace->launches[i].event,
                                                    CL_PROFILING_COMMAND_START, sizeof start, &start,
                                                    NULL));
        if (status == WA_OK) {
            status = WA_CL(err, clGetEventProfilingInfo(trace->launches[i].event,
                                                        CL_PROFILING_COMMAND_END, sizeof end, &end,
                                                        NULL));
        }
        origin = i == 0 ? start : origin;
        (void)json_object_array_add(events, describe(&trace->launches[i], origin, start, end));
    }
    if (status == WA_OK && trace->is_short) {
        status = wa_fail(err, WA_E_MEMORY, "out of memory for the trace");
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

void wa_trace_end(struct wa_trace *trace)
{
    if (!trace) {
        return;
    }
    trace->engine->observer = NULL;
    for (size_t i = 0; i < trace->count; i++) {
        (void)clReleaseEvent(trace->launches[i].event);
    }
    free(trace->launches);
    free(trace);
}
