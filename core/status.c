/* Status names, texts and the one error record. */
#include "status.h"

#include <stdio.h>
#include <string.h>

wa_status wa_fail_v(struct wa_error *err, wa_status status, const char *format, va_list arguments)
{
    if (err && err->status == WA_OK) {
        err->status = status;
        (void)vsnprintf(err->message, sizeof err->message, format, arguments);
    }
    return status;
}

wa_status wa_fail(struct wa_error *err, wa_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)wa_fail_v(err, status, format, arguments);
    va_end(arguments);
    return status;
}

void wa_error_prefix(struct wa_error *err, const char *format, ...)
{
    if (!err) {
        return;
    }
    char old[WA_MESSAGE_BYTES];
    memcpy(old, err->message, sizeof old);
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(err->message, sizeof err->message, format, arguments);
    va_end(arguments);
    if (used >= 0 && (size_t)used < sizeof err->message) {
        (void)snprintf(err->message + used, sizeof err->message - (size_t)used, "%s", old);
    }
}

const char *wa_status_name(wa_status status)
{
    switch (status) {
#define NAME(value, name, text)                                                                    \
    case WA_##name:                                                                                \
        return #name;
        WA_STATUS_MAP(NAME)
#undef NAME
    }
    return "unknown status";
}

const char *wa_status_text(wa_status status)
{
    switch (status) {
#define TEXT(value, name, text)                                                                    \
    case WA_##name:                                                                                \
        return text;
        WA_STATUS_MAP(TEXT)
#undef TEXT
    }
    return "unknown status";
}

int wa_status_exit_code(wa_status status)
{
    switch (status) {
    case WA_OK:
        return 0;
    case WA_E_USAGE:
    case WA_E_DATA:
    case WA_E_UNSUPPORTED:
    case WA_E_NO_DEVICE:
        return 2;
    case WA_E_DIVERGED:
        return 3;
    default:
        return 1;
    }
}

bool wa_mul_size(size_t a, size_t b, size_t *ret_product)
{
    return !__builtin_mul_overflow(a, b, ret_product);
}
