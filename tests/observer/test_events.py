"""The kernel's messages, taken apart."""

import struct

import pytest

from dataplane.conntrack_events import (
    DESTINATION,
    SOURCE,
    Counters,
    Ends,
    Tracked,
    _tracked,
    ends,
)
from dataplane.wire import attribute
from tests.support.connections import Way, tracked

_STATUS, _ID, _ZONE = 3, 12, 18


def message(flow: Tracked, status: int = 0x18, zone: int | None = None) -> bytes:
    """As the kernel writes it when the connection ends."""
    half = len(flow.tuples) // 2
    parts = [attribute(1, flow.tuples[:half], nested=True)]
    parts.append(attribute(2, flow.tuples[half:], nested=True))
    if zone is not None:
        parts.append(attribute(_ZONE, struct.pack("!H", zone)))
    parts.append(attribute(_ID, struct.pack("!I", flow.number)))
    parts.append(attribute(_STATUS, struct.pack("!I", status)))
    if flow.counters is not None:
        for kind, packets, octets in ((9, *flow.counters[:2]), (10, *flow.counters[2:])):
            value = attribute(1, struct.pack("!Q", packets)) + attribute(
                2, struct.pack("!Q", octets)
            )
            parts.append(attribute(kind, value, nested=True))
    return b"".join(parts)


FLOWS = [
    tracked(Way("10.0.0.1", 1, "10.0.0.2", 2), Way("10.0.0.3", 3, "10.0.0.2", 2), 6, key=7),
    tracked(Way("fd00::1", 1, "fd00::2", 2), Way("fd00::3", 3, "fd00::2", 2), 17, key=2**32 - 1),
    tracked(Way("10.0.0.1", 0, "10.0.0.2", 0), Way("10.0.0.3", 0, "10.0.0.2", 0), 1),
    tracked(Way("fd00::1", 0, "fd00::2", 0), Way("fd00::3", 0, "fd00::2", 0), 58),
]


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("counters", [None, Counters(1, 2**40, 3, 4)])
def test_a_message_is_read_as_it_was_written(flow: Tracked, counters: Counters | None) -> None:
    flow = flow._replace(counters=counters)
    assert _tracked(message(flow), flow.version) == flow


def test_the_zone_is_part_of_what_names_a_connection() -> None:
    found = _tracked(message(FLOWS[0], zone=3), 4)
    assert (found.zone, found.number) == (3, 7)
    assert found.key != FLOWS[0].key


@pytest.mark.parametrize(
    ("status", "nat"),
    [(0x08, 0), (0x18, SOURCE), (0x28, DESTINATION), (0x3F, SOURCE | DESTINATION)],
)
def test_the_status_says_what_is_translated(status: int, nat: int) -> None:
    assert _tracked(message(FLOWS[0], status), 4).nat == nat


def test_another_order_of_attributes_is_understood() -> None:
    addresses = attribute(1, bytes([10, 0, 0, 1])) + attribute(2, bytes([10, 0, 0, 2]))
    proto = attribute(2, b"\0\1") + attribute(3, b"\0\2") + attribute(1, b"\x11")
    one = attribute(2, proto, nested=True) + attribute(1, addresses, nested=True)
    found = _tracked(message(FLOWS[0]._replace(tuples=one + one)), 4)
    assert found.protocol == 17
    assert ends(found)[0] == Ends(bytes([10, 0, 0, 1]), 1, bytes([10, 0, 0, 2]), 2)


def test_what_left_is_the_answer_turned_round() -> None:
    original, translated = ends(FLOWS[0])
    assert original == Ends(bytes([10, 0, 0, 1]), 1, bytes([10, 0, 0, 2]), 2)
    assert translated == Ends(bytes([10, 0, 0, 3]), 3, bytes([10, 0, 0, 2]), 2)
