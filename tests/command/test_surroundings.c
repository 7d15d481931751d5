/* What is around a run fails: devices, directories, disks, caches, memory. And runs diverge. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command_test.h"
#include "safetensors.h"

#define LAST "/checkpoints/last.safetensors"

/* ---- Devices --------------------------------------------------------------------------------- */

static void test_no_platform(void **state)
{
    struct wa_tested_program *t = *state;
    char vendors[300];
    assert_true(wa_data_folder_make(&t->folder, "empty"));
    (void)snprintf(vendors, sizeof vendors, "OCL_ICD_VENDORS=%s/empty/", t->folder.path);
    t->environment[0] = vendors;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run"), 2);
    WA_TESTED_EXPECT_ERROR(t, "no OpenCL device", "pocl-opencl-icd", "POCL_CACHE_DIR",
                           "OCL_ICD_VENDORS");
    assert_false(wa_tested_has(t, "run"));
    assert_int_equal(WA_TESTED_RUN(t, "devices"), 0);
    wa_tested_expect_part(t->output, "no OpenCL device");
    assert_int_equal(WA_TESTED_RUN(t, "devices", "--json"), 0);
    assert_int_equal(t->output[0], '[');
    assert_null(strchr(t->output, '{'));
    assert_int_equal(WA_TESTED_RUN(t, "plugins"), 0);
}

static void test_no_such_device(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--device", "abacus"),
                     2);
    WA_TESTED_EXPECT_ERROR(t, "'abacus'", "found 0: ");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--device", "999"), 2);
    WA_TESTED_EXPECT_ERROR(t, "'999'", "found 0: ");
    assert_null(strstr(t->errors, "WALIGN_DEVICE"));
    t->environment[0] = "WALIGN_DEVICE=abacus";
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run"), 2);
    WA_TESTED_EXPECT_ERROR(t, "'abacus', the value of WALIGN_DEVICE;", "found 0: ");
    assert_false(wa_tested_has(t, "run"));
}

static void test_more_than_the_device_has(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_not_equal(
        WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--set", "architecture.width=65536"),
        0);
    WA_TESTED_EXPECT_ERROR(t, " GB of memory", "width");
    assert_false(wa_tested_has(t, "run"));
    /* Some hundred GB: what fits is said before anything is allocated. */
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--set",
                                   "dataset.items=300", "--set", "batch=250", "--set",
                                   "dataset.height=256", "--set", "dataset.width=256", "--set",
                                   "architecture.width=1024"),
                     2);
    WA_TESTED_EXPECT_ERROR(t, "--set batch=250: batch: ", "MB in one piece", "batch");
    assert_false(wa_tested_has(t, "run"));
}

/* ---- Directories and disks ------------------------------------------------------------------- */

static void test_unwritable_directory(void **state)
{
    struct wa_tested_program *t = *state;
    wa_tested_write(t, "file", "x", 1);
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "file/run", "--quiet"), 2);
    WA_TESTED_EXPECT_ERROR(t, "file", "choose another path");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "file", "--quiet"), 2);
    WA_TESTED_EXPECT_ERROR(t, "file", "choose another path");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "/proc/run", "--quiet"), 2);
    WA_TESTED_EXPECT_ERROR(t, "/proc/run");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "", "--quiet"), 2);
    WA_TESTED_EXPECT_ERROR(t, "--out");
}

/* No file can be longer than the limit, as on a disk that is full: checkpoints cannot be written.
 * What was there stays whole, and the run goes on when there is space again. */
