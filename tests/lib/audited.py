# SPDX-License-Identifier: LGPL-2.1-or-later
"""For tests of the audit: daemons whose entries are read and checked against docs/AUDIT.md."""

import json
import os
import shutil
import socket
import tempfile
import time
import unittest

import asockd
from wire import DEADLINE, Wire, pb

MESSAGE_IDS = {"connect": "9fc9581989f641e29d307868a84e3ee9", "deny": "cf7894db884e434f9f251b35fa29c8ec",
               "resolve": "5b1a4d6e0c2f4b8fa3d97e61c4088b25", "close": "4cfea5dc56a5464c8c1922cf46b35735", "listen": "7c0f3b5e90a14d0c8b0f6d3d1f5a2e47",
               "accept": "e2d5b9a4c6f84e21a7391c05d8be6f13", "lost": "28992f61a3e44891a31f23f792ddd3bc"}

PRIORITIES = {"connect": 6, "listen": 6, "accept": 6, "resolve": 6, "deny": 5, "close": 6, "lost": 4}

# docs/AUDIT.md: what every entry of an event has, and what it may have.
COMMON = {"ASOCK_TIME_USEC": int, "MESSAGE": str, "PRIORITY": int, "MESSAGE_ID": str, "SYSLOG_IDENTIFIER": str,
          "ASOCK_EVENT": str}

SESSION = {"ASOCK_LISTENER": str, "ASOCK_UID": int, "ASOCK_GID": int, "ASOCK_SESSION": int, "ASOCK_PID": int}
CLIENT = {**SESSION, "ASOCK_SOCKET": int, "ASOCK_PORT": int}
WHO = {"ASOCK_SHARER": int, "ASOCK_UNIT": str, "ASOCK_USER_UNIT": str, "ASOCK_CGROUP": str, "ASOCK_CLIENT_NAME": str}
OPTIONAL = {**WHO, "ASOCK_HOST": str, "ASOCK_ADDRESS": str, "ASOCK_ERROR": str}

REPORT = {"ASOCK_LOOKUPS": str, "ASOCK_ATTEMPTS": str, "ASOCK_FURTHER_ATTEMPTS": int, "ASOCK_UNTRIED": int}

REQUIRED_OF = {
    "connect": {**COMMON, **CLIENT, "ASOCK_DURATION_MS": int},
    "resolve": {**COMMON, **SESSION, "ASOCK_HOST": str, "ASOCK_DURATION_MS": int},
    "listen": {**COMMON, **SESSION, "ASOCK_SOCKET": int, "ASOCK_LOCAL_ADDRESS": str, "ASOCK_LOCAL_PORT": int},
    "accept": {**COMMON, **CLIENT, "ASOCK_ADDRESS": str, "ASOCK_LOCAL_ADDRESS": str, "ASOCK_LOCAL_PORT": int, "ASOCK_RULE": str},
    "deny": {**COMMON, **SESSION, "ASOCK_ERROR": str},
    "close": {**COMMON, **CLIENT, "ASOCK_ADDRESS": str, "ASOCK_BYTES_IN": int, "ASOCK_BYTES_OUT": int,
              "ASOCK_DURATION_MS": int},
    "lost": {**COMMON, "ASOCK_COUNT": int},
}

OPTIONAL_OF = {
    "connect": {**OPTIONAL, "ASOCK_PROTOCOL": str, "ASOCK_LENT": str, "ASOCK_RULE": str, "ASOCK_LEARNED": int, **REPORT},
    "resolve": {**WHO, "ASOCK_ERROR": str, "ASOCK_RULE": str, "ASOCK_LEARNED": int, "ASOCK_LOOKUPS": str},
    "deny": {**OPTIONAL, "ASOCK_PROTOCOL": str, "ASOCK_SOCKET": int, "ASOCK_PORT": int, "ASOCK_LOCAL_ADDRESS": str, "ASOCK_LOCAL_PORT": int, "ASOCK_RULE": str, "ASOCK_REASON": str, "ASOCK_COUNT": int, **REPORT},
    "listen": {**WHO, "ASOCK_PROTOCOL": str},
    "accept": {**WHO},
    "close": {**OPTIONAL, "ASOCK_PROTOCOL": str, "ASOCK_REASON": str},
    "lost": {},
}


