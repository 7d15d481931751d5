/* Matrix products on the device. */
#include "matrix.h"

#include <clblast_c.h>

#include "cutting.h"
#include "tuning.h"

enum { GPU_SLICE = 16 };

/* Of kernels/matrix_blocks.cl: what it calls so. */
enum { ROWS = 4, PIECE = 4, PACKED_ROWS = 16, MOST_VECTORS = 6, MOST_VECTORS_FEW = 3 };

/* How much of the inner index goes through at a time, and how finely work is cut. */
enum {
    LEAST_STRETCH = 256,
    MOST_STRETCH = 1024,
    STRETCH_BYTES = 512 * 1024, /* of b: half an L2 cache */
    PACKED_STRETCH = 64, /* rows of a lie a power of two apart as a rule: few stay in L1 together */
    PANEL_STRETCH = 128,
    GROUPS_PER_UNIT = 8,
    ROW_GROUPS_PER_UNIT = 16, /* where a group has nothing to pack for itself alone */
};

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
    const struct {
        const char *name;
        cl_kernel *kernel;
    } kernels[] = {{"product", &matrix->product},
                   {"product_of_transpose", &matrix->product_of_transpose},
                   {"product_with_transpose", &matrix->product_with_transpose}};
    wa_status status = WA_OK;
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels && status == WA_OK; i++) {
        status = wa_engine_kernel(engine, "cpu_matrix.cl", kernels[i].name, NULL, kernels[i].kernel,
                                  err);
    }
    return status;
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
    cl_kernel kernels[] = {matrix->product, matrix->product_of_transpose,
                           matrix->product_with_transpose};
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        if (kernels[i]) {
            (void)clReleaseKernel(kernels[i]);
        }
    }
    *matrix = (struct wa_matrix){0};
}

static size_t blocks(int count, int block)
{
    return (size_t)wa_divide_up(count, block);
}

/* Work-items enough to share out evenly, each with as many rows as that leaves it. */
static size_t row_groups(const struct wa_engine *engine, int m, int block)
{
    size_t most = (size_t)engine->device->info.compute_units * ROW_GROUPS_PER_UNIT;
    size_t all = blocks(m, block);
    return all < most ? all : most;
}

/* All rows of b that a stretch of the inner index reads stay in L2; the last few columns are packed. */
struct wa_matrix_cut wa_matrix_cut_rows(const struct wa_engine *engine, int m, int n)
{
    const size_t column_bytes = PIECE * sizeof(float);
    int stretch = wa_clamp(STRETCH_BYTES / (int)sizeof(float) / n, LEAST_STRETCH, MOST_STRETCH);
    stretch = wa_clamp(stretch, 1, (int)(engine->local_bytes / column_bytes));
    return (struct wa_matrix_cut){
        {row_groups(engine, m, ROWS), 1}, stretch, (size_t)stretch * column_bytes};
}

/* Columns of a are packed, to stay in L1. */
struct wa_matrix_cut wa_matrix_cut_columns(const struct wa_engine *engine, int m)
{
    return (struct wa_matrix_cut){{row_groups(engine, m, PACKED_ROWS), 1},
                                  PACKED_STRETCH,
                                  (size_t)PACKED_STRETCH * PACKED_ROWS * sizeof(float)};
}

/* Each work-item packs its panel of b: few ranges of rows, so that it is packed seldom. */
static struct wa_matrix_cut cut_with_transpose(const struct wa_engine *engine, int m, int n)
{
    int vectors = engine->registers >= WA_MANY_REGISTERS ? MOST_VECTORS : MOST_VECTORS_FEW;
    size_t row_bytes = (size_t)(vectors * engine->vector_width) * sizeof(float);
    size_t panels = blocks(n, vectors * engine->vector_width);
    size_t most = (size_t)engine->device->info.compute_units * GROUPS_PER_UNIT;
    size_t rows = panels < most ? (most + panels - 1) / panels : 1;
    size_t all = blocks(m, ROWS);
    struct wa_matrix_cut cut = {{all < rows ? all : rows, panels}, PANEL_STRETCH, 0};
    while (cut.k_block > 1 && (size_t)cut.k_block * row_bytes > engine->local_bytes) {
        cut.k_block /= 2;
    }
    cut.local_bytes = (size_t)cut.k_block * row_bytes;
    return cut;
}

