#!/usr/bin/python3
"""tests/bench/bench_test.py - scripts/bench measures what can be: a tiny run on a network of its own.

One run has a part that must fail (wireguard-go is hidden from it) beside parts that must not. A second one is
ended in the middle. Exit code 77: not root.
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
BENCH = os.path.join(TOP, "scripts", "bench")
PREFIX = f"b{os.getpid() % 100000:05d}"
HIDDEN = ("wg", "wireguard-go")
TICKS_S = 0.15                  # the kernel's clocks are read one after the other, in ticks
SLACK = 1.15                    # and other processes run in between


def fail(words):
    print(f"FAILED: {words}")
    sys.exit(1)


def expect(condition, words):
    if not condition:
        fail(words)


def path_without(folder):
    """A PATH with all programs but the hidden ones."""
    for source in ("/usr/sbin", "/usr/bin"):
        for name in os.listdir(source):
            link = os.path.join(folder, name)
            if name not in HIDDEN and not os.path.lexists(link):
                os.symlink(os.path.join(source, name), link)
    return folder


def bench(*words, env=None, **more):
    return subprocess.Popen([BENCH, "--prefix", PREFIX, *words], env=env, text=True, **more)


def leftovers():
    names = [name for name in os.listdir("/run/netns") if name.startswith(PREFIX + "-")]
    folder = f"/run/sispopnet-testnet/{PREFIX}"
    return names + ([folder] if os.path.exists(folder) else [])


# --- what any measurement must be like ------------------------------------------------------------

def check_cpu(what, run):
    cpu = run["cpu"]
    cores = os.cpu_count()
    expect(0 < cpu["wall_s"] < 60, f"{what}: it took {cpu['wall_s']} s")
    expect(abs(cpu["busy_s"] + cpu["idle_s"] + cpu["steal_s"] - cores * cpu["wall_s"]) <= TICKS_S,
           f"{what}: busy, idle and stolen time are not the whole: {cpu}")
    expect(cpu["sampled_s"] <= SLACK * cpu["busy_s"] + TICKS_S, f"{what}: samples beyond the busy time: {cpu}")
    expect(cpu["ours_s"] <= cpu["busy_s"] and cpu["others_s"] <= cpu["busy_s"], f"{what}: a part beyond the whole")
    parts = sum(role["s"] for role in cpu["roles"].values()) + run.get("generator_cpu_s", 0)
    expect(parts <= SLACK * cpu["busy_s"] + TICKS_S, f"{what}: parts of {parts} s in a whole of {cpu['busy_s']} s")
    return {role: times["s"] for role, times in cpu["roles"].items()}


def check_echoes(what, ping):
    expect(ping["sent"] == len(ping["times_ms"]) + ping["lost"], f"{what}: echoes do not add up")
    expect(0 <= ping["lost"] < ping["sent"], f"{what}: {ping['lost']} of {ping['sent']} echoes lost")
    expect(all(0 < value < 3000 for value in ping["times_ms"]), f"{what}: a time that cannot be")


def check_bytes(what, direction, run):
    """What the generators say, and what the client's daemon counted."""
    expect(abs(run["gbit_per_s"] * run["seconds"] / 8 * 1e9 / run["bytes"] - 1) < 0.02,
           f"{what}: bytes, seconds and rate do not fit")
    expect(run["generator_cpu_s"] > 0, f"{what}: a generator without any CPU time")
    if "inner_bytes" in run:
        expect(run["inner_bytes"][direction] >= run["bytes"],
               f"{what}: {run['bytes']} bytes arrived, {run['inner_bytes']} went through the tunnel")


def check_datagrams(what, size, run):
    expect(0 < run["delivered"] <= run["sent"], f"{what}: {run['delivered']} of {run['sent']} datagrams")
    expect(run["repeated"] == 0 and run["foreign"] == 0, f"{what}: repeated or foreign datagrams: {run}")
    expect(run["late"] < run["delivered"] and run["overflowed"] <= run["sent"], f"{what}: {run}")
    expect(run["size"] == size and run["bytes"] == size * run["delivered"], f"{what}: not of {size} B")


def check_report(report):
    seen = set()
    for sample in report["samples"]:
        way, measure, direction = key = (sample["way"], sample["measure"], sample["direction"])
        seen.add(key)
        expect(len(sample["runs"]) == 1, f"{key}: {len(sample['runs'])} runs")
        for run in sample["runs"]:
            what = " ".join(key)
            roles = check_cpu(what, run)
            if way == "2 hops":
                expect(set(roles) == {"client", "relays", "exit"}, f"{what}: roles {roles}")
            if "ping" in run:
                check_echoes(what, run["ping"])
            if measure != "ping":
                check_bytes(what, direction, run)
                expect(way != "2 hops" or all(seconds > 0 for seconds in roles.values()),
                       f"{what}: a daemon carried it without any CPU time: {roles}")
            if measure == "udp64":
                check_datagrams(what, 64, run)
    wanted = {(way, measure, direction) for way in ("2 hops", "no tunnel")
              for measure, direction in (("tcp1", "up"), ("tcp1", "down"), ("ping", "idle"))}
    wanted |= {("2 hops", "udp64", "up"), ("2 hops", "udp64", "down")}
    expect(seen == wanted, f"measured was {seen}, not {wanted}")


