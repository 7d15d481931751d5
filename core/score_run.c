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

/* Scoring under way. */
struct scorer {
    const struct wa_score_run *run;
    size_t first; /* line */
    const struct wa_score_watch *watch;
    wa_score_visitor *visit;
    void *context;
    struct wa_safetensors *initial;
    struct wa_error *err;
};

/* ---- run.json ------------------------------------------------------------------------------- */

static json_object *member(const json_object *object, const char *key)
{
    json_object *value = NULL;
    return json_object_object_get_ex(object, key, &value) ? value : NULL;
}

static wa_status read_description(struct wa_score_run *run, struct wa_error *err)
{
    wa_status status = wa_record_read_run(run->directory, &run->description, err);
    if (status != WA_OK) {
        return status;
    }
    if (!json_object_get_boolean(member(member(run->description, "config"), "alignment_pair"))) {
        return wa_fail(err, WA_E_USAGE,
                       "%s: this run has no second net to score against: train with "
                       "\"alignment_pair\": true",
                       run->directory);
    }
    if (!json_object_is_type(member(run->description, "layers"), json_type_array)) {
        return wa_fail(err, WA_E_DATA,
                       "%s/run.json: \"layers\", the shapes of the layers, is missing",
                       run->directory);
    }
    return WA_OK;
}

static bool take_size(const json_object *layer, const char *key, int *ret_size)
{
    int64_t size = json_object_get_int64(member(layer, key));
    *ret_size = (int)size;
    return size >= 1 && size <= MAX_SIDE;
}

static wa_status read_layer(const struct wa_score_run *run, size_t index,
                            struct wa_score_layer *ret_layer, struct wa_error *err)
{
    const json_object *entry = json_object_array_get_idx(member(run->description, "layers"), index);
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
               : wa_fail(err, WA_E_DATA, "%s/run.json: layers[%zu] is no description of a layer",
                         run->directory, index);
}

static wa_status read_layers(struct wa_score_run *run, struct wa_error *err)
{
    size_t count = json_object_array_length(member(run->description, "layers"));
    run->layers = calloc(count + 1, sizeof *run->layers);
    wa_status status = run->layers ? WA_OK : wa_fail(err, WA_E_MEMORY, "out of memory");
    for (size_t i = 0; i < count && status == WA_OK; i++) {
        struct wa_score_layer *layer = &run->layers[run->layer_count];
        status = read_layer(run, i, layer, err);
        bool is_trivial = layer->shape.inputs == 1 && layer->shape.kernel == 1;
        run->layer_count += status == WA_OK && !is_trivial ? 1 : 0;
    }
    return status;
}

/* ---- Tensors -------------------------------------------------------------------------------- */

static const char *const prefixes[] = {"", "align."}; /* of the two nets' tensors */

static wa_status find_tensor(const struct wa_score_run *run, const struct wa_safetensors *file,
                             const char *prefix, const struct wa_score_layer *layer,
                             const float **ret_values, struct wa_error *err)
{
    char name[128];
    (void)snprintf(name, sizeof name, "%s%s", prefix, layer->weight);
    const struct wa_safetensors_entry *entry = wa_safetensors_find(file, name);
    size_t size = wa_score_operator_size(&layer->shape);
    if (!entry || entry->type != WA_SAFETENSORS_F32 || entry->size_bytes != size * sizeof(float)) {
        return wa_fail(err, WA_E_DATA,
                       "%s: a checkpoint has no tensor '%s' of %zu float32: is it of this run?",
                       run->directory, name, size);
    }
    *ret_values = entry->data;
    return WA_OK;
}

/* Place of weight (out, tap, in) in the tensor. */
static size_t place(const struct wa_score_layer *layer, size_t out, size_t tap, size_t in)
{
    size_t inputs = (size_t)layer->shape.inputs;
    size_t taps = (size_t)layer->shape.kernel * (size_t)layer->shape.kernel;
    return layer->has_inputs_first ? in * (size_t)layer->shape.outputs + out
                                   : (out * taps + tap) * inputs + in;
}

/* ret_change [out][tap][in] = now - before. With `rng`, `now` is shuffled first, in the order tap, in,
 * out. */
