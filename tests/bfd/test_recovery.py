"""What survives a restart of the engine, and what is not believed (checklist N1, N2, C5)."""

import asyncio
import contextlib
import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from bfd import journal
from bfd.auth import AuthConfig, AuthKey, AuthType
from bfd.config import SessionConfig, SessionKey
from bfd.dampening import Dampening
from bfd.discriminators import Discriminators
from bfd.engine import Engine
from bfd.fsm import Diagnostic, State
from bfd.hold import HoldTime
from bfd.journal import Head, Identity, JournalRefused
from bfd.keeper import Keeper
from bfd.memory import Memory
from bfd.override import Override
from bfd.recovery import NAME, recover
from bfd.session import Session
from bfd.shared_marks import SharedMarks, file_of, read
from bfd.unsolicited import Invitation
from bfd.variables import Variables
from tests.support.bfd import FAST, KEY, Link

SECOND = 1_000_000
HERE = Identity("boot", "netns", "key")


def text_of(engine: Engine, left_us: int | None = None, identity: Identity = HERE) -> bytes:
    head = Head(
        engine.generation,
        left_us,
        engine.marks.name,
        engine.overrides,
        engine.guests.invitations,
    )
    found = [engine.remembered(session.key) for session in engine.sessions()]
    lines = [journal.session_line(each, 50_000) for each in found if each is not None]
    return journal.compose(journal.head_line(identity, head), lines)


def restart(link: Link, away_us: int, *, deaf: bool = True) -> None:
    """A's engine is killed and comes back, by way of the journal's text; `deaf` loses packets."""
    before = link.a.engine
    text = text_of(before)
    link.a.engine = link._engine(b"a" * 32)
    arrivals = link.hold_back(link.a)
    link.run(away_us)
    if deaf:
        arrivals.clear()
    engine = link.a.engine
    loaded = journal.parse(text, HERE)
    engine.overrides.update(loaded.head.overrides)
    heard_until_us = link.now_us - away_us if not deaf else link.now_us
    for remembered, _ in loaded.sessions:
        link._perform(link.a, engine.restore(remembered, link.now_us, heard_until_us))
    link.let_in(link.a)


@pytest.mark.parametrize("seed", range(20))
def test_N2_a_restart_within_the_detection_time_is_not_seen(seed: int) -> None:
    link = Link(seed)
    link.run(2 * SECOND)
    assert link.states == (State.UP, State.UP)
    for _ in range(5):
        link.run(link.rng.randrange(SECOND))
        sent, seen = len(link.a.sent), len(link.b.changed)
        restart(link, link.rng.randrange(100_000))
        link.run(SECOND)
        assert link.states == (State.UP, State.UP)
        assert {packet.state for _, packet in link.a.sent[sent:]} == {State.UP}
        assert len(link.b.changed) == seen
        assert link.session(link.a).transitions == 2, "the history goes on"


@pytest.mark.parametrize("seed", range(10))
def test_N2_packets_that_waited_in_the_socket_are_heard_before_silence_is_judged(seed: int) -> None:
    link = Link(seed, replace(FAST, detect_mult=20), replace(FAST, key=KEY_OF_B, detect_mult=2))
    link.run(2 * SECOND)
    # Longer than A's detection time of 200 ms, but B never paused.
    restart(link, 500_000, deaf=False)
    link.run(SECOND)
    assert link.states == (State.UP, State.UP)
    assert not any(change.old is State.UP for _, change in link.a.changed)


KEY_OF_B = SessionKey(KEY.peer, KEY.local)


@pytest.mark.parametrize("seed", range(10))
def test_N2_after_the_detection_time_it_starts_down_with_the_same_discriminator(seed: int) -> None:
    link = Link(seed)
    link.run(2 * SECOND)
    discr = link.session(link.a).local_discr
    sent = len(link.a.sent)
    restart(link, 350_000)
    first = link.a.sent[sent][1]
    assert (first.state, first.my_discr, first.your_discr) == (State.DOWN, discr, 0)
    assert first.diagnostic == Diagnostic.CONTROL_DETECTION_TIME_EXPIRED
    link.run(3 * SECOND)
    assert link.states == (State.UP, State.UP)
    assert link.session(link.a).local_discr == discr


