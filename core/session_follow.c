/* Followers: a second rule on a session's batches and weights. The pair collects its updates in
 * weights of its own; the observer only leaves a gradient, to be compared. Each is a session itself
 * that borrows the leader's batch and live weights. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "session_private.h"

static wa_status add_follower(struct wa_session *leader, const struct wa_plugin_record *rule,
                              json_object *options, bool is_observer, struct wa_session **ret,
                              struct wa_error *err)
{
    struct wa_session_spec spec = leader->spec;
    spec.rule = rule;
    spec.rule_options = options;
    spec.rule_place = NULL;
    spec.leader = leader;
    spec.is_observer = is_observer;
    spec.other_batch_count = 0; /* a follower has no part in what is only evaluated */
    for (size_t i = 0; i < leader->spec.other_batch_count; i++) {
        if (leader->spec.other_batches[i].is_trained) {
            spec.other_batches[spec.other_batch_count++] = leader->spec.other_batches[i];
        }
    }
    return wa_session_create(&spec, ret, err);
}

/* Puts the pair's tensors behind the leader's. */
static wa_status append_tensors(struct wa_session *session, struct wa_error *err)
{
    const struct wa_session *pair = session->pair;
    struct wa_session_tensor *tensors = realloc(
        session->tensors, (session->tensor_count + pair->tensor_count) * sizeof *session->tensors);
    if (!tensors) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    memcpy(tensors + session->tensor_count, pair->tensors,
           pair->tensor_count * sizeof *pair->tensors);
    session->tensors = tensors;
    session->tensor_count += pair->tensor_count;
    return WA_OK;
}

wa_status wa_session_add_pair(struct wa_session *session, const struct wa_plugin_record *rule,
                              json_object *options, struct wa_error *err)
{
    wa_status status = add_follower(session, rule, options, false, &session->pair, err);
    return status == WA_OK ? append_tensors(session, err) : status;
}

wa_status wa_session_add_observer(struct wa_session *session, const struct wa_plugin_record *rule,
                                  json_object *options, struct wa_error *err)
{
    return add_follower(session, rule, options, true, &session->observer, err);
}

void wa_session_observe_next(struct wa_session *session)
{
    session->observes_next = true;
}

static wa_status compute(struct wa_session *follower)
{
    follower->live->is_arranged[0] = follower->live->is_arranged[1] = false;
    follower->slot = 0; /* its loss is the leader's: nobody looks at it */
    return wa_session_compute_update(follower);
}

/* A step of one follower, on the size of batch that is at work. */
static wa_status follow(struct wa_session *follower, const struct wa_session *leader, uint64_t step)
{
    int size = -1;
    wa_session_set_error(follower, leader->err);
    wa_status status = wa_session_sizes_find(follower, leader->model.batch, true, &size);
    if (status == WA_OK) {
        wa_session_sizes_swap(follower, size);
        status = compute(follower);
        if (status == WA_OK && !follower->spec.is_observer) {
            status = wa_optimizer_host_apply(follower, step);
        }
        wa_session_sizes_swap(follower, size);
    }
    wa_session_set_error(follower, NULL);
    return status;
}

wa_status wa_session_follow(struct wa_session *session, uint64_t step)
{
    wa_status status = WA_OK;
    if (session->pair) {
        status = follow(session->pair, session, step);
    }
    if (status == WA_OK && session->observer && session->observes_next) {
        status = follow(session->observer, session, step);
    }
    session->observes_next = false;
    return status;
}

/* ---- Angles --------------------------------------------------------------------------------- */

static double norm(const float *values, size_t count)
{
    double squares = 0;
    for (size_t i = 0; i < count; i++) {
        squares += (double)values[i] * (double)values[i];
    }
    return sqrt(squares);
}

/* Degrees between two vectors, by the half angle: exact for small ones, where acos is not. */
static double angle(const float *a, const float *b, size_t count)
{
    double a_norm = norm(a, count);
    double b_norm = norm(b, count);
    double difference = 0;
    double sum = 0;
    if (!(a_norm > 0) || !(b_norm > 0)) {
        return (double)NAN;
    }
    for (size_t i = 0; i < count; i++) {
        double u = (double)a[i] / a_norm;
        double v = (double)b[i] / b_norm;
        difference += (u - v) * (u - v);
        sum += (u + v) * (u + v);
    }
    const double degrees = 180.0 / acos(-1.0);
    return 2.0 * atan2(sqrt(difference), sqrt(sum)) * degrees;
}

/* The angle between a layer's weights in two sets; of a recurrent one, those from step to step. */
static wa_status measure(struct wa_session *session, uint32_t l, cl_mem a, cl_mem b, float *scratch,
                         double *ret_angle, struct wa_error *err)
{
    const struct wa_model_layer *layer = &session->model.layers[l];
    size_t offset = 0;
    size_t count = 0;
    if (!wa_model_find_tensor(layer, WA_TENSOR_WEIGHT, &offset, &count)) {
        return WA_OK;
    }
    float *other = scratch + count;
    wa_status status = wa_engine_read(session->engine, a, offset * sizeof(float), scratch,
                                      count * sizeof(float), err);
    if (status == WA_OK) {
        status = wa_engine_read(session->engine, b, offset * sizeof(float), other,
                                count * sizeof(float), err);
    }
    if (status == WA_OK) {
        *ret_angle = angle(scratch, other, count);
    }
    return status;
}

wa_status wa_session_measure_angles(struct wa_session *session,
                                    struct wa_session_angles *ret_angles, struct wa_error *err)
{
    const struct wa_model *model = &session->model;
    size_t most = 0;
    for (uint32_t l = 0; l < model->layer_count; l++) {
        most = model->layers[l].weight_count > most ? model->layers[l].weight_count : most;
    }
    float *scratch = calloc(most, 2 * sizeof *scratch);
    if (!scratch) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    wa_status status = WA_OK;
    for (uint32_t l = 0; l < model->layer_count && status == WA_OK; l++) {
        const struct wa_weights *transport = session->transports[l];
        struct wa_session_angles *angles = &ret_angles[l];
        *angles = (struct wa_session_angles){.update = (double)NAN, .feedback = (double)NAN};
        angles->has_update = session->observer && session->is_trained[l];
        angles->has_feedback = transport && transport != session->live;
        if (angles->has_update) {
            status = measure(session, l, session->gradients, session->observer->gradients, scratch,
                             &angles->update, err);
        }
        if (angles->has_feedback && status == WA_OK) {
            status = measure(session, l, session->live->memory, transport->memory, scratch,
                             &angles->feedback, err);
        }
    }
    free(scratch);
    return status;
}

wa_status wa_session_prepare_omission(struct wa_session *session, struct wa_error *err)
{
    struct wa_session *all[] = {session, session->pair, session->observer};
    wa_status status = WA_OK;
    for (size_t i = 0; i < sizeof all / sizeof *all && status == WA_OK; i++) {
        if (all[i] && !all[i]->model.is_sequence) {
            wa_session_set_error(all[i], err);
            status = wa_rule_host_make_scratch(all[i]);
            wa_session_set_error(all[i], NULL);
        }
    }
    return status;
}
