# SPDX-License-Identifier: LGPL-2.1-or-later
"""Small programs that many people use, in a sandbox without a network."""

import os
import shutil
import subprocess
import unittest

import asockctl
import programs
import servers
from programs import program

# A program without a way to use a proxy talks to a socket of its own, which socat joins to the server by the proxy.
FORWARD = ('socat UNIX-LISTEN:$PWD/{socket},unlink-early,fork PROXY:${{PROXY%:*}}:{server},proxyport=${{PROXY#*:}} & '
           'until socat -u OPEN:/dev/null UNIX-CONNECT:{socket} 2>/dev/null; do sleep 0.05; done; ')
SSH = ("ssh -F none -i user -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
       "-o IdentitiesOnly=yes -o LogLevel=ERROR -o ProxyCommand=\"nc -X connect -x $PROXY %h %p\"")

REQUESTS = """
import requests, sys
print(requests.get(sys.argv[1]).text)
"""

# asyncio has no proxies of its own: CONNECT, then TLS over the same stream.
ASYNCIO = """
import asyncio, os, ssl, sys

async def main(host):
    proxy, _, port = os.environ["http_proxy"].removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(proxy, int(port))
    writer.write(f"CONNECT {host}:443 HTTP/1.1\\r\\nHost: {host}:443\\r\\n\\r\\n".encode())
    answer = await reader.readuntil(b"\\r\\n\\r\\n")
    if not answer.startswith(b"HTTP/1.1 200 "):
        sys.exit(answer.decode().splitlines()[0] + ": " + (await reader.read()).decode())
    await writer.start_tls(ssl.create_default_context(cafile=os.environ["CA"]), server_hostname=host)
    writer.write(f"GET / HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n".encode())
    print((await reader.read()).decode())

asyncio.run(main(sys.argv[1]))
"""

# What a static program does that heeds http_proxy.
STATIC = r"""
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    char host[64], buf[4096];
    unsigned int port;
    const char *proxy = getenv("http_proxy");
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ssize_t n;

    if (argc < 2 || !proxy || sscanf(proxy, "http://%63[^:]:%u", host, &port) != 2)
        return 2;
    to.sin_port = htons(port);
    inet_pton(AF_INET, host, &to.sin_addr);
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        return 3;
    dprintf(fd, "GET http://%s/ HTTP/1.1\r\nHost: %s\r\n\r\n", argv[1], argv[1]);
    n = read(fd, buf, 12);
    if (n != 12)
        return 4;
    while ((n = read(fd, buf + 12, sizeof(buf) - 12)) > 0)
        fwrite(buf + 12, 1, (size_t)n, stdout);
    return memcmp(buf + 9, "200", 3) != 0;
}
"""


class Proxy(programs.ProgramTest):
    """With asockctl run --proxy."""

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
        self.assertIn(b"denied.test is not on the list", self.run_program("curl", "-sS", "http://denied.test/").stdout)

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

    @program("wget", "as it is", "http, https", needs=["wget"])
    def test_wget(self):
        self.works("wget", "-q", "-O-", "--ca-certificate", self.ca, "http://web.test/", "https://web.test/",
                   expect=servers.PAGE * 2)
        self.denied("wget", "-O-", "--ca-certificate", self.ca, "https://denied.test/", sees="Proxy tunneling failed: Forbidden")

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
        clone = f"export GIT_SSH_COMMAND='{SSH}'; git clone -q {{0}}:{self.directory}/project.git {{0}}; cat {{0}}/README"
        self.works(*self.shell("export PROXY; " + clone.format("shell.test")), expect=b"hello from git.test")
        self.denied(*self.shell("export PROXY; " + clone.format("denied.test")), sees=".*403.*")

    @program("git, git://", "`GIT_PROXY_COMMAND`, a script with `exec nc -X connect -x PROXY \"$@\"`", "clone",
             needs=["git", "nc"])
    def test_git_protocol(self):
        clone = """
            printf '#!/bin/sh\\nexec nc -X connect -x %s "$@"\\n' $PROXY >dial; chmod +x dial
            export GIT_PROXY_COMMAND=$PWD/dial; git clone -q git://{0}/project.git {0}; cat {0}/README"""
        self.works(*self.shell(clone.format("git.test")), expect=b"hello from git.test")
        self.denied(*self.shell(clone.format("denied.test")), sees=".*403.*")

    @program("ssh, scp, sftp", "`ProxyCommand nc -X connect -x PROXY %h %p`", "commands, their status, files",
             needs=["ssh", "sshd", "nc"])
    def test_ssh(self):
        self.keys()
        self.works(*self.shell(f'{SSH} shell.test "echo far away; exit 3" || [ $? = 3 ]'), expect=b"far away\n")
        self.works(*self.shell("printf sent >one; " + SSH.replace("ssh ", "scp ", 1) +
                               " one shell.test:$PWD/two; cat two"), expect=b"sent")
        self.denied(*self.shell(f"{SSH} denied.test true"), sees=".*403.*")

    @program("rsync, rsync://", "as it is", "files both ways", needs=["rsync"])
    def test_rsync(self):
        self.works(*self.shell("rsync rsync://files.test/files/one copy; cat copy; rsync copy rsync://files.test/files/two"), expect=b"hello from files.test")
        self.arrives("two")
        self.denied("rsync", "rsync://denied.test/files/one", "copy", sees=".*403.*")

    @program("rsync, ssh", "`-e ssh` with ssh's `ProxyCommand`", "files both ways", needs=["rsync", "ssh", "sshd", "nc"])
    def test_rsync_ssh(self):
        self.keys()
        copy = (f"export RSYNC_RSH='{SSH}' PROXY; rsync {{0}}:{self.directory}/files/one copy; cat copy; "
                f"rsync copy {{0}}:{self.directory}/files/three")
        self.works(*self.shell(copy.format("shell.test")), expect=b"hello from files.test")
        self.arrives("three")
        self.denied(*self.shell(copy.format("denied.test")), sees=".*403.*")

    @program("redis-cli", "socat joins a Unix socket to the server: `redis-cli -s SOCKET`", "commands",
             needs=["redis-cli", "redis-server", "socat"])
    def test_redis(self):
        self.works(*self.shell(FORWARD.format(socket="redis", server="cache.test:6379") +
                               "redis-cli -s redis set key far; redis-cli -s redis get key"), expect=b"far\n")
        self.denied(*self.shell(FORWARD.format(socket="redis", server="denied.test:6379") +
                                "redis-cli -e -s redis get key"), sees="CONNECT .*: Forbidden")

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
        self.denied("/usr/bin/python3", "-c", ASYNCIO, "denied.test", sees=".*403.*")

    @program("a static binary", "as it is, if it heeds `http_proxy`", "http", needs=["gcc"])
    def test_static(self):
        servers.write(self.home + "/static.c", STATIC)
        servers.run("gcc", "-static", "-O1", "-o", self.home + "/static", self.home + "/static.c")
        self.works("./static", "web.test", expect=servers.PAGE)
        self.denied("./static", "denied.test", sees=".*denied.test is not on the list.*")


if __name__ == "__main__":
    unittest.main()
