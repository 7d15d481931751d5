/* What a finished run came to, where the dataset says what knowing nothing costs: the lowest losses
 * of its metrics.jsonl beside the losses of chance, in summary.json and on a line for people. */
#ifndef WALIGN_CORE_SUMMARY_H
#define WALIGN_CORE_SUMMARY_H

#include "batches.h"

/* Writes <directory>/summary.json anew: {"lowest": {"test_loss": {"value": .., "epoch": ..}, ..},
 * "chance": {"train_loss": .., "test_loss": ..}}; sets without a whole batch are left out. `batches`
 * are of a dataset that has a chance output. */
WA_MUST_CHECK wa_status wa_summary_write(const char *directory, struct wa_batches *batches,
                                         bool is_quiet, struct wa_error *err);

#endif
