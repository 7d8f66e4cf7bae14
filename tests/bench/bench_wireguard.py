"""tests/bench/bench_wireguard.py - Debian's wireguard-go on the same wires: one hop, and three nested ones.

  wgc1 ──────────────► wgx ─► web       one hop: the exit masquerades, MTU 1420
  wgc3 ─► wgg ─► wgm ─► wgx ─► web      nested: three interfaces of wgc3, each the way to the next's endpoint;
                                        each relay takes one layer off and forwards; MTU 1420, 1340, 1260

wgg and wgm forward without NAT: routes lead the answers back, which is the least that it can cost.
"""
import contextlib
import os
import subprocess

from bench_configs import Way
from bench_net import Failed, wait_for

SOCKETS = "/var/run/wireguard"
PORT = 51820
MTU, LAYER = 1420, 80
START_SECONDS = 10
# Hosts, and their number on the wire; wgx is on inet as well.
HOSTS = {"wgc1": 61, "wgg": 62, "wgm": 63, "wgx": 64, "wgc3": 65}


def wan(host):
    return f"198.51.100.{HOSTS[host]}"


class WireGuardNet:
    """The hosts and devices of both ways; made by the first that asks."""

    def __init__(self, net):
        self.net, self.made, self.children, self.keys = net, False, {}, {}

    def device(self, host, letter):
        """An interface name that no other network on this machine has: its socket's folder is shared."""
        return f"{self.net.prefix}{host[2:]}{letter}"

    def wg(self, *words, text=None):
        done = subprocess.run(["wg", *map(str, words)], input=text, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"wg {words[0]}: {done.stderr.strip()}")
        return done.stdout.strip()

    def start(self, host, letter, address, mtu):
        """A wireguard-go with a key, an address and a port."""
        name = self.device(host, letter)
        socket = os.path.join(SOCKETS, name + ".sock")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(socket)
        log = open(os.path.join(self.net.dir, f"{name}.log"), "wb")
        with log:
            child = self.net.start(host, "env", "LOG_LEVEL=error", "wireguard-go", "-f", name,
                                   stdout=log, stderr=log)
        self.children[name] = (host, child)
        wait_for(f"wireguard-go on {host}", lambda: os.path.exists(socket) or not child.is_running(), START_SECONDS)
        private = self.wg("genkey")
        self.keys[name] = self.wg("pubkey", text=private)
        self.wg("set", name, "private-key", "/dev/stdin", "listen-port", PORT + ord(letter) - ord("a"),
                text=private)
        self.net.ip(host, f"addr add {address} dev {name}", f"link set {name} mtu {mtu} up")
        return name

    def join(self, client, server, server_host, port, client_allows, client_inner):
        self.wg("set", client, "peer", self.keys[server], "endpoint", f"{wan(server_host)}:{port}",
                "allowed-ips", client_allows)
        self.wg("set", server, "peer", self.keys[client], "allowed-ips", client_inner)

    def make(self):
        if self.made:
            return
        self.made = True
        for host, number in HOSTS.items():
            self.net.add_host(host, number, on_inet=host == "wgx")
        for host in ("wgg", "wgm", "wgx"):
            self.net.forward(host, masquerade=host == "wgx")
        guard = self.start("wgg", "a", "10.98.1.1/24", MTU)
        middle = self.start("wgm", "a", "10.98.2.1/24", MTU)
        last = self.start("wgx", "a", "10.99.0.1/16", MTU)
        one = self.start("wgc1", "a", "10.99.1.2/32", MTU)
        self.join(one, last, "wgx", PORT, "0.0.0.0/0", "10.99.1.2/32")
        self.net.ip("wgc1", f"route add 203.0.113.0/24 dev {one}")
        outer = self.start("wgc3", "a", "10.98.1.2/32", MTU)
        inner = self.start("wgc3", "b", "10.98.2.2/32", MTU - LAYER)
        core = self.start("wgc3", "c", "10.99.3.2/32", MTU - 2 * LAYER)
        self.join(outer, guard, "wgg", PORT, f"{wan('wgm')}/32", "10.98.1.2/32")
        self.join(inner, middle, "wgm", PORT, f"{wan('wgx')}/32", "10.98.2.2/32")
        self.join(core, last, "wgx", PORT, "0.0.0.0/0", "10.99.3.2/32")
        self.net.ip("wgc3", f"route add {wan('wgm')}/32 dev {outer}", f"route add {wan('wgx')}/32 dev {inner}",
                    f"route add 203.0.113.0/24 dev {core}")
        self.net.ip("wgm", f"route add 10.98.1.0/24 via {wan('wgg')}")
        self.net.ip("wgx", f"route add 10.98.2.0/24 via {wan('wgm')}")

    def pids(self, host):
        return [child.pid for where, child in self.children.values() if where == host]

    def end(self):
        for name, (_, child) in self.children.items():
            child.end()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(SOCKETS, name + ".sock"))
        self.children = {}
        if self.made:
            self.net.remove_hosts(HOSTS)
            self.made = False


class WireGuard(Way):
    programs = ("wireguard-go", "wg")

    def __init__(self, wireguard, hops):
        super().__init__(wireguard.net, f"wgc{hops}")
        self.wireguard, self.hops = wireguard, hops
        self.name = f"wireguard-go, {hops} hop{'s' if hops > 1 else ''}"
        self.mtu = MTU - (hops - 1) * LAYER
        self.measures = ("tcp1", "tcp4", "udp64", "udpfull", "ping") if hops == 1 else ("tcp1", "udp64", "ping")

    def prepare(self):
        self.need_programs()
        self.wireguard.make()
        self.net.run(self.host, "ping", "-n", "-q", "-c", 1, "-w", START_SECONDS, self.net.web)

    def roles(self, _measure):
        relays = {"relays": self.wireguard.pids("wgg") + self.wireguard.pids("wgm")} if self.hops > 1 else {}
        return {"client": self.wireguard.pids(self.host), "exit": self.wireguard.pids("wgx"), **relays}

    def carried(self):
        """Inner bytes of the client's innermost interface, both directions."""
        name = self.wireguard.device(self.host, "a" if self.hops == 1 else "c")
        return sum(int(word) for word in self.wireguard.wg("show", name, "transfer").split()[1:])

    def before(self):
        self.last = self.carried()

    def after(self, sample):
        sample["relays_on_path"] = self.hops - 1
        if self.carried() - self.last < sample.get("bytes", 0):
            raise Failed("what arrived did not go through wireguard-go")

    def end(self):
        self.wireguard.end()
