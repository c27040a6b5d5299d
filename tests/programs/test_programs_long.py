# SPDX-License-Identifier: LGPL-2.1-or-later
"""Large programs in a sandbox without a network: package managers, a database, Java, Node.js, a browser."""

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import unittest
import zipfile
import zlib

import programs
import servers
from programs import program

JAVA = """
import java.net.*;
import java.net.http.*;

class Get {
    public static void main(String[] args) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(args[0])).build();
        System.out.print(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
    }
}
"""

FETCH = """
fetch(process.argv[1]).then(response => response.text()).then(text => console.log(text)).catch(error => {
    console.error(`${error.message}: ${error.cause?.message}`);
    process.exit(1);
});
"""
UNDICI = "const { ProxyAgent, setGlobalDispatcher } = require('undici');\n" \
         "setGlobalDispatcher(new ProxyAgent(process.env.https_proxy));\n"

# The script runs, its request and the image come through, or the title says what did not.
BROWSER_PAGE = b"""<!DOCTYPE html><title>loading</title><body style="margin:0">
<img id=image src="https://files.test/red.png" style="width:100%;height:100vh">
<script src="https://web.test/page.js"></script>
"""
BROWSER_SCRIPT = b"""
addEventListener("load", async () => {
    const text = await (await fetch("/data")).text();
    document.title = `${text} image ${document.getElementById("image").naturalWidth}`;
});
"""


def png(red, green, blue):
    """One pixel."""
    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes([0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0])) +
            chunk(b"IDAT", zlib.compress(bytes([0, red, green, blue]))) + chunk(b"IEND", b""))


def wheel():
    """hello-1.0, for pip."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("hello.py", "print('hello from a wheel')\n")
        file.writestr("hello-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n")
        file.writestr("hello-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("hello-1.0.dist-info/RECORD", "")
    return data.getvalue()


def package():
    """hello-1.0.0, for npm."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as file:
        for name, text in (("package.json", '{"name": "hello", "version": "1.0.0", "main": "index.js"}'),
                           ("index.js", "console.log('hello from a package')\n")):
            info = tarfile.TarInfo("package/" + name)
            info.size = len(text)
            file.addfile(info, io.BytesIO(text.encode()))
    return data.getvalue()


