"""tests/peer/path.py - a path of 1 to 8 hops and the session at its exit (docs/PROTOCOL.md sections 5 to 7)."""
import hashlib
import ipaddress
import os
import struct
import time
from collections import namedtuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl import bindings

from link import BUILD, BUILD_REPLY, CIRCUIT_CLOSE, random_id
from sispop import COUNTER_MASK, Handshake, OFFSET_MASK, Refused, kdf, nonce_of, onion_key

ONION_SIZE, REPLY_SIZE = 800, 512
FULL_SIZES = (1440, 1380, 1320, 1240)
BUCKETS = (128, 320, 640, 1024)
PLAIN_LEAST = 16
HEADER_SIZE, TAG_SIZE = 20, 16
DUMMY, CONTROL, PACKET, PARTIAL = range(4)
AUTH, GRANT, DENY, BIND, BOUND, SESSION_PING, SESSION_PONG, REFUSED, UPDATE, CLOSE = range(16, 26)
PADDING_BUCKET, PADDING_NONE, PADDING_FULL = range(3)
HOP_STATUS = ("ok", "overload", "next unknown", "next down", "no exit", "time", "protocol")
BUILD_REPEATS = (1.0, 1.5, 3.5)      # sent at 0, 1 and 2.5 s; given up at 6 s
SESSION_REPEATS = (1, 2, 4)

Grant = namedtuple("Grant", "session v4 v6 dns mtu up_kbps down_kbps quota_left idle_s expires_s max_paths policy")


class Hop:
    """Keys of one hop, once it has answered (section 3)."""

    def __init__(self, handshake, forward_offset, backward_offset):
        seed = handshake.seed
        self.h, self.resume = handshake.h, kdf(seed, "resume")
        self.forward, self.backward = AESGCM(kdf(seed, "kf")), AESGCM(kdf(seed, "kb"))
        self.iv_forward, self.iv_backward = kdf(seed, "ivf", b"", 12), kdf(seed, "ivb", b"", 12)
        self.df, self.db = forward_offset, backward_offset


