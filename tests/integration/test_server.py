# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon as a program: arguments, listeners, limits, signals, its log."""

import os
import re
import resource
import select
import signal
import socket
import stat
import subprocess
import sys
import time
import unittest

from build import BUILD_OPTIONS
from server_program import (
    DEADLINE, HAVE_SYSTEMD, NOBODY, PREFIX, ServerTest, descriptor_limits, may_connect,
    session_end, set_descriptor_limit, wait_for
)
from wire import pb

from asock.client import AsockError


class Program(ServerTest):
    def test_help_and_version(self):
        status, out, err = self.run_to_end(command=[self.binary, "--help"])
        self.assertEqual((status, err), (0, ""))
        self.assertIn("--runtime-dir", out)
        status, out, err = self.run_to_end(command=[self.binary, "--version"])
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, r"^asockd \d+\.\d+\.\d+\n$")

    def test_misuse_is_2(self):
        for argument in ("--nonsense", "word", "--log-level=loud", "--runtime-dir="):
            status, out, err = self.run_to_end(argument)
            self.assertEqual((status, out), (2, ""), argument)
            self.assertIn("Try 'asockd --help'.", err)

    def test_bad_configuration_names_file_and_line(self):
        path = self.write("[Limits]\nSockets=many\n")
        status, _, err = self.run_to_end("--config", path)
        self.assertEqual((status, err), (1, f"asockd: {path}:2: Sockets=many is not a number\n"))
        status, _, err = self.run_to_end("--config", path + "x")
        self.assertEqual((status, err), (1, f"asockd: {path}x: No such file or directory\n"))

    def test_directory_of_files(self):
        """The file of the directory need not exist; --config goes before."""
        path = os.path.join(self.base, "asockd.conf")
        command = [self.binary, *BUILD_OPTIONS, "--runtime-dir", self.dir, "--config-dir", self.base]
        with open(path, "w", encoding="utf-8") as file:
            file.write("[Limits]\nSockets=many\n")
        status, _, err = self.run_to_end(command=command)
        self.assertEqual((status, err), (1, f"asockd: {path}:2: Sockets=many is not a number\n"))
        long = self.run_to_end("--config-dir", "x" * 4096)
        self.assertEqual(long[::2], (2, "asockd: --config-dir: the path is too long\nTry 'asockd --help'.\n"))
        self.end(self.start("--config", "/dev/null", command=command))
        os.unlink(path)
        self.start(command=command)
        self.client().sync().result(DEADLINE)

    def test_bad_name_servers(self):
        path = self.write("[Resolver]\nServers=nowhere in particular\n")
        status, _, err = self.run_to_end("--config", path)
        self.assertEqual((status, err), (
            1, f"asockd: {path}:2: Servers=nowhere in particular: not a list of address[:port] separated by commas\n"))

    def test_configured_limits_are_the_welcomes(self):
        path = self.write("[Limits]\nSockets=100\nOps=1000\nSocketOps=20\n"
                          "SendWindow=2M\nQueued=4M\n")
        self.start("--config", path)
        client = self.client()
        client.sync().result(DEADLINE)
        limits = client.limits
        self.assertEqual((limits.most_sockets, limits.most_ops, limits.most_socket_ops), (100, 1000, 20))
        self.assertEqual((limits.most_send_window, limits.most_queued), (2 << 20, 4 << 20))

    def test_without_allow_any_everything_is_denied(self):
        self.start()
        listener = self.listener()
        sock = self.client().socket()
        with self.assertRaises(AsockError) as raised:
            sock.connect(*listener.getsockname()).result(DEADLINE)
        self.assertEqual(raised.exception.number, pb.ERROR_ACCESS_DENIED)
        listener.setblocking(False)
        with self.assertRaises(BlockingIOError):
            listener.accept()


