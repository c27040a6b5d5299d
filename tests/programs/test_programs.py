# SPDX-License-Identifier: LGPL-2.1-or-later
"""Small programs that many people use, in a sandbox without a network."""

import os
import re
import shlex
import shutil
import subprocess
import unittest

import asockctl
import programs
import servers
from programs import program

SSH = ("ssh -F none -i user -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
       "-o IdentitiesOnly=yes -o LogLevel=ERROR ")
PROXY_COMMAND = "-o ProxyCommand=\"nc -X connect -x $PROXY %h %p\""

REQUESTS = """
import requests, sys
print(requests.get(sys.argv[1]).text)
"""

# asyncio has no proxies of its own: CONNECT, then TLS over the same stream. Without a proxy, just TLS.
ASYNCIO = """
import asyncio, os, ssl, sys

CONTEXT = ssl.create_default_context(cafile=os.environ["CA"])

async def through_proxy(host):
    proxy, _, port = os.environ["http_proxy"].removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(proxy, int(port))
    writer.write(f"CONNECT {host}:443 HTTP/1.1\\r\\nHost: {host}:443\\r\\n\\r\\n".encode())
    answer = await reader.readuntil(b"\\r\\n\\r\\n")
    if not answer.startswith(b"HTTP/1.1 200 "):
        sys.exit(answer.decode().splitlines()[0] + ": " + (await reader.read()).decode())
    await writer.start_tls(CONTEXT, server_hostname=host)
    return reader, writer

async def main(host):
    if "http_proxy" in os.environ:
        reader, writer = await through_proxy(host)
    else:
        reader, writer = await asyncio.open_connection(host, 443, ssl=CONTEXT)
    writer.write(f"GET / HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n".encode())
    print((await reader.read()).decode())

asyncio.run(main(sys.argv[1]))
"""

# What a static program does that heeds http_proxy, and goes to the server itself without it.
STATIC = r"""
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char host[64] = "", port[8] = "80", buf[4096];
    const char *proxy = getenv("http_proxy");
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *to;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ssize_t n;

    if (argc < 2 || (proxy && sscanf(proxy, "http://%63[^:]:%7[0-9]", host, port) != 2) ||
        getaddrinfo(proxy ? host : argv[1], port, &hints, &to) != 0)
        return 2;
    if (connect(fd, to->ai_addr, to->ai_addrlen) < 0) {
        perror(argv[1]);
        return 3;
    }
    dprintf(fd, "GET %s%s/ HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", proxy ? "http://" : "",
            proxy ? argv[1] : "", argv[1]);
    n = read(fd, buf, 12);
    if (n != 12)
        return 4;
    while ((n = read(fd, buf + 12, sizeof(buf) - 12)) > 0)
        fwrite(buf + 12, 1, (size_t)n, stdout);
    return memcmp(buf + 9, "200", 3) != 0;
}
"""


