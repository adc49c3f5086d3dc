"""Decoders that others have written agree with our codec on what passes in real sessions."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bfd.auth import AuthConfig, AuthKey, AuthType
from bfd.client import Client
from bfd.config import SessionConfig, SessionKey
from bfd.fsm import State
from bfd.packet import ControlPacket
from tests.support import netns as net
from tests.support.bfd_process import all_in, engine_in, eventually
from tests.support.capture import capturing
from tests.support.decoders import by_scapy, by_tshark, by_us, require_tshark
from tests.support.peers import start_peer, why_missing
from vegd.capture.frames import frames_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

PAIRS = [(f"10.87.0.{n}", f"10.87.0.{100 + n}") for n in range(1, 7)]
PAIRS.append(("fd87::1", "fd87::101"))
PLAIN = [SessionConfig(SessionKey(*pair), 50_000, 50_000) for pair in (PAIRS[0], PAIRS[-1])]


def authenticated(directory: Path) -> list[SessionConfig]:
    """Plain sessions, and one of each type of authentication."""
    sessions = list(PLAIN)
    for pair, kind in zip(PAIRS[1:6], AuthType, strict=True):
        file = directory / f"key-{kind.label}"
        file.write_text("open sesame\n")
        file.chmod(0o600)
        auth = AuthConfig((AuthKey(kind.value, kind, str(file)),), kind.value)
        sessions.append(SessionConfig(SessionKey(*pair), 50_000, 50_000, auth=auth))
    return sessions


@contextlib.asynccontextmanager
async def other_side(
    kind: str, ns: str, directory: Path, sessions: list[SessionConfig]
) -> AsyncIterator[None]:
    mirrored = {c.key.peer: c.key.local for c in sessions}
    if kind == "engine":
        async with engine_in(ns, directory) as engine, Client(engine.path) as client:
            turned = [replace(c, key=SessionKey(c.key.peer, c.key.local)) for c in sessions]
            await client.configure(turned, 1)
            yield
    else:
        with contextlib.closing(start_peer(kind, ns, directory, mirrored, 50)):
            yield


@pytest.mark.parametrize("kind", ["engine", "frr", "bird"])
async def test_A1_A5_A6_scapy_and_tshark_agree_on_every_packet_of_a_session(
    kind: str, netns: Callable[[str], str], tmp_path: Path
) -> None:
    require_tshark()
    if kind != "engine" and (reason := why_missing(kind)) is not None:
        pytest.skip(reason)
    here, there = netns("here"), netns("there")
    net.veth(
        *(here, "ve", there, "vp"),
        addresses_a=[f"{a}/{64 if ':' in a else 24}" for a, _ in PAIRS],
        addresses_b=[f"{b}/{64 if ':' in b else 24}" for _, b in PAIRS],
    )
    sessions = authenticated(tmp_path) if kind == "engine" else PLAIN
    file = tmp_path / "seen.pcap"
    async with engine_in(here, tmp_path / "ours") as engine, Client(engine.path) as client:
        await client.configure(sessions, 1)
        with capturing(here, lambda: None, "ve", "--write", str(file)) as capture:
            async with other_side(kind, there, tmp_path / "theirs", sessions):
                await eventually(client, all_in(State.UP), 20)
                await eventually(client, lambda s: all(x.rx_packets >= 20 for x in s.sessions))
            await eventually(client, all_in(State.DOWN), 20)
            await asyncio.to_thread(capture.end, signal.SIGINT)
    compare(file, expected=40 * len(sessions))


def compare(file: Path, expected: int) -> None:
    """All three decoders read all packets of a file alike."""
    ours, scapys = [], []
    for _, seen in frames_of(file):
        assert isinstance(seen.packet, ControlPacket)
        ours.append(by_us(seen.packet))
        scapys.append(by_scapy(seen.data))
    assert len(ours) >= expected
    assert {told["state"] for told in ours} >= {State.DOWN, State.UP}
    assert scapys == ours
    assert by_tshark(file) == ours
