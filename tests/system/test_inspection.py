"""The inspection commands against a real engine: why, history, events, watch, overrides."""

import asyncio
import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

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

pytestmark = pytest.mark.kernel

A, B = "10.77.0.1", "10.77.0.2"
CONFIG = SessionConfig(SessionKey(A, B), 100_000, 100_000, 3)


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
        return os.environ | {"VEGD_RUNTIME_DIR": str(self.engine.directory)}

    def vegd(self, *arguments: str, status: int = 0) -> str:
        """What a command prints; it must end with this status."""
        done = subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env=self.environment,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def why(self, status: int = 1) -> dict[str, Any]:
        """What ``vegd why --json`` says about the one session."""
        (told,) = json.loads(self.vegd("why", "--json", status=status))
        return dict(told)


@pytest.fixture
async def stage(netns: Callable[[str], str], tmp_path: Path) -> AsyncIterator[Stage]:
    near, far = netns("a"), netns("b")
    net.veth(near, "va", far, "vb", [f"{A}/24"], [f"{B}/24"])
    async with engine_in(near, tmp_path / "a") as engine, Client(engine.path) as client:
        await client.configure([CONFIG], 1)
        yield Stage(engine, client, far)


@pytest.fixture
def peer(stage: Stage) -> Iterator[ScriptedPeer]:
    with contextlib.closing(ScriptedPeer(stage.far, B, A)) as scripted:
        yield scripted


async def up(stage: Stage, peer: ScriptedPeer) -> None:
    peer.bring_up()
    await eventually(stage.client, all_in(State.UP))


