"""How a packet leaves a gateway by its configuration, in the kernel's own order."""

from typing import Any

from vegd.egress import Egress, egress
from vegd.spec import GatewaySpec


def _spec(*policies: dict[str, Any], **external: Any) -> GatewaySpec:
    return GatewaySpec.parse(
        {
            "internal": {"interface": "eth0", "gateways": ["192.168.0.1", "fd00::1"]},
            "external": {"interface": "net1", "gateways": ["172.17.0.1", "fd17::1"]} | external,
            "policies": [{"name": f"p{n}", **each} for n, each in enumerate(policies)],
        }
    )


_WIDE = {"snat": True, "ipBlocks": ["192.168.0.0/16"]}


def test_the_longest_prefix_decides_and_of_equal_ones_that_without_snat() -> None:
    spec = _spec(_WIDE, {"ipBlocks": ["192.168.1.0/24"]}, {"ipBlocks": ["192.168.0.0/16"]})
    assert egress(spec, "192.168.1.7", "203.0.113.1") == Egress("p1")
    assert egress(spec, "192.168.2.7", "203.0.113.1") == Egress("p2")
    assert egress(_spec(_WIDE), "10.0.0.1", "203.0.113.1").policy == ""


def test_a_policy_holds_for_its_destinations_only_and_then_the_next_is_asked() -> None:
    partner = {
        "snat": True,
        "ipBlocks": ["192.168.1.0/24"],
        "destinationCIDRs": ["203.0.113.0/24"],
        "excludedDestinationCIDRs": ["203.0.113.128/25"],
        "snatTo": {"addresses": ["172.17.0.32-172.17.0.39", "fd17::8/126"], "ports": "1024-2047"},
    }
    spec = _spec(_WIDE, partner)
    shown = egress(spec, "192.168.1.7", "203.0.113.1")
    assert shown == Egress("p1", True, ("172.17.0.32-172.17.0.39",), (1024, 2047))
    assert shown.ports_text == "ports 1024 to 2047"
    assert egress(spec, "192.168.1.7", "203.0.113.200").policy == "p0"
    assert egress(spec, "192.168.1.7", "8.8.8.8").policy == "p0"
    assert egress(_spec(partner), "192.168.1.7", "8.8.8.8") == Egress("")


def test_what_all_show_holds_where_a_policy_has_none_of_its_own() -> None:
    spec = _spec(
        _WIDE, {"snat": True, "ipBlocks": ["fd00::/64"]}, snat={"addresses": ["172.17.0.9"]}
    )
    assert egress(spec, "192.168.1.7", "203.0.113.1").pool == ("172.17.0.9",)
    assert egress(spec, "fd00::7", "2001:db8::1").pool == ()
    assert egress(spec, "fd00::7", "2001:db8::1").ports_text.startswith("ports 1024 to 65535")
