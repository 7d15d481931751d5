/* Inside the CPU path: what operations_cpu.c, convolution_cpu.c and weight_gradient_cpu.c share. */
#ifndef WALIGN_CORE_OPERATIONS_CPU_H
#define WALIGN_CORE_OPERATIONS_CPU_H

#include "operations_private.h"
#include "tuning.h"

enum { WA_CPU_BLOCK_VECTORS = 3 }; /* vectors of lanes in a block of the convolution */

/* A direct convolution in one direction (kernels/cpu_convolution.cl). */
struct wa_cpu_direction {
    cl_mem jobs, taps;
    int job_count;
    size_t items;
    int outputs_per_item, most_gathered;
    size_t accumulator_bytes, gathered_bytes;
};

/* A weight gradient: by vectors of lanes (out_vectors 0) or of output channels. */
struct wa_cpu_gradient {
    cl_mem walk, taps;
    int out_vectors;
    int parts, channel_block;
    size_t local_bytes, partial_floats;
};

/* A Winograd convolution in one direction (kernels/cpu_winograd.cl, cpu_winograd_stride2.cl). */
struct wa_cpu_winograd {
    bool is_used;
    cl_kernel kernel, weights_kernel; /* the path's */
    cl_mem table;
    int groups;
    size_t weight_offset, scratch_floats;
};

/* A weight gradient by Winograd's products. */
struct wa_cpu_winograd_gradient {
    bool is_used;
    cl_kernel kernel, finish; /* the path's */
    cl_mem table;
    int parts, kind;
    size_t scratch_floats, partial_floats;
};

struct wa_cpu_layer {
    struct wa_cpu_direction directions[2]; /* forward, backward */
    struct wa_cpu_winograd winograd[2];
    struct wa_cpu_winograd_gradient winograd_gradient;
    int map_base; /* of the layer's map of constant places */
    struct wa_cpu_gradient gradient;
};

enum { WA_CPU_OUT_VECTOR_KINDS = 3 }; /* 1, 2 and 4 vectors of outputs */

struct wa_path_state {
    struct wa_cpu_layer *layers;
    cl_kernel convolution, weight_gradient, weight_gradient_finish;
    cl_kernel batch_norm_forward, batch_norm_backward, pool;
    cl_kernel shallow_forward, shallow_gradient; /* where some layer reads few values */
    cl_kernel load_batch_bytes, load_batch_floats;
    cl_kernel dense_forward, dense_backward; /* where the first layer is dense */
    /* by the logarithm of out_vectors; only those that some layer uses */
    cl_kernel wide_gradient[WA_CPU_OUT_VECTOR_KINDS], wide_finish[WA_CPU_OUT_VECTOR_KINDS];
    cl_mem partial, bias_partial;
    /* where some layer uses Winograd's products: */
    cl_kernel winograd, winograd_weights, map_image, map_layers;
    /* by the logarithm of out_vectors */
    cl_kernel winograd_gradient[WA_CPU_OUT_VECTOR_KINDS];
    cl_kernel winograd_finish[WA_CPU_OUT_VECTOR_KINDS];
    cl_kernel winograd_stride2, winograd_stride2_weights;
    cl_kernel stride2_gradient[WA_CPU_OUT_VECTOR_KINDS], stride2_finish[WA_CPU_OUT_VECTOR_KINDS];
    cl_mem scratch, map, map_table;
    int map_count;
};

/* How a gradient at a layer's output is walked, and what it counts: after pooling all positions of a channel
 * share one. operations_cpu.c */
struct wa_strides {
    int plane, row, column;
    double share;
};
struct wa_strides wa_cpu_source_strides(const struct wa_layout *out, bool is_pooled);

/* Whether a tensor is larger than what the cache still holds of it when it is read again. operations_cpu.c */
bool wa_cpu_leaves_cache(const struct wa_engine *engine, const struct wa_layout *layout);

/* dense_cpu.c: hidden dense layers of a network that has no others. */
void wa_cpu_dense_programs(const struct wa_engine *engine, const struct wa_model *model,
                           const char *batch_options, struct wa_program_list *list);
WA_MUST_CHECK wa_status wa_cpu_dense_init(struct wa_operations *operations,
                                          const char *batch_options, struct wa_error *err);
