"""The containers of a gateway pod as Kube-OVN starts them: what init makes, main keeps, as uid
65534 with the capabilities and mounts that it has there, beside BFD sessions with a real engine."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.support.cgroups import group
from bench.support.processes import busy
from tests.support.clients import survives_its_clients
from tests.support.container import CAPABILITY_BITS, SCRIPTS, SUPERVISOR, USER, Containers
from tests.support.daemon import Site
from tests.support.dataplane import conversation, exchange
from tests.support.netns import ip, ip_batch, run
from tests.support.pod import (
    GATEWAYS_INSIDE,
    NEAR,
    POD_INSIDE,
    POD_OUTSIDE,
    build,
    environment,
)

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

Netns = Callable[[str], str]
FORWARDING = "net.ipv4.ip_forward"
STRAY = ("198.51.100.0/24", "dev", "net1", "table", "1000", "proto", "86")
"""A route that bears our mark, and that nobody has asked for."""


class Gateway:
    """A pod with its containers, and the router's BFD engine."""

    def __init__(
        self, netns: Netns, directory: Path, *versions: int, groups: Sequence[Path] = ()
    ) -> None:
        self.pod = build(netns, versions, versions)
        self.router = Site(self.pod.pod, self.pod.vpc, self.pod.outside, directory)
        given = {
            "POD_IPS": ",".join(POD_INSIDE[each] for each in versions),
            "BFD_PEER_IPS": ",".join(GATEWAYS_INSIDE[each] for each in versions),
            "BFD_MIN_TX": "200",
            "BFD_MIN_RX": "200",
            "BFD_MULTI": "5",
        }
        self.containers = Containers(self.pod, directory, given, groups)
        self.peers = {GATEWAYS_INSIDE[each]: POD_INSIDE[each] for each in versions}

    def shown(self, version: int = 4) -> str:
        """The address by which the outside sees a client; its answer arrives."""
        with conversation(self.pod, NEAR[version], version) as (ours, theirs):
            ours.settimeout(60)
            theirs.settimeout(60)
            return exchange(ours, theirs, version)


