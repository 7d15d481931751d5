/* Loading plugins: what is accepted, the text of each refusal, the search path, finding. The
 * fixtures of tests/plugins are shared objects in the folder that $WALIGN_TEST_PLUGINS names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "registry.h"

struct fixture {
    char *plugins; /* absolute path of the fixtures' folder */
    char folder[64];
    struct wa_registry *registry;
    struct wa_error err;
};

static int set_up(void **state)
{
    const char *plugins = getenv("WALIGN_TEST_PLUGINS");
    if (!plugins) {
        fail_msg("WALIGN_TEST_PLUGINS does not name the folder of the fixtures");
    }
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    char working_folder[2048];
    assert_non_null(getcwd(working_folder, sizeof working_folder));
    f->plugins = wa_file_join(plugins[0] == '/' ? "" : working_folder, plugins);
    assert_non_null(f->plugins);
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/walign-test-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    assert_int_equal(unsetenv("WALIGN_PLUGIN_PATH"), 0);
    assert_int_equal(wa_registry_create(&f->registry, &f->err), WA_OK);
    *state = f;
    return 0;
}

static void remove_tree(const char *path)
{
    DIR *folder = opendir(path);
    assert_non_null(folder);
    for (const struct dirent *item = readdir(folder); item; item = readdir(folder)) {
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0) {
            continue;
        }
        char *name = wa_file_join(path, item->d_name);
        struct stat info;
        assert_non_null(name);
        assert_int_equal(lstat(name, &info), 0);
        if (S_ISDIR(info.st_mode)) {
            remove_tree(name);
        } else {
            assert_int_equal(unlink(name), 0);
        }
        free(name);
    }
    (void)closedir(folder);
    assert_int_equal(rmdir(path), 0);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    wa_registry_destroy(f->registry);
    remove_tree(f->folder);
    free(f->plugins);
    free(f);
    return 0;
}

/* ---- Helpers -------------------------------------------------------------------------------- */

/* "<folder of the test>/<name>"; the folder <name> is made if it is to be one. */
static char *path_in(const struct fixture *f, const char *name)
{
    char *path = wa_file_join(f->folder, name);
    assert_non_null(path);
    return path;
}

static void make_folder(const struct fixture *f, const char *name)
{
    char *path = path_in(f, name);
    assert_int_equal(mkdir(path, 0700), 0);
    free(path);
}

/* Makes <name> in the test's folder a link to a fixture. */
static void link_fixture(const struct fixture *f, const char *fixture, const char *name)
{
    char *target = wa_file_join(f->plugins, fixture);
    char *path = path_in(f, name);
    assert_non_null(target);
    assert_int_equal(symlink(target, path), 0);
    free(target);
    free(path);
}

static void write_file(const struct fixture *f, const char *name, const void *bytes, size_t size)
{
    char *path = path_in(f, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    free(path);
}

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        fail_msg("expected \"%s\" in \"%s\"", part, text);
    }
}

static void add_subfolder(struct fixture *f, const char *name)
{
    char *path = path_in(f, name);
    if (wa_registry_add_folder(f->registry, path, &f->err) != WA_OK) {
        fail_msg("%s", f->err.message);
    }
    free(path);
}

static void assert_provided_by(struct fixture *f, wa_kind kind, const char *id, const char *file)
{
    const struct wa_plugin_record *record = NULL;
    if (wa_registry_find(f->registry, kind, id, &record, &f->err) != WA_OK) {
        fail_msg("%s", f->err.message);
    }
    char *path = path_in(f, file);
    assert_string_equal(record->path, path);
    free(path);
}

/* The one refusal so far, and its text. */
static void assert_one_refusal(const struct fixture *f, const char *part)
{
    size_t count = 0;
    const struct wa_refusal *refusals = wa_registry_refusals(f->registry, &count);
    assert_int_equal(count, 1);
    assert_int_equal(strncmp(refusals[0].message, refusals[0].path, strlen(refusals[0].path)), 0);
    assert_contains(refusals[0].message, part);
}

/* ---- Accepted ------------------------------------------------------------------------------- */

