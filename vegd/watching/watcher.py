"""The watcher: follows the gateway's ConfigMap, and keeps its entry in the gateway's status.

Nobody waits for it. What it has brought stays in force when it ends, and while the API server is
away it goes on asking, ever less often. It may be killed at any time and started again.
"""

import asyncio
import logging
import os
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kube import definitions
from kube.client import Client
from kube.errors import ApiError, KubeError, ServerError
from kube.identity import label_value
from kube.informer import Change, Deleted, Upserted
from kube.objects import CONFIG_MAPS, Object, Query
from vegd.backoff import Backoff
from vegd.cluster.following import Follower
from vegd.settings import FOLLOWED_FILE
from vegd.watching import agent, contact
from vegd.watching.followed import NotFollowed, hand_on
from vegd.watching.report import Entry, Place, Status, entry, is_news, undeclared

log = logging.getLogger(__name__)

KEY = "gateway.yaml"
"""Of the ConfigMap."""

_LOOK_S = 1.0
"""How often the agent is asked; no more often the status is written."""
_SILENT_S = 5.0
"""So long an agent that is just started again may be silent."""
_COMPARE_S = (240.0, 360.0)
"""After so long the entry is read, should somebody else have removed it."""
_UNKNOWN_S = 600.0
"""After so long an API server whose definition has no entries is asked again."""


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Order:
    """What to watch, and where."""

    namespace: str
    config_map: str
    gateway: str
    group: str
    place: Place
    runtime_dir: Path
    parent: int = 0
    """End when this process is the parent no longer; 0: it does not matter."""


class Watcher:
    """One gateway pod's. `run` it, then `leave`."""

    def __init__(self, client: Client, order: Order) -> None:
        self._client = client
        self._order = order
        self._resource = definitions.gateways(order.group)
        self._manager = f"vegd-watch/{label_value(order.place.pod)}"
        query = Query(CONFIG_MAPS, order.namespace, fields=f"metadata.name={order.config_map}")
        self._follower = Follower(client, query, _ConfigMap, self._told)
        self._troubles: tuple[str, ...] = ()
        """What is wrong with the newest ConfigMap."""
        self._status: Status | None = None
        self._answered_at = asyncio.get_running_loop().time()
        self._written: Entry | None = None
        self._not_before = 0.0
        self._compare_at = 0.0
        self._failure = ""
        """Why the entry could not be written the last time."""
        self._left_out: frozenset[str] = frozenset()
        """Fields of an entry that the cluster's definition does not know."""
        self._backoff = Backoff(1.0, 60.0)
        self._heard: tuple[str, int] = ("", 0)

    async def run(self) -> None:
        """Watch until the parent has gone, if there is one to heed; else for ever."""
        following = asyncio.create_task(self._follower.run())
        try:
            while not self._order.parent or os.getppid() == self._order.parent:
                await self._look()
                self._note_contact()
                await asyncio.sleep(_LOOK_S)
                if following.done():
                    following.result()
            log.warning("the agent that started the watcher has ended")
        finally:
            following.cancel()

    async def leave(self) -> None:
        """Take the entry out of the status. Raises KubeError."""
        await self._apply([])

    # The configuration.

    def _told(self, change: Change[_ConfigMap]) -> None:
        name = self._order.config_map
        if isinstance(change, Deleted):
            log.warning("ConfigMap %s has gone; what it had stays in force", name)
        if not isinstance(change, Upserted):
            return
        text = change.item.value.data.get(KEY)
        if text is None:
            self._troubles = (f"ConfigMap {name} has no {KEY}; what it had stays in force",)
        else:
            self._troubles = tuple(self._hand_on(text.encode()))
        for each in self._troubles:
            log.error("%s", each)

    def _hand_on(self, content: bytes) -> Iterable[str]:
        name = self._order.config_map
        try:
            if hand_on(content, self._order.runtime_dir / FOLLOWED_FILE):
                log.info("ConfigMap %s has another configuration", name)
        except NotFollowed as exc:
            yield f"ConfigMap {name} has faults; the last good version is in force"
            yield from str(exc).splitlines()

    # The report.

    async def _look(self) -> None:
        """Ask the agent, and write if that is news."""
        now = asyncio.get_running_loop().time()
        status = await agent.ask(self._order.runtime_dir)
        if status is not None:
            self._status, self._answered_at = status, now
        elif now - self._answered_at >= _SILENT_S:
            self._status = None
        elif self._status is None:
            return
        current = entry(self._order.place, self._status, self._troubles)
        if now < self._not_before:
            return
        try:
            if now >= self._compare_at:
                await self._compare()
                self._compare_at = now + random.uniform(*_COMPARE_S)  # noqa: S311 - spreads requests
            if is_news(current, self._written):
                await self._write(current)
        except KubeError as exc:
            self._put_off(exc)
        else:
            self._failure = ""
            self._backoff.reset()

    async def _compare(self) -> None:
        """Whether what was written is still there: somebody else may have removed it, and the
        definition may have got fields that it did not have."""
        if self._written is not None:
            found = await self._client.get(
                self._resource, self._order.gateway, self._order.namespace
            )
            entries = (found.get("status") or {}).get("gateways") or ()
            is_there = any(each.get("pod") == self._order.place.pod for each in entries)
            if not is_there or self._left_out:
                self._written, self._left_out = None, frozenset()

    async def _write(self, current: Entry) -> None:
        while True:
            known = {name: value for name, value in current.items() if name not in self._left_out}
            try:
                await self._apply([known])
            except ServerError as exc:
                unknown = undeclared(str(exc)) - self._left_out
                if not unknown:
                    raise
                log.warning(
                    "the cluster's definition of the gateway knows no status.gateways[].%s, which "
                    "is left out; apply that of this version",
                    ", ".join(sorted(unknown)),
                )
                self._left_out |= unknown
            else:
                self._written = current
                return

    def _put_off(self, exc: KubeError) -> None:
        """Try again later. A line of the log for each reason, not for each attempt."""
        wait_s = self._backoff.wait_s()
        if isinstance(exc, ApiError):
            wait_s = max(wait_s, exc.retry_after_s)
        text = str(exc)
        if ".status.gateways: field not declared" in text:
            wait_s = _UNKNOWN_S
            text = (
                "the cluster's definition of the gateway has no status.gateways, so nothing is "
                "reported; apply that of this version (Kube-OVN's has none)"
            )
        self._not_before = asyncio.get_running_loop().time() + wait_s
        if text != self._failure:
            log.warning("the status cannot be written: %s", text)
            self._failure = text

    async def _apply(self, entries: list[Entry]) -> Object:
        metadata = {"name": self._order.gateway, "namespace": self._order.namespace}
        return await self._client.apply(
            self._resource,
            {"metadata": metadata, "status": {"gateways": entries}},
            manager=self._manager,
            subresource="status",
        )

    def _note_contact(self) -> None:
        """The age of the newest answer is what the agent shows."""
        answers = sum(count for call, count in self._client.calls.items() if call.code)
        heard = (self._follower.mirror.resource_version, answers)
        if heard != self._heard:
            self._heard = heard
            contact.touch(self._order.runtime_dir)
