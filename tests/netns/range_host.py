#!/usr/bin/python3
"""Routes and rules of a client that sends some ranges alone through its tunnel, and their undo."""
from host_lab import run, sh

TABLE = MARK = 0x73697370
V4, V6 = "10.99.7.2", "fd00:99::2"
CLIENT = f"sisp0 1371 {V4} {V6} {TABLE} {MARK}"
FOUR, SIX = "203.0.113.0/24", "2001:db8:113::/48"
IN4, IN6, OUT4, OUT6 = "203.0.113.7", "2001:db8:113::7", "192.0.2.1", "2001:db8:200::1"


def up(d, client=CLIENT):
    d.ok("check-client " + client)
    d.ok("tun sisp0 2")
    d.ok("client " + client)


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


def bound(to):
    return sh(f"ip route get {to} oif sisp0", check=False)


def through(*inside):
    for to in inside:
        assert "dev sisp0" in route(to) and (V6 if ":" in to else V4) in route(to), route(to)
        assert "dev up0" in route(to, MARK), route(to, MARK)


def beside(*outside):
    for to in outside:
        assert "dev up0" in route(to) and "10.99" not in route(to), route(to)


def range_up(d, *ranges, client=CLIENT):
    d.ok("ranges " + " ".join(ranges))
    up(d, client)


def ranges_go_through_and_nothing_else(lab):
    before = lab.state()
    d = lab.driver()
    range_up(d, FOUR, SIX, FOUR)
    through(IN4, IN6)
    beside(OUT4, OUT6, "198.51.100.9", "2001:db8:100::9")
    for to in (OUT4, OUT6):
        assert "dev sisp0" in bound(to), "sockets bound to the TUN reach everything: " + bound(to)
    assert sh("ip route show table main").count("\n") == 2, "nothing is added to the main table"
    assert down(d) == []
    lab.same(before, "ranges")


def closed_when_killed(lab):
    before = lab.state()
    d = lab.driver()
    range_up(d, FOUR, SIX)
    d.kill()
    for to in (IN4, IN6):
        assert unreachable(to), route(to)
        assert "dev up0" in route(to, MARK)
    beside(OUT4, OUT6)
    lab.cleanup()
    lab.same(before, "killed while up")


def a_family_without_lease_is_closed(lab):
    before = lab.state()
    d = lab.driver()
    range_up(d, FOUR, SIX, client=f"sisp0 1371 {V4} - {TABLE} {MARK}")
    through(IN4)
    assert unreachable(IN6), "IPv6 is refused, not leaked"
    beside(OUT4, OUT6)
    d.ok(f"change sisp0 1371 - {V6} {TABLE} {MARK}")
    through(IN6)
    assert unreachable(IN4)
    beside(OUT4, OUT6)
    assert down(d) == []
    lab.same(before, "leases of one family")


def the_narrower_of_main_and_range_wins(lab):
    before = lab.state()
    sh("ip route add 203.0.0.0/16 via 198.51.100.1; ip route add 203.0.113.128/25 via 198.51.100.1")
    sh("ip -6 route add 2001:db8::/32 via 2001:db8:100::1")
    d = lab.driver()
    range_up(d, FOUR, SIX, "198.51.0.0/16", "198.51.100.128/26", "2001:db8:100::8/128")
    through(IN4, IN6, "198.51.7.7")
    beside("203.0.113.200", "203.0.7.7")
    beside("198.51.100.9", "198.51.100.129", "2001:db8:100::8")  # networks that the host is on
    assert down(d) == []
    sh("ip route del 203.0.0.0/16; ip route del 203.0.113.128/25; ip -6 route del 2001:db8::/32")
    lab.same(before, "main's routes")


def all_of_a_family(lab):
    before = lab.state()
    d = lab.driver()
    range_up(d, "0.0.0.0/0")
    through(IN4, OUT4)
    beside(IN6, OUT6, "198.51.100.9")
    d.ok("ranges ::/0")
    d.ok("change " + CLIENT)
    through(IN6, OUT6)
    beside(IN4, OUT4, "2001:db8:100::9")
    assert down(d) == []
    lab.same(before, "all of a family")


