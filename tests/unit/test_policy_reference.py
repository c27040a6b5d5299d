# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random rules and questions: the daemon's judgement is that of a second one, tests/lib/policy_reference.py."""

import ipaddress
import os
import random
import socket
import subprocess
import unittest

from policy_reference import FLAGS, RANGES, File, Policy

ROUNDS, QUESTIONS = 400, 60
RANGES4 = [net for net, _ in RANGES if net.version == 4]
PROTOCOLS = ("tcp", "tcp", "udp")
LABELS = ("a", "b", "ads", "example", "test", "localhost")
PORTS = (1, 25, 80, 81, 443, 444, 445, 1023, 1024, 8079, 8080, 8081, 65534, 65535)


class Probe:
    """tests/unit/policy_probe."""

    def __init__(self):
        path = os.path.join(os.environ["ASOCK_TEST_BUILDDIR"], "tests", "unit", "policy_probe")
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait()

    def say(self, *lines):
        self.process.stdin.write("".join(line + "\n" for line in lines))

    def ask(self, *lines):
        self.say(*lines)
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")


def random_name(rng):
    return ".".join(rng.choice(LABELS) for _ in range(rng.randint(1, 4)))


def random_address(rng):
    """Mostly in one of the ranges of the man page, at its edges, and in what holds IPv4."""
    kind = rng.randrange(8)
    if kind == 0:
        return ipaddress.IPv4Address(rng.getrandbits(32))
    if kind == 1:
        return ipaddress.IPv6Address(rng.getrandbits(128))
    if kind == 2:
        return ipaddress.IPv6Address(rng.getrandbits(125) | 1 << 125)
    if kind < 6:
        net = rng.choice(RANGES)[0]
        spot = rng.choice((0, net.num_addresses - 1, -1, net.num_addresses, rng.randrange(net.num_addresses)))
        number = (int(net.network_address) + spot) % (1 << net.max_prefixlen)
        return type(net.network_address)(number)
    inner = rng.choice((rng.choice(RANGES4).network_address, ipaddress.IPv4Address("8.8.8.8"),
                        ipaddress.IPv4Address(rng.getrandbits(32))))
    other = int(ipaddress.IPv4Address("9.9.9.9"))
    number = int(inner)
    mapped = {
        "::": number, "::ffff:0:0": number, "64:ff9b::": number, "64:ff9b:1::": number,
        "2002::": number << 80,
        "2001::": rng.choice((number << 64 | (other ^ 0xffffffff), other << 64 | (number ^ 0xffffffff))),
        "64:ff9b:1:0::": (number >> 16) << 64 | (number & 0xffff) << 40,
        "64:ff9b:1:0:0::": number << 24,
        "2a00::5efe:0:0": number, "2a00::200:5efe:0:0": number,
    }
    base = rng.choice(sorted(mapped))
    return ipaddress.IPv6Address(int(ipaddress.IPv6Address(base)) | mapped[base])


def random_network(rng):
    if rng.randrange(2):
        net = rng.choice(RANGES)[0]
        prefix = min(max(net.prefixlen + rng.randint(-3, 8), 0), net.max_prefixlen)
        net = ipaddress.ip_network((net.network_address, prefix), strict=False)
    else:
        address = random_address(rng)
        net = ipaddress.ip_network((address, rng.randint(0, address.max_prefixlen)), strict=False)
    if net.version == 6 and net.prefixlen >= 96 and net.subnet_of(ipaddress.ip_network("::ffff:0:0/96")):
        return "8.8.8.0/24"
    if net.prefixlen == net.max_prefixlen and rng.randrange(2):
        return written(net.network_address)
    return f"{written(net.network_address)}/{net.prefixlen}"


def written(address):
    """As inet_ntop(3) writes it, which Python 3.11 does not."""
    return socket.inet_ntop(socket.AF_INET if address.version == 4 else socket.AF_INET6, address.packed)


def random_ports(rng):
    first = rng.choice(PORTS)
    later = [port for port in PORTS if port > first]
    port = rng.choice(("*", str(first), f"{first}-{rng.choice(later)}" if later else "*"))
    return "*" if port == "1-65535" else port  # the same, for the parser too


