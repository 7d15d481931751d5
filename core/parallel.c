/* Jobs in threads: thread i of n takes jobs i, i + n, ...; where no thread can be had, the caller's
 * own does the rest. */
#include "parallel.h"

#include <pthread.h>

#include "processors.h"

enum { MAX_THREADS = 64 };

struct share {
    wa_parallel_job *run;
    void *context;
    size_t first, step, count;
    bool is_done;
    pthread_t thread;
};

static void *run_share(void *argument)
{
    struct share *share = argument;
    share->is_done = true;
    for (size_t job = share->first; job < share->count && share->is_done; job += share->step) {
        share->is_done = share->run(share->context, job);
    }
    return NULL;
}

wa_status wa_parallel_run(wa_parallel_job *run, void *context, size_t count, struct wa_error *err)
{
    struct share shares[MAX_THREADS];
    size_t threads = wa_processors_threads(MAX_THREADS);
    threads = threads > count ? count : threads;
    size_t started = 0;
    for (size_t i = 0; i < threads; i++) {
        shares[i] = (struct share){
            .run = run, .context = context, .first = i, .step = threads, .count = count};
    }
    while (started + 1 < threads &&
           pthread_create(&shares[started].thread, NULL, run_share, &shares[started]) == 0) {
        started++;
    }
    for (size_t i = started; i < threads; i++) {
        (void)run_share(&shares[i]);
    }
    bool is_done = true;
    for (size_t i = 0; i < threads; i++) {
        if (i < started) {
            (void)pthread_join(shares[i].thread, NULL);
        }
        is_done = is_done && shares[i].is_done;
    }
    return is_done ? WA_OK : wa_fail(err, WA_E_MEMORY, "out of memory");
}
