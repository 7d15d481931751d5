/* Checkpoints. */
#include "checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "safetensors.h"
#include "sha256.h"

/* Of the entries the last one, of angles, is there only where there are some. */
enum { STATE_ENTRIES = 4, ANGLES_ENTRY = 3, PROGRESS_WORDS = 4, SUMS = 2 };

/* Of the bytes of all tensors in their order, in the metadata: the format has no check of its own. */
static const char *const hash_key = "sha256";

/* The entries that say how far the run is; values are written to and read from these arrays. */
struct state {
    uint64_t progress[PROGRESS_WORDS];
    double sums[SUMS];
    uint32_t rng[WA_RNG_SAVED_WORDS];
    double angles[WA_MODEL_MAX_LAYERS];
    uint32_t angle_count;
};

static size_t count_entries(const struct state *state)
{
    return state->angle_count > 0 ? STATE_ENTRIES : ANGLES_ENTRY;
}

static void state_entries(const struct state *state,
                          struct wa_safetensors_entry ret_entries[STATE_ENTRIES])
{
    ret_entries[0] = (struct wa_safetensors_entry){.name = "state.progress",
                                                   .type = WA_SAFETENSORS_U64,
                                                   .dimensions = 1,
                                                   .shape = {PROGRESS_WORDS},
                                                   .data = state->progress};
    ret_entries[1] = (struct wa_safetensors_entry){.name = "state.sums",
                                                   .type = WA_SAFETENSORS_F64,
                                                   .dimensions = 1,
                                                   .shape = {SUMS},
                                                   .data = state->sums};
    ret_entries[2] = (struct wa_safetensors_entry){.name = "state.rng",
                                                   .type = WA_SAFETENSORS_U32,
                                                   .dimensions = 1,
                                                   .shape = {WA_RNG_SAVED_WORDS},
                                                   .data = state->rng};
    ret_entries[ANGLES_ENTRY] = (struct wa_safetensors_entry){.name = "state.angles",
                                                              .type = WA_SAFETENSORS_F64,
                                                              .dimensions = 1,
                                                              .shape = {state->angle_count},
                                                              .data = state->angles};
}

static struct wa_safetensors_entry tensor_entry(const struct wa_session_tensor *tensor,
                                                const float *data)
{
    struct wa_safetensors_entry entry = {.name = tensor->name,
                                         .type = WA_SAFETENSORS_F32,
                                         .dimensions = (uint32_t)tensor->dimensions,
                                         .data = data};
    for (size_t d = 0; d < tensor->dimensions; d++) {
        entry.shape[d] = tensor->shape[d];
    }
    return entry;
}

static void hash_written(const float *values, size_t floats, const struct state *state,
                         char ret_hex[WA_SHA256_HEX_BYTES])
{
    struct wa_sha256 hash;
    wa_sha256_init(&hash);
    wa_sha256_update(&hash, values, floats * sizeof *values);
    wa_sha256_update(&hash, state->progress, sizeof state->progress);
    wa_sha256_update(&hash, state->sums, sizeof state->sums);
    wa_sha256_update(&hash, state->rng, sizeof state->rng);
    wa_sha256_update(&hash, state->angles, state->angle_count * sizeof *state->angles);
    wa_sha256_finish(&hash, ret_hex);
}

/* Checkpoints of walign before the hash have none. */
static wa_status check_hash(const char *path, const struct wa_safetensors *file,
                            struct wa_error *err)
{
    const char *expected = wa_safetensors_metadata(file, hash_key);
    char found[WA_SHA256_HEX_BYTES];
    struct wa_sha256 hash;
    wa_sha256_init(&hash);
    for (size_t i = 0; i < wa_safetensors_count(file); i++) {
        const struct wa_safetensors_entry *entry = wa_safetensors_at(file, i);
        wa_sha256_update(&hash, entry->data, entry->size_bytes);
    }
    wa_sha256_finish(&hash, found);
    if (expected && strcmp(expected, found) != 0) {
        return wa_fail(err, WA_E_DATA,
                       "%s: damaged checkpoint: the SHA-256 of its tensors is %s, expected %s as "
                       "its metadata say; use another checkpoint or a copy of this one, or delete "
                       "it and start the run anew",
                       path, found, expected);
    }
    return WA_OK;
}

static void save_progress(const struct wa_progress *progress, struct state *state)
{
    state->progress[0] = progress->epoch;
    state->progress[1] = progress->step;
    state->progress[2] = progress->step_in_epoch;
    state->progress[3] = progress->is_finished;
    state->sums[0] = progress->loss_sum;
    state->sums[1] = progress->correct_sum;
    wa_rng_save(&progress->rng, state->rng);
    state->angle_count = progress->angle_count;
    memcpy(state->angles, progress->angles, sizeof state->angles);
}

