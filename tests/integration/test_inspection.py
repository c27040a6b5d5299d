# SPDX-License-Identifier: LGPL-2.1-or-later
"""The answers of the built daemon to LIST, SHOW and STATS."""

import os
import socket
import unittest

from server_program import DEADLINE, ServerTest, wait_for
from wire import pb

from asock.client import AsockError


class Inspection(ServerTest):
    def test_list_and_show_of_a_socket(self):
        daemon = self.start("--allow-any")
        client = self.client(name="tester")
        sock, peer = self.pair(client)
        sock.set_option(pb.OPTION_KEEP_ALIVE, 1).result(DEADLINE)
        peer.sendall(b"1234567890")
        self.assertEqual(sock.receive(10, wait_all=True).result(DEADLINE), b"1234567890")
        sock.send(b"hello").result(DEADLINE)
        sock.receive()
        client.sync().result(DEADLINE)
        row, = self.control().inspect(list=pb.List())
        self.assertEqual(list(row), ["id", "pid", "unit", "command", "uid", "session", "listener", "socket", "state",
                                     "local", "remote", "host", "port", "denied", "queued", "ops",
                                     "bytes_in", "bytes_out", "age_ms", "name", "protocol"])
        with open("/proc/self/comm", encoding="utf-8") as comm:
            self.assertEqual(row["command"], comm.read().rstrip("\n"))
        self.assertEqual((row["pid"], row["uid"], row["socket"], row["state"], row["name"]),
                         (os.getpid(), os.getuid(), 1, "connected", "tester"))
        self.assertEqual(row["remote"], "127.0.0.1:%d" % peer.getsockname()[1])
        self.assertEqual(row["local"], "127.0.0.1:%d" % peer.getpeername()[1])
        self.assertEqual(row["host"], "")
        self.assertEqual((row["bytes_in"], row["bytes_out"], row["queued"], row["ops"]),
                         (10, 5, 0, 1))
        shown, = self.control().inspect(show=pb.Show(id=row["id"]))
        for name in set(row) - {"age_ms"}:
            self.assertEqual(shown[name], row[name], name)
        self.assertEqual(shown["gid"], os.getgid())
        self.assertEqual({int(gid) for gid in shown["groups"].split(",") if gid},
                         set(os.getgroups()))
        self.assertIn(shown["pidfd"], ("socket", "pid"))
        self.assertEqual((shown["alive"], shown["listener"]), ("yes", "default"))
        self.assertTrue(shown["cgroup"].startswith("/"), shown["cgroup"])
        self.assertEqual((shown["option_no_delay"], shown["option_keep_alive"]), (1, 1))
        self.assertEqual((shown["tcp_state"], shown["tcp_retransmits"]), ("established", 0))
        self.assertGreater(shown["tcp_rtt_us"], 0)
        self.assertEqual(self.end(daemon)[0], 0)

    def test_the_name_a_socket_was_connected_by(self):
        self.start("--allow-any")
        client = self.client()
        port = self.listener().getsockname()[1]
        client.socket()
        for host in ("localhost", "127.0.0.1", "localhost."):
            sock = client.socket(family=pb.FAMILY_INET)
            sock.connect(host, port).result(DEADLINE)
        rows = self.control().inspect(list=pb.List())
        self.assertEqual([row["host"] for row in rows], ["", "localhost", "", "localhost"])
        shown, = self.control().inspect(show=pb.Show(id=rows[1]["id"]))
        self.assertEqual(shown["host"], "localhost")

    def test_states(self):
        self.start("--allow-any")
        client = self.client()
        client.socket()
        failed = client.socket()
        with self.assertRaises(AsockError):
            with socket.socket() as refuses:
                refuses.bind(("127.0.0.1", 0))
                failed.connect(*refuses.getsockname()).result(DEADLINE)
        sock, peer = self.pair(client, small=True)
        self.send_window(sock)
        sock.close(linger_ms=600000)
        drain, peer2 = self.pair(client)
        drain.close().result(DEADLINE)
        client.sync().result(DEADLINE)
        rows = self.control().inspect(list=pb.List())
        self.assertEqual([row["state"] for row in rows if row["state"] != "draining"],
                         ["open", "failed", "lingering"])
        self.assertEqual([row["socket"] for row in rows if row["state"] != "draining"], [1, 2, 0])
        for row in rows:
            shown, = self.control().inspect(show=pb.Show(id=row["id"]))
            self.assertEqual(shown["id"], row["id"])
        peer.close()
        peer2.close()

    def test_list_is_whole_and_in_order(self):
        self.start()
        clients = [self.client(name=f"c{i}") for i in range(3)]
        for client in clients:
            client.sync().result(DEADLINE)
            for _ in range(700):
                client.socket()
            client.sync().result(DEADLINE)
        rows = self.control().inspect(list=pb.List())
        self.assertEqual([(row["name"], row["socket"]) for row in rows],
                         [(f"c{i}", number) for i in range(3) for number in range(1, 701)])
        self.assertEqual(len({row["id"] for row in rows}), 2100)

    def test_a_client_sees_itself_only(self):
        self.start()
        mine, other = self.client(name="mine"), self.client(name="other")
        for client in (mine, other):
            client.socket()
            client.sync().result(DEADLINE)
        rows = self.control().inspect(list=pb.List())
        self.assertEqual([row["name"] for row in rows], ["mine", "other"])
        own = mine.inspect(list=pb.List())
        self.assertEqual([row["id"] for row in own], [rows[0]["id"]])
        self.assertEqual(mine.inspect(show=pb.Show(id=rows[0]["id"]))[0]["socket"], 1)
        itself, = mine.inspect(show=pb.Show())
        self.assertEqual((itself["name"], itself["sockets"], itself["limit_sockets"]),
                         ("mine", 1, mine.limits.sockets))
        others, = other.inspect(show=pb.Show())
        for number in (rows[1]["id"], others["id"], 1 << 40, (1 << 64) - 1):
            with self.assertRaises(AsockError) as raised:
                mine.inspect(show=pb.Show(id=number))
            self.assertEqual(raised.exception.number, pb.ERROR_NOT_FOUND)
        stats, = mine.inspect(stats=pb.Stats())
        self.assertEqual(stats["sockets"], 1)
        self.assertNotIn("version", stats)
        self.assertNotIn("clients", stats)

    def test_control_sees_sessions(self):
        self.start()
        client = self.client(name="seen")
        number = client.inspect(show=pb.Show())[0]["id"]
        shown, = self.control().inspect(show=pb.Show(id=number))
        self.assertEqual((shown["name"], shown["uid"]), ("seen", os.getuid()))

    def test_stats_count(self):
        self.start("--allow-any")
        control = self.control()
        wait_for("the probes' ends", lambda: control.inspect(stats=pb.Stats())[0]["clients"] == 1)
        before, = control.inspect(stats=pb.Stats())
        self.assertEqual(before["sockets"], 0)
        client = self.client()
        sock, peer = self.pair(client)
        sock.send(b"12345").result(DEADLINE)
        after, = control.inspect(stats=pb.Stats())
        self.assertEqual((after["clients"], after["sockets"]), (2, 1))
        self.assertEqual(after["bytes_out"] - before["bytes_out"], 5)
        self.assertEqual(after["sockets_total"] - before["sockets_total"], 1)
        self.assertGreater(after["turns"], before["turns"])
        self.assertRegex(after["version"], r"^\d+\.\d+\.\d+$")
        peer.close()


if __name__ == "__main__":
    unittest.main()
