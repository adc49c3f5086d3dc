"""The order of the next hops in OVN's groups of static routes that share packets (ECMP). Pure.

OVN numbers the routes of a group, and a connection's hash chooses a number. Nothing says which
route comes first; it follows from the routes' UUIDs. With UUIDs by chance each of a gateway's
groups has its next hops in another order, and a route for another network gives the groups other
numbers: while OVN's flows change, packets of a connection go to another gateway for a moment, whose
translation is another, and the connection is cut. So routes get UUIDs that put a gateway's slots
(`kube.slots`) in the same order in each group, and new groups behind those that are there.

Of a UUID the first 27 bits are when the group was made, the next five the slot, and the last 32 say
of which group it is; the rest is as in any other UUID of version 4. ovn-northd up to 24.09 takes
routes in the order of their UUIDs; newer ones take them by a hash table, where the low bits of the
first 32 decide. (25.03.0 has all routes of a router in one chain of its table, and turns that round
when it has 8, 16, 32, … routes. No UUID helps against that.)
"""

from collections.abc import Iterable
from hashlib import sha256
from uuid import UUID, uuid4

from kube.rows import NO_SLOT, StaticRoute
from kube.slots import MOST

_STEP_S = 10
_MADE_BITS, _SLOT_BITS, _GROUP_BITS = 27, MOST.bit_length() - 1, 32
_MADE, _SLOT = 128 - _MADE_BITS, 128 - _MADE_BITS - _SLOT_BITS
"""The lowest bits of the parts."""


class Uuids:
    """Makes the UUIDs of one gateway's new routes."""

    def __init__(self, routes: Iterable[tuple[UUID, StaticRoute]], now: float) -> None:
        """From its routes that are there; `now` in seconds since 1970."""
        self._now = int(now) // _STEP_S
        self._made = {
            _group(route): uuid.int >> _MADE for uuid, route in routes if route.slot != NO_SLOT
        }

    def of(self, route: StaticRoute) -> UUID:
        """That of a new route."""
        group = _group(route)
        made = self._made.setdefault(group, (self._now + len(self._made)) % (1 << _MADE_BITS))
        place = (made << _SLOT_BITS | route.slot) << _SLOT
        middle = uuid4().int % (1 << _SLOT) >> _GROUP_BITS << _GROUP_BITS
        return UUID(int=place | middle | group)


def slot_of(uuid: UUID, route: StaticRoute) -> int:
    """The slot of a route that is there; `NO_SLOT` if its UUID was not made here."""
    if uuid.int % (1 << _GROUP_BITS) != _group(route):
        return NO_SLOT
    return (uuid.int >> _SLOT) % MOST


def _group(route: StaticRoute) -> int:
    """Which routes share packets."""
    text = f"{route.router}\0{route.route_table}\0{route.policy}\0{route.ip_prefix}"
    return int.from_bytes(sha256(text.encode()).digest()[: _GROUP_BITS // 8])
