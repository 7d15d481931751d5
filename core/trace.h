/* Times of kernel launches from OpenCL events: as a Chrome trace (chrome://tracing, Perfetto), or
 * added up by operation. The engine's device must have been opened with profiling. */
#ifndef WALIGN_CORE_TRACE_H
#define WALIGN_CORE_TRACE_H

#include "engine.h"

struct wa_trace;

/* From now on the engine's launches are recorded, until wa_trace_end. */
WA_MUST_CHECK wa_status wa_trace_begin(struct wa_engine *engine, struct wa_trace **ret_trace,
                                       struct wa_error *err);

/* Waits for the launches and writes what was recorded. */
WA_MUST_CHECK wa_status wa_trace_write(struct wa_trace *trace, const char *path,
                                       struct wa_error *err);

/* An operation on a layer, all its launches together. */
struct wa_trace_operation {
    struct wa_work work;
    uint64_t launches, flop, bytes; /* as wa_engine_note_work was told */
    double seconds;
};

/* Waits for the launches and adds up what was recorded, in the order in which operations first ran.
 * *ret_operations is the caller's to free. */
WA_MUST_CHECK wa_status wa_trace_add_up(struct wa_trace *trace,
                                        struct wa_trace_operation **ret_operations,
                                        size_t *ret_count, struct wa_error *err);

void wa_trace_end(struct wa_trace *trace); /* takes NULL */

#endif
