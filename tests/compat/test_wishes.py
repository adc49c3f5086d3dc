"""Which sessions the environment of a gateway's pod asks for."""

import pytest

from bfd.config import SessionConfig, SessionKey
from vegd.compat.wishes import from_environment

POD = {
    "POD_IPS": "10.16.0.2,fd00::2",
    "BFD_PEER_IPS": "10.255.255.255,fd00::ffff",
    "BFD_MIN_TX": "200",
    "BFD_MIN_RX": "300",
    "BFD_MULTI": "5",
}


def pairs(**changes: str) -> set[tuple[str, str]]:
    return {config.key[:2] for config in from_environment(POD | changes).configs()}


def test_every_pair_of_one_family_is_a_session_with_the_values_given() -> None:
    assert from_environment(POD).configs() == (
        SessionConfig(SessionKey("10.16.0.2", "10.255.255.255"), 200_000, 300_000, 5, min_ttl=254),
        SessionConfig(SessionKey("fd00::2", "fd00::ffff"), 200_000, 300_000, 5, min_ttl=254),
    )


def test_several_addresses_make_several_pairs() -> None:
    assert pairs(POD_IPS="10.16.0.2, 10.16.0.3", BFD_PEER_IPS="10.1.1.1,10.1.1.2") == {
        (local, peer) for local in ("10.16.0.2", "10.16.0.3") for peer in ("10.1.1.1", "10.1.1.2")
    }


def test_a_family_without_a_partner_is_left_out() -> None:
    assert pairs(BFD_PEER_IPS="10.255.255.255") == {("10.16.0.2", "10.255.255.255")}
    assert pairs(POD_IPS="10.16.0.2", BFD_PEER_IPS="fd00::ffff") == set()


def test_addresses_are_taken_however_they_are_written() -> None:
    assert pairs(POD_IPS="FD00:0::2,,fd00::2", BFD_PEER_IPS="fd00:0:0::ffff,") == {
        ("fd00::2", "fd00::ffff")
    }


def test_without_values_they_are_those_of_the_script() -> None:
    bare = {name: POD[name] for name in ("POD_IPS", "BFD_PEER_IPS")} | {"BFD_MULTI": ""}
    for config in from_environment(bare).configs():
        assert config == SessionConfig(config.key, 1_000_000, 1_000_000, 3, min_ttl=254)


def test_addresses_to_listen_on_stand_in_for_those_of_the_pod() -> None:
    wishes = from_environment(POD, ["10.16.0.9"])
    assert [config.key for config in wishes.configs()] == [
        SessionKey("10.16.0.9", "10.255.255.255")
    ]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("BFD_MULTI", "256", "'256' is not a number from 1 to 255"),
        ("BFD_MULTI", "0", "'0' is not a number from 1 to 255"),
        ("BFD_MULTI", "three", "'three' is not a number from 1 to 255"),
        ("BFD_MIN_TX", "0", "'0' is not a number from 1 to 4294967"),
        ("BFD_MIN_RX", "-5", "'-5' is not a number from 1 to 4294967"),
        ("BFD_MIN_RX", "4294968", "'4294968' is not a number from 1 to 4294967"),
        ("BFD_MIN_TX", "9" * 5_000, "is not a number from 1 to 4294967"),
        ("POD_IPS", "10.16.0", "'10.16.0' does not appear to be an IPv4 or IPv6 address"),
        ("BFD_PEER_IPS", "here", "'here' does not appear to be an IPv4 or IPv6 address"),
        ("BFD_PEER_IPS", "10.16.0.2", "peer: 10.16.0.2 is the local address"),
        ("BFD_PEER_IPS", "fe80::1", "a link-local session"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_variable(
    name: str, value: str, words: str
) -> None:
    with pytest.raises(ValueError, match=f"^{name}: ") as refusal:
        from_environment(POD | {name: value})
    assert words in str(refusal.value)
