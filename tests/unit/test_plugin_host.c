/* The host table of a plugin instance: options, messages, paths, extensions, the data folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plugin_host.h"

#define OPTIONS                                                                                    \
    "{\"count\": 3, \"rate\": 0.5, \"flag\": true, \"name\": \"abc\", \"nothing\": null,"          \
    " \"kernels\": [3, 5, \"x\"], \"relative\": \"data/x.npy\", \"absolute\": \"/data/y.npy\"}"

struct fixture {
    struct wa_plugin_record record;
    json_object *options;
    struct wa_error err;
    struct wa_plugin_host plugin_host;
    const wa_host *host;
    char folder[64];
    int old_stderr;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->record.plugin.kind = WA_KIND_DATASET;
    f->record.plugin.id = "tiny-set";
    f->record.path = "/x/tiny.so";
    f->options = json_tokener_parse(OPTIONS);
    assert_non_null(f->options);
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/walign-test-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    assert_int_equal(wa_plugin_host_init(&f->plugin_host, &f->record, f->options, "conf", &f->err),
                     WA_OK);
    f->host = &f->plugin_host.host;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    wa_plugin_host_finish(&f->plugin_host);
    wa_plugin_host_finish(&f->plugin_host); /* twice does no harm */
    json_object_put(f->options);
    assert_int_equal(rmdir(f->folder), 0);
    free(f);
    return 0;
}

/* ---- Helpers -------------------------------------------------------------------------------- */

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        fail_msg("expected \"%s\" in \"%s\"", part, text);
    }
}

/* What goes to stderr from here to end_capture. */
static void begin_capture(struct fixture *f)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/stderr", f->folder);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(file >= 0);
    (void)fflush(stderr);
    f->old_stderr = dup(STDERR_FILENO);
    assert_true(f->old_stderr >= 0);
    assert_true(dup2(file, STDERR_FILENO) >= 0);
    (void)close(file);
}

static void end_capture(const struct fixture *f, char *text, size_t size)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/stderr", f->folder);
    (void)fflush(stderr);
    assert_true(dup2(f->old_stderr, STDERR_FILENO) >= 0);
    (void)close(f->old_stderr);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t length = fread(text, 1, size - 1, file);
    text[length] = '\0';
    (void)fclose(file);
    assert_int_equal(unlink(path), 0);
}

static size_t count_lines(const char *text)
{
    size_t lines = 0;
    for (; *text; text++) {
        lines += *text == '\n';
    }
    return lines;
}

/* ---- Options -------------------------------------------------------------------------------- */

static void getters_read_options(void **state)
{
    struct fixture *f = *state;
    const wa_host *host = f->host;
    char log[1024];
    begin_capture(f);
    int64_t count = host->option_integer(host, "count");
    double rate = host->option_number(host, "rate");
    double count_as_number = host->option_number(host, "count");
    bool flag = host->option_boolean(host, "flag");
    const char *name = host->option_string(host, "name");
    bool nothing = host->option_is_null(host, "nothing");
    bool something = !host->option_is_null(host, "count");
    size_t length = host->option_length(host, "kernels");
    int64_t last = host->option_integer_at(host, "kernels", 1);
    end_capture(f, log, sizeof log);
    assert_int_equal(host->struct_size, sizeof(wa_host));
    assert_int_equal(count, 3);
    assert_true(rate == 0.5 && count_as_number == 3.0);
    assert_true(flag && nothing && something);
    assert_string_equal(name, "abc");
    assert_int_equal(length, 3);
    assert_int_equal(last, 5);
    assert_string_equal(log, "");
}

