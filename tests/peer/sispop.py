"""tests/peer/sispop.py - primitives, the hop handshake and signed documents, from docs/PROTOCOL.md alone.

This folder is a second implementation of the client side of the protocol. Nobody who wrote it looked at the C
code; where the paper did not say enough, the paper was mended. Sections are those of docs/PROTOCOL.md.
"""
import hashlib
import http.client
import ipaddress
import os
import time
from collections import namedtuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from nacl import bindings
from nacl.exceptions import BadSignatureError

ZBASE32 = "ybndrfg8ejkmcpqxot1uwisza345h769"
NO_NONCE = bytes(12)
COUNTER_MASK = (1 << 56) - 1
OFFSET_MASK = (1 << 47) - 1
CLOCK_SKEW_SECONDS = 600
FLAG_GUARD, FLAG_EXIT = 1, 2


class Refused(Exception):
    """Bytes, or an answer, that the paper does not allow."""


# Section 1: primitives
def H(data):
    return hashlib.blake2b(data, digest_size=32).digest()


def kdf(key, label, data=b"", size=32):
    message = b"sispop1\0" + label.encode() + b"\0" + data
    return hashlib.blake2b(message, key=key, digest_size=size).digest()


def mac16(key, data):
    return hashlib.blake2b(data, key=key, digest_size=16).digest()


def nonce_of(iv, counter):
    return bytes(a ^ b for a, b in zip(iv, bytes(5) + (counter & COUNTER_MASK).to_bytes(7, "big")))


def one_shot_seal(key, ad, plain, nonce=NO_NONCE):
    return bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plain, ad, nonce, key)


def one_shot_open(key, ad, sealed, nonce=NO_NONCE):
    try:
        return bindings.crypto_aead_chacha20poly1305_ietf_decrypt(sealed, ad, nonce, key)
    except Exception as error:
        raise Refused("a tag does not verify") from error


class HeaderBlock:
    """One block of AES-256 (section 4)."""

    def __init__(self, key):
        self.cipher = Cipher(algorithms.AES(key), modes.ECB())

    def seal(self, circuit, kind, counter):
        block = circuit.to_bytes(4, "big") + bytes([kind]) + (counter & COUNTER_MASK).to_bytes(7, "big")
        return self.cipher.encryptor().update(block + bytes(4))

    def open(self, block):
        plain = self.cipher.decryptor().update(block)
        if plain[12:] != bytes(4):
            raise Refused("a header block whose end is not zero")
        return int.from_bytes(plain[:4], "big"), plain[4], int.from_bytes(plain[5:12], "big")


def verify(public, label, message, signature):
    try:
        bindings.crypto_sign_open(signature + label + message, public)
    except BadSignatureError as error:
        raise Refused("a signature does not verify") from error


# Section 2: names and tokens
def from_zbase32(text):
    if len(text) != 52 or any(c not in ZBASE32 for c in text) or text[-1] not in "yo":
        raise Refused(f"'{text}' is not 52 characters of z-base-32")
    number = 0
    for char in text:
        number = number << 5 | ZBASE32.index(char)
    return (number >> 4).to_bytes(32, "big")


def id_of_name(name):
    if not name.endswith(".sispop"):
        raise Refused(f"'{name}' does not end with .sispop")
    return from_zbase32(name[:-7])


def token_keys(token, exit_id):
    salt = H(b"token" + exit_id)[:16]
    seed = bindings.crypto_pwhash_alg(32, token.encode(), salt, bindings.crypto_pwhash_argon2id_OPSLIMIT_INTERACTIVE,
                                      bindings.crypto_pwhash_argon2id_MEMLIMIT_INTERACTIVE,
                                      bindings.crypto_pwhash_ALG_ARGON2ID13)
    return bindings.crypto_sign_seed_keypair(seed)


# Section 3: the hop handshake, initiator's side
class Handshake:
    def __init__(self, use, identity, onion_key, request, inner=b""):
        self.x = os.urandom(32)
        self.X = bindings.crypto_scalarmult_base(self.x)
        self.inner_size = len(inner)
        ts0 = H(b"hs" + use + identity + onion_key + self.X)
        self.es = bindings.crypto_scalarmult(self.x, onion_key)
        self.ct = one_shot_seal(kdf(self.es, "req", ts0), ts0, request + inner)
        self.ts0 = ts0

    def answered(self, Y, rt):
        """Verifies the answer, returns what it says; seed and h are known from then on."""
        ts1 = H(self.ts0 + self.ct + Y)
        ee = bindings.crypto_scalarmult(self.x, Y)
        seed = kdf(H(ee + self.es + bytes(32)), "seed", ts1)
        reply = one_shot_open(kdf(seed, "rep"), ts1, rt)
        self.seed, self.h = seed, H(ts1 + rt)
        return reply


# Section 8: signed documents
class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        if self.at + size > len(self.data):
            raise Refused("a document that is cut")
        self.at += size
        return self.data[self.at - size:self.at]

    def u(self, size):
        return int.from_bytes(self.take(size), "big")

    def rows(self, count_size, *sizes):
        return [tuple(self.take(size) for size in sizes) for _ in range(self.u(count_size))]

    def done(self):
        if self.at != len(self.data):
            raise Refused("a document with more behind its end")


