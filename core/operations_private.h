/* Inside the operations: what operations.c shares with the paths' files, operations_cpu.c and
 * operations_gpu.c. A path owns its kernels, tables and launches; the public functions, the order
 * of weights, matrix products and the kernels of step.cl are shared.
 */
#ifndef WALIGN_CORE_OPERATIONS_PRIVATE_H
#define WALIGN_CORE_OPERATIONS_PRIVATE_H

#include <stddef.h>

#include "cutting.h"
#include "operations.h"

#define WA_BATCH_NORM_EPSILON 1e-6

struct wa_path_state; /* a path's own */

/* Specs of programs while they are collected. */
struct wa_program_list {
    size_t count;
    struct wa_program_spec *specs;               /* [WA_OPERATIONS_MAX_PROGRAMS] */
    char (*buffers)[WA_OPERATIONS_OPTION_BYTES]; /* likewise */
};

/* A batch of items [item][row][column][channel], and where their values go in a tensor. */
struct wa_items {
    cl_mem memory;
    wa_element element;
    int rows, columns, channels;
    int x_base, x_plane, x_row;
};

/* What a path provides. `layer` is never a dense one in convolve and weight_gradient. */
struct wa_operations_path {
    struct wa_blocking (*blocking)(const struct wa_engine *engine);
    /* Adds the path's programs (wa_operations_add_program). */
    void (*programs)(const struct wa_engine *engine, const struct wa_model *model,
                     struct wa_program_list *list);
    /* Kernels and tables, into operations->state; destroy takes what create left half done too. */
    WA_MUST_CHECK wa_status (*create)(struct wa_operations *operations, struct wa_error *err);
    void (*destroy)(struct wa_operations *operations);
    WA_MUST_CHECK wa_status (*convolve)(struct wa_operations *operations, uint32_t layer,
                                        bool is_backward, cl_mem arranged, cl_mem x, cl_mem y,
                                        struct wa_error *err);
    /* What computes a product of a layer that is not dense; as wa_operations_algorithm. */
    const char *(*algorithm)(const struct wa_operations *operations, uint32_t layer,
                             enum wa_product product);
    /* The rest are the public operations of these names. */
    WA_MUST_CHECK wa_status (*weight_gradient)(struct wa_operations *operations, uint32_t layer,
                                               cl_mem x, cl_mem dz, cl_mem gradients,
                                               struct wa_error *err);
    WA_MUST_CHECK wa_status (*activate)(struct wa_operations *operations, uint32_t layer,
                                        cl_mem weights, cl_mem z, bool keep_h, cl_mem a,
                                        const struct wa_layout *a_layout, cl_mem inverse,
                                        struct wa_error *err);
    WA_MUST_CHECK wa_status (*activate_backward)(struct wa_operations *operations, uint32_t layer,
                                                 struct wa_gradient_source source, cl_mem h,
                                                 cl_mem slope_h, cl_mem inverse, cl_mem dz,
                                                 struct wa_error *err);
    WA_MUST_CHECK wa_status (*pool)(struct wa_operations *operations, uint32_t layer, cl_mem a,
                                    const struct wa_layout *a_layout, cl_mem pooled,
                                    struct wa_error *err);
    WA_MUST_CHECK wa_status (*load_batch)(struct wa_operations *operations,
                                          const struct wa_items *items, cl_mem x,
                                          struct wa_error *err);

