#!/usr/bin/python3
"""tests/peer/hostile.py NETWORK_CONF INFO_JSON RUN_FOLDER - a client that keeps to no rule, against real daemons.

Each function below is one attack; it says what must come of it, and which counter of which relay must show it.
The guard is relay1, the middle relay2, the exit exit1 throughout.
"""
import ipaddress
import json
import os
import random
import socket
import struct
import subprocess
import sys
import time
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from link import BUILD, BUILD_REPLY, CIRCUIT_CLOSE, Link, PING, PONG    # noqa: E402
from packets import UDP, icmp, is_udp, payload, udp    # noqa: E402
from path import AUTH, BIND, FULL_SIZES, Path    # noqa: E402
from sispop import Refused, fetch_directory, id_of_name, read_network    # noqa: E402

ECHO_PORT = 7
SOURCE_PORTS = 64
COPIES = 8
AHEAD_MOST = 65536
CLOSE_PROTOCOL = 5
BUILDS_PER_S = 20
SPOOFED_INITS, SPOOFED_PER_S = 1200, 400
FLOOD_INITS = 1800
PROVEN_INITS = 60    # three times what one address may send in a second
MEMORY_GROWTH_MOST_KB = 8 * 1024
# RFC 1122 3.2.2: no ICMP errors about these
NOT_ONE_HOST = ("127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "ff02::1")


class Lab:
    """The network, one good path through it, and the relays' counters."""

    def __init__(self, network_conf, info, run):
        self.links = []
        self.network, self.run = read_network(network_conf), run
        with open(info, encoding="utf-8") as file:
            self.info = json.load(file)
        url = urllib.parse.urlsplit(self.network.urls[0])
        _, relays = fetch_directory(self.network, url.hostname, url.port)
        self.relays = {row["host"]: relays[id_of_name(row["name"])]
                       for row in self.info["relays"] + self.info["exits"]}
        self.hosts = [self.relays[host] for host in ("relay1", "relay2", "exit1")]
        self.silent, self.silent_since = self.path(), time.monotonic()
        self.links = []    # that of the silent path is none of an attack
        self.exit = self.info["exits"][0]
        self.web4, self.web6 = self.info["web"]["address4"], self.info["web"]["address6"]

    def status(self, host):
        out = subprocess.run(["sispopnet-relay", "status", "--json", "--config", f"{self.run}/{host}/relay.ini"],
                             check=True, capture_output=True)
        return json.loads(out.stdout)

    def counters(self, host, *names):
        drops = self.status(host)["drops"]
        return [drops.get(name, 0) for name in names]

    def memory_kb(self, host):
        """Resident; 0 where a sanitizer keeps books of its own."""
        with open(f"{self.run}/{host}/relay.pid", encoding="ascii") as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            rows = dict(line.split(":", 1) for line in file)
        sanitized = int(rows["VmSize"].split()[0]) > 1 << 30
        return 0 if sanitized else int(rows["VmRSS"].split()[0])

    def link(self, host="relay1"):
        self.links.append(Link(self.network.id, self.relays[host]).open())
        return self.links[-1]

    def close_links(self):
        """A source has 32 links at most."""
        while self.links:
            self.links.pop().close()

    def path(self):
        return Path(self.link(), self.hosts).build()

    def session(self):
        path = self.path()
        path.auth(self.exit["token"])
        return path


class counted:
    """with counted(lab, host, {name: least}): the counters of host must grow by at least that."""

    def __init__(self, lab, host, least):
        self.lab, self.host, self.least = lab, host, least

    def __enter__(self):
        self.before = self.lab.counters(self.host, *self.least)

    def __exit__(self, kind, value, trace):
        if kind:
            return
        deadline = time.monotonic() + 3
        while True:
            grown = [b - a for a, b in zip(self.before, self.lab.counters(self.host, *self.least))]
            if all(g >= least for g, least in zip(grown, self.least.values())):
                return
            if time.monotonic() > deadline:
                raise Refused(f"{self.host} counted {dict(zip(self.least, grown))} instead of {self.least}")
            time.sleep(0.05)


def check(what, good):
    if not good:
        raise Refused(what)


def echo(path, size=60):
    """A datagram for the web's echo port and the test that knows its answer."""
    data = os.urandom(size)
    port = random.randrange(20000, 60000)
    packet = udp(path.grant.v4, LAB.web4, port, ECHO_PORT, data)
    return packet, lambda answer: is_udp(answer, port, data)


def still_works(path):
    packet, is_answer = echo(path)
    path.send_packet(packet)
    check("the path does not work any more", path.packet(2, is_answer))


def how_often(path, is_answer):
    """Everything sent before has its answer once a later echo has come back, and nothing comes behind it."""
    still_works(path)
    return sum(1 for packet in path.drain(0.2) if is_answer(packet))


# At the exit: inner packets
def foreign_lease(lab):
    """A source that is not the lease: dropped in silence."""
    path = lab.session()
    other4, other6 = path.grant.v4 + 1, path.grant.v6 + 1
    foreign = [udp(source, lab.web4, 1000, ECHO_PORT, b"foreign") for source in (other4, "203.0.113.10", "0.0.0.0")]
    foreign += [udp(source, lab.web6, 1000, ECHO_PORT, b"foreign") for source in (other6, lab.web6, "::1")]
    with counted(lab, "exit1", {"inner-source": len(foreign)}):
        for packet in foreign:
            path.send_packet(packet)
    still_works(path)
    check("a foreign source was answered", not path.drain(0.3))


def closed_destinations(lab):
    """Private addresses, relays, the exit itself: ICMP 3/13 or 1/1 comes back for each."""
    path = lab.session()
    relays = [str(ipaddress.ip_address(relay.v4[0])) for relay in lab.relays.values()]
    closed4 = ["10.0.0.1", "10.101.200.200", "172.16.0.1", "192.168.1.1", "169.254.1.1", "127.0.0.1", "100.64.0.1",
               "0.0.0.0", "224.0.0.1", "255.255.255.255", lab.exit["address4"], lab.exit["wan4"], *relays]
    closed6 = ["fd00::1", "fd53:1::1234", "fe80::1", "::1", "ff02::1", "::ffff:10.0.0.1", "64:ff9b::a00:1",
               lab.exit["address6"], lab.exit["wan6"]]
    for wanted, source, list_ in (((3, 13), path.grant.v4, closed4), ((1, 1), path.grant.v6, closed6)):
        for destination in list_:
            with counted(lab, "exit1", {"inner-destination": 1}):
                path.send_packet(udp(source, destination, 1000, 53, b"closed"))
                if destination in NOT_ONE_HOST:
                    check(f"an ICMP error about {destination}", not path.drain(0.05))
                    continue
                answer = path.packet(2, icmp)
                check(f"no ICMP about {destination}", answer)
                check(f"{icmp(answer)} about {destination}", icmp(answer)[:2] == wanted)
    with counted(lab, "exit1", {"inner-policy": 2}):
        for source, destination, wanted in ((path.grant.v4, "9.9.9.9", (3, 13)), (path.grant.v6, "2620:fe::9", (1, 1))):
            path.send_packet(udp(source, destination, 1000, 53, b"policy"))
            answer = path.packet(2, icmp)
            check(f"{answer and icmp(answer)} about the policy", answer and icmp(answer)[:2] == wanted)
    still_works(path)


def broken_inner_packets(lab):
    """Headers that lie, and plain of no type."""
    path = lab.session()
    good, _ = echo(path)
    v6 = udp(path.grant.v6, lab.web6, 1, ECHO_PORT, b"six")
    broken = [b"", b"\x45", good[:19], b"\x41" + good[1:], b"\x4f" + good[1:], b"\x00" + good[1:], b"\xf5" + good[1:],
              good[:2] + b"\xff\xff" + good[4:], good[:2] + b"\x00\x05" + good[4:], v6[:39], v6[:4] + b"\xff\xff" + v6[6:]]
    with counted(lab, "exit1", {"inner-format": len(broken), "plain-format": 2}):
        for packet in broken:
            path.send_packet(packet)
        for kind in (4, 255):
            path.send_packet(good, kind)
    check("a broken packet was answered", not path.drain(0.2))
    still_works(path)


def ungranted(lab):
    """A circuit at an exit that says nothing is closed after 10 s."""
    closed = lab.silent.link.frame(max(lab.silent_since + 12 - time.monotonic(), 0.1), CIRCUIT_CLOSE)
    check("the circuit without a session is still there", closed)
    check("CIRCUIT_CLOSE of another circuit", closed[:4] == lab.silent.circuit_in.to_bytes(4, "big"))


def no_grant(lab):
    """Data on a path that never said AUTH goes nowhere."""
    path = lab.path()
    with counted(lab, "exit1", {"session-state": 1}):
        path.send_packet(udp("10.101.0.2", lab.web4, 1000, ECHO_PORT, b"early"))
    check("data passes without a GRANT", not path.drain(0.2))


# On the data path
def replays(lab):
    """The same datagram again and again: delivered once."""
    path = lab.session()
    packet, is_answer = echo(path)
    datagram = path.sealed(path.padded(b"\x02" + packet))
    with counted(lab, "relay1", {"data-replay": COPIES}):
        for _ in range(1 + COPIES):
            path.link.sock.send(datagram)
    check("a replay was delivered", how_often(path, is_answer) == 1)


def many_sources(lab):
    """One datagram from 64 source ports, which spread over the relay's workers: delivered once."""
    path = lab.session()
    socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(SOURCE_PORTS)]
    for _ in range(COPIES):
        packet, is_answer = echo(path)
        datagram = path.sealed(path.padded(b"\x02" + packet))
        with counted(lab, "relay1", {"data-replay": SOURCE_PORTS - 1}):
            for sock in socks:
                sock.sendto(datagram, path.link.relay.v4)
        check("a datagram was delivered more than once", how_often(path, is_answer) == 1)
    # The relay asks the new sources by PING; without a PONG from there the link stays where it is.
    check("the link moved without a PONG", path.link.ping() < 1)
    for sock in socks:
        sock.close()


