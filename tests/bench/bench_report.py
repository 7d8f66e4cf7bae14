"""tests/bench/bench_report.py - from samples to medians, and the tables on the terminal."""
import collections
import statistics

from bench_cpu import CORES
from bench_traffic import percentile

GB = 1e9
DROPS_SHOWN = 4


def derived(sample):
    """A run's costs: CPU seconds a GB and a datagram, of all and of each role."""
    cpu, out = sample["cpu"], {}
    for name in ("others_share", "steal_share"):
        out[name] = cpu[name]
    for name in ("gbit_per_s", "retransmits", "ratio", "pps", "offered_pps", "late", "repeated", "foreign",
                 "overflowed", "size", "sent", "delivered"):
        if name in sample:
            out[name] = sample[name]
    if "bytes" not in sample:
        return out
    gigabytes = sample["bytes"] / GB
    roles = {role: times["s"] for role, times in cpu["roles"].items()}
    generator = sample["generator_cpu_s"]
    ours = max(cpu["ours_s"], generator + sum(roles.values()))   # strangers' time is known less well
    out["s_per_gb"] = ours / gigabytes
    out["cpu_allows_gbit_per_s"] = 8 * CORES / out["s_per_gb"]
    out["generator_s_per_gb"] = generator / gigabytes
    out["rest_s_per_gb"] = (ours - generator - sum(roles.values())) / gigabytes
    if "relays" in roles:
        out["relay_s_per_gb"] = roles["relays"] / sample["relays_on_path"] / gigabytes
    for role, seconds in roles.items():
        out[f"{role}_s_per_gb"] = seconds / gigabytes
    if "delivered" in sample:
        out["us_per_datagram"] = ours * 1e6 / sample["delivered"]
    return out


def summary(samples):
    """Medians of what the runs have in common; echoes of all runs together."""
    rows = [derived(sample) for sample in samples]
    out = {name: statistics.median(row[name] for row in rows)
           for name in rows[0] if all(name in row for row in rows)}
    for name in ("gbit_per_s", "s_per_gb", "pps", "ratio"):
        if name in out:
            out[f"{name}_runs"] = [row[name] for row in rows]
    pings = [sample["ping"] for sample in samples if "ping" in sample]
    if pings:
        times = [value for ping in pings for value in ping["times_ms"]]
        sent = sum(ping["sent"] for ping in pings)
        out.update(ping_median_ms=statistics.median(times), ping_p99_ms=percentile(times, 0.99),
                   ping_sent=sent, ping_lost=sum(ping["lost"] for ping in pings))
    return out


def slope(points):
    """Of the straight line that fits best."""
    xs, ys = zip(*points)
    mean_x, mean_y = statistics.mean(xs), statistics.mean(ys)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x in xs)


def compare(results, hops):
    """Adds what takes more than one way to say. `hops`: {name of a way: number of hops}."""
    for direction in ("up", "down"):
        points = [(number, results[name]["tcp1"][direction]["s_per_gb"]) for name, number in hops.items()
                  if direction in results.get(name, {}).get("tcp1", {})]
        if len({number for number, _ in points}) > 1:
            results.setdefault("hops", {}).setdefault("slope", {})[direction] = {"s_per_gb": slope(points)}
        ours = results.get("1 hop", {}).get("tcp1", {}).get(direction)
        theirs = results.get("wireguard-go, 1 hop", {}).get("tcp1", {}).get(direction)
        if ours and theirs:
            results["1 hop"].setdefault("over-wireguard-go", {})[direction] = {
                "ratio": ours["gbit_per_s"] / theirs["gbit_per_s"]}
    none = results.get("no tunnel", {}).get("ping", {}).get("idle")
    for name in hops:
        idle = results.get(name, {}).get("ping", {}).get("idle")
        if idle and none:
            idle["over_none_ms"] = idle["ping_median_ms"] - none["ping_median_ms"]


# --- tables ---------------------------------------------------------------------------------------

def table(title, head, rows):
    """Lines; the first column to the left, the others to the right; a row without any value is left out."""
    rows = [row for row in rows if any(cell != "" for cell in row[1:])]
    if not rows:
        return []
    wide = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]

    def line(row):
        return "  ".join([str(row[0]).ljust(wide[0]), *(str(c).rjust(w) for c, w in zip(row[1:], wide[1:]))]).rstrip()
    return ["", title, line(head), *(line(row) for row in rows)]


