/* OpenCL devices: listing, choosing by index or name, opening with one in-order queue. */
#ifndef WALIGN_CORE_DEVICE_H
#define WALIGN_CORE_DEVICE_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include "status.h"

enum { WA_DEVICE_TEXT = 256 };

/* What to do where the list is empty: drivers that cannot start are not in it either. */
#define WA_DEVICE_NONE_ADVICE                                                                      \
    "install a driver, or pocl-opencl-icd to run on the CPU; if one is installed, it did not "     \
    "start: PoCL must be able to write its cache (POCL_CACHE_DIR, else in XDG_CACHE_HOME or "      \
    "~/.cache), and OCL_ICD_VENDORS, where it is set, must name the folder of its .icd file"

/* What is known of a device before it is opened. */
struct wa_device_info {
    cl_platform_id platform;
    cl_device_id id;
    cl_device_type type;
    char name[WA_DEVICE_TEXT];
    char vendor[WA_DEVICE_TEXT];
    char driver[WA_DEVICE_TEXT];
    char version[WA_DEVICE_TEXT];
    char platform_name[WA_DEVICE_TEXT];
    char platform_version[WA_DEVICE_TEXT];
    cl_uint compute_units;
    cl_uint clock_mhz;
    cl_uint native_vector_width; /* floats */
    cl_ulong global_bytes, allocation_bytes, local_bytes, cache_bytes;
    size_t work_group_size;
    bool is_available;
};

struct wa_device_list {
    size_t count;
    struct wa_device_info *items;
};

/* An open device. */
struct wa_device {
    struct wa_device_info info; /* of the part that is used */
    size_t index;               /* in the list */
    cl_device_id part;          /* a sub-device of our own, or NULL */
    cl_context context;
    cl_command_queue queue;
};

/* Lists every device of every platform, in the platforms' order. Platforms without devices and a
 * machine without any are normal: the list is empty then. Free with wa_device_list_finish. */
WA_MUST_CHECK wa_status wa_device_list_init(struct wa_device_list *ret_list, struct wa_error *err);
void wa_device_list_finish(struct wa_device_list *list);

/* Finds the device that `selector` names: an index, or part of a platform's or device's name in any
 * case; NULL: $WALIGN_DEVICE, else the best (a GPU before a CPU). Fails with WA_E_NO_DEVICE and the
 * list of what was found. */
WA_MUST_CHECK wa_status wa_device_choose(const struct wa_device_list *list, const char *selector,
                                         size_t *ret_index, struct wa_error *err);

/* The environment variable by which `walign sweep` gives a run a share of a CPU device. */
#define WA_DEVICE_UNITS_VARIABLE "WALIGN_DEVICE_UNITS"

/* Opens a device of the list. `profile`: the queue records times of its commands. Of a CPU device
 * only so many compute units are used as $WALIGN_DEVICE_UNITS says, where the driver can divide it;
 * results do not depend on that. */
WA_MUST_CHECK wa_status wa_device_open(const struct wa_device_list *list, size_t index,
                                       bool profile, struct wa_device **ret_device,
                                       struct wa_error *err);
void wa_device_close(struct wa_device *device);

/* "CPU", "GPU" or "accelerator". */
const char *wa_device_type_name(cl_device_type type);

/* The name of an OpenCL error code, "CL_OUT_OF_RESOURCES" and the like. */
const char *wa_cl_error_name(cl_int code);

/* Turns a failed OpenCL call into an error that names the call and its place in the source. */
wa_status wa_cl_fail(struct wa_error *err, cl_int code, const char *call, const char *file,
                     int line);

/* WA_CL(err, clFoo(...)): WA_OK, or the failure recorded in err. */
#define WA_CL(err, call) wa_cl_check((err), (call), #call, __FILE__, __LINE__)
static inline wa_status wa_cl_check(struct wa_error *err, cl_int code, const char *call,
                                    const char *file, int line)
{
    return code == CL_SUCCESS ? WA_OK : wa_cl_fail(err, code, call, file, line);
}

#endif
