"""The gateway's status: one value, folded from what the parts last reported. Pure.

The same value is shown by ``vegd status``, decides ``/readyz`` and is what a controller will be
told; the fields are the JSON that the control socket gives.
"""

from enum import StrEnum
from typing import NamedTuple

import msgspec

from bfd.snapshot import EngineSnapshot
from dataplane.kernel import ConntrackUsage
from dataplane.model import GatewayIntent, Side
from dataplane.portuse import ports_available
from vegd.census import Taken
from vegd.control import Convergence, Phase
from vegd.drain import Drain
from vegd.gate import Gate, Gates, words
from vegd.paths import Path
from vegd.sources.file import SpecSnapshot
from vegd.words import state_name

_MOST_PORTS = 16


class GatewayState(StrEnum):
    """The gateway in one word."""

    STARTING = "starting"
    WAITING = "waiting"
    DEGRADED = "degraded"
    READY = "ready"
    DRAINING = "draining"


class SessionLine(msgspec.Struct, frozen=True):
    """One BFD session in short; `vegd sessions` knows more."""

    local: str
    peer: str
    interface: str
    """Empty unless the session is bound to one."""
    multihop: bool
    unsolicited: bool
    """Begun by the peer, without being configured (RFC 9468)."""
    state: str
    reason: str | None


class EngineLine(msgspec.Struct, frozen=True):
    """The BFD engine's process."""

    pid: int
    generation: int
    scheduling: str
    stalls: int


class DrainLine(msgspec.Struct, frozen=True, rename="camel"):
    """A drain that goes on; times in seconds."""

    lasts_s: float
    quiet_s: float
    """Since the last packet that was forwarded."""


class PathLine(msgspec.Struct, frozen=True):
    """The path of one family to the outside, as the probes see it."""

    family: str
    state: str
    """up, failing, down (about to be judged), held (too few siblings are better off), withdrawn."""
    reasons: tuple[str, ...]


class PortsLine(msgspec.Struct, frozen=True):
    """SNAT's ports with one external address, for the protocol that has the fewest left."""

    address: str
    used: int
    """Towards the busiest destination, where they run out first."""
    available: int


class GatewayStatus(msgspec.Struct, frozen=True, rename="camel"):
    """Everything that matters at 3 a.m., in one object."""

    name: str
    state: GatewayState
    reasons: tuple[str, ...]
    """Why it is not ready, or what is not as it should be."""
    notes: tuple[str, ...]
    """Worth knowing, no fault: what a family plan leaves out, warnings of the configuration."""
    config: str
    generation: int
    """Of the specification in force."""
    revision: int | None
    """Of the configuration that was last carried out, in the kernel and by the BFD engine."""
    config_faults: tuple[str, ...]
    """Faults of a newer version of the file, which is therefore not in force."""
    gate: str
    dataplane: str
    dataplane_generation: int
    """The generation that the dataplane was last made for: while it is less than `generation`, a
    change is on its way to the kernel."""
    drain: DrainLine | None
    paths: tuple[PathLine, ...]
    """Empty without probes."""
    engine: EngineLine | None
    sessions: tuple[SessionLine, ...]
    conntrack_entries: int | None
    conntrack_maximum: int | None
    internal_addresses: tuple[str, ...] = ()
    external_addresses: tuple[str, ...] = ()
    ports: tuple[PortsLine, ...] = ()
    """Of the busiest addresses, at most 16."""
    watcher_contact_s: float | None = None
    """How long ago the watcher last heard from the API server; None without one."""

    @property
    def is_ready(self) -> bool:
        """What `/readyz` answers: the dataplane stands and the engine holds its sessions.

        Whether the peers answer does not enter: the router decides by its own BFD whom it uses.
        """
        return self.state is GatewayState.READY


class Parts(NamedTuple):
    """What the status is folded from."""

    snapshot: SpecSnapshot
    convergence: Convergence
    gates: Gates
    engine: EngineSnapshot | None
    engine_reasons: tuple[str, ...]
    """Why the engine is not in step; empty if it is."""
    conntrack: ConntrackUsage | None
    drain: Drain
    paths: tuple[Path, ...]
    revision: int | None
    census: Taken | None
    contact_age_s: float | None