static void takes_a_good_rule(void **state)
{
    struct fixture *f = *state;
    char *path = wa_file_join(f->plugins, "good.so");
    assert_int_equal(wa_registry_add_file(f->registry, path, &f->err), WA_OK);
    assert_int_equal(wa_registry_count(f->registry), 1);
    const struct wa_plugin_record *record = wa_registry_at(f->registry, 0);
    assert_string_equal(record->plugin.id, "good-rule");
    assert_string_equal(record->plugin.version, "1.0");
    assert_string_equal(record->path, path);
    assert_ptr_equal(record->plugin.rule, &record->ops.rule);
    assert_true(record->ops.rule.compute_update != NULL);
    assert_true(record->ops.rule.draw_layer == NULL);
    free(path);
}

static void takes_several_plugins_of_a_file(void **state)
{
    struct fixture *f = *state;
    char *path = wa_file_join(f->plugins, "several.so");
    assert_int_equal(wa_registry_add_file(f->registry, path, &f->err), WA_OK);
    free(path);
    assert_int_equal(wa_registry_count(f->registry), 3);
    const struct wa_plugin_record *record = NULL;
    assert_int_equal(
        wa_registry_find(f->registry, WA_KIND_DATASET, "good-dataset", &record, &f->err), WA_OK);
    assert_ptr_equal(record->plugin.dataset, &record->ops.dataset);
    assert_int_equal(record->plugin.dataset->default_validation, 7);
    /* ids are unique within a kind only */
    assert_int_equal(
        wa_registry_find(f->registry, WA_KIND_ARCHITECTURE, "good-rule", &record, &f->err), WA_OK);
    assert_int_equal(wa_registry_find(f->registry, WA_KIND_RULE, "good-rule", &record, &f->err),
                     WA_E_USAGE);
}

static void older_structs_read_as_zero_beyond_their_end(void **state)
{
    struct fixture *f = *state;
    char *path = wa_file_join(f->plugins, "older_ops.so");
    assert_int_equal(wa_registry_add_file(f->registry, path, &f->err), WA_OK);
    free(path);
    const struct wa_plugin_record *record = wa_registry_at(f->registry, 0);
    assert_int_equal(record->plugin.rule->struct_size, offsetof(wa_rule_ops, draw_layer));
    assert_true(record->plugin.rule->compute_update != NULL);
    assert_true(record->plugin.rule->draw_layer == NULL);
}

/* ---- Refused -------------------------------------------------------------------------------- */

struct refused {
    const char *file;
    const char *text;
    const char *more; /* another part of the message, or NULL */
};

static const struct refused all_refused[] = {
    {"no_entry.so", "is no walign plugin: undefined symbol: wa_plugin_entry", "WA_PLUGIN_ENTRY"},
    {"wrong_major.so", "another major version; rebuild the plugin", NULL},
    {"newer_minor.so", "newer than this walign's", NULL},
    {"tiny_table.so", "its plugin table is too short: struct_size is 4, this walign (ABI ",
     "needs at least 24; "},
    {"short_table.so", "its plugin table is too short: struct_size is 16, this walign (ABI ",
     "needs at least 24; "},
    {"long_table.so", "its plugin table is too long: struct_size is 32, but ABI ", "has 24; "},
    {"no_plugins.so", "its table counts 0 plugins, this walign takes 1 to 1024", NULL},
    {"null_list.so", "its table counts 2 plugins, but the list is NULL", NULL},
    {"null_plugin.so", "plugin 1 of its table is NULL", NULL},
    {"short_plugin.so", "plugin 1 of its table is too short: struct_size is 56, this walign (ABI ",
     "needs at least 88; "},
    {"short_ops.so",
     "the ops table of rule 'short-ops' is too short: struct_size is 32, this walign ",
     "needs at least 40; "},
    {"null_op.so", "rule 'idle-rule': op compute_update is NULL; this walign (ABI ",
     ") requires it"},
    {"no_ops.so", "rule 'hollow-rule': its rule ops are NULL", NULL},
    {"wrong_ops.so", "rule 'double-rule': has architecture ops; only the ops of its own kind",
     NULL},
    {"unknown_kind.so", "plugin 1 of its table is of unknown kind 99, this walign (ABI ",
     "knows 1 to 4"},
    {"empty_id.so", "rule: its id is empty", NULL},
    {"bad_id.so", "rule 'Bad_Rule?': its id is not kebab-case", NULL},
    {"twice.so", "has two plugins of the same id, rule 'same-rule'", NULL},
    {"bad_schema.so", "option schema of rule 'broken-rule'", ":1:"},
    {"bad_keyword.so", "option schema of rule 'wordy-rule'", "multipleOf"},
    {"no_object.so", "option schema of rule 'flat-rule': describes no object", NULL},
    {"null_text.so", "rule 'ageless-rule': its version is NULL", NULL},
    {"unresolved.so", "cannot be loaded: undefined symbol: fixture_of_nobody", NULL},
};