static wa_status cpu_product(struct wa_matrix *matrix, int m, int n, int k, float alpha,
                             const struct wa_matrix_operand *a, const struct wa_matrix_operand *b,
                             const struct wa_matrix_operand *c, struct wa_error *err)
{
    struct wa_matrix_cut cut = a->transposed ? wa_matrix_cut_columns(matrix->engine, m)
                                             : wa_matrix_cut_rows(matrix->engine, m, n);
    struct wa_range range = {2, {cut.groups[0], cut.groups[1]}, {1, 1}};
    if (!a->transposed) {
        return wa_engine_launch(matrix->engine, matrix->product, &range, err, "mmmiiiiiiiiifil",
                                a->memory, b->memory, c->memory, m, n, k, (int)a->offset, a->row,
                                (int)b->offset, b->row, (int)c->offset, c->row, (double)alpha,
                                cut.k_block, cut.local_bytes);
    }
    return wa_engine_launch(matrix->engine, matrix->product_of_transpose, &range, err,
                            "mmmiiiiiiiiifil", a->memory, b->memory, c->memory, m, n, k,
                            (int)a->offset, a->row, (int)b->offset, b->row, (int)c->offset, c->row,
                            (double)alpha, cut.k_block, cut.local_bytes);
}

/* `sums` may be NULL. */
static wa_status cpu_product_with_transpose(struct wa_matrix *matrix, int m, int n, int k,
                                            float alpha, const struct wa_matrix_operand *a,
                                            const struct wa_matrix_operand *b,
                                            const struct wa_matrix_operand *c,
                                            const struct wa_matrix_sums *sums, struct wa_error *err)
{
    struct wa_matrix_cut cut = cut_with_transpose(matrix->engine, m, n);
    struct wa_range range = {2, {cut.groups[0], cut.groups[1]}, {1, 1}};
    return wa_engine_launch(matrix->engine, matrix->product_with_transpose, &range, err,
                            "mmmiiiiiiiiifilmi", a->memory, b->memory, c->memory, m, n, k,
                            (int)a->offset, a->row, (int)b->offset, b->row, (int)c->offset, c->row,
                            (double)alpha, cut.k_block, cut.local_bytes,
                            sums ? sums->memory : c->memory, sums ? (int)sums->offset : -1);
}

static wa_status gpu_product(struct wa_matrix *matrix, int m, int n, int k, float alpha,
                             const struct wa_matrix_operand *a, const struct wa_matrix_operand *b,
                             const struct wa_matrix_operand *c, struct wa_error *err)
{
    const struct wa_tile *tile = &matrix->tile;
    struct wa_range range =
        wa_tile_range(tile, blocks(m, 2 * tile->rows) * blocks(n, 2 * tile->columns));
    return wa_engine_launch(matrix->engine, matrix->product, &range, err, "mmmiiiiiiiiiiif",
                            a->memory, b->memory, c->memory, m, n, k, (int)a->offset,
                            a->transposed ? 1 : a->row, a->transposed ? a->row : 1, (int)b->offset,
                            b->transposed ? 1 : b->row, b->transposed ? b->row : 1, (int)c->offset,
                            c->row, (double)alpha);
}

static wa_status clblast_product(struct wa_matrix *matrix, int m, int n, int k, float alpha,
                                 const struct wa_matrix_operand *a,
                                 const struct wa_matrix_operand *b,
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
        alpha, a->memory, a->offset, (size_t)a->row, b->memory, b->offset, (size_t)b->row, 0.0f,
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
                            struct wa_matrix_operand a, struct wa_matrix_operand b,
                            struct wa_matrix_operand c, struct wa_error *err)
{
    if (a.transposed && b.transposed) {
        return wa_fail(err, WA_E_UNSUPPORTED,
                       "a product of two transposed matrices is not offered");
    }
    const struct wa_matrix_shape shape = {m, n, k, a.transposed, b.transposed};
    if (wa_matrix_library_of(matrix, &shape) == WA_MATRIX_CLBLAST) {
        return clblast_product(matrix, m, n, k, alpha, &a, &b, &c, err);
    }
    return matrix->engine->path == WA_PATH_GPU
               ? gpu_product(matrix, m, n, k, alpha, &a, &b, &c, err)
           : b.transposed
               ? cpu_product_with_transpose(matrix, m, n, k, alpha, &a, &b, &c, NULL, err)
               : cpu_product(matrix, m, n, k, alpha, &a, &b, &c, err);
}

bool wa_matrix_sums_rows(const struct wa_matrix *matrix, const struct wa_matrix_shape *shape)
{
    return matrix->engine->path == WA_PATH_CPU && !shape->a_transposed && shape->b_transposed &&
           wa_matrix_library_of(matrix, shape) == WA_MATRIX_OWN;
}

wa_status wa_matrix_product_and_sums(struct wa_matrix *matrix, int m, int n, int k, float alpha,
                                     struct wa_matrix_operand a, struct wa_matrix_operand b,
                                     struct wa_matrix_operand c, struct wa_matrix_sums sums,
                                     struct wa_error *err)
{
    const struct wa_matrix_shape shape = {m, n, k, a.transposed, b.transposed};
    if (!wa_matrix_sums_rows(matrix, &shape)) {
        return wa_fail(err, WA_E_UNSUPPORTED, "this product does not sum rows");
    }
    return cpu_product_with_transpose(matrix, m, n, k, alpha, &a, &b, &c, &sums, err);
}
