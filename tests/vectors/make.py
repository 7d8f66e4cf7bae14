#!/usr/bin/python3
"""Known-answer vectors for docs/PROTOCOL.md sections 1 to 6, written from the paper alone, with none of our C code.

  make.py                 write basic.json, handshake.json, link.json, onion.json beside this file
  make.py --check         exit 1 when a file differs from what would be written
  make.py --verify FILE   FILE ("-": standard input) is what `test_vectors --emit` printed: values that the C code made
                          of random inputs. Open and verify each; exit 1 at the first that does not hold.

Needs python3-nacl and python3-cryptography. Bytes are lower-case hex, numbers are JSON integers, concatenation is |.
What stands for random bytes is SHAKE-256 of a label, so that the files never change by themselves.

basic.json       lists of independent entries
  hash           m -> out = H(m)
  kdf            k, label, m, n -> out = KDF(k, label, m, n)
  mac            key, m, n -> out = keyed BLAKE2b with digest length n
  names          id -> name
  sign           seed, label, m -> public_key, sig = Ed25519(label | m)
  token          token (text), exit_id -> salt, seed, public_key
  header         key, circuit_id, type, ctr -> block
  data           key, iv, ctr, plain -> nonce, sealed (with the tag at its end): AES-256-GCM, empty ad
  ctrl           the same by ChaCha20-Poly1305-IETF

handshake.json   list; use ("link", "path"), id, b_secret, x_secret, y_secret, plain (what ct carries), reply (what rt
                 carries) -> b_public, x_public, ts0, es, kreq, ct, y_public, ts1, seed, krep, rt, h, and all derived keys
                 whatever the use: kf kb ivf ivb df db resume, hkf hkb cf cb civf civb

link.json        list; each is one link as it opens under load, from a v4 and from a v6 source
  id, b_secret, x_secret, y_secret, keyid, init_link_id, net_id, time_min, init_max_dgram, role -> req, init
  source_ip (4 or 16 bytes), source_port, cookie_secret, cookie_nonce -> cookie, cookie_datagram
  -> init_with_mac2: the same bytes as init, and mac2 under that cookie
  status, ver_max, resp_max_dgram, time, serial, circuits_limit, resp_link_id -> rep (observes the source), resp
  ctr, ctrl_plain (160 B: a PING and zeroes) -> ctrl_forward, ctrl_backward: whole CTRL datagrams, from the initiator
                 (to resp_link_id, hkf, cf, civf) and to it (to init_link_id, hkb, cb, civb), both with this ctr

onion.json
  builds         list; one path being built: hops (n), time_min, lifetime_s, and
    hop          list, first hop first. id, keyid, b_secret, b_public, x_secret, x_public, y_secret, y_public, flags, fill,
                 inner_len, id_next -> req (48 B), onion (98k B, what is meant for this hop and those behind it),
                 onion_field (800 B, as it arrives: onion | filler of the sender; onion_filler is that filler),
                 seed, h and the path keys; max_dgram, status -> rep (16 B), reply (64k B),
                 reply_field (512 B as this hop sends it; reply_filler is what follows the reply)
    failed_hop   absent, or the number (from 1) of the hop that refuses: its reply seals its status and the random bytes
                 reply_random (64(k-1) B) in place of a reply from behind it; hops behind it have no reply
  layers         list; hops, slots (S), length (L), keys (list by hop: kf ivf df kb ivb db fill), and
    forward      c, plain (L - 16 S) -> links: list of {ctr, body}, the link into hop 1 first; each has `filler`, the
                 random bytes at the end of that body (empty on the first link when S = hops)
    backward     c, plain -> links: list of {ctr, body, filler}, the link out of the exit first, the client's last
"""
import hashlib
import json
import os
import sys

import nacl.bindings
import nacl.pwhash
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HERE = os.path.dirname(os.path.abspath(__file__))
ZERO12 = bytes(12)
MOD56 = 1 << 56
ONION_FIELD, REPLY_FIELD = 800, 512


