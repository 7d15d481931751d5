/* Datasets "mnist", "kmnist" and "fashion-mnist": images and labels in idx files, gzipped or plain,
 * with any number of items. One reader, one descriptor for each. The format: a big-endian magic
 * number (0, 0, type 8 = unsigned bytes, number of dimensions), the dimensions, then the bytes. */
#include "files.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { CLASSES = 10, MAX_DIMENSIONS = 3, MAGIC_BYTES = 4 };

static const char options[] =
    "{\"properties\": {\"dir\": {\"type\": [\"string\", \"null\"], \"default\": null,"
    " \"description\": \"folder of the idx files; null: where data of this id is looked for\"}}}";

/* ---- A file, plain or gzipped, read from its start ----------------------------------------- */

struct source {
    const wa_host *host;
    const char *path;
    struct wa_files_bytes bytes;
    size_t position; /* in `bytes` */
    bool is_gzip;
    bool is_at_end; /* the last gzip member is complete */
    z_stream inflater;
};

/* Deflate makes at most 1032 bytes of one. */
static size_t most_bytes(const struct source *source)
{
    size_t most;
    if (!source->is_gzip) {
        return source->bytes.size;
    }
    return wa_files_mul(source->bytes.size, 1032, &most) ? most : SIZE_MAX;
}

static bool starts_gzip(const struct source *source)
{
    size_t left = source->bytes.size - source->position;
    const uint8_t *at = source->bytes.data + source->position;
    return left >= 2 && at[0] == 0x1f && at[1] == 0x8b;
}

static wa_status open_source(const wa_host *host, const char *path, struct source *ret_source)
{
    struct source source = {.host = host, .path = path};
    wa_status status = wa_files_load(host, path, &source.bytes);
    if (status != WA_OK) {
        return status;
    }
    source.is_gzip = starts_gzip(&source);
    *ret_source = source;
    /* 16: gzip, and no other header. The address of z_stream must not change from here on. */
    if (source.is_gzip && inflateInit2(&ret_source->inflater, 16 + MAX_WBITS) != Z_OK) {
        free(source.bytes.data);
        return wa_files_no_memory(host, sizeof(z_stream), "unpacking gzip");
    }
    return WA_OK;
}

static void close_source(struct source *source)
{
    if (source->is_gzip) {
        (void)inflateEnd(&source->inflater);
    }
    free(source->bytes.data);
}

/* One call of inflate; afterwards the source's position is where it stopped. */
static wa_status inflate_some(struct source *source)
{
    z_stream *inflater = &source->inflater;
    size_t left = source->bytes.size - source->position;
    inflater->next_in = source->bytes.data + source->position;
    inflater->avail_in = left < UINT_MAX ? (uInt)left : UINT_MAX;
    int result = inflate(inflater, Z_NO_FLUSH);
    source->position = (size_t)(inflater->next_in - source->bytes.data);
    if (result == Z_STREAM_END) {
        source->is_at_end = !starts_gzip(source);
        return source->is_at_end || inflateReset(inflater) == Z_OK
                   ? WA_OK
                   : wa_files_no_memory(source->host, sizeof(z_stream), "unpacking gzip");
    }
    if (result == Z_MEM_ERROR) {
        return wa_files_no_memory(source->host, sizeof(z_stream), "unpacking gzip");
    }
    if (result == Z_BUF_ERROR ||
        (result == Z_OK && source->position == source->bytes.size && inflater->avail_out > 0)) {
        return source->host->fail(source->host, WA_E_DATA,
                                  "%s: the gzip data stops in the middle, after %zu bytes; "
                                  "fetch the file again",
                                  source->path, source->bytes.size);
    }
    if (result != Z_OK) {
        return source->host->fail(
            source->host, WA_E_DATA, "%s: broken gzip data near byte %zu: %s; fetch the file again",
            source->path, source->position, inflater->msg ? inflater->msg : "needs a dictionary");
    }
    return WA_OK;
}