static void refuses_with_a_reason(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof all_refused / sizeof all_refused[0]; i++) {
        const struct refused *refused = &all_refused[i];
        char *path = wa_file_join(f->plugins, refused->file);
        struct wa_error err = {.status = WA_OK};
        assert_int_equal(wa_registry_add_file(f->registry, path, &err), WA_E_PLUGIN);
        assert_int_equal(strncmp(err.message, path, strlen(path)), 0);
        assert_int_equal(strncmp(err.message + strlen(path), ": ", 2), 0);
        assert_null(strchr(err.message, '\n'));
        assert_contains(err.message, refused->text);
        if (refused->more) {
            assert_contains(err.message, refused->more);
        }
        free(path);
    }
    assert_int_equal(wa_registry_count(f->registry), 0);
}

static void version_refusals_state_both_sides(void **state)
{
    struct fixture *f = *state;
    const struct {
        const char *file;
        unsigned major, minor;
    } cases[] = {{"wrong_major.so", WA_ABI_MAJOR + 1, 4},
                 {"newer_minor.so", WA_ABI_MAJOR, WA_ABI_MINOR + 1}};
    for (size_t i = 0; i < 2; i++) {
        char *path = wa_file_join(f->plugins, cases[i].file);
        char theirs[64];
        char ours[64];
        struct wa_error err = {.status = WA_OK};
        assert_int_equal(wa_registry_add_file(f->registry, path, &err), WA_E_PLUGIN);
        (void)snprintf(theirs, sizeof theirs, "plugin ABI %u.%u", cases[i].major, cases[i].minor);
        (void)snprintf(ours, sizeof ours, "%u.%u", WA_ABI_MAJOR, WA_ABI_MINOR);
        assert_contains(err.message, theirs);
        assert_contains(strstr(err.message, "this walign"), ours);
        free(path);
    }
}

static void refuses_what_is_no_shared_object(void **state)
{
    struct fixture *f = *state;
    struct wa_error err = {.status = WA_OK};
    char *good = wa_file_join(f->plugins, "good.so");
    unsigned char *bytes = NULL;
    size_t size = 0;
    assert_int_equal(wa_file_read_all(good, SIZE_MAX / 2, &bytes, &size, &err), WA_OK);
    make_folder(f, "bad");
    write_file(f, "bad/a-empty.so", "", 0);
    write_file(f, "bad/b-text.so", "hello, this is not a shared object", 34);
    /* cut off in the header, in the list of segments, in a segment's data: the dynamic linker alone
     * would die of SIGBUS at the last ones */
    write_file(f, "bad/c-cut.so", bytes, 40);
    write_file(f, "bad/d-cut.so", bytes, 100);
    write_file(f, "bad/e-cut.so", bytes, 0x1100 < size ? 0x1100 : size / 2);
    free(bytes);
    free(good);
    char *fifo = path_in(f, "bad/f-fifo.so");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    free(fifo);
    link_fixture(f, "there-is-no-such-fixture.so", "bad/g-dangling.so");
    link_fixture(f, "good.so", "bad/h-good.so");
    add_subfolder(f, "bad");
    assert_provided_by(f, WA_KIND_RULE, "good-rule", "bad/h-good.so");
    const char *texts[] = {"cannot be loaded: file too short",
                           "cannot be loaded: ",
                           "cannot be loaded: file too short",
                           "is cut off in its header, at 100 bytes",
                           "is cut off: it has ",
                           "is not a regular file",
                           "No such file or directory"};
    size_t count = 0;
    const struct wa_refusal *refusals = wa_registry_refusals(f->registry, &count);
    assert_int_equal(count, 7);
    for (size_t i = 0; i < count; i++) {
        assert_contains(refusals[i].message, texts[i]);
    }
}

/* ---- Folders -------------------------------------------------------------------------------- */

