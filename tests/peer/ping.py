#!/usr/bin/python3
"""tests/peer/ping.py NETWORK_CONF INFO_JSON - all that a client does, against the real daemons of a test network.

Directory, link, paths of 1 to 8 hops, AUTH, GRANT, session PING, one ping to the web by IPv4 and IPv6, BIND of a
second path. Ends with 0 when everything was as docs/PROTOCOL.md says, else with one line.
"""
import ipaddress
import json
import os
import random
import select
import socket
import sys
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from link import Link          # noqa: E402
from packets import echo_request, is_echo_reply    # noqa: E402
from path import Path          # noqa: E402
from sispop import FLAG_EXIT, FLAG_GUARD, Refused, fetch_directory, id_of_name, read_network    # noqa: E402

INITS_OF_LOAD = 1500
LEASES = [ipaddress.ip_network(n) for n in ("10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10", "fd00::/8")]


def check(what, good):
    if not good:
        raise Refused(what)


def directory(network):
    """From the authority and from a relay: both must say the same about the relays."""
    url = urllib.parse.urlsplit(network.urls[0])
    consensus, relays = fetch_directory(network, url.hostname, url.port)
    print(f"consensus {consensus.serial}, {len(relays)} relays, signed by {len(consensus.signers)}")
    mirror = next(relay for relay in relays.values() if relay.dir_port)
    mirrored, others = fetch_directory(network, mirror.v4[0], mirror.dir_port)
    check("a mirror knows other relays", set(others) == set(relays))
    print(f"consensus {mirrored.serial} from the mirror at {mirror.nickname}")
    return relays


def choose(relays, exit_relay, count):
    """A guard, middles, the exit; each relay once."""
    if count == 1:
        return [exit_relay]
    others = [relay for relay in relays.values() if relay.id != exit_relay.id]
    random.shuffle(others)
    guard = next(relay for relay in others if relay.flags & FLAG_GUARD)
    others.remove(guard)
    return [guard, *others[:count - 2], exit_relay]


def ping_web(path, source, web, number):
    data = os.urandom(100)
    path.send_packet(echo_request(source, web, number, data))
    answer = path.packet(2, lambda packet: is_echo_reply(packet, number, data))
    check(f"{web} does not answer a ping", answer)


def build(network, hops):
    link = Link(network.id, hops[0]).open()
    path = Path(link, hops).build()
    return link, path


def roam(link, path, web):
    """From a new port: the relay sends its PING there, and after our PONG the backward data too."""
    old, link.sock = link.sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.sock.connect(link.relay.v4)
    path.send_packet(echo_request(path.grant.v4, web, 4, b"on the move"))
    check("no answer at the old address", select.select([old], [], [], 2)[0])
    check("data before the link moved", not link.wait(0.2, lambda: link.data[path.circuit_in]))
    ping_web(path, path.grant.v4, web, 5)
    print("the link moved to a new port")
    old.close()


def cookie(network, relay):
    """Under more INITs than a relay likes it asks for a cookie; the same bytes with mac2 then pass."""
    flood = Link(network.id, relay)
    for _ in range(INITS_OF_LOAD):
        flood.sock.send(flood.init_bytes())
    link = Link(network.id, relay).open()
    check("no cookie was asked for under load", link.cookies == 1)
    print(f"{relay.nickname} asked for a cookie and took it")
    flood.close()
    link.close()


def use(network, hops, token, web):
    link, path = build(network, hops)
    check("the relay saw another address", link.observed[0].startswith("::ffff:"))
    check("another size limit", link.max_dgram >= 1240)
    grant = path.auth(token)
    check("a lease that is not private", all(any(a in n for n in LEASES if n.version == a.version)
                                             for a in (grant.v4, grant.v6)))
    check("an MTU below IPv6's", grant.mtu >= 1280)
    check("another policy than the descriptor's", grant.policy == hops[-1].policy_hash)
    rtt = path.session_ping()
    ping_web(path, grant.v4, web["address4"], 1)
    ping_web(path, grant.v6, web["address6"], 2)
    check("datagrams had to be refused", link.dropped == 0)
    print(f"{len(hops)} hops: {' '.join(relay.nickname for relay in hops)}: size {path.size}, "
          f"{1000 * rtt:.1f} ms, pings answered")
    return link, path


def second_path(network, relays, first, web):
    """A second path BOUND to the session: the lease answers there once its prio is higher."""
    link, path = build(network, choose(relays, first.relays[-1], 3))
    session, key = first.grant.session, first.session_key
    check("BIND is refused", path.bind(session, key, 1) == 0)
    ping_web(path, first.grant.v4, web["address4"], 3)
    check("an unknown session is bound", path.bind(os.urandom(16), key, 2) == 1)
    print("a second path is bound and answers")
    path.close()
    link.close()


def main():
    network = read_network(sys.argv[1])
    with open(sys.argv[2], encoding="utf-8") as file:
        info = json.load(file)
    relays = directory(network)
    exits = info["exits"]
    exit_relay = relays[id_of_name(exits[0]["name"])]
    check("the exit lacks its flag", exit_relay.flags & FLAG_EXIT)
    for count in (3, 1, 2, 4, 5, 6, 7, 8):
        link, path = use(network, choose(relays, exit_relay, count), exits[0]["token"], info["web"])
        if count == 3:
            second_path(network, relays, path, info["web"])
            path.bind(path.grant.session, path.session_key, 2)
            roam(link, path, info["web"]["address4"])
        path.close()
        link.close()
    cookie(network, next(relay for relay in relays.values() if relay.id != exit_relay.id))
    print("all good")


if __name__ == "__main__":
    try:
        main()
    except Refused as error:
        sys.exit(f"peer: {error}")
