"""The codec: golden vectors, and properties over all bytes and all packets (checklist A, B1-B8)."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bfd.fsm import Diagnostic, State
from bfd.packet import ControlPacket, Discard, decode, encode

u32 = st.integers(0, 2**32 - 1)
packets = st.builds(
    ControlPacket,
    state=st.sampled_from(State),
    my_discr=st.integers(1, 2**32 - 1),
    your_discr=st.integers(1, 2**32 - 1),
    desired_min_tx_us=u32,
    required_min_rx_us=u32,
    required_min_echo_rx_us=u32,
    detect_mult=st.integers(1, 255),
    diagnostic=st.integers(0, 31),
    poll=st.booleans(),
    final=st.booleans(),
    control_plane_independent=st.booleans(),
    demand=st.booleans(),
    auth=st.one_of(st.just(b""), st.binary(min_size=2, max_size=40)),
)

GOLDEN = [
    # Down, nothing known of the peer, one second both ways.
    (
        "20 40 03 18 00000001 00000000 000f4240 000f4240 00000000",
        ControlPacket(State.DOWN, 1),
    ),
    # Up with Poll and the C bit, 100 ms both ways, times five.
    (
        "20 e8 05 18 12345678 9abcdef0 000186a0 000186a0 00000000",
        ControlPacket(
            State.UP,
            0x12345678,
            0x9ABCDEF0,
            100_000,
            100_000,
            detect_mult=5,
            poll=True,
            control_plane_independent=True,
        ),
    ),
    # Init with Final and Demand, diagnostic 1, an echo interval.
    (
        "21 92 01 18 ffffffff 00000002 00000001 00000000 0000c350",
        ControlPacket(
            State.INIT, 0xFFFFFFFF, 2, 1, 0, 50_000, 1, diagnostic=1, final=True, demand=True
        ),
    ),
    # AdminDown, diagnostic 7.
    (
        "27 00 03 18 00000007 00000008 000f4240 000f4240 00000000",
        ControlPacket(State.ADMIN_DOWN, 7, 8, diagnostic=7),
    ),
    # Authentication sections: simple password, keyed MD5, keyed SHA1; carried, not judged.
    (
        "20 44 03 21 00000001 00000000 000f4240 000f4240 00000000 01 09 07 736563726574",
        ControlPacket(State.DOWN, 1, auth=b"\x01\x09\x07secret"),
    ),
    (
        "20 44 03 30 00000001 00000000 000f4240 000f4240 00000000 02 18 01 00 00000005" + "ab" * 16,
        ControlPacket(State.DOWN, 1, auth=b"\x02\x18\x01\x00\x00\x00\x00\x05" + b"\xab" * 16),
    ),
    (
        "20 44 03 34 00000001 00000000 000f4240 000f4240 00000000 04 1c 01 00 00000005" + "cd" * 20,
        ControlPacket(State.DOWN, 1, auth=b"\x04\x1c\x01\x00\x00\x00\x00\x05" + b"\xcd" * 20),
    ),
]
UP = bytearray.fromhex("20c0031812345678 9abcdef0000186a0000186a000000000")


@pytest.mark.parametrize(("text", "packet"), GOLDEN)
def test_A1_a_golden_vector_reads_and_writes_the_same(text: str, packet: ControlPacket) -> None:
    wire = bytes.fromhex(text)
    assert decode(wire) == packet
    assert encode(packet) == wire


@given(packets)
def test_A1_what_was_encoded_decodes_to_itself(packet: ControlPacket) -> None:
    assert decode(encode(packet)) == packet


@given(st.binary(max_size=80))
@example(b"")
@example(bytes(24))
@example(b"\xff" * 24)
def test_A1_decode_never_raises(data: bytes) -> None:
    assert isinstance(decode(data), ControlPacket | Discard)


@given(st.binary(min_size=3, max_size=30), st.integers(0, 255))
def test_A1_decode_survives_nearly_right_packets(tail: bytes, flags: int) -> None:
    data = bytes([0x20, flags]) + tail
    result = decode(data)
    if isinstance(result, ControlPacket):
        # Canonical but for reserved bytes after Length, so it must survive a round trip.
        assert decode(encode(result)) == result


def test_A2_states_and_diagnostics_have_the_numbers_of_the_rfc() -> None:
    assert [(s.name, int(s)) for s in State] == [
        ("ADMIN_DOWN", 0),
        ("DOWN", 1),
        ("INIT", 2),
        ("UP", 3),
    ]
    assert [int(d) for d in Diagnostic] == list(range(9))


def test_A3_reserved_diagnostics_are_accepted() -> None:
    for diagnostic in range(9, 32):
        packet = ControlPacket(State.UP, 1, 2, diagnostic=diagnostic)
        assert decode(encode(packet)) == packet


def test_A4_multipoint_is_never_sent() -> None:
    for _, packet in GOLDEN:
        assert encode(packet)[1] & 0x01 == 0


def test_A7_bytes_after_length_are_ignored() -> None:
    assert decode(bytes(UP) + b"whatever") == decode(bytes(UP))


def _with(offset: int, value: int) -> bytes:
    data = bytearray(UP)
    data[offset] = value
    return bytes(data)


@pytest.mark.parametrize("version", [0, 2, 7])
def test_B1_another_version_is_discarded(version: int) -> None:
    assert decode(_with(0, version << 5)) is Discard.VERSION


def test_B2_a_length_below_the_header_is_discarded() -> None:
    assert decode(_with(3, 23)) is Discard.LENGTH
    assert decode(_with(3, 0)) is Discard.LENGTH


def test_B2_an_authenticated_length_below_26_is_discarded() -> None:
    data = bytearray(_with(1, 0xC4)) + b"\x01\x02"
    assert decode(bytes(data)) is Discard.LENGTH
    data[3] = 25
    assert decode(bytes(data)) is Discard.LENGTH
    data[3] = 26
    assert isinstance(decode(bytes(data)), ControlPacket)


def test_B3_a_length_beyond_the_payload_is_discarded() -> None:
    assert decode(_with(3, 25)) is Discard.TRUNCATED
    assert decode(bytes(UP[:23])) is Discard.TRUNCATED


def test_B4_a_zero_multiplier_is_discarded() -> None:
    assert decode(_with(2, 0)) is Discard.DETECT_MULT


def test_B5_multipoint_is_discarded() -> None:
    assert decode(_with(1, 0xC1)) is Discard.MULTIPOINT


def test_B6_a_zero_my_discriminator_is_discarded() -> None:
    data = bytearray(UP)
    data[4:8] = bytes(4)
    assert decode(bytes(data)) is Discard.MY_DISCRIMINATOR


@pytest.mark.parametrize("state", list(State))
def test_B8_only_down_and_admin_down_may_lack_your_discriminator(state: State) -> None:
    result = decode(encode(ControlPacket(state, 1, 0)))
    if state in {State.INIT, State.UP}:
        assert result is Discard.NO_YOUR_DISCRIMINATOR
    else:
        assert isinstance(result, ControlPacket)


def test_B_the_first_failing_check_names_the_reason() -> None:
    # Everything is wrong; with each repair the next check of §6.8.6 speaks.
    data = bytearray(24)
    data[1] = 0xC1
    expected = [
        (0, 0x20, Discard.VERSION),
        (3, 25, Discard.LENGTH),
        (3, 24, Discard.TRUNCATED),
        (2, 3, Discard.DETECT_MULT),
        (1, 0xC0, Discard.MULTIPOINT),
        (7, 9, Discard.MY_DISCRIMINATOR),
        (11, 9, Discard.NO_YOUR_DISCRIMINATOR),
    ]
    for offset, repaired, why in expected:
        assert decode(bytes(data)) is why
        data[offset] = repaired
    assert isinstance(decode(bytes(data)), ControlPacket)
