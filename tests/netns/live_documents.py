#!/usr/bin/python3
"""Consensuses good and bad, and a web server that hands them out in an authority's place.

  live_documents.py make CONSENSUS FOLDER KEY...     documents of these names into FOLDER, made from CONSENSUS
  live_documents.py serve FOLDER ADDRESS PORT CLIENT GET consensus by CLIENT: the files of FOLDER/served in turn

Each KEY is an authority's file with the seed of its key; two of them sign. Written from docs/PROTOCOL.md,
section 8, with nothing of the project's code.
"""
import fcntl
import hashlib
import http.server
import os
import struct
import sys
import time

from nacl.signing import SigningKey

LABEL = b"sispop1 cons"
TIMES_AT, PARAMS_AT = 8, 40     # serial and three times; the list of params
RELAY_BYTES = 72
FOREIGN_NET = 0x0badcafe


def body_end(data):
    """Where the signatures begin."""
    at = PARAMS_AT
    for size in (6, RELAY_BYTES, 0, 32):    # params, relays, names, revoked
        (count,) = struct.unpack_from("!H", data, at)
        at += 2 + size * count
    return at


class Maker:
    def __init__(self, data, keys):
        self.body = bytearray(data[:body_end(data)])
        signers = []
        for path in keys:
            with open(path, "rb") as file:
                signers.append(SigningKey(file.read()))
        self.signers = sorted(signers, key=lambda key: bytes(key.verify_key))
        self.now = int(time.time())

    def timed(self, after, fresh, until):
        """A body with these times, in seconds from now."""
        body = bytearray(self.body)
        times = [self.now + after, self.now + after, self.now + fresh, self.now + until]
        struct.pack_into("!4Q", body, TIMES_AT, *times)
        return body

    def signed(self, body, count=2):
        word = LABEL + hashlib.blake2b(bytes(body), digest_size=32).digest()
        rows = (bytes([i]) + self.signers[i].sign(word).signature for i in range(count))
        return bytes(body) + bytes([count]) + b"".join(rows)

    def other_weight(self, body):
        """The same body but for the weight of the first relay."""
        (params,) = struct.unpack_from("!H", body, PARAMS_AT)
        at = PARAMS_AT + 2 + 6 * params + 2 + RELAY_BYTES - 4
        changed = bytearray(body)
        struct.pack_into("!I", changed, at, struct.unpack_from("!I", body, at)[0] ^ 1)
        return changed

    def lonely(self, body):
        """The same body with its first relay alone."""
        (params,) = struct.unpack_from("!H", body, PARAMS_AT)
        at = PARAMS_AT + 2 + 6 * params
        (count,) = struct.unpack_from("!H", body, at)
        first, end = at + 2, at + 2 + RELAY_BYTES * count
        return body[:at] + struct.pack("!H", 1) + body[first:first + RELAY_BYTES] + body[end:]

    def documents(self):
        good = self.timed(-1, 1, 3600)
        expired = self.timed(-30, -29, -10)
        newer = self.timed(0, 2, 3600)
        signed = self.signed(newer)
        foreign = bytearray(newer)
        struct.pack_into("!I", foreign, 4, FOREIGN_NET)
        return {
            "good": self.signed(good),
            "expired": self.signed(expired),
            "brief": self.signed(self.timed(0, 1, 6)),      # good for a few seconds
            "forged": bytes(self.other_weight(newer)) + signed[len(newer):],
            "short-signed": self.signed(newer, 1),
            "rolled-back": self.signed(self.timed(-100, -99, 3600)),
            "conflict-good": self.signed(self.other_weight(good)),
            "conflict-expired": self.signed(self.other_weight(expired)),
            "lonely": self.signed(self.lonely(self.timed(-100, 3600, 7200))),
            "cut": signed[:-20],
            "cut-body": signed[:len(newer) - 100],
            "foreign": self.signed(foreign),
        }


def write(path, data):
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.rename(path + ".new", path)


def make(source, folder, *keys):
    with open(source, "rb") as file:
        maker = Maker(file.read(), keys)
    for name, data in maker.documents().items():
        write(os.path.join(folder, name), data)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        data = None
        if self.path == "/sispop/1/consensus":
            names = sorted(os.listdir(os.path.join(self.server.folder, "served")))
            if names and self.client_address[0] == self.server.client:
                data = self.read(os.path.join("served", names[self.turn() % len(names)]))
        elif self.path == "/sispop/1/descriptors":
            data = self.read("descriptors")
        if data is None:
            return self.send_error(503)
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def turn(self):
        """Counts the answers of all servers of this folder."""
        with open(os.path.join(self.server.folder, "turn"), "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(b".")
            return file.tell()

    def read(self, name):
        with open(os.path.join(self.server.folder, name), "rb") as file:
            return file.read()

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.send_error(503)

    def log_message(self, *words):
        pass


class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        """Who has what he needs hangs up in the middle: no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def serve(folder, address, port, client):
    server = Server((address, int(port)), Handler)
    server.folder, server.client = folder, client
    print("serving", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    {"make": make, "serve": serve}[sys.argv[1]](*sys.argv[2:])
