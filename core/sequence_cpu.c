/* A recurrence on CPUs: launches of kernels/cpu_sequence.cl, each of which takes all steps. */
#include "sequence_private.h"

#include <stdio.h>

#include "cutting.h"

enum {
    MOST_ROWS_LONE = 28,   /* x 1 vector: sums that fill 32 registers */
    MOST_ROWS = 13,        /* x 2 vectors */
    MOST_ROWS_FEW = 6,     /* x 2 vectors: 16 registers */
    FEWEST_ROWS = 4,       /* below, sums would wait for themselves */
    ARRANGED_READS = 64,   /* units read that a work-item arranges for a panel */
    STRETCH_ITEMS = 200,   /* items of some steps, of the weight gradient: a panel stays in L1 */
    UNIT_TILES = 2,        /* of the weight gradient, for each compute unit */
    MOST_TILE_VECTORS = 16 /* a side of a tile: a stretch of as many vectors stays in L2 */
};

/* ---- Set-up --------------------------------------------------------------------------------- */

/* A work-item for each compute unit, as many items in each as are left without idle registers. With one
 * vector to a panel, 25 items take the weights once and no row is idle; with two they take them twice, as
 * 26 rows. Few items need the second vector to keep the units busy. */
static void share_out(const struct wa_engine *engine, int batch, struct wa_sequence_cpu *cpu)
{
    int most_rows = engine->registers >= WA_MANY_REGISTERS ? MOST_ROWS : MOST_ROWS_FEW;
    int units = wa_clamp((int)engine->device->info.compute_units, 1, batch);
    int slice_items = wa_divide_up(batch, units);
    slice_items = slice_items < FEWEST_ROWS && batch >= FEWEST_ROWS ? FEWEST_ROWS : slice_items;
    cpu->vectors = 2;
    if (most_rows == MOST_ROWS && slice_items > MOST_ROWS) {
        cpu->vectors = 1;
        most_rows = MOST_ROWS_LONE;
    }
    int slice_blocks = wa_divide_up(slice_items, most_rows);
    cpu->rows = wa_divide_up(slice_items, slice_blocks);
    cpu->blocks = wa_divide_up(batch, cpu->rows);
    cpu->slices = wa_divide_up(cpu->blocks, slice_blocks);
}

wa_status wa_sequence_cpu_create(struct wa_session *session)
{
    struct wa_engine *engine = session->engine;
    struct wa_sequence *q = session->sequence;
    struct wa_sequence_cpu *cpu = &q->cpu;
    const struct {
        const char *name;
        cl_kernel *kernel;
    } kernels[] = {
        {"sequence_arrange", &cpu->arrange},   {"sequence_forward", &cpu->forward},
        {"sequence_backward", &cpu->backward}, {"sequence_project", &cpu->project},
        {"sequence_gradient", &cpu->gradient},
    };
    char options[48];
    share_out(engine, q->batch, cpu);
    cpu->panel = cpu->vectors * engine->vector_width;
    cpu->panels = wa_divide_up(q->units, cpu->panel);
    (void)snprintf(options, sizeof options, "-D ROWS=%d -D VECTORS=%d", cpu->rows, cpu->vectors);
    wa_status status = WA_OK;
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels && status == WA_OK; i++) {
        status = wa_engine_kernel(engine, "cpu_sequence.cl", kernels[i].name, options,
                                  kernels[i].kernel, session->err);
    }
    return status;
}

void wa_sequence_cpu_finish(struct wa_sequence *q)
{
    cl_kernel kernels[] = {q->cpu.arrange, q->cpu.forward, q->cpu.backward, q->cpu.project,
                           q->cpu.gradient};
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        if (kernels[i]) {
            (void)clReleaseKernel(kernels[i]);
        }
    }
    q->cpu = (struct wa_sequence_cpu){0};
}

size_t wa_sequence_cpu_arranged_floats(const struct wa_sequence *q)
{
    return (size_t)q->cpu.panels * (size_t)q->cpu.panel * (size_t)q->units;
}

