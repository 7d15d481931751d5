/* Measuring candidates. Each has operations of its own for the whole network; a product of a layer is
 * run with each of them in turn on the same random values. */
#include "tuner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "operations.h"
#include "progress.h"

enum { MIN_ROUNDS = 3, MAX_ROUNDS = 9, SEED = 1 };
static const double round_seconds = 0.25; /* of all candidates' rounds, after which no more begin */
static const double gain =
    0.95; /* what wins over what serves without tuning takes at most so much */

/* The first two, and with --thorough all. */
static const struct wa_choice choices[WA_TUNER_MAX_CANDIDATES] = {
    {.algorithm = WA_ALGORITHM_DIRECT},
    {.algorithm = WA_ALGORITHM_WINOGRAD},
    {.algorithm = WA_ALGORITHM_DIRECT, .gathered_taps = 40, .gradient_items = 8},
    {.algorithm = WA_ALGORITHM_DIRECT, .gathered_taps = 160, .gradient_items = 32},
};
enum { USUAL_CANDIDATES = 2 };

struct candidate {
    struct wa_tuning tuning;
    struct wa_operations *operations;
    cl_mem arranged[2];
};

struct tuner {
    struct wa_engine *engine;
    const struct wa_model *model;
    struct wa_error *err;
    uint32_t random;
    size_t count;
    struct candidate candidates[WA_TUNER_MAX_CANDIDATES];
    cl_mem weights, gradients;
    cl_mem x, dz, z, g; /* of the layer at work */
};

/* Where a product's result lies. */
struct result {
    cl_mem memory;
    size_t offset, count; /* floats */
};

/* ---- Values ---------------------------------------------------------------------------------- */

/* In [-1, 1); good enough for values that no one looks at. */
static float draw(struct tuner *t)
{
    t->random = t->random * 1664525u + 1013904223u;
    return (float)(int32_t)(t->random & 0xffffff00u) * 0x1p-31f;
}

/* A tensor of random values on the device, with zeros where the layout has borders and lanes past the
 * batch. */
static wa_status make_tensor(struct tuner *t, const struct wa_layout *layout, cl_mem *ret)
{
    float *values = calloc(layout->floats, sizeof *values);
    if (!values) {
        return wa_fail(t->err, WA_E_MEMORY, "out of memory");
    }
    for (int c = 0; c < layout->channels; c++) {
        for (int row = 0; row < layout->rows; row++) {
            float *place = values + (size_t)c * (size_t)layout->plane + (size_t)layout->base +
                           (size_t)row * (size_t)layout->row;
            for (int column = 0; column < layout->columns; column++) {
                for (int lane = 0; lane < t->model->batch; lane++) {
                    place[column * layout->lanes + lane] = draw(t);
                }
            }
        }
    }
    wa_status status = wa_engine_buffer_from(t->engine, values, layout->floats * sizeof *values,
                                             "values to tune with", ret, t->err);
    free(values);
    return status;
}

static wa_status make_weights(struct tuner *t)
{
    size_t count = t->model->parameter_count;
    float *values = malloc(count * sizeof *values);
    if (!values) {
        return wa_fail(t->err, WA_E_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        values[i] = draw(t);
    }
    wa_status status = wa_engine_buffer_from(t->engine, values, count * sizeof *values,
                                             "weights to tune with", &t->weights, t->err);
    free(values);
    return status == WA_OK ? wa_engine_buffer(t->engine, count * sizeof *values,
                                              "gradients to tune with", &t->gradients, t->err)
                           : status;
}

/* The layout of a gradient at a layer's input: no border. */
static struct wa_layout below(const struct wa_model_layer *layer)
{
    const struct wa_layout *in = &layer->input;
    return wa_layout_make(in->channels, in->rows, in->columns, in->lanes, 0, 0);
}

static void release_layer(struct tuner *t)
{
    cl_mem *const memory[] = {&t->x, &t->dz, &t->z, &t->g};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) {
        wa_engine_release(t->engine, *memory[i]);
        *memory[i] = NULL;
    }
}