def rnd(label, n):
    return hashlib.shake_256(label.encode()).digest(n)


def num(label, bits):
    return int.from_bytes(rnd(label, 8), "big") >> (64 - bits)


def be(n, size):
    return n.to_bytes(size, "big")


# Section 1


def H(*parts):
    return hashlib.blake2b(b"".join(parts), digest_size=32).digest()


def kdf(k, label, m, n):
    message = b"sispop1" + b"\0" + label.encode() + b"\0" + m
    return hashlib.blake2b(message, digest_size=n, key=k).digest()


def mac(key, m, n):
    return hashlib.blake2b(m, digest_size=n, key=key).digest()


def dh(secret, public):
    return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))


def dh_public(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def nonce_of(iv, ctr):
    return bytes(a ^ b for a, b in zip(iv, bytes(5) + be(ctr, 7)))


def chapoly(key, nonce, ad, plain):
    return ChaCha20Poly1305(key).encrypt(nonce, plain, ad)


def chapoly_open(key, nonce, ad, sealed):
    return ChaCha20Poly1305(key).decrypt(nonce, sealed, ad)


def gcm(key, iv, ctr, plain):
    return AESGCM(key).encrypt(nonce_of(iv, ctr), plain, b"")


def gcm_open(key, iv, ctr, sealed):
    return AESGCM(key).decrypt(nonce_of(iv, ctr), sealed, b"")


def header_block(key, circuit_id, kind, ctr):
    plain = be(circuit_id, 4) + be(kind, 1) + be(ctr, 7) + bytes(4)
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(plain)


# Section 2


def zbase32(data):
    alphabet = "ybndrfg8ejkmcpqxot1uwisza345h769"
    bits = "".join(f"{b:08b}" for b in data)
    bits += "0" * (-len(bits) % 5)
    return "".join(alphabet[int(bits[i:i + 5], 2)] for i in range(0, len(bits), 5))


def ed_public(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def token_salt(exit_id):
    return H(b"token", exit_id)[:16]


def token_seed(token, exit_id):
    return nacl.pwhash.argon2id.kdf(32, token.encode(), token_salt(exit_id),
                                    opslimit=nacl.pwhash.argon2id.OPSLIMIT_INTERACTIVE,
                                    memlimit=nacl.pwhash.argon2id.MEMLIMIT_INTERACTIVE)


# Section 3


def offset(seed, label):
    return int.from_bytes(kdf(seed, label, b"", 8), "big") & ((1 << 47) - 1)


def path_keys(seed):
    keys = {k: kdf(seed, k, b"", n) for k, n in (("kf", 32), ("kb", 32), ("ivf", 12), ("ivb", 12))}
    return {**keys, "df": offset(seed, "df"), "db": offset(seed, "db"), "resume": kdf(seed, "resume", b"", 32)}


def link_keys(seed):
    sizes = {"hkf": 32, "hkb": 32, "cf": 32, "cb": 32, "civf": 12, "civb": 12}
    return {k: kdf(seed, k, b"", n) for k, n in sizes.items()}


def request(use, ident, b_public, x_secret, plain):
    """The initiator's half: (X, TS0, es, kreq, ct)."""
    x = dh_public(x_secret)
    ts0 = H(b"hs", use.encode(), ident, b_public, x)
    es = dh(x_secret, b_public)
    kreq = kdf(es, "req", ts0, 32)
    return x, ts0, es, kreq, chapoly(kreq, ZERO12, ts0, plain)


def answer(ts0, es, x, ct, y_secret, reply):
    """The responder's half: (Y, TS1, seed, krep, rt, h)."""
    y = dh_public(y_secret)
    ts1 = H(ts0, ct, y)
    ee = dh(y_secret, x)
    seed = kdf(H(ee, es, bytes(32)), "seed", ts1, 32)
    krep = kdf(seed, "rep", b"", 32)
    rt = chapoly(krep, ZERO12, ts1, reply)
    return y, ts1, seed, krep, rt, H(ts1, rt)


def handshake(use, id, b_secret, x_secret, y_secret, plain, reply):
    b_public = dh_public(b_secret)
    x, ts0, es, kreq, ct = request(use, id, b_public, x_secret, plain)
    y, ts1, seed, krep, rt, h = answer(ts0, es, x, ct, y_secret, reply)
    return dict(b_public=b_public, x_public=x, ts0=ts0, es=es, kreq=kreq, ct=ct, y_public=y, ts1=ts1, seed=seed,
                krep=krep, rt=rt, h=h, **path_keys(seed), **link_keys(seed))


# Section 4


def mac1_of(ident, before):
    return mac(H(b"mac1", ident), before, 16)


def mapped(ip):
    return ip if len(ip) == 16 else bytes(10) + b"\xff\xff" + ip


def ctrl_datagram(link_id, hk, key, iv, ctr, plain):
    return be(link_id, 4) + header_block(hk, 0, 2, ctr) + chapoly(key, nonce_of(iv, ctr), b"", plain)


def link(id, b_secret, x_secret, y_secret, keyid, init_link_id, net_id, time_min, init_max_dgram, role, source_ip,
         source_port, cookie_secret, cookie_nonce, status, ver_max, resp_max_dgram, time, serial, circuits_limit,
         resp_link_id, ctr, ctrl_plain):
    req = be(net_id, 4) + be(time_min, 4) + be(init_max_dgram, 2) + be(role, 1) + bytes(89)
    x, ts0, es, _, ct = request("link", id, dh_public(b_secret), x_secret, req)
    head = be(0, 4) + be(1, 1) + be(1, 1) + be(keyid, 2) + be(init_link_id, 4) + x + ct
    mac1 = mac1_of(id, head)
    cookie = mac(cookie_secret, source_ip + be(source_port, 2), 16)
    sealed = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(cookie, mac1, cookie_nonce,
                                                                     kdf(id, "cookie", b"", 32))
    rep = be(status, 1) + be(ver_max, 1) + be(resp_max_dgram, 2) + be(time, 8) + mapped(source_ip) \
        + be(source_port, 2) + be(serial, 8) + be(circuits_limit, 4) + be(init_link_id, 4) + be(resp_link_id, 4) \
        + bytes(50)
    y, _, seed, _, rt, _ = answer(ts0, es, x, ct, y_secret, rep)
    resp = be(init_link_id, 4) + be(2, 1) + be(1, 1) + be(0, 2) + be(resp_link_id, 4) + y + rt
    k = link_keys(seed)
    return dict(req=req, init=head + mac1 + bytes(16), cookie=cookie,
                cookie_datagram=be(init_link_id, 4) + be(3, 1) + bytes(3) + cookie_nonce + sealed,
                init_with_mac2=head + mac1 + mac(cookie, head + mac1, 16),
                rep=rep, resp=resp + mac1_of(id, resp) + bytes(16),
                ctrl_forward=ctrl_datagram(resp_link_id, k["hkf"], k["cf"], k["civf"], ctr, ctrl_plain),
                ctrl_backward=ctrl_datagram(init_link_id, k["hkb"], k["cb"], k["civb"], ctr, ctrl_plain))


# Section 5


def make_build(name, n, failed_hop=0):
    slots, time_min, lifetime_s = max(n, 3), 28930000, 630
    hops = []
    for i in range(1, n + 1):
        r = lambda what, size: rnd(f"{name} {i} {what}", size)
        hops.append(dict(id=r("id", 32), keyid=num(f"{name} {i} keyid", 16), b_secret=r("b", 32),
                         b_public=dh_public(r("b", 32)), x_secret=r("x", 32), y_secret=r("y", 32),
                         flags=1 if i == n else 0, fill=slots - (n - i + 1), inner_len=98 * (n - i),
                         max_dgram=1440, status=3 if i == failed_hop else 0))
    inner = b""
    for i in range(n, 0, -1):
        hop = hops[i - 1]
        hop["id_next"] = hops[i]["id"] if i < n else bytes(32)
        hop["req"] = be(hop["flags"], 1) + be(hop["fill"], 1) + be(lifetime_s, 2) + be(time_min, 4) + hop["id_next"] \
            + be(hop["inner_len"], 2) + bytes(2) + bytes(4)
        hop["x_public"], hop["_ts0"], hop["_es"], _, hop["_ct"] = request("path", hop["id"], hop["b_public"],
                                                                         hop["x_secret"], hop["req"] + inner)
        inner = hop["onion"] = be(hop["keyid"], 2) + hop["x_public"] + hop["_ct"]
        assert len(inner) == 98 * (n - i + 1)
        hop["onion_filler"] = rnd(f"{name} {i} onion filler", ONION_FIELD - len(inner))
        hop["onion_field"] = inner + hop["onion_filler"]
    behind = b""
    for i in range(failed_hop or n, 0, -1):
        hop = hops[i - 1]
        if i == failed_hop:
            behind = hop["reply_random"] = rnd(f"{name} {i} reply random", 64 * (n - i))
        hop["rep"] = be(hop["status"], 1) + bytes(1) + be(hop["max_dgram"], 2) + be(lifetime_s, 4) + bytes(8)
        hop["y_public"], _, hop["seed"], _, rt, hop["h"] = answer(hop["_ts0"], hop["_es"], hop["x_public"], hop["_ct"],
                                                                  hop["y_secret"], hop["rep"] + behind)
        behind = hop["reply"] = hop["y_public"] + rt
        assert len(behind) == 64 * (n - i + 1)
        hop["reply_filler"] = rnd(f"{name} {i} reply filler", REPLY_FIELD - len(behind))
        hop["reply_field"] = behind + hop["reply_filler"]
        hop.update(path_keys(hop["seed"]))
    for hop in hops:
        for key in ("_ts0", "_es", "_ct"):
            del hop[key]
    out = dict(hops=n, time_min=time_min, lifetime_s=lifetime_s, hop=hops)
    return {**out, "failed_hop": failed_hop} if failed_hop else out


# Section 6


def forward(keys, slots, c, plain, name):
    n, length = len(keys), len(plain) + 16 * slots
    ctrs = [c]
    for k in keys[:-1]:
        ctrs.append((ctrs[-1] + k["df"]) % MOD56)
    body = plain
    for i in range(n, 0, -1):
        body = gcm(keys[i - 1]["kf"], keys[i - 1]["ivf"], ctrs[i - 1], body)
    links = []
    for i in range(1, n + 1):
        fill = 16 * keys[i - 1]["fill"]
        filler = rnd(f"{name} forward filler {i}", fill)
        links.append(dict(ctr=ctrs[i - 1], body=body + filler, filler=filler))
        assert len(links[-1]["body"]) == length
        body = gcm_open(keys[i - 1]["kf"], keys[i - 1]["ivf"], ctrs[i - 1], body)
    assert body == plain
    return dict(c=c, plain=plain, links=links)


def backward(keys, slots, c, plain, name):
    n, length = len(keys), len(plain) + 16 * slots
    links, body, ctr = [], plain, c
    for i in range(n, 0, -1):
        body = gcm(keys[i - 1]["kb"], keys[i - 1]["ivb"], ctr, body)
        filler = rnd(f"{name} backward filler {i}", 16 * keys[i - 1]["fill"])
        ctr = (ctr + keys[i - 1]["db"]) % MOD56
        links.append(dict(ctr=ctr, body=body + filler, filler=filler))
        assert len(links[-1]["body"]) == length
    # The client's side of it.
    for k in keys:
        ctr = (ctr - k["db"]) % MOD56
        body = gcm_open(k["kb"], k["ivb"], ctr, body)
    assert body == plain and ctr == c
    return dict(c=c, plain=plain, links=links)


def make_layers(n, length, c_forward, c_backward):
    name, slots = f"layers {n} {length}", max(n, 3)
    keys = []
    for i in range(1, n + 1):
        k = path_keys(rnd(f"{name} seed {i}", 32))
        del k["resume"]
        keys.append({**k, "fill": slots - (n - i + 1)})
    return dict(hops=n, slots=slots, length=length, keys=keys,
                forward=forward(keys, slots, c_forward, rnd(f"{name} plain f", length - 16 * slots), name),
                backward=backward(keys, slots, c_backward, rnd(f"{name} plain b", length - 16 * slots), name))


# One function a kind of entry: what its outputs are, given its inputs.


def data_entry(key, iv, ctr, plain):
    return dict(nonce=nonce_of(iv, ctr), sealed=gcm(key, iv, ctr, plain))


def ctrl_entry(key, iv, ctr, plain):
    return dict(nonce=nonce_of(iv, ctr), sealed=chapoly(key, nonce_of(iv, ctr), b"", plain))


def token_entry(token, exit_id):
    seed = token_seed(token, exit_id)
    return dict(salt=token_salt(exit_id), seed=seed, public_key=ed_public(seed))


def sign_entry(seed, label, m):
    return dict(public_key=ed_public(seed), sig=Ed25519PrivateKey.from_private_bytes(seed).sign(label.encode() + m))


KINDS = {
    "hash": (["m"], lambda m: dict(out=H(m))),
    "kdf": (["k", "label", "m", "n"], lambda k, label, m, n: dict(out=kdf(k, label, m, n))),
    "mac": (["key", "m", "n"], lambda key, m, n: dict(out=mac(key, m, n))),
    "names": (["id"], lambda id: dict(name=zbase32(id) + ".sispop")),
    "sign": (["seed", "label", "m"], sign_entry),
    "token": (["token", "exit_id"], token_entry),
    "header": (["key", "circuit_id", "type", "ctr"],
               lambda key, circuit_id, type, ctr: dict(block=header_block(key, circuit_id, type, ctr))),
    "data": (["key", "iv", "ctr", "plain"], data_entry),
    "ctrl": (["key", "iv", "ctr", "plain"], ctrl_entry),
    "handshake": (["use", "id", "b_secret", "x_secret", "y_secret", "plain", "reply"], handshake),
    "link": (["id", "b_secret", "x_secret", "y_secret", "keyid", "init_link_id", "net_id", "time_min",
              "init_max_dgram", "role", "source_ip", "source_port", "cookie_secret", "cookie_nonce", "status",
              "ver_max", "resp_max_dgram", "time", "serial", "circuits_limit", "resp_link_id", "ctr", "ctrl_plain"],
             link),
}
TEXT = {"label", "token", "name", "use", "engine"}


def entry(kind, **inputs):
    return {**inputs, **KINDS[kind][1](**inputs)}


def basic():
    n = lambda label, size: rnd("basic " + label, size)
    messages = [b"", b"abc", n("m127", 127), n("m128", 128), n("m129", 129), n("m1000", 1000)]
    labels = ["req", "rep", "seed", "kf", "ivb", "df", "resume", "cookie", "session", ""]
    ids = [bytes(32), b"\xff" * 32, n("id1", 32), n("id2", 32)]
    counters = [0, 1, 255, 1 << 47, MOD56 - 1, num("basic ctr", 56)]
    return {
        "hash": [entry("hash", m=m) for m in messages],
        "kdf": [entry("kdf", k=n(f"kdf {i}", 32), label=label, m=messages[i % 6], n=size)
                for i, (label, size) in enumerate((l, s) for l in labels for s in (8, 12, 32, 64))],
        "mac": [entry("mac", key=n(f"mac {i}", size), m=m, n=out)
                for i, (size, m, out) in enumerate((s, m, o) for s in (16, 32) for m in messages for o in (16, 32))],
        "names": [entry("names", id=i) for i in ids],
        "sign": [entry("sign", seed=n(f"sign {i}", 32), label=label, m=m) for i, (label, m) in enumerate(
            (l, m) for l in ("sispop1 auth", "sispop1 desc", "sispop1 cons", "sispop1 vote") for m in messages[:3])],
        "token": [entry("token", token="yyyyybbbbbnnnnndddddrrrrrf", exit_id=ids[2])],
        "header": [entry("header", key=n(f"header {i}", 32), circuit_id=c, type=t, ctr=ctr) for i, (c, t, ctr) in
                   enumerate((c, t, ctr) for c, t in ((0, 2), (1, 1), (0xffffffff, 255), (num("cid", 32), 1))
                             for ctr in counters)],
        "data": [entry("data", key=n(f"data {i}", 32), iv=n(f"iv {i}", 12), ctr=counters[i % 6],
                       plain=n(f"plain {i}", size))
                 for i, size in enumerate((0, 1, 15, 16, 17, 64, 128, 320, 640, 1024, 1372, 1452))],
        "ctrl": [entry("ctrl", key=n(f"ctrl {i}", 32), iv=n(f"civ {i}", 12), ctr=counters[i % 6],
                       plain=n(f"cplain {i}", size)) for i, size in enumerate((160, 900, 160, 900, 160, 900))],
    }


def handshakes():
    out = []
    for i, (use, plain, reply) in enumerate([("link", 100, 100), ("path", 48, 16), ("path", 146, 80),
                                             ("path", 734, 464), ("link", 0, 0)]):
        n = lambda what, size: rnd(f"handshake {i} {what}", size)
        out.append(entry("handshake", use=use, id=n("id", 32), b_secret=n("b", 32), x_secret=n("x", 32),
                         y_secret=n("y", 32), plain=n("plain", plain), reply=n("reply", reply)))
    return out


def links():
    out = []
    for i, ip in enumerate([bytes([198, 51, 100, 7]), bytes.fromhex("20010db8010000000000000000000007")]):
        n = lambda what, size: rnd(f"link {i} {what}", size)
        ping = be(1, 1) + be(8, 2) + n("ping", 8)
        out.append(entry("link", id=n("id", 32), b_secret=n("b", 32), x_secret=n("x", 32), y_secret=n("y", 32),
                         keyid=num(f"keyid {i}", 16), init_link_id=num(f"init {i}", 32), net_id=0x53504f50,
                         time_min=28930000, init_max_dgram=1440, role=1 + i, source_ip=ip, source_port=40000 + i,
                         cookie_secret=n("secret", 32), cookie_nonce=n("nonce", 24), status=i, ver_max=1,
                         resp_max_dgram=1380, time=1735800000, serial=28929960, circuits_limit=64,
                         resp_link_id=num(f"resp {i}", 32), ctr=i * 70000, ctrl_plain=ping + bytes(160 - len(ping))))
    return out


def onions():
    return {
        "builds": [make_build("build 3", 3), make_build("build 1", 1), make_build("build 8", 8),
                   make_build("build 3 failed at 2", 3, 2)],
        "layers": [make_layers(1, 176, 0, MOD56 - 1), make_layers(2, 176, num("c2", 47), num("c2b", 47)),
                   make_layers(3, 176, num("c3", 47), num("c3b", 47)),
                   make_layers(3, 1420, num("c3L", 47), num("c3Lb", 47)),
                   make_layers(5, 208, MOD56 - 5, num("c5b", 47)), make_layers(8, 256, num("c8", 47), MOD56 - 8)],
    }


FILES = {"basic.json": basic, "handshake.json": handshakes, "link.json": links, "onion.json": onions}


def to_json(value):
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, dict):
        return {k: to_json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [to_json(v) for v in value]
    return value


def from_json(e):
    return {k: bytes.fromhex(v) if isinstance(v, str) and k not in TEXT else v for k, v in e.items()}


def text_of(make):
    return json.dumps(to_json(make()), indent=1) + "\n"


def check():
    bad = 0
    for name, make in FILES.items():
        with open(os.path.join(HERE, name), encoding="ascii") as f:
            if f.read() != text_of(make):
                print(f"{name} differs from what make.py writes; run tests/vectors/make.py and look at the difference")
                bad = 1
    return bad


# What the other side of each sealed thing would do: open it.


def open_handshake(e):
    es = dh(e["b_secret"], e["x_public"])
    ts0 = H(b"hs", e["use"].encode(), e["id"], e["b_public"], e["x_public"])
    assert chapoly_open(kdf(es, "req", ts0, 32), ZERO12, ts0, e["ct"]) == e["plain"]
    ts1 = H(ts0, e["ct"], e["y_public"])
    ee = dh(e["x_secret"], e["y_public"])
    seed = kdf(H(ee, dh(e["x_secret"], e["b_public"]), bytes(32)), "seed", ts1, 32)
    assert chapoly_open(kdf(seed, "rep", b"", 32), ZERO12, ts1, e["rt"]) == e["reply"]


def open_link(e):
    init, c, resp = e["init_with_mac2"], e["cookie_datagram"], e["resp"]
    assert (len(init), len(c), len(resp)) == (192, 64, 192)
    mac1 = init[160:176]
    assert mac1 == mac1_of(e["id"], init[:160]) and e["init"] == init[:176] + bytes(16)
    key = kdf(e["id"], "cookie", b"", 32)
    cookie = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(c[32:], mac1, c[8:32], key)
    assert init[176:] == mac(cookie, init[:176], 16)
    open_handshake(dict(use="link", id=e["id"], b_secret=e["b_secret"], b_public=dh_public(e["b_secret"]),
                        x_secret=e["x_secret"], x_public=init[12:44], ct=init[44:160], plain=e["req"],
                        y_public=resp[12:44], rt=resp[44:160], reply=e["rep"]))


OPENERS = {
    "handshake": open_handshake,
    "link": open_link,
    "sign": lambda e: Ed25519PublicKey.from_public_bytes(e["public_key"]).verify(e["sig"], e["label"].encode() + e["m"]),
    "data": lambda e: AESGCM(e["key"]).decrypt(e["nonce"], e["sealed"], None) == e["plain"] or 1 / 0,
    "ctrl": lambda e: chapoly_open(e["key"], e["nonce"], b"", e["sealed"]) == e["plain"] or 1 / 0,
}


def verify(text):
    seen = 0
    for kind, entries in json.loads(text).items():
        inputs, outputs_of = KINDS[kind]
        if not entries:
            print(f"no {kind} at all")
            return 1
        for i, raw in enumerate(entries):
            e = from_json(raw)
            engine = e.pop("engine", "")
            try:
                OPENERS.get(kind, lambda e: None)(e)
                expected = outputs_of(**{k: e[k] for k in inputs})
            except Exception as why:  # whatever a library raises at a bad tag or signature
                print(f"{kind} {i} {engine}: does not open: {why!r}")
                return 1
            for key, value in expected.items():
                if e.get(key) != value:
                    print(f"{kind} {i} {engine}: {key} is {raw.get(key)}, should be {to_json(value)}")
                    return 1
            seen += 1
    missing = set(KINDS) - set(json.loads(text))
    print(f"{seen} values of the C code hold" + (f", but none of {sorted(missing)}" if missing else ""))
    return 1 if missing else 0


def main(args):
    if not args:
        for name, make in FILES.items():
            with open(os.path.join(HERE, name), "w", encoding="ascii") as f:
                f.write(text_of(make))
        return 0
    if args == ["--check"]:
        return check()
    if len(args) == 2 and args[0] == "--verify":
        with open(0 if args[1] == "-" else args[1], encoding="ascii") as f:
            return verify(f.read())
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
