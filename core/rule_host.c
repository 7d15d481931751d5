/* The services of wa_rule_host: weights, tapes and errors as a rule handles them. In the planning
 * pass, before anything is allocated, they only note what a step needs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sequence.h"
#include "session_private.h"

/* The table that rules get is a member of the session. */
static struct wa_session *session_of(const wa_rule_host *host)
{
    const char *table = (const char *)host;
    return (struct wa_session *)(uintptr_t)(table - offsetof(struct wa_session, rule_table));
}

static wa_status misuse(struct wa_session *session, const char *call, const char *why)
{
    return wa_fail(session->err, WA_E_PLUGIN, "rule '%s' misuses %s: %s",
                   session->spec.rule->plugin.id, call, why);
}

static wa_status no_memory(struct wa_session *session)
{
    return wa_fail(session->err, WA_E_MEMORY, "out of memory");
}

/* ---- [create] ------------------------------------------------------------------------------- */

static wa_status new_weights(struct wa_session *session, bool is_frozen, struct wa_weights **ret)
{
    struct wa_weights *weights = calloc(1, sizeof *weights);
    if (!weights) {
        return no_memory(session);
    }
    weights->session = session;
    weights->is_frozen = is_frozen;
    weights->next = session->weights;
    session->weights = weights;
    if (!session->engine->plan) {
        weights->host = calloc(session->model.parameter_count, sizeof *weights->host);
        if (!weights->host) {
            return no_memory(session);
        }
    }
    *ret = weights;
    return WA_OK;
}

static wa_status check_creating(struct wa_session *session, const char *call)
{
    return session->is_creating ? WA_OK : misuse(session, call, "it may be called in create only");
}

static wa_status frozen_weights(const wa_rule_host *host, wa_weights **ret_weights)
{
    struct wa_session *session = session_of(host);
    wa_status status = check_creating(session, "frozen_weights");
    return status == WA_OK ? new_weights(session, true, ret_weights) : status;
}

static wa_status feedback_weights(const wa_rule_host *host, wa_weights **ret_weights)
{
    struct wa_session *session = session_of(host);
    wa_status status = check_creating(session, "feedback_weights");
    return status == WA_OK ? new_weights(session, false, ret_weights) : status;
}

static wa_status direct_feedback(const wa_rule_host *host, bool pooled, wa_feedback **ret_feedback)
{
    struct wa_session *session = session_of(host);
    wa_status status = check_creating(session, "direct_feedback");
    if (status == WA_OK && !(session->model.net.services & WA_SERVICE_DIRECT_FEEDBACK)) {
        status = misuse(session, "direct_feedback", "the network does not offer it");
    }
    if (status != WA_OK) {
        return status;
    }
    struct wa_feedback *feedback = calloc(1, sizeof *feedback);
    if (!feedback) {
        return no_memory(session);
    }
    feedback->session = session;
    feedback->is_pooled = pooled;
    feedback->next = session->feedbacks;
    session->feedbacks = feedback;
    feedback->host = calloc(session->model.layer_count, sizeof *feedback->host);
    feedback->memory = calloc(session->model.layer_count, sizeof *feedback->memory);
    if (!feedback->host || !feedback->memory) {
        return no_memory(session);
    }
    *ret_feedback = feedback;
    return WA_OK;
}

static wa_status new_tape(const wa_rule_host *host, wa_tape **ret_tape)
{
    struct wa_session *session = session_of(host);
    wa_status status = check_creating(session, "tape");
    if (status != WA_OK) {
        return status;
    }
    struct wa_tape *tape = calloc(1, sizeof *tape);
    if (!tape) {
        return no_memory(session);
    }
    tape->session = session;
    tape->next = session->tapes;
    session->tapes = tape;
    tape->layers = calloc(session->model.layer_count, sizeof *tape->layers);
    if (!tape->layers) {
        return no_memory(session);
    }
    *ret_tape = tape;
    return WA_OK;
}