@pytest.mark.parametrize("heard_ms_ago", [0, 100, 299])
def test_N2_a_resumed_up_is_confirmed_in_what_is_left_of_the_detection_time(
    heard_ms_ago: int,
) -> None:
    link = Link(1)
    link.run(2 * SECOND)
    link.weather["B"] = replace(link.weather["B"], loss=1.0)
    heard_us = link.session(link.a).heard_us
    assert heard_us is not None
    link.run(heard_us + heard_ms_ago * 1000 - link.now_us)
    restart(link, 0)
    link.run(heard_us + 300_000 - 1 - link.now_us)
    assert link.states[0] is State.UP
    link.run(1)
    assert link.states[0] is State.DOWN
    assert link.session(link.a).local_diag is Diagnostic.CONTROL_DETECTION_TIME_EXPIRED


@pytest.mark.parametrize("seed", range(5))
def test_D2_a_poll_that_was_running_is_finished_by_the_successor(seed: int) -> None:
    link = Link(seed)
    link.run(2 * SECOND)
    link.put(link.a, replace(FAST, desired_min_tx_us=200_000, required_min_rx_us=50_000))
    restart(link, 20_000)
    link.run(SECOND)
    session = link.session(link.a)
    assert (session.tx_interval_us, session.detection_time_us) == (200_000, 300_000)
    assert not session.negotiation.is_asking
    assert link.states == (State.UP, State.UP)


def test_C5_the_state_of_a_session_that_is_not_up_is_kept_as_well() -> None:
    link = Link(3, FAST, replace(FAST, key=KEY_OF_B, enabled=False))
    link.run(3 * SECOND)
    before = link.session(link.a)
    assert (before.state, before.remote_state) == (State.DOWN, State.ADMIN_DOWN)
    restart(link, 100_000)
    after = link.session(link.a)
    assert (after.remote_state, after.remote_discr) == (State.ADMIN_DOWN, before.remote_discr)


def override(link: Link, what: Override) -> None:
    effect = link.a.engine.override(KEY, what, link.now_us)
    assert effect is not None
    link._perform(link.a, effect)


def test_a_session_held_down_by_the_operator_stays_so_and_nobody_forgets_the_configuration() -> (
    None
):
    link = Link(4)
    link.run(2 * SECOND)
    override(link, Override(admin_down=True))
    restart(link, 50_000)
    assert link.states[0] is State.ADMIN_DOWN
    assert link.a.engine.committed() == (FAST,)
    override(link, Override())
    link.run(5 * SECOND)
    assert link.states == (State.UP, State.UP)


def test_N1_a_number_that_came_of_a_collision_is_the_same_again() -> None:
    engine = Engine(Discriminators(bytes(32)), random.random, lambda _: "eth0")
    wanted = Discriminators(bytes(32)).allocate(KEY)
    engine._discriminators.claim(wanted)
    session = engine.put(FAST, 0).session
    assert session.local_discr != wanted
    later = Engine(Discriminators(bytes(32)), random.random, lambda _: "eth0")
    ((remembered, port),) = journal.parse(text_of(engine), HERE).sessions
    assert later.restore(remembered, 0, 0).session.local_discr == session.local_discr
    assert port == 50_000
    with pytest.raises(ValueError, match="twice"):
        later.restore(remembered, 0, 0)


@pytest.mark.parametrize("seed", range(20))
def test_N2_nothing_of_what_is_remembered_is_lost_on_the_way(seed: int) -> None:
    rng = random.Random(seed)
    key = AuthKey(1, AuthType.METICULOUS_KEYED_SHA1, "/key", b"secret")
    config = replace(
        FAST,
        back_off=4,
        auth=AuthConfig((key,), 1) if seed % 2 else None,
        dampening=Dampening(2, 60 * SECOND, SECOND, 8 * SECOND),
    )
    link = Link(seed, config)
    for _ in range(10):
        link.weather["A"] = link.weather["B"] = replace(link.weather["A"], loss=rng.random() * 0.5)
        link.run(rng.randrange(2 * SECOND))
    session = link.session(link.a)
    memory = session.memory()
    assert Memory.from_json(json.loads(json.dumps(memory.to_json()))) == memory
    successor = Session(config, session.local_discr, rng.random, link.now_us)
    successor.resume(memory, link.now_us, -1)
    assert successor.memory() == memory
    assert successor.detection_time_us == session.detection_time_us
    assert successor.tx_interval_us == session.tx_interval_us


