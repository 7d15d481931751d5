/* One network in training on one device: its weights, a rule and an optimizer, and the steps they
 * take. Knows no dataset and no files: the trainer brings batches, the checkpoint reads parameters.
 *
 * A step only enqueues. Losses and counts stay on the device until wa_session_collect.
 */
#ifndef WALIGN_CORE_SESSION_H
#define WALIGN_CORE_SESSION_H

#include "batch.h"
#include "engine.h"
#include "matrix.h"
#include "model.h"
#include "module.h"
#include "plugin_host.h"

enum { WA_SESSION_OTHER_BATCHES = 3 };

/* Another size of batches than the usual one. */
struct wa_session_batch {
    int items;
    bool is_trained; /* not only evaluated */
};

/* What a session is made of; all of it is borrowed and outlives the session. */
struct wa_session_spec {
    struct wa_engine *engine;
    const struct wa_plugin_record *architecture, *rule, *optimizer;
    json_object *architecture_options, *rule_options, *optimizer_options;
    const char *config_folder;
    /* Where their sections stand, for what plugins say of wrong values; or NULL. */
    const char *architecture_place, *rule_place, *optimizer_place;
    wa_dataset_info data; /* shape of items, classes, element, target offset */
    int batch;
    /* Smaller batches that will come too, all different. */
    struct wa_session_batch other_batches[WA_SESSION_OTHER_BATCHES];
    size_t other_batch_count;
    uint32_t seed;
    bool is_standard; /* standard parameterization */
    /* NULL, or the session whose batches and weights this one's rule works on (session_follow.c). */
    struct wa_session *leader;
    bool is_observer; /* a follower that only leaves its gradient: no weights of its own */
};

struct wa_session;

/* Builds the network, draws its weights, lets the rule plan one step, allocates everything. */
WA_MUST_CHECK wa_status wa_session_create(const struct wa_session_spec *spec,
                                          struct wa_session **ret_session, struct wa_error *err);
void wa_session_destroy(struct wa_session *session);

/* Steps whose results may be outstanding; collect before there are more. */
enum { WA_SESSION_SLOTS = 256 };

/* Enqueues one training step. The batch, of one of the sizes in the spec, may be reused when the call
 * returns. `step` counts from 1. */
WA_MUST_CHECK wa_status wa_session_train(struct wa_session *session, const struct wa_batch *batch,
                                         uint64_t step, struct wa_error *err);

/* Enqueues a forward pass with the loss and accuracy of a batch; changes nothing. */
WA_MUST_CHECK wa_status wa_session_evaluate(struct wa_session *session,
                                            const struct wa_batch *batch, struct wa_error *err);

struct wa_session_result {
    float loss, correct; /* of one batch, before its update; correct: 0 where targets are values */
    int items;           /* of that batch */
};

/* Waits, and takes the results of the train and evaluate calls since the last collect, in order. */
WA_MUST_CHECK wa_status wa_session_collect(struct wa_session *session,
                                           struct wa_session_result ret_results[WA_SESSION_SLOTS],
                                           size_t *ret_count, struct wa_error *err);

/* Name of the first tensor that holds NaN or infinity: weights, then outputs of the layers; "loss" if
 * all are finite. Valid after a result that is not finite: updates stopped there. */
WA_MUST_CHECK wa_status wa_session_first_bad_tensor(struct wa_session *session, char *ret_name,
                                                    size_t bytes, struct wa_error *err);

/* A tensor of parameters or state, as checkpoints hold it. */
struct wa_session_tensor {
    char name[96]; /* "conv1.weight" */
    size_t shape[4];
    size_t dimensions;
    size_t count; /* floats */
    cl_mem memory;
    size_t offset; /* floats */
};

/* All tensors that a checkpoint keeps: weights and biases bottom to top, then the optimizer's state
 * ("state.<name>.<tensor>"), then the same of a pair ("align.<tensor>", "state.align.<name>.<tensor>").
 * The array lives as long as the session, or until a pair is added. */
