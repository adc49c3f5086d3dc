"""The counters of interfaces are those that ip(8) shows."""

import socket
from collections.abc import Callable

import pytest

from dataplane.statistics import Traffic, read
from tests.support.bfd_process import socket_in
from tests.support.dataplane import inside_thread
from tests.support.netns import ip, ip_json, veth

pytestmark = pytest.mark.kernel


def test_an_interface_counts_as_ip_shows(netns: Callable[[str], str]) -> None:
    near, far = netns("near"), netns("far")
    veth(near, "va", far, "vb", ["10.1.0.1/24"], ["10.1.0.2/24"])
    with socket_in(near, socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"any", ("10.1.0.2", 9))
    # Without a carrier nothing comes between the two readings.
    ip("link", "set", "vb", "down", ns=far)
    (found,) = inside_thread(near, lambda: read(["va", "not there"]))
    (shown,) = ip_json("-s", "link", "show", "dev", "va", ns=near)
    sides = shown["stats64"]
    assert found.name == "va"
    assert found.receive == _traffic(sides["rx"])
    assert found.transmit == _traffic(sides["tx"])
    assert found.transmit.packets >= 1


def _traffic(side: dict[str, int]) -> Traffic:
    return Traffic(side["bytes"], side["packets"], side["errors"], side["dropped"])
