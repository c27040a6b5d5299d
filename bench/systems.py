# SPDX-License-Identifier: LGPL-2.1-or-later
"""The systems that are measured: how each is found, configured and started.

Each forwards to the same server, on loopback, with the configuration that `run --print-configurations`
shows: the defaults of its Debian package, but for logging (off), time-outs (none that would expire) and
room for 20,000 descriptors; what else differs, mostly larger buffers, is said at its class.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

LOOPBACK = "127.0.0.1"
# Of the loopback interface, too: under asockctl run --transparent 127.0.0.1 is the command's own.
HOST = "192.0.2.1"


def free_port():
    """Bound and released: in a network of our own no other program takes it meanwhile."""
    with socket.socket() as s:
        s.bind((LOOPBACK, 0))
        return s.getsockname()[1]


class System:
    name = binary = package = None
    way = "plain"
    socks = False
    can_unix = False   # listen on a Unix socket
    by_unix = False
    needs_namespace = False
    has_idle = True
    tests = None       # of its client, that it has; None: all
    sees_processes = True  # its client does: what time they take
    descriptors = 2    # for a connection
    idle_most = 1 << 30  # connections
    needs = ()         # files beside the binary
    configuration = None

    def __init__(self, build, core):
        self.build = build
        self.core = core
        self.processes = []
        self.port = 0
        self.directory = None

    @classmethod
    def find(cls, _build):
        path = shutil.which(cls.binary, path=os.environ.get("PATH", "") + ":/usr/sbin:/lib/systemd")
        return path if path and all(os.path.exists(n) for n in cls.needs) else None

    def command(self):
        raise NotImplementedError

    def client_arguments(self):
        if self.by_unix:
            return ["--way", "plain", "--path", self.path]
        return ["--way", "plain", "--proxy", str(self.port)] + (["--socks"] if self.socks else [])

    def client_command(self, command):
        return command

    @property
    def path(self):
        return self.file("front")

    def spawn(self, command, log=None, **options):
        log = open(log or self.file("log"), "ab")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   preexec_fn=lambda: os.sched_setaffinity(0, {self.core}), **options)
        log.close()
        self.processes.append(process)
        return process

    def text(self, server):
        """Its configuration file."""
        return self.configuration.format(listen=self.where(), server=server, dir=self.directory, port=self.port)

    def where(self):
        """It listens, as its configuration says it."""
        return f"unix:{self.path}" if self.by_unix else f"{LOOPBACK}:{self.port}"

    def start(self, server):
        self.server = server
        self.directory = tempfile.mkdtemp(prefix="asock-bench-")
        os.chmod(self.directory, 0o755)
        self.port = free_port()
        if self.configuration:
            with open(self.file("conf"), "w", encoding="ascii") as file:
                file.write(self.text(server))
        self.launch()
        self.wait_ready()

    def launch(self):
        self.spawn(self.command())

    def file(self, name):
        return os.path.join(self.directory, name)

    def listens(self):
        """Asks the kernel, not the proxy: a connection would be a connection to the server too."""
        if self.by_unix:
            # HAProxy binds another name and renames it. The flag is __SO_ACCEPTCON.
            with open("/proc/net/unix", encoding="utf-8") as table:
                return os.path.exists(self.path) and any(
                    line.split()[3] == "00010000" and line.split()[-1].startswith(self.path)
                    for line in table.readlines()[1:])
        wanted = f"0100007F:{self.port:04X}"
        with open("/proc/self/net/tcp", encoding="ascii") as table:
            return any(line.split()[1] == wanted and line.split()[3] == "0A"
                       for line in table.readlines()[1:])

    def wait_ready(self):
        limit = time.monotonic() + 30
        while not self.listens():
            if any(p.poll() is not None for p in self.processes) or time.monotonic() > limit:
                raise RuntimeError(f"{self.name} does not come up: {self.log()}")
            time.sleep(0.01)

    def log(self):
        try:
            with open(self.file("log"), encoding="utf-8", errors="replace") as file:
                return file.read()[-2000:]
        except OSError:
            return ""

    def pids(self):
        return [p.pid for p in self.processes]

    def stop(self):
        """By pid, and children with them: a proxy's workers are its own affair, so it is asked first."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None


class Direct(System):
    """No proxy: the client's kernel socket, connected to the server."""
    name = "direct"
    descriptors = 1

    @classmethod
    def find(cls, _build):
        return "-"

    def launch(self):
        pass

    def wait_ready(self):
        pass

    def client_arguments(self):
        return ["--way", "plain"]


