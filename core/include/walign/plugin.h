/* walign plugin interface: the only header that a plugin includes.
 *
 * A plugin is a shared object that exports one constant, `wa_plugin_entry`: a table of plugin
 * descriptors. Loading it, listing it and validating options runs no code of the plugin. Every
 * struct starts with its own size; fields are only ever appended (that bumps WA_ABI_MINOR), never
 * reordered. A plugin links nothing of walign: all it needs comes through the host tables below.
 *
 * Stage tags say when a function may be called:
 *   [create]  inside the plugin's create/open/build
 *   [draw]    inside wa_rule_ops.draw_layer
 *   [step]    inside compute_update / apply: these calls only enqueue work, they never wait
 *   [any]     whenever the plugin's instance exists
 * Unless said otherwise calls come from one thread, strings are UTF-8 and owned by whoever made
 * them, and handles belong to the host and live as long as the instance.
 *
 * What is computed: Boopathy & Fiete, "How to Train Your Wide Neural Network Without Backprop: An
 * Input-Weight Alignment Perspective", ICML 2022 (arXiv 2106.08453). docs/write-a-rule.md is a tour.
 */
#ifndef WALIGN_PLUGIN_H
#define WALIGN_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WA_ABI_MAJOR 1u
#define WA_ABI_MINOR 1u

#if defined(__GNUC__)
#define WA_MUST_CHECK __attribute__((warn_unused_result))
#define WA_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define WA_EXPORT __attribute__((visibility("default")))
#else
#define WA_MUST_CHECK
#define WA_PRINTF(text, first)
#define WA_EXPORT
#endif

/* ---- Status -------------------------------------------------------------------------------- */

/* value, name, what it means to a person */
#define WA_STATUS_MAP(XX)                                                                          \
    XX(0, OK, "ok")                                                                                \
    XX(1, E_USAGE, "bad usage or configuration")                                                   \
    XX(2, E_DATA, "bad data file")                                                                 \
    XX(3, E_UNSUPPORTED, "combination not supported")                                              \
    XX(4, E_NO_DEVICE, "no such device")                                                           \
    XX(5, E_MEMORY, "out of memory")                                                               \
    XX(6, E_IO, "input or output failed")                                                          \
    XX(7, E_DEVICE, "the OpenCL device failed")                                                    \
    XX(8, E_DIVERGED, "diverged")                                                                  \
    XX(9, E_INTERRUPTED, "interrupted")                                                            \
    XX(10, E_PLUGIN, "a plugin misbehaves")                                                        \
    XX(11, E_FAILED, "failed")

typedef enum wa_status {
#define WA_STATUS_ENUM(value, name, text) WA_##name = value,
    WA_STATUS_MAP(WA_STATUS_ENUM)
#undef WA_STATUS_ENUM
} wa_status;

typedef enum wa_log_level {
    WA_LOG_ERROR = 1,
    WA_LOG_WARNING,
    WA_LOG_INFO,
    WA_LOG_DEBUG,
    WA_LOG_PLUGIN_MISBEHAVING
} wa_log_level;

/* ---- What every instance gets from the host ------------------------------------------------- */

/* Options are those of the plugin's JSON object in the config, checked against the plugin's option
 * schema and completed with its defaults: a getter of a declared option cannot fail. Asking for an
 * undeclared option, or with the wrong type, returns 0, false or NULL and is logged as
 * WA_LOG_PLUGIN_MISBEHAVING. */
