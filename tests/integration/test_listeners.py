# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients' listeners: configured ones, those of the service manager, and what a client by them may see."""

import grp
import os
import stat
import subprocess
import unittest

import server_program as base
from wire import Wire, frame, pb, request

from asock.client import AsockError

DEADLINE, NOBODY = base.DEADLINE, base.NOBODY
GROUP = NOBODY if os.getuid() == 0 else os.getgid()  # the daemon's own
CONTROL_VERBS = [35, 36, 38, 39, *range(42, 64)]  # JUDGE, SESSIONS and DENIALS are for all, about the own session


class ListenersTest(base.ServerTest):
    def refused_by(self, **options):
        """The last line of a daemon that does not come up."""
        status, _, err = self.run_to_end(**options)
        self.assertEqual(status, 1)
        return err.splitlines()[-1]

    def path(self, name):
        return os.path.join(self.dir, name, "asock.sock")

    def configured(self, text, wrapper=()):
        """Arguments of spawn()."""
        return {"command": [*wrapper, self.binary, *base.BUILD_OPTIONS, "--runtime-dir", self.dir,
                            "--config", self.write(text)]}

    def listener_of(self, path):
        return self.client(path).inspect(show=pb.Show())[0]["listener"]


class Configured(ListenersTest):
    def test_each_has_its_directory_and_name(self):
        other = os.path.join(self.base, "elsewhere")
        os.mkdir(other, 0o755)
        self.give(other)
        daemon = self.start(**self.configured(
            f"[Listener]\nName=web\nMode=0640\n[Listener]\nName=mail\nDirectory={other}\n"))
        web, mail = self.path("web"), os.path.join(other, "asock.sock")
        for path, name, mode in ((web, "web", 0o640), (mail, "mail", 0o666)):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), mode, path)
            self.assertEqual(self.listener_of(path), name)
        self.assertEqual(sorted(os.listdir(self.dir)), ["asockd.lock", "control.sock", "share", "web"])
        self.assertEqual(self.end(daemon)[0], 0)
        self.assertEqual((os.path.exists(web), os.path.exists(mail)), (False, False))

    def test_group(self):
        self.start(**self.configured(f"[Listener]\nName=one\nGroup={GROUP}\n"
                                     f"[Listener]\nName=two\nGroup={GROUP}\nMode=0606\n"))
        for name, mode in (("one", 0o660), ("two", 0o606)):
            found = os.stat(self.path(name))
            self.assertEqual((stat.S_IMODE(found.st_mode), found.st_gid), (mode, GROUP), name)
            self.assertEqual(self.listener_of(self.path(name)), name)

    @unittest.skipUnless(os.getuid() == 0, "the daemon would have to be another user")
    def test_a_group_that_is_not_the_daemons(self):
        self.assertEqual(self.refused_by(**self.configured("[Listener]\nName=one\nGroup=root\n")),
                         f"asockd: {self.path('one')}: Operation not permitted")
        self.assertFalse(os.path.exists(self.path("one")))

    @unittest.skipUnless(os.getuid() == 0, "asockctl would have to be another user's")
    def test_who_is_not_in_the_group_is_told_how_to_get_there(self):
        daemon = self.start(**self.configured(f"[Listener]\nName=one\nGroup={GROUP}\n"))
        group = grp.getgrgid(GROUP).gr_name
        binary = os.path.join(os.environ["ASOCK_TEST_BUILDDIR"], "asockctl")
        done = subprocess.run([binary, "stats", "--socket", self.path("one")], user=1000, group=1000, extra_groups=[],
                              text=True, capture_output=True, timeout=DEADLINE, check=False)
        self.assertEqual(done.returncode, 8)
        self.assertIn(f"only members of group {group} may open it; add your user (sudo usermod -aG {group} USER)", done.stderr)
        self.end(daemon)

    def test_a_directory_that_others_may_write_to(self):
        for mode in (0o775, 0o757):
            directory = os.path.join(self.base, oct(mode))
            os.mkdir(directory)
            os.chmod(directory, mode)
            self.give(directory)
            self.assertIn(f"asockd: {directory}: other users may write there",
                          self.refused_by(**self.configured(f"[Listener]\nName=one\nDirectory={directory}\n")))
            self.assertEqual(os.listdir(directory), [])

    def test_a_runtime_directory_that_others_may_write_to(self):
        for mode in (0o775, 0o757):
            os.chmod(self.dir, mode)
            self.assertIn(f"asockd: {self.dir}: other users may write there", self.refused_by(**self.configured("")))
            self.assertEqual(os.listdir(self.dir), [])

    def test_a_directory_of_another_user(self):
        if os.getuid() != 0:
            self.skipTest("needs root")
        directory = os.path.join(self.base, "theirs")
        os.mkdir(directory, 0o755)
        os.chown(directory, 1000, 1000)
        self.assertIn(f"asockd: {directory}: other users may write there",
                      self.refused_by(**self.configured(f"[Listener]\nName=one\nDirectory={directory}\n")))

    def test_policy_knows_them_apart(self):
        policy = self.write("[Match]\nListener=web\n[Rules]\nAllow=tcp 127.0.0.0/8 *\n", "one.policy")
        self.start("--policy", policy, **self.configured("[Listener]\nName=web\n[Listener]\nName=mail\n"))
        listener = self.listener()
        self.client(self.path("web")).socket().connect(*listener.getsockname()).result(DEADLINE)
        with self.assertRaises(AsockError) as raised:
            self.client(self.path("mail")).socket().connect(*listener.getsockname()).result(DEADLINE)
        self.assertEqual(raised.exception.number, pb.ERROR_ACCESS_DENIED)

    def test_as_many_as_may_be(self):
        names = [f"l{i}" for i in range(63)]
        self.start(**self.configured("".join(f"[Listener]\nName={name}\n" for name in names)))
        for name in names:
            self.assertEqual(self.listener_of(self.path(name)), name)


