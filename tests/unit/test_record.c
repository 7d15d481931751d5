/* The directory of a run: what is written, what a resume keeps, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"
#include "record.h"

struct run {
    char folder[64], directory[96], run[128], metrics[128], steps[128], lock[128];
};

static int set_up(void **state)
{
    struct run *run = calloc(1, sizeof *run);
    assert_non_null(run);
    (void)snprintf(run->folder, sizeof run->folder, "/tmp/walign-test-XXXXXX");
    assert_non_null(mkdtemp(run->folder));
    (void)snprintf(run->directory, sizeof run->directory, "%s/runs/one", run->folder);
    (void)snprintf(run->run, sizeof run->run, "%s/run.json", run->directory);
    (void)snprintf(run->metrics, sizeof run->metrics, "%s/metrics.jsonl", run->directory);
    (void)snprintf(run->steps, sizeof run->steps, "%s/steps.jsonl", run->directory);
    (void)snprintf(run->lock, sizeof run->lock, "%s/lock", run->directory);
    *state = run;
    return 0;
}

static int tear_down(void **state)
{
    struct run *run = *state;
    char path[192];
    assert_false(wa_file_exists(run->lock));
    (void)unlink(run->run);
    (void)unlink(run->metrics);
    (void)unlink(run->steps);
    (void)snprintf(path, sizeof path, "%s/checkpoints", run->directory);
    (void)rmdir(path);
    (void)rmdir(run->directory);
    (void)snprintf(path, sizeof path, "%s/runs", run->folder);
    (void)rmdir(path);
    assert_int_equal(rmdir(run->folder), 0); /* nothing else may be left */
    free(run);
    return 0;
}

static struct wa_record *open_run(const struct run *run, bool resume)
{
    struct wa_record *record = NULL;
    struct wa_error err = {.status = WA_OK};
    if (wa_record_open(run->directory, resume, &record, &err) != WA_OK) {
        fail_msg("%s", err.message);
    }
    return record;
}

static void assert_refused(const struct run *run, bool resume, wa_status status, const char *part)
{
    struct wa_record *record = NULL;
    struct wa_error err = {.status = WA_OK};
    assert_int_equal(wa_record_open(run->directory, resume, &record, &err), status);
    assert_null(record);
    assert_int_equal(err.status, status);
    assert_memory_equal(err.message, run->directory, strlen(run->directory));
    if (!strstr(err.message, part)) {
        fail_msg("'%s' not in: %s", part, err.message);
    }
}

static struct json_object *line_of(const char *key, int64_t number, double loss)
{
    struct json_object *line = json_object_new_object();
    assert_int_equal(json_object_object_add(line, key, json_object_new_int64(number)), 0);
    assert_int_equal(json_object_object_add(line, "loss", wa_record_number(loss)), 0);
    return line;
}

static void append_epoch(struct wa_record *record, int64_t epoch, double loss)
{
    struct wa_error err = {.status = WA_OK};
    struct json_object *line = line_of("epoch", epoch, loss);
    assert_int_equal(wa_record_append_metrics(record, line, &err), WA_OK);
    json_object_put(line);
}

static void append_step(struct wa_record *record, int64_t step, double loss)
{
    struct wa_error err = {.status = WA_OK};
    struct json_object *line = line_of("step", step, loss);
    assert_int_equal(wa_record_append_step(record, line, &err), WA_OK);
    json_object_put(line);
}

static void write_text(const char *path, const char *text)
{
    struct wa_error err = {.status = WA_OK};
    assert_int_equal(wa_file_write_atomic(path, text, strlen(text), &err), WA_OK);
}

static void assert_content(const char *path, const char *text)
{
    struct wa_error err = {.status = WA_OK};
    unsigned char *data;
    size_t size;
    assert_int_equal(wa_file_read_all(path, 1 << 20, &data, &size, &err), WA_OK);
    assert_string_equal((const char *)data, text);
    free(data);
}

