/* The rules of docs/write-a-rule.md, built as the page says, equal the rules that it says they equal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command_test.h"

enum { PATH_BYTES = 1024 };

/* A whole file of the source tree, to be freed. */
static char *read_source(const char *name)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", wa_tested_source(), name);
    FILE *stream = fopen(path, "r");
    if (!stream) {
        fail_msg("%s cannot be read", path);
    }
    char *text = NULL;
    size_t size = 0;
    assert_true(getdelim(&text, &size, '\0', stream) > 0);
    (void)fclose(stream);
    return text;
}

/* Builds docs/examples/NAME.c to rules/NAME.so with plain cc. */
static void build_example(struct wa_tested_program *t, const char *name, const char *libraries)
{
    assert_true(wa_data_folder_make(&t->folder, "rules"));
    char command[4 * PATH_BYTES];
    (void)snprintf(command, sizeof command,
                   "cc -std=c11 -Wall -Wextra -Werror -fPIC -shared -I '%s/core/include' "
                   "'%s/docs/examples/%s.c' %s -o rules/%s.so",
                   wa_tested_source(), wa_tested_source(), name, libraries, name);
    const char *program = t->program;
    t->program = "sh";
    int result = WA_TESTED_RUN(t, "-c", command);
    t->program = program;
    if (result != 0) {
        fail_msg("%s\n%s", command, t->errors);
    }
}

/* Trains tiny.json, three convolutions deep, with another rule. */
static void train(struct wa_tested_program *t, const char *rule, const char *folder)
{
    char setting[PATH_BYTES];
    (void)snprintf(setting, sizeof setting, "rule=%s", rule);
    int result = WA_TESTED_RUN(t, "train", "tiny.json", "--quiet", "--plugin-path", "rules",
                               "--set", "architecture.kernels=[3, 3, 3]", "--set",
                               "architecture.strides=[1, 2, 2]", "--set", setting, "--out", folder);
    if (result != 0) {
        fail_msg("%s ended with %d: %s", rule, result, t->errors);
    }
}

/* Both rules leave the same bytes behind. */
static void expect_same(struct wa_tested_program *t, const char *rule, const char *folder,
                        const char *example, const char *example_folder)
{
    train(t, rule, folder);
    train(t, example, example_folder);
    char expected[PATH_BYTES];
    char seen[PATH_BYTES];
    (void)snprintf(expected, sizeof expected, "%s/checkpoints/last.safetensors", folder);
    (void)snprintf(seen, sizeof seen, "%s/checkpoints/last.safetensors", example_folder);
    wa_tested_expect_equal(t, expected, seen);
}

static void test_page_shows_the_file(void **state)
{
    (void)state;
    char *page = read_source("docs/write-a-rule.md");
    char *file = read_source("docs/examples/top_layers.c");
    assert_non_null(strstr(page, file));
    free(file);
    free(page);
}

static void test_top_layers(void **state)
{
    struct wa_tested_program *t = *state;
    build_example(t, "top_layers", "");
    expect_same(t, "{\"plugin\": \"last-layer\"}", "last",
                "{\"plugin\": \"top-layers\", \"layers\": 1}", "top-1");
    expect_same(t, "{\"plugin\": \"backprop\"}", "backprop",
                "{\"plugin\": \"top-layers\", \"layers\": 4}", "top-4");
    /* in between it is neither */
    train(t, "{\"plugin\": \"top-layers\", \"layers\": 2}", "top-2");
    assert_false(wa_tested_are_equal(t, "top-2/checkpoints/last.safetensors",
                                    "top-1/checkpoints/last.safetensors"));
    assert_false(wa_tested_are_equal(t, "top-2/checkpoints/last.safetensors",
                                    "top-4/checkpoints/last.safetensors"));
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--plugin-path", "rules", "--set",
                                   "rule={\"plugin\": \"top-layers\", \"layers\": 5}"),
                     2);
    WA_TESTED_EXPECT_ERROR(t, "\"layers\" is 5, but the network has 3: expected 1 to 3");
}

/* The extension for plugins with kernels of their own: programs, the queue, the weights' memory. */
static void test_rho_fa(void **state)
{
    struct wa_tested_program *t = *state;
    build_example(t, "rho_fa", "-lOpenCL -lm");
    expect_same(t, "{\"plugin\": \"fa\"}", "fa", "{\"plugin\": \"rho-fa\", \"rho\": 0}", "rho-0");
    expect_same(t, "{\"plugin\": \"align-prop\"}", "align-prop",
                "{\"plugin\": \"rho-fa\", \"rho\": 1}", "rho-1");
    train(t, "{\"plugin\": \"rho-fa\"}", "rho");
    assert_false(wa_tested_are_equal(t, "rho/checkpoints/last.safetensors",
                                    "rho-0/checkpoints/last.safetensors"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page_shows_the_file),
        WA_COMMAND_TEST(test_top_layers),
        WA_COMMAND_TEST(test_rho_fa),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
