/* OpenCL programs: built from the embedded kernels once a device and set of options, kept on disk.
 *
 * The cache is $XDG_CACHE_HOME/walign/kernels (default ~/.cache), folder mode 0700. An entry's name
 * is the SHA-256 of source, options, device, driver and platform; it holds the program's binary
 * behind its own hash, written when it is compiled (on PoCL when the programs are destroyed). A bad
 * entry is dropped and rebuilt; where nothing can be written, programs are built anew each time.
 */
#ifndef WALIGN_CORE_PROGRAM_H
#define WALIGN_CORE_PROGRAM_H

#include "device.h"

struct wa_programs;

/* One program: a file of kernels/ (with `prelude` put before it, unless NULL) and build options. */
struct wa_program_spec {
    const char *prelude, *file, *options;
};

WA_MUST_CHECK wa_status wa_programs_create(const struct wa_device *device,
                                           struct wa_programs **ret_programs, struct wa_error *err);
void wa_programs_destroy(struct wa_programs *programs);

/* Builds what is not cached yet, side by side in threads (each in a context of its own, as drivers
 * build one program at a time in one context). A failure is left to wa_programs_kernel. */
void wa_programs_prebuild(struct wa_programs *programs, const struct wa_program_spec *specs,
                          size_t count);

/* The program, built or loaded at first use; owned by `programs`. A failed build names the file with
 * the compiler's whole log. */
WA_MUST_CHECK wa_status wa_programs_get(struct wa_programs *programs,
                                        const struct wa_program_spec *spec, cl_program *ret_program,
                                        struct wa_error *err);

/* A program from text that is no file of kernels/ (an optimizer's update, a plugin's own kernels). */
WA_MUST_CHECK wa_status wa_programs_get_text(struct wa_programs *programs, const char *name,
                                             const char *text, const char *options,
                                             cl_program *ret_program, struct wa_error *err);

/* Programs that had to be compiled, not loaded, so far. */
size_t wa_programs_compiled(const struct wa_programs *programs);

#endif