class Programs:
    """Each in every mode."""

    ssh = SSH
    wanted = tuple(start for tool, start in (("git", servers.git_daemon), ("sshd", servers.sshd),
                                             ("rsync", servers.rsyncd), ("redis-server", servers.redis))
                   if servers.find(tool))

    def keys(self):
        shutil.copy(os.path.join(self.directory, "user"), self.home)

    def arrives(self, name):
        with open(os.path.join(self.directory, "files", name), encoding="ascii") as file:
            self.assertEqual(file.read(), "hello from files.test\n")

    @program("curl", "as it is", "http, https", needs=["curl"])
    def test_curl(self):
        self.works("curl", "-sS", "http://web.test/", expect=servers.PAGE)
        self.works("curl", "-sS", "--cacert", self.ca, "https://web.test/", expect=servers.PAGE)
        self.denied("curl", "-sS", "--cacert", self.ca, "https://denied.test/", sees=".*response 403.*")
        if self.mode == "proxy":
            self.assertIn(b"denied.test is not on the list", self.run_program("curl", "-sS", "http://denied.test/").stdout)

    @program("wget", "as it is", "http, https", needs=["wget"])
    def test_wget(self):
        self.works("wget", "-q", "-O-", "--ca-certificate", self.ca, "http://web.test/", "https://web.test/",
                   expect=servers.PAGE * 2)
        self.denied("wget", "-O-", "--ca-certificate", self.ca, "https://denied.test/", sees="Proxy tunneling failed: Forbidden",
                    transparent=r"failed: [\w ]+")

    @program("git, https", "as it is", "clone, push", needs=["git"])
    def test_git_https(self):
        self.works(*self.shell("""
            git clone -q https://git.test/git/project.git; cd project; cat README
            git -c user.name=B -c user.email=b@web.test commit -q --allow-empty -m second; git push -q origin HEAD:second"""),
            expect=b"hello from git.test", GIT_SSL_CAINFO=self.ca)
        servers.run("git", "-C", self.directory + "/project.git", "rev-parse", "second")
        self.denied("git", "clone", "-q", "https://denied.test/git/project.git", "denied", sees=".*403.*", GIT_SSL_CAINFO=self.ca)

    @program("git, ssh", "`GIT_SSH_COMMAND`, or in ssh's configuration: `ProxyCommand nc -X connect -x PROXY %h %p`",
             "clone", needs=["git", "ssh", "sshd", "nc"])
    def test_git_ssh(self):
        self.keys()
        clone = f"export GIT_SSH_COMMAND='{self.ssh}'; git clone -q {{0}}:{self.directory}/project.git {{0}}; cat {{0}}/README"
        self.works(*self.shell("export PROXY; " + clone.format("shell.test")), expect=b"hello from git.test")
        self.denied(*self.shell("export PROXY; " + clone.format("denied.test")), sees=".*403.*")

    @program("git, git://", "`GIT_PROXY_COMMAND`, a script with `exec nc -X connect -x PROXY \"$@\"`", "clone",
             needs=["git", "nc"])
    def test_git_protocol(self):
        clone = """
            if [ $PROXY ]; then
                printf '#!/bin/sh\\nexec nc -X connect -x %s "$@"\\n' $PROXY >dial; chmod +x dial
                export GIT_PROXY_COMMAND=$PWD/dial
            fi
            git clone -q git://{0}/project.git {0}; cat {0}/README"""
        self.works(*self.shell(clone.format("git.test")), expect=b"hello from git.test")
        self.denied(*self.shell(clone.format("denied.test")), sees=".*403.*")

    @program("ssh, scp, sftp", "`ProxyCommand nc -X connect -x PROXY %h %p`", "commands, their status, files",
             needs=["ssh", "sshd", "nc"])
    def test_ssh(self):
        self.keys()
        self.works(*self.shell(f'{self.ssh} shell.test "echo far away; exit 3" || [ $? = 3 ]'), expect=b"far away\n")
        self.works(*self.shell("printf sent >one; " + self.ssh.replace("ssh ", "scp ", 1) +
                               " one shell.test:$PWD/two; cat two"), expect=b"sent")
        self.denied(*self.shell(f"{self.ssh} denied.test true"), sees=".*403.*")

    @program("rsync, rsync://", "as it is", "files both ways", needs=["rsync"])
    def test_rsync(self):
        self.works(*self.shell("rsync rsync://files.test/files/one copy; cat copy; rsync copy rsync://files.test/files/two"), expect=b"hello from files.test")
        self.arrives("two")
        self.denied("rsync", "rsync://denied.test/files/one", "copy", sees=".*403.*")

    @program("rsync, ssh", "`-e ssh` with ssh's `ProxyCommand`", "files both ways", needs=["rsync", "ssh", "sshd", "nc"])
    def test_rsync_ssh(self):
        self.keys()
        copy = (f"export RSYNC_RSH='{self.ssh}' PROXY; rsync {{0}}:{self.directory}/files/one copy; cat copy; "
                f"rsync copy {{0}}:{self.directory}/files/three")
        self.works(*self.shell(copy.format("shell.test")), expect=b"hello from files.test")
        self.arrives("three")
        self.denied(*self.shell(copy.format("denied.test")), sees=".*403.*")

    @program("redis-cli", "socat joins a Unix socket to the server: `redis-cli -s SOCKET`", "commands",
             needs=["redis-cli", "redis-server", "socat"])
    def test_redis(self):
        def redis(server, command):
            where = "-s redis" if self.mode == "proxy" else "-h " + server
            return self.forwarded("redis", server + ":6379", command.format(where))

        self.works(*redis("cache.test", "redis-cli {0} set key far; redis-cli {0} get key"), expect=b"far\n")
        self.denied(*redis("denied.test", "redis-cli -e {0} get key"), sees="CONNECT .*: Forbidden")

    @program("python, requests", "as it is", "http, https", needs=["/usr/bin/python3"])
    def test_requests(self):
        if subprocess.run(["/usr/bin/python3", "-c", "import requests"], stderr=subprocess.DEVNULL, check=False).returncode:
            self.skipTest("no python3-requests")
        for url in ("http://web.test/", "https://web.test/"):
            self.works("/usr/bin/python3", "-c", REQUESTS, url, expect=servers.PAGE, REQUESTS_CA_BUNDLE=self.ca)
        self.denied("/usr/bin/python3", "-c", REQUESTS, "https://denied.test/", sees=".*403 Forbidden.*",
                    REQUESTS_CA_BUNDLE=self.ca)

    @program("python, asyncio", "`CONNECT` written by the program, then `start_tls()`", "streams, TLS",
             needs=["/usr/bin/python3"])
    def test_asyncio(self):
        self.works("/usr/bin/python3", "-c", ASYNCIO, "web.test", expect=servers.PAGE)
        self.denied("/usr/bin/python3", "-c", ASYNCIO, "denied.test", sees=".*403.*",
                    transparent="OSError: .*Connect call failed.*")

    @program("a static binary", "as it is, if it heeds `http_proxy`", "http", needs=["gcc"])
    def test_static(self):
        servers.write(self.home + "/static.c", STATIC)
        servers.run("gcc", "-static", "-O1", "-w", "-o", self.home + "/static", self.home + "/static.c")
        self.works("./static", "web.test", expect=servers.PAGE)
        self.denied("./static", "denied.test", sees=".*denied.test is not on the list.*")


