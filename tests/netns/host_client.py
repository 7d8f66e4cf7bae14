#!/usr/bin/python3
"""A client's set-up and its undo: the host is the same afterwards, also after kill -9 at every step."""
import os
import socket
import struct
import subprocess
import sys

from host_lab import MS_BIND, mount, run, sh, umount

TABLE = MARK = 0x73697370
V4, V6 = "10.99.7.2", "fd00:99::2"
CLIENT = f"sisp0 1371 {V4} {V6} {TABLE} {MARK}"


TRACKER = os.path.join(os.path.dirname(os.path.realpath(__file__)), "conntrack.py")
OWN4, OWN6 = 40004, 40006     # the daemon's ports
OWN = f"own 0.0.0.0:{OWN4} [::]:{OWN6}"


def up(d, lab, dns=True, client=CLIENT):
    d.ok("check-client " + client)
    d.ok("tun sisp0 2")
    d.ok("client " + client)
    if dns:
        d.ok(f"dns {lab.resolv} 10.99.0.53 fd00:99::53")


def down(d):
    said = d.ok("undo")
    d.ok("untun")
    assert d.number("changes") == 0
    d.close()
    return said


def route(to, mark=0):
    return sh(f"ip route get {to} mark {mark}", check=False)


def unreachable(to):
    told = route(to)
    return "unreachable" in told or "No route to host" in told


def up_and_down(lab):
    before = lab.state()
    d = lab.driver()
    up(d, lab)
    for to, mine in (("192.0.2.1", V4), ("2001:db8:200::1", V6)):
        assert "dev sisp0" in route(to) and mine in route(to), route(to)
        assert "dev up0" in route(to, MARK), route(to, MARK)
    assert "dev up0" in route("198.51.100.9"), "the local network stays reachable"
    assert "dev up0" in route("2001:db8:100::9")
    assert "mtu 1371" in sh("ip link show sisp0")
    assert "fe80" not in sh("ip -6 addr show dev sisp0"), "no link-local address"
    assert sh("ip route show table main").count("\n") == 2, "nothing is added to the main table"
    assert "10.99.7.2" in sh("nft list table inet sispopnet_sisp0")
    assert "meta mark set" not in sh("nft list ruleset"), "rp_filter is not strict here"
    with open(lab.resolv) as f:
        text = f.read()
    assert text.startswith("# Written by") and text.endswith("nameserver 10.99.0.53\nnameserver fd00:99::53\n")
    assert d.number(f"ours {lab.resolv}") == 1
    assert down(d) == []
    lab.same(before, "up and down")
    assert not os.path.exists(lab.journal)


def undo_after_the_tun_is_gone(lab):
    before = lab.state()
    d = lab.driver()
    up(d, lab)
    d.ok("untun")
    d.ok("undo")
    d.close()
    lab.same(before, "TUN closed first")


def fails_closed_when_killed(lab):
    before = lab.state()
    d = lab.driver()
    up(d, lab)
    d.kill()
    for to in ("192.0.2.1", "2001:db8:200::1"):
        assert unreachable(to), route(to)
        assert "dev up0" in route(to, MARK)
    lab.cleanup()
    lab.same(before, "killed while up")


def killed_at_every_step(lab):
    before = lab.state()
    d = lab.driver()
    up(d, lab)
    down_from = d.number("hooks")
    d.ok("undo")
    total = d.number("hooks")
    d.ok("untun")
    d.close()
    assert down_from > 20 and total > down_from
    for n in range(1, total + 1):
        d = lab.driver()
        d.ok(f"die {n}")
        for command in (f"tun sisp0 2", f"client {CLIENT}", f"dns {lab.resolv} 10.99.0.53 fd00:99::53", "undo"):
            if d.ask(command)[0] == "dead":
                break
        else:
            raise AssertionError(f"step {n} was never reached")
        d.p.wait()
        said = lab.cleanup()
        assert said == [], f"step {n}: {said}"
        lab.same(before, f"killed at step {n} of {total}")


