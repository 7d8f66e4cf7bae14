#!/usr/bin/python3
"""tests/bench/relay_load.py - what one relay does and costs, measured by the load generator (root).

  relay_load.py [--build FOLDER] [--json FILE] [--rounds N] [--seconds S] [--circuits N] [CASE...]
  relay_load.py --test         a short run of each mode, that fails when anything is not as it must be

Cases: forward, workers, circuits, builds, flood, limits; all of them by default. FOLDER is a build
folder (SISPOPNET_BUILD, or build). The relay has core 0 and the generator core 1, but for two workers.
Each figure is the median of all windows of all rounds. "a core" means per second of CPU that the relay
had: others on the machine disturb the clock, and hardly that. Exit status: 0 measured and all checks
hold, whatever the figures; 1 a check failed; 77 not root.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
SKIPPED = 77
TRIES = 3
STARVED_S = 0.7  # a relay PINGs a silent neighbour after 1 s, and gives it up 0.75 s later
STARVED_SHARE = 0.6
SMALL = ("--bytes", "196", "--burst", "64", "--window", "256")  # 128 B of plain
TWO_CORES = ("--relay-cpus", "0,1", "--own-cpus", "0,1")


class Failed(Exception):
    pass


class Bench:
    def __init__(self, args):
        self.args = args
        self.runs = []
        self.rows = []

    def load(self, mode, *options):
        """A run of the generator; its report. A check that failed there fails here. A run in which the machine kept
        generator or relay from their cores for so long that links die of it is void, and repeated."""
        for _ in range(TRIES):
            report, failure = self.run(mode, options)
            if not failure:
                return report
            gap, waited = report["longest_gap_s"], report["relay_waited"]
            if gap < STARVED_S and waited < STARVED_SHARE:
                break
            print(f"{mode}: void: the generator had no core for {gap:.1f} s, the relay {waited:.0%} of the time that it "
                  "wanted one", file=sys.stderr)
        raise Failed(f"{mode}: {failure}")

    def run(self, mode, options):
        """The report, and why the run failed, or nothing."""
        command = [os.path.join(self.args.build, "tests", "relay_load"), mode,
                   "--relay", os.path.join(self.args.build, "bin", "sispopnet-relay"), *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        try:
            report = json.loads(done.stdout)
        except ValueError:
            raise Failed(f"{mode}: exit status {done.returncode} and no report") from None
        self.runs.append({"options": options, **report})
        if done.returncode or report["problems"]:
            return report, f"exit status {done.returncode}: {'; '.join(report['problems'])}"
        return report, ""

    def windows(self, mode, name, *options):
        """Windows of that name of all rounds."""
        found = []
        for _ in range(self.args.rounds):
            found += self.load(mode, "--seconds", str(self.args.seconds), *options)[name]
        return found

    def row(self, what, value, unit="", holds=None, target=""):
        self.rows.append({"what": what, "value": value, "unit": unit, "target": target, "holds": holds})
        verdict = {None: "", True: "holds", False: "FAILS"}[holds]
        figure = f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
        print(f"{what:58} {figure:>10} {unit:12} {target:12} {verdict}", flush=True)


def median(windows, key):
    return statistics.median(window[key] for window in windows)


def busy(windows):
    """The part of the time that the worker wanted its core: near 1, and the relay was the bottleneck."""
    return statistics.median((w["workers_s"] + w["workers_waited_s"]) / w["seconds"] for w in windows)


def bound(value, least=None, most=None):
    """Whether a figure keeps its bound, and that in words; neither when it has none."""
    if least is not None:
        return value >= least, f">= {least:,}"
    if most is not None:
        return value <= most, f"<= {most:,}"
    return None, ""


def forward(bench):
    for name, options, most_s_per_gb, least_per_s in (
            ("forward, 1,440 B", (), 0.6, None),
            ("backward, 1,440 B", ("--direction", "backward"), 0.6, None),
            ("forward, 196 B", SMALL, None, 100000),
            ("backward, 196 B", (*SMALL, "--direction", "backward"), None, 100000)):
        found = bench.windows("forward", "windows", *options)
        cost, rate = median(found, "cpu_s_per_gb"), median(found, "datagrams_per_core_s")
        bench.row(f"{name}: CPU", cost, "s/GB", *bound(cost, most=most_s_per_gb))
        bench.row(f"{name}: of that user", median(found, "user_s_per_gb"), "s/GB")
        bench.row(f"{name}: of that kernel", median(found, "kernel_s_per_gb"), "s/GB")
        bench.row(f"{name}: datagrams a core", rate, "1/s", *bound(rate, least=least_per_s))
        bench.row(f"{name}: by the clock", median(found, "datagrams_per_s"), "1/s")
        bench.row(f"{name}: worker's wish for its core", busy(found))


def workers(bench):
    spread = ("--circuits", "64", "--window", "256")
    one = bench.windows("forward", "windows", *spread)
    two = bench.windows("forward", "windows", "--workers", "2", *TWO_CORES, *spread)
    for name, found in (("1 worker", one), ("2 workers, sharing cores with the generator", two)):
        bench.row(f"{name}: CPU", median(found, "cpu_ns_each"), "ns/datagram")
        bench.row(f"{name}: by the clock", median(found, "datagrams_per_s"), "1/s")
    ratio = median(two, "cpu_ns_each") / median(one, "cpu_ns_each")
    bench.row("CPU for a datagram, 2 workers to 1", ratio, "", *bound(ratio, most=1.15))


def circuits(bench):
    n = bench.args.circuits
    report = bench.load("circuits", "--circuits", str(n), "--seconds", str(bench.args.seconds),
                        "--windows", str(3 * bench.args.rounds))
    size = report["bytes_each_settled"]
    bench.row(f"{n:,} circuits: the relay's memory for each", size, "B", *bound(size, most=3584))
    one = median(report["one"] + report["one_again"], "datagrams_per_core_s")
    bench.row("one circuit: datagrams a core", one, "1/s")
    for name, key in (("each datagram another", "spread"), ("each burst another", "spread_bursts")):
        spread = median(report[key], "datagrams_per_core_s")
        bench.row(f"{n:,} circuits, {name}: datagrams a core", spread, "1/s")
        bench.row("that to one circuit", spread / one, "", *bound(spread / one, least=0.85))


def builds(bench):
    found = [bench.load("builds") for _ in range(bench.args.rounds)]
    rate = statistics.median(r["window"]["builds_per_core_s"] for r in found)
    alone = statistics.median(r["dh_bound_per_core_s"] for r in found)
    ratio = statistics.median(r["window"]["builds_per_core_s"] / r["dh_bound_per_core_s"] for r in found)
    bench.row("BUILDs a core", rate, "1/s", *bound(rate, least=4000))
    bench.row("BUILDs by the clock", statistics.median(r["window"]["builds_per_s"] for r in found), "1/s")
    bench.row("Diffie-Hellman alone, on that core", alone, "1/s")
    bench.row("BUILDs to Diffie-Hellman alone", ratio, "", *bound(ratio, least=0.75))


def flood(bench):
    found = [bench.load("flood", "--seconds", str(bench.args.seconds)) for _ in range(bench.args.rounds)]
    alone = [w for r in found for w in r["alone"] + r["alone_again"]]
    flooded = [w for r in found for w in r["flooded"]]
    for name, windows in (("data alone", alone), ("data under a flood of BUILDs", flooded)):
        bench.row(f"{name}: datagrams a core", median(windows, "datagrams_per_core_s"), "1/s")
        bench.row(f"{name}: by the clock", median(windows, "datagrams_per_s"), "1/s")
        bench.row(f"{name}: worker's wish for its core", busy(windows))
    bench.row("data under a flood of BUILDs: lost", sum(w["lost"] for w in flooded))
    bench.row("BUILDs meanwhile: answered by the clock",
              statistics.median(r["flood"]["builds_per_s"] for r in found), "1/s")
    ratio = median(flooded, "datagrams_per_core_s") / median(alone, "datagrams_per_core_s")
    bench.row("data under a flood to data alone", ratio, "", *bound(ratio, least=0.8))


def limits(bench):
    report = {**bench.load("limits"), **bench.load("relay-limit")}
    for name, who in (("client", "a client's link"), ("liar", "one that says relay"), ("relay", "a relay's link")):
        row = report[name]
        bench.row(f"{who}: of {row['sent']:,} BUILDs answered", row["answered"], "",
                  row["refused_rate"] > 0, f"~ {row['most']:,.0f}")
        bench.row(f"{who}: refused and counted", row["refused_rate"])


CASES = {"forward": forward, "workers": workers, "circuits": circuits, "builds": builds, "flood": flood,
         "limits": limits}


def must(good, sentence):
    if not good:
        raise Failed(sentence)


def test_data(bench):
    """Within the relay's capacity all arrives (the generator checks that), and it is as much as was asked for."""
    for size, rate in (("84", 8000), ("1240", 4000), ("1440", 4000)):
        report = bench.load("forward", "--direction", "both", "--circuits", "40", "--bytes", size, "--burst", "8",
                            "--rate", str(rate), "--verify", "1", "--seconds", "0.5", "--windows", "1")
        got = report["windows"][0]["datagrams"]
        must(0.2 * rate <= got <= 2 * rate, f"{got} datagrams of {size} B instead of {rate} in half a second twice")
    report = bench.load("forward", "--workers", "2", *TWO_CORES, "--circuits", "16", "--no-gso", "--burst", "4",
                        "--window", "32", "--verify", "3", "--seconds", "0.5", "--windows", "1")
    must(report["workers"] == 2 and report["windows"][0]["datagrams"] > 100, "no data with two workers")


