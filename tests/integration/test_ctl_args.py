# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl's arguments, help, completion; and what it says when there is no daemon."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import unittest

import asockctl

DEADLINE = asockctl.DEADLINE

COMMANDS = ("list", "sessions", "denied", "monitor", "top", "show", "stats", "connect", "resolve", "kill", "run", "reload", "listener", "policy", "proxy")


class Arguments(unittest.TestCase):

    def check_wrong(self, *args, message):
        done = asockctl.run(*args)
        text = done.stderr.decode()
        self.assertEqual((done.returncode, done.stdout), (2, b""), (args, text))
        self.assertIn(message, text, args)
        self.assertTrue(text.startswith("asockctl: "), text)
        self.assertIn("asockctl --help", text, args)

    def test_wrong_calls(self):
        self.check_wrong(message="no command")
        self.check_wrong("--json", message="no command")
        self.check_wrong("frobnicate", message='unknown command "frobnicate"')
        self.check_wrong("", message='unknown command ""')
        self.check_wrong("list", "extra", message='"extra" is not a filter: use COLUMN=PATTERN, such as unit=foo.service')
        self.check_wrong("stats", "extra", message="usage: asockctl stats")
        self.check_wrong("show", "1", "2", message="usage: asockctl show [OPTION]... [ID]")
        self.check_wrong("connect", message="usage: asockctl connect [OPTION]... HOST PORT")
        self.check_wrong("connect", "host", message="usage: asockctl connect [OPTION]... HOST PORT")
        self.check_wrong("connect", "host", "1", "2", message="usage: asockctl connect [OPTION]... HOST PORT")

    def test_wrong_options(self):
        self.check_wrong("list", "--frobnicate", message="unrecognized option")
        self.check_wrong("list", "-x", message="invalid option")
        self.check_wrong("list", "--socket", message="requires an argument")
        self.check_wrong("list", "--json=yes", message="doesn't allow an argument")
        self.check_wrong("list", "--socket", "", message="empty")
        self.check_wrong("list", "--socket", "/a", "--control", "/b", message="cannot be combined")
        self.check_wrong("connect", "h", "1", "--control", "/a", message="client socket")
        self.check_wrong("connect", "h", "1", "--human", message="--human")
        self.check_wrong("resolve", "h", "--keep-open", message="resolve does not accept --exit-on-close")
        self.check_wrong("list", "--close", message="list does not accept --close")
        self.check_wrong("reload", "--unit", "a.service", message="reload does not accept --user")
        self.check_wrong("reload", "--socket", "/a", message="reload uses the control socket: give --control, not --socket")
        self.check_wrong("list", "--prometheus", message="list does not accept --openmetrics or other metrics formats")

    def test_options_of_subcommands(self):
        check = ("policy", "check")
        for option, value in (("--socket", "/a"), ("--control", "/a"), ("--timeout", "1"), ("--group", "0"), ("--id", "1"),
                              ("--address", "::1"), ("--listen", "tcp")):
            self.check_wrong(*check, option, value, message="policy check does not accept " + option.replace("id", "user"))
        for option in ("--policy", "--config-dir"):
            self.check_wrong(*check, "f", option, "a", message="policy check accepts either files, or --policy and --config-dir")
            self.check_wrong("policy", "show", option, "a", message="policy show does not accept " + option)
        self.check_wrong("policy", "show", "--address", "::1", message="policy show does not accept --address")
        self.check_wrong("policy", "show", "--listen", "tcp", message="policy show does not accept --listen")
        self.check_wrong("policy", "learned", "--socket", "/a", message="policy learned uses the control socket")
        self.check_wrong("policy", "learned", "--user", "0", message="policy learned does not accept --user")
        for option in ("--socket", "--control"):
            self.check_wrong("policy", "test", "--policy", "a", option, "/a", "tcp", "h", "1", message=option)
        self.check_wrong("policy", "frobnicate", message="usage: asockctl policy [OPTION]... test|show|check|learned")
        self.check_wrong("listener", "remove", "web", "--mode", "600", message="listener remove does not accept --mode")
        self.check_wrong("listener", "remove", "web", "--group", "0", message="listener remove does not accept --group")
        self.check_wrong("listener", "frobnicate", "web", message="usage: asockctl listener [OPTION]... add|remove NAME")
        self.check_wrong("proxy", "--policy", "a", "--policy", "b", message="proxy does not accept second --policy")

    def test_one_message_for_many_wrong_options(self):
        for args in (("proxy", *("--listen", "./a") * 20), ("list", "--timeout", "x", "--timeout", "y")):
            done = asockctl.run(*args)
            self.assertEqual((done.returncode, done.stderr.count(b"\n")), (2, 2), done.stderr)

    def test_wrong_values(self):
        for value in ("", "x", "1x", "0", "-1", "nan", "inf", "1e99", "99999999999"):
            self.check_wrong("list", "--timeout", value, message="--timeout")
        for value in ("", "x", "-1", "1x", " 1", "99999999999999999999"):
            self.check_wrong("show", "--", value, message="not an ID")
        for port in ("0", "65536", "99999999999999999999"):
            self.check_wrong("connect", "host", port, message="between 1 and 65535")
        for value in ("", "x", "-1", "0", "1", "77", "99999999999999999999"):
            self.check_wrong("connect", "host", "1", "--ready-fd", value, message="--ready-fd")
        self.check_wrong("connect", "", "1", message="host")
        self.check_wrong("connect", "h" * 254, "1", message="host")
        self.check_wrong("connect", "host", "", message="port")
        self.check_wrong("connect", "host", "p" * 33, message="port")

    def test_what_is_copied_from_elsewhere(self):
        for text, words in (("https://example.com/a?b#c", "example.com 443"), ("http://u:p@example.com:8080/x", "example.com 8080"),
                            ("http://example.com", "example.com 80"), ("ftp://h", "h ftp"), ("https://[2001:db8::1]/", "2001:db8::1 443"),
                            ("https://[2001:db8::1]:8443", "2001:db8::1 8443")):
            for args in (("connect", text, "443"), ("resolve", text), ("policy", "test", "tcp", text, "443")):
                self.check_told(args, f"{text} is a URL; give host and port: {words}\n")
        self.check_told(("connect", "example.com:443", "443"), "example.com:443 contains a port; give host and port: example.com 443\n")
        self.check_told(("connect", "[::1]:22", "22"), "[::1]:22 contains a port; give host and port: ::1 22\n")
        self.check_told(("resolve", "http://a\x1b[31m"), "http://a\\x1b[31m is a URL; give host and port: a\\x1b[31m 80\n")

    def check_told(self, args, text):
        done = asockctl.run(*args)
        self.assertEqual((done.returncode, done.stderr.decode()), (2, "asockctl: " + text))

    def test_help(self):
        done = asockctl.run("--help")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        for command in COMMANDS:
            self.assertRegex(done.stdout.decode(), rf"(?m)^  {command} ")
            for own in (asockctl.run(command, "--help"), asockctl.run("-h", command)):
                self.assertEqual((own.returncode, own.stderr), (0, b""))
                self.assertTrue(own.stdout.startswith(b"Usage: asockctl " + command.encode()))
        self.assertIn(b"--control", asockctl.run("list", "-h").stdout)
        self.assertNotIn(b"--control", asockctl.run("connect", "-h").stdout)

    def test_help_of_a_command_is_about_it_alone(self):
        whole = asockctl.run("--help").stdout.decode()
        policy = asockctl.run("policy", "--help").stdout.decode()
        listener = asockctl.run("listener", "--help").stdout.decode()
        for text, word in ((policy, "policy"), (listener, "listener")):
            self.assertNotRegex(text, rf"(?m)^  --[^ ]+ [^ ]* +[a-z, ]*{word}[a-z ]*: ")
        self.assertRegex(whole, r"(?m)^  --group GROUP +policy: another group")
        self.assertRegex(whole, r"(?m)^  --group GROUP +listener: group of the socket file")
        self.assertRegex(policy, r"(?m)^  --group GROUP +another group")
        self.assertNotIn("socket file", policy)
        self.assertRegex(listener, r"(?m)^  --group GROUP +group of the socket file")
        self.assertNotIn("another group", listener)
        self.assertIn("  --policy FILE      restrict the session", asockctl.run("proxy", "--help").stdout.decode())

    def test_version(self):
        done = asockctl.run("--version")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertRegex(done.stdout.decode(), r"^asockctl \d+\.\d+\.\d+ \(libasock \d+\.\d+\.\d+\)\n$")

    def test_full_output_is_a_failure(self):
        with open("/dev/full", "wb") as full:
            done = asockctl.run("--help", stdout=full)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"No space left", done.stderr)

    def test_closed_output_is_a_failure(self):
        tool = [asockctl.TOOL, "--help"]
        done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *tool], env=asockctl.environment(),
                              stderr=subprocess.PIPE, timeout=DEADLINE)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"standard output", done.stderr)


