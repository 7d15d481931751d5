/* What serves each product of a layer on a device, by the layer's shape, as `walign tune` measured it:
 * looked up when operations are made, kept as JSON in $XDG_CACHE_HOME/walign/tuning by device and
 * driver. */
#ifndef WALIGN_CORE_TUNING_H
#define WALIGN_CORE_TUNING_H

#include "engine.h"
#include "matrix_choices.h"
#include "model.h"

enum wa_algorithm { WA_ALGORITHM_AUTO = 0, WA_ALGORITHM_DIRECT, WA_ALGORITHM_WINOGRAD };

/* How a product is computed. Zeros: as is expected to be fastest. */
struct wa_choice {
    enum wa_algorithm algorithm;
    int gathered_taps;  /* of a direct convolution: channels times taps that a round takes in */
    int gradient_items; /* of a direct weight gradient: work-items that it is cut into at least */
};

/* What choices are looked up by. */
struct wa_tuning_shape {
    int in_channels, out_channels, kernel, stride, height, width, lanes;
};

struct wa_tuning_entry {
    struct wa_tuning_shape shape;
    struct wa_choice choices[WA_PRODUCT_COUNT];
    double ms[WA_PRODUCT_COUNT]; /* that the choices took when they won; 0: nothing was measured */
};

struct wa_tuning {
    const struct wa_choice *everywhere; /* for all layers and products, or NULL: by shape */
    struct wa_tuning_entry *entries;
    size_t count;
    struct wa_matrix_choices matrices;
};

/* What of a file is read; zeros: all. */
struct wa_tuning_filter {
    int lanes;           /* only for batches of so many */
    enum wa_path path;   /* only matrix products of a path; */
    bool without_layers; /* only these, no convolutions */
};

/* The engine's tuning for a product of a layer; zeros where it has none. */
struct wa_choice wa_tuning_choose(const struct wa_engine *engine,
                                  const struct wa_model_layer *layer, enum wa_product product);

/* Whether a product that Winograd's algorithm fits goes that way; `is_expected`: that is expected to
 * be faster. */
bool wa_tuning_takes_winograd(const struct wa_engine *engine, const struct wa_model_layer *layer,
                              enum wa_product product, bool is_expected);

struct wa_tuning_shape wa_tuning_shape_of(const struct wa_model_layer *layer);
bool wa_tuning_is_same_shape(const struct wa_tuning_shape *a, const struct wa_tuning_shape *b);

/* "direct", "direct, 40 taps", ... */
enum { WA_CHOICE_BYTES = 64 };
void wa_tuning_describe(const char *algorithm, const struct wa_choice *choice,
                        char ret_text[WA_CHOICE_BYTES]);

/* The same of a matrix product: "matrix product", "clblast", "clblast, 64 x 64 a group" (parameters of
 * the set; NULL: those that CLBlast ships). */
void wa_tuning_describe_library(enum wa_matrix_library library,
                                const struct wa_clblast_set *parameters,
                                char ret_text[WA_CHOICE_BYTES]);

/* ---- The file -------------------------------------------------------------------------------- */

/* Where the tuning of a device lies; the caller frees it. NULL: there is no cache folder. */
char *wa_tuning_path(const struct wa_device *device);

/* Reads the entries of a file that pass the filter. A file that is not there has none. WA_E_DATA, with its name: it is damaged. Free with wa_tuning_finish. */
WA_MUST_CHECK wa_status wa_tuning_read(const char *path, const struct wa_tuning_filter *filter,
                                       struct wa_tuning *ret_tuning, struct wa_error *err);

/* Puts an entry in the place of one of its shape, or beside the others. */
WA_MUST_CHECK wa_status wa_tuning_put(struct wa_tuning *tuning, const struct wa_tuning_entry *entry,
                                      struct wa_error *err);

/* Writes the file whole, its folder too. */
WA_MUST_CHECK wa_status wa_tuning_write(const struct wa_tuning *tuning,
                                        const struct wa_device *device, const char *path,
                                        struct wa_error *err);

void wa_tuning_finish(struct wa_tuning *tuning); /* takes zeros */

#endif
