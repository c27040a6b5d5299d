#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fetches a page through asockd, over HTTP, and writes its body.

    fetch.py [--socket PATH] [-o FILE] http://HOST[:PORT]/PATH
    fetch.py [--socket PATH] [-o FILE] HOST PORT PATH
"""

import argparse
import sys
import urllib.parse

from asock.client import AsockError, Client

HEAD_MAX = 64 * 1024


class Response:
    """The two parts of an HTTP/1.0 answer, out of pieces of any size."""

    def __init__(self, out):
        self.out = out
        self.head = b""
        self.in_body = False
        self.expected = None  # Content-Length
        self.received = 0

    def feed(self, data):
        if self.in_body:
            return self.write(data)
        self.head += data
        head, end, body = self.head.partition(b"\r\n\r\n")
        if end:
            self.in_body = True
            self.parse(head.decode("latin-1"))
            self.write(body)
        elif len(self.head) > HEAD_MAX:
            raise ValueError("the response header is too long")

    def parse(self, head):
        status, *lines = head.split("\r\n")
        if not status.startswith("HTTP/") or " 200" not in status[:13]:
            raise ValueError(f"the server returned: {status}")
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip().lower() == "content-length":
                self.expected = int(value)

    def write(self, data):
        self.received += len(data)
        self.out.write(data)

    def finish(self):
        if not self.in_body:
            raise ValueError("the connection ended before the end of the response header")
        if self.expected is not None and self.received != self.expected:
            raise ValueError(f"only {self.received} of {self.expected} bytes were received")


def fetch(client, host, port, path, out):
    sock = client.socket()
    connect = sock.connect(host, port, timeout_ms=30000)
    sock.send(f"GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    response = Response(out)
    # Two receives outstanding: while one's bytes are written, the daemon fills the other.
    receives = [sock.receive(), sock.receive()]
    connect.result()  # all four have left together; this one knows best why nothing came of it
    while data := receives[0].result():
        receives = [receives[1], sock.receive()]
        response.feed(data)
    response.finish()
    sock.close().result()


def target(words):
    """HOST, PORT, PATH of what the command line names."""
    if len(words) == 3:
        return words
    url = urllib.parse.urlsplit(words[0])
    if len(words) != 1 or url.scheme != "http" or not url.hostname:
        raise SystemExit(__doc__.strip())
    path = urllib.parse.urlunsplit(("", "", url.path or "/", url.query, ""))
    return url.hostname, url.port or 80, path


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--socket", help="path of the daemon's socket (default: ASOCK_SOCKET, then the system's)")
    parser.add_argument("-o", "--output", help="file to write the body to (default: standard output)")
    parser.add_argument("target", nargs="+")
    args = parser.parse_args()
    host, port, path = target(args.target)
    try:
        out = open(args.output, "wb") if args.output else sys.stdout.buffer
        with out, Client(args.socket, name="fetch.py") as client:
            fetch(client, host, port, path, out)
    except (AsockError, OSError, ValueError) as error:
        raise SystemExit(f"fetch.py: {error}") from error


if __name__ == "__main__":
    main()
