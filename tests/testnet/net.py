#!/usr/bin/python3
"""tests/testnet/net.py - makes, watches and removes a test network; scripts/testnet is its front.

  PREFIX-wire   a namespace with nothing but the bridges wan and inet and one end of each veth
  PREFIX-HOST   one namespace per host: eth0 on wan (web: inet), eth1 of isp and exits on inet

Whatever a network leaves on the machine is a namespace PREFIX-*, /etc/netns/PREFIX-*, the folder
/run/sispopnet-testnet/PREFIX and processes in those namespaces or with that folder as supervisor's
argument: `down` finds all of them without any state of its own, so it also works after a crash.
"""
import argparse
import contextlib
import ctypes
import fcntl
import http.client
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
RUNTIME = "/run/sispopnet-testnet"
NETNS = "/run/netns"
ETC = "/etc/netns"
PROGRAMS = ("sispopnetd", "sispopnet-vpn", "sispopnet-relay", "sispopnet-authority")
POLL_SECONDS = 0.03
READY_SECONDS = 60
CLONE_NEWNET = 0x40000000

WAN4, WAN6 = "198.51.100.", "2001:db8:100::"
INET4, INET6 = "203.0.113.", "2001:db8:113::"
WEB = 10
RELAY_PORT, AUTH_PORT, DIR_PORT = 4400, 8400, 8401
CONSENSUS_INTERVAL = "3s"     # so that a network is listed a moment after its start
POLICY = ("accept 203.0.113.0/24", "accept 198.51.100.0/24", "accept 2001:db8::/32")
ZBASE32 = "ybndrfg8ejkmcpqxot1uwisza345h769"


class Failure(Exception):
    """One sentence for the user, and the host whose logs tell more."""

    def __init__(self, sentence, host=None):
        super().__init__(sentence)
        self.host = host


class Host:
    """A name, a number on wan and inet, and where its files are."""

    def __init__(self, net, name, number, on_wan=True, on_inet=False):
        self.net, self.name, self.number = net, name, number
        self.on_wan, self.on_inet = on_wan, on_inet
        self.kind = name.rstrip("0123456789")
        self.netns = f"{net.prefix}-{name}"
        self.dir = os.path.join(net.dir, name)
        self.inet_if = "eth1" if on_wan else "eth0"
        self.wan4, self.wan6 = f"{WAN4}{number}", f"{WAN6}{number}"
        self.inet4, self.inet6 = f"{INET4}{number}", f"{INET6}{number}"

    def file(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.file(name), "w", encoding="utf-8") as file:
            file.write(text)

    def underlay(self, port):
        """Address and port by which the onion network reaches this host."""
        return f"[{self.wan6}]:{port}" if self.net.underlay == "6" else f"{self.wan4}:{port}"


class Net:
    def __init__(self, args):
        self.prefix = args.prefix
        self.args = args
        self.underlay = getattr(args, "underlay", "4")
        self.dir = os.path.join(RUNTIME, self.prefix)
        self.build = os.environ.get("SISPOPNET_BUILD", os.path.join(TOP, "build"))
        self.hosts = []
        if hasattr(args, "relays"):
            self.plan(args)

    def plan(self, args):
        def many(kind, count, number, **where):
            return [Host(self, f"{kind}{i}", number(i), **where) for i in range(1, count + 1)]

        self.isp = Host(self, "isp", 1, on_inet=True)
        self.web = Host(self, "web", WEB, on_wan=False, on_inet=True)
        self.auths = many("auth", args.authorities, lambda i: 10 + i)
        self.relays = many("relay", args.relays, lambda i: 20 + i if i <= 20 else 180 + i)
        self.exits = many("exit", args.exits, lambda i: 40 + i, on_inet=True)
        self.clients = many("client", args.clients, lambda i: 100 + i)
        self.hosts = [self.isp, self.web, *self.auths, *self.relays, *self.exits, *self.clients]


# --- small tools ----------------------------------------------------------------------------------

libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def inside(netns):
    """This thread, and what it starts, lives in a namespace for a while."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(os.path.join(NETNS, netns))
        yield
    finally:
        if libc.setns(home, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "cannot come back from a namespace")
        os.close(home)


def enter(path):
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(fd, CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(fd)


def ip_batch(lines, netns=None):
    """Many ip commands in one process."""
    command = ["ip", *(["-n", netns] if netns else []), "-batch", "-"]
    done = subprocess.run(command, input="\n".join(lines) + "\n", text=True, capture_output=True)
    if done.returncode:
        raise Failure(f"ip could not set up {netns or 'the namespaces'}: {done.stderr.strip()}")


def sysctl(name, value):
    """Of the namespace that this thread is in; what the kernel does not have stays as it is."""
    with contextlib.suppress(FileNotFoundError):
        with open("/proc/sys/net/" + name, "w", encoding="ascii") as file:
            file.write(str(value))


def wait_for(what, condition, seconds=READY_SECONDS, host=None):
    """Polls until condition() is true; it may raise OSError or ValueError for 'not yet'."""
    deadline = time.monotonic() + seconds
    last = ""
    while True:
        try:
            if condition():
                return
        except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
            last = f" ({error or type(error).__name__})"
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {seconds} s{last}", host)
        time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def locked(name):
    """One at a time; leaves no file behind."""
    path = os.path.join(RUNTIME, name)
    while True:
        os.makedirs(RUNTIME, mode=0o755, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                break
        os.close(fd)            # whoever held it took the file away
    try:
        yield
        os.unlink(path)
    finally:
        os.close(fd)


def name_to_id(name):
    """The 32 bytes of an identity out of NAME.sispop."""
    word = name.removesuffix(".sispop")
    if len(word) != 52 or any(letter not in ZBASE32 for letter in word):
        raise Failure(f"'{name}' is no name of a relay")
    bits = 0
    for letter in word:
        bits = bits << 5 | ZBASE32.index(letter)
    return (bits >> 4).to_bytes(32, "big")


# --- wires and addresses --------------------------------------------------------------------------

def make_namespaces(net):
    names = [f"{net.prefix}-wire"] + [host.netns for host in net.hosts]
    with locked(".netns.lock"):
        ip_batch([f"netns add {name}" for name in names])
    for host in net.hosts:
        folder = os.path.join(ETC, host.netns)
        os.makedirs(folder, mode=0o755, exist_ok=True)
        with open(os.path.join(folder, "resolv.conf"), "w", encoding="ascii") as file:
            file.write(resolv_conf(net, host))
        with inside(host.netns):
            for which in ("all", "default"):
                sysctl(f"ipv6/conf/{which}/accept_dad", 0)
                sysctl(f"ipv6/conf/{which}/accept_ra", 0)
            if host.kind == "client":
                sysctl("ipv4/conf/default/rp_filter", 2)    # as systemd sets it on Debian


def resolv_conf(net, host):
    """Exits ask web; all others ask isp, by whichever underlay they have."""
    if host.on_inet and host is not net.isp:
        return f"nameserver {net.web.inet4}\nnameserver {net.web.inet6}\n"
    return f"nameserver {net.isp.wan4}\nnameserver {net.isp.wan6}\n"


def make_wires(net):
    bridge = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
    lines = []
    for name in ("wan", "inet"):
        lines += [f"link add {name} {bridge}", f"link set {name} up"]
    for host in net.hosts:
        ends = [("wan", "w", "eth0")] if host.on_wan else []
        ends += [("inet", "i", host.inet_if)] if host.on_inet else []
        for name, letter, inner in ends:
            port = f"{letter}-{host.name}"
            lines += [f"link add {port} type veth peer name {inner} netns {host.netns}",
                      f"link set {port} master {name} up"]
    with inside(f"{net.prefix}-wire"):
        sysctl("ipv6/conf/all/disable_ipv6", 1)
        sysctl("ipv6/conf/default/disable_ipv6", 1)
        for what in ("iptables", "ip6tables", "arptables"):  # a switch does not filter, whatever module is loaded
            sysctl(f"bridge/bridge-nf-call-{what}", 0)
    ip_batch(lines, f"{net.prefix}-wire")


def make_addresses(net):
    for host in net.hosts:
        lines = ["link set lo up"]
        if host.on_wan:
            lines += [f"addr add {host.wan4}/24 dev eth0", f"addr add {host.wan6}/64 dev eth0 nodad",
                      "link set eth0 up"]
        if host.on_inet:
            lines += [f"addr add {host.inet4}/24 dev {host.inet_if}",
                      f"addr add {host.inet6}/64 dev {host.inet_if} nodad", f"link set {host.inet_if} up"]
        gateway4, gateway6 = (net.isp.inet4, net.isp.inet6) if host.on_inet else (net.isp.wan4, net.isp.wan6)
        if host is not net.isp:
            lines += [f"route add default via {gateway4}", f"route add default via {gateway6}"]
        else:
            with inside(host.netns):
                sysctl("ipv4/ip_forward", 1)
                sysctl("ipv6/conf/all/forwarding", 1)
        ip_batch(lines, host.netns)


# --- supervisor and services ----------------------------------------------------------------------

def ask(net, request, seconds=30):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(seconds)
        sock.connect(os.path.join(net.dir, "supervisor.sock"))
        sock.sendall(json.dumps(request).encode() + b"\n")
        with sock.makefile("r", encoding="utf-8") as lines:
            answer = json.loads(lines.readline())
    if isinstance(answer, dict) and "error" in answer:
        raise Failure(answer["error"])
    return answer


def start_supervisor(net):
    with open(os.path.join(net.dir, "supervisor.log"), "ab") as log:
        process = subprocess.Popen(
            ["/usr/bin/python3", "-I", os.path.join(HERE, "supervisor.py"),
             os.path.join(net.dir, "supervisor.sock")],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True)
    with open(os.path.join(net.dir, "supervisor.pid"), "w", encoding="ascii") as file:
        file.write(f"{process.pid}\n")
    wait_for("the supervisor", lambda: ask(net, {"cmd": "status"}) is not None, 10)


def run_service(host, name, argv, env=None):
    ask(host.net, {"cmd": "add", "service": {
        "host": host.name, "name": name, "argv": ["ip", "netns", "exec", host.netns, *argv],
        "env": env or {}, "log": host.file(name + ".log"), "pid": host.file(name + ".pid")}})


def preloaded(net):
    """The environment of clients, relays and exits."""
    return {"LD_PRELOAD": net.args.preload} if net.args.preload else {}


def restricted(capabilities):
    """As a service manager starts a daemon: no capability but those named, and never more."""
    kept = "".join(f",+{name}" for name in capabilities)
    return ["setpriv", "--inh-caps=-all", f"--bounding-set=-all{kept}", "--no-new-privs"]


def start_services(net):
    for host in (net.isp, net.web):
        run_service(host, "services", [
            "/usr/bin/python3", "-I", os.path.join(HERE, "services.py"), host.kind, host.dir,
            host.inet4 if host is net.web else host.wan4, host.inet6 if host is net.web else host.wan6,
            net.web.inet4, net.web.inet6])
    run_service(net.web, "iperf3", ["iperf3", "-s", "-p", "5201"])


def http_get(netns, address, path, port=80):
    """The body, asked for from inside a namespace."""
    with inside(netns):
        connection = http.client.HTTPConnection(address, port, timeout=5)
        connection.connect()
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise ValueError(f"HTTP {answer.status} from {address}")
    return body


def dns_answers(netns, server):
    query = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + b"\3web\4test\0" + struct.pack("!2H", 1, 1)
    with inside(netns):
        sock = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(0.5)
        sock.sendto(query, (server, 53))
        return len(sock.recv(512)) > len(query)


def wait_for_services(net):
    """Web, seen from the farthest host, knows that host by its own addresses."""
    asker = net.clients[0] if net.clients else net.isp
    own = (asker.wan4, asker.wan6) if net.clients else (asker.inet4, asker.inet6)
    for server, address in zip((net.web.inet4, net.web.inet6), own):
        wait_for(f"HTTP at {server}",
                 lambda s=server, a=address: http_get(asker.netns, s, "/") == f"{a}\n".encode(), 15, "web")
        wait_for(f"DNS at {server}", lambda s=server: dns_answers(asker.netns, s), 15, "web")
    for server in (net.isp.wan4, net.isp.wan6):
        wait_for(f"DNS at {server}", lambda s=server: dns_answers(asker.netns, s), 15, "isp")
    wait_for("iperf3 at web", lambda: listens(net.web.netns, 5201), 15, "web")


def listens(netns, port):
    """A TCP socket is there; a connection would disturb iperf3."""
    with inside(netns):
        with open("/proc/thread-self/net/tcp6", encoding="ascii") as file:
            return any(f":{port:04X} " in line and " 0A " in line for line in file)


# --- the onion network ----------------------------------------------------------------------------

def program(net, name):
    return os.path.join(net.build, "bin", name)


def run_once(host, argv, capabilities=()):
    """A short command of a daemon's program; returns what it printed."""
    done = subprocess.run(["ip", "netns", "exec", host.netns, *restricted(capabilities), *argv],
                          stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=60)
    if done.returncode:
        words = (done.stderr or done.stdout).strip()
        raise Failure(f"{host.name}: {os.path.basename(argv[0])} {argv[1]} ended with "
                      f"{done.returncode}: {words}", host.name)
    return done.stdout