static wa_status new_delta(const wa_rule_host *host, wa_delta **ret_delta)
{
    struct wa_session *session = session_of(host);
    wa_status status = check_creating(session, "delta");
    if (status != WA_OK) {
        return status;
    }
    struct wa_delta *delta = calloc(1, sizeof *delta);
    if (!delta) {
        return no_memory(session);
    }
    delta->session = session;
    delta->next = session->deltas;
    session->deltas = delta;
    *ret_delta = delta;
    return WA_OK;
}

static wa_status set_trained(const wa_rule_host *host, uint32_t layer, bool is_trained)
{
    struct wa_session *session = session_of(host);
    wa_status status = check_creating(session, "set_trained");
    if (status == WA_OK && layer >= session->model.layer_count) {
        status = misuse(session, "set_trained", "there is no such layer");
    }
    if (status == WA_OK) {
        session->is_trained[layer] = is_trained;
    }
    return status;
}

static wa_status set_state_trained(const wa_rule_host *host, uint32_t layer, bool is_trained)
{
    struct wa_session *session = session_of(host);
    wa_status status = check_creating(session, "set_state_trained");
    if (status == WA_OK &&
        (layer >= session->model.layer_count || session->model.layers[layer].state_count == 0)) {
        status =
            misuse(session, "set_state_trained", "there is no such layer with a trained state");
    }
    if (status == WA_OK) {
        session->is_state_trained[layer] = is_trained;
    }
    return status;
}

/* ---- [draw] --------------------------------------------------------------------------------- */

/* Order out, kh, kw, in; drawn and divided in double, then rounded. */
static void draw_layer_weights(struct wa_session *session, struct wa_weights *weights,
                               uint32_t layer)
{
    const struct wa_model_layer *l = &session->model.layers[layer];
    float *values = weights->host + l->weight_offset;
    for (size_t i = 0; i < l->weight_count; i++) {
        double divisor = i < l->input_count ? l->input_draw_divisor : l->draw_divisor;
        values[i] = (float)(wa_rng_normal(&session->rng) / divisor);
    }
}

static wa_status draw_normal(const wa_rule_host *host, wa_weights *weights, uint32_t layer)
{
    struct wa_session *session = session_of(host);
    if (!weights || !weights->host || weights == session->live || weights->is_frozen ||
        layer >= session->model.layer_count) {
        return misuse(session, "draw_normal", "expected feedback weights, while layers are drawn");
    }
    draw_layer_weights(session, weights, layer);
    return WA_OK;
}

/* Drawn in the order class, h, w, channel with standard deviation 1/sqrt(h w channel); kept as
 * [channel][h][w][class], the order of a product with the error. Pooled: class, channel. */
static wa_status draw_feedback(const wa_rule_host *host, wa_feedback *feedback, uint32_t layer)
{
    struct wa_session *session = session_of(host);
    if (!feedback || layer + 1 >= session->model.layer_count || feedback->host[layer]) {
        return misuse(session, "draw_feedback", "expected a layer below the readout, once each");
    }
    const struct wa_layout *out = &session->model.layers[layer].output;
    size_t places = feedback->is_pooled ? 1 : (size_t)out->rows * (size_t)out->columns;
    size_t channels = (size_t)out->channels;
    size_t classes = (size_t)session->model.classes;
    size_t count = 0;
    if (!wa_mul_size(places * channels, classes, &count)) {
        return no_memory(session);
    }
    float *values = calloc(count, sizeof *values);
    if (!values) {
        return no_memory(session);
    }
    const double deviation = 1.0 / sqrt((double)(places * channels));
    for (size_t k = 0; k < classes; k++) {
        for (size_t p = 0; p < places; p++) {
            for (size_t c = 0; c < channels; c++) {
                values[(c * places + p) * classes + k] =
                    (float)(deviation * wa_rng_normal(&session->rng));
            }
        }
    }
    feedback->host[layer] = values;
    return WA_OK;
}

