/* From checkpoints to scores: D = W - W(0) of the first net, E the same of the second one. */
#include "score_run.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "files.h"
#include "record.h"
#include "rng.h"
#include "safetensors.h"
#include "score.h"

enum { SEED = 99, MAX_SIDE = 1 << 20, MAX_KERNEL = 64 };

/* Words of a checkpoint's state.progress; see checkpoint.c. */
enum { WORD_EPOCH = 0, WORD_STEP_IN_EPOCH = 2, PROGRESS_WORDS = 4 };

/* A layer as run.json describes it. */
struct scored_layer {
    const char *name, *weight;
    struct wa_score_operator shape;
    bool has_inputs_first; /* the tensor is [inputs][outputs] */
};

struct scorer {
    const char *directory;
    const struct wa_score_request *request;
    wa_score_visitor *visit;
    void *context;
    json_object *run;
    struct wa_safetensors *initial;
    struct wa_error *err;
};

/* ---- run.json ------------------------------------------------------------------------------- */

static json_object *member(const json_object *object, const char *key)
{
    json_object *value = NULL;
    return json_object_object_get_ex(object, key, &value) ? value : NULL;
}

static wa_status open_run(struct scorer *s)
{
    wa_status status = wa_record_read_run(s->directory, &s->run, s->err);
    if (status != WA_OK) {
        return status;
    }
    if (!json_object_get_boolean(member(member(s->run, "config"), "alignment_pair"))) {
        return wa_fail(s->err, WA_E_USAGE,
                       "%s: this run has no second net to score against: train with "
                       "\"alignment_pair\": true",
                       s->directory);
    }
    if (!json_object_is_type(member(s->run, "layers"), json_type_array)) {
        return wa_fail(s->err, WA_E_DATA,
                       "%s/run.json: \"layers\", the shapes of the layers, is missing",
                       s->directory);
    }
    return WA_OK;
}

static bool take_size(const json_object *layer, const char *key, int *ret_size)
{
    int64_t size = json_object_get_int64(member(layer, key));
    *ret_size = (int)size;
    return size >= 1 && size <= MAX_SIDE;
}

static wa_status read_layer(const struct scorer *s, size_t index, struct scored_layer *ret_layer)
{
    const json_object *entry = json_object_array_get_idx(member(s->run, "layers"), index);
    struct wa_score_operator *o = &ret_layer->shape;
    ret_layer->name = json_object_get_string(member(entry, "name"));
    ret_layer->weight = json_object_get_string(member(entry, "weight"));
    ret_layer->has_inputs_first = json_object_get_boolean(member(entry, "inputs_first"));
    bool is_good = ret_layer->name && ret_layer->weight;
    is_good = take_size(entry, "outputs", &o->outputs) && is_good;
    is_good = take_size(entry, "inputs", &o->inputs) && is_good;
    is_good = take_size(entry, "kernel", &o->kernel) && is_good;
    is_good = take_size(entry, "stride", &o->stride) && is_good;
    is_good = take_size(entry, "height", &o->rows) && is_good;
    is_good = take_size(entry, "width", &o->columns) && is_good;
    is_good = is_good && o->kernel <= MAX_KERNEL &&
              (int64_t)o->rows * o->columns * o->kernel * o->kernel <= INT32_MAX;
    return is_good
               ? WA_OK
               : wa_fail(s->err, WA_E_DATA, "%s/run.json: layers[%zu] is no description of a layer",
                         s->directory, index);
}

/* ---- Tensors -------------------------------------------------------------------------------- */

