"""``vegd capture`` on real interfaces."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bfd.fsm import State
from bfd.packet import ControlPacket, encode
from tests.support.bfd_process import ScriptedPeer, socket_in
from tests.support.capture import VEGD, capturing
from tests.support.netns import run, veth

pytestmark = pytest.mark.kernel

HERE, THERE = ("10.78.0.1", "fd78::1"), ("10.78.0.2", "fd78::2")
PASSWORD = b"\x01\x09\x07secret"


class Ends(NamedTuple):
    here: str
    there: str


@pytest.fixture
def ends(netns: Callable[[str], str]) -> Ends:
    made = Ends(netns("here"), netns("there"))
    veth(
        *(made.here, "eth0", made.there, "far0"),
        addresses_a=[f"{HERE[0]}/24", f"{HERE[1]}/64"],
        addresses_b=[f"{THERE[0]}/24", f"{THERE[1]}/64"],
    )
    return made


def raw_sender(ns: str, interface: str) -> socket.socket:
    sock = socket_in(ns, socket.AF_PACKET, socket.SOCK_RAW)
    sock.bind((interface, 0))
    return sock


def test_both_directions_and_families_are_shown_as_they_pass(ends: Ends) -> None:
    with (
        contextlib.closing(ScriptedPeer(ends.there, THERE[0], HERE[0])) as four,
        contextlib.closing(ScriptedPeer(ends.there, THERE[1], HERE[1])) as six,
        contextlib.closing(ScriptedPeer(ends.here, HERE[0], THERE[0])),
        contextlib.closing(ScriptedPeer(ends.here, HERE[1], THERE[1], discr=99)) as back,
        capturing(ends.here, lambda: four.send(State.ADMIN_DOWN), "eth0", "--json") as capture,
    ):
        six.send(State.UP, ttl=254, your_discr=5, poll=True)
        back.send(State.INIT, your_discr=6)
        shown: list[dict[str, Any]] = []
        while len(shown) < 2:
            packet = capture.json()
            shown += [packet] if packet["state"] != "AdminDown" else []
        assert [(x["direction"], x["source"], x["destination"], x["ttl"]) for x in shown] == [
            ("in", THERE[1], HERE[1], 254),
            ("out", HERE[1], THERE[1], 255),
        ]
        assert [(x["state"], x["my_discr"], x["poll"]) for x in shown] == [
            ("Up", 77, True),
            ("Init", 99, False),
        ]
        assert shown[0]["anomalies"] == ["TTL 254 is below 255"]
        assert all(abs(x["time"] - time.time()) < 30 for x in shown)
        status, _, err = capture.end(signal.SIGINT)
        assert status == 0, "Ctrl-C is how one leaves"
        assert "with something wrong" in err
        assert "Traceback" not in err


def test_the_peer_the_count_and_the_file(ends: Ends, tmp_path: Path) -> None:
    file = tmp_path / "seen.pcap"
    with (
        contextlib.closing(ScriptedPeer(ends.there, THERE[0], HERE[0])) as wanted,
        contextlib.closing(ScriptedPeer(ends.there, THERE[1], HERE[1])) as other,
        contextlib.closing(ScriptedPeer(ends.here, HERE[0], THERE[0])),
        contextlib.closing(ScriptedPeer(ends.here, HERE[1], THERE[1])),
    ):

        def knock() -> None:
            other.send(State.DOWN)
            wanted.send(State.DOWN)

        options = ("eth0", "--peer", THERE[0], "--count", "3", "--write", str(file))
        with capturing(ends.here, knock, *options) as capture:
            secret = ControlPacket(State.UP, 77, 5, auth=PASSWORD)
            for _ in range(3):
                wanted.send_bytes(encode(secret))
            status, out, err = capture.end()
    assert status == 0
    assert "3 packets" in err
    assert out
    assert all(f"{THERE[0]} > {HERE[0]}" in line for line in out)
    assert b"secret" not in file.read_bytes()
    assert b"\x01\x09\x07******" in file.read_bytes()
    again = run(ends.here, VEGD, "capture", "--read", str(file))
    times = [line.split()[0] for line in again.stdout.splitlines()]
    assert len(times) == 3
    assert times[-len(out) :] == [line.split()[0] for line in out]
    assert "auth simple key 7" in again.stdout


def test_vlan_tags_and_ip_options_hide_nothing_and_other_traffic_is_left_out(ends: Ends) -> None:
    from scapy.layers.inet import IP, UDP, IPOption  # noqa: PLC0415 - slow to load
    from scapy.layers.inet6 import IPv6  # noqa: PLC0415
    from scapy.layers.l2 import Dot1Q, Ether  # noqa: PLC0415
    from scapy.packet import Packet  # noqa: PLC0415

    payload = encode(ControlPacket(State.DOWN, 1))
    ether = Ether(src="02:00:00:00:00:01", dst="ff:ff:ff:ff:ff:ff")

    def four(last: int, port: int = 3784, **fields: object) -> Packet:
        header = IP(src=f"10.0.0.{last}", dst="10.0.0.99", ttl=255, **fields)
        return header / UDP(sport=50_000, dport=port) / payload

    six = IPv6(src="fd00::5", dst="fd00::99", hlim=255) / UDP(sport=50_000, dport=4784) / payload
    frames = [
        ether / four(2, port=3785),
        ether / Dot1Q(vlan=5) / four(3, port=53),
        ether / four(4, frag=100),
        ether / Dot1Q(vlan=5) / six,
        ether / Dot1Q(vlan=5) / Dot1Q(vlan=6) / four(6),
        ether / four(7, options=[IPOption(b"\x94\x04\x00\x00")]),
        ether / four(8),
    ]
    with contextlib.closing(raw_sender(ends.there, "far0")) as sock:
        first = bytes(ether / four(1))
        with capturing(ends.here, lambda: sock.send(first), "--json") as capture:
            for frame in frames:
                sock.send(bytes(frame))
            sources: list[str] = []
            while "10.0.0.8" not in sources:
                shown = capture.json()
                assert shown["interface"] == "eth0", "on every interface, without a name"
                sources.append(shown["source"])
    assert [x for x in sources if x != "10.0.0.1"] == [
        "fd00::5",
        "10.0.0.6",
        "10.0.0.7",
        "10.0.0.8",
    ]


def test_each_mistake_is_one_clear_line(ends: Ends, tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(b"no capture file at all")
    for arguments, status, text in (
        (["nosuch0"], 1, "there is no interface 'nosuch0'"),
        (["--read", str(junk)], 1, "is not a capture file"),
        (["--read", str(tmp_path / "absent")], 1, "No such file"),
        (["eth0", "--write", str(tmp_path / "no/dir.pcap")], 1, "cannot be written"),
        (["eth0", "--read", str(junk)], 2, "a file has no interfaces"),
        (["--read", str(junk), "--write", str(junk)], 2, "name another"),
        (["--peer", "somebody"], 2, "'somebody' is not an IP address"),
        (["--count", "0"], 2, "--count"),
    ):
        done = run(ends.here, VEGD, "capture", *arguments, check=False)
        assert done.returncode == status, (arguments, done.stderr)
        assert text in " ".join(done.stderr.replace("│", " ").split())
        assert "Traceback" not in done.stderr


def test_without_the_capability_it_says_which(ends: Ends) -> None:
    less = ("setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw")
    done = run(ends.here, *less, VEGD, "capture", "eth0", check=False)
    assert done.returncode == 1
    assert "CAP_NET_RAW" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_scapy_it_says_which_extra() -> None:
    code = (
        "import sys; sys.modules['scapy'] = None; sys.argv = ['vegd', 'capture']\n"
        "from vegd.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 1
    assert done.stderr.startswith("vegd: vegd capture needs scapy")
    assert "vegd[capture]" in done.stderr


def test_the_daemon_and_the_other_commands_never_load_scapy() -> None:
    code = (
        "import sys, vegd.cli.app, vegd.agent, vegd.cli.daemon, vegd.cli.capture\n"
        "print('scapy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
