/* Inside the recurrence: what sequence.c and the CPU path's sequence_cpu.c share. */
#ifndef WALIGN_CORE_SEQUENCE_PRIVATE_H
#define WALIGN_CORE_SEQUENCE_PRIVATE_H

#include "sequence.h"

enum { WA_RECURRENCE = 0, WA_READOUT = 1 }; /* the layers */

/* The CPU path's part (kernels/cpu_sequence.cl): items in blocks of `rows`, units in panels. */
struct wa_sequence_cpu {
    cl_kernel arrange, forward, backward, project, gradient;
    int panel, panels;
    int rows, blocks; /* rows * blocks: rows of a step, some of them past the batch */
    int vectors;      /* of a panel */
    int slices;       /* work-items that the blocks are shared out to */
};

struct wa_sequence {
    struct wa_sequence_cpu cpu;                             /* of the CPU path */
    cl_kernel turn, start, activate, slope, state_gradient; /* of the GPU path */
    cl_kernel error, loss, sum;
    int steps, units, inputs, outputs, batch, lanes;
    cl_mem now, product;              /* GPU path: [unit][lane] of one step, operand and result */
    cl_mem transport_dz, gradient_dz; /* of all steps; the second where two nets are joined */
    cl_mem unused;                    /* GPU path: `now` of the net that carries nothing on */
    cl_mem losses;                    /* [step] */
};

/* Offset of the recurrent weights, which follow those of the inputs. */
static inline size_t wa_sequence_recurrent_offset(const struct wa_session *session)
{
    const struct wa_model_layer *l = &session->model.layers[WA_RECURRENCE];
    return l->weight_offset + l->input_count;
}

/* Whether the gradient belongs to another net than the one that carries the error. */
static inline bool wa_sequence_has_two_nets(const wa_backward *b)
{
    return b->gradient_tape && b->gradient_tape != b->transport_tape;
}

/* sequence.c: gradients [row] of a bias, from values [row][step][lane]. */
WA_MUST_CHECK wa_status wa_sequence_sum(struct wa_session *session, cl_mem values, size_t base,
                                        int rows);

/* sequence_cpu.c: kernels and how items are shared out; finish takes what was left half done. */
WA_MUST_CHECK wa_status wa_sequence_cpu_create(struct wa_session *session);
void wa_sequence_cpu_finish(struct wa_sequence *sequence);
/* Floats of a set's arranged weights; of states or their gradients for so many steps. */
size_t wa_sequence_cpu_arranged_floats(const struct wa_sequence *sequence);
size_t wa_sequence_cpu_floats(const struct wa_sequence *sequence, int steps);
/* The parts of wa_sequence's services; dz is that of the gradient's net. Through time also gives the
 * gradient of the initial state. */
WA_MUST_CHECK wa_status wa_sequence_cpu_arrange(struct wa_session *session,
                                                const struct wa_weights *weights, bool is_backward);
WA_MUST_CHECK wa_status wa_sequence_cpu_forward(struct wa_session *session,
                                                const struct wa_weights *weights,
                                                const struct wa_tape *tape);
WA_MUST_CHECK wa_status wa_sequence_cpu_readout_gradient(struct wa_session *session,
                                                         const wa_backward *backward);
WA_MUST_CHECK wa_status wa_sequence_cpu_through_time(struct wa_session *session,
                                                     const wa_backward *backward);
WA_MUST_CHECK wa_status wa_sequence_cpu_recurrence_gradient(struct wa_session *session,
                                                            const wa_backward *backward, cl_mem dz);

#endif
