/* An open device with its programs, memory account and launches. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "large_pages.h"

enum {
    LOCAL_RESERVE_BYTES = 2048,
    MAX_GROUP_ITEMS = 256,
    MAX_WRITTEN_ZEROS = 1 << 20,
    MIN_CACHE_BYTES = 16 << 20
};

static size_t power_of_two_below(size_t limit)
{
    size_t power = 1;
    while (power * 2 <= limit) {
        power *= 2;
    }
    return power;
}

static enum wa_path choose_path(const char *path, const struct wa_device_info *info)
{
    /* A CPU without vectors of its own (Mesa's llvmpipe) compiles scalar kernels only. */
    bool is_gpu = (info->type & CL_DEVICE_TYPE_GPU) != 0 || info->native_vector_width < 4;
    return path && strcmp(path, "cpu") == 0   ? WA_PATH_CPU
           : path && strcmp(path, "gpu") == 0 ? WA_PATH_GPU
           : is_gpu                           ? WA_PATH_GPU
                                              : WA_PATH_CPU;
}

void wa_engine_use_vectors(struct wa_engine *engine, int width)
{
    engine->vector_width = width;
    engine->registers = width == 16 ? WA_MANY_REGISTERS : WA_MANY_REGISTERS / 2;
    engine->output_block = engine->registers / 4; /* x 3 vectors of sums */
}

void wa_engine_init(struct wa_engine *ret_engine, struct wa_device *device,
                    struct wa_programs *programs, const char *path)
{
    struct wa_engine engine = {.device = device, .programs = programs};
    engine.path = choose_path(path, &device->info);
    /* The native width is the registers'; some drivers prefer 1 but are 16 wide. */
    cl_uint width = device->info.native_vector_width;
    wa_engine_use_vectors(&engine, width >= 16 ? 16 : width >= 8 ? 8 : 4);
    cl_ulong local = device->info.local_bytes;
    engine.local_bytes = local > LOCAL_RESERVE_BYTES ? (size_t)local - LOCAL_RESERVE_BYTES : 0;
    if (engine.local_bytes > ((size_t)1 << 20)) {
        engine.local_bytes = (size_t)1 << 20; /* more would leave the cache anyway */
    }
    /* some drivers name a core's own cache only */
    cl_ulong cache = device->info.cache_bytes;
    engine.cache_bytes = cache > MIN_CACHE_BYTES ? (size_t)cache : MIN_CACHE_BYTES;
    size_t items = device->info.work_group_size;
    engine.group_items = power_of_two_below(items < MAX_GROUP_ITEMS ? items : MAX_GROUP_ITEMS);
    *ret_engine = engine;
}

static wa_status check_size(const struct wa_engine *engine, size_t bytes, const char *what,
                            struct wa_error *err)
{
    const struct wa_device_info *info = &engine->device->info;
    if (bytes > info->allocation_bytes) {
        return wa_fail(
            err, WA_E_MEMORY,
            "%s needs %.1f MB in one piece, the device allows %.1f MB: lower \"batch\" or "
            "the width",
            what, (double)bytes / 1e6, (double)info->allocation_bytes / 1e6);
    }
    if (engine->bytes + bytes > info->global_bytes) {
        return wa_fail(err, WA_E_MEMORY,
                       "%s needs %.1f MB beside the %.1f MB in use, the device has %.1f MB: lower "
                       "\"batch\" or the width",
                       what, (double)bytes / 1e6, (double)engine->bytes / 1e6,
                       (double)info->global_bytes / 1e6);
    }
    return WA_OK;
}

static wa_status fill_with_zeros(struct wa_engine *engine, cl_mem buffer, size_t bytes,
                                 struct wa_error *err)
{
    if (bytes > MAX_WRITTEN_ZEROS) {
        const cl_uchar zero = 0;
        return WA_CL(err, clEnqueueFillBuffer(engine->device->queue, buffer, &zero, sizeof zero, 0,
                                              bytes, 0, NULL, NULL));
    }
    /* Oclgrind takes what a fill leaves for uninitialised. */
    void *zeros = calloc(1, bytes);
    wa_status status = zeros ? wa_engine_write(engine, buffer, 0, zeros, bytes, err)
                             : wa_fail(err, WA_E_MEMORY, "out of memory");
    free(zeros);
    return status;
}

/* ---- Buffers in large pages ------------------------------------------------------------------ */

struct host_memory {
    void *memory;
    size_t bytes;
};

static void CL_CALLBACK free_host_memory(cl_mem buffer, void *context)
{
    (void)buffer;
    struct host_memory *host = context;
    wa_large_pages_free(host->memory, host->bytes);
    free(host);
}

