#!/usr/bin/python3
"""What a client's captured uplink says: the links that it opened and what went over them, the onion keys' numbers.

  live_wire.py links CAPTURE CLIENT    JSON: links that carried data, and each relay's keyids in LINK_INIT, in order

Written from docs/PROTOCOL.md, section 4. A capture of 64 bytes a packet is enough.
"""
import ipaddress
import json
import struct
import sys

PORT = 4400
LINK_INIT, LINK_INIT_BYTES = 1, 192
ETHERNET, UDP_BYTES = 14, 8
DATA_DATAGRAMS = 100    # a link with so many carried data and not only PINGs


def udp(path):
    """(source, target, payload, its length on the wire) of IPv4 UDP in a capture of an Ethernet interface."""
    with open(path, "rb") as file:
        magic, _, _, _, _, _, link = struct.unpack("<IHHiIII", file.read(24))
        if magic != 0xa1b2c3d4 or link != 1:
            raise SystemExit(f"{path}: no Ethernet capture of this machine")
        while head := file.read(16):
            _, _, kept, _ = struct.unpack("<IIII", head)
            frame = file.read(kept)
            if frame[12:14] != b"\x08\x00" or frame[23] != 17:
                continue
            at = ETHERNET + (frame[ETHERNET] & 15) * 4
            source, target, size = struct.unpack_from("!HHH", frame, at)
            if PORT in (source, target):
                yield (str(ipaddress.ip_address(frame[26:30])), str(ipaddress.ip_address(frame[30:34])),
                       frame[at + UDP_BYTES:], size - UDP_BYTES)


def links(path, client):
    datagrams, keyids = {}, {}
    for source, target, data, size in udp(path):
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


if __name__ == "__main__":
    {"links": links}[sys.argv[1]](*sys.argv[2:])
