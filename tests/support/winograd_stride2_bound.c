/* Rounding of Winograd's products of stride 2: see winograd_stride2_bound.h. */
#include "winograd_stride2_bound.h"

#include <math.h>
#include <stdlib.h>

enum { SIDE = 5, POINTS = 25, WEIGHTS = 6, ODD = 5 };

/* One dimension: points [points x inputs] from inputs, outputs [outputs x points] from points, as absolute
 * values in rows of five. */
struct transform {
    int inputs, points, outputs;
    double input[POINTS], output[POINTS];
};

static const struct transform even4 = {
    5, 5, 4,
    {1, .5, 1, .5, 0, 0, 2, 1, 2, 1, 0, 1, .5, .5, 0, 0, 2 / 3., .5, 1 / 6., 0, 0, 1 / 6., 0, 1 / 6., 0},
    {1, 0, 1, 1, 1, 0, 0, 1, 1, 2, 0, 0, 1, 1, 4, 0, 1, 1, 1, 8}};
static const struct transform even3 = {
    4, 4, 3,
    {1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, .5, .5, 0, 0, 0, .5, .5},
    {1, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1}};
static const struct transform odd4 = {
    4, 4, 0, {1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, .5, .5, 0, 0, 0, .5, .5}, {0}};
static const struct transform odd3 = {3, 3, 0, {1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1}, {0}};
#define IDENTITY {1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1}
static const struct transform copy4 = {4, 4, 4, IDENTITY, IDENTITY};
static const struct transform copy3 = {3, 3, 3, IDENTITY, IDENTITY};

/* |G|: w0, w2, w0 + w2, w0 - w2, w0 + 2 w2, w1. */
static const double abs_g[WEIGHTS][3] = {{1, 0, 0}, {0, 0, 1}, {1, 0, 1}, {1, 0, 1}, {1, 0, 2}, {0, 1, 0}};

/* A tile of the smaller image of an item, and one of its four phases. */
struct tile {
    int row, column, rows, columns, item;
};

static const struct transform *transform_of(int places, bool is_odd, bool is_backward)
{
    if (is_odd) {
        return is_backward ? (places == 4 ? &copy4 : &copy3) : (places == 4 ? &odd4 : &odd3);
    }
    return places == 4 ? &even4 : &even3;
}

bool wa_reference_stride2_can(int outputs)
{
    return 3 * ((4 - outputs % 4) % 4) <= outputs;
}

/* The end of the tile that starts at `start`. */
static int tile_side(int outputs, int start)
{
    int fours = (outputs - 3 * ((4 - outputs % 4) % 4)) / 4;
    return start < 4 * fours ? 4 : 3;
}

/* Calls `visit` for all tiles of all items. */
static void visit_tiles(const struct wa_reference_shape *s,
                        void (*visit)(const struct wa_reference_shape *s, struct tile tile, void *context),
                        void *context)
{
    int rows = s->in_rows / 2;
    int columns = s->in_columns / 2;
    for (int row = 0; row < rows; row += tile_side(rows, row)) {
        for (int column = 0; column < columns; column += tile_side(columns, column)) {
            for (int item = 0; item < s->batch; item++) {
                visit(s,
                      (struct tile){row, column, tile_side(rows, row), tile_side(columns, column), item},
                      context);
            }
        }
    }
}

/* out [a_rows x b_rows] = a [a_rows x a_columns] in b^T, all in rows of five. */
static void sandwich(const double *a, int a_rows, int a_columns, const double *in, const double *b,
                     int b_rows, int b_columns, double *ret_out)
{
    for (int i = 0; i < a_rows; i++) {
        for (int j = 0; j < b_rows; j++) {
            double sum = 0.0;
            for (int k = 0; k < a_columns * b_columns; k++) {
                int row = k / b_columns;
                int column = k % b_columns;
                sum += a[i * SIDE + row] * in[row * SIDE + column] * b[j * SIDE + column];
            }
            ret_out[i * SIDE + j] = sum;
        }
    }
}

static double value_at(int rows, int columns, int batch, const double *x, int channel, int row, int column,
                       int item)
{
    bool is_inside = row >= 0 && row < rows && column >= 0 && column < columns;
    size_t place = ((size_t)channel * (size_t)rows + (size_t)row) * (size_t)columns + (size_t)column;
    return is_inside ? fabs(x[place * (size_t)batch + (size_t)item]) : 0.0;
}