static void test_lines(void **state)
{
    const struct run *run = *state;
    struct wa_error err = {.status = WA_OK};
    struct wa_record *record = open_run(run, false);
    assert_string_equal(wa_record_directory(record), run->directory);
    assert_int_equal(wa_record_last_epoch(record), -1);
    assert_int_equal(wa_record_last_step(record), -1);
    assert_false(wa_file_exists(run->metrics));
    assert_int_equal(wa_record_sync(record, &err), WA_OK);
    append_epoch(record, 1, (double)0.1f);
    assert_content(run->metrics, "{\"epoch\":1,\"loss\":0.100000001}\n"); /* at once */
    append_epoch(record, 2, 1.0);
    append_epoch(record, 3, 1e-30);
    append_epoch(record, 4, (double)NAN);
    append_epoch(record, 5, -(double)INFINITY);
    append_step(record, 1, 0.25);
    assert_int_equal(wa_record_sync(record, &err), WA_OK);
    assert_int_equal(wa_record_last_epoch(record), 5);
    assert_int_equal(wa_record_last_step(record), 1);
    wa_record_close(record);
    wa_record_close(NULL);
    assert_content(run->metrics, "{\"epoch\":1,\"loss\":0.100000001}\n"
                                 "{\"epoch\":2,\"loss\":1.0}\n"
                                 "{\"epoch\":3,\"loss\":1e-30}\n"
                                 "{\"epoch\":4,\"loss\":null}\n"
                                 "{\"epoch\":5,\"loss\":null}\n");
    assert_content(run->steps, "{\"step\":1,\"loss\":0.25}\n");
}

/* Whatever a caller puts into a line, it is JSON. */
static void test_lines_are_json(void **state)
{
    const struct run *run = *state;
    struct wa_error err = {.status = WA_OK};
    struct wa_record *record = open_run(run, false);
    struct json_object *line = line_of("epoch", 1, 0.5);
    struct json_object *list = json_object_new_array();
    json_object_array_add(list, json_object_new_double((double)NAN));
    json_object_array_add(list, json_object_new_double(1.0 / 3.0));
    json_object_array_add(list, json_object_new_string("a/\"\n\xff"
                                                       "b\xed\xa0\x80\xc3\xa9"));
    json_object_object_add(line, "list", list);
    assert_int_equal(wa_record_append_metrics(record, line, &err), WA_OK);
    json_object_put(line);

    line = json_object_new_object();
    assert_int_equal(wa_record_append_metrics(record, line, &err), WA_E_FAILED);
    assert_non_null(strstr(err.message, "without \"epoch\""));
    json_object_object_add(line, "epoch", json_object_new_double(2.0));
    assert_int_equal(wa_record_append_metrics(record, line, &err), WA_E_FAILED);
    json_object_put(line);
    wa_record_close(record);
    assert_content(run->metrics,
                   "{\"epoch\":1,\"loss\":0.5,\"list\":[null,0.333333333,\"a/\\\"\\n\xef\xbf\xbd"
                   "b\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xc3\xa9\"]}\n");
}

static void test_run_json(void **state)
{
    const struct run *run = *state;
    struct wa_error err = {.status = WA_OK};
    struct wa_record *record = open_run(run, false);
    struct json_object *read = NULL;
    assert_int_equal(wa_record_read_run(run->directory, &read, &err), WA_E_DATA);
    assert_non_null(strstr(err.message, "run.json: cannot open: No such file"));
    err.status = WA_OK;

    struct json_object *object = json_tokener_parse("{\"learning_rate\": 1.50e0}");
    json_object_object_add(object, "computed", json_object_new_double(0.1));
    json_object_object_add(object, "third", json_object_new_double(1.0 / 3.0));
    json_object_object_add(object, "bad", json_object_new_double((double)INFINITY));
    json_object_object_add(object, "path", json_object_new_string("a/b"));
    assert_int_equal(wa_record_write_run(record, object, &err), WA_OK);
    assert_content(run->run, "{\n"
                             "  \"learning_rate\": 1.50e0,\n"
                             "  \"computed\": 0.1,\n"
                             "  \"third\": 0.3333333333333333,\n"
                             "  \"bad\": null,\n"
                             "  \"path\": \"a/b\"\n"
                             "}\n");
    json_object_object_add(object, "path", json_object_new_string("c"));
    assert_int_equal(wa_record_write_run(record, object, &err), WA_OK);
    wa_record_close(record);
    json_object_put(object);
    assert_int_equal(wa_record_read_run(run->directory, &read, &err), WA_OK);
    assert_string_equal(json_object_get_string(json_object_object_get(read, "path")), "c");
    json_object_put(read);
}

