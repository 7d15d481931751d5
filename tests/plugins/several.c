/* A file with several plugins, of the other kinds; one id is that of the good rule. */
#include "fixture.h"

static wa_status open_data(const wa_dataset_host *host, void **ret_self, wa_dataset_info *ret_info)
{
    (void)host;
    (void)ret_self;
    (void)ret_info;
    abort();
}

static wa_status read_item(void *self, const wa_read *read)
{
    (void)self;
    (void)read;
    abort();
}

static wa_status create_optimizer(const wa_optimizer_host *host, void **ret_self)
{
    (void)host;
    (void)ret_self;
    abort();
}

static wa_status apply(void *self, uint64_t step)
{
    (void)self;
    (void)step;
    abort();
}

static const wa_architecture_ops architecture_ops = {.struct_size = sizeof(wa_architecture_ops),
                                                     .build = fixture_build};
static const wa_dataset_ops dataset_ops = {.struct_size = sizeof(wa_dataset_ops),
                                           .default_validation = 7,
                                           .open = open_data,
                                           .close = fixture_destroy,
                                           .read = read_item};
static const wa_optimizer_ops optimizer_ops = {.struct_size = sizeof(wa_optimizer_ops),
                                               .create = create_optimizer,
                                               .destroy = fixture_destroy,
                                               .apply = apply};

static const wa_plugin architecture = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_ARCHITECTURE,
                                       .id = "good-rule", .architecture = &architecture_ops};
static const wa_plugin dataset = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_DATASET, .id = "good-dataset",
                                  .dataset = &dataset_ops};
static const wa_plugin optimizer = {FIXTURE_DESCRIPTOR, .kind = WA_KIND_OPTIMIZER,
                                    .id = "good-optimizer", .roles = WA_ROLE_DEFAULT,
                                    .optimizer = &optimizer_ops};

static const wa_plugin *const plugins[] = {&architecture, &dataset, &optimizer};
WA_PLUGIN_ENTRY(plugins, 3)