/* Fills `buffer` with up to `size` bytes; fewer, and WA_OK, at the end of the data. */
static wa_status read_source(struct source *source, uint8_t *buffer, size_t size, size_t *ret_got)
{
    size_t got = 0;
    if (!source->is_gzip) {
        size_t left = source->bytes.size - source->position;
        got = size < left ? size : left;
        memcpy(buffer, source->bytes.data + source->position, got);
        source->position += got;
    }
    while (source->is_gzip && got < size && !source->is_at_end) {
        size_t want = size - got < UINT_MAX ? size - got : UINT_MAX;
        source->inflater.next_out = buffer + got;
        source->inflater.avail_out = (uInt)want;
        wa_status status = inflate_some(source);
        if (status != WA_OK) {
            return status;
        }
        got += want - source->inflater.avail_out;
    }
    *ret_got = got;
    return WA_OK;
}

/* ---- idx ----------------------------------------------------------------------------------- */

/* The bytes of one idx file, dimensions first. */
struct idx {
    uint32_t dimensions[MAX_DIMENSIONS]; /* unused ones are 1 */
    char shape[40];                      /* "60000 x 28 x 28", for messages */
    uint8_t *bytes;                      /* from malloc */
    size_t size;
};

static uint32_t big_endian(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
           (uint32_t)bytes[3];
}

/* The dimensions in `header` into *ret_idx, the size of the data too; refuses sizes that the file
 * cannot hold, so that nothing is allocated on a broken header's word. */
static wa_status read_dimensions(const struct source *source, const uint8_t *header,
                                 uint32_t dimension_count, struct idx *ret_idx)
{
    struct idx idx = {.dimensions = {1, 1, 1}, .size = 1};
    bool fits = true;
    size_t used = 0;
    for (uint32_t i = 0; i < dimension_count; i++) {
        idx.dimensions[i] = big_endian(header + MAGIC_BYTES * (1 + (size_t)i));
        fits = fits && wa_files_mul(idx.size, idx.dimensions[i], &idx.size);
        used += (size_t)snprintf(idx.shape + used, sizeof idx.shape - used, "%s%u",
                                 i == 0 ? "" : " x ", (unsigned)idx.dimensions[i]);
    }
    if (fits && idx.size == 0) {
        return source->host->fail(source->host, WA_E_DATA,
                                  "%s: is empty: the header says %s bytes; expected at least one "
                                  "item",
                                  source->path, idx.shape);
    }
    if (!fits || idx.size > most_bytes(source)) {
        return source->host->fail(source->host, WA_E_DATA,
                                  "%s: truncated: the header says %s bytes, but the file has %zu%s",
                                  source->path, idx.shape, source->bytes.size,
                                  source->is_gzip ? " (gzipped)" : "");
    }
    *ret_idx = idx;
    return WA_OK;
}

/* Magic number and dimensions. */
static wa_status read_header(struct source *source, uint32_t dimension_count, struct idx *ret_idx)
{
    const wa_host *host = source->host;
    uint8_t header[MAGIC_BYTES * (1 + MAX_DIMENSIONS)] = {0};
    size_t size = MAGIC_BYTES * (1 + (size_t)dimension_count);
    size_t got;
    wa_status status = read_source(source, header, size, &got);
    if (status != WA_OK) {
        return status;
    }
    uint32_t expected = 0x800 + dimension_count;
    if (got >= MAGIC_BYTES && big_endian(header) != expected) {
        return host->fail(host, WA_E_DATA,
                          "%s: magic number is 0x%08x, expected 0x%08x (idx file of unsigned bytes "
                          "with %u dimension%s)",
                          source->path, (unsigned)big_endian(header), (unsigned)expected,
                          (unsigned)dimension_count, dimension_count == 1 ? "" : "s");
    }
    if (got < size) {
        return host->fail(host, WA_E_DATA,
                          "%s: truncated: holds %zu bytes, expected a header of %zu and the data",
                          source->path, got, size);
    }
    return read_dimensions(source, header, dimension_count, ret_idx);
}