static void a_folder_of_all_fixtures_loads_the_good_ones(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(wa_registry_add_folder(f->registry, f->plugins, &f->err), WA_OK);
    const struct {
        wa_kind kind;
        const char *id;
    } good[] = {{WA_KIND_RULE, "good-rule"},       {WA_KIND_RULE, "older-rule"},
                {WA_KIND_RULE, "twin-rule"},       {WA_KIND_ARCHITECTURE, "good-rule"},
                {WA_KIND_DATASET, "good-dataset"}, {WA_KIND_OPTIMIZER, "good-optimizer"}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        const struct wa_plugin_record *record = NULL;
        if (wa_registry_find(f->registry, good[i].kind, good[i].id, &record, &f->err) != WA_OK) {
            fail_msg("%s", f->err.message);
        }
    }
    /* and twin_b is the second of its id */
    size_t count = 0;
    (void)wa_registry_refusals(f->registry, &count);
    assert_int_equal(count, sizeof all_refused / sizeof all_refused[0] + 1);
}

static void scans_the_folder_then_its_subfolders_in_order(void **state)
{
    struct fixture *f = *state;
    make_folder(f, "p");
    make_folder(f, "p/b");
    make_folder(f, "p/a.so"); /* a folder in spite of its name */
    make_folder(f, "p/a.so/too-deep");
    link_fixture(f, "older_ops.so", "p/z.so");
    link_fixture(f, "several.so", "p/b/s.so");
    link_fixture(f, "good.so", "p/a.so/g.so");
    link_fixture(f, "twin_a.so", "p/a.so/too-deep/t.so");
    link_fixture(f, "twin_a.so", "p/.hidden.so");
    write_file(f, "p/README.md", "x", 1);
    add_subfolder(f, "p");
    assert_int_equal(wa_registry_count(f->registry), 5);
    assert_string_equal(wa_registry_at(f->registry, 0)->plugin.id, "older-rule");
    assert_provided_by(f, WA_KIND_RULE, "good-rule", "p/a.so/g.so");
    assert_string_equal(wa_registry_at(f->registry, 1)->plugin.id, "good-rule");
    assert_provided_by(f, WA_KIND_DATASET, "good-dataset", "p/b/s.so");
    size_t count = 1;
    (void)wa_registry_refusals(f->registry, &count);
    assert_int_equal(count, 0);
}

static void duplicates_in_a_folder_are_refused_with_both_paths(void **state)
{
    struct fixture *f = *state;
    make_folder(f, "p");
    make_folder(f, "p/sub");
    link_fixture(f, "twin_b.so", "p/1.so");
    link_fixture(f, "twin_a.so", "p/sub/2.so");
    add_subfolder(f, "p");
    assert_int_equal(wa_registry_count(f->registry), 1);
    assert_provided_by(f, WA_KIND_RULE, "twin-rule", "p/1.so");
    assert_one_refusal(f, "/p/sub/2.so: rule 'twin-rule' is already provided by ");
    assert_one_refusal(f, "/p/1.so, of the same search folder");
}

static void an_earlier_folder_hides_later_ones(void **state)
{
    struct fixture *f = *state;
    make_folder(f, "first");
    make_folder(f, "second");
    link_fixture(f, "twin_b.so", "first/mine.so");
    link_fixture(f, "twin_a.so", "second/theirs.so");
    link_fixture(f, "good.so", "second/good.so");
    add_subfolder(f, "first");
    add_subfolder(f, "second");
    add_subfolder(f, "first/../second/"); /* the same folder is searched once */
    assert_int_equal(wa_registry_count(f->registry), 2);
    assert_provided_by(f, WA_KIND_RULE, "twin-rule", "first/mine.so");
    assert_provided_by(f, WA_KIND_RULE, "good-rule", "second/good.so");
    size_t count = 1;
    (void)wa_registry_refusals(f->registry, &count);
    assert_int_equal(count, 0);
}

static void an_unreadable_subfolder_is_a_refusal(void **state)
{
    struct fixture *f = *state;
    make_folder(f, "p");
    make_folder(f, "p/locked");
    char *folder = path_in(f, "p");
    char *locked = path_in(f, "p/locked");
    assert_int_equal(chmod(f->folder, 0755), 0);
    assert_int_equal(chmod(folder, 0755), 0);
    assert_int_equal(chmod(locked, 0), 0);
    uid_t user = geteuid();
    /* root reads everything, so it steps down for a moment */
    bool can_be_locked_out = user != 0 || seteuid(65534) == 0;
    if (can_be_locked_out) {
        add_subfolder(f, "p");
        assert_int_equal(seteuid(user), 0);
    }
    assert_int_equal(chmod(locked, 0700), 0);
    free(folder);
    free(locked);
    if (!can_be_locked_out) {
        skip();
    }
    assert_one_refusal(f, "/p/locked: the folder cannot be read: Permission denied");
}

