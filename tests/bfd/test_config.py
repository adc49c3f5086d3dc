"""Configuration is refused with the field, the value and what would be right (C7, D20)."""

from typing import Any

import pytest

from bfd.config import SessionConfig, SessionKey
from bfd.fsm import Diagnostic

KEY = SessionKey("192.0.2.1", "192.0.2.2")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"desired_min_tx_us": 0}, "desired_min_tx_us: 0 is not a whole number"),
        ({"desired_min_tx_us": 999}, "desired_min_tx_us: 999"),
        ({"desired_min_tx_us": 3_300}, "desired_min_tx_us: 3300"),
        ({"desired_min_tx_us": 2**32}, "desired_min_tx_us"),
        ({"desired_min_tx_us": 1e6}, "desired_min_tx_us"),
        ({"desired_min_tx_us": True}, "desired_min_tx_us"),
        ({"required_min_rx_us": 500}, "required_min_rx_us: 500"),
        ({"detect_mult": 0}, "detect_mult: 0 is not from 1 to 255"),
        ({"detect_mult": 256}, "detect_mult"),
        ({"min_ttl": 0}, "min_ttl: 0"),
        ({"min_ttl": "254"}, "min_ttl"),
        ({"back_off": 0}, "back_off: 0 is not from 1 to 64"),
        ({"back_off": 1.5}, "back_off: 1.5"),
        ({"passive": 1}, "passive: 1"),
        ({"enabled": None}, "enabled"),
        ({"disabled_diag": 7}, "disabled_diag: 7"),
    ],
)
def test_C7_a_bad_value_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SessionConfig(KEY, **fields)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (("192.0.2.1", "fd00::1"), "different families"),
        (("192.0.2.1", "192.0.2.1"), "is the local address"),
        (("192.0.2.1", "192.0.2"), "is not an IP address"),
        (("fd00::1", "::"), "not the address of one host"),
        (("192.0.2.1", "224.0.0.1"), "not the address of one host"),
        (("fd00::1", "FD00::2"), "must be written 'fd00::2'"),
        (("fd00::1", "fd00:0::2"), "must be written 'fd00::2'"),
        (("fe80::1", "fe80::2"), "must name"),
        (("fe80::1%eth0", "fe80::2", "eth0"), "must be written 'fe80::1'"),
        (("192.0.2.1", "192.0.2.2", "a" * 16), "longer than 15"),
        ((1, "192.0.2.2"), "local: 1"),
        (("192.0.2.1", None), "peer: None"),
        (("192.0.2.1", "192.0.2.2", 5), "interface: 5"),
        (("192.0.2.1", "192.0.2.2", "", 1), "multihop: 1"),
        (("192.0.2.1", "192.0.2.2", "eth0", True), "multihop: true .* leave it out"),
        (("fe80::1", "fe80::2", "", True), "multihop: true .* leave it out"),
    ],
)
def test_H4_a_bad_key_is_named(key: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SessionConfig(SessionKey(*key))


def test_the_key_tells_its_kind_in_words() -> None:
    assert str(SessionKey("192.0.2.1", "192.0.2.2", multihop=True)).endswith("(multihop)")
    assert str(SessionKey("fe80::1", "fe80::2", "eth0")) == "fe80::1 -> fe80::2 on eth0"


def test_D20_the_edges_are_allowed() -> None:
    SessionConfig(KEY, 1_000, 0, 255, 1, disabled_diag=Diagnostic.PATH_DOWN)
    SessionConfig(KEY, 4_294_967_000, 4_294_967_000, 1, 255)
    SessionConfig(SessionKey("fe80::1", "fe80::2", "eth0"))


@pytest.mark.parametrize("ms", [10, 20, 50, 100, 1000])
def test_D21_the_common_intervals_are_supported(ms: int) -> None:
    SessionConfig(KEY, ms * 1000, ms * 1000)


def test_D21_the_interval_of_hardware_is_refused_and_its_neighbours_are_not() -> None:
    with pytest.raises(ValueError, match="desired_min_tx_us: 3300"):
        SessionConfig(KEY, 3_300, 3_300)
    for ms in (3, 4):
        SessionConfig(KEY, ms * 1000, ms * 1000)
