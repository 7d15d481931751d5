/* `walign tune`, and runs that use what it found: only where they ask for it, and exactly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command_test.h"
#include "files.h"

enum { PATH_BYTES = 1024 };

static json_object *member(json_object *object, const char *key)
{
    json_object *value = NULL;
    if (!json_object_object_get_ex(object, key, &value)) {
        fail_msg("there is no \"%s\" in %s", key, json_object_to_json_string(object));
    }
    return value;
}

/* Lets a folder of the test's own cache be that of all tests. */
static void share_folder(struct wa_tested_program *t, const char *name)
{
    char shared[PATH_BYTES];
    char link[PATH_BYTES];
    struct wa_error err = {0};
    (void)snprintf(shared, sizeof shared, "%s/%s", getenv("XDG_CACHE_HOME"), name);
    (void)snprintf(link, sizeof link, "%s/cache/%s", t->folder.path, name);
    assert_int_equal(wa_files_make_folders(shared, 0700, &err), WA_OK);
    assert_int_equal(symlink(shared, link), 0);
}

/* The test's own cache, but for compiled kernels, walign's and PoCL's, which are those of all tests. */
static void use_own_cache(struct wa_tested_program *t, char variable[PATH_BYTES])
{
    assert_non_null(getenv("XDG_CACHE_HOME"));
    assert_true(wa_data_folder_make(&t->folder, "cache"));
    assert_true(wa_data_folder_make(&t->folder, "cache/walign"));
    share_folder(t, "walign/kernels");
    share_folder(t, "pocl");
    (void)snprintf(variable, PATH_BYTES, "XDG_CACHE_HOME=%s/cache", t->folder.path);
    t->environment[0] = variable;
}

/* What tune prints with --json, or NULL where there is nothing to choose (GPU kernels). */
static json_object *tune(struct wa_tested_program *t)
{
    assert_int_equal(WA_TESTED_RUN(t, "tune", "tiny.json", "--json"), 0);
    json_object *result = json_tokener_parse(t->output);
    assert_non_null(result);
    if (json_object_array_length(member(result, "products")) == 0) {
        (void)json_object_put(result);
        return NULL;
    }
    return result;
}

/* The file's name below the test's folder. */
static const char *file_name(const struct wa_tested_program *t, json_object *result)
{
    const char *file = json_object_get_string(member(result, "file"));
    assert_int_equal(strncmp(file, t->folder.path, strlen(t->folder.path)), 0);
    return file + strlen(t->folder.path) + 1;
}

/* Lets the file choose this algorithm everywhere, or (only) for one product and direct for the others. */
static void set_algorithms(struct wa_tested_program *t, const char *name, const char *algorithm,
                           const char *only)
{
    char *text = wa_tested_read(t, name, NULL);
    json_object *root = json_tokener_parse(text);
    assert_non_null(root);
    json_object *shapes = member(root, "shapes");
    for (size_t i = 0; i < json_object_array_length(shapes); i++) {
        json_object_object_foreach(json_object_array_get_idx(shapes, i), key, value)
        {
            bool is_meant = !only || strcmp(key, only) == 0;
            if (json_object_is_type(value, json_type_object)) {
                (void)json_object_object_add(
                    value, "algorithm", json_object_new_string(is_meant ? algorithm : "direct"));
            }
        }
    }
    const char *changed = json_object_to_json_string(root);
    wa_tested_write(t, name, changed, strlen(changed));
    (void)json_object_put(root);
    free(text);
}

static void set_algorithm(struct wa_tested_program *t, const char *name, const char *algorithm)
{
    set_algorithms(t, name, algorithm, NULL);
}

/* The loss of the first epoch. */
static double train_loss(struct wa_tested_program *t, const char *file)
{
    char *text = wa_tested_read(t, file, NULL);
    text[strcspn(text, "\n")] = '\0';
    json_object *line = json_tokener_parse(text);
    double loss = json_object_get_double(member(line, "train_loss"));
    (void)json_object_put(line);
    free(text);
    return loss;
}

static void expect_product(struct wa_tested_program *t, const char *file, const char *product,
                           const char *algorithm)
{
    char *text = wa_tested_read(t, file, NULL);
    json_object *run = json_tokener_parse(text);
    json_object *layer = member(member(run, "products"), "conv1");
    assert_string_equal(json_object_get_string(member(layer, product)), algorithm);
    (void)json_object_put(run);
    free(text);
}

