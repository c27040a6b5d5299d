# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/recipes.md: each block of commands, as it stands there, in a network where its names exist."""

import ctypes
import os
import platform
import re
import select
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
import unittest

import asockctl
import network
import servers
from asockd import DaemonTest, binary

DEADLINE = asockctl.DEADLINE
NAMES = ("example.org", "pastebin.example.org", "elsewhere.test", "proxy.example.org")
# In another network namespace, so that no rule needs a flag: addresses that anybody may reach.
HERE, FAR = "93.184.215.1", "93.184.215.14"
CLONE_NEWNET = 0x40000000

# Executes its arguments without certain system calls, as sandboxes for agents do: from $DENIED, "NUMBER:FIRST_ARGUMENT"
# or "NUMBER", each fails with EPERM.
FILTER = """
import ctypes, os, struct, sys

def statement(code, value, jump_true=0, jump_false=0):
    return struct.pack("HBBI", code, jump_true, jump_false, value)

LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
code = []
for entry in os.environ["DENIED"].split():
    number, _, argument = entry.partition(":")
    code.append(statement(LOAD, 0))
    if argument:
        code += [statement(EQUAL, int(number), 0, 3), statement(LOAD, 16), statement(EQUAL, int(argument), 0, 1)]
    else:
        code.append(statement(EQUAL, int(number), 0, 1))
    code.append(statement(RETURN, 0x00050000 | 1))
code.append(statement(RETURN, 0x7fff0000))
program = ctypes.create_string_buffer(b"".join(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, struct.pack("HxxxxxxQ", len(code), ctypes.addressof(program)), 0, 0) == 0
os.execvp(sys.argv[1], sys.argv[1:])
"""
SOCKET, AF_UNIX = 41, 1
# connect, sendto, shutdown, bind, listen, accept, getsockname, getpeername, setsockopt, getsockopt, accept4, recvmmsg,
# sendmmsg, io_uring_setup, io_uring_enter, io_uring_register; and sockets that are not Unix sockets.
NETWORK = "42 44 48 49 50 43 51 52 54 55 288 299 307 425 426 427 41:2 41:10"


def in_namespace(descriptor, function):
    """In a thread of its own: what it opens stays there."""
    result = []

    def enter():
        assert ctypes.CDLL(None).setns(descriptor, CLONE_NEWNET) == 0
        result.append(function())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join(DEADLINE)
    return result[0]


