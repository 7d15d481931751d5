/* Sets of parameters for CLBlast's matrix product that `walign tune` tries beside those that CLBlast
 * ships for a device. Each is CLBlast's kernel "Xgemm" cut another way; CLBlast's documentation of its
 * tuners says what the parameters mean. */
#ifndef WALIGN_CORE_CLBLAST_PARAMETERS_H
#define WALIGN_CORE_CLBLAST_PARAMETERS_H

#include "engine.h"

enum { WA_CLBLAST_PARAMETERS = 16, WA_CLBLAST_SETS = 4 };

struct wa_clblast_set {
    const char *name;                     /* as files and reports call it */
    enum wa_path path;                    /* whose devices it is meant for */
    size_t values[WA_CLBLAST_PARAMETERS]; /* in the order of wa_clblast_parameter_names */
};

extern const char *const wa_clblast_parameter_names[WA_CLBLAST_PARAMETERS];
extern const struct wa_clblast_set wa_clblast_sets[WA_CLBLAST_SETS];

/* The set of that name, or NULL. */
const struct wa_clblast_set *wa_clblast_find(const char *name);

/* From now on, and until the process ends, CLBlast's products on the device take these parameters: it
 * offers no way back to its own. It compiles its kernels anew at the next product. WA_E_UNSUPPORTED:
 * CLBlast refuses the set. */
WA_MUST_CHECK wa_status wa_clblast_use(const struct wa_device *device,
                                       const struct wa_clblast_set *set, struct wa_error *err);

#endif
