"""The state machine of RFC 5880 §6.2 as one total table.

Four states by seven events give 28 cells, and every cell is written: "stay" is a decision too. The
table knows states and diagnostics and nothing else; timers, discriminators and packets belong to
`bfd.session`, which asks `step` what an event means. To change the behaviour of the machine, change
a cell of `GRID`; the tests compare each cell with the prose of the RFC, written out a second time.
"""

from enum import IntEnum
from typing import NamedTuple


class State(IntEnum):
    """Session states, with their numbers on the wire (RFC 5880 §4.1)."""

    ADMIN_DOWN = 0
    DOWN = 1
    INIT = 2
    UP = 3


class Diagnostic(IntEnum):
    """Why a session left its last state (RFC 5880 §4.1); 9 to 31 are reserved."""

    NO_DIAGNOSTIC = 0
    CONTROL_DETECTION_TIME_EXPIRED = 1
    ECHO_FUNCTION_FAILED = 2
    NEIGHBOR_SIGNALED_SESSION_DOWN = 3
    FORWARDING_PLANE_RESET = 4
    PATH_DOWN = 5
    CONCATENATED_PATH_DOWN = 6
    ADMINISTRATIVELY_DOWN = 7
    REVERSE_CONCATENATED_PATH_DOWN = 8


class Event(IntEnum):
    """What can happen to a session. The first four equal the state that a packet carries."""

    HEARD_ADMIN_DOWN = 0
    HEARD_DOWN = 1
    HEARD_INIT = 2
    HEARD_UP = 3
    EXPIRED = 4
    """A detection time has passed without a packet (§6.8.4)."""
    DISABLED = 5
    """Local configuration takes the session down (§6.8.16)."""
    ENABLED = 6
    """Local configuration lets the session run (§6.8.16)."""


class Outcome(NamedTuple):
    """The state after an event, and the diagnostic to record; None leaves it as it is."""

    state: State
    diagnostic: Diagnostic | None


_DOWN, _INIT, _UP, _ADMIN = State.DOWN, State.INIT, State.UP, State.ADMIN_DOWN
# "Stay" differs by row only in the state that it names, so each row has its own.
_ADM_STAY = Outcome(_ADMIN, None)
_DWN_STAY = Outcome(_DOWN, None)
_INI_STAY = Outcome(_INIT, None)
_UP__STAY = Outcome(_UP, None)
_TO_INIT = Outcome(_INIT, None)
_TO_UP = Outcome(_UP, None)
# Leaving AdminDown keeps the diagnostic: it still says why the session was last down.
_ENABLE = Outcome(_DOWN, None)
# The diagnostic of a disabled session is the configuration's to choose; the session records it.
_DISABLE = Outcome(_ADMIN, None)
_PEER = Outcome(_DOWN, Diagnostic.NEIGHBOR_SIGNALED_SESSION_DOWN)
_TIMEOUT = Outcome(_DOWN, Diagnostic.CONTROL_DETECTION_TIME_EXPIRED)

# fmt: off
GRID: tuple[tuple[Outcome, ...], ...] = (
#    ADMIN_DOWN DOWN       INIT       UP heard   EXPIRED    DISABLED   ENABLED       in
    (_ADM_STAY, _ADM_STAY, _ADM_STAY, _ADM_STAY, _ADM_STAY, _ADM_STAY, _ENABLE),    # ADMIN_DOWN
    (_DWN_STAY, _TO_INIT,  _TO_UP,    _DWN_STAY, _DWN_STAY, _DISABLE,  _DWN_STAY),  # DOWN
    (_PEER,     _INI_STAY, _TO_UP,    _TO_UP,    _TIMEOUT,  _DISABLE,  _INI_STAY),  # INIT
    (_PEER,     _PEER,     _UP__STAY, _UP__STAY, _TIMEOUT,  _DISABLE,  _UP__STAY),  # UP
)
# fmt: on
"""Indexed by state, then by event."""


def step(state: State, event: Event) -> Outcome:
    """What `event` does to a session in `state`; total, pure, and the only way a state changes."""
    return GRID[state][event]
