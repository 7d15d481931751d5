/* The alignment score from Gaussian inputs, as published. Float32 does for the convolutions: the
 * estimate itself is good to 0.01. Dividing by the number of outputs, as published, cancels. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "parallel.h"
#include "processors.h"
#include "progress.h"
#include "rng.h"
#include "score.h"

enum { BATCHES = 100, BATCH = 100, SUMS = 5 };

enum sum { SUM_UU, SUM_UV, SUM_VV, SUM_ABS_U, SUM_ABS_V };

/* One operator's weights in the two orders that its convolutions walk by. */
struct kernels {
    float *forward;  /* [tap][input][output] */
    float *backward; /* [tap][output][input] */
};

struct estimate {
    const struct wa_score_operator *layer;
    struct wa_score_axis rows, columns;
    size_t item_floats, output_floats;
    struct kernels kernels[2];
    const struct wa_score_watch *watch;
    float *items; /* [BATCH][row][column][input] */
    double sums[BATCH][SUMS];
};

/* y += a x */
static void add_scaled(float *restrict y, const float *restrict x, float a, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        y[i] += a * x[i];
    }
}

/* Walks the taps inside the image at each output place: forward, y = W x; else x = W^T y. */
static void convolve(const struct estimate *s, const float *weights, bool is_forward,
                     const float *source, float *target)
{
    size_t inputs = (size_t)s->layer->inputs;
    size_t outputs = (size_t)s->layer->outputs;
    size_t sources = is_forward ? inputs : outputs;
    size_t targets = is_forward ? outputs : inputs;
    int kernel = s->layer->kernel;
    int places = s->rows.outputs * s->columns.outputs;
    memset(target, 0, (is_forward ? s->output_floats : s->item_floats) * sizeof *target);
    for (int walk = 0; walk < places * kernel * kernel; walk++) {
        int place = walk / (kernel * kernel);
        int tap = walk % (kernel * kernel);
        int row = place / s->columns.outputs * s->rows.stride + tap / kernel - s->rows.before;
        int column =
            place % s->columns.outputs * s->columns.stride + tap % kernel - s->columns.before;
        if (row < 0 || row >= s->rows.inputs || column < 0 || column >= s->columns.inputs) {
            continue;
        }
        size_t x = ((size_t)row * (size_t)s->columns.inputs + (size_t)column) * inputs;
        size_t y = (size_t)place * outputs;
        const float *w = weights + (size_t)tap * inputs * outputs;
        for (size_t i = 0; i < sources; i++) {
            add_scaled(target + (is_forward ? y : x), w + i * targets,
                       source[(is_forward ? x : y) + i], targets);
        }
    }
}

/* u, v and their sums for one item of the batch. */
static bool run_item(void *context, size_t item)
{
    struct estimate *s = context;
    if (wa_score_is_stopped(s->watch)) {
        return true;
    }
    float *u = malloc((2 * s->item_floats + s->output_floats) * sizeof *u);
    if (!u) {
        return false;
    }
    float *v = u + s->item_floats;
    float *y = v + s->item_floats;
    const float *n = s->items + item * s->item_floats;
    for (int k = 0; k < 2; k++) {
        convolve(s, s->kernels[k].forward, true, n, y);
        convolve(s, s->kernels[k].backward, false, y, k ? v : u);
    }
    double *sums = s->sums[item];
    memset(sums, 0, sizeof s->sums[item]);
    for (size_t i = 0; i < s->item_floats; i++) {
        double a = (double)u[i];
        double b = (double)v[i];
        sums[SUM_UU] += a * a;
        sums[SUM_UV] += a * b;
        sums[SUM_VV] += b * b;
        sums[SUM_ABS_U] += fabs(a);
        sums[SUM_ABS_V] += fabs(b);
    }
    free(u);
    return true;
}

static bool arrange(const struct wa_score_operator *layer, const double *weights,
                    struct kernels *ret_kernels)
{
    size_t size = wa_score_operator_size(layer);
    size_t inputs = (size_t)layer->inputs;
    size_t outputs = (size_t)layer->outputs;
    size_t taps = (size_t)layer->kernel * (size_t)layer->kernel;
    ret_kernels->forward = malloc(size * sizeof(float));
    ret_kernels->backward = malloc(size * sizeof(float));
    if (!ret_kernels->forward || !ret_kernels->backward) {
        return false;
    }
    /* One factor for all weights cancels; without it tiny changes would underflow when squared. */
    double largest = 0;
    for (size_t i = 0; i < size; i++) {
        largest = fmax(largest, fabs(weights[i]));
    }
    double factor = largest > 0 ? 1.0 / largest : 0.0;
    for (size_t o = 0; o < outputs; o++) {
        for (size_t t = 0; t < taps; t++) {
            for (size_t i = 0; i < inputs; i++) {
                float w = (float)(factor * weights[(o * taps + t) * inputs + i]);
                ret_kernels->forward[(t * inputs + i) * outputs + o] = w;
                ret_kernels->backward[(t * outputs + o) * inputs + i] = w;
            }
        }
    }
    return true;
}

