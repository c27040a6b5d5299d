# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl reload, and policy test, check and learned."""

import grp
import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import unittest

import asockctl
import asockd
import fake_asockd
from wire import Wire, pb, request

RULES = [
    [("file", "/etc/b.policy"), ("rule", "tcp one.test 443"), ("uid", 1000), ("count", 3), ("first", 0), ("last", 86400)],
    [("file", "/etc/a.policy"), ("rule", "tcp 192.0.2.7 80"), ("uid", 0), ("count", 1), ("first", 1), ("last", 1)],
    [("file", "/etc/b.policy"), ("rule", "tcp two.test 443"), ("count", 1), ("first", 2), ("last", 2)],
]

FILES = {
    "names.policy": """[Match]
Listener=names
[Rules]
Deny=tcp bad.test * "not that one"
Allow=tcp *.test 443
Allow=tcp 10.0.0.0/8 *
""",
    "unit.policy": "[Match]\nUnit=a.service\n[Rules]\nAllow=tcp unit.test *\n",
    "user.policy": "[Match]\nUser=54321\n[Rules]\nAllow=tcp user.test *\n",
    "group.policy": "[Match]\nGroup=54321\n[Rules]\nAllow=tcp group.test *\n",
    "cgroup.policy": "[Match]\nCgroup=/a.slice/*\n[Rules]\nAllow=tcp cgroup.test *\n",
    "listener.policy": "[Match]\nListener=web\n[Rules]\nAllow=tcp listener.test *\n",
    "user-unit.policy": "[Match]\nUser=54322\nUserUnit=b.service\n[Rules]\nAllow=tcp mine.test *\n",
}


class Says(fake_asockd.FakeTest):
    """What the tool asks, and what it makes of an answer."""

    def question(self):
        """(name, value) of the verdict that was asked for last; it is followed by a question for others."""
        request, payload = self.asked[-2]
        self.assertEqual(request.verb, pb.VERB_JUDGE)
        return [(f.name, f.number if f.is_number else f.text) for f in pb.Record.FromString(payload).fields]

    def verdict(self, *args, status=0, verdict="allow", **fields):
        row = [("verdict", verdict), *fields.items()]
        done = self.ask([row], "policy", "test", *args)
        self.assertEqual((done.returncode, done.stderr), (status, b""))
        return done.stdout.decode()

    def test_what_is_asked(self):
        self.verdict("--unit", "a.service", "--user-unit", "b.service", "--cgroup", "/c", "--listener", "web",
                     "--group", "12345", "--user", "54321", "--address", "192.0.2.1", "tcp", "b\u00fccher.test", "https")
        self.assertEqual(self.question(), [
            ("uid", 54321), ("gid", 12345), ("unit", "a.service"), ("user_unit", "b.service"), ("cgroup", "/c"),
            ("listener", "web"), ("address", "192.0.2.1"), ("protocol", "tcp"), ("host", "xn--bcher-kva.test"),
            ("service", "https")])
        self.verdict("tcp", "192.0.2.1", "80")
        self.assertEqual(self.question(), [("protocol", "tcp"), ("host", "192.0.2.1"), ("service", "80")])
        self.verdict("--pid", "77", "tcp", "192.0.2.1", "80")
        self.assertEqual(self.question()[0], ("pid", 77))
        self.verdict("--id", "78", "tcp", "192.0.2.1", "80")
        self.assertEqual(self.question()[-1], ("id", 78))

    def test_a_user_has_its_groups(self):
        user = next(u for u in pwd.getpwall() if u.pw_uid)
        groups = {user.pw_gid} | {g.gr_gid for g in grp.getgrall() if user.pw_name in g.gr_mem}
        for name in (user.pw_name, str(user.pw_uid)):
            self.verdict("--user", name, "tcp", "h.test", "1")
            asked = self.question()
            self.assertIn(("uid", user.pw_uid), asked)
            self.assertEqual({value for key, value in asked if key == "gid"}, groups)
        group = grp.getgrall()[1]
        self.verdict("--group", group.gr_name, "tcp", "h.test", "1")
        self.assertIn(("gid", group.gr_gid), self.question())

    def test_verdicts(self):
        self.assertEqual(self.verdict("tcp", "h", "1", about="address", file="/x.policy", line=7, reason=""),
                         "allow by /x.policy:7\n")
        self.assertEqual(self.verdict("tcp", "h", "1", about="name", file="/x.policy", line=7, learned=0),
                         "allow by /x.policy:7 (the name; its addresses are judged when they are known)\n")
        self.assertEqual(self.verdict("tcp", "h", "1", about="address", file="/x.policy", line=2, learned=1),
                         "allow by /x.policy:2 (only because of learn mode)\n")
        for lends, flags in (("held", "+lend"), ("given", "+lend-given"), ("held given", "+lend +lend-given")):
            self.assertEqual(self.verdict("tcp", "h", "1", about="address", file="/x.policy", line=7, lends=lends),
                             f"allow by /x.policy:7 {flags}\n")
        self.assertEqual(self.verdict("tcp", "h", "1", about="address", file="/x.policy", line=7, lends="withheld"),
                         "allow by /x.policy:7 (no lending: the session that shared its rights did not include it)\n")
        self.assertEqual(self.verdict("tcp", "h", "1", status=1, verdict="deny", about="name", file="/x.policy",
                                      line=9, reason="not \u202e you"),
                         "deny by /x.policy:9: not \\u{202e} you\n")
        self.assertEqual(self.verdict("tcp", "h", "1", status=1, verdict="deny", about="name", file="", line=0,
                                      reason="no rule"), "deny: no rule\n")
        self.assertEqual(json.loads(self.verdict("tcp", "h", "1", "--json", status=1, verdict="deny", line=3)),
                         {"verdict": "deny", "line": 3})

    def test_learned(self):
        self.assertEqual(self.check_ok(RULES, "policy", "learned"), """\
# for [Rules] of /etc/b.policy
# uid 1000, 3 times, 1970-01-01 00:00:00Z to 1970-01-02 00:00:00Z
Allow=tcp one.test 443
# 1 times, 1970-01-01 00:00:02Z to 1970-01-01 00:00:02Z
Allow=tcp two.test 443

# for [Rules] of /etc/a.policy
# uid 0, 1 times, 1970-01-01 00:00:01Z to 1970-01-01 00:00:01Z
Allow=tcp 192.0.2.7 80
""")
        self.assertEqual(json.loads(self.check_ok(RULES, "policy", "learned", "--json")),
                         [dict(row) for row in RULES])

    def test_learned_says_what_found_no_room(self):
        done = self.ask(RULES[1:2] + [[("dropped", 17)]], "policy", "learned")
        self.assertEqual((done.returncode, done.stdout.count(b"Allow=")), (0, 1))
        self.assertIn(b"17 further connects are missing here", done.stderr)

    def test_reload_says_what_needs_a_restart(self):
        row = [("cancelled", 0), ("denied", 0), ("closed", 0), ("restart", "Clients=, [Listener]")]
        self.assertEqual(self.check_ok([row], "reload"),
                         "changed, but in force only after a restart: Clients=, [Listener]\n")

    def test_reload(self):
        row = [("cancelled", 1), ("denied", 2), ("closed", 3)]
        told = self.check_ok([row], "reload")
        self.assertEqual([line.split()[0] for line in told.splitlines()], ["1", "3", "2"])
        self.assertFalse(self.asked[-1][0].reload.close)
        self.assertEqual(json.loads(self.check_ok([row], "reload", "--close", "--json")), dict(row))
        self.assertTrue(self.asked[-1][0].reload.close)
        self.assertEqual(self.check_ok([[("cancelled", 0), ("denied", 0), ("closed", 0)]], "reload"), "")


