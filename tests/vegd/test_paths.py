"""Paths: when probes speak for an outage, and when a gateway may leave because of one."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address, ip_interface

import pytest

from dataplane.model import Side
from tests.support.dataplane_fake import FakeKernel
from vegd.paths import Path, Paths, Streak
from vegd.spec_probes import Probes
from vegd.texts import Listen
from vegd.web import Answer, Server

EXTERNAL = Side("net1", (ip_interface("172.17.0.11/16"),), (ip_address("172.17.0.1"),))


def _streak(name: str, *results: str | None, neighbour: bool = False) -> Streak:
    streak = Streak(name, 4, neighbour)
    for each in results:
        streak.take(each, 2)
    return streak


def test_a_target_changes_its_verdict_after_enough_results_in_a_row() -> None:
    streak = _streak("t", "lost", None, "lost")
    assert streak.up
    streak.take("lost", 2)
    assert not streak.up
    for why in (None, "lost", None):
        streak.take(why, 2)
    assert not streak.up
    streak.take(None, 2)
    assert (streak.up, streak.answered, streak.failed) == (True, 4, 4)


@pytest.mark.parametrize(
    ("streaks", "reasons", "word"),
    [
        ([], (), "up"),
        ([_streak("a", "x", "x"), _streak("b", None)], (), "up"),
        ([_streak("a", "x", "x"), _streak("b", "x")], (), "failing"),
        ([_streak("a", "x", "x"), _streak("b", "y", "y")], ("a: x", "b: y"), "down"),
        ([_streak("hop", "x", "x", neighbour=True), _streak("b", None)], ("hop: x",), "down"),
        ([_streak("hop", None, neighbour=True), _streak("b", "y", "y")], ("b: y",), "down"),
    ],
)
def test_a_path_is_down_without_its_next_hop_or_without_any_target(
    streaks: list[Streak], reasons: tuple[str, ...], word: str
) -> None:
    path = Path(4, streaks)
    assert (path.reasons, path.word) == (reasons, word)


class _Neighbour(FakeKernel):
    """A kernel whose next hop answers or not, as told."""

    answers = True

    async def neighbour_answers(self, interface: str, _: object, timeout_s: float) -> bool:
        await asyncio.sleep(0)
        return self.answers and bool(interface) and timeout_s > 0


@asynccontextmanager
async def _siblings(words: list[str]) -> AsyncIterator[tuple[Listen, ...]]:
    """Other gateways, that say of their IPv4 path what stands in the list at that moment."""
    async with AsyncExitStack() as stack:
        places: list[Listen] = []
        for number in range(len(words)):

            async def pathz(number: int = number) -> Answer:
                return Answer.text(json.dumps({"ipv4": words[number], "ipv6": "up"}))

            server = Server({"/pathz": {"GET": pathz}})
            listener = await asyncio.start_server(server.accept, "127.0.0.1", 0)
            stack.push_async_callback(server.aclose)
            stack.callback(listener.close)
            places.append(Listen("127.0.0.1", listener.sockets[0].getsockname()[1]))
        yield tuple(places)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def _running(kernel: _Neighbour, **changes: object) -> AsyncIterator[Paths]:
    times = {"interval": 50, "timeout": 50, "failures": 2, "successes": 2, "hold_down": 0}
    paths = Paths(kernel, lambda: None)
    paths.want(Probes(**(times | changes)), EXTERNAL)  # type: ignore[arg-type]
    running = asyncio.create_task(paths.run())
    try:
        yield paths
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_without_siblings_a_path_that_is_down_is_given_up_and_comes_back() -> None:
    kernel = _Neighbour()
    async with _running(kernel) as paths:
        await _until(lambda: any(each.answered > 2 for each in paths.paths[4].streaks))
        assert paths.withdrawn == frozenset()
        kernel.answers = False
        await _until(lambda: paths.withdrawn == {4})
        kernel.answers = True
        await _until(lambda: paths.withdrawn == frozenset())
        assert paths.paths[4].word == "up"


async def test_an_outage_that_the_siblings_share_takes_nobody_out() -> None:
    kernel = _Neighbour()
    words = ["failing", "down"]
    async with _siblings(words) as places, _running(kernel, siblings=places) as paths:
        kernel.answers = False
        await _until(lambda: paths.paths[4].word == "held")
        assert paths.withdrawn == frozenset()
        words[1] = "up"  # it is ours alone after all
        await _until(lambda: paths.withdrawn == {4})
        words[1] = "held"  # and now it is theirs as well: back into use, although still down
        await _until(lambda: paths.paths[4].word == "held")
        assert paths.withdrawn == frozenset()


async def test_the_floor_says_how_many_siblings_have_to_be_left() -> None:
    kernel = _Neighbour()
    words = ["up", "path down"]
    async with _siblings(words) as places, _running(kernel, siblings=places, floor=2) as paths:
        kernel.answers = False
        await _until(lambda: paths.paths[4].word == "held")
        words[1] = "up"
        await _until(lambda: paths.withdrawn == {4})


async def test_after_a_withdrawal_the_sessions_stay_down_for_the_hold_down() -> None:
    kernel = _Neighbour()
    loop = asyncio.get_running_loop()
    async with _running(kernel, hold_down=1) as paths:
        kernel.answers = False
        await _until(lambda: paths.withdrawn == {4})
        at = loop.time()
        kernel.answers = True
        await _until(lambda: not paths.paths[4].reasons)
        assert paths.paths[4].word == "withdrawn"
        await _until(lambda: paths.withdrawn == frozenset())
        assert loop.time() - at >= 0.9


async def test_probes_taken_out_of_the_configuration_take_no_session_down() -> None:
    kernel = _Neighbour()
    async with _running(kernel) as paths:
        kernel.answers = False
        await _until(lambda: paths.withdrawn == {4})
        paths.want(None, EXTERNAL)
        await _until(lambda: paths.withdrawn == frozenset())
        assert paths.paths[4].streaks == []
