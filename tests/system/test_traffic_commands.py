"""`vegd policies`, `ports` and `flows` with real flows through a gateway, no daemon running."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from dataplane.kernel import Kernel
from dataplane.render import render
from tests.support.dataplane import (
    DIRECT_CLIENT,
    EXTERNAL,
    OUTSIDE,
    OUTSIDE_PORT,
    SNAT_CLIENT,
    Topology,
    build,
    converge,
    conversation,
    exchange,
    inside_thread,
    with_kernel,
)
from tests.support.netns import run
from vegd.cli.app import app
from vegd.compile import Waiting, compile  # noqa: A004 - the architecture's word
from vegd.errors import VegdError
from vegd.facts import NodeFacts
from vegd.spec import load
from vegd.words import endpoint

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

Netns = Callable[[str], str]
PORTS = (40_000, 40_009)
CONFIG = {
    "name": "gw1",
    "internal": {
        "interface": "eth0",
        "addresses": ["192.168.0.2/24", "fd00::2/64"],
        "gateways": ["192.168.0.1", "fd00::1"],
    },
    "external": {
        "interface": "net1",
        "macvlan": {"parent": "ext0"},
        "addresses": ["172.17.0.11/16", "fd17::11/64"],
        "gateways": ["172.17.0.1", "fd17::1"],
        "snat": {"ports": f"{PORTS[0]}-{PORTS[1]}"},
    },
    "policies": [
        {"name": "vpc", "snat": True, "ipBlocks": ["192.168.1.0/24", "fd01::/64"]},
        {"name": "direct", "snat": False, "ipBlocks": ["192.168.2.0/24", "fd02::/64"]},
    ],
}


class Gateway:
    """The gateway's namespace with the configuration applied, and its command line."""

    def __init__(self, netns: Netns, directory: Path) -> None:
        self.top: Topology = build(netns)
        self.config = directory / "gateway.yaml"
        self.config.write_text(yaml.safe_dump(CONFIG))

    def apply(self) -> None:
        async def work(kernel: Kernel) -> bool:
            facts = NodeFacts(await kernel.interfaces(), await kernel.tracking())
            compiled = compile(load(self.config), facts)
            assert not isinstance(compiled, Waiting), compiled
            return (await converge(kernel, render(compiled.dataplane))).ok

        assert with_kernel(self.top.gateway, work)

    def vegd(self, *arguments: str, status: int = 0) -> str:
        """What a command prints. It runs in a thread inside the namespace: a process for each
        would take most of the time, and connections end meanwhile."""
        runner, command = CliRunner(), [*arguments, "--config", str(self.config)]
        done = inside_thread(self.top.gateway, lambda: runner.invoke(app, command))
        assert done.exit_code == status, (done.output, done.exception)
        return str(done.exception) if isinstance(done.exception, VegdError) else done.output

    def json(self, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
        return list(json.loads(self.vegd(*arguments, "--json", status=status)))


@pytest.fixture
def gateway(netns: Netns, tmp_path: Path) -> Gateway:
    return Gateway(netns, tmp_path)


def _talk(gateway: Gateway, client: str, version: int, times: int = 1) -> int:
    """Ask and be answered; returns the client's port."""
    with conversation(gateway.top, client, version) as (ours, theirs):
        for _ in range(times):
            exchange(ours, theirs, version)
        return int(ours.getsockname()[1])


def test_before_anything_is_applied_it_is_said_what_is_missing(gateway: Gateway) -> None:
    assert "'vegd plan' says what is missing" in gateway.vegd("policies", status=1)
    assert {each["out"] for each in gateway.json("policies", status=1)} == {None}
    assert gateway.json("ports") == gateway.json("flows") == []
    run(gateway.top.gateway, "ip", "link", "del", "ext0")
    for command in ("ports", "flows"):
        said = gateway.vegd(command, status=1)
        assert said == "waiting: the macvlan parent ext0 of net1 does not exist yet"


def test_policies_count_both_directions(gateway: Gateway) -> None:
    gateway.apply()
    _talk(gateway, SNAT_CLIENT[4], 4, times=3)
    _talk(gateway, DIRECT_CLIENT[6], 6)
    found = {(each["policy"], each["family"]): each for each in gateway.json("policies")}
    figures = found["vpc", "ipv4"]
    # IPv4 and UDP headers are 28 bytes; "ask" and "answer" are 3 and 6.
    assert figures["out"] == {"packets": 3, "bytes": 3 * 31}
    assert figures["in"] == {"packets": 3, "bytes": 3 * 34}
    assert found["direct", "ipv6"]["out"]["packets"] == 1
    assert found["direct", "ipv4"]["out"]["packets"] == 0
    line = next(each for each in gateway.vegd("policies").splitlines() if "vpc     ipv4" in each)
    assert line.split() == ["vpc", "ipv4", "yes", "1", "3", "93", "3", "102"]


@pytest.mark.parametrize("version", [4, 6])
def test_flows_tell_who_shows_as_what(gateway: Gateway, version: int) -> None:
    gateway.apply()
    port = _talk(gateway, SNAT_CLIENT[version], version, times=2)
    _talk(gateway, DIRECT_CLIENT[version], version)
    every = gateway.json("flows", "--protocol", "udp")
    assert [each["policy"] for each in every] == ["vpc", "direct"]
    (flow,) = gateway.json("flows", "--external", EXTERNAL[version])
    assert (flow["source"], flow["source_port"]) == (SNAT_CLIENT[version], port)
    assert flow["external"] == EXTERNAL[version]
    assert PORTS[0] <= flow["external_port"] <= PORTS[1]
    assert (flow["destination"], flow["destination_port"]) == (OUTSIDE[version], OUTSIDE_PORT)
    assert (flow["packets_out"], flow["packets_in"]) == (2, 2)
    shown = str(flow["external_port"])
    assert gateway.json("flows", "--external-port", shown) == [flow]
    assert gateway.json("flows", "--top", "1") == [flow]
    assert [e["policy"] for e in gateway.json("flows", "--source", DIRECT_CLIENT[version])] == [
        "direct"
    ]
    (summed, _) = gateway.json("flows", "--by-source", "--destination", OUTSIDE[version])
    assert (summed["source"], summed["connections"]) == (SNAT_CLIENT[version], 1)
    assert gateway.vegd("flows", "--protocol", "tcp") == "no such flow\n"
    told = gateway.vegd("flows", "--top", "1")
    assert endpoint(SNAT_CLIENT[version], port) in told
    assert told.endswith("and 1 more\n")


def test_ports_tell_of_a_destination_that_has_taken_most(gateway: Gateway) -> None:
    gateway.apply()
    for _ in range(4):
        _talk(gateway, SNAT_CLIENT[4], 4)
    (use,) = gateway.json("ports")
    assert (use["external"], use["protocol"]) == (EXTERNAL[4], "udp")
    assert (use["ports_in_use"], use["ports_available"], use["used_ratio"]) == (4, 10, 0.4)
    busiest = {"address": OUTSIDE[4], "port": OUTSIDE_PORT, "connections": 4}
    assert use["busiest"] == [busiest]
    for _ in range(4):
        _talk(gateway, SNAT_CLIENT[4], 4)
    told = gateway.vegd("ports", status=1).splitlines()[1].split()
    assert told == [
        EXTERNAL[4],
        "udp",
        "8",
        "8",
        "10",
        "80.0%",
        f"{OUTSIDE[4]}:{OUTSIDE_PORT}",
        "8",
    ]