static void misuse_of_an_option_is_logged_once(void **state)
{
    struct fixture *f = *state;
    const wa_host *host = f->host;
    char log[4096];
    begin_capture(f);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(host->option_integer(host, "cuont"), 0);
        assert_int_equal(host->option_integer(host, "rate"), 0);
        assert_true(host->option_number(host, "name") == 0.0);
        assert_false(host->option_boolean(host, "count"));
        assert_null(host->option_string(host, "flag"));
    }
    end_capture(f, log, sizeof log);
    assert_int_equal(count_lines(log), 5);
    assert_contains(log,
                    "walign: plugin misbehaving: dataset 'tiny-set' (/x/tiny.so): asks for option "
                    "'cuont', which its option schema does not declare\n");
    assert_contains(log, "asks for option 'rate' as an integer, but it is of type double\n");
    assert_contains(log, "asks for option 'name' as a number, but it is of type string\n");
    assert_contains(log, "asks for option 'count' as a boolean, but it is of type int\n");
    assert_contains(log, "asks for option 'flag' as a string, but it is of type boolean\n");
}

static void misuse_of_arrays_and_paths_is_logged(void **state)
{
    struct fixture *f = *state;
    const wa_host *host = f->host;
    char log[4096];
    begin_capture(f);
    assert_int_equal(host->option_length(host, "rate"), 0);
    assert_int_equal(host->option_length(host, "nope"), 0);
    assert_int_equal(host->option_integer_at(host, "count", 0), 0);
    assert_int_equal(host->option_integer_at(host, "kernels", 3), 0);
    assert_int_equal(host->option_integer_at(host, "nope", 0), 0);
    assert_null(host->option_path(host, "flag"));
    assert_false(host->option_is_null(host, NULL));
    end_capture(f, log, sizeof log);
    assert_int_equal(count_lines(log), 6);
    assert_contains(log, "asks for option 'rate' as an array, but it is of type double\n");
    assert_contains(log, "asks for option 'count' as an array, but it is of type int\n");
    assert_contains(log, "asks for item 3 (from 0) of option 'kernels', which has 3\n");
    assert_contains(log, "asks for option 'flag' as a path, but it is of type boolean\n");
    assert_contains(log, "asks for option '(NULL)'");
    begin_capture(f);
    wa_plugin_host_finish(&f->plugin_host);
    assert_int_equal(wa_plugin_host_init(&f->plugin_host, &f->record, f->options, NULL, &f->err),
                     WA_OK);
    assert_int_equal(host->option_integer_at(host, "kernels", 2), 0);
    end_capture(f, log, sizeof log);
    assert_contains(log, "asks for option 'kernels' as an array of integers");
}

static void a_plugin_without_options_has_none(void **state)
{
    struct fixture *f = *state;
    struct wa_plugin_host other;
    char log[1024];
    assert_int_equal(wa_plugin_host_init(&other, &f->record, NULL, NULL, &f->err), WA_OK);
    begin_capture(f);
    assert_int_equal(other.host.option_integer(&other.host, "count"), 0);
    end_capture(f, log, sizeof log);
    assert_contains(log, "does not declare");
    wa_plugin_host_finish(&other);
}

static void paths_count_from_the_config(void **state)
{
    struct fixture *f = *state;
    const wa_host *host = f->host;
    const char *relative = host->option_path(host, "relative");
    assert_string_equal(relative, "conf/data/x.npy");
    assert_string_equal(host->option_path(host, "absolute"), "/data/y.npy");
    assert_null(host->option_path(host, "nothing"));
    assert_ptr_equal(host->option_path(host, "relative"), relative);
    struct wa_plugin_host other;
    assert_int_equal(wa_plugin_host_init(&other, &f->record, f->options, NULL, &f->err), WA_OK);
    assert_string_equal(other.host.option_path(&other.host, "relative"), "data/x.npy");
    wa_plugin_host_finish(&other);
}

/* ---- Messages ------------------------------------------------------------------------------- */

