# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl policy test and show, with the files and the sessions of a daemon."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import unittest

import asockctl
import asockd
from wire import Wire, pb, request

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

    NAME = " (this covers only the name; each address is checked once it is known)"
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
        for args, message in ((("tcp", "localhost", "1"), "not an address"), (("tcp", "127.0.0.1", "http"), "port number"),
                              (("tcp", "127.0.0.1", "65536"), "port number"), (("sctp", "127.0.0.1", "1"), "neither tcp"),
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
                         f"this is the answer for session {wire.session}; the process has 2 sessions (use --id ID to ask about another one)")

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
        self.assertRegex(lines[2], r"^# 10-a.policy, modified 20\d\d-.*Z$")
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
        wire = self.client()
        for who, files in ((("--user", "54321"), ["10-a", "20-b"]), (("--user", "1"), ["20-b"]),
                           (("--unit", "a.service"), ["20-b"]), (("--id", str(wire.session)), ["20-b"]),
                           (("--pid", str(os.getpid())), ["20-b"])):
            told = [os.path.basename(row["file"]) for row in json.loads(self.ask("show", "--json", *who)[1])
                    if row["kind"] == "file"]
            self.assertEqual(told, [name + ".policy" for name in files], who)

    def test_what_is_not_in_force_yet(self):
        path = self.path("policy.d/20-b.policy")
        os.utime(path, (1, 1))
        self.assertIn("20-b.policy", next(line for line in self.says("show") if line.endswith("asockctl reload to apply the change)")))
        os.unlink(path)
        self.assertIn("20-b.policy", next(line for line in self.says("show") if line.endswith("asockctl reload to apply the change)")))

    def test_wrong_calls(self):
        for args in (("all",), ("--address", "1.2.3.4"), ("--policy", "x"), ("--config-dir", "x")):
            self.assertEqual(self.ask("show", *args)[:2], (2, ""), args)


if __name__ == "__main__":
    unittest.main()