class Programs:
    """Each in every mode."""

    @program("psql", "socat joins a Unix socket to the server: `psql -h DIRECTORY`", "queries",
             needs=["psql", "socat"])
    def test_psql(self):
        self.hold(servers.postgres(self.directory))
        query = 'psql -h {} -U test -d postgres -A -t -c "select 6 * 7"'

        def psql(server):
            where = "$PWD" if self.mode == "proxy" else server
            return self.forwarded(".s.PGSQL.5432", server + ":5432", query.format(where))

        self.works(*psql("db.test"), expect=b"42\n")
        self.denied(*psql("denied.test"), sees="CONNECT .*: Forbidden")

    @program("pip", "as it is", "install", needs=["/usr/bin/pip3"])
    def test_pip(self):
        self.web.pages["/simple/hello/"] = ("text/html", b'<a href="/hello-1.0-py3-none-any.whl">hello</a>')
        self.web.pages["/hello-1.0-py3-none-any.whl"] = ("application/zip", wheel())

        def install(host):
            return self.shell(f"/usr/bin/pip3 install --no-cache-dir --retries 1 --disable-pip-version-check --target out "
                              f"--cert $CA --index-url https://{host}/simple hello; PYTHONPATH=out /usr/bin/python3 -m hello")

        self.works(*install("registry.test"), expect=b"hello from a wheel")
        shutil.rmtree(self.home + "/out")
        self.denied(*install("denied.test"), sees="Tunnel connection failed: 403 Forbidden",
                    transparent=r"\[Errno \d+\] [\w ]+")

    @program("npm", "as it is", "install", needs=["npm", "node"])
    def test_npm(self):
        data = package()
        digest = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
        self.web.pages["/hello/-/hello-1.0.0.tgz"] = ("application/byte-stream", data)
        self.web.pages["/hello"] = ("application/json", json.dumps({
            "name": "hello", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {
                "name": "hello", "version": "1.0.0", "dist": {
                    "tarball": "https://registry.test/hello/-/hello-1.0.0.tgz", "integrity": digest}}}}).encode())

        def install(host):
            return self.shell(f"npm install --no-audit --no-fund --no-update-notifier --fetch-retries 0 --cafile $CA --registry "
                              f"https://{host}/ hello; node -e 'require(\"hello\")'")

        self.works(*install("registry.test"), expect=b"hello from a package")
        shutil.rmtree(self.home + "/node_modules")
        os.unlink(self.home + "/package-lock.json")
        self.denied(*install("denied.test"), sees=".*403.*")

    def node_version(self):
        return int(subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout[1:].split(".")[0])

    @program("Node.js, fetch", "as it is from Node.js 24 on", "http, https", needs=["node"])
    def test_node_fetch(self):
        if self.mode == "proxy" and self.node_version() < 24:
            self.skipTest("this Node.js is older than 24")
        self.works("node", "-e", FETCH, "https://web.test/", expect=servers.PAGE, NODE_EXTRA_CA_CERTS=self.ca)
        self.denied("node", "-e", FETCH, "https://denied.test/", sees=".*fetch failed.*", transparent=".*fetch failed.*",
                    NODE_EXTRA_CA_CERTS=self.ca)

    @program("Java", "`-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=PORT`, and the same with `https.`", "http, https",
             needs=["javac", "java", "keytool"])
    def test_java(self):
        servers.write(self.home + "/Get.java", JAVA)
        servers.run("javac", "Get.java", cwd=self.home)
        servers.run("keytool", "-importcert", "-noprompt", "-file", self.ca, "-keystore", "trust.p12", "-storepass", "secret",
                    cwd=self.home)
        java = ("java -Djavax.net.ssl.trustStore=trust.p12 -Djavax.net.ssl.trustStorePassword=secret " +
                ("$(for s in http https; do echo -D$s.proxyHost=${{PROXY%:*}} -D$s.proxyPort=${{PROXY#*:}}; done) "
                 if self.mode == "proxy" else "") + "Get {}")
        self.works(*self.shell(java.format("http://web.test/")), expect=servers.PAGE)
        self.works(*self.shell(java.format("https://web.test/")), expect=servers.PAGE)
        self.denied(*self.shell(java.format("https://denied.test/")), sees="Tunnel failed, got: 403", transparent="java.net.*Exception.*")

    @program("Chromium, headless", "as it is", "a page with scripts, images and requests of its own", needs=["chromium"])
    def test_chromium(self):
        self.web.pages.update({"/page": ("text/html", BROWSER_PAGE), "/page.js": ("text/javascript", BROWSER_SCRIPT),
                               "/red.png": ("image/png", png(255, 0, 0)), "/data": ("text/plain", b"data")})
        chromium = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors",
                    "--virtual-time-budget=20000", "--window-size=200,200"]
        self.works(*chromium, "--dump-dom", "https://web.test/page", expect=b"<title>data image 1</title>")
        self.works(*chromium, "--screenshot=" + self.home + "/page.png", "https://web.test/page")
        with open(self.home + "/page.png", "rb") as picture:
            self.assertIn(b"IEND", picture.read())
        if "ASOCK_TEST_LOGS" in os.environ:
            shutil.copy(self.home + "/page.png", os.environ["ASOCK_TEST_LOGS"])
        done = self.run_program(*chromium, "--dump-dom", "https://denied.test/page")
        self.sees(done.stdout.decode(errors="replace"),
                  "ERR_TUNNEL_CONNECTION_FAILED" if self.mode == "proxy" else r"ERR_\w+")


class Proxy(Programs, programs.ProgramTest):
    """With asockctl run --proxy."""

    @program("Node.js before 24, fetch",
             "`node -r ./proxy.js`, which calls `setGlobalDispatcher(new ProxyAgent(process.env.https_proxy))` of undici",
             "http, https", needs=["node"])
    def test_node_undici(self):
        if not os.path.exists("/usr/share/nodejs/undici"):
            self.skipTest("no node-undici")
        servers.write(self.home + "/proxy.js", UNDICI)
        variables = {"NODE_EXTRA_CA_CERTS": self.ca, "NODE_PATH": "/usr/share/nodejs"}
        self.works("node", "-r", "./proxy.js", "-e", FETCH, "https://web.test/", expect=servers.PAGE, **variables)
        self.denied("node", "-r", "./proxy.js", "-e", FETCH, "https://denied.test/", sees=".*fetch failed.*", **variables)


class Transparent(Programs, programs.ProgramTest):
    """With asockctl run --transparent; all as they are."""

    mode = "transparent"


if __name__ == "__main__":
    unittest.main()