/* ---- The search path ------------------------------------------------------------------------ */

static void named_folders_must_exist(void **state)
{
    struct fixture *f = *state;
    const char *paths[] = {"/nonexistent/plugins"};
    assert_int_equal(wa_registry_add_default_folders(f->registry, paths, 1, &f->err), WA_E_USAGE);
    assert_contains(f->err.message,
                    "/nonexistent/plugins: the plugin folder cannot be read: No such file");
    f->err = (struct wa_error){.status = WA_OK};
    assert_int_equal(setenv("WALIGN_PLUGIN_PATH", "::/nonexistent/variable:", 1), 0);
    assert_int_equal(wa_registry_add_default_folders(f->registry, NULL, 0, &f->err), WA_E_USAGE);
    assert_contains(f->err.message, "/nonexistent/variable: the plugin folder cannot be read");
    f->err = (struct wa_error){.status = WA_OK};
    write_file(f, "file", "x", 1);
    char *path = path_in(f, "file");
    assert_int_equal(wa_registry_add_folder(f->registry, path, &f->err), WA_E_USAGE);
    assert_contains(f->err.message, "Not a directory");
    free(path);
    f->err = (struct wa_error){.status = WA_OK};
    assert_int_equal(wa_registry_add_file(f->registry, "/nonexistent.so", &f->err), WA_E_USAGE);
    assert_contains(f->err.message, "/nonexistent.so: the plugin file cannot be read");
}

static void options_come_before_the_variable(void **state)
{
    struct fixture *f = *state;
    make_folder(f, "option");
    make_folder(f, "v1");
    make_folder(f, "v2");
    link_fixture(f, "twin_a.so", "option/t.so");
    link_fixture(f, "twin_b.so", "v1/t.so");
    link_fixture(f, "good.so", "v1/g.so");
    link_fixture(f, "good.so", "v2/g.so");
    link_fixture(f, "older_ops.so", "v2/o.so");
    char variable[256];
    (void)snprintf(variable, sizeof variable, ":%s/v1:%s/v2", f->folder, f->folder);
    assert_int_equal(setenv("WALIGN_PLUGIN_PATH", variable, 1), 0);
    char *option = path_in(f, "option");
    const char *paths[] = {option};
    assert_int_equal(wa_registry_add_default_folders(f->registry, paths, 1, &f->err), WA_OK);
    free(option);
    assert_provided_by(f, WA_KIND_RULE, "twin-rule", "option/t.so");
    assert_provided_by(f, WA_KIND_RULE, "good-rule", "v1/g.so");
    assert_provided_by(f, WA_KIND_RULE, "older-rule", "v2/o.so");
}

static void a_build_tree_brings_its_plugins_and_datasets(void **state)
{
    struct fixture *f = *state;
    /* neither a build tree nor (in tests) an install folder: nothing, and no failure */
    assert_int_equal(wa_registry_add_program_folders(f->registry, "/nonexistent", &f->err), WA_OK);
    make_folder(f, "plugins");
    make_folder(f, "plugins/rules");
    make_folder(f, "datasets");
    link_fixture(f, "good.so", "plugins/rules/g.so");
    link_fixture(f, "several.so", "datasets/s.so");
    assert_int_equal(wa_registry_add_program_folders(f->registry, f->folder, &f->err), WA_OK);
    assert_provided_by(f, WA_KIND_RULE, "good-rule", "plugins/rules/g.so");
    assert_provided_by(f, WA_KIND_DATASET, "good-dataset", "datasets/s.so");
}

/* ---- Finding -------------------------------------------------------------------------------- */

