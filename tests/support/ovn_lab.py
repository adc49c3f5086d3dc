"""A lab whose VPC router is a real OVN that nobody has told of the gateways yet."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from unittest import mock

from kube.bfd_port import BfdPort
from kube.bfd_port import rows as bfd_port_rows
from kube.binding import Choice, PortHistory, Status, choose, saw, wants_stub
from kube.northbound import Northbound
from kube.owners import KUBE_OVN, GatewayOwner, PortOwner
from kube.routes import BfdSettings, Gateway, Replica, routes
from vegd.lab import faults, namespaces, ovn_router
from vegd.lab.flows import Probes, probed
from vegd.lab.lab import Lab, remove
from vegd.lab.ovn_programs import OvnPrograms
from vegd.lab.topology import FAMILIES, Interface, LabOptions, RouterKind
from vegd.lab.topology import Gateway as LabGateway

_LONG_S = 90.0


class BareLab(Lab):
    """Gateways, clients and the logical network; no BFD port, no session, no route."""

    def __init__(self, options: LabOptions, ovn: OvnPrograms) -> None:
        super().__init__(options)
        self.ovn = ovn

    def _build_router(self) -> None:
        ovn_router.build_bare(self.topology, self.state, self.ovn)

    @property
    def northbound(self) -> str:
        """Where the northbound database is."""
        return f"unix:{ovn_router.ovn_directory(self.state)}/ovn.sock"

    def nbctl(self, *arguments: str) -> str:
        """What ovn-nbctl says."""
        return ovn_router.nbctl(self.state, *arguments)


@contextlib.contextmanager
def bare_lab(
    ovn: OvnPrograms, peers: tuple[Interface, ...] | None = None, *, with_daemons: bool = True
) -> Iterator[BareLab]:
    """A lab with an OVN version; `peers` are the router's ends of the sessions. `with_daemons`
    as for `Lab.create`."""
    options = LabOptions(prefix=f"nb{os.getpid()}", router=RouterKind.OVN, interval_ms=100)
    lab = BareLab(options, ovn)
    if peers is not None:
        lab.topology.bfd_port = peers
    path = os.environ["PATH"] if ovn.bin is None else f"{ovn.bin}:{os.environ['PATH']}"
    with mock.patch.dict(os.environ, {"PATH": path}):
        lab.create(with_daemons=with_daemons)
        try:
            yield lab
        finally:
            remove(options.prefix)


class Pilot:
    """Leads the lab's clients to its gateways as a controller would, step by step.

    The clock of its judgement is moved by the test, so that patience costs no time.
    """

    def __init__(self, lab: BareLab, nb: Northbound, port: str) -> None:
        topology = lab.topology
        self.lab = lab
        self.nb = nb
        self.history = PortHistory()
        self.now_s = 0.0
        self.has_stub = False
        self.owner = GatewayOwner(KUBE_OVN, "default", "gateway1")
        self.gateway = Gateway(
            namespace="default",
            name="gateway1",
            router="vpc1",
            size=len(topology.gateways),
            replicas=tuple(
                Replica(each.name, "node", True, texts(each.internal), texts(each.external))
                for each in topology.gateways
            ),
            cidrs=frozenset(str(each.network) for each in topology.subnet2),
            bfd=BfdSettings(port, texts(topology.bfd_port), 100, 100, 3),
            router_port="vpc1-subnet1",
        )

    @property
    def port(self) -> str:
        """The port of the sessions."""
        assert self.gateway.bfd is not None
        return self.gateway.bfd.port

    async def looks(self) -> dict[str, Status | None]:
        """The status of each session by its peer."""
        return {str(look.key[1]): look.status for look in await self.nb.looks(self.port)}

    async def step(self) -> Choice:
        """One round: look, judge, write."""
        self.history = saw(self.history, await self.nb.looks(self.port), self.now_s)
        choice = choose(self.history, self.now_s, has_column=self.nb.policies_can_name_bfd)
        self.gateway = replace(self.gateway, way=choice.way)
        done = await self.nb.converge(self.owner, routes(self.gateway, KUBE_OVN).rows)
        assert not done.conflicts
        assert not done.missing
        await asyncio.to_thread(ovn_router.nudge, self.lab.state)
        return choice

    async def bfd_port(self) -> None:
        """The VPC's own port for BFD, with a switch when it wants one."""
        self.has_stub = wants_stub(
            self.history, self.now_s, has_stub=self.has_stub, gateways_live=True
        )
        port = BfdPort(
            vpc="vpc1",
            addresses=texts(self.lab.topology.bfd_port),
            chassis=(ovn_router.CHASSIS,),
            has_stub=self.has_stub,
        )
        await self.nb.converge(PortOwner(KUBE_OVN, "vpc1"), bfd_port_rows(port, KUBE_OVN))

    async def until(self, condition: Callable[[dict[str, Status | None]], bool]) -> None:
        """Wait for what the sessions show."""
        deadline = time.monotonic() + _LONG_S
        while not condition(found := await self.looks()):
            assert time.monotonic() < deadline, found
            await asyncio.to_thread(ovn_router.nudge, self.lab.state)
            await asyncio.sleep(0.05)

    async def until_all(self, *statuses: Status) -> None:
        """Wait until all sessions, of both families, show one of these."""
        count = 2 * len(self.lab.topology.gateways)
        await self.until(lambda found: len(found) == count and set(found.values()) <= set(statuses))

    async def until_gateway(self, gateway: LabGateway, *statuses: Status) -> None:
        """The same of one gateway."""
        own = texts(gateway.internal)
        await self.until(lambda found: all(found[each] in statuses for each in own))


