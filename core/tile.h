/* Shapes of work-groups for the GPU kernels: work-items in rows and columns, fitted to what the
 * device, its local memory and the built kernel allow. */
#ifndef WALIGN_CORE_TILE_H
#define WALIGN_CORE_TILE_H

#include "engine.h"

/* The kernels' ROWS, COLUMNS and PIECES; all powers of two. */
struct wa_tile {
    int rows, columns;
    int pieces; /* of four values, that a work-item has along the columns */
};

/* Bytes of local memory that a kernel takes with a tile; what else it needs is in `context`. */
typedef size_t wa_tile_bytes(const struct wa_tile *tile, int context);

/* Kernels of a file in kernels/ with what decides their tile. */
struct wa_tiled_kernels {
    const char *file;
    const char *options; /* beside the tile's; NULL: none */
    struct wa_tile tile; /* the wanted one; smaller where it does not fit */
    wa_tile_bytes *bytes;
    int context;
};

/* Makes the tile smaller, the longer side first, until it fits the device. Fails with
 * WA_E_UNSUPPORTED when a single work-item needs more local memory than there is. */
WA_MUST_CHECK wa_status wa_tile_fit(const struct wa_engine *engine, struct wa_tiled_kernels *tiled,
                                    struct wa_error *err);

/* The spec by which wa_tile_kernels builds first, for wa_programs_prebuild. `buffer` holds the
 * options and must outlive the spec. */
struct wa_program_spec wa_tile_spec(const struct wa_engine *engine, struct wa_tiled_kernels tiled,
                                    char *buffer, size_t buffer_bytes);

/* Fits the tile and makes `count` kernels of the file; a tile that one of them cannot run with (too
 * many registers, say) is made smaller still, for all. The caller releases the kernels. */
WA_MUST_CHECK wa_status wa_tile_kernels(struct wa_engine *engine, struct wa_tiled_kernels *tiled,
                                        const char *const *names, size_t count,
                                        cl_kernel *ret_kernels, struct wa_error *err);

/* Work-items of a group of the tile. */
static inline size_t wa_tile_items(const struct wa_tile *tile)
{
    return (size_t)tile->rows * (size_t)tile->columns;
}

/* A launch of `groups` groups of the tile, in one dimension (others are short on some devices). */
static inline struct wa_range wa_tile_range(const struct wa_tile *tile, size_t groups)
{
    return (struct wa_range){1, {groups * wa_tile_items(tile)}, {wa_tile_items(tile)}};
}

#endif
