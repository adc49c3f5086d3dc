"""What the pods of gateways report: how long they have disagreed with OVN, and that entries of pods
that are gone go, too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import NamedTuple

from kube.agreement import (
    PATIENCE_S,
    Disagreement,
    applied,
    disagreements,
    lasting,
    newest,
)
from kube.conditions import Wanted
from kube.objects import PODS, Object, Resource
from kube.pod_reports import pod_reports
from kube.pods import GatewayPod
from kube.schema import EgressGateway
from kube.selection import Key
from vegd.cluster.writer import Writer

log = logging.getLogger(__name__)


class Heard(NamedTuple):
    """What a gateway's pods say, and what follows from it."""

    applied: Wanted
    disagreements: tuple[Disagreement, ...]
    """Those that last."""
    again_s: float | None
    """When to look again; None if it need not be."""


class Reports:
    """For the gateways of one controller."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._since_s: dict[Key, dict[str, float]] = {}
        """Since when OVN and a pod differ, by the pod's address."""

    def forget(self, key: Key) -> None:
        """The gateway is gone."""
        self._since_s.pop(key, None)

    def newest(self, gateway: EgressGateway) -> int:
        """The highest revision that a pod has."""
        return newest(pod_reports(gateway.status))

    def hear(
        self,
        gateway: EgressGateway,
        pods: tuple[GatewayPod, ...],
        sessions: Mapping[str, str],
        revision: int,
    ) -> Heard:
        """Judge what the pods say by OVN's view and the configuration's revision."""
        told, key = pod_reports(gateway.status), gateway.key
        now_s = asyncio.get_running_loop().time()
        found, since_s = lasting(
            disagreements(pods, told, sessions), self._since_s.get(key, {}), now_s
        )
        if since_s:
            self._since_s[key] = since_s
        else:
            self._since_s.pop(key, None)
        waits = len(since_s) > len(found)
        return Heard(applied(pods, told, revision), found, PATIENCE_S / 4 if waits else None)

    async def sweep(self, resource: Resource, value: Object, known: Collection[str]) -> None:
        """Remove the entries of pods that are gone. Raises KubeError.

        A pod that is not among those `known` may be newer than what is known: it is asked for.
        """
        namespace = value["metadata"]["namespace"]
        for pod in pod_reports(value.get("status") or {}).keys() - known:
            if await self._writer.look(PODS, namespace, pod) is None:
                await self._writer.drop_report(resource, value, pod)
                log.info("%s/%s is gone: its report is removed", namespace, pod)
