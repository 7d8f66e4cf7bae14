#!/usr/bin/python3
"""tests/bench/bench_unit_test.py - the arithmetic of scripts/bench, on numbers made by hand."""
import os
import random
import subprocess
import sys
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import bench_check
import bench_cpu
import bench_main
import bench_report
from bench_configs import MEASURES, grown
from bench_traffic import percentile


def sample(gigabytes=2, ours=8.0, roles=None, **more):
    """Of 2 GB in 4 s, with 8 s of CPU time of ours."""
    return {"bytes": int(gigabytes * 1e9), "seconds": 4, "gbit_per_s": gigabytes * 8 / 4, "generator_cpu_s": 1.0,
            "cpu": {"ours_s": ours, "others_share": 0.01, "steal_share": 0.02,
                    "roles": {role: {"s": seconds} for role, seconds in (roles or {}).items()}}, **more}


def tunnel_sample(**more):
    return sample(roles={"client": 2.0, "relays": 3.0, "exit": 1.0}, relays_on_path=2, **more)


class Numbers(unittest.TestCase):
    def test_percentile_is_the_nearest_rank(self):
        self.assertEqual(percentile(range(1, 101), 0.99), 99)
        self.assertEqual(percentile(range(1, 101), 0.5), 50)
        self.assertEqual(percentile([7], 0.99), 7)
        for _ in range(200):
            values = [random.random() for _ in range(random.randint(1, 300))]
            share = random.choice((0.5, 0.9, 0.99))
            slow = min(v for v in values if sum(w <= v for w in values) >= share * len(values) - 1e-9)
            self.assertEqual(percentile(values, share), slow)

    def test_costs_are_a_gb_and_by_role(self):
        row = bench_report.derived(tunnel_sample())
        self.assertAlmostEqual(row["s_per_gb"], 4.0)
        self.assertAlmostEqual(row["client_s_per_gb"], 1.0)
        self.assertAlmostEqual(row["relay_s_per_gb"], 0.75)     # two relays share 3 s of 2 GB
        self.assertAlmostEqual(row["exit_s_per_gb"], 0.5)
        self.assertAlmostEqual(row["generator_s_per_gb"], 0.5)
        self.assertAlmostEqual(row["rest_s_per_gb"], 0.5)
        self.assertAlmostEqual(row["cpu_allows_gbit_per_s"], 8 * bench_cpu.CORES / 4.0)

    def test_datagrams_cost_microseconds(self):
        row = bench_report.derived(sample(delivered=4_000_000, pps=1e6))
        self.assertAlmostEqual(row["us_per_datagram"], 2.0)

    def test_summary_is_the_median_and_pools_echoes(self):
        ping = [{"sent": 4, "lost": 1, "times_ms": [1.0, 2.0, 9.0]}, {"sent": 2, "lost": 0, "times_ms": [3.0, 4.0]},
                {"sent": 1, "lost": 0, "times_ms": [5.0]}]
        row = bench_report.summary([tunnel_sample(gigabytes=g, ping=p) for g, p in zip((1, 4, 2), ping)])
        self.assertAlmostEqual(row["gbit_per_s"], 4.0)
        self.assertAlmostEqual(row["s_per_gb"], 4.0)
        self.assertEqual(row["gbit_per_s_runs"], [2.0, 8.0, 4.0])
        self.assertEqual((row["ping_sent"], row["ping_lost"]), (7, 1))
        self.assertAlmostEqual(row["ping_median_ms"], 3.5)
        self.assertAlmostEqual(row["ping_p99_ms"], 9.0)

    def test_slope(self):
        self.assertAlmostEqual(bench_report.slope([(1, 2.0), (3, 3.0)]), 0.5)
        self.assertAlmostEqual(bench_report.slope([(n, 1.5 + 0.7 * n) for n in range(1, 9)]), 0.7)

    def test_grown_leaves_out_what_stood_still(self):
        self.assertEqual(grown({"a": 5, "b": 2, "c": 1}, {"a": 3, "b": 2}), {"a": 2, "c": 1})

    def test_hops(self):
        self.assertEqual(bench_main.hops_list("1-8"), list(range(1, 9)))
        self.assertEqual(bench_main.hops_list("3,1,3"), [3, 1])
        for text in ("", "0", "9", "1-9", "a", "1,,2", "-1"):
            self.assertRaises(Exception, bench_main.hops_list, text)