/* A phase's points of a tile: phase 2 * odd row + odd column. */
static void transform_inputs(const struct wa_reference_shape *s, const double *x, int channel,
                             struct tile t, int phase, bool is_backward, double ret_v[POINTS])
{
    const struct transform *rows = transform_of(t.rows, phase >= 2, is_backward);
    const struct transform *columns = transform_of(t.columns, phase % 2 == 1, is_backward);
    int odd_row = phase / 2;
    int odd_column = phase % 2;
    double d[POINTS] = {0};
    for (int i = 0; i < rows->inputs; i++) {
        for (int j = 0; j < columns->inputs; j++) {
            d[i * SIDE + j] =
                is_backward
                    ? value_at(s->in_rows / 2, s->in_columns / 2, s->batch, x, channel,
                               t.row + i - 1 + odd_row, t.column + j - 1 + odd_column, t.item)
                    : value_at(s->in_rows, s->in_columns, s->batch, x, channel,
                               2 * (t.row + i) + odd_row, 2 * (t.column + j) + odd_column, t.item);
        }
    }
    sandwich(rows->input, rows->points, rows->inputs, d, columns->input, columns->points, columns->inputs,
             ret_v);
}

/* |G| |g| |G|^T of the weights from a channel of the sum to an output. */
static void transform_weights(const struct wa_reference_shape *s, const double *w, int output,
                              int channel, bool is_backward, double ret_u[WEIGHTS * WEIGHTS])
{
    int out = is_backward ? channel : output;
    int in = is_backward ? output : channel;
    for (int i = 0; i < WEIGHTS * WEIGHTS; i++) {
        ret_u[i] = 0.0;
        for (int tap = 0; tap < 9; tap++) {
            int from = is_backward ? 8 - tap : tap;
            ret_u[i] += abs_g[i / WEIGHTS][tap / 3] * abs_g[i % WEIGHTS][tap % 3] *
                        fabs(w[(size_t)(out * 9 + from) * (size_t)s->in_channels + (size_t)in]);
        }
    }
}

static int weight_point(int phase, int i, int j)
{
    return (phase >= 2 ? ODD : i) * WEIGHTS + (phase % 2 == 1 ? ODD : j);
}

struct bound {
    const double *x;
    double *u; /* of the output's channels */
    bool is_backward;
    int output;
    double *bounds;
};

/* Adds a phase's products of all channels. */
static void add_products(const struct wa_reference_shape *s, const struct bound *b, struct tile t,
                         int phase, double products[POINTS])
{
    const struct transform *rows = transform_of(t.rows, phase >= 2, b->is_backward);
    const struct transform *columns = transform_of(t.columns, phase % 2 == 1, b->is_backward);
    int channels = b->is_backward ? s->out_channels : s->in_channels;
    for (int c = 0; c < channels; c++) {
        const double *u = b->u + c * WEIGHTS * WEIGHTS;
        double v[POINTS];
        transform_inputs(s, b->x, c, t, phase, b->is_backward, v);
        for (int i = 0; i < rows->points; i++) {
            for (int j = 0; j < columns->points; j++) {
                products[i * SIDE + j] += u[weight_point(phase, i, j)] * v[i * SIDE + j];
            }
        }
    }
}

/* Products to outputs, which lie `step` places apart from (row, column) on in images of these sides. */
static void finish_tile(const struct wa_reference_shape *s, const struct bound *b, struct tile t,
                        const struct transform *rows, const struct transform *columns,
                        const double *products, size_t terms, int step, int row, int column)
{
    double y[POINTS];
    int height = step * (s->in_rows / 2);
    int width = step * (s->in_columns / 2);
    sandwich(rows->output, rows->outputs, rows->points, products, columns->output, columns->outputs,
             columns->points, y);
    for (int i = 0; i < rows->outputs; i++) {
        for (int j = 0; j < columns->outputs; j++) {
            int place = (b->output * height + row + step * i) * width + column + step * j;
            b->bounds[(size_t)place * (size_t)s->batch + (size_t)t.item] =
                y[i * SIDE + j] * (wa_reference_rounding(terms) + 24.0 * 0x1p-24);
        }
    }
}