def keys_of(pairs):
    """KEY=VALUE words of the command line as lines of a config file."""
    return [tuple(word.strip() for word in pair.split("=", 1)) for pair in pairs]


def section(name, lines, changes=()):
    """An ini section; a change replaces the lines of its key, or adds one."""
    changed = {key for key, _ in changes}
    rows = [(key, value) for key, value in lines if key not in changed] + list(changes)
    return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in rows)


def write_network(net, authorities):
    need = net.args.authorities // 2 + 1
    rows = [("id", zlib.crc32(net.prefix.encode())), ("k", need)]
    rows += [("authority", word) for word in authorities]
    changes = keys_of(net.args.param)
    interval = dict(changes).get("consensus-interval", CONSENSUS_INTERVAL)
    rows += [("subnet-rule", "no"), ("consensus-interval", interval), ("consensus-fresh", interval)]
    with open(net.network, "w", encoding="ascii") as file:
        file.write(section("network", rows, changes))


def start_authorities(net):
    """Their keys come first: the network file that all others read names them."""
    lines = []
    for host in net.auths:
        host.write("authority.ini", section("authority", [
            ("listen", host.underlay(AUTH_PORT)), ("state", host.file("state")), ("network", net.network)]))
        out = run_once(host, [program(net, "sispopnet-authority"), "init",
                              "--config", host.file("authority.ini")])
        found = re.search(r"^\s*authority\s*=\s*((\S+)\s+http://\S+)\s*$", out, re.M)
        if not found:
            raise Failure(f"{host.name}: sispopnet-authority init printed no 'authority = …' line", host.name)
        host.onion_name = found.group(2)
        lines.append(found.group(1))
    write_network(net, lines)
    for host in net.auths:
        run_service(host, "authority", [*restricted(()), program(net, "sispopnet-authority"), "run",
                                        "--config", host.file("authority.ini")])


