"""Which gateway has which slot of the routes that share a gateway's packets (ECMP). Pure.

A connection's hash chooses a slot, not a gateway. When one gateway leaves, its slots are lent to
others, and given to the next one when that is up: the other slots stay, and so do their
connections. OVN also loses no packet where a route in its place gets another next hop, but may lose
some where a route comes or goes: packets under way look for a member of the group that is not there
any more (measured with 23.03 at 1,600 packets a second: in 14 of 30 edits, against none of 30).

Who is merely down keeps its slots: OVN leaves them out by itself, sooner than anybody can tell.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

MOST = 32
"""Slots of one gateway; more next hops than that share no packets."""


class Slot(NamedTuple):
    """Who has a slot."""

    hop: str
    lent: bool = False
    """Whether only until there is another gateway for it."""


def assign(
    there: Mapping[int, Slot],
    hops: Sequence[str],
    *,
    leaving: Collection[str],
    up: Collection[str],
    size: int,
) -> dict[int, Slot]:
    """Who is to have the slots, by their numbers.

    `there` is what they are now; `hops` are the gateways that stay, `leaving` those that are being
    deleted or drained and forward until nothing comes; `up` those of either that OVN has a session
    with. `size` is how many slots there should be: there are more only while more gateways stay.
    """
    living = [hop for hop in hops if hop in up]
    # What is gone without a word is lent as well; if nobody is there to lend to, it is nobody's.
    waiting = {hop for hop in up if living or hop in leaving}
    slots = {n: slot for n, slot in sorted(there.items()) if slot.hop in {*hops, *waiting}}
    _shrink(slots, hops, min(max(size, len(hops)), MOST))
    for first, slot in slots.items():
        if slot.lent and all(other.lent for other in slots.values() if other.hop == slot.hop):
            slots[first] = Slot(slot.hop)
    for hop in sorted(hops, key=lambda each: each not in up):
        if not _load(slots, hop):
            number = _place(slots, hops, up, min(size, MOST), is_up=hop in up)
            if number is not None:
                slots[number] = Slot(hop)
    for number, slot in slots.items():
        if slot.hop not in hops and living:
            least = min(living, key=lambda each: _load(slots, each))
            slots[number] = Slot(least, lent=True)
    return slots


def _shrink(slots: dict[int, Slot], hops: Sequence[str], most: int) -> None:
    """Remove slots until there are no more than `most`; the last one moves to where one goes."""
    while len(slots) > most:
        last = max(slots)
        gone = max(_without_owner(slots, hops) or _doubled(slots) or [last])
        slots[gone] = slots[last]
        del slots[last]


def _place(
    slots: Mapping[int, Slot],
    hops: Sequence[str],
    up: Collection[str],
    size: int,
    *,
    is_up: bool,
) -> int | None:
    """The slot for a gateway that has none; None if it has to wait for one."""
    if is_up and (free := _without_owner(slots, hops) or _doubled(slots)):
        return max(free, key=lambda number: _load(slots, slots[number].hop))
    if len(slots) < size:
        return next(number for number in range(MOST) if number not in slots)
    down = [number for number, slot in slots.items() if slot.hop not in up]
    return min(down) if is_up and down else None


def _without_owner(slots: Mapping[int, Slot], hops: Collection[str]) -> list[int]:
    """The slots of gateways that do not stay, or are lent by such."""
    return [number for number, slot in slots.items() if slot.lent or slot.hop not in hops]


def _doubled(slots: Mapping[int, Slot]) -> list[int]:
    """The slots of who has several."""
    return [number for number, slot in slots.items() if _load(slots, slot.hop) > 1]


def _load(slots: Mapping[int, Slot], hop: str) -> int:
    return sum(slot.hop == hop for slot in slots.values())
