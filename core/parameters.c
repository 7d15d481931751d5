/* The tensors of weights sets and of the optimizer's state, as checkpoints hold them. */
#include <stdio.h>
#include <stdlib.h>

#include "session_private.h"

/* In a network with a recurrence inputs and outputs of one number leave no dimension. */
static void add_dimension(struct wa_session_tensor *t, size_t size, bool drops_ones)
{
    if (size != 1 || !drops_ones) {
        t->shape[t->dimensions++] = size;
    }
}

static void set_shape(const struct wa_session *session, const struct wa_layer *s,
                      enum wa_tensor_kind kind, struct wa_session_tensor *t)
{
    bool is_sequence = session->model.is_sequence;
    switch (kind) {
    case WA_TENSOR_INPUT_WEIGHT:
        add_dimension(t, s->in_channels, true);
        add_dimension(t, s->out_channels, false);
        break;
    case WA_TENSOR_WEIGHT:
        if (s->kind == WA_LAYER_RECURRENT) {
            add_dimension(t, s->out_channels, false);
            add_dimension(t, s->out_channels, false);
            break;
        }
        add_dimension(t, s->out_channels, is_sequence);
        if (s->kind == WA_LAYER_CONVOLUTION) {
            add_dimension(t, s->kernel, false);
            add_dimension(t, s->kernel, false);
        }
        add_dimension(t, s->in_channels, false);
        break;
    case WA_TENSOR_INITIAL_STATE:
        add_dimension(t, (size_t)session->model.batch, false);
        add_dimension(t, s->out_channels, false);
        break;
    default:
        add_dimension(t, s->out_channels, false);
    }
}

static void add_tensors(struct wa_session *session, const char *prefix, cl_mem memory, size_t base)
{
    for (uint32_t l = 0; l < session->model.layer_count; l++) {
        const struct wa_model_layer *layer = &session->model.layers[l];
        for (int kind = 0; kind < WA_TENSOR_KINDS; kind++) {
            struct wa_session_tensor t = {.memory = memory};
            if (!wa_model_find_tensor(layer, (enum wa_tensor_kind)kind, &t.offset, &t.count)) {
                continue;
            }
            t.offset += base;
            (void)snprintf(t.name, sizeof t.name, "%s%s", prefix, layer->tensor_names[kind]);
            set_shape(session, &layer->shape, (enum wa_tensor_kind)kind, &t);
            session->tensors[session->tensor_count++] = t;
        }
    }
}

wa_status wa_parameters_list(struct wa_session *session)
{
    const struct optimizer *optimizer = &session->optimizer;
    const struct wa_model *model = &session->model;
    size_t sets = 1u + optimizer->state_count;
    session->tensors =
        calloc(sets * WA_TENSOR_KINDS * model->layer_count, sizeof *session->tensors);
    if (!session->tensors) {
        return wa_fail(session->err, WA_E_MEMORY, "out of memory");
    }
    const char *net = session->spec.leader ? "align." : "";
    add_tensors(session, net, session->trained->memory, 0);
    session->parameter_tensor_count = session->tensor_count;
    for (size_t state = 0; state < optimizer->state_count; state++) {
        char prefix[48];
        (void)snprintf(prefix, sizeof prefix, "state.%s%.31s.", net, optimizer->state_names[state]);
        add_tensors(session, prefix, optimizer->state, state * model->parameter_count);
    }
    return WA_OK;
}

const struct wa_session_tensor *wa_session_tensors(const struct wa_session *session,
                                                   size_t *ret_count)
{
    *ret_count = session->tensor_count;
    return session->tensors;
}

wa_status wa_session_read(struct wa_session *session, const struct wa_session_tensor *tensor,
                          float *ret_values, struct wa_error *err)
{
    return wa_engine_read(session->engine, tensor->memory, tensor->offset * sizeof(float),
                          ret_values, tensor->count * sizeof(float), err);
}

wa_status wa_session_write(struct wa_session *session, const struct wa_session_tensor *tensor,
                           const float *values, struct wa_error *err)
{
    session->live->is_arranged[0] = session->live->is_arranged[1] = false;
    return wa_engine_write(session->engine, tensor->memory, tensor->offset * sizeof(float), values,
                           tensor->count * sizeof(float), err);
}

wa_status wa_session_keep(struct wa_session *session, float **ret_values, struct wa_error *err)
{
    size_t floats = 0;
    for (size_t i = 0; i < session->tensor_count; i++) {
        floats += session->tensors[i].count;
    }
    float *values = malloc((floats + 1) * sizeof *values);
    wa_status status = values ? WA_OK : wa_fail(err, WA_E_MEMORY, "out of memory");
    float *next = values;
    for (size_t i = 0; i < session->tensor_count && status == WA_OK; i++) {
        status = wa_session_read(session, &session->tensors[i], next, err);
        next += session->tensors[i].count;
    }
    if (status != WA_OK) {
        free(values);
        return status;
    }
    *ret_values = values;
    return WA_OK;
}

wa_status wa_session_put_back(struct wa_session *session, const float *values, struct wa_error *err)
{
    wa_status status = WA_OK;
    for (size_t i = 0; i < session->tensor_count && status == WA_OK; i++) {
        status = wa_session_write(session, &session->tensors[i], values, err);
        values += session->tensors[i].count;
    }
    return status;
}
