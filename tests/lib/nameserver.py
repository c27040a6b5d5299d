# SPDX-License-Identifier: LGPL-2.1-or-later
"""A name server of the test's own, over UDP and TCP, that answers as the test says and remembers what it was asked."""

import collections
import selectors
import socket
import struct
import threading
import time

from wire import DEADLINE

A, CNAME, AAAA = 1, 5, 28
OK, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5

# resolv.conf. On a busy machine an answer takes its time: a daemon asks once and waits. Only a test of silence is in a hurry.
PATIENT = "nameserver 127.0.0.1\noptions timeout:10 attempts:1\n"
HURRIED = "nameserver 127.0.0.1\noptions timeout:1 attempts:2\n"

SO_RCVBUFFORCE = 33


def make_room(udp):
    """Hundreds of questions may come at once; the kernel drops what has no room, and each costs its asker a time-out."""
    try:
        udp.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
    except PermissionError:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)


Question = collections.namedtuple("Question", "name type over_tcp")


class Name:
    """What there is to say about a name; held types are answered when they are released, silent ones never.

    With cname it is an alias, and the addresses are the other name's.
    """

    def __init__(self, a=(), aaaa=(), rcode=OK, silent=(), held=(), truncated=False, cname=None, ttl=0):
        self.records = {A: a, AAAA: aaaa}
        self.rcode = rcode
        self.cname = cname
        self.silent = set(silent)
        self.held = set(held)
        self.truncated = truncated
        self.ttl = ttl


def read_question(packet):
    at, labels = 12, []
    while length := packet[at]:
        labels.append(packet[at + 1:at + 1 + length].decode("latin-1"))
        at += length + 1
    return ".".join(labels), struct.unpack_from(">H", packet, at + 1)[0], at + 5


class NameServer(threading.Thread):
    """At 127.0.0.1, port 53; port 0: one that is free for both protocols, `port`."""

    def __init__(self, names, address="127.0.0.1", port=53):
        super().__init__(daemon=True)
        self.names = names
        self.questions = []
        self.waiting = []  # (question, how to answer)
        self.condition = threading.Condition()
        self.udp, self.tcp = self.open(address, port)
        self.port = self.tcp.getsockname()[1]
        self.wake = socket.socketpair()
        self.start()

    @staticmethod
    def open(address, port):
        """A port that is free for one protocol may be in use for the other: then it tries another one."""
        while True:
            tcp = socket.create_server((address, port))
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            make_room(udp)
            try:
                udp.bind((address, tcp.getsockname()[1]))
                return udp, tcp
            except OSError:
                udp.close()
                tcp.close()
                if port:
                    raise

    def close(self):
        self.wake[0].close()
        self.join(DEADLINE)
        for sock in (self.udp, self.tcp, self.wake[1]):
            sock.close()

    # ------------------------------------------------------------------------------ for tests

    def asked(self, name=None):
        """(type, over TCP) of each question so far, for that name."""
        with self.condition:
            return [(q.type, q.over_tcp) for q in self.questions if name in (None, q.name.lower())]

    def wait_for(self, wanted):
        """Until the questions so far are what is wanted."""
        limit = time.monotonic() + DEADLINE
        with self.condition:
            while not wanted(self.questions):
                if not self.condition.wait(limit - time.monotonic()):
                    raise AssertionError(f"only {self.questions}")

    def release(self, name, kind):
        """Answers what is held."""
        with self.condition:
            self.names[name].held.discard(kind)
            due = [entry for entry in self.waiting if entry[0][:2] == (name, kind)]
            self.waiting = [entry for entry in self.waiting if entry not in due]
        for _, answer in due:
            answer()

    # ----------------------------------------------------------------------------- the server

    def run(self):
        selector = selectors.DefaultSelector()
        for sock in (self.udp, self.tcp, self.wake[1]):
            selector.register(sock, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is self.wake[1]:
                    return
                if key.fileobj is self.udp:
                    packet, sender = self.udp.recvfrom(4096)
                    self.take(packet, False, lambda reply, to=sender: self.udp.sendto(reply, to))
                else:
                    self.serve_stream()

    def serve_stream(self):
        conn, _ = self.tcp.accept()
        conn.settimeout(DEADLINE)
        with conn:
            while head := conn.recv(2, socket.MSG_WAITALL):
                packet = conn.recv(struct.unpack(">H", head)[0], socket.MSG_WAITALL)
                self.take(packet, True,
                          lambda reply: conn.sendall(struct.pack(">H", len(reply)) + reply))
                conn.settimeout(1)
                try:
                    if not conn.recv(1, socket.MSG_PEEK):
                        return
                except OSError:
                    return

    def take(self, packet, over_tcp, send):
        name, kind, end = read_question(packet)
        question = Question(name, kind, over_tcp)
        about = self.names.get(name.lower(), Name(rcode=NXDOMAIN))
        reply = self.reply(packet, end, kind, about, over_tcp)
        with self.condition:
            self.questions.append(question)
            is_held = kind in about.held
            if is_held:
                self.waiting.append((question, lambda: send(reply)))
            self.condition.notify_all()
        if not is_held and kind not in about.silent:
            send(reply)

    @staticmethod
    def reply(packet, end, kind, about, over_tcp):
        if about.truncated and not over_tcp:
            return packet[:2] + struct.pack(">HHHHH", 0x8780, 1, 0, 0, 0) + packet[12:end]
        family = socket.AF_INET if kind == A else socket.AF_INET6
        records, owner, count = b"", 0xc00c, 0
        if about.cname:
            target = b"".join(bytes([len(label)]) + label.encode() for label in about.cname.split(".")) + b"\0"
            records = struct.pack(">HHHIH", owner, CNAME, 1, about.ttl, len(target)) + target
            owner, count = 0xc000 | end + 12, 1
        for text in about.records.get(kind, ()):
            address = socket.inet_pton(family, text)
            records += struct.pack(">HHHIH", owner, kind, 1, about.ttl, len(address)) + address
        count += len(about.records.get(kind, ()))
        return (packet[:2] + struct.pack(">HHHHH", 0x8580 | about.rcode, 1, count, 0, 0) +
                packet[12:end] + records)
