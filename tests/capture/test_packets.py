"""How a packet is told, and what is never told."""

import json

import pytest

from bfd.fsm import State
from bfd.packet import ControlPacket, encode
from vegd.capture.packets import Seen, masked, to_json, to_line

PASSWORD = b"\x01\x09\x07secret"
DIGEST = b"\x05\x1c\x02\x00" + (4711).to_bytes(4, "big") + b"d" * 20


def seen(packet: ControlPacket, **fields: object) -> Seen:
    shown = Seen(1.5, "in", "eth0", "fd00::1", 50_000, "fd00::2", 3784, 255, encode(packet))
    return shown._replace(**fields)  # type: ignore[arg-type]


def test_a_line_says_everything_about_a_packet() -> None:
    packet = ControlPacket(State.UP, 0xABC, 0x1, 100_000, 50_500, poll=True, diagnostic=3)
    line = to_line(seen(packet), ("TTL 254 is below 255", "another"))
    assert line.split(maxsplit=1)[1] == (
        "in eth0 fd00::1 > fd00::2 ttl 255 Up diag 3 P---- my 0x00000abc your 0x00000001"
        " tx 100 rx 50.5 echo 0 mult 3 ! TTL 254 is below 255; another"
    )


def test_multihop_shows_its_port_and_an_unreadable_packet_shows_as_such() -> None:
    line = to_line(seen(ControlPacket(State.UP, 1), port=4784, data=b"\x20" * 9), ())
    assert line.endswith("ttl 255 port 4784 unreadable")


def test_json_has_every_field_and_its_unit() -> None:
    packet = ControlPacket(State.INIT, 7, 8, 9_000, 10_000, 11_000, 4, 1, demand=True)
    assert to_json(seen(packet), ("odd",)) == {
        "time": 1.5,
        "direction": "in",
        "interface": "eth0",
        "source": "fd00::1",
        "source_port": 50_000,
        "destination": "fd00::2",
        "port": 3784,
        "ttl": 255,
        "state": "Init",
        "diagnostic": 1,
        "my_discr": 7,
        "your_discr": 8,
        "desired_min_tx_us": 9_000,
        "required_min_rx_us": 10_000,
        "required_min_echo_rx_us": 11_000,
        "detect_mult": 4,
        "poll": False,
        "final": False,
        "control_plane_independent": False,
        "demand": True,
        "auth": None,
        "anomalies": ["odd"],
    }


@pytest.mark.parametrize(
    ("section", "told"),
    [
        (PASSWORD, "auth simple key 7"),
        (DIGEST, "auth meticulous-sha1 key 2 seq 4711"),
        (b"\x09\x05abc", "auth type-9 key 97"),
        (b"\x02\x02", "auth md5"),
    ],
)
def test_G6_of_authentication_type_key_id_and_sequence_are_told_and_no_secret(
    section: bytes, told: str
) -> None:
    shown = seen(ControlPacket(State.UP, 1, 2, auth=section))
    assert to_line(shown, ()).endswith(told)
    text = json.dumps(to_json(shown, ())) + to_line(shown, ())
    assert "secret" not in text
    assert section.hex() not in text
    assert "dddd" not in text


def test_G6_a_simple_password_is_masked_before_it_is_kept() -> None:
    packet = ControlPacket(State.UP, 1, 2, auth=PASSWORD)
    assert masked(encode(packet)) == encode(packet._replace(auth=b"\x01\x09\x07******"))
    for other in (packet._replace(auth=DIGEST), packet._replace(auth=b"")):
        assert masked(encode(other)) == encode(other)
    assert masked(b"garbage") == b"garbage"
