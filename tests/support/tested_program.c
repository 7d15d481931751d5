/* walign as a user runs it: see tested_program.h. */
#include "tested_program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Where a run's stdout and stderr go, beside the test's files. */
#define OUTPUT_NAME ".stdout"
#define ERRORS_NAME ".stderr"

enum { CANNOT_START = 127, AWAIT_MS = 60000, AWAIT_STEP_MS = 5, NPY_HEAD = 128 };

int wa_tested_set_up(void **state)
{
    struct wa_tested_program *tested = calloc(1, sizeof *tested);
    assert_non_null(tested);
    tested->program = getenv("WALIGN_TEST_PROGRAM");
    if (!tested->program) {
        fail_msg("WALIGN_TEST_PROGRAM does not name the program");
    }
    assert_true(wa_data_folder_create(&tested->folder));
    *state = tested;
    return 0;
}

int wa_tested_tear_down(void **state)
{
    struct wa_tested_program *tested = *state;
    bool is_removed = wa_data_folder_remove(&tested->folder);
    free(tested->output);
    free(tested->errors);
    free(tested);
    return is_removed ? 0 : -1;
}

/* ---- Runs ------------------------------------------------------------------------------------ */

static bool set_variables(const struct wa_tested_program *tested)
{
    for (const char *const *v = tested->environment; *v; v++) {
        const char *equals = strchr(*v, '=');
        char name[64];
        size_t length = equals ? (size_t)(equals - *v) : strlen(*v);
        if (length >= sizeof name) {
            return false;
        }
        memcpy(name, *v, length);
        name[length] = '\0';
        if ((equals ? setenv(name, equals + 1, 1) : unsetenv(name)) != 0) {
            return false;
        }
    }
    return true;
}

static bool redirect(const char *name, int target)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return fd >= 0 && dup2(fd, target) == target;
}

