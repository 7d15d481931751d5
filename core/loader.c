/* Batches read ahead by threads: see loader.h. A ring of a few slots holds them; threads take runs of
 * items off the batch that is next, and go on to the one behind it while the last items of the first
 * are still being read. */
#include "loader.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "processors.h"

enum { SLOTS = 3, MOST_THREADS = 256, MOST_DEFAULT_THREADS = 64, RUNS_PER_THREAD = 4 };
#define THREADS_VARIABLE "WALIGN_LOADER_THREADS"

struct slot {
    struct wa_batch batch;
    unsigned char *items, *targets;
    int done; /* items read, or failed */
    bool is_failed;
};

struct wa_loader {
    struct wa_batches *batches;
    unsigned thread_count, started;
    pthread_t *threads;
    pthread_mutex_t lock; /* for all below */
    pthread_cond_t work, progress;
    bool is_closing;
    enum wa_set set;
    uint64_t next, end;   /* the batch that threads take items of; behind the last one */
    int next_item;
    uint64_t due;         /* the batch that wa_loader_next gives next */
    uint64_t oldest;      /* the first one whose slot is not free: due, or the one just given */
    unsigned reading;     /* threads at work */
    struct slot slots[SLOTS];
};

/* ---- Threads -------------------------------------------------------------------------------- */

struct run {
    struct slot *slot;
    uint64_t batch;
    int first, count;
};

/* Waits for items to read; false when the loader closes. Called with the lock held. */
static bool take_run(struct wa_loader *loader, struct run *ret_run)
{
    while (!loader->is_closing &&
           (loader->next >= loader->end || loader->next - loader->oldest >= SLOTS)) {
        (void)pthread_cond_wait(&loader->work, &loader->lock);
    }
    if (loader->is_closing) {
        return false;
    }
    struct slot *slot = &loader->slots[loader->next % SLOTS];
    if (loader->next_item == 0) {
        slot->batch.count = wa_batches_size(loader->batches, loader->set, loader->next);
        slot->done = 0;
        slot->is_failed = false;
    }
    int length = slot->batch.count / (int)(RUNS_PER_THREAD * loader->thread_count) + 1;
    int rest = slot->batch.count - loader->next_item;
    *ret_run = (struct run){.slot = slot,
                            .batch = loader->next,
                            .first = loader->next_item,
                            .count = length < rest ? length : rest};
    loader->next_item += ret_run->count;
    if (loader->next_item == slot->batch.count) {
        loader->next_item = 0;
        loader->next++;
    }
    loader->reading++;
    return true;
}

/* Messages are made when the batch is due, by reading it again: see wa_loader_next. */
static bool read_run(struct wa_loader *loader, const struct run *run)
{
    const struct wa_batches *b = loader->batches;
    wa_status status = WA_OK;
    for (int i = run->first; i < run->first + run->count && status == WA_OK; i++) {
        status = wa_batches_read_item(loader->batches, loader->set, run->batch, i,
                                      run->slot->items + (size_t)i * b->item_bytes,
                                      run->slot->targets + (size_t)i * b->target_bytes, NULL);
    }
    return status == WA_OK;
}

static void *work(void *context)
{
    struct wa_loader *loader = context;
    struct run run;
    (void)pthread_mutex_lock(&loader->lock);
    while (take_run(loader, &run)) {
        (void)pthread_mutex_unlock(&loader->lock);
        bool is_read = read_run(loader, &run);
        (void)pthread_mutex_lock(&loader->lock);
        loader->reading--;
        run.slot->done += run.count;
        run.slot->is_failed = run.slot->is_failed || !is_read;
        if (run.slot->done == run.slot->batch.count || loader->reading == 0) {
            (void)pthread_cond_broadcast(&loader->progress);
        }
    }
    (void)pthread_mutex_unlock(&loader->lock);
    return NULL;
}

/* ---- Set-up --------------------------------------------------------------------------------- */

wa_status wa_loader_threads(unsigned *ret_threads, struct wa_error *err)
{
    const char *text = getenv(THREADS_VARIABLE);
    if (!text || text[0] == '\0') {
        *ret_threads = (unsigned)wa_processors_threads(MOST_DEFAULT_THREADS);
        return WA_OK;
    }
    char *end = NULL;
    errno = 0;
    long threads = strtol(text, &end, 10);
    if (errno != 0 || *end != '\0' || threads < 1 || threads > MOST_THREADS) {
        return wa_fail(err, WA_E_USAGE,
                       "$" THREADS_VARIABLE " is '%s': expected a number of threads, 1 to %d", text,
                       MOST_THREADS);
    }
    *ret_threads = (unsigned)threads;
    return WA_OK;
}

static wa_status make_slots(struct wa_loader *loader, struct wa_error *err)
{
    const struct wa_batches *b = loader->batches;
    size_t bytes = 0;
    size_t target_bytes = 0;
    if (!wa_mul_size((size_t)b->batch, b->item_bytes, &bytes) ||
        !wa_mul_size((size_t)b->batch, b->target_bytes, &target_bytes)) {
        return wa_fail(err, WA_E_MEMORY, "out of memory for a batch of %d items", b->batch);
    }
    for (int i = 0; i < SLOTS; i++) {
        struct slot *slot = &loader->slots[i];
        slot->items = malloc(bytes);
        slot->targets = malloc(target_bytes);
        if (!slot->items || !slot->targets) {
            return wa_fail(err, WA_E_MEMORY, "out of memory: %zu bytes for a batch of %d items",
                           bytes, b->batch);
        }
        slot->batch.items = slot->items;
        slot->batch.targets = slot->targets;
    }
    return WA_OK;
}

