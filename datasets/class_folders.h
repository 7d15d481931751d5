/* The images below a folder of class folders, <folder>/<class>/<image>: names and labels, sorted by
 * name, so that every machine gets the same order. Nothing is left out silently: what is no image
 * by its name or first bytes, a stray file, an empty class are errors. Names that start with a dot
 * are not looked at. */
#ifndef WALIGN_DATASETS_CLASS_FOLDERS_H
#define WALIGN_DATASETS_CLASS_FOLDERS_H

#include "files.h"

/* Sorted by strcmp. */
struct wa_class_names {
    char **names;
    size_t count;
};

struct wa_class_image {
    char *name; /* within its class folder */
    uint32_t label;
};

struct wa_class_images {
    char *folder;
    struct wa_class_image *images;
    uint64_t count;
};

/* The class folders of `folder`, at least one. Fails with WA_E_DATA, WA_E_IO, WA_E_MEMORY; what was
 * found is freed by wa_class_folders_finish_names, also after a failure. */
WA_MUST_CHECK wa_status wa_class_folders_list(const wa_host *host, const char *folder,
                                              struct wa_class_names *ret_classes);
void wa_class_folders_finish_names(struct wa_class_names *classes);

/* The images of all class folders of `folder`; each must be among `classes`, where its place is the
 * label of its images. Fails likewise; wa_class_folders_finish takes what is there. */
WA_MUST_CHECK wa_status wa_class_folders_read(const wa_host *host, const char *folder,
                                              const struct wa_class_names *classes,
                                              struct wa_class_images *ret_images);
void wa_class_folders_finish(struct wa_class_images *images);

/* "<folder>/<class>/<image>" of an image, which the caller frees. */
WA_MUST_CHECK wa_status wa_class_folders_path(const wa_host *host,
                                              const struct wa_class_images *images,
                                              const struct wa_class_names *classes, uint64_t index,
                                              char **ret_path);

#endif
