/* A dataset plugin's instance under test, behind a fake host; and looks at what it gave. */
#ifndef WALIGN_TESTS_OPENED_DATASET_H
#define WALIGN_TESTS_OPENED_DATASET_H

#include "fake_dataset_host.h"

struct wa_opened_dataset {
    struct wa_fake_dataset_host fake;
    const wa_dataset_ops *ops;
    void *self; /* NULL where open failed */
    wa_dataset_info info;
};

/* Opens the plugin that is linked in. On failure it also checks that neither output was touched.
 * `ret_opened` is not to be moved; wa_opened_dataset_close takes it either way. */
wa_status wa_opened_dataset_open(struct wa_opened_dataset *ret_opened, const wa_plugin *plugin,
                                 const struct wa_fake_option *options, size_t option_count,
                                 const char *dir);
void wa_opened_dataset_close(struct wa_opened_dataset *opened);

/* Reads one item. */
wa_status wa_opened_dataset_read(const struct wa_opened_dataset *opened, wa_part part,
                                 uint64_t index, void *ret_item, uint32_t *ret_label);

/* Fails the running test unless opening fails with `status` and a message that has all the texts,
 * which end with NULL. Leaves nothing open. */
void wa_opened_dataset_expect_failure(const wa_plugin *plugin, const struct wa_fake_option *options,
                                      size_t option_count, const char *dir, wa_status status, ...);

#endif
