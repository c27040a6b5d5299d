# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl run --transparent: connections, refusals and names of programs that know neither asockd nor proxies."""

import contextlib
import json
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile

import asockctl
from asockd import Daemon
from nameserver import SERVFAIL, Name, NameServer
import network
from transparent import DEADLINE, PRELUDE, TransparentTest, setUpModule
from wire import pb

network.enter()

# Much, to a server that sends it back; then the end.
BULK = """
import hashlib, threading
sock = socket.create_connection((args[1], int(args[0])))
block = os.urandom(1 << 20)
def send():
    for _ in range(64):
        sock.sendall(block)
    sock.shutdown(socket.SHUT_WR)
thread = threading.Thread(target=send)
thread.start()
sent, got, count = hashlib.sha256(), hashlib.sha256(), 0
for _ in range(64):
    sent.update(block)
while data := sock.recv(1 << 20):
    got.update(data)
    count += len(data)
thread.join()
say([count, got.digest() == sent.digest()])
"""


class Connections(TransparentTest):

    def test_names_and_addresses_of_both_families(self):
        code = """
for host in args[1:]:
    with socket.create_connection((host, int(args[0]))) as sock:
        sock.sendall(host.encode())
        say([sock.recv(100).decode(), sock.getpeername()[1]])
"""
        hosts = ["both.test", "four.test", "six.test", "BOTH.test", network.OWN4, network.OWN6]
        self.assertEqual(self.python(code, self.echo.port, *hosts), [[host, self.echo.port] for host in hosts])

    def test_the_list_has_names_and_one_session(self):
        code = """
socks = [socket.create_connection((host, int(args[0]))) for host in ("four.test", "six.test", args[1])]
print("ready", flush=True)
sys.stdin.read()
"""
        program = self.start(sys.executable, "-c", PRELUDE + code, str(self.echo.port), network.OWN4,
                             stdin=subprocess.PIPE)
        self.assertEqual(program.stdout.readline(), b"ready\n")
        done = asockctl.run("list", "--json", "--control", self.daemon.control_path)
        text = done.stdout.decode()
        self.assertIn("four.test", text)
        self.assertIn("six.test", text)
        # The control session and this one: the list's own ends in a moment.
        self.daemon.wait(lambda: self.daemon.stats()["clients"] == 2)
        program.communicate(timeout=DEADLINE)
        self.assertEqual(program.returncode, 0)

    def test_two_hundred_connects_at_once(self):
        code = """
socks = []
for i in range(200):
    sock = socket.socket()
    sock.setblocking(False)
    assert sock.connect_ex((args[1], int(args[0]))) == errno.EINPROGRESS
    socks.append(sock)
for i, sock in enumerate(socks):
    sock.setblocking(True)
    select.select([], [sock], [])
    sock.sendall(b"%03d" % i)
say([sock.recv(3).decode() for sock in socks])
"""
        self.assertEqual(self.python(code, self.echo.port, network.OWN4), [[f"{i:03}" for i in range(200)]])

    def test_bulk_both_ways_at_once_and_half_close(self):
        self.assertEqual(self.python(BULK, self.echo.port, "both.test"), [[64 << 20, True]])

    def test_connects_that_the_program_has_given_up_end(self):
        """There is no event for it: its kernel stops asking. One that waits goes on."""
        code = """
socks = []
for port in range(1000, 1020):
    sock = socket.socket()
    sock.setblocking(False)
    assert sock.connect_ex((args[0], port)) == errno.EINPROGRESS
    socks.append(sock)
print("under way", flush=True)
sys.stdin.readline()
for sock in socks[1:]:
    sock.close()
print("closed", flush=True)
sys.stdin.readline()
say(errno.errorcode.get(socks[0].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "waits"))
"""
        program = self.start(sys.executable, "-c", PRELUDE + code, network.SILENT4, stdin=subprocess.PIPE)
        self.assertEqual(program.stdout.readline(), b"under way\n")
        self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 20)
        program.stdin.write(b"\n")
        program.stdin.flush()
        self.assertEqual(program.stdout.readline(), b"closed\n")
        self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 1)
        output, _ = program.communicate(b"\n", DEADLINE)
        self.assertEqual(output, b'"waits"\n')

    def test_a_first_packet_that_is_read_late_is_no_new_connect(self):
        """The program's kernel has sent it again while the gateway was busy; the connection has been accepted since."""
        code = """
socks = []
print(os.readlink("/proc/self/ns/net"), flush=True)
while sys.stdin.readline():
    socks.append(socket.create_connection((args[1], int(args[0]))))
    print("connected", flush=True)
"""
        for host in (network.OWN4, network.OWN6):
            with self.subTest(host):
                program = self.start(sys.executable, "-c", PRELUDE + code, str(self.echo.port), host, stdin=subprocess.PIPE)
                cable = self.hold(network.socket_of(self.process_in(program.stdout.readline().decode().strip()),
                                                    socket.AF_PACKET, socket.SOCK_RAW, 0))
                cable.bind(("cable1", network.ETH_P_ALL))
                cable.settimeout(DEADLINE)
                self.connect(program)
                frame = cable.recv(1 << 16)
                while network.Packet(frame[14:], None).flags != "S":
                    frame = cable.recv(1 << 16)
                cable.send(frame)
                self.connect(program)  # what has come by the cable before has been read
                self.assertEqual(self.daemon.stats()["sockets"], 2)
                program.communicate(timeout=DEADLINE)
                self.assertEqual(program.returncode, 0)
                self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 0)

    def connect(self, program):
        program.stdin.write(b"\n")
        program.stdin.flush()
        self.assertEqual(program.stdout.readline(), b"connected\n")

    @staticmethod
    def process_in(namespace):
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/ns/net") == namespace:
                    return pid
        raise AssertionError(namespace)

    def test_what_a_slow_reader_has_not_read_arrives_after_the_end(self):
        listener = self.hold(socket.create_server((network.OWN4, 0)))
        code = """
sock = socket.create_connection((args[1], int(args[0])))
sock.shutdown(socket.SHUT_WR)
print("shut", flush=True)
sys.stdin.readline()
count = 0
while data := sock.recv(1 << 16):
    count += len(data)
say(count)
"""
        program = self.start(sys.executable, "-c", PRELUDE + code, str(listener.getsockname()[1]), network.OWN4,
                             stdin=subprocess.PIPE)
        peer = self.accept(listener)
        self.assertEqual(program.stdout.readline(), b"shut\n")
        peer.sendall(bytes(300000))
        peer.close()
        self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 0)
        output, _ = program.communicate(b"\n", DEADLINE)
        self.assertEqual(output, b"300000\n")

    def test_a_reset_is_a_reset(self):
        listener = self.hold(socket.create_server((network.OWN4, 0)))
        code = """
sock = socket.create_connection((args[1], int(args[0])))
print("connected", flush=True)
try:
    sock.recv(1)
except ConnectionResetError:
    say("reset")
"""
        program = self.start(sys.executable, "-c", PRELUDE + code, str(listener.getsockname()[1]), network.OWN4)
        peer = self.accept(listener)
        self.assertEqual(program.stdout.readline(), b"connected\n")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        self.assertEqual(program.communicate(timeout=DEADLINE)[0], b'"reset"\n')

    def test_a_reset_behind_the_end_of_the_stream_is_noticed(self):
        """Though the program says nothing that could fail."""
        listener = self.hold(socket.create_server((network.OWN4, 0)))
        code = """
sock = socket.create_connection((args[1], int(args[0])))
sock.recv(1)
print("ended", flush=True)
sys.stdin.readline()
"""
        program = self.start(sys.executable, "-c", PRELUDE + code, str(listener.getsockname()[1]), network.OWN4,
                             stdin=subprocess.PIPE)
        peer = self.accept(listener)
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(program.stdout.readline(), b"ended\n")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 0)
        program.communicate(b"\n", DEADLINE)

    def test_own_servers_on_localhost(self):
        code = """
for host in ("127.0.0.1", "::1", "localhost"):
    server = socket.create_server((host, int(args[0])), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    client = socket.create_connection((host, int(args[0])))
    peer = server.accept()[0]
    client.sendall(b"own")
    say(peer.recv(3).decode())
    server.close()
"""
        # The host has a server on this port, too: it is not this one.
        self.assertEqual(self.python(code, self.echo.port), ["own"] * 3)