@pytest.fixture
def gateway(netns: Netns, tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(netns, tmp_path, 4, 6)
    made.router.router_engine(made.peers, interval_ms=200, multiplier=5)
    yield made
    made.router.close()


def test_main_keeps_what_init_has_left(gateway: Gateway) -> None:
    pod, containers = gateway.pod, gateway.containers
    containers.init(environment(4, 6))
    standing = pod.footprint()
    with containers.main():
        for pid in containers.pids:
            status = Path(f"/proc/{pid}/status").read_text()
            assert f"\nUid:\t{USER}\t{USER}\t{USER}\t{USER}\n" in status
            assert f"\nCapEff:\t{CAPABILITY_BITS:016x}\n" in status
        containers.eventually(lambda: containers.states() == ["Up", "Up"], "both sessions Up")
        # It has found everything as it was to be.
        assert pod.footprint() == standing
        assert containers.metric("vegd_dataplane_operations_total") == 0

        # Somebody takes things away, adds to them, and changes them.
        ns = pod.pod
        run(ns, "nft", "add rule inet vegd guard accept")
        ip("rule", "del", "priority", "1001", ns=ns)
        ip("route", "flush", "table", "1001", ns=ns)
        ip("route", "add", *STRAY, ns=ns)
        containers.eventually(lambda: pod.footprint() == standing, "what init has left")
        assert gateway.shown() == POD_OUTSIDE[4]
        assert gateway.shown(6) == POD_OUTSIDE[6]
        assert containers.metric("vegd_dataplane_drift_repairs_total") >= 3
        assert containers.states() == ["Up", "Up"]
        assert "no shared memory" not in containers.log.read_text()
        # Kube-OVN's metrics and ours are on one page, and the process is told once.
        assert containers.metric("kube_ovn_bfdd_up_sessions") == 2
        assert containers.metric("vegd_bfd_engine_up") == 1
        assert containers.metric("process_max_fds") < 2**21
        assert "ready" in containers.says("vegd", "status")
        plan = containers.exec("vegd", "plan")
        assert plan.returncode == 0, plan
        assert containers.saved.stat().st_mode & 0o777 == 0o644


def test_forwarding_that_cannot_be_switched_on_takes_the_sessions_down_and_is_reported(
    gateway: Gateway,
) -> None:
    pod, containers = gateway.pod, gateway.containers
    containers.init(environment(4, 6))
    with containers.main():
        containers.eventually(lambda: containers.states() == ["Up", "Up"], "both sessions Up")
        ns = pod.pod
        run(ns, "sysctl", "-qw", f"{FORWARDING}=0")
        containers.eventually(lambda: containers.states() == ["AdminDown", "Up"], "IPv4 down")
        reason = "sysctl net/ipv4/ip_forward = 1: /proc/sys is read-only here"
        status = containers.status()
        assert status["state"] == "degraded"
        assert any(each.startswith(reason) for each in status["reasons"])
        refused = "vegd_dataplane_parameter_refused"
        assert containers.metric(refused) == 1
        # It stands in the way of nothing else, and is not told again with every repair.
        for _ in range(5):
            ip("rule", "del", "priority", "1001", ns=ns)
            ip("route", "add", *STRAY, ns=ns)
            containers.eventually(
                lambda: (
                    "1001:" in run(ns, "ip", "rule").stdout
                    and STRAY[0] not in run(ns, "ip", "route", "show", "table", "1000").stdout
                ),
                "the rule without the route",
            )
        assert containers.log.read_text().count(reason) == 1
        assert containers.states() == ["AdminDown", "Up"]
        run(ns, "sysctl", "-qw", f"{FORWARDING}=1")
        containers.eventually(lambda: containers.states() == ["Up", "Up"], "both sessions Up again")
        containers.eventually(lambda: containers.metric(refused) == 0, "nothing refused")
        containers.eventually(lambda: containers.status()["state"] == "ready", "ready")


def test_what_the_cni_takes_away_is_reported_and_nothing_is_up_without_it(
    gateway: Gateway,
) -> None:
    pod, containers = gateway.pod, gateway.containers
    containers.init(environment(4, 6))
    with containers.main():
        containers.eventually(lambda: containers.states() == ["Up", "Up"], "both sessions Up")
        ip("address", "flush", "dev", "net1", ns=pod.pod)
        containers.eventually(lambda: containers.states() == ["AdminDown"] * 2, "both down")
        assert containers.status()["state"] == "waiting"
        for version, length in ((4, 16), (6, 64)):
            extra = ("nodad",) if version == 6 else ()
            address = f"{POD_OUTSIDE[version]}/{length}"
            ip("address", "add", address, "dev", "net1", *extra, ns=pod.pod)
        containers.eventually(lambda: containers.states() == ["Up", "Up"], "both Up again")
        assert gateway.shown() == POD_OUTSIDE[4]


def test_without_a_gateway_that_was_left_the_sessions_are_kept_alone(gateway: Gateway) -> None:
    pod, containers = gateway.pod, gateway.containers
    containers.init(environment(4, 6))
    containers.saved.unlink()
    standing = pod.footprint()
    _alone(gateway, "vegd-gateway.yaml cannot be read (No such file or directory)")
    assert pod.footprint() == standing


def test_with_bgp_the_sessions_are_kept_alone(gateway: Gateway) -> None:
    gateway.containers.init({**environment(4, 6), "ENABLE_BGP": "true"})
    _alone(gateway, "with BGP packets are only routed, and the speaker keeps the routes")


async def test_a_crowd_on_the_sockets_costs_neither_session_nor_gateway(gateway: Gateway) -> None:
    pod, containers = gateway.pod, gateway.containers
    containers.init(environment(4, 6))
    standing = pod.footprint()
    with containers.main():
        containers.eventually(lambda: containers.states() == ["Up", "Up"], "both sessions Up")
        supervisor = containers.state / "control.sock"
        await survives_its_clients(supervisor, b"ready\n", b'{"status":{"Live":true,"Ready":true,')
        control = containers.runtime_dir / "bfdd.sock"
        await survives_its_clients(control, b"status\n", b"ok\nThere are 2 sessions:\n")
        ip("rule", "del", "priority", "1001", ns=pod.pod)
        containers.eventually(lambda: pod.footprint() == standing, "what init has left")
        assert containers.states() == ["Up", "Up"]
        assert containers.log.read_text().count("Traceback") == 0


def _alone(gateway: Gateway, reason: str) -> None:
    containers = gateway.containers
    with containers.main():
        containers.eventually(lambda: containers.states() == ["Up", "Up"], "both sessions Up")
        assert containers.status() == {}
        assert containers.metric("kube_ovn_bfdd_up_sessions") == 2
        assert containers.metric("vegd_dataplane_attempts_total") == 0
        lines = [each for each in containers.log.read_text().splitlines() if reason in each]
        assert len(lines) == 1
        assert "nothing watches the dataplane, only the BFD sessions are kept: " in lines[0]


def test_sigterm_drains_while_packets_pass_and_ends_in_time(gateway: Gateway) -> None:
    pod, containers = gateway.pod, gateway.containers
    containers.init(environment(4, 6))
    with containers.main():
        containers.eventually(lambda: containers.states() == ["Up", "Up"], "both sessions Up")
        standing = pod.footprint()
        containers.terminate()
        containers.eventually(
            lambda: {each["remote_state"] for each in gateway.router.router_sessions()} == {0},
            "AdminDown at the router",
        )
        assert gateway.shown() == POD_OUTSIDE[4]
        assert containers.unshare.wait(60) == 0
        assert '"drained after ' in containers.log.read_text()
    assert pod.footprint() == standing


def test_without_time_to_drain_peers_hear_of_it_and_the_next_start_finds_everything(
    gateway: Gateway,
) -> None:
    pod, containers = gateway.pod, gateway.containers
    containers.init(environment(4, 6))
    standing = pod.footprint()
    with containers.main(VEGD_DRAIN_GRACE="0"):
        containers.eventually(lambda: containers.states() == ["Up", "Up"], "both sessions Up")
        containers.terminate()
        assert containers.unshare.wait(60) == 0
    assert "the grace time is over" in containers.log.read_text()
    with containers.main():
        containers.eventually(lambda: containers.states() == ["Up", "Up"], "both sessions Up")
        # Killed, as with a grace period of 0, at the end of this.
    assert pod.footprint() == standing
    with containers.main():
        containers.eventually(lambda: containers.states() == ["Up", "Up"], "both sessions Up")
        assert containers.metric("vegd_dataplane_operations_total") == 0
    assert pod.footprint() == standing


def test_the_older_line_keeps_the_gateway_as_well(gateway: Gateway) -> None:
    pod, containers = gateway.pod, gateway.containers
    # Without the sticky bit, as Kube-OVN 1.14.0 leaves the volume.
    containers.sbin.chmod(0o777)
    containers.init(environment(4, 6))
    standing = pod.footprint()
    with containers.main("bash", str(SCRIPTS / "start-bfdd.sh")):
        one = ("bfdd-control", "status", "remote", GATEWAYS_INSIDE[4], "local", POD_INSIDE[4])
        containers.eventually(
            lambda: containers.exec(*one).stdout.endswith("\n state=Up\n"), "the session Up"
        )
        run(pod.pod, "nft", "delete table inet vegd")
        containers.eventually(lambda: pod.footprint() == standing, "what init has left")
        assert gateway.shown() == POD_OUTSIDE[4]
        assert containers.exec(SUPERVISOR, "live").returncode == 1


@pytest.mark.timeout(300)
def test_under_kube_ovns_limits_probes_are_answered_and_sessions_stay_up(
    netns: Netns, tmp_path: Path
) -> None:
    """The limits of its master, and a neighbour on each processor that never sleeps."""
    with ExitStack() as stack:
        # 200m asked for, and 48 of 64 MiB: that is what is left for others.
        made = stack.enter_context(group(0.3, 204, 48 << 20))
        gateway = Gateway(netns, tmp_path, 4, 6, groups=made.procs)
        stack.callback(gateway.router.close)
        gateway.router.router_engine(gateway.peers, interval_ms=1000, multiplier=3)
        containers = gateway.containers
        containers.init(environment(4, 6))
        stack.enter_context(containers.main())
        containers.eventually(lambda: containers.states() == ["Up", "Up"], "both sessions Up")
        assert "too small" not in containers.log.read_text()
        stack.enter_context(busy(os.cpu_count() or 1))
        for number in range(4):
            assert containers.says(SUPERVISOR, "live") == ""
            assert containers.says("bfdd-control", "status").startswith("There are 2 sessions:\n")
            route = "route {} 203.0.113.0/24 dev net1"
            strange = [route.format("add"), route.format("del")] * 50
            ip_batch([*strange, "rule del priority 1001"], gateway.pod.pod)
            containers.eventually(
                lambda: "1001:" in run(gateway.pod.pod, "ip", "rule").stdout, f"rule {number}"
            )
            assert containers.metric("vegd_bfd_engine_up") == 1
        assert containers.states() == ["Up", "Up"]
        assert made.kills() == 0


def test_limits_that_are_too_small_are_told(netns: Netns, tmp_path: Path) -> None:
    with ExitStack() as stack:
        made = stack.enter_context(group(0.09, None, 40 << 20))
        gateway = Gateway(netns, tmp_path, 4, groups=made.procs)
        stack.callback(gateway.router.close)
        gateway.router.router_engine(gateway.peers, interval_ms=1000, multiplier=3)
        gateway.containers.init(environment(4))
        containers = gateway.containers
        stack.enter_context(containers.main())
        containers.eventually(lambda: containers.states() == ["Up"], "the session Up")
        refused = containers.exec("vegd", "status")
        assert refused.returncode == 1
        assert refused.stderr.startswith("vegd: the memory limit of 40 MiB leaves ")
        assert containers.states() == ["Up"]
        assert made.kills() == 0
        log = containers.log.read_text()
    assert log.count("the memory limit of 40 MiB is too small: the kernel will kill ") == 1
    assert log.count("the CPU limit of 90m is too small: ") == 1
