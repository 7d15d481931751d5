/* The memory behind a rule's handles: weights sets, tapes, errors and feedback are allocated after the
 * planning pass, and released with the session. rule_host.c has the services that use them. */
#include <stdlib.h>
#include <string.h>

#include "sequence.h"
#include "session_private.h"

static wa_status make(struct wa_session *session, size_t floats, const char *what, cl_mem *ret)
{
    return wa_engine_buffer(session->engine, floats * sizeof(float), what, ret, session->err);
}

static wa_status allocate_weights(struct wa_session *session, struct wa_weights *weights)
{
    wa_status status = WA_OK;
    if (weights->is_borrowed) {
        weights->memory = session->spec.leader->live->memory;
    } else {
        status = wa_engine_buffer_from(session->engine, weights->host,
                                       session->model.parameter_count * sizeof *weights->host,
                                       "weights", &weights->memory, session->err);
    }
    free(weights->host);
    weights->host = NULL;
    return status;
}

static wa_status allocate_arranged(struct wa_session *session, struct wa_weights *weights)
{
    wa_status status = WA_OK;
    for (int direction = 0; direction < 2 && status == WA_OK; direction++) {
        size_t floats = wa_operations_arranged_floats(session->operations, direction == 1);
        if (weights->is_needed[direction] && floats) {
            status = make(session, floats, "arranged weights", &weights->arranged[direction]);
        }
    }
    return status;
}

const struct wa_layout *wa_rule_host_activity_layout(const struct wa_session *session,
                                                     uint32_t layer)
{
    const struct wa_model_layer *above = &session->model.layers[layer + 1];
    return above->shape.input == WA_INPUT_POOLED ? &session->model.layers[layer].output
                                                 : &above->input;
}

/* Whether h of a layer is made again for its gradient, and so not kept. Not where the error goes further down
 * from it, and not with a rule that has the device's buffers at hand: it may change weights in between. */
static bool layer_is_remade(const struct wa_session *session, uint32_t l)
{
    return l == 0 && session->needs_dz[l] && !session->has_opencl_rule &&
           wa_operations_remakes(session->operations, l);
}

static wa_status allocate_tape(struct wa_session *session, struct wa_tape *tape)
{
    uint32_t top = session->model.layer_count - 1;
    wa_status status = WA_OK;
    bool keeps_h = tape->keeps_h && !session->only_evaluates;
    for (uint32_t l = 0; l <= top && status == WA_OK; l++) {
        const struct wa_model_layer *layer = &session->model.layers[l];
        struct tape_layer *t = &tape->layers[l];
        if ((keeps_h && !layer_is_remade(session, l)) || l == top) {
            status = make(session, layer->output.floats, "layer outputs", &t->h);
        }
        if (l == top || status != WA_OK) {
            continue;
        }
        status = make(session, wa_rule_host_activity_layout(session, l)->floats, "layer activities",
                      &t->a);
        if (status == WA_OK) {
            size_t positions = (size_t)layer->output.channels * (size_t)layer->output.rows *
                               (size_t)layer->output.columns;
            bool has_means = wa_operations_remakes(session->operations, l);
            status = make(session, has_means ? 2 * positions : positions, "batch norm statistics",
                          &t->inverse);
        }
        if (status == WA_OK && session->model.layers[l + 1].shape.input == WA_INPUT_POOLED) {
            status = make(session, (size_t)layer->output.channels * (size_t)layer->output.lanes,
                          "pooled activities", &t->pooled);
        }
    }
    return status;
}

static size_t most_floats(const struct wa_session *session, bool per_channel)
{
    size_t most = 0;
    for (uint32_t l = 0; l < session->model.layer_count; l++) {
        const struct wa_layout *out = &session->model.layers[l].output;
        size_t floats = per_channel ? (size_t)out->channels * (size_t)out->lanes : out->floats;
        most = floats > most ? floats : most;
    }
    return most;
}

