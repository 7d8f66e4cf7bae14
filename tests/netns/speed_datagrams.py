#!/usr/bin/python3
"""Odd datagrams between a host of the test network and its web.

  speed_datagrams.py serve ADDRESS...         at web, port PORT of each address, until it is ended
  speed_datagrams.py echo ADDRESS SIZE...     to web's echo, each size whole; larger than the MTU it goes in fragments
  speed_datagrams.py options ADDRESS          with IP options, or IPv6 extension headers
  speed_datagrams.py bursts ADDRESS SIZE...   many at once both ways, by the sender's UDP_SEGMENT and one by one
  speed_datagrams.py marks ADDRESS            each of the 256 values of DSCP and ECN both ways, with a TTL of its own

What a busy machine loses is sent again; what comes changed, or never, ends with exit code 1 and a sentence.
"""
import hashlib
import socket
import struct
import sys
import threading
import time

PORT, ECHO = 7070, 7
TRIES, WAIT = 20, 0.5
UDP_SEGMENT = 103
IP_RECVTTL, IP_OPTIONS, IPV6_HOPOPTS, IPV6_DSTOPTS, IPV6_RECVTCLASS, IPV6_RECVHOPLIMIT = 12, 4, 54, 59, 66, 51
BURST, AT_ONCE = 200, 40
PATTERN = hashlib.shake_256(b"datagrams").digest(1 << 17)
HEAD = struct.Struct("!cIIHH")      # kind, id, number, count or mark, size


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def body(identity, number, size):
    """A datagram's bytes: unlike those of any other."""
    at = (identity * 131 + number * 17) % 60000
    return HEAD.pack(b"D", identity, number, 0, size) + PATTERN[at:at + size - HEAD.size]


def is_whole(data):
    kind, identity, number, _, size = HEAD.unpack_from(data)
    return kind == b"D" and data == body(identity, number, size)


def send_many(sock, to, identity, numbers, size, segments):
    """By the kernel's segmentation, or each by itself."""
    for first in range(0, len(numbers), AT_ONCE):
        some = [body(identity, n, size) for n in numbers[first:first + AT_ONCE]]
        if segments:
            step = min(len(some), 65000 // size)
            for at in range(0, len(some), step):
                sock.sendmsg([b"".join(some[at:at + step])],
                             [(socket.SOL_UDP, UDP_SEGMENT, struct.pack("=H", size))], 0, to)
        else:
            for one in some:
                sock.sendto(one, to)


# --- at web -----------------------------------------------------------------------------------------

def receive(sock):
    """(data, from, mark, hops)"""
    data, ancillary, _, peer = sock.recvmsg(1 << 16, 256)
    mark = hops = -1
    for level, kind, value in ancillary:
        number = int.from_bytes(value[:4], sys.byteorder) if len(value) >= 4 else value[0]
        if (level, kind) in ((socket.IPPROTO_IP, socket.IP_TOS), (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)):
            mark = number
        if (level, kind) in ((socket.IPPROTO_IP, socket.IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)):
            hops = number
    return data, peer, mark, hops


def hear_marks(sock):
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVTCLASS, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1)


def marked(sock, mark):
    """Ancillary data for one datagram."""
    if sock.family == socket.AF_INET:
        return [(socket.IPPROTO_IP, socket.IP_TOS, struct.pack("=i", mark))]
    return [(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, struct.pack("=i", mark))]


def serve_one(address):
    sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    sock.bind((address, PORT))
    hear_marks(sock)
    came = {}
    while True:
        data, peer, mark, hops = receive(sock)
        kind, identity, number, word, size = HEAD.unpack_from(data)
        if kind == b"M":        # what came, marked as the asker wants
            answer = HEAD.pack(b"m", identity, number, mark, hops)
            sock.sendmsg([answer], marked(sock, word), 0, peer)
        elif kind == b"D":
            have = came.setdefault(identity, [set(), 0])
            if is_whole(data):
                have[0].add(number)
            else:
                have[1] += 1
        elif kind == b"Q":      # how many of them came whole, how many changed
            have = came.get(identity, [set(), 0])
            missing = sorted(set(range(number)) - have[0])[:AT_ONCE]
            sock.sendto(HEAD.pack(b"q", identity, len(have[0]), have[1], len(missing)) +
                        b"".join(struct.pack("!I", n) for n in missing), peer)
        elif kind == b"G":      # send those that are asked for
            wanted = [n for n, in struct.iter_unpack("!I", data[HEAD.size:])]
            send_many(sock, peer, identity, wanted, size, word)


def serve(*addresses):
    for address in addresses:
        threading.Thread(target=serve_one, args=(address,)).start()
    print("serves", flush=True)


# --- at the client ----------------------------------------------------------------------------------

def connected(address, port):
    sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    sock.connect((address, port))
    sock.settimeout(WAIT)
    return sock


