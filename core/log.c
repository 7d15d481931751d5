/* Log lines to stderr. */
#include "log.h"

#include <stdio.h>

#include "status.h"

enum { LINE_BYTES = WA_MESSAGE_BYTES + 128 }; /* a failure's message, and words beside it */

static wa_log_level log_level = WA_LOG_INFO;

void wa_log_set_level(wa_log_level level)
{
    log_level = level;
}

void wa_log_v(wa_log_level level, const char *format, va_list arguments)
{
    if (level > log_level && level != WA_LOG_PLUGIN_MISBEHAVING) {
        return;
    }
    char line[LINE_BYTES];
    (void)vsnprintf(line, sizeof line, format, arguments);
    const char *prefix = level == WA_LOG_WARNING               ? "warning: "
                         : level == WA_LOG_PLUGIN_MISBEHAVING ? "plugin misbehaving: "
                                                              : "";
    (void)fprintf(stderr, "walign: %s%s\n", prefix, line);
}

void wa_log(wa_log_level level, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    wa_log_v(level, format, arguments);
    va_end(arguments);
}