def far_ahead(lab):
    """A counter too far ahead moves no window; one at the edge does, and what is behind it is dead."""
    path = lab.session()
    packet, is_answer = echo(path)
    plain = path.padded(b"\x02" + packet)
    with counted(lab, "relay1", {"data-ahead": 2}):
        for jump in (AHEAD_MOST + 1, 1 << 54):
            path.link.sock.send(path.sealed(plain, path.counter + jump))
    check("a counter far ahead was delivered", how_often(path, is_answer) == 0)
    old = path.counter
    path.counter += AHEAD_MOST - 10
    still_works(path)
    with counted(lab, "relay1", {"data-replay": 1}):
        path.link.sock.send(path.sealed(plain, old + 1))
    check("a counter behind the window was delivered", how_often(path, is_answer) == 0)


def flipped_bits(lab):
    """A bit flipped anywhere in the body dies at the guard and moves no window."""
    path = lab.session()
    packet, is_answer = echo(path)
    datagram = path.sealed(path.padded(b"\x02" + packet))
    places = [20, 21, len(datagram) // 2, len(datagram) - 1, *random.sample(range(20, len(datagram)), 12)]
    with counted(lab, "relay1", {"data-open": len(places)}):
        for at in places:
            path.link.sock.send(datagram[:at] + bytes([datagram[at] ^ 1 << random.randrange(8)]) + datagram[at + 1:])
    with counted(lab, "relay1", {"header-bad": 1, "link-unknown": 1}):
        path.link.sock.send(datagram[:9] + bytes([datagram[9] ^ 1]) + datagram[10:])
        path.link.sock.send(bytes([datagram[0] ^ 1]) + datagram[1:])
    path.link.sock.send(datagram)
    check("the true datagram was not delivered once", how_often(path, is_answer) == 1)


def others_circuit(lab):
    """A circuit id of another link is of no use."""
    victim, link = lab.session(), lab.link()
    datagram = link.data_bytes(victim.circuit_out, victim.counter + 1, os.urandom(400))
    with counted(lab, "relay1", {"circuit-link": 1}):
        link.sock.send(datagram)
    # BUILD from here with the victim's bytes, and a CIRCUIT_CLOSE of its circuit
    link.ctrl((CIRCUIT_CLOSE, struct.pack(">IB", victim.circuit_out, 1)))
    link.ping()
    still_works(victim)


def wrong_sizes(lab):
    """Too short, too long, and bodies too short for their layers."""
    path = lab.session()
    sizes = (1, 19, 63, 83, 1453, 1472)
    with counted(lab, "relay1", {"datagram-size": len(sizes)}):
        for size in sizes:
            path.link.sock.send((path.link.link_id.to_bytes(4, "big") + os.urandom(size))[:size])
    with counted(lab, "relay1", {"data-open": 1}):
        path.link.sock.send(path.link.data_bytes(path.circuit_out, path.counter + 1, os.urandom(64)))
    still_works(path)


# Bursts: one send with UDP_SEGMENT, which arrives in one piece where the relay receives by GRO
SOL_UDP, UDP_SEGMENT = 17, 103
GOOD_IN_BURST, BURSTS = 6, 20
LONGEST = 65507
INIT_SIZE = 192


def send_burst(sock, datagrams):
    """All but the last are as long as the first, and the last is no longer."""
    sock.sendmsg([b"".join(datagrams)], [(SOL_UDP, UDP_SEGMENT, struct.pack("H", len(datagrams[0])))])


def bad_ones(path, victim, size):
    """(counter, datagram) of what must be dropped wherever it stands, all of this size."""
    link, plain = path.link, bytes(size - 68)
    flipped, broken = path.sealed(plain), path.sealed(plain)
    stranger = bytes([flipped[0] ^ 1]) + flipped[1:4] + bytes(1) + os.urandom(size - 5)
    return [("data-open", flipped[:-1] + bytes([flipped[-1] ^ 1])),
            ("data-open", link.data_bytes(path.circuit_out, path.counter + 50, os.urandom(size - 20))),
            ("data-ahead", path.sealed(plain, path.counter + AHEAD_MOST + 1000)),
            ("header-bad", broken[:9] + bytes([broken[9] ^ 1]) + broken[10:]),
            ("link-unknown", stranger),
            ("circuit-link", link.data_bytes(victim.circuit_out, victim.counter + 1, os.urandom(size - 20)))]


def mixed_burst(path, victim, data_size, port, opaque):
    """(counter or None, datagram) in order, and the data of the good ones: bad ones anywhere, copies behind, a runt."""
    wanted = [os.urandom(data_size) for _ in range(GOOD_IN_BURST)]
    packets = [udp(path.grant.v4, LAB.web4, port, ECHO_PORT, data) for data in wanted]
    good = [path.sealed(path.padded(b"\x02" + packet)) for packet in packets]
    burst = [(None, datagram) for datagram in good]
    for one in bad_ones(path, victim, len(good[0])):
        burst.insert(random.randrange(len(burst) + 1), one)
    ping = path.link.ctrl_bytes((PING, opaque))
    if len(ping) == len(good[0]):
        burst.insert(random.randrange(len(burst) + 1), (None, ping))
    burst += [("data-replay", datagram) for datagram in good]
    burst.append(("datagram-size", path.link.link_id.to_bytes(4, "big") + bytes(random.randrange(1, 59))))
    return burst, wanted, len(ping) == len(good[0])


def lateness(lab):
    """What busy relays lost unread. It excuses a loss, and that a copy passes in the place of its original."""
    return [lab.counters(host, "queue-late")[0] for host in ("relay1", "relay2", "exit1")]


def take_answers(path, wanted, due):
    """Whether all came, in order; what comes must be due, so nothing comes twice."""
    got = []
    while len(got) < len(wanted) and (answer := path.packet(1, lambda p: payload(p)[2] == UDP)):
        got.append(payload(answer)[3][8:])
        check("an answer came twice", got[-1] in due)
        due.remove(got[-1])
    return got == wanted


def mixed_bursts(lab):
    """Good datagrams between bad ones of their size: delivered once and in order; each drop has its right name."""
    path, victim = lab.session(), lab.session()
    port, due, pings = random.randrange(20000, 60000), set(), 0
    names = ("data-replay", "data-open", "data-ahead", "header-bad", "link-unknown", "circuit-link", "datagram-size")
    counted_before, late_before, wanted_drops = lab.counters("relay1", *names), lateness(lab), dict.fromkeys(names, 0)
    late = late_before
    for data_size in (60, 260, 1200) * BURSTS:
        opaque = os.urandom(8)
        burst, wanted, has_ping = mixed_burst(path, victim, data_size, port, opaque)
        for name, _ in burst:
            if name:
                wanted_drops[name] += 1
        due.update(wanted)
        send_burst(path.link.sock, [datagram for _, datagram in burst])
        good = take_answers(path, wanted, due)
        victim.link.wait(0, lambda: False)    # it answers PINGs, or the relay takes it for dead
        if has_ping:
            pings += 1
            good = path.link.frame(1, PONG, lambda data, o=opaque: data == o) is not None and good
        if not good:
            check(f"{len(due)} good ones of a burst were lost, or out of order", lateness(lab) != late)
            late = lateness(lab)
    check("no PING was in a burst", pings)
    still_works(path)
    check("an answer came twice", all(payload(packet)[3][8:] in due for packet in path.drain(0.2)))
    grown = dict(zip(names, (b - a for a, b in zip(counted_before, lab.counters("relay1", *names)))))
    less = [wanted_drops[name] - grown[name] for name in names]
    check(f"relay1 counted {grown} instead of {wanted_drops}, late {late_before} to {lateness(lab)}",
          min(less) >= 0 and sum(less) <= lateness(lab)[0] - late_before[0])
    still_works(victim)


def odd_bursts(lab):
    """Runts, the longest datagrams there are, and a handshake between noise."""
    path = lab.session()
    own = path.link.link_id.to_bytes(4, "big")
    with counted(lab, "relay1", {"datagram-size": 60 + 40 + 20 + 1}):
        send_burst(path.link.sock, [b"\x01"] * 60)
        send_burst(path.link.sock, [own + bytes(59)] * 39 + [own])
        send_burst(path.link.sock, [own + bytes(1468)] * 20)
        path.link.sock.send(own + bytes(LONGEST - 4))
    fresh = Link(lab.network.id, lab.relays["relay1"])
    lab.links.append(fresh)
    init = fresh.init_bytes()
    strangers = [bytes([1, 2, 3, i, 0]) + os.urandom(INIT_SIZE - 5) for i in range(8)]
    with counted(lab, "relay1", {"link-unknown": 8, "datagram-size": 1}):
        send_burst(fresh.sock, strangers[:4] + [init] + strangers[4:] + [bytes(20)])
        datagram = fresh.receive(time.monotonic() + 2)
    check("a handshake in a burst is not answered", datagram and len(datagram) == INIT_SIZE)
    fresh.take_resp(datagram)
    fresh.ping()
    still_works(path)


# CTRL
def garbage_ctrl(lab):
    """Frames that lie are dropped with their datagram, whole; the link lives on."""
    path = lab.session()
    link = path.link
    good = struct.pack(">BH", PING, 8) + b"goodping"
    broken = [b"\x07\x00\x00", b"\xff" * 160, struct.pack(">BH", PING, 7) + bytes(7), struct.pack(">BH", BUILD, 800),
              struct.pack(">BH", PING, 0xffff), struct.pack(">BH", CIRCUIT_CLOSE, 4) + bytes(4),
              good + struct.pack(">BH", PONG, 9) + bytes(9), os.urandom(1).replace(b"\0", b"\x09") + os.urandom(159)]
    with counted(lab, "relay1", {"ctrl-format": len(broken) + 2}):
        for plain in broken:
            link.sock.send(link.ctrl_bytes(plain=plain.ljust(160, b"\0")))
        for size in (159, 161):
            link.sock.send(link.ctrl_bytes(plain=bytes(size)))
    check("a broken datagram's frames were heeded", link.frame(0.2, PONG, lambda data: data == b"goodping") is None)
    fresh = link.ctrl_bytes((PING, b"goodping"))
    with counted(lab, "relay1", {"ctrl-open": 1, "ctrl-replay": COPIES}):
        link.sock.send(fresh[:-1] + bytes([fresh[-1] ^ 1]))
        for _ in range(1 + COPIES):
            link.sock.send(fresh)
    check("a true PING is not answered", link.frame(1, PONG, lambda data: data == b"goodping"))
    check("a replayed PING is answered", link.frame(0.2, PONG, lambda data: data == b"goodping") is None)
    with counted(lab, "relay1", {"header-type": 2}):
        for kind in (0, 3):
            block = link.block_out.cipher.encryptor().update(bytes(4) + bytes([kind]) + bytes(11))
            link.sock.send(link.link_id.to_bytes(4, "big") + block + bytes(176))
    # Words that a client has no business to say, about circuits that do not exist
    link.ctrl((BUILD_REPLY, os.urandom(520)))
    link.ctrl((CIRCUIT_CLOSE, os.urandom(5)))
    link.ctrl(*[(PING, os.urandom(8))] * 70)
    link.ping()
    still_works(path)


# Sessions
def wrong_seqs(lab):
    """What is older than the last is dropped; a repeat gets the last answer and no second session."""
    path = lab.session()
    first = path.grant
    path.seq = 5
    check("an AUTH with a higher seq is refused", path.auth(lab.exit["token"]).session != first.session)
    second = path.grant
    path.seq -= 1
    check("a repeat makes a new session", path.auth(lab.exit["token"]).session == second.session)
    old = path.control_plain(AUTH, 3, bytes(99), path.size)
    with counted(lab, "exit1", {"session-seq": 1}):
        path.link.sock.send(path.sealed(old))
    junk = [path.control_plain(kind, 9, b"", path.size) for kind in (0, 17, 18, 20, 22, 23, 24, 26, 255)]
    junk.append(struct.pack(">BBHI", 1, AUTH, 0xffff, 9) + bytes(1364))
    junk.append(path.control_plain(AUTH, 9, bytes(98), path.size))
    with counted(lab, "exit1", {"session-format": len(junk)}):
        for plain in junk:
            path.link.sock.send(path.sealed(plain))
    still_works(path)


def others_session(lab):
    """BIND of another's session without its key: silence, and the session stays where it is."""
    victim, thief, other = lab.session(), lab.path(), lab.path()
    session, key = victim.grant.session, victim.session_key
    for body in (session + (9).to_bytes(4, "big") + os.urandom(32),
                 other.bind_body(thief.seq + 2, session, key, 9)):    # a true one: it fits its own path only
        with counted(lab, "exit1", {"session-bind": 1}):
            thief.seq += 1
            thief.link.sock.send(thief.sealed(thief.control_plain(BIND, thief.seq, body, FULL_SIZES[0])))
    check("a true BIND is refused", other.bind(session, key, 1) == 0)
    thief.grant = victim.grant
    with counted(lab, "exit1", {"session-state": 1}):
        thief.send_packet(echo(thief)[0])
    check("the thief hears something", not thief.drain(0.3))
    other.grant = victim.grant
    still_works(other)


def fourth_auth(lab):
    """Three AUTHs without a GRANT and the circuit closes; after a GRANT the fourth does."""
    for token, tries in (("no such token", 3), (lab.exit["token"], 4)):
        path = lab.path()
        path.repeats = (0.3,)
        with counted(lab, "exit1", {"session-auth": 1}):
            for _ in range(tries):
                try:
                    path.auth(token)
                except Refused:
                    continue
        closed = path.link.frame(3, CIRCUIT_CLOSE)
        check(f"the circuit lives after {tries} AUTHs with '{token}'", closed)
        check(f"CIRCUIT_CLOSE says {closed.hex()}", closed == struct.pack(">IB", path.circuit_in, closed[4]))
        check("CIRCUIT_CLOSE for another reason", closed[4] == CLOSE_PROTOCOL)


def denied(path, reason, *words, **more):
    try:
        path.auth(*words, **more)
    except Refused as error:
        check(f"'{error}' instead of DENY {reason}", f"DENY, reason {reason}," in str(error))
    else:
        raise Refused(f"GRANT instead of DENY {reason}")


def five_paths(lab):
    """A session has four paths: a fifth takes the place of the one with the lowest prio."""
    first = lab.session()
    paths = [first]
    for prio in (3, 2, 4, 5):
        path = lab.path()
        path.grant = first.grant
        check("BIND is refused", path.bind(first.grant.session, first.session_key, prio) == 0)
        paths.append(path)
    still_works(paths[-1])
    with counted(lab, "exit1", {"session-state": 1}):
        first.send_packet(echo(first)[0])
    # Data is taken on each bound path, and answered on the one with the highest prio.
    for path in paths[1:]:
        packet, is_answer = echo(path)
        path.send_packet(packet)
        check("no answer on the path of the highest prio", paths[-1].packet(2, is_answer))


def stolen_proof(lab):
    """An AUTH that was signed for another path is DENYed."""
    path, other = lab.path(), lab.path()
    true_h, path.hops[-1].h = path.hops[-1].h, other.hops[-1].h
    denied(path, 1, lab.exit["token"])
    path.hops[-1].h = true_h
    denied(path, 6, "", method=0)    # open, and this exit wants a token
    path.auth(lab.exit["token"])
    still_works(path)


# BUILD
def refused_build(lab, relays, words, counter, **changes):
    path = Path(lab.link(), relays, **changes)
    with counted(lab, "relay1", {counter: 1}):
        try:
            path.build()
        except Refused as error:
            check(f"'{error}' instead of '{words}'", words in str(error))
        else:
            raise Refused(f"a BUILD that should end with '{words}' was accepted")


def bad_builds(lab):
    """Onions for nobody, for the relay itself, of another time, under another key, cut, and used twice."""
    relay1, relay2, exit1 = lab.hosts
    unknown = exit1._replace(id=os.urandom(32))
    refused_build(lab, [relay1, unknown], "next unknown", "build-next")
    refused_build(lab, [relay1, relay1, exit1], "protocol", "build-next")
    link = lab.link()
    path = Path(link, lab.hosts)
    kind, data = path.build_frame()
    broken = [data[:4] + struct.pack(">H", size) + data[6:] for size in (0, 97, 99, 293, 800, 882, 0xffff)]
    broken.append(bytes(4) + data[4:])
    with counted(lab, "relay1", {"build-format": len(broken), "build-keyid": 1, "build-open": 2}):
        for frame in broken:
            link.ctrl((kind, frame))
        keyid, = struct.unpack(">H", data[6:8])
        link.ctrl((kind, data[:6] + struct.pack(">H", keyid ^ 0x8000) + data[8:]))
        link.ctrl((kind, data[:50] + bytes([data[50] ^ 1]) + data[51:]))
        link.ctrl((kind, data[:6] + data[6:8] + os.urandom(798)))
    link.ctrl((kind, data))
    wanted = data[:4]
    reply = link.frame(3, BUILD_REPLY, lambda body: body[:4] == wanted)
    check("the true onion is not answered", reply)
    link.ctrl((kind, data))
    check("a repeat is not answered by the same reply",
          link.frame(3, BUILD_REPLY, lambda body: body[:4] == wanted) == reply)
    path.take_reply(reply)
    with counted(lab, "relay1", {"build-replay": 2}):
        link.ctrl((kind, os.urandom(4) + data[4:]))
        lab_link = lab.link()
        lab_link.ctrl((kind, data))
        check("a replayed onion is answered", lab_link.frame(0.3, BUILD_REPLY) is None)
    path.auth(lab.exit["token"])
    still_works(path)


def wrong_clocks(lab):
    """A clock that is 20 minutes off: refused by the link and by a hop."""
    for skew in (-1200, 1200):
        link = Link(lab.network.id, lab.relays["relay1"])
        with counted(lab, "relay1", {"init-skew": 1}):
            try:
                link.open(time=int(time.time() + skew) // 60)
            except Refused as error:
                check(f"refused in another way: {error}", "answers skew" in str(error))
            else:
                raise Refused("a link with a wrong clock is accepted")
        refused_build(lab, lab.hosts, "answers: time", "build-time", skew=skew)


def build_flood(lab):
    """More than 20 BUILD a second on one link, and more than 64 circuits."""
    link, replies = lab.link(), 0
    with counted(lab, "relay1", {"build-rate": 3 * BUILDS_PER_S}):
        for _ in range(5 * BUILDS_PER_S):
            link.ctrl(Path(link, lab.hosts[:1]).build_frame())
        while link.frame(0.5, BUILD_REPLY) is not None:
            replies += 1
    check(f"{replies} of {5 * BUILDS_PER_S} BUILDs at once were answered", replies <= 2 * BUILDS_PER_S)
    # Slowly: circuits that a relay holds for one client link are 64
    held = 0
    with counted(lab, "relay1", {"circuits-per-link": 1}):
        while held < 70:
            path = Path(link, [lab.hosts[0], lab.hosts[2]])
            wait = time.monotonic() + 1.2 / BUILDS_PER_S
            link.ctrl(path.build_frame())
            held += 1
            link.wait(max(wait - time.monotonic(), 0), lambda: False)
    still_works(lab.session())


# INIT
def bad_inits(lab):
    """INITs that do not verify cost no DH and get no answer; those that do, and lie, get a RESP that says so."""
    relay = lab.relays["relay1"]
    link = Link(lab.network.id, relay)
    init = link.init_bytes()
    with counted(lab, "relay1", {"mac1-bad": 3}):
        for at in (8, 100, 170):
            link.sock.send(init[:at] + bytes([init[at] ^ 1]) + init[at + 1:])
    with counted(lab, "relay1", {"init-replay": 1}):
        link.sock.send(init)
        link.sock.send(init)
    seen = []
    while (datagram := link.receive(time.monotonic() + 0.3)) is not None:
        seen.append(len(datagram))
    check(f"answers of {seen} to one INIT that verifies", seen == [192])
    with counted(lab, "relay1", {"init-net": 1}):
        try:
            Link(lab.network.id ^ 1, relay).open()
        except Refused as error:
            check(f"refused in another way: {error}", "answers net" in str(error))
        else:
            raise Refused("another network's link is accepted")


def init_flood(lab):
    """Half-open links from everywhere, then many INITs from one address: bounded, and no answer above its request."""
    relay = lab.relays["relay1"]
    before = lab.memory_kb("relay1")
    spoof(lab, relay)
    half_open = lab.status("relay1")["half_open"]
    check(f"{half_open} half-open links", SPOOFED_INITS / 2 < half_open <= 4096)
    with counted(lab, "relay1", {"cookie-sent": 500, "init-rate": 10}):
        sent, received, largest = one_address(lab, relay)
    check(f"{received} bytes of answers to {sent} bytes of INITs", 0 < received <= sent)
    check(f"an answer of {largest} bytes to 192", largest <= 192)
    grown = lab.memory_kb("relay1") - before
    check(f"the relay grew by {grown} KB", grown < MEMORY_GROWTH_MOST_KB)
    print(f"    {half_open} half open, {received} bytes answered to {sent}, {grown} KB more")
    still_works(lab.session())


def spoof(lab, relay):
    """INITs that verify, from addresses of others, slowly enough that no cookie is asked for."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    link = Link(lab.network.id, relay)
    start = time.monotonic()
    for i in range(SPOOFED_INITS):
        source = f"192.0.2.{1 + i % 250}"
        raw.sendto(udp(source, relay.v4[0], 1024 + i, relay.v4[1], link.init_bytes()), relay.v4)
        behind = start + i / SPOOFED_PER_S - time.monotonic()
        if behind > 0:
            time.sleep(behind)    # the pace is what is tested: below the load at which cookies begin
    raw.close()


def one_address(lab, relay):
    """A flood without cookies, then with one: bytes sent, bytes received, the longest answer."""
    answers = []
    links = [Link(lab.network.id, relay) for _ in range(60)]
    for i in range(FLOOD_INITS):
        links[i % len(links)].sock.send(links[i % len(links)].init_bytes())
    sent = 192 * FLOOD_INITS
    link = links[0]
    for _ in range(PROVEN_INITS):
        if not link.cookies:
            sent += 192 * get_cookie(links, answers)
        link.init_bytes()
        link.sock.send(link.proven())
        sent += 192
    for each in links:
        while (datagram := each.receive(time.monotonic() + 0.01)) is not None:
            answers.append(len(datagram))
    return sent, sum(answers), max(answers)


def get_cookie(links, answers):
    """Under load a COOKIE comes for the newest INIT of links[0], behind older answers: how many INITs that took."""
    link, sent = links[0], 0
    while not link.cookies and sent < FLOOD_INITS:
        for _ in range(30):
            links[1].sock.send(links[1].init_bytes())
        link.sock.send(link.init_bytes())
        sent += 31
        while not link.cookies and (datagram := link.receive(time.monotonic() + 0.1)) is not None:
            answers.append(len(datagram))
            try:
                link.with_cookie(datagram)
            except Refused:
                continue
    check("no cookie came under load", link.cookies)
    return sent


ATTACKS = (foreign_lease, closed_destinations, broken_inner_packets, no_grant, replays, many_sources, far_ahead,
           flipped_bits, others_circuit, wrong_sizes, mixed_bursts, odd_bursts, garbage_ctrl, wrong_seqs,
           others_session, fourth_auth, stolen_proof, five_paths, bad_builds, wrong_clocks, build_flood, bad_inits,
           ungranted, init_flood)

if __name__ == "__main__":
    LAB = Lab(*sys.argv[1:4])
    for attack in ATTACKS:
        if sys.argv[4:] and attack.__name__ not in sys.argv[4:]:
            continue
        began = time.monotonic()
        try:
            attack(LAB)
        except Refused as problem:
            sys.exit(f"hostile: {attack.__name__}: {problem}")
        LAB.close_links()
        print(f"{time.monotonic() - began:6.2f}  {attack.__name__}: {attack.__doc__.splitlines()[0]}", flush=True)
