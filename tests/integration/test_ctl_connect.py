# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl connect: standard input and output through the daemon."""

import contextlib
import getpass
import json
import os
import queue
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import threading
import unittest

import asockctl
import asockd
from connecting import ConnectCase, DEADLINE, MEGABYTE, Peer, pattern, reverse_at_end, sha256
from wire import Ended


class Many(ConnectCase):

    def test_s49_sixty_at_once(self):
        listener = self.listener(backlog=128)
        tools = [self.start_tool(listener.getsockname()[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                 for _ in range(60)]
        peers = [self.accept(listener) for _ in tools]
        for tool in tools:
            tool.stdin.close()
        for peer in peers:
            self.assertEqual(peer.recv(1), b"")
            peer.sendall(b"served")
            peer.shutdown(socket.SHUT_WR)
        for tool in tools:
            self.assertEqual(tool.stdout.read(), b"served")
            self.assertEqual(tool.wait(DEADLINE), 0)


class Refused(ConnectCase):
    """No room for one more session of this user: the tool says so in the daemon's words."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = asockd.Daemon(*cls.arguments, config="[Limits]\nClients=4\n")

    def test_s49_the_tool_tells_the_error_and_the_text(self):
        with contextlib.suppress(Ended):
            while True:
                self.wire()
        done = self.run_tool(9)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertRegex(done.stderr.decode(), r"^asockctl: asockd ended the session: over a limit or out of memory: "
                                               r"the (user|unit) has reached its client limit\n$")


class HalfClose(ConnectCase):

    def test_end_of_input_goes_through_and_the_answer_comes_back(self):
        peer = Peer(reverse_at_end)
        done = self.run_tool(peer.port, stdin=b"hello")
        self.check_ok(done)
        self.assertEqual((peer.result(), done.stdout), (b"hello", b"olleh"))

    def test_nothing_sent_nothing_received(self):
        peer = Peer(reverse_at_end)
        done = self.run_tool(peer.port)
        self.check_ok(done)
        self.assertEqual((peer.result(), done.stdout), (b"", b""))

    def test_peer_ends_first_and_still_reads(self):
        def handler(connection):
            connection.sendall(b"that was all")
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile("rb").read()

        peer = Peer(handler)
        tool = self.start_tool(peer.port, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # The pipe's end: seen while standard input is still open.
        self.assertEqual(tool.stdout.read(), b"that was all")
        self.assertIsNone(tool.poll())
        tool.stdin.write(b"late words")
        tool.stdin.close()
        self.assertEqual(tool.wait(DEADLINE), 0)
        self.assertEqual(peer.result(), b"late words")

    def test_peer_ends_first_with_one_socket_for_both(self):
        def handler(connection):
            connection.sendall(b"that was all")
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile("rb").read()

        peer = Peer(handler)
        ours, theirs = socket.socketpair()
        with ours:
            tool = self.start_tool(peer.port, stdin=theirs, stdout=theirs)
            theirs.close()
            ours.settimeout(DEADLINE)
            self.assertEqual(ours.makefile("rb").read(), b"that was all")
            ours.sendall(b"late words")
            ours.shutdown(socket.SHUT_WR)
            self.assertEqual(tool.wait(DEADLINE), 0)
        self.assertEqual(peer.result(), b"late words")


class Manners(ConnectCase):

    def test_exit_on_close(self):
        """Though standard input goes on."""
        peer = Peer(lambda connection: connection.sendall(b"that was all"))
        tool = self.start_tool(peer.port, "--exit-on-close", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.assertEqual(tool.stdout.read(), b"that was all")
        self.assertEqual(tool.wait(DEADLINE), 0)

    def test_a_reset_behind_the_end_of_the_stream(self):
        """Nothing is sent and nothing more can come: it is noticed all the same."""
        seen = threading.Event()

        def handler(connection):
            connection.shutdown(socket.SHUT_WR)
            seen.wait(DEADLINE)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        peer = Peer(handler)
        tool = self.start_tool(peer.port, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(tool.stdout.read(), b"")
        self.assertIsNone(tool.poll())
        seen.set()
        self.assertEqual(tool.wait(DEADLINE), 1)
        self.assertIn(b"sending:", tool.stderr.read())

    def test_keep_open(self):
        """The peer sees no end of stream until it has closed its own side."""
        asked, go = queue.Queue(), queue.Queue()

        def handler(connection):
            self.assertEqual(connection.recv(5, socket.MSG_WAITALL), b"hello")
            for word in (b"one", b"two"):
                connection.sendall(word)
                go.get(timeout=DEADLINE)
            asked.put(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1))
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile("rb").read()

        peer = Peer(handler)
        tool = self.start_tool(peer.port, "--keep-open", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        tool.stdin.write(b"hello")
        tool.stdin.close()
        for word in (b"one", b"two"):
            self.assertEqual(tool.stdout.read(3), word)
            go.put(None)
        self.assertEqual(asked.get(timeout=DEADLINE), b"\x01", "TCP_ESTABLISHED: no FIN has come")
        self.assertEqual(tool.wait(DEADLINE), 0)
        self.assertEqual(peer.result(), b"")

    def test_ready_fd(self):
        def handler(connection):
            return connection.recv(1)

        peer = Peer(handler)
        reader, writer = os.pipe()
        with open(reader, "rb") as ready:
            tool = self.start_tool(peer.port, "--ready-fd", str(writer), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   pass_fds=[writer])
            os.close(writer)
            self.assertEqual(ready.read(), b"\n")
        tool.stdin.write(b"x")
        tool.stdin.close()
        self.assertEqual(peer.result(), b"x")
        self.assertEqual(tool.wait(DEADLINE), 0)
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        reader, writer = os.pipe()
        with open(reader, "rb") as ready:
            tool = self.start_tool(port, "--ready-fd", str(writer), stdin=subprocess.DEVNULL, pass_fds=[writer],
                                   stderr=subprocess.DEVNULL)
            os.close(writer)
            self.assertEqual(ready.read(), b"", "it never was")
        self.assertEqual(tool.wait(DEADLINE), 4)
        for wrong in ("77", "1", "x", "-1", ""):
            self.assertEqual(self.run_tool(port, "--ready-fd", wrong).returncode, 2, wrong)

    def test_keep_alive_is_on(self):
        peer = Peer(lambda connection: connection.recv(1))
        tool = self.start_tool(peer.port, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        def timers():
            with open("/proc/net/tcp", encoding="ascii") as table:
                rows = [line.split() for line in table]
            return {row[5].split(":")[0] for row in rows if row[2].endswith(f":{int(peer.port):04X}") and row[3] == "01"}

        self.daemon.wait(lambda: "02" in timers())  # one for keep-alive runs
        tool.stdin.close()
        tool.wait(DEADLINE)


class Failures(ConnectCase):

    def check_failed(self, status, port, name, text, *more, host="127.0.0.1"):
        done = self.run_tool(port, *more, host=host)
        self.assertEqual((done.returncode, done.stdout), (status, b""))
        self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith(f"asockctl: {host} port {port}: ".encode()))
        self.assertIn(text, done.stderr.decode())
        done = self.run_tool(port, "--json", *more, host=host)
        self.assertEqual((done.returncode, done.stdout), (status, b""))
        told = json.loads(done.stderr)
        self.assertEqual((told["error"], told["local"], told["bytes_in"]), (name, None, 0))
        self.assertIn(text, told["message"])

    def free_port(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            return listener.getsockname()[1]

    def test_refused(self):
        port = self.free_port()
        self.check_failed(4, port, "ConnectionRefused", "connection refused")
        self.assertEqual(self.run_tool(port).stderr, f"asockctl: 127.0.0.1 port {port}: connection refused\n".encode())

    def test_no_descriptor_to_wait_with_is_a_message(self):
        """Raises the limit by one until the tool connects. (libtool's script needs more than the program itself.)"""
        libraries = os.path.join(asockctl.BUILDDIR, ".libs")
        program = os.path.join(libraries, "asockctl")
        said, listener = [], self.hold(socket.create_server(("127.0.0.1", 0)))
        for limit in range(4, 40):
            done = subprocess.run(
                [program if os.path.exists(program) else asockctl.TOOL, *self.args(listener.getsockname()[1])],
                env=asockctl.environment(LD_LIBRARY_PATH=libraries), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, timeout=DEADLINE, check=False,
                preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
            said.append((limit, done.returncode, done.stderr))
            if done.returncode == 1 and b"asockctl: Too many open files" in done.stderr:
                return
        self.fail(said)

    def test_unknown_service(self):
        done = self.run_tool("no-such-service")
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"no-such-service", done.stderr)

    def test_denied_by_policy(self):
        daemon = asockd.Daemon()
        self.addCleanup(daemon.stop)
        done = asockctl.run("connect", "127.0.0.1", "9", "--socket", daemon.path)
        self.assertEqual(done.returncode, 3)
        self.assertIn(b"denied", done.stderr)

    def test_timeout(self):
        # Loopback drops what does not fit into a listener's backlog.
        with socket.socket() as listener, contextlib.ExitStack() as stack:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for _ in range(8):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            self.check_failed(6, listener.getsockname()[1], "TimedOut", "timed out", "--timeout", "0.2")

    def test_reset_by_peer(self):
        def handler(connection):
            connection.sendall(b"hello")
            connection.recv(1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        peer = Peer(handler)
        tool = self.start_tool(peer.port, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
        self.assertEqual(tool.stdout.read(5), b"hello")
        tool.stdin.write(b"x")
        tool.stdin.flush()
        self.assertEqual(tool.stderr.read().count(b"connection reset by peer\n"), 1)
        self.assertEqual(tool.wait(DEADLINE), 1)
        peer.result()

    def test_daemon_gone(self):
        daemon = asockd.Daemon("--allow-any")
        self.addCleanup(daemon.stop)
        peer = Peer(lambda connection: (connection.sendall(b"hello"), connection.recv(1)))
        tool = self.start_tool(peer.port, path=daemon.path, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(tool.stdout.read(5), b"hello")
        daemon.stop()
        self.assertIn(b"connection ended by the daemon", tool.stderr.read())
        self.assertEqual(tool.wait(DEADLINE), 1)

    def test_escapes_reach_no_terminal(self):
        for host, status in (("a\x1b[31mb", 1), ("a\x1b[31m\u202eb", 2)):
            done = self.run_tool("9", host=host)
            self.assertEqual(done.returncode, status, host)
            self.assertNotIn(b"\x1b", done.stderr)
            self.assertNotIn("\u202e".encode(), done.stderr)

    def test_killed_tool_leaves_nothing(self):
        peer = Peer(lambda connection: (connection.sendall(b"hello"), connection.recv(1)))
        tool = self.start_tool(peer.port, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.assertEqual(tool.stdout.read(5), b"hello")
        tool.send_signal(signal.SIGTERM)
        self.assertEqual(tool.wait(DEADLINE), -signal.SIGTERM)
        self.assertEqual(peer.result()[1], b"")  # a clean end: all that was sent has arrived


class Json(ConnectCase):

    def test_result(self):
        peer = Peer(reverse_at_end)
        done = self.run_tool(peer.port, "--json", stdin=b"hello")
        self.assertEqual((done.returncode, done.stdout, peer.result()), (0, b"olleh", b"hello"))
        told = json.loads(done.stderr)
        self.assertRegex(told.pop("local"), r"^127\.0\.0\.1:\d+$")
        self.assertEqual(told, {
            "host": "127.0.0.1", "port": peer.port, "remote": f"127.0.0.1:{peer.port}",
            "bytes_in": 5, "bytes_out": 5, "error": None, "message": None,
        })

    def test_ipv6(self):
        try:
            listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        except OSError as error:
            self.skipTest(f"no IPv6: {error}")
        with listener:
            port = listener.getsockname()[1]
            tool = self.start_tool(port, "--json", host="::1", stdin=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
            listener.settimeout(DEADLINE)
            listener.accept()[0].close()
            _, text = tool.communicate(timeout=DEADLINE)
        self.assertEqual(json.loads(text)["remote"], f"[::1]:{port}")


class RealPeers(ConnectCase):
    """Any protocol over TCP works, with programs that know nothing of asockd."""

    def start_server(self, listening, *command, **options):
        """A server that says its port on standard error."""
        if not shutil.which(command[0]):
            self.skipTest(f"{command[0]} is not installed")
        server = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                  **{"stdout": subprocess.PIPE, **options})
        self.addCleanup(self.end_server, server)
        for line in server.stderr:
            if found := re.search(listening, line):
                return server, found[1].decode()
        raise AssertionError(f"{command[0]} has ended")

    @staticmethod
    def end_server(server):
        if server.poll() is None:
            server.kill()
        server.wait()
        server.stderr.close()
        server.stdout.close()

    def test_socat(self):
        """sha256sum answers at the end of its input: no half-close, no answer."""
        data = pattern(4 * MEGABYTE)
        _, port = self.start_server(rb"listening on .*:(\d+)$", "socat", "-d", "-d",
                                    "TCP-LISTEN:0,bind=127.0.0.1", "EXEC:sha256sum")
        done = self.run_tool(port, stdin=data)
        self.check_ok(done)
        self.assertEqual(done.stdout.split()[0].decode(), sha256(data)[0])

    def test_nc(self):
        data = pattern(4 * MEGABYTE)
        server, port = self.start_server(rb"Listening on \S+ (\d+)$", "nc", "-v", "-N", "-l",
                                         "127.0.0.1", "0")
        reader = threading.Thread(target=lambda: setattr(self, "got", server.stdout.read()))
        reader.start()
        done = self.run_tool(port, stdin=data)
        reader.join(DEADLINE)
        self.check_ok(done)
        self.assertEqual(sha256(self.got), sha256(data))

    def make_keys(self):
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
                            os.path.join(self.dir, name)], check=True, timeout=DEADLINE)
        shutil.copy(os.path.join(self.dir, "user.pub"), os.path.join(self.dir, "authorized"))

    def start_sshd(self):
        sshd = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if not sshd or not shutil.which("ssh"):
            self.skipTest("sshd or ssh is not installed")
        if os.geteuid() == 0:
            try:
                os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
            except OSError as error:
                self.skipTest(f"sshd wants /run/sshd: {error}")
        self.make_keys()
        path = os.path.join(self.dir, "sshd_config")
        with open(path, "w", encoding="ascii") as config:
            config.write(f"HostKey {self.dir}/host\nAuthorizedKeysFile {self.dir}/authorized\n"
                         "PidFile none\nStrictModes no\nUsePAM no\nListenAddress 127.0.0.1\n"
                         "PasswordAuthentication no\nKbdInteractiveAuthentication no\n")
        # -i: one connection, on a descriptor; so there is no port to race for.
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        listener.settimeout(DEADLINE)

        def serve():
            connection, _ = listener.accept()
            with connection, open(os.path.join(self.dir, "sshd.log"), "wb") as log:
                subprocess.run([sshd, "-i", "-e", "-f", path], stdin=connection, stdout=connection,
                               stderr=log, timeout=DEADLINE, check=False)

        self.server = threading.Thread(target=serve, daemon=True)
        self.server.start()
        return listener.getsockname()[1]

    def test_ssh_proxy_command(self):
        port = self.start_sshd()
        data = pattern(4 * MEGABYTE)
        done = subprocess.run(
            ["ssh", "-F", "none", "-i", os.path.join(self.dir, "user"), "-o", "BatchMode=yes",
             "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
             "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR", "-p", str(port), "-o",
             f"ProxyCommand={asockctl.TOOL} connect %h %p --socket {self.daemon.path}",
             f"{getpass.getuser()}@127.0.0.1", "cat; exit 7"],
            input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE,
            check=False, env=asockctl.environment())
        self.server.join(DEADLINE)
        with open(os.path.join(self.dir, "sshd.log"), encoding="utf-8", errors="replace") as log:
            text = log.read()
        self.assertEqual(done.returncode, 7, done.stderr.decode() + text)
        self.assertEqual(sha256(done.stdout), sha256(data))


if __name__ == "__main__":
    unittest.main()