static wa_status allocate_delta(struct wa_session *session, struct wa_delta *delta)
{
    const struct wa_model *model = &session->model;
    wa_status status = make(session, (size_t)model->classes * (size_t)model->lanes, "output errors",
                            &delta->error);
    if (status == WA_OK) {
        status = make(session, most_floats(session, true), "pooled errors", &delta->pooled);
    }
    if (status == WA_OK && delta->needs_whole) {
        status = make(session, most_floats(session, false), "errors", &delta->whole);
    }
    return status;
}

static wa_status allocate_feedback(struct wa_session *session, struct wa_feedback *feedback)
{
    wa_status status = WA_OK;
    for (uint32_t l = 0; l + 1 < session->model.layer_count && status == WA_OK; l++) {
        const struct wa_layout *out = &session->model.layers[l].output;
        size_t places = feedback->is_pooled ? 1 : (size_t)out->rows * (size_t)out->columns;
        size_t count = places * (size_t)out->channels * (size_t)session->model.classes;
        if (!feedback->host[l] && !session->engine->plan) {
            return wa_fail(session->err, WA_E_PLUGIN,
                           "rule '%s' misuses direct_feedback: a layer's feedback was never drawn",
                           session->spec.rule->plugin.id);
        }
        status = wa_engine_buffer_from(session->engine, feedback->host[l],
                                       count * sizeof **feedback->host, "direct feedback",
                                       &feedback->memory[l], session->err);
        free(feedback->host[l]);
        feedback->host[l] = NULL;
    }
    return status;
}

static bool is_same_layout(const struct wa_layout *a, const struct wa_layout *b)
{
    return a->channels == b->channels && a->rows == b->rows && a->columns == b->columns &&
           a->before == b->before && a->after == b->after;
}

/* The layer whose dz buffer layer l uses: layers of one layout share one, its border stays zero; dense layers every
 * other one, as dz of one is made while that of the layer above is read. */
static uint32_t dz_owner(const struct wa_session *session, uint32_t l)
{
    for (uint32_t k = 0; k < l; k++) {
        bool may_share = !session->model.layers[l].is_dense || (l - k) % 2 == 0;
        if (may_share && session->needs_dz[k] &&
            is_same_layout(&session->model.layers[l].gradient,
                           &session->model.layers[k].gradient)) {
            return k;
        }
    }
    return l;
}

static wa_status allocate_dz(struct wa_session *session)
{
    wa_status status = WA_OK;
    for (uint32_t l = 0; l + 1 < session->model.layer_count && status == WA_OK; l++) {
        uint32_t owner = dz_owner(session, l);
        if (!session->needs_dz[l]) {
            continue;
        }
        if (owner == l) {
            status = make(session, session->model.layers[l].gradient.floats,
                          "gradients of layer outputs", &session->dz[l]);
        } else {
            session->dz[l] = session->dz[owner];
        }
    }
    return status;
}

wa_status wa_rule_host_allocate(struct wa_session *session)
{
    wa_status status = WA_OK;
    for (struct wa_weights *w = session->weights; w && status == WA_OK; w = w->next) {
        status = allocate_weights(session, w);
    }
    if (session->model.is_sequence) {
        return status == WA_OK ? wa_sequence_allocate(session) : status;
    }
    for (struct wa_feedback *f = session->feedbacks; f && status == WA_OK; f = f->next) {
        status = allocate_feedback(session, f);
    }
    return status == WA_OK ? wa_rule_host_allocate_batch(session) : status;
}

