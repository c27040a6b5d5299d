# SPDX-License-Identifier: LGPL-2.1-or-later
"""asockctl stats --openmetrics and --prometheus: well-formed, and they count what happened. The dashboard."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import asockctl
import fake_asockd
import openmetrics
from asockd import Daemon, DaemonTest
from wire import Wire, pb


class Metrics(DaemonTest):
    def text(self, option="--openmetrics"):
        done = asockctl.run("stats", option, "--control", self.daemon.control_path)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return done.stdout.decode("ascii")

    def values(self):
        """{(name with suffix, label's value or None): value}"""
        found = {}
        for family in openmetrics.parse(self.text()).values():
            for suffix, labels, value in family.samples:
                self.assertLessEqual(len(labels), 1)
                found[family.name + suffix, next(iter(labels.values()), None)] = float(value)
        return found

    def grown(self, before):
        return {key: value - before.get(key, 0) for key, value in self.values().items() if value != before.get(key, 0)}

    def test_each_family_is_described(self):
        families = openmetrics.parse(self.text())
        self.assertGreater(len(families), 30)
        for family in families.values():
            self.assertTrue(family.name.startswith("asockd_"), family.name)
            self.assertRegex(family.help, r"^[0-9A-Z].*\.$" if family.type != "gauge" else ".", family.name)
            self.assertTrue(family.samples, family.name)
        self.assertEqual({family.type for family in families.values()}, {"info", "gauge", "counter", "histogram"})
        self.assertEqual({family.unit for family in families.values()}, {"", "seconds", "bytes"})

    def test_verbs_and_results_are_those_of_the_protocol(self):
        families = openmetrics.parse(self.text())
        verbs = {labels["verb"] for _, labels, _ in families["asockd_requests"].samples}
        self.assertEqual(verbs, {name[len("VERB_"):] for name, number in pb.Verb.items() if number > 0} | {"unknown"})
        results = [labels["result"] for _, labels, _ in families["asockd_results"].samples]
        self.assertEqual(len(results), len(set(results)))
        self.assertEqual(len(results), len(pb.Error.items()))

    def test_what_happens_is_counted(self):
        wire = self.wire()
        listener = self.listener()
        before = self.values()
        wire.send(wire.open(1, 1), wire.connect(2, 1, listener.getsockname()))
        self.assertEqual(wire.completion(2).error, 0)
        peer = self.accept(listener)
        peer.sendall(b"12345")
        wire.send(wire.receive(3, 1, 5))
        wire.completion(3)
        wire.send(wire.make_close(4, 7))
        self.assertEqual(wire.completion(4).error, pb.ERROR_NOT_SOCKET)
        wire.send(wire.resolve(5, "localhost"))
        wire.completion(5)
        grown = self.grown(before)
        self.assertEqual(grown["asockd_connect_duration_seconds_count", None], 1)
        self.assertEqual(grown["asockd_connect_duration_seconds_bucket", "30.0"], 1)
        self.assertGreater(grown["asockd_connect_duration_seconds_sum", None], 0)
        self.assertEqual(grown["asockd_lookup_duration_seconds_count", None], 2)
        self.assertGreater(grown["asockd_turn_duration_seconds_count", None], 3)
        for op in range(16):  # one of so many is timed
            wire.send(wire.resolve(op + 6, "localhost"))
            wire.completion(op + 6)
        self.assertGreaterEqual(self.grown(before)["asockd_queue_duration_seconds_count", None], 1)
        for verb in ("OPEN", "CONNECT", "RECEIVE", "CLOSE", "RESOLVE"):
            self.assertEqual(grown["asockd_requests_total", verb], 1, verb)
        self.assertEqual(grown["asockd_results_total", "NotSocket"], 1)
        self.assertEqual(grown["asockd_network_received_bytes_total", None], 5)
        self.assertEqual(grown["asockd_sockets", None], 1)
        self.assertGreater(self.values()["asockd_quota_used", "memory"], 0)

    def test_connects_are_counted_by_rule(self):
        with tempfile.TemporaryDirectory() as directory:
            os.chmod(directory, 0o755)
            path = os.path.join(directory, "a.policy")
            with open(path, "w", encoding="ascii") as file:
                file.write("[Rules]\nDeny=tcp 127.0.0.9 *\nAllow=tcp 127.0.0.1 * +loopback\n")
            os.chmod(path, 0o644)
            daemon = Daemon("--policy", path)
            self.addCleanup(daemon.stop)
        listener = self.listener()
        wire = self.hold(Wire(daemon.path))
        wire.hello()
        port = listener.getsockname()[1]
        for number, address in enumerate(("127.0.0.1", "127.0.0.9", "127.0.0.1", "10.0.0.1"), 1):
            wire.send(wire.open(2 * number, number), wire.connect(2 * number + 1, number, (address, port)))
            wire.completion(2 * number + 1)
        text = asockctl.run("stats", "--openmetrics", "--control", daemon.control_path).stdout.decode("ascii")
        counted = {labels["rule"]: int(value) for _, labels, value in openmetrics.parse(text)["asockd_rule_connects"].samples}
        self.assertEqual({rule: count for rule, count in counted.items() if count},
                         {f"{path}:2": 1, f"{path}:3": 2, "none": 1})

    def test_a_refusal_is_counted(self):
        wire = self.wire()
        before = self.values()
        wire.send(wire.make_register(1, 1 << 50))
        self.assertEqual(wire.completion(1).error, pb.ERROR_NO_BUFFER_SPACE)
        self.assertGreaterEqual(self.grown(before)["asockd_quota_refusals_total", "shared_memory"], 1)

    def test_both_formats_say_the_same(self):
        opened = self.text().splitlines()
        prometheus = self.text("--prometheus").splitlines()
        self.assertNotIn("# EOF", prometheus)
        self.assertNotIn("UNIT", "".join(prometheus))
        def names(lines):
            return [line.split(" ")[0] for line in lines if not line.startswith("#")]
        self.assertEqual(names(opened), names(prometheus))
        types = {line.split(" ")[2]: line.split(" ")[3] for line in prometheus if line.startswith("# TYPE ")}
        for name in names(prometheus):
            plain = re.sub(r"\{.*", "", name)
            self.assertIn(re.sub(r"_(bucket|count|sum)$", "", plain) if "duration" in plain else plain, types)
        self.assertEqual(set(types.values()), {"gauge", "counter", "histogram"})

    def test_promtool_has_nothing_to_say(self):
        promtool = shutil.which("promtool")
        if not promtool:
            self.skipTest("no promtool")
        done = subprocess.run([promtool, "check", "metrics"], input=self.text("--prometheus"), text=True,
                              capture_output=True, timeout=asockctl.DEADLINE, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_clients_have_none(self):
        done = asockctl.run("stats", "--openmetrics", "--socket", self.daemon.path)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"--control", done.stderr)
        wire = self.wire()
        self.assertEqual(wire.inspect(stats=pb.Stats(metrics=True)), [])

    def test_one_format(self):
        done = asockctl.run("stats", "--openmetrics", "--json", "--control", self.daemon.control_path)
        self.assertEqual((done.returncode, done.stdout), (2, b""))

    def test_the_dashboard_names_what_there_is(self):
        with open(os.path.join(asockctl.SRCDIR, "examples/grafana-asockd.json"), encoding="utf-8") as file:
            dashboard = json.load(file)
        there = {}
        for family in openmetrics.parse(self.text()).values():
            for suffix, labels, _ in family.samples:
                there.setdefault(family.name + suffix, set()).update(labels)
        queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        queries += [variable["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
        self.assertGreater(len(queries), 20)
        for query in queries:
            names = re.findall(r"\basockd_\w+", query)
            self.assertTrue(names, query)
            for name in names:
                self.assertIn(name, there, query)
            for label in re.findall(r"(\w+)[!=]?=~?\"", query) + re.findall(r"by \((\w+)\)", query):
                self.assertIn(label, {"instance"} | set().union(*[there[name] for name in names]), query)
        ids = [panel["id"] for panel in dashboard["panels"]]
        self.assertEqual(len(ids), len(set(ids)))


class Strict(unittest.TestCase):
    """The test's own parser rejects text that is not OpenMetrics."""

    GOOD = "# TYPE a counter\n# HELP a Text.\na_total{b=\"c\"} 1\n# EOF\n"

    def test_good(self):
        self.assertEqual(openmetrics.parse(self.GOOD)["a"].samples, [("_total", {"b": "c"}, "1")])

    def test_bad(self):
        for old, new in (("# EOF\n", ""), ("a_total", "a"), ("} 1", "} x"), ("} 1", "} 1\na_total{b=\"c\"} 1"),
                         ("} 1", "} -1"), ('"c"', '"c'), ("counter", "count"), ("# HELP", "# HELPS"),
                         ("# EOF", "b 1\n# EOF"), ("# EOF", "# HELP a Again.\n# EOF"), ("# EOF", "\n# EOF"),
                         ("# HELP", "# UNIT a bytes\n# HELP"), ("Text.", "Te\\xt.")):
            with self.subTest(new=new), self.assertRaises(ValueError):
                openmetrics.parse(self.GOOD.replace(old, new))


class Hostile(fake_asockd.FakeTest):

    def test_nothing_breaks_a_line(self):
        """Whoever answers."""
        row = [("metric", "a b{"), ("type", "gauge 1"), ("unit", "s"), ("help", "x\\y"), ("label", 'l="'),
               ("of", 'v"\\'), ("value", 5), ("per", 1)]
        for option in ("--openmetrics", "--prometheus"):
            text = self.check_ok([row], "stats", option)
            self.assertIn('asockd_a_b_{l__="v\\"\\\\"} 5\n', text)
            self.assertIn("# TYPE asockd_a_b_ gauge_1\n", text)
            self.assertIn("# HELP asockd_a_b_ x\\\\y\n", text)
        self.assertEqual(self.ask([[("metric", "a\nb"), ("value", 5)]], "stats", "--openmetrics").returncode, 1)



if __name__ == "__main__":
    unittest.main()
