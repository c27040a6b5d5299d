# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may listen where, and who may connect there: Listen= and Reserve= of the policy (S61, S63)."""

import json
import os
import shutil
import socket
import tempfile
import unittest

from asockd import Daemon
from policies import PolicyTest
from wire import DEADLINE, Wire, pb, request

NONE = "no rule allows this client to listen there"
RESERVED = "this port is reserved for another client"
OTHERS = "[Match]\nUser=4294967290\n"  # reserved for no client here: the file applies to another one


class ListenPolicy(PolicyTest):

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

    def listen(self, number, address, port=0, **fields):
        """A listener; the port it has."""
        self.client.send(self.client.open(number * 10, number, **fields),
                         self.client.bind(number * 10 + 1, number, (address, port)),
                         self.client.listen(number * 10 + 2, number))
        reply, text = self.client.whole(number * 10 + 1)
        self.assertEqual((reply.error, self.client.completion(number * 10 + 2).error), (0, 0), text)
        self.client.completion(number * 10)
        return reply.connected.local.port

    def dial(self, host, port, source):
        peer = socket.create_connection((host, port), DEADLINE, (source, 0))
        self.addCleanup(peer.close)
        peer.settimeout(DEADLINE)
        return peer

    def refused(self, peer):
        with self.assertRaises(ConnectionResetError):
            peer.recv(1)

    def refused_at_once(self, *where):
        with self.assertRaises(ConnectionResetError):
            self.dial(*where).recv(1)

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
                    text="the daemon may not bind to ports below 1024: it lacks CAP_NET_BIND_SERVICE")

    @unittest.skipIf(os.getuid() != 0, "only root can give a capability")
    def test_s61_a_daemon_with_the_capability_alone_keeps_it(self):
        self.paths = [self.write("[Rules]\nListen=tcp 127.0.0.1 1-1023\nListen=tcp 127.0.0.1 *\n")]
        self.daemon = Daemon("--policy", self.paths[0], capability="net_bind_service")
        self.addCleanup(self.daemon.stop)
        with open(f"/proc/{self.daemon.pid}/status", encoding="ascii") as status:
            self.assertIn("CapEff:\t0000000000000400\n", status.read())
        self.client = Wire(self.daemon.path)
        self.addCleanup(self.client.close)
        self.client.hello()
        self.allowed("127.0.0.1", next(port for port in range(1023, 0, -1) if self.is_free(port)))

    @staticmethod
    def is_free(port):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    def test_s61_a_reserved_port_is_its_clients_alone(self):
        port = self.free_port()
        self.start("[Rules]\nListen=tcp * *\nListen=tcp * 1-1023\n", OTHERS + f"[Rules]\nReserve=tcp 127.0.0.1 {port}\n")
        for address in ("127.0.0.1", "0.0.0.0", "::"):
            self.denied(address, port, text=RESERVED)
        self.allowed("::", port, family=pb.FAMILY_INET6)
        self.allowed("127.0.0.2", port)
        self.start("[Rules]\nListen=tcp * *\n", OTHERS + f"[Rules]\nReserve=tcp 0.0.0.0 {port}\n")
        for address in ("127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1"):  # each is a part of what is reserved
            self.denied(address, port, text=RESERVED)
        self.allowed("::", port, family=pb.FAMILY_INET6)
        self.allowed("::1", port)
        self.start("[Rules]\nListen=tcp * *\n", OTHERS + f"[Rules]\nReserve=tcp :: {port}\n")
        for address in ("127.0.0.1", "0.0.0.0", "::", "::1"):
            self.denied(address, port, text=RESERVED)
        self.denied("::", port, text=RESERVED, family=pb.FAMILY_INET6)
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

    def test_s62_without_room_the_connection_waits(self):
        """No room for its buffers: the accept ends typed, and the connection is there when another one has gone."""
        self.start("[Rules]\nListen=tcp 127.0.0.1 0\n[Limits]\nKernelBuffers=450K\n")
        self.client.send(self.client.open(1, 1), self.client.bind(2, 1, ("127.0.0.1", 0)),
                         self.client.listen(3, 1, 1), self.client.accept(4, 1, 5, 10))
        port, peers = self.client.completion(2).connected.local.port, []
        self.assertEqual(self.client.completion(3).error, pb.ERROR_SUCCESS)
        while True:
            peers.append(self.dial("127.0.0.1", port, "127.0.0.1"))
            reply, text = self.client.take(lambda r: r.op == 4)
            if reply.error:
                break
            self.assertLess(len(peers), 10)
        self.assertGreater(len(peers), 1)
        self.assertEqual((pb.Error.Name(reply.error), text),
                         ("ERROR_NO_BUFFER_SPACE", b"the limit on kernel buffer memory has been reached"))
        self.client.send(self.client.make_close(6, 5, abort=True), self.client.accept(7, 1, 5))
        reply, text = self.client.whole(7)
        self.assertEqual((reply.error, reply.connected.remote.port), (0, peers[-1].getsockname()[1]), text)

    def test_s63_who_may_connect(self):
        """Others are closed and counted, and the client does not hear of them."""
        self.rules("Listen=tcp 127.0.0.1 0 from 127.0.0.2,127.0.0.8/30", "Listen=tcp 127.0.0.7 0")
        port = self.listen(1, "127.0.0.1")
        self.client.send(self.client.accept(1, 1, 5, 2))
        for source in ("127.0.0.1", "127.0.0.3", "127.0.0.7"):
            self.refused_at_once("127.0.0.1", port, source)
        self.client.settle()
        self.assertFalse(self.client.kept)
        for source in ("127.0.0.2", "127.0.0.9"):
            peer = self.dial("127.0.0.1", port, source)
            reply, _ = self.client.take(lambda r: r.op == 1)
            self.assertEqual((reply.error, reply.connected.remote.port), (0, peer.getsockname()[1]))
        self.assertEqual(self.daemon.stats()["accepts_refused"], 3)
        row, = (row for row in self.client.inspect(list=pb.List()) if row["socket"] == 1)
        row = self.client.inspect(show=pb.Show(id=row["id"]))[0]
        self.assertEqual((row["accepted"], row["refused"]), (2, 3))
        port = self.listen(2, "127.0.0.7")
        self.client.send(self.client.accept(2, 2, 7))
        self.dial("127.0.0.7", port, "127.0.0.1")
        self.assertEqual(self.client.completion(2).error, pb.ERROR_SUCCESS)

    def test_s63_the_families_of_a_dual_listener_are_told_apart(self):
        self.rules("Listen=tcp :: 0 from ::1", "Listen=tcp 0.0.0.0 0 from 127.0.0.2")
        port = self.listen(1, "::")
        self.client.send(self.client.accept(1, 1, 5, 2))
        self.refused_at_once("127.0.0.1", port, "127.0.0.1")
        for host, source in (("::1", "::1"), ("127.0.0.1", "127.0.0.2")):
            self.dial(host, port, source)
            self.assertEqual(self.client.take(lambda r: r.op == 1)[0].error, pb.ERROR_SUCCESS)

    def test_s63_a_flood_of_refused_peers_ends_no_accept(self):
        self.rules("Listen=tcp 127.0.0.1 0 from 127.0.0.2")
        port = self.listen(1, "127.0.0.1")
        peers = [self.dial("127.0.0.1", port, "127.0.0.1") for _ in range(100)]
        self.client.send(self.client.accept(1, 1, 5))
        for peer in peers:
            self.refused(peer)
        self.dial("127.0.0.1", port, "127.0.0.2")
        self.assertEqual(self.client.completion(1).error, pb.ERROR_SUCCESS)

    def test_s63_a_restriction_narrows_the_peers(self):
        self.rules("Listen=tcp 127.0.0.1 0")
        port = self.listen(1, "127.0.0.1")
        self.client.send(self.client.accept(1, 1, 5, 3))
        self.dial("127.0.0.1", port, "127.0.0.1")
        self.assertEqual(self.client.take(lambda r: r.op == 1)[0].error, pb.ERROR_SUCCESS)
        self.client.send(request(pb.VERB_RESTRICT, 2, payload=b"[Rules]\nListen=tcp 127.0.0.1 0 from 127.0.0.2\n",
                                 restriction=pb.Restrict()))
        self.assertEqual(self.client.completion(2).error, pb.ERROR_SUCCESS)
        self.refused_at_once("127.0.0.1", port, "127.0.0.1")
        self.dial("127.0.0.1", port, "127.0.0.2")
        self.assertEqual(self.client.take(lambda r: r.op == 1)[0].error, pb.ERROR_SUCCESS)
        rows = {row["socket"]: (row["state"], row["denied"]) for row in self.client.inspect(list=pb.List())}
        self.assertEqual(rows, {1: ("listening", 0), 5: ("connected", 1), 6: ("connected", 0)})

    def test_s63_a_reload_ends_connections_that_are_not_allowed_any_more(self):
        self.rules("Listen=tcp 127.0.0.1 0")
        port = self.listen(1, "127.0.0.1")
        self.client.send(self.client.accept(1, 1, 5, 3))
        peers = [self.dial("127.0.0.1", port, source) for source in ("127.0.0.1", "127.0.0.2")]
        for _ in peers:
            self.assertEqual(self.client.take(lambda r: r.op == 1)[0].error, pb.ERROR_SUCCESS)
        with open(self.paths[0], "w", encoding="utf-8") as file:
            file.write("[Rules]\nListen=tcp 127.0.0.1 0 from 127.0.0.2\n")
        for closed in (1, 0):  # what was ended is not ended again, though the client has not closed it yet
            self.daemon.control.send(request(pb.VERB_RELOAD, 9, reload=pb.Reload(close=True)))
            _, payload = self.daemon.control.whole(9)
            self.assertEqual({f.name: f.number for f in pb.Record.FromString(payload).fields},
                             {"cancelled": 0, "denied": 0, "closed": closed})
        self.refused(peers[0])
        self.client.take(lambda r: r.event.code == pb.EVENT_KILLED and r.socket == 5)
        self.client.send(self.client.make_send(3, 6, b"x"))
        self.assertEqual(peers[1].recv(1), b"x")

    def watch(self):
        """A control connection whose MONITOR reports events from now on."""
        wire = Wire(self.daemon.control_path)
        self.addCleanup(wire.close)
        wire.hello()
        self.events = []
        self.assertEqual(self.news(wire)["event"], "watching")
        return wire

    def news(self, wire):
        """The next event."""
        while not self.events:
            self.events = wire.inspect(monitor=pb.Monitor())
        return self.events.pop(0)

    def denials(self):
        rows = self.daemon.control.inspect(denials=pb.Denials())
        return {row["verb"]: row for row in rows}

    def test_s61_who_was_denied_is_told(self):
        """DENIALS and MONITOR report denied binds and peers, what a reload takes back, and listeners, without an audit."""
        self.rules("Listen=tcp 127.0.0.1 0 from 127.0.0.2")
        watcher = self.watch()
        for _ in range(2):
            self.denied("127.0.0.1", 8080)
        for _ in range(2):
            event = self.news(watcher)
            self.assertEqual((event["event"], event["local"], event["port"], event["reason"]),
                             ("deny", "127.0.0.1:8080", 8080, NONE))
        row = self.denials()["bind"]
        self.assertEqual((row["local"], row["remote"], row["port"], row["count"], row["reason"]),
                         ("127.0.0.1:8080", "", 8080, 2, NONE))
        port = self.listen(1, "127.0.0.1")
        here = f"127.0.0.1:{port}"
        event = self.news(watcher)
        self.assertEqual((event["event"], event["local"]), ("listen", here))
        self.client.send(self.client.listen(31, 1), self.client.accept(32, 1, 5))
        for _ in range(2):
            self.refused_at_once("127.0.0.1", port, "127.0.0.3")
            event = self.news(watcher)  # nothing of the second LISTEN
            self.assertEqual((event["event"], event["local"], event["remote"].split(":")[0], event["rule"]),
                             ("deny", here, "127.0.0.3", self.paths[0] + ":2"))
        row = self.denials()["accept"]
        self.assertEqual((row["local"], row["remote"].split(":")[0], row["port"], row["count"], row["rule"]),
                         (here, "127.0.0.3", port, 2, self.paths[0] + ":2"))
        with open(self.paths[0], "w", encoding="utf-8") as file:
            file.write("[Rules]\n")
        self.daemon.control.send(request(pb.VERB_RELOAD, 9, reload=pb.Reload()))
        self.assertEqual(self.daemon.control.completion(9).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.client.completion(32).error, pb.ERROR_ACCESS_DENIED)
        events = [self.news(watcher) for _ in range(2)]
        event = next(event for event in events if event["event"] == "deny")
        self.assertEqual((event["local"], event["reason"]), (here, NONE))
        self.assertIn("reload", [event["event"] for event in events])

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
        port = self.listen(3, "127.0.0.1")
        self.client.send(self.client.accept(1, 3, 5))
        peer = self.dial("127.0.0.1", port, "127.0.0.1")
        self.client.completion(1)
        self.client.send(self.client.make_close(2, 5))
        self.client.completion(2)
        self.daemon.stop()
        with open(path, encoding="utf-8") as file:
            text = file.read()
        self.assertIn('"ASOCK_EVENT":"deny"', text)
        self.assertIn('"ASOCK_LOCAL_ADDRESS":"127.0.0.1","ASOCK_LOCAL_PORT":8080', text)
        self.assertIn(f"listening on 127.0.0.1 port 8080: {NONE}", text)
        entries = [json.loads(line) for line in text.splitlines()]
        self.assertEqual([entry["ASOCK_EVENT"] for entry in entries], ["deny", "listen", "accept", "close"])
        listen, accept, close = entries[1:]
        here, there = ("127.0.0.1", port), peer.getsockname()
        self.assertEqual((listen["ASOCK_LOCAL_ADDRESS"], listen["ASOCK_LOCAL_PORT"]), here)
        self.assertEqual((accept["ASOCK_LOCAL_ADDRESS"], accept["ASOCK_LOCAL_PORT"]), here)
        for entry in (accept, close):
            self.assertEqual((entry["ASOCK_ADDRESS"], entry["ASOCK_PORT"]), there)
        self.assertTrue(accept["ASOCK_RULE"].endswith(":2"))
        self.assertEqual(accept["ASOCK_SOCKET"], close["ASOCK_SOCKET"])


if __name__ == "__main__":
    unittest.main()
