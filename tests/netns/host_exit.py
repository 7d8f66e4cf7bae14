#!/usr/bin/python3
"""An exit's forwarding: what passes, what does not, and that the host is the same afterwards."""
import ipaddress
import os
import socket
import struct
import sys

from host_lab import run, sh

EXIT = "one exit0 1371 10.88.0.0/16 10.88.0.1 fd88::/64 fd88::1"
TRACKER = os.path.join(os.path.dirname(os.path.realpath(__file__)), "conntrack.py")
TARGET4, TARGET6 = "203.0.113.7", "2001:db8:113::7"


def fold(data):
    data = bytes(data) + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


def pseudo(src, dst, proto, n):
    return (ipaddress.ip_address(src).packed + ipaddress.ip_address(dst).packed + struct.pack("!IHH", n, 0, proto))


def ip(src, dst, proto, body):
    if ":" in src:
        return (struct.pack("!IHBB", 0x60000000, len(body), proto, 64) + ipaddress.ip_address(src).packed +
                ipaddress.ip_address(dst).packed + body)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, proto, 0)
    head += ipaddress.ip_address(src).packed + ipaddress.ip_address(dst).packed
    return head[:10] + struct.pack("!H", 0xffff - fold(head)) + head[12:] + body


def udp(src, dst, sport, dport, data, checksum="full"):
    n = 8 + len(data)
    head = struct.pack("!HHHH", sport, dport, n, 0)
    known = fold(pseudo(src, dst, 17, n))
    if checksum == "full":
        known = 0xffff - fold(pseudo(src, dst, 17, n) + head + data) or 0xffff
    return ip(src, dst, 17, head[:6] + struct.pack("!H", known) + data)


def echo_request(src, dst):
    kind, proto = (128, 58) if ":" in src else (8, 1)
    body = struct.pack("!BBHHH", kind, 0, 0, 7, 1) + b"ping"
    extra = pseudo(src, dst, 58, len(body)) if proto == 58 else b""
    return ip(src, dst, proto, body[:2] + struct.pack("!H", 0xffff - fold(extra + body)) + body[4:])


def read(d):
    """(open, packet) of the next packet that is no multicast of the kernel's (a forwarding host reports its groups)."""
    while True:
        line = d.ok("read")[-1].split()
        p = bytes.fromhex(line[2])
        if p[0] >> 4 != 6 or p[24] != 0xff:
            return line[1] == "1", p


def expect_echo(d, src, dst, data, dport=7, to=4000):
    is_open, p = read(d)
    at = 40 if ":" in src else 20
    sport, port = struct.unpack("!HH", p[at:at + 4])
    assert p[at + 8:] == data and sport == dport and port == to, p.hex()
    known = struct.unpack("!H", p[at + 6:at + 8])[0]
    if is_open:
        assert known == fold(pseudo(dst, src, 17, len(p) - at))
    else:
        assert fold(pseudo(dst, src, 17, len(p) - at) + p[at:]) == 0xffff
    return is_open


def up(d, whole=""):
    d.ok("check-exit " + EXIT)
    d.ok("tun exit0 1" + whole)
    d.ok("exit " + EXIT)


def own_ports_stay_the_relays(lab):
    """The relay's own UDP is not tracked, so a client's must not leave with the relay's port: it would get no answer.
    All sides of a port are tried: where it is the least, an odd one, the last."""
    before = lab.state()
    for own in (1, 443, 4400, 65535):
        d = lab.driver()
        d.ok(f"own 198.51.100.2:{own} [2001:db8:100::2]:{own}")
        up(d)
        assert sh("nft list ruleset").count("notrack") == 4
        for src, dst in (("10.88.0.5", TARGET4), ("fd88::5", TARGET6)):
            for sport in {max(own - 1, 1), own, min(own + 1, 65535), 123, 50000}:
                d.ok("send " + udp(src, dst, sport, 7, b"%d" % sport).hex())
                expect_echo(d, src, dst, b"%d" % sport, to=sport)
            for line in tracked():
                sport, outside = int(line.split()[2]), int(line.split()[5])
                assert outside == sport or sport == own, f"a needless change: {line}"
                assert outside != own, line
            sh(TRACKER + " flush")
        relay(lab, own)
        down(d)
        lab.same(before, f"a relay at port {own}")


def relay(lab, own):
    """It is reached, and reaches others, without an entry; what passes through its host has one."""
    sh(TRACKER + " flush")
    for family, here, there in ((socket.AF_INET, "198.51.100.2", TARGET4), (socket.AF_INET6, "2001:db8:100::2", TARGET6)):
        with socket.socket(family, socket.SOCK_DGRAM) as s:
            s.bind((here, own))
            s.settimeout(3)
            s.sendto(b"relay", (there, 7))
            assert s.recv(100) == b"relay"
            assert tracked() == [], tracked()
            s.sendto(b"relay", (there, 7))
        with socket.socket(family, socket.SOCK_DGRAM) as s:
            s.settimeout(3)
            s.sendto(b"other", (there, 7))
            assert s.recv(100) == b"other"
            assert len(tracked()) == 1, tracked()
        sh(TRACKER + " flush")


