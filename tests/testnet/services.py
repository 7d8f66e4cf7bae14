#!/usr/bin/python3
"""What stands outside of the onion network: the web server, and the resolvers of web and isp.

  services.py web|isp LOGDIR ADDRESS4 ADDRESS6 WEB4 WEB6

Both roles answer DNS on port 53 (UDP and TCP) for web.test, whoami.test (the asker's address) and
big.test (an answer that needs TCP), and log "TIME PROTOCOL ASKER NAME TYPE" to LOGDIR/dns.log. The web
also has HTTP on 80 (the caller's address; /bytes/N[?SEED], /sha256/N[?SEED], POST /sink) and echo on 7.
Sockets are bound to single addresses, so an asker's address is never written as ::ffff:.
"""
import hashlib
import http.server
import ipaddress
import os
import socket
import socketserver
import struct
import sys
import threading
import time

BLOCK = 1 << 20
TYPES = {1: "A", 16: "TXT", 28: "AAAA"}
UDP_BYTES_PLAIN, UDP_BYTES_MOST = 512, 1232


class Log:
    """Lines to one file, each written whole."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def line(self, *words):
        os.write(self.fd, (f"{time.time():.3f} " + " ".join(words) + "\n").encode())


# --- DNS ------------------------------------------------------------------------------------------

class Zone:
    def __init__(self, web4, web6):
        self.web = {1: [ipaddress.ip_address(web4)], 28: [ipaddress.ip_address(web6)]}

    def find(self, name, asker):
        """All records of a name as {type: [rdata]}, or None when there is no such name."""
        me = ipaddress.ip_address(asker)
        text = bytes([len(asker)]) + asker.encode()
        if name == "web.test":
            return {kind: [a.packed for a in list_] for kind, list_ in self.web.items()}
        if name == "whoami.test":
            return {1 if me.version == 4 else 28: [me.packed], 16: [text]}
        if name == "big.test":
            many = [ipaddress.ip_address(f"203.0.113.{100 + i}").packed for i in range(120)]
            return {1: many, 16: [bytes([200]) + b"x" * 200 for _ in range(20)]}
        return None


class Question:
    """One query, read with every length checked. ValueError for what is no query."""

    def __init__(self, data):
        if len(data) < 17:
            raise ValueError("short")
        self.id, self.flags, count, _, _, extra = struct.unpack("!6H", data[:12])
        if self.flags & 0x8000 or count != 1:
            raise ValueError("no query")
        labels, at = [], 12
        while data[at]:
            if data[at] > 63 or at + 1 + data[at] >= len(data):
                raise ValueError("bad name")
            labels.append(data[at + 1:at + 1 + data[at]])
            at += 1 + data[at]
        if at + 5 > len(data):
            raise ValueError("short")
        self.name = b".".join(labels).decode("ascii", "replace").lower()
        self.type, _ = struct.unpack("!2H", data[at + 1:at + 5])
        self.bytes = data[12:at + 5]
        opt = data[at + 5:at + 16]
        self.edns = extra > 0 and len(opt) == 11 and opt[:3] == b"\0\0\x29"
        self.room = UDP_BYTES_PLAIN
        if self.edns:
            self.room = max(UDP_BYTES_PLAIN, min(UDP_BYTES_MOST, struct.unpack("!H", opt[3:5])[0]))


def dns_answer(zone, data, asker, protocol, log):
    """The bytes of the answer, or None for what deserves none."""
    try:
        question = Question(data)
    except (ValueError, IndexError, struct.error):
        return None
    kind = question.type
    log.line(protocol, asker, question.name or ".", TYPES.get(kind, str(kind)))
    found = zone.find(question.name, asker)
    records = b"".join(struct.pack("!3HIH", 0xc00c, kind, 1, 0, len(data)) + data
                       for data in (found or {}).get(kind, []))
    count = len((found or {}).get(kind, []))
    flags = 0x8480 | (question.flags & 0x0100) | (0 if found is not None else 3)
    opt = struct.pack("!BHHIH", 0, 41, UDP_BYTES_MOST, 0, 0) if question.edns else b""
    if protocol == "udp" and 12 + len(question.bytes) + len(records) + len(opt) > question.room:
        records, count, flags = b"", 0, flags | 0x0200
    return struct.pack("!6H", question.id, flags, 1, count, 0, int(question.edns)) \
        + question.bytes + records + opt


def serve_dns_udp(family, address, zone, log):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((address, 53))
    while True:
        data, peer = sock.recvfrom(4096)
        answer = dns_answer(zone, data, peer[0], "udp", log)
        if answer:
            sock.sendto(answer, peer)


class DnsTcp(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.settimeout(10)
        stream = self.request.makefile("rb")
        while True:
            head = stream.read(2)
            if len(head) < 2:
                return
            data = stream.read(struct.unpack("!H", head)[0])
            answer = dns_answer(self.server.zone, data, self.client_address[0], "tcp", self.server.log)
            if answer is None:
                return
            self.request.sendall(struct.pack("!H", len(answer)) + answer)


# --- HTTP and echo --------------------------------------------------------------------------------

def chunks(size, seed):
    """`size` bytes that depend on seed and place, made at the speed of memory."""
    block = bytearray(hashlib.shake_256(seed.encode()).digest(BLOCK))
    for index in range((size + BLOCK - 1) // BLOCK):
        struct.pack_into("!Q", block, 0, index)
        yield memoryview(block)[:min(BLOCK, size - index * BLOCK)]


def sha256_of(size, seed):
    digest = hashlib.sha256()
    for chunk in chunks(size, seed):
        digest.update(chunk)
    return digest.hexdigest()


class Http(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    hashes = {}

    def do_GET(self):
        path, _, seed = self.path.partition("?")
        words = path.strip("/").split("/")
        if len(words) == 2 and words[0] in ("bytes", "sha256") and words[1].isdecimal():
            return self.send_sized(words[0], int(words[1]), seed)
        return self.send_text(self.client_address[0])

    def send_sized(self, what, size, seed):
        if what == "sha256":
            if (size, seed) not in self.hashes:
                self.hashes[size, seed] = sha256_of(size, seed)
            return self.send_text(self.hashes[size, seed])
        self.send_head(size, "application/octet-stream")
        for chunk in chunks(size, seed):
            self.wfile.write(chunk)

    def do_POST(self):
        """Answers with the hash of what came, and how much it was."""
        digest, total = hashlib.sha256(), 0
        for data in self.body():
            digest.update(data)
            total += len(data)
        self.send_text(f"{digest.hexdigest()} {total}")

    do_PUT = do_POST

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while True:
                size = int(self.rfile.readline(64).split(b";")[0], 16)
                yield self.rfile.read(size)
                self.rfile.readline(64)
                if size == 0:
                    return
        left = int(self.headers.get("Content-Length", "0"))
        while left > 0:
            data = self.rfile.read(min(left, BLOCK))
            if not data:
                return
            left -= len(data)
            yield data

    def send_head(self, size, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def send_text(self, text):
        data = text.encode() + b"\n"
        self.send_head(len(data), "text/plain")
        if self.command != "HEAD":
            self.wfile.write(data)

    do_HEAD = do_GET

    def log_request(self, code="-", size="-"):
        self.server.log.line(self.client_address[0], self.command, self.path, str(int(code)))

    def log_message(self, format, *args):
        self.server.log.line(self.client_address[0], format % args)


class EchoTcp(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(1 << 16):
            self.request.sendall(data)


def serve_echo_udp(family, address):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind((address, 7))
    while True:
        data, peer = sock.recvfrom(1 << 16)
        sock.sendto(data, peer)


# --- all of it ------------------------------------------------------------------------------------

class TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """A peer that goes away in the middle is no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def tcp_server(family, address, port, handler, log=None, zone=None):
    server = type("Server", (TcpServer,), {"address_family": family})((address, port), handler)
    server.log, server.zone = log, zone
    return server.serve_forever


def main(role, folder, address4, address6, web4, web6):
    zone, dns_log = Zone(web4, web6), Log(os.path.join(folder, "dns.log"))
    todo = []
    for family, address in ((socket.AF_INET, address4), (socket.AF_INET6, address6)):
        todo.append((serve_dns_udp, (family, address, zone, dns_log)))
        todo.append((tcp_server(family, address, 53, DnsTcp, dns_log, zone), ()))
        if role == "web":
            http_log = Log(os.path.join(folder, "http.log"))
            todo.append((tcp_server(family, address, 80, Http, http_log), ()))
            todo.append((tcp_server(family, address, 7, EchoTcp), ()))
            todo.append((serve_echo_udp, (family, address)))
    for function, args in todo:
        threading.Thread(target=run_or_die, args=(function, args), daemon=True).start()
    threading.Event().wait()


def run_or_die(function, args):
    """One dead thread ends the process, so that the supervisor starts it anew."""
    try:
        function(*args)
    finally:
        sys.excepthook(*sys.exc_info()) if sys.exc_info()[0] else None
        os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
