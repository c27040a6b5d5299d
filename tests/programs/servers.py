# SPDX-License-Identifier: LGPL-2.1-or-later
"""Servers with names, in the network of the test's own, for real programs to talk to.

All live at network.OWN4, at the ports that everybody knows.
"""

import http.server
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time

import network
from http_body import request_body
from wire import DEADLINE

ADDRESS = network.OWN4
# denied.test is an alias of the same servers: only policy keeps a program from them.
NAMES = ("web.test", "git.test", "shell.test", "files.test", "cache.test", "db.test", "registry.test", "denied.test")
PAGE = b"<p>hello from web.test</p>\n"


def write(path, data, mode=0o644):
    with open(path, "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())
    os.chmod(path, mode)


def run(*command, **options):
    """A command of the test's own, which has to succeed; its output."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=DEADLINE, check=False, **options)
    if done.returncode:
        raise AssertionError(f"{command}: {done.stdout.decode(errors='replace')}")
    return done.stdout.decode()


def find(program):
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin")


class Process(subprocess.Popen):
    """A server program: ready when its port accepts."""

    def __init__(self, port, command, **options):
        super().__init__(["setpriv", "--pdeathsig", "TERM", *command], stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, **options)
        limit = time.monotonic() + DEADLINE
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((ADDRESS, port)) == 0:
                    return
            if self.poll() is not None or time.monotonic() > limit:
                raise AssertionError(f"{command[0]} does not come up")
            time.sleep(0.02)  # a listener says nothing when it is ready

    def close(self):
        self.terminate()
        self.wait()


# ---- certificates --------------------------------------------------------------------


def make_certificates(directory, names=NAMES):
    """ca.pem, and server.pem with its key, for every name."""
    def at(name):
        return os.path.join(directory, name)

    write(at("names"), "subjectAltName=" + ",".join("DNS:" + name for name in names) + "\n")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    run("openssl", "req", "-x509", *key, "-keyout", at("ca.key"), "-out", at("ca.pem"), "-days", "2",
        "-subj", "/CN=CA of the test")
    run("openssl", "req", *key, "-keyout", at("server.key"), "-out", at("server.csr"), "-subj", "/CN=web.test")
    run("openssl", "x509", "-req", "-in", at("server.csr"), "-CA", at("ca.pem"), "-CAkey", at("ca.key"),
        "-CAcreateserial", "-days", "2", "-extfile", at("names"), "-out", at("server.crt"))
    with open(at("server.crt"), "rb") as crt, open(at("server.key"), "rb") as server_key:
        write(at("server.pem"), crt.read() + server_key.read())


# ---- web -----------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """Pages from a dictionary, and git's own server program below /git."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.startswith("/git/"):
            self.run_git(b"")
            return
        kind, body = self.server.pages.get(self.path.partition("?")[0], (None, b"no such page\n"))
        self.send_response(200 if kind else 404)
        self.send_header("Content-Type", kind or "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.run_git(request_body(self))

    def run_git(self, body):
        path, _, query = self.path.removeprefix("/git").partition("?")
        done = subprocess.run(
            ["git", "http-backend"], input=body, stdout=subprocess.PIPE, timeout=DEADLINE, check=True,
            env={"PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": self.server.repositories, "GIT_HTTP_EXPORT_ALL": "1",
                 "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command, "REMOTE_USER": "test",
                 "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
                 "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                 "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""), "HOME": "/nonexistent"})
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """A client that hangs up is no news."""


class Web:
    """http at 80 and https at 443."""

    def __init__(self, directory, repositories="/nonexistent", address=ADDRESS):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(directory, "server.pem"))
        self.pages = {"/": ("text/html", PAGE)}
        self.servers = [Server((address, port), Handler) for port in (80, 443)]
        # The handshake is the handler's: it must not hold up who accepts.
        self.servers[1].socket = context.wrap_socket(self.servers[1].socket, server_side=True,
                                                     do_handshake_on_connect=False)
        for server in self.servers:
            server.pages, server.repositories = self.pages, repositories
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()


# ---- the others ----------------------------------------------------------------------


def make_repository(directory):
    """A bare one, project.git, with one commit and one file."""
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@web.test",
           "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@web.test"}
    source, bare = os.path.join(directory, "source"), os.path.join(directory, "project.git")
    run("git", "init", "-q", "-b", "main", source, env=env)
    write(os.path.join(source, "README"), "hello from git.test\n")
    run("git", "-C", source, "add", "README", env=env)
    run("git", "-C", source, "commit", "-q", "-m", "first", env=env)
    run("git", "clone", "-q", "--bare", source, bare, env=env)
    run("git", "-C", bare, "config", "http.receivepack", "true", env=env)


def git_daemon(directory):
    """git:// at 9418."""
    return Process(9418, [os.path.join(run("git", "--exec-path").strip(), "git-daemon"), "--export-all",
                          "--listen=" + ADDRESS, "--base-path=" + directory, directory])


def sshd(directory):
    """At 22; lets in whoever has directory/user."""
    for name in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(directory, name))
    shutil.copy(os.path.join(directory, "user.pub"), os.path.join(directory, "authorized"))
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    write(os.path.join(directory, "sshd_config"),
          f"HostKey {directory}/host\nAuthorizedKeysFile {directory}/authorized\nPidFile none\nStrictModes no\n"
          f"UsePAM no\nListenAddress {ADDRESS}:22\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
          "Subsystem sftp internal-sftp\n")
    return Process(22, [find("sshd"), "-D", "-e", "-f", os.path.join(directory, "sshd_config")])


def rsyncd(directory):
    """At 873, with one module: files."""
    files = os.path.join(directory, "files")
    os.mkdir(files)
    write(os.path.join(files, "one"), "hello from files.test\n")
    write(os.path.join(directory, "rsyncd.conf"),
          f"use chroot = no\naddress = {ADDRESS}\nport = 873\nuid = root\ngid = root\n[files]\npath = {files}\nread only = no\n")
    return Process(873, ["rsync", "--daemon", "--no-detach", "--config", os.path.join(directory, "rsyncd.conf")])


def redis(directory):
    return Process(6379, ["redis-server", "--bind", ADDRESS, "--port", "6379", "--protected-mode", "no",
                          "--save", "", "--dir", directory])


def postgres(directory):
    """At 5432, as nobody, who may not be root; or None: it is not installed."""
    folders = sorted(os.path.join("/usr/lib/postgresql", name, "bin") for name in os.listdir("/usr/lib/postgresql"))
    data = os.path.join(directory, "postgres")
    os.mkdir(data, 0o700)
    os.chown(data, 65534, 65534)
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    run(*drop, os.path.join(folders[-1], "initdb"), "-D", data, "-U", "test", "-A", "trust", "--no-sync", cwd="/")
    write(os.path.join(data, "pg_hba.conf"), "host all all 0.0.0.0/0 trust\n")
    return Process(5432, [*drop, os.path.join(folders[-1], "postgres"), "-D", data, "-h", ADDRESS, "-k", "",
                          "-F"], cwd="/")
