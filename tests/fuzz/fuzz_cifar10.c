/* Fuzz target: batches of CIFAR-10's binary version. An input is the first training batch and the
 * test batch; the other four are good. With -DWA_FUZZ_REPLAY it is a program that runs the files
 * given on its command line. See dataset_fuzzer.h for what is checked. */
#include "dataset_fuzzer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t record[3073] = {9};
    const struct wa_fuzz_file files[] = {
        {.name = "data_batch_1.bin", .data = data, .size = size},
        {.name = "data_batch_2.bin", .data = record, .size = sizeof record},
        {.name = "data_batch_3.bin", .data = record, .size = sizeof record},
        {.name = "data_batch_4.bin", .data = record, .size = sizeof record},
        {.name = "data_batch_5.bin", .data = record, .size = sizeof record},
        {.name = "test_batch.bin", .data = data, .size = size},
    };
    wa_fuzz_dataset(files, 6, NULL, 0);
    return 0;
}
