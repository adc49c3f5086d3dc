"""The inspection commands against a real engine: why, history, events, watch, overrides."""

import asyncio
import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest
import pytest_asyncio

from bfd.auth import AuthConfig, AuthKey, AuthType
from bfd.client import Client
from bfd.config import SessionConfig, SessionKey
from bfd.fsm import State
from tests.support import netns as net
from tests.support.bfd_process import (
    EngineProcess,
    ScriptedPeer,
    all_in,
    engine_in,
    eventually,
    socket_in,
)
from tests.support.command import run_within
from tests.support.netns import NamespaceFactory

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="module"),
]

A, B = "10.77.0.1", "10.77.0.2"
PATIENT = 50
CONFIG = SessionConfig(SessionKey(A, B), 100_000, 100_000, PATIENT)
"""Both ends wait 5 s for each other, so that no pause of a busy machine takes a session down."""


class Stage:
    """An engine with one session at A, and the namespace of its peer B."""

    def __init__(self, engine: EngineProcess, client: Client, far: str) -> None:
        self.engine = engine
        self.client = client
        self.far = far

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "vegd", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | self._directory

    @property
    def _directory(self) -> dict[str, str]:
        return {"VEGD_RUNTIME_DIR": str(self.engine.directory)}

    async def vegd(self, *arguments: str, status: int = 0, **environment: str) -> str:
        """What a command prints, run within this process; it must end with this status."""
        printed, ended = await asyncio.to_thread(
            run_within, arguments, self._directory | environment
        )
        assert ended == status, printed
        return printed

    async def why(self, status: int = 1) -> dict[str, Any]:
        """What ``vegd why --json`` says about the one session."""
        (told,) = json.loads(await self.vegd("why", "--json", status=status))
        return dict(told)


@pytest.fixture(scope="module")
def wire() -> Iterator[tuple[str, str]]:
    """Two namespaces with A and B; every test has an engine of its own in the first."""
    with contextlib.closing(NamespaceFactory()) as netns:
        near, far = netns("a"), netns("b")
        net.veth(near, "va", far, "vb", [f"{A}/24"], [f"{B}/24"])
        yield near, far


@pytest.fixture
def peer(wire: tuple[str, str]) -> Iterator[ScriptedPeer]:
    """B, there before the engine, so that it has its first packet."""
    with contextlib.closing(ScriptedPeer(wire[1], B, A, detect_mult=PATIENT)) as scripted:
        yield scripted


