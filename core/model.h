/* A network's geometry and parameters, laid out for the kernels: what an architecture described,
 * completed with sizes, memory layouts and the tables that convolution kernels walk by.
 *
 * Tensors are [channel][row][column][lane]: a lane is an item of the batch, and `lanes` is the batch
 * rounded up to a multiple of four, at least 16, with zeros past the batch. Networks of dense layers
 * alone and sequences round it up to whole vectors.
 */
#ifndef WALIGN_CORE_MODEL_H
#define WALIGN_CORE_MODEL_H

#include "status.h"

enum { WA_MODEL_MAX_LAYERS = 256, WA_MODEL_NAME = 32, WA_MODEL_TENSOR_NAME = 48 };

/* Where the values of a tensor lie; all in floats. */
struct wa_layout {
    int channels, rows, columns, lanes;
    int before, after; /* border, in rows and columns */
    int base;          /* of row 0, column 0 inside a channel */
    int row, plane;    /* from row to row, from channel to channel */
    size_t floats;     /* of the whole tensor, channels rounded up for kernels that read blocks */
};

/* One sum over taps: an output grid whose places read the input at fixed offsets. Kernels see this
 * struct as it is (kernels/cpu_convolution.cl, struct job), so the order of its fields is theirs. */
struct wa_convolution_job {
    int32_t first, blocks, rest, rows, columns;
    int32_t x, x_row, x_column;
    int32_t y, y_row, y_column;
    int32_t taps, first_tap, weights;
};

/* All jobs of one direction of a layer. `kernel_taps[i]` is the number of the kernel's tap (row times
 * kernel width plus column) whose weights job tap i uses. */
struct wa_convolution {
    int job_count, tap_count;
    int out_channels, in_channels;
    int x_plane, y_plane;
    struct wa_convolution_job *jobs;
    int32_t *taps;
    int32_t *kernel_taps;
    size_t arranged_floats; /* of the weights in the kernels' order */
};

/* The tensors of a layer, in the order of wa_tensor_names. */
enum wa_tensor_kind {
    WA_TENSOR_INPUT_WEIGHT,
    WA_TENSOR_WEIGHT,
    WA_TENSOR_BIAS,
    WA_TENSOR_INITIAL_STATE,
    WA_TENSOR_KINDS
};

/* The products of a layer: each may have algorithms of its own. */
enum wa_product { WA_PRODUCT_FORWARD, WA_PRODUCT_BACKWARD, WA_PRODUCT_GRADIENT, WA_PRODUCT_COUNT };

struct wa_model_layer {
    struct wa_layer shape;
    char name[WA_MODEL_NAME];
    char tensor_names[WA_TENSOR_KINDS][WA_MODEL_TENSOR_NAME];
    bool is_dense;           /* on 1 x 1 images: matrix products instead of convolutions */
    int pad_row, pad_column; /* zeros before the first row and column */
    int fan_in;
    float scale;         /* 1/sqrt(fan_in), or 1 in standard parameterization */
    double draw_divisor; /* 1, or sqrt(fan_in) in standard parameterization */
    /* In a weights set, in floats. A recurrent layer has [input][output] for both of its matrices;
     * those of its input come first and are part of weight_count. */
    size_t weight_offset, weight_count, bias_offset;
    size_t input_count; /* recurrent: weights that read the input; else 0 */
    float input_scale;  /* of these */
    double input_draw_divisor;
    size_t state_offset, state_count; /* trained initial state [batch][output]; 0: none */
    struct wa_layout input;    /* as this layer reads it, bordered (dense: [in_channels][lanes]) */
    struct wa_layout output;   /* z and h: no border */
    struct wa_layout gradient; /* dz as backward-data reads it, bordered */
    struct wa_convolution forward, backward; /* not of dense layers */
};

struct wa_model {
    struct wa_net net; /* as rules see it */
    struct wa_layer *shapes;
    struct wa_model_layer *layers;
    uint32_t layer_count;
    int batch, lanes, classes;
    int product_lanes; /* of the lanes, those that dense products give; the others stay zero */
    int channels, rows, columns; /* of the images */
    bool is_sequence;       /* a recurrence over the rows, and a readout at each (sequence.h) */
    size_t parameter_count; /* of a weights set, in floats */
};

/* The batch rounded up as most networks have it, see above. */
int wa_model_lanes(int batch);

/* A tensor without border where before and after are 0. */
struct wa_layout wa_layout_make(int channels, int rows, int columns, int lanes, int before,
                                int after);

/* Collects the layers that an architecture's build adds, bottom to top. */
struct wa_model_builder {
    int channels, rows, columns, classes;
    uint32_t layer_count;
    uint64_t services;
    struct wa_layer layers[WA_MODEL_MAX_LAYERS];
    char names[WA_MODEL_MAX_LAYERS][WA_MODEL_NAME];
    char tensor_names[WA_MODEL_MAX_LAYERS][WA_TENSOR_KINDS][WA_MODEL_TENSOR_NAME];
};

/* Which floats of a weights set a tensor of the layer is. False: the layer has none of that kind. */
bool wa_model_find_tensor(const struct wa_model_layer *layer, enum wa_tensor_kind kind,
                          size_t *ret_offset, size_t *ret_count);

/* Checks a layer against what is below it and completes its shape. */
WA_MUST_CHECK wa_status wa_model_builder_add(struct wa_model_builder *builder,
                                             const struct wa_layer *layer, struct wa_error *err);

/* Vector blocking of the CPU kernels, by which jobs are cut. */
struct wa_blocking {
    int lanes;    /* lanes of a block */
    int outputs;  /* channels of a block of outputs */
    int position; /* of networks of dense layers alone, lanes are rounded up to a multiple of it */
};

/* The model for a batch size; `is_standard`: standard parameterization. Free with wa_model_finish. */
WA_MUST_CHECK wa_status wa_model_init(struct wa_model *ret_model,
                                      const struct wa_model_builder *builder, int batch,
                                      bool is_standard, struct wa_blocking blocking,
                                      struct wa_error *err);
void wa_model_finish(struct wa_model *model);

#endif
