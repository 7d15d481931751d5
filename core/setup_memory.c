/* A config's device memory, planned in full before anything is made: the session is built with an engine
 * that only counts. One that does not fit is refused at once, with the largest batch that would. */
#include <stdio.h>

#include "setup.h"

enum { ADVICE_BYTES = 256, LANES_STEP = 4 }; /* sizes grow with whole vectors of four lanes */

static double larger(double a, double b)
{
    return a > b ? a : b;
}

/* The session on an engine of its own: that of the run stays as it is. */
static wa_status plan_with(const struct wa_setup *setup, int batch,
                           enum wa_convolution_choice convolution, struct wa_memory_plan *ret_plan,
                           struct wa_error *err)
{
    struct wa_memory_plan plan = {0};
    struct wa_tuning tuning = {0};
    struct wa_session *session = NULL;
    struct wa_engine engine = setup->engine;
    engine.plan = &plan;
    engine.convolution = convolution;
    engine.tuning = &tuning;
    wa_status status = wa_setup_read_tuning(setup, batch, &tuning, err);
    if (status == WA_OK) {
        status = wa_setup_create_session(setup, &engine, batch, &session, err);
    }
    wa_session_destroy(session);
    wa_tuning_finish(&tuning);
    if (status == WA_OK) {
        *ret_plan = plan;
    }
    return status;
}

wa_status wa_setup_plan_memory(const struct wa_setup *setup, int batch,
                               struct wa_memory_plan *ret_plan, struct wa_error *err)
{
    return plan_with(setup, batch, setup->engine.convolution, ret_plan, err);
}

/* How many times what the device has: more than 1 does not fit. */
static double share_of_device(const struct wa_setup *setup, const struct wa_memory_plan *plan)
{
    const struct wa_device_info *info = &setup->device->info;
    return larger((double)plan->bytes / (double)info->global_bytes,
                  (double)plan->largest_bytes / (double)info->allocation_bytes);
}

/* A network that cannot be built in that way does not fit either. */
static bool fits(const struct wa_setup *setup, int batch, enum wa_convolution_choice convolution)
{
    struct wa_memory_plan plan;
    struct wa_error ignored = {0};
    return plan_with(setup, batch, convolution, &plan, &ignored) == WA_OK &&
           share_of_device(setup, &plan) <= 1.0;
}

/* The largest batch that fits below the config's, which does not; 0 if there is none. */
static int find_batch(const struct wa_setup *setup)
{
    int fitting = 0;
    int too_large = (setup->batches.batch + LANES_STEP - 1) / LANES_STEP;
    while (too_large - fitting > 1) {
        int middle = fitting + (too_large - fitting) / 2;
        if (fits(setup, middle * LANES_STEP, setup->engine.convolution)) {
            fitting = middle;
        } else {
            too_large = middle;
        }
    }
    return fitting > 0 ? fitting * LANES_STEP : fits(setup, 1, setup->engine.convolution) ? 1 : 0;
}

static void advise(const struct wa_setup *setup, char ret_advice[ADVICE_BYTES])
{
    struct wa_memory_plan least;
    struct wa_error ignored = {0};
    int batch = find_batch(setup);
    bool is_other_algorithm = setup->engine.path == WA_PATH_CPU &&
                              setup->engine.convolution != WA_CONVOLUTION_DIRECT &&
                              fits(setup, setup->batches.batch, WA_CONVOLUTION_DIRECT);
    const char *direct = is_other_algorithm
                             ? ", or take \"kernels.convolution\": \"direct\", with which it fits"
                             : "";
    if (batch > 0) {
        (void)snprintf(ret_advice, ADVICE_BYTES,
                       "the largest batch that fits is %d; take that, or lower the width%s", batch,
                       direct);
    } else if (wa_setup_plan_memory(setup, 1, &least, &ignored) == WA_OK) {
        (void)snprintf(ret_advice, ADVICE_BYTES,
                       "not even a batch of 1 fits, it takes %.2f times what there is: lower the "
                       "width%s",
                       share_of_device(setup, &least), direct);
    } else {
        (void)snprintf(ret_advice, ADVICE_BYTES, "lower the batch or the width%s", direct);
    }
}

wa_status wa_setup_check_memory(const struct wa_setup *setup, struct wa_error *err)
{
    struct wa_memory_plan plan;
    wa_status status = wa_setup_plan_memory(setup, setup->batches.batch, &plan, err);
    if (status != WA_OK || share_of_device(setup, &plan) <= 1.0) {
        return status;
    }
    const struct wa_device_info *info = &setup->device->info;
    char advice[ADVICE_BYTES];
    advise(setup, advice);
    return wa_config_fail(
        setup->config, "batch", err,
        "training with batches of %d needs %.1f MB of device memory, %.1f MB of it "
        "in one piece (%s); %s has %.1f MB and allows %.1f MB in one piece: %s",
        setup->batches.batch, (double)plan.bytes / 1e6, (double)plan.largest_bytes / 1e6,
        plan.largest, info->name, (double)info->global_bytes / 1e6,
        (double)info->allocation_bytes / 1e6, advice);
}
