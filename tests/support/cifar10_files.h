/* The CIFAR-10 files of a folder of real data sets, <data>/cifar10/data_batch_1.bin and so on; packed
 * ones (.bin.xz) are unpacked into a folder of the test's own. */
#ifndef WALIGN_TESTS_CIFAR10_FILES_H
#define WALIGN_TESTS_CIFAR10_FILES_H

#include "data_folder.h"

struct wa_cifar10_files {
    struct wa_data_folder unpacked;
    char given[4096]; /* <data>/cifar10 */
    const char *dir;  /* of the .bin files */
};

/* Whether all six are there, packed or not. */
bool wa_cifar10_files_exist(const char *data);

/* Makes them readable at ret_files->dir, until the close. Where that fails: false, says why on stderr,
 * and there is nothing to close. The struct must not be moved. */
bool wa_cifar10_files_open(const char *data, struct wa_cifar10_files *ret_files);

/* Removes what was unpacked; false where something is left. */
bool wa_cifar10_files_close(struct wa_cifar10_files *files);

#endif
