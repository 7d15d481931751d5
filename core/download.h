/* Fetching a file over HTTP: a broken download goes on where it stopped, and a file takes its name
 * only when its size and checksum are right. */
#ifndef WALIGN_CORE_DOWNLOAD_H
#define WALIGN_CORE_DOWNLOAD_H

#include "status.h"

struct wa_download_request {
    const char *address;
    const char *path; /* what comes of it; until then it is "<path>.part" */
    uint64_t size_bytes;
    const char *sha256;
};

/* WA_E_UNSUPPORTED where this walign was built without libcurl, with what to do instead. */
WA_MUST_CHECK wa_status wa_download_check(const struct wa_download_request *request,
                                          struct wa_error *err);

/* WA_E_UNSUPPORTED: see wa_download_check. WA_E_IO: it broke off (the part stays, to be resumed) or
 * cannot be written. WA_E_DATA: it is another file than expected; nothing of it stays. WA_E_USAGE:
 * another process is fetching it, or its folder cannot be written to. On a terminal a bar on stderr shows
 * how it gets on. */
WA_MUST_CHECK wa_status wa_download_fetch(const struct wa_download_request *request,
                                          struct wa_error *err);

#endif
