/* Architecture "rnn" of the Add task: ReLU units with full recurrence over the rows of an item, and a
 * readout at each step (Boopathy & Fiete, ICML 2022). The initial state is trained, a row for each
 * item of the batch.
 *
 * Live and frozen nets join after the ReLU of each step and not at the readout: so weight gradients
 * use the live ReLU', and the last step's live state gets no error where the two are different nets.
 * The recurrence carries its error through the weights that made the tape, and the readout's error
 * enters at every step: neither transport weights of their own nor direct feedback are defined. */
#include "walign/plugin.h"

static wa_status build(const wa_architecture_host *host)
{
    const wa_host *base = host->base;
    const wa_layer recurrence = {
        .struct_size = sizeof recurrence,
        .name = "recurrence",
        .kind = WA_LAYER_RECURRENT,
        .input = WA_INPUT_AS_IS,
        .normalization = WA_NORMALIZATION_NONE,
        .activation = WA_ACTIVATION_RELU,
        .join = WA_JOIN_AFTER_ACTIVATION,
        .kernel = 1,
        .stride = 1,
        .out_channels = (uint32_t)base->option_integer(base, "width"),
        .trains_initial_state = true,
        .tensors = {.input_weight = "W_ih",
                    .weight = "W_hh",
                    .bias = "b_h",
                    .initial_state = "init_state"}};
    const wa_layer readout = {.struct_size = sizeof readout,
                              .name = "readout",
                              .kind = WA_LAYER_DENSE,
                              .input = WA_INPUT_AS_IS,
                              .normalization = WA_NORMALIZATION_NONE,
                              .activation = WA_ACTIVATION_NONE,
                              .join = WA_JOIN_NONE,
                              .kernel = 1,
                              .stride = 1,
                              .out_channels = host->classes,
                              .tensors = {.weight = "W_ho", .bias = "b_o"}};
    wa_status status = host->add_layer(host, &recurrence);
    if (status == WA_OK) {
        status = host->add_layer(host, &readout);
    }
    host->set_services(host, WA_SERVICE_TWO_TAPES);
    return status;
}

static const wa_architecture_ops ops = {.struct_size = sizeof ops, .build = build};

static const wa_plugin rnn = {
    .struct_size = sizeof rnn,
    .kind = WA_KIND_ARCHITECTURE,
    .id = "rnn",
    .version = "1.0",
    .summary = "recurrent ReLU units over the rows of an item, a readout at each step",
    .reference = "Boopathy & Fiete, ICML 2022, arXiv 2106.08453, the Add task",
    .options = "{\"properties\": {\"width\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": "
               "16384, \"default\": 32, \"description\": \"recurrent units\"}}}",
    .architecture = &ops,
};

static const wa_plugin *const plugins[] = {&rnn};
WA_PLUGIN_ENTRY(plugins, 1)
