/* A flag that signals set. */
#include "stop_request.h"

#include <string.h>
#include <time.h>

/* Signal handlers can reach nothing else. */
static volatile sig_atomic_t stop_requested;
static struct timespec stop_requested_at;

/* Seconds in which further signals are the same wish: timeout(1) and batch systems send a signal to the
 * process and to its group, so that it comes twice. */
static const double same_request_seconds = 1.0;

/* The first signal asks for an end; a later one ends at once, as signals do. */
static void request_stop(int number)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    if (!stop_requested) {
        stop_requested_at = now;
        stop_requested = 1;
        return;
    }
    double passed = (double)(now.tv_sec - stop_requested_at.tv_sec) +
                    1e-9 * (double)(now.tv_nsec - stop_requested_at.tv_nsec);
    if (passed > same_request_seconds) {
        (void)signal(number, SIG_DFL);
        (void)raise(number);
    }
}

const volatile sig_atomic_t *wa_stop_request_watch(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = request_stop;
    (void)sigaddset(&action.sa_mask, SIGINT);
    (void)sigaddset(&action.sa_mask, SIGTERM);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    return &stop_requested;
}
