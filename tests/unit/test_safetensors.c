/* Checkpoint files: what is written is read back, equal lists give equal bytes, and a damaged file
 * is refused with its name and what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "safetensors.h"

struct folder {
    char path[64], file[128];
};

static int set_up(void **state)
{
    struct folder *folder = calloc(1, sizeof *folder);
    assert_non_null(folder);
    (void)snprintf(folder->path, sizeof folder->path, "/tmp/walign-test-XXXXXX");
    assert_non_null(mkdtemp(folder->path));
    (void)snprintf(folder->file, sizeof folder->file, "%s/last.safetensors", folder->path);
    *state = folder;
    return 0;
}

static int tear_down(void **state)
{
    struct folder *folder = *state;
    (void)unlink(folder->file);
    assert_int_equal(rmdir(folder->path), 0); /* nothing else may be left */
    free(folder);
    return 0;
}

static const float weights[6] = {1.0f, -2.0f, 3.5f, 0.0f, 1e-30f, 5.0f};
static const uint32_t words[3] = {1, UINT32_MAX, 7};
static const double doubles[2] = {0.1, -1e300};
static const uint64_t step = UINT64_MAX;
static const int64_t epoch = -5;

static const struct wa_safetensors_entry entries[] = {
    {"readout.weight", WA_SAFETENSORS_F32, 4, {2, 1, 1, 3}, weights, 0},
    {"state.words", WA_SAFETENSORS_U32, 1, {3}, words, 0},
    {"state.doubles", WA_SAFETENSORS_F64, 1, {2}, doubles, 0}, /* at an odd multiple of 4 */
    {"state.step", WA_SAFETENSORS_U64, 0, {0}, &step, 0},
    {"a \"name\"/\xc3\xa9", WA_SAFETENSORS_I64, 1, {1}, &epoch, 0},
    {"empty", WA_SAFETENSORS_F32, 2, {3, 0}, NULL, 0},
};
enum { ENTRIES = sizeof entries / sizeof entries[0] };

static const struct wa_safetensors_text metadata[] = {{"format", "walign"}, {"version", "1"}};

static void write_entries(const char *path)
{
    struct wa_error err = {.status = WA_OK};
    assert_int_equal(wa_safetensors_write(path, entries, ENTRIES, metadata, 2, &err), WA_OK);
}

static void test_round_trip(void **state)
{
    const struct folder *folder = *state;
    write_entries(folder->file);
    struct wa_safetensors *file;
    struct wa_error err = {.status = WA_OK};
    assert_int_equal(wa_safetensors_read(folder->file, &file, &err), WA_OK);
    assert_int_equal(wa_safetensors_count(file), ENTRIES);
    static const size_t sizes[ENTRIES] = {24, 12, 16, 8, 8, 0};
    static const size_t element_sizes[ENTRIES] = {4, 4, 8, 8, 8, 4};
    for (size_t i = 0; i < ENTRIES; i++) {
        const struct wa_safetensors_entry *entry = wa_safetensors_at(file, i);
        assert_string_equal(entry->name, entries[i].name);
        assert_ptr_equal(wa_safetensors_find(file, entries[i].name), entry);
        assert_int_equal(entry->type, entries[i].type);
        assert_int_equal(entry->dimensions, entries[i].dimensions);
        assert_memory_equal(entry->shape, entries[i].shape, sizeof entry->shape);
        assert_int_equal(entry->size_bytes, sizes[i]);
        assert_int_equal((uintptr_t)entry->data % element_sizes[i], 0);
        if (sizes[i] > 0) {
            assert_memory_equal(entry->data, entries[i].data, sizes[i]);
        }
    }
    assert_null(wa_safetensors_find(file, "readout"));
    assert_null(wa_safetensors_find(file, "__metadata__"));
    assert_string_equal(wa_safetensors_metadata(file, "format"), "walign");
    assert_string_equal(wa_safetensors_metadata(file, "version"), "1");
    assert_null(wa_safetensors_metadata(file, "other"));
    wa_safetensors_destroy(file);
    wa_safetensors_destroy(NULL);
}

