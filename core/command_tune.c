/* `walign tune`: measures what could compute the products of the layers of configs on a device, says
 * what it chose and why, and keeps that for runs with "tuning": "auto". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "files.h"
#include "log.h"
#include "operations.h"
#include "product_tuner.h"
#include "progress.h"
#include "sweep.h"
#include "tuner.h"

#ifndef WA_DATA_DIR
#error "define WA_DATA_DIR as the folder where data is installed, e.g. \"/usr/share/walign\""
#endif

/* A sweep of the networks that are tuned where no config is given. */
#define LIST_FILE "tune.json"

struct tune {
    const struct wa_command_line *line;
    struct wa_setup setup;
    struct wa_tuning tuning;
    struct wa_product_tuner matrices;
    char *path;
    json_object *products; /* for --json */
    char device[WA_DEVICE_TEXT];
    size_t compiled; /* programs */
    double start;
};

/* ---- Results --------------------------------------------------------------------------------- */

static void describe_candidate(const struct wa_tuner_candidate *candidate,
                               char ret_text[WA_CHOICE_BYTES])
{
    bool is_winograd = candidate->choice.algorithm == WA_ALGORITHM_WINOGRAD;
    wa_tuning_describe(is_winograd ? "winograd" : "direct", &candidate->choice, ret_text);
}

static const char *reason(const struct wa_tuner_product *p)
{
    return !p->candidates[p->expected].is_right ? "the only one that is right"
           : p->chosen == p->expected           ? "nothing is clearly faster than the default"
                                                : "faster than the default";
}

static void print_product(const struct wa_tuner_product *p)
{
    char text[WA_CHOICE_BYTES];
    describe_candidate(&p->candidates[p->chosen], text);
    (void)printf("%-8s %-16s %-20s", p->layer->name, wa_operations_product_name(p->product), text);
    for (size_t i = 0; i < p->count; i++) {
        const struct wa_tuner_candidate *c = &p->candidates[i];
        describe_candidate(c, text);
        (void)printf("%s %s %.3f ms", i == 0 ? "" : ";", text, c->ms);
        if (!c->is_right) {
            (void)printf(" WRONG by %.1g", c->error);
        }
    }
    (void)printf(": %s\n", reason(p));
}

static json_object *describe_product(const struct wa_tuner_product *p, const char *network)
{
    char text[WA_CHOICE_BYTES];
    json_object *o = json_object_new_object();
    json_object *candidates = json_object_new_array();
    (void)json_object_object_add(o, "network", json_object_new_string(network));
    (void)json_object_object_add(o, "layer", json_object_new_string(p->layer->name));
    (void)json_object_object_add(o, "operation",
                                 json_object_new_string(wa_operations_product_name(p->product)));
    describe_candidate(&p->candidates[p->chosen], text);
    (void)json_object_object_add(o, "chosen", json_object_new_string(text));
    describe_candidate(&p->candidates[p->expected], text);
    (void)json_object_object_add(o, "default", json_object_new_string(text));
    for (size_t i = 0; i < p->count; i++) {
        const struct wa_tuner_candidate *c = &p->candidates[i];
        json_object *candidate = json_object_new_object();
        describe_candidate(c, text);
        (void)json_object_object_add(candidate, "name", json_object_new_string(text));
        (void)json_object_object_add(candidate, "ms", json_object_new_double(c->ms));
        (void)json_object_object_add(candidate, "error", json_object_new_double(c->error));
        (void)json_object_object_add(candidate, "right", json_object_new_boolean(c->is_right));
        (void)json_object_array_add(candidates, candidate);
    }
    (void)json_object_object_add(o, "candidates", candidates);
    (void)json_object_object_add(o, "reason", json_object_new_string(reason(p)));
    return o;
}

static void describe_matrix_candidate(size_t candidate, char ret_text[WA_CHOICE_BYTES])
{
    wa_tuning_describe_library(candidate == WA_PRODUCT_OWN ? WA_MATRIX_OWN : WA_MATRIX_CLBLAST,
                               wa_product_tuner_set(candidate), ret_text);
}

static bool is_expected(const struct wa_measured_product *p)
{
    return (p->chosen == WA_PRODUCT_OWN) == (p->expected == WA_MATRIX_OWN);
}

