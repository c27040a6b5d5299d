# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl kill: the owner is told, the peer is reset, nobody else notices."""

import json
import socket
import subprocess
import unittest

import asockctl
import asockd

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
        done = self.control("kill", "999999", str(self.id_of(peer)), status=1)
        self.assertIn(b"999999: no such id", done.stderr)
        with self.assertRaises(ConnectionResetError):
            peer.recv(1)

    def test_a_wrong_word_ends_nothing(self):
        tool, peer = self.connection()
        done = self.control("kill", str(self.id_of(peer)), "all", status=2)
        self.assertIn(b'"all" is not an ID', done.stderr)
        peer.sendall(b"more")
        self.assertEqual(tool.stdout.read(4), b"more")

    def test_a_client_socket_does_not_kill(self):
        tool, peer = self.connection()
        done = asockctl.run("kill", str(self.id_of(peer)), "--control", self.daemon.path)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"is for the control socket", done.stderr)
        peer.sendall(b"more")
        self.assertEqual(tool.stdout.read(4), b"more")


if __name__ == "__main__":
    unittest.main()