    /* ---- optional ---- */
    /* Floats that the path keeps behind a set's arranged weights, and how it fills them. */
    size_t (*extra_floats)(const struct wa_operations *operations, bool is_backward);
    WA_MUST_CHECK wa_status (*arrange_more)(struct wa_operations *operations, bool is_backward,
                                            cl_mem arranged, struct wa_error *err);
    /* Layers that read so few values that product and activation go in one pass, forward and, where the
     * error goes no further down, backward: dz is never written. All of these or none. */
    bool (*is_shallow)(const struct wa_operations *operations, uint32_t layer);
    WA_MUST_CHECK wa_status (*shallow_forward)(struct wa_operations *operations, uint32_t layer,
                                               cl_mem arranged, cl_mem x, cl_mem h, bool keep_h,
                                               cl_mem a, const struct wa_layout *a_layout,
                                               cl_mem inverse, struct wa_error *err);
    WA_MUST_CHECK wa_status (*shallow_gradient)(struct wa_operations *operations, uint32_t layer,
                                                struct wa_gradient_source source,
                                                const struct wa_passed *passed, cl_mem x,
                                                cl_mem gradients, struct wa_error *err);
    /* Of those, layers whose h shallow_gradient can make again. */
    bool (*remakes)(const struct wa_operations *operations, uint32_t layer);
    /* Dense layers whose product and the activation behind it go in one launch: forward h takes z's place, and back
     * source.weights_above is not NULL. All of these or none. */
    bool (*joins_dense)(const struct wa_operations *operations, uint32_t layer,
                        enum wa_product product);
    WA_MUST_CHECK wa_status (*dense_backward)(struct wa_operations *operations, uint32_t layer,
                                              struct wa_gradient_source source, cl_mem h,
                                              cl_mem slope_h, cl_mem inverse, cl_mem dz,
                                              struct wa_error *err);
    WA_MUST_CHECK wa_status (*dense_forward)(struct wa_operations *operations, uint32_t layer,
                                             cl_mem weights, cl_mem x, cl_mem z, bool keep_h,
                                             cl_mem a, const struct wa_layout *a_layout,
                                             cl_mem inverse, struct wa_error *err);
    /* Whether the layers' way back computes what direct feedback brings as it goes. */
    bool (*joins_feedback)(const struct wa_operations *operations);
    /* The images of a batch have been loaded. */
    WA_MUST_CHECK wa_status (*note_images)(struct wa_operations *operations, cl_mem images,
                                           struct wa_error *err);
};

extern const struct wa_operations_path wa_operations_cpu_path, wa_operations_gpu_path;

/* How a weights set is brought into the order of the convolution kernels, all layers at once. */
struct wa_arrangement {
    cl_mem forms, taps;
    int form_count, columns; /* the most columns of a form */
    size_t items, floats;
};

struct wa_operations {
    struct wa_engine *engine;
    const struct wa_model *model;
    const struct wa_operations_path *path;
    struct wa_path_state *state;
    struct wa_matrix matrix;
    struct wa_arrangement arrangements[2]; /* forward, backward */
    cl_kernel output_error, sum_rows, arrange;
    size_t group_items; /* of the kernels of step.cl */
};

/* A kernel of a struct, by its place in the struct. */
struct wa_kernel_entry {
    const char *file, *name;
    size_t offset;
    bool is_for_batch; /* built for one batch size */
};

/* Builds the kernels of a struct at `base`; a NULL options means none for a batch. */
WA_MUST_CHECK wa_status wa_operations_make_kernels(struct wa_engine *engine,
                                                   const struct wa_kernel_entry *entries,
                                                   size_t count, const char *batch_options,
                                                   void *base, struct wa_error *err);
void wa_operations_release_kernels(const struct wa_kernel_entry *entries, size_t count, void *base);

/* Adds the program of a file to the list. */
void wa_operations_add_program(const struct wa_engine *engine, const char *file,
                               const char *options, struct wa_program_list *list);
/* Adds the programs of kernel entries, each file once (entries of a file stand side by side). */
void wa_operations_add_programs(const struct wa_engine *engine,
                                const struct wa_kernel_entry *entries, size_t count,
                                const char *batch_options, struct wa_program_list *list);

/* Build options of the kernels that are built for one batch size. */
enum { WA_BATCH_OPTION_BYTES = 64 };
void wa_operations_batch_options(const struct wa_model *model,
                                 char ret_options[WA_BATCH_OPTION_BYTES]);

/* Where the weights of a layer's direction start in an arranged set, in floats. */
size_t wa_operations_arranged_offset(const struct wa_operations *operations, uint32_t layer,
                                     bool is_backward);

#endif
