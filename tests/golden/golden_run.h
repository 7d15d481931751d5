/* What the golden tests share: JSON that must be there, and the losses that a run logged. */
#ifndef WALIGN_TESTS_GOLDEN_RUN_H
#define WALIGN_TESTS_GOLDEN_RUN_H

#include <json-c/json.h>

#include "tested_program.h"

/* A file of the folder that $WALIGN_TEST_GOLDEN names; path is good until the next call. */
const char *wa_golden_path(const char *name);
json_object *wa_golden_read(const char *name); /* the caller puts it */

/* A member that must be there, and not null. */
json_object *wa_golden_get(const json_object *object, const char *key);
double wa_golden_number(const json_object *object, const char *key);
const char *wa_golden_text(const json_object *object, const char *key);
double wa_golden_at(const json_object *array, size_t index);

/* A config that a run of any case has: its rule, optimizer, parameterization, learning rate, batch
 * and seed, with log_steps; $WALIGN_TEST_PATH says which kernels. The caller adds the rest. */
json_object *wa_golden_config(const json_object *golden_case, const char *optimizer);
void wa_golden_write_config(struct wa_tested_program *tested, const char *name,
                            const json_object *config);

/* A .npy file of version 1.0: magic, length of the header, header filled up with spaces, data. `type`
 * is "|u1" and the like, `shape` "4, 2". */
void wa_golden_write_npy(struct wa_tested_program *tested, const char *name, const char *type,
                         const char *shape, const void *data, size_t size);

/* Fails the test where a loss of steps.jsonl is further than `tolerance`, relative, from the one
 * expected; both end with the same step, unless `at_least`: then the run may go on. */
void wa_golden_expect_losses(struct wa_tested_program *tested, const char *steps_name,
                             const json_object *expected, double tolerance, bool at_least);

#endif
