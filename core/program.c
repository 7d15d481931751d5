/* OpenCL programs and their cache on disk. */
#include "program.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "kernel_sources.h"
#include "log.h"
#include "processors.h"
#include "sha256.h"

enum { MAX_SOURCE_BYTES = 1 << 20, MAX_ENTRY_BYTES = 64 << 20, MAX_BUILDERS = 8 };

/* Bump when what an entry holds changes. */
static const char entry_magic[8] = "WAKERN1";

struct program {
    char key[WA_SHA256_HEX_BYTES];
    cl_program program;
    bool is_stored; /* on disk, or not to be */
    struct program *next;
};

struct wa_programs {
    const struct wa_device *device;
    char *folder; /* for entries and compilers' logs; NULL: no such folder */
    bool keeps_entries, stores_late;
    struct program *first;
    size_t compiled;
};

/* ---- Source --------------------------------------------------------------------------------- */

/* $WALIGN_KERNELS names a folder whose files are read instead of the embedded ones, for those who
 * work on kernels. */
static wa_status read_source(const char *name, char **ret_text, struct wa_error *err)
{
    const char *folder = getenv("WALIGN_KERNELS");
    if (folder && *folder) {
        char *path = wa_file_join(folder, name);
        unsigned char *data = NULL;
        size_t size = 0;
        wa_status status = path ? wa_file_read_all(path, MAX_SOURCE_BYTES, &data, &size, err)
                                : wa_fail(err, WA_E_MEMORY, "out of memory");
        free(path);
        *ret_text = (char *)data;
        return status;
    }
    for (size_t i = 0; i < wa_kernel_sources_count; i++) {
        if (strcmp(wa_kernel_sources[i].name, name) == 0) {
            *ret_text = strdup(wa_kernel_sources[i].text);
            return *ret_text ? WA_OK : wa_fail(err, WA_E_MEMORY, "out of memory");
        }
    }
    return wa_fail(err, WA_E_FAILED, "no kernel file '%s' in this build", name);
}

/* The text with `part` in place of the bytes from `begin` to `end`. Frees the old one; NULL: no memory. */
static char *replace_part(char *text, size_t begin, size_t end, const char *part)
{
    size_t length = strlen(text);
    size_t part_length = strlen(part);
    char *changed = malloc(length - (end - begin) + part_length + 1);
    if (changed) {
        memcpy(changed, text, begin);
        memcpy(changed + begin, part, part_length);
        memcpy(changed + begin + part_length, text + end, length - end + 1);
    }
    free(text);
    return changed;
}

/* Replaces the first line `#include "NAME"`, if there is one, by the file of that name. The drivers see
 * one text, whatever they think of include paths. */
static wa_status expand_include(const char *file, char **text, bool *ret_is_found, struct wa_error *err)
{
    static const char directive[] = "\n#include \"";
    const char *line = strstr(*text, directive);
    const char *name = line ? line + sizeof directive - 1 : NULL;
    const char *quote = name ? strchr(name, '"') : NULL;
    *ret_is_found = quote != NULL;
    if (!quote) {
        return WA_OK;
    }
    size_t number = 2; /* of the line after the directive */
    for (const char *c = *text; c <= line; c++) {
        number += *c == '\n' ? 1 : 0;
    }
    char included[64];
    (void)snprintf(included, sizeof included, "%.*s", (int)(quote - name), name);
    char *content = NULL;
    wa_status status = read_source(included, &content, err);
    if (status != WA_OK) {
        return status;
    }
    size_t size = strlen(content) + strlen(included) + strlen(file) + 96;
    char *part = malloc(size);
    if (part) {
        /* #line: the compiler's messages then count in the file that they are about. */
        (void)snprintf(part, size, "#line 1 \"%s\"\n%s\n#line %zu \"%s\"", included, content, number, file);
        *text = replace_part(*text, (size_t)(line + 1 - *text), (size_t)(quote + 1 - *text), part);
    }
    free(content);
    status = part && *text ? WA_OK : wa_fail(err, WA_E_MEMORY, "out of memory");
    free(part);
    return status;
}

