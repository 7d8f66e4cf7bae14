#!/usr/bin/python3
"""tests/bench/bench_main.py - one paired run on the test network; scripts/bench is its front.

All ways (our tunnel with some numbers of hops, no tunnel, other programs) stand ready at once. A round takes
each measure through all of them, one after the other; what is told is the median of the rounds. So noise of
the machine falls on all alike.
"""
import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import bench_check
import bench_cpu
import bench_report
from bench_configs import MEASURES, NoTunnel, Tunnel, offloads
from bench_net import Failed, Net, RUNTIME, TOP
from bench_tor import Tor
from bench_traffic import Blaster
from bench_wireguard import WireGuard, WireGuardNet

QUIET_SHARE = 0.03              # of the machine's time, by strangers or stolen: beyond it the run says so
BEFORE_SECONDS = 1.0
QUIET_SECONDS = 0.25
QUICK = {"hops": [3, 1], "seconds": 2, "udp_seconds": 1, "ways": ("hops", "none"),
         "measures": ("tcp1", "ping", "udp64")}
FULL = {"hops": [3, 1, 2, 4, 5, 6, 7, 8], "seconds": 3, "udp_seconds": 2,
        "ways": ("hops", "none", "wg1", "wg3", "tor"), "measures": tuple(MEASURES)}
MAIN_HOPS = (1, 3)              # other numbers of hops get one TCP stream only
WAYS = ("hops", "none", "wg1", "wg3", "tor")
PACKAGES = ("wireguard-go", "wireguard-tools", "tor")
TOOLS = ("iperf3", "ping", "ethtool", "ip")


