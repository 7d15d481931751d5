/* Dataset "glyphs": small shapes drawn all over the image, light on dark or dark on light, with
 * random shift, rotation, size, stroke, contrast and noise; for trials without any data file. All
 * arithmetic is on integers and every item has a random stream of its own, made from seed, part and
 * index, so that every machine gets equal bytes. */
#include "files.h"

#include <stdlib.h>

/* Lengths are in 1/256 pixel, directions and angles in 1/16384. */
enum {
    PIXEL = 256,
    UNIT = 16384,
    CELL = 13 * PIXEL / 2, /* a shape's own square, repeated over the image */
    MAX_TURN = 1400,       /* tan(angle/2): 10 degrees each way */
    MIN_PERCENT = 90,      /* size of a cell */
    MAX_PERCENT = 110,
    MIN_RADIUS = 150, /* half the width of a stroke */
    MAX_RADIUS = 205,
    MIN_CONTRAST = 180, /* grey levels */
    MAX_CONTRAST = 255,
    NOISE = 15, /* standard deviation, grey levels */
    SHAPES = 10,
    CLASSES_PER_GROUP = 10, /* 5 drawings, light and dark */
    MAX_STROKES = 4,
    TEST_SHARE = 10 /* one test item for so many training items */
};

static const char options[] =
    "{\"properties\": {"
    "\"height\": {\"type\": \"integer\", \"minimum\": 8, \"maximum\": 1024, \"default\": 28,"
    " \"description\": \"rows of an image\"},"
    "\"width\": {\"type\": \"integer\", \"minimum\": 8, \"maximum\": 1024, \"default\": 28,"
    " \"description\": \"columns of an image\"},"
    "\"channels\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 64, \"default\": 1,"
    " \"description\": \"channels, each with a contrast and noise of its own\"},"
    "\"classes\": {\"type\": \"integer\", \"minimum\": 2, \"maximum\": 110, \"default\": 10,"
    " \"description\": \"number of classes\"},"
    "\"items\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 10000000,"
    " \"default\": 10000, \"description\": \"training items; a tenth as many are for testing\"},"
    "\"seed\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 4294967295, \"default\": 1,"
    " \"description\": \"seed of the drawings\"}}}";

struct picture {
    uint32_t height, width, channels, classes;
    uint64_t seed;
};

/* ---- Random numbers: splitmix64 ------------------------------------------------------------ */

struct stream {
    uint64_t state;
};

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t draw(struct stream *stream)
{
    stream->state += UINT64_C(0x9e3779b97f4a7c15);
    return mix(stream->state);
}

/* Uniform in low..high, both included; the range is far below 2^32. */
static int64_t draw_between(struct stream *stream, int64_t low, int64_t high)
{
    uint64_t span = (uint64_t)(high - low) + 1;
    return low + (int64_t)(((draw(stream) >> 32) * span) >> 32);
}

/* About normal: four uniform bytes, whose sum has mean 510 and standard deviation 148. */
static int64_t draw_noise(struct stream *stream)
{
    uint64_t bits = draw(stream);
    uint64_t sum = (bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24 & 255);
    return ((int64_t)sum - 510) * NOISE / 148;
}

static struct stream item_stream(uint64_t seed, wa_part part, uint64_t index)
{
    return (struct stream){.state = mix(mix(mix(seed + 1) + (uint64_t)part) + index)};
}

/* ---- Shapes -------------------------------------------------------------------------------- */

/* Strokes from (x0, y0) to (x1, y1) in 1/20 of a cell, from its centre. */
struct shape {
    int count;
    int8_t strokes[MAX_STROKES][4];
};

/* Why shapes repeat all over the image: nets average over positions before the readout, and an
 * epoch is 100 steps; one shape in the middle moves that average so little that no rule learns it
 * in time. Why light and dark: it doubles the classes without changing strokes or edges. Measured
 * on the defaults, one epoch, width 16, learning rate 5: backprop 98 %, last-layer 55 %. */
