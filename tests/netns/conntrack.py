#!/usr/bin/python3
"""The connection tracker of this network namespace, by ctnetlink.

  conntrack.py list    one entry a line: PROTOCOL SOURCE PORT DESTINATION PORT PORT-ANSWERED-TO (0 where there is none)
  conntrack.py flush   forget all
  conntrack.py fill    put in entries that the kernel does not drop early (assured ones), until it takes no more

The limit is one number for the machine, but counted in each namespace: filling one takes nothing from the others.
"""
import errno
import ipaddress
import os
import socket
import struct
import sys

NETLINK_NETFILTER = 12
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE, NLM_F_DUMP = 1, 4, 0x200, 0x400, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
CT_NEW, CT_GET, CT_DELETE = 0x100, 0x101, 0x102
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_STATUS, CTA_TIMEOUT = 1, 2, 3, 7
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT = 1, 2, 3
NESTED = 0x8000
SEEN_REPLY, ASSURED, CONFIRMED = 2, 4, 8
ENTRY_SECONDS = 600
BATCH = 256
SHAPE = struct.Struct("=IHHII")


def open_netlink():
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    sock.bind((0, 0))
    return sock


def message(kind, flags, body=b"", family=socket.AF_UNSPEC):
    body = struct.pack("=BBH", family, 0, 0) + body
    return SHAPE.pack(SHAPE.size + len(body), kind, flags | NLM_F_REQUEST, 1, 0) + body


def attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def messages(data):
    while len(data) >= SHAPE.size:
        length, kind, _, _, _ = SHAPE.unpack_from(data)
        yield kind, data[SHAPE.size:length]
        data = data[(length + 3) & ~3:]


def attributes(data):
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        found[kind & 0x3fff] = data[4:length]
        data = data[(length + 3) & ~3:]
    return found


def error_of(body):
    return -struct.unpack_from("=i", body)[0]


def entries():
    sock = open_netlink()
    sock.send(message(CT_GET, NLM_F_DUMP))
    while True:
        for kind, body in messages(sock.recv(1 << 20)):
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                raise OSError(error_of(body), os.strerror(error_of(body)))
            known = attributes(body[4:])
            proto, ends, ports = one_tuple(known[CTA_TUPLE_ORIG])
            yield proto, ends[0], ports[0], ends[1], ports[1], one_tuple(known[CTA_TUPLE_REPLY])[2][1]


def one_tuple(data):
    parts = attributes(data)
    ends = [str(ipaddress.ip_address(ip)) for _, ip in sorted(attributes(parts[CTA_TUPLE_IP]).items())]
    proto = attributes(parts[CTA_TUPLE_PROTO])
    ports = [int.from_bytes(proto.get(p, b"\0"), "big") for p in (CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT)]
    return proto[CTA_PROTO_NUM][0], ends, ports


def flush():
    sock = open_netlink()
    sock.send(message(CT_DELETE, NLM_F_ACK))
    for kind, body in messages(sock.recv(1 << 16)):
        if kind == NLMSG_ERROR and error_of(body):
            raise OSError(error_of(body), os.strerror(error_of(body)))


def one_way(source, destination, sport, dport):
    ip = attribute(1, source) + attribute(2, destination)
    proto = (attribute(CTA_PROTO_NUM, bytes([socket.IPPROTO_UDP])) +
             attribute(CTA_PROTO_SRC_PORT, struct.pack("!H", sport)) +
             attribute(CTA_PROTO_DST_PORT, struct.pack("!H", dport)))
    return attribute(CTA_TUPLE_IP | NESTED, ip) + attribute(CTA_TUPLE_PROTO | NESTED, proto)


def entry(number):
    """192.0.2.1 to 192.0.2.2 and following, from every port."""
    source, destination = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2 + number // 60000])
    sport = 1 + number % 60000
    return message(CT_NEW, NLM_F_CREATE | NLM_F_EXCL, family=socket.AF_INET, body=(
        attribute(CTA_TUPLE_ORIG | NESTED, one_way(source, destination, sport, 9)) +
        attribute(CTA_TUPLE_REPLY | NESTED, one_way(destination, source, 9, sport)) +
        attribute(CTA_STATUS, struct.pack("!I", SEEN_REPLY | ASSURED | CONFIRMED)) +
        attribute(CTA_TIMEOUT, struct.pack("!I", ENTRY_SECONDS))))


def limit():
    with open("/proc/sys/net/netfilter/nf_conntrack_max", encoding="ascii") as file:
        return int(file.read())


def fill():
    """Returns how many went in; the kernel says ENOMEM when the table is full."""
    sock = open_netlink()
    sock.setblocking(False)
    most = limit()
    if not most:
        raise OSError(errno.EINVAL, "nf_conntrack_max is 0: this machine's tables have no limit")
    for first in range(0, most + BATCH, BATCH):
        sock.send(b"".join(entry(n) for n in range(first, first + BATCH)))
        try:
            for kind, body in messages(sock.recv(1 << 20)):
                if kind == NLMSG_ERROR and error_of(body) == errno.ENOMEM:
                    return first
                if kind == NLMSG_ERROR and error_of(body):
                    raise OSError(error_of(body), os.strerror(error_of(body)))
        except BlockingIOError:
            pass
    raise OSError(errno.ERANGE, f"the table takes more than its {most} entries")


def main(verb):
    if verb == "list":
        for proto, *ends in entries():
            print({socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp"}.get(proto, proto), *ends)
    elif verb == "flush":
        flush()
    elif verb == "fill":
        print(fill())
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
