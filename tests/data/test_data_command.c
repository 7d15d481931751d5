/* `walign data` against server.py: good, broken, wrong and hostile files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/tested_program.h"

enum { FILE_BYTES = 100000 };

struct served {
    struct wa_tested_program *tested;
    pid_t server;
    char port[16];
    char mirror[128];
};

static int set_up(void **state)
{
    void *tested_state = NULL;
    struct served *served = calloc(1, sizeof *served);
    if (!served || wa_tested_set_up(&tested_state) != 0) {
        return -1;
    }
    served->tested = tested_state;
    char port_file[1024];
    (void)snprintf(port_file, sizeof port_file, "%s",
                   wa_data_folder_file(&served->tested->folder, "port"));
    served->server = fork();
    if (served->server == 0) {
        (void)execlp("python3", "python3", getenv("WALIGN_TEST_SERVER"), port_file, (char *)NULL);
        _exit(127);
    }
    wa_tested_await(served->tested, "port");
    char *port = wa_tested_read(served->tested, "port", NULL);
    (void)snprintf(served->port, sizeof served->port, "%s", port);
    free(port);
    *state = served;
    return 0;
}

static int tear_down(void **state)
{
    struct served *served = *state;
    void *tested_state = served->tested;
    (void)kill(served->server, SIGKILL);
    (void)waitpid(served->server, NULL, 0);
    free(served);
    return wa_tested_tear_down(&tested_state);
}

/* Runs `walign data get ID --dir got` with the server in that mode. */
static int get(struct served *served, const char *mode, const char *id)
{
    (void)snprintf(served->mirror, sizeof served->mirror,
                   "WALIGN_DATA_MIRROR=http://127.0.0.1:%s/%s", served->port, mode);
    served->tested->environment[0] = served->mirror;
    served->tested->environment[1] = "no_proxy=127.0.0.1";
    return WA_TESTED_RUN(served->tested, "data", "get", id, "--dir", "got", "--plugin-path",
                         getenv("WALIGN_TEST_PLUGINS"));
}

static size_t size_of(struct served *served, const char *name)
{
    size_t size = 0;
    free(wa_tested_read(served->tested, name, &size));
    return size;
}

static void test_a_good_file(void **state)
{
    struct served *served = *state;
    assert_int_equal(get(served, "plain", "test-plain"), 0);
    assert_string_equal(served->tested->output, "got\n");
    assert_int_equal(size_of(served, "got/file.bin"), FILE_BYTES);
    assert_false(wa_tested_has(served->tested, "got/file.bin.part"));
    /* there already: nothing is fetched */
    assert_int_equal(get(served, "nothing", "test-plain"), 0);
    wa_tested_expect_part(served->tested->errors, "is there");
    /* another file of that name is not touched */
    wa_tested_write(served->tested, "got/file.bin", "mine", 4);
    assert_int_equal(get(served, "plain", "test-plain"), 2);
    assert_int_equal(size_of(served, "got/file.bin"), 4);
}

static void test_a_broken_download_goes_on(void **state)
{
    struct served *served = *state;
    assert_int_equal(get(served, "broken", "test-plain"), 1);
    wa_tested_expect_part(served->tested->errors, "run the command again to go on from byte 50000");
    assert_false(wa_tested_has(served->tested, "got/file.bin"));
    assert_int_equal(size_of(served, "got/file.bin.part"), FILE_BYTES / 2);
    assert_int_equal(get(served, "broken", "test-plain"), 0);
    assert_int_equal(size_of(served, "got/file.bin"), FILE_BYTES);
}

static void test_a_server_without_ranges(void **state)
{
    struct served *served = *state;
    assert_int_equal(get(served, "broken", "test-plain"), 1);
    assert_int_equal(get(served, "norange", "test-plain"), 0);
    assert_int_equal(size_of(served, "got/file.bin"), FILE_BYTES);
}

