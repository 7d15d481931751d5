/* A folder of its own for a test's data files, made under $TMPDIR or /tmp and removed with all that
 * is in it. Paths in it are short; nothing here is for user input. */
#ifndef WALIGN_TESTS_DATA_FOLDER_H
#define WALIGN_TESTS_DATA_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

struct wa_data_folder {
    char path[256];
    char file[512]; /* what wa_data_folder_file gave last */
};

/* Makes the folder; false where that fails. */
bool wa_data_folder_create(struct wa_data_folder *ret_folder);

/* "<folder>/<name>"; good until the next call. */
const char *wa_data_folder_file(struct wa_data_folder *folder, const char *name);

/* Makes a folder within; writes a file within, replacing what was there; removes one. False where
 * that fails. */
bool wa_data_folder_make(struct wa_data_folder *folder, const char *name);
bool wa_data_folder_write(struct wa_data_folder *folder, const char *name, const void *data,
                          size_t size);
bool wa_data_folder_delete(struct wa_data_folder *folder, const char *name);

/* Removes the folder and all in it; false where something is left. */
bool wa_data_folder_remove(const struct wa_data_folder *folder);

#endif
