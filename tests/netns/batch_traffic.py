#!/usr/bin/python3
"""Traffic in runs, as a machine makes it that gives its kernel many packets at once; each byte is checked.

  batch_traffic.py serve                                at the web: answers `udp` and `order`, until killed
  batch_traffic.py tcp ADDRESS BYTES                    down and up at once, by hash
  batch_traffic.py udp ADDRESS RUNS                     runs of datagrams there and back, each byte, in order
  batch_traffic.py order ADDRESS FLOWS COUNT RATE       COUNT numbered datagrams a flow, RATE a second of each, both
                                                        ways at once; JSON: what arrived, and what out of order
A run is one system call with UDP_SEGMENT: equal datagrams and a shorter one at the end. In the kernel it is one packet
until somebody has to cut it. `udp` repeats a run that lost something; it forgives no other thing.
"""
import hashlib
import http.client
import json
import os
import random
import select
import socket
import struct
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "testnet"))
from services import sha256_of    # noqa: E402

SOL_UDP, UDP_SEGMENT = 17, 103
MIRROR_PORT, SINK_PORT, SOURCE_PORT = 7070, 7071, 7072
SEGMENT_MOST = 1323          # fits the inner MTU by IPv6 too
RUN_MOST = 40
PATIENCE, TRIES = 1.0, 8
GIVE_UP = 30.0
BUFFER = 4 << 20
HEAD = struct.Struct(">QIHH")         # flow, run, index, count; then bytes that depend on these
NUMBERED = struct.Struct(">QI")       # flow, number
ASK = struct.Struct(">QIIH")          # flow, count, rate, size
QUESTION = 0xffffffff                 # a number that asks the sink what came


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def udp_socket(family):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUFFORCE if hasattr(socket, "SO_RCVBUFFORCE") else 33, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
    return sock


def send_run(sock, datagrams, to=None):
    """All but the last are as long as the first."""
    if len(datagrams) == 1:
        sock.sendmsg([datagrams[0]], [], 0, *([to] if to else []))
    else:
        sock.sendmsg([b"".join(datagrams)], [(SOL_UDP, UDP_SEGMENT, struct.pack("H", len(datagrams[0])))], 0,
                     *([to] if to else []))


# --- runs there and back --------------------------------------------------------------------------

class Order(Exception):
    """Something came twice, or after what was sent later."""


class Run:
    """Takes the datagrams of one run as they come."""

    def __init__(self, flow, number, count):
        self.flow, self.number, self.count, self.parts = flow, number, count, {}

    def take(self, index, datagram):
        if index in self.parts:
            raise Order(f"datagram {index} of {self.count} came twice")
        if self.parts and index < max(self.parts):
            raise Order(f"datagram {index} of {self.count} came after {max(self.parts)}")
        self.parts[index] = datagram

    def whole(self):
        return len(self.parts) == self.count and [self.parts[i] for i in range(self.count)]


def mirror(sock):
    """Sends back each run that came whole, as a run."""
    runs = {}
    while True:
        datagram, peer = sock.recvfrom(1 << 16)
        flow, number, index, count = HEAD.unpack_from(datagram)
        run = runs.get(flow)
        if run is None or run.number < number:
            run = runs[flow] = Run(flow, number, count)
        try:
            if run.number > number:
                raise Order(f"a datagram of run {number} came after run {run.number} began")
            run.take(index, datagram)
            if run.whole():
                send_run(sock, run.whole(), peer)
        except Order as error:
            sock.sendto(b"there: " + str(error).encode(), peer)


def datagrams_of(flow, number, generator):
    size = generator.choice((HEAD.size, 100, 576, 1000, 1200, SEGMENT_MOST, generator.randint(HEAD.size, SEGMENT_MOST)))
    count = generator.randint(1, RUN_MOST)
    sizes = [size] * (count - 1) + [generator.randint(HEAD.size, size)]
    return [(HEAD.pack(flow, number, index, count) +
             hashlib.shake_256(HEAD.pack(flow, number, index, count)).digest(size))[:size]
            for index, size in enumerate(sizes)]


def one_run(sock, flow, number, generator):
    """True when it came back; False when something was lost."""
    sent = datagrams_of(flow, number, generator)
    run = Run(flow, number, len(sent))
    send_run(sock, sent)
    deadline = time.monotonic() + PATIENCE
    while not run.whole():
        if not select.select([sock], [], [], max(0, deadline - time.monotonic()))[0]:
            return False
        datagram = sock.recv(1 << 16)
        if datagram.startswith(b"there: "):
            raise Order(datagram.decode())
        if HEAD.unpack_from(datagram)[:2] != (flow, number):
            continue            # of a run that was given up
        run.take(HEAD.unpack_from(datagram)[2], datagram)
    if run.whole() != sent:
        raise Order("a datagram came back changed")
    return True


def udp(address, runs):
    flow, generator = int.from_bytes(os.urandom(8), "big"), random.Random(os.urandom(8))
    number, lost = 0, 0
    with udp_socket(family_of(address)) as sock:
        sock.connect((address, MIRROR_PORT))
        for _ in range(int(runs)):
            for attempt in range(TRIES):
                number += 1
                if one_run(sock, flow, number, generator):
                    break
                lost += 1
            else:
                sys.exit(f"a run was lost {TRIES} times")
    print(json.dumps({"runs": int(runs), "lost": lost}))


