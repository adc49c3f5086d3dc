"""Pods without Kubernetes: namespaces in the network of a lab's cluster, and their packets."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bfd.client import Client
from bfd.config import SessionConfig, SessionKey
from bfd.fsm import State
from tests.support.bfd_process import engine_in, eventually, socket_in
from vegd.lab import namespaces
from vegd.lab.cluster.network import Network
from vegd.lab.ovn_programs import OvnPrograms
from vegd.lab.topology import ECHO_PORT

WAIT_S = 90.0
_ANSWER_S = 0.5
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _NEVER_FRAGMENT = 10, 23, 2


@contextlib.contextmanager
def network_of(programs: OvnPrograms, *nodes: str) -> Iterator["Pods"]:
    """A network with nodes, and VPCs `vpc1` and `vpc2` in it; nothing is left of it."""
    prefix = f"cn{os.getpid()}"
    network = Network(prefix, Path("/run/vegd-lab") / prefix, programs)
    pods = Pods(network)
    try:
        network.create(nodes)
        for vpc, name, number in (
            ("vpc1", "subnet1", 0),
            ("vpc1", "subnet2", 2),
            ("vpc2", "subnet3", 2),
        ):
            network.ensure_vpc(vpc)
            networks = (f"192.168.{number}.0/24", f"fd00:{number}::/64")
            network.ensure_subnet(vpc, name, networks, [f"192.168.{number}.1", f"fd00:{number}::1"])
        network.ensure_outside(["172.17.0.1/16", "fd17::1/64"])
        yield pods
    finally:
        pods.close()
        network.remove()
        # The folder of all labs, if this was the last.
        with contextlib.suppress(OSError):
            network.directory.parent.rmdir()


class Pods:
    """Pods of one network; each has the outside host's servers."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._namespaces: list[str] = []
        self._servers: list[subprocess.Popen[bytes]] = []

    def add(self, name: str, node: str, subnet: str, number: int, *, net1: bool = False) -> str:
        """A pod; returns its namespace. Its port is `NAME.default`."""
        namespace = f"{self.network.prefix}-pod-{name}"
        namespaces.add(namespace)
        self._namespaces.append(namespace)
        third = 0 if subnet == "subnet1" else 2
        self.network.attach(
            node,
            namespace,
            f"{name}.default",
            subnet,
            f"02:00:00:00:{len(self._namespaces):02x}:01",
            [f"192.168.{third}.{number}/24", f"fd00:{third}::{number}/64"],
            [f"192.168.{third}.1", f"fd00:{third}::1"],
        )
        if net1:
            self.network.attach_outside(
                node,
                namespace,
                "net1",
                f"02:00:00:00:{len(self._namespaces):02x}:02",
                [f"172.17.0.{number}/16", f"fd17::{number}/64"],
            )
        command = namespaces.inside(namespace, sys.executable, "-m", "vegd.lab.outside")
        self._servers.append(subprocess.Popen(command))
        return namespace

    def close(self) -> None:
        """Remove them."""
        for each in set(self._namespaces) & set(namespaces.names()):
            namespaces.kill_inside(each)
            namespaces.delete(each)
        for server in self._servers:
            server.wait()


