# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl run --transparent --publish: ports of asockd's host that lead to a server in the command's network."""

import contextlib
import json
import re
import signal
import socket
import struct
import subprocess
import sys

import asockctl
import network
from transparent import DEADLINE, PRELUDE, TransparentTest, setUpModule

network.enter()

PORT = 80  # the command may have every port of its network
RESET = struct.pack("ii", 1, 0)

# A server at each address of args[0], which serves `serve(sock)` one after the other.
SERVER = PRELUDE + """
import struct, threading
def serve_all(listener):
    while True:
        sock = listener.accept()[0]
        with sock:
            serve(sock)
listeners = [socket.create_server((address, %d), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
             for address in args[0].split(",")]
def read_all(sock):
    data = b""
    while piece := sock.recv(1 << 16):
        data += piece
    return data
def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
""" % PORT
RUN = """
print("ready", flush=True)
for listener in listeners:
    threading.Thread(target=serve_all, args=(listener,)).start()
"""
ECHO = """
def serve(sock):
    data = read_all(sock)  # the client's end comes alone: this side still sends
    sock.sendall(data + b"|end")
"""


class PublishedTest(TransparentTest):

    def serve(self, code, publish="0", at="127.0.0.1", options=(), after=RUN):
        """A command with a server; returns it and the port."""
        program = self.hold(asockctl.Tool(
            "run", "--transparent", "--socket", self.daemon.path, "--publish", f"{publish}:{PORT}", *options, "--",
            sys.executable, "-c", SERVER + code + after, at, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        said = program.stderr.readline().decode()
        port = re.fullmatch(rf"asockctl: --publish {re.escape(publish)}:{PORT}: port (\d+)\n", said)
        self.assertTrue(port, said)
        self.assertEqual(program.stdout.readline(), b"ready\n")
        return program, int(port[1])

    def connect(self, port, address="127.0.0.1"):
        sock = self.hold(socket.create_connection((address, port), DEADLINE))
        return sock

    def ask(self, port, data, address="127.0.0.1"):
        sock = self.connect(port, address)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(1 << 16), b""))


class Published(PublishedTest):

    def test_bytes_both_ways_and_half_a_close(self):
        _, port = self.serve(ECHO)
        for data in (b"ping", b"", b"again"):
            self.assertEqual(self.ask(port, data), data + b"|end")

    def test_a_server_of_either_family(self):
        _, port = self.serve(ECHO, at="::1")
        self.assertEqual(self.ask(port, b"ping"), b"ping|end")

    def test_addresses(self):
        for where, address in (("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), (network.OWN4 + ":0", network.OWN4),
                               ("0.0.0.0:0", network.OWN4)):
            with self.subTest(where=where):
                program, port = self.serve(ECHO, publish=where)
                self.assertEqual(self.ask(port, b"ping", address), b"ping|end")
                program.close()

    def test_a_port_of_ones_own_and_several(self):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            free = probe.getsockname()[1]
        program = self.hold(asockctl.Tool(
            "run", "--transparent", "--socket", self.daemon.path, "--publish", f"{free}:{PORT}", "--publish",
            f"[::1]:{free}:{PORT}", "--", sys.executable, "-c", SERVER + ECHO + RUN, "127.0.0.1",
            stdout=subprocess.PIPE))
        self.assertEqual(program.stdout.readline(), b"ready\n")
        for address in ("127.0.0.1", "::1"):
            self.assertEqual(self.ask(free, b"ping", address), b"ping|end")

    def test_megabytes_over_a_slow_reader(self):
        """Neither side takes more than there is room for, and all of it arrives."""
        _, port = self.serve("""
def serve(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    sock.sendall(read_all(sock))
""")
        data = bytes(range(256)) * (3 << 12)
        self.assertEqual(self.ask(port, data), data)

    def test_many_at_once(self):
        _, port = self.serve("""
def serve(sock):
    threading.Thread(target=answer, args=(sock.dup(),)).start()
def answer(sock):
    with sock:
        sock.sendall(read_all(sock))
""")
        socks = [self.connect(port) for _ in range(100)]
        for i, sock in enumerate(socks):
            sock.sendall(b"%d" % i)
        for i, sock in enumerate(socks):
            sock.shutdown(socket.SHUT_WR)
            self.assertEqual(b"".join(iter(lambda s=sock: s.recv(100), b"")), b"%d" % i)

    def test_the_servers_reset_reaches_the_client(self):
        _, port = self.serve("""
def serve(sock):
    sock.recv(1)
    reset(sock)
""")
        sock = self.connect(port)
        sock.sendall(b"x")
        with self.assertRaises(ConnectionResetError):
            sock.recv(1)

    def test_the_clients_reset_reaches_the_server(self):
        program, port = self.serve("""
def serve(sock):
    sock.sendall(b"x")
    try:
        say(len(sock.recv(1)))
    except ConnectionResetError:
        say("reset")
""")
        sock = self.connect(port)
        self.assertEqual(sock.recv(1), b"x")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.close()
        self.assertEqual(program.stdout.readline(), b'"reset"\n')

    def test_where_nobody_listens_the_client_is_reset(self):
        program, port = self.serve("def serve(sock): pass", after="""
listeners[0].close()
print("ready", flush=True)
signal = __import__("signal"); signal.pause()
""")
        with self.assertRaises(ConnectionResetError):
            self.connect(port).recv(1)  # the reset may have come before connect() looks
        self.assertIsNone(program.poll())

    def test_what_the_server_has_sent_last_arrives(self):
        program, port = self.serve("def serve(sock): pass", after="""
print("ready", flush=True)
sock = listeners[0].accept()[0]
sock.sendall(b"last" * 100000)
os._exit(7)
""")
        sock = self.connect(port)
        self.assertEqual(len(b"".join(iter(lambda: sock.recv(1 << 16), b""))), 400000)
        self.assertEqual(program.wait(DEADLINE), 7)

    def test_the_port_ends_with_the_command(self):
        program, port = self.serve(ECHO)
        program.terminate()
        self.assertEqual(program.wait(DEADLINE), 128 + signal.SIGTERM)
        self.daemon.settle(self.before)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))

    def test_it_is_shown_as_a_listener(self):
        _, port = self.serve(ECHO)
        rows = json.loads(asockctl.run("list", "--json", "--control", self.daemon.control_path).stdout)
        self.assertEqual([row["local"] for row in rows if row["state"] == "listening"], [f"127.0.0.1:{port}"])


