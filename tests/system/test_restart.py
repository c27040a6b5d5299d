# SPDX-License-Identifier: LGPL-2.1-or-later
"""systemctl restart: clients, connections and operations stay. Runs as root inside tests/system/box, by restart.test."""

import os
import re
import resource
import shutil
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../lib"), os.path.join(os.environ["ASOCK_TEST_BUILDDIR"], "python")]
import boxed
from boxed import CLIENT_SOCKET, LIVENESS, UnitsTest, await_true, configure, journal, must, prop, run, say_nothing
from bystanders import RESOLVER, Bystanders
from nameserver import NameServer
from talking import Talker
from wire import Wire, pb

# Restarts, clients with so many sockets each, and connections that only wait.
GIVEN = (os.environ.get("ASOCK_RESTARTS") or "").split()
RESTARTS, CLIENTS, SOCKETS, WAITING = map(int, GIVEN + ["4", "4", "8", "1000"][len(GIVEN):])
LEFT = r"handed over \d+ clients? to the next process|\d+ clients are passed on to the next process"  # this version; the one before


def setUpModule():
    boxed.setUpModule()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class RestartTest(UnitsTest):
    def setUp(self):
        super().setUp()
        configure(arguments="--allow-any")

    @staticmethod
    def configure_file(text):
        path = f"{boxed.CLIENT_DIR}/asockd.conf"
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        configure(arguments=f"--allow-any --config {path}")

    def wire(self, **fields):
        wire = Wire(CLIENT_SOCKET)
        self.addCleanup(wire.close)
        wire.hello(**{"sockets": 200, "ops": 2000, **fields})
        return wire

    def pair(self, wire, number=1):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            base = 1000 + 2 * number
            wire.send(wire.open(base, number), wire.connect(base + 1, number, listener.getsockname()))
            for op in (base, base + 1):
                self.assertEqual(wire.completion(op).error, pb.ERROR_SUCCESS)
            peer, _ = listener.accept()
        self.addCleanup(peer.close)
        peer.settimeout(LIVENESS)
        return peer

    def waiting(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.receive(5, 1, 100))
        wire.settle()
        return wire, peer

    def check_goes_on(self, wire, peer):
        peer.sendall(b"late")
        self.assertEqual(wire.whole(5)[1], b"late")
        wire.send(wire.receive(5, 1, 100))
        wire.settle()

    def restart(self):
        """When it began, when it was over."""
        began, pid = time.monotonic(), prop("asockd.service", "MainPID")
        must("systemctl", "restart", "asockd.service")
        self.assertNotEqual(prop("asockd.service", "MainPID"), pid)
        await_true("an empty store", lambda: prop("asockd.service", "NFileDescriptorStore") == "0")
        return began, time.monotonic()

    @staticmethod
    def descriptors():
        return len(os.listdir(f"/proc/{prop('asockd.service', 'MainPID')}/fd"))

    @staticmethod
    def pauses(times, window):
        """Of each client: the longest time from one completion to the next."""
        began, ended = window
        for heard in times:
            inside = [t for t in heard if began - 0.1 <= t <= ended + 0.2]
            yield 1000 * max((b - a for a, b in zip(inside, inside[1:])), default=0)

    @staticmethod
    def figures(pauses):
        pauses = sorted(pauses)
        return f"{pauses[len(pauses) // 2]:.0f} ms (median), {pauses[99 * len(pauses) // 100]:.0f} ms (p99)"

    def under_load(self, count, before_each=lambda number: None, after_each=lambda: None):
        """So many restarts while clients send and receive all the time, with every byte compared: what there is to tell."""
        talkers = [Talker(self, SOCKETS) for _ in range(CLIENTS)]
        for talker in talkers:
            talker.start()
        before, windows, held = self.count(LEFT), [], []
        for number in range(count):
            time.sleep(0.3)  # so that there is load between two of them
            before_each(number)
            windows.append(self.restart())
            after_each()
            held.append(self.descriptors())
        for talker in talkers:
            talker.is_over = True
        for talker in talkers:
            talker.join(4 * LIVENESS)
        self.assertEqual([talker.problem for talker in talkers], [None] * CLIENTS, self.texts()[-30:])
        self.assertEqual(self.count(LEFT) - before, count)
        await_true(f"as many descriptors as behind another restart: {held}", lambda: self.descriptors() <= min(held))
        self.assertEqual(prop("asockd.service", "NRestarts"), "0")
        pauses = [pause for window in windows for pause in self.pauses([talker.times for talker in talkers], window)]
        sent, got = (sum(sum(getattr(talker, name)) for talker in talkers) for name in ("sent", "got"))
        self.assertGreater(min(min(talker.sent[1:]) for talker in talkers), 0)
        return (f"{count} restarts, {sent} bytes up and {got} down over {CLIENTS * SOCKETS} connections; clients waited "
                f"{self.figures(pauses)}")

    @staticmethod
    def texts():
        return [row["MESSAGE"] for row in journal() if isinstance(row["MESSAGE"], str)]

    def count(self, pattern):
        return sum(bool(re.search(pattern, line)) for line in self.texts())