async def talk(peer: ScriptedPeer, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        peer.send(State.UP)
        await asyncio.sleep(0.05)


async def test_why_nothing_was_ever_heard(stage: Stage) -> None:
    told = stage.why()
    assert told["now"]["cause"] == "nothing heard"
    assert told["last_down"] is None
    text = stage.vegd("why", B, status=1)
    assert f"it never came up: nothing was heard from {B}" in text


async def test_why_the_peer_fell_silent(stage: Stage, peer: ScriptedPeer) -> None:
    await up(stage, peer)
    await eventually(stage.client, all_in(State.DOWN))
    down = stage.why()["last_down"]
    # A machine that is busy enough may starve the engine in just this moment, and that is said.
    assert down["cause"] in {"peer silent", "we were starved"}
    text = stage.vegd("why", status=1)
    assert "the last packet had arrived" in text
    assert "3 packets missed" in text or "missed" in text


async def test_why_the_peer_said_admin_down(stage: Stage, peer: ScriptedPeer) -> None:
    await up(stage, peer)
    peer.send(State.ADMIN_DOWN, diagnostic=7)
    await eventually(stage.client, all_in(State.DOWN))
    told = stage.why()
    assert told["last_down"]["cause"] == "peer admin down"
    assert "diagnostic 7, administratively down" in told["last_down"]["verdict"]


async def test_why_its_packets_are_refused_for_their_ttl_and_the_advice_helps(
    stage: Stage, peer: ScriptedPeer
) -> None:
    peer.expect(lambda heard: heard.packet.state is State.DOWN)
    peer.send(State.DOWN, ttl=254)
    await eventually(stage.client, lambda s: bool(s.sessions[0].refused))
    told = stage.why()
    assert told["now"]["cause"] == "packets refused"
    assert "TTL 254, minimum 255 (1 packet)" in told["now"]["verdict"]
    assert any(f"vegd sessions set {B} --min-ttl 254" in text for text in told["now"]["advice"])
    stage.vegd("sessions", "set", B, "--min-ttl", "254")
    peer.send(State.DOWN, ttl=254)
    await eventually(stage.client, all_in(State.INIT))


async def test_why_after_an_up_its_packets_came_with_a_lower_ttl(
    stage: Stage, peer: ScriptedPeer
) -> None:
    await up(stage, peer)
    for _ in range(8):
        peer.send(State.UP, ttl=253)
        await asyncio.sleep(0.05)
    await eventually(stage.client, all_in(State.DOWN))
    down = stage.why()["last_down"]
    assert down["cause"] == "packets refused"
    assert "TTL 253, minimum 255" in down["verdict"]


async def test_why_after_an_up_its_packets_named_a_discriminator_that_is_not_ours(
    stage: Stage, peer: ScriptedPeer
) -> None:
    await up(stage, peer)
    for _ in range(8):
        peer.send(State.UP, your_discr=peer.yours ^ 1)
        await asyncio.sleep(0.05)
    await eventually(stage.client, all_in(State.DOWN))
    down = stage.why()["last_down"]
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
    told = stage.why()
    assert told["now"]["cause"] == "packets refused"
    assert "not authenticated, and we ask for it" in told["now"]["verdict"]
    assert any("key id and key must be the same on both ends" in a for a in told["now"]["advice"])


async def test_why_the_peer_does_not_see_us(stage: Stage, peer: ScriptedPeer) -> None:
    for _ in range(3):
        peer.send(State.DOWN)
    await eventually(stage.client, all_in(State.INIT))
    assert stage.why()["now"]["cause"] == "peer does not hear us"


async def test_B21_a_stopped_engine_takes_nothing_down_and_remembers_its_stall(
    stage: Stage, peer: ScriptedPeer
) -> None:
    # The peer waits for 50 intervals: that it does not give us up is not the point.
    await stage.client.configure([replace(CONFIG, detect_mult=50)], 2)
    await up(stage, peer)
    await talk(peer, 0.3)
    before = (await stage.client.snapshot()).sessions[0].transitions
    stage.engine.signal(signal.SIGSTOP)
    await talk(peer, 0.4)
    stage.engine.signal(signal.SIGCONT)
    await talk(peer, 0.2)
    snapshot = await stage.client.snapshot()
    assert (snapshot.sessions[0].state, snapshot.sessions[0].transitions) == (State.UP, before)
    assert snapshot.stalls >= 1
    assert snapshot.longest_stall_us >= 200_000
    peer.send(State.DOWN, diagnostic=1)
    await eventually(stage.client, all_in(State.DOWN))
    (down,) = [each for each in await stage.client.history() if each.ended_up]
    # The peer waits 5 s for us, so the stall lies in the time that matters.
    assert down.process.window_us >= 500_000
    assert down.process.late_us >= 200_000
    assert down.process.stalls >= 1


async def test_why_we_were_stopped_for_longer_than_the_peer_waits(
    stage: Stage, peer: ScriptedPeer
) -> None:
    await up(stage, peer)
    await talk(peer, 0.3)
    stage.engine.signal(signal.SIGSTOP)
    await talk(peer, 0.5)
    peer.send(State.DOWN, diagnostic=1)
    stage.engine.signal(signal.SIGCONT)
    await eventually(stage.client, lambda s: s.sessions[0].state is not State.UP)
    down = stage.why()["last_down"]
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
    async with asyncio.timeout(20):
        while sum((await stage.client.snapshot()).overflows.values()) == 0:
            peer.send(State.DOWN)
            await asyncio.sleep(0.05)
    snapshot = await stage.client.snapshot()
    assert set(snapshot.overflows) == {"ipv4", "ipv6"}
    assert snapshot.overflows["ipv4"] > 0


async def test_history_shows_and_exports_what_happened(stage: Stage, peer: ScriptedPeer) -> None:
    assert "WHY" in stage.vegd("sessions", "history")
    await up(stage, peer)
    peer.send(State.ADMIN_DOWN, diagnostic=7)
    await eventually(stage.client, all_in(State.DOWN))
    text = stage.vegd("sessions", "history", B)
    assert "the peer said AdminDown" in text
    told = json.loads(stage.vegd("sessions", "--json", "history"))
    assert [(each["old"], each["new"]) for each in told] == [(1, 3), (3, 1)]
    assert [each["seq"] for each in told] == [1, 2]
    assert told[-1]["cause"] == "peer admin down"
    assert told[-1]["session"]["remote_diag"] == 7
    newest = json.loads(stage.vegd("sessions", "history", "--json", "--limit", "1"))
    assert newest == told[-1:]
    assert json.loads(stage.vegd("sessions", "history", "--json", "10.9.9.9")) == []


async def test_counters_are_cleared_and_history_stays(stage: Stage, peer: ScriptedPeer) -> None:
    await up(stage, peer)
    await eventually(stage.client, all_in(State.DOWN))
    stage.vegd("sessions", "clear", "counters", B)
    snapshot = await stage.client.snapshot()
    assert snapshot.sessions[0].transitions == 0
    assert len(await stage.client.history()) == 2
    assert "no session with" in stage.vegd("sessions", "clear", "counters", "10.9.9.9", status=1)
    stage.vegd("sessions", "clear", "counters")


async def test_the_operator_takes_a_session_down_and_lets_it_go(
    stage: Stage, peer: ScriptedPeer
) -> None:
    await up(stage, peer)
    assert "override AdminDown" in stage.vegd("sessions", "admin-down", B)
    heard = peer.expect(lambda h: h.packet.state is State.ADMIN_DOWN)
    assert heard.packet.diagnostic == 7
    await stage.client.configure([CONFIG], 2)
    assert stage.why()["now"]["verdict"] == "we took it down: disabled by the operator"
    assert "AdminDown" in stage.vegd("sessions", "show", B, status=1)
    assert "override none" in stage.vegd("sessions", "admin-up", B)
    await up(stage, peer)


async def test_D2_the_operator_changes_timers_without_a_flap(
    stage: Stage, peer: ScriptedPeer
) -> None:
    await up(stage, peer)
    talking = asyncio.create_task(_answer(peer, 30))
    try:
        before = (await stage.client.snapshot()).sessions[0].transitions
        done = await asyncio.to_thread(
            stage.vegd, "sessions", "set", B, "--min-tx", "200", "--multiplier", "5"
        )
        assert "transmit 200 ms, multiplier 5" in done
        await eventually(stage.client, lambda s: s.sessions[0].tx_interval_us == 200_000)
        table = await asyncio.to_thread(stage.vegd, "sessions")
        assert "override: transmit 200 ms, multiplier 5" in table
        await asyncio.to_thread(stage.vegd, "sessions", "unset", B, "--multiplier")
        await asyncio.to_thread(stage.vegd, "sessions", "unset", B)
        snapshot = await eventually(stage.client, lambda s: s.sessions[0].tx_interval_us == 100_000)
        assert snapshot.sessions[0].config == CONFIG
        assert (snapshot.sessions[0].state, snapshot.sessions[0].transitions) == (State.UP, before)
    finally:
        talking.cancel()


async def _answer(peer: ScriptedPeer, seconds: float) -> None:
    """Be a well-behaved peer: send, and answer polls."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
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
    stage: Stage, arguments: list[str], status: int, message: str
) -> None:
    text = stage.vegd(*arguments, status=status)
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
        async with asyncio.timeout(15):
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
    netns: Callable[[str], str], tmp_path: Path
) -> None:
    near = netns("a")
    async with engine_in(near, tmp_path / "a") as engine, Client(engine.path) as client:
        await client.configure([CONFIG], 1)
        stage = Stage(engine, client, "")
        lines = Lines(stage, "sessions", "events")
        with lines:
            assert (await lines.next())["event"] == "connected"
            assert (await lines.next())["event"] == "session"
            await asyncio.to_thread(stage.vegd, "sessions", "admin-down", B)
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
            assert lines.process.wait(10) == 0


async def test_watch_into_a_pipe_is_lines(stage: Stage) -> None:
    with Lines(stage, "sessions", "watch") as lines:
        assert (await lines.next())["state"] == State.DOWN
        await asyncio.to_thread(stage.vegd, "sessions", "admin-down", B)
        assert (await lines.next())["state"] == State.ADMIN_DOWN


class Terminal:
    """A command on a terminal of 100 by 12."""

    def __init__(self, stage: Stage, *arguments: str) -> None:
        pid, self.fd = pty.fork()
        if pid == 0:
            environment = stage.environment | {"COLUMNS": "100", "LINES": "12", "TERM": "vt100"}
            command = stage.command(*arguments)
            os.execvpe(command[0], command, environment)  # noqa: S606 - no shell is meant
        self.pid = pid
        self.text = ""

    async def see(self, text: str) -> None:
        """Wait until something was written since the last time."""
        deadline = time.monotonic() + 20
        while text not in self.text:
            assert time.monotonic() < deadline, self.text
            if select.select([self.fd], [], [], 0)[0]:
                self.text += os.read(self.fd, 65536).decode()
            await asyncio.sleep(0.01)

    async def settle(self, seconds: float) -> str:
        """What is written within a time."""
        self.text = ""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self.fd], [], [], 0)[0]:
                self.text += os.read(self.fd, 65536).decode()
            await asyncio.sleep(0.01)
        return self.text

    def end(self) -> int:
        """Ctrl-C; the exit status."""
        os.write(self.fd, b"\x03")
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


async def test_watch_on_a_terminal_draws_only_what_has_changed(stage: Stage) -> None:
    terminal = Terminal(stage, "sessions", "watch", "--interval", "0.2")
    await terminal.see("0 of 1 session Up")
    await terminal.see("nothing" if "nothing" in terminal.text else B)
    assert await terminal.settle(1.0) == "", "nothing changes, nothing is sent"
    await asyncio.to_thread(stage.vegd, "sessions", "admin-down", B)
    await terminal.see("AdminDown")
    assert "0 of 1 session Up" not in terminal.text, "that line has not changed"
    stage.engine.signal(signal.SIGKILL)
    await terminal.see("no BFD engine answers")
    assert terminal.end() == 0


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
async def test_peers_are_completed_from_the_running_engine(stage: Stage, shell: str) -> None:
    def complete(*words: str, **extra: str) -> str:
        asked = _SHELLS[shell](("vegd", *words)) | {"_VEGD_COMPLETE": f"complete_{shell}"}
        done = subprocess.run(
            stage.command(),
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env=stage.environment | asked | extra,
        )
        assert done.stderr == ""
        return done.stdout

    assert B in complete("why", "10.")
    assert B not in complete("sessions", "show", "fe")
    assert "admin-down" in complete("sessions", "adm")
    assert "10." not in complete("why", "10.", VEGD_RUNTIME_DIR="/nonexistent")