static const struct shape shapes[SHAPES] = {
    {1, {{-7, 0, 7, 0}}},                                                  /* bar - */
    {1, {{0, -7, 0, 7}}},                                                  /* bar | */
    {1, {{-7, -7, 7, 7}}},                                                 /* bar \ */
    {1, {{-7, 7, 7, -7}}},                                                 /* bar / */
    {1, {{0, 0, 0, 0}}},                                                   /* dot */
    {2, {{-7, -7, 7, 7}, {-7, 7, 7, -7}}},                                 /* cross */
    {2, {{-6, -7, -6, 7}, {-6, 7, 6, 7}}},                                 /* L */
    {2, {{-8, -7, 8, -7}, {0, -7, 0, 8}}},                                 /* T */
    {4, {{-6, -6, 6, -6}, {6, -6, 6, 6}, {6, 6, -6, 6}, {-6, 6, -6, -6}}}, /* square */
    {3, {{-8, 6, 8, 6}, {-8, 6, 0, -7}, {0, -7, 8, 6}}},                   /* triangle */
};

/* What a class looks like: two shapes that take turns from cell to cell (often the same one). */
struct look {
    int shape[2];
    bool is_dark; /* dark on light */
};

/* Groups of ten classes: five drawings light on dark, then the same dark on light. Drawings are the
 * single shapes, then all pairs of different ones. */
static struct look class_look(uint32_t label)
{
    int drawing = (int)(label / CLASSES_PER_GROUP * 5 + label % 5);
    bool is_dark = label % CLASSES_PER_GROUP >= 5;
    if (drawing < SHAPES) {
        return (struct look){.shape = {drawing, drawing}, .is_dark = is_dark};
    }
    int first = 0;
    int rest = drawing - SHAPES;
    while (rest >= SHAPES - 1 - first) {
        rest -= SHAPES - 1 - first;
        first++;
    }
    return (struct look){.shape = {first, first + 1 + rest}, .is_dark = is_dark};
}

/* ---- Drawing ------------------------------------------------------------------------------- */

struct segment {
    int64_t x, y;           /* where it starts */
    int64_t unit_x, unit_y; /* its direction, UNIT long; 0 for a dot */
    int64_t length;
};

struct pose {
    int64_t cosine, sine;
    int64_t x, y;   /* shift */
    int64_t cell;   /* side of a cell */
    int64_t radius; /* of the strokes */
    int count[2];
    struct segment segments[2][MAX_STROKES];
};

/* The largest integer whose square is at most `value`. */
static int64_t square_root(int64_t value)
{
    uint64_t rest = (uint64_t)value;
    uint64_t root = 0;
    uint64_t bit = UINT64_C(1) << 62;
    while (bit > rest) {
        bit >>= 2;
    }
    for (; bit != 0; bit >>= 2) {
        bool is_in = rest >= root + bit;
        rest -= is_in ? root + bit : 0;
        root = (root >> 1) + (is_in ? bit : 0);
    }
    return (int64_t)root;
}

static int64_t floor_divide(int64_t a, int64_t b)
{
    return a / b - (a % b < 0 ? 1 : 0);
}

static struct segment place_stroke(const int8_t stroke[4], int64_t cell)
{
    int64_t x = stroke[0] * cell / 20;
    int64_t y = stroke[1] * cell / 20;
    int64_t dx = stroke[2] * cell / 20 - x;
    int64_t dy = stroke[3] * cell / 20 - y;
    int64_t length = square_root(dx * dx + dy * dy);
    return (struct segment){
        .x = x,
        .y = y,
        .unit_x = length > 0 ? dx * UNIT / length : 0,
        .unit_y = length > 0 ? dy * UNIT / length : 0,
        .length = length,
    };
}

