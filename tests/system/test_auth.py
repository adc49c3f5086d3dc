"""Authentication on the wire: engine with engine, engine with BIRD, and the whole daemon."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bfd.auth import AuthConfig, AuthKey, AuthType, Transition
from bfd.client import Client
from bfd.config import SessionConfig, SessionKey
from bfd.fsm import State
from bfd.snapshot import EngineSnapshot
from tests.support import netns as net
from tests.support.bfd_process import EngineProcess, all_in, engine_in, eventually
from tests.support.bird_auth import AuthBird
from tests.support.peers import why_missing

pytestmark = pytest.mark.system

MS = 100
MULTIPLIER = 12
"""Both ends wait 1.2 s for each other: a flap is not one of a busy machine, but of a packet refused
for good."""


class Keys:
    """Key files in a directory; the keys know their secrets for those who do not read files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir()

    def write(self, key_id: int, kind: AuthType, secret: str) -> AuthKey:
        """A key in its file, which is replaced in one step if it is there."""
        path = self._directory / str(key_id)
        fresh = path.with_suffix(".new")
        fresh.write_text(secret + "\n")
        fresh.chmod(0o600)
        fresh.rename(path)
        return AuthKey(key_id, kind, str(path), secret.encode())


def auth(
    *keys: AuthKey, send: int | None = None, transition: Transition | None = None
) -> AuthConfig:
    plain = tuple(replace(key, secret=b"") for key in keys)
    return AuthConfig(plain, keys[0].key_id if send is None else send, transition)


def addresses(n: int, host: int) -> tuple[str, str]:
    return f"10.89.{n}.{host}", f"fd89:0:0:{n + 1}::{host}"


def sessions(n: int, own: int, config: AuthConfig | None) -> list[SessionConfig]:
    """Both families on link `n`, from host `own` to the other one."""
    pairs = zip(addresses(n, own), addresses(n, 3 - own), strict=True)
    return [
        SessionConfig(SessionKey(*pair), MS * 1000, MS * 1000, MULTIPLIER, auth=config)
        for pair in pairs
    ]


def link(ours: str, theirs: str, n: int) -> None:
    def with_length(host: int) -> list[str]:
        return [f"{address}/{64 if ':' in address else 24}" for address in addresses(n, host)]

    net.veth(ours, f"ve{n}", theirs, f"vp{n}", with_length(1), with_length(2))


def transitions(snapshot: EngineSnapshot) -> dict[SessionKey, int]:
    return {each.key: each.transitions for each in snapshot.sessions}


def discards(snapshot: EngineSnapshot) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in snapshot.sessions:
        for reason, count in each.discards.items():
            found[reason] = found.get(reason, 0) + count
    return found


async def heard_on(client: Client, packets: int = MULTIPLIER * 3 // 2) -> EngineSnapshot:
    """Let every session hear some more packets: for longer than the peer goes on unless told, so
    that it shows if it refuses ours. They may be as near to each other as 75 % of the interval."""
    before = {each.key: each.rx_packets for each in (await client.snapshot()).sessions}
    return await eventually(
        client, lambda s: all(x.rx_packets >= before[x.key] + packets for x in s.sessions), 20
    )


# Engine with engine -----------------------------------------------------------------------------


async def test_G7_two_engines_with_every_type_roll_over_to_every_other(
    netns: Callable[[str], str], tmp_path: Path
) -> None:
    left, right = netns("left"), netns("right")
    keys = Keys(tmp_path / "keys")
    kinds = list(AuthType)
    old = [keys.write(n, kind, f"old key {n}") for n, kind in enumerate(kinds)]
    new = [keys.write(10 + n, kind, f"new key {n}") for n, kind in enumerate(reversed(kinds))]
    for n in range(len(kinds)):
        link(left, right, n)
    steps = [
        [auth(o) for o in old],
        [auth(o, k) for o, k in zip(old, new, strict=True)],
        [auth(k, o) for o, k in zip(old, new, strict=True)],
        [auth(k) for k in new],
    ]
    async with (
        engine_in(left, tmp_path / "a") as a,
        engine_in(right, tmp_path / "b") as b,
        Client(a.path) as client_a,
        Client(b.path) as client_b,
    ):
        clients = (client_a, client_b)

        async def take(step: list[AuthConfig], generation: int, host: int) -> None:
            wanted = [s for n, config in enumerate(step) for s in sessions(n, host, config)]
            await clients[host - 1].configure(wanted, generation)

        for host in (1, 2):
            await take(steps[0], 1, host)
        first = [transitions(await eventually(c, all_in(State.UP), 20)) for c in clients]
        for generation, step in enumerate(steps[1:], 2):
            for host in (1, 2):
                await take(step, generation, host)
                await heard_on(client_a)
        last = [await heard_on(client) for client in clients]
        assert [transitions(snapshot) for snapshot in last] == first
        for snapshot in last:
            used = {x.config.auth.send for x in snapshot.sessions if x.config.auth}
            assert used == {key.key_id for key in new}
        # Each side knew every key that the other one has sent with.
        assert [discards(snapshot) for snapshot in last] == [{}, {}]


# Engine with BIRD -------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def beside_bird(
    netns: Callable[[str], str],
    directory: Path,
    links: int,
    keys: Mapping[str, Sequence[AuthKey]],
) -> AsyncIterator[tuple[EngineProcess, Client, AuthBird]]:
    reason = why_missing("bird")
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    ours, theirs = netns("engine"), netns("bird")
    pairs: dict[str, str] = {}
    for n in range(links):
        link(ours, theirs, n)
        pairs |= dict(zip(addresses(n, 2), addresses(n, 1), strict=True))
    async with engine_in(ours, directory / "engine") as engine, Client(engine.path) as client:
        bird = AuthBird(theirs, directory / "bird", pairs, keys, MS, MULTIPLIER)
        try:
            yield engine, client, bird
        finally:
            bird.close()