typedef struct wa_host {
    uint32_t struct_size;
    void *context; /* the host's; pass wa_host itself back, never this */

    /* [any] Keeps the message (printf style) for the user and returns `status`, so that a plugin
     * writes `return host->fail(host, WA_E_DATA, "...", ...)`. The first message wins. */
    wa_status (*fail)(const struct wa_host *host, wa_status status, const char *format, ...)
        WA_PRINTF(3, 4);
    /* [any] One line to the user's log. */
    void (*log)(const struct wa_host *host, wa_log_level level, const char *format, ...)
        WA_PRINTF(3, 4);

    bool (*option_is_null)(const struct wa_host *host, const char *name);
    int64_t (*option_integer)(const struct wa_host *host, const char *name);
    double (*option_number)(const struct wa_host *host, const char *name);
    bool (*option_boolean)(const struct wa_host *host, const char *name);
    const char *(*option_string)(const struct wa_host *host, const char *name);
    /* A string option that is a path, resolved against the config's folder; NULL if it is null.
     * Lives as long as the instance. */
    const char *(*option_path)(const struct wa_host *host, const char *name);
    size_t (*option_length)(const struct wa_host *host, const char *name); /* of an array */
    int64_t (*option_integer_at)(const struct wa_host *host, const char *name, size_t index);

    /* [any] An optional interface by its name and revision ("walign.opencl/1"); NULL if the host
     * has none of that name. */
    const void *(*get_extension)(const struct wa_host *host, const char *name);
} wa_host;

/* ---- The network as a rule sees it ---------------------------------------------------------- */

typedef struct wa_weights wa_weights;   /* a weight tensor and a bias for every layer */
typedef struct wa_tape wa_tape;         /* what a forward pass leaves: activities, statistics */
typedef struct wa_feedback wa_feedback; /* direct feedback tensors, one for each hidden layer */
typedef struct wa_delta wa_delta;       /* error on its way down, at some layer's output */

typedef enum wa_layer_kind {
    WA_LAYER_CONVOLUTION = 1, /* k x k, SAME padding; k = 1 on 1 x 1 images is a dense layer */
    /* State from step to step with one weight matrix: rows of the items are steps in time. Adds
     * x W_in/sqrt(in) + s W/sqrt(out) + b; of a state of its own it reads the step before. */
    WA_LAYER_RECURRENT = 2,
    /* All inputs to all outputs, on 1 x 1 images or flattened ones; above a recurrent layer, at each
     * step. Its weights have two dimensions. */
    WA_LAYER_DENSE = 3
} wa_layer_kind;

typedef enum wa_layer_input {
    WA_INPUT_AS_IS = 1,
    WA_INPUT_POOLED = 2,   /* averaged over rows and columns first */
    WA_INPUT_FLATTENED = 3 /* h, w, c order, as channels of a 1 x 1 image */
} wa_layer_input;

typedef enum wa_normalization {
    WA_NORMALIZATION_NONE = 1,
    /* (z - mean)/sqrt(var + 1e-6), mean and biased variance over the batch axis alone, for each
     * position and channel; batch statistics at evaluation too */
    WA_NORMALIZATION_BATCH = 2
} wa_normalization;

typedef enum wa_activation { WA_ACTIVATION_NONE = 1, WA_ACTIVATION_RELU = 2 } wa_activation;

/* Where a live and a frozen net are joined at a layer's output, when one carries the error and the
 * other takes the weight gradient: before the activation, the slope is that of the net that carries
 * the error; after it, each net uses its own. */
typedef enum wa_join {
    WA_JOIN_BEFORE_ACTIVATION = 1,
    WA_JOIN_AFTER_ACTIVATION = 2,
    /* The live net reads the layer below as if it were constant: the layer's own weights learn from
     * the gradient's tape, but what it sends down reaches the net of the transport alone. */
    WA_JOIN_NONE = 3
} wa_join;

/* What a network can do for a rule; a rule states its needs, an architecture what it can serve. */
#define WA_SERVICE_TRANSPORT_WEIGHTS ((uint64_t)1) /* transport weights that made no tape (fa) */
#define WA_SERVICE_DIRECT_FEEDBACK ((uint64_t)2)   /* error straight to a hidden layer (dfa) */
#define WA_SERVICE_TWO_TAPES ((uint64_t)4)         /* transport and gradient from different tapes */
#define WA_SERVICE_LAYERWISE_ERROR ((uint64_t)8)   /* a delta may enter at any layer */

