/* A run of a sweep as a process. */
#define _GNU_SOURCE /* sched_setaffinity, nftw */
#include "sweep_child.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "device.h"
#include "files.h"

#define CONFIG_NAME "config.json"
#define LOG_NAME "train.log"

extern char **environ;

enum {
    CANNOT_START = 127,
    FIXED_ARGUMENTS = 13,
    MAX_LOG_BYTES = 16 << 20,
    REMOVE_DESCRIPTORS = 16
};

/* ---- Starting ------------------------------------------------------------------------------- */

/* All that the new process needs, made before the fork. */
struct start {
    char *config_path, *log_path;
    char device[24], units[48];
    const char **arguments;
    const char **environment;
    cpu_set_t processors;
};

static void finish_start(struct start *start)
{
    free(start->config_path);
    free(start->log_path);
    free(start->arguments);
    free(start->environment);
}

static void list_arguments(struct start *start, const struct wa_sweep_child *child)
{
    const char **to = start->arguments;
    *to++ = "walign";
    *to++ = "train";
    *to++ = "--paths-from";
    *to++ = child->paths_from;
    *to++ = "--device";
    *to++ = start->device;
    *to++ = "--out";
    *to++ = child->directory;
    *to++ = "--resume";
    *to++ = "--quiet";
    for (size_t i = 0; i < child->plugin_path_count; i++) {
        *to++ = "--plugin-path";
        *to++ = child->plugin_paths[i];
    }
    *to++ = "--"; /* the folder's name may start with a dash */
    *to++ = start->config_path;
    *to = NULL;
}

static void list_environment(struct start *start, const struct wa_sweep_child *child)
{
    static const char name[] = WA_DEVICE_UNITS_VARIABLE "=";
    const char **to = start->environment;
    for (char **from = environ; *from; from++) {
        if (strncmp(*from, name, sizeof name - 1) != 0) {
            *to++ = *from;
        }
    }
    if (child->units > 0) {
        (void)snprintf(start->units, sizeof start->units, "%s%zu", name, child->units);
        *to++ = start->units;
    }
    *to = NULL;
}

static wa_status prepare(struct start *start, const struct wa_sweep_child *child,
                         struct wa_error *err)
{
    size_t variables = 0;
    while (environ[variables]) {
        variables++;
    }
    start->config_path = wa_file_join(child->directory, CONFIG_NAME);
    start->log_path = wa_file_join(child->directory, LOG_NAME);
    start->arguments =
        calloc(FIXED_ARGUMENTS + 2 * child->plugin_path_count, sizeof *start->arguments);
    start->environment = calloc(variables + 2, sizeof *start->environment);
    if (!start->config_path || !start->log_path || !start->arguments || !start->environment) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    (void)snprintf(start->device, sizeof start->device, "%zu", child->device);
    list_arguments(start, child);
    list_environment(start, child);
    CPU_ZERO(&start->processors);
    for (size_t i = 0; i < child->processors.count; i++) {
        CPU_SET((size_t)child->processors.numbers[i], &start->processors);
    }
    wa_status status = wa_files_make_folders(child->directory, 0777, err);
    return status == WA_OK ? wa_file_write_atomic(start->config_path, child->config,
                                                  strlen(child->config), err)
                           : status;
}

/* In the new process: async-signal-safe calls only. Does not return. */
static void become(const struct start *start, bool has_processors, pid_t parent)
{
    sigset_t none;
    (void)sigemptyset(&none);
    int in = open("/dev/null", O_RDONLY);
    int out = open(start->log_path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    bool is_ready = in >= 0 && out >= 0 && dup2(in, STDIN_FILENO) >= 0 &&
                    dup2(out, STDOUT_FILENO) >= 0 && dup2(out, STDERR_FILENO) >= 0 &&
                    setpgid(0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 &&
                    getppid() == parent && sigprocmask(SIG_SETMASK, &none, NULL) == 0;
    if (in > STDERR_FILENO) {
        (void)close(in);
    }
    if (out > STDERR_FILENO) {
        (void)close(out);
    }
    /* a share of processors is for speed alone */
    if (has_processors) {
        (void)sched_setaffinity(0, sizeof start->processors, &start->processors);
    }
    if (is_ready) {
        (void)execve("/proc/self/exe", (char *const *)(uintptr_t)start->arguments,
                     (char *const *)(uintptr_t)start->environment);
    }
    _exit(CANNOT_START);
}

wa_status wa_sweep_child_start(const struct wa_sweep_child *child, pid_t *ret_pid,
                               struct wa_error *err)
{
    struct start start = {0};
    pid_t parent = getpid();
    wa_status status = prepare(&start, child, err);
    if (status == WA_OK) {
        pid_t pid = fork();
        if (pid == 0) {
            become(&start, child->processors.count > 0, parent);
        } else if (pid < 0) {
            status = wa_fail(err, WA_E_FAILED, "cannot start a process: %s", strerror(errno));
        } else {
            *ret_pid = pid;
        }
    }
    finish_start(&start);
    return status;
}

/* ---- Afterwards ----------------------------------------------------------------------------- */

void wa_sweep_child_reason(const char *directory, char *ret_reason, size_t size)
{
    static const char head[] = "walign: ";
    unsigned char *text = NULL;
    size_t length = 0;
    char *path = wa_file_join(directory, LOG_NAME);
    ret_reason[0] = '\0';
    if (path && wa_file_read_all(path, MAX_LOG_BYTES, &text, &length, NULL) == WA_OK) {
        for (const char *line = (const char *)text; *line;) {
            size_t end = strcspn(line, "\n");
            if (strncmp(line, head, sizeof head - 1) == 0) {
                (void)snprintf(ret_reason, size, "%.*s", (int)(end - (sizeof head - 1)),
                               line + sizeof head - 1);
            }
            line += end + (line[end] ? 1 : 0);
        }
    }
    free(text);
    free(path);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

void wa_sweep_child_remove(const char *directory)
{
    (void)nftw(directory, remove_one, REMOVE_DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
}