def cleanup_killed_at_every_step(lab):
    before = lab.state()
    n = 0
    while True:
        n += 1
        d = lab.driver()
        up(d, lab)
        d.kill()
        d = lab.driver()
        d.ok(f"die {n}")
        dead = d.ask("undo")[0] == "dead"
        d.close()
        assert lab.cleanup() == []
        lab.same(before, f"clean-up killed at step {n}")
        if not dead:
            break
    assert n > 15, n


def without_ipv6_lease(lab):
    before = lab.state()
    d = lab.driver()
    up(d, lab, client=f"sisp0 1371 {V4} - {TABLE} {MARK}")
    assert unreachable("2001:db8:200::1"), "IPv6 is refused, not leaked"
    assert "dev sisp0" in route("192.0.2.1")
    d.ok(f"change sisp0 1300 10.99.8.8 {V6} {TABLE} {MARK}")
    assert "dev sisp0" in route("2001:db8:200::1") and "10.99.8.8" in route("192.0.2.1")
    assert "mtu 1300" in sh("ip link show sisp0") and V4 not in sh("ip addr; nft list ruleset")
    d.ok(f"change sisp0 1371 - {V6} {TABLE} {MARK}")
    assert unreachable("192.0.2.1")
    d.refused(f"change sisp0 1000 - {V6} {TABLE} {MARK}", 22, "1280")
    assert down(d) == []
    lab.same(before, "changed leases")


def conflicts_are_refused(lab):
    d = lab.driver()
    for make, undo, words in (
            ("ip link add sisp0 type veth peer name sisp1", "ip link del sisp0", ("sisp0",)),
            (f"ip route add 192.0.2.0/24 via 198.51.100.1 table {TABLE}", f"ip route flush table {TABLE}",
             (str(TABLE), "table")),
            (f"ip -6 route add unreachable default table {TABLE}", f"ip -6 route flush table {TABLE}",
             (str(TABLE), "table")),
            (f"ip rule add fwmark {MARK} lookup main pref 500", "ip rule del pref 500", (hex(MARK), "mark")),
            (f"ip -6 rule add from fd00::/8 lookup {TABLE} pref 500", "ip -6 rule del pref 500", (str(TABLE),)),
            ("ip rule add from 10.1.1.1 lookup main pref 2", "ip rule del pref 2", ("rule 2",)),
            ("nft add table inet sispopnet_sisp0", "nft delete table inet sispopnet_sisp0", ("sispopnet_sisp0",))):
        sh(make)
        before = lab.state()
        d.refused("check-client " + CLIENT, 16, *words)
        if "veth" in make:
            d.refused("tun sisp0 1", 16, "sisp0")
        else:
            d.ok("tun sisp0 1")
            d.refused("client " + CLIENT, 16, *words)
            d.ok("untun")
        lab.same(before, make)
        sh(undo)
    d.refused(f"check-client sisp0 1371 {V4} {V6} 254 {MARK}", 22, "254")
    d.refused(f"check-client sisp0 1371 {V4} {V6} {TABLE} 0", 22, "mark")
    d.refused(f"check-client sisp0 1200 {V4} {V6} {TABLE} {MARK}", 22, "MTU")
    d.refused("tun bad/name 1", 22, "bad/name")
    d.close()
    assert not os.path.exists(lab.journal)


def a_set_up_that_fails_takes_itself_back(lab):
    """The TUN vanishes before the set-up: its own first steps are undone."""
    before = lab.state()
    d = lab.driver()
    d.refused("client " + CLIENT, 19, "sisp0")
    assert d.number("changes") == 0
    d.close()
    lab.same(before, "no TUN")


def what_another_made_in_between_stays(lab):
    """Between our look and our change another program takes the name: refused, and its thing is still there."""
    before = lab.state()
    script = lab.dir + "/between"
    with open(script, "w") as f:
        f.write("nft add table inet sispopnet_sisp0\n")
    d = lab.driver()
    d.ok("tun sisp0 1")
    d.ok(f"at 4 {script}")  # the header's two hooks, and the table's entry is written
    d.refused("client " + CLIENT, 17, "sispopnet_sisp0", "another program")
    assert d.number("changes") == 0
    d.ok("untun")
    d.close()
    assert "sispopnet_sisp0" in sh("nft list tables")
    sh("nft delete table inet sispopnet_sisp0")
    lab.same(before, "a race")