void wa_cpu_dense_finish(struct wa_operations *operations);
/* Of a layer's products those that are joined with the activation behind them. */
bool wa_cpu_dense_joins(const struct wa_operations *operations, uint32_t layer,
                        enum wa_product product);
WA_MUST_CHECK wa_status wa_cpu_dense_backward(struct wa_operations *operations, uint32_t layer,
                                              struct wa_gradient_source source, cl_mem h,
                                              cl_mem slope_h, cl_mem inverse, cl_mem dz,
                                              struct wa_error *err);
WA_MUST_CHECK wa_status wa_cpu_dense_forward(struct wa_operations *operations, uint32_t layer,
                                             cl_mem weights, cl_mem x, cl_mem z, bool keep_h,
                                             cl_mem a, const struct wa_layout *a_layout,
                                             cl_mem inverse, struct wa_error *err);

/* convolution_cpu.c; gathered_taps: of the tuning, 0 for the default */
WA_MUST_CHECK wa_status wa_cpu_direction_init(struct wa_operations *operations,
                                              const struct wa_convolution *convolution,
                                              size_t arranged_offset, int gathered_taps,
                                              struct wa_cpu_direction *ret_direction,
                                              struct wa_error *err);
void wa_cpu_direction_finish(struct wa_engine *engine, struct wa_cpu_direction *direction);
WA_MUST_CHECK wa_status wa_cpu_convolve(struct wa_operations *operations, uint32_t layer,
                                        bool is_backward, cl_mem arranged, cl_mem x, cl_mem y,
                                        struct wa_error *err);

static inline void wa_cpu_release_kernel(cl_kernel kernel)
{
    if (kernel) {
        (void)clReleaseKernel(kernel);
    }
}

/* winograd_cpu.c: whether a layer's convolution goes this way. */
bool wa_cpu_winograd_fits(const struct wa_engine *engine, const struct wa_model_layer *layer,
                          bool is_backward);
/* Whether some layer of this stride has a product that goes this way. */
bool wa_cpu_winograd_uses(const struct wa_engine *engine, const struct wa_model *model,
                          uint32_t stride);
/* Kernels, tables, scratch and maps for all layers; nothing where none goes this way. */
WA_MUST_CHECK wa_status wa_cpu_winograd_init(struct wa_operations *operations,
                                             struct wa_error *err);
void wa_cpu_winograd_finish(struct wa_operations *operations);
void wa_cpu_winograd_programs(const struct wa_engine *engine, const struct wa_model *model,
                              struct wa_program_list *list);
/* Whether a layer's weight gradient goes this way. */
bool wa_cpu_winograd_gradient_fits(const struct wa_engine *engine,
                                   const struct wa_model_layer *layer);
/* The programs and kernels of the weight gradients of a stride, by kind; those that some layer wants. */
void wa_cpu_winograd_gradient_programs(const struct wa_engine *engine, const struct wa_model *model,
                                       uint32_t stride, const char *file,
                                       struct wa_program_list *list);
WA_MUST_CHECK wa_status wa_cpu_winograd_gradient_kernels(
    struct wa_operations *operations, uint32_t stride, const char *file, const char *name,
    cl_kernel *ret_kernels, const char *finish_name, cl_kernel *ret_finishes, struct wa_error *err);
/* Chunks and parts of a gradient: vectors of lanes that a chunk takes, floats of a part, parts that
 * fit. */
int wa_cpu_winograd_gradient_vectors(size_t vector_bytes);
size_t wa_cpu_winograd_gradient_part(const struct wa_engine *engine,
                                     const struct wa_model_layer *layer);
int wa_cpu_winograd_gradient_parts(const struct wa_engine *engine,
                                   const struct wa_model_layer *layer, int chunks);
size_t wa_cpu_winograd_floats(const struct wa_operations *operations, bool is_backward);
/* Transforms all layers' weights behind the arranged ones. */
WA_MUST_CHECK wa_status wa_cpu_winograd_arrange(struct wa_operations *operations, bool is_backward,
                                                cl_mem arranged, struct wa_error *err);
WA_MUST_CHECK wa_status wa_cpu_winograd_convolve(struct wa_operations *operations, uint32_t layer,
                                                 bool is_backward, cl_mem arranged, cl_mem x,
                                                 cl_mem y, struct wa_error *err);