def random_rule(rng):
    protocol = rng.choice(PROTOCOLS)
    host = rng.choice(("*", random_name(rng), "*." + random_name(rng), random_network(rng),
                       random_network(rng)))
    port = ",".join(sorted({random_ports(rng) for _ in range(rng.choice((1, 1, 1, 2, 4)))}))
    comment = rng.choice(("", "", "", " # why", ' # "x" +local, 80'))
    if rng.randrange(3) == 0:
        return f"Deny={protocol} {host} {port}" + rng.choice(("", ' "not this"', ' "not # this"')) + comment
    flags = rng.sample(FLAGS, rng.randrange(4))
    return f"Allow={protocol} {host} {port}" + "".join(f" +{flag}" for flag in flags) + comment


def random_file(rng):
    lines = ["[Rules]"]
    seen = set()
    for _ in range(rng.choice((rng.randrange(7), rng.randrange(7), rng.randrange(7), 120))):
        rule = random_rule(rng)
        protocol, host, port = rule.partition("=")[2].split()[:3]
        host = host.removesuffix("/128" if ":" in host else "/32")
        about = {(protocol, host, part) for part in port.split(",")}
        if not about & seen:
            seen |= about
            lines.append(rule)
    if rng.randrange(6) == 0:
        lines[1:1] = ["Mode=learn", "LearnUntil=" + rng.choice(("2999-12-31", "2001-01-01"))]
    return lines


def is_own(address):
    """Whether this host has the address: what is sent there comes from there."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((str(address), 9))
        except OSError:
            return False
        return sock.getsockname()[0] == str(address)


class Narrowed:
    """What each of them allows."""

    def __init__(self, policies):
        self.policies = policies

    def ask(self, *question):
        answers = [policy.ask(*question) for policy in self.policies]
        return next((answer for answer in answers if answer.startswith("deny")), answers[0])


class Reference(unittest.TestCase):

    def setUp(self):
        self.probe = Probe()
        self.addCleanup(lambda: self.assertEqual(self.probe.close(), 0))

    def take(self, files):
        self.probe.say("reset")
        read = []
        for number, lines in enumerate(files):
            name = f"f{number}"
            self.assertEqual(self.probe.ask(f"file {name}", *lines, "."), "ok", lines)
            read.append(File(name, "\n".join(lines)))
        return Policy(read, is_own)

    def restrict(self, rng, files):
        """Some of the policies are narrowed, once or twice."""
        restrictions = []
        for _ in range(rng.choice((0, 0, 0, 1, 2))):
            lines = [line for line in random_file(rng) if not line.startswith(("Mode", "Learn"))]
            # Both together have 256 rules at most; a line has up to four.
            del lines[33:]
            self.assertEqual(self.probe.ask("restrict", *lines, "."), "ok", lines)
            restrictions.append(Policy([File("restriction", "\n".join(lines))], is_own))
            files.append(lines)
        return restrictions

    def compare(self, policy, name, address, port, files, protocol="tcp"):
        expected = policy.ask(name, address, port, protocol)
        got = self.probe.ask(f"ask {protocol} {name or '-'} {address or '-'} {port}")
        # Of several rules that allow it, the verdict names the one for the address as a whole.
        self.assertEqual(got, expected, (protocol, name, address, port, files))

    def test_random_policies(self):
        seed = random.SystemRandom().getrandbits(32)
        rng = random.Random(seed)
        print(f"# seed {seed}", flush=True)
        verdicts = set()
        for _ in range(ROUNDS):
            files = [random_file(rng) for _ in range(rng.randint(1, 3))]
            policy = Narrowed([self.take(files), *self.restrict(rng, files)])
            for _ in range(QUESTIONS):
                name = random_name(rng) if rng.randrange(2) else None
                address = written(random_address(rng)) if not name or rng.randrange(2) else None
                self.compare(policy, name, address, rng.choice(PORTS + (0, 2)) if address else rng.choice(PORTS),
                             files, rng.choice(PROTOCOLS))
                verdicts.add(policy.ask(name, address, 80).split()[0])
        self.assertEqual(verdicts, {"allow", "deny", "learn"})

    def test_every_range_of_the_page(self):
        """First and last address of each, with every flag alone."""
        for flag in FLAGS:
            files = [["[Rules]", f"Allow=tcp * * +{flag}"]]
            policy = self.take(files)
            for net, _ in RANGES:
                for address in (net[0], net[-1]):
                    self.compare(policy, None, written(address), 80, files)


if __name__ == "__main__":
    unittest.main()
