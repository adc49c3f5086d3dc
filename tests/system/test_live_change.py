"""Every parameter of a session: changed while it is Up, and from the configuration to the wire."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bfd.auth import AuthConfig, AuthKey, AuthType, Transition
from bfd.client import Client
from bfd.config import SessionConfig, SessionKey
from bfd.dampening import Dampening
from bfd.fsm import State
from bfd.override import Override
from bfd.packet import ControlPacket
from bfd.snapshot import EngineSnapshot, SessionSnapshot
from tests.support import netns as net
from tests.support.bfd_process import (
    Capture,
    ScriptedPeer,
    all_in,
    engine_in,
    eventually,
)
from tests.support.daemon import Site, build
from tests.support.daemon import eventually as site_eventually

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

OURS, THEIRS = "10.88.0.1", "10.88.0.2"
# Ten intervals: longer than any pause of a busy machine, so that a flap is a fault of the change.
CONFIG = SessionConfig(SessionKey(OURS, THEIRS), 100_000, 100_000, 10)
PEER = replace(CONFIG, key=SessionKey(THEIRS, OURS))

NOT_WHILE_UP = {
    "key": "another key is another session",
    "enabled": "takes the session to AdminDown, and says so",
    "disabled_diag": "is said only in AdminDown",
    "unsolicited": "is not configured, but comes with an invitation",
}


# Between two engines -----------------------------------------------------------------------------


class Pair(NamedTuple):
    """An engine at each end of a link, Up, and what the peer receives."""

    client: Client
    peer: Client
    wire: Capture


@pytest.fixture
async def pair(netns: Callable[[str], str], tmp_path: Path) -> AsyncIterator[Pair]:
    near, far = netns("near"), netns("far")
    net.veth(near, "va", far, "vb", [f"{OURS}/24"], [f"{THEIRS}/24"])
    async with (
        engine_in(near, tmp_path / "near") as ours,
        engine_in(far, tmp_path / "far") as theirs,
        Client(ours.path) as client,
        Client(theirs.path) as peer,
    ):
        with contextlib.closing(Capture(far, "vb")) as wire:
            await client.configure([CONFIG], 1)
            await peer.configure([PEER], 1)
            for each in (client, peer):
                await eventually(each, all_in(State.UP))
                await eventually(each, _is_settled)
            yield Pair(client, peer, wire)


def _is_settled(snapshot: EngineSnapshot) -> bool:
    return not snapshot.sessions[0].polling


async def _settled(client: Client) -> SessionSnapshot:
    """The session, after its Poll Sequence."""
    return (await eventually(client, _is_settled)).sessions[0]


async def _changes_live(pair: Pair, change: Callable[[], Any], wanted: SessionConfig) -> None:
    """Carry out a change, and see that both ends take it without leaving Up."""
    ends = (pair.client, pair.peer)
    before = [await _settled(each) for each in ends]
    pair.wire.packets()
    await change()
    session = await _settled(pair.client)
    assert replace(session.config, auth=wanted.auth) == wanted
    assert session.tx_interval_us == max(wanted.desired_min_tx_us, 100_000)
    heard = session.rx_packets
    await eventually(pair.client, lambda s: s.sessions[0].rx_packets >= heard + 3)
    told = (
        await eventually(
            pair.peer, lambda s: s.sessions[0].remote_detect_mult == wanted.detect_mult
        )
    ).sessions[0]
    assert told.remote_desired_min_tx_us == wanted.desired_min_tx_us
    assert told.remote_min_rx_us == wanted.required_min_rx_us
    seen = [each.packet for each in pair.wire.packets() if each.source == OURS]
    assert {packet.state for packet in seen} == {State.UP}
    assert [(await _settled(each)).transitions for each in ends] == [x.transitions for x in before]
    old = before[0].config
    # RFC 5880 §6.8.3: whatever changes either of the timers is polled for.
    assert any(packet.poll for packet in seen) is (
        old.desired_min_tx_us != wanted.desired_min_tx_us
        or old.required_min_rx_us != wanted.required_min_rx_us
    )


VALUES: dict[str, list[Any]] = {
    "desired_min_tx_us": [400_000, 20_000],
    "required_min_rx_us": [400_000, 20_000],
    "detect_mult": [20, 7],
    "min_ttl": [1, 254],
    "passive": [True],
    "back_off": [16],
    "dampening": [Dampening(2, 10_000_000, 5_000_000, 20_000_000)],
    "auth": ["a key"],
}


def test_D2_every_parameter_of_a_session_is_changed_live_or_is_named_with_a_reason() -> None:
    assert {each.name for each in fields(SessionConfig)} == VALUES.keys() | NOT_WHILE_UP.keys()


@pytest.mark.parametrize("name", [name for name in VALUES if name != "auth"])
async def test_D2_D3_D6_a_parameter_changes_without_a_flap_by_a_new_set(
    pair: Pair, name: str
) -> None:
    for generation, value in enumerate((*VALUES[name], getattr(CONFIG, name)), 2):
        wanted = replace(CONFIG, **{name: value})

        async def commit(wanted: SessionConfig = wanted, generation: int = generation) -> None:
            await pair.client.configure([wanted], generation)

        await _changes_live(pair, commit, wanted)


async def test_D2_G7_authentication_comes_and_goes_without_a_flap(
    pair: Pair, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text("a key\n")
    file.chmod(0o600)
    key = AuthKey(5, AuthType.METICULOUS_KEYED_SHA1, str(file))
    enabling = AuthConfig((key,), 5, Transition.ENABLING)
    disabling = AuthConfig((key,), 5, Transition.DISABLING)
    both = (AuthConfig((key,), 5), None)
    steps = itertools.count(2)
    for ready, final in ((enabling, both[0]), (disabling, both[1])):
        # RFC 5880 §6.7.1: first one end is made ready, then the other one changes.
        await _changes_live(
            pair,
            lambda r=ready: pair.client.configure([replace(CONFIG, auth=r)], next(steps)),
            replace(CONFIG, auth=ready),
        )
        await pair.peer.configure([replace(PEER, auth=final)], next(steps))
        used = final is not None
        for each in (pair.client, pair.peer):
            await eventually(each, lambda s, used=used: s.sessions[0].auth_in_use is used)
        await _changes_live(
            pair,
            lambda f=final: pair.client.configure([replace(CONFIG, auth=f)], next(steps)),
            replace(CONFIG, auth=final),
        )


async def test_D2_an_operator_changes_each_parameter_without_a_flap(pair: Pair) -> None:
    for name in (each.name for each in fields(Override) if each.name != "admin_down"):
        for override in (Override(**{name: VALUES[name][0]}), Override()):

            async def lay(override: Override = override) -> None:
                await pair.client.override(CONFIG.key, override)

            await _changes_live(pair, lay, override.apply(CONFIG))


# From the configuration file to the wire ----------------------------------------------------------


@pytest.fixture
def site(netns: Callable[[str], str], tmp_path: Path) -> Iterator[Site]:
    built = build(netns, tmp_path)
    yield built
    built.close()


ROUTER, SECOND, GATEWAY = "10.255.255.255", "192.168.0.1", "192.168.0.2"


@contextlib.contextmanager
def scripted(site: Site, own: str = ROUTER) -> Iterator[ScriptedPeer]:
    with contextlib.closing(ScriptedPeer(site.router, own, GATEWAY)) as peer:
        yield peer


def _session(site: Site, peer: str = ROUTER) -> SessionSnapshot:
    async def ask() -> EngineSnapshot:
        async with Client(site.runtime_dir / "bfd.sock") as client:
            return await client.snapshot()

    return next(each for each in asyncio.run(ask()).sessions if each.key.peer == peer)


def _bfd(site: Site, *peers: dict[str, Any], **values: Any) -> None:
    site.write(bfd={"minTX": 100, "minRX": 100, "peers": list(peers)} | values)


def test_H3_I4_the_minimum_ttl_of_each_peer_holds_on_the_wire(site: Site) -> None:
    _bfd(site, {"address": ROUTER, "minTTL": 253}, {"address": SECOND})
    with site.daemon() as daemon, scripted(site) as far, scripted(site, SECOND) as near:
        daemon.wait_for("ready")
        for peer, ttl in ((near, 254), (far, 252)):
            peer.expect(lambda heard: heard.packet.state is State.DOWN)
            peer.send(State.DOWN, ttl=ttl)
        for address in (ROUTER, SECOND):
            site_eventually(
                lambda address=address: _session(site, address).discards.get("ttl") == 1,
                f"the packet of {address} is refused",
            )
        for peer, ttl in ((near, 255), (far, 253)):
            peer.send(State.DOWN, ttl=ttl)
            peer.expect(lambda heard: heard.packet.state is State.INIT)


def test_D16_E1_a_passive_peer_of_the_configuration_is_not_spoken_to_first(site: Site) -> None:
    _bfd(site, {"address": ROUTER, "passive": True}, {"address": SECOND})
    with site.daemon() as daemon, scripted(site) as passive, scripted(site, SECOND) as active:
        daemon.wait_for("ready")
        for _ in range(3):
            active.expect(lambda heard: heard.packet.state is State.DOWN)
        assert passive.receive(0.1) is None
        assert _session(site).tx_packets == 0
        passive.send(State.DOWN)
        heard = passive.expect(lambda heard: heard.packet.state is State.INIT)
        assert heard.packet.your_discr == passive.discr


def test_F2_a_peer_that_asks_for_demand_mode_is_left_in_peace_and_answered(site: Site) -> None:
    _bfd(site, {"address": ROUTER})
    slow = {"desired_min_tx_us": 1_000_000, "detect_mult": 60}
    with site.daemon() as daemon, scripted(site) as peer:
        daemon.wait_for("ready")
        peer.bring_up()
        peer.send(State.UP, **slow, demand=True)
        deadline = time.monotonic() + 10
        # Ten intervals of silence; what was on its way may still come before.
        while (heard := peer.receive(1.0)) is not None:
            assert time.monotonic() < deadline
            if heard.packet.poll:
                peer.send(State.UP, **slow, demand=True, final=True)
        peer.send(State.UP, **slow, demand=True, poll=True)
        assert peer.expect(lambda heard: heard.packet.final).packet.state is State.UP
        peer.send(State.UP, **slow)
        for _ in range(3):
            peer.expect(lambda heard: not heard.packet.final)


def test_D2_D21_the_common_intervals_go_from_the_file_to_the_wire_by_a_poll_sequence(
    site: Site,
) -> None:
    slow = {"desired_min_tx_us": 1_000_000, "detect_mult": 60}

    def says(ms: int, packet: ControlPacket, *, poll: bool) -> bool:
        both = {packet.desired_min_tx_us, packet.required_min_rx_us}
        return both == {ms * 1000} and packet.poll is poll and not packet.final

    _bfd(site, {"address": ROUTER})
    with site.daemon() as daemon, scripted(site) as peer:
        daemon.wait_for("ready")
        peer.bring_up()
        peer.send(State.UP, **slow, final=True)
        before = _session(site).transitions
        for ms in (50, 10, 1000, 20, 100):
            peer.send(State.UP, **slow)
            _bfd(site, {"address": ROUTER, "minTX": ms, "minRX": ms})
            heard = peer.expect(lambda h, ms=ms: says(ms, h.packet, poll=True), 15)
            assert heard.packet.state is State.UP
            peer.send(State.UP, **slow, final=True)
            peer.expect(lambda h, ms=ms: says(ms, h.packet, poll=False))
        session = _session(site)
        assert (session.state, session.transitions) == (State.UP, before)


def test_D2_D6_every_timer_of_the_configuration_changes_on_reload_without_a_flap(
    site: Site,
) -> None:
    changes: dict[str, tuple[Any, dict[str, Any]]] = {
        "minTX": (70, {"desired_min_tx_us": 70_000}),
        "minRX": (60, {"required_min_rx_us": 60_000}),
        "multiplier": (30, {"detect_mult": 30}),
        "minTTL": (200, {"min_ttl": 200}),
        "passive": (True, {"passive": True}),
        "backOff": (4, {"back_off": 4}),
    }
    base = {"multiplier": 20}
    _bfd(site, {"address": ROUTER}, **base)
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        site.router_engine([(ROUTER, GATEWAY)], interval_ms=300)
        site_eventually(lambda: _session(site).state is State.UP, "Up")
        before = _session(site)

        def is_in_force(values: dict[str, Any]) -> bool:
            session = _session(site)
            return session.config == replace(before.config, **values) and not session.polling

        for field, (value, values) in changes.items():
            _bfd(site, {"address": ROUTER, field: value}, **base)
            site_eventually(lambda values=values: is_in_force(values), f"{field} in force")
        everything = {field: value for field, (value, _) in changes.items()}
        everything["dampening"] = {"flaps": 7, "within": 1, "holdFor": 1, "holdAtMost": 1}
        _bfd(site, {"address": ROUTER}, **everything)
        wanted = {name: value for _, values in changes.values() for name, value in values.items()}
        wanted["dampening"] = Dampening(7, 1_000_000, 1_000_000, 1_000_000)
        site_eventually(lambda: is_in_force(wanted), "all of it in force, given for every peer")
        after = _session(site)
        assert (after.state, after.transitions) == (State.UP, before.transitions)