def tracked():
    return [line for line in sh(TRACKER + " list").splitlines() if line.startswith("udp")]


def answers_itself(lab):
    """The kernel puts the local IPv6 route in from a work queue, a moment after the address."""
    lab.until(lambda: "local fd88::1" in sh("ip -6 route show table local"))


def down(d):
    said = d.ok("undo")
    d.ok("untun")
    d.close()
    return said


def up_and_down(lab):
    sh("sysctl -qw net.ipv4.conf.all.accept_redirects=0; sysctl -qw net.ipv4.conf.lo.forwarding=1;"
       "sysctl -qw net.ipv6.conf.lo.forwarding=1")
    before = lab.state()
    d = lab.driver()
    up(d)
    for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv6.conf.up0.forwarding"):
        assert sh(f"sysctl -n {name}").strip() == "1", name
    assert sh("sysctl -n net.ipv6.conf.up0.accept_ra").strip() == "2"
    table = sh("nft list table inet sispopnet_exit_one")
    for rule in ('ip saddr 10.88.0.0/16 oifname != "exit0" masquerade', 'ip6 saddr fd88::/64 accept',
                 'oifname "exit0" ct state established,related accept', 'iifname "exit0" oifname "exit0" drop'):
        assert rule in table, (rule, table)
    assert "10.88.0.0/16 dev exit0" in sh("ip route") and "fd88::/64 dev exit0" in sh("ip -6 route")
    assert down(d) == []
    lab.same(before, "up and down")


def killed_at_every_step(lab):
    before = lab.state()
    d = lab.driver()
    up(d)
    d.ok("undo")
    total = d.number("hooks")
    d.ok("untun")
    d.close()
    assert total > 30
    for n in range(1, total + 1):
        d = lab.driver()
        d.ok(f"die {n}")
        for command in ("tun exit0 1", "exit " + EXIT, "undo"):
            if d.ask(command)[0] == "dead":
                break
        else:
            raise AssertionError(f"step {n} was never reached")
        d.p.wait()
        assert lab.cleanup() == []
        lab.same(before, f"killed at step {n} of {total}")


def forwards_and_masquerades(lab):
    """The peer knows no way back to the ranges: an answer proves the masquerading. Without transmit offload the
    kernel completes what we left open, and the peer checks it."""
    sh("ethtool -K up0 tx off >/dev/null")
    for whole in ("", " whole"):
        forward_some(lab, whole)
    sh("ethtool -K up0 tx on >/dev/null")


def forward_some(lab, whole):
    d = lab.driver()
    up(d, whole)
    for src, dst in (("10.88.0.5", TARGET4), ("fd88::5", TARGET6)):
        d.ok("send " + udp(src, dst, 4000, 7, b"complete").hex())
        expect_echo(d, src, dst, b"complete")
        d.ok("send-open " + udp(src, dst, 4000, 7, b"left open", "open").hex())
        expect_echo(d, src, dst, b"left open")
        wrong = bytearray(udp(src, dst, 4000, 7, b"wrong"))
        wrong[-1] ^= 1
        d.ok("send " + wrong.hex())
        d.ok("send " + udp(src, dst, 4000, 7, b"after").hex())
        is_open = expect_echo(d, src, dst, b"after")
        assert not (whole and is_open)
    down(d)


def hands_over_open_checksums(lab):
    d = lab.driver()
    up(d)
    answers_itself(lab)
    opened = []
    for src, dst in (("10.88.0.5", "10.88.0.1"), ("fd88::5", "fd88::1")):
        d.ok("send " + echo_request(src, dst).hex())
        _, p = read(d)
        at = 40 if ":" in src else 20
        assert p[at] == (129 if ":" in src else 0), "the exit answers a ping"
    for src, dst in (("10.88.0.5", TARGET4), ("fd88::5", TARGET6)):
        d.ok("send " + udp(src, dst, 4000, 7, b"veth").hex())
        opened.append(expect_echo(d, src, dst, b"veth"))
    assert opened == [True, True], "a packet of this machine's own comes with its checksum open"
    down(d)


