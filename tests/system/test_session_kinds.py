"""The daemon with each kind of session: multihop, and bound to an interface."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Site, build, eventually, get
from tests.support.netns import ip, ip_json, veth

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]


@pytest.fixture
def site(netns: Callable[[str], str], tmp_path: Path) -> Iterator[Site]:
    built = build(netns, tmp_path)
    yield built
    built.close()


def _bfd(*peers: dict[str, Any]) -> dict[str, Any]:
    return {"minTX": 50, "minRX": 50, "peers": list(peers)}


def _link_local(ns: str, interface: str) -> str:
    """The link-local address, once it can be used."""
    found: list[str] = []

    def is_there() -> bool:
        (shown,) = ip_json("address", "show", "dev", interface, ns=ns)
        found[:] = [
            one["local"]
            for one in shown["addr_info"]
            if one["scope"] == "link" and not one.get("tentative")
        ]
        return bool(found)

    eventually(is_there, f"a link-local address on {interface}")
    return found[0]


def _states(site: Site) -> dict[tuple[str, str, bool], int]:
    return {
        (c["peer"], c["interface"], c["multihop"]): each["state"]
        for each in site.sessions()
        for c in [each["config"]]
    }


def test_I1_multihop_and_single_hop_to_one_router_are_up_side_by_side(site: Site) -> None:
    router = "10.255.255.255"
    site.write(bfd=_bfd({"address": router}, {"address": router, "multihop": True}))
    site.router_engine([(router, "192.168.0.2", "", kind) for kind in (False, True)])
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        both = {(router, "", False): 3, (router, "", True): 3}
        eventually(lambda: _states(site) == both, "both kinds Up")
        table = site.vegd("sessions", "--runtime-dir", str(site.runtime_dir)).stdout
        assert f"{router} multihop" in table
        lines = daemon.wait_for("ready")["sessions"]
        assert [(line["peer"], line["multihop"]) for line in lines] == [
            (router, False),
            (router, True),
        ]


def test_H6_one_link_local_peer_on_two_interfaces_and_one_that_goes_and_returns(
    site: Site,
) -> None:
    ip("address", "add", "fe80::99/64", "dev", "gw", "nodad", ns=site.router)
    site.write(
        bfd=_bfd(
            {"address": "fe80::99", "interface": "eth0"},
            # The kernel makes up another address whenever the interface is made anew.
            {"address": "fe80::99", "interface": "eth5", "local": "fe80::5"},
        )
    )
    with site.daemon() as daemon:
        status = daemon.wait_for("ready")
        assert "the BFD peer fe80::99 waits for interface eth5, which does not exist yet" in str(
            status["notes"]
        )
        veth(site.gateway, "eth5", site.router, "gw5", ["fe80::5/64"], ["fe80::99/64"])
        ours = _link_local(site.gateway, "eth0")
        eventually(lambda: len(_states(site)) == 2, "a session on the interface that has appeared")
        site.router_engine([("fe80::99", ours, "gw"), ("fe80::99", "fe80::5", "gw5")])
        up = {("fe80::99", "eth0", False): 3, ("fe80::99", "eth5", False): 3}
        eventually(lambda: _states(site) == up, "both Up")
        discriminators = {each["remote_discr"] for each in site.sessions()}
        assert len(discriminators) == 2
        ip("link", "del", "eth5", ns=site.gateway)
        alone = {("fe80::99", "eth0", False): 3}
        eventually(lambda: _states(site) == alone, "the session has gone with its interface")
        assert "waits for interface eth5" in str(daemon.wait_for("ready")["notes"])
        veth(site.gateway, "eth5", site.router, "gw5", ["fe80::5/64"], ["fe80::99/64"])
        eventually(lambda: _states(site) == up, "and Up again with it")


def test_J1_J3_J5_a_peer_begins_a_session_and_is_forgotten_after_it_has_gone(site: Site) -> None:
    entry = {"interface": "eth0", "sources": ["192.168.0.0/24"], "sessions": 1}
    ours = "192.168.0.2"
    guest = ("192.168.0.1", "eth0", False)
    for each in ("192.168.0.77/24", "192.168.1.1/24"):
        ip("address", "add", each, "dev", "gw", ns=site.router)
    site.write(bfd=_bfd({"address": "10.255.255.255"}))
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        site.router_engine([("192.168.0.1", ours), ("10.255.255.255", ours)])
        configured = ("10.255.255.255", "", False)
        eventually(lambda: _states(site)[configured] == 3, "the configured session Up")
        assert _states(site).keys() == {configured}
        site.write(bfd=site.spec["bfd"] | {"unsolicited": [entry]})
        both = {configured: 3, guest: 3}
        eventually(lambda: _states(site) == both, "a session that the peer has begun")
        lines = daemon.wait_for("ready")["sessions"]
        assert {line["peer"]: line["unsolicited"] for line in lines} == {
            "192.168.0.1": True,
            "10.255.255.255": False,
        }
        shown = site.vegd(
            "sessions", "show", "192.168.0.1", "--runtime-dir", str(site.runtime_dir)
        ).stdout
        assert "unsolicited" in shown
        assert "vegd_bfd_unsolicited_sessions 1.0" in get(site.gateway, "/metrics")[1]
        for engine in site.engines:
            engine.kill()
        eventually(lambda: _states(site)[guest] == 1, "it is Down")
        eventually(lambda: _states(site) == {configured: 1}, "it is forgotten", within_s=40)