static void print_matrix(const struct wa_measured_product *p)
{
    char text[WA_CHOICE_BYTES];
    describe_matrix_candidate(p->chosen, text);
    (void)printf("%-8s %-16s %d x %d x %d  %s ", p->layer, p->operation, p->shape.m, p->shape.n,
                 p->shape.k, text);
    for (size_t i = 0; i < WA_PRODUCT_CANDIDATES; i++) {
        const struct wa_product_candidate *c = &p->candidates[i];
        if (!c->is_measured) {
            continue;
        }
        describe_matrix_candidate(i, text);
        if (*c->fault) {
            (void)printf("%s %s not usable: %s", i == 0 ? "" : ";", text, c->fault);
        } else {
            (void)printf("%s %s %.3f ms", i == 0 ? "" : ";", text, c->ms);
        }
        if (!*c->fault && !c->is_right) {
            (void)printf(" WRONG by %.1g", c->error);
        }
    }
    (void)printf(": %s\n", is_expected(p) ? "nothing is clearly faster than the default"
                                          : "faster than the default");
}

static json_object *describe_matrix(const struct wa_measured_product *p)
{
    char text[WA_CHOICE_BYTES];
    json_object *o = json_object_new_object();
    json_object *candidates = json_object_new_array();
    (void)json_object_object_add(o, "layer", json_object_new_string(p->layer));
    (void)json_object_object_add(o, "operation", json_object_new_string(p->operation));
    (void)json_object_object_add(o, "m", json_object_new_int64(p->shape.m));
    (void)json_object_object_add(o, "n", json_object_new_int64(p->shape.n));
    (void)json_object_object_add(o, "k", json_object_new_int64(p->shape.k));
    describe_matrix_candidate(p->chosen, text);
    (void)json_object_object_add(o, "chosen", json_object_new_string(text));
    for (size_t i = 0; i < WA_PRODUCT_CANDIDATES; i++) {
        const struct wa_product_candidate *c = &p->candidates[i];
        if (!c->is_measured) {
            continue;
        }
        json_object *candidate = json_object_new_object();
        describe_matrix_candidate(i, text);
        (void)json_object_object_add(candidate, "name", json_object_new_string(text));
        (void)json_object_object_add(candidate, "ms", json_object_new_double(c->ms));
        (void)json_object_object_add(candidate, "error", json_object_new_double(c->error));
        (void)json_object_object_add(candidate, "right", json_object_new_boolean(c->is_right));
        if (*c->fault) {
            (void)json_object_object_add(candidate, "fault", json_object_new_string(c->fault));
        }
        (void)json_object_array_add(candidates, candidate);
    }
    (void)json_object_object_add(o, "candidates", candidates);
    return o;
}

static bool has_found(const struct tune *t)
{
    return json_object_array_length(t->products) > 0 || t->matrices.count > 0;
}

static void print_end(const struct tune *t)
{
    double seconds = wa_progress_now() - t->start;
    if (t->line->json) {
        json_object *o = json_object_new_object();
        (void)json_object_object_add(o, "device", json_object_new_string(t->device));
        (void)json_object_object_add(o, "file",
                                     has_found(t) ? json_object_new_string(t->path) : NULL);
        (void)json_object_object_add(o, "seconds", json_object_new_double(seconds));
        (void)json_object_object_add(o, "programs_compiled",
                                     json_object_new_int64((int64_t)t->compiled));
        (void)json_object_object_add(o, "products", json_object_get(t->products));
        json_object *matrices = json_object_new_array();
        for (size_t i = 0; i < t->matrices.count; i++) {
            (void)json_object_array_add(matrices, describe_matrix(&t->matrices.products[i]));
        }
        (void)json_object_object_add(o, "matrix_products", matrices);
        (void)printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
        (void)json_object_put(o);
        return;
    }
    if (!has_found(t)) {
        (void)printf("nothing to choose: every product has one algorithm here\n");
        return;
    }
    (void)printf(
        "%.1f s, %zu programs compiled; kept in %s for configs with \"kernels\": {\"tuning\": "
        "\"auto\"}\n",
        seconds, t->compiled, t->path);
}

/* ---- The run --------------------------------------------------------------------------------- */

