/* The most that a device can compute. */
#include "peak.h"

#include <stdio.h>

#include "progress.h"

enum { CHAINS = 24, ITEMS_PER_UNIT = 4, GPU_GROUP = 256, GPU_GROUPS_PER_UNIT = 16, RUNS = 6 };

static wa_status run(struct wa_engine *engine, cl_kernel kernel, const struct wa_range *range,
                     cl_mem out, int rounds, double *ret_seconds, struct wa_error *err)
{
    double start = wa_progress_now();
    wa_status status = wa_engine_launch(engine, kernel, range, err, "miff", out, rounds, 0.999, 1e-3);
    if (status == WA_OK) {
        status = wa_engine_finish(engine, err);
    }
    *ret_seconds = wa_progress_now() - start;
    return status;
}

wa_status wa_peak_measure(struct wa_engine *engine, double *ret_gflops, struct wa_error *err)
{
    bool is_gpu = engine->path == WA_PATH_GPU;
    int width = is_gpu ? 1 : engine->vector_width;
    char options[64];
    (void)snprintf(options, sizeof options, width > 1 ? "-D VECTOR=float%d" : "-D VECTOR=float", width);
    size_t units = engine->device->info.compute_units;
    size_t group = is_gpu ? GPU_GROUP : 1;
    if (group > engine->device->info.work_group_size) {
        group = engine->device->info.work_group_size;
    }
    size_t items = units * (is_gpu ? group * GPU_GROUPS_PER_UNIT : ITEMS_PER_UNIT);
    struct wa_range range = {1, {items}, {group}};
    cl_kernel kernel = NULL;
    cl_mem out = NULL;
    wa_status status = wa_engine_kernel(engine, "peak.cl", "peak", options, &kernel, err);
    if (status == WA_OK) {
        status = wa_engine_buffer(engine, items * sizeof(float), "results", &out, err);
    }
    int rounds = 1000;
    double seconds = 0;
    /* As many rounds as take some 50 ms. */
    for (int i = 0; i < 12 && status == WA_OK; i++) {
        status = run(engine, kernel, &range, out, rounds, &seconds, err);
        if (seconds > 0.03) {
            break;
        }
        rounds *= seconds < 0.005 ? 8 : 2;
    }
    double best = 0;
    for (int i = 0; i < RUNS && status == WA_OK; i++) {
        status = run(engine, kernel, &range, out, rounds, &seconds, err);
        double rate = 2.0 * CHAINS * width * (double)items * rounds / seconds / 1e9;
        best = rate > best ? rate : best;
    }
    wa_engine_release(engine, out);
    if (kernel) {
        (void)clReleaseKernel(kernel);
    }
    *ret_gflops = best;
    return status;
}
