/* What the dataset plugins share: files read whole into memory, and items kept there. Linked into
 * each plugin's module; like them it uses nothing of walign but the plugin interface. */
#ifndef WALIGN_DATASETS_FILES_H
#define WALIGN_DATASETS_FILES_H

#include <stdio.h>

#include "walign/plugin.h"

struct wa_files_bytes {
    uint8_t *data; /* from malloc; the holder frees it */
    size_t size;
};

/* Items of one part of a dataset. */
struct wa_files_part {
    void *block; /* what wa_files_close_set frees; `items` points into it */
    const uint8_t *items;
    uint32_t *labels; /* one for each item, from malloc */
    uint64_t count;
};

/* A dataset in memory. It is the plugin's instance and never changes after open, so that items may
 * be read from several threads at once. */
struct wa_files_set {
    const wa_host *host;
    size_t item_bytes;
    struct wa_files_part train, test;
};

/* `a * b` and `a + b` into *ret_result; false on overflow. */
WA_MUST_CHECK bool wa_files_mul(size_t a, size_t b, size_t *ret_result);
WA_MUST_CHECK bool wa_files_add(size_t a, size_t b, size_t *ret_result);

/* "<folder>/<name><suffix>" into *ret_path, which the caller frees. Fails with WA_E_MEMORY. */
WA_MUST_CHECK wa_status wa_files_join(const wa_host *host, const char *folder, const char *name,
                                      const char *suffix, char **ret_path);

/* Whether anything of that name exists. */
bool wa_files_exists(const char *path);

/* Opens a file to read it, and does not wait where it is a pipe. NULL, with errno, where that
 * fails. */
FILE *wa_files_open(const char *path);

/* Reads a whole file; the caller frees ret_bytes->data, which is never NULL. Fails with WA_E_DATA
 * where it is no file that can be opened, WA_E_IO where it cannot be read, WA_E_MEMORY. */
WA_MUST_CHECK wa_status wa_files_load(const wa_host *host, const char *path,
                                      struct wa_files_bytes *ret_bytes);

/* Says that `bytes` bytes for `purpose` could not be had; returns WA_E_MEMORY. */
wa_status wa_files_no_memory(const wa_host *host, size_t bytes, const char *purpose);

/* An empty set; NULL (with the message given) where memory runs out. */
struct wa_files_set *wa_files_create_set(const wa_host *host);

/* wa_dataset_ops.read and .close of a plugin whose instance is a wa_files_set. */
wa_status wa_files_read_item(void *self, const wa_read *read);
void wa_files_close_set(void *self);

#endif
