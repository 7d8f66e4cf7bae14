#!/usr/bin/python3
"""What headers say, read from captures of tcpdump.

  speed_header.py outer VERSION LEAST CAPTURE...   the onion network's datagrams: one header for all of them, whatever is
                                                   inside; at least LEAST in each capture, all of this IP version
  speed_header.py ecn NEAR FAR                     TCP to port 80 at the sender's and the receiver's end, both ways: each
                                                   byte arrives under the ECN codepoint that it was sent under
"""
import collections
import struct
import sys

RELAY_PORT, WEB_PORT = 4400, 80
ETHERNET, RAW = 1, 101
NOT_ECT, ECT1, ECT0, CE = range(4)
SYN, CWR, ECE = 0x02, 0x80, 0x40


def packets(path):
    """IP packets of a capture, as far as it has them; headers are enough."""
    with open(path, "rb") as file:
        magic, _, _, _, _, _, link = struct.unpack("<IHHiIII", file.read(24))
        if magic != 0xa1b2c3d4 or link not in (ETHERNET, RAW):
            raise SystemExit(f"{path}: no capture of this machine")
        while head := file.read(16):
            data = file.read(struct.unpack("<IIII", head)[2])
            if link == ETHERNET:
                if data[12:14] not in (b"\x08\x00", b"\x86\xdd"):
                    continue
                data = data[14:]
            yield data


# --- outside --------------------------------------------------------------------------------------

def wrong4(ip):
    head, tos, _, _, fragment, ttl, proto = struct.unpack_from("!BBHHHBB", ip)
    for what, is_, wanted in (("version and header length", head, 0x45), ("DSCP and ECN", tos, 0), ("TTL", ttl, 64),
                              ("DF and fragment", fragment, 0x4000), ("protocol", proto, 17)):
        if is_ != wanted:
            return f"{what} {is_:#x} instead of {wanted:#x}"
    return None


def wrong6(ip):
    first, _, proto, hops = struct.unpack_from("!IHBB", ip)
    for what, is_, wanted in (("traffic class and flow label", first, 0x60000000), ("next header", proto, 17),
                              ("hop limit", hops, 64)):
        if is_ != wanted:
            return f"{what} {is_:#x} instead of {wanted:#x}"
    return None


def outer(version, least, *paths):
    for path in paths:
        count = 0
        for ip in packets(path):
            if ip[0] >> 4 != int(version):
                raise SystemExit(f"{path}: a datagram of IPv{ip[0] >> 4}")
            at = 40 if version == "6" else (ip[0] & 15) * 4
            wrong = wrong6(ip) if version == "6" else wrong4(ip)
            if wrong:
                raise SystemExit(f"{path}: datagram {count}: {wrong}")
            if RELAY_PORT not in struct.unpack_from("!HH", ip, at):
                raise SystemExit(f"{path}: datagram {count} is not the onion network's")
            count += 1
        if count < int(least):
            raise SystemExit(f"{path}: only {count} datagrams")


# --- inside ---------------------------------------------------------------------------------------

class Flow:
    """One way of a connection: for each of its bytes the codepoints that it was seen under, as bits."""

    def __init__(self):
        self.start, self.masks, self.flags = None, bytearray(), collections.Counter()

    def take(self, seq, flags, ecn, n):
        if flags & SYN:
            self.start = seq + 1
            self.flags["negotiates"] += bool(flags & ECE)
        if n == 0 or self.start is None:
            return
        at = (seq - self.start) & 0xffffffff
        if at + n > len(self.masks):
            self.masks.extend(bytes(at + n - len(self.masks)))
        for i in range(at, at + n):
            self.masks[i] |= 1 << ecn
        self.flags["CWR"] += bool(flags & CWR)


def flows(path):
    """(forward, backward) of each connection, in the order of their beginnings."""
    found = {}
    for ip in packets(path):
        if ip[0] >> 4 == 4:
            at, proto, mark = (ip[0] & 15) * 4, ip[9], ip[1]
            end = struct.unpack_from("!H", ip, 2)[0]
        else:
            at, proto, mark = 40, ip[6], (ip[0] << 4 | ip[1] >> 4) & 0xff
            end = struct.unpack_from("!H", ip, 4)[0] + 40
        if proto != 6:
            continue
        source, target, seq, _, offset, flags = struct.unpack_from("!HHIIBB", ip, at)
        back = source == WEB_PORT
        pair = found.setdefault((ip[0] >> 4, target if back else source), (Flow(), Flow()))
        pair[back].take(seq, flags, mark & 3, end - at - (offset >> 4) * 4)
    return list(found.values())


def judge(words, sent, came):
    """The entry's own queue may mark what waited (ECT becomes CE), as any router's may; nothing else may change."""
    pairs = collections.Counter(zip(sent.masks, came.masks))
    total = collections.Counter()
    for (there, here), n in pairs.items():
        for codepoint in (NOT_ECT, ECT1, ECT0, CE):
            bit = 1 << codepoint
            if here & bit and not there & bit:
                if codepoint != CE or not there & (1 << ECT0 | 1 << ECT1):
                    raise SystemExit(f"{words}: {n} bytes sent as {there:#x} came as {here:#x}")
                total["marked on the way"] += n
            elif here & bit:
                total[("Not-ECT", "ECT(1)", "ECT(0)", "CE")[codepoint]] += n
    if len(sent.masks) != len(came.masks):
        raise SystemExit(f"{words}: {len(sent.masks)} bytes were sent, {len(came.masks)} came")
    if came.flags["CWR"] > sent.flags["CWR"]:
        raise SystemExit(f"{words}: {sent.flags['CWR']} packets say CWR, and {came.flags['CWR']} where they come out")
    if not came.flags["negotiates"]:
        raise SystemExit(f"{words}: ECN was not negotiated")
    print(f"{words}: {dict(total)}, CWR {came.flags['CWR']}")
    return total


def ecn(near, far):
    """NEAR is the client's end, FAR web's."""
    client, web = flows(near), flows(far)
    if len(client) != len(web) or not client:
        raise SystemExit(f"{len(client)} connections at one end and {len(web)} at the other")
    total = collections.Counter()
    for number, (one, other) in enumerate(zip(client, web)):
        total += judge(f"connection {number}, forward", one[0], other[0])
        total += judge(f"connection {number}, backward", other[1], one[1])
    if not total["CE"] or not total["ECT(0)"]:
        raise SystemExit(f"nothing was marked, so this shows nothing: {dict(total)}")


if __name__ == "__main__":
    {"outer": outer, "ecn": ecn}[sys.argv[1]](*sys.argv[2:])
