"""Links on the real kernel: macvlans of each mode, and interfaces that others hand in."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from dataplane.model import DataplaneState, GatewayIntent, Macvlan
from dataplane.plan import Plan
from dataplane.render import render
from tests.support.dataplane import (
    EXTERNAL,
    SNAT_CLIENT,
    apply_in,
    build,
    conversation,
    exchange,
    gateway_intent,
    plan_in,
    ready,
)
from tests.support.netns import ip, ip_json, run

pytestmark = pytest.mark.kernel

Netns = Callable[[str], str]
_MAC = "02:00:00:00:00:17"


def _external(**changes: object) -> GatewayIntent:
    """The gateway with another external side."""
    intent = gateway_intent()
    return replace(intent, external=replace(intent.external, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["private", "vepa", "passthru", "bridge"])
def test_a_macvlan_of_each_mode_forwards(netns: Netns, mode: str) -> None:
    intent = _external(macvlan=Macvlan("ext0", mode), mtu=1400, mac=_MAC)
    top = ready(netns, intent)
    (link,) = ip_json("-details", "link", "show", "net1", ns=top.gateway)
    assert link["linkinfo"]["info_data"]["mode"] == mode
    assert (link["mtu"], link["address"]) == (1400, _MAC)
    for version in (4, 6):
        with conversation(top, SNAT_CLIENT[version], version) as (ours, theirs):
            assert exchange(ours, theirs, version) == EXTERNAL[version]


@pytest.mark.parametrize("change", ["mtu 1300", f"address {_MAC[:-2]}99", "down"])
def test_a_link_that_was_altered_is_put_right(netns: Netns, change: str) -> None:
    wish = render(_external(mtu=1400, mac=_MAC))
    top = build(netns)
    assert apply_in(top.gateway, wish).ok
    ip("link", "set", "net1", *change.split(), ns=top.gateway)
    plan = plan_in(top.gateway, wish)
    assert f"~ link net1 macvlan bridge on ext0 mtu 1400 address {_MAC} up" in plan.lines()
    assert apply_in(top.gateway, wish).ok
    assert plan_in(top.gateway, wish) == Plan.empty


def test_a_new_macvlan_asks_for_neighbours_at_once(netns: Netns) -> None:
    top = build(netns)
    assert apply_in(top.gateway, render(_external())).ok
    (link,) = ip_json("-6", "address", "show", "dev", "net1", ns=top.gateway)
    (local,) = [each for each in link["addr_info"] if each["scope"] == "link"]
    assert "tentative" not in local


def test_another_mode_replaces_the_macvlan(netns: Netns) -> None:
    top = ready(netns)
    wish = render(_external(macvlan=Macvlan("ext0", "private")))
    apply_in(top.gateway, wish)
    assert apply_in(top.gateway, wish).ok
    assert plan_in(top.gateway, wish) == Plan.empty
    with conversation(top, SNAT_CLIENT[4], 4) as (ours, theirs):
        assert exchange(ours, theirs, 4) == EXTERNAL[4]


def test_an_interface_that_was_handed_in_is_configured_and_never_deleted(netns: Netns) -> None:
    top = build(netns)
    for change in (["down"], ["name", "net1"]):
        ip("link", "set", "ext0", *change, ns=top.gateway)
    wish = render(_external(macvlan=None, mtu=1400, mac=_MAC))
    assert apply_in(top.gateway, wish).ok
    (link,) = ip_json("link", "show", "net1", ns=top.gateway)
    assert (link["mtu"], link["address"]) == (1400, _MAC)
    assert "UP" in link["flags"]
    for version in (4, 6):
        with conversation(top, SNAT_CLIENT[version], version) as (ours, theirs):
            assert exchange(ours, theirs, version) == EXTERNAL[version]
    assert apply_in(top.gateway, DataplaneState()).ok
    run(top.gateway, "ip", "link", "show", "net1")
