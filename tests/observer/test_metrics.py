"""The metrics have the documented names and labels, in text that Prometheus and scripts read."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dataplane.conntrack_events import Counters
from dataplane.statistics import InterfaceStatistics, Traffic
from tests.support.connections import numbered
from vegd.observer.book import FlowBook
from vegd.observer.interfaces import Interface, InterfacesUnknown, sides
from vegd.observer.metrics import PREFIX, Reading, exposition
from vegd.observer.records import Identity

WHO = {"namespace": "default", "name": "gateway1", "pod": "pod-1", "node": "worker-1"}
KIND = {"address_family": "ipv4", "protocol": "udp", "nat_type": "snat"}


def book() -> FlowBook:
    made = FlowBook()
    for number in (1, 2):
        list(made.begins(numbered(number)))
    list(made.ends(numbered(1, Counters(5, 500, 4, 400))))
    return made


def reading(shows_flows: bool = True, has_interfaces: bool = True) -> Reading:
    counts = InterfaceStatistics("net1", Traffic(1, 2, 3, 4), Traffic(5, 6, 7, 8))
    return Reading(
        identity=Identity(**WHO),
        collectors={"interface": has_interfaces, "conntrack": True},
        errors={("conntrack", "session"): 3},
        reloads={"success": 1, "error": 0},
        events={"new": 2, "end": 1, "lost": 0},
        written={"start": 2, "end": 1},
        drops={"rate_limit": 9, "queue_full": 0, "write_error": 0},
        book=book(),
        counts_bytes=True,
        shows_flows=shows_flows,
        interfaces=(Interface("external", counts),) if has_interfaces else (),
    )


def samples(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """By name without the prefix; who it is about is in each, and taken away."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            assert WHO.items() <= each.labels.items()
            rest = {key: value for key, value in each.labels.items() if key not in WHO}
            found.setdefault(each.name.removeprefix(PREFIX), []).append((rest, each.value))
    return found


def test_every_documented_metric_is_there_with_its_labels() -> None:
    way = {"interface": "net1", "type": "external"}
    rx, tx = {"direction": "rx"}, {"direction": "tx"}
    original, reply = {"direction": "original"}, {"direction": "reply"}
    assert samples(exposition(reading()).decode()) == {
        "observability_collector_up": [
            ({"collector": "interface"}, 1),
            ({"collector": "conntrack"}, 1),
        ],
        "observability_errors_total": [({"collector": "conntrack", "operation": "session"}, 3)],
        "observability_config_reload_total": [({"result": "success"}, 1), ({"result": "error"}, 0)],
        "observability_conntrack_events_total": [
            ({"event": "new"}, 2),
            ({"event": "end"}, 1),
            ({"event": "lost"}, 0),
        ],
        "observability_log_records_total": [({"event": "start"}, 2), ({"event": "end"}, 1)],
        "observability_log_drops_total": [
            ({"reason": "rate_limit"}, 9),
            ({"reason": "queue_full"}, 0),
            ({"reason": "write_error"}, 0),
        ],
        "observability_conntrack_cache_entries": [({}, 1)],
        "observability_conntrack_cache_capacity": [({}, 65_536)],
        "observability_conntrack_cache_evictions_total": [({}, 0)],
        "observability_conntrack_accounting_available": [({}, 1)],
        "interface_rx_bytes_total": [(way, 1)],
        "interface_rx_packets_total": [(way, 2)],
        "interface_tx_bytes_total": [(way, 5)],
        "interface_tx_packets_total": [(way, 6)],
        "interface_drops_total": [(way | rx, 4), (way | tx, 8)],
        "interface_errors_total": [(way | rx, 3), (way | tx, 7)],
        "conntrack_nat_flows_active": [(KIND, 1)],
        "conntrack_nat_flows_started_total": [(KIND, 2)],
        "conntrack_nat_flows_ended_total": [(KIND, 1)],
        "conntrack_nat_packets_total": [(KIND | original, 5), (KIND | reply, 4)],
        "conntrack_nat_bytes_total": [(KIND | original, 500), (KIND | reply, 400)],
    }


def test_whole_numbers_are_written_as_go_writes_them() -> None:
    text = exposition(reading()).decode()
    pattern = f'^{PREFIX}observability_collector_up{{.*collector="conntrack".*}} 1$'
    assert re.search(pattern, text, re.MULTILINE)
    assert not re.search(r"\.0$", text, re.MULTILINE)


def test_what_is_off_is_left_out() -> None:
    names = samples(exposition(reading(shows_flows=False, has_interfaces=False)).decode())
    assert names
    assert all(name.startswith("observability_") for name in names)


def test_the_document_names_every_metric_and_no_other() -> None:
    document = (Path(__file__).parents[2] / "docs/flow-logs.md").read_text()
    documented = re.findall(
        r"^\| `((?:observability|interface|conntrack)_[a-z_]+)` \|", document, re.MULTILINE
    )
    assert sorted(documented) == sorted(samples(exposition(reading()).decode()))


STATUS = b"""[
    {"name": "kube-ovn", "interface": "eth0", "ips": ["192.168.0.13"], "default": true, "dns": {}},
    {"name": "default/eth1", "interface": "net1", "ips": ["172.17.0.29"], "dns": {}}
]"""
"""As Multus writes it."""


def test_multus_says_which_interface_is_which() -> None:
    assert sides(STATUS, "default/eth1") == {"internal": "eth0", "external": "net1"}


@pytest.mark.parametrize(
    ("document", "network", "message"),
    [
        (b"", "a/b", "is no JSON list; Multus has not written it yet"),
        (b"{}", "a/b", "is no JSON list"),
        (b"[1, {}]", "a/b", "no entry with default names an interface"),
        (STATUS, "a/b", "no entry with name 'a/b' names an interface; externalNetwork has to be"),
    ],
)
def test_what_multus_does_not_say_is_told(document: bytes, network: str, message: str) -> None:
    with pytest.raises(InterfacesUnknown, match=re.escape(message)):
        sides(document, network)
