# SPDX-License-Identifier: LGPL-2.1-or-later
"""libasock for Python, as far as the system tests need it, and a client to run in a unit.

    client.py hold              open a socket, say READY=1 or print "ready", keep it until killed
    client.py exchange HOST PORT TEXT
                                connect, send TEXT, print what comes until the end of stream
    client.py listen ADDRESS PORT
                                listen at an IPv4 address, print "listening"
    client.py unix PATH         connect to a Unix socket, nothing else
    client.py direct HOST PORT  connect a TCP socket of one's own
    client.py datagram HOST PORT
                                send a datagram from a socket of one's own

A failure is one word on standard output (a SocketError's name, an errno's name), status 1.
"""

import ctypes
import errno
import os
import signal
import socket
import struct
import sys

FOR_EVER = -1
TIMEOUT_MS = 30000
OPTION_NO_DELAY = 1

_lib = ctypes.CDLL("libasock.so.0", use_errno=True)
LEND = 8  # ASOCK_LEND

_pointer = ctypes.c_void_p
_out = ctypes.POINTER(_pointer)


def _declare(name, *arguments, result=ctypes.c_int):
    function = getattr(_lib, name)
    function.argtypes = arguments
    function.restype = result
    return function


_context_new = _declare("asock_context_new", ctypes.c_char_p, _out)
_context_unref = _declare("asock_context_unref", _pointer, result=_pointer)
_context_flush = _declare("asock_context_flush", _pointer)
_context_get_error = _declare("asock_context_get_error", _pointer)
_context_reconnect = _declare("asock_context_reconnect", _pointer)
_socket_new = _declare("asock_socket_new", _pointer, ctypes.c_int, _out)
_socket_new_udp = _declare("asock_socket_new_udp", _pointer, ctypes.c_int, _out)
_socket_unref = _declare("asock_socket_unref", _pointer, result=_pointer)
_op_new = _declare("asock_op_new", _pointer, _out)
_op_unref = _declare("asock_op_unref", _pointer, result=_pointer)
_op_set_buffer = _declare("asock_op_set_buffer", _pointer, ctypes.c_void_p, ctypes.c_size_t)
_op_set_host = _declare("asock_op_set_host", _pointer, ctypes.c_char_p, ctypes.c_char_p)
_op_set_endpoint = _declare("asock_op_set_endpoint", _pointer, ctypes.c_char_p, ctypes.c_uint)
_op_set_flags = _declare("asock_op_set_flags", _pointer, ctypes.c_uint)
_op_wait = _declare("asock_op_wait", _pointer, ctypes.c_int)
_op_get_error = _declare("asock_op_get_error", _pointer)
_op_get_bytes = _declare("asock_op_get_bytes", _pointer, result=ctypes.c_uint64)
_bind = _declare("asock_bind", _pointer, _pointer)
_listen = _declare("asock_listen", _pointer, _pointer, ctypes.c_int)
_connect = _declare("asock_connect", _pointer, _pointer)
_send = _declare("asock_send", _pointer, _pointer)
_receive = _declare("asock_receive", _pointer, _pointer)
_sync = _declare("asock_sync", _pointer, _pointer)
_set_option = _declare("asock_set_option", _pointer, _pointer, ctypes.c_int, ctypes.c_int64)
_error_name = _declare("asock_error_name", ctypes.c_int, result=ctypes.c_char_p)


def check(result):
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def error_name(error):
    return _error_name(error).decode()


class Op:
    """An operation; it keeps its buffer and is released with the object."""

    def __init__(self, context):
        self.handle = _pointer()
        self.buffer = None
        check(_op_new(context.handle, ctypes.byref(self.handle)))

    def set_buffer(self, data):
        self.buffer = ctypes.create_string_buffer(data, len(data))
        check(_op_set_buffer(self.handle, self.buffer, len(data)))

    def wait(self):
        """The SocketError's name."""
        check(_op_wait(self.handle, TIMEOUT_MS))
        return error_name(check(_op_get_error(self.handle)))

    def data(self):
        return self.buffer.raw[:_op_get_bytes(self.handle)]

    def __del__(self):
        _op_unref(self.handle)


class Socket:
    def __init__(self, context, is_udp=False):
        self.context = context
        self.handle = _pointer()
        check((_socket_new_udp if is_udp else _socket_new)(context.handle, socket.AF_UNSPEC, ctypes.byref(self.handle)))

    def connect(self, host, port, flags=0):
        op = Op(self.context)
        check(_op_set_host(op.handle, host.encode(), str(port).encode()))
        check(_op_set_flags(op.handle, flags))
        check(_connect(self.handle, op.handle))
        return op

    def bind(self, address, port):
        op = Op(self.context)
        sockaddr = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, socket.inet_aton(address))
        check(_op_set_endpoint(op.handle, sockaddr, len(sockaddr)))
        check(_bind(self.handle, op.handle))
        return op

    def listen(self):
        op = Op(self.context)
        check(_listen(self.handle, op.handle, 0))
        return op

    def set_option(self, option, value):
        op = Op(self.context)
        check(_set_option(self.handle, op.handle, option, value))
        return op

    def send(self, data):
        op = Op(self.context)
        op.set_buffer(data)
        check(_send(self.handle, op.handle))
        return op

    def receive(self, length=65536):
        op = Op(self.context)
        op.set_buffer(bytes(length))
        check(_receive(self.handle, op.handle))
        return op

    def __del__(self):
        _socket_unref(self.handle)


class Context:
    def __init__(self, path=None):
        self.handle = _pointer()
        check(_context_new(path and path.encode(), ctypes.byref(self.handle)))

    def flush(self):
        check(_context_flush(self.handle))

    def sync(self):
        op = Op(self)
        check(_sync(self.handle, op.handle))
        return op

    def error(self):
        return error_name(check(_context_get_error(self.handle)))

    def reconnect(self):
        check(_context_reconnect(self.handle))

    def __del__(self):
        _context_unref(self.handle)


class Failed(Exception):
    pass


def expect_success(op):
    name = op.wait()
    if name != "Success":
        raise Failed(name)


def hold():
    # Both live in their variables until the process is killed.
    context = Context()
    sock = Socket(context)
    # The first op is what opens it in the daemon.
    expect_success(sock.set_option(OPTION_NO_DELAY, 1))
    address = os.environ.get("NOTIFY_SOCKET")
    if address is None:
        print("ready", flush=True)
    else:
        if address.startswith("@"):
            address = "\0" + address[1:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", address)
    signal.pause()


def exchange(host, port, text):
    context = Context()
    sock = Socket(context)
    expect_success(sock.connect(host, port))
    expect_success(sock.send(text.encode()))
    while True:
        op = sock.receive()
        expect_success(op)
        if not op.data():
            return
        sys.stdout.write(op.data().decode())


def listen(address, port):
    context = Context()
    sock = Socket(context)
    expect_success(sock.bind(address, int(port)))
    expect_success(sock.listen())
    print("listening")


def connect_unix(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(path)


def connect_direct(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.connect((host, int(port)))


def send_datagram(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", (host, int(port)))


COMMANDS = {"hold": hold, "exchange": exchange, "listen": listen, "unix": connect_unix, "direct": connect_direct,
            "datagram": send_datagram}


def main():
    try:
        COMMANDS[sys.argv[1]](*sys.argv[2:])
    except OSError as error:
        print(errno.errorcode.get(error.errno, error.errno))
        return 1
    except Failed as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