/* What a layer's tensors are called in checkpoints; NULL: "<layer>.input_weight", "<layer>.weight",
 * "<layer>.bias", "<layer>.initial_state". Only recurrent layers have the first and the last. */
typedef struct wa_tensor_names {
    const char *input_weight, *weight, *bias, *initial_state;
} wa_tensor_names;

typedef struct wa_layer {
    uint32_t struct_size;
    const char *name; /* "conv1", ..., "readout": as in checkpoints */
    wa_layer_kind kind;
    wa_layer_input input;
    wa_normalization normalization;
    wa_activation activation;
    wa_join join;
    uint32_t kernel, stride;
    uint32_t in_channels, in_height, in_width; /* after pooling or flattening */
    uint32_t out_channels, out_height, out_width;
    bool trains_initial_state; /* has a trained tensor beside its weights (recurrent s_0) */
    wa_tensor_names tensors;
} wa_layer;

typedef struct wa_net {
    uint32_t struct_size;
    uint32_t layer_count; /* bottom to top; the last one is the readout */
    const wa_layer *layers;
    uint32_t batch, classes;
    uint64_t services;
} wa_net;

/* ---- Rules ---------------------------------------------------------------------------------- */

/* One layer's share of the way down. `delta` holds the gradient at the layer's output (after its
 * activation); when `transport` is given it holds afterwards the gradient at the output of the layer
 * below. Paper, section 3; the table of rules in docs/rules.md. */
typedef struct wa_backward {
    uint32_t struct_size;
    uint32_t layer;
    wa_delta *delta;
    /* ReLU' and batch norm of the transport come from this tape. Required. */
    const wa_tape *transport_tape;
    /* Weights that carry the error to the layer below; NULL where nothing goes further down. In a
     * recurrent layer they carry it from step to step too, down to the initial state: a trained
     * initial state gets its gradient by this, whatever gradient_tape is. */
    const wa_weights *transport;
    /* Input, batch norm and (by the layer's wa_join) slope of the weight gradient; NULL: this layer
     * gets no gradient from this call. */
    const wa_tape *gradient_tape;
} wa_backward;

typedef struct wa_rule_host {
    uint32_t struct_size;
    const wa_host *base;
    const wa_net *net;
    wa_weights *live; /* the trained weights; drawn by the host, changed by the optimizer alone */

    /* [create] The weights as drawn, biases 0; a copy made once, after all layers are drawn. */
    WA_MUST_CHECK wa_status (*frozen_weights)(const struct wa_rule_host *host,
                                              wa_weights **ret_weights);
    /* [create] Another set of the layers' shapes, to be filled by draw_normal; biases 0. */
    WA_MUST_CHECK wa_status (*feedback_weights)(const struct wa_rule_host *host,
                                                wa_weights **ret_weights);
    /* [create] Direct feedback tensors for every layer below the readout: [classes, h, w, channel],
     * or with `pooled` [classes, channel] on the average of the activities over positions. */
    WA_MUST_CHECK wa_status (*direct_feedback)(const struct wa_rule_host *host, bool pooled,
                                               wa_feedback **ret_feedback);
    /* [create] Room for one forward pass. */
    WA_MUST_CHECK wa_status (*tape)(const struct wa_rule_host *host, wa_tape **ret_tape);
    /* [create] The error on its way down. One is enough for a pass from top to bottom. */
    WA_MUST_CHECK wa_status (*delta)(const struct wa_rule_host *host, wa_delta **ret_delta);
    /* [create] Whether the optimizer changes a layer's weights and bias; all are trained unless the
     * rule says so. */
    WA_MUST_CHECK wa_status (*set_trained)(const struct wa_rule_host *host, uint32_t layer,
                                           bool is_trained);

    /* [draw] Normal numbers for one layer, in the layer's draw order and with its scaling: the next
     * of the run's random stream. */
    WA_MUST_CHECK wa_status (*draw_normal)(const struct wa_rule_host *host, wa_weights *weights,
                                           uint32_t layer);
    WA_MUST_CHECK wa_status (*draw_feedback)(const struct wa_rule_host *host, wa_feedback *feedback,
                                             uint32_t layer);

    /* [step] Forward pass of the current batch. */
    WA_MUST_CHECK wa_status (*forward)(const struct wa_rule_host *host, const wa_weights *weights,
                                       wa_tape *tape);
    /* [step] Loss and accuracy of the tape's outputs, counted once a step; `delta` starts at the
     * readout's output with the gradient of the loss. Call it with the live net's tape. */
    WA_MUST_CHECK wa_status (*output_error)(const struct wa_rule_host *host, const wa_tape *tape,
                                            wa_delta *delta);
    /* [step] One layer down; see wa_backward. */
    WA_MUST_CHECK wa_status (*backward)(const struct wa_rule_host *host,
                                        const wa_backward *backward);
    /* [step] Sets `delta` to the output error carried by B_l straight to layer l's output. */
    WA_MUST_CHECK wa_status (*feed_back)(const struct wa_rule_host *host,
                                         const wa_feedback *feedback, uint32_t layer,
                                         wa_delta *delta);
    /* [create] The same as set_trained for what layers train beside weights and bias: the initial
     * state of a layer that trains_initial_state. */
    WA_MUST_CHECK wa_status (*set_state_trained)(const struct wa_rule_host *host, uint32_t layer,
                                                 bool is_trained);
} wa_rule_host;

