"""Tracked connections: which contradict the policies, and that only those are removed."""

import socket
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from dataplane.kernel import Kernel
from dataplane.model import AddressRange, Connection, GatewayIntent, Sysctl, Translation
from dataplane.render import render
from dataplane.stale import Judge, local_addresses
from dataplane.tracking import Tracking, TrackingFacts, facts, parameters
from tests.support.dataplane import (
    DIRECT_CLIENT,
    EXTERNAL,
    OUTSIDE,
    OUTSIDE_PORT,
    SNAT_CLIENT,
    apply_in,
    counter,
    eventually,
    exchange,
    gateway_intent,
    policy,
    ready,
    udp,
    with_kernel,
)
from tests.support.netns import run

Netns = Callable[[str], str]


def forget_in(ns: str, intent: GatewayIntent) -> int:
    """Apply an intent in a namespace, then remove what contradicts it."""
    assert apply_in(ns, render(intent)).ok

    async def work(kernel: Kernel) -> int:
        local = local_addresses(intent, await kernel.interfaces())
        return await kernel.forget(Judge(intent, intent.sources(), local))

    return with_kernel(ns, work)


@pytest.mark.kernel
@pytest.mark.parametrize("version", [4, 6])
def test_a_flow_from_before_snat_stood_is_translated_afterwards(netns: Netns, version: int) -> None:
    top = ready(netns)
    # For a moment there is a gateway without SNAT, and somebody else tracks.
    table = "table inet other { chain c { type filter hook forward priority 0; ct state new; }; }"
    run(top.gateway, "nft", f"{table}; delete table inet vegd")
    with (
        udp(top.vpc, SNAT_CLIENT[version]) as ours,
        udp(top.outside, OUTSIDE[version], OUTSIDE_PORT) as theirs,
    ):
        ours.sendto(b"early", (OUTSIDE[version], OUTSIDE_PORT))
        assert theirs.recvfrom(100)[1][0] == SNAT_CLIENT[version]
        assert apply_in(top.gateway, render(gateway_intent())).ok
        ours.sendto(b"poisoned", (OUTSIDE[version], OUTSIDE_PORT))
        eventually(lambda: counter(top.gateway, "drop-untranslated"))
        assert forget_in(top.gateway, gateway_intent()) == 1
        assert exchange(ours, theirs, version) == EXTERNAL[version]


@pytest.mark.kernel
@pytest.mark.parametrize("version", [4, 6])
def test_a_changed_policy_ends_its_own_flows_only(netns: Netns, version: int) -> None:
    other = {4: "192.168.0.1", 6: "fd00::1"}[version]
    narrow = {4: "192.168.1.0/24", 6: "fd01::/64"}[version]
    intent = gateway_intent()
    top = ready(netns)
    with (
        udp(top.vpc, SNAT_CLIENT[version]) as changed,
        udp(top.vpc, other) as kept,
        udp(top.vpc, DIRECT_CLIENT[version]) as direct,
        udp(top.outside, OUTSIDE[version], OUTSIDE_PORT) as theirs,
    ):
        seen = {each: _ask(each, theirs, version) for each in (changed, kept, direct)}
        assert forget_in(top.gateway, intent) == 0
        pool = AddressRange(*2 * (ip_address({4: "172.17.0.32", 6: "fd17::32"}[version]),))
        moved = replace(policy("moved", narrow), translation=Translation((pool,)))
        assert forget_in(top.gateway, replace(intent, policies=(moved, *intent.policies))) == 1
        assert _ask(changed, theirs, version)[0] == str(pool)
        # Their ports are drawn at random, so the same ones mean the same connections.
        assert _ask(kept, theirs, version) == seen[kept]
        assert _ask(direct, theirs, version) == seen[direct]


def _ask(ours: socket.socket, theirs: socket.socket, version: int) -> tuple[str, int]:
    """Send, answer, and return the address and port that the outside has seen."""
    ours.sendto(b"ask", (OUTSIDE[version], OUTSIDE_PORT))
    _, seen = theirs.recvfrom(100)
    theirs.sendto(b"answer", seen)
    assert ours.recv(100) == b"answer"
    return str(seen[0]), int(seen[1])


def _connection(source: str, shown: str, *, port: int = 5000) -> Connection:
    outside = ip_address(OUTSIDE[ip_address(source).version])
    return Connection(
        protocol=17,
        source=ip_address(source),
        source_port=5000,
        destination=outside,
        destination_port=53,
        shown=ip_address(shown),
        shown_port=port,
        translated=source != shown,
    )