static void test_result(void **state)
{
    struct wa_tested_program *t = *state;
    char cache[PATH_BYTES];
    use_own_cache(t, cache);
    json_object *result = tune(t);
    if (!result) {
        skip();
    }
    assert_true(json_object_get_double(member(result, "seconds")) > 0);
    json_object *products = member(result, "products");
    for (size_t i = 0; i < json_object_array_length(products); i++) {
        json_object *product = json_object_array_get_idx(products, i);
        json_object *candidates = member(product, "candidates");
        assert_true(json_object_array_length(candidates) > 1);
        bool is_there = false;
        for (size_t c = 0; c < json_object_array_length(candidates); c++) {
            json_object *candidate = json_object_array_get_idx(candidates, c);
            assert_true(json_object_get_double(member(candidate, "ms")) > 0);
            assert_true(json_object_get_boolean(member(candidate, "right")));
            is_there =
                is_there || json_object_equal(member(candidate, "name"), member(product, "chosen"));
        }
        assert_true(is_there);
        assert_string_not_equal(json_object_get_string(member(product, "reason")), "");
    }
    assert_true(wa_tested_has(t, file_name(t, result)));
    (void)json_object_put(result);
    /* as text, with more candidates; and what was there stays */
    assert_int_equal(WA_TESTED_RUN(t, "tune", "tiny.json", "--thorough", "--set", "batch=20"), 0);
    wa_tested_expect_part(t->output, "conv1");
    wa_tested_expect_part(t->output, " taps");
    wa_tested_expect_part(t->output, " items");
    wa_tested_expect_part(t->output, " s, ");
}

/* Without a config: several networks, which a --set narrows as it does a sweep. */
static void test_default_networks(void **state)
{
    struct wa_tested_program *t = *state;
    char cache[PATH_BYTES];
    use_own_cache(t, cache);
    assert_int_equal(WA_TESTED_RUN(t, "tune", "--json", "--set", "architecture.width=8"), 0);
    json_object *result = json_tokener_parse(t->output);
    assert_non_null(result);
    json_object *products = member(result, "products");
    size_t count = json_object_array_length(products);
    if (count == 0) {
        (void)json_object_put(result);
        skip();
    }
    json_object *first = member(json_object_array_get_idx(products, 0), "network");
    json_object *last = member(json_object_array_get_idx(products, count - 1), "network");
    wa_tested_expect_part(json_object_get_string(first), "width");
    assert_string_not_equal(json_object_get_string(first), json_object_get_string(last));
    assert_true(wa_tested_has(t, file_name(t, result)));
    (void)json_object_put(result);
    assert_int_equal(WA_TESTED_RUN(t, "tune", "--set", "architecture.width=0"), 2);
    WA_TESTED_EXPECT_ERROR(t, "architecture.width");
    assert_int_equal(WA_TESTED_RUN(t, "tune", "--help"), 0);
    wa_tested_expect_part(t->output, "default: the networks");
}

static void test_runs(void **state)
{
    struct wa_tested_program *t = *state;
    char cache[PATH_BYTES];
    use_own_cache(t, cache);
    json_object *result = tune(t);
    if (!result) {
        skip();
    }
    const char *file = file_name(t, result);
    set_algorithm(t, file, "winograd");
    /* off is the default */
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "off", "--quiet"), 0);
    expect_product(t, "off/run.json", "forward", "direct");
    static const char tuned[] = "kernels.tuning=auto";
    assert_int_equal(
        WA_TESTED_RUN(t, "train", "tiny.json", "--out", "a", "--quiet", "--set", tuned), 0);
    expect_product(t, "a/run.json", "forward", "winograd");
    expect_product(t, "a/run.json", "weight gradient", "winograd");
    /* a forced algorithm stays forced */
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "b", "--quiet", "--set", tuned,
                                   "--set", "kernels.convolution=direct"),
                     0);
    expect_product(t, "b/run.json", "forward", "direct");
    wa_tested_expect_equal(t, "b/checkpoints/last.safetensors", "off/checkpoints/last.safetensors");
    /* another batch was not tuned */
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "c", "--quiet", "--set", tuned,
                                   "--set", "batch=50"),
                     0);
    expect_product(t, "c/run.json", "forward", "direct");
    wa_tested_expect_part(t->errors, "walign tune");
    (void)json_object_put(result);
}

/* Each product by itself on Winograd's way: the others stay direct, and the numbers are the same but
 * for rounding. 1e-3 of the loss: errors of 1e-5 in a product grow over ten steps. */