/* The bytes themselves, so that a change of the format shows. */
static void test_bytes(void **state)
{
    const struct folder *folder = *state;
    static const char header[] =
        "{\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
        "\"a/c\":{\"dtype\":\"U32\",\"shape\":[],\"data_offsets\":[8,12]}}   ";
    static const struct wa_safetensors_entry two[] = {
        {"b", WA_SAFETENSORS_F32, 1, {2}, weights, 0},
        {"a/c", WA_SAFETENSORS_U32, 0, {0}, words, 0},
    };
    struct wa_error err = {.status = WA_OK};
    assert_int_equal(wa_safetensors_write(folder->file, two, 2, NULL, 0, &err), WA_OK);
    unsigned char *data;
    size_t size;
    assert_int_equal(wa_file_read_all(folder->file, 4096, &data, &size, &err), WA_OK);
    size_t length = sizeof header - 1;
    assert_int_equal(length % 8, 0);
    assert_int_equal(size, 8 + length + 12);
    assert_int_equal(data[0], length);
    assert_memory_equal(data + 8, header, length);
    assert_memory_equal(data + 8 + length, weights, 8);
    assert_memory_equal(data + 16 + length, words, 4);

    unsigned char *again;
    size_t again_size;
    assert_int_equal(wa_safetensors_write(folder->file, two, 2, NULL, 0, &err), WA_OK);
    assert_int_equal(wa_file_read_all(folder->file, 4096, &again, &again_size, &err), WA_OK);
    assert_int_equal(again_size, size);
    assert_memory_equal(again, data, size);
    free(again);
    free(data);
}

static void test_no_tensors(void **state)
{
    const struct folder *folder = *state;
    struct wa_safetensors *file;
    struct wa_error err = {.status = WA_OK};
    assert_int_equal(wa_safetensors_write(folder->file, NULL, 0, NULL, 0, &err), WA_OK);
    assert_int_equal(wa_safetensors_read(folder->file, &file, &err), WA_OK);
    assert_int_equal(wa_safetensors_count(file), 0);
    assert_null(wa_safetensors_metadata(file, "format"));
    wa_safetensors_destroy(file);
}

static void assert_not_written(const char *path, const struct wa_safetensors_entry *list,
                               size_t count, wa_status status, const char *message)
{
    struct wa_error err = {.status = WA_OK};
    assert_int_equal(wa_safetensors_write(path, list, count, NULL, 0, &err), status);
    assert_int_equal(err.status, status);
    assert_non_null(strstr(err.message, path));
    assert_non_null(strstr(err.message, message));
}

static void test_write_refuses(void **state)
{
    const struct folder *folder = *state;
    const struct wa_safetensors_entry one = {"a", WA_SAFETENSORS_F32, 1, {1}, weights, 0};
    const struct wa_safetensors_entry twice[] = {one, one};
    assert_not_written(folder->file, twice, 2, WA_E_FAILED, "'a': the name is taken");
    struct wa_safetensors_entry bad = one;
    bad.name = "__metadata__";
    assert_not_written(folder->file, &bad, 1, WA_E_FAILED, "the name is taken");
    bad = one;
    bad.type = (enum wa_safetensors_type)0;
    assert_not_written(folder->file, &bad, 1, WA_E_FAILED, "type and shape");
    bad = one;
    bad.dimensions = WA_SAFETENSORS_DIMENSIONS + 1;
    assert_not_written(folder->file, &bad, 1, WA_E_FAILED, "type and shape");
    bad = one;
    bad.dimensions = 2;
    bad.shape[0] = bad.shape[1] = UINT64_C(1) << 32;
    assert_not_written(folder->file, &bad, 1, WA_E_FAILED, "type and shape");
    assert_false(wa_file_exists(folder->file));
    assert_not_written("/nonexistent/x.safetensors", &one, 1, WA_E_IO, "No such file");
}

/* A file in memory with this header and `data_bytes` bytes after it. */
static wa_status parse(const char *header, size_t data_bytes, struct wa_error *err)
{
    uint64_t length = strlen(header);
    unsigned char *data = calloc(1, 8 + length + data_bytes);
    assert_non_null(data);
    memcpy(data, &length, 8);
    memcpy(data + 8, header, length);
    struct wa_safetensors *file = NULL;
    *err = (struct wa_error){.status = WA_OK};
    wa_status status = wa_safetensors_parse("f.st", data, 8 + length + data_bytes, &file, err);
    assert_true((status == WA_OK) == (file != NULL));
    wa_safetensors_destroy(file);
    return status;
}

