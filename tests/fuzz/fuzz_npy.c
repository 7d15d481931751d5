/* Fuzz target: .npy files. The first byte of an input says what the rest is: images if it is even
 * (the labels are good ones, of two items), else labels (for two good images). With
 * -DWA_FUZZ_REPLAY it is a program that runs the files given on its command line. See
 * dataset_fuzzer.h for what is checked. */
#include "dataset_fuzzer.h"

static const char good_labels[] = "\x93NUMPY\x01\x00\x3c\x00"
                                  "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }  \n"
                                  "\x00\x03";
static const char good_images[] =
    "\x93NUMPY\x01\x00\x45\x00"
    "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1, 2, 1), }   \n"
    "abcd";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    bool is_labels = data[0] % 2 != 0;
    struct wa_fuzz_file files[] = {
        {.name = "x.npy", .data = data + 1, .size = size - 1},
        {.name = "y.npy", .data = data + 1, .size = size - 1},
    };
    if (is_labels) {
        files[0].data = (const uint8_t *)good_images;
        files[0].size = sizeof good_images - 1;
    } else {
        files[1].data = (const uint8_t *)good_labels;
        files[1].size = sizeof good_labels - 1;
    }
    const struct wa_fake_option options[] = {
        {.name = "images", .type = WA_FAKE_STRING, .string = "x.npy"},
        {.name = "labels", .type = WA_FAKE_STRING, .string = "y.npy"},
        {.name = "classes", .type = WA_FAKE_NULL},
    };
    wa_fuzz_dataset(files, 2, options, 3);
    return 0;
}
