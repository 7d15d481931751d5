/* The exact alignment score. Outputs p and q = p + offset of a convolution read common inputs where
 * tap t of p and tap t - stride * offset of q meet, so block (p, q) of D E^T is the sum over such t,
 * inside the image at p, of G_t = D_t E_{t - stride * offset}^T. Its squared norm is a sum of inner
 * products <G_t, G_u>; how many p have both t and u inside is counted, rows and columns apart. */
#include "score.h"

#include <math.h>
#include <stdlib.h>

#include "parallel.h"

enum { TILE = 4, BLOCK_ROWS = 32 }; /* of the products: registers, and rows that a job keeps */

size_t wa_score_operator_size(const struct wa_score_operator *layer)
{
    return (size_t)layer->outputs * (size_t)layer->kernel * (size_t)layer->kernel *
           (size_t)layer->inputs;
}

struct wa_score_axis wa_score_axis_make(const struct wa_score_operator *layer, int inputs)
{
    struct wa_score_axis axis = {
        .inputs = inputs, .kernel = layer->kernel, .stride = layer->stride};
    axis.outputs = (inputs + axis.stride - 1) / axis.stride;
    int pad = (axis.outputs - 1) * axis.stride + axis.kernel - inputs;
    axis.before = pad > 0 ? pad / 2 : 0;
    return axis;
}

bool wa_score_is_stopped(const struct wa_score_watch *watch)
{
    return watch && watch->stop && *watch->stop;
}

wa_status wa_score_step(const struct wa_score_watch *watch, double share)
{
    if (wa_score_is_stopped(watch)) {
        return WA_E_INTERRUPTED;
    }
    if (watch && watch->step) {
        watch->step(watch->context, share);
    }
    return WA_OK;
}

/* Pairs of taps that meet at some offset: along one axis those whose distance the stride divides. */
double wa_score_exact_operations(const struct wa_score_operator *layer)
{
    double pairs = 0;
    for (int t = 0; t < layer->kernel; t++) {
        for (int u = 0; u < layer->kernel; u++) {
            pairs += (t - u) % layer->stride == 0 ? 1 : 0;
        }
    }
    double outputs = layer->outputs;
    return 4 * pairs * pairs * outputs * outputs * layer->inputs;
}

static bool is_inside(const struct wa_score_axis *axis, int place, int tap)
{
    int input = place * axis->stride + tap - axis->before;
    return input >= 0 && input < axis->inputs;
}

/* Places p, with p + offset a place too, at which taps t and u are both inside. */
static double count_places(const struct wa_score_axis *axis, int offset, int t, int u)
{
    int count = 0;
    for (int p = 0; p < axis->outputs; p++) {
        bool has_partner = p + offset >= 0 && p + offset < axis->outputs;
        count += has_partner && is_inside(axis, p, t) && is_inside(axis, p, u);
    }
    return count;
}

/* |A B^T|^2, shared by the jobs; each takes a block of A's outputs. */
struct product {
    const struct wa_score_operator *layer;
    struct wa_score_axis rows, columns;
    size_t inputs, taps, tiles; /* tiles of outputs */
    const double *a;            /* [tap][tile][TILE][input] */
    const double *b;            /* [tap][tile][input][TILE] */
    bool is_symmetric;          /* A is B: opposite offsets give the same */
    const struct wa_score_watch *watch;
    double *sums; /* [job] */
};

/* c = a b^T for TILE outputs each. */
static void multiply(const double *restrict a, const double *restrict b, size_t inputs,
                     double *restrict c, size_t c_row)
{
    double sums[TILE][TILE] = {{0}};
    for (size_t i = 0; i < inputs; i++) {
        for (size_t r = 0; r < TILE; r++) {
            for (size_t k = 0; k < TILE; k++) {
                sums[r][k] += a[r * inputs + i] * b[i * TILE + k];
            }
        }
    }
    for (size_t r = 0; r < TILE; r++) {
        for (size_t k = 0; k < TILE; k++) {
            c[r * c_row + k] = sums[r][k];
        }
    }
}

static double inner(const double *a, const double *b, size_t count)
{
    double lanes[TILE] = {0};
    for (size_t i = 0; i < count; i += TILE) {
        for (size_t k = 0; k < TILE; k++) {
            lanes[k] += a[i + k] * b[i + k];
        }
    }
    return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

/* A block of rows of G for each tap that has a partner at this offset; the taps' numbers into
 * ret_taps. Returns how many. */
static size_t make_products(const struct product *p, size_t first_tile, size_t tiles,
                            int row_offset, int column_offset, double *ret_g, size_t *ret_taps)
{
    int kernel = p->layer->kernel;
    size_t columns = p->tiles * TILE;
    size_t count = 0;
    for (int tr = 0; tr < kernel; tr++) {
        for (int tc = 0; tc < kernel; tc++) {
            int ur = tr - p->layer->stride * row_offset;
            int uc = tc - p->layer->stride * column_offset;
            if (ur < 0 || ur >= kernel || uc < 0 || uc >= kernel) {
                continue;
            }
            size_t t = (size_t)(tr * kernel + tc);
            size_t u = (size_t)(ur * kernel + uc);
            double *g = ret_g + count * BLOCK_ROWS * columns;
            for (size_t k = 0; k < p->tiles; k++) {
                for (size_t r = 0; r < tiles; r++) {
                    multiply(p->a + (t * p->tiles + first_tile + r) * TILE * p->inputs,
                             p->b + (u * p->tiles + k) * TILE * p->inputs, p->inputs,
                             g + r * TILE * columns + k * TILE, columns);
                }
            }
            ret_taps[count++] = t;
        }
    }
    return count;
}

/* This job's rows of all blocks (p, p + offset), squared and summed. */
static double sum_offset(const struct product *p, size_t first_tile, size_t tiles, int row_offset,
                         int column_offset, double *g, size_t *taps)
{
    size_t count = make_products(p, first_tile, tiles, row_offset, column_offset, g, taps);
    size_t columns = p->tiles * TILE;
    size_t kernel = (size_t)p->layer->kernel;
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j <= i; j++) {
            double places = count_places(&p->rows, row_offset, (int)(taps[i] / kernel),
                                         (int)(taps[j] / kernel)) *
                            count_places(&p->columns, column_offset, (int)(taps[i] % kernel),
                                         (int)(taps[j] % kernel));
            if (places > 0) {
                sum += (i == j ? 1.0 : 2.0) * places *
                       inner(g + i * BLOCK_ROWS * columns, g + j * BLOCK_ROWS * columns,
                             tiles * TILE * columns);
            }
        }
    }
    return sum;
}

