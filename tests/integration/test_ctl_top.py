# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl top, on a terminal. The screenshot in docs/ is what test_screenshot sees; ASOCK_UPDATE_DOCS=1 writes it."""

import fcntl
import os
import signal
import socket
import struct
import termios
import threading
import unittest

import asockctl
import asockd
import fake_asockd
import screen
import terminal

SCREENSHOT = os.path.join(asockctl.SRCDIR, "docs/asockctl-top.md")
HAVE_TOP = b"without ncurses" not in asockctl.run("top", "--control", "/nowhere").stderr

# id, user, unit, command, to, bytes in and out at first, and in each second.
SOCKETS = [
    (17, "root", "backup.service", "restic", ("storage.example.com", 443), 81920, 734003200, 2048, 11534336),
    (23, "www-data", "nginx.service", "nginx", ("api.internal.example", 8080), 5242880, 1048576, 131072, 20480),
    (24, "www-data", "nginx.service", "nginx", ("api.internal.example", 8080), 4194304, 524288, 98304, 10240),
    (31, "bob", "", "curl", ("deb.debian.org", 443), 1073741824, 4096, 6291456, 0),
    (40, "bob", "", "a\u202eb", ("192.0.2.7", 22), 1024, 1024, 0, 0),
]


class Rows:
    """What LIST answers: a second later with each question, until it is the fourth."""

    def __init__(self):
        self.asked = 0

    def __iter__(self):
        seconds = min(self.asked, 3)
        self.asked += 1
        for number, user, unit, command, (host, port), bytes_in, bytes_out, in_s, out_s in SOCKETS:
            yield [("id", number), ("pid", 1000 + number), ("unit", unit), ("command", command), ("user", user),
                   ("state", "connected"), ("remote", f"203.0.113.{number}:{port}"), ("host", host), ("port", port),
                   ("bytes_in", bytes_in + seconds * in_s), ("bytes_out", bytes_out + seconds * out_s),
                   ("age_ms", 60000 * number + 1000 * seconds), ("name", "x")]


@unittest.skipUnless(HAVE_TOP, "asockctl was built without ncurses")
class Top(fake_asockd.FakeTest):

    def setUp(self):
        super().setUp()
        self.rows = Rows()
        path = os.path.join(self.dir, "sock")
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.listen()
        threading.Thread(target=self.serve, args=(listener,), daemon=True).start()
        self.terminal = self.start("--control", path)

    def serve(self, listener):
        try:
            fake_asockd.serve(listener, self.rows, self.asked)
        except OSError:
            pass  # the tool has gone

    def start(self, *args):
        started = terminal.Terminal(asockctl.TOOL, "top", *args, env=asockctl.environment(TERM="vt100"))
        self.addCleanup(started.close)
        return started

    def shown(self):
        return screen.shown(self.terminal.output)

    def until(self, *texts):
        self.terminal.until(lambda _: all(text in self.shown() for text in texts))

    def test_screenshot(self):
        self.until("733M", "11M", "40m03s", "q quit")  # the fourth look, to its last line
        text = self.shown()
        if os.environ.get("ASOCK_UPDATE_DOCS"):
            with open(SCREENSHOT, "w", encoding="utf-8") as file:
                file.write(f"# asockctl top\n\n```\n{text}```\n")
        with open(SCREENSHOT, encoding="utf-8") as file:
            self.assertEqual(f"# asockctl top\n\n```\n{text}```\n", file.read())
        for line in text.splitlines():
            self.assertLessEqual(len(line), 80)
        self.terminal.write("q")
        self.assertEqual(self.terminal.finish()[0], 0)

    def until_first(self, text, first):
        """The whole of a screen need not come at once."""
        self.terminal.until(lambda _: text in self.shown() and self.lines()[:1] == [first])

    def lines(self):
        return [line[2:].split()[0] for line in self.shown().splitlines()[3:] if line and not line.startswith("q quit")]

    def test_views_and_orders(self):
        self.until("by rate", "backup.service", "11M")
        self.terminal.write("2")
        self.terminal.until(lambda _: any(line.split()[1:2] == ["nginx.service"] and line.split()[-1] == "2"
                                          for line in self.shown().splitlines()))
        self.terminal.write("\t")
        self.until("destinations by rate", "api.internal.example:8080")
        self.terminal.write("s")
        self.until_first("by in", "deb.debian.org:443")
        self.terminal.write("s")
        self.until_first("by out", "storage.example.com:443")

    def test_a_filter(self):
        self.until("nginx.service")
        self.terminal.write("/unit=nginx.service\n")
        self.terminal.until(lambda _: "top  2 sockets" in self.shown() and "backup" not in self.shown()
                            and "bob" not in self.shown() and self.shown().count("nginx.service") == 3)
        self.terminal.write("/nonsense\n")
        self.until("not a filter")
        self.terminal.write("/\n")
        self.until("top  5 sockets")

    def test_hostile_text_stays_text(self):
        self.until("a\\u{202e}b")

    def kills(self):
        return [request.kill.id for request, _ in self.asked if request.HasField("kill")]

    def test_kill(self):
        self.until("11M")
        self.terminal.write("2")
        self.until("clients by rate")
        self.terminal.write("ss")  # in, out: backup first
        self.until("by out")
        self.terminal.write("\x1bOB")  # down: nginx or another
        self.until("> www-data")
        self.terminal.write("k")
        self.until("end 2 sockets of nginx.service? [y/N]")
        self.terminal.write("n")
        self.terminal.write("k")
        self.until("end 2 sockets of nginx.service? [y/N]")
        self.assertEqual(self.kills(), [])
        self.terminal.write("y")
        self.until("2 ended")
        self.assertEqual(sorted(self.kills()), [23, 24])

    def test_its_size_may_change(self):
        self.until("11M")
        fcntl.ioctl(self.terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", 5, 40, 0, 0))
        os.kill(self.terminal.pid, signal.SIGWINCH)
        self.terminal.write("q")
        self.assertEqual(self.terminal.finish()[0], 0)


class NoTerminal(unittest.TestCase):

    def test_it_says_what_it_wants(self):
        done = asockctl.run("top")
        self.assertEqual((done.returncode, done.stdout), (2 if HAVE_TOP else 1, b""))
        self.assertIn(b"top requires a terminal" if HAVE_TOP else b"libncurses-dev", done.stderr)

    @unittest.skipUnless(HAVE_TOP, "asockctl was built without ncurses")
    def test_the_terminal_is_as_before_when_the_daemon_ends(self):
        daemon = asockd.Daemon()
        started = terminal.Terminal(asockctl.TOOL, "top", "--control", daemon.control_path,
                                    env=asockctl.environment(TERM="vt100"))
        self.addCleanup(started.close)
        started.until(lambda t: b"q quit" in t.output)
        daemon.stop()
        status, text = started.finish()
        self.assertEqual(status, 8)
        self.assertTrue(text.rstrip().endswith("asockctl: asockd ended the session: connection aborted")
                        or "asockd ended the session" in text.rsplit("q quit", 1)[1], text[-300:])

    @unittest.skipUnless(HAVE_TOP, "asockctl was built without ncurses")
    def test_no_daemon(self):
        status, text = terminal.run("top", "--control", "/nowhere")
        self.assertEqual(status, 8)
        self.assertIn("control socket /nowhere does not exist", text)


if __name__ == "__main__":
    unittest.main()
