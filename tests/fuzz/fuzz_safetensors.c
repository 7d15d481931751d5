/* Fuzzes the reader of checkpoints with libFuzzer. Built with -DWA_FUZZ_REPLAY it has a main() that
 * replays the files named as arguments, so that the corpus is an ordinary test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever was accepted must be readable to its last byte and agree with itself. */
static void use(const struct wa_safetensors *file)
{
    for (size_t i = 0; i < wa_safetensors_count(file); i++) {
        const struct wa_safetensors_entry *entry = wa_safetensors_at(file, i);
        const void *found;
        if (wa_safetensors_find(file, entry->name) != entry ||
            wa_safetensors_expect(file, entry, &found, NULL) != WA_OK || found != entry->data) {
            abort();
        }
        unsigned char *copy = malloc(entry->size_bytes + 1);
        if (copy) {
            memcpy(copy, entry->data, entry->size_bytes);
        }
        free(copy);
    }
    (void)wa_safetensors_metadata(file, "format");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char *copy = malloc(size > 0 ? size : 1);
    if (!copy) {
        return 0;
    }
    if (size > 0) {
        memcpy(copy, data, size);
    }
    struct wa_safetensors *file = NULL;
    struct wa_error err = {.status = WA_OK};
    wa_status status = wa_safetensors_parse("fuzz", copy, size, &file, &err);
    if ((status == WA_OK) != (file != NULL) || (status != WA_OK && !err.message[0])) {
        abort();
    }
    if (file) {
        use(file);
    }
    wa_safetensors_destroy(file);
    return 0;
}

#ifdef WA_FUZZ_REPLAY
int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        unsigned char *data;
        size_t size;
        struct wa_error err = {.status = WA_OK};
        if (wa_file_read_all(argv[i], SIZE_MAX, &data, &size, &err) != WA_OK) {
            (void)fprintf(stderr, "%s\n", err.message);
            return 1;
        }
        (void)LLVMFuzzerTestOneInput(data, size);
        free(data);
    }
    (void)printf("%d files replayed\n", argc - 1);
    return argc > 1 ? 0 : 1;
}
#endif
