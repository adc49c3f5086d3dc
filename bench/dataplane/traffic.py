"""TCP through the gateway: connections as fast as one client makes them, and iperf3."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

from bench.dataplane.site import CLIENT, TARGETS, Site
from bench.support.processes import end

_PORT = 7007
_IPERF_PORT = 5201
_ACCEPT = f"""
import socket
s = socket.create_server(("", {_PORT}), backlog=4096)
print(flush=True)
while True:
    s.accept()[0].close()
"""
# Reset instead of a farewell: neither end keeps the port, so the rate is the path's.
_CONNECT = f"""
import itertools, socket, struct, sys, time
source, seconds = sys.argv[1], float(sys.argv[2])
targets = itertools.cycle(sys.argv[3:])
count, begin = 0, time.monotonic()
while time.monotonic() < begin + seconds:
    s = socket.socket()
    s.settimeout(5)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
    s.bind((source, 0))
    s.connect((next(targets), {_PORT}))
    s.close()
    count += 1
print(count / (time.monotonic() - begin))
"""
_PORTS = 50_000
_DATAGRAMS = f"""
import socket, sys
source, count, targets = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
for number in range(-(-count // len(targets))):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind((source, 10_000 + number))
        for each in targets:
            s.sendto(b"", (each, {_PORT}))
"""


def connections_per_s(site: Site, source: str, seconds: float) -> float:
    """New TCP connections per second, one after the other, to all targets in turn."""
    server = site.outside.popen([sys.executable, "-c", _ACCEPT], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        server.stdout.readline()
        targets = [str(each) for each in TARGETS.hosts()]
        command = [sys.executable, "-c", _CONNECT, source, str(seconds), *targets]
        return float(site.vpc.run(command, timeout_s=seconds + 30))
    finally:
        end(server)


def gbit_per_s(site: Site, source: str, seconds: float) -> float:
    """Throughput of one TCP connection from the VPC to the outside, as received."""
    server = site.outside.popen(
        ["iperf3", "--server", "--port", str(_IPERF_PORT)], stdout=subprocess.DEVNULL
    )
    try:
        _wait_for_listener(site)
        command = ["iperf3", "--client", str(TARGETS[1]), "--bind", source, "--json"]
        command += ["--port", str(_IPERF_PORT), "--time", f"{seconds:g}"]
        result = json.loads(site.vpc.run(command, timeout_s=seconds + 30))
        return float(result["end"]["sum_received"]["bits_per_second"]) / 1e9
    finally:
        end(server)


def _wait_for_listener(site: Site) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if str(_IPERF_PORT) in site.outside.run(["ss", "-Hltn"]):
            return
        time.sleep(0.05)
    raise RuntimeError("iperf3 does not listen")


def track(site: Site, connections: int) -> None:
    """Have the gateway keep so many UDP connections, by ports of the client's and targets."""
    if not connections:
        return
    targets = [str(each) for each in list(TARGETS.hosts())[: -(-connections // _PORTS)]]
    site.vpc.run([sys.executable, "-c", _DATAGRAMS, CLIENT, str(connections), *targets])
    if tracked(site) < connections * 0.99:
        raise RuntimeError(f"{tracked(site)} connections are tracked instead of {connections}")


def asked(path: Path, page: str) -> float:
    """Milliseconds that a page of the agent's control socket takes. Raises RuntimeError."""
    begin = time.perf_counter()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(30)
        client.connect(str(path))
        client.sendall(f"GET {page} HTTP/1.1\r\nHost: vegd\r\nConnection: close\r\n\r\n".encode())
        answer = bytearray()
        while part := client.recv(1 << 20):
            answer += part
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{page}: {bytes(answer[:100])!r}")
    return (time.perf_counter() - begin) * 1e3


def tracked(site: Site) -> int:
    """Connections that the gateway keeps; with SNAT each of them holds a port."""
    path = Path("/proc/sys/net/netfilter/nf_conntrack_count")
    return site.gateway.call(lambda: int(path.read_text()))
