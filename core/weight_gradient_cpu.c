/* Weight gradients of convolutions on CPUs: launches of kernels/cpu_weight_gradient.cl (vectors of
 * lanes: few output channels) and kernels/cpu_weight_gradient_wide.cl (vectors of output channels). */
#include <stdio.h>
#include <stdlib.h>

#include "operations_cpu.h"

enum {
    TAPS_IN_GROUP = 3,
    NARROW_LANES = 800,        /* of dz's block of outputs that stays in L1 */
    NARROW_CHANNELS = 16,      /* input channels whose sums a work-item keeps */
    NARROW_ITEMS = 24,         /* work-items that a gradient is cut into at least */
    WIDE_TURNED_BYTES = 28672, /* of dz turned at a time: it stays in L1 beside what it meets */
    WIDE_ITEMS = 16,
    WIDE_MIN_CHANNELS = 3 /* below, most of a block of input channels would be idle */
};

/* Both kernels' struct walk. */
struct walk {
    int32_t rows, runs, cuts, length, run_lanes;
    int32_t dz, dz_row, dz_run;
    int32_t a, a_row, a_run;
    int32_t visit, parts, taps, groups;
};

static int quarters_of_a_vector(const struct wa_engine *engine, const struct wa_model_layer *layer)
{
    return 4 * (int)layer->shape.out_channels / engine->vector_width;
}

int wa_cpu_gradient_kind(const struct wa_engine *engine, const struct wa_model_layer *layer)
{
    int quarters = quarters_of_a_vector(engine, layer);
    /* few registers hold the sums of 6 channels x 2 vectors, but of 4 vectors only those of 2 channels */
    int most = engine->registers >= WA_MANY_REGISTERS ? 2 : 1;
    return quarters >= 12 ? most : quarters >= 6 ? 1 : 0;
}

/* How many vectors of output channels the wide kernel holds for this layer; 0: the narrow kernel. */
int wa_cpu_gradient_out_vectors(const struct wa_engine *engine, const struct wa_model_layer *layer)
{
    bool is_narrow = quarters_of_a_vector(engine, layer) < 3 || layer->is_dense ||
                     (int)layer->shape.in_channels < WIDE_MIN_CHANNELS ||
                     engine->local_bytes < WIDE_TURNED_BYTES / 2;
    return is_narrow ? 0 : 1 << wa_cpu_gradient_kind(engine, layer);
}

void wa_cpu_gradient_options(int out_vectors, char ret_options[WA_BATCH_OPTION_BYTES])
{
    (void)snprintf(ret_options, WA_BATCH_OPTION_BYTES, "-D OUT_VECTORS=%d", out_vectors);
}

/* Index of the kernels for 1, 2 or 4 vectors. */
static int kind_of(int out_vectors)
{
    return out_vectors / 2;
}

/* Cuts the places of a layer's output into segments of at most about max_lanes; returns how many lanes
 * one visit of them has at most. */
static int make_walk(const struct wa_model_layer *layer, int max_lanes, struct walk *ret_walk)
{
    const struct wa_layout *x = &layer->input;
    const struct wa_layout *dz = &layer->gradient;
    int lanes = dz->lanes;
    int stride = (int)layer->shape.stride;
    int k = (int)layer->shape.kernel;
    bool is_row = stride == 1; /* the lanes of a whole row lie side by side */
    struct walk w = {.rows = dz->rows,
                     .runs = is_row ? 1 : dz->columns,
                     .run_lanes = is_row ? dz->columns * lanes : lanes,
                     .dz = dz->base,
                     .dz_row = dz->row,
                     .dz_run = lanes,
                     .a = x->base - layer->pad_row * x->row - layer->pad_column * lanes,
                     .a_row = stride * x->row,
                     .a_run = stride * lanes,
                     .taps = k * k,
                     .groups = wa_divide_up(k * k, TAPS_IN_GROUP)};
    w.cuts = wa_divide_up(w.run_lanes, max_lanes);
    w.length = w.run_lanes / w.cuts / 4 * 4;
    if (w.length < 16) { /* the kernels want a whole vector in a segment */
        w.cuts = 1;
        w.length = w.run_lanes;
    }
    int longest = w.run_lanes - (w.cuts - 1) * w.length;
    w.visit = wa_clamp(max_lanes / longest, 1, w.rows * w.runs * w.cuts);
    *ret_walk = w;
    return w.visit * longest;
}