class Bench:
    def __init__(self, args):
        self.args = args
        self.began = time.monotonic()
        self.net = Net(args, self.say)
        self.strangers = bench_cpu.Strangers(args.prefix, RUNTIME)
        self.blaster = Blaster(self.net, args.pps)
        self.samples, self.failures, self.notes = {}, [], []
        self.ways, self.dead = [], set()
        self.patience = args.wait

    def say(self, words):
        print(f"{time.monotonic() - self.began:6.1f}  {words}", file=sys.stderr, flush=True)

    def fail(self, what, why):
        self.failures.append({"what": what, "why": str(why)})
        self.say(f"FAILED {what}: {why}")

    # --- what is measured ---------------------------------------------------------------------

    def wants(self, name):
        return name in self.args.ways

    def make_ways(self):
        hops = self.args.hops if self.wants("hops") else []
        clients = [f"client{i}" for i in range(1, len(hops) + 3)]
        pair = 0
        if hops and "clients" in self.args.measures:
            pair = 3 if 3 in hops else hops[0]
        for host, number in zip(clients, hops):
            self.ways.append(Tunnel(self.net, host, number, clients[-1] if number == pair else None))
        if self.wants("none"):
            self.ways.insert(len(self.ways) and 1, NoTunnel(self.net, clients[-2]))
        wireguard = WireGuardNet(self.net)
        self.ways += [WireGuard(wireguard, count) for count in (1, 3) if self.wants(f"wg{count}")]
        self.ways += [Tor(self.net)] if self.wants("tor") else []
        self.net.up(max(4, 2 * max(hops, default=1) - 2), len(clients))

    def prepare(self):
        for way in self.ways:
            try:
                way.prepare()
                self.say(f"{way.name} ready")
            except Failed as why:
                self.dead.add(way.name)
                self.fail(way.name, why)

    def measures_of(self, way, measure):
        if measure not in self.args.measures or measure not in way.measures or way.name in self.dead:
            return ()
        if self.args.quick and measure.startswith("udp") and not isinstance(way, Tunnel):
            return ()
        if isinstance(way, Tunnel) and way.hops not in (*MAIN_HOPS, self.args.hops[0]) and measure != "tcp1":
            return ()
        return MEASURES[measure]

    def rounds(self):
        for number in range(1, self.args.runs + 1):
            self.say(f"round {number} of {self.args.runs}")
            for measure, directions in MEASURES.items():
                for direction in directions:
                    for way in self.ways:
                        if direction in self.measures_of(way, measure):
                            self.one(way, measure, direction)

    def wait_for_quiet(self):
        """Until strangers leave the machine to us for a moment, or all the time that --wait gives is used."""
        while self.patience > 0:
            began = time.monotonic()
            window = bench_cpu.Window(self.strangers, {})
            with window:
                time.sleep(QUIET_SECONDS)
            if window.result["others_share"] + window.result["steal_share"] <= QUIET_SHARE:
                return
            self.patience -= time.monotonic() - began

    def one(self, way, measure, direction):
        """One measurement; what failed once is not tried again."""
        key = (way.name, measure, direction)
        if key in self.dead:
            return
        self.wait_for_quiet()
        window = bench_cpu.Window(self.strangers, way.roles(measure))
        try:
            if word := way.before():
                self.notes.append(f"{' '.join(key)}: {word}")
            seconds = self.args.udp_seconds if measure.startswith("udp") else self.args.seconds
            sample = way.measure(measure, direction, seconds, window, self.blaster)
            if "died" in window.result:
                raise Failed(f"the daemon of {window.result['died']} died")
            way.after(sample)
        except Failed as why:
            self.dead.add(key)
            self.fail(" ".join(key), why)
            return
        sample["cpu"] = window.result
        if "changed" in sample:
            self.notes.append(f"{' '.join(key)}: {sample['changed']}")
        self.samples.setdefault(key, []).append(sample)
        if self.args.verbose:
            row = bench_report.derived(sample)
            self.say(f"{' '.join(key)}: " + ", ".join(f"{name} {value:.3g}" for name, value in row.items()))

    # --- what is told -------------------------------------------------------------------------

    def quiet(self):
        """How busy the machine is before anything of ours runs."""
        window = bench_cpu.Window(self.strangers, {})
        with window:
            time.sleep(BEFORE_SECONDS)
        return window.result

    def noise(self, before):
        runs = [sample["cpu"] for samples in self.samples.values() for sample in samples]
        out = {"before": {name: before[name] for name in ("others_share", "steal_share")},
               "others_share_most": max((run["others_share"] for run in runs), default=0.0),
               "steal_share_most": max((run["steal_share"] for run in runs), default=0.0),
               "runs_disturbed": sum(run["others_share"] + run["steal_share"] > QUIET_SHARE for run in runs),
               "runs": len(runs)}
        if before["others_share"] + before["steal_share"] > QUIET_SHARE:
            self.notes.append(f"not quiet before the run: {100 * before['others_share']:.0f} % of the CPU time "
                              f"was used by others, {100 * before['steal_share']:.0f} % stolen")
        if out["runs_disturbed"]:
            self.notes.append(f"not quiet: {out['runs_disturbed']} of {out['runs']} measurements were disturbed; "
                              f"others took up to {100 * out['others_share_most']:.0f} % of the CPU time, "
                              f"{100 * out['steal_share_most']:.0f} % were stolen")
        return out

    def report(self, before):
        results = {}
        for (name, measure, direction), samples in self.samples.items():
            results.setdefault(name, {}).setdefault(measure, {})[direction] = bench_report.summary(samples)
        bench_report.compare(results, {way.name: way.hops for way in self.ways if isinstance(way, Tunnel)})
        machine = bench_cpu.machine(TOP, self.net.build)
        if machine["sanitizers"]:
            self.notes.append(f"the programs run under {machine['sanitizers']}: no figure of theirs counts")
        if machine["build_type"] not in ("Release", "RelWithDebInfo"):
            self.notes.append(f"the programs are a {machine['build_type']} build")
        ways = {way.name: way.facts() for way in self.ways if way.name not in self.dead}
        return {"schema": 1, "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "took_s": round(time.monotonic() - self.began, 1), "machine": machine,
                "settings": {name: getattr(self.args, name) for name in (
                    "quick", "runs", "seconds", "hops", "ways", "measures", "pps", "nice", "param", "client_set",
                    "relay_set", "exit_set")},
                "offloads": self.offloads(), "ways": ways, "noise": self.noise(before), "notes": self.notes,
                "results": results, "samples": [
                    {"way": key[0], "measure": key[1], "direction": key[2], "runs": samples}
                    for key, samples in self.samples.items()],
                "failures": self.failures, "figures": bench_check.check(results)}

    def offloads(self):
        out = {}
        for way in self.ways:
            if isinstance(way, Tunnel) and way.name not in self.dead:
                with contextlib.suppress(Failed):
                    out = {"wire": offloads(self.net, way.host, "eth0"),
                           "TUN": offloads(self.net, way.host, "sispop0")}
                    break
        return out

    def print_report(self, report):
        machine = report["machine"]
        print(f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, {machine['build_type']} of "
              f"{machine['commit']}{' (changed)' if machine['tree_changed'] else ''}, "
              f"{machine['iperf3']}, TCP {machine['tcp_congestion_control']}")
        for name, features in report["offloads"].items():
            print(f"{name}: " + ", ".join(f"{feature} {word}" for feature, word in features.items()))
        print(f"medians of {self.args.runs} rounds of {self.args.seconds:g} s each, all in the same "
              f"{report['took_s']:.0f} s")
        lines = bench_report.tables(report["results"], [way.name for way in self.ways])
        lines += bench_report.drop_lines(report["samples"])
        lines += bench_report.check_lines(report["figures"]) if self.args.check else []
        print("\n".join(lines))
        for note in report["notes"]:
            print(f"\nnote: {note}")
        for failure in report["failures"]:
            print(f"\nFAILED {failure['what']}: {failure['why']}")

    def run(self):
        self.net.build_if_needed()
        before = self.quiet()
        try:
            try:
                self.make_ways()
                self.prepare()
                self.rounds()
                report = self.report(before)
            finally:
                for way in reversed(self.ways):
                    way.end()
                self.net.end_children()
        except BaseException:
            self.net.down()
            raise
        if not self.args.keep:
            self.net.down()
        self.print_report(report)
        if self.args.json:
            with open(self.args.json, "w", encoding="utf-8") as file:
                json.dump(report, file, indent=1)
                file.write("\n")
        missed = self.args.check and any(row["ok"] is False for row in report["figures"])
        return 1 if self.failures or missed or not self.samples else 0


