"""The composition root of the cluster side: what runs, and whose turn it is.

All candidates follow the cluster, so that one that comes to lead can begin at once; only the leader
works on the queues and writes. Gateways, VPCs and BFD ports have a queue each, so that what
waits for one kind does not hold up another.
"""

from __future__ import annotations

import asyncio
import logging

from kube.client import Client
from kube.northbound import Changed
from kube.overlap import Claims
from kube.ovsdb import DatabaseError
from kube.routes import Way
from kube.rows import RouterPort
from kube.selection import Selection
from vegd.cluster.bfd_ports import BfdPorts
from vegd.cluster.concerns import Concerns
from vegd.cluster.copies import Copies
from vegd.cluster.gateways import Gateways, NotDone, Options
from vegd.cluster.leadership import Leadership
from vegd.cluster.ovn import Ovn
from vegd.cluster.queue import WorkQueue
from vegd.cluster.writer import Writer

log = logging.getLogger(__name__)

_PORT_PREFIX = "bfd@"
_ASK_AGAIN_S = 1.0
"""While OVN has not shown yet what it makes of BFD in policies."""


class Controller:
    """One controller. `client` and `ovn` are handed in and closed by whoever made them."""

    def __init__(
        self,
        client: Client,
        ovn: Ovn,
        options: Options,
        instance: str,
        *,
        manages_bfd_ports: bool,
        workers: int = 8,
    ) -> None:
        self.gateways, self.vpcs, self.ports = WorkQueue(), WorkQueue(), WorkQueue()
        self.ovn = ovn
        self._mark = options.mark
        self._workers = workers
        self._ways: dict[str, tuple[Way, bool]] = {}
        """Of each BFD port, as its gateways were told."""
        selection = Selection()
        self._concerns = Concerns(options.identity, selection, self.gateways.add, self._look_at_vpc)
        self.copies = Copies(
            client, options.identity, self._concerns.told, watches=options.watch is not None
        )
        writer = Writer(client, instance)
        self._gateways = Gateways(
            options, self.copies, self._concerns, selection, ovn, writer, Claims()
        )
        self._bfd_ports = (
            BfdPorts(options.mark, self.copies, ovn, writer) if manages_bfd_ports else None
        )

    async def run(self, leadership: Leadership | None = None) -> None:
        """Follow the cluster for ever, and act: always, or while the lead is ours."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.copies.run())
            if leadership is None:
                await self.act()
            else:
                await leadership.run(self.act)

    async def act(self) -> None:
        """Work for ever, once everything there is has been seen."""
        await self.copies.complete()
        log.info("everything has been seen: beginning")
        for key in self.copies.gateways.mirror.items:
            self.gateways.add(key)
        for name in self.copies.vpcs.mirror.items:
            self._look_at_vpc(name)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.ovn.follow(self._ovn_changed))
            tasks.create_task(self.gateways.run(self._gateways.reconcile, self._workers, NotDone))
            tasks.create_task(self.vpcs.run(self._work_on_vpc, 1, NotDone))
            tasks.create_task(self.ports.run(self._work_on_port, 1, DatabaseError))

    def _look_at_vpc(self, name: str) -> None:
        if self._bfd_ports is not None:
            self.vpcs.add(name)

    def _ovn_changed(self, changed: Changed) -> None:
        if changed.is_connection_new:
            for queue in (self.gateways, self.vpcs, self.ports):
                queue.retry(_is_ovns)
        for ref in changed.names:
            name = str(ref.key[0])
            if ref.table == "Logical_Router":  # Kube-OVN calls it like the VPC
                self._look_at_vpc(name)
                for key in self._concerns.of_vpc(name):
                    self.gateways.add(key)
            if name.startswith(_PORT_PREFIX):
                self._look_at_vpc(name.removeprefix(_PORT_PREFIX))
                if ref.table == RouterPort.TABLE:
                    self.ovn.forget(name)
                    self.ports.add(name)
        for vendor, key in changed.gateways:
            if vendor == self._mark.vendor:
                self.gateways.add(key)

    async def _work_on_port(self, name: str) -> float | None:
        """Its gateways are told when next hops are to be tied to its sessions in another way, and
        when it comes or goes."""
        choice, _ = await self.ovn.way(name)
        seen = choice.way, await (await self.ovn.northbound()).has_port(name)
        # How long the sessions have been down is known only now.
        self._look_at_vpc(name.removeprefix(_PORT_PREFIX))
        if self._ways.get(name) != seen:
            self._ways[name] = seen
            for key in self._concerns.of_vpc(name.removeprefix(_PORT_PREFIX)):
                self.gateways.add(key)
        return _ASK_AGAIN_S if choice.way is Way.TRIAL else None

    async def _work_on_vpc(self, name: str) -> float | None:
        assert self._bfd_ports is not None  # noqa: S101 - nothing is added otherwise
        return await self._bfd_ports.reconcile(name, gateways_live=self._gateways_live(name))

    def _gateways_live(self, vpc: str) -> bool:
        return any(
            pod.serves for key in self._concerns.of_vpc(vpc) for pod in self._concerns.pods_of(key)
        )


def _is_ovns(failure: Exception) -> bool:
    """Whether it was OVN that failed."""
    return any(isinstance(each, DatabaseError) for each in (failure, failure.__cause__))
