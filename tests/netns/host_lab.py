"""A namespace of its own with one uplink to a peer, a driver for tun/ and routing/, and a dump of the host's state.

    peer (a namespace)                198.51.100.1  <-- veth -->  198.51.100.2  up0, this process's namespace
                                       2001:db8:100::1             2001:db8:100::2
    and on its lo 203.0.113.7, 2001:db8:113::7, where the echo is
"""
import atexit
import ctypes
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile

DRIVER = os.environ.get("HOST_DRIVER", "")
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_PRIVATE, MS_BIND = 0x4000, 0x40000, 0x1000
libc = ctypes.CDLL(None, use_errno=True)


def sh(command, check=True):
    done = subprocess.run(command, shell=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if check and done.returncode != 0:
        raise AssertionError(f"{command}: {done.returncode}: {done.stdout}")
    return done.stdout


def mount(source, target, kind, flags, data=None):
    enc = [x.encode() if x is not None else None for x in (source, target, kind)]
    if libc.mount(*enc, ctypes.c_ulong(flags), data.encode() if data else None) != 0:
        raise OSError(ctypes.get_errno(), f"mount {source} {target}")


def umount(target):
    if libc.umount2(target.encode(), 2) != 0:
        raise OSError(ctypes.get_errno(), f"umount {target}")


class Lab:
    def __init__(self):
        if os.geteuid() != 0:
            print("needs root")
            sys.exit(77)
        if libc.unshare(CLONE_NEWNS | CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        self.dir = tempfile.mkdtemp(prefix="sp-host-")
        atexit.register(shutil.rmtree, self.dir, ignore_errors=True)
        self.journal = self.dir + "/undo.journal"
        self.etc = self.dir + "/etc"
        os.mkdir(self.etc)
        self.resolv = self.etc + "/resolv.conf"
        self.drivers = []
        atexit.register(self.stop)
        self.network()
        with open(self.resolv, "w") as f:
            f.write("# the host's own\nnameserver 198.51.100.1\n")
        os.chmod(self.resolv, 0o640)

    def network(self):
        self.peer = subprocess.Popen(["unshare", "-n", sys.executable, "-c", PEER], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True)
        self.say_peer("")  # it lives in its namespace
        sh("ip link set lo up")
        sh(f"ip link add up0 type veth peer name peer0 netns {self.peer.pid}")
        sh("sysctl -qw net.ipv6.conf.up0.accept_dad=0")
        self.say_peer("sysctl -qw net.ipv6.conf.peer0.accept_dad=0; ip link set lo up; ip link set peer0 up;"
                      "ip addr add 198.51.100.1/24 dev peer0; ip addr add 2001:db8:100::1/64 dev peer0 nodad")
        sh("ip link set up0 up; ip addr add 198.51.100.2/24 dev up0; ip addr add 2001:db8:100::2/64 dev up0 nodad")
        sh("ip route add default via 198.51.100.1; ip -6 route add default via 2001:db8:100::1")
        self.say_peer("ip addr add 203.0.113.7/32 dev lo; ip addr add 2001:db8:113::7/128 dev lo nodad")
        self.say_peer("echo 203.0.113.7")
        self.say_peer("echo 2001:db8:113::7")
        self.until(lambda: "tentative" not in sh("ip -6 addr") and "LOWER_UP" in sh("ip link show up0"))

    def say_peer(self, command):
        self.peer.stdin.write(command + "\n")
        self.peer.stdin.flush()
        line = self.peer.stdout.readline().strip()
        assert line == "0", f"peer: {command}: {line}"

    @staticmethod
    def until(true, seconds=5.0):
        import time
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it did not come true"
            select.select([], [], [], 0.02)

    def stop(self):
        for d in self.drivers:
            d.close()
        self.peer.stdin.close()
        self.peer.wait()

    def driver(self, journal=None, wrap=()):
        d = Driver(journal or self.journal, wrap)
        self.drivers.append(d)
        return d

    def cleanup(self):
        """What a daemon does when it starts: take back what a dead one left."""
        d = self.driver()
        assert d.first[0] == "ok", d.first
        said = d.ok("undo")
        d.close()
        return said

    def state(self):
        # iproute2 complains on stderr about namespaces that come and go elsewhere.
        parts = [sh(c + " 2>/dev/null") for c in ("ip -d link", "ip -d addr", "ip rule", "ip -6 rule", "ip route show table all",
                                 "ip -6 route show table all", "nft list ruleset")]
        for top in ("/proc/sys/net/ipv4", "/proc/sys/net/ipv6"):
            for folder, _, files in sorted(os.walk(top)):
                for name in sorted(files):
                    try:
                        with open(f"{folder}/{name}") as f:
                            parts.append(f"{folder}/{name} = {f.read()}")
                    except OSError:
                        pass
        st = os.lstat(self.resolv)
        parts.append(f"resolv {oct(st.st_mode)} {st.st_uid} {st.st_gid} {sorted(os.listdir(self.etc))}\n")
        parts.append(os.readlink(self.resolv) if os.path.islink(self.resolv) else "no link")
        if os.path.exists(self.resolv):
            with open(self.resolv) as f:
                parts.append(f.read())
        return re.sub(r" expires \d+sec| valid_lft \d+sec| preferred_lft \d+sec", "", "\n".join(parts))

    def same(self, before, what):
        after = self.state()
        if after == before:
            return
        with open(self.dir + "/before", "w") as f:
            f.write(before)
        with open(self.dir + "/after", "w") as f:
            f.write(after)
        raise AssertionError(f"{what}: the host is not as before:\n" +
                             sh(f"diff {self.dir}/before {self.dir}/after", check=False))


class Driver:
    def __init__(self, journal, wrap):
        self.p = subprocess.Popen([*wrap, DRIVER, journal], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.first = self.answer()

    def answer(self):
        """([lines before], the last) as (word, rest, lines); ("dead", "", lines) when it died."""
        lines = []
        for line in self.p.stdout:
            word, _, rest = line.strip().partition(" ")
            if word in ("ok", "error"):
                return word, rest, lines
            lines.append(line.strip())
        return "dead", "", lines

    def ask(self, command):
        try:
            self.p.stdin.write(command + "\n")
            self.p.stdin.flush()
        except BrokenPipeError:
            return "dead", "", []
        return self.answer()

    def ok(self, command):
        word, rest, lines = self.ask(command)
        assert word == "ok", f"{command}: {word} {rest}"
        return lines

    def number(self, command):
        word, rest, _ = self.ask(command)
        assert word == "ok", f"{command}: {word} {rest}"
        return int(rest)

    def refused(self, command, code, *words):
        word, rest, _ = self.ask(command)
        assert word == "error" and int(rest.split()[0]) == code, f"{command}: {word} {rest}"
        for w in words:
            assert w in rest, f"{command}: no {w!r} in {rest!r}"

    def kill(self):
        self.p.kill()
        self.p.wait()

    def close(self):
        if self.p.stdin and not self.p.stdin.closed:
            try:
                self.p.stdin.close()
            except BrokenPipeError:
                pass
        code = self.p.wait()  # a sanitizer's complaint shows here
        assert code in (0, -9) or (code == 1 and self.first[0] == "error"), f"the driver ended with {code}"


# The peer: runs the shell commands it is told; "echo ADDRESS" starts a UDP echo there.
PEER = r'''
import socket, subprocess, sys, threading
def echo(address):
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, 7))
    def loop():
        while True:
            data, who = s.recvfrom(2048)
            s.sendto(data, who)
    threading.Thread(target=loop, daemon=True).start()
for line in sys.stdin:
    if line.startswith("echo "):
        echo(line.split()[1]); print(0, flush=True)
    else:
        print(subprocess.run(line, shell=True).returncode, flush=True)
'''


def run(tests):
    """Run the functions of one script, each in the lab it is given; the first failure ends it."""
    lab = Lab()
    for test in tests:
        test(lab)
        print(f"ok {test.__name__}", flush=True)