/* The live weights; of a pair, those that it trains, too. */
static wa_status make_live_weights(struct wa_session *session)
{
    wa_status status = new_weights(session, false, &session->live);
    session->rule_table.live = session->trained = session->live;
    if (status == WA_OK && session->spec.leader) {
        session->live->is_borrowed = true;
        if (!session->spec.is_observer) {
            status = new_weights(session, false, &session->trained);
        }
    }
    return status;
}

/* A follower starts from its leader's weights, whatever its own rule draws, and sees them ever after. */
static wa_status follow_weights(struct wa_session *session)
{
    struct wa_session *leader = session->spec.leader;
    size_t bytes = session->model.parameter_count * sizeof *session->live->host;
    wa_status status = wa_engine_read(session->engine, leader->live->memory, 0, session->live->host,
                                      bytes, session->err);
    if (status == WA_OK && session->trained != session->live) {
        memcpy(session->trained->host, session->live->host, bytes);
    }
    return status;
}

wa_status wa_rule_host_draw(struct wa_session *session)
{
    wa_status status = make_live_weights(session);
    if (status != WA_OK || session->engine->plan) {
        return status;
    }
    const wa_rule_ops *ops = session->spec.rule->plugin.rule;
    wa_rng_seed(&session->rng, session->spec.seed);
    for (uint32_t l = 0; l < session->model.layer_count && status == WA_OK; l++) {
        draw_layer_weights(session, session->live, l);
        if (ops->draw_layer) {
            status = wa_plugin_host_check(&session->rule_plugin, "draw_layer",
                                          ops->draw_layer(session->rule, l));
        }
    }
    if (status == WA_OK && session->spec.leader) {
        status = follow_weights(session);
    }
    for (struct wa_weights *w = session->weights; w && status == WA_OK; w = w->next) {
        if (w->is_frozen) {
            memcpy(w->host, session->live->host, session->model.parameter_count * sizeof *w->host);
        }
    }
    return status;
}

/* ---- [step] --------------------------------------------------------------------------------- */

/* Rules hold weights const; that a copy of them is kept is the host's own matter. */
static wa_status find_weights(struct wa_session *session, const struct wa_weights *constant,
                              struct wa_weights **ret_weights)
{
    for (struct wa_weights *w = session->weights; w; w = w->next) {
        if (w == constant) {
            *ret_weights = w;
            return WA_OK;
        }
    }
    return misuse(session, "weights", "they are not of this run");
}

/* The weights in the order that convolution kernels read; made when they changed. */
static wa_status arrange(struct wa_session *session, const struct wa_weights *constant,
                         bool backward)
{
    struct wa_weights *weights = NULL;
    wa_status status = find_weights(session, constant, &weights);
    if (status != WA_OK) {
        return status;
    }
    if (session->is_planning) {
        weights->is_needed[backward] = true;
        return WA_OK;
    }
    if (weights->is_arranged[backward] || !weights->arranged[backward]) {
        return WA_OK;
    }
    weights->is_arranged[backward] = true;
    return session->model.is_sequence
               ? wa_sequence_arrange(session, weights, backward)
               : wa_operations_arrange(session->operations, weights->memory, backward,
                                       weights->arranged[backward], session->err);
}

/* What layer l reads on a tape. */
static cl_mem layer_input(const struct wa_session *session, const struct wa_tape *tape, uint32_t l)
{
    return l == 0                                                    ? session->images
           : session->model.layers[l].shape.input == WA_INPUT_POOLED ? tape->layers[l - 1].pooled
                                                                     : tape->layers[l - 1].a;
}

