/* NumPy's legacy RandomState. MT19937: Matsumoto & Nishimura, ACM TOMACS 8 (1998), 3-30; the
 * distributions are what NumPy computes, in the same order of operations. */
#include "rng.h"

#include <math.h>
#include <string.h>

enum { MIDDLE_WORD = 397 };

void wa_rng_seed(struct wa_rng *rng, uint32_t seed)
{
    uint32_t word = seed;
    for (uint32_t i = 0; i < WA_RNG_KEY_WORDS; i++) {
        rng->key[i] = word;
        word = UINT32_C(1812433253) * (word ^ (word >> 30)) + i + 1;
    }
    rng->position = WA_RNG_KEY_WORDS;
    rng->has_kept_normal = false;
    rng->kept_normal = 0.0;
}

static uint32_t twist(uint32_t high, uint32_t low)
{
    uint32_t joined = (high & UINT32_C(0x80000000)) | (low & UINT32_C(0x7fffffff));
    return (joined >> 1) ^ ((low & 1u) ? UINT32_C(0x9908b0df) : 0u);
}

static void renew_key(struct wa_rng *rng)
{
    uint32_t *key = rng->key;
    for (uint32_t i = 0; i < WA_RNG_KEY_WORDS; i++) {
        uint32_t next = (i + 1) % WA_RNG_KEY_WORDS;
        key[i] = key[(i + MIDDLE_WORD) % WA_RNG_KEY_WORDS] ^ twist(key[i], key[next]);
    }
    rng->position = 0;
}

uint32_t wa_rng_uint32(struct wa_rng *rng)
{
    if (rng->position == WA_RNG_KEY_WORDS) {
        renew_key(rng);
    }
    uint32_t y = rng->key[rng->position++];
    y ^= y >> 11;
    y ^= (y << 7) & UINT32_C(0x9d2c5680);
    y ^= (y << 15) & UINT32_C(0xefc60000);
    return y ^ (y >> 18);
}

double wa_rng_double(struct wa_rng *rng)
{
    uint32_t high = wa_rng_uint32(rng) >> 5; /* 27 bits */
    uint32_t low = wa_rng_uint32(rng) >> 6;  /* 26 bits */
    return ((double)high * 67108864.0 + (double)low) / 9007199254740992.0;
}

double wa_rng_normal(struct wa_rng *rng)
{
    if (rng->has_kept_normal) {
        rng->has_kept_normal = false;
        return rng->kept_normal;
    }
    double x, y, squares;
    do {
        x = 2.0 * wa_rng_double(rng) - 1.0;
        y = 2.0 * wa_rng_double(rng) - 1.0;
        /* Two statements: a fused multiply-add in one of them would change the last bit. */
        double x_squared = x * x;
        double y_squared = y * y;
        squares = x_squared + y_squared;
    } while (squares >= 1.0 || squares == 0.0);
    double scale = sqrt(-2.0 * log(squares) / squares);
    rng->kept_normal = scale * x;
    rng->has_kept_normal = true;
    return scale * y;
}

uint32_t wa_rng_binomial_half(struct wa_rng *rng)
{
    return wa_rng_double(rng) > 0.5 ? 1 : 0;
}

/* Uniform in 0 .. largest: bits under the smallest mask that holds it, drawn until they fit. */
static uint32_t draw_up_to(struct wa_rng *rng, uint32_t largest)
{
    if (largest == 0) {
        return 0;
    }
    uint32_t mask = largest;
    mask |= mask >> 1;
    mask |= mask >> 2;
    mask |= mask >> 4;
    mask |= mask >> 8;
    mask |= mask >> 16;
    uint32_t value;
    do {
        value = wa_rng_uint32(rng) & mask;
    } while (value > largest);
    return value;
}

uint32_t wa_rng_randint(struct wa_rng *rng, uint32_t n)
{
    return n == 0 ? 0 : draw_up_to(rng, n - 1);
}

void wa_rng_permutation(struct wa_rng *rng, uint32_t *ret_order, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        ret_order[i] = i;
    }
    for (uint32_t i = n; i-- > 1;) {
        uint32_t j = draw_up_to(rng, i);
        uint32_t swapped = ret_order[i];
        ret_order[i] = ret_order[j];
        ret_order[j] = swapped;
    }
}

void wa_rng_shuffle_floats(struct wa_rng *rng, float *values, uint32_t n)
{
    for (uint32_t i = n; i-- > 1;) {
        uint32_t j = draw_up_to(rng, i);
        float swapped = values[i];
        values[i] = values[j];
        values[j] = swapped;
    }
}

void wa_rng_save(const struct wa_rng *rng, uint32_t *ret_words)
{
    uint64_t bits;
    memcpy(&bits, &rng->kept_normal, sizeof bits);
    memcpy(ret_words, rng->key, sizeof rng->key);
    ret_words += WA_RNG_KEY_WORDS;
    ret_words[0] = rng->position;
    /* A normal that was already given away is no part of the state: equal states, equal words. */
    ret_words[1] = rng->has_kept_normal ? 1 : 0;
    ret_words[2] = rng->has_kept_normal ? (uint32_t)bits : 0;
    ret_words[3] = rng->has_kept_normal ? (uint32_t)(bits >> 32) : 0;
}

wa_status wa_rng_load(struct wa_rng *rng, const uint32_t *words, struct wa_error *err)
{
    const uint32_t *rest = words + WA_RNG_KEY_WORDS;
    uint64_t bits = (uint64_t)rest[3] << 32 | rest[2];
    double kept_normal;
    memcpy(&kept_normal, &bits, sizeof kept_normal);
    if (rest[0] > WA_RNG_KEY_WORDS || rest[1] > 1 || !isfinite(kept_normal)) {
        return wa_fail(err, WA_E_DATA,
                       "damaged state of the random numbers: position %u (at most %d), kept normal "
                       "%u (0 or 1); go on from another checkpoint or start the run anew",
                       (unsigned)rest[0], (int)WA_RNG_KEY_WORDS, (unsigned)rest[1]);
    }
    memcpy(rng->key, words, sizeof rng->key);
    rng->position = rest[0];
    rng->has_kept_normal = rest[1] == 1;
    rng->kept_normal = kept_normal;
    return WA_OK;
}
