/* Processors that this process may run on. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "processors.h"

#include <sched.h>

void wa_processors_allowed(struct wa_processors *ret_processors)
{
    cpu_set_t set;
    ret_processors->count = 0;
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return;
    }
    for (int i = 0; i < CPU_SETSIZE && ret_processors->count < WA_MAX_PROCESSORS; i++) {
        if (CPU_ISSET((size_t)i, &set)) {
            ret_processors->numbers[ret_processors->count++] = i;
        }
    }
}

size_t wa_processors_threads(size_t most)
{
    struct wa_processors allowed;
    wa_processors_allowed(&allowed);
    return allowed.count < 1 ? 1 : allowed.count > most ? most : allowed.count;
}
