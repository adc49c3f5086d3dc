"""When BFD sessions may be Up: after the dataplane has converged, until the drain.

The gate works one way. A gateway that cannot forward must not have sessions, or the router would
send traffic into a hole; whether a session is Up never changes what is forwarded (OVN goes on
sending while a session is Down on our side).
"""

from dataclasses import replace
from enum import StrEnum

from bfd.config import SessionConfig
from bfd.fsm import Diagnostic
from vegd.control import Convergence, Phase


class Gate(StrEnum):
    """What the engine is to be told."""

    UNKNOWN = "unknown"
    """Nothing is known of the dataplane yet: an engine that is running keeps what it has, so that
    the agent can be replaced without a flap."""
    OPEN = "open"
    CANNOT_FORWARD = "cannot forward"
    DRAINING = "draining"


_DIAGNOSTICS = {
    Gate.CANNOT_FORWARD: Diagnostic.PATH_DOWN,
    Gate.DRAINING: Diagnostic.ADMINISTRATIVELY_DOWN,
}


def decide(convergence: Convergence, *, draining: bool) -> Gate:
    """The position of the gate."""
    if draining:
        return Gate.DRAINING
    if convergence.phase is Phase.STARTING:
        return Gate.UNKNOWN
    return Gate.OPEN if convergence.forwarding else Gate.CANNOT_FORWARD


def through(gate: Gate, sessions: tuple[SessionConfig, ...]) -> tuple[SessionConfig, ...]:
    """The sessions as they are behind the gate: enabled, or AdminDown with the true reason.

    Path Down (RFC 5880 §6.8.16) where the gateway cannot forward, Administratively Down only for
    a drain.
    """
    diagnostic = _DIAGNOSTICS.get(gate)
    if diagnostic is None:
        return sessions
    return tuple(replace(each, enabled=False, disabled_diag=diagnostic) for each in sessions)
