"""What runs a gateway: its ConfigMap, its Deployment, what its pods may do at the API server, and
how many of them evictions may take.

What another owner has made is left alone and named. What was found to be as it should be costs
nothing until it, or what is wanted, changes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kube.account import account, role, role_binding
from kube.configuration import Stamped, config_map, read_stamped, stamped, text_of
from kube.disruption import disruption_budget, has_pods_with
from kube.identity import Identity
from kube.objects import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    Object,
    Resource,
)
from kube.pods import Pod
from kube.selection import Key
from kube.workload import Workload, deployment
from vegd.cluster.copies import Copies
from vegd.cluster.writer import Writer

log = logging.getLogger(__name__)

_RIGHTS = (SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS)
"""Of the watchers in the pods."""


class Ran(NamedTuple):
    """What there is of it now."""

    revision: int = 0
    """Of the configuration; 0 if the ConfigMap is somebody else's, or could not be written."""
    foreign: tuple[str, ...] = ()
    """What stands in the way, for people."""


class Workloads:
    """For the gateways of one controller. Methods raise KubeError."""

    def __init__(self, identity: Identity, copies: Copies, writer: Writer) -> None:
        self._identity = identity
        self._copies = copies
        self._writer = writer
        self._settled: dict[Key, tuple[Workload, tuple[str, ...], Ran]] = {}
        """What was found to be as it should be: for which workload, in which versions."""
        self._stamps: dict[Key, Stamped] = {}
        """The configurations that were written last, which are not yet seen for a moment."""

    def forget(self, key: Key) -> None:
        """The gateway is gone."""
        self._settled.pop(key, None)
        self._stamps.pop(key, None)

    async def ensure(self, workload: Workload, reported: int = 0) -> Ran:
        """Make all of it as it should be; `reported` is the highest revision that a pod has."""
        key = f"{workload.namespace}/{workload.name}"
        versions = self._versions(workload)
        settled = self._settled.get(key)
        if settled is not None and settled[:2] == (workload, versions):
            return settled[2]
        foreign, written, revision = [], False, 0
        for resource, name in self._names(workload):
            observed = await self._look(resource, workload.namespace, name)
            if observed is not None and not _is_owned_by(observed, workload.uid):
                foreign.append(_foreign(resource, name))
                continue
            if resource is CONFIG_MAPS:
                revision = self._stamp(key, workload, observed, reported)
            desired = self._desired(resource, workload, key)
            if await self._writer.ensure(resource, desired, observed):
                log.info("%s/%s: %s written", workload.namespace, name, resource.kind)
                written = True
        ran = Ran(revision, tuple(foreign))
        if not foreign and not written:
            self._settled[key] = (workload, versions, ran)
        return ran

    async def limit_evictions(
        self, workload: Workload, budgets: Iterable[Object]
    ) -> tuple[str, ...]:
        """Have evictions take one pod at a time. `budgets`: those of the namespace that are no
        gateway's; where one of them has the pods there is none of ours. What stands in the way."""
        resource, namespace = DISRUPTION_BUDGETS, workload.namespace
        name = self._identity.workload_name(workload)
        item = self._copies.owned[resource].mirror.items.get(f"{namespace}/{name}")
        is_ours = item is not None and _is_owned_by(item.value, workload.uid)
        if any(has_pods_with(each, self._identity.labels(workload.name)) for each in budgets):
            if item is not None and is_ours and await self._writer.remove(resource, item.value):
                log.info("%s/%s: another budget has its pods", namespace, name)
            return ()
        if item is not None and not is_ours:
            return (_foreign(resource, name),)
        desired = disruption_budget(workload, self._identity)
        if await self._writer.ensure(resource, desired, item and item.value):
            log.info("%s/%s: %s written", namespace, name, resource.kind)
        return ()

    async def tidy(self, workload: Workload, pods: Iterable[Pod]) -> None:
        """Remove what the watchers of before might do, once no pod of the gateway, nor one that
        may still be made, is that account."""
        name = self._identity.config_name(workload)
        key = f"{workload.namespace}/{name}"
        if workload.watch is not None or any(pod.spec.service_account_name == name for pod in pods):
            return
        left = [
            (resource, item.value)
            for resource in reversed(_RIGHTS)
            if resource in self._copies.owned
            and (item := self._copies.owned[resource].mirror.items.get(key)) is not None
            and _is_owned_by(item.value, workload.uid)
        ]
        if not left or not self._is_rolled_out(workload, name):
            return
        for resource, value in left:
            if await self._writer.remove(resource, value):
                log.info("%s: %s removed, no pod uses it any more", key, resource.kind)

    def _is_rolled_out(self, workload: Workload, account: str) -> bool:
        """Whether the Deployment makes pods without an account, and has no others."""
        key = f"{workload.namespace}/{self._identity.workload_name(workload)}"
        item = self._copies.owned[DEPLOYMENTS].mirror.items.get(key)
        if item is None or not _is_owned_by(item.value, workload.uid):
            return False
        status, template = item.value.get("status") or {}, item.value["spec"]["template"]
        return bool(
            template["spec"].get("serviceAccountName") != account
            and status.get("observedGeneration", 0) >= item.value["metadata"]["generation"]
            and status.get("updatedReplicas", 0) == status.get("replicas", 0)
        )

    def _stamp(self, key: Key, workload: Workload, observed: Object | None, reported: int) -> int:
        there = Stamped() if observed is None else read_stamped(observed)
        written = self._stamps.get(key, Stamped())
        self._stamps[key] = stamped(text_of(workload), there, written, reported)
        return self._stamps[key].revision

    def _desired(self, resource: Resource, workload: Workload, key: Key) -> Object:
        if resource is CONFIG_MAPS:
            return config_map(workload, self._identity, self._stamps[key])
        make = {
            SERVICE_ACCOUNTS: account,
            ROLES: role,
            ROLE_BINDINGS: role_binding,
            DEPLOYMENTS: deployment,
        }[resource]
        return make(workload, self._identity)

    def _names(self, workload: Workload) -> Iterator[tuple[Resource, str]]:
        """In the order in which they are made: what pods need is there before them."""
        name = self._identity.config_name(workload)
        yield CONFIG_MAPS, name
        if workload.watch is not None:
            yield from ((each, name) for each in _RIGHTS)
        yield DEPLOYMENTS, self._identity.workload_name(workload)

    async def _look(self, resource: Resource, namespace: str, name: str) -> Object | None:
        item = self._copies.owned[resource].mirror.items.get(f"{namespace}/{name}")
        if item is not None:
            return item.value
        # One without our labels is not followed, but may be there.
        return await self._writer.look(resource, namespace, name)

    def _versions(self, workload: Workload) -> tuple[str, ...]:
        """Of those that there are."""
        items = (
            self._copies.owned[resource].mirror.items.get(f"{workload.namespace}/{name}")
            for resource, name in self._names(workload)
        )
        return tuple(each.metadata.resource_version for each in items if each)


def _foreign(resource: Resource, name: str) -> str:
    return f"the {resource.kind} {name} belongs to somebody else; it is left alone"


def _is_owned_by(value: Object, uid: str) -> bool:
    owners = value.get("metadata", {}).get("ownerReferences") or ()
    return any(each.get("uid") == uid for each in owners)