class Full(TransparentTest):
    """A session may have 16 sockets."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon("--allow-any", config="[Limits]\nSockets=16\n")

    def test_a_connect_waits_for_a_socket_but_not_for_long(self):
        code = """
full = [socket.create_connection((args[0], int(args[1]))) for _ in range(16)]
late = socket.socket()
late.setblocking(False)
say(late.connect_ex((args[0], int(args[1]))) == errno.EINPROGRESS)
poll = select.poll()
poll.register(late, select.POLLOUT)
say(poll.poll(100))
full.pop().close()
poll.poll()
say(late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
say(attempt(args[0], int(args[1]), True))
"""
        self.assertEqual(self.python(code, network.OWN4, self.echo.port), [True, [], 0, "ENETUNREACH"])


class Ports(TransparentTest):

    def list_rules(self, program):
        """Those of the gateway's namespace."""
        done = subprocess.run(["nsenter", "--target", str(program.pid), "--user", "--net", "--preserve-credentials",
                               "ip", "rule"], check=True, stdout=subprocess.PIPE)
        return done.stdout.decode()

    def rules(self, program):
        return self.list_rules(program).count("\n")

    def has_rule(self, program, port):
        return f"dport {port} " in self.list_rules(program)

    def test_a_thousand_ports(self):
        listeners = [self.hold(socket.create_server((network.OWN4, 0))) for _ in range(1000)]
        code = """
ports = json.loads(sys.stdin.readline())
socks = [socket.create_connection((args[0], port)) for port in ports]
say(len({sock.getpeername() for sock in socks}))
sys.stdin.readline()
for sock in socks:
    sock.close()
print("closed", flush=True)
sys.stdin.readline()
"""
        program = self.start(sys.executable, "-c", PRELUDE + code, network.OWN4, stdin=subprocess.PIPE)
        ports = [listener.getsockname()[1] for listener in listeners]
        program.stdin.write(json.dumps(ports).encode() + b"\n")
        program.stdin.flush()
        self.assertEqual(program.stdout.readline(), b"1000\n")
        before = self.rules(program) - 1000
        program.stdin.write(b"\n")
        program.stdin.flush()
        self.assertEqual(program.stdout.readline(), b"closed\n")
        for listener in listeners:
            self.accept(listener).close()
        self.daemon.wait(lambda: self.rules(program) == before)
        program.communicate(b"\n", DEADLINE)
        self.assertEqual(program.returncode, 0)

    def test_a_port_that_is_used_again_stays(self):
        again, other = (self.hold(socket.create_server((network.OWN4, 0))) for _ in range(2))
        code = """
def connect(port):
    return socket.create_connection((args[0], port))
again, other = (int(port) for port in args[1:])
connect(again).close()
sock = connect(again)
connect(other).close()
print("connected", flush=True)
sys.stdin.readline()
sock.sendall(b"still")
say(sock.recv(5).decode())
"""
        ports = [listener.getsockname()[1] for listener in (again, other)]
        program = self.start(sys.executable, "-c", PRELUDE + code, network.OWN4, *map(str, ports),
                             stdin=subprocess.PIPE)
        self.accept(again).close()
        peer = self.accept(again)
        self.accept(other).close()
        self.assertEqual(program.stdout.readline(), b"connected\n")
        # The port that was left last goes: if the one in use went too, it would be gone by now.
        self.daemon.wait(lambda: not self.has_rule(program, ports[1]))
        self.assertTrue(self.has_rule(program, ports[0]))
        program.stdin.write(b"\n")
        program.stdin.flush()
        self.assertEqual(peer.recv(5), b"still")
        peer.sendall(b"there")
        self.assertEqual(program.communicate(timeout=DEADLINE)[0], b'"there"\n')
        self.assertEqual(program.returncode, 0)
        peer.close()

    def test_an_open_port_opens_no_other_address(self):
        """What has a listener for one address is held for another one all the same."""
        policy = self.policy(f"Allow=tcp {network.OWN4} {self.echo.port} +local +special\n")
        code = """
sock = socket.create_connection((args[1], int(args[0])))
for ttl in (1, 64, 255):
    other = socket.socket()
    other.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
    say(errno.errorcode.get(other.connect_ex((args[2], int(args[0]))), "connected"))
sock.sendall(b"still")
say(sock.recv(5).decode())
"""
        self.assertEqual(self.python(code, self.echo.port, network.OWN4, "192.0.2.7", options=("--policy", policy)),
                         ["EHOSTUNREACH"] * 3 + ["still"])


class Refusals(TransparentTest):
    code = """
for text in args:
    address, _, port = text.rpartition(" ")
    say([attempt(address, int(port), blocking) for blocking in (True, False)])
"""

    def check(self, table, options=()):
        said = self.python(self.code, *(f"{address} {port}" for address, port, _ in table), options=options)
        self.assertEqual(dict(zip((row[:2] for row in table), said)), {row[:2]: [row[2]] * 2 for row in table})

    def test_every_refusal_has_its_errno(self):
        with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as closed:
            port = closed.getsockname()[1]
        self.check([
            (network.OWN4, port, "ECONNREFUSED"),
            (network.OWN6, port, "ECONNREFUSED"),
            ("198.51.100.1", 80, "ENETUNREACH"),
            ("2001:db8:1::1", 80, "ENETUNREACH"),
            ("198.19.200.1", 80, "EHOSTUNREACH"),  # stands for no name
            ("fd61:736f:636b::1:c801", 80, "EHOSTUNREACH"),
            ("198.18.0.1", 80, "ECONNREFUSED"),  # the name server itself
        ])

    def test_a_denial_is_eacces_where_there_is_a_packet_for_it(self):
        policy = self.policy(f"Allow=tcp {network.OWN4} {self.echo.port} +local +special\n"
                             f"Allow=tcp six.test {self.echo.port} +local +special\n")
        self.check([
            (network.OWN4, self.echo.port, "connected"),
            (network.OWN4, self.echo.port + 1, "EHOSTUNREACH"),
            (network.OWN6, self.echo.port, "EACCES"),  # allowed by name only
        ], options=("--policy", policy))
        code = """
def name(host):
    try:
        socket.create_connection((host, int(args[0]))).close()
        return "connected"
    except OSError as error:
        return errno.errorcode.get(error.errno)
say([name("six.test"), name("four.test") in ("EACCES", "EHOSTUNREACH")])
"""
        self.assertEqual(self.python(code, self.echo.port, options=("--policy", policy)), [["connected", True]])

    def test_datagrams_without_a_rule_are_refused_at_once(self):
        witness = self.hold(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        witness.bind(("::", 0))
        code = """
for address in args[1:]:
    for _ in range(30):
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect((address, int(args[0])))
        sock.send(b"x")
        try:
            sock.recv(1)
        except ConnectionRefusedError:
            continue
        say("no error")
say("all refused")
"""
        self.assertEqual(self.python(code, witness.getsockname()[1], network.OWN4, network.OWN6, "198.19.0.1",
                                     options=("--policy", self.policy("Allow=tcp * *\n"))), ["all refused"])
        self.assertFalse(select.select([witness], [], [], 0)[0])

    def test_no_way_past_the_gateway(self):
        """Nor to the daemon itself, nor to sockets without a name in the file system."""
        abstract = self.hold(socket.socket(socket.AF_UNIX))
        abstract.bind("\0asock-test-abstract")
        abstract.listen()
        code = """
import subprocess
def fails(*command):
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0
def unix(path):
    try:
        socket.socket(socket.AF_UNIX).connect(path)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "connected"
def raw(kind, *more):
    try:
        socket.socket(kind, socket.SOCK_RAW, *more)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "made"
say([fails("ip", "link", "set", "lo", "down"), fails("ip", "route", "add", "192.0.2.0/24", "dev", "lo"),
     fails("unshare", "--net", "true"), unix("\\0asock-test-abstract"), unix(args[0]), raw(socket.AF_INET, 1),
     raw(socket.AF_PACKET), "ASOCK_SOCKET" in os.environ, unix(args[1])])
say(os.getpid() < 10 and len([n for n in os.listdir("/proc") if n.isdigit()]) < 10)
"""
        self.assertEqual(self.python(code, self.daemon.path, self.daemon.control_path), [
            [True, True, True, "ECONNREFUSED", "ENOENT", "EPERM", "EPERM", False, "ENOENT"], True])


class Names(TransparentTest):
    code = """
import struct
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.connect(("198.18.0.1", 53))
def ask(name, kind=1):
    labels = b"".join(bytes([len(label)]) + label for label in name.encode("latin-1").split(b"."))
    server.send(struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + b"\\0" + struct.pack(">HH", kind, 1))
    answer = server.recv(4096)
    assert len(answer) <= 512 and answer[:2] == b"\\0\\7"
    size = {1: 4, 28: 16}.get(kind, 0)
    count = answer[7]
    address = socket.inet_ntop(socket.AF_INET if size == 4 else socket.AF_INET6, answer[-size:]) if count else None
    return [answer[3] & 15, address]
"""

    def test_a_name_keeps_its_addresses(self):
        code = self.code + """
first = [ask("both.test", kind) for kind in (1, 28)]
others = [ask(name)[1] for name in ("four.test", "six.test")]
say(first == [ask("BOTH.Test", kind) for kind in (1, 28)] and first[0][0] == 0)
say(len({first[0][1], *others}))
say([ask("localhost"), ask("x.localhost", 28), ask("both.test", 65)])
say([ask("not a host")[0], ask(".".join(["a" * 61] * 4))[0] in (0, 2, 3)])
"""
        self.assertEqual(self.python(code), [True, 3, [[0, "127.0.0.1"], [0, "::1"], [0, None]], [3, True]])

    def test_garbage_is_survived(self):
        code = self.code + """
for cut in range(40):
    server.send(os.urandom(cut))
    server.send((b"\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + b"\\3abc" * 10)[:cut])
other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
other.connect(("198.18.0.1", 53))
server = other
say(ask("four.test")[0])
"""
        self.assertEqual(self.python(code), [0])

    def test_search_domains_and_other_names_of_the_host_are_off(self):
        code = """
say(open("/etc/resolv.conf").read().split())
say([line.split()[1] for line in open("/etc/hosts") if not line.startswith(("127.", "::1"))])
"""
        self.assertEqual(self.python(code), [["nameserver", "198.18.0.1", "search", "."], []])


class Lent(TransparentTest):
    """What policy lends goes past the daemon, and stays in its hands."""

    @classmethod
    def setUpClass(cls):
        with tempfile.NamedTemporaryFile("w", suffix=".policy", delete=False) as file:
            file.write(f"[Rules]\nAllow=tcp {network.OWN4} * +local +private +special +lend\n"
                       "Allow=tcp * * +local +private +special\n")
        os.chmod(file.name, 0o644)
        cls.addClassCleanup(os.unlink, file.name)
        cls.daemon = Daemon("--policy", file.name)

    def states(self):
        return [row["state"] for row in self.daemon.control.inspect(list=pb.List())]

    def test_streams_are_whole_both_ways(self):
        self.assertEqual(self.python(BULK, self.echo.port, "four.test"), [[64 << 20, True]])
        self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 0)

    def test_only_what_may_be_lent(self):
        code = """
socks = [socket.create_connection((args[1], int(args[0])))]
print("ready", flush=True)
sys.stdin.read()
"""
        for host, state in ((network.OWN4, "lent"), (network.OWN6, "connected")):
            with self.subTest(host):
                program = self.start(sys.executable, "-c", PRELUDE + code, str(self.echo.port), host, stdin=subprocess.PIPE)
                self.assertEqual(program.stdout.readline(), b"ready\n")
                self.assertEqual(self.states(), [state])
                program.communicate(timeout=DEADLINE)
                self.assertEqual(program.returncode, 0)
                self.daemon.wait(lambda: self.daemon.stats()["sockets"] == 0)

    def test_a_reset_is_passed_on_and_a_killed_one_is_over(self):
        code = """
for _ in range(2):
    sock = socket.create_connection((args[1], int(args[0])))
    print("ready", flush=True)
    try:
        say(sock.recv(1).decode())
    except ConnectionResetError:
        say("reset")
"""
        listener = self.hold(socket.create_server((network.OWN4, 0)))
        listener.settimeout(DEADLINE)
        program = self.start(sys.executable, "-c", PRELUDE + code, str(listener.getsockname()[1]), network.OWN4)
        peer = self.accept(listener)
        self.assertEqual(program.stdout.readline(), b"ready\n")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        self.assertEqual(program.stdout.readline(), b'"reset"\n')
        peer = self.accept(listener)
        self.assertEqual(program.stdout.readline(), b"ready\n")
        for row in self.daemon.control.inspect(list=pb.List()):
            self.daemon.control.inspect(kill=pb.Kill(id=row["id"]))
        self.assertEqual(program.stdout.readline(), b'"reset"\n')
        self.assertEqual(self.reset_by(peer), b"")
        self.assertEqual(program.wait(DEADLINE), 0)


class Resolving(TransparentTest):
    """There is a name server behind asockd."""

    @classmethod
    def setUpClass(cls):
        cls.server = NameServer({"there.test": Name(a=[network.OWN4]), "broken.test": Name(rcode=SERVFAIL)})
        network.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        network.write("/etc/resolv.conf", "")
        cls.server.close()

    def test_names_that_do_not_exist_have_no_address(self):
        code = """
def name(host):
    try:
        with socket.create_connection((host, int(args[0]))) as sock:
            sock.sendall(b"ping")
            return sock.recv(4).decode()
    except socket.gaierror as error:
        return {socket.EAI_NONAME: "no such name", socket.EAI_AGAIN: "try again"}[error.errno]
say([name(host) for host in ("there.test", "nowhere.test", "broken.test")])
"""
        self.assertEqual(self.python(code, self.echo.port), [["ping", "no such name", "try again"]])

    def test_a_name_that_is_denied_is_not_asked_for(self):
        policy = self.policy("Allow=tcp other.test *\n")
        code = """
address = socket.getaddrinfo("denied.test", int(args[0]), socket.AF_INET6, socket.SOCK_STREAM)[0][4][0]
say([attempt(address, int(args[0]), blocking) for blocking in (True, False)])
"""
        self.assertEqual(self.python(code, self.echo.port, options=("--policy", policy)), [["EACCES", "EACCES"]])
        self.assertEqual(self.server.asked("denied.test"), [])
