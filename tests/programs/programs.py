# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real programs in a sandbox that has no network: what the tests of this folder share.

A test is a row of docs/programs.md: its decorator has the program's name, how it is run and what works. It runs the program
once with a server that policy allows, and once with denied.test, and tells what the user sees then.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile

import asockctl
import network
import servers
from asockd import DaemonTest

DEADLINE = asockctl.DEADLINE
RULES = '[Rules]\nDeny=tcp denied.test * "denied.test is not on the list"\nAllow=tcp *.test * +special +local\n'
# What connect(2) says of a denial in a network of asockctl's, in the words of many programs.
UNREACHABLE = (r".*(Permission denied|No route to host|Host is unreachable|EACCES|EHOSTUNREACH|ENETUNREACH|Could not connect|"
               r"[Cc]ouldn't connect|Name or service not known).*")
# Where the results of a run go, one line each; write-table reads them.
RESULTS = os.environ.get("ASOCK_PROGRAMS_RESULTS")


def program(name, how, works, needs=()):
    """A row: the program, how it is run, what works, and the programs that have to be installed."""
    def decorate(test):
        def wrapped(self):
            for need in needs:
                if not servers.find(need):
                    self.skipTest(f"no {need}")
            self.row = test.__name__
            test(self)
            if RESULTS:
                self.note(ok=True)
        wrapped.__name__, wrapped.__doc__ = test.__name__, test.__doc__
        wrapped.row = {"program": name, "how": how, "works": works}
        return wrapped
    return decorate

# A program without a way to use a proxy talks to a socket of its own, which socat joins to the server by the proxy.
FORWARD = ('socat UNIX-LISTEN:$PWD/{socket},unlink-early,fork PROXY:${{PROXY%:*}}:{server},proxyport=${{PROXY#*:}} & '
           'until socat -u OPEN:/dev/null UNIX-CONNECT:{socket} 2>/dev/null; do sleep 0.05; done; ')


class ProgramTest(DaemonTest):
    """The servers of one class of tests, and the sandbox."""

    mode = "proxy"  # or transparent
    wanted = ()  # functions of servers.py that start one

    @classmethod
    def setUpClass(cls):
        network.enter()
        cls.directory = tempfile.mkdtemp(prefix="asock-programs-")
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)
        os.chmod(cls.directory, 0o755)
        cls.name_servers()
        super().setUpClass()
        cls.ca = os.path.join(cls.directory, "ca.pem")
        servers.write(os.path.join(cls.directory, "rules.policy"), RULES)
        servers.make_certificates(cls.directory)
        servers.make_repository(cls.directory)
        cls.serve(servers.Web(cls.directory, cls.directory))
        for start in cls.wanted:
            cls.serve(start(cls.directory))

    @classmethod
    def name_servers(cls):
        """In a file that still has a name: over the network's own, which has none, a sandbox cannot mount another."""
        servers.write(cls.directory + "/hosts",
                      "127.0.0.1 localhost\n" + servers.ADDRESS + " " + " ".join(servers.NAMES) + "\n")
        network.run("umount", "/etc/hosts")
        network.run("mount", "--bind", cls.directory + "/hosts", "/etc/hosts")

    @classmethod
    def serve(cls, server):
        cls.addClassCleanup(server.close)
        cls.web = server if isinstance(server, servers.Web) else cls.web

    def setUp(self):
        super().setUp()
        # The program's home and current directory; all else that it can write is gone with it.
        self.home = tempfile.mkdtemp(prefix="home-", dir=self.directory)
        servers.write(os.path.join(self.home, "hosts"), "127.0.0.1 localhost\n")

    def note(self, **what):
        with open(RESULTS, "a", encoding="utf-8") as file:
            file.write(json.dumps({"test": self.row, "mode": self.mode, **what}) + "\n")

    def sandbox(self, *more):
        """No network, no names, and no way to the daemon but the descriptor that is inherited."""
        return ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/run", "--tmpfs",
                self.daemon.directory, "--ro-bind", self.home + "/hosts", "/etc/hosts", "--bind", self.home, self.home, "--chdir", self.home, "--setenv", "HOME", self.home,
                "--setenv", "TMPDIR", self.home,
                "--unshare-all", "--die-with-parent", *more]

    def run_program(self, *command, **variables):
        """The completed program; its standard output and error are one."""
        # Nothing of this machine's own proxies, certificates and configuration.
        env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "CA": self.ca, "HOME": self.home, "TMPDIR": self.home,
               **variables}
        line = ["run", "--socket", self.daemon.path, "--policy", self.directory + "/rules.policy"]
        if self.mode == "proxy":
            line += ["--fd", "--", *self.sandbox(), asockctl.TOOL, "run", "--proxy", "--", *command]
        else:
            line += ["--transparent", "--", *command]
        return asockctl.run(*line, env=env, stderr=subprocess.STDOUT, cwd=self.home)

    def works(self, *command, expect=b"", **variables):
        done = self.run_program(*command, **variables)
        self.assertEqual(done.returncode, 0, done.stdout.decode(errors="replace"))
        self.assertIn(expect, done.stdout)
        return done.stdout.decode(errors="replace")

    def denied(self, *command, sees, transparent=UNREACHABLE, **variables):
        """It fails, and its user sees what matches."""
        done = self.run_program(*command, **variables)
        text = done.stdout.decode(errors="replace")
        self.assertNotEqual(done.returncode, 0, text)
        self.sees(text, sees if self.mode == "proxy" else transparent)

    def sees(self, text, pattern):
        """What of it matches is for the table."""
        found = re.search(pattern, text)
        self.assertIsNotNone(found, text)
        if RESULTS:
            self.note(sees=found.group().strip())

    def shell(self, script):
        """PROXY is HOST:PORT of the proxy, if there is one."""
        return ["sh", "-ec", 'PROXY=${http_proxy#http://}; ' + script]

    def forwarded(self, socket, server, command):
        """A shell's line: the command with a place to connect to, a socket's path or the server's name."""
        if self.mode == "proxy":
            return self.shell(FORWARD.format(socket=socket, server=server) + command)
        return self.shell(command)