class Asockd(System):
    """The build's own asockd, all as shipped but for the policy, which is --allow-any. For the row of idle
    connections a session may have more sockets, and all the descriptors are for sockets."""
    name = "asockd"
    configuration = "[Limits]\nSockets=16384\nTotalSockets=19000\n"
    idle_most = 4500  # a single unit may have a quarter of the sockets
    roomy = False  # with the configuration

    @classmethod
    def find(cls, build):
        path = os.path.join(build, "asockd")
        return path if os.path.exists(path) else None

    @property
    def path(self):
        return os.path.join(self.directory, "default", "asock.sock")

    def command(self):
        more = ["--config", self.file("conf")] if self.roomy else []
        return [self.find(self.build), "--runtime-dir", self.directory, "--allow-any",
                "--log-level", "error", *more,
                *os.environ.get("ASOCK_BENCH_OPTIONS", "").split()]

    def listens(self):
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(self.path) == 0

    def client_arguments(self):
        return ["--way", "asock", "--path", self.path]


class AsockdInline(Asockd):
    """Without shared memory: all bytes pass through the Unix socket. For --crossover only."""
    name = "asockd, inline"
    configuration = "[Limits]\nSharedMemory=0\n"
    roomy = True


class AsockdBatch(Asockd):
    """Under SCHED_BATCH, as with CPUSchedulingPolicy=batch in its unit. For --batch only."""
    name = "asockd, SCHED_BATCH"

    def command(self):
        return ["chrt", "--batch", "0", *super().command()]


def beside(what):
    """asockd once more, of another build or with other options, for --beside: NAME[@FOLDER][ OPTION ...]"""
    title, *more = what.split()
    title, _, folder = title.partition("@")

    class Beside(Asockd):
        name = f"asockd, {title}"

        @classmethod
        def find(cls, build):
            return super().find(folder or build)

        def command(self):
            return [*super().command(), *more]

    return Beside


class AsockdHeld(Asockd):
    """Connects, and lends the connected sockets to the client: Allow=tcp 127.0.0.1 * +loopback +lend +lend-given. For --lent
    only."""
    name = "asockd, held"

    def launch(self):
        with open(self.file("policy"), "w", encoding="ascii") as file:
            file.write(f"[Rules]\nAllow=tcp {LOOPBACK} * +loopback +lend +lend-given\n")
        super().launch()

    def command(self):
        command = super().command()
        at = command.index("--allow-any")
        return [*command[:at], "--policy", self.file("policy"), *command[at + 1:]]

    def client_arguments(self):
        return ["--way", "lent", "--path", self.path]


class AsockdGiven(AsockdHeld):
    """The same, and lets go of them. For --lent only."""
    name = "asockd, given"

    def client_arguments(self):
        return [*super().client_arguments(), "--given"]


class BareLender(System):
    """Connects, and lends the connected sockets as asockd does, and nothing else (lender.c): no policy, no quota, no protocol. It
    has no data, so only connects are measured. For --lent only."""
    name = "bare lender"
    by_unix = True
    has_idle = False
    tests = ("connect", "dial")

    @classmethod
    def find(cls, build):
        path = os.path.join(build, "bench", "lender")
        return path if os.path.exists(path) else None

    def command(self):
        return [self.find(self.build), self.path]

    def client_arguments(self):
        return ["--way", "lender", "--path", self.path]


class AsockProxy(Asockd):
    """asockctl proxy on a loopback port, in front of the build's asockd: what a program without a library has. For
    --proxies only."""
    name = "asockctl proxy"
    socks = True
    descriptors = 1

    def launch(self):
        self.spawn(self.command())
        Asockd.wait_ready(self)
        self.spawn([os.path.join(self.build, "asockctl"), "proxy", "--socket", self.path, "--listen",
                    f"{LOOPBACK}:{self.port}"])

    def listens(self):
        return System.listens(self) if len(self.processes) > 1 else super().listens()

    def client_arguments(self):
        return System.client_arguments(self)


class AsockProxyHeld(AsockProxy):
    """The same where the rule lends: Allow=tcp 127.0.0.1 * +loopback +lend. The data goes through asockctl alone, in bulk by splice(2). For
    --proxies only."""
    name = "asockctl proxy, held"

    def launch(self):
        with open(self.file("policy"), "w", encoding="ascii") as file:
            file.write(f"[Rules]\nAllow=tcp {LOOPBACK} * +loopback +lend\n")
        super().launch()

    def command(self):
        command = super().command()
        at = command.index("--allow-any")
        return [*command[:at], "--policy", self.file("policy"), *command[at + 1:]]


