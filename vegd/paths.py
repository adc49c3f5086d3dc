"""Is the outside within reach? Judged by probes; a path is given up only if others can take over.

A target that fails several times in a row is down, one that succeeds several times is up again.
The path of a family is down when its next hop outside does not answer, or when none of its targets
does. Then the family's sessions are to be withdrawn (Path Down): the router uses other gateways.

No gateway can see by itself whether its siblings are better off. So before it withdraws, and all
the time that it is withdrawn, it asks them (`/pathz`): unless at least `floor` of them say that
they reach the outside, it stays in use, for a shared outage is not mended by leaving. Everybody
waits for a random time before asking, about one interval of the probes, so that a sibling that is
hit by the same outage has noticed. Without siblings in the configuration a path that is down is
given up at once. After a withdrawal the sessions stay down for `hold_down` seconds at least, unless
the siblings fail, too.
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import h11

from dataplane.kernel import Kernel
from dataplane.model import IPAddress, Side
from vegd import web
from vegd.probing import probe
from vegd.spec_probes import Probes, Target

log = logging.getLogger(__name__)

_VERSIONS = (4, 6)
_PATHZ_BYTES = 4096

Probe = Callable[[], Awaitable[str | None]]
"""One probe: None for an answer, else why there was none."""


@dataclass(slots=True)
class Streak:
    """The results of one target. It is up until it has failed often enough, and the reverse."""

    name: str
    version: int
    is_neighbour: bool
    up: bool = True
    why: str | None = None
    """Why the newest probe had no answer; None if it had one."""
    in_a_row: int = 0
    answered: int = 0
    failed: int = 0
    last_s: float | None = None
    """How long the newest answer took, in seconds."""

    def take(self, why: str | None, needed: int) -> None:
        """One result; after `needed` in a row of the other kind the verdict changes."""
        self.why = why
        if why is None:
            self.answered += 1
        else:
            self.failed += 1
        if (why is None) == self.up:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        if self.in_a_row >= needed:
            self.up, self.in_a_row = not self.up, 0


@dataclass(slots=True)
class Path:
    """The path of one family."""

    version: int
    streaks: list[Streak] = field(default_factory=list)
    withdrawn_at: float | None = None
    """CLOCK_MONOTONIC; None while the family is in use."""
    held: bool = False
    """Down, and yet in use, because too few siblings could take over."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the path is down; empty if it is up."""
        hops = [each for each in self.streaks if each.is_neighbour and not each.up]
        targets = [each for each in self.streaks if not each.is_neighbour]
        down = hops + (targets if targets and not any(each.up for each in targets) else [])
        return tuple(f"{each.name}: {each.why or 'not yet up again'}" for each in down)

    @property
    def answers(self) -> bool:
        """Whether the newest probes got through."""
        hops = all(each.why is None for each in self.streaks if each.is_neighbour)
        targets = [each.why is None for each in self.streaks if not each.is_neighbour]
        return hops and (not targets or any(targets))

    @property
    def word(self) -> str:
        """The path in one word."""
        if self.withdrawn_at is not None:
            return "withdrawn"
        if self.reasons:
            return "held" if self.held else "down"
        return "up" if self.answers else "failing"


