"""tests/peer/packets.py - inner packets made and read by hand: IPv4, IPv6, ICMP, UDP."""
import ipaddress
import struct

ICMP4, UDP, ICMP6 = 1, 17, 58


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ip_packet(source, destination, protocol, payload):
    source, destination = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    if source.version == 6:
        return struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + source.packed + destination.packed + payload
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0)
    head += source.packed + destination.packed
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + payload


def pseudo(source, destination, protocol, size):
    source, destination = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    return source.packed + destination.packed + struct.pack(">II", size, protocol)


def echo_request(source, destination, number, data):
    v6 = ipaddress.ip_address(source).version == 6
    kind, protocol = (128, ICMP6) if v6 else (8, ICMP4)
    message = struct.pack(">BBHHH", kind, 0, 0, 0x5350, number) + data
    extra = pseudo(source, destination, protocol, len(message)) if v6 else b""
    message = message[:2] + checksum(extra + message).to_bytes(2, "big") + message[4:]
    return ip_packet(source, destination, protocol, message)


def udp(source, destination, source_port, destination_port, data):
    size = 8 + len(data)
    head = struct.pack(">HHHH", source_port, destination_port, size, 0)
    total = checksum(pseudo(source, destination, UDP, size) + head + data) or 0xffff
    return ip_packet(source, destination, UDP, head[:6] + total.to_bytes(2, "big") + data)


def payload(packet):
    """(source, destination, protocol, bytes behind the IP header)"""
    if packet[0] >> 4 == 4:
        source, destination = packet[12:16], packet[16:20]
        protocol, rest = packet[9], packet[4 * (packet[0] & 15):]
    else:
        source, destination, protocol, rest = packet[8:24], packet[24:40], packet[6], packet[40:]
    return str(ipaddress.ip_address(source)), str(ipaddress.ip_address(destination)), protocol, rest


def icmp(packet):
    """(type, code, source) of an ICMP message, else None."""
    source, _, protocol, rest = payload(packet)
    return (rest[0], rest[1], source) if protocol in (ICMP4, ICMP6) else None


def is_echo_reply(packet, number, data):
    _, _, protocol, rest = payload(packet)
    return (protocol, rest[0]) in ((ICMP4, 0), (ICMP6, 129)) and rest[6:8] == number.to_bytes(2, "big") \
        and rest[8:] == data


def is_udp(packet, destination_port, data):
    _, _, protocol, rest = payload(packet)
    return protocol == UDP and rest[2:4] == destination_port.to_bytes(2, "big") and rest[8:] == data
