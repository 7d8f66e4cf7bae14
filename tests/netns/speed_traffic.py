#!/usr/bin/python3
"""Large transfers between a host of the test network and its web, compared byte by byte or by hash.

  speed_traffic.py down ADDRESS BYTES SECONDS SEED     web's bytes, each compared with what web should send
  speed_traffic.py up ADDRESS BYTES SECONDS SEED       to web, whose hash and count of what came must be ours

Both end after BYTES, or after SECONDS with what was carried until then, and print "BYTES RATE" (MB/s). Exit code 1:
something came changed, or nothing came for STALLED seconds.
"""
import hashlib
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "testnet"))
from services import BLOCK, chunks  # noqa: E402

STALLED = 45


def connect(address):
    sock = socket.create_connection((address, 80), 10)
    sock.settimeout(STALLED)
    return sock


def read_head(stream):
    """The header lines of an answer with status 200, as a dictionary."""
    status = stream.readline()
    if status.split()[1:2] != [b"200"]:
        raise SystemExit(f"web answers {status!r}")
    return dict(line.decode().strip().lower().split(": ", 1) for line in iter(stream.readline, b"\r\n"))


def down(address, size, seconds, seed):
    sock = connect(address)
    sock.sendall(f"GET /bytes/{size}?{seed} HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n".encode())
    stream = sock.makefile("rb", buffering=0)
    if int(read_head(stream)["content-length"]) != size:
        raise SystemExit("web sends another length")
    start, count, got = time.monotonic(), 0, bytearray(BLOCK)
    for want in chunks(size, seed):
        at = 0
        while at < len(want):
            n = sock.recv_into(memoryview(got)[at:len(want)])
            if n == 0:
                raise SystemExit(f"the download ended after {count + at} of {size} bytes")
            at += n
        if got[:at] != want:
            first = next(i for i in range(at) if got[i] != want[i])
            raise SystemExit(f"byte {count + first} of the download came changed")
        count += at
        if time.monotonic() - start > seconds:
            break
    sock.close()
    return count, time.monotonic() - start


def up(address, size, seconds, seed):
    sock = connect(address)
    sock.sendall(b"PUT /sink HTTP/1.1\r\nHost: web\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
    start, count, digest = time.monotonic(), 0, hashlib.sha256()
    for chunk in chunks(size, seed):
        sock.sendall(b"%x\r\n" % len(chunk))
        sock.sendall(chunk)
        sock.sendall(b"\r\n")
        digest.update(chunk)
        count += len(chunk)
        if time.monotonic() - start > seconds:
            break
    sock.sendall(b"0\r\n\r\n")
    sock.settimeout(STALLED + seconds)      # for what is on its way still
    stream = sock.makefile("rb")
    body = stream.read(int(read_head(stream)["content-length"])).decode().split()
    if body != [digest.hexdigest(), str(count)]:
        raise SystemExit(f"web got {body}, and not {[digest.hexdigest(), str(count)]}")
    return count, time.monotonic() - start


def main(verb, address, size, seconds, seed):
    try:
        count, took = {"down": down, "up": up}[verb](address, int(size), float(seconds), seed)
    except TimeoutError:
        raise SystemExit(f"nothing moved for {STALLED} s") from None
    print(count, round(count / took / 1e6, 1))


if __name__ == "__main__":
    main(*sys.argv[1:])
