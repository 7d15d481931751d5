/* Networks with a recurrence: a recurrent layer over the rows of the items and a readout at each of
 * them. What rule_host.c does layer by layer for other networks is done here for the whole sequence,
 * without truncation, behind the same services: a rule does not know which network it trains.
 *
 * On the GPU path a step is a matrix product (matrix.h) and kernels of kernels/sequence.cl, and the
 * weight gradients of all steps are one product over time and batch. On the CPU path one launch takes
 * all steps (sequence_cpu.c, kernels/cpu_sequence.cl).
 */
#ifndef WALIGN_CORE_SEQUENCE_H
#define WALIGN_CORE_SEQUENCE_H

#include "session_private.h"

/* A wa_delta stands at the readout's output (layer 1) or at the states (layer 0). There it is not
 * held as a tensor: it is the error and the readout's weights that carried it down. */

/* Kernels, buffers and tapes of a session whose model is a sequence, after the planning pass; into
 * session->sequence, wa_sequence_finish takes NULL and what was left half done. */
WA_MUST_CHECK wa_status wa_sequence_allocate(struct wa_session *session);
void wa_sequence_finish(struct wa_session *session);

/* Fills weights->arranged[is_backward] from the weights. */
WA_MUST_CHECK wa_status wa_sequence_arrange(struct wa_session *session,
                                            const struct wa_weights *weights, bool is_backward);

/* wa_rule_host's services of these names; arguments are checked, planning and the arranging of weights
 * are the caller's. */
WA_MUST_CHECK wa_status wa_sequence_forward(struct wa_session *session,
                                            const struct wa_weights *weights,
                                            const struct wa_tape *tape);
WA_MUST_CHECK wa_status wa_sequence_output_error(struct wa_session *session,
                                                 const struct wa_tape *tape,
                                                 struct wa_delta *delta);
WA_MUST_CHECK wa_status wa_sequence_backward(struct wa_session *session,
                                             const wa_backward *backward);

#endif
