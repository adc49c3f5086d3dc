"""Decoders that others have written agree with our codec on packets of every kind."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from bfd.auth import AuthConfig, Authentication, AuthKey, AuthType
from bfd.fsm import State
from bfd.packet import ControlPacket, decode, encode
from tests.support.decoders import by_scapy, by_tshark, by_us, require_tshark

numbers = st.integers(1, 2**32 - 1)
packets = st.builds(
    ControlPacket,
    state=st.sampled_from(State),
    my_discr=numbers,
    your_discr=numbers,
    desired_min_tx_us=st.integers(0, 2**32 - 1),
    required_min_rx_us=st.integers(0, 2**32 - 1),
    required_min_echo_rx_us=st.integers(0, 2**32 - 1),
    detect_mult=st.integers(1, 255),
    diagnostic=st.integers(0, 31),
    poll=st.booleans(),
    final=st.booleans(),
    control_plane_independent=st.booleans(),
    demand=st.booleans(),
    auth=st.just(b""),
)


@st.composite
def keys(draw: st.DrawFn) -> AuthKey:
    kind = draw(st.sampled_from(AuthType))
    secret = draw(st.binary(min_size=1, max_size=kind.longest_secret))
    return AuthKey(draw(st.integers(0, 255)), kind, "/key", secret)


@st.composite
def wires(draw: st.DrawFn) -> bytes:
    packet = draw(packets)
    key = draw(st.none() | keys())
    if key is None:
        return encode(packet)
    auth = Authentication(AuthConfig((key,), key.key_id), draw(numbers))
    return auth.sign(encode(packet._replace(auth=auth.section)))


@pytest.mark.timeout(180)
@settings(
    max_examples=5,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(wires(), min_size=20, max_size=80))
def test_A1_A5_A6_scapy_and_tshark_read_what_we_write(tmp_path: Path, wires: list[bytes]) -> None:
    require_tshark()
    path = tmp_path / "random.pcap"
    header = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    header /= IP(src="192.0.2.1", dst="192.0.2.2", ttl=255) / UDP(sport=50_000, dport=3784)
    wrpcap(str(path), [header / wire for wire in wires])
    ours = []
    for wire in wires:
        packet = decode(wire)
        assert isinstance(packet, ControlPacket)
        ours.append(by_us(packet))
    assert by_tshark(path) == ours
    assert [by_scapy(wire) for wire in wires] == ours