def texts(interfaces: tuple[Interface, ...]) -> tuple[str, ...]:
    """Addresses without their prefix length."""
    return tuple(str(each.ip) for each in interfaces)


def add_other_way_out(lab: BareLab) -> None:
    """Default routes to a host that is no gateway, which counts what it should never see."""
    host = lab.topology.clients[1]
    ipv4, ipv6 = (host.sources(family)[0] for family in FAMILIES)
    for prefix, address in (("0.0.0.0/0", ipv4), ("::/0", ipv6)):
        lab.nbctl("lr-route-add", "vpc1", prefix, address)
    outside = (str(each.ip) for each in lab.topology.outside)
    rules = "".join(
        f"{family} daddr {address} counter\n"
        for family, address in zip(("ip", "ip6"), outside, strict=True)
    )
    chain = f"chain leak {{ type filter hook ingress device eth0 priority 0;\n{rules}}}"
    command = namespaces.inside(host.namespace, "nft", "-f", "-")
    namespaces.run(command, stdin=f"table netdev leak {{\n{chain}\n}}\n")


def leaked(lab: BareLab) -> int:
    """How many packets went the other way out."""
    host = lab.topology.clients[1]
    command = ["nft", "-j", "list", "table", "netdev", "leak"]
    listed = json.loads(namespaces.run(namespaces.inside(host.namespace, *command)))["nftables"]
    statements = (part for each in listed for part in each.get("rule", {}).get("expr", ()))
    counts = [part["counter"]["packets"] for part in statements if "counter" in part]
    assert len(counts) == 2
    return sum(counts)


async def until_answered_by(lab: BareLab, probes: Probes, *gateways: LabGateway) -> None:
    """Wait until all answers of late came through these gateways, and through each of them."""
    wanted = {each for gateway in gateways for each in texts(gateway.external)}
    deadline = time.monotonic() + _LONG_S
    while set(found := probes.now()) != wanted:
        assert time.monotonic() < deadline, (found, wanted)
        await asyncio.sleep(0.1)


async def gateway_dies_and_gateway_drains(pilot: Pilot) -> None:
    """All sessions are Up: traffic leaves a gateway that is cut off, and one that drains."""
    lab = pilot.lab
    first, second = lab.topology.gateways
    probes = Probes(lab.state, probed(lab), interval_ms=100)
    await asyncio.to_thread(probes.start)
    await until_answered_by(lab, probes, first, second)
    await asyncio.to_thread(faults.cut, first)
    await pilot.until_gateway(first, Status.DOWN)
    await until_answered_by(lab, probes, second)
    await asyncio.to_thread(faults.heal, first, lab.topology)
    await pilot.until_all(Status.UP)
    await until_answered_by(lab, probes, first, second)
    faults.send(second, lab.state, signal.SIGTERM)
    # Its AdminDown shows as down: admin_down is what nobody heeds, and nothing else.
    await pilot.until_gateway(second, Status.DOWN)
    await until_answered_by(lab, probes, first)
    # The last one goes as well: what is left has no way out, whatever routes the VPC has.
    faults.send(first, lab.state, signal.SIGTERM)
    await pilot.until_all(Status.DOWN)
    await until_answered_by(lab, probes)
    await asyncio.to_thread(probes.stop)
    assert leaked(lab) == 0
    assert (await pilot.step()).way is pilot.gateway.way, "a drain does not change the way"