_PORTS = Translation(ports=(1024, 2047))


@pytest.mark.parametrize(
    ("connection", "intent", "stale"),
    [
        (_connection(SNAT_CLIENT[4], EXTERNAL[4]), gateway_intent(), False),
        (_connection(SNAT_CLIENT[6], EXTERNAL[6]), gateway_intent(), False),
        (_connection(SNAT_CLIENT[4], SNAT_CLIENT[4]), gateway_intent(), True),
        (_connection(SNAT_CLIENT[6], "fd17::99"), gateway_intent(), True),
        (_connection(DIRECT_CLIENT[4], DIRECT_CLIENT[4]), gateway_intent(), False),
        (_connection(DIRECT_CLIENT[4], EXTERNAL[4]), gateway_intent(), True),
        (_connection("10.9.9.9", EXTERNAL[4]), gateway_intent(), True),
        (_connection("10.9.9.9", "10.7.7.7"), gateway_intent(), False),
        (_connection("10.9.9.9", "10.9.9.9"), gateway_intent(), False),
        (_connection("192.168.0.2", EXTERNAL[4]), gateway_intent(), False),
        (
            _connection(SNAT_CLIENT[4], EXTERNAL[4], port=2047),
            gateway_intent(translation=_PORTS),
            False,
        ),
        (
            _connection(SNAT_CLIENT[4], EXTERNAL[4], port=2048),
            gateway_intent(translation=_PORTS),
            True,
        ),
    ],
)
def test_what_contradicts_the_policies(
    connection: Connection, intent: GatewayIntent, stale: bool
) -> None:
    judge = Judge(intent, intent.sources(), local_addresses(intent, {}))
    assert judge(connection) is stale


def test_a_source_without_snat_may_be_called_by_anybody() -> None:
    intent = gateway_intent(
        policies=(policy("d", "192.168.2.0/24", snat=False), policy("s", "::/0"))
    )
    call = replace_ends(_connection("172.17.0.1", "172.17.0.1"), DIRECT_CLIENT[4])
    assert not Judge(intent, intent.sources(), ())(call)


def replace_ends(connection: Connection, destination: str) -> Connection:
    """The connection toward another destination."""
    return connection._replace(destination=ip_address(destination))


_NAMES = ("nf_conntrack_max", "nf_conntrack_buckets", "nf_conntrack_acct")


def _facts(values: dict[str, int], *, writable: tuple[str, ...] = _NAMES) -> TrackingFacts:
    return TrackingFacts(values, frozenset(writable), 8 << 30)


def _set(name: str, value: int) -> Sysctl:
    return Sysctl(f"net/netfilter/{name}", str(value))


def test_the_table_is_sized_by_the_memory_and_never_made_smaller() -> None:
    small = dict(zip(_NAMES, (65_536, 65_536, 1), strict=True))
    found, notes = parameters(Tracking(), _facts(small))
    assert _set("nf_conntrack_max", 524_288) in found
    assert _set("nf_conntrack_buckets", 524_288) in found
    assert notes == ()
    large = dict(zip(_NAMES, (1_000_000, 1_000_000, 1), strict=True))
    assert parameters(Tracking(), _facts(large))[0] == {_set("nf_conntrack_acct", 1)}


def test_a_configured_size_is_taken_as_it_is() -> None:
    now = dict(zip(_NAMES, (262_144, 65_536, 0), strict=True))
    found, _ = parameters(Tracking(maximum=300_000, accounting=False), _facts(now))
    assert _set("nf_conntrack_max", 300_000) in found
    assert _set("nf_conntrack_buckets", 300_032) in found
    assert _set("nf_conntrack_acct", 0) in found


def test_what_cannot_be_set_is_told_once_it_was_asked_for() -> None:
    now = dict(zip(_NAMES, (65_536, 65_536, 1), strict=True))
    locked = _facts(now, writable=())
    assert parameters(Tracking(), locked) == (frozenset(), ())
    found, (note,) = parameters(Tracking(maximum=100_000), locked)
    assert found == frozenset()
    assert note == (
        "net.netfilter.nf_conntrack_max stays 65536 instead of 100000, because it cannot be set; "
        "set it on the host, outside of this network namespace"
    )


def test_a_kernel_that_cannot_track_is_asked_for_nothing(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  1024 kB\n")
    found = facts(tmp_path, meminfo)
    assert found == TrackingFacts({}, frozenset(), 1 << 20)
    assert parameters(Tracking(maximum=5000, udp_s=5), found) == (frozenset(), ())
