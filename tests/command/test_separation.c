/* Core knows no plugin: it works without them, names none, and takes those of others as its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command_test.h"

enum { PATH_BYTES = 1024 };

/* Runs another program than walign. */
#define RUN_TOOL(t, tool, ...) run_tool((t), (tool), (const char *const[]){__VA_ARGS__, NULL})
static void run_tool(struct wa_tested_program *t, const char *tool, const char *const *arguments)
{
    const char *program = t->program;
    t->program = tool;
    int result = wa_tested_run(t, arguments);
    t->program = program;
    if (result != 0) {
        fail_msg("%s ended with %d: %s%s", tool, result, t->output, t->errors);
    }
}

/* ---- Without rules --------------------------------------------------------------------------- */

/* A build tree of the program and all plugins but the rules. */
static void copy_without_rules(struct wa_tested_program *t, char ret_program[PATH_BYTES])
{
    static const char *const folders[] = {"plugins/architectures", "plugins/optimizers",
                                          "datasets"};
    const char *slash = strrchr(t->program, '/');
    assert_non_null(slash);
    int length = (int)(slash - t->program);
    RUN_TOOL(t, "mkdir", "-p", "tree/plugins/rules", "tree/plugins/architectures",
             "tree/plugins/optimizers", "tree/datasets");
    RUN_TOOL(t, "cp", t->program, "tree/walign");
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char command[3 * PATH_BYTES];
        (void)snprintf(command, sizeof command, "cp '%.*s/%s/'*.so 'tree/%s/'", length, t->program,
                       folders[i], folders[i]);
        RUN_TOOL(t, "sh", "-c", command);
    }
    (void)snprintf(ret_program, PATH_BYTES, "%s/tree/walign", t->folder.path);
}

static void test_without_rules(void **state)
{
    struct wa_tested_program *t = *state;
    char program[PATH_BYTES];
    copy_without_rules(t, program);
    const char *usual = t->program;
    t->program = program;
    t->environment[0] = "WALIGN_PLUGIN_PATH";
    assert_int_equal(WA_TESTED_RUN(t, "plugins"), 0);
    assert_string_equal(t->errors, "");
    assert_int_equal(strncmp(t->output, "rules\n  none\n", 13), 0);
    wa_tested_expect_part(t->output, "cnn");
    wa_tested_expect_part(t->output, "glyphs");
    assert_int_equal(WA_TESTED_RUN(t, "plugins", "--json"), 0);
    assert_null(strstr(t->output, "\"rule\""));
    assert_int_equal(WA_TESTED_RUN(t, "devices"), 0);
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run"), 2);
    WA_TESTED_EXPECT_ERROR(t, "tiny.json:4:", "no rule has the id 'align-ada'");
    /* and again with those of the real tree, as somebody else's */
    char rules[PATH_BYTES];
    const char *slash = strrchr(usual, '/');
    (void)snprintf(rules, sizeof rules, "%.*s/plugins/rules", (int)(slash - usual), usual);
    assert_int_equal(
        WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", "--plugin-path", rules),
        0);
    t->program = usual;
}

/* ---- No names -------------------------------------------------------------------------------- */

/* The files of a folder, not of its subfolders, that have a text; each is printed. */
static size_t count_files_with(const char *folder, const char *text)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", wa_tested_source(), folder);
    DIR *entries = opendir(path);
    if (!entries) {
        fail_msg("%s cannot be read", path);
    }
    size_t found = 0;
    for (const struct dirent *e = readdir(entries); e; e = readdir(entries)) {
        const char *dot = strrchr(e->d_name, '.');
        if (!dot || (strcmp(dot, ".c") != 0 && strcmp(dot, ".h") != 0 && strcmp(dot, ".cl") != 0)) {
            continue;
        }
        (void)snprintf(path, sizeof path, "%s/%s/%s", wa_tested_source(), folder, e->d_name);
        FILE *stream = fopen(path, "r");
        assert_non_null(stream);
        char *content = NULL;
        size_t size = 0;
        ssize_t length = getdelim(&content, &size, '\0', stream);
        (void)fclose(stream);
        if (length > 0 && strstr(content, text)) {
            print_message("%s/%s has %s\n", folder, e->d_name, text);
            found++;
        }
        free(content);
    }
    (void)closedir(entries);
    return found;
}

