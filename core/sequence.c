/* A recurrence over the rows of the items, and its readout. */
#include "sequence_private.h"

#include <stdlib.h>

enum { TURN_TILE = 16 }; /* of kernels/sequence.cl */

static const struct {
    const char *name;
    size_t offset;
    bool is_for_gpu; /* the CPU path has its own */
} kernels[] = {
    {"sequence_turn", offsetof(struct wa_sequence, turn), true},
    {"sequence_start", offsetof(struct wa_sequence, start), true},
    {"sequence_activate", offsetof(struct wa_sequence, activate), true},
    {"sequence_error", offsetof(struct wa_sequence, error), false},
    {"sequence_loss", offsetof(struct wa_sequence, loss), false},
    {"sequence_slope", offsetof(struct wa_sequence, slope), true},
    {"sequence_state_gradient", offsetof(struct wa_sequence, state_gradient), true},
    {"sequence_sum", offsetof(struct wa_sequence, sum), false},
};
enum { KERNEL_COUNT = sizeof kernels / sizeof *kernels };

static cl_kernel *kernel_at(struct wa_sequence *sequence, size_t i)
{
    return (cl_kernel *)(void *)((char *)sequence + kernels[i].offset);
}

/* ---- Set-up --------------------------------------------------------------------------------- */

static wa_status make(struct wa_session *session, size_t floats, const char *what, cl_mem *ret)
{
    return wa_engine_buffer(session->engine, floats * sizeof(float), what, ret, session->err);
}

static wa_status allocate_buffers(struct wa_session *session)
{
    struct wa_sequence *q = session->sequence;
    bool is_cpu = session->engine->path == WA_PATH_CPU;
    size_t step = (size_t)q->units * (size_t)q->lanes;
    size_t all = is_cpu ? wa_sequence_cpu_floats(q, q->steps) : step * (size_t)q->steps;
    const struct {
        cl_mem *memory;
        size_t floats;
        const char *what;
        bool is_needed;
    } buffers[] = {
        {&q->now, step, "a step's states", !is_cpu},
        {&q->product, step, "a step's products", !is_cpu},
        {&q->losses, (size_t)q->steps, "losses of steps", true},
        {&q->transport_dz, all, "gradients of states", session->needs_dz[WA_RECURRENCE]},
        {&q->gradient_dz, all, "gradients of live states", session->joins_two_nets},
        {&q->unused, step, "a step's gradients", !is_cpu && session->joins_two_nets},
    };
    wa_status status = WA_OK;
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers && status == WA_OK; i++) {
        if (buffers[i].is_needed) {
            status = make(session, buffers[i].floats, buffers[i].what, buffers[i].memory);
        }
    }
    return status;
}

/* The CPU path has an order for each direction; the other turns weights for the way forward. */
static wa_status allocate_arranged(struct wa_session *session, struct wa_weights *weights)
{
    const struct wa_sequence *q = session->sequence;
    bool is_cpu = session->engine->path == WA_PATH_CPU;
    size_t floats =
        is_cpu ? wa_sequence_cpu_arranged_floats(q) : (size_t)q->units * (size_t)q->units;
    wa_status status = WA_OK;
    for (int direction = 0; direction < (is_cpu ? 2 : 1) && status == WA_OK; direction++) {
        if (weights->is_needed[direction]) {
            status = make(session, floats, "arranged weights", &weights->arranged[direction]);
        }
    }
    return status;
}

static wa_status allocate_handles(struct wa_session *session)
{
    const struct wa_sequence *q = session->sequence;
    bool is_cpu = session->engine->path == WA_PATH_CPU;
    size_t states = is_cpu ? wa_sequence_cpu_floats(q, q->steps + 1)
                           : session->model.layers[WA_READOUT].input.floats;
    size_t outputs = (size_t)q->outputs * (size_t)q->steps * (size_t)q->lanes;
    wa_status status = WA_OK;
    for (struct wa_tape *t = session->tapes; t && status == WA_OK; t = t->next) {
        status = make(session, states, "states", &t->layers[WA_RECURRENCE].a);
        if (status == WA_OK) {
            status = make(session, outputs, "outputs", &t->layers[WA_READOUT].h);
        }
    }
    for (struct wa_delta *d = session->deltas; d && status == WA_OK; d = d->next) {
        status = make(session, outputs, "output errors", &d->error);
    }
    for (struct wa_weights *w = session->weights; w && status == WA_OK; w = w->next) {
        status = allocate_arranged(session, w);
    }
    return status;
}