static wa_status spec_source(const struct wa_program_spec *spec, char **ret_text,
                             struct wa_error *err)
{
    char *prelude = NULL;
    char *text = NULL;
    wa_status status = spec->prelude ? read_source(spec->prelude, &prelude, err) : WA_OK;
    if (status == WA_OK) {
        status = read_source(spec->file, &text, err);
    }
    bool has_include = true;
    while (status == WA_OK && has_include) {
        status = expand_include(spec->file, &text, &has_include, err);
    }
    if (status == WA_OK && prelude) {
        size_t size = strlen(prelude) + strlen(text) + 64 + strlen(spec->file);
        char *both = malloc(size);
        if (both) {
            (void)snprintf(both, size, "%s\n#line 1 \"%s\"\n%s", prelude, spec->file, text);
        } else {
            status = wa_fail(err, WA_E_MEMORY, "out of memory");
        }
        free(text);
        text = both;
    }
    free(prelude);
    if (status == WA_OK) {
        *ret_text = text;
    } else {
        free(text);
    }
    return status;
}

static void program_key(const struct wa_device *device, const char *text, const char *options,
                        char ret_key[WA_SHA256_HEX_BYTES])
{
    const struct wa_device_info *info = &device->info;
    const char *parts[] = {entry_magic,  text,           options,
                           info->name,   info->vendor,   info->version,
                           info->driver, info->platform_name, info->platform_version};
    struct wa_sha256 hash;
    wa_sha256_init(&hash);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        wa_sha256_update(&hash, parts[i], strlen(parts[i]) + 1);
    }
    wa_sha256_finish(&hash, ret_key);
}

/* ---- Building ------------------------------------------------------------------------------- */

/* The compiler's log goes to a file beside the cache, its first lines into the message. */
static wa_status build_failure(const char *name, const char *folder, cl_program program,
                               cl_device_id id, const char *options, cl_int code,
                               struct wa_error *err)
{
    size_t size = 0;
    char *log = NULL;
    (void)clGetProgramBuildInfo(program, id, CL_PROGRAM_BUILD_LOG, 0, NULL, &size);
    log = calloc(1, size + 1);
    if (log) {
        (void)clGetProgramBuildInfo(program, id, CL_PROGRAM_BUILD_LOG, size, log, NULL);
    }
    char path[4096] = "";
    if (log && folder) {
        (void)snprintf(path, sizeof path, "%s/build-failure.log", folder);
        struct wa_error ignored = {0};
        if (wa_file_write_atomic(path, log, strlen(log), &ignored) != WA_OK) {
            path[0] = '\0';
        }
    }
    int shown = log ? (int)strcspn(log, "\n") : 0;
    wa_status status = wa_fail(err, WA_E_DEVICE,
                               "building %s with '%s' failed: %s: %.*s; the compiler's whole log: %s",
                               name, options, wa_cl_error_name(code), shown < 300 ? shown : 300,
                               log ? log : "", path[0] ? path : "(could not be written)");
    free(log);
    return status;
}

static wa_status compile(cl_context context, cl_device_id id, const char *name, const char *folder,
                         const char *text, const char *options, cl_program *ret_program,
                         struct wa_error *err)
{
    cl_int code = CL_SUCCESS;
    cl_program program = clCreateProgramWithSource(context, 1, &text, NULL, &code);
    if (code != CL_SUCCESS) {
        return WA_CL(err, code);
    }
    code = clBuildProgram(program, 1, &id, options, NULL, NULL);
    if (code != CL_SUCCESS) {
        wa_status status = build_failure(name, folder, program, id, options, code, err);
        (void)clReleaseProgram(program);
        return status;
    }
    *ret_program = program;
    return WA_OK;
}

/* ---- Entries on disk ------------------------------------------------------------------------ */

static char *entry_path(const char *folder, const char *key)
{
    char name[WA_SHA256_HEX_BYTES + 8];
    (void)snprintf(name, sizeof name, "%s.bin", key);
    return wa_file_join(folder, name);
}

/* Any failure here only means that the program is compiled again next time. */
static void store_entry(const char *folder, const char *key, cl_program program)
{
    size_t size = 0;
    if (clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof size, &size, NULL) != CL_SUCCESS ||
        size == 0 || size > MAX_ENTRY_BYTES / 2) {
        return;
    }
    const size_t head = sizeof entry_magic + WA_SHA256_HEX_BYTES;
    unsigned char *entry = malloc(head + size);
    char *path = entry_path(folder, key);
    if (entry && path) {
        unsigned char *binary = entry + head;
        if (clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL) ==
            CL_SUCCESS) {
            memcpy(entry, entry_magic, sizeof entry_magic);
            wa_sha256_hex(binary, size, (char *)entry + sizeof entry_magic);
            struct wa_error ignored = {0};
            if (wa_file_write_atomic(path, entry, head + size, &ignored) != WA_OK) {
                wa_log(WA_LOG_DEBUG, "%s, ignoring", ignored.message);
            }
        }
    }
    free(entry);
    free(path);
}

