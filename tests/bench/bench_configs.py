"""tests/bench/bench_configs.py - the ways from a client to web that are measured side by side.

A way has a host of its own, so that all of them stand ready at once and rounds can go from one to the next.
"""
import shutil

import bench_traffic as traffic
from bench_net import wait_for

WEB_MTU = 1500
UDP_IP_HEADERS = 28
IDLE_SECONDS_MOST = 1
BACK_SECONDS = 5
MEASURES = {"tcp1": ("up", "down"), "tcp4": ("up", "down"), "udp64": ("up", "down"), "udp512": ("up", "down"),
            "udpfull": ("up", "down"), "ping": ("idle",), "flows": ("up", "down"), "clients": ("up", "down")}


class Way:
    """From one host to web. Subclasses say how it is made ready and which processes carry it."""

    name = ""
    measures = ("tcp1", "tcp4", "udp64", "udp512", "udpfull", "ping")
    mtu = WEB_MTU

    def __init__(self, net, host):
        self.net, self.host = net, host

    programs = ()               # beyond the project's own

    def need_programs(self):
        missing = [name for name in self.programs if not shutil.which(name)]
        if missing:
            raise traffic.Failed(f"{', '.join(missing)} not found: scripts/bench --install-packages")

    def prepare(self):
        """Ready to be measured, or Failed."""

    def roles(self, _measure):
        """{role: [pid…]} of the processes that carry this way's packets."""
        return {}

    def facts(self):
        return {"mtu": self.mtu}

    def before(self):
        """Notes the counters that after() looks at; may say what it had to mend for that."""

    def after(self, sample):
        """Adds to a sample what else is known of it; Failed when it did not go this way."""

    def end(self):
        """Ends what prepare() started."""

    def measure(self, name, direction, seconds, window, blaster):
        if name in ("tcp1", "tcp4"):
            return traffic.tcp(self.net, self.host, direction, seconds, window, int(name[3:]), name == "tcp1")
        if name == "ping":
            with window:
                return {"ping": traffic.echoes_idle(self.net, self.host, min(seconds, IDLE_SECONDS_MOST))}
        if name.startswith("udp"):
            size = self.mtu - UDP_IP_HEADERS if name == "udpfull" else int(name[3:])
            return blaster.measure(self.host, direction, size, seconds, window)
        return traffic.pair(self.net, self.pair_hosts(name), direction, seconds, window)

    def pair_hosts(self, _name):
        return [self.host, self.host]


class NoTunnel(Way):
    name = "no tunnel"


class Tunnel(Way):
    """Ours, with a number of hops; `second` is another client for the measure "clients"."""

    def __init__(self, net, host, hops, second=None):
        super().__init__(net, host)
        self.hops, self.second, self.path, self.status = hops, second, [], {}
        self.name = "1 hop" if hops == 1 else f"{hops} hops"
        self.measures += ("flows", "clients") if second else ("flows",)

    def prepare(self):
        self.status, self.path = self.net.tunnel(self.host, self.hops)
        self.mtu = self.status["lease"]["mtu"]
        if self.second:
            self.net.tunnel(self.second, self.hops)

    def counters(self):
        """Of the client and the hosts of its path: drops by reason, and the client's inner bytes."""
        status, path = self.net.primary(self.host)
        if not path or len(path) != self.hops:
            raise traffic.Failed(f"the tunnel went down (its path was {' '.join(self.path)})")
        self.path = path
        return {"bytes": status["bytes"], "drops": {self.host: status["drops"],
                                                    **{host: self.net.drops(host) for host in path}}}

    def is_up(self):
        _, path = self.net.primary(self.host)
        return path is not None and len(path) == self.hops

    def before(self):
        """A tunnel that went down in the last measurement has a while to come back by itself."""
        word = None
        if not self.is_up():
            word = "the tunnel was down before, and came back by itself"
            try:
                wait_for("the tunnel", self.is_up, BACK_SECONDS)
            except traffic.Failed:
                word = f"the tunnel was down before, did not come back in {BACK_SECONDS} s and was made again"
                self.prepare()
        self.last = self.counters()
        self.path_before = self.path
        return word

    def after(self, sample):
        """Under overload a client may take its path for dead and move to the other one: told, no failure."""
        now = self.counters()
        sample.update(path=self.path_before, relays_on_path=self.hops - 1, drops=grown(
            {f"{host} {name}": count for host, names in now["drops"].items() for name, count in names.items()},
            {f"{host} {name}": count for host, names in self.last["drops"].items() for name, count in names.items()}))
        if self.path != self.path_before:
            sample["changed"] = f"path changed from {' '.join(self.path_before)} to {' '.join(self.path)}"
        carried = grown(now["bytes"], self.last["bytes"])
        sample["inner_bytes"] = {name: carried.get(name, 0) for name in ("up", "down")}
        arrived = sample.get("own_bytes", sample.get("bytes", 0))
        if sum(carried.values()) < arrived:
            raise traffic.Failed(f"{arrived} bytes arrived, but only {sum(carried.values())} went through "
                                 "the tunnel")

    def roles(self, measure):
        """Relays are all of the network, whichever of them the path has."""
        relays = [one["host"] for one in self.net.info["relays"]] if self.hops > 1 else []
        clients = [self.host, self.second] if measure == "clients" else [self.host]
        return {"client": [self.net.daemon_pid(host) for host in clients], "exit": [self.net.daemon_pid(self.path[-1])],
                **({"relays": [self.net.daemon_pid(host) for host in relays]} if relays else {})}

    def facts(self):
        return {"mtu": self.mtu, "hops": self.hops, "path": self.path, "engine": self.status.get("engine"),
                **{key: value for key, value in self.status.items() if "offload" in key}}

    def pair_hosts(self, name):
        return [self.host, self.second if name == "clients" else self.host]


def grown(now, before):
    """How much each counter grew; those that did not are left out."""
    return {name: count - before.get(name, 0) for name, count in now.items() if count != before.get(name, 0)}


def offloads(net, host, interface):
    """Which large packets an interface takes from the kernel, and whether it joins those that come."""
    text = net.run(host, "ethtool", "-k", interface)
    names = ("tx-checksum-ip-generic", "tx-tcp-segmentation", "tx-udp-segmentation", "generic-receive-offload")
    rows = dict(line.strip().split(": ", 1) for line in text.splitlines() if ": " in line)
    return {name: rows[name].split()[0] for name in names if name in rows}
