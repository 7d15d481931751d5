/* What the golden tests share: see golden_run.h. */
#include "golden_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *wa_golden_path(const char *name)
{
    static char path[4096]; /* tests run one after the other */
    const char *folder = getenv("WALIGN_TEST_GOLDEN");
    if (!folder) {
        fail_msg("WALIGN_TEST_GOLDEN does not name the folder of the golden files");
    }
    assert_in_range(snprintf(path, sizeof path, "%s/%s", folder, name), 1, sizeof path - 1);
    return path;
}

json_object *wa_golden_read(const char *name)
{
    json_object *object = json_object_from_file(wa_golden_path(name));
    if (!object) {
        fail_msg("%s: %s", name, json_util_get_last_err());
    }
    return object;
}

json_object *wa_golden_get(const json_object *object, const char *key)
{
    json_object *value = NULL;
    if (!json_object_object_get_ex(object, key, &value) || !value) {
        fail_msg("no \"%s\"", key);
    }
    return value;
}

double wa_golden_number(const json_object *object, const char *key)
{
    return json_object_get_double(wa_golden_get(object, key));
}

const char *wa_golden_text(const json_object *object, const char *key)
{
    return json_object_get_string(wa_golden_get(object, key));
}

double wa_golden_at(const json_object *array, size_t index)
{
    assert_true(index < json_object_array_length(array));
    return json_object_get_double(json_object_array_get_idx(array, index));
}

/* Copies what both objects name alike. */
static void copy(json_object *to, const json_object *from, const char *key)
{
    (void)json_object_object_add(to, key, json_object_get(wa_golden_get(from, key)));
}

static json_object *section(json_object *config, const char *name, const char *plugin)
{
    json_object *o = json_object_new_object();
    (void)json_object_object_add(o, "plugin", json_object_new_string(plugin));
    (void)json_object_object_add(config, name, o);
    return o;
}

json_object *wa_golden_config(const json_object *golden_case, const char *optimizer)
{
    json_object *config = json_object_new_object();
    assert_non_null(config);
    json_object *rule = section(config, "rule", wa_golden_text(golden_case, "rule"));
    json_object *options = NULL;
    if (json_object_object_get_ex(golden_case, "rule_options", &options)) {
        json_object_object_foreach(options, name, value)
        {
            (void)json_object_object_add(rule, name, json_object_get(value));
        }
    }
    copy(section(config, "optimizer", optimizer), golden_case, "learning_rate");
    copy(config, golden_case, "parameterization");
    copy(config, golden_case, "batch");
    copy(config, golden_case, "seed");
    (void)json_object_object_add(config, "log_steps", json_object_new_boolean(true));
    const char *path = getenv("WALIGN_TEST_PATH");
    if (path && *path) {
        json_object *kernels = json_object_new_object();
        (void)json_object_object_add(kernels, "path", json_object_new_string(path));
        (void)json_object_object_add(config, "kernels", kernels);
    }
    return config;
}

void wa_golden_write_config(struct wa_tested_program *tested, const char *name,
                            const json_object *config)
{
    const char *text = json_object_to_json_string((json_object *)(uintptr_t)config);
    wa_tested_write(tested, name, text, strlen(text));
}

void wa_golden_expect_losses(struct wa_tested_program *tested, const char *steps_name,
                             const json_object *expected, double tolerance, bool at_least)
{
    size_t steps = json_object_array_length(expected);
    char *text = wa_tested_read(tested, steps_name, NULL);
    char *rest = text;
    size_t count = 0;
    double worst = 0;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        json_object *step = json_tokener_parse(line);
        assert_int_equal((int64_t)wa_golden_number(step, "step"), count + 1);
        if (count < steps) {
            double wanted = wa_golden_at(expected, count);
            double error = fabs(wa_golden_number(step, "loss") / wanted - 1);
            if (!(error <= tolerance)) {
                fail_msg("step %zu: loss %.9g, expected %.9g within %g: off by %g", count + 1,
                         wa_golden_number(step, "loss"), wanted, tolerance, error);
            }
            worst = fmax(worst, error);
        }
        count++;
        (void)json_object_put(step);
    }
    free(text);
    if (at_least) {
        assert_true(count >= steps);
    } else {
        assert_int_equal(count, steps);
    }
    print_message("%zu losses within %.2g\n", steps, worst);
}
