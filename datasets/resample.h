/* Images of RGB bytes in another size, bilinear as PIL does it: a triangle filter, widened by the
 * scale when shrinking, columns first and rounded to bytes, then rows; weights of 22 bits. */
#ifndef WALIGN_DATASETS_RESAMPLE_H
#define WALIGN_DATASETS_RESAMPLE_H

#include "files.h"

struct wa_resample {
    const uint8_t *pixels; /* [height][width][3], rows `stride` bytes apart */
    size_t stride;
    int width, height;
    double left, top, right, bottom; /* what is resized, in pixels of the source */
    int out_width, out_height;       /* to this size */
    /* and of that, this part is computed */
    int part_x, part_y, part_width, part_height;
};

/* Into ret_pixels [part_height][part_width][3]. Fails with WA_E_MEMORY. */
WA_MUST_CHECK wa_status wa_resample_bilinear(const wa_host *host, const struct wa_resample *resample,
                                             uint8_t *ret_pixels);

#endif