#define TENSOR(name, dtype, shape, offsets)                                                        \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_good_headers(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data_bytes;
    } cases[] = {
        {"{}", 0},
        {"{}      ", 0},
        {"{\"__metadata__\":{\"a\":\"b:\\\":\\\"\"}}", 0},
        {"{" TENSOR("a", "F32", "[1]", "[0,4]") "}", 4},
        {"{ " TENSOR("b", "F64", "[1]", "[4,12]") ",\n" TENSOR("a", "U32", "[1]", "[0,4]") "}", 12},
        {"{" TENSOR("a", "F32", "[0,9]", "[0,0]") "," TENSOR("b", "F32", "[]", "[0,4]") "}", 4},
        {"{" TENSOR("b", "F32", "[]", "[0,4]") "," TENSOR("a", "F32", "[0]", "[4,4]") "}", 4},
        {"{" TENSOR("a:b", "I64", "[1]", "[0,8]") "}", 8},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wa_error err;
        if (parse(cases[i].header, cases[i].data_bytes, &err) != WA_OK) {
            fail_msg("%s: %s", cases[i].header, err.message);
        }
    }
}

static void test_damaged_headers(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data_bytes;
        const char *message;
    } cases[] = {
        {"", 0, "does not start with '{'"},
        {" {}", 0, "does not start with '{'"},
        {"[]", 0, "does not start with '{'"},
        {"{", 0, "unexpected end"},
        {"{}x", 0, "no JSON"},
        {"{} {}", 0, "no JSON"},
        {"{'a':1}", 0, "no JSON"},
        {"{\"a\":{},}", 0, "no JSON"},
        {"{\"\xff\":{}}", 0, "utf-8"},
        {"{\"a\":1}", 0, "'a' in its header is no JSON object"},
        {"{\"a\":null}", 0, "'a' in its header is no JSON object"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "'a' in its metadata is no text"},
        {"{\"__metadata__\":[]}", 0, "is no JSON object"},
        {"{" TENSOR("a", "F32", "[1]", "[0,4]") "," TENSOR("a", "F32", "[1]", "[0,4]") "}", 4,
         "twice"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
         "twice"},
        {"{\"a\":{}}", 0, "'a' has dtype none"},
        {"{" TENSOR("a", "BF16", "[1]", "[0,2]") "}", 2, "'a' has dtype BF16"},
        {"{\"a\":{\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "'a' has dtype 4"},
        {"{" TENSOR("a", "F32", "1", "[0,4]") "}", 4, "no shape"},
        {"{" TENSOR("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "no shape"},
        {"{" TENSOR("a", "F32", "[-1]", "[0,4]") "}", 4, "no count"},
        {"{" TENSOR("a", "F32", "[1.0]", "[0,4]") "}", 4, "no count"},
        {"{" TENSOR("a", "F32", "[null]", "[0,4]") "}", 4, "no count"},
        {"{" TENSOR("a", "F32", "[1]", "[0]") "}", 4, "no data_offsets"},
        {"{" TENSOR("a", "F32", "[1]", "[0,4,4]") "}", 4, "no data_offsets"},
        {"{" TENSOR("a", "F32", "[1]", "[4,0]") "}", 4, "no data_offsets"},
        {"{" TENSOR("a", "F32", "[1]", "[-4,0]") "}", 4, "no data_offsets"},
        {"{" TENSOR("a", "F32", "[1]", "{}") "}", 4, "no data_offsets"},
        {"{" TENSOR("a", "F32", "[2]", "[0,8]") "}", 4, "ends at byte 8 of 4: the file was cut"},
        {"{" TENSOR("a", "F32", "[1]", "[0,18446744073709551615]") "}", 4, "cut short"},
        {"{" TENSOR("a", "F32", "[1]", "[0,99999999999999999999999]") "}", 4, "cut short"},
        {"{" TENSOR("a", "F32", "[2]", "[0,4]") "}", 4, "'a' is F32 [2], but its data has 4 bytes"},
        {"{" TENSOR("a", "F32", "[4294967296,4294967296]", "[0,0]") "}", 0, "has 0 bytes"},
        {"{" TENSOR("a", "F64", "[2305843009213693953]", "[0,8]") "}", 8, "has 8 bytes"},
        {"{" TENSOR("a", "F32", "[1]", "[4,8]") "}", 8, "begins at byte 4, expected 0"},
        {"{" TENSOR("a", "F32", "[1]", "[0,4]") "," TENSOR("b", "F32", "[1]", "[0,4]") "}", 4,
         "begins at byte 0, expected 4"},
        {"{" TENSOR("a", "F32", "[2]", "[0,8]") "," TENSOR("b", "F32", "[2]", "[4,12]") "}", 12,
         "begins at byte 4, expected 8"},
        {"{" TENSOR("a", "F32", "[1]", "[0,4]") "}", 5, "4 bytes, but the file has room for 5"},
        {"{}", 1, "0 bytes, but the file has room for 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wa_error err;
        assert_int_equal(parse(cases[i].header, cases[i].data_bytes, &err), WA_E_DATA);
        if (strncmp(err.message, "f.st: damaged checkpoint: ", 26) != 0 ||
            !strstr(err.message, cases[i].message) || !strstr(err.message, "; use another")) {
            fail_msg("%s: %s", cases[i].header, err.message);
        }
    }
}

/* Every way to cut a file short, and its header's length gone wrong. */
static void test_damaged_files(void **state)
{
    const struct folder *folder = *state;
    write_entries(folder->file);
    struct wa_error err = {.status = WA_OK};
    unsigned char *data;
    size_t size;
    assert_int_equal(wa_file_read_all(folder->file, 1 << 20, &data, &size, &err), WA_OK);
    struct wa_safetensors *file;
    for (size_t cut = 0; cut < size; cut++) {
        err.status = WA_OK;
        assert_int_equal(wa_file_write_atomic(folder->file, data, cut, &err), WA_OK);
        assert_int_equal(wa_safetensors_read(folder->file, &file, &err), WA_E_DATA);
        assert_non_null(strstr(err.message, folder->file));
        assert_non_null(strstr(err.message, "damaged checkpoint"));
    }
    static const uint64_t lengths[] = {0, 1, UINT32_MAX, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        err.status = WA_OK;
        memcpy(data, &lengths[i], 8);
        assert_int_equal(wa_file_write_atomic(folder->file, data, size, &err), WA_OK);
        assert_int_equal(wa_safetensors_read(folder->file, &file, &err), WA_E_DATA);
        assert_non_null(strstr(err.message, "damaged checkpoint"));
    }
    free(data);
    assert_int_equal(unlink(folder->file), 0);
    err.status = WA_OK;
    assert_int_equal(wa_safetensors_read(folder->file, &file, &err), WA_E_DATA);
    assert_non_null(strstr(err.message, "No such file"));
}

static void test_expect(void **state)
{
    const struct folder *folder = *state;
    write_entries(folder->file);
    struct wa_safetensors *file;
    struct wa_error err = {.status = WA_OK};
    assert_int_equal(wa_safetensors_read(folder->file, &file, &err), WA_OK);
    const void *data;
    for (size_t i = 0; i < ENTRIES; i++) {
        assert_int_equal(wa_safetensors_expect(file, &entries[i], &data, &err), WA_OK);
        assert_ptr_equal(data, wa_safetensors_at(file, i)->data);
    }
    struct wa_safetensors_entry other = entries[0];
    other.shape[3] = 4;
    assert_int_equal(wa_safetensors_expect(file, &other, &data, &err), WA_E_DATA);
    assert_non_null(
        strstr(err.message, "'readout.weight' is F32 [2,1,1,3], expected F32 [2,1,1,4]"));
    other = entries[0];
    other.dimensions = 3;
    err.status = WA_OK;
    assert_int_equal(wa_safetensors_expect(file, &other, &data, &err), WA_E_DATA);
    assert_non_null(strstr(err.message, "expected F32 [2,1,1];"));
    other = entries[0];
    other.type = WA_SAFETENSORS_U32;
    err.status = WA_OK;
    assert_int_equal(wa_safetensors_expect(file, &other, &data, &err), WA_E_DATA);
    assert_non_null(strstr(err.message, "expected U32 [2,1,1,3]"));
    other.name = "conv1.weight";
    err.status = WA_OK;
    assert_int_equal(wa_safetensors_expect(file, &other, &data, &err), WA_E_DATA);
    assert_non_null(strstr(err.message, folder->file));
    assert_non_null(strstr(err.message, "has no tensor 'conv1.weight', expected U32 [2,1,1,3]"));
    wa_safetensors_destroy(file);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_round_trip),    TEST(test_bytes),        TEST(test_no_tensors),
        TEST(test_write_refuses), TEST(test_good_headers), TEST(test_damaged_headers),
        TEST(test_damaged_files), TEST(test_expect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
