/* Times of kernel launches as a Chrome trace (chrome://tracing, Perfetto), from OpenCL events. The
 * engine's device must have been opened with profiling. */
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

void wa_trace_end(struct wa_trace *trace); /* takes NULL */

#endif