/* Reads the data that the header promised, and that nothing follows. */
static wa_status read_data(struct source *source, struct idx *idx)
{
    const wa_host *host = source->host;
    size_t got;
    wa_status status = read_source(source, idx->bytes, idx->size, &got);
    if (status != WA_OK) {
        return status;
    }
    if (got < idx->size) {
        return host->fail(host, WA_E_DATA,
                          "%s: truncated: %zu bytes after the header, expected %s = %zu",
                          source->path, got, idx->shape, idx->size);
    }
    uint8_t more;
    status = read_source(source, &more, 1, &got); /* for gzip this checks the CRC, too */
    if (status != WA_OK) {
        return status;
    }
    if (got > 0 || source->position < source->bytes.size) {
        return host->fail(host, WA_E_DATA,
                          "%s: has bytes after its end, expected %s = %zu after the header",
                          source->path, idx->shape, idx->size);
    }
    return WA_OK;
}

static wa_status parse_idx(struct source *source, uint32_t dimension_count, struct idx *ret_idx)
{
    struct idx idx = {.size = 1};
    wa_status status = read_header(source, dimension_count, &idx);
    if (status != WA_OK) {
        return status;
    }
    idx.bytes = malloc(idx.size);
    if (!idx.bytes) {
        return wa_files_no_memory(source->host, idx.size, source->path);
    }
    status = read_data(source, &idx);
    if (status != WA_OK) {
        free(idx.bytes);
        return status;
    }
    *ret_idx = idx;
    return WA_OK;
}

static wa_status load_idx(const wa_host *host, const char *path, uint32_t dimension_count,
                          struct idx *ret_idx)
{
    struct source source;
    wa_status status = open_source(host, path, &source);
    if (status != WA_OK) {
        return status;
    }
    status = parse_idx(&source, dimension_count, ret_idx);
    close_source(&source);
    return status;
}

/* ---- A part: images and their labels ------------------------------------------------------- */

struct part_paths {
    char *images, *labels; /* NULL where there is no such file */
};

/* The plain file, else the gzipped one, else *ret_path = NULL. */
static wa_status find_file(const wa_host *host, const char *dir, const char *name, char **ret_path)
{
    static const char *const suffixes[] = {"", ".gz"};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char *path;
        wa_status status = wa_files_join(host, dir, name, suffixes[i], &path);
        if (status != WA_OK) {
            return status;
        }
        if (wa_files_exists(path)) {
            *ret_path = path;
            return WA_OK;
        }
        free(path);
    }
    *ret_path = NULL;
    return WA_OK;
}

/* Labels as the host wants them; on success *idx is as before. */
static wa_status take_labels(const wa_host *host, const char *path, const struct idx *idx,
                             uint32_t **ret_labels)
{
    size_t size;
    uint32_t *labels = wa_files_mul(idx->size, sizeof *labels, &size) ? malloc(size) : NULL;
    if (!labels) {
        return wa_files_no_memory(host, idx->size, "labels");
    }
    for (size_t i = 0; i < idx->size; i++) {
        if (idx->bytes[i] >= CLASSES) {
            (void)host->fail(host, WA_E_DATA, "%s: label %zu is %u, expected 0 to %d", path, i,
                             (unsigned)idx->bytes[i], CLASSES - 1);
            free(labels);
            return WA_E_DATA;
        }
        labels[i] = idx->bytes[i];
    }
    *ret_labels = labels;
    return WA_OK;
}

static wa_status load_labels(const wa_host *host, const struct part_paths *paths,
                             uint32_t image_count, uint32_t **ret_labels)
{
    struct idx idx = {.size = 0};
    wa_status status = load_idx(host, paths->labels, 1, &idx);
    if (status != WA_OK) {
        return status;
    }
    if (idx.dimensions[0] != image_count) {
        status = host->fail(host, WA_E_DATA, "%s: holds %u labels, expected %u as %s has images",
                            paths->labels, (unsigned)idx.dimensions[0], (unsigned)image_count,
                            paths->images);
    } else {
        status = take_labels(host, paths->labels, &idx, ret_labels);
    }
    free(idx.bytes);
    return status;
}

