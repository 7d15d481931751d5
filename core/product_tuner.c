/* Measuring matrix products. One candidate after the other, as CLBlast cannot go back to parameters that
 * it had; each beside the own kernel, in turn, on the same random values. */
#include "product_tuner.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "progress.h"
#include "tuner.h"

enum { MIN_ROUNDS = 3, MAX_ROUNDS = 9 };
static const double round_seconds = 0.1; /* of a candidate's rounds, after which no more begin */
static const double gain =
    0.95; /* what wins over what serves without tuning takes at most so much */

const struct wa_clblast_set *wa_product_tuner_set(size_t candidate)
{
    return candidate >= WA_PRODUCT_SETS ? &wa_clblast_sets[candidate - WA_PRODUCT_SETS] : NULL;
}

void wa_product_tuner_finish(struct wa_product_tuner *tuner)
{
    free(tuner->products);
    *tuner = (struct wa_product_tuner){0};
}

/* ---- Products -------------------------------------------------------------------------------- */

static bool is_noted(const struct wa_product_tuner *tuner, const struct wa_matrix_shape *shape,
                     enum wa_path path, int lanes)
{
    for (size_t i = 0; i < tuner->count; i++) {
        const struct wa_measured_product *p = &tuner->products[i];
        if (p->path == path && p->lanes == lanes && memcmp(&p->shape, shape, sizeof *shape) == 0) {
            return true;
        }
    }
    return false;
}

wa_status wa_product_tuner_add(struct wa_product_tuner *tuner, const struct wa_session *session,
                               const struct wa_engine *engine, struct wa_error *err)
{
    struct wa_session_product *list = NULL;
    size_t count = 0;
    /* as runs look it up, by the batch: a sequence may have more lanes */
    int lanes = wa_model_lanes(wa_session_model(session)->batch);
    wa_status status = wa_session_products(session, &list, &count, err);
    if (status != WA_OK) {
        return status;
    }
    struct wa_measured_product *more =
        realloc(tuner->products, (tuner->count + count + 1) * sizeof *more);
    if (!more) {
        free(list);
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    tuner->products = more;
    for (size_t i = 0; i < count; i++) {
        const struct wa_matrix_shape *s = &list[i].shape;
        if ((double)s->m * s->n * s->k <= WA_PRODUCT_TUNER_VOLUME ||
            is_noted(tuner, s, engine->path, lanes)) {
            continue;
        }
        struct wa_measured_product *p = &tuner->products[tuner->count++];
        *p = (struct wa_measured_product){.operation = list[i].operation,
                                          .shape = *s,
                                          .lanes = lanes,
                                          .path = engine->path,
                                          .expected = list[i].library};
        (void)snprintf(p->layer, sizeof p->layer, "%s", list[i].layer->name);
    }
    free(list);
    return WA_OK;
}

/* ---- Measuring ------------------------------------------------------------------------------- */

/* A product at work: operands on the device, and room for what the own kernel and another one give. */
struct work {
    struct wa_engine engine;
    struct wa_matrix own, clblast;
    cl_mem a, b, c;
    size_t count; /* of c */
    float *reference, *values;
};

static wa_status make_operand(struct wa_engine *engine, int rows, int columns, uint32_t seed,
                              cl_mem *ret, struct wa_error *err)
{
    size_t count = (size_t)rows * (size_t)columns;
    float *values = malloc(count * sizeof *values);
    if (!values) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (float)(int32_t)(seed & 0xffffff00u) * 0x1p-31f;
    }
    wa_status status = wa_engine_buffer_from(engine, values, count * sizeof *values,
                                             "a matrix to tune with", ret, err);
    free(values);
    return status;
}

static void finish_work(struct work *w)
{
    wa_matrix_finish(&w->own);
    wa_matrix_finish(&w->clblast);
    wa_engine_release(&w->engine, w->a);
    wa_engine_release(&w->engine, w->b);
    wa_engine_release(&w->engine, w->c);
    free(w->reference);
    free(w->values);
}