def others_changes_are_left_alone(lab):
    d = lab.driver()
    sh("sysctl -qw net.ipv4.conf.up0.rp_filter=1")
    up(d, lab)
    with open(lab.resolv) as f:
        original = "# the host's own\nnameserver 198.51.100.1\n"
        assert f.read() != original
    with open(lab.resolv, "w") as f:
        f.write("nameserver 192.0.2.53\n")
    assert d.number(f"ours {lab.resolv}") == 0
    sh("ip route del unreachable default table %d metric 2000000000" % TABLE)
    sh("sysctl -qw net.ipv4.conf.all.src_valid_mark=0")
    said = down(d)
    assert len(said) == 1 and "resolv.conf was changed" in said[0], said
    with open(lab.resolv) as f:
        assert f.read() == "nameserver 192.0.2.53\n"
    with open(lab.resolv, "w") as f:
        f.write(original)
    sh("sysctl -qw net.ipv4.conf.up0.rp_filter=0")


def strict_rp_filter_lets_answers_in(lab):
    sh("sysctl -qw net.ipv4.conf.up0.rp_filter=1")
    before = lab.state()
    d = lab.driver()
    up(d, lab)
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, 36, MARK)  # SO_MARK
    s.settimeout(3)
    s.sendto(b"hello", ("203.0.113.7", 7))
    assert s.recv(100) == b"hello"
    sh("nft flush table inet sispopnet_sisp0")
    s.close()
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, 36, MARK)
    s.settimeout(0.3)
    s.sendto(b"hello", ("203.0.113.7", 7))
    try:
        s.recv(100)
        raise AssertionError("this test cannot fail: rp_filter lets all in")
    except socket.timeout:
        pass
    assert down(d) == []
    lab.same(before, "strict rp_filter")
    sh("sysctl -qw net.ipv4.conf.up0.rp_filter=0")


def tracked(port):
    told = subprocess.run([sys.executable, TRACKER, "list"], check=True, text=True, stdout=subprocess.PIPE).stdout
    return [line for line in told.splitlines() if f" {port}" in line]


def ask_echo(family, mark, port, timeout=3.0):
    """One datagram there and back; True when the answer came."""
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, 36, mark)  # SO_MARK
        s.bind(("0.0.0.0" if family == socket.AF_INET else "::", port))
        s.settimeout(timeout)
        s.sendto(b"hello", ("203.0.113.7" if family == socket.AF_INET else "2001:db8:113::7", 7))
        try:
            return s.recv(100) == b"hello"
        except socket.timeout:
            return False


def inner_udp(dport):
    """A datagram from 192.0.2.7 to the lease, as hex."""
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 32, 1, 0, 64, 17, 0, socket.inet_aton("192.0.2.7"), socket.inet_aton(V4))
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xffff) + (total >> 16)
    return (head[:10] + struct.pack("!H", 0xffff - total) + head[12:] + struct.pack("!4HI", 9, dport, 12, 0, 7)).hex()


def own_datagrams_are_not_tracked(lab):
    before = lab.state()
    # The tracker works only where somebody asks it.
    sh("nft add table inet watch; nft add chain inet watch here '{ type filter hook prerouting priority 0; }';"
       "nft add rule inet watch here ct state new accept")
    with_watch = lab.state()
    for strict in (0, 1):
        sh(f"sysctl -qw net.ipv4.conf.up0.rp_filter={strict}")
        d = lab.driver()
        d.ok(OWN)
        up(d, lab)
        for family, own in ((socket.AF_INET, OWN4), (socket.AF_INET6, OWN6)):
            sh(TRACKER + " flush")
            assert ask_echo(family, MARK, own)
            assert tracked(own) == [], "the daemon's own"
            assert ask_echo(family, MARK, own + 1) and tracked(own + 1), "another port's is tracked"
        sh(TRACKER + " flush")
        d.ok("send " + inner_udp(OWN4))
        lab.until(lambda: tracked(OWN4))  # what comes out of the tunnel is another's
        sh(TRACKER + " flush")
        d.ok("track")
        d.ok("track")  # again: nothing to do
        assert "notrack" not in sh("nft list ruleset")
        for family, own in ((socket.AF_INET, OWN4), (socket.AF_INET6, OWN6)):
            assert ask_echo(family, MARK, own) and tracked(own)
        d.ok("change " + CLIENT)  # says untracked again
        assert sh("nft list ruleset").count("notrack") == 4
        d.ok("own 0.0.0.0:40004 -")
        d.ok("change " + CLIENT)
        assert sh("nft list ruleset").count("notrack") == 2
        assert down(d) == []
        sh("sysctl -qw net.ipv4.conf.up0.rp_filter=0")
        lab.same(with_watch, "untracked")
    sh("nft delete table inet watch")
    lab.same(before, "and without the firewall")


