/* The operations that networks and rules are made of, enqueued on a device: one function each, over
 * the layouts of model.h. None of them waits. The kernels are the engine path's: explicit vectors
 * for CPUs, scalar work-groups for GPUs. tests/support/reference_operations.c is the same in plain C.
 */
#ifndef WALIGN_CORE_OPERATIONS_H
#define WALIGN_CORE_OPERATIONS_H

#include "engine.h"
#include "matrix.h"
#include "model.h"

struct wa_operations;

/* "forward", "backward data", "weight gradient": as reports call them. */
const char *wa_operations_product_name(enum wa_product product);

/* What computes a product of a layer: "direct", "winograd", "matrix product", "clblast". */
const char *wa_operations_algorithm(const struct wa_operations *operations, uint32_t layer,
                                    enum wa_product product);

/* The matrix product that a dense layer's product is. */
struct wa_matrix_shape wa_operations_dense_shape(const struct wa_model *model, uint32_t layer,
                                                 enum wa_product product);

/* Blocking of the engine's kernels, for wa_model_init. */
struct wa_blocking wa_operations_blocking(const struct wa_engine *engine);

/* Builds the kernels and copies the model's tables to the device. Engine and model outlive it. */
WA_MUST_CHECK wa_status wa_operations_create(struct wa_engine *engine, const struct wa_model *model,
                                             struct wa_operations **ret_operations,
                                             struct wa_error *err);
void wa_operations_destroy(struct wa_operations *operations);

/* Matrix products as this device does them. */
struct wa_matrix *wa_operations_matrix(struct wa_operations *operations);

/* Floats of a set's weights in the order that convolution kernels read, forward or backward. */
size_t wa_operations_arranged_floats(const struct wa_operations *operations, bool is_backward);

/* Brings a weights set into that order, all layers at once. */
WA_MUST_CHECK wa_status wa_operations_arrange(struct wa_operations *operations, cl_mem weights,
                                              bool is_backward, cl_mem arranged,
                                              struct wa_error *err);

/* Items [n][row][column][channel] into the first layer's input. */
WA_MUST_CHECK wa_status wa_operations_load_batch(struct wa_operations *operations, cl_mem items,
                                                 wa_element element, cl_mem x,
                                                 struct wa_error *err);

/* z = sum over taps and channels of W x, unscaled, without bias. `weights` is used by dense layers,
 * `arranged` by the others. Dense layers scale: z = scale W x. */
WA_MUST_CHECK wa_status wa_operations_forward(struct wa_operations *operations, uint32_t layer,
                                              cl_mem weights, cl_mem arranged, cl_mem x, cl_mem z,
                                              struct wa_error *err);

/* Gradient at the layer's input from dz: g = W^T dz; `dz` is already scaled. */
WA_MUST_CHECK wa_status wa_operations_backward(struct wa_operations *operations, uint32_t layer,
                                               cl_mem weights, cl_mem arranged, cl_mem dz, cl_mem g,
                                               struct wa_error *err);

/* Weight and bias gradient of the layer into `gradients` (a weights set), from the layer's input x
 * and dz; takes the sums of dz that the last batch_norm_backward or output_error left. */
WA_MUST_CHECK wa_status wa_operations_weight_gradient(struct wa_operations *operations,
                                                      uint32_t layer, cl_mem x, cl_mem dz,
                                                      cl_mem gradients, struct wa_error *err);

/* h from z in place (batch norm as the layer declares it, bias from `weights`), a = activation(h) in
 * `a_layout`; keep_h: h is needed later. */
WA_MUST_CHECK wa_status wa_operations_activate(struct wa_operations *operations, uint32_t layer,
                                               cl_mem weights, cl_mem z, bool keep_h, cl_mem a,
                                               const struct wa_layout *a_layout, cl_mem inverse,
                                               struct wa_error *err);

/* Both: in one pass where the device's kernels can, and h is then written only with keep_h. Same bits. z may be
 * NULL where it is not written; h that
 * wa_operations_remakes is about needs no keeping. */
WA_MUST_CHECK wa_status wa_operations_forward_activate(struct wa_operations *operations,
                                                       uint32_t layer, cl_mem weights,
                                                       cl_mem arranged, cl_mem x, cl_mem z,
                                                       bool keep_h, cl_mem a,
                                                       const struct wa_layout *a_layout,
                                                       cl_mem inverse, struct wa_error *err);

