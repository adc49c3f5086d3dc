"""Random input for packets and for the control socket; `make fuzz` does the same for hours."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bfd.fsm import State
from bfd.packet import ControlPacket, encode
from bfd.snapshot import config_to_json
from tests.support.bfd import FAST
from tests.support.bfd_auth import a_key, signed
from tests.support.fuzzing import KINDS, control_input, packet_input

numbers = st.integers(0, 2**32 - 1)


@st.composite
def pieces(draw: st.DrawFn) -> bytes:
    """One piece for `packet_input`: right, nearly right, or noise."""
    kind = draw(st.integers(0, len(KINDS) - 1))
    state = draw(st.sampled_from(State))
    packet = ControlPacket(state, draw(numbers), draw(numbers), draw(numbers), draw(numbers))
    auth_type = KINDS[kind]
    if auth_type is None:
        wire = encode(packet)
    else:
        wire = signed(packet, a_key(kind=auth_type), draw(numbers))
    if draw(st.booleans()) and wire:
        place = draw(st.integers(0, len(wire) - 1))
        wire = wire[:place] + draw(st.binary(max_size=8)) + wire[place + 1 :]
    head = bytes(
        [2 * kind + draw(st.integers(0, 1)), draw(st.integers(0, 2)), draw(st.integers(0, 255))]
    )
    piece = head + draw(st.just(wire) | st.binary(max_size=60))
    return bytes([len(piece)]) + piece


@pytest.mark.timeout(120)
@settings(max_examples=150)
@given(st.lists(pieces(), max_size=12))
def test_B12_no_datagram_raises_and_each_is_counted(pieces: list[bytes]) -> None:
    packet_input(b"".join(pieces))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
operations = ["begin", "put", "commit", "snapshot", "page", "override", "history", "clear", "drain"]
SESSION = config_to_json(FAST)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    message = {"op": draw(st.sampled_from(operations)), "generation": 1, "from": 0}
    session = dict(SESSION)
    if draw(st.booleans()):
        session[draw(st.sampled_from(sorted(SESSION)))] = draw(values)
    message |= {"session": session, "override": {}}
    if draw(st.booleans()):
        message[draw(st.sampled_from(sorted(message)))] = draw(values)
    return json.dumps(message).encode()


@pytest.mark.timeout(120)
@settings(max_examples=100)
@given(st.lists(requests() | st.binary(max_size=40), max_size=8))
def test_no_request_raises_and_each_refusal_has_words(lines: list[bytes]) -> None:
    control_input(b"\n".join(lines))
