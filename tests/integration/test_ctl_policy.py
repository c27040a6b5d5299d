# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl reload, and policy test, check and learned."""

import grp
import json
import os
import pwd
import shutil
import tempfile
import unittest

import asockctl
import asockd
import fake_asockd
from wire import pb, request

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
                         "allow by /x.policy:7 (this covers only the name; each address is checked once it is known)\n")
        self.assertEqual(self.verdict("tcp", "h", "1", about="address", file="/x.policy", line=2, learned=1),
                         "allow by /x.policy:2 (only because of learn mode)\n")
        for lends, flags in (("held", "+lend"), ("given", "+lend-given"), ("held given", "+lend +lend-given")):
            self.assertEqual(self.verdict("tcp", "h", "1", about="address", file="/x.policy", line=7, lends=lends),
                             f"allow by /x.policy:7 {flags}\n")
        self.assertEqual(self.verdict("tcp", "h", "1", about="address", file="/x.policy", line=7, lends="withheld"),
                         "allow by /x.policy:7 (no lending: the session that shared its rights did not share the right to lend)\n")
        self.assertEqual(self.verdict("tcp", "h", "1", status=1, verdict="deny", about="name", file="/x.policy",
                                      line=9, reason="not \u202e you"),
                         "deny by /x.policy:9: not \\u{202e} you\n")
        self.assertEqual(self.verdict("tcp", "h", "1", status=1, verdict="deny", about="name", file="", line=0,
                                      reason="no rule"), "deny: no rule\n")
        self.assertEqual(json.loads(self.verdict("tcp", "h", "1", "--json", status=1, verdict="deny", line=3)),
                         {"verdict": "deny", "line": 3})

    def test_learned(self):
        self.assertEqual(self.check_ok(RULES, "policy", "learned"), """\
# add to [Rules] in /etc/b.policy
# uid 1000, 3 times, 1970-01-01 00:00:00Z to 1970-01-02 00:00:00Z
Allow=tcp one.test 443
# 1 time, 1970-01-01 00:00:02Z to 1970-01-01 00:00:02Z
Allow=tcp two.test 443

# add to [Rules] in /etc/a.policy
# uid 0, 1 time, 1970-01-01 00:00:01Z to 1970-01-01 00:00:01Z
Allow=tcp 192.0.2.7 80
""")
        self.assertEqual(json.loads(self.check_ok(RULES, "policy", "learned", "--json")),
                         [dict(row) for row in RULES])

    def test_learned_says_what_found_no_room(self):
        done = self.ask(RULES[1:2] + [[("dropped", 17)]], "policy", "learned")
        self.assertEqual((done.returncode, done.stdout.count(b"Allow=")), (0, 1))
        self.assertIn(b"17 further connect requests were not recorded", done.stderr)

    def test_reload_says_what_needs_a_restart(self):
        row = [("cancelled", 0), ("denied", 0), ("closed", 0), ("restart", "Clients=, [Listener]")]
        self.assertEqual(self.check_ok([row], "reload"),
                         "settings that changed but take effect only after a restart: Clients=, [Listener]\n")

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
        options = ("--policy", "a", "--config-dir", "c", "--policy", "b")
        done = asockctl.run("policy", "check", *options, env=asockctl.environment(ASOCKD="/bin/echo"))
        self.assertEqual((done.returncode, done.stdout), (0, b"--check --policy a --policy b --config-dir c\n"))
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
        missing = os.path.join(self.directory, "missing.policy")
        for args in ((missing,), ("--policy", missing)):
            done = asockctl.run("policy", "check", "--json", *args, env=env)
            self.assertEqual([found["file"] for found in json.loads(done.stdout)["findings"]], [missing])

    def test_check_of_a_directory(self):
        env = asockctl.environment(ASOCKD=asockd.binary())
        os.makedirs(os.path.join(self.directory, "etc", "policy.d"))
        bad = self.write("etc/policy.d/bad.policy", "[Rules]\nAllow=nothing\n")
        done = asockctl.run("policy", "check", "--config-dir", os.path.join(self.directory, "etc"), env=env)
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
            problem = f"{file.name}:2: a rule has the form: protocol host port [flags] [\"reason\"]"
            done = asockctl.run("policy", "test", *where, "tcp", "a.test", "1")
            self.assertEqual((done.returncode, done.stdout.decode().splitlines()),
                             (1, ["deny: the daemon's policy files are invalid: everything is denied", problem]))
            self.assertIn(problem, asockctl.run("policy", "show", *where).stdout.decode())
            self.assertEqual(daemon.stats()["policy_problem"], problem)


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
                              (("tcp", "h.test", "1", "--cgroup", "a/b"), "\"a/b\": a cgroup path must begin with /"),
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
            self.assertEqual(done.stderr.decode(), f"asockctl: {' '.join(words[:2])} requires the control socket\n")

    def test_nothing_learned(self):
        self.assertEqual(self.ask("policy", "learned"), (0, "", ""))
        self.assertEqual(self.ask("policy", "learned", "--json"), (0, "[]\n", ""))

    def test_reload(self):
        self.assertEqual(self.ask("reload"), (0, "", ""))
        self.assertEqual(self.ask("reload", "--close", "--json"), (0, '{"cancelled": 0, "denied": 0, "closed": 0}\n', ""))


if __name__ == "__main__":
    unittest.main()