# --- options --------------------------------------------------------------------------------------

def hops_list(text):
    """3 or 1,3 or 1-8, each once, 1 to 8."""
    numbers = []
    for word in text.split(","):
        match = re.fullmatch(r"([1-8])(?:-([1-8]))?", word)
        if not match:
            raise argparse.ArgumentTypeError(f"'{text}' is not like 3 or 1,3 or 1-8")
        numbers += range(int(match[1]), int(match[2] or match[1]) + 1)
    return list(dict.fromkeys(numbers))


def names_list(text):
    names = text.split(",")
    for name in names:
        if name not in WAYS and name not in MEASURES:
            raise argparse.ArgumentTypeError(
                f"'{name}' is none of the ways {', '.join(WAYS)} and the measures {', '.join(MEASURES)}")
    return names


def key_value(text):
    if "=" not in text:
        raise argparse.ArgumentTypeError(f"'{text}' is not KEY=VALUE")
    return text


def prefix(text):
    if not re.fullmatch(r"[A-Za-z0-9]{1,6}", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not 1 to 6 letters or digits")
    return text


def positive(kind):
    def read(text):
        try:
            value = kind(text)
        except ValueError:
            value = 0
        if not 0 < value <= 600:
            raise argparse.ArgumentTypeError(f"'{text}' is no number above 0 and up to 600")
        return value
    return read


def arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measures the tunnel on the test network beside no tunnel and other "
        "programs, in one run. docs/PERFORMANCE.md says how. Needs root.",
        epilog=f"NAME: a way ({', '.join(WAYS)}) or a measure ({', '.join(MEASURES)}). Exit code: 0 measured, "
        "1 a part failed or --check found a figure missed, 2 usage.")
    parser.add_argument("--quick", action="store_true", help="about a minute: 1 and 3 hops and no tunnel; one "
                        "stream each way, echoes, small datagrams")
    parser.add_argument("--runs", type=positive(int), default=3, metavar="N", help="rounds (3)")
    parser.add_argument("--seconds", type=positive(int), metavar="S", help="of each measurement (3, UDP 2; "
                        "quick 2 and 1)")
    parser.add_argument("--hops", type=hops_list, metavar="LIST", help="3 or 1,3 or 1-8")
    parser.add_argument("--pps", type=int, metavar="N", help="datagrams a second that are offered, instead of "
                        "more than can be delivered")
    parser.add_argument("--only", type=names_list, metavar="NAME,...", help="only these ways and measures")
    parser.add_argument("--check", action="store_true", help="compare with the project's figures")
    parser.add_argument("--json", metavar="FILE", help="write all there is")
    parser.add_argument("--keep", action="store_true", help="leave the network up for the next run; it is made "
                        "anew when the programs changed")
    parser.add_argument("--down", action="store_true", help="only remove what --keep left")
    parser.add_argument("--install-packages", action="store_true", help="first install what is compared with: "
                        f"{', '.join(PACKAGES)}")
    parser.add_argument("--prefix", type=prefix, default="bench", help="of the test network (bench)")
    parser.add_argument("--wait", type=int, default=0, metavar="S", help="before each measurement wait for a quiet "
                        "machine, S seconds in all at most")
    parser.add_argument("--nice", type=int, default=0, metavar="N", help="run everything at this priority: -10 on a "
                        "machine with other users")
    parser.add_argument("--verbose", action="store_true", help="each measurement as it comes")
    for option in ("--param", "--client-set", "--relay-set", "--exit-set"):
        parser.add_argument(option, type=key_value, action="append", default=[], metavar="KEY=VALUE",
                            help="as for scripts/testnet")
    args = parser.parse_args()
    usual = QUICK if args.quick else FULL
    args.hops = args.hops or list(usual["hops"])
    args.udp_seconds = args.seconds or usual["udp_seconds"]
    args.seconds = args.seconds or usual["seconds"]
    only = args.only or []
    args.ways = [name for name in WAYS if name in only] or list(usual["ways"])
    args.measures = [name for name in MEASURES if name in only] or list(usual["measures"])
    return args


