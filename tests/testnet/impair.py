#!/usr/bin/python3
"""A worse wire: carries Ethernet frames between two interfaces with delay, reordering, loss, duplicates.

  impair.py INTERFACE INTERFACE DELAY_MS JITTER_MS REORDER% LOSS% DUPLICATE% SEED

Each frame waits DELAY plus a random part of JITTER, and never overtakes the one before it, but for REORDER
percent of them, which go at once. Made for the kernels that have no netem; good for some thousand frames a
second. Needs interfaces without segmentation and checksum offload: a frame is sent as it was received.
"""
import collections
import heapq
import random
import select
import socket
import sys
import time

ETH_P_ALL = 3
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
FRAME_BYTES = 1 << 16
QUEUE_FRAMES = 20000

Plan = collections.namedtuple("Plan", "delay jitter reorder loss duplicate")


def open_interface(name):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(ETH_P_ALL))
    sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
    sock.bind((name, ETH_P_ALL))
    return sock


class Wire:
    def __init__(self, plan, seed):
        self.plan, self.random = plan, random.Random(seed)
        self.queue, self.order = [], 0
        self.latest = {}            # socket out: when its last frame in order goes

    def chance(self, percent):
        return self.random.random() * 100 < percent

    def take(self, frame, out, now):
        """Decides what becomes of a frame."""
        if self.chance(self.plan.loss) or len(self.queue) >= QUEUE_FRAMES:
            return
        for _ in range(2 if self.chance(self.plan.duplicate) else 1):
            due = now
            if not self.chance(self.plan.reorder):
                due = max(now + self.plan.delay + self.random.random() * self.plan.jitter,
                          self.latest.get(out, 0.0))
                self.latest[out] = due
            self.order += 1
            heapq.heappush(self.queue, (due, self.order, frame, out))

    def send_due(self, now):
        while self.queue and self.queue[0][0] <= now:
            _, _, frame, out = heapq.heappop(self.queue)
            try:
                out.send(frame)
            except (BlockingIOError, OSError):
                pass                # a full or closed interface loses frames, as any wire does

    def wait_ms(self, now):
        return None if not self.queue else max(0.0, (self.queue[0][0] - now) * 1000)


def main(first, second, delay, jitter, reorder, loss, duplicate, seed):
    wire = Wire(Plan(float(delay) / 1000, float(jitter) / 1000, float(reorder), float(loss),
                     float(duplicate)), int(seed))
    one, two = open_interface(first), open_interface(second)
    other = {one.fileno(): (one, two), two.fileno(): (two, one)}
    poll = select.poll()
    for fd in other:
        poll.register(fd, select.POLLIN)
    while True:
        for fd, _ in poll.poll(wire.wait_ms(time.monotonic())):
            sock, out = other[fd]
            try:
                for _ in range(64):
                    wire.take(sock.recv(FRAME_BYTES), out, time.monotonic())
            except BlockingIOError:
                pass
        wire.send_due(time.monotonic())


if __name__ == "__main__":
    main(*sys.argv[1:])
