/* `walign bench`: times the steps that `train` runs, batch reading, upload and loss included, and sets
 * them against the device's peaks, measured in the same call. What each operation takes comes from
 * OpenCL events of more steps, in a set-up of their own: nothing of it is in the steps timed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "commands.h"
#include "loader.h"
#include "peak.h"
#include "progress.h"
#include "trace.h"

enum { WARM_UP_STEPS = 3, MIN_SAMPLES = 5, MAX_SAMPLES = 1000, PROFILE_STEPS = 5 };
static const double sample_seconds = 0.05; /* steps are timed in stretches of at least this, if that
                                             * leaves MIN_SAMPLES of them */
static const double reading_seconds = 1.0; /* of one core, for the rate of reading */

/* Seconds a step, of stretches of steps; sorted once all are there. */
struct samples {
    size_t count;
    double seconds[MAX_SAMPLES];
};

struct bench {
    const struct wa_command_line *line;
    struct wa_setup setup;
    struct wa_loader *loader;
    unsigned threads;
    uint64_t step, batches; /* batches: whole ones of an epoch */
    int items;              /* in each */
    double flop_per_step, launches_per_step, peak_gflops, peak_gbytes_per_second;
    uint64_t planned_bytes, peak_device_bytes;
    struct wa_trace_operation *operations; /* of PROFILE_STEPS steps */
    size_t operation_count;
    double read_per_second;        /* items, by one core */
    struct samples whole, without; /* without: batch norm and ReLU left out, where asked for */
    float *kept;             /* all tensors as they were before the first step without, or NULL */
    double batch_norm_bytes; /* that they would move in a step as passes of their own */
};

static wa_status steps(struct bench *b, uint64_t count, struct wa_error *err)
{
    struct wa_session_result results[WA_SESSION_SLOTS];
    size_t collected = 0;
    wa_status status = WA_OK;
    for (uint64_t i = 0; i < count && status == WA_OK; i++) {
        const struct wa_batch *batch = NULL;
        if (b->step % b->batches == 0) {
            wa_loader_start(b->loader, WA_SET_TRAIN, 0, b->batches);
        }
        status = wa_loader_next(b->loader, &batch, err);
        if (status == WA_OK) {
            status = wa_session_train(b->setup.session, batch, ++b->step, err);
        }
        if (status == WA_OK && (i + 1) % WA_SESSION_SLOTS == 0) {
            status = wa_session_collect(b->setup.session, results, &collected, err);
        }
    }
    return status == WA_OK ? wa_session_collect(b->setup.session, results, &collected, err)
                           : status;
}