class AsockTransparent(Asockd):
    """The client under asockctl run --transparent, in front of the build's asockd: a program that knows nothing. For --proxies
    only."""
    name = "asockctl run --transparent"
    needs_namespace = True
    has_idle = sees_processes = False

    def client_command(self, command):
        at = command.index("--pids")
        return [os.path.join(self.build, "asockctl"), "run", "--transparent", "--socket", self.path, "--",
                *command[:at], *command[at + 2:]]

    def client_arguments(self):
        return ["--way", "plain", "--host", HOST]


def through_unix(kind):
    """The same, reached as asockd is."""
    return type(kind.__name__, (kind,), {"__doc__": kind.__doc__, "name": f"{kind.name}, Unix", "by_unix": True})


class Haproxy(System):
    """One thread, as there is one core, and buffers of 64 KiB instead of 16."""
    name = "HAProxy"
    can_unix = True
    binary = package = "haproxy"
    more = ""
    configuration = """global
    maxconn 9000
    nbthread 1
    tune.bufsize 65536
    {more}
defaults
    mode tcp
    timeout connect 30s
    timeout client 1h
    timeout server 1h
    {options}
listen bench
    bind {listen}
    maxconn 9000
    server far 127.0.0.1:{server}
"""
    options = ""

    def text(self, server):
        return self.configuration.format(listen=self.where(), server=server, more=self.more, options=self.options)

    def where(self):
        return f"unix@{self.path}" if self.by_unix else super().where()

    def command(self):
        return [self.find(self.build), "-db", "-q", "-f", self.file("conf")]


class HaproxySplice(Haproxy):
    """With splice(2) for whatever it transfers, through pipes of 1 MiB instead of 64 KiB."""
    name = "HAProxy, splice"
    more = "maxpipes 500\n    tune.pipesize 1048576"
    options = "option splice-request\n    option splice-response"


class Nginx(System):
    """The stream module, one worker, with buffers of 64 KiB instead of 16."""
    name = "nginx stream, 64 KiB"
    can_unix = True
    binary = "nginx"
    package = "libnginx-mod-stream"
    needs = ("/usr/lib/nginx/modules/ngx_stream_module.so",)
    configuration = """load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {dir}/pid;
error_log stderr crit;
events {{
    worker_connections 18000;
}}
stream {{
    server {{
        listen {listen} backlog=4096;
        proxy_pass 127.0.0.1:{server};
        proxy_buffer_size 64k;
        proxy_timeout 1h;
        tcp_nodelay on;
    }}
}}
"""

    def command(self):
        return [self.find(self.build), "-c", self.file("conf"), "-e", "stderr", "-p", self.directory]


class Socat(System):
    """A process for each connection, buffers of 64 KiB instead of 8."""
    name = "socat"
    can_unix = True
    binary = package = "socat"

    def command(self):
        front = (f"UNIX-LISTEN:{self.path},fork,backlog=4096" if self.by_unix else
                 f"TCP4-LISTEN:{self.port},bind={LOOPBACK},fork,reuseaddr,nodelay,backlog=4096")
        return [self.find(self.build), "-b", "65536", front, f"TCP4:{LOOPBACK}:{self.server},nodelay"]


class SocketProxyd(System):
    """systemd-socket-proxyd, handed its listening socket as by a socket unit. Two pipes for a connection."""
    name = "systemd-socket-proxyd"
    can_unix = True
    binary = "systemd-socket-proxyd"
    package = "systemd"
    descriptors = 6

    def launch(self):
        with socket.socket(socket.AF_UNIX if self.by_unix else socket.AF_INET) as listener:
            listener.bind(self.path if self.by_unix else (LOOPBACK, self.port))
            listener.listen(4096)
            fd = listener.fileno()
            script = f'exec 3<&{fd}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
            self.spawn(["sh", "-c", script, "sh", self.find(self.build), "--connections-max=9000",
                        f"{LOOPBACK}:{self.server}"], pass_fds=(fd,))


class Dante(System):
    """SOCKS5 without authentication, everything allowed, nothing logged."""
    name = "dante"
    binary = "danted"
    package = "dante-server"
    socks = True
    configuration = """errorlog: stderr
internal: 127.0.0.1 port = {port}
external: lo
socksmethod: none
clientmethod: none
client pass {{
    from: 0.0.0.0/0 to: 0.0.0.0/0
}}
socks pass {{
    from: 0.0.0.0/0 to: 0.0.0.0/0
}}
"""

    def command(self):
        return [self.find(self.build), "-f", self.file("conf"), "-p", self.file("pid")]