typedef struct wa_rule_ops {
    uint32_t struct_size;
    uint64_t needs; /* WA_SERVICE_*: checked before anything runs */

    /* ---- required ---- */
    /* Allocates the instance and asks the host for weights and tapes. On failure nothing is left. */
    wa_status (*create)(const wa_rule_host *host, void **ret_self);
    void (*destroy)(void *self); /* takes NULL */
    /* [step] Leaves every trained layer's gradient with the host. Only enqueues: no allocation, no
     * wait, no read-back. Called once before the first step too: then the host's services only note
     * what a step needs, so that all memory is planned at once. Each call must use the services
     * alike. Memory is planned with an instance of its own, which nothing is drawn for and which takes
     * no step. */
    wa_status (*compute_update)(void *self);

    /* ---- optional ---- */
    /* Called for each layer, bottom to top, right after the host drew the layer's weights. */
    wa_status (*draw_layer)(void *self, uint32_t layer);
} wa_rule_ops;

/* ---- Architectures -------------------------------------------------------------------------- */

typedef struct wa_architecture_host {
    uint32_t struct_size;
    const wa_host *base;
    uint32_t in_channels, in_height, in_width;
    uint32_t classes; /* outputs of the readout; with values as targets, at each step */
    /* [create] Adds a layer on top. The host fills in_* and out_height/out_width; out_channels,
     * kernel, stride and the declarations are the caller's, `name` is copied. */
    WA_MUST_CHECK wa_status (*add_layer)(const struct wa_architecture_host *host,
                                         const wa_layer *layer);
    /* [create] What rules may ask of this network: WA_SERVICE_*. */
    void (*set_services)(const struct wa_architecture_host *host, uint64_t services);
} wa_architecture_host;

typedef struct wa_architecture_ops {
    uint32_t struct_size;
    /* ---- required ---- */
    wa_status (*build)(const wa_architecture_host *host); /* describes the layers, keeps nothing */
} wa_architecture_ops;

/* ---- Datasets ------------------------------------------------------------------------------- */

typedef enum wa_part { WA_PART_TRAIN = 1, WA_PART_VALIDATION = 2, WA_PART_TEST = 3 } wa_part;