/* The products of a layer stand side by side: they make one entry. */
static wa_status keep(struct tune *t, const struct wa_tuner_product *products, size_t count,
                      struct wa_error *err)
{
    wa_status status = WA_OK;
    for (size_t i = 0; i < count && status == WA_OK;) {
        const struct wa_model_layer *layer = products[i].layer;
        struct wa_tuning_entry entry = {.shape = wa_tuning_shape_of(layer)};
        for (; i < count && products[i].layer == layer; i++) {
            const struct wa_tuner_product *p = &products[i];
            entry.choices[p->product] = p->candidates[p->chosen].choice;
            entry.ms[p->product] = p->candidates[p->chosen].ms;
        }
        status = wa_tuning_put(&t->tuning, &entry, err);
    }
    return status;
}

/* The sets of the command line and ours: what is tuned is what auto means, whatever the config says.
 * The caller frees the array. */
static const char **join_sets(const struct wa_setup_request *request, size_t *ret_count)
{
    static const char *const ours[] = {"kernels.tuning=off", "kernels.convolution=auto"};
    enum { OURS = sizeof ours / sizeof *ours };
    const char **sets = calloc(request->set_count + OURS, sizeof *sets);
    for (size_t i = 0; sets && i < request->set_count + OURS; i++) {
        sets[i] = i < request->set_count ? request->sets[i] : ours[i - request->set_count];
    }
    *ret_count = request->set_count + OURS;
    return sets;
}

/* Takes the config. */
static wa_status open_setup(struct tune *t, struct wa_config *config, struct wa_error *err)
{
    wa_setup_finish(&t->setup);
    wa_status status = wa_setup_take_config(&t->setup, config, &t->line->setup, err);
    return status == WA_OK ? wa_setup_run(&t->setup, &t->line->setup, err) : status;
}

/* What the device's file holds already stays, but for the shapes that are tuned now. */
static wa_status read_file(struct tune *t, struct wa_error *err)
{
    if (t->path) {
        return WA_OK;
    }
    t->path = wa_tuning_path(t->setup.device);
    if (!t->path) {
        return wa_fail(err, WA_E_IO,
                       "there is no folder for what is found: set XDG_CACHE_HOME to one");
    }
    struct wa_error reason = {0};
    if (wa_tuning_read(t->path, &(struct wa_tuning_filter){0}, &t->tuning, &reason) != WA_OK) {
        wa_log(WA_LOG_WARNING, "%s; ignoring, it is written anew", reason.message);
    }
    return WA_OK;
}

/* Takes the config of a network, which `name` names in the results. */
static wa_status tune_config(struct tune *t, struct wa_config *config, const char *name,
                             struct wa_error *err)
{
    struct wa_tuner_product *products = NULL;
    size_t count = 0;
    wa_status status = open_setup(t, config, err);
    if (status == WA_OK) {
        status = read_file(t, err);
    }
    if (status == WA_OK) {
        status = wa_tuner_run(t->setup.session, &t->setup.engine, t->line->thorough, &products,
                              &count, err);
    }
    bool has_matrices = t->line->thorough || t->setup.engine.path == WA_PATH_GPU;
    if (status == WA_OK && has_matrices) {
        status = wa_product_tuner_add(&t->matrices, t->setup.session, &t->setup.engine, err);
    }
    if (count > 0 && !t->line->json) {
        (void)printf("%s\n", name);
    }
    for (size_t i = 0; i < count; i++) {
        (void)json_object_array_add(t->products, describe_product(&products[i], name));
        if (!t->line->json) {
            print_product(&products[i]);
        }
    }
    (void)fflush(stdout); /* the next network takes its time */
    if (status == WA_OK) {
        status = keep(t, products, count, err);
        t->compiled += wa_programs_compiled(t->setup.programs);
    }
    free(products);
    return status;
}

/* Of all networks: CLBlast takes one set of parameters a device. */
static wa_status keep_matrices(struct tune *t, struct wa_error *err)
{
    struct wa_matrix_choices *kept = &t->tuning.matrices;
    wa_status status = WA_OK;
    bool has_clblast = false;
    for (size_t i = 0; i < t->matrices.count; i++) {
        has_clblast = has_clblast || t->matrices.products[i].chosen != WA_PRODUCT_OWN;
    }
    if (has_clblast) {
        wa_matrix_choices_set_parameters(kept, wa_product_tuner_set(t->matrices.set));
    }
    for (size_t i = 0; i < t->matrices.count && status == WA_OK; i++) {
        const struct wa_measured_product *p = &t->matrices.products[i];
        const struct wa_matrix_choice choice = {
            .shape = p->shape,
            .lanes = p->lanes,
            .path = p->path,
            .library = p->chosen == WA_PRODUCT_OWN ? WA_MATRIX_OWN : WA_MATRIX_CLBLAST,
            .ms = p->candidates[p->chosen].ms};
        status = wa_matrix_choices_put(kept, &choice, err);
    }
    return status;
}

