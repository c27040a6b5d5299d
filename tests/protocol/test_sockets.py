# SPDX-License-Identifier: LGPL-2.1-or-later
"""The honest path: connect, send, receive, options, inspection, pipelined as the protocol allows."""

import ipaddress
import os
import socket
import unittest

from asockd import DaemonTest
from wire import Wire, endpoint, pb, request


def connect_by_name(op, number, host, service, **fields):
    return request(pb.VERB_CONNECT, op, number, connect=pb.Connect(host=host, service=service),
                   **fields)


class Connect(DaemonTest):

    def test_pipelined_exchange_in_one_write(self):
        wire = self.wire()
        listener = self.listener()
        wire.send(wire.open(1, 1), wire.connect(2, 1, listener.getsockname()),
                  wire.make_send(3, 1, b"question"), wire.receive(4, 1, 100))
        peer = self.accept(listener)
        self.assertEqual(self.read_all(peer, 8), b"question")
        peer.sendall(b"answer")
        reply, data = wire.whole(4)
        self.assertEqual((reply.bytes, data), (6, b"answer"))
        self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS)
        connected = wire.completion(2)
        self.assertEqual(connected.connected.remote, endpoint(listener.getsockname()))
        self.assertEqual(connected.connected.local, endpoint(peer.getpeername()))
        self.assertEqual(wire.completion(3).bytes, 8)
        self.assertEqual(wire.freed[1], 8)

    def test_s22_connect_with_data_goes_first(self):
        wire = self.wire()
        listener = self.listener()
        wire.send(wire.open(1, 1), wire.connect(2, 1, listener.getsockname(), b"first "),
                  wire.make_send(3, 1, b"second"), wire.shutdown(4, 1, pb.HOW_SEND))
        self.assertEqual(self.read_all(self.accept(listener)), b"first second")
        self.assertEqual(wire.completion(2).bytes, 6)
        self.assertEqual(wire.completion(3).bytes, 6)
        self.assertEqual(wire.completion(4).error, pb.ERROR_SUCCESS)
        self.assertEqual(wire.freed[1], 12)

    def test_s15_ipv6(self):
        try:
            listener = self.listener(family=socket.AF_INET6)
        except OSError as error:
            self.skipTest(f"no IPv6 here: {error}")
        wire = self.wire()
        wire.send(wire.open(1, 1), wire.connect(2, 1, listener.getsockname()))
        self.accept(listener)
        reply = wire.completion(2)
        self.assertEqual(reply.error, pb.ERROR_SUCCESS)
        self.assertEqual(reply.connected.remote, endpoint(listener.getsockname()))

    def test_s15_by_text_of_an_address(self):
        wire = self.wire()
        listener = self.listener()
        wire.send(wire.open(1, 1),
                  connect_by_name(2, 1, "127.0.0.1", str(listener.getsockname()[1])))
        self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)
        self.accept(listener)

    def test_s17_refused(self):
        wire = self.wire()
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            wire.send(wire.open(1, 1), wire.connect(2, 1, closed.getsockname()),
                      wire.make_send(3, 1, b"x"), wire.receive(4, 1, 1),
                      wire.shutdown(5, 1, pb.HOW_SEND))
            self.assertEqual(wire.completion(2).error, pb.ERROR_CONNECTION_REFUSED)
            for op in (3, 4, 5):
                self.assertEqual(wire.completion(op).error, pb.ERROR_OPERATION_ABORTED)
            wire.send(wire.receive(6, 1, 1), wire.make_send(7, 1, b"y"))
            for op in (6, 7):
                self.assertEqual(wire.completion(op).error, pb.ERROR_OPERATION_ABORTED)
        listener = self.listener()
        wire.send(wire.connect(8, 1, listener.getsockname()), wire.make_send(9, 1, b"again"))
        self.assertEqual(wire.completion(8).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.read_all(self.accept(listener), 5), b"again")

    def test_s17_never_connected(self):
        wire = self.wire()
        wire.send(wire.open(1, 1), wire.make_send(2, 1, b"x"), wire.receive(3, 1, 1),
                  wire.shutdown(4, 1, pb.HOW_SEND))
        for op in (2, 3, 4):
            self.assertEqual(wire.completion(op).error, pb.ERROR_NOT_CONNECTED)

    def test_s16_twice(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.connect(5, 1, peer.getsockname()), wire.make_send(6, 1, b"unharmed"))
        self.assertEqual(wire.completion(5).error, pb.ERROR_IS_CONNECTED)
        self.assertEqual(self.read_all(peer, 8), b"unharmed")

    def test_s15_endpoints_that_are_none(self):
        wire = self.wire()
        wrong = [pb.Connect(),
                 pb.Connect(endpoint=pb.Endpoint()),
                 pb.Connect(endpoint=pb.Endpoint(address=b"\x7f\0\0\1")),
                 pb.Connect(endpoint=pb.Endpoint(address=b"\x7f\0\0\1", port=65536)),
                 pb.Connect(endpoint=pb.Endpoint(address=b"\x7f\0\0\1", port=65536 + 80)),
                 pb.Connect(endpoint=pb.Endpoint(address=b"\x7f\0\0", port=80)),
                 pb.Connect(endpoint=pb.Endpoint(address=b"\x7f\0\0\1" * 5, port=80)),
                 pb.Connect(endpoint=pb.Endpoint(address=b"\x7f\0\0\1", port=80), host="a",
                            service="80"),
                 pb.Connect(host="localhost"),
                 pb.Connect(service="80"),
                 pb.Connect(host="127.0.0.1", service="0"),
                 pb.Connect(host="127.0.0.1", service="65536"),
                 pb.Connect(host="127.0.0.1", service="-1")]
        for op, arm in enumerate(wrong, 1):
            with self.subTest(arm=str(arm)):
                wire.send(wire.open(1000 + op, 1), request(pb.VERB_CONNECT, op, 1, connect=arm),
                          wire.make_close(2000 + op, 1))
                self.assertEqual(wire.completion(op).error, pb.ERROR_INVALID_ARGUMENT)
                wire.completion(2000 + op)

    def test_s15_names_that_are_none(self):
        wire = self.wire()
        for op, host in enumerate(("0.0.0.0", "::"), 1):
            wire.send(wire.open(100 + op, op), connect_by_name(op, op, host, "80"))
            self.assertNotEqual(wire.completion(op).error, pb.ERROR_SUCCESS)

    def connect_to_list(self, wire, number, port, *texts, **fields):
        """The completion of a CONNECT to these addresses; the further ones have port 0."""
        first, *others = [pb.Endpoint(address=ipaddress.ip_address(text).packed) for text in texts]
        first.port = port
        arm = pb.Connect(endpoint=first, others=others, **fields)
        wire.send(wire.open(10 * number, number), request(pb.VERB_CONNECT, 10 * number + 1, number, connect=arm))
        return wire.completion(10 * number + 1)

    def test_s19_a_list_of_addresses(self):
        wire = self.wire()
        listener = self.listener()
        port = listener.getsockname()[1]
        reply = self.connect_to_list(wire, 1, port, "::1", "127.0.0.2", "127.0.0.1")
        self.assertEqual(reply.error, pb.ERROR_SUCCESS)
        self.assertEqual(reply.connected.remote, endpoint(listener.getsockname()))
        self.assertEqual(reply.connected.connect_error, pb.ERROR_SUCCESS)

    def test_s19_lists_that_are_none(self):
        wire = self.wire()
        here = pb.Endpoint(address=b"\x7f\0\0\1", port=80)
        wrong = [pb.Connect(others=[here]),
                 pb.Connect(host="localhost", service="80", others=[here]),
                 pb.Connect(endpoint=here, others=[pb.Endpoint(address=here.address, port=81)]),
                 pb.Connect(endpoint=here, others=[pb.Endpoint()]),
                 pb.Connect(endpoint=here, others=[pb.Endpoint(address=b"\x7f", port=80)]),
                 pb.Connect(endpoint=here, others=[here] * 32)]
        for op, arm in enumerate(wrong, 1):
            with self.subTest(arm=str(arm)[:100]):
                wire.send(wire.open(1000 + op, 1), request(pb.VERB_CONNECT, op, 1, connect=arm), wire.make_close(2000 + op, 1))
                self.assertEqual(wire.completion(op).error, pb.ERROR_INVALID_ARGUMENT)
                wire.completion(2000 + op)

    def test_s24_each_address_of_a_list_is_judged(self):
        wire = self.wire()
        listener = self.listener()
        other = self.hold(socket.create_server(("127.0.0.2", listener.getsockname()[1])))
        wire.send(request(pb.VERB_RESTRICT, 1, payload=b"[Rules]\nAllow=tcp 127.0.0.1 *\n", restriction=pb.Restrict()))
        self.assertEqual(wire.completion(1).error, pb.ERROR_SUCCESS)
        port = listener.getsockname()[1]
        reply = self.connect_to_list(wire, 1, port, "127.0.0.2", "127.0.0.1")
        self.assertEqual(reply.connected.remote, endpoint(listener.getsockname()))
        wire.send(wire.make_close(99, 1))
        wire.completion(99)
        self.assertEqual(self.connect_to_list(wire, 1, port, "127.0.0.2", "127.0.0.3").error, pb.ERROR_ACCESS_DENIED)
        other.setblocking(False)
        with self.assertRaises(BlockingIOError):
            other.accept()

    def test_s15_family_of_the_socket(self):
        wire = self.wire()
        wire.send(wire.open(1, 1, family=pb.FAMILY_INET6), wire.connect(2, 1, ("127.0.0.1", 9)),
                  wire.open(3, 2, family=7), wire.open(4, 3, type=3))
        self.assertEqual(wire.completion(2).error, pb.ERROR_ADDRESS_FAMILY_NOT_SUPPORTED)
        self.assertEqual(wire.completion(3).error, pb.ERROR_ADDRESS_FAMILY_NOT_SUPPORTED)
        self.assertEqual(wire.completion(4).error, pb.ERROR_SOCKET_NOT_SUPPORTED)


