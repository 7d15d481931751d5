/* The text of every file in kernels/, embedded at build time by tools/embed.py. The device layer
 * finds a kernel file here by name; in development it may read the same file from disk instead. */
#ifndef WALIGN_CORE_KERNEL_SOURCES_H
#define WALIGN_CORE_KERNEL_SOURCES_H

#include <stddef.h>

struct wa_kernel_source {
    const char *name; /* the file's name without its folder: "convolution.cl" */
    const char *text; /* the whole file, NUL-terminated */
};

/* In order of name (as strcmp orders them). Both are constant data: nobody frees them. */
extern const struct wa_kernel_source wa_kernel_sources[];
extern const size_t wa_kernel_sources_count;

#endif