static void the_first_failure_wins(void **state)
{
    struct fixture *f = *state;
    const wa_host *host = f->host;
    /* in parentheses, as cmocka has a macro of that name */
    assert_int_equal((host->fail)(host, WA_E_DATA, "label %d\nof %s", 12, "x"), WA_E_DATA);
    assert_int_equal((host->fail)(host, WA_E_IO, "second"), WA_E_IO);
    assert_int_equal(f->err.status, WA_E_DATA);
    assert_string_equal(f->err.message, "dataset 'tiny-set': label 12 of x");
    struct wa_error later = {.status = WA_OK};
    wa_plugin_host_set_error(&f->plugin_host, &later);
    assert_int_equal((host->fail)(host, WA_OK, "confused"), WA_E_PLUGIN);
    assert_int_equal(later.status, WA_E_PLUGIN);
    assert_string_equal(later.message, "dataset 'tiny-set': confused");
}

static void a_silent_failure_gets_a_message(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(wa_plugin_host_check(&f->plugin_host, "open", WA_OK), WA_OK);
    assert_int_equal(f->err.status, WA_OK);
    assert_int_equal(wa_plugin_host_check(&f->plugin_host, "open", WA_E_IO), WA_E_IO);
    assert_string_equal(f->err.message,
                        "dataset 'tiny-set': open failed (input or output failed) and "
                        "gave no reason");
    struct wa_error err = {.status = WA_OK};
    wa_plugin_host_set_error(&f->plugin_host, &err);
    assert_int_equal(wa_plugin_host_check(&f->plugin_host, "read", (wa_status)77), WA_E_PLUGIN);
    assert_string_equal(err.message, "dataset 'tiny-set': read returned 77, which is no status");
    err = (struct wa_error){.status = WA_OK};
    (void)(f->host->fail)(f->host, WA_E_DATA, "own words");
    assert_int_equal(wa_plugin_host_check(&f->plugin_host, "read", WA_E_DATA), WA_E_DATA);
    assert_string_equal(err.message, "dataset 'tiny-set': own words");
}

static void logs_carry_the_plugins_name(void **state)
{
    struct fixture *f = *state;
    char log[1024];
    begin_capture(f);
    f->host->log(f->host, WA_LOG_WARNING, "%d items\nleft", 3);
    f->host->log(f->host, (wa_log_level)0, "no level");
    f->host->log(f->host, WA_LOG_DEBUG, "not shown");
    end_capture(f, log, sizeof log);
    assert_string_equal(log, "walign: warning: dataset 'tiny-set': 3 items left\n"
                             "walign: dataset 'tiny-set': no level\n");
}

static const void *answer(void *context, const char *name)
{
    return strcmp(name, "test/1") == 0 ? context : NULL;
}

static void extensions_are_asked_for(void **state)
{
    struct fixture *f = *state;
    const wa_host *host = f->host;
    int table = 1;
    assert_null(host->get_extension(host, "test/1"));
    wa_plugin_host_set_extension(&f->plugin_host, answer, &table);
    assert_ptr_equal(host->get_extension(host, "test/1"), &table);
    assert_null(host->get_extension(host, "test/2"));
    assert_null(host->get_extension(host, NULL));
}

/* ---- The data folder ------------------------------------------------------------------------ */

static void make_folder(const struct fixture *f, const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", f->folder, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static void remove_folder(const struct fixture *f, const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", f->folder, name);
    assert_int_equal(rmdir(path), 0);
}

/* Points a variable at <folder of the test>/<name>. */
static void set_variable(const struct fixture *f, const char *variable, const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", f->folder, name);
    assert_int_equal(setenv(variable, path, 1), 0);
}

/* What a fresh instance finds: the path below the test's folder. */
static void assert_data_dir(struct fixture *f, const char *expected)
{
    const char *dir = NULL;
    wa_plugin_host_finish(&f->plugin_host);
    assert_int_equal(
        wa_plugin_host_init(&f->plugin_host, &f->record, f->options, f->folder, &f->err), WA_OK);
    if (wa_plugin_host_data_dir(&f->plugin_host, &dir) != WA_OK) {
        fail_msg("%s", f->err.message);
    }
    size_t length = strlen(f->folder);
    assert_int_equal(strncmp(dir, f->folder, length), 0);
    assert_string_equal(dir + length, expected);
    const char *again = NULL;
    assert_int_equal(wa_plugin_host_data_dir(&f->plugin_host, &again), WA_OK);
    assert_ptr_equal(again, dir);
}

