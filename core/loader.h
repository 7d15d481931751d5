/* Reads batches ahead of the device, with a few threads that share the items of each batch. Batches
 * come in order, and what they hold depends neither on the number of threads nor on their timing; so
 * do failures: the first item that cannot be read is named when its batch is due, not before.
 */
#ifndef WALIGN_CORE_LOADER_H
#define WALIGN_CORE_LOADER_H

#include "batch.h"
#include "batches.h"

struct wa_loader;

/* $WALIGN_LOADER_THREADS, 1 to 256; where it is not set one for each processor, at most 64. WA_E_USAGE
 * for any other value. */
WA_MUST_CHECK wa_status wa_loader_threads(unsigned *ret_threads, struct wa_error *err);

/* Starts the threads; they wait. `batches` outlives the loader and, while it is at work, is not to be
 * changed (wa_batches_begin_epoch). Destroy with wa_loader_destroy, which takes NULL. */
WA_MUST_CHECK wa_status wa_loader_create(struct wa_batches *batches, unsigned threads,
                                         struct wa_loader **ret_loader, struct wa_error *err);
void wa_loader_destroy(struct wa_loader *loader);

/* Begins to read batches `first` to `end` - 1 of a set; what was begun before is given up. */
void wa_loader_start(struct wa_loader *loader, enum wa_set set, uint64_t first, uint64_t end);

/* Waits until no thread reads any more; batches may be changed after it. */
void wa_loader_stop(struct wa_loader *loader);

/* The next batch of those begun; good until the next call of any function here. */
WA_MUST_CHECK wa_status wa_loader_next(struct wa_loader *loader, const struct wa_batch **ret_batch,
                                       struct wa_error *err);

#endif