static wa_status make_work(struct work *w, const struct wa_measured_product *p,
                           struct wa_device *device, struct wa_programs *programs,
                           struct wa_error *err)
{
    const struct wa_matrix_shape *s = &p->shape;
    wa_engine_init(&w->engine, device, programs, p->path == WA_PATH_GPU ? "gpu" : "cpu");
    w->count = (size_t)s->m * (size_t)s->n;
    w->reference = malloc(w->count * sizeof *w->reference);
    w->values = malloc(w->count * sizeof *w->values);
    wa_status status =
        w->reference && w->values ? WA_OK : wa_fail(err, WA_E_MEMORY, "out of memory");
    if (status == WA_OK) {
        status = wa_matrix_init(&w->own, &w->engine, WA_MATRIX_OWN, err);
    }
    if (status == WA_OK) {
        status = wa_matrix_init(&w->clblast, &w->engine, WA_MATRIX_CLBLAST, err);
    }
    if (status == WA_OK) {
        status = make_operand(&w->engine, s->m, s->k, 1, &w->a, err);
    }
    if (status == WA_OK) {
        status = make_operand(&w->engine, s->k, s->n, 2, &w->b, err);
    }
    return status == WA_OK ? wa_engine_buffer(&w->engine, w->count * sizeof(float),
                                              "a matrix to tune with", &w->c, err)
                           : status;
}

static wa_status multiply(struct work *w, struct wa_matrix *matrix, const struct wa_matrix_shape *s,
                          struct wa_error *err)
{
    const struct wa_matrix_operand a = {w->a, 0, s->a_transposed ? s->m : s->k,
                                        s->a_transposed == 1};
    const struct wa_matrix_operand b = {w->b, 0, s->b_transposed ? s->k : s->n,
                                        s->b_transposed == 1};
    const struct wa_matrix_operand c = {w->c, 0, s->n, false};
    return wa_matrix_product(matrix, s->m, s->n, s->k, 1.0f, a, b, c, err);
}

/* What is not written stays NaN, and shows. */
static wa_status compute(struct work *w, struct wa_matrix *matrix, const struct wa_matrix_shape *s,
                         float *ret_values, struct wa_error *err)
{
    size_t bytes = w->count * sizeof(float);
    for (size_t i = 0; i < w->count; i++) {
        ret_values[i] = NAN;
    }
    wa_status status = wa_engine_write(&w->engine, w->c, 0, ret_values, bytes, err);
    if (status == WA_OK) {
        status = multiply(w, matrix, s, err);
    }
    return status == WA_OK ? wa_engine_read(&w->engine, w->c, 0, ret_values, bytes, err) : status;
}

static wa_status time_once(struct work *w, struct wa_matrix *matrix,
                           const struct wa_matrix_shape *s, struct wa_product_candidate *c,
                           struct wa_error *err)
{
    double start = wa_progress_now();
    wa_status status = multiply(w, matrix, s, err);
    if (status == WA_OK) {
        status = wa_engine_finish(&w->engine, err);
    }
    double ms = 1e3 * (wa_progress_now() - start);
    c->ms = c->ms > 0 ? fmin(ms, c->ms) : ms;
    return status;
}

/* Checks a candidate of CLBlast's; what fails there is its own fault. */
static wa_status measure_clblast(struct work *w, const struct wa_matrix_shape *s,
                                 struct wa_product_candidate *c, struct wa_error *err)
{
    wa_status status = compute(w, &w->clblast, s, w->values, err);
    if (status != WA_OK) {
        return status;
    }
    c->error = wa_tuner_difference(w->values, w->reference, w->count);
    c->is_right = c->error <= WA_TUNER_TOLERANCE;
    return WA_OK;
}