@pytest_asyncio.fixture(loop_scope="module")
async def stage(wire: tuple[str, str], peer: ScriptedPeer, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(*wire, tmp_path) as fresh:
        yield fresh


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def idle(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A stage that tests share which change nothing on it."""
    with contextlib.closing(NamespaceFactory()) as netns:
        async with staged(netns("idle"), "", tmp_path_factory.mktemp("idle")) as shared:
            yield shared


@contextlib.asynccontextmanager
async def staged(near: str, far: str, directory: Path) -> AsyncIterator[Stage]:
    async with engine_in(near, directory / "a") as engine, Client(engine.path) as client:
        await client.configure([CONFIG], 1)
        yield Stage(engine, client, far)


async def up(stage: Stage, peer: ScriptedPeer) -> None:
    peer.bring_up()
    await eventually(stage.client, all_in(State.UP))


async def talk(peer: ScriptedPeer, seconds: float, detect_mult: int = PATIENT) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        peer.send(State.UP, detect_mult=detect_mult)
        await asyncio.sleep(0.05)


def last_words(peer: ScriptedPeer) -> None:
    """The last packet that is accepted: a second to send others, then the engine gives up."""
    peer.send(State.UP, detect_mult=10)


async def test_why_nothing_was_ever_heard(stage: Stage) -> None:
    told = await stage.why()
    assert told["now"]["cause"] == "nothing heard"
    assert told["last_down"] is None
    text = await stage.vegd("why", B, status=1)
    assert f"it never came up: nothing was heard from {B}" in text


async def test_why_the_peer_fell_silent(stage: Stage, peer: ScriptedPeer) -> None:
    await up(stage, peer)
    peer.send(State.UP, detect_mult=3)
    await eventually(stage.client, all_in(State.DOWN))
    down = (await stage.why())["last_down"]
    assert down["cause"] == "peer silent"
    text = await stage.vegd("why", status=1)
    assert "the last packet had arrived" in text
    (missed,) = re.findall(r"(\d+) packets missed", text)
    assert int(missed) >= 3


async def test_why_the_peer_said_admin_down(stage: Stage, peer: ScriptedPeer) -> None:
    await up(stage, peer)
    peer.send(State.ADMIN_DOWN, diagnostic=7)
    await eventually(stage.client, all_in(State.DOWN))
    told = await stage.why()
    assert told["last_down"]["cause"] == "peer admin down"
    assert "diagnostic 7, administratively down" in told["last_down"]["verdict"]


async def test_why_its_packets_are_refused_for_their_ttl_and_the_advice_helps(
    stage: Stage, peer: ScriptedPeer
) -> None:
    peer.expect(lambda heard: heard.packet.state is State.DOWN)
    peer.send(State.DOWN, ttl=254)
    await eventually(stage.client, lambda s: bool(s.sessions[0].refused))
    told = await stage.why()
    assert told["now"]["cause"] == "packets refused"
    assert "TTL 254, minimum 255 (1 packet)" in told["now"]["verdict"]
    assert any(f"vegd sessions set {B} --min-ttl 254" in text for text in told["now"]["advice"])
    await stage.vegd("sessions", "set", B, "--min-ttl", "254")
    peer.send(State.DOWN, ttl=254)
    await eventually(stage.client, all_in(State.INIT))


async def test_why_after_an_up_its_packets_came_with_a_lower_ttl(
    stage: Stage, peer: ScriptedPeer
) -> None:
    await up(stage, peer)
    last_words(peer)
    peer.send(State.UP, ttl=253)
    await eventually(stage.client, all_in(State.DOWN))
    down = (await stage.why())["last_down"]
    assert down["cause"] == "packets refused"
    assert "TTL 253, minimum 255" in down["verdict"]


async def test_why_after_an_up_its_packets_named_a_discriminator_that_is_not_ours(
    stage: Stage, peer: ScriptedPeer
) -> None:
    await up(stage, peer)
    last_words(peer)
    peer.send(State.UP, your_discr=peer.yours ^ 1)
    await eventually(stage.client, all_in(State.DOWN))
    down = (await stage.why())["last_down"]
    assert down["cause"] == "packets refused"
    assert "they name a discriminator that is not ours" in down["verdict"]


async def test_why_its_packets_are_refused_for_want_of_authentication(
    stage: Stage, peer: ScriptedPeer, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("open sesame\n")
    key.chmod(0o600)
    auth = AuthConfig((AuthKey(1, AuthType.KEYED_SHA1, str(key)),), send=1)
    await stage.client.configure([replace(CONFIG, auth=auth)], 2)
    peer.send(State.DOWN)
    await eventually(stage.client, lambda s: bool(s.sessions[0].refused))
    told = await stage.why()
    assert told["now"]["cause"] == "packets refused"
    assert "not authenticated, and we ask for it" in told["now"]["verdict"]
    assert any("key id and key must be the same on both ends" in a for a in told["now"]["advice"])


async def test_why_the_peer_does_not_see_us(stage: Stage, peer: ScriptedPeer) -> None:
    for _ in range(3):
        peer.send(State.DOWN)
    await eventually(stage.client, all_in(State.INIT))
    assert (await stage.why())["now"]["cause"] == "peer does not hear us"


async def test_B21_a_stopped_engine_takes_nothing_down_and_remembers_its_stall(
    stage: Stage, peer: ScriptedPeer
) -> None:
    await up(stage, peer)
    await talk(peer, 0.2, detect_mult=10)
    before = (await stage.client.snapshot()).sessions[0].transitions
    # Longer than the second that we wait for the peer, whose packets meanwhile pile up.
    stage.engine.signal(signal.SIGSTOP)
    await talk(peer, 1.5, detect_mult=10)
    stage.engine.signal(signal.SIGCONT)
    peer.send(State.UP)
    snapshot = await eventually(stage.client, lambda s: s.stalls >= 1)
    assert (snapshot.sessions[0].state, snapshot.sessions[0].transitions) == (State.UP, before)
    assert snapshot.longest_stall_us >= 1_000_000
    peer.send(State.DOWN, diagnostic=1)
    await eventually(stage.client, all_in(State.DOWN))
    (down,) = [each for each in await stage.client.history() if each.ended_up]
    # The peer waits 5 s for us, so the stall lies in the time that matters.
    assert down.process.window_us >= 1_500_000
    assert down.process.late_us >= 1_000_000
    assert down.process.stalls >= 1


async def test_why_we_were_stopped_for_longer_than_the_peer_waits(
    stage: Stage, peer: ScriptedPeer
) -> None:
    await stage.client.configure([replace(CONFIG, detect_mult=3)], 2)
    await up(stage, peer)
    await talk(peer, 0.3)
    stage.engine.signal(signal.SIGSTOP)
    await asyncio.sleep(0.5)
    peer.send(State.DOWN, diagnostic=1)
    stage.engine.signal(signal.SIGCONT)
    await eventually(stage.client, lambda s: s.sessions[0].state is not State.UP)
    down = (await stage.why())["last_down"]
    assert down["cause"] == "we were starved", down
    assert "where the peer waits 300 ms" in down["verdict"]


async def test_a_flood_that_overflows_the_receive_buffer_is_counted(
    stage: Stage, peer: ScriptedPeer
) -> None:
    stage.engine.signal(signal.SIGSTOP)
    flood = socket_in(stage.far, socket.AF_INET, socket.SOCK_DGRAM)
    with contextlib.closing(flood):
        flood.connect((A, 3784))
        for _ in range(30_000):
            flood.send(bytes(400))
    stage.engine.signal(signal.SIGCONT)
    # The kernel tells of a loss with the packets that come after it.
    async with asyncio.timeout(30):
        while sum((await stage.client.snapshot()).overflows.values()) == 0:
            peer.send(State.DOWN)
            await asyncio.sleep(0.05)
    snapshot = await stage.client.snapshot()
    assert set(snapshot.overflows) == {"ipv4", "ipv6"}
    assert snapshot.overflows["ipv4"] > 0


async def test_history_shows_and_exports_what_happened(stage: Stage, peer: ScriptedPeer) -> None:
    assert "WHY" in await stage.vegd("sessions", "history")
    await up(stage, peer)
    peer.send(State.ADMIN_DOWN, diagnostic=7)
    await eventually(stage.client, all_in(State.DOWN))
    text = await stage.vegd("sessions", "history", B)
    assert "the peer said AdminDown" in text
    told = json.loads(await stage.vegd("sessions", "--json", "history"))
    assert [(each["old"], each["new"]) for each in told] == [(1, 3), (3, 1)]
    assert [each["seq"] for each in told] == [1, 2]
    assert told[-1]["cause"] == "peer admin down"
    assert told[-1]["session"]["remote_diag"] == 7
    newest = json.loads(await stage.vegd("sessions", "history", "--json", "--limit", "1"))
    assert newest == told[-1:]
    assert json.loads(await stage.vegd("sessions", "history", "--json", "10.9.9.9")) == []


async def test_counters_are_cleared_and_history_stays(stage: Stage, peer: ScriptedPeer) -> None:
    await up(stage, peer)
    peer.send(State.ADMIN_DOWN)
    await eventually(stage.client, all_in(State.DOWN))
    await stage.vegd("sessions", "clear", "counters", B)
    snapshot = await stage.client.snapshot()
    assert snapshot.sessions[0].transitions == 0
    assert len(await stage.client.history()) == 2
    assert "no session with" in await stage.vegd(
        "sessions", "clear", "counters", "10.9.9.9", status=1
    )
    await stage.vegd("sessions", "clear", "counters")


async def test_the_operator_takes_a_session_down_and_lets_it_go(
    stage: Stage, peer: ScriptedPeer
) -> None:
    await up(stage, peer)
    assert "override AdminDown" in await stage.vegd("sessions", "admin-down", B)
    heard = peer.expect(lambda h: h.packet.state is State.ADMIN_DOWN)
    assert heard.packet.diagnostic == 7
    await stage.client.configure([CONFIG], 2)
    assert (await stage.why())["now"]["verdict"] == "we took it down: disabled by the operator"
    assert "AdminDown" in await stage.vegd("sessions", "show", B, status=1)
    assert "override none" in await stage.vegd("sessions", "admin-up", B)
    await up(stage, peer)


async def test_D2_the_operator_changes_timers_without_a_flap(
    stage: Stage, peer: ScriptedPeer
) -> None:
    await up(stage, peer)
    talking = asyncio.create_task(_answer(peer))
    try:
        before = (await stage.client.snapshot()).sessions[0].transitions
        done = await stage.vegd("sessions", "set", B, "--min-tx", "200", "--multiplier", "5")
        assert "transmit 200 ms, multiplier 5" in done
        await eventually(stage.client, lambda s: s.sessions[0].tx_interval_us == 200_000)
        table = await stage.vegd("sessions")
        assert "override: transmit 200 ms, multiplier 5" in table
        await stage.vegd("sessions", "unset", B, "--multiplier")
        await stage.vegd("sessions", "unset", B)
        snapshot = await eventually(stage.client, lambda s: s.sessions[0].tx_interval_us == 100_000)
        assert snapshot.sessions[0].config == CONFIG
        assert (snapshot.sessions[0].state, snapshot.sessions[0].transitions) == (State.UP, before)
    finally:
        talking.cancel()


async def _answer(peer: ScriptedPeer) -> None:
    """Be a well-behaved peer until cancelled: send, and answer polls."""
    while True:
        while (heard := peer.receive(0)) is not None:
            if heard.packet.poll:
                peer.send(State.UP, final=True)
        peer.send(State.UP)
        await asyncio.sleep(0.04)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["sessions", "set", B], 2, "nothing to set"),
        (["sessions", "set", B, "--min-tx", "0"], 2, "desired_min_tx_us: 0 is not a whole number"),
        (["sessions", "set", B, "--min-ttl", "300"], 2, "min_ttl: 300 is not from 1 to 255"),
        (["sessions", "set", "10.9.9.9", "--min-ttl", "3"], 1, "no session with 10.9.9.9"),
        (["sessions", "admin-down", "nonsense"], 2, "'nonsense' is not an IP address"),
        (["why", "10.9.9.9"], 1, "no session with 10.9.9.9"),
    ],
)
async def test_bad_usage_is_one_clear_line(
    idle: Stage, arguments: list[str], status: int, message: str
) -> None:
    text = await idle.vegd(*arguments, status=status)
    assert message in text
    assert "Traceback" not in text


class Lines:
    """The lines that a running command prints, one JSON object each."""

    def __init__(self, stage: Stage, *arguments: str) -> None:
        self.process = subprocess.Popen(
            stage.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=stage.environment,
        )
        assert self.process.stdout is not None
        self._out = self.process.stdout
        os.set_blocking(self._out.fileno(), False)
        self._rest = b""

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(30):
            while b"\n" not in self._rest:
                self._rest += self._out.read() or b""
                await asyncio.sleep(0.01)
        line, _, self._rest = self._rest.partition(b"\n")
        return dict(json.loads(line))

    async def wait_for(self, event: str) -> dict[str, Any]:
        while (line := await self.next())["event"] != event:
            pass
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


async def test_events_are_lines_and_outlive_the_engine(
    wire: tuple[str, str], tmp_path: Path
) -> None:
    near, _ = wire
    async with engine_in(near, tmp_path / "a") as engine, Client(engine.path) as client:
        await client.configure([CONFIG], 1)
        stage = Stage(engine, client, "")
        lines = Lines(stage, "sessions", "events")
        with lines:
            assert (await lines.next())["event"] == "connected"
            assert (await lines.next())["event"] == "session"
            await stage.vegd("sessions", "admin-down", B)
            line = await lines.next()
            assert (line["event"], line["seq"], line["reason"]) == (
                "transition",
                1,
                "disabled by the operator",
            )
            engine.signal(signal.SIGKILL)
            engine.wait()
            assert (await lines.next())["event"] == "disconnected"
            async with engine_in(near, tmp_path / "a"):
                assert (await lines.next())["event"] == "connected"
                gap = await lines.next()
                assert (gap["event"], gap["lost"]) == ("gap", None)
            lines.process.send_signal(signal.SIGINT)
            assert lines.process.wait(30) == 0


async def test_watch_into_a_pipe_is_lines(stage: Stage) -> None:
    with Lines(stage, "sessions", "watch") as lines:
        assert (await lines.next())["state"] == State.DOWN
        await stage.vegd("sessions", "admin-down", B)
        assert (await lines.next())["state"] == State.ADMIN_DOWN


class Terminal:
    """A command on a terminal of 100 by 12."""

    def __init__(self, stage: Stage, *arguments: str) -> None:
        self.fd, far = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *stage.command(*arguments)],
            stdin=far,
            stdout=far,
            stderr=far,
            env=stage.environment | {"COLUMNS": "100", "LINES": "12", "TERM": "vt100"},
        )
        os.close(far)
        self.text = ""

    async def see(self, text: str) -> None:
        """Wait until something was written since the last time."""
        deadline = time.monotonic() + 30
        while text not in self.text:
            assert time.monotonic() < deadline, self.text
            self._read()
            await asyncio.sleep(0.01)

    async def settle(self, seconds: float) -> str:
        """What is written within a time."""
        self.text = ""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._read()
            await asyncio.sleep(0.01)
        return self.text

    def _read(self) -> None:
        if select.select([self.fd], [], [], 0)[0]:
            self.text += os.read(self.fd, 65536).decode()

    def interrupt(self) -> int:
        """Ctrl-C; the exit status."""
        os.write(self.fd, b"\x03")
        return self.process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.fd)


async def test_watch_on_a_terminal_draws_only_what_has_changed(stage: Stage) -> None:
    # An engine that sends once a minute counts no stalls, which would show.
    await stage.client.configure([replace(CONFIG, desired_min_tx_us=60_000_000)], 2)
    with Terminal(stage, "sessions", "watch", "--interval", "0.2") as terminal:
        # A drawing ends with the cursor below it: a head, the titles, one session.
        await terminal.see("\x1b[4;1H")
        assert "0 of 1 session Up" in terminal.text
        assert B in terminal.text
        assert await terminal.settle(1.0) == "", "nothing changes, nothing is sent"
        await stage.vegd("sessions", "admin-down", B)
        await terminal.see("AdminDown")
        assert "0 of 1 session Up" not in terminal.text, "that line has not changed"
        stage.engine.signal(signal.SIGKILL)
        await terminal.see("no BFD engine answers")
        assert terminal.interrupt() == 0


_SHELLS = {
    "bash": lambda words: {
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    },
    "zsh": lambda words: {"_TYPER_COMPLETE_ARGS": " ".join(words)},
    "fish": lambda words: {
        "_TYPER_COMPLETE_ARGS": " ".join(words),
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    },
}


@pytest.mark.parametrize("shell", _SHELLS)
async def test_peers_are_completed_from_the_running_engine(idle: Stage, shell: str) -> None:
    async def complete(*words: str, **extra: str) -> str:
        asked = _SHELLS[shell](("vegd", *words)) | {"_VEGD_COMPLETE": f"complete_{shell}"}
        return await idle.vegd(**(asked | extra))

    # It is silent rather than slow, so a busy machine is asked again.
    async with asyncio.timeout(30):
        while B not in await complete("why", "10."):
            pass
    assert B not in await complete("sessions", "show", "fe")
    assert "admin-down" in await complete("sessions", "adm")
    assert "10." not in await complete("why", "10.", VEGD_RUNTIME_DIR="/nonexistent")