class Listeners(ServerTest):
    def test_modes_and_removal(self):
        daemon = self.start()
        for path, mode in ((self.client_path, 0o666), (self.control_path, 0o600)):
            found = os.stat(path)
            self.assertTrue(stat.S_ISSOCK(found.st_mode))
            self.assertEqual(stat.S_IMODE(found.st_mode), mode, path)
        self.assertEqual(self.end(daemon)[0], 0)
        self.assertFalse(os.path.exists(self.client_path))
        self.assertFalse(os.path.exists(self.control_path))

    def test_second_daemon_leaves_the_first_alone(self):
        self.start("--allow-any")
        client = self.client()
        client.sync().result(DEADLINE)
        before = os.stat(self.client_path).st_ino, os.stat(self.control_path).st_ino
        status, _, err = self.run_to_end()
        self.assertEqual((status, err),
                         (1, f"asockd: {self.dir}: another asockd is running in this directory\n"))
        self.assertEqual(before,
                         (os.stat(self.client_path).st_ino, os.stat(self.control_path).st_ino))
        client.sync().result(DEADLINE)
        self.client().sync().result(DEADLINE)

    def test_stale_socket_is_replaced(self):
        daemon = self.start()
        daemon.kill()
        daemon.wait()
        self.assertTrue(os.path.exists(self.client_path))
        self.start()
        self.client().sync().result(DEADLINE)

    def occupy(self, path):
        os.mkdir(os.path.dirname(path), 0o755)
        self.give(os.path.dirname(path))
        return path

    def test_the_service_manager_at_the_path(self):
        """It is process 1: here that of a namespace of its own, which listens and then starts asockd."""
        init = ("import os, socket, subprocess, sys\n"
                "with socket.socket(socket.AF_UNIX) as listener:\n"
                "    listener.bind(sys.argv[1])\n"
                "    listener.listen()\n"
                "    sys.exit(subprocess.run(sys.argv[2:]).returncode)\n")
        own = [] if os.getuid() == 0 else ["--user", "--map-current-user"]
        namespace = ["unshare", *own, "--pid", "--fork", "--kill-child"]
        if subprocess.run([*namespace, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            self.skipTest("no process namespaces")
        self.occupy(self.client_path)
        as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.getuid() == 0 else []
        done = subprocess.run([*namespace, *as_nobody, sys.executable, "-c", init, self.client_path, self.binary, *BUILD_OPTIONS,
                               "--runtime-dir", self.dir, "--config", "/dev/null", "--policy", "/dev/null"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=DEADLINE)
        self.assertEqual((done.returncode, done.stderr.decode()), (
            1, f"asockd: {self.client_path}: the service manager is listening here, for a daemon that it starts; use that one, stop "
               "it (systemctl stop asockd.socket asockd-control.socket), or choose another directory (--runtime-dir)\n"))

    def test_another_program_at_the_path(self):
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(self.occupy(self.client_path))
            os.chmod(self.client_path, 0o666)
            other.listen()
            status, _, err = self.run_to_end()
            self.assertEqual((status, err), (
                1, f"asockd: {self.client_path}: another program is listening here; stop it, or choose another directory "
                   "(--runtime-dir)\n"))
            self.assertTrue(may_connect(self.client_path))

    def test_a_file_at_the_path(self):
        with open(self.occupy(self.client_path), "w", encoding="utf-8") as file:
            file.write("precious")
        status, _, err = self.run_to_end()
        self.assertEqual((status, err),
                         (1, f"asockd: {self.client_path}: exists and is not a socket\n"))
        with open(self.client_path, encoding="utf-8") as file:
            self.assertEqual(file.read(), "precious")

    def test_no_place_for_the_sockets(self):
        for path, text in ((f"{self.base}/no/such", "No such file or directory"),
                           (f"{self.base}/{'x' * 120}", "File name too long"),
                           (f"{self.base}/{'x' * 90}", "File name too long"),
                           (self.binary, "Not a directory")):
            status, _, err = self.run_to_end(command=[self.binary, "--runtime-dir", path])
            self.assertEqual(status, 1, path)
            self.assertIn(text, err)


class Limits(ServerTest):
    def test_the_hard_descriptor_limit_is_taken(self):
        daemon = self.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE,
                                                                  (256, 1000)))
        self.assertEqual(descriptor_limits(daemon), ("1000", "1000"))

    def test_too_few_descriptors(self):
        status, _, err = self.run_to_end(
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
        self.assertEqual(status, 1)
        self.assertRegex(err, r"^asockd: RLIMIT_NOFILE is 64, but at least \d+ descriptors are needed \(raise LimitNOFILE= or ulimit -n\)\n$")
        needed = int(re.search(r"least (\d+) descriptors", err).group(1))
        self.start("--allow-any", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (needed, needed)))

    def test_hardly_any_descriptors_are_a_message(self):
        """At none of the lowest limits a signal ends it, as libev's abort() would."""
        said = {}
        for limit in range(4, 24):
            said[limit] = self.run_to_end(
                preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
        self.assertEqual([one for one in said.items() if one[1][0] not in (1, 127) or "libev" in one[1][2]], [])
        self.assertIn("asockd: no descriptor is left for the event loop: raise RLIMIT_NOFILE (LimitNOFILE=, ulimit -n)\n",
                      "".join(err for _, _, err in said.values()))

    def test_a_small_machine_is_enough_for_a_client(self):
        """What 1024 descriptors leave of the default: granted as it is asked for, and kept."""
        self.start("--allow-any", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)))
        listener = self.listener()
        client = self.client()
        count = 0
        with self.assertRaises(AsockError) as caught:
            for count in range(1024):
                client.socket().connect(*listener.getsockname()).result(DEADLINE)
        self.assertGreaterEqual(count, 24)
        self.assertLess(count, 1023)
        self.assertEqual(caught.exception.number, pb.ERROR_TOO_MANY_OPEN_SOCKETS)
        other = self.client()
        other.socket().connect(*listener.getsockname()).result(DEADLINE)

    def test_few_descriptors_are_shared(self):
        """Sockets run out with an error on the op; clients still get in."""
        self.start("--allow-any", preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_NOFILE, (128, 128)))
        listener = self.listener()
        client = self.client()
        failed = None
        for _ in range(128):
            try:
                client.socket().connect(*listener.getsockname()).result(DEADLINE)
            except AsockError as error:
                failed = error
                break
        self.assertIsNotNone(failed)
        self.assertEqual(failed.number, pb.ERROR_TOO_MANY_OPEN_SOCKETS)
        self.client().sync().result(DEADLINE)
        self.control().sync().result(DEADLINE)

    def test_clients_are_limited_and_control_gets_in(self):
        self.start("--config", self.write("[Limits]\nClients=4\n"))
        clients = [self.client()]
        with self.assertRaises(AsockError):
            while clients[-1].sync().result(DEADLINE) or len(clients) < 4:
                clients.append(self.client())
        self.assertIn(len(clients) - 1, (1, 2))  # a user has half of them, a unit half of that
        clients.pop()
        error, text = session_end(self.connect())
        self.assertEqual(error, pb.ERROR_NO_BUFFER_SPACE)
        self.assertIn("client limit", text)
        controls = [self.control() for _ in range(8)]
        for control in controls:
            control.sync().result(DEADLINE)
        self.assertEqual(session_end(self.connect(self.control_path))[0],
                         pb.ERROR_NO_BUFFER_SPACE)
        clients.pop().disconnect()
        wait_for("room", lambda: len([s for s in [self.try_sync()] if s]))

    def try_sync(self):
        client = self.client()
        try:
            client.sync().result(DEADLINE)
        except AsockError:
            return False
        return True

    def test_inherited_descriptors_are_closed(self):
        """What the starter has open is no business of a daemon, and standard input is nothing."""
        reader, writer = os.pipe()
        stdin, held = os.pipe()
        os.dup2(writer, 200)
        self.start(pass_fds=[writer, 200], stdin=stdin)
        os.close(writer)
        os.close(200)
        os.close(stdin)
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, held)
        self.assertTrue(select.select([reader], [], [], DEADLINE)[0])
        self.assertEqual(os.read(reader, 1), b"")
        with self.assertRaises(BrokenPipeError):
            os.write(held, b"x")

    def test_standard_streams_may_be_closed(self):
        """What the daemon opens must not be taken for its log."""
        self.start(preexec_fn=lambda: os.closerange(0, 3))
        client = self.client()
        client.sync().result(DEADLINE)

    def test_out_of_descriptors_turns_clients_away(self):
        """EMFILE on accept: neither a spinning loop, nor a client that waits without end."""
        daemon = self.start()
        control = self.control()
        control.sync().result(DEADLINE)
        limit = descriptor_limits(daemon)[0]
        before = control.inspect(stats=pb.Stats())[0]
        if os.getuid() != 0:
            self.skipTest("only root may count the descriptors of the daemon")
        most = max(int(fd) for fd in os.listdir(f"/proc/{daemon.pid}/fd"))
        set_descriptor_limit(daemon, most + 1)
        while self.try_sync():  # numbers below the limit may be free
            pass
        for _ in range(50):
            error, text = session_end(self.connect())
            self.assertEqual((error, text),
                             (pb.ERROR_NO_BUFFER_SPACE, "the daemon is out of descriptors"))
        second = self.control()  # still gets in
        second.sync().result(DEADLINE)
        after = control.inspect(stats=pb.Stats())[0]
        self.assertGreaterEqual(after["accept_stalls"] - before["accept_stalls"], 50)
        set_descriptor_limit(daemon, limit)
        wait_for("a client", self.try_sync)
        status, _, err = self.end(daemon)
        self.assertEqual(status, 0)
        self.assertEqual(err.count("no descriptor is free"), 1, err)

    def test_not_even_the_spare_descriptor(self):
        """The listener rests, while a client waits in its backlog."""
        daemon = self.start()
        control = self.control()
        control.sync().result(DEADLINE)
        limit = descriptor_limits(daemon)[0]
        set_descriptor_limit(daemon, 0)
        before = control.inspect(stats=pb.Stats())[0]
        since = time.monotonic()
        for _ in range(4):
            self.connect()

        def stalls():
            return control.inspect(stats=pb.Stats())[0]["accept_stalls"] - before["accept_stalls"]
        wait_for("stalls", lambda: stalls() >= 4)
        # A loop that spins would stall ten thousands of times a second.
        self.assertLess(stalls(), 4 + 40 * (time.monotonic() - since))
        set_descriptor_limit(daemon, limit)
        wait_for("a client", self.try_sync)


