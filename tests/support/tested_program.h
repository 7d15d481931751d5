/* walign as a user runs it: the program that $WALIGN_TEST_PROGRAM names, started in a folder of the
 * test's own, with what it wrote. Functions that do not say how they fail fail the running test. */
#ifndef WALIGN_TESTS_TESTED_PROGRAM_H
#define WALIGN_TESTS_TESTED_PROGRAM_H

#include <stddef.h>
#include <sys/types.h>

#include "data_folder.h"

enum { WA_TESTED_VARIABLES = 8 };

struct wa_tested_program {
    struct wa_data_folder folder; /* the working folder of every run */
    const char *program;          /* a test may set another one, as a shell would find it */
    /* Changed in every run's environment: "NAME=value", or "NAME" to unset it; ends with NULL. */
    const char *environment[WA_TESTED_VARIABLES + 1];
    size_t file_limit_bytes; /* no run can write a larger file; 0: no limit */
    char *output, *errors;   /* stdout and stderr of the last run that was waited for */
};

/* cmocka's set-up and tear-down of one test: *state is a struct wa_tested_program. */
int wa_tested_set_up(void **state);
int wa_tested_tear_down(void **state);

/* Runs the program and returns its exit status, or 128 + the signal that ended it. */
#define WA_TESTED_RUN(tested, ...) wa_tested_run((tested), (const char *const[]){__VA_ARGS__, NULL})
int wa_tested_run(struct wa_tested_program *tested, const char *const *arguments);

/* The same in two parts, to do something meanwhile. One run at a time. */
#define WA_TESTED_START(tested, ...)                                                               \
    wa_tested_start((tested), (const char *const[]){__VA_ARGS__, NULL})
pid_t wa_tested_start(const struct wa_tested_program *tested, const char *const *arguments);
int wa_tested_wait(struct wa_tested_program *tested, pid_t process);

/* The last run wrote one line to stderr, "walign: ...", that has all the texts. */
#define WA_TESTED_EXPECT_ERROR(tested, ...)                                                        \
    wa_tested_expect_error((tested), (const char *const[]){__VA_ARGS__, NULL})
void wa_tested_expect_error(const struct wa_tested_program *tested, const char *const *texts);

/* `text` has `part`. */
void wa_tested_expect_part(const char *text, const char *part);

/* A file of the folder, with '\0' after it; the caller frees it. ret_size may be NULL. */
char *wa_tested_read(struct wa_tested_program *tested, const char *name, size_t *ret_size);
bool wa_tested_has(struct wa_tested_program *tested, const char *name);
void wa_tested_write(struct wa_tested_program *tested, const char *name, const void *data,
                     size_t size);

/* Writes JSON in which ' stands for ". */
void wa_tested_write_json(struct wa_tested_program *tested, const char *name, const char *text);

/* Writes a .npy file of version 1.0: type "|u1", shape "2, 4, 4, 1". */
void wa_tested_write_npy(struct wa_tested_program *tested, const char *name, const char *type,
                         const char *shape, const void *data, size_t size);

/* The source tree, for what is not built. */
const char *wa_tested_source(void);

/* Two files of the folder are the same byte for byte. */
bool wa_tested_are_equal(struct wa_tested_program *tested, const char *a, const char *b);
void wa_tested_expect_equal(struct wa_tested_program *tested, const char *a, const char *b);

/* Two metrics.jsonl are the same but for "seconds", the last member of a line. */
void wa_tested_expect_equal_metrics(struct wa_tested_program *tested, const char *a, const char *b);

/* Sleeps until the file is there and not empty, at most a minute. */
void wa_tested_await(struct wa_tested_program *tested, const char *name);
void wa_tested_sleep_ms(unsigned milliseconds);

#endif