static void data_dir_takes_the_first_that_exists(void **state)
{
    struct fixture *f = *state;
    const char *folders[] = {"data",         "data/tiny-set",       "xdg",
                             "xdg/walign",   "xdg/walign/tiny-set", ".local",
                             ".local/share", ".local/share/walign", ".local/share/walign/tiny-set",
                             "named"};
    const size_t count = sizeof folders / sizeof folders[0];
    for (size_t i = 0; i < count; i++) {
        make_folder(f, folders[i]);
    }
    set_variable(f, "WALIGN_DATA", "data");
    set_variable(f, "XDG_DATA_HOME", "xdg");
    set_variable(f, "HOME", "");
    assert_data_dir(f, "/data/tiny-set");
    json_object_object_add(f->options, "dir", NULL);
    assert_data_dir(f, "/data/tiny-set");
    json_object_object_add(f->options, "dir", json_object_new_string("named"));
    assert_data_dir(f, "/named");
    json_object_object_del(f->options, "dir");
    set_variable(f, "WALIGN_DATA", "xdg"); /* has no tiny-set */
    assert_data_dir(f, "/xdg/walign/tiny-set");
    assert_int_equal(setenv("XDG_DATA_HOME", "relative", 1), 0);
    assert_data_dir(f, "//.local/share/walign/tiny-set");
    assert_int_equal(unsetenv("XDG_DATA_HOME"), 0);
    assert_data_dir(f, "//.local/share/walign/tiny-set");
    for (size_t i = count; i-- > 0;) {
        remove_folder(f, folders[i]);
    }
}

static void data_dir_names_the_places_it_tried(void **state)
{
    struct fixture *f = *state;
    const char *dir = NULL;
    assert_int_equal(setenv("WALIGN_DATA", "/nonexistent/w", 1), 0);
    assert_int_equal(setenv("XDG_DATA_HOME", "/nonexistent/x", 1), 0);
    assert_int_equal(wa_plugin_host_data_dir(&f->plugin_host, &dir), WA_E_DATA);
    assert_string_equal(
        f->err.message,
        "dataset 'tiny-set': no folder with its files: none of "
        "/nonexistent/w/tiny-set, /nonexistent/x/walign/tiny-set, "
        "/usr/share/datasets/tiny-set exists; put the files into one of them or name "
        "their folder with the option \"dir\" (--set dataset.dir=FOLDER)");
    f->err = (struct wa_error){.status = WA_OK};
    assert_int_equal(unsetenv("WALIGN_DATA"), 0);
    assert_int_equal(unsetenv("XDG_DATA_HOME"), 0);
    assert_int_equal(unsetenv("HOME"), 0);
    assert_int_equal(wa_plugin_host_data_dir(&f->plugin_host, &dir), WA_E_DATA);
    assert_contains(f->err.message,
                    "none of /usr/share/datasets/tiny-set exists, and WALIGN_DATA is "
                    "not set; put");
    f->err = (struct wa_error){.status = WA_OK};
    json_object_object_add(f->options, "dir", json_object_new_string("missing"));
    assert_int_equal(wa_plugin_host_data_dir(&f->plugin_host, &dir), WA_E_DATA);
    assert_contains(f->err.message,
                    "dataset 'tiny-set': option 'dir' names conf/missing, which is not a folder");
    assert_null(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(getters_read_options, set_up, tear_down),
        cmocka_unit_test_setup_teardown(misuse_of_an_option_is_logged_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(misuse_of_arrays_and_paths_is_logged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_plugin_without_options_has_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(paths_count_from_the_config, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_first_failure_wins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_silent_failure_gets_a_message, set_up, tear_down),
        cmocka_unit_test_setup_teardown(logs_carry_the_plugins_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(extensions_are_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(data_dir_takes_the_first_that_exists, set_up, tear_down),
        cmocka_unit_test_setup_teardown(data_dir_names_the_places_it_tried, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("plugin_host", tests, NULL, NULL);
}
