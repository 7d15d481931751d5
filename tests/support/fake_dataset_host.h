/* A wa_dataset_host for tests of dataset plugins: options come from a table, the folder of the data
 * is given, and the first failure is kept for the test to look at. */
#ifndef WALIGN_TESTS_FAKE_DATASET_HOST_H
#define WALIGN_TESTS_FAKE_DATASET_HOST_H

#include "walign/plugin.h"

enum wa_fake_type {
    WA_FAKE_NULL = 1,
    WA_FAKE_INTEGER,
    WA_FAKE_NUMBER,
    WA_FAKE_BOOLEAN,
    WA_FAKE_STRING
};

struct wa_fake_option {
    const char *name;
    enum wa_fake_type type;
    int64_t integer; /* of an integer, or 0 and 1 of a boolean */
    double number;
    const char *string;
};

struct wa_fake_dataset_host {
    wa_dataset_host host; /* give its address to open */
    wa_host base;
    const struct wa_fake_option *options; /* the caller's; lives as long as the host */
    size_t option_count;
    const char *dir;  /* what data_dir returns; NULL: it fails with WA_E_DATA */
    wa_status status; /* WA_OK until the plugin fails */
    char message[1024];
    unsigned failures;     /* calls of fail */
    unsigned misbehaviors; /* options asked for that the table lacks or has of another type */
};

/* In place, and not to be moved afterwards. Nothing is to be freed. */
void wa_fake_dataset_host_init(struct wa_fake_dataset_host *fake,
                               const struct wa_fake_option *options, size_t option_count,
                               const char *dir);

#endif