static void bound_tile(const struct wa_reference_shape *s, struct tile t, void *context)
{
    const struct bound *b = context;
    double products[POINTS] = {0};
    for (int phase = 0; phase < 4; phase++) {
        add_products(s, b, t, phase, products);
        if (b->is_backward) {
            finish_tile(s, b, t, transform_of(t.rows, phase >= 2, true),
                        transform_of(t.columns, phase % 2 == 1, true), products,
                        (size_t)s->out_channels, 2, 2 * t.row + phase / 2, 2 * t.column + phase % 2);
            for (int i = 0; i < POINTS; i++) {
                products[i] = 0.0;
            }
        }
    }
    if (!b->is_backward) {
        finish_tile(s, b, t, transform_of(t.rows, false, false), transform_of(t.columns, false, false),
                    products, (size_t)s->in_channels * 4, 1, t.row, t.column);
    }
}

void wa_reference_stride2_bound(const struct wa_reference_shape *shape, const double *w, const double *x,
                                bool is_backward, double *ret_bounds)
{
    int outputs = is_backward ? shape->in_channels : shape->out_channels;
    int channels = is_backward ? shape->out_channels : shape->in_channels;
    double *u = malloc((size_t)channels * WEIGHTS * WEIGHTS * sizeof *u);
    if (!u) {
        abort();
    }
    struct bound b = {.x = x, .u = u, .is_backward = is_backward, .bounds = ret_bounds};
    for (b.output = 0; b.output < outputs; b.output++) {
        for (int c = 0; c < channels; c++) {
            transform_weights(shape, w, b.output, c, is_backward, u + c * WEIGHTS * WEIGHTS);
        }
        visit_tiles(shape, bound_tile, &b);
    }
    free(u);
}

/* ---- Weight gradient ------------------------------------------------------------------------ */

struct gradient {
    const double *x, *dz;
    int in, out;
    double sums[WEIGHTS * WEIGHTS];
    size_t terms;
};

static void add_tile(const struct wa_reference_shape *s, struct tile t, void *context)
{
    struct gradient *g = context;
    const struct transform *rows = transform_of(t.rows, false, false);
    const struct transform *columns = transform_of(t.columns, false, false);
    double u[POINTS] = {0};
    for (int i = 0; i < rows->outputs * columns->outputs; i++) {
        int row = i / columns->outputs;
        int column = i % columns->outputs;
        double dz = value_at(s->in_rows / 2, s->in_columns / 2, s->batch, g->dz, g->out, t.row + row,
                             t.column + column, t.item);
        for (int p = 0; p < rows->points; p++) {
            for (int q = 0; q < columns->points; q++) {
                u[p * SIDE + q] +=
                    rows->output[row * SIDE + p] * columns->output[column * SIDE + q] * dz;
            }
        }
    }
    for (int phase = 0; phase < 4; phase++) {
        double v[POINTS];
        transform_inputs(s, g->x, g->in, t, phase, false, v);
        int row_points = transform_of(t.rows, phase >= 2, false)->points;
        int column_points = transform_of(t.columns, phase % 2 == 1, false)->points;
        for (int p = 0; p < row_points; p++) {
            for (int q = 0; q < column_points; q++) {
                g->sums[weight_point(phase, p, q)] += v[p * SIDE + q] * u[p * SIDE + q];
            }
        }
    }
    g->terms += POINTS; /* at most so many points end in one sum */
}

void wa_reference_stride2_gradient_bound(const struct wa_reference_shape *shape, const double *x,
                                         const double *dz, double *ret_bounds)
{
    for (int pair = 0; pair < shape->out_channels * shape->in_channels; pair++) {
        struct gradient g = {
            .x = x, .dz = dz, .in = pair % shape->in_channels, .out = pair / shape->in_channels};
        visit_tiles(shape, add_tile, &g);
        for (int tap = 0; tap < 9; tap++) {
            double sum = 0.0;
            for (int i = 0; i < WEIGHTS * WEIGHTS; i++) {
                sum += abs_g[i / WEIGHTS][tap / 3] * abs_g[i % WEIGHTS][tap % 3] * g.sums[i];
            }
            ret_bounds[(size_t)(g.out * 9 + tap) * (size_t)shape->in_channels + (size_t)g.in] =
                sum * (wa_reference_rounding(g.terms) + 24.0 * 0x1p-24);
        }
    }
}
