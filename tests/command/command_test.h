/* What the command tests share: a folder with a config that trains in a blink. */
#ifndef WALIGN_TESTS_COMMAND_TEST_H
#define WALIGN_TESTS_COMMAND_TEST_H

#include "tested_program.h"

/* cmocka's set-up: as wa_tested_set_up, with tiny.json in the folder: two epochs of 10 steps on
 * drawn shapes of 8 x 8 pixels, 20 of them held out. To be torn down by wa_tested_tear_down. */
int wa_command_set_up(void **state);

/* Makes the folder `name` (for WALIGN_KERNELS) of all kernel files; those whose names contain `part` begin
 * with `first_line`. */
void wa_command_change_kernels(struct wa_tested_program *t, const char *name, const char *part,
                               const char *first_line);

#define WA_COMMAND_TEST(function)                                                                  \
    cmocka_unit_test_setup_teardown(function, wa_command_set_up, wa_tested_tear_down)

#endif