static wa_status create(struct wa_session *session)
{
    struct wa_sequence *q = calloc(1, sizeof *q);
    if (!q) {
        return wa_fail(session->err, WA_E_MEMORY, "out of memory");
    }
    session->sequence = q;
    const struct wa_layer *layer = &session->model.layers[WA_RECURRENCE].shape;
    q->steps = (int)layer->in_height;
    q->inputs = (int)layer->in_channels;
    q->units = (int)layer->out_channels;
    q->outputs = session->model.classes;
    q->batch = session->model.batch;
    q->lanes = session->model.lanes;
    bool is_cpu = session->engine->path == WA_PATH_CPU;
    wa_status status = is_cpu ? wa_sequence_cpu_create(session) : WA_OK;
    for (size_t i = 0; i < KERNEL_COUNT && status == WA_OK; i++) {
        if (!is_cpu || !kernels[i].is_for_gpu) {
            status = wa_engine_kernel(session->engine, "sequence.cl", kernels[i].name, NULL,
                                      kernel_at(q, i), session->err);
        }
    }
    return status;
}

wa_status wa_sequence_allocate(struct wa_session *session)
{
    wa_status status = create(session);
    if (status == WA_OK) {
        status = allocate_buffers(session);
    }
    return status == WA_OK ? allocate_handles(session) : status;
}

void wa_sequence_finish(struct wa_session *session)
{
    struct wa_sequence *q = session->sequence;
    if (!q) {
        return;
    }
    for (size_t i = 0; i < KERNEL_COUNT; i++) {
        if (*kernel_at(q, i)) {
            (void)clReleaseKernel(*kernel_at(q, i));
        }
    }
    wa_sequence_cpu_finish(q);
    cl_mem buffers[] = {q->now, q->product, q->transport_dz, q->gradient_dz, q->unused, q->losses};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        wa_engine_release(session->engine, buffers[i]);
    }
    free(q);
    session->sequence = NULL;
}

/* ---- Products ------------------------------------------------------------------------------- */

static struct wa_matrix_operand operand(cl_mem memory, size_t offset, int row, bool transposed)
{
    return (struct wa_matrix_operand){memory, offset, row, transposed};
}

/* c = alpha op(a) op(b); flop counted for the batch alone, without the lanes that fill vectors. */
static wa_status multiply(struct wa_session *session, int m, int n, int k, float alpha,
                          struct wa_matrix_operand a, struct wa_matrix_operand b,
                          struct wa_matrix_operand c)
{
    const struct wa_sequence *q = session->sequence;
    session->engine->flop += (uint64_t)2 * (uint64_t)m * (uint64_t)n * (uint64_t)k /
                             (uint64_t)q->lanes * (uint64_t)q->batch;
    return wa_matrix_product(wa_operations_matrix(session->operations), m, n, k, alpha, a, b, c,
                             session->err);
}

/* Values of a tensor that has as many as `units` at each step of each item. */
static uint64_t sequence_values(const struct wa_session *session, int units)
{
    const struct wa_sequence *q = session->sequence;
    return (uint64_t)units * (uint64_t)q->steps * (uint64_t)q->batch;
}

/* What the launches to come belong to; multiply counts the arithmetic. */
static void note(struct wa_session *session, uint32_t layer, const char *operation, uint64_t floats)
{
    const struct wa_work work = {session->model.layers[layer].name, operation, NULL};
    wa_engine_note_work(session->engine, &work, 0, floats * sizeof(float));
}

/* The elementwise kernels of a step. */
static struct wa_range step_range(const struct wa_sequence *q)
{
    return (struct wa_range){2, {(size_t)q->lanes, (size_t)q->units}, {0}};
}

/* ---- Forward -------------------------------------------------------------------------------- */

