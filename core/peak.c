/* The most that a device can compute and move. */
#include "peak.h"

#include <stdio.h>

#include "progress.h"

enum { CHAINS = 12, ITEMS_PER_UNIT = 4, GPU_GROUP = 256, GPU_GROUPS_PER_UNIT = 16, RUNS = 6 };
enum { COPY_BYTES = 256 << 20, MIN_COPY_BYTES = 1 << 20, COPY_SHARE = 16 };

static wa_status run(struct wa_engine *engine, cl_kernel kernel, const struct wa_range *range,
                     cl_mem out, int rounds, double *ret_seconds, struct wa_error *err)
{
    double start = wa_progress_now();
    wa_status status =
        wa_engine_launch(engine, kernel, range, err, "miff", out, rounds, 0.999, 1e-3);
    if (status == WA_OK) {
        status = wa_engine_finish(engine, err);
    }
    *ret_seconds = wa_progress_now() - start;
    return status;
}

static int vector_width(const struct wa_engine *engine)
{
    return engine->path == WA_PATH_GPU ? 1 : engine->vector_width;
}

enum { OPTION_BYTES = 64 };
static void vector_options(int width, char ret_options[OPTION_BYTES])
{
    if (width > 1) {
        (void)snprintf(ret_options, OPTION_BYTES, "-D VECTOR=float%d", width);
    } else {
        (void)snprintf(ret_options, OPTION_BYTES, "-D VECTOR=float");
    }
}

static size_t group_items(const struct wa_engine *engine)
{
    size_t group = engine->path == WA_PATH_GPU ? GPU_GROUP : 1;
    size_t most = engine->device->info.work_group_size;
    return group < most ? group : most;
}

wa_status wa_peak_measure(struct wa_engine *engine, double *ret_gflops, struct wa_error *err)
{
    bool is_gpu = engine->path == WA_PATH_GPU;
    int width = vector_width(engine);
    char options[OPTION_BYTES];
    vector_options(width, options);
    size_t units = engine->device->info.compute_units;
    size_t group = group_items(engine);
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
    if (status == WA_OK) { /* some drivers compile at the first launch */
        status = run(engine, kernel, &range, out, 1, &seconds, err);
    }
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

/* ---- Copies --------------------------------------------------------------------------------- */

/* Two buffers of the same size: the largest that the device has room for beside what it holds. */
static wa_status make_pair(struct wa_engine *engine, cl_mem ret_pair[2], size_t *ret_bytes,
                           struct wa_error *err)
{
    cl_ulong share = engine->device->info.global_bytes / COPY_SHARE;
    size_t bytes = share < COPY_BYTES ? (size_t)share : COPY_BYTES;
    wa_status status = WA_E_MEMORY;
    for (; status == WA_E_MEMORY && bytes >= MIN_COPY_BYTES; bytes /= 2) {
        *err = (struct wa_error){0};
        status = wa_engine_buffer(engine, bytes, "what is copied", &ret_pair[0], err);
        if (status == WA_OK) {
            status = wa_engine_buffer(engine, bytes, "a copy", &ret_pair[1], err);
        }
        if (status != WA_OK) {
            wa_engine_release(engine, ret_pair[0]);
            ret_pair[0] = NULL;
        }
        *ret_bytes = bytes;
    }
    return status;
}

static wa_status copy(struct wa_engine *engine, cl_kernel kernel, const struct wa_range *range,
                      const cl_mem pair[2], int count, int chunk, double *ret_seconds,
                      struct wa_error *err)
{
    double start = wa_progress_now();
    wa_status status =
        wa_engine_launch(engine, kernel, range, err, "mmii", pair[0], pair[1], count, chunk);
    if (status == WA_OK) {
        status = wa_engine_finish(engine, err);
    }
    *ret_seconds = wa_progress_now() - start;
    return status;
}

wa_status wa_peak_measure_copy(struct wa_engine *engine, double *ret_gbytes_per_second,
                               struct wa_error *err)
{
    bool is_gpu = engine->path == WA_PATH_GPU;
    int width = is_gpu ? 4 : engine->vector_width;
    char options[OPTION_BYTES];
    vector_options(width, options);
    cl_kernel kernel = NULL;
    cl_mem pair[2] = {NULL, NULL};
    size_t bytes = 0;
    uint64_t peak_bytes = engine->peak_bytes; /* of the network: these are not part of it */
    wa_status status = wa_engine_kernel(engine, "peak.cl", "copy", options, &kernel, err);
    if (status == WA_OK) {
        status = make_pair(engine, pair, &bytes, err);
    }
    int count = (int)(bytes / sizeof(float) / (size_t)width);
    size_t group = group_items(engine);
    size_t units = engine->device->info.compute_units;
    int chunk = is_gpu ? 1 : count / (int)(units * ITEMS_PER_UNIT) + 1;
    size_t items = ((size_t)(count / chunk) + group) / group * group;
    struct wa_range range = {1, {items}, {group}};
    double best = 0;
    for (int i = 0; i < RUNS && status == WA_OK; i++) {
        double seconds = 0;
        status = copy(engine, kernel, &range, pair, count, chunk, &seconds, err);
        double rate = 2.0 * (double)bytes / seconds / 1e9;
        best = rate > best ? rate : best;
    }
    wa_engine_release(engine, pair[0]);
    wa_engine_release(engine, pair[1]);
    engine->peak_bytes = peak_bytes;
    if (kernel) {
        (void)clReleaseKernel(kernel);
    }
    *ret_gbytes_per_second = best;
    return status;
}
