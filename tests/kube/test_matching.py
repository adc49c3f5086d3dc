"""What is understood of OVN's matches is judged as OVN does, and the rest is not guessed."""

import pytest

from kube.matching import Packet, matches

_SETS = {
    "VEG.1.ipv4": frozenset({"10.0.0.0/8", "192.168.0.7"}),
    "VEG.1.ipv6": frozenset({"fd00::/64"}),
}


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("ip4.src == $VEG.1.ipv4", True),
        ("ip4.src == $VEG.1.ipv4 && 0", False),
        ("ip4.src != $VEG.1.ipv4", False),
        ("ip4.src == $NOT.THERE", False),
        ("ip4.src == 10.1.0.0/16", True),
        ("ip4.src == {10.2.0.0/16, 10.1.2.3}", True),
        ("ip4.src == {10.2.0.0/16, $VEG.1.ipv4}", True),
        ("ip4.dst == 203.0.113.0/24 && ip4.src == 10.1.2.3", True),
        ("ip4.dst == 203.0.113.0/24 && ip4.src == 10.1.2.4", False),
        ("ip4.dst == 10.0.0.0/8 || ip4.dst == 203.0.113.5", True),
        ("ip6.src == $VEG.1.ipv6", False),
        ("ip4 && 1", True),
        ('ip4.src == 10.1.2.3 && outport == "vpc1-subnet1"', True),
        ('outport == "other"', False),
        ("tcp.dst == 80", None),
        ("ip4.src == 10.1.2.3 && tcp.dst == 80", None),
        ("ip4.src == 10.9.9.9 && tcp.dst == 80", False),
        ("ip4.src == 10.1.2.3 || tcp", True),
        ("tcp || ip4.src == 10.9.9.9", None),
        ("(ip4 || ip6) && ip4.src == 10.1.2.3", None),
        ("ip4.src == @group", None),
        ("ip4.src == nonsense", None),
        ("", None),
    ],
)
def test_a_match(text: str, outcome: bool | None) -> None:
    packet = Packet("10.1.2.3", "203.0.113.5", "vpc1-subnet1")
    assert matches(text, packet, _SETS) is outcome


def test_a_packet_whose_port_is_not_known() -> None:
    assert matches('outport == "a"', Packet("10.1.2.3", "10.1.2.4"), {}) is None


def test_ipv6() -> None:
    packet = Packet("fd00::7", "2001:db8::1")
    assert matches("ip6.src == $VEG.1.ipv6", packet, _SETS) is True
    assert matches("ip6.dst == ::/0 && ip6", packet, _SETS) is True
