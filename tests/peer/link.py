"""tests/peer/link.py - a client's link to a relay (docs/PROTOCOL.md section 4).

One UDP socket, one link. Nothing runs in the background: whoever waits calls wait(), which sorts what comes in:
CTRL frames into .frames as (type, data), data of circuits into .data[circuit_id] as (counter, body).
"""
import os
import select
import socket
import struct
import time

from nacl import bindings

from sispop import Handshake, HeaderBlock, H, Refused, kdf, mac16, nonce_of, onion_key, one_shot_open, one_shot_seal

INIT, RESP, COOKIE = 1, 2, 3
DATA, CTRL = 1, 2
PAD, PING, PONG, BUILD, BUILD_REPLY, CIRCUIT_CLOSE, LINK_CLOSE = range(7)
CTRL_SIZES = (160, 900)
MAX_DGRAM = 1452
STATUS = ("ok", "skew", "full", "net", "version")


def random_id():
    return int.from_bytes(os.urandom(4), "big") or 1


class Link:
    def __init__(self, network_id, relay, role=1):
        self.relay, self.network_id, self.role = relay, network_id, role
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.connect(relay.v4)
        self.cookies = 0
        self.up = False
        self.frames, self.data = [], {}
        self.dropped = 0
        self.ctrl_counter = 0
        self.ctrl_seen = set()

    # INIT, RESP, COOKIE
    def init_bytes(self, now=None, **changes):
        """A fresh INIT; `changes` puts other values into its request, for hostile tests."""
        now = time.time() if now is None else now
        keyid, B = onion_key(self.relay, now)
        self.own_id = random_id()
        fields = {"net": self.network_id, "time": int(now) // 60, "dgram": MAX_DGRAM, "role": self.role} | changes
        request = struct.pack(">IIHB", fields["net"], fields["time"], fields["dgram"], fields["role"])
        self.handshake = Handshake(b"link", self.relay.id, B, request.ljust(100, b"\0"))
        init = struct.pack(">IBBHI", 0, INIT, 1, keyid, self.own_id) + self.handshake.X + self.handshake.ct
        self.init = init + mac16(H(b"mac1" + self.relay.id), init)
        return self.init + bytes(16)

    def with_cookie(self, datagram):
        """The same INIT with mac2 under the cookie of this COOKIE datagram."""
        _, kind, zero = struct.unpack(">IB3s", datagram[:8])
        if kind != COOKIE or zero != bytes(3):
            raise Refused("not a COOKIE")
        mac1 = self.init[-16:]
        try:
            self.cookie = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
                datagram[32:], mac1, datagram[8:32], kdf(self.relay.id, "cookie"))
        except Exception as error:
            raise Refused("a COOKIE for another INIT") from error
        self.cookies += 1
        return self.proven()

    def proven(self):
        """The INIT made last, with mac2: a cookie serves its address and port for 120 s."""
        return self.init + mac16(self.cookie, self.init)

    def take_resp(self, datagram):
        own, kind, version, zero, self.link_id = struct.unpack(">IBBHI", datagram[:12])
        mac1 = mac16(H(b"mac1" + self.relay.id), datagram[:160])
        if (own, kind, version, zero) != (self.own_id, RESP, 1, 0) or mac1 != datagram[160:176] or any(datagram[176:]):
            raise Refused("not a RESP to this INIT")
        reply = self.handshake.answered(datagram[12:44], datagram[44:160])
        (status, self.version_max, self.max_dgram, self.relay_time, ip, port, self.serial, self.circuits_limit,
         init_id, resp_id) = struct.unpack(">BBHQ16sHQIII", reply[:50])
        if (init_id, resp_id) != (self.own_id, self.link_id):
            raise Refused("link ids that differ from the sealed ones")
        self.observed = (socket.inet_ntop(socket.AF_INET6, ip), port)
        if status:
            raise Refused(f"the relay answers {STATUS[status]}")
        seed = self.handshake.seed
        self.block_out, self.block_in = HeaderBlock(kdf(seed, "hkf")), HeaderBlock(kdf(seed, "hkb"))
        self.ctrl_out = kdf(seed, "cf"), kdf(seed, "civf", b"", 12)
        self.ctrl_in = kdf(seed, "cb"), kdf(seed, "civb", b"", 12)
        self.up = True

    def open(self, delays=(1, 2, 4), **changes):
        """The handshake with its repeats; then a PING confirms the link."""
        for delay in delays:
            self.sock.send(self.init_bytes(**changes))
            deadline = time.monotonic() + delay
            while (datagram := self.receive(deadline)) is not None:
                if len(datagram) == 64:
                    self.sock.send(self.with_cookie(datagram))
                elif len(datagram) == 192:
                    self.take_resp(datagram)
                    self.ping()
                    return self
        raise Refused(f"{self.relay.nickname} does not answer a link handshake")

    def receive(self, deadline):
        left = deadline - time.monotonic()
        if not select.select([self.sock], [], [], max(left, 0))[0]:
            return None
        try:
            return self.sock.recv(2048)
        except ConnectionRefusedError:
            return self.receive(deadline)

    # CTRL
    def ctrl_bytes(self, *frames, plain=None, counter=None):
        """One CTRL datagram with these (type, data); `plain` and `counter` for hostile tests."""
        if plain is None:
            plain = b"".join(struct.pack(">BH", kind, len(data)) + data for kind, data in frames)
            plain = plain.ljust(next(size for size in CTRL_SIZES if size >= len(plain)), b"\0")
        if counter is None:
            counter, self.ctrl_counter = self.ctrl_counter, self.ctrl_counter + 1
        key, iv = self.ctrl_out
        return (self.link_id.to_bytes(4, "big") + self.block_out.seal(0, CTRL, counter) +
                one_shot_seal(key, b"", plain, nonce_of(iv, counter)))

    def ctrl(self, *frames):
        self.sock.send(self.ctrl_bytes(*frames))

    def take_ctrl(self, counter, body):
        if len(body) - 16 not in CTRL_SIZES:
            raise Refused("a CTRL body of a wrong size")
        key, iv = self.ctrl_in
        plain = one_shot_open(key, b"", body, nonce_of(iv, counter))
        if counter in self.ctrl_seen:
            raise Refused("a CTRL datagram seen before")
        self.ctrl_seen.add(counter)
        while plain and plain[0] != PAD:
            size = int.from_bytes(plain[1:3], "big")
            if len(plain) < 3 + size:
                raise Refused("a CTRL frame that is cut")
            frame, plain = (plain[0], plain[3:3 + size]), plain[3 + size:]
            if frame[0] == PING:
                self.ctrl((PONG, frame[1]))
            else:
                self.frames.append(frame)

    # everything with a header
    def data_bytes(self, circuit, counter, body):
        return self.link_id.to_bytes(4, "big") + self.block_out.seal(circuit, DATA, counter) + body

    def take(self, datagram):
        if len(datagram) < 84 or int.from_bytes(datagram[:4], "big") != self.own_id:
            raise Refused("not of this link")
        circuit, kind, counter = self.block_in.open(datagram[4:20])
        if kind == CTRL and circuit == 0:
            self.take_ctrl(counter, datagram[20:])
        elif kind == DATA and circuit in self.data:
            self.data[circuit].append((counter, datagram[20:]))
        else:
            raise Refused("of no circuit here")

    def wait(self, seconds, ready):
        """Until ready() gives something true, which is returned, or the time is over: None."""
        deadline = time.monotonic() + seconds
        while not (found := ready()):
            datagram = self.receive(deadline)
            if datagram is None:
                return None
            try:
                self.take(datagram)
            except Refused:
                self.dropped += 1
        return found

    def frame(self, seconds, kind, accept=lambda data: True):
        """The data of the next frame of this type, taken out of .frames; None when none comes."""
        def find():
            return next((f for f in self.frames if f[0] == kind and accept(f[1])), None)
        found = self.wait(seconds, find)
        if found is None:
            return None
        self.frames.remove(found)
        return found[1]

    def ping(self, seconds=1.0):
        """Round trip in seconds; Refused when three PINGs stay unanswered."""
        opaque = os.urandom(8)
        start = time.monotonic()
        for _ in range(3):
            self.ctrl((PING, opaque))
            if self.frame(seconds, PONG, lambda data: data == opaque) is not None:
                return time.monotonic() - start
        raise Refused(f"{self.relay.nickname} does not answer a PING")

    def close(self, reason=1):
        if self.up:
            self.ctrl((LINK_CLOSE, bytes([reason])))
        self.sock.close()
