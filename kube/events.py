"""Events about an object: told once and counted, not repeated. Pure.

A thing that fails for an hour is one Event with a count, as ``kubectl describe`` shows it. It is
written when it happens first and then at most once a minute, with the newest count.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from kube.conditions import stamp
from kube.objects import Metadata, Object, Resource

EVENTS = Resource("", "v1", "events", "Event")
"""In the core group, whose Events carry a count."""

_QUIET = timedelta(minutes=1)
_LONGEST = 1024
"""Characters of a message that the API server accepts."""
_LONGEST_NAME = 200


class Kind(StrEnum):
    """What the API server calls the type of an Event."""

    NORMAL = "Normal"
    WARNING = "Warning"


class _Sameness(NamedTuple):
    uid: str
    kind: Kind
    reason: str
    message: str


@dataclass(slots=True)
class _Told:
    first: datetime
    written: datetime
    count: int


class EventLog:
    """What has been told. `component` is who tells it, `most` how many Events are remembered."""

    def __init__(self, component: str, instance: str, most: int = 4096) -> None:
        self._component = component
        self._instance = instance
        self._most = most
        self._told: OrderedDict[_Sameness, _Told] = OrderedDict()

    def tell(
        self,
        resource: Resource,
        about: Metadata,
        kind: Kind,
        reason: str,
        message: str,
        now: datetime,
    ) -> Object | None:
        """The Event to apply now, or None: it was counted and goes with a later one.

        It is applied under its own name, so a write that fails costs nothing but a count.
        """
        same = _Sameness(about.uid, kind, reason, message[:_LONGEST])
        told = self._told.get(same)
        if told is None:
            told = self._told[same] = _Told(now, now, 1)
            if len(self._told) > self._most:
                self._told.popitem(last=False)
            return self._event(resource, about, same, told)
        self._told.move_to_end(same)
        told.count += 1
        if now - told.written < _QUIET:
            return None
        told.written = now
        return self._event(resource, about, same, told)

    def _event(self, resource: Resource, about: Metadata, same: _Sameness, told: _Told) -> Object:
        text = "\0".join((*same, stamp(told.first), self._instance))
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        namespace = about.namespace or "default"
        return {
            "metadata": {"name": f"{about.name[:_LONGEST_NAME]}.{digest}", "namespace": namespace},
            "involvedObject": {
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "namespace": about.namespace,
                "name": about.name,
                "uid": about.uid,
            },
            "type": str(same.kind),
            "reason": same.reason,
            "message": same.message,
            "count": told.count,
            "firstTimestamp": stamp(told.first),
            "lastTimestamp": stamp(told.written),
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": self._instance,
        }
