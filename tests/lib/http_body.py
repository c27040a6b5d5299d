# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads the body of a request, which http.server leaves to its user."""


def request_body(handler):
    """Reads it to its end, by its length or in chunks (RFC 9112, section 6)."""
    if handler.headers.get("Transfer-Encoding") != "chunked":
        return handler.rfile.read(int(handler.headers["Content-Length"]))
    body = b""
    while size := int(handler.rfile.readline(), 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body