static wa_status make_layer(struct tuner *t, const struct wa_model_layer *layer)
{
    struct wa_layout g = below(layer);
    wa_status status = make_tensor(t, &layer->input, &t->x);
    if (status == WA_OK) {
        status = make_tensor(t, &layer->gradient, &t->dz);
    }
    if (status == WA_OK) {
        status = wa_engine_buffer(t->engine, layer->output.floats * sizeof(float),
                                  "outputs to tune with", &t->z, t->err);
    }
    if (status == WA_OK) {
        status = wa_engine_buffer(t->engine, g.floats * sizeof(float), "gradients to tune with",
                                  &t->g, t->err);
    }
    return status;
}

/* ---- Candidates ------------------------------------------------------------------------------ */

/* Operations look choices up when they are made and when their sizes are asked for. */
static struct candidate *select_candidate(struct tuner *t, size_t i)
{
    t->engine->tuning = &t->candidates[i].tuning;
    return &t->candidates[i];
}

static wa_status make_candidate(struct tuner *t, size_t i)
{
    struct wa_program_spec specs[WA_OPERATIONS_MAX_PROGRAMS];
    char options[WA_OPERATIONS_MAX_PROGRAMS][WA_OPERATIONS_OPTION_BYTES];
    t->candidates[i].tuning.everywhere = &choices[i];
    struct candidate *c = select_candidate(t, i);
    wa_programs_prebuild(t->engine->programs, specs,
                         wa_operations_programs(t->engine, t->model, specs, options));
    wa_status status = wa_operations_create(t->engine, t->model, &c->operations, t->err);
    for (int direction = 0; direction < 2 && status == WA_OK; direction++) {
        size_t floats = wa_operations_arranged_floats(c->operations, direction == 1);
        status = wa_engine_buffer(t->engine, floats * sizeof(float), "arranged weights",
                                  &c->arranged[direction], t->err);
        if (status == WA_OK) {
            status = wa_operations_arrange(c->operations, t->weights, direction == 1,
                                           c->arranged[direction], t->err);
        }
    }
    return status;
}

static void release(struct tuner *t)
{
    release_layer(t);
    for (size_t i = 0; i < t->count; i++) {
        struct candidate *c = select_candidate(t, i);
        wa_operations_destroy(c->operations);
        wa_engine_release(t->engine, c->arranged[0]);
        wa_engine_release(t->engine, c->arranged[1]);
    }
    wa_engine_release(t->engine, t->weights);
    wa_engine_release(t->engine, t->gradients);
    t->engine->tuning = NULL;
}

/* What of a choice bears on a product. */
static struct wa_choice relevant(struct wa_choice choice, enum wa_product product)
{
    if (product == WA_PRODUCT_GRADIENT) {
        choice.gathered_taps = 0;
    } else {
        choice.gradient_items = 0;
    }
    return choice;
}

static bool is_default_blocking(const struct wa_choice *choice)
{
    return choice->gathered_taps == 0 && choice->gradient_items == 0;
}

/* ---- Runs ------------------------------------------------------------------------------------ */

static wa_status enqueue(struct tuner *t, size_t candidate, uint32_t layer, enum wa_product product)
{
    const struct candidate *c = select_candidate(t, candidate);
    switch (product) {
    case WA_PRODUCT_FORWARD:
        return wa_operations_forward(c->operations, layer, t->weights, c->arranged[0], t->x, t->z,
                                     t->err);
    case WA_PRODUCT_BACKWARD:
        return wa_operations_backward(c->operations, layer, t->weights, c->arranged[1], t->dz, t->g,
                                      t->err);
    default:
        return wa_operations_weight_gradient(c->operations, layer, t->x, t->dz, t->gradients,
                                             t->err);
    }
}