def test_N2_every_variable_of_a_session_is_remembered_or_follows_from_those() -> None:
    follows = {
        *("_body", "_body_sent", "_detection_due_us", "_draw", "_kept", "_pace"),
        *(
            "_periodic",
            "_planned_us",
            "_sent_us",
            "steady",
            "steady_wire",
            "_transmit_due_us",
            "authentication",
        ),
        *("config", "detection_time_us", "due_us", "is_news", "key", "local_discr", "mark"),
        *("negotiation", "queued_us", "retire_us", "tx_interval_us"),
    }
    counters = {"discards", "send_errors", "losses"}
    remembered = {each.name for each in fields(Memory)}
    assert set(Variables.__slots__) - remembered == follows | counters


# What is not believed ---------------------------------------------------------------------------


@pytest.fixture
def engine() -> Engine:
    made = Engine(Discriminators(bytes(32)), random.random, lambda _: "eth0")
    made.put(FAST, SECOND)
    made.put(replace(FAST, key=SessionKey("192.0.2.1", "192.0.2.9", multihop=True)), SECOND)
    made.generation = 7
    return made


def test_a_journal_is_read_as_it_was_written(engine: Engine) -> None:
    engine.override(KEY, Override(min_ttl=254), SECOND)
    engine.invite((Invitation("eth0", ("192.0.2.0/24",), 3, 300_000, 300_000, 3),), SECOND)
    read_back = journal.parse(text_of(engine, 5), HERE)
    assert read_back.head == Head(7, 5, 0, {KEY: Override(min_ttl=254)}, engine.guests.invitations)
    assert [each for each, _ in read_back.sessions] == [
        engine.remembered(session.key) for session in engine.sessions()
    ]


def test_a_journal_cut_anywhere_is_refused(engine: Engine) -> None:
    whole = text_of(engine)
    for end in range(len(whole)):
        with pytest.raises(JournalRefused, match="damaged"):
            journal.parse(whole[:end] if end != len(whole) - 1 else whole[1:], HERE)


def test_a_journal_with_a_changed_byte_is_refused(engine: Engine) -> None:
    whole = text_of(engine)
    rng = random.Random(1)
    for _ in range(200):
        changed = bytearray(whole)
        changed[rng.randrange(len(whole) - 1)] ^= 1 << rng.randrange(8)
        with pytest.raises(JournalRefused):
            journal.parse(bytes(changed), HERE)


@pytest.mark.parametrize(
    ("identity", "why"),
    [
        (replace(HERE, boot="other"), "another boot"),
        (replace(HERE, netns="other"), "another network namespace"),
        (replace(HERE, key="other"), "another discriminator key"),
    ],
)
def test_a_foreign_journal_is_refused(engine: Engine, identity: Identity, why: str) -> None:
    with pytest.raises(JournalRefused, match=why):
        journal.parse(text_of(engine, identity=identity), HERE)


