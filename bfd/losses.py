"""What did not get through on one session lately: packets that we refused, packets not sent.

The counters of a session say how often something ever happened; here is what happened since the
last accepted packet, and within a detection time, which is what explains a Down.
"""

from collections import deque
from collections.abc import Mapping

from bfd.packet import Discard

_FAILURES_KEPT = 64
_NONE: Mapping[str, int] = {}


class Losses:
    """See the module. `heard_us` is always the arrival of the last accepted packet, None before
    the first."""

    __slots__ = ("_failures", "_refused", "_since_us", "ttl")

    def __init__(self) -> None:
        self._since_us: int | None = None
        self._refused: dict[str, int] | None = None
        self._failures: deque[tuple[int, str]] | None = None
        self.ttl: int | None = None
        """TTL or hop limit of the packet that was last refused for it."""

    def refuse(self, why: Discard, heard_us: int | None) -> None:
        """A packet of the peer was refused."""
        if self._refused is None or self._since_us != heard_us:
            self._since_us = heard_us
            self._refused = {}
        self._refused[why.label] = self._refused.get(why.label, 0) + 1

    def refused(self, heard_us: int | None) -> Mapping[str, int]:
        """How many packets were refused since the last accepted one, by reason."""
        if self._refused is None or self._since_us != heard_us:
            return _NONE
        return dict(self._refused)

    def not_sent(self, error: str, now_us: int) -> None:
        """The kernel has refused to send a packet."""
        if self._failures is None:
            self._failures = deque(maxlen=_FAILURES_KEPT)
        self._failures.append((now_us, error))

    def unsent(self, since_us: int) -> Mapping[str, int]:
        """How many packets could not be sent since a moment, by the name of the error."""
        if self._failures is None:
            return _NONE
        counts: dict[str, int] = {}
        for at_us, error in self._failures:
            if at_us >= since_us:
                counts[error] = counts.get(error, 0) + 1
        return counts
