"""Which pods the gateways' selectors take, kept up to date one event at a time. Pure.

A gateway with selectors needs all of its pods whenever its rows are made, and a pod that changes
concerns only the gateways that took it or take it now. So membership is kept, not computed: the
cost of an event grows neither with the number of pods nor with that of the gateways that take none
of the pod's namespace. When a namespace changes its labels, its pods are judged again; when a
gateway changes its selectors, those of the namespaces that it selects or has selected.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from kube.pods import Pod, selected
from kube.schema import EgressGateway, Selector

Key = str
"""``<namespace>/<name>``."""


def key_of(pod: Pod) -> Key:
    """Of a pod."""
    return f"{pod.metadata.namespace}/{pod.metadata.name}"


class Selection:
    """Members of every gateway with selectors. Each method returns the keys of the gateways whose
    members have changed, or have changed in something that matters to their rows."""

    def __init__(self) -> None:
        self._gateways: dict[Key, tuple[EgressGateway, str]] = {}
        """With the name of the router."""
        self._labels: dict[str, Mapping[str, str]] = {}
        """Of namespaces."""
        self._pods: defaultdict[str, dict[Key, Pod]] = defaultdict(dict)
        """By namespace."""
        self._labelled: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        """Namespaces by each of their labels, so that few are asked for a gateway."""
        self._near: defaultdict[str, set[Key]] = defaultdict(set)
        """By namespace, the gateways that may take pods of it: no other one is asked."""
        self._spaces: defaultdict[Key, set[str]] = defaultdict(set)
        """The same by gateway."""
        self._members: defaultdict[Key, set[Key]] = defaultdict(set)
        """Pods of a gateway."""
        self._takers: dict[Key, set[Key]] = {}
        """Gateways of a pod."""

    def members(self, gateway: Key) -> tuple[Pod, ...]:
        """The pods that a gateway takes, by key."""
        return tuple(self._pod(key) for key in sorted(self._members.get(gateway, ())))

    def set_gateway(self, gateway: EgressGateway, router: str) -> set[Key]:
        """A gateway is new or has changed; `router` is its VPC's logical router."""
        key = gateway.key
        if not gateway.spec.selectors:
            return self.drop_gateway(key)
        before = self._gateways.get(key)
        self._gateways[key] = (gateway, router)
        if before and before[0].spec.selectors == gateway.spec.selectors and before[1] == router:
            return set()
        touched = {*self._members[key]}
        spaces = {name for each in gateway.spec.selectors for name in self._matching(each)}
        for name in self._spaces[key] | spaces:
            self._set_near(key, name, is_near=name in spaces)
        for name in spaces:
            touched.update(self._pods.get(name, ()))
        self._judge(self._pod(pod) for pod in touched)
        return {key}

    def drop_gateway(self, key: Key) -> set[Key]:
        """A gateway is gone, or has no selectors."""
        if self._gateways.pop(key, None) is None:
            return set()
        for name in self._spaces.pop(key, ()):
            self._near[name].discard(key)
        for pod in self._members.pop(key, set()):
            self._forget(pod, key)
        return {key}

    def set_namespace(self, name: str, labels: Mapping[str, str]) -> set[Key]:
        """A namespace is new or has changed."""
        if self._labels.get(name) == labels:
            return set()
        self._forget_labels(name)
        self._labels[name] = labels
        for label in labels.items():
            self._labelled[label].add(name)
        return self._judge_namespace(name)

    def drop_namespace(self, name: str) -> set[Key]:
        """A namespace is gone; its pods went before."""
        self._forget_labels(name)
        return self._judge_namespace(name)

    def set_pod(self, pod: Pod) -> set[Key]:
        """A pod is new or has changed."""
        key, name = key_of(pod), pod.metadata.namespace
        if name not in self._pods and name not in self._labels:
            # Heard of before its namespace.
            for gateway in self._gateways:
                self._judge_nearness(gateway, name)
        before = self._pods[name].get(key)
        self._pods[name][key] = pod
        changed = self._judge([pod])
        if before is not None and before.addresses != pod.addresses:
            changed |= self._takers.get(key, set())
        return changed

    def drop_pod(self, key: Key) -> set[Key]:
        """A pod is gone."""
        self._pods.get(key.partition("/")[0], {}).pop(key, None)
        takers = self._takers.pop(key, set())
        for gateway in takers:
            self._members[gateway].discard(key)
        return takers

    def _pod(self, key: Key) -> Pod:
        return self._pods[key.partition("/")[0]][key]

    def _judge_namespace(self, name: str) -> set[Key]:
        for gateway in self._gateways:
            self._judge_nearness(gateway, name)
        return self._judge(self._pods.get(name, {}).values())

    def _judge_nearness(self, gateway: Key, name: str) -> None:
        labels = self._labels.get(name, {})
        selectors = self._gateways[gateway][0].spec.selectors
        is_near = any(each.matches_namespace(labels) for each in selectors)
        self._set_near(gateway, name, is_near=is_near)

    def _set_near(self, gateway: Key, name: str, *, is_near: bool) -> None:
        if is_near:
            self._near[name].add(gateway)
            self._spaces[gateway].add(name)
        elif name in self._spaces[gateway]:
            self._near[name].discard(gateway)
            self._spaces[gateway].discard(name)

    def _matching(self, selector: Selector) -> Iterator[str]:
        """The namespaces with pods that a selector may take."""
        wanted = selector.namespace_selector
        if wanted is not None and wanted.match_labels:
            labels = wanted.match_labels.items()
            names = min((self._labelled.get(each, set()) for each in labels), key=len)
        else:
            names = self._labels.keys() | self._pods.keys()
        for name in names:
            if selector.matches_namespace(self._labels.get(name, {})):
                yield name

    def _forget_labels(self, name: str) -> None:
        for label in self._labels.pop(name, {}).items():
            self._labelled[label].discard(name)
            if not self._labelled[label]:
                del self._labelled[label]

    def _judge(self, pods: Iterable[Pod]) -> set[Key]:
        changed: set[Key] = set()
        for pod in pods:
            key, name = key_of(pod), pod.metadata.namespace
            labels = self._labels.get(name, {})
            before = frozenset(self._takers.get(key, ()))
            now = {
                gateway
                for gateway in self._near.get(name, ())
                if selected(self._gateways[gateway][0], pod, labels, self._gateways[gateway][1])
            }
            for gateway in before - now:
                self._members[gateway].discard(key)
                self._forget(key, gateway)
            for gateway in now - before:
                self._members[gateway].add(key)
                self._takers.setdefault(key, set()).add(gateway)
            changed |= before ^ now
        return changed

    def _forget(self, pod: Key, gateway: Key) -> None:
        takers = self._takers.get(pod)
        if takers is not None:
            takers.discard(gateway)
            if not takers:
                del self._takers[pod]
