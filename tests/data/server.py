#!/usr/bin/env python3
"""Files over HTTP for the tests of `walign data`: good ones, and servers that misbehave.

    server.py PORT_FILE       serves on a free port, written to PORT_FILE, until it is killed

The first part of a path says how a file is served: plain, broken (half of it, unless a range is
asked for), norange (ranges are ignored), wrong (one byte differs) or long (one byte more).
"""
import http.server
import io
import os
import sys
import tarfile


def archive(names):
    """A tar file with entries of a few bytes, or a link where the name ends in @."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in names:
            entry = tarfile.TarInfo(name.rstrip("@"))
            if name.endswith("@"):
                entry.type = tarfile.SYMTYPE
                entry.linkname = "/etc/passwd"
                tar.addfile(entry)
            else:
                entry.size = 5
                tar.addfile(entry, io.BytesIO(b"hello"))
    return out.getvalue()


FILES = {
    "file.bin": bytes(i * 7 % 251 for i in range(100000)),
    "good.tar": archive(["made/one", "made/two"]),
    "outside.tar": archive(["made/one", "made/../../evil"]),
    "absolute.tar": archive(["made/one", "/tmp/walign-test-evil"]),
    "link.tar": archive(["made/one", "made/link@"]),
}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with a file in the way that the path asks for."""

    def do_GET(self):
        """Sends the file."""
        parts = self.path.strip("/").split("/")
        mode, name = parts[0], parts[-1]
        if name not in FILES:
            self.send_error(404)
            return
        data = FILES[name]
        if mode == "wrong":
            data = b"X" + data[1:]
        elif mode == "long":
            data += b"X"
        asked = self.headers.get("Range") if mode != "norange" else None
        start = int(asked.split("=")[1].split("-")[0]) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = len(data) // 2 if mode == "broken" and not asked else len(data)
        self.wfile.write(data[start:end])

    def log_message(self, *_):
        """Says nothing."""


def main():
    """Serves."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with open(sys.argv[1] + ".new", "w", encoding="ascii") as out:
        out.write(str(server.server_address[1]))
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    server.serve_forever()


if __name__ == "__main__":
    main()