/* Adds a batch's <u,u>, <u,v>, <v,v>, u and v divided by their mean absolute value; a batch without a
 * number is left out. */
static void add_batch(const struct estimate *s, double totals[3])
{
    double sums[SUMS] = {0};
    for (size_t item = 0; item < BATCH; item++) {
        for (size_t k = 0; k < SUMS; k++) {
            sums[k] += s->sums[item][k];
        }
    }
    double uu = sums[SUM_UU] / (sums[SUM_ABS_U] * sums[SUM_ABS_U]);
    double uv = sums[SUM_UV] / (sums[SUM_ABS_U] * sums[SUM_ABS_V]);
    double vv = sums[SUM_VV] / (sums[SUM_ABS_V] * sums[SUM_ABS_V]);
    if (isfinite(uu) && isfinite(uv) && isfinite(vv)) {
        totals[0] += uu;
        totals[1] += uv;
        totals[2] += vv;
    }
}

/* Two operators, forward and back, for each item. */
double wa_score_noise_operations(const struct wa_score_operator *layer)
{
    double places = (double)wa_score_axis_make(layer, layer->rows).outputs *
                    wa_score_axis_make(layer, layer->columns).outputs;
    return 2.0 * 4 * BATCHES * BATCH * (double)wa_score_operator_size(layer) * places;
}

static wa_status create(const struct wa_score_operator *layer, const double *d, const double *e,
                        struct estimate **ret_estimate, struct wa_error *err)
{
    struct estimate *s = calloc(1, sizeof *s);
    if (!s) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    *ret_estimate = s;
    s->layer = layer;
    s->rows = wa_score_axis_make(layer, layer->rows);
    s->columns = wa_score_axis_make(layer, layer->columns);
    s->item_floats = (size_t)layer->rows * (size_t)layer->columns * (size_t)layer->inputs;
    s->output_floats =
        (size_t)s->rows.outputs * (size_t)s->columns.outputs * (size_t)layer->outputs;
    s->items = calloc(BATCH * s->item_floats, sizeof *s->items);
    return s->items && arrange(layer, d, &s->kernels[0]) && arrange(layer, e, &s->kernels[1])
               ? WA_OK
               : wa_fail(err, WA_E_MEMORY, "out of memory");
}

static void destroy(struct estimate *s)
{
    if (s) {
        for (int k = 0; k < 2; k++) {
            free(s->kernels[k].forward);
            free(s->kernels[k].backward);
        }
        free(s->items);
        free(s);
    }
}

wa_status wa_score_noise(const struct wa_score_operator *layer, const double *d, const double *e,
                         uint32_t seed, const struct wa_score_watch *watch, double *ret_score,
                         struct wa_error *err)
{
    struct estimate *s = NULL;
    struct wa_rng *rng = malloc(sizeof *rng);
    wa_status status =
        rng ? create(layer, d, e, &s, err) : wa_fail(err, WA_E_MEMORY, "out of memory");
    if (status == WA_OK) {
        s->watch = watch;
        wa_rng_seed(rng, seed);
    }
    double totals[3] = {0};
    for (int batch = 0; batch < BATCHES && status == WA_OK; batch++) {
        for (size_t i = 0; i < BATCH * s->item_floats; i++) {
            s->items[i] = (float)wa_rng_normal(rng);
        }
        status = wa_parallel_run(run_item, s, BATCH, err);
        if (status == WA_OK) {
            status = wa_score_step(watch, (batch + 1.0) / BATCHES);
        }
        add_batch(s, totals);
    }
    if (status == WA_OK) {
        double norms = sqrt(totals[0]) * sqrt(totals[2]);
        *ret_score = norms > 0 ? totals[1] / norms : (double)NAN;
    }
    destroy(s);
    free(rng);
    return status;
}

wa_status wa_score_noise_time(const struct wa_score_operator *layer, double *ret_seconds,
                              struct wa_error *err)
{
    struct estimate *s = NULL;
    double *weights = calloc(wa_score_operator_size(layer), sizeof *weights);
    wa_status status = weights ? create(layer, weights, weights, &s, err)
                               : wa_fail(err, WA_E_MEMORY, "out of memory");
    size_t items = wa_processors_threads(BATCH);
    double start = wa_progress_now();
    if (status == WA_OK) {
        status = wa_parallel_run(run_item, s, items, err);
    }
    if (status == WA_OK) {
        *ret_seconds = (wa_progress_now() - start) * BATCHES * BATCH / (double)items;
    }
    destroy(s);
    free(weights);
    return status;
}
