# SPDX-License-Identifier: LGPL-2.1-or-later
"""How rules are applied, once more: naive, slow, and written from asockd.policy(5) alone.

Its table of special addresses is the one of the man page, read from there.
"""

import collections
import datetime
import ipaddress
import os
import re

Rule = collections.namedtuple("Rule", "where allow protocol host first last flags")
FLAGS = ("loopback", "private", "linklocal", "local", "special")


def read_ranges(path):
    """[(network, class)] of "Special addresses"."""
    with open(path, encoding="utf-8") as page:
        section = page.read().split(".Ss Special addresses\n")[1].split("\n.Ss ")[0]
    rows = re.findall(r"^\.It Li (\S+) Ta (\w+) Ta", section, re.M)
    return [(ipaddress.ip_network(net), name) for net, name in rows]


RANGES = read_ranges(os.path.join(os.environ["ASOCK_TEST_SRCDIR"], "man", "asockd.policy.5"))


def class_of(network):
    """Of the smallest range that contains all of it; None: there is none."""
    best = None
    for candidate, name in RANGES:
        if candidate.version == network.version and network.subnet_of(candidate):
            if best is None or candidate.prefixlen > best[0].prefixlen:
                best = (candidate, name)
    return best[1] if best else None


def embedded(address):
    """The IPv4 addresses that packets to an IPv6 address may get to."""
    if address.version == 4:
        return []
    found = embedded_by_range(address)
    if address.packed[8] in (0, 2) and address.packed[9:12] == b"\0\x5e\xfe":
        found.append(ipaddress.IPv4Address(address.packed[12:]))
    return found


def embedded_by_range(address):
    packed = address.packed

    def within(text):
        return address in ipaddress.ip_network(text)

    def v4(*numbers):
        return ipaddress.IPv4Address(bytes(packed[i] for i in numbers))

    last = v4(12, 13, 14, 15)
    if within("64:ff9b::/96"):
        return [last]
    if within("64:ff9b:1::/48"):
        readings = (v4(6, 7, 9, 10), v4(7, 9, 10, 11), v4(9, 10, 11, 12), last)
        return [a for a in readings if a not in ipaddress.ip_network("0.0.0.0/8")]
    if within("2001::/32"):
        return [v4(4, 5, 6, 7), ipaddress.IPv4Address(int(last) ^ 0xffffffff)]
    if within("2002::/16"):
        return [v4(2, 3, 4, 5)]
    if within("::/96") and address not in (ipaddress.ip_address("::"), ipaddress.ip_address("::1")):
        return [last]
    return []


class File:
    """The rules of one file; what it takes is known to be well formed."""

    def __init__(self, name, text):
        self.rules, self.learns, day = [], None, None
        learning = False
        for number, line in enumerate(text.splitlines(), 1):
            key, _, value = line.partition("=")
            where = f"{name}:{number}"
            if key in ("Allow", "Deny"):
                self.rules.extend(self.rules_of(where, key == "Allow", value))
            elif key == "Mode":
                learning = value == "learn"
            elif key == "LearnUntil":
                day = datetime.date.fromisoformat(value)
                self.learns = where
        if not learning or datetime.datetime.now(datetime.timezone.utc).date() > day:
            self.learns = None

    @staticmethod
    def rules_of(where, allow, value):
        """One for each of the line's ranges of ports."""
        words = re.sub(r" #.*", "", value.split('"')[0])
        protocol, host, ports, *rest = words.split()
        if re.fullmatch(r"[\d.]+(/\d+)?", host) or ":" in host:
            host = ipaddress.ip_network(host)
        for port in ports.split(","):
            first, _, last = ("1-65535" if port == "*" else port).partition("-")
            yield Rule(where, allow, protocol, host, int(first), int(last or first),
                       {flag[1:] for flag in rest})


class Policy:
    """Files in their order; local: which addresses are this host's own."""

    def __init__(self, files, local=lambda address: False):
        self.all_rules = self.rules = [rule for file in files for rule in file.rules]
        self.learns = next((file.learns for file in files if file.learns), None)
        self.local = local
        self.protocol = "tcp"

    @staticmethod
    def has_name(rule, name):
        if name is None or not isinstance(rule.host, str):
            return False
        name = name.lower()
        if rule.host.startswith("*."):
            return name.endswith(rule.host[1:]) and name != rule.host[1:]
        return rule.host in ("*", name)

    @staticmethod
    def has_address(rule, address):
        if isinstance(rule.host, str):
            return rule.host == "*"
        return address.version == rule.host.version and address in rule.host

    def unmatched(self, needs_nothing):
        return f"learn {self.learns}" if self.learns and needs_nothing else "deny"

    def ask_name(self, name, port):
        for rule in self.rules:
            if rule.first <= port <= rule.last and self.has_name(rule, name):
                return ("allow " if rule.allow else "deny ") + rule.where
        return self.unmatched(True)

    def ask_one(self, name, address, port):
        name_of_class = class_of(ipaddress.ip_network(address))
        # Of datagrams those go to several hosts, and need a rule for just such addresses.
        is_group = self.protocol == "udp" and (address.is_multicast or str(address) == "255.255.255.255")
        if (name_of_class == "never" and not is_group) or port == 0:
            return "deny"
        needs = {name_of_class} - {"global", None}
        if self.local(address) and name_of_class != "loopback":
            needs.add("local")
        for rule in self.rules:
            if not rule.first <= port <= rule.last:
                continue
            if not self.has_name(rule, name) and not self.has_address(rule, address):
                continue
            has = set(rule.flags)
            if not isinstance(rule.host, str):
                has.add(class_of(rule.host))
            return ("allow " if rule.allow and needs <= has else "deny ") + rule.where
        return self.unmatched(not needs)

    def ask_address(self, name, address, port):
        if address.version == 6 and address in ipaddress.ip_network("::ffff:0:0/96"):
            address = ipaddress.IPv4Address(address.packed[12:])
        answers = [self.ask_one(name, address, port)]
        for inner in embedded(address):
            answers.append(self.ask_one(name, inner, port))
        denials = [answer for answer in answers if answer.startswith("deny")]
        learned = [answer for answer in answers if answer.startswith("learn")]
        return (denials or learned or answers)[0]

    def ask(self, name, address, port, protocol="tcp"):
        """What the probe would say; where several things are learned or allowed, only which of it."""
        self.rules = [rule for rule in self.all_rules if rule.protocol == protocol]
        self.protocol = protocol
        if address is None:
            return self.ask_name(name, port)
        return self.ask_address(name, ipaddress.ip_address(address), port)
