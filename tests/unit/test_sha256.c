/* SHA-256 on the examples of FIPS 180-4 and on every place where a block can end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sha256.h"

static const struct {
    const char *text, *hex;
} vectors[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnop"
     "qrs"
     "mnopqrstnopqrstu",
     "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
};

static void test_vectors(void **state)
{
    (void)state;
    char hex[WA_SHA256_HEX_BYTES];
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        wa_sha256_hex(vectors[i].text, strlen(vectors[i].text), hex);
        assert_string_equal(hex, vectors[i].hex);
    }
}

static void test_million_in_pieces(void **state)
{
    (void)state;
    char piece[1000], hex[WA_SHA256_HEX_BYTES];
    memset(piece, 'a', sizeof piece);
    struct wa_sha256 hash;
    wa_sha256_init(&hash);
    for (int i = 0; i < 1000; i++) {
        wa_sha256_update(&hash, piece, sizeof piece);
    }
    wa_sha256_finish(&hash, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* The hash of the hashes of 0 .. 200 bytes, from Python's hashlib; each one also in two pieces. */
static void test_every_length(void **state)
{
    (void)state;
    unsigned char data[200];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (unsigned char)(i * 7);
    }
    struct wa_sha256 all;
    wa_sha256_init(&all);
    for (size_t length = 0; length <= sizeof data; length++) {
        char whole[WA_SHA256_HEX_BYTES], parts[WA_SHA256_HEX_BYTES];
        wa_sha256_hex(data, length, whole);
        struct wa_sha256 hash;
        wa_sha256_init(&hash);
        wa_sha256_update(&hash, data, length / 3);
        wa_sha256_update(&hash, data + length / 3, length - length / 3);
        wa_sha256_finish(&hash, parts);
        assert_string_equal(whole, parts);
        wa_sha256_update(&all, whole, 64);
    }
    char hex[WA_SHA256_HEX_BYTES];
    wa_sha256_finish(&all, hex);
    assert_string_equal(hex, "020088e9c26b95faf20594b4a5301fc5493cad4e2e0e002a0233825ae81dbd5f");
}

static void test_file(void **state)
{
    (void)state;
    char path[] = "/tmp/walign-test-XXXXXX", hex[WA_SHA256_HEX_BYTES];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "abc", 3), 3);
    assert_int_equal(close(fd), 0);
    struct wa_error err = {.status = WA_OK};
    assert_int_equal(wa_sha256_file(path, hex, &err), WA_OK);
    assert_string_equal(hex, vectors[1].hex);
    assert_int_equal(unlink(path), 0);

    assert_int_equal(wa_sha256_file(path, hex, &err), WA_E_DATA);
    assert_non_null(strstr(err.message, path));
    assert_non_null(strstr(err.message, "No such file"));
    err.status = WA_OK;
    assert_int_equal(wa_sha256_file("/tmp", hex, &err), WA_E_IO);
    assert_non_null(strstr(err.message, "/tmp: cannot read"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_million_in_pieces),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
