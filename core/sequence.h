/* Networks with a recurrence: a recurrent layer over the rows of the items and a readout at each of
 * them. What rule_host.c does layer by layer for other networks is done here for the whole sequence,
 * without truncation, behind the same services: a rule does not know which network it trains.
 *
 * The steps themselves are matrix products (matrix.h) and the kernels of kernels/sequence.cl; the
 * weight gradients of all steps are one product over time and batch.
 */
#ifndef WALIGN_CORE_SEQUENCE_H
#define WALIGN_CORE_SEQUENCE_H

#include "session_private.h"

/* A wa_delta stands at the readout's output (layer 1) or at the states (layer 0). There it is not
 * held as a tensor: it is the error and the readout's weights that carried it down. */

/* Kernels, buffers and tapes of a session whose model is a sequence, after the planning pass (like
 * wa_rule_host_allocate it runs twice, first to add up sizes); into session->sequence, wa_sequence_finish
 * takes NULL and what was left half done. */
WA_MUST_CHECK wa_status wa_sequence_allocate(struct wa_session *session);
void wa_sequence_finish(struct wa_session *session);

/* wa_rule_host's services of these names; arguments are checked, and planning is the caller's. */
WA_MUST_CHECK wa_status wa_sequence_forward(struct wa_session *session, struct wa_weights *weights,
                                            struct wa_tape *tape);
WA_MUST_CHECK wa_status wa_sequence_output_error(struct wa_session *session,
                                                 const struct wa_tape *tape,
                                                 struct wa_delta *delta);
WA_MUST_CHECK wa_status wa_sequence_backward(struct wa_session *session, const wa_backward *backward);

#endif