def relay_config(net, host, index):
    rows = [("state", host.file("state")), ("run", host.dir), ("network", net.network)]
    if net.underlay in ("4", "both"):
        rows.append(("address4", f"{host.wan4}:{RELAY_PORT}"))
    if net.underlay in ("6", "both"):
        rows.append(("address6", f"[{host.wan6}]:{RELAY_PORT}"))
    rows += [("dir-port", DIR_PORT), ("nickname", host.name), ("bandwidth-mbit", 1000)]
    text = section("relay", rows, keys_of(net.args.relay_set))
    if host.kind == "exit":
        text += "\n" + section("exit", [
            ("interface", f"sx{index}"), ("lease4", f"10.{100 + index}.0.0/16"),
            ("lease6", f"fd53:{index}::/64"), ("dns", net.web.inet4), ("dns", net.web.inet6),
            *(("policy", rule) for rule in POLICY)], keys_of(net.args.exit_set))
    return text


def start_relays(net):
    for index, host in [*enumerate(net.relays, 1), *enumerate(net.exits, 1)]:
        host.write("relay.ini", relay_config(net, host, index))
        config = ["--config", host.file("relay.ini")]
        capabilities = ("net_admin",) if host.kind == "exit" else ()
        relay = program(net, "sispopnet-relay")
        host.onion_name = run_once(host, [relay, "keygen", *config]).split()[-1]
        name_to_id(host.onion_name)
        if host.kind == "exit":
            host.token = run_once(host, [relay, "token", "add", "testnet", *config]).strip()
        run_service(host, "relay", [*restricted(capabilities), relay, "run", *config], preloaded(net))


def start_clients(net):
    for host in net.clients:
        host.write("client.ini", section("client", [
            ("socket", host.file("vpn.sock")), ("group", "root"), ("state", host.file("state")),
            ("run", host.dir), ("network", net.network), ("interface", "sispop0"),
            ("resolv-conf", "/etc/resolv.conf"), ("underlay", net.underlay)],
            keys_of(net.args.client_set)))
        run_service(host, "sispopnetd", [program(net, "sispopnetd"), "--config", host.file("client.ini")],
                    preloaded(net))