static int segments(const struct walk *walk)
{
    return walk->rows * walk->runs * walk->cuts;
}

static wa_status size_narrow(const struct wa_engine *engine, const struct wa_model_layer *layer,
                             int items_wanted, struct walk *walk, struct wa_cpu_gradient *g,
                             struct wa_error *err)
{
    (void)make_walk(layer, NARROW_LANES, walk);
    size_t sums = (size_t)walk->groups * (size_t)engine->output_block * TAPS_IN_GROUP *
                  (size_t)engine->vector_width * sizeof(float);
    if (sums > engine->local_bytes) {
        return wa_fail(err, WA_E_UNSUPPORTED,
                       "%s has %zu bytes of local memory, a weight gradient of %d taps needs %zu",
                       engine->device->info.name, engine->local_bytes, walk->taps, sums);
    }
    int in_channels = (int)layer->shape.in_channels;
    int fitting = (int)(engine->local_bytes / sums);
    g->channel_block = wa_clamp(wa_clamp(NARROW_CHANNELS, 1, fitting), 1, in_channels);
    g->local_bytes = sums * (size_t)g->channel_block;
    int items = wa_divide_up((int)layer->shape.out_channels, engine->output_block) *
                wa_divide_up(in_channels, g->channel_block);
    g->parts = wa_clamp(wa_divide_up(items_wanted > 0 ? items_wanted : NARROW_ITEMS, items), 1,
                        segments(walk));
    g->partial_floats = layer->weight_count * (size_t)g->parts;
    return WA_OK;
}

static void size_wide(const struct wa_engine *engine, const struct wa_model_layer *layer,
                      int items_wanted, struct walk *walk, struct wa_cpu_gradient *g)
{
    int outputs = g->out_vectors * engine->vector_width;
    int max_lanes = WIDE_TURNED_BYTES / (outputs * (int)sizeof(float));
    int lanes = make_walk(layer, max_lanes, walk);
    int blocks = wa_divide_up((int)layer->shape.out_channels, outputs);
    g->channel_block = (int)layer->shape.in_channels;
    g->local_bytes = (size_t)lanes * (size_t)outputs * sizeof(float);
    g->parts = wa_clamp(wa_divide_up(items_wanted > 0 ? items_wanted : WIDE_ITEMS, blocks), 1,
                        segments(walk));
    g->partial_floats = (size_t)g->parts * (size_t)(blocks * outputs) * (size_t)layer->fan_in;
}

wa_status wa_cpu_gradient_init(struct wa_operations *operations, const struct wa_model_layer *layer,
                               struct wa_cpu_gradient *ret_gradient, struct wa_error *err)
{
    struct wa_engine *engine = operations->engine;
    struct wa_cpu_gradient *g = ret_gradient;
    struct walk walk;
    wa_status status = WA_OK;
    int items = wa_tuning_choose(engine, layer, WA_PRODUCT_GRADIENT).gradient_items;
    g->out_vectors = wa_cpu_gradient_out_vectors(engine, layer);
    if (g->out_vectors) {
        size_wide(engine, layer, items, &walk, g);
    }
    if (!g->out_vectors || g->local_bytes > engine->local_bytes) {
        g->out_vectors = 0; /* a batch whose lanes cannot be cut finely enough */
        status = size_narrow(engine, layer, items, &walk, g, err);
    }
    if (status != WA_OK) {
        return status;
    }
    walk.parts = g->parts;
    status =
        wa_engine_buffer_from(engine, &walk, sizeof walk, "a table of segments", &g->walk, err);
    /* Taps in groups of three; a last group that is not full repeats its last tap. */
    int count = walk.groups * TAPS_IN_GROUP;
    int32_t *taps = calloc((size_t)count, sizeof *taps);
    if (!taps) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    for (int t = 0; t < count; t++) {
        taps[t] = layer->forward.taps[wa_clamp(t, 0, walk.taps - 1)];
    }
    if (status == WA_OK) {
        status = wa_engine_buffer_from(engine, taps, (size_t)count * sizeof *taps,
                                       "a table of taps", &g->taps, err);
    }
    free(taps);
    return status;
}