def show(value, digits):
    return "" if value is None else f"{value:.{digits}f}"


def cell(results, name, measure, direction, field, digits):
    return show(results.get(name, {}).get(measure, {}).get(direction, {}).get(field), digits)


def echoes(results, name, measure, direction):
    row = results.get(name, {}).get(measure, {}).get(direction, {})
    if "ping_median_ms" not in row:
        return ""
    lost = f" -{100 * row['ping_lost'] / row['ping_sent']:.1f}%" if row["ping_lost"] else ""
    return f"{row['ping_median_ms']:.2f}/{row['ping_p99_ms']:.2f}{lost}"


def datagrams(results, name, measure, direction):
    row = results.get(name, {}).get(measure, {}).get(direction, {})
    return f"{row['pps'] / 1e3:.0f}/{row['offered_pps'] / 1e3:.0f}" if "pps" in row else ""


def tables(results, names):
    def both(measure, field, digits):
        return lambda name: [cell(results, name, measure, d, field, digits) for d in ("up", "down")]

    lines = table(
        f"one TCP stream (CPU would allow: {CORES} cores all ours); ping: median/99 % in ms, -lost",
        ("", "Gbit/s up", "down", "CPU s/GB up", "down", "allows up", "down", "ping idle", "under up",
         "under down"),
        [[name, *both("tcp1", "gbit_per_s", 2)(name), *both("tcp1", "s_per_gb", 2)(name),
          *both("tcp1", "cpu_allows_gbit_per_s", 2)(name),
          echoes(results, name, "ping", "idle"), echoes(results, name, "tcp1", "up"),
          echoes(results, name, "tcp1", "down")] for name in names])
    lines += table(
        "CPU s/GB by role; relay: each between client and exit; rest: kernel beside the daemons",
        ("", "client", "relay", "exit", "iperf3", "rest", "all"),
        [[f"{name} {d}", *(cell(results, name, "tcp1", d, f"{role}_s_per_gb", 2) for role in
                           ("client", "relay", "exit", "generator", "rest")),
          cell(results, name, "tcp1", d, "s_per_gb", 2)] for name in names for d in ("up", "down")])
    lines += table(
        "four TCP streams", ("", "Gbit/s up", "down", "CPU s/GB up", "down"),
        [[name, *both("tcp4", "gbit_per_s", 2)(name), *both("tcp4", "s_per_gb", 2)(name)] for name in names])
    for size, what in (("udp64", "64 B"), ("udp512", "512 B"), ("udpfull", "as large as fits")):
        lines += table(
            f"UDP of {what} under overload: thousands a second delivered/offered",
            ("", "up", "down", "Gbit/s up", "down", "CPU us each up", "down"),
            [[name, datagrams(results, name, size, "up"), datagrams(results, name, size, "down"),
              *both(size, "gbit_per_s", 2)(name), *both(size, "us_per_datagram", 1)(name)] for name in names])
    lines += table(
        "fairness: the smaller goodput over the larger",
        ("", "flows up", "down", "clients up", "down"),
        [[name, *both("flows", "ratio", 2)(name), *both("clients", "ratio", 2)(name)] for name in names])
    lines += table(
        "compared", ("", "up", "down"),
        [["each hop more, CPU s/GB", *both("slope", "s_per_gb", 2)("hops")],
         ["1 hop over wireguard-go, times", *both("over-wireguard-go", "ratio", 1)("1 hop")]])
    return lines


def drop_lines(samples):
    """What our daemons refused, all rounds of a measurement together; the most frequent reasons."""
    rows = []
    for sample in samples:
        sums = collections.Counter()
        for run in sample["runs"]:
            sums.update(run.get("drops", {}))
        if sums:
            rows.append([f"{sample['way']} {sample['measure']} {sample['direction']}",
                         ", ".join(f"{name} {count}" for name, count in sums.most_common(DROPS_SHOWN))])
    wide = max((len(name) for name, _ in rows), default=0)
    return ["", "drops", *(f"{name.ljust(wide)}  {what}" for name, what in rows)] if rows else []


def check_lines(rows):
    def word(ok):
        return {True: "ok", False: "MISSED", None: "not measured"}[ok]
    return table("the project's figures", ("", "got", "wanted", ""),
                 [[row["name"], show(row["got"], 2), f"{'>=' if row['sense'] == 'least' else '<='} "
                   f"{show(row['wanted'], 2)}", word(row["ok"])] for row in rows])
