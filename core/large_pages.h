/* Memory in large pages for the buffers of CPU devices: kernels walk over many planes at once, each of
 * which would need an entry of its own among the few that the processor keeps for small pages. */
#ifndef WALIGN_CORE_LARGE_PAGES_H
#define WALIGN_CORE_LARGE_PAGES_H

#include <stddef.h>

enum { WA_LARGE_PAGE_BYTES = 2 << 20 };

/* Memory of zeros; the system is asked for large pages and may give small ones. NULL: none to be had. */
void *wa_large_pages_allocate(size_t bytes);
void wa_large_pages_free(void *memory, size_t bytes);

#endif