static void test_wrong_files_leave_nothing(void **state)
{
    struct served *served = *state;
    static const struct {
        const char *mode, *text;
        int code;
    } cases[] = {{"wrong", "is not the official file", 2},
                 {"long", "sends more than the 100000 bytes", 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(get(served, cases[i].mode, "test-plain"), cases[i].code);
        wa_tested_expect_part(served->tested->errors, cases[i].text);
        assert_false(wa_tested_has(served->tested, "got/file.bin"));
        assert_false(wa_tested_has(served->tested, "got/file.bin.part"));
    }
}

static void test_an_archive(void **state)
{
    struct served *served = *state;
    assert_int_equal(get(served, "plain", "test-good"), 0);
    assert_int_equal(size_of(served, "got/made/one"), 5);
    assert_int_equal(size_of(served, "got/made/two"), 5);
    assert_false(wa_tested_has(served->tested, "got/good.tar"));
    assert_int_equal(get(served, "nothing", "test-good"), 0);
}

/* A process that was killed while it unpacked leaves a folder; one that is alive needs it still. */
static void test_what_was_unpacked_half_goes(void **state)
{
    struct served *served = *state;
    struct wa_tested_program *tested = served->tested;
    pid_t gone = fork();
    if (gone == 0) {
        _exit(0);
    }
    assert_int_equal(waitpid(gone, NULL, 0), gone);
    char left[64];
    char used[64];
    char file[96];
    (void)snprintf(left, sizeof left, "got/.unpack-%ld", (long)gone);
    (void)snprintf(used, sizeof used, "got/.unpack-%ld", (long)getpid());
    (void)snprintf(file, sizeof file, "%s/one", left);
    assert_true(wa_data_folder_make(&tested->folder, "got"));
    assert_true(wa_data_folder_make(&tested->folder, left));
    assert_true(wa_data_folder_make(&tested->folder, used));
    wa_tested_write(tested, file, "half", 4);
    assert_int_equal(get(served, "plain", "test-good"), 0);
    assert_false(wa_tested_has(tested, left));
    assert_true(wa_tested_has(tested, used));
    assert_int_equal(size_of(served, "got/made/one"), 5);
}

/* A bar on a terminal; otherwise the line that names the file. */
static void test_progress(void **state)
{
    struct served *served = *state;
    struct wa_tested_program *tested = served->tested;
    static const char on_terminal[] = "import os, pty, sys\n"
                                      "code = pty.spawn(sys.argv[1:], stdin_read=lambda fd: b'')\n"
                                      "sys.exit(os.waitstatus_to_exitcode(code))\n";
    assert_int_equal(get(served, "plain", "test-plain"), 0);
    wa_tested_expect_part(tested->errors, "test-plain/file.bin (0.1 MB)\n");
    assert_null(strstr(tested->errors, "0.1 MB  "));
    const char *program = tested->program;
    tested->program = "python3";
    assert_int_equal(WA_TESTED_RUN(tested, "-c", on_terminal, program, "data", "get", "test-plain",
                                   "--dir", "again", "--plugin-path",
                                   getenv("WALIGN_TEST_PLUGINS")),
                     0);
    wa_tested_expect_part(tested->output, "/0.1 MB  ");
    assert_int_equal(size_of(served, "again/file.bin"), FILE_BYTES);
}

static void test_folders_that_cannot_be_written(void **state)
{
    struct served *served = *state;
    struct wa_tested_program *tested = served->tested;
    static const char *const folders[] = {"port/below", "/proc/nothing", "/proc"};
    (void)get(served, "plain", "no-such-data"); /* sets the mirror */
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        assert_int_equal(WA_TESTED_RUN(tested, "data", "get", "test-plain", "--dir", folders[i],
                                       "--plugin-path", getenv("WALIGN_TEST_PLUGINS")),
                         2);
        wa_tested_expect_part(tested->errors, "cannot ");
    }
}

/* An archive that lies there already is checked like one that is fetched, and stays the user's. */
static void test_an_archive_of_the_users(void **state)
{
    struct served *served = *state;
    assert_int_equal(get(served, "plain", "test-empty"), 2); /* leaves the good archive */
    size_t size = 0;
    char *good = wa_tested_read(served->tested, "got/good.tar", &size);
    good[size - 1] = 'x';
    wa_tested_write(served->tested, "got/good.tar", good, size);
    assert_int_equal(get(served, "nothing", "test-good"), 2);
    WA_TESTED_EXPECT_ERROR(served->tested, "got/good.tar", "is not the official file", "--dir");
    assert_int_equal(size_of(served, "got/good.tar"), size);
    assert_false(wa_tested_has(served->tested, "got/made"));
    good[size - 1] = '\0';
    wa_tested_write(served->tested, "got/good.tar", good, size);
    assert_int_equal(get(served, "nothing", "test-good"), 0);
    assert_int_equal(size_of(served, "got/made/one"), 5);
    free(good);
}

