"""Announcements to neighbours: the frames as scapy reads them, and what a host makes of them."""

import warnings
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from dataplane.announce import announce, gratuitous_arp, unsolicited_advertisement
from dataplane.errors import Refused
from dataplane.model import AddressRange, Translation
from dataplane.render import external_addresses
from tests.support.dataplane import (
    EXTERNAL,
    eventually,
    gateway_intent,
    inside_thread,
    ready,
    with_kernel,
)
from tests.support.netns import ip, ip_json

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
    from scapy.layers.l2 import ARP, Ether

_MAC = "02:00:00:00:00:0a"
_RAW = bytes.fromhex(_MAC.replace(":", ""))
_POOL = Translation(
    (
        AddressRange(ip_address("172.17.0.32"), ip_address("172.17.0.34")),
        AddressRange(ip_address("fd17::20"), ip_address("fd17::20")),
        # Nobody on the link looks for that one.
        AddressRange(ip_address("203.0.113.1"), ip_address("203.0.113.1")),
    )
)


def test_gratuitous_arp_is_an_arp_announcement() -> None:
    read = Ether(gratuitous_arp(_RAW, ip_address("172.17.0.11")))
    assert (read.dst, read.src) == ("ff:ff:ff:ff:ff:ff", _MAC)
    arp = read[ARP]
    assert (arp.op, arp.hwsrc, arp.psrc, arp.pdst) == (1, _MAC, "172.17.0.11", "172.17.0.11")
    assert arp.hwdst == "00:00:00:00:00:00"


@pytest.mark.parametrize("router", [False, True])
def test_unsolicited_advertisement_overrides_and_goes_to_all_nodes(router: bool) -> None:
    frame = unsolicited_advertisement(_RAW, ip_address("fd17::11"), router=router)
    read = Ether(frame)
    assert (read.dst, read.src) == ("33:33:00:00:00:01", _MAC)
    assert (read[IPv6].src, read[IPv6].dst, read[IPv6].hlim) == ("fd17::11", "ff02::1", 255)
    advertisement = read[ICMPv6ND_NA]
    assert (int(router), 0, 1) == (advertisement.R, advertisement.S, advertisement.O)
    assert advertisement.tgt == "fd17::11"
    assert read[ICMPv6NDOptDstLLAddr].lladdr == _MAC
    checksum = advertisement.cksum
    del advertisement.cksum
    assert Ether(bytes(read))[ICMPv6ND_NA].cksum == checksum
    assert bytes(Ether(bytes(read))) == frame


def test_the_external_addresses_are_those_of_the_link_and_of_snat() -> None:
    found = {str(each) for each in external_addresses(gateway_intent(translation=_POOL))}
    pool = {"172.17.0.32", "172.17.0.33", "172.17.0.34", "fd17::20"}
    assert found == {"172.17.0.11", "fd17::11"} | pool


def _neighbour(ns: str, address: str) -> str | None:
    """The MAC that a host has in its cache for an address."""
    entries = ip_json("neigh", "show", "to", address, ns=ns)
    return next((each["lladdr"] for each in entries if "lladdr" in each), None)


@pytest.mark.kernel
@pytest.mark.parametrize("version", [4, 6])
def test_a_host_takes_the_announced_mac_into_its_cache(
    netns: Callable[[str], str], version: int
) -> None:
    top = ready(netns, gateway_intent(translation=_POOL))
    mac = ip_json("link", "show", "net1", ns=top.gateway)[0]["address"]
    pool = {4: "172.17.0.33", 6: "fd17::20"}[version]
    for address in (EXTERNAL[version], pool):
        ip("neigh", "replace", address, "lladdr", _MAC, "dev", "o0", "nud", "stale", ns=top.outside)
    addresses = external_addresses(gateway_intent(translation=_POOL))
    with_kernel(top.gateway, lambda kernel: kernel.announce("net1", addresses))
    for address in (EXTERNAL[version], pool):
        eventually(lambda address=address: _neighbour(top.outside, address) == mac)  # type: ignore[misc]


@pytest.mark.kernel
def test_an_interface_that_is_gone_or_without_ethernet(netns: Callable[[str], str]) -> None:
    ns = netns("gw")
    mine = [ip_address("172.17.0.11")]
    with pytest.raises(Refused, match="announcement on net1: no such device"):
        inside_thread(ns, lambda: announce("net1", mine, router=False))
    ip("link", "add", "d0", "type", "bridge", ns=ns)
    with pytest.raises(Refused, match="announcement on d0: network is down"):
        inside_thread(ns, lambda: announce("d0", mine, router=False))
    assert inside_thread(ns, lambda: announce("lo", mine, router=False)) == 0
