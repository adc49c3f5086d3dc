"""The BFD port of one VPC: its rows in OVN, and what the Vpc's status says of it.

Only where Kube-OVN's own controller does not see to it. The chassis that hold the port follow the
nodes that the Vpc selects, and change as little as they can (`kube.bfd_port`).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from kube import bfd_port, nodes
from kube.bfd_port import BfdPort
from kube.binding import STUB_PATIENCE_S, PortHistory, wants_stub
from kube.definitions import VPCS
from kube.errors import KubeError
from kube.ovsdb import DatabaseError
from kube.owners import Mark, PortOwner
from kube.rows import HaGroup, Ref, Row, Switch
from kube.schema import Vpc, split
from vegd.cluster.copies import Copies
from vegd.cluster.gateways import NotDone
from vegd.cluster.ovn import Ovn
from vegd.cluster.writer import Writer

log = logging.getLogger(__name__)


class BfdPorts:
    """Reconciles the BFD ports of VPCs by the VPCs' names."""

    def __init__(self, mark: Mark, copies: Copies, ovn: Ovn, writer: Writer) -> None:
        self._mark = mark
        self._copies = copies
        self._ovn = ovn
        self._writer = writer

    async def reconcile(self, name: str, *, gateways_live: bool) -> float | None:
        """One round for one VPC; `gateways_live`: whether pods of its gateways are ready. When to
        look again, if it must be. Raises NotDone."""
        item = self._copies.vpcs.mirror.items.get(name)
        owner = PortOwner(self._mark, name)
        try:
            northbound = await self._ovn.northbound()
            there = await northbound.found(owner)
            if item is None or not item.value.spec.bfd_port.enabled:
                if there and await northbound.looks(owner.port):
                    # It goes with the last of them: ovn-northd may die of one that has no port.
                    log.info("%s stays while BFD sessions of gateways begin there", owner.port)
                    return None
                await northbound.converge(owner, ())
                if item is not None and item.value.status.bfd_port.name:
                    await self._say(item.value, {})
                return None
            vpc = item.value
            has_stub = any(each.ref == Ref(Switch.TABLE, (owner.stub,)) for each in there)
            history = self._ovn.histories.get(owner.port, PortHistory())
            now_s = asyncio.get_running_loop().time()
            port = BfdPort(
                vpc=vpc.status.router or name,
                addresses=split(vpc.spec.bfd_port.ip),
                chassis=self._chassis(vpc, there),
                has_stub=wants_stub(history, now_s, has_stub=has_stub, gateways_live=gateways_live),
            )
            outcome = await northbound.converge(owner, bfd_port.rows(port, self._mark))
            if outcome.plan:
                log.info("%s: %d rows of OVN written", owner.port, len(outcome.plan.ops))
            holders = self._nodes(port.chassis)
            told = {"name": owner.port, "ip": vpc.spec.bfd_port.ip, "nodes": holders}
            await self._say(vpc, told)
            # Also while no gateway lives: nobody tells of the VPC when one begins to.
            waits = history.down_s and not history.answered and not has_stub
            return STUB_PATIENCE_S / 4 if waits else None
        except (KubeError, DatabaseError) as exc:
            raise NotDone(str(exc)) from exc

    def _chassis(self, vpc: Vpc, there: tuple[Row, ...]) -> tuple[str, ...]:
        selector = vpc.spec.bfd_port.node_selector
        eligible = {
            name: chassis
            for name, item in self._copies.nodes.mirror.items.items()
            if (chassis := item.value.metadata.annotations.get(nodes.CHASSIS))
            and (selector is None or selector.matches(item.value.metadata.labels))
        }
        groups = [each for each in there if isinstance(each, HaGroup)]
        current = bfd_port.by_priority(groups[0]) if groups else ()
        return bfd_port.chassis(eligible, selects=selector is not None, current=current)

    def _nodes(self, chassis: tuple[str, ...]) -> list[str]:
        names = {
            item.value.metadata.annotations.get(nodes.CHASSIS): name
            for name, item in self._copies.nodes.mirror.items.items()
        }
        return [names[each] for each in chassis if each in names]

    async def _say(self, vpc: Vpc, port: dict[str, Any]) -> None:
        status = vpc.status.bfd_port
        if port == {"name": status.name, "ip": status.ip, "nodes": [*status.nodes]}:
            return
        value = {"metadata": {"name": vpc.metadata.name, "uid": vpc.metadata.uid}}
        await self._writer.field(VPCS, value, {"bfdPort": port} if port else {})
