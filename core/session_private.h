/* Shared by session.c, rule_host.c, sequence.c, parameters.c and optimizer_host.c only. */
#ifndef WALIGN_CORE_SESSION_PRIVATE_H
#define WALIGN_CORE_SESSION_PRIVATE_H

#include "operations.h"
#include "rng.h"
#include "session.h"
#include "walign/opencl.h"

/* Weights sets: live, frozen, feedback. `arranged` is the copy that convolution kernels read. */
struct wa_weights {
    struct wa_session *session;
    struct wa_weights *next;
    bool is_frozen;                    /* a copy of the live weights as drawn */
    bool is_borrowed;                  /* `memory` is the leader's */
    bool is_needed[2], is_arranged[2]; /* forward, backward */
    float *host;                       /* until everything is drawn */
    cl_mem memory, arranged[2];
};

struct tape_layer {
    cl_mem h;       /* z at first; scratch of the session where nothing looks at it later */
    cl_mem a;       /* activity; NULL for the readout, whose h holds the outputs */
    cl_mem inverse; /* 1/sqrt(var + epsilon) */
    cl_mem pooled;  /* where the layer above reads the mean over positions */
};

struct wa_tape {
    struct wa_session *session;
    struct wa_tape *next;
    const struct wa_weights *weights; /* of the last forward pass */
    bool keeps_h;                     /* some gradient needs it */
    struct tape_layer *layers;
};

struct wa_feedback {
    struct wa_session *session;
    struct wa_feedback *next;
    bool is_pooled;
    float **host;
    cl_mem *memory; /* [layer]: [channel][row][column][class], or [channel][class] */
};

/* Where the error stands: at the readout's output, or at the output of a layer below. */
struct wa_delta {
    struct wa_session *session;
    struct wa_delta *next;
    uint32_t layer;
    bool is_pooled, is_error;
    bool needs_whole;
    cl_mem error, pooled, whole;
    const struct wa_feedback *feedback; /* brings the output error, in place of `whole`; or NULL */
    cl_mem weights_above, dz_above;     /* whose product is not in `whole` yet, or NULL */
    const struct wa_weights *carrier;   /* of a sequence: carried the error down to the states */
};

struct optimizer {
    struct wa_plugin_host host;
    wa_optimizer_host table;
    const wa_optimizer_ops *ops;
    void *self;
    cl_kernel kernel;
    uint32_t state_count, scalar_count;
    char (*state_names)[32];
    cl_mem state; /* [state][parameter] */
};

struct wa_sequence; /* sequence.c */

enum { STAGINGS = 4 };

struct staging {
    unsigned char *bytes; /* items, then labels */
    cl_event done;
};

/* What changes with the size of a batch, for a size that is not at work; see session_sizes.c. */
struct batch_size;

struct wa_session {
    struct wa_session_spec spec;
    struct wa_engine *engine;
    struct wa_model model;
    struct wa_operations *operations;

    struct architecture_host *architecture;
    struct wa_plugin_host rule_plugin, architecture_plugin;
    wa_rule_host rule_table;
    void *rule;
    struct optimizer optimizer;
    wa_opencl opencl; /* for rules with kernels of their own */

    struct wa_error *err; /* of the call that is under way: services report through it */
    bool is_planning;
    bool is_creating;
    struct wa_rng rng;

    struct wa_weights *weights; /* all sets; the live one is `live` */
    struct wa_tape *tapes;
    struct wa_feedback *feedbacks;
    struct wa_delta *deltas;
    struct wa_weights *live;    /* as the rule sees them */
    struct wa_weights *trained; /* what the optimizer changes: `live`, but of a follower its own */
    struct wa_tape *live_tape;  /* the one whose output error counts */
    struct wa_delta *error_delta;
    bool *is_trained, *is_state_trained;
    bool *has_gradient, *has_state_gradient, *needs_dz; /* found by planning */
    bool has_opencl_rule;         /* one that has asked for the device's buffers */
    bool joins_two_nets;          /* likewise: a gradient was of another tape than the transport */
    struct wa_sequence *sequence; /* NULL: a network of layers */
    const struct wa_weights **transports; /* by layer, found by planning; NULL: nothing goes down */

    struct wa_session *pair, *observer; /* followers, or NULL */
    bool observes_next;