def ask(namespace: str, target: str, size: int = 20, count: int = 1) -> list[str]:
    """Send UDP datagrams of a size with headers, unfragmented; who asked, says each answer."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    payload = b"x" * (size - (48 if family == socket.AF_INET6 else 28))
    with socket_in(namespace, family, socket.SOCK_DGRAM) as asking:
        if family == socket.AF_INET6:
            asking.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _NEVER_FRAGMENT)
        else:
            asking.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _NEVER_FRAGMENT)
        asking.settimeout(_ANSWER_S)
        found = []
        with contextlib.suppress(OSError):
            for _ in range(count):
                asking.sendto(payload, (target, ECHO_PORT))
            while len(found) < count:
                found.append(asking.recv(4096)[len(payload) :].decode())
        return found


def until(what: Callable[[], Any]) -> Any:
    """The first answer that is true."""
    deadline = time.monotonic() + WAIT_S
    while not (answer := what()):
        assert time.monotonic() < deadline, f"still {answer!r}"
        time.sleep(0.05)
    return answer


async def sessions_move_to_the_chassis_that_is_left(pods: Pods, directory: Path) -> None:
    """A gateway and a client on node2, the BFD port on node1: it answers and forwards; node1 dies,
    and it does so again by node2's chassis."""
    network = pods.network
    gateway = pods.add("gateway", "node2", "subnet1", 20, net1=True)
    client = pods.add("client", "node2", "subnet2", 20)
    _become_gateway(gateway)
    far = pods.add("far", "node1", "subnet2", 22)
    policy = ("vpc1", "29100", "ip4.src == 192.168.2.0/24")
    assert not ask(far, "172.17.0.1")
    network.nbctl("lr-policy-add", *policy, "reroute", "192.168.0.20")
    assert await asyncio.to_thread(until, lambda: ask(far, "172.17.0.1")) == ["172.17.0.20"]
    network.nbctl("lr-policy-del", *policy)
    _watch_and_route(network, "192.168.0.20")
    key = SessionKey("192.168.0.20", "10.255.255.255")
    session = SessionConfig(key, 300_000, 300_000, 5, 254)
    async with engine_in(gateway, directory) as engine, Client(engine.path) as control:
        await control.configure([session], 1)
        await _until_up(network, control)
        assert await asyncio.to_thread(until, lambda: ask(client, "172.17.0.1")) == ["172.17.0.20"]
        assert network.holder("vpc1") == "node1"
        await asyncio.to_thread(network.stop_node, "node1")
        network.detach("far.default")
        await eventually(control, lambda s: s.sessions[0].state is not State.UP, WAIT_S)
        await _until_up(network, control)
        assert network.holder("vpc1") == "node2"
        assert await asyncio.to_thread(until, lambda: ask(client, "172.17.0.1")) == ["172.17.0.20"]
        await asyncio.to_thread(network.start_node, "node1")
        assert network.holder("vpc1") == "node2", "what works stays where it is"
    assert not ask(far, "192.168.0.20")
    back = pods.add("back", "node1", "subnet2", 21)
    assert await asyncio.to_thread(until, lambda: ask(back, "192.168.0.20")) == ["192.168.2.21"]


async def _until_up(network: Network, control: Client) -> None:
    """Both ends, by OVN's database and by the engine."""
    deadline = time.monotonic() + WAIT_S
    while True:
        await asyncio.to_thread(network.nudge)
        status = network.nbctl("--bare", "--columns=status", "list", "bfd").strip()
        (session,) = (await control.snapshot()).sessions
        if status == "up" and session.state is State.UP:
            return
        assert time.monotonic() < deadline, (status, session)
        await asyncio.sleep(0.1)


def _become_gateway(namespace: str) -> None:
    namespaces.sysctl(namespace, {"net/ipv4/ip_forward": 1})
    rule = 'chain out { type nat hook postrouting priority 100\noif "net1" masquerade\n}'
    command = namespaces.inside(namespace, "nft", "-f", "-")
    namespaces.run(command, stdin=f"table ip gateway {{\n{rule}\n}}\n")


def _watch_and_route(network: Network, address: str) -> None:
    """The BFD port of vpc1, for stock OVN, and the way by the gateway."""
    port = "bfd@vpc1"
    network.nbctl(
        *("lrp-add", "vpc1", port, "02:00:00:00:01:ff", "10.255.255.255/32"),
        *("--", "ls-add", "stub", "--", "lsp-add", "stub", "stub-port"),
        *("--", "lsp-set-type", "stub-port", "router"),
        *("--", "lsp-set-addresses", "stub-port", "router"),
        *("--", "lsp-set-options", "stub-port", f"router-port={port}"),
        *("--", "ha-chassis-group-add", port),
    )
    for node, priority in (("node1", "100"), ("node2", "99")):
        network.nbctl("ha-chassis-group-add-chassis", port, node, priority)
    found = network.nbctl("--bare", "--columns=_uuid", "find", "ha_chassis_group", f"name={port}")
    network.nbctl("set", "logical_router_port", port, f"ha_chassis_group={found.strip()}")
    row = network.nbctl(
        *("create", "bfd", f"logical_port={port}", f"dst_ip={address}"),
        *("min_tx=300", "min_rx=300", "detect_mult=5"),
    )
    network.nbctl(
        *("--policy=src-ip", "--ecmp", f"--bfd={row.strip()}"),
        *("lr-route-add", "vpc1", "192.168.2.0/24", address),
    )
    network.place_bfd_ports()
