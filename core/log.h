/* Log lines for people, to stderr as "walign: ..."; library code logs nothing above debug, except
 * what a tolerated failure must say ("..., ignoring"). The level is the program's one global. */
#ifndef WALIGN_CORE_LOG_H
#define WALIGN_CORE_LOG_H

#include <stdarg.h>

#include "walign/plugin.h"

void wa_log_set_level(wa_log_level level);
void wa_log(wa_log_level level, const char *format, ...) WA_PRINTF(2, 3);
void wa_log_v(wa_log_level level, const char *format, va_list arguments) WA_PRINTF(2, 0);

#endif