LAN_MAC = "02:00:00:00:00:55"


def forwarded(to, dport):
    """A datagram that a neighbour behind lan0 sends, as a frame on that wire."""
    mac = bytes.fromhex(LAN_MAC.replace(":", ""))
    udp = struct.pack("!4HI", 5353, dport, 12, 0, 7)
    if ":" in to:
        ends = socket.inet_pton(socket.AF_INET6, "2001:db8:55::2") + socket.inet_pton(socket.AF_INET6, to)
        total = sum(struct.unpack("!16H6H", ends + udp)) + 17 + len(udp)
        while total >> 16:
            total = (total & 0xffff) + (total >> 16)
        udp = udp[:6] + struct.pack("!H", 0xffff - total) + udp[8:]
        return mac + bytes(6) + b"\x86\xdd" + struct.pack("!IHBB", 0x60000000, len(udp), 17, 64) + ends + udp
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 32, 1, 0, 64, 17, 0, socket.inet_aton("10.55.0.2"), socket.inet_aton(to))
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xffff) + (total >> 16)
    return mac + bytes(6) + b"\x08\x00" + head[:10] + struct.pack("!H", 0xffff - total) + head[12:] + udp


def forwarded_datagrams_are_not_ours(lab):
    """Who is routed by this host says a port of the daemon's: that opens no way around tunnel and tracker."""
    sh(f"ip link add lan0 address {LAN_MAC} type veth peer name lan1; sysctl -qw net.ipv6.conf.lan0.accept_dad=0;"
       "ip link set lan0 up; ip link set lan1 up; ip addr add 10.55.0.1/24 dev lan0;"
       "ip addr add 2001:db8:55::1/64 dev lan0 nodad; sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1;"
       "ip route replace default via 198.51.100.1; ip -6 route replace default via 2001:db8:100::1")
    sh("nft add table inet watch; nft add chain inet watch here '{ type filter hook postrouting priority 0; }'")
    for out in ("up0", "sisp0"):
        for state in ("untracked", "new"):
            sh(f"nft add counter inet watch {out}_{state};"
               f"nft add rule inet watch here oifname {out} ct state {state} udp sport 5353 counter name {out}_{state}")

    def seen(name):
        return int(sh(f"nft list counter inet watch {name}").split("packets")[1].split()[0])

    for strict in (0, 1):
        sh(f"sysctl -qw net.ipv4.conf.up0.rp_filter={strict}")
        d = lab.driver()
        d.ok(OWN)
        up(d, lab)
        sh("nft reset counters table inet watch")
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
            s.bind(("lan1", 0))
            for to, dport in (("203.0.113.7", OWN4), ("2001:db8:113::7", OWN6)):
                s.send(forwarded(to, dport))
        lab.until(lambda: sum(seen(f"{out}_{state}") for out in ("up0", "sisp0") for state in ("untracked", "new")) >= 2)
        counts = {f"{out}_{state}": seen(f"{out}_{state}") for out in ("up0", "sisp0") for state in ("untracked", "new")}
        assert counts == {"up0_untracked": 0, "up0_new": 0, "sisp0_untracked": 0, "sisp0_new": 2}, counts
        assert down(d) == []
    sh("nft delete table inet watch; sysctl -qw net.ipv4.conf.up0.rp_filter=0 net.ipv4.ip_forward=0;"
       "sysctl -qw net.ipv6.conf.all.forwarding=0; ip link del lan0")


