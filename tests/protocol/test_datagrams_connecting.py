# SPDX-License-Identifier: LGPL-2.1-or-later
"""Datagram sockets that get a peer: what is under way, and what has come, by then (S24, S64 to S66)."""

import json
import socket
import subprocess
import unittest

import asockctl
from test_datagrams import DEADLINE, FAMILIES, Datagrams, WithPolicy, address, name
from wire import endpoint, pb, request


class Connecting(Datagrams):

    def test_s66_connect_fixes_the_peer(self):
        for number, family in enumerate(FAMILIES, 1):
            with self.subTest(family=family):
                peer, other = self.peer(family), self.peer(family)
                self.open(number)
                connected = self.connect(peer, number)
                self.assertEqual(address(connected.remote), peer.getsockname()[:2])
                self.assertEqual(name(self.send(b"hello", number=number)[0]), "SUCCESS")
                data, own = peer.recvfrom(10)
                self.assertEqual((data, own[:2]), (b"hello", address(connected.local)))
                reply, _ = self.send(b"x", other.getsockname(), number)
                self.assertEqual(name(reply), "IS_CONNECTED")
                other.sendto(b"stranger", own)
                peer.sendto(b"friend", own)
                self.assertEqual(self.receive(number=number)[1], b"friend")

    def test_s66_by_name_and_what_is_queued_behind(self):
        peer = self.peer()
        self.open(family=pb.FAMILY_INET)
        connect = self.next_op()
        self.client.send(self.connect_host(connect, "localhost", peer.getsockname()[1]))
        sends = [self.submit_send(b"%d" % i) for i in range(3)]
        receive = self.submit_receive()
        self.assertEqual(name(self.client.completion(connect)), "SUCCESS")
        for i, op in enumerate(sends):
            self.assertEqual(name(self.client.completion(op)), "SUCCESS")
            data, own = peer.recvfrom(10)
            self.assertEqual(data, b"%d" % i)
        peer.sendto(b"answer", own)
        self.assertEqual(self.client.whole(receive)[1], b"answer")

    @staticmethod
    def connect_host(op, host, service, number=1):
        return request(pb.VERB_CONNECT, op, number, connect=pb.Connect(host=host, service=str(service)))

    def test_s66_a_used_socket_keeps_its_port(self):
        first, peer = self.peer(), self.peer()
        self.open()
        self.send(b"x", first.getsockname())
        own = first.recvfrom(10)[1]
        connected = self.connect(peer)
        self.assertEqual(address(connected.local)[1], own[1])
        self.send(b"y")
        self.assertEqual(peer.recvfrom(10)[1][1], own[1])

    def test_s66_misuse(self):
        peer = self.peer()
        self.open()
        op = self.next_op()
        self.client.send(self.client.connect(op, 1, peer.getsockname(), b"data"))
        self.assertEqual(name(self.client.completion(op)), "INVALID_ARGUMENT")
        op = self.next_op()
        self.client.send(self.connect_host(op, "localhost", "domain"))
        self.assertEqual(name(self.client.completion(op)), "INVALID_ARGUMENT")
        self.connect(peer)
        op = self.next_op()
        self.client.send(self.client.connect(op, 1, peer.getsockname()))
        self.assertEqual(name(self.client.completion(op)), "IS_CONNECTED")

    def test_s66_a_connect_that_fails_leaves_it_as_it_was(self):
        peer = self.peer()
        self.open()
        connect, send, receive = (self.next_op() for _ in range(3))
        self.client.send(self.client.connect(connect, 1, ("224.0.0.1", 9)), self.client.make_send(send, 1, b"x"),
                         self.client.receive(receive, 1, 65535))
        self.assertEqual(name(self.client.completion(connect)), "ACCESS_DENIED")
        self.assertIn(name(self.client.completion(send)), ("NOT_CONNECTED", "OPERATION_ABORTED"))
        self.send(b"hello", peer.getsockname())
        peer.sendto(b"answer", peer.recvfrom(10)[1])
        self.assertEqual(self.client.whole(receive)[1], b"answer")

    def test_s66_what_the_network_reports_is_one_ops_error(self):
        peer = self.peer()
        self.open()
        self.connect(peer)
        receive = self.submit_receive()
        address = peer.getsockname()
        peer.close()
        self.assertEqual(name(self.send(b"to nobody")[0]), "SUCCESS")
        self.assertEqual(name(self.client.completion(receive)), "CONNECTION_REFUSED")
        again = self.hold(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        again.settimeout(DEADLINE)
        again.bind(address)
        self.assertEqual(name(self.send(b"to somebody")[0]), "SUCCESS")
        data, own = again.recvfrom(100)
        again.sendto(b"answer", own)
        self.assertEqual((data, self.receive()[1]), (b"to somebody", b"answer"))

    def test_s66_options_and_endpoints(self):
        peer = self.peer()
        self.open()

        def get(option):
            op = self.next_op()
            self.client.send(request(pb.VERB_GET_OPTION, op, 1, get_option=pb.GetOption(option=option)))
            return self.client.completion(op)

        def put(option, number):
            op = self.next_op()
            value = pb.OptionValue(number=number)
            self.client.send(request(pb.VERB_SET_OPTION, op, 1, set_option=pb.SetOption(option=option, value=value)))
            return name(self.client.completion(op))

        for option in (pb.OPTION_NO_DELAY, pb.OPTION_KEEP_ALIVE, pb.OPTION_USER_TIMEOUT, pb.OPTION_LINGER):
            self.assertEqual((put(option, 1), name(get(option))), ("PROTOCOL_OPTION", "PROTOCOL_OPTION"))
        self.assertEqual(name(get(pb.OPTION_TCP_INFO)), "PROTOCOL_OPTION")
        self.assertEqual((put(pb.OPTION_RECEIVE_BUFFER, 50000), get(pb.OPTION_RECEIVE_BUFFER).value.number),
                         ("SUCCESS", 100000))
        self.assertEqual(name(get(pb.OPTION_LOCAL_ENDPOINT)), "NOT_CONNECTED")
        self.send(b"x", peer.getsockname())
        own = peer.recvfrom(10)[1]
        self.assertEqual(address(get(pb.OPTION_LOCAL_ENDPOINT).value.endpoint)[1], own[1])
        self.assertEqual(name(get(pb.OPTION_REMOTE_ENDPOINT)), "NOT_CONNECTED")
        self.assertEqual(get(pb.OPTION_RECEIVE_BUFFER).value.number, 100000)


class GetsAPeer(WithPolicy):
    """The peer is allowed by its name alone, a friend by his address; a stranger has the peer's port."""

    def setUp(self):
        super().setUp()
        self.peer = self.at("127.0.0.1")
        self.port = self.peer.getsockname()[1]
        self.other = self.at("127.0.0.2", self.port)
        self.write_rules(f"[Rules]\nAllow=udp localhost {self.port} +loopback\n"
                         f"Allow=udp 127.0.0.1 {self.friend.getsockname()[1]} +loopback\n")
        self.reload()
        self.open(family=pb.FAMILY_INET)

    def at(self, host, port=0):
        peer = self.hold(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        peer.settimeout(DEADLINE)
        peer.bind((host, port))
        return peer

    def connect_by_name(self, op):
        return request(pb.VERB_CONNECT, op, 1, connect=pb.Connect(host="localhost", service=str(self.port)))

    def befriend(self):
        """It has sent to the friend; its own address."""
        self.assertEqual(name(self.send(b"x", self.friend.getsockname())[0]), "SUCCESS")
        return self.friend.recvfrom(10)[1]

    def forget(self):
        """A restriction ends what the daemon remembers of the session's destinations."""
        op = self.next_op()
        self.client.send(request(pb.VERB_RESTRICT, op, payload=b"[Rules]\nAllow=udp * * +loopback\n",
                                 restriction=pb.Restrict()))
        self.assertEqual(name(self.client.completion(op)), "SUCCESS")

    def get_peer(self):
        op = self.next_op()
        self.client.send(self.connect_by_name(op))
        self.assertEqual(name(self.client.completion(op)), "SUCCESS")

    def test_s24_a_name_allows_no_other_address(self):
        """Not behind the connect either, when it is not known yet that there will be a peer."""
        connect, sends = self.next_op(), [self.next_op() for _ in range(3)]
        to = endpoint(self.other.getsockname())
        self.client.send(self.connect_by_name(connect), self.client.make_send(sends[0], 1, b"one"),
                         self.client.make_send(sends[1], 1, b"bypass", endpoint=to),
                         self.client.make_send(sends[2], 1, b"two"))
        replies = [name(self.client.completion(op)) for op in (connect, *sends)]
        self.assertEqual(replies, ["SUCCESS", "SUCCESS", "IS_CONNECTED", "SUCCESS"])
        self.assertEqual([self.peer.recv(10) for _ in range(2)], [b"one", b"two"])
        self.other.setblocking(False)
        self.assertRaises(BlockingIOError, self.other.recv, 10)

    def test_s66_what_came_from_elsewhere_before_is_dropped(self):
        own = self.befriend()
        self.other.sendto(b"stranger", own)
        self.friend.sendto(b"friend", own)
        self.get_peer()
        self.peer.sendto(b"peer", own)
        reply, data = self.receive()
        self.assertEqual((data, reply.datagram.refused), (b"peer", 2))
        self.assertEqual(address(reply.datagram.remote), self.peer.getsockname())

    def test_s66_a_peer_that_was_a_stranger_is_heard(self):
        """What policy said of its address alone holds no longer."""
        own = self.befriend()
        receive = self.submit_receive()
        self.peer.sendto(b"too early", own)
        self.friend.sendto(b"friend", own)
        reply, data = self.client.whole(receive)
        self.assertEqual((data, reply.datagram.refused), (b"friend", 1))
        self.get_peer()
        self.peer.sendto(b"peer", own)
        self.assertEqual(self.receive()[1], b"peer")

    def test_s24_a_destination_is_reported_once(self):
        """However often it is judged again, and however long it is in use."""
        tool = self.hold(asockctl.Tool("monitor", "--json", "--control", self.own.control_path,
                                       stdout=subprocess.PIPE))
        self.assertEqual(json.loads(tool.stdout.readline())["event"], "watching")
        for _ in range(3):
            self.befriend()
            self.forget()
        op = self.next_op()
        self.client.send(self.client.make_close(op, 1))
        self.client.completion(op)
        events = []
        while "close" not in events:
            events.append(json.loads(tool.stdout.readline())["event"])
        self.assertEqual(events.count("connect"), 1)


class Counting(Datagrams):

    def test_s67_a_session_counts_what_comes_and_goes(self):
        peer = self.peer()
        self.open()
        self.send(b"12345", peer.getsockname())
        peer.sendto(b"1234567", peer.recvfrom(10)[1])
        self.receive()
        row = self.client.inspect(sessions=pb.Sessions())[0]
        self.assertEqual((row["bytes_out"], row["bytes_in"]), (5, 7))


if __name__ == "__main__":
    unittest.main()