class Proxy(Programs, programs.ProgramTest):
    """With asockctl run --proxy."""

    ssh = SSH + PROXY_COMMAND

    @program("curl, a Unix socket", "`-x socks5h://localhost/PATH` with `asockctl proxy --listen PATH` outside",
             "http, https", needs=["curl"])
    def test_curl_unix_socket(self):
        path = os.path.join(self.home, "proxy.sock")
        tool = self.hold(asockctl.Tool("proxy", "--socket", self.daemon.path, "--policy", self.directory + "/rules.policy",
                                       "--listen", path, stdout=subprocess.PIPE))
        self.assertEqual(tool.stdout.readline().decode(), path + "\n")

        def curl(host):
            return subprocess.run([*self.sandbox(), "curl", "-sS", "--cacert", self.ca, "-x", "socks5h://localhost" + path,
                                   f"http://{host}/", f"https://{host}/"], capture_output=True, timeout=programs.DEADLINE,
                                  check=False, env=asockctl.environment())

        done = curl("web.test")
        self.assertEqual((done.returncode, done.stdout), (0, servers.PAGE * 2), done.stderr.decode())
        done = curl("denied.test")
        self.assertNotEqual(done.returncode, 0)
        self.sees(done.stderr.decode(), r".*\(2\).*")


class Transparent(Programs, programs.ProgramTest):
    """With asockctl run --transparent; all as they are."""

    mode = "transparent"


class SshInASandbox(programs.ProgramTest):
    """What README says of ssh: no proxy, only the directory of a shared session."""

    wanted = (servers.sshd,) if servers.find("sshd") else ()

    def test_as_readme_says(self):
        if not servers.find("sshd") or not servers.find("ssh"):
            self.skipTest("no ssh")
        with open(os.path.join(asockctl.SRCDIR, "README.md"), encoding="utf-8") as readme:
            command = re.search(r"`(ssh -o ProxyCommand='asockctl connect .*?) host`", readme.read()).group(1)
        shutil.copy(os.path.join(self.directory, "user"), self.home)
        script = (command.replace("asockctl", asockctl.TOOL).replace("ssh ", SSH, 1) + ' shell.test "echo far away"')
        sandbox = " ".join(map(shlex.quote, self.sandbox())) + ' --ro-bind "$ASOCK_SHARE" "$ASOCK_SHARE" '
        done = asockctl.run("run", "--socket", self.daemon.path, "--policy", self.directory + "/rules.policy", "--",
                            "sh", "-c", "exec " + sandbox + "sh -c " + shlex.quote(script),
                            env={"PATH": os.environ["PATH"], "HOME": self.home}, stderr=subprocess.STDOUT, cwd=self.home)
        self.assertEqual((done.stdout, done.returncode), (b"far away\n", 0))


if __name__ == "__main__":
    unittest.main()
