/* The "walign.opencl/1" extension: device handles and memory for rules with kernels of their own. */
#include "walign/opencl.h"

#include <string.h>

#include "session_private.h"

static struct wa_session *session_of(const wa_opencl *cl)
{
    return cl->context_pointer;
}

static bool is_planning(const wa_opencl *cl)
{
    return session_of(cl)->is_planning;
}

static wa_status build(const wa_opencl *cl, const char *name, const char *source,
                       const char *options, cl_program *ret_program)
{
    struct wa_session *session = session_of(cl);
    return wa_programs_get_text(session->engine->programs, name, source, options ? options : "",
                                ret_program, session->err);
}

static wa_status misuse(struct wa_session *session, const char *call)
{
    return wa_fail(
        session->err, WA_E_PLUGIN,
        "rule '%s' misuses the OpenCL extension's %s: expected a layer of the net and memory "
        "that exists (there is none while is_planning)",
        session->spec.rule->plugin.id, call);
}

static wa_status parameters(struct wa_session *session, const char *call, cl_mem memory,
                            uint32_t layer, wa_opencl_tensor *ret_tensor)
{
    if (!memory || layer >= session->model.layer_count) {
        return misuse(session, call);
    }
    const struct wa_model_layer *l = &session->model.layers[layer];
    *ret_tensor = (wa_opencl_tensor){.struct_size = sizeof *ret_tensor,
                                     .memory = memory,
                                     .offset = l->weight_offset,
                                     .channels = (uint32_t)l->weight_count + l->shape.out_channels,
                                     .rows = 1,
                                     .columns = 1,
                                     .lanes = 1,
                                     .row_step = 1,
                                     .plane = 1};
    return WA_OK;
}

static wa_status weights(const wa_opencl *cl, const wa_weights *set, uint32_t layer,
                         wa_opencl_tensor *ret_tensor)
{
    return parameters(session_of(cl), "weights", set ? set->memory : NULL, layer, ret_tensor);
}

static void weights_changed(const wa_opencl *cl, wa_weights *set)
{
    (void)cl;
    set->is_arranged[0] = set->is_arranged[1] = false;
}

static wa_status gradient(const wa_opencl *cl, uint32_t layer, wa_opencl_tensor *ret_tensor)
{
    struct wa_session *session = session_of(cl);
    return parameters(session, "gradient", session->gradients, layer, ret_tensor);
}

static wa_status activity(const wa_opencl *cl, const wa_tape *tape, uint32_t layer,
                          wa_opencl_tensor *ret_tensor)
{
    struct wa_session *session = session_of(cl);
    bool is_top = layer + 1 == session->model.layer_count;
    cl_mem memory = !tape || layer >= session->model.layer_count ? NULL
                    : is_top                                     ? tape->layers[layer].h
                                                                 : tape->layers[layer].a;
    if (!memory) {
        return misuse(session, "activity");
    }
    const struct wa_layout *layout = is_top ? &session->model.layers[layer].output
                                            : wa_rule_host_activity_layout(session, layer);
    *ret_tensor = (wa_opencl_tensor){.struct_size = sizeof *ret_tensor,
                                     .memory = memory,
                                     .offset = (size_t)layout->base,
                                     .channels = (uint32_t)layout->channels,
                                     .rows = (uint32_t)layout->rows,
                                     .columns = (uint32_t)layout->columns,
                                     .lanes = (uint32_t)layout->lanes,
                                     .row_step = (uint32_t)layout->row,
                                     .plane = (uint32_t)layout->plane};
    return WA_OK;
}

static const void *extension(void *context, const char *name)
{
    struct wa_session *session = context;
    bool is_asked = strcmp(name, WA_OPENCL_EXTENSION) == 0;
    session->has_opencl_rule = session->has_opencl_rule || is_asked;
    return is_asked ? &session->opencl : NULL;
}

void wa_opencl_extension_init(struct wa_session *session)
{
    session->opencl = (wa_opencl){.struct_size = sizeof session->opencl,
                                  .context_pointer = session,
                                  .context = session->engine->device->context,
                                  .device = session->engine->device->info.id,
                                  .queue = session->engine->device->queue,
                                  .is_planning = is_planning,
                                  .build = build,
                                  .weights = weights,
                                  .weights_changed = weights_changed,
                                  .gradient = gradient,
                                  .activity = activity};
    wa_plugin_host_set_extension(&session->rule_plugin, extension, session);
}
