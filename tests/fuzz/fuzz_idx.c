/* Fuzz target: idx files, plain and gzipped. An input is a big-endian length of 2 bytes, so many
 * bytes of the images' file, then the labels' file; with -DWA_FUZZ_REPLAY it is a program that runs
 * the files given on its command line. See dataset_fuzzer.h for what is checked. */
#include "dataset_fuzzer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    size_t images = (size_t)data[0] << 8 | data[1];
    if (images > size - 2) {
        images = size - 2;
    }
    const struct wa_fuzz_file files[] = {
        {.name = "train-images-idx3-ubyte", .data = data + 2, .size = images},
        {.name = "train-labels-idx1-ubyte", .data = data + 2 + images, .size = size - 2 - images},
    };
    wa_fuzz_dataset(files, 2, NULL, 0);
    return 0;
}