def listed(body):
    """The identities in a consensus (its layout is in docs/PROTOCOL.md, section 8)."""
    if body[:4] != b"SPC1":
        raise ValueError("no consensus")
    at = 4 + 4 + 8 + 24
    (params,) = struct.unpack_from("!H", body, at)
    at += 2 + 6 * params
    (relays,) = struct.unpack_from("!H", body, at)
    at += 2
    return {body[at + 72 * i:at + 72 * i + 32] for i in range(relays)}


def wait_for_onion(net):
    """A client could go up at once: all relays are listed, and everybody has that list."""
    wanted = {name_to_id(host.onion_name) for host in net.relays + net.exits}
    six = net.underlay == "6"

    def has_list(host, port):
        address = host.wan6 if six else host.wan4
        body = http_get(host.netns, address, "/sispop/1/consensus", port)
        missing = len(wanted - listed(body))
        if missing:
            raise ValueError(f"{missing} of {len(wanted)} relays are not listed")
        return True

    for host in net.auths:
        wait_for(f"the consensus of {host.name}", lambda h=host: has_list(h, AUTH_PORT), host=host.name)
    for host in net.relays + net.exits:
        wait_for(f"the consensus at {host.name}", lambda h=host: has_list(h, DIR_PORT), host=host.name)
    for host in net.clients:
        wait_for(f"the directory of {host.name}", lambda h=host: knows_exits(net, h), host=host.name)


def knows_exits(net, client):
    """The client's daemon names every exit."""
    done = subprocess.run(["ip", "netns", "exec", client.netns, program(net, "sispopnet-vpn"),
                           "--exits", "--json"], capture_output=True, text=True, timeout=10,
                          env={**os.environ, "SISPOPNET_SOCKET": client.file("vpn.sock")})
    missing = [host.name for host in net.exits if host.onion_name not in done.stdout]
    if done.returncode or missing:
        raise ValueError(done.stderr.strip() or f"it does not know {' '.join(missing)}")
    return True


# --- the subcommands ------------------------------------------------------------------------------

def write_info(net):
    def wan(host):
        return {"host": host.name, "name": getattr(host, "onion_name", ""), "address4": host.wan4,
                "address6": host.wan6}

    info = {
        "prefix": net.prefix,
        "underlay": net.underlay,
        "exits": [{"host": host.name, "name": getattr(host, "onion_name", ""),
                   "token": getattr(host, "token", ""), "address4": host.inet4, "address6": host.inet6,
                   "wan4": host.wan4, "wan6": host.wan6} for host in net.exits],
        "relays": [wan(host) for host in net.relays],
        "clients": [wan(host) | {"name": host.name} for host in net.clients],
        "authorities": [wan(host) for host in net.auths],
        "web": {"address4": net.web.inet4, "address6": net.web.inet6},
        "isp": {"address4": net.isp.wan4, "address6": net.isp.wan6},
    }
    path = os.path.join(net.dir, "info.json")
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(info, file, indent=1)
        file.write("\n")
    os.rename(path + ".new", path)


def build_if_old(net):
    """scripts/build notes what it built from; the same note means nothing to do."""
    if "SISPOPNET_BUILD" in os.environ:
        return
    command = [os.path.join(TOP, "scripts", "build"), "--if-old", *PROGRAMS]
    if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode:
        raise Failure("the build failed; scripts/build shows why (--install-packages gets what it needs)")


def check_machine(net):
    missing = [tool for tool in ("ip", "setpriv", "iperf3") if not shutil.which(tool)]
    if missing:
        raise Failure(f"{', '.join(missing)} not found: scripts/build --install-packages installs them")
    if net.args.daemons and not os.path.exists("/dev/net/tun"):
        raise Failure("there is no /dev/net/tun: load the module with `modprobe tun`")


def up(net):
    check_machine(net)
    if net.args.daemons:
        build_if_old(net)
    with locked(net.prefix + ".lock"):
        if supervisor_pids(net.dir):
            raise Failure(f"the network '{net.prefix}' is already up "
                          f"(scripts/testnet down --prefix {net.prefix})")
        remove(net)
        try:
            make(net)
        except BaseException as error:
            if isinstance(error, Failure) and error.host:
                show_logs(net, error.host, sys.stderr, 40)
            remove(net)
            raise