/* On the GPU path [output][input]: rows that the product of a step reads in order. */
wa_status wa_sequence_arrange(struct wa_session *session, const struct wa_weights *weights,
                              bool is_backward)
{
    const struct wa_sequence *q = session->sequence;
    note(session, WA_RECURRENCE, "arrange weights", 2 * (uint64_t)q->units * (uint64_t)q->units);
    if (session->engine->path == WA_PATH_CPU) {
        return wa_sequence_cpu_arrange(session, weights, is_backward);
    }
    size_t tiles = ((size_t)q->units + TURN_TILE - 1) / TURN_TILE;
    struct wa_range range = {2, {tiles, tiles}, {0}};
    return wa_engine_launch(session->engine, q->turn, &range, session->err, "mmii", weights->memory,
                            weights->arranged[0], (int)wa_sequence_recurrent_offset(session),
                            q->units);
}

/* s_0 is the trained one for every weights set: the frozen recurrence starts from it too. */
static wa_status start(struct wa_session *session, const struct wa_tape *tape)
{
    const struct wa_sequence *q = session->sequence;
    const struct wa_model_layer *l = &session->model.layers[WA_RECURRENCE];
    struct wa_range range = {2, {(size_t)q->lanes, (size_t)q->units}, {0}};
    return wa_engine_launch(session->engine, q->start, &range, session->err, "mmmiiiiii",
                            session->live->memory, tape->layers[WA_RECURRENCE].a, q->now,
                            (int)l->state_offset, l->state_count > 0, q->batch, q->units, q->lanes,
                            (q->steps + 1) * q->lanes);
}

static wa_status step_forward(struct wa_session *session, const struct wa_weights *weights,
                              const struct wa_tape *tape, int step)
{
    const struct wa_sequence *q = session->sequence;
    const struct wa_model_layer *l = &session->model.layers[WA_RECURRENCE];
    wa_status status =
        multiply(session, q->units, q->lanes, q->units, l->scale,
                 operand(weights->arranged[0], 0, q->units, false),
                 operand(q->now, 0, q->lanes, false), operand(q->product, 0, q->lanes, false));
    struct wa_range range = step_range(q);
    return status != WA_OK
               ? status
               : wa_engine_launch(session->engine, q->activate, &range, session->err,
                                  "mmmmmiiiiiiiif", q->product, session->images, weights->memory,
                                  tape->layers[WA_RECURRENCE].a, q->now, (int)l->weight_offset,
                                  (int)l->bias_offset, q->inputs, q->units, q->batch, q->lanes,
                                  step, q->steps, (double)l->input_scale);
}

static wa_status recurrence_forward(struct wa_session *session, const struct wa_weights *weights,
                                    const struct wa_tape *tape)
{
    wa_status status = start(session, tape);
    for (int t = 0; t < session->sequence->steps && status == WA_OK; t++) {
        status = step_forward(session, weights, tape, t);
    }
    return status;
}

static wa_status readout_forward(struct wa_session *session, const struct wa_weights *weights,
                                 const struct wa_tape *tape)
{
    const struct wa_sequence *q = session->sequence;
    const struct wa_model_layer *top = &session->model.layers[WA_READOUT];
    int columns = q->steps * q->lanes;
    return multiply(
        session, q->outputs, columns, q->units, top->scale,
        operand(weights->memory, top->weight_offset, q->units, false),
        operand(tape->layers[WA_RECURRENCE].a, (size_t)q->lanes, columns + q->lanes, false),
        operand(tape->layers[WA_READOUT].h, 0, columns, false));
}

wa_status wa_sequence_forward(struct wa_session *session, const struct wa_weights *weights,
                              const struct wa_tape *tape)
{
    const struct wa_sequence *q = session->sequence;
    const struct wa_model_layer *layers = session->model.layers;
    bool is_cpu = session->engine->path == WA_PATH_CPU;
    uint64_t outputs = layers[WA_READOUT].weight_count + sequence_values(session, q->outputs);
    note(session, WA_RECURRENCE, "forward",
         layers[WA_RECURRENCE].weight_count + sequence_values(session, q->inputs) +
             sequence_values(session, q->units) + (is_cpu ? outputs : 0));
    if (is_cpu) { /* the readout is in it */
        return wa_sequence_cpu_forward(session, weights, tape);
    }
    wa_status status = recurrence_forward(session, weights, tape);
    if (status != WA_OK) {
        return status;
    }
    note(session, WA_READOUT, "forward", sequence_values(session, q->units) + outputs);
    return readout_forward(session, weights, tape);
}

