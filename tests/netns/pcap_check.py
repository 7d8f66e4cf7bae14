#!/usr/bin/python3
"""What a watcher of several links could match: lengths and bytes of the same packets on different links.

  pcap_check.py MARKER START CAPTURE A>B CAPTURE A>B ...

What was captured before START (seconds since 1970) does not count. Each pair is a capture and a direction in it (two IPv4 addresses). Fails when a datagram shows MARKER, when the
numbers of datagrams by length differ between links (control datagrams of links aside), or when 16 bytes in a
row stand on two links.
"""
import collections
import ipaddress
import struct
import sys

RUN = 16
HANDSHAKE_LENGTHS = (192, 64)
CTRL_LENGTHS = (20 + 160 + 16, 20 + 900 + 16)


def datagrams(path, direction, start):
    """UDP payloads from A to B in a capture of an Ethernet interface."""
    source, target = (ipaddress.ip_address(word).packed for word in direction.split(">"))
    with open(path, "rb") as file:
        magic, _, _, _, _, _, link = struct.unpack("<IHHiIII", file.read(24))
        if magic != 0xa1b2c3d4 or link != 1:
            raise SystemExit(f"{path}: no Ethernet capture of this machine")
        while head := file.read(16):
            seconds, micros, kept, length = struct.unpack("<IIII", head)
            frame = file.read(kept)
            if seconds + micros / 1e6 < start:
                continue
            if kept != length or frame[12:14] != b"\x08\x00" or frame[23] != 17:
                continue
            ip = frame[14:]
            if ip[12:16] == source and ip[16:20] == target:
                at = (ip[0] & 15) * 4
                (size,) = struct.unpack("!H", ip[at + 4:at + 6])
                yield ip[at + 8:at + size]


def runs(payloads):
    """All byte runs of a link's datagrams; the clear link id at their start is the link's own."""
    return {data[i:i + RUN] for data in payloads for i in range(4, len(data) - RUN + 1)}


def main(marker, start, *pairs):
    links = []
    for path, direction in zip(pairs[::2], pairs[1::2]):
        data = [d for d in datagrams(path, direction, float(start))
                if len(d) not in HANDSHAKE_LENGTHS + CTRL_LENGTHS]
        links.append((direction, data))
    first, all_runs = None, set()
    for direction, data in links:
        lengths = collections.Counter(map(len, data))
        print(direction, dict(sorted(lengths.items())))
        if not data:
            raise SystemExit(f"{direction}: nothing was captured")
        if any(marker.encode() in one for one in data):
            raise SystemExit(f"{direction}: a datagram shows what is inside")
        if first is not None and lengths != first:
            raise SystemExit(f"{direction}: lengths differ from those on the first link")
        first = lengths
        mine = runs(data)
        if not all_runs.isdisjoint(mine):
            raise SystemExit(f"{direction}: {RUN} bytes in a row stand on another link too")
        all_runs |= mine


if __name__ == "__main__":
    main(*sys.argv[1:])
