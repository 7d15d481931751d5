/* An open dataset, its splits and the order of its batches.
 *
 * Order, as published: seed; each epoch a permutation of the training items, then one of the
 * validation items (as limited), whether they are evaluated or not. The test set and a training set
 * that is only evaluated are read in file order, unless the dataset declares that it shuffles them:
 * then their permutations follow. Items beyond whole batches are dropped, or make a smaller last batch:
 * the dataset says which.
 */
#ifndef WALIGN_CORE_BATCHES_H
#define WALIGN_CORE_BATCHES_H

#include "config.h"
#include "plugin_host.h"
#include "rng.h"

enum wa_set {
    WA_SET_TRAIN = 1,  /* in the epoch's order */
    WA_SET_VALIDATION, /* likewise */
    WA_SET_TEST,
    WA_SET_TRAIN_EVALUATION /* the training set in an order of its own */
};

struct wa_batches {
    struct wa_plugin_host plugin;
    wa_dataset_host table;
    const wa_dataset_ops *ops;
    void *dataset;
    wa_dataset_info info;
    size_t item_bytes, target_bytes; /* target: a uint32_t label, or values */
    int batch;
    bool is_shuffled;
    uint32_t seed;
    struct wa_rng rng;
    uint64_t epoch; /* from 1, after wa_batches_begin_epoch */
    /* Items of the training and validation sets: where they start in their part, and how many. */
    wa_part validation_part;
    uint64_t train_first, train_items, validation_items, test_items;
    uint32_t *train_order, *validation_order;
    uint32_t *test_order, *train_evaluation_order; /* NULL: file order */
};

/* Opens the dataset that the config names and cuts its splits. `options` are the plugin's. Fails when
 * the training set holds no batch. Close with wa_batches_close, which takes a zeroed struct. */
WA_MUST_CHECK wa_status wa_batches_open(struct wa_batches *batches, const struct wa_config *config,
                                        const struct wa_plugin_record *record, json_object *options,
                                        struct wa_error *err);
void wa_batches_close(struct wa_batches *batches);

/* Draws the orders of the next epoch. */
void wa_batches_begin_epoch(struct wa_batches *batches);

/* Batches of a set: the whole ones, and a smaller last one where the dataset wants it trained. */
uint64_t wa_batches_count(const struct wa_batches *batches, enum wa_set set);

/* Items of that smaller last batch; 0 where there is none. */
int wa_batches_rest(const struct wa_batches *batches, enum wa_set set);

/* Items of batch `index` of a set. */
int wa_batches_size(const struct wa_batches *batches, enum wa_set set, uint64_t index);

/* Reads one item of batch `index` of a set, at `place` in it, and its target. May be called by several
 * threads at once; the plugin's own messages go where wa_plugin_host_set_error said last, not to `err`.
 */
WA_MUST_CHECK wa_status wa_batches_read_item(struct wa_batches *batches, enum wa_set set,
                                             uint64_t index, int place, void *ret_item,
                                             void *ret_target, struct wa_error *err);

/* Mean over the batches of a set, in its present order, of the loss when every output is the dataset's
 * chance_output. The dataset has one. NaN: the set has no batch. */
WA_MUST_CHECK wa_status wa_batches_chance_loss(struct wa_batches *batches, enum wa_set set,
                                               double *ret_loss, struct wa_error *err);

#endif