static void test_mixed(void **state)
{
    struct wa_tested_program *t = *state;
    static const char *const products[] = {"forward", "backward data", "weight gradient"};
    char cache[PATH_BYTES];
    use_own_cache(t, cache);
    json_object *result = tune(t);
    if (!result) {
        skip();
    }
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "off", "--quiet", "--set",
                                   "epochs=1", "--set", "kernels.convolution=direct"),
                     0);
    double expected = train_loss(t, "off/metrics.jsonl");
    for (size_t p = 0; p < sizeof products / sizeof *products; p++) {
        char out[] = "0";
        char run[] = "0/run.json";
        char metrics[] = "0/metrics.jsonl";
        out[0] = run[0] = metrics[0] = (char)('0' + p);
        set_algorithms(t, file_name(t, result), "winograd", products[p]);
        assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", out, "--quiet", "--set",
                                       "epochs=1", "--set", "kernels.tuning=auto"),
                         0);
        expect_product(t, run, "forward", p == 0 ? "winograd" : "direct");
        expect_product(t, run, "weight gradient", p == 2 ? "winograd" : "direct");
        double loss = train_loss(t, metrics);
        if (!(fabs(loss - expected) <= 1e-3 * expected)) {
            fail_msg("%s: loss %g, with direct products %g", products[p], loss, expected);
        }
    }
    (void)json_object_put(result);
}

static void test_resume(void **state)
{
    struct wa_tested_program *t = *state;
    char cache[PATH_BYTES];
    use_own_cache(t, cache);
    json_object *result = tune(t);
    if (!result) {
        skip();
    }
    const char *file = file_name(t, result);
    static const char tuned[] = "kernels.tuning=auto";
    set_algorithm(t, file, "winograd");
    assert_int_equal(
        WA_TESTED_RUN(t, "train", "tiny.json", "--out", "whole", "--quiet", "--set", tuned), 0);
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", "--set",
                                   tuned, "--set", "epochs=1"),
                     0);
    set_algorithm(t, file, "direct");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", "--set",
                                   tuned, "--resume"),
                     2);
    WA_TESTED_EXPECT_ERROR(t, "tuning", "conv1.forward", "winograd", "direct", "--out");
    set_algorithm(t, file, "winograd");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", "--set",
                                   tuned, "--resume"),
                     0);
    wa_tested_expect_equal(t, "run/checkpoints/last.safetensors",
                           "whole/checkpoints/last.safetensors");
    /* what comes out of it counts, not the word */
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", "--resume"),
                     2);
    WA_TESTED_EXPECT_ERROR(t, "tuning", "conv1.forward");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", "--resume",
                                   "--set", "kernels.convolution=winograd"),
                     2);
    WA_TESTED_EXPECT_ERROR(t, "kernels.convolution");
    (void)json_object_put(result);
}

static void test_damaged_file(void **state)
{
    struct wa_tested_program *t = *state;
    char cache[PATH_BYTES];
    use_own_cache(t, cache);
    json_object *result = tune(t);
    if (!result) {
        skip();
    }
    const char *file = file_name(t, result);
    static const char *const texts[] = {"", "{", "[]", "{\"shapes\": 1}", "{\"shapes\": [{}]}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        wa_tested_write(t, file, texts[i], strlen(texts[i]));
        assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", "--set",
                                       "kernels.tuning=auto"),
                         2);
        WA_TESTED_EXPECT_ERROR(t, "/tuning/", "remove it", "walign tune");
        assert_false(wa_tested_has(t, "run"));
    }
    json_object *again = tune(t); /* writes it anew */
    wa_tested_expect_part(t->errors, "written anew");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", "--set",
                                   "kernels.tuning=auto"),
                     0);
    (void)json_object_put(again);
    (void)json_object_put(result);
}

/* Kernels of Winograd's products that store what is wrong by a thousandth. */
static void test_wrong_candidates_never_win(void **state)
{
    struct wa_tested_program *t = *state;
    char cache[PATH_BYTES];
    char kernels[PATH_BYTES];
    use_own_cache(t, cache);
    wa_command_change_kernels(t, "wrong", "winograd",
                              "#define store(value, place) store((value) * 1.001f, place)\n");
    (void)snprintf(kernels, sizeof kernels, "WALIGN_KERNELS=%s/wrong", t->folder.path);
    t->environment[1] = kernels;
    json_object *result = tune(t);
    if (!result) {
        skip();
    }
    json_object *products = member(result, "products");
    size_t wrong = 0;
    for (size_t i = 0; i < json_object_array_length(products); i++) {
        json_object *product = json_object_array_get_idx(products, i);
        json_object *candidates = member(product, "candidates");
        for (size_t c = 0; c < json_object_array_length(candidates); c++) {
            json_object *candidate = json_object_array_get_idx(candidates, c);
            if (!json_object_get_boolean(member(candidate, "right"))) {
                wrong++;
                assert_false(
                    json_object_equal(member(candidate, "name"), member(product, "chosen")));
            }
        }
    }
    assert_true(wrong > 0);
    (void)json_object_put(result);
}

