/* Processors of this machine that this process may run on. */
#ifndef WALIGN_CORE_PROCESSORS_H
#define WALIGN_CORE_PROCESSORS_H

#include <stddef.h>

enum { WA_MAX_PROCESSORS = 1024 };

/* Processors by number. */
struct wa_processors {
    size_t count;
    int numbers[WA_MAX_PROCESSORS];
};

/* Those that this process may use; count 0: unknown. */
void wa_processors_allowed(struct wa_processors *ret_processors);

/* How many threads have a processor each: those allowed, at least 1 and at most so many. */
size_t wa_processors_threads(size_t most);

#endif