/* A gradient at a layer's output: whole, or one for all positions of a channel ([channel][lane],
 * times 1/positions: what pooling sends down). Where wa_operations_joins_feedback says so, `feedback` (else
 * NULL) may give it instead: direct feedback [channel][row][column][class] times `memory`, the output error
 * [class][lane]. Where wa_operations_joins_backward says so of the layer above, wa_operations_backward of that may be
 * left to what takes the source, which puts its product into `memory`: `weights_above` (else NULL) and `dz_above`. */
struct wa_gradient_source {
    cl_mem memory;
    bool is_pooled;
    cl_mem feedback;
    cl_mem weights_above, dz_above;
};

/* Whether the layer's wa_operations_backward can be joined to the way back of the layer below. The layer's dz is then
 * read while that of the layer below is written: they need buffers of their own. */
bool wa_operations_joins_backward(const struct wa_operations *operations, uint32_t layer);

/* Whether the layers' way back takes direct feedback without it being multiplied out first. */
bool wa_operations_joins_feedback(const struct wa_operations *operations);

/* dz from the gradient at the layer's output: ReLU' where slope_h > 0, batch norm's way back with h
 * and inverse. */
WA_MUST_CHECK wa_status wa_operations_activate_backward(struct wa_operations *operations,
                                                        uint32_t layer,
                                                        struct wa_gradient_source source, cl_mem h,
                                                        cl_mem slope_h, cl_mem inverse, cl_mem dz,
                                                        struct wa_error *err);

/* Whether wa_operations_activate_gradient can make h of a layer again from the layer's input, so that it need
 * not be kept. `inverse` of such a layer takes twice as many floats. */
bool wa_operations_remakes(const struct wa_operations *operations, uint32_t layer);

/* What a layer's way forward left for its way back. */
struct wa_passed {
    cl_mem h;        /* NULL where it is made again, */
    cl_mem arranged; /* by the weights of that way forward */
    cl_mem inverse;
    /* ReLU' is 1 where this is positive: h itself (NULL with it); or of another net's way forward its h, where h
     * is NULL its activity, in slope_layout. */
    cl_mem slope;
    const struct wa_layout *slope_layout;
};

/* The same, and the weight gradient from it and the layer's input x, where nothing else needs dz: what that
 * holds afterwards is not said. */
WA_MUST_CHECK wa_status wa_operations_activate_gradient(
    struct wa_operations *operations, uint32_t layer, struct wa_gradient_source source,
    const struct wa_passed *passed, cl_mem dz, cl_mem x, cl_mem gradients, struct wa_error *err);

/* pooled [channel][lane] = mean over positions of the layer's output activity. */
WA_MUST_CHECK wa_status wa_operations_pool(struct wa_operations *operations, uint32_t layer,
                                           cl_mem a, const struct wa_layout *a_layout,
                                           cl_mem pooled, struct wa_error *err);

/* Loss, accuracy and the gradient at the readout's output (kernels/step.cl, output_error). */
struct wa_output_error {
    cl_mem outputs, labels, weights, error, results, halted;
    float target_offset;
    int slot;
};
WA_MUST_CHECK wa_status wa_operations_output_error(struct wa_operations *operations,
                                                   const struct wa_output_error *arguments,
                                                   struct wa_error *err);

/* g = B error at a layer's output: direct feedback [row of g][class] times error [class][lane]. */
WA_MUST_CHECK wa_status wa_operations_feed_back(struct wa_operations *operations, uint32_t layer,
                                                cl_mem feedback, int rows, cl_mem error, cl_mem g,
                                                struct wa_error *err);

/* The specs of all programs that wa_operations_create will ask for, to build them side by side
 * first. Returns how many there are; `buffers` holds their options. */
enum { WA_OPERATIONS_MAX_PROGRAMS = 16, WA_OPERATIONS_OPTION_BYTES = 256 };
size_t wa_operations_programs(const struct wa_engine *engine, const struct wa_model *model,
                              struct wa_program_spec ret_specs[WA_OPERATIONS_MAX_PROGRAMS],
                              char buffers[WA_OPERATIONS_MAX_PROGRAMS][WA_OPERATIONS_OPTION_BYTES]);

#endif
