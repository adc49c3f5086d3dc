"""What a session must know again after its engine was restarted, as a plain value.

RFC 5880 §6.8.1 wants the variables of a session kept for a detection time after the last packet;
that holds across a restart, too, because the peer cannot see one. `Session.memory` makes a
`Memory`, `Session.resume` continues from one. Times are microseconds of the monotonic clock, which
runs on through a restart of the process, though not through one of the machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from bfd.actions import StateChanged
from bfd.auth import AuthMemory
from bfd.dampening import DamperMemory
from bfd.evidence import SessionFacts
from bfd.fsm import Diagnostic, State
from bfd.negotiation import Poll


@dataclass(frozen=True, slots=True)
class Memory:
    """The variables of one session; see `bfd.session.Session` for what they mean."""

    state: State
    local_diag: Diagnostic
    remote_state: State
    remote_diag: Diagnostic
    remote_discr: int
    remote_min_rx_us: int
    remote_desired_min_tx_us: int
    remote_detect_mult: int
    remote_demand: bool
    remote_sees_us: bool
    desired_min_tx_us: int
    required_min_rx_us: int
    desired_in_use_us: int
    required_in_use_us: int
    poll: Poll
    heard_us: int | None
    patience_us: int
    created_us: int
    sent_us: int
    admin_down_until_us: int
    rx_packets: int
    tx_packets: int
    transitions: int
    last_change: StateChanged | None
    auth: AuthMemory | None
    damper: DamperMemory
    back_off: int
    """The factor of `bfd.congestion.BackOff`."""

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; enumerations by number, the poll by name."""
        document = {each.name: getattr(self, each.name) for each in fields(self)}
        document["poll"] = self.poll.name
        if self.last_change is not None:
            document["last_change"] = [*self.last_change[:-1], self.last_change.facts.to_json()]
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Memory":
        """Read back what `to_json` made. Raises KeyError, TypeError or ValueError."""
        values = dict(document)
        for name, kind in _ENUMERATIONS.items():
            values[name] = kind(values[name])
        values["poll"] = Poll[values["poll"]]
        if values["last_change"] is not None:
            at_us, old, new, diag, reason, facts = values["last_change"]
            values["last_change"] = StateChanged(
                *(at_us, State(old), State(new), Diagnostic(diag), reason),
                SessionFacts.from_json(facts),
            )
        if values["auth"] is not None:
            values["auth"] = AuthMemory(*values["auth"])
        held_until_us, holds, downs_us, doublings = values["damper"]
        values["damper"] = DamperMemory(held_until_us, holds, tuple(downs_us), doublings)
        memory = cls(**values)
        for each in fields(cls):
            value = getattr(memory, each.name)
            if each.type is int and type(value) is not int:
                raise TypeError(f"{each.name}: {value!r} is not an integer")
        return memory


_ENUMERATIONS: Mapping[str, type[State] | type[Diagnostic]] = {
    "state": State,
    "local_diag": Diagnostic,
    "remote_state": State,
    "remote_diag": Diagnostic,
}