typedef enum wa_element {
    WA_ELEMENT_U8 = 1, /* the host scales by 1/255 in float32 */
    WA_ELEMENT_F32 = 2
} wa_element;

typedef enum wa_target {
    WA_TARGET_CLASS = 1, /* a uint32_t label below `classes` */
    WA_TARGET_VALUES = 2 /* `target_values` floats: `classes` of them for each row of an item */
} wa_target;

typedef struct wa_dataset_info {
    uint32_t struct_size;             /* the host's, set before open is called */
    uint32_t height, width, channels; /* an item is [height][width][channels] elements */
    uint32_t classes;
    uint32_t target_values;
    wa_element element;
    wa_target target;
    float target_offset; /* targets are one-hot minus this */
    bool
        trains_smaller_last_batch; /* a last batch that is not full counts too, else it is left out */
    /* Items of each part; 0 where the dataset has no such part. Where it has no validation part, the
     * host holds the first items of the training part out. */
    uint64_t train_items, validation_items, test_items;
    /* Each epoch also draws the order of the test set, then the order in which the training set is
     * evaluated, whether they are evaluated or not; else both are read in file order. */
    bool shuffles_evaluation;
    /* Of WA_TARGET_VALUES: the output of a net that knows nothing. Its losses are reported beside a
     * run's lowest ones. */
    bool has_chance_output;
    float chance_output;
    bool reads_on_demand; /* items are read from files one by one, else all are kept in memory */
} wa_dataset_info;

typedef struct wa_dataset_host {
    uint32_t struct_size;
    const wa_host *base;
    /* [create] The folder of the data: option "dir" if it is set, else the first that exists of
     * $WALIGN_DATA/<id>, $XDG_DATA_HOME/walign/<id>, /usr/share/datasets/<id>. Fails with a message
     * that names them all. The string lives as long as the instance. */
    WA_MUST_CHECK wa_status (*data_dir)(const struct wa_dataset_host *host, const char **ret_dir);
    /* [create] The first `count` numbers of a generator with that seed, uniform in [0, 1): NumPy's
     * RandomState(seed).random_sample(count). */
    void (*draw_uniform)(const struct wa_dataset_host *host, uint32_t seed, double *ret_values,
                         size_t count);
} wa_dataset_host;

typedef struct wa_read {
    uint32_t struct_size;
    wa_part part;
    uint64_t index; /* within the part */
    uint64_t epoch; /* from 1; 0 for evaluation. With `seed`, all that an augmentation may use */
    uint32_t seed;
    void *ret_item;   /* height*width*channels elements */
    void *ret_target; /* a uint32_t label or target_values floats */
} wa_read;

/* A file that `walign data get` fetches; it is checked before it takes its place. */
typedef struct wa_download {
    uint32_t struct_size;
    const char *address; /* official, http or https */
    uint64_t size_bytes;
    const char *sha256; /* 64 lower-case hexadecimal digits */
    /* NULL for a file that is kept as it is; for an archive, the folder or file that it makes. */
    const char *unpacks_to;
} wa_download;

typedef struct wa_dataset_ops {
    uint32_t struct_size;
    uint64_t
        default_validation; /* value of the config's dataset.validation where it is not given */

    /* ---- required ---- */
    /* Opens and checks the files: counts, magic numbers, label ranges. */
    wa_status (*open)(const wa_dataset_host *host, void **ret_self, wa_dataset_info *ret_info);
    void (*close)(void *self); /* takes NULL */
    /* Reads one item. May be called from several threads at once. */
    wa_status (*read)(void *self, const wa_read *read);

    /* ---- optional ---- */
    const wa_download *downloads;
    uint32_t download_count;
    const char *how_to_get; /* for people, where the data cannot be fetched freely */
    /* For each download the name of a file that open takes in its place, within the data folder, or NULL:
     * what is unpacked already, or lies elsewhere. NULL: there are none. */
    const char *const *download_substitutes;
} wa_dataset_ops;