size_t wa_sequence_cpu_floats(const struct wa_sequence *q, int steps)
{
    return (size_t)q->cpu.panels * (size_t)q->cpu.panel * (size_t)steps * (size_t)q->cpu.blocks *
           (size_t)q->cpu.rows;
}

/* flop of the direct algorithm, for all steps of the batch. */
static void count_flop(struct wa_session *session, int m, int n)
{
    const struct wa_sequence *q = session->sequence;
    session->engine->flop +=
        (uint64_t)2 * (uint64_t)m * (uint64_t)n * (uint64_t)q->steps * (uint64_t)q->batch;
}

wa_status wa_sequence_cpu_arrange(struct wa_session *session, const struct wa_weights *weights,
                                  bool is_backward)
{
    const struct wa_sequence *q = session->sequence;
    struct wa_range range = {
        2, {(size_t)q->cpu.panels, (size_t)wa_divide_up(q->units, ARRANGED_READS)}, {1, 1}};
    return wa_engine_launch(session->engine, q->cpu.arrange, &range, session->err, "mmiiii",
                            weights->memory, weights->arranged[is_backward],
                            (int)wa_sequence_recurrent_offset(session), q->units, (int)is_backward,
                            ARRANGED_READS);
}

/* ---- Forward -------------------------------------------------------------------------------- */

/* s_0 is the trained one for every weights set: the frozen recurrence starts from it too. */
wa_status wa_sequence_cpu_forward(struct wa_session *session, const struct wa_weights *weights,
                                  const struct wa_tape *tape)
{
    const struct wa_sequence *q = session->sequence;
    const struct wa_model_layer *l = &session->model.layers[WA_RECURRENCE];
    const struct wa_model_layer *top = &session->model.layers[WA_READOUT];
    struct wa_range slices = {1, {(size_t)q->cpu.slices}, {1}};
    count_flop(session, q->units + q->outputs, q->units);
    return wa_engine_launch(session->engine, q->cpu.forward, &slices, session->err,
                            "mmmmmmiiiiiiiiiiiifff", weights->arranged[0], weights->memory,
                            session->live->memory, session->images, tape->layers[WA_RECURRENCE].a,
                            tape->layers[WA_READOUT].h, (int)l->state_offset, l->state_count > 0,
                            (int)l->weight_offset, (int)l->bias_offset, (int)top->weight_offset,
                            q->inputs, q->outputs, q->units, q->batch, q->lanes, q->cpu.blocks,
                            q->steps, (double)l->scale, (double)l->input_scale, (double)top->scale);
}

/* ---- Backward ------------------------------------------------------------------------------- */

/* Gradients of weights [factor][unit] from values of all steps, the first of them at `first_step` of
 * those kept; bias_base -1: none. */
static wa_status project(struct wa_session *session, cl_mem values, int first_step, int kept_steps,
                         cl_mem factors, int factor_count, size_t base, int bias_base, double scale)
{
    const struct wa_sequence *q = session->sequence;
    struct wa_range range = {1, {(size_t)q->cpu.panels}, {1}};
    count_flop(session, factor_count, q->units);
    return wa_engine_launch(session->engine, q->cpu.project, &range, session->err, "mmmiiiiiiiiiif",
                            values, factors, session->gradients, (int)base, bias_base, factor_count,
                            q->units, q->batch, q->lanes, q->cpu.blocks * q->cpu.rows, q->steps,
                            first_step, kept_steps, scale);
}

/* dW = scale sum over steps and items of E s^T, with the states of the gradient's tape. */
wa_status wa_sequence_cpu_readout_gradient(struct wa_session *session, const wa_backward *b)
{
    const struct wa_sequence *q = session->sequence;
    const struct wa_model_layer *l = &session->model.layers[WA_READOUT];
    wa_status status = project(session, b->gradient_tape->layers[WA_RECURRENCE].a, 1, q->steps + 1,
                               b->delta->error, q->outputs, l->weight_offset, -1, (double)l->scale);
    return status == WA_OK ? wa_sequence_sum(session, b->delta->error, l->bias_offset, q->outputs)
                           : status;
}