wa_status wa_rule_host_forward(struct wa_session *session, const struct wa_weights *weights,
                               struct wa_tape *tape)
{
    tape->weights = weights;
    wa_status status = arrange(session, weights, false);
    if (session->is_planning || status != WA_OK) {
        return status;
    }
    if (session->model.is_sequence) {
        return wa_sequence_forward(session, weights, tape);
    }
    uint32_t top = session->model.layer_count - 1;
    for (uint32_t l = 0; l <= top && status == WA_OK; l++) {
        struct tape_layer *t = &tape->layers[l];
        cl_mem z = t->h ? t->h : session->scratch;
        if (l == top) { /* the readout's bias is added where its error is taken */
            return wa_operations_forward(session->operations, l, weights->memory,
                                         weights->arranged[0], layer_input(session, tape, l), z,
                                         session->err);
        }
        const struct wa_layout *layout = wa_rule_host_activity_layout(session, l);
        status = wa_operations_forward_activate(
            session->operations, l, weights->memory, weights->arranged[0],
            layer_input(session, tape, l), z, t->h != NULL, t->a, layout, t->inverse, session->err);
        if (status == WA_OK && t->pooled) {
            status =
                wa_operations_pool(session->operations, l, t->a, layout, t->pooled, session->err);
        }
    }
    return status;
}

static wa_status forward(const wa_rule_host *host, const wa_weights *weights, wa_tape *tape)
{
    struct wa_session *session = session_of(host);
    if (!weights || !tape) {
        return misuse(session, "forward", "weights or tape is NULL");
    }
    return wa_rule_host_forward(session, weights, tape);
}

/* The error stands at a layer's output, where its memory has it. */
static void place_delta(struct wa_delta *delta, uint32_t layer, bool is_pooled)
{
    delta->layer = layer;
    delta->is_error = false;
    delta->is_pooled = is_pooled;
    delta->feedback = NULL;
    delta->weights_above = delta->dz_above = NULL;
}

wa_status wa_rule_host_output_error(struct wa_session *session, const struct wa_tape *tape,
                                    struct wa_delta *delta)
{
    uint32_t top = session->model.layer_count - 1;
    place_delta(delta, top, false);
    delta->is_error = true;
    if (session->is_planning) {
        return WA_OK;
    }
    session->slot_items[session->slot] = session->model.batch;
    if (session->model.is_sequence) {
        return wa_sequence_output_error(session, tape, delta);
    }
    struct wa_output_error arguments = {.outputs = tape->layers[top].h,
                                        .labels = session->labels,
                                        .weights = tape->weights->memory,
                                        .error = delta->error,
                                        .results = session->results,
                                        .halted = session->halted,
                                        .target_offset = session->spec.data.target_offset,
                                        .slot = session->slot++};
    return wa_operations_output_error(session->operations, &arguments, session->err);
}

static wa_status output_error(const wa_rule_host *host, const wa_tape *tape, wa_delta *delta)
{
    struct wa_session *session = session_of(host);
    if (!tape || !delta || !tape->weights) {
        return misuse(session, "output_error", "expected a tape after forward, and a delta");
    }
    if (session->is_planning) {
        for (struct wa_tape *t = session->tapes; t; t = t->next) {
            session->live_tape = t == tape ? t : session->live_tape;
        }
        session->error_delta = delta;
    }
    return wa_rule_host_output_error(session, tape, delta);
}

static void note_needs(struct wa_session *session, const wa_backward *b)
{
    for (struct wa_tape *t = session->tapes; t; t = t->next) {
        bool is_used = t == b->transport_tape || t == b->gradient_tape;
        t->keeps_h = t->keeps_h || (is_used && b->layer + 1 < session->model.layer_count);
    }
    session->needs_dz[b->layer] = true;
    session->has_gradient[b->layer] = session->has_gradient[b->layer] || b->gradient_tape;
    session->has_state_gradient[b->layer] = session->has_state_gradient[b->layer] || b->transport;
    session->joins_two_nets =
        session->joins_two_nets || (b->gradient_tape && b->gradient_tape != b->transport_tape);
    if (b->transport && (b->layer > 0 || session->model.is_sequence)) {
        session->transports[b->layer] = b->transport;
    }
    if (b->transport && b->layer > 0 &&
        session->model.layers[b->layer].shape.input != WA_INPUT_POOLED) {
        b->delta->needs_whole = true;
    }
}