/* cos and sin follow from t = tan(angle/2) without any function of libm. */
static struct pose draw_pose(struct stream *stream, const struct look *look)
{
    int64_t t = draw_between(stream, -MAX_TURN, MAX_TURN);
    int64_t one = (int64_t)UNIT * UNIT;
    struct pose pose = {
        .cosine = (one - t * t) * UNIT / (one + t * t),
        .sine = 2 * t * UNIT * UNIT / (one + t * t),
    };
    pose.x = draw_between(stream, -CELL, CELL);
    pose.y = draw_between(stream, -CELL, CELL);
    pose.cell = CELL * draw_between(stream, MIN_PERCENT, MAX_PERCENT) / 100;
    pose.radius = draw_between(stream, MIN_RADIUS, MAX_RADIUS);
    for (int i = 0; i < 2; i++) {
        const struct shape *shape = &shapes[look->shape[i]];
        pose.count[i] = shape->count;
        for (int k = 0; k < shape->count; k++) {
            pose.segments[i][k] = place_stroke(shape->strokes[k], pose.cell);
        }
    }
    return pose;
}

static int64_t distance(const struct segment *segment, int64_t x, int64_t y)
{
    int64_t dx = x - segment->x;
    int64_t dy = y - segment->y;
    int64_t along = (dx * segment->unit_x + dy * segment->unit_y) / UNIT;
    int64_t across = (dx * segment->unit_y - dy * segment->unit_x) / UNIT;
    if (segment->length == 0) {
        return square_root(dx * dx + dy * dy);
    }
    if (along >= 0 && along <= segment->length) {
        return across < 0 ? -across : across;
    }
    int64_t beyond = along < 0 ? along : along - segment->length;
    return square_root(across * across + beyond * beyond);
}

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* How much of the pixel whose centre is (x, y) strokes cover: 0..PIXEL. */
static int64_t coverage(const struct pose *pose, int64_t x, int64_t y)
{
    int64_t u = (x * pose->cosine + y * pose->sine) / UNIT - pose->x;
    int64_t v = (y * pose->cosine - x * pose->sine) / UNIT - pose->y;
    int64_t column = floor_divide(u + pose->cell / 2, pose->cell);
    int64_t row = floor_divide(v + pose->cell / 2, pose->cell);
    u -= column * pose->cell;
    v -= row * pose->cell;
    int which = (column + row) % 2 != 0;
    int64_t nearest = 2 * pose->cell;
    for (int k = 0; k < pose->count[which]; k++) {
        int64_t d = distance(&pose->segments[which][k], u, v);
        nearest = d < nearest ? d : nearest;
    }
    return clamp(pose->radius - nearest + PIXEL / 2, 0, PIXEL);
}

/* item [height][width][channels] */
static void render(const struct picture *picture, wa_part part, uint64_t index, uint8_t *ret_item,
                   uint32_t *ret_label)
{
    struct stream stream = item_stream(picture->seed, part, index);
    uint32_t label = (uint32_t)draw_between(&stream, 0, (int64_t)picture->classes - 1);
    struct look look = class_look(label);
    struct pose pose = draw_pose(&stream, &look);
    /* Channels are innermost, so their contrasts are drawn anew at each pixel, always the same. */
    uint64_t contrast_seed = draw(&stream);
    size_t at = 0;
    for (uint32_t row = 0; row < picture->height; row++) {
        int64_t y = (2 * (int64_t)row + 1 - picture->height) * (PIXEL / 2);
        for (uint32_t column = 0; column < picture->width; column++) {
            int64_t x = (2 * (int64_t)column + 1 - picture->width) * (PIXEL / 2);
            int64_t cover = coverage(&pose, x, y);
            struct stream contrasts = {.state = contrast_seed};
            for (uint32_t channel = 0; channel < picture->channels; channel++) {
                int64_t contrast = draw_between(&contrasts, MIN_CONTRAST, MAX_CONTRAST);
                int64_t grey = clamp(contrast * cover / PIXEL + draw_noise(&stream), 0, 255);
                ret_item[at++] = (uint8_t)(look.is_dark ? 255 - grey : grey);
            }
        }
    }
    *ret_label = label;
}

