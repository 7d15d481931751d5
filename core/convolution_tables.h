/* The tables by which convolution kernels find their inputs: jobs and taps of a layer's forward and
 * backward-data passes (kernels/cpu_convolution.cl says how they are used). */
#ifndef WALIGN_CORE_CONVOLUTION_TABLES_H
#define WALIGN_CORE_CONVOLUTION_TABLES_H

#include "model.h"

/* Fills layer->forward, layer->backward and the border of layer->gradient from its other fields. */
WA_MUST_CHECK wa_status wa_convolution_tables_init(struct wa_model_layer *layer, int lanes,
                                                   struct wa_blocking blocking,
                                                   struct wa_error *err);
void wa_convolution_tables_finish(struct wa_model_layer *layer);

#endif
