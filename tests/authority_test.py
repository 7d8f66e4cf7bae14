#!/usr/bin/python3
"""sispopnet-authority with real processes on loopback: one alone, three with k = 2, one dead, one that signs another
body, restarts, hostile posts. Relays are tests/authority_relays.c.

usage: authority_test.py AUTHORITY RELAYS    (the two programs)
"""
import hashlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

AUTHORITY, RELAYS = sys.argv[1:3]
ALPHABET = "ybndrfg8ejkmcpqxot1uwisza345h769"
NET_ID = 4711
processes = []
work = tempfile.mkdtemp(prefix="authority-test.")


def fail(text):
    print(f"FAILED: {text}")
    for name in sorted(os.listdir(work)):
        if name.endswith(".log"):
            with open(os.path.join(work, name), encoding="utf-8") as file:
                print(f"--- {name}\n" + "".join(file.readlines()[-30:]))
    raise SystemExit(1)


def check(condition, text):
    if not condition:
        fail(text)


def within(seconds, text, condition):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            fail(f"not within {seconds} s: {text}")
        time.sleep(0.02)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def key_of(text):
    bits = int("".join(f"{ALPHABET.index(c):05b}" for c in text)[:256], 2)
    return bits.to_bytes(32, "big")


def start(args, log, **more):
    with open(os.path.join(work, log), "ab") as file:
        p = subprocess.Popen(args, stderr=file, **more)
    processes.append(p)
    return p


def end(p, want=0):
    p.send_signal(signal.SIGTERM)
    status = p.wait(5)
    check(want is None or status == want, f"{p.args[0]} ended with {status}")