static wa_status load_part(const wa_host *host, const struct part_paths *paths,
                           uint32_t *ret_height, uint32_t *ret_width,
                           struct wa_files_part *ret_part)
{
    struct idx idx = {.size = 0};
    wa_status status = load_idx(host, paths->images, MAX_DIMENSIONS, &idx);
    if (status != WA_OK) {
        return status;
    }
    uint32_t *labels = NULL;
    status = load_labels(host, paths, idx.dimensions[0], &labels);
    if (status != WA_OK) {
        free(idx.bytes);
        return status;
    }
    *ret_part = (struct wa_files_part){
        .block = idx.bytes, .items = idx.bytes, .labels = labels, .count = idx.dimensions[0]};
    *ret_height = idx.dimensions[1];
    *ret_width = idx.dimensions[2];
    return WA_OK;
}

static wa_status find_part(const wa_host *host, const char *dir, const char *prefix,
                           struct part_paths *ret_paths)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s-images-idx3-ubyte", prefix);
    wa_status status = find_file(host, dir, name, &ret_paths->images);
    if (status != WA_OK) {
        return status;
    }
    (void)snprintf(name, sizeof name, "%s-labels-idx1-ubyte", prefix);
    return find_file(host, dir, name, &ret_paths->labels);
}

static wa_status missing_file(const wa_host *host, const char *dir, const char *prefix,
                              const char *what)
{
    return host->fail(
        host, WA_E_DATA,
        "%s/%s-%s-ubyte: no such file, with or without .gz; set \"dir\" to the folder "
        "of the idx files",
        dir, prefix, what);
}

/* Loads "<prefix>-images-idx3-ubyte" and "<prefix>-labels-idx1-ubyte" of `dir`. Where both are
 * missing and the part is not required, it stays empty. */
static wa_status open_part(const wa_host *host, const char *dir, const char *prefix,
                           bool is_required, uint32_t *ret_height, uint32_t *ret_width,
                           struct wa_files_part *ret_part)
{
    struct part_paths paths = {NULL, NULL};
    wa_status status = find_part(host, dir, prefix, &paths);
    if (status == WA_OK && (is_required || paths.images || paths.labels)) {
        if (!paths.images) {
            status = missing_file(host, dir, prefix, "images-idx3");
        } else if (!paths.labels) {
            status = missing_file(host, dir, prefix, "labels-idx1");
        } else {
            status = load_part(host, &paths, ret_height, ret_width, ret_part);
        }
    }
    free(paths.images);
    free(paths.labels);
    return status;
}

/* ---- Dataset ------------------------------------------------------------------------------- */

static wa_status open_set(struct wa_files_set *set, const char *dir, uint32_t *ret_height,
                          uint32_t *ret_width)
{
    const wa_host *host = set->host;
    wa_status status = open_part(host, dir, "train", true, ret_height, ret_width, &set->train);
    if (status != WA_OK) {
        return status;
    }
    uint32_t height = *ret_height;
    uint32_t width = *ret_width;
    status = open_part(host, dir, "t10k", false, &height, &width, &set->test);
    if (status != WA_OK) {
        return status;
    }
    if (height != *ret_height || width != *ret_width) {
        return host->fail(host, WA_E_DATA,
                          "%s: the t10k images are %u x %u, expected %u x %u like the train images",
                          dir, (unsigned)height, (unsigned)width, (unsigned)*ret_height,
                          (unsigned)*ret_width);
    }
    set->item_bytes = (size_t)height * width;
    return WA_OK;
}

