/* A session's device memory: planned in full before the first buffer is made, so that a network that
 * does not fit is refused at once, with the largest batch that would. */
#include <stdio.h>

#include "session_private.h"

wa_status wa_session_memory(struct wa_session *session, size_t bytes, bool per_lane,
                            const void *data, const char *what, cl_mem *ret_memory)
{
    struct memory_plan *plan = session->plan;
    if (!plan) {
        return data ? wa_engine_buffer_from(session->engine, data, bytes, what, ret_memory,
                                            session->err)
                    : wa_engine_buffer(session->engine, bytes, what, ret_memory, session->err);
    }
    uint64_t *sum = per_lane ? &plan->lane_bytes : &plan->fixed_bytes;
    uint64_t *largest = per_lane ? &plan->largest_lane : &plan->largest_fixed;
    *sum += bytes;
    *largest = bytes > *largest ? bytes : *largest;
    return WA_OK;
}

/* The largest batch, in lanes, at which both limits hold; 0 if there is none. */
static uint64_t fitting_lanes(const struct wa_session *session, const struct memory_plan *plan,
                              uint64_t total, uint64_t piece)
{
    uint64_t lanes = (uint64_t)session->model.lanes;
    if (plan->fixed_bytes >= total || plan->largest_fixed > piece) {
        return 0;
    }
    /* Sizes grow in proportion to the lanes. */
    uint64_t by_total = (uint64_t)((double)(total - plan->fixed_bytes) / (double)plan->lane_bytes *
                                   (double)lanes);
    uint64_t by_piece = (uint64_t)((double)piece / (double)plan->largest_lane * (double)lanes);
    uint64_t fitting = by_total < by_piece ? by_total : by_piece;
    /* Below 16 lanes nothing gets smaller (wa_model_lanes). */
    return fitting < (uint64_t)wa_model_lanes(1) ? 0 : fitting / 4 * 4;
}

wa_status wa_session_memory_check(struct wa_session *session, const struct memory_plan *plan)
{
    const struct wa_device_info *info = &session->engine->device->info;
    uint64_t in_use = session->engine->bytes;
    uint64_t total = info->global_bytes > in_use ? info->global_bytes - in_use : 0;
    uint64_t needed = plan->fixed_bytes + plan->lane_bytes;
    uint64_t piece =
        plan->largest_lane > plan->largest_fixed ? plan->largest_lane : plan->largest_fixed;
    if (needed <= total && piece <= info->allocation_bytes) {
        return WA_OK;
    }
    uint64_t fitting = fitting_lanes(session, plan, total, info->allocation_bytes);
    char advice[96] = "not even a batch of 1 fits: lower the width";
    if (fitting) {
        (void)snprintf(advice, sizeof advice,
                       "the largest batch that fits is %llu; or lower the width",
                       (unsigned long long)fitting);
    }
    return wa_fail(session->err, WA_E_UNSUPPORTED,
                   "training needs %.1f MB of device memory, %.1f MB of it in one piece; %s has %.1f MB "
                   "left and allows %.1f MB in one piece: %s",
                   (double)needed / 1e6, (double)piece / 1e6, info->name, (double)total / 1e6,
                   (double)info->allocation_bytes / 1e6, advice);
}