static void test_core_names_no_plugin(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "plugins", "--json"), 0);
    json_object *root = json_tokener_parse(t->output);
    json_object *plugins = NULL;
    assert_true(json_object_object_get_ex(root, "plugins", &plugins));
    size_t count = json_object_array_length(plugins);
    assert_true(count >= 16);
    size_t at_home = 0;
    for (size_t i = 0; i < count; i++) {
        json_object *id = NULL;
        assert_true(json_object_object_get_ex(json_object_array_get_idx(plugins, i), "id", &id));
        char quoted[128];
        (void)snprintf(quoted, sizeof quoted, "\"%s\"", json_object_get_string(id));
        assert_int_equal(count_files_with("core", quoted), 0);
        assert_int_equal(count_files_with("core/include/walign", quoted), 0);
        assert_int_equal(count_files_with("kernels", quoted), 0);
        static const char *const homes[] = {"plugins/rules", "plugins/architectures",
                                            "plugins/optimizers", "datasets"};
        for (size_t h = 0; h < sizeof homes / sizeof *homes; h++) {
            at_home += count_files_with(homes[h], quoted) ? 1 : 0;
        }
    }
    assert_true(at_home >= count); /* such texts are found where they are */
    (void)json_object_put(root);
}

/* ---- A rule from outside --------------------------------------------------------------------- */

/* The source of a rule with another id. */
static void write_renamed(struct wa_tested_program *t, const char *name)
{
    static const char before[] = ".id = \"fa\"";
    static const char after[] = ".id = \"my-own-fa\"";
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/plugins/rules/feedback_alignment.c", wa_tested_source());
    FILE *stream = fopen(path, "r");
    assert_non_null(stream);
    char *source = NULL;
    size_t size = 0;
    assert_true(getdelim(&source, &size, '\0', stream) > 0);
    (void)fclose(stream);
    const char *at = strstr(source, before);
    assert_non_null(at);
    size_t renamed_size = strlen(source) + sizeof after;
    char *renamed = malloc(renamed_size);
    assert_non_null(renamed);
    (void)snprintf(renamed, renamed_size, "%.*s%s%s", (int)(at - source), source, after,
                   at + sizeof before - 1);
    wa_tested_write(t, name, renamed, strlen(renamed));
    free(renamed);
    free(source);
}

static void test_rule_from_outside(void **state)
{
    struct wa_tested_program *t = *state;
    char include[PATH_BYTES];
    (void)snprintf(include, sizeof include, "-I%s/core/include", wa_tested_source());
    assert_true(wa_data_folder_make(&t->folder, "mine"));
    write_renamed(t, "my_own_fa.c");
    RUN_TOOL(t, "cc", "-std=c11", "-shared", "-fPIC", "-Wl,--no-undefined", include, "my_own_fa.c",
             "-o", "mine/my_own_fa.so");
    assert_int_equal(
        WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--set", "rule.plugin=my-own-fa"),
        2);
    WA_TESTED_EXPECT_ERROR(t, "no rule has the id 'my-own-fa'");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "mine/run", "--quiet", "--set",
                                   "rule.plugin=my-own-fa", "--plugin-path", "mine"),
                     0);
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", "--set",
                                   "rule.plugin=fa"),
                     0);
    wa_tested_expect_equal(t, "run/checkpoints/last.safetensors",
                           "mine/run/checkpoints/last.safetensors");
    wa_tested_expect_equal_metrics(t, "run/metrics.jsonl", "mine/run/metrics.jsonl");
    assert_int_equal(WA_TESTED_RUN(t, "plugins", "--plugin-path", "mine"), 0);
    wa_tested_expect_part(t->output, "my-own-fa");
    /* by the environment, too */
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "WALIGN_PLUGIN_PATH=%s/mine", t->folder.path);
    t->environment[0] = path;
    assert_int_equal(WA_TESTED_RUN(t, "plugins"), 0);
    wa_tested_expect_part(t->output, "my-own-fa");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WA_COMMAND_TEST(test_without_rules),
        WA_COMMAND_TEST(test_core_names_no_plugin),
        WA_COMMAND_TEST(test_rule_from_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