static void test_damaged_run_json(void **state)
{
    const struct run *run = *state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", "run.json:1:1: damaged record of a run: it ends too early"},
        {"{\n \"a\": 1", "it ends too early"},
        {"{\n \"a\": ?}", "run.json:2:7: damaged record of a run"},
        {"[]", "something else"},
        {"{} {}", "damaged record"},
        {"{}\n\n", NULL},
    };
    wa_record_close(open_run(run, false));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wa_error err = {.status = WA_OK};
        struct json_object *read = NULL;
        write_text(run->run, cases[i].text);
        wa_status status = wa_record_read_run(run->directory, &read, &err);
        assert_int_equal(status, cases[i].part ? WA_E_DATA : WA_OK);
        if (cases[i].part && !strstr(err.message, cases[i].part)) {
            fail_msg("%s", err.message);
        }
        json_object_put(read);
    }
}

static void test_refuses_earlier_run(void **state)
{
    const struct run *run = *state;
    wa_record_close(open_run(run, false));
    wa_record_close(open_run(run, false)); /* an empty directory is no run */
    write_text(run->metrics, "{\"epoch\":1}\n");
    assert_refused(run, false, WA_E_USAGE, "already (metrics.jsonl); go on with it by --resume");
    write_text(run->run, "{}");
    assert_refused(run, false, WA_E_USAGE, "already (run.json)");
    assert_content(run->metrics, "{\"epoch\":1}\n");
    assert_false(wa_file_exists(run->lock));
    wa_record_close(open_run(run, true));
}

static void test_lock(void **state)
{
    const struct run *run = *state;
    char part[64];
    (void)snprintf(part, sizeof part, "another walign, process %ld, is writing", (long)getpid());
    struct wa_record *record = open_run(run, false);
    assert_refused(run, false, WA_E_USAGE, "another walign");
    assert_refused(run, true, WA_E_USAGE, "another walign");
    assert_true(wa_file_exists(run->lock)); /* the refused one leaves it alone */
    pid_t child = fork();
    if (child == 0) {
        struct wa_record *other = NULL;
        struct wa_error err = {.status = WA_OK};
        wa_status status = wa_record_open(run->directory, true, &other, &err);
        bool is_named = strstr(err.message, "another walign, process ") != NULL;
        _exit(status == WA_E_USAGE && is_named ? 0 : 1);
    }
    int child_status = -1;
    assert_int_equal(waitpid(child, &child_status, 0), child);
    assert_int_equal(child_status, 0);
    wa_record_close(record);

    /* A killed process leaves its file, but not its lock. */
    write_text(run->lock, "1\n");
    wa_record_close(open_run(run, true));
}

static void test_resume(void **state)
{
    const struct run *run = *state;
    static const char metrics[] = "{\"epoch\":1,\"loss\":1.5}\n{ \"epoch\": 2, \"loss\": 1.25 }\n";
    struct wa_record *record = open_run(run, false);
    wa_record_close(record);
    write_text(run->metrics, "{\"epoch\":1,\"loss\":1.5}\n{ \"epoch\": 2, \"loss\": 1.25 }\n"
                             "{\"epoch\":3,\"lo");
    write_text(run->steps, "{\"step\":450,\"loss\":1}\n{\"step\":451,\"loss\":1}");
    char temporary[192];
    (void)snprintf(temporary, sizeof temporary, "%s/checkpoints/last.safetensors.tmp-99-0",
                   run->directory);
    write_text(temporary, "half");

    record = open_run(run, true);
    assert_false(wa_file_exists(temporary));
    assert_content(run->metrics, metrics);
    assert_content(run->steps, "{\"step\":450,\"loss\":1}\n");
    assert_int_equal(wa_record_last_epoch(record), 2);
    assert_int_equal(wa_record_last_step(record), 450);
    append_epoch(record, 2, 9.0); /* the checkpoint was older than the lines */
    assert_content(run->metrics, metrics);
    append_epoch(record, 3, 9.0);
    append_step(record, 450, 9.0);
    append_step(record, 451, 2.0);
    wa_record_close(record);
    assert_content(run->metrics, "{\"epoch\":1,\"loss\":1.5}\n{ \"epoch\": 2, \"loss\": 1.25 }\n"
                                 "{\"epoch\":3,\"loss\":9.0}\n");
    assert_content(run->steps, "{\"step\":450,\"loss\":1}\n{\"step\":451,\"loss\":2.0}\n");
}

