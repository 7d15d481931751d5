/* walign's OpenCL extension, for plugins that bring kernels of their own. Optional: most rules need none
 * of it. A rule asks for it in create:
 *
 *   const wa_opencl *cl = host->base->get_extension(host->base, WA_OPENCL_EXTENSION);
 *   if (!cl) { return host->base->fail(host->base, WA_E_UNSUPPORTED, "..."); }
 *
 * Everything runs in one in-order queue: kernels enqueued inside compute_update run after what the
 * services enqueued before them. Float tensors are [channel][row][column][lane], see wa_opencl_tensor.
 */
#ifndef WALIGN_OPENCL_H
#define WALIGN_OPENCL_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include <CL/cl.h>

#include "walign/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WA_OPENCL_EXTENSION "walign.opencl/1"

/* A tensor on the device; all numbers count floats. A lane is an item of the batch; `lanes` is the batch
 * rounded up, the lanes past the batch are zero and must stay so. Rows and columns have a border of zeros
 * that must stay zero; element (c, row, column, lane) lies at
 * offset + c * plane + row * row_step + column * lanes + lane. */
typedef struct wa_opencl_tensor {
    uint32_t struct_size;
    cl_mem memory; /* the host's */
    size_t offset;
    uint32_t channels, rows, columns, lanes;
    uint32_t row_step, plane;
} wa_opencl_tensor;

typedef struct wa_opencl {
    uint32_t struct_size;
    void *context_pointer; /* the host's */
    cl_context context;
    cl_device_id device;
    cl_command_queue queue;

    /* [step] True in the pass that only plans memory: there is no memory yet, enqueue nothing then. */
    bool (*is_planning)(const struct wa_opencl *cl);
    /* [create] A program from source, out of the host's cache if it was built before; the host's. A failed
     * build reports the compiler's log. */
    WA_MUST_CHECK wa_status (*build)(const struct wa_opencl *cl, const char *name, const char *source,
                                     const char *options, cl_program *ret_program);
    /* [step] Weights of a layer, [out][kernel row][kernel column][in], and behind them its biases, as
     * channels x 1 x 1 (channels = all of these floats, lanes 1). After a change of live or feedback
     * weights call weights_changed. */
    WA_MUST_CHECK wa_status (*weights)(const struct wa_opencl *cl, const wa_weights *weights,
                                       uint32_t layer, wa_opencl_tensor *ret_tensor);
    void (*weights_changed)(const struct wa_opencl *cl, wa_weights *weights);
    /* [step] The gradient that the optimizer will apply, in the layout of `weights`. */
    WA_MUST_CHECK wa_status (*gradient)(const struct wa_opencl *cl, uint32_t layer,
                                        wa_opencl_tensor *ret_tensor);
    /* [step] A layer's activity (after its activation) on a tape; the readout's: its outputs without
     * bias. */
    WA_MUST_CHECK wa_status (*activity)(const struct wa_opencl *cl, const wa_tape *tape, uint32_t layer,
                                        wa_opencl_tensor *ret_tensor);
} wa_opencl;

#ifdef __cplusplus
}
#endif

#endif
