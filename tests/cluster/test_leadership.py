"""Leader election on a real Lease: one leads, hands over, or is replaced when it is cut off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from kube.client import Client
from kube.errors import Unreachable
from kube.leases import Candidate, Seat
from kube.objects import LEASES
from vegd.cluster.leadership import Leadership
from vegd.lab.cluster.control_plane import ControlPlane

_LIMIT_S = 200


class _Controller:
    """A controller that only notes when it is at work."""

    def __init__(self, client: Client, namespace: str, name: str, diary: list[str]) -> None:
        self.name = name
        self.leadership = Leadership(Candidate(client, Seat(namespace, "seat"), name))
        self._diary = diary
        self._task = asyncio.create_task(self.leadership.run(self._work))

    async def until_leading(self) -> None:
        while self._diary[-1:] != [f"{self.name} begins"]:
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _work(self) -> None:
        self._diary.append(f"{self.name} begins")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.2)  # to put things in order takes a while
            self._diary.append(f"{self.name} ends")


@asynccontextmanager
async def _client(plane: ControlPlane) -> AsyncIterator[Client]:
    async with await Client.connect(plane.kubeconfig, timeout_s=2) as client:
        yield client


async def test_the_leader_hands_over_when_it_is_ended(
    control_plane: ControlPlane, namespace: str
) -> None:
    diary: list[str] = []
    async with _client(control_plane) as client, asyncio.timeout(_LIMIT_S):
        first = _Controller(client, namespace, "first", diary)
        await first.until_leading()
        second = _Controller(client, namespace, "second", diary)
        await asyncio.sleep(1)
        assert (first.leadership.is_leader, second.leadership.is_leader) == (True, False)
        await first.stop()
        # Its Lease is free at once: a killed leader's would run for 15 s more.
        spec = (await client.get(LEASES, "seat", namespace))["spec"]
        assert spec.get("holderIdentity", "") in ("", "second")
        await second.until_leading()
        spec = (await client.get(LEASES, "seat", namespace))["spec"]
        assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("second", 1)
        await second.stop()
    assert diary == ["first begins", "first ends", "second begins", "second ends"]


async def test_a_leader_that_is_cut_off_ends_its_work_and_begins_again_later(
    control_plane: ControlPlane, namespace: str
) -> None:
    diary: list[str] = []
    async with _client(control_plane) as client, asyncio.timeout(_LIMIT_S):
        only = _Controller(client, namespace, "only", diary)
        await only.until_leading()
        control_plane.stop_api_server()
        while "only ends" not in diary:
            await asyncio.sleep(0.05)
        assert not only.leadership.is_leader
        control_plane.start_api_server()
        await only.until_leading()
        await only.stop()
    assert diary == ["only begins", "only ends"] * 2


async def test_a_seat_is_taken_when_its_holder_has_been_silent_for_as_long_as_it_says(
    control_plane: ControlPlane, namespace: str
) -> None:
    wall = datetime.now(UTC)
    seat = Seat(namespace, "seat", lasts_s=15)
    async with _client(control_plane) as client:
        holder, other = Candidate(client, seat, "holder"), Candidate(client, seat, "other")
        assert await holder.attempt(0, wall)
        # By the clock of the other one, which never looks at the times that are written down.
        assert not await other.attempt(1000, wall)
        assert other.holder == "holder"
        assert await holder.attempt(14, wall.replace(microsecond=7))
        assert not await other.attempt(1014, wall)
        assert not await other.attempt(1028.9, wall)
        assert await other.attempt(1029, wall)
        assert not await holder.attempt(29, wall)
        assert (await client.get(LEASES, "seat", namespace))["spec"]["leaseTransitions"] == 1


async def test_of_many_who_want_it_at_the_same_time_one_gets_it(
    control_plane: ControlPlane, namespace: str
) -> None:
    seat, wall = Seat(namespace, "seat"), datetime.now(UTC)
    async with _client(control_plane) as client:
        many = [Candidate(client, seat, f"candidate-{number}") for number in range(20)]
        got = await asyncio.gather(*(each.attempt(0, wall) for each in many))
        assert got.count(True) == 1
        await many[got.index(True)].release(wall)
        got = await asyncio.gather(*(each.attempt(0, wall) for each in many))
        assert got.count(True) == 1


async def test_whose_it_is_nobody_knows_while_the_api_server_hangs(
    control_plane: ControlPlane, namespace: str
) -> None:
    async with _client(control_plane) as client:
        candidate = Candidate(client, Seat(namespace, "seat"), "one")
        with control_plane.frozen_api_server(), pytest.raises(Unreachable):
            await candidate.attempt(0, datetime.now(UTC))
        assert await candidate.attempt(1, datetime.now(UTC))
