/* Choices of libraries by shape, in memory and in the tuning file. */
#include "matrix_choices.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const char *const libraries[] = {[WA_MATRIX_OWN] = "own", [WA_MATRIX_CLBLAST] = "clblast"};
static const char *const paths[] = {[WA_PATH_CPU] = "cpu", [WA_PATH_GPU] = "gpu"};

/* The integers of a choice in the file. */
static const struct {
    const char *key;
    size_t offset;
    int least, most;
} members[] = {
    {"m", offsetof(struct wa_matrix_choice, shape.m), 1, INT_MAX},
    {"n", offsetof(struct wa_matrix_choice, shape.n), 1, INT_MAX},
    {"k", offsetof(struct wa_matrix_choice, shape.k), 1, INT_MAX},
    {"a_transposed", offsetof(struct wa_matrix_choice, shape.a_transposed), 0, 1},
    {"b_transposed", offsetof(struct wa_matrix_choice, shape.b_transposed), 0, 1},
    {"lanes", offsetof(struct wa_matrix_choice, lanes), 1, INT_MAX},
};
enum { MEMBERS = sizeof members / sizeof *members };

static int *member_of(struct wa_matrix_choice *choice, size_t member)
{
    return (int *)(void *)((char *)choice + members[member].offset);
}

static bool is_same_shape(const struct wa_matrix_shape *a, const struct wa_matrix_shape *b)
{
    return a->m == b->m && a->n == b->n && a->k == b->k && a->a_transposed == b->a_transposed &&
           a->b_transposed == b->b_transposed;
}

const struct wa_matrix_choice *wa_matrix_choices_find(const struct wa_matrix_choices *choices,
                                                      enum wa_path path,
                                                      const struct wa_matrix_shape *shape)
{
    for (size_t i = 0; i < choices->count; i++) {
        const struct wa_matrix_choice *c = &choices->entries[i];
        if (c->path == path && is_same_shape(&c->shape, shape)) {
            return c;
        }
    }
    return NULL;
}

wa_status wa_matrix_choices_put(struct wa_matrix_choices *choices,
                                const struct wa_matrix_choice *choice, struct wa_error *err)
{
    for (size_t i = 0; i < choices->count; i++) {
        struct wa_matrix_choice *c = &choices->entries[i];
        if (c->path == choice->path && c->lanes == choice->lanes &&
            is_same_shape(&c->shape, &choice->shape)) {
            *c = *choice;
            return WA_OK;
        }
    }
    struct wa_matrix_choice *more =
        realloc(choices->entries, (choices->count + 1) * sizeof *choices->entries);
    if (!more) {
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    choices->entries = more;
    choices->entries[choices->count++] = *choice;
    return WA_OK;
}

void wa_matrix_choices_set_parameters(struct wa_matrix_choices *choices,
                                      const struct wa_clblast_set *parameters)
{
    if (choices->parameters == parameters) {
        return;
    }
    size_t kept = 0;
    for (size_t i = 0; i < choices->count; i++) {
        if (choices->entries[i].library != WA_MATRIX_CLBLAST) {
            choices->entries[kept++] = choices->entries[i];
        }
    }
    choices->count = kept;
    choices->parameters = parameters;
}

void wa_matrix_choices_finish(struct wa_matrix_choices *choices)
{
    free(choices->entries);
    *choices = (struct wa_matrix_choices){0};
}

/* ---- The file -------------------------------------------------------------------------------- */

/* The place of a member's text among `names`, whose first one is not used; 0: it has none. */
static int read_name(const json_object *object, const char *key, const char *const *names,
                     int count)
{
    json_object *value = NULL;
    if (!json_object_object_get_ex(object, key, &value) ||
        !json_object_is_type(value, json_type_string)) {
        return 0;
    }
    for (int i = 1; i < count; i++) {
        if (strcmp(json_object_get_string(value), names[i]) == 0) {
            return i;
        }
    }
    return 0;
}

static bool read_choice(const json_object *object, struct wa_matrix_choice *ret_choice)
{
    json_object *value = NULL;
    if (!json_object_is_type(object, json_type_object)) {
        return false;
    }
    for (size_t m = 0; m < MEMBERS; m++) {
        if (!json_object_object_get_ex(object, members[m].key, &value) ||
            !json_object_is_type(value, json_type_int)) {
            return false;
        }
        int64_t number = json_object_get_int64(value);
        if (number < members[m].least || number > members[m].most) {
            return false;
        }
        *member_of(ret_choice, m) = (int)number;
    }
    ret_choice->path = (enum wa_path)read_name(object, "path", paths, WA_PATH_GPU + 1);
    ret_choice->library =
        (enum wa_matrix_library)read_name(object, "library", libraries, WA_MATRIX_CLBLAST + 1);
    if (!json_object_object_get_ex(object, "ms", &value) || (int)ret_choice->path == 0 ||
        (int)ret_choice->library == 0) {
        return false;
    }
    ret_choice->ms = json_object_get_double(value);
    return true;
}

static bool read_parameters(const json_object *root, const struct wa_clblast_set **ret_parameters)
{
    json_object *name = NULL;
    if (!json_object_object_get_ex(root, "clblast_parameters", &name)) {
        return true;
    }
    *ret_parameters = json_object_is_type(name, json_type_string)
                          ? wa_clblast_find(json_object_get_string(name))
                          : NULL;
    return *ret_parameters;
}

wa_status wa_matrix_choices_read(const json_object *root, enum wa_path path, int lanes,
                                 struct wa_matrix_choices *ret_choices, bool *ret_is_good,
                                 struct wa_error *err)
{
    struct wa_matrix_choices choices = {0};
    json_object *array = NULL;
    bool is_there = json_object_object_get_ex(root, "matrix_products", &array);
    bool is_good = read_parameters(root, &choices.parameters) &&
                   (!is_there || json_object_is_type(array, json_type_array));
    size_t count = is_there && is_good ? json_object_array_length(array) : 0;
    wa_status status = WA_OK;
    for (size_t i = 0; i < count && is_good && status == WA_OK; i++) {
        struct wa_matrix_choice choice = {0};
        is_good = read_choice(json_object_array_get_idx(array, i), &choice);
        if (is_good && ((int)path == 0 || choice.path == path) &&
            (lanes == 0 || choice.lanes == lanes)) {
            status = wa_matrix_choices_put(&choices, &choice, err);
        }
    }
    *ret_is_good = is_good;
    if (status != WA_OK || !is_good) {
        wa_matrix_choices_finish(&choices);
    }
    *ret_choices = choices;
    return status;
}

void wa_matrix_choices_write(const struct wa_matrix_choices *choices, json_object *root)
{
    json_object *array = json_object_new_array();
    for (size_t i = 0; i < choices->count; i++) {
        struct wa_matrix_choice choice = choices->entries[i];
        json_object *o = json_object_new_object();
        for (size_t m = 0; m < MEMBERS; m++) {
            (void)json_object_object_add(o, members[m].key,
                                         json_object_new_int64(*member_of(&choice, m)));
        }
        (void)json_object_object_add(o, "path", json_object_new_string(paths[choice.path]));
        (void)json_object_object_add(o, "library",
                                     json_object_new_string(libraries[choice.library]));
        (void)json_object_object_add(o, "ms", json_object_new_double(choice.ms));
        (void)json_object_array_add(array, o);
    }
    (void)json_object_object_add(root, "matrix_products", array);
    if (choices->parameters) {
        (void)json_object_object_add(root, "clblast_parameters",
                                     json_object_new_string(choices->parameters->name));
    }
}