def resolv_conf_kinds(lab):
    plain = open(lab.resolv).read()
    target = lab.dir + "/stub"
    with open(target, "w") as f:
        f.write("nameserver 127.0.0.53\n")

    def through(what, kill):
        before = lab.state()
        stub = open(target).read()
        d = lab.driver()
        d.ok(f"dns {lab.resolv} 10.99.0.53")
        d.ok(f"dns {lab.resolv} 10.99.0.54 10.99.0.55")
        assert open(lab.resolv).read().endswith("nameserver 10.99.0.54\nnameserver 10.99.0.55\n")
        assert d.number("changes") == 1
        if kill:
            d.kill()
            assert lab.cleanup() == []
        else:
            assert d.ok("undo") == []
            d.close()
        lab.same(before, what)
        assert open(target).read() == stub

    for kill in (False, True):
        through("a plain file", kill)
        os.unlink(lab.resolv)
        os.symlink("../stub", lab.resolv)
        through("a link", kill)
        mount(target, lab.resolv, None, MS_BIND)  # follows the link, as ip netns exec does
        other = lab.dir + "/netns-resolv"
        umount(target)
        with open(other, "w") as f:
            f.write("nameserver 198.51.100.77\noptions edns0\n" * 20)
        mount(other, lab.resolv, None, MS_BIND)
        through("a mount behind a link", kill)
        assert os.path.islink(lab.resolv)
        umount(target)
        os.unlink(lab.resolv)
        state = lab.dir + "/absent"
        os.symlink(state, lab.resolv)
        os.unlink(lab.resolv)
        with open(lab.resolv, "w") as f:
            f.write(plain)
        os.chmod(lab.resolv, 0o640)
        mount(other, lab.resolv, None, MS_BIND)
        through("a mounted file", kill)
        torn(lab)
        umount(lab.resolv)


def torn(lab):
    """A kill while the file is written in place: empty, or the first part of ours."""
    before = lab.state()
    for part in (0, 1, 30):
        d = lab.driver()
        d.ok(f"dns {lab.resolv} 10.99.0.53")
        d.kill()
        os.truncate(lab.resolv, part)
        assert lab.cleanup() == []
        lab.same(before, f"torn at {part}")


def dns_refusals(lab):
    before = lab.state()
    d = lab.driver()
    os.rename(lab.resolv, lab.resolv + ".kept")
    os.mkdir(lab.resolv)
    d.refused(f"dns {lab.resolv} 10.99.0.53", 21, "resolv.conf")
    os.rmdir(lab.resolv)
    with open(lab.resolv, "w") as f:
        f.write("#" * 70000)
    d.refused(f"dns {lab.resolv} 10.99.0.53", 27, "resolv.conf")
    os.rename(lab.resolv + ".kept", lab.resolv)
    d.refused(f"dns {lab.resolv} 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4", 22, "4 DNS servers")
    d.refused(f"dns /proc/version 10.0.0.1", 2)
    assert d.number("changes") == 0
    d.close()
    lab.same(before, "refused DNS")


def journal_refusals(lab):
    before = lab.state()
    d = lab.driver()
    second = lab.driver()
    assert second.first[:1] == ("error",) and "in use by another daemon" in second.first[1], second.first
    d.close()
    none = lab.driver(journal=lab.dir + "/no/such/folder/journal")
    assert none.first[0] == "error" and "folder" in none.first[1]
    small = lab.dir + "/small"
    os.mkdir(small)
    mount("none", small, "tmpfs", 0, "size=8k")
    d = lab.driver(journal=small + "/journal")
    assert d.first[0] == "ok"
    with open(small + "/fill", "wb", buffering=0) as f:
        f.write(b"x" * 8192)
    d.ok("tun sisp0 1")
    d.refused("client " + CLIENT, 28, "make room")
    d.ok("untun")
    assert d.number("changes") == 0
    d.close()
    lab.same(before, "full disk")
    umount(small)


