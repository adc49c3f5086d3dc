"""Which gateways and VPCs a change concerns. Nothing is decided here but whom to look at again.

A change that concerns nobody costs no reconciliation: pods come and go by the thousand, and most
are taken by no gateway.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kube import definitions, nodes
from kube.agreement import interest
from kube.disruption import is_of_gateway
from kube.identity import Identity, label_value
from kube.informer import Change, Deleted, Synced, Upserted
from kube.objects import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    NAMESPACES,
    NODES,
    PODS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    Object,
    Resource,
)
from kube.pods import Pod
from kube.resolve import DEFAULT_VPC
from kube.schema import Named
from kube.selection import Key, Selection, key_of

_OWNED = {
    each.plural for each in (CONFIG_MAPS, DEPLOYMENTS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS)
}


class Concerns:
    """Told every change; tells whose turn it is."""

    def __init__(
        self,
        identity: Identity,
        selection: Selection,
        gateway: Callable[[Key], None],
        vpc: Callable[[str], None],
    ) -> None:
        self._identity = identity
        self._selection = selection
        self._gateway = gateway
        self._vpc = vpc
        self._specs: dict[Key, Object] = {}
        """Of all gateways, as they are."""
        self._vpcs: set[str] = set()
        self._labelled: dict[tuple[str, str], Key] = {}
        """Gateways by namespace and the value of the label that what they own carries."""
        self._pods: defaultdict[tuple[str, str], dict[Key, Pod]] = defaultdict(dict)
        """Gateways' own pods, by the same."""
        self._budgets: defaultdict[str, dict[Key, Object]] = defaultdict(dict)
        """Those that are no gateway's, by namespace."""

    def pods_of(self, gateway: Key) -> tuple[Pod, ...]:
        """The pods that a gateway's Deployment has made."""
        namespace, _, name = gateway.partition("/")
        return tuple(self._pods.get((namespace, label_value(name)), {}).values())

    def budgets_near(self, gateway: Key) -> tuple[Object, ...]:
        """The PodDisruptionBudgets of its namespace that are no gateway's."""
        namespace, _, _ = gateway.partition("/")
        return tuple(self._budgets.get(namespace, {}).values())

    def wake(self, gateways: Iterable[Key]) -> None:
        """What concerns these is not a change of an object."""
        for key in gateways:
            self._gateway(key)

    def told(self, resource: Resource, change: Change[Any]) -> None:
        """A change of any object that is followed."""
        if isinstance(change, Synced):
            return
        match resource.plural:
            case "vpc-egress-gateways":
                self._gateway_changed(change)
            case PODS.plural:
                self._pod_changed(change)
            case NAMESPACES.plural:
                self._namespace_changed(change)
            case NODES.plural:
                self._node_changed(change)
            case DISRUPTION_BUDGETS.plural:
                self._budget_changed(change)
            case plural if plural in _OWNED:
                self._owned_changed(change)
            case definitions.VPCS.plural:
                self._vpc_changed(change)
            case _:
                # Subnets, pools and attachments change seldom, and any gateway may wait for one.
                for key in self._specs:
                    self._gateway(key)

    def of_vpc(self, vpc: str) -> Iterator[Key]:
        """The gateways of a VPC."""
        for key, spec in self._specs.items():
            if (spec.get("vpc") or DEFAULT_VPC) == vpc:
                yield key

    def _gateway_changed(self, change: Upserted[Object] | Deleted[Object]) -> None:
        metadata = change.item.metadata
        key, label = change.item.key, (metadata.namespace, label_value(metadata.name))
        if isinstance(change, Deleted):
            self._specs.pop(key, None)
            self._labelled.pop(label, None)
        else:
            self._specs[key] = change.item.value.get("spec") or {}
            self._labelled[label] = key
            if change.before is not None and _is_no_news(change.before.value, change.item.value):
                return
        self._gateway(key)

    def _pod_changed(self, change: Upserted[Pod] | Deleted[Pod]) -> None:
        pod = change.item.value
        label = pod.metadata.labels.get(self._identity.gateway_label)
        if label is not None and pod.metadata.labels.get("app") == self._identity.app:
            owner = (pod.metadata.namespace, label)
            if isinstance(change, Deleted):
                self._pods[owner].pop(change.item.key, None)
            else:
                self._pods[owner][change.item.key] = pod
            if (key := self._labelled.get(owner)) is not None:
                self._gateway(key)
        gone = isinstance(change, Deleted)
        takers = self._selection.drop_pod(key_of(pod)) if gone else self._selection.set_pod(pod)
        self.wake(takers)

    def _namespace_changed(self, change: Upserted[Named] | Deleted[Named]) -> None:
        metadata = change.item.value.metadata
        gone = isinstance(change, Deleted)
        takers = (
            self._selection.drop_namespace(metadata.name)
            if gone
            else self._selection.set_namespace(metadata.name, metadata.labels)
        )
        self.wake(takers)

    def _node_changed(self, change: Upserted[Named] | Deleted[Named]) -> None:
        before = change.before if isinstance(change, Upserted) else None
        if before is not None and _node(before.value) == _node(change.item.value):
            return
        for vpc in self._vpcs:
            self._vpc(vpc)
        for key, spec in self._specs.items():
            if spec.get("trafficPolicy") == "Local":
                self._gateway(key)

    def _owned_changed(self, change: Upserted[Object] | Deleted[Object]) -> None:
        labels: Mapping[str, str] = change.item.value.get("metadata", {}).get("labels") or {}
        label = labels.get(self._identity.gateway_label, "")
        key = self._labelled.get((change.item.metadata.namespace, label))
        if key is not None:
            self._gateway(key)

    def _budget_changed(self, change: Upserted[Object] | Deleted[Object]) -> None:
        before = change.before if isinstance(change, Upserted) else None
        value, key = change.item.value, change.item.key
        namespace = change.item.metadata.namespace
        if before is not None and _budget(before.value) == _budget(value):
            return
        self._owned_changed(change)
        was_there = self._budgets[namespace].pop(key, None) is not None
        is_there = isinstance(change, Upserted) and not is_of_gateway(value, self._identity)
        if is_there:
            self._budgets[namespace][key] = value
        if is_there or was_there:
            # It has, or had, pods of any gateway there.
            self.wake(key for (place, _), key in self._labelled.items() if place == namespace)

    def _vpc_changed(self, change: Upserted[Any] | Deleted[Any]) -> None:
        name = change.item.metadata.name
        if isinstance(change, Deleted):
            self._vpcs.discard(name)
        else:
            self._vpcs.add(name)
        self._vpc(name)
        for key in self.of_vpc(name):
            self._gateway(key)


def _is_no_news(before: Object, after: Object) -> bool:
    """Whether nothing has changed that a round would look at."""
    return all(
        before.get("metadata", {}).get(name) == after.get("metadata", {}).get(name)
        for name in ("generation", "deletionTimestamp", "finalizers", "uid", "annotations")
    ) and _status(before) == _status(after)


def _status(gateway: Object) -> tuple[Any, ...]:
    """All of a status, but of what pods report only what is decided by."""
    status = gateway.get("status") or {}
    rest = {name: value for name, value in status.items() if name != "gateways"}
    return rest, interest(status)


def _node(node: Named) -> tuple[Any, ...]:
    """What of a node matters."""
    annotations = node.metadata.annotations
    return node.metadata.labels, *(annotations.get(name) for name in nodes.READ)


def _budget(value: Object) -> tuple[Any, ...]:
    """What of a budget matters; its status changes with every pod."""
    metadata = value.get("metadata", {})
    return value.get("spec"), metadata.get("labels"), metadata.get("ownerReferences")
