# SPDX-License-Identifier: LGPL-2.1-or-later
"""examples/grafana-asockd.json, each query of it asked of a real Prometheus that reads a running asockd's metrics."""

import http.client
import http.server
import json
import math
import os
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse

import asockctl
from asockd import DaemonTest
from wire import DEADLINE, pb

PROMETHEUS = shutil.which("prometheus")
CONFIG = """global:
  scrape_interval: 300ms
  scrape_timeout: 300ms
scrape_configs:
  - job_name: asockd
    static_configs:
      - targets: ["127.0.0.1:%d"]
"""
# What Grafana puts in.
VARIABLES = {"$instance": ".*", "$__rate_interval": "30s", "${source}": "prometheus"}


class Exporter(http.server.ThreadingHTTPServer):
    """GET /metrics: what asockctl stats --prometheus prints."""

    daemon_threads = True

    def __init__(self, control_path):
        super().__init__(("127.0.0.1", 0), self.answer)
        self.control_path = control_path
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()

    class answer(http.server.BaseHTTPRequestHandler):  # noqa: N801

        def do_GET(self):  # noqa: N802
            done = asockctl.run("stats", "--prometheus", "--control", self.server.control_path)
            self.send_response(200 if done.returncode == 0 else 500)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(done.stdout)

        def log_message(self, *_):
            pass


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def has_number(data):
    """A quantile of nothing is not a number."""
    return any(not math.isnan(float(sample["value"][1])) for sample in data["result"])


@unittest.skipUnless(PROMETHEUS, "only --long installs prometheus")
class Dashboard(DaemonTest):

    def setUp(self):
        super().setUp()
        exporter = Exporter(self.daemon.control_path)
        self.addCleanup(exporter.close)
        directory = tempfile.TemporaryDirectory(prefix="asockd-prometheus-")
        self.addCleanup(directory.cleanup)
        config = os.path.join(directory.name, "prometheus.yml")
        with open(config, "w", encoding="ascii") as file:
            file.write(CONFIG % exporter.server_port)
        self.port = free_port()
        self.log = open(os.path.join(directory.name, "log"), "w+", encoding="utf-8")  # noqa: SIM115
        self.addCleanup(self.log.close)
        self.prometheus = subprocess.Popen(
            [PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={directory.name}/data",
             f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.addCleanup(self.prometheus.wait)
        self.addCleanup(self.prometheus.kill)

    def ask(self, path, **query):
        """The answer, or None as long as Prometheus is not there yet."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request("GET", f"/api/v1/{path}?{urllib.parse.urlencode(query)}")
            answer = connection.getresponse()
            return json.load(answer) if answer.status in (200, 400, 422) else None
        except ConnectionError:
            self.assertIsNone(self.prometheus.poll(), "prometheus has ended")
            return None
        finally:
            connection.close()

    def await_answer(self, wanted, path, **query):
        """Until there is what is wanted; meanwhile clients do what counts."""
        limit = time.monotonic() + DEADLINE
        answer = None
        while time.monotonic() < limit:
            answer = self.ask(path, **query)
            if answer and answer["status"] != "success":
                self.fail(f"{query}: {answer}")
            if answer and wanted(answer["data"]):
                return answer["data"]
            self.act()
            select.select([], [], [], 0.1)
        return self.fail(f"{query}: {answer}")

    def act(self):
        """One of each thing that the dashboard shows."""
        wire, listener = self.wire(), self.listener()
        wire.send(wire.open(1, 1), wire.connect(2, 1, listener.getsockname()), wire.make_send(3, 1, b"12345"))
        wire.completion(3)
        self.accept(listener).close()
        wire.send(wire.make_close(4, 7), wire.resolve(5, "localhost"), wire.make_register(6, 1 << 50))
        self.assertEqual(wire.completion(4).error, pb.ERROR_NOT_SOCKET)
        wire.completion(5)
        self.assertEqual(wire.completion(6).error, pb.ERROR_NO_BUFFER_SPACE)
        for thing in self.held:
            thing.close()
        self.held.clear()

    def test_each_query_finds_something(self):
        with open(os.path.join(asockctl.SRCDIR, "examples/grafana-asockd.json"), encoding="utf-8") as file:
            dashboard = json.load(file)
        queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        self.assertGreater(len(queries), 20)
        for query in queries:
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            self.assertNotIn("$", query)
            self.await_answer(has_number, "query", query=query)
        instances = self.await_answer(lambda data: data, "label/instance/values", **{"match[]": "asockd_uptime_seconds"})
        self.assertEqual(len(instances), 1)


if __name__ == "__main__":
    unittest.main()