def test_builds(bench):
    report = bench.load("circuits", "--circuits", "1000", "--seconds", "0.2", "--windows", "1", "--settle", "0",
                        "--verify", "1")
    must(1000 < report["bytes_each"] < 50000, f"a circuit is said to need {report['bytes_each']} B")
    report = bench.load("builds", "--builds", "1500")
    rate, bound = report["window"]["builds_per_core_s"], report["dh_bound_per_core_s"]
    must(0 < rate < bound, f"{rate} BUILDs a second of a core that has time for {bound}")
    report = bench.load("flood", "--flood", "300", "--seconds", "0.5", "--windows", "1")
    must(report["flood"]["builds"] >= 0.5 * report["flood_sent"] >= 50, "a small flood was not answered")


def test_limits(bench):
    report = bench.load("limits")
    for name in ("client", "liar"):
        row = report[name]
        must(row["sent"] == 240 and 50 <= row["live"] <= 64 and row["refused_rate"] > 100, f"{name}: {row}")


def test(bench):
    for part in (test_data, test_builds, test_limits):
        part(bench)
        print(f"{part.__name__}: well", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", choices=[[], *CASES], metavar="CASE")
    parser.add_argument("--build", default=os.environ.get("SISPOPNET_BUILD", os.path.join(TOP, "build")))
    parser.add_argument("--json", help="write the rows and all reports there")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--circuits", type=int, default=100000)
    parser.add_argument("--test", action="store_true")
    args = parser.parse_args()
    if os.geteuid() != 0:
        print("skipped: a network namespace needs root")
        return SKIPPED
    bench = Bench(args)
    try:
        if args.test:
            test(bench)
        for case in [] if args.test else args.cases or CASES:
            CASES[case](bench)
    except Failed as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return 1
    finally:
        if args.json:
            with open(args.json, "w", encoding="utf-8") as file:
                json.dump({"rows": bench.rows, "runs": bench.runs}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
