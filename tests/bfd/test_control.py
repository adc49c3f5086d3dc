"""The control socket and its client: the protocol, bad clients, slow clients, absent agents."""

import asyncio
import contextlib
import gc
import json
import os
import random
import socket
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bfd.auth import AuthConfig, AuthKey, AuthType
from bfd.client import Client, ControlError, Event, Joined, Lost
from bfd.config import SessionConfig, SessionKey
from bfd.control import ControlServer, ControlSocketError
from bfd.discriminators import Discriminators
from bfd.driver import Driver
from bfd.engine import Engine
from bfd.fsm import Diagnostic, State
from bfd.history import Transition
from bfd.override import Override
from bfd.protocol import LINE_LIMIT, VERSION, dump
from bfd.realtime import Scheduling
from bfd.snapshot import SessionSnapshot, config_to_json
from bfd.unsolicited import Invitation
from bfd.views import ProcessViews
from bfd.vitals import VitalsReader
from tests.support.bfd import FAST
from tests.support.bfd_fakes import FakeClock, FakeReceiver, FakeTransport, FakeWaiter


class Engines:
    """An engine with a control socket, in this process, its network faked."""

    def __init__(self, path: Path, hold_s: float = 0, patience_s: float = 30) -> None:
        self.path = path
        self.clock = FakeClock()
        self.transport = FakeTransport(self.clock)
        self.engine = Engine(Discriminators(bytes(32)), random.random, lambda _index: "eth0")
        self.ended = asyncio.Event()
        self.driver: Driver[FakeReceiver] = Driver(
            self.engine, self.transport, FakeWaiter(self.clock), self.clock, self.ended.set
        )
        views = ProcessViews(self.driver, self.clock, Scheduling(), VitalsReader())
        self.server = ControlServer(path, self.driver, views, hold_s, patience_s)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Engines"]:
        await self.server.start()
        async with asyncio.TaskGroup() as tasks:
            hold = tasks.create_task(self.server.hold.keep())
            try:
                yield self
            finally:
                hold.cancel()
                await self.server.close()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engines]:
    async with Engines(tmp_path / "bfd.sock").running() as running:
        yield running


def config(n: int, **fields: Any) -> SessionConfig:
    key = SessionKey(f"10.0.{n >> 8}.{n & 255}", "10.9.9.9")
    return replace(FAST, key=key, **fields)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


