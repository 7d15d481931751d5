/* Files that are whole or absent: reading, atomic writing, folders, files of lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"

struct folder {
    char path[64], file[128];
};

static int set_up(void **state)
{
    struct folder *folder = calloc(1, sizeof *folder);
    assert_non_null(folder);
    (void)snprintf(folder->path, sizeof folder->path, "/tmp/walign-test-XXXXXX");
    assert_non_null(mkdtemp(folder->path));
    (void)snprintf(folder->file, sizeof folder->file, "%s/file", folder->path);
    *state = folder;
    return 0;
}

static int tear_down(void **state)
{
    struct folder *folder = *state;
    (void)unlink(folder->file);
    assert_int_equal(rmdir(folder->path), 0); /* nothing else may be left */
    free(folder);
    return 0;
}

static void write_text(const char *path, const char *text)
{
    struct wa_error err = {.status = WA_OK};
    assert_int_equal(wa_file_write_atomic(path, text, strlen(text), &err), WA_OK);
}

static void assert_content(const char *path, const char *text)
{
    struct wa_error err = {.status = WA_OK};
    unsigned char *data;
    size_t size;
    assert_int_equal(wa_file_read_all(path, 1 << 20, &data, &size, &err), WA_OK);
    assert_int_equal(data[size], 0);
    assert_string_equal((const char *)data, text);
    assert_int_equal(size, strlen(text));
    free(data);
}

static void assert_message(struct wa_error *err, wa_status status, const char *start,
                           const char *part)
{
    assert_int_equal(err->status, status);
    assert_memory_equal(err->message, start, strlen(start));
    if (!strstr(err->message, part)) {
        fail_msg("'%s' not in: %s", part, err->message);
    }
    err->status = WA_OK;
}

static void test_join(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"},
        {"/", "b", "/b"},  {"a", "/b", "/b"},  {NULL, "b", "b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *path = wa_file_join(cases[i][0], cases[i][1]);
        assert_string_equal(path, cases[i][2]);
        free(path);
    }
}

static void test_read(void **state)
{
    const struct folder *folder = *state;
    struct wa_error err = {.status = WA_OK};
    unsigned char *data = NULL;
    size_t size = 0;
    write_text(folder->file, "");
    assert_content(folder->file, "");
    write_text(folder->file, "12345");
    assert_content(folder->file, "12345");
    assert_int_equal(wa_file_read_all(folder->file, 5, &data, &size, &err), WA_OK);
    free(data);
    assert_int_equal(wa_file_read_all(folder->file, 4, &data, &size, &err), WA_E_DATA);
    assert_message(&err, WA_E_DATA, folder->file, "too large: 5 bytes, expected at most 4");
    assert_int_equal(wa_file_read_all(folder->path, 4, &data, &size, &err), WA_E_DATA);
    assert_message(&err, WA_E_DATA, folder->path, "is a folder");
    assert_int_equal(wa_file_read_all("/nonexistent", 4, &data, &size, &err), WA_E_DATA);
    assert_message(&err, WA_E_DATA, "/nonexistent: cannot open: No such file", "");
    assert_int_equal(wa_file_read_all("/dev/zero", 5000, &data, &size, &err), WA_E_DATA);
    assert_message(&err, WA_E_DATA, "/dev/zero: ", "too large");
    assert_int_equal(wa_file_read_all("/dev/null", 0, &data, &size, &err), WA_OK);
    assert_int_equal(size, 0);
    free(data);
    /* says that it has no bytes, and has some */
    assert_int_equal(wa_file_read_all("/proc/self/status", 1 << 20, &data, &size, &err), WA_OK);
    assert_true(size > 0);
    assert_int_equal(strlen((const char *)data), size);
    free(data);
}