static cl_program program_from_entry(const struct wa_device *device, const unsigned char *entry,
                                     size_t size)
{
    const size_t head = sizeof entry_magic + WA_SHA256_HEX_BYTES;
    char hash[WA_SHA256_HEX_BYTES];
    if (size <= head || memcmp(entry, entry_magic, sizeof entry_magic) != 0) {
        return NULL;
    }
    const unsigned char *binary = entry + head;
    size_t binary_size = size - head;
    wa_sha256_hex(binary, binary_size, hash);
    if (memcmp(hash, entry + sizeof entry_magic, sizeof hash) != 0) {
        return NULL;
    }
    cl_int code = CL_SUCCESS;
    cl_int binary_code = CL_SUCCESS;
    cl_program program = clCreateProgramWithBinary(device->context, 1, &device->info.id,
                                                   &binary_size, &binary, &binary_code, &code);
    if (code == CL_SUCCESS) {
        code = clBuildProgram(program, 1, &device->info.id, NULL, NULL, NULL);
    }
    if (code != CL_SUCCESS && program) {
        (void)clReleaseProgram(program);
        program = NULL;
    }
    return code == CL_SUCCESS ? program : NULL;
}

static cl_program load_entry(const struct wa_programs *programs, const char *key)
{
    if (!programs->keeps_entries) {
        return NULL;
    }
    char *path = entry_path(programs->folder, key);
    unsigned char *entry = NULL;
    size_t size = 0;
    cl_program program = NULL;
    struct wa_error ignored = {0};
    if (path && wa_file_exists(path) &&
        wa_file_read_all(path, MAX_ENTRY_BYTES, &entry, &size, &ignored) == WA_OK) {
        program = program_from_entry(programs->device, entry, size);
        if (!program) {
            wa_log(WA_LOG_WARNING, "kernel cache: %s is damaged or of another driver: rebuilt", path);
            (void)unlink(path);
        }
    }
    free(entry);
    free(path);
    return program;
}

/* ---- Public --------------------------------------------------------------------------------- */

/* NULL when it cannot be written to, which matters to those who want to keep entries there. */
static char *cache_folder(bool keeps_entries)
{
    char *folder = wa_file_cache_path("kernels");
    struct wa_error ignored = {0};
    if (!folder || wa_files_make_folders(folder, 0700, &ignored) != WA_OK ||
        access(folder, W_OK | X_OK) != 0) {
        wa_log(keeps_entries ? WA_LOG_WARNING : WA_LOG_DEBUG,
               "no kernel cache (%s), ignoring: programs are built at each start",
               ignored.status != WA_OK ? ignored.message : "set XDG_CACHE_HOME to a writable folder");
        free(folder);
        return NULL;
    }
    return folder;
}

/* PoCL's clBuildProgram stops at an intermediate form: kernels are compiled when they are launched, for
 * the size of their groups, and asking for a program's binary compiles all of them once more. So programs
 * are not built ahead there, and entries are written at the end, with what the launches compiled. */
static bool compiles_at_launch(const struct wa_device *device)
{
    return strstr(device->info.platform_name, "Portable Computing Language") != NULL;
}

/* PoCL keeps what launches compiled in a cache of its own, unless it is told not to. An entry of ours
 * beside it would only cost the compilation of the binary, as much again as the whole start. */
static bool has_own_cache(const struct wa_device *device)
{
    const char *setting = getenv("POCL_KERNEL_CACHE");
    return compiles_at_launch(device) && !(setting && strcmp(setting, "0") == 0);
}

wa_status wa_programs_create(const struct wa_device *device, struct wa_programs **ret_programs,
                             struct wa_error *err)
{
    struct wa_programs *programs = calloc(1, sizeof *programs);
    if (!programs) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    programs->device = device;
    bool wants_entries = !has_own_cache(device);
    programs->folder = cache_folder(wants_entries);
    programs->keeps_entries = wants_entries && programs->folder;
    programs->stores_late = compiles_at_launch(device);
    *ret_programs = programs;
    return WA_OK;
}

void wa_programs_destroy(struct wa_programs *programs)
{
    if (!programs) {
        return;
    }
    for (struct program *p = programs->first; p;) {
        struct program *next = p->next;
        if (programs->keeps_entries && !p->is_stored) {
            store_entry(programs->folder, p->key, p->program);
        }
        (void)clReleaseProgram(p->program);
        free(p);
        p = next;
    }
    free(programs->folder);
    free(programs);
}

