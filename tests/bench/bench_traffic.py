"""tests/bench/bench_traffic.py - makes traffic in one direction and says what arrived.

"up" is from the client to web, "down" from web to the client. Each function returns a dict of plain numbers:
bytes, seconds, gbit_per_s, and the CPU seconds of the generators themselves.
"""
import contextlib
import json
import subprocess

from bench_net import Child, Failed, last_line, wait_for

IPERF_PORT, BLAST_PORT = 5211, 5300
START_SECONDS = 10
SLOW_SECONDS = 40               # beyond its time, before a generator is given up
ECHO_INTERVAL_US, IDLE_ECHO_INTERVAL_US = 10_000, 2_000
BLAST_FIRST_PPS, BLAST_MOST_PPS = 50_000, 3_200_000
BLAST_PROBE_SECONDS = 0.4
OVERLOAD = 1.5                  # offered over what was delivered when less than offered arrived
ALL_SHARE = 0.95                # of what was sent: when as much arrives it was no overload


def percentile(values, share):
    """The value that a share of them does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered), -int(-share * len(ordered) // 1)) - 1)]


def is_listening(net, host, port):
    text = subprocess.run(net.argv(host, "cat", "/proc/net/tcp", "/proc/net/tcp6"), capture_output=True,
                          text=True).stdout
    return any(f":{port:04X} " in line and " 0A " in line for line in text.splitlines())


class Iperf:
    """One iperf3 client and a server of its own, which ends after it."""

    def __init__(self, net, host, direction, seconds, streams=1, port=IPERF_PORT):
        self.net, self.host, self.direction, self.port = net, host, direction, port
        self.seconds, self.streams = seconds, streams

    def listen(self, stack):
        self.server = Child(self.net.argv("web", "iperf3", "-s", "-1", "-p", self.port),
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(self.server.end)
        wait_for("iperf3 at web", lambda: is_listening(self.net, "web", self.port), START_SECONDS)

    def begin(self, stack):
        words = ["iperf3", "-J", "-C", "cubic", "-c", self.net.web, "-p", self.port, "-t", self.seconds,
                 "-P", self.streams, "--connect-timeout", START_SECONDS * 1000]
        self.client = Child(self.net.argv(self.host, *words, *(["-R"] if self.direction == "down" else [])),
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        stack.callback(self.client.end)

    def result(self):
        text = self.client.read(f"iperf3 {self.direction}", self.seconds + SLOW_SECONDS)
        try:
            report = json.loads(text)
        except ValueError:
            raise Failed(f"iperf3 {self.direction}: {last_line(text)}") from None
        if "error" in report or self.client.code:
            raise Failed(f"iperf3 {self.direction}: {report.get('error', f'code {self.client.code}')}")
        received = report["end"]["sum_received"]
        if not received["bytes"]:
            raise Failed(f"iperf3 {self.direction}: nothing arrived")
        wait_for("the end of iperf3 at web", lambda: not self.server.is_running(), START_SECONDS)
        self.server.reap()
        return {"bytes": received["bytes"], "seconds": received["seconds"],
                "gbit_per_s": received["bits_per_second"] / 1e9,
                "retransmits": report["end"]["sum_sent"].get("retransmits", 0),
                "streams": [one["receiver"]["bytes"] for one in report["end"]["streams"]],
                "generator_cpu_s": self.client.cpu_s + self.server.cpu_s}


class Echoes:
    """ICMP echoes to web at an even pace; losses are told apart."""

    def __init__(self, net, host, seconds, interval_us):
        self.seconds = seconds
        self.words = net.argv(host, net.generator("echo_times"), net.web, interval_us, seconds)

    def begin(self, stack):
        self.child = Child(self.words, stdout=subprocess.PIPE)
        stack.callback(self.child.end)

    def result(self):
        text = self.child.read("echo_times", self.seconds + SLOW_SECONDS)
        if self.child.code:
            raise Failed(f"echo_times ended with {self.child.code}")
        got = json.loads(text)
        if not got["answered"]:
            raise Failed(f"none of {got['sent']} echoes came back")
        return {"sent": got["sent"], "lost": got["sent"] - got["answered"], "cpu_s": self.child.cpu_s,
                "times_ms": [value / 1000 for value in got["times_us"]]}


def echoes_idle(net, host, seconds):
    with contextlib.ExitStack() as stack:
        echoes = Echoes(net, host, seconds, IDLE_ECHO_INTERVAL_US)
        echoes.begin(stack)
        return echoes.result()


def tcp(net, host, direction, seconds, window, streams=1, ping=False):
    """iperf3 within a window of bench_cpu; with `ping` echoes beside it."""
    with contextlib.ExitStack() as stack:
        iperf = Iperf(net, host, direction, seconds, streams)
        iperf.listen(stack)
        with window:
            iperf.begin(stack)
            echoes = None
            if ping:
                echoes = Echoes(net, host, seconds, ECHO_INTERVAL_US)
                echoes.begin(stack)
            result = iperf.result()
        if echoes:
            result["ping"] = echoes.result()
            result["generator_cpu_s"] += result["ping"]["cpu_s"]
        return result


def pair(net, hosts, direction, seconds, window):
    """Two flows at once, each with a pair of processes of its own: the smaller goodput over the larger."""
    with contextlib.ExitStack() as stack:
        both = [Iperf(net, host, direction, seconds, port=IPERF_PORT + i) for i, host in enumerate(hosts)]
        for one in both:
            one.listen(stack)
        with window:
            for one in both:
                one.begin(stack)
            got = [one.result() for one in both]
        rates = [one["gbit_per_s"] for one in got]
        own = [one["bytes"] for one, host in zip(got, hosts) if host == hosts[0]]
        return {"bytes": sum(one["bytes"] for one in got), "own_bytes": sum(own),
                "seconds": max(one["seconds"] for one in got), "gbit_per_s": sum(rates), "each": rates,
                "ratio": min(rates) / max(rates),
                "generator_cpu_s": sum(one["generator_cpu_s"] for one in got)}


class Blaster:
    """Datagrams to or from one server of udp_blast at web."""

    def __init__(self, net, pps=None):
        self.net, self.pps, self.offers, self.server = net, pps, {}, None

    def serve(self):
        if self.server is None or not self.server.is_running():
            self.server = self.net.start("web", self.net.generator("udp_blast"), "serve", self.net.web, BLAST_PORT,
                                         stdout=subprocess.PIPE)
            if self.server.process.stdout.readline() != "ready\n":
                raise Failed("udp_blast at web does not start")

    def run(self, host, direction, size, pps, seconds):
        text = self.net.run(host, self.net.generator("udp_blast"), direction, self.net.web, BLAST_PORT, size,
                            int(pps), seconds, seconds=seconds + SLOW_SECONDS, what="udp_blast")
        got = json.loads(text)
        if not got["delivered"]:
            raise Failed(f"udp_blast {direction}: none of {got['sent']} datagrams arrived")
        got["pps"] = got["delivered"] / got["seconds"]
        got["offered_pps"] = got["sent"] / seconds
        return got

    def offer(self, host, direction, size):
        """A rate that is too much: doubled until some is missing or the sender can no more."""
        self.serve()
        if self.pps:
            return self.pps
        key = (host, direction, size)
        if key not in self.offers:
            pps = BLAST_FIRST_PPS
            while True:
                got = self.run(host, direction, size, pps, BLAST_PROBE_SECONDS)
                if got["delivered"] < ALL_SHARE * got["sent"] or pps >= BLAST_MOST_PPS:
                    break
                if got["offered_pps"] < 0.8 * pps:
                    break
                pps *= 2
            self.offers[key] = max(BLAST_FIRST_PPS, OVERLOAD * got["pps"])
        return self.offers[key]

    def measure(self, host, direction, size, seconds, window):
        pps = self.offer(host, direction, size)
        with window:
            got = self.run(host, direction, size, pps, seconds)
        if got["delivered"] >= ALL_SHARE * got["sent"] and not self.pps:
            self.offers[(host, direction, size)] = min(BLAST_MOST_PPS, OVERLOAD * pps)
        return {"size": size, "pps": got["pps"], "offered_pps": got["offered_pps"], "sent": got["sent"],
                "delivered": got["delivered"], "late": got["late"], "repeated": got["repeated"],
                "foreign": got["foreign"], "overflowed": got["overflowed"],
                "bytes": got["delivered"] * size, "seconds": got["seconds"],
                "gbit_per_s": got["pps"] * size * 8 / 1e9,
                "generator_cpu_s": got["sender_cpu_s"] + got["receiver_cpu_s"]}
