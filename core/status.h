/* Status and error messages inside core: a function that can fail returns a wa_status and leaves
 * the message, once, where the cause is known. Only main.c prints it. */
#ifndef WALIGN_CORE_STATUS_H
#define WALIGN_CORE_STATUS_H

#include <stdarg.h>

#include "walign/plugin.h"

enum { WA_MESSAGE_BYTES = 2048 };

/* One failure. `message` is one line, without the program's name; where a file is to blame it starts
 * with "<file>:<line>:<column>: " or "<file>: ". */
struct wa_error {
    wa_status status;
    char message[WA_MESSAGE_BYTES];
};

/* Records the failure in *err and returns `status`. The first message wins: a caller that only
 * passes a failure on need not care. `err` may be NULL. */
wa_status wa_fail(struct wa_error *err, wa_status status, const char *format, ...)
    WA_PRINTF(3, 4) __attribute__((cold));
wa_status wa_fail_v(struct wa_error *err, wa_status status, const char *format, va_list arguments)
    WA_PRINTF(3, 0) __attribute__((cold));

/* Puts `format` before the message already there. */
void wa_error_prefix(struct wa_error *err, const char *format, ...) WA_PRINTF(2, 3);

/* "E_DATA" and the like, and a text for people. */
const char *wa_status_name(wa_status status);
const char *wa_status_text(wa_status status);

/* The command's exit status: 0 done, 1 failed, 2 bad usage or configuration, 3 diverged. */
int wa_status_exit_code(wa_status status);

/* `a * b` into *ret_product; false on overflow. */
WA_MUST_CHECK bool wa_mul_size(size_t a, size_t b, size_t *ret_product);

#endif