static wa_status take_change(const struct wa_score_layer *layer, const float *now,
                             const float *before, struct wa_rng *rng, double *ret_change,
                             struct wa_error *err)
{
    size_t outputs = (size_t)layer->shape.outputs;
    size_t inputs = (size_t)layer->shape.inputs;
    size_t taps = (size_t)layer->shape.kernel * (size_t)layer->shape.kernel;
    size_t size = wa_score_operator_size(&layer->shape);
    float *values = malloc(size * sizeof *values);
    if (!values) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
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
static wa_status score(const struct scorer *s, const struct wa_score_layer *layer, const double *d,
                       const double *e, double *ret_score)
{
    size_t size = wa_score_operator_size(&layer->shape);
    if (is_zero(d, size) || is_zero(e, size)) {
        *ret_score = (double)NAN;
        return WA_OK;
    }
    return s->run->request.is_noise
               ? wa_score_noise(&layer->shape, d, e, SEED, s->watch, ret_score, s->err)
               : wa_score_exact(&layer->shape, d, e, s->watch, ret_score, s->err);
}

/* The weights of a layer: of both nets now, then of both before. */
struct weights {
    const float *now[2], *before[2];
};

static wa_status find_weights(const struct scorer *s, const struct wa_safetensors *file,
                              const struct wa_score_layer *layer, struct weights *ret_weights)
{
    wa_status status = WA_OK;
    for (int net = 0; net < 2 && status == WA_OK; net++) {
        status = find_tensor(s->run, file, prefixes[net], layer, &ret_weights->now[net], s->err);
        if (status == WA_OK) {
            status = find_tensor(s->run, s->initial, prefixes[net], layer,
                                 &ret_weights->before[net], s->err);
        }
    }
    return status;
}

/* `changes`: room for D and E. The shuffles are drawn for every line, known or not. */
static wa_status score_weights(const struct scorer *s, const struct weights *w, size_t number,
                               struct wa_rng *rng, double *changes)
{
    const struct wa_score_layer *layer = wa_score_run_layer(s->run, number);
    struct wa_score_line line = {
        .epoch = wa_score_run_epoch(s->run, number), .layer = layer->name, .control = (double)NAN};
    bool is_known = number < s->first;
    size_t size = wa_score_operator_size(&layer->shape);
    double *d = changes;
    double *e = changes + size;
    wa_status status = take_change(layer, w->now[0], w->before[0], NULL, d, s->err);
    if (status == WA_OK) {
        status = take_change(layer, w->now[1], w->before[1], NULL, e, s->err);
    }
    if (status == WA_OK && !is_known) {
        line.squared_cosine = squared_cosine(d, e, size);
        status = score(s, layer, d, e, &line.score);
    }
    if (status == WA_OK && s->run->request.has_control) {
        status = take_change(layer, w->now[0], w->before[0], rng, d, s->err);
        if (status == WA_OK && !is_known) {
            status = score(s, layer, d, e, &line.control);
        }
    }
    return status == WA_OK && !is_known ? s->visit(s->context, &line, s->err) : status;
}

static wa_status score_layer(const struct scorer *s, const struct wa_safetensors *file,
                             size_t number, struct wa_rng *rng)
{
    const struct wa_score_layer *layer = wa_score_run_layer(s->run, number);
    struct weights weights = {.now = {NULL}};
    wa_status status = find_weights(s, file, layer, &weights);
    if (status != WA_OK) {
        return status;
    }
    double *changes = calloc(wa_score_operator_size(&layer->shape), 2 * sizeof *changes);
    status = changes ? score_weights(s, &weights, number, rng, changes)
                     : wa_fail(s->err, WA_E_MEMORY, "out of memory");
    free(changes);
    return status;
}

static wa_status score_checkpoint(const struct scorer *s, size_t index)
{
    struct wa_safetensors *file = NULL;
    struct wa_rng *rng = malloc(sizeof *rng);
    wa_status status = rng ? wa_safetensors_read(s->run->checkpoints[index].path, &file, s->err)
                           : wa_fail(s->err, WA_E_MEMORY, "out of memory");
    if (status == WA_OK) {
        wa_rng_seed(rng, SEED);
    }
    for (size_t i = 0; i < s->run->layer_count && status == WA_OK; i++) {
        status = score_layer(s, file, index * s->run->layer_count + i, rng);
    }
    wa_safetensors_destroy(file);
    free(rng);
    return status;
}

/* ---- Checkpoints ---------------------------------------------------------------------------- */

/* Reads one that will be scored. *ret_is_inside: of a run that was stopped in the epoch behind
 * *ret_epoch. */
static wa_status check_checkpoint(const struct wa_score_run *run, const char *path,
                                  uint64_t *ret_epoch, bool *ret_is_inside, struct wa_error *err)
{
    const struct wa_safetensors_entry progress = {.name = "state.progress",
                                                  .type = WA_SAFETENSORS_U64,
                                                  .dimensions = 1,
                                                  .shape = {PROGRESS_WORDS}};
    const void *data = NULL;
    const float *ignored = NULL;
    struct wa_safetensors *file = NULL;
    wa_status status = wa_safetensors_read(path, &file, err);
    if (status == WA_OK) {
        status = wa_safetensors_expect(file, &progress, &data, err);
    }
    for (size_t i = 0; i < 2 * run->layer_count && status == WA_OK; i++) {
        status = find_tensor(run, file, prefixes[i % 2], &run->layers[i / 2], &ignored, err);
    }
    if (status == WA_OK) {
        uint64_t words[PROGRESS_WORDS];
        memcpy(words, data, sizeof words);
        *ret_epoch = words[WORD_EPOCH];
        *ret_is_inside = words[WORD_STEP_IN_EPOCH] > 0;
    }
    wa_safetensors_destroy(file);
    return status;
}

/* Takes `path` over; there is room for it. */
static void add_checkpoint(struct wa_score_run *run, uint64_t epoch, char *path)
{
    run->checkpoints[run->checkpoint_count++] =
        (struct wa_score_checkpoint){.epoch = epoch, .path = path};
}

static wa_status add_kept(struct wa_score_run *run, uint64_t epoch, struct wa_error *err)
{
    char *path = wa_record_checkpoint_path(run->directory, epoch);
    uint64_t found = 0;
    bool is_inside = false;
    wa_status status = path ? check_checkpoint(run, path, &found, &is_inside, err)
                            : wa_fail(err, WA_E_MEMORY, "out of memory");
    if (status == WA_OK && (is_inside || found != epoch)) {
        status = wa_fail(err, WA_E_DATA, "%s: is of epoch %llu, expected %llu", path,
                         (unsigned long long)found, (unsigned long long)epoch);
    }
    if (status == WA_OK) {
        add_checkpoint(run, epoch, path);
    } else {
        free(path);
    }
    return status;
}

/* The last checkpoint, if it is of the end of an epoch from `least` to `most`. */
static wa_status add_last(struct wa_score_run *run, uint64_t least, uint64_t most,
                          struct wa_error *err)
{
    char *path = wa_record_last_checkpoint_path(run->directory);
    uint64_t epoch = 0;
    bool is_inside = false;
    if (!path) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    bool is_there = wa_file_exists(path);
    wa_status status = is_there ? check_checkpoint(run, path, &epoch, &is_inside, err) : WA_OK;
    if (status == WA_OK && is_there && !is_inside && epoch >= least && epoch <= most) {
        add_checkpoint(run, epoch, path);
    } else {
        free(path);
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
static wa_status list_epochs(const char *directory, uint64_t **ret_epochs, size_t *ret_count,
                             struct wa_error *err)
{
    char *folder = wa_file_join(directory, "checkpoints");
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
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    *ret_count = count > 0 ? (size_t)count : 0;
    qsort(epochs, *ret_count, sizeof *epochs, compare_epochs);
    *ret_epochs = epochs;
    return WA_OK;
}

static wa_status take_all(struct wa_score_run *run, const uint64_t *epochs, size_t count,
                          struct wa_error *err)
{
    wa_status status = WA_OK;
    for (size_t i = 0; i < count && status == WA_OK; i++) {
        status = add_kept(run, epochs[i], err);
    }
    return status == WA_OK ? add_last(run, count ? epochs[count - 1] + 1 : 0, UINT64_MAX, err)
                           : status;
}

/* The epoch's own checkpoint, or the last one if it is of that epoch's end. */
static wa_status take_one(struct wa_score_run *run, uint64_t epoch, const uint64_t *epochs,
                          size_t count, struct wa_error *err)
{
    bool is_kept = bsearch(&epoch, epochs, count, sizeof *epochs, compare_epochs) != NULL;
    wa_status status = is_kept ? add_kept(run, epoch, err) : add_last(run, epoch, epoch, err);
    if (status == WA_OK && run->checkpoint_count == 0) {
        status = wa_fail(err, WA_E_DATA,
                         "%s: no checkpoint of epoch %llu: expected one that \"keep_every\" kept "
                         "(%zu are there, up to epoch %llu), or that of the last epoch",
                         run->directory, (unsigned long long)epoch, count,
                         (unsigned long long)(count ? epochs[count - 1] : 0));
    }
    return status;
}

static wa_status choose_checkpoints(struct wa_score_run *run, struct wa_error *err)
{
    uint64_t *epochs = NULL;
    size_t count = 0;
    wa_status status = list_epochs(run->directory, &epochs, &count, err);
    if (status == WA_OK) {
        run->checkpoints = calloc(count + 1, sizeof *run->checkpoints);
        status = run->checkpoints ? WA_OK : wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    if (status == WA_OK) {
        status = run->request.epoch < 0
                     ? take_all(run, epochs, count, err)
                     : take_one(run, (uint64_t)run->request.epoch, epochs, count, err);
    }
    free(epochs);
    return status;
}

/* ---- A run ---------------------------------------------------------------------------------- */

/* "runs/sweep/width-8/" without the slashes at its end; `name` is in it. */
static wa_status take_directory(struct wa_score_run *run, const char *directory,
                                struct wa_error *err)
{
    run->directory = strdup(directory);
    if (!run->directory) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    for (size_t n = strlen(run->directory); n > 1 && run->directory[n - 1] == '/'; n--) {
        run->directory[n - 1] = '\0';
    }
    const char *slash = strrchr(run->directory, '/');
    run->name = slash && slash[1] ? slash + 1 : run->directory;
    return WA_OK;
}

/* W(0). */
static wa_status check_initial(const struct wa_score_run *run, struct wa_error *err)
{
    char *path = wa_record_checkpoint_path(run->directory, 0);
    uint64_t epoch = 0;
    bool is_inside = false;
    wa_status status = path ? check_checkpoint(run, path, &epoch, &is_inside, err)
                            : wa_fail(err, WA_E_MEMORY, "out of memory");
    free(path);
    return status;
}

wa_status wa_score_run_init(const char *directory, const struct wa_score_request *request,
                            struct wa_score_run *ret_run, struct wa_error *err)
{
    *ret_run = (struct wa_score_run){.request = *request};
    wa_status status = take_directory(ret_run, directory, err);
    if (status == WA_OK) {
        status = read_description(ret_run, err);
    }
    if (status == WA_OK) {
        status = read_layers(ret_run, err);
    }
    if (status == WA_OK) {
        status = check_initial(ret_run, err);
    }
    return status == WA_OK ? choose_checkpoints(ret_run, err) : status;
}

void wa_score_run_finish(struct wa_score_run *run)
{
    for (size_t i = 0; i < run->checkpoint_count; i++) {
        free(run->checkpoints[i].path);
    }
    free(run->checkpoints);
    free(run->layers);
    free(run->directory);
    (void)json_object_put(run->description);
    *run = (struct wa_score_run){.directory = NULL};
}

size_t wa_score_run_lines(const struct wa_score_run *run)
{
    return run->checkpoint_count * run->layer_count;
}

uint64_t wa_score_run_epoch(const struct wa_score_run *run, size_t line)
{
    return run->checkpoints[line / run->layer_count].epoch;
}

const struct wa_score_layer *wa_score_run_layer(const struct wa_score_run *run, size_t line)
{
    return &run->layers[line % run->layer_count];
}

double wa_score_run_operations(const struct wa_score_run *run, size_t line, bool is_noise)
{
    const struct wa_score_operator *shape = &wa_score_run_layer(run, line)->shape;
    double operations =
        is_noise ? wa_score_noise_operations(shape) : wa_score_exact_operations(shape);
    double scores = run->request.has_control ? 2 : 1;
    return wa_score_run_epoch(run, line) == 0 ? 0 : scores * operations;
}

wa_status wa_score_run_score(const struct wa_score_run *run, size_t first,
                             const struct wa_score_watch *watch, wa_score_visitor *visit,
                             void *context, struct wa_error *err)
{
    struct scorer s = {
        .run = run, .first = first, .watch = watch, .visit = visit, .context = context, .err = err};
    char *path = wa_record_checkpoint_path(run->directory, 0);
    wa_status status = path ? wa_safetensors_read(path, &s.initial, err)
                            : wa_fail(err, WA_E_MEMORY, "out of memory");
    size_t start = run->layer_count ? first / run->layer_count : 0;
    for (size_t i = start; i < run->checkpoint_count && status == WA_OK; i++) {
        status = score_checkpoint(&s, i);
    }
    wa_safetensors_destroy(s.initial);
    free(path);
    return status;
}