/* Where batches of this size are only evaluated, the live pass is all there is. */
wa_status wa_rule_host_allocate_batch(struct wa_session *session)
{
    bool evaluates = session->only_evaluates;
    wa_status status = WA_OK;
    bool needs_scratch = evaluates;
    for (struct wa_weights *w = session->weights; w && status == WA_OK; w = w->next) {
        if (!evaluates || w == session->live) {
            status = allocate_arranged(session, w);
        }
    }
    for (struct wa_tape *t = session->tapes; t && status == WA_OK; t = t->next) {
        needs_scratch = needs_scratch || !t->keeps_h;
        if (!evaluates || t == session->live_tape) {
            status = allocate_tape(session, t);
        }
    }
    for (struct wa_delta *d = session->deltas; d && status == WA_OK; d = d->next) {
        if (!evaluates || d == session->error_delta) {
            status = allocate_delta(session, d);
        }
    }
    if (status == WA_OK && !evaluates) {
        status = allocate_dz(session);
    }
    return status == WA_OK && needs_scratch ? wa_rule_host_make_scratch(session) : status;
}

wa_status wa_rule_host_make_scratch(struct wa_session *session)
{
    return session->scratch
               ? WA_OK
               : make(session, most_floats(session, false), "layer outputs", &session->scratch);
}

static void release_weights(struct wa_engine *engine, struct wa_weights *weights)
{
    while (weights) {
        struct wa_weights *next = weights->next;
        if (!weights->is_borrowed) {
            wa_engine_release(engine, weights->memory);
        }
        free(weights->host);
        free(weights);
        weights = next;
    }
}

static void release_tape(struct wa_engine *engine, struct wa_tape *tape, uint32_t layers)
{
    for (uint32_t l = 0; tape->layers && l < layers; l++) {
        wa_engine_release(engine, tape->layers[l].h);
        wa_engine_release(engine, tape->layers[l].a);
        wa_engine_release(engine, tape->layers[l].inverse);
        wa_engine_release(engine, tape->layers[l].pooled);
        tape->layers[l] = (struct tape_layer){0};
    }
}

static void release_feedbacks(struct wa_engine *engine, struct wa_feedback *feedback,
                              uint32_t layers)
{
    while (feedback) {
        struct wa_feedback *next = feedback->next;
        for (uint32_t l = 0; l < layers; l++) {
            if (feedback->memory) {
                wa_engine_release(engine, feedback->memory[l]);
            }
            if (feedback->host) {
                free(feedback->host[l]);
            }
        }
        free(feedback->memory);
        free(feedback->host);
        free(feedback);
        feedback = next;
    }
}

void wa_rule_host_release_batch(struct wa_session *session)
{
    struct wa_engine *engine = session->engine;
    uint32_t layers = session->model.layer_count;
    for (struct wa_weights *w = session->weights; w; w = w->next) {
        for (int direction = 0; direction < 2; direction++) {
            wa_engine_release(engine, w->arranged[direction]);
            w->arranged[direction] = NULL;
        }
    }
    for (struct wa_tape *t = session->tapes; t; t = t->next) {
        release_tape(engine, t, layers);
    }
    for (struct wa_delta *d = session->deltas; d; d = d->next) {
        wa_engine_release(engine, d->error);
        wa_engine_release(engine, d->pooled);
        wa_engine_release(engine, d->whole);
        d->error = d->pooled = d->whole = NULL;
    }
    for (uint32_t l = 0; session->dz && l + 1 < layers; l++) {
        if (dz_owner(session, l) == l) {
            wa_engine_release(engine, session->dz[l]);
        }
    }
    wa_engine_release(engine, session->scratch);
    session->scratch = NULL;
}

void wa_rule_host_finish(struct wa_session *session)
{
    struct wa_engine *engine = session->engine;
    wa_rule_host_release_batch(session);
    wa_sequence_finish(session);
    release_weights(engine, session->weights);
    release_feedbacks(engine, session->feedbacks, session->model.layer_count);
    while (session->tapes) {
        struct wa_tape *next = session->tapes->next;
        free(session->tapes->layers);
        free(session->tapes);
        session->tapes = next;
    }
    while (session->deltas) {
        struct wa_delta *next = session->deltas->next;
        free(session->deltas);
        session->deltas = next;
    }
}
