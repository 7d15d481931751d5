/* Dataset "imagefolder": folders of JPEG or PNG files, train/<class>/<image> and val/<class>/<image>,
 * as ImageNet is unpacked. Training images are cut out at random and flipped; for evaluation the
 * middle is taken. Images stay on disk and are decoded as they are read, by several threads. */
#include <stdlib.h>

#include "class_folders.h"
#include "crop.h"
#include "image.h"
#include "resample.h"

enum { CHANNELS = 3, LEVELS = 256 };

/* A decoder may leave an image so many times larger than what is made of it, and no smaller: PIL
 * calls the results of 2 hardly to be told from those without. */
enum { REDUCTION_GAP = 2, MOST_REDUCTION = 8 };

static const float means[CHANNELS] = {0.485F, 0.456F, 0.406F};
static const float deviations[CHANNELS] = {0.229F, 0.224F, 0.225F};

static const char options[] =
    "{\"properties\": {"
    "\"dir\": {\"type\": [\"string\", \"null\"], \"default\": null,"
    " \"description\": \"folder that holds train/<class>/<images> and val/<class>/<images>; null:"
    " where data of this id is looked for\"},"
    "\"classes\": {\"type\": [\"integer\", \"null\"], \"minimum\": 1, \"maximum\": 65536,"
    " \"default\": null, \"description\": \"outputs of the network, at least as many as there are"
    " class folders in train/; null: so many\"},"
    "\"size\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 4096, \"default\": 224,"
    " \"description\": \"rows and columns of an item\"},"
    "\"resize\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 4096, \"default\": 256,"
    " \"description\": \"the shorter side of an image before its middle is evaluated\"}}}";

/* Never changes after open, so that items may be read by several threads at once. */
struct imagefolder {
    const wa_host *host;
    int size, resize;
    struct wa_class_names classes;
    struct wa_class_images train, validation;
    float values[CHANNELS][LEVELS]; /* of a pixel, normalised */
};

static void imagefolder_close(void *instance)
{
    struct imagefolder *self = instance;
    if (!self) {
        return;
    }
    wa_class_folders_finish(&self->train);
    wa_class_folders_finish(&self->validation);
    wa_class_folders_finish_names(&self->classes);
    free(self);
}

/* ---- One item ------------------------------------------------------------------------------- */

/* What is made of one image: a window of it, resized, and of that a square. */
struct plan {
    const struct imagefolder *set;
    const wa_read *read;
    int out_width, out_height, part_x, part_y;
    bool is_flipped;
};

/* In 64 bits: the longer side of a very long image becomes longer still when it is enlarged. */
static int reduction_for(int width, int height, int64_t out_width, int64_t out_height)
{
    int reduction = MOST_REDUCTION;
    while (reduction > 1 && (width < REDUCTION_GAP * reduction * out_width ||
                             height < REDUCTION_GAP * reduction * out_height)) {
        reduction /= 2;
    }
    return reduction;
}

static void choose(void *context, int width, int height, struct wa_image_window *ret_window)
{
    struct plan *plan = context;
    const wa_read *read = plan->read;
    int size = plan->set->size;
    struct wa_crop crop = {.width = width, .height = height};
    if (read->part == WA_PART_TRAIN && read->epoch > 0) {
        crop = wa_crop_random(width, height, read->seed, read->epoch, read->index);
        plan->out_width = plan->out_height = size;
        plan->is_flipped = crop.is_flipped;
    } else {
        wa_crop_scaled_size(width, height, plan->set->resize, &plan->out_width, &plan->out_height);
        plan->part_x = wa_crop_central_start(plan->out_width, size);
        plan->part_y = wa_crop_central_start(plan->out_height, size);
    }
    *ret_window = (struct wa_image_window){.x = crop.x,
                                           .y = crop.y,
                                           .width = crop.width,
                                           .height = crop.height,
                                           .most_reduction =
                                               reduction_for(crop.width, crop.height,
                                                             plan->out_width, plan->out_height)};
}

