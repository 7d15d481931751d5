/* SIGINT and SIGTERM as a request to stop at the next good place. */
#ifndef WALIGN_CORE_STOP_REQUEST_H
#define WALIGN_CORE_STOP_REQUEST_H

#include <signal.h>

/* From now on the first of these signals sets what is returned; one that comes a second later or more ends
 * the process at once, as signals do. */
const volatile sig_atomic_t *wa_stop_request_watch(void);

#endif
