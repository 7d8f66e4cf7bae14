"""tests/bench/bench_tor.py - a private Tor network on the same wires: one authority, two relays, an exit, a client.

Its circuits have three hops. curl loads from and to web through the client's SOCKS port; there are no
datagrams and no echoes through Tor.
"""
import contextlib
import json
import os
import re
import shutil
import subprocess

from bench_configs import Way
from bench_cpu import process_seconds
from bench_net import Child, Failed, last_line, wait_for
from bench_traffic import SLOW_SECONDS

HOSTS = {"torc": 66, "tora": 67, "torg": 68, "torm": 69, "torx": 70}
OR_PORT, DIR_PORT, SOCKS_PORT, SOURCE_PORT = 9001, 9030, 9050, 5400
BOOTSTRAP_SECONDS = 180
VOTING_SECONDS = 20
SECONDS_LEAST = 5               # its congestion window opens slowly
CURL_TIMED_OUT = 28
HERE = os.path.dirname(os.path.realpath(__file__))


def wan(host):
    return f"198.51.100.{HOSTS[host]}"


class Tor(Way):
    name = "tor, 3 hops"
    programs = ("tor", "tor-gencert", "curl")
    measures = ("tcp1",)
    mtu = None
    hops = 3

    def __init__(self, net):
        super().__init__(net, "torc")
        self.dir, self.children, self.made, self.source = os.path.join(net.dir, "tor"), {}, False, None
        self.transfers = 0

    # --- the private network ------------------------------------------------------------------

    def folder(self, host):
        return os.path.join(self.dir, host)

    def authority_line(self):
        """Makes the authority's keys; its line for everybody's torrc."""
        keys = os.path.join(self.folder("tora"), "keys")
        os.makedirs(keys, mode=0o700)
        files = [os.path.join(keys, f"authority_{name}") for name in ("identity_key", "signing_key", "certificate")]
        done = subprocess.run(["tor-gencert", "--create-identity-key", "--passphrase-fd", "0", "-i", files[0], "-s",
                               files[1], "-c", files[2], "-m", "12", "-a", f"{wan('tora')}:{DIR_PORT}"],
                              input="bench\n", capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"tor-gencert: {last_line(done.stderr)}")
        with open(files[2], encoding="ascii") as file:
            ident = re.search(r"^fingerprint ([0-9A-F]{40})$", file.read(), re.M)[1]
        nobody = f"bootstrap 127.0.0.1:1 {'F' * 40}"
        done = subprocess.run(["tor", "--list-fingerprint", "--quiet", "--ignore-missing-torrc", "-f", "/nonexistent",
                               "--orport", "1", "--datadirectory", self.folder("tora"), "--dirauthority", nobody],
                              capture_output=True, text=True)
        found = re.search(r"^\S+ ((?:[0-9A-F]{4} ?){10})$", done.stdout, re.M)
        if not found:
            raise Failed(f"tor --list-fingerprint: {last_line(done.stdout + done.stderr)}")
        fingerprint = found[1].replace(" ", "")
        return (f"DirAuthority tora orport={OR_PORT} no-v2 v3ident={ident} {wan('tora')}:{DIR_PORT} "
                f"{fingerprint}")

    def torrc(self, host, authority):
        folder = self.folder(host)
        lines = ["TestingTorNetwork 1", f"DataDirectory {folder}", f"Log notice file {folder}/log", authority,
                 "RunAsDaemon 0", "AssumeReachable 1", "ShutdownWaitLength 0", "ControlPort 0", "ClientUseIPv6 0"]
        if host == "torc":
            return lines + [f"SOCKSPort 127.0.0.1:{SOCKS_PORT}", "PathsNeededToBuildCircuits 0.67"]
        lines += [f"Nickname {host}", f"Address {wan(host)}", f"ORPort {wan(host)}:{OR_PORT}", "SOCKSPort 0",
                  "ContactInfo bench@example.test"]
        if host == "tora":
            lines += [f"DirPort {wan(host)}:{DIR_PORT}", "AuthoritativeDirectory 1", "V3AuthoritativeDirectory 1",
                      f"V3AuthVotingInterval {VOTING_SECONDS}", "V3AuthVoteDelay 4", "V3AuthDistDelay 4",
                      f"TestingV3AuthInitialVotingInterval {VOTING_SECONDS}", "TestingV3AuthInitialVoteDelay 4",
                      "TestingV3AuthInitialDistDelay 4", "TestingDirAuthVoteGuard *", "TestingDirAuthVoteExit *",
                      "TestingMinExitFlagThreshold 0"]
        if host == "torx":
            return lines + ["ExitRelay 1", "ExitPolicyRejectPrivate 0", "ExitPolicy accept *:*"]
        return lines + ["ExitRelay 0", "ExitPolicy reject *:*"]

    def make(self):
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir, mode=0o700)
        for host, number in HOSTS.items():
            self.net.add_host(host, number, on_inet=host == "torx")
            os.makedirs(self.folder(host), mode=0o700, exist_ok=True)
        authority = self.authority_line()
        for host in ("tora", "torg", "torm", "torx", "torc"):
            path = os.path.join(self.folder(host), "torrc")
            with open(path, "w", encoding="ascii") as file:
                file.write("\n".join(self.torrc(host, authority)) + "\n")
            with open(os.path.join(self.folder(host), "output"), "wb") as log:
                self.children[host] = self.net.start(host, "tor", "-f", path, stdout=log, stderr=log)

    def is_bootstrapped(self):
        for host, child in self.children.items():
            if not child.is_running():
                with open(os.path.join(self.folder(host), "output"), encoding="utf-8") as file:
                    raise Failed(f"tor on {host} ended: {last_line(file.read())}")
        with contextlib.suppress(FileNotFoundError):
            with open(os.path.join(self.folder("torc"), "log"), encoding="utf-8") as file:
                return "Bootstrapped 100%" in file.read()
        return False

    def prepare(self):
        self.need_programs()
        self.made = True
        self.make()
        wait_for("the private Tor network", self.is_bootstrapped, BOOTSTRAP_SECONDS)
        self.source = self.net.start("web", "/usr/bin/python3", "-I", os.path.join(HERE, "bench_source.py"),
                                     self.net.web, SOURCE_PORT, stdout=subprocess.PIPE)
        if self.source.process.stdout.readline() != "ready\n":
            raise Failed("the source at web does not start")
        wait_for("a transfer through Tor", lambda: self.curl("down", 1)[0], BOOTSTRAP_SECONDS)

    def end(self):
        for child in self.children.values():
            child.end()
        self.children = {}
        if self.source:
            self.source.end()
            self.source = None
        if self.made:
            self.net.remove_hosts(HOSTS)
            shutil.rmtree(self.dir, ignore_errors=True)
            self.made = False

    # --- traffic ------------------------------------------------------------------------------

    def curl(self, direction, seconds):
        """(bytes that arrived, seconds that it took from the first to the last, CPU seconds of curl)"""
        words = ["curl", "-sS", "--socks5", f"127.0.0.1:{SOCKS_PORT}", "-m", seconds, "-o", "/dev/null", "-w",
                 "%{time_pretransfer} %{size_download} %{time_starttransfer} %{time_total}"]
        words += ["-T", "/dev/zero", "-H", "Expect:"] if direction == "up" else []
        self.transfers += 1
        path = f"/{self.transfers}"
        with contextlib.ExitStack() as stack:
            child = Child(self.net.argv(self.host, *words, f"http://{self.net.web}:{SOURCE_PORT}{path}"),
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            stack.callback(child.end)
            text = child.read("curl", seconds + SLOW_SECONDS)
        connected, size, begin, end = map(float, text.split())
        if child.code != CURL_TIMED_OUT or not connected:
            return 0, 0, 0
        got = {"path": None}
        while got["path"] != path:
            got = json.loads(self.source.read_line("the source at web", seconds + SLOW_SECONDS))
        if direction == "up":
            size, begin, end = got["bytes"], 0, got["seconds"]
        return size, end - begin, child.cpu_s

    def measure(self, name, direction, seconds, window, blaster):
        seconds = max(seconds, SECONDS_LEAST)
        before = sum(process_seconds(self.source.pid))
        with window:
            size, took, cpu = self.curl(direction, seconds)
        if not size or took <= 0:
            raise Failed("nothing came through Tor")
        return {"bytes": size, "seconds": took, "gbit_per_s": size * 8 / took / 1e9,
                "generator_cpu_s": cpu + sum(process_seconds(self.source.pid)) - before}

    def roles(self, _measure):
        relays = [self.children[host].pid for host in ("tora", "torg", "torm")]
        return {"client": [self.children["torc"].pid], "relays": relays, "exit": [self.children["torx"].pid]}

    def after(self, sample):
        sample["relays_on_path"] = self.hops - 1