static wa_status find_tensor(const struct scorer *s, const struct wa_safetensors *file,
                             const char *prefix, const struct scored_layer *layer,
                             const float **ret_values)
{
    char name[128];
    (void)snprintf(name, sizeof name, "%s%s", prefix, layer->weight);
    const struct wa_safetensors_entry *entry = wa_safetensors_find(file, name);
    size_t size = wa_score_operator_size(&layer->shape);
    if (!entry || entry->type != WA_SAFETENSORS_F32 || entry->size_bytes != size * sizeof(float)) {
        return wa_fail(s->err, WA_E_DATA,
                       "%s: a checkpoint has no tensor '%s' of %zu float32: is it of this run?",
                       s->directory, name, size);
    }
    *ret_values = entry->data;
    return WA_OK;
}

/* Place of weight (out, tap, in) in the tensor. */
static size_t place(const struct scored_layer *layer, size_t out, size_t tap, size_t in)
{
    size_t inputs = (size_t)layer->shape.inputs;
    size_t taps = (size_t)layer->shape.kernel * (size_t)layer->shape.kernel;
    return layer->has_inputs_first ? in * (size_t)layer->shape.outputs + out
                                   : (out * taps + tap) * inputs + in;
}

/* ret_change [out][tap][in] = now - before. With `rng`, `now` is shuffled first, in the order tap, in,
 * out. */
static wa_status take_change(const struct scorer *s, const struct scored_layer *layer,
                             const float *now, const float *before, struct wa_rng *rng,
                             double *ret_change)
{
    size_t outputs = (size_t)layer->shape.outputs;
    size_t inputs = (size_t)layer->shape.inputs;
    size_t taps = (size_t)layer->shape.kernel * (size_t)layer->shape.kernel;
    size_t size = wa_score_operator_size(&layer->shape);
    float *values = malloc(size * sizeof *values);
    if (!values) {
        return wa_fail(s->err, WA_E_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < size; i++) {
        values[i] = now[place(layer, i % outputs, i / outputs / inputs, i / outputs % inputs)];
    }
    if (rng) {
        wa_rng_shuffle_floats(rng, values, (uint32_t)size);
    }
    for (size_t i = 0; i < size; i++) {
        size_t out = i % outputs;
        size_t tap = i / outputs / inputs;
        size_t in = i / outputs % inputs;
        ret_change[(out * taps + tap) * inputs + in] =
            (double)values[i] - (double)before[place(layer, out, tap, in)];
    }
    free(values);
    return WA_OK;
}

static double squared_cosine(const double *d, const double *e, size_t count)
{
    double dd = 0;
    double de = 0;
    double ee = 0;
    for (size_t i = 0; i < count; i++) {
        dd += d[i] * d[i];
        de += d[i] * e[i];
        ee += e[i] * e[i];
    }
    return dd > 0 && ee > 0 ? de / dd * (de / ee) : (double)NAN;
}

/* ---- Scores --------------------------------------------------------------------------------- */

static bool is_zero(const double *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (fabs(values[i]) > 0 || isnan(values[i])) {
            return false;
        }
    }
    return true;
}

/* Nothing has changed at epoch 0: no estimator is needed to see that 0/0 is no number. */
static wa_status score(const struct scorer *s, const struct scored_layer *layer, const double *d,
                       const double *e, double *ret_score)
{
    size_t size = wa_score_operator_size(&layer->shape);
    if (is_zero(d, size) || is_zero(e, size)) {
        *ret_score = (double)NAN;
        return WA_OK;
    }
    return s->request->is_noise ? wa_score_noise(&layer->shape, d, e, SEED, ret_score, s->err)
                                : wa_score_exact(&layer->shape, d, e, ret_score, s->err);
}