Network = namedtuple("Network", "id k authorities urls")
Relay = namedtuple("Relay", "id published valid_until keys flags v4 v6 dir_port max_dgram policy_hash nickname hash")
Consensus = namedtuple("Consensus", "serial valid_after fresh_until valid_until relays signers body")


def read_network(path):
    """network.conf: an ini file with one section [network]; `authority` may stand in many lines."""
    network_id, k, authorities, urls = None, None, [], []
    for line in open(path, encoding="utf-8"):
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "id":
            network_id = int(value)
        elif key == "k":
            k = int(value)
        elif key == "authority":
            public, url = value.split()
            authorities.append(from_zbase32(public))
            urls.append(url)
    return Network(network_id, k, sorted(authorities), urls)


def address(cursor, size):
    host, port = cursor.take(size), cursor.u(2)
    if host == bytes(size) and port == 0:
        return None
    return str(ipaddress.ip_address(host)), port


def rule(cursor):
    _, family, _, plen = cursor.take(4)
    if family not in (4, 6):
        raise Refused("a rule of no family")
    cursor.take((plen + 7) // 8 + 4)


def parse_descriptor(data):
    c = Cursor(data)
    if len(data) > 2048 or c.take(4) != b"SPD1":
        raise Refused("not a descriptor")
    identity = c.take(32)
    verify(identity, b"sispop1 desc", data[:-64], data[-64:])
    published, valid_until = c.u(8), c.u(8)
    keys = [(int.from_bytes(i, "big"), B, int.from_bytes(a, "big"), int.from_bytes(z, "big"))
            for i, B, a, z in c.rows(1, 2, 32, 8, 8)]
    flags, v4, v6 = c.u(4), address(c, 4), address(c, 16)
    dir_port, max_dgram = c.u(2), c.u(2)
    c.take(4 + 32)    # mbit, family
    policy_at = c.at
    for _ in range(c.u(2)):
        rule(c)
    policy_hash = H(data[policy_at:c.at])
    nickname = c.take(c.u(1)).decode("ascii")
    c.take(c.u(1))
    c.take(64)
    c.done()
    return Relay(identity, published, valid_until, keys, flags, v4, v6, dir_port, max_dgram, policy_hash,
                 nickname, H(data))


def onion_key(relay, now):
    """The key with the newest `from` that has begun and not ended: (keyid, B)."""
    usable = [key for key in relay.keys if key[2] <= now < key[3]]
    if not usable:
        raise Refused(f"{relay.nickname} has no onion key")
    return max(usable, key=lambda key: key[2])[:2]


def parse_consensus(data, network, now):
    c = Cursor(data)
    if c.take(4) != b"SPC1" or c.u(4) != network.id:
        raise Refused("not a consensus of this network")
    serial, valid_after, fresh_until, valid_until = c.u(8), c.u(8), c.u(8), c.u(8)
    c.rows(2, 2, 4)
    relays = c.rows(2, 32, 32, 4, 4)
    if c.u(2) != 0:
        raise Refused("names are not of version 1")
    revoked = {row[0] for row in c.rows(2, 32)}
    body = H(data[:c.at])
    signers = set()
    for number, signature in c.rows(1, 1, 64):
        try:
            verify(network.authorities[number[0]], b"sispop1 cons", body, signature)
            signers.add(number[0])
        except (Refused, IndexError):
            continue
    c.done()
    if len(signers) < network.k:
        raise Refused(f"{len(signers)} good signatures instead of {network.k}")
    if serial != valid_after or not valid_after < fresh_until <= valid_until:
        raise Refused("times that contradict each other")
    if not valid_after - CLOCK_SKEW_SECONDS <= now < valid_until:
        raise Refused("a consensus of another time")
    listed = [(i, h, int.from_bytes(f, "big")) for i, h, f, _ in relays if i not in revoked]
    if [row[0] for row in relays] != sorted({row[0] for row in relays}):
        raise Refused("relays out of order")
    return Consensus(serial, valid_after, fresh_until, valid_until, listed, signers, body)


def http_get(host, port, path):
    connection = http.client.HTTPConnection(host, port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    if response.status != 200:
        raise Refused(f"{host}:{port} answers {path} with {response.status}")
    return body


def fetch_directory(network, host, port):
    """The consensus of one source, verified, and {ID: Relay} of what it lists (flags are the consensus's)."""
    # A round may end between the two fetches: descriptors are judged by the consensus of before, then once anew.
    for attempt in (1, 2, 3):
        consensus = parse_consensus(http_get(host, port, "/sispop/1/consensus"), network, time.time())
        c = Cursor(http_get(host, port, "/sispop/1/descriptors"))
        by_hash = {}
        while c.at < len(c.data):
            descriptor = c.take(c.u(2))
            by_hash[H(descriptor)] = descriptor
        if all(hash_ in by_hash for _, hash_, _ in consensus.relays):
            break
    else:
        raise Refused("descriptors that do not belong to the consensus")
    relays = {}
    for identity, hash_, flags in consensus.relays:
        relay = parse_descriptor(by_hash[hash_])
        if relay.id != identity:
            raise Refused("a descriptor under another's ID")
        relays[identity] = relay._replace(flags=flags)
    return consensus, relays