def check_summary(report):
    results, machine = report["results"], report["machine"]
    ours, none = results["2 hops"], results["no tunnel"]
    for direction in ("up", "down"):
        row = ours["tcp1"][direction]
        expect(row["s_per_gb"] > none["tcp1"][direction]["s_per_gb"], f"a tunnel cheaper than none, {direction}")
        expect(row["ping_median_ms"] <= row["ping_p99_ms"], "percentiles the wrong way round")
        parts = sum(row[f"{role}_s_per_gb"] for role in ("client", "relay", "exit", "generator", "rest"))
        expect(abs(parts - row["s_per_gb"]) <= 0.01 * row["s_per_gb"], f"roles of {parts} s/GB in {row['s_per_gb']}")
    expect(0 < none["ping"]["idle"]["ping_median_ms"] < ours["ping"]["idle"]["ping_median_ms"] < 1000,
           "an echo through two hops is not slower than one without a tunnel")
    expect(machine["cpu"] and machine["kernel"] and machine["cores"] == os.cpu_count(), f"machine: {machine}")
    expect(report["offloads"]["wire"] and report["offloads"]["TUN"], "no word on offloads")
    expect(report["ways"]["2 hops"]["hops"] == 2 and len(report["ways"]["2 hops"]["path"]) == 2, "the path's hops")
    expect(report["schema"] == 1 and report["date"], "schema and date")
    expect(any(row["name"] == "3 hops, Gbit/s up" and row["ok"] is None for row in report["figures"]),
           "a figure that was not measured has an answer")
    expect(report["noise"]["runs"] == 8, f"noise of {report['noise']['runs']} measurements")


# --- the tests ------------------------------------------------------------------------------------

def measures_and_tells_a_failing_part(folder):
    programs = os.path.join(folder, "programs")
    os.mkdir(programs)
    file = os.path.join(folder, "report.json")
    run = bench("--quick", "--only", "hops,none,wg1,tcp1,ping,udp64", "--hops", "2", "--runs", "1",
                "--seconds", "1", "--pps", "5000", "--json", file, env={**os.environ, "PATH": path_without(programs)},
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = run.communicate()
    print(output)
    expect(run.returncode == 1, f"exit code {run.returncode} although a part failed")
    expect("FAILED wireguard-go, 1 hop: wireguard-go, wg not found" in output, "the failing part is not told")
    expect(not leftovers(), f"it left {leftovers()}")
    with open(file, encoding="utf-8") as text:
        report = json.load(text)
    expect([one["what"] for one in report["failures"]] == ["wireguard-go, 1 hop"], report["failures"])
    check_report(report)
    check_summary(report)


def is_loading():
    """A measurement is under way."""
    pids = subprocess.run(["ip", "netns", "pids", f"{PREFIX}-client1"], capture_output=True, text=True).stdout
    for pid in pids.split():
        try:
            with open(f"/proc/{pid}/comm", encoding="ascii") as file:
                if file.read().strip() == "iperf3":
                    return True
        except OSError:
            pass
    return False


def leaves_nothing_when_it_is_ended():
    run = bench("--only", "none,tcp1", "--runs", "100", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    for line in run.stderr:
        if "round 1" in line:
            break
    deadline = time.monotonic() + 30
    while not is_loading():
        expect(time.monotonic() < deadline, "no iperf3 runs")
        time.sleep(0.01)
    run.send_signal(signal.SIGTERM)
    code = run.wait(timeout=30)
    expect(code == 143, f"exit code {code} after SIGTERM")
    expect(not leftovers(), f"ended in the middle it left {leftovers()}")


def refuses_what_it_does_not_know():
    for words in (["--only", "nothing"], ["--hops", "9"], ["--runs", "0"], ["--prefix", "too-long"], ["--nothing"]):
        code = bench(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).wait()
        expect(code == 2, f"exit code {code} for {words}")


def main():
    if os.geteuid() != 0:
        print("skipped: network namespaces need root")
        return 77
    try:
        with tempfile.TemporaryDirectory(prefix="bench-test-") as folder:
            refuses_what_it_does_not_know()
            measures_and_tells_a_failing_part(folder)
            leaves_nothing_when_it_is_ended()
    finally:
        if leftovers():
            subprocess.run([os.path.join(TOP, "scripts", "testnet"), "down", "--prefix", PREFIX])
    return 0


if __name__ == "__main__":
    sys.exit(main())
