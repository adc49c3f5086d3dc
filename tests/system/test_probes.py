"""Probes of the world behind the gateway, on real sockets; and drain by hand."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Site, build, eventually
from tests.support.netns import inside, run

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

PEERS = {"10.255.255.255": "192.168.0.2", "fdff::1": "fd00::2"}
_WEB = """
import http.server, socket
class Server(http.server.HTTPServer):
    address_family = socket.AF_INET6
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print(self.client_address[0], self.headers["Host"], self.path, flush=True)
        self.send_response(200 if self.path == "/healthz" else 503)
        self.end_headers()
    def log_message(self, *_): pass
Server(("::", 80), Handler).serve_forever()
"""


@pytest.fixture
def site(netns: Callable[[str], str], tmp_path: Path) -> Iterator[Site]:
    built = build(netns, tmp_path)
    yield built
    built.close()


def _probes(*targets: dict[str, Any], neighbours: bool = True) -> dict[str, Any]:
    times = {"interval": 200, "timeout": 1500, "failures": 2, "successes": 2, "holdDown": 0}
    return {**times, "neighbours": neighbours, "targets": list(targets)}


def _states(site: Site) -> dict[str, tuple[int, int]]:
    """Of each session by local address: state (0 AdminDown, 3 Up) and our diagnostic."""
    return {
        each["config"]["local"]: (each["state"], each["local_diag"]) for each in site.sessions()
    }


def _up(site: Site) -> bool:
    return {state for state, _ in _states(site).values()} == {3}


def _metric(site: Site, line: str) -> bool:
    return line in (site.page("/metrics") or "").splitlines()


def test_each_kind_of_probe_asks_from_the_external_address_and_judges_its_family(
    site: Site,
) -> None:
    site.router_engine(PEERS)
    v4, v6 = "172.17.0.1", "fd17::1"
    site.write(
        probes=_probes(
            {"kind": "icmp", "address": v4},
            {"kind": "icmp", "address": v6},
            {"kind": "tcp", "address": v4, "port": 80},
            {"kind": "http", "address": v6, "path": "/healthz", "host": "example.com"},
            {"kind": "http", "address": v4, "path": "/broken"},
        )
    )
    server = subprocess.Popen(
        inside(site.outside, sys.executable, "-c", _WEB), stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    with server, site.daemon() as daemon:
        try:
            daemon.wait_for("ready")
            eventually(lambda: _up(site), "both sessions Up")
            for target in ("neighbour", "icmp"):
                for family, address in (("ipv4", v4), ("ipv6", v6)):
                    line = f'vegd_probe_up{{family="{family}",target="{target} {address}"}} 1.0'
                    eventually(lambda line=line: _metric(site, line), line)  # type: ignore[misc]
            line = f'vegd_probe_up{{family="ipv4",target="http {v4}:80"}} 0.0'
            eventually(lambda: _metric(site, line), "the broken page is seen")
            seen = {server.stdout.readline().strip() for _ in range(8)}
            assert "fd17::11 example.com /healthz" in seen
            assert any(each.startswith("::ffff:172.17.0.11 ") for each in seen)
            # IPv6 alone stops: echo replies are not sent any more, and the page is gone.
            rules = "icmpv6 type echo-request drop; ip6 daddr fd17::1 tcp dport 80 drop;"
            run(
                site.outside,
                "nft",
                f"table inet cut {{ chain c {{ type filter hook input priority 0; {rules} }}; }}",
            )
            eventually(lambda: _states(site).get("fd00::2") == (0, 5), "Path Down for IPv6")
            assert _states(site)["192.168.0.2"][0] == 3
            status = daemon.wait_for("degraded")
            assert status["gate"] == "IPv4 open, IPv6 path down"
            reasons = status["reasons"]
            assert any("icmp fd17::1: no answer" in each for each in reasons), reasons
            assert _metric(site, 'vegd_path_withdrawn{family="ipv6"} 1.0')
            run(site.outside, "nft", "delete table inet cut")
            eventually(lambda: _up(site), "both sessions Up again")
            daemon.wait_for("ready")
        finally:
            server.kill()


def test_a_next_hop_that_answers_neither_arp_nor_nd_takes_its_sessions_down(site: Site) -> None:
    site.router_engine(PEERS)
    site.write(probes=_probes())
    with site.daemon() as daemon:
        daemon.wait_for("ready")
        eventually(lambda: _up(site), "both sessions Up")
        run(site.outside, "ip", "link", "set", "gw", "arp", "off")
        eventually(lambda: _states(site).get("192.168.0.2") == (0, 5), "Path Down for IPv4")
        run(site.outside, "ip", "link", "set", "gw", "arp", "on")
        eventually(lambda: _up(site), "both sessions Up again")
        # A configuration without probes withdraws nothing.
        run(site.outside, "ip", "link", "set", "gw", "arp", "off")
        eventually(lambda: _states(site).get("192.168.0.2") == (0, 5), "Path Down for IPv4")
        del site.spec["probes"]
        site.write()
        eventually(lambda: _up(site), "both sessions Up without probes")


def test_drain_by_hand_outlasts_a_restart_and_ends_with_undrain(site: Site) -> None:
    site.router_engine(PEERS)
    place = ("--runtime-dir", str(site.runtime_dir))
    down = {"192.168.0.2": (0, 7), "fd00::2": (0, 7)}
    with site.daemon() as first:
        first.wait_for("ready")
        eventually(lambda: _up(site), "both sessions Up")
        footprint = site.footprint()
        done = site.vegd("drain", "--wait", "0.5", *place)
        assert (done.returncode, done.stdout) == (0, "drained: nothing was forwarded for 0.5 s\n")
        eventually(lambda: _states(site) == down, "AdminDown on both")
        status = first.wait_for("draining")
        assert status["drain"]["quietS"] >= 0.5
        assert site.footprint() == footprint
        assert _metric(site, "vegd_draining 1.0")
        first.kill()
    with site.daemon() as second:
        second.wait_for("draining")
        assert _states(site) == down
        assert site.vegd("undrain", *place).returncode == 0
        second.wait_for("ready")
        eventually(lambda: _up(site), "both sessions Up again")
    assert site.vegd("drain", *place).returncode == 3
