"""Links that come late, vanish, and are replaced under a running daemon."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemon import Site, build, eventually
from tests.support.netns import ip, veth

pytestmark = [pytest.mark.system, pytest.mark.kernel]


@pytest.fixture
def site(netns: Callable[[str], str], tmp_path: Path) -> Site:
    """A site without BFD: these tests are about the dataplane."""
    site = build(netns, tmp_path)
    del site.spec["bfd"]
    site.write()
    return site


@pytest.mark.parametrize("handed_in", [False, True])
def test_a_link_comes_late_vanishes_and_is_replaced(site: Site, handed_in: bool) -> None:
    if handed_in:
        del site.spec["external"]["macvlan"]
        site.spec["external"]["interface"] = "ext0"
        site.write()
    ip("link", "del", "ext0", ns=site.gateway)
    addresses = ("172.17.0.1/16", "fd17::1/64")
    with site.daemon() as daemon:
        status = daemon.wait_for("waiting")
        assert "ext0" in status["reasons"][0]
        veth(site.gateway, "ext0", site.outside, "gw", (), addresses)
        daemon.wait_for("ready")
        eventually(lambda: not site.plan(), "everything stands on the new link")
        ip("link", "del", "ext0", ns=site.gateway)
        assert "ext0" in daemon.wait_for("waiting")["reasons"][0]
        veth(site.gateway, "ext0", site.outside, "gw", (), addresses)
        daemon.wait_for("ready")
        eventually(lambda: not site.plan(), "everything stands on the next link")
