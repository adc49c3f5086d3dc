"""The judgements of ``vegd doctor``."""

from dataclasses import replace

from dataplane.model import Interface, Sysctl
from tests.support.dataplane import gateway_intent
from vegd import doctor


def _interfaces(inside: int, outside: int) -> dict[str, Interface]:
    return {
        name: Interface(name, place, None, True, mtu, ())
        for place, (name, mtu) in enumerate((("eth0", inside), ("ext0", outside)), 1)
    }


def test_missing_capabilities_are_warned_of() -> None:
    assert [*doctor.capabilities(2**41 - 1, 7)] == []
    texts = [each.text.partition(":")[0] for each in doctor.capabilities(1 << 12, None)]
    assert texts == [
        "the BFD engine that is started here has no CAP_IPC_LOCK",
        "the BFD engine that is started here has no CAP_SYS_NICE",
    ]


def test_a_parameter_counts_only_if_it_is_wrong_and_cannot_be_written() -> None:
    path = "net/ipv4/ip_forward"
    wish = [Sysctl(path, "1")]
    assert [*doctor.parameters(wish, {path: "1"}, [])] == []
    assert [*doctor.parameters(wish, {path: None}, [])] == []
    assert [*doctor.parameters(wish, {path: "0"}, [path])] == []
    (finding,) = doctor.parameters(wish, {path: "0"}, [])
    assert (finding.level, finding.text) == (
        "problem",
        "net.ipv4.ip_forward is 0, has to be 1, and cannot be written from here",
    )
    assert finding.remedy == "set net.ipv4.ip_forward=1 outside, or mount /proc/sys writable"


def test_mtus() -> None:
    intent = gateway_intent()
    assert [*doctor.mtus(intent, _interfaces(1500, 1400))] == []
    (hangs,) = doctor.mtus(replace(intent, clamp_mss=False), _interfaces(1500, 1400))
    assert "eth0 has 1500, net1 only 1400, and mssClamp is off" in hangs.text
    small, _ = doctor.mtus(intent, _interfaces(1200, 1200))
    assert (small.level, small.text) == (
        "problem",
        "eth0 has 1200, and IPv6 needs 1280 (RFC 8200 §5)",
    )


def test_our_own_rules_and_tables_are_no_clash() -> None:
    ours = {"family": "inet", "table": "vegd", "name": "forward", "hook": "forward"}
    assert [*doctor.clashes([{"chain": {**ours, "policy": "drop"}}])] == []
    assert [*doctor.rules([{"priority": 1001, "protocol": "86"}, {"priority": 0}])] == []
    assert [*doctor.rules([{"priority": 32766, "table": "main"}])] == []
