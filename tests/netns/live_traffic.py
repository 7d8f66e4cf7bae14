#!/usr/bin/python3
"""Traffic of a host on the test network while something happens to it, and the longest silence.

  live_traffic.py gap NETNS ADDRESS LIMIT COMMAND...      echoes 50 times a second while COMMAND runs, and a second on
  live_traffic.py download NETNS ADDRESS BYTES SEED RATE PROGRESS   of web's bytes, at RATE bytes a second
  live_traffic.py lone NETNS ADDRESS SIZE...              echoes of each size, alone on their way; JSON: when each was

`gap` prints the longest silence in seconds and fails when it is longer than LIMIT. `download` prints the hash; the
file PROGRESS gets a line for each piece: the bytes so far and how long it was waited for.
"""
import ctypes
import hashlib
import json
import os
import select
import socket
import subprocess
import sys
import time

ECHO_EVERY, AFTER, GIVE_UP, PAUSE, LONE_TRIES = 0.02, 1.0, 30.0, 0.1, 3
CLONE_NEWNET = 0x40000000


def enter(netns):
    """This process lives in that namespace from now on."""
    fd = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
    if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"cannot enter {netns}")
    os.close(fd)


def gap(netns, address, limit, *command):
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    enter(netns)
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    ctypes.CDLL(None).setns(home, CLONE_NEWNET)
    start = last = time.monotonic()
    longest, flows_since, sent, process, ended = 0.0, None, 0, None, None
    while True:
        now = time.monotonic()
        if now - start > GIVE_UP:
            raise SystemExit(f"no traffic for {now - last:.2f} s, {GIVE_UP:.0f} s after the start")
        sent += 1
        try:
            sock.sendto(sent.to_bytes(4, "big") * 10, (address, 7))    # not connected: a lease may change
        except OSError:
            pass                # a refusal is told as an error of the next call; the answer is what counts
        while select.select([sock], [], [], max(0.0, now + ECHO_EVERY - time.monotonic()))[0]:
            try:
                sock.recv(100)
            except OSError:
                continue
            now_answer = time.monotonic()
            longest = max(longest, now_answer - last)
            if now_answer - last > 0.3 or flows_since is None:
                flows_since = now_answer
            last = now_answer
        now = time.monotonic()
        if process is None and flows_since is not None:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            start, longest = now, 0.0
        if process and ended is None and process.poll() is not None:
            if process.returncode:
                raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
            ended = now
        if ended and now - last < 0.3 and last - max(ended, flows_since) > AFTER:
            break
    print(f"{longest:.2f}")
    return int(longest > float(limit))


def lone(netns, address, *sizes):
    """A pause before each, as a watcher would need it to tell packets apart by time."""
    enter(netns)
    windows = []
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((address, 7))
        sock.settimeout(3)
        for size in map(int, sizes):
            windows.append([])
            for _ in range(LONE_TRIES):
                time.sleep(PAUSE)
                start = time.time()
                data = os.urandom(size)
                sock.send(data)
                if sock.recv(1 << 16) != data:
                    raise SystemExit(f"{size} bytes came back changed")
                windows[-1].append([start, time.time()])
    print(json.dumps(windows))
    return 0


def download(netns, address, size, seed, rate, progress):
    enter(netns)
    sock = socket.create_connection((address, 80), 10)
    sock.settimeout(60)
    sock.sendall(f"GET /bytes/{size}?{seed} HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n".encode())
    stream = sock.makefile("rb", buffering=0)
    while stream.readline().strip():
        pass                    # the head
    digest, count = hashlib.sha256(), 0
    with open(progress, "w", encoding="ascii", buffering=1) as file:
        start = last = time.monotonic()
        while data := stream.read(1 << 16):
            now = time.monotonic()
            digest.update(data)
            count += len(data)
            file.write(f"{count} {now - last:.3f}\n")
            ahead = count / float(rate) - (now - start)
            if ahead > 0:
                time.sleep(min(ahead, 0.2))
            last = time.monotonic()
    if count != int(size):
        raise SystemExit(f"the download ended after {count} of {size} bytes")
    print(digest.hexdigest())
    return 0


if __name__ == "__main__":
    sys.exit({"gap": gap, "lone": lone, "download": download}[sys.argv[1]](*sys.argv[2:]))