class NoDaemon(unittest.TestCase):

    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.path = os.path.join(self.dir.name, "sock")

    def check(self, *args, says, **env):
        done = asockctl.run(*args, env=asockctl.environment(**env))
        text = done.stderr.decode()
        self.assertEqual((done.returncode, done.stdout), (8, b""), (args, text))
        for part in says:
            self.assertIn(part, text, args)

    def test_nothing_there(self):
        for command in ("list", "sessions", "show", "stats"):
            self.check(command, "--control", self.path, says=(f"control socket {self.path} does not exist", "running",
                                                              "systemctl start", "--control"))
            self.check(command, "--socket", self.path, says=(f"client socket {self.path} does not exist", "running",
                                                             "--socket"))
        for args in (("denied",), ("kill", "7"), ("kill", "unit=x", "--yes"), ("reload",)):
            self.check(*args, "--control", self.path, says=(f"control socket {self.path} does not exist",))
        self.check("resolve", "host", "--socket", self.path, says=(self.path, "running"))
        self.check("connect", "host", "1", "--socket", self.path, says=(self.path, "running"))

    def test_nobody_listens(self):
        with socket.socket(socket.AF_UNIX) as left_behind:
            left_behind.bind(self.path)
        self.check("list", "--control", self.path, says=(self.path, "refused", "running"))

    def test_environment_names_the_socket(self):
        other = self.path + "-other"
        self.check("list", ASOCK_CONTROL=self.path, says=(self.path, "ASOCK_CONTROL"))
        self.check("list", ASOCK_SOCKET=self.path, says=(self.path, "ASOCK_SOCKET"))
        self.check("list", ASOCK_SOCKET=other, ASOCK_CONTROL=self.path, says=(self.path + " ",))
        self.check("list", "--socket", self.path, ASOCK_CONTROL=other, says=(self.path + " ",))
        self.check("connect", "h", "1", ASOCK_CONTROL=other, ASOCK_SOCKET=self.path,
                   says=(self.path + " ",))

    def test_path_too_long(self):
        self.check("list", "--control", "/" + "x" * 200, says=("too long",))

    def test_a_peer_that_does_not_answer(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path)
            listener.listen()
            self.check("list", "--control", self.path, "--timeout", "0.1", says=("is not responding", "systemctl status asockd"))
            self.check("monitor", "--control", self.path, "--timeout", "0.1", says=("is not responding", "systemctl status asockd"))
            self.check("connect", "h", "1", "--socket", self.path, "--timeout", "0.1",
                       says=("is not responding", "systemctl status asockd"))

    def test_a_peer_that_hangs_up(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path)
            listener.listen()
            listener.settimeout(DEADLINE)
            tool = asockctl.Tool("stats", "--control", self.path, stderr=subprocess.PIPE)
            connection, _ = listener.accept()
            connection.close()
            _, text = tool.communicate(timeout=DEADLINE)
        self.assertEqual(tool.returncode, 8)
        self.assertIn(b"asockd ended the session", text)


