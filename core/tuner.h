/* Measures what could compute each product of a network's layers on a device, checks it against the
 * direct algorithm, and says which is fastest: the work of `walign tune`. */
#ifndef WALIGN_CORE_TUNER_H
#define WALIGN_CORE_TUNER_H

#include "session.h"
#include "tuning.h"

enum { WA_TUNER_MAX_CANDIDATES = 4 };

/* Largest difference from the direct algorithm's result that a candidate may have, as a part of the
 * largest value of that result. Winograd's F(4 x 4, 3 x 3) multiplies by up to 8 and 1/24 on its way,
 * which lets the rounding of float, 6e-8 of a value, grow some hundred times: 1e-5 is usual; a wrong
 * kernel is wrong by parts of one. */
#define WA_TUNER_TOLERANCE 1e-4

/* The largest difference, as a part of the reference's largest value; infinite where a value is no
 * number. */
double wa_tuner_difference(const float *values, const float *reference, size_t count);

struct wa_tuner_candidate {
    struct wa_choice choice;
    double ms;     /* the fastest of a few runs */
    double error;  /* as WA_TUNER_TOLERANCE */
    bool is_right; /* error is within it: it may win */
};

/* A product of a layer's shape. Layers of one shape share one, under the first one's name. */
struct wa_tuner_product {
    const struct wa_model_layer *layer; /* of the session's model */
    enum wa_product product;
    size_t count; /* candidates; the first is the direct algorithm as it is by default */
    struct wa_tuner_candidate candidates[WA_TUNER_MAX_CANDIDATES];
    size_t expected; /* what serves without tuning */
    size_t chosen;
};

/* Measures the session's model with its usual size of batch; nothing of the session changes. Its
 * engine's convolution is auto, and it has no tuning. `thorough`: blocking of the direct algorithms,
 * too. *ret_products is the caller's to free; products that have only one candidate are not in it. */
WA_MUST_CHECK wa_status wa_tuner_run(const struct wa_session *session, struct wa_engine *engine,
                                     bool thorough, struct wa_tuner_product **ret_products,
                                     size_t *ret_count, struct wa_error *err);

#endif
