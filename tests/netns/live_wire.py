#!/usr/bin/python3
"""What captures of the onion network's wires say.

  live_wire.py links CAPTURE CLIENT    JSON: links that carried data, and each relay's keyids in LINK_INIT, in order
                                       (a capture of 80 bytes a packet is enough)
  live_wire.py watch FILE              all links at once; FILE is JSON:
      captures  address: capture of that host's eth0      path       addresses, client first, exit last
      first_hops  whom the client may speak to            authority  its address, a neighbour here, asked over HTTP
      forbidden   addresses that the middle must not see
      windows     for each size some [start, end] in seconds since 1970; one packet went to the web and back in each

Written from docs/PROTOCOL.md, sections 4 and 6, with nothing of the project's code.
"""
import ipaddress
import json
import struct
import sys

PORT = 4400
DIRECTORY_PORT = 8400
LINK_INIT, LINK_INIT_BYTES = 1, 192
ETHERNET, UDP_BYTES = 14, 8
RUN = 16
DATA_DATAGRAMS = 100    # a link with so many carried data and not only PINGs


def frames(path):
    """(time, frame) of a capture of an Ethernet interface."""
    with open(path, "rb") as file:
        magic, _, _, _, _, _, link = struct.unpack("<IHHiIII", file.read(24))
        if magic != 0xa1b2c3d4 or link != 1:
            raise SystemExit(f"{path}: no Ethernet capture of this machine")
        while head := file.read(16):
            seconds, micros, kept, _ = struct.unpack("<IIII", head)
            yield seconds + micros / 1e6, file.read(kept)


def datagram(frame):
    """(source, target, payload, its length on the wire) of a datagram to or from PORT over IPv4; else None."""
    if frame[12:14] != b"\x08\x00" or frame[23] != 17:
        return None
    at = ETHERNET + (frame[ETHERNET] & 15) * 4
    source, target, size = struct.unpack_from("!HHH", frame, at)
    if PORT not in (source, target):
        return None
    return (str(ipaddress.ip_address(frame[26:30])), str(ipaddress.ip_address(frame[30:34])),
            frame[at + UDP_BYTES:], size - UDP_BYTES)


def links(path, client):
    datagrams, keyids = {}, {}
    for source, target, data, size in filter(None, (datagram(frame) for _, frame in frames(path))):
        if source != client:
            continue
        link, kind = struct.unpack_from("!IB", data)
        if link == 0 and kind == LINK_INIT and size == LINK_INIT_BYTES:
            seen = keyids.setdefault(target, [])
            (keyid,) = struct.unpack_from("!H", data, 6)
            if keyid not in seen:
                seen.append(keyid)
        elif link:
            datagrams[target, link] = datagrams.get((target, link), 0) + 1
    carried = [key for key, count in datagrams.items() if count >= DATA_DATAGRAMS]
    print(json.dumps({"links": len(carried), "keyids": keyids}))


def is_directory(frame, client, authority):
    """HTTP between the client and an authority that is its neighbour, which it therefore asks directly."""
    if frame[12:14] != b"\x08\x00" or frame[23] != 6:
        return False
    ports = struct.unpack_from("!HH", frame, ETHERNET + (frame[ETHERNET] & 15) * 4)
    ends = {ipaddress.ip_address(one).packed for one in (client, authority)}
    return DIRECTORY_PORT in ports and {frame[26:30], frame[30:34]} == ends


def check_uplink(path, client, first_hops, authority):
    """Nothing leaves or enters but datagrams of first hops, and what a link needs to find its neighbours."""
    count = 0
    for _, frame in frames(path):
        kind = frame[12:14]
        if kind == b"\x08\x06" or (kind == b"\x86\xdd" and frame[20] == 58):
            continue            # ARP; neighbour discovery
        if is_directory(frame, client, authority):
            continue
        seen = datagram(frame)
        if not seen or {seen[0], seen[1]} - {client} - set(first_hops):
            raise SystemExit(f"the client's uplink has a strange frame: {frame[:80].hex()}")
        count += 1
    if not count:
        raise SystemExit("nothing was captured on the client's uplink")
    print(f"uplink: {count} datagrams, all with {' '.join(first_hops)}")


def check_middle(path, forbidden):
    for address in forbidden:
        packed = ipaddress.ip_address(address).packed
        for _, frame in frames(path):
            if packed in frame:
                raise SystemExit(f"the middle relay sees {address}: {frame[:80].hex()}")


def sizes_of(captures, way, start, end):
    """The lengths of the datagrams on each link of a way at that time."""
    sizes = []
    for source, target in zip(way, way[1:]):
        found = (datagram(frame) for at, frame in frames(captures[target]) if start <= at <= end)
        sizes.append(sorted(one[3] for one in found if one and one[:2] == (source, target)))
    return sizes


def check_lengths(captures, path, windows):
    """One packet has one length on all links, there and back. A frame between neighbours may fall into a window, so
    one of those of a size must be clean."""
    for tries in windows:
        sizes = [sizes_of(captures, path, *one) + sizes_of(captures, path[::-1], *one) for one in tries]
        clean = [one for one in sizes if len(one[0]) == 1 and all(link == one[0] for link in one)]
        if not clean:
            raise SystemExit(f"one packet, there and back, had these lengths on the links: {sizes}")
        print("one packet, there and back:", *clean[0][0], "bytes on each link")


def check_runs(captures):
    """No RUN bytes in a row stand on two links, be it data, control or handshake."""
    links_of, where = {}, {}
    for path in captures.values():
        for source, target, data, _ in filter(None, (datagram(frame) for _, frame in frames(path))):
            links_of.setdefault(frozenset((source, target)), set()).add(data)
    for link, payloads in links_of.items():
        for data in payloads:
            data = data.removesuffix(bytes(RUN))    # the mac2 that a handshake does not have
            for at in range(len(data) - RUN + 1):
                run = data[at:at + RUN]
                other = where.setdefault(run, link)
                if other != link:
                    raise SystemExit(f"{run.hex()} stands on {sorted(link)} and on {sorted(other)}")
    print(f"{len(links_of)} links, {len(where)} runs of {RUN} bytes, none on two links")


def watch(path):
    with open(path, encoding="utf-8") as file:
        what = json.load(file)
    captures, way = what["captures"], what["path"]
    check_uplink(captures[way[0]], way[0], what["first_hops"], what["authority"])
    check_middle(captures[way[2]], what["forbidden"])
    check_lengths(captures, way, what["windows"])
    check_runs(captures)


if __name__ == "__main__":
    {"links": links, "watch": watch}[sys.argv[1]](*sys.argv[2:])
