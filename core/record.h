/* The directory of a run: run.json, metrics.jsonl (a line an epoch), steps.jsonl and the names of
 * checkpoints. What is in them is the caller's; here is how they are kept whole. */
#ifndef WALIGN_CORE_RECORD_H
#define WALIGN_CORE_RECORD_H

#include "status.h"

struct json_object;

/* An open run directory. Only one process at a time has it. */
struct wa_record;

/* Makes the directory where it is missing, locks it and removes what a killed process left half
 * written; *ret_record is the caller's to close. Without `resume` a directory that holds a run
 * already is refused. With it, the whole lines of metrics.jsonl and steps.jsonl stay byte for byte
 * and a torn last line is dropped. WA_E_USAGE: the directory holds a run or a sweep, is in use, or
 * cannot be written; WA_E_DATA: a line of these files is not one of theirs. */
WA_MUST_CHECK wa_status wa_record_open(const char *directory, bool resume,
                                       struct wa_record **ret_record, struct wa_error *err);
void wa_record_close(struct wa_record *record); /* takes NULL */

const char *wa_record_directory(const struct wa_record *record);

/* Last epoch in metrics.jsonl and step in steps.jsonl; -1 where there is none. A checkpoint that is
 * further than these lines (which were damaged by hand) cannot bring the missing ones back. */
int64_t wa_record_last_epoch(const struct wa_record *record);
int64_t wa_record_last_step(const struct wa_record *record);

/* Writes run.json anew, atomically. In all JSON that is written here a number that JSON has no word
 * for (NaN, Inf) becomes null, and bytes that are not UTF-8 become U+FFFD; the object stays the
 * caller's, and keeps these changes. */
WA_MUST_CHECK wa_status wa_record_write_run(struct wa_record *record, struct json_object *run,
                                            struct wa_error *err);

/* run.json of a run directory, which need not be open; *ret_run is the caller's to put. WA_E_DATA:
 * there is none, or it is no JSON object. */
WA_MUST_CHECK wa_status wa_record_read_run(const char *directory, struct json_object **ret_run,
                                           struct wa_error *err);

/* A float or double to put into a line: %.9g, which gives back every float32. NULL, which is null,
 * for NaN and Inf, and when out of memory. */
struct json_object *wa_record_number(double value);

/* Appends a line to metrics.jsonl (object with an integer "epoch") or steps.jsonl ("step"), at once
 * visible to readers. An epoch or step that is there already, because the run was resumed from an
 * older checkpoint, is not written again: its line stays as it is. */
WA_MUST_CHECK wa_status wa_record_append_metrics(struct wa_record *record, struct json_object *line,
                                                 struct wa_error *err);
WA_MUST_CHECK wa_status wa_record_append_step(struct wa_record *record, struct json_object *line,
                                              struct wa_error *err);

/* Waits until the lines are on the disk. Call it before each checkpoint: then, whenever the machine
 * stops, the lines reach as far as the checkpoint. */
WA_MUST_CHECK wa_status wa_record_sync(struct wa_record *record, struct wa_error *err);

/* "<directory>/checkpoints/epoch-NNNN.safetensors" and ".../last.safetensors", or NULL when out of
 * memory; the caller frees it. wa_record_open makes the folder. */
char *wa_record_checkpoint_path(const char *directory, uint64_t epoch);
char *wa_record_last_checkpoint_path(const char *directory);

#endif