wa_status wa_checkpoint_write(const char *path, struct wa_session *session,
                              const struct wa_progress *progress, struct wa_error *err)
{
    size_t count = 0;
    const struct wa_session_tensor *tensors = wa_session_tensors(session, &count);
    size_t floats = 0;
    for (size_t i = 0; i < count; i++) {
        floats += tensors[i].count;
    }
    float *values = calloc(floats + 1, sizeof *values);
    struct wa_safetensors_entry *entries = calloc(count + STATE_ENTRIES, sizeof *entries);
    struct state *state = calloc(1, sizeof *state);
    wa_status status =
        values && entries && state ? WA_OK : wa_fail(err, WA_E_MEMORY, "%s: out of memory", path);
    size_t used = 0;
    for (size_t i = 0; i < count && status == WA_OK; i++) {
        status = wa_session_read(session, &tensors[i], values + used, err);
        entries[i] = tensor_entry(&tensors[i], values + used);
        used += tensors[i].count;
    }
    if (status == WA_OK) {
        save_progress(progress, state);
        state_entries(state, entries + count);
        char hex[WA_SHA256_HEX_BYTES];
        hash_written(values, floats, state, hex);
        const struct wa_safetensors_text metadata = {hash_key, hex};
        status =
            wa_safetensors_write(path, entries, count + count_entries(state), &metadata, 1, err);
    }
    free(values);
    free(entries);
    free(state);
    return status;
}

static uint32_t count_angles(const struct wa_safetensors *file)
{
    const struct wa_safetensors_entry *entry = wa_safetensors_find(file, "state.angles");
    uint64_t count = entry && entry->dimensions == 1 ? entry->shape[0] : 0;
    return count < WA_MODEL_MAX_LAYERS ? (uint32_t)count : WA_MODEL_MAX_LAYERS;
}

static wa_status read_state(const struct wa_safetensors *file, struct wa_progress *ret_progress,
                            struct wa_error *err)
{
    struct state *state = calloc(1, sizeof *state);
    if (!state) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    struct wa_safetensors_entry entries[STATE_ENTRIES];
    state->angle_count = count_angles(file);
    state_entries(state, entries);
    void *targets[STATE_ENTRIES] = {state->progress, state->sums, state->rng, state->angles};
    size_t sizes[STATE_ENTRIES] = {sizeof state->progress, sizeof state->sums, sizeof state->rng,
                                   state->angle_count * sizeof *state->angles};
    wa_status status = WA_OK;
    for (size_t i = 0; i < count_entries(state) && status == WA_OK; i++) {
        const void *data = NULL;
        status = wa_safetensors_expect(file, &entries[i], &data, err);
        if (status == WA_OK) {
            memcpy(targets[i], data, sizes[i]);
        }
    }
    if (status == WA_OK) {
        status = wa_rng_load(&ret_progress->rng, state->rng, err);
    }
    ret_progress->epoch = state->progress[0];
    ret_progress->step = state->progress[1];
    ret_progress->step_in_epoch = state->progress[2];
    ret_progress->is_finished = state->progress[3] != 0;
    ret_progress->loss_sum = state->sums[0];
    ret_progress->correct_sum = state->sums[1];
    ret_progress->angle_count = state->angle_count;
    memcpy(ret_progress->angles, state->angles, sizeof state->angles);
    free(state);
    return status;
}

wa_status wa_checkpoint_read(const char *path, struct wa_session *session,
                             struct wa_progress *ret_progress, struct wa_error *err)
{
    struct wa_safetensors *file = NULL;
    wa_status status = wa_safetensors_read(path, &file, err);
    if (status != WA_OK) {
        return status;
    }
    status = check_hash(path, file, err);
    size_t count = 0;
    const struct wa_session_tensor *tensors = wa_session_tensors(session, &count);
    for (size_t i = 0; i < count && status == WA_OK; i++) {
        struct wa_safetensors_entry expected = tensor_entry(&tensors[i], NULL);
        const void *data = NULL;
        status = wa_safetensors_expect(file, &expected, &data, err);
        if (status == WA_OK) {
            status = wa_session_write(session, &tensors[i], data, err);
        }
    }
    if (status == WA_OK) {
        struct wa_progress progress = {0};
        status = read_state(file, &progress, err);
        *ret_progress = progress;
    }
    wa_safetensors_destroy(file);
    return status;
}