def rewritten(text: bytes, change: Callable[[list[dict]], object]) -> bytes:  # type: ignore[type-arg]
    """The journal with changed contents, and a digest that fits."""
    documents = [json.loads(line) for line in text.splitlines()[:-1]]
    change(documents)
    first, *lines = [json.dumps(each).encode() + b"\n" for each in documents]
    return journal.compose(first, lines)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: d[0].update(version=99), "has version 99, this engine reads 1"),
        (lambda d: d[0].pop("generation"), "KeyError: 'generation'"),
        (lambda d: d[1]["memory"].update(state=9), "9 is not a valid State"),
        (lambda d: d[1]["memory"].update(sent_us="now"), "sent_us: 'now'"),
        (lambda d: d[1]["memory"].update(colour=1), "not understood"),
        (lambda d: d[1]["config"].update(detect_mult=0), "detect_mult: 0"),
        (lambda d: d.__setitem__(1, []), "not understood"),
        (lambda d: d.append(d[1]), "twice"),
        (lambda d: d[1].update(discr=0), "discriminator"),
    ],
)
def test_a_journal_of_another_version_or_without_sense_is_refused(
    engine: Engine,
    change: Callable[[list[dict]], object],  # type: ignore[type-arg]
    why: str,
) -> None:
    with pytest.raises(JournalRefused, match=why):
        journal.parse(rewritten(text_of(engine), change), HERE)


def test_a_file_of_the_wrong_kind_or_owner_is_refused(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / NAME
    assert journal.load(path, HERE) is None
    path.write_bytes(text_of(engine))
    path.chmod(0o600)
    assert journal.load(path, HERE) is not None
    path.chmod(0o666)
    with pytest.raises(JournalRefused, match="others may write"):
        journal.load(path, HERE)
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, 12345, 0)
        with pytest.raises(JournalRefused, match="user 12345"):
            journal.load(path, HERE)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JournalRefused, match="cannot be opened"):
        journal.load(path, HERE)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(JournalRefused, match="not a plain file"):
        journal.load(path, HERE)


# Hold time --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left_s", "hold_s", "trusted"), [(10, 300, True), (310, 300, False), (9e6, 0, True)]
)
def test_the_hold_time_counts_while_no_engine_runs(
    engine: Engine, tmp_path: Path, left_s: float, hold_s: float, trusted: bool
) -> None:
    now_us = 10**13
    path = tmp_path / NAME
    path.write_bytes(text_of(engine, now_us - round(left_s * 1e6)))
    path.chmod(0o600)
    if trusted:
        found = recover(tmp_path, HERE, hold_s, now_us)
        assert found is not None
        assert found.head.agent_left_us == now_us - round(left_s * 1e6)
    else:
        with pytest.raises(JournalRefused, match="no agent was there for 310 s"):
            recover(tmp_path, HERE, hold_s, now_us)


async def test_a_hold_time_that_has_begun_earlier_ends_earlier() -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    async def end() -> None:
        ended.set()

    hold = HoldTime(1000, end, lambda: None)
    task = asyncio.create_task(hold.keep())
    await asyncio.sleep(0)
    hold.went_at(round((loop.time() - 999.95) * 1_000_000))
    async with asyncio.timeout(5):
        await ended.wait()
    task.cancel()


# On disk ----------------------------------------------------------------------------------------