static bool sum_rows(void *context, size_t job)
{
    struct product *p = context;
    size_t first_tile = job * (BLOCK_ROWS / TILE);
    size_t tiles = p->tiles - first_tile;
    tiles = tiles > BLOCK_ROWS / TILE ? BLOCK_ROWS / TILE : tiles;
    double *g = malloc(p->taps * BLOCK_ROWS * p->tiles * TILE * sizeof *g);
    size_t *taps = malloc(p->taps * sizeof *taps);
    bool is_done = g && taps;
    int reach = (p->layer->kernel - 1) / p->layer->stride;
    double sum = 0;
    for (int r = -reach; r <= reach && is_done && !wa_score_is_stopped(p->watch); r++) {
        for (int c = -reach; c <= reach; c++) {
            bool is_half = r > 0 || (r == 0 && c > 0);
            bool is_centre = r == 0 && c == 0;
            if (is_half || is_centre || !p->is_symmetric) {
                double factor = p->is_symmetric && is_half ? 2.0 : 1.0;
                sum += factor * sum_offset(p, first_tile, tiles, r, c, g, taps);
            }
        }
    }
    p->sums[job] = sum;
    free(g);
    free(taps);
    return is_done;
}

/* Weights by tap in tiles of outputs, rows past the last output zero. */
static double *arrange(const struct product *p, const double *weights, bool by_input)
{
    double *target = calloc(p->taps * p->tiles * TILE * p->inputs, sizeof *target);
    for (size_t o = 0; target && o < (size_t)p->layer->outputs; o++) {
        for (size_t t = 0; t < p->taps; t++) {
            double *tile = target + (t * p->tiles + o / TILE) * TILE * p->inputs;
            for (size_t i = 0; i < p->inputs; i++) {
                size_t at = by_input ? i * TILE + o % TILE : o % TILE * p->inputs + i;
                tile[at] = weights[(o * p->taps + t) * p->inputs + i];
            }
        }
    }
    return target;
}

static wa_status squared_norm(const struct wa_score_operator *layer, const double *a,
                              const double *b, const struct wa_score_watch *watch, double *ret_sum,
                              struct wa_error *err)
{
    struct product p = {.layer = layer,
                        .rows = wa_score_axis_make(layer, layer->rows),
                        .columns = wa_score_axis_make(layer, layer->columns),
                        .inputs = (size_t)layer->inputs,
                        .taps = (size_t)layer->kernel * (size_t)layer->kernel,
                        .tiles = ((size_t)layer->outputs + TILE - 1) / TILE,
                        .is_symmetric = a == b,
                        .watch = watch};
    size_t jobs = (p.tiles * TILE + BLOCK_ROWS - 1) / BLOCK_ROWS;
    double *rows = arrange(&p, a, false);
    double *columns = arrange(&p, b, true);
    p.a = rows;
    p.b = columns;
    p.sums = calloc(jobs, sizeof *p.sums);
    wa_status status = rows && columns && p.sums ? wa_parallel_run(sum_rows, &p, jobs, err)
                                                 : wa_fail(err, WA_E_MEMORY, "out of memory");
    double sum = 0;
    for (size_t i = 0; i < jobs && status == WA_OK; i++) {
        sum += p.sums[i];
    }
    *ret_sum = sum;
    free(rows);
    free(columns);
    free(p.sums);
    return status;
}

wa_status wa_score_exact(const struct wa_score_operator *layer, const double *d, const double *e,
                         const struct wa_score_watch *watch, double *ret_score,
                         struct wa_error *err)
{
    /* and what share of the work is done then */
    const struct {
        const double *a, *b;
        double share;
    } products[] = {{d, e, 0.5}, {d, d, 0.75}, {e, e, 1}};
    double sums[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        wa_status status = squared_norm(layer, products[i].a, products[i].b, watch, &sums[i], err);
        if (status == WA_OK) {
            status = wa_score_step(watch, products[i].share);
        }
        if (status != WA_OK) {
            return status;
        }
    }
    double norms = sqrt(sums[1]) * sqrt(sums[2]);
    *ret_score = norms > 0 ? sums[0] / norms : (double)NAN;
    return WA_OK;
}