def missing_rights(lab):
    before = lab.state()
    weak = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")
    d = lab.driver(wrap=weak)
    assert d.first[0] == "ok"
    d.refused("tun sisp0 1", 1, "CAP_NET_ADMIN")
    d.refused("check-client " + CLIENT, 1, "CAP_NET_ADMIN")
    d.close()
    empty = lab.dir + "/empty"
    os.mkdir(empty)
    mount(empty, "/dev/net", None, MS_BIND)
    d = lab.driver()
    d.refused("tun sisp0 1", 2, "/dev/net/tun", "modprobe tun")
    d.close()
    umount("/dev/net")
    lab.same(before, "missing rights")


def only_net_admin_is_needed(lab):
    before = lab.state()
    d = lab.driver(wrap=("setpriv", "--bounding-set", "-all,+net_admin", "--inh-caps", "-all", "--no-new-privs"))
    assert d.first[0] == "ok"
    up(d, lab)
    assert down(d) == []
    lab.same(before, "CAP_NET_ADMIN alone")


def another_namespace_discards_the_journal(lab):
    d = lab.driver()
    up(d, lab)
    d.kill()
    here = lab.state()
    other = lab.driver(wrap=("unshare", "-n"))
    assert other.number("changes") == 1, "only resolv.conf outlives a namespace"
    other.close()
    lab.same(here, "looked at from another namespace")
    # The entry of this namespace's routes is still in the file as long as nobody wrote to it.
    assert lab.cleanup() == []


def netinfo_answers(lab):
    d = lab.driver()
    d.ok("tun sisp0 1")
    d.ok("client " + CLIENT)
    seen = d.ok("prefixes sisp0")
    for p in ("127.0.0.0/8", "198.51.100.0/24", "2001:db8:100::/64", "fe80::/64"):
        assert "prefix " + p in seen, (p, seen)
    assert not [p for p in seen if "10.99" in p]
    assert "prefix 10.99.7.2/32" in d.ok("prefixes -")
    assert d.number("default 4") == 1 and d.number("default 6") == 1
    assert d.number("link up0") == 1 and d.number("link nothing0") == 0
    down(d)
    sh("ip route del default")
    d = lab.driver()
    assert d.number("default 4") == 0 and d.number("default 6") == 1
    d.close()
    sh("ip route add default via 198.51.100.1")


# Routes of the main table that lead beside a tunnel, and routes that do not count. One of several metrics, one within
# another, and one of a network that the host is on are listed once, or not at all.
ROUTED = ("10.55.0.0/16 via 198.51.100.1", "10.55.0.0/16 via 198.51.100.1 metric 7", "10.55.9.0/24 via 198.51.100.1",
          "11.0.0.0/8 dev up0", "192.0.2.7 via 198.51.100.1",
          "172.20.0.0/16 nexthop via 198.51.100.1 nexthop via 198.51.100.7",
          "2001:db8:55::/48 via 2001:db8:100::1", "fc00::/7 dev up0", "2400::/16 dev up0", "2001:db8:56::9 dev up0")
LISTED = ["10.55.0.0/16", "11.0.0.0/8", "192.0.2.7/32", "172.20.0.0/16", "2001:db8:55::/48", "fc00::/7", "2400::/16",
          "2001:db8:56::9/128"]
NOT_COUNTED = ("0.0.0.0/1 dev up0", "128.0.0.0/1 dev up0", "12.0.0.0/7 dev up0", "2000::/3 dev up0", "2600::/15 dev up0",
               "198.51.100.128/25 dev up0", "unreachable 10.56.0.0/16", "blackhole 10.57.0.0/16",
               "10.58.0.0/16 dev up0 table 77", "10.59.0.0/16 dev sisp0", "fd59::/32 dev sisp0")