class Authority:
    def __init__(self, name):
        self.name = name
        self.port = free_port()
        self.ini = os.path.join(work, f"{name}.ini")
        self.state = os.path.join(work, name)
        with open(self.ini, "w", encoding="ascii") as file:
            file.write(f"[authority]\nlisten = 127.0.0.1:{self.port}\nstate = {self.state}\n"
                       f"network = {work}/network.conf\n")
        self.line = subprocess.run([AUTHORITY, "init", "--config", self.ini], check=True,
                                   capture_output=True, text=True).stdout
        self.key = key_of(self.line.split()[2])
        self.process = None

    def start(self):
        self.process = start([AUTHORITY, "run", "--config", self.ini], f"{self.name}.log")

    def get(self, what):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/sispop/1/{what}", timeout=2) as r:
                return r.read()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None

    def consensus(self):
        body = self.get("consensus")
        return Consensus(body) if body else None

    def post(self, what, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/sispop/1/{what}", body, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=2) as r:
                return r.status
        except urllib.error.HTTPError as e:
            return e.code
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return 0


class Consensus:
    """Read by hand from the paper, without the project's code."""

    def __init__(self, p):
        check(p[:4] == b"SPC1", "magic")
        self.net_id, self.serial, self.after, self.fresh, self.until = struct.unpack_from("!IQQQQ", p, 4)
        at = 40
        n, = struct.unpack_from("!H", p, at)
        self.params = dict(struct.unpack_from("!HI", p, at + 2 + 6 * i) for i in range(n))
        at += 2 + 6 * n
        n, = struct.unpack_from("!H", p, at)
        self.relays = {p[at + 2 + 72 * i:][:32]: (p[at + 34 + 72 * i:][:32],
                                                  *struct.unpack_from("!II", p, at + 66 + 72 * i)) for i in range(n)}
        at += 2 + 72 * n
        names, revoked = struct.unpack_from("!HH", p, at)
        check(names == 0, "names")
        at += 4 + 32 * revoked
        self.body = p[:at]
        self.hash = hashlib.blake2b(self.body, digest_size=32).digest()
        self.signers = [p[at + 1 + 65 * i] for i in range(p[at])]
        self.signatures = [p[at + 2 + 65 * i:][:64] for i in range(p[at])]
        check(len(p) == at + 1 + 65 * p[at], "length")


def network(authorities, k, **more):
    rows = "".join(a.line for a in authorities)
    rows += "".join(f"{key.replace('_', '-')} = {value}\n" for key, value in more.items())
    with open(f"{work}/network.conf", "w", encoding="ascii") as file:
        file.write(f"[network]\nid = {NET_ID}\nk = {k}\nsubnet-rule = no\n{rows}")


def relays(count, exits, seed, authorities):
    p = start([RELAYS, str(NET_ID), str(free_port()), str(count), str(exits), str(seed),
               *(f"127.0.0.1:{a.port}" for a in authorities)], "relays.log", stdout=subprocess.PIPE)
    return p


def lists(a, n, **more):
    c = a.consensus()
    return c if c and len(c.relays) == n and all(f(c) for f in more.values()) else None


def one_alone():
    a = Authority("alone")
    check(subprocess.run([AUTHORITY, "init", "--config", a.ini], check=True, capture_output=True,
                         text=True).stdout == a.line, "init twice gives one key")
    check(os.stat(a.state).st_mode & 0o777 == 0o700, "mode of the state folder")
    check(os.stat(f"{a.state}/identity.key").st_mode & 0o777 == 0o600, "mode of the key")
    network([a], 1, consensus_interval="2s", consensus_fresh="2s", consensus_valid="20s")
    began = time.monotonic()
    a.start()
    within(3, "it serves", lambda: a.get("consensus") is None and a.post("descriptor", b"x") == 400)
    r = relays(5, 2, 1, [a])
    check(r.stdout.readline() == b"posted\n", "all descriptors were taken")
    c = within(4, "all relays are listed", lambda: lists(a, 5))
    print(f"usable {time.monotonic() - began:.1f} s after the start")
    check(c.net_id == NET_ID and c.serial == c.after and c.fresh == c.after + 2 and c.until == c.after + 20, "times")
    check(c.params == {7: 2, 8: 2, 9: 20}, f"params {c.params}")
    check(sorted(flags for _, flags, _ in c.relays.values()) == [1, 1, 1, 2, 2], "flags")
    blob = a.get("descriptors")
    at = 0
    for id_, (h, _, weight) in c.relays.items():  # in consensus order
        n, = struct.unpack_from("!H", blob, at)
        d = blob[at + 2:at + 2 + n]
        check(d[4:36] == id_ and hashlib.blake2b(d, digest_size=32).digest() == h, "a descriptor in its place")
        check(struct.unpack_from("!I", d, 135)[0] == weight, "the weight is what the relay said")
        at += 2 + n
    check(at == len(blob), "nothing after the descriptors")

    liars = relays(3, 0, -2, [a])
    check(liars.stdout.readline() == b"posted\n", "who lies is heard")
    serial = c.serial
    c = within(6, "the next consensuses", lambda: lists(a, 5, later=lambda c: c.serial >= serial + 4))
    check(c.serial % 2 == 0, "regular rounds are at multiples of the interval")
    end(liars, None)

    flipped = bytearray(d)
    flipped[-1] ^= 1
    check(a.post("descriptor", bytes(flipped)) == 403, "a forged descriptor")
    check(a.post("descriptor", d) == 200, "the same descriptor again")
    check(a.post("descriptor", b"SPD1" + bytes(3000)) in (400, 413), "one that is too long")
    check(a.post("vote", bytes(100)) == 400 and a.post("signature", bytes(113)) == 400, "nonsense")
    # Refused from its head: the answer may be lost in the reset that the unread rest brings.
    check(a.post("vote", bytes(2_000_000)) in (413, 0) and a.get("consensus"), "a flood of bytes")

    shown = subprocess.run([AUTHORITY, "show", "--json", "--config", a.ini], check=True, capture_output=True, text=True)
    shown = json.loads(shown.stdout)
    check(len(shown["relays"]) == 5 and shown["schema"] == 1 and len(shown["signatures"]) == 1, "show --json")
    check(all(x["nickname"].startswith("fake") for x in shown["relays"]), "nicknames")
    text = subprocess.run([AUTHORITY, "show", "--config", a.ini], check=True, capture_output=True, text=True).stdout
    check("5 relays" in text and text.count(".sispop") == 5, "show")

    before = a.consensus()
    with open(f"{a.state}/signed", "rb") as file:
        signed = struct.unpack("!4sQ32s", file.read())
    check(signed[1] >= before.serial, "what was signed is on disk")
    os.kill(a.process.pid, signal.SIGKILL)
    a.process.wait()
    a.start()
    c = within(3, "after kill -9 it serves what it had", a.consensus)
    check(c.serial >= before.serial, "it did not go back")
    check(c.serial > before.serial or c.body == before.body, "one body for one serial")
    within(5, "and signs on", lambda: lists(a, 5, later=lambda c: c.serial > before.serial))
    end(r, None)
    with open(f"/proc/{a.process.pid}/status", encoding="ascii") as file:
        status = file.read()
    for line in ("CapEff", "CapPrm", "CapBnd"):
        value = [x.split()[1] for x in status.split("\n") if x.startswith(line)][0]
        check(int(value, 16) == 0, f"{line} is {value}")
    with open(f"/proc/{a.process.pid}/limits", encoding="ascii") as file:
        check("Max core file size        0                    0" in file.read(), "core dumps")
    end(a.process)


def mistakes():
    a = Authority("wrong")
    network([a], 1)
    config = open(a.ini, encoding="ascii").read()
    for change, what in (("listen = here", "bad.ini:2:"), ("colour = blue", "bad.ini:"), ("listen = 127.0.0.1:0", "port 0")):
        with open(f"{work}/bad.ini", "w", encoding="ascii") as file:
            file.write(config.replace(config.split("\n")[1], change))
        p = subprocess.run([AUTHORITY, "run", "--config", f"{work}/bad.ini"], capture_output=True, text=True)
        check(p.returncode == 2 and what in p.stderr and p.stderr.count("\n") == 1, f"{change}: {p.stderr}")
    p = subprocess.run([AUTHORITY, "show", "--config", a.ini], capture_output=True, text=True)
    check(p.returncode == 1 and "no consensus" in p.stderr, f"show without one: {p.stderr}")
    for args in ([], ["fly"], ["run", "run"], ["run", "--json"], ["run", "--config", "/nonexistent"]):
        check(subprocess.run([AUTHORITY, *args], capture_output=True).returncode == 2, f"usage {args}")
    os.chmod(f"{a.state}/identity.key", 0o644)
    p = subprocess.run([AUTHORITY, "run", "--config", a.ini], capture_output=True, text=True)
    check(p.returncode == 1 and "identity.key" in p.stderr, f"loose key: {p.stderr}")
    os.chmod(f"{a.state}/identity.key", 0o600)
    with open(f"{a.state}/signed", "wb") as file:
        file.write(b"x")
    p = subprocess.run([AUTHORITY, "run", "--config", a.ini], capture_output=True, text=True)
    check(p.returncode == 1 and "signed" in p.stderr, f"damaged memory of what was signed: {p.stderr}")
    os.remove(f"{a.state}/signed")
    with socket.socket() as s:
        s.bind(("127.0.0.1", a.port))
        s.listen()
        p = subprocess.run([AUTHORITY, "run", "--config", a.ini], capture_output=True, text=True)
        check(p.returncode == 1 and "listen" in p.stderr, f"port in use: {p.stderr}")


class Rogue(threading.Thread):
    """The third authority, in Python: votes as the others do, then signs another body of the same serial, and votes
    twice when told to."""

    def __init__(self, authority, number, peers):
        super().__init__(daemon=True)
        from nacl.signing import SigningKey
        with open(f"{authority.state}/identity.key", "rb") as file:
            self.signer = SigningKey(file.read())
        self.number, self.peers, self.two_faced, self.rounds = number, peers, False, set()
        rogue = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_error(503)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.end_headers()
                if self.path.endswith("/vote"):
                    rogue.on_votes(body)

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", authority.port), Handler)

    def run(self):
        self.server.serve_forever(0.05)

    def sign(self, label, body):
        h = hashlib.blake2b(body, digest_size=32).digest()
        return self.signer.sign(label + h).signature

    def vote_of(self, honest, serial, weight):
        body = bytearray(honest[:-64])
        body[16] = self.number
        n, = struct.unpack_from("!H", body, 17)
        if weight:
            struct.pack_into("!I", body, 17 + 2 + 6 * n + 2 + 68, weight)
        return bytes(body) + self.sign(b"sispop1 vote", bytes(body))

    def on_votes(self, bundle):
        size, = struct.unpack_from("!I", bundle)
        honest = bundle[4:4 + size]
        serial, = struct.unpack_from("!Q", honest, 8)
        if serial in self.rounds or honest[16] == self.number:
            return
        self.rounds.add(serial)
        for i, peer in enumerate(self.peers):
            v = self.vote_of(honest, serial, i + 1 if self.two_faced else 0)
            peer.post("vote", struct.pack("!I", len(v)) + v)
            h = hashlib.blake2b(b"another body", digest_size=32).digest()
            head = b"SPS1" + struct.pack("!IQB", NET_ID, serial, self.number) + h
            peer.post("signature", head + self.signer.sign(b"sispop1 cons" + h).signature)


def three():
    from nacl.signing import VerifyKey
    all_ = sorted((Authority(f"three{i}") for i in range(3)), key=lambda a: a.key)
    network(all_, 2, consensus_interval="2s", consensus_fresh="2s", consensus_valid="60s")
    for a in all_:
        a.start()
    r = relays(4, 1, 7, all_)
    check(r.stdout.readline() == b"posted\n", "all took all")

    def same(authorities, signers, since=0):
        found = [lists(a, 4) for a in authorities]
        if not all(found) or found[0].serial <= since or len({c.body for c in found}) != 1:
            return None
        return found[0] if all(c.signers == signers for c in found) else None

    c = within(10, "three agree", lambda: same(all_, [0, 1, 2]))
    for number, sig in zip(c.signers, c.signatures):
        VerifyKey(all_[number].key).verify(b"sispop1 cons" + c.hash, sig)
    check(all_[0].get("descriptors") == all_[2].get("descriptors"), "and serve the same descriptors")

    end(all_[2].process)
    c = within(10, "one is dead, two agree", lambda: same(all_[:2], [0, 1], c.serial))

    rogue = Rogue(all_[2], 2, all_[:2])
    rogue.start()
    c = within(10, "one signs another body", lambda: same(all_[:2], [0, 1], c.serial + 2))
    check(rogue.rounds, "the rogue took part")
    rogue.two_faced = True
    c = within(10, "one votes twice", lambda: same(all_[:2], [0, 1], c.serial + 2))
    within(1, "and is found out", lambda: "voted twice" in open(f"{work}/{all_[0].name}.log", encoding="utf-8").read()
           + open(f"{work}/{all_[1].name}.log", encoding="utf-8").read())

    end(all_[1].process)  # one left besides the rogue: no consensus, the last one stays
    rounds = len(rogue.rounds)
    within(10, "two rounds without a consensus", lambda: len(rogue.rounds) >= rounds + 3)
    last = all_[0].consensus()
    check(last.signers == [0, 1], "no consensus of one")
    rogue.server.shutdown()
    rogue.server.server_close()
    for a in all_[1:]:
        a.start()
    within(12, "all three agree again", lambda: same(all_, [0, 1, 2], last.serial))
    serials = [a.consensus().serial for a in all_]
    check(min(serials) > last.serial, "and none went back")
    end(r, None)
    for a in all_:
        end(a.process)


try:
    for part in (mistakes, one_alone, three):
        began_part = time.monotonic()
        part()
        print(f"{part.__name__}: {time.monotonic() - began_part:.1f} s")
finally:
    for p in processes:
        if p.poll() is None:
            p.kill()
            p.wait()
    shutil.rmtree(work)