/* A large buffer of a CPU device, of zeros; NULL: the driver's own memory has to do. */
static cl_mem create_in_large_pages(struct wa_engine *engine, size_t bytes)
{
    cl_mem buffer = NULL;
    if (bytes < WA_LARGE_PAGE_BYTES || !(engine->device->info.type & CL_DEVICE_TYPE_CPU)) {
        return NULL;
    }
    struct host_memory *host = malloc(sizeof *host);
    void *memory = host ? wa_large_pages_allocate(bytes) : NULL;
    if (memory) {
        *host = (struct host_memory){.memory = memory, .bytes = bytes};
        buffer = clCreateBuffer(engine->device->context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR,
                                bytes, memory, NULL);
    }
    if (buffer && clSetMemObjectDestructorCallback(buffer, free_host_memory, host) != CL_SUCCESS) {
        (void)clReleaseMemObject(buffer);
        buffer = NULL;
    }
    if (!buffer) {
        if (memory) {
            wa_large_pages_free(memory, bytes);
        }
        free(host);
    }
    return buffer;
}

static wa_status create_buffer(struct wa_engine *engine, size_t bytes, cl_mem *ret_buffer,
                               struct wa_error *err)
{
    *ret_buffer = create_in_large_pages(engine, bytes);
    if (*ret_buffer) {
        return WA_OK;
    }
    cl_int code = CL_SUCCESS;
    *ret_buffer = clCreateBuffer(engine->device->context, CL_MEM_READ_WRITE, bytes, NULL, &code);
    wa_status status = WA_CL(err, code);
    return status == WA_OK ? fill_with_zeros(engine, *ret_buffer, bytes, err) : status;
}

static void count_buffer(struct wa_memory_plan *plan, size_t bytes, const char *what)
{
    plan->bytes += bytes;
    if (bytes > plan->largest_bytes) {
        plan->largest_bytes = bytes;
        plan->largest = what;
    }
}

wa_status wa_engine_buffer(struct wa_engine *engine, size_t bytes, const char *what,
                           cl_mem *ret_buffer, struct wa_error *err)
{
    bytes = bytes ? bytes : sizeof(float); /* an empty buffer is not a buffer */
    if (engine->plan) {
        count_buffer(engine->plan, bytes, what);
        *ret_buffer = NULL;
        return WA_OK;
    }
    wa_status status = check_size(engine, bytes, what, err);
    if (status != WA_OK) {
        return status;
    }
    cl_mem buffer = NULL;
    status = create_buffer(engine, bytes, &buffer, err);
    if (status != WA_OK) {
        wa_error_prefix(err, "%s (%.1f MB): ", what, (double)bytes / 1e6);
        if (buffer) {
            (void)clReleaseMemObject(buffer);
        }
        return status;
    }
    engine->bytes += bytes;
    if (engine->bytes > engine->peak_bytes) {
        engine->peak_bytes = engine->bytes;
    }
    *ret_buffer = buffer;
    return WA_OK;
}

wa_status wa_engine_buffer_from(struct wa_engine *engine, const void *data, size_t bytes,
                                const char *what, cl_mem *ret_buffer, struct wa_error *err)
{
    cl_mem buffer = NULL;
    wa_status status = wa_engine_buffer(engine, bytes, what, &buffer, err);
    if (status == WA_OK && bytes && !engine->plan) {
        status = wa_engine_write(engine, buffer, 0, data, bytes, err);
    }
    if (status != WA_OK) {
        wa_engine_release(engine, buffer);
        return status;
    }
    *ret_buffer = buffer;
    return WA_OK;
}

void wa_engine_release(struct wa_engine *engine, cl_mem buffer)
{
    if (!buffer) {
        return;
    }
    size_t bytes = 0;
    (void)clGetMemObjectInfo(buffer, CL_MEM_SIZE, sizeof bytes, &bytes, NULL);
    engine->bytes -= bytes < engine->bytes ? bytes : engine->bytes;
    (void)clReleaseMemObject(buffer);
}

wa_status wa_engine_read(struct wa_engine *engine, cl_mem buffer, size_t offset_bytes,
                         void *ret_data, size_t bytes, struct wa_error *err)
{
    return WA_CL(err, clEnqueueReadBuffer(engine->device->queue, buffer, CL_TRUE, offset_bytes,
                                          bytes, ret_data, 0, NULL, NULL));
}

wa_status wa_engine_write(struct wa_engine *engine, cl_mem buffer, size_t offset_bytes,
                          const void *data, size_t bytes, struct wa_error *err)
{
    return WA_CL(err, clEnqueueWriteBuffer(engine->device->queue, buffer, CL_TRUE, offset_bytes,
                                           bytes, data, 0, NULL, NULL));
}