class Refused(PublishedTest):

    def refused(self, *args):
        done = self.run_tool(*args, "--", "echo", "ran")
        text = done.stderr.decode()
        self.assertEqual((done.returncode, done.stdout, text.count("\n")), (125, b"", 1), text)
        return text

    def test_policy_denies_it(self):
        text = self.refused("--policy", self.policy("Allow=tcp * *\n"), "--publish", f"8080:{PORT}")
        for part in (f"--publish 8080:{PORT}: ", "Listen=tcp", "COMMAND was not run"):
            self.assertIn(part, text)

    def test_the_port_is_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            text = self.refused("--publish", f"{taken.getsockname()[1]}:{PORT}")
        self.assertIn("in use", text)

    def test_an_address_that_is_not_the_hosts(self):
        self.assertIn("address", self.refused("--publish", f"203.0.113.77:8080:{PORT}"))

    def test_malformed_ones(self):
        for wrong in ("", "80", ":80", "80:", "a:80", "80:b", "80:0", "65536:80", "80:65536", "1.2.3:80:80", "::1:80:80",
                      "[::1:80:80", "[127.0.0.1]:80:80", "localhost:80:80", "-1:80", "+80:80", "80:80 ", "[]:80:80"):
            done = self.run_tool(f"--publish={wrong}", "--", "echo", "ran")
            self.assertEqual((done.returncode, done.stdout), (125, b""), wrong)
            self.assertIn(b"[ADDRESS:]PORT:PORT", done.stderr, wrong)

    def test_more_than_there_may_be(self):
        options = [option for i in range(17) for option in ("--publish", f"{20000 + i}:{PORT}")]
        self.assertEqual(self.run_tool(*options, "--", "true").returncode, 125)

    def test_without_a_network_of_its_own_one_sentence_says_so(self):
        for options in ((), ("--proxy",), ("--fd",)):
            done = asockctl.run("run", *options, "--publish", f"0:{PORT}", "--socket", self.daemon.path, "--", "echo", "ran")
            self.assertEqual((done.returncode, done.stdout), (125, b""))
            self.assertIn(b"--publish requires --transparent", done.stderr)


class LostSession(PublishedTest):

    def test_a_listener_that_the_administrator_ends_stays_away(self):
        program, port = self.serve(ECHO)
        rows = json.loads(asockctl.run("list", "--json", "--control", self.daemon.control_path).stdout)
        listener = next(row["id"] for row in rows if row["state"] == "listening")
        done = asockctl.run("kill", "--yes", "--control", self.daemon.control_path, str(listener))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"--publish 0:80: ", program.stderr.readline())
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        self.assertIsNone(program.poll())

    def test_it_listens_again_with_the_next_session(self):
        program, port = self.serve(ECHO)
        rows = json.loads(asockctl.run("list", "--json", "--control", self.daemon.control_path).stdout)
        session = next(row["session"] for row in rows if row["state"] == "listening")
        done = asockctl.run("kill", "--yes", "--control", self.daemon.control_path, str(session))
        self.assertEqual(done.returncode, 0, done.stderr)

        def answers():
            with contextlib.suppress(ConnectionError):
                return self.ask(port, b"ping") == b"ping|end"
            return False

        self.daemon.wait(answers)
        self.assertIsNone(program.poll())
