"""What a controller answers over HTTP: metrics and health.

It is live as long as it answers, and ready once it has seen everything there is: a candidate that
does not lead is as ready as the leader. What is broken elsewhere makes it neither.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING

from kube.client import Client
from kube.conditions import troubles
from kube.informer import Mirror
from kube.objects import Object
from vegd import web
from vegd.cluster.leadership import Leadership
from vegd.cluster.queue import WorkQueue
from vegd.exposition import CONTENT_TYPE, Counter, Family, Gauge, page, process_families
from vegd.texts import Listen
from vegd.web import Answer

if TYPE_CHECKING:
    from vegd.cluster.controller import Controller


class Pages:
    """Where the answers come from."""

    def __init__(
        self, controller: Controller, client: Client, leadership: Leadership | None
    ) -> None:
        self._controller = controller
        self._client = client
        self._leadership = leadership

    async def metrics(self) -> Answer:
        """GET /metrics."""
        families = [*process_families(), *self._families()]
        return Answer(200, page(families), CONTENT_TYPE)

    async def livez(self) -> Answer:
        """GET /livez: answering is the proof."""
        return Answer.text("ok\n")

    async def readyz(self) -> Answer:
        """GET /readyz: 200, or 503 with what has not been seen yet."""
        missing = [
            each.resource.plural
            for each in self._controller.copies.followers
            if not each.synced.is_set()
        ]
        if missing:
            return Answer.text(f"not seen yet: {', '.join(missing)}\n", 503)
        return Answer.text("ok\n")

    def _families(self) -> Iterator[Family]:
        controller, leadership = self._controller, self._leadership
        leads = leadership is None or leadership.is_leader
        yield Gauge("vegd_controller_leader", "1 for the one that acts.", value=leads)
        if leads:
            yield from _gateways(controller.copies.gateways.mirror)
        queues = {
            "gateways": controller.gateways,
            "vpcs": controller.vpcs,
            "ports": controller.ports,
        }
        yield from _queues(queues.items())
        yield Gauge(
            "vegd_controller_followed_behind",
            "Kinds of objects that cannot be followed now: what is seen of them may be old.",
            value=len(controller.copies.troubles),
        )
        yield Gauge(
            "vegd_controller_ovn_connected",
            "1 while there is a connection to the northbound database; the leader makes one.",
            value=controller.ovn.is_connected,
        )
        calls = Counter(
            "vegd_controller_api_calls",
            "Requests to the API server; code 0 is no answer.",
            labels=("verb", "resource", "code"),
        )
        seconds = Counter(
            "vegd_controller_api_seconds",
            "How long they took in all, watches until they began.",
            labels=("verb", "resource", "code"),
        )
        for call, count in self._client.calls.items():
            labels = (call.verb, call.resource, str(call.code))
            calls.add(labels, count)
            seconds.add(labels, self._client.seconds[call])
        yield from (calls, seconds)


def _gateways(mirror: Mirror[Object]) -> Iterator[Family]:
    """Of the leader only: what the others would say is the same."""
    yield Gauge("vegd_controller_gateways", "Gateways that are served.", value=len(mirror.items))
    trouble = Gauge(
        "vegd_controller_gateway_trouble",
        "1 for each condition of a gateway that says that something is wrong.",
        labels=("gateway", "condition"),
    )
    for key, item in mirror.items.items():
        for condition in troubles(item.value.get("status") or {}):
            trouble.add((key, condition), 1)
    yield trouble


def _queues(queues: Iterable[tuple[str, WorkQueue]]) -> Iterator[Family]:
    labels = ("queue",)
    depth = Gauge("vegd_controller_queue_depth", "Objects that wait for a worker.", labels=labels)
    failing = Gauge(
        "vegd_controller_failing", "Objects whose last round has failed.", labels=labels
    )
    rounds = Counter("vegd_controller_rounds", "Rounds of reconciliation.", labels=labels)
    failed = Counter("vegd_controller_failed_rounds", "Rounds that failed.", labels=labels)
    seconds = Counter(
        "vegd_controller_round_seconds", "How long all rounds took together.", labels=labels
    )
    for name, queue in queues:
        depth.add((name,), queue.depth)
        failing.add((name,), len(queue.failing))
        rounds.add((name,), queue.figures.worked)
        failed.add((name,), queue.figures.failed)
        seconds.add((name,), queue.figures.seconds)
    yield from (depth, failing, rounds, failed, seconds)


@contextlib.asynccontextmanager
async def serve(pages: Pages, listen: Listen) -> AsyncIterator[None]:
    """Answer on an address. Raises OSError if it cannot be had."""
    server = web.Server(
        {
            "/metrics": {"GET": pages.metrics},
            "/livez": {"GET": pages.livez},
            "/readyz": {"GET": pages.readyz},
        }
    )
    listener = await asyncio.start_server(server.accept, listen.host or None, listen.port)
    try:
        yield
    finally:
        listener.close()
        await server.aclose()
