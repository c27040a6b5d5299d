# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a client makes the daemon hold is charged to it: the daemon's memory stays within twice that and 8 MiB.

For each way to make it hold something, by one session or by many, whatever the limits let pass.
"""

import os
import socket
import unittest

import journal
from asockd import Daemon
from build import INSTRUMENTED
from hostile import Peers, push
from wire import LEAST, Wire, pb, request

MEBI = 1 << 20
PIECE = 256 * 1024
SLACK = 8 * MEBI


def usage(stats, name):
    pairs = dict(pair.split("=") for pair in stats["quota_daemon"].split())
    return int(pairs[name].split("/")[0])


class ChargedTest(unittest.TestCase):

    def prefix(self):
        return ()

    def setUp(self):
        self.nameserver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # which never answers
        self.addCleanup(self.nameserver.close)
        self.nameserver.bind(("127.0.0.1", 0))
        self.daemon = Daemon("--allow-any", "--log-level", "error", prefix=self.prefix(),
                             config="[Resolver]\nServers=127.0.0.1:%d\n" % self.nameserver.getsockname()[1])
        self.addCleanup(self.daemon.stop)
        self.peers = Peers()
        self.wires = []
        self.addCleanup(lambda: [wire.close() for wire in self.wires])
        self.at_rest = self.daemon.memory("VmRSS")

    def wire(self, **hello):
        wire = Wire(self.daemon.path)
        self.wires.append(wire)
        wire.hello(**hello)
        return wire

    def stuck(self, wire, count):
        """Sockets whose peers read nothing: the kernel takes no more of them, and something is queued for each."""
        for number in range(1, count + 1):
            option = pb.SetOption(option=pb.OPTION_SEND_BUFFER, value=pb.OptionValue(number=4096))
            wire.send(wire.open(1000 + number, number),
                      request(pb.VERB_SET_OPTION, 2000 + number, number, set_option=option),
                      wire.connect(3000 + number, number, self.peers.keeps))
            self.assertEqual(wire.completion(3000 + number).error, pb.ERROR_SUCCESS)
            before = self.queued(wire)
            while self.queued(wire) == before:
                wire.token += 1
                wire.send(wire.make_send(wire.token, number, bytes(65536)))

    def queued(self, wire):
        return wire.inspect(stats=pb.Stats())[0]["queued"]

    def check(self, least):
        """At least so many bytes are held, or this shows nothing."""
        self.daemon.control.settle()
        charged = usage(self.daemon.stats(), "memory")
        grown = self.daemon.memory("VmRSS") - self.at_rest
        print(f"# {self.id().rsplit('.', maxsplit=1)[-1]}: {charged} bytes are charged, {grown} are held", flush=True)
        self.assertGreater(charged, least)
        if not INSTRUMENTED:
            self.assertLess(grown, 2 * charged + SLACK)
        self.assertTrue(self.daemon.is_alive())


class Charged(ChargedTest):

    def test_whole_sends(self):
        wire = self.wire(sockets=20)
        self.stuck(wire, 20)
        for op in range(4):
            for number in range(1, 21):
                wire.send(wire.make_send(10000 + 100 * op + number, number, bytes(200000)))
        wire.settle()
        self.assertGreater(self.queued(wire), 14 * MEBI)
        self.check(14 * MEBI)

    def test_chains_of_bytes(self):
        wire = self.wire(sockets=8)
        count, total = 8, 200000
        self.stuck(wire, count)
        for number in range(1, count + 1):
            wire.send(wire.make_send(10000 + number, number, b"x", total_len=total, more=True))
            piece = wire.make_send(10000 + number, number, b"x", more=True)
            for _ in range(total // 2000 - 1):
                wire.send(piece * 2000)
        wire.settle()
        self.assertGreater(self.queued(wire), count * total // 2)
        self.check(count * total // 2)

    def test_sends_of_a_byte(self):
        wire = self.wire(sockets=15)
        self.stuck(wire, 15)
        for number in range(1, 16):
            wire.send(*(wire.make_send(100000 * number + op, number, b"x") for op in range(200)))
        wire.settle()
        self.check(15 * 200)

    def test_half_frames(self):
        whole = Wire.make_send(1, 1, bytes(PIECE))
        for _ in range(40):
            push(self.wire(**LEAST).sock, whole[:-1])
        self.check(40 * PIECE)

    def test_unread_replies(self):
        blob = b"".join(Wire.sync(op) for op in range(1, 200001))
        for _ in range(10):
            wire, view = self.wire(**LEAST), memoryview(blob)
            while (sent := push(wire.sock, view)) > 0:
                view = view[sent:]
                self.daemon.control.settle()
        self.check(10 * 64 * 1024)

    def test_rules(self):
        text = "[Rules]\n" + "".join(f"Allow=tcp host{n}.{'x' * 60}.example {n + 1}\n" for n in range(250))
        for _ in range(40):
            wire = self.wire(**LEAST)
            wire.send(request(pb.VERB_RESTRICT, 1, payload=text.encode(), restriction=pb.Restrict()))
            reply, why = wire.whole(1)
            self.assertEqual(reply.error, pb.ERROR_SUCCESS, why)
        self.check(40 * len(text))

    def test_restrictions_of_port_lists(self):
        """As many rules, with hardly any text."""
        self.restrict_by_list("*", 140, 240)  # a rule takes some 140 bytes

    def test_restrictions_of_port_lists_with_names(self):
        """Each of the rules contains the name."""
        self.restrict_by_list(".".join(["x" * 60] * 4), 140 + 240, 180)

    def restrict_by_list(self, name, size, count):
        ports = ",".join(str(port) for port in range(1, count + 1))
        text = f"[Rules]\nAllow=tcp {name} {ports}\n"
        wires = [self.wire(**LEAST) for _ in range(200)]
        self.daemon.control.settle()
        before = usage(self.daemon.stats(), "memory")
        for wire in wires:
            wire.send(request(pb.VERB_RESTRICT, 1, payload=text.encode(), restriction=pb.Restrict()))
            reply, why = wire.whole(1)
            self.assertEqual(reply.error, pb.ERROR_SUCCESS, why)
        self.assertGreater(usage(self.daemon.stats(), "memory") - before, 200 * count * size)
        self.check(200 * count * size)

    def test_names(self):
        for _ in range(8):
            wire = self.wire(**{**LEAST, "sockets": 200, "ops": 800})
            for number in range(1, 201):
                wire.send(wire.open(1000 + number, number),
                          request(pb.VERB_CONNECT, 2000 + number, number,
                                  connect=pb.Connect(host=f"{number}.example", service="80")))
            wire.settle()
        self.check(8 * 200 * 1000)

    def test_slices(self):
        wire = self.wire(sockets=15)
        buffer, memory = wire.register(4096)
        self.addCleanup(memory.close)
        self.stuck(wire, 15)
        for number in range(1, 16):
            for op in range(200):
                segments = [pb.Segment(buffer=buffer, offset=n, length=1) for n in range(60)]
                wire.send(wire.receive(100000 * number + op, number, segments=segments))
        wire.settle()
        self.check(15 * 200 * 60 * 32)


class ChargedAudit(ChargedTest):
    """Entries of the audit that the journal does not take."""

    def prefix(self):
        if os.getuid() != 0:
            self.skipTest("a journal for the daemon alone needs root")
        self.journal = journal.Journal()
        self.addCleanup(self.journal.close)
        return self.journal.prefix()

    def test_entries_that_nobody_takes(self):
        wire, count = self.wire(sockets=64), 64
        wire.send(*(wire.open(number, number) for number in range(1, count + 1)))
        for start in range(count + 1, 100 * count, count):
            wire.send(*(wire.connect(start + n, n + 1, self.peers.refuses) for n in range(count)))
            for n in range(count):
                self.assertEqual(wire.completion(start + n).error, pb.ERROR_CONNECTION_REFUSED)
        self.assertGreater(self.daemon.stats()["audit_dropped"], 0)
        wire.close()  # what is about it is still his
        self.check(MEBI)
        self.assertGreater(usage(self.daemon.stats(), "audit"), MEBI)


if __name__ == "__main__":
    unittest.main()