class Signals(ServerTest):
    def test_stop_tells_every_session(self):
        for sig in (signal.SIGTERM, signal.SIGINT):
            daemon = self.start("--allow-any")
            client = self.client()
            sock, peer = self.pair(client)
            receives = [sock.receive() for _ in range(3)]
            client.sync().result(DEADLINE)
            idle = self.connect()
            peer.close()  # sends FIN: the receives end as they should
            self.assertEqual([op.result(DEADLINE) for op in receives], [b""] * 3)
            sock2, peer2 = self.pair(client)
            op = sock2.receive()
            client.sync().result(DEADLINE)
            daemon.send_signal(sig)
            with self.assertRaises(AsockError) as raised:
                op.result(DEADLINE)
            self.assertEqual(raised.exception.number, pb.ERROR_CONNECTION_ABORTED)
            self.assertEqual(session_end(idle), (pb.ERROR_CONNECTION_ABORTED, "the daemon is stopping"))
            peer2.close()
            self.assertEqual(self.end(daemon)[0], 0)

    def test_stop_with_a_peer_that_never_closes(self):
        """What drains is reset when the stop's patience ends: neither is waited for."""
        daemon = self.start("--allow-any")
        client = self.client()
        pairs = [self.pair(client, small=True) for _ in range(4)]
        self.send_window(pairs[0][0])
        pairs[1][0].send(b"all of it").result(DEADLINE)
        self.send_window(pairs[2][0])
        pairs[2][0].close(linger_ms=600000)
        client.sync().result(DEADLINE)
        status, _, _ = self.end(daemon)
        self.assertEqual(status, 0)
        self.assertEqual(pairs[1][1].recv(100), b"all of it")
        for _, peer in (pairs[0], pairs[2]):
            with self.assertRaises(ConnectionResetError):
                while peer.recv(1 << 20):
                    pass

    def test_second_signal_hurries(self):
        daemon = self.start("--allow-any")
        client = self.client()
        _, peer = self.pair(client)
        daemon.send_signal(signal.SIGTERM)
        daemon.send_signal(signal.SIGINT)
        self.assertEqual(self.end(daemon)[0], 0)
        peer.close()

    def test_hang_up_and_pipe_do_not_kill(self):
        daemon = self.start()
        client = self.client()
        daemon.send_signal(signal.SIGHUP)
        daemon.send_signal(signal.SIGPIPE)
        client.sync().result(DEADLINE)
        with open(f"/proc/{daemon.pid}/status", encoding="ascii") as file:
            ignored = int(re.search(r"SigIgn:\s*(\w+)", file.read()).group(1), 16)
        self.assertTrue(ignored >> (signal.SIGPIPE - 1) & 1)
        self.assertIn("reloaded", self.end(daemon)[2])