@unittest.skipUnless(base.HAVE_SYSTEMD, "built without systemd")
class Activated(ListenersTest):

    def refused(self, names, text="", unnamed=False):
        """What it says to sockets of these names."""
        listeners = [self.unix_listener(f"s{self.count}-{i}")[0] for i, _ in enumerate(names)]
        self.count += 1
        options = self.activated(listeners, names)
        if unnamed:
            del options["env"]["LISTEN_FDNAMES"]
        options["command"][-1] = self.write(text)
        return self.refused_by(**options)

    count = 0

    def test_names_that_are_none(self):
        for name in ("asockd.socket", "a b", "ü", "x" * 32, "unknown", "stored", "", "../x"):
            self.assertIn("is not a valid listener name; set FileDescriptorName=", self.refused([name]))
        self.assertIn("\"unknown\" is not a valid listener name", self.refused(["a"], unnamed=True))

    def test_a_name_for_the_second_time(self):
        for name in ("one", "control"):
            self.assertEqual(self.refused(["other", name, name]),
                             f"asockd: the service manager passed two sockets named {name}")

    def test_configured_and_not_handed_in(self):
        self.assertEqual(
            self.refused(["one", "control"], "[Listener]\nName=one\n[Listener]\nName=two\n"),
            "asockd: listener two is configured, but the service manager did not pass a socket of that name; start its socket unit")

    def test_what_the_socket_unit_says(self):
        for line in ("Mode=0600", "Directory=/run/x", f"Group={GROUP}"):
            self.assertEqual(self.refused(["one"], f"[Listener]\nName=one\n{line}\n"),
                             "asockd: listener one: its socket comes from the service manager: set directory, mode and "
                             "group in its socket unit")

    def test_configured_and_handed_in(self):
        one, one_path = self.unix_listener("one")
        two, two_path = self.unix_listener("two")
        options = self.activated([one, two], ["one", "two"])
        options["command"][-1] = self.write("[Listener]\nName=one\n")
        self.spawn(**options)
        self.assertEqual((self.listener_of(one_path), self.listener_of(two_path)), ("one", "two"))
        self.assertEqual(os.listdir(self.dir), ["share"])


