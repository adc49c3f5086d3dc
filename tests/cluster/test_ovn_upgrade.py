"""OVN is upgraded while the controller runs: what the new schema has is used without a restart."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from kube.northbound import Changed
from kube.ovsdb import DatabaseError, Unreachable
from tests.support.ovsdb import OvsdbServer, run, schema
from vegd.cluster.ovn import Ovn

_WITHIN_S = 60.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OvsdbServer]:
    """A database of a version whose policies cannot name BFD sessions."""
    made = OvsdbServer(tmp_path, policies_name_bfd=False)
    made.nbctl("lr-add", "vpc1")
    yield made
    made.stop()


@pytest.fixture
async def ovn(server: OvsdbServer) -> AsyncIterator[Ovn]:
    made = Ovn(server.remote, look_s=0.2)
    yield made
    await made.close()


async def _until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(_WITHIN_S):
        while not what():
            await asyncio.sleep(0.05)


async def test_a_schema_that_changes_is_used_and_everything_is_looked_at_again(
    server: OvsdbServer, ovn: Ovn
) -> None:
    told: list[Changed] = []
    following = asyncio.ensure_future(ovn.follow(told.append))
    try:
        old = await ovn.northbound()
        assert not old.policies_can_name_bfd
        await _until(lambda: any("vpc1" in str(each.names) for each in told))
        told.clear()
        newer = server.directory / "newer.ovsschema"
        newer.write_text(json.dumps(schema() | {"version": "99.0.0"}))
        await asyncio.to_thread(run, "ovsdb-client", "convert", server.remote, str(newer))
        await _until(lambda: any("vpc1" in str(each.names) for each in told))
        async with asyncio.timeout(_WITHIN_S):
            while not (new := await ovn.northbound()).policies_can_name_bfd:
                await asyncio.sleep(0.05)
        with pytest.raises(Unreachable, match="closed"):
            await old.looks("bfd@vpc1")
        assert await new.looks("bfd@vpc1") == ()
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


async def test_a_database_that_is_away_is_no_upgrade(server: OvsdbServer, ovn: Ovn) -> None:
    following = asyncio.ensure_future(ovn.follow(lambda _: None))
    try:
        before = await ovn.northbound()
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(1)
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(_WITHIN_S):
            while True:
                with contextlib.suppress(DatabaseError):
                    assert await before.looks("bfd@vpc1") == ()
                    break
                await asyncio.sleep(0.1)
        assert await ovn.northbound() is before
        assert not following.done()
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
