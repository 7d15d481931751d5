/* A small network and its operations for tests: convolutions (batch norm, ReLU), then global average
 * pooling and a dense readout; or, flattened, dense layers on the pixels. */
#ifndef WALIGN_TESTS_NETWORK_FIXTURE_H
#define WALIGN_TESTS_NETWORK_FIXTURE_H

#include "device_fixture.h"
#include "operations.h"
#include "reference_operations.h"

enum { WA_NETWORK_LAYERS = 3 };

struct wa_network_shape {
    int batch, channels, rows, columns;
    struct {
        int kernel, stride, width; /* width 0: no such layer */
    } layers[WA_NETWORK_LAYERS];
    int classes;
    bool is_flattened;
    bool is_linear; /* neither batch norm nor ReLU */
};

struct wa_network {
    struct wa_model model;
    struct wa_operations *operations;
};

/* Fails the test where the network cannot be made. The network is not to be moved: its operations
 * point into it. */
void wa_network_open(struct wa_fixture *fixture, const struct wa_network_shape *shape,
                     struct wa_network *ret_network);
/* The same for devices that may be too small: the status instead. Nothing is left open on failure. */
wa_status wa_network_try(struct wa_fixture *fixture, const struct wa_network_shape *shape,
                         struct wa_network *ret_network);
void wa_network_close(struct wa_network *network);

/* A layer's geometry for the reference. */
struct wa_reference_shape wa_network_reference_shape(const struct wa_network *network,
                                                     uint32_t layer);

/* From now on messages say "7x8x8 batch 20, 3x3/2 to 33" for a layer. */
void wa_network_describe(struct wa_fixture *fixture, const struct wa_network *network,
                         uint32_t layer);

#endif
