/* Shapes of work-groups for the GPU kernels. */
#include "tile.h"

#include <stdio.h>

enum { OPTION_BYTES = 192 };

/* Returns false for a tile of a single work-item. */
static bool shrink(struct wa_tile *tile)
{
    int *longer = tile->rows > tile->columns ? &tile->rows : &tile->columns;
    if (*longer == 1) {
        return false;
    }
    *longer /= 2;
    return true;
}

wa_status wa_tile_fit(const struct wa_engine *engine, struct wa_tiled_kernels *tiled,
                      struct wa_error *err)
{
    struct wa_tile *tile = &tiled->tile;
    while (wa_tile_items(tile) > engine->group_items) {
        (void)shrink(tile);
    }
    while (tiled->bytes(tile, tiled->context) > engine->local_bytes) {
        if (!shrink(tile)) {
            return wa_fail(err, WA_E_UNSUPPORTED,
                           "%s has %zu bytes of local memory, the kernels of %s need %zu",
                           engine->device->info.name, engine->local_bytes, tiled->file,
                           tiled->bytes(tile, tiled->context));
        }
    }
    return WA_OK;
}

static void tile_options(const struct wa_tiled_kernels *tiled, char *buffer, size_t bytes)
{
    (void)snprintf(buffer, bytes, "-D ROWS=%d -D COLUMNS=%d -D PIECES=%d%s%s", tiled->tile.rows,
                   tiled->tile.columns, tiled->tile.pieces, tiled->options ? " " : "",
                   tiled->options ? tiled->options : "");
}

struct wa_program_spec wa_tile_spec(const struct wa_engine *engine, struct wa_tiled_kernels tiled,
                                    char *buffer, size_t buffer_bytes)
{
    char options[OPTION_BYTES];
    wa_status status = wa_tile_fit(engine, &tiled, NULL);
    (void)status; /* making the kernel tells */
    tile_options(&tiled, options, sizeof options);
    return wa_engine_spec(engine, tiled.file, options, buffer, buffer_bytes);
}

static void release(cl_kernel *kernels, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (kernels[i]) {
            (void)clReleaseKernel(kernels[i]);
        }
        kernels[i] = NULL;
    }
}

wa_status wa_tile_kernels(struct wa_engine *engine, struct wa_tiled_kernels *tiled,
                          const char *const *names, size_t count, cl_kernel *ret_kernels,
                          struct wa_error *err)
{
    wa_status status = wa_tile_fit(engine, tiled, err);
    bool fits = engine->plan != NULL; /* no kernel is made that could want a smaller one */
    while (status == WA_OK && !fits) {
        char options[OPTION_BYTES];
        tile_options(tiled, options, sizeof options);
        fits = true;
        for (size_t i = 0; i < count && status == WA_OK; i++) {
            status = wa_engine_kernel(engine, tiled->file, names[i], options, &ret_kernels[i], err);
            fits = fits && (status != WA_OK || wa_engine_group_limit(engine, ret_kernels[i]) >=
                                                   wa_tile_items(&tiled->tile));
        }
        fits = fits || !shrink(&tiled->tile); /* a single work-item always runs */
        if (status != WA_OK || !fits) {
            release(ret_kernels, count);
        }
    }
    return status;
}
