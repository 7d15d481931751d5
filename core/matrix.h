/* Matrix products on the device, through one function: CLBlast or the own kernels of the engine's
 * path. Row-major; offsets and row lengths in floats. */
#ifndef WALIGN_CORE_MATRIX_H
#define WALIGN_CORE_MATRIX_H

#include "tile.h"

/* AUTO: own kernels on the CPU path; on the GPU path CLBlast for products of more than
 * WA_MATRIX_CLBLAST_VOLUME multiply-adds that are WA_MATRIX_CLBLAST_SIDE or more in all three
 * dimensions, own kernels for the others. CLBlast compiles at first use, in each process anew where
 * the driver keeps nothing (with PoCL 3.1 on 2 busy cores 40 s for the first product and 5 s for
 * each further kind, against 0.6 s for the own kernel), and needs several launches for sizes that
 * are no multiples of its tiles. Below the volume, some 10 us on a large GPU, that cannot pay; thin
 * products are bound by memory whoever computes them. The threshold is reasoned, not measured: no
 * GPU was at hand. */
enum wa_matrix_library { WA_MATRIX_OWN = 1, WA_MATRIX_CLBLAST = 2, WA_MATRIX_AUTO = 3 };
enum { WA_MATRIX_CLBLAST_VOLUME = 1 << 24, WA_MATRIX_CLBLAST_SIDE = 64 };

/* c [m x n] = op(a) [m x k] op(b) [k x n]; transposed: 1 or 0. */
struct wa_matrix_shape {
    int m, n, k;
    int a_transposed, b_transposed;
};

struct wa_matrix {
    struct wa_engine *engine;
    enum wa_matrix_library library;
    cl_kernel product;
    cl_kernel product_of_transpose, product_with_transpose; /* of the CPU path: a, b transposed */
    struct wa_tile tile;                                    /* of the GPU path */
};

struct wa_matrix_operand {
    cl_mem memory;
    size_t offset;
    int row;         /* from row to row */
    bool transposed; /* used as its transpose */
};

/* How a product is cut for kernels/cpu_matrix.cl and cpu_dense.cl. */
struct wa_matrix_cut {
    size_t groups[2]; /* of rows, of columns */
    int k_block;
    size_t local_bytes;
};

struct wa_matrix_sums {
    cl_mem memory;
    size_t offset;
};

WA_MUST_CHECK wa_status wa_matrix_init(struct wa_matrix *ret_matrix, struct wa_engine *engine,
                                       enum wa_matrix_library library, struct wa_error *err);
void wa_matrix_finish(struct wa_matrix *matrix);

/* The spec of the own kernels' program, for wa_programs_prebuild; `buffer` must outlive it. */
struct wa_program_spec wa_matrix_program(const struct wa_engine *engine, char *buffer,
                                         size_t buffer_bytes);

/* Who serves a product: OWN or CLBLAST. AUTO asks the engine's tuning first. */
enum wa_matrix_library wa_matrix_library_of(const struct wa_matrix *matrix,
                                            const struct wa_matrix_shape *shape);

/* c [m x n] = alpha op(a) [m x k] op(b) [k x n]. A transposed times b transposed is not
 * offered (WA_E_UNSUPPORTED). */
WA_MUST_CHECK wa_status wa_matrix_product(struct wa_matrix *matrix, int m, int n, int k,
                                          float alpha, struct wa_matrix_operand a,
                                          struct wa_matrix_operand b, struct wa_matrix_operand c,
                                          struct wa_error *err);

/* The cut of an own product of the CPU path: without transposes, and with a transposed. */
struct wa_matrix_cut wa_matrix_cut_rows(const struct wa_engine *engine, int m, int n);
struct wa_matrix_cut wa_matrix_cut_columns(const struct wa_engine *engine, int m);

/* Whether a product of this shape can give the sums of a's rows beside c: own kernels of the CPU path with
 * b transposed. */
bool wa_matrix_sums_rows(const struct wa_matrix *matrix, const struct wa_matrix_shape *shape);

/* The same product, and sums[i] = sum over k of a[i][k]: the weights' and the biases' gradient of a dense
 * layer. Only where wa_matrix_sums_rows says so. */
WA_MUST_CHECK wa_status wa_matrix_product_and_sums(struct wa_matrix *matrix, int m, int n, int k,
                                                   float alpha, struct wa_matrix_operand a,
                                                   struct wa_matrix_operand b,
                                                   struct wa_matrix_operand c,
                                                   struct wa_matrix_sums sums,
                                                   struct wa_error *err);

#endif