class CorporateProxy(socketserver.StreamRequestHandler):
    """CONNECT, to what is in its own network."""

    def handle(self):
        target = self.rfile.readline().split()[1].decode()
        while self.rfile.readline().strip():
            pass
        self.server.asked.append(target)
        descriptor = self.server.namespace
        far = in_namespace(descriptor, lambda: socket.create_connection((FAR, int(target.rpartition(":")[2]))))
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with far:
            ends = {self.connection: far, far: self.connection}
            while True:
                for end in select.select(list(ends), [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    ends[end].sendall(data)


class Recipes(DaemonTest):

    @classmethod
    def setUpClass(cls):
        network.enter()
        cls.directory = tempfile.mkdtemp(prefix="asock-recipes-")
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)
        os.chmod(cls.directory, 0o755)
        cls.namespace = cls.make_far()
        network.write("/etc/hosts", "127.0.0.1 localhost\n" + FAR + " " + " ".join(NAMES) + "\n")
        servers.make_certificates(cls.directory, NAMES)
        cls.web = in_namespace(cls.namespace, lambda: servers.Web(cls.directory, address=FAR))
        cls.addClassCleanup(cls.web.close)
        super().setUpClass()
        with open(os.path.join(asockctl.SRCDIR, "docs", "recipes.md"), encoding="utf-8") as file:
            cls.text = file.read()

    @classmethod
    def make_far(cls):
        """Another network, one cable away; its descriptor."""
        holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE)
        holder.stdout.readline()
        cls.addClassCleanup(holder.stdout.close)
        cls.addClassCleanup(holder.wait)
        cls.addClassCleanup(holder.kill)
        network.run("ip", "link", "add", "cable", "type", "veth", "peer", "name", "far", "netns", str(holder.pid))
        network.run("ip", "address", "add", HERE + "/24", "dev", "cable")
        network.run("ip", "link", "set", "cable", "up")
        for command in ("link set lo up", "link set far up", f"address add {FAR}/24 dev far"):
            network.run("nsenter", "-t", str(holder.pid), "-n", "ip", *command.split())
        descriptor = os.open(f"/proc/{holder.pid}/ns/net", os.O_RDONLY)
        cls.addClassCleanup(os.close, descriptor)
        return descriptor

    def setUp(self):
        super().setUp()
        self.home = tempfile.mkdtemp(prefix="home-", dir=self.directory)
        self.bin = os.path.join(self.home, "bin")
        os.mkdir(self.bin)
        for program in ("asockd", "asockctl"):
            os.symlink(os.path.abspath(binary(program)), os.path.join(self.bin, program))

    def blocks(self, title):
        section = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", self.text, re.M | re.S)
        self.assertIsNotNone(section, title)
        return re.findall(r"^```sh\n(.*?)^```", section.group(1), re.M | re.S)

    def run_block(self, block, needs=("bwrap", "curl"), **variables):
        """What it prints, both outputs in one, and its status."""
        for program in needs:
            if not servers.find(program):
                self.skipTest(f"no {program}")
        env = {"PATH": self.bin + ":" + os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": self.home,
               "CURL_CA_BUNDLE": self.directory + "/ca.pem", "ASOCK_SOCKET": self.daemon.path, **variables}
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(["sh", "-c", "umask 022; " + block], cwd=self.home, env=env, stdin=subprocess.DEVNULL,
                                  stdout=output, stderr=output, timeout=DEADLINE, check=False)
            output.seek(0)
            return output.read().decode(errors="replace"), done.returncode

    def check_page(self, block, **options):
        text, status = self.run_block(block, **options)
        self.assertEqual((text, status), (servers.PAGE.decode(), 0))

    def filter(self, denied):
        if platform.machine() != "x86_64":
            self.skipTest("the numbers of system calls here are x86-64's")
        servers.write(self.home + "/filter.py", FILTER)
        return {"FILTER": f"/usr/bin/python3 {self.home}/filter.py", "DENIED": denied}

    # ------------------------------------------------------------------------- the recipes

    def test_bubblewrap(self):
        block, = self.blocks("bubblewrap")
        self.check_page(block)
        text, status = self.run_block(block.replace("https://example.org/", "https://elsewhere.test/"))
        self.assertNotEqual(status, 0)
        self.assertIn("403", text)

    def test_agent(self):
        block = self.blocks("An agent's sandbox with an allow-list")[0]
        text, status = self.run_block(block)
        self.assertNotEqual(status, 0)
        self.assertIn(servers.PAGE.decode(), text)
        self.assertIn("uploads are not allowed from this sandbox", text)
        self.assertEqual(text.count("403"), 1, text)

    def test_agent_without_unix_sockets(self):
        block = self.blocks("An agent's sandbox with an allow-list")[1]
        self.check_page(block, **self.filter(f"{SOCKET}:{AF_UNIX}"))

    def test_agent_that_cannot_connect(self):
        block = self.blocks("An agent's sandbox with an allow-list")[2]
        text, status = self.run_block(block, **self.filter(NETWORK))
        self.assertEqual(status, 0, text)
        self.assertIn(servers.PAGE.decode(), text)

    def test_daemon_of_its_own(self):
        block, = self.blocks("A daemon for each sandbox, without root")
        text, _ = self.run_block(block)
        self.assertEqual(text, servers.PAGE.decode() * 2)

    def test_podman(self):
        """bubblewrap stands for podman, which wants an image: a network of its own and that one directory."""
        block, = self.blocks("podman without a network")
        servers.write(self.home + "/web.policy", "[Rules]\nAllow=tcp example.org 443\n")
        servers.write(self.bin + "/podman", '#!/bin/sh\n[ "$1 $2 $3 $4" = "run --rm --network=none -v" ] || exit 9\n'
                      '[ "${5#*:}" = /mnt ] || exit 9\ndirectory=${5%%:*}; shift 6\n'
                      'exec bwrap --ro-bind / / --bind "$directory" /mnt --dev /dev --proc /proc --unshare-all "$@"\n', 0o755)
        text, _ = self.run_block(block, IMAGE="image")
        self.assertEqual(text.splitlines()[1:], servers.PAGE.decode().splitlines(), text)

    def test_localhost_of_the_host(self):
        local = http_server(8080)
        self.addCleanup(local.close)
        block, = self.blocks("A service on the host's own localhost")
        self.check_page(block)

    def test_corporate_proxy(self):
        block, = self.blocks("Behind a corporate proxy")
        socketserver.ThreadingTCPServer.daemon_threads = True
        proxy = in_namespace(self.namespace, lambda: socketserver.ThreadingTCPServer((FAR, 3128), CorporateProxy))
        proxy.asked, proxy.namespace = [], self.namespace
        threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        self.addCleanup(proxy.server_close)
        self.addCleanup(proxy.shutdown)
        text, status = self.run_block(block, needs=("bwrap", "curl", "socat"))
        self.assertEqual(status, 0, text)
        self.assertIn(servers.PAGE.decode(), text)
        self.assertEqual(proxy.asked, ["example.org:443"])

    def test_learn(self):
        block, = self.blocks("Learn a policy")
        text, _ = self.run_block(block)
        self.assertIn(servers.PAGE.decode(), text)
        self.assertIn("Allow=tcp example.org 443", text)

    def test_ask_then_allow(self):
        block, = self.blocks("Ask, then allow, by hand")
        text, _ = self.run_block(block)
        self.assertRegex(text, r"(?s)403.*deny")
        self.assertTrue(text.endswith(servers.PAGE.decode()), text)

    def test_every_block_has_a_test(self):
        """All of them were asked for above, or stand in the box that has a systemd."""
        titles = re.findall(r"^## (.*)$", self.text, re.M)
        with open(__file__, encoding="utf-8") as file:
            source = file.read()
        self.assertEqual([title for title in titles if f'self.blocks("{title}")' not in source], ["A systemd service"])


def http_server(port):
    """A service of this host's."""
    listener = socket.create_server(("127.0.0.1", port))

    def serve():
        peer, _ = listener.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(servers.PAGE) + servers.PAGE)

    threading.Thread(target=serve, daemon=True).start()
    return listener


if __name__ == "__main__":
    unittest.main()