/* As on a full disk, writing fails then instead of ending the process. */
static bool limit_files(size_t bytes)
{
    const struct rlimit limit = {.rlim_cur = bytes, .rlim_max = bytes};
    return bytes == 0 ||
           (signal(SIGXFSZ, SIG_IGN) != SIG_ERR && setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

/* In the new process. */
static void become(const struct wa_tested_program *tested, const char *const *arguments)
{
    enum { MOST_ARGUMENTS = 64 };
    char *argv[MOST_ARGUMENTS] = {(char *)(uintptr_t)tested->program};
    for (size_t i = 0; arguments[i] && i + 2 < MOST_ARGUMENTS; i++) {
        argv[i + 1] = (char *)(uintptr_t)arguments[i]; /* exec changes none */
    }
    if (chdir(tested->folder.path) == 0 && set_variables(tested) &&
        redirect("/dev/null", STDIN_FILENO) && redirect(OUTPUT_NAME, STDOUT_FILENO) &&
        redirect(ERRORS_NAME, STDERR_FILENO) && limit_files(tested->file_limit_bytes)) {
        (void)execvp(tested->program, argv);
    }
    _exit(CANNOT_START);
}

pid_t wa_tested_start(const struct wa_tested_program *tested, const char *const *arguments)
{
    pid_t process = fork();
    assert_true(process >= 0);
    if (process == 0) {
        become(tested, arguments);
    }
    return process;
}

int wa_tested_wait(struct wa_tested_program *tested, pid_t process)
{
    int status = 0;
    assert_int_equal(waitpid(process, &status, 0), process);
    free(tested->output);
    free(tested->errors);
    tested->output = tested->errors = NULL;
    tested->output = wa_tested_read(tested, OUTPUT_NAME, NULL);
    tested->errors = wa_tested_read(tested, ERRORS_NAME, NULL);
    int result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (result != 0) {
        print_message("walign ended with %d: %s%s", result, tested->errors,
                      strchr(tested->errors, '\n') ? "" : "\n");
    }
    return result;
}

int wa_tested_run(struct wa_tested_program *tested, const char *const *arguments)
{
    return wa_tested_wait(tested, wa_tested_start(tested, arguments));
}

void wa_tested_expect_part(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        fail_msg("'%s' is not in: %s", part, text);
    }
}

void wa_tested_expect_error(const struct wa_tested_program *tested, const char *const *texts)
{
    static const char head[] = "walign: ";
    const char *errors = tested->errors;
    if (strncmp(errors, head, sizeof head - 1) != 0 ||
        strchr(errors, '\n') != strrchr(errors, '\n')) {
        fail_msg("expected one line 'walign: ...' on stderr, got: %s", errors);
    }
    for (; *texts; texts++) {
        wa_tested_expect_part(errors, *texts);
    }
}

/* ---- Files ----------------------------------------------------------------------------------- */

char *wa_tested_read(struct wa_tested_program *tested, const char *name, size_t *ret_size)
{
    FILE *stream = fopen(wa_data_folder_file(&tested->folder, name), "rb");
    struct stat info;
    if (!stream || fstat(fileno(stream), &info) != 0) {
        fail_msg("%s cannot be read", name);
    }
    size_t size = (size_t)info.st_size;
    char *data = malloc(size + 1);
    assert_non_null(data);
    size = fread(data, 1, size, stream);
    assert_false(ferror(stream));
    (void)fclose(stream);
    data[size] = '\0';
    if (ret_size) {
        *ret_size = size;
    }
    return data;
}

bool wa_tested_has(struct wa_tested_program *tested, const char *name)
{
    return access(wa_data_folder_file(&tested->folder, name), F_OK) == 0;
}

void wa_tested_write(struct wa_tested_program *tested, const char *name, const void *data,
                     size_t size)
{
    if (!wa_data_folder_write(&tested->folder, name, data, size)) {
        fail_msg("%s cannot be written", name);
    }
}

void wa_tested_write_json(struct wa_tested_program *tested, const char *name, const char *text)
{
    char *json = strdup(text);
    assert_non_null(json);
    for (char *c = json; *c; c++) {
        *c = *c == '\'' ? '"' : *c;
    }
    wa_tested_write(tested, name, json, strlen(json));
    free(json);
}

/* Magic, version, length of the header, header filled up with spaces, data. */
void wa_tested_write_npy(struct wa_tested_program *tested, const char *name, const char *type,
                         const char *shape, const void *data, size_t size)
{
    unsigned char *file = malloc(NPY_HEAD + size);
    assert_non_null(file);
    memset(file, ' ', NPY_HEAD);
    memcpy(file, "\x93NUMPY\x01\x00", 8);
    file[8] = NPY_HEAD - 10;
    file[9] = 0;
    char header[NPY_HEAD - 10];
    int length = snprintf(header, sizeof header,
                          "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", type, shape);
    assert_in_range(length, 1, sizeof header - 2);
    memcpy(file + 10, header, (size_t)length);
    file[NPY_HEAD - 1] = '\n';
    memcpy(file + NPY_HEAD, data, size);
    wa_tested_write(tested, name, file, NPY_HEAD + size);
    free(file);
}

const char *wa_tested_source(void)
{
    const char *folder = getenv("WALIGN_TEST_SOURCE");
    if (!folder) {
        fail_msg("WALIGN_TEST_SOURCE does not name the source tree");
    }
    return folder;
}

bool wa_tested_are_equal(struct wa_tested_program *tested, const char *a, const char *b)
{
    size_t a_size = 0;
    size_t b_size = 0;
    char *a_data = wa_tested_read(tested, a, &a_size);
    char *b_data = wa_tested_read(tested, b, &b_size);
    bool are_equal = a_size == b_size && memcmp(a_data, b_data, a_size) == 0;
    free(a_data);
    free(b_data);
    return are_equal;
}

void wa_tested_expect_equal(struct wa_tested_program *tested, const char *a, const char *b)
{
    if (!wa_tested_are_equal(tested, a, b)) {
        fail_msg("%s and %s differ", a, b);
    }
}

/* The metrics with each line cut off before "seconds"; the caller frees it. */
static char *without_seconds(struct wa_tested_program *tested, const char *name)
{
    char *text = wa_tested_read(tested, name, NULL);
    char *to = text;
    for (const char *line = text; *line;) {
        const char *end = strchr(line, '\n');
        const char *cut = strstr(line, ",\"seconds\":");
        if (!end || !cut || cut > end) {
            fail_msg("%s: a line without \"seconds\", or a torn one: %s", name, line);
        }
        memmove(to, line, (size_t)(cut - line));
        to += cut - line;
        *to++ = '\n';
        line = end + 1;
    }
    *to = '\0';
    return text;
}

void wa_tested_expect_equal_metrics(struct wa_tested_program *tested, const char *a, const char *b)
{
    char *a_text = without_seconds(tested, a);
    char *b_text = without_seconds(tested, b);
    assert_string_equal(a_text, b_text);
    free(a_text);
    free(b_text);
}

void wa_tested_await(struct wa_tested_program *tested, const char *name)
{
    struct stat info;
    const char *path = wa_data_folder_file(&tested->folder, name);
    for (unsigned waited = 0; stat(path, &info) != 0 || info.st_size == 0;
         waited += AWAIT_STEP_MS) {
        if (waited > AWAIT_MS) {
            fail_msg("%s did not appear", name);
        }
        wa_tested_sleep_ms(AWAIT_STEP_MS);
    }
}

void wa_tested_sleep_ms(unsigned milliseconds)
{
    const struct timespec span = {.tv_sec = milliseconds / 1000,
                                  .tv_nsec = (long)(milliseconds % 1000) * 1000000};
    (void)nanosleep(&span, NULL);
}
