"""The kernel's choice between two sockets on one port, for every kind of packet."""

import itertools
import socket
from collections.abc import Iterator

import pytest

from bfd.fsm import State
from bfd.packet import ControlPacket, encode
from bfd.steering import steer

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """The patient and the urgent socket, opened in the order of the transport."""
    host = "127.0.0.1" if request.param == socket.AF_INET else "::1"
    with (
        socket.socket(request.param, socket.SOCK_DGRAM) as patient,
        socket.socket(request.param, socket.SOCK_DGRAM) as urgent,
    ):
        patient.bind((host, 0))
        for sock in (patient, urgent):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.settimeout(5)
        urgent.bind(patient.getsockname())
        steer(urgent)
        yield patient, urgent


def taken_by(pair: Pair, data: bytes) -> str:
    """Which socket receives a datagram."""
    patient, urgent = pair
    with socket.socket(patient.family, socket.SOCK_DGRAM) as sender:
        sender.sendto(data, patient.getsockname())
        for name, sock in (("patient", patient), ("urgent", urgent)):
            sock.setblocking(False)
            try:
                assert sock.recv(512) == data
            except BlockingIOError:
                continue
            return name
    raise AssertionError("nobody got it")


def test_only_up_without_poll_and_final_can_wait(pair: Pair) -> None:
    for state, poll, final in itertools.product(State, (False, True), (False, True)):
        data = encode(ControlPacket(state, 7, 9, poll=poll, final=final))
        steady = state is State.UP and not poll and not final
        assert taken_by(pair, data) == ("patient" if steady else "urgent"), (state, poll, final)


def test_other_flags_and_a_diagnostic_do_not_matter(pair: Pair) -> None:
    packet = ControlPacket(State.UP, 7, 9, control_plane_independent=True, demand=True)
    assert taken_by(pair, encode(packet)) == "patient"
    assert taken_by(pair, encode(packet._replace(diagnostic=3))) == "patient"


def test_authenticated_packets_keep_their_order(pair: Pair) -> None:
    for state in State:
        data = encode(ControlPacket(state, 7, 9, auth=b"\1\4\1x"))
        assert taken_by(pair, data) == "urgent", state


@pytest.mark.parametrize("data", [b"", b"\x20"], ids=["empty", "one byte"])
def test_what_is_too_short_is_received_too(pair: Pair, data: bytes) -> None:
    assert taken_by(pair, data) in {"patient", "urgent"}
