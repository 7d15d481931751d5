/* Which library multiplies matrices on a device, by shape, as `walign tune` measured it: the part of
 * the tuning (tuning.h) that matrix.c looks up. */
#ifndef WALIGN_CORE_MATRIX_CHOICES_H
#define WALIGN_CORE_MATRIX_CHOICES_H

#include <json-c/json.h>

#include "clblast_parameters.h"
#include "matrix.h"

struct wa_matrix_choice {
    struct wa_matrix_shape shape;
    int lanes;                      /* of the batch that it was measured for */
    enum wa_path path;              /* whose own kernel CLBlast was measured against */
    enum wa_matrix_library library; /* own or CLBlast */
    double ms;
};

struct wa_matrix_choices {
    struct wa_matrix_choice *entries;
    size_t count;
    /* Of all entries that chose CLBlast; NULL: those that it ships. */
    const struct wa_clblast_set *parameters;
};

/* The choice for a shape on a path, or NULL. */
const struct wa_matrix_choice *wa_matrix_choices_find(const struct wa_matrix_choices *choices,
                                                      enum wa_path path,
                                                      const struct wa_matrix_shape *shape);

/* Puts a choice in the place of one of its shape, path and lanes, or beside the others. */
WA_MUST_CHECK wa_status wa_matrix_choices_put(struct wa_matrix_choices *choices,
                                              const struct wa_matrix_choice *choice,
                                              struct wa_error *err);

/* CLBlast has one set of parameters a device: choices of CLBlast with another one are removed. */
void wa_matrix_choices_set_parameters(struct wa_matrix_choices *choices,
                                      const struct wa_clblast_set *parameters);

/* From and to the members "matrix_products" and "clblast_parameters" of a tuning file. Read takes the
 * entries of a path (0: of all) and of batches of so many lanes (0: of all); *ret_is_good is false, and
 * nothing is kept, where the file is damaged. Free with wa_matrix_choices_finish. */
WA_MUST_CHECK wa_status wa_matrix_choices_read(const json_object *root, enum wa_path path,
                                               int lanes, struct wa_matrix_choices *ret_choices,
                                               bool *ret_is_good, struct wa_error *err);
void wa_matrix_choices_write(const struct wa_matrix_choices *choices, json_object *root);

void wa_matrix_choices_finish(struct wa_matrix_choices *choices); /* takes zeros */

#endif
