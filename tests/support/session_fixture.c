/* A session of a small network for tests: see session_fixture.h. */
#include "session_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static json_object *parse(const char *text)
{
    json_object *object = json_tokener_parse(text ? text : "{}");
    assert_non_null(object);
    return object;
}

static const struct wa_plugin_record *find(struct wa_session_under_test *test, wa_kind kind,
                                           const char *id)
{
    const struct wa_plugin_record *record = NULL;
    struct wa_fixture *fixture = test->fixture;
    WA_FIXTURE_CHECK(fixture, wa_registry_find(test->registry, kind, id, &record, &fixture->err));
    return record;
}

static void open_registry(struct wa_session_under_test *test)
{
    struct wa_fixture *fixture = test->fixture;
    const char *build = getenv("WALIGN_TEST_BUILD");
    assert_non_null(build);
    WA_FIXTURE_CHECK(fixture, wa_registry_create(&test->registry, &fixture->err));
    WA_FIXTURE_CHECK(fixture,
                     wa_registry_add_program_folders(test->registry, build, &fixture->err));
}

void wa_session_open(struct wa_fixture *fixture, const struct wa_session_shape *shape,
                     struct wa_session_under_test *ret_test)
{
    *ret_test =
        (struct wa_session_under_test){.fixture = fixture,
                                       .architecture_options = parse(shape->architecture_options),
                                       .rule_options = parse(shape->rule_options),
                                       .optimizer_options = parse(shape->optimizer_options)};
    open_registry(ret_test);
    const struct wa_session_spec spec = {
        .engine = &fixture->engine,
        .architecture =
            find(ret_test, WA_KIND_ARCHITECTURE, shape->architecture ? shape->architecture : "cnn"),
        .rule = find(ret_test, WA_KIND_RULE, shape->rule),
        .optimizer = find(ret_test, WA_KIND_OPTIMIZER, shape->optimizer ? shape->optimizer : "sgd"),
        .architecture_options = ret_test->architecture_options,
        .rule_options = ret_test->rule_options,
        .optimizer_options = ret_test->optimizer_options,
        .data = {.struct_size = sizeof(wa_dataset_info),
                 .height = (uint32_t)shape->rows,
                 .width = (uint32_t)shape->columns,
                 .channels = (uint32_t)shape->channels,
                 .classes = (uint32_t)shape->classes,
                 .element = shape->element,
                 .target_values = (uint32_t)shape->target_values,
                 .target = shape->target_values ? WA_TARGET_VALUES : WA_TARGET_CLASS,
                 .target_offset = 0.1f},
        .batch = shape->batch,
        .seed = shape->seed,
        .is_standard = shape->is_standard};
    WA_FIXTURE_CHECK(fixture, wa_session_create(&spec, &ret_test->session, &fixture->err));
    ret_test->parameter_count = wa_session_model(ret_test->session)->parameter_count;
}

void wa_session_close(struct wa_session_under_test *test)
{
    wa_session_destroy(test->session);
    wa_registry_destroy(test->registry);
    (void)json_object_put(test->architecture_options);
    (void)json_object_put(test->rule_options);
    (void)json_object_put(test->optimizer_options);
}

float *wa_session_parameters(struct wa_session_under_test *test)
{
    struct wa_fixture *fixture = test->fixture;
    size_t tensor_count = 0;
    const struct wa_session_tensor *tensors = wa_session_tensors(test->session, &tensor_count);
    float *values = wa_fixture_allocate(fixture, test->parameter_count, sizeof *values);
    size_t used = 0;
    for (size_t i = 0; i < tensor_count && used < test->parameter_count; i++) {
        WA_FIXTURE_CHECK(fixture,
                         wa_session_read(test->session, &tensors[i], values + used, &fixture->err));
        used += tensors[i].count;
    }
    assert_int_equal(used, test->parameter_count);
    return values;
}

void wa_session_set_parameters(struct wa_session_under_test *test, const float *values)
{
    struct wa_fixture *fixture = test->fixture;
    size_t tensor_count = 0;
    const struct wa_session_tensor *tensors = wa_session_tensors(test->session, &tensor_count);
    size_t used = 0;
    for (size_t i = 0; i < tensor_count && used < test->parameter_count; i++) {
        WA_FIXTURE_CHECK(
            fixture, wa_session_write(test->session, &tensors[i], values + used, &fixture->err));
        used += tensors[i].count;
    }
}

double wa_session_steps(struct wa_session_under_test *test, const void *items, const void *targets,
                        uint64_t first, uint64_t last)
{
    struct wa_fixture *fixture = test->fixture;
    struct wa_session_result results[WA_SESSION_SLOTS];
    size_t count = 0;
    const struct wa_batch batch = {
        .count = wa_session_model(test->session)->batch, .items = items, .targets = targets};
    for (uint64_t step = first; step <= last; step++) {
        WA_FIXTURE_CHECK(fixture, wa_session_train(test->session, &batch, step, &fixture->err));
    }
    WA_FIXTURE_CHECK(fixture, wa_session_collect(test->session, results, &count, &fixture->err));
    assert_int_equal(count, last - first + 1);
    return (double)results[count - 1].loss;
}

uint32_t *wa_session_labels(struct wa_fixture *fixture, const struct wa_session_shape *shape)
{
    uint32_t *labels = wa_fixture_allocate(fixture, (size_t)shape->batch, sizeof *labels);
    for (int n = 0; n < shape->batch; n++) {
        labels[n] = (uint32_t)(n % shape->classes);
    }
    return labels;
}

unsigned char *wa_session_images(struct wa_fixture *fixture, const struct wa_session_shape *shape,
                                 const uint32_t *labels)
{
    size_t values = (size_t)shape->rows * (size_t)shape->columns * (size_t)shape->channels;
    size_t classes = (size_t)shape->classes;
    unsigned char *patterns = wa_fixture_allocate(fixture, values * classes, 1);
    unsigned char *images = wa_fixture_allocate(fixture, values * (size_t)shape->batch, 1);
    for (size_t i = 0; i < values * classes; i++) {
        patterns[i] = (unsigned char)(wa_rng_uint32(&fixture->rng) & 127u);
    }
    for (size_t i = 0; i < values * (size_t)shape->batch; i++) {
        uint32_t noise = wa_rng_uint32(&fixture->rng) & 63u;
        images[i] = (unsigned char)(patterns[labels[i / values] * values + i % values] + noise);
    }
    return images;
}