static void an_unknown_id_gets_the_nearest_and_the_known(void **state)
{
    struct fixture *f = *state;
    make_folder(f, "p");
    link_fixture(f, "good.so", "p/good.so");
    link_fixture(f, "twin_a.so", "p/twin.so");
    link_fixture(f, "several.so", "p/several.so");
    add_subfolder(f, "p");
    const struct wa_plugin_record *record = NULL;
    assert_int_equal(wa_registry_find(f->registry, WA_KIND_RULE, "godo-rule", &record, &f->err),
                     WA_E_USAGE);
    assert_string_equal(f->err.message, "no rule has the id 'godo-rule'; did you mean 'good-rule'? "
                                        "Known rules: good-rule, twin-rule");
    f->err = (struct wa_error){.status = WA_OK};
    assert_int_equal(wa_registry_find(f->registry, WA_KIND_DATASET, "zzz", &record, &f->err),
                     WA_E_USAGE);
    assert_string_equal(f->err.message,
                        "no dataset has the id 'zzz'. Known datasets: good-dataset");
    assert_null(record);
}

static void an_unknown_id_shows_what_was_refused(void **state)
{
    struct fixture *f = *state;
    make_folder(f, "p");
    link_fixture(f, "null_op.so", "p/idle.so");
    add_subfolder(f, "p");
    const struct wa_plugin_record *record = NULL;
    assert_int_equal(wa_registry_find(f->registry, WA_KIND_RULE, "idle-rule", &record, &f->err),
                     WA_E_USAGE);
    assert_contains(f->err.message, "no rule has the id 'idle-rule', as no rule was found in ");
    assert_contains(f->err.message,
                    "/p; name their folder with --plugin-path. Refused plugin files: ");
    assert_contains(f->err.message, "/p/idle.so: rule 'idle-rule': op compute_update is NULL");
}

static void an_empty_registry_says_that_nothing_was_searched(void **state)
{
    struct fixture *f = *state;
    const struct wa_plugin_record *record = NULL;
    assert_int_equal(wa_registry_find(f->registry, WA_KIND_OPTIMIZER, "x", &record, &f->err),
                     WA_E_USAGE);
    assert_string_equal(
        f->err.message,
        "no optimizer has the id 'x', as no optimizer was found in any folder: none "
        "was there to search; name their folder with --plugin-path");
}

static void finds_by_role(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(wa_registry_add_folder(f->registry, f->plugins, &f->err), WA_OK);
    const struct wa_plugin_record *record =
        wa_registry_find_role(f->registry, WA_KIND_RULE, WA_ROLE_EXACT_GRADIENT);
    assert_non_null(record);
    assert_string_equal(record->plugin.id, "good-rule");
    assert_null(wa_registry_find_role(f->registry, WA_KIND_RULE, WA_ROLE_FROZEN_GRADIENT));
    assert_null(wa_registry_find_role(f->registry, WA_KIND_RULE, WA_ROLE_DEFAULT));
    record = wa_registry_find_role(f->registry, WA_KIND_OPTIMIZER, WA_ROLE_DEFAULT);
    assert_non_null(record);
    assert_string_equal(record->plugin.id, "good-optimizer");
}

static void kinds_have_names(void **state)
{
    (void)state;
    assert_string_equal(wa_module_kind_name(WA_KIND_RULE), "rule");
    assert_string_equal(wa_module_kind_name(WA_KIND_ARCHITECTURE), "architecture");
    assert_string_equal(wa_module_kind_name(WA_KIND_DATASET), "dataset");
    assert_string_equal(wa_module_kind_name(WA_KIND_OPTIMIZER), "optimizer");
    assert_null(wa_module_kind_name((wa_kind)0));
    assert_null(wa_module_kind_name((wa_kind)5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(takes_a_good_rule, set_up, tear_down),
        cmocka_unit_test_setup_teardown(takes_several_plugins_of_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(older_structs_read_as_zero_beyond_their_end, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(refuses_with_a_reason, set_up, tear_down),
        cmocka_unit_test_setup_teardown(version_refusals_state_both_sides, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_what_is_no_shared_object, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_folder_of_all_fixtures_loads_the_good_ones, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(scans_the_folder_then_its_subfolders_in_order, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(duplicates_in_a_folder_are_refused_with_both_paths, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_earlier_folder_hides_later_ones, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_unreadable_subfolder_is_a_refusal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(named_folders_must_exist, set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_come_before_the_variable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_build_tree_brings_its_plugins_and_datasets, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_unknown_id_gets_the_nearest_and_the_known, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_unknown_id_shows_what_was_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_registry_says_that_nothing_was_searched, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(finds_by_role, set_up, tear_down),
        cmocka_unit_test(kinds_have_names),
    };
    return cmocka_run_group_tests_name("registry", tests, NULL, NULL);
}
