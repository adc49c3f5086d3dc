"""What the real kernel refuses is named with its remedy, shown everywhere and tried again; sessions
go down only where nothing can be forwarded."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.daemon import PYTHON, Site, build, eventually, get
from tests.support.netns import inside, ip, run

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

PEERS = {"10.255.255.255": "192.168.0.2", "fdff::1": "fd00::2"}


class ReadOnlySite(Site):
    """A gateway whose daemon runs as in a container: its /proc/sys is read-only."""

    def command(self, *arguments: str, ns: str | None = None) -> list[str]:
        script = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys"
        shell = ("sh", "-c", f'{script} && exec "$@"', "sh")
        return inside(ns or self.gateway, *shell, *PYTHON, *arguments)


@pytest.fixture
def site(netns: Callable[[str], str], tmp_path: Path) -> Iterator[Site]:
    built = build(netns, tmp_path)
    yield built
    built.close()


def _states(site: Site) -> set[tuple[int, int]]:
    """States (0 AdminDown, 3 Up) and diagnostics of the sessions."""
    return {(each["state"], each["local_diag"]) for each in site.sessions()}


def _up(site: Site) -> bool:
    """Whether all are Up; the diagnostic tells of the time before."""
    return {state for state, _ in _states(site)} == {3}


def _failures(site: Site) -> int:
    lines = (site.page("/metrics") or "").splitlines()
    name = "vegd_dataplane_failed_attempts_total "
    return int(float(next(line for line in lines if line.startswith(name)).split()[1]))


def _shown(site: Site, reason: str) -> None:
    """Readiness and metrics say it, too."""
    code, page = get(site.gateway, "/readyz")
    assert (code, reason in page) == (503, True), page
    assert "vegd_dataplane_converged 0.0" in (site.page("/metrics") or "").splitlines()


def _backs_off(site: Site) -> None:
    """The pauses between attempts grow from 0.2 s to several seconds, and the attempts go on.

    A change in the kernel is a reason to try at once, so the first pauses may be cut short.
    """
    failures, since = _failures(site), time.monotonic()
    deadline = since + 60
    while time.monotonic() < since + 1.5:
        assert time.monotonic() < deadline, "attempts come in quick succession for a minute"
        time.sleep(0.05)
        if (now := _failures(site)) != failures:
            failures, since = now, time.monotonic()
    eventually(lambda: _failures(site) > failures, "one more attempt", within_s=60)


def test_parameters_that_cannot_be_set_are_named_and_sessions_stay_up(
    site: Site, tmp_path: Path
) -> None:
    site.router_engine(PEERS)
    run(site.gateway, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    locked = ReadOnlySite(site.gateway, site.router, site.outside, tmp_path, site.spec)
    with locked.daemon() as daemon:
        status = daemon.wait_for("degraded", "/proc/sys is read-only here")
        name = "sysctl net/ipv4/conf/ext0/arp_ignore = 1"
        reason = (
            f"{name}: /proc/sys is read-only here; set it on the host, or make /proc/sys writable"
        )
        assert reason in status["reasons"]
        assert status["gate"] == "open"
        eventually(lambda: _up(locked), "both sessions Up")
        _shown(locked, reason)
        refused = locked.metric("vegd_dataplane_parameter_refused")
        assert refused == len(status["reasons"])
        run(
            site.gateway,
            *("sysctl", "-qw"),
            *(
                each.split(":")[0].removeprefix("sysctl ").replace(" ", "")
                for each in status["reasons"]
            ),
        )
        daemon.wait_for("ready")
        assert _up(locked)


def test_a_parent_in_use_is_named_and_nothing_is_announced_before_it_is_free(site: Site) -> None:
    site.router_engine(PEERS)
    gw = site.gateway
    ip("link", "add", "br0", "type", "bridge", ns=gw)
    ip("link", "set", "ext0", "master", "br0", ns=gw)
    with site.daemon() as daemon:
        status = daemon.wait_for("degraded", "link net1 ")
        (reason, *_) = (each for each in status["reasons"] if each.startswith("link net1 "))
        assert "the parent is in use as a port of a bridge or bond" in reason
        assert status["gate"] == "cannot forward"
        eventually(lambda: _states(site) == {(0, 5)}, "Path Down on both")
        _shown(site, reason)
        _backs_off(site)
        ip("link", "set", "ext0", "nomaster", ns=gw)
        daemon.wait_for("ready")
        eventually(lambda: _up(site), "both sessions Up")


def test_a_table_that_somebody_else_owns_is_named_and_nothing_is_forwarded(site: Site) -> None:
    site.router_engine(PEERS)
    owner = subprocess.Popen(
        inside(site.gateway, "nft", "-i"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert owner.stdin is not None
    owner.stdin.write(b"add table inet vegd { flags owner; }\n")
    owner.stdin.flush()
    eventually(lambda: "vegd" in run(site.gateway, "nft", "list", "tables").stdout, "the table")
    with owner, site.daemon() as daemon:
        status = daemon.wait_for("degraded", "nft table inet vegd: ")
        reason = next(each for each in status["reasons"] if each.startswith("nft table "))
        assert reason.startswith("nft table inet vegd: ")
        assert "another program owns the table" in reason
        assert status["gate"] == "cannot forward"
        assert run(site.gateway, "sysctl", "-n", "net.ipv4.ip_forward").stdout == "0\n"
        assert not _up(site)
        _shown(site, reason)
        owner.stdin.close()
        daemon.wait_for("ready")
        eventually(lambda: _up(site), "both sessions Up")
