/* Rule "rho-fa", feedback alignment through B = rho W(0) + sqrt(1 - rho^2) W~ (Bordelon & Pehlevan,
 * ICLR 2023, arXiv 2210.02157): random weights that correlate with those at initialisation. With
 * rho 0 it is fa, with rho 1 align-prop. The example with a kernel of its own in
 * docs/write-a-rule.md: B is mixed on the device, once, before the first step. */
#include <math.h>
#include <stdlib.h>

#include "walign/opencl.h"

struct rho_fa {
    const wa_rule_host *host;
    const wa_opencl *cl;
    float rho, rest;
    bool is_mixed;
    wa_weights *initial, *feedback; /* W(0); W~, and B once it is mixed */
    wa_tape *tape;
    wa_delta *delta;
    cl_kernel mix_weights;
};

static const char source[] =
    "__kernel void mix_weights(__global float *b, __global const float *w, int first, float rho,\n"
    "                          float rest)\n"
    "{\n"
    "    const int i = first + (int)get_global_id(0);\n"
    "    b[i] = rho * w[i] + rest * b[i];\n"
    "}\n";

static void destroy(void *instance)
{
    struct rho_fa *self = instance;
    if (self && self->mix_weights) {
        (void)clReleaseKernel(self->mix_weights);
    }
    free(self);
}

static wa_status opencl_failure(const struct rho_fa *self, const char *call, cl_int code)
{
    const wa_host *base = self->host->base;
    return base->fail(base, WA_E_DEVICE, "%s failed with OpenCL error %d", call, (int)code);
}

static wa_status make_kernel(struct rho_fa *self)
{
    cl_program program = NULL;
    wa_status status = self->cl->build(self->cl, "rho-fa", source, "-cl-std=CL1.2", &program);
    if (status != WA_OK) {
        return status;
    }
    cl_int code = CL_SUCCESS;
    self->mix_weights = clCreateKernel(program, "mix_weights", &code);
    return code == CL_SUCCESS ? WA_OK : opencl_failure(self, "clCreateKernel", code);
}

static wa_status create(const wa_rule_host *host, void **ret_self)
{
    const wa_host *base = host->base;
    const wa_opencl *cl = base->get_extension(base, WA_OPENCL_EXTENSION);
    if (!cl) {
        return base->fail(base, WA_E_UNSUPPORTED, "this walign has no %s", WA_OPENCL_EXTENSION);
    }
    struct rho_fa *self = calloc(1, sizeof *self);
    if (!self) {
        return base->fail(base, WA_E_MEMORY, "out of memory");
    }
    double rho = base->option_number(base, "rho");
    self->host = host;
    self->cl = cl;
    self->rho = (float)rho;
    self->rest = (float)sqrt(1.0 - rho * rho);
    wa_status status = make_kernel(self);
    if (status == WA_OK) {
        status = host->frozen_weights(host, &self->initial);
    }
    if (status == WA_OK) {
        status = host->feedback_weights(host, &self->feedback);
    }
    if (status == WA_OK) {
        status = host->tape(host, &self->tape);
    }
    if (status == WA_OK) {
        status = host->delta(host, &self->delta);
    }
    if (status != WA_OK) {
        destroy(self);
        return status;
    }
    *ret_self = self;
    return WA_OK;
}

/* With rho 1 there is nothing random in B, and nothing is drawn: the run is align-prop's. */
static wa_status draw_layer(void *instance, uint32_t layer)
{
    struct rho_fa *self = instance;
    return self->rho < 1.0f ? self->host->draw_normal(self->host, self->feedback, layer) : WA_OK;
}

static wa_status mix_layer(struct rho_fa *self, uint32_t layer)
{
    wa_opencl_tensor w = {.struct_size = sizeof w};
    wa_opencl_tensor b = {.struct_size = sizeof b};
    wa_status status = self->cl->weights(self->cl, self->initial, layer, &w);
    if (status == WA_OK) {
        status = self->cl->weights(self->cl, self->feedback, layer, &b);
    }
    if (status != WA_OK) {
        return status;
    }
    /* Both sets have one layout, so one offset serves for both. */
    const cl_int first = (cl_int)b.offset;
    const size_t count = b.channels;
    const struct {
        size_t bytes;
        const void *value;
    } arguments[] = {{sizeof b.memory, &b.memory},
                     {sizeof w.memory, &w.memory},
                     {sizeof first, &first},
                     {sizeof self->rho, &self->rho},
                     {sizeof self->rest, &self->rest}};
    cl_int code = CL_SUCCESS;
    for (cl_uint i = 0; i < sizeof arguments / sizeof *arguments && code == CL_SUCCESS; i++) {
        code = clSetKernelArg(self->mix_weights, i, arguments[i].bytes, arguments[i].value);
    }
    if (code == CL_SUCCESS) {
        code = clEnqueueNDRangeKernel(self->cl->queue, self->mix_weights, 1, NULL, &count, NULL, 0,
                                      NULL, NULL);
    }
    return code == CL_SUCCESS ? WA_OK : opencl_failure(self, "clEnqueueNDRangeKernel", code);
}

/* Before the first step; there is no memory yet while the host plans. */
static wa_status mix_once(struct rho_fa *self)
{
    if (self->is_mixed || self->cl->is_planning(self->cl)) {
        return WA_OK;
    }
    wa_status status = WA_OK;
    for (uint32_t l = 0; l < self->host->net->layer_count && status == WA_OK; l++) {
        status = mix_layer(self, l);
    }
    self->cl->weights_changed(self->cl, self->feedback);
    self->is_mixed = true;
    return status;
}

static wa_status compute_update(void *instance)
{
    struct rho_fa *self = instance;
    const wa_rule_host *host = self->host;
    wa_status status = mix_once(self);
    if (status == WA_OK) {
        status = host->forward(host, host->live, self->tape);
    }
    if (status == WA_OK) {
        status = host->output_error(host, self->tape, self->delta);
    }
    for (uint32_t l = host->net->layer_count; l-- > 0 && status == WA_OK;) {
        const wa_backward down = {.struct_size = sizeof down,
                                  .layer = l,
                                  .delta = self->delta,
                                  .transport_tape = self->tape,
                                  .transport = self->feedback,
                                  .gradient_tape = self->tape};
        status = host->backward(host, &down);
    }
    return status;
}

static const wa_rule_ops ops = {.struct_size = sizeof ops,
                                .needs = WA_SERVICE_TRANSPORT_WEIGHTS,
                                .create = create,
                                .destroy = destroy,
                                .compute_update = compute_update,
                                .draw_layer = draw_layer};

static const wa_plugin rho_fa = {
    .struct_size = sizeof rho_fa,
    .kind = WA_KIND_RULE,
    .id = "rho-fa",
    .version = "1.0",
    .summary = "feedback alignment through weights that correlate with the initial ones",
    .reference = "Bordelon & Pehlevan, ICLR 2023, arXiv 2210.02157",
    .options = "{\"properties\": {\"rho\": {\"type\": \"number\", \"minimum\": 0, \"maximum\": 1, "
               "\"default\": 0.5, \"description\": \"correlation with the initial weights\"}}}",
    .rule = &ops,
};

static const wa_plugin *const plugins[] = {&rho_fa};
WA_PLUGIN_ENTRY(plugins, 1)