static void test_resume_refuses_foreign_lines(void **state)
{
    const struct run *run = *state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"{\"epoch\":1}\nhello\n", "metrics.jsonl:2:1: expected a JSON object with \"epoch\""},
        {"\n", "metrics.jsonl:1:1: "},
        {"[1]\n", "metrics.jsonl:1:1: "},
        {"null\n", "metrics.jsonl:1:1: "},
        {"{\"step\":1}\n", "metrics.jsonl:1:1: "},
        {"{\"epoch\":\"1\"}\n", "metrics.jsonl:1:1: "},
        {"{\"epoch\":-1}\n", "metrics.jsonl:1:1: "},
        {"{\"epoch\":1} {\n", "metrics.jsonl:1:1: "},
        {"{\"epoch\":2}\n{\"epoch\":2}\n", "metrics.jsonl:2:1: "},
    };
    wa_record_close(open_run(run, false));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_text(run->metrics, cases[i].text);
        assert_refused(run, true, WA_E_DATA, cases[i].part);
        assert_content(run->metrics, cases[i].text);
    }
}

static void test_bad_directory(void **state)
{
    const struct run *run = *state;
    struct wa_error err = {.status = WA_OK};
    struct wa_record *record = NULL;
    char path[192];
    assert_int_equal(wa_record_open("/proc/nothing/here", false, &record, &err), WA_E_USAGE);
    assert_non_null(strstr(err.message, "/proc/nothing: cannot make this folder"));
    err.status = WA_OK;
    wa_record_close(open_run(run, false));
    write_text(run->run, "{}");
    (void)snprintf(path, sizeof path, "%s/below", run->run);
    assert_int_equal(wa_record_open(path, false, &record, &err), WA_E_USAGE);
    assert_int_equal(err.status, WA_E_USAGE);
    assert_non_null(strstr(err.message, "run.json: cannot make this folder"));
    assert_null(record);
}

/* root writes everywhere, so this one needs another user */
static void test_unwritable_directory(void **state)
{
    const struct run *run = *state;
    wa_record_close(open_run(run, false));
    assert_int_equal(chmod(run->directory, 0500), 0);
    if (access(run->directory, W_OK) != 0) {
        assert_refused(run, false, WA_E_USAGE, "check its permissions or choose another folder");
    }
    assert_int_equal(chmod(run->directory, 0700), 0);
}

static void test_checkpoint_paths(void **state)
{
    (void)state;
    static const struct {
        uint64_t epoch;
        const char *path;
    } cases[] = {
        {0, "d/checkpoints/epoch-0000.safetensors"},
        {150, "d/checkpoints/epoch-0150.safetensors"},
        {12345, "d/checkpoints/epoch-12345.safetensors"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *path = wa_record_checkpoint_path("d", cases[i].epoch);
        assert_string_equal(path, cases[i].path);
        free(path);
    }
    char *path = wa_record_last_checkpoint_path("d");
    assert_string_equal(path, "d/checkpoints/last.safetensors");
    free(path);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_lines),
        TEST(test_lines_are_json),
        TEST(test_run_json),
        TEST(test_damaged_run_json),
        TEST(test_refuses_earlier_run),
        TEST(test_lock),
        TEST(test_resume),
        TEST(test_resume_refuses_foreign_lines),
        TEST(test_bad_directory),
        TEST(test_unwritable_directory),
        cmocka_unit_test(test_checkpoint_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
