# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/PROTOCOL.md against the schema and against a daemon."""

import os
import re
import struct
import unittest

from asockd import DaemonTest
from google.protobuf import text_format
from wire import Wire, pb

TOP = os.environ.get("ASOCK_TEST_SRCDIR", ".")
HEX = re.compile(r"    ([0-9a-f]{2} )*[0-9a-f]{2}")


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as file:
        return file.read()


def frames_of(block, message):
    """(message, payload, frame) of each frame that a block shows."""
    for part in block.strip().split("\n\n"):
        lines = part.split("\n")
        frame = bytes.fromhex("".join(line for line in lines if HEX.fullmatch(line)))
        payload = "".join(line.removeprefix("payload: ") for line in lines
                          if line.startswith("payload: "))
        text = [line for line in lines
                if not HEX.fullmatch(line) and not line.startswith("payload: ")]
        yield text_format.Parse("\n".join(text), message()), payload.encode(), frame


def example():
    blocks = re.findall(r"```frames\n(.*?)```", read("docs/PROTOCOL.md"), re.S)
    return [list(frames_of(block, pb.Reply if index % 2 else pb.Request))
            for index, block in enumerate(blocks)]


class Example(DaemonTest):

    def test_bytes_are_the_texts(self):
        blocks = example()
        self.assertEqual([len(block) for block in blocks], [5, 5, 1, 1])
        for message, payload, frame in (parts for block in blocks for parts in block):
            head = message.SerializeToString(deterministic=True)
            self.assertEqual(frame, struct.pack("<II", len(head), len(payload)) + head + payload)

    def test_daemon_holds_the_exchange(self):
        first, answers, second, last = example()
        listener = self.listener()
        wire = self.hold(Wire(self.daemon.path))
        for message, payload, frame in first:
            if message.verb == pb.VERB_CONNECT:  # the one thing that has to differ
                message.connect.endpoint.port = listener.getsockname()[1]
                head = message.SerializeToString()
                frame = struct.pack("<II", len(head), len(payload)) + head + payload
            wire.send(frame)
        peer = self.accept(listener)
        peer.sendall(self.read_all(peer, 4))
        got = {reply.op: (reply, data) for reply, data in (wire.read() for _ in answers)}
        for expected, payload, _ in answers:
            self.alike(got[expected.op], expected, payload)
        wire.send(*(frame for _, _, frame in second))
        self.alike(wire.read(), last[0][0], last[0][1])

    def alike(self, got, expected, payload):
        reply, data = got
        self.assertEqual(data, payload)
        self.assertEqual(reply.WhichOneof("body"), expected.WhichOneof("body"))
        for name in ("kind", "op", "socket", "error", "bytes", "flags", "send_freed", "ops_freed"):
            self.assertEqual(getattr(reply, name), getattr(expected, name), (name, reply))


class Words(unittest.TestCase):

    def test_every_name_exists(self):
        """What the guide calls ERROR_, VERB_, ... is in the schema."""
        text = read("docs/PROTOCOL.md")
        schema = read("proto/asock.proto")
        for name in set(re.findall(r"\b(?:ERROR|VERB|KIND|EVENT|OPTION|REPLY_FLAG|REQUEST_FLAG|"
                                   r"RECEIVE_FLAG|HOW|FAMILY)_[A-Z_]+\b", text)):
            self.assertRegex(schema, rf"\b{name} = ", name)

    def test_every_verb_is_explained(self):
        text = read("docs/PROTOCOL.md")
        for name in pb.Verb.keys()[1:]:
            self.assertIn(name.removeprefix("VERB_"), text)

    def test_every_field_has_a_comment(self):
        """The arms stand under one; every other field has its own."""
        arms = {field.name for field in pb.Request.DESCRIPTOR.oneofs[0].fields}
        fields = re.findall(r"^ +(?:repeated )?\w+ (\w+) = \d+;(.*)$", read("proto/asock.proto"), re.M)
        self.assertGreater(len(fields), 60)
        for name, rest in fields:
            self.assertTrue("//" in rest or name in arms, name)


if __name__ == "__main__":
    unittest.main()