const struct wa_session_tensor *wa_session_tensors(const struct wa_session *session,
                                                   size_t *ret_count);

WA_MUST_CHECK wa_status wa_session_read(struct wa_session *session,
                                        const struct wa_session_tensor *tensor, float *ret_values,
                                        struct wa_error *err);
WA_MUST_CHECK wa_status wa_session_write(struct wa_session *session,
                                         const struct wa_session_tensor *tensor,
                                         const float *values, struct wa_error *err);

/* Makes room for what steps write while wa_engine.omits_activations is set. */
WA_MUST_CHECK wa_status wa_session_prepare_omission(struct wa_session *session,
                                                    struct wa_error *err);

/* A copy of all these tensors, one behind the other, for wa_session_put_back; the caller frees it. */
WA_MUST_CHECK wa_status wa_session_keep(struct wa_session *session, float **ret_values,
                                        struct wa_error *err);
WA_MUST_CHECK wa_status wa_session_put_back(struct wa_session *session, const float *values,
                                            struct wa_error *err);

/* ---- Followers: a second rule on the same batches ------------------------------------------------
 *
 * A follower's rule sees the weights of this session as its live ones, and runs in wa_session_train
 * between this session's rule and optimizer: so both rules work on the same weights and batch, and
 * nothing of this session's numbers changes. The session owns its followers. Add them right after
 * create, while the weights are as drawn: W(0) of a follower is taken from them. `options` are
 * borrowed, as those of the spec. */

/* A second net, of weights that start alike and collect what `rule` computes from this net's error,
 * through an optimizer of its own like this session's: the alignment pair. */
WA_MUST_CHECK wa_status wa_session_add_pair(struct wa_session *session,
                                            const struct wa_plugin_record *rule,
                                            json_object *options, struct wa_error *err);

/* A rule whose update this session's is compared with in the steps that are asked for. */
WA_MUST_CHECK wa_status wa_session_add_observer(struct wa_session *session,
                                                const struct wa_plugin_record *rule,
                                                json_object *options, struct wa_error *err);

/* The next train call runs the observer, too. */
void wa_session_observe_next(struct wa_session *session);

/* Angles in degrees by layer, NaN where there is none (a layer that is not trained, a zero vector). */
struct wa_session_angles {
    double update;   /* of the last observed step: between the two rules' weight gradients */
    double feedback; /* now: between the live weights and those that carry the error down */
    bool has_update, has_feedback; /* the layer is trained; it has transport weights of its own */
};

/* Waits. ret_angles [layer_count]. */
WA_MUST_CHECK wa_status wa_session_measure_angles(struct wa_session *session,
                                                  struct wa_session_angles *ret_angles,
                                                  struct wa_error *err);

const struct wa_model *wa_session_model(const struct wa_session *session);

/* What computes a product of a layer, for batches of the usual size: as wa_operations_algorithm. Not
 * of a recurrence. */
const char *wa_session_algorithm(const struct wa_session *session, uint32_t layer,
                                 enum wa_product product);

/* A matrix product of a step, for batches of the usual size. */
struct wa_session_product {
    const struct wa_model_layer *layer; /* of the session's model */
    const char *operation;              /* "forward", "direct feedback", ... */
    struct wa_matrix_shape shape;
    enum wa_matrix_library library; /* own or CLBlast */
};

/* All matrix products that steps of this session may enqueue (session_products.c), without those of
 * followers; the caller frees the array. */
WA_MUST_CHECK wa_status wa_session_products(const struct wa_session *session,
                                            struct wa_session_product **ret_products,
                                            size_t *ret_count, struct wa_error *err);

/* Bytes of all buffers that the plan listed, by name; for run.json and error messages. */
uint64_t wa_session_planned_bytes(const struct wa_session *session);

/* Kernel launches of the last training step. */
uint64_t wa_session_step_launches(const struct wa_session *session);

#endif