/* ---- Dataset ------------------------------------------------------------------------------- */

static wa_status draw_part(const wa_host *host, const struct picture *picture, wa_part part,
                           size_t count, size_t item_bytes, struct wa_files_part *ret_part)
{
    size_t bytes;
    size_t label_bytes;
    if (!wa_files_mul(count, item_bytes, &bytes) ||
        !wa_files_mul(count, sizeof *ret_part->labels, &label_bytes)) {
        return wa_files_no_memory(host, SIZE_MAX, "the images of glyphs; lower 'items'");
    }
    uint8_t *items = malloc(bytes + 1);
    uint32_t *labels = malloc(label_bytes + 1);
    if (!items || !labels) {
        free(items);
        free(labels);
        return wa_files_no_memory(host, bytes, "the images of glyphs; lower 'items'");
    }
    for (size_t i = 0; i < count; i++) {
        render(picture, part, i, items + i * item_bytes, &labels[i]);
    }
    *ret_part =
        (struct wa_files_part){.block = items, .items = items, .labels = labels, .count = count};
    return WA_OK;
}

static wa_status draw_set(struct wa_files_set *set, const struct picture *picture, size_t count)
{
    wa_status status =
        draw_part(set->host, picture, WA_PART_TRAIN, count, set->item_bytes, &set->train);
    if (status != WA_OK) {
        return status;
    }
    return draw_part(set->host, picture, WA_PART_TEST, count / TEST_SHARE, set->item_bytes,
                     &set->test);
}

static wa_status glyphs_open(const wa_dataset_host *host, void **ret_self,
                             wa_dataset_info *ret_info)
{
    const wa_host *base = host->base;
    const struct picture picture = {
        .height = (uint32_t)base->option_integer(base, "height"),
        .width = (uint32_t)base->option_integer(base, "width"),
        .channels = (uint32_t)base->option_integer(base, "channels"),
        .classes = (uint32_t)base->option_integer(base, "classes"),
        .seed = (uint64_t)base->option_integer(base, "seed"),
    };
    struct wa_files_set *set = wa_files_create_set(base);
    if (!set) {
        return WA_E_MEMORY;
    }
    /* at most 1024 * 1024 * 64 */
    set->item_bytes = (size_t)picture.height * picture.width * picture.channels;
    wa_status status = draw_set(set, &picture, (size_t)base->option_integer(base, "items"));
    if (status != WA_OK) {
        wa_files_close_set(set);
        return status;
    }
    ret_info->height = picture.height;
    ret_info->width = picture.width;
    ret_info->channels = picture.channels;
    ret_info->classes = picture.classes;
    ret_info->target_values = 0;
    ret_info->element = WA_ELEMENT_U8;
    ret_info->target = WA_TARGET_CLASS;
    ret_info->target_offset = 0.1F;
    ret_info->trains_smaller_last_batch = false;
    ret_info->train_items = set->train.count;
    ret_info->validation_items = 0;
    ret_info->test_items = set->test.count;
    *ret_self = set;
    return WA_OK;
}

static const wa_dataset_ops ops = {
    .struct_size = sizeof ops,
    .default_validation = 0,
    .open = glyphs_open,
    .close = wa_files_close_set,
    .read = wa_files_read_item,
};

static const wa_plugin glyphs = {
    .struct_size = sizeof glyphs,
    .kind = WA_KIND_DATASET,
    .id = "glyphs",
    .version = "1.0.0",
    .summary = "synthetic: drawn shapes with shift, rotation, size and noise; needs no file",
    .reference = "",
    .options = options,
    .dataset = &ops,
};

static const wa_plugin *const plugins[] = {&glyphs};
WA_PLUGIN_ENTRY(plugins, 1)
