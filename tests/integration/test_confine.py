# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl run --confine: what could be done with a lent socket beside using it ends denied, whichever way it is tried."""

import ctypes
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

import asockctl
from asockd import Daemon, DaemonTest

DEADLINE = asockctl.DEADLINE

# The first argument says what is tried, with the socket whose number is the second. Prints the name of the error, or "done".
TRY = r'''
import ctypes, errno, fcntl, mmap, os, socket, struct, subprocess, sys, termios, threading

libc = ctypes.CDLL(None, use_errno=True)
FASTOPEN, AF_UNSPEC = 0x20000000, struct.pack("=H14x", 0)
number = int(sys.argv[2])
lent = socket.socket(fileno=os.dup(number))
other = ("127.0.0.1", int(sys.argv[3]))
there = struct.pack("=H2s4s8x", socket.AF_INET, struct.pack("!H", other[1]), b"\x7f\0\0\1")
# Sockets that nobody has connected yet, and a process that is not confined.
fresh, fresh6 = (socket.socket(fileno=os.dup(int(text))) for text in sys.argv[4:6])
victim = int(sys.argv[6])

def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")

def connect(fd, address):
    check(libc.connect(fd, bytes(address), len(address)))

def unspec():
    connect(lent.fileno(), AF_UNSPEC)

def duplicate():
    connect(os.dup(os.dup2(number, 60)), AF_UNSPEC)

def child():
    """A process that it starts gets the socket by SCM_RIGHTS."""
    one, two = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        _, fds, _, _ = socket.recv_fds(two, 1, 1)
        try:
            connect(fds[0], AF_UNSPEC)
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    socket.send_fds(one, [b"x"], [number])
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise OSError(status, "")

def changed_sockaddr():
    """What a filter that looked at the address would see is not what the kernel reads."""
    address = ctypes.create_string_buffer(there, 16)
    ends = threading.Event()
    def change():
        while not ends.is_set():
            ctypes.memmove(address, AF_UNSPEC, 16)
            ctypes.memmove(address, there, 16)
    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(20000):
            if libc.connect(lent.fileno(), address, 16) == 0:
                return
    finally:
        ends.set()
        thread.join()
    raise OSError(ctypes.get_errno(), "")

def another_socket():
    fresh.connect(other)

def mapped():
    fresh6.connect(("::ffff:127.0.0.1", other[1]))

def bind():
    fresh.bind(("127.0.0.1", 0))

def listen():
    fresh.listen(1)

def new_socket():
    socket.socket()

def new_socket6():
    socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)

def mptcp():
    socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)

def vsock():
    socket.socket(socket.AF_VSOCK)

def upper_half():
    """Of the family the kernel looks at 32 bits."""
    check(libc.syscall(ctypes.c_long(41), ctypes.c_long(1 << 32 | socket.AF_INET), ctypes.c_long(socket.SOCK_STREAM), ctypes.c_long(0)))

def namespaces():
    check(libc.unshare(0x10000000 | 0x40000000))
    unspec()

def attach():
    check(libc.ptrace(16, victim, 0, 0))
    os.waitpid(victim, 0)
    check(libc.ptrace(17, victim, 0, 0))

def write_memory():
    """At an address that there is, of what the victim shares with this program."""
    here = ctypes.create_string_buffer(8)
    with open(f"/proc/{victim}/maps") as file:
        at = next(int(line.partition("-")[0], 16) for line in file if " rw-p " in line)
    one, two = (ctypes.c_void_p * 2)(ctypes.addressof(here), 8), (ctypes.c_void_p * 2)(at, 8)
    check(libc.process_vm_readv(victim, one, 1, two, 1, 0))
    check(libc.process_vm_writev(victim, one, 1, two, 1, 0))

def memory_file():
    with open(f"/proc/{victim}/mem", "r+b", buffering=0):
        pass

def their_descriptor():
    check(libc.syscall(438, os.pidfd_open(victim), 0, 0))

def terminal():
    """The kernel may be set to refuse it to everybody (EIO)."""
    os.setsid()
    _, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    fcntl.ioctl(slave, termios.TIOCSTI, b"x")

def new_privileges():
    with open("/proc/self/status") as file:
        if "NoNewPrivs:\t1\n" in file.read():
            raise PermissionError(errno.EPERM, "")

def fastopen_sendto():
    fresh.sendto(b"x", FASTOPEN, other)

def fastopen_sendmsg():
    fresh.sendmsg([b"x"], [], FASTOPEN, other)

def fastopen_sendmmsg():
    data, name = ctypes.create_string_buffer(b"x"), ctypes.create_string_buffer(there, 16)
    iov = (ctypes.c_void_p * 2)(ctypes.addressof(data), 1)
    head = struct.pack("=QI4xQQQQi4xI4x", ctypes.addressof(name), 16, ctypes.addressof(iov), 1, 0, 0, 0, 0)
    check(libc.sendmmsg(fresh.fileno(), ctypes.create_string_buffer(head, len(head)), 1, FASTOPEN))

def io_uring():
    check(libc.syscall(425, 4, ctypes.create_string_buffer(120)))

def x32():
    check(libc.syscall(0x40000000 | 42, lent.fileno(), AF_UNSPEC, 16))

def i386():
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\x53\xb8\x6a\x01\x00\x00\xbb" + struct.pack("=i", lent.fileno()) + b"\x31\xc9\x31\xd2\xcd\x80\x5b\xc3")
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()

def unix_datagram():
    """Whose sendmsg(2) could carry the socket to a process that is not confined."""
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

def unix_datagram_pair():
    socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

def command():
    """A program that it runs."""
    done = subprocess.run([sys.executable, "-c", os.environ["TRY"], "unspec", *sys.argv[2:]], capture_output=True, close_fds=False)
    if done.stdout != b"done\n":
        raise OSError(getattr(errno, done.stdout.decode().strip()), "")

def use():
    lent.sendall(b"there")
    assert lent.recv(16) == b"and back"
    lent.shutdown(socket.SHUT_WR)

try:
    globals()[sys.argv[1]]()
    print("done")
except OSError as error:
    print(errno.errorcode[error.errno])
'''

