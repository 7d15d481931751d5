/* Matrix products on the device. */
#include "matrix.h"

#include <clblast_c.h>

enum { VECTORS_IN_BLOCK = 3 };

wa_status wa_matrix_init(struct wa_matrix *ret_matrix, struct wa_engine *engine,
                         enum wa_matrix_library library, struct wa_error *err)
{
    struct wa_matrix matrix = {.engine = engine, .library = library};
    wa_status status = WA_OK;
    if (library == WA_MATRIX_OWN) {
        status = wa_engine_kernel(engine, "cpu_matrix.cl", "product", NULL, &matrix.product, err);
        if (status == WA_OK) {
            status = wa_engine_kernel(engine, "cpu_matrix.cl", "product_transposed", NULL,
                                      &matrix.product_transposed, err);
        }
    }
    if (status != WA_OK) {
        wa_matrix_finish(&matrix);
        return status;
    }
    *ret_matrix = matrix;
    return WA_OK;
}

void wa_matrix_finish(struct wa_matrix *matrix)
{
    if (matrix->product) {
        (void)clReleaseKernel(matrix->product);
    }
    if (matrix->product_transposed) {
        (void)clReleaseKernel(matrix->product_transposed);
    }
    *matrix = (struct wa_matrix){0};
}

static size_t blocks(int count, int block)
{
    return (size_t)((count + block - 1) / block);
}

static wa_status own_product(struct wa_matrix *matrix, int m, int n, int k, float alpha,
                             const struct wa_matrix_operand *a, const struct wa_matrix_operand *b,
                             float beta, const struct wa_matrix_operand *c, struct wa_error *err)
{
    struct wa_engine *engine = matrix->engine;
    int outputs = engine->output_block;
    if (b->transposed) {
        struct wa_range range = {2, {(size_t)m, blocks(n, outputs)}, {1, 1}};
        return wa_engine_launch(engine, matrix->product_transposed, &range, err, "mmmiiiiiiiiiff",
                                a->memory, b->memory, c->memory, m, n, k, (int)a->offset, a->row,
                                (int)b->offset, b->row, (int)c->offset, c->row, (double)alpha,
                                (double)beta);
    }
    int lanes = VECTORS_IN_BLOCK * engine->vector_width;
    struct wa_range range = {2, {blocks(m, outputs), blocks(n, lanes)}, {1, 1}};
    return wa_engine_launch(engine, matrix->product, &range, err, "mmmiiiiiiiiiiff", a->memory,
                            b->memory, c->memory, m, n, k, (int)a->offset,
                            a->transposed ? 1 : a->row, a->transposed ? a->row : 1, (int)b->offset,
                            b->row, (int)c->offset, c->row, (double)alpha, (double)beta);
}

static wa_status clblast_product(struct wa_matrix *matrix, int m, int n, int k, float alpha,
                                 const struct wa_matrix_operand *a,
                                 const struct wa_matrix_operand *b, float beta,
                                 const struct wa_matrix_operand *c, struct wa_error *err)
{
    CLBlastStatusCode code = CLBlastSgemm(
        CLBlastLayoutRowMajor, a->transposed ? CLBlastTransposeYes : CLBlastTransposeNo,
        b->transposed ? CLBlastTransposeYes : CLBlastTransposeNo, (size_t)m, (size_t)n, (size_t)k,
        alpha, a->memory, a->offset, (size_t)a->row, b->memory, b->offset, (size_t)b->row, beta,
        c->memory, c->offset, (size_t)c->row, &matrix->engine->device->queue, NULL);
    if (code != CLBlastSuccess) {
        return wa_fail(err, WA_E_DEVICE, "CLBlast: product %d x %d x %d failed with code %d", m, n, k,
                       (int)code);
    }
    matrix->engine->launches++;
    return WA_OK;
}

wa_status wa_matrix_product(struct wa_matrix *matrix, int m, int n, int k, float alpha,
                            struct wa_matrix_operand a, struct wa_matrix_operand b, float beta,
                            struct wa_matrix_operand c, struct wa_error *err)
{
    if (a.transposed && b.transposed) {
        return wa_fail(err, WA_E_UNSUPPORTED, "a product of two transposed matrices is not offered");
    }
    return matrix->library == WA_MATRIX_CLBLAST
               ? clblast_product(matrix, m, n, k, alpha, &a, &b, beta, &c, err)
               : own_product(matrix, m, n, k, alpha, &a, &b, beta, &c, err);
}