class Denied(DaemonTest):
    """Without --allow-any every connect is denied, before any packet leaves."""

    arguments = ()

    def test_s24_denied(self):
        wire = self.wire()
        listener = self.listener()
        wire.send(wire.open(1, 1), wire.connect(2, 1, listener.getsockname(), b"data"),
                  wire.make_send(3, 1, b"x"), wire.open(4, 2),
                  connect_by_name(5, 2, "localhost", "80"))
        self.assertEqual(wire.completion(2).error, pb.ERROR_ACCESS_DENIED)
        self.assertEqual(wire.completion(3).error, pb.ERROR_OPERATION_ABORTED)
        self.assertEqual(wire.completion(5).error, pb.ERROR_ACCESS_DENIED)
        wire.settle()
        self.assertEqual(wire.freed[1], 5)
        listener.setblocking(False)
        with self.assertRaises(BlockingIOError):
            listener.accept()


class Receive(DaemonTest):

    def test_s34_several_are_served_in_order(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(*(wire.receive(op, 1, 2) for op in range(1, 6)))
        peer.sendall(b"aabbccddee")
        got = [wire.whole(op)[1] for op in range(1, 6)]
        self.assertEqual(b"".join(got), b"aabbccddee")

    def test_s32_end_of_stream_is_said_again(self):
        wire = self.wire()
        peer = self.pair(wire)
        peer.sendall(b"last")
        peer.shutdown(socket.SHUT_WR)
        wire.send(*(wire.receive(op, 1, 100) for op in (1, 2, 3)))
        self.assertEqual(wire.whole(1)[1], b"last")
        for op in (2, 3):
            reply, data = wire.whole(op)
            self.assertEqual((reply.error, reply.bytes, data), (0, 0, b""))
            self.assertEqual(reply.flags, pb.REPLY_FLAG_END_OF_STREAM)
        wire.send(wire.make_send(4, 1, b"still"))
        self.assertEqual(self.read_all(peer, 5), b"still")

    def test_s33_probe_consumes_nothing(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.receive(1, 1, 0))
        wire.settle()
        peer.sendall(b"data")
        reply, data = wire.whole(1)
        self.assertEqual((reply.error, reply.bytes, reply.flags, data), (0, 0, 0, b""))
        wire.send(wire.receive(2, 1, 10))
        self.assertEqual(wire.whole(2)[1], b"data")
        peer.shutdown(socket.SHUT_WR)
        wire.send(wire.receive(3, 1, 0))
        self.assertEqual(wire.completion(3).flags, pb.REPLY_FLAG_END_OF_STREAM)

    def test_s35_peek_leaves_the_data(self):
        wire = self.wire()
        peer = self.pair(wire)
        peer.sendall(b"look")
        for op in (1, 2):
            wire.send(wire.receive(op, 1, 10, flags=pb.RECEIVE_FLAG_PEEK))
            self.assertEqual(wire.whole(op)[1], b"look")
        wire.send(wire.receive(3, 1, 10), wire.receive(4, 1, 256 * 1024 + 1,
                                                       flags=pb.RECEIVE_FLAG_PEEK))
        self.assertEqual(wire.whole(3)[1], b"look")
        self.assertEqual(wire.completion(4).error, pb.ERROR_INVALID_ARGUMENT)

    def test_unknown_flag(self):
        wire = self.wire()
        self.pair(wire)
        wire.send(wire.receive(1, 1, 10, flags=4))
        self.assertEqual(wire.completion(1).error, pb.ERROR_INVALID_ARGUMENT)

    def test_s35_wait_all_in_pieces(self):
        wire = self.wire()
        peer = self.pair(wire)
        data = os.urandom(3 << 20)
        wire.send(wire.receive(1, 1, len(data), flags=pb.RECEIVE_FLAG_WAIT_ALL))
        peer.sendall(data[:1 << 20])
        got, pieces = b"", 0
        sent = 1 << 20
        while True:
            reply, payload = wire.take(lambda r: r.op == 1)
            got += payload
            pieces += 1
            if not reply.flags & pb.REPLY_FLAG_MORE:
                break
            self.assertEqual(reply.bytes, len(payload))
            if len(got) == sent:
                peer.sendall(data[sent:sent + (1 << 20)])
                sent += 1 << 20
        self.assertEqual(got, data)
        self.assertEqual(reply.bytes, len(data))
        self.assertGreaterEqual(pieces, 12)

    def test_s35_wait_all_cut_by_end_of_stream(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.receive(1, 1, 100, flags=pb.RECEIVE_FLAG_WAIT_ALL))
        peer.sendall(b"only this")
        peer.close()
        reply, data = wire.whole(1)
        self.assertEqual((reply.error, reply.bytes, data), (0, 9, b"only this"))
        self.assertTrue(reply.flags & pb.REPLY_FLAG_END_OF_STREAM)

    def test_s35_wait_all_cut_by_timeout(self):
        wire = self.wire()
        peer = self.pair(wire)
        peer.sendall(b"begun")
        wire.send(wire.receive(1, 1, 100, flags=pb.RECEIVE_FLAG_WAIT_ALL, timeout_ms=300))
        reply, data = wire.whole(1)
        self.assertEqual(reply.error, pb.ERROR_TIMED_OUT)
        self.assertEqual((reply.bytes, data), (5, b"begun"))
        peer.sendall(b"more")
        wire.send(wire.receive(2, 1, 10))
        self.assertEqual(wire.whole(2)[1], b"more")

    def test_s37_timeout_ends_the_op_alone(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.receive(1, 1, 10, timeout_ms=50), wire.receive(2, 1, 10))
        self.assertEqual(wire.completion(1).error, pb.ERROR_TIMED_OUT)
        peer.sendall(b"later")
        self.assertEqual(wire.whole(2)[1], b"later")

    def test_s32_reset_by_peer(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.receive(1, 1, 10))
        wire.settle()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        self.assertEqual(wire.completion(1).error, pb.ERROR_CONNECTION_RESET)


class Options(DaemonTest):

    def get(self, wire, op, number, option):
        wire.send(request(pb.VERB_GET_OPTION, op, number, get_option=pb.GetOption(option=option)))
        return wire.whole(op)

    def test_s20_before_connect_are_kept(self):
        wire = self.wire()
        listener = self.listener()
        value = pb.OptionValue(number=77)
        wire.send(wire.open(1, 1),
                  request(pb.VERB_SET_OPTION, 2, 1,
                          set_option=pb.SetOption(option=pb.OPTION_KEEP_ALIVE_TIME, value=value)))
        self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.get(wire, 3, 1, pb.OPTION_KEEP_ALIVE_TIME)[0].value.number, 77)
        wire.send(wire.connect(4, 1, listener.getsockname()))
        self.accept(listener)
        self.assertEqual(wire.completion(4).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.get(wire, 5, 1, pb.OPTION_KEEP_ALIVE_TIME)[0].value.number, 77)
        self.assertEqual(self.get(wire, 6, 1, pb.OPTION_NO_DELAY)[0].value.number, 1)

    def test_s20_while_connecting_hold_for_what_wins(self):
        """The attempt has begun when they are set; the kernel repeats its SYN after a second."""
        wire = self.wire()
        listener = self.blackhole()
        wire.send(wire.open(1, 1), wire.connect(2, 1, listener.getsockname()))
        wire.settle()
        values = {pb.OPTION_KEEP_ALIVE: 1, pb.OPTION_KEEP_ALIVE_TIME: 77, pb.OPTION_NO_DELAY: 0,
                  pb.OPTION_TRAFFIC_CLASS: 0x20, pb.OPTION_HOP_LIMIT: 9, pb.OPTION_USER_TIMEOUT: 12345,
                  pb.OPTION_SEND_BUFFER: 20000, pb.OPTION_LINGER: 5}
        for option, number in values.items():
            arm = pb.SetOption(option=option, value=pb.OptionValue(number=number))
            wire.send(request(pb.VERB_SET_OPTION, 100 + option, 1, set_option=arm))
            self.assertEqual(wire.completion(100 + option).error, pb.ERROR_SUCCESS)
        self.assertFalse([reply for reply, _ in wire.kept if reply.op == 2])
        self.accept_behind(listener)
        self.assertEqual(wire.completion(2).error, pb.ERROR_SUCCESS)
        for option, number in values.items():
            got = self.get(wire, 200 + option, 1, option)[0].value.number
            self.assertEqual(got, 2 * number if option == pb.OPTION_SEND_BUFFER else number, option)

    def test_s47_wrong_ones(self):
        wire = self.wire()
        self.pair(wire)
        wrong = [(pb.SetOption(option=pb.OPTION_TCP_INFO, value=pb.OptionValue(number=1)), pb.ERROR_PROTOCOL_OPTION),
                 (pb.SetOption(option=99, value=pb.OptionValue(number=1)), pb.ERROR_PROTOCOL_OPTION),
                 (pb.SetOption(option=pb.OPTION_NO_DELAY), pb.ERROR_INVALID_ARGUMENT),
                 (pb.SetOption(option=pb.OPTION_NO_DELAY, value=pb.OptionValue(number=2)),
                  pb.ERROR_INVALID_ARGUMENT),
                 (pb.SetOption(option=pb.OPTION_KEEP_ALIVE_TIME, value=pb.OptionValue(number=-1)),
                  pb.ERROR_INVALID_ARGUMENT),
                 (pb.SetOption(option=pb.OPTION_HOP_LIMIT, value=pb.OptionValue(number=1 << 40)),
                  pb.ERROR_INVALID_ARGUMENT)]
        for op, (arm, error) in enumerate(wrong, 1):
            wire.send(request(pb.VERB_SET_OPTION, op, 1, set_option=arm))
            self.assertEqual(wire.completion(op).error, error, arm)
        self.assertEqual(self.get(wire, 50, 1, 99)[0].error, pb.ERROR_PROTOCOL_OPTION)

    def test_s48_endpoints_and_tcp_info(self):
        wire = self.wire()
        peer = self.pair(wire)
        local, remote = endpoint(peer.getpeername()), endpoint(peer.getsockname())
        self.assertEqual(self.get(wire, 1, 1, pb.OPTION_LOCAL_ENDPOINT)[0].value.endpoint, local)
        self.assertEqual(self.get(wire, 2, 1, pb.OPTION_REMOTE_ENDPOINT)[0].value.endpoint, remote)
        reply, info = self.get(wire, 3, 1, pb.OPTION_TCP_INFO)
        self.assertEqual(reply.error, pb.ERROR_SUCCESS)
        self.assertGreaterEqual(len(info), 104)
        self.assertEqual(info[0], 1)  # TCP_ESTABLISHED


    def test_s48_available(self):
        wire = self.wire()
        peer = self.pair(wire)
        wire.send(wire.open(1, 2))
        self.assertEqual(self.get(wire, 2, 2, pb.OPTION_AVAILABLE)[0].error, pb.ERROR_NOT_CONNECTED)
        wrong = pb.SetOption(option=pb.OPTION_AVAILABLE, value=pb.OptionValue(number=1))
        wire.send(request(pb.VERB_SET_OPTION, 3, 1, set_option=wrong))
        self.assertEqual(wire.completion(3).error, pb.ERROR_PROTOCOL_OPTION)
        peer.sendall(b"x" * 1000)
        wire.send(request(pb.VERB_RECEIVE, 4, 1, receive=pb.Receive(length=0)))
        self.assertEqual(wire.completion(4).error, pb.ERROR_SUCCESS)
        self.assertEqual(self.get(wire, 5, 1, pb.OPTION_AVAILABLE)[0].value.number, 1000)
        wire.send(request(pb.VERB_RECEIVE, 6, 1, receive=pb.Receive(length=400)))
        self.assertEqual(wire.completion(6).bytes, 400)
        self.assertEqual(self.get(wire, 7, 1, pb.OPTION_AVAILABLE)[0].value.number, 600)
        self.assertEqual(self.get(wire, 8, 1, 36)[0].error, pb.ERROR_PROTOCOL_OPTION)