/* ---- Matrix products ------------------------------------------------------------------------- */

/* A dense network whose products are large enough to be tuned, on the GPU path: there CLBlast is a
 * candidate on any device. Direct feedback is a product, too. */
static void write_dense(struct wa_tested_program *t)
{
    wa_tested_write_json(
        t, "dense.json",
        "{'dataset': {'plugin': 'glyphs', 'height': 8, 'width': 8, 'items': 220, 'validation': 20},"
        " 'architecture': {'plugin': 'mlp', 'widths': [96]}, 'rule': {'plugin': 'dfa'},"
        " 'batch': 20, 'epochs': 2, 'kernels': {'path': 'gpu', 'tuning': 'auto'}}");
}

/* Lets the file name a library for all matrix products, and parameters (NULL: as CLBlast ships). */
static void set_library(struct wa_tested_program *t, const char *name, const char *library,
                        const char *parameters)
{
    char *text = wa_tested_read(t, name, NULL);
    json_object *root = json_tokener_parse(text);
    json_object *products = member(root, "matrix_products");
    assert_true(json_object_array_length(products) > 0);
    for (size_t i = 0; i < json_object_array_length(products); i++) {
        (void)json_object_object_add(json_object_array_get_idx(products, i), "library",
                                     json_object_new_string(library));
    }
    json_object_object_del(root, "clblast_parameters");
    if (parameters) {
        (void)json_object_object_add(root, "clblast_parameters",
                                     json_object_new_string(parameters));
    }
    const char *changed = json_object_to_json_string(root);
    wa_tested_write(t, name, changed, strlen(changed));
    (void)json_object_put(root);
    free(text);
}

/* Whether a step launches CLBlast, from the trace of its launches. */
static bool launches_clblast(struct wa_tested_program *t)
{
    assert_int_equal(
        WA_TESTED_RUN(t, "bench", "dense.json", "--steps", "1", "--profile", "trace.json"), 0);
    char *trace = wa_tested_read(t, "trace.json", NULL);
    wa_tested_expect_part(trace, "\"name\"");
    bool has = strstr(trace, "CLBlastSgemm");
    free(trace);
    return has;
}

static void expect_dense_product(struct wa_tested_program *t, const char *file,
                                 const char *expected)
{
    char *text = wa_tested_read(t, file, NULL);
    json_object *run = json_tokener_parse(text);
    json_object *layer = member(member(run, "products"), "dense1");
    assert_string_equal(json_object_get_string(member(layer, "forward")), expected);
    (void)json_object_put(run);
    free(text);
}

static void test_matrix_products(void **state)
{
    struct wa_tested_program *t = *state;
    char cache[PATH_BYTES];
    use_own_cache(t, cache);
    write_dense(t);
    assert_int_equal(WA_TESTED_RUN(t, "tune", "dense.json", "--json"), 0);
    json_object *result = json_tokener_parse(t->output);
    json_object *products = member(result, "matrix_products");
    assert_true(json_object_array_length(products) > 0);
    for (size_t i = 0; i < json_object_array_length(products); i++) {
        json_object *candidates = member(json_object_array_get_idx(products, i), "candidates");
        assert_true(json_object_array_length(candidates) > 1);
        json_object *own = json_object_array_get_idx(candidates, 0);
        json_object *clblast = json_object_array_get_idx(candidates, 1);
        assert_string_equal(json_object_get_string(member(own, "name")), "matrix product");
        assert_string_equal(json_object_get_string(member(clblast, "name")), "clblast");
        assert_true(json_object_get_boolean(member(clblast, "right")));
        assert_true(json_object_get_double(member(clblast, "error")) < 1e-4);
    }
    const char *file = file_name(t, result);
    static const char *const libraries[] = {"own", "clblast"};
    static const char *const names[] = {"matrix product", "clblast"};
    double losses[2];
    for (size_t i = 0; i < 2; i++) {
        char out[] = "0";
        char run[] = "0/run.json";
        char metrics[] = "0/metrics.jsonl";
        out[0] = run[0] = metrics[0] = (char)('0' + i);
        set_library(t, file, libraries[i], NULL);
        assert_int_equal(launches_clblast(t), i == 1);
        assert_int_equal(
            WA_TESTED_RUN(t, "train", "dense.json", "--out", out, "--quiet", "--set", "epochs=1"),
            0);
        expect_dense_product(t, run, names[i]);
        losses[i] = train_loss(t, metrics);
    }
    assert_true(fabs(losses[1] - losses[0]) <= 1e-3 * fabs(losses[0])); /* as in test_mixed */
    /* a run goes on as it began, or not */
    set_library(t, file, "own", NULL);
    assert_int_equal(WA_TESTED_RUN(t, "train", "dense.json", "--out", "1", "--quiet", "--resume"),
                     2);
    WA_TESTED_EXPECT_ERROR(t, "tuning", "dense1.forward", "clblast", "matrix product");
    set_library(t, file, "clblast", "64 x 64 a group");
    assert_int_equal(WA_TESTED_RUN(t, "train", "dense.json", "--out", "1", "--quiet", "--resume"),
                     2);
    WA_TESTED_EXPECT_ERROR(t, "tuning", "dense1.forward", "clblast, 64 x 64 a group");
    set_library(t, file, "clblast", NULL);
    assert_int_equal(WA_TESTED_RUN(t, "train", "dense.json", "--out", "1", "--quiet", "--resume"),
                     0);
    (void)json_object_put(result);
}