static void test_hostile_archives(void **state)
{
    struct served *served = *state;
    static const char *const ids[] = {"test-outside", "test-absolute", "test-linked", "test-empty"};
    static const char *const texts[] = {
        "made/../../evil' would leave the folder", "'/tmp/walign-test-evil' would leave the folder",
        "'made/link' is neither a plain file nor a folder", "has no 'other' in it"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        assert_int_equal(get(served, "plain", ids[i]), 2);
        wa_tested_expect_part(served->tested->errors, texts[i]);
        assert_false(wa_tested_has(served->tested, "got/made"));
        assert_false(wa_tested_has(served->tested, "evil"));
        assert_false(wa_tested_has(served->tested, "got/evil"));
    }
    assert_int_not_equal(access("/tmp/walign-test-evil", F_OK), 0);
}

/* `data list` looks where runs look, and `data get` puts files where they look first. */
static void test_places(void **state)
{
    struct served *served = *state;
    const char *plugins = getenv("WALIGN_TEST_PLUGINS");
    (void)get(served, "plain", "no-such-data"); /* sets the mirror */
    served->tested->environment[2] = "WALIGN_DATA";
    served->tested->environment[3] = "HOME=home";
    served->tested->environment[4] = "XDG_DATA_HOME=not/absolute";
    assert_int_equal(
        WA_TESTED_RUN(served->tested, "data", "get", "test-plain", "--plugin-path", plugins), 0);
    assert_string_equal(served->tested->output, "home/.local/share/walign/test-plain\n");
    /* what lies in a later place is found where an earlier one is missing */
    served->tested->environment[2] = "WALIGN_DATA=data";
    assert_int_equal(WA_TESTED_RUN(served->tested, "data", "list", "--plugin-path", plugins), 0);
    wa_tested_expect_part(served->tested->output, "MB  there: home/.local/share/walign/test-plain");
    wa_tested_expect_part(served->tested->output, "MB  not there: data/test-good");
    served->tested->environment[2] = "WALIGN_DATA";
    served->tested->environment[3] = "HOME";
    assert_int_equal(
        WA_TESTED_RUN(served->tested, "data", "get", "test-plain", "--plugin-path", plugins), 2);
    WA_TESTED_EXPECT_ERROR(served->tested, "HOME", "--dir");
}