static void test_write_atomic(void **state)
{
    const struct folder *folder = *state;
    struct wa_error err = {.status = WA_OK};
    write_text(folder->file, "old");
    write_text(folder->file, "new and longer");
    assert_content(folder->file, "new and longer");
    struct stat about;
    mode_t mask = umask(0);
    (void)umask(mask);
    assert_int_equal(stat(folder->file, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0666 & ~mask);

    assert_int_equal(wa_file_write_atomic("/nonexistent/x", "a", 1, &err), WA_E_IO);
    assert_message(&err, WA_E_IO, "/nonexistent/x: cannot create: No such file", "");
    /* The name is a folder's: found out at the rename. */
    assert_int_equal(wa_file_write_atomic(folder->path, "a", 1, &err), WA_E_IO);
    assert_message(&err, WA_E_IO, folder->path, "cannot write");
}

static void test_two_writers(void **state)
{
    const struct folder *folder = *state;
    struct wa_error err = {.status = WA_OK};
    struct wa_file_writer first, second;
    assert_int_equal(wa_file_writer_begin(&first, folder->file, &err), WA_OK);
    assert_int_equal(wa_file_writer_begin(&second, folder->file, &err), WA_OK);
    assert_int_equal(wa_file_writer_append(&first, "1", 1, &err), WA_OK);
    assert_int_equal(wa_file_writer_append(&second, "2", 1, &err), WA_OK);
    assert_int_equal(wa_file_writer_commit(&second, &err), WA_OK);
    assert_content(folder->file, "2");
    wa_file_writer_abandon(&first);
    wa_file_writer_abandon(&first);
    wa_file_writer_abandon(&second);
    assert_content(folder->file, "2");
}

/* A disk that takes 1000 bytes a file. What was there stays, and nothing else is left. */
static void test_write_fails_midway(void **state)
{
    const struct folder *folder = *state;
    struct wa_error err = {.status = WA_OK};
    char data[3000];
    memset(data, 'x', sizeof data);
    write_text(folder->file, "line 1\n");
    struct wa_line_writer lines;
    assert_int_equal(wa_line_writer_open(&lines, folder->file, &err), WA_OK);

    struct rlimit old_limit, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
    limit = old_limit;
    limit.rlim_cur = 1000;
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old_action;
    assert_int_equal(sigaction(SIGXFSZ, &ignore, &old_action), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    struct wa_error line_err = {.status = WA_OK};
    data[2999] = 0;
    wa_status status = wa_file_write_atomic(folder->file, data, sizeof data, &err);
    wa_status line_status = wa_line_writer_write(&lines, data, &line_err);
    wa_status short_status = wa_line_writer_write(&lines, "line 2", &line_err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old_limit), 0);
    assert_int_equal(sigaction(SIGXFSZ, &old_action, NULL), 0);

    assert_int_equal(status, WA_E_IO);
    assert_message(&err, WA_E_IO, folder->file, "cannot write: File too large");
    assert_int_equal(line_status, WA_E_IO);
    assert_message(&line_err, WA_E_IO, folder->file, "cannot write: File too large");
    assert_int_equal(short_status, WA_OK);
    wa_line_writer_close(&lines);
    assert_content(folder->file, "line 1\nline 2\n"); /* the torn line was taken back */
}

static void test_folders(void **state)
{
    const struct folder *folder = *state;
    struct wa_error err = {.status = WA_OK};
    char path[128], long_path[128], below[192];
    (void)snprintf(path, sizeof path, "%s/a", folder->path);
    (void)snprintf(long_path, sizeof long_path, "%s//a/b/c/", folder->path);
    assert_int_equal(wa_files_make_folders(long_path, 0777, &err), WA_OK);
    assert_int_equal(wa_files_make_folders(long_path, 0777, &err), WA_OK);
    assert_true(wa_file_is_folder(long_path));
    assert_true(wa_file_exists(path));
    assert_int_equal(wa_files_make_folders(".", 0777, &err), WA_OK);
    assert_int_equal(wa_files_make_folders("/", 0777, &err), WA_OK);
    assert_int_equal(wa_files_make_folders("", 0777, &err), WA_E_IO);
    err.status = WA_OK;

    write_text(folder->file, "");
    assert_false(wa_file_is_folder(folder->file));
    assert_int_equal(wa_files_make_folders(folder->file, 0777, &err), WA_E_IO);
    assert_message(&err, WA_E_IO, folder->file, "a part of the path is a file");
    (void)snprintf(below, sizeof below, "%s/x/y", folder->file);
    assert_int_equal(wa_files_make_folders(below, 0777, &err), WA_E_IO);
    assert_message(&err, WA_E_IO, folder->file, "a part of the path is a file");

    (void)snprintf(long_path, sizeof long_path, "%s/a/b/c", folder->path);
    assert_int_equal(rmdir(long_path), 0);
    (void)snprintf(long_path, sizeof long_path, "%s/a/b", folder->path);
    assert_int_equal(rmdir(long_path), 0);
    assert_int_equal(rmdir(path), 0);
}

static void test_remove_temporaries(void **state)
{
    const struct folder *folder = *state;
    static const struct {
        const char *name;
        bool is_temporary;
    } cases[] = {
        {"run.json.tmp-12-0", true},  {"a.tmp-b.tmp-1-22", true}, {"run.json", false},
        {"run.json.tmp-12", false},   {"run.json.tmp--1", false}, {"run.json.tmp-1-x", false},
        {"run.json.tmp-1-1x", false}, {"run.json.tmp-", false},   {"run.json.tmp-1-", false},
    };
    char path[192];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder->path, cases[i].name);
        write_text(path, "x");
    }
    wa_files_remove_temporaries(folder->path);
    wa_files_remove_temporaries("/nonexistent");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder->path, cases[i].name);
        assert_int_equal(wa_file_exists(path), !cases[i].is_temporary);
        (void)unlink(path);
    }
}

