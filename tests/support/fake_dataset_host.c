/* The host of a dataset plugin under test: see fake_dataset_host.h. */
#include "fake_dataset_host.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct wa_fake_dataset_host *fake_of(const wa_host *host)
{
    return host->context;
}

static wa_status fake_fail(const wa_host *host, wa_status status, const char *format, ...)
    WA_PRINTF(3, 4);
static void fake_log(const wa_host *host, wa_log_level level, const char *format, ...)
    WA_PRINTF(3, 4);

static wa_status fake_fail(const wa_host *host, wa_status status, const char *format, ...)
{
    struct wa_fake_dataset_host *fake = fake_of(host);
    fake->failures++;
    if (fake->status == WA_OK) {
        va_list arguments;
        va_start(arguments, format);
        fake->status = status;
        (void)vsnprintf(fake->message, sizeof fake->message, format, arguments);
        va_end(arguments);
    }
    return status;
}

static void fake_log(const wa_host *host, wa_log_level level, const char *format, ...)
{
    if (level == WA_LOG_PLUGIN_MISBEHAVING) {
        fake_of(host)->misbehaviors++;
    }
    (void)format;
}

/* The option, or NULL (and one misbehavior more) where it is missing or of another type. */
static const struct wa_fake_option *find(const wa_host *host, const char *name,
                                         enum wa_fake_type type)
{
    struct wa_fake_dataset_host *fake = fake_of(host);
    for (size_t i = 0; i < fake->option_count; i++) {
        if (strcmp(fake->options[i].name, name) == 0 && fake->options[i].type == type) {
            return &fake->options[i];
        }
    }
    fake->misbehaviors++;
    return NULL;
}

static bool fake_option_is_null(const wa_host *host, const char *name)
{
    struct wa_fake_dataset_host *fake = fake_of(host);
    for (size_t i = 0; i < fake->option_count; i++) {
        if (strcmp(fake->options[i].name, name) == 0) {
            return fake->options[i].type == WA_FAKE_NULL;
        }
    }
    fake->misbehaviors++;
    return true;
}

static int64_t fake_option_integer(const wa_host *host, const char *name)
{
    const struct wa_fake_option *option = find(host, name, WA_FAKE_INTEGER);
    return option ? option->integer : 0;
}

static double fake_option_number(const wa_host *host, const char *name)
{
    const struct wa_fake_option *option = find(host, name, WA_FAKE_NUMBER);
    return option ? option->number : 0.0;
}

static bool fake_option_boolean(const wa_host *host, const char *name)
{
    const struct wa_fake_option *option = find(host, name, WA_FAKE_BOOLEAN);
    return option && option->integer != 0;
}

static const char *fake_option_string(const wa_host *host, const char *name)
{
    const struct wa_fake_option *option = find(host, name, WA_FAKE_STRING);
    return option ? option->string : NULL;
}

/* No dataset has a list among its options. */
static size_t fake_option_length(const wa_host *host, const char *name)
{
    (void)name;
    fake_of(host)->misbehaviors++;
    return 0;
}

static int64_t fake_option_integer_at(const wa_host *host, const char *name, size_t index)
{
    (void)name;
    (void)index;
    fake_of(host)->misbehaviors++;
    return 0;
}

static const void *fake_get_extension(const wa_host *host, const char *name)
{
    (void)host;
    (void)name;
    return NULL;
}

static wa_status fake_data_dir(const wa_dataset_host *host, const char **ret_dir)
{
    const struct wa_fake_dataset_host *fake = fake_of(host->base);
    if (!fake->dir) {
        return host->base->fail(host->base, WA_E_DATA, "no folder of the data");
    }
    *ret_dir = fake->dir;
    return WA_OK;
}

void wa_fake_dataset_host_init(struct wa_fake_dataset_host *fake,
                               const struct wa_fake_option *options, size_t option_count,
                               const char *dir)
{
    *fake = (struct wa_fake_dataset_host){
        .options = options, .option_count = option_count, .dir = dir, .status = WA_OK};
    fake->base = (wa_host){
        .struct_size = sizeof fake->base,
        .context = fake,
        .fail = fake_fail,
        .log = fake_log,
        .option_is_null = fake_option_is_null,
        .option_integer = fake_option_integer,
        .option_number = fake_option_number,
        .option_boolean = fake_option_boolean,
        .option_string = fake_option_string,
        .option_path = fake_option_string,
        .option_length = fake_option_length,
        .option_integer_at = fake_option_integer_at,
        .get_extension = fake_get_extension,
    };
    fake->host = (wa_dataset_host){
        .struct_size = sizeof fake->host, .base = &fake->base, .data_dir = fake_data_dir};
}
