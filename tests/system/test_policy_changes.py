"""A thousand random changes of the configuration under live traffic: nothing is cut that the new
policies still allow, and nothing of the VPC is seen outside unless a policy without SNAT says so.

A run is repeated by its seed, that it prints: ``VEGD_SEED=123 python -m pytest FILE``.
"""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, Site, build
from tests.support.live_traffic import (
    Datagrams,
    Ends,
    Flow,
    Outside,
    Seen,
    Watch,
    dropped_by_the_machine,
)
from tests.support.netns import ip
from tests.support.policy_changes import BEGIN, HOSTS, SITES, Wish, change, external, host, site

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

CHANGES = 1000
STEADY = HOSTS[:10]
"""The hosts of the long flows; a change that would cut one of these is not made."""
FLOWS = [
    Ends(host(version, number), site(version, place))
    for version in (4, 6)
    for number in STEADY
    for place in SITES
    for _ in range(2)
]
EVERYBODY = [
    Ends(host(version, number), site(version, place))
    for version in (4, 6)
    for number in (*HOSTS, 99)
    for place in SITES
]
CONVERGED_S = 60.0
PROBE_S = 20.0


def built(netns: Callable[[str], str], directory: Path) -> Site:
    """Hosts and places with their addresses and routes around a gateway that begins with BEGIN."""
    made = build(netns, directory)
    made.spec.pop("bfd")
    made.write(**BEGIN.sections())
    for version, length in ((4, 32), (6, 128)):
        nodad = ["nodad"] if version == 6 else []
        for number in (*HOSTS, 99):
            address = f"{host(version, number)}/{length}"
            ip("address", "add", address, "dev", "lo", *nodad, ns=made.router)
        for number in SITES:
            address = f"{site(version, number)}/{length}"
            ip("address", "add", address, "dev", "gw", *nodad, ns=made.outside)
    for ns, route in (
        (made.router, "default via 192.168.0.2"),
        (made.router, "default via fd00::2"),
        (made.outside, f"192.168.1.0/24 via {external(4, 11)}"),
        (made.outside, f"fd01::/64 via {external(6, 11)}"),
    ):
        ip(*(["-6"] if "fd" in route else []), "route", "add", *route.split(), ns=ns)
    return made


