/* Checkpoint files in the safetensors format: named tensors of plain numbers, little endian.
 *   8 bytes: length of the header | header: JSON, filled up with spaces | the tensors' bytes
 * https://github.com/huggingface/safetensors describes it. Nothing here knows what is stored. */
#ifndef WALIGN_CORE_SAFETENSORS_H
#define WALIGN_CORE_SAFETENSORS_H

#include "status.h"

enum { WA_SAFETENSORS_DIMENSIONS = 8 };

enum wa_safetensors_type {
    WA_SAFETENSORS_F32 = 1,
    WA_SAFETENSORS_F64,
    WA_SAFETENSORS_U32,
    WA_SAFETENSORS_U64,
    WA_SAFETENSORS_I64
};

/* A tensor in row-major order; dimensions = 0 is a single number. */
struct wa_safetensors_entry {
    const char *name;
    enum wa_safetensors_type type;
    uint32_t dimensions;
    uint64_t shape[WA_SAFETENSORS_DIMENSIONS];
    const void *data;
    /* Filled by the reader; a writer need not set it. */
    size_t size_bytes;
};

/* One text of the "__metadata__" map. */
struct wa_safetensors_text {
    const char *key, *value;
};

/* Writes the entries in the order given, so that equal entries give equal files, to a temporary
 * file that is fsynced and renamed. Names and texts are UTF-8. Failures: WA_E_IO, WA_E_MEMORY;
 * WA_E_FAILED for a list no file can hold (a name twice, a shape too large). */
WA_MUST_CHECK wa_status wa_safetensors_write(const char *path,
                                             const struct wa_safetensors_entry *entries,
                                             size_t entry_count,
                                             const struct wa_safetensors_text *metadata,
                                             size_t metadata_count, struct wa_error *err);

/* What is in a file, in memory. */
struct wa_safetensors;

/* Reads and checks a whole file: header, types, shapes, and that the tensors fill the file without
 * gap or overlap. *ret_file is the caller's to destroy; its entries and strings live as long as it.
 * WA_E_DATA: no such file, or damaged. */
WA_MUST_CHECK wa_status wa_safetensors_read(const char *path, struct wa_safetensors **ret_file,
                                            struct wa_error *err);

/* The same from memory; `path` is for messages. Takes `data` over, to free it, success or not. */
WA_MUST_CHECK wa_status wa_safetensors_parse(const char *path, unsigned char *data,
                                             size_t size_bytes, struct wa_safetensors **ret_file,
                                             struct wa_error *err);
void wa_safetensors_destroy(struct wa_safetensors *file); /* takes NULL */

/* The entries in the order of the header; their data is aligned for their type. */
size_t wa_safetensors_count(const struct wa_safetensors *file);
const struct wa_safetensors_entry *wa_safetensors_at(const struct wa_safetensors *file,
                                                     size_t index);

/* NULL where there is none of that name. */
const struct wa_safetensors_entry *wa_safetensors_find(const struct wa_safetensors *file,
                                                       const char *name);
const char *wa_safetensors_metadata(const struct wa_safetensors *file, const char *key);

/* The data of the tensor that has expected->name, type and shape (its data is not looked at);
 * WA_E_DATA with both sides named where it is missing or other. */
WA_MUST_CHECK wa_status wa_safetensors_expect(const struct wa_safetensors *file,
                                              const struct wa_safetensors_entry *expected,
                                              const void **ret_data, struct wa_error *err);

#endif