/* [row][column][3] bytes to floats, mirrored where that is wanted. */
static void normalise(const struct plan *plan, const uint8_t *pixels, float *ret_item)
{
    int size = plan->set->size;
    for (int y = 0; y < size; y++) {
        for (int x = 0; x < size; x++) {
            const uint8_t *pixel = pixels + CHANNELS * (plan->is_flipped ? size - 1 - x : x);
            for (int c = 0; c < CHANNELS; c++) {
                *ret_item++ = plan->set->values[c][pixel[c]];
            }
        }
        pixels += CHANNELS * size;
    }
}

static wa_status make_item(const struct plan *plan, const struct wa_image *image, float *ret_item)
{
    const struct imagefolder *set = plan->set;
    const struct wa_image_window *w = &image->window;
    double scale = 1.0 / image->reduction;
    double left = w->x * scale - w->x / image->reduction; /* the second one is whole */
    double top = w->y * scale - w->y / image->reduction;
    const struct wa_resample resample = {.pixels = image->pixels,
                                         .stride = image->stride,
                                         .width = image->width,
                                         .height = image->height,
                                         .left = left,
                                         .top = top,
                                         .right = left + w->width * scale,
                                         .bottom = top + w->height * scale,
                                         .out_width = plan->out_width,
                                         .out_height = plan->out_height,
                                         .part_x = plan->part_x,
                                         .part_y = plan->part_y,
                                         .part_width = set->size,
                                         .part_height = set->size};
    size_t bytes = (size_t)set->size * (size_t)set->size * CHANNELS;
    uint8_t *pixels = malloc(bytes);
    if (!pixels) {
        return wa_files_no_memory(set->host, bytes, "an item");
    }
    wa_status status = wa_resample_bilinear(set->host, &resample, pixels);
    if (status == WA_OK) {
        normalise(plan, pixels, ret_item);
    }
    free(pixels);
    return status;
}

static wa_status imagefolder_read(void *instance, const wa_read *read)
{
    const struct imagefolder *self = instance;
    const wa_host *host = self->host;
    const struct wa_class_images *part =
        read->part == WA_PART_VALIDATION ? &self->validation : &self->train;
    if (read->part == WA_PART_TEST || read->index >= part->count) {
        return host->fail(host, WA_E_FAILED,
                          "item %llu of part %d was asked for, which is not there",
                          (unsigned long long)read->index, (int)read->part);
    }
    char *path = NULL;
    wa_status status = wa_class_folders_path(host, part, &self->classes, read->index, &path);
    if (status != WA_OK) {
        return status;
    }
    struct wa_files_bytes bytes = {0};
    struct wa_image image = {0};
    struct plan plan = {.set = self, .read = read};
    status = wa_files_load(host, path, &bytes);
    if (status == WA_OK) {
        status = wa_image_decode(host, path, &bytes, choose, &plan, &image);
    }
    if (status == WA_OK) {
        status = make_item(&plan, &image, read->ret_item);
        *(uint32_t *)read->ret_target = part->images[read->index].label;
    }
    free(image.block);
    free(bytes.data);
    free(path);
    return status;
}

/* ---- Opening -------------------------------------------------------------------------------- */

static wa_status read_folders(struct imagefolder *self, const char *dir)
{
    const wa_host *host = self->host;
    char *train = NULL;
    char *validation = NULL;
    wa_status status = wa_files_join(host, dir, "train", "", &train);
    if (status == WA_OK) {
        status = wa_files_join(host, dir, "val", "", &validation);
    }
    if (status == WA_OK) {
        status = wa_class_folders_list(host, train, &self->classes);
    }
    if (status == WA_OK) {
        status = wa_class_folders_read(host, train, &self->classes, &self->train);
    }
    if (status == WA_OK && wa_files_exists(validation)) {
        status = wa_class_folders_read(host, validation, &self->classes, &self->validation);
    }
    free(train);
    free(validation);
    return status;
}

static wa_status read_options(struct imagefolder *self)
{
    const wa_host *host = self->host;
    self->size = (int)host->option_integer(host, "size");
    self->resize = (int)host->option_integer(host, "resize");
    if (self->resize < self->size) {
        return host->fail(host, WA_E_USAGE,
                          "option 'resize' is %d, smaller than 'size', %d: expected at least as much",
                          self->resize, self->size);
    }
    for (int c = 0; c < CHANNELS; c++) {
        for (int v = 0; v < LEVELS; v++) {
            self->values[c][v] = ((float)v / 255.0F - means[c]) / deviations[c];
        }
    }
    return WA_OK;
}

