/* The matrix products of a session's steps, by shape: what the rule's services enqueue through
 * wa_matrix_product, known before the first step. */
#include <stdlib.h>

#include "sequence_private.h"

struct list {
    struct wa_session_product *products;
    size_t count;
};

static void add(struct list *list, const struct wa_model_layer *layer, const char *operation,
                struct wa_matrix_shape shape)
{
    list->products[list->count++] =
        (struct wa_session_product){.layer = layer, .operation = operation, .shape = shape};
}

static void add_dense(const struct wa_session *session, struct list *list)
{
    for (uint32_t l = 0; l < session->model.layer_count; l++) {
        const struct wa_model_layer *layer = &session->model.layers[l];
        for (int p = 0; p < WA_PRODUCT_COUNT && layer->is_dense; p++) {
            enum wa_product product = (enum wa_product)p;
            add(list, layer, wa_operations_product_name(product),
                wa_operations_dense_shape(&session->model, l, product));
        }
    }
}

static void add_feedback(const struct wa_session *session, struct list *list)
{
    for (const struct wa_feedback *f = session->feedbacks; f; f = f->next) {
        for (uint32_t l = 0; l + 1 < session->model.layer_count; l++) {
            if (!f->is_pooled && wa_operations_joins_feedback(session->operations)) {
                continue;
            }
            const struct wa_layout *out = &session->model.layers[l].output;
            int places = f->is_pooled ? 1 : out->rows * out->columns;
            add(list, &session->model.layers[l], "direct feedback",
                (struct wa_matrix_shape){.m = out->channels * places,
                                         .n = session->model.product_lanes,
                                         .k = session->model.classes});
        }
    }
}

/* Of the GPU path; the CPU path's kernels take all steps in one launch. */
static void add_sequence(const struct wa_session *session, struct list *list)
{
    const struct wa_sequence *q = session->sequence;
    const struct wa_model_layer *recurrence = &session->model.layers[WA_RECURRENCE];
    const struct wa_model_layer *readout = &session->model.layers[WA_READOUT];
    const char *gradient = wa_operations_product_name(WA_PRODUCT_GRADIENT);
    int columns = q->steps * q->lanes;
    struct wa_matrix_shape step = {.m = q->units, .n = q->lanes, .k = q->units};
    add(list, recurrence, wa_operations_product_name(WA_PRODUCT_FORWARD), step);
    add(list, recurrence, wa_operations_product_name(WA_PRODUCT_BACKWARD), step);
    add(list, recurrence, gradient, (struct wa_matrix_shape){q->units, q->units, columns, 0, 1});
    add(list, recurrence, "input weight gradient",
        (struct wa_matrix_shape){q->inputs, q->units, columns, 0, 1});
    add(list, readout, wa_operations_product_name(WA_PRODUCT_FORWARD),
        (struct wa_matrix_shape){.m = q->outputs, .n = columns, .k = q->units});
    add(list, readout, gradient, (struct wa_matrix_shape){q->outputs, q->units, columns, 0, 1});
}

wa_status wa_session_products(const struct wa_session *session,
                              struct wa_session_product **ret_products, size_t *ret_count,
                              struct wa_error *err)
{
    enum { OF_SEQUENCE = 6 };
    size_t feedbacks = 0;
    for (const struct wa_feedback *f = session->feedbacks; f; f = f->next) {
        feedbacks++;
    }
    size_t most = session->model.layer_count * (WA_PRODUCT_COUNT + feedbacks) + OF_SEQUENCE;
    struct list list = {.products = calloc(most, sizeof *list.products)};
    if (!list.products) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    if (!session->model.is_sequence) {
        add_dense(session, &list);
        add_feedback(session, &list);
    } else if (session->engine->path == WA_PATH_GPU) {
        add_sequence(session, &list);
    }
    for (size_t i = 0; i < list.count; i++) {
        list.products[i].library = wa_matrix_library_of(wa_operations_matrix(session->operations),
                                                        &list.products[i].shape);
    }
    *ret_products = list.products;
    *ret_count = list.count;
    return WA_OK;
}