class Raw:
    """A connection without manners."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.transport = cast(asyncio.Transport, writer.transport)

    @classmethod
    async def open(cls, path: Path, *, hello: bool = True) -> "Raw":
        raw = cls(*await asyncio.open_unix_connection(path))
        if hello:
            assert (await raw.ask({"op": "hello", "version": VERSION}))["ok"]
        return raw

    async def ask(self, message: object) -> dict[str, Any]:
        line = message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n"
        self.writer.write(line)
        return await self.answer()

    async def answer(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            return dict(json.loads(await self.reader.readline()))

    async def is_closed(self) -> bool:
        async with asyncio.timeout(5):
            ended = await self.reader.read() == b""
        self.close()
        return ended

    def close(self) -> None:
        self.writer.close()


async def test_a_set_is_put_in_force_and_shown(engine: Engines) -> None:
    async with Client(engine.path) as client:
        configs = [config(n) for n in range(10)]
        await client.configure(configs, 7)
        snapshot = await client.snapshot()
    assert snapshot.generation == 7
    assert {s.config for s in snapshot.sessions} == set(configs)
    assert not snapshot.draining


async def test_the_second_set_replaces_the_first_and_leaves_the_rest_alone(engine: Engines) -> None:
    async with Client(engine.path) as client:
        await client.configure([config(1), config(2)], 1)
        kept = engine.engine.sessions()[1]
        await client.configure([config(2), config(3)], 2)
        assert {s.key for s in engine.engine.sessions()} == {config(2).key, config(3).key}
        assert kept in engine.engine.sessions()


async def test_a_thousand_sessions_travel(engine: Engines) -> None:
    async with Client(engine.path) as client:
        await client.configure([config(n) for n in range(1000)], 1)
        assert len((await client.snapshot()).sessions) == 1000


async def test_nothing_changes_before_commit(engine: Engines) -> None:
    raw = await Raw.open(engine.path)
    assert (await raw.ask({"op": "begin", "generation": 4}))["ok"]
    assert (await raw.ask({"op": "put", "session": config_to_json(config(1))}))["ok"]
    raw.close()
    async with Client(engine.path) as client:
        snapshot = await client.snapshot()
    assert (snapshot.generation, snapshot.sessions) == (0, ())


async def test_a_set_with_a_bad_session_changes_nothing(engine: Engines) -> None:
    raw = await Raw.open(engine.path)
    await raw.ask({"op": "begin", "generation": 4})
    await raw.ask({"op": "put", "session": config_to_json(config(1))})
    answer = await raw.ask({"op": "put", "session": config_to_json(config(2)) | {"detect_mult": 0}})
    assert answer == {"ok": False, "error": "detect_mult: 0 is not from 1 to 255"}
    answer = await raw.ask({"op": "commit"})
    assert answer == {
        "ok": False,
        "error": "commit: no complete set was begun; nothing has changed",
    }
    assert engine.engine.sessions() == ()
    raw.close()


async def test_J1_an_invitation_holds_with_the_set_it_came_with(engine: Engines) -> None:
    invitation = Invitation("eth0", ("192.0.2.0/24",), 4, 100_000, 100_000, 3)
    async with Client(engine.path) as client:
        await client.configure([config(1)], 1, [invitation])
        assert engine.engine.guests.invitations == (invitation,)
        await client.configure([config(1)], 2)
        assert engine.engine.guests.invitations == ()


async def test_J5_a_bad_invitation_is_refused_with_its_set(engine: Engines) -> None:
    document = Invitation("eth0", ("192.0.2.0/24",), 4, 100_000, 100_000, 3).to_json()
    raw = await Raw.open(engine.path)
    answer = await raw.ask({"op": "invite", "invitation": document})
    assert answer == {"ok": False, "error": "invite: begin a set first"}
    for bad, message in (
        (document | {"most_sessions": 1001}, "most_sessions: 1001 is not from 1 to 1000"),
        (None, "invitation: missing"),
    ):
        await raw.ask({"op": "begin", "generation": 4})
        answer = await raw.ask({"op": "invite", "invitation": bad})
        assert answer == {"ok": False, "error": message}
    raw.close()


async def test_J5_a_session_cannot_be_put_as_unsolicited(engine: Engines) -> None:
    async with Client(engine.path) as client:
        with pytest.raises(ControlError, match="unsolicited: only peers begin such sessions"):
            await client.configure([config(1, unsolicited=True)], 1)
    assert engine.engine.sessions() == ()


async def test_a_session_twice_in_one_set_is_refused(engine: Engines) -> None:
    async with Client(engine.path) as client:
        with pytest.raises(ControlError, match="twice"):
            await client.configure([config(1), config(1, detect_mult=9)], 1)
        await client.configure([config(1)], 2)
        assert len((await client.snapshot()).sessions) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{\n",
        b"[]\n",
        b"\xff\xfe\n",
        b'{"op": 5}\n',
        b'{"op": ["hello"]}\n',
        b'{"op": "dance"}\n',
        b'{"op": "put"}\n',
        b'{"op": "begin"}\n',
        b'{"op": "begin", "generation": -1}\n',
        b'{"op": "begin", "generation": true}\n',
        b'{"op": "page", "from": "x"}\n',
        b'{"op": "history"}\n',
        b'{"op": "history", "from": -1}\n',
        b'{"op": "history", "from": 0, "peer": 7}\n',
        b'{"op": "clear", "peer": []}\n',
        b'{"op": "events", "after": 1}\n',
        b'{"op": "events", "after": null}\n',
        b'{"op": "override"}\n',
        b'{"op": "override", "override": {}}\n',
        b'{"op": "override", "override": {}, "session": {"local": [], "peer": {}}}\n',
        b'{"op": "override", "override": {}, "session": {"local": "a", "peer": "b"}}\n',
        b'{"op": "override", "override": {"x": 1}, "session": {"local": "a", "peer": "b"}}\n',
        b"[" * 5000 + b"\n",
    ],
)
async def test_garbage_is_answered_and_survived(engine: Engines, line: bytes) -> None:
    raw = await Raw.open(engine.path)
    answer = await raw.ask(line)
    assert answer["ok"] is False
    assert answer["error"]
    assert (await raw.ask({"op": "snapshot"}))["ok"], "the connection goes on"
    raw.close()


async def test_a_line_that_is_too_long_ends_the_connection(engine: Engines) -> None:
    raw = await Raw.open(engine.path)
    answer = await raw.ask(b"x" * (LINE_LIMIT + 10) + b"\n")
    assert "longer than" in answer["error"]
    assert await raw.is_closed()
    async with Client(engine.path) as client:
        await client.snapshot()


async def test_another_version_is_refused_with_both_numbers(engine: Engines) -> None:
    raw = await Raw.open(engine.path, hello=False)
    answer = await raw.ask({"op": "hello", "version": VERSION + 1})
    assert str(VERSION) in answer["error"]
    assert str(VERSION + 1) in answer["error"]
    assert await raw.is_closed()


async def test_nothing_works_before_hello(engine: Engines) -> None:
    raw = await Raw.open(engine.path, hello=False)
    assert "hello" in (await raw.ask({"op": "drain"}))["error"]
    assert await raw.is_closed()
    assert not engine.engine.draining


async def test_a_client_that_goes_in_the_middle_of_a_line_is_forgotten(engine: Engines) -> None:
    for _ in range(100):
        raw = await Raw.open(engine.path)
        raw.writer.write(b'{"op": "sna')
        raw.close()
    async with Client(engine.path) as client:
        await client.snapshot()


async def test_connections_leave_nothing_behind_though_the_collector_is_off(
    engine: Engines,
) -> None:
    async def connect(times: int) -> int:
        for _ in range(times):
            async with Client(engine.path) as client:
                await client.snapshot()
        return len(gc.get_objects())

    gc.disable()
    try:
        before = await connect(64)
        assert await connect(320) - before < 2000
    finally:
        gc.enable()


async def test_too_many_connections_are_refused_in_words(engine: Engines) -> None:
    raws = [await Raw.open(engine.path) for _ in range(32)]
    extra = await Raw.open(engine.path, hello=False)
    assert "connections" in (await extra.answer())["error"]
    for raw in (*raws, extra):
        raw.close()

    async def another() -> bool:
        try:
            async with Client(engine.path):
                return True
        except (ControlError, OSError):
            return False

    async with asyncio.timeout(5):
        while not await another():
            await asyncio.sleep(0.01)


async def faults(client: Client) -> tuple[str, ...]:
    return (await client.snapshot()).key_faults


async def test_G6_keys_are_read_by_the_engine_and_never_travel(
    engine: Engines, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"open sesame")
    path.chmod(0o600)
    key = AuthKey(1, AuthType.KEYED_MD5, str(path))
    async with Client(engine.path) as client:
        await client.configure([config(1, auth=AuthConfig((key,), 1)), config(2)], 1)
        (kept, _) = (await client.snapshot()).sessions
    assert kept.config.auth == AuthConfig((key,), 1)
    assert kept.auth_in_use
    (session, _) = engine.engine.sessions()
    assert session.config.auth is not None
    assert session.config.auth.sending.secret == b"open sesame"
    raw = await Raw.open(engine.path)
    for request in ("snapshot", "page", "watch"):
        answer = await raw.ask({"op": request, "from": 0})
        assert answer["ok"]
        assert "sesame" not in json.dumps(answer)
    assert "sesame" not in json.dumps(await raw.answer())
    raw.close()


async def test_a_key_file_that_cannot_be_used_leaves_the_old_keys_in_force(
    engine: Engines, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"one")
    path.chmod(0o600)
    old = AuthConfig((AuthKey(1, AuthType.KEYED_MD5, str(path)),), 1)
    new = AuthConfig((AuthKey(2, AuthType.KEYED_MD5, str(tmp_path / "absent")),), 2)
    async with Client(engine.path) as client:
        await client.configure([config(1, auth=old), config(2, auth=new)], 1)
        assert [s.key for s in (await client.snapshot()).sessions] == [config(1).key]
        await client.configure([config(1, auth=new, detect_mult=9), config(2)], 2)
        snapshot = await client.snapshot()
        assert [s.config for s in snapshot.sessions] == [config(1, auth=old), config(2)]
        (fault,) = snapshot.key_faults
        assert "auth.keys[0].file: " in fault
        await client.configure([config(1, auth=old), config(2)], 3)
        assert await faults(client) == ()


async def test_a_key_file_that_changes_is_taken_without_being_told(
    engine: Engines, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    auth = AuthConfig((AuthKey(1, AuthType.KEYED_MD5, str(path)),), 1)
    following = asyncio.create_task(engine.driver.follow_key_files())
    async with Client(engine.path) as client:
        await client.configure([config(1, auth=auth)], 7)
        assert engine.engine.sessions() == ()
        for secret in (b"one", b"two"):
            fresh = tmp_path / "fresh"
            fresh.write_bytes(secret)
            fresh.chmod(0o600)
            fresh.rename(path)

            def secrets() -> list[bytes]:
                auths = [session.config.auth for session in engine.engine.sessions()]
                return [auth.sending.secret for auth in auths if auth]

            await until(lambda secret=secret: secrets() == [secret])  # type: ignore[misc]
        path.unlink()
        await until(lambda: engine.driver.key_faults != ())
        assert secrets() == [b"two"]
        # A session that leaves the set while its key is missing does not come back with it.
        await client.configure([], 8)
        path.write_bytes(b"three")
        path.chmod(0o600)
        assert (await client.snapshot()).generation == 8
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert engine.engine.sessions() == ()


async def test_drain_answers_when_admin_down_was_sent(engine: Engines) -> None:
    async with Client(engine.path) as client:
        await client.configure([config(1)], 1)
        await client.drain()
        assert (await client.snapshot()).draining
        with pytest.raises(ControlError, match="draining"):
            await client.configure([config(1)], 2)


async def test_an_override_is_laid_over_a_session_and_shown(engine: Engines) -> None:
    async with Client(engine.path) as client:
        await client.configure([config(1), config(2)], 1)
        override = Override(detect_mult=9, admin_down=True)
        await client.override(config(2).key, override)
        first, second = (await client.snapshot()).sessions
        assert (first.override, first.config) == (Override(), config(1))
        assert (second.override, second.config.detect_mult) == (override, 9)
        assert second.state is State.ADMIN_DOWN
        await client.configure([config(1), config(2)], 2)
        assert (await client.snapshot()).sessions[1].state is State.ADMIN_DOWN
        with pytest.raises(ControlError, match=r"there is none 10.0.0.3 -> 10.9.9.9"):
            await client.override(config(3).key, override)


async def test_hold_time_disables_what_was_committed_and_keeps_overrides(tmp_path: Path) -> None:
    async with Engines(tmp_path / "bfd.sock", hold_s=0.05).running() as engine:
        async with Client(engine.path) as client:
            await client.configure([config(1)], 1)
            await client.override(config(1).key, Override(detect_mult=9))
        await until(lambda: not engine.engine.sessions()[0].config.enabled)
        assert engine.engine.committed() == (config(1, enabled=False),)
        assert engine.engine.sessions()[0].config.detect_mult == 9


async def flap(client: Client, times: int, first: int = 1) -> None:
    """Two transitions of session 1 each time."""
    for number in range(times):
        await client.configure([config(1, enabled=False)], first + 2 * number)
        await client.configure([config(1)], first + 2 * number + 1)


async def test_history_is_told_in_order_for_one_peer_or_all(engine: Engines) -> None:
    async with Client(engine.path) as client:
        assert await client.history() == ()
        await client.configure([config(1), config(2)], 1)
        await flap(client, 4)
        await client.configure([config(1), config(2, enabled=False)], 20)
        told = await client.history("10.9.9.9")
        assert await client.history() == told
        assert await client.history("10.9.9.8") == ()
    assert [t.seq for t in told] == list(range(1, 10))
    # Session 2 was removed by the flaps of session 1, which commit it alone.
    assert {t.key for t in told} == {config(1).key, config(2).key}
    assert told[0].new is State.ADMIN_DOWN


async def test_counters_start_from_zero_when_cleared(engine: Engines) -> None:
    async with Client(engine.path) as client:
        await client.configure([config(1)], 1)
        await flap(client, 1)
        engine.engine.discards[0] = 3
        engine.engine.stalls.note(1, 99)
        await client.clear_counters("10.9.9.9")
        snapshot = await client.snapshot()
        assert (snapshot.sessions[0].transitions, snapshot.stalls) == (0, 1)
        await client.clear_counters()
        snapshot = await client.snapshot()
        assert (snapshot.discards, snapshot.stalls, snapshot.longest_stall_us) == ({}, 0, 0)
        with pytest.raises(ControlError, match=r"no session with '10\.9\.9\.8'"):
            await client.clear_counters("10.9.9.8")


async def next_event(events: AsyncIterator[Event]) -> Event:
    async with asyncio.timeout(5):
        return await anext(events)


async def test_events_begin_with_the_sessions_and_go_on_with_transitions(engine: Engines) -> None:
    async with Client(engine.path) as client:
        await client.configure([config(1), config(2)], 1)
        async with contextlib.aclosing(client.events()) as events:
            joined = await next_event(events)
            assert joined == Joined(os.getpid(), 0)
            first = [await next_event(events) for _ in range(2)]
            assert {s.key for s in first if isinstance(s, SessionSnapshot)} == {
                config(1).key,
                config(2).key,
            }
            await client.override(config(1).key, Override(admin_down=True))
            transition = await next_event(events)
            assert isinstance(transition, Transition)
            assert (transition.seq, transition.new) == (1, State.ADMIN_DOWN)


async def test_events_go_on_where_they_ended_and_say_what_is_lost(engine: Engines) -> None:
    async with Client(engine.path) as client:
        await client.configure([config(1)], 1)
        await flap(client, 2)
        async with contextlib.aclosing(client.events(Joined(os.getpid(), 2))) as events:
            assert await next_event(events) == Joined(os.getpid(), 2, resumed=True)
            assert [t.seq for t in [await next_event(events) for _ in range(2)] if t] == [3, 4]
        await flap(client, 600)
        async with contextlib.aclosing(client.events(Joined(os.getpid(), 2))) as events:
            await next_event(events)
            assert await next_event(events) == Lost(1204 - 1024 - 2)
            transition = await next_event(events)
            assert isinstance(transition, Transition)
            assert transition.seq == 1204 - 1024 + 1


async def test_events_of_another_engine_begin_anew(engine: Engines) -> None:
    async with Client(engine.path) as client:
        await client.configure([config(1)], 1)
        async with contextlib.aclosing(client.events(Joined(1, 70))) as events:
            assert await next_event(events) == Joined(os.getpid(), 0, resumed=False)
            assert isinstance(await next_event(events), SessionSnapshot)


@pytest.mark.parametrize("what", ["snapshot", "watch", "events"])
async def test_a_client_that_takes_nothing_holds_up_nobody_and_is_cut_off(
    tmp_path: Path, what: str
) -> None:
    async with Engines(tmp_path / "bfd.sock", patience_s=0.5).running() as engine:
        stuck = await Raw.open(engine.path)
        stuck.transport.pause_reading()
        for _ in range(3000):
            stuck.writer.write(dump({"op": what}))
        async with Client(engine.path) as client:
            rounds = 0
            async with asyncio.timeout(20):
                while len(engine.server._tasks) > 1:
                    await client.configure([config(1, enabled=rounds % 2 == 0)], rounds)
                    rounds += 1
        assert rounds > 1
        stuck.close()


async def next_of(watch: AsyncIterator[SessionSnapshot]) -> SessionSnapshot:
    async with asyncio.timeout(5):
        return await anext(watch)


async def test_watch_shows_all_sessions_and_then_each_change(engine: Engines) -> None:
    async with Client(engine.path) as client:
        await client.configure([config(1), config(2)], 1)
        async with contextlib.aclosing(client.watch()) as watch:
            first = {(await next_of(watch)).key for _ in range(2)}
            assert first == {config(1).key, config(2).key}
            await client.configure([config(1), config(2, enabled=False)], 2)
            changed = await next_of(watch)
            assert (changed.key, changed.state) == (config(2).key, State.ADMIN_DOWN)
            await client.configure([config(2, enabled=False)], 3)
            removed = await next_of(watch)
            assert (removed.key, removed.state) == (config(1).key, State.ADMIN_DOWN)


async def test_a_slow_watcher_holds_up_nobody_and_gets_the_newest_state(engine: Engines) -> None:
    count, rounds = 200, 15
    async with Client(engine.path) as client:
        await client.configure([config(n) for n in range(count)], 1)
        slow = await Raw.open(engine.path)
        await slow.ask({"op": "watch"})
        async with asyncio.timeout(20):
            for number in range(rounds):
                fields = {"enabled": number % 2 == 1, "detect_mult": number + 10}
                await client.configure([config(n, **fields) for n in range(count)], number)
                # Turns enough for one that writes without looking to write it all.
                for _ in range(2 * count):
                    await asyncio.sleep(0)
        lines = 0
        newest: dict[str, int] = {}
        while len(newest) < count or set(newest.values()) != {rounds + 9}:
            session = (await slow.answer())["session"]
            newest[session["config"]["local"]] = session["config"]["detect_mult"]
            lines += 1
        assert lines < count * rounds / 2, "changes were merged while nobody read"
        slow.close()


async def test_watch_ends_with_the_engine(tmp_path: Path) -> None:
    async with Engines(tmp_path / "bfd.sock").running() as engine, Client(engine.path) as client:
        await client.configure([config(1)], 1)
        watch = client.watch()
        await next_of(watch)
        await engine.server.close()
        with pytest.raises(StopAsyncIteration):
            await next_of(watch)
        with pytest.raises(ConnectionError):
            await client.snapshot()
        with pytest.raises(ConnectionError, match="not connected"):
            await client.snapshot()


async def test_a_client_connects_again_after_the_engine_was_away(tmp_path: Path) -> None:
    client = Client(tmp_path / "bfd.sock")
    with pytest.raises(OSError, match="No such file"):
        await client.connect()
    async with Engines(tmp_path / "bfd.sock").running():
        await client.connect()
        await client.configure([config(1)], 1)
    with pytest.raises(ConnectionError):
        await client.snapshot()
    async with Engines(tmp_path / "bfd.sock").running():
        await client.connect()
        assert (await client.snapshot()).sessions == ()
        await client.aclose()


async def test_a_cancelled_request_does_not_leave_its_answer_to_the_next(engine: Engines) -> None:
    async with Client(engine.path) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await client.snapshot()
        with contextlib.suppress(ConnectionError):
            await client.snapshot()
        await client.connect()
        assert (await client.snapshot()).generation == 0


async def test_hold_time_disables_all_sessions_until_an_agent_returns(tmp_path: Path) -> None:
    async with Engines(tmp_path / "bfd.sock", hold_s=0.05).running() as engine:
        async with Client(engine.path) as client:
            await client.configure([config(1), config(2)], 1)
            await asyncio.sleep(0.08)
            assert all(s.config.enabled for s in engine.engine.sessions())
        await until(lambda: not any(s.config.enabled for s in engine.engine.sessions()))
        for session in engine.engine.sessions():
            assert session.state is State.ADMIN_DOWN
            assert session.local_diag is Diagnostic.ADMINISTRATIVELY_DOWN
        async with Client(engine.path) as client:
            await client.snapshot()
            assert not any(s.config.enabled for s in engine.engine.sessions()), "not an agent yet"
            await client.configure([config(1), config(2)], 2)
            assert all(s.state is State.DOWN for s in engine.engine.sessions())


async def test_hold_time_zero_is_for_ever(tmp_path: Path) -> None:
    async with Engines(tmp_path / "bfd.sock", hold_s=0).running() as engine:
        async with Client(engine.path) as client:
            await client.configure([config(1)], 1)
        await asyncio.sleep(0.05)
        assert engine.engine.sessions()[0].config.enabled


async def test_an_agent_that_returns_in_time_changes_nothing(tmp_path: Path) -> None:
    async with Engines(tmp_path / "bfd.sock", hold_s=0.3).running() as engine:
        for generation in range(3):
            async with Client(engine.path) as client:
                await client.configure([config(1)], generation)
        (session,) = engine.engine.sessions()
        assert session.transitions == 0


async def test_the_socket_is_for_its_owner_only_and_goes_with_the_engine(tmp_path: Path) -> None:
    async with Engines(tmp_path / "bfd.sock").running() as engine:
        assert stat.S_IMODE(engine.path.stat().st_mode) == 0o600
    assert not engine.path.exists()


async def test_a_second_engine_is_refused_and_the_first_keeps_its_socket(engine: Engines) -> None:
    with pytest.raises(ControlSocketError, match="another process is using it"):
        await Engines(engine.path).server.start()
    async with Client(engine.path) as client:
        await client.snapshot()


async def test_the_socket_of_a_dead_engine_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "bfd.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with Engines(path).running(), Client(path) as client:
        await client.snapshot()


async def test_a_file_in_the_place_of_the_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "bfd.sock"
    path.write_text("precious")
    with pytest.raises(ControlSocketError, match="something else"):
        await Engines(path).server.start()
    assert path.read_text() == "precious"


async def test_a_path_that_is_too_long_or_missing_is_one_clear_line(tmp_path: Path) -> None:
    for path in (tmp_path / ("x" * 120), tmp_path / "missing" / "bfd.sock"):
        with pytest.raises(ControlSocketError, match=r"^control socket "):
            await Engines(path).server.start()


def test_messages_about_one_session_stay_below_4_kb() -> None:
    longest = replace(
        FAST,
        key=SessionKey("fe80:1111:2222:3333:4444:5555:6666:7777", "fd00::1", "a" * 15),
        desired_min_tx_us=4_294_967_000,
        required_min_rx_us=4_294_967_000,
    )
    assert len(dump({"op": "put", "session": config_to_json(longest)})) < 4096