class Manual(unittest.TestCase):

    def test_every_command_has_an_example(self):
        with open(os.path.join(asockctl.SRCDIR, "man/asockctl.1"), encoding="utf-8") as file:
            commands = re.search(r"^\.SH COMMANDS\n(.*?)^\.SH ", file.read(), re.M | re.S).group(1)
        sections = re.findall(r"^\.SS ([^\n]*)\n(.*?)(?=^\.SS |\Z)", commands, re.M | re.S)
        self.assertEqual({title.split()[0] for title, _ in sections}, set(COMMANDS))
        for title, text in sections:
            for name in title.split(", "):
                self.assertRegex(text, rf"(?m)^(\.B |\$ )?asockctl {name}\b", name)


class Completion(unittest.TestCase):

    SCRIPT = os.path.join(asockctl.SRCDIR, "ctl/completion/asockctl")

    def complete(self, *words):
        program = (f'. "{self.SCRIPT}"; COMP_WORDS=(asockctl "$@"); COMP_CWORD=$#; _asockctl; '
                   'printf "%s\\n" "${COMPREPLY[@]}"')
        # A service or a host is whatever this machine has; the tool itself must not be asked.
        done = subprocess.run(["bash", "-c", program, "bash", *words], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=DEADLINE, check=True,
                              env=asockctl.environment(PATH="/usr/bin:/bin"))
        self.assertEqual(done.stderr, b"")
        return set(done.stdout.decode().split())

    def test_words(self):
        self.assertEqual(self.complete(""), set(COMMANDS))
        self.assertEqual(self.complete("s"), {"sessions", "show", "stats"})
        self.assertEqual(self.complete("list", "st"), {"state="})
        self.assertEqual(self.complete("sessions", "--sort", "li"), {"listener"})
        self.assertEqual(self.complete("denied", "--columns", "re"), {"reason", "remote"})
        self.assertEqual(self.complete("--control", "/x", "l"), {"list", "listener"})
        self.assertEqual(self.complete("stats", "--h"), {"--human", "--help"})
        self.assertEqual(self.complete("connect", "--h"), {"--help"})
        self.assertEqual(self.complete("list", "--timeout", ""), set())
        self.assertEqual(self.complete("kill", "unit=x", "--"), {"--control", "--json", "--timeout", "--yes", "--dry-run", "--sessions",
                                                                 "--help", "--version"})
        self.assertEqual(self.complete("policy", ""), {"test", "show", "check", "learned"})
        self.assertEqual(self.complete("policy", "--unit", "x.service", "test", ""), {"tcp", "udp"})
        self.assertEqual(self.complete("policy", "check", "--"), {"--json", "--policy", "--config-dir", "--help", "--version"})
        self.assertEqual(self.complete("listener", "remove", "--"), {"--control", "--json", "--timeout", "--path", "--help", "--version"})

    def test_every_option_of_the_help_is_offered(self):
        for command in COMMANDS:
            text = asockctl.run(command, "--help").stdout.decode()
            told = set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", text, re.M))
            self.assertEqual(self.complete(command, "--"), told, command)

    def test_every_other_option_is_refused(self):
        """Never accepted and ignored."""
        takes_value = set(re.findall(r"^  (--[a-z-]+) [A-Z[]", asockctl.run("--help").stdout.decode(), re.M))
        everything = set().union(*(self.complete(command, "--") for command in COMMANDS))
        plain = [(command,) for command in COMMANDS if command not in ("policy", "listener")]
        parts = [("policy", word) for word in ("test", "show", "check", "learned")]
        for call in (*plain, *parts, ("listener", "add"), ("listener", "remove")):
            for option in everything - self.complete(*call, "--"):
                done = asockctl.run(*call, option, *(["2"] if option in takes_value else []))
                self.assertEqual((done.returncode, done.stdout), (125 if call == ("run",) else 2, b""), (call, option))
                self.assertRegex(done.stderr.decode(), "does not accept --|uses (a client|the control) socket", (call, option))

    def test_every_option_is_in_the_manual(self):
        with open(os.path.join(asockctl.SRCDIR, "man/asockctl.1"), encoding="utf-8") as page:
            manual = page.read().replace("\\-", "-")
        offered = set().union(*(self.complete(command, "--") for command in COMMANDS))
        for word in offered | set(COMMANDS):
            self.assertIn(word, manual)


@unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
class ZshCompletion(unittest.TestCase):
    """It offers what the one for bash does; compadd and the like only tell what they are given."""

    SCRIPT = os.path.join(asockctl.SRCDIR, "ctl/completion/zsh/_asockctl")
    PROGRAM = """
        for f in _files _users _groups _hosts _command_names; do eval "$f() { print FUNCTION:$f }"; done
        compadd() { while [[ $1 != -- ]]; do shift; done; shift; print -l -- "$@" }
        . "$1"; shift; words=(asockctl "$@"); CURRENT=$#words; _asockctl
    """

    def complete(self, *words):
        done = subprocess.run(["zsh", "-fc", self.PROGRAM, "zsh", self.SCRIPT, *words], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=DEADLINE, check=True,
                              env=asockctl.environment(PATH="/usr/bin:/bin", ASOCKCTL_COMPLETION_TEST="1"))
        self.assertEqual(done.stderr, b"")
        return set(done.stdout.decode().split())

    def test_it_agrees_with_the_one_for_bash(self):
        bash = Completion()
        self.assertEqual(self.complete(""), bash.complete(""))
        self.assertEqual(self.complete("policy", ""), bash.complete("policy", ""))
        for command in COMMANDS:
            self.assertEqual(self.complete(command, "-"), bash.complete(command, "-"), command)
        for call in (*(("policy", word) for word in ("test", "show", "check", "learned")), ("listener", "remove")):
            self.assertEqual(self.complete(*call, "-"), bash.complete(*call, "-"), call)
        for command in ("list", "sessions", "denied", "monitor", "top"):
            self.assertEqual({word + "=" for word in self.complete(command, "")}, bash.complete(command, ""))
            self.assertEqual(self.complete(command, "--columns", ""), bash.complete(command, "--columns", ""))

    def test_words(self):
        self.assertEqual(self.complete("--control", ""), {"FUNCTION:_files"})
        self.assertEqual(self.complete("run", ""), {"FUNCTION:_command_names"})
        self.assertEqual(self.complete("run", "x", ""), {"FUNCTION:_files"})
        self.assertEqual(self.complete("policy", "--user", ""), {"FUNCTION:_users"})
        self.assertEqual(self.complete("--control", "/x", "policy", "test", ""), {"tcp", "udp"})


if __name__ == "__main__":
    unittest.main()
