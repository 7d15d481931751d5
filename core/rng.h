/* NumPy's legacy RandomState, bit for bit: MT19937, 53-bit doubles, polar normals, masked rejection
 * for bounded integers, Fisher-Yates from the top. One stream; not safe to share between threads.
 */
#ifndef WALIGN_CORE_RNG_H
#define WALIGN_CORE_RNG_H

#include "status.h"

enum {
    WA_RNG_KEY_WORDS = 624,
    /* The key, the position in it, whether a normal is kept, and that normal's 64 bits, low first.
     */
    WA_RNG_SAVED_WORDS = WA_RNG_KEY_WORDS + 4
};

struct wa_rng {
    uint32_t key[WA_RNG_KEY_WORDS];
    uint32_t position;    /* next word of the key; WA_RNG_KEY_WORDS: the key is used up */
    bool has_kept_normal; /* normals come in pairs, the second one waits here */
    double kept_normal;
};

/* RandomState(seed). */
void wa_rng_seed(struct wa_rng *rng, uint32_t seed);

/* The generator's next 32 bits. */
uint32_t wa_rng_uint32(struct wa_rng *rng);

/* random_sample(): uniform in [0, 1). */
double wa_rng_double(struct wa_rng *rng);

/* normal(): mean 0, standard deviation 1. */
double wa_rng_normal(struct wa_rng *rng);

/* binomial(1, .5): 0 or 1. */
uint32_t wa_rng_binomial_half(struct wa_rng *rng);

/* randint(n): an integer below n. n = 0 and n = 1 give 0 and draw nothing. */
uint32_t wa_rng_randint(struct wa_rng *rng, uint32_t n);

/* permutation(n): the numbers 0 .. n - 1 in random order into ret_order[n]. */
void wa_rng_permutation(struct wa_rng *rng, uint32_t *ret_order, uint32_t n);

/* shuffle(values) of a flat array: the order that permutation(n) would draw. */
void wa_rng_shuffle_floats(struct wa_rng *rng, float *values, uint32_t n);

/* The whole state to and from words[WA_RNG_SAVED_WORDS], for checkpoints. Loading refuses words
 * that no generator saves with WA_E_DATA and leaves *rng as it was. */
void wa_rng_save(const struct wa_rng *rng, uint32_t *ret_words);
WA_MUST_CHECK wa_status wa_rng_load(struct wa_rng *rng, const uint32_t *words,
                                    struct wa_error *err);

#endif
