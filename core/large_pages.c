/* Memory in large pages. */
#define _DEFAULT_SOURCE /* madvise, MAP_ANONYMOUS */
#include "large_pages.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

void *wa_large_pages_allocate(size_t bytes)
{
    /* More than is needed, of which the part that starts at a large page is kept. */
    size_t all = bytes + WA_LARGE_PAGE_BYTES;
    char *memory = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    size_t beyond = (uintptr_t)memory % WA_LARGE_PAGE_BYTES;
    size_t before = beyond > 0 ? WA_LARGE_PAGE_BYTES - beyond : 0;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t kept = (bytes + page - 1) / page * page;
    if (before > 0) {
        (void)munmap(memory, before);
    }
    (void)munmap(memory + before + kept, all - before - kept);
#ifdef MADV_HUGEPAGE
    (void)madvise(memory + before, kept, MADV_HUGEPAGE);
#endif
    return memory + before;
}

void wa_large_pages_free(void *memory, size_t bytes)
{
    (void)munmap(memory, bytes);
}