class Check(unittest.TestCase):

    def test_it_is_the_daemons_own(self):
        """With all that follows, options for files included, and with its exit status."""
        program = os.path.join(asockctl.BUILDDIR, "no-such-program")
        done = asockctl.run("policy", "check", "a", env=asockctl.environment(ASOCKD=program))
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"no-such-program: No such file", done.stderr)
        done = asockctl.run("policy", "check", "a", "b c", env=asockctl.environment(ASOCKD="/bin/echo"))
        self.assertEqual((done.returncode, done.stdout), (0, b"--check a b c\n"))
        done = asockctl.run("policy", "check", env=asockctl.environment(ASOCKD="/bin/false"))
        self.assertEqual(done.returncode, 1)


class Policy(unittest.TestCase):
    """Verdicts of real policy files."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="asockd-policy-")
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        os.chmod(cls.directory, 0o755)
        cls.files = [cls.write(name, text) for name, text in FILES.items()]
        arguments = [word for path in cls.files for word in ("--policy", path)]
        cls.daemon = asockd.Daemon("--config", "/dev/null", *arguments)
        cls.addClassCleanup(cls.daemon.stop)

    @classmethod
    def write(cls, name, text):
        path = os.path.join(cls.directory, name)
        with open(path, "w", encoding="ascii") as stream:
            stream.write(text)
        os.chmod(path, 0o644)
        return path

    def judge(self, host, *client, port=443):
        """(verdict, what was judged, file, line)"""
        done = asockctl.run("policy", "test", "--json", "--control", self.daemon.control_path, *client, "tcp", host,
                            str(port))
        told = json.loads(done.stdout)
        self.assertEqual(done.returncode, {"allow": 0, "deny": 1}[told["verdict"]], done.stderr)
        return told["verdict"], told["about"], os.path.basename(told["file"]), told["line"]

    def test_whom_a_file_is_about(self):
        nobody = ("deny", "name", "", 0)
        rows = {"unit.test": ("unit.policy", ("--unit", "a.service")),
                "user.test": ("user.policy", ("--user", "54321")),
                "group.test": ("group.policy", ("--group", "54321")),
                "cgroup.test": ("cgroup.policy", ("--cgroup", "/a.slice/b.service")),
                "listener.test": ("listener.policy", ("--listener", "web")),
                "mine.test": ("user-unit.policy", ("--user", "54322", "--user-unit", "b.service"))}
        for host, (file, client) in rows.items():
            self.assertEqual(self.judge(host), nobody, host)
            self.assertEqual(self.judge(host, *client), ("allow", "name", file, 5 if "--user-unit" in client else 4))
            # What others need does not make it theirs, and what they do not have does not deny them.
            for other, (_, theirs) in rows.items():
                if other != host:
                    self.assertEqual(self.judge(host, *theirs), nobody, (host, theirs))
        self.assertEqual(self.judge("mine.test", "--user-unit", "b.service"), nobody)

    def test_name_then_address(self):
        client = ("--listener", "names")
        file = "names.policy"
        self.assertEqual(self.judge("a.test", *client), ("allow", "name", file, 5))
        self.assertEqual(self.judge("a.test", *client, port=444), ("deny", "name", "", 0))
        self.assertEqual(self.judge("bad.test", *client), ("deny", "name", file, 4))
        self.assertEqual(self.judge("a.test", *client, "--address", "1.2.3.4"), ("allow", "address", file, 5))
        self.assertEqual(self.judge("a.test", *client, "--address", "10.0.0.1"), ("deny", "address", file, 5))
        self.assertEqual(self.judge("bad.test", *client, "--address", "1.2.3.4"), ("deny", "name", file, 4))
        self.assertEqual(self.judge("10.0.0.1", *client), ("allow", "address", file, 6))
        self.assertEqual(self.judge("1.2.3.4", *client), ("deny", "address", "", 0))
        done = asockctl.run("policy", "test", "--control", self.daemon.control_path, *client, "tcp", "bad.test", "443")
        self.assertEqual((done.returncode, done.stdout.decode()), (1, f"deny by {self.files[0]}:4: not that one\n"))

    def test_check(self):
        env = asockctl.environment(ASOCKD=asockd.binary())
        done = asockctl.run("policy", "check", *self.files, env=env)
        self.assertEqual(done.returncode, 0, done.stderr)
        bad = self.write("bad.policy", "[Rules]\nAllow=nothing\n")
        done = asockctl.run("policy", "check", self.files[0], bad, env=env)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{bad}:2: ".encode(), done.stdout + done.stderr)

    def test_nothing_is_asked_or_connected(self):
        before = self.daemon.stats()
        for _ in range(10):
            self.judge("a.test", "--listener", "names")
        after = self.daemon.stats()
        for name in ("sockets_total", "sockets", "connects_denied"):
            self.assertEqual(after[name], before[name], name)

    def test_answers_to_odd_questions(self):
        """Whatever is in the record, the daemon says what is wrong with it."""
        control = self.daemon.control
        fields = [pb.Field(name="protocol", text="tcp"), pb.Field(name="host", text="a.test"),
                  pb.Field(name="service", text="1")]
        rows = {b"\xff": "not a record", pb.Record().SerializeToString(): "neither tcp nor udp",
                **{pb.Record(fields=[*fields, field]).SerializeToString(): message for field, message in (
                    (pb.Field(name="odd", text="x"), '"odd" is not a text'),
                    (pb.Field(name="odd", number=1, is_number=True), "odd=1 is not a number"),
                    (pb.Field(name="uid", text="0"), '"uid" is not a text'),
                    (pb.Field(name="uid", number=-1, is_number=True), "uid=-1 is not a number"),
                    (pb.Field(name="uid", number=2**32 - 1, is_number=True), "is not a number"),
                    (pb.Field(name="host", text="h" * 300), "host is too long"))},
                pb.Record(fields=fields + 124 * [pb.Field(name="gid", number=1, is_number=True)]).SerializeToString():
                    None,
                pb.Record(fields=fields + 126 * [pb.Field(name="gid", number=1, is_number=True)]).SerializeToString():
                    "not a record"}
        for payload, message in rows.items():
            control.token += 1
            control.send(request(pb.VERB_JUDGE, control.token, payload=payload, judge=pb.Judge()))
            reply, text = control.take(lambda r: r.op == control.token)
            if message is None:
                self.assertEqual(reply.error, pb.ERROR_SUCCESS, text)
                continue
            self.assertEqual(reply.error, pb.ERROR_INVALID_ARGUMENT, message)
            self.assertIn(message, text.decode())


RESTRICTION = "[Rules]\nDeny=tcp bad.test * \"not here\"\nAllow=tcp *.test 443\n"


class OfFiles(unittest.TestCase):
    """A daemon with these files, and asockctl that asks it."""

    files = {}

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="asockd-policy-")
        self.addCleanup(shutil.rmtree, self.directory)
        os.chmod(self.directory, 0o755)
        os.mkdir(self.path("policy.d"), 0o755)
        paths = [self.write("policy.d/" + name, text) for name, text in self.files.items()]
        self.daemon = asockd.Daemon("--config", "/dev/null", *[word for path in paths for word in ("--policy", path)])
        self.addCleanup(self.daemon.stop)

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="ascii") as stream:
            stream.write(text)
        os.chmod(self.path(name), 0o644)
        return self.path(name)

    def client(self, restriction=None):
        """A session of this process, and its id."""
        wire = Wire(self.daemon.path)
        self.addCleanup(wire.close)
        wire.hello()
        if restriction is not None:
            wire.send(request(pb.VERB_RESTRICT, 9, payload=restriction.encode(), restriction=pb.Restrict()))
            self.assertEqual(wire.completion(9).error, pb.ERROR_SUCCESS)
        wire.send(request(pb.VERB_SHOW, 10, show=pb.Show()))
        reply, payload = wire.take(lambda r: r.op == 10)
        self.assertEqual(reply.error, pb.ERROR_SUCCESS)
        wire.session = next(f.number for f in pb.Record.FromString(payload).fields if f.name == "id")
        return wire

    def ask(self, *args, control=True):
        env = asockctl.environment(ASOCKD=asockd.binary())
        where = ("--control", self.daemon.control_path) if control else ()
        done = asockctl.run("policy", *args, *where, env=env)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def says(self, *args, control=True):
        status, out, err = self.ask(*args, control=control)
        self.assertEqual((status > 1, err), (False, ""), args)
        return out.replace(self.directory + "/policy.d/", "").splitlines()


class Others(OfFiles):
    """Facts that are not given."""

    files = {
        "10-group.policy": "[Match]\nGroup=54321 54322\n[Rules]\nDeny=tcp www.a.test *\nAllow=tcp *.a.test 443\n",
        "20-two.policy": "[Match]\nUnit=b.service\nListener=web\n[Rules]\nAllow=tcp b.test 443\n",
        "30-gone.policy": "[Match]\nUser=nosuchuser\n[Rules]\nAllow=tcp *.test 443\n",
        "40-all.policy": "[Rules]\nAllow=tcp www.a.test 443\n",
    }

    NAME = " (the name; its addresses are judged when they are known)"
    NO_RULE = "deny: no rule allows this destination"

    def test_what_would_allow_it(self):
        self.assertEqual(self.says("test", "tcp", "x.a.test", "443"),
                         [self.NO_RULE, "also allowed by 10-group.policy:5 for Group=54321 54322"])
        self.assertEqual(self.says("test", "tcp", "b.test", "443"),
                         [self.NO_RULE, "also allowed by 20-two.policy:5 for Unit=b.service Listener=web"])
        self.assertEqual(self.says("test", "--unit", "b.service", "tcp", "b.test", "443"),
                         [self.NO_RULE, "also allowed by 20-two.policy:5 for Listener=web"])

    def test_what_would_deny_it(self):
        self.assertEqual(self.says("test", "tcp", "www.a.test", "443"),
                         ["allow by 40-all.policy:2" + self.NAME,
                          "but denied by 10-group.policy:4 for Group=54321 54322"])

    def test_what_is_given_is_settled(self):
        self.assertEqual(self.says("test", "--group", "1", "tcp", "x.a.test", "443"), [self.NO_RULE])
        self.assertEqual(self.says("test", "--unit", "c.service", "tcp", "b.test", "443"), [self.NO_RULE])
        self.assertEqual(self.says("test", "--pid", str(os.getpid()), "tcp", "x.a.test", "443"), [self.NO_RULE])

    def test_json(self):
        row = json.loads(self.ask("test", "--json", "tcp", "x.a.test", "443")[1])
        self.assertEqual((row["verdict"], [(r["verdict"], r["line"], r["for"]) for r in row["also"]]),
                         ("deny", [("allow", 5, "Group=54321 54322")]))
        self.assertNotIn("also", json.loads(self.ask("test", "--json", "tcp", "y.test", "1")[1]))

    def test_files_say_the_same(self):
        files = [word for name in self.files for word in ("--policy", self.path("policy.d/" + name))]
        for args in (("tcp", "x.a.test", "443"), ("tcp", "www.a.test", "443"), ("tcp", "b.test", "443"),
                     ("tcp", "10.0.0.1", "1"), ("--group", "54321", "tcp", "x.a.test", "443"), ("tcp", "x.a.test", "https"),
                     ("--pid", str(os.getpid()), "tcp", "www.a.test", "443")):
            self.assertEqual(self.ask("test", *files, *args, control=False), self.ask("test", *args), args)
            self.assertEqual(self.ask("test", "--config-dir", self.directory, "--json", *args, control=False),
                             self.ask("test", "--json", *args), args)

    def test_files_that_are_refused(self):
        bad = self.write("bad", "[Rules]\nAllow=nothing\n")
        status, out, err = self.ask("test", "--policy", bad, "tcp", "a.test", "1", control=False)
        self.assertEqual((status, out), (2, ""))
        self.assertIn(bad + ":2: ", err)
        status, _, err = self.ask("test", "--config-dir", self.path("none"), "tcp", "a.test", "1", control=False)
        self.assertEqual(status, 2)
        self.assertIn(self.path("none/policy.d"), err)
        status, _, err = self.ask("test", "--config-dir", self.directory, "icmp", "a.test", "1", control=False)
        self.assertEqual((status, err), (2, "the protocol is neither tcp nor udp\n"))


class Listening(OfFiles):
    """policy test --listen."""

    files = {
        "10-reserve.policy": "[Match]\nListener=web\n[Rules]\nReserve=tcp 127.0.0.1 8443\n",
        "20-all.policy": "[Rules]\nListen=tcp 127.0.0.1 8000-9000 from 127.0.0.0/8,192.0.2.0/24\nListen=tcp 0.0.0.0 *\n"
                         "Listen=udp ::1 0\nListen=tcp :: 7000\n",
    }

    def test_addresses_and_ports(self):
        for args, line in ((("tcp", "127.0.0.1", "8000"), 2), (("tcp", "0.0.0.0", "7000"), 3), (("tcp", "0.0.0.0", "0"), 3),
                           (("udp", "::1", "0"), 4), (("tcp", "::", "7000"), 3)):  # of both families IPv4's is named
            with self.subTest(args=args):
                self.assertEqual(self.says("test", "--listen", *args), [f"allow by 20-all.policy:{line}"])
        for args in (("tcp", "127.0.0.1", "7999"), ("udp", "127.0.0.1", "8000"), ("tcp", "0.0.0.0", "80"),
                     ("udp", "::1", "1024"), ("tcp", "::", "7001"), ("tcp", "192.0.2.1", "8000")):
            with self.subTest(args=args):
                status, out, _ = self.ask("test", "--listen", *args)
                self.assertEqual((status, out.split(":")[0]), (1, "deny"))

    def test_a_reserved_port(self):
        status, out, _ = self.ask("test", "--listen", "tcp", "127.0.0.1", "8443")
        self.assertEqual(status, 1)
        self.assertIn("reserved", out)

    def test_a_peer(self):
        listen = ("test", "--listen", "tcp", "127.0.0.1", "8000", "--address")
        self.assertEqual(self.says(*listen, "192.0.2.9"), ["allow by 20-all.policy:2"])
        status, out, _ = self.ask(*listen, "198.51.100.1", "--json")
        answer = json.loads(out)
        self.assertEqual((status, answer["verdict"], answer["about"]), (1, "deny", "peer"))

    def test_it_is_what_the_daemon_does(self):
        wire = self.client()
        for n, (address, port) in enumerate((("127.0.0.1", 8100), ("127.0.0.1", 7999), ("0.0.0.0", 0)), 1):
            wire.send(wire.open(10 * n, n), request(pb.VERB_BIND, 10 * n + 1, n, bind=pb.Bind(
                endpoint=pb.Endpoint(address=socket.inet_aton(address), port=port))))
            error = wire.completion(10 * n + 1).error
            wire.send(request(pb.VERB_CLOSE, 10 * n + 2, n, close=pb.Close()))
            wire.completion(10 * n + 2)
            status, _, _ = self.ask("test", "--listen", "tcp", address, str(port), control=True)
            self.assertEqual(status, 1 if error == pb.ERROR_ACCESS_DENIED else 0, (address, port))

    def test_files_say_the_same(self):
        status, out, _ = self.ask("test", "--policy", self.path("policy.d/20-all.policy"), "--listen", "tcp", "0.0.0.0", "7000",
                                  control=False)
        self.assertEqual(status, 0)
        self.assertIn("20-all.policy:3", out)

    def test_inside_a_restricted_session(self):
        wire = self.client("[Rules]\nListen=tcp 127.0.0.1 8001\n")
        self.assertEqual(self.says("test", "--id", str(wire.session), "--listen", "tcp", "127.0.0.1", "8001")[0],
                         "allow by 20-all.policy:2")
        status, out, _ = self.ask("test", "--id", str(wire.session), "--listen", "tcp", "127.0.0.1", "8002")
        self.assertEqual(status, 1)
        self.assertIn("restriction 1", out)

    def test_questions_that_are_none(self):
        for args, message in ((("tcp", "localhost", "1"), "not an address"), (("tcp", "127.0.0.1", "http"), "number of a port"),
                              (("tcp", "127.0.0.1", "65536"), "number of a port"), (("sctp", "127.0.0.1", "1"), "neither tcp"),
                              (("tcp", "127.0.0.1", "1", "--address", "a.test"), "not an address")):
            status, _, err = self.ask("test", "--listen", *args)
            self.assertEqual(status, 2, args)
            self.assertIn(message, err)
        for args in (("test", "--listen", "tcp", "127.0.0.1"), ("show", "--listen", "tcp")):
            self.assertEqual(self.ask(*args)[0], 2, args)


class Sessions(OfFiles):
    """Sessions that there are, and what they may ask themselves."""

    files = {
        "10-self.policy": f"[Match]\nUser={os.getuid()}\n[Rules]\nAllow=tcp *.test *\n",
        "20-other.policy": "[Match]\nUser=54321\n[Rules]\nAllow=tcp other.test *\n",
    }

    def test_by_id_and_by_process(self):
        wire = self.client(RESTRICTION)
        rules = ['restriction 1, line 2: Deny=tcp bad.test * "not here"', "restriction 1, line 3: Allow=tcp *.test 443"]
        for who in (("--id", str(wire.session)), ("--pid", str(os.getpid()))):
            self.assertEqual(self.says("test", *who, "tcp", "bad.test", "443"),
                             ["deny by restriction 1 of the session, line 2: not here", *rules])
            self.assertEqual(self.says("test", *who, "tcp", "a.test", "80"),
                             ["deny by restriction 1 of the session: no rule of this session's restriction allows this "
                              "destination", *rules])
            self.assertEqual(self.says("test", *who, "tcp", "other.example", "443"),
                             ["deny: no rule allows this destination", *rules])
            self.assertEqual(self.says("test", *who, "tcp", "a.test", "443"),
                             ["allow by 10-self.policy:4" + Others.NAME, *rules])
        row = json.loads(self.ask("test", "--json", "--id", str(wire.session), "tcp", "bad.test", "443")[1])
        self.assertEqual((row["session"], row["restrictions"], row["restriction"], len(row["rules"])),
                         (wire.session, 1, 1, 2))
        self.client()
        self.assertEqual(self.says("test", "--pid", str(os.getpid()), "tcp", "bad.test", "443")[1],
                         f"of session {wire.session}; the process has 2 (--id ID asks for another)")

    def test_files_for_a_session(self):
        """Its facts and its restrictions, other files."""
        wire = self.client(RESTRICTION)
        self.client("[Rules]\n")
        new = ("--policy", self.write("new", f"[Match]\nUser={os.getuid()}\n[Rules]\nAllow=tcp * 443\n"))
        told = {host: self.says("test", *new, "--id", str(wire.session), "tcp", host, "443")[0]
                for host in ("a.test", "bad.test", "a.example")}
        self.assertRegex(told["a.test"], "^allow by .*/new:4 ")
        self.assertEqual(told["bad.test"], "deny by restriction 1 of the session, line 2: not here")
        self.assertRegex(told["a.example"], "^deny by restriction 1 of the session: ")
        nothing = self.client("[Rules]\n")
        self.assertRegex(self.says("test", *new, "--id", str(nothing.session), "tcp", "a.test", "443")[0],
                         "^deny by restriction 1")

    def test_who_is_not_there(self):
        status, out, err = self.ask("test", "--id", "4711", "tcp", "a.test", "443")
        self.assertEqual((status, out, err), (2, "", "asockctl: policy: there is no session 4711\n"))
        gone = subprocess.Popen(["true"])
        gone.wait()
        status, out, err = self.ask("test", "--pid", str(gone.pid), "tcp", "a.test", "443")
        self.assertEqual((status, out, err), (2, "", f"asockctl: policy: process {gone.pid}: no such process\n"))
        for who in (("--id", "x"), ("--pid", "x"), ("--pid", "0"), ("--id", "1", "--pid", "1"),
                    ("--pid", "1", "--user", "0"), ("--id", "1", "--user", "0")):
            self.assertEqual(self.ask("test", *who, "tcp", "a.test", "443")[:2], (2, ""), who)

    def test_a_process_without_a_session(self):
        self.assertEqual(self.says("test", "--pid", str(os.getpid()), "tcp", "a.test", "443"),
                         ["allow by 10-self.policy:4" + Others.NAME])

    def test_inside_a_restricted_session(self):
        rules = self.write("rules", RESTRICTION)
        for socket_of in ((), ("--fd",)):
            done = asockctl.run("run", *socket_of, "--socket", self.daemon.path, "--policy", rules, "--", "sh", "-c",
                                f"'{asockctl.TOOL}' policy test tcp a.test 80")
            self.assertEqual((done.returncode, done.stderr), (1, b""))
            self.assertEqual(done.stdout.decode().splitlines()[0],
                             "deny by restriction 1 of the session: no rule of this session's restriction allows this "
                             "destination")
            done = asockctl.run("run", *socket_of, "--socket", self.daemon.path, "--policy", rules, "--", "sh", "-c",
                                f"'{asockctl.TOOL}' policy show")
            self.assertRegex(done.stdout.decode(), r"^# session \d+, restrictions: 1\nrestriction 1, line 2: Deny=tcp bad")

    def test_a_client_learns_nothing_of_others(self):
        """Neither files, nor other clients, nor more than a connect would tell it."""
        wire = self.client()
        other = self.client(RESTRICTION)
        for fields in ([("uid", 0)], [("pid", os.getpid())], [("id", other.session)], [("unit", "a.service")],
                       [("listener", "web")]):
            reply, text = self.judge(wire, *fields, ("protocol", "tcp"), ("host", "a.test"), ("service", "1"))
            self.assertEqual((reply.error, text), (pb.ERROR_INVALID_ARGUMENT,
                                                   b"only the control socket answers questions about other clients"))
        reply, text = self.judge(wire, ("protocol", "tcp"), ("host", "a.test"), ("service", "1"))
        told = {f.name: f.number if f.is_number else f.text for f in pb.Record.FromString(text).fields}
        self.assertEqual((told["verdict"], told["file"], told["line"]), ("allow", "", 0))
        for number in range(3):
            reply, text = self.judge(wire, ("row", number))
            told = {f.name: f.number if f.is_number else f.text for f in pb.Record.FromString(text).fields}
            self.assertEqual(set(told), {"kind", "generation", "session", "restrictions"} if number == 0 else set())

    def judge(self, wire, *fields):
        record = pb.Record(fields=[pb.Field(name=n, number=v, is_number=True) if isinstance(v, int)
                                   else pb.Field(name=n, text=v) for n, v in fields])
        wire.token = getattr(wire, "token", 100) + 1
        wire.send(request(pb.VERB_JUDGE, wire.token, payload=record.SerializeToString(), judge=pb.Judge()))
        return wire.take(lambda r: r.op == wire.token)


class WhoMayNothing(OfFiles):

    files = {"none.policy": "[Rules]\nDeny=tcp * 1\n"}

    def test_s24_is_not_told_which_services_there_are(self):
        wire = self.client()
        judge = Sessions.judge
        texts = {judge(self, wire, ("protocol", "tcp"), ("host", host), ("service", service))[1]
                 for host in ("a.test", "fe80::1%lo", "fe80::1%nolink") for service in ("http", "no-such-service")}
        self.assertEqual(len(texts), 1, texts)


class Invalid(unittest.TestCase):
    """Files that the daemon could not take."""

    def test_it_is_told(self):
        with tempfile.NamedTemporaryFile("w", suffix=".policy") as file:
            file.write("[Rules]\nAllow=nonsense\n")
            file.flush()
            os.chmod(file.name, 0o644)
            daemon = asockd.Daemon("--config", "/dev/null", "--policy", file.name)
            self.addCleanup(daemon.stop)
            where = ("--control", daemon.control_path)
            problem = f"{file.name}:2: a rule is: protocol host port [flags] [\"reason\"]"
            done = asockctl.run("policy", "test", *where, "tcp", "a.test", "1")
            self.assertEqual((done.returncode, done.stdout.decode().splitlines()),
                             (1, ["deny: the daemon's policy files are invalid: everything is denied", problem]))
            self.assertIn(problem, asockctl.run("policy", "show", *where).stdout.decode())
            self.assertEqual(daemon.stats()["policy_problem"], problem)


class Show(OfFiles):

    files = {
        "10-a.policy": "[Match]\nUser=54321\nUser=54322\n[Rules]\nDeny=tcp bad.test 1-9 \"no \"\n"
                       "Allow=tcp *.test https +private +local\n[Limits]\nSockets=64\nQueued=2M\n"
                       "[Audit]\nAudit=required\n[Egress]\nSource=192.0.2.1 2001:db8::1\nDevice=eth0\nOptions=HopLimit\n",
        "20-b.policy": "[Rules]\nAllow=tcp 10.0.0.0/8 *\nAllow=tcp 2001:db8::1 22\nMode=learn\nLearnUntil=2999-12-31\n"
                       "Listen=tcp * 8080 from 10.0.0.0/8,192.0.2.1,2001:db8::/32\nReserve=tcp 127.0.0.1 80-90\nListen=udp * 0\n",
    }

    def test_files_and_rules(self):
        lines = self.says("show")
        self.assertRegex(lines[0], r"^# policy loaded 20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ: 2 files, 4 rules$")
        self.assertRegex(lines[2], r"^# 10-a.policy, of 20\d\d-.*Z$")
        self.assertEqual(lines[3:13], [
            "    2  User=54321", "    3  User=54322", "       [Limits] Sockets=64", "       [Limits] Queued=2M",
            "       [Audit] Audit=required", "       [Egress] Source=192.0.2.1 2001:db8::1", "       [Egress] Device=eth0",
            "       [Egress] Options=HopLimit", '    5  Deny=tcp bad.test 1-9 "no "',
            "    6  Allow=tcp *.test 443 +private +local"])
        self.assertEqual(lines[15:], ["    5  [Rules] Mode=learn LearnUntil=2999-12-31", "    2  Allow=tcp 10.0.0.0/8 *",
                                      "    3  Allow=tcp 2001:db8::1 22",
                                      "    6  Listen=tcp * 8080 from 10.0.0.0/8,192.0.2.1,2001:db8::/32",
                                      "    7  Reserve=tcp 127.0.0.1 80-90", "    8  Listen=udp * 0"])

    def test_a_long_list_of_networks(self):
        nets = [f"2001:db8:1111:2222:3333:4444:5555:{i:x}" for i in range(0x1000, 0x1017)]
        line = f"Listen=tcp ::1 0 from {','.join(nets)}"
        self.write("policy.d/20-b.policy", f"[Rules]\n{line}\n")
        self.assertEqual(asockctl.run("reload", "--control", self.daemon.control_path).returncode, 0)
        self.assertEqual(self.says("show")[-1].split(maxsplit=1), ["2", line])

    def test_of_a_client(self):
        for who, files in ((("--user", "54321"), ["10-a", "20-b"]), (("--user", "1"), ["20-b"]),
                           (("--pid", str(os.getpid())), ["20-b"])):
            told = [os.path.basename(row["file"]) for row in json.loads(self.ask("show", "--json", *who)[1])
                    if row["kind"] == "file"]
            self.assertEqual(told, [name + ".policy" for name in files], who)

    def test_what_is_not_in_force_yet(self):
        path = self.path("policy.d/20-b.policy")
        os.utime(path, (1, 1))
        self.assertIn("20-b.policy", next(line for line in self.says("show") if line.endswith("reload reads it)")))
        os.unlink(path)
        self.assertIn("20-b.policy", next(line for line in self.says("show") if line.endswith("reload forgets it)")))

    def test_wrong_calls(self):
        for args in (("all",), ("--address", "1.2.3.4"), ("--policy", "x"), ("--config-dir", "x")):
            self.assertEqual(self.ask("show", *args)[:2], (2, ""), args)


class AtWork(asockd.DaemonTest):

    arguments = ("--allow-any",)

    def ask(self, *args):
        done = asockctl.run(*args, "--control", self.daemon.control_path)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def test_base(self):
        status, out, err = self.ask("policy", "test", "tcp", "192.0.2.1", "80")
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, "^allow by --allow-any")

    def test_questions_that_are_none(self):
        for args, message in ((("icmp", "h.test", "1"), "neither tcp nor udp"), (("tcp", "127.1", "1"), "neither a name"),
                              (("tcp", "h.test", "0"), "neither a port"), (("tcp", "h.test", "nothing"), "neither a port"),
                              (("tcp", "h.test", "1", "--address", "x"), '"x" is not an address'),
                              (("tcp", "::1", "1", "--address", "::1"), "is an address already"),
                              (("tcp", "h.test", "1", "--unit", "u" * 300), "unit is too long"),
                              (("tcp", "h.test", "1", "--unit", "foo"), "\"foo\" is not a unit with processes"),
                              (("tcp", "h.test", "1", "--unit", "*.service"), "is not a unit with processes"),
                              (("tcp", "h.test", "1", "--user-unit", "foo"), "\"foo\" is not a unit with processes"),
                              (("tcp", "h.test", "1", "--cgroup", "a/b"), "\"a/b\": a cgroup's path begins with /"),
                              (("tcp", "h.test", "1", "--listener", "l" * 40), "listener is too long"),
                              (("tcp", "h.test"), "usage: asockctl policy test"),
                              (("tcp", "h.test", "1", "--user", "no such"), "there is no user \"no such\""),
                              (("tcp", "h.test", "1", "--group", "no such"), "there is no group \"no such\"")):
            status, out, err = self.ask("policy", "test", *args)
            self.assertEqual((status, out), (2, ""), args)
            self.assertIn(message, err, args)

    def test_other_words(self):
        for args in ((), ("dance",), ("learned", "all")):
            self.assertEqual(self.ask("policy", *args)[0], 2, args)

    def test_no_daemon_is_no_denial(self):
        done = asockctl.run("policy", "test", "tcp", "h.test", "1", "--control", "/nowhere")
        self.assertEqual(done.returncode, 2)

    def test_a_client_socket_is_not_asked(self):
        for words in (("reload",), ("policy", "learned")):
            done = asockctl.run(*words, "--control", self.daemon.path)
            self.assertEqual((done.returncode, done.stdout), (1, b""))
            self.assertEqual(done.stderr.decode(), f"asockctl: {' '.join(words[:2])} needs the control socket\n")

    def test_nothing_learned(self):
        self.assertEqual(self.ask("policy", "learned"), (0, "", ""))
        self.assertEqual(self.ask("policy", "learned", "--json"), (0, "[]\n", ""))

    def test_reload(self):
        self.assertEqual(self.ask("reload"), (0, "", ""))
        self.assertEqual(self.ask("reload", "--close", "--json"), (0, '{"cancelled": 0, "denied": 0, "closed": 0}\n', ""))


if __name__ == "__main__":
    unittest.main()
