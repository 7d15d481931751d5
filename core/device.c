/* OpenCL devices. */
#include "device.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define CL_ERROR_MAP(XX)                                                                           \
    XX(CL_DEVICE_NOT_FOUND)                                                                        \
    XX(CL_DEVICE_NOT_AVAILABLE)                                                                    \
    XX(CL_COMPILER_NOT_AVAILABLE)                                                                  \
    XX(CL_MEM_OBJECT_ALLOCATION_FAILURE)                                                           \
    XX(CL_OUT_OF_RESOURCES)                                                                        \
    XX(CL_OUT_OF_HOST_MEMORY)                                                                      \
    XX(CL_BUILD_PROGRAM_FAILURE)                                                                   \
    XX(CL_MISALIGNED_SUB_BUFFER_OFFSET)                                                            \
    XX(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST)                                               \
    XX(CL_INVALID_VALUE)                                                                           \
    XX(CL_INVALID_DEVICE)                                                                          \
    XX(CL_INVALID_CONTEXT)                                                                         \
    XX(CL_INVALID_COMMAND_QUEUE)                                                                   \
    XX(CL_INVALID_MEM_OBJECT)                                                                      \
    XX(CL_INVALID_BINARY)                                                                          \
    XX(CL_INVALID_BUILD_OPTIONS)                                                                   \
    XX(CL_INVALID_PROGRAM)                                                                         \
    XX(CL_INVALID_PROGRAM_EXECUTABLE)                                                              \
    XX(CL_INVALID_KERNEL_NAME)                                                                     \
    XX(CL_INVALID_KERNEL)                                                                          \
    XX(CL_INVALID_ARG_INDEX)                                                                       \
    XX(CL_INVALID_ARG_VALUE)                                                                       \
    XX(CL_INVALID_ARG_SIZE)                                                                        \
    XX(CL_INVALID_KERNEL_ARGS)                                                                     \
    XX(CL_INVALID_WORK_DIMENSION)                                                                  \
    XX(CL_INVALID_WORK_GROUP_SIZE)                                                                 \
    XX(CL_INVALID_WORK_ITEM_SIZE)                                                                  \
    XX(CL_INVALID_EVENT_WAIT_LIST)                                                                 \
    XX(CL_INVALID_OPERATION)                                                                       \
    XX(CL_INVALID_BUFFER_SIZE)                                                                     \
    XX(CL_INVALID_GLOBAL_WORK_SIZE)

const char *wa_cl_error_name(cl_int code)
{
    switch (code) {
#define NAME(name)                                                                                 \
    case name:                                                                                     \
        return #name;
        CL_ERROR_MAP(NAME)
#undef NAME
    default:
        return "an unknown OpenCL error";
    }
}

wa_status wa_cl_fail(struct wa_error *err, cl_int code, const char *call, const char *file,
                     int line)
{
    bool is_memory = code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_HOST_MEMORY;
    const char *end = strchr(call, '(');
    return wa_fail(err, is_memory ? WA_E_MEMORY : WA_E_DEVICE, "%.*s returned %s (%d) at %s:%d%s",
                   end ? (int)(end - call) : (int)strlen(call), call, wa_cl_error_name(code),
                   (int)code, file, line,
                   is_memory ? "; the device is out of memory: lower \"batch\" or the width" : "");
}

const char *wa_device_type_name(cl_device_type type)
{
    return type & CL_DEVICE_TYPE_GPU ? "GPU" : type & CL_DEVICE_TYPE_CPU ? "CPU" : "accelerator";
}

static void device_text(cl_device_id id, cl_device_info what, char *ret_text)
{
    ret_text[0] = '\0';
    if (clGetDeviceInfo(id, what, WA_DEVICE_TEXT - 1, ret_text, NULL) != CL_SUCCESS) {
        (void)snprintf(ret_text, WA_DEVICE_TEXT, "unknown");
    }
    ret_text[WA_DEVICE_TEXT - 1] = '\0';
    /* Some drivers pad names with blanks. */
    char *start = ret_text + strspn(ret_text, " ");
    memmove(ret_text, start, strlen(start) + 1);
    for (size_t n = strlen(ret_text); n > 0 && ret_text[n - 1] == ' '; n--) {
        ret_text[n - 1] = '\0';
    }
}

static void read_info(cl_platform_id platform, cl_device_id id, struct wa_device_info *ret_info)
{
    struct wa_device_info info = {.platform = platform, .id = id};
    device_text(id, CL_DEVICE_NAME, info.name);
    device_text(id, CL_DEVICE_VENDOR, info.vendor);
    device_text(id, CL_DRIVER_VERSION, info.driver);
    device_text(id, CL_DEVICE_VERSION, info.version);
    (void)clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof info.platform_name - 1,
                            info.platform_name, NULL);
    (void)clGetPlatformInfo(platform, CL_PLATFORM_VERSION, sizeof info.platform_version - 1,
                            info.platform_version, NULL);
    cl_bool available = CL_FALSE;
    cl_bool compiler = CL_FALSE;
