"""`vegd clean`: everything of ours goes, nothing else, and never under a running daemon."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Site, build
from tests.support.netns import ip, run

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]


@pytest.fixture
def site(netns: Callable[[str], str], tmp_path: Path) -> Iterator[Site]:
    built = build(netns, tmp_path)
    yield built
    built.close()


def _clean(site: Site, *options: str) -> tuple[int, str, str]:
    done = site.vegd("clean", "--runtime-dir", str(site.runtime_dir), *options)
    return done.returncode, done.stdout, done.stderr


def _kernel(site: Site) -> list[str]:
    """The footprint and every parameter that vegd changes."""
    names = (
        "net.ipv4.ip_forward",
        "net.ipv6.conf.all.forwarding",
        "net.ipv4.conf.eth0.rp_filter",
        "net.ipv4.conf.ext0.arp_ignore",
        "net.ipv6.conf.eth0.accept_ra",
        "net.ipv4.icmp_errors_use_inbound_ifaddr",
    )
    return [site.footprint(), *(run(site.gateway, "sysctl", name).stdout for name in names)]


def test_clean_leaves_the_kernel_as_it_was_before_the_daemon(site: Site) -> None:
    run(site.gateway, "nft", "add table inet other; add chain inet other c")
    ip("route", "add", "198.51.100.0/24", "dev", "lo", "table", "1001", ns=site.gateway)
    ip("address", "add", "192.168.0.77/24", "dev", "eth0", ns=site.gateway)
    before = _kernel(site)
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        code, _, complaint = _clean(site)
        assert code == 1
        assert "already runs in this network namespace; stop it first" in complaint
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.ends() == 0
    standing = _kernel(site)
    code, planned, _ = _clean(site, "--dry-run")
    assert code == 1
    assert "- nft table inet vegd" in planned.splitlines()
    assert "~ sysctl net/ipv4/ip_forward = 0" in planned.splitlines()
    assert _kernel(site) == standing
    code, done, complaint = _clean(site)
    assert (code, done) == (0, planned), complaint
    assert _kernel(site) == before
    assert _clean(site, "--json")[0] == 0
    assert json.loads(_clean(site, "--json")[1])["plan"] == []


def test_a_parameter_that_somebody_else_has_changed_since_is_left_alone(site: Site) -> None:
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.ends() == 0
    run(site.gateway, "sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=1")
    assert _clean(site)[0] == 0
    assert run(site.gateway, "sysctl", "-n", "net.ipv4.conf.eth0.rp_filter").stdout == "1\n"


def test_clean_refuses_while_an_engine_keeps_the_sessions_of_a_killed_agent(site: Site) -> None:
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        daemon.kill()
    before = site.footprint()
    code, _, complaint = _clean(site)
    assert code == 1
    assert "still has sessions" in complaint
    assert site.footprint() == before
