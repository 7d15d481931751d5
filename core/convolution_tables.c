/* Jobs and taps of convolutions.
 *
 * With padding `before` p, kernel k and stride s, output row r reads input rows r s + t - p, t < k.
 * The way back, for input row y = s i + residue: the taps t that reach it have
 * (residue + p - t) divisible by s, and come from output row i + (residue + p - t)/s. So each pair of
 * residues is a job of its own, a stride-1 sum over its taps.
 */
#include "convolution_tables.h"

#include <stdlib.h>

#include "cutting.h"

/* Cuts a segment of lanes into blocks and a rest of pieces of four; counts the work-items. */
static void cut_segments(struct wa_convolution_job *job, int lanes, struct wa_blocking blocking,
                         int *items)
{
    int pieces_per_item = blocking.lanes / 4;
    job->blocks = lanes / blocking.lanes;
    job->rest = lanes % blocking.lanes / 4;
    job->first = *items;
    int segments = job->rows * job->columns;
    *items += job->blocks * segments + wa_divide_up(job->rest * segments, pieces_per_item);
}

static wa_status allocate(struct wa_convolution *c, int jobs, int taps, struct wa_error *err)
{
    c->jobs = calloc((size_t)jobs, sizeof *c->jobs);
    c->taps = calloc((size_t)taps, sizeof *c->taps);
    c->kernel_taps = calloc((size_t)taps, sizeof *c->kernel_taps);
    return c->jobs && c->taps && c->kernel_taps ? WA_OK
                                                : wa_fail(err, WA_E_MEMORY, "out of memory");
}

static wa_status make_forward(struct wa_model_layer *layer, int lanes, struct wa_blocking blocking,
                              struct wa_error *err)
{
    const struct wa_layer *s = &layer->shape;
    const struct wa_layout *x = &layer->input;
    const struct wa_layout *y = &layer->output;
    struct wa_convolution *c = &layer->forward;
    int k = (int)s->kernel;
    int stride = (int)s->stride;
    wa_status status = allocate(c, 1, k * k, err);
    if (status != WA_OK) {
        return status;
    }
    c->job_count = 1;
    c->tap_count = k * k;
    c->out_channels = (int)s->out_channels;
    c->in_channels = (int)s->in_channels;
    c->x_plane = x->plane;
    c->y_plane = y->plane;
    for (int t = 0; t < k * k; t++) {
        c->taps[t] = t / k * x->row + t % k * lanes;
        c->kernel_taps[t] = t;
    }
    /* At stride 1 the lanes of a whole row lie side by side in both tensors. */
    struct wa_convolution_job *job = c->jobs;
    *job = (struct wa_convolution_job){.rows = y->rows,
                                       .columns = stride == 1 ? 1 : y->columns,
                                       .x = x->base - layer->pad_row * x->row -
                                            layer->pad_column * lanes,
                                       .x_row = stride * x->row,
                                       .x_column = stride * lanes,
                                       .y = y->base,
                                       .y_row = y->row,
                                       .y_column = lanes,
                                       .taps = k * k};
    int items = 0;
    cut_segments(job, stride == 1 ? y->columns * lanes : lanes, blocking, &items);
    c->arranged_floats = (size_t)wa_round_up(c->out_channels, blocking.outputs) *
                         (size_t)c->in_channels * (size_t)c->tap_count;
    return WA_OK;
}

/* The rows (or columns) of the way back: which output a residue's tap comes from, relative to i. */
static int tap_shift(int residue, int pad, int tap, int stride)
{
    return (residue + pad - tap) / stride;
}

static bool reaches(int residue, int pad, int tap, int stride)
{
    return (residue + pad - tap) % stride == 0;
}

/* How far the way back reads over the edges of dz, in one dimension. */
static void widen_border(int in, int out, int pad, int kernel, int stride, int *before, int *after)
{
    for (int residue = 0; residue < stride && residue < in; residue++) {
        for (int t = 0; t < kernel; t++) {
            if (reaches(residue, pad, t, stride)) {
                int shift = tap_shift(residue, pad, t, stride);
                int over = (in - residue + stride - 1) / stride - 1 + shift - (out - 1);
                *before = -shift > *before ? -shift : *before;
                *after = over > *after ? over : *after;
            }
        }
    }
}