wa_status wa_programs_get_text(struct wa_programs *programs, const char *name, const char *text,
                               const char *options, cl_program *ret_program, struct wa_error *err)
{
    char key[WA_SHA256_HEX_BYTES];
    program_key(programs->device, text, options, key);
    for (struct program *p = programs->first; p; p = p->next) {
        if (strcmp(p->key, key) == 0) {
            *ret_program = p->program;
            return WA_OK;
        }
    }
    struct program *entry = calloc(1, sizeof *entry);
    if (!entry) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    entry->program = load_entry(programs, key);
    wa_status status = WA_OK;
    if (!entry->program) {
        status = compile(programs->device->context, programs->device->info.id, name,
                         programs->folder, text, options, &entry->program, err);
        programs->compiled += status == WA_OK;
        if (status == WA_OK && programs->keeps_entries && !programs->stores_late) {
            store_entry(programs->folder, key, entry->program);
            entry->is_stored = true;
        }
    } else {
        entry->is_stored = true;
    }
    if (status != WA_OK) {
        free(entry);
        return status;
    }
    memcpy(entry->key, key, sizeof key);
    entry->next = programs->first;
    programs->first = entry;
    *ret_program = entry->program;
    return WA_OK;
}

wa_status wa_programs_get(struct wa_programs *programs, const struct wa_program_spec *spec,
                          cl_program *ret_program, struct wa_error *err)
{
    char *text = NULL;
    wa_status status = spec_source(spec, &text, err);
    if (status == WA_OK) {
        status = wa_programs_get_text(programs, spec->file, text, spec->options, ret_program, err);
    }
    free(text);
    return status;
}

size_t wa_programs_compiled(const struct wa_programs *programs)
{
    return programs->compiled;
}

/* ---- Building side by side ------------------------------------------------------------------ */

struct builders {
    struct wa_programs *programs;
    const struct wa_program_spec *specs;
    size_t count, next, compiled;
    pthread_mutex_t lock;
};

static void build_to_cache(struct builders *builders, cl_context context,
                           const struct wa_program_spec *spec)
{
    const struct wa_device *device = builders->programs->device;
    const char *folder = builders->programs->folder;
    char *text = NULL;
    struct wa_error ignored = {0};
    if (spec_source(spec, &text, &ignored) != WA_OK) {
        return;
    }
    char key[WA_SHA256_HEX_BYTES];
    program_key(device, text, spec->options, key);
    char *path = entry_path(folder, key);
    cl_program program = NULL;
    if (path && !wa_file_exists(path) &&
        compile(context, device->info.id, spec->file, folder, text, spec->options, &program,
                &ignored) == WA_OK) {
        store_entry(folder, key, program);
        (void)clReleaseProgram(program);
        (void)pthread_mutex_lock(&builders->lock);
        builders->compiled++;
        (void)pthread_mutex_unlock(&builders->lock);
    }
    free(path);
    free(text);
}

static void *builder(void *argument)
{
    struct builders *builders = argument;
    const struct wa_device *device = builders->programs->device;
    cl_int code = CL_SUCCESS;
    cl_context context = NULL;
    for (;;) {
        (void)pthread_mutex_lock(&builders->lock);
        size_t i = builders->next < builders->count ? builders->next++ : builders->count;
        (void)pthread_mutex_unlock(&builders->lock);
        if (i == builders->count) {
            break;
        }
        if (!context) {
            context = clCreateContext(NULL, 1, &device->info.id, NULL, NULL, &code);
        }
        if (code == CL_SUCCESS) {
            build_to_cache(builders, context, &builders->specs[i]);
        }
    }
    if (context) {
        (void)clReleaseContext(context);
    }
    return NULL;
}

void wa_programs_prebuild(struct wa_programs *programs, const struct wa_program_spec *specs,
                          size_t count)
{
    size_t wanted = wa_processors_threads(MAX_BUILDERS);
    wanted = wanted < count ? wanted : count;
    if (!programs->keeps_entries || programs->stores_late || wanted < 2) {
        return;
    }
    struct builders builders = {.programs = programs, .specs = specs, .count = count};
    pthread_t threads[MAX_BUILDERS];
    size_t started = 0;
    if (pthread_mutex_init(&builders.lock, NULL) != 0) {
        return;
    }
    while (started < wanted && pthread_create(&threads[started], NULL, builder, &builders) == 0) {
        started++;
    }
    for (size_t i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    (void)pthread_mutex_destroy(&builders.lock);
    programs->compiled += builders.compiled;
}