class DanteDatagrams(Dante):
    """The same, with room in its sockets for all datagrams that are in flight. For --datagrams only."""
    room = "internal.socket.so_rcvbuf: 4194304\nexternal.socket.so_rcvbuf: 4194304\n"
    configuration = room + Dante.configuration


class Slirp4netns(System):
    """A network namespace whose tap device slirp4netns serves, as rootless containers have it. MTU 65520 instead of 1500, as in
    the examples of its manual."""
    name = "slirp4netns"
    binary = package = "slirp4netns"
    has_idle = False
    gateway = "10.0.2.2"  # the loopback of where slirp4netns runs

    def launch(self):
        # It lives until its input ends, and has a namespace when it says so.
        self.inside = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE)
        self.inside.stdout.readline()
        ready, told = os.pipe()
        with open(ready, "rb") as file:
            self.spawn([self.find(self.build), "--configure", "--mtu=65520", f"--ready-fd={told}", str(self.inside.pid), "tap0"],
                       pass_fds=(told,))
            os.close(told)
            self.is_ready = file.read() == b"1"

    def listens(self):
        return self.is_ready

    def client_command(self, command):
        return ["nsenter", f"--net=/proc/{self.inside.pid}/ns/net", *command]

    def client_arguments(self):
        return ["--way", "plain", "--host", self.gateway]

    def stop(self):
        super().stop()
        self.inside.stdin.close()
        self.inside.wait(20)
        self.inside.stdout.close()


class Microsocks(System):
    """SOCKS5 without authentication, a thread for each connection; what it logs goes to /dev/null."""
    name = "microsocks"
    binary = package = "microsocks"
    socks = True

    def launch(self):
        self.spawn(self.command(), log="/dev/null")

    def command(self):
        return [self.find(self.build), "-i", LOOPBACK, "-p", str(self.port)]


class Pair(System):
    """Two processes with the same hops as asockctl proxy and asockd that do nothing else (pair.c): no policy, no limits, no
    errors."""
    name = "bare pair"
    socks = True
    has_idle = False

    @classmethod
    def find(cls, build):
        path = os.path.join(build, "bench", "pair")
        return path if os.path.exists(path) else None

    def command(self):
        return [self.find(self.build), str(self.port)]


class BareHeld(Direct):
    """A first packet that is held, put in front of a listener and accepted (held.c), and nothing else: no dial, no data. For
    --transparent only."""
    name = "bare held SYN"
    sees_processes = False

    @classmethod
    def find(cls, build):
        path = os.path.join(build, "bench", "held")
        return path if os.path.exists(path) else None

    def client_command(self, command):
        return [self.find(self.build), *command]

    def client_arguments(self):
        """Any address: the packets of all of them go into the cable."""
        return ["--way", "plain", "--host", HOST]


class Cable(BareHeld):
    """The same cable and no gateway: the kernel answers, and held.c accepts. For --transparent only."""
    name = "cable alone"

    def client_command(self, command):
        return [self.find(self.build), "--open", *command]


class SocatDante(Dante):
    """As sandboxes for agents have it today: socat in the sandbox, from a port to a Unix socket; socat outside, from there
    to the proxy, dante. Both with buffers of 64 KiB. Fewer idle connections: each has three processes."""
    name = "socat, socat, dante"
    needs = ("/usr/bin/socat",)
    descriptors = 20

    def launch(self):
        front, self.port = self.port, free_port()
        with open(self.file("conf"), "w", encoding="ascii") as file:
            file.write(self.text(self.server))
        self.spawn(self.command())
        self.wait_ready()
        socat = ["socat", "-b", "65536"]
        self.spawn([*socat, f"UNIX-LISTEN:{self.path},fork,backlog=4096", f"TCP4:{LOOPBACK}:{self.port},nodelay"])
        self.port = front
        self.spawn([*socat, f"TCP4-LISTEN:{front},bind={LOOPBACK},fork,reuseaddr,nodelay,backlog=4096",
                    f"UNIX-CONNECT:{self.path}"])


ALL = [Direct, Asockd, Haproxy, HaproxySplice, Nginx, SocketProxyd, Socat, Microsocks, Dante]
LENT = [Direct, BareLender, Asockd, AsockdHeld, AsockdGiven]
DATAGRAMS = [Direct, Asockd, AsockProxy, AsockTransparent, DanteDatagrams, Slirp4netns]
TRANSPARENT = [Direct, Cable, BareHeld, Asockd, AsockTransparent]
CROSSOVER = [Direct, AsockdInline, Asockd]
PROXIES = [Direct, Asockd, AsockProxy, AsockProxyHeld, AsockTransparent, Pair, Haproxy, HaproxySplice, Microsocks, Dante, SocatDante]
