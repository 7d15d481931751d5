/* The layout of plugin.h as it was released: sizes and offsets on 64-bit systems, values of enums.
 *
 * Plugins that were built with this layout are loaded as long as WA_ABI_MAJOR stays. If a check
 * here fails to compile: a field may only be appended to its struct (add its line, change SIZE,
 * raise WA_ABI_MINOR); anything else raises WA_ABI_MAJOR. Either way the version below changes
 * too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "walign/plugin.h"

_Static_assert(WA_ABI_MAJOR == 1 && WA_ABI_MINOR == 1, "the layout below is that of ABI 1.1");

#define SAME(what, value) _Static_assert((what) == (value), #what " is part of the ABI")

/* ---- Values ---- */

SAME(WA_OK, 0);
SAME(WA_E_USAGE, 1);
SAME(WA_E_DATA, 2);
SAME(WA_E_UNSUPPORTED, 3);
SAME(WA_E_NO_DEVICE, 4);
SAME(WA_E_MEMORY, 5);
SAME(WA_E_IO, 6);
SAME(WA_E_DEVICE, 7);
SAME(WA_E_DIVERGED, 8);
SAME(WA_E_INTERRUPTED, 9);
SAME(WA_E_PLUGIN, 10);
SAME(WA_E_FAILED, 11);

SAME(WA_LOG_ERROR, 1);
SAME(WA_LOG_WARNING, 2);
SAME(WA_LOG_INFO, 3);
SAME(WA_LOG_DEBUG, 4);
SAME(WA_LOG_PLUGIN_MISBEHAVING, 5);

SAME(WA_LAYER_CONVOLUTION, 1);
SAME(WA_LAYER_RECURRENT, 2);
SAME(WA_LAYER_DENSE, 3);

SAME(WA_INPUT_AS_IS, 1);
SAME(WA_INPUT_POOLED, 2);
SAME(WA_INPUT_FLATTENED, 3);

SAME(WA_NORMALIZATION_NONE, 1);
SAME(WA_NORMALIZATION_BATCH, 2);

SAME(WA_ACTIVATION_NONE, 1);
SAME(WA_ACTIVATION_RELU, 2);

SAME(WA_JOIN_BEFORE_ACTIVATION, 1);
SAME(WA_JOIN_AFTER_ACTIVATION, 2);
SAME(WA_JOIN_NONE, 3);

SAME(WA_PART_TRAIN, 1);
SAME(WA_PART_VALIDATION, 2);
SAME(WA_PART_TEST, 3);

SAME(WA_ELEMENT_U8, 1);
SAME(WA_ELEMENT_F32, 2);

SAME(WA_TARGET_CLASS, 1);
SAME(WA_TARGET_VALUES, 2);

SAME(WA_KIND_RULE, 1);
SAME(WA_KIND_ARCHITECTURE, 2);
SAME(WA_KIND_DATASET, 3);
SAME(WA_KIND_OPTIMIZER, 4);

SAME(WA_SERVICE_TRANSPORT_WEIGHTS, 1);
SAME(WA_SERVICE_DIRECT_FEEDBACK, 2);
SAME(WA_SERVICE_TWO_TAPES, 4);
SAME(WA_SERVICE_LAYERWISE_ERROR, 8);
SAME(WA_ROLE_EXACT_GRADIENT, 1);
SAME(WA_ROLE_FROZEN_GRADIENT, 2);
SAME(WA_ROLE_DEFAULT, 4);

#if defined(__LP64__)

#define SIZE(type, bytes) SAME(sizeof(type), bytes)
#define AT(type, member, offset) SAME(offsetof(type, member), offset)

/* ---- Layout ---- */

SIZE(wa_status, 4);
SIZE(wa_log_level, 4);
SIZE(wa_layer_kind, 4);
SIZE(wa_layer_input, 4);
SIZE(wa_normalization, 4);
SIZE(wa_activation, 4);
SIZE(wa_join, 4);
SIZE(wa_part, 4);
SIZE(wa_element, 4);
SIZE(wa_target, 4);
SIZE(wa_kind, 4);

SIZE(wa_host, 104);
AT(wa_host, struct_size, 0);
AT(wa_host, context, 8);
AT(wa_host, fail, 16);
AT(wa_host, log, 24);
AT(wa_host, option_is_null, 32);
AT(wa_host, option_integer, 40);
AT(wa_host, option_number, 48);
AT(wa_host, option_boolean, 56);
AT(wa_host, option_string, 64);
AT(wa_host, option_path, 72);
AT(wa_host, option_length, 80);
AT(wa_host, option_integer_at, 88);
AT(wa_host, get_extension, 96);

