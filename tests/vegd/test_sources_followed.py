"""Two files: which one counts, what a bad one leaves, and whose faults are told."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.vegd.spec_documents import changed
from vegd.sources.file import SpecSnapshot
from vegd.sources.followed import TwoFiles
from vegd.spec import SpecError

_DEADLINE_S = 10.0


def _write(path: Path, revision: int | str) -> None:
    """A configuration of this revision, or with a mistake."""
    beside = path.with_name("new")
    beside.write_text(json.dumps(changed({"revision": revision})))
    beside.replace(path)


class Pair:
    """The two files, and the snapshots of them."""

    def __init__(self, directory: Path) -> None:
        self.given = directory / "gateway.yaml"
        self.followed = directory / "followed.yaml"
        self.source = TwoFiles(self.given, self.followed, period_s=0.01)
        self._snapshots: AsyncIterator[SpecSnapshot] = self.source.snapshots()

    async def next(self) -> SpecSnapshot:
        async with asyncio.timeout(_DEADLINE_S):
            return await anext(self._snapshots)

    async def close(self) -> None:
        await self._snapshots.aclose()  # type: ignore[attr-defined]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    pair = Pair(tmp_path)
    yield pair
    await pair.close()


def _says(snapshot: SpecSnapshot) -> tuple[int | None, str, int]:
    """Revision, file and generation of what is in force."""
    return (
        None if snapshot.spec is None else snapshot.spec.revision,
        snapshot.path.name,
        snapshot.generation,
    )


async def test_a_file_that_was_never_there_is_no_fault(pair: Pair) -> None:
    _write(pair.given, 1)
    first = await pair.source.first()
    assert _says(first) == (1, "gateway.yaml", 1)
    assert first.faults == ()


@pytest.mark.parametrize(
    ("given", "followed", "counts"),
    [(1, 2, "followed.yaml"), (2, 1, "gateway.yaml"), (2, 2, "gateway.yaml")],
)
async def test_the_higher_revision_counts_from_the_start(
    pair: Pair, given: int, followed: int, counts: str
) -> None:
    _write(pair.given, given)
    _write(pair.followed, followed)
    first = await pair.source.first()
    assert _says(first) == (2, counts, 1)


async def test_each_file_counts_when_it_has_become_the_newer_one(pair: Pair) -> None:
    _write(pair.given, 1)
    await pair.source.first()
    _write(pair.followed, 2)
    assert _says(await pair.next()) == (2, "followed.yaml", 2)
    # The other one comes to the same later: nothing changes.
    _write(pair.given, 2)
    assert _says(await pair.next()) == (2, "gateway.yaml", 2)
    _write(pair.given, 3)
    assert _says(await pair.next()) == (3, "gateway.yaml", 3)


async def test_a_bad_file_leaves_the_other_in_force_and_is_told_until_that_one_is_newer(
    pair: Pair,
) -> None:
    _write(pair.given, 1)
    _write(pair.followed, 2)
    await pair.source.first()
    _write(pair.given, "x")
    told = await pair.next()
    assert _says(told) == (2, "followed.yaml", 1)
    assert told.faulty == pair.given
    assert [fault.path for fault in told.faults] == ["revision"]
    _write(pair.followed, 3)
    told = await pair.next()
    assert _says(told) == (3, "followed.yaml", 2)
    assert (told.faults, told.faulty) == ((), None)
    _write(pair.followed, "x")
    told = await pair.next()
    assert _says(told) == (3, "followed.yaml", 2)
    assert told.faults != ()
    _write(pair.followed, 4)
    assert _says(await pair.next()) == (4, "followed.yaml", 3)


async def test_one_good_file_is_enough_to_start_with_and_the_bad_one_is_told(pair: Pair) -> None:
    _write(pair.given, "x")
    with pytest.raises(SpecError, match=r"gateway\.yaml: revision"):
        await pair.source.first()
    _write(pair.followed, 2)
    first = await pair.source.first()
    assert _says(first) == (2, "followed.yaml", 1)
    assert first.faulty == pair.given


async def test_an_order_to_reload_is_answered_though_nothing_has_changed(pair: Pair) -> None:
    _write(pair.given, 1)
    _write(pair.followed, 2)
    first = await pair.source.first()
    pair.source.reload()
    assert await pair.next() == first
