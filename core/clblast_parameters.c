/* Parameters of CLBlast's matrix product. */
#include "clblast_parameters.h"

#include <string.h>

#include <clblast_c.h>

const char *const wa_clblast_parameter_names[WA_CLBLAST_PARAMETERS] = {
    "GEMMK", "KREG", "KWG", "KWI", "MDIMA", "MDIMC", "MWG", "NDIMB",
    "NDIMC", "NWG",  "SA",  "SB",  "STRM",  "STRN",  "VWM", "VWN"};

/* CPUs: a work-item a group, vectors of 8, nothing copied to local memory, which is memory like any
 * other there. GPUs: groups of 64 and 128, both operands in 8 and 12 KB of local memory. */
const struct wa_clblast_set wa_clblast_sets[WA_CLBLAST_SETS] = {
    {"16 x 16 a work-item", WA_PATH_CPU, {0, 1, 16, 2, 1, 1, 16, 1, 1, 16, 0, 0, 0, 0, 8, 4}},
    {"32 x 12 a work-item", WA_PATH_CPU, {0, 1, 16, 2, 1, 1, 32, 1, 1, 12, 0, 0, 0, 0, 8, 4}},
    {"64 x 64 a group", WA_PATH_GPU, {0, 1, 16, 2, 16, 8, 64, 16, 8, 64, 1, 1, 0, 0, 4, 4}},
    {"128 x 64 a group", WA_PATH_GPU, {0, 1, 16, 2, 16, 16, 128, 16, 8, 64, 1, 1, 0, 0, 4, 2}},
};

const struct wa_clblast_set *wa_clblast_find(const char *name)
{
    for (size_t i = 0; i < WA_CLBLAST_SETS; i++) {
        if (strcmp(wa_clblast_sets[i].name, name) == 0) {
            return &wa_clblast_sets[i];
        }
    }
    return NULL;
}

wa_status wa_clblast_use(const struct wa_device *device, const struct wa_clblast_set *set,
                         struct wa_error *err)
{
    const char *names[WA_CLBLAST_PARAMETERS];
    memcpy(names, wa_clblast_parameter_names, sizeof names);
    CLBlastStatusCode code = CLBlastOverrideParameters(
        device->part ? device->part : device->info.id, "Xgemm", CLBlastPrecisionSingle,
        WA_CLBLAST_PARAMETERS, names, set->values);
    return code == CLBlastSuccess
               ? WA_OK
               : wa_fail(err, WA_E_UNSUPPORTED,
                         "CLBlast refuses the parameters \"%s\" with code %d: run `walign tune` "
                         "again with this version of CLBlast",
                         set->name, (int)code);
}