#define READ(what, field) (void)clGetDeviceInfo(id, what, sizeof(field), &(field), NULL)
    READ(CL_DEVICE_TYPE, info.type);
    READ(CL_DEVICE_MAX_COMPUTE_UNITS, info.compute_units);
    READ(CL_DEVICE_MAX_CLOCK_FREQUENCY, info.clock_mhz);
    READ(CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, info.native_vector_width);
    READ(CL_DEVICE_GLOBAL_MEM_CACHE_SIZE, info.cache_bytes);
    READ(CL_DEVICE_GLOBAL_MEM_SIZE, info.global_bytes);
    READ(CL_DEVICE_MAX_MEM_ALLOC_SIZE, info.allocation_bytes);
    READ(CL_DEVICE_LOCAL_MEM_SIZE, info.local_bytes);
    READ(CL_DEVICE_MAX_WORK_GROUP_SIZE, info.work_group_size);
    READ(CL_DEVICE_AVAILABLE, available);
    READ(CL_DEVICE_COMPILER_AVAILABLE, compiler);
#undef READ
    info.is_available = available && compiler;
    *ret_info = info;
}

static unsigned long units_asked_for(void)
{
    const char *text = getenv(WA_DEVICE_UNITS_VARIABLE);
    return text ? strtoul(text, NULL, 10) : 0;
}

/* PoCL is told before it starts how many threads it is to have. It can make sub-devices, too, but then wakes
 * all its threads for each launch: 49,000 context switches in two seconds of a narrow net instead of 3,000. */
static void ask_pocl_for_a_share(void)
{
    if (units_asked_for() > 0) {
        (void)setenv("POCL_MAX_PTHREAD_COUNT", getenv(WA_DEVICE_UNITS_VARIABLE), 0);
    }
}

wa_status wa_device_list_init(struct wa_device_list *ret_list, struct wa_error *err)
{
    *ret_list = (struct wa_device_list){0};
    ask_pocl_for_a_share();
    cl_uint platform_count = 0;
    /* Without any platform the loader returns an error of its own (-1001): an empty list to us. */
    if (clGetPlatformIDs(0, NULL, &platform_count) != CL_SUCCESS || platform_count == 0) {
        return WA_OK;
    }
    wa_status status = WA_OK;
    cl_platform_id *platforms = calloc(platform_count, sizeof *platforms);
    cl_device_id *ids = NULL;
    struct wa_device_list list = {0};
    if (!platforms) {
        status = wa_fail(err, WA_E_MEMORY, "out of memory");
        goto done;
    }
    status = WA_CL(err, clGetPlatformIDs(platform_count, platforms, NULL));
    for (cl_uint p = 0; p < platform_count && status == WA_OK; p++) {
        cl_uint count = 0;
        if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, 0, NULL, &count) != CL_SUCCESS ||
            count == 0) {
            continue; /* a platform without devices */
        }
        cl_device_id *more_ids = realloc(ids, count * sizeof *ids);
        struct wa_device_info *more =
            more_ids ? realloc(list.items, (list.count + count) * sizeof *list.items) : NULL;
        ids = more_ids ? more_ids : ids;
        list.items = more ? more : list.items;
        if (!more) {
            status = wa_fail(err, WA_E_MEMORY, "out of memory");
            break;
        }
        status = WA_CL(err, clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, count, ids, NULL));
        for (cl_uint d = 0; d < count && status == WA_OK; d++) {
            read_info(platforms[p], ids[d], &list.items[list.count++]);
        }
    }
done:
    free(platforms);
    free(ids);
    if (status == WA_OK) {
        *ret_list = list;
    } else {
        free(list.items);
    }
    return status;
}

void wa_device_list_finish(struct wa_device_list *list)
{
    free(list->items);
    *list = (struct wa_device_list){0};
}

static bool contains_ignoring_case(const char *text, const char *part)
{
    size_t n = strlen(part);
    for (; *text; text++) {
        size_t i = 0;
        while (i < n && tolower((unsigned char)text[i]) == tolower((unsigned char)part[i])) {
            i++;
        }
        if (i == n) {
            return true;
        }
    }
    return n == 0;
}

