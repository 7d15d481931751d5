/* Unpacking an archive that came from elsewhere: only plain files and folders, only inside the
 * folder named. */
#ifndef WALIGN_CORE_UNPACK_H
#define WALIGN_CORE_UNPACK_H

#include "status.h"

/* Unpacks into `folder`, which exists. An entry with an absolute path, with "..", or that is
 * neither a file nor a folder is refused (WA_E_DATA) and ends the unpacking; what came before it
 * stays, so give a folder of its own. WA_E_UNSUPPORTED: built without libarchive. */
WA_MUST_CHECK wa_status wa_unpack(const char *archive_path, const char *folder,
                                  struct wa_error *err);

#endif
