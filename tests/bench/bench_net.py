"""tests/bench/bench_net.py - the test network of a run: hosts, tunnels, commands in them, processes."""
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
RUNTIME = "/run/sispopnet-testnet"
TESTNET = os.path.join(TOP, "scripts", "testnet")
PROGRAMS = ("sispopnetd", "sispopnet-vpn", "sispopnet-relay", "sispopnet-authority")
GENERATORS = ("udp_blast", "echo_times")
DAEMON_PID_FILES = {"client": "sispopnetd.pid", "relay": "relay.pid", "exit": "relay.pid"}
UP_SECONDS = 30
SESSIONS_MOST = 40
POLL_SECONDS = 0.02


class Failed(Exception):
    """One part of a run could not be measured; one sentence."""


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no word of why"


def wait_for(what, condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {seconds} s")
        time.sleep(POLL_SECONDS)


class Child:
    """A process that is ended with us; its CPU time is known when it is gone."""

    def __init__(self, argv, **more):
        self.argv = argv
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, text=True, **more)
        self.cpu_s = None
        self.code = None

    @property
    def pid(self):
        return self.process.pid

    def is_running(self):
        """Without reaping it: the CPU time comes with the reaping."""
        return self.code is None and os.waitid(
            os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def read_line(self, what, seconds):
        """The next line that it prints; it prints each whole."""
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            raise Failed(f"{what}: no word after {seconds:.0f} s")
        return self.process.stdout.readline()

    def read(self, what, seconds):
        """Standard output to its end, then the end of the process."""
        deadline, parts = time.monotonic() + seconds, []
        output = self.process.stdout.fileno()
        while True:
            if not select.select([output], [], [], max(0, deadline - time.monotonic()))[0]:
                raise Failed(f"{what}: not done after {seconds:.0f} s ({self.doing()})")
            part = os.read(output, 65536)
            if not part:
                break
            parts.append(part)
        self.reap()
        return b"".join(parts).decode(errors="replace")

    def doing(self):
        """What the process does that should have ended."""
        try:
            with open(f"/proc/{self.pid}/wchan", encoding="ascii") as file:
                where = file.read()
            with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            return "it is gone"
        return f"state {fields[0]}, in {where}, {int(fields[11]) + int(fields[12])} ticks of CPU time"

    def reap(self):
        if self.code is None:
            _, status, usage = os.wait4(self.pid, 0)
            self.code = self.process.returncode = os.waitstatus_to_exitcode(status)
            self.cpu_s = usage.ru_utime + usage.ru_stime
        return self.code

    def end(self, seconds=3):
        """SIGTERM, and SIGKILL when that is not enough."""
        if self.code is not None:
            return
        if self.is_running():
            os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while self.is_running():
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                break
            time.sleep(POLL_SECONDS)
        self.reap()


class Net:
    def __init__(self, args, say):
        self.prefix, self.args, self.say = args.prefix, args, say
        self.build = os.environ.get("SISPOPNET_BUILD", os.path.join(TOP, "build"))
        self.dir = os.path.join(RUNTIME, args.prefix)
        self.token = os.path.join(self.dir, "bench.token")
        self.info = None
        self.children = contextlib.ExitStack()
        self.offloads = {}

    # --- build and network --------------------------------------------------------------------

    def program(self, name):
        return os.path.join(self.build, "bin", name)

    def generator(self, name):
        return os.path.join(self.build, "tests", name)

    def build_if_needed(self):
        """Our own folder is brought up to date; one that was named is taken as it is."""
        if "SISPOPNET_BUILD" not in os.environ:
            command = [os.path.join(TOP, "scripts", "build"), "--if-old", *PROGRAMS]
            if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode:
                raise Failed("the build failed (scripts/build --install-packages gets what it needs)")
            subprocess.run(["ninja", "-C", self.build, "--quiet", *GENERATORS], stdout=sys.stderr)
            os.environ["SISPOPNET_BUILD"] = self.build
        needed = [*map(self.program, PROGRAMS), *map(self.generator, GENERATORS)]
        missing = [os.path.basename(path) for path in needed if not os.path.exists(path)]
        if missing:
            raise Failed(f"{self.build} has no {', '.join(missing)}: ninja -C {self.build}")

    def testnet(self, verb, *words):
        done = subprocess.run([TESTNET, verb, "--prefix", self.prefix, *words], text=True,
                              stdin=subprocess.DEVNULL, capture_output=True)
        if done.returncode:
            raise Failed(f"scripts/testnet {verb}: {last_line(done.stderr or done.stdout)}")
        return done.stdout

    def plan(self, relays, clients):
        """What the network is made of, as one comparable value."""
        return {"relays": relays, "clients": clients, "build": self.build,
                **{name: getattr(self.args, name) for name in ("nice", "param", "client_set", "relay_set", "exit_set")}}

    def up(self, relays, clients):
        plan = self.plan(relays, clients)
        if not self.can_reuse(plan):
            self.testnet("down")
            self.say(f"network of {relays} relays, 1 exit, {clients} clients")
            words = [word for name in ("param", "client_set", "relay_set", "exit_set")
                     for value in getattr(self.args, name) for word in ("--" + name.replace("_", "-"), value)]
            self.testnet("up", "--relays", str(relays), "--exits", "1", "--clients", str(clients), *words)
            self.no_bridge_filter()
            self.make_token()
            with open(os.path.join(self.dir, "bench.json"), "w", encoding="utf-8") as file:
                json.dump(plan, file)
        with open(os.path.join(self.dir, "info.json"), encoding="utf-8") as file:
            self.info = json.load(file)
        self.web = self.info["web"]["address4"]

    def can_reuse(self, plan):
        """A network that --keep left, as large as needed, whose daemons run today's programs."""
        with contextlib.suppress(OSError, ValueError, KeyError, Failed):
            with open(os.path.join(self.dir, "bench.json"), encoding="utf-8") as file:
                old = json.load(file)
            for size in ("relays", "clients"):
                if old.pop(size) < plan[size]:
                    return False
            if old != {name: value for name, value in plan.items() if name not in ("relays", "clients")}:
                return False
            self.testnet("status")
            for host in os.listdir(self.dir):
                pid = self.daemon_pid(host)
                if pid and not os.path.samefile(f"/proc/{pid}/exe", self.program(
                        "sispopnetd" if host.startswith("client") else "sispopnet-relay")):
                    return False
            return True
        return False

    def make_token(self):
        """One token for all clients: that of the test network is good for few sessions."""
        host = "exit1"
        text = self.run(host, self.program("sispopnet-relay"), "token", "add", "bench", "--max-sessions",
                        SESSIONS_MOST, "--config", os.path.join(self.dir, host, "relay.ini"))
        with open(os.open(self.token, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            file.write(text)

    def no_bridge_filter(self):
        """The wires are wires: their bridges show no packet to netfilter."""
        path = "/proc/sys/net/bridge/bridge-nf-call-"
        for name in ("iptables", "ip6tables", "arptables"):
            subprocess.run(["ip", "netns", "exec", f"{self.prefix}-wire", "sh", "-c",
                            f"[ ! -e {path}{name} ] || echo 0 >{path}{name}"], check=True)

    def down(self):
        self.testnet("down")

    # --- hosts of other programs --------------------------------------------------------------

    def ip(self, host, *lines):
        """ip commands in a host, or in the wire."""
        done = subprocess.run(["ip", "-n", f"{self.prefix}-{host}", "-batch", "-"], text=True,
                              input="\n".join(lines) + "\n", capture_output=True)
        if done.returncode:
            raise Failed(f"ip on {host}: {last_line(done.stderr)}")

    def add_host(self, name, number, on_inet=False):
        """A namespace on the test network's bridges, made as the test network makes its own."""
        self.remove_hosts([name])
        self.namespace("add", name)
        self.ip(name, "link set lo up")
        wires = [("wan", "w", "eth0", f"198.51.100.{number}/24")]
        wires += [("inet", "i", "eth1", f"203.0.113.{number}/24")] if on_inet else []
        for bridge, letter, inner, address in wires:
            port = f"{letter}-{name}"
            self.ip("wire", f"link add {port} type veth peer name {inner} netns {self.prefix}-{name}",
                    f"link set {port} master {bridge} up")
            self.ip(name, f"addr add {address} dev {inner}", f"link set {inner} up")

    def forward(self, host, masquerade):
        self.run(host, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        if masquerade:
            self.run(host, "nft", "add table ip bench { chain post { type nat hook postrouting priority srcnat; "
                     "oifname eth1 masquerade; }; }")

    def namespace(self, verb, name):
        done = subprocess.run(["ip", "netns", verb, f"{self.prefix}-{name}"], capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"ip netns {verb} {name}: {last_line(done.stderr)}")

    def remove_hosts(self, names):
        for name in names:
            if os.path.exists(f"/run/netns/{self.prefix}-{name}"):
                self.namespace("del", name)

    # --- commands and processes in hosts ------------------------------------------------------

    def argv(self, host, *words):
        return ["nsenter", f"--net=/run/netns/{self.prefix}-{host}", *map(str, words)]

    def run(self, host, *words, seconds=60, what=None):
        try:
            done = subprocess.run(self.argv(host, *words), text=True, stdin=subprocess.DEVNULL,
                                  capture_output=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{what or words[0]} on {host}: not done after {seconds} s") from None
        if done.returncode:
            raise Failed(f"{what or words[0]} on {host}: {last_line(done.stderr or done.stdout)}")
        return done.stdout

    def start(self, host, *words, **more):
        child = Child(self.argv(host, *words), **more)
        self.children.callback(child.end)
        return child

    def end_children(self):
        self.children.close()

    def daemon_pid(self, host):
        name = DAEMON_PID_FILES.get(host.rstrip("0123456789"))
        with contextlib.suppress(OSError, ValueError):
            if name:
                with open(os.path.join(self.dir, host, name), encoding="ascii") as file:
                    return int(file.read())
        return None

    # --- tunnels ------------------------------------------------------------------------------

    def vpn(self, client, *words, seconds=UP_SECONDS + 10):
        return self.run(client, "env", f"SISPOPNET_SOCKET={self.dir}/{client}/vpn.sock",
                        self.program("sispopnet-vpn"), *words, seconds=seconds, what="sispopnet-vpn")

    def status(self, client):
        return json.loads(self.vpn(client, "--status", "--json"))

    def primary(self, client):
        """Status and hosts of the path in use, guard first; None when the tunnel is not up."""
        status = self.status(client)
        paths = [path for path in status["paths"] if path["role"] == "primary"]
        if status["state"] != "up" or not paths:
            return status, None
        return status, [self.host_of(hop["address"]) for hop in paths[0]["hops"]]

    def drops(self, host):
        """What a relay or exit refused since it started, by reason."""
        text = self.run(host, self.program("sispopnet-relay"), "status", "--json", "--config",
                        os.path.join(self.dir, host, "relay.ini"), what="sispopnet-relay status")
        return json.loads(text)["drops"]

    def host_of(self, address):
        for host in self.info["relays"] + self.info["exits"]:
            if address in (host["address4"], host.get("wan4"), host["address6"], host.get("wan6")):
                return host["host"]
        raise Failed(f"no relay has the address {address}")

    def tunnel(self, client, hops):
        """Up with so many hops; returns status and the hosts of the path."""
        status, path = self.primary(client)
        if path and len(path) == hops:
            return status, path
        if status["state"] != "off":
            self.vpn(client, "--down")
        self.vpn(client, "--up", "--exit", self.info["exits"][0]["name"], "--token-file", self.token, "--hops", hops,
                 "--timeout", UP_SECONDS)
        status, path = self.primary(client)
        if not path or len(path) != hops:
            raise Failed(f"{client} has no path of {hops} hops after --up")
        return status, path