/* One candidate for one product, beside the own kernel. */
static wa_status measure(struct work *w, struct wa_measured_product *p, size_t candidate,
                         struct wa_error *err)
{
    struct wa_product_candidate *own = &p->candidates[WA_PRODUCT_OWN];
    struct wa_product_candidate *c = &p->candidates[candidate];
    struct wa_error fault = {0};
    wa_status status = compute(w, &w->own, &p->shape, w->reference, err);
    if (status != WA_OK) {
        return status;
    }
    own->is_measured = own->is_right = c->is_measured = true;
    wa_status usable = measure_clblast(w, &p->shape, c, &fault);
    double begin = wa_progress_now();
    for (int round = 0; round < MAX_ROUNDS && status == WA_OK && usable == WA_OK; round++) {
        if (round >= MIN_ROUNDS && wa_progress_now() - begin > round_seconds) {
            break;
        }
        status = time_once(w, &w->own, &p->shape, own, err);
        if (status == WA_OK) {
            usable = time_once(w, &w->clblast, &p->shape, c, &fault);
        }
    }
    if (usable != WA_OK) {
        c->is_right = false;
        (void)snprintf(c->fault, sizeof c->fault, "%.255s", fault.message);
    }
    return status;
}

static bool is_for(size_t candidate, const struct wa_measured_product *p)
{
    const struct wa_clblast_set *set = wa_product_tuner_set(candidate);
    return !set || set->path == p->path;
}

static wa_status measure_all(struct wa_product_tuner *tuner, size_t candidate,
                             struct wa_device *device, struct wa_programs *programs,
                             struct wa_error *err)
{
    const struct wa_clblast_set *set = wa_product_tuner_set(candidate);
    struct wa_error refusal = {0};
    bool is_in_use = !set;
    wa_status status = WA_OK;
    for (size_t i = 0; i < tuner->count && status == WA_OK; i++) {
        struct wa_measured_product *p = &tuner->products[i];
        if (!is_for(candidate, p)) {
            continue;
        }
        if (!is_in_use && wa_clblast_use(device, set, &refusal) != WA_OK) {
            struct wa_product_candidate *c = &p->candidates[candidate];
            c->is_measured = true;
            (void)snprintf(c->fault, sizeof c->fault, "%.255s", refusal.message);
            continue;
        }
        is_in_use = true;
        struct work w = {0};
        status = make_work(&w, p, device, programs, err);
        if (status == WA_OK) {
            status = measure(&w, p, candidate, err);
        }
        finish_work(&w);
    }
    return status;
}

/* ---- Choosing -------------------------------------------------------------------------------- */

static double least_ms(const struct wa_measured_product *p, size_t candidate)
{
    double own = p->candidates[WA_PRODUCT_OWN].ms;
    const struct wa_product_candidate *c = &p->candidates[candidate];
    return c->is_right ? fmin(own, c->ms) : own;
}

static double all_ms(const struct wa_product_tuner *tuner, size_t candidate)
{
    double ms = 0;
    for (size_t i = 0; i < tuner->count; i++) {
        ms += least_ms(&tuner->products[i], candidate);
    }
    return ms;
}

void wa_product_tuner_choose(struct wa_product_tuner *tuner)
{
    tuner->set = WA_PRODUCT_SHIPPED;
    double limit = all_ms(tuner, WA_PRODUCT_SHIPPED) * gain;
    for (size_t s = WA_PRODUCT_SETS; s < WA_PRODUCT_CANDIDATES; s++) {
        double ms = all_ms(tuner, s);
        if (ms < limit) {
            tuner->set = s;
            limit = ms;
        }
    }
    for (size_t i = 0; i < tuner->count; i++) {
        struct wa_measured_product *p = &tuner->products[i];
        const struct wa_product_candidate *own = &p->candidates[WA_PRODUCT_OWN];
        const struct wa_product_candidate *other = &p->candidates[tuner->set];
        bool is_clblast = p->expected == WA_MATRIX_CLBLAST ? own->ms >= gain * other->ms
                                                           : other->ms < gain * own->ms;
        p->chosen = is_clblast && other->is_right ? tuner->set : WA_PRODUCT_OWN;
    }
}

wa_status wa_product_tuner_run(struct wa_product_tuner *tuner, struct wa_device *device,
                               struct wa_programs *programs, bool with_sets, struct wa_error *err)
{
    size_t count = with_sets ? WA_PRODUCT_CANDIDATES : WA_PRODUCT_SETS;
    wa_status status = WA_OK;
    for (size_t c = WA_PRODUCT_SHIPPED; c < count && status == WA_OK; c++) {
        status = measure_all(tuner, c, device, programs, err);
    }
    wa_product_tuner_choose(tuner);
    return status;
}
