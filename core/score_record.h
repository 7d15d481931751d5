/* scores.jsonl. Lines go to "scores.jsonl.part" as they are found; it takes its name when all are there.
 * What was interrupted goes on after its whole lines. */
#ifndef WALIGN_CORE_SCORE_RECORD_H
#define WALIGN_CORE_SCORE_RECORD_H

#include "files.h"
#include "score_plan.h"

struct wa_score_record {
    char *path, *part_path;
    struct wa_line_writer lines;
    /* Lines that are known: the first of those that the groups have. */
    struct json_object **known;
    size_t known_count;
};

/* Opens the file of a folder for the lines of these groups. With `resume`, lines of an interrupted or
 * finished one are known as far as they are what would be scored now, by name of the run, epoch, layer,
 * estimator and control; else none is. Makes the folder; WA_E_USAGE where that or the file cannot be
 * written. wa_score_record_close takes {.lines = {.fd = -1}}, and what a failure leaves. */
WA_MUST_CHECK wa_status wa_score_record_open(const char *folder, bool resume,
                                             const struct wa_score_group *groups,
                                             size_t group_count, struct wa_score_record *ret_record,
                                             struct wa_error *err);

WA_MUST_CHECK wa_status wa_score_record_add(struct wa_score_record *record,
                                            const struct wa_score_run *run,
                                            const struct wa_score_line *line, struct wa_error *err);

/* All lines are there: the file takes its name. */
WA_MUST_CHECK wa_status wa_score_record_commit(struct wa_score_record *record,
                                               struct wa_error *err);
void wa_score_record_close(struct wa_score_record *record);

#endif
