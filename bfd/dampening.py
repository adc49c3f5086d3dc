"""Flap dampening: a session that goes down again and again is held down for a while.

RFC 5882 §3.1. So many losses of Up within a time begin a hold, and each hold that follows another
is twice as long, up to a limit. A held session stays Down, speaks and is counted as ever (RFC 5880
§6.8.18), but does not begin the handshake. Whether a hold is *kept* is the engine's decision,
because the last session of a family that could carry traffic is never held.

Microseconds on one monotonic clock.
"""

from dataclasses import dataclass
from typing import NamedTuple

_MOST_DOUBLINGS = 32
_LONGEST_US = 7 * 86_400 * 1_000_000


@dataclass(frozen=True, slots=True)
class Dampening:
    """After `flaps` losses of Up within `within_us`: held for `hold_us`, doubling up to
    `longest_hold_us`. Raises ValueError naming field, value and remedy."""

    flaps: int
    within_us: int
    hold_us: int
    longest_hold_us: int

    def __post_init__(self) -> None:
        _check("flaps", self.flaps, 1_000)
        _check("within_us", self.within_us, _LONGEST_US)
        _check("hold_us", self.hold_us, _LONGEST_US)
        _check("longest_hold_us", self.longest_hold_us, _LONGEST_US)
        if self.longest_hold_us < self.hold_us:
            raise ValueError(
                f"dampening.longest_hold_us: {self.longest_hold_us} is less than "
                f"hold_us ({self.hold_us}); give as much or more"
            )


class DamperMemory(NamedTuple):
    """What a successor of the engine must know of a `Damper`."""

    held_until_us: int
    holds: int
    downs_us: tuple[int, ...]
    doublings: int


class Damper:
    """What one session has done lately."""

    __slots__ = ("_doublings", "_downs_us", "held_until_us", "holds")

    def __init__(self) -> None:
        self.held_until_us = 0
        self.holds = 0
        self._downs_us: list[int] = []
        self._doublings = 0

    def memory(self) -> DamperMemory:
        """What `resume` needs to go on."""
        return DamperMemory(self.held_until_us, self.holds, tuple(self._downs_us), self._doublings)

    def resume(self, memory: DamperMemory) -> None:
        """Go on after a restart of the engine."""
        self.held_until_us, self.holds, downs_us, self._doublings = memory
        self._downs_us = list(downs_us)

    def note_down(self, policy: Dampening, now_us: int) -> bool:
        """The session has left Up. Whether a hold begins, which `held_until_us` then tells."""
        # One more than any policy asks for would never matter.
        recent = [at for at in self._downs_us if now_us - at < policy.within_us]
        self._downs_us = [*recent, now_us][-policy.flaps :]
        if len(self._downs_us) < policy.flaps:
            return False
        if now_us - self.held_until_us >= policy.longest_hold_us:
            # Good for so long: earlier holds are forgotten.
            self._doublings = 0
        hold_us = min(policy.hold_us << self._doublings, policy.longest_hold_us)
        self._doublings = min(self._doublings + 1, _MOST_DOUBLINGS)
        self.held_until_us = now_us + hold_us
        self.holds += 1
        return True

    def holds_at(self, now_us: int) -> bool:
        """Whether a hold has begun and not ended."""
        return now_us < self.held_until_us

    def release(self, now_us: int) -> None:
        """End a hold before its time."""
        self.held_until_us = min(self.held_until_us, now_us)


def _check(field: str, value: int, most: int) -> None:
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"dampening.{field}: {value!r} is not from 1 to {most}")
