"""What a controller writes to the API server: only when it differs, and only what is ours.

Everything goes by server-side apply under one field manager, so that fields of others (an agent's
report in ``status.gateways``, a label that somebody added) stay. What is applied carries the UID of
the object that was read: one that was deleted meanwhile is not made again.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from kube import conditions
from kube.client import Client
from kube.conditions import FALSE, TRUE, Wanted
from kube.errors import Conflict, KubeError, NotFound
from kube.events import EVENTS, EventLog, Kind
from kube.layout import BFD_GATE
from kube.objects import PODS, Metadata, Object, Resource
from kube.workload import covers

log = logging.getLogger(__name__)

MANAGER = "vegd-controller"
_WATCHER = "vegd-watch"
"""How the field managers of watchers begin."""
_GOOD = {"Degraded": FALSE, "Conflict": FALSE}
"""The status of a condition that is no trouble, where it is not True."""


class Writer:
    """Writes for one controller."""

    def __init__(self, client: Client, instance: str) -> None:
        self._client = client
        self._events = EventLog(MANAGER, instance)

    async def look(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """An object that is not followed, if it is there. Raises KubeError."""
        try:
            return await self._client.get(resource, name, namespace)
        except NotFound:
            return None

    async def ensure(self, resource: Resource, desired: Object, observed: Object | None) -> bool:
        """Make an object as it should be; whether something had to be written. Raises KubeError."""
        if observed is not None and covers(observed, _untyped(desired)):
            return False
        await self._client.apply(resource, desired, manager=MANAGER)
        return True

    async def remove(self, resource: Resource, observed: Object) -> bool:
        """Delete this very object; whether that was to be done. Raises KubeError."""
        metadata = observed["metadata"]
        name, namespace, uid = metadata["name"], metadata.get("namespace", ""), metadata["uid"]
        try:
            await self._client.delete(resource, name, namespace, uid=uid)
        except (Conflict, NotFound):
            return False
        return True

    async def set_finalizer(
        self, resource: Resource, value: Object, finalizer: str, *, there: bool
    ) -> None:
        """Put our finalizer on an object, or take it off. Raises KubeError."""
        metadata = _identified(value) | {"finalizers": [finalizer] if there else []}
        manager = f"{MANAGER}-finalizer"
        await self._client.apply(resource, {"metadata": metadata}, manager=manager)

    async def status(
        self,
        resource: Resource,
        value: Object,
        fields: dict[str, Any],
        wanted: dict[str, Wanted],
    ) -> bool:
        """Write the status, if it is another one; what has changed of it for people, as Events.

        Whether something was written. An object that is gone, or is another one, is none of ours
        any more. Raises KubeError.
        """
        before: dict[str, Any] = value.get("status") or {}
        generation = int(value["metadata"].get("generation") or 0)
        known = conditions.parse(before)
        now = datetime.now(UTC)
        after = conditions.update(known, wanted, generation, now)
        status = fields | {"conditions": conditions.to_json(after)}
        if all(before.get(name) == each for name, each in status.items()):
            return False
        body = {"metadata": _identified(value), "status": status}
        try:
            await self._client.apply(resource, body, manager=MANAGER, subresource="status")
        except (NotFound, Conflict) as exc:
            log.info("status not written: %s", exc)
            return False
        was = {each.type: (each.status, each.reason) for each in known}
        for name, each in wanted.items():
            if was.get(name) != (each.status, each.reason):
                await self._tell(resource, value, name, each, first=name not in was)
        return True

    async def field(self, resource: Resource, value: Object, status: dict[str, Any]) -> None:
        """Write ours of another controller's status; what we had written before and is not in it
        goes. Raises KubeError."""
        body = {"metadata": _identified(value), "status": status}
        await self._client.apply(resource, body, manager=MANAGER, subresource="status")

    async def drop_report(self, resource: Resource, value: Object, pod: str) -> None:
        """Take away what the watcher of a pod has reported, in its name. Raises KubeError."""
        body = {"metadata": _identified(value), "status": {}}
        manager = f"{_WATCHER}/{pod}"
        await self._client.apply(resource, body, manager=manager, subresource="status")

    async def gate(self, namespace: str, pod: str, *, is_open: bool) -> None:
        """Open the BFD gate of a pod, or close it, if it is there. Raises KubeError."""
        condition = {
            "type": BFD_GATE,
            "status": TRUE if is_open else FALSE,
            "reason": "Passed" if is_open else "SessionDown",
            "message": "" if is_open else "not every BFD session of the pod is up in OVN",
            "lastTransitionTime": conditions.stamp(datetime.now(UTC)),
        }
        body = {
            "metadata": {"namespace": namespace, "name": pod},
            "status": {"conditions": [condition]},
        }
        try:
            await self._client.apply(PODS, body, manager=MANAGER, subresource="status")
        except NotFound:
            log.info("%s/%s: gone before its BFD gate was written", namespace, pod)

    async def _tell(
        self, resource: Resource, value: Object, name: str, wanted: Wanted, *, first: bool
    ) -> None:
        good = wanted.status == _GOOD.get(name, TRUE)
        if good and first and name != "Ready":
            return  # that nothing is wrong yet is no news
        kind = Kind.NORMAL if good else Kind.WARNING
        message = f"{name} is {wanted.status}: {wanted.message}".removesuffix(": ")
        metadata = value["metadata"]
        about = Metadata(
            name=metadata["name"],
            namespace=metadata.get("namespace", ""),
            uid=metadata.get("uid", ""),
        )
        now = datetime.now(UTC)
        event = self._events.tell(resource, about, kind, wanted.reason, message, now)
        if event is None:
            return
        try:
            await self._client.apply(EVENTS, event, manager=MANAGER)
        except KubeError as exc:
            log.warning("an Event was not written: %s", exc)


def _untyped(value: Object) -> Object:
    """The items of a list do not say what they are."""
    return {name: each for name, each in value.items() if name not in ("apiVersion", "kind")}


def _identified(value: Object) -> dict[str, Any]:
    metadata = value["metadata"]
    names = ("name", "namespace", "uid")
    return {name: metadata[name] for name in names if metadata.get(name)}