async def bird_is_up(bird: AuthBird, count: int) -> None:
    async with asyncio.timeout(20):
        while True:
            views = await asyncio.to_thread(bird.views)
            if len(views) == count and all(view.state == "up" for view in views.values()):
                return
            await asyncio.sleep(0.05)


async def test_G2_every_type_comes_up_with_bird_over_both_families(
    netns: Callable[[str], str], tmp_path: Path
) -> None:
    keys = Keys(tmp_path / "keys")
    each = [keys.write(n + 1, kind, f"open sesame {n}") for n, kind in enumerate(AuthType)]
    birds = {f"vp{n}": [key] for n, key in enumerate(each)}
    async with beside_bird(netns, tmp_path, len(each), birds) as (_, client, bird):
        await client.configure([s for n, k in enumerate(each) for s in sessions(n, 1, auth(k))], 1)
        await eventually(client, all_in(State.UP), 20)
        before = transitions(await client.snapshot())
        await bird_is_up(bird, 2 * len(each))
        snapshot = await heard_on(client, 20)
        assert transitions(snapshot) == before
        # BIRD was first: what it sent before our sessions were there belongs to none.
        assert discards(snapshot) == {}


async def test_B11_a_wrong_key_keeps_the_session_down_until_its_file_is_corrected(
    netns: Callable[[str], str], tmp_path: Path
) -> None:
    keys = Keys(tmp_path / "keys")
    right = AuthKey(1, AuthType.METICULOUS_KEYED_SHA1, "/", b"open sesame")
    wrong = keys.write(1, right.type, "open barley")
    async with beside_bird(netns, tmp_path, 1, {"vp0": [right]}) as (engine, client, _):
        await client.configure(sessions(0, 1, auth(wrong)), 1)
        snapshot = await eventually(
            client, lambda s: all(x.discards.get("auth_digest", 0) >= 3 for x in s.sessions), 20
        )
        assert all_in(State.DOWN)(snapshot)
        assert set(discards(snapshot)) == {"auth_digest"}
        assert all(x.transitions == 0 for x in snapshot.sessions)
        keys.write(1, right.type, "open sesame")
        await eventually(client, all_in(State.UP), 20)
        assert "sesame" not in engine.stderr
        assert "barley" not in engine.stderr


@pytest.mark.parametrize("kind", [AuthType.KEYED_MD5, AuthType.METICULOUS_KEYED_SHA1])
async def test_G7_keys_roll_over_with_bird_without_a_flap(
    netns: Callable[[str], str], tmp_path: Path, kind: AuthType
) -> None:
    keys = Keys(tmp_path / "keys")
    old, new = keys.write(1, kind, "old"), keys.write(2, kind, "new")
    async with beside_bird(netns, tmp_path, 1, {"vp0": [old]}) as (_, client, bird):
        await client.configure(sessions(0, 1, auth(old)), 1)
        await eventually(client, all_in(State.UP), 20)
        await bird_is_up(bird, 2)
        before = transitions(await heard_on(client))
        for generation, step in enumerate(([old, new], [new, old], [new]), 2):
            await client.configure(sessions(0, 1, auth(*step)), generation)
            assert transitions(await heard_on(client)) == before
            await asyncio.to_thread(bird.configure, {"vp0": step})
            assert transitions(await heard_on(client)) == before
        snapshot = await client.snapshot()
        assert discards(snapshot) == {}
        await bird_is_up(bird, 2)


async def test_G7_authentication_is_switched_on_and_off_with_bird_without_a_flap(
    netns: Callable[[str], str], tmp_path: Path
) -> None:
    keys = Keys(tmp_path / "keys")
    key = keys.write(1, AuthType.METICULOUS_KEYED_SHA1, "open sesame")

    def in_use(value: bool) -> Callable[[EngineSnapshot], bool]:
        return lambda s: all(x.auth_in_use is value for x in s.sessions)

    async with beside_bird(netns, tmp_path, 1, {"vp0": []}) as (_, client, bird):
        await client.configure(sessions(0, 1, None), 1)
        await eventually(client, all_in(State.UP), 20)
        await bird_is_up(bird, 2)
        before = transitions(await heard_on(client))
        await client.configure(sessions(0, 1, auth(key, transition=Transition.ENABLING)), 2)
        assert in_use(False)(await heard_on(client))
        await asyncio.to_thread(bird.configure, {"vp0": [key]})
        await eventually(client, in_use(True))
        await heard_on(client)
        await client.configure(sessions(0, 1, auth(key)), 3)
        assert transitions(await heard_on(client)) == before
        await client.configure(sessions(0, 1, auth(key, transition=Transition.DISABLING)), 4)
        assert in_use(True)(await heard_on(client))
        await asyncio.to_thread(bird.configure, {"vp0": []})
        await eventually(client, in_use(False))
        await client.configure(sessions(0, 1, None), 5)
        assert transitions(await heard_on(client)) == before
        await bird_is_up(bird, 2)
