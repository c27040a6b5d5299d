# SPDX-License-Identifier: LGPL-2.1-or-later
"""What run and scale have in common: the network namespace, the server, the client."""

import fcntl
import json
import os
import resource
import socket
import struct
import subprocess
import sys

import systems

INNER = "ASOCK_BENCH_INNER"


def progress(text):
    print(text, file=sys.stderr, flush=True)


# ---- the network namespace ----

def enter_namespace(program, arguments):
    """Runs the program again in one."""
    unshare = ["unshare", "-n"] if os.getuid() == 0 else ["unshare", "-Urn"]
    if os.getuid() == 0:
        os.nice(-20)
    return subprocess.run([*unshare, sys.executable, os.path.abspath(program), *arguments],
                          env={**os.environ, INNER: "1"}, check=False).returncode


def set_up_network():
    """Reno: BBR, which some systems have as default, paces loopback. Many connections follow each other
    quickly between two addresses, so ports may be used again soon."""
    with socket.socket() as s:
        request = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(s, 0x8914, request)                      # SIOCSIFFLAGS
    subprocess.run(["ip", "address", "add", systems.HOST + "/32", "dev", "lo"], check=False)
    for name, value in (("ipv4/tcp_congestion_control", "reno"), ("ipv4/tcp_tw_reuse", "1"),
                        ("ipv4/tcp_max_tw_buckets", "4096"), ("core/somaxconn", "4096"),
                        ("ipv4/ip_local_port_range", "1024 65535")):
        try:
            with open(f"/proc/sys/net/{name}", "w", encoding="ascii") as file:
                file.write(value)
        except OSError as error:
            progress(f"{name} stays as it is: {error.strerror}")


def use_all_descriptors():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# ---- processes ----

class Server:
    def __init__(self, build, core, spoil=None):
        # Of our own namespace only, where systems.HOST is one of them.
        command = [os.path.join(build, "bench", "server")] + (["--any"] if os.environ.get(INNER) else []) + (
            ["--spoil", str(spoil)] if spoil else [])
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=lambda: os.sched_setaffinity(0, {core}))
        self.port = int(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


def start_client(bench, system, server, arguments, core=None, **options):
    pids = ",".join(str(p) for p in [server.process.pid, *system.pids()])
    command = system.client_command([os.path.join(bench.build, "bench", "client"), "--server", str(server.port),
                                     *system.client_arguments(), "--pids", pids, *arguments])
    core = bench.cores[0] if core is None else core
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                            preexec_fn=lambda: os.sched_setaffinity(0, {core}), **options)


def measure(bench, system, server, row):
    more = ["--seconds", str(bench.seconds)]
    if bench.spoil is not None:
        more += ["--spoil", str(bench.spoil)]
    process = start_client(bench, system, server, row.arguments + more, stdin=subprocess.DEVNULL)
    try:
        output = process.communicate(timeout=60)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        output = ""
    if process.returncode != 0:
        bench.failures.append(f"{system.name}: {row.name} failed")
        progress(f"{system.name}: {row.name} failed; its log: {system.log() if system.processes else ''}")
        return None
    result = json.loads(output)
    if not system.sees_processes:
        del result["cpu_others"]
    return result
