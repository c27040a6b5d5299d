# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl kill: the owner gets an event, the peer a reset, and others are not affected."""

import json
import os
import socket
import subprocess
import unittest

import asockctl
import asockd
import terminal

DEADLINE = asockctl.DEADLINE


class Kill(unittest.TestCase):
    def setUp(self):
        self.daemon = asockd.Daemon("--allow-any")
        self.addCleanup(self.daemon.stop)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(DEADLINE)
        self.addCleanup(self.listener.close)

    def connection(self):
        """A tool that receives, and its peer, which has said a word."""
        tool = asockctl.Tool("connect", "127.0.0.1", str(self.listener.getsockname()[1]),
                             "--socket", self.daemon.path, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(tool.close)
        peer, _ = self.listener.accept()
        self.addCleanup(peer.close)
        peer.settimeout(DEADLINE)
        peer.sendall(b"word")
        self.assertEqual(tool.stdout.read(4), b"word")
        return tool, peer

    def control(self, *args, status=0):
        done = asockctl.run(*args, "--control", self.daemon.control_path)
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def ids(self):
        rows = json.loads(self.control("list", "--json").stdout)
        return {row["remote"]: row["id"] for row in rows}, {row["local"]: row["id"] for row in rows}

    def id_of(self, peer):
        return self.ids()[1]["%s:%d" % peer.getpeername()]

    def test_s55_the_owner_is_told_and_the_peer_reset(self):
        victim, victim_peer = self.connection()
        other, other_peer = self.connection()
        self.control("kill", str(self.id_of(victim_peer)))
        with self.assertRaises(ConnectionResetError):
            victim_peer.recv(1)
        self.assertEqual(victim.wait(DEADLINE), 1)
        self.assertIn(b"ended by the", victim.stderr.read())

        other_peer.sendall(b"more")
        self.assertEqual(other.stdout.read(4), b"more")
        self.assertEqual(len(self.ids()[1]), 1)

    def test_s55_a_session_can_be_killed(self):
        tool, peer = self.connection()
        show = json.loads(self.control("show", str(self.id_of(peer)), "--json").stdout)
        self.control("kill", str(show["session"]))
        with self.assertRaises(ConnectionResetError):
            peer.recv(1)
        self.assertEqual(tool.wait(DEADLINE), 1)
        self.assertEqual(self.ids()[1], {})

    def test_unknown_ids_are_named_and_the_others_end(self):
        _, peer = self.connection()
        done = self.control("kill", "999999", str(self.id_of(peer)), status=7)
        self.assertIn(b"999999: no such ID", done.stderr)
        with self.assertRaises(ConnectionResetError):
            peer.recv(1)

    def test_a_wrong_word_ends_nothing(self):
        tool, peer = self.connection()
        done = self.control("kill", str(self.id_of(peer)), "all", status=2)
        self.assertIn(b'"all" is not an ID', done.stderr)
        peer.sendall(b"more")
        self.assertEqual(tool.stdout.read(4), b"more")

    def test_filters_say_which(self):
        a, peer_a = self.connection()
        b, peer_b = self.connection()
        port = peer_b.getpeername()[1]
        # Without a terminal nothing ends by a filter alone.
        done = self.control("kill", f"local=*:{port}", status=2)
        self.assertIn(b"1 socket or session would be killed", done.stderr)
        self.assertIn(b"--yes", done.stderr)
        done = self.control("kill", "user=*", status=2)
        self.assertIn(b"2 sockets or sessions would be killed, but there is no terminal to ask for confirmation: use --yes, or --dry-run to see them", done.stderr)
        done = self.control("kill", f"local=*:{port}", "--dry-run")
        self.assertEqual(len(done.stdout.splitlines()), 2)
        self.assertEqual(len(self.ids()[1]), 2)
        done = self.control("kill", f"local=*:{port}", "--yes")
        self.assertEqual(done.stdout, b"1 ended\n")
        with self.assertRaises(ConnectionResetError):
            peer_b.recv(1)
        self.assertEqual(b.wait(DEADLINE), 1)
        peer_a.sendall(b"more")
        self.assertEqual(a.stdout.read(4), b"more")

    def test_by_destination_and_user(self):
        _, peer = self.connection()
        to = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.control("kill", "to=127.0.0.2", "--yes", status=7)
        self.control("kill", f"to={to}", "user=no-such-user", "--yes", status=7)
        self.control("kill", f"to={to}", f"uid={os.getuid()}", "--yes")
        with self.assertRaises(ConnectionResetError):
            peer.recv(1)

    def test_sessions_but_not_the_own_one(self):
        tool, peer = self.connection()
        done = self.control("kill", "--sessions", "pid=*", "--yes")
        # The test's own control session and that of the tool; not the one of asockctl kill.
        self.assertEqual(done.stdout, b"2 ended\n")
        with self.assertRaises(ConnectionResetError):
            peer.recv(1)
        self.assertEqual(tool.wait(DEADLINE), 1)

    def test_what_nothing_fits(self):
        for args in (("unit=nobody.service", "--yes"), ("unit=nobody.service",), ("999999", "--dry-run")):
            done = self.control("kill", *args, status=7)
            self.assertIn(b"no such socket or session", done.stderr)

    def test_wrong_words(self):
        for args in (("unit=x", "7"), ("7", "unit=x"), ("dance=1",), ("7", "--sessions"), ("all",)):
            self.control("kill", *args, status=2)

    def ask_on_terminal(self, answer, *args):
        asked = terminal.Terminal(asockctl.TOOL, "kill", *args, "--control", self.daemon.control_path)
        self.addCleanup(asked.close)
        asked.until(lambda t: b"Kill them? [y/N] " in t.output)
        asked.write(answer)
        return asked.finish()

    def test_a_terminal_is_asked(self):
        tool, peer = self.connection()
        number = str(self.id_of(peer))
        for args in ((number,), ("user=*",)):
            status, text = self.ask_on_terminal("n\n", *args)
            self.assertEqual(status, 1)
            self.assertIn("nothing was ended", text)
            self.assertIn(f" {tool.pid} ", text)  # it says what it is about
        peer.sendall(b"more")
        self.assertEqual(tool.stdout.read(4), b"more")
        status, text = self.ask_on_terminal("y\n", number)
        self.assertEqual(status, 0)
        self.assertIn("1 ended", text)
        with self.assertRaises(ConnectionResetError):
            peer.recv(1)

    def test_yes_asks_nobody(self):
        _, peer = self.connection()
        status, text = terminal.run("kill", "--yes", "user=*", "--control", self.daemon.control_path)
        self.assertEqual((status, text), (0, "1 ended\n"))
        with self.assertRaises(ConnectionResetError):
            peer.recv(1)

    def test_a_client_socket_does_not_kill(self):
        tool, peer = self.connection()
        done = asockctl.run("kill", str(self.id_of(peer)), "--control", self.daemon.path)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"requires the control socket", done.stderr)
        peer.sendall(b"more")
        self.assertEqual(tool.stdout.read(4), b"more")


if __name__ == "__main__":
    unittest.main()