class Inspection(DaemonTest):

    def test_s48_client_sees_its_own_alone(self):
        wire, other = self.wire(), self.wire()
        self.pair(wire, 3)
        self.pair(other, 5)
        rows = wire.inspect(list=pb.List())
        self.assertEqual(len(rows), 1)
        self.assertEqual(rows[0]["socket"], 3)
        self.assertEqual(len(wire.inspect(show=pb.Show())), 1)
        self.assertEqual(len(wire.inspect(stats=pb.Stats())), 1)

    def test_s48_client_cannot_show_another(self):
        wire, other = self.wire(), self.wire()
        self.pair(other, 5)
        row, = other.inspect(list=pb.List())
        self.assertEqual(len(other.inspect(show=pb.Show(id=row["id"]))), 1)
        wire.send(request(pb.VERB_SHOW, 1, show=pb.Show(id=row["id"])))
        self.assertEqual(wire.completion(1).error, pb.ERROR_NOT_FOUND)

    def test_s48_control_sees_all(self):
        wire, other = self.wire(hello=False), self.wire()
        wire.hello(name="caf\u00e9")
        self.pair(wire, 3)
        self.pair(other, 5)
        rows = self.daemon.control.inspect(list=pb.List())
        self.assertEqual(sorted(row["socket"] for row in rows), [3, 5])
        for row in rows:
            self.assertEqual(row["pid"], os.getpid())
            self.assertEqual(row["uid"], os.getuid())
            self.assertEqual(len(self.daemon.control.inspect(show=pb.Show(id=row["id"]))), 1)

    def test_list_of_nothing(self):
        self.assertEqual(self.wire().inspect(list=pb.List()), [])

    def test_list_of_many(self):
        wire = self.wire()
        wire.send(*(wire.open(number, number) for number in range(1, 601)))
        rows = wire.inspect(list=pb.List())
        self.assertEqual([row["socket"] for row in rows], list(range(1, 601)))

    def test_control_serves_no_socket_verbs(self):
        wire = self.hold(Wire(self.daemon.control_path))
        wire.hello()
        wire.send(wire.open(1, 1), wire.connect(2, 1, ("127.0.0.1", 9)))
        self.assertEqual(wire.completion(1).error, pb.ERROR_OPERATION_NOT_SUPPORTED)
        self.assertNotEqual(wire.completion(2).error, pb.ERROR_SUCCESS)

    def test_stats_count(self):
        before = self.daemon.stats()
        self.wire().settle()
        after = self.daemon.stats()
        self.assertGreater(after["requests"], before["requests"])


if __name__ == "__main__":
    unittest.main()
