# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon under a service manager: inherited listeners, READY and STATUS, capabilities, the watchdog."""

import os
import select
import signal
import socket
import subprocess
import unittest

from build import BUILD_OPTIONS
from server_program import BUILD, DEADLINE, ServerTest, wait_for
from wire import Wire, pb


class ServiceManager(ServerTest):
    def test_activation(self):
        one, one_path = self.unix_listener("one")
        two, two_path = self.unix_listener("two")
        admin, admin_path = self.unix_listener("admin")
        daemon = self.spawn("--allow-any",
                            **self.activated([one, admin, two], ["one", "control", "two"]))
        clients = [self.client(one_path, name="first"), self.client(two_path, name="second")]
        for client in clients:
            client.socket()
            client.sync().result(DEADLINE)
        control = self.client(admin_path)
        rows = control.inspect(list=pb.List())
        self.assertEqual(sorted(row["name"] for row in rows), ["first", "second"])
        shown = [control.inspect(show=pb.Show(id=row["id"]))[0] for row in rows]
        self.assertEqual({row["name"]: row["listener"] for row in shown},
                         {"first": "one", "second": "two"})
        self.assertEqual(os.listdir(self.dir), ["share"])  # no sockets of its own
        self.assertEqual(self.end(daemon)[0], 0)
        self.assertTrue(os.path.exists(one_path))  # not its own to remove

    def test_activation_refuses_other_descriptors(self):
        datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        internet = socket.create_server(("127.0.0.1", 0))
        silent = socket.socket(socket.AF_UNIX)
        for wrong in (datagram, internet, silent):
            with wrong:
                status, _, err = self.run_to_end(**self.activated([wrong], ["odd"]))
            self.assertEqual(status, 1)
            self.assertIn("descriptor 3 (odd) from the service manager is not a listening Unix stream",
                          err)

    def notify_socket(self):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listener.close)
        path = os.path.join(self.base, "notify")
        listener.bind(path)
        os.chmod(path, 0o666)
        listener.settimeout(DEADLINE)
        return listener, path

    def test_ready_status_stopping(self):
        listener, path = self.notify_socket()
        daemon = self.spawn(env={**os.environ, "NOTIFY_SOCKET": path})
        self.assertEqual(listener.recv(4096).decode().split("\n"),
                         ["READY=1", "STATUS=0 clients, 0 sockets"])
        self.client().sync().result(DEADLINE)
        daemon.terminate()
        seen = ""
        while "STOPPING=1" not in seen:
            seen = listener.recv(4096).decode()
        status, _, err = self.end(daemon)
        self.assertEqual(status, 0, err)

    def status_of(self, listener):
        """The next STATUS= that comes with READY=1."""
        while True:
            lines = listener.recv(4096).decode().split("\n")
            if lines[0] == "READY=1":
                return lines[1].removeprefix("STATUS=")

    def test_status_tells_that_an_invalid_policy_denies_everything(self):
        listener, path = self.notify_socket()
        policy = self.write("[Rules]\nAllow=tcp * 80\nAllow=icmp * *\n", "some.policy")
        wrong = f'{policy}:3: unknown protocol "icmp": use tcp or udp'
        daemon = self.spawn("--policy", policy, env={**os.environ, "NOTIFY_SOCKET": path})
        self.assertEqual(self.status_of(listener), f"0 clients, 0 sockets; everything is denied: {wrong}")
        control = self.control()
        told = control.inspect(stats=pb.Stats())[0]
        self.assertEqual((told["policy_invalid"], told["policy_problem"]), (1, wrong))
        wire = Wire(self.client_path)
        self.addCleanup(wire.disconnect)
        wire.hello()
        wire.send(wire.open(1, 1), wire.connect(2, 1, ("192.0.2.1", 80)))
        reply, text = wire.whole(2)
        self.assertEqual((reply.error, text),
                         (pb.ERROR_ACCESS_DENIED, b"the daemon's policy files are invalid: everything is denied"))
        # A failed reload is shown in the status, until a reload succeeds.
        daemon.send_signal(signal.SIGHUP)
        self.assertEqual(self.status_of(listener),
                         f"1 client, 0 sockets; everything is denied: {wrong}; the last reload failed: {wrong}")
        self.write("[Rules]\nAllow=tcp * 80\n", "some.policy")
        daemon.send_signal(signal.SIGHUP)
        self.assertEqual(self.status_of(listener), "1 client, 0 sockets")
        told = control.inspect(stats=pb.Stats())[0]
        self.assertEqual((told["policy_invalid"], told["policy_problems"], told["policy_rules"]), (0, 0, 1))

    def test_status_tells_of_a_user_who_does_not_exist(self):
        listener, path = self.notify_socket()
        policy = self.write("[Match]\nUser=no-such-user-here\n[Rules]\nDeny=tcp * 25\n", "some.policy")
        daemon = self.spawn("--policy", policy, env={**os.environ, "NOTIFY_SOCKET": path})
        wrong = (f"{policy}:2: User=no-such-user-here: no such user: "
                 "everything is denied to clients to which the file may apply")
        self.assertEqual(self.status_of(listener), f"0 clients, 0 sockets; policy: {wrong}")
        self.assertEqual(self.control().inspect(stats=pb.Stats())[0]["policy_problem"], wrong)
        _, _, err = self.end(daemon)
        self.assertIn(wrong, err)

    def test_many_users_who_do_not_exist_are_counted(self):
        """Such clients do not fill the log."""
        listener, path = self.notify_socket()
        users = "".join(f"User=no-such-user-{n}\n" for n in range(100))
        policy = self.write(f"[Match]\n{users}[Rules]\nAllow=tcp * 25\n", "some.policy")
        daemon = self.spawn("--policy", policy, env={**os.environ, "NOTIFY_SOCKET": path})
        self.status_of(listener)
        told = self.control().inspect(stats=pb.Stats())[0]
        self.assertEqual(told["policy_problems"], 100)
        self.assertIn("User=no-such-user-0:", told["policy_problem"])
        _, _, err = self.end(daemon)
        self.assertEqual(err.count("no such user: it matches no client"), 16)
        self.assertIn("84 more users and groups that do not exist", err)

    @unittest.skipUnless(os.getuid() == 0, "needs root, who has capabilities")
    def test_capabilities_are_given_up(self):
        """Also those of the threads that write the audit's file and read the files of a reload."""
        base = os.path.join(self.base, "root")
        os.mkdir(base, 0o755)
        config = self.write(f"[Audit]\nFile={base}/audit\n")
        listener, path = self.notify_socket()
        daemon = subprocess.Popen([self.binary, *BUILD_OPTIONS, "--runtime-dir", base, "--config", config, "--allow-any"],
                                  env={**os.environ, "NOTIFY_SOCKET": path}, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(self.end, daemon)
        self.status_of(listener)
        threads = os.listdir(f"/proc/{daemon.pid}/task")
        self.assertEqual(len(threads), 3)
        for thread in threads:
            with open(f"/proc/{daemon.pid}/task/{thread}/status", encoding="ascii") as file:
                sets = dict(line.split(":\t") for line in file.read().splitlines() if line.startswith("Cap"))
            self.assertEqual(set(sets.values()), {"0" * 16}, sets)
        wire = Wire(os.path.join(base, "default", "asock.sock"))
        self.addCleanup(wire.disconnect)
        wire.hello()
        _, _, err = self.end(daemon)
        self.assertIn("started with capabilities and has dropped them", err)
        self.assertFalse(os.path.exists(os.path.join(base, "control.sock")))

    def watched(self, binary):
        """A daemon whose watchdog interval is 100 ms."""
        listener, path = self.notify_socket()
        daemon = self.spawn(
            command=["/bin/sh", "-c", 'WATCHDOG_PID=$$; export WATCHDOG_PID; exec "$0" "$@"',
                     binary, *BUILD_OPTIONS, "--runtime-dir", self.dir, "--config", "/dev/null"],
            env={**os.environ, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"})
        self.assertTrue(listener.recv(4096).startswith(b"READY=1"))
        return listener, daemon

    def test_watchdog_is_fed(self):
        listener, daemon = self.watched(self.binary)
        for _ in range(3):
            self.assertEqual(listener.recv(4096), b"WATCHDOG=1")
        self.assertEqual(self.end(daemon)[0], 0)

    def test_watchdog_starves_when_a_callback_hangs(self):
        """What was sent before the hang is read; nothing follows it."""
        hooks = os.path.join(BUILD, "asockd-hooks")
        if not os.path.exists(hooks):
            self.skipTest("no asockd-hooks was built")
        listener, daemon = self.watched(self.usable(hooks))
        self.assertEqual(listener.recv(4096), b"WATCHDOG=1")
        daemon.send_signal(signal.SIGUSR2)

        def is_hanging():
            with open(f"/proc/{daemon.pid}/syscall", encoding="ascii") as file:
                return file.read().split()[0] in self.pause_numbers()
        if os.getuid() == 0:
            wait_for("the hang", is_hanging)
        while select.select([listener], [], [], 1.0)[0]:
            self.assertEqual(listener.recv(4096), b"WATCHDOG=1")
        self.end(daemon, signal.SIGKILL)

    @staticmethod
    def pause_numbers():
        return ("34", "29", "73", "271", "7")  # pause or ppoll, x86-64 and arm64


if __name__ == "__main__":
    unittest.main()