static wa_status score_layer(const struct scorer *s, const struct wa_safetensors *file,
                             uint64_t epoch, const struct scored_layer *layer, struct wa_rng *rng)
{
    struct wa_score_line line = {.epoch = epoch, .layer = layer->name, .control = (double)NAN};
    const float *now[2] = {NULL};
    const float *before[2] = {NULL};
    static const char *const prefixes[] = {"", "align."};
    wa_status status = WA_OK;
    for (int net = 0; net < 2 && status == WA_OK; net++) {
        status = find_tensor(s, file, prefixes[net], layer, &now[net]);
        if (status == WA_OK) {
            status = find_tensor(s, s->initial, prefixes[net], layer, &before[net]);
        }
    }
    if (status != WA_OK) {
        return status;
    }
    size_t size = wa_score_operator_size(&layer->shape);
    double *d = calloc(size, 2 * sizeof *d);
    double *e = d + size;
    if (!d) {
        return wa_fail(s->err, WA_E_MEMORY, "out of memory");
    }
    status = take_change(s, layer, now[0], before[0], NULL, d);
    if (status == WA_OK) {
        status = take_change(s, layer, now[1], before[1], NULL, e);
    }
    if (status == WA_OK) {
        line.squared_cosine = squared_cosine(d, e, size);
        status = score(s, layer, d, e, &line.score);
    }
    if (status == WA_OK && s->request->has_control) {
        status = take_change(s, layer, now[0], before[0], rng, d);
        if (status == WA_OK) {
            status = score(s, layer, d, e, &line.control);
        }
    }
    free(d);
    return status == WA_OK ? s->visit(s->context, &line, s->err) : status;
}

static wa_status score_checkpoint(const struct scorer *s, const struct wa_safetensors *file,
                                  uint64_t epoch)
{
    struct wa_rng *rng = malloc(sizeof *rng);
    if (!rng) {
        return wa_fail(s->err, WA_E_MEMORY, "out of memory");
    }
    wa_rng_seed(rng, SEED);
    size_t count = json_object_array_length(member(s->run, "layers"));
    wa_status status = WA_OK;
    for (size_t i = 0; i < count && status == WA_OK; i++) {
        struct scored_layer layer = {0};
        status = read_layer(s, i, &layer);
        bool is_trivial = layer.shape.inputs == 1 && layer.shape.kernel == 1;
        if (status == WA_OK && !is_trivial) {
            status = score_layer(s, file, epoch, &layer, rng);
        }
    }
    free(rng);
    return status;
}

/* ---- Checkpoints ---------------------------------------------------------------------------- */

/* *ret_is_inside: of a run that was stopped in the epoch behind *ret_epoch. */
static wa_status read_checkpoint(const struct scorer *s, char *path,
                                 struct wa_safetensors **ret_file, uint64_t *ret_epoch,
                                 bool *ret_is_inside)
{
    const struct wa_safetensors_entry progress = {.name = "state.progress",
                                                  .type = WA_SAFETENSORS_U64,
                                                  .dimensions = 1,
                                                  .shape = {PROGRESS_WORDS}};
    const void *data = NULL;
    wa_status status = path ? wa_safetensors_read(path, ret_file, s->err)
                            : wa_fail(s->err, WA_E_MEMORY, "out of memory");
    if (status == WA_OK) {
        status = wa_safetensors_expect(*ret_file, &progress, &data, s->err);
    }
    if (status == WA_OK) {
        uint64_t words[PROGRESS_WORDS];
        memcpy(words, data, sizeof words);
        *ret_epoch = words[WORD_EPOCH];
        *ret_is_inside = words[WORD_STEP_IN_EPOCH] > 0;
    }
    free(path);
    return status;
}

/* The epoch's own checkpoint, or the last one if it is of that epoch's end; *ret_file NULL if neither
 * is. `any_last`: the last one, of whichever epoch's end it is. */
static wa_status find_checkpoint(const struct scorer *s, uint64_t wanted, bool any_last,
                                 struct wa_safetensors **ret_file, uint64_t *ret_epoch)
{
    char *path = any_last ? NULL : wa_record_checkpoint_path(s->directory, wanted);
    bool is_kept = path && wa_file_exists(path);
    if (!is_kept) {
        free(path);
        path = wa_record_last_checkpoint_path(s->directory);
    }
    if (path && !wa_file_exists(path)) {
        free(path);
        return WA_OK;
    }
    bool is_inside = false;
    wa_status status = read_checkpoint(s, path, ret_file, ret_epoch, &is_inside);
    if (status == WA_OK && (is_inside || (!any_last && *ret_epoch != wanted))) {
        wa_safetensors_destroy(*ret_file);
        *ret_file = NULL;
    }
    return status;
}

