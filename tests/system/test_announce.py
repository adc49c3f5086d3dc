"""An external address moves from one gateway to the next: what a host on the outside notices."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Site, build, eventually
from tests.support.dataplane import udp
from tests.support.netns import ip, ip_json, run, veth

pytestmark = [pytest.mark.system, pytest.mark.kernel, pytest.mark.timeout(90)]

_OWN = ("172.17.0.11", "fd17::11")
_POOL = ("172.17.0.32", "fd17::20")
_SENT = "vegd_neighbour_announcements_total"


@pytest.fixture
def sites(netns: Callable[[str], str], tmp_path: Path) -> Iterator[tuple[Site, Site, str]]:
    """Two gateways with the same external addresses, and a host on the link of both."""
    host = netns("host")
    ip("link", "add", "br0", "type", "bridge", ns=host)
    made = []
    for number in (1, 2):
        directory = tmp_path / str(number)
        directory.mkdir()
        site = build(netns, directory)
        ip("link", "del", "ext0", ns=site.gateway)
        veth(site.gateway, "ext0", host, f"port{number}")
        ip("link", "set", f"port{number}", "master", "br0", ns=host)
        del site.spec["bfd"]
        site.spec["external"]["snat"] = {"addresses": list(_POOL)}
        site.write()
        made.append(site)
    ip("address", "add", "172.17.0.1/16", "dev", "br0", ns=host)
    ip("address", "add", "fd17::1/64", "dev", "br0", "nodad", ns=host)
    ip("link", "set", "br0", "up", ns=host)
    yield made[0], made[1], host
    for site in made:
        site.close()


def _cached(host: str) -> set[str]:
    """The MACs in the host's neighbour cache for the external addresses."""
    return {
        each.get("lladdr", "none")
        for each in ip_json("neigh", "show", "dev", "br0", ns=host)
        if each["dst"] in (*_OWN, *_POOL)
    }


def _mac(site: Site) -> str | None:
    """The gateway's own, if its interface is there."""
    links = ip_json("link", "show", ns=site.gateway)
    return next((each["address"] for each in links if each["ifname"] == "net1"), None)


def _answers(host: str, address: str) -> bool:
    """Whether the gateway refuses what nobody there listens for."""
    with udp(host, "::" if ":" in address else "0.0.0.0") as channel:  # noqa: S104
        channel.settimeout(1)
        channel.connect((address, 9))
        try:
            channel.send(b"anybody there?")
            channel.recv(100)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _believe(host: str, address: str, mac: str) -> None:
    ip("neigh", "replace", address, "lladdr", mac, "dev", "br0", "nud", "stale", ns=host)


def _external(site: Site) -> set[str]:
    links = ip_json("address", "show", "dev", "net1", "scope", "global", ns=site.gateway)
    infos = (each for link in links for each in link.get("addr_info", ()))
    return {each["local"] for each in infos if "local" in each}


def test_the_successor_is_found_at_once_and_who_leaves_answers_no_more(
    sites: tuple[Site, Site, str],
) -> None:
    first, second, host = sites
    with first.daemon() as leaving:
        leaving.wait_for("ready")
        for address in (*_OWN, *_POOL):
            eventually(lambda address=address: _answers(host, address), address)  # type: ignore[misc]
        assert _cached(host) == {_mac(first)}
        assert _external(first) == {*_OWN, *_POOL}
        leaving.process.send_signal(signal.SIGTERM)
        assert leaving.ends() == 0
    assert _external(first) == set()
    run(host, "ip", "neigh", "flush", "all")
    assert not [each for each in (*_OWN, *_POOL) if _answers(host, each)]
    # The host still has it by the first gateway's MAC and sends nothing itself.
    for address in (*_OWN, *_POOL):
        _believe(host, address, str(_mac(first)))
    with second.daemon() as successor:
        successor.wait_for("ready")
        eventually(lambda: _cached(host) == {_mac(second)}, "the host knows the successor")


def test_news_are_told_some_times_and_then_now_and_then(sites: tuple[Site, Site, str]) -> None:
    site, _, host = sites
    site.spec["external"]["announce"] = {"times": 1, "every": 0}
    site.write()
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        eventually(lambda: site.metric(_SENT) >= 4, "told at the start")
        # Another address is news, and so is an interface that somebody has replaced.
        before = site.metric(_SENT)
        site.spec["external"]["snat"] = {"addresses": ["172.17.0.40"]}
        site.write()
        eventually(lambda: site.metric(_SENT) >= before + 3, "told of the change")
        _believe(host, _OWN[0], "02:00:00:00:00:0a")
        ip("link", "del", "net1", ns=site.gateway)
        eventually(lambda: _cached(host) == {_mac(site)}, "told of the new interface")
        site.spec["external"]["announce"] = {"times": 0, "every": 1}
        site.write()
        before = site.metric(_SENT)
        eventually(lambda: site.metric(_SENT) >= before + 9, "told again and again")
        # Who drains is silent: another one may have the address already.
        assert site.page("/v1/drain", "POST") is not None
        eventually(lambda: site.metric("vegd_drain_quiet_seconds") > 1, "the last one is out")
        before = site.metric(_SENT)
        eventually(lambda: site.metric("vegd_drain_quiet_seconds") > 3, "two seconds more")
        assert site.metric(_SENT) == before
        _believe(host, _OWN[0], "02:00:00:00:00:0b")
        assert site.page("/v1/undrain", "POST") is not None
        eventually(lambda: _cached(host) == {_mac(site)}, "told after the drain")
        assert site.metric("vegd_neighbour_announcements_failed_total") == 0
