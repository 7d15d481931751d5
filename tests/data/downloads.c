/* Data sets whose files tests/data/server.py serves; nothing opens them. */
#include <stdlib.h>

#include "walign/plugin.h"

static wa_status fixture_open(const wa_dataset_host *host, void **ret_self,
                              wa_dataset_info *ret_info)
{
    (void)host;
    (void)ret_self;
    (void)ret_info;
    abort();
}

static void fixture_close(void *self)
{
    (void)self;
    abort();
}

static wa_status fixture_read(void *self, const wa_read *read)
{
    (void)self;
    (void)read;
    abort();
}

static const char *const substitutes[] = {"substitute"};

#define DATASET(name, plugin_id, file, bytes, hash, made)                                          \
    static const wa_download name##_download = {.struct_size = sizeof(wa_download),                \
                                                .address = "http://nowhere.invalid/" file,         \
                                                .size_bytes = (bytes),                             \
                                                .sha256 = (hash),                                  \
                                                .unpacks_to = (made)};                             \
    static const wa_dataset_ops name##_ops = {.struct_size = sizeof(wa_dataset_ops),               \
                                              .open = fixture_open,                                \
                                              .close = fixture_close,                              \
                                              .read = fixture_read,                                \
                                              .downloads = &name##_download,                       \
                                              .download_count = 1,                                 \
                                              .download_substitutes = substitutes};                \
    static const wa_plugin name = {.struct_size = sizeof(wa_plugin),                               \
                                   .kind = WA_KIND_DATASET,                                        \
                                   .id = (plugin_id),                                              \
                                   .version = "1.0",                                               \
                                   .summary = "A test fixture.",                                   \
                                   .reference = "",                                                \
                                   .dataset = &name##_ops};

DATASET(plain, "test-plain", "file.bin", 100000,
        "96ad0ddabe9c733d4550fde750255a94806811029be67504bd9bd68e556686b9", NULL)
DATASET(good, "test-good", "good.tar", 10240,
        "bc49835ed4d11a98854d802bc2568d098cdbd647ac00f9e3f2bd300d5cc2084d", "made")
DATASET(outside, "test-outside", "outside.tar", 10240,
        "38b3a9e9f902ffa7fe8b33c5c5b529332aacc3fec099ff074c953cc7f9d3dc8a", "made")
DATASET(absolute, "test-absolute", "absolute.tar", 10240,
        "8a1120ab1c9094881d372ef6a8e0525d0676447aa41ae9a5b44acdb8a9702c42", "made")
DATASET(linked, "test-linked", "link.tar", 10240,
        "b7cb4aafaaef7b8f38209a1f3b353e2a9de4f0e9ce851adfc4d29bc271da3f42", "made")
DATASET(empty, "test-empty", "good.tar", 10240,
        "bc49835ed4d11a98854d802bc2568d098cdbd647ac00f9e3f2bd300d5cc2084d", "other")

static const wa_dataset_ops by_hand_ops = {.struct_size = sizeof(wa_dataset_ops),
                                           .open = fixture_open,
                                           .close = fixture_close,
                                           .read = fixture_read,
                                           .how_to_get = "ask its owner"};
static const wa_plugin by_hand = {.struct_size = sizeof(wa_plugin),
                                  .kind = WA_KIND_DATASET,
                                  .id = "test-by-hand",
                                  .version = "1.0",
                                  .summary = "A test fixture.",
                                  .reference = "",
                                  .dataset = &by_hand_ops};

static const wa_plugin *const plugins[] = {&plain,  &good,  &outside, &absolute,
                                           &linked, &empty, &by_hand};
WA_PLUGIN_ENTRY(plugins, 7)