def until(what, question, is_answer):
    """Ask until the answer comes."""
    for _ in range(TRIES):
        found = question()
        end = time.monotonic() + WAIT
        while found is None and time.monotonic() < end:
            try:
                found = is_answer()
            except TimeoutError:
                break
        if found is not None:
            return found
    raise SystemExit(f"{what}: no answer, {TRIES} times")


def echo_one(sock, what, data):
    def answer():
        got = sock.recv(1 << 16)
        if got[:8] != data[:8]:
            return None         # of an earlier try
        if got != data:
            raise SystemExit(f"{what}: came back changed")
        return True
    until(what, lambda: sock.send(data) and None, answer)


def echo(address, *sizes):
    sock = connected(address, ECHO)
    for number, size in enumerate(map(int, sizes)):
        data = struct.pack("!II", number, size) + PATTERN[number * 100:number * 100 + size]
        echo_one(sock, f"{size} bytes to {address}", data[:size])


def options(address):
    if family_of(address) == socket.AF_INET:
        kinds = [("no-operations", socket.IPPROTO_IP, IP_OPTIONS, bytes([1, 1, 1, 0])),
                 ("record route", socket.IPPROTO_IP, IP_OPTIONS, bytes([7, 39, 4]) + bytes(37)),
                 ("timestamp", socket.IPPROTO_IP, IP_OPTIONS, bytes([68, 36, 5, 0]) + bytes(32))]
    else:
        pad = bytes([0, 0, 1, 4, 0, 0, 0, 0])   # next header and length, then PadN
        kinds = [("destination options", socket.IPPROTO_IPV6, IPV6_DSTOPTS, pad),
                 ("hop-by-hop options", socket.IPPROTO_IPV6, IPV6_HOPOPTS, pad)]
    for name, level, option, value in kinds:
        for size in (8, 300, 1200, 3000):
            sock = connected(address, ECHO)
            sock.setsockopt(level, option, value)
            echo_one(sock, f"{size} bytes with {name} to {address}", (name.encode() + PATTERN)[:size])


def get_burst(sock, identity, size, segments):
    """Ask for all, then for those that did not come; True when they are there."""
    want = set(range(BURST))

    def ask():
        for first in range(0, len(want), AT_ONCE):
            some = sorted(want)[first:first + AT_ONCE]
            sock.send(HEAD.pack(b"G", identity, 0, segments, size) + b"".join(struct.pack("!I", n) for n in some))

    def take():
        data = sock.recv(1 << 16)
        if not is_whole(data):
            raise SystemExit(f"a datagram of {len(data)} bytes came changed")
        _, whose, number, _, _ = HEAD.unpack_from(data)
        if whose == identity:
            want.discard(number)
        return None if want else True
    until(f"{BURST} datagrams of {size} bytes from web", ask, take)


def put_burst(sock, identity, size, segments):
    want = list(range(BURST))

    def send():
        send_many(sock, sock.getpeername(), identity, want, size, segments)
        sock.send(HEAD.pack(b"Q", identity, BURST, 0, 0))

    def take():
        data = sock.recv(1 << 16)
        kind, whose, count, changed, missing = HEAD.unpack_from(data)
        if kind != b"q" or whose != identity:
            return None
        if changed:
            raise SystemExit(f"{changed} datagrams of {size} bytes came to web changed")
        want[:] = [n for n, in struct.iter_unpack("!I", data[HEAD.size:])]
        return True if count == BURST else None
    until(f"{BURST} datagrams of {size} bytes to web", send, take)


def bursts(address, *sizes):
    identity = int(time.monotonic() * 1000) & 0x3fffffff
    for size in map(int, sizes):
        for segments in (1, 0):
            for way in (get_burst, put_burst):
                identity += 1
                way(connected(address, PORT), identity, size, segments)


def marks(address):
    """Each value there and another one back. What comes has passed one router, the exit."""
    sock = connected(address, PORT)
    hear_marks(sock)
    for mark in range(256):
        back, ttl = 255 - mark, 20 + mark * 200 // 255
        sock.setsockopt(*((socket.IPPROTO_IP, socket.IP_TTL) if sock.family == socket.AF_INET else
                          (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)), ttl)

        def ask():
            sock.sendmsg([HEAD.pack(b"M", mark, 0, back, 0)], marked(sock, mark))

        def take():
            data, _, seen, hops = receive(sock)
            kind, identity, _, there, left = HEAD.unpack_from(data)
            if kind != b"m" or identity != mark:
                return None
            if (there, seen) != (mark, back):
                raise SystemExit(f"{mark:#04x} came to {address} as {there:#04x}, {back:#04x} came back as {seen:#04x}")
            if (left, hops) != (ttl - 1, 63):
                raise SystemExit(f"TTL {left} there instead of {ttl - 1}, or {hops} here instead of 63")
            return True
        until(f"the mark {mark:#04x} to {address}", ask, take)


if __name__ == "__main__":
    {"serve": serve, "echo": echo, "options": options, "bursts": bursts, "marks": marks}[sys.argv[1]](*sys.argv[2:])
