/* The CIFAR-10 files, unpacked: see cifar10_files.h. */
#include "cifar10_files.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const names[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                    "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"};
enum { FILES = sizeof names / sizeof *names };

static bool has_files(const char *data, const char *suffix)
{
    char path[4096];
    bool has_all = true;
    for (size_t i = 0; i < FILES && has_all; i++) {
        (void)snprintf(path, sizeof path, "%s/cifar10/%s%s", data, names[i], suffix);
        has_all = access(path, R_OK) == 0;
    }
    return has_all;
}

/* `xz -dc packed > target` */
static bool unpack(const char *packed, const char *target)
{
    pid_t process = fork();
    if (process == 0) {
        if (freopen(target, "wb", stdout)) {
            (void)execlp("xz", "xz", "-dc", "--", packed, (char *)NULL);
        }
        _exit(127);
    }
    int status = -1;
    return process > 0 && waitpid(process, &status, 0) == process && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

bool wa_cifar10_files_exist(const char *data)
{
    return has_files(data, "") || has_files(data, ".xz");
}

bool wa_cifar10_files_open(const char *data, struct wa_cifar10_files *ret_files)
{
    struct wa_cifar10_files *files = ret_files;
    if (!wa_data_folder_create(&files->unpacked)) {
        (void)fprintf(stderr, "cifar10_files: no folder of its own for a test\n");
        return false;
    }
    files->dir = files->unpacked.path;
    if (has_files(data, "")) {
        (void)snprintf(files->given, sizeof files->given, "%s/cifar10", data);
        files->dir = files->given;
        return true;
    }
    for (size_t i = 0; i < FILES; i++) {
        char packed[4096];
        (void)snprintf(packed, sizeof packed, "%s/cifar10/%s.xz", data, names[i]);
        if (!unpack(packed, wa_data_folder_file(&files->unpacked, names[i]))) {
            (void)fprintf(stderr, "cifar10_files: %s cannot be unpacked by xz\n", packed);
            (void)wa_data_folder_remove(&files->unpacked);
            return false;
        }
    }
    return true;
}

bool wa_cifar10_files_close(struct wa_cifar10_files *files)
{
    return wa_data_folder_remove(&files->unpacked);
}
