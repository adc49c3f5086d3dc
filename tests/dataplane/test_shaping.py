"""The bandwidth limit: real traffic through the kernel's shaper, and what goes past it."""

import socket
import time
from collections.abc import Callable

import pytest

from dataplane.model import Bandwidth
from dataplane.plan import Plan
from dataplane.render import render
from tests.support.dataplane import (
    EXTERNAL,
    OUTSIDE,
    OUTSIDE_PORT,
    SNAT_CLIENT,
    apply_in,
    conversation,
    exchange,
    gateway_intent,
    plan_in,
    ready,
    udp,
)
from tests.support.netns import run

pytestmark = pytest.mark.kernel

Netns = Callable[[str], str]
_LIMIT = 4_000_000
_PACKETS, _SIZE = 400, 1000


def _passed(ns: str, interface: str) -> int:
    """Packets that the shaper of an interface has let through."""
    listing = run(ns, "tc", "-s", "class", "show", "dev", interface).stdout
    return int(listing.split("8600:1", 1)[1].split(" bytes ")[1].split()[0])


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("way", ["egress", "ingress"])
def test_what_is_forwarded_takes_its_time(netns: Netns, version: int, way: str) -> None:
    bandwidth = {"egress": Bandwidth(to_outside=_LIMIT), "ingress": Bandwidth(to_vpc=_LIMIT)}[way]
    top = ready(netns, gateway_intent(bandwidth=bandwidth))
    with conversation(top, SNAT_CLIENT[version], version) as (ours, theirs):
        assert exchange(ours, theirs, version) == EXTERNAL[version]
        ours.sendto(b"ask", (OUTSIDE[version], OUTSIDE_PORT))
        _, seen = theirs.recvfrom(100)
        sender, receiver, target = {
            "egress": (ours, theirs, (OUTSIDE[version], OUTSIDE_PORT)),
            "ingress": (theirs, ours, seen),
        }[way]
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        began = time.monotonic()
        for _ in range(_PACKETS):
            sender.sendto(bytes(_SIZE), target)
        for _ in range(_PACKETS):
            receiver.recv(2000)
        took = time.monotonic() - began
    # A slow machine can only take longer: the shaper must not let it be shorter.
    burst = _LIMIT / 250 + 3200 * 8
    assert took >= 0.9 * (_PACKETS * _SIZE * 8 - burst) / _LIMIT
    assert _passed(top.gateway, {"egress": "net1", "ingress": "eth0"}[way]) >= _PACKETS


@pytest.mark.parametrize(("own", "peer"), [("192.168.0.2", "192.168.0.1"), ("fd00::2", "fd00::1")])
def test_bfd_passes_beside_the_shaper(netns: Netns, own: str, peer: str) -> None:
    top = ready(netns, gateway_intent(bandwidth=Bandwidth(to_vpc=1_000_000)))
    with udp(top.gateway, own, 3784) as ours, udp(top.vpc, peer, 3784) as theirs:
        before = _passed(top.gateway, "eth0")
        for _ in range(5):
            ours.sendto(b"bfd", (peer, 3784))
            assert theirs.recv(100) == b"bfd"
        assert _passed(top.gateway, "eth0") == before


def test_the_shaper_is_changed_repaired_and_removed(netns: Netns) -> None:
    top = ready(netns, gateway_intent(bandwidth=Bandwidth(to_outside=_LIMIT)))
    for bandwidth in (Bandwidth(_LIMIT, 2 * _LIMIT), Bandwidth(to_vpc=34_359_000_000)):
        wish = render(gateway_intent(bandwidth=bandwidth))
        assert apply_in(top.gateway, wish).ok
        assert plan_in(top.gateway, wish) == Plan.empty
    run(top.gateway, "tc", "class", "change", "dev", "eth0", "parent", "8600:", "classid",
        "8600:1", "htb", "rate", "1mbit")  # fmt: skip
    assert plan_in(top.gateway, wish).lines() == ["~ shaper dev eth0 rate 34359000000 bit/s"]
    run(top.gateway, "tc", "qdisc", "del", "dev", "eth0", "root")
    assert plan_in(top.gateway, wish).lines() == ["+ shaper dev eth0 rate 34359000000 bit/s"]
    assert apply_in(top.gateway, wish).ok
    assert apply_in(top.gateway, render(gateway_intent())).ok
    assert "htb" not in run(top.gateway, "tc", "qdisc", "show").stdout


def test_the_discipline_of_somebody_else_stays(netns: Netns) -> None:
    top = ready(netns)
    run(top.gateway, "tc", "qdisc", "add", "dev", "eth0", "root", "handle", "7:", "pfifo")
    report = apply_in(top.gateway, render(gateway_intent(bandwidth=Bandwidth(to_vpc=_LIMIT))))
    ((op, error),) = report.failed
    assert op.kind == "shaper"
    assert "eth0" in str(error)
    assert "qdisc pfifo 7:" in run(top.gateway, "tc", "qdisc", "show", "dev", "eth0").stdout
