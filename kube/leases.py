"""Who leads, by a Lease that several candidates want. One attempt at a time.

A candidate takes the Lease when nobody has it, or when whoever has it has not renewed it for as
long as the Lease says, judged by the candidate's own clock since it saw the last renewal: the
clocks of two machines are never compared. That only one gets it is the API server's doing, which
refuses a change of a version that is not the newest.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kube.client import Client
from kube.errors import AlreadyExists, Conflict, NotFound
from kube.objects import LEASES, Object


@dataclass(frozen=True, slots=True)
class Seat:
    """What the candidates want."""

    namespace: str
    name: str
    lasts_s: int = 15
    """Without renewal it is free after this time."""


class Candidate:
    """One of those who want the seat. `identity` is unlike that of every other one."""

    def __init__(self, client: Client, seat: Seat, identity: str) -> None:
        self._client = client
        self._seat = seat
        self._identity = identity
        self._seen: tuple[str, str] | None = None
        self._seen_s = 0.0
        self.holder = ""
        """Who held the seat when it was looked at last; empty: nobody."""

    async def attempt(self, now_s: float, wall: datetime) -> bool:
        """Take the seat, or renew it; whether it is ours now.

        `now_s` is a monotonic clock, `wall` the time to write down (UTC).

        Raises:
            KubeError: the API server could not be asked; nobody knows whose it is then.
        """
        try:
            lease = await self._client.get(LEASES, self._seat.name, self._seat.namespace)
        except NotFound:
            return await self._take(self._lease({}, wall))
        if not self._is_free(lease, now_s):
            return False
        return await self._take(self._lease(lease, wall))

    async def release(self, wall: datetime) -> None:
        """Give the seat up, if it is ours, so that the next one need not wait. Raises KubeError."""
        try:
            lease = await self._client.get(LEASES, self._seat.name, self._seat.namespace)
            if _spec(lease).get("holderIdentity") != self._identity:
                return
            lease["spec"] |= {
                "holderIdentity": "",
                "leaseDurationSeconds": 1,
                "renewTime": _micro(wall),
            }
            await self._client.replace(LEASES, lease)
        except (NotFound, Conflict):
            return
        self.holder = ""

    async def _take(self, lease: Object) -> bool:
        try:
            if lease["metadata"].get("resourceVersion"):
                await self._client.replace(LEASES, lease)
            else:
                await self._client.create(LEASES, lease)
        except (AlreadyExists, Conflict):
            return False
        self.holder = self._identity
        return True

    def _is_free(self, lease: Object, now_s: float) -> bool:
        spec = _spec(lease)
        self.holder = str(spec.get("holderIdentity") or "")
        seen = (self.holder, str(spec.get("renewTime")))
        if seen != self._seen:
            self._seen, self._seen_s = seen, now_s
        if self.holder in ("", self._identity):
            return True
        return now_s - self._seen_s >= float(spec.get("leaseDurationSeconds") or 0)

    def _lease(self, lease: Object, wall: datetime) -> Object:
        """The Lease as ours."""
        spec = dict(_spec(lease))
        if spec.get("holderIdentity") != self._identity:
            # Counted from 0, so that a first holder is no transition.
            spec["leaseTransitions"] = int(spec.get("leaseTransitions", -1)) + 1
            spec["acquireTime"] = _micro(wall)
        spec |= {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._seat.lasts_s,
            "renewTime": _micro(wall),
        }
        metadata = {"name": self._seat.name, "namespace": self._seat.namespace}
        return {**lease, "metadata": lease.get("metadata") or metadata, "spec": spec}


def _spec(lease: Object) -> dict[str, Any]:
    spec: dict[str, Any] = lease.get("spec") or {}
    return spec


def _micro(moment: datetime) -> str:
    """A time with microseconds, as a Lease has it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