def make(net):
    net.network = os.path.join(net.dir, "network.conf")
    for folder in (net.dir, *(host.dir for host in net.hosts)):
        os.makedirs(folder, mode=0o755)
    make_namespaces(net)
    make_wires(net)
    make_addresses(net)
    start_supervisor(net)
    start_services(net)
    if net.args.daemons:
        start_authorities(net)
        start_relays(net)
        start_clients(net)
    wait_for_services(net)
    if net.args.daemons:
        wait_for_onion(net)
    write_info(net)


def supervisor_pids(folder):
    """Found by their argument, so that a stale pid file cannot name a stranger."""
    wanted = [b"/usr/bin/python3", b"-I", os.path.join(HERE, "supervisor.py").encode(),
              os.path.join(folder, "supervisor.sock").encode()]
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
            if words[:4] == wanted:
                found.append(int(pid))
    return found


def namespaces(prefix):
    with contextlib.suppress(FileNotFoundError):
        return [name for name in os.listdir(NETNS) if name.startswith(prefix + "-")]
    return []


def pids_inside(names):
    """All processes whose network namespace is one of these."""
    inodes = set()
    for name in names:
        with contextlib.suppress(OSError):
            inodes.add(os.stat(os.path.join(NETNS, name)).st_ino)
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}/ns/net").st_ino in inodes:
                found.append(int(pid))
    return [pid for pid in found if pid != os.getpid()]


def kill_all(find):
    """Until none is left; a process that ends takes a moment."""
    deadline = time.monotonic() + 10
    while pids := find():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise Failure(f"processes {pids} do not die")
        time.sleep(0.005)


def remove(net):
    kill_all(lambda: [pid for pid in supervisor_pids(net.dir) if not is_zombie(pid)])
    names = namespaces(net.prefix)
    kill_all(lambda: pids_inside(names))
    for name in names:
        if subprocess.run(["ip", "netns", "del", name], capture_output=True).returncode:
            with contextlib.suppress(FileNotFoundError):    # a crash between file and mount
                os.unlink(os.path.join(NETNS, name))
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(ETC):
            if name.startswith(net.prefix + "-"):
                shutil.rmtree(os.path.join(ETC, name))
    shutil.rmtree(net.dir, ignore_errors=True)
    if os.path.exists(net.dir):
        raise Failure(f"cannot remove {net.dir}")
    with contextlib.suppress(OSError):
        os.rmdir(ETC)           # when no other network is left


def is_zombie(pid):
    with contextlib.suppress(OSError, IndexError):
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    return True


def down(net):
    with locked(net.prefix + ".lock"):
        remove(net)
    with contextlib.suppress(OSError):
        os.rmdir(RUNTIME)


def show_logs(net, host, out, lines=None):
    folder = os.path.join(net.dir, host)
    if not os.path.isdir(folder):
        raise Failure(f"there is no host '{host}' in the network '{net.prefix}'")
    for name in sorted(os.listdir(folder)):
        if name.endswith(".log"):
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                text = file.readlines()
            print(f"== {host} {name}", file=out)
            out.writelines(text[-lines:] if lines else text)
    out.flush()


def logs(net):
    show_logs(net, net.args.host, sys.stdout)


def status(net):
    """One line a daemon; 0 when all that should run do."""
    needs_up(net)
    rows = ask(net, {"cmd": "status"})
    for row in rows:
        state = f"pid {row['pid']}" if row["pid"] else ("starting" if row["wanted"] else "stopped")
        print(f"{row['host']:10} {row['name']:12} {state:12} up {row['age_s']} s, started {row['starts']}x")
    return 0 if all(row["pid"] or not row["wanted"] for row in rows) else 1


def needs_up(net):
    if not supervisor_pids(net.dir):
        raise Failure(f"the network '{net.prefix}' is not up")


def stop(net):
    needs_up(net)
    ask(net, {"cmd": "stop", "host": net.args.host})


def start(net):
    needs_up(net)
    ask(net, {"cmd": "start", "host": net.args.host})


def restart(net):
    stop(net)
    start(net)