class Path:
    def __init__(self, link, relays, lifetime=600, skew=0):
        """`relays` in order, the guard (which is link.relay) first; `skew`: a wrong clock, for hostile tests."""
        self.link, self.relays, self.lifetime, self.skew = link, relays, lifetime, skew
        self.repeats = SESSION_REPEATS
        self.count = len(relays)
        self.slots = max(self.count, 3)
        self.size = FULL_SIZES[0]
        self.padding = PADDING_BUCKET
        self.counter = int.from_bytes(os.urandom(6), "big") & OFFSET_MASK
        self.seen, self.highest = set(), None
        self.packets, self.controls = [], []
        self.seq = 0
        self.replay_ok = False

    # Section 5
    def onion(self):
        self.handshakes, onion = [], b""
        now = time.time()
        for i in range(self.count, 0, -1):
            relay, last = self.relays[i - 1], i == self.count
            keyid, B = onion_key(relay, now)
            fill = self.slots - (self.count - i + 1)
            next_id = bytes(32) if last else self.relays[i].id
            request = struct.pack(">BBHI32sHHI", last, fill, self.lifetime,
                                  int(now + self.skew) // 60, next_id, len(onion), 0, 0)
            handshake = Handshake(b"path", relay.id, B, request, onion)
            self.handshakes.insert(0, handshake)
            onion = struct.pack(">H", keyid) + handshake.X + handshake.ct
        return onion

    def build_frame(self):
        onion = self.onion()
        self.circuit_in = random_id()
        self.link.data[self.circuit_in] = []
        body = onion + os.urandom(ONION_SIZE - len(onion))
        return BUILD, struct.pack(">IH", self.circuit_in, len(onion)) + body

    def build(self):
        frame = self.build_frame()
        wanted = self.circuit_in.to_bytes(4, "big")
        for delay in BUILD_REPEATS:
            self.link.ctrl(frame)
            reply = self.link.frame(delay, BUILD_REPLY, lambda data: data[:4] == wanted)
            if reply is not None:
                self.take_reply(reply)
                return self
        closed = self.link.frame(0, CIRCUIT_CLOSE, lambda data: data[:4] == wanted)
        raise Refused(f"no BUILD_REPLY (CIRCUIT_CLOSE: {closed})")

    def take_reply(self, data):
        self.circuit_out, = struct.unpack(">4xI", data[:8])
        reply = data[8:8 + 64 * self.count]
        self.hops = []
        for number, handshake in enumerate(self.handshakes, 1):
            plain = handshake.answered(reply[:32], reply[32:])
            status, _, self.max_dgram, self.told_lifetime = struct.unpack(">BBHI8x", plain[:16])
            if status:
                raise Refused(f"hop {number} answers: {HOP_STATUS[status]}")
            reply = plain[16:]
            seed = handshake.seed
            offsets = (int.from_bytes(kdf(seed, label, b"", 8), "big") & OFFSET_MASK for label in ("df", "db"))
            self.hops.append(Hop(handshake, *offsets))

    # Section 6
    def sealed(self, plain, counter=None):
        """One datagram for the guard; `plain` must have its final size."""
        if counter is None:
            self.counter = (self.counter + 1) & COUNTER_MASK
            counter = self.counter
        at_hop = [counter]
        for hop in self.hops[:-1]:
            at_hop.append((at_hop[-1] + hop.df) & COUNTER_MASK)
        body = plain
        for hop, number in zip(reversed(self.hops), reversed(at_hop)):
            body = hop.forward.encrypt(nonce_of(hop.iv_forward, number), body, None)
        body += os.urandom(TAG_SIZE * (self.slots - self.count))
        return self.link.data_bytes(self.circuit_out, counter, body)

    def plain_size(self, size=None):
        return (size or self.size) - HEADER_SIZE - TAG_SIZE * self.slots

    def padded(self, plain):
        full = self.plain_size()
        if len(plain) > full:
            raise Refused(f"{len(plain)} bytes do not fit {full}")
        if self.padding == PADDING_NONE:
            return plain.ljust(PLAIN_LEAST, b"\0")
        sizes = (BUCKETS if self.padding == PADDING_BUCKET else ()) + (full,)
        return plain.ljust(next(size for size in sizes if len(plain) <= size <= full), b"\0")

    def opened(self, counter, body):
        """The plain of a backward datagram; every layer must verify, then the window."""
        for number, hop in enumerate(self.hops, 1):
            counter = (counter - hop.db) & COUNTER_MASK
            size = len(body) - (TAG_SIZE * (self.slots - self.count) if number == 1 else 0)
            try:
                body = hop.backward.decrypt(nonce_of(hop.iv_backward, counter), body[:size], None)
            except InvalidTag as error:
                raise Refused(f"layer {number} of a backward datagram does not verify") from error
        if counter in self.seen:
            raise Refused("a backward counter seen before")
        self.seen.add(counter)
        return body

    def poll(self):
        """Sorts the backward data that came in so far into .packets and .controls."""
        waiting = self.link.data[self.circuit_in]
        while waiting:
            plain = self.opened(*waiting.pop(0))
            if plain[0] == CONTROL:
                kind, size, seq = struct.unpack(">BHI", plain[1:8])
                self.controls.append((kind, seq, plain[8:8 + size], HEADER_SIZE + len(plain) + TAG_SIZE * self.slots))
            elif plain[0] in (PACKET, PARTIAL):
                self.packets.append((plain[0], plain[1:1 + packet_size(plain[1:])]))
            elif plain[0] != DUMMY:
                raise Refused("a plain of no known type")

    def wait_for(self, seconds, find):
        def ready():
            self.poll()
            return find()
        return self.link.wait(seconds, ready)

    def send_packet(self, packet, kind=PACKET):
        self.link.sock.send(self.sealed(self.padded(bytes([kind]) + packet)))

    def packet(self, seconds, accept=lambda packet: True):
        found = self.wait_for(seconds, lambda: next((p for p in self.packets if accept(p[1])), None))
        if found:
            self.packets.remove(found)
        return found and found[1]

    def drain(self, seconds):
        """All inner packets of the next `seconds`."""
        self.wait_for(seconds, lambda: False)
        packets, self.packets = [p for _, p in self.packets], []
        return packets

    # Section 7
    def control_plain(self, kind, seq, body, size):
        plain = struct.pack(">BBHI", CONTROL, kind, len(body), seq) + body
        return plain.ljust(self.plain_size(size), b"\0")

    def control(self, kind, seconds, answers, seq):
        def find():
            return next((c for c in self.controls if c[0] in answers and c[1] == seq), None)
        found = self.wait_for(seconds, find)
        if found:
            self.controls.remove(found)
        return found

    def request(self, kind, body, answers):
        """Sends until answered, each repeat at the next smaller full size: (type, body); sets the path's size."""
        self.seq += 1
        seq = self.seq
        body = body(seq) if callable(body) else body
        for delay, size in zip(self.repeats, FULL_SIZES):
            self.link.sock.send(self.sealed(self.control_plain(kind, seq, body, size)))
            answer = self.control(kind, delay, answers, seq)
            if answer:
                if answer[3] not in FULL_SIZES[:FULL_SIZES.index(size) + 1]:
                    raise Refused(f"an answer of {answer[3]} bytes to a request of {size}")
                self.size = answer[3]
                return answer[0], answer[2]
        raise Refused(f"the exit does not answer a request of type {kind}")

    def auth(self, token, wants=7, method=1):
        exit_id, h = self.relays[-1].id, self.hops[-1].h
        public, secret = token_pair(token, exit_id)
        earlier = bytes([method, wants, self.padding]) + public
        signed = bindings.crypto_sign(b"sispop1 auth" + exit_id + h + earlier, secret)
        kind, body = self.request(AUTH, earlier + signed[:64], (GRANT, DENY))
        if kind == DENY:
            raise Refused(f"DENY, reason {body[0]}, again in {int.from_bytes(body[1:5], 'big')} s")
        self.grant = parse_grant(body)
        self.session_key = kdf(self.hops[-1].resume, "session", self.grant.session)
        return self.grant

    def bind_body(self, seq, session, session_key, prio):
        said = self.relays[-1].id + self.hops[-1].h + seq.to_bytes(4, "big") + prio.to_bytes(4, "big")
        mac = hashlib.blake2b(b"bind" + said, key=session_key, digest_size=32).digest()
        return session + prio.to_bytes(4, "big") + mac

    def bind(self, session, session_key, prio):
        """Binds this path to a session: 0 bound, 1 unknown."""
        _, answer = self.request(BIND, lambda seq: self.bind_body(seq, session, session_key, prio), (BOUND,))
        return answer[0]

    def session_ping(self):
        self.seq += 1
        opaque = os.urandom(8)
        start = time.monotonic()
        self.link.sock.send(self.sealed(self.control_plain(SESSION_PING, self.seq, opaque, self.size)))
        answer = self.control(SESSION_PING, 2, (SESSION_PONG,), self.seq)
        if not answer or answer[2][:8] != opaque or answer[3] > self.size:
            raise Refused(f"no good PONG from the exit: {answer}")
        return time.monotonic() - start

    def close(self, reason=1):
        self.link.ctrl((CIRCUIT_CLOSE, struct.pack(">IB", self.circuit_out, reason)))
        del self.link.data[self.circuit_in]


def token_pair(token, exit_id, known={}):
    """Argon2id takes 100 ms and 64 MB: once a token is enough."""
    from sispop import token_keys
    if (token, exit_id) not in known:
        known[token, exit_id] = token_keys(token, exit_id)
    return known[token, exit_id]


def parse_grant(body):
    session, v4, v6, ndns = struct.unpack_from(">16s4s16sB", body) if len(body) >= 37 else (b"", b"", b"", 4)
    rest = body[37 + 16 * ndns:]
    if ndns > 3 or len(rest) != struct.calcsize(">HIIQIIB32s"):
        raise Refused(f"a GRANT of {len(body)} bytes with {ndns} DNS servers")
    servers = [ipaddress.ip_address(body[at:at + 16]) for at in range(37, 37 + 16 * ndns, 16)]
    return Grant(session, ipaddress.ip_address(v4), ipaddress.ip_address(v6),
                 [server.ipv4_mapped or server for server in servers], *struct.unpack(">HIIQIIB32s", rest))


def packet_size(packet):
    """By the packet's own length field."""
    if packet[0] >> 4 == 4:
        return int.from_bytes(packet[2:4], "big")
    return 40 + int.from_bytes(packet[4:6], "big")