static void test_full_disk(void **state)
{
    struct wa_tested_program *t = *state;
#define WIDE "--set", "architecture.width=256"
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "whole", "--quiet", WIDE,
                                   "--set", "epochs=4"),
                     0);
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", WIDE), 0);
    size_t size = 0;
    char *before = wa_tested_read(t, "run" LAST, &size);
    t->file_limit_bytes = 1500000; /* checkpoints are larger, what PoCL writes is smaller */
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", WIDE,
                                   "--resume", "--set", "epochs=4"),
                     1);
    WA_TESTED_EXPECT_ERROR(t, "run" LAST, "File too large");
    size_t size_after = 0;
    char *after = wa_tested_read(t, "run" LAST, &size_after);
    assert_int_equal(size_after, size);
    assert_memory_equal(before, after, size);
    free(before);
    free(after);
    /* a run that cannot even begin */
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "other", "--quiet", WIDE), 1);
    WA_TESTED_EXPECT_ERROR(t, "other/", "File too large");
    t->file_limit_bytes = 0;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", WIDE,
                                   "--resume", "--set", "epochs=4"),
                     0);
    wa_tested_expect_equal(t, "whole" LAST, "run" LAST);
    wa_tested_expect_equal_metrics(t, "whole/metrics.jsonl", "run/metrics.jsonl");
    assert_int_equal(
        WA_TESTED_RUN(t, "train", "tiny.json", "--out", "other", "--quiet", WIDE, "--resume"), 0);
}
#undef WIDE

/* ---- The kernel cache ------------------------------------------------------------------------ */

/* What is done to each entry of the cache. */
static void damage(struct wa_tested_program *t, const char *folder, bool is_cut)
{
    DIR *entries = opendir(wa_data_folder_file(&t->folder, folder));
    assert_non_null(entries);
    size_t damaged = 0;
    for (const struct dirent *e = readdir(entries); e; e = readdir(entries)) {
        if (!strstr(e->d_name, ".bin")) {
            continue;
        }
        char name[400];
        size_t size = 0;
        (void)snprintf(name, sizeof name, "%s/%s", folder, e->d_name);
        char *data = wa_tested_read(t, name, &size);
        assert_true(size > 200);
        data[size / 2] = (char)(data[size / 2] ^ 1);
        wa_tested_write(t, name, data, is_cut ? size / 3 : size);
        free(data);
        damaged++;
    }
    (void)closedir(entries);
    assert_true(damaged > 0);
}

static void test_damaged_kernel_cache(void **state)
{
    struct wa_tested_program *t = *state;
    char cache[300];
    (void)snprintf(cache, sizeof cache, "XDG_CACHE_HOME=%s/cache", t->folder.path);
    t->environment[0] = cache;
    t->environment[1] =
        "POCL_KERNEL_CACHE=0"; /* else PoCL keeps what it compiles, and walign nothing */
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "a", "--quiet"), 0);
    assert_string_equal(t->errors, "");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "b", "--quiet"), 0);
    assert_string_equal(t->errors, "");
    damage(t, "cache/walign/kernels", false);
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "c", "--quiet"), 0);
    wa_tested_expect_part(t->errors, "walign: warning: kernel cache: ");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "d", "--quiet"), 0);
    assert_string_equal(t->errors, ""); /* it was mended */
    damage(t, "cache/walign/kernels", true);
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "e", "--quiet"), 0);
    wa_tested_expect_part(t->errors, "walign: warning: kernel cache: ");
    static const char *const others[] = {"b" LAST, "c" LAST, "d" LAST, "e" LAST};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        wa_tested_expect_equal(t, "a" LAST, others[i]);
    }
}

static void test_no_kernel_cache(void **state)
{
    struct wa_tested_program *t = *state;
    char cache[300];
    char pocl[300];
    wa_tested_write(t, "file", "x", 1);
    (void)snprintf(cache, sizeof cache, "XDG_CACHE_HOME=%s/file", t->folder.path);
    (void)snprintf(pocl, sizeof pocl, "POCL_CACHE_DIR=%s/pocl", t->folder.path);
    t->environment[0] = cache;
    t->environment[1] = pocl; /* PoCL aborts where it can write nothing */
    t->environment[2] = "POCL_KERNEL_CACHE=0";
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet"), 0);
    wa_tested_expect_part(t->errors, "no kernel cache");
    assert_true(wa_tested_has(t, "run" LAST));
}

