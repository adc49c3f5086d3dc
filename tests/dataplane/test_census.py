"""The census counts in the kernel what is there, whatever the shape of an entry."""

import struct
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import pytest

from dataplane import census
from dataplane.model import Translation
from dataplane.nfnetlink import NFNL_SUBSYS_CTNETLINK, Channel
from dataplane.portuse import Census, ports_available
from dataplane.wire import attribute
from tests.support.dataplane import EXTERNAL, gateway_intent, inside_thread

_NEW = NFNL_SUBSYS_CTNETLINK << 8
_CREATE, _ACK = 0x400, 4
_UDP, _ICMP = 17, 1


def _tuple(kind: int, source: str, destination: str, proto: bytes) -> bytes:
    ends = [ip_address(source).packed, ip_address(destination).packed]
    first = 1 if len(ends[0]) == 4 else 3
    ip = attribute(first, ends[0]) + attribute(first + 1, ends[1])
    body = attribute(1, ip, nested=True) + attribute(2, proto, nested=True)
    return attribute(kind, body, nested=True)


def _ports(source: int, destination: int) -> bytes:
    pair = [struct.pack("!H", each) for each in (source, destination)]
    return attribute(1, bytes([_UDP])) + attribute(2, pair[0]) + attribute(3, pair[1])


def _track(
    channel: Channel, source: str, port: int, place: tuple[str, int], shown: str, zone: int = 0
) -> None:
    """Have a UDP connection tracked, translated if it shows another address than its source."""
    destination, destination_port = place
    body = _tuple(1, source, destination, _ports(port, destination_port))
    body += _tuple(2, destination, source, _ports(destination_port, port))
    body += attribute(7, struct.pack("!I", 600))
    if zone:
        body += attribute(18, struct.pack("!H", zone))
    if shown != source:
        address = ip_address(shown)
        first = 1 if address.version == 4 else 4
        ends = attribute(first, address.packed) + attribute(first + 1, address.packed)
        body += attribute(6, ends, nested=True)
    list(channel.ask(_NEW, 2 if ":" not in source else 10, body, _ACK | _CREATE))


@pytest.mark.kernel
@pytest.mark.parametrize("version", [4, 6])
def test_ports_and_destinations_are_counted(netns: Callable[[str], str], version: int) -> None:
    clients, far = (("10.0.0.", "198.51.100.") if version == 4 else ("fd01::", "2001:db8::"))[:2]
    shown = EXTERNAL[version]

    def work() -> Census:
        with Channel() as channel:
            for number in range(1, 6):
                _track(channel, f"{clients}{number}", 5000 + number, (f"{far}1", 443), shown)
            # The same port towards another place, in a zone of its own: another shape of message.
            _track(channel, f"{clients}1", 5001, (f"{far}2", 53), shown, zone=7)
            _track(channel, f"{clients}9", 5009, (f"{far}1", 443), f"{clients}9")
            return census.take(channel)

    found = inside_thread(netns("gw"), work)
    assert (found.connections, found.translated) == (7, 6)
    (use,) = found.uses
    assert (str(use.address), use.protocol, use.connections, use.ports) == (shown, "udp", 6, 5)
    assert [(str(each.address), each.port, each.connections) for each in use.busiest] == [
        (f"{far}1", 443, 5),
        (f"{far}2", 53, 1),
    ]


def test_ports_available_are_those_of_every_translation_that_shows_the_address() -> None:
    intent = gateway_intent()
    own = ip_address(EXTERNAL[4])
    assert ports_available(intent, own) == 64_512
    assert ports_available(intent, ip_address("203.0.113.1")) == 0
    limited = replace(intent, translation=Translation((), (2000, 2999)))
    assert ports_available(limited, own) == 1000
