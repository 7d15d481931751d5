/* SHA-256 (FIPS 180-4): names of cache entries, hashes of configs and plugin files. */
#ifndef WALIGN_CORE_SHA256_H
#define WALIGN_CORE_SHA256_H

#include "status.h"

enum { WA_SHA256_BLOCK_BYTES = 64, WA_SHA256_HEX_BYTES = 65 };

struct wa_sha256 {
    uint32_t state[8];
    uint64_t size_bytes;
    unsigned char block[WA_SHA256_BLOCK_BYTES]; /* the bytes of a block that is not full yet */
};

/* init, update as often as there is data, finish once: 64 lower-case hexadecimal digits and a 0. */
void wa_sha256_init(struct wa_sha256 *hash);
void wa_sha256_update(struct wa_sha256 *hash, const void *data, size_t size_bytes);
void wa_sha256_finish(struct wa_sha256 *hash, char ret_hex[WA_SHA256_HEX_BYTES]);

/* All three at once. */
void wa_sha256_hex(const void *data, size_t size_bytes, char ret_hex[WA_SHA256_HEX_BYTES]);

/* Of a file's content; WA_E_DATA where it cannot be opened, WA_E_IO where it cannot be read. */
WA_MUST_CHECK wa_status wa_sha256_file(const char *path, char ret_hex[WA_SHA256_HEX_BYTES],
                                       struct wa_error *err);

#endif