class WhatAClientSees(ListenersTest):
    """Whoever it is: on a client's listener root and the daemon's own user are clients."""

    def as_user(self, uid):
        """A connection made by that user."""
        if os.getuid() != 0:
            return Wire(self.client_path)
        os.seteuid(uid)
        try:
            return Wire(self.client_path)
        finally:
            os.seteuid(0)

    def hostile(self):
        for uid in {os.getuid(), NOBODY} if os.getuid() == 0 else {os.getuid()}:
            wire = self.as_user(uid)
            self.addCleanup(wire.disconnect)
            wire.hello(name=f"uid {uid}")
            shown, = wire.inspect(show=pb.Show())
            self.assertEqual(shown["uid"], uid)
            yield wire, shown

    def ask(self, wire, verb, **arm):
        wire.token += 1
        wire.send(request(verb, wire.token, **arm))
        reply, payload = wire.whole(wire.token)
        return reply, payload

    def answer_to(self, wire, number):
        """All of it but the token."""
        reply, payload = self.ask(wire, pb.VERB_SHOW, show=pb.Show(id=number))
        reply.op = 0
        return reply.SerializeToString(), payload

    def test_others_are_as_if_they_never_were(self):
        self.start()
        other = self.client(name="other")
        for _ in range(3):
            other.socket()
        other.sync().result(DEADLINE)
        theirs = {row["id"] for row in self.control().inspect(list=pb.List())}
        theirs.add(other.inspect(show=pb.Show())[0]["id"])
        self.assertEqual(len(theirs), 4)
        for wire, own in self.hostile():
            never = self.answer_to(wire, 1 << 60)
            self.assertEqual(pb.Reply.FromString(never[0]).error, pb.ERROR_NOT_FOUND)
            for number in sorted(theirs) + [own["id"] + 1, own["id"] - 1, (1 << 64) - 1]:
                self.assertEqual(self.answer_to(wire, number), never, number)
            self.assertEqual(wire.inspect(list=pb.List()), [])
            stats, = wire.inspect(stats=pb.Stats())
            self.assertEqual(stats["sockets"], 0)
            self.assertEqual(set(stats) & {"clients", "version", "sockets_total", "uptime_ms"}, set())

    def test_control_verbs_are_not_there(self):
        """Not by root, not by the daemon's user, not for itself."""
        self.start()
        other = self.client(name="other")
        other.socket()
        other.sync().result(DEADLINE)
        row, = self.control().inspect(list=pb.List())
        for wire, own in self.hostile():
            for number in (row["id"], own["id"], 0, 1 << 60):
                reply, _ = self.ask(wire, pb.VERB_KILL, kill=pb.Kill(id=number))
                self.assertEqual(reply.error, pb.ERROR_OPERATION_NOT_SUPPORTED)
            wire.settle()
        self.assertEqual(self.control().inspect(list=pb.List())[0]["id"], row["id"])

    def test_every_verb_of_the_control_range(self):
        self.start()
        for wire, _ in self.hostile():
            for verb in CONTROL_VERBS:
                wire.token += 1
                head = pb.Request(op=wire.token)
                head.verb = verb  # proto3 enums are open
                if verb in pb.Verb.values():
                    getattr(head, pb.Verb.Name(verb).removeprefix("VERB_").lower()).SetInParent()
                wire.send(frame(head))
                self.assertEqual(wire.completion(wire.token).error, pb.ERROR_OPERATION_NOT_SUPPORTED, verb)

    def test_ids_are_never_used_again(self):
        self.start()
        control = self.control()
        seen = [control.inspect(show=pb.Show())[0]["id"]]
        for _ in range(5):
            client = self.client()
            seen.append(client.inspect(show=pb.Show())[0]["id"])
            for _ in range(5):
                sock = client.socket()
                client.sync().result(DEADLINE)
                row, = client.inspect(list=pb.List())
                seen.append(row["id"])
                sock.close().result(DEADLINE)
                with self.assertRaises(AsockError):
                    control.inspect(show=pb.Show(id=row["id"]))
            client.disconnect()
        self.assertEqual(seen, sorted(set(seen)))


if __name__ == "__main__":
    unittest.main()
