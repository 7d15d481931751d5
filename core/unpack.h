/* Unpacking an archive that came from elsewhere: only plain files and folders, only inside the
 * folder named. */
#ifndef WALIGN_CORE_UNPACK_H
#define WALIGN_CORE_UNPACK_H

#include "status.h"

/* WA_E_UNSUPPORTED where this walign was built without libarchive, with what to do instead. */
WA_MUST_CHECK wa_status wa_unpack_check(const char *archive_path, const char *folder,
                                        struct wa_error *err);

/* Unpacks into `folder`, which exists. An entry with an absolute path, with "..", or that is
 * neither a file nor a folder is refused (WA_E_DATA) and ends the unpacking; what came before it
 * stays, so give a folder of its own. WA_E_UNSUPPORTED: see wa_unpack_check. */
WA_MUST_CHECK wa_status wa_unpack(const char *archive_path, const char *folder,
                                  struct wa_error *err);

#endif