def routes_beside_the_tunnel(lab):
    before = lab.state()
    d = lab.driver()
    d.ok("tun sisp0 1")
    sh("sysctl -qw net.ipv6.conf.sisp0.disable_ipv6=0; ip link set sisp0 up")
    local = sorted(d.ok("prefixes sisp0"))

    def listed(max=1024):
        seen = d.ok(f"direct sisp0 {max}")
        first = [p for p in seen if p.startswith("prefix ")]
        assert seen[:len(first)] == first and sorted(first) == local, seen
        return sorted(p.partition(" ")[2] for p in seen[len(first):])

    def change(verb, routes):
        for r in routes:
            sh(f"ip {'-6' if '::' in r else '-4'} route {verb} {r}")

    assert listed() == []
    change("add", NOT_COUNTED)
    assert listed() == []
    assert "route 10.59.0.0/16" in d.ok("direct - 1024"), "without a link that is ours"
    change("add", ROUTED)
    assert listed() == sorted(LISTED)
    assert sorted(d.ok("prefixes sisp0")) == local, "routes are not among the host's own networks"
    # More routes than room are no error; more addresses are.
    assert len(listed(len(local) + 3)) == 3 and listed(len(local)) == []
    d.refused(f"direct sisp0 {len(local) - 1}", 28, "addresses")
    with open(lab.dir + "/routes", "w") as f:
        f.writelines(f"route add 45.{i // 256}.{i % 256}.0/24 dev up0\n" for i in range(2000))
    sh(f"ip -batch {lab.dir}/routes")
    assert len(listed()) == 1024 - len(local)
    sh(f"sed -i s/add/del/ {lab.dir}/routes; ip -batch {lab.dir}/routes")
    change("del", ROUTED + NOT_COUNTED)
    d.ok("untun")
    d.close()
    lab.same(before, "routes beside the tunnel")


def watch_tells_of_others_changes(lab):
    d = lab.driver()
    d.ok("tun sisp0 1")
    d.ok("watch")
    sh("ip link set sisp0 up; ip addr add 10.99.9.9/32 dev sisp0; ip route add 192.0.2.0/24 dev sisp0")
    assert d.number("changed sisp0") == 0, "the tunnel's own changes"
    sh("ip route add 192.0.2.0/25 via 198.51.100.1")
    assert d.number("changed sisp0") == 1
    sh("ip route del 192.0.2.0/25")
    assert d.number("changed -") == 1
    sh("ip addr add 198.51.100.3/24 dev up0")
    assert d.number("changed sisp0") == 1
    sh("ip addr del 198.51.100.3/24 dev up0")
    d.ok("changed -")
    d.ok("untun")
    d.close()


def tun_tells_what_goes_wrong(lab):
    d = lab.driver()
    assert d.number("tun sisp0 1 whole") == 0
    assert d.ask("send 45000014000040000040110000000000000000000")[1].startswith("5 "), "the link is down"
    sh("ip link set sisp0 mtu 4000; sysctl -qw net.ipv6.conf.sisp0.disable_ipv6=1; ip link set sisp0 up;"
       "ip addr add 10.99.9.9/32 dev sisp0; ip route add 192.0.2.0/24 dev sisp0")
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(b"x" * 3000, ("192.0.2.1", 9))
    s.sendto(b"good", ("192.0.2.1", 9))
    assert d.ok("read")[-1].split()[2].endswith(b"x".hex() * 3000), "whole, however long"
    line = d.ok("read")[-1].split()
    assert line[1] == "0" and line[2].endswith(b"good".hex()), "complete without offload"
    sh("ip link del sisp0")
    d.refused("read", 77)  # the interface is gone
    d.ok("untun")
    assert d.number("tun sisp0 1") == 1
    sh("sysctl -qw net.ipv6.conf.sisp0.disable_ipv6=1; ip link set sisp0 up; ip addr add 10.99.9.9/32 dev sisp0;"
       "ip route add 192.0.2.0/24 dev sisp0")
    s.sendto(b"good", ("192.0.2.1", 9))
    assert d.ok("read")[-1].split()[1] == "1", "left open with offload"
    d.ok("untun")
    d.close()
    s.close()


run([up_and_down, undo_after_the_tun_is_gone, fails_closed_when_killed, killed_at_every_step,
     cleanup_killed_at_every_step, without_ipv6_lease, conflicts_are_refused,
     a_set_up_that_fails_takes_itself_back, what_another_made_in_between_stays,
     others_changes_are_left_alone, strict_rp_filter_lets_answers_in,
     own_datagrams_are_not_tracked, forwarded_datagrams_are_not_ours, resolv_conf_kinds, dns_refusals,
     journal_refusals, missing_rights, only_net_admin_is_needed, another_namespace_discards_the_journal,
     netinfo_answers, routes_beside_the_tunnel, watch_tells_of_others_changes, tun_tells_what_goes_wrong])
sys.exit(0)
