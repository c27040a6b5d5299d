# SPDX-License-Identifier: LGPL-2.1-or-later
"""A journal for a private asockd: what listens at /run/systemd/journal/socket in its mount namespace."""

import os
import shutil
import socket
import struct
import tempfile
import time

from wire import DEADLINE

# The daemon alone sees it: /run is another one for it.
ENTER = ('mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && '
         'mount --bind "$0" /run/systemd/journal && exec "$@"')


def parse(datagram):
    """The fields of an entry, as the native protocol has them; a dictionary of texts."""
    fields, at = {}, 0
    while at < len(datagram):
        end = datagram.index(b"\n", at)
        name, equals, value = datagram[at:end].partition(b"=")
        at = end + 1
        if not equals:
            size, = struct.unpack_from("<Q", datagram, at)
            value = datagram[at + 8:at + 8 + size]
            at += 8 + size + 1
            assert datagram[at - 1:at] == b"\n"
        assert name.decode() not in fields, name
        fields[name.decode()] = value.decode("utf-8", "surrogateescape")
    return fields


class Journal:
    """Entries are kept until the test reads them; while it does not, the journal looks stopped."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="asockd-journal-")
        os.chmod(self.directory, 0o755)
        self.path = os.path.join(self.directory, "socket")
        self.raw = b""
        self.socket = None
        self.start()

    def start(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o666)

    def stop(self):
        self.socket.close()
        os.unlink(self.path)

    def close(self):
        self.socket.close()
        shutil.rmtree(self.directory)

    def prefix(self):
        """In front of a daemon's command line."""
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, self.directory]

    def entry(self):
        self.socket.settimeout(DEADLINE)
        datagram = self.socket.recv(1 << 20)
        self.raw += datagram
        return parse(datagram)

    def entries(self, count):
        return [self.entry() for _ in range(count)]

    def entries_until(self, condition):
        """All up to the one that the condition holds for."""
        found, limit = [], time.monotonic() + DEADLINE
        while time.monotonic() < limit:
            found.append(self.entry())
            if condition(found[-1]):
                return found
        raise AssertionError("the entry did not come")

    def is_empty(self):
        self.socket.setblocking(False)
        try:
            self.raw += self.socket.recv(1 << 20)
            return False
        except BlockingIOError:
            return True
