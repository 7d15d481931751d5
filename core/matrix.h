/* Matrix products on the device, through one function: CLBlast or own kernels, as the device's path
 * has it. Row-major; offsets and row lengths in floats. */
#ifndef WALIGN_CORE_MATRIX_H
#define WALIGN_CORE_MATRIX_H

#include "engine.h"

enum wa_matrix_library { WA_MATRIX_OWN = 1, WA_MATRIX_CLBLAST = 2 };

struct wa_matrix {
    struct wa_engine *engine;
    enum wa_matrix_library library;
    cl_kernel product, product_transposed;
};

struct wa_matrix_operand {
    cl_mem memory;
    size_t offset;
    int row;         /* from row to row */
    bool transposed; /* used as its transpose */
};

WA_MUST_CHECK wa_status wa_matrix_init(struct wa_matrix *ret_matrix, struct wa_engine *engine,
                                       enum wa_matrix_library library, struct wa_error *err);
void wa_matrix_finish(struct wa_matrix *matrix);

/* c [m x n] = alpha op(a) [m x k] op(b) [k x n] + beta c. A transposed times b transposed is not
 * offered (WA_E_UNSUPPORTED). */
WA_MUST_CHECK wa_status wa_matrix_product(struct wa_matrix *matrix, int m, int n, int k, float alpha,
                                          struct wa_matrix_operand a, struct wa_matrix_operand b,
                                          float beta, struct wa_matrix_operand c,
                                          struct wa_error *err);

#endif