/* What a driver says about a kernel that it refuses is in the message, and whole in a file. */
static void test_refused_kernel(void **state)
{
    struct wa_tested_program *t = *state;
    char kernels[300];
    char cache[300];
    wa_command_change_kernels(t, "broken", "step", "#error first word\n#error second word\n");
    (void)snprintf(kernels, sizeof kernels, "WALIGN_KERNELS=%s/broken", t->folder.path);
    (void)snprintf(cache, sizeof cache, "XDG_CACHE_HOME=%s/cache", t->folder.path);
    t->environment[0] = kernels;
    t->environment[1] = cache;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet"), 1);
    wa_tested_expect_part(t->errors, "walign: building step.cl"); /* PoCL writes a line too */
    wa_tested_expect_part(t->errors, "first word");
    wa_tested_expect_part(t->errors, "walign/kernels/build-failure.log");
    char *log = wa_tested_read(t, "cache/walign/kernels/build-failure.log", NULL);
    wa_tested_expect_part(log, "second word");
    free(log);
}

/* ---- Runs that diverge ----------------------------------------------------------------------- */

static bool is_finite_checkpoint(struct wa_tested_program *t, const char *name)
{
    struct wa_safetensors *file = NULL;
    struct wa_error err = {0};
    assert_int_equal(wa_safetensors_read(wa_data_folder_file(&t->folder, name), &file, &err),
                     WA_OK);
    bool is_finite = true;
    for (size_t i = 0; i < wa_safetensors_count(file); i++) {
        const struct wa_safetensors_entry *entry = wa_safetensors_at(file, i);
        const float *values = entry->data;
        for (size_t k = 0; entry->type == WA_SAFETENSORS_F32 && k < entry->size_bytes / 4; k++) {
            is_finite = is_finite && values[k] - values[k] == 0.0f;
        }
    }
    wa_safetensors_destroy(file);
    return is_finite;
}

static void test_divergence(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", "--set",
                                   "optimizer.learning_rate=1e30", "--set", "log_steps=true"),
                     3);
    WA_TESTED_EXPECT_ERROR(t, "diverged", "epoch 1", "step 2", "tensor: ", "learning rate");
    assert_true(is_finite_checkpoint(t, "run/checkpoints/epoch-0000.safetensors"));
    assert_false(wa_tested_has(t, "run" LAST) && !is_finite_checkpoint(t, "run" LAST));
    /* Weights that overflow are named themselves. */
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "inf", "--quiet", "--set",
                                   "optimizer.learning_rate=1e300"),
                     3);
    WA_TESTED_EXPECT_ERROR(t, "diverged", "epoch 1", "step ", "conv1.weight");
}

/* It does not go unnoticed in a later epoch either, and what was good is kept. */
static void test_divergence_after_a_checkpoint(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--quiet", "--set",
                                   "optimizer.learning_rate=1e6", "--set", "epochs=300"),
                     3);
    WA_TESTED_EXPECT_ERROR(t, "diverged in epoch ", "step ", "tensor: ");
    if (wa_tested_has(t, "run" LAST)) {
        assert_true(is_finite_checkpoint(t, "run" LAST));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WA_COMMAND_TEST(test_no_platform),
        WA_COMMAND_TEST(test_no_such_device),
        WA_COMMAND_TEST(test_more_than_the_device_has),
        WA_COMMAND_TEST(test_unwritable_directory),
        WA_COMMAND_TEST(test_full_disk),
        WA_COMMAND_TEST(test_damaged_kernel_cache),
        WA_COMMAND_TEST(test_no_kernel_cache),
        WA_COMMAND_TEST(test_refused_kernel),
        WA_COMMAND_TEST(test_divergence),
        WA_COMMAND_TEST(test_divergence_after_a_checkpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