static wa_status idx_open(const wa_dataset_host *host, void **ret_self, wa_dataset_info *ret_info)
{
    const char *dir;
    wa_status status = host->data_dir(host, &dir);
    if (status != WA_OK) {
        return status;
    }
    struct wa_files_set *set = wa_files_create_set(host->base);
    if (!set) {
        return WA_E_MEMORY;
    }
    uint32_t height = 0;
    uint32_t width = 0;
    status = open_set(set, dir, &height, &width);
    if (status != WA_OK) {
        wa_files_close_set(set);
        return status;
    }
    ret_info->height = height;
    ret_info->width = width;
    ret_info->channels = 1;
    ret_info->classes = CLASSES;
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

/* Official addresses, sizes and checksums. */
#define MNIST_BASE "https://storage.googleapis.com/cvdf-datasets/mnist/"
#define KMNIST_BASE "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"
#define FASHION_MNIST_BASE "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
#define DOWNLOAD(base, name, bytes, hash)                                                          \
    {                                                                                              \
        .struct_size = sizeof(wa_download), .address = base name, .size_bytes = (bytes),           \
        .sha256 = (hash)                                                                           \
    }

static const wa_download mnist_downloads[] = {
    DOWNLOAD(MNIST_BASE, "train-images-idx3-ubyte.gz", 9912422,
             "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    DOWNLOAD(MNIST_BASE, "train-labels-idx1-ubyte.gz", 28881,
             "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    DOWNLOAD(MNIST_BASE, "t10k-images-idx3-ubyte.gz", 1648877,
             "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    DOWNLOAD(MNIST_BASE, "t10k-labels-idx1-ubyte.gz", 4542,
             "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
};

static const wa_download kmnist_downloads[] = {
    DOWNLOAD(KMNIST_BASE, "train-images-idx3-ubyte.gz", 18165135,
             "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
    DOWNLOAD(KMNIST_BASE, "train-labels-idx1-ubyte.gz", 29497,
             "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
    DOWNLOAD(KMNIST_BASE, "t10k-images-idx3-ubyte.gz", 3041136,
             "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
    DOWNLOAD(KMNIST_BASE, "t10k-labels-idx1-ubyte.gz", 5120,
             "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
};

static const wa_download fashion_mnist_downloads[] = {
    DOWNLOAD(FASHION_MNIST_BASE, "train-images-idx3-ubyte.gz", 26421880,
             "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    DOWNLOAD(FASHION_MNIST_BASE, "train-labels-idx1-ubyte.gz", 29515,
             "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    DOWNLOAD(FASHION_MNIST_BASE, "t10k-images-idx3-ubyte.gz", 4422102,
             "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
    DOWNLOAD(FASHION_MNIST_BASE, "t10k-labels-idx1-ubyte.gz", 5148,
             "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
};

/* Of each set's downloads, which have the same names in the same order. */
static const char *const unpacked[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                       "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};

#define IDX_OPS(files)                                                                             \
    {                                                                                              \
        .struct_size = sizeof(wa_dataset_ops), .default_validation = 5000, .open = idx_open,       \
        .close = wa_files_close_set, .read = wa_files_read_item, .downloads = (files),             \
        .download_count = sizeof(files) / sizeof *(files), .download_substitutes = unpacked        \
    }

static const wa_dataset_ops mnist_ops = IDX_OPS(mnist_downloads);
static const wa_dataset_ops kmnist_ops = IDX_OPS(kmnist_downloads);
static const wa_dataset_ops fashion_mnist_ops = IDX_OPS(fashion_mnist_downloads);

static const wa_plugin mnist = {
    .struct_size = sizeof mnist,
    .kind = WA_KIND_DATASET,
    .id = "mnist",
    .version = "1.0.0",
    .summary = "handwritten digits, 10 classes, from idx files",
    .reference = "LeCun, Bottou, Bengio & Haffner, Proceedings of the IEEE 86(11), 1998",
    .options = options,
    .dataset = &mnist_ops,
};

static const wa_plugin kmnist = {
    .struct_size = sizeof kmnist,
    .kind = WA_KIND_DATASET,
    .id = "kmnist",
    .version = "1.0.0",
    .summary = "cursive Japanese characters (Kuzushiji-MNIST), 10 classes, from idx files",
    .reference = "Clanuwat et al., arXiv 1812.01718",
    .options = options,
    .dataset = &kmnist_ops,
};

static const wa_plugin fashion_mnist = {
    .struct_size = sizeof fashion_mnist,
    .kind = WA_KIND_DATASET,
    .id = "fashion-mnist",
    .version = "1.0.0",
    .summary = "articles of clothing, 10 classes, from idx files",
    .reference = "Xiao, Rasul & Vollgraf, arXiv 1708.07747",
    .options = options,
    .dataset = &fashion_mnist_ops,
};

static const wa_plugin *const plugins[] = {&mnist, &kmnist, &fashion_mnist};
WA_PLUGIN_ENTRY(plugins, 3)