@unittest.skipUnless(HAVE_SYSTEMD, "built without systemd")
class Log(ServerTest):
    """Standard error that takes nothing, and clients who would fill it."""

    def misbehave(self, count):
        for _ in range(count):
            with socket.socket(socket.AF_UNIX) as wire:
                wire.connect(self.client_path)
                wire.sendall(PREFIX.pack(0xffffffff, 0))
                session_end(wire)

    def test_full_pipe_stops_nobody(self):
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        daemon = self.start(stderr=writing)
        self.assertTrue(os.get_blocking(writing), "the pipe is others' too")
        os.set_blocking(writing, False)
        try:
            while True:
                os.write(writing, b"x" * 4096)
        except BlockingIOError:
            pass
        os.set_blocking(writing, True)
        self.misbehave(3)
        for signal_number in (signal.SIGHUP,) * 20:
            daemon.send_signal(signal_number)
        self.misbehave(3)
        self.assertGreater(self.client(self.control_path).inspect(stats=pb.Stats())[0]["log_lost"], 0)
        os.close(writing)
        daemon.terminate()
        self.assertEqual(daemon.wait(DEADLINE), 0)
        daemon.stdout.close()

    def test_misbehaving_clients_are_told_once(self):
        daemon = self.start()
        self.misbehave(200)
        ended = [line for line in self.end(daemon)[2].splitlines() if "ended" in line]
        self.assertEqual(len(ended), 2, ended)
        self.assertIn("199 more sessions", ended[1])


if __name__ == "__main__":
    unittest.main()
