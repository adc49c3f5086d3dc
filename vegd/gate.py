"""When the BFD sessions of a family may be Up: from convergence until the drain.

The gate works one way. A gateway that cannot forward must not have sessions, or the router would
send traffic into a hole; whether a session is Up never changes what is forwarded (OVN goes on
sending while a session is Down on our side).
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from enum import StrEnum

from bfd.config import SessionConfig
from bfd.fsm import Diagnostic
from bfd.unsolicited import Invitation
from vegd.control import Convergence, Phase
from vegd.holes import FAMILIES


class Gate(StrEnum):
    """What the engine is to be told about the sessions of a family."""

    UNKNOWN = "unknown"
    """Nothing is known of the dataplane yet: an engine that is running keeps what it has, so that
    the agent can be replaced without a flap."""
    OPEN = "open"
    CANNOT_FORWARD = "cannot forward"
    PATH_DOWN = "path down"
    """The probes say that the world behind the gateway is out of reach."""
    DRAINING = "draining"


Gates = Mapping[int, Gate]
"""The position for each IP version."""

_DIAGNOSTICS = {
    Gate.CANNOT_FORWARD: Diagnostic.PATH_DOWN,
    Gate.PATH_DOWN: Diagnostic.PATH_DOWN,
    Gate.DRAINING: Diagnostic.ADMINISTRATIVELY_DOWN,
}


def decide(convergence: Convergence, *, draining: bool, withdrawn: Collection[int] = ()) -> Gates:
    """The positions; `withdrawn` are the versions whose path the probes have given up."""

    def position(version: int) -> Gate:
        if draining:
            return Gate.DRAINING
        if convergence.phase is Phase.STARTING:
            return Gate.UNKNOWN
        if version not in convergence.forwarded:
            return Gate.CANNOT_FORWARD
        return Gate.PATH_DOWN if version in withdrawn else Gate.OPEN

    return {version: position(version) for version in sorted(FAMILIES)}


def words(gates: Gates) -> str:
    """The positions for people: one word where both families have the same."""
    if len(set(gates.values())) == 1:
        return next(iter(gates.values())).value
    return ", ".join(f"IPv{version} {gate.value}" for version, gate in gates.items())


def through(gates: Gates, sessions: tuple[SessionConfig, ...]) -> tuple[SessionConfig, ...]:
    """The sessions as they are behind the gate: enabled, or AdminDown with the true reason.

    Path Down (RFC 5880 §6.8.16) where the gateway cannot forward or reaches nobody,
    Administratively Down only for a drain.
    """
    return tuple(_through(gates[6 if ":" in each.key.local else 4], each) for each in sessions)


def invited(gates: Gates, invitations: tuple[Invitation, ...]) -> tuple[Invitation, ...]:
    """The invitations as they are behind the gate: without the families that are not forwarded."""

    def is_open(source: str) -> bool:
        return gates[6 if ":" in source else 4] is Gate.OPEN

    narrowed = (replace(each, sources=tuple(filter(is_open, each.sources))) for each in invitations)
    return tuple(each for each in narrowed if each.sources)


def _through(gate: Gate, session: SessionConfig) -> SessionConfig:
    diagnostic = _DIAGNOSTICS.get(gate)
    if diagnostic is None:
        return session
    return replace(session, enabled=False, disabled_diag=diagnostic)
