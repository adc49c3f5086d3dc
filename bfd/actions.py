"""What a session asks its surroundings to do; `bfd.driver` does it.

A session never sends and never calls back: it returns a tuple of these, most often `NOTHING`.
"""

from typing import NamedTuple

from bfd.evidence import SessionFacts
from bfd.fsm import Diagnostic, State


class Transmit(NamedTuple):
    """Send these bytes to the peer, now."""

    wire: bytes


class StateChanged(NamedTuple):
    """The session has changed its state; `reason` is a sentence for a person."""

    at_us: int
    old: State
    new: State
    diag: Diagnostic
    reason: str
    facts: SessionFacts


class Ended(NamedTuple):
    """The session has said its last word: whatever belongs to it can be closed."""


Actions = tuple[Transmit | StateChanged | Ended, ...]
NOTHING: Actions = ()