static void gradient_border(struct wa_model_layer *layer, int lanes)
{
    const struct wa_layer *s = &layer->shape;
    int before = 0;
    int after = 0;
    widen_border((int)s->in_height, (int)s->out_height, layer->pad_row, (int)s->kernel,
                 (int)s->stride, &before, &after);
    widen_border((int)s->in_width, (int)s->out_width, layer->pad_column, (int)s->kernel,
                 (int)s->stride, &before, &after);
    layer->gradient = wa_layout_make((int)s->out_channels, (int)s->out_height, (int)s->out_width,
                                     lanes, before, after);
}

/* One job: the input places of one residue of row and column. Returns its number of taps. */
static int residue_taps(const struct wa_model_layer *layer, int row, int column, int lanes,
                        int32_t *taps, int32_t *kernel_taps)
{
    int k = (int)layer->shape.kernel;
    int stride = (int)layer->shape.stride;
    int pad_row = layer->pad_row;
    int pad_column = layer->pad_column;
    int n = 0;
    for (int t = 0; t < k * k; t++) {
        if (reaches(row, pad_row, t / k, stride) && reaches(column, pad_column, t % k, stride)) {
            taps[n] = tap_shift(row, pad_row, t / k, stride) * layer->gradient.row +
                      tap_shift(column, pad_column, t % k, stride) * lanes;
            kernel_taps[n++] = t;
        }
    }
    return n;
}

static wa_status make_backward(struct wa_model_layer *layer, int lanes, struct wa_blocking blocking,
                               struct wa_error *err)
{
    const struct wa_layer *s = &layer->shape;
    int stride = (int)s->stride;
    struct wa_convolution *c = &layer->backward;
    gradient_border(layer, lanes);
    wa_status status = allocate(c, stride * stride, (int)(s->kernel * s->kernel), err);
    if (status != WA_OK) {
        return status;
    }
    const struct wa_layout *x = &layer->gradient;
    /* The gradient of the layer's input is kept without border. */
    struct wa_layout y =
        wa_layout_make((int)s->in_channels, (int)s->in_height, (int)s->in_width, lanes, 0, 0);
    c->out_channels = (int)s->in_channels;
    c->in_channels = (int)s->out_channels;
    c->x_plane = x->plane;
    c->y_plane = y.plane;
    int items = 0;
    for (int row = 0; row < stride && row < y.rows; row++) {
        for (int column = 0; column < stride && column < y.columns; column++) {
            struct wa_convolution_job *job = &c->jobs[c->job_count++];
            *job = (struct wa_convolution_job){
                .rows = wa_divide_up(y.rows - row, stride),
                .columns = stride == 1 ? 1 : wa_divide_up(y.columns - column, stride),
                .x = x->base,
                .x_row = x->row,
                .x_column = lanes,
                .y = row * y.row + column * lanes,
                .y_row = stride * y.row,
                .y_column = stride * lanes,
                .first_tap = c->tap_count,
                .weights = (int32_t)c->arranged_floats};
            job->taps = residue_taps(layer, row, column, lanes, c->taps + c->tap_count,
                                     c->kernel_taps + c->tap_count);
            c->tap_count += job->taps;
            c->arranged_floats += (size_t)wa_round_up(c->out_channels, blocking.outputs) *
                                  (size_t)c->in_channels * (size_t)job->taps;
            cut_segments(job, stride == 1 ? y.columns * lanes : lanes, blocking, &items);
        }
    }
    return WA_OK;
}

wa_status wa_convolution_tables_init(struct wa_model_layer *layer, int lanes,
                                     struct wa_blocking blocking, struct wa_error *err)
{
    wa_status status = make_forward(layer, lanes, blocking, err);
    if (status == WA_OK) {
        status = make_backward(layer, lanes, blocking, err);
    }
    return status;
}

void wa_convolution_tables_finish(struct wa_model_layer *layer)
{
    struct wa_convolution *both[] = {&layer->forward, &layer->backward};
    for (size_t i = 0; i < 2; i++) {
        free(both[i]->jobs);
        free(both[i]->taps);
        free(both[i]->kernel_taps);
        *both[i] = (struct wa_convolution){0};
    }
}