SIZE(wa_tensor_names, 32);
AT(wa_tensor_names, input_weight, 0);
AT(wa_tensor_names, weight, 8);
AT(wa_tensor_names, bias, 16);
AT(wa_tensor_names, initial_state, 24);

SIZE(wa_layer, 104);
AT(wa_layer, struct_size, 0);
AT(wa_layer, name, 8);
AT(wa_layer, kind, 16);
AT(wa_layer, input, 20);
AT(wa_layer, normalization, 24);
AT(wa_layer, activation, 28);
AT(wa_layer, join, 32);
AT(wa_layer, kernel, 36);
AT(wa_layer, stride, 40);
AT(wa_layer, in_channels, 44);
AT(wa_layer, in_height, 48);
AT(wa_layer, in_width, 52);
AT(wa_layer, out_channels, 56);
AT(wa_layer, out_height, 60);
AT(wa_layer, out_width, 64);
AT(wa_layer, trains_initial_state, 68);
AT(wa_layer, tensors, 72);

SIZE(wa_net, 32);
AT(wa_net, struct_size, 0);
AT(wa_net, layer_count, 4);
AT(wa_net, layers, 8);
AT(wa_net, batch, 16);
AT(wa_net, classes, 20);
AT(wa_net, services, 24);

SIZE(wa_backward, 40);
AT(wa_backward, struct_size, 0);
AT(wa_backward, layer, 4);
AT(wa_backward, delta, 8);
AT(wa_backward, transport_tape, 16);
AT(wa_backward, transport, 24);
AT(wa_backward, gradient_tape, 32);

SIZE(wa_rule_host, 136);
AT(wa_rule_host, struct_size, 0);
AT(wa_rule_host, base, 8);
AT(wa_rule_host, net, 16);
AT(wa_rule_host, live, 24);
AT(wa_rule_host, frozen_weights, 32);
AT(wa_rule_host, feedback_weights, 40);
AT(wa_rule_host, direct_feedback, 48);
AT(wa_rule_host, tape, 56);
AT(wa_rule_host, delta, 64);
AT(wa_rule_host, set_trained, 72);
AT(wa_rule_host, draw_normal, 80);
AT(wa_rule_host, draw_feedback, 88);
AT(wa_rule_host, forward, 96);
AT(wa_rule_host, output_error, 104);
AT(wa_rule_host, backward, 112);
AT(wa_rule_host, feed_back, 120);
AT(wa_rule_host, set_state_trained, 128);

SIZE(wa_rule_ops, 48);
AT(wa_rule_ops, struct_size, 0);
AT(wa_rule_ops, needs, 8);
AT(wa_rule_ops, create, 16);
AT(wa_rule_ops, destroy, 24);
AT(wa_rule_ops, compute_update, 32);
AT(wa_rule_ops, draw_layer, 40);

SIZE(wa_architecture_host, 48);
AT(wa_architecture_host, struct_size, 0);
AT(wa_architecture_host, base, 8);
AT(wa_architecture_host, in_channels, 16);
AT(wa_architecture_host, in_height, 20);
AT(wa_architecture_host, in_width, 24);
AT(wa_architecture_host, classes, 28);
AT(wa_architecture_host, add_layer, 32);
AT(wa_architecture_host, set_services, 40);

SIZE(wa_architecture_ops, 16);
AT(wa_architecture_ops, struct_size, 0);
AT(wa_architecture_ops, build, 8);

SIZE(wa_dataset_info, 80);
AT(wa_dataset_info, struct_size, 0);
AT(wa_dataset_info, height, 4);
AT(wa_dataset_info, width, 8);
AT(wa_dataset_info, channels, 12);
AT(wa_dataset_info, classes, 16);
AT(wa_dataset_info, target_values, 20);
AT(wa_dataset_info, element, 24);
AT(wa_dataset_info, target, 28);
AT(wa_dataset_info, target_offset, 32);
AT(wa_dataset_info, trains_smaller_last_batch, 36);
AT(wa_dataset_info, train_items, 40);
AT(wa_dataset_info, validation_items, 48);
AT(wa_dataset_info, test_items, 56);
AT(wa_dataset_info, shuffles_evaluation, 64);
AT(wa_dataset_info, has_chance_output, 65);
AT(wa_dataset_info, chance_output, 68);
AT(wa_dataset_info, reads_on_demand, 72);

