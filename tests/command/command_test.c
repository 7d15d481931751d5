/* What the command tests share: see command_test.h. */
#include "command_test.h"

int wa_command_set_up(void **state)
{
    int result = wa_tested_set_up(state);
    if (result == 0) {
        wa_tested_write_json(
            *state, "tiny.json",
            "{'dataset': {'plugin': 'glyphs', 'height': 8, 'width': 8, 'items': 120,\n"
            "             'validation': 20},\n"
            " 'architecture': {'plugin': 'cnn', 'width': 4, 'kernels': [3, 3], 'strides': [1, "
            "2]},\n"
            " 'rule': {'plugin': 'align-ada'},\n"
            " 'batch': 10, 'epochs': 2}\n");
    }
    return result;
}