# --- numbered datagrams, one way ------------------------------------------------------------------

class Flow:
    """What a receiver saw of one flow."""

    def __init__(self):
        self.seen, self.last = set(), -1
        self.late = self.twice = 0

    def take(self, number):
        self.twice += number in self.seen
        self.late += number < self.last
        self.seen.add(number)
        self.last = max(self.last, number)

    def told(self):
        return {"arrived": len(self.seen), "late": self.late, "twice": self.twice}


def sink(sock):
    flows = {}
    while True:
        datagram, peer = sock.recvfrom(1 << 16)
        flow, number = NUMBERED.unpack_from(datagram)
        known = flows.setdefault(flow, Flow())
        if number == QUESTION:
            sock.sendto(json.dumps(known.told()).encode(), peer)
        else:
            known.take(number)


def stream(sock, flow, count, rate, size, to=None):
    """`count` datagrams of a flow in runs, `rate` a second."""
    start, number = time.monotonic(), 0
    while number < count:
        n = min(random.randint(1, RUN_MOST), count - number)
        send_run(sock, [NUMBERED.pack(flow, number + i).ljust(size, b"x") for i in range(n)], to)
        number += n
        ahead = number / rate - (time.monotonic() - start)
        if ahead > 0:
            time.sleep(ahead)   # the pace is part of what is tested


def source(sock):
    while True:
        datagram, peer = sock.recvfrom(1 << 16)
        threading.Thread(target=stream, args=(sock, *ASK.unpack_from(datagram), peer), daemon=True).start()


def upward(address, count, rate, size, results):
    flow = int.from_bytes(os.urandom(8), "big")
    with udp_socket(family_of(address)) as sock:
        sock.connect((address, SINK_PORT))
        stream(sock, flow, count, rate, size)
        before = None
        while True:             # until nothing more is on its way
            sock.send(NUMBERED.pack(flow, QUESTION))
            if not select.select([sock], [], [], PATIENCE)[0]:
                continue
            told = sock.recv(1 << 16)
            if told == before:
                break
            before = told
            time.sleep(0.1)     # time for what is still under way to arrive
    results.append({"way": "up"} | json.loads(told))


def downward(address, count, rate, size, results):
    flow, known = int.from_bytes(os.urandom(8), "big"), Flow()
    with udp_socket(family_of(address)) as sock:
        sock.connect((address, SOURCE_PORT))
        sock.send(ASK.pack(flow, count, rate, size))
        while len(known.seen) < count and select.select([sock], [], [], PATIENCE)[0]:
            got, number = NUMBERED.unpack_from(sock.recv(1 << 16))
            if got == flow:
                known.take(number)
    results.append({"way": "down"} | known.told())


def order(address, flows, count, rate):
    results = []
    threads = [threading.Thread(target=way, args=(address, int(count), int(rate), size, results))
               for way in (upward, downward)
               for size in (64, 1200, 500, SEGMENT_MOST)[:int(flows)]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GIVE_UP)
        if thread.is_alive():
            sys.exit(f"a flow did not end within {GIVE_UP:.0f} s")
    if len(results) != len(threads):
        sys.exit("a flow failed")
    print(json.dumps(results))


# --- TCP ------------------------------------------------------------------------------------------

def download(address, size, seed, answers):
    connection = http.client.HTTPConnection(address, 80, timeout=GIVE_UP)
    connection.request("GET", f"/bytes/{size}?{seed}")
    digest, response = hashlib.sha256(), connection.getresponse()
    while data := response.read(1 << 16):
        digest.update(data)
    connection.close()
    answers["down"] = digest.hexdigest() == sha256_of(size, seed)


def upload(address, size, answers):
    block = os.urandom(1 << 16)
    data = (block * (size // len(block) + 1))[:size]
    connection = http.client.HTTPConnection(address, 80, timeout=GIVE_UP)
    connection.request("PUT", "/sink", data)
    answer = connection.getresponse().read().decode().split()
    connection.close()
    answers["up"] = answer == [hashlib.sha256(data).hexdigest(), str(size)]


def tcp(address, size):
    answers = {}
    seed = os.urandom(4).hex()
    threads = [threading.Thread(target=download, args=(address, int(size), seed, answers)),
               threading.Thread(target=upload, args=(address, int(size), answers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if answers != {"down": True, "up": True}:
        sys.exit(f"TCP with {address}: {answers}")


def serve():
    ready = []
    for port, how in ((MIRROR_PORT, mirror), (SINK_PORT, sink), (SOURCE_PORT, source)):
        for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            sock = udp_socket(family)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address, port))
            ready.append(threading.Thread(target=how, args=(sock,), daemon=True))
    for thread in ready:
        thread.start()
    print("serving", flush=True)
    for thread in ready:
        thread.join()


if __name__ == "__main__":
    try:
        {"serve": serve, "tcp": tcp, "udp": udp, "order": order}[sys.argv[1]](*sys.argv[2:])
    except Order as problem:
        sys.exit(f"{' '.join(sys.argv[1:])}: {problem}")