static struct result result_of(const struct tuner *t, const struct wa_model_layer *layer,
                               enum wa_product product)
{
    struct wa_layout g = below(layer);
    const struct wa_layout *z = &layer->output;
    switch (product) {
    case WA_PRODUCT_FORWARD:
        return (struct result){t->z, 0, (size_t)z->channels * (size_t)z->plane};
    case WA_PRODUCT_BACKWARD:
        return (struct result){t->g, 0, (size_t)g.channels * (size_t)g.plane};
    default:
        return (struct result){t->gradients, layer->weight_offset, layer->weight_count};
    }
}

/* Runs a candidate for the first time and reads what it computed. */
static wa_status compute(struct tuner *t, size_t candidate, uint32_t layer, enum wa_product product,
                         float *ret_values)
{
    struct result result = result_of(t, &t->model->layers[layer], product);
    wa_status status = enqueue(t, candidate, layer, product);
    return status == WA_OK ? wa_engine_read(t->engine, result.memory, result.offset * sizeof(float),
                                            ret_values, result.count * sizeof(float), t->err)
                           : status;
}

double wa_tuner_difference(const float *values, const float *reference, size_t count)
{
    double most = 0;
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        double d = fabs((double)values[i] - (double)reference[i]);
        if (!isfinite(d)) {
            return (double)INFINITY;
        }
        most = d > most ? d : most;
        largest = fmax(largest, fabs((double)reference[i]));
    }
    return largest > 0 ? most / largest : most;
}

static wa_status check(struct tuner *t, struct wa_tuner_product *p, const size_t *sets,
                       uint32_t layer)
{
    size_t count = result_of(t, p->layer, p->product).count;
    float *reference = malloc(count * sizeof *reference);
    float *values = malloc(count * sizeof *values);
    wa_status status = reference && values ? compute(t, sets[0], layer, p->product, reference)
                                           : wa_fail(t->err, WA_E_MEMORY, "out of memory");
    for (size_t i = 0; i < p->count && status == WA_OK; i++) {
        status = compute(t, sets[i], layer, p->product, values);
        if (status == WA_OK) {
            p->candidates[i].error = wa_tuner_difference(values, reference, count);
            p->candidates[i].is_right = p->candidates[i].error <= WA_TUNER_TOLERANCE;
        }
    }
    free(reference);
    free(values);
    return status;
}

static wa_status time_candidates(struct tuner *t, struct wa_tuner_product *p, const size_t *sets,
                                 uint32_t layer)
{
    double begin = wa_progress_now();
    wa_status status = WA_OK;
    for (int round = 0; round < MAX_ROUNDS && status == WA_OK; round++) {
        if (round >= MIN_ROUNDS && wa_progress_now() - begin > round_seconds) {
            break;
        }
        for (size_t i = 0; i < p->count && status == WA_OK; i++) {
            double start = wa_progress_now();
            status = enqueue(t, sets[i], layer, p->product);
            if (status == WA_OK) {
                status = wa_engine_finish(t->engine, t->err);
            }
            double ms = 1e3 * (wa_progress_now() - start);
            p->candidates[i].ms = round == 0 ? ms : fmin(ms, p->candidates[i].ms);
        }
    }
    return status;
}

static void choose(struct wa_tuner_product *p)
{
    p->chosen = p->expected;
    double limit = p->candidates[p->expected].ms * gain;
    for (size_t i = 0; i < p->count; i++) {
        const struct wa_tuner_candidate *c = &p->candidates[i];
        if (c->is_right && (c->ms < limit || !p->candidates[p->chosen].is_right)) {
            p->chosen = i;
            limit = c->ms;
        }
    }
}

/* ---- All of it ------------------------------------------------------------------------------- */

