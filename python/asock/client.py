# SPDX-License-Identifier: LGPL-2.1-or-later
"""A session that runs in the thread that waits for it.

Every call returns an Op at once. Op.result() and Client.run_once() read and write, always both, so that
neither side ever waits for the other. One thread at a time may use a Client.

    with Client() as client:
        sock = client.socket()
        sock.connect("www.example.org", 80)
        sock.send(b"GET / HTTP/1.0\\r\\n\\r\\n")
        while data := sock.receive().result():
            ...
        sock.close().result()
"""

import os
import selectors
import signal
import socket as unix
import threading
import time
from _signal import SIG_BLOCK, SIG_SETMASK, pthread_sigmask  # signal's own takes 30 times as long: it gives names to numbers

from ._core import Core, Op
from ._schema import pb
from .errors import AsockError, error_of

__all__ = ["AsockError", "Client", "Op", "connect_unix"]

SYSTEM_SOCKET = "/run/asockd/default/asock.sock"
READ_SIZE = 512 * 1024
# They wait while the state of a session changes; all but those by which the processor reports a fault.
_DEFERRED = frozenset(map(int, signal.valid_signals() - {
    signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGSYS, signal.SIGTRAP}))
GRACE = 10  # seconds beyond a timeout, for the daemon to report it: longer than its restart takes


def connect_unix(path=None, fd=None, timeout=10):
    """A connected Unix socket to the daemon.

    path: the daemon's socket; fd: a connected one that was inherited. With neither: what ASOCK_FD says, a
    descriptor, or else ASOCK_SOCKET, a path. timeout: seconds that the daemon has to accept it.
    ASOCK_FD serves one session: it is taken out of the environment.
    """
    if fd is None and path is None and os.environ.get("ASOCK_FD"):
        fd = int(os.environ.pop("ASOCK_FD"))
        os.set_inheritable(fd, False)
    if fd is not None:
        return unix.socket(fileno=fd)
    wire = unix.socket(unix.AF_UNIX, unix.SOCK_STREAM)
    try:
        wire.settimeout(timeout)
        wire.connect(path or os.environ.get("ASOCK_SOCKET") or SYSTEM_SOCKET)
    except OSError:
        wire.close()
        raise
    return wire


class Client(Core):
    """A session; the arguments are those of connect_unix(). name: what the administrator sees."""

    def __init__(self, path=None, fd=None, name=""):
        self.wire = connect_unix(path, fd)
        self.wire.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.wire, selectors.EVENT_READ)
        self._is_changing = self._is_torn = False
        super().__init__(name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.disconnect()

    def disconnect(self):
        """End the session, with every socket of it. Does nothing the second time."""
        self.end(error_of(pb.ERROR_CONNECTION_ABORTED, "disconnected"))

    def _whole(self, change, *args):
        """change(*args), which changes the state of the session, and is not to be left half done.

        A signal handler may raise an exception (KeyboardInterrupt, say) between any two instructions of the main thread. It would
        leave a request half made, or written and not known to be, so that it leaves twice. The thread's signals wait until the
        change is whole. Another thread may take a signal all the same, and then the handler runs at once: if it raises, the
        session is torn, and ends when it is used next.
        """
        if self._is_changing:
            return change(*args)
        if threading.current_thread() is not threading.main_thread():
            return self._change(change, args)  # no handler runs there
        before = pthread_sigmask(SIG_BLOCK, ())
        try:
            pthread_sigmask(SIG_BLOCK, _DEFERRED)
            return self._change(change, args)
        finally:
            pthread_sigmask(SIG_SETMASK, before)

    def _change(self, change, args):
        self._is_changing = True
        try:
            if self._is_torn:
                self._end(error_of(pb.ERROR_CONNECTION_ABORTED, "an exception left the session's state half changed"))
            self._is_torn = True
            result = change(*args)
            self._is_torn = False
        finally:
            self._is_changing = False
        return result

    def end(self, error):
        self._whole(self._end, error)

    def _end(self, error):
        if not self.ended:
            self.selector.close()
            self.wire.close()
        super().end(error)

    def _submit(self, sock, op):
        return self._whole(super()._submit, sock, op)

    def socket(self, family=pb.FAMILY_UNSPECIFIED, datagram=False):
        """A socket; asks for a larger grant, and waits for the answer, where there is none left."""
        if not self.has_id():
            self._whole(self.ask_for_sockets)
            while self.welcomes_due:
                self.run_once()
        if not self.has_id():
            raise error_of(pb.ERROR_TOO_MANY_OPEN_SOCKETS)
        return self._whole(self.open, family, datagram)

    def inspect(self, **arm):
        """inspect(list=pb.List()), inspect(show=pb.Show(id=7)), inspect(stats=pb.Stats()): records."""
        verb = pb.Verb.Value("VERB_" + next(iter(arm)).upper())
        op = self._submit(None, Op(self, pb.Request(verb=verb, **arm)))
        op.result()
        records = [pb.Record.FromString(piece) for piece in op.pieces]
        return [{f.name: f.number if f.is_number else f.text for f in r.fields} for r in records]

    def wait_for(self, op, timeout=None):
        """Run until the op is done. timeout: seconds; TimeoutError then, and the op goes on."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not op.done:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError(f"op {op.request.op} is still in progress")
            self.run_once(left if left is None else min(left, 1e6))  # epoll_wait(2) takes no longer one

    def run_once(self, timeout=None):
        """Sleeps until the daemon says something or takes something, and deals with it."""
        self._whole(self._prepare)
        if self.ended:
            raise self.ended
        for _, ready in self.selector.select(timeout):
            self._whole(self._transfer, ready)

    def _prepare(self):
        if self.ended:
            return
        self.fill()
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.output else 0)
        self.selector.modify(self.wire, events)

    def _transfer(self, ready):
        try:
            if ready & selectors.EVENT_READ and not self.ended:
                self.feed(self.wire.recv(READ_SIZE))
            if ready & selectors.EVENT_WRITE and not self.ended:
                del self.output[:self.wire.send(self.output)]
        except BlockingIOError:
            pass
        except OSError as error:
            self.end(error_of(pb.ERROR_CONNECTION_ABORTED, str(error)))