static double thread_seconds(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(const struct samples *samples)
{
    size_t middle = samples->count / 2;
    return samples->count % 2 ? samples->seconds[middle]
                              : (samples->seconds[middle - 1] + samples->seconds[middle]) / 2;
}

static wa_status time_steps(struct bench *b, uint64_t count, struct samples *samples,
                            struct wa_error *err)
{
    double start = wa_progress_now();
    wa_status status = steps(b, count, err);
    samples->seconds[samples->count++] = (wa_progress_now() - start) / (double)count;
    return status;
}

/* The same steps without batch norm and ReLU. They take as long as any others, but train nothing: the
 * gradients are of what is left in the activities. So that steps of either kind only ever begin with
 * weights of training, those are put back, outside of what is timed. */
static wa_status time_without(struct bench *b, uint64_t count, struct wa_error *err)
{
    b->setup.engine.omits_activations = true;
    wa_status status = time_steps(b, count, &b->without, err);
    b->setup.engine.omits_activations = false;
    return status == WA_OK ? wa_session_put_back(b->setup.session, b->kept, err) : status;
}

/* Steps of both kinds, to warm up; what one takes, in numbers and in seconds. */
static wa_status count_step(struct bench *b, double *ret_seconds, struct wa_error *err)
{
    struct wa_engine *engine = &b->setup.engine;
    wa_status status = steps(b, WARM_UP_STEPS, err);
    uint64_t flop = engine->flop;
    uint64_t bytes = engine->activation_traffic;
    double start = wa_progress_now();
    if (status == WA_OK) {
        status = steps(b, 1, err);
    }
    *ret_seconds = wa_progress_now() - start;
    b->flop_per_step = (double)(engine->flop - flop);
    b->launches_per_step = (double)wa_session_step_launches(b->setup.session);
    b->batch_norm_bytes = (double)(engine->activation_traffic - bytes);
    if (status == WA_OK && b->line->without_batch_norm) {
        status = wa_session_keep(b->setup.session, &b->kept, err);
        if (status == WA_OK) {
            status = wa_session_prepare_omission(b->setup.session, err);
        }
        if (status == WA_OK) {
            status = time_without(b, 1, err);
        }
        b->without.count = 0;
    }
    return status;
}

static wa_status measure(struct bench *b, struct wa_error *err)
{
    double one = 0;
    wa_status status = count_step(b, &one, err);
    uint64_t wanted = (uint64_t)b->line->steps;
    uint64_t most = wanted > MIN_SAMPLES ? wanted / MIN_SAMPLES : 1;
    uint64_t stretch = one > 0 ? (uint64_t)(sample_seconds / one) + 1 : 1;
    stretch = stretch < most ? stretch : most;
    for (uint64_t done = 0; done < wanted && b->whole.count < MAX_SAMPLES && status == WA_OK;
         done += stretch) {
        status = time_steps(b, stretch, &b->whole, err);
        if (status == WA_OK && b->line->without_batch_norm) {
            status = time_without(b, stretch, err);
        }
    }
    qsort(b->whole.seconds, b->whole.count, sizeof *b->whole.seconds, compare);
    qsort(b->without.seconds, b->without.count, sizeof *b->without.seconds, compare);
    return status;
}

/* Reads and decodes items of the training set on this thread alone. */
static wa_status measure_reading(struct bench *b, struct wa_error *err)
{
    struct wa_batches *batches = &b->setup.batches;
    void *item = malloc(batches->item_bytes);
    void *target = malloc(batches->target_bytes);
    if (!item || !target) {
        free(target);
        free(item);
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    wa_loader_stop(b->loader);
    wa_plugin_host_set_error(&batches->plugin, err);
    uint64_t most = b->batches * (uint64_t)b->items;
    uint64_t count = 0;
    double start = thread_seconds();
    wa_status status = WA_OK;
    while (status == WA_OK && (count == 0 || thread_seconds() - start < reading_seconds)) {
        uint64_t i = count++ % most;
        status = wa_batches_read_item(batches, WA_SET_TRAIN, i / (uint64_t)b->items,
                                      (int)(i % (uint64_t)b->items), item, target, err);
    }
    b->read_per_second = (double)count / (thread_seconds() - start);
    free(target);
    free(item);
    return status;
}

/* ---- Results --------------------------------------------------------------------------------- */

/* Rates of one operation; a rate that means nothing is negative. */
struct rates {
    double launches, ms; /* in a step */
    double gflops, gbytes_per_second, peak_fraction;
};

static struct rates rates_of(const struct bench *b, const struct wa_trace_operation *o)
{
    struct rates r = {.launches = (double)o->launches / PROFILE_STEPS,
                      .ms = 1e3 * o->seconds / PROFILE_STEPS,
                      .gflops = -1.0,
                      .gbytes_per_second = -1.0,
                      .peak_fraction = -1.0};
    if (o->seconds > 0 && o->bytes > 0) {
        r.gbytes_per_second = (double)o->bytes / o->seconds / 1e9;
    }
    if (o->seconds > 0 && o->flop > 0) {
        r.gflops = (double)o->flop / o->seconds / 1e9;
        r.peak_fraction = r.gflops / b->peak_gflops;
    }
    return r;
}

static json_object *text_or_null(const char *text)
{
    return text ? json_object_new_string(text) : NULL;
}

static json_object *number_or_null(double value)
{
    return value >= 0 ? json_object_new_double(value) : NULL;
}

static json_object *describe_operations(const struct bench *b)
{
    json_object *operations = json_object_new_array();
    for (size_t i = 0; i < b->operation_count; i++) {
        const struct wa_work *work = &b->operations[i].work;
        struct rates r = rates_of(b, &b->operations[i]);
        json_object *o = json_object_new_object();
        (void)json_object_object_add(o, "layer", text_or_null(work->layer));
        (void)json_object_object_add(o, "operation", text_or_null(work->operation));
        (void)json_object_object_add(o, "algorithm", text_or_null(work->algorithm));
        (void)json_object_object_add(o, "launches",
                                     json_object_new_int64((int64_t)(r.launches + 0.5)));
        (void)json_object_object_add(o, "ms", json_object_new_double(r.ms));
        (void)json_object_object_add(o, "gflops", number_or_null(r.gflops));
        (void)json_object_object_add(o, "gbytes_per_second", number_or_null(r.gbytes_per_second));
        (void)json_object_object_add(o, "peak_fraction", number_or_null(r.peak_fraction));
        (void)json_object_array_add(operations, o);
    }
    return operations;
}

static json_object *describe_samples(const struct samples *samples)
{
    json_object *ms = json_object_new_object();
    (void)json_object_object_add(ms, "median", json_object_new_double(1e3 * median_of(samples)));
    (void)json_object_object_add(ms, "samples", json_object_new_int64((int64_t)samples->count));
    (void)json_object_object_add(ms, "min", json_object_new_double(1e3 * samples->seconds[0]));
    (void)json_object_object_add(
        ms, "max", json_object_new_double(1e3 * samples->seconds[samples->count - 1]));
    return ms;
}

/* What batch norm and ReLU cost in a step, and what copies of the bytes would that they read and write. */
static double batch_norm_ms(const struct bench *b)
{
    return 1e3 * (median_of(&b->whole) - median_of(&b->without));
}

static double copy_ms(const struct bench *b)
{
    return 1e-6 * b->batch_norm_bytes / b->peak_gbytes_per_second;
}

static json_object *describe_batch_norm(const struct bench *b)
{
    json_object *o = json_object_new_object();
    (void)json_object_object_add(o, "ms_per_step_without", describe_samples(&b->without));
    (void)json_object_object_add(o, "ms", json_object_new_double(batch_norm_ms(b)));
    (void)json_object_object_add(o, "bytes", json_object_new_int64((int64_t)b->batch_norm_bytes));
    (void)json_object_object_add(o, "ms_of_copies", json_object_new_double(copy_ms(b)));
    return o;
}

static void print_json(const struct bench *b, double gflops)
{
    json_object *o = json_object_new_object();
    (void)json_object_object_add(o, "device", json_object_new_string(b->setup.device->info.name));
    (void)json_object_object_add(o, "platform",
                                 json_object_new_string(b->setup.device->info.platform_name));
    (void)json_object_object_add(o, "ms_per_step", describe_samples(&b->whole));
    (void)json_object_object_add(o, "flop_per_step", json_object_new_double(b->flop_per_step));
    (void)json_object_object_add(o, "gflops", json_object_new_double(gflops));
    (void)json_object_object_add(o, "peak_gflops", json_object_new_double(b->peak_gflops));
    (void)json_object_object_add(o, "peak_fraction",
                                 json_object_new_double(gflops / b->peak_gflops));
    (void)json_object_object_add(o, "peak_gbytes_per_second",
                                 json_object_new_double(b->peak_gbytes_per_second));
    (void)json_object_object_add(o, "launches_per_step",
                                 json_object_new_int64((int64_t)b->launches_per_step));
    (void)json_object_object_add(o, "batch", json_object_new_int64(b->items));
    (void)json_object_object_add(o, "decoded_images_per_second_per_core",
                                 json_object_new_double(b->read_per_second));
    (void)json_object_object_add(o, "loader_threads", json_object_new_int64(b->threads));
    (void)json_object_object_add(o, "planned_bytes",
                                 json_object_new_int64((int64_t)b->planned_bytes));
    (void)json_object_object_add(o, "peak_device_bytes",
                                 json_object_new_int64((int64_t)b->peak_device_bytes));
    if (b->without.count > 0) {
        (void)json_object_object_add(o, "batch_norm", describe_batch_norm(b));
    }
    (void)json_object_object_add(o, "operations", describe_operations(b));
    (void)printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
    (void)json_object_put(o);
}

/* A cell of the table; empty for a rate that means nothing. */
static void print_rate(double value, int digits)
{
    if (value >= 0) {
        (void)printf(" %9.*f", digits, value);
    } else {
        (void)printf(" %9s", "");
    }
}

static void print_operations(const struct bench *b)
{
    double sum = 0;
    (void)printf("\n%-12s %-26s %-14s %8s %9s %9s %9s %9s\n", "layer", "operation", "algorithm",
                 "launches", "ms", "GFLOP/s", "GB/s", "% of peak");
    for (size_t i = 0; i < b->operation_count; i++) {
        const struct wa_work *work = &b->operations[i].work;
        struct rates r = rates_of(b, &b->operations[i]);
        (void)printf("%-12s %-26s %-14s %8.4g", work->layer ? work->layer : "",
                     work->operation ? work->operation : "", work->algorithm ? work->algorithm : "",
                     r.launches);
        print_rate(r.ms, 3);
        print_rate(r.gflops, 1);
        print_rate(r.gbytes_per_second, 1);
        print_rate(r.peak_fraction >= 0 ? 100.0 * r.peak_fraction : -1.0, 1);
        (void)printf("\n");
        sum += r.ms;
    }
    (void)printf("all together %55.3f ms\n", sum);
}

static void print_text(const struct bench *b, double gflops)
{
    double median = median_of(&b->whole);
    (void)printf("device      %s (%s)\n", b->setup.device->info.name,
                 b->setup.device->info.platform_name);
    (void)printf("a step      %.3f ms median, %.3f min, %.3f max; %.0f kernel launches\n",
                 1e3 * median, 1e3 * b->whole.seconds[0],
                 1e3 * b->whole.seconds[b->whole.count - 1], b->launches_per_step);
    (void)printf("images/s    %.0f\n", (double)b->items / median);
    (void)printf("reading     %.0f decoded images/s per core, by %u threads in training\n",
                 b->read_per_second, b->threads);
    (void)printf("arithmetic  %.3f GFLOP a step (direct algorithm), %.1f GFLOP/s, %.1f %% of the "
                 "%.1f GFLOP/s of fused multiply-adds\n",
                 b->flop_per_step / 1e9, gflops, 100.0 * gflops / b->peak_gflops, b->peak_gflops);
    (void)printf("traffic     %.1f GB/s when all units copy\n", b->peak_gbytes_per_second);
    (void)printf("memory      %.1f MB on the device\n", (double)b->peak_device_bytes / 1e6);
    if (b->without.count > 0) {
        (void)printf(
            "batch norm  %.3f ms of a step with ReLU: it takes %.3f ms without; copies of its "
            "%.1f MB take %.3f ms\n",
            batch_norm_ms(b), 1e3 * median_of(&b->without), b->batch_norm_bytes / 1e6, copy_ms(b));
    }
    if (b->operation_count > 0) {
        print_operations(b);
    }
}

/* ---- The run --------------------------------------------------------------------------------- */

/* Network, device and batches, ready for steps. */
static wa_status open_setup(struct bench *b, bool profile, struct wa_error *err)
{
    struct wa_setup_request request = b->line->setup;
    request.profile = profile;
    wa_status status = wa_setup_config(&b->setup, &request, err);
    if (status == WA_OK) {
        status = wa_setup_run(&b->setup, &request, err);
    }
    if (status != WA_OK) {
        return status;
    }
    b->step = 0;
    b->batches = wa_batches_count(&b->setup.batches, WA_SET_TRAIN);
    if (b->batches > 1 && wa_batches_rest(&b->setup.batches, WA_SET_TRAIN) > 0) {
        b->batches--; /* all steps timed are alike */
    }
    b->items = wa_batches_size(&b->setup.batches, WA_SET_TRAIN, 0);
    wa_batches_begin_epoch(&b->setup.batches);
    status = wa_loader_threads(&b->threads, err);
    return status == WA_OK ? wa_loader_create(&b->setup.batches, b->threads, &b->loader, err)
                           : status;
}

static void close_setup(struct bench *b)
{
    wa_loader_destroy(b->loader);
    b->loader = NULL;
    wa_setup_finish(&b->setup);
}

/* The same network anew on a queue that records times, for a few steps more. */
static wa_status measure_operations(struct bench *b, struct wa_error *err)
{
    struct wa_trace *trace = NULL;
    close_setup(b);
    wa_status status = open_setup(b, true, err);
    if (status == WA_OK) {
        status = steps(b, WARM_UP_STEPS, err);
    }
    if (status == WA_OK) {
        status = wa_trace_begin(&b->setup.engine, &trace, err);
    }
    if (status == WA_OK) {
        status = steps(b, PROFILE_STEPS, err);
    }
    if (status == WA_OK && b->line->profile) {
        status = wa_trace_write(trace, b->line->profile, err);
    }
    if (status == WA_OK && (b->line->operations || b->line->json)) {
        status = wa_trace_add_up(trace, &b->operations, &b->operation_count, err);
    }
    wa_trace_end(trace);
    return status;
}

static wa_status run(struct bench *b, struct wa_error *err)
{
    wa_status status = open_setup(b, false, err);
    if (status == WA_OK && b->line->without_batch_norm &&
        wa_session_model(b->setup.session)->is_sequence) {
        status =
            wa_fail(err, WA_E_USAGE,
                    "--without-batch-norm: this network is a recurrence, which has none to leave "
                    "out; bench it without the option");
    }
    if (status == WA_OK) {
        status = measure(b, err);
    }
    if (status == WA_OK) {
        status = wa_peak_measure(&b->setup.engine, &b->peak_gflops, err);
    }
    if (status == WA_OK) {
        status = wa_peak_measure_copy(&b->setup.engine, &b->peak_gbytes_per_second, err);
    }
    if (status == WA_OK) {
        status = measure_reading(b, err);
    }
    if (status == WA_OK) {
        b->planned_bytes = wa_session_planned_bytes(b->setup.session);
        b->peak_device_bytes = b->setup.engine.peak_bytes;
    }
    if (status == WA_OK && (b->line->json || b->line->operations || b->line->profile)) {
        status = measure_operations(b, err);
    }
    if (status == WA_OK) {
        (b->line->json ? print_json : print_text)(b, b->flop_per_step / median_of(&b->whole) / 1e9);
    }
    return status;
}

wa_status wa_command_bench(const struct wa_command_line *line, struct wa_error *err)
{
    struct bench *b = calloc(1, sizeof *b);
    if (!b) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    b->line = line;
    wa_status status = run(b, err);
    close_setup(b);
    free(b->operations);
    free(b->kept);
    free(b);
    return status;
}