/* ---- Optimizers ----------------------------------------------------------------------------- */

/* One update of every trained parameter, written for a single one of them in C: `w` is the
 * parameter, `g` its gradient, then the names of the optimizer's own state (one float a parameter,
 * 0 at first, kept in checkpoints) and of the scalars that change from step to step; all are float.
 * Example: {"w -= lr * g;", 0, NULL, 1, {"lr"}}. */
typedef struct wa_update {
    uint32_t struct_size;
    const char *statement;
    uint32_t state_count;
    const char *const *state_names;
    uint32_t scalar_count; /* at most 8 */
    const char *const *scalar_names;
} wa_update;

typedef struct wa_optimizer_host {
    uint32_t struct_size;
    const wa_host *base;
    /* [create] Once. */
    WA_MUST_CHECK wa_status (*set_update)(const struct wa_optimizer_host *host,
                                          const wa_update *update);
    /* [step] Enqueues the update of all trained parameters with these scalars. */
    WA_MUST_CHECK wa_status (*update)(const struct wa_optimizer_host *host, const float *scalars);
} wa_optimizer_host;

typedef struct wa_optimizer_ops {
    uint32_t struct_size;
    /* ---- required ---- */
    wa_status (*create)(const wa_optimizer_host *host, void **ret_self);
    void (*destroy)(void *self); /* takes NULL */
    /* [step] `step` counts from 1 over the whole run, so that nothing else needs to be kept. */
    wa_status (*apply)(void *self, uint64_t step);
} wa_optimizer_ops;

/* ---- Descriptors ---------------------------------------------------------------------------- */

typedef enum wa_kind {
    WA_KIND_RULE = 1,
    WA_KIND_ARCHITECTURE = 2,
    WA_KIND_DATASET = 3,
    WA_KIND_OPTIMIZER = 4
} wa_kind;

/* What core must be able to find without knowing a name. */
#define WA_ROLE_EXACT_GRADIENT ((uint64_t)1)  /* a rule: the gradient itself */
#define WA_ROLE_FROZEN_GRADIENT ((uint64_t)2) /* a rule: the frozen net's gradient */
#define WA_ROLE_DEFAULT ((uint64_t)4)         /* taken where a config names none (optimizer) */

typedef struct wa_plugin {
    uint32_t struct_size;
    wa_kind kind;
    const char *id; /* kebab-case, unique within its kind */
    const char *version;
    uint64_t roles;        /* WA_ROLE_* */
    const char *summary;   /* one line */
    const char *reference; /* paper and equation, or "" */
    /* JSON Schema of the options, an object: {"properties": {"width": {"type": "integer",
     * "minimum": 1, "default": 16}}, "required": [..]}. Keywords: type, enum, minimum, maximum,
     * items, required, default, description. NULL: no options. */
    const char *options;
    const wa_rule_ops *rule; /* exactly the one of the plugin's kind is set */
    const wa_architecture_ops *architecture;
    const wa_dataset_ops *dataset;
    const wa_optimizer_ops *optimizer;
} wa_plugin;

typedef struct wa_plugin_table {
    uint32_t struct_size;
    uint32_t abi_major, abi_minor;
    uint32_t count;
    const wa_plugin *const *plugins;
} wa_plugin_table;

/* The one symbol of a plugin's shared object:
 *   static const wa_plugin *const plugins[] = {&backprop};
 *   WA_PLUGIN_ENTRY(plugins, 1)
 */
#define WA_PLUGIN_ENTRY_NAME "wa_plugin_entry"
#define WA_PLUGIN_ENTRY(list, number)                                                              \
    extern WA_EXPORT const wa_plugin_table wa_plugin_entry;                                        \
    const wa_plugin_table wa_plugin_entry = {sizeof(wa_plugin_table), WA_ABI_MAJOR, WA_ABI_MINOR,  \
                                             (number), (list)};

#ifdef __cplusplus
}
#endif

#endif