static wa_status no_such_device(const struct wa_device_list *list, const char *selector,
                                bool is_of_variable, struct wa_error *err)
{
    char found[1500] = "";
    size_t used = 0;
    for (size_t i = 0; i < list->count && used < sizeof found; i++) {
        int n = snprintf(found + used, sizeof found - used, "%s%zu: %s (%s)", i ? ", " : "", i,
                         list->items[i].name, list->items[i].platform_name);
        used += n > 0 ? (size_t)n : 0;
    }
    return wa_fail(err, WA_E_NO_DEVICE, "no OpenCL device matches '%s'%s; found %s", selector,
                   is_of_variable ? ", the value of WALIGN_DEVICE" : "", found);
}

static int device_rank(const struct wa_device_info *info)
{
    return !info->is_available               ? 0
           : info->type & CL_DEVICE_TYPE_GPU ? 3
           : info->type & CL_DEVICE_TYPE_CPU ? 2
                                             : 1;
}

wa_status wa_device_choose(const struct wa_device_list *list, const char *selector,
                           size_t *ret_index, struct wa_error *err)
{
    if (list->count == 0) {
        return wa_fail(err, WA_E_NO_DEVICE, "no OpenCL device found: " WA_DEVICE_NONE_ADVICE);
    }
    const char *wanted = selector ? selector : getenv("WALIGN_DEVICE");
    size_t chosen = list->count;
    if (!wanted || !*wanted) {
        for (size_t i = 0; i < list->count; i++) {
            if (chosen == list->count ||
                device_rank(&list->items[i]) > device_rank(&list->items[chosen])) {
                chosen = i;
            }
        }
    } else if (wanted[strspn(wanted, "0123456789")] == '\0') {
        unsigned long index = strtoul(wanted, NULL, 10);
        chosen = index < list->count ? (size_t)index : list->count;
    } else {
        for (size_t i = list->count; i-- > 0;) {
            if (contains_ignoring_case(list->items[i].name, wanted) ||
                contains_ignoring_case(list->items[i].platform_name, wanted)) {
                chosen = i;
            }
        }
    }
    if (chosen == list->count) {
        return no_such_device(list, wanted, !selector, err);
    }
    if (!list->items[chosen].is_available) {
        return wa_fail(err, WA_E_NO_DEVICE,
                       "device %zu, %s (%s), is not available or has no compiler", chosen,
                       list->items[chosen].name, list->items[chosen].platform_name);
    }
    *ret_index = chosen;
    return WA_OK;
}

/* Takes a share of a CPU device, if one is asked for. A driver that cannot divide it (and the
 * scheduler's choice of processors) leaves the whole device: slower beside others, not wrong. */
static void take_share(struct wa_device *device)
{
    unsigned long units = units_asked_for();
    if (units == 0 || units >= device->info.compute_units ||
        !(device->info.type & CL_DEVICE_TYPE_CPU)) {
        return;
    }
    const cl_device_partition_property properties[] = {CL_DEVICE_PARTITION_BY_COUNTS,
                                                       (cl_device_partition_property)units,
                                                       CL_DEVICE_PARTITION_BY_COUNTS_LIST_END, 0};
    cl_device_id part = NULL;
    if (clCreateSubDevices(device->info.id, properties, 1, &part, NULL) == CL_SUCCESS && part) {
        device->part = part;
        device->info.id = part;
        device->info.compute_units = (cl_uint)units;
    }
}

wa_status wa_device_open(const struct wa_device_list *list, size_t index, bool profile,
                         struct wa_device **ret_device, struct wa_error *err)
{
    struct wa_device *device = calloc(1, sizeof *device);
    if (!device) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    device->info = list->items[index];
    device->index = index;
    take_share(device);
    cl_int code = CL_SUCCESS;
    cl_context_properties properties[] = {CL_CONTEXT_PLATFORM,
                                          (cl_context_properties)device->info.platform, 0};
    device->context = clCreateContext(properties, 1, &device->info.id, NULL, NULL, &code);
    wa_status status = WA_CL(err, code);
    if (status == WA_OK) {
        device->queue = clCreateCommandQueue(device->context, device->info.id,
                                             profile ? CL_QUEUE_PROFILING_ENABLE : 0, &code);
        status = WA_CL(err, code);
    }
    if (status != WA_OK) {
        wa_error_prefix(err, "device %s: ", device->info.name);
        wa_device_close(device);
        return status;
    }
    *ret_device = device;
    return WA_OK;
}

void wa_device_close(struct wa_device *device)
{
    if (!device) {
        return;
    }
    if (device->queue) {
        (void)clFinish(device->queue);
        (void)clReleaseCommandQueue(device->queue);
    }
    if (device->context) {
        (void)clReleaseContext(device->context);
    }
    if (device->part) {
        (void)clReleaseDevice(device->part);
    }
    free(device);
}