/* On the GPU path a recurrence's products are tuned and followed, too. */
static void test_recurrent_products(void **state)
{
    struct wa_tested_program *t = *state;
    char cache[PATH_BYTES];
    use_own_cache(t, cache);
    wa_tested_write_json(
        t, "rnn.json",
        "{'dataset': {'plugin': 'add'}, 'architecture': {'plugin': 'rnn', 'width': 40},"
        " 'rule': {'plugin': 'backprop'}, 'optimizer': {'plugin': 'sgd', 'learning_rate': 0.001},"
        " 'batch': 50, 'epochs': 1, 'steps': 1, 'evaluate': [],"
        " 'kernels': {'path': 'gpu', 'tuning': 'auto'}}");
    assert_int_equal(WA_TESTED_RUN(t, "tune", "rnn.json", "--json"), 0);
    json_object *result = json_tokener_parse(t->output);
    set_library(t, file_name(t, result), "clblast", NULL);
    (void)json_object_put(result);
    assert_int_equal(WA_TESTED_RUN(t, "train", "rnn.json", "--out", "run", "--quiet"), 0);
    char *text = wa_tested_read(t, "run/run.json", NULL);
    json_object *run = json_tokener_parse(text);
    json_object *layer = member(member(run, "products"), "recurrence");
    static const char *const products[] = {"forward", "backward data", "weight gradient"};
    for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
        assert_string_equal(json_object_get_string(member(layer, products[i])), "clblast");
    }
    (void)json_object_put(run);
    free(text);
}

/* An own kernel that is wrong: CLBlast differs from it, and so is not taken, however fast it is. */
static void test_different_products_never_win(void **state)
{
    struct wa_tested_program *t = *state;
    char cache[PATH_BYTES];
    char kernels[PATH_BYTES];
    use_own_cache(t, cache);
    write_dense(t);
    wa_command_change_kernels(t, "wrong", "gpu_matrix",
                              "#undef fma\n" /* PoCL's is a macro */
                              "#define fma(a, b, c) (1.001f * ((a) * (b) + (c)))\n");
    (void)snprintf(kernels, sizeof kernels, "WALIGN_KERNELS=%s/wrong", t->folder.path);
    t->environment[1] = kernels;
    assert_int_equal(WA_TESTED_RUN(t, "tune", "dense.json", "--json"), 0);
    json_object *result = json_tokener_parse(t->output);
    json_object *products = member(result, "matrix_products");
    assert_true(json_object_array_length(products) > 0);
    for (size_t i = 0; i < json_object_array_length(products); i++) {
        json_object *product = json_object_array_get_idx(products, i);
        json_object *clblast = json_object_array_get_idx(member(product, "candidates"), 1);
        assert_false(json_object_get_boolean(member(clblast, "right")));
        assert_true(json_object_get_double(member(clblast, "error")) > 1e-4);
        assert_string_equal(json_object_get_string(member(product, "chosen")), "matrix product");
    }
    (void)json_object_put(result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WA_COMMAND_TEST(test_result),
        WA_COMMAND_TEST(test_default_networks),
        WA_COMMAND_TEST(test_runs),
        WA_COMMAND_TEST(test_mixed),
        WA_COMMAND_TEST(test_resume),
        WA_COMMAND_TEST(test_damaged_file),
        WA_COMMAND_TEST(test_wrong_candidates_never_win),
        WA_COMMAND_TEST(test_matrix_products),
        WA_COMMAND_TEST(test_recurrent_products),
        WA_COMMAND_TEST(test_different_products_never_win),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