struct wa_program_spec wa_engine_spec(const struct wa_engine *engine, const char *file,
                                      const char *options, char *buffer, size_t buffer_bytes)
{
    bool is_vector = strncmp(file, "cpu_", 4) == 0;
    int used = is_vector ? snprintf(buffer, buffer_bytes,
                                    "-cl-std=CL1.2 -D WIDTH=%d -D REGISTERS=%d -D OUTS=%d",
                                    engine->vector_width, engine->registers, engine->output_block)
                         : snprintf(buffer, buffer_bytes, "-cl-std=CL1.2");
    if (options && used > 0 && (size_t)used < buffer_bytes) {
        (void)snprintf(buffer + used, buffer_bytes - (size_t)used, " %s", options);
    }
    return (struct wa_program_spec){
        .prelude = is_vector ? "vector.cl" : NULL, .file = file, .options = buffer};
}

wa_status wa_engine_kernel(struct wa_engine *engine, const char *file, const char *name,
                           const char *options, cl_kernel *ret_kernel, struct wa_error *err)
{
    if (engine->plan) {
        *ret_kernel = NULL;
        return WA_OK;
    }
    char text[512];
    struct wa_program_spec spec = wa_engine_spec(engine, file, options, text, sizeof text);
    cl_program program = NULL;
    wa_status status = wa_programs_get(engine->programs, &spec, &program, err);
    if (status != WA_OK) {
        return status;
    }
    cl_int code = CL_SUCCESS;
    cl_kernel kernel = clCreateKernel(program, name, &code);
    if (code != CL_SUCCESS) {
        return wa_fail(err, WA_E_DEVICE, "kernel '%s' of %s: %s", name, file,
                       wa_cl_error_name(code));
    }
    *ret_kernel = kernel;
    return WA_OK;
}

size_t wa_engine_group_limit(const struct wa_engine *engine, cl_kernel kernel)
{
    size_t items = 0;
    if (!kernel) { /* while memory is planned */
        return engine->group_items;
    }
    if (clGetKernelWorkGroupInfo(kernel, engine->device->info.id, CL_KERNEL_WORK_GROUP_SIZE,
                                 sizeof items, &items, NULL) != CL_SUCCESS) {
        return 1; /* always allowed */
    }
    return power_of_two_below(items < engine->group_items ? items : engine->group_items);
}

static cl_int set_arguments(cl_kernel kernel, const char *types, va_list arguments)
{
    cl_int code = CL_SUCCESS;
    for (cl_uint i = 0; types[i] && code == CL_SUCCESS; i++) {
        switch (types[i]) {
        case 'm': {
            cl_mem memory = va_arg(arguments, cl_mem);
            code = clSetKernelArg(kernel, i, sizeof memory, &memory);
            break;
        }
        case 'i': {
            cl_int value = va_arg(arguments, int);
            code = clSetKernelArg(kernel, i, sizeof value, &value);
            break;
        }
        case 'f': {
            cl_float value = (cl_float)va_arg(arguments, double);
            code = clSetKernelArg(kernel, i, sizeof value, &value);
            break;
        }
        case 'l':
            code = clSetKernelArg(kernel, i, va_arg(arguments, size_t), NULL);
            break;
        default:
            code = CL_INVALID_ARG_VALUE;
        }
    }
    return code;
}

static void kernel_name(cl_kernel kernel, char *ret_name, size_t bytes)
{
    if (clGetKernelInfo(kernel, CL_KERNEL_FUNCTION_NAME, bytes, ret_name, NULL) != CL_SUCCESS) {
        (void)snprintf(ret_name, bytes, "unknown");
    }
}

wa_status wa_engine_launch(struct wa_engine *engine, cl_kernel kernel, const struct wa_range *range,
                           struct wa_error *err, const char *types, ...)
{
    va_list arguments;
    va_start(arguments, types);
    cl_int code = set_arguments(kernel, types, arguments);
    va_end(arguments);
    cl_event event = NULL;
    if (code == CL_SUCCESS) {
        code = clEnqueueNDRangeKernel(engine->device->queue, kernel, range->dimensions, NULL,
                                      range->global, range->local[0] ? range->local : NULL, 0, NULL,
                                      engine->observer ? &event : NULL);
    }
    if (code != CL_SUCCESS) {
        char name[128];
        kernel_name(kernel, name, sizeof name);
        return wa_fail(err, WA_E_DEVICE, "launching kernel '%s' (%zu x %zu x %zu): %s", name,
                       range->global[0], range->global[1], range->global[2],
                       wa_cl_error_name(code));
    }
    engine->launches++;
    if (engine->observer) {
        char name[128];
        kernel_name(kernel, name, sizeof name);
        engine->observer(engine->observer_context, name, event, event);
        (void)clReleaseEvent(event);
    }
    return WA_OK;
}

void wa_engine_note_work(struct wa_engine *engine, const struct wa_work *work, uint64_t flop,
                         uint64_t bytes)
{
    engine->work = *work;
    engine->flop += flop;
    engine->traffic += bytes;
}

wa_status wa_engine_finish(struct wa_engine *engine, struct wa_error *err)
{
    return WA_CL(err, clFinish(engine->device->queue));
}