@contextlib.contextmanager
def alone(name):
    """One run at a time on a prefix; nothing is left behind, whatever happens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(f"\0sispopnet-bench-{name}")
        except OSError:
            raise Failed(f"another run uses the prefix '{name}' (--prefix)") from None
        yield


def install_packages():
    """The programs that are only compared with. Debian would start tor as a service: not here."""
    policy = "/usr/sbin/policy-rc.d"
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    ours = not os.path.exists(policy)
    if ours:
        with open(os.open(policy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755), "w", encoding="ascii") as file:
            file.write("#!/bin/sh\nexit 101\n")
    try:
        for words in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *PACKAGES]):
            if subprocess.run(["apt-get", *words], env=env, stdout=sys.stderr).returncode:
                raise Failed(f"apt-get {words[0]} failed")
    finally:
        if ours:
            os.unlink(policy)


def main():
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    args = arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    try:
        if os.geteuid() != 0:
            raise Failed("the test network needs root: it is made of network namespaces")
        missing = [tool for tool in TOOLS if not shutil.which(tool)]
        if missing:
            raise Failed(f"{', '.join(missing)} not found: scripts/build --install-packages installs them")
        if args.install_packages:
            install_packages()
        os.setpriority(os.PRIO_PROCESS, 0, max(-20, min(19, args.nice)))
        with alone(args.prefix):
            bench = Bench(args)
            if args.down:
                bench.net.down()
                return 0
            return bench.run()
    except Failed as why:
        print(f"bench: {why}", file=sys.stderr)
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