static void test_line_writer(void **state)
{
    const struct folder *folder = *state;
    struct wa_error err = {.status = WA_OK};
    struct wa_line_writer lines;
    assert_int_equal(wa_line_writer_open(&lines, folder->file, &err), WA_OK);
    assert_int_equal(wa_line_writer_write(&lines, "one", &err), WA_OK);
    assert_content(folder->file, "one\n"); /* at once */
    assert_int_equal(wa_line_writer_write(&lines, "", &err), WA_OK);
    assert_int_equal(wa_line_writer_sync(&lines, &err), WA_OK);
    assert_int_equal(wa_line_writer_write(&lines, "a\nb", &err), WA_E_FAILED);
    assert_message(&err, WA_E_FAILED, folder->file, "line feed");
    wa_line_writer_close(&lines);
    wa_line_writer_close(&lines);
    assert_int_equal(wa_line_writer_open(&lines, folder->file, &err), WA_OK);
    assert_int_equal(wa_line_writer_write(&lines, "three", &err), WA_OK);
    wa_line_writer_close(&lines);
    assert_content(folder->file, "one\n\nthree\n");

    assert_int_equal(wa_line_writer_open(&lines, folder->path, &err), WA_E_IO);
    assert_message(&err, WA_E_IO, folder->path, "cannot open for writing");
    assert_int_equal(wa_line_writer_open(&lines, "/dev/full", &err), WA_OK);
    assert_int_equal(wa_line_writer_write(&lines, "x", &err), WA_E_IO);
    assert_message(&err, WA_E_IO, "/dev/full: cannot write: No space left", "the disk is full");
    assert_int_equal(wa_line_writer_sync(&lines, &err), WA_OK);
    wa_line_writer_close(&lines);
}

/* Keeps lines until one that starts with "-", fails at one that starts with "!". */
static wa_status visit(void *context, const char *line, size_t length, uint64_t number,
                       bool *ret_keep, struct wa_error *err)
{
    uint64_t *visited = context;
    assert_int_equal(strlen(line), length);
    assert_int_equal(number, ++*visited);
    *ret_keep = line[0] != '-';
    return line[0] == '!' ? wa_fail(err, WA_E_DATA, "bad line") : WA_OK;
}

static void test_keep_lines(void **state)
{
    const struct folder *folder = *state;
    static const struct {
        const char *before, *after;
        uint64_t visited;
        wa_status status;
    } cases[] = {
        {"", "", 0, WA_OK},
        {"torn", "", 0, WA_OK},
        {"\n", "\n", 1, WA_OK},
        {"a\nb\n", "a\nb\n", 2, WA_OK},
        {"a\r\n b \ntor", "a\r\n b \n", 2, WA_OK},
        {"a\n-\nb\n", "a\n", 2, WA_OK},
        {"-", "", 0, WA_OK},
        {"a\n!\nb\ntorn", "a\n!\nb\ntorn", 2, WA_E_DATA},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wa_error err = {.status = WA_OK};
        uint64_t visited = 0;
        write_text(folder->file, cases[i].before);
        assert_int_equal(wa_file_keep_lines(folder->file, visit, &visited, &err), cases[i].status);
        assert_int_equal(visited, cases[i].visited);
        assert_content(folder->file, cases[i].after);
    }
    struct wa_error err = {.status = WA_OK};
    uint64_t visited = 0;
    assert_int_equal(unlink(folder->file), 0);
    assert_int_equal(wa_file_keep_lines(folder->file, visit, &visited, &err), WA_OK);
    assert_false(wa_file_exists(folder->file));
    assert_int_equal(wa_file_keep_lines(folder->path, visit, &visited, &err), WA_E_IO);
    assert_message(&err, WA_E_IO, folder->path, "cannot open for writing");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_join),
        TEST(test_read),
        TEST(test_write_atomic),
        TEST(test_two_writers),
        TEST(test_write_fails_midway),
        TEST(test_folders),
        TEST(test_remove_temporaries),
        TEST(test_line_writer),
        TEST(test_keep_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
