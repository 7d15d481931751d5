/* What the fuzz targets of dataset plugins share: files in a folder of their own, a plugin that is
 * linked in, and its first descriptor opened on them. Checked: open fails with WA_E_DATA and one
 * message and leaves its outputs alone, or every item can be read and has a label below `classes`.
 * Sanitizers see the rest. With -DWA_FUZZ_REPLAY main() runs the files of the command line. */
#ifndef WALIGN_TESTS_DATASET_FUZZER_H
#define WALIGN_TESTS_DATASET_FUZZER_H

#include "fake_dataset_host.h"

struct wa_fuzz_file {
    const char *name;
    const uint8_t *data;
    size_t size;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Writes the files and opens the plugin on their folder, which is the current one, too, so that
 * options may name them. Aborts with a message where something is wrong. */
void wa_fuzz_dataset(const struct wa_fuzz_file *files, size_t file_count,
                     const struct wa_fake_option *options, size_t option_count);

#endif
