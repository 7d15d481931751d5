/* A dataset plugin's instance under test: see opened_dataset.h. */
#include "opened_dataset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

wa_status wa_opened_dataset_open(struct wa_opened_dataset *ret_opened, const wa_plugin *plugin,
                                 const struct wa_fake_option *options, size_t option_count,
                                 const char *dir)
{
    memset(ret_opened, 0, sizeof *ret_opened);
    wa_fake_dataset_host_init(&ret_opened->fake, options, option_count, dir);
    ret_opened->ops = plugin->dataset;
    ret_opened->info.struct_size = sizeof ret_opened->info;
    const wa_dataset_info untouched = ret_opened->info;
    wa_status status =
        plugin->dataset->open(&ret_opened->fake.host, &ret_opened->self, &ret_opened->info);
    assert_int_equal(ret_opened->fake.misbehaviors, 0);
    assert_int_equal(ret_opened->fake.status, status);
    if (status != WA_OK) {
        assert_int_equal(ret_opened->fake.failures, 1);
        assert_null(ret_opened->self);
        assert_memory_equal(&ret_opened->info, &untouched, sizeof untouched);
    } else {
        assert_non_null(ret_opened->self);
    }
    return status;
}

void wa_opened_dataset_close(struct wa_opened_dataset *opened)
{
    opened->ops->close(opened->self);
    opened->self = NULL;
}

wa_status wa_opened_dataset_read(const struct wa_opened_dataset *opened, wa_part part,
                                 uint64_t index, void *ret_item, uint32_t *ret_label)
{
    const wa_read read = {
        .struct_size = sizeof read,
        .part = part,
        .index = index,
        .ret_item = ret_item,
        .ret_target = ret_label,
    };
    return opened->ops->read(opened->self, &read);
}

void wa_opened_dataset_expect_failure(const wa_plugin *plugin, const struct wa_fake_option *options,
                                      size_t option_count, const char *dir, wa_status status, ...)
{
    struct wa_opened_dataset opened;
    wa_status found = wa_opened_dataset_open(&opened, plugin, options, option_count, dir);
    wa_opened_dataset_close(&opened);
    assert_int_equal(found, status);
    va_list texts;
    va_start(texts, status);
    const char *text = va_arg(texts, const char *);
    while (text && strstr(opened.fake.message, text)) {
        text = va_arg(texts, const char *);
    }
    va_end(texts);
    if (text) {
        print_error("'%s' is not in the message: %s\n", text, opened.fake.message);
    }
    assert_null(text);
}