/* The candidates of a product, and whose operations they are; returns whether there is a choice. */
static bool find_candidates(const struct tuner *t, const struct wa_session *session, uint32_t layer,
                            enum wa_product product, struct wa_tuner_product *p,
                            size_t sets[WA_TUNER_MAX_CANDIDATES])
{
    const char *expected = wa_session_algorithm(session, layer, product);
    *p = (struct wa_tuner_product){.layer = &t->model->layers[layer], .product = product};
    const char *direct = wa_operations_algorithm(t->candidates[0].operations, layer, product);
    for (size_t i = 0; i < t->count; i++) {
        const char *algorithm =
            wa_operations_algorithm(t->candidates[i].operations, layer, product);
        if (choices[i].algorithm != WA_ALGORITHM_DIRECT && strcmp(algorithm, direct) == 0) {
            continue; /* it does not fit this layer */
        }
        if (is_default_blocking(&choices[i]) && strcmp(algorithm, expected) == 0) {
            p->expected = p->count;
        }
        sets[p->count] = i;
        p->candidates[p->count++].choice = relevant(choices[i], product);
    }
    return p->count > 1;
}

static bool is_shape_done(const struct tuner *t, uint32_t layer)
{
    struct wa_tuning_shape shape = wa_tuning_shape_of(&t->model->layers[layer]);
    for (uint32_t l = 0; l < layer; l++) {
        struct wa_tuning_shape other = wa_tuning_shape_of(&t->model->layers[l]);
        if (!t->model->layers[l].is_dense && wa_tuning_is_same_shape(&shape, &other)) {
            return true;
        }
    }
    return false;
}

static wa_status tune_layer(struct tuner *t, const struct wa_session *session, uint32_t layer,
                            struct wa_tuner_product *products, size_t *count)
{
    wa_status status = make_layer(t, &t->model->layers[layer]);
    for (int product = 0; product < WA_PRODUCT_COUNT && status == WA_OK; product++) {
        size_t sets[WA_TUNER_MAX_CANDIDATES];
        struct wa_tuner_product *p = &products[*count];
        /* Nothing goes down from the first layer. */
        if ((product == WA_PRODUCT_BACKWARD && layer == 0) ||
            !find_candidates(t, session, layer, (enum wa_product)product, p, sets)) {
            continue;
        }
        status = check(t, p, sets, layer);
        if (status == WA_OK) {
            status = time_candidates(t, p, sets, layer);
        }
        choose(p);
        ++*count;
    }
    release_layer(t);
    return status;
}

static wa_status tune(struct tuner *t, const struct wa_session *session,
                      struct wa_tuner_product *products, size_t *count)
{
    wa_status status = make_weights(t);
    for (size_t i = 0; i < t->count && status == WA_OK; i++) {
        status = make_candidate(t, i);
    }
    for (uint32_t l = 0; l < t->model->layer_count && status == WA_OK; l++) {
        if (!t->model->layers[l].is_dense && !is_shape_done(t, l)) {
            status = tune_layer(t, session, l, products, count);
        }
    }
    return status;
}

wa_status wa_tuner_run(const struct wa_session *session, struct wa_engine *engine, bool thorough,
                       struct wa_tuner_product **ret_products, size_t *ret_count,
                       struct wa_error *err)
{
    const struct wa_model *model = wa_session_model(session);
    struct wa_tuner_product *products =
        calloc((size_t)model->layer_count * WA_PRODUCT_COUNT + 1, sizeof *products);
    if (!products) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    struct tuner t = {.engine = engine,
                      .model = model,
                      .err = err,
                      .random = SEED,
                      .count = thorough ? WA_TUNER_MAX_CANDIDATES : USUAL_CANDIDATES};
    size_t count = 0;
    bool is_tunable = engine->path == WA_PATH_CPU && !model->is_sequence;
    wa_status status = is_tunable ? tune(&t, session, products, &count) : WA_OK;
    release(&t);
    if (status != WA_OK) {
        free(products);
        return status;
    }
    *ret_products = products;
    *ret_count = count;
    return WA_OK;
}
