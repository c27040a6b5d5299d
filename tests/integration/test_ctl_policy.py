# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl reload, and policy test, check and learned."""

import grp
import json
import os
import pwd
import unittest

import asockctl
import asockd
import fake_asockd
from wire import pb

RULES = [
    [("file", "/etc/b.policy"), ("rule", "tcp one.test 443"), ("count", 3), ("first", 0), ("last", 86400)],
    [("file", "/etc/a.policy"), ("rule", "tcp 192.0.2.7 80"), ("count", 1), ("first", 1), ("last", 1)],
    [("file", "/etc/b.policy"), ("rule", "tcp two.test 443"), ("count", 1), ("first", 2), ("last", 2)],
]


class Says(fake_asockd.FakeTest):
    """What the tool asks, and what it makes of an answer."""

    def question(self):
        """(name, value) of what was asked for last."""
        request, payload = self.asked[-1]
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
        self.assertEqual(self.question(), [("listener", "default"), ("protocol", "tcp"), ("host", "192.0.2.1"),
                                           ("service", "80")])

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
                         "allow by /x.policy:2 (learn mode alone lets it pass)\n")
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
# 3 times, 1970-01-01 00:00:00Z to 1970-01-02 00:00:00Z
Allow=tcp one.test 443
# 1 times, 1970-01-01 00:00:02Z to 1970-01-01 00:00:02Z
Allow=tcp two.test 443

# for [Rules] of /etc/a.policy
# 1 times, 1970-01-01 00:00:01Z to 1970-01-01 00:00:01Z
Allow=tcp 192.0.2.7 80
""")
        self.assertEqual(json.loads(self.check_ok(RULES, "policy", "learned", "--json")),
                         [dict(row) for row in RULES])

    def test_learned_says_what_found_no_room(self):
        done = self.ask(RULES[1:2] + [[("dropped", 17)]], "policy", "learned")
        self.assertEqual((done.returncode, done.stdout.count(b"Allow=")), (0, 1))
        self.assertIn(b"17 further connects found no room", done.stderr)

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


class AtWork(asockd.DaemonTest):

    arguments = ("--allow-any",)

    def ask(self, *args):
        done = asockctl.run(*args, "--control", self.daemon.control_path)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def test_test(self):
        before = self.daemon.stats()["sockets_total"]
        self.assertEqual(self.ask("policy", "test", "tcp", "192.0.2.1", "80"), (0, "allow\n", ""))
        self.assertEqual(self.ask("policy", "test", "tcp", "no.such.test", "80", "--address", "192.0.2.1"),
                         (0, "allow\n", ""))
        status, out, err = self.ask("policy", "test", "tcp", "no.such.test", "http")
        self.assertEqual((status, err), (0, ""))
        self.assertIn("judged when they are known", out)
        self.assertEqual(self.daemon.stats()["sockets_total"], before)

    def test_questions_that_are_none(self):
        for args, message in ((("udp", "h.test", "1"), "not tcp"), (("tcp", "127.1", "1"), "neither a name"),
                              (("tcp", "h.test", "0"), "neither a port"), (("tcp", "h.test", "nothing"), "neither a port"),
                              (("tcp", "h.test", "1", "--address", "x"), '"x" is no address'),
                              (("tcp", "::1", "1", "--address", "::1"), "no other address"),
                              (("tcp", "h.test", "1", "--unit", "u" * 300), "unit is too long"),
                              (("tcp", "h.test", "1", "--listener", "l" * 40), "listener is too long"),
                              (("tcp", "h.test"), "usage: asockctl policy test"),
                              (("tcp", "h.test", "1", "--user", "no such"), "no such user"),
                              (("tcp", "h.test", "1", "--group", "no such"), "no such group")):
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
        done = asockctl.run("reload", "--control", self.daemon.path)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"for the control socket", done.stderr)

    def test_nothing_learned(self):
        self.assertEqual(self.ask("policy", "learned"), (0, "", ""))
        self.assertEqual(self.ask("policy", "learned", "--json"), (0, "[]\n", ""))

    def test_reload(self):
        self.assertEqual(self.ask("reload"), (0, "", ""))
        self.assertEqual(self.ask("reload", "--close", "--json"), (0, '{"cancelled": 0, "denied": 0, "closed": 0}\n', ""))


if __name__ == "__main__":
    unittest.main()
