/* Measures the own kernel for matrix products against CLBlast's, with the parameters that it ships and
 * with sets of clblast_parameters.h, and chooses: by product who serves it, and for the whole device
 * one set, since CLBlast has no more. The part of `walign tune` that tuner.h is for convolutions. */
#ifndef WALIGN_CORE_PRODUCT_TUNER_H
#define WALIGN_CORE_PRODUCT_TUNER_H

#include "session.h"
#include "tuning.h"

/* The own kernel, CLBlast as it ships, CLBlast with each set. */
enum {
    WA_PRODUCT_OWN = 0,
    WA_PRODUCT_SHIPPED = 1,
    WA_PRODUCT_SETS = 2,
    WA_PRODUCT_CANDIDATES = WA_PRODUCT_SETS + WA_CLBLAST_SETS
};

enum { WA_PRODUCT_FAULT_BYTES = 256 };

struct wa_product_candidate {
    bool is_measured; /* it was a candidate at all */
    bool is_right;    /* it ran, and within WA_TUNER_TOLERANCE of the own kernel: it may win */
    double ms, error; /* the fastest of a few runs; as a part of the largest value */
    char fault[WA_PRODUCT_FAULT_BYTES]; /* why it cannot be used; "" otherwise */
};

struct wa_measured_product {
    char layer[WA_MODEL_NAME];
    const char *operation;
    struct wa_matrix_shape shape;
    int lanes;
    enum wa_path path;
    enum wa_matrix_library expected; /* what serves without tuning */
    struct wa_product_candidate candidates[WA_PRODUCT_CANDIDATES];
    size_t chosen; /* candidate */
};

struct wa_product_tuner {
    struct wa_measured_product *products;
    size_t count;
    size_t set; /* of candidates: what CLBlast takes on this device from now on */
};

/* Notes a session's matrix products of more than WA_PRODUCT_TUNER_VOLUME multiply-adds, each shape once:
 * smaller ones take the own kernel microseconds, less than CLBlast's launches. */
enum { WA_PRODUCT_TUNER_VOLUME = 1 << 16 };
WA_MUST_CHECK wa_status wa_product_tuner_add(struct wa_product_tuner *tuner,
                                             const struct wa_session *session,
                                             const struct wa_engine *engine, struct wa_error *err);

/* Measures and chooses. `with_sets`: also the sets of each product's path; CLBlast's parameters in this
 * process are those of the last one then. A candidate that fails cannot be used, which is no failure of
 * the tuner's. */
WA_MUST_CHECK wa_status wa_product_tuner_run(struct wa_product_tuner *tuner,
                                             struct wa_device *device, struct wa_programs *programs,
                                             bool with_sets, struct wa_error *err);

/* The choice from what was measured, a part of run: the set with which all products take the least
 * time, each served by who is faster; what serves without tuning stays unless something takes at most
 * 95 % of its time. */
void wa_product_tuner_choose(struct wa_product_tuner *tuner);

/* The set of a candidate, or NULL. */
const struct wa_clblast_set *wa_product_tuner_set(size_t candidate);

void wa_product_tuner_finish(struct wa_product_tuner *tuner); /* takes zeros */

#endif
