/* A batch on its way from a dataset to a device. */
#ifndef WALIGN_CORE_BATCH_H
#define WALIGN_CORE_BATCH_H

struct wa_batch {
    int count;           /* items; fewer than the config's batch in a smaller last one */
    const void *items;   /* [count] as the dataset reads them */
    const void *targets; /* [count] likewise: labels, uint32_t, or values, float */
};

#endif
