"""Two decoders of BFD that are not ours: scapy and tshark."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from scapy.contrib.bfd import BFD

from bfd.packet import ControlPacket

_FIELDS = {
    "bfd.version": None,
    "bfd.diag": "diagnostic",
    "bfd.sta": "state",
    "bfd.flags.p": "poll",
    "bfd.flags.f": "final",
    "bfd.flags.c": "control_plane_independent",
    "bfd.flags.a": "authenticated",
    "bfd.flags.d": "demand",
    "bfd.flags.m": None,
    "bfd.detect_time_multiplier": "detect_mult",
    "bfd.message_length": "length",
    "bfd.my_discriminator": "my_discr",
    "bfd.your_discriminator": "your_discr",
    "bfd.desired_min_tx_interval": "desired_min_tx_us",
    "bfd.required_min_rx_interval": "required_min_rx_us",
    "bfd.required_min_echo_interval": "required_min_echo_rx_us",
    "bfd.auth.type": "auth_type",
    "bfd.auth.len": "auth_length",
    "bfd.auth.key": "auth_key_id",
    "bfd.auth.seq_num": "auth_sequence",
}


def require_tshark() -> None:
    """Fail under CI, else skip, where tshark is missing."""
    if shutil.which("tshark") is None:
        reason = "the program tshark is missing (Debian package tshark)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def by_us(packet: ControlPacket) -> dict[str, int]:
    """What our codec has read, as numbers."""
    told = {name: int(value) for name, value in packet._asdict().items() if name != "auth"}
    auth = packet.auth
    told |= {"authenticated": int(bool(auth)), "length": 24 + len(auth)}
    if auth:
        told |= {"auth_type": auth[0], "auth_length": auth[1], "auth_key_id": auth[2]}
        if auth[0] > 1:
            told["auth_sequence"] = int.from_bytes(auth[4:8], "big")
    return told


def by_tshark(path: Path) -> list[dict[str, int]]:
    """Every BFD packet of a capture file as tshark reads it."""
    columns = [word for field in _FIELDS for word in ("-e", field)]
    command = ["tshark", "-n", "-r", str(path), "-Y", "bfd", "-T", "fields", *columns]
    done = subprocess.run(
        # Ports of random packets are nobody's: no other dissector may claim them first.
        [*command, "-d", "udp.port==3784,bfd", "-d", "udp.port==4784,bfd"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [
        {
            name: int(text, 0)
            for name, text in zip(_FIELDS.values(), line.split("\t"), strict=True)
            if name is not None and text
        }
        for line in done.stdout.splitlines()
    ]


def by_scapy(data: bytes) -> dict[str, int]:
    """One datagram as scapy reads it."""
    packet: Any = BFD(data)
    flags = packet.flags
    told = {
        "diagnostic": packet.diag,
        "state": packet.sta,
        "poll": int(flags.P),
        "final": int(flags.F),
        "control_plane_independent": int(flags.C),
        "authenticated": int(flags.A),
        "demand": int(flags.D),
        "detect_mult": packet.detect_mult,
        "length": packet.len,
        "my_discr": packet.my_discriminator,
        "your_discr": packet.your_discriminator,
        "desired_min_tx_us": packet.min_tx_interval,
        "required_min_rx_us": packet.min_rx_interval,
        "required_min_echo_rx_us": packet.echo_rx_interval,
    }
    if flags.A:
        auth = packet.optional_auth
        told |= {
            "auth_type": auth.auth_type,
            "auth_length": auth.auth_len,
            "auth_key_id": auth.auth_keyid,
        }
        if auth.auth_type > 1:
            told["auth_sequence"] = auth.sequence_number
    return told