/* Tiles to a side of the weight gradient: the larger a tile, the less is read, but compute units want
 * some each. Cut in whatever way, each sum stays as it is. */
static int tile_parts(const struct wa_engine *engine)
{
    int parts = 1;
    while (parts * parts < UNIT_TILES * (int)engine->device->info.compute_units) {
        parts++;
    }
    return parts;
}

/* dW = scale sum s_{t-1} dz_t^T, dW_in the same with x_t, db = sum dz_t. */
wa_status wa_sequence_cpu_recurrence_gradient(struct wa_session *session, const wa_backward *b,
                                              cl_mem dz)
{
    const struct wa_sequence *q = session->sequence;
    const struct wa_model_layer *l = &session->model.layers[WA_RECURRENCE];
    int block = 2 * session->engine->output_block / q->cpu.vectors;
    int most_panels = MOST_TILE_VECTORS / q->cpu.vectors;
    int parts = tile_parts(session->engine);
    int tile_panels = wa_clamp(wa_divide_up(q->cpu.panels, parts), 1, most_panels);
    int row_blocks =
        wa_clamp(wa_divide_up(q->units, parts * block), 1, most_panels * q->cpu.panel / block);
    struct wa_range range = {2,
                             {(size_t)wa_divide_up(q->units, row_blocks * block),
                              (size_t)wa_divide_up(q->cpu.panels, tile_panels)},
                             {1, 1}};
    count_flop(session, q->units, q->units);
    wa_status status = wa_engine_launch(
        session->engine, q->cpu.gradient, &range, session->err, "mmmiiiiiiiif",
        b->gradient_tape->layers[WA_RECURRENCE].a, dz, session->gradients,
        (int)wa_sequence_recurrent_offset(session), q->units, q->batch, q->cpu.blocks * q->cpu.rows,
        q->steps, wa_clamp(STRETCH_ITEMS / q->batch, 1, q->steps), row_blocks, tile_panels,
        (double)l->scale);
    return status == WA_OK ? project(session, dz, 0, q->steps, session->images, q->inputs,
                                     l->weight_offset, (int)l->bias_offset, (double)l->input_scale)
                           : status;
}

/* From the last step to the first: the error goes on through the transport's weights, and slopes of its
 * tape; the arguments that a launch has no use for are stand-ins. */
wa_status wa_sequence_cpu_through_time(struct wa_session *session, const wa_backward *b)
{
    const struct wa_sequence *q = session->sequence;
    const struct wa_model_layer *l = &session->model.layers[WA_RECURRENCE];
    const struct wa_model_layer *top = &session->model.layers[WA_READOUT];
    bool has_other = wa_sequence_has_two_nets(b);
    bool readout_joins = top->shape.join != WA_JOIN_NONE;
    const struct wa_tape *other = has_other ? b->gradient_tape : b->transport_tape;
    struct wa_range slices = {1, {(size_t)q->cpu.slices}, {1}};
    if (b->transport) {
        count_flop(session, q->units, q->units);
    }
    return wa_engine_launch(
        session->engine, q->cpu.backward, &slices, session->err, "mmmmmmmmiiiiiiiiiiiiff",
        b->transport ? b->transport->arranged[1] : session->live->memory, b->delta->carrier->memory,
        b->delta->error, b->transport_tape->layers[WA_RECURRENCE].a, other->layers[WA_RECURRENCE].a,
        q->transport_dz, has_other ? q->gradient_dz : q->losses, session->gradients,
        b->transport != NULL, (int)has_other, (int)readout_joins,
        b->transport && l->state_count > 0, (int)top->weight_offset, (int)l->state_offset,
        q->outputs, q->units, q->batch, q->lanes, q->cpu.blocks, q->steps, (double)l->scale,
        (double)top->scale);
}