wa_status wa_sequence_output_error(struct wa_session *session, const struct wa_tape *tape,
                                   struct wa_delta *delta)
{
    const struct wa_sequence *q = session->sequence;
    struct wa_range range = {1, {(size_t)q->steps}, {0}};
    note(session, WA_READOUT, "output error", 3 * sequence_values(session, q->outputs));
    wa_status status = wa_engine_launch(session->engine, q->error, &range, session->err,
                                        "mmmmmiiiii", tape->layers[WA_READOUT].h, session->labels,
                                        tape->weights->memory, delta->error, q->losses,
                                        (int)session->model.layers[WA_READOUT].bias_offset,
                                        q->batch, q->outputs, q->lanes, q->steps);
    if (status != WA_OK) {
        return status;
    }
    struct wa_range one = {1, {1}, {1}};
    return wa_engine_launch(session->engine, q->loss, &one, session->err, "mmmii", q->losses,
                            session->results, session->halted, q->steps, session->slot++);
}

/* ---- Backward ------------------------------------------------------------------------------- */

wa_status wa_sequence_sum(struct wa_session *session, cl_mem values, size_t base, int rows)
{
    const struct wa_sequence *q = session->sequence;
    struct wa_range range = {1, {(size_t)rows}, {0}};
    return wa_engine_launch(session->engine, q->sum, &range, session->err, "mmiiii", values,
                            session->gradients, (int)base, rows, q->steps, q->lanes);
}

/* dW = scale sum over steps and lanes of E s^T, with the states of the gradient's tape. */
static wa_status readout_gradient(struct wa_session *session, const wa_backward *b)
{
    const struct wa_sequence *q = session->sequence;
    const struct wa_model_layer *l = &session->model.layers[WA_READOUT];
    int columns = q->steps * q->lanes;
    wa_status status = multiply(session, q->outputs, q->units, columns, l->scale,
                                operand(b->delta->error, 0, columns, false),
                                operand(b->gradient_tape->layers[WA_RECURRENCE].a, (size_t)q->lanes,
                                        columns + q->lanes, true),
                                operand(session->gradients, l->weight_offset, q->units, false));
    return status == WA_OK ? wa_sequence_sum(session, b->delta->error, l->bias_offset, q->outputs)
                           : status;
}

/* dW = scale sum s_{t-1} dz_t^T, dW_in the same with x_t, db = sum dz_t. */
static wa_status recurrence_gradient(struct wa_session *session, const wa_backward *b, cl_mem dz)
{
    const struct wa_sequence *q = session->sequence;
    const struct wa_model_layer *l = &session->model.layers[WA_RECURRENCE];
    int columns = q->steps * q->lanes;
    wa_status status = multiply(
        session, q->units, q->units, columns, l->scale,
        operand(b->gradient_tape->layers[WA_RECURRENCE].a, 0, columns + q->lanes, false),
        operand(dz, 0, columns, true),
        operand(session->gradients, wa_sequence_recurrent_offset(session), q->units, false));
    if (status == WA_OK) {
        status =
            multiply(session, q->inputs, q->units, columns, l->input_scale,
                     operand(session->images, 0, columns, false), operand(dz, 0, columns, true),
                     operand(session->gradients, l->weight_offset, q->units, false));
    }
    return status == WA_OK ? wa_sequence_sum(session, dz, l->bias_offset, q->units) : status;
}

/* dz of a step on one tape, from `product` of the step above and from the readout. */
static wa_status slope(struct wa_session *session, const wa_backward *b, const struct wa_tape *tape,
                       bool has_readout, bool has_above, int step, cl_mem dz, cl_mem now)
{
    const struct wa_sequence *q = session->sequence;
    const struct wa_model_layer *top = &session->model.layers[WA_READOUT];
    struct wa_range range = step_range(q);
    return wa_engine_launch(session->engine, q->slope, &range, session->err, "mmmmmmiiiiiiiif",
                            q->product, b->delta->error, b->delta->carrier->memory,
                            tape->layers[WA_RECURRENCE].a, dz, now, (int)has_above,
                            (int)has_readout, (int)top->weight_offset, q->outputs, q->units,
                            q->lanes, step, q->steps, (double)top->scale);
}