def read_entries(path):
    """Those of an audit's file. The last line may still be on its way: it is left out until it is whole."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]


def numbers(fields):
    """An entry of the journal as a file has it: numbers are numbers."""
    kinds = {**REQUIRED_OF[fields["ASOCK_EVENT"]], **OPTIONAL_OF[fields["ASOCK_EVENT"]]}
    return {name: int(value) if kinds.get(name) is int else value for name, value in fields.items()}


class Audited(unittest.TestCase):
    """A daemon whose entries are read by entry(), in the documented way only."""
    arguments = ("--allow-any",)

    def start(self, *arguments, prefix=()):
        self.daemon = asockd.Daemon(*arguments, prefix=prefix)
        self.addCleanup(self.daemon.stop, check=False)

    def configure(self, *lines):
        """Writes the daemon's configuration file into a directory that it may read."""
        directory = tempfile.mkdtemp(prefix="asockd-audit-")
        os.chmod(directory, 0o777)
        self.addCleanup(shutil.rmtree, directory)
        path = os.path.join(directory, "asockd.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        return directory, path

    def wire(self, name=""):
        wire = Wire(self.daemon.path)
        self.addCleanup(wire.close)
        wire.hello(name=name)
        return wire

    def listener(self):
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(DEADLINE)
        self.addCleanup(listener.close)
        return listener

    def pair(self, wire, number=1):
        """A connected socket, its peer."""
        listener = self.listener()
        wire.send(wire.open(number * 10, number), wire.connect(number * 10 + 1, number, listener.getsockname()))
        self.assertEqual(wire.completion(number * 10 + 1).error, pb.ERROR_SUCCESS)
        peer, _ = listener.accept()
        self.addCleanup(peer.close)
        return peer

    def check_schema(self, entry):
        event = entry["ASOCK_EVENT"]
        required, optional = REQUIRED_OF[event], OPTIONAL_OF[event]
        if event == "deny" and "ASOCK_COUNT" in entry:
            required = {name: kind for name, kind in required.items()
                        if name not in ("ASOCK_SESSION", "ASOCK_SOCKET", "ASOCK_PID")}
        self.assertEqual(set(required) - set(entry), set(), entry)
        self.assertEqual(set(entry) - set(required) - set(optional), set(), entry)
        for name, value in entry.items():
            self.assertIs(type(value), {**required, **optional}[name], name)
        self.assertEqual(entry["MESSAGE_ID"], MESSAGE_IDS[event])
        self.assertEqual(entry["PRIORITY"], PRIORITIES[event])
        self.assertEqual(entry["SYSLOG_IDENTIFIER"], "asockd")
        self.assertNotEqual(entry["MESSAGE"], "")
        if event == "deny" and entry.get("ASOCK_RULE"):
            self.assertTrue(entry["MESSAGE"].endswith(f" ({entry['ASOCK_RULE']})"), entry["MESSAGE"])
        self.assertLess(abs(entry["ASOCK_TIME_USEC"] / 1e6 - time.time()), 10 * DEADLINE)

    def expect(self, event, **fields):
        """The next entry."""
        entry = self.entry()
        self.check_schema(entry)
        self.assertEqual(entry["ASOCK_EVENT"], event, entry)
        for name, value in fields.items():
            self.assertEqual(entry.get("ASOCK_" + name.upper()), value, (name, entry))
        return entry

    def expect_nothing_more(self):
        """Fails if the daemon, which has ended, wrote another entry."""
        self.daemon.stop()
        self.assertEqual(self.rest(), [])
