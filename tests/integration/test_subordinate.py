# SPDX-License-Identifier: LGPL-2.1-or-later
"""Subordinate user ids: what holds for a user holds for each id that /etc/subuid gives him, and they share what is his."""

import os
import tempfile
import unittest

from asockd import Daemon, DaemonTest
from quotas import connect_as
from wire import Ended, pb, request

OWNER, FIRST, OTHER = 1001, 100000, 200000
# Over the machine's own file, in the daemon's mount namespace.
ENTER = 'mount --bind "$0" /etc/subuid && exec "$@"'
REASON = "not you"


@unittest.skipUnless(os.getuid() == 0, "needs root to connect as several users")
@unittest.skipUnless(os.path.exists("/etc/subuid"), "there is no /etc/subuid to mount over")
class Subordinate(DaemonTest):
    files = {}

    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="asockd-subuid-")
        cls.addClassCleanup(directory.cleanup)
        os.chmod(directory.name, 0o755)
        cls.directory = directory.name
        cls.subuid = cls.write("subuid", f"{OWNER}:{FIRST}:1000\n")
        arguments = list(cls.arguments)
        for name, text in cls.files.items():
            arguments[:0] = [("--policy" if name.endswith(".policy") else "--config"), cls.write(name, text)]
        cls.daemon = Daemon(*arguments, prefix=("unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER,
                                                cls.subuid))

    @classmethod
    def write(cls, name, text):
        path = os.path.join(cls.directory, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(path, 0o644)
        return path

    def client(self, uid):
        wire = self.hold(connect_as(self.daemon.path, uid))
        wire.hello()
        return wire

    def verdict(self, uid):
        """Of a connect to a listener of ours."""
        wire, listener = self.client(uid), self.listener()
        wire.send(wire.open(1, 1), wire.connect(2, 1, listener.getsockname()))
        reply, text = wire.whole(2)
        return text.decode() if reply.error == pb.ERROR_ACCESS_DENIED else pb.Error.Name(reply.error)


class Policy(Subordinate):
    arguments = ()
    files = {
        "b.policy": "[Rules]\nAllow=tcp * * +loopback\n",
        "a.policy": f'[Match]\nUser={OWNER}\n[Rules]\nDeny=tcp * * "{REASON}"\n',
    }

    def test_a_denied_user_is_denied_as_each_of_his_ids(self):
        for uid in (OWNER, FIRST, FIRST + 999):
            self.assertEqual(self.verdict(uid), REASON, uid)
        for uid in (FIRST - 1, FIRST + 1000, OTHER):
            self.assertEqual(self.verdict(uid), "ERROR_SUCCESS", uid)

    def test_a_range_that_is_added_counts_for_the_next_client(self):
        self.addCleanup(self.write, "subuid", f"{OWNER}:{FIRST}:1000\n")
        before = self.client(OTHER)
        self.write("subuid", f"{OWNER}:{FIRST}:1000\n{OWNER}:{OTHER}:1000\n")
        self.assertEqual(self.verdict(OTHER), REASON)
        listener = self.listener()  # a client stays who it was when it came
        before.send(before.open(1, 1), before.connect(2, 1, listener.getsockname()))
        self.assertEqual(before.completion(2).error, pb.ERROR_SUCCESS)

    def test_an_owner_that_nobody_knows_may_be_the_denied_one(self):
        self.addCleanup(self.write, "subuid", f"{OWNER}:{FIRST}:1000\n")
        self.write("subuid", f"no-such-user-here:{FIRST}:1000\n")
        self.assertNotIn(self.verdict(FIRST), ("ERROR_SUCCESS", REASON))
        self.assertEqual(self.verdict(OTHER), "ERROR_SUCCESS")

    def test_who_looks_is_told_the_owner(self):
        def shown(uid):
            wire = self.client(uid)
            return wire.inspect(show=pb.Show())[0].get("owner")

        self.assertEqual(shown(FIRST + 5), OWNER)
        self.assertIsNone(shown(OWNER))


class Groups(Subordinate):
    """As many groups as the kernel lets a process have."""
    arguments = ()
    GROUP = 70000
    files = {
        "b.policy": "[Rules]\nAllow=tcp * * +loopback\n",
        "a.policy": f'[Match]\nGroup={GROUP}\n[Rules]\nDeny=tcp * * "{REASON}"\n',
    }

    def client(self, uid):
        before = os.getgroups()
        os.setgroups(self.groups)
        try:
            return super().client(uid)
        finally:
            os.setgroups(before)

    def test_one_of_65536_groups_counts_and_so_does_a_reload(self):
        self.groups = range(1000, 1000 + 65536)
        self.assertEqual(self.verdict(OTHER), "ERROR_SUCCESS")
        self.groups = range(self.GROUP - 65535, self.GROUP + 1)
        self.assertEqual(self.verdict(OTHER), REASON)
        wire, listener = self.client(OTHER), self.listener()
        self.daemon.control.token += 1
        self.daemon.control.send(request(pb.VERB_RELOAD, self.daemon.control.token, reload=pb.Reload()))
        self.daemon.control.take(lambda r: r.op == self.daemon.control.token)
        wire.send(wire.open(1, 1), wire.connect(2, 1, listener.getsockname()))
        self.assertEqual(wire.whole(2)[1].decode(), REASON)


class SharedListener(Subordinate):
    """Who may come by a listener that a user's session shares (S59)."""

    def come(self, directory, uid):
        wire = self.hold(connect_as(os.path.join(directory, "asock.sock"), uid))
        try:
            wire.hello()
        except Ended as end:
            return pb.Error.Name(end.reply.error)
        return "welcome"

    def test_s59_ids_of_the_sharers_may_come_and_no_others(self):
        directory = self.client(OWNER).inspect(share=pb.Share())[0]["directory"]
        for uid in (OWNER, FIRST, FIRST + 999):
            self.assertEqual(self.come(directory, uid), "welcome", uid)
        for uid in (FIRST - 1, FIRST + 1000, OTHER, 65534, 0):
            self.assertEqual(self.come(directory, uid), "ERROR_ACCESS_DENIED", uid)

    def test_s59_an_id_of_the_sharers_gives_nothing_back_to_the_owner(self):
        directory = self.client(FIRST).inspect(share=pb.Share())[0]["directory"]
        self.assertEqual(self.come(directory, FIRST), "welcome")
        for uid in (OWNER, FIRST + 1):
            self.assertEqual(self.come(directory, uid), "ERROR_ACCESS_DENIED", uid)


class Shares(Subordinate):
    files = {"asockd.conf": "[Limits]\nClients=32\n"}

    def fill(self, *uids):
        """How many sessions they get, in turn."""
        count = 0
        try:
            while count < 33:
                self.client(uids[count % len(uids)])
                count += 1
        except Ended as end:
            self.assertEqual(end.reply.error, pb.ERROR_NO_BUFFER_SPACE)
        return count

    def test_s49_all_ids_of_a_user_have_one_share(self):
        many = self.fill(OWNER, *range(FIRST, FIRST + 20))
        self.assertIn(many, (16, 8))  # a unit has half of the user's
        self.assertEqual(self.fill(FIRST + 500), 0)
        self.assertGreater(self.fill(OTHER), 0)


if __name__ == "__main__":
    unittest.main()
