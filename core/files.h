/* Files that are whole or absent: reading at once, atomic writing, folders, and files that grow by
 * lines. Paths are as the user gave them; every message starts with the path. */
#ifndef WALIGN_CORE_FILES_H
#define WALIGN_CORE_FILES_H

#include <sys/types.h>

#include "status.h"

/* Records "<path>: cannot <action>: <text of the errno code>", with what to do where it is known
 * (full disk, permissions). Returns `status`. */
wa_status wa_file_fail(struct wa_error *err, wa_status status, const char *path, const char *action,
                       int code) __attribute__((cold));

/* "<folder>/<name>" in memory that the caller frees; `name` alone where it is absolute or `folder`
 * is NULL or empty. NULL when out of memory. */
char *wa_file_join(const char *folder, const char *name);

/* Whether something of that name is there, of whatever kind. */
bool wa_file_exists(const char *path);

/* Whether it is a folder (links are followed). */
bool wa_file_is_folder(const char *path);

/* A file that is not complete yet, as a download makes, has its name and this. */
#define WA_FILE_UNFINISHED ".part"

/* Whether a folder has such a file in it. */
bool wa_file_is_unfinished_in(const char *folder);

/* Reads a whole file (or pipe) of at most max_bytes. *ret_data is the caller's to free; a 0 that is
 * not counted follows the data, so that text is a string. WA_E_DATA: it cannot be opened, is a
 * folder or too large; WA_E_IO: reading failed; WA_E_MEMORY. */
WA_MUST_CHECK wa_status wa_file_read_all(const char *path, size_t max_bytes,
                                         unsigned char **ret_data, size_t *ret_size,
                                         struct wa_error *err);

/* A file that takes its name only when all of it is on the disk: begin, append as often as needed,
 * commit (fsync, rename, fsync of the folder). Until then it is "<path>.tmp-<pid>-<n>"; a failed
 * call and abandon remove that, and leave what `path` was before. After a failure or a commit only
 * abandon may be called, and need not be. Failures: WA_E_IO, WA_E_MEMORY. */
struct wa_file_writer {
    int fd; /* -1: not open */
    char *path, *temporary;
};
WA_MUST_CHECK wa_status wa_file_writer_begin(struct wa_file_writer *writer, const char *path,
                                             struct wa_error *err);
WA_MUST_CHECK wa_status wa_file_writer_append(struct wa_file_writer *writer, const void *data,
                                              size_t size_bytes, struct wa_error *err);
WA_MUST_CHECK wa_status wa_file_writer_commit(struct wa_file_writer *writer, struct wa_error *err);
void wa_file_writer_abandon(struct wa_file_writer *writer);

/* The same for data that is all in memory. */
WA_MUST_CHECK wa_status wa_file_write_atomic(const char *path, const void *data, size_t size_bytes,
                                             struct wa_error *err);

/* Makes a folder and those above it that are missing; one that is there is fine. */
WA_MUST_CHECK wa_status wa_files_make_folders(const char *path, mode_t mode, struct wa_error *err);

/* "$XDG_CACHE_HOME/walign/<name>" (by default ~/.cache/walign/<name>), which need not be there; the
 * caller frees it. NULL: neither variable names a folder, or no memory. */
char *wa_file_cache_path(const char *name);

/* The folder that the running program lies in; the caller frees it. NULL: not known, or no memory. */
char *wa_file_program_folder(void);

/* Removes what writers that were killed left in a folder. Only for a folder that no other process
 * writes to; failures are ignored, such a file does no harm. */
void wa_files_remove_temporaries(const char *folder);

/* A file that grows by whole lines, each handed to the system as it is written. */
struct wa_line_writer {
    int fd; /* -1: not open */
    char *path, *buffer;
    size_t buffer_bytes;
};

/* Opens for appending, and creates the file where it is missing. */
WA_MUST_CHECK wa_status wa_line_writer_open(struct wa_line_writer *writer, const char *path,
                                            struct wa_error *err);
/* Appends `line`, which holds no line feed, and a line feed, in one write. A line that does not fit
 * (full disk) is taken back, so that the file keeps whole lines. */
WA_MUST_CHECK wa_status wa_line_writer_write(struct wa_line_writer *writer, const char *line,
                                             struct wa_error *err);
/* Waits until all lines are on the disk. */
WA_MUST_CHECK wa_status wa_line_writer_sync(struct wa_line_writer *writer, struct wa_error *err);
void wa_line_writer_close(
    struct wa_line_writer *writer); /* takes one that was never opened: {-1} */

/* Looks at line `number` (from 1), without its line feed but with a 0 behind it. A status other
 * than WA_OK ends the reading. With *ret_keep (true at the call) set to false the line goes, and
 * all after it. */
typedef wa_status wa_file_line_visitor(void *context, const char *line, size_t length,
                                       uint64_t number, bool *ret_keep, struct wa_error *err);

/* Shortens a file of lines to its first whole lines that `visit` keeps: a last line without a line
 * feed (torn when a process was killed) is dropped without a visit; what is kept stays byte for
 * byte. A file that is not there has no lines: WA_OK. */
WA_MUST_CHECK wa_status wa_file_keep_lines(const char *path, wa_file_line_visitor *visit,
                                           void *context, struct wa_error *err);

#endif
