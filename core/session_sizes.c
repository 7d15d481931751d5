/* Batches of other sizes than the usual one. Kernels are built for a size of batch and layouts depend
 * on it, so each size has a model, operations, tapes, errors and copies of weights of its own; weights,
 * their gradients, feedback and the optimizer's state are the same for all. Rules see none of it: they
 * hold the same handles, and what is behind them is swapped for a step. */
#include <stdlib.h>

#include "session_private.h"

struct errors {
    cl_mem error, pooled, whole;
};

struct arranged {
    cl_mem memory[2];
};

/* The members are those of the session, of its tapes, deltas and weights, in the order of the lists. */
struct batch_size {
    struct wa_session_batch batch;
    bool is_ready; /* all arrays are there, so that it may be swapped in */
    struct wa_model model;
    struct wa_operations *operations;
    cl_mem images, items, labels, scratch;
    cl_mem *dz;
    struct tape_layer **tapes;
    struct errors *errors;
    struct arranged *arranged;
};

#define SWAP(type, a, b)                                                                           \
    do {                                                                                           \
        type kept = (a);                                                                           \
        (a) = (b);                                                                                 \
        (b) = kept;                                                                                \
    } while (0)

void wa_session_sizes_swap(struct wa_session *session, int place)
{
    if (place < 0) {
        return;
    }
    struct batch_size *size = &session->sizes[place];
    SWAP(struct wa_model, session->model, size->model);
    SWAP(struct wa_operations *, session->operations, size->operations);
    SWAP(cl_mem, session->images, size->images);
    SWAP(cl_mem, session->items, size->items);
    SWAP(cl_mem, session->labels, size->labels);
    SWAP(cl_mem, session->scratch, size->scratch);
    SWAP(cl_mem *, session->dz, size->dz);
    struct tape_layer **layers = size->tapes;
    for (struct wa_tape *t = session->tapes; t; t = t->next, layers++) {
        SWAP(struct tape_layer *, t->layers, *layers);
    }
    struct errors *errors = size->errors;
    for (struct wa_delta *d = session->deltas; d; d = d->next, errors++) {
        SWAP(cl_mem, d->error, errors->error);
        SWAP(cl_mem, d->pooled, errors->pooled);
        SWAP(cl_mem, d->whole, errors->whole);
    }
    struct arranged *arranged = size->arranged;
    for (struct wa_weights *w = session->weights; w; w = w->next, arranged++) {
        for (int direction = 0; direction < 2; direction++) {
            SWAP(cl_mem, w->arranged[direction], arranged->memory[direction]);
            w->is_arranged[direction] = false; /* the weights may have changed since */
        }
    }
}
#undef SWAP

static wa_status make_arrays(struct wa_session *session, struct batch_size *size)
{
    size_t tapes = 0;
    size_t deltas = 0;
    size_t weights = 0;
    for (struct wa_tape *t = session->tapes; t; t = t->next) {
        tapes++;
    }
    for (struct wa_delta *d = session->deltas; d; d = d->next) {
        deltas++;
    }
    for (struct wa_weights *w = session->weights; w; w = w->next) {
        weights++;
    }
    uint32_t layers = session->model.layer_count;
    size->dz = calloc(layers, sizeof(cl_mem));
    size->errors = calloc(deltas + 1, sizeof *size->errors);
    size->arranged = calloc(weights + 1, sizeof *size->arranged);
    size->tapes = calloc(tapes + 1, sizeof *size->tapes);
    size->is_ready = size->dz && size->errors && size->arranged && size->tapes;
    for (size_t i = 0; i < tapes && size->is_ready; i++) {
        size->tapes[i] = calloc(layers, sizeof **size->tapes);
        size->is_ready = size->tapes[i] != NULL;
    }
    return size->is_ready ? WA_OK : wa_fail(session->err, WA_E_MEMORY, "out of memory");
}

wa_status wa_session_sizes_create(struct wa_session *session)
{
    size_t count = session->spec.other_batch_count;
    session->sizes = calloc(count + 1, sizeof *session->sizes);
    if (!session->sizes) {
        return wa_fail(session->err, WA_E_MEMORY, "out of memory");
    }
    wa_status status = WA_OK;
    for (size_t i = 0; i < count && status == WA_OK; i++) {
        struct batch_size *size = &session->sizes[i];
        size->batch = session->spec.other_batches[i];
        status = make_arrays(session, size);
        if (status != WA_OK) {
            break;
        }
        wa_session_sizes_swap(session, (int)i);
        status = wa_session_make_model(session, size->batch.items);
        if (status == WA_OK) {
            status = wa_session_make_operations(session);
        }
        wa_session_sizes_swap(session, (int)i);
    }
    return status;
}

static wa_status allocate(struct wa_session *session, int place, bool only_evaluates)
{
    wa_session_sizes_swap(session, place);
    session->only_evaluates = only_evaluates;
    wa_status status = wa_rule_host_allocate_batch(session);
    if (status == WA_OK) {
        status = wa_session_allocate_batch(session);
    }
    session->only_evaluates = false;
    wa_session_sizes_swap(session, place);
    return status;
}

/* A follower takes the batch of its leader's size. */
wa_status wa_session_sizes_allocate(struct wa_session *session)
{
    wa_status status = WA_OK;
    for (size_t i = 0; i < session->spec.other_batch_count && status == WA_OK; i++) {
        const struct wa_session_batch *batch = &session->sizes[i].batch;
        struct wa_session *leader = session->spec.leader;
        int place = -1;
        if (leader) {
            status = wa_session_sizes_find(leader, batch->items, true, &place);
        }
        if (status != WA_OK) {
            break;
        }
        if (leader) {
            wa_session_sizes_swap(leader, place);
        }
        status = allocate(session, (int)i, !batch->is_trained);
        if (leader) {
            wa_session_sizes_swap(leader, place);
        }
    }
    return status;
}

static void finish(struct wa_session *session, int place)
{
    struct batch_size *size = &session->sizes[place];
    size_t tapes = 0;
    for (struct wa_tape *t = session->tapes; t; t = t->next) {
        tapes++;
    }
    if (size->is_ready) {
        wa_session_sizes_swap(session, place);
        wa_rule_host_release_batch(session);
        if (!session->spec.leader) {
            wa_engine_release(session->engine, session->images);
            wa_engine_release(session->engine, session->items);
            wa_engine_release(session->engine, session->labels);
        }
        wa_operations_destroy(session->operations);
        wa_model_finish(&session->model);
        wa_session_sizes_swap(session, place);
    }
    for (size_t i = 0; size->tapes && i < tapes; i++) {
        free(size->tapes[i]);
    }
    free(size->tapes);
    free(size->errors);
    free(size->arranged);
    free(size->dz);
}

void wa_session_sizes_finish(struct wa_session *session)
{
    for (size_t i = 0; session->sizes && i < session->spec.other_batch_count; i++) {
        finish(session, (int)i);
    }
    free(session->sizes);
    session->sizes = NULL;
}

wa_status wa_session_sizes_find(struct wa_session *session, int items, bool is_trained,
                                int *ret_place)
{
    if (items == session->spec.batch) {
        *ret_place = -1;
        return WA_OK;
    }
    for (size_t i = 0; i < session->spec.other_batch_count; i++) {
        const struct wa_session_batch *batch = &session->sizes[i].batch;
        if (batch->items == items && (batch->is_trained || !is_trained)) {
            *ret_place = (int)i;
            return WA_OK;
        }
    }
    return wa_fail(session->err, WA_E_FAILED, "no kernels were made for a batch of %d items", items);
}