class Comparison(unittest.TestCase):
    def results(self, three=4.0, none=25.0):
        def way(gbit, cost, idle):
            row = {"gbit_per_s": gbit, "s_per_gb": cost, "client_s_per_gb": 1.0, "exit_s_per_gb": 0.6,
                   "ping_median_ms": 2.0, "ping_p99_ms": 9.0}
            return {"tcp1": {"up": dict(row), "down": dict(row)}, "ping": {"idle": {"ping_median_ms": idle}},
                    "udp64": {"up": {"pps": 100_000}, "down": {"pps": 1}},
                    "flows": {"up": {"ratio": 0.8}, "down": {"ratio": 0.79}}}
        results = {"3 hops": way(three, 3.5, 0.45), "1 hop": way(8.0, 2.0, 0.3), "no tunnel": way(none, 0.4, 0.05),
                   "wireguard-go, 1 hop": way(1.0, 20.0, 0.2)}
        bench_report.compare(results, {"1 hop": 1, "3 hops": 3})
        return results

    def rows(self, **more):
        return {row["name"]: row for row in bench_check.check(self.results(**more))}

    def test_figures_at_their_edge(self):
        rows = self.rows()
        for name in ("3 hops, Gbit/s up", "3 hops, CPU s/GB up", "1 hop, CPU s/GB down", "client, CPU s/GB up",
                     "each hop more, CPU s/GB up", "64 B datagrams/s over 3 hops, up", "two flows of a client, up",
                     "1 hop over wireguard-go, up"):
            self.assertIs(rows[name]["ok"], True, name)
        self.assertAlmostEqual(rows["each hop more, CPU s/GB up"]["got"], 0.75)
        self.assertAlmostEqual(rows["ping idle beyond no tunnel, ms"]["got"], 0.4)
        self.assertIs(rows["two flows of a client, down"]["ok"], False)
        self.assertIsNone(rows["two clients of an exit, up"]["ok"])

    def test_throughput_is_in_proportion_to_the_machine(self):
        name = "3 hops, Gbit/s up"
        self.assertIs(self.rows(three=3.9)[name]["ok"], False)
        self.assertIs(self.rows(three=3.9, none=20.0)[name]["ok"], True)
        self.assertAlmostEqual(self.rows(none=50.0)[name]["wanted"], 8.0)

    def test_every_figure_can_be_measured(self):
        for name, (way, measure, direction, _), sense, figure, _ in bench_check.FIGURES:
            self.assertIn(sense, ("least", "most"), name)
            self.assertGreater(figure, 0, name)
            if measure not in ("slope", "over-wireguard-go"):
                self.assertIn(direction, MEASURES[measure], name)


class Processor(unittest.TestCase):
    def test_a_window_sees_a_busy_process_and_whose_it_is(self):
        """A child that spins: in its role, not a stranger's, and within the whole."""
        spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            window = bench_cpu.Window(bench_cpu.Strangers("nosuch", "/nonexistent"), {"client": [spinner.pid]})
            with window:
                deadline = time.monotonic() + 20
                while sum(bench_cpu.process_seconds(spinner.pid)) < 0.1 and time.monotonic() < deadline:
                    time.sleep(0.01)
        finally:
            spinner.kill()
            spinner.wait()
        got = window.result
        self.assertGreater(got["roles"]["client"]["s"], 0.05)
        self.assertLess(got["roles"]["client"]["s"], got["wall_s"] + 0.03)
        self.assertLessEqual(got["roles"]["client"]["s"] + got["others_s"], 1.2 * got["busy_s"] + 0.1)
        self.assertLessEqual(got["busy_s"], got["wall_s"] * bench_cpu.CORES)

    def test_a_process_that_dies_is_noticed(self):
        child = subprocess.Popen(["sleep", "100"])
        window = bench_cpu.Window(bench_cpu.Strangers("nosuch", "/nonexistent"), {"exit": [child.pid]})
        with window:
            child.kill()
            child.wait()
        self.assertEqual(window.result, {"died": "exit"})


if __name__ == "__main__":
    unittest.main()
