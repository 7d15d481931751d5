/* What the fuzz targets of dataset plugins share: see dataset_fuzzer.h. */
#include "dataset_fuzzer.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data_folder.h"

extern const wa_plugin_table wa_plugin_entry;

static void require(bool is_true, const char *what)
{
    if (!is_true) {
        (void)fprintf(stderr, "dataset_fuzzer: %s\n", what);
        abort();
    }
}

static void read_items(const wa_dataset_ops *ops, void *self, const wa_dataset_info *info,
                       wa_part part, uint64_t count)
{
    size_t element = info->element == WA_ELEMENT_F32 ? sizeof(float) : 1;
    uint8_t *item = malloc(element * info->height * info->width * info->channels);
    require(item != NULL, "out of memory");
    for (uint64_t i = 0; i < count; i++) {
        uint32_t label = UINT32_MAX;
        const wa_read read = {.struct_size = sizeof read,
                              .part = part,
                              .index = i,
                              .ret_item = item,
                              .ret_target = &label};
        require(ops->read(self, &read) == WA_OK, "an item cannot be read");
        require(label < info->classes, "a label is too large");
    }
    free(item);
}

static void open_dataset(const struct wa_fake_option *options, size_t option_count)
{
    const wa_dataset_ops *ops = wa_plugin_entry.plugins[0]->dataset;
    struct wa_fake_dataset_host fake;
    wa_fake_dataset_host_init(&fake, options, option_count, ".");
    wa_dataset_info info = {.struct_size = sizeof info};
    void *self = NULL;
    wa_status status = ops->open(&fake.host, &self, &info);
    require(fake.misbehaviors == 0, "the plugin misbehaves");
    if (status == WA_OK) {
        require(fake.failures == 0 && self, "open succeeds, but with a message or no instance");
        require(info.train_items > 0 && info.height > 0 && info.width > 0 && info.channels > 0,
                "open succeeds without data");
        read_items(ops, self, &info, WA_PART_TRAIN, info.train_items);
        read_items(ops, self, &info, WA_PART_TEST, info.test_items);
    } else {
        require(status == WA_E_DATA, "open fails with another status than WA_E_DATA");
        require(fake.failures == 1 && fake.message[0] && !self && info.train_items == 0,
                "open fails without one message, or has touched its outputs");
    }
    ops->close(self);
}

void wa_fuzz_dataset(const struct wa_fuzz_file *files, size_t file_count,
                     const struct wa_fake_option *options, size_t option_count)
{
    int before = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct wa_data_folder folder;
    require(before >= 0 && wa_data_folder_create(&folder), "no folder can be made");
    for (size_t i = 0; i < file_count; i++) {
        require(wa_data_folder_write(&folder, files[i].name, files[i].data, files[i].size),
                "a file cannot be written");
    }
    require(chdir(folder.path) == 0, "the folder cannot be entered");
    open_dataset(options, option_count);
    require(fchdir(before) == 0, "the folder cannot be left");
    (void)close(before);
    require(wa_data_folder_remove(&folder), "the folder cannot be removed");
}

#ifdef WA_FUZZ_REPLAY

static void replay(const char *path)
{
    enum { MOST_BYTES = 1 << 20 };
    FILE *stream = fopen(path, "rb");
    uint8_t *data = malloc(MOST_BYTES);
    require(stream && data, path);
    size_t size = fread(data, 1, MOST_BYTES, stream);
    require(!ferror(stream), path);
    (void)fclose(stream);
    (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        replay(argv[i]);
    }
    (void)printf("%d inputs replayed\n", argc - 1);
    return argc > 1 ? 0 : 1;
}

#endif
