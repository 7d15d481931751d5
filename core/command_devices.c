/* `walign devices`. */
#include <stdio.h>

#include <json-c/json.h>

#include "commands.h"

static json_object *describe(const struct wa_device_info *info, size_t index, bool is_default)
{
    json_object *o = json_object_new_object();
    const struct {
        const char *key, *value;
    } texts[] = {
        {"name", info->name},
        {"type", wa_device_type_name(info->type)},
        {"platform", info->platform_name},
        {"platform_version", info->platform_version},
        {"vendor", info->vendor},
        {"driver", info->driver},
        {"opencl", info->version},
    };
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"compute_units", info->compute_units},
        {"clock_mhz", info->clock_mhz},
        {"native_vector_width", info->native_vector_width},
        {"global_bytes", info->global_bytes},
        {"allocation_bytes", info->allocation_bytes},
        {"local_bytes", info->local_bytes},
        {"work_group_size", info->work_group_size},
    };
    (void)json_object_object_add(o, "index", json_object_new_int64((int64_t)index));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        (void)json_object_object_add(o, texts[i].key, json_object_new_string(texts[i].value));
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        (void)json_object_object_add(o, numbers[i].key,
                                     json_object_new_int64((int64_t)numbers[i].value));
    }
    (void)json_object_object_add(o, "available", json_object_new_boolean(info->is_available));
    (void)json_object_object_add(o, "default", json_object_new_boolean(is_default));
    return o;
}

wa_status wa_command_devices(const struct wa_command_line *line, struct wa_error *err)
{
    struct wa_device_list list;
    wa_status status = wa_device_list_init(&list, err);
    if (status != WA_OK) {
        return status;
    }
    size_t chosen = list.count;
    struct wa_error ignored = {0};
    if (wa_device_choose(&list, NULL, &chosen, &ignored) != WA_OK) {
        chosen = list.count; /* nothing to choose from: the list shows it */
    }
    json_object *all = json_object_new_array();
    for (size_t i = 0; i < list.count; i++) {
        const struct wa_device_info *info = &list.items[i];
        if (line->json) {
            (void)json_object_array_add(all, describe(info, i, i == chosen));
            continue;
        }
        (void)printf(
            "%zu%s %s\n    %s, %s, driver %s\n    %u compute units, %.1f GB memory, %.1f GB in "
            "one piece, %.0f KB local, vectors of %u floats%s\n",
            i, i == chosen ? "*" : " ", info->name, wa_device_type_name(info->type),
            info->platform_name, info->driver, info->compute_units,
            (double)info->global_bytes / 1e9, (double)info->allocation_bytes / 1e9,
            (double)info->local_bytes / 1024.0, info->native_vector_width,
            info->is_available ? "" : ", not available");
    }
    if (line->json) {
        (void)printf("%s\n", json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY));
    } else if (list.count == 0) {
        (void)printf("no OpenCL device: " WA_DEVICE_NONE_ADVICE "\n");
    } else {
        (void)printf("* is taken where --device names none\n");
    }
    (void)json_object_put(all);
    wa_device_list_finish(&list);
    return WA_OK;
}