/* The error at the layer's output. The product that brings it is taken once: then it is in memory. */
static struct wa_gradient_source take_source(const struct wa_session *session, const wa_backward *b)
{
    struct wa_delta *delta = b->delta;
    if (delta->feedback) {
        return (struct wa_gradient_source){.memory = session->error_delta->error,
                                           .feedback = delta->feedback->memory[b->layer]};
    }
    struct wa_gradient_source source = {.memory = delta->is_pooled ? delta->pooled : delta->whole,
                                        .is_pooled = delta->is_pooled,
                                        .weights_above = delta->weights_above,
                                        .dz_above = delta->dz_above};
    delta->weights_above = delta->dz_above = NULL;
    return source;
}

/* dz of a layer from the error at its output, with h of one tape and ReLU' of another. */
static wa_status activate_backward(struct wa_session *session, const wa_backward *b,
                                   const struct wa_tape *tape, const struct wa_tape *slope_tape)
{
    const struct tape_layer *t = &tape->layers[b->layer];
    return wa_operations_activate_backward(session->operations, b->layer, take_source(session, b),
                                           t->h, slope_tape->layers[b->layer].h, t->inverse,
                                           session->dz[b->layer], session->err);
}

/* The same and the weight gradient from it, where nothing else needs dz. */
static wa_status activate_gradient(struct wa_session *session, const wa_backward *b,
                                   const struct wa_tape *slope_tape)
{
    const struct tape_layer *t = &b->gradient_tape->layers[b->layer];
    const struct tape_layer *slope = &slope_tape->layers[b->layer];
    const struct wa_passed passed = {.h = t->h,
                                     .arranged = b->gradient_tape->weights->arranged[0],
                                     .inverse = t->inverse,
                                     .slope = t->h || slope == t ? slope->h : slope->a,
                                     .slope_layout =
                                         wa_rule_host_activity_layout(session, b->layer)};
    return wa_operations_activate_gradient(
        session->operations, b->layer, take_source(session, b), &passed, session->dz[b->layer],
        layer_input(session, b->gradient_tape, b->layer), session->gradients, session->err);
}

static wa_status weight_gradient(struct wa_session *session, const wa_backward *b, cl_mem dz)
{
    return wa_operations_weight_gradient(session->operations, b->layer,
                                         layer_input(session, b->gradient_tape, b->layer), dz,
                                         session->gradients, session->err);
}

static wa_status transport(struct wa_session *session, const wa_backward *b, cl_mem dz)
{
    struct wa_delta *delta = b->delta;
    place_delta(delta, b->layer - 1,
                session->model.layers[b->layer].shape.input == WA_INPUT_POOLED);
    /* A rule that has kernels of its own may change the weights before the product is taken. */
    if (!session->has_opencl_rule && wa_operations_joins_backward(session->operations, b->layer)) {
        delta->weights_above = b->transport->memory;
        delta->dz_above = dz;
        return WA_OK;
    }
    return wa_operations_backward(session->operations, b->layer, b->transport->memory,
                                  b->transport->arranged[1], dz,
                                  delta->is_pooled ? delta->pooled : delta->whole, session->err);
}

static wa_status check_backward(struct wa_session *session, const wa_backward *b)
{
    if (!b || !b->delta || !b->transport_tape || b->layer >= session->model.layer_count) {
        return misuse(session, "backward",
                      "expected a layer of the net, a delta and a transport tape");
    }
    if (b->delta->layer != b->layer) {
        return misuse(session, "backward", "the delta stands at another layer's output");
    }
    if (!b->transport_tape->weights || (b->gradient_tape && !b->gradient_tape->weights)) {
        return misuse(session, "backward", "a tape was never filled by forward");
    }
    return WA_OK;
}

