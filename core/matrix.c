/* Matrix products on the device. */
#include "matrix.h"

#include <clblast_c.h>

#include "tuning.h"

enum { VECTORS_IN_BLOCK = 3, GPU_SLICE = 16 };

static size_t gpu_bytes(const struct wa_tile *tile, int slice)
{
    return (size_t)slice * (size_t)(2 * tile->rows + 1 + 2 * tile->columns + 1) * sizeof(float);
}

static struct wa_tiled_kernels gpu_kernel(void)
{
    return (struct wa_tiled_kernels){.file = "gpu_matrix.cl",
                                     .tile = {.rows = 16, .columns = 16, .pieces = 1},
                                     .bytes = gpu_bytes,
                                     .context = GPU_SLICE};
}

struct wa_program_spec wa_matrix_program(const struct wa_engine *engine, char *buffer,
                                         size_t buffer_bytes)
{
    if (engine->path == WA_PATH_CPU) {
        return wa_engine_spec(engine, "cpu_matrix.cl", NULL, buffer, buffer_bytes);
    }
    return wa_tile_spec(engine, gpu_kernel(), buffer, buffer_bytes);
}

static wa_status make_kernels(struct wa_matrix *matrix, struct wa_error *err)
{
    struct wa_engine *engine = matrix->engine;
    if (engine->path == WA_PATH_GPU) {
        struct wa_tiled_kernels tiled = gpu_kernel();
        const char *name = "product";
        wa_status status = wa_tile_kernels(engine, &tiled, &name, 1, &matrix->product, err);
        matrix->tile = tiled.tile;
        return status;
    }
    wa_status status =
        wa_engine_kernel(engine, "cpu_matrix.cl", "product", NULL, &matrix->product, err);
    return status == WA_OK ? wa_engine_kernel(engine, "cpu_matrix.cl", "product_transposed", NULL,
                                              &matrix->product_transposed, err)
                           : status;
}

wa_status wa_matrix_init(struct wa_matrix *ret_matrix, struct wa_engine *engine,
                         enum wa_matrix_library library, struct wa_error *err)
{
    struct wa_matrix matrix = {.engine = engine, .library = library};
    wa_status status = library == WA_MATRIX_CLBLAST ? WA_OK : make_kernels(&matrix, err);
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

static wa_status cpu_product(struct wa_matrix *matrix, int m, int n, int k, float alpha,
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

static wa_status gpu_product(struct wa_matrix *matrix, int m, int n, int k, float alpha,
                             const struct wa_matrix_operand *a, const struct wa_matrix_operand *b,
                             float beta, const struct wa_matrix_operand *c, struct wa_error *err)
{
    const struct wa_tile *tile = &matrix->tile;
    struct wa_range range =
        wa_tile_range(tile, blocks(m, 2 * tile->rows) * blocks(n, 2 * tile->columns));
    return wa_engine_launch(matrix->engine, matrix->product, &range, err, "mmmiiiiiiiiiiiff",
                            a->memory, b->memory, c->memory, m, n, k, (int)a->offset,
                            a->transposed ? 1 : a->row, a->transposed ? a->row : 1, (int)b->offset,
                            b->transposed ? 1 : b->row, b->transposed ? b->row : 1, (int)c->offset,
                            c->row, (double)alpha, (double)beta);
}

static wa_status clblast_product(struct wa_matrix *matrix, int m, int n, int k, float alpha,
                                 const struct wa_matrix_operand *a,
                                 const struct wa_matrix_operand *b, float beta,
                                 const struct wa_matrix_operand *c, struct wa_error *err)
{
    cl_command_queue queue = matrix->engine->device->queue;
    cl_event first = NULL;
    cl_event last = NULL;
    bool is_observed = matrix->engine->observer != NULL;
    /* CLBlast's event is that of its last kernel: where it began, a marker says. */
    wa_status status =
        is_observed ? WA_CL(err, clEnqueueMarkerWithWaitList(queue, 0, NULL, &first)) : WA_OK;
    if (status != WA_OK) {
        return status;
    }
    CLBlastStatusCode code = CLBlastSgemm(
        CLBlastLayoutRowMajor, a->transposed ? CLBlastTransposeYes : CLBlastTransposeNo,
        b->transposed ? CLBlastTransposeYes : CLBlastTransposeNo, (size_t)m, (size_t)n, (size_t)k,
        alpha, a->memory, a->offset, (size_t)a->row, b->memory, b->offset, (size_t)b->row, beta,
        c->memory, c->offset, (size_t)c->row, &queue, is_observed ? &last : NULL);
    if (code == CLBlastSuccess && is_observed) {
        matrix->engine->observer(matrix->engine->observer_context, "CLBlastSgemm", first, last);
    }
    if (first) {
        (void)clReleaseEvent(first);
    }
    if (last) {
        (void)clReleaseEvent(last);
    }
    if (code != CLBlastSuccess) {
        return wa_fail(err, WA_E_DEVICE, "CLBlast: product %d x %d x %d failed with code %d", m, n,
                       k, (int)code);
    }
    matrix->engine->launches++;
    return WA_OK;
}

enum wa_matrix_library wa_matrix_library_of(const struct wa_matrix *matrix,
                                            const struct wa_matrix_shape *shape)
{
    const struct wa_engine *engine = matrix->engine;
    if (matrix->library != WA_MATRIX_AUTO) {
        return matrix->library;
    }
    const struct wa_matrix_choice *choice =
        engine->tuning ? wa_matrix_choices_find(&engine->tuning->matrices, engine->path, shape)
                       : NULL;
    if (choice) {
        return choice->library;
    }
    bool is_large = shape->m >= WA_MATRIX_CLBLAST_SIDE && shape->n >= WA_MATRIX_CLBLAST_SIDE &&
                    shape->k >= WA_MATRIX_CLBLAST_SIDE &&
                    (double)shape->m * shape->n * shape->k > WA_MATRIX_CLBLAST_VOLUME;
    return engine->path == WA_PATH_GPU && is_large ? WA_MATRIX_CLBLAST : WA_MATRIX_OWN;
}

wa_status wa_matrix_product(struct wa_matrix *matrix, int m, int n, int k, float alpha,
                            struct wa_matrix_operand a, struct wa_matrix_operand b, float beta,
                            struct wa_matrix_operand c, struct wa_error *err)
{
    if (a.transposed && b.transposed) {
        return wa_fail(err, WA_E_UNSUPPORTED,
                       "a product of two transposed matrices is not offered");
    }
    const struct wa_matrix_shape shape = {m, n, k, a.transposed, b.transposed};
    if (wa_matrix_library_of(matrix, &shape) == WA_MATRIX_CLBLAST) {
        return clblast_product(matrix, m, n, k, alpha, &a, &b, beta, &c, err);
    }
    return matrix->engine->path == WA_PATH_GPU
               ? gpu_product(matrix, m, n, k, alpha, &a, &b, beta, &c, err)
               : cpu_product(matrix, m, n, k, alpha, &a, &b, beta, &c, err);
}
