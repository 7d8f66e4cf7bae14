"""tests/bench/bench_cpu.py - whose CPU time it was, and what the machine is.

The whole is the time of all cores that was neither idle nor stolen. /proc/stat's own sum of user, nice,
system, irq and softirq counts samples, and misses those that a virtual machine's late timer skips (up to 15 %
here, more than it can be off by chance); it is kept beside as sampled_s. A daemon's part is its user and
system time of /proc/PID/stat, which the kernel measures exactly; where softirqs are not accounted apart
(CONFIG_IRQ_TIME_ACCOUNTING), what the kernel forwards right behind a send() is in the sender's part.

Strangers are processes outside of the run: neither in its namespaces, nor started by it, nor kernel threads.
Their time is the growth of the sum of (own + reaped children's) time over all of them that live: when one
dies its time moves to its parent, so short-lived ones count as well.
"""
import contextlib
import os
import platform
import re
import subprocess
import time

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count()
SNAPSHOT_TRIES = 10
PF_KTHREAD = 0x00200000
BUSY = (0, 1, 2, 5, 6)          # user nice system irq softirq
IDLE = (3, 4)
STEAL = 7


def stat_fields(pid):
    """The fields of /proc/PID/stat from the state on; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None


def process_seconds(pid):
    """(user, system) of a living process."""
    fields = stat_fields(pid)
    return (int(fields[11]) * TICK_S, int(fields[12]) * TICK_S) if fields else None


def machine_seconds():
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(word) for word in file.readline().split()[1:]]
    return {"sampled": sum(ticks[i] for i in BUSY) * TICK_S, "idle": sum(ticks[i] for i in IDLE) * TICK_S,
            "steal": ticks[STEAL] * TICK_S, "wall": time.monotonic()}


def all_processes():
    """{pid: fields} of all but kernel threads, of a moment when none came or went: else the time of a process
    that dies while we read is missed, or counted twice."""
    for _ in range(SNAPSHOT_TRIES):
        before = set(filter(str.isdecimal, os.listdir("/proc")))
        rows = {int(pid): stat_fields(pid) for pid in before}
        if before == set(filter(str.isdecimal, os.listdir("/proc"))):
            break
    return {pid: fields for pid, fields in rows.items() if fields and not int(fields[6]) & PF_KTHREAD}


class Strangers:
    """Knows which processes belong to a run."""

    def __init__(self, prefix, runtime):
        self.prefix, self.runtime = prefix, runtime
        self.supervisor = f"{runtime}/{prefix}/supervisor.sock".encode()

    def namespaces(self):
        found = set()
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir("/run/netns"):
                if name.startswith(self.prefix + "-"):
                    found.add(os.stat(os.path.join("/run/netns", name)).st_ino)
        return found

    def is_ours(self, pid, parents, inodes):
        try:
            if os.stat(f"/proc/{pid}/ns/net").st_ino in inodes:
                return True
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if self.supervisor in file.read():
                    return True
        except OSError:
            pass
        while pid in parents:
            if pid == os.getpid():
                return True
            pid = parents[pid]
        return False

    def seconds(self):
        """The sum that the head of this file explains."""
        rows = all_processes()
        inodes = self.namespaces()
        parents = {pid: int(fields[1]) for pid, fields in rows.items()}
        return sum(sum(int(word) for word in fields[11:15]) * TICK_S for pid, fields in rows.items()
                   if not self.is_ours(pid, parents, inodes))


class Window:
    """with Window(strangers, {"client": [pid…], …}) as window: …; then window.result."""

    def __init__(self, strangers, roles):
        self.strangers, self.roles = strangers, roles
        self.result = None

    def snapshot(self):
        return {"roles": {role: [process_seconds(pid) for pid in pids] for role, pids in self.roles.items()},
                "strangers": self.strangers.seconds(), "machine": machine_seconds()}

    def __enter__(self):
        self.before = self.snapshot()
        return self

    def __exit__(self, kind, error, trace):
        if kind:
            return
        after = self.snapshot()
        machine = {name: after["machine"][name] - self.before["machine"][name] for name in after["machine"]}
        whole = machine["wall"] * CORES
        busy = max(0.0, whole - machine["idle"] - machine["steal"])
        roles = {}
        for role, times in after["roles"].items():
            pairs = list(zip(self.before["roles"][role], times))
            if any(pair[0] is None or pair[1] is None for pair in pairs):
                self.result = {"died": role}
                return
            user, system = (sum(pair[1][i] - pair[0][i] for pair in pairs) for i in (0, 1))
            roles[role] = {"user_s": user, "system_s": system, "s": user + system}
        others = min(busy, max(0.0, after["strangers"] - self.before["strangers"]))
        self.result = {"wall_s": machine["wall"], "busy_s": busy, "sampled_s": machine["sampled"],
                       "idle_s": machine["idle"], "steal_s": machine["steal"], "others_s": others,
                       "ours_s": busy - others, "roles": roles, "others_share": others / whole,
                       "steal_share": machine["steal"] / whole}


def first_match(path, pattern):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            found = re.search(pattern, file.read(), re.M)
        return found.group(1).strip() if found else None
    except OSError:
        return None


def output(*words):
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def machine(top, build):
    """Facts that a reader needs to compare with."""
    iperf = output("iperf3", "--version")
    source = first_match(f"{build}/CMakeCache.txt", r"^CMAKE_HOME_DIRECTORY:\w+=(.*)$") or top
    dirty = output("git", "-C", source, "status", "--porcelain", "--untracked-files=no")
    return {
        "cpu": first_match("/proc/cpuinfo", r"^model name\s*:(.*)$") or platform.processor(),
        "cores": CORES,
        "memory_mb": int(first_match("/proc/meminfo", r"^MemTotal:\s*(\d+)") or 0) // 1024,
        "kernel": platform.release(),
        "hypervisor": bool(first_match("/proc/cpuinfo", r"^flags\s*:.*\b(hypervisor)\b")),
        "build_type": first_match(f"{build}/CMakeCache.txt", r"^CMAKE_BUILD_TYPE:\w+=(.*)$"),
        "sanitizers": first_match(f"{build}/CMakeCache.txt", r"^SANITIZE:\w+=(.+)$"),
        "source": source,
        "commit": output("git", "-C", source, "rev-parse", "--short=12", "HEAD"),
        "tree_changed": bool(dirty),
        "iperf3": iperf.splitlines()[0] if iperf else None,
        "tcp_congestion_control": "cubic",
    }