static wa_status backward(const wa_rule_host *host, const wa_backward *b)
{
    struct wa_session *session = session_of(host);
    wa_status status = check_backward(session, b);
    bool goes_down = status == WA_OK && b->transport && b->layer > 0;
    /* a recurrence's error goes down in time by its own weights, a readout's by unarranged ones */
    bool is_by_arranged = session->model.is_sequence ? b->layer == 0 && b->transport : goes_down;
    if (status == WA_OK && is_by_arranged) {
        status = arrange(session, b->transport, true);
    }
    if (status != WA_OK) {
        return status;
    }
    if (session->is_planning) {
        note_needs(session, b);
        b->delta->layer -= goes_down;
        b->delta->is_error = false;
        return WA_OK;
    }
    if (session->model.is_sequence) {
        return wa_sequence_backward(session, b);
    }
    bool is_top = b->delta->is_error;
    cl_mem dz = is_top ? b->delta->error : session->dz[b->layer];
    /* The readout has no activation: its dz is the error itself, the same for both tapes. */
    bool is_shared = is_top || b->gradient_tape == b->transport_tape;
    if (b->gradient_tape) {
        bool own_slope = session->model.layers[b->layer].shape.join != WA_JOIN_BEFORE_ACTIVATION;
        const struct wa_tape *slope_tape = own_slope ? b->gradient_tape : b->transport_tape;
        if (!is_top && !goes_down) {
            return activate_gradient(session, b, slope_tape);
        }
        if (!is_top) {
            status = activate_backward(session, b, b->gradient_tape, slope_tape);
        }
        if (status == WA_OK) {
            status = weight_gradient(session, b, dz);
        }
    }
    if (goes_down && status == WA_OK) {
        if (!is_top && (!is_shared || !b->gradient_tape)) {
            status = activate_backward(session, b, b->transport_tape, b->transport_tape);
        }
        if (status == WA_OK) {
            status = transport(session, b, dz);
        }
    }
    return status;
}

static wa_status feed_back(const wa_rule_host *host, const wa_feedback *feedback, uint32_t layer,
                           wa_delta *delta)
{
    struct wa_session *session = session_of(host);
    if (!feedback || !delta || layer + 1 >= session->model.layer_count) {
        return misuse(session, "feed_back",
                      "expected feedback, a layer below the readout and a delta");
    }
    place_delta(delta, layer, feedback->is_pooled);
    if (session->is_planning) {
        delta->needs_whole = delta->needs_whole || !feedback->is_pooled;
        return WA_OK;
    }
    bool is_joined = !feedback->is_pooled && wa_operations_joins_feedback(session->operations);
    delta->feedback = is_joined ? feedback : NULL;
    if (is_joined) {
        return WA_OK;
    }
    const struct wa_layout *out = &session->model.layers[layer].output;
    int places = feedback->is_pooled ? 1 : out->rows * out->columns;
    return wa_operations_feed_back(session->operations, layer, feedback->memory[layer],
                                   out->channels * places, session->error_delta->error,
                                   feedback->is_pooled ? delta->pooled : delta->whole,
                                   session->err);
}

void wa_rule_host_init(struct wa_session *session)
{
    session->rule_table = (wa_rule_host){.struct_size = sizeof session->rule_table,
                                         .base = &session->rule_plugin.host,
                                         .net = &session->model.net,
                                         .frozen_weights = frozen_weights,
                                         .feedback_weights = feedback_weights,
                                         .direct_feedback = direct_feedback,
                                         .tape = new_tape,
                                         .delta = new_delta,
                                         .set_trained = set_trained,
                                         .set_state_trained = set_state_trained,
                                         .draw_normal = draw_normal,
                                         .draw_feedback = draw_feedback,
                                         .forward = forward,
                                         .output_error = output_error,
                                         .backward = backward,
                                         .feed_back = feed_back};
}
