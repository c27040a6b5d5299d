# SPDX-License-Identifier: LGPL-2.1-or-later
"""What makes and what ends a session: HELLO, frames, and everything that is not one."""

import os
import random
import socket
import struct
import unittest

from asockd import DaemonTest
from wire import PREFIX, Wire, frame, pb, request


def varint(value):
    out = bytearray()
    while value > 0x7f:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def raw(head, payload=b""):
    return PREFIX.pack(len(head), len(payload)) + head + payload


def arm_of(verb):
    arm = pb.Verb.Name(verb).removeprefix("VERB_").lower()
    return "restriction" if arm == "restrict" else arm


class Hello(DaemonTest):

    def test_s49_welcome_states_every_limit(self):
        welcome = self.wire(hello=False).hello()
        self.assertEqual(welcome.version, 1)
        self.assertGreaterEqual(welcome.sockets, 16)
        self.assertGreaterEqual(welcome.ops, 64)
        self.assertGreaterEqual(welcome.socket_ops, 1)
        self.assertGreaterEqual(welcome.send_window, 1 << 20)
        self.assertGreaterEqual(welcome.queued_max, welcome.send_window)
        self.assertEqual(welcome.payload_max, 256 * 1024)
        self.assertEqual(welcome.head_max, 4096)

    def test_the_welcome_has_a_bit_for_each_verb_that_may_be_used(self):
        """On each listener, what the bits say is what the daemon does: no more, no less."""
        for path in (self.daemon.path, self.daemon.control_path):
            wire = self.hold(Wire(path))
            bits = wire.hello().verbs
            for n, verb in enumerate(pb.Verb.values(), 1):
                if verb in (pb.VERB_UNSPECIFIED, pb.VERB_HELLO):
                    self.assertFalse(bits >> verb & 1)
                    continue
                arm = arm_of(verb)
                # A flag that no verb has: what is known is refused before it does anything.
                request = pb.Request(verb=verb, op=n, flags=1 << 31)
                getattr(request, arm).SetInParent()
                wire.send(frame(request))
                reply = wire.completion(n)
                with self.subTest(path=path, verb=arm):
                    self.assertEqual(bits >> verb & 1, reply.error != pb.ERROR_OPERATION_NOT_SUPPORTED)

    def test_s49_grant_is_at_most_what_is_asked(self):
        default = self.wire().welcome
        wire = self.wire(hello=False)
        wire.hello(sockets=20, ops=100, send_window=1 << 20, queued_max=1 << 21)
        self.assertEqual(wire.welcome.sockets, 20)
        self.assertEqual(wire.welcome.ops, 100)
        self.assertEqual(wire.welcome.send_window, 1 << 20)
        self.assertEqual(wire.welcome.queued_max, 1 << 21)
        wire = self.wire(hello=False)
        wire.hello(sockets=2**32 - 1, ops=2**32 - 1, send_window=2**64 - 1, queued_max=2**64 - 1)
        self.assertLessEqual(wire.welcome.sockets, 65536)
        self.assertGreaterEqual(wire.welcome.sockets, default.sockets)

    def test_version_0_is_refused(self):
        wire = self.wire(hello=False)
        wire.send(wire.make_hello(version=0))
        reply, text = wire.ended()
        self.assertEqual(reply.error, pb.ERROR_VERSION_NOT_SUPPORTED)
        self.assertTrue(text.decode())

    def test_later_version_gets_ours(self):
        self.assertEqual(self.wire(hello=False).hello(version=2).version, 1)

    def test_hello_may_be_repeated(self):
        wire = self.wire(hello=False)
        wire.hello(sockets=17)
        wire.hello(sockets=18)
        self.assertEqual(wire.welcome.sockets, 18)
        wire.settle()

    def test_hello_with_what_it_does_not_have(self):
        """Refused as any other request, and nothing has changed."""
        wire = self.wire(hello=False)
        hello = pb.Hello(version=1)
        wire.send(request(pb.VERB_HELLO, 1, payload=b"x", hello=hello),
                  request(pb.VERB_HELLO, 2, flags=pb.REQUEST_FLAG_ERRORS_ONLY, hello=hello),
                  request(pb.VERB_HELLO, 3, flags=1 << 20, hello=hello))
        for op in (1, 2, 3):
            self.assertEqual(wire.completion(op).error, pb.ERROR_INVALID_ARGUMENT)
        wire.hello()
        wire.settle()

    def test_requests_right_behind_hello(self):
        wire = self.wire(hello=False)
        listener = self.listener()
        wire.send(wire.make_hello(), wire.open(1, 1), wire.connect(2, 1, listener.getsockname()),
                  wire.make_send(3, 1, b"early"), wire.receive(4, 1, 100))
        peer = self.accept(listener)
        self.assertEqual(self.read_all(peer, 5), b"early")
        peer.sendall(b"bird")
        self.assertEqual(wire.read()[0].kind, pb.KIND_WELCOME)
        self.assertEqual(wire.whole(4)[1], b"bird")
        self.assertEqual(wire.completion(3).error, pb.ERROR_SUCCESS)

    def test_request_before_hello_is_a_protocol_error(self):
        for number, early in enumerate((Wire.sync(1), Wire.open(1, 1), request(99, 1),
                                        request(pb.VERB_LIST, 1, list=pb.List()))):
            with self.subTest(number=number):
                wire = self.wire(hello=False)
                wire.send(early)
                self.assertEqual(wire.ended()[0].error, pb.ERROR_PROTOCOL_ERROR)

    def test_hello_name_that_is_no_text(self):
        for name in (b"a\nb", b"a\0b", b"\xff", b"x" * 65, b"\xc2\x80"):
            with self.subTest(name=name):
                wire = self.wire(hello=False)
                arm = b"\x08\x01\x12" + varint(len(name)) + name
                wire.send(raw(b"\x08\x01\x82\x01" + varint(len(arm)) + arm))
                self.assertEqual(wire.ended()[0].error, pb.ERROR_PROTOCOL_ERROR)


