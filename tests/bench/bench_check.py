"""tests/bench/bench_check.py - the project's figures, and whether a run meets them.

Throughput is asked for in proportion to the machine: the figure holds where no tunnel gives
REFERENCE_GBIT in the same direction; where it gives half of that, half of the figure is enough. Datagrams
are asked for upwards: downwards the kernel carries each from web through the exit's NAT in the sender's own
time, and one sender cannot offer more than a core does of that.
"""
REFERENCE_GBIT = 25.0

# name, what it looks at, "least" or "most", the figure, scaled to the machine
FIGURES = (
    ("3 hops, Gbit/s up", ("3 hops", "tcp1", "up", "gbit_per_s"), "least", 4.0, True),
    ("3 hops, Gbit/s down", ("3 hops", "tcp1", "down", "gbit_per_s"), "least", 4.0, True),
    ("3 hops, CPU s/GB up", ("3 hops", "tcp1", "up", "s_per_gb"), "most", 3.5, False),
    ("3 hops, CPU s/GB down", ("3 hops", "tcp1", "down", "s_per_gb"), "most", 3.5, False),
    ("1 hop, Gbit/s up", ("1 hop", "tcp1", "up", "gbit_per_s"), "least", 7.0, True),
    ("1 hop, Gbit/s down", ("1 hop", "tcp1", "down", "gbit_per_s"), "least", 7.0, True),
    ("1 hop, CPU s/GB up", ("1 hop", "tcp1", "up", "s_per_gb"), "most", 2.0, False),
    ("1 hop, CPU s/GB down", ("1 hop", "tcp1", "down", "s_per_gb"), "most", 2.0, False),
    ("each hop more, CPU s/GB up", ("hops", "slope", "up", "s_per_gb"), "most", 0.8, False),
    ("each hop more, CPU s/GB down", ("hops", "slope", "down", "s_per_gb"), "most", 0.8, False),
    ("client, CPU s/GB up", ("3 hops", "tcp1", "up", "client_s_per_gb"), "most", 1.1, False),
    ("client, CPU s/GB down", ("3 hops", "tcp1", "down", "client_s_per_gb"), "most", 1.1, False),
    ("exit, CPU s/GB up", ("3 hops", "tcp1", "up", "exit_s_per_gb"), "most", 0.7, False),
    ("exit, CPU s/GB down", ("3 hops", "tcp1", "down", "exit_s_per_gb"), "most", 0.7, False),
    ("64 B datagrams/s over 3 hops, up", ("3 hops", "udp64", "up", "pps"), "least", 100_000, False),
    ("ping idle beyond no tunnel, ms", ("3 hops", "ping", "idle", "over_none_ms"), "most", 0.4, False),
    ("ping loaded up, median ms", ("3 hops", "tcp1", "up", "ping_median_ms"), "most", 3.0, False),
    ("ping loaded up, 99 % ms", ("3 hops", "tcp1", "up", "ping_p99_ms"), "most", 10.0, False),
    ("ping loaded down, median ms", ("3 hops", "tcp1", "down", "ping_median_ms"), "most", 3.0, False),
    ("ping loaded down, 99 % ms", ("3 hops", "tcp1", "down", "ping_p99_ms"), "most", 10.0, False),
    ("two flows of a client, up", ("3 hops", "flows", "up", "ratio"), "least", 0.8, False),
    ("two flows of a client, down", ("3 hops", "flows", "down", "ratio"), "least", 0.8, False),
    ("two clients of an exit, up", ("3 hops", "clients", "up", "ratio"), "least", 0.8, False),
    ("two clients of an exit, down", ("3 hops", "clients", "down", "ratio"), "least", 0.8, False),
    ("1 hop over wireguard-go, up", ("1 hop", "over-wireguard-go", "up", "ratio"), "least", 8.0, False),
    ("1 hop over wireguard-go, down", ("1 hop", "over-wireguard-go", "down", "ratio"), "least", 8.0, False),
)


def value_of(results, config, measure, direction, field):
    return results.get(config, {}).get(measure, {}).get(direction, {}).get(field)


def check(results):
    """A row for each figure: name, got, wanted, sense, ok (None: not measured)."""
    rows = []
    for name, where, sense, figure, scaled in FIGURES:
        wanted, got = figure, value_of(results, *where)
        if scaled:
            none = value_of(results, "no tunnel", "tcp1", where[2], "gbit_per_s")
            wanted = figure * none / REFERENCE_GBIT if none else None
        ok = None
        if got is not None and wanted is not None:
            ok = got >= wanted if sense == "least" else got <= wanted
        rows.append({"name": name, "got": got, "wanted": wanted, "sense": sense, "ok": ok})
    return rows