async def written(path: Path, condition: Callable[[journal.Journal | None], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition(journal.load(path, HERE)):
            await asyncio.sleep(0.002)


async def test_every_change_reaches_the_disk_and_a_drain_leaves_nothing(
    engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / NAME
    keeper = Keeper(path, HERE, engine, lambda: Head(engine.generation, None, 0, {}), lambda _: 1)
    keeper.wake()
    await written(path, lambda j: j is not None and len(j.sessions) == 2)
    engine.remove(KEY, SECOND, "test")
    keeper.wake()
    await written(path, lambda j: j is not None and len(j.sessions) == 1)
    for n in range(100):
        config = SessionConfig(SessionKey(f"10.0.0.{n + 1}", "10.9.9.9"))
        engine.put(config, SECOND)
        keeper.wake()
    await written(path, lambda j: j is not None and len(j.sessions) == 101)
    assert path.stat().st_mode & 0o777 == 0o600
    engine.drain(2 * SECOND)
    keeper.wake()
    await written(path, lambda j: j is None)
    keeper.close()
    assert not list(tmp_path.iterdir())


async def test_a_disk_that_refuses_is_told_once_and_tried_again(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "later"
    keeper = Keeper(directory / NAME, HERE, engine, lambda: Head(0, None, 0, {}), lambda _: 1)
    async with asyncio.timeout(10):
        while not caplog.records:
            keeper.wake()
            await asyncio.sleep(0.002)
    keeper.wake()
    await asyncio.sleep(0.02)
    assert [r.levelname for r in caplog.records] == ["ERROR"]
    assert "No such file or directory" in caplog.text
    directory.mkdir()
    keeper.wake()
    await written(directory / NAME, lambda j: j is not None)
    keeper.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two pages."""
    directory = tmp_path / "disk"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "small", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def remount(directory: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", directory], check=True)


async def keep(engine: Engine, path: Path) -> Keeper:
    """A keeper that has written its journal once."""
    keeper = Keeper(
        path, HERE, engine, lambda: Head(1, None, engine.marks.name, {}), lambda _: 50_000
    )
    keeper.wake()
    await written(path, lambda j: j is not None and len(j.sessions) == 2)
    return keeper


async def eventually_told(caplog: pytest.LogCaptureFixture, text: str) -> None:
    async with asyncio.timeout(10):
        while text not in caplog.text:
            await asyncio.sleep(0.002)


async def test_a_full_disk_keeps_no_journal_of_before(
    engine: Engine, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = small_disk / NAME
    keeper = await keep(engine, path)
    for n in range(100):
        engine.put(SessionConfig(SessionKey(f"10.0.0.{n + 1}", "10.9.9.9")), SECOND)
    keeper.wake()
    await eventually_told(caplog, "No space left on device")
    assert journal.load(path, HERE) is None
    for n in range(100):
        engine.remove(SessionKey(f"10.0.0.{n + 1}", "10.9.9.9"), SECOND, "test")
    keeper.wake()
    await written(path, lambda j: j is not None and len(j.sessions) == 2)
    keeper.close()


async def test_marks_do_not_go_with_a_journal_that_a_read_only_disk_keeps(
    engine: Engine, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.closing(SharedMarks(small_disk)) as engine.marks:
        path = small_disk / NAME
        keeper = await keep(engine, path)
        before = engine.marks.name
        assert read(small_disk, before) is not None
        remount(small_disk, "ro")
        keeper.wake()
        await eventually_told(caplog, "Read-only file system")
        found = journal.load(path, HERE)
        assert found is not None
        assert found.head.marks == before
        assert read(small_disk, before) is None
        remount(small_disk, "rw")
        # The next journal goes with them again.
        keeper.wake()
        await written(path, lambda j: j is not None and j.head.marks == engine.marks.name)
        keeper.close()


async def test_marks_do_not_go_with_a_journal_that_a_silent_disk_keeps(
    engine: Engine, tmp_path: Path
) -> None:
    with contextlib.closing(SharedMarks(tmp_path)) as engine.marks:
        path = tmp_path / NAME
        keeper = await keep(engine, path)
        before = engine.marks.name
        # Opening a pipe that nobody reads takes as long as a disk that does not answer.
        silent = path.with_name(f"{NAME}.new")
        os.mkfifo(silent)
        async with asyncio.timeout(10):
            while engine.marks.name == before:
                keeper.wake()
                await asyncio.sleep(0.02)
        assert read(tmp_path, before) is None
        os.close(os.open(silent, os.O_RDONLY | os.O_NONBLOCK))
        keeper.close()


def test_marks_outlive_the_process_under_their_name_only(engine: Engine, tmp_path: Path) -> None:
    marks = SharedMarks(tmp_path)
    try:
        for discr in range(1, 600):
            marks.values[marks.take(discr)] = discr * 10
        first = marks.take(700)
        marks.give_back(first)
        assert marks.take(701) == first
        marks.awake(5)
        found = read(tmp_path, marks.name)
        assert found is not None
        assert found.awake_us == 5
        noted = {discr: mark.heard_us for discr, mark in found.by_discr.items()}
        assert noted == {d: d * 10 for d in range(1, 600)} | {701: 0}
        assert read(tmp_path, marks.name + 1) is None
        assert file_of(tmp_path).stat().st_mode & 0o777 == 0o600
    finally:
        marks.close()
    assert read(tmp_path, marks.name) is None
