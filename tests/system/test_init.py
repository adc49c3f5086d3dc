"""`vegd init` in a pod as Kube-OVN makes it: real packets, both generations of its environment."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.dataplane import (
    OUTSIDE,
    OUTSIDE_PORT,
    conversation,
    counter,
    eventually,
    exchange,
    inside_thread,
    packets,
    sources,
    udp,
)
from tests.support.netns import inside, ip, ip_json, run
from tests.support.pod import (
    DIRECT,
    FAR,
    NEAR,
    POD_OUTSIDE,
    SCRIPT,
    Pod,
    build,
    environment,
    old_environment,
)
from vegd import lock
from vegd.sources.saved import saved

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

Netns = Callable[[str], str]

_DIRECT_PORT = 9009


def _shown(pod: Pod, client: str, version: int) -> str:
    """The address by which the outside sees a client; its answer arrives."""
    with conversation(pod, client, version) as (ours, theirs):
        ours.settimeout(60)
        theirs.settimeout(60)
        return exchange(ours, theirs, version)


def _called(pod: Pod, client: str, version: int) -> str:
    """By whom a client sees itself called from outside; the caller has its answer."""
    with (
        udp(pod.vpc, client, _DIRECT_PORT) as callee,
        udp(pod.outside, OUTSIDE[version]) as caller,
    ):
        caller.sendto(b"call", (client, _DIRECT_PORT))
        callee.settimeout(60)
        caller.settimeout(60)
        _, seen = callee.recvfrom(100)
        callee.sendto(b"answer", seen)
        # That the answer comes from the address that was called.
        assert caller.recvfrom(100)[1][:2] == (client, _DIRECT_PORT)
        return str(seen[0])


def _initialised(pod: Pod, given: dict[str, str]) -> str:
    done = pod.init(given)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("versions", [(4,), (6,), (4, 6)], ids=["ipv4", "ipv6", "dual"])
@pytest.mark.parametrize("given", [environment, old_environment], ids=["new", "old"])
def test_sources_show_the_pods_address_or_their_own_and_a_second_run_does_nothing(
    netns: Netns, versions: tuple[int, ...], given: Callable[..., dict[str, str]]
) -> None:
    pod = build(netns, versions, versions)
    before = pod.footprint()
    planned = pod.init(given(*versions), "--dry-run")
    assert planned.returncode == 1
    assert pod.footprint() == before
    assert _initialised(pod, given(*versions)) == planned.stdout
    with closing(packets(pod.outside, "o0")) as capture:
        for version in versions:
            assert _shown(pod, NEAR[version], version) == POD_OUTSIDE[version]
            assert _shown(pod, FAR[version], version) == POD_OUTSIDE[version]
            assert _shown(pod, DIRECT[version], version) == DIRECT[version]
            assert _called(pod, DIRECT[version], version) == OUTSIDE[version]
        seen = sources(capture)
    # Nothing of the VPC under its own address, but who is meant to.
    clients = {each[version] for each in (NEAR, FAR) for version in versions}
    assert seen >= {each[version] for each in (POD_OUTSIDE, DIRECT) for version in versions}
    assert not seen & clients
    standing = pod.footprint()
    assert _initialised(pod, given(*versions)) == "nothing to change\n"
    assert pod.footprint() == standing


def test_a_family_without_a_way_out_is_noted_kept_in_and_costs_the_other_nothing(
    netns: Netns,
) -> None:
    pod = build(netns, (4, 6), (4,))
    # Everything that IPv6 would need to leak: an address outside, a route, and forwarding.
    ip("address", "add", "fd17::1/64", "dev", "o0", "nodad", ns=pod.outside)
    ip("-6", "route", "add", "fd17::/64", "dev", "net1", ns=pod.pod)
    run(pod.pod, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    with closing(packets(pod.outside, "o0")) as capture, udp(pod.vpc, FAR[6]) as ours:
        ours.sendto(b"leak", (OUTSIDE[6], OUTSIDE_PORT))
        eventually(lambda: FAR[6] in sources(capture), within_s=60)
    said = _initialised(pod, environment(4, 6, outer=(4,)))
    assert said.startswith("note: IPv6 is not forwarded: no external IPv6 address on net1\n")
    dropped = counter(pod.pod, "drop-uncovered")
    with closing(packets(pod.outside, "o0")) as capture:
        with udp(pod.vpc, FAR[6]) as ours:
            ours.sendto(b"leak", (OUTSIDE[6], OUTSIDE_PORT))
        eventually(lambda: counter(pod.pod, "drop-uncovered") > dropped, within_s=60)
        assert _shown(pod, FAR[4], 4) == POD_OUTSIDE[4]
        seen = sources(capture)
    assert POD_OUTSIDE[4] in seen
    assert FAR[6] not in seen


def test_nobody_outside_reaches_a_source_with_snat_and_nothing_leaves_for_a_network_of_the_vpc(
    netns: Netns,
) -> None:
    pod = build(netns, (4,), (4,))
    _initialised(pod, environment(4))
    ip("route", "add", FAR[4], "via", POD_OUTSIDE[4], ns=pod.outside)
    with udp(pod.vpc, FAR[4], OUTSIDE_PORT) as callee, udp(pod.outside, OUTSIDE[4]) as caller:
        caller.sendto(b"call", (FAR[4], OUTSIDE_PORT))
        eventually(lambda: counter(pod.pod, "drop-uninvited") == 1, within_s=60)
        callee.setblocking(False)
        with pytest.raises(BlockingIOError):
            callee.recv(100)
    with closing(packets(pod.outside, "o0")) as capture:
        with udp(pod.vpc, FAR[4]) as ours:
            # Not an address of the namespace, but one of the networks without SNAT.
            ours.sendto(b"stray", ("10.2.0.77", OUTSIDE_PORT))
        eventually(lambda: counter(pod.pod, "drop-uncovered") == 1, within_s=60)
        assert not sources(capture) & {FAR[4], POD_OUTSIDE[4]}


def test_what_was_tracked_before_there_was_snat_does_not_go_on_without_it(netns: Netns) -> None:
    pod = build(netns, (4,), (4,))
    tracking = "type filter hook forward priority 0; ct state established accept"
    run(pod.pod, "nft", f"table ip other {{ chain c {{ {tracking}; }}; }}")
    run(pod.pod, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    with closing(packets(pod.outside, "o0")) as capture, udp(pod.vpc, FAR[4]) as ours:
        ours.sendto(b"before", (OUTSIDE[4], OUTSIDE_PORT))
        eventually(lambda: FAR[4] in sources(capture), within_s=60)
        _initialised(pod, environment(4))
        with udp(pod.outside, OUTSIDE[4], OUTSIDE_PORT) as theirs:
            assert exchange(ours, theirs, 4) == POD_OUTSIDE[4]


def test_with_bgp_packets_are_routed_as_they_are(netns: Netns) -> None:
    pod = build(netns)
    rules = [ip_json("rule", ns=pod.pod), ip_json("-6", "rule", ns=pod.pod)]
    given = {**environment(4, 6), "ENABLE_BGP": "true"}
    said = _initialised(pod, given)
    assert [line.split()[2] for line in said.splitlines()] == [
        "net/ipv4/conf/eth0/rp_filter",
        "net/ipv4/ip_forward",
        "net/ipv6/conf/all/forwarding",
    ]
    assert run(pod.pod, "nft", "list", "ruleset").stdout == ""
    assert [ip_json("rule", ns=pod.pod), ip_json("-6", "rule", ns=pod.pod)] == rules
    for version in (4, 6):
        # What BGP would have told the outside.
        ip(f"-{version}", "route", "add", FAR[version], "via", POD_OUTSIDE[version], ns=pod.outside)
        assert _shown(pod, FAR[version], version) == FAR[version]
    assert _initialised(pod, given) == "nothing to change\n"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"EXTERNAL_GATEWAY_IPV4": "172.17.0.256"},
            (
                "vegd: EXTERNAL_GATEWAY_IPV4: '172.17.0.256' is not an IP address; "
                "write one such as 192.168.0.1 or fd00::1"
            ),
        ),
        (
            {"INTERNAL_GATEWAY_IPV4": "10.9.0.1"},
            (
                "vegd: INTERNAL_GATEWAY_IPV4: '10.9.0.1' is in no subnet of an interface "
                "(eth0 192.168.0.5/24, net1 172.17.0.11/16); attach the pod to the subnet of that "
                "gateway"
            ),
        ),
        (
            {"NO_SNAT_SOURCES_IPV4": "10.2.0.0/24 10.3.0.0/24"},
            (
                "vegd: NO_SNAT_SOURCES_IPV4: '10.2.0.0/24 10.3.0.0/24' is not a prefix; "
                "write ADDRESS/LENGTH with a length of 0 to 32, for example 10.0.0.0/24"
            ),
        ),
    ],
    ids=["address", "subnet", "list"],
)
def test_an_environment_that_cannot_be_used_is_one_line_and_changes_nothing(
    netns: Netns, changes: dict[str, str], complaint: str
) -> None:
    pod = build(netns, (4,), (4,))

    def refused() -> None:
        before = pod.footprint()
        done = pod.init(environment(4) | changes)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{complaint}\n")
        assert pod.footprint() == before

    refused()
    _initialised(pod, environment(4))
    refused()


def test_what_stands_in_the_way_is_named_and_nothing_is_forwarded(netns: Netns) -> None:
    pod = build(netns, (4,), (4,))
    ip("route", "add", "default", "via", "172.17.0.99", "table", "1001", ns=pod.pod)
    done = pod.init(environment(4))
    assert (done.returncode, done.stdout) == (1, "")
    named = "vegd: not done: route default via 172.17.0.1 dev net1 table 1001: "
    assert done.stderr.startswith(named)
    assert run(pod.pod, "sysctl", "-n", "net.ipv4.ip_forward").stdout == "0\n"


def test_a_daemon_that_runs_is_left_alone(netns: Netns) -> None:
    pod = build(netns, (4,), (4,))
    before = pod.footprint()
    with inside_thread(pod.pod, lock.hold):
        done = pod.init(environment(4))
    assert (done.returncode, done.stdout) == (1, "")
    assert "already runs in this network namespace; it keeps the gateway" in done.stderr
    assert pod.footprint() == before


def test_the_image_runs_it_in_place_of_kube_ovns_script(netns: Netns, tmp_path: Path) -> None:
    pod = build(netns, (4,), (4,))
    command = f"chmod +t {tmp_path} && bash {SCRIPT}"
    path = f"PATH={Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    left = tmp_path / "gateway.yaml"
    given = [f"{name}={value}" for name, value in environment(4).items()]
    done = subprocess.run(
        inside(
            pod.pod, "env", "-i", path, f"VEGD_GATEWAY_FILE={left}", *given, "bash", "-exc", command
        ),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert saved(left).internal.interface == "eth0"
    assert _shown(pod, NEAR[4], 4) == POD_OUTSIDE[4]
    assert _initialised(pod, environment(4)) == "nothing to change\n"


def test_json_tells_the_same_to_programs(netns: Netns) -> None:
    pod = build(netns, (4, 6), (4,))
    given = environment(4, 6, outer=(4,))
    planned = json.loads(pod.init(given, "--json", "--dry-run").stdout)
    done = pod.init(given, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == planned
    assert document["notes"] == ["IPv6 is not forwarded: no external IPv6 address on net1"]
    assert [op["kind"] for op in document["operations"]][0] == "nft"
    again = pod.init(given, "--json", "--dry-run")
    assert again.returncode == 0
    assert json.loads(again.stdout) == {"notes": document["notes"], "operations": []}


def test_a_configuration_can_take_the_place_of_the_environment(
    netns: Netns, tmp_path: Path
) -> None:
    """So the pods of our own controller are made."""
    pod = build(netns, (4,), (4,))
    config = tmp_path / "gateway.yaml"
    config.write_text(
        "internal: {interface: eth0, gateways: [192.168.0.1]}\n"
        "external: {interface: net1, gateways: [172.17.0.1]}\n"
        "policies: [{name: near, snat: true, ipBlocks: [192.168.0.0/24]}]\n"
    )
    option = f"--config={config}"
    done = pod.init({}, option)
    assert (done.returncode, done.stderr) == (0, "")
    assert _shown(pod, NEAR[4], 4) == POD_OUTSIDE[4]
    assert pod.init({}, option).stdout == "nothing to change\n"
    both = pod.init({}, option, f"--save={tmp_path}/x")
    assert both.returncode == 2
    assert "--save: a file is there already" in both.stderr