class Paths:
    """Probes as the specification says; `on_change` is called when `withdrawn` has changed."""

    def __init__(self, kernel: Kernel, on_change: Callable[[], None]) -> None:
        self.paths: Mapping[int, Path] = {version: Path(version) for version in _VERSIONS}
        self._kernel = kernel
        self._on_change = on_change
        self._wanted: tuple[Probes | None, Side | None] = (None, None)
        self._new = asyncio.Event()
        self._random = random.Random()  # noqa: S311 - spreads decisions, guards nothing

    @property
    def withdrawn(self) -> frozenset[int]:
        """The IP versions that are not to be used."""
        return frozenset(
            path.version for path in self.paths.values() if path.withdrawn_at is not None
        )

    def want(self, probes: Probes | None, external: Side | None) -> None:
        """Probe this from now on, out of the external side; the same again changes nothing."""
        if (probes, external) != self._wanted:
            self._wanted = (probes, external)
            self._new.set()

    async def run(self) -> None:
        """Probe and judge, for ever."""
        while True:
            self._new.clear()
            probes, external = self._wanted
            tasks: list[asyncio.Task[None]] = []
            if probes is not None and external is not None:
                tasks = [asyncio.create_task(each) for each in self._loops(probes, external)]
            else:
                self._forget()
            changed = asyncio.create_task(self._new.wait())
            try:
                done, _ = await asyncio.wait([*tasks, changed], return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    each.result()
            finally:
                for each in (*tasks, changed):
                    each.cancel()
                await asyncio.gather(*tasks, changed, return_exceptions=True)

    def _forget(self) -> None:
        before = self.withdrawn
        self.paths = {version: Path(version) for version in _VERSIONS}
        if before:
            self._on_change()

    def _loops(self, probes: Probes, external: Side) -> Iterator[Coroutine[Any, Any, None]]:
        for version, path in self.paths.items():
            # A target that stays keeps its verdict: a new list must not bring sessions back.
            known = {each.name: each for each in path.streaks}
            path.streaks = []
            for name, is_neighbour, once in self._targets(probes, external, version):
                streak = known.get(name, Streak(name, version, is_neighbour))
                path.streaks.append(streak)
                yield _probe_on(streak, once, probes)
            yield self._judge_on(path, probes, external)

    def _targets(
        self, probes: Probes, external: Side, version: int
    ) -> Iterator[tuple[str, bool, Probe]]:
        """Name, whether it is the next hop, and how it is asked."""
        timeout_s = probes.timeout / 1000
        hop = external.gateway(version)
        if probes.neighbours and hop is not None:
            yield f"neighbour {hop}", True, self._neighbour(external, hop, timeout_s)
        own = external.own(version)
        for target in probes.targets if own else ():
            if target.address.version == version:
                yield str(target), False, _asking(target, own[0].ip, timeout_s)

    def _neighbour(self, external: Side, hop: IPAddress, timeout_s: float) -> Probe:
        async def ask() -> str | None:
            try:
                answers = await self._kernel.neighbour_answers(external.interface, hop, timeout_s)
            except OSError as exc:
                return exc.strerror or str(exc)
            return None if answers else f"no answer within {timeout_s:g} s"

        return ask

    async def _judge_on(self, path: Path, probes: Probes, external: Side) -> None:
        interval_s = probes.interval / 1000
        while True:
            before = path.word
            if path.reasons:
                await asyncio.sleep(interval_s * self._random.uniform(0.5, 1.5))
                enough = not probes.siblings or await _healthy(path.version, probes) >= probes.floor
                if enough and path.held:
                    # The outage of a sibling has ended, so ours may end with the next probe.
                    await asyncio.sleep(interval_s + probes.timeout / 1000)
                if path.reasons and not (enough and path.answers):
                    self._set(path, withdrawn=enough)
                    path.held = not enough
            else:
                path.held = False
                rested = path.withdrawn_at is None or (
                    time.monotonic() - path.withdrawn_at >= probes.hold_down
                )
                if rested:
                    self._set(path, withdrawn=False)
            if path.word != before:
                _tell(path, external)
            await asyncio.sleep(interval_s / 2)

    def _set(self, path: Path, *, withdrawn: bool) -> None:
        if withdrawn != (path.withdrawn_at is not None):
            path.withdrawn_at = time.monotonic() if withdrawn else None
            self._on_change()


def _asking(target: Target, source: IPAddress, timeout_s: float) -> Probe:
    return lambda: probe(target, source, timeout_s)


async def _probe_on(streak: Streak, once: Probe, probes: Probes) -> None:
    interval_s = probes.interval / 1000
    while True:
        began = time.monotonic()
        why = await once()
        took_s = time.monotonic() - began
        if why is None:
            streak.last_s = took_s
        streak.take(why, probes.failures if streak.up else probes.successes)
        await asyncio.sleep(max(0.0, interval_s - took_s))


async def _healthy(version: int, probes: Probes) -> int:
    """How many siblings reach the outside and are in use for a family."""
    timeout_s = probes.timeout / 1000

    async def ask(host: str, port: int) -> bool:
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            async with asyncio.timeout(timeout_s), web.connection(host, port) as streams:
                page = await web.fetch(
                    web.Plain(*streams), host=place, path="/pathz", most=_PATHZ_BYTES
                )
            return page.status == 200 and json.loads(page.body)[f"ipv{version}"] == "up"
        except (h11.ProtocolError, TimeoutError, OSError, ValueError, KeyError, TypeError):
            return False

    return sum(await asyncio.gather(*(ask(each.host, each.port) for each in probes.siblings)))


def _tell(path: Path, external: Side) -> None:
    why = f": {'; '.join(path.reasons)}" if path.reasons else ""
    level = logging.INFO if path.word == "up" else logging.WARNING
    log.log(level, "the IPv%d path by %s is %s%s", path.version, external.interface, path.word, why)