class Streams(RestartTest):
    def test_every_byte_through_restarts(self):
        """And operations of every kind that wait meanwhile, or since before the first restart: each ends once, as it should."""
        names = NameServer({}, port=0)
        self.addCleanup(names.close)
        self.configure_file(RESOLVER.format(names.port))
        bystanders = Bystanders(CLIENT_SOCKET, names)
        self.addCleanup(bystanders.close)
        print(self.under_load(RESTARTS, lambda number: bystanders.begin(), bystanders.finish), file=sys.stderr)
        bystanders.end()

    def test_many_connections_that_wait(self):
        """More than one message of descriptors; how long everything stood still is in the journal."""
        count = min(WAITING, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 1000)  # it has an end of each itself
        self.configure_file(f"[Limits]\nClients=400\nTotalMemory=64G\nTotalKernelBuffers=10000G\nTotalOps=1000000\nTotalSockets={4 * count + 4000}\n")  # of which a unit may have a quarter
        wires = [self.wire(sockets=125, ops=500, send_window=1 << 16, queued_max=1 << 17) for _ in range(-(-count // 125))]
        peers = [(wires[n // 125], 1 + n % 125, self.pair(wires[n // 125], 1 + n % 125)) for n in range(count)]
        for wire, number, _ in peers:
            wire.send(wire.receive(5000 + number, number, 10))
        for wire in wires:
            wire.settle()
        for _ in range(RESTARTS):
            self.restart()
        for _, number, peer in peers:
            peer.sendall(str(number).encode())
        for wire, number, _ in peers:
            self.assertEqual(wire.whole(5000 + number)[1], str(number).encode())
        lines = [text for text in self.texts() if "from the previous process within" in text][-RESTARTS:]
        self.assertEqual([line.partition(" from the previous process")[0] for line in lines],
                         [f"took over {len(wires)} clients, {count} sockets and {count} operations"] * RESTARTS)
        print(f"{count} connections stood still for {self.figures(int(line.split()[-2]) for line in lines)}", file=sys.stderr)

    def test_a_listener_of_a_client(self):
        wire = self.wire()
        wire.send(wire.open(5, 1), wire.bind(6, 1, ("127.0.0.1", 0)), wire.listen(7, 1), wire.accept(8, 1, 2, 2))
        address = "127.0.0.1", wire.completion(6).connected.local.port
        wire.settle()
        for number in (2, 3):
            self.restart()
            with socket.create_connection(address) as peer:
                reply, _ = wire.take(lambda reply: reply.op == 8)
                self.assertEqual(reply.connected.socket, number)
                wire.send(wire.make_send(50 + number, number, b"hello"))
                self.assertEqual(peer.recv(5, socket.MSG_WAITALL), b"hello")

    def test_a_sandbox_that_was_started_before(self):
        """Its mounts and its socket file are of before the restart: it connects behind it."""
        server, go = self.server(boxed.echo_once), "/run/asock-test-go"
        connect = f"/usr/bin/python3 {boxed.CLIENT_DIR}/client.py exchange 127.0.0.1 {server.port} hello"
        sandbox = boxed.Unit("exec", ["/bin/sh", "-c", f"until [ -e {go} ]; do sleep 0.05; done; exec {connect}"], boxed.SANDBOX)
        self.assertEqual(sandbox.status, 0, sandbox.started.stdout)
        self.waiting()  # the daemon runs
        self.restart()
        self.addCleanup(os.unlink, go)
        with open(go, "w", encoding="ascii"):
            pass
        await_true("its answer", lambda: "echo: hello" in sandbox.output)

    def test_operations_of_the_library(self):
        server = self.server(say_nothing)
        context = boxed.client.Context()
        ops, _ = self.pending_receives(context, server, sockets=4, receives=1)
        self.restart()
        for connection in server.accepted:
            connection.sendall(b"here")
        self.assertEqual([(op.wait(), op.data()) for op in ops], [("Success", b"here")] * 4)


class GoesWrong(RestartTest):
    def test_a_unit_without_a_store(self):
        configure("FileDescriptorStoreMax=0", arguments="--allow-any")
        wire, _ = self.waiting()
        must("systemctl", "restart", "asockd.service")
        self.assertEqual(wire.ended()[0].error, pb.ERROR_CONNECTION_ABORTED)
        self.assertIn("the service manager does not store them (FileDescriptorStoreMax= of the unit)",
                      "".join(self.texts()[-20:]))
        self.waiting()

    def test_a_new_binary_that_dies_at_its_start(self):
        """Until it is mended clients wait; it is started again each time."""
        wire, peer = self.waiting()
        configure("RestartSec=50ms", executable="/bin/false")
        self.assertNotEqual(run("systemctl", "restart", "asockd.service").returncode, 0)
        await_true("three attempts", lambda: int(prop("asockd.service", "NRestarts")) >= 3)
        configure("RestartSec=50ms", arguments="--allow-any")
        await_true("the right one", lambda: prop("asockd.service", "ActiveState") == "active")
        self.check_goes_on(wire, peer)

    def test_a_start_limit_loses_the_store(self):
        """Which is why the unit has none."""
        wire, peer = self.waiting()
        with open("/run/systemd/system/asockd.service.d/limit.conf", "w", encoding="utf-8") as file:
            file.write("[Unit]\nStartLimitIntervalSec=100\nStartLimitBurst=2\n")
        self.addCleanup(os.unlink, "/run/systemd/system/asockd.service.d/limit.conf")
        configure("RestartSec=50ms", executable="/bin/false")
        run("systemctl", "stop", "asockd.socket", "asockd-control.socket")  # which would start it
        run("systemctl", "restart", "asockd.service")
        await_true("failed", lambda: prop("asockd.service", "ActiveState") == "failed")
        self.check_lost(wire, peer)

    def check_lost(self, wire, peer):
        """What was cut does not look whole."""
        with self.assertRaises(EOFError):
            wire.read()
        with self.assertRaises(ConnectionResetError):
            peer.recv(1)

    def test_a_stop_that_takes_too_long(self):
        """It is killed then, which is a crash: nothing is left, and the next process serves new clients."""
        hooks = os.environ["ASOCK_HOOKS"]
        if not os.path.exists(hooks):
            self.skipTest("no asockd-hooks was built")
        shutil.copy(hooks, "/usr/local/sbin/asockd-hooks")
        configure("TimeoutStopSec=1", executable="/usr/local/sbin/asockd-hooks", arguments="--allow-any")
        wire, _ = self.waiting()
        must("systemctl", "kill", "--kill-whom=main", "--signal=SIGUSR2", "asockd.service")  # it hangs
        run("systemctl", "restart", "asockd.service")
        with self.assertRaises(EOFError):
            wire.read()
        self.assertIn("timed out. Killing.", "".join(self.texts()[-100:]))
        self.assertNotIn("from the previous process within", "".join(self.texts()[-5:]))
        self.waiting()

    def test_a_stop_while_no_process_starts(self):
        """It is a stop, whatever the store has."""
        wire, peer = self.waiting()
        configure("RestartSec=50ms", executable="/bin/false")
        run("systemctl", "restart", "asockd.service")
        run("systemctl", "stop", "asockd.socket", "asockd-control.socket", "asockd.service")
        self.check_lost(wire, peer)

    def test_a_stop_keeps_nothing(self):
        wire, _ = self.waiting()
        must("systemctl", "stop", "asockd.service")
        self.assertEqual(wire.ended()[0].error, pb.ERROR_CONNECTION_ABORTED)
        self.assertEqual(prop("asockd.service", "NFileDescriptorStore"), "0")