static int is_epoch_file(const struct dirent *entry)
{
    unsigned long long epoch = 0;
    int end = 0;
    return sscanf(entry->d_name, "epoch-%llu.safetensors%n", &epoch, &end) == 1 && end > 0 &&
           entry->d_name[end] == '\0';
}

static int compare_epochs(const void *a, const void *b)
{
    uint64_t x = 0;
    uint64_t y = 0;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* The epochs whose checkpoints were kept, in order. */
static wa_status list_epochs(const struct scorer *s, uint64_t **ret_epochs, size_t *ret_count)
{
    char *folder = wa_file_join(s->directory, "checkpoints");
    struct dirent **entries = NULL;
    int count = folder ? scandir(folder, &entries, is_epoch_file, NULL) : 0;
    uint64_t *epochs = calloc((size_t)(count > 0 ? count : 0) + 1, sizeof *epochs);
    for (int i = 0; i < count; i++) {
        if (epochs) {
            epochs[i] = strtoull(entries[i]->d_name + strlen("epoch-"), NULL, 10);
        }
        free(entries[i]);
    }
    free(entries);
    free(folder);
    if (!epochs) {
        return wa_fail(s->err, WA_E_MEMORY, "out of memory");
    }
    *ret_count = count > 0 ? (size_t)count : 0;
    qsort(epochs, *ret_count, sizeof *epochs, compare_epochs);
    *ret_epochs = epochs;
    return WA_OK;
}

static wa_status score_epoch(const struct scorer *s, uint64_t epoch)
{
    struct wa_safetensors *file = NULL;
    uint64_t found = 0;
    wa_status status = find_checkpoint(s, epoch, false, &file, &found);
    if (status == WA_OK && !file) {
        status =
            wa_fail(s->err, WA_E_DATA,
                    "%s: no checkpoint of epoch %llu: expected one that \"keep_every\" kept, or "
                    "that of the last epoch",
                    s->directory, (unsigned long long)epoch);
    }
    if (status == WA_OK) {
        status = score_checkpoint(s, file, epoch);
    }
    wa_safetensors_destroy(file);
    return status;
}

static wa_status score_all(const struct scorer *s)
{
    uint64_t *epochs = NULL;
    size_t count = 0;
    wa_status status = list_epochs(s, &epochs, &count);
    for (size_t i = 0; i < count && status == WA_OK; i++) {
        status = score_epoch(s, epochs[i]);
    }
    struct wa_safetensors *last = NULL;
    uint64_t epoch = 0;
    if (status == WA_OK) {
        status = find_checkpoint(s, 0, true, &last, &epoch);
    }
    if (status == WA_OK && last && (count == 0 || epoch > epochs[count - 1])) {
        status = score_checkpoint(s, last, epoch);
    }
    wa_safetensors_destroy(last);
    free(epochs);
    return status;
}

wa_status wa_score_run(const char *directory, const struct wa_score_request *request,
                       wa_score_visitor *visit, void *context, struct wa_error *err)
{
    struct scorer s = {
        .directory = directory, .request = request, .visit = visit, .context = context, .err = err};
    uint64_t epoch = 0;
    bool is_inside = false;
    wa_status status = open_run(&s);
    if (status == WA_OK) {
        status = read_checkpoint(&s, wa_record_checkpoint_path(directory, 0), &s.initial, &epoch,
                                 &is_inside);
    }
    if (status == WA_OK) {
        status = request->epoch < 0 ? score_all(&s) : score_epoch(&s, (uint64_t)request->epoch);
    }
    wa_safetensors_destroy(s.initial);
    (void)json_object_put(s.run);
    return status;
}