def impair(net):
    """A worse wire between a host's eth0 and its bridge; `--off` makes it good again."""
    name, wire = net.args.host, f"{net.prefix}-wire"
    port, near, far, service = f"w-{name}", f"q-{name}", f"p-{name}", f"impair-{name}"
    if not os.path.exists(os.path.join(NETNS, f"{net.prefix}-{name}")) or name == "web":
        raise Failure(f"there is no host '{name}' on wan in the network '{net.prefix}'")
    with contextlib.suppress(Failure):
        ask(net, {"cmd": "remove", "host": service})
        ip_batch([f"link del {near}", f"link set {port} master wan"], wire)
    offloads(f"{net.prefix}-{name}", "eth0", "on")
    offloads(wire, port, "on")
    if net.args.off:
        return
    ip_batch([f"link add {near} type veth peer name {far}", f"link set {port} nomaster",
              f"link set {far} master wan up", f"link set {near} up"], wire)
    for netns, interface in ((f"{net.prefix}-{name}", "eth0"), (wire, port), (wire, near), (wire, far)):
        offloads(netns, interface, "off")
    values = [net.args.delay, net.args.jitter, net.args.reorder, net.args.loss, net.args.duplicate]
    ask(net, {"cmd": "add", "service": {
        "host": service, "name": "impair", "env": {}, "log": os.path.join(net.dir, f"{service}.log"),
        "pid": os.path.join(net.dir, f"{service}.pid"),
        "argv": ["ip", "netns", "exec", wire, "/usr/bin/python3", "-I", os.path.join(HERE, "impair.py"),
                 port, near, *map(str, values), str(net.args.seed)]}})
    wait_for("the impaired wire", lambda: packet_sockets(wire) >= 2, 10)


def offloads(netns, interface, word):
    """A frame is to be on the wire what it is for the receiver, or again not."""
    names = ("tx", "tso", "gso", "tx-udp-segmentation")
    done = subprocess.run(["ip", "netns", "exec", netns, "ethtool", "-K", interface,
                           *(w for name in names for w in (name, word))], capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"ethtool could not turn offloads {word} at {interface}: {done.stderr.strip()}")


def packet_sockets(netns):
    with inside(netns):
        with open("/proc/thread-self/net/packet", encoding="ascii") as file:
            return len(file.readlines()) - 1


class Parser(argparse.ArgumentParser):
    """One sentence for what is wrong."""

    def error(self, message):
        print(f"testnet: {message} (scripts/testnet --help)", file=sys.stderr)
        sys.exit(2)


def number_to(most):
    def read(text):
        if not text.isdecimal() or int(text) > most:
            raise argparse.ArgumentTypeError(f"'{text}' is no number from 0 to {most}")
        return int(text)
    return read


def pair(text):
    if not text.partition("=")[0].strip() or "=" not in text:
        raise argparse.ArgumentTypeError(f"'{text}' is not KEY=VALUE")
    return text


def library(path):
    if not os.path.isfile(path):
        raise argparse.ArgumentTypeError(f"there is no file '{path}'")
    return os.path.abspath(path)


def arguments():
    parser = Parser(prog="scripts/testnet")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in (up, down, logs, status, stop, start, restart, impair):
        sub = verbs.add_parser(verb.__name__)
        sub.set_defaults(function=verb)
        sub.add_argument("--prefix", default="sn")
        if verb in (logs, stop, start, restart, impair):
            sub.add_argument("host")
        if verb is impair:
            sub.add_argument("--off", action="store_true")
            for option in ("--delay", "--jitter", "--reorder", "--loss", "--duplicate"):
                sub.add_argument(option, type=float, default=0)
            sub.add_argument("--seed", type=int, default=1)
        if verb is up:
            sub.add_argument("--relays", type=number_to(70), default=5)
            sub.add_argument("--exits", type=number_to(20), default=2)
            sub.add_argument("--authorities", type=number_to(9), default=1)
            sub.add_argument("--clients", type=number_to(20), default=1)
            sub.add_argument("--underlay", choices=("4", "6", "both"), default="4")
            for option in ("--param", "--client-set", "--relay-set", "--exit-set"):
                sub.add_argument(option, type=pair, action="append", default=[], metavar="KEY=VALUE")
            sub.add_argument("--preload", type=library, metavar="FILE")
            sub.add_argument("--no-daemons", dest="daemons", action="store_false", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    args = arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    try:
        if os.geteuid() != 0:
            raise Failure("the test network needs root: it is made of network namespaces")
        return args.function(Net(args)) or 0
    except Failure as failure:
        print(f"testnet: {failure}", file=sys.stderr)
    except KeyboardInterrupt:
        print("testnet: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"testnet: {error}", file=sys.stderr)
    except subprocess.TimeoutExpired as error:
        print(f"testnet: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