WA_MUST_CHECK wa_status wa_cpu_winograd_weight_gradient(struct wa_operations *operations,
                                                        uint32_t layer, cl_mem x, cl_mem dz,
                                                        cl_mem gradients, struct wa_error *err);
/* Finds the places of a batch's images, and of the layers above, that are constant over the batch. */
WA_MUST_CHECK wa_status wa_cpu_winograd_map(struct wa_operations *operations, cl_mem images,
                                            struct wa_error *err);

/* winograd_stride2_cpu.c: whether the kernels can serve a layer; whether that is expected to pay. */
bool wa_cpu_winograd_stride2_can(const struct wa_model_layer *layer, bool is_backward);
bool wa_cpu_winograd_stride2_pays(const struct wa_model_layer *layer);
bool wa_cpu_winograd_stride2_gradient_pays(const struct wa_model_layer *layer);
/* Kernels, where some layer goes this way; then the table of one layer and direction, with its kernels. */
WA_MUST_CHECK wa_status wa_cpu_winograd_stride2_init(struct wa_operations *operations,
                                                     struct wa_error *err);
WA_MUST_CHECK wa_status wa_cpu_winograd_stride2_table(struct wa_operations *operations,
                                                      uint32_t layer, bool is_backward,
                                                      struct wa_error *err);
WA_MUST_CHECK wa_status wa_cpu_winograd_stride2_gradient_table(struct wa_operations *operations,
                                                               uint32_t layer,
                                                               struct wa_error *err);
void wa_cpu_winograd_stride2_finish(struct wa_operations *operations);
void wa_cpu_winograd_stride2_programs(const struct wa_engine *engine, const struct wa_model *model,
                                      struct wa_program_list *list);

/* weight_gradient_cpu.c */
/* The logarithm of the vectors of output channels that a gradient's sums are kept in. */
int wa_cpu_gradient_kind(const struct wa_engine *engine, const struct wa_model_layer *layer);
int wa_cpu_gradient_out_vectors(const struct wa_engine *engine, const struct wa_model_layer *layer);
void wa_cpu_gradient_options(int out_vectors, char ret_options[WA_BATCH_OPTION_BYTES]);
WA_MUST_CHECK wa_status wa_cpu_gradient_init(struct wa_operations *operations,
                                             const struct wa_model_layer *layer,
                                             struct wa_cpu_gradient *ret_gradient,
                                             struct wa_error *err);
WA_MUST_CHECK wa_status wa_cpu_gradient_add_parts(struct wa_operations *operations,
                                                  const struct wa_model_layer *layer, int parts,
                                                  cl_mem gradients, struct wa_error *err);
void wa_cpu_gradient_finish(struct wa_engine *engine, struct wa_cpu_gradient *gradient);
WA_MUST_CHECK wa_status wa_cpu_weight_gradient(struct wa_operations *operations, uint32_t layer,
                                               cl_mem x, cl_mem dz, cl_mem gradients,
                                               struct wa_error *err);

/* shallow_cpu.c: whether a layer's convolution and batch norm go in one pass, and its gradient in another. */
bool wa_cpu_shallow_fits(const struct wa_engine *engine, const struct wa_model_layer *layer);
void wa_cpu_shallow_programs(const struct wa_engine *engine, const struct wa_model *model,
                             const char *batch_options, struct wa_program_list *list);
/* Kernels, where some layer goes this way. */
WA_MUST_CHECK wa_status wa_cpu_shallow_init(struct wa_operations *operations,
                                            const char *batch_options, struct wa_error *err);
void wa_cpu_shallow_finish(struct wa_operations *operations);
size_t wa_cpu_shallow_partial_floats(const struct wa_engine *engine,
                                     const struct wa_model_layer *layer);
WA_MUST_CHECK wa_status wa_cpu_shallow_forward(struct wa_operations *operations, uint32_t layer,
                                               cl_mem arranged, cl_mem x, cl_mem h, bool keep_h,
                                               cl_mem a, const struct wa_layout *a_layout,
                                               cl_mem inverse, struct wa_error *err);
WA_MUST_CHECK wa_status wa_cpu_shallow_gradient(struct wa_operations *operations, uint32_t layer,
                                                struct wa_gradient_source source,
                                                const struct wa_passed *passed, cl_mem x,
                                                cl_mem gradients, struct wa_error *err);
bool wa_cpu_shallow_remakes(const struct wa_operations *operations, uint32_t layer);

#endif