SIZE(wa_dataset_host, 32);
AT(wa_dataset_host, struct_size, 0);
AT(wa_dataset_host, base, 8);
AT(wa_dataset_host, data_dir, 16);
AT(wa_dataset_host, draw_uniform, 24);

SIZE(wa_read, 48);
AT(wa_read, struct_size, 0);
AT(wa_read, part, 4);
AT(wa_read, index, 8);
AT(wa_read, epoch, 16);
AT(wa_read, seed, 24);
AT(wa_read, ret_item, 32);
AT(wa_read, ret_target, 40);

SIZE(wa_download, 40);
AT(wa_download, struct_size, 0);
AT(wa_download, address, 8);
AT(wa_download, size_bytes, 16);
AT(wa_download, sha256, 24);
AT(wa_download, unpacks_to, 32);
SIZE(wa_dataset_ops, 72);
AT(wa_dataset_ops, struct_size, 0);
AT(wa_dataset_ops, default_validation, 8);
AT(wa_dataset_ops, open, 16);
AT(wa_dataset_ops, close, 24);
AT(wa_dataset_ops, read, 32);
AT(wa_dataset_ops, downloads, 40);
AT(wa_dataset_ops, download_count, 48);
AT(wa_dataset_ops, how_to_get, 56);
AT(wa_dataset_ops, download_substitutes, 64);

SIZE(wa_update, 48);
AT(wa_update, struct_size, 0);
AT(wa_update, statement, 8);
AT(wa_update, state_count, 16);
AT(wa_update, state_names, 24);
AT(wa_update, scalar_count, 32);
AT(wa_update, scalar_names, 40);

SIZE(wa_optimizer_host, 32);
AT(wa_optimizer_host, struct_size, 0);
AT(wa_optimizer_host, base, 8);
AT(wa_optimizer_host, set_update, 16);
AT(wa_optimizer_host, update, 24);

SIZE(wa_optimizer_ops, 32);
AT(wa_optimizer_ops, struct_size, 0);
AT(wa_optimizer_ops, create, 8);
AT(wa_optimizer_ops, destroy, 16);
AT(wa_optimizer_ops, apply, 24);

SIZE(wa_plugin, 88);
AT(wa_plugin, struct_size, 0);
AT(wa_plugin, kind, 4);
AT(wa_plugin, id, 8);
AT(wa_plugin, version, 16);
AT(wa_plugin, roles, 24);
AT(wa_plugin, summary, 32);
AT(wa_plugin, reference, 40);
AT(wa_plugin, options, 48);
AT(wa_plugin, rule, 56);
AT(wa_plugin, architecture, 64);
AT(wa_plugin, dataset, 72);
AT(wa_plugin, optimizer, 80);

SIZE(wa_plugin_table, 24);
AT(wa_plugin_table, struct_size, 0);
AT(wa_plugin_table, abi_major, 4);
AT(wa_plugin_table, abi_minor, 8);
AT(wa_plugin_table, count, 12);
AT(wa_plugin_table, plugins, 16);

#endif

/* What the loader rests on: the fields that every version shares come first. */
static void sizes_and_versions_come_first(void **state)
{
    (void)state;
    assert_int_equal(offsetof(wa_plugin_table, struct_size), 0);
    assert_int_equal(offsetof(wa_plugin_table, abi_major), 4);
    assert_int_equal(offsetof(wa_plugin_table, abi_minor), 8);
    assert_int_equal(offsetof(wa_plugin, struct_size), 0);
    assert_int_equal(offsetof(wa_host, struct_size), 0);
}

/* The entry macro fills in what it was compiled with. */
static const wa_plugin *const plugins[] = {NULL, NULL};
WA_PLUGIN_ENTRY(plugins, 2)

static void the_entry_states_its_version(void **state)
{
    (void)state;
    assert_int_equal(wa_plugin_entry.struct_size, sizeof(wa_plugin_table));
    assert_int_equal(wa_plugin_entry.abi_major, WA_ABI_MAJOR);
    assert_int_equal(wa_plugin_entry.abi_minor, WA_ABI_MINOR);
    assert_int_equal(wa_plugin_entry.count, 2);
    assert_ptr_equal(wa_plugin_entry.plugins, plugins);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_and_versions_come_first),
        cmocka_unit_test(the_entry_states_its_version),
    };
    return cmocka_run_group_tests_name("abi", tests, NULL, NULL);
}
