# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may listen where: Listen= and Reserve= of the policy (S61)."""

import os
import shutil
import socket
import tempfile
import unittest

from asockd import Daemon
from wire import Wire, pb, request

NONE = "no rule lets this client listen there"
RESERVED = "this port is reserved for another client"
OTHERS = "[Match]\nUser=4294967290\n"  # nobody's: the file is about somebody else


class ListenPolicy(unittest.TestCase):

    def setUp(self):
        self.op = 0

    def write(self, text):
        handle, path = tempfile.mkstemp(suffix=".policy", prefix="asockd-test-")
        self.addCleanup(os.unlink, path)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o644)
        return path

    def start(self, *texts):
        self.paths = [self.write(text) for text in texts]
        self.daemon = Daemon(*[argument for path in self.paths for argument in ("--policy", path)])
        self.addCleanup(self.daemon.stop)
        self.client = Wire(self.daemon.path)
        self.addCleanup(self.client.close)
        self.client.hello()

    def rules(self, *lines):
        self.start("".join(line + "\n" for line in ("[Rules]", *lines)))

    def bind(self, address, port, close=True, **fields):
        """Name of the error, text."""
        self.op += 3
        self.client.send(self.client.open(self.op, 1, **fields), self.client.bind(self.op + 1, 1, (address, port)))
        reply, text = self.client.whole(self.op + 1)
        if close:
            self.client.send(self.client.make_close(self.op + 2, 1))
            self.client.completion(self.op + 2)
        return pb.Error.Name(reply.error).removeprefix("ERROR_"), text.decode()

    def allowed(self, *where, **fields):
        self.assertEqual(self.bind(*where, **fields), ("SUCCESS", ""), where)

    def denied(self, *where, text=NONE, **fields):
        self.assertEqual(self.bind(*where, **fields), ("ACCESS_DENIED", text), where)

    @staticmethod
    def free_port():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    def test_s61_without_a_rule_nothing(self):
        self.rules("Allow=tcp * * +loopback +private +linklocal +local +special")
        for address in ("127.0.0.1", "0.0.0.0", "::1", "::"):
            for port in (0, 80, 8080):
                self.denied(address, port)
        self.assertEqual(self.daemon.stats()["listens_denied"], 12)

    def test_s61_the_address_of_the_rule(self):
        port = self.free_port()
        self.rules(f"Listen=tcp 127.0.0.0/8 {port}", f"Listen=tcp ::1 {port}")
        for address in ("127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"):
            self.allowed(address, port)
        for address in ("0.0.0.0", "::", "192.0.2.1", "::ffff:0.0.0.0"):
            self.denied(address, port)

    def test_s61_all_addresses_need_a_rule_for_them(self):
        port = self.free_port()
        self.rules(f"Listen=tcp :: {port}")
        self.allowed("::", port, family=pb.FAMILY_INET6)
        self.denied("::", port)  # it would take IPv4 too
        self.denied("0.0.0.0", port)
        self.rules(f"Listen=tcp :: {port}", f"Listen=tcp 0.0.0.0 {port}")
        self.allowed("::", port)
        self.denied("127.0.0.1", port)

    def test_s61_the_ports_of_the_rule(self):
        port = self.free_port()
        self.rules(f"Listen=tcp 127.0.0.1 {port}", "Listen=tcp ::1 *", "Listen=tcp 127.0.0.2 0")
        self.allowed("127.0.0.1", port)
        for other in (0, port + 1 if port < 65535 else port - 1, 80):
            self.denied("127.0.0.1", other)
        self.allowed("::1", port)
        self.allowed("::1", 0)
        self.denied("::1", 80)  # "*" has no port below 1024
        self.denied("::1", 1023)
        self.allowed("127.0.0.2", 0)
        self.denied("127.0.0.2", port)

    @unittest.skipIf(open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii").read().strip() == "0",
                     "any port may be bound here without a capability")
    def test_s61_a_low_port_needs_the_capability_too(self):
        self.rules("Listen=tcp * 1-1023")
        self.denied("127.0.0.1", 80,
                    text="the daemon may not bind ports below 1024: it lacks CAP_NET_BIND_SERVICE")

    def test_s61_a_reserved_port_is_its_clients_alone(self):
        port = self.free_port()
        self.start("[Rules]\nListen=tcp * *\nListen=tcp * 1-1023\n", OTHERS + f"[Rules]\nReserve=tcp 127.0.0.1 {port}\n")
        for address in ("127.0.0.1", "0.0.0.0", "::"):
            self.denied(address, port, text=RESERVED)
        self.allowed("::", port, family=pb.FAMILY_INET6)
        self.allowed("127.0.0.2", port)
        self.start(f"[Rules]\nListen=tcp * *\nReserve=tcp * {port}\n")
        self.allowed("127.0.0.1", port)
        self.rules(f"Reserve=tcp * {port}")  # it keeps others away, and allows nothing
        self.denied("127.0.0.1", port)

    def test_s61_the_kernels_choice_keeps_clear_of_reserved_ports(self):
        """All of them are: after some tries there is none."""
        self.start("[Rules]\nListen=tcp * *\n", OTHERS + "[Rules]\nReserve=tcp 127.0.0.1 *\n")
        self.assertEqual(self.bind("127.0.0.1", 0)[0], "ADDRESS_ALREADY_IN_USE")
        self.allowed("127.0.0.2", 0)

    def test_s61_a_reload_ends_what_is_not_allowed_any_more(self):
        self.rules("Listen=tcp 127.0.0.1 0")
        self.allowed("127.0.0.1", 0, close=False)
        with open(self.paths[0], "w", encoding="utf-8") as file:
            file.write("[Rules]\nListen=tcp 127.0.0.2 0\n")
        control = self.daemon.control
        control.send(request(pb.VERB_RELOAD, 9, reload=pb.Reload()))
        reply, payload = control.whole(9)
        record = {f.name: f.number for f in pb.Record.FromString(payload).fields}
        self.assertEqual((reply.error, record), (0, {"cancelled": 1, "denied": 0, "closed": 0}))
        self.assertEqual(self.client.inspect(list=pb.List())[0]["state"], "failed")

    def test_s61_a_denial_is_recorded(self):
        directory = tempfile.mkdtemp(prefix="asockd-test-")
        self.addCleanup(shutil.rmtree, directory)
        os.chmod(directory, 0o777)
        path, config = (os.path.join(directory, name) for name in ("audit.json", "asockd.conf"))
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"[Audit]\nAudit=yes\nFile={path}\n")
        self.daemon = Daemon("--config", config, "--policy", self.write("[Rules]\nListen=tcp 127.0.0.1 0\n"))
        self.addCleanup(self.daemon.stop)
        self.client = Wire(self.daemon.path)
        self.addCleanup(self.client.close)
        self.client.hello()
        self.denied("127.0.0.1", 8080)
        self.daemon.stop()
        with open(path, encoding="utf-8") as file:
            text = file.read()
        self.assertIn('"ASOCK_EVENT":"deny"', text)
        self.assertIn('"ASOCK_LOCAL_ADDRESS":"127.0.0.1","ASOCK_LOCAL_PORT":8080', text)
        self.assertIn(f"listening at 127.0.0.1 port 8080: {NONE}", text)


if __name__ == "__main__":
    unittest.main()