# Not confined, and anybody of its user may trace it (PR_SET_PTRACER), also where the system has restricted that.
VICTIM = "import ctypes; ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_ulong(-1)); print(flush=True); input()"

# Lends itself a socket in the session that it was given, and uses it.
LEND = '''
import os, socket, sys
sys.path[:0] = sys.argv[2:]
from wire import Wire, endpoint, pb, request
wire = Wire(sock=socket.socket(fileno=int(os.environ["ASOCK_FD"])))
wire.hello()
wire.send(wire.open(1, 1), request(pb.VERB_CONNECT, 2, 1, connect=pb.Connect(
    endpoint=endpoint(("127.0.0.1", int(sys.argv[1]))), lend=pb.LEND_HELD)))
print(pb.Error.Name(wire.completion(2).error), flush=True)
lent = socket.socket(fileno=wire.descriptors.popleft())
lent.settimeout(30)
lent.sendall(b"there")
print(lent.recv(16).decode())
'''


def landlock_abi():
    return ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1)


class Confined(DaemonTest):

    @classmethod
    def setUpClass(cls):
        with tempfile.NamedTemporaryFile("w", suffix=".policy", delete=False) as file:
            file.write("[Rules]\nAllow=tcp 127.0.0.1 * +loopback +lend\n")
        os.chmod(file.name, 0o644)
        cls.addClassCleanup(os.unlink, file.name)
        cls.daemon = Daemon("--policy", file.name)

    def setUp(self):
        super().setUp()
        self.victim = subprocess.Popen([sys.executable, "-c", VICTIM], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(self.victim.communicate)
        self.victim.stdout.readline()

    def attempt(self, what, *how):
        """What comes of it, and the other end of the socket that it was tried with."""
        listener = self.listener()
        one = self.hold(socket.create_connection(listener.getsockname(), DEADLINE))
        one.setblocking(True)
        peer = self.accept(listener)
        peer.sendall(b"and back")
        fresh = [self.hold(socket.socket(family)) for family in (socket.AF_INET, socket.AF_INET6)]
        fds = [sock.fileno() for sock in (one, *fresh)]
        done = asockctl.run("run", "--socket", self.daemon.path, *how, "--", sys.executable, "-c", TRY, what, str(fds[0]),
                            str(listener.getsockname()[1]), str(fds[1]), str(fds[2]), str(self.victim.pid), pass_fds=fds,
                            env=asockctl.environment(TRY=TRY))
        return done.stdout.decode().strip() or done.returncode, peer, done.stderr

    def is_denied(self, what, ends=("EPERM",)):
        result, peer, err = self.attempt(what, "--confine")
        self.assertIn(result, ends, err)
        peer.settimeout(0.0)
        with self.assertRaises(BlockingIOError):
            peer.recv(1)  # it is connected still

    def test_escape_unspec(self):
        self.is_denied("unspec")

    def test_escape_dup(self):
        self.is_denied("duplicate")

    def test_escape_by_a_child(self):
        self.is_denied("child")

    def test_escape_by_a_program(self):
        self.is_denied("command")

    def test_escape_by_a_sockaddr_that_changes(self):
        self.is_denied("changed_sockaddr")

    def test_escape_by_another_socket(self):
        self.is_denied("another_socket")

    def test_escape_by_a_new_socket(self):
        """Some protocols connect by setsockopt(2), or by sendmsg(2)."""
        for what in ("new_socket", "new_socket6", "mptcp", "vsock"):
            with self.subTest(what):
                self.is_denied(what)

    @unittest.skipUnless(platform.machine() == "x86_64", "not an x86-64 machine")
    def test_escape_by_the_upper_half_of_an_argument(self):
        self.is_denied("upper_half")

    def test_escape_by_namespaces(self):
        self.is_denied("namespaces")

    def test_escape_into_another_process(self):
        self.is_denied("attach")
        self.is_denied("write_memory")
        self.is_denied("their_descriptor")

    @unittest.skipIf(landlock_abi() < 1, "the kernel has no Landlock")
    def test_escape_into_the_memory_of_another_process(self):
        self.is_denied("memory_file", ("EACCES",))

    def test_escape_by_a_terminal(self):
        self.is_denied("terminal")

    def test_escape_by_new_privileges(self):
        self.is_denied("new_privileges")

    def test_escape_v4_mapped(self):
        self.is_denied("mapped")

    def test_escape_bind_and_listen(self):
        self.is_denied("bind")
        self.is_denied("listen")

    def test_escape_fastopen_by_three_calls(self):
        for call in ("fastopen_sendto", "fastopen_sendmsg", "fastopen_sendmmsg"):
            with self.subTest(call):
                self.is_denied(call)

    def test_escape_io_uring(self):
        self.is_denied("io_uring")

    @unittest.skipUnless(platform.machine() == "x86_64", "not an x86-64 machine")
    def test_escape_by_another_architecture(self):
        self.is_denied("x32", (-signal.SIGSYS,))
        self.is_denied("i386", (-signal.SIGSYS, -signal.SIGSEGV))  # without int 0x80 in the kernel

    def test_escape_to_a_process_outside(self):
        self.is_denied("unix_datagram")
        self.is_denied("unix_datagram_pair")

    def test_they_are_escapes(self):
        """Without --confine they work, so that what denies them is not something else."""
        for what in ("unspec", "duplicate", "child", "command", "changed_sockaddr", "another_socket", "mapped", "bind",
                     "listen", "new_socket", "new_socket6", "namespaces", "attach", "write_memory", "memory_file",
                     "their_descriptor", "new_privileges", "fastopen_sendto", "fastopen_sendmsg", "fastopen_sendmmsg", "unix_datagram",
                     "unix_datagram_pair"):
            with self.subTest(what):
                result, _, err = self.attempt(what, "--fd")
                self.assertEqual(result, "done", err)

    def test_the_socket_can_be_used(self):
        result, peer, err = self.attempt("use", "--confine")
        self.assertEqual(result, "done", err)
        self.assertEqual(self.read_all(peer), b"there")

    def test_a_socket_is_lent(self):
        listener = self.listener()
        paths = [os.path.dirname(os.path.abspath(module.__file__)) for module in (asockctl, sys.modules["asock_pb2"])]
        tool = self.hold(asockctl.Tool("run", "--socket", self.daemon.path, "--confine", "--", sys.executable, "-c", LEND,
                                       str(listener.getsockname()[1]), *paths, stdout=subprocess.PIPE))
        peer = self.accept(listener)
        self.assertEqual(tool.stdout.readline(), b"ERROR_SUCCESS\n")
        self.assertEqual(peer.recv(16), b"there")
        peer.sendall(b"and back")
        self.assertEqual(tool.communicate(timeout=DEADLINE)[0], b"and back\n")

    def test_not_with_a_proxy(self):
        for other in ("--proxy", "--transparent"):
            done = asockctl.run("run", "--socket", self.daemon.path, "--confine", other, "--", "true")
            self.assertEqual(done.returncode, 125)
            self.assertIn(b"--confine", done.stderr)


if __name__ == "__main__":
    unittest.main()
