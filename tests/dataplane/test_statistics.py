"""The counters of interfaces are those that ip(8) shows."""

import socket
import time
from collections.abc import Callable

import pytest

from dataplane.statistics import InterfaceStatistics, Traffic, read
from tests.support.bfd_process import socket_in
from tests.support.dataplane import inside_thread
from tests.support.netns import ip_json, veth

pytestmark = pytest.mark.kernel

_PATIENCE_S = 30.0


def test_an_interface_counts_as_ip_shows(netns: Callable[[str], str]) -> None:
    near, far = netns("near"), netns("far")
    veth(near, "va", far, "vb", ["10.1.0.1/24"], ["10.1.0.2/24"])
    with socket_in(near, socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"any", ("10.1.0.2", 9))
    # The kernel sends of its own accord, and counts, also what finds no carrier, whenever it likes:
    # ours has to be what ip shows both before and after.
    end = time.monotonic() + _PATIENCE_S
    while (before := _shown(near)) != (read_here := _read(near)) or _shown(near) != before:
        assert time.monotonic() < end, (before, read_here)
    assert read_here.name == "va"
    assert read_here.transmit.packets >= 1


def _read(ns: str) -> InterfaceStatistics:
    """As we read it."""
    (found,) = inside_thread(ns, lambda: read(["va", "not there"]))
    return found


def _shown(ns: str) -> InterfaceStatistics:
    """As ip(8) shows it."""
    (shown,) = ip_json("-s", "link", "show", "dev", "va", ns=ns)
    sides = shown["stats64"]
    return InterfaceStatistics("va", _traffic(sides["rx"]), _traffic(sides["tx"]))


def _traffic(side: dict[str, int]) -> Traffic:
    return Traffic(side["bytes"], side["packets"], side["errors"], side["dropped"])
