/* An open device with its programs, memory account and launches: what operations enqueue through. */
#ifndef WALIGN_CORE_ENGINE_H
#define WALIGN_CORE_ENGINE_H

#include "device.h"
#include "program.h"

/* How 3 x 3 convolutions of stride 1 and 2 are computed: by what is expected to be fastest, by the sum itself,
 * or by Winograd's products wherever they apply. */
enum wa_convolution_choice {
    WA_CONVOLUTION_AUTO = 0,
    WA_CONVOLUTION_DIRECT,
    WA_CONVOLUTION_WINOGRAD
};

/* Which kernels serve: explicit vectors and one work-item a group, or scalar kernels in groups. */
enum wa_path { WA_PATH_CPU = 1, WA_PATH_GPU = 2 };

/* What launches belong to: an operation on a layer (NULL: on none in particular), computed by an
 * algorithm (NULL: there is but one). All three are texts that stay. */
struct wa_work {
    const char *layer, *operation, *algorithm;
};

/* Called with each launch of an engine whose device was opened with profiling. The launch took from
 * the start of `first` (a marker's end) to the end of `last`, mostly the same; both may be retained. */
typedef void wa_launch_observer(void *context, const char *kernel, cl_event first, cl_event last);

struct wa_tuning; /* tuning.h */

/* What buffers would take that are only counted. */
struct wa_memory_plan {
    uint64_t bytes;         /* in all */
    uint64_t largest_bytes; /* of one buffer, */
    const char *largest;    /* its name */
};

enum { WA_MANY_REGISTERS = 32 };

struct wa_engine {
    struct wa_device *device;
    struct wa_programs *programs;
    enum wa_path path;
    enum wa_convolution_choice convolution; /* auto, unless changed before operations are made */
    const struct wa_tuning *tuning; /* which algorithms auto means by layer, or NULL: as expected */
    int vector_width;               /* of the CPU kernels: 16, 8 or 4 floats */
    int registers;       /* vectors that a core holds: WA_MANY_REGISTERS, or half of them */
    int output_block;    /* output channels that the CPU kernels keep in registers */
    size_t local_bytes;  /* local memory that kernels may use */
    size_t cache_bytes;  /* the device's largest cache, as far as it is known */
    size_t group_items;  /* work-items in a group of the GPU kernels at most: a power of two */
    uint64_t launches;   /* so far */
    struct wa_work work; /* what the launches to come belong to */
    uint64_t flop;       /* of the direct algorithms of all products so far */
    uint64_t traffic; /* bytes that operations had to move: operands read, results written once */
    /* those of normalization and activation, had they been passes of their own */
    uint64_t activation_traffic;
    uint64_t bytes, peak_bytes; /* device memory held, and the most ever held */
    /* While it is set, buffers are counted there, and neither they nor kernels are made: all of them
     * are NULL. */
    struct wa_memory_plan *plan;
    /* Normalization and activation are not launched, forward and backward: results are meaningless.
     * For `bench`, which finds out so what they cost. */
    bool omits_activations;
    wa_launch_observer *observer;
    void *observer_context;
};

/* `device` and `programs` outlive the engine. `path` NULL or "auto": by the device's type
 * (a CPU that has no vectors counts as a GPU). */
void wa_engine_init(struct wa_engine *ret_engine, struct wa_device *device,
                    struct wa_programs *programs, const char *path);

/* Vectors of 16, 8 or 4 floats for the CPU kernels, and what follows from that: how many registers there are
 * and how much is kept in them. Done by wa_engine_init for the device; otherwise before operations are made. */
void wa_engine_use_vectors(struct wa_engine *engine, int width);

/* A device buffer of zeros. `what` names it in the error when it does not fit. */
WA_MUST_CHECK wa_status wa_engine_buffer(struct wa_engine *engine, size_t bytes, const char *what,
                                         cl_mem *ret_buffer, struct wa_error *err);
/* The same with content. */
WA_MUST_CHECK wa_status wa_engine_buffer_from(struct wa_engine *engine, const void *data,
                                              size_t bytes, const char *what, cl_mem *ret_buffer,
                                              struct wa_error *err);
void wa_engine_release(struct wa_engine *engine, cl_mem buffer); /* takes NULL */

/* Blocking copies from and to the device, for set-up, checkpoints and tests. */
WA_MUST_CHECK wa_status wa_engine_read(struct wa_engine *engine, cl_mem buffer, size_t offset_bytes,
                                       void *ret_data, size_t bytes, struct wa_error *err);
WA_MUST_CHECK wa_status wa_engine_write(struct wa_engine *engine, cl_mem buffer,
                                        size_t offset_bytes, const void *data, size_t bytes,
                                        struct wa_error *err);

/* A kernel of a file in kernels/, built as this engine's path wants; `options` is added to the build
 * options (NULL: none). The caller releases it. */
WA_MUST_CHECK wa_status wa_engine_kernel(struct wa_engine *engine, const char *file,
                                         const char *name, const char *options,
                                         cl_kernel *ret_kernel, struct wa_error *err);

/* Work-items that a group of the kernel may have: a power of two, at most engine->group_items. */
size_t wa_engine_group_limit(const struct wa_engine *engine, cl_kernel kernel);

/* The spec by which wa_engine_kernel builds a file, for wa_programs_prebuild. `buffer` holds the
 * options and must outlive the spec. */
struct wa_program_spec wa_engine_spec(const struct wa_engine *engine, const char *file,
                                      const char *options, char *buffer, size_t buffer_bytes);

/* Work-groups of a launch: `global` work-items in all, `local` in a group (zeros: the driver's
 * choice). */
struct wa_range {
    cl_uint dimensions;
    size_t global[3], local[3];
};

/* Sets the arguments and enqueues. `types` has a letter for each: m cl_mem, i int, f float, l bytes
 * of local memory (size_t). */
WA_MUST_CHECK wa_status wa_engine_launch(struct wa_engine *engine, cl_kernel kernel,
                                         const struct wa_range *range, struct wa_error *err,
                                         const char *types, ...);

/* Says what the launches to come belong to, and counts what it takes: operations of the direct
 * algorithm, and bytes with each operand read and each result written once. */
void wa_engine_note_work(struct wa_engine *engine, const struct wa_work *work, uint64_t flop,
                         uint64_t bytes);

/* Waits for all that was enqueued; failures of earlier launches surface here. */
WA_MUST_CHECK wa_status wa_engine_finish(struct wa_engine *engine, struct wa_error *err);

#endif