/* Signals are for the thread that runs the command. */
static wa_status start_threads(struct wa_loader *loader, struct wa_error *err)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = 0;
    while (loader->started < loader->thread_count && code == 0) {
        code = pthread_create(&loader->threads[loader->started], NULL, work, loader);
        loader->started += code == 0;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0) {
        return wa_fail(err, WA_E_FAILED,
                       "thread %u of %u that read data cannot be started (error %d); lower "
                       "$" THREADS_VARIABLE,
                       loader->started + 1, loader->thread_count, code);
    }
    return WA_OK;
}

wa_status wa_loader_create(struct wa_batches *batches, unsigned threads,
                           struct wa_loader **ret_loader, struct wa_error *err)
{
    struct wa_loader *loader = calloc(1, sizeof *loader);
    if (!loader) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    loader->batches = batches;
    loader->thread_count = threads;
    (void)pthread_mutex_init(&loader->lock, NULL); /* these three cannot fail on Linux */
    (void)pthread_cond_init(&loader->work, NULL);
    (void)pthread_cond_init(&loader->progress, NULL);
    loader->threads = calloc(threads, sizeof *loader->threads);
    wa_status status = loader->threads ? make_slots(loader, err)
                                       : wa_fail(err, WA_E_MEMORY, "out of memory");
    if (status == WA_OK) {
        status = start_threads(loader, err);
    }
    if (status != WA_OK) {
        wa_loader_destroy(loader);
        return status;
    }
    *ret_loader = loader;
    return WA_OK;
}

void wa_loader_destroy(struct wa_loader *loader)
{
    if (!loader) {
        return;
    }
    (void)pthread_mutex_lock(&loader->lock);
    loader->is_closing = true;
    (void)pthread_cond_broadcast(&loader->work);
    (void)pthread_mutex_unlock(&loader->lock);
    for (unsigned i = 0; i < loader->started; i++) {
        (void)pthread_join(loader->threads[i], NULL);
    }
    for (int i = 0; i < SLOTS; i++) {
        free(loader->slots[i].items);
        free(loader->slots[i].targets);
    }
    (void)pthread_cond_destroy(&loader->progress);
    (void)pthread_cond_destroy(&loader->work);
    (void)pthread_mutex_destroy(&loader->lock);
    free(loader->threads);
    free(loader);
}

/* ---- Batches -------------------------------------------------------------------------------- */

/* `oldest`: first, or the batch before it, if that one's slot is in use. */
static void begin(struct wa_loader *loader, uint64_t oldest, uint64_t first, uint64_t end)
{
    (void)pthread_mutex_lock(&loader->lock);
    loader->next = loader->due = first;
    loader->oldest = oldest;
    loader->next_item = 0;
    loader->end = end;
    (void)pthread_cond_broadcast(&loader->work);
    (void)pthread_mutex_unlock(&loader->lock);
}

void wa_loader_start(struct wa_loader *loader, enum wa_set set, uint64_t first, uint64_t end)
{
    wa_loader_stop(loader);
    wa_plugin_host_set_error(&loader->batches->plugin, NULL);
    loader->set = set;
    begin(loader, first, first, end);
}

void wa_loader_stop(struct wa_loader *loader)
{
    (void)pthread_mutex_lock(&loader->lock);
    loader->end = loader->next = 0; /* nothing more is taken */
    while (loader->reading > 0) {
        (void)pthread_cond_wait(&loader->progress, &loader->lock);
    }
    loader->due = loader->oldest = loader->end = loader->next = 0;
    (void)pthread_mutex_unlock(&loader->lock);
}

/* Reads a batch on this thread, item after item: which gives the message of the first that fails. */
static wa_status read_again(struct wa_loader *loader, uint64_t batch, uint64_t end,
                            struct wa_error *err)
{
    struct slot *slot = &loader->slots[batch % SLOTS];
    const struct wa_batches *b = loader->batches;
    wa_loader_stop(loader);
    wa_plugin_host_set_error(&loader->batches->plugin, err);
    wa_status status = WA_OK;
    for (int i = 0; i < slot->batch.count && status == WA_OK; i++) {
        status = wa_batches_read_item(loader->batches, loader->set, batch, i,
                                      slot->items + (size_t)i * b->item_bytes,
                                      slot->targets + (size_t)i * b->target_bytes, err);
    }
    wa_plugin_host_set_error(&loader->batches->plugin, NULL);
    if (status == WA_OK) {
        begin(loader, batch, batch + 1, end); /* it can be read by now */
    }
    return status;
}

wa_status wa_loader_next(struct wa_loader *loader, const struct wa_batch **ret_batch,
                         struct wa_error *err)
{
    (void)pthread_mutex_lock(&loader->lock);
    uint64_t batch = loader->due;
    uint64_t end = loader->end;
    struct slot *slot = &loader->slots[batch % SLOTS];
    loader->oldest = batch;
    (void)pthread_cond_broadcast(&loader->work);
    bool is_begun = batch < end;
    while (is_begun && (loader->next <= batch || slot->done < slot->batch.count)) {
        (void)pthread_cond_wait(&loader->progress, &loader->lock);
    }
    bool is_failed = is_begun && slot->is_failed;
    loader->due = batch + 1;
    (void)pthread_mutex_unlock(&loader->lock);
    if (!is_begun) {
        return wa_fail(err, WA_E_FAILED, "batch %llu was never begun to be read",
                       (unsigned long long)batch);
    }
    wa_status status = is_failed ? read_again(loader, batch, end, err) : WA_OK;
    if (status == WA_OK) {
        *ret_batch = &slot->batch;
    }
    return status;
}
