# SPDX-License-Identifier: LGPL-2.1-or-later
"""For tests of asockctl run --transparent: programs that know neither asockd nor proxies."""

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

import asockctl
from asockd import Daemon, DaemonTest
import network

DEADLINE = asockctl.DEADLINE
HOSTS = f"127.0.0.1 localhost\n{network.OWN4} both.test four.test\n{network.OWN6} both.test six.test\n"

# Every program of these tests begins with this.
PRELUDE = """
import errno, json, os, select, socket, sys
args = sys.argv[1:]
def say(thing): print(json.dumps(thing), flush=True)
def attempt(address, port, blocking):
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.setblocking(blocking)
    error = sock.connect_ex((address, port))
    if not blocking and error == errno.EINPROGRESS:
        poll = select.epoll()
        poll.register(sock, select.EPOLLOUT)
        poll.poll()
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return errno.errorcode.get(error, "connected")
"""

SEND_AND_END = "sock = socket.create_connection((args[1], int(args[0])))" + asockctl.SEND_AND_END

ASYNCIO = """
import asyncio
async def main():
    reader, writer = await asyncio.open_connection(args[0], int(args[1]))
    writer.write(b"ping")
    print((await reader.readexactly(4)).decode(), end="")
asyncio.run(main())
"""

# The leak check cannot start its thread in a process whose children are in a new PID namespace.
os.environ["ASAN_OPTIONS"] = ":".join(filter(None, (os.environ.get("ASAN_OPTIONS"), "detect_leaks=0")))


def tool(daemon, *args, **options):
    return asockctl.run("run", "--transparent", "--socket", daemon.path, *args, **options)


def setUpModule():
    network.write("/etc/hosts", HOSTS)
    daemon = Daemon("--allow-any")
    done = tool(daemon, "--", "true")
    daemon.stop()
    if done.returncode == 125 and b"--transparent: cannot" in done.stderr:
        raise unittest.SkipTest(done.stderr.decode().strip())


class Echo(threading.Thread):
    """An echo server on one port of both families, until it is closed."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        clients = {self.listener}
        while True:
            for sock in select.select(list(clients), [], [])[0]:
                if sock is self.listener:
                    try:
                        clients.add(sock.accept()[0])
                    except OSError:
                        return
                    continue
                try:
                    data = sock.recv(1 << 16)
                    sock.sendall(data)
                except ConnectionError:
                    data = b""
                if not data:
                    clients.discard(sock)
                    sock.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.join(DEADLINE)
        self.listener.close()


class TransparentTest(DaemonTest):

    def setUp(self):
        super().setUp()
        self.echo = self.hold(Echo())

    def run_tool(self, *args, **options):
        return tool(self.daemon, *args, **options)

    def python(self, code, *args, options=()):
        """The program's output, line by line."""
        done = self.run_tool(*options, "--", sys.executable, "-c", PRELUDE + code, *map(str, args))
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return [json.loads(line) for line in done.stdout.splitlines()]

    def start(self, *command, **options):
        return self.hold(asockctl.Tool("run", "--transparent", "--socket", self.daemon.path, "--", *command,
                                       stdout=subprocess.PIPE, **options))

    def policy(self, rules):
        with tempfile.NamedTemporaryFile("w", suffix=".policy", delete=False) as file:
            file.write("[Rules]\n" + rules)
        self.addCleanup(os.unlink, file.name)
        return file.name