class BadFrames(DaemonTest):
    """Each ends its own session with one typed error, and no other session."""

    def setUp(self):
        super().setUp()
        self.other = self.wire()

    def tearDown(self):
        self.other.settle()  # it has noticed nothing
        super().tearDown()

    def refused(self, *frames):
        wire = self.wire()
        wire.send(*frames)
        reply, text = wire.ended()
        self.assertEqual(reply.error, pb.ERROR_PROTOCOL_ERROR)
        self.assertEqual(reply.kind, pb.KIND_EVENT)
        self.assertLessEqual(len(text), 512)
        self.assertTrue(text.decode().isprintable())

    def test_garbage(self):
        chance = random.Random(0x5eed)
        for _ in range(200):
            wire = self.wire()
            try:
                wire.send(chance.randbytes(chance.randrange(1, 4096)))
                wire.sock.shutdown(socket.SHUT_WR)
                wire.ended()
            except (OSError, EOFError):
                pass  # a frame that was not whole: ended by its end
            wire.close()

    def test_garbage_in_the_head(self):
        chance = random.Random(0x5eed)
        for _ in range(200):
            wire = self.wire()
            # A field 0 behind the noise: no noise makes it a Request.
            wire.send(raw(chance.randbytes(chance.randrange(1, 300)) + b"\x00"))
            self.assertEqual(wire.ended()[0].error, pb.ERROR_PROTOCOL_ERROR)
            wire.close()

    def test_zero_head(self):
        self.refused(PREFIX.pack(0, 0))

    def test_zero_head_with_payload(self):
        self.refused(PREFIX.pack(0, 5), b"hello")

    def test_oversized_head(self):
        self.refused(PREFIX.pack(4097, 0))

    def test_oversized_payload(self):
        self.refused(PREFIX.pack(8, 256 * 1024 + 1))

    def test_sizes_of_four_gigabytes(self):
        self.refused(PREFIX.pack(0xffffffff, 0xffffffff))

    def test_largest_head_is_taken(self):
        wire = self.wire()
        head = pb.Request(verb=pb.VERB_SYNC, op=7, sync=pb.Sync()).SerializeToString()
        filler = 4096 - len(head) - 4
        head += varint(1000 << 3 | 2) + varint(filler) + b"x" * filler
        self.assertEqual(len(head), 4096)
        wire.send(raw(head))
        self.assertEqual(wire.completion(7).error, pb.ERROR_SUCCESS)

    def test_truncated_frame_then_end(self):
        whole = Wire.sync(1)
        for length in range(1, len(whole)):
            wire = self.wire()
            wire.send(whole[:length])
            wire.sock.shutdown(socket.SHUT_WR)
            with self.assertRaises(EOFError):
                wire.read()
            wire.close()

    def test_frame_byte_by_byte(self):
        wire = self.wire()
        for byte in Wire.sync(1) + Wire.sync(2):
            wire.send(bytes([byte]))
        self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)

    def test_head_cut_short(self):
        head = pb.Request(verb=pb.VERB_OPEN, op=1, socket=1, open=pb.Open()).SerializeToString()
        for length in range(1, len(head)):
            self.refused(raw(head[:length]))

    def test_no_verb(self):
        self.refused(frame(pb.Request(op=1, sync=pb.Sync())))

    def test_no_token(self):
        self.refused(frame(pb.Request(verb=pb.VERB_SYNC, sync=pb.Sync())))

    def test_no_arm(self):
        self.refused(frame(pb.Request(verb=pb.VERB_SYNC, op=1)))

    def test_arm_of_another_verb(self):
        self.refused(frame(pb.Request(verb=pb.VERB_SYNC, op=1, close=pb.Close())))

    def test_unknown_verb(self):
        wire = self.wire()
        for number, verb in enumerate((30, 31, 99, 0x7fffffff), 1):
            wire.send(request(verb, number), request(verb, number + 100, 1, sync=pb.Sync()))
            for op in (number, number + 100):
                self.assertEqual(wire.completion(op).error, pb.ERROR_OPERATION_NOT_SUPPORTED)
        wire.settle()

    def test_unknown_fields(self):
        wire = self.wire()
        head = pb.Request(verb=pb.VERB_SYNC, op=1, sync=pb.Sync()).SerializeToString()
        head += b"".join(varint(field << 3) + b"\x01" for field in range(100, 150))
        head += varint(50000 << 3 | 2) + b"\x03abc" + varint(50001 << 3 | 5) + b"\0" * 4
        wire.send(raw(head))
        self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS)

    def test_flood_of_unknown_fields(self):
        arm = b"\x78\x01" * 2000
        self.refused(raw(b"\x08\x02\x10\x01\x18\x01\x42" + varint(len(arm)) + arm))

    def test_flood_of_unknown_fields_costs_no_memory(self):
        arm = b"\x78\x01" * 2000
        bad = raw(b"\x08\x02\x10\x01\x18\x01\x42" + varint(len(arm)) + arm)
        for _ in range(20):
            self.refused(bad)
        before = self.daemon.memory("VmRSS")
        for _ in range(300):
            wire = Wire(self.daemon.path)
            wire.send(wire.make_hello(), bad)
            wire.take(lambda r: r.event.code == pb.EVENT_SESSION_ENDED)
            wire.close()
        self.check_growth("VmRSS", before, 1 << 20)

    def test_last_word_to_a_client_that_writes(self):
        """It reads why its session has ended, instead of losing that to EPIPE."""
        errors = self.daemon.stats()["protocol_errors"]
        wire = self.wire()
        wire.send(bytes(8))
        while self.daemon.stats()["protocol_errors"] == errors:
            pass
        for _ in range(64):
            wire.send(bytes(1 << 16))
        self.assertEqual(wire.ended()[0].error, pb.ERROR_PROTOCOL_ERROR)

    def test_strings_that_are_none(self):
        """Of a CONNECT: an argument that is wrong, and the session lives on."""
        wire = self.wire()
        peer = self.pair(wire, 1)
        wire.send(wire.open(1, 2))
        wrong = [(2, b"good.example\0.evil.example"), (2, b"\xff"), (2, b"a" * 254), (2, b"a\x7f"), (2, b"\xc2\x80"),
                 (3, b"a\nb"), (3, b"a" * 33), (3, b"\xc0\x80")]
        for op, (field, text) in enumerate(wrong, 2):
            arm = bytes([field << 3 | 2]) + varint(len(text)) + text
            wire.send(raw(b"\x08\x03\x10" + varint(op) + b"\x18\x02\x4a" + varint(len(arm)) + arm))
            reply, why = wire.whole(op)
            self.assertEqual(reply.error, pb.ERROR_INVALID_ARGUMENT, text)
            self.assertTrue(why.decode(), text)
        wire.send(wire.make_send(50, 1, b"alive"))
        self.assertEqual(self.read_all(peer, 5), b"alive")

    def test_rules_that_are_no_text(self):
        wire = self.wire()
        for op, rules in enumerate((b"[Rules]\nAllow=tcp \xff 80\n", b"[Rules]\nAllow=tcp a\0b 80\n",
                                    b"[Rules]\nAllow=tcp " + b"a" * 300 + b" 80\n", b"\x01\x7f\xc2\x80"), 1):
            wire.send(request(pb.VERB_RESTRICT, op, payload=rules, restriction=pb.Restrict()))
            reply, why = wire.whole(op)
            self.assertEqual(reply.error, pb.ERROR_INVALID_ARGUMENT, rules)
            self.assertTrue(why.decode().startswith("line "), why)
        wire.settle()

    def test_live_token(self):
        wire = self.wire()
        self.pair(wire)
        wire.send(wire.receive(5, 1, 10), wire.receive(5, 1, 10))
        self.assertEqual(wire.ended()[0].error, pb.ERROR_PROTOCOL_ERROR)

    def test_s3_token_of_an_op_that_has_ended(self):
        wire = self.wire()
        for _ in range(3):
            wire.send(wire.sync(5))
            self.assertEqual(wire.completion(5).error, pb.ERROR_SUCCESS)
        wire.send(wire.sync(6), wire.sync(6))  # neither is live when the other comes
        self.assertEqual(wire.completion(6).error, pb.ERROR_SUCCESS)
        self.assertEqual(wire.completion(6).error, pb.ERROR_SUCCESS)

    def test_live_id_opened_again(self):
        wire = self.wire()
        wire.send(wire.open(1, 1), wire.open(2, 1))
        self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS)
        self.assertEqual(wire.ended()[0].error, pb.ERROR_PROTOCOL_ERROR)

    def test_live_id_opened_again_reaches_nobody(self):
        """What is pipelined behind such an OPEN must not reach the old peer."""
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.open(5, 1), wire.make_send(6, 1, b"for somebody else"))
        wire.ended()
        self.assertEqual(self.reset_by(peer), b"")

    def test_id_out_of_range(self):
        wire = self.wire()
        for op, number in enumerate((0, wire.welcome.sockets + 1, 65537, 0xffffffff), 1):
            wire.send(wire.open(op, number))
            self.assertEqual(wire.completion(op).error, pb.ERROR_TOO_MANY_OPEN_SOCKETS)
        wire.send(wire.open(9, wire.welcome.sockets))
        self.assertEqual(wire.completion(9).error, pb.ERROR_SUCCESS)

    def test_s44_op_on_unknown_socket(self):
        wire = self.wire()
        address = ("127.0.0.1", 1)
        for number in (0, 1, 16, wire.welcome.sockets, wire.welcome.sockets + 1, 0xffffffff):
            frames = (wire.connect(1, number, address), wire.make_send(2, number, b"x"),
                      wire.receive(3, number, 1), wire.shutdown(4, number, pb.HOW_SEND),
                      wire.make_close(5, number),
                      request(pb.VERB_GET_OPTION, 6, number,
                              get_option=pb.GetOption(option=pb.OPTION_NO_DELAY)))
            wire.send(*frames)
            for op in range(1, 7):
                self.assertEqual(wire.completion(op).error, pb.ERROR_NOT_SOCKET, (number, op))

    def test_chain_on_unknown_socket(self):
        wire = self.wire()
        wire.send(wire.make_send(1, 3, b"ab", more=True, total_len=6),
                  wire.make_send(1, 3, b"cd", more=True), wire.make_send(1, 3, b"ef"))
        self.assertEqual(wire.completion(1).error, pb.ERROR_NOT_SOCKET)
        wire.settle()
        self.assertEqual(sum(wire.freed.values()), 6)
        self.assertEqual(sum(wire.ops_freed.values()), 1)

    def test_unknown_flags(self):
        wire = self.wire()
        wire.send(wire.open(1, 1, flags=2), request(pb.VERB_SYNC, 2, flags=1, sync=pb.Sync()),
                  wire.open(3, 1, flags=0x80000001))
        for op in (1, 2, 3):
            self.assertEqual(wire.completion(op).error, pb.ERROR_INVALID_ARGUMENT)

    def test_payload_where_none_belongs(self):
        wire = self.wire()
        wire.send(request(pb.VERB_SYNC, 1, payload=b"what for", sync=pb.Sync()),
                  request(pb.VERB_OPEN, 2, 1, payload=b"?" * 100000, open=pb.Open()))
        self.assertEqual(wire.completion(1).error, pb.ERROR_INVALID_ARGUMENT)
        self.assertEqual(wire.completion(2).error, pb.ERROR_INVALID_ARGUMENT)
        wire.settle()


class Credentials(DaemonTest):

    def test_credentials_sent_along_are_ignored(self):
        wire = self.wire()
        credentials = struct.pack("3i", os.getpid(), os.getuid(), os.getgid())
        wire.sock.sendmsg([wire.sync(1)], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, credentials)])
        self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS)


class ManySessions(DaemonTest):

    def test_connect_and_leave(self):
        for _ in range(300):
            Wire(self.daemon.path).close()

    def test_s45_memory_returns(self):
        """Sessions that break the rules, over and over: what they held is given back."""
        def round_of(count):
            for _ in range(count):
                wire = Wire(self.daemon.path)
                wire.send(wire.make_hello(sockets=16, ops=16), *(wire.open(n, n) for n in range(1, 17)), b"\0" * 8)
                wire.take(lambda r: r.event.code == pb.EVENT_SESSION_ENDED)
                wire.close()
        round_of(100)
        self.daemon.settle(self.before)
        before = self.daemon.memory("VmRSS")
        round_of(500)
        self.daemon.settle(self.before)
        self.check_growth("VmRSS", before, 1 << 20)


if __name__ == "__main__":
    unittest.main()