    cl_mem images, items, labels, gradients, scratch, results, halted;
    cl_mem *dz; /* by layer; layers of one layout share one */
    size_t item_bytes, target_bytes;
    struct staging stagings[STAGINGS];
    size_t next_staging;
    int slot;
    int slot_items[WA_SESSION_SLOTS]; /* of the batch whose results go there */
    uint64_t step_launches, planned_bytes;

    struct wa_session_tensor *tensors;
    size_t tensor_count, parameter_tensor_count; /* parameters come first */

    struct batch_size *sizes; /* [spec.other_batch_count] */
    bool only_evaluates;      /* the size at work needs no more than a forward pass */
};

/* session.c: the model for a size of batch, and the buffers of a step that change with it. */
WA_MUST_CHECK wa_status wa_session_make_model(struct wa_session *session, int batch);
WA_MUST_CHECK wa_status wa_session_make_operations(struct wa_session *session);
WA_MUST_CHECK wa_status wa_session_allocate_batch(struct wa_session *session);

/* session_sizes.c: the other sizes of batches of spec.other_batches. A session works with one size;
 * wa_session_sizes_swap puts all that belongs to another one in its place, and puts it back when it is
 * called again. Create makes models and kernels, allocate the memory; finish takes what there is. */
WA_MUST_CHECK wa_status wa_session_sizes_create(struct wa_session *session);
WA_MUST_CHECK wa_status wa_session_sizes_allocate(struct wa_session *session);
void wa_session_sizes_finish(struct wa_session *session);
/* The place in `sizes` of batches of so many items; -1 for the usual one, WA_E_FAILED for others. */
WA_MUST_CHECK wa_status wa_session_sizes_find(struct wa_session *session, int items,
                                              bool is_trained, int *ret_place);
void wa_session_sizes_swap(struct wa_session *session, int place); /* -1: does nothing */

/* rule_host.c: the services of wa_rule_host; rule_memory.c: the memory behind its handles. */
void wa_rule_host_init(struct wa_session *session);
WA_MUST_CHECK wa_status wa_rule_host_draw(struct wa_session *session);
WA_MUST_CHECK wa_status wa_rule_host_allocate(struct wa_session *session);
/* The part of that which changes with the size of a batch; _release_batch frees it. */
WA_MUST_CHECK wa_status wa_rule_host_allocate_batch(struct wa_session *session);
void wa_rule_host_release_batch(struct wa_session *session);
/* Room for outputs of layers that no tape keeps; made once. */
WA_MUST_CHECK wa_status wa_rule_host_make_scratch(struct wa_session *session);
void wa_rule_host_finish(struct wa_session *session);
/* The layout in which a layer's activity is kept: as the layer above reads it. Not of the top layer. */
const struct wa_layout *wa_rule_host_activity_layout(const struct wa_session *session,
                                                     uint32_t layer);
WA_MUST_CHECK wa_status wa_rule_host_forward(struct wa_session *session,
                                             const struct wa_weights *weights,
                                             struct wa_tape *tape);
WA_MUST_CHECK wa_status wa_rule_host_output_error(struct wa_session *session,
                                                  const struct wa_tape *tape,
                                                  struct wa_delta *delta);

/* session.c: puts the place of a plugin's section before what is wrong with its values. */
wa_status wa_session_add_place(struct wa_session *session, const char *place, wa_status status);

/* session.c, for followers */
void wa_session_set_error(struct wa_session *session, struct wa_error *err);
WA_MUST_CHECK wa_status wa_session_compute_update(struct wa_session *session);

/* session_follow.c: the followers' part of a training step. */
WA_MUST_CHECK wa_status wa_session_follow(struct wa_session *session, uint64_t step);

/* opencl_extension.c: what the rule's get_extension answers. */
void wa_opencl_extension_init(struct wa_session *session);

/* parameters.c: the tensors of weights sets and optimizer state, as checkpoints hold them. */
WA_MUST_CHECK wa_status wa_parameters_list(struct wa_session *session);

/* optimizer_host.c */
WA_MUST_CHECK wa_status wa_optimizer_host_create(struct wa_session *session);
WA_MUST_CHECK wa_status wa_optimizer_host_apply(struct wa_session *session, uint64_t step);
void wa_optimizer_host_finish(struct wa_session *session);

#endif
