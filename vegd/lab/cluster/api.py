"""What the stand-in kubelet asks of the API server for one pod."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kube.client import Client
from kube.events import EVENTS, EventLog, Kind
from kube.informer import Mirror
from kube.objects import PODS, Metadata, Object, Resource
from vegd.lab.cluster.facts import PodFacts
from vegd.lab.cluster.nodes import MANAGER
from vegd.lab.cluster.template import TokenSource
from vegd.lab.cluster.volumes import Token

_NETWORKS = "kube-ovn"
"""Manager of the annotations."""


class Api:
    """Of all pods. `config_maps` is a copy that somebody keeps."""

    def __init__(self, client: Client, config_maps: Mirror[dict[str, Any]]) -> None:
        self._client = client
        self._config_maps = config_maps
        self._events = EventLog(MANAGER, "lab")

    def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Data of a ConfigMap, None if there is none of that name."""
        item = self._config_maps.items.get(f"{namespace}/{name}")
        return None if item is None else item.value.get("data") or {}

    async def token(self, facts: PodFacts, source: TokenSource) -> Token:
        """A token of a pod's ServiceAccount that is good while the pod is there."""
        account = f"serviceaccounts/{facts.service_account}/token"
        bound = {"kind": "Pod", "apiVersion": "v1", "name": facts.name, "uid": facts.uid}
        spec: Object = {"expirationSeconds": source.expiration_seconds, "boundObjectRef": bound}
        if source.audience:
            spec["audiences"] = [source.audience]
        made = await self._client.create(
            Resource("", "v1", account, "TokenRequest"),
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "metadata": {"namespace": facts.namespace},
                "spec": spec,
            },
        )
        expires = datetime.fromisoformat(made["status"]["expirationTimestamp"])
        lasts_s = (expires - datetime.now(UTC)).total_seconds()
        return Token(made["status"]["token"], lasts_s)

    async def annotate(self, pod: Object, annotations: Mapping[str, str]) -> None:
        """Write annotations of this very pod."""
        body = {"metadata": {**_identity(pod), "annotations": dict(annotations)}}
        await self._client.apply(PODS, body, manager=_NETWORKS)

    async def report(self, pod: Object, status: Object) -> None:
        """Write its status."""
        body = {"metadata": _identity(pod), "status": status}
        await self._client.apply(PODS, body, manager=MANAGER, subresource="status")

    async def warn(self, pod: Object, reason: str, message: str) -> None:
        """Write an Event about it, at most one a minute of each kind."""
        about = Metadata(**_identity(pod))
        now = datetime.now(UTC)
        event = self._events.tell(PODS, about, Kind.WARNING, reason, message, now)
        if event is not None:
            await self._client.apply(EVENTS, event, manager=MANAGER)

    async def remove(self, pod: Object) -> None:
        """Delete the object for good."""
        name, namespace, uid = _identity(pod).values()
        await self._client.delete(PODS, name, namespace, uid=uid, grace_s=0)


def _identity(pod: Object) -> dict[str, str]:
    return {name: pod["metadata"][name] for name in ("name", "namespace", "uid")}
