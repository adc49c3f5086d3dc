"""What was known when a session changed its state: the evidence for ``vegd why``.

The session contributes `SessionFacts`, the process around it `ProcessFacts`; both are plain values
that travel as JSON. Nothing is judged here: who reads the evidence draws the conclusions.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from bfd.fsm import Diagnostic, State

Json = dict[str, Any]


class SessionFacts(NamedTuple):
    """What the session knew; times in microseconds, as they were in use before the change."""

    silent_us: int | None
    """Since the last accepted packet arrived, by the kernel's time; None when none did."""
    detection_time_us: int
    peer_interval_us: int
    """How far apart the peer's packets may be; 0 when it has not said."""
    peer_detection_time_us: int
    """How long the peer waits for our packets; 0 when it does not wait."""
    remote_state: State
    remote_diag: Diagnostic
    refused: Mapping[str, int]
    """Packets refused since the last accepted one, by reason; also those that named a wrong
    discriminator of ours, if they came from the peer's address."""
    refused_ttl: int | None
    """TTL or hop limit of the last packet that was refused for it."""
    min_ttl: int
    unsent: Mapping[str, int]
    """Packets that the kernel refused to send within the peer's detection time, by error."""

    @property
    def missed(self) -> int:
        """How many packets should have come since the last one, at least."""
        if self.silent_us is None or not self.peer_interval_us:
            return 0
        return self.silent_us // self.peer_interval_us

    def to_json(self) -> Json:
        """As a JSON object; enumerations by number."""
        return self._asdict() | {
            "remote_state": int(self.remote_state),
            "remote_diag": int(self.remote_diag),
            "refused": dict(self.refused),
            "unsent": dict(self.unsent),
        }

    @classmethod
    def from_json(cls, document: Json) -> Self:
        """Read back what `to_json` made."""
        rest = dict(document)
        return cls(
            remote_state=State(rest.pop("remote_state")),
            remote_diag=Diagnostic(rest.pop("remote_diag")),
            **rest,
        )


class ProcessFacts(NamedTuple):
    """How the engine itself was; what the kernel does not tell is None."""

    window_us: int
    """How far back from the change these figures reach."""
    late_us: int
    """The worst delay of a wake-up beyond its deadline."""
    stalls: int
    """Wake-ups later than half an interval."""
    throttled_periods: int | None
    """Scheduling periods in which the CPU quota of the cgroup was used up."""
    throttled_us: int | None
    """How long the cgroup was throttled for that."""
    waited_us: int | None
    """How long the engine was ready to run and had no processor (/proc/thread-self/schedstat)."""
    overflows: int
    """Packets that found no room in the receive buffers."""

    def to_json(self) -> Json:
        """As a JSON object."""
        return self._asdict()

    @classmethod
    def from_json(cls, document: Json) -> Self:
        """Read back what `to_json` made."""
        return cls(**document)