static wa_status tune_matrices(struct tune *t, struct wa_error *err)
{
    bool is_gpu = t->setup.device->info.type & CL_DEVICE_TYPE_GPU;
    size_t before = wa_programs_compiled(t->setup.programs);
    wa_status status = wa_product_tuner_run(&t->matrices, t->setup.device, t->setup.programs,
                                            t->line->thorough || is_gpu, err);
    t->compiled += wa_programs_compiled(t->setup.programs) - before;
    for (size_t i = 0; i < t->matrices.count && status == WA_OK && !t->line->json; i++) {
        print_matrix(&t->matrices.products[i]);
    }
    return status == WA_OK ? keep_matrices(t, err) : status;
}

static wa_status tune_files(struct tune *t, const char *const *sets, size_t count,
                            struct wa_error *err)
{
    wa_status status = WA_OK;
    for (size_t i = 0; i < t->line->positional_count && status == WA_OK; i++) {
        struct wa_config *config = NULL;
        status = wa_config_read(t->line->positional[i], sets, count, &config, err);
        if (status == WA_OK) {
            status = tune_config(t, config, t->line->positional[i], err);
        }
    }
    return status;
}

/* In a build tree the list lies beside the program, else where it was installed. */
static char *find_list(void)
{
    char *program = wa_file_program_folder();
    char *list = program ? wa_file_join(program, "configs/" LIST_FILE) : NULL;
    free(program);
    if (list && wa_file_exists(list)) {
        return list;
    }
    free(list);
    return strdup(WA_DATA_DIR "/" LIST_FILE);
}

static wa_status tune_list(struct tune *t, const char *const *sets, size_t count,
                           struct wa_error *err)
{
    char *file = find_list();
    if (!file) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    struct wa_sweep *sweep = NULL;
    wa_status status = wa_file_exists(file)
                           ? wa_sweep_read(file, sets, count, &sweep, err)
                           : wa_fail(err, WA_E_DATA,
                                     "%s: the list of networks to tune is not there: install "
                                     "walign's data, or name configs",
                                     file);
    for (size_t i = 0; status == WA_OK && i < sweep->run_count; i++) {
        struct wa_config *config = NULL;
        status = wa_sweep_config(sweep, &sweep->runs[i], &config, err);
        if (status == WA_OK) {
            status = tune_config(t, config, sweep->runs[i].name, err);
        }
    }
    wa_sweep_destroy(sweep);
    free(file);
    return status;
}

static wa_status run(struct tune *t, struct wa_error *err)
{
    size_t count = 0;
    const char **sets = join_sets(&t->line->setup, &count);
    wa_status status = !sets                            ? wa_fail(err, WA_E_MEMORY, "out of memory")
                       : t->line->positional_count == 0 ? tune_list(t, sets, count, err)
                                                        : tune_files(t, sets, count, err);
    free(sets);
    if (status == WA_OK && t->matrices.count > 0) {
        status = tune_matrices(t, err);
    }
    if (status == WA_OK && has_found(t)) {
        status = wa_tuning_write(&t->tuning, t->setup.device, t->path, err);
    }
    if (status == WA_OK) {
        (void)snprintf(t->device, sizeof t->device, "%s", t->setup.device->info.name);
        wa_setup_finish(
            &t->setup); /* some drivers keep compiled programs only now: that is part of it */
        print_end(t);
    }
    return status;
}

wa_status wa_command_tune(const struct wa_command_line *line, struct wa_error *err)
{
    struct tune t = {.line = line, .start = wa_progress_now(), .products = json_object_new_array()};
    wa_status status = run(&t, err);
    wa_product_tuner_finish(&t.matrices);
    wa_tuning_finish(&t.tuning);
    wa_setup_finish(&t.setup);
    (void)json_object_put(t.products);
    free(t.path);
    return status;
}