void wa_cpu_gradient_finish(struct wa_engine *engine, struct wa_cpu_gradient *gradient)
{
    wa_engine_release(engine, gradient->walk);
    wa_engine_release(engine, gradient->taps);
}

/* ---- Launches ------------------------------------------------------------------------------- */

/* The parts of a gradient [part][output][tap][channel] added up; the bias gradient from batch norm's sums. */
wa_status wa_cpu_gradient_add_parts(struct wa_operations *operations,
                                    const struct wa_model_layer *layer, int parts, cl_mem gradients,
                                    struct wa_error *err)
{
    const struct wa_path_state *state = operations->state;
    struct wa_range range = {1, {(size_t)wa_clamp((int)(layer->weight_count / 4096), 1, 64)}, {1}};
    return wa_engine_launch(
        operations->engine, state->weight_gradient_finish, &range, err, "mmmiiiiif", state->partial,
        state->bias_partial, gradients, (int)layer->weight_offset, (int)layer->weight_count, parts,
        (int)layer->shape.out_channels, layer->output.rows, 1.0 / (double)layer->scale);
}

static wa_status launch_narrow(struct wa_operations *operations, const struct wa_model_layer *l,
                               const struct wa_cpu_gradient *g, cl_mem x, cl_mem dz,
                               cl_mem gradients, struct wa_error *err)
{
    struct wa_engine *engine = operations->engine;
    const struct wa_path_state *state = operations->state;
    int out = (int)l->shape.out_channels;
    int in = (int)l->shape.in_channels;
    struct wa_range range = {3,
                             {(size_t)wa_divide_up(out, engine->output_block),
                              (size_t)wa_divide_up(in, g->channel_block), (size_t)g->parts},
                             {1, 1, 1}};
    wa_status status = wa_engine_launch(
        engine, state->weight_gradient, &range, err, "mmmmmiiiiil", x, dz, state->partial, g->walk,
        g->taps, in, out, l->input.plane, l->gradient.plane, g->channel_block, g->local_bytes);
    return status == WA_OK ? wa_cpu_gradient_add_parts(operations, l, g->parts, gradients, err)
                           : status;
}

static wa_status launch_wide(struct wa_operations *operations, const struct wa_model_layer *l,
                             const struct wa_cpu_gradient *g, cl_mem x, cl_mem dz, cl_mem gradients,
                             struct wa_error *err)
{
    struct wa_engine *engine = operations->engine;
    const struct wa_path_state *state = operations->state;
    int kind = kind_of(g->out_vectors);
    int out = (int)l->shape.out_channels;
    int in = (int)l->shape.in_channels;
    size_t blocks = (size_t)wa_divide_up(out, g->out_vectors * engine->vector_width);
    struct wa_range range = {
        3, {blocks, (size_t)wa_divide_up(in, g->channel_block), (size_t)g->parts}, {1, 1, 1}};
    wa_status status =
        wa_engine_launch(engine, state->wide_gradient[kind], &range, err, "mmmmmiiiiil", x, dz,
                         state->partial, g->walk, g->taps, in, out, l->input.plane,
                         l->gradient.plane, g->channel_block, g->local_bytes);
    if (status != WA_OK) {
        return status;
    }
    struct wa_range finish = {2, {(size_t)in, blocks}, {1, 1}};
    return wa_engine_launch(engine, state->wide_finish[kind], &finish, err, "mmmiiiiiif",
                            state->partial, state->bias_partial, gradients, (int)l->weight_offset,
                            (int)(l->shape.kernel * l->shape.kernel), in, out, g->parts,
                            l->output.rows, 1.0 / (double)l->scale);
}

wa_status wa_cpu_weight_gradient(struct wa_operations *operations, uint32_t layer, cl_mem x,
                                 cl_mem dz, cl_mem gradients, struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct wa_cpu_gradient *g = &operations->state->layers[layer].gradient;
    return g->out_vectors ? launch_wide(operations, l, g, x, dz, gradients, err)
                          : launch_narrow(operations, l, g, x, dz, gradients, err);
}
