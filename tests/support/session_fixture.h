/* A session of a small network for tests, made from the built plugins of $WALIGN_TEST_BUILD (the build
 * folder), and its parameters as one array. Every failure fails the running test. */
#ifndef WALIGN_TESTS_SESSION_FIXTURE_H
#define WALIGN_TESTS_SESSION_FIXTURE_H

#include "device_fixture.h"
#include "registry.h"
#include "session.h"

struct wa_session_shape {
    const char *rule;
    const char *rule_options;      /* JSON; NULL: {} */
    const char *optimizer;         /* NULL: "sgd" */
    const char *optimizer_options; /* JSON */
    const char *architecture;      /* NULL: "cnn" */
    const char *architecture_options;
    int batch, rows, columns, channels, classes;
    wa_element element;
    int target_values; /* 0: targets are classes */
    uint32_t seed;
    bool is_standard;
};

struct wa_session_under_test {
    struct wa_fixture *fixture;
    struct wa_registry *registry;
    json_object *architecture_options, *rule_options, *optimizer_options;
    struct wa_session *session;
    size_t parameter_count;
};

void wa_session_open(struct wa_fixture *fixture, const struct wa_session_shape *shape,
                     struct wa_session_under_test *ret_test);
void wa_session_close(struct wa_session_under_test *test);

/* Weight and bias of each layer, bottom to top, each [out][kernel row][kernel column][in]; memory as
 * of wa_fixture_allocate. */
float *wa_session_parameters(struct wa_session_under_test *test);
void wa_session_set_parameters(struct wa_session_under_test *test, const float *values);

/* Trains steps first .. last on one batch and returns the loss before the last one. */
double wa_session_steps(struct wa_session_under_test *test, const void *items, const void *targets,
                        uint64_t first, uint64_t last);

/* A batch of bytes: each class has a pattern of its own, each item noise of its own. */
unsigned char *wa_session_images(struct wa_fixture *fixture, const struct wa_session_shape *shape,
                                 const uint32_t *labels);
uint32_t *wa_session_labels(struct wa_fixture *fixture, const struct wa_session_shape *shape);

#endif
