#!/usr/bin/python3
"""tests/bench/bench_source.py - an HTTP server for one connection after the other: GET brings zeros without an
end, PUT is swallowed. One line of JSON for each connection that ended:
path, bytes, and seconds from first to last.

  bench_source.py ADDRESS PORT
"""
import json
import socket
import sys
import time

CHUNK_BYTES = 1 << 20
HEAD_BYTES = 65536
IDLE_SECONDS = 60


def head_of(connection):
    """Method and path, and what came behind the empty line."""
    text = b""
    while b"\r\n\r\n" not in text:
        part = connection.recv(HEAD_BYTES)
        if not part or len(text) > HEAD_BYTES:
            return b"", b"", b""
        text += part
    head, _, rest = text.partition(b"\r\n\r\n")
    method, path = (head.split(b" ", 2) + [b""])[:2]
    return method, path, rest


def swallow(connection, count):
    """What came until the other end closed or broke off."""
    begin = last = time.monotonic()
    buffer = bytearray(CHUNK_BYTES)
    try:
        while got := connection.recv_into(buffer):
            last = time.monotonic()
            count += got
    except (ConnectionError, TimeoutError):
        pass
    return count, last - begin


def pour(connection):
    zeros, count, begin = bytes(CHUNK_BYTES), 0, time.monotonic()
    try:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
                           b"Connection: close\r\n\r\n")
        while True:
            count += connection.send(zeros)
    except (ConnectionError, TimeoutError):
        return count, time.monotonic() - begin


def main(address, port):
    with socket.create_server((address, port)) as listener:
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            connection.settimeout(IDLE_SECONDS)
            with connection:
                method, path, rest = head_of(connection)
                count, seconds = 0, 0
                if method == b"GET":
                    count, seconds = pour(connection)
                elif method == b"PUT":
                    count, seconds = swallow(connection, len(rest))
            print(json.dumps({"path": path.decode(errors="replace"), "bytes": count, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