/* From the last step to the first: the error goes on through the transport's weights, and slopes of
 * its tape. Another net that is joined to it at each state takes what comes from the step above, with
 * slopes of its own; what the readout sends down only if that joins them too. */
static wa_status through_time(struct wa_session *session, const wa_backward *b)
{
    const struct wa_sequence *q = session->sequence;
    bool readout_joins = session->model.layers[WA_READOUT].shape.join != WA_JOIN_NONE;
    wa_status status = WA_OK;
    for (int t = q->steps; t-- > 0 && status == WA_OK;) {
        bool has_above = b->transport && t + 1 < q->steps;
        if (wa_sequence_has_two_nets(b)) {
            status = slope(session, b, b->gradient_tape, readout_joins, has_above, t,
                           q->gradient_dz, q->unused);
        }
        if (status == WA_OK) {
            status =
                slope(session, b, b->transport_tape, true, has_above, t, q->transport_dz, q->now);
        }
        if (status == WA_OK && b->transport) {
            status = multiply(
                session, q->units, q->lanes, q->units, session->model.layers[WA_RECURRENCE].scale,
                operand(b->transport->memory, wa_sequence_recurrent_offset(session), q->units,
                        false),
                operand(q->now, 0, q->lanes, false), operand(q->product, 0, q->lanes, false));
        }
    }
    return status;
}

static wa_status state_gradient(struct wa_session *session)
{
    const struct wa_sequence *q = session->sequence;
    struct wa_range range = {2, {(size_t)q->units, (size_t)q->batch}, {0}};
    note(session, WA_RECURRENCE, "state gradient", 2 * (uint64_t)q->units * (uint64_t)q->batch);
    return wa_engine_launch(session->engine, q->state_gradient, &range, session->err, "mmiiii",
                            q->product, session->gradients,
                            (int)session->model.layers[WA_RECURRENCE].state_offset, q->batch,
                            q->units, q->lanes);
}

static wa_status recurrence_backward(struct wa_session *session, const wa_backward *b)
{
    const struct wa_sequence *q = session->sequence;
    const struct wa_model_layer *l = &session->model.layers[WA_RECURRENCE];
    bool is_cpu = session->engine->path == WA_PATH_CPU;
    bool has_two_nets = wa_sequence_has_two_nets(b);
    /* Errors and states are read and dz is written: for each net. */
    note(session, WA_RECURRENCE, wa_operations_product_name(WA_PRODUCT_BACKWARD),
         (b->transport ? (uint64_t)q->units * (uint64_t)q->units : 0) +
             (has_two_nets ? 2 : 1) *
                 (sequence_values(session, q->outputs) + 2 * sequence_values(session, q->units)));
    wa_status status = is_cpu ? wa_sequence_cpu_through_time(session, b) : through_time(session, b);
    if (status == WA_OK && b->gradient_tape) {
        cl_mem dz = has_two_nets ? q->gradient_dz : q->transport_dz;
        note(session, WA_RECURRENCE, wa_operations_product_name(WA_PRODUCT_GRADIENT),
             l->weight_count + sequence_values(session, q->inputs) +
                 2 * sequence_values(session, q->units));
        status = is_cpu ? wa_sequence_cpu_recurrence_gradient(session, b, dz)
                        : recurrence_gradient(session, b, dz);
    }
    if (status == WA_OK && !is_cpu && b->transport && l->state_count > 0) {
        status = state_gradient(session);
    }
    return status;
}

wa_status wa_sequence_backward(struct wa_session *session, const wa_backward *b)
{
    const struct wa_sequence *q = session->sequence;
    if (b->layer == WA_RECURRENCE) {
        return recurrence_backward(session, b);
    }
    wa_status status = WA_OK;
    if (b->gradient_tape) {
        note(session, WA_READOUT, wa_operations_product_name(WA_PRODUCT_GRADIENT),
             session->model.layers[WA_READOUT].weight_count + sequence_values(session, q->units) +
                 sequence_values(session, q->outputs));
        status = session->engine->path == WA_PATH_CPU ? wa_sequence_cpu_readout_gradient(session, b)
                                                      : readout_gradient(session, b);
    }
    if (b->transport) {
        b->delta->layer = WA_RECURRENCE;
        b->delta->carrier = b->transport;
    }
    return status;
}