def ranges_come_and_go(lab):
    """From everything to ranges, to others, with another lease, and back; at the end the journal knows it all."""
    before = lab.state()
    d = lab.driver()
    up(d)
    d.ok(f"dns {lab.resolv} 10.99.0.53")
    d.ok(f"ranges {FOUR} {SIX}")
    d.ok("change " + CLIENT)
    d.ok(f"undns {lab.resolv}")
    assert d.number(f"ours {lab.resolv}") == 0
    through(IN4, IN6)
    beside(OUT4, OUT6)
    d.ok("ranges 192.0.2.0/24 2001:db8:200::/64 " + FOUR)
    d.ok("change " + CLIENT)
    through(IN4, OUT4, OUT6)
    beside(IN6)
    d.ok("ranges " + FOUR)
    d.ok(f"change sisp0 1300 10.99.8.8 - {TABLE} {MARK}")
    assert "10.99.8.8" in route(IN4), route(IN4)
    beside(OUT4, OUT6, IN6)
    d.ok("ranges")
    d.ok("change " + CLIENT)
    through(IN4, IN6, OUT4, OUT6)
    rules = sh("ip rule show; ip -6 rule show; ip route show table %d" % TABLE)
    assert "oif" not in rules and FOUR not in rules, rules
    assert down(d) == []
    lab.same(before, "changed ranges")


def killed_at_every_step(lab):
    before = lab.state()
    d = lab.driver()
    commands = (f"ranges {FOUR} {SIX}", "tun sisp0 1", "client " + CLIENT, "ranges 192.0.2.0/24",
                "change " + CLIENT, "ranges", "change " + CLIENT, "undo")
    for command in commands:
        d.ok(command)
    total = d.number("hooks")
    d.ok("untun")
    d.close()
    assert total > 100, total
    for n in range(1, total + 1, 3):
        d = lab.driver()
        d.ok(f"die {n}")
        assert any(d.ask(command)[0] == "dead" for command in commands), f"step {n} was never reached"
        d.p.wait()
        said = lab.cleanup()
        assert said == [], f"step {n}: {said}"
        lab.same(before, f"killed at step {n} of {total}")


def conflicts_are_refused(lab):
    d = lab.driver()
    sh("ip rule add from 10.1.1.1 lookup main pref 5")
    d.ok("check-client " + CLIENT)
    d.ok("ranges " + FOUR)
    d.refused("check-client " + CLIENT, 16, "rule 5")
    d.ok("ranges")
    up(d)
    d.ok("ranges " + FOUR)
    d.refused("change " + CLIENT, 16, "rule 5")
    d.ok("undo")
    d.ok("untun")
    sh("ip rule del pref 5")
    d.ok("ranges " + " ".join(f"192.0.2.{i}" for i in range(17)))
    d.refused("check-client " + CLIENT, 22, "17 ranges")
    d.ok("ranges " + " ".join(f"192.0.2.{i}" for i in range(16)))
    up(d)
    down(d)


def strict_rp_filter(lab):
    """An answer through the TUN from an address whose route is the uplink's: loosened on the TUN, and on it alone."""
    sh("sysctl -qw net.ipv4.conf.up0.rp_filter=1 net.ipv4.conf.default.rp_filter=1")
    before = lab.state()
    d = lab.driver()
    range_up(d, FOUR)
    assert sh("sysctl -n net.ipv4.conf.sisp0.rp_filter").strip() == "2"
    assert sh("sysctl -n net.ipv4.conf.up0.rp_filter").strip() == "1"
    assert down(d) == []
    lab.same(before, "strict rp_filter")
    sh("sysctl -qw net.ipv4.conf.up0.rp_filter=0 net.ipv4.conf.default.rp_filter=0")


def a_lease_leaves_by_the_tun_alone(lab):
    """What speaks with the lease to a stranger is dropped, or a hostile exit would see us answer from our own address."""
    d = lab.driver()
    range_up(d, FOUR)
    sh("nft 'add table inet spy { chain out { type filter hook postrouting priority 400; "
       f"ip saddr {V4} oifname up0 counter name seen; }}; counter seen {{ }}; }}'")
    sh(f"ping -c 1 -W 1 -I {V4} {OUT4}", check=False)
    assert "packets 0" in sh("nft list counters table inet spy"), sh("nft list ruleset")
    sh("nft flush chain inet sispopnet_sisp0 leave")
    sh(f"ping -c 1 -W 1 -I {V4} {OUT4}", check=False)
    assert "packets 1" in sh("nft list counters table inet spy"), "this test cannot fail"
    sh("nft delete table inet spy")
    down(d)


if __name__ == "__main__":
    run([ranges_go_through_and_nothing_else, closed_when_killed, a_family_without_lease_is_closed,
         the_narrower_of_main_and_range_wins, all_of_a_family, ranges_come_and_go, killed_at_every_step,
         conflicts_are_refused, strict_rp_filter, a_lease_leaves_by_the_tun_alone])
