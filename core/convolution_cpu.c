/* Convolutions on CPUs: launches of kernels/cpu_convolution.cl. */
#include <stdlib.h>
#include <string.h>

#include "operations_cpu.h"

enum {
    MAX_GATHERED_TAPS = 80,    /* channels times taps that one round takes in: they stay in L1 */
    MAX_WEIGHT_BYTES = 1 << 20 /* of the weights that one range of outputs reads: they stay in L2 */
};

/* How much of a convolution one work-item does: as many channels at a time as keep the gathered
 * lanes in L1, as many outputs as keep their weights in L2 and the accumulators in local memory. */
static wa_status size_direction(const struct wa_operations *operations,
                                const struct wa_convolution *c, int gathered_taps,
                                struct wa_cpu_direction *d, struct wa_error *err)
{
    const struct wa_engine *engine = operations->engine;
    size_t block_bytes = (size_t)WA_CPU_BLOCK_VECTORS * (size_t)engine->vector_width * sizeof(float);
    int most_taps = 1;
    for (int j = 0; j < c->job_count; j++) {
        most_taps = c->jobs[j].taps > most_taps ? c->jobs[j].taps : most_taps;
    }
    int outputs = engine->output_block;
    size_t block = (size_t)outputs * block_bytes;
    int wanted = gathered_taps > 0 ? gathered_taps : MAX_GATHERED_TAPS;
    int gathered = wanted > most_taps ? wanted : most_taps;
    if (c->in_channels * most_taps <= 2 * gathered) {
        gathered = c->in_channels * most_taps; /* one round: nothing is kept between rounds */
    }
    while (gathered > most_taps && (size_t)gathered * block_bytes + block > engine->local_bytes) {
        gathered--;
    }
    size_t gathered_bytes = (size_t)gathered * block_bytes;
    if (gathered_bytes + block > engine->local_bytes) {
        return wa_fail(err, WA_E_UNSUPPORTED,
                       "%s has %zu bytes of local memory, a kernel of %d taps needs %zu",
                       engine->device->info.name, engine->local_bytes, most_taps,
                       gathered_bytes + block);
    }
    int output_blocks = wa_divide_up(c->out_channels, outputs);
    int per_item = output_blocks;
    size_t weight_bytes =
        (size_t)c->in_channels * (size_t)most_taps * (size_t)outputs * sizeof(float);
    per_item = wa_clamp((int)(MAX_WEIGHT_BYTES / weight_bytes), 1, per_item);
    bool is_one_round = gathered / most_taps >= c->in_channels;
    if (!is_one_round) {
        size_t room = (engine->local_bytes - gathered_bytes) / block;
        per_item = wa_clamp((int)room, 1, per_item);
    }
    d->most_gathered = gathered;
    d->outputs_per_item = per_item;
    d->gathered_bytes = gathered_bytes;
    d->accumulator_bytes = (is_one_round ? 1 : (size_t)per_item) * block;
    return WA_OK;
}

wa_status wa_cpu_direction_init(struct wa_operations *operations,
                                const struct wa_convolution *convolution, size_t arranged_offset,
                                int gathered_taps, struct wa_cpu_direction *ret_direction,
                                struct wa_error *err)
{
    struct wa_engine *engine = operations->engine;
    const struct wa_convolution *c = convolution;
    struct wa_cpu_direction *d = ret_direction;
    struct wa_blocking block = operations->path->blocking(engine);
    wa_status status = size_direction(operations, c, gathered_taps, d, err);
    if (status != WA_OK) {
        return status;
    }
    d->job_count = c->job_count;
    const struct wa_convolution_job *last = &c->jobs[c->job_count - 1];
    int segments = last->rows * last->columns;
    d->items = (size_t)(last->first + last->blocks * segments +
                        wa_divide_up(last->rest * segments, block.lanes / 4));
    /* The jobs as the kernel sees them: weights counted from the start of the arranged set. */
    struct wa_convolution_job *jobs = calloc((size_t)c->job_count, sizeof *jobs);
    if (!jobs) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    memcpy(jobs, c->jobs, (size_t)c->job_count * sizeof *jobs);
    for (int j = 0; j < c->job_count; j++) {
        jobs[j].weights += (int32_t)arranged_offset;
    }
    status = wa_engine_buffer_from(engine, jobs, (size_t)c->job_count * sizeof *jobs,
                                   "a table of jobs", &d->jobs, err);
    free(jobs);
    if (status == WA_OK) {
        status = wa_engine_buffer_from(engine, c->taps, (size_t)c->tap_count * sizeof *c->taps,
                                       "a table of taps", &d->taps, err);
    }
    return status;
}

void wa_cpu_direction_finish(struct wa_engine *engine, struct wa_cpu_direction *direction)
{
    wa_engine_release(engine, direction->jobs);
    wa_engine_release(engine, direction->taps);
}

wa_status wa_cpu_convolve(struct wa_operations *operations, uint32_t layer, bool is_backward,
                          cl_mem arranged, cl_mem x, cl_mem y, struct wa_error *err)
{
    const struct wa_model_layer *l = &operations->model->layers[layer];
    const struct wa_convolution *c = is_backward ? &l->backward : &l->forward;
    const struct wa_cpu_direction *d = &operations->state->layers[layer].directions[is_backward];
    int output_blocks = wa_divide_up(c->out_channels, operations->engine->output_block);
    struct wa_range range = {
        2, {d->items, (size_t)wa_divide_up(output_blocks, d->outputs_per_item)}, {1, 1}};
    return wa_engine_launch(
        operations->engine, operations->state->convolution, &range, err, "mmmmmiiiiiiill", x,
        arranged, y, d->jobs, d->taps, d->job_count, c->in_channels, c->out_channels, c->x_plane,
        c->y_plane, d->outputs_per_item, d->most_gathered, d->accumulator_bytes, d->gathered_bytes);
}
