"""The followed file: what is yielded, when the generation grows, what a bad file leaves."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.vegd.spec_documents import changed
from vegd.sources.file import FileSource, SpecSnapshot
from vegd.spec import SpecError

_PERIOD_S = 0.01
_DEADLINE_S = 10.0
_QUIET_S = 0.4
"""Many periods, and more than a change takes to settle."""


def _text(**changes: object) -> str:
    # JSON is YAML.
    return json.dumps(changed({name.replace("__", "."): new for name, new in changes.items()}))


def _write(path: Path, text: str) -> None:
    """As a careful program does: beside it, then over it."""
    beside = path.with_name("new")
    beside.write_text(text)
    beside.replace(path)


class Follower:
    """A source whose snapshots are collected one by one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = FileSource(path, period_s=_PERIOD_S)
        self._snapshots: AsyncIterator[SpecSnapshot] = self.source.snapshots()

    async def next(self) -> SpecSnapshot:
        async with asyncio.timeout(_DEADLINE_S):
            return await anext(self._snapshots)

    async def is_quiet(self) -> bool:
        """Whether nothing comes for a while; the iteration cannot go on afterwards."""
        try:
            async with asyncio.timeout(_QUIET_S):
                await anext(self._snapshots)
        except TimeoutError:
            return True
        return False


@pytest.fixture
def follower(tmp_path: Path) -> Follower:
    path = tmp_path / "gateway.yaml"
    path.write_text(_text())
    return Follower(path)


async def test_the_first_specification_has_generation_1(follower: Follower) -> None:
    first = await follower.source.first()
    assert (first.generation, first.faults, first.warnings) == (1, (), ())
    assert first.path == follower.path
    assert first.spec is not None
    assert first.spec.name == "gw1"


@pytest.mark.parametrize("content", [None, "", "name: a b\n"])
async def test_without_a_good_file_there_is_no_start(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "gateway.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SpecError) as caught:
        await FileSource(path).first()
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "renamed over it"])
async def test_a_change_is_a_new_generation(follower: Follower, in_place: bool) -> None:
    await follower.source.first()
    for number in (2, 3, 4):
        text = _text(name=f"gw{number}")
        if in_place:
            follower.path.write_text(text)
        else:
            _write(follower.path, text)
        snapshot = await follower.next()
        assert snapshot.generation == number
        assert snapshot.spec is not None
        assert snapshot.spec.name == f"gw{number}"


async def test_a_change_of_the_same_size_with_the_old_time_is_seen(follower: Follower) -> None:
    await follower.source.first()
    before = follower.path.stat()
    follower.path.write_text(_text(name="gw2"))
    os.utime(follower.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (await follower.next()).generation == 2


async def test_a_swapped_symlink_is_a_change(tmp_path: Path) -> None:
    """As the kubelet publishes a ConfigMap: file -> ..data/file, ..data -> a dated directory."""
    for number in (1, 2):
        (tmp_path / f"v{number}").mkdir()
        (tmp_path / f"v{number}" / "gateway.yaml").write_text(_text(name=f"gw{number}"))
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "gateway.yaml").symlink_to("..data/gateway.yaml")
    follower = Follower(tmp_path / "gateway.yaml")
    await follower.source.first()
    (tmp_path / "..data_tmp").symlink_to("v2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    snapshot = await follower.next()
    assert snapshot.spec is not None
    assert (snapshot.generation, snapshot.spec.name) == (2, "gw2")


async def test_a_touch_and_a_new_comment_are_no_change(follower: Follower) -> None:
    await follower.source.first()
    follower.path.touch()
    assert await follower.is_quiet()
    follower = Follower(follower.path)
    await follower.source.first()
    _write(follower.path, f"# a comment\n{_text()}")
    assert await follower.is_quiet()


async def test_a_bad_file_leaves_the_last_good_specification_in_force(follower: Follower) -> None:
    first = await follower.source.first()
    _write(follower.path, _text(bfd__minTX=0))
    bad = await follower.next()
    assert (bad.generation, bad.spec) == (1, first.spec)
    assert [fault.path for fault in bad.faults] == ["bfd.minTX"]
    _write(follower.path, _text())
    mended = await follower.next()
    assert (mended.generation, mended.spec, mended.faults) == (1, first.spec, ())


async def test_a_file_that_vanishes_is_a_fault_until_it_is_back(follower: Follower) -> None:
    first = await follower.source.first()
    follower.path.unlink()
    gone = await follower.next()
    assert (gone.generation, gone.spec) == (1, first.spec)
    assert [fault.problem for fault in gone.faults] == ["cannot be read: No such file or directory"]
    _write(follower.path, _text(name="gw2"))
    back = await follower.next()
    assert (back.generation, back.faults) == (2, ())


async def test_a_reload_is_answered_even_if_nothing_has_changed(follower: Follower) -> None:
    first = await follower.source.first()
    follower.source.reload()
    assert await follower.next() == first
    assert await follower.is_quiet()


async def test_a_reload_does_not_wait_for_the_next_look(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(_text())
    source = FileSource(path, period_s=3600)
    await source.first()
    _write(path, _text(name="gw2"))
    source.reload()
    async with asyncio.timeout(_DEADLINE_S):
        assert (await anext(source.snapshots())).generation == 2


async def test_a_half_written_file_is_not_taken(follower: Follower) -> None:
    """A list that is cut off may be valid; only what has come to rest counts."""
    await follower.source.first()
    taken = asyncio.ensure_future(follower.next())
    loop = asyncio.get_running_loop()
    end = loop.time() + 0.3
    while loop.time() < end:
        # Never the same for as long as a change has to rest.
        follower.path.write_text(_text(name=f"half-{loop.time()}"))
        await asyncio.sleep(0.02)
        assert not taken.done()
    follower.path.write_text(_text(name="whole"))
    snapshot = await taken
    assert snapshot.spec is not None
    assert (snapshot.generation, snapshot.spec.name) == (2, "whole")


async def test_warnings_come_with_the_specification_in_force(follower: Follower) -> None:
    await follower.source.first()
    _write(follower.path, _text(policies=[]))
    assert [warning.path for warning in (await follower.next()).warnings] == ["policies"]
    _write(follower.path, "nonsense")
    assert [warning.path for warning in (await follower.next()).warnings] == ["policies"]