def fold(parts: Parts) -> GatewayStatus:
    """The status."""
    snapshot, convergence, engine = parts.snapshot, parts.convergence, parts.engine
    conntrack, drain = parts.conntrack, parts.drain
    faults = tuple(str(fault) for fault in snapshot.faults)
    down = tuple(f"IPv{path.version} path: {each}" for path in parts.paths for each in path.reasons)
    reasons = convergence.reasons + parts.engine_reasons + down
    if engine is not None:
        # Sessions that go on with the keys of before are no reason not to be ready.
        reasons += tuple(fault for fault in engine.key_faults if fault not in reasons)
    if faults:
        reasons += (_about_faults(snapshot),)
    intent = convergence.intent.dataplane if convergence.intent else None
    return GatewayStatus(
        name=snapshot.spec.name if snapshot.spec else "",
        state=_state(convergence, parts.gates, parts.engine_reasons + down),
        reasons=reasons,
        notes=(convergence.intent.notes if convergence.intent else ())
        + tuple(str(warning) for warning in snapshot.warnings),
        config=str(snapshot.path),
        generation=snapshot.generation,
        revision=parts.revision,
        config_faults=faults,
        gate=words(parts.gates),
        dataplane=convergence.phase.value,
        dataplane_generation=convergence.generation,
        drain=DrainLine(round(drain.lasts_s, 1), round(drain.quiet_s, 1)) if drain.active else None,
        paths=tuple(
            PathLine(f"ipv{path.version}", path.word, path.reasons)
            for path in parts.paths
            if path.streaks
        ),
        engine=_engine(engine),
        sessions=_sessions(engine),
        conntrack_entries=conntrack.entries if conntrack else None,
        conntrack_maximum=conntrack.maximum if conntrack else None,
        internal_addresses=_addresses(intent.internal) if intent else (),
        external_addresses=_addresses(intent.external) if intent else (),
        ports=_ports(parts.census, intent) if intent else (),
        watcher_contact_s=None if parts.contact_age_s is None else round(parts.contact_age_s, 1),
    )


def _about_faults(snapshot: SpecSnapshot) -> str:
    if snapshot.faulty is None:
        return "the configuration file has faults; the last good version is in force"
    return f"{snapshot.faulty} has faults; {snapshot.path} is in force"


def _addresses(side: Side) -> tuple[str, ...]:
    return tuple(str(each.ip) for version in (4, 6) for each in side.own(version))


def _ports(taken: Taken | None, intent: GatewayIntent) -> tuple[PortsLine, ...]:
    found: dict[str, PortsLine] = {}
    for use in taken.census.uses[:_MOST_PORTS] if taken else ():
        available = ports_available(intent, use.address)
        line = PortsLine(str(use.address), use.busiest[0].connections, available)
        before = found.get(line.address)
        if available and (before is None or before.used < line.used):
            found[line.address] = line
    return tuple(sorted(found.values(), key=lambda line: line.address))


def _state(convergence: Convergence, gates: Gates, troubles: tuple[str, ...]) -> GatewayState:
    if Gate.DRAINING in gates.values():
        return GatewayState.DRAINING
    match convergence.phase:
        case Phase.STARTING:
            return GatewayState.STARTING
        case Phase.WAITING:
            return GatewayState.WAITING
        case Phase.FAILED:
            return GatewayState.DEGRADED
        case Phase.CONVERGED:
            return GatewayState.DEGRADED if troubles else GatewayState.READY


def _engine(engine: EngineSnapshot | None) -> EngineLine | None:
    if engine is None:
        return None
    return EngineLine(engine.pid, engine.generation, engine.scheduling, engine.stalls)


def _sessions(engine: EngineSnapshot | None) -> tuple[SessionLine, ...]:
    return tuple(
        SessionLine(
            *each.key,
            each.config.unsolicited,
            state_name(each.state),
            each.last_change.reason if each.last_change else None,
        )
        for each in (engine.sessions if engine else ())
    )
