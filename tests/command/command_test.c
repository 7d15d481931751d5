/* What the command tests share: see command_test.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command_test.h"

enum { PATH_BYTES = 1024, TEXT_BYTES = 1 << 18 };

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

static void copy_behind(struct wa_tested_program *t, const char *from, const char *to,
                        const char *first_line)
{
    char *text = calloc(1, TEXT_BYTES);
    assert_non_null(text);
    size_t used = (size_t)snprintf(text, TEXT_BYTES, "%s", first_line);
    FILE *file = fopen(from, "r");
    assert_non_null(file);
    used += fread(text + used, 1, TEXT_BYTES - used, file);
    assert_true(used < TEXT_BYTES);
    (void)fclose(file);
    wa_tested_write(t, to, text, used);
    free(text);
}

void wa_command_change_kernels(struct wa_tested_program *t, const char *name, const char *part,
                               const char *first_line)
{
    char folder[PATH_BYTES];
    (void)snprintf(folder, sizeof folder, "%s/kernels", wa_tested_source());
    assert_true(wa_data_folder_make(&t->folder, name));
    DIR *kernels = opendir(folder);
    assert_non_null(kernels);
    for (const struct dirent *entry = readdir(kernels); entry; entry = readdir(kernels)) {
        const char *dot = strrchr(entry->d_name, '.');
        if (dot && strcmp(dot, ".cl") == 0) {
            char from[2 * PATH_BYTES];
            char to[PATH_BYTES];
            (void)snprintf(from, sizeof from, "%s/%s", folder, entry->d_name);
            (void)snprintf(to, sizeof to, "%s/%s", name, entry->d_name);
            copy_behind(t, from, to, strstr(entry->d_name, part) ? first_line : "");
        }
    }
    (void)closedir(kernels);
}
