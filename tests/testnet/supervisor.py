#!/usr/bin/python3
"""The init system of one test network: starts daemons, and starts them again when they die.

One process per network, outside of the hosts' namespaces. It is told what to do over a unix socket,
one JSON object a line, one request a connection:
  {"cmd": "add", "service": {"host", "name", "argv", "env", "log", "pid"}}   start it now and for good
  {"cmd": "stop", "host": H}     SIGTERM, after STOP_SECONDS SIGKILL; answers when all of H is gone
  {"cmd": "start", "host": H}    start what was stopped
  {"cmd": "remove", "host": H}   as stop, and forget it
  {"cmd": "status"}
"""
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time

RESTART_SECONDS = 0.2
STOP_SECONDS = 10.0
TICK_SECONDS = 0.05


class Service:
    """One daemon: what to run, and what became of it."""

    def __init__(self, spec):
        self.spec = spec
        self.host, self.name = spec["host"], spec["name"]
        self.process = None
        self.wanted = True
        self.starts = 0
        self.started_at = 0.0
        self.due = 0.0          # when to start it again
        self.kill_at = 0.0      # when SIGTERM was not enough

    def start(self):
        with open(self.spec["log"], "ab") as log:
            self.process = subprocess.Popen(
                self.spec["argv"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.spec["env"]}, cwd="/", start_new_session=True)
        self.starts += 1
        self.started_at = time.monotonic()
        with open(self.spec["pid"], "w", encoding="ascii") as file:
            file.write(f"{self.process.pid}\n")

    def stop(self):
        self.wanted = False
        if self.process:
            self.kill(signal.SIGTERM)
            self.kill_at = time.monotonic() + STOP_SECONDS

    def kill(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def tick(self, now):
        """Notices a death, starts again what is due, and kills what does not stop."""
        if self.process and self.process.poll() is not None:
            self.say(f"ended with {self.process.returncode}")
            self.process = None
            self.due = now + RESTART_SECONDS
            os.unlink(self.spec["pid"])
        if self.process and not self.wanted and self.kill_at and now > self.kill_at:
            self.say(f"does not end after {STOP_SECONDS:.0f} s: killed")
            self.kill(signal.SIGKILL)
            self.kill_at = 0.0
        if not self.process and self.wanted and now >= self.due:
            self.start()

    def say(self, what):
        print(f"{time.strftime('%H:%M:%S')} {self.host} {self.name}: {what}", flush=True)

    def status(self):
        return {"host": self.host, "name": self.name, "wanted": self.wanted, "starts": self.starts,
                "pid": self.process.pid if self.process else None,
                "age_s": round(time.monotonic() - self.started_at, 1)}


class Supervisor:
    def __init__(self, path):
        self.services = []
        self.waiting = []       # (connection, host, forget): answered when the host's daemons are gone
        self.events = selectors.DefaultSelector()
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.wake = wake_read
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen(16)
        self.events.register(self.wake, selectors.EVENT_READ)
        self.events.register(self.listener, selectors.EVENT_READ)

    def of_host(self, host):
        return [service for service in self.services if service.host == host]

    def handle(self, request, connection):
        """Answers a request, or keeps the connection until there is an answer (None)."""
        command = request["cmd"]
        if command == "add":
            service = Service(request["service"])
            self.services.append(service)
            service.start()
            return service.status()
        if command == "status":
            return [service.status() for service in self.services]
        mine = self.of_host(request["host"])
        if not mine:
            return {"error": f"no daemon runs on {request['host']}"}
        if command in ("stop", "remove"):
            for service in mine:
                service.stop()
            self.waiting.append((connection, request["host"], command == "remove"))
            return None
        if command == "start":
            for service in mine:
                service.wanted, service.due = True, 0.0
                service.tick(time.monotonic())
            return [service.status() for service in mine]
        return {"error": f"unknown command {command}"}

    def accept(self):
        connection, _ = self.listener.accept()
        connection.settimeout(2)
        try:
            with connection.makefile("r", encoding="utf-8") as lines:
                answer = self.handle(json.loads(lines.readline()), connection)
            if answer is not None:
                self.answer(connection, answer)
        except (OSError, ValueError, KeyError) as error:
            self.answer(connection, {"error": str(error)})

    @staticmethod
    def answer(connection, what):
        try:
            connection.sendall(json.dumps(what).encode() + b"\n")
        except OSError:
            pass
        connection.close()

    def run(self):
        while True:
            for key, _ in self.events.select(TICK_SECONDS if self.busy() else 1.0):
                if key.fileobj is self.listener:
                    self.accept()
                else:
                    os.read(self.wake, 4096)
            now = time.monotonic()
            for service in self.services:
                service.tick(now)
            for entry in list(self.waiting):
                connection, host, forget = entry
                mine = self.of_host(host)
                if all(service.process is None for service in mine):
                    if forget:
                        self.services = [one for one in self.services if one not in mine]
                    self.answer(connection, {"stopped": host})
                    self.waiting.remove(entry)

    def busy(self):
        """Something is about to be started or killed."""
        return any((service.process is None) == service.wanted or self.waiting
                   for service in self.services)


if __name__ == "__main__":
    Supervisor(sys.argv[1]).run()
