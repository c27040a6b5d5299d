# SPDX-License-Identifier: LGPL-2.1-or-later
"""Policy files in force: what is judged is what is connected, and what is denied leaves no packet (S24)."""

import os
import shutil
import socket
import subprocess
import tempfile
import unittest

import network
from asockd import binary
from nameserver import A, AAAA, PATIENT, Name, NameServer
from policies import PolicyTest
from wire import DEADLINE, pb, request

network.enter()

SECOND4 = "192.0.2.7"       # of the same interface: the kernel comes from the first one
ROUTED6 = "2001:db8:5::1"   # of no interface: its prefix is routed to this host


def setUpModule():
    network.write("/etc/resolv.conf", PATIENT)
    network.write("/etc/hosts", "127.0.0.1 localhost\n")
    network.run("ip", "address", "add", SECOND4 + "/24", "dev", "out")
    network.run("ip", "-6", "route", "add", "local", "2001:db8:5::/64", "dev", "lo")


class Policy(PolicyTest):

    def setUp(self):
        super().setUp()
        self.names = {}
        self.server = NameServer(self.names)
        self.addCleanup(self.server.close)

    def listen(self, address, port=0):
        listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.addCleanup(listener.close)
        listener.settimeout(DEADLINE)
        listener.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND: ROUTED6 is of no interface
        listener.bind((address, port))
        listener.listen()
        return listener

    def capture(self):
        capture = network.Capture()
        self.addCleanup(capture.close)
        return capture

    def begin(self, host, port):
        self.op += 2
        self.client.send(self.client.open(self.op - 1, 1),
                         request(pb.VERB_CONNECT, self.op, 1, connect=pb.Connect(host=host, service=str(port))))
        return self.op

    def end(self):
        self.op += 1
        self.client.send(self.client.make_close(self.op, 1, abort=True))
        self.client.completion(self.op)

    def connect(self, host, port=9):
        """Name of the error, text, remote address."""
        op = self.begin(host, port)
        reply, payload = self.client.take(lambda r: r.kind == pb.KIND_COMPLETION and r.op == op)
        self.end()
        address = reply.connected.remote.address
        remote = socket.inet_ntop(socket.AF_INET6 if len(address) == 16 else socket.AF_INET, address) \
            if address else None
        return pb.Error.Name(reply.error)[6:], payload.decode(), remote

    def denied(self, host, port=9):
        error, text, _ = self.connect(host, port)
        self.assertEqual(error, "ACCESS_DENIED", (host, text))
        return text

    def reaches(self, host, listener, remote=None):
        error, text, address = self.connect(host, listener.getsockname()[1])
        self.assertEqual((error, address), ("SUCCESS", remote or host), text)
        peer, source = listener.accept()
        peer.close()
        return source[0]

    def tries(self, host, port=9):
        """A packet leaves; no host is there to answer."""
        capture = self.capture()
        self.begin(host, port)
        packet = capture.wait(lambda p: p.target == host and "S" in p.flags)
        self.end()
        return packet

    # --------------------------------------------------------------------------------- names

    def test_s24_who_may_nothing_learns_no_names(self):
        """Services, interfaces, hosts: what there is looks like what there is not."""
        for text in ("[Rules]\nDeny=tcp * 80 \"not the web\"\nDeny=tcp example.test *\n", "[Match]\nUser=nobody\n"):
            self.start(text)
            network.write("/etc/hosts", "127.0.0.1 localhost known.test\n")
            try:
                texts = {self.denied(host, service) for host in ("known.test", "127.0.0.1", "unknown.test")
                         for service in ("http", "domain", "no-such-service")}
                zones = {self.denied(f"fe80::1%{zone}", port) for zone in ("lo", "out", "nolink", "1")
                         for port in (9, "http", "no-such-service")}
            finally:
                network.write("/etc/hosts", "127.0.0.1 localhost\n")
            self.assertEqual(len(texts), 1)
            self.assertEqual(len(zones), 1)
            self.assertEqual(self.server.asked(), [])
            self.client.close()
            self.daemon.stop()

    def test_s24_interfaces_are_for_who_may_use_them(self):
        self.rules("Allow=tcp example.test *")
        self.assertEqual(self.denied("fe80::1%lo"), self.denied("fe80::1%nolink"))
        self.assertEqual(self.connect("example.test", "no-such-service")[0], "INVALID_ARGUMENT")
        network.run("ip", "address", "add", "fe80::77/128", "dev", "lo", "nodad")
        listener = socket.socket(socket.AF_INET6)
        self.addCleanup(listener.close)
        listener.bind(("fe80::77", 0, 0, socket.if_nametoindex("lo")))
        listener.listen()
        port = listener.getsockname()[1]
        self.rules("Allow=tcp fe80::/10 * +local")
        self.assertEqual(self.connect("fe80::77%nolink", port)[0], "INVALID_ARGUMENT")
        self.assertEqual(self.connect("fe80::77%lo", port)[0], "SUCCESS")

    def test_s24_restricted_to_nothing(self):
        self.rules("Allow=tcp * * +loopback")
        self.assertEqual(self.connect("localhost", "no-such-service")[0], "INVALID_ARGUMENT")
        self.client.send(request(pb.VERB_RESTRICT, 999, payload=b"[Rules]\n", restriction=pb.Restrict()))
        self.client.completion(999)
        self.assertEqual(self.denied("localhost", "http"), self.denied("localhost", "no-such-service"))

    def test_s24_dns_rebinding(self):
        """The second answer is judged like the first: on the address."""
        self.rules("Allow=tcp rebind.test * +special +local")
        outside = self.listen(network.OWN4)
        port = outside.getsockname()[1]
        inside = self.listen("127.0.0.1", port)
        self.names["rebind.test"] = Name(a=[network.OWN4])
        self.reaches("rebind.test", outside, network.OWN4)
        capture = self.capture()
        for address in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1"):
            self.names["rebind.test"] = Name(a=[address])
            self.denied("rebind.test", port)
        for address in ("::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fd00::1", "fe80::1", "::"):
            self.names["rebind.test"] = Name(aaaa=[address])
            self.denied("rebind.test", port)
        self.assertEqual(capture.to(port), [])
        # Among several it is passed over.
        self.names["rebind.test"] = Name(a=["127.0.0.1", network.OWN4], aaaa=["::1"])
        self.reaches("rebind.test", outside, network.OWN4)
        inside.setblocking(False)
        self.assertRaises(BlockingIOError, inside.accept)

    def test_s24_no_question_that_no_rule_could_admit(self):
        self.rules("Deny=tcp bad.known.test *", "Allow=tcp *.known.test 80", "Allow=tcp 192.0.2.0/24 *")
        for name in ("bad.known.test", "a.known.test", "other.test"):
            self.names[name] = Name(a=[network.OWN4])
        capture = self.capture()
        self.denied("other.test", 80)
        self.denied("known.test", 80)
        self.denied("bad.known.test", 80)
        self.denied("BAD.Known.Test", 80)
        self.denied("a.known.test", 81)
        self.assertEqual((self.server.questions, capture.now()), ([], []))
        self.denied("a.known.test", 80)  # its address is this host's own
        self.assertEqual({kind for kind, _ in self.server.asked("a.known.test")}, {A, AAAA})
        self.assertEqual([packet for packet in capture.now() if packet.dport != 53 and packet.sport != 53], [])

    def test_s24_aliases_are_not_looked_at(self):
        """Neither to allow nor to deny: the name that was asked for counts, and the address."""
        self.rules("Deny=tcp target.test *", "Allow=tcp alias.test * +loopback", "Allow=tcp allowed.test * +loopback")
        listener = self.listen("127.0.0.1")
        self.names["alias.test"] = Name(a=["127.0.0.1"], cname="target.test")
        self.names["other.test"] = Name(a=["127.0.0.1"], cname="allowed.test")
        self.reaches("alias.test", listener, "127.0.0.1")
        self.denied("other.test", listener.getsockname()[1])
        self.assertEqual(self.server.asked("other.test"), [])

    def test_s24_a_denied_name_is_not_its_address(self):
        self.rules("Deny=tcp known.test * \"by name\"", "Allow=tcp 127.0.0.1 *")
        listener = self.listen("127.0.0.1")
        self.names["known.test"] = Name(a=["127.0.0.1"])
        self.assertEqual(self.denied("known.test", listener.getsockname()[1]), "by name")
        self.reaches("127.0.0.1", listener)

    def test_s24_rules_for_addresses_admit_no_name(self):
        self.rules("Allow=tcp 127.0.0.0/8 *")
        self.names["known.test"] = Name(a=["127.0.0.1"])
        self.assertEqual(self.denied("known.test"), "the rules allow addresses only, so no name is resolved")
        self.assertEqual(self.server.questions, [])

    def test_s24_the_reason_is_the_rules(self):
        self.rules("Deny=tcp 192.0.2.0/24 * \"grüß dich\"", "Deny=tcp * 25", "Allow=tcp * 80")
        self.assertEqual(self.denied(network.SILENT4), "grüß dich")
        self.assertEqual(self.denied("8.8.8.8", 25), "a rule denies this destination")
        self.assertEqual(self.denied("8.8.8.8", 26), "no rule allows this destination")
        self.assertEqual(self.denied("127.0.0.1", 80), "this is a loopback address, but the rule for it has no +loopback")

    # ----------------------------------------------------------------------------- addresses

    def test_s24_own_addresses_need_local(self):
        self.rules("Allow=tcp 192.0.2.0/24 1-9", "Allow=tcp 2001:db8::/32 1-9", "Allow=tcp * 10-65535 +special +local")
        capture = self.capture()
        for address in (network.OWN4, SECOND4, network.OWN6, ROUTED6):
            self.assertEqual(self.denied(address),
                             "this is an address of the daemon's own host, but the rule for it has no +local", address)
        self.assertEqual(capture.now(), [])
        self.tries(network.SILENT4)
        self.tries(network.SILENT6)
        for address in (network.OWN4, SECOND4, network.OWN6, ROUTED6):
            self.reaches(address, self.listen(address))

    def test_s24_own_addresses_where_any_can_be_bound_to(self):
        self.rules("Allow=tcp 192.0.2.0/24 *", "Allow=tcp 2001:db8::/32 *")
        names = ("net.ipv4.ip_nonlocal_bind", "net.ipv6.ip_nonlocal_bind")
        for name in names:
            network.run("sysctl", "-q", name + "=1")
            self.addCleanup(network.run, "sysctl", "-q", name + "=0")
        for address in (network.OWN4, SECOND4, network.OWN6, ROUTED6):
            self.denied(address)
        self.tries(network.SILENT4)
        self.tries(network.SILENT6)

    def routed(self, *selector):
        """SILENT4 is this host's, for what the selector of a rule says, and for nothing else."""
        rule = ("ip", "rule", "add", *selector, "lookup", "100")
        network.run(*rule)
        self.addCleanup(network.run, "ip", "rule", "del", *rule[3:])

    def way_of(self, number, denied, traffic_class=None, port=9):
        """Is a connect to SILENT4 denied, or tried?"""
        self.client.send(self.client.open(number, number))
        self.assertEqual(self.client.completion(number).error, pb.ERROR_SUCCESS)
        if traffic_class is not None:
            self.client.send(request(pb.VERB_SET_OPTION, number + 1, number, set_option=pb.SetOption(
                option=pb.OPTION_TRAFFIC_CLASS, value=pb.OptionValue(number=traffic_class))))
            self.assertEqual(self.client.completion(number + 1).error, pb.ERROR_SUCCESS)
        capture = self.capture()
        self.client.send(self.client.connect(number + 2, number, (network.SILENT4, port)))
        if not denied:
            capture.wait(lambda p: p.target == network.SILENT4 and "S" in p.flags)
            self.client.send(self.client.cancel(number + 3, number, number + 2))
        reply, text = self.client.whole(number + 2)
        if denied:
            self.assertEqual(text, b"this is an address of the daemon's own host, but the rule for it has no +local")
        else:
            self.assertEqual(pb.Error.Name(reply.error), "ERROR_OPERATION_ABORTED", text)

    def test_s24_what_is_local_is_told_by_the_route_of_that_connection(self):
        """By protocol, port and traffic class, as rules of the routing policy have them."""
        network.run("ip", "route", "add", "local", network.SILENT4, "dev", "lo", "table", "100")
        self.addCleanup(network.run, "ip", "route", "flush", "table", "100")
        self.start("[Rules]\nAllow=tcp 192.0.2.0/24 *\n[Egress]\nOptions=TrafficClass\n")
        self.way_of(10, denied=False)
        self.routed("tos", "0x10")
        self.way_of(20, denied=False)
        self.way_of(30, denied=False, traffic_class=0x08)
        self.way_of(40, denied=True, traffic_class=0x10)
        self.routed("ipproto", "udp")
        self.way_of(50, denied=False)
        self.routed("ipproto", "tcp", "dport", "7")
        self.way_of(60, denied=False)
        self.way_of(70, denied=True, port=7)
        self.routed("ipproto", "tcp")
        self.way_of(80, denied=True)

    def test_s24_a_routed_prefix_is_local_whatever_the_mtu_of_lo(self):
        self.rules("Allow=tcp 192.0.2.0/24 1-9", "Allow=tcp 2001:db8::/32 1-9")
        network.run("ip", "link", "set", "lo", "mtu", "1500")
        self.addCleanup(network.run, "ip", "link", "set", "lo", "mtu", "65536")
        for address in (network.OWN4, SECOND4, network.OWN6, ROUTED6):
            self.denied(address)
        self.tries(network.SILENT6)

    def test_traffic_class_and_hop_limit_are_policys_to_allow(self):
        def set_option(op, option):
            self.client.send(request(pb.VERB_SET_OPTION, op, 1, set_option=pb.SetOption(
                option=option, value=pb.OptionValue(number=8))))
            return self.client.completion(op).error

        for number, (egress, allowed) in enumerate((("", ()), ("[Egress]\nOptions=none\n", ()),
                                                    ("[Egress]\nOptions=HopLimit\n", (pb.OPTION_HOP_LIMIT,)))):
            self.start("[Rules]\nAllow=tcp * *\n" + egress)
            self.client.send(self.client.open(1, 1))
            self.assertEqual(self.client.completion(1).error, pb.ERROR_SUCCESS)
            for option in (pb.OPTION_TRAFFIC_CLASS, pb.OPTION_HOP_LIMIT):
                self.assertEqual(set_option(10 + option, option),
                                 pb.ERROR_SUCCESS if option in allowed else pb.ERROR_ACCESS_DENIED, (number, option))
            self.assertEqual(set_option(40, pb.OPTION_KEEP_ALIVE_COUNT), pb.ERROR_SUCCESS)

    def test_s24_denied_leaves_no_packet(self):
        self.rules("Deny=tcp 192.0.2.0/24 *", "Allow=tcp * *")
        capture = self.capture()
        for address in (network.SILENT4, network.SILENT6, "127.0.0.1", "::1", "10.0.0.1", "fe80::1",
                        "64:ff9b::c000:242", "::ffff:192.0.2.66", "2002:c000:242::1", "224.0.0.1", "ff02::1",
                        "255.255.255.255"):
            self.denied(address)
        self.assertEqual(capture.now(), [])

    # ------------------------------------------------------------------------------- clients

    def test_s24_files_are_for_some_clients(self):
        """The client of the test is root, the daemon is not."""
        self.start(f"[Match]\nUser={os.getuid() + 1}\n[Rules]\nAllow=tcp 127.0.0.1 *\n",
                   f"[Match]\nUser={os.getuid()}\nListener=default\n[Rules]\nAllow=tcp ::1 *\n")
        self.assertEqual(self.denied("127.0.0.1"), "no rule allows this destination")
        self.reaches("::1", self.listen("::1"))

    def test_s24_without_a_policy_everything_is_denied(self):
        for text, said in (("[Rules]\nAllow=tcp * *\nAlow=tcp * *\n", ":3: unknown key Alow= in [Rules]"),
                           ("[Rules]\nAllow=tcp * *", ":2: the file does not end with a newline: was it truncated?")):
            self.start("[Rules]\nAllow=tcp 127.0.0.1 *\n", text)
            self.denied("127.0.0.1")
            self.assertIn(said, self.daemon.output())
            self.assertIn("everything is denied", self.daemon.output())

    # -------------------------------------------------------------------------------- egress

    def egress(self, *lines):
        self.start("".join(line + "\n" for line in ("[Egress]", *lines, "[Rules]",
                                                     "Allow=tcp * * +loopback +special +local")))

    def test_s24_egress_source(self):
        self.egress(f"Source={SECOND4} {network.OWN6}")
        self.assertEqual(self.tries(network.SILENT4).source, SECOND4)
        self.assertEqual(self.tries(network.SILENT6).source, network.OWN6)
        self.assertEqual(self.reaches(network.OWN4, self.listen(network.OWN4)), SECOND4)
        self.assertEqual(self.reaches("::ffff:192.0.2.1", self.listen(network.OWN4)), SECOND4)

    def test_s24_egress_that_is_not_there(self):
        """No other way is taken, and no packet."""
        for lines, target in (([f"Source={network.SILENT4}"], network.OWN4), ([f"Source={SECOND4}"], network.SILENT6),
                              ([f"Source={network.OWN6}"], network.SILENT4),
                              ([f"Source={network.OWN6}"], "::ffff:192.0.2.66"), (["Device=nosuch"], network.SILENT4)):
            self.egress(*lines)
            capture = self.capture()
            self.assertEqual(self.connect(target)[0], "ADDRESS_NOT_AVAILABLE", lines)
            self.assertEqual(capture.now(), [])

    def test_s24_egress_device(self):
        for device in ("out", "lo"):
            self.egress(f"Device={device}")
            self.assertEqual(self.tries(network.SILENT4).device, device)
        self.reaches("127.0.0.1", self.listen("127.0.0.1"))

    # --------------------------------------------------------------------------------- --check

    def check(self, *arguments):
        done = subprocess.run([binary(), "--check", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=DEADLINE, check=False)
        return done.returncode, done.stdout, done.stderr

    def test_check(self):
        good = self.write("[Rules]\nAllow=tcp * 80\n")
        dubious = self.write("[Rules]\nAllow=tcp * 80\nDeny=tcp 10.0.0.0/8 80\n")
        bad = self.write("[Rules]\nAllow=tcp 10.0.0.1/8 80\n")
        config = self.write("[Limits]\nSockets=many\n")
        self.assertEqual(self.check(good), (0, "ok: 1 file, 1 rule\n", ""))
        self.assertEqual(self.check(dubious, good),
                         (0, f"{dubious}:3: never reached: line 2 decides first\n2 files, 3 rules, 1 warning\n", ""))
        self.assertEqual(self.check(bad, dubious),
                         (1, f"{dubious}:3: never reached: line 2 decides first\n",
                          f"{bad}:2: bits are set after the prefix: did you mean 10.0.0.0/8?\n"))
        self.assertEqual(self.check(good + "x"), (1, "", f"{good}x: No such file or directory\n"))
        self.assertEqual(self.check("--config", config), (1, "", f"{config}:2: Sockets=many is not a number\n"))
        self.assertEqual(self.check("--config", "/dev/null"), (0, "ok: 0 files, 0 rules\n", ""))
        names = self.write("[Rules]\nDeny=tcp bad.test 80\n")
        self.assertEqual(self.check(names), (0, "ok: 1 file, 1 rule\n", ""))
        with open("/dev/full", "wb") as full:
            done = subprocess.run([binary(), "--check", good], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE,
                                  timeout=DEADLINE, check=False)
        self.assertEqual((done.returncode, done.stderr), (1, b"asockd: standard output: No space left on device\n"))
        self.assertEqual(self.check(names, good), (
            0, f"{names}:2: denies only the name: {good}:2 allows addresses that the name may have\n"
            "2 files, 2 rules, 1 warning\n", ""))
        self.assertEqual(self.check("--allow-any", good)[0], 2)
        self.assertEqual(self.check("--policy", good, good)[0], 2)

    def warnings(self, *texts):
        """Of files in this order, in which FILE0 and so on stand for their names."""
        paths = [self.write(text) for text in texts]
        status, out, err = self.check(*paths)
        self.assertEqual((status, err), (0, ""))
        for number, path in enumerate(paths):
            out = out.replace(path, f"FILE{number}")
        return out.splitlines()[:-1]

    def test_check_of_one_file_behind_another(self):
        star = "[Match]\nGroup=0\n[Rules]\nAllow=tcp * *\n"
        mine = "[Match]\nUnit=a.service\n[Rules]\nAllow=tcp a.test 80\nAllow=tcp 10.0.0.1 80\nAllow=tcp 10.0.0.2 80\n"
        self.assertEqual(self.warnings(star, mine),
                         ["FILE1:5: not reached for clients that both files apply to: FILE0:4 decides first (and 1 more rule)"])
        self.assertEqual(self.warnings(mine, star), [])
        self.assertEqual(self.warnings("[Rules]\nDeny=tcp * 1-99\n", mine.replace("80", "80-443")),
                         ["FILE1:4: not reached for ports 80-99: FILE0:2 decides first (and 2 more rules)"])
        self.assertEqual(self.warnings("[Rules]\nDeny=tcp * 1-99\n", mine),
                         ["FILE1:4: not reached: FILE0:2 decides first (and 2 more rules)"])
        # Another unit's clients are others.
        for match in ("Unit=b.service", "User=1", "Listener=web"):
            other = star.replace("Group=0", match)
            self.assertEqual(self.warnings(other, mine.replace("Unit=a.service", match)),
                             ["FILE1:5: not reached: FILE0:4 decides first (and 1 more rule)"])
            self.assertEqual(self.warnings(other, mine.replace("Unit=a.service", match.replace("b", "c").replace("1", "2"))),
                             [])
        ignored = mine.replace("Allow=tcp 10", "# check: ignore\nAllow=tcp 10")
        self.assertEqual(self.warnings(star, ignored), [])

    def test_check_of_special_addresses(self):
        network.write("/etc/hosts", "127.0.0.1 localhost\n10.1.2.3 inner.test\n192.0.2.33 outer.test\n")
        try:
            self.assertEqual(self.warnings("[Rules]\nAllow=tcp inner.test 80\nAllow=tcp other.test 80\n"),
                             ["FILE0:2: in /etc/hosts, inner.test has the address 10.1.2.3, which needs +private"])
            self.assertEqual(self.warnings("[Rules]\nAllow=tcp inner.test 80 +private\nDeny=tcp outer.test 80\n"), [])
        finally:
            network.write("/etc/hosts", "127.0.0.1 localhost\n")
        text = f"[Rules]\nAllow=tcp a.test 80\nAllow=tcp 192.0.2.99 80\nAllow=tcp {SECOND4} 80\n"
        self.assertEqual(self.warnings(text), ["FILE0:4: an address of this host, which needs +local"])
        self.assertEqual(self.warnings(text.replace("7 80", "7 80 +local")), [])

    def test_check_of_what_is_around_the_files(self):
        folder = tempfile.mkdtemp(prefix="asockd-check-")
        self.addCleanup(shutil.rmtree, folder)
        os.chmod(folder, 0o755)
        policies = os.path.join(folder, "policy.d")
        os.mkdir(policies, 0o755)
        for name, text in (("policy.d/1.policy", "[Match]\nListener=web\nListener=default\nListener=old\n"
                                                 "[Rules]\nAllow=tcp a.test 1\n"),
                           ("policy.d/2.conf", "x\n"), ("policy.d/README", "x\n"), ("policy.d/3.policy~", "x\n"),
                           ("policy.d/4.policy.dpkg-new", "x\n"),
                           ("asockd.conf", "[Listener]\nName=default\n[Listener]\nName=web\nDirectory=/tmp/web\n")):
            with open(os.path.join(folder, name), "w", encoding="ascii") as file:
                file.write(text)
        self.assertEqual(self.check("--config-dir", folder, "--runtime-dir", folder)[1].splitlines(), [
            f"{policies}/2.conf: not read: its name does not end in .policy",
            f"{policies}/1.policy:4: there is no listener old", "1 file, 1 rule, 2 warnings"])
        # One that systemd listens at.
        os.mkdir(os.path.join(folder, "old"))
        with open(os.path.join(folder, "old", "asock.sock"), "w"):
            pass
        self.assertNotIn("listener", self.check("--config-dir", folder, "--runtime-dir", folder)[1])

    def test_check_of_the_audits_file(self):
        for path, warns in (("/srv/asockd.json", True), ("/var/log/asockd.json", True), ("/var/log/asockd/a.json", False)):
            config = self.write(f"[Audit]\nFile={path}\n")
            status, out, err = self.check("--config", config)
            self.assertEqual((status, err, out.startswith(f"[Audit] File={path}: asockd.service can write only below "
                                                          "/var/log/asockd; ")), (0, "", warns), out)

    def test_check_of_everything(self):
        """Without a file: what a daemon with the same options would read."""
        self.assertEqual(self.check("--policy", self.write("[Rules]\n"), "--policy", self.write("Allow=x\n"))[0], 1)
        folder = tempfile.mkdtemp(prefix="asockd-check-")
        self.addCleanup(shutil.rmtree, folder)
        os.chmod(folder, 0o755)
        policies = os.path.join(folder, "policy.d")
        arguments = ("--config-dir", folder)
        self.assertEqual(self.check(*arguments), (1, "", f"{policies}: No such file or directory\n"))
        os.mkdir(policies, 0o755)
        self.assertEqual(self.check(*arguments), (0, f"no policy file in {policies}: everything is denied\n"
                                                  "0 files, 0 rules, 1 warning\n", ""))
        for name, text in (("policy.d/1.policy", "[Rules]\nDeny=tcp bad.test 80\n"),
                           ("policy.d/2.policy", "[Rules]\nAllow=tcp * *\n"), ("asockd.conf", "[Limits]\nSockets=16\n")):
            with open(os.path.join(folder, name), "w", encoding="ascii") as file:
                file.write(text)
        warning = f"{policies}/1.policy:2: denies only the name: {policies}/2.policy:2 allows addresses that the name may have\n"
        self.assertEqual(self.check(*arguments), (0, warning + "2 files, 2 rules, 1 warning\n", ""))
        with open(os.path.join(folder, "asockd.conf"), "a", encoding="ascii") as file:
            file.write("Sockets=17\n")
        self.assertEqual(self.check(*arguments), (1, warning, f"{folder}/asockd.conf:3: Sockets= is given twice\n"))
        os.chmod(policies + "/2.policy", 0o666)
        self.assertEqual(self.check(*arguments)[2].splitlines()[1],
                         f"{policies}/2.policy: must not be writable by its group or by others")


if __name__ == "__main__":
    unittest.main()
