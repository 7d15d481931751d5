/* SHA-256, FIPS 180-4 section 6.2; names as there. */
#include "sha256.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "files.h"

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

void wa_sha256_init(struct wa_sha256 *hash)
{
    *hash = (struct wa_sha256){
        .state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
                  0x1f83d9ab, 0x5be0cd19},
    };
}

static uint32_t rotate_right(uint32_t word, unsigned count)
{
    return word >> count | word << (32 - count);
}

static void expand_block(const unsigned char *block, uint32_t w[64])
{
    for (size_t t = 0; t < 16; t++) {
        const unsigned char *bytes = block + 4 * t;
        w[t] = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
               (uint32_t)bytes[3];
    }
    for (size_t t = 16; t < 64; t++) {
        uint32_t sigma0 = rotate_right(w[t - 15], 7) ^ rotate_right(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t sigma1 = rotate_right(w[t - 2], 17) ^ rotate_right(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = sigma1 + w[t - 7] + sigma0 + w[t - 16];
    }
}

static void add_block(uint32_t state[8], const unsigned char *block)
{
    uint32_t w[64];
    expand_block(block, w);
    uint32_t s[8]; /* a b c d e f g h */
    memcpy(s, state, sizeof s);
    for (size_t t = 0; t < 64; t++) {
        uint32_t sum1 = rotate_right(s[4], 6) ^ rotate_right(s[4], 11) ^ rotate_right(s[4], 25);
        uint32_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
        uint32_t t1 = s[7] + sum1 + choice + round_constants[t] + w[t];
        uint32_t sum0 = rotate_right(s[0], 2) ^ rotate_right(s[0], 13) ^ rotate_right(s[0], 22);
        uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
        memmove(s + 1, s, 7 * sizeof s[0]);
        s[4] += t1;
        s[0] = t1 + sum0 + majority;
    }
    for (size_t i = 0; i < 8; i++) {
        state[i] += s[i];
    }
}

void wa_sha256_update(struct wa_sha256 *hash, const void *data, size_t size_bytes)
{
    const unsigned char *bytes = data;
    size_t used = hash->size_bytes % WA_SHA256_BLOCK_BYTES;
    hash->size_bytes += size_bytes;
    while (size_bytes > 0) {
        size_t taken = WA_SHA256_BLOCK_BYTES - used;
        taken = taken < size_bytes ? taken : size_bytes;
        memcpy(hash->block + used, bytes, taken);
        used += taken;
        bytes += taken;
        size_bytes -= taken;
        if (used == WA_SHA256_BLOCK_BYTES) {
            add_block(hash->state, hash->block);
            used = 0;
        }
    }
}

void wa_sha256_finish(struct wa_sha256 *hash, char ret_hex[WA_SHA256_HEX_BYTES])
{
    uint64_t size_bits = hash->size_bytes * 8;
    unsigned char tail[WA_SHA256_BLOCK_BYTES + 8] = {0x80};
    size_t used = hash->size_bytes % WA_SHA256_BLOCK_BYTES;
    size_t padding = (used < 56 ? 56 : 120) - used;
    for (size_t i = 0; i < 8; i++) {
        tail[padding + i] = (unsigned char)(size_bits >> (56 - 8 * i));
    }
    wa_sha256_update(hash, tail, padding + 8);
    for (size_t i = 0; i < 8; i++) {
        (void)snprintf(ret_hex + 8 * i, 9, "%08x", (unsigned)hash->state[i]);
    }
}

void wa_sha256_hex(const void *data, size_t size_bytes, char ret_hex[WA_SHA256_HEX_BYTES])
{
    struct wa_sha256 hash;
    wa_sha256_init(&hash);
    wa_sha256_update(&hash, data, size_bytes);
    wa_sha256_finish(&hash, ret_hex);
}

wa_status wa_sha256_file(const char *path, char ret_hex[WA_SHA256_HEX_BYTES], struct wa_error *err)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        return wa_file_fail(err, WA_E_DATA, path, "open", errno);
    }
    struct wa_sha256 hash;
    wa_sha256_init(&hash);
    unsigned char piece[16384];
    size_t got;
    while ((got = fread(piece, 1, sizeof piece, file)) > 0) {
        wa_sha256_update(&hash, piece, got);
    }
    int code = ferror(file) ? errno : 0;
    (void)fclose(file);
    if (code != 0) {
        return wa_file_fail(err, WA_E_IO, path, "read", code);
    }
    wa_sha256_finish(&hash, ret_hex);
    return WA_OK;
}
