#!/usr/bin/python3
"""Runs the README's own blocks: a network on hosts of its own, from plain config files in /etc/sispopnet.

A block that starts with ```sh HOST is run on every host of that kind, ```sh HOST run is started there as a daemon.
The hosts are namespaces of a test network without daemons; /etc/sispopnet, /var/lib/sispopnet and /run are each
host's own (bind mounts in a mount namespace), so the machine's are not touched.
"""
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
NET = "r%05d" % (os.getpid() % 100000)
KINDS = {"authority": ["auth1"], "relay": ["relay1", "relay2"], "exit": ["exit1"], "client": ["client1"]}
ADDRESS = {"auth1": "198.51.100.11", "relay1": "198.51.100.21", "relay2": "198.51.100.22", "exit1": "198.51.100.41"}
BIN = os.path.join(os.environ.get("SISPOPNET_BUILD", os.path.join(TOP, "build")), "bin")
daemons = []
keepers = []


def testnet(*args):
    return subprocess.run([os.path.join(TOP, "scripts/testnet"), args[0], "--prefix", NET, *args[1:]],
                          check=True, stdout=subprocess.PIPE, text=True).stdout


def blocks():
    text = open(os.path.join(TOP, "README.md"), encoding="utf-8").read()
    found = re.findall(r"^```sh (\w+)( run)?\n(.*?)^```$", text, re.M | re.S)
    assert len(found) >= 8, "the README's blocks have changed their form"
    return [(kind, bool(run), body) for kind, run, body in found]


class Host:
    """One namespace with folders of its own, kept by a process that holds its mount namespace."""

    def __init__(self, name, tmp):
        self.name = name
        self.log = open(os.path.join(tmp, name + ".log"), "w", encoding="utf-8")
        setup = "mount --make-rprivate / && for d in /etc/sispopnet /var/lib/sispopnet /run; do " \
                "[ $d = /run ] || mkdir -p $d; mount -t tmpfs -o mode=700 none $d; done && echo ready && exec sleep inf"
        self.keeper = subprocess.Popen(["ip", "netns", "exec", f"{NET}-{name}", "unshare", "-m", "sh", "-c", setup],
                                       stdout=subprocess.PIPE, text=True)
        keepers.append(self.keeper)
        assert self.keeper.stdout.readline() == "ready\n", f"{name}: no mount namespace"

    def command(self, script):
        pid = str(self.keeper.pid)
        return ["nsenter", "-t", pid, "-m", "-n", "-r", "-w", "env", "-i", "PATH=%s:/usr/sbin:/usr/bin:/sbin:/bin" % BIN,
                "sh", "-ec", script]

    def run(self, script):
        done = subprocess.run(self.command(script), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        print(f"--- {self.name}: exit status {done.returncode}\n{done.stdout}", end="")
        assert done.returncode == 0, f"{self.name}: a block of the README failed"
        return done.stdout

    def start(self, script):
        daemons.append(subprocess.Popen(self.command("exec " + script.strip()), stdout=self.log, stderr=self.log))


def wait_for(what, seconds, condition):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"no {what} in {seconds} s"
        time.sleep(0.05)


def listed(client, wanted):
    done = subprocess.run(client.command("sispopnet-vpn --exits --json"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, check=False)
    if done.returncode:
        return False
    status = json.loads(subprocess.run(client.command("sispopnet-vpn --status --json"), stdout=subprocess.PIPE, text=True,
                                       check=True).stdout)
    return len(json.loads(done.stdout)["exits"]) == 1 and status["directory"]["relays"] == wanted


def play(tmp):
    hosts = {name: Host(name, tmp) for kind in KINDS.values() for name in kind}
    network, token, exit_name = None, None, None
    for kind, is_daemon, body in blocks():
        for name in KINDS[kind]:
            host = hosts[name]
            script = body.replace("ADDRESS", ADDRESS.get(name, ""))
            if network and kind != "authority":
                host.run(f"cat > /etc/sispopnet/network.conf <<'EOF'\n{network}EOF")
            if is_daemon:
                host.start(script)
                continue
            if kind == "client":
                wait_for("directory of three relays", 30, lambda: listed(host, 3))
                script = script.replace("EXITNAME", exit_name).replace("TOKEN", token)
            out = host.run(script)
            if kind == "authority":
                # One /16, and a minute between consensuses is too long for a test.
                host.run("sed -i 's/= 60s$/= 3s/' /etc/sispopnet/network.conf && "
                         "echo 'subnet-rule = no' >> /etc/sispopnet/network.conf")
                network = host.run("cat /etc/sispopnet/network.conf")
            elif kind == "exit" and "token add" in body:
                token = out.strip().splitlines()[-1]
            elif kind == "exit":
                exit_name = re.search(r"\S{52}\.sispop", out).group(0)
            elif kind == "client":
                assert "\n203.0.113.41\n" in "\n" + out, "web did not see the exit's address"
                assert '\nstate     up' in "\n" + out, "the status does not say up"


def main():
    if os.getuid() != 0:
        print("skipped: network namespaces need root")
        return 77
    made = [d for d in ("/etc/sispopnet", "/var/lib/sispopnet") if not os.path.isdir(d)]
    for folder in made:  # mount points; the hosts' mounts hide them
        os.mkdir(folder)
    tmp = tempfile.mkdtemp(prefix="readme.")
    try:
        testnet("up", "--relays", "2", "--exits", "1", "--no-daemons")
        play(tmp)
        print("the README's network works")
        return 0
    except AssertionError:
        for log in sorted(os.listdir(tmp)):
            print(f"--- {log}\n" + open(os.path.join(tmp, log), encoding="utf-8").read())
        raise
    finally:
        for d in daemons:
            d.send_signal(signal.SIGTERM)
        for d in daemons:
            d.wait(10)
        for h in keepers:
            h.kill()
            h.wait()
        testnet("down")
        for folder in made:
            os.rmdir(folder)


if __name__ == "__main__":
    sys.exit(main())
