"""Everything of a cluster that explains its gateways, as it was at one moment. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import yaml

from kube.identity import Identity, label_value
from kube.objects import Object
from kube.overlap import Claims
from kube.pod_reports import PodReport, pod_reports
from kube.pods import GatewayPod, Pod, gateway_pods, selected
from kube.resolve import DEFAULT_VPC, Resolution, World, resolve
from kube.schema import EgressGateway, Malformed, parse

_CONFIG_FILE = "gateway.yaml"


@dataclass(frozen=True)
class Scene:
    """Objects as the API server gave them, by ``<namespace>/<name>`` where they are mappings."""

    identity: Identity
    gateways: Mapping[str, Object] = field(default_factory=dict)
    world: World = field(default_factory=World)
    workload_pods: Mapping[str, Object] = field(default_factory=dict)
    """The pods that Deployments of gateways have made."""
    deployments: Mapping[str, Object] = field(default_factory=dict)
    config_maps: Mapping[str, Object] = field(default_factory=dict)
    events: tuple[Object, ...] = ()
    pods: Mapping[str, Pod] = field(default_factory=dict)
    """Those that may be selected; empty if no gateway has selectors."""
    namespace_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    node_groups: Mapping[str, str] = field(default_factory=dict)
    """OVN's port group of each node's pods, by node."""

    @cached_property
    def views(self) -> Mapping[str, GatewayView]:
        """The gateways that can be read."""
        found = {}
        for key, value in self.gateways.items():
            try:
                found[key] = GatewayView(self, parse(EgressGateway, value))
            except Malformed:
                continue
        return found

    @cached_property
    def malformed(self) -> Mapping[str, str]:
        """Those that cannot, and why."""
        found = {}
        for key, value in self.gateways.items():
            try:
                parse(EgressGateway, value)
            except Malformed as exc:
                found[key] = str(exc)
        return found

    @cached_property
    def claims(self) -> Claims:
        """Which gateway claims which sources, those of selected pods included."""
        claims = Claims()
        for key, view in self.views.items():
            addresses = (ip for pod in view.selected for ip in pod.addresses)
            if view.resolution.workload is not None:
                claims.put(key, view.resolution.router, {*view.resolution.sources, *addresses})
        return claims


@dataclass(frozen=True)
class GatewayView:
    """One gateway and what belongs to it."""

    scene: Scene
    gateway: EgressGateway

    @property
    def key(self) -> str:
        """``<namespace>/<name>``."""
        return self.gateway.key

    @property
    def vpc(self) -> str:
        """The name of its Vpc."""
        return self.gateway.spec.vpc or DEFAULT_VPC

    @cached_property
    def resolution(self) -> Resolution:
        """What the resource comes to. The image does not matter here."""
        return resolve(self.gateway, self.scene.world, "")

    @property
    def is_carried_out(self) -> bool:
        """Whether it has its pods, or is to have them: what runs of a gateway whose resource has
        got faults stays as it is."""
        return self.resolution.workload is not None or bool(self.workload_pods)

    @property
    def deployment_name(self) -> str:
        """Of its Deployment, whether it is there or not."""
        spec, name = self.gateway.spec, self.gateway.metadata.name
        return f"{spec.prefix}{self.scene.identity.infix}{name}"

    @property
    def deployment(self) -> Object | None:
        """Its Deployment, if it is there."""
        name = f"{self.gateway.metadata.namespace}/{self.deployment_name}"
        return self.scene.deployments.get(name)

    @cached_property
    def workload_pods(self) -> tuple[Object, ...]:
        """Its pods, by name, those included that are leaving."""
        namespace = self.gateway.metadata.namespace
        found = sorted(self.scene.workload_pods.items())
        return tuple(
            pod
            for _, pod in found
            if pod["metadata"].get("namespace") == namespace and self._has_made(pod)
        )

    def _has_made(self, pod: Object) -> bool:
        labels = pod["metadata"].get("labels") or {}
        wanted = self.scene.identity.gateway_label
        return bool(labels.get(wanted) == label_value(self.gateway.metadata.name))

    @cached_property
    def pods(self) -> tuple[GatewayPod, ...]:
        """Its pods that stay."""
        return gateway_pods(parse(Pod, pod) for pod in self.workload_pods)

    @cached_property
    def reports(self) -> Mapping[str, PodReport]:
        """What its pods say, by pod."""
        return pod_reports(self.gateway.status)

    @cached_property
    def selected(self) -> tuple[Pod, ...]:
        """The pods that its selectors take."""
        if not self.gateway.spec.selectors:
            return ()
        router = self.resolution.router
        labels = self.scene.namespace_labels
        return tuple(
            pod
            for _, pod in sorted(self.scene.pods.items())
            if selected(self.gateway, pod, labels.get(pod.metadata.namespace, {}), router)
        )

    @property
    def revision(self) -> int | None:
        """The newest one of its configuration; None if the controller counts none."""
        name = f"{self.gateway.metadata.namespace}/{self.deployment_name}-vegd"
        data = (self.scene.config_maps.get(name) or {}).get("data") or {}
        try:
            document: Any = yaml.safe_load(data.get(_CONFIG_FILE, ""))
        except yaml.YAMLError:
            return None
        found = document.get("revision") if isinstance(document, Mapping) else None
        return found if isinstance(found, int) else None


def events_about(events: Iterable[Object], kind: str, namespace: str, name: str) -> Iterator[str]:
    """What Warnings say of an object, the newest first."""
    about = [
        each
        for each in events
        if each.get("type") == "Warning"
        and (involved := each.get("involvedObject") or {}).get("kind") == kind
        and involved.get("namespace", "") == namespace
        and involved.get("name") == name
    ]
    for each in sorted(about, key=_when, reverse=True):
        yield f"{each.get('reason', '')}: {' '.join(str(each.get('message', '')).split())}"


def _when(event: Object) -> str:
    return str(
        event.get("lastTimestamp")
        or event.get("eventTime")
        or event.get("metadata", {}).get("creationTimestamp")
        or ""
    )