static wa_status count_classes(const struct imagefolder *self, uint32_t *ret_classes)
{
    const wa_host *host = self->host;
    size_t classes = self->classes.count;
    if (!host->option_is_null(host, "classes")) {
        size_t wanted = (size_t)host->option_integer(host, "classes");
        if (wanted < classes) {
            return host->fail(host, WA_E_USAGE,
                              "option 'classes' is %zu, but %s holds %zu class folders: expected at "
                              "least as many, or null",
                              wanted, self->train.folder, classes);
        }
        classes = wanted;
    }
    *ret_classes = (uint32_t)classes;
    return WA_OK;
}

/* What cannot be decoded at all, by this build or by any, is told before a run begins. */
static wa_status read_first_image(struct imagefolder *self)
{
    size_t bytes = (size_t)self->size * (size_t)self->size * CHANNELS * sizeof(float);
    float *item = malloc(bytes);
    if (!item) {
        return wa_files_no_memory(self->host, bytes, "an item");
    }
    uint32_t target = 0;
    const wa_read read = {.part = WA_PART_TRAIN, .ret_item = item, .ret_target = &target};
    wa_status status = imagefolder_read(self, &read);
    free(item);
    return status;
}

static wa_status imagefolder_open(const wa_dataset_host *host, void **ret_self,
                                  wa_dataset_info *ret_info)
{
    const char *dir = NULL;
    uint32_t classes = 0;
    struct imagefolder *self = calloc(1, sizeof *self);
    if (!self) {
        return wa_files_no_memory(host->base, sizeof *self, "a dataset");
    }
    self->host = host->base;
    wa_status status = read_options(self);
    if (status == WA_OK) {
        status = host->data_dir(host, &dir);
    }
    if (status == WA_OK) {
        status = read_folders(self, dir);
    }
    if (status == WA_OK) {
        status = count_classes(self, &classes);
    }
    if (status == WA_OK) {
        status = read_first_image(self);
    }
    if (status != WA_OK) {
        imagefolder_close(self);
        return status;
    }
    ret_info->height = (uint32_t)self->size;
    ret_info->width = (uint32_t)self->size;
    ret_info->channels = CHANNELS;
    ret_info->classes = classes;
    ret_info->target_values = 0;
    ret_info->element = WA_ELEMENT_F32;
    ret_info->target = WA_TARGET_CLASS;
    ret_info->target_offset = 0.0F;
    ret_info->trains_smaller_last_batch = true;
    ret_info->reads_on_demand = true;
    ret_info->train_items = self->train.count;
    ret_info->validation_items = self->validation.count;
    ret_info->test_items = 0;
    *ret_self = self;
    return WA_OK;
}

static const wa_dataset_ops ops = {
    .struct_size = sizeof ops,
    .default_validation = 0,
    .open = imagefolder_open,
    .close = imagefolder_close,
    .read = imagefolder_read,
    .how_to_get =
        "ImageNet may not be passed on: register at https://image-net.org, unpack ILSVRC 2012 into "
        "train/<wnid>/*.JPEG and val/<wnid>/*.JPEG below one folder, and name that folder with --set "
        "dataset.dir=FOLDER, or put it at $WALIGN_DATA/imagefolder; images of your own, a folder for "
        "each class, do as well",
};

static const wa_plugin imagefolder = {
    .struct_size = sizeof imagefolder,
    .kind = WA_KIND_DATASET,
    .id = "imagefolder",
    .version = "1.0.0",
    .summary = "JPEG and PNG files in class folders, randomly cropped and flipped for training",
    .reference = "Deng et al., ImageNet: A large-scale hierarchical image database, CVPR 2009",
    .options = options,
    .dataset = &ops,
};

static const wa_plugin *const plugins[] = {&imagefolder};
WA_PLUGIN_ENTRY(plugins, 1)