class Story:
    """The changes so far, and the traffic that goes on meanwhile."""

    def __init__(self, made: Site, daemon: Daemon, seed: int) -> None:
        self.made = made
        self.daemon = daemon
        self.rng = random.Random(seed)
        traffic = random.Random(seed)  # The flows, in whatever order they get their turns.
        self.wishes = [BEGIN]
        self.moment = 0
        """2 N while wish N is in force, 2 N - 1 while it is on its way."""
        self.flows = [Flow(made.router, ends, traffic) for ends in FLOWS]
        self.outside = Outside(made.outside, [site(v, n) for v in (4, 6) for n in SITES])
        self.datagrams = Datagrams(made.router, lambda: self.moment)
        self.watch = Watch(made.outside, "gw")
        self.unheard: set[int] = set()
        self.lost: list[str] = []
        self.excused = 0
        self.probes = 0

    async def tell(self) -> None:
        """Begin the flows, make the changes, end the flows."""
        self.outside.serve()
        self.watch.follow()
        await asyncio.gather(*(flow.begin() for flow in self.flows))
        end = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for flow in self.flows:
                tasks.create_task(self._keep(flow, end))
            strays = tasks.create_task(self._stray(random.Random()))
            for _ in range(CHANGES):
                await self._change()
                await self._probe()
            strays.cancel()
            end.set()
        self.watch.read()

    def close(self) -> None:
        """Close every socket."""
        for each in (*self.flows, self.datagrams, self.outside, self.watch):
            each.close()

    async def _keep(self, flow: Flow, end: asyncio.Event) -> None:
        try:
            await flow.talk(end)
        except (OSError, TimeoutError, AssertionError) as exc:
            before, after = self.wishes[-2:]
            exc.add_note(f"{flow.ends} as {flow.shown}, cut by change {len(self.wishes) - 1}")
            exc.add_note(f"from {before}\nto {after}")
            raise

    def _next(self) -> Wish:
        while True:
            wish = change(self.wishes[-1], self.rng)
            # When an interface loses an address, the kernel forgets what was masqueraded as it,
            # even if it stays as one of a pool.
            if {*BEGIN.addresses} <= {*wish.addresses} and all(
                flow.shown in wish.shown(*flow.ends) for flow in self.flows
            ):
                return wish

    async def _change(self) -> None:
        self.wishes.append(self._next())
        self.moment += 1
        self.made.write(**self.wishes[-1].sections())
        self.daemon.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(0.04)  # It never takes less.
        async with asyncio.timeout(CONVERGED_S):
            while not await asyncio.to_thread(self._is_done):
                await asyncio.sleep(0.02)
        self.moment += 1

    def _is_done(self) -> bool:
        status = self.made.status()
        assert status is not None, self.daemon.log.read_text()
        assert status["configFaults"] == [], status
        return (status["dataplaneGeneration"], status["dataplane"]) == (
            len(self.wishes),
            "converged",
        )

    async def _probe(self) -> None:
        await asyncio.gather(*(self._ask(self.rng.choice(EVERYBODY)) for _ in range(2)))

    async def _ask(self, ends: Ends) -> None:
        """New from a port of its own: it is seen as the newest policies say, the first packet."""
        allowed = self.wishes[-1].shown(*ends)
        with self.datagrams.channel(ends.source) as channel:
            if not allowed:
                self.unheard.add(self.datagrams.send(ends, channel))
                return
            self.probes += 1
            dropped = dropped_by_the_machine()
            try:
                shown = await self.datagrams.ask(ends, channel, PROBE_S)
            except TimeoutError:
                self.lost.append(f"{ends} after change {len(self.wishes) - 1}")
                # What others have done to the machine is no hole of ours.
                self.excused += dropped_by_the_machine() > dropped
            else:
                assert shown in allowed, (ends, shown, allowed, self.wishes[-1])

    async def _stray(self, rng: random.Random) -> None:
        while True:
            self.datagrams.stray(rng.choice(EVERYBODY))
            await asyncio.sleep(0.02)

    def is_leak(self, seen: Seen) -> bool:
        """Whether no policy of its time let the packet leave as it is."""
        near = self.wishes
        if seen.moment is not None:
            # The next change may have begun before the gateway had it.
            first, is_changing = divmod(seen.moment, 2)
            near = self.wishes[first : first + 2 + is_changing]
        return not any(seen.source in wish.shown(seen.source, seen.destination) for wish in near)


async def test_a_thousand_changes_cut_and_leak_nothing(
    netns: Callable[[str], str], tmp_path: Path
) -> None:
    seed = int(os.environ.get("VEGD_SEED") or random.randrange(2**32))
    print(f"VEGD_SEED={seed}")
    made = built(netns, tmp_path)
    with made.daemon() as daemon:
        await asyncio.to_thread(daemon.wait_for, "ready")
        with contextlib.closing(Story(made, daemon, seed)) as story:
            await story.tell()
            judge(story)
        # The daemon has never been restarted.
        assert daemon.process.poll() is None


def judge(story: Story) -> None:
    """Nothing was cut, nothing has leaked."""
    print(
        f"{sum(flow.rounds for flow in story.flows)} rounds,"
        f" {sum(flow.retransmitted() for flow in story.flows)} segments sent again,"
        f" {story.probes} probes ({len(story.lost)} lost, {story.excused} by the machine),"
        f" {story.watch.packets} packets seen, {len(story.watch.seen)} untranslated"
    )
    assert len(story.lost) == story.excused, story.lost
    assert not story.unheard & story.outside.heard
    assert story.watch.dropped() == 0
    assert [seen for seen in story.watch.seen if story.is_leak(seen)] == []