def refuses_what_is_not_a_clients(lab):
    """Each refused packet is followed by a good one, whose answer must be the first thing that comes back."""
    d = lab.driver()
    up(d)
    lab.say_peer("ip route add 10.88.0.0/16 via 198.51.100.2; ip -6 route add fd88::/64 via 2001:db8:100::2;"
                 "ip route add 10.77.0.0/16 via 198.51.100.2; ip -6 route add fd77::/64 via 2001:db8:100::2")
    sh("ip route add 10.77.0.0/16 dev exit0; ip -6 route add fd77::/64 dev exit0")  # so that an answer would show
    bad = [udp("10.77.0.5", TARGET4, 4000, 7, b"bad"), udp("fd77::5", TARGET6, 4000, 7, b"bad"),
           udp("10.88.0.5", "10.88.0.9", 4000, 7, b"bad"), udp("fd88::5", "fd88::9", 4000, 7, b"bad"),
           udp("10.88.0.5", "198.51.100.2", 4000, 7, b"bad"), udp("fd88::5", "2001:db8:100::2", 4000, 7, b"bad")]
    for n, packet in enumerate(bad):
        d.ok("send " + packet.hex())
        d.ok("send " + udp("10.88.0.5", TARGET4, 4000, 7, b"good%d" % n).hex())
        expect_echo(d, "10.88.0.5", TARGET4, b"good%d" % n)
    for family, lease in (("AF_INET", "10.88.0.5"), ("AF_INET6", "fd88::5")):
        lab.say_peer(f"{sys.executable} -c 'import socket as s; "
                     f"s.socket(s.{family}, s.SOCK_DGRAM).sendto(b\"new\", (\"{lease}\", 4000))'")
        d.ok("send " + udp("10.88.0.5", TARGET4, 4000, 7, b"last").hex())
        expect_echo(d, "10.88.0.5", TARGET4, b"last")
    lab.say_peer("ip route del 10.88.0.0/16; ip -6 route del fd88::/64;"
                 "ip route del 10.77.0.0/16; ip -6 route del fd77::/64")
    down(d)


def one_family_only(lab):
    before = lab.state()
    d = lab.driver()
    d.ok("tun exit0 1")
    d.ok("exit one exit0 1371 10.88.0.0/16 10.88.0.1 - -")
    assert sh("sysctl -n net.ipv6.conf.all.forwarding").strip() == "0"
    assert down(d) == []
    lab.same(before, "IPv4 only")


def already_forwarding(lab):
    sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    before = lab.state()
    d = lab.driver()
    up(d)
    assert down(d) == []
    lab.same(before, "a host that forwards anyway")
    sh("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")


def default_route_of_an_advertisement_stays(lab):
    advertise = ("import socket as s; r = s.socket(s.AF_INET6, s.SOCK_RAW, 58); "
                 "r.setsockopt(41, 18, 255); "  # hop limit of multicast
                 "r.setsockopt(41, 17, s.if_nametoindex(\"peer0\")); "
                 "r.sendto(bytes([134, 0, 0, 0, 64, 0, 7, 8]) + bytes(8), (\"ff02::1\", 0))")
    lab.say_peer(f"{sys.executable} -c '{advertise}'")
    lab.until(lambda: "proto ra" in sh("ip -6 route show default"))
    before = lab.state()
    d = lab.driver()
    up(d)
    assert "proto ra" in sh("ip -6 route show default"), "the default route was lost"
    assert down(d) == []
    lab.same(before, "router advertisements")


def conflicts_are_refused(lab):
    before = lab.state()
    d = lab.driver()
    d.refused("check-exit one exit0 1371 198.51.0.0/16 198.51.0.1 - -", 16, "198.51.100.0/24")
    d.refused("check-exit one exit0 1371 - - 2001:db8:100::/48 2001:db8:100::1", 16, "2001:db8:100::/64")
    d.refused("check-exit one up0 1371 10.88.0.0/16 10.88.0.1 - -", 16, "up0")
    d.refused("check-exit on;e exit0 1371 10.88.0.0/16 10.88.0.1 - -", 22, "on;e")
    d.refused("check-exit one exit0 1371 10.88.0.0/16 10.89.0.1 - -", 22, "range")
    d.refused("check-exit one exit0 1371 - - - -", 22, "range")
    d.refused("check-exit one exit0 500 10.88.0.0/16 10.88.0.1 - -", 22, "1280")
    sh("nft add table inet sispopnet_exit_one")
    d.refused("check-exit " + EXIT, 16, "sispopnet_exit_one")
    sh("nft delete table inet sispopnet_exit_one")
    assert d.number("changes") == 0
    d.close()
    lab.same(before, "refusals")


def only_net_admin_is_needed(lab):
    before = lab.state()
    d = lab.driver(wrap=("setpriv", "--bounding-set", "-all,+net_admin", "--inh-caps", "-all", "--no-new-privs"))
    up(d)
    assert down(d) == []
    lab.same(before, "CAP_NET_ADMIN alone")


run([up_and_down, killed_at_every_step, forwards_and_masquerades, own_ports_stay_the_relays, hands_over_open_checksums,
     refuses_what_is_not_a_clients, one_family_only, already_forwarding, default_route_of_an_advertisement_stays,
     conflicts_are_refused, only_net_admin_is_needed])
sys.exit(0)