/* Data in another form that a run takes are there, and not fetched. */
static void test_substitutes(void **state)
{
    struct served *served = *state;
    struct wa_tested_program *tested = served->tested;
    assert_true(wa_data_folder_make(&tested->folder, "got"));
    wa_tested_write(tested, "got/substitute", "mine", 4);
    assert_int_equal(get(served, "nothing", "test-good"), 0);
    wa_tested_expect_part(tested->errors, "got/substitute is there");
    assert_true(wa_data_folder_make(&tested->folder, "data"));
    tested->environment[2] = "WALIGN_DATA=data";
    static const struct {
        const char *id, *files[4], *text;
    } cases[] = {
        {"cifar10", {"data_batch_1.bin"}, "MB  there: data/cifar10\n"},
        {"mnist",
         {"train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte",
          "t10k-labels-idx1-ubyte"},
         "MB  there: data/mnist\n"},
        {"kmnist",
         {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"},
         "MB  there in part: data/kmnist\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "data/%s", cases[i].id);
        assert_true(wa_data_folder_make(&tested->folder, name));
        for (size_t f = 0; f < 4 && cases[i].files[f]; f++) {
            (void)snprintf(name, sizeof name, "data/%s/%s", cases[i].id, cases[i].files[f]);
            wa_tested_write(tested, name, "mine", 4);
        }
        assert_int_equal(WA_TESTED_RUN(tested, "data", "list"), 0);
        wa_tested_expect_part(tested->output, cases[i].text);
    }
}

/* A run whose data are not there says how they can be had. */
static void test_a_run_without_data(void **state)
{
    struct served *served = *state;
    struct wa_tested_program *tested = served->tested;
    wa_tested_write_json(tested, "run.json",
                         "{'dataset': {'plugin': 'kmnist'}, 'architecture': {'plugin': 'cnn'},"
                         " 'rule': {'plugin': 'backprop'}}");
    tested->environment[0] = "WALIGN_DATA=nowhere";
    tested->environment[1] = "XDG_DATA_HOME=/nowhere";
    assert_int_equal(WA_TESTED_RUN(tested, "train", "run.json"), 2);
    WA_TESTED_EXPECT_ERROR(tested, "no folder with its files", "`walign data get kmnist` fetches");
    assert_int_equal(
        WA_TESTED_RUN(tested, "train", "run.json", "--set", "dataset={\"plugin\":\"imagefolder\"}"),
        2);
    WA_TESTED_EXPECT_ERROR(tested, "`walign data get imagefolder` says how to get them");
}

/* A download that broke off hides no data that are there. */
static void test_an_unfinished_download_hides_nothing(void **state)
{
    struct served *served = *state;
    struct wa_tested_program *tested = served->tested;
    const char *plugins = getenv("WALIGN_TEST_PLUGINS");
    (void)get(served, "broken", "no-such-data"); /* sets the mirror */
    assert_true(wa_data_folder_make(&tested->folder, "share"));
    assert_true(wa_data_folder_make(&tested->folder, "share/walign"));
    assert_true(wa_data_folder_make(&tested->folder, "share/walign/test-plain"));
    wa_tested_write(tested, "share/walign/test-plain/file.bin", "here", 4);
    char share[1024];
    (void)snprintf(share, sizeof share, "XDG_DATA_HOME=%s/share", tested->folder.path);
    tested->environment[2] = "WALIGN_DATA=data";
    tested->environment[3] = share;
    assert_int_equal(WA_TESTED_RUN(tested, "data", "get", "test-plain", "--plugin-path", plugins),
                     1);
    assert_true(wa_tested_has(tested, "data/test-plain/file.bin.part"));
    assert_int_equal(WA_TESTED_RUN(tested, "data", "list", "--plugin-path", plugins), 0);
    wa_tested_expect_part(tested->output, "/share/walign/test-plain\n");
    /* and going on puts it where runs look first */
    assert_int_equal(WA_TESTED_RUN(tested, "data", "get", "test-plain", "--plugin-path", plugins),
                     0);
    assert_int_equal(WA_TESTED_RUN(tested, "data", "list", "--plugin-path", plugins), 0);
    wa_tested_expect_part(tested->output, "MB  there: data/test-plain\n");
}

static void test_list_and_bad_usage(void **state)
{
    struct served *served = *state;
    const char *plugins = getenv("WALIGN_TEST_PLUGINS");
    assert_int_equal(WA_TESTED_RUN(served->tested, "data", "list", "--plugin-path", plugins), 0);
    static const char *const names[] = {"cifar10 ", "mnist ", "kmnist ", "fashion-mnist ",
                                        "test-by-hand "};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        wa_tested_expect_part(served->tested->output, names[i]);
    }
    assert_int_equal(get(served, "plain", "test-by-hand"), 2);
    WA_TESTED_EXPECT_ERROR(served->tested, "ask its owner");
    assert_int_equal(get(served, "plain", "no-such-data"), 2);
    assert_int_equal(WA_TESTED_RUN(served->tested, "data", "fetch"), 2);
    WA_TESTED_EXPECT_ERROR(served->tested, "walign data get NAME");
    assert_int_equal(get(served, "plain", "cifar10"), 1); /* the server has no such file */
    wa_tested_expect_part(served->tested->errors, "404");
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_a_good_file),
        TEST(test_a_broken_download_goes_on),
        TEST(test_a_server_without_ranges),
        TEST(test_wrong_files_leave_nothing),
        TEST(test_an_archive),
        TEST(test_what_was_unpacked_half_goes),
        TEST(test_progress),
        TEST(test_folders_that_cannot_be_written),
        TEST(test_an_archive_of_the_users),
        TEST(test_hostile_archives),
        TEST(test_places),
        TEST(test_substitutes),
        TEST(test_a_run_without_data),
        TEST(test_an_unfinished_download_hides_nothing),
        TEST(test_list_and_bad_usage),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
